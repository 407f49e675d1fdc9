//! The custody's output and witness are those that miniscript derives from its descriptor.
#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

use alys_bitcoin::{CustodyKey, SigningSession};
use alys_chain::peg::{Coin, Custody, Payee, derive_payment};
use alys_primitives::{B256, Custodians, CustodyKeys, CustodyRecovery, Sats};
use bitcoin::key::XOnlyPublicKey;
use bitcoin::secp256k1::Secp256k1;
use bitcoin::{Network, ScriptBuf};
use miniscript::Descriptor;
use miniscript::psbt::PsbtExt as _;
use std::str::FromStr as _;

fn keys(count: u8) -> Vec<CustodyKey> {
    (0..count).map(|index| CustodyKey::from_bytes(&[index + 1; 32]).unwrap()).collect()
}

fn custody(keys: &[CustodyKey], threshold: u64) -> Custody {
    Custody::new(keys.iter().map(CustodyKey::public_key).collect(), threshold).unwrap()
}

#[test]
fn miniscript_derives_the_same_address_from_the_descriptor() {
    for (count, threshold) in [(1, 1), (3, 2), (4, 3), (5, 3), (16, 9), (17, 17), (20, 17)] {
        let custody = custody(&keys(count), threshold);
        let descriptor = Descriptor::<XOnlyPublicKey>::from_str(&custody.descriptor()).unwrap();
        descriptor.sanity_check().unwrap();
        assert_eq!(descriptor.script_pubkey(), *custody.script_pubkey(), "{threshold} of {count}");
        let ours = bitcoin::Address::from_script(custody.script_pubkey(), Network::Regtest).unwrap();
        assert_eq!(descriptor.address(Network::Regtest).unwrap(), ours);
    }
}

#[test]
fn miniscript_derives_the_same_address_with_a_recovery_leaf() {
    let x_only = |keys: &[CustodyKey]| {
        CustodyKeys::new(keys.iter().map(|key| key.public_key().serialize().into()).collect()).unwrap()
    };
    let all = keys(30);
    for (recoverers, needed, blocks) in [(1, 1, 144), (3, 2, 4_032), (10, 7, 52_560), (10, 10, 65_535)] {
        for (count, threshold) in [(1, 1), (4, 3), (20, 17)] {
            let custodians = Custodians { keys: x_only(&all[..count]), threshold };
            let recovery = CustodyRecovery { keys: x_only(&all[20..20 + recoverers]), threshold: needed, blocks };
            let custody = Custody::of(&custodians, Some(&recovery)).unwrap();
            let descriptor = Descriptor::<XOnlyPublicKey>::from_str(&custody.descriptor()).unwrap();
            descriptor.sanity_check().unwrap();
            assert_eq!(descriptor.script_pubkey(), *custody.script_pubkey(), "{}", custody.descriptor());
        }
    }
}

#[test]
fn miniscript_finalizes_the_members_psbt_to_the_same_witness() {
    let keys = keys(5);
    let custody = custody(&keys, 3);
    let coin = |byte, value| Coin { txid: B256::repeat_byte(byte), vout: 0, value: Sats(value), batch: 0, custody: 0 };
    let payee =
        Payee { script: ScriptBuf::new_p2tr(&Secp256k1::new(), keys[0].public_key(), None), amount: Sats(90_000) };
    let payment = derive_payment(&custody, &[coin(1, 50_000), coin(2, 70_000)], &[payee], 2_000).unwrap();
    let mut session = SigningSession::new(custody.clone(), payment.clone()).unwrap();
    for key in &keys[1..4] {
        session.add(&key.sign(&custody, &payment).unwrap()).unwrap();
    }
    let ours = session.assemble().unwrap();
    let mut psbt = session.psbt().unwrap();
    psbt.finalize_mut(&Secp256k1::verification_only()).unwrap();
    assert_eq!(psbt.extract_tx().unwrap(), ours);
    assert_eq!(u64::try_from(ours.vsize()).unwrap(), payment.virtual_bytes, "as planned");
}
