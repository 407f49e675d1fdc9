//! Positional arguments, with errors that name the offending one.

use super::error::RpcError;
use alloy_eips::BlockId;
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
        Ok(self.optional(index, "block")?.unwrap_or_else(BlockId::latest))
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

fn shown(text: &str) -> String {
    match text.char_indices().find(|(at, _)| *at >= SHOWN) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}
