//! The gateway: JSON-RPC and the operator's listener.

use super::tick::Tick;
use crate::config::Config;
use crate::execution::EngineFailure;
use crate::gateway::{
    AlysRpc, FederationRpc, Gateway, GatewayError, MiningRpc, Ops, PegRpc, Readiness, alys_module, dev_module,
    federation_module, mining_module, peg_module, serve_ops,
};
use crate::sync::SyncState;
use alys_actor::{Actor, Context, NodeSnapshot, Phase};
use alys_bitcoin::RegtestHandle;
use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::server::Methods;
use metrics_exporter_prometheus::PrometheusHandle;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often readiness is brought up to date.
const PERIOD: Duration = Duration::from_secs(1);

/// Where the servers listen, once they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listening {
    /// JSON-RPC, HTTP and WebSocket.
    pub rpc: SocketAddr,
    /// Metrics and health.
    pub metrics: SocketAddr,
}

/// What the gateway serves from.
#[derive(Clone)]
pub struct GatewayPorts {
    /// The node's configuration.
    pub config: Arc<Config>,
    /// `eth_*` and its kin.
    pub eth: Methods,
    /// Whether the engine answers.
    pub engine: watch::Receiver<EngineFailure>,
    /// The chain's own calls; the supervision tree is filled in when the gateway starts.
    pub alys: AlysRpc,
    /// The federation's calls.
    pub federation: FederationRpc,
    /// The peg's calls.
    pub peg: PegRpc,
    /// The regtest Bitcoin of a development node, which serves coins and blocks on demand.
    pub dev_bitcoin: Option<RegtestHandle>,
    /// The merged-mining calls.
    pub mining: MiningRpc,
    /// Renders the metrics.
    pub metrics: Option<PrometheusHandle>,
    /// Told where the servers listen.
    pub listening: Arc<watch::Sender<Option<Listening>>>,
}

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayActorError {
    /// JSON-RPC can't be served.
    #[error("JSON-RPC can't be served")]
    Rpc(#[from] GatewayError),
    /// The operator's listener can't be served.
    #[error("metrics can't be served on {address}")]
    Ops {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Two modules define one method.
    #[error("two modules define one method")]
    Methods(#[from] RegisterMethodError),
}

/// The actor.
pub struct GatewayActor {
    ports: GatewayPorts,
    server: Option<Gateway>,
    readiness: watch::Sender<Readiness>,
}

impl GatewayActor {
    /// A gateway that serves from `ports`.
    pub fn new(ports: GatewayPorts) -> Self {
        let (readiness, _) = watch::channel(Readiness { missing: vec!["starting".to_owned()] });
        Self { ports, server: None, readiness }
    }

    fn methods(&self, ctx: &Context<Tick>) -> Result<Methods, RegisterMethodError> {
        let mut methods = Methods::new();
        methods.merge(self.ports.eth.clone())?;
        let mut alys = self.ports.alys.clone();
        alys.system = Some(ctx.system().clone());
        methods.merge(alys_module(alys)?)?;
        methods.merge(federation_module(self.ports.federation.clone())?)?;
        methods.merge(peg_module(self.ports.peg.clone())?)?;
        if let Some(bitcoin) = &self.ports.dev_bitcoin {
            methods.merge(dev_module(bitcoin.clone())?)?;
        }
        if self.ports.config.rpc.mining {
            methods.merge(mining_module(self.ports.mining.clone())?)?;
        }
        Ok(methods)
    }

    fn refresh(&self, ctx: &Context<Tick>) {
        let tree = ctx.system().tree();
        let mut missing = Vec::new();
        visit(&tree.root, &mut |node| {
            if node.children.is_empty() && node.state != Phase::Running && !is_optional(&node.path) {
                missing.push(node.path.clone());
            }
        });
        let view = self.ports.alys.view.borrow();
        if view.genesis_root.is_zero() {
            missing.push("chain state".to_owned());
        }
        drop(view);
        if self.ports.engine.borrow().is_some() {
            missing.push("execution engine".to_owned());
        }
        if self.ports.alys.network.as_ref().is_some_and(|network| network.sync.borrow().state != SyncState::Synced) {
            missing.push("level with peers".to_owned());
        }
        if self.ports.alys.doppelganger.borrow().is_some() {
            missing.push("the only user of its key".to_owned());
        }
        self.readiness.send_if_modified(|current| {
            let next = Readiness { missing };
            let changed = *current != next;
            *current = next;
            changed
        });
        if let Some(metrics) = &self.ports.metrics {
            metrics.run_upkeep();
        }
    }
}

/// A node without its dev miner still serves; the gateway itself answers, so it runs.
fn is_optional(path: &str) -> bool {
    path.ends_with("/miner") || path.ends_with("/gateway")
}

fn visit(node: &NodeSnapshot, see: &mut impl FnMut(&NodeSnapshot)) {
    see(node);
    for child in &node.children {
        visit(child, see);
    }
}

impl Actor for GatewayActor {
    type Message = Tick;
    type Error = GatewayActorError;

    async fn started(&mut self, ctx: &mut Context<Tick>) -> Result<(), GatewayActorError> {
        let server = Gateway::start(&self.ports.config.rpc, self.methods(ctx)?).await?;
        let address = self.ports.config.metrics.listen;
        let ops = Ops { metrics: self.ports.metrics.clone(), readiness: self.readiness.subscribe() };
        let (metrics, work) =
            serve_ops(address, ops, ctx.token()).await.map_err(|source| GatewayActorError::Ops { address, source })?;
        ctx.run("ops", work);
        let listening = Listening { rpc: server.address(), metrics };
        self.server = Some(server);
        self.ports.listening.send_replace(Some(listening));
        self.refresh(ctx);
        ctx.every(PERIOD, || Tick::Due);
        Ok(())
    }

    async fn handle(&mut self, message: Tick, ctx: &mut Context<Tick>) -> Result<(), GatewayActorError> {
        match message {
            Tick::Due => self.refresh(ctx),
        }
        Ok(())
    }

    async fn stopped(&mut self, _: &mut Context<Tick>) {
        self.ports.listening.send_replace(None);
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
    }
}
