//! Which EVM stands behind the execution actor: the embedded one, or an external client driven over the Engine API.
//!
//! Both serve `eth_*` on the node's own port. With an external client the node keeps neither EVM state nor a transaction
//! pool: calls and transactions are handed through ([`forward`]), and what the client lacks of the chain comes from the
//! node's own blocks ([`history`]).

mod client;
mod embedded;
pub mod forward;
pub mod history;
mod transactions;

pub use client::ClientSetupError;
pub(crate) use client::open_client;
pub(crate) use embedded::{EmbeddedFiles, start_embedded};
pub use transactions::{ClientTransactions, Transactions};

use crate::actors::execution::ExecutionMessage;
use alys_actor::Addr;
use alys_engine::{BRIDGE_ADDRESS, EngineClient, REQUEST_PEG_OUT};
use alys_evm::EvmReader;
use alys_evm::pool::PoolHandle;
use alys_primitives::B256;
use jsonrpsee::server::Methods;
use serde_json::{Value, json};
use tokio::sync::watch;

/// Why the last request to the engine had no answer; `None` if it had one.
pub type EngineFailure = Option<String>;

/// What the rest of the node needs of the EVM.
pub(crate) struct ExecutionParts {
    pub(crate) actor: Addr<ExecutionMessage>,
    pub(crate) failure: watch::Receiver<EngineFailure>,
    /// `eth_*` and its kin.
    pub(crate) methods: Methods,
    pub(crate) transactions: Transactions,
    pub(crate) evm: Evm,
}

/// The EVM's readers.
#[derive(Clone, Debug)]
pub enum Evm {
    /// The one inside the node.
    Embedded {
        /// Blocks and state.
        reader: EvmReader,
        /// The transaction pool.
        pool: PoolHandle,
    },
    /// A client beside the node.
    Client(EngineClient),
}

/// Why an external client's answer can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// The embedded EVM's database.
    #[error("the EVM's database: {0}")]
    Read(#[from] alys_evm::ReadError),
    /// The client gave no result.
    #[error(transparent)]
    Forward(#[from] alys_engine::ForwardError),
    /// The client's receipt lacks a field.
    #[error("the execution client's receipt has no usable `{0}`")]
    Field(&'static str),
    /// The thread that read has died.
    #[error("the lookup was lost")]
    Lost,
}

/// Where a transaction was mined and what the bridge contract logged in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MinedBurns {
    /// The block's number, which is the height.
    pub number: u64,
    /// Indexes of the burns' logs in the block.
    pub logs: Vec<u64>,
}

impl Evm {
    /// The burns of a mined transaction; `None` if it is in no block.
    ///
    /// # Errors
    /// [`LookupError`].
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn burns_of(&self, transaction: B256) -> Result<Option<MinedBurns>, LookupError> {
        match self {
            Self::Embedded { reader, .. } => {
                let reader = reader.clone();
                let read = move || -> Result<Option<MinedBurns>, LookupError> {
                    let Some(mined) = reader.receipt(transaction)? else { return Ok(None) };
                    let logs = (mined.first_log_index..).zip(mined.receipt.logs());
                    let burns = logs.filter(|(_, log)| {
                        log.address == BRIDGE_ADDRESS && log.data.topics().first() == Some(&REQUEST_PEG_OUT)
                    });
                    let logs = burns.map(|(index, _)| index).collect();
                    Ok(Some(MinedBurns { number: mined.transaction.block.number, logs }))
                };
                tokio::task::spawn_blocking(read).await.map_err(|_| LookupError::Lost)?
            }
            Self::Client(client) => {
                let receipt = client.forward("eth_getTransactionReceipt", json!([transaction])).await?;
                if receipt.is_null() { Ok(None) } else { burns_of_receipt(&receipt).map(Some) }
            }
        }
    }
}

fn burns_of_receipt(receipt: &Value) -> Result<MinedBurns, LookupError> {
    let number = quantity(&receipt["blockNumber"]).ok_or(LookupError::Field("blockNumber"))?;
    let logs = receipt["logs"].as_array().ok_or(LookupError::Field("logs"))?;
    let is = |value: &Value, text: String| value.as_str().is_some_and(|found| found.eq_ignore_ascii_case(&text));
    let mut found = Vec::new();
    for log in logs {
        if is(&log["address"], BRIDGE_ADDRESS.to_string()) && is(&log["topics"][0], REQUEST_PEG_OUT.to_string()) {
            found.push(quantity(&log["logIndex"]).ok_or(LookupError::Field("logIndex"))?);
        }
    }
    Ok(MinedBurns { number, logs: found })
}

fn quantity(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_bridges_own_event_is_a_burn_and_half_receipts_are_errors() {
        let log = |address: String, topic: String, index: &str| json!({ "address": address, "topics": [topic], "logIndex": index });
        let bridge = BRIDGE_ADDRESS.to_string().to_lowercase();
        let receipt = json!({ "blockNumber": "0x10", "logs": [
            log("0x00000000000000000000000000000000000000aa".to_owned(), REQUEST_PEG_OUT.to_string(), "0x1"),
            log(bridge.clone(), REQUEST_PEG_OUT.to_string(), "0x2"),
            log(bridge.clone(), B256::ZERO.to_string(), "0x3"),
        ] });
        assert_eq!(burns_of_receipt(&receipt).unwrap(), MinedBurns { number: 16, logs: vec![2] });
        for broken in [
            json!({}),
            json!([]),
            json!({ "blockNumber": 5, "logs": [] }),
            json!({ "blockNumber": "0x10" }),
            json!({ "blockNumber": "0x10", "logs": [log(bridge, REQUEST_PEG_OUT.to_string(), "two")] }),
        ] {
            assert!(burns_of_receipt(&broken).is_err(), "{broken}");
        }
    }
}
