//! `alys-node mine`.

use super::failure::{Failure, Outcome};
use super::run::{runtime, start_logging};
use crate::config::LogFormat;
use crate::miner::{Miner, MinerError, Round, anyone_can_spend};
use crate::rpc_client::{RpcClient, RpcClientError};
use alys_bitcoin::{Regtest, RegtestHandle, RegtestLimits, embedded};
use alys_primitives::Address;
use clap::Args;
use std::num::NonZeroUsize;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How long a node may take for a call.
const RPC_DEADLINE: Duration = Duration::from_secs(10);

/// Requests that wait for the miner's Bitcoin.
const BITCOIN_INBOX: usize = 16;

#[derive(Args)]
pub(super) struct MineArguments {
    /// JSON-RPC of the nodes; each round asks the next one that answers.
    #[arg(long, required = true, value_delimiter = ',')]
    rpc: Vec<String>,
    /// EVM address that is paid.
    #[arg(long)]
    payout: Address,
    /// Seconds between two rounds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    period: u64,
    /// Log filter.
    #[arg(long, default_value = "info")]
    log: String,
}

pub(super) fn mine(arguments: MineArguments) -> Outcome {
    start_logging(&arguments.log, LogFormat::Text)?;
    runtime()?.block_on(async move {
        // Its blocks live in memory: nothing but the work in their headers is ever used.
        let clock = || u32::try_from(crate::clock::wall_now().0 / 1000).unwrap_or(u32::MAX);
        let inbox = NonZeroUsize::new(BITCOIN_INBOX).unwrap_or(NonZeroUsize::MIN);
        let (bitcoin, chain) = embedded(Regtest::new(RegtestLimits::default()), None, inbox, clock);
        let miners = arguments
            .rpc
            .iter()
            .map(|url| {
                let client = RpcClient::new(url, RPC_DEADLINE).map_err(Failure::usage)?;
                Ok(Miner::new(client, bitcoin.clone(), arguments.payout, anyone_can_spend()))
            })
            .collect::<Result<Vec<_>, Failure>>()?;
        let mut terminate = signal(SignalKind::terminate()).map_err(Failure::work)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::work)?;
        tokio::select! {
            biased;
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
            ended = chain => ended.map_err(Failure::work),
            () = rounds(miners, Duration::from_secs(arguments.period)) => Ok(()),
        }
    })
}

/// Mines for ever, each time with the next node that answers.
async fn rounds(mut miners: Vec<Miner<RegtestHandle>>, period: Duration) {
    let mut every = tokio::time::interval(period);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let mut tried = 0;
        for miner in &mut miners {
            tried += 1;
            match miner.round().await {
                Ok(Round::Mined { hash }) => {
                    tracing::info!(hash, "bundle mined");
                    break;
                }
                Ok(Round::NothingNew) => break,
                // No work to be had there now.
                Err(MinerError::Rpc(RpcClientError::Refused { code: -1, .. })) => break,
                Err(error) => {
                    let source = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(%error, source, "a node was of no use");
                }
            }
        }
        let count = miners.len().max(1);
        miners.rotate_left(tried % count);
    }
}
