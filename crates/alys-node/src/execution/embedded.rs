//! The embedded EVM with its pool.

use super::{Evm, ExecutionParts, Transactions};
use crate::actors::Fatal;
use crate::actors::execution::ExecutionActor;
use crate::actors::service::{ServiceEnd, service};
use crate::config::ExecutionSection;
use crate::node::StartError;
use crate::threads::beside;
use crate::trouble::Trouble;
use alloy_genesis::Genesis;
use alys_actor::{CancellationToken, Child, Supervisor};
use alys_evm::pool::{PoolConfig, PoolTask, PoolTaskError, RocksJournal};
use alys_evm::rpc::{EthRpc, NetStatus, RpcConfig, eth_module};
use alys_evm::{Executor, ExecutorConfig, ExecutorThread, NoTransactions, spawn};
use alys_primitives::ChainSpec;
use std::error::Error as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Blocks that are older are being caught up with: the chain's own database has them, synced, and at a start gives the EVM
/// again what it has lost.
const CAUGHT_UP_WITH: Duration = Duration::from_secs(60);

/// The databases of the embedded EVM.
pub(crate) struct EmbeddedFiles {
    executor: Executor,
    journal: RocksJournal,
}

impl EmbeddedFiles {
    /// Opens them below `data`, or makes them.
    pub(crate) fn open(section: &ExecutionSection, data: &Path, genesis: Genesis) -> Result<Self, StartError> {
        let history_blocks = (!section.archive).then_some(section.history_blocks);
        let config =
            ExecutorConfig { history_blocks, unsynced_after: Some(CAUGHT_UP_WITH), ..ExecutorConfig::default() };
        // Most of the time goes into waiting for the disk, which takes the syncs of both together.
        let (executor, journal) = beside(
            || Executor::open(&data.join("evm"), genesis, config, Box::new(NoTransactions)),
            || RocksJournal::open(&data.join("pool")),
        );
        Ok(Self { executor: executor?, journal: journal? })
    }
}

/// Starts the EVM and its pool on their databases and adds their children.
pub(crate) fn start_embedded(
    root: &mut Supervisor,
    files: EmbeddedFiles,
    spec: &ChainSpec,
    net: watch::Receiver<NetStatus>,
    fatal: &Fatal,
) -> Result<ExecutionParts, StartError> {
    let EmbeddedFiles { mut executor, journal } = files;
    let reader = executor.reader();
    #[cfg(feature = "canary")]
    let journal = crate::canary::Journal(journal);
    let (pool, pool_task) = PoolTask::open(PoolConfig::new(spec.evm.chain_id), Arc::new(reader.clone()), journal)?;
    executor.set_source(Box::new(pool.clone()));
    let (engine, executor_thread) = spawn(executor)?;
    root.add(service("executor", {
        let fatal = fatal.clone();
        move |token| run_executor(executor_thread, fatal, token)
    }));
    let (failure, failure_view) = watch::channel(None);
    let failure = Arc::new(failure);
    let actor = {
        let genesis = spec.evm.genesis_hash;
        root.add(Child::new("execution", move || ExecutionActor::new(engine.clone(), genesis).failure(failure.clone())))
    };
    root.add(service("pool", {
        let heads = reader.subscribe();
        let fatal = fatal.clone();
        move |token| async move {
            let stop = async move { token.cancelled().await };
            let ended = pool_task.run(heads, stop).await;
            if let Err(error @ PoolTaskError::Journal(_)) = &ended {
                let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
                fatal.raise(Trouble::Disk, format!("{error}{cause}"));
            }
            Ok(ended?)
        }
    }));
    let client = format!("alys-node/{}", env!("CARGO_PKG_VERSION"));
    let (eth, filters) = EthRpc::new(reader.clone(), pool.clone(), RpcConfig::new(client), net);
    root.add(service("filters", move |token| async move {
        filters.run(async move { token.cancelled().await }).await;
        Ok(())
    }));
    Ok(ExecutionParts {
        actor,
        failure: failure_view,
        methods: eth_module(eth)?.into(),
        transactions: Transactions::Pool(pool.clone()),
        evm: Evm::Embedded { reader, pool },
    })
}

/// The executor's thread ends when the last engine handle is gone; until then its end is a failure.
async fn run_executor(thread: ExecutorThread, fatal: Fatal, token: CancellationToken) -> ServiceEnd {
    let joined = tokio::task::spawn_blocking(move || thread.join());
    tokio::select! {
        biased;
        () = token.cancelled() => Ok(()),
        joined = joined => match joined {
            Ok(Ok(executor)) => match executor.storage_failure() {
                Some(failure) => {
                    fatal.raise(failure.into(), failure.reason.clone());
                    Err(failure.reason.clone().into())
                }
                None => Err("the executor's thread ended".into()),
            },
            Ok(Err(error)) => Err(error.into()),
            Err(error) => Err(error.into()),
        },
    }
}
