//! Proofs of work from miners.

use alys_auxpow::{AuxPow, CommitmentPlace, RULES, Rules, Target, Transaction};
use alys_primitives::{B256, MAX_AUXPOW_BYTES};

/// A chain id that seeds use too.
pub(crate) const CHAIN_ID: u64 = 0x414c;

/// The hash that seeds commit to.
pub(crate) const HASH: B256 = B256::repeat_byte(0xa1);

/// The layout: what decodes has one normalised form, which is no longer and stays the same; every verdict is a rule or
/// is justified.
///
/// # Panics
/// On a finding.
pub fn auxpow(bytes: &[u8]) {
    let Ok(proof) = AuxPow::decode(bytes) else { return };
    let normalised = proof.encode();
    assert!(bytes.len() <= MAX_AUXPOW_BYTES);
    assert!(normalised.len() <= bytes.len(), "normalising adds nothing");
    assert_eq!(AuxPow::decode_normalised(&normalised).as_ref(), Ok(&proof));
    assert_eq!(AuxPow::decode_normalised(bytes).is_ok(), normalised == bytes);
    for place in [CommitmentPlace::ScriptSig, CommitmentPlace::Output, CommitmentPlace::Either] {
        let rules = Rules { chain_id: CHAIN_ID, place };
        match proof.verify_commitment(HASH, &rules) {
            Ok(verified) => {
                assert_eq!(verified.parent_hash, proof.parent.hash());
                assert_eq!(usize::try_from(verified.commitment.size.trailing_zeros()), Ok(proof.chain_branch.len()));
                assert_eq!(proof.verify(HASH, &rules, Target::MAX), Ok(verified));
            }
            Err(error) => assert!(RULES.contains(&error.rule())),
        }
    }
}

/// A transaction alone: what decodes has one encoding without witness.
///
/// # Panics
/// On a finding.
pub fn coinbase(bytes: &[u8]) {
    let Ok(transaction) = Transaction::decode(bytes) else { return };
    let plain = transaction.encode();
    assert!(plain.len() <= bytes.len());
    let again = Transaction::decode(&plain);
    assert_eq!(again.as_ref().map(Transaction::txid), Ok(transaction.txid()));
    assert_eq!(again, Ok(transaction));
}
