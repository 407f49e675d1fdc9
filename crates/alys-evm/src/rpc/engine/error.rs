//! Errors as the Engine API numbers them (execution-apis, `src/engine/common.md`).

use crate::ReadError;
use crate::rpc::error::RpcError;
use alys_engine::EngineError;
use jsonrpsee::types::ErrorObjectOwned;
use serde_json::{Value, json};

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// The parameters are not those of the method's version.
    #[error("Invalid params")]
    Params(String),
    /// The payload is not being built, or no more.
    #[error("Unknown payload")]
    UnknownPayload,
    /// The heads are not on one chain, or leave what is final.
    #[error("Invalid forkchoice state")]
    Forkchoice(String),
    /// The attributes can't follow the head.
    #[error("Invalid payload attributes")]
    Attributes(String),
    /// More was asked for than is given.
    #[error("Too large request")]
    TooLarge(String),
    /// The method's version is not for the payload's fork.
    #[error("Unsupported fork")]
    UnsupportedFork(String),
    /// The node's own failure, which says nothing about a payload.
    #[error("Server error")]
    Server(String),
    /// An argument is not what the method takes.
    #[error(transparent)]
    Argument(#[from] RpcError),
}

impl From<ApiError> for ErrorObjectOwned {
    fn from(error: ApiError) -> Self {
        let message = error.to_string();
        let (code, detail) = match error {
            ApiError::Params(detail) => (-32602, detail),
            ApiError::UnknownPayload => return Self::owned(-38001, message, None::<Value>),
            ApiError::Forkchoice(detail) => (-38002, detail),
            ApiError::Attributes(detail) => (-38003, detail),
            ApiError::TooLarge(detail) => (-38004, detail),
            ApiError::UnsupportedFork(detail) => (-38005, detail),
            ApiError::Server(detail) => {
                tracing::error!(error = detail, "Engine API call failed");
                (-32000, detail)
            }
            ApiError::Argument(error) => return error.into(),
        };
        Self::owned(code, message, Some(json!({ "err": detail })))
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        let text = error.to_string();
        match error {
            EngineError::UnknownPayload { .. } => Self::UnknownPayload,
            EngineError::Refused { reason } => Self::Forkchoice(reason),
            EngineError::InvalidAttributes { reason } => Self::Attributes(reason),
            EngineError::Unavailable { .. }
            | EngineError::UnknownBlock { .. }
            | EngineError::Mismatch { .. }
            | EngineError::Broken { .. } => Self::Server(text),
        }
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        Self::Server(error.to_string())
    }
}
