//! The node's blocks as the payloads that an external client may lack.

use alys_engine::{EngineError, HistoryFuture, NewPayload, PayloadHistory};
use alys_primitives::{B256, Height, SignedBlock};
use alys_store::{Reader, StoreError};

/// Heights that are searched, downwards from the newest, for a block whose number nobody told.
const SEARCH: u64 = 256;

/// Heights above the head at which stored blocks may wait for their certificates.
const ABOVE_HEAD: u64 = 8;

/// The chain's database as a history of payloads. EVM blocks are numbered as the Alys blocks that carry them.
#[derive(Clone, Debug)]
pub struct StoredPayloads {
    store: Reader,
}

impl StoredPayloads {
    /// The payloads of the blocks in `store`.
    pub const fn new(store: Reader) -> Self {
        Self { store }
    }

    fn find(&self, block_hash: B256, number: Option<u64>) -> Result<Option<NewPayload>, StoreError> {
        let (oldest, newest) = match number {
            Some(number) => (number, number),
            None => {
                let Some(pointers) = self.store.pointers()? else { return Ok(None) };
                let Some(head) = self.store.block(pointers.head)? else { return Ok(None) };
                let newest = head.block.header.height.0.saturating_add(ABOVE_HEAD);
                (newest.saturating_sub(SEARCH), newest)
            }
        };
        for height in (oldest..=newest).rev() {
            for root in self.store.roots_at(Height(height))? {
                let Some(found) = self.store.block(root)? else { continue };
                if found.block.header.execution_block_hash == block_hash {
                    return Ok(Some(payload_of(found.block)));
                }
            }
        }
        Ok(None)
    }
}

/// What the engine needs of a block.
pub(crate) fn payload_of(block: SignedBlock) -> NewPayload {
    NewPayload {
        parent_beacon_block_root: block.header.parent_root,
        execution_requests: block.body.execution_requests,
        payload: block.payload,
    }
}

impl PayloadHistory for StoredPayloads {
    fn payload(&self, block_hash: B256, number: Option<u64>) -> HistoryFuture<'_> {
        let history = self.clone();
        Box::pin(async move {
            let unavailable = |reason: String| EngineError::Unavailable { reason };
            let found = tokio::task::spawn_blocking(move || history.find(block_hash, number)).await;
            found
                .map_err(|_| unavailable("the lookup was lost".to_owned()))?
                .map_err(|error| unavailable(format!("the chain's database: {error}")))
        })
    }
}
