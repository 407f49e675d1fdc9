//! What travels between nodes.

use alys_chain::{Chain, Message, testing::StoreModel};
use alys_primitives::{Height, Notarization, Root, SignedBlock};
use std::sync::Arc;

/// The most blocks of one answer.
const MAX_BLOCKS: usize = 64;

/// One message on its way.
#[derive(Clone, Debug)]
pub(crate) enum Wire {
    /// Gossip of the core.
    Gossip(Message),
    /// A request for the ancestors of a block down to a height, the block with them.
    Ask { root: Root, above: Height },
    /// The answer: blocks, parents first, and the certificate of the last one if it is known.
    Blocks { blocks: Vec<Arc<SignedBlock>>, certificate: Option<Notarization> },
}

/// What a node answers from its store: the oldest blocks of what was asked for.
pub(crate) fn answer(chain: &Chain, store: &StoreModel, root: Root, above: Height) -> Option<Wire> {
    let mut path = Vec::new();
    let mut at = root;
    let mut tip = None;
    while let Some((block, certificate)) = store.block(&at) {
        if block.header.height <= above || path.len() >= 4_096 {
            break;
        }
        tip = tip.or(Some(certificate));
        at = block.header.parent_root;
        path.push(block);
    }
    path.reverse();
    let whole = path.len() <= MAX_BLOCKS;
    path.truncate(MAX_BLOCKS);
    if path.is_empty() || chain.view().head.height < above {
        return None;
    }
    Some(Wire::Blocks { blocks: path, certificate: tip.flatten().filter(|_| whole) })
}
