//! `alys-node keys history`: the signing record as a file that moves with its key (EIP-3076 in shape).

use super::config::ConfigArguments;
use super::failure::{Failure, Outcome};
use super::run::SIGNING_RECORD;
use crate::bounded::read_bounded;
use crate::chain_files::ChainFiles;
use crate::key_files::{read_keystore, write_private};
use alys_store::signing::{
    Interchange, MAX_INTERCHANGE_BYTES, RecordIdentity, SigningError, SigningRecord, Watermarks,
};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub(super) enum HistoryCommand {
    /// Begins the record of a key that has never signed for this chain, anywhere. A key that may have signed needs `import`.
    New(NewArguments),
    /// Writes what the member's key has signed.
    Export(ExportArguments),
    /// Raises the member's record to what a document says; makes the record if there is none.
    Import(ImportArguments),
}

#[derive(Args)]
pub(super) struct NewArguments {
    /// Says that the key is new. With a record that begins empty a key signs anything once more, and what it signed before
    /// convicts it.
    #[arg(long, required = true)]
    never_signed: bool,
    #[command(flatten)]
    config: ConfigArguments,
}

#[derive(Args)]
pub(super) struct ExportArguments {
    /// The document to write, never over an existing file; standard output by default.
    #[arg(long)]
    out: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArguments,
}

#[derive(Args)]
pub(super) struct ImportArguments {
    /// The document; `-` reads standard input.
    document: PathBuf,
    #[command(flatten)]
    config: ConfigArguments,
}

pub(super) fn history(command: HistoryCommand) -> Outcome {
    match command {
        HistoryCommand::New(arguments) => begin(arguments),
        HistoryCommand::Export(arguments) => export(arguments),
        HistoryCommand::Import(arguments) => import(arguments),
    }
}

fn begin(arguments: NewArguments) -> Outcome {
    let (path, identity) = record_of(arguments.config)?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|error| Failure::work(error).help(format!("while making {}", folder.display())))?;
    }
    SigningRecord::create(&path, &identity, &Watermarks::default()).map_err(explain)?;
    println!("{} begins empty", path.display());
    Ok(())
}

fn export(arguments: ExportArguments) -> Outcome {
    let (path, identity) = record_of(arguments.config)?;
    let record = SigningRecord::open(&path, &identity).map_err(explain)?;
    let document = Interchange::new(identity.genesis_root, [(identity.public_key, *record.watermarks())])
        .to_json()
        .map_err(Failure::work)?;
    match arguments.out {
        Some(out) => write_private(&out, document.as_bytes()).map_err(Failure::work),
        None => {
            println!("{document}");
            Ok(())
        }
    }
}

fn import(arguments: ImportArguments) -> Outcome {
    let (path, identity) = record_of(arguments.config)?;
    let input = if arguments.document == Path::new("-") { Path::new("/dev/stdin") } else { &arguments.document };
    let limit = u64::try_from(MAX_INTERCHANGE_BYTES).unwrap_or(u64::MAX);
    let bytes = read_bounded(input, limit).map_err(Failure::work)?;
    let signed = Interchange::parse(&bytes)
        .and_then(|document| document.watermarks(&identity))
        .map_err(|error| Failure::work(error).help(format!("{} was not imported", arguments.document.display())))?;
    let now = if path.exists() {
        let mut record = SigningRecord::open(&path, &identity).map_err(explain)?;
        record.raise(&signed).map_err(explain)?;
        *record.watermarks()
    } else {
        *SigningRecord::create(&path, &identity, &signed).map_err(explain)?.watermarks()
    };
    let slot = |slot: Option<u64>| slot.map_or_else(|| "none".to_owned(), |slot| slot.to_string());
    println!(
        "last signed proposal: slot {}; last signed approval: slot {}",
        slot(now.proposal.map(|last| last.slot.0)),
        slot(now.approval.map(|last| last.signed.slot.0)),
    );
    Ok(())
}

/// Where the configured member's record lies and whose it is.
fn record_of(arguments: ConfigArguments) -> Result<(PathBuf, RecordIdentity), Failure> {
    let config = arguments.load()?.config;
    let keystore = config.validator.keystore.ok_or_else(|| {
        Failure::usage("`validator.keystore` is not set")
            .help("only a member signs: name its configuration by --config")
    })?;
    let public_key = *read_keystore(&keystore).map_err(Failure::work)?.public_key();
    let files = ChainFiles::read(&config.node.chain_spec, &config.node.genesis).map_err(Failure::usage)?;
    let identity = RecordIdentity { genesis_root: files.spec.genesis_root(), public_key: public_key.to_bytes().into() };
    Ok((config.node.data_dir.join(SIGNING_RECORD), identity))
}

fn explain(error: SigningError) -> Failure {
    let is_locked = matches!(error, SigningError::Locked { .. });
    let failure = Failure::work(error);
    if is_locked { failure.help("stop the node first: its record belongs to one process at a time") } else { failure }
}
