//! The ledger: coins, deposits, requests, batches and totals (protocol section 7).

use super::{
    CustodyEntry, PegRules,
    deposit::Unclaimed,
    pause::PauseState,
    payment::{Payee, Payment, PaymentError, derive_payment, derive_sweep},
    settled::Settled,
};
use alys_primitives::{Address, AddressText, B256, Custodians, Height, PegOutId, Sats};
use bitcoin::ScriptBuf;
use ssz_derive::{Decode, Encode};

/// Log index of a request that returns an unclaimed deposit: no block has so many logs. Its block root is the deposit's
/// transaction, internal byte order.
pub const RETURN_LOG_INDEX: u64 = u64::MAX;

/// How many finished peg-outs the state remembers, so that every node can answer about them.
pub const MAX_FINISHED: usize = 1_024;

/// A coin of the federation whose confirmation the chain has recorded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Coin {
    /// The transaction that made it, internal byte order.
    pub txid: B256,
    /// Its output.
    pub vout: u32,
    /// Its worth.
    pub value: Sats,
    /// The batch that spends it; zero if it is free.
    pub batch: u64,
    /// Number of the custody that can spend it.
    pub custody: u64,
}

/// What a recorded transaction was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordedKind {
    /// A deposit that was credited.
    Credited,
    /// A deposit that could not be credited; its coins wait.
    Unclaimed(Unclaimed),
    /// A payment of our own.
    Payment,
}

/// Number of [`RecordedKind::Payment`].
const PAYMENT: u64 = 255;

/// A transaction that the chain has recorded, so that it is never recorded again. It is remembered for as long as its
/// block is part of the header view, and longer if that block left the best branch.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Recorded {
    /// The transaction, internal byte order.
    pub txid: B256,
    /// The block that it was proven to be part of, internal byte order.
    pub block: B256,
    /// That block's height.
    pub bitcoin_height: u64,
    /// Whether that block left the best branch; then its coins do not count until it is proven anew.
    pub is_lost: bool,
    kind: u64,
    /// Who was credited; zero for everything else.
    pub recipient: Address,
    /// What it brought to the federation.
    pub amount: Sats,
    /// Height of the Alys block that recorded it first.
    pub height: Height,
}

impl Recorded {
    pub(crate) fn new(
        txid: B256,
        (block, bitcoin_height): (B256, u64),
        kind: RecordedKind,
        recipient: Address,
        amount: Sats,
        height: Height,
    ) -> Self {
        let kind = match kind {
            RecordedKind::Credited => 0,
            RecordedKind::Unclaimed(reason) => reason.number(),
            RecordedKind::Payment => PAYMENT,
        };
        Self { txid, block, bitcoin_height, is_lost: false, kind, recipient, amount, height }
    }

    /// The same transaction, proven to be part of another block.
    pub(crate) fn anchored(&self, (block, bitcoin_height): (B256, u64)) -> Self {
        Self { block, bitcoin_height, is_lost: false, ..self.clone() }
    }

    /// What it was.
    pub fn kind(&self) -> RecordedKind {
        match self.kind {
            PAYMENT => RecordedKind::Payment,
            number => Unclaimed::from_number(number).map_or(RecordedKind::Credited, RecordedKind::Unclaimed),
        }
    }
}

/// Why a burn can't be paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unpayable {
    /// The text is no Bitcoin address.
    MalformedAddress,
    /// An address of another network.
    OtherNetwork,
    /// So small that no fee can come out of it.
    TooSmall,
}

impl Unpayable {
    /// The reason's number in records; zero is "payable".
    pub fn number(self) -> u64 {
        match self {
            Self::MalformedAddress => 1,
            Self::OtherNetwork => 2,
            Self::TooSmall => 3,
        }
    }

    /// The reason with this number.
    pub fn from_number(number: u64) -> Option<Self> {
        [Self::MalformedAddress, Self::OtherNetwork, Self::TooSmall].into_iter().find(|r| r.number() == number)
    }

    /// A short name, for status answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::MalformedAddress => "malformed-address",
            Self::OtherNetwork => "other-network",
            Self::TooSmall => "too-small",
        }
    }
}

/// A burn that has been neither paid nor refunded.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Request {
    /// Where its log stands.
    pub id: PegOutId,
    /// Height of that block.
    pub height: Height,
    /// Who burned.
    pub sender: Address,
    /// How much.
    pub amount: Sats,
    /// Where to, as given.
    pub address: AddressText,
    pub(crate) script: Vec<u8>,
    pub(crate) reason: u64,
    /// The batch that pays it; zero if none does yet.
    pub batch: u64,
}

impl Request {
    /// Why it can't be paid, if it can't.
    pub fn unpayable(&self) -> Option<Unpayable> {
        Unpayable::from_number(self.reason)
    }

    /// Who is to be paid.
    pub fn payee(&self) -> Payee {
        Payee { script: ScriptBuf::from_bytes(self.script.clone()), amount: self.amount }
    }
}

/// One attempt at paying a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Attempt {
    /// Satoshis per 1000 virtual bytes.
    pub fee_rate: u64,
    /// Height of the Alys block that carries it: members sign once that block is final.
    pub height: Height,
    /// Height of Bitcoin in that block's view.
    pub bitcoin_height: u64,
    /// The transaction, internal byte order.
    pub txid: B256,
}

/// A payment that has not settled.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Batch {
    /// Its number, from 1.
    pub number: u64,
    /// The requests that it pays, in order; none for a sweep.
    pub requests: Vec<PegOutId>,
    /// The coins that it spends, in order; every attempt spends all of them, so no two can confirm.
    pub coins: Vec<Coin>,
    /// The attempts, each at a higher rate than the one before.
    pub attempts: Vec<Attempt>,
    /// Number of the custody that signs; what a payment does not need comes back to it.
    pub custody: u64,
    /// Number of the custody that a sweep brings everything to; the same as `custody` for a payment.
    pub sweeps_to: u64,
}

impl Batch {
    /// Whether it moves coins to the present federation and pays nobody.
    pub fn is_sweep(&self) -> bool {
        self.requests.is_empty()
    }
}

/// A peg-out that was paid or refunded.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Finished {
    /// Where its log stands.
    pub id: PegOutId,
    /// Who burned.
    pub sender: Address,
    /// How much.
    pub amount: Sats,
    /// Height of the Alys block that recorded the end.
    pub height: Height,
    /// Why it was refunded; zero if it was paid.
    pub(crate) reason: u64,
    /// The batch that paid it; zero if it was refunded.
    pub batch: u64,
    /// The transaction that paid it, internal byte order; zero if it was refunded.
    pub txid: B256,
    /// That transaction's output.
    pub vout: u32,
    /// What that output holds.
    pub paid: Sats,
}

impl Finished {
    /// Why it was refunded; `None` if it was paid.
    pub fn refunded(&self) -> Option<Unpayable> {
        Unpayable::from_number(self.reason)
    }
}

/// Totals since genesis, in satoshis. Each only ever rises, but for `absorbed`, which falls when Bitcoin puts an attempt at a
/// sweep in the place of a dearer one that had settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Totals {
    /// Recorded deposits.
    pub deposited: Sats,
    /// Of these, minted.
    pub credited: Sats,
    /// Burned for payments.
    pub burned: Sats,
    /// Of these, minted again.
    pub refunded: Sats,
    /// Of these, paid, the fees that came out of them included.
    pub paid: Sats,
    /// Deposits that named nobody and became requests that return them.
    pub returned: Sats,
    /// Lost to miners beyond what came out of requests: change too small to send, and the fees of sweeps.
    pub absorbed: Sats,
}

/// The peg's books.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct PegLedger {
    /// In order of outpoint.
    pub(crate) coins: Vec<Coin>,
    /// In order of txid.
    pub(crate) recorded: Vec<Recorded>,
    /// Oldest first.
    pub(crate) requests: Vec<Request>,
    /// Oldest first.
    pub(crate) batches: Vec<Batch>,
    /// Oldest first.
    pub(crate) finished: Vec<Finished>,
    pub(crate) next_batch: u64,
    pub(crate) last_fee_rate: u64,
    pub(crate) totals: Totals,
    pub(crate) pause: PauseState,
    /// Oldest first.
    pub(crate) custodies: Vec<CustodyEntry>,
    /// At most one.
    pub(crate) next_custodians: Vec<Custodians>,
    /// Settled payments of which there were several attempts; oldest first.
    pub(crate) settled: Vec<Settled>,
}

impl PegLedger {
    /// The federation's coins, in order of outpoint.
    pub fn coins(&self) -> &[Coin] {
        &self.coins
    }

    /// A recorded transaction.
    pub fn find_recorded(&self, txid: &B256) -> Option<&Recorded> {
        let index = self.recorded.binary_search_by_key(txid, |recorded| recorded.txid).ok()?;
        self.recorded.get(index)
    }

    /// Recorded transactions whose blocks left the best branch of the chain's own view.
    pub fn lost(&self) -> impl Iterator<Item = &Recorded> {
        self.recorded.iter().filter(|recorded| recorded.is_lost)
    }

    /// Open requests, oldest first.
    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// An open request.
    pub fn find_request(&self, id: &PegOutId) -> Option<&Request> {
        self.requests.iter().find(|request| request.id == *id)
    }

    /// Unsettled batches, oldest first.
    pub fn batches(&self) -> &[Batch] {
        &self.batches
    }

    /// The newest finished peg-outs, oldest first.
    pub fn finished(&self) -> &[Finished] {
        &self.finished
    }

    /// The fee rate that the next batch is held against.
    pub fn last_fee_rate(&self) -> u64 {
        self.last_fee_rate
    }

    /// Totals since genesis.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// What coins hold, those left out whose transaction left the best branch.
    pub fn locked(&self) -> Sats {
        let counted = self.coins.iter().filter(|coin| !self.is_lost(&coin.txid));
        Sats(counted.fold(0u64, |sum, coin| sum.saturating_add(coin.value.0)))
    }

    /// What was burned and is neither paid nor refunded.
    pub fn unpaid(&self) -> Sats {
        Sats(self.requests.iter().fold(0u64, |sum, request| sum.saturating_add(request.amount.0)))
    }

    /// What was deposited and is neither minted nor to be returned: deposits that name nobody, or are too small.
    pub fn unclaimed(&self) -> Sats {
        self.totals.deposited.saturating_sub(self.totals.credited.0).saturating_sub(self.totals.returned.0)
    }

    /// A quorum's newest decision about pausing.
    pub fn pause(&self) -> &PauseState {
        &self.pause
    }

    /// Whether no deposit is credited now, by decision or because the books do not balance.
    pub fn holds_pegins(&self) -> bool {
        self.pause.pegin_paused || self.imbalance() != 0
    }

    /// Whether no payment begins now, by decision or because the books do not balance.
    pub fn holds_pegouts(&self) -> bool {
        self.pause.pegout_paused || self.imbalance() != 0
    }

    /// Whether a recorded transaction left the best branch of the chain's own view.
    pub fn is_lost(&self, txid: &B256) -> bool {
        self.find_recorded(txid).is_some_and(|recorded| recorded.is_lost)
    }

    /// What the books lack (negative) or have too much, in satoshis; zero when they balance (protocol section 7):
    /// locked + absorbed = supply + unpaid + unclaimed, where supply = credited + refunded - burned. What genesis
    /// allotted stands on both sides and is left out.
    pub fn imbalance(&self) -> i128 {
        let totals = &self.totals;
        let wide = |amount: Sats| i128::from(amount.0);
        let assets = wide(self.locked()).saturating_add(wide(totals.absorbed));
        let supply = wide(totals.credited).saturating_add(wide(totals.refunded)).saturating_sub(wide(totals.burned));
        let owed = supply.saturating_add(wide(self.unpaid())).saturating_add(wide(self.unclaimed()));
        assets.saturating_sub(owed)
    }

    /// Coins of a custody that no batch spends and whose transaction is on the best branch.
    pub(crate) fn free_coins(&self, custody: u64) -> Vec<Coin> {
        let is_free = |coin: &&Coin| coin.batch == 0 && coin.custody == custody && !self.is_lost(&coin.txid);
        self.coins.iter().filter(is_free).cloned().collect()
    }

    pub(crate) fn payees(&self, ids: &[PegOutId]) -> Option<Vec<Payee>> {
        ids.iter().map(|id| self.find_request(id).map(Request::payee)).collect()
    }

    /// The payment of a batch's attempt, derived anew.
    ///
    /// # Errors
    /// Never for a batch of this ledger; [`PaymentError::Empty`] or [`PaymentError::UnknownCustody`] for one of another.
    pub fn payment(&self, rules: &PegRules, batch: &Batch, attempt: &Attempt) -> Result<Payment, PaymentError> {
        let custody = |number| rules.custody_of(self, number).ok_or(PaymentError::UnknownCustody { number });
        let from = custody(batch.custody)?;
        if batch.is_sweep() {
            return derive_sweep(&from, &custody(batch.sweeps_to)?, &batch.coins, attempt.fee_rate);
        }
        let payees = self.payees(&batch.requests).ok_or(PaymentError::Empty)?;
        derive_payment(&from, &batch.coins, &payees, attempt.fee_rate)
    }

    pub(crate) fn record(&mut self, recorded: Recorded) {
        match self.recorded.binary_search_by_key(&recorded.txid, |other| other.txid) {
            Ok(index) => {
                if let Some(place) = self.recorded.get_mut(index) {
                    *place = recorded;
                }
            }
            Err(index) => self.recorded.insert(index, recorded),
        }
    }

    /// Forgets a transaction that left the best branch, and its coins: a planted mistake.
    #[cfg(feature = "testing")]
    pub(crate) fn forget_lost(&mut self, txid: &B256) -> bool {
        let lost = self.is_lost(txid);
        if lost {
            self.coins.retain(|coin| coin.txid != *txid);
            self.recorded.retain(|recorded| recorded.txid != *txid);
        }
        lost
    }

    pub(crate) fn add_coin(&mut self, coin: Coin) {
        let index = self.coins.partition_point(|other| (other.txid, other.vout) < (coin.txid, coin.vout));
        self.coins.insert(index, coin);
    }

    pub(crate) fn finish(&mut self, finished: Finished) {
        self.requests.retain(|request| request.id != finished.id);
        if self.finished.len() >= MAX_FINISHED {
            self.finished.remove(0);
        }
        self.finished.push(finished);
    }
}
