//! Carrying out what the core asks for.

use super::reliance::judge;
use super::timings::record;
use super::{ChainActor, ChainMessage, ENGINE_DEADLINE};
use crate::actors::execution::ExecutionMessage;
use crate::actors::signer::SignerMessage;
use crate::actors::storage::StorageMessage;
use alys_actor::{Ask, Context, Message};
use alys_chain::{
    AuxPowError, BlockRef, BuildId, ChainEvent, Effect, ExecutionId, ExecutionOutcome, ImportOutcome,
    PayloadAttributes, SignId, SignRefusal, SignRequest, Unavailable,
};
use alys_primitives::{B256, Root, SignedBlock, UnixMillis};
use futures::future::ready;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::time::Instant;

/// A block whose certificate comes within a slot is live; an older one is history that is being caught up with.
const LIVE_SLOT_MILLIS: u64 = 1000;

impl ChainActor {
    /// Carries out every effect, begins the next write, sets the timer, publishes the view.
    pub(super) async fn pump(&mut self, ctx: &mut Context<ChainMessage>) {
        loop {
            let Some(chain) = self.chain.as_mut() else { return };
            let Some(effect) = chain.poll_effect() else { break };
            self.carry_out(effect, ctx).await;
        }
        if self.writing.is_empty() && !self.unwritten.is_empty() {
            self.writing = std::mem::take(&mut self.unwritten);
            self.write(ctx).await;
        }
        self.set_timer(ctx);
        self.publish();
        #[cfg(feature = "testing")]
        self.show();
    }

    async fn carry_out(&mut self, effect: Effect, ctx: &mut Context<ChainMessage>) {
        match effect {
            Effect::Build { id, parent_execution_hash, attributes, .. } => {
                self.build(id, parent_execution_hash, attributes, ctx).await;
            }
            Effect::Execute { id, block } => self.execute(id, block, ctx).await,
            Effect::Sign { id, request } => self.sign(id, request, ctx).await,
            Effect::Persist { id, batch } => {
                #[cfg(feature = "testing")]
                if self.makes(super::Plant::BatchForgotten) && !self.writing.is_empty() {
                    self.unwritten.clear();
                }
                self.unwritten.push((id, batch));
            }
            Effect::Forkchoice(update) => {
                // The execution actor is below this one and never waits for it.
                if self.ports.execution.tell(ExecutionMessage::Forkchoice(update)).await.is_err() {
                    tracing::warn!("execution has stopped: the fork choice is not passed on");
                }
            }
            // No receiver means no network.
            Effect::Broadcast(message) => {
                let began = Instant::now();
                drop(self.ports.gossip.send(message));
                record("broadcast", "done", began.elapsed());
            }
            Effect::Imported { root, outcome } => self.answer_import(root, outcome),
            Effect::AuxPowProcessed { hash, outcome } => self.answer_proof(hash, outcome),
            Effect::FederationProcessed { change_root, outcome } => {
                match &outcome {
                    Ok(()) => tracing::info!(%change_root, "a change of the federation waits for an author"),
                    Err(error) => tracing::warn!(%change_root, %error, "a change of the federation is refused"),
                }
                self.requests.federation_processed(&change_root, &outcome);
            }
            Effect::PauseProcessed { pause_root, outcome } => {
                match &outcome {
                    Ok(()) => tracing::warn!(%pause_root, "a quorum's decision about the peg waits for an author"),
                    Err(error) => tracing::warn!(%pause_root, %error, "a decision about the peg is refused"),
                }
                self.requests.pause_processed(&pause_root, &outcome);
            }
            Effect::Event(event) => self.announce(event),
        }
    }

    async fn build(
        &mut self,
        id: BuildId,
        parent: B256,
        attributes: PayloadAttributes,
        ctx: &mut Context<ChainMessage>,
    ) {
        self.timings.build_began();
        let attributes = Box::new(attributes);
        let ask = self.ports.execution.ask_within(ENGINE_DEADLINE, |reply| ExecutionMessage::Build {
            parent,
            attributes,
            reply,
        });
        answer_later("build", ask, ctx, move |answer| ChainMessage::Built {
            id,
            result: answer.unwrap_or_else(|error| Err(Unavailable { reason: error.to_string() })),
        })
        .await;
    }

    async fn execute(&mut self, id: ExecutionId, block: Arc<SignedBlock>, ctx: &mut Context<ChainMessage>) {
        self.reliance.note(block.root(), &block.body);
        let ask = self.ports.execution.ask_within(ENGINE_DEADLINE, |reply| ExecutionMessage::Execute { block, reply });
        answer_later("execute", ask, ctx, move |answer| ChainMessage::Executed {
            id,
            outcome: answer.unwrap_or_else(|error| ExecutionOutcome::Unavailable { reason: error.to_string() }),
        })
        .await;
    }

    async fn sign(&mut self, id: SignId, request: SignRequest, ctx: &mut Context<ChainMessage>) {
        match self.reliance.take(&request) {
            Some(blocks) if self.ports.signer.is_some() => {
                let within = Duration::from_secs(self.spec.slot_duration);
                ctx.spawn("ask-bitcoin", judge(self.ports.bitcoin.has_all(blocks), within, (id, request)));
            }
            Some(_) | None => self.ask_signer(id, request, ctx).await,
        }
    }

    pub(super) async fn ask_signer(&mut self, id: SignId, request: SignRequest, ctx: &mut Context<ChainMessage>) {
        let level = self.ports.may_sign.as_ref().is_none_or(|may_sign| *may_sign.borrow());
        if let SignRequest::Proposal { slot, .. } = &request {
            self.timings.proposal_asked(id);
            self.requests.proposed(*slot);
        }
        let open = self.gate.is_open() && level;
        match &self.ports.signer {
            Some(signer) if open => {
                let ask = signer.ask(|reply| SignerMessage::Sign { request, reply });
                answer_later("sign", ask, ctx, move |answer| ChainMessage::Signed {
                    id,
                    result: answer.unwrap_or(Err(SignRefusal::Unavailable)),
                })
                .await;
            }
            Some(_) => {
                ctx.spawn("sign", ready(ChainMessage::Signed { id, result: Err(SignRefusal::Suspended) }));
            }
            None => {
                ctx.spawn("sign", ready(ChainMessage::Signed { id, result: Err(SignRefusal::Unavailable) }));
            }
        }
    }

    /// Sends the write in hand. Batches that come meanwhile share the next one: one sync for all of them.
    pub(super) async fn write(&mut self, ctx: &mut Context<ChainMessage>) {
        let (ids, batches): (Vec<_>, Vec<_>) = self.writing.iter().cloned().unzip();
        let ask = self.ports.storage.ask(|reply| StorageMessage::Apply { batches, reply });
        answer_later("write", ask, ctx, move |answer| ChainMessage::Written {
            ids,
            durable: answer.is_ok_and(|result| result.is_ok()),
        })
        .await;
        #[cfg(feature = "testing")]
        if self.makes(super::Plant::WrittenTooEarly) {
            let ids = self.writing.iter().map(|(id, _)| *id).collect();
            ctx.spawn("write", ready(ChainMessage::Written { ids, durable: true }));
        }
    }

    fn answer_import(&mut self, root: Root, outcome: ImportOutcome) {
        self.timings.import_ended(&root, &outcome);
        // A run is answered when its last block has been decided upon.
        if !matches!(outcome, ImportOutcome::Pending(_))
            && let Some(reply) = self.ranges.remove(&root)
        {
            reply.send(Ok(outcome.clone()));
        }
        let mut waiting = self.imports.remove(&root).unwrap_or_default();
        if let Some(last) = waiting.pop() {
            for reply in waiting {
                reply.send(Ok(outcome.clone()));
            }
            last.send(Ok(outcome));
        }
    }

    fn answer_proof(&mut self, hash: Root, outcome: Result<(), AuxPowError>) {
        self.timings.proof_ended(&hash, outcome.is_ok());
        for reply in self.proofs.remove(&hash).unwrap_or_default() {
            reply.send(outcome.clone());
        }
    }

    fn announce(&mut self, event: ChainEvent) {
        self.timings.saw(&event);
        if let ChainEvent::NewBlock(block) = &event {
            self.requests.imported(block);
        }
        match &event {
            ChainEvent::Reorg { common_ancestor, dropped, added, alert } => {
                metrics::counter!("alys_chain_reorgs_total").increment(1);
                tracing::warn!(
                    common_ancestor = common_ancestor.height.0,
                    dropped = dropped.len(),
                    added = added.len(),
                    alert,
                    "reorganisation"
                );
            }
            ChainEvent::Stalled { height } => {
                self.requests.stalled(self.spec.max_blocks_without_pow);
                tracing::warn!(height = height.0, "no proof of work: the chain waits for a miner");
            }
            ChainEvent::Resumed { height } => {
                tracing::info!(height = height.0, "a proof of work arrived: the chain goes on");
            }
            ChainEvent::Finalized { from, to, .. } => {
                tracing::info!(from = from.0, to = to.height.0, "finalized");
            }
            ChainEvent::Equivocation { epoch, member, slot, proposal } => {
                metrics::counter!("alys_chain_equivocations_total").increment(1);
                tracing::warn!(
                    epoch = epoch.0,
                    member,
                    slot = slot.0,
                    proposal,
                    "a member signed two messages for one slot"
                );
                self.contradicted(*epoch, *member, *slot, *proposal);
            }
            ChainEvent::Epoch { epoch, from, members } => {
                tracing::info!(epoch = epoch.0, from = from.0, members, "another federation takes over");
            }
            ChainEvent::SafetyViolation { kept, conflicting } => {
                metrics::counter!("alys_chain_safety_violations_total").increment(1);
                tracing::error!(kept = %kept.root, conflicting = %conflicting.root, "certificates contradict each other");
            }
            ChainEvent::Notarized(block) => self.note_notarized(block),
            ChainEvent::NewBlock(_) | ChainEvent::Safe(_) | ChainEvent::AuxPowQueued { .. } => {}
        }
        // Subscribers come and go.
        drop(self.ports.events.send(event));
    }

    /// Measures a live block's way from the start of its slot to its certificate here.
    fn note_notarized(&self, block: &BlockRef) {
        let millis = self.ports.clock.now().since(self.spec.slot_start_millis(block.slot));
        if millis < self.spec.slot_duration.saturating_mul(LIVE_SLOT_MILLIS) {
            metrics::histogram!("alys_chain_notarized_seconds").record(to_f64(millis) / 1000.0);
            tracing::info!(height = block.height.0, slot = block.slot.0, millis, "notarized");
        }
    }

    fn set_timer(&mut self, ctx: &mut Context<ChainMessage>) {
        let wanted = self.chain.as_ref().and_then(|chain| chain.poll_timeout()).map(|(when, _)| when);
        #[cfg(feature = "testing")]
        let wanted = wanted.filter(|_| !self.makes(super::Plant::TimerLost) || self.timer.is_none());
        if self.timer.as_ref().map(|(when, _)| *when) == wanted {
            return;
        }
        if let Some((_, timer)) = self.timer.take() {
            ctx.cancel(timer);
        }
        if let Some(when) = wanted {
            self.timer = Some((when, ctx.at(self.instant_of(when), ChainMessage::Tick)));
        }
    }

    /// The monotonic instant at which the wall clock will show `when`.
    fn instant_of(&self, when: UnixMillis) -> Instant {
        Instant::now() + Duration::from_millis(when.since(self.ports.clock.now()))
    }

    fn publish(&self) {
        let Some(chain) = &self.chain else { return };
        let view = chain.view();
        let changed = self.ports.view.send_if_modified(|current| {
            let changed = *current != view;
            if changed {
                current.clone_from(&view);
            }
            changed
        });
        if changed {
            for (tag, block) in [("head", &view.head), ("safe", &view.safe), ("finalized", &view.finalized)] {
                metrics::gauge!("alys_chain_height", "tag" => tag).set(to_f64(block.height.0));
            }
            metrics::gauge!("alys_auxpow_queued").set(to_f64(u64::try_from(view.queued_auxpow.len()).unwrap_or(0)));
            metrics::gauge!("alys_auxpow_records").set(to_f64(view.committed.records));
        }
    }
}

/// Puts the request into the other actor's inbox now, in order, and takes the answer as a message.
async fn answer_later<M, T>(
    name: &'static str,
    ask: Ask<M, T>,
    ctx: &mut Context<ChainMessage>,
    message: impl FnOnce(Result<T, alys_actor::AskError>) -> ChainMessage + Send + 'static,
) where
    M: Message,
    T: Send + 'static,
{
    let mut ask = Box::pin(ask);
    match std::future::poll_fn(|cx| Poll::Ready(ask.as_mut().poll(cx))).await {
        Poll::Ready(answer) => ctx.spawn(name, ready(message(answer))),
        Poll::Pending => ctx.spawn(name, async move { message(ask.await) }),
    };
}

/// Heights and counts are far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "gauges are floating point")]
fn to_f64(value: u64) -> f64 {
    value as f64
}
