//! Where a value came from, and why one is refused.

use super::keys::KEYS;
use crate::bounded::ReadError;
use std::fmt;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Built in.
    Default,
    /// The file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A flag.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("the configuration file can't be used")]
    File(#[from] ReadError),
    /// The file is not text.
    #[error("configuration file {path} is not UTF-8")]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// The file is not TOML.
    #[error("configuration file {path} is not valid TOML")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A key that does not exist.
    #[error("unknown key `{key}` in {source_of}{hint}")]
    UnknownKey {
        /// The key.
        key: String,
        /// Where it stands.
        source_of: Source,
        /// The nearest existing key, in words.
        hint: String,
    },
    /// A value of the wrong form.
    #[error("`{key}` from {source_of}: {reason}")]
    BadValue {
        /// The key.
        key: String,
        /// Where it stands.
        source_of: Source,
        /// What is wrong with it.
        reason: String,
    },
}

pub(super) fn unknown_key(key: &str, source_of: Source) -> ConfigError {
    let nearest = KEYS.iter().map(|known| known.name).min_by_key(|known| distance(key, known));
    let hint = match nearest {
        Some(known) if distance(key, known) <= 4 => format!(" (did you mean `{known}`?)"),
        Some(_) | None => String::new(),
    };
    ConfigError::UnknownKey { key: key.to_owned(), source_of, hint }
}

/// Levenshtein distance over bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}
