//! A stopped node's databases, for the operator's commands.

use super::failure::Failure;
use crate::chain_files::ChainFiles;
use crate::config::Config;
use alys_evm::{EvmReader, Executor, ExecutorConfig, NoTransactions};
use alys_store::{Database, Reader, StoreConfig, StoreError};

/// The open databases. The node must not run: both are locked.
pub(super) struct Databases {
    pub(super) files: ChainFiles,
    pub(super) chain: Database,
    pub(super) executor: Executor,
}

impl Databases {
    /// Opens the databases that `config` names; they must be there.
    pub(super) fn open(config: &Config) -> Result<Self, Failure> {
        let files = read_files(config)?;
        let data = &config.node.data_dir;
        crate::snapshot::settle(data).map_err(Failure::work)?;
        if crate::snapshot::is_empty(data) {
            return Err(Failure::work(format!("{} holds no chain", data.display()))
                .help("`--config` or `--node-data-dir` name the node"));
        }
        let chain = open_chain(config, &files)?;
        let none = Box::new(NoTransactions);
        let executor = Executor::open(&data.join("evm"), files.genesis.clone(), ExecutorConfig::default(), none)
            .map_err(Failure::work)?;
        Ok(Self { files, chain, executor })
    }

    pub(super) fn readers(&self) -> (Reader, EvmReader) {
        (self.chain.reader(), self.executor.reader())
    }
}

/// The chain's database alone.
pub(super) fn open_chain(config: &Config, files: &ChainFiles) -> Result<Database, Failure> {
    let folder = config.node.data_dir.join("chain");
    Database::open(&folder, files.spec.genesis_root(), &StoreConfig::default()).map_err(|error| match &error {
        StoreError::Locked { .. } => Failure::work(error).help("stop the node first"),
        StoreError::Newer { .. }
        | StoreError::TooOld { .. }
        | StoreError::OtherChain { .. }
        | StoreError::Corrupt { .. }
        | StoreError::CorruptFiles(_)
        | StoreError::CorruptFolder { .. }
        | StoreError::LostWrites { .. }
        | StoreError::MissingColumns { .. }
        | StoreError::MissingCommit { .. }
        | StoreError::DiskFull(_)
        | StoreError::Disk(_)
        | StoreError::Io { .. }
        | StoreError::Engine(_)
        | StoreError::Encode(_)
        | StoreError::Stopped => Failure::work(error),
    })
}

pub(super) fn read_files(config: &Config) -> Result<ChainFiles, Failure> {
    ChainFiles::read(&config.node.chain_spec, &config.node.genesis).map_err(Failure::usage)
}
