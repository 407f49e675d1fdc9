//! `alys-node load`: transfers at a steady rate, with a journal of what the nodes acknowledged.

use super::failure::{Failure, Outcome};
use super::run::{runtime, start_logging};
use crate::config::LogFormat;
use crate::dev_accounts::{ACCOUNTS, dev_accounts};
use crate::evm_account::{AccountError, Acknowledged, Call, EvmAccount};
use crate::rpc_client::{RpcClient, RpcClientError};
use alloy_primitives::{Bytes, U256};
use alys_primitives::Address;
use clap::Args;
use serde_json::json;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How long a node may take for a call.
const RPC_DEADLINE: Duration = Duration::from_secs(5);

/// How long a sender leaves a node alone that refused or did not answer.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Args)]
pub(super) struct LoadArguments {
    /// JSON-RPC of the nodes; each gets the transfers of one development account.
    #[arg(long, required = true, value_delimiter = ',')]
    rpc: Vec<String>,
    /// Transfers per second and node.
    #[arg(long, default_value_t = 2.0)]
    rate: f64,
    /// Where each acknowledged transfer is noted, one JSON object a line: hash, node, nonce.
    #[arg(long)]
    journal: PathBuf,
    /// Who receives the few wei of each transfer.
    #[arg(long, default_value = "0x00000000000000000000000000000000000012ab")]
    to: Address,
    /// Log filter.
    #[arg(long, default_value = "info")]
    log: String,
}

pub(super) fn load(arguments: LoadArguments) -> Outcome {
    start_logging(&arguments.log, LogFormat::Text)?;
    if !(0.01..=1000.0).contains(&arguments.rate) {
        return Err(Failure::usage(format!("--rate {} is not between 0.01 and 1000", arguments.rate)));
    }
    if arguments.rpc.len() > usize::try_from(ACCOUNTS).unwrap_or(usize::MAX) {
        return Err(Failure::usage(format!("there are {ACCOUNTS} development accounts, one for each node")));
    }
    let mut journal = Journal::open(&arguments.journal)?;
    let accounts = dev_accounts().map_err(Failure::work)?;
    runtime()?.block_on(async move {
        let (sender, mut acknowledged) = tokio::sync::mpsc::channel(64);
        let mut senders = tokio::task::JoinSet::new();
        for (node, (url, account)) in arguments.rpc.iter().zip(accounts).enumerate() {
            let client = RpcClient::new(url, RPC_DEADLINE).map_err(Failure::usage)?;
            let account = EvmAccount::new(&account.secret_key.secret_bytes()).map_err(Failure::work)?;
            let (period, to) = (Duration::from_secs_f64(arguments.rate.recip()), arguments.to);
            senders.spawn(send(node, client, account, to, period, sender.clone()));
        }
        drop(sender);
        let mut terminate = signal(SignalKind::terminate()).map_err(Failure::work)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::work)?;
        loop {
            tokio::select! {
                biased;
                _ = terminate.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                noted = acknowledged.recv() => match noted {
                    Some((node, transfer)) => journal.note(node, &transfer)?,
                    None => return Err(Failure::work("every sender has ended")),
                },
            }
        }
    })
}

/// Sends one account's transfers to one node for ever. The node tells the next nonce, so that no gap keeps later ones
/// waiting; each transfer has an amount of its own, so that a node which forgot one is not given the same one again.
async fn send(
    node: usize,
    client: RpcClient,
    account: EvmAccount,
    to: Address,
    period: Duration,
    noted: tokio::sync::mpsc::Sender<(usize, Acknowledged)>,
) {
    let mut every = tokio::time::interval(period);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for amount in 1u64.. {
        every.tick().await;
        let call = Call { to, value: U256::from(amount), input: Bytes::new() };
        match account.submit(&client, call).await {
            Ok(transfer) => {
                if noted.send((node, transfer)).await.is_err() {
                    return;
                }
            }
            Err(AccountError::Rpc(RpcClientError::BadUrl { url })) => {
                tracing::error!(url, "no node can be there");
                return;
            }
            Err(error) => {
                tracing::debug!(node, %error, "not acknowledged");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// The file of acknowledgements.
struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    fn open(path: &std::path::Path) -> Result<Self, Failure> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(|error| Failure::work(error).help(format!("while opening {}", path.display())))?;
        Ok(Self { file, path: path.to_path_buf() })
    }

    fn note(&mut self, node: usize, transfer: &Acknowledged) -> Outcome {
        let line = json!({ "hash": transfer.hash, "node": node, "nonce": transfer.nonce });
        writeln!(self.file, "{line}")
            .map_err(|error| Failure::work(error).help(format!("while writing {}", self.path.display())))
    }
}
