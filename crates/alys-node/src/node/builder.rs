//! Starting a node's parts, in order.

use super::{Node, StartError};
use crate::actors::chain::{ChainActor, ChainActorConfig, ChainPorts};
use crate::actors::gateway::{GatewayActor, GatewayPorts};
use crate::actors::miner::MinerActor;
use crate::actors::mining::MiningActor;
use crate::actors::service::{ServiceActor, service};
use crate::actors::signer::{Doppelganger, SignerActor};
use crate::actors::storage::StorageActor;
use crate::actors::watcher::WatcherActor;
use crate::actors::{Fatal, HandOver};
use crate::bitcoin::NodeBitcoin;
use crate::bridge::{BridgeActor, BridgePorts, BridgeView, CustodyChoice, custody_keys};
use crate::chain_files::ChainFiles;
use crate::clock::WallClock;
use crate::config::{Config, ExecutionSection};
use crate::execution::{EmbeddedFiles, Evm, open_client, start_embedded};
use crate::gateway::{AlysRpc, FederationRpc, MiningRpc, NetworkRpc, PegRpc};
use crate::network::{NetworkActor, NetworkPorts, follow_network, network_config};
use crate::snapshot;
use crate::sync::{BackfillPorts, SyncActor, SyncPorts, SyncView, backfill};
use crate::threads::beside;
use alys_actor::{Child, RestartPolicy, Supervisor, System};
use alys_bitcoin::signer::SocketSigner;
use alys_bitcoin::{BlockLog, CoreRpc, RegtestHandle, RegtestLimits, embedded};
use alys_chain::{Chain, ChainConfig};
use alys_crypto::{Domain, DomainType, PublicKey, SecretKey, Signature};
use alys_evm::rpc::NetStatus;
use alys_p2p::NetworkView;
use alys_primitives::{Address, ChainSpec, Root};
use alys_store::signing::{Duty, RecordIdentity, SigningRecord};
use alys_store::{Database, Reader, StoreConfig};
use metrics_exporter_prometheus::PrometheusHandle;
use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, watch};

/// Events and gossip messages that a subscriber may lag behind before it misses some.
const EVENTS: usize = 1024;

/// How far back the newest own block is looked for, in blocks.
const OWN_BLOCK_SEARCH: u32 = 1024;

/// How often the bridge looks at Bitcoin and at the chain.
const BRIDGE_PERIOD: Duration = Duration::from_millis(500);

/// The same where each look is several calls to another process.
const CORE_PERIOD: Duration = Duration::from_secs(1);

/// The longest that a signer in a process of its own may take.
const SIGNER_DEADLINE: Duration = Duration::from_secs(2);

/// Requests that wait for the embedded Bitcoin.
const BITCOIN_INBOX: usize = 64;

/// A federation member's key and record.
pub struct Validator {
    /// Signs proposals and approvals.
    pub key: SecretKey,
    /// File of what it has signed.
    pub record: PathBuf,
}

/// The Bitcoin that a node is built with.
#[derive(Clone, Debug)]
enum BitcoinChoice {
    Absent,
    Embedded(DevBitcoin),
    Core(Box<CoreRpc>),
}

/// The embedded regtest Bitcoin of a development node.
#[derive(Clone, Debug)]
pub struct DevBitcoin {
    /// Who the embedded miner is paid for; no miner without.
    pub miner_payout: Option<Address>,
}

/// Collects what a node needs.
pub struct NodeBuilder {
    config: Config,
    files: ChainFiles,
    validator: Option<Validator>,
    bitcoin: BitcoinChoice,
    metrics: Option<PrometheusHandle>,
    chain_config: ChainConfig,
}

impl NodeBuilder {
    /// A node of the chain in `files`, observing.
    pub fn new(config: Config, files: ChainFiles) -> Self {
        let (bitcoin, chain_config) = (BitcoinChoice::Absent, ChainConfig::default());
        Self { config, files, validator: None, bitcoin, metrics: None, chain_config }
    }

    /// Makes it a federation member.
    #[must_use]
    pub fn validator(mut self, validator: Validator) -> Self {
        self.validator = Some(validator);
        self
    }

    /// Adds a regtest Bitcoin of its own, and a merged miner if `dev` says so.
    #[must_use]
    pub fn dev_bitcoin(mut self, dev: DevBitcoin) -> Self {
        self.bitcoin = BitcoinChoice::Embedded(dev);
        self
    }

    /// Looks at Bitcoin through a Bitcoin Core, or what speaks like one.
    #[must_use]
    pub fn bitcoin_core(mut self, core: CoreRpc) -> Self {
        self.bitcoin = BitcoinChoice::Core(Box::new(core));
        self
    }

    /// Serves the metrics of this recorder.
    #[must_use]
    pub fn metrics(mut self, handle: PrometheusHandle) -> Self {
        self.metrics = Some(handle);
        self
    }

    /// Replaces the operator's choices for the chain core.
    #[must_use]
    pub fn chain_config(mut self, config: ChainConfig) -> Self {
        self.chain_config = config;
        self
    }

    /// Opens the databases and starts every part in order.
    ///
    /// # Errors
    /// [`StartError`]: nothing runs then.
    ///
    /// # Cancel safety
    /// A dropped future stops what was started.
    pub async fn start(self) -> Result<Node, StartError> {
        let Self { config, mut files, validator, bitcoin, metrics, mut chain_config } = self;
        let config = Arc::new(config);
        let spec = Arc::new(files.spec.clone());
        let data = &config.node.data_dir;
        config.performance.validate_for(Duration::from_secs(spec.slot_duration))?;
        check_free("rpc.listen", config.rpc.listen)?;
        check_free("metrics.listen", config.metrics.listen)?;
        make_folder(data)?;
        let network_config = network_config(&config, spec.genesis_root())?;
        chain_config.member_key = validator.as_ref().map(|v| v.key.public_key().to_bytes().into());

        let (fatal, fatal_raised) = Fatal::new();
        let genesis_root = spec.genesis_root();
        snapshot::settle(data)?;
        if let Some(checkpoint) = config.sync.checkpoint.filter(|_| snapshot::is_empty(data)) {
            if !config.execution.endpoints.is_empty() {
                return Err(StartError::ExternalState);
            }
            let network = network_config.clone().ok_or(StartError::NoPeers)?;
            snapshot::join(network, &files, checkpoint, data).await?;
        } else if config.sync.by_work && snapshot::is_empty(data) {
            if !config.execution.endpoints.is_empty() {
                return Err(StartError::ExternalState);
            }
            let network = network_config.clone().ok_or(StartError::NoPeers)?;
            snapshot::join_by_work(network, &files, data, config.sync.max_records_bytes).await?;
        }
        let (database, embedded) = open_databases(&config.execution, data, genesis_root, &mut files)?;
        let store = database.reader();
        let genesis = Chain::genesis((*spec).clone(), chain_config.clone())?;
        let peg_rules = genesis.peg_rules().cloned().map(Arc::new);
        let genesis_view = genesis.view();
        let (bridge_sender, bridge) = watch::channel(BridgeView::default());
        let custody = match (config.validator.custody_socket.clone(), &validator) {
            (Some(socket), Some(_)) => CustodyChoice::Elsewhere(SocketSigner::new(socket, SIGNER_DEADLINE)),
            (None, Some(validator)) => CustodyChoice::Here(custody_keys(&validator.key)),
            (_, None) => CustodyChoice::Absent,
        };
        let (view_sender, view) = watch::channel(genesis_view);
        let (events, _) = broadcast::channel(EVENTS);
        let (gossip, _) = broadcast::channel(EVENTS);
        let (peg_signatures, _) = broadcast::channel(EVENTS);
        let listening = Arc::new(watch::channel(None).0);
        let (peers, peers_view) = watch::channel(NetworkView::default());
        let (progress, sync_view) = watch::channel(SyncView::default());
        let (oldest_sender, oldest) = watch::channel(None);
        let (may_sign, may_sign_view) = watch::channel(false);
        let (doppelganger, doppelganger_view) = watch::channel(None);
        let (anomalies, anomalies_view) = watch::channel(Vec::new());
        let anomalies = Arc::new(anomalies);
        let listen_slots = validator.as_ref().map_or(0, |_| config.validator.doppelganger_slots);

        let mut root = Supervisor::new("root");
        let storage = {
            let fatal = fatal.clone();
            let database = HandOver::new(database);
            // A writer that panicked may have left a write half told: the node ends and reads the disk again.
            let child = Child::new("storage", move || StorageActor::new(database.take(), fatal.clone()));
            root.add(child.restart(RestartPolicy::Temporary).critical().blocking())
        };
        let (net_sender, net) = watch::channel(NetStatus { waiting: network_config.is_some(), ..NetStatus::default() });
        let execution = match embedded {
            Some(embedded) => start_embedded(&mut root, embedded, &spec, net, &fatal)?,
            None => open_client(&mut root, &config.execution, &files, &store, net).await?,
        };
        let engine_is_external = matches!(execution.evm, Evm::Client(_));
        let (bitcoin, miner_payout, bridge_period) = match bitcoin {
            BitcoinChoice::Embedded(dev) => {
                let (handle, child) = open_bitcoin(&data.join("bitcoin.blocks"))?;
                root.add(child);
                (NodeBitcoin::Embedded(handle), dev.miner_payout, BRIDGE_PERIOD)
            }
            BitcoinChoice::Core(core) => (NodeBitcoin::Core(core), None, CORE_PERIOD),
            BitcoinChoice::Absent => (NodeBitcoin::Absent, None, BRIDGE_PERIOD),
        };
        let signer = match validator {
            Some(validator) => {
                let public_key = validator.key.public_key();
                let identity = RecordIdentity { genesis_root, public_key: public_key.to_bytes().into() };
                check_record(&validator.record, &identity, &public_key, &spec, &store)?;
                Some(root.add(signer(validator, identity, &fatal, doppelganger)))
            }
            None => None,
        };
        let chain = {
            let ports = ChainPorts {
                storage: storage.clone(),
                execution: execution.actor,
                engine_is_external,
                signer,
                view: Arc::new(view_sender),
                events: events.clone(),
                gossip: gossip.clone(),
                may_sign: network_config.as_ref().map(|_| may_sign_view),
                bitcoin: Arc::new(bitcoin.clone()),
                clock: WallClock::default(),
            };
            let spec = spec.clone();
            let chain_config = ChainActorConfig { core: chain_config, performance_targets: config.performance };
            root.add(Child::new("chain", move || ChainActor::new(spec.clone(), chain_config.clone(), ports.clone())))
        };
        let bridge_actor = peg_rules.as_ref().map(|rules| {
            let rules = rules.clone();
            let ports = BridgePorts {
                bitcoin: bitcoin.clone(),
                chain: chain.clone(),
                chain_view: view.clone(),
                view: Arc::new(bridge_sender),
                signatures: peg_signatures.clone(),
            };
            root.add(Child::new("bridge", move || {
                BridgeActor::new(rules.clone(), ports.clone(), &custody, bridge_period)
            }))
        });
        let mining = {
            let (spec, chain, view) = (spec.clone(), chain.clone(), view.clone());
            root.add(Child::new("mining", move || MiningActor::new(spec.clone(), chain.clone(), view.clone())))
        };
        let network = match network_config {
            Some(network_config) => {
                let local = network_config.identity.peer_id();
                let ports = NetworkPorts {
                    spec: spec.clone(),
                    chain: chain.clone(),
                    transactions: execution.transactions,
                    store: store.clone(),
                    evm: execution.evm.clone(),
                    snapshots: data.join(snapshot::SNAPSHOTS),
                    view: view.clone(),
                    gossip: gossip.clone(),
                    bridge: bridge_actor.clone(),
                    peg_signatures: peg_signatures.clone(),
                    peers: Arc::new(peers),
                };
                let network =
                    root.add(Child::new("network", move || NetworkActor::new(network_config.clone(), ports.clone())));
                if let Evm::Embedded { reader, .. } = &execution.evm
                    && config.sync.backfill
                {
                    let ports = BackfillPorts {
                        spec: spec.clone(),
                        data: data.clone(),
                        store: store.clone(),
                        storage,
                        evm: reader.clone(),
                        network: network.clone(),
                        peers: peers_view.clone(),
                        sync: sync_view.clone(),
                        max_records_bytes: config.sync.max_records_bytes,
                        oldest: Arc::new(oldest_sender),
                    };
                    root.add(service("backfill", move |token| backfill(ports, token)));
                }
                let ports = SyncPorts {
                    max_clock_drift: spec.max_clock_drift,
                    listen: Duration::from_secs(spec.slot_duration).saturating_mul(listen_slots),
                    chain: chain.clone(),
                    network,
                    store: store.clone(),
                    view: view.clone(),
                    peers: peers_view.clone(),
                    progress: Arc::new(progress),
                    may_sign: Arc::new(may_sign),
                };
                root.add(Child::new("sync", move || SyncActor::new(ports.clone())));
                Some(NetworkRpc { local, peers: peers_view.clone(), sync: sync_view.clone(), oldest: oldest.clone() })
            }
            None => None,
        };
        // Without a network nothing ever changes; the sender lives on in its task.
        let (networked, seen) = (network.is_some(), (peers_view.clone(), sync_view.clone()));
        root.add(service("net-status", move |token| follow_network(networked, seen.0, seen.1, net_sender, token)));
        if let Evm::Embedded { reader, .. } = &execution.evm
            && config.sync.snapshot_blocks > 0
        {
            let sources = snapshot::Sources { genesis_root, store: store.clone(), evm: reader.clone() };
            let (data, every, view) = (data.clone(), config.sync.snapshot_blocks, view.clone());
            root.add(service("snapshots", move |token| snapshot::keep(sources, data, every, view, token)));
        }
        let ports = GatewayPorts {
            eth: execution.methods,
            engine: execution.failure,
            alys: AlysRpc {
                spec: spec.clone(),
                view: view.clone(),
                store: store.clone(),
                events: events.clone(),
                mining: config.rpc.mining.then(|| (mining.clone(), config.mining.payout)),
                system: None,
                network: network.clone(),
                doppelganger: doppelganger_view.clone(),
                anomalies: anomalies_view,
            },
            federation: FederationRpc { spec: spec.clone(), view: view.clone(), chain: chain.clone() },
            peg: PegRpc {
                rules: peg_rules,
                view: view.clone(),
                bridge: bridge.clone(),
                store: store.clone(),
                evm: execution.evm.clone(),
                chain: chain.clone(),
            },
            dev_bitcoin: bitcoin.embedded().cloned(),
            mining: MiningRpc {
                mining: mining.clone(),
                view: view.clone(),
                spec: spec.clone(),
                payout: config.mining.payout,
            },
            config: config.clone(),
            metrics,
            listening: listening.clone(),
        };
        root.add(Child::new("watcher", move || WatcherActor::new(anomalies.clone())));
        root.add(Child::new("gateway", move || GatewayActor::new(ports.clone())));
        let embedded = bitcoin.embedded().cloned();
        if let (Some(bitcoin), Some(payout)) = (embedded.clone(), miner_payout) {
            let period = Duration::from_secs(spec.auxpow.spacing);
            let listening = listening.subscribe();
            root.add(Child::new("miner", move || MinerActor::new(bitcoin.clone(), payout, period, listening.clone())));
        }
        let parts = root.handle();
        // Parts that depend on a broken one end as well, and the tree may name one of those.
        let system = System::builder("alys").seed(rand::random()).start(root).await.map_err(|error| {
            let raised = fatal_raised.borrow().clone();
            raised.map_or(StartError::Tree(error), |(trouble, reason)| StartError::Fatal { trouble, reason })
        })?;
        Ok(Node {
            spec,
            chain,
            mining,
            view,
            store,
            evm: execution.evm,
            bitcoin: embedded,
            bridge,
            bridge_actor,
            peg_signatures,
            events,
            gossip,
            peers: peers_view,
            sync: sync_view,
            oldest,
            doppelganger: doppelganger_view,
            listening: listening.subscribe(),
            fatal: fatal_raised,
            parts,
            system,
        })
    }
}

/// Opens the chain's database, and the EVM's where it is inside the node, which takes the genesis.
fn open_databases(
    execution: &ExecutionSection,
    data: &Path,
    genesis_root: Root,
    files: &mut ChainFiles,
) -> Result<(Database, Option<EmbeddedFiles>), StartError> {
    let open_chain = || Database::open(&data.join("chain"), genesis_root, &StoreConfig::default());
    if !execution.endpoints.is_empty() {
        return Ok((open_chain()?, None));
    }
    let genesis = std::mem::take(&mut files.genesis);
    let open_evm = || EmbeddedFiles::open(execution, data, genesis);
    if !snapshot::is_empty(data) {
        // A folder of another chain, or one in use, is noticed before anything else of it is touched.
        return Ok((open_chain()?, Some(open_evm()?)));
    }
    let (chain, evm) = beside(open_chain, open_evm);
    Ok((chain?, Some(evm?)))
}

fn signer(
    validator: Validator,
    identity: RecordIdentity,
    fatal: &Fatal,
    doppelganger: watch::Sender<Doppelganger>,
) -> Child<SignerActor> {
    let (key, doppelganger) = (Arc::new(validator.key), Arc::new(doppelganger));
    let fatal = fatal.clone();
    Child::new("signer", move || {
        SignerActor::new(key.clone(), validator.record.clone(), identity, fatal.clone(), doppelganger.clone())
    })
    .blocking()
}

/// The record must know of the newest block that this member authored: one that does not is an old copy.
fn check_record(
    path: &Path,
    identity: &RecordIdentity,
    key: &PublicKey,
    spec: &ChainSpec,
    store: &Reader,
) -> Result<(), StartError> {
    let record = SigningRecord::open(path, identity)?;
    let mut height = match store.pointers()? {
        Some(pointers) => store.block(pointers.head)?.map(|found| found.block.header.height),
        None => None,
    };
    for _ in 0..OWN_BLOCK_SEARCH {
        let Some(found) = height.map(|height| store.block_at(height)).transpose()?.flatten() else { break };
        let header = &found.block.header;
        let version = spec.fork_version(header.height).0;
        let domain = Domain::new(DomainType::Proposal, version, identity.genesis_root);
        let own = Signature::from_bytes(found.block.author_signature.as_slice())
            .is_ok_and(|signature| signature.verify(key, domain.signing_root(header.root())).is_ok());
        if own {
            return Ok(record.check_covers(Duty::Proposal, header.slot)?);
        }
        height = header.height.checked_sub(1);
    }
    Ok(())
}

fn open_bitcoin(path: &Path) -> Result<(RegtestHandle, Child<ServiceActor>), alys_bitcoin::LogError> {
    let opened = BlockLog::open(path, RegtestLimits::default())?;
    let clock = || u32::try_from(crate::clock::wall_now().0 / 1000).unwrap_or(u32::MAX);
    let inbox = NonZeroUsize::new(BITCOIN_INBOX).unwrap_or(NonZeroUsize::MIN);
    let (handle, task) = embedded(opened.regtest, Some(opened.log), inbox, clock);
    let child = service("bitcoin", move |token| async move {
        tokio::select! {
            biased;
            () = token.cancelled() => Ok(()),
            ended = task => ended.map_err(|error| Box::new(error) as Box<dyn Error + Send + Sync>),
        }
    });
    Ok((handle, child))
}

/// A taken port is told before anything is opened; otherwise it would show as a gateway that restarts in vain.
fn check_free(key: &'static str, address: SocketAddr) -> Result<(), StartError> {
    TcpListener::bind(address).map(drop).map_err(|source| StartError::Listen { key, address, source })
}

fn make_folder(path: &Path) -> Result<(), StartError> {
    std::fs::create_dir_all(path).map_err(|source| StartError::Folder { path: path.to_owned(), source })
}
