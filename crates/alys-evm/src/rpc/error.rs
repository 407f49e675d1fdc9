//! Errors as Ethereum nodes word and number them.

use crate::pool::PoolError;
use crate::{ReadError, SimulateError};
use alloy_primitives::{Bytes, U256};
use jsonrpsee::types::ErrorObjectOwned;

const INVALID_PARAMS: i32 = -32602;
const INTERNAL: i32 = -32603;
const SERVER: i32 = -32000;
const LIMIT: i32 = -32005;
const REVERTED: i32 = 3;

/// `Error(string)`: what `require` with a reason reverts with.
const ERROR_SELECTOR: [u8; 4] = [0x08, 0xc3, 0x79, 0xa0];

/// `Panic(uint256)`: what the compiler's own checks revert with.
const PANIC_SELECTOR: [u8; 4] = [0x4e, 0x48, 0x7b, 0x71];

/// The longest revert reason that is put into a message.
const MAX_REASON_BYTES: usize = 1024;

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum RpcError {
    /// The arguments are not what the method takes.
    #[error("{0}")]
    Params(String),
    /// The method was carried out and failed.
    #[error("{0}")]
    Failed(String),
    /// A contract reverted.
    #[error("execution reverted{}", reason(.0).map(|reason| format!(": {reason}")).unwrap_or_default())]
    Reverted(Bytes),
    /// More was asked for than is given.
    #[error("{0}")]
    Limit(String),
    /// Refused with a number of its own.
    #[error("{message}")]
    Numbered {
        /// JSON-RPC's error code.
        code: i32,
        /// What is wrong.
        message: String,
    },
    /// The node's own failure.
    #[error("internal error: {0}")]
    Internal(String),
}

impl From<RpcError> for ErrorObjectOwned {
    fn from(error: RpcError) -> Self {
        let message = error.to_string();
        match error {
            RpcError::Params(_) => Self::owned(INVALID_PARAMS, message, None::<()>),
            RpcError::Failed(_) => Self::owned(SERVER, message, None::<()>),
            RpcError::Reverted(data) => Self::owned(REVERTED, message, Some(data)),
            RpcError::Limit(_) => Self::owned(LIMIT, message, None::<()>),
            RpcError::Numbered { code, .. } => Self::owned(code, message, None::<()>),
            RpcError::Internal(_) => {
                tracing::error!(error = message, "JSON-RPC call failed");
                Self::owned(INTERNAL, message, None::<()>)
            }
        }
    }
}

impl From<ReadError> for RpcError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::UnknownBlock => Self::Failed("header not found".to_owned()),
            error @ ReadError::NotCanonical { .. } => Self::Failed(format!("hash is not currently canonical: {error}")),
            error @ ReadError::Pruned { .. } => Self::Failed(format!("historical state not available: {error}")),
            ReadError::InvalidCall(text) => Self::Failed(known_words(text)),
            error @ ReadError::InvalidOverride(_) => Self::Params(error.to_string()),
            error @ (ReadError::Database(_) | ReadError::Trie(_)) => Self::Internal(error.to_string()),
        }
    }
}

impl From<SimulateError> for RpcError {
    fn from(error: SimulateError) -> Self {
        match error {
            SimulateError::Refused { code, message } => Self::Numbered { code, message },
            SimulateError::Read(error) => error.into(),
        }
    }
}

impl From<PoolError> for RpcError {
    fn from(error: PoolError) -> Self {
        let text = error.to_string();
        match error {
            PoolError::Busy => Self::Limit(text),
            PoolError::Unavailable { .. } => Self::Internal(text),
            PoolError::Invalid(_)
            | PoolError::AlreadyKnown
            | PoolError::ReplacementUnderpriced { .. }
            | PoolError::Underpriced { .. }
            | PoolError::Full { .. }
            | PoolError::SenderFull { .. }
            | PoolError::QueueFull { .. } => Self::Failed(text),
        }
    }
}

/// Puts the words that wallets look for before what the EVM says.
fn known_words(text: String) -> String {
    let known = [
        ("lack of funds", "insufficient funds for gas * price + value"),
        ("call gas cost", "intrinsic gas too low"),
        ("gas floor", "intrinsic gas too low"),
        ("priority fee is greater", "max priority fee per gas higher than max fee per gas"),
        ("create initcode size", "max initcode size exceeded"),
    ];
    match known.into_iter().find(|(said, _)| text.contains(said)) {
        Some((_, words)) => format!("{words}: {text}"),
        None => text,
    }
}

/// The reason in revert data, if it is of one of the two standard forms.
fn reason(data: &[u8]) -> Option<String> {
    let (selector, arguments) = data.split_first_chunk::<4>()?;
    match *selector {
        ERROR_SELECTOR => {
            let word = |at: usize| arguments.get(at..at.checked_add(32)?).map(U256::from_be_slice);
            let start = usize::try_from(word(0)?).ok()?;
            let length = usize::try_from(word(start)?).ok()?.min(MAX_REASON_BYTES);
            let from = start.checked_add(32)?;
            let text = arguments.get(from..from.checked_add(length)?)?;
            Some(String::from_utf8_lossy(text).into_owned())
        }
        PANIC_SELECTOR => {
            let code = U256::from_be_slice(arguments.get(..32)?);
            Some(match u64::try_from(code).ok().and_then(panic_words) {
                Some(words) => format!("panic: {words} ({code:#04x})"),
                None => format!("unknown panic code: {code:#x}"),
            })
        }
        _ => None,
    }
}

/// Solidity's panic codes.
fn panic_words(code: u64) -> Option<&'static str> {
    Some(match code {
        0x00 => "generic panic",
        0x01 => "assert(false)",
        0x11 => "arithmetic underflow or overflow",
        0x12 => "division or modulo by zero",
        0x21 => "enum overflow",
        0x22 => "invalid encoded storage byte array accessed",
        0x31 => "out-of-bounds array access; popping on an empty array",
        0x32 => "out-of-bounds access of an array or bytesN",
        0x41 => "out of memory",
        0x51 => "uninitialized function",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::{RpcError, reason};
    use alloy_primitives::{Bytes, bytes};
    use jsonrpsee::types::ErrorObjectOwned;

    fn check(data: Bytes, expected: &str) {
        let error = ErrorObjectOwned::from(RpcError::Reverted(data.clone()));
        assert_eq!((error.code(), error.message()), (3, expected));
        assert_eq!(error.data().map(|data| data.get().to_owned()), Some(format!("\"{data}\"")));
    }

    #[test]
    fn revert_reasons_are_read_and_nonsense_is_not() {
        let error = bytes!(
            "08c379a0"
            "0000000000000000000000000000000000000000000000000000000000000020"
            "0000000000000000000000000000000000000000000000000000000000000003"
            "6e6f770000000000000000000000000000000000000000000000000000000000"
        );
        check(error.clone(), "execution reverted: now");
        let panic = bytes!("4e487b710000000000000000000000000000000000000000000000000000000000000011");
        check(panic, "execution reverted: panic: arithmetic underflow or overflow (0x11)");
        check(Bytes::new(), "execution reverted");
        check(bytes!("deadbeef01"), "execution reverted");
        for cut in 0..error.len() - 32 {
            assert_eq!(reason(&error[..cut]), None, "cut at {cut}");
        }
        let mut far = error.to_vec();
        far[4..36].fill(0xff);
        assert_eq!(reason(&far), None);
    }
}
