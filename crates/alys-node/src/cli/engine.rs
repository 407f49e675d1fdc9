//! `alys-node engine`: the embedded EVM alone, as an execution client that a consensus client drives.

use super::failure::{Failure, Outcome};
use super::run::{runtime, start_logging};
use crate::config::{Config, LogFormat};
use crate::gateway::Gateway;
use alloy_genesis::Genesis;
use alloy_primitives::B256;
use alys_engine::{ForkchoiceState, JwtSecret, PayloadStatus};
use alys_evm::pool::{PoolConfig, PoolTask, RocksJournal};
use alys_evm::rpc::{
    EngineApi, EngineServer, EngineServerConfig, EthRpc, NetStatus, RpcConfig, engine_module, eth_module,
    testing_module,
};
use alys_evm::{ChainFile, Executor, ExecutorConfig, MAX_GENESIS_BYTES, NoTransactions, parse_genesis, spawn};
use clap::Args;
use jsonrpsee::server::Methods;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Imported blocks after which the head follows.
const HEAD_EVERY: u64 = 32;

/// How often the progress of an import is shown on a terminal, and elsewhere.
const BAR_PERIOD: Duration = Duration::from_millis(200);
const LINE_PERIOD: Duration = Duration::from_secs(5);

#[derive(Args)]
pub(super) struct EngineArguments {
    /// Genesis file in geth's format.
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
    /// Folder of the databases.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// File with the secret that the consensus client shares; made if it is not there.
    #[arg(long, value_name = "FILE")]
    jwt_secret: PathBuf,
    /// First executes the blocks of this RLP file. Seals of blocks before the merge are not checked.
    #[arg(long, value_name = "FILE")]
    import: Option<PathBuf>,
    /// Port of eth_* on 127.0.0.1, HTTP and WebSocket; 0 takes a free one.
    #[arg(long, default_value_t = 8545)]
    http_port: u16,
    /// Port of the Engine API on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 8551)]
    engine_port: u16,
    /// Keeps the state of every block, not only of the newest ones.
    #[arg(long)]
    archive: bool,
    /// Log filter, e.g. info or alys_evm=debug.
    #[arg(long, default_value = "info")]
    log: String,
}

pub(super) fn engine(arguments: EngineArguments) -> Outcome {
    start_logging(&arguments.log, LogFormat::Text)?;
    let genesis = read_genesis(&arguments.genesis)?;
    let chain_id = genesis.config.chain_id;
    std::fs::create_dir_all(&arguments.data_dir)
        .map_err(|error| Failure::work(format!("{} can't be made: {error}", arguments.data_dir.display())))?;
    let secret = JwtSecret::read_or_create(&arguments.jwt_secret, rand::random).map_err(|error| match &error {
        alys_engine::SecretError::Malformed { .. } => {
            let file = arguments.jwt_secret.display().to_string();
            Failure::usage(error).help(format!("{file} must hold 64 hexadecimal digits"))
        }
        alys_engine::SecretError::File { .. } => Failure::work(error),
    })?;
    let mut config = ExecutorConfig { gas_limit: genesis.gas_limit, ..ExecutorConfig::default() };
    if arguments.archive {
        config.history_blocks = None;
    }
    let path = arguments.data_dir.join("evm");
    let mut executor = Executor::open(&path, genesis, config, Box::new(NoTransactions)).map_err(Failure::work)?;
    if let Some(file) = &arguments.import {
        import(&mut executor, file)?;
    }
    runtime()?.block_on(serve(executor, chain_id, secret, &arguments))
}

fn read_genesis(path: &Path) -> Result<Genesis, Failure> {
    let limit = u64::try_from(MAX_GENESIS_BYTES).unwrap_or(u64::MAX);
    let mut json = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(limit.saturating_add(1)).read_to_end(&mut json))
        .map_err(|error| Failure::usage(format!("{} can't be read: {error}", path.display())))?;
    parse_genesis(&json).map_err(|error| Failure::usage(error).help(format!("while reading {}", path.display())))
}

/// Executes every block of the file and makes the last one the head.
fn import(executor: &mut Executor, path: &Path) -> Outcome {
    let failed =
        |error: alys_evm::ChainFileError| Failure::work(error).help(format!("while reading {}", path.display()));
    let mut file = ChainFile::open(path).map_err(failed)?;
    let mut progress = Progress::new(file.length());
    let genesis = executor.reader().genesis_hash();
    let mut head = None;
    let mut count = 0_u64;
    while let Some(block) = file.next_block().map_err(failed)? {
        let (number, hash) = (block.header.number, block.header.hash_slow());
        if hash == genesis {
            continue;
        }
        match executor.import_block(&block).map_err(Failure::work)? {
            PayloadStatus::Valid => {}
            PayloadStatus::Invalid { reason, .. } => {
                return Err(Failure::work(format!("block {number} ({hash}) is invalid: {reason}")));
            }
            PayloadStatus::Syncing | PayloadStatus::Accepted => {
                let parent = block.header.parent_hash;
                return Err(Failure::work(format!("block {number} ({hash}) has the unknown parent {parent}"))
                    .help("blocks must follow one another, beginning after the genesis block"));
            }
        }
        head = Some(hash);
        count = count.saturating_add(1);
        if count.is_multiple_of(HEAD_EVERY) {
            set_head(executor, hash)?;
        }
        progress.show(file.position(), number);
    }
    if let Some(hash) = head {
        set_head(executor, hash)?;
    }
    progress.finish(count);
    Ok(())
}

fn set_head(executor: &mut Executor, head: B256) -> Outcome {
    let state = ForkchoiceState { head, safe: B256::ZERO, finalized: B256::ZERO };
    executor.forkchoice_updated(state, None).map(drop).map_err(Failure::work)
}

/// A bar on a terminal, a line now and then elsewhere.
struct Progress {
    total: u64,
    started: Instant,
    shown: Instant,
    terminal: bool,
}

impl Progress {
    fn new(total: u64) -> Self {
        let now = Instant::now();
        Self { total, started: now, shown: now, terminal: std::io::stderr().is_terminal() }
    }

    fn show(&mut self, bytes: u64, number: u64) {
        let period = if self.terminal { BAR_PERIOD } else { LINE_PERIOD };
        if self.shown.elapsed() < period {
            return;
        }
        self.shown = Instant::now();
        let percent = bytes.saturating_mul(100).checked_div(self.total).unwrap_or(100).min(100);
        if self.terminal {
            let done = usize::try_from(percent / 4).unwrap_or(0);
            let bar = format!("{}{}", "#".repeat(done), ".".repeat(25_usize.saturating_sub(done)));
            let mut out = std::io::stderr().lock();
            // A terminal that is gone is no reason to stop importing.
            let _ = write!(out, "\rimport [{bar}] {percent:3}%  block {number}").and_then(|()| out.flush());
        } else {
            eprintln!("import: {percent}%, block {number}");
        }
    }

    fn finish(&self, count: u64) {
        if self.terminal {
            eprintln!();
        }
        eprintln!("imported {count} blocks in {:.1} s", self.started.elapsed().as_secs_f64());
    }
}

async fn serve(mut executor: Executor, chain_id: u64, secret: JwtSecret, arguments: &EngineArguments) -> Outcome {
    let reader = executor.reader();
    let journal = RocksJournal::open(&arguments.data_dir.join("pool")).map_err(Failure::work)?;
    let (pool, pool_task) =
        PoolTask::open(PoolConfig::new(chain_id), Arc::new(reader.clone()), journal).map_err(Failure::work)?;
    executor.set_source(Box::new(pool.clone()));
    let (engine, thread) = spawn(executor).map_err(Failure::work)?;
    let client = format!("alys-node/{}", env!("CARGO_PKG_VERSION"));
    // Kept alive: without a network the status never changes.
    let (_net, net) = watch::channel(NetStatus::default());
    let (eth, filters) = EthRpc::new(reader.clone(), pool, RpcConfig::new(client), net);

    let (stop, stopped) = watch::channel(false);
    let until_stop = |mut stopped: watch::Receiver<bool>| async move {
        // A sender that is gone means the same.
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    let mut tasks: JoinSet<Result<(), Failure>> = JoinSet::new();
    let (heads, end) = (reader.subscribe(), until_stop(stopped.clone()));
    tasks.spawn(async move { pool_task.run(heads, end).await.map_err(Failure::work) });
    let end = until_stop(stopped);
    tasks.spawn(async move {
        filters.run(end).await;
        Ok(())
    });

    tasks.spawn(async move {
        let executor = tokio::task::spawn_blocking(move || thread.join()).await.map_err(Failure::work)?;
        match executor.map_err(Failure::work)?.storage_failure() {
            Some(failure) => Err(Failure::trouble(failure.into(), failure.reason.clone())),
            None => Ok(()),
        }
    });

    let api = EngineApi::new(engine, reader.clone());
    let mut eth_methods = Methods::new();
    eth_methods.merge(eth_module(eth).map_err(Failure::work)?).map_err(Failure::work)?;
    // Both ports are this machine's only; suites ask for it where `eth_*` is.
    eth_methods.merge(testing_module(api.clone()).map_err(Failure::work)?).map_err(Failure::work)?;
    let mut engine_methods = Methods::new();
    engine_methods.merge(engine_module(api).map_err(Failure::work)?).map_err(Failure::work)?;
    engine_methods.merge(eth_methods.clone()).map_err(Failure::work)?;
    let mut rpc = Config::default().rpc;
    rpc.listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), arguments.http_port);
    let http = Gateway::start(&rpc, eth_methods).await.map_err(Failure::work)?;
    let listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), arguments.engine_port);
    let config = EngineServerConfig::new(listen, secret);
    let server = EngineServer::start(config, engine_methods).await.map_err(Failure::work)?;
    let head = reader.heads().latest;
    println!("JSON-RPC    http://{}", http.address());
    println!("Engine API  http://{}  (secret in {})", server.address(), arguments.jwt_secret.display());
    println!("head        {} {}", head.number, head.hash);

    let outcome = wait(&mut tasks).await;
    tracing::info!("stopping");
    server.stop().await;
    http.stop().await;
    stop.send_replace(true);
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(Failure::work)??;
    }
    outcome
}

/// Until a signal asks for the end, or a part fails.
async fn wait(tasks: &mut JoinSet<Result<(), Failure>>) -> Outcome {
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::work)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::work)?;
    tokio::select! {
        biased;
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        ended = tasks.join_next() => match ended {
            Some(Ok(Ok(()))) | None => Err(Failure::work("a part of the node ended by itself")),
            Some(Ok(Err(failure))) => Err(failure),
            Some(Err(error)) => Err(Failure::work(error)),
        },
    }
}
