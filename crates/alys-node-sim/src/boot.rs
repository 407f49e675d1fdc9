//! Starting a node's actors in a runtime of their own.

use crate::engine::SimEngine;
use crate::idle::Idle;
use crate::machine::Node;
use crate::memory::{self, Memory, Shared};
use crate::mirror::{Mirror, look};
use crate::ports::{BitcoinPort, Out, Outbox, SignerPort, StoragePort};
use alys_actor::{Addr, Child, Supervisor, System};
use alys_chain::{ChainEvent, Message};
use alys_node::actors::chain::{ChainActor, ChainActorConfig, ChainMessage, ChainPorts, Seen, Simulation};
use alys_node::actors::execution::ExecutionActor;
use alys_node::clock::WallClock;
use alys_primitives::UnixMillis;
use alys_sim::machine::{Machine, Maker, Start};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

/// Messages and events that one run of the actors may send.
const CHANNEL: usize = 4_096;

/// Blocks that an engine loses that did not sync.
const ENGINE_LOSES: u64 = 3;

/// Makes nodes, and keeps what of them survives a loss of power.
#[derive(Debug, Default)]
pub(crate) struct Nodes(BTreeMap<usize, Shared>);

impl Maker for Nodes {
    fn boot(&mut self, start: Start<'_>) -> Result<Box<dyn Machine>, String> {
        let genesis = start.fixture.spec.evm.genesis_hash;
        let memory = self.0.entry(start.node).or_insert_with(|| Arc::new(Mutex::new(Memory::new(genesis))));
        if start.disk.pointers.is_none() {
            memory::lock(memory).lose_engine();
        } else if start.boot % 3 == 2 {
            memory::lock(memory).fall_back(ENGINE_LOSES);
        }
        Ok(Box::new(Node::new(Started::boot(start, memory)?)))
    }

    fn flag(&self) -> &'static str {
        "--actors "
    }

    fn has_actors(&self) -> bool {
        true
    }
}

/// Actors that were started.
pub(crate) struct Started {
    pub(crate) runtime: Runtime,
    pub(crate) idle: Arc<Idle>,
    pub(crate) chain: Addr<ChainMessage>,
    pub(crate) outbox: Outbox,
    pub(crate) gossip: broadcast::Receiver<Message>,
    pub(crate) events: broadcast::Receiver<ChainEvent>,
    pub(crate) memory: Shared,
    pub(crate) mirror: Arc<Mutex<Mirror>>,
    pub(crate) skew: Arc<AtomicI64>,
    /// Where the runtime's clock stands, true time.
    pub(crate) now: u64,
}

impl Started {
    fn boot(start: Start<'_>, memory: &Shared) -> Result<Self, String> {
        let idle = Arc::new(Idle::default());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .on_thread_park(idle.about_to_sleep())
            .build()
            .map_err(|error| error.to_string())?;
        let (outbox, mirror) = (Outbox::default(), Arc::new(Mutex::new(Mirror::default())));
        let skew = Arc::new(AtomicI64::new(start.clock.skew));
        let (gossip, events) = (broadcast::channel(CHANNEL), broadcast::channel(CHANNEL));
        let entered = runtime.enter();
        let (booted, origin) = (start.clock.now, Instant::now());
        // The monotonic clock shows the true time.
        let now = move || booted + u64::try_from(origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        let clock = {
            let skew = Arc::clone(&skew);
            WallClock::new(move || UnixMillis(now().saturating_add_signed(skew.load(Ordering::Relaxed))))
        };
        let mut root = Supervisor::new("root");
        let storage = root.add(Child::new("storage", {
            let outbox = outbox.clone();
            move || StoragePort(outbox.clone())
        }));
        let execution = root.add(Child::new("execution", {
            let (outbox, memory, evm) = (outbox.clone(), Arc::clone(memory), start.fixture.spec.evm.clone());
            move || {
                let engine = SimEngine::new(outbox.clone(), Arc::clone(&memory), evm.chain_id);
                ExecutionActor::new(engine, evm.genesis_hash)
            }
        }));
        let signer = root.add(Child::new("signer", {
            let outbox = outbox.clone();
            move || SignerPort(outbox.clone())
        }));
        let genesis = start.fixture.genesis(start.config.clone());
        let ports = ChainPorts {
            storage,
            execution,
            // One that lacks blocks asks storage for them; every other node has one that the node brings up by itself.
            engine_is_external: start.node % 2 == 1,
            signer: Some(signer),
            view: Arc::new(watch::channel(genesis.view()).0),
            events: events.0,
            gossip: gossip.0,
            may_sign: None,
            bitcoin: Arc::new(BitcoinPort(outbox.clone())),
            clock: clock.clone(),
        };
        let simulation = {
            let (fixture, config, mirror) = (start.fixture.clone(), start.config.clone(), Arc::clone(&mirror));
            let restore = move |restored| fixture.restore(config.clone(), restored);
            let look = move |seen: Seen<'_>| look(&mirror, seen, now(), clock.now());
            Simulation::new(restore, look, start.fixture.plant)
        };
        let chain = root.add(Child::new("chain", {
            let spec = Arc::new(start.fixture.spec.clone());
            let config = ChainActorConfig { core: start.config, ..ChainActorConfig::default() };
            move || ChainActor::simulated(spec.clone(), config.clone(), ports.clone(), simulation.clone())
        }));
        let system = System::builder("node")
            .seed(start.seed)
            .perturb(start.seed)
            .blocking_inline()
            .look_every(Duration::from_hours(1))
            .watchdog(Duration::from_hours(1));
        let ended = outbox.clone();
        runtime.spawn(async move {
            if let Ok(system) = system.start(root).await {
                system.ended().await;
            }
            ended.push(Out::Ended);
        });
        drop(entered);
        Ok(Self {
            runtime,
            idle,
            chain,
            outbox,
            gossip: gossip.1,
            events: events.1,
            memory: Arc::clone(memory),
            mirror,
            skew,
            now: booted,
        })
    }
}
