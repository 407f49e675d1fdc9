//! Bitcoin puts one attempt at a payment in the place of another.
//!
//! All attempts at a payment spend the same coins and pay the same requests, so at most one of them is on a branch. A
//! reorganisation deeper than the confirmations can drop the one that settled the payment, and the new branch can hold another
//! one. Then the chain is shown that one, as any transaction that comes back is, and it takes the first one's place: the requests
//! stay paid, by what its outputs hold; the coin that it brings back takes the place of the other; the fee of a sweep is
//! corrected. An open payment that was to spend the coin which is gone spends the one in its place, at the same fee rates;
//! its members sign anew, once the block that shows it is final. Both forms of that payment can't confirm, since each needs its
//! own parent.
//!
//! What was spent by a payment that has settled as well is not undone: the books go on missing it, and the peg waits.

use super::{
    apply::Applier,
    error::PegError,
    ledger::{Attempt, Batch, Coin, PegLedger, Recorded, RecordedKind},
    proof::Proven,
};
use alys_primitives::{Address, B256, Sats};
use ssz_derive::{Decode, Encode};

/// A settled payment of which there were several attempts. It is remembered for as long as the transaction that settled it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Settled {
    /// The batch.
    pub number: u64,
    /// The attempt that counts, internal byte order.
    pub txid: B256,
    /// The other attempts.
    pub siblings: Vec<B256>,
    /// How many requests it paid, none by a sweep; its output of this number, if there is one, came back to the federation.
    pub requests: u32,
    /// Number of the custody that it came back to.
    pub custody: u64,
}

impl Settled {
    /// What is to be remembered of a batch that this attempt settles; nothing if there was no other.
    pub(super) fn of(batch: &Batch, txid: B256) -> Option<Self> {
        let siblings: Vec<B256> =
            batch.attempts.iter().map(|attempt| attempt.txid).filter(|other| *other != txid).collect();
        let requests = u32::try_from(batch.requests.len()).ok()?;
        (!siblings.is_empty()).then_some(Self {
            number: batch.number,
            txid,
            siblings,
            requests,
            custody: batch.sweeps_to,
        })
    }
}

impl PegLedger {
    /// Settled payments of which there were several attempts, oldest first.
    pub fn settled(&self) -> &[Settled] {
        &self.settled
    }

    /// Other attempts at payments whose transaction left the best branch: if one of them is in a block, it settles the payment.
    pub fn replacements(&self) -> impl Iterator<Item = B256> + '_ {
        let lost = self.settled.iter().filter(|settled| self.is_lost(&settled.txid));
        lost.flat_map(|settled| settled.siblings.iter().copied())
    }

    /// Forgets what can't be replaced any more.
    pub(super) fn forget_settled(&mut self) {
        let recorded = &self.recorded;
        self.settled.retain(|settled| recorded.binary_search_by_key(&settled.txid, |recorded| recorded.txid).is_ok());
    }
}

impl Applier<'_> {
    /// Whether a transaction is another attempt at a settled payment.
    pub(super) fn is_sibling(&self, txid: &B256) -> bool {
        self.ledger.settled.iter().any(|settled| settled.siblings.contains(txid))
    }

    /// Another attempt at a settled payment is in a block, and the one that settled it is in none.
    pub(super) fn replace_settled(&mut self, proven: &Proven, anchor: (B256, u64)) -> Result<(), PegError> {
        let txid = proven.txid;
        let index = self.ledger.settled.iter().position(|settled| settled.siblings.contains(&txid));
        let before = index.and_then(|index| self.ledger.settled.get(index)).cloned();
        let before = before.ok_or(PegError::NoDeposit { txid })?;
        let (number, counts) = (before.number, before.txid);
        let lost = self.ledger.find_recorded(&counts).filter(|recorded| recorded.is_lost);
        let old_change = lost.ok_or(PegError::SettledBy { number, txid, counts })?.amount;

        let outputs = &proven.transaction.output;
        let output = |vout: u32| {
            let output = usize::try_from(vout).ok().and_then(|vout| outputs.get(vout));
            output.map(|output| Sats(output.value.to_sat()))
        };
        let vout = before.requests;
        let change = output(vout).unwrap_or(Sats(0));
        let sum = self.ledger.totals.absorbed.checked_add(old_change.0).ok_or(PegError::Overflow)?;
        let absorbed = sum.0.checked_sub(change.0).ok_or(PegError::Overflow)?;
        if old_change > Sats(0) {
            self.replace_coin((counts, vout), Coin { txid, vout, value: change, batch: 0, custody: before.custody })?;
        }
        // Nothing can fail from here on.
        self.ledger.totals.absorbed = Sats(absorbed);
        for finished in self.ledger.finished.iter_mut().filter(|finished| finished.batch == number) {
            finished.txid = txid;
            finished.paid = output(finished.vout).unwrap_or(finished.paid);
        }
        // The one that counted may come back in its turn.
        self.ledger.recorded.retain(|recorded| recorded.txid != counts);
        if let Some(settled) = index.and_then(|index| self.ledger.settled.get_mut(index)) {
            settled.txid = txid;
            settled.siblings.retain(|sibling| *sibling != txid);
            settled.siblings.push(counts);
        }
        let kind = RecordedKind::Payment;
        self.ledger.record(Recorded::new(txid, anchor, kind, Address::ZERO, change, self.place.height));
        Ok(())
    }

    /// A coin takes the place of another one, in the books and in the open payment that spends it; or nothing changes.
    fn replace_coin(&mut self, gone: (B256, u32), coin: Coin) -> Result<(), PegError> {
        let position = self.ledger.coins.iter().position(|coin| (coin.txid, coin.vout) == gone);
        let spent_by = position.and_then(|position| self.ledger.coins.get(position)).map(|coin| coin.batch);
        let (Some(position), Some(spent_by)) = (position, spent_by) else {
            return Err(PegError::ChangeSpent { txid: coin.txid, counts: gone.0 });
        };
        let coin = Coin { batch: spent_by, ..coin };
        let open = self.ledger.batches.iter().position(|batch| batch.number == spent_by && spent_by != 0);
        if let Some(batch) = open.and_then(|open| self.ledger.batches.get(open)).cloned() {
            let derived = self.spending_instead(batch, gone, &coin)?;
            if let Some(batch) = open.and_then(|open| self.ledger.batches.get_mut(open)) {
                *batch = derived;
            }
        }
        self.ledger.coins.remove(position);
        self.ledger.add_coin(coin);
        Ok(())
    }

    /// An open payment with another coin in the place of one that is gone: each attempt is derived anew at its own fee rate,
    /// and members sign once this block is final.
    fn spending_instead(&self, mut batch: Batch, gone: (B256, u32), coin: &Coin) -> Result<Batch, PegError> {
        for spent in batch.coins.iter_mut().filter(|spent| (spent.txid, spent.vout) == gone) {
            (spent.txid, spent.vout, spent.value) = (coin.txid, coin.vout, coin.value);
        }
        batch.coins.sort_unstable_by_key(|coin| (coin.txid, coin.vout));
        let derived = |attempt: &Attempt| {
            let txid = self.ledger.payment(self.rules, &batch, attempt)?.txid();
            Ok::<_, PegError>(Attempt { height: self.place.height, txid, ..*attempt })
        };
        batch.attempts = batch.attempts.iter().map(derived).collect::<Result<_, _>>()?;
        Ok(batch)
    }
}
