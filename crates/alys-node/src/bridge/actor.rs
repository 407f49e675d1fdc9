//! The bridge actor: looks at the chain and at Bitcoin every so often, and does what follows.
//!
//! Signing takes only the chain: a member whose Bitcoin is away signs all the same, and the others send.

use super::lost::Lost;
use super::member_signer::{CustodyChoice, MemberSigner};
use super::payments::{PaymentFailure, PaymentState, PaymentStatus, Payments, Signing, newest_final, signed};
use super::scanner::{Scanner, pegin_record};
use super::sweeps::Sweeps;
use super::view::BridgeView;
use crate::actors::chain::ChainMessage;
use alys_actor::{Actor, Addr, Context, Health, Message, Overflow, Reply};
use alys_bitcoin::{BitcoinPort, FoundTransaction, PaymentJob, PortError, SigningError, SigningSession, Unavailable};
use alys_chain::ChainView;
use alys_chain::peg::{Batch, CustodyEntry, PaymentError, Peg, PegLedger, PegOffer, PegRules};
use alys_primitives::{B256, BitcoinHeaderBytes, Height, MAX_BITCOIN_HEADERS, Settlement};
use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash as _;
use bitcoin::{BlockHash, OutPoint, Transaction, Txid};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, watch};

/// Bitcoin blocks that one round looks through at most.
const BLOCKS_PER_ROUND: usize = 64;

/// Deposits that one round offers at most.
const MAX_OFFERED: usize = 64;

/// Rounds after which a payment that is in no block is sent again.
const ROUNDS_PER_BROADCAST: u64 = 30;

/// Rounds until a signer that did not sign is asked again.
const ROUNDS_PER_SIGNER: u64 = 4;

/// Bitcoin blocks within which a payment should confirm.
const FEE_TARGET: u16 = 6;

/// What the bridge takes.
#[derive(Debug)]
pub enum BridgeMessage {
    /// Look again.
    Round,
    /// Other members' signatures of a payment.
    Signatures {
        /// A PSBT as it came from outside.
        psbt: Vec<u8>,
        /// How many members signed in it that had not before, or what is wrong with it.
        reply: Reply<Result<usize, SigningError>>,
    },
}

impl Message for BridgeMessage {
    fn overflow(&self) -> Overflow {
        match self {
            Self::Round => Overflow::Coalesce,
            // Members send theirs again until the payment is in a block.
            Self::Signatures { .. } => Overflow::DropOldest,
        }
    }

    fn key(&self) -> Option<u64> {
        matches!(self, Self::Round).then_some(0)
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Round => "round",
            Self::Signatures { .. } => "signatures",
        }
    }
}

/// What the bridge needs from the rest of the node.
#[derive(Clone)]
pub struct BridgePorts<B> {
    /// The node's Bitcoin.
    pub bitcoin: B,
    /// The chain.
    pub chain: Addr<ChainMessage>,
    /// The chain's published view.
    pub chain_view: watch::Receiver<ChainView>,
    /// Where readers find the bridge's view.
    pub view: Arc<watch::Sender<BridgeView>>,
    /// Where the network finds the signatures that we know, as PSBTs for [`BridgeMessage::Signatures`] of the other members.
    pub signatures: broadcast::Sender<Arc<[u8]>>,
}

/// The actor.
pub struct BridgeActor<B> {
    rules: Arc<PegRules>,
    ports: BridgePorts<B>,
    signer: MemberSigner,
    period: Duration,
    scanner: Option<Scanner>,
    /// The custodies that scanner and signer know.
    custodies: Vec<CustodyEntry>,
    payments: Payments,
    sweeps: Sweeps,
    lost: Lost,
    /// Rounds since the start.
    rounds: u64,
    /// When each payment was sent last, by transaction.
    sent: BTreeMap<Txid, u64>,
    /// When the other members are told next what signatures we know, by transaction.
    told: BTreeMap<B256, Told>,
}

/// Telling the others: often at first, when they may not have come to the payment yet, then now and then.
#[derive(Clone, Copy, Debug)]
struct Told {
    /// The round of the next time.
    next: u64,
    /// Rounds from there to the one after it.
    pause: u64,
}

impl<B: BitcoinPort> BridgeActor<B> {
    /// A bridge that looks every `period`, and has payments signed as `custody` says.
    pub fn new(rules: Arc<PegRules>, ports: BridgePorts<B>, custody: &CustodyChoice, period: Duration) -> Self {
        let signer = MemberSigner::new(custody, &rules);
        Self {
            rules,
            ports,
            signer,
            period,
            scanner: None,
            custodies: Vec::new(),
            payments: Payments::default(),
            sweeps: Sweeps::default(),
            lost: Lost::default(),
            rounds: 0,
            sent: BTreeMap::new(),
            told: BTreeMap::new(),
        }
    }

    async fn round(&mut self) -> Result<(), PortError> {
        self.rounds = self.rounds.saturating_add(1);
        let (peg, finalized) = {
            let view = self.ports.chain_view.borrow();
            (view.peg.clone(), view.finalized.height)
        };
        watch_books(peg.ledger().imbalance());
        self.follow_custody(peg.ledger());
        self.sweeps.watch(peg.ledger());
        let signed = self.sign(&peg, finalized).await;
        let looked = self.look(&peg, &signed).await;
        let mut statuses = signed.statuses;
        if let Ok(confirmed) = &looked {
            for (number, payment) in confirmed {
                statuses.insert(*number, *payment);
            }
        }
        self.ports.view.send_if_modified(|view| {
            let changed = *view.payments != statuses;
            if changed {
                view.payments = Arc::new(statuses);
            }
            changed
        });
        looked.map(drop)
    }

    /// The federation has changed: the blocks are looked through again, for deposits to the new address and for the end of
    /// the old one's time, and the signer learns of it.
    fn follow_custody(&mut self, ledger: &PegLedger) {
        if ledger.custodies() == self.custodies {
            return;
        }
        self.custodies = ledger.custodies().to_vec();
        self.scanner = None;
        self.signer.follow(&self.rules, ledger);
        let held = ledger.custodies().iter().map(|entry| (entry.number, ledger.held_by(entry.number).0));
        tracing::info!(custody = ledger.current_custody(), held = ?held.collect::<Vec<_>>(), "custody");
    }

    /// Has the newest final payment of each batch signed, tells the others, and gives what can be sent. Bitcoin is not
    /// asked.
    async fn sign(&mut self, peg: &Peg, finalized: Height) -> Signed {
        self.payments.keep(peg.ledger());
        self.sent.retain(|txid, _| self.payments.knows(&B256::from(txid.to_byte_array())));
        self.told.retain(|txid, _| self.payments.knows(txid));
        let mut signed_payments = Signed::default();
        let threshold_of = |batch: &Batch| {
            let entry = peg.ledger().custody(batch.custody);
            entry.and_then(|entry| usize::try_from(entry.custodians.threshold).ok()).unwrap_or(0)
        };
        for batch in peg.ledger().batches() {
            let threshold = threshold_of(batch);
            let Some((number, attempt)) = newest_final(batch, finalized) else {
                if let Some((number, attempt)) = batch.attempts.iter().enumerate().next_back() {
                    let (txid, state) = (attempt.txid, PaymentState::AwaitsFinality);
                    let status = PaymentStatus { txid, attempt: number, state, signers: 0, threshold };
                    signed_payments.statuses.insert(batch.number, status);
                }
                continue;
            };
            let mut status = PaymentStatus {
                txid: attempt.txid,
                attempt: number,
                state: PaymentState::Signing,
                signers: 0,
                threshold,
            };
            if peg.ledger().pause().pegout_paused {
                status.state = PaymentState::Held;
                signed_payments.statuses.insert(batch.number, status);
                continue;
            }
            match self.payments.signing(&self.rules, peg.ledger(), batch, (number, attempt)) {
                Ok(signing) => {
                    if self.signer.is_there() && !signing.is_signed_here && signing.ask_from <= self.rounds {
                        let job = PaymentJob::of(peg.ledger(), batch, number, attempt);
                        match sign_here(&mut self.signer, signing, job).await {
                            Ok(()) => signing.is_signed_here = true,
                            Err(failure) => {
                                metrics::counter!("alys_peg_signer_failures_total").increment(1);
                                let source = std::error::Error::source(&failure).map(ToString::to_string);
                                tracing::warn!(batch = batch.number, %failure, source, "not signed here");
                                signing.ask_from = self.rounds.saturating_add(ROUNDS_PER_SIGNER);
                            }
                        }
                    }
                    let session = &signing.session;
                    status.signers = session.signers().count();
                    tell(&self.ports.signatures, &mut self.told, self.rounds, session);
                    match signed(session) {
                        Ok(Some(transaction)) => {
                            status.state = PaymentState::Complete;
                            signed_payments.complete.insert(batch.number, transaction);
                        }
                        Ok(None) => {}
                        Err(failure) => tracing::error!(batch = batch.number, %failure, "payment not assembled"),
                    }
                }
                Err(failure) => {
                    let source = std::error::Error::source(&failure).map(ToString::to_string);
                    tracing::error!(batch = batch.number, %failure, source, "payment not signed");
                }
            }
            signed_payments.statuses.insert(batch.number, status);
        }
        signed_payments
    }

    /// Looks at Bitcoin: offers the chain what it lacks, sends what is signed. Gives the payments that were sent or are in
    /// a block.
    async fn look(&mut self, peg: &Peg, signed: &Signed) -> Result<BTreeMap<u64, PaymentStatus>, PortError> {
        let best = self.ports.bitcoin.best_block().await?;
        self.scan(peg).await?;
        let headers = self.headers(peg).await?;
        let fee_rate = match self.ports.bitcoin.estimate_fee_rate(FEE_TARGET).await {
            Ok(fee_rate) => fee_rate,
            // Without an estimate the rules' own rate is used.
            Err(error) => {
                tracing::debug!(%error, "no estimate of the fee rate");
                None
            }
        };
        let mut offer = PegOffer { headers, fee_rate, ..PegOffer::default() };
        let mut known = BTreeMap::new();
        for batch in peg.ledger().batches() {
            let status = signed.statuses.get(&batch.number).copied();
            if let Some(found) = self.confirmed(batch).await? {
                offer.settlements.extend(settlement(batch, &found));
                let txid = B256::from(found.transaction.compute_txid().to_byte_array());
                let state = PaymentState::Confirmed { height: found.block.height };
                known.extend(status.map(|status| (batch.number, PaymentStatus { txid, state, ..status })));
                continue;
            }
            offer.unconfirmed.push(batch.number);
            if let Some(transaction) = signed.complete.get(&batch.number) {
                self.send(batch.number, transaction).await?;
                let state = PaymentState::Broadcast;
                known.extend(status.map(|status| (batch.number, PaymentStatus { state, ..status })));
            }
        }
        self.lost.send(&self.ports.bitcoin, peg.ledger(), self.rounds).await?;
        offer.pegins = self.deposits(peg, offer.headers.len());
        offer.pegins.extend(self.replacements(peg.ledger()).await?);
        let message = ChainMessage::PegOffer(Box::new(offer));
        if self.ports.chain.tell(message).await.is_err() {
            tracing::debug!("the chain takes no offers now");
        }
        let scanner = self.scanner.get_or_insert_default();
        self.ports.view.send_modify(|view| {
            view.bitcoin = Some(best);
            view.scanned = scanner.next_height().checked_sub(1);
            view.failure = None;
            if *view.found != *scanner.found() {
                view.found = Arc::new(scanner.found().clone());
            }
        });
        Ok(known)
    }

    /// Looks through blocks that are new to us.
    async fn scan(&mut self, peg: &Peg) -> Result<(), PortError> {
        let root = u32::try_from(peg.headers().root_height()).unwrap_or(u32::MAX);
        let scanner = self.scanner.get_or_insert_with(|| Scanner::starting_at(root));
        scanner.forget_below(root);
        for _ in 0..BLOCKS_PER_ROUND {
            let Some(next) = self.ports.bitcoin.header_at(scanner.next_height()).await? else {
                // Nothing new, or the branch became shorter on its way to another one.
                let Some(tip) = scanner.tip() else { return Ok(()) };
                let height = scanner.next_height().saturating_sub(1);
                if self.ports.bitcoin.header_at(height).await?.is_some_and(|placed| placed.hash == tip) {
                    return Ok(());
                }
                scanner.step_back();
                continue;
            };
            // A block that is not kept any more, or left the best branch meanwhile: the next round sees.
            let Some(block) = self.ports.bitcoin.block(next.hash).await? else { return Ok(()) };
            let ours = |point: &OutPoint| {
                let (txid, vout) = (B256::from(point.txid.to_byte_array()), point.vout);
                peg.ledger().coins().iter().any(|coin| (coin.txid, coin.vout) == (txid, vout))
            };
            if !scanner.take(&self.rules, peg.ledger(), &block, ours) {
                scanner.step_back();
            }
        }
        Ok(())
    }

    /// Headers that the chain does not have.
    async fn headers(&self, peg: &Peg) -> Result<Vec<BitcoinHeaderBytes>, PortError> {
        let locator = peg.headers().locator().into_iter().map(|hash| BlockHash::from_byte_array(hash.0)).collect();
        let placed = self.ports.bitcoin.headers_after(locator, MAX_BITCOIN_HEADERS).await?;
        let bytes =
            placed.iter().filter_map(|placed| BitcoinHeaderBytes::try_from(serialize(&placed.header).as_slice()).ok());
        Ok(bytes.collect())
    }

    /// Deposits that are deep enough once the chain has the offered headers, and that it has not recorded; and whatever it has
    /// recorded in a block that left the best branch since.
    fn deposits(&self, peg: &Peg, offered_headers: usize) -> Vec<alys_primitives::PegInRecord> {
        let Some(scanner) = &self.scanner else { return Vec::new() };
        let ahead = u64::try_from(offered_headers).unwrap_or(0);
        let tip = peg.headers().tip_height().saturating_add(ahead);
        let deep =
            |height: u32| tip.saturating_add(1).saturating_sub(u64::from(height)) >= self.rules.spec().confirmations;
        let recorded = |txid: &Txid| peg.ledger().find_recorded(&B256::from(txid.to_byte_array()));
        let deposits = scanner.found().values();
        let deposits = deposits.filter(|found| recorded(&found.txid).is_none_or(|recorded| recorded.is_lost));
        // Our own payments come to the books by settlements; only in another block than that they come this way.
        let payments = scanner.payments().values();
        let payments = payments.filter(|found| recorded(&found.txid).is_some_and(|recorded| recorded.is_lost));
        let mut waiting: Vec<_> = deposits
            .chain(payments)
            .filter(|found| deep(found.height))
            .filter_map(|found| Some((found.height, found.txid, found.record.clone()?)))
            .collect();
        waiting.sort_unstable_by_key(|(height, txid, _)| (*height, *txid));
        waiting.into_iter().take(MAX_OFFERED).map(|(_, _, record)| record.as_ref().clone()).collect()
    }

    /// Attempts at settled payments that are in a block, in the place of those that settled them and left the best branch.
    async fn replacements(&self, ledger: &PegLedger) -> Result<Vec<alys_primitives::PegInRecord>, PortError> {
        let mut records = Vec::new();
        for txid in ledger.replacements().take(MAX_OFFERED) {
            let found = self.ports.bitcoin.find_transaction(Txid::from_byte_array(txid.0)).await?;
            records.extend(found.as_ref().and_then(pegin_record));
        }
        Ok(records)
    }

    /// The attempt at a batch that is in a Bitcoin block.
    async fn confirmed(&self, batch: &Batch) -> Result<Option<FoundTransaction>, PortError> {
        for attempt in batch.attempts.iter().rev() {
            let found = self.ports.bitcoin.find_transaction(Txid::from_byte_array(attempt.txid.0)).await?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Sends a signed payment, and again now and then while it is in no block.
    async fn send(&mut self, batch: u64, transaction: &Transaction) -> Result<(), PortError> {
        let txid = transaction.compute_txid();
        if self.sent.get(&txid).is_some_and(|round| self.rounds.saturating_sub(*round) < ROUNDS_PER_BROADCAST) {
            return Ok(());
        }
        match self.ports.bitcoin.broadcast(transaction.clone()).await {
            Ok(_) => {
                tracing::info!(batch, %txid, "payment sent");
                self.sent.insert(txid, self.rounds);
                Ok(())
            }
            Err(error) if error.is_retryable() => Err(error),
            // Another attempt may have confirmed a moment ago; the next rounds tell.
            Err(error) => {
                tracing::warn!(batch, %txid, %error, "payment refused by Bitcoin");
                Ok(())
            }
        }
    }
}

/// Shows what the books lack or have too much, for the alert on a mismatch. The rules hold the peg by themselves then.
fn watch_books(imbalance: i128) {
    #[expect(clippy::cast_precision_loss, clippy::as_conversions, reason = "gauges are floating point")]
    let wei = imbalance as f64 * 1e10;
    metrics::gauge!("alys_supply_invariant_wei").set(wei);
    if imbalance != 0 {
        tracing::error!(
            sats = imbalance.to_string(),
            "the books of the peg do not balance: deposits and payments are held"
        );
    }
}

/// Asks the member's signer, and adds its signatures to the others'.
async fn sign_here(
    signer: &mut MemberSigner,
    signing: &mut Signing,
    job: Option<PaymentJob>,
) -> Result<(), PaymentFailure> {
    // The batch is one of the ledger that it was taken from.
    let job = job.ok_or(PaymentError::Empty)?;
    if let Some(psbt) = signer.sign(&job).await? {
        signing.session.add(&psbt)?;
    }
    Ok(())
}

/// What a round signed.
#[derive(Debug, Default)]
struct Signed {
    /// Payments with enough signatures, by batch.
    complete: BTreeMap<u64, Transaction>,
    /// How far each batch's payment has come, as far as the chain and the members tell.
    statuses: BTreeMap<u64, PaymentStatus>,
}

/// Tells the other members what signatures we know, if it is time.
fn tell(
    signatures: &broadcast::Sender<Arc<[u8]>>,
    told: &mut BTreeMap<B256, Told>,
    round: u64,
    session: &SigningSession,
) {
    // A custody of one has nobody to tell; who has no signatures has nothing to tell.
    if session.members() < 2 || session.signers().next().is_none() {
        return;
    }
    let entry = told.entry(session.payment().txid()).or_insert(Told { next: round, pause: 1 });
    if round < entry.next {
        return;
    }
    entry.next = round.saturating_add(entry.pause);
    entry.pause = entry.pause.saturating_mul(2).min(ROUNDS_PER_BROADCAST);
    match session.psbt() {
        // No receiver means no network.
        Ok(psbt) => drop(signatures.send(psbt.serialize().into())),
        Err(error) => tracing::error!(%error, "signatures not told"),
    }
}

/// A settlement record of a confirmed payment. The chain takes it once it is deep enough.
fn settlement(batch: &Batch, found: &FoundTransaction) -> Option<Settlement> {
    Some(Settlement { batch: batch.number, payment: pegin_record(found)? })
}

impl<B: BitcoinPort> Actor for BridgeActor<B> {
    type Message = BridgeMessage;
    type Error = Infallible;

    async fn started(&mut self, ctx: &mut Context<BridgeMessage>) -> Result<(), Infallible> {
        // The first look at once: until then nobody is told where to deposit.
        ctx.after(Duration::ZERO, BridgeMessage::Round);
        ctx.every(self.period, || BridgeMessage::Round);
        Ok(())
    }

    async fn handle(&mut self, message: BridgeMessage, ctx: &mut Context<BridgeMessage>) -> Result<(), Infallible> {
        match message {
            BridgeMessage::Signatures { psbt, reply } => {
                let taken = self.payments.take(&psbt);
                match &taken {
                    Ok(0) => {}
                    Ok(members) => {
                        tracing::debug!(members, "signatures of a payment");
                        // The payment may be complete now.
                        ctx.after(Duration::ZERO, BridgeMessage::Round);
                    }
                    Err(error) => {
                        metrics::counter!("alys_peg_signatures_refused_total").increment(1);
                        tracing::debug!(%error, "signatures not taken");
                    }
                }
                reply.send(taken);
            }
            BridgeMessage::Round => match self.round().await {
                Ok(()) => ctx.set_health(Health::Healthy),
                Err(error @ PortError::Unavailable(Unavailable::NotConfigured)) => {
                    // The operator's choice, and no trouble.
                    self.ports.view.send_if_modified(|view| {
                        let failure = Some(error.to_string());
                        let changed = view.failure != failure;
                        view.failure = failure;
                        changed
                    });
                    ctx.set_health(Health::Healthy);
                }
                Err(error) => {
                    // Bitcoin that lags, lies or is away: nothing is lost, the next round asks again.
                    metrics::counter!("alys_peg_bitcoin_failures_total").increment(1);
                    tracing::debug!(%error, "bitcoin gave no usable answer");
                    self.ports.view.send_modify(|view| view.failure = Some(error.to_string()));
                    ctx.set_health(Health::Degraded(format!("bitcoin: {error}")));
                }
            },
        }
        Ok(())
    }
}
