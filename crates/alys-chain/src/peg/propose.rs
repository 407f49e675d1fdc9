//! What an author puts into a block: what it was offered, as far as the rules take it, and what the books ask for.

use super::{
    Peg, PegRules,
    apply::{Applier, Place, Step},
    error::PegError,
    payment::PaymentError,
};
use alys_primitives::{
    BitcoinHeaderBytes, BlockBody, FeeBump, MAX_BITCOIN_HEADERS, Pause, PegInRecord, PegOutBatch, PegOutId, Refund,
    Settlement, VariableList,
};

/// The most settlements that an author puts into one block.
const MAX_SETTLEMENTS: usize = 16;

/// The most refunds that an author puts into one block.
const MAX_REFUNDS: usize = 64;

/// What a node's own view of Bitcoin suggests for the next block. It steers what is proposed and never what is valid.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PegOffer {
    /// Headers to bring, parents first; those that the chain has are left out by the author.
    pub headers: Vec<BitcoinHeaderBytes>,
    /// Deposits with their proofs.
    pub pegins: Vec<PegInRecord>,
    /// Payments that confirmed.
    pub settlements: Vec<Settlement>,
    /// The fee rate that payments should have, in satoshis per 1000 virtual bytes; the rules bound it.
    pub fee_rate: Option<u64>,
    /// Batches whose payments this node has not seen confirmed: these may be attempted again when it is time.
    pub unconfirmed: Vec<u64>,
}

/// The records of a block that is to be proposed, and what they do.
pub(crate) fn propose(
    rules: &PegRules,
    peg: &Peg,
    offer: &PegOffer,
    pause: Option<&Pause>,
    place: Place,
) -> (BlockBody, Step) {
    let mut applier = Applier::new(rules, peg, place);
    let mut body = BlockBody::default();

    if let Some(pause) = pause
        && applier.pause(pause).is_ok()
    {
        body.pause = VariableList::new(vec![pause.clone()]).unwrap_or_default();
    }
    let known = offer.headers.iter().take_while(|header| is_known(peg, header)).count();
    let fresh = offer.headers.get(known..).unwrap_or_default();
    let headers: Vec<BitcoinHeaderBytes> = fresh.iter().take(MAX_BITCOIN_HEADERS).copied().collect();
    if applier.bitcoin_headers(&headers).is_ok() {
        body.bitcoin_headers = VariableList::new(headers).unwrap_or_default();
    }
    body.settlements = take(&offer.settlements, MAX_SETTLEMENTS, |record| applier.settlement(record));
    let max_pegins = usize::try_from(rules.spec.max_pegins).unwrap_or(usize::MAX);
    // Refunds come first in the payload, and deposits can wait: they are not taken back.
    let refunds: Vec<Refund> = applier
        .ledger()
        .requests()
        .iter()
        .filter(|request| request.unpayable().is_some())
        .map(|request| Refund { request: request.id, reason: request.reason })
        .collect();
    body.pegins = take(&offer.pegins, max_pegins, |record| applier.pegin(record));
    body.refunds = take(&refunds, MAX_REFUNDS, |record| applier.refund(record));
    body.fee_bumps = bumps(&mut applier, offer);
    body.pegout_batches = batch(rules, &mut applier, offer, place);
    (body, applier.finish())
}

fn is_known(peg: &Peg, header: &BitcoinHeaderBytes) -> bool {
    use bitcoin::hashes::{Hash as _, sha256d};
    let hash = sha256d::Hash::hash(header.as_slice()).to_byte_array();
    peg.headers().height_of(&hash.into()).is_some()
}

/// The records that the rules take, up to a limit.
fn take<T: Clone, N: alys_primitives::typenum::Unsigned>(
    offered: &[T],
    limit: usize,
    mut apply: impl FnMut(&T) -> Result<(), PegError>,
) -> VariableList<T, N> {
    let taken: Vec<T> = offered.iter().filter(|record| apply(record).is_ok()).take(limit).cloned().collect();
    VariableList::new(taken).unwrap_or_default()
}

fn bumps(applier: &mut Applier<'_>, offer: &PegOffer) -> VariableList<FeeBump, alys_primitives::typenum::U16> {
    let due: Vec<FeeBump> = applier
        .ledger()
        .batches()
        .iter()
        .filter(|batch| offer.unconfirmed.contains(&batch.number))
        .filter_map(|batch| {
            let attempt = u64::try_from(batch.attempts.len()).ok()?;
            Some(FeeBump { batch: batch.number, attempt })
        })
        .collect();
    take(&due, 16, |bump| applier.bump(bump))
}

/// One batch of the oldest final requests, as many as the coins and the limits allow.
fn batch(
    rules: &PegRules,
    applier: &mut Applier<'_>,
    offer: &PegOffer,
    place: Place,
) -> VariableList<PegOutBatch, alys_primitives::typenum::U4> {
    let (min, max) = rules.fee_rate_bounds(applier.ledger());
    let fee_rate = offer.fee_rate.unwrap_or(applier.ledger().last_fee_rate()).clamp(min, max);
    let limit = usize::try_from(rules.spec.max_batch_requests).unwrap_or(usize::MAX);
    let mut wanted: Vec<PegOutId> = applier
        .ledger()
        .requests()
        .iter()
        .filter(|request| request.batch == 0 && request.unpayable().is_none() && request.height <= place.finalized)
        .map(|request| request.id)
        .take(limit)
        .collect();
    while !wanted.is_empty() {
        let Ok(requests) = VariableList::new(wanted.clone()) else { break };
        let batch = PegOutBatch { requests, fee_rate };
        match applier.batch(&batch) {
            Ok(()) => return VariableList::new(vec![batch]).unwrap_or_default(),
            // One that can't bear the fee waits for a lower one; the others go without it.
            Err(PegError::Payment(PaymentError::Dust { position, .. })) if position < wanted.len() => {
                wanted.remove(position);
            }
            // The oldest go first; the newest wait for more coins.
            Err(PegError::Payment(PaymentError::InsufficientCoins { .. } | PaymentError::TooHeavy { .. })) => {
                wanted.pop();
            }
            Err(_) => break,
        }
    }
    VariableList::empty()
}
