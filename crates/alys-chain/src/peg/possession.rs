//! Proof that an offered custody key is held: `k` of `n` keys that nobody holds would lock the coins for good.
//!
//! The holder signs with the key itself (BIP-340), over a hash that names the chain, the epoch whose members decide, and the
//! holder: a proof is worth nothing in another chain, at another time, or in somebody else's name.

use alys_primitives::{CustodyOffer, Epoch, Root};
use bitcoin::XOnlyPublicKey;
use bitcoin::hashes::{Hash as _, HashEngine as _, sha256};
use bitcoin::secp256k1::{Message, Secp256k1, schnorr};

/// The tag of the hash (BIP-340, "Design": hashes of one purpose never equal those of another).
const TAG: &[u8] = b"alys/custody-possession";

/// What the holder of an offered key signs: `sha256(tag ‖ tag ‖ genesis root ‖ epoch ‖ holder ‖ key)`, where the tag is hashed,
/// the epoch has eight bytes, little-endian, and holder and key are public keys (48 and 32 bytes). Its proof is left out.
pub fn possession_message(genesis_root: &Root, epoch: Epoch, offer: &CustodyOffer) -> Message {
    let tag = sha256::Hash::hash(TAG).to_byte_array();
    let mut engine = sha256::Hash::engine();
    let parts: [&[u8]; 6] =
        [&tag, &tag, genesis_root.as_slice(), &epoch.0.to_le_bytes(), offer.holder.as_slice(), offer.key.as_slice()];
    for part in parts {
        engine.input(part);
    }
    Message::from_digest(sha256::Hash::from_engine(engine).to_byte_array())
}

/// Whether an offered key's proof holds. `false` for a key that is no point of the curve, too.
pub(crate) fn is_held(genesis_root: &Root, epoch: Epoch, offer: &CustodyOffer) -> bool {
    let parts =
        (XOnlyPublicKey::from_slice(offer.key.as_slice()), schnorr::Signature::from_slice(offer.proof.as_slice()));
    let (Ok(key), Ok(proof)) = parts else { return false };
    let message = possession_message(genesis_root, epoch, offer);
    Secp256k1::verification_only().verify_schnorr(&proof, &message, &key).is_ok()
}
