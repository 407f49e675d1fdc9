//! Custody from one federation to the next (protocol section 7): whose address deposits may pay to, and how the coins
//! of those who held them before come to those who hold them now.
//!
//! A change of the federation may name new custodians. They wait in the books until their epoch begins; from then on
//! payments come from their coins alone. The coins of earlier custodians are swept: payments without requests, which the
//! rules derive by themselves, so that no author chooses when, how much or where to. Deposits to an earlier address count
//! for `old_address_grace` Bitcoin blocks; later ones are noted with a reason and are no part of the books, because
//! nobody may be left who can spend them.

use super::{
    Custody, PegRules,
    apply::Applier,
    ledger::{Attempt, Batch, Coin, PegLedger},
    payment::{PaymentError, derive_sweep, sweep_coins},
};
use alys_primitives::{Custodians, PegSpec, Sats};
use bitcoin::Script;
use ssz_derive::{Decode, Encode};

/// How many earlier custodies without coins and payments are remembered, so that deposits to them are noted.
const MAX_REMEMBERED: usize = 16;

/// Within the grace period deposits may still come, and coins wait until a sweep costs no more than this part of them.
const PATIENT_SHARE: u64 = 100;

/// Who holds coins, now or from an earlier epoch.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct CustodyEntry {
    /// Its number, from 0 for the spec's.
    pub number: u64,
    /// Keys and threshold.
    pub custodians: Custodians,
    /// The output script that deposits pay to.
    pub script: Vec<u8>,
    /// Whether it is the present federation's.
    pub is_current: bool,
    /// Height of Bitcoin in the chain's view when the next federation's epoch began; zero for the present one.
    pub retired_at: u64,
}

impl CustodyEntry {
    pub(crate) fn genesis(spec: &PegSpec, custody: &Custody) -> Self {
        let custodians = Custodians { keys: spec.custody_keys.clone(), threshold: spec.custody_threshold };
        let script = custody.script_pubkey().to_bytes();
        Self { number: 0, custodians, script, is_current: true, retired_at: 0 }
    }

    /// Whether a deposit in a Bitcoin block of this height counts.
    pub fn accepts(&self, grace: u64, bitcoin_height: u64) -> bool {
        self.is_current || bitcoin_height <= self.retired_at.saturating_add(grace)
    }
}

impl PegLedger {
    /// The present custody and earlier ones, oldest first.
    pub fn custodies(&self) -> &[CustodyEntry] {
        &self.custodies
    }

    /// A custody by its number.
    pub fn custody(&self, number: u64) -> Option<&CustodyEntry> {
        self.custodies.iter().find(|entry| entry.number == number)
    }

    /// Number of the present custody.
    pub fn current_custody(&self) -> u64 {
        self.custodies.iter().rev().find(|entry| entry.is_current).map_or(0, |entry| entry.number)
    }

    /// Who takes over when the change of the federation that is in flight takes effect.
    pub fn next_custodians(&self) -> Option<&Custodians> {
        self.next_custodians.first()
    }

    /// What coins of one custody hold, those left out whose transaction left the best branch.
    pub fn held_by(&self, number: u64) -> Sats {
        let counted = self.coins.iter().filter(|coin| coin.custody == number && !self.is_lost(&coin.txid));
        Sats(counted.fold(0u64, |sum, coin| sum.saturating_add(coin.value.0)))
    }

    /// The custody that a script belongs to.
    pub fn custody_by_script(&self, script: &Script) -> Option<&CustodyEntry> {
        self.custodies.iter().find(|entry| entry.script == script.as_bytes())
    }

    /// The epoch of `next_custodians` begins while the chain's view of Bitcoin ends at `bitcoin_height`.
    pub(crate) fn rotate(&mut self, rules: &PegRules, bitcoin_height: u64) {
        let Some(custodians) = self.next_custodians.pop() else { return };
        // Checked when the change was verified.
        let Ok(custody) = rules.custody_by(&custodians) else { return };
        let script = custody.script_pubkey().to_bytes();
        let number = self.custodies.iter().map(|entry| entry.number).max().map_or(0, |last| last.saturating_add(1));
        let is_same = |entry: &CustodyEntry| entry.script == script;
        if self.custodies.iter().any(|entry| entry.is_current && is_same(entry)) {
            return;
        }
        for entry in self.custodies.iter_mut().filter(|entry| entry.is_current) {
            (entry.is_current, entry.retired_at) = (false, bitcoin_height);
        }
        // What was to be paid to the address before anybody knew whose it is goes back.
        let misdirected = |request: &&mut super::Request| request.batch == 0 && request.script == script;
        for request in self.requests.iter_mut().filter(misdirected) {
            request.script.clear();
            request.reason = super::Unpayable::MalformedAddress.number();
        }
        // Custodians may come back.
        match self.custodies.iter_mut().find(|entry| is_same(entry)) {
            Some(entry) => (entry.is_current, entry.retired_at) = (true, 0),
            None => self.custodies.push(CustodyEntry { number, custodians, script, is_current: true, retired_at: 0 }),
        }
    }

    /// Forgets the oldest custodies that hold nothing and that nobody may pay to any more.
    pub(crate) fn forget_custodies(&mut self, grace: u64, root_height: u64) {
        let idle: Vec<u64> = self
            .custodies
            .iter()
            .filter(|entry| !entry.accepts(grace, root_height))
            .map(|entry| entry.number)
            .filter(|number| self.coins.iter().all(|coin| coin.custody != *number))
            .filter(|number| self.batches.iter().all(|batch| batch.custody != *number && batch.sweeps_to != *number))
            .collect();
        let surplus = idle.len().saturating_sub(MAX_REMEMBERED);
        for number in idle.into_iter().take(surplus) {
            self.custodies.retain(|entry| entry.number != number);
        }
    }
}

impl PegRules {
    /// The custody with a number in these books; `None` if they know none.
    pub fn custody_of(&self, ledger: &PegLedger, number: u64) -> Option<Custody> {
        self.custody_by(&ledger.custody(number)?.custodians).ok()
    }

    /// The custody that custodians of this chain have together.
    ///
    /// # Errors
    /// [`super::CustodyError`].
    pub fn custody_by(&self, custodians: &Custodians) -> Result<Custody, super::CustodyError> {
        Custody::of(custodians, self.spec.recovery.first())
    }

    /// The custody that deposits pay to.
    pub fn current_custody(&self, ledger: &PegLedger) -> Option<Custody> {
        self.custody_of(ledger, ledger.current_custody())
    }

    /// The custody that a script belongs to, if a deposit to it in a Bitcoin block of this height counts.
    pub fn takes_deposits(&self, ledger: &PegLedger, script: &Script, bitcoin_height: u64) -> Option<u64> {
        let entry = ledger.custody_by_script(script)?;
        entry.accepts(self.spec.old_address_grace, bitcoin_height).then_some(entry.number)
    }

    /// Whether a script is the present federation's, an earlier one's, or the next one's.
    pub(crate) fn is_custody(&self, ledger: &PegLedger, script: &Script) -> bool {
        let next = ledger.next_custodians().and_then(|next| self.custody_by(next).ok());
        ledger.custody_by_script(script).is_some() || next.is_some_and(|next| next.script_pubkey() == script)
    }
}

impl Applier<'_> {
    /// Begins the sweeps that the books call for: for each earlier custody one at a time.
    pub(super) fn sweep(&mut self) {
        if self.ledger.custodies.len() < 2 || self.ledger.holds_pegouts() {
            return;
        }
        let earlier: Vec<(u64, bool)> = self
            .ledger
            .custodies
            .iter()
            .filter(|entry| !entry.is_current)
            .map(|entry| (entry.number, entry.accepts(self.rules.spec.old_address_grace, self.headers.tip_height())))
            .collect();
        for (number, may_receive) in earlier {
            let is_sweeping = |batch: &Batch| batch.custody == number && batch.requests.is_empty();
            if !self.ledger.batches.iter().any(is_sweeping) {
                // Too little to be worth the fee waits for more, or for a lower fee.
                let _ = self.begin_sweep(number, may_receive);
            }
        }
        self.ledger.forget_custodies(self.rules.spec.old_address_grace, self.headers.root_height());
    }

    fn begin_sweep(&mut self, from: u64, may_receive: bool) -> Result<(), PaymentError> {
        let to = self.ledger.current_custody();
        let custody =
            |number| self.rules.custody_of(&self.ledger, number).ok_or(PaymentError::UnknownCustody { number });
        let free = self.ledger.free_coins(from);
        if free.is_empty() {
            return Ok(());
        }
        let (old, new) = (custody(from)?, custody(to)?);
        let fee_rate = self.ledger.last_fee_rate.clamp(self.rules.spec.min_fee_rate, self.rules.spec.max_fee_rate);
        let coins = sweep_coins(&free, &old, &new, fee_rate)?;
        let payment = derive_sweep(&old, &new, &coins, fee_rate)?;
        let swept = payment.change.0.saturating_add(payment.fee.0);
        if may_receive && payment.fee.0.saturating_mul(PATIENT_SHARE) > swept {
            return Ok(());
        }
        let number = self.ledger.next_batch.max(1);
        self.ledger.next_batch = number.checked_add(1).ok_or(PaymentError::Overflow)?;
        let attempt = Attempt {
            fee_rate,
            height: self.place.height,
            bitcoin_height: self.headers.tip_height(),
            txid: payment.txid(),
        };
        self.ledger.assign(&coins, number);
        let requests = Vec::new();
        self.ledger.batches.push(Batch {
            number,
            requests,
            coins,
            attempts: vec![attempt],
            custody: from,
            sweeps_to: to,
        });
        Ok(())
    }
}

impl PegLedger {
    /// Takes free coins for a batch.
    pub(super) fn assign(&mut self, chosen: &[Coin], batch: u64) {
        for coin in &mut self.coins {
            if chosen.iter().any(|chosen| (chosen.txid, chosen.vout) == (coin.txid, coin.vout)) {
                coin.batch = batch;
            }
        }
    }
}
