//! Requests of operators and embedders beyond importing blocks and work.

use super::timings::record;
use super::{ChainActor, ChainMessage, MAX_WAITING};
use crate::actors::storage::StorageMessage;
use alys_actor::{AskError, Context, Reply};
use alys_chain::peg::{PauseError, pause_root};
use alys_chain::{BlockRef, ChainView, FederationError, Input, Message as Gossip, Verified, change_root};
use alys_primitives::{FederationChange, Height, Pause, Root, Slot};
use alys_store::StoreError;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::Instant;

/// Why no block of this node comes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProduceError {
    /// It has no key, or its key is not of the epoch's federation.
    #[error("this node is no member of the federation")]
    Observer,
    /// The next block must carry an AuxPoW, and none is queued.
    #[error("the chain waits for work: {blocks} blocks without, no proof is queued")]
    Stalled {
        /// Blocks without work.
        blocks: u64,
    },
    /// Too many wait already.
    #[error("too many requests wait for a block")]
    Busy,
}

/// Why a block is not told to the peers.
#[derive(Debug, thiserror::Error)]
pub enum BroadcastError {
    /// Nobody has stored it.
    #[error("no block {0} is stored")]
    Unknown(Root),
    /// The database did not answer.
    #[error("the database did not answer")]
    Unavailable(#[from] AskError),
    /// The database failed.
    #[error("the database failed")]
    Store(#[from] StoreError),
}

/// What a height waits for before it is final.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFinal {
    /// There is no such block yet.
    #[error("the head is at height {head}")]
    AboveHead {
        /// Height of the head.
        head: Height,
    },
    /// No included bundle commits to it.
    #[error("work commits to height {committed} only")]
    NoWork {
        /// Height that is committed to.
        committed: Height,
    },
    /// A bundle commits to it, but the block that carries the work is not yet safe and deep enough.
    #[error("work commits to it; the carrier must be safe and {depth} blocks deep")]
    NotDeep {
        /// The depth that the chain spec asks for.
        depth: u64,
    },
}

/// What speaks against a branch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReorgError {
    /// The block is not stored above the finalized one: unknown, or on a branch that finality has cut off.
    #[error("block {to} is not among the blocks above finalized height {finalized}")]
    Unknown {
        /// The block.
        to: Root,
        /// Height of the finalized block.
        finalized: Height,
    },
    /// The head's branch is preferred: it is longer, or as long with more work or a lower root.
    #[error("height {height} of the other branch is not preferred to the head at height {head}")]
    NotPreferred {
        /// Height of the asked block.
        height: Height,
        /// Height of the head.
        head: Height,
    },
    /// The block has no certificate: a head must be notarized.
    #[error("the block at height {height} is not notarized")]
    NotNotarized {
        /// Its height.
        height: Height,
    },
}

/// Who waits for what.
#[derive(Default)]
pub(super) struct Requests {
    produced: Vec<Reply<Result<BlockRef, ProduceError>>>,
    /// Slot of the proposal that was signed last.
    own: Option<Slot>,
    changes: Submitted<FederationError>,
    pauses: Submitted<PauseError>,
}

/// Who waits for the answer about one thing, and since when.
type Askers<E> = Vec<(Instant, Reply<Result<(), E>>)>;

/// Who waits for records that a quorum signed, while these go through the core; by what a record decides.
struct Submitted<E>(BTreeMap<Root, Askers<E>>);

impl<E> Default for Submitted<E> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<E: Clone> Submitted<E> {
    fn ask(&mut self, record: Root, reply: Reply<Result<(), E>>) {
        self.0.entry(record).or_default().push((Instant::now(), reply));
    }

    /// Answers all who wait for a record; gives since when the first one did.
    fn answer(&mut self, record: &Root, outcome: &Result<(), E>) -> Option<Instant> {
        let replies = self.0.remove(record)?;
        let began = replies.first().map(|(began, _)| *began);
        for (_, reply) in replies {
            reply.send(outcome.clone());
        }
        began
    }

    /// Those who wait for a record that the core did not take in learn that no answer comes.
    fn give_up(&mut self, record: &Root) {
        self.0.remove(record);
    }
}

impl Requests {
    pub(super) fn proposed(&mut self, slot: Slot) {
        self.own = Some(slot);
    }

    pub(super) fn imported(&mut self, block: &BlockRef) {
        if self.own == Some(block.slot) {
            for reply in self.produced.drain(..) {
                reply.send(Ok(*block));
            }
        }
    }

    pub(super) fn stalled(&mut self, blocks: u64) {
        for reply in self.produced.drain(..) {
            reply.send(Err(ProduceError::Stalled { blocks }));
        }
    }

    pub(super) fn federation_processed(&mut self, change: &Root, outcome: &Result<(), FederationError>) {
        let Some(began) = self.changes.answer(change, outcome) else { return };
        record("update_federation", if outcome.is_ok() { "queued" } else { "rejected" }, began.elapsed());
    }

    pub(super) fn pause_processed(&mut self, pause: &Root, outcome: &Result<(), PauseError>) {
        self.pauses.answer(pause, outcome);
    }
}

impl ChainActor {
    pub(super) fn produce_block(&mut self, reply: Reply<Result<BlockRef, ProduceError>>) {
        let Some(chain) = &self.chain else { return };
        let view = chain.view();
        let refusal = if view.member_index.is_none() {
            Some(ProduceError::Observer)
        } else if view.stalled && view.queued_auxpow.is_empty() {
            Some(ProduceError::Stalled { blocks: view.blocks_without_pow })
        } else if self.requests.produced.len() >= MAX_WAITING {
            Some(ProduceError::Busy)
        } else {
            None
        };
        match refusal {
            Some(refusal) => reply.send(Err(refusal)),
            None => self.requests.produced.push(reply),
        }
    }

    pub(super) fn broadcast_block(
        &self,
        root: Root,
        reply: Reply<Result<(), BroadcastError>>,
        ctx: &mut Context<ChainMessage>,
    ) {
        let asked = self.ports.storage.ask(|reply| StorageMessage::BlockByRoot { root, reply });
        let gossip = self.ports.gossip.clone();
        ctx.spawn("broadcast-block", async move {
            reply.send(match asked.await {
                Ok(Ok(Some(block))) => {
                    // No receiver means no network.
                    drop(gossip.send(Gossip::Block(Arc::new(*block))));
                    Ok(())
                }
                Ok(Ok(None)) => Err(BroadcastError::Unknown(root)),
                Ok(Err(error)) => Err(error.into()),
                Err(error) => Err(error.into()),
            });
            ChainMessage::Discarded
        });
    }

    pub(super) fn verify_federation(
        &self,
        change: FederationChange,
        reply: Reply<Result<(), FederationError>>,
        ctx: &mut Context<ChainMessage>,
    ) {
        let Some(chain) = &self.chain else { return };
        let verifier = chain.verifier();
        ctx.spawn_blocking("verify-federation", move || ChainMessage::FederationVerified {
            result: verifier.federation_change(change).map(Box::new),
            reply,
        });
    }

    pub(super) async fn update_federation(
        &mut self,
        change: Verified<FederationChange>,
        reply: Reply<Result<(), FederationError>>,
        ctx: &mut Context<ChainMessage>,
    ) {
        let root = change_root(&change);
        self.submit(root, Input::FederationChange(change), |requests| &mut requests.changes, reply, ctx).await;
    }

    pub(super) fn verify_pause(
        &self,
        pause: Pause,
        reply: Reply<Result<(), PauseError>>,
        ctx: &mut Context<ChainMessage>,
    ) {
        let Some(chain) = &self.chain else { return };
        let verifier = chain.verifier();
        ctx.spawn_blocking("verify-pause", move || ChainMessage::PauseVerified {
            result: verifier.pause(pause).map(Box::new),
            reply,
        });
    }

    pub(super) async fn pause_peg(
        &mut self,
        pause: Verified<Pause>,
        reply: Reply<Result<(), PauseError>>,
        ctx: &mut Context<ChainMessage>,
    ) {
        let root = pause_root(&pause);
        self.submit(root, Input::Pause(pause), |requests| &mut requests.pauses, reply, ctx).await;
    }

    /// Feeds a record that a quorum signed to the core; the answer comes when the core has decided.
    async fn submit<E: Clone>(
        &mut self,
        record: Root,
        input: Input,
        waiting: fn(&mut Requests) -> &mut Submitted<E>,
        reply: Reply<Result<(), E>>,
        ctx: &mut Context<ChainMessage>,
    ) {
        waiting(&mut self.requests).ask(record, reply);
        if let Err(error) = self.feed(input, ctx).await {
            tracing::debug!(%record, %error, "a signed record is not taken");
            waiting(&mut self.requests).give_up(&record);
        }
    }

    pub(super) fn reorganise(&self, to: Root) -> Option<Result<BlockRef, ReorgError>> {
        let chain = self.chain.as_ref()?;
        let view = chain.view();
        Some(match chain.find(&to) {
            None => Err(ReorgError::Unknown { to, finalized: view.finalized.height }),
            Some((_, true)) => Ok(view.head),
            Some((block, false)) if !chain.is_notarized(&to) => Err(ReorgError::NotNotarized { height: block.height }),
            Some((block, false)) => Err(ReorgError::NotPreferred { height: block.height, head: view.head.height }),
        })
    }
}

/// Whether a height is final, and if not, why.
pub(super) fn finality(view: &ChainView, to: Height, depth: u64) -> Result<BlockRef, NotFinal> {
    if to <= view.finalized.height {
        Ok(view.finalized)
    } else if to > view.head.height {
        Err(NotFinal::AboveHead { head: view.head.height })
    } else if to > view.committed.end.height {
        Err(NotFinal::NoWork { committed: view.committed.end.height })
    } else {
        Err(NotFinal::NotDeep { depth })
    }
}
