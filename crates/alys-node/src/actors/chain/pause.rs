//! Decisions about pausing the peg wait here for an author of ours (protocol section 7).
//!
//! They go into the offers of the bridge, which are made anew all the time; one that is not the next decision any more is
//! forgotten. Nothing is kept on disk: who decided submits again, or to another member.

use super::{ChainActor, ChainMessage};
use alys_actor::{Context, Reply};
use alys_chain::peg::{PauseError, PegOffer};
use alys_chain::{Input, Verified};
use alys_primitives::Pause;

impl ChainActor {
    /// An offer of the bridge, with the decision that waits.
    pub(super) async fn peg_offer(&mut self, offer: PegOffer, ctx: &mut Context<ChainMessage>) {
        let Some(chain) = &self.chain else { return };
        let next = chain.view().peg.ledger().pause().sequence.saturating_add(1);
        self.pause = self.pause.take().filter(|pause| pause.sequence == next);
        let offer = PegOffer { pause: self.pause.clone(), ..offer };
        if let Err(error) = self.feed(Input::Peg(Box::new(offer)), ctx).await {
            tracing::debug!(%error, "offer not taken");
        }
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

    pub(super) async fn keep_pause(
        &mut self,
        result: Result<Box<Verified<Pause>>, PauseError>,
        reply: Reply<Result<(), PauseError>>,
        ctx: &mut Context<ChainMessage>,
    ) {
        let Some(chain) = &self.chain else { return };
        let view = chain.view();
        let checked = result.and_then(|pause| {
            let expected = view.peg.ledger().pause().sequence.saturating_add(1);
            if pause.epoch != view.epoch {
                return Err(PauseError::Epoch { found: pause.epoch, expected: view.epoch });
            }
            if pause.sequence != expected {
                return Err(PauseError::Sequence { found: pause.sequence, expected });
            }
            Ok(*pause)
        });
        match checked {
            Ok(pause) => {
                tracing::warn!(
                    sequence = pause.sequence,
                    pegin_paused = pause.pegin_paused,
                    pegout_paused = pause.pegout_paused,
                    "a quorum's decision about the peg waits for an author"
                );
                self.pause = Some(pause);
                // A node without a Bitcoin makes no offers of its own.
                self.peg_offer(PegOffer::default(), ctx).await;
                reply.send(Ok(()));
            }
            Err(error) => reply.send(Err(error)),
        }
    }
}
