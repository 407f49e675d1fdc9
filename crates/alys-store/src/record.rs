//! How a record is sealed: four bytes of CRC-32 over column, key and value, then the value.
//!
//! RocksDB checks its own blocks; this covers what it can't see: memory damaged between encoder and log, a block of an
//! older file in a newer one's place, a value under another's key.

use crate::{Column, Damage, StoreError};

const CHECKSUM_BYTES: usize = 4;

fn checksum(column: Column, key: &[u8], value: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[column.tag()]);
    hasher.update(&u64::try_from(key.len()).unwrap_or(u64::MAX).to_le_bytes());
    hasher.update(key);
    hasher.update(value);
    hasher.finalize().to_le_bytes()
}

/// The bytes to store for `value`.
pub(crate) fn seal(column: Column, key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(CHECKSUM_BYTES + value.len());
    sealed.extend_from_slice(&checksum(column, key, value));
    sealed.extend_from_slice(value);
    sealed
}

/// The value in `sealed`, if it is whole and in its place.
pub(crate) fn unseal<'a>(column: Column, key: &[u8], sealed: &'a [u8]) -> Result<&'a [u8], StoreError> {
    match sealed.split_first_chunk::<CHECKSUM_BYTES>() {
        Some((found, value)) if *found == checksum(column, key, value) => Ok(value),
        Some(_) | None => Err(StoreError::Corrupt { column, key: key.to_vec(), damage: Damage::Checksum }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_record_opens_in_its_place_only() {
        let sealed = seal(Column::Blocks, b"key", b"value");
        assert_eq!(unseal(Column::Blocks, b"key", &sealed).expect("whole"), b"value");
        assert!(unseal(Column::Certificates, b"key", &sealed).is_err());
        assert!(unseal(Column::Blocks, b"kez", &sealed).is_err());
        assert!(unseal(Column::Blocks, b"ke", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 4;
            assert!(unseal(Column::Blocks, b"key", &bad).is_err(), "byte {at}");
            assert!(unseal(Column::Blocks, b"key", &sealed[..at]).is_err(), "{at} bytes");
        }
        assert!(unseal(Column::Blocks, b"key", &[0; 12]).is_err());
    }
}
