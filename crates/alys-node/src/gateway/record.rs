//! Records that members signed, as arguments of calls.

use super::alys::refusal;
use alys_primitives::ssz::Decode;
use jsonrpsee::types::{ErrorObjectOwned, Params};

/// Invalid parameters (JSON-RPC 2.0, section 5.1).
const INVALID_PARAMS: i32 = -32602;

/// The one argument of a call: a record as SSZ in hex, with or without `0x`, of at most `max_hex` characters.
///
/// # Errors
/// No or several arguments, too long a text, or no such record.
pub(super) fn record<T: Decode>(params: &Params<'_>, what: &str, max_hex: usize) -> Result<T, ErrorObjectOwned> {
    let bad = |message: String| refusal(INVALID_PARAMS, message);
    let text: String =
        params.one().map_err(|_| bad(format!("one argument is needed: a signed {what} (SSZ in hex)")))?;
    if text.len() > max_hex {
        return Err(bad(format!("{} characters, at most {max_hex}", text.len())));
    }
    let bytes = hex::decode(text.trim_start_matches("0x")).map_err(|_| bad(format!("no {what} (SSZ in hex)")))?;
    T::from_ssz_bytes(&bytes).map_err(|_| bad(format!("no {what} (SSZ in hex)")))
}
