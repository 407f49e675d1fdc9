//! Whether an answer fits its question, before its signatures are looked at.

use alys_p2p::BlockRange;
use alys_primitives::{Height, Root, SignedBlock};

/// Why an answer is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// No block, although the peer claims to have them.
    #[error("no blocks")]
    Empty,
    /// More blocks than asked for.
    #[error("{found} blocks, {asked} were asked for")]
    TooMany {
        /// How many came.
        found: usize,
        /// How many were asked for.
        asked: u64,
    },
    /// A block of another height.
    #[error("height {found} where {expected} was asked for")]
    Height {
        /// Its height.
        found: Height,
        /// The right one.
        expected: Height,
    },
    /// A block on another parent than the block before it.
    #[error("block {height} is not on the block before it")]
    Link {
        /// Its height.
        height: Height,
    },
}

/// Checks count, heights and links of a run of blocks.
pub(super) fn check(asked: &BlockRange, blocks: &[SignedBlock]) -> Result<(), BatchError> {
    if blocks.is_empty() {
        return Err(BatchError::Empty);
    }
    if u64::try_from(blocks.len()).is_ok_and(|found| found > asked.count) {
        return Err(BatchError::TooMany { found: blocks.len(), asked: asked.count });
    }
    let mut parent: Option<Root> = None;
    for (offset, block) in (0u64..).zip(blocks) {
        let expected = asked.start.saturating_add(offset);
        let header = &block.header;
        if header.height != expected {
            return Err(BatchError::Height { found: header.height, expected });
        }
        if parent.is_some_and(|parent| parent != header.parent_root) {
            return Err(BatchError::Link { height: header.height });
        }
        parent = Some(block.root());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alys_primitives::{BlockBody, BlockHeader, ExecutionPayload, SignatureBytes, VariableList};

    fn run(start: u64, count: u64) -> Vec<SignedBlock> {
        let mut parent = Root::repeat_byte(9);
        (start..start + count)
            .map(|height| {
                let header = BlockHeader { height: Height(height), parent_root: parent, ..BlockHeader::default() };
                parent = header.root();
                SignedBlock {
                    header,
                    body: BlockBody::default(),
                    payload: ExecutionPayload::default(),
                    author_signature: SignatureBytes::ZERO,
                    parent_notarization: VariableList::empty(),
                }
            })
            .collect()
    }

    fn asked(start: u64, count: u64) -> BlockRange {
        BlockRange { start: Height(start), count }
    }

    #[test]
    fn a_run_that_fits_is_taken_even_if_it_is_shorter() {
        assert_eq!(check(&asked(5, 8), &run(5, 8)), Ok(()));
        assert_eq!(check(&asked(5, 8), &run(5, 1)), Ok(()));
    }

    #[test]
    fn answers_that_do_not_fit_are_named() {
        assert_eq!(check(&asked(5, 8), &[]), Err(BatchError::Empty));
        assert_eq!(check(&asked(5, 2), &run(5, 3)), Err(BatchError::TooMany { found: 3, asked: 2 }));
        let expected = Height(5);
        assert_eq!(check(&asked(5, 8), &run(6, 2)), Err(BatchError::Height { found: Height(6), expected }));
        let mut gap = run(5, 4);
        gap.remove(2);
        assert!(matches!(check(&asked(5, 8), &gap), Err(BatchError::Height { .. })));
        let mut other = run(5, 4);
        other[2].header.parent_root = Root::ZERO;
        assert_eq!(check(&asked(5, 8), &other), Err(BatchError::Link { height: Height(7) }));
    }
}
