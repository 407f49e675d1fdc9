//! Verifies the spends that this crate knows, completely, and refuses all others.
//!
//! | output | what is known |
//! | --- | --- |
//! | `OP_TRUE` | spent with nothing |
//! | P2PK, P2PKH | one signature |
//! | P2WPKH | one signature, compressed key (BIP-143) |
//! | P2WSH | `OP_TRUE`, one key, or k-of-n `OP_CHECKMULTISIG` of compressed keys |
//! | P2TR | key path; script path with the leaves of [`tapscript`] (BIP-341, BIP-342), annex included |
//!
//! What passes here passes in Bitcoin Core. The reverse does not hold: a spend of another kind, or in a form that only
//! consensus tolerates (hybrid keys, odd hash types), is refused with an error that says so.

use bitcoin::hashes::Hash;
use bitcoin::opcodes::all as op;
use bitcoin::script::Instruction;
use bitcoin::secp256k1::{Message, Secp256k1, VerifyOnly, XOnlyPublicKey};
use bitcoin::sighash::{Annex, EcdsaSighashType, Prevouts, SighashCache, TapSighashType};
use bitcoin::{
    PubkeyHash, PublicKey, Script, TapLeafHash, Transaction, TxIn, TxOut, WPubkeyHash, WScriptHash, Witness,
};
use bitcoin::{ecdsa, taproot};

pub mod tapscript;

/// The longest witness script (Bitcoin Core, `MAX_SCRIPT_SIZE`).
pub const MAX_SCRIPT_BYTES: usize = 10_000;
/// The most keys of a P2WSH multisig that is known here: those that fit `OP_1` to `OP_16`.
pub const MAX_MULTISIG_KEYS: usize = 16;
/// The first byte of an annex (BIP-341).
const ANNEX_TAG: u8 = 0x50;

/// Why a spend is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// The output is of a kind that is not known here. It may be valid elsewhere.
    #[error("outputs of this kind can't be verified here")]
    UnsupportedOutput,
    /// The witness script or tapscript is of a kind that is not known here. It may be valid elsewhere.
    #[error("scripts of this kind can't be verified here")]
    UnsupportedScript,
    /// A tapscript leaf of an unknown version. It may be valid elsewhere.
    #[error("leaf version {version:#04x} can't be verified here")]
    UnsupportedLeaf {
        /// The version.
        version: u8,
    },
    /// There is not one spent output for each input.
    #[error("{spent} spent outputs given for {inputs} inputs")]
    SpentCount {
        /// Inputs of the transaction.
        inputs: usize,
        /// Outputs given.
        spent: usize,
    },
    /// The scriptSig has not the pushes that the output asks for.
    #[error("the scriptSig is not what the output asks for")]
    ScriptSig,
    /// The witness has not the items that the output asks for.
    #[error("the witness has {items} items, which is not what the output asks for")]
    Witness {
        /// Items found.
        items: usize,
    },
    /// A key that is none, or is not compressed where it must be.
    #[error("a public key is malformed")]
    PublicKey,
    /// The key or script is not the one that the output commits to.
    #[error("the key or script is not the one that the output commits to")]
    Commitment,
    /// The control block is malformed.
    #[error("the control block is malformed")]
    ControlBlock,
    /// A signature is not encoded as it must be.
    #[error("a signature is malformed")]
    SignatureEncoding,
    /// The hash type is unknown, or names an output that does not exist.
    #[error("a signature's hash type is unknown or does not fit the transaction")]
    HashType,
    /// A signature does not verify.
    #[error("a signature does not verify")]
    Signature,
    /// Not as many signatures as the script asks for.
    #[error("{found} signatures, the script asks for {required}")]
    SignatureCount {
        /// Signatures found.
        found: usize,
        /// Signatures asked for.
        required: usize,
    },
    /// The input's sequence does not honour the script's relative lock (BIP-112).
    #[error("the relative lock of {lock} is not honoured")]
    RelativeLock {
        /// What the script asks for.
        lock: u32,
    },
}

/// Which input of a transaction can't be spent so, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("input {input}: {source}")]
pub struct SpendError {
    /// The input's index.
    pub input: usize,
    /// What is wrong.
    pub source: ScriptError,
}

/// Verifies spends; holds only tables.
#[derive(Debug, Clone)]
pub struct Verifier {
    secp: Secp256k1<VerifyOnly>,
}

impl Default for Verifier {
    fn default() -> Self {
        Self { secp: Secp256k1::verification_only() }
    }
}

impl Verifier {
    /// Verifies all inputs of a transaction against the outputs that they spend, in order.
    ///
    /// # Errors
    /// [`SpendError`] names the first input that fails.
    pub fn verify(&self, transaction: &Transaction, spent: &[TxOut]) -> Result<(), SpendError> {
        if spent.len() != transaction.input.len() {
            let source = ScriptError::SpentCount { inputs: transaction.input.len(), spent: spent.len() };
            return Err(SpendError { input: 0, source });
        }
        let mut hashes = SighashCache::new(transaction);
        for (index, (input, output)) in transaction.input.iter().zip(spent).enumerate() {
            let mut spend = Spend { secp: &self.secp, hashes: &mut hashes, transaction, spent, index, input, output };
            spend.verify().map_err(|source| SpendError { input: index, source })?;
        }
        Ok(())
    }
}

/// One input against the output that it spends.
struct Spend<'a, 'c> {
    secp: &'a Secp256k1<VerifyOnly>,
    hashes: &'c mut SighashCache<&'a Transaction>,
    transaction: &'a Transaction,
    spent: &'a [TxOut],
    index: usize,
    input: &'a TxIn,
    output: &'a TxOut,
}

/// Which digest an ECDSA signature is over.
enum Digest<'a> {
    Legacy(&'a Script),
    WitnessKeyHash(&'a Script),
    WitnessScript(&'a Script),
}

impl<'a> Spend<'a, '_> {
    fn verify(&mut self) -> Result<(), ScriptError> {
        let script = self.output.script_pubkey.as_script();
        if script.is_witness_program() {
            if !self.input.script_sig.is_empty() {
                return Err(ScriptError::ScriptSig);
            }
            return if script.is_p2wpkh() {
                self.verify_witness_key_hash(script)
            } else if script.is_p2wsh() {
                self.verify_witness_script(script)
            } else if script.is_p2tr() {
                self.verify_taproot(script)
            } else {
                Err(ScriptError::UnsupportedOutput)
            };
        }
        if !self.input.witness.is_empty() {
            return Err(ScriptError::Witness { items: self.input.witness.len() });
        }
        if script.as_bytes() == [op::OP_PUSHNUM_1.to_u8()] {
            return if self.input.script_sig.is_empty() { Ok(()) } else { Err(ScriptError::ScriptSig) };
        }
        if script.is_p2pk() {
            let key = script.p2pk_public_key().ok_or(ScriptError::PublicKey)?;
            let [signature] = self.pushes()?;
            return self.check_ecdsa(signature, &key, &Digest::Legacy(script));
        }
        if script.is_p2pkh() {
            let [signature, key] = self.pushes()?;
            if script.as_bytes().get(3..23) != Some(PubkeyHash::hash(key).as_byte_array()) {
                return Err(ScriptError::Commitment);
            }
            let key = PublicKey::from_slice(key).map_err(|_| ScriptError::PublicKey)?;
            return self.check_ecdsa(signature, &key, &Digest::Legacy(script));
        }
        Err(ScriptError::UnsupportedOutput)
    }

    fn verify_witness_key_hash(&mut self, script: &Script) -> Result<(), ScriptError> {
        let [signature, key] = self.witness()?;
        if script.as_bytes().get(2..22) != Some(WPubkeyHash::hash(key).as_byte_array()) {
            return Err(ScriptError::Commitment);
        }
        let key = compressed_key(key)?;
        self.check_ecdsa(signature, &key, &Digest::WitnessKeyHash(script))
    }

    fn verify_witness_script(&mut self, script: &Script) -> Result<(), ScriptError> {
        let items: Vec<&'a [u8]> = self.input.witness.iter().collect();
        let (last, stack) = items.split_last().ok_or(ScriptError::Witness { items: 0 })?;
        if last.len() > MAX_SCRIPT_BYTES {
            return Err(ScriptError::UnsupportedScript);
        }
        if script.as_bytes().get(2..34) != Some(WScriptHash::hash(last).as_byte_array()) {
            return Err(ScriptError::Commitment);
        }
        let shape = ScriptError::Witness { items: items.len() };
        let witness_script = Script::from_bytes(last);
        match parse_witness_script(witness_script)? {
            WitnessScript::True => {
                if stack.is_empty() {
                    Ok(())
                } else {
                    Err(shape)
                }
            }
            WitnessScript::Key(key) => {
                let [signature] = stack else { return Err(shape) };
                self.check_ecdsa(signature, &key, &Digest::WitnessScript(witness_script))
            }
            WitnessScript::Multisig { required, keys } => {
                // `OP_CHECKMULTISIG` takes one item more than it needs; BIP-147 wants it empty.
                let Some(([], signatures)) = stack.split_first().map(|(dummy, rest)| (*dummy, rest)) else {
                    return Err(shape);
                };
                if signatures.len() != required {
                    return Err(ScriptError::SignatureCount { found: signatures.len(), required });
                }
                self.check_multisig(signatures, &keys, &Digest::WitnessScript(witness_script))
            }
        }
    }

    /// Signatures stand in the order of their keys.
    fn check_multisig(
        &mut self,
        signatures: &[&[u8]],
        keys: &[PublicKey],
        digest: &Digest<'_>,
    ) -> Result<(), ScriptError> {
        let mut keys = keys.iter();
        for signature in signatures {
            loop {
                let key = keys.next().ok_or(ScriptError::Signature)?;
                match self.check_ecdsa(signature, key, digest) {
                    Ok(()) => break,
                    Err(ScriptError::Signature) => {}
                    Err(other) => return Err(other),
                }
            }
        }
        Ok(())
    }

    fn check_ecdsa(&mut self, signature: &[u8], key: &PublicKey, digest: &Digest<'_>) -> Result<(), ScriptError> {
        let (hash_type, der) = signature.split_last().ok_or(ScriptError::SignatureEncoding)?;
        let hash_type = EcdsaSighashType::from_standard(u32::from(*hash_type)).map_err(|_| ScriptError::HashType)?;
        let single = hash_type == EcdsaSighashType::Single || hash_type == EcdsaSighashType::SinglePlusAnyoneCanPay;
        if single && self.index >= self.transaction.output.len() {
            return Err(ScriptError::HashType);
        }
        let parsed = ecdsa::Signature::from_slice(signature).map_err(|_| ScriptError::SignatureEncoding)?;
        let mut signature = parsed.signature;
        if signature.serialize_der().as_ref() != der {
            return Err(ScriptError::SignatureEncoding);
        }
        // A high S is malleable but valid; the library verifies low ones only.
        signature.normalize_s();
        let value = self.output.value;
        let digest = match digest {
            Digest::Legacy(code) => {
                let hash = self.hashes.legacy_signature_hash(self.index, code, hash_type.to_u32());
                hash.map_err(|_| ScriptError::HashType)?.to_byte_array()
            }
            Digest::WitnessKeyHash(script) => {
                let hash = self.hashes.p2wpkh_signature_hash(self.index, script, value, hash_type);
                hash.map_err(|_| ScriptError::HashType)?.to_byte_array()
            }
            Digest::WitnessScript(script) => {
                let hash = self.hashes.p2wsh_signature_hash(self.index, script, value, hash_type);
                hash.map_err(|_| ScriptError::HashType)?.to_byte_array()
            }
        };
        let verified = self.secp.verify_ecdsa(&Message::from_digest(digest), &signature, &key.inner);
        verified.map_err(|_| ScriptError::Signature)
    }

    fn verify_taproot(&mut self, script: &Script) -> Result<(), ScriptError> {
        let items = self.input.witness.len();
        let key = script.as_bytes().get(2..34).and_then(|bytes| XOnlyPublicKey::from_slice(bytes).ok());
        let output_key = key.ok_or(ScriptError::PublicKey)?;
        let mut stack: Vec<&'a [u8]> = self.input.witness.iter().collect();
        let annex = if items >= 2 { stack.pop_if(|last| last.first() == Some(&ANNEX_TAG)) } else { None };
        match stack.as_slice() {
            [] => Err(ScriptError::Witness { items }),
            [signature] => self.check_schnorr(signature, &output_key, annex, None),
            [signatures @ .., leaf, control] => self.verify_leaf(&output_key, signatures, leaf, control, annex),
        }
    }

    fn verify_leaf(
        &mut self,
        output_key: &XOnlyPublicKey,
        signatures: &[&[u8]],
        leaf: &[u8],
        control: &[u8],
        annex: Option<&[u8]>,
    ) -> Result<(), ScriptError> {
        let control = taproot::ControlBlock::decode(control).map_err(|_| ScriptError::ControlBlock)?;
        let script = Script::from_bytes(leaf);
        if !control.verify_taproot_commitment(self.secp, *output_key, script) {
            return Err(ScriptError::Commitment);
        }
        if control.leaf_version != taproot::LeafVersion::TapScript {
            return Err(ScriptError::UnsupportedLeaf { version: control.leaf_version.to_consensus() });
        }
        let policy = tapscript::Policy::parse(script).ok_or(ScriptError::UnsupportedScript)?;
        if signatures.len() != policy.keys.len() {
            return Err(ScriptError::Witness { items: self.input.witness.len() });
        }
        let leaf_hash = TapLeafHash::from_script(script, control.leaf_version);
        let mut found = 0;
        // The first key takes the top of the stack. An empty item is "no signature"; any other must verify.
        for (key, signature) in policy.keys.iter().zip(signatures.iter().rev()) {
            if !signature.is_empty() {
                self.check_schnorr(signature, key, annex, Some(leaf_hash))?;
                found += 1;
            }
        }
        if found != policy.required {
            return Err(ScriptError::SignatureCount { found, required: policy.required });
        }
        match policy.relative_lock {
            Some(lock) if !tapscript::honours(self.transaction.version, self.input.sequence, lock) => {
                Err(ScriptError::RelativeLock { lock })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn check_schnorr(
        &mut self,
        signature: &[u8],
        key: &XOnlyPublicKey,
        annex: Option<&[u8]>,
        leaf: Option<TapLeafHash>,
    ) -> Result<(), ScriptError> {
        if signature.len() == 65 && signature.last() == Some(&0) {
            // The default type has no byte of its own (BIP-341).
            return Err(ScriptError::HashType);
        }
        let parsed = taproot::Signature::from_slice(signature).map_err(|error| {
            let hash_type = matches!(error, taproot::SigFromSliceError::SighashType(_));
            if hash_type { ScriptError::HashType } else { ScriptError::SignatureEncoding }
        })?;
        let annex = annex.map(Annex::new).transpose().map_err(|_| ScriptError::Witness { items: 0 })?;
        let single = parsed.sighash_type == TapSighashType::Single
            || parsed.sighash_type == TapSighashType::SinglePlusAnyoneCanPay;
        if single && self.index >= self.transaction.output.len() {
            return Err(ScriptError::HashType);
        }
        let prevouts = Prevouts::All(self.spent);
        // No code separator was executed: its position is the greatest number.
        let leaf = leaf.map(|hash| (hash, u32::MAX));
        let hash = self.hashes.taproot_signature_hash(self.index, &prevouts, annex, leaf, parsed.sighash_type);
        let digest = hash.map_err(|_| ScriptError::HashType)?.to_byte_array();
        let verified = self.secp.verify_schnorr(&parsed.signature, &Message::from_digest(digest), key);
        verified.map_err(|_| ScriptError::Signature)
    }

    /// The scriptSig as exactly `N` pushes.
    fn pushes<const N: usize>(&self) -> Result<[&'a [u8]; N], ScriptError> {
        let input: &'a TxIn = self.input;
        let mut pushes = Vec::with_capacity(N);
        for instruction in input.script_sig.instructions() {
            let Ok(Instruction::PushBytes(bytes)) = instruction else { return Err(ScriptError::ScriptSig) };
            if pushes.len() == N {
                return Err(ScriptError::ScriptSig);
            }
            pushes.push(bytes.as_bytes());
        }
        pushes.try_into().map_err(|_| ScriptError::ScriptSig)
    }

    /// The witness as exactly `N` items.
    fn witness<const N: usize>(&self) -> Result<[&'a [u8]; N], ScriptError> {
        let witness: &'a Witness = &self.input.witness;
        let items: Vec<&'a [u8]> = witness.iter().collect();
        items.try_into().map_err(|items: Vec<_>| ScriptError::Witness { items: items.len() })
    }
}

enum WitnessScript {
    True,
    Key(PublicKey),
    Multisig { required: usize, keys: Vec<PublicKey> },
}

fn parse_witness_script(script: &Script) -> Result<WitnessScript, ScriptError> {
    let unsupported = ScriptError::UnsupportedScript;
    let instructions: Result<Vec<Instruction<'_>>, _> = script.instructions_minimal().collect();
    let instructions = instructions.map_err(|_| unsupported)?;
    match instructions.as_slice() {
        [Instruction::Op(op::OP_PUSHNUM_1)] => Ok(WitnessScript::True),
        [Instruction::PushBytes(key), Instruction::Op(op::OP_CHECKSIG)] => {
            Ok(WitnessScript::Key(compressed_key(key.as_bytes())?))
        }
        [required, keys @ .., count, Instruction::Op(op::OP_CHECKMULTISIG)] => {
            let required = small_number(required).ok_or(unsupported)?;
            if small_number(count) != Some(keys.len()) || required > keys.len() {
                return Err(unsupported);
            }
            let keys = keys.iter().map(|key| match key {
                Instruction::PushBytes(key) => compressed_key(key.as_bytes()),
                Instruction::Op(_) => Err(unsupported),
            });
            Ok(WitnessScript::Multisig { required, keys: keys.collect::<Result<_, _>>()? })
        }
        _ => Err(unsupported),
    }
}

/// A number from 1 to 16 that has an opcode of its own.
fn small_number(instruction: &Instruction<'_>) -> Option<usize> {
    let code = instruction.opcode()?.to_u8();
    let number = usize::from(code.checked_sub(op::OP_PUSHNUM_1.to_u8())?) + 1;
    (number <= MAX_MULTISIG_KEYS).then_some(number)
}

fn compressed_key(bytes: &[u8]) -> Result<PublicKey, ScriptError> {
    PublicKey::from_slice(bytes).ok().filter(|key| key.compressed).ok_or(ScriptError::PublicKey)
}
