//! Positional arguments, with errors that name the offending one.

use super::error::RpcError;
use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{Address, B256, U64};
use jsonrpsee::types::Params;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// How much of an offending value is repeated, in bytes.
const SHOWN: usize = 100;

/// The arguments of one call.
pub(super) struct Args(Vec<Value>);

impl Args {
    /// Arguments that are parsed already.
    pub(super) const fn new(values: Vec<Value>) -> Self {
        Self(values)
    }

    pub(super) fn parse(params: &Params<'_>) -> Result<Self, RpcError> {
        let text = params.as_str().map(str::trim).unwrap_or_default();
        if text.is_empty() || text == "null" {
            return Ok(Self(Vec::new()));
        }
        match serde_json::from_str(text) {
            Ok(values) => Ok(Self(values)),
            Err(error) => Err(RpcError::Params(format!("non-array args: {error}; got {}", shown(text)))),
        }
    }

    /// Refuses more than `count` arguments.
    pub(super) fn at_most(self, count: usize) -> Result<Self, RpcError> {
        if self.0.len() > count {
            return Err(RpcError::Params(format!("too many arguments, want at most {count}, got {}", self.0.len())));
        }
        Ok(self)
    }

    /// The argument, which may be missing or null.
    pub(super) fn optional<T: DeserializeOwned>(&self, index: usize, name: &str) -> Result<Option<T>, RpcError> {
        let Some(value) = self.0.get(index).filter(|value| !value.is_null()) else { return Ok(None) };
        T::deserialize(value).map(Some).map_err(|error| {
            let text = value.to_string();
            RpcError::Params(format!("invalid argument {index} ({name}): {error}; got {}", shown(&text)))
        })
    }

    /// The argument, which must be there.
    pub(super) fn required<T: DeserializeOwned>(&self, index: usize, name: &str) -> Result<T, RpcError> {
        self.optional(index, name)?
            .ok_or_else(|| RpcError::Params(format!("missing value for required argument {index} ({name})")))
    }

    /// A hash, which must begin with `0x`.
    pub(super) fn hash(&self, index: usize, name: &str) -> Result<B256, RpcError> {
        self.prefixed(index, name)?;
        self.required(index, name)
    }

    /// An address, which must begin with `0x`.
    pub(super) fn address(&self, index: usize, name: &str) -> Result<Address, RpcError> {
        self.prefixed(index, name)?;
        self.required(index, name)
    }

    fn prefixed(&self, index: usize, name: &str) -> Result<(), RpcError> {
        match self.0.get(index).and_then(Value::as_str) {
            Some(text) if !text.starts_with("0x") && !text.starts_with("0X") => Err(RpcError::Params(format!(
                "invalid argument {index} ({name}): hex string without 0x prefix; got {}",
                shown(text)
            ))),
            Some(_) | None => Ok(()),
        }
    }

    /// A block by number, tag, hash or object (EIP-1898); `latest` if it is missing.
    pub(super) fn block(&self, index: usize) -> Result<BlockId, RpcError> {
        self.check_block(index, "block", true)?;
        Ok(self.optional(index, "block")?.unwrap_or_else(BlockId::latest))
    }

    /// A block by number, tag, hash or object, which must be there.
    pub(super) fn required_block(&self, index: usize) -> Result<BlockId, RpcError> {
        self.check_block(index, "block", true)?;
        self.required(index, "block")
    }

    /// A block by number or tag, which must be there.
    pub(super) fn block_number(&self, index: usize, name: &str) -> Result<BlockNumberOrTag, RpcError> {
        self.check_block(index, name, false)?;
        self.required(index, name)
    }

    /// Refuses numbers and tags of blocks, also those within an object, that geth does not read: `alloy` knows tags in
    /// capitals. Numbers with zeros in front are read, since Besu's scripts have them.
    fn check_block(&self, index: usize, name: &str, may_be_hash: bool) -> Result<(), RpcError> {
        match self.0.get(index) {
            Some(Value::String(text)) if may_be_hash && text.len() == HASH_DIGITS => Ok(()),
            Some(text @ Value::String(_)) => check_number(index, name, text),
            Some(Value::Object(object)) => {
                object.get("blockNumber").map_or(Ok(()), |number| check_number(index, "blockNumber", number))
            }
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_)) | None => Ok(()),
        }
    }

    /// Refuses ranges of a log filter as [`Self::check_block`] does.
    pub(super) fn check_range(&self, index: usize) -> Result<(), RpcError> {
        let Some(Value::Object(filter)) = self.0.get(index) else { return Ok(()) };
        ["fromBlock", "toBlock"]
            .into_iter()
            .filter_map(|end| Some((end, filter.get(end)?)))
            .try_for_each(|(end, number)| check_number(index, end, number))
    }

    /// A number as a hexadecimal quantity or a JSON number.
    pub(super) fn number(&self, index: usize, name: &str) -> Result<u64, RpcError> {
        let number: Quantity = self.required(index, name)?;
        Ok(match number {
            Quantity::Number(number) => number,
            Quantity::Hex(number) => number.to(),
        })
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Quantity {
    Number(u64),
    Hex(U64),
}

/// Characters of a hash with its prefix.
const HASH_DIGITS: usize = 66;

/// Most digits of a block's number.
const MAX_DIGITS: usize = 16;

/// Whether geth reads this as a block's number or tag. What is no text is left to whoever reads it.
fn check_number(index: usize, name: &str, value: &Value) -> Result<(), RpcError> {
    let Some(text) = value.as_str() else { return Ok(()) };
    if matches!(text, "latest" | "pending" | "earliest" | "safe" | "finalized") {
        return Ok(());
    }
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let problem = match digits {
        None => "hex string without 0x prefix",
        Some("") => "hex string \"0x\"",
        // Also where they are zeros: a hash is no number.
        Some(digits) if digits.len() > MAX_DIGITS => "hex number > 64 bits",
        Some(digits) if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) => "invalid hex string",
        Some(digits) => match u64::from_str_radix(digits, 16) {
            Err(_) => "hex number > 64 bits",
            Ok(number) if i64::try_from(number).is_err() => "block number larger than int64",
            Ok(_) => return Ok(()),
        },
    };
    Err(RpcError::Params(format!("invalid argument {index} ({name}): {problem}; got {}", shown(text))))
}

fn shown(text: &str) -> String {
    match text.char_indices().find(|(at, _)| *at >= SHOWN) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}
