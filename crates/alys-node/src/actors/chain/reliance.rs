//! What a proposal relies on in Bitcoin, and whether this node's own Bitcoin knows it (protocol section 7).
//!
//! A proposal with headers, deposits or settlements is valid by what it proves; but a member approves it only if its own
//! Bitcoin has those blocks on the best branch. One that lags, was reorganised or is away makes the member withhold its
//! approval for this proposal, and nothing else.

use super::ChainMessage;
use crate::bitcoin::NodeBitcoin;
use alys_bitcoin::{BitcoinPort as _, Invalid, PortError};
use alys_chain::{SignId, SignRequest};
use alys_primitives::{BlockBody, Root};
use bitcoin::BlockHash;
use bitcoin::hashes::{Hash as _, sha256d};
use std::collections::{BTreeSet, VecDeque};
use std::pin::Pin;
use std::time::Duration;

/// Proposals that are remembered until they are voted on.
const MAX_REMEMBERED: usize = 64;

/// The Bitcoin blocks that recent proposals rely on.
#[derive(Debug, Default)]
pub(super) struct Reliance {
    recent: VecDeque<(Root, Vec<BlockHash>)>,
}

impl Reliance {
    /// Remembers a proposal that relies on anything.
    pub(super) fn note(&mut self, root: Root, body: &BlockBody) {
        let blocks = relied_on(body);
        if blocks.is_empty() || self.recent.iter().any(|(known, _)| *known == root) {
            return;
        }
        if self.recent.len() >= MAX_REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back((root, blocks));
    }

    /// The blocks that a proposal relies on, which are forgotten here.
    pub(super) fn take(&mut self, request: &SignRequest) -> Option<Vec<BlockHash>> {
        let root = match request {
            SignRequest::Approval { data, .. } => data.block_root,
            // An author proposes what its own Bitcoin showed.
            SignRequest::Proposal { .. } => return None,
        };
        let position = self.recent.iter().position(|(known, _)| *known == root)?;
        self.recent.remove(position).map(|(_, blocks)| blocks)
    }
}

/// The newest header that a body brings, on whose branch everything else in it must stand; without headers, the blocks of
/// its proofs.
fn relied_on(body: &BlockBody) -> Vec<BlockHash> {
    if let Some(newest) = body.bitcoin_headers.last() {
        return vec![BlockHash::from_raw_hash(sha256d::Hash::hash(newest.as_slice()))];
    }
    let deposits = body.pegins.iter().map(|record| record.bitcoin_block);
    let payments = body.settlements.iter().map(|settlement| settlement.payment.bitcoin_block);
    let blocks: BTreeSet<BlockHash> =
        deposits.chain(payments).map(|block| BlockHash::from_byte_array(block.0)).collect();
    blocks.into_iter().collect()
}

/// The answer of a [`BlockWitness`].
pub type Knowledge = Pin<Box<dyn Future<Output = Result<bool, PortError>> + Send>>;

/// Knows which blocks Bitcoin's best branch has.
pub trait BlockWitness: Send + Sync {
    /// Whether all blocks are on the best branch.
    ///
    /// # Errors
    /// [`PortError`] if it can't tell now.
    fn has_all(&self, blocks: Vec<BlockHash>) -> Knowledge;
}

impl BlockWitness for NodeBitcoin {
    fn has_all(&self, blocks: Vec<BlockHash>) -> Knowledge {
        let bitcoin = self.clone();
        Box::pin(async move {
            for block in blocks {
                match bitcoin.headers_after(vec![block], 1).await {
                    Ok(_) => {}
                    Err(PortError::Invalid(Invalid::UnknownHeaders { .. })) => return Ok(false),
                    Err(error) => return Err(error),
                }
            }
            Ok(true)
        })
    }
}

/// Asks Bitcoin, then tells the chain actor whether it may sign.
pub(super) async fn judge(known: Knowledge, within: Duration, (id, request): (SignId, SignRequest)) -> ChainMessage {
    let known = match tokio::time::timeout(within, known).await {
        Ok(Ok(known)) => known,
        Ok(Err(error)) => {
            tracing::debug!(%error, "bitcoin can't tell what a proposal relies on");
            false
        }
        Err(_) => false,
    };
    ChainMessage::Judged { id, request, known }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alys_bitcoin::{Regtest, RegtestLimits, embedded};
    use alys_crypto::{Domain, DomainType};
    use alys_primitives::{ApprovalData, B256, Epoch, Height, PegInRecord, Slot, VariableList};
    use bitcoin::ScriptBuf;
    use bitcoin::consensus::serialize;
    use std::num::NonZeroUsize;

    fn approval(root: Root) -> SignRequest {
        let domain = Domain::new(DomainType::Approval, [0; 4], Root::ZERO);
        let data = ApprovalData { block_root: root, slot: Slot(7), epoch: Epoch(0) };
        SignRequest::Approval { data, parent_height: Height(1), signing_root: domain.signing_root(root) }
    }

    fn deposit(block: BlockHash) -> BlockBody {
        let record = PegInRecord {
            bitcoin_block: B256::from(block.to_byte_array()),
            transaction: VariableList::empty(),
            index: 0,
            branch: VariableList::empty(),
            coinbase: VariableList::empty(),
            coinbase_branch: VariableList::empty(),
        };
        BlockBody { pegins: VariableList::new(vec![record]).unwrap(), ..BlockBody::default() }
    }

    #[tokio::test]
    async fn a_member_approves_only_what_its_own_bitcoin_has_on_its_best_branch() {
        let (script, now) = (ScriptBuf::new_op_return([0; 4]), 1_700_000_000);
        let mut regtest = Regtest::new(RegtestLimits::default());
        let stale = regtest.generate(&script, now).unwrap();
        let genesis = regtest.header_at(0).unwrap().hash;
        let mut fork = Regtest::new(RegtestLimits::default());
        let better: Vec<_> =
            (1..=3).map(|number| fork.generate(&ScriptBuf::new_op_return([number; 4]), now).unwrap()).collect();
        for block in &better {
            regtest.submit(block.clone(), now).unwrap();
        }
        let (handle, chain) = embedded(regtest, None, NonZeroUsize::MIN, move || now);
        let chain = tokio::spawn(chain);
        let bitcoin = NodeBitcoin::Embedded(handle);
        let mut reliance = Reliance::default();
        let newest = better.last().unwrap();
        let bytes = serialize(&newest.header);
        let headers = VariableList::new(vec![bytes.as_slice().try_into().unwrap()]).unwrap();
        let unseen = BlockHash::from_byte_array([9; 32]);
        for (number, body, expected) in [
            (1, BlockBody { bitcoin_headers: headers, ..BlockBody::default() }, true),
            (2, deposit(better[0].block_hash()), true),
            (3, deposit(genesis), true),
            (4, deposit(stale.block_hash()), false),
            (5, deposit(unseen), false),
        ] {
            let root = Root::repeat_byte(number);
            reliance.note(root, &body);
            let blocks = reliance.take(&approval(root)).unwrap();
            assert!(reliance.take(&approval(root)).is_none(), "judged once");
            for (bitcoin, expected) in [(bitcoin.clone(), expected), (NodeBitcoin::Absent, false)] {
                let job = (SignId(1), approval(root));
                let judged = judge(bitcoin.has_all(blocks.clone()), Duration::from_secs(5), job).await;
                assert!(matches!(judged, ChainMessage::Judged { known, .. } if known == expected), "{number}");
            }
        }
        chain.abort();
    }

    #[test]
    fn proposals_without_bitcoin_are_not_judged_and_the_oldest_are_forgotten() {
        let mut reliance = Reliance::default();
        reliance.note(Root::ZERO, &BlockBody::default());
        assert!(reliance.take(&approval(Root::ZERO)).is_none());
        let body = deposit(BlockHash::from_byte_array([1; 32]));
        for number in 0..=64 {
            reliance.note(Root::repeat_byte(number), &body);
        }
        assert!(reliance.take(&approval(Root::repeat_byte(0))).is_none());
        assert!(reliance.take(&approval(Root::repeat_byte(64))).is_some());
    }
}
