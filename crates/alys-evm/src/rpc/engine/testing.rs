//! `testing_buildBlockV1` (execution-apis, `src/testing`): a block of given transactions, which is not kept.

use super::EngineApi;
use super::error::ApiError;
use super::payload::envelope;
use crate::rpc::args::Args;
use crate::rpc::error::RpcError;
use crate::{SampleBlock, Tx};
use alloy_consensus::transaction::SignerRecoverable as _;
use alloy_eips::Decodable2718 as _;
use alloy_primitives::{B256, Bytes};
use alys_engine::EngineError;
use alys_engine::wire::PayloadAttributes;
use serde_json::Value;
use std::sync::Arc;

/// The most transactions of one block; more can't fit into its gas.
const MAX_TRANSACTIONS: usize = 10_000;

/// The most bytes of `extraData`.
const MAX_EXTRA_DATA: usize = 32;

pub(super) async fn build_block(api: &EngineApi, args: Args) -> Result<Value, ApiError> {
    let args = args.at_most(4)?;
    let parent: B256 = args.required(0, "parentBlockHash")?;
    let attributes: PayloadAttributes = args.required(1, "payloadAttributes")?;
    let raw: Option<Vec<Bytes>> = args.optional(2, "transactions")?;
    let extra_data: Option<Bytes> = args.optional(3, "extraData")?;
    if extra_data.as_ref().is_some_and(|data| data.len() > MAX_EXTRA_DATA) {
        return Err(RpcError::Params(format!("extraData: more than {MAX_EXTRA_DATA} bytes")).into());
    }
    if raw.as_ref().is_some_and(|raw| raw.len() > MAX_TRANSACTIONS) {
        return Err(RpcError::Params(format!("transactions: more than {MAX_TRANSACTIONS}")).into());
    }
    let transactions = raw.map(|raw| raw.iter().enumerate().map(decode).collect::<Result<Vec<_>, _>>()).transpose()?;
    let sample = SampleBlock { parent, attributes: attributes.into_port(), transactions, extra_data };
    match api.engine.build_sample(sample).await {
        Ok(built) => envelope(api.fork(built.payload.timestamp), &built),
        Err(EngineError::Refused { reason }) => Err(RpcError::Failed(reason).into()),
        Err(error @ EngineError::UnknownBlock { .. }) => Err(RpcError::Failed(error.to_string()).into()),
        Err(error) => Err(error.into()),
    }
}

type Sent = Arc<alloy_consensus::transaction::Recovered<Tx>>;

fn decode((index, bytes): (usize, &Bytes)) -> Result<Sent, ApiError> {
    let bad = |reason: String| RpcError::Params(format!("transaction {index}: {reason}"));
    let transaction = Tx::decode_2718_exact(bytes).map_err(|error| bad(error.to_string()))?;
    Ok(Arc::new(transaction.try_into_recovered().map_err(|error| bad(error.to_string()))?))
}
