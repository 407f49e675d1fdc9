//! The bridge actor: looks at Bitcoin and at the chain every so often, and does what follows.

use super::payments::{PaymentState, PaymentStatus, Payments, newest_final, signed};
use super::scanner::{Scanner, pegin_record};
use super::view::BridgeView;
use crate::actors::chain::ChainMessage;
use alys_actor::{Actor, Addr, Context, Health, Message, Overflow};
use alys_bitcoin::{BitcoinPort, CustodyKey, FoundTransaction, PortError};
use alys_chain::ChainView;
use alys_chain::peg::{Batch, Peg, PegOffer, PegRules};
use alys_primitives::{B256, BitcoinHeaderBytes, MAX_BITCOIN_HEADERS, Settlement};
use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash as _;
use bitcoin::{BlockHash, OutPoint, Txid};
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

/// What the bridge takes.
#[derive(Debug)]
pub enum BridgeMessage {
    /// Look again.
    Round,
    /// Another member's signatures of a payment: a PSBT as it came from outside.
    Signatures(Vec<u8>),
}

impl Message for BridgeMessage {
    fn overflow(&self) -> Overflow {
        match self {
            Self::Round => Overflow::Coalesce,
            // Members send theirs again until the payment is in a block.
            Self::Signatures(_) => Overflow::DropOldest,
        }
    }

    fn key(&self) -> Option<u64> {
        matches!(self, Self::Round).then_some(0)
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Round => "round",
            Self::Signatures(_) => "signatures",
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
    /// Where the network finds our signatures, as PSBTs for [`BridgeMessage::Signatures`] of the other members.
    pub signatures: broadcast::Sender<Arc<[u8]>>,
}

/// The actor.
pub struct BridgeActor<B> {
    rules: Arc<PegRules>,
    ports: BridgePorts<B>,
    key: Option<CustodyKey>,
    period: Duration,
    scanner: Option<Scanner>,
    payments: Payments,
    /// Rounds since the start.
    rounds: u64,
    /// When each payment was sent last, by transaction.
    sent: BTreeMap<Txid, u64>,
    /// When the other members were told our signatures last, by transaction.
    told: BTreeMap<B256, u64>,
}

impl<B: BitcoinPort> BridgeActor<B> {
    /// A bridge that looks every `period`, and signs with `key` if the node is a member.
    pub fn new(rules: Arc<PegRules>, ports: BridgePorts<B>, key: Option<CustodyKey>, period: Duration) -> Self {
        Self {
            rules,
            ports,
            key,
            period,
            scanner: None,
            payments: Payments::default(),
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
        let best = self.ports.bitcoin.best_block().await?;
        self.scan(&peg).await?;
        let headers = self.headers(&peg).await?;
        let mut offer = PegOffer { headers, ..PegOffer::default() };
        let mut statuses = BTreeMap::new();
        self.payments.keep(peg.ledger());
        self.sent.retain(|txid, _| self.payments.knows(&B256::from(txid.to_byte_array())));
        self.told.retain(|txid, _| self.payments.knows(txid));
        for batch in peg.ledger().batches() {
            let confirmed = self.confirmed(batch).await?;
            match &confirmed {
                Some(found) => offer.settlements.extend(settlement(batch, found)),
                None => offer.unconfirmed.push(batch.number),
            }
            if let Some(status) = self.pay(&peg, batch, finalized, confirmed.as_ref()).await? {
                statuses.insert(batch.number, status);
            }
        }
        offer.pegins = self.deposits(&peg, offer.headers.len());
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
            if *view.payments != statuses {
                view.payments = Arc::new(statuses);
            }
        });
        Ok(())
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
            if !scanner.take(&self.rules, &block, ours) {
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

    /// Deposits that are deep enough once the chain has the offered headers, and that it has not recorded.
    fn deposits(&self, peg: &Peg, offered_headers: usize) -> Vec<alys_primitives::PegInRecord> {
        let Some(scanner) = &self.scanner else { return Vec::new() };
        let ahead = u64::try_from(offered_headers).unwrap_or(0);
        let tip = peg.headers().tip_height().saturating_add(ahead);
        let deep =
            |height: u32| tip.saturating_add(1).saturating_sub(u64::from(height)) >= self.rules.spec().confirmations;
        let mut waiting: Vec<_> = scanner
            .found()
            .values()
            .filter(|found| deep(found.height))
            .filter(|found| {
                let txid = B256::from(found.txid.to_byte_array());
                peg.ledger().find_recorded(&txid).is_none_or(|recorded| recorded.is_lost)
            })
            .filter_map(|found| Some((found.height, found.txid, found.record.clone()?)))
            .collect();
        waiting.sort_unstable_by_key(|(height, txid, _)| (*height, *txid));
        waiting.into_iter().take(MAX_OFFERED).map(|(_, _, record)| record.as_ref().clone()).collect()
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

    /// Signs and sends a batch's newest final payment.
    async fn pay(
        &mut self,
        peg: &Peg,
        batch: &Batch,
        finalized: alys_primitives::Height,
        confirmed: Option<&FoundTransaction>,
    ) -> Result<Option<PaymentStatus>, PortError> {
        let threshold = self.rules.custody().threshold();
        let status = |number: usize, txid: B256, state, signers| {
            Some(PaymentStatus { txid, attempt: number, state, signers, threshold })
        };
        let newest = batch.attempts.iter().enumerate().next_back();
        let Some((number, attempt)) = newest_final(batch, finalized) else {
            return Ok(newest.and_then(|(number, a)| status(number, a.txid, PaymentState::AwaitsFinality, 0)));
        };
        if let Some(found) = confirmed {
            let txid = B256::from(found.transaction.compute_txid().to_byte_array());
            let state = PaymentState::Confirmed { height: found.block.height };
            return Ok(status(number, txid, state, threshold));
        }
        let session =
            match self.payments.session(&self.rules, peg.ledger(), batch, (number, attempt), self.key.as_ref()) {
                Ok(session) => session,
                Err(failure) => {
                    let source = std::error::Error::source(&failure).map(ToString::to_string);
                    tracing::error!(batch = batch.number, %failure, source, "payment not signed");
                    return Ok(status(number, attempt.txid, PaymentState::Signing, 0));
                }
            };
        let signers = session.signers().count();
        if let Some(own) = session_own(self.key.as_ref(), &self.rules, session.payment())
            && self
                .told
                .get(&attempt.txid)
                .is_none_or(|round| self.rounds.saturating_sub(*round) >= ROUNDS_PER_BROADCAST)
        {
            self.told.insert(attempt.txid, self.rounds);
            // No receiver means no network.
            drop(self.ports.signatures.send(own));
        }
        let transaction = match signed(session) {
            Ok(Some(transaction)) => transaction,
            Ok(None) => return Ok(status(number, attempt.txid, PaymentState::Signing, signers)),
            Err(failure) => {
                tracing::error!(batch = batch.number, %failure, "payment not assembled");
                return Ok(status(number, attempt.txid, PaymentState::Signing, signers));
            }
        };
        let txid = transaction.compute_txid();
        let due = self.sent.get(&txid).is_none_or(|round| self.rounds.saturating_sub(*round) >= ROUNDS_PER_BROADCAST);
        if due {
            match self.ports.bitcoin.broadcast(transaction).await {
                Ok(_) => {
                    tracing::info!(batch = batch.number, attempt = number, %txid, "payment sent");
                    self.sent.insert(txid, self.rounds);
                }
                Err(error) if error.is_retryable() => return Err(error),
                // Another attempt may have confirmed a moment ago; the next rounds tell.
                Err(error) => tracing::warn!(batch = batch.number, %txid, %error, "payment refused by Bitcoin"),
            }
        }
        Ok(status(number, attempt.txid, PaymentState::Broadcast, signers))
    }
}

/// Our own signatures as the other members take them; made again rather than kept, which gives the same bytes.
fn session_own(key: Option<&CustodyKey>, rules: &PegRules, payment: &alys_chain::peg::Payment) -> Option<Arc<[u8]>> {
    if rules.custody().keys().len() < 2 {
        return None;
    }
    let psbt = key?.sign(rules.custody(), payment).ok()?;
    Some(psbt.serialize().into())
}

/// A settlement record of a confirmed payment. The chain takes it once it is deep enough.
fn settlement(batch: &Batch, found: &FoundTransaction) -> Option<Settlement> {
    Some(Settlement { batch: batch.number, payment: pegin_record(found)? })
}

impl<B: BitcoinPort> Actor for BridgeActor<B> {
    type Message = BridgeMessage;
    type Error = Infallible;

    async fn started(&mut self, ctx: &mut Context<BridgeMessage>) -> Result<(), Infallible> {
        ctx.every(self.period, || BridgeMessage::Round);
        Ok(())
    }

    async fn handle(&mut self, message: BridgeMessage, ctx: &mut Context<BridgeMessage>) -> Result<(), Infallible> {
        match message {
            BridgeMessage::Signatures(psbt) => match self.payments.take(&psbt) {
                Ok(0) => {}
                Ok(members) => tracing::debug!(members, "signatures of a payment"),
                Err(error) => {
                    metrics::counter!("alys_peg_signatures_refused_total").increment(1);
                    tracing::debug!(%error, "signatures not taken");
                }
            },
            BridgeMessage::Round => match self.round().await {
                Ok(()) => ctx.set_health(Health::Healthy),
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
