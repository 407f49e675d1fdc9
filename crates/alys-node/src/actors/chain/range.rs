//! A run of blocks from a peer: checked on other threads, then fed in order.

use super::{ChainActor, ChainMessage, own_key};
use alys_actor::{Context, Reply};
use alys_chain::{Certificates, ImportOutcome, Input, PeerTag, SegmentError, Verified, Verifier, VerifyError};
use alys_evm::threads::on_threads;
use alys_primitives::{Notarization, SignedBlock};
use rand::TryRngCore as _;

/// Threads that check one run; the rest of the node goes on beside them.
const THREADS: usize = 2;

/// Answer to an import of a run: what became of its last block, or of the last one before an epoch that was not known yet.
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

/// Checks a run in shares, one a thread, each by the certificate of its last block (ADR 0008): that is in the next share's first
/// block, or came with the run. What lies in an epoch that is not known before the blocks below are taken in is left for the
/// next run.
fn verify(
    verifier: &Verifier,
    mut blocks: Vec<SignedBlock>,
    mut certificate: Option<Notarization>,
) -> Result<VerifiedRange, VerifyError> {
    let known = blocks.iter().take_while(|block| verifier.knows(block.header.epoch)).count();
    if let Some(first) = blocks.get(known) {
        if known == 0 {
            return Err(VerifyError::UnknownEpoch { epoch: first.header.epoch });
        }
        certificate = first.parent_notarization.first().cloned();
        blocks.truncate(known);
    }
    let mut entropy = [0; 32];
    rand::rngs::OsRng.try_fill_bytes(&mut entropy).map_err(|_| VerifyError::Signature)?;
    let share = blocks.len().div_ceil(THREADS).max(1);
    let mut shares = Vec::new();
    while !blocks.is_empty() {
        let rest = blocks.split_off(blocks.len().min(share));
        let tip = match rest.first() {
            Some(next) => next.parent_notarization.first().cloned(),
            None => certificate.take(),
        };
        shares.push((std::mem::replace(&mut blocks, rest), tip));
    }
    // A panic in a check is a bug: it goes on in the task that waits, which fails the actor.
    let verified = on_threads(shares, |(blocks, tip)| verify_share(verifier, blocks, tip, &entropy));
    let mut range = VerifiedRange { blocks: Vec::new(), certificate: None };
    for share in verified {
        let (blocks, certificate) = share?;
        range.blocks.extend(blocks);
        range.certificate = certificate;
    }
    Ok(range)
}

/// Blocks with their proofs, and the last one's certificate.
type Segment = (Vec<Verified<SignedBlock>>, Option<Verified<Notarization>>);

fn verify_share(
    verifier: &Verifier,
    blocks: Vec<SignedBlock>,
    tip: Option<Notarization>,
    entropy: &[u8; 32],
) -> Result<Segment, VerifyError> {
    let Some(tip) = tip else {
        // A run that ends with the newest block may have no certificate yet: then each signature counts.
        let blocks = verifier.blocks(blocks, entropy).into_iter().collect::<Result<_, _>>()?;
        return Ok((blocks, None));
    };
    match verifier.segment(blocks, tip, Certificates::All, entropy) {
        Ok(segment) => Ok((segment.blocks, Some(segment.tip))),
        Err(SegmentError::Empty) => Ok((Vec::new(), None)),
        Err(SegmentError::Broken { .. }) => Err(VerifyError::ParentCertificate),
        Err(SegmentError::Block { error, .. } | SegmentError::Tip(error)) => Err(error),
    }
}
