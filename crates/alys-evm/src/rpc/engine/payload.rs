//! `engine_newPayload`, `engine_getPayload` and `engine_getBlobs`.

use super::EngineApi;
use super::error::ApiError;
use crate::Tx;
use crate::rpc::args::Args;
use alloy_consensus::Transaction as _;
use alloy_eips::Decodable2718 as _;
use alloy_primitives::{B256, Bytes, FixedBytes};
use alys_engine::wire::{
    BlobsBundle, Envelope, Payload, PayloadVersion, Status, WireError, requests_from_port, requests_into_port,
};
use alys_engine::{BuiltPayload, ExecutionEngine as _, Fork, ForkTimes, NewPayload, PayloadId, PayloadStatus};
use alys_primitives::{ExecutionPayload, ExecutionRequests};
use serde_json::Value;

/// EIP-2718 type of blob transactions.
const BLOB_TYPE: u8 = 3;

/// The most blobs of one `engine_getBlobs` (execution-apis, `cancun.md`).
const MAX_BLOBS: usize = 128;

/// A payload that fits its method, or what is already known of it.
#[derive(Clone, Debug)]
pub(crate) enum CheckedPayload {
    /// To be executed.
    Payload(Box<NewPayload>),
    /// Its blobs are not the expected ones.
    Verdict(PayloadStatus),
}

pub(super) async fn new_payload(api: &EngineApi, args: Args, version: u8) -> Result<Status, ApiError> {
    let hash = args.required::<Value>(0, "executionPayload")?.get("blockHash").cloned();
    let hash = hash.and_then(|hash| serde_json::from_value(hash).ok()).unwrap_or_default();
    let status = match parse(&api.forks, args, version)? {
        CheckedPayload::Payload(new) => api.engine.new_payload(*new).await?,
        CheckedPayload::Verdict(status) => status,
    };
    Ok(Status::from_port(status, hash))
}

/// The payload in the parameters of `engine_newPayload` of a version.
pub(super) fn parse(forks: &ForkTimes, args: Args, version: u8) -> Result<CheckedPayload, ApiError> {
    let args = args.at_most(match version {
        1 | 2 => 1,
        3 => 3,
        _ => 4,
    })?;
    let payload: Payload = args.required(0, "executionPayload")?;
    let fork = forks.at(payload.timestamp.to());
    let mut blobs: Option<Vec<B256>> = None;
    let mut root = B256::ZERO;
    let mut requests = ExecutionRequests::default();
    if version >= 3 {
        blobs = Some(args.required(1, "expectedBlobVersionedHashes")?);
        root = args.required(2, "parentBeaconBlockRoot")?;
    }
    if version >= 4 {
        requests = parse_requests(args.required(3, "executionRequests")?)?;
    }
    let structure = if version >= 3 { PayloadVersion::V3 } else { PayloadVersion::of(fork).min(PayloadVersion::V2) };
    let payload = payload.into_port(structure);
    let fits = match version {
        1 => fork == Fork::Paris,
        2 => fork <= Fork::Shanghai,
        3 => fork == Fork::Cancun,
        _ => fork >= Fork::Prague,
    };
    // What is missing is told before what the version is for. That no block has so long extra data is a verdict, as geth
    // gives it.
    let payload = match payload {
        Ok(payload) => Ok(payload),
        Err(error @ WireError::TooLong { field: "extraData" }) => Err(error),
        Err(error) => return Err(ApiError::Params(error.to_string())),
    };
    if !fits {
        return Err(unsupported(fork, version));
    }
    let payload = match payload {
        Ok(payload) => payload,
        Err(error) => return Ok(CheckedPayload::Verdict(invalid(error.to_string()))),
    };
    if let Some(expected) = blobs {
        match blob_hashes(&payload) {
            Ok(found) if found == expected => {}
            Ok(found) => {
                let reason = format!("blob versioned hashes are {found:?}, expected {expected:?}");
                return Ok(CheckedPayload::Verdict(invalid(reason)));
            }
            Err(reason) => return Ok(CheckedPayload::Verdict(invalid(reason))),
        }
    }
    let new = NewPayload { payload, parent_beacon_block_root: root, execution_requests: requests };
    Ok(CheckedPayload::Payload(Box::new(new)))
}

fn invalid(reason: String) -> PayloadStatus {
    PayloadStatus::Invalid { latest_valid_hash: None, reason }
}

fn unsupported(fork: Fork, version: u8) -> ApiError {
    ApiError::UnsupportedFork(format!("the payload is of {fork:?}, which version {version} is not for"))
}

/// Requests whose types rise and of which none is empty (execution-apis, `prague.md`).
fn parse_requests(requests: Vec<Bytes>) -> Result<ExecutionRequests, ApiError> {
    let rising = requests.windows(2).all(|pair| match pair {
        [first, second] => first.first() < second.first(),
        _ => true,
    });
    if !rising || requests.iter().any(|request| request.len() < 2) {
        return Err(ApiError::Params("executionRequests: types must rise and no request may be empty".to_owned()));
    }
    requests_into_port(requests).map_err(|error| ApiError::Params(error.to_string()))
}

/// The blobs that a payload's transactions name.
fn blob_hashes(payload: &ExecutionPayload) -> Result<Vec<B256>, String> {
    let mut hashes = Vec::new();
    for (index, bytes) in payload.transactions.iter().enumerate() {
        if bytes.first() == Some(&BLOB_TYPE) {
            let transaction = Tx::decode_2718_exact(bytes).map_err(|error| format!("transaction {index}: {error}"))?;
            hashes.extend_from_slice(transaction.blob_versioned_hashes().unwrap_or_default());
        }
    }
    Ok(hashes)
}

pub(super) async fn get_payload(api: &EngineApi, args: Args, version: u8) -> Result<Value, ApiError> {
    let FixedBytes(id) = args.at_most(1)?.required(0, "payloadId")?;
    let built = api.engine.get_payload(PayloadId(id)).await?;
    let fork = api.fork(built.payload.timestamp);
    let fits = match version {
        1 => fork == Fork::Paris,
        2 => fork <= Fork::Shanghai,
        3 => fork == Fork::Cancun,
        4 => fork == Fork::Prague,
        _ => fork >= Fork::Osaka,
    };
    if !fits {
        return Err(unsupported(fork, version));
    }
    if version == 1 {
        let payload = Payload::from_port(&built.payload, PayloadVersion::of(fork));
        return serde_json::to_value(payload).map_err(|error| ApiError::Server(error.to_string()));
    }
    envelope(fork, &built)
}

/// A built payload with what stands beside it from the second version on.
pub(super) fn envelope(fork: Fork, built: &BuiltPayload) -> Result<Value, ApiError> {
    let answer = Envelope {
        execution_payload: Payload::from_port(&built.payload, PayloadVersion::of(fork)),
        block_value: built.block_value,
        blobs_bundle: (fork >= Fork::Cancun).then(BlobsBundle::default),
        should_override_builder: (fork >= Fork::Cancun).then_some(false),
        execution_requests: (fork >= Fork::Prague).then(|| requests_from_port(&built.execution_requests)),
    };
    serde_json::to_value(answer).map_err(|error| ApiError::Server(error.to_string()))
}

/// No blob is ever at hand.
pub(super) async fn get_blobs(api: &EngineApi, args: Args, version: u8) -> Result<Value, ApiError> {
    let hashes: Vec<B256> = args.at_most(1)?.required(0, "versionedHashes")?;
    if hashes.len() > MAX_BLOBS {
        return Err(ApiError::TooLarge(format!("{} blobs, at most {MAX_BLOBS}", hashes.len())));
    }
    let fork = api.fork(api.reader.heads().latest.timestamp);
    match version {
        1 if fork >= Fork::Osaka => Err(unsupported(fork, version)),
        2 | 3 if fork < Fork::Osaka => Err(unsupported(fork, version)),
        2 => Ok(Value::Null),
        _ => Ok(Value::Array(vec![Value::Null; hashes.len()])),
    }
}
