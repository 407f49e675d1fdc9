//! A run of blocks that one certificate vouches for, as a sync brings them (ADR 0008).
//!
//! A quorum that certified the last block contains more honest members than malicious ones could be, and an honest member
//! approves a block only after it has verified it and all its ancestors. So the certificate of the last block says of
//! every block that its hash links to: it was well-formed, signed, notarized and executed by honest members. Everything
//! that needs no signature is checked all the same, and by choice the certificates inside the blocks, which no hash binds.
//! Of the authors' signatures only the last is checked: each other is bound by the next block's `state_root`, which covers
//! the randomness that follows from it, and which the core compares.

use crate::{
    basic,
    error::VerifyError,
    scheme::Claim,
    verify::{Part, Verified, Verifier},
};
use alys_primitives::{Notarization, Root, SignedBlock};

/// Which of the certificates inside a segment's blocks are verified as signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificates {
    /// All: for blocks that this node will serve to others.
    All,
    /// Only the segment's own: for catching up. The others may be garbage, although their blocks are notarized; they must
    /// be checked before they are served.
    Tip,
}

/// A verified segment.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Its blocks, oldest first.
    pub blocks: Vec<Verified<SignedBlock>>,
    /// The certificate of the last one.
    pub tip: Verified<Notarization>,
}

/// Why a segment is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// There is no block in it.
    #[error("no block in the segment")]
    Empty,
    /// A block is not the child of the one before, or the certificate not the last one's.
    #[error("block {root} does not follow")]
    Broken {
        /// The block.
        root: Root,
    },
    /// A block is wrong by itself.
    #[error("block {root}: {error}")]
    Block {
        /// The block.
        root: Root,
        /// Why.
        error: VerifyError,
    },
    /// The certificate of the last block does not hold.
    #[error("certificate: {0}")]
    Tip(VerifyError),
}

impl Verifier {
    /// Checks a run of blocks by the certificate of its last one. The core takes them in order, then the certificate.
    /// `entropy` must be unpredictable to whoever made the blocks.
    ///
    /// # Errors
    /// [`SegmentError`] with the first thing that is wrong; nothing of the segment is to be used then.
    pub fn segment(
        &self,
        blocks: Vec<SignedBlock>,
        tip: Notarization,
        certificates: Certificates,
        entropy: &[u8; 32],
    ) -> Result<Segment, SegmentError> {
        let last = blocks.last().ok_or(SegmentError::Empty)?;
        if tip.block_root != last.root() {
            return Err(SegmentError::Broken { root: tip.block_root });
        }
        let tip = self.notarization(tip).map_err(SegmentError::Tip)?;
        let mut parent: Option<(Root, &SignedBlock)> = None;
        for block in &blocks {
            let root = block.root();
            let follows = parent.is_none_or(|(parent_root, parent)| {
                block.header.parent_root == parent_root
                    && block.header.height == parent.header.height.next()
                    && block.header.slot > parent.header.slot
            });
            if !follows {
                return Err(SegmentError::Broken { root });
            }
            parent = Some((root, block));
        }
        let mut owners: Vec<(Root, Part)> = Vec::new();
        let mut claims: Vec<Claim<'_>> = Vec::new();
        let mut bases = Vec::with_capacity(blocks.len());
        for (at, block) in blocks.iter().enumerate() {
            let root = block.root();
            let wrong = |error| SegmentError::Block { root, error };
            basic::validate(&self.constants, block).map_err(wrong)?;
            let (of_block, basis) = self.claims(block).map_err(wrong)?;
            let last = at.saturating_add(1) == blocks.len();
            for (part, claim) in of_block {
                let checked = match part {
                    Part::Author => last,
                    Part::ParentCertificate => certificates == Certificates::All,
                };
                if checked {
                    owners.push((root, part));
                    claims.push(claim);
                }
            }
            bases.push(self.records(block, basis).map_err(wrong)?);
        }
        let bad = self.constants.scheme.verify_all(&claims, entropy);
        if let Some((root, part)) = bad.first().and_then(|bad| owners.get(*bad)) {
            return Err(SegmentError::Block { root: *root, error: part.error() });
        }
        let blocks = blocks.into_iter().zip(bases).map(|(block, basis)| Verified::new(block, basis)).collect();
        Ok(Segment { blocks, tip })
    }
}
