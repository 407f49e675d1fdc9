//! The signing history in JSON, to move a key from one host to another.
//!
//! The document follows EIP-3076 in shape: numbers are decimal strings, roots and keys are `0x` hex, and an importer
//! takes the greatest of what it finds, so a document may hold a whole history or only its newest entries.
//!
//! ```json
//! {
//!   "metadata": {
//!     "interchange_format": "alys-signing-record",
//!     "interchange_format_version": "1",
//!     "genesis_root": "0x…32 bytes"
//!   },
//!   "data": [
//!     {
//!       "pubkey": "0x…48 bytes",
//!       "signed_proposals": [{ "slot": "81952", "signing_root": "0x…32 bytes" }],
//!       "signed_approvals": [{ "slot": "81953", "parent_height": "80211", "signing_root": "0x…32 bytes" }]
//!     }
//!   ]
//! }
//! ```
//!
//! `signing_root` may be absent; then nothing more can be signed for that slot. Unknown fields are refused.

use super::{RecordIdentity, SignedApproval, SignedSlot, Watermarks};
use alys_primitives::{B256, Height, PublicKeyBytes, Root, Slot};
use serde::{Deserialize, Serialize};

/// Name of the format.
pub const INTERCHANGE_FORMAT: &str = "alys-signing-record";

/// Version of the format.
pub const INTERCHANGE_VERSION: &str = "1";

/// The longest document that is read.
pub const MAX_INTERCHANGE_BYTES: usize = 64 << 20;

/// Histories of keys of one chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interchange {
    metadata: Metadata,
    data: Vec<KeyHistory>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    interchange_format: String,
    interchange_format_version: String,
    genesis_root: Root,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyHistory {
    pubkey: PublicKeyBytes,
    signed_proposals: Vec<Proposal>,
    signed_approvals: Vec<Approval>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Proposal {
    #[serde(with = "decimal")]
    slot: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signing_root: Option<B256>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Approval {
    #[serde(with = "decimal")]
    slot: u64,
    #[serde(with = "decimal")]
    parent_height: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signing_root: Option<B256>,
}

/// Why an interchange document is refused.
#[derive(Debug, thiserror::Error)]
pub enum InterchangeError {
    /// It is too long.
    #[error("the document has {bytes} bytes, at most {MAX_INTERCHANGE_BYTES} are read")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It is not JSON of this shape.
    #[error("not a signing history")]
    Json(#[from] serde_json::Error),
    /// It is of another format.
    #[error("format {format:?} version {version:?}, expected {INTERCHANGE_FORMAT:?} version {INTERCHANGE_VERSION:?}")]
    Format {
        /// The format it names.
        format: String,
        /// The version it names.
        version: String,
    },
    /// It is about another chain.
    #[error("the history is of chain {found}, not of chain {expected}")]
    OtherChain {
        /// The chain it names.
        found: Root,
        /// The chain that was asked for.
        expected: Root,
    },
    /// It says nothing about the key.
    #[error("the history says nothing about key {0}")]
    NoSuchKey(PublicKeyBytes),
}

impl Interchange {
    /// The histories of some keys of the chain `genesis_root`, each as its newest entries.
    pub fn new(genesis_root: Root, keys: impl IntoIterator<Item = (PublicKeyBytes, Watermarks)>) -> Self {
        let history = |(pubkey, signed): (PublicKeyBytes, Watermarks)| KeyHistory {
            pubkey,
            signed_proposals: signed
                .proposal
                .map(|last| Proposal { slot: last.slot.0, signing_root: last.signing_root })
                .into_iter()
                .collect(),
            signed_approvals: signed
                .approval
                .map(|last| Approval {
                    slot: last.signed.slot.0,
                    parent_height: last.parent_height.0,
                    signing_root: last.signed.signing_root,
                })
                .into_iter()
                .collect(),
        };
        Self {
            metadata: Metadata {
                interchange_format: INTERCHANGE_FORMAT.to_owned(),
                interchange_format_version: INTERCHANGE_VERSION.to_owned(),
                genesis_root,
            },
            data: keys.into_iter().map(history).collect(),
        }
    }

    /// Reads a document.
    ///
    /// # Errors
    /// [`InterchangeError::TooLong`], [`InterchangeError::Json`], [`InterchangeError::Format`].
    pub fn parse(json: &[u8]) -> Result<Self, InterchangeError> {
        if json.len() > MAX_INTERCHANGE_BYTES {
            return Err(InterchangeError::TooLong { bytes: json.len() });
        }
        let document: Self = serde_json::from_slice(json)?;
        let Metadata { interchange_format: format, interchange_format_version: version, .. } = &document.metadata;
        if format != INTERCHANGE_FORMAT || version != INTERCHANGE_VERSION {
            return Err(InterchangeError::Format { format: format.clone(), version: version.clone() });
        }
        Ok(document)
    }

    /// Writes the document.
    ///
    /// # Errors
    /// [`InterchangeError::Json`] if the serialiser fails.
    pub fn to_json(&self) -> Result<String, InterchangeError> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// How far the key has signed, over everything that the document says about it.
    ///
    /// # Errors
    /// [`InterchangeError::OtherChain`], [`InterchangeError::NoSuchKey`].
    pub fn watermarks(&self, identity: &RecordIdentity) -> Result<Watermarks, InterchangeError> {
        let (found, expected) = (self.metadata.genesis_root, identity.genesis_root);
        if found != expected {
            return Err(InterchangeError::OtherChain { found, expected });
        }
        let mut histories = self.data.iter().filter(|history| history.pubkey == identity.public_key).peekable();
        if histories.peek().is_none() {
            return Err(InterchangeError::NoSuchKey(identity.public_key));
        }
        let mut signed = Watermarks::default();
        for history in histories {
            for Proposal { slot, signing_root } in &history.signed_proposals {
                let proposal = SignedSlot { slot: Slot(*slot), signing_root: *signing_root };
                signed = signed.joined(&Watermarks { proposal: Some(proposal), approval: None });
            }
            for Approval { slot, parent_height, signing_root } in &history.signed_approvals {
                let newest = SignedSlot { slot: Slot(*slot), signing_root: *signing_root };
                let approval = SignedApproval { signed: newest, parent_height: Height(*parent_height) };
                signed = signed.joined(&Watermarks { proposal: None, approval: Some(approval) });
            }
        }
        Ok(signed)
    }
}

/// A number as a decimal string.
mod decimal {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(D::Error::custom(format_args!("{text:?} is not a decimal number")));
        }
        text.parse().map_err(|_| D::Error::custom(format_args!("{text:?} does not fit 64 bits")))
    }
}
