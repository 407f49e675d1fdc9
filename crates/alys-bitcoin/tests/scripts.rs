//! Spends of every known kind verify; damaged ones and other kinds are refused, with the reason.
#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

mod support;

use alys_bitcoin::script::tapscript::Policy;
use alys_bitcoin::script::{ScriptError, Verifier};
use bitcoin::consensus::encode;
use bitcoin::hashes::Hash as _;
use bitcoin::opcodes::all as op;
use bitcoin::script::{Builder, PushBytesBuf};
use bitcoin::secp256k1::{Message, XOnlyPublicKey};
use bitcoin::sighash::{Annex, EcdsaSighashType, Prevouts, SighashCache, TapSighashType};
use bitcoin::taproot::{LeafVersion, TaprootBuilder, TaprootSpendInfo};
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, TapLeafHash, Transaction, TxOut, Witness, taproot, transaction};
use support::{ecdsa_bytes, keypair, op_true, p2tr, p2wpkh, pay, public_key, secp, sign_p2tr, sign_p2wpkh};

const VALUE: u64 = 100_000;

fn unsigned() -> Transaction {
    pay(&[OutPoint { txid: bitcoin::Txid::all_zeros(), vout: 7 }], &[(90_000, p2wpkh(50)), (1_000, op_true())])
}

fn output(script: ScriptBuf) -> TxOut {
    TxOut { value: Amount::from_sat(VALUE), script_pubkey: script }
}

fn verify(transaction: &Transaction, script: ScriptBuf) -> Result<(), ScriptError> {
    Verifier::default().verify(transaction, &[output(script)]).map_err(|error| error.source)
}

fn script_sig(pushes: &[Vec<u8>]) -> ScriptBuf {
    let push = |bytes: &Vec<u8>| PushBytesBuf::try_from(bytes.clone()).unwrap();
    pushes.iter().fold(Builder::new(), |builder, bytes| builder.push_slice(push(bytes))).into_script()
}

fn legacy_signature(transaction: &Transaction, code: &ScriptBuf, seed: u8, hash_type: EcdsaSighashType) -> Vec<u8> {
    let hash = SighashCache::new(transaction).legacy_signature_hash(0, code, hash_type.to_u32()).unwrap();
    ecdsa_bytes(hash.to_byte_array(), seed, hash_type)
}

fn witness_signature(transaction: &Transaction, script: &ScriptBuf, seed: u8) -> Vec<u8> {
    let hash_type = EcdsaSighashType::All;
    let hash =
        SighashCache::new(transaction).p2wsh_signature_hash(0, script, Amount::from_sat(VALUE), hash_type).unwrap();
    ecdsa_bytes(hash.to_byte_array(), seed, hash_type)
}

#[test]
fn op_true_is_spent_with_nothing_and_nothing_else() {
    let mut transaction = unsigned();
    assert_eq!(verify(&transaction, op_true()), Ok(()));
    transaction.input[0].script_sig = script_sig(&[vec![1]]);
    assert_eq!(verify(&transaction, op_true()), Err(ScriptError::ScriptSig));
    transaction.input[0].script_sig = ScriptBuf::new();
    transaction.input[0].witness = Witness::from_slice(&[[1u8]]);
    assert_eq!(verify(&transaction, op_true()), Err(ScriptError::Witness { items: 1 }));
}

#[test]
fn p2pk_and_p2pkh_verify_with_every_hash_type() {
    use EcdsaSighashType as Type;
    let p2pk = ScriptBuf::new_p2pk(&public_key(1));
    let p2pkh = ScriptBuf::new_p2pkh(&public_key(1).pubkey_hash());
    for hash_type in [
        Type::All,
        Type::None,
        Type::Single,
        Type::AllPlusAnyoneCanPay,
        Type::NonePlusAnyoneCanPay,
        Type::SinglePlusAnyoneCanPay,
    ] {
        let mut transaction = unsigned();
        transaction.input[0].script_sig = script_sig(&[legacy_signature(&transaction, &p2pk, 1, hash_type)]);
        assert_eq!(verify(&transaction, p2pk.clone()), Ok(()), "{hash_type}");
        let mut transaction = unsigned();
        let signature = legacy_signature(&transaction, &p2pkh, 1, hash_type);
        transaction.input[0].script_sig = script_sig(&[signature, public_key(1).to_bytes()]);
        assert_eq!(verify(&transaction, p2pkh.clone()), Ok(()), "{hash_type}");
        let changed = transaction.output[0].value - Amount::from_sat(1);
        transaction.output[0].value = changed;
        let free = matches!(hash_type, Type::None | Type::NonePlusAnyoneCanPay);
        assert_eq!(verify(&transaction, p2pkh.clone()).is_ok(), free, "{hash_type}");
    }
}

#[test]
fn legacy_spends_with_another_key_or_shape_are_refused() {
    let p2pkh = ScriptBuf::new_p2pkh(&public_key(1).pubkey_hash());
    let mut transaction = unsigned();
    let own = legacy_signature(&transaction, &p2pkh, 1, EcdsaSighashType::All);
    let foreign = legacy_signature(&transaction, &p2pkh, 2, EcdsaSighashType::All);
    let mut check = |pushes: &[Vec<u8>]| {
        transaction.input[0].script_sig = script_sig(pushes);
        verify(&transaction, p2pkh.clone())
    };
    let key = public_key(1).to_bytes();
    assert_eq!(check(&[foreign.clone(), key.clone()]), Err(ScriptError::Signature));
    assert_eq!(check(&[foreign, public_key(2).to_bytes()]), Err(ScriptError::Commitment));
    assert_eq!(check(std::slice::from_ref(&own)), Err(ScriptError::ScriptSig));
    assert_eq!(check(&[own.clone(), key.clone(), vec![]]), Err(ScriptError::ScriptSig));
    assert_eq!(check(&[vec![], key.clone()]), Err(ScriptError::SignatureEncoding));
    let mut odd_type = own.clone();
    *odd_type.last_mut().unwrap() = 0x04;
    assert_eq!(check(&[odd_type, key.clone()]), Err(ScriptError::HashType));
    let mut padded = own;
    padded.insert(padded.len() - 1, 0);
    assert_eq!(check(&[padded, key]), Err(ScriptError::SignatureEncoding));
}

#[test]
fn p2wpkh_commits_to_the_amount() {
    let mut transaction = unsigned();
    sign_p2wpkh(&mut transaction, 0, VALUE, 3);
    assert_eq!(verify(&transaction, p2wpkh(3)), Ok(()));
    let other = TxOut { value: Amount::from_sat(VALUE + 1), script_pubkey: p2wpkh(3) };
    let refused = Verifier::default().verify(&transaction, &[other]).unwrap_err();
    assert_eq!((refused.input, refused.source), (0, ScriptError::Signature));
    assert_eq!(verify(&transaction, p2wpkh(4)), Err(ScriptError::Commitment));
    transaction.input[0].script_sig = script_sig(&[vec![1]]);
    assert_eq!(verify(&transaction, p2wpkh(3)), Err(ScriptError::ScriptSig));
    assert_eq!(
        Verifier::default().verify(&transaction, &[]).unwrap_err().source,
        ScriptError::SpentCount { inputs: 1, spent: 0 }
    );
}

fn multisig(required: i64, seeds: &[u8]) -> ScriptBuf {
    let keys =
        seeds.iter().fold(Builder::new().push_int(required), |builder, seed| builder.push_key(&public_key(*seed)));
    keys.push_int(i64::try_from(seeds.len()).unwrap()).push_opcode(op::OP_CHECKMULTISIG).into_script()
}

#[test]
fn p2wsh_multisig_takes_exactly_k_signatures_in_key_order() {
    let script = multisig(2, &[1, 2, 3]);
    let program = ScriptBuf::new_p2wsh(&script.wscript_hash());
    let mut transaction = unsigned();
    let [one, two, three, four] = [1, 2, 3, 4].map(|seed| witness_signature(&transaction, &script, seed));
    let mut check = |items: &[&[u8]]| {
        let mut items: Vec<&[u8]> = items.to_vec();
        items.push(script.as_bytes());
        transaction.input[0].witness = Witness::from_slice(&items);
        verify(&transaction, program.clone())
    };
    assert_eq!(check(&[&[], &one, &two]), Ok(()));
    assert_eq!(check(&[&[], &one, &three]), Ok(()));
    assert_eq!(check(&[&[], &two, &three]), Ok(()));
    assert_eq!(check(&[&[], &two, &one]), Err(ScriptError::Signature));
    assert_eq!(check(&[&[], &one, &one]), Err(ScriptError::Signature));
    assert_eq!(check(&[&[], &one, &four]), Err(ScriptError::Signature));
    assert_eq!(check(&[&[], &one]), Err(ScriptError::SignatureCount { found: 1, required: 2 }));
    assert_eq!(check(&[&[], &one, &two, &three]), Err(ScriptError::SignatureCount { found: 3, required: 2 }));
    assert_eq!(check(&[&[1], &one, &two]), Err(ScriptError::Witness { items: 4 }));
}

#[test]
fn other_witness_scripts_are_refused_as_unsupported() {
    for script in [
        Builder::new().push_int(0).into_script(),
        Builder::new().push_opcode(op::OP_RETURN).into_script(),
        Builder::new().push_int(1).push_int(1).into_script(),
        ScriptBuf::from_bytes(vec![0x4c]),
        multisig(3, &[1, 2]),
    ] {
        let mut transaction = unsigned();
        transaction.input[0].witness = Witness::from_slice(&[script.as_bytes()]);
        let program = ScriptBuf::new_p2wsh(&script.wscript_hash());
        assert_eq!(verify(&transaction, program), Err(ScriptError::UnsupportedScript), "{script}");
    }
}

#[test]
fn p2wsh_of_one_key_and_of_op_true_verify() {
    let script = Builder::new().push_key(&public_key(5)).push_opcode(op::OP_CHECKSIG).into_script();
    let mut transaction = unsigned();
    let signature = witness_signature(&transaction, &script, 5);
    transaction.input[0].witness = Witness::from_slice(&[&signature[..], script.as_bytes()]);
    assert_eq!(verify(&transaction, ScriptBuf::new_p2wsh(&script.wscript_hash())), Ok(()));
    assert_eq!(verify(&transaction, ScriptBuf::new_p2wsh(&op_true().wscript_hash())), Err(ScriptError::Commitment));
    let script = op_true();
    transaction.input[0].witness = Witness::from_slice(&[script.as_bytes()]);
    assert_eq!(verify(&transaction, ScriptBuf::new_p2wsh(&script.wscript_hash())), Ok(()));
}

#[test]
fn outputs_of_other_kinds_are_refused_as_unsupported() {
    for script in [
        ScriptBuf::new(),
        ScriptBuf::new_p2sh(&op_true().script_hash()),
        multisig(1, &[1]),
        ScriptBuf::new_op_return([1, 2]),
        ScriptBuf::from_hex("51024e73").unwrap(),
        ScriptBuf::from_hex(&format!("5220{}", "01".repeat(32))).unwrap(),
    ] {
        assert_eq!(verify(&unsigned(), script.clone()), Err(ScriptError::UnsupportedOutput), "{script}");
    }
}

#[test]
fn taproot_key_path_verifies_and_refuses_what_bip341_refuses() {
    let spent = [output(p2tr(6))];
    let mut transaction = unsigned();
    sign_p2tr(&mut transaction, 0, &spent, 6, TapSighashType::Default);
    assert_eq!(verify(&transaction, p2tr(6)), Ok(()));
    assert_eq!(verify(&transaction, p2tr(7)), Err(ScriptError::Signature));
    // The default type with a byte of its own.
    let mut explicit = transaction.clone();
    let mut signature = explicit.input[0].witness.nth(0).unwrap().to_vec();
    signature.push(0);
    explicit.input[0].witness = Witness::from_slice(&[&signature]);
    assert_eq!(verify(&explicit, p2tr(6)), Err(ScriptError::HashType));
    // An annex that the signature does not cover.
    let bare = transaction.input[0].witness.nth(0).unwrap().to_vec();
    transaction.input[0].witness = Witness::from_slice(&[bare, vec![0x50, 1]]);
    assert_eq!(verify(&transaction, p2tr(6)), Err(ScriptError::Signature));
    // One that it covers.
    let annex = Annex::new(&[0x50, 1]).unwrap();
    let hash = SighashCache::new(&transaction)
        .taproot_signature_hash(0, &Prevouts::All(&spent), Some(annex), None, TapSighashType::Default)
        .unwrap();
    let tweaked = bitcoin::key::TapTweak::tap_tweak(keypair(6), &secp(), None).to_keypair();
    let signature = secp().sign_schnorr_no_aux_rand(&Message::from_digest(hash.to_byte_array()), &tweaked);
    transaction.input[0].witness = Witness::from_slice(&[signature.serialize().to_vec(), vec![0x50, 1]]);
    assert_eq!(verify(&transaction, p2tr(6)), Ok(()));
    // SIGHASH_SINGLE without an output at the input's place.
    let mut single = pay(&[OutPoint::null(), unsigned().input[0].previous_output], &[(1_000, op_true())]);
    single.input[1].witness = Witness::from_slice(&[[vec![1u8; 64], vec![3]].concat()]);
    let spent = [output(op_true()), output(p2tr(6))];
    let refused = Verifier::default().verify(&single, &spent).unwrap_err();
    assert_eq!((refused.input, refused.source), (1, ScriptError::HashType));
}

/// A key nobody can sign for: the point of BIP-341 with unknown discrete logarithm.
fn nums() -> XOnlyPublicKey {
    "50929b74c1a04954b78b4b6035e97a5e078a5a0f28ec96d547bfee9ace803ac0".parse().unwrap()
}

fn multi_a(required: i64, seeds: &[u8], lock: Option<i64>) -> ScriptBuf {
    let mut builder = Builder::new();
    for (index, seed) in seeds.iter().enumerate() {
        let check = if index == 0 { op::OP_CHECKSIG } else { op::OP_CHECKSIGADD };
        builder = builder.push_x_only_key(&keypair(*seed).x_only_public_key().0).push_opcode(check);
    }
    builder = builder.push_int(required);
    match lock {
        None => builder.push_opcode(op::OP_NUMEQUAL).into_script(),
        Some(lock) => builder.push_opcode(op::OP_NUMEQUALVERIFY).push_int(lock).push_opcode(op::OP_CSV).into_script(),
    }
}

fn tree(scripts: &[ScriptBuf]) -> TaprootSpendInfo {
    let weights = scripts.iter().map(|script| (1, script.clone()));
    TaprootBuilder::with_huffman_tree(weights).unwrap().finalize(&secp(), nums()).unwrap()
}

/// A witness for a leaf, signed by those of its seeds that `signers` names.
fn leaf_witness(
    transaction: &Transaction,
    info: &TaprootSpendInfo,
    script: &ScriptBuf,
    seeds: &[u8],
    signers: &[u8],
) -> Vec<Vec<u8>> {
    let spent = [output(ScriptBuf::new_p2tr_tweaked(info.output_key()))];
    let leaf = TapLeafHash::from_script(script, LeafVersion::TapScript);
    let hash = SighashCache::new(transaction)
        .taproot_script_spend_signature_hash(0, &Prevouts::All(&spent), leaf, TapSighashType::All)
        .unwrap();
    let mut items: Vec<Vec<u8>> = seeds
        .iter()
        .rev()
        .map(|seed| {
            if !signers.contains(seed) {
                return Vec::new();
            }
            let message = Message::from_digest(hash.to_byte_array());
            let signature = secp().sign_schnorr_no_aux_rand(&message, &keypair(*seed));
            taproot::Signature { signature, sighash_type: TapSighashType::All }.to_vec()
        })
        .collect();
    items.push(script.to_bytes());
    items.push(info.control_block(&(script.clone(), LeafVersion::TapScript)).unwrap().serialize());
    items
}

#[test]
fn multi_a_under_a_nums_key_takes_exactly_k_signatures() {
    let seeds = [11, 12, 13];
    let script = multi_a(2, &seeds, None);
    let info = tree(&[script.clone(), multi_a(1, &[20], None)]);
    let program = ScriptBuf::new_p2tr_tweaked(info.output_key());
    let mut transaction = unsigned();
    let mut check = |items: Vec<Vec<u8>>| {
        transaction.input[0].witness = Witness::from_slice(&items);
        verify(&transaction, program.clone())
    };
    let base = unsigned();
    let witness = |signers: &[u8]| leaf_witness(&base, &info, &script, &seeds, signers);
    for signers in [[11, 12], [11, 13], [12, 13]] {
        assert_eq!(check(witness(&signers)), Ok(()), "{signers:?}");
    }
    assert_eq!(check(witness(&[11])), Err(ScriptError::SignatureCount { found: 1, required: 2 }));
    // One too many is as wrong as one too few: the script compares for equality.
    assert_eq!(check(witness(&[11, 12, 13])), Err(ScriptError::SignatureCount { found: 3, required: 2 }));
    let mut swapped = witness(&[11, 12]);
    swapped.swap(1, 2);
    assert_eq!(check(swapped), Err(ScriptError::Signature));
    let mut short = witness(&[11, 12]);
    short.remove(0);
    assert_eq!(check(short), Err(ScriptError::Witness { items: 4 }));
    let mut control = witness(&[11, 12]);
    control.last_mut().unwrap()[0] ^= 1;
    assert_eq!(check(control), Err(ScriptError::Commitment));
    let mut control = witness(&[11, 12]);
    control.last_mut().unwrap().pop();
    assert_eq!(check(control), Err(ScriptError::ControlBlock));
    let mut foreign = witness(&[11, 12]);
    let place = foreign.len() - 2;
    foreign[place] = multi_a(1, &seeds, None).to_bytes();
    assert_eq!(check(foreign), Err(ScriptError::Commitment));
}

#[test]
fn a_locked_recovery_leaf_needs_its_sequence() {
    let seeds = [11, 12];
    let script = multi_a(1, &seeds, Some(144));
    let info = tree(std::slice::from_ref(&script));
    let program = ScriptBuf::new_p2tr_tweaked(info.output_key());
    let check = |sequence: u32, version: i32| {
        let mut transaction = unsigned();
        transaction.version = transaction::Version(version);
        transaction.input[0].sequence = Sequence::from_consensus(sequence);
        let items = leaf_witness(&transaction, &info, &script, &seeds, &[12]);
        transaction.input[0].witness = Witness::from_slice(&items);
        verify(&transaction, program.clone())
    };
    let refused = Err(ScriptError::RelativeLock { lock: 144 });
    assert_eq!(check(144, 2), Ok(()));
    assert_eq!(check(200, 2), Ok(()));
    assert_eq!(check(143, 2), refused);
    assert_eq!(check(144, 1), refused);
    assert_eq!(check(144 | 1 << 22, 2), refused);
    assert_eq!(check(144 | 1 << 31, 2), refused);
}

#[test]
fn tapscripts_of_other_kinds_have_no_policy() {
    let key = keypair(1).x_only_public_key().0;
    let good = multi_a(2, &[1, 2, 3], None);
    assert_eq!(Policy::parse(&good).map(|policy| (policy.keys.len(), policy.required)), Some((3, 2)));
    for script in [
        op_true(),
        multi_a(0, &[1], None),
        multi_a(3, &[1, 2], None),
        multi_a(1, &[1], Some(0)),
        multi_a(1, &[1], Some(1 << 16)),
        Builder::new().push_x_only_key(&key).push_opcode(op::OP_CHECKSIGADD).into_script(),
        Builder::new().push_key(&public_key(1)).push_opcode(op::OP_CHECKSIG).into_script(),
        ScriptBuf::from_bytes([good.as_bytes(), &[op::OP_NOP.to_u8()]].concat()),
        ScriptBuf::from_bytes([&[op::OP_NOP.to_u8()], good.as_bytes()].concat()),
        ScriptBuf::from_bytes(good.as_bytes()[..good.len() - 1].to_vec()),
    ] {
        assert_eq!(Policy::parse(&script), None, "{script}");
    }
}

#[test]
fn bip341_wallet_vectors_verify_and_fail_when_damaged() {
    let Some(path) = alys_vectors::find("bitcoin/bip341/wallet-test-vectors.json") else { return };
    let vectors: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut inputs = 0;
    for case in vectors["keyPathSpending"].as_array().unwrap() {
        let signed = case["auxiliary"]["fullySignedTx"].as_str().unwrap();
        let transaction: Transaction = encode::deserialize(&hex::decode(signed).unwrap()).unwrap();
        let spent: Vec<TxOut> = case["given"]["utxosSpent"]
            .as_array()
            .unwrap()
            .iter()
            .map(|output| TxOut {
                value: Amount::from_sat(output["amountSats"].as_u64().unwrap()),
                script_pubkey: ScriptBuf::from_hex(output["scriptPubKey"].as_str().unwrap()).unwrap(),
            })
            .collect();
        Verifier::default().verify(&transaction, &spent).unwrap();
        for spend in case["inputSpending"].as_array().unwrap() {
            let index = usize::try_from(spend["given"]["txinIndex"].as_u64().unwrap()).unwrap();
            let mut damaged = transaction.clone();
            let mut signature = damaged.input[index].witness.nth(0).unwrap().to_vec();
            signature[40] ^= 1;
            damaged.input[index].witness = Witness::from_slice(&[signature]);
            let refused = Verifier::default().verify(&damaged, &spent).unwrap_err();
            assert_eq!(refused.input, index);
            inputs += 1;
        }
    }
    assert_eq!(inputs, 7);
}
