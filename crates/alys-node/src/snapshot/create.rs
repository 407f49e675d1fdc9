//! Making a snapshot of the newest finalized block.

use super::folder::{self, Folder, FolderError, SettleError, part_path};
use super::format::{
    FormatError, MAX_PARTS, Manifest, PART_TARGET, Part, begin_blocks, begin_state, encode_checkpoint, put_block,
    put_record,
};
use alys_chain::Checkpoint;
use alys_evm::snapshot::ExportError;
use alys_evm::{DbError, EvmReader};
use alys_primitives::{Height, Root};
use alys_store::{Reader, StoreError};
use std::fs;
use std::path::{Path, PathBuf};

/// EVM blocks that code can ask the hash of (`BLOCKHASH`).
const ANCESTORS: u64 = 256;

/// Where a snapshot is made from; nothing of it is written to.
#[derive(Clone)]
pub struct Sources {
    /// The chain.
    pub genesis_root: Root,
    /// The chain's database.
    pub store: Reader,
    /// The EVM's.
    pub evm: EvmReader,
}

/// A finished snapshot.
#[derive(Clone, Debug)]
pub struct Created {
    /// Where it is.
    pub folder: Folder,
    /// The root that a node must trust to use it.
    pub anchor: Root,
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// Nothing but genesis is final.
    #[error("no block is final yet")]
    NothingFinal,
    /// A block that the snapshot needs is not here.
    #[error("no block at height {0} is stored")]
    NoBlock(Height),
    /// The EVM does not have a block's receipts.
    #[error("the EVM has no receipts of the block at height {0}")]
    NoReceipts(Height),
    /// The chain's database failed.
    #[error("the chain's database")]
    Store(#[from] StoreError),
    /// The EVM's database failed.
    #[error("the EVM's database")]
    Evm(#[from] DbError),
    /// The EVM's state can't be read.
    #[error("the EVM's state")]
    State(#[source] Box<ExportError<FolderError>>),
    /// The folder can't be written.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The folder can't be moved.
    #[error(transparent)]
    Settle(#[from] SettleError),
    /// Something is larger than a part may be, or there are too many parts.
    #[error(transparent)]
    Format(#[from] FormatError),
}

/// Writes parts as they come.
struct Writer {
    path: PathBuf,
    parts: Vec<Part>,
}

impl Writer {
    fn part(&mut self, bytes: &[u8]) -> Result<(), FolderError> {
        let path = part_path(&self.path, self.parts.len());
        let part = Part::of(bytes).map_err(|source| FolderError::Format { path: path.clone(), source })?;
        if self.parts.len() >= MAX_PARTS {
            return Err(FolderError::Format { path, source: FormatError::Length { what: "manifest" } });
        }
        fs::write(&path, bytes).map_err(|source| FolderError::Write { path, source })?;
        self.parts.push(part);
        Ok(())
    }
}

/// Makes a snapshot of the newest finalized block under `snapshots`, in a folder that appears when it is complete. If it is
/// there already, nothing is done. `step` is told what is done.
///
/// # Errors
/// [`CreateError`].
pub fn create(sources: &Sources, snapshots: &Path, mut step: impl FnMut(&str)) -> Result<Created, CreateError> {
    let checkpoint = sources.store.checkpoint()?.ok_or(CreateError::NothingFinal)?;
    let height = checkpoint.header.height;
    let block_at = |height| {
        let found = sources.store.block_at(height)?;
        found.map(|found| found.block).ok_or(CreateError::NoBlock(height))
    };
    let anchor = block_at(height.next())?.header;
    let path = snapshots.join(format!("{}.tmp", height.0));
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| FolderError::Write { path, source }
    };
    if path.exists() {
        fs::remove_dir_all(&path).map_err(failed(&path))?;
    }
    fs::create_dir_all(&path).map_err(failed(&path))?;
    let mut writer = Writer { path: path.clone(), parts: Vec::new() };

    step("checkpoint and blocks");
    writer.part(&encode_checkpoint(&checkpoint))?;
    let mut part = begin_blocks();
    for height in first_block(&checkpoint).0..=height.0 {
        let block = block_at(Height(height))?;
        let receipts = sources.evm.receipts_rlp(block.payload.block_hash)?;
        put_block(&mut part, &block, &receipts.ok_or(CreateError::NoReceipts(Height(height)))?);
        if part.len() >= PART_TARGET {
            writer.part(&std::mem::replace(&mut part, begin_blocks()))?;
        }
    }
    writer.part(&part)?;

    step("state");
    let mut part = begin_state();
    let exported = sources.evm.export_state(checkpoint.header.execution_block_hash, |record| {
        put_record(&mut part, record);
        if part.len() >= PART_TARGET {
            writer.part(&std::mem::replace(&mut part, begin_state()))?;
        }
        Ok(())
    });
    exported.map_err(|error| CreateError::State(Box::new(error)))?;
    writer.part(&part)?;

    let manifest = Manifest { genesis_root: sources.genesis_root, anchor, parts: writer.parts };
    let folder = Folder::begin(&path, &manifest.encode())?;
    let finished = snapshots.join(folder::name(height, folder.id()));
    if finished.exists() {
        fs::remove_dir_all(&path).map_err(failed(&path))?;
    } else {
        fs::rename(&path, &finished).map_err(failed(&finished))?;
    }
    Ok(Created { folder: Folder::open(&finished)?, anchor: manifest.anchor.root() })
}

/// The oldest block that a node needs to go on from a checkpoint: bundles may begin in the trunk, code may ask for the hashes
/// of ancestors.
pub(super) fn first_block(checkpoint: &Checkpoint) -> Height {
    let height = checkpoint.header.height;
    let trunk = checkpoint.trunk.first().map_or(height, |first| first.height);
    trunk.min(height.saturating_sub(ANCESTORS - 1)).max(Height(1))
}
