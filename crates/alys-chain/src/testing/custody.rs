//! Custodians whose secrets tests know.

use crate::peg::possession_message;
use alys_primitives::{B256, CustodyOffer, Epoch, FixedBytes, OfferedCustody, PublicKeyBytes, Root, VariableList};
use bitcoin::key::{Keypair, Secp256k1};

/// The custody key with this secret, as its holder offers it.
pub fn custody_offer(secret: &[u8; 32], holder: PublicKeyBytes, genesis_root: &Root, epoch: Epoch) -> CustodyOffer {
    let secp = Secp256k1::new();
    let pair = Keypair::from_seckey_slice(&secp, secret).expect("a secret key");
    let key = B256::from(pair.x_only_public_key().0.serialize());
    let mut offer = CustodyOffer { key, holder, proof: FixedBytes::ZERO };
    let message = possession_message(genesis_root, epoch, &offer);
    offer.proof = FixedBytes(secp.sign_schnorr_no_aux_rand(&message, &pair).serialize());
    offer
}

/// A custody of keys with these secrets, each with a holder of its own.
pub fn offered_custody(secrets: &[[u8; 32]], threshold: u64, genesis_root: &Root, epoch: Epoch) -> OfferedCustody {
    let holder = |secret: &[u8; 32]| PublicKeyBytes::repeat_byte(secret[0]);
    let offers = secrets.iter().map(|secret| custody_offer(secret, holder(secret), genesis_root, epoch)).collect();
    OfferedCustody { offers: VariableList::new(offers).expect("at most 128 keys"), threshold }
}
