//! Handing users' calls through to the engine.

use super::EngineClient;
use super::transport::{Call, CallError};
use serde_json::Value;
use std::sync::atomic::Ordering;

/// Why a forwarded call has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// The engine's own error, to be handed on as it is.
    #[error("{message} (code {code})")]
    Refused {
        /// JSON-RPC's code.
        code: i64,
        /// What happened.
        message: String,
        /// Details, such as the data of a revert.
        data: Option<Value>,
    },
    /// The engine did not answer.
    #[error("the execution client does not answer: {reason}")]
    Unavailable {
        /// What happened.
        reason: String,
    },
}

impl EngineClient {
    /// A user's call, asked once of the endpoint that serves the chain. Whatever comes of it, the chain's own requests
    /// go on as before: a user can't make the client change its endpoint.
    ///
    /// # Errors
    /// [`ForwardError`].
    ///
    /// # Cancel safety
    /// The engine may still carry out what it received.
    pub async fn forward(&self, method: &'static str, params: Value) -> Result<Value, ForwardError> {
        let limit = self.inner.needs.timeouts.forward;
        let call = Call { method, params, limit };
        let index = self.inner.active.load(Ordering::Relaxed);
        match self.ask_endpoint::<Value>(index, |_| call.clone()).await {
            Ok(answer) => Ok(answer.value.unwrap_or(Value::Null)),
            Err(CallError::Rejected { code, refusal, .. }) => {
                Err(ForwardError::Refused { code, message: refusal.message, data: refusal.data })
            }
            Err(error) => Err(ForwardError::Unavailable { reason: error.to_string() }),
        }
    }
}
