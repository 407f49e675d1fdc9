//! From a snapshot's folder to the databases of a node.

use super::create::first_block;
use super::folder::{self, Folder, FolderError, SettleError};
use super::format::{Content, FormatError, SnapshotBlock};
use crate::chain_files::ChainFiles;
use crate::light::{Spool, SpoolError};
use alys_chain::{
    Chain, ChainBatch, ChainConfig, ChainWrite, Checkpoint, Pointers, Restored as StoredChain, Verifier, VerifyError,
};
use alys_engine::NewPayload;
use alys_evm::snapshot::{RestoreError as StateError, StateRestore};
use alys_primitives::{BlockHeader, Height, Root, Wei};
use alys_store::{Database, StoreConfig, StoreError};
use rand::TryRngCore as _;
use std::path::Path;

/// Why a snapshot is not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It is of another chain.
    #[error("the snapshot is of chain {found}, not of {expected}")]
    OtherChain {
        /// Its chain.
        found: Root,
        /// This chain.
        expected: Root,
    },
    /// It is not the one that is trusted.
    #[error("the snapshot's root is {found}, the trusted one {expected}")]
    Untrusted {
        /// Root of its anchor.
        found: Root,
        /// The trusted root.
        expected: Root,
    },
    /// A file is damaged, missing, or can't be read.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A part is malformed.
    #[error("part {index} is malformed")]
    Format {
        /// Which, counted from 1 as the files are.
        index: usize,
        /// What is wrong with it.
        source: FormatError,
    },
    /// Its checkpoint is not what the anchor commits to.
    #[error("the checkpoint is wrong: {0}")]
    Checkpoint(&'static str),
    /// The core refuses its checkpoint.
    #[error("the checkpoint is refused")]
    Chain(#[from] alys_chain::RestoreError),
    /// Its blocks are not those below the anchor.
    #[error("the blocks are wrong at height {height}: {reason}")]
    Blocks {
        /// Where.
        height: Height,
        /// What is wrong.
        reason: String,
    },
    /// Its state is not that of its block.
    #[error("the state is wrong")]
    State(#[source] StateError),
    /// The EVM's database can't be written.
    #[error("the EVM's database")]
    Evm(#[source] StateError),
    /// The chain's database can't be written.
    #[error("the chain's database")]
    Store(#[from] StoreError),
    /// The data folder holds a chain.
    #[error("the data folder holds a chain already")]
    NotEmpty,
    /// The databases can't be moved.
    #[error(transparent)]
    Settle(#[from] SettleError),
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    Entropy(#[source] rand::rand_core::OsError),
    /// The records of bundles can't be read.
    #[error("the records of bundles")]
    Spool(#[from] SpoolError),
    /// Whoever asked has lost interest.
    #[error("broken off")]
    Stopped,
}

impl RestoreError {
    /// Whether the snapshot is to blame: no other copy of the same one will do.
    pub fn blames_snapshot(&self) -> bool {
        match self {
            Self::OtherChain { .. }
            | Self::Untrusted { .. }
            | Self::Format { .. }
            | Self::Checkpoint(_)
            | Self::Chain(_)
            | Self::Blocks { .. }
            | Self::State(_) => true,
            Self::Folder(_)
            | Self::Evm(_)
            | Self::Store(_)
            | Self::NotEmpty
            | Self::Settle(_)
            | Self::Entropy(_)
            | Self::Spool(_)
            | Self::Stopped => false,
        }
    }
}

impl From<StateError> for RestoreError {
    fn from(error: StateError) -> Self {
        match &error {
            StateError::Db(_) | StateError::Genesis(_) => Self::Evm(error),
            StateError::Record(_)
            | StateError::Block { .. }
            | StateError::Mismatch { .. }
            | StateError::Missing { .. } => Self::State(error),
        }
    }
}

/// What was restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Height of the snapshot's block.
    pub height: Height,
    /// Its root.
    pub root: Root,
    /// Blocks below it that came along.
    pub blocks: u64,
    /// Records of the state.
    pub records: u64,
}

/// How a restore is followed; `false` breaks it off.
type Step<'a> = &'a mut dyn FnMut(&str, usize, usize) -> bool;

/// Makes the databases of a node from a snapshot, if the root of its anchor is `trusted` and everything in it follows from
/// that root. The data folder must hold no chain. A process that is killed meanwhile leaves a data folder that is empty, or
/// complete at the next start.
///
/// `step` is told what is done, how many parts of how many; `false` breaks the restore off.
///
/// # Errors
/// [`RestoreError`]; nothing of the snapshot counts then.
pub fn restore(
    snapshot: &Folder,
    files: &ChainFiles,
    trusted: Root,
    data: &Path,
    step: Step<'_>,
) -> Result<Restored, RestoreError> {
    restore_with(snapshot, files, Trust { anchor: trusted, light: None }, data, step)
}

/// What a restore rests on.
pub(super) struct Trust<'a> {
    /// Root of the anchor.
    pub(super) anchor: Root,
    /// The chain of bundles that commits to it. The federation must be that which follows from genesis by its changes, and
    /// the node keeps its records.
    pub(super) light: Option<&'a mut Spool>,
}

/// As [`restore`].
pub(super) fn restore_with(
    snapshot: &Folder,
    files: &ChainFiles,
    trust: Trust<'_>,
    data: &Path,
    step: Step<'_>,
) -> Result<Restored, RestoreError> {
    folder::settle(data)?;
    if !folder::is_empty(data) {
        return Err(RestoreError::NotEmpty);
    }
    let path = folder::begin_restore(data)?;
    let restored = build(snapshot, files, trust, &path, step)?;
    folder::complete_restore(data)?;
    Ok(restored)
}

/// Checks a snapshot completely, by restoring it into a folder that is thrown away.
///
/// # Errors
/// [`RestoreError`].
pub fn verify(
    snapshot: &Folder,
    files: &ChainFiles,
    trusted: Root,
    scratch: &Path,
    step: Step<'_>,
) -> Result<Restored, RestoreError> {
    let path = folder::begin_restore(scratch)?;
    let restored = build(snapshot, files, Trust { anchor: trusted, light: None }, &path, step);
    // What is left behind is thrown away by the next one.
    folder::settle(scratch)?;
    restored
}

fn build(
    snapshot: &Folder,
    files: &ChainFiles,
    trust: Trust<'_>,
    path: &Path,
    step: Step<'_>,
) -> Result<Restored, RestoreError> {
    let Trust { anchor: trusted, mut light } = trust;
    let manifest = snapshot.manifest();
    let expected = files.spec.genesis_root();
    if manifest.genesis_root != expected {
        return Err(RestoreError::OtherChain { found: manifest.genesis_root, expected });
    }
    let found = manifest.anchor.root();
    if found != trusted {
        return Err(RestoreError::Untrusted { found, expected: trusted });
    }
    let total = manifest.parts.len();
    let malformed = |index: usize| move |source| RestoreError::Format { index: index + 1, source };
    let mut builder: Option<Builder> = None;
    for index in 0..total {
        if !step("parts", index, total) {
            return Err(RestoreError::Stopped);
        }
        let bytes = snapshot.part(index)?;
        match (Content::decode(&bytes).map_err(malformed(index))?, builder.as_mut()) {
            (Content::Checkpoint(checkpoint), None) => {
                if let Some(spool) = &light
                    && spool.chain().members_root(checkpoint.state.epoch) != Some(checkpoint.state.members_root)
                {
                    return Err(RestoreError::Checkpoint("its federation does not follow from that of genesis"));
                }
                builder = Some(Builder::begin(*checkpoint, snapshot, files, path)?);
            }
            (Content::Blocks(blocks), Some(builder)) => builder.blocks(blocks)?,
            (Content::State(mut records), Some(builder)) => {
                while let Some(record) = records.next().map_err(malformed(index))? {
                    builder.state.put(record)?;
                    builder.done.records = builder.done.records.saturating_add(1);
                }
            }
            (Content::Checkpoint(_) | Content::Blocks(_) | Content::State(_), _) => {
                return Err(malformed(index)(FormatError::Kind(bytes.first().copied().unwrap_or(0))));
            }
        }
    }
    let mut builder = builder.ok_or(RestoreError::Checkpoint("there is none"))?;
    if let Some(spool) = light.as_mut() {
        for records in spool.groups()? {
            builder.database.keep_light_records(&records)?;
        }
    }
    builder.finish(&mut |what| {
        step(what, total, total);
    })
}

struct Builder {
    checkpoint: Checkpoint,
    chain: Chain,
    verifier: Verifier,
    database: Database,
    state: StateRestore,
    entropy: [u8; 32],
    /// The newest block so far.
    newest: Option<(Height, Root)>,
    /// How far the trunk was compared.
    trunk: usize,
    trunk_fees: Option<Wei>,
    done: Restored,
}

impl Builder {
    fn begin(checkpoint: Checkpoint, snapshot: &Folder, files: &ChainFiles, path: &Path) -> Result<Self, RestoreError> {
        let anchor = &snapshot.manifest().anchor;
        let root = checkpoint.header.root();
        let wrong = |what| Err(RestoreError::Checkpoint(what));
        if root != anchor.parent_root || checkpoint.header.height.next() != anchor.height {
            return wrong("its block is not the one below the anchor");
        }
        if checkpoint.state.root() != anchor.state_root {
            return wrong("its state is not what the anchor commits to");
        }
        let committed = checkpoint.state.committed.end.height;
        let whole = checkpoint.trunk.first().is_some_and(|first| first.height <= committed.next());
        if !whole {
            return wrong("the trunk does not begin where the newest committed bundle ends");
        }
        let heights = (checkpoint.trunk.first().map_or(0, |first| first.height.0)..).map(Height);
        if !checkpoint.trunk.iter().zip(heights).all(|(block, height)| block.height == height) {
            return wrong("the trunk has a gap");
        }
        let stored = StoredChain { checkpoint: Some(checkpoint.clone()), ..StoredChain::default() };
        let chain = Chain::restore(files.spec.clone(), ChainConfig::default(), stored)?;
        let verifier = chain.verifier();
        match checkpoint.certificate.clone() {
            Some(certificate) if certificate.block_root == root => {
                if verifier.notarization(certificate).is_err() {
                    return wrong("its certificate does not hold");
                }
            }
            Some(_) | None => return wrong("it has no certificate"),
        }
        let mut entropy = [0; 32];
        rand::rngs::OsRng.try_fill_bytes(&mut entropy).map_err(RestoreError::Entropy)?;
        Ok(Self {
            chain,
            verifier,
            database: Database::open(&path.join("chain"), files.spec.genesis_root(), &StoreConfig::default())?,
            state: StateRestore::create(&path.join("evm"), &files.genesis)?,
            entropy,
            newest: None,
            trunk: 0,
            trunk_fees: None,
            done: Restored { height: checkpoint.header.height, root, blocks: 0, records: 0 },
            checkpoint,
        })
    }

    /// Blocks that end with the checkpoint's, oldest first.
    fn blocks(&mut self, blocks: Vec<SnapshotBlock>) -> Result<(), RestoreError> {
        let checks = self.verifier.blocks(blocks.iter().map(|it| it.block.clone()).collect(), &self.entropy);
        let mut writes = Vec::new();
        for (SnapshotBlock { block, receipts }, check) in blocks.into_iter().zip(checks) {
            let header = &block.header;
            let (height, root) = (header.height, block.root());
            let wrong = |reason: String| RestoreError::Blocks { height, reason };
            match check {
                // Hashes bind a block of an earlier federation; who signed it can't be told any more.
                Ok(_) | Err(VerifyError::UnknownEpoch { .. }) => {}
                Err(error) => return Err(wrong(error.to_string())),
            }
            let linked = match self.newest {
                Some((below, parent)) => below.next() == height && parent == header.parent_root,
                None => height == first_block(&self.checkpoint),
            };
            if !linked || height > self.checkpoint.header.height {
                return Err(wrong("it is not on the block before it".to_owned()));
            }
            let payload = NewPayload {
                payload: block.payload.clone(),
                parent_beacon_block_root: header.parent_root,
                execution_requests: block.body.execution_requests.clone(),
            };
            if payload.payload.block_hash != header.execution_block_hash {
                return Err(wrong("its payload is another block's".to_owned()));
            }
            let executed = self.state.put_block(&payload, &receipts)?;
            self.compare_trunk(header, root, executed.fees)?;
            self.newest = Some((height, root));
            self.done.blocks = self.done.blocks.saturating_add(1);
            writes.extend(block.parent_notarization.first().cloned().map(ChainWrite::Certificate));
            writes.push(ChainWrite::Canonical { height, root });
            let (fees, burns) = (executed.fees, executed.burns);
            writes.push(ChainWrite::Block { root, block: block.into(), fees, burns });
        }
        self.write(writes)
    }

    /// The trunk's fees are in no header: they follow from the receipts, backwards from the state's own total, so here each
    /// difference is compared.
    fn compare_trunk(&mut self, header: &BlockHeader, root: Root, fees: Wei) -> Result<(), RestoreError> {
        let Some(trunk) = self.checkpoint.trunk.get(self.trunk).filter(|trunk| trunk.height <= header.height) else {
            return Ok(());
        };
        let total = self.trunk_fees.map(|before| before.saturating_add(fees));
        if trunk.root != root || trunk.slot != header.slot || total.is_some_and(|total| total != trunk.fees_total) {
            return Err(RestoreError::Checkpoint("the trunk's blocks are others, or paid other fees"));
        }
        self.trunk_fees = Some(trunk.fees_total);
        self.trunk = self.trunk.saturating_add(1);
        Ok(())
    }

    fn write(&mut self, writes: Vec<ChainWrite>) -> Result<(), RestoreError> {
        Ok(self.database.apply(&ChainBatch { writes, state_root: self.chain.state_root() })?)
    }

    fn finish(mut self, step: &mut dyn FnMut(&str)) -> Result<Restored, RestoreError> {
        if self.newest != Some((self.done.height, self.done.root)) || self.trunk != self.checkpoint.trunk.len() {
            let height = self.newest.map_or(Height(0), |(height, _)| height);
            return Err(RestoreError::Blocks { height, reason: "they end below the checkpoint".to_owned() });
        }
        let view = self.chain.view();
        let pointers = Pointers { head: view.head.root, safe: view.safe.root, finalized: view.finalized.root };
        let mut writes: Vec<_> = self.checkpoint.certificate.clone().map(ChainWrite::Certificate).into_iter().collect();
        writes.push(ChainWrite::Checkpoint(Box::new(self.checkpoint.clone())));
        writes.push(ChainWrite::Pointers(pointers));
        self.write(writes)?;
        self.state.finish(step)?;
        self.database.close()?;
        Ok(self.done)
    }
}
