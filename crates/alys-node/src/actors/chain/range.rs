//! A run of blocks from a peer: checked on other threads, then fed in order.

use super::{ChainActor, ChainMessage, own_key};
use alys_actor::{Context, Reply};
use alys_chain::{ImportOutcome, Input, PeerTag, Verified, Verifier, VerifyError};
use alys_primitives::{Notarization, SignedBlock};

/// Threads that check one run; the rest of the node goes on beside them.
const THREADS: usize = 4;

/// Answer to an import of a run: what became of its last block.
pub type RangeReply = Reply<Result<ImportOutcome, VerifyError>>;

/// A run whose signatures hold.
#[derive(Debug)]
pub struct VerifiedRange {
    blocks: Vec<Verified<SignedBlock>>,
    certificate: Option<Verified<Notarization>>,
}

impl ChainActor {
    pub(super) fn import_range(
        &self,
        blocks: Vec<SignedBlock>,
        peer: PeerTag,
        certificate: Option<Notarization>,
        reply: RangeReply,
        ctx: &mut Context<ChainMessage>,
    ) {
        let Some(chain) = &self.chain else { return };
        let verifier = chain.verifier();
        ctx.spawn_blocking("verify-range", move || ChainMessage::RangeVerified {
            result: verify(&verifier, blocks, certificate).map(Box::new),
            peer,
            reply,
        });
    }

    pub(super) async fn range_verified(
        &mut self,
        range: VerifiedRange,
        peer: PeerTag,
        reply: RangeReply,
        ctx: &mut Context<ChainMessage>,
    ) {
        let Some(last) = range.blocks.last().map(|block| block.root()) else { return };
        // One import at a time: a second one of the same run takes the first one's place, whose asker tries again.
        self.ranges.insert(last, reply);
        self.met(|verifier, key| {
            let blocks = range.blocks.iter().flat_map(|block| own_key::in_block(verifier, key, block));
            let certificate = range.certificate.as_deref();
            blocks.chain(certificate.and_then(|it| own_key::in_certificate(verifier, key, it))).collect()
        })
        .await;
        for block in range.blocks {
            if let Err(error) = self.feed(Input::PeerBlock { block, peer }, ctx).await {
                tracing::debug!(%error, "block of a run not taken");
            }
        }
        if let Some(certificate) = range.certificate
            && let Err(error) = self.feed(Input::Notarization(certificate), ctx).await
        {
            tracing::debug!(%error, "certificate of a run not taken");
        }
        self.ranges.retain(|_, reply| reply.is_wanted());
    }
}

fn verify(
    verifier: &Verifier,
    blocks: Vec<SignedBlock>,
    certificate: Option<Notarization>,
) -> Result<VerifiedRange, VerifyError> {
    let share = blocks.len().div_ceil(THREADS).max(1);
    let mut shares: Vec<Vec<SignedBlock>> = Vec::new();
    for block in blocks {
        match shares.last_mut() {
            Some(last) if last.len() < share => last.push(block),
            Some(_) | None => shares.push(vec![block]),
        }
    }
    let verified: Vec<Result<Vec<_>, VerifyError>> = std::thread::scope(|scope| {
        let threads: Vec<_> = shares
            .into_iter()
            .map(|share| scope.spawn(move || share.into_iter().map(|block| verifier.block(block)).collect()))
            .collect();
        // A panic in a check is a bug: it goes on in the task that waits, which fails the actor.
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let mut blocks = Vec::new();
    for share in verified {
        blocks.extend(share?);
    }
    let certificate = certificate.map(|certificate| verifier.notarization(certificate)).transpose()?;
    Ok(VerifiedRange { blocks, certificate })
}
