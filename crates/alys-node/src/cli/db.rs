//! `alys-node db`: a stopped node's databases.

use super::config::ConfigArguments;
use super::databases::Databases;
use super::failure::{Failure, Outcome};
use super::progress::Progress;
use crate::snapshot::{Folder, SNAPSHOTS, folder};
use alys_chain::{BlockRef, Chain, ChainBatch, ChainConfig, ChainWrite, Pointers};
use alys_engine::{ForkchoiceState, PayloadStatus};
use alys_primitives::{Height, Root};
use alys_store::{Reader, SCHEMA_VERSION, StoreError};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

#[derive(Subcommand)]
pub(super) enum DbCommand {
    /// Heights, roots and sizes.
    Info(InfoArguments),
    /// Reads and checks every record of both databases.
    Verify(PlainArguments),
    /// Rewrites the files without what was overwritten or deleted.
    Compact(PlainArguments),
    /// Takes blocks off the head's end, down to a height that is not below the finalized block. The signing record stays as
    /// it is: a member approves nothing below what it had approved.
    Rewind(RewindArguments),
}

#[derive(Args)]
pub(super) struct PlainArguments {
    #[command(flatten)]
    config: ConfigArguments,
}

#[derive(Args)]
pub(super) struct InfoArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// One JSON document instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct RewindArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Height of the new head.
    #[arg(long)]
    to: u64,
}

pub(super) fn db(command: DbCommand) -> Outcome {
    match command {
        DbCommand::Info(arguments) => info(arguments),
        DbCommand::Verify(arguments) => verify(arguments),
        DbCommand::Compact(arguments) => compact(arguments),
        DbCommand::Rewind(arguments) => rewind(arguments),
    }
}

fn info(arguments: InfoArguments) -> Outcome {
    let config = arguments.config.load()?.config;
    let data = &config.node.data_dir;
    let databases = Databases::open(&config)?;
    let (store, evm) = databases.readers();
    let heights = heights(&store).map_err(Failure::work)?;
    let head = evm.heads().latest;
    let snapshots: Vec<Value> = folder::list(&data.join(SNAPSHOTS))
        .into_iter()
        .filter_map(|(height, id, path)| {
            let manifest = Folder::open(&path).ok()?.manifest().clone();
            Some(json!({
                "height": height.0, "id": id, "checkpoint": manifest.anchor.root(), "bytes": manifest.bytes(),
            }))
        })
        .collect();
    let document = json!({
        "genesisRoot": databases.files.spec.genesis_root(),
        "chain": {
            "schemaVersion": SCHEMA_VERSION,
            "commits": databases.chain.commits(),
            "oldestHeight": heights.oldest.0,
            "head": { "height": heights.head.height.0, "root": heights.head.root },
            "safe": { "height": heights.safe.height.0, "root": heights.safe.root },
            "finalized": { "height": heights.finalized.height.0, "root": heights.finalized.root },
            "bytes": size(&data.join("chain")),
        },
        "evm": { "head": { "number": head.number, "hash": head.hash }, "bytes": size(&data.join("evm")) },
        "snapshots": snapshots,
    });
    if arguments.json {
        println!("{document}");
        return Ok(());
    }
    let chain = &document["chain"];
    println!("chain      genesis root {}", databases.files.spec.genesis_root());
    for tag in ["head", "safe", "finalized"] {
        println!("{tag:<10} height {:<8} {}", chain[tag]["height"], plain(&chain[tag]["root"]));
    }
    println!("oldest     height {}", chain["oldestHeight"]);
    println!("database   schema {}, {} commits, {} bytes", chain["schemaVersion"], chain["commits"], chain["bytes"]);
    println!("evm        head {} {}, {} bytes", head.number, head.hash, document["evm"]["bytes"]);
    for snapshot in document["snapshots"].as_array().into_iter().flatten() {
        println!(
            "snapshot   height {:<8} checkpoint {}, {} bytes",
            snapshot["height"],
            plain(&snapshot["checkpoint"]),
            snapshot["bytes"]
        );
    }
    Ok(())
}

fn verify(arguments: PlainArguments) -> Outcome {
    let config = arguments.config.load()?.config;
    let databases = Databases::open(&config)?;
    let (store, evm) = databases.readers();
    let mut progress = Progress::new();
    progress.step("the chain's database: every record");
    let seen = store.verify().map_err(|error| damaged(error, "chain"))?;
    println!("chain      {} records, {} bytes", seen.records, seen.bytes);
    progress.step("the chain: blocks above the checkpoint are put together again");
    let restored = databases.chain.load().map_err(|error| damaged(error, "chain"))?;
    let chain = Chain::restore(databases.files.spec.clone(), ChainConfig::default(), restored)
        .map_err(|error| damaged(error, "chain"))?;
    println!("chain      head {} with state root {}", chain.view().head.height, chain.state_root());
    progress.step("the EVM's database: blocks and state");
    let seen = evm.verify().map_err(|error| damaged(error, "evm"))?;
    println!("evm        {} blocks, {} records, {} bytes", seen.blocks, seen.records, seen.bytes);
    progress.end();
    Ok(())
}

fn damaged(error: impl Into<Box<dyn std::error::Error + Send + Sync>>, name: &str) -> Failure {
    Failure::work(error).help(format!(
        "if `{name}` in the data folder is damaged, move `chain` and `evm` away and start the node: it syncs anew. Never move \
         the signing record"
    ))
}

fn compact(arguments: PlainArguments) -> Outcome {
    let config = arguments.config.load()?.config;
    let data = &config.node.data_dir;
    let sizes = || size(&data.join("chain")).saturating_add(size(&data.join("evm")));
    let before = sizes();
    let databases = Databases::open(&config)?;
    let mut progress = Progress::new();
    progress.step("the chain's database");
    databases.chain.compact();
    progress.step("the EVM's database");
    databases.executor.reader().compact().map_err(Failure::work)?;
    progress.end();
    drop(databases);
    println!("{before} bytes before, {} after", sizes());
    Ok(())
}

fn rewind(arguments: RewindArguments) -> Outcome {
    let config = arguments.config.load()?.config;
    let mut databases = Databases::open(&config)?;
    let (store, _) = databases.readers();
    let before = heights(&store).map_err(Failure::work)?;
    let to = Height(arguments.to);
    if to < before.finalized.height || to > before.head.height {
        let (finalized, head) = (before.finalized.height, before.head.height);
        return Err(Failure::usage(format!("`--to {to}`: the finalized block is at {finalized}, the head at {head}"))
            .help("what is final never goes back"));
    }
    let mut restored = databases.chain.load().map_err(Failure::work)?;
    let dropped: BTreeSet<Root> = restored
        .blocks
        .iter()
        .filter(|restored| restored.block.header.height > to)
        .map(|restored| restored.block.root())
        .collect();
    restored.blocks.retain(|restored| restored.block.header.height <= to);
    restored.certificates.retain(|certificate| !dropped.contains(&certificate.block_root));
    (restored.pointers, restored.state_root) = (None, None);
    let chain =
        Chain::restore(databases.files.spec.clone(), ChainConfig::default(), restored).map_err(Failure::work)?;
    let view = chain.view();
    let mut writes: Vec<ChainWrite> = dropped.iter().map(|root| ChainWrite::DropBlock { root: *root }).collect();
    let above = view.head.height.next().0..=before.head.height.0;
    writes.extend(above.map(|height| ChainWrite::Decanonical { height: Height(height) }));
    // Another branch may be the longest one now.
    let mut at = view.head.root;
    while let Some(found) = store.block(at).map_err(Failure::work)? {
        let height = found.block.header.height;
        if store.canonical_root(height).map_err(Failure::work)? == Some(at) {
            break;
        }
        writes.push(ChainWrite::Canonical { height, root: at });
        at = found.block.header.parent_root;
    }
    let pointers = Pointers { head: view.head.root, safe: view.safe.root, finalized: view.finalized.root };
    writes.push(ChainWrite::Pointers(pointers));
    // The EVM first: a chain that is ahead of its EVM brings it up by itself.
    let update = chain.forkchoice();
    let state = ForkchoiceState { head: update.head, safe: update.safe, finalized: update.finalized };
    let moved = databases.executor.forkchoice_updated(state, None).map_err(Failure::work)?;
    if moved.status != PayloadStatus::Valid {
        return Err(Failure::work(format!("the EVM does not go back: {:?}", moved.status)));
    }
    databases.chain.apply(&ChainBatch { writes, state_root: chain.state_root() }).map_err(Failure::work)?;
    println!("{} blocks dropped; the head is {} {}", dropped.len(), view.head.height, view.head.root);
    Ok(())
}

struct Heights {
    oldest: Height,
    head: BlockRef,
    safe: BlockRef,
    finalized: BlockRef,
}

fn heights(store: &Reader) -> Result<Heights, StoreError> {
    let pointers = store.pointers()?;
    let of = |root: Option<Root>| -> Result<BlockRef, StoreError> {
        let Some(root) = root else { return Ok(BlockRef::default()) };
        let header = store.block(root)?.map(|found| found.block.header).unwrap_or_default();
        Ok(BlockRef { root, height: header.height, slot: header.slot, execution_hash: header.execution_block_hash })
    };
    Ok(Heights {
        oldest: store.canonical_roots(Height(0), 1)?.first().map_or(Height(0), |(height, _)| *height),
        head: of(pointers.map(|pointers| pointers.head))?,
        safe: of(pointers.map(|pointers| pointers.safe))?,
        finalized: of(pointers.map(|pointers| pointers.finalized))?,
    })
}

/// Bytes of all files below a folder.
fn size(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

fn plain(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}
