//! The network actor: between the chain and its peers.
//!
//! What the chain tells goes out as gossip; what peers tell is judged (by the chain's verifier, the transaction pool) before
//! it is passed on; what peers ask is answered from the database. The swarm runs beside the actor and ends with it, so that
//! a restart begins with fresh connections.

mod message;
mod serve;
mod setup;
mod status;

pub use message::NetworkMessage;
pub use setup::{NETWORK_KEY, NetworkSetupError, network_config};
pub use status::follow as follow_network;

use crate::actors::chain::ChainMessage;
use crate::bridge::BridgeMessage;
use crate::clock::wall_now;
use crate::execution::{Evm, Transactions};
use alys_actor::{Actor, Addr, AskError, Context, Reply};
use alys_bitcoin::SigningError;
use alys_chain::{AuxPowError, ChainView, Message as ChainGossip, PeerTag};
use alys_evm::pool::{InvalidTransaction, PoolError, PooledTransaction};
use alys_p2p::{
    Event, GossipId, GossipMessage, NetworkConfig, NetworkEvents, NetworkHandle, NetworkTask, NetworkView, PeerId,
    PegSignatures, Request, RequestError, RequestId, Response, StartError, Status, Verdict,
};
use alys_primitives::{AuxPowRecord, ChainSpec, Height, TreeHash as _, VariableList};
use alys_store::Reader;
use futures::Stream;
use futures::stream::unfold;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};

/// How often peers are told of this node's clock and height anew.
const STATUS_PERIOD: Duration = Duration::from_millis(500);

/// How long a verdict may take; later ones are of no use.
const VERDICT_DEADLINE: Duration = Duration::from_secs(5);

/// Messages that wait for their verdicts at once; more are not passed on.
const MAX_JUDGED: usize = 1024;

/// What the actor needs from the rest of the node.
#[derive(Clone)]
pub struct NetworkPorts {
    /// The chain's constants.
    pub spec: Arc<ChainSpec>,
    /// Checks and takes what peers tell.
    pub chain: Addr<ChainMessage>,
    /// Takes transactions.
    pub transactions: Transactions,
    /// Answers peers' questions.
    pub store: Reader,
    /// Gives them receipts.
    pub evm: Evm,
    /// Folder of the snapshots that peers can have.
    pub snapshots: PathBuf,
    /// The published view.
    pub view: watch::Receiver<ChainView>,
    /// What the chain wants to tell.
    pub gossip: broadcast::Sender<ChainGossip>,
    /// Judges signatures of the peg's payments; none for a chain without a peg.
    pub bridge: Option<Addr<BridgeMessage>>,
    /// The signatures that this node knows.
    pub peg_signatures: broadcast::Sender<Arc<[u8]>>,
    /// Where readers find the peers.
    pub peers: Arc<watch::Sender<NetworkView>>,
}

/// Why the network actor ends; its supervisor starts a new one.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The swarm does not start.
    #[error("the network can't be started")]
    Start(#[from] StartError),
    /// The swarm's task ended.
    #[error("the network's task ended")]
    Ended,
    /// The transaction pool has stopped.
    #[error("the transaction pool")]
    Pool(#[from] PoolError),
}

/// The actor.
pub struct NetworkActor {
    config: NetworkConfig,
    ports: NetworkPorts,
    /// Set by `started`.
    network: Option<NetworkHandle>,
    judged: usize,
}

impl NetworkActor {
    /// An actor that opens a network as `config` says.
    pub fn new(config: NetworkConfig, ports: NetworkPorts) -> Self {
        Self { config, ports, network: None, judged: 0 }
    }

    /// A message of a peer: somebody is asked whether it holds.
    fn heard(&mut self, id: GossipId, message: GossipMessage, ctx: &mut Context<NetworkMessage>) {
        if self.judged >= MAX_JUDGED {
            metrics::counter!("alys_p2p_unjudged_total").increment(1);
            self.judge(id, Verdict::Ignore);
            return;
        }
        let message = match message {
            GossipMessage::Block(block) => ChainGossip::Block(block),
            GossipMessage::Approval(approval) => ChainGossip::Approval(approval),
            GossipMessage::Notarization(certificate) => ChainGossip::Notarization(certificate),
            GossipMessage::AuxPow(record) => return self.heard_auxpow(id, &record, ctx),
            GossipMessage::Transaction(raw) => {
                let pool = self.ports.transactions.clone();
                self.judged += 1;
                ctx.spawn("submit-transaction", async move {
                    NetworkMessage::Judged { id, verdict: of_submission(pool.submit(raw).await) }
                });
                return;
            }
            GossipMessage::Peg(signatures) => return self.heard_signatures(id, &signatures, ctx),
            GossipMessage::Evidence(evidence) => ChainGossip::Evidence(Arc::unwrap_or_clone(evidence)),
            GossipMessage::Federation(change) => ChainGossip::FederationChange(Arc::unwrap_or_clone(change)),
            GossipMessage::Pause(pause) => ChainGossip::Pause(pause),
        };
        let (message, peer) = (Box::new(message), tag(&id.from()));
        let asked =
            self.ports.chain.ask_within(VERDICT_DEADLINE, |reply| ChainMessage::Gossip { message, peer, reply });
        self.judged += 1;
        ctx.spawn("judge-gossip", async move {
            NetworkMessage::Judged { id, verdict: asked.await.unwrap_or(Verdict::Ignore) }
        });
    }

    fn heard_auxpow(&mut self, id: GossipId, record: &Arc<AuxPowRecord>, ctx: &mut Context<NetworkMessage>) {
        let hash = record.bundle.tree_hash_root();
        let (known, superseded) = {
            let view = self.ports.view.borrow();
            let known = view.queued_auxpow.iter().any(|queued| queued.hash == hash);
            (known, record.bundle.previous_auxpow_root != view.committed.auxpow_root)
        };
        if known || superseded {
            return self.judge(id, Verdict::Ignore);
        }
        let record = Box::new(AuxPowRecord::clone(record));
        let asked =
            self.ports.chain.ask_within(VERDICT_DEADLINE, |reply| ChainMessage::ProcessAuxPow { record, reply });
        self.judged += 1;
        ctx.spawn("judge-auxpow", async move { NetworkMessage::Judged { id, verdict: of_proof(asked.await) } });
    }

    /// Signatures go on only if they are valid and new here: a member that has them tells them again by itself.
    fn heard_signatures(&mut self, id: GossipId, signatures: &PegSignatures, ctx: &mut Context<NetworkMessage>) {
        let Some(bridge) = &self.ports.bridge else { return self.judge(id, Verdict::Ignore) };
        let psbt = signatures.psbt.to_vec();
        let asked = bridge.ask_within(VERDICT_DEADLINE, |reply| BridgeMessage::Signatures { psbt, reply });
        self.judged += 1;
        ctx.spawn(
            "judge-signatures",
            async move { NetworkMessage::Judged { id, verdict: of_signatures(asked.await) } },
        );
    }

    fn publish_signatures(&self, psbt: &[u8]) {
        match VariableList::new(psbt.to_vec()) {
            Ok(psbt) => self.publish(GossipMessage::Peg(Arc::new(PegSignatures { sent_at: wall_now(), psbt }))),
            Err(_) => tracing::error!(bytes = psbt.len(), "signatures of a payment are too long for a message"),
        }
    }

    fn judge(&self, id: GossipId, verdict: Verdict) {
        if let Some(network) = &self.network
            && network.judge(id, verdict).is_err()
        {
            metrics::counter!("alys_p2p_commands_dropped_total").increment(1);
        }
    }

    fn publish(&self, message: GossipMessage) {
        if let Some(network) = &self.network
            && let Err(error) = network.publish(message)
        {
            metrics::counter!("alys_p2p_commands_dropped_total").increment(1);
            tracing::warn!(%error, "not published");
        }
    }

    /// What peers are told of this node now.
    fn status(&self) -> Status {
        let view = self.ports.view.borrow();
        // Without an answer of the database the node claims nothing below its head.
        let oldest = self.ports.store.canonical_roots(Height(0), 1).ok().map(|oldest| oldest.first().copied());
        let earliest = oldest.map_or(view.head.height, |oldest| oldest.map_or(Height(1), |(height, _)| height));
        status::of(&self.ports.spec, &view, earliest.max(Height(1)), wall_now())
    }

    fn set_status(&self) {
        let status = self.status();
        if let Some(network) = &self.network {
            // If it finds no room: another one follows soon.
            let _ = network.set_status(status);
        }
    }

    /// A peer's question, answered from the database on a thread for blocking work.
    fn asked(&self, id: RequestId, request: Request, ctx: &mut Context<NetworkMessage>) {
        let ports = self.ports.clone();
        ctx.spawn_blocking("answer-peer", move || {
            let response = serve::answer(&ports, &request);
            NetworkMessage::Answered { id, response }
        });
    }

    fn ask(
        &self,
        peer: PeerId,
        request: Request,
        reply: Reply<Result<Response, RequestError>>,
        ctx: &mut Context<NetworkMessage>,
    ) {
        let Some(network) = self.network.clone() else { return };
        ctx.run("ask-peer", async move { reply.send(network.ask(peer, request).await) });
    }
}

impl Actor for NetworkActor {
    type Message = NetworkMessage;
    type Error = NetworkError;

    async fn started(&mut self, ctx: &mut Context<NetworkMessage>) -> Result<(), NetworkError> {
        let status = self.status();
        let (network, events, task) = NetworkTask::open(self.config.clone(), status)?;
        let stop = ctx.token();
        ctx.spawn("swarm", async move {
            task.run(async move { stop.cancelled().await }).await;
            NetworkMessage::Ended
        });
        ctx.attach(incoming(events));
        ctx.attach(outgoing(self.ports.gossip.subscribe()));
        ctx.attach(transactions(self.ports.transactions.subscribe()?));
        ctx.attach(signatures(self.ports.peg_signatures.subscribe()));
        ctx.attach(views(network.view()));
        ctx.every(STATUS_PERIOD, || NetworkMessage::Status);
        self.network = Some(network);
        Ok(())
    }

    async fn handle(&mut self, message: NetworkMessage, ctx: &mut Context<NetworkMessage>) -> Result<(), NetworkError> {
        match message {
            NetworkMessage::Incoming(Event::Gossip { id, message }) => self.heard(id, message, ctx),
            NetworkMessage::Incoming(Event::Request { id, request, .. }) => self.asked(id, request, ctx),
            NetworkMessage::Judged { id, verdict } => {
                self.judged = self.judged.saturating_sub(1);
                self.judge(id, verdict);
            }
            NetworkMessage::Answered { id, response } => {
                if let Some(network) = &self.network {
                    // A full queue costs the peer its answer; it asks again.
                    let _ = network.answer(id, response);
                }
            }
            NetworkMessage::Outgoing(message) => {
                self.set_status();
                self.publish(match message {
                    ChainGossip::Block(block) => GossipMessage::Block(block),
                    ChainGossip::Approval(approval) => GossipMessage::Approval(approval),
                    ChainGossip::Notarization(certificate) => GossipMessage::Notarization(certificate),
                    ChainGossip::AuxPow(record) => GossipMessage::AuxPow(Arc::new(record)),
                    ChainGossip::Evidence(evidence) => GossipMessage::Evidence(Arc::new(evidence)),
                    ChainGossip::FederationChange(change) => GossipMessage::Federation(Arc::new(change)),
                    ChainGossip::Pause(pause) => GossipMessage::Pause(pause),
                });
            }
            NetworkMessage::Transaction(transaction) => {
                self.publish(GossipMessage::Transaction(transaction.raw().to_vec()));
            }
            NetworkMessage::PegSignatures(psbt) => self.publish_signatures(&psbt),
            NetworkMessage::Missed(count) => {
                metrics::counter!("alys_p2p_outgoing_missed_total").increment(count);
                tracing::warn!(count, "the network could not keep up: messages were not sent");
            }
            NetworkMessage::Peers(view) => drop(self.ports.peers.send_replace(*view)),
            NetworkMessage::Status => self.set_status(),
            NetworkMessage::Ask { peer, request, reply } => self.ask(peer, request, reply, ctx),
            NetworkMessage::Blame { peer, offence } => {
                if let Some(network) = &self.network {
                    let _ = network.blame(peer, offence);
                }
            }
            NetworkMessage::Ended if ctx.token().is_cancelled() => {}
            NetworkMessage::Ended => return Err(NetworkError::Ended),
        }
        Ok(())
    }

    async fn stopped(&mut self, _: &mut Context<NetworkMessage>) {
        self.ports.peers.send_replace(NetworkView::default());
    }
}

/// A peer's name in the chain core: the last bytes of its id, which are those of its key.
pub(crate) fn tag(peer: &PeerId) -> PeerTag {
    let bytes = peer.to_bytes();
    let last = bytes.last_chunk::<8>().copied().unwrap_or_default();
    PeerTag(u64::from_be_bytes(last))
}

/// What a refused transaction says of whoever passed it on.
fn of_submission(result: Result<alys_primitives::B256, PoolError>) -> Verdict {
    match result {
        Ok(_) => Verdict::Accept,
        // Wrong for every node at every time; the rest depends on state, rules in force or the operator's choices.
        Err(PoolError::Invalid(
            InvalidTransaction::Undecodable { .. }
            | InvalidTransaction::Oversized { .. }
            | InvalidTransaction::Blob
            | InvalidTransaction::ChainId { .. }
            | InvalidTransaction::Signature
            | InvalidTransaction::TipAboveFee { .. }
            | InvalidTransaction::NonceMax,
        )) => Verdict::Reject,
        Err(_) => Verdict::Ignore,
    }
}

/// What a refused proof says of whoever passed it on: the core's own reasons depend on what this node knows.
fn of_proof(result: Result<Result<(), AuxPowError>, AskError>) -> Verdict {
    match result {
        Ok(Ok(())) => Verdict::Accept,
        Ok(Err(
            AuxPowError::OtherChain
            | AuxPowError::ChainId { .. }
            | AuxPowError::Decode(_)
            | AuxPowError::Rule(_)
            | AuxPowError::Compact(_),
        )) => Verdict::Reject,
        Ok(Err(_)) | Err(_) => Verdict::Ignore,
    }
}

/// What signatures say of whoever passed them on. A payment that this node has not come to says nothing.
fn of_signatures(result: Result<Result<usize, SigningError>, AskError>) -> Verdict {
    match result {
        Ok(Ok(1..)) => Verdict::Accept,
        Ok(Ok(0)) | Err(_) => Verdict::Ignore,
        Ok(Err(
            SigningError::TooLarge { .. }
            | SigningError::Malformed { .. }
            | SigningError::OtherTransaction { .. }
            | SigningError::NoMember { .. }
            | SigningError::Signature { .. }
            | SigningError::Incomplete { .. },
        )) => Verdict::Reject,
        // About this node, not about the message.
        Ok(Err(
            SigningError::TooFew { .. } | SigningError::NotOurs { .. } | SigningError::Hash | SigningError::Invalid(_),
        )) => Verdict::Ignore,
    }
}

fn incoming(events: NetworkEvents) -> impl Stream<Item = NetworkMessage> + Send {
    unfold(
        events,
        |mut events| async move { events.next().await.map(|event| (NetworkMessage::Incoming(event), events)) },
    )
}

fn outgoing(receiver: broadcast::Receiver<ChainGossip>) -> impl Stream<Item = NetworkMessage> + Send {
    unfold(receiver, |mut receiver| async move {
        let message = match receiver.recv().await {
            Ok(message) => NetworkMessage::Outgoing(message),
            Err(RecvError::Lagged(missed)) => NetworkMessage::Missed(missed),
            Err(RecvError::Closed) => return None,
        };
        Some((message, receiver))
    })
}

fn transactions(receiver: broadcast::Receiver<Arc<PooledTransaction>>) -> impl Stream<Item = NetworkMessage> + Send {
    unfold(receiver, |mut receiver| async move {
        let message = match receiver.recv().await {
            Ok(transaction) => NetworkMessage::Transaction(transaction),
            Err(RecvError::Lagged(missed)) => NetworkMessage::Missed(missed),
            Err(RecvError::Closed) => return None,
        };
        Some((message, receiver))
    })
}

fn signatures(receiver: broadcast::Receiver<Arc<[u8]>>) -> impl Stream<Item = NetworkMessage> + Send {
    unfold(receiver, |mut receiver| async move {
        let message = match receiver.recv().await {
            Ok(psbt) => NetworkMessage::PegSignatures(psbt),
            Err(RecvError::Lagged(missed)) => NetworkMessage::Missed(missed),
            Err(RecvError::Closed) => return None,
        };
        Some((message, receiver))
    })
}

fn views(receiver: watch::Receiver<NetworkView>) -> impl Stream<Item = NetworkMessage> + Send {
    unfold(receiver, |mut receiver| async move {
        receiver.changed().await.ok()?;
        let view = Box::new(receiver.borrow_and_update().clone());
        Some((NetworkMessage::Peers(view), receiver))
    })
}
