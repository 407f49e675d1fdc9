//! Who holds the deposits: a taproot output that only a k-of-n script can spend (protocol section 7).
//!
//! `tr(NUMS, multi_a(k, K1, …, Kn))`: the internal key is BIP-341's point of which nobody knows the logarithm, so there
//! is no key path; the leaf is miniscript's `multi_a`. Where the chain spec names recovery keys there is a second leaf,
//! `and_v(v:multi_a(m, R1, …, Rl), older(N))`, by which those can spend a coin that has lain for `N` blocks. The chain's
//! payments never take it; it costs them 32 bytes an input, the hash by which the first leaf shows that it is one of two.

use alys_primitives::{B256, Custodians, CustodyKeys, CustodyRecovery, PegSpec};
use bitcoin::{
    ScriptBuf, Sequence, TapNodeHash, TxOut, Witness, XOnlyPublicKey,
    opcodes::all::{OP_CHECKSIG, OP_CHECKSIGADD, OP_CSV, OP_NUMEQUAL, OP_NUMEQUALVERIFY},
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
    /// A recovery key is no point of the curve.
    #[error("recovery key {index} is no x-only public key")]
    RecoveryKey {
        /// Its index.
        index: usize,
    },
    /// There is no such recovery leaf.
    #[error("{threshold} of {keys} recovery keys after {blocks} blocks make no script")]
    Recovery {
        /// Signatures needed.
        threshold: u64,
        /// Keys.
        keys: usize,
        /// Blocks that a coin must have lain.
        blocks: u64,
    },
}

/// The output that deposits pay to, and what spending it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Custody {
    keys: Vec<XOnlyPublicKey>,
    threshold: usize,
    leaf: ScriptBuf,
    control: ControlBlock,
    merkle_root: TapNodeHash,
    script_pubkey: ScriptBuf,
    recovery: Option<Recovery>,
}

/// The leaf by which recovery keys spend coins that have lain for long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    keys: Vec<XOnlyPublicKey>,
    threshold: usize,
    blocks: u16,
    leaf: ScriptBuf,
    control: ControlBlock,
}

impl Recovery {
    /// The keys, in the order of the chain spec.
    pub fn keys(&self) -> &[XOnlyPublicKey] {
        &self.keys
    }

    /// How many must sign.
    pub fn threshold(&self) -> usize {
        self.threshold
    }

    /// Bitcoin blocks for which a coin must have lain.
    pub fn blocks(&self) -> u16 {
        self.blocks
    }

    /// The control block that shows the tapscript to be part of the output.
    pub fn control_block(&self) -> &ControlBlock {
        &self.control
    }

    /// The tapscript.
    pub fn leaf(&self) -> &ScriptBuf {
        &self.leaf
    }

    /// Hash of the tapscript, which signatures cover.
    pub fn leaf_hash(&self) -> TapLeafHash {
        TapLeafHash::from_script(&self.leaf, LeafVersion::TapScript)
    }

    /// The sequence that an input must have which spends by this leaf.
    pub fn sequence(&self) -> Sequence {
        Sequence::from_height(self.blocks)
    }

    /// The witness of an input with these signatures, one place per key; an empty one is "no signature".
    pub fn witness<S: AsRef<[u8]>>(&self, signatures: &[Option<S>]) -> Witness {
        witness(signatures, &self.leaf, &self.control)
    }
}

impl Custody {
    /// The custody that a spec's keys make.
    ///
    /// # Errors
    /// [`CustodyError`].
    pub fn of_spec(spec: &PegSpec) -> Result<Self, CustodyError> {
        let custodians = Custodians { keys: spec.custody_keys.clone(), threshold: spec.custody_threshold };
        Self::of(&custodians, spec.recovery.first())
    }

    /// The custody of these custodians, with the recovery leaf that the chain spec asks for.
    ///
    /// # Errors
    /// [`CustodyError`].
    pub fn of(custodians: &Custodians, recovery: Option<&CustodyRecovery>) -> Result<Self, CustodyError> {
        let keys = points(&custodians.keys).map_err(|index| CustodyError::Key { index })?;
        Self::build(keys, custodians.threshold, recovery)
    }

    /// `threshold` of `keys`, without a recovery leaf.
    ///
    /// # Errors
    /// [`CustodyError::Script`] unless 1 <= threshold <= keys <= 128.
    pub fn new(keys: Vec<XOnlyPublicKey>, threshold: u64) -> Result<Self, CustodyError> {
        Self::build(keys, threshold, None)
    }

    fn build(
        keys: Vec<XOnlyPublicKey>,
        threshold: u64,
        recovery: Option<&CustodyRecovery>,
    ) -> Result<Self, CustodyError> {
        let refused = CustodyError::Script { threshold, keys: keys.len() };
        let needed = usize::try_from(threshold).map_err(|_| refused)?;
        if !(1..=keys.len()).contains(&needed) || keys.len() > alys_primitives::MAX_MEMBERS {
            return Err(refused);
        }
        let leaf = multi_a(&keys, threshold).ok_or(refused)?.push_opcode(OP_NUMEQUAL).into_script();
        let internal = XOnlyPublicKey::from_slice(&NUMS_KEY).map_err(|_| refused)?;
        let recovery = recovery.map(RecoveryScript::new).transpose()?;
        let tree = match &recovery {
            None => TaprootBuilder::new().add_leaf(0, leaf.clone()),
            Some(recovery) => {
                TaprootBuilder::new().add_leaf(1, leaf.clone()).and_then(|tree| tree.add_leaf(1, recovery.leaf.clone()))
            }
        };
        let secp = Secp256k1::verification_only();
        let spend = tree.map_err(|_| refused)?.finalize(&secp, internal).map_err(|_| refused)?;
        let control_of = |leaf: &ScriptBuf| spend.control_block(&(leaf.clone(), LeafVersion::TapScript));
        let control = control_of(&leaf).ok_or(refused)?;
        let merkle_root = spend.merkle_root().ok_or(refused)?;
        let script_pubkey = ScriptBuf::new_p2tr_tweaked(spend.output_key());
        let recovery = match recovery {
            Some(RecoveryScript { keys, threshold, blocks, leaf }) => {
                let control = control_of(&leaf).ok_or(refused)?;
                Some(Recovery { keys, threshold, blocks, leaf, control })
            }
            None => None,
        };
        Ok(Self { keys, threshold: needed, leaf, control, merkle_root, script_pubkey, recovery })
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
        let internal = self.control.internal_key;
        let custody = multi_a_text(&self.keys, self.threshold);
        match &self.recovery {
            None => format!("tr({internal},{custody})"),
            Some(Recovery { keys, threshold, blocks, .. }) => {
                let recovery = multi_a_text(keys, *threshold);
                format!("tr({internal},{{{custody},and_v(v:{recovery},older({blocks}))}})")
            }
        }
    }

    /// The leaf for recovery, if the chain spec asks for one.
    pub fn recovery(&self) -> Option<&Recovery> {
        self.recovery.as_ref()
    }

    /// Hash of the tapscript, which signatures cover.
    pub fn leaf_hash(&self) -> TapLeafHash {
        TapLeafHash::from_script(&self.leaf, LeafVersion::TapScript)
    }

    /// Root of the tree of scripts.
    pub fn merkle_root(&self) -> TapNodeHash {
        self.merkle_root
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
        witness(signatures, &self.leaf, &self.control)
    }

    /// A witness of the size that every complete one has.
    pub(crate) fn sample_witness(&self) -> Witness {
        let signatures: Vec<Option<[u8; SIGNATURE_BYTES]>> =
            (0..self.keys.len()).map(|index| (index < self.threshold).then_some([0; SIGNATURE_BYTES])).collect();
        self.witness(&signatures)
    }
}

/// What a recovery leaf is before it is part of an output.
struct RecoveryScript {
    keys: Vec<XOnlyPublicKey>,
    threshold: usize,
    blocks: u16,
    leaf: ScriptBuf,
}

impl RecoveryScript {
    fn new(spec: &CustodyRecovery) -> Result<Self, CustodyError> {
        let CustodyRecovery { threshold, blocks, .. } = *spec;
        let refused = CustodyError::Recovery { threshold, keys: spec.keys.len(), blocks };
        let keys = points(&spec.keys).map_err(|index| CustodyError::RecoveryKey { index })?;
        let needed = usize::try_from(threshold).ok().filter(|needed| (1..=keys.len()).contains(needed));
        let blocks = u16::try_from(blocks).ok().filter(|blocks| *blocks > 0).ok_or(refused)?;
        let leaf = multi_a(&keys, threshold).ok_or(refused)?.push_opcode(OP_NUMEQUALVERIFY);
        let leaf = leaf.push_int(i64::from(blocks)).push_opcode(OP_CSV).into_script();
        Ok(Self { keys, threshold: needed.ok_or(refused)?, blocks, leaf })
    }
}

/// The keys as points of the curve, or the index of one that is none.
fn points(keys: &CustodyKeys) -> Result<Vec<XOnlyPublicKey>, usize> {
    let point = |(index, key): (usize, &B256)| XOnlyPublicKey::from_slice(key.as_slice()).map_err(|_| index);
    keys.iter().enumerate().map(point).collect()
}

/// Everything of miniscript's `multi_a` but the comparison at its end.
fn multi_a(keys: &[XOnlyPublicKey], threshold: u64) -> Option<Builder> {
    let mut builder = Builder::new();
    for (index, key) in keys.iter().enumerate() {
        let opcode = if index == 0 { OP_CHECKSIG } else { OP_CHECKSIGADD };
        builder = builder.push_x_only_key(key).push_opcode(opcode);
    }
    Some(builder.push_int(i64::try_from(threshold).ok()?))
}

fn multi_a_text(keys: &[XOnlyPublicKey], threshold: usize) -> String {
    let mut text = format!("multi_a({threshold}");
    for key in keys {
        text.push(',');
        text.push_str(&key.to_string());
    }
    text.push(')');
    text
}

/// The first key takes the top of the stack.
fn witness<S: AsRef<[u8]>>(signatures: &[Option<S>], leaf: &ScriptBuf, control: &ControlBlock) -> Witness {
    let mut witness = Witness::new();
    for signature in signatures.iter().rev() {
        witness.push(signature.as_ref().map_or(&[][..], AsRef::as_ref));
    }
    witness.push(leaf.as_bytes());
    witness.push(control.serialize());
    witness
}
