//! The dev chain's miner as an actor: a round every few seconds, and a Bitcoin block when there is no work.

use super::gateway::Listening;
use super::tick::Tick;
use crate::miner::{Miner, MinerError, Round, anyone_can_spend};
use crate::rpc_client::{RpcClient, RpcClientError};
use alys_actor::{Actor, Context};
use alys_bitcoin::BitcoinPort;
use alys_primitives::Address;
use std::time::Duration;
use tokio::sync::watch;

/// How long a call to the node may take.
const RPC_DEADLINE: Duration = Duration::from_secs(30);

/// How long after the start the first round comes; the gateway listens by then.
const FIRST_ROUND: Duration = Duration::from_millis(500);

/// Mines through the node's own JSON-RPC.
pub struct MinerActor<B> {
    bitcoin: B,
    payout: Address,
    period: Duration,
    listening: watch::Receiver<Option<Listening>>,
    miner: Option<Miner<B>>,
}

impl<B: BitcoinPort + Clone> MinerActor<B> {
    /// A miner that waits for the gateway, then mines every `period`.
    pub fn new(bitcoin: B, payout: Address, period: Duration, listening: watch::Receiver<Option<Listening>>) -> Self {
        Self { bitcoin, payout, period, listening, miner: None }
    }

    async fn round(&mut self) -> Result<(), MinerError> {
        let miner = match &mut self.miner {
            Some(miner) => miner,
            None => {
                let Some(listening) = *self.listening.borrow() else { return Ok(()) };
                let rpc = RpcClient::new(&format!("http://{}", listening.rpc), RPC_DEADLINE)?;
                self.miner.insert(Miner::new(rpc, self.bitcoin.clone(), self.payout, anyone_can_spend()))
            }
        };
        match miner.round().await {
            Ok(Round::Mined { hash }) => {
                tracing::debug!(hash, "bundle mined");
                Ok(())
            }
            Ok(Round::NothingNew) => miner.bitcoin_block().await,
            // Merged mining has no work before the first block.
            Err(MinerError::Rpc(RpcClientError::Refused { code: -1, .. })) => miner.bitcoin_block().await,
            Err(error) => Err(error),
        }
    }
}

impl<B: BitcoinPort + Clone> Actor for MinerActor<B> {
    type Message = Tick;
    type Error = MinerError;

    async fn started(&mut self, ctx: &mut Context<Tick>) -> Result<(), MinerError> {
        // A chain that stopped for want of work goes on soon after a restart.
        ctx.after(FIRST_ROUND, Tick::Due);
        ctx.every(self.period, || Tick::Due);
        Ok(())
    }

    async fn handle(&mut self, message: Tick, _: &mut Context<Tick>) -> Result<(), MinerError> {
        match message {
            Tick::Due => {
                if let Err(error) = self.round().await {
                    let source = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(%error, source, "mining round failed");
                }
            }
        }
        Ok(())
    }
}
