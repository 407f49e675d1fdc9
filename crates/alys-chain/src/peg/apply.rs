//! What a block's records make of the peg (protocol section 7): each rule in one place, for authors and importers alike.
//!
//! Records are applied in this order: pause, headers, settlements, deposits, refunds, bumps, batches; then the
//! custodians of a change of the federation, and the sweeps that the books call for; then, once the payload was executed, its
//! burns. A record that breaks a rule leaves the books as they were and makes the block invalid.

use super::{
    Peg, PegRules,
    deposit::{DepositOutput, Unclaimed, parse_deposit},
    error::PegError,
    headers::HeaderView,
    ledger::{Attempt, Batch, Coin, Finished, PegLedger, RETURN_LOG_INDEX, Recorded, RecordedKind, Request, Unpayable},
    payment::{PaymentError, derive_payment, select_coins},
    proof::{self, Proven},
    sealed::Sealed,
    settled::Settled,
};
use alys_primitives::{
    Address, AddressText, B256, BitcoinHeaderBytes, BlockBody, Burns, Epoch, FeeBump, Gwei, Height, Pause, PegInRecord,
    PegOutBatch, PegOutId, Refund, Root, Sats, Settlement, U256, WithdrawalKind,
};
use bitcoin::{Address as BitcoinAddress, Amount, Script, Transaction};
use std::str::FromStr as _;

/// Wei in a satoshi.
pub(crate) const WEI_PER_SAT: u64 = 10_000_000_000;

/// Confirmations without which Bitcoin lets nobody spend a coinbase.
const COINBASE_MATURITY: u64 = 100;

/// The block that brings records, as far as the rules look at it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) height: Height,
    /// Start of its slot, Unix seconds.
    pub(crate) time: u64,
    pub(crate) epoch: Epoch,
    /// Newest final ancestor in its own chain.
    pub(crate) finalized: Height,
    /// How many withdrawals are left for refunds and deposits.
    pub(crate) max_withdrawals: usize,
    /// Can carry a planted mistake.
    #[cfg(feature = "testing")]
    pub(crate) scheme: crate::scheme::Scheme,
}

/// Somebody to mint for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mint {
    pub(crate) kind: WithdrawalKind,
    pub(crate) address: Address,
    pub(crate) amount: Gwei,
}

/// What a block's records do, burns apart.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) peg: Peg,
    /// Refunds, then deposits.
    pub(crate) mints: Vec<Mint>,
    /// Deposits recorded by this block.
    pub(crate) deposited: Sats,
}

/// The peg while a block's records are applied.
#[derive(Debug)]
pub(crate) struct Applier<'a> {
    pub(super) rules: &'a PegRules,
    pub(super) place: Place,
    pub(super) headers: Sealed<HeaderView>,
    pub(super) ledger: PegLedger,
    refunds: Vec<Mint>,
    pegins: Vec<Mint>,
    pegin_records: u64,
    deposited: Sats,
    before: &'a Peg,
}

impl<'a> Applier<'a> {
    pub(crate) fn new(rules: &'a PegRules, peg: &'a Peg, place: Place) -> Self {
        Self {
            rules,
            place,
            headers: peg.headers.clone(),
            ledger: PegLedger::clone(&peg.ledger),
            refunds: Vec::new(),
            pegins: Vec::new(),
            pegin_records: 0,
            deposited: Sats(0),
            before: peg,
        }
    }

    pub(crate) fn ledger(&self) -> &PegLedger {
        &self.ledger
    }

    /// The result.
    pub(crate) fn finish(mut self) -> Step {
        self.sweep();
        let ledger =
            if *self.before.ledger == self.ledger { self.before.ledger.clone() } else { Sealed::new(self.ledger) };
        let mints = self.refunds.into_iter().chain(self.pegins).collect();
        Step { peg: Peg { headers: self.headers, ledger }, mints, deposited: self.deposited }
    }

    /// Applies all records of a body.
    pub(crate) fn body(mut self, body: &BlockBody) -> Result<Step, PegError> {
        if let Some(pause) = body.pause.first() {
            self.pause(pause)?;
        }
        self.bitcoin_headers(&body.bitcoin_headers)?;
        for settlement in &body.settlements {
            self.settlement(settlement)?;
        }
        for record in &body.pegins {
            self.pegin(record)?;
        }
        for refund in &body.refunds {
            self.refund(refund)?;
        }
        for bump in &body.fee_bumps {
            self.bump(bump)?;
        }
        for batch in &body.pegout_batches {
            self.batch(batch)?;
        }
        if let Some(offered) = body.federation_change.first().and_then(|change| change.custody.first()) {
            self.ledger.next_custodians = vec![offered.custodians()];
        }
        Ok(self.finish())
    }

    /// A quorum's decision, whose signatures were checked with the block's.
    pub(crate) fn pause(&mut self, pause: &Pause) -> Result<(), PegError> {
        self.ledger.pause = self.ledger.pause.decide(pause, self.place.epoch)?;
        Ok(())
    }

    /// Headers, and what they mean for recorded transactions: some leave the best branch, some come back, and those that
    /// are buried below the view need not be remembered.
    pub(crate) fn bitcoin_headers(&mut self, headers: &[BitcoinHeaderBytes]) -> Result<(), PegError> {
        if headers.is_empty() {
            return Ok(());
        }
        let (view, moved) = self.headers.extend(&self.rules.headers, headers, self.place.time)?;
        if moved.is_reorg {
            for recorded in &mut self.ledger.recorded {
                if recorded.bitcoin_height >= view.root_height() {
                    recorded.is_lost = view.hash_at(recorded.bitcoin_height) != Some(recorded.block);
                }
            }
        }
        let root = view.root_height();
        self.ledger.recorded.retain(|recorded| recorded.is_lost || recorded.bitcoin_height >= root);
        self.ledger.forget_settled();
        self.headers = Sealed::new(view);
        Ok(())
    }

    /// Checks a proof and that its block is deep enough; gives the block's place too.
    fn prove(&self, record: &PegInRecord) -> Result<(Proven, (B256, u64)), PegError> {
        let block = record.bitcoin_block;
        let (height, merkle_root) = self.headers.find(&block).ok_or(PegError::UnknownBlock { block })?;
        let proven = proof::verify(record, merkle_root)?;
        let needed = if proven.is_coinbase {
            COINBASE_MATURITY.max(self.rules.spec.confirmations)
        } else {
            self.rules.spec.confirmations
        };
        let found = self.headers.confirmations(height);
        if found < needed {
            return Err(PegError::Unconfirmed { found, needed });
        }
        Ok((proven, (block, height)))
    }

    /// A deposit.
    pub(crate) fn pegin(&mut self, record: &PegInRecord) -> Result<(), PegError> {
        if self.pegin_records >= self.rules.spec.max_pegins {
            return Err(PegError::TooManyPegIns { max: self.rules.spec.max_pegins });
        }
        let (proven, anchor) = self.prove(record)?;
        let txid = proven.txid;
        #[cfg(feature = "testing")]
        let again = self.place.scheme.planted(crate::testing::Plant::MintAgain) && self.ledger.forget_lost(&txid);
        #[cfg(not(feature = "testing"))]
        let again = false;
        if let Some(known) = self.ledger.find_recorded(&txid) {
            // Once ever. A transaction whose block left the best branch is shown to stand in another one: nothing is
            // minted again, its coins count again.
            if !known.is_lost {
                return Err(PegError::Duplicate { txid });
            }
            let again = known.anchored(anchor);
            self.ledger.record(again);
            self.pegin_records = self.pegin_records.saturating_add(1);
            return Ok(());
        }
        if self.is_sibling(&txid) {
            self.replace_settled(&proven, anchor)?;
            self.pegin_records = self.pegin_records.saturating_add(1);
            return Ok(());
        }
        #[cfg(feature = "testing")]
        let again = again || self.place.scheme.planted(crate::testing::Plant::PauseIgnored);
        if self.ledger.holds_pegins() && !again {
            return Err(PegError::Paused);
        }
        // Change of our own payments comes back by a settlement, never as a deposit.
        let spends_ours = proven.transaction.input.iter().any(|input| {
            let txid = B256::from(bitcoin::hashes::Hash::to_byte_array(input.previous_output.txid));
            self.ledger.coins.iter().any(|coin| coin.txid == txid && coin.vout == input.previous_output.vout)
        });
        if spends_ours {
            return Err(PegError::SpendsCoins { txid });
        }
        let custody = |script: &Script| self.rules.takes_deposits(&self.ledger, script, anchor.1);
        let Some(deposit) = parse_deposit(&proven.transaction, custody, self.rules.spec.min_pegin) else {
            return self.late_deposit(&proven, anchor);
        };
        let deposited = self.ledger.totals.deposited.checked_add(deposit.amount.0).ok_or(PegError::Overflow)?;
        let (kind, recipient) = match deposit.recipient {
            Ok(recipient) => {
                let amount = deposit.amount.to_gwei().ok_or(PegError::Overflow)?;
                self.mint(Mint { kind: WithdrawalKind::PegIn, address: recipient, amount })?;
                let credited = self.ledger.totals.credited.checked_add(deposit.amount.0).ok_or(PegError::Overflow)?;
                self.ledger.totals.credited = credited;
                (RecordedKind::Credited, recipient)
            }
            Err(reason) => {
                self.give_back(&proven, deposit.amount)?;
                (RecordedKind::Unclaimed(reason), Address::ZERO)
            }
        };
        self.ledger.totals.deposited = deposited;
        self.deposited = self.deposited.checked_add(deposit.amount.0).ok_or(PegError::Overflow)?;
        for DepositOutput { vout, value, custody } in deposit.outputs {
            self.ledger.add_coin(Coin { txid, vout, value, batch: 0, custody });
        }
        self.ledger.record(Recorded::new(txid, anchor, kind, recipient, deposit.amount, self.place.height));
        self.pegin_records = self.pegin_records.saturating_add(1);
        Ok(())
    }

    /// A deposit that pays only to addresses of earlier federations, after their time: noted, and no part of the books.
    fn late_deposit(&mut self, proven: &Proven, anchor: (B256, u64)) -> Result<(), PegError> {
        let txid = proven.txid;
        let any = |script: &Script| self.ledger.custody_by_script(script).map(|entry| entry.number);
        let deposit = parse_deposit(&proven.transaction, any, self.rules.spec.min_pegin);
        let amount = deposit.ok_or(PegError::NoDeposit { txid })?.amount;
        let kind = RecordedKind::Unclaimed(Unclaimed::LateAddress);
        self.ledger.record(Recorded::new(txid, anchor, kind, Address::ZERO, amount, self.place.height));
        self.pegin_records = self.pegin_records.saturating_add(1);
        Ok(())
    }

    /// Makes a request of an unclaimed deposit, which pays it back less the fee, if it is clear where to: its transaction
    /// has exactly one output besides those to the federation and those that hold data, which is the depositor's change.
    fn give_back(&mut self, proven: &Proven, amount: Sats) -> Result<(), PegError> {
        let Some((address, script)) = self.rules.way_back(&self.ledger, &proven.transaction, amount) else {
            return Ok(());
        };
        let returned = self.ledger.totals.returned.checked_add(amount.0).ok_or(PegError::Overflow)?;
        self.ledger.totals.returned = returned;
        self.ledger.requests.push(Request {
            id: PegOutId { block_root: proven.txid, log_index: RETURN_LOG_INDEX },
            height: self.place.height,
            sender: Address::ZERO,
            amount,
            address,
            script: script.into_bytes(),
            reason: 0,
            batch: 0,
        });
        Ok(())
    }

    /// A payment that confirmed.
    pub(crate) fn settlement(&mut self, settlement: &Settlement) -> Result<(), PegError> {
        let number = settlement.batch;
        let batch = self.ledger.batches.iter().find(|batch| batch.number == number);
        let batch = batch.ok_or(PegError::UnknownBatch { number })?.clone();
        let (proven, anchor) = self.prove(&settlement.payment)?;
        let txid = proven.txid;
        let attempt = batch.attempts.iter().find(|attempt| attempt.txid == txid);
        let attempt = attempt.ok_or(PegError::NotThePayment { number, txid })?;
        let payment = self.ledger.payment(self.rules, &batch, attempt)?;
        let outputs = &payment.transaction.output;
        let mut paid = self.ledger.totals.paid;
        let mut finished = Vec::with_capacity(batch.requests.len());
        for ((vout, id), output) in (0u32..).zip(&batch.requests).zip(outputs) {
            let request = self.ledger.find_request(id).ok_or(PegError::UnknownRequest { id: *id })?;
            paid = paid.checked_add(request.amount.0).ok_or(PegError::Overflow)?;
            finished.push(Finished {
                id: *id,
                sender: request.sender,
                amount: request.amount,
                height: self.place.height,
                reason: 0,
                batch: number,
                txid,
                vout,
                paid: Sats(output.value.to_sat()),
            });
        }
        #[allow(unused_mut, reason = "nothing but a planted mistake changes it")]
        let mut lost = payment.absorbed;
        #[cfg(feature = "testing")]
        if batch.is_sweep() && self.place.scheme.planted(crate::testing::Plant::SweepForFree) {
            lost = Sats(0);
        }
        let absorbed = self.ledger.totals.absorbed.checked_add(lost.0).ok_or(PegError::Overflow)?;
        self.ledger.totals.paid = paid;
        self.ledger.totals.absorbed = absorbed;
        self.ledger.coins.retain(|coin| coin.batch != number);
        if payment.change > Sats(0) {
            let vout = u32::try_from(batch.requests.len()).map_err(|_| PegError::Overflow)?;
            let custody = batch.sweeps_to;
            self.ledger.add_coin(Coin { txid, vout, value: payment.change, batch: 0, custody });
        }
        for entry in finished {
            self.ledger.finish(entry);
        }
        self.ledger.batches.retain(|batch| batch.number != number);
        self.ledger.settled.extend(Settled::of(&batch, txid));
        let kind = RecordedKind::Payment;
        self.ledger.record(Recorded::new(txid, anchor, kind, Address::ZERO, payment.change, self.place.height));
        Ok(())
    }

    /// A burn that goes back to its sender.
    pub(crate) fn refund(&mut self, refund: &Refund) -> Result<(), PegError> {
        let id = refund.request;
        let request = self.ledger.find_request(&id).ok_or(PegError::UnknownRequest { id })?.clone();
        if request.reason == 0 || request.reason != refund.reason {
            return Err(PegError::RefundReason { id, found: refund.reason, expected: request.reason });
        }
        let amount = request.amount.to_gwei().ok_or(PegError::Overflow)?;
        let refunded = self.ledger.totals.refunded.checked_add(request.amount.0).ok_or(PegError::Overflow)?;
        self.mint(Mint { kind: WithdrawalKind::Refund, address: request.sender, amount })?;
        self.ledger.totals.refunded = refunded;
        self.ledger.finish(Finished {
            id,
            sender: request.sender,
            amount: request.amount,
            height: self.place.height,
            reason: request.reason,
            batch: 0,
            txid: B256::ZERO,
            vout: 0,
            paid: Sats(0),
        });
        Ok(())
    }

    /// Another attempt at a batch.
    pub(crate) fn bump(&mut self, bump: &FeeBump) -> Result<(), PegError> {
        let number = bump.batch;
        if self.ledger.holds_pegouts() {
            return Err(PegError::Paused);
        }
        let index = self.ledger.batches.iter().position(|batch| batch.number == number);
        let batch = index.and_then(|index| self.ledger.batches.get(index)).ok_or(PegError::UnknownBatch { number })?;
        let expected = u64::try_from(batch.attempts.len()).map_err(|_| PegError::Overflow)?;
        let last = batch.attempts.last().copied().ok_or(PegError::UnknownBatch { number })?;
        let now = self.headers.tip_height();
        let due = last.bitcoin_height.saturating_add(self.rules.spec.bump_interval);
        let fee_rate = self.rules.bumped(last.fee_rate);
        if bump.attempt != expected || now < due || fee_rate <= last.fee_rate {
            return Err(PegError::Bump { number, attempt: bump.attempt, expected, due });
        }
        let attempt = Attempt { fee_rate, height: self.place.height, bitcoin_height: now, txid: B256::ZERO };
        let txid = self.ledger.payment(self.rules, batch, &attempt)?.txid();
        if let Some(batch) = index.and_then(|index| self.ledger.batches.get_mut(index)) {
            batch.attempts.push(Attempt { txid, ..attempt });
        }
        Ok(())
    }

    /// A payment to make.
    pub(crate) fn batch(&mut self, batch: &PegOutBatch) -> Result<(), PegError> {
        if self.ledger.holds_pegouts() {
            return Err(PegError::Paused);
        }
        self.check_fee_rate(batch.fee_rate)?;
        let max = self.rules.spec.max_batch_requests;
        if u64::try_from(batch.requests.len()).map_or(true, |count| count > max) {
            return Err(PegError::BatchSize { found: batch.requests.len(), max });
        }
        let mut needed = Sats(0);
        let mut last = None;
        for id in &batch.requests {
            let position = self.ledger.requests.iter().position(|request| request.id == *id);
            let request = position.and_then(|position| self.ledger.requests.get(position));
            let request = request.ok_or(PegError::UnknownRequest { id: *id })?;
            if request.batch != 0 || request.reason != 0 {
                return Err(PegError::NotPayable { id: *id });
            }
            if request.height > self.place.finalized {
                return Err(PegError::NotFinal { id: *id, height: request.height, finalized: self.place.finalized });
            }
            // Oldest first, so that a batch has one form; and none twice.
            if position <= last {
                return Err(PegError::Order { id: *id });
            }
            last = position;
            needed = needed.checked_add(request.amount.0).ok_or(PegError::Overflow)?;
        }
        let payees = self.ledger.payees(&batch.requests).ok_or(PegError::Overflow)?;
        let custody = self.ledger.current_custody();
        let holder = self.rules.custody_of(&self.ledger, custody);
        let holder = holder.ok_or(PaymentError::UnknownCustody { number: custody })?;
        let coins = select_coins(&self.ledger.free_coins(custody), needed, &holder)?;
        let payment = derive_payment(&holder, &coins, &payees, batch.fee_rate)?;
        let number = self.ledger.next_batch.max(1);
        let attempt = Attempt {
            fee_rate: batch.fee_rate,
            height: self.place.height,
            bitcoin_height: self.headers.tip_height(),
            txid: payment.txid(),
        };
        self.ledger.assign(&coins, number);
        #[cfg(feature = "testing")]
        let forgets = self.place.scheme.planted(crate::testing::Plant::PayAgain);
        #[cfg(not(feature = "testing"))]
        let forgets = false;
        for request in &mut self.ledger.requests {
            if batch.requests.contains(&request.id) && !forgets {
                request.batch = number;
            }
        }
        self.ledger.batches.push(Batch {
            number,
            requests: batch.requests.to_vec(),
            coins,
            attempts: vec![attempt],
            custody,
            sweeps_to: custody,
        });
        self.ledger.next_batch = number.checked_add(1).ok_or(PegError::Overflow)?;
        self.ledger.last_fee_rate = batch.fee_rate;
        Ok(())
    }

    /// Within half to double the previous rate and the spec's bounds.
    fn check_fee_rate(&self, found: u64) -> Result<(), PegError> {
        let (min, max) = self.rules.fee_rate_bounds(&self.ledger);
        if (min..=max).contains(&found) { Ok(()) } else { Err(PegError::FeeRate { found, min, max }) }
    }

    fn mint(&mut self, mint: Mint) -> Result<(), PegError> {
        let minted = self.refunds.len().saturating_add(self.pegins.len());
        if minted >= self.place.max_withdrawals {
            return Err(PegError::TooManyWithdrawals);
        }
        match mint.kind {
            WithdrawalKind::Refund => self.refunds.push(mint),
            WithdrawalKind::PegIn => self.pegins.push(mint),
            WithdrawalKind::Miner | WithdrawalKind::Federation => return Err(PegError::Overflow),
        }
        Ok(())
    }
}

/// The peg after a block's burns, which become requests; and what they burned.
pub(crate) fn burns(
    rules: &PegRules,
    peg: &Peg,
    block_root: Root,
    height: Height,
    burns: &Burns,
) -> Result<(Peg, Sats), PegError> {
    if burns.is_empty() {
        return Ok((peg.clone(), Sats(0)));
    }
    let mut ledger = PegLedger::clone(&peg.ledger);
    let mut burned = Sats(0);
    for burn in burns {
        let id = PegOutId { block_root, log_index: burn.log_index };
        let (whole, rest) = burn.amount.div_rem(U256::from(WEI_PER_SAT));
        let amount = u64::try_from(whole).ok().filter(|_| rest.is_zero()).map(Sats);
        let amount = amount.ok_or(PegError::BurnAmount { id })?;
        let (script, reason) = match rules.payable(&ledger, &burn.bitcoin_address, amount) {
            Ok(script) => (script.into_bytes(), 0),
            Err(reason) => (Vec::new(), reason.number()),
        };
        burned = burned.checked_add(amount.0).ok_or(PegError::Overflow)?;
        let (sender, address) = (burn.sender, burn.bitcoin_address.clone());
        ledger.requests.push(Request { id, height, sender, amount, address, script, reason, batch: 0 });
    }
    ledger.totals.burned = ledger.totals.burned.checked_add(burned.0).ok_or(PegError::Overflow)?;
    Ok((Peg { headers: peg.headers.clone(), ledger: Sealed::new(ledger) }, burned))
}

impl PegRules {
    /// The script that an address text pays to.
    pub(crate) fn payable(
        &self,
        ledger: &PegLedger,
        text: &[u8],
        amount: Sats,
    ) -> Result<bitcoin::ScriptBuf, Unpayable> {
        let text = std::str::from_utf8(text).map_err(|_| Unpayable::MalformedAddress)?;
        let address = BitcoinAddress::from_str(text).map_err(|_| Unpayable::MalformedAddress)?;
        let address = address.require_network(self.network).map_err(|_| Unpayable::OtherNetwork)?;
        let script = address.script_pubkey();
        // A payment to ourselves would look like change.
        if self.is_custody(ledger, &script) {
            return Err(Unpayable::MalformedAddress);
        }
        if Amount::from_sat(amount.0) <= script.minimal_non_dust() {
            return Err(Unpayable::TooSmall);
        }
        Ok(script)
    }

    /// Where an unclaimed deposit goes back to, if it is large enough to be one and that is clear.
    pub(crate) fn way_back(
        &self,
        ledger: &PegLedger,
        deposit: &Transaction,
        amount: Sats,
    ) -> Option<(AddressText, bitcoin::ScriptBuf)> {
        if amount < self.spec.min_pegin {
            return None;
        }
        let mut others = deposit
            .output
            .iter()
            .map(|output| &output.script_pubkey)
            .filter(|script| !self.is_custody(ledger, script) && !script.is_op_return());
        let (script, None) = (others.next()?, others.next()) else { return None };
        let text = BitcoinAddress::from_script(script, self.network).ok()?.to_string();
        let script = self.payable(ledger, text.as_bytes(), amount).ok()?;
        Some((AddressText::new(text.into_bytes()).ok()?, script))
    }

    /// The rate of the attempt after one at this rate: half as much again, up to the spec's greatest.
    pub(crate) fn bumped(&self, fee_rate: u64) -> u64 {
        fee_rate.saturating_add(fee_rate.checked_div(2).unwrap_or(0)).min(self.spec.max_fee_rate)
    }

    /// The rates between which the next batch's must lie.
    pub fn fee_rate_bounds(&self, ledger: &PegLedger) -> (u64, u64) {
        let last = ledger.last_fee_rate;
        let (min, max) = (self.spec.min_fee_rate, self.spec.max_fee_rate);
        let low = last.checked_div(2).unwrap_or(0).clamp(min, max);
        let high = last.saturating_mul(2).clamp(min, max);
        (low, high)
    }
}
