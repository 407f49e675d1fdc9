//! `alys-node run`, and what it shares with `dev`.

use super::bitcoin::Choice;
use super::config::ConfigArguments;
use super::failure::{Failure, Outcome};
use crate::chain_files::ChainFiles;
use crate::config::{Config, LogFormat};
use crate::key_files::unlock;
use crate::measures::describe_metrics;
use crate::node::{Node, NodeBuilder, StartError, Validator};
use crate::trouble::Trouble;
use clap::Args;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::path::Path;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry};

/// Worker threads: the node waits for disks and peers far more than it computes.
const WORKERS: usize = 2;

/// Name of the signing record in the data folder.
pub(super) const SIGNING_RECORD: &str = "signing-record";

/// What helps against damaged databases.
const RESYNC: &str = "move `chain` and `evm` out of the data folder and start again: the node takes the blocks from its \
                      peers; the signing record and the keys must stay";

/// Histogram bounds in seconds, from 100 µs to 10 s.
const BUCKETS: [f64; 15] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

#[derive(Args)]
pub(super) struct RunArguments {
    #[command(flatten)]
    config: ConfigArguments,
}

pub(super) fn run(arguments: RunArguments) -> Outcome {
    let config = arguments.config.clone().load()?.config;
    let filter = start_logging(&config.node.log, config.node.log_format)?;
    let reload = Reload { arguments: arguments.config, filter, config: config.clone() };
    let files = ChainFiles::read(&config.node.chain_spec, &config.node.genesis).map_err(Failure::usage)?;
    let validator = load_validator(&config)?;
    let bitcoin = Choice::of(&config.bitcoin)?;
    let metrics = start_metrics()?;
    runtime()?.block_on(async move {
        let mut builder = bitcoin.add_to(NodeBuilder::new(config, files).metrics(metrics));
        if let Some(validator) = validator {
            builder = builder.validator(validator);
        }
        let mut signals = StopSignals::listen()?;
        let hangup = signal(SignalKind::hangup()).map_err(Failure::work)?;
        let Some(node) = start(builder, &mut signals).await? else { return Ok(()) };
        let reloading = tokio::spawn(reload.on_hangup(hangup));
        tracing::info!(listening = ?*node.listening.borrow(), "running");
        let outcome = until_stopped(node, signals).await;
        reloading.abort();
        outcome
    })
}

/// The member's key and record, if the configuration names a keystore.
pub(super) fn load_validator(config: &Config) -> Result<Option<Validator>, Failure> {
    let (keystore, password) = match (&config.validator.keystore, &config.validator.password_file) {
        (None, _) => return Ok(None),
        (Some(keystore), Some(password)) => (keystore, password),
        (Some(_), None) => {
            return Err(Failure::usage("`validator.keystore` is set, `validator.password_file` is not")
                .help("a file whose first line is the password"));
        }
    };
    let key = unlock(keystore, password).map_err(Failure::work)?;
    Ok(Some(Validator { key, record: config.node.data_dir.join(SIGNING_RECORD) }))
}

pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("alys")
        .enable_all()
        .build()
        .map_err(Failure::work)
}

pub(super) fn start_metrics() -> Result<PrometheusHandle, Failure> {
    let builder = PrometheusBuilder::new().set_buckets(&BUCKETS).map_err(Failure::work)?;
    let handle = builder.install_recorder().map_err(Failure::work)?;
    describe_metrics();
    Ok(handle)
}

/// Changes the log filter of the running process.
pub(super) type LogFilter = tracing_subscriber::reload::Handle<EnvFilter, Registry>;

pub(super) fn start_logging(filter: &str, format: LogFormat) -> Result<LogFilter, Failure> {
    let (filter, handle) = tracing_subscriber::reload::Layer::new(log_filter(filter)?);
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => {
            registry.with(lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))).try_init()
        }
        LogFormat::Json => registry.with(lines.json()).try_init(),
    };
    started.map_err(Failure::work)?;
    Ok(handle)
}

fn log_filter(filter: &str) -> Result<EnvFilter, Failure> {
    // It warns of every message that two nodes happen to publish alike, as certificates are. The operator's words win.
    EnvFilter::try_new(format!("libp2p_gossipsub=error,{filter}"))
        .map_err(|error| Failure::usage(error).help(format!("`node.log` is `{filter}`; try info or alys_node=debug")))
}

/// What `SIGHUP` does: reads the configuration again and takes over what can change while the node runs.
struct Reload {
    arguments: ConfigArguments,
    filter: LogFilter,
    config: Config,
}

impl Reload {
    async fn on_hangup(mut self, mut hangup: Signal) {
        while hangup.recv().await.is_some() {
            match self.reload() {
                Ok(()) => {}
                Err(failure) => tracing::error!("configuration not reloaded: {failure}"),
            }
        }
    }

    /// Takes over the log filter; tells which other keys wait for a restart.
    fn reload(&mut self) -> Outcome {
        let new = self.arguments.clone().load()?.config;
        self.filter.reload(log_filter(&new.node.log)?).map_err(Failure::work)?;
        self.config.node.log.clone_from(&new.node.log);
        tracing::info!(log = %new.node.log, "configuration reloaded");
        if new != self.config {
            tracing::warn!("other keys have changed too: they take effect at the next start");
        }
        Ok(())
    }
}

/// The signals that ask for the end. Heard from before the node starts: one that came earlier than its handler would end
/// the process at once instead of in order.
pub(super) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Begins to listen; needs a runtime.
    pub(super) fn listen() -> Result<Self, Failure> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(Failure::work)?,
            interrupt: signal(SignalKind::interrupt()).map_err(Failure::work)?,
        })
    }

    /// Waits until one of them comes.
    pub(super) async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Starts a node; none if the end is asked for meanwhile.
pub(super) async fn start(builder: NodeBuilder, signals: &mut StopSignals) -> Result<Option<Node>, Failure> {
    tokio::select! {
        biased;
        () = signals.asked() => Ok(None),
        started = builder.start() => started.map(Some).map_err(|error| match error.trouble() {
            _ if matches!(error, StartError::ExecutionClient(_)) => Failure::usage(error)
                .help("`[execution]` names the client's Engine API and the secret; its genesis must be this chain's"),
            Some(trouble) => {
                let of_databases =
                    matches!(error, StartError::Store(_) | StartError::Evm(_) | StartError::Fatal { .. });
                let failure = Failure::trouble(trouble, error);
                if trouble == Trouble::Damage && of_databases { failure.help(RESYNC) } else { failure }
            }
            None => Failure::work(error),
        }),
    }
}

/// Runs until a signal asks for the end or the node can't go on, then stops in order.
pub(super) async fn until_stopped(node: Node, mut signals: StopSignals) -> Outcome {
    let ended = tokio::select! {
        biased;
        () = signals.asked() => None,
        ended = node.ended() => Some(ended),
    };
    tracing::info!("stopping");
    let report = node.shutdown().await;
    tracing::info!(?report, "stopped");
    match ended {
        None => Ok(()),
        Some(ended) => {
            let failure = Failure::trouble(ended.trouble(), format!("the node stopped by itself: {ended}"));
            Err(if ended.trouble() == Trouble::Damage { failure.help(RESYNC) } else { failure })
        }
    }
}

/// Whether a folder holds a chain that `init` finished writing.
pub(super) fn holds_chain(folder: &Path) -> bool {
    folder.join("chain.json").exists()
}
