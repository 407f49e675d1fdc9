//! How far a block can be checked without importing it (the chain actor's `ValidateBlock`): levels, each a pure function
//! from data to a proof, that run on any thread.
//!
//! A proof can be made only here, and says what was checked: [`WellFormed`] and [`Signed`] need no ancestors,
//! [`Consistent`] needs the parent as a [`Context`]. [`FullyValid`] is all three; only execution is left then, which is
//! the engine's.

use crate::{
    basic, change,
    checkpoint::TrunkBlock,
    constants::Constants,
    error::{AuxPowError, BlockError, VerifyError},
    transition,
    tree::Entry,
    verify::{Basis, Verified, Verifier},
};
use alys_auxpow::AuxPow;
use alys_primitives::{Root, SignedBlock};
use std::sync::Arc;

/// How much of a block is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ValidationLevel {
    /// Form: sizes, hashes, what neither ancestors nor keys are needed for.
    Basic,
    /// The author's signature, the parent's certificate, work and other records that prove something themselves.
    SignatureOnly,
    /// Everything that follows from the ancestors: height, slot, author, state root, withdrawals, difficulty.
    ConsensusOnly,
    /// All of them.
    Full,
}

/// What kind of mistake makes a block fail; for metrics and for peers' scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorCategory {
    /// The block contradicts itself.
    Form,
    /// A signature, certificate or other proof does not hold.
    Signature,
    /// The block does not follow from its ancestors.
    Consensus,
    /// Nothing is wrong with the block as far as is known: an ancestor or an epoch is missing.
    Unavailable,
}

/// Why a block fails.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValidationError {
    /// Its form or its signatures.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// Its place in the chain.
    #[error(transparent)]
    Consensus(BlockError),
    /// Its parent is not known.
    #[error("the parent {0} is not known")]
    UnknownParent(Root),
}

impl ValidationError {
    /// The kind of mistake.
    pub fn category(&self) -> ErrorCategory {
        match self {
            Self::Verify(VerifyError::UnknownEpoch { .. }) | Self::UnknownParent(_) => ErrorCategory::Unavailable,
            Self::Verify(
                VerifyError::NoMember { .. }
                | VerifyError::Signature
                | VerifyError::Certificate(_)
                | VerifyError::Block(BlockError::AuxPow(_) | BlockError::Evidence(_) | BlockError::Federation(_)),
            ) => ErrorCategory::Signature,
            Self::Verify(VerifyError::ParentCertificate | VerifyError::BodyRoot { .. } | VerifyError::Block(_)) => {
                ErrorCategory::Form
            }
            Self::Consensus(BlockError::PendingFull | BlockError::NotOnFinalized) => ErrorCategory::Unavailable,
            Self::Consensus(_) => ErrorCategory::Consensus,
        }
    }
}

/// Proof that a block is well-formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WellFormed(Root);

/// Proof that a block's signatures and work hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    root: Root,
    basis: Basis,
}

/// Proof that a block follows from its ancestors, its execution apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consistent(Root);

/// Proof of everything but execution.
#[derive(Clone, Debug)]
pub struct FullyValid {
    block: Arc<SignedBlock>,
    basis: Basis,
}

impl FullyValid {
    /// As the core takes it in.
    pub fn verified(&self) -> Verified<SignedBlock> {
        Verified::new(self.block.as_ref().clone(), self.basis.clone())
    }
}

/// What a level has proven.
#[derive(Clone, Debug)]
pub enum Validated {
    /// [`ValidationLevel::Basic`].
    Basic(WellFormed),
    /// [`ValidationLevel::SignatureOnly`].
    Signatures(Signed),
    /// [`ValidationLevel::ConsensusOnly`].
    Consensus(Consistent),
    /// [`ValidationLevel::Full`].
    Full(FullyValid),
}

impl Validated {
    /// The block that it is about.
    pub fn root(&self) -> Root {
        match self {
            Self::Basic(WellFormed(root)) | Self::Consensus(Consistent(root)) => *root,
            Self::Signatures(signed) => signed.root,
            Self::Full(full) => full.block.root(),
        }
    }

    /// What was asked for.
    pub fn level(&self) -> ValidationLevel {
        match self {
            Self::Basic(_) => ValidationLevel::Basic,
            Self::Signatures(_) => ValidationLevel::SignatureOnly,
            Self::Consensus(_) => ValidationLevel::ConsensusOnly,
            Self::Full(_) => ValidationLevel::Full,
        }
    }
}

/// What the children of one block must be: a snapshot, so that they can be checked while the chain moves on.
#[derive(Clone, Debug)]
pub struct Context {
    pub(crate) constants: Arc<Constants>,
    pub(crate) parent: Entry,
    /// Blocks that a bundle in a child may commit to.
    pub(crate) uncommitted: Arc<Vec<TrunkBlock>>,
}

impl Context {
    /// The block whose children it is about.
    pub fn parent(&self) -> Root {
        self.parent.root
    }

    /// Checks what follows from a block's ancestors.
    ///
    /// # Errors
    /// [`BlockError`] with the first rule that is broken.
    pub fn check(&self, block: &SignedBlock) -> Result<Consistent, BlockError> {
        let parent_header = match block.body.auxpow.first() {
            Some(record) => {
                let proof = AuxPow::decode_normalised(&record.proof).map_err(AuxPowError::from)?;
                Some(proof.parent.hash())
            }
            None => None,
        };
        let next = match block.body.federation_change.first() {
            Some(record) => Some(Arc::new(change::parse(&record.members, self.constants.scheme)?)),
            None => None,
        };
        self.check_with(block, parent_header, next)
    }

    fn check_with(
        &self,
        block: &SignedBlock,
        parent_header: Option<alys_primitives::B256>,
        next: Option<Arc<crate::federation::Federation>>,
    ) -> Result<Consistent, BlockError> {
        transition::check(&self.constants, || self.uncommitted.to_vec(), &self.parent, block, parent_header, next)
            .map(|_| Consistent(block.root()))
    }
}

impl Verifier {
    /// [`ValidationLevel::Basic`].
    ///
    /// # Errors
    /// [`VerifyError`] with the first rule that is broken.
    pub fn basic(&self, block: &SignedBlock) -> Result<WellFormed, VerifyError> {
        basic::validate(&self.constants, block)?;
        Ok(WellFormed(block.root()))
    }

    /// [`ValidationLevel::SignatureOnly`]. Says nothing about the body and the payload, which the header only names.
    ///
    /// # Errors
    /// [`VerifyError`] with the first proof that does not hold.
    pub fn signed(&self, block: &SignedBlock) -> Result<Signed, VerifyError> {
        let basis = self.signatures(block)?;
        Ok(Signed { root: block.root(), basis })
    }

    /// Checks a block as far as a level goes. `context` is the parent's, from [`crate::Chain::context`]; the levels that
    /// need no ancestors ignore it.
    ///
    /// # Errors
    /// [`ValidationError`] with its category.
    pub fn validate(
        &self,
        level: ValidationLevel,
        block: &Arc<SignedBlock>,
        context: Option<&Context>,
    ) -> Result<Validated, ValidationError> {
        let parent = block.header.parent_root;
        let context =
            || context.filter(|context| context.parent() == parent).ok_or(ValidationError::UnknownParent(parent));
        match level {
            ValidationLevel::Basic => Ok(Validated::Basic(self.basic(block)?)),
            ValidationLevel::SignatureOnly => Ok(Validated::Signatures(self.signed(block)?)),
            ValidationLevel::ConsensusOnly => {
                Ok(Validated::Consensus(context()?.check(block).map_err(ValidationError::Consensus)?))
            }
            ValidationLevel::Full => {
                self.basic(block)?;
                // Cheaper than signatures, and refuses what has no parent here.
                let context = context()?;
                let basis = self.signatures(block)?;
                context
                    .check_with(block, basis.parent_header, basis.next_federation.clone())
                    .map_err(ValidationError::Consensus)?;
                Ok(Validated::Full(FullyValid { block: Arc::clone(block), basis }))
            }
        }
    }
}
