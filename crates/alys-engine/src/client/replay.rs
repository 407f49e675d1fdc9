//! Bringing an engine up to a block from stored payloads.

use super::EngineClient;
use crate::{EngineError, ForkchoiceState, NewPayload, PayloadStatus};
use alloy_primitives::B256;
use serde_json::json;
use std::future::Future;
use std::pin::Pin;

/// What [`PayloadHistory`] returns.
pub type HistoryFuture<'a> = Pin<Box<dyn Future<Output = Result<Option<NewPayload>, EngineError>> + Send + 'a>>;

/// The node's own store of payloads, for engines that are behind: newly set up, restored from a copy, or killed before
/// they wrote what they had answered for.
pub trait PayloadHistory: Send + Sync + 'static {
    /// The payload of an EVM block, with what its hash covers besides it; `None` if it is not stored. `number` is the
    /// block's number where that is known; else it is one of the newest blocks.
    fn payload(&self, block_hash: B256, number: Option<u64>) -> HistoryFuture<'_>;
}

/// Payloads after which the head follows: engines keep only so many blocks beyond it in memory.
const HEAD_EVERY: usize = 32;

impl EngineClient {
    /// Gives the engine what it lacks of the chain up to and including `target`, oldest first. `false` if the history
    /// does not reach back to a block that the engine knows, or is too long; then the engine must sync by itself.
    pub(super) async fn replay(&self, target: B256, target_number: Option<u64>) -> Result<bool, EngineError> {
        let Some(history) = &self.inner.history else { return Ok(false) };
        let mut missing = Vec::new();
        let (mut hash, mut number) = (target, target_number);
        loop {
            if self.knows(hash).await? {
                break;
            }
            if missing.len() >= self.inner.max_replay {
                return Ok(false);
            }
            let Some(stored) = history.payload(hash, number).await? else { return Ok(false) };
            missing.push((hash, stored.payload.block_number));
            hash = stored.payload.parent_hash;
            number = stored.payload.block_number.checked_sub(1);
        }
        if missing.is_empty() {
            return Ok(true);
        }
        tracing::info!(blocks = missing.len(), from = %hash, to = %target, "replaying stored payloads to the engine");
        for (index, (hash, number)) in missing.into_iter().rev().enumerate() {
            let Some(stored) = history.payload(hash, Some(number)).await? else { return Ok(false) };
            let mut status = self.submit(&stored).await?;
            // Engines may put off executing what is not on the way to their head.
            if status != PayloadStatus::Valid || hash == target || index % HEAD_EVERY == HEAD_EVERY - 1 {
                let state = ForkchoiceState { head: hash, safe: B256::ZERO, finalized: B256::ZERO };
                if !matches!(status, PayloadStatus::Invalid { .. }) {
                    status = self.choose(state, None).await?.status;
                }
            }
            match status {
                PayloadStatus::Valid => {}
                PayloadStatus::Invalid { reason, .. } => {
                    return Err(EngineError::Broken {
                        reason: format!("stored block {hash} was valid and is now called invalid: {reason}"),
                    });
                }
                PayloadStatus::Syncing | PayloadStatus::Accepted => return Ok(false),
            }
        }
        Ok(true)
    }

    async fn knows(&self, hash: B256) -> Result<bool, EngineError> {
        let stub: Option<super::endpoint::BlockStub> = self.eth("eth_getBlockByHash", json!([hash, false])).await?;
        Ok(stub.is_some_and(|stub| stub.hash == hash))
    }
}
