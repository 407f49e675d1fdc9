//! `alys-node dev`.

use super::failure::{Failure, Outcome};
use super::init::{DEV_COST, Plan, Ports, Preset, write_chain};
use super::run::{
    SIGNING_RECORD, StopSignals, holds_chain, runtime, start, start_logging, start_metrics, until_stopped,
};
use crate::chain_files::{ChainFiles, PRESET_CHAIN_ID};
use crate::config::{Config, LogFormat};
use crate::dev_accounts::{BALANCE_BTC, MNEMONIC, dev_accounts};
use crate::key_files::unlock;
use crate::node::{DevBitcoin, Node, NodeBuilder, Validator};
use alys_chain::ChainConfig;
use clap::Args;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Args)]
pub(super) struct DevArguments {
    /// Keeps the chain in this folder; a temporary one, removed at the end, by default.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Length of a slot in whole seconds, such as 2s. Only a new chain can choose.
    #[arg(long, default_value = "2s", value_parser = whole_seconds)]
    slot_duration: u64,
    /// Starts no miner: blocks become final only when one from outside brings work.
    #[arg(long)]
    no_mine: bool,
    /// Port of JSON-RPC on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 8545)]
    rpc_port: u16,
    /// Port of metrics and health on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 9100)]
    metrics_port: u16,
    /// Engine APIs of external execution clients on this chain's genesis.json, in order of use; the embedded EVM without.
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    execution_endpoints: Vec<String>,
    /// Their addresses for eth_*, where the Engine API's port does not serve it.
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    execution_rpc_endpoints: Vec<String>,
    /// File with the secret that they share.
    #[arg(long, value_name = "FILE")]
    execution_jwt_secret: Option<PathBuf>,
    /// Keeps the embedded EVM's state of every block.
    #[arg(long)]
    archive: bool,
    /// Log filter, e.g. info or alys_node=debug.
    #[arg(long, default_value = "warn,alys_node::actors::mining=info")]
    log: String,
}

pub(super) fn dev(arguments: DevArguments) -> Outcome {
    start_logging(&arguments.log, LogFormat::Text)?;
    let temporary = match arguments.data_dir {
        Some(_) => None,
        None => Some(TemporaryFolder::make()?),
    };
    let folder = match (&arguments.data_dir, &temporary) {
        (Some(folder), _) => folder.clone(),
        (None, Some(temporary)) => temporary.0.clone(),
        (None, None) => PathBuf::from("."),
    };
    if !holds_chain(&folder) {
        write_chain(
            &folder,
            &Plan {
                preset: Preset::Dev,
                members: 1,
                slot_seconds: arguments.slot_duration,
                genesis_time: crate::clock::wall_now().0 / 1000,
                epoch_delay: None,
                recovery: None,
                cost: DEV_COST,
                ports: Ports::default(),
            },
        )?;
    }
    let files = ChainFiles::read(&folder.join("chain.json"), &folder.join("genesis.json")).map_err(Failure::usage)?;
    let member = folder.join("member-0");
    let mut config = Config::default();
    config.node.data_dir = member.join("data");
    config.rpc.listen.set_port(arguments.rpc_port);
    config.metrics.listen.set_port(arguments.metrics_port);
    config.rpc.mining = true;
    config.execution.endpoints = arguments.execution_endpoints;
    config.execution.rpc_endpoints = arguments.execution_rpc_endpoints;
    config.execution.jwt_secret = arguments.execution_jwt_secret;
    config.execution.archive = arguments.archive;
    // Pages of tools under development on this machine, and wallets in the browser.
    config.rpc.origins = ["http://localhost:*", "http://127.0.0.1:*", "chrome-extension://*", "moz-extension://*"]
        .map(str::to_owned)
        .to_vec();
    let accounts = dev_accounts().map_err(Failure::work)?;
    config.mining.payout = accounts.first().map(|account| account.address);

    let key = unlock(&member.join("keystore.json"), &member.join("password")).map_err(Failure::work)?;
    let record = config.node.data_dir.join(SIGNING_RECORD);
    let miner_payout = if arguments.no_mine { None } else { config.mining.payout };
    let metrics = start_metrics()?;
    let outcome = runtime()?.block_on(async move {
        let mut signals = StopSignals::listen()?;
        let builder = NodeBuilder::new(config, files)
            .validator(Validator { key, record })
            .dev_bitcoin(DevBitcoin { miner_payout })
            // A single member hears no one: a payload is built when its slot begins, with the newest transactions.
            .chain_config(ChainConfig { production_lead: 0, ..ChainConfig::default() })
            .metrics(metrics);
        let Some(node) = start(builder, &mut signals).await? else { return Ok(()) };
        introduce(&node, &folder);
        let heights = tokio::spawn(print_heights(node.view.clone(), node.store.clone()));
        let outcome = until_stopped(node, signals).await;
        heights.abort();
        outcome
    });
    drop(temporary);
    outcome
}

fn introduce(node: &Node, folder: &Path) {
    println!("Alys development chain, EVM chain id {PRESET_CHAIN_ID}, in {}", folder.display());
    if let Some(listening) = *node.listening.borrow() {
        println!("JSON-RPC (HTTP and WebSocket)  http://{}", listening.rpc);
        println!("metrics and health             http://{}/metrics  /healthz  /readyz", listening.metrics);
    }
    println!("mnemonic  {MNEMONIC}");
    println!("accounts, {BALANCE_BTC} BTC each (publicly known keys: never use them elsewhere)");
    for account in dev_accounts().into_iter().flatten() {
        println!("  {}  0x{}", account.address, account.secret_key.display_secret());
    }
}

/// One line per block.
async fn print_heights(mut view: tokio::sync::watch::Receiver<alys_chain::ChainView>, store: alys_store::Reader) {
    let mut printed = None;
    while view.changed().await.is_ok() {
        let (head, safe, finalized, stalled) = {
            let view = view.borrow_and_update();
            (view.head, view.safe, view.finalized, view.stalled)
        };
        if printed == Some((head.root, stalled)) {
            continue;
        }
        printed = Some((head.root, stalled));
        let transactions = match store.block(head.root) {
            Ok(Some(found)) => found.block.payload.transactions.len().to_string(),
            Ok(None) | Err(_) => "-".to_owned(),
        };
        let note = if stalled { "  waiting for a miner" } else { "" };
        println!(
            "height {}  slot {}  transactions {transactions}  safe {}  finalized {}{note}",
            head.height, head.slot, safe.height, finalized.height
        );
    }
}

fn whole_seconds(text: &str) -> Result<u64, String> {
    let digits = text.strip_suffix('s').unwrap_or(text);
    match digits.parse::<u64>() {
        Ok(seconds) if Duration::from_secs(seconds) <= Duration::from_secs(3600) && seconds > 0 => Ok(seconds),
        Ok(_) | Err(_) => Err(format!("`{text}` is no slot length: whole seconds from 1s to 3600s")),
    }
}

/// A folder that goes with the process.
struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    fn make() -> Result<Self, Failure> {
        let name = format!("alys-dev-{}-{}", std::process::id(), crate::clock::wall_now().0);
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path)
            .map_err(|error| Failure::work(error).help(format!("while making {}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, folder = %self.0.display(), "temporary folder is left behind");
        }
    }
}
