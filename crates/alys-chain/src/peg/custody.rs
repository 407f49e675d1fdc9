//! Who holds the deposits: a taproot output that only a k-of-n script can spend (protocol section 7).
//!
//! `tr(NUMS, multi_a(k, K1, …, Kn))`: the internal key is BIP-341's point of which nobody knows the logarithm, so there
//! is no key path; the one leaf is miniscript's `multi_a`.

use alys_primitives::PegSpec;
use bitcoin::{
    ScriptBuf, TapNodeHash, TxOut, Witness, XOnlyPublicKey,
    opcodes::all::{OP_CHECKSIG, OP_CHECKSIGADD, OP_NUMEQUAL},
    script::Builder,
    secp256k1::Secp256k1,
    taproot::{ControlBlock, LeafVersion, TapLeafHash, TaprootBuilder},
};

/// BIP-341's example of a point with no known logarithm: the hash of the generator lifted to the curve.
pub const NUMS_KEY: [u8; 32] = [
    0x50, 0x92, 0x9b, 0x74, 0xc1, 0xa0, 0x49, 0x54, 0xb7, 0x8b, 0x4b, 0x60, 0x35, 0xe9, 0x7a, 0x5e, 0x07, 0x8a, 0x5a,
    0x0f, 0x28, 0xec, 0x96, 0xd5, 0x47, 0xbf, 0xee, 0x9a, 0xce, 0x80, 0x3a, 0xc0,
];

/// Bytes of a signature with the default hash type (BIP-341).
const SIGNATURE_BYTES: usize = 64;

/// Why custody can't be made of a spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CustodyError {
    /// A key is no point of the curve.
    #[error("custody key {index} is no x-only public key")]
    Key {
        /// Its index.
        index: usize,
    },
    /// There is no such script.
    #[error("{threshold} of {keys} custody keys make no script")]
    Script {
        /// Signatures needed.
        threshold: u64,
        /// Keys.
        keys: usize,
    },
}

/// The output that deposits pay to, and what spending it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Custody {
    keys: Vec<XOnlyPublicKey>,
    threshold: usize,
    leaf: ScriptBuf,
    control: ControlBlock,
    script_pubkey: ScriptBuf,
}

impl Custody {
    /// The custody that a spec's keys make.
    ///
    /// # Errors
    /// [`CustodyError`].
    pub fn of_spec(spec: &PegSpec) -> Result<Self, CustodyError> {
        Self::new(super::rotation::points(&spec.custody_keys)?, spec.custody_threshold)
    }

    /// `threshold` of `keys`.
    ///
    /// # Errors
    /// [`CustodyError::Script`] unless 1 <= threshold <= keys <= 128.
    pub fn new(keys: Vec<XOnlyPublicKey>, threshold: u64) -> Result<Self, CustodyError> {
        let refused = CustodyError::Script { threshold, keys: keys.len() };
        let needed = usize::try_from(threshold).map_err(|_| refused)?;
        if !(1..=keys.len()).contains(&needed) || keys.len() > alys_primitives::MAX_MEMBERS {
            return Err(refused);
        }
        let mut builder = Builder::new();
        for (index, key) in keys.iter().enumerate() {
            let opcode = if index == 0 { OP_CHECKSIG } else { OP_CHECKSIGADD };
            builder = builder.push_x_only_key(key).push_opcode(opcode);
        }
        let number = i64::try_from(threshold).map_err(|_| refused)?;
        let leaf = builder.push_int(number).push_opcode(OP_NUMEQUAL).into_script();
        let internal = XOnlyPublicKey::from_slice(&NUMS_KEY).map_err(|_| refused)?;
        let secp = Secp256k1::verification_only();
        let tree = TaprootBuilder::new().add_leaf(0, leaf.clone()).map_err(|_| refused)?;
        let spend = tree.finalize(&secp, internal).map_err(|_| refused)?;
        let control = spend.control_block(&(leaf.clone(), LeafVersion::TapScript)).ok_or(refused)?;
        let script_pubkey = ScriptBuf::new_p2tr_tweaked(spend.output_key());
        Ok(Self { keys, threshold: needed, leaf, control, script_pubkey })
    }

    /// The keys, in order of the members.
    pub fn keys(&self) -> &[XOnlyPublicKey] {
        &self.keys
    }

    /// How many must sign.
    pub fn threshold(&self) -> usize {
        self.threshold
    }

    /// What deposits pay to.
    pub fn script_pubkey(&self) -> &ScriptBuf {
        &self.script_pubkey
    }

    /// The tapscript.
    pub fn leaf(&self) -> &ScriptBuf {
        &self.leaf
    }

    /// The output as a descriptor, which wallets and miniscript understand; without a checksum.
    pub fn descriptor(&self) -> String {
        let mut text = format!("tr({},multi_a({}", self.control.internal_key, self.threshold);
        for key in &self.keys {
            text.push(',');
            text.push_str(&key.to_string());
        }
        text.push_str("))");
        text
    }

    /// Hash of the tapscript, which signatures cover.
    pub fn leaf_hash(&self) -> TapLeafHash {
        TapLeafHash::from_script(&self.leaf, LeafVersion::TapScript)
    }

    /// Root of the tree of scripts, of which there is one.
    pub fn merkle_root(&self) -> TapNodeHash {
        TapNodeHash::from(self.leaf_hash())
    }

    /// The control block that shows the tapscript to be part of the output.
    pub fn control_block(&self) -> &ControlBlock {
        &self.control
    }

    /// An output of this custody.
    pub fn output(&self, value: bitcoin::Amount) -> TxOut {
        TxOut { value, script_pubkey: self.script_pubkey.clone() }
    }

    /// The witness of an input with these signatures, one place per key; an empty one is "no signature". The first key
    /// takes the top of the stack.
    pub fn witness<S: AsRef<[u8]>>(&self, signatures: &[Option<S>]) -> Witness {
        let mut witness = Witness::new();
        for signature in signatures.iter().rev() {
            witness.push(signature.as_ref().map_or(&[][..], AsRef::as_ref));
        }
        witness.push(self.leaf.as_bytes());
        witness.push(self.control.serialize());
        witness
    }

    /// A witness of the size that every complete one has.
    pub(crate) fn sample_witness(&self) -> Witness {
        let signatures: Vec<Option<[u8; SIGNATURE_BYTES]>> =
            (0..self.keys.len()).map(|index| (index < self.threshold).then_some([0; SIGNATURE_BYTES])).collect();
        self.witness(&signatures)
    }
}
