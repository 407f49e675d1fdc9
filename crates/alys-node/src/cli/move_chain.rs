//! `alys-node export` and `import`: a chain as one file.
//!
//! The file is `ALYSEXPO`, version (2, little endian), genesis root (32), then for each block of the head's chain, oldest first:
//! length (4) and SSZ of the block; at the end length 0, then length (4) and SSZ of the head's certificate. Importing checks
//! signatures, certificates and work and executes every block, as a sync from a peer does.

use super::config::ConfigArguments;
use super::databases::{Databases, read_files};
use super::failure::{Failure, Outcome};
use super::progress::Progress;
use super::run::runtime;
use crate::actors::chain::ChainMessage;
use crate::config::NetworkSection;
use crate::node::NodeBuilder;
use alys_chain::{ImportOutcome, PeerTag};
use alys_p2p::{MAX_BLOCK_BYTES, MAX_RANGE_BLOCKS};
use alys_primitives::ssz::{Decode, Encode as _};
use alys_primitives::{Height, Notarization, Root, SignedBlock};
use clap::Args;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write as _};
use std::path::PathBuf;
use std::time::Duration;

const MAGIC: &[u8; 8] = b"ALYSEXPO";
const VERSION: u16 = 1;

/// How long one run of blocks may take.
const DEADLINE: Duration = Duration::from_secs(600);

/// Names the file as the giver of its blocks.
const FILE: PeerTag = PeerTag(0);

#[derive(Args)]
pub(super) struct ExportArguments {
    /// The file to write, never over an existing one.
    file: PathBuf,
    #[command(flatten)]
    config: ConfigArguments,
}

#[derive(Args)]
pub(super) struct ImportArguments {
    /// The file.
    file: PathBuf,
    #[command(flatten)]
    config: ConfigArguments,
}

pub(super) fn export(arguments: ExportArguments) -> Outcome {
    let config = arguments.config.load()?.config;
    let databases = Databases::open(&config)?;
    let (store, _) = databases.readers();
    let oldest = store.canonical_roots(Height(0), 1).map_err(Failure::work)?;
    let Some((first, _)) = oldest.first().copied() else { return Err(Failure::work("there are no blocks")) };
    if first > Height(1) {
        return Err(Failure::work(format!("the oldest block here is {first}: the node began from a snapshot"))
            .help("export from a node that has every block"));
    }
    let head = store.pointers().map_err(Failure::work)?.map(|pointers| pointers.head);
    let certificate = head.map(|head| store.certificate(head)).transpose().map_err(Failure::work)?.flatten();
    let path = &arguments.file;
    let cannot = |error: std::io::Error| Failure::work(error).help(format!("while writing {}", path.display()));
    let file = File::options().write(true).create_new(true).open(path).map_err(cannot)?;
    let mut out = BufWriter::new(file);
    out.write_all(MAGIC).map_err(cannot)?;
    out.write_all(&VERSION.to_le_bytes()).map_err(cannot)?;
    out.write_all(databases.files.spec.genesis_root().as_slice()).map_err(cannot)?;
    let mut progress = Progress::new();
    let mut height = first;
    let mut newest: Option<Root> = None;
    while let Some(found) = store.block_at(height).map_err(Failure::work)? {
        put(&mut out, &found.block.as_ssz_bytes()).map_err(cannot)?;
        newest = Some(found.block.root());
        progress.count("blocks", height.0);
        height = height.next();
    }
    out.write_all(&0_u32.to_le_bytes()).map_err(cannot)?;
    let certificate = certificate.filter(|certificate| Some(certificate.block_root) == newest);
    put(&mut out, &certificate.map(|certificate| certificate.as_ssz_bytes()).unwrap_or_default()).map_err(cannot)?;
    let file = out.into_inner().map_err(|error| cannot(error.into_error()))?;
    file.sync_all().map_err(cannot)?;
    progress.end();
    println!("{} blocks", height.0.saturating_sub(first.0));
    Ok(())
}

fn put(out: &mut impl std::io::Write, bytes: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| std::io::ErrorKind::InvalidData)?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(bytes)
}

pub(super) fn import(arguments: ImportArguments) -> Outcome {
    let mut config = arguments.config.load()?.config;
    let files = read_files(&config)?;
    let path = &arguments.file;
    let file =
        File::open(path).map_err(|error| Failure::work(error).help(format!("while opening {}", path.display())))?;
    let mut blocks = Blocks { file: BufReader::new(file), path: path.clone() };
    let expected = files.spec.genesis_root();
    let found = blocks.begin()?;
    if found != expected {
        return Err(Failure::work(format!("{} is of chain {found}, not of {expected}", path.display())));
    }
    // A node that nobody can reach and that signs nothing.
    config.network = NetworkSection { listen: Vec::new(), peers: Vec::new(), ..config.network };
    config.rpc.listen = ([127, 0, 0, 1], 0).into();
    config.metrics.listen = ([127, 0, 0, 1], 0).into();
    config.sync.snapshot_blocks = 0;
    runtime()?.block_on(async move {
        let node = NodeBuilder::new(config, files).start().await.map_err(Failure::work)?;
        let done = feed(&node, &mut blocks).await;
        let head = node.view.borrow().head;
        node.shutdown().await;
        done?;
        println!("the head is {} {}", head.height, head.root);
        Ok(())
    })
}

/// Gives a file's blocks to a node, a run after the other.
async fn feed(node: &crate::node::Node, blocks: &mut Blocks) -> Outcome {
    let mut progress = Progress::new();
    let mut next = blocks.next()?;
    while next.is_some() {
        let mut run = Vec::new();
        while let Some(block) = next.take() {
            run.push(block);
            next = blocks.next()?;
            if u64::try_from(run.len()).is_ok_and(|length| length >= MAX_RANGE_BLOCKS) {
                break;
            }
        }
        let known = run.last().is_some_and(|last| node.store.has_block(last.root()).unwrap_or(false));
        // The certificate of a run's last block stands in the next run's first one.
        let certificate = match &next {
            Some(block) => block.parent_notarization.first().cloned(),
            None => blocks.end()?,
        };
        let Some(last) = run.last().map(|block| block.header.height) else { break };
        if !known {
            let certificate = certificate.map(Box::new);
            let taken = node.chain.ask_within(DEADLINE, |reply| ChainMessage::ImportRange {
                blocks: run,
                peer: FILE,
                certificate,
                reply,
            });
            match taken.await.map_err(Failure::work)?.map_err(Failure::work)? {
                ImportOutcome::Imported { .. } | ImportOutcome::AlreadyKnown => {}
                ImportOutcome::Pending(reason) => {
                    return Err(Failure::work(format!(
                        "the blocks up to {last} do not follow from what is here: {reason:?}"
                    )));
                }
                ImportOutcome::Rejected(error) => {
                    return Err(Failure::work(error).help(format!("in the blocks up to height {last}")));
                }
            }
        }
        progress.count("blocks", last.0);
    }
    progress.end();
    Ok(())
}

/// The blocks of a file, one after the other.
struct Blocks {
    file: BufReader<File>,
    path: PathBuf,
}

impl Blocks {
    /// Reads the beginning; the root of the chain.
    fn begin(&mut self) -> Result<Root, Failure> {
        let mut head = [0; 10];
        self.exact(&mut head)?;
        if head[..8] != *MAGIC || head[8..] != VERSION.to_le_bytes() {
            return Err(Failure::work(format!("{} is no file of this program's `export`", self.path.display())));
        }
        let mut root = [0; 32];
        self.exact(&mut root)?;
        Ok(Root::from(root))
    }

    fn next(&mut self) -> Result<Option<SignedBlock>, Failure> {
        match self.sized(MAX_BLOCK_BYTES)? {
            bytes if bytes.is_empty() => Ok(None),
            bytes => self.decode(&bytes).map(Some),
        }
    }

    /// What stands behind the last block.
    fn end(&mut self) -> Result<Option<Notarization>, Failure> {
        match self.sized(4096)? {
            bytes if bytes.is_empty() => Ok(None),
            bytes => self.decode(&bytes).map(Some),
        }
    }

    fn sized(&mut self, most: usize) -> Result<Vec<u8>, Failure> {
        let mut length = [0; 4];
        self.exact(&mut length)?;
        let length = u32::from_le_bytes(length);
        if usize::try_from(length).map_or(true, |length| length > most) {
            return Err(Failure::work(format!("{}: an item of {length} bytes", self.path.display())));
        }
        let mut bytes = Vec::new();
        let read = (&mut self.file).take(length.into()).read_to_end(&mut bytes);
        match read {
            Ok(read) if u64::try_from(read) == Ok(length.into()) => Ok(bytes),
            Ok(_) => Err(self.cut()),
            Err(error) => Err(Failure::work(error)),
        }
    }

    fn exact(&mut self, bytes: &mut [u8]) -> Outcome {
        self.file.read_exact(bytes).map_err(|_| self.cut())
    }

    fn decode<T: Decode>(&self, bytes: &[u8]) -> Result<T, Failure> {
        T::from_ssz_bytes(bytes).map_err(|error| Failure::work(format!("{}: {error:?}", self.path.display())))
    }

    fn cut(&self) -> Failure {
        Failure::work(format!("{} ends early", self.path.display()))
    }
}
