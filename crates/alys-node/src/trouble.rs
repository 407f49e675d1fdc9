//! Kinds of trouble that end a node, told apart by the process's exit code.

use crate::node::StartError;
use crate::snapshot::JoinError;
use alys_bitcoin::LogError;
use alys_evm::StorageFailure;
use alys_store::signing::SigningError;

/// Why a node can't go on. The codes are those of BSD's `sysexits.h`, so that a service manager can tell what a restart
/// may mend (`Disk`, `Parts`) from what it can't (`Damage`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The disk failed or is full: a restart may help, once it has room.
    Disk,
    /// Bytes on disk are damaged: a restart does not help.
    Damage,
    /// A part of the node failed for good.
    Parts,
}

impl Trouble {
    /// The exit code: `EX_IOERR`, `EX_DATAERR`, `EX_SOFTWARE`.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Disk => 74,
            Self::Damage => 65,
            Self::Parts => 70,
        }
    }
}

impl From<&StorageFailure> for Trouble {
    fn from(failure: &StorageFailure) -> Self {
        if failure.is_write { Self::Disk } else { Self::Damage }
    }
}

impl StartError {
    /// What kind of trouble it is; none if the node was asked for something that can't be.
    pub fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Store(error) if error.is_corruption() => Some(Trouble::Damage),
            Self::Store(error) if error.is_fatal() => Some(Trouble::Disk),
            Self::Evm(error) if error.is_corruption() => Some(Trouble::Damage),
            Self::Bitcoin(LogError::Corrupt { .. }) | Self::Signing(SigningError::Damaged { .. }) => {
                Some(Trouble::Damage)
            }
            Self::Folder { .. }
            | Self::Pool(_)
            | Self::Journal(_)
            | Self::Settle(_)
            | Self::Join(JoinError::Folder(_) | JoinError::Clear { .. } | JoinError::Settle(_)) => Some(Trouble::Disk),
            Self::Fatal { trouble, .. } => Some(*trouble),
            Self::Tree(_) => Some(Trouble::Parts),
            Self::Store(_)
            | Self::Evm(_)
            | Self::Bitcoin(_)
            | Self::Signing(_)
            | Self::Listen { .. }
            | Self::Engine(_)
            | Self::ExecutionClient(_)
            | Self::Methods(_)
            | Self::Target(_)
            | Self::Genesis(_)
            | Self::Join(_)
            | Self::NoPeers
            | Self::ExternalState
            | Self::Network(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alys_store::StoreError;
    use std::path::PathBuf;

    #[test]
    fn damage_is_told_from_a_folder_in_use() {
        let path = PathBuf::from("chain");
        assert_eq!(
            StartError::Store(StoreError::CorruptFolder { path: path.clone() }).trouble(),
            Some(Trouble::Damage)
        );
        assert_eq!(StartError::Store(StoreError::Stopped).trouble(), Some(Trouble::Disk));
        assert_eq!(StartError::Store(StoreError::Locked { folder: path }).trouble(), None);
    }
}
