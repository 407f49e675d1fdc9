//! Signing the federation's payments: each member signs what it derived itself, PSBTs carry the signatures (BIP-174,
//! BIP-371), and nothing leaves that the script verifier does not accept.
//!
//! A [`CustodyKey`] takes a whole derived [`Payment`], never a hash. A [`SigningSession`] is about one payment: a PSBT of
//! any other transaction is refused, as are signatures of keys that are not the custody's; a signature that does not
//! verify is named with its key, and never counts.

use std::collections::BTreeMap;

use alys_chain::peg::{Custody, Payment, possession_message};
use alys_primitives::{CustodyOffer, Epoch, FixedBytes, PublicKeyBytes, Root};
use bitcoin::hashes::Hash as _;
use bitcoin::key::Keypair;
use bitcoin::psbt::Psbt;
use bitcoin::secp256k1::{All, Message, Secp256k1, SecretKey, XOnlyPublicKey};
use bitcoin::sighash::{Prevouts, SighashCache, TapSighashType};
use bitcoin::taproot::{LeafVersion, Signature};
use bitcoin::{TapSighash, Transaction, TxOut, Txid};

use crate::script::{SpendError, Verifier};

/// The largest PSBT that is decoded, in bytes: 64 inputs of 128 keys are well below it.
pub const MAX_PSBT_BYTES: usize = 4 << 20;

/// Why a signature or a PSBT is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// More bytes than any PSBT of a payment has.
    #[error("{bytes} bytes are more than {MAX_PSBT_BYTES}")]
    TooLarge {
        /// How many.
        bytes: usize,
    },
    /// The bytes are no PSBT.
    #[error("no PSBT: {reason}")]
    Malformed {
        /// What was wrong.
        reason: String,
    },
    /// It is about another transaction than the derived one.
    #[error("a PSBT of transaction {found}, the payment is {expected}")]
    OtherTransaction {
        /// Its transaction.
        found: Txid,
        /// The derived one.
        expected: Txid,
    },
    /// A signature of a key that is not the custody's, or for another script.
    #[error("input {input}: a signature of {key}, which is no member's key for this script")]
    NoMember {
        /// The input.
        input: usize,
        /// The key.
        key: XOnlyPublicKey,
    },
    /// A signature that does not verify, or covers less than the whole transaction.
    #[error("input {input}: the signature of {key} does not verify")]
    Signature {
        /// The input.
        input: usize,
        /// The key.
        key: XOnlyPublicKey,
    },
    /// A member's signatures are missing for some inputs.
    #[error("{key} signed {found} of {inputs} inputs")]
    Incomplete {
        /// The key.
        key: XOnlyPublicKey,
        /// Inputs that it signed.
        found: usize,
        /// Inputs of the payment.
        inputs: usize,
    },
    /// Fewer members have signed than the script asks for.
    #[error("{found} members have signed, {needed} must")]
    TooFew {
        /// Have signed.
        found: usize,
        /// Must sign.
        needed: usize,
    },
    /// The key is not part of the custody.
    #[error("the key {key} is not part of the custody")]
    NotOurs {
        /// The key.
        key: XOnlyPublicKey,
    },
    /// The payment does not spend what it claims to, which is a bug here.
    #[error("the payment can't be hashed for signing")]
    Hash,
    /// The assembled transaction is not accepted, which is a bug here.
    #[error("the assembled payment is not valid: {0}")]
    Invalid(#[from] SpendError),
}

/// The hash that a signature of one input covers: everything (BIP-341's default type), by the custody's script.
fn signature_hash(custody: &Custody, payment: &Payment, input: usize) -> Result<TapSighash, SigningError> {
    let prevouts: Prevouts<'_, TxOut> = Prevouts::All(&payment.spent);
    SighashCache::new(&payment.transaction)
        .taproot_script_spend_signature_hash(input, &prevouts, custody.leaf_hash(), TapSighashType::Default)
        .map_err(|_| SigningError::Hash)
}

/// Decodes a PSBT from outside.
///
/// # Errors
/// Too many bytes, or bytes that are no PSBT.
pub fn decode_psbt(bytes: &[u8]) -> Result<Psbt, SigningError> {
    if bytes.len() > MAX_PSBT_BYTES {
        return Err(SigningError::TooLarge { bytes: bytes.len() });
    }
    Psbt::deserialize(bytes).map_err(|error| SigningError::Malformed { reason: error.to_string() })
}

/// A PSBT of a payment, with all that a signer needs and no signatures.
///
/// # Errors
/// [`SigningError::Malformed`] for a payment with witnesses, which derivation never makes.
pub fn payment_psbt(custody: &Custody, payment: &Payment) -> Result<Psbt, SigningError> {
    let malformed = |error: bitcoin::psbt::Error| SigningError::Malformed { reason: error.to_string() };
    let mut psbt = Psbt::from_unsigned_tx(payment.transaction.clone()).map_err(malformed)?;
    let control = custody.control_block();
    for (input, spent) in psbt.inputs.iter_mut().zip(&payment.spent) {
        input.witness_utxo = Some(spent.clone());
        input.tap_internal_key = Some(control.internal_key);
        input.tap_merkle_root = Some(custody.merkle_root());
        input.tap_scripts = BTreeMap::from([(control.clone(), (custody.leaf().clone(), LeafVersion::TapScript))]);
    }
    Ok(psbt)
}

/// A member's key for payments. Not printable; the bytes are wiped by whoever hands them in.
#[derive(Clone)]
pub struct CustodyKey {
    keypair: Keypair,
    secp: Secp256k1<All>,
}

impl std::fmt::Debug for CustodyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("CustodyKey").field(&self.public_key()).finish()
    }
}

impl CustodyKey {
    /// The key with this secret; `None` for zero and values beyond the curve's order.
    pub fn from_bytes(secret: &[u8; 32]) -> Option<Self> {
        let secp = Secp256k1::new();
        let keypair = Keypair::from_secret_key(&secp, &SecretKey::from_slice(secret).ok()?);
        Some(Self { keypair, secp })
    }

    /// The public half, as the chain spec has it.
    pub fn public_key(&self) -> XOnlyPublicKey {
        self.keypair.x_only_public_key().0
    }

    /// Offers the key for the custody of a chain, in `epoch` and in the name of its holder, with proof that it is held.
    pub fn offer(&self, holder: PublicKeyBytes, genesis_root: &Root, epoch: Epoch) -> CustodyOffer {
        let key = self.public_key().serialize().into();
        let mut offer = CustodyOffer { key, holder, proof: FixedBytes::ZERO };
        let message = possession_message(genesis_root, epoch, &offer);
        offer.proof = FixedBytes(self.secp.sign_schnorr_no_aux_rand(&message, &self.keypair).serialize());
        offer
    }

    /// Signs one input of a spend by the recovery leaf, which [`crate::recovery`] derived.
    pub(crate) fn sign_recovery(&self, hash: TapSighash) -> Signature {
        let signature = self.secp.sign_schnorr_no_aux_rand(&Message::from_digest(hash.to_byte_array()), &self.keypair);
        Signature { signature, sighash_type: TapSighashType::Default }
    }

    /// Signs every input of a payment that the caller derived from its own state. Without auxiliary randomness
    /// (BIP-340 allows that), so that a restart makes the same signatures.
    ///
    /// # Errors
    /// [`SigningError::NotOurs`] if the key is not the custody's.
    pub fn sign(&self, custody: &Custody, payment: &Payment) -> Result<Psbt, SigningError> {
        let key = self.public_key();
        if !custody.keys().contains(&key) {
            return Err(SigningError::NotOurs { key });
        }
        let mut psbt = payment_psbt(custody, payment)?;
        for (index, input) in psbt.inputs.iter_mut().enumerate() {
            let hash = signature_hash(custody, payment, index)?;
            let signature =
                self.secp.sign_schnorr_no_aux_rand(&Message::from_digest(hash.to_byte_array()), &self.keypair);
            let signature = Signature { signature, sighash_type: TapSighashType::Default };
            input.tap_script_sigs.insert((key, custody.leaf_hash()), signature);
        }
        Ok(psbt)
    }
}

/// Collects the members' signatures of one payment.
#[derive(Debug, Clone)]
pub struct SigningSession {
    custody: Custody,
    payment: Payment,
    hashes: Vec<TapSighash>,
    /// Signatures of each member that signed, one per input, by the member's index.
    signatures: BTreeMap<usize, Vec<Signature>>,
    secp: Secp256k1<All>,
}

impl SigningSession {
    /// A session about a payment that the caller derived itself.
    ///
    /// # Errors
    /// [`SigningError::Hash`] for a payment that derivation never makes.
    pub fn new(custody: Custody, payment: Payment) -> Result<Self, SigningError> {
        let inputs = payment.transaction.input.len();
        let hashes = (0..inputs).map(|input| signature_hash(&custody, &payment, input)).collect::<Result<_, _>>()?;
        Ok(Self { custody, payment, hashes, signatures: BTreeMap::new(), secp: Secp256k1::new() })
    }

    /// The payment.
    pub fn payment(&self) -> &Payment {
        &self.payment
    }

    /// How many members hold keys.
    pub fn members(&self) -> usize {
        self.custody.keys().len()
    }

    /// Indices of the members that have signed.
    pub fn signers(&self) -> impl Iterator<Item = usize> + '_ {
        self.signatures.keys().copied()
    }

    /// The payment with the signatures of up to as many members as must sign, for the others: it completes the session
    /// of whoever has none.
    ///
    /// # Errors
    /// As [`payment_psbt`].
    pub fn psbt(&self) -> Result<Psbt, SigningError> {
        let mut psbt = payment_psbt(&self.custody, &self.payment)?;
        let leaf_hash = self.custody.leaf_hash();
        for (member, signatures) in self.signatures.iter().take(self.custody.threshold()) {
            let Some(key) = self.custody.keys().get(*member) else { continue };
            for (input, signature) in psbt.inputs.iter_mut().zip(signatures) {
                input.tap_script_sigs.insert((*key, leaf_hash), *signature);
            }
        }
        Ok(psbt)
    }

    /// Whether enough members have signed.
    pub fn is_complete(&self) -> bool {
        self.signatures.len() >= self.custody.threshold()
    }

    /// Takes a serialised PSBT from a member or a peer.
    ///
    /// # Errors
    /// As [`SigningSession::add`]; bytes that are no PSBT, or too many.
    pub fn add_bytes(&mut self, bytes: &[u8]) -> Result<usize, SigningError> {
        self.add(&decode_psbt(bytes)?)
    }

    /// Takes the signatures in a PSBT; gives how many members signed in it that had not before. Either all of it counts
    /// or nothing.
    ///
    /// # Errors
    /// [`SigningError`] names the first thing that is wrong.
    pub fn add(&mut self, psbt: &Psbt) -> Result<usize, SigningError> {
        // The txid covers every byte of an unsigned transaction.
        let (found, expected) = (psbt.unsigned_tx.compute_txid(), self.payment.transaction.compute_txid());
        if found != expected || psbt.inputs.len() != self.hashes.len() {
            return Err(SigningError::OtherTransaction { found, expected });
        }
        let leaf_hash = self.custody.leaf_hash();
        let mut by_member: BTreeMap<usize, Vec<Signature>> = BTreeMap::new();
        for (input, (fields, hash)) in psbt.inputs.iter().zip(&self.hashes).enumerate() {
            for ((key, leaf), signature) in &fields.tap_script_sigs {
                let member = self.custody.keys().iter().position(|member| member == key);
                let member =
                    member.filter(|_| *leaf == leaf_hash).ok_or(SigningError::NoMember { input, key: *key })?;
                // The same as before need not be verified again: members tell what they know more than once.
                let known = self.signatures.get(&member).and_then(|known| known.get(input));
                let message = Message::from_digest(hash.to_byte_array());
                let verifies = known == Some(signature)
                    || signature.sighash_type == TapSighashType::Default
                        && self.secp.verify_schnorr(&signature.signature, &message, key).is_ok();
                if !verifies {
                    return Err(SigningError::Signature { input, key: *key });
                }
                by_member.entry(member).or_default().push(*signature);
            }
        }
        let inputs = self.hashes.len();
        for (member, signatures) in &by_member {
            let key = self.custody.keys().get(*member).copied();
            if let Some(key) = key.filter(|_| signatures.len() != inputs) {
                return Err(SigningError::Incomplete { key, found: signatures.len(), inputs });
            }
        }
        let before = self.signatures.len();
        for (member, signatures) in by_member {
            self.signatures.entry(member).or_insert(signatures);
        }
        Ok(self.signatures.len() - before)
    }

    /// The signed payment, by the first members that suffice, checked as Bitcoin will check it.
    ///
    /// # Errors
    /// [`SigningError::TooFew`] before enough members have signed.
    pub fn assemble(&self) -> Result<Transaction, SigningError> {
        let needed = self.custody.threshold();
        if !self.is_complete() {
            return Err(SigningError::TooFew { found: self.signatures.len(), needed });
        }
        let mut transaction = self.payment.transaction.clone();
        for (index, input) in transaction.input.iter_mut().enumerate() {
            // More signatures than the script counts would fail.
            let mut places: Vec<Option<Vec<u8>>> = vec![None; self.custody.keys().len()];
            for (member, signatures) in self.signatures.iter().take(needed) {
                if let (Some(place), Some(signature)) = (places.get_mut(*member), signatures.get(index)) {
                    *place = Some(signature.to_vec());
                }
            }
            input.witness = self.custody.witness(&places);
        }
        Verifier::default().verify(&transaction, &self.payment.spent)?;
        Ok(transaction)
    }
}
