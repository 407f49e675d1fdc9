//! Namecoin's checks of a proof, in Namecoin's order.

use crate::{
    AuxPow, Commitment, MAGIC, MAX_CHAIN_BRANCH, Target, expected_index,
    hash::{display_order, merkle_fold},
};
use alloy_primitives::B256;
use alys_primitives::AuxPowSpec;
use std::{fmt, str::FromStr};
use thiserror::Error;

/// How far into a scriptSig without magic the root may start.
const MAX_BARE_ROOT_OFFSET: usize = 20;

/// Bytes of size and nonce behind the root.
const TAIL_BYTES: usize = 8;

/// Where in the coinbase the commitment may stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CommitmentPlace {
    /// In the first input's scriptSig, as Namecoin has it.
    #[default]
    ScriptSig,
    /// In exactly one output, with no magic in the scriptSig.
    Output,
    /// In the scriptSig if that carries the magic or the root, else in an output.
    Either,
}

impl fmt::Display for CommitmentPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ScriptSig => "scriptsig",
            Self::Output => "output",
            Self::Either => "either",
        })
    }
}

impl FromStr for CommitmentPlace {
    type Err = UnknownPlace;

    fn from_str(text: &str) -> Result<Self, UnknownPlace> {
        match text {
            "scriptsig" => Ok(Self::ScriptSig),
            "output" => Ok(Self::Output),
            "either" => Ok(Self::Either),
            _ => Err(UnknownPlace),
        }
    }
}

/// A name that is no [`CommitmentPlace`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the commitment's place is scriptsig, output or either")]
pub struct UnknownPlace;

/// What one chain demands of a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The chain's id in merged mining.
    pub chain_id: u64,
    /// Where the commitment may stand.
    pub place: CommitmentPlace,
}

impl Rules {
    /// The rules of a chain spec.
    pub const fn of_spec(spec: &AuxPowSpec) -> Self {
        let place = if spec.allow_output_commitment { CommitmentPlace::Either } else { CommitmentPlace::ScriptSig };
        Self { chain_id: spec.chain_id, place }
    }
}

/// Where the commitment was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// In the first input's scriptSig.
    InScriptSig,
    /// In an output.
    InOutput {
        /// Which one.
        index: usize,
    },
}

/// What a proof that passed commits to, and by which header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The tree's root, size and nonce.
    pub commitment: Commitment,
    /// Where it stood.
    pub found: Found,
    /// Hash of the parent header, internal byte order. One header serves one record: that is the caller's to check.
    pub parent_hash: B256,
}

/// The rule that a proof breaks; the variants stand in the order of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum VerifyError {
    /// The parent says that it is a block of our own chain.
    #[error("the parent's version carries our own chain id {chain_id}")]
    ParentChainId {
        /// The id.
        chain_id: u64,
    },
    /// The chain branch is longer than [`MAX_CHAIN_BRANCH`].
    #[error("the chain branch has {length} items, at most {MAX_CHAIN_BRANCH} are allowed")]
    BranchTooLong {
        /// Its length.
        length: usize,
    },
    /// The coinbase, at index 0, is not under the parent's Merkle root.
    #[error("the coinbase branch leads to {}, the parent's Merkle root is {}", display_order(*found), display_order(*expected))]
    CoinbaseBranch {
        /// Where the branch leads, internal byte order.
        found: B256,
        /// The header's root, internal byte order.
        expected: B256,
    },
    /// The coinbase has no input whose scriptSig could carry anything.
    #[error("the coinbase has no inputs")]
    NoInputs,
    /// An output can't commit while the scriptSig carries the magic.
    #[error("the commitment must stand in an output but the scriptSig carries the magic")]
    MagicInScriptSig,
    /// An output commits in a transaction that is not a coinbase.
    #[error("the commitment stands in an output of a transaction that is not a coinbase")]
    NotCoinbase,
    /// The root of the chain tree is nowhere it may be.
    #[error("the coinbase does not carry the chain tree's root {}", display_order(*root))]
    RootAbsent {
        /// The root that the hash, branch and index lead to, internal byte order.
        root: B256,
    },
    /// More than one output carries the magic or the root.
    #[error("{count} outputs carry a commitment, exactly one may")]
    SeveralOutputs {
        /// How many do.
        count: usize,
    },
    /// The magic occurs twice.
    #[error("the magic occurs twice, at bytes {first} and {second}")]
    TwoMagics {
        /// Where it first starts.
        first: usize,
        /// Where it starts again.
        second: usize,
    },
    /// The root is not right behind the magic.
    #[error("the magic starts at byte {magic} but the root at byte {root}, not right behind it")]
    GapAfterMagic {
        /// Where the magic starts.
        magic: usize,
        /// Where the root starts.
        root: usize,
    },
    /// A scriptSig without magic carries the root too late.
    #[error("without the magic the root must start within {MAX_BARE_ROOT_OFFSET} bytes, not at byte {root}")]
    LateRoot {
        /// Where the root starts.
        root: usize,
    },
    /// An output without magic carries the root. Only scriptSigs of merged mining's first weeks lack the magic; an
    /// output has no such past to be compatible with.
    #[error("the output carries the root without the magic")]
    NoMagicInOutput,
    /// No room for size and nonce.
    #[error("only {length} bytes follow the root, size and nonce take {TAIL_BYTES}")]
    ShortTail {
        /// How many bytes follow.
        length: usize,
    },
    /// The size in the coinbase is not that of the tree.
    #[error("the coinbase says that the tree has {found} places, the branch leads to {expected}")]
    Size {
        /// What the coinbase says.
        found: u32,
        /// Two to the branch's length.
        expected: u32,
    },
    /// The hash does not stand where our chain id belongs.
    #[error("the hash stands at place {found} of the tree, our chain id belongs at {expected}")]
    ChainIndex {
        /// The proof's index.
        found: i32,
        /// The only right one.
        expected: u32,
    },
    /// The parent was itself merged-mined.
    #[error("the parent's version {version:#010x} carries the auxpow bit")]
    AuxPowBit {
        /// The version.
        version: u32,
    },
    /// The parent's hash exceeds the target.
    #[error("the parent's hash {} misses the target {target}", display_order(*hash))]
    Work {
        /// The hash, internal byte order.
        hash: B256,
        /// Our target.
        target: Target,
    },
}

/// All that [`VerifyError::rule`] can answer, in the order of the checks.
pub const RULES: [&str; 17] = [
    "parent-chain-id",
    "branch-too-long",
    "coinbase-branch",
    "no-inputs",
    "magic-in-scriptsig",
    "not-coinbase",
    "root-absent",
    "several-outputs",
    "two-magics",
    "gap-after-magic",
    "late-root",
    "no-magic-in-output",
    "short-tail",
    "size",
    "chain-index",
    "auxpow-bit",
    "work",
];

impl VerifyError {
    /// A stable name for logs, metric labels and the command line.
    pub const fn rule(&self) -> &'static str {
        match self {
            Self::ParentChainId { .. } => "parent-chain-id",
            Self::BranchTooLong { .. } => "branch-too-long",
            Self::CoinbaseBranch { .. } => "coinbase-branch",
            Self::NoInputs => "no-inputs",
            Self::MagicInScriptSig => "magic-in-scriptsig",
            Self::NotCoinbase => "not-coinbase",
            Self::RootAbsent { .. } => "root-absent",
            Self::SeveralOutputs { .. } => "several-outputs",
            Self::TwoMagics { .. } => "two-magics",
            Self::GapAfterMagic { .. } => "gap-after-magic",
            Self::LateRoot { .. } => "late-root",
            Self::NoMagicInOutput => "no-magic-in-output",
            Self::ShortTail { .. } => "short-tail",
            Self::Size { .. } => "size",
            Self::ChainIndex { .. } => "chain-index",
            Self::AuxPowBit { .. } => "auxpow-bit",
            Self::Work { .. } => "work",
        }
    }
}

impl AuxPow {
    /// Checks that this proof commits to `hash` (internal byte order) with enough work for `target`.
    ///
    /// # Errors
    /// The first broken rule in the order of Namecoin's checks.
    pub fn verify(&self, hash: B256, rules: &Rules, target: Target) -> Result<Verified, VerifyError> {
        let verified = self.verify_commitment(hash, rules)?;
        if !target.is_met_by(verified.parent_hash) {
            return Err(VerifyError::Work { hash: verified.parent_hash, target });
        }
        Ok(verified)
    }

    /// [`AuxPow::verify`] without the last check: everything but the work, for diagnosis and for parents whose work is
    /// not SHA-256.
    ///
    /// # Errors
    /// The first broken rule in the order of Namecoin's checks.
    pub fn verify_commitment(&self, hash: B256, rules: &Rules) -> Result<Verified, VerifyError> {
        if u64::from(self.parent.chain_id()) == rules.chain_id {
            return Err(VerifyError::ParentChainId { chain_id: rules.chain_id });
        }
        if self.chain_branch.len() > MAX_CHAIN_BRANCH {
            return Err(VerifyError::BranchTooLong { length: self.chain_branch.len() });
        }
        let root = self.chain_root(hash);
        // Index 0 whatever the layout's `nIndex` says: any other transaction could carry any commitment.
        let found = merkle_fold(self.coinbase.txid(), &self.coinbase_branch, 0);
        let expected = self.parent.merkle_root();
        if found != expected {
            return Err(VerifyError::CoinbaseBranch { found, expected });
        }
        let (tail, place) = self.locate(root, rules.place)?;
        let commitment = self.check_tail(tail, root, rules.chain_id)?;
        if self.parent.has_auxpow_bit() {
            return Err(VerifyError::AuxPowBit { version: self.parent.version() });
        }
        Ok(Verified { commitment, found: place, parent_hash: self.parent.hash() })
    }

    /// The root that `hash` leads to. An index of -1 leads nowhere (`CheckMerkleBranch` of Namecoin).
    fn chain_root(&self, hash: B256) -> B256 {
        if self.chain_index == -1 {
            return B256::ZERO;
        }
        // Only the lower 30 bits are used, so the sign does not matter; a negative index fails the last check.
        merkle_fold(hash, &self.chain_branch, self.chain_index.cast_unsigned())
    }

    /// Finds the root in the coinbase and returns what follows it.
    fn locate(&self, root: B256, place: CommitmentPlace) -> Result<(&[u8], Found), VerifyError> {
        let script = &self.coinbase.inputs.first().ok_or(VerifyError::NoInputs)?.script;
        let shown = display_order(root);
        let announced = find(script, &MAGIC).is_some();
        let in_script_sig = match place {
            CommitmentPlace::ScriptSig => true,
            CommitmentPlace::Output if announced => return Err(VerifyError::MagicInScriptSig),
            CommitmentPlace::Output => false,
            CommitmentPlace::Either => announced || find(script, shown.as_slice()).is_some(),
        };
        if in_script_sig {
            let (tail, offset, announced) = behind_root(script, root)?;
            if !announced && offset > MAX_BARE_ROOT_OFFSET {
                return Err(VerifyError::LateRoot { root: offset });
            }
            return Ok((tail, Found::InScriptSig));
        }
        if !self.coinbase.is_coinbase() {
            return Err(VerifyError::NotCoinbase);
        }
        let scripts = || self.coinbase.outputs.iter().map(|output| output.script.as_slice()).enumerate();
        if !scripts().any(|(_, script)| find(script, shown.as_slice()).is_some()) {
            return Err(VerifyError::RootAbsent { root });
        }
        let mut carriers =
            scripts().filter(|(_, script)| find(script, &MAGIC).is_some() || find(script, shown.as_slice()).is_some());
        let (index, script) = carriers.next().ok_or(VerifyError::RootAbsent { root })?;
        let others = carriers.count();
        if others > 0 {
            return Err(VerifyError::SeveralOutputs { count: others.saturating_add(1) });
        }
        let (tail, _, announced) = behind_root(script, root)?;
        if !announced {
            return Err(VerifyError::NoMagicInOutput);
        }
        Ok((tail, Found::InOutput { index }))
    }

    /// Size and nonce behind the root, against the branch and our chain id.
    fn check_tail(&self, tail: &[u8], root: B256, chain_id: u64) -> Result<Commitment, VerifyError> {
        let short = VerifyError::ShortTail { length: tail.len() };
        let (size, rest) = tail.split_first_chunk::<4>().ok_or(short)?;
        let nonce = u32::from_le_bytes(*rest.first_chunk::<4>().ok_or(short)?);
        let size = u32::from_le_bytes(*size);
        let height = self.chain_branch.len();
        let expected = u32::try_from(height).ok().and_then(|height| 1u32.checked_shl(height)).unwrap_or(0);
        if size != expected {
            return Err(VerifyError::Size { found: size, expected });
        }
        let index = expected_index(nonce, chain_id, height);
        if u32::try_from(self.chain_index) != Ok(index) {
            return Err(VerifyError::ChainIndex { found: self.chain_index, expected: index });
        }
        Ok(Commitment { root, size, nonce })
    }
}

/// What follows the root's first occurrence in a script, where it starts, and whether the magic stands before it.
fn behind_root(script: &[u8], root: B256) -> Result<(&[u8], usize, bool), VerifyError> {
    let shown = display_order(root);
    let start = find(script, shown.as_slice()).ok_or(VerifyError::RootAbsent { root })?;
    let magic = find(script, &MAGIC);
    if let Some(first) = magic {
        let from = first.saturating_add(1);
        if let Some(distance) = script.get(from..).and_then(|rest| find(rest, &MAGIC)) {
            return Err(VerifyError::TwoMagics { first, second: from.saturating_add(distance) });
        }
        if first.saturating_add(MAGIC.len()) != start {
            return Err(VerifyError::GapAfterMagic { magic: first, root: start });
        }
    }
    let tail = script.get(start.saturating_add(shown.len())..).unwrap_or_default();
    Ok((tail, start, magic.is_some()))
}

/// Where `needle` first occurs, byte for byte: a push opcode in between would not be seen, as Namecoin does not see it.
fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
