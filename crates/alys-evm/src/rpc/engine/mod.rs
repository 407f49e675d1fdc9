//! The Engine API's server side (execution-apis, `src/engine`): what consensus clients drive an execution client with.
//!
//! Absent on purpose: blobs. The pool takes none, so no blob is ever at hand, and bundles are empty.

mod bodies;
mod error;
mod forkchoice;
mod identity;
mod payload;
mod server;
mod testing;

pub(crate) use payload::CheckedPayload;
pub use server::{EngineServer, EngineServerConfig, EngineServerError};

use super::args::Args;
use crate::{EmbeddedEngine, EvmReader};
use alys_engine::{Fork, ForkTimes};
use error::ApiError;
use jsonrpsee::RpcModule;
use jsonrpsee::core::RegisterMethodError;
use std::sync::Arc;

/// What the methods answer from.
#[derive(Clone, Debug)]
pub struct EngineApi {
    engine: EmbeddedEngine,
    reader: EvmReader,
    forks: ForkTimes,
}

impl EngineApi {
    /// The Engine API over an executor and its reader.
    pub fn new(engine: EmbeddedEngine, reader: EvmReader) -> Self {
        let forks = reader.forks().times();
        Self { engine, reader, forks }
    }

    fn fork(&self, timestamp: u64) -> Fork {
        self.forks.at(timestamp)
    }
}

/// What `engine_newPayload` of a version makes of its parameters, before anything is executed.
pub(crate) fn parse_new_payload(
    forks: &ForkTimes,
    params: Vec<serde_json::Value>,
    version: u8,
) -> Result<CheckedPayload, jsonrpsee::types::ErrorObjectOwned> {
    payload::parse(forks, Args::new(params), version).map_err(Into::into)
}

/// `testing_buildBlockV1` over `api`: for suites that drive an execution client which stands alone.
///
/// # Errors
/// A method is registered twice, which is a bug.
pub fn testing_module(api: EngineApi) -> Result<RpcModule<EngineApi>, RegisterMethodError> {
    let mut module = RpcModule::new(api);
    module.register_async_method("testing_buildBlockV1", |params, api: Arc<EngineApi>, _| async move {
        testing::build_block(&api, Args::parse(&params)?).await
    })?;
    Ok(module)
}

/// Registers methods and remembers their names.
macro_rules! methods {
    ($module:ident, $names:ident: $($name:literal => $method:expr,)*) => {
        $({
            $names.push($name);
            $module.register_async_method($name, |params, api: Arc<EngineApi>, _| async move {
                let args = Args::parse(&params)?;
                ($method)(&api, args).await
            })?;
        })*
    };
}

/// All `engine_` methods over `api`. Merge `eth_module` into it: consensus clients call some of those on the same port.
///
/// # Errors
/// A method is registered twice, which is a bug.
pub fn engine_module(api: EngineApi) -> Result<RpcModule<EngineApi>, RegisterMethodError> {
    let mut module = RpcModule::new(api);
    let mut names = Vec::new();
    methods! { module, names:
        "engine_newPayloadV1" => async |api, args| payload::new_payload(api, args, 1).await,
        "engine_newPayloadV2" => async |api, args| payload::new_payload(api, args, 2).await,
        "engine_newPayloadV3" => async |api, args| payload::new_payload(api, args, 3).await,
        "engine_newPayloadV4" => async |api, args| payload::new_payload(api, args, 4).await,
        "engine_forkchoiceUpdatedV1" => async |api, args| forkchoice::updated(api, args, 1).await,
        "engine_forkchoiceUpdatedV2" => async |api, args| forkchoice::updated(api, args, 2).await,
        "engine_forkchoiceUpdatedV3" => async |api, args| forkchoice::updated(api, args, 3).await,
        "engine_getPayloadV1" => async |api, args| payload::get_payload(api, args, 1).await,
        "engine_getPayloadV2" => async |api, args| payload::get_payload(api, args, 2).await,
        "engine_getPayloadV3" => async |api, args| payload::get_payload(api, args, 3).await,
        "engine_getPayloadV4" => async |api, args| payload::get_payload(api, args, 4).await,
        "engine_getPayloadV5" => async |api, args| payload::get_payload(api, args, 5).await,
        "engine_getPayloadBodiesByHashV1" => bodies::by_hash,
        "engine_getPayloadBodiesByRangeV1" => bodies::by_range,
        "engine_getBlobsV1" => async |api, args| payload::get_blobs(api, args, 1).await,
        "engine_getBlobsV2" => async |api, args| payload::get_blobs(api, args, 2).await,
        "engine_getClientVersionV1" => identity::client_version,
        "engine_getBlobsV3" => async |api, args| payload::get_blobs(api, args, 3).await,
    }
    module.register_async_method("engine_exchangeCapabilities", move |params, _, _| {
        let names = names.clone();
        async move {
            let args = Args::parse(&params)?.at_most(1)?;
            let _theirs: Vec<String> = args.required(0, "capabilities")?;
            Ok::<_, ApiError>(names)
        }
    })?;
    Ok(module)
}
