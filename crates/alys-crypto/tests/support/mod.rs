//! Where the vectors are.
// The vectors are files; the crate itself still does no I/O.
#![allow(dead_code, unused_imports, unreachable_pub, clippy::disallowed_methods, clippy::unwrap_used)]

pub use alys_vectors::find as vectors;
use serde_json::Value;
use std::path::PathBuf;

pub fn read(path: PathBuf) -> Vec<u8> {
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn read_json(path: PathBuf) -> Value {
    serde_json::from_slice(&read(path)).unwrap()
}

/// Hexadecimal with or without `0x`.
pub fn unhex(value: &Value) -> Vec<u8> {
    alloy_primitives::hex::decode(value.as_str().unwrap()).unwrap()
}

/// A decimal number as a big-endian scalar.
pub fn scalar(decimal: &str) -> Vec<u8> {
    decimal.parse::<alloy_primitives::U256>().unwrap().to_be_bytes_vec()
}
