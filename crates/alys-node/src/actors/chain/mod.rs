//! The chain actor: pumps the pure core. Inputs come as messages, effects go out as requests to the actors below it, and
//! their answers come back as messages. It never waits for anybody while it holds a message.

mod effects;
mod gossip;
mod message;
mod own_key;
mod range;
mod reliance;
mod requests;
mod signing;
#[cfg(feature = "testing")]
mod simulation;
mod targets;
mod timings;

pub use gossip::{Heard, NotHeard};
pub use message::ChainMessage;
pub use range::{RangeReply, VerifiedRange};
pub use reliance::{BlockWitness, Knowledge};
pub use requests::{BroadcastError, NotFinal, ProduceError, ReorgError};
#[cfg(feature = "testing")]
pub use simulation::{Seen, Simulation};
pub use targets::{PerformanceTargets, TargetError};

use super::execution::ExecutionMessage;
use super::signer::SignerMessage;
use super::storage::StorageMessage;
use crate::clock::WallClock;
use alys_actor::{Actor, Addr, AskError, Context, Reply, TimerId};
use alys_chain::{
    AuxPowError, BatchId, Chain, ChainBatch, ChainConfig, ChainEvent, ChainView, ImportOutcome, Input, InputError,
    Message as Gossip, RestoreError, SignRefusal, Verified, Verifier, VerifyError,
};
use alys_engine::EngineError;
use alys_primitives::{ChainSpec, Root, SignedBlock, TreeHash as _, UnixMillis};
use alys_store::StoreError;
use gossip::HeardFrom;
use own_key::OwnKey;
use reliance::Reliance;
use requests::{Requests, finality};
use signing::SigningGate;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use timings::{Timings, record};
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

#[cfg(feature = "testing")]
use alys_chain::testing::Plant;

/// How long the engine may take for one request before it counts as unavailable.
const ENGINE_DEADLINE: Duration = Duration::from_secs(10);

/// How long until a write that storage did not confirm is tried again.
const WRITE_RETRY: Duration = Duration::from_millis(200);

/// Imports that can wait for their outcome at once; more are answered by `Rejected` inboxes upstream.
const MAX_WAITING: usize = 4096;

/// What the actor needs from the rest of the node.
#[derive(Clone)]
pub struct ChainPorts {
    /// The database's writer.
    pub storage: Addr<StorageMessage>,
    /// The engine.
    pub execution: Addr<ExecutionMessage>,
    /// Whether the engine is one that may be away, and that asks storage itself for the blocks it lacks.
    pub engine_is_external: bool,
    /// The key; none for an observer.
    pub signer: Option<Addr<SignerMessage>>,
    /// Where readers find the newest view.
    pub view: Arc<watch::Sender<ChainView>>,
    /// Where subscribers find what happened.
    pub events: broadcast::Sender<ChainEvent>,
    /// Where the network finds what to send.
    pub gossip: broadcast::Sender<Gossip>,
    /// Whether the node is level with its peers, in blocks and in time: else nothing is signed. None without a network.
    pub may_sign: Option<watch::Receiver<bool>>,
    /// Knows what proposals rely on in Bitcoin, or not: then they are not approved.
    pub bitcoin: Arc<dyn BlockWitness>,
    /// The wall clock; [`WallClock::default`] is the system's.
    pub clock: WallClock,
}

/// Why the chain actor ends; its supervisor starts a new one from storage.
#[derive(Debug, thiserror::Error)]
pub enum ChainActorError {
    /// Storage or execution did not answer at the start.
    #[error("{port} did not answer")]
    Port {
        /// Which.
        port: &'static str,
        /// How.
        source: AskError,
    },
    /// The database can't be read.
    #[error("the chain can't be loaded")]
    Load(#[from] StoreError),
    /// What the database holds is not a chain.
    #[error("the stored chain does not restore")]
    Restore(#[from] RestoreError),
    /// The engine can't be asked where it stands.
    #[error("the engine can't be reached")]
    Engine(#[from] EngineError),
    /// The engine runs another chain.
    #[error("the engine runs chain {found}, expected {expected}")]
    WrongEngine {
        /// Chain id and genesis hash of the engine.
        found: String,
        /// Those of the spec.
        expected: String,
    },
    /// The engine refuses a block that this node had executed before.
    #[error("the engine does not take block {root} again: {reason}")]
    Replay {
        /// The block.
        root: Root,
        /// What the engine said.
        reason: String,
    },
    /// The core refused an answer that it had asked for.
    #[error("the chain refused an answer to its own request")]
    Input(#[from] InputError),
}

/// The operator's choices for the actor.
#[derive(Clone, Debug, Default)]
pub struct ChainActorConfig {
    /// Those for the core.
    pub core: ChainConfig,
    /// How fast the actor should be.
    pub performance_targets: PerformanceTargets,
}

/// The actor.
pub struct ChainActor {
    spec: Arc<ChainSpec>,
    config: ChainConfig,
    ports: ChainPorts,
    /// Set by `started`.
    chain: Option<Chain>,
    gate: SigningGate,
    reliance: Reliance,
    imports: BTreeMap<Root, Vec<Reply<Result<ImportOutcome, VerifyError>>>>,
    proofs: BTreeMap<Root, Vec<Reply<Result<(), AuxPowError>>>>,
    /// Who waits for a run of blocks, by the root of its last block.
    ranges: BTreeMap<Root, RangeReply>,
    /// Which members' messages were passed on.
    heard: HeardFrom,
    own_key: OwnKey,
    /// Batches that wait for the write in hand; they go together in the next one.
    unwritten: Vec<(BatchId, ChainBatch)>,
    /// The write in hand.
    writing: Vec<(BatchId, ChainBatch)>,
    timer: Option<(UnixMillis, TimerId)>,
    timings: Timings,
    requests: Requests,
    #[cfg(feature = "testing")]
    simulation: Option<Simulation>,
}

impl ChainActor {
    /// An actor that goes on from what storage holds, or from genesis.
    pub fn new(spec: Arc<ChainSpec>, config: ChainActorConfig, ports: ChainPorts) -> Self {
        let ChainActorConfig { core: config, performance_targets } = config;
        let started = spec.slot_at(ports.clock.now());
        let gate = SigningGate::new(ports.clock.clone(), spec.max_clock_drift);
        Self {
            spec,
            config,
            ports,
            chain: None,
            gate,
            reliance: Reliance::default(),
            imports: BTreeMap::new(),
            proofs: BTreeMap::new(),
            ranges: BTreeMap::new(),
            heard: HeardFrom::default(),
            own_key: OwnKey::new(started),
            unwritten: Vec::new(),
            writing: Vec::new(),
            timer: None,
            timings: Timings::new(performance_targets),
            requests: Requests::default(),
            #[cfg(feature = "testing")]
            simulation: None,
        }
    }

    async fn load(&self) -> Result<Chain, ChainActorError> {
        let restored = self
            .ports
            .storage
            .ask(|reply| StorageMessage::Load { reply })
            .await
            .map_err(|source| ChainActorError::Port { port: "storage", source })??;
        #[cfg(feature = "testing")]
        if let Some(simulation) = &self.simulation {
            return Ok(simulation.restore(*restored)?);
        }
        Ok(Chain::restore((*self.spec).clone(), self.config.clone(), *restored)?)
    }

    /// Compares the engine with the chain and gives it again what it has lost.
    async fn bring_engine_up(&self, chain: &Chain) -> Result<(), ChainActorError> {
        let port = |source| ChainActorError::Port { port: "execution", source };
        let info = self.ports.execution.ask(|reply| ExecutionMessage::Info { reply }).await.map_err(port)?;
        let info = match info {
            Err(error @ (EngineError::Unavailable { .. } | EngineError::Broken { .. }))
                if self.ports.engine_is_external =>
            {
                tracing::warn!(%error, "the chain begins without its engine");
                let update = ExecutionMessage::Forkchoice(chain.forkchoice());
                return self.ports.execution.tell(update).await.map_err(|_| port(AskError::Stopped));
            }
            info => info?,
        };
        let evm = &self.spec.evm;
        if info.chain_id != evm.chain_id || info.genesis_hash != evm.genesis_hash {
            return Err(ChainActorError::WrongEngine {
                found: format!("{} with genesis {}", info.chain_id, info.genesis_hash),
                expected: format!("{} with genesis {}", evm.chain_id, evm.genesis_hash),
            });
        }
        let update = chain.forkchoice();
        if info.head != update.head && !self.ports.engine_is_external {
            tracing::info!(
                engine = info.head_number,
                chain = chain.view().head.height.0,
                "engine is brought to the head"
            );
            self.replay(chain, info.head_number).await?;
        }
        self.ports.execution.tell(ExecutionMessage::Forkchoice(update)).await.map_err(|_| port(AskError::Stopped))
    }

    async fn replay(&self, chain: &Chain, engine_height: u64) -> Result<(), ChainActorError> {
        use alys_chain::ExecutionOutcome;
        let port = |source| ChainActorError::Port { port: "execution", source };
        let first = engine_height.min(chain.view().head.height.0).saturating_add(1);
        for height in first..=chain.view().head.height.0 {
            let block = self
                .ports
                .storage
                .ask(|reply| StorageMessage::Block { height: alys_primitives::Height(height), reply })
                .await
                .map_err(|source| ChainActorError::Port { port: "storage", source })??;
            let Some(block) = block else { continue };
            let root = block.root();
            let block = Arc::new(*block);
            let outcome =
                self.ports.execution.ask(|reply| ExecutionMessage::Execute { block, reply }).await.map_err(port)?;
            match outcome {
                ExecutionOutcome::Valid { .. } => {}
                ExecutionOutcome::Invalid { reason } | ExecutionOutcome::Unavailable { reason } => {
                    return Err(ChainActorError::Replay { root, reason });
                }
                ExecutionOutcome::Syncing => {
                    return Err(ChainActorError::Replay { root, reason: "syncing".to_owned() });
                }
            }
        }
        Ok(())
    }

    /// Feeds the core and carries out what it asks for.
    async fn feed(&mut self, input: Input, ctx: &mut Context<ChainMessage>) -> Result<(), InputError> {
        let Some(chain) = self.chain.as_mut() else { return Ok(()) };
        let began = Instant::now();
        let result = chain.handle(self.ports.clock.now(), input);
        self.pump(ctx).await;
        self.timings.fed(began);
        result
    }

    /// An answer of the engine. The core may have gone on to another slot, or have dropped the block, while the engine took its
    /// time: such an answer is late, and no reason to start over.
    async fn feed_engine(&mut self, input: Input, ctx: &mut Context<ChainMessage>) -> Result<(), ChainActorError> {
        match self.feed(input, ctx).await {
            Err(error @ InputError::UnknownId { .. }) => {
                metrics::counter!("alys_chain_late_answers_total").increment(1);
                tracing::debug!(%error, "the engine's answer came too late");
                Ok(())
            }
            result => Ok(result?),
        }
    }

    /// An answer of this node's own making that the core refuses is a bug here: start over from storage.
    async fn feed_answer(&mut self, input: Input, ctx: &mut Context<ChainMessage>) -> Result<(), ChainActorError> {
        Ok(self.feed(input, ctx).await?)
    }

    fn verify_block(
        &self,
        block: SignedBlock,
        reply: Option<Reply<Result<ImportOutcome, VerifyError>>>,
        ctx: &mut Context<ChainMessage>,
    ) {
        let Some(chain) = &self.chain else { return };
        let (verifier, targets) = (chain.verifier(), self.timings.targets);
        ctx.spawn_blocking("verify-block", move || ChainMessage::BlockVerified {
            result: timed_check(&verifier, targets, block).map(Box::new),
            reply,
        });
    }

    async fn import(
        &mut self,
        block: Verified<SignedBlock>,
        reply: Option<Reply<Result<ImportOutcome, VerifyError>>>,
        ctx: &mut Context<ChainMessage>,
    ) {
        self.timings.import_began(block.root());
        if let Some(reply) = reply
            && self.imports.len() < MAX_WAITING
        {
            self.imports.entry(block.root()).or_default().push(reply);
        }
        if let Err(error) = self.feed(Input::Block(block), ctx).await {
            tracing::debug!(%error, "block not taken");
        }
    }
}

impl Actor for ChainActor {
    type Message = ChainMessage;
    type Error = ChainActorError;

    async fn started(&mut self, ctx: &mut Context<ChainMessage>) -> Result<(), ChainActorError> {
        self.timings.targets.export();
        let chain = self.load().await?;
        self.bring_engine_up(&chain).await?;
        tracing::info!(
            head = chain.view().head.height.0,
            finalized = chain.view().finalized.height.0,
            state_root = %chain.state_root(),
            "chain loaded"
        );
        self.chain = Some(chain);
        // The core learns the time, and from then on says when it wants to be woken.
        self.feed_answer(Input::Tick, ctx).await
    }

    async fn handle(&mut self, message: ChainMessage, ctx: &mut Context<ChainMessage>) -> Result<(), ChainActorError> {
        match message {
            ChainMessage::ImportBlock { block, reply } => self.verify_block(*block, Some(reply), ctx),
            ChainMessage::ValidateBlock { block, reply } => {
                if let Some(chain) = &self.chain {
                    let (verifier, targets) = (chain.verifier(), self.timings.targets);
                    ctx.spawn_blocking("validate-block", move || {
                        reply.send(timed_check(&verifier, targets, *block).map(|_| ()));
                        ChainMessage::Discarded
                    });
                }
            }
            ChainMessage::Gossip { message, peer, reply } => self.hear(*message, peer, reply, ctx),
            ChainMessage::Heard { result, peer, reply } => self.heard(result, peer, reply, ctx).await,
            ChainMessage::ImportRange { blocks, peer, certificate, reply } => {
                self.import_range(blocks, peer, certificate.map(|certificate| *certificate), reply, ctx);
            }
            ChainMessage::RangeVerified { result: Ok(range), peer, reply } => {
                self.range_verified(*range, peer, reply, ctx).await;
            }
            ChainMessage::RangeVerified { result: Err(error), reply, .. } => {
                metrics::counter!("alys_chain_rejected_total", "kind" => "range").increment(1);
                tracing::debug!(%error, "run of blocks did not verify");
                reply.send(Err(error));
            }
            ChainMessage::ProcessAuxPow { record, reply } => {
                if let Some(chain) = &self.chain {
                    let verifier = chain.verifier();
                    ctx.spawn_blocking("verify-auxpow", move || ChainMessage::AuxPowVerified {
                        result: verifier.auxpow(*record).map(Box::new),
                        reply,
                    });
                }
            }
            ChainMessage::PegOffer(offer) => {
                if let Err(error) = self.feed(Input::Peg(offer), ctx).await {
                    tracing::debug!(%error, "offer not taken");
                }
            }
            ChainMessage::PausePeg { pause, reply } => self.verify_pause(*pause, reply, ctx),
            ChainMessage::PauseVerified { result: Ok(pause), reply } => self.pause_peg(*pause, reply, ctx).await,
            ChainMessage::PauseVerified { result: Err(error), reply } => reply.send(Err(error)),
            ChainMessage::AuxPowTemplate { payout, reply } => {
                if let Some(chain) = &self.chain {
                    reply.send(chain.auxpow_template(payout, self.ports.clock.now()));
                }
            }
            ChainMessage::ProduceBlock { reply } => self.produce_block(reply),
            ChainMessage::BroadcastBlock { root, reply } => self.broadcast_block(root, reply, ctx),
            ChainMessage::UpdateFederation { change, reply } => self.verify_federation(*change, reply, ctx),
            ChainMessage::FederationVerified { result: Ok(change), reply } => {
                self.update_federation(*change, reply, ctx).await;
            }
            ChainMessage::FederationVerified { result: Err(error), reply } => reply.send(Err(error)),
            ChainMessage::FinalizeBlocks { to, reply } => {
                if let Some(chain) = &self.chain {
                    reply.send(finality(&chain.view(), to, self.spec.min_finalization_depth));
                }
            }
            ChainMessage::ReorgChain { to, reply } => {
                if let Some(answer) = self.reorganise(to) {
                    reply.send(answer);
                }
            }
            ChainMessage::GetChainStatus { reply } => {
                let began = Instant::now();
                if let Some(chain) = &self.chain {
                    reply.send(chain.view());
                    record("status", "done", began.elapsed());
                }
            }
            ChainMessage::BlockVerified { result: Ok(block), reply } => self.import(*block, reply, ctx).await,
            ChainMessage::BlockVerified { result: Err(error), reply } => {
                metrics::counter!("alys_chain_rejected_total", "kind" => "block").increment(1);
                tracing::debug!(%error, "block did not verify");
                if let Some(reply) = reply {
                    reply.send(Err(error));
                }
            }
            ChainMessage::AuxPowVerified { result: Ok(record), reply } => {
                let hash = record.bundle.tree_hash_root();
                self.timings.proof_began(hash);
                self.proofs.entry(hash).or_default().push(reply);
                if let Err(error) = self.feed(Input::AuxPow(*record), ctx).await {
                    tracing::debug!(%error, "AuxPoW not taken");
                }
            }
            ChainMessage::AuxPowVerified { result: Err(error), reply } => reply.send(Err(error)),
            ChainMessage::Discarded => {}
            ChainMessage::Built { id, result } => {
                self.timings.built();
                self.feed_engine(Input::Built { id, result: result.map(|built| *built) }, ctx).await?;
            }
            ChainMessage::Executed { id, outcome } => {
                self.feed_engine(Input::Executed { id, outcome }, ctx).await?;
            }
            ChainMessage::Judged { id, request, known: true } => self.ask_signer(id, request, ctx).await,
            ChainMessage::Judged { id, known: false, .. } => {
                metrics::counter!("alys_peg_withheld_approvals_total").increment(1);
                tracing::info!("approval withheld: bitcoin does not show here what the proposal relies on");
                let result = Err(SignRefusal::Suspended);
                self.feed_answer(Input::Signed { id, result }, ctx).await?;
            }
            ChainMessage::Signed { id, result } => {
                self.timings.signed(id, result.is_ok());
                self.feed_answer(Input::Signed { id, result }, ctx).await?;
            }
            ChainMessage::Written { ids, durable: true } => {
                self.writing.clear();
                for id in ids {
                    self.feed_answer(Input::Durable { id }, ctx).await?;
                }
            }
            ChainMessage::Written { ids, durable: false } => {
                tracing::warn!(batches = ids.len(), "storage did not confirm a write; it is repeated");
                ctx.after(WRITE_RETRY, ChainMessage::RetryWrite);
            }
            ChainMessage::RetryWrite => self.write(ctx).await,
            ChainMessage::Tick => {
                self.timer = None;
                if let Err(error) = self.feed(Input::Tick, ctx).await {
                    tracing::debug!(%error, "tick not taken");
                }
            }
        }
        Ok(())
    }
}

/// A block's checks, on the thread that runs them.
fn timed_check(
    verifier: &Verifier,
    targets: PerformanceTargets,
    block: SignedBlock,
) -> Result<Verified<SignedBlock>, VerifyError> {
    let began = Instant::now();
    let result = verifier.block(block);
    targets.judge_since("validate", if result.is_ok() { "valid" } else { "invalid" }, began);
    result
}
