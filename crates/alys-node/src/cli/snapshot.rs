//! `alys-node snapshot`.

use super::config::ConfigArguments;
use super::databases::{Databases, read_files};
use super::failure::{Failure, Outcome};
use super::progress::Progress;
use crate::snapshot::{Folder, RestoreError, Restored, SNAPSHOTS, Sources, create, restore, verify};
use alys_primitives::Root;
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Subcommand)]
pub(super) enum SnapshotCommand {
    /// Makes a snapshot of the newest finalized block of a stopped node, and prints its folder and its checkpoint.
    Create(CreateArguments),
    /// Checks a snapshot completely: every part, every block, the state root.
    Verify(VerifyArguments),
    /// Makes the databases of a node that has none from a snapshot.
    Restore(RestoreArguments),
}

#[derive(Args)]
pub(super) struct CreateArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Folder to put the snapshot's folder in; `snapshots` in the data folder by default, where peers can have it.
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct VerifyArguments {
    #[command(flatten)]
    config: ConfigArguments,
    #[command(flatten)]
    snapshot: SnapshotArguments,
}

#[derive(Args)]
pub(super) struct RestoreArguments {
    #[command(flatten)]
    config: ConfigArguments,
    #[command(flatten)]
    snapshot: SnapshotArguments,
}

#[derive(Args)]
struct SnapshotArguments {
    /// The snapshot's folder.
    folder: PathBuf,
    /// The checkpoint to trust, as `snapshot create` prints it or an operator you trust tells it; `sync.checkpoint` of the
    /// configuration by default.
    #[arg(long)]
    checkpoint: Option<Root>,
}

pub(super) fn snapshot(command: SnapshotCommand) -> Outcome {
    match command {
        SnapshotCommand::Create(arguments) => make(arguments),
        SnapshotCommand::Verify(VerifyArguments { config, snapshot }) => check(config, &snapshot, false),
        SnapshotCommand::Restore(RestoreArguments { config, snapshot }) => check(config, &snapshot, true),
    }
}

fn make(arguments: CreateArguments) -> Outcome {
    let config = arguments.config.load()?.config;
    let databases = Databases::open(&config)?;
    let (store, evm) = databases.readers();
    let sources = Sources { genesis_root: databases.files.spec.genesis_root(), store, evm };
    let out = arguments.out.unwrap_or_else(|| config.node.data_dir.join(SNAPSHOTS));
    let mut progress = Progress::new();
    let created = create(&sources, &out, |step| progress.step(step)).map_err(Failure::work)?;
    progress.end();
    let manifest = created.folder.manifest();
    println!("folder      {}", created.folder.path().display());
    println!("id          {}", created.folder.id());
    println!("height      {}", manifest.height());
    println!("parts       {}, {} bytes", manifest.parts.len(), manifest.bytes());
    println!("checkpoint  {}", created.anchor);
    Ok(())
}

fn check(config: ConfigArguments, arguments: &SnapshotArguments, keep: bool) -> Outcome {
    let config = config.load()?.config;
    let files = read_files(&config)?;
    let trusted = arguments.checkpoint.or(config.sync.checkpoint).ok_or_else(|| {
        Failure::usage("no checkpoint is given").help("`--checkpoint ROOT`, from a node or an operator that you trust")
    })?;
    let folder = Folder::open(&arguments.folder).map_err(Failure::work)?;
    let mut progress = Progress::new();
    let mut step = |what: &str, done: usize, total: usize| {
        progress.part(what, done, total);
        true
    };
    let restored = if keep {
        restore(&folder, &files, trusted, &config.node.data_dir, &mut step)
    } else {
        let scratch = Scratch::make(&arguments.folder)?;
        verify(&folder, &files, trusted, &scratch.0, &mut step)
    };
    progress.end();
    let Restored { height, root, blocks, records } = restored.map_err(|error| match &error {
        RestoreError::NotEmpty => Failure::work(error).help("a snapshot is for a node without a chain"),
        RestoreError::Untrusted { .. } => Failure::work(error).help("do not use it, or trust its root"),
        RestoreError::OtherChain { .. }
        | RestoreError::Folder(_)
        | RestoreError::Format { .. }
        | RestoreError::Checkpoint(_)
        | RestoreError::Chain(_)
        | RestoreError::Blocks { .. }
        | RestoreError::State(_)
        | RestoreError::Evm(_)
        | RestoreError::Store(_)
        | RestoreError::Settle(_)
        | RestoreError::Entropy(_)
        | RestoreError::Spool(_)
        | RestoreError::Stopped => Failure::work(error),
    })?;
    println!("{}: block {height} {root}, {blocks} blocks, {records} records", if keep { "restored" } else { "valid" });
    Ok(())
}

/// A folder beside the snapshot that goes with the command.
struct Scratch(PathBuf);

impl Scratch {
    fn make(beside: &std::path::Path) -> Result<Self, Failure> {
        let path = beside.with_extension(format!("verify-{}", std::process::id()));
        std::fs::create_dir_all(&path)
            .map_err(|error| Failure::work(error).help(format!("while making {}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, folder = %self.0.display(), "a temporary folder is left behind");
        }
    }
}
