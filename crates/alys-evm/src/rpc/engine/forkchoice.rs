//! `engine_forkchoiceUpdated`.

use super::EngineApi;
use super::error::ApiError;
use crate::rpc::args::Args;
use alloy_primitives::FixedBytes;
use alys_engine::wire::{Forkchoice, ForkchoiceResult, PayloadAttributes, Status};
use alys_engine::{ExecutionEngine as _, Fork, PayloadStatus};
use serde_json::Value;

/// The most withdrawals of a block, as the port bounds them.
const MAX_WITHDRAWALS: usize = 256;

pub(super) async fn updated(api: &EngineApi, args: Args, version: u8) -> Result<ForkchoiceResult, ApiError> {
    let args = args.at_most(2)?;
    let state: Forkchoice = args.required(0, "forkchoiceState")?;
    let attributes = match args.optional::<Value>(1, "payloadAttributes")? {
        None => Ok(None),
        Some(value) => parse(api, value, version).map(Some),
    };
    // Wrong parameters of the first versions are refused at once. From the third on, and for attributes that are only
    // out of their time, the head moves first and stays moved (execution-apis, `cancun.md`).
    if let Err(error @ ApiError::Params(_)) = attributes {
        return Err(error);
    }
    let (attributes, refused) = match attributes {
        Ok(attributes) => (attributes.map(PayloadAttributes::into_port), None),
        Err(error) => (None, Some(error)),
    };
    let outcome = api.engine.forkchoice_updated(state.into(), attributes).await?;
    match refused {
        Some(error) if outcome.status == PayloadStatus::Valid => Err(error),
        Some(_) | None => Ok(ForkchoiceResult {
            payload_status: Status::from_port(outcome.status, state.head_block_hash),
            payload_id: outcome.payload_id.map(|id| FixedBytes(id.0)),
        }),
    }
}

/// Attributes with the fields that the version and the time's fork have.
fn parse(api: &EngineApi, value: Value, version: u8) -> Result<PayloadAttributes, ApiError> {
    let malformed = |text: String| if version >= 3 { ApiError::Attributes(text) } else { ApiError::Params(text) };
    let attributes: PayloadAttributes = serde_json::from_value(value).map_err(|error| malformed(error.to_string()))?;
    let fork = api.fork(attributes.timestamp.to());
    let unsupported = || {
        let time = attributes.timestamp;
        ApiError::UnsupportedFork(format!("timestamp {time} is of {fork:?}, which version {version} is not for"))
    };
    let withdrawals = attributes.withdrawals.as_ref().map(Vec::len);
    if withdrawals.is_some_and(|count| count > MAX_WITHDRAWALS) {
        return Err(malformed(format!("more than {MAX_WITHDRAWALS} withdrawals")));
    }
    let presence = |field: &str, present: bool, expected: bool| match (present, expected) {
        (true, false) => Err(malformed(format!("`{field}` is there, but {fork:?} does not have it"))),
        (false, true) => Err(malformed(format!("`{field}` is missing"))),
        (true, true) | (false, false) => Ok(()),
    };
    let root = attributes.parent_beacon_block_root.is_some();
    match version {
        1 | 2 => {
            presence("parentBeaconBlockRoot", root, false)?;
            if fork >= Fork::Cancun || (version == 1 && fork >= Fork::Shanghai) {
                return Err(unsupported());
            }
            presence("withdrawals", withdrawals.is_some(), fork >= Fork::Shanghai)?;
        }
        _ => {
            presence("withdrawals", withdrawals.is_some(), true)?;
            presence("parentBeaconBlockRoot", root, true)?;
            if fork < Fork::Cancun {
                return Err(unsupported());
            }
        }
    }
    Ok(attributes)
}
