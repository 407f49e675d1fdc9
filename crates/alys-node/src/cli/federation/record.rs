//! Records of changes as files: SSZ in hex, as they were submitted.

use crate::bounded::{ReadError, read_bounded};
use crate::cli::failure::{Failure, Outcome};
use crate::key_files::write_private;
use alys_chain::peg::{Custody, PegRules};
use alys_primitives::ssz::Decode as _;
use alys_primitives::{ChainSpec, FederationChange};
use std::path::{Path, PathBuf};

/// The longest file with a record in bytes: 128 members, 128 custodians, in hex.
const MAX_RECORD_BYTES: u64 = 128 * 1024;

/// Reads a record.
fn read_record(path: &Path) -> Result<FederationChange, Failure> {
    let bytes = read_bounded(path, MAX_RECORD_BYTES).map_err(Failure::usage)?;
    decode(&String::from_utf8_lossy(&bytes))
        .ok_or_else(|| Failure::usage(format!("{} is no change of the federation (SSZ in hex)", path.display())))
}

/// Everybody who holds or held coins by the chain spec and the records of all changes since, oldest first.
pub(in crate::cli) fn custodies(
    spec: &ChainSpec,
    rules: &PegRules,
    changes: &[PathBuf],
) -> Result<Vec<Custody>, Failure> {
    let changes = changes.iter().map(|path| read_record(path)).collect::<Result<Vec<_>, _>>()?;
    let mut custodies = vec![rules.custody().clone()];
    for custodians in alys_chain::follow_custody(spec.clone(), &changes).map_err(Failure::usage)? {
        custodies.push(rules.custody_by(&custodians).map_err(Failure::usage)?);
    }
    Ok(custodies)
}

/// A record from its text.
pub(super) fn decode(text: &str) -> Option<FederationChange> {
    let bytes = hex::decode(text.trim().trim_start_matches("0x")).ok()?;
    FederationChange::from_ssz_bytes(&bytes).ok()
}

/// Writes a record's text. The same record again is fine, another one in its place is not.
pub(super) fn keep(path: &Path, text: &str) -> Outcome {
    match read_bounded(path, MAX_RECORD_BYTES) {
        Ok(known) if known == text.as_bytes() => return Ok(()),
        Err(error @ ReadError::TooLarge { .. }) => {
            return Err(Failure::usage(error).help("that file holds no record: name another one"));
        }
        // Nothing is there, or something that is never overwritten.
        Ok(_) | Err(ReadError::Unreadable { .. }) => {}
    }
    write_private(path, text.as_bytes())
        .map_err(|error| Failure::work(error).help("records are never overwritten: name another file"))
}
