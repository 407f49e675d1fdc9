//! The command line.

mod arguments;
mod auxpow;
mod bitcoin;
mod bitcoin_regtest;
mod config;
mod custody_signer;
mod databases;
mod db;
mod dev;
mod engine;
mod evm_test;
mod failure;
mod federation;
mod history;
mod init;
mod keys;
mod load;
mod mine;
mod move_chain;
mod pause;
mod peg;
mod progress;
mod proof;
mod recover;
mod run;
mod snapshot;
mod status;

use clap::{Parser, Subcommand};
use failure::Failure;
use std::path::Path;
use std::process::ExitCode;

/// The largest file that a command reads whole.
const MAX_INPUT: u64 = 4 * 1024 * 1024;

#[derive(Parser)]
#[command(
    name = "alys-node",
    version,
    about = "A node of an Alys chain: a Bitcoin sidechain finalized by merged mining"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// One-member chain with an embedded EVM, an embedded regtest Bitcoin and a merged miner.
    Dev(dev::DevArguments),
    /// Writes chain spec, genesis, configuration and keys of a chain.
    Init(init::InitArguments),
    /// The daemon.
    Run(run::RunArguments),
    /// A merged miner for development chains, on a regtest Bitcoin of its own.
    Mine(mine::MineArguments),
    /// Sends transfers of the development accounts and journals what is acknowledged.
    Load(load::LoadArguments),
    /// A regtest Bitcoin that the members of a development federation share, with Bitcoin Core's JSON-RPC.
    BitcoinRegtest(bitcoin_regtest::RegtestArguments),
    /// Signs the peg's payments for one member, behind a Unix socket and by a policy of its own.
    CustodySigner(custody_signer::SignerArguments),
    /// The embedded EVM alone: an execution client with Engine API and eth_*.
    Engine(engine::EngineArguments),
    /// Runs Ethereum's own state, blockchain and engine fixtures.
    EvmTest(evm_test::EvmTestArguments),
    /// Head, safe, finalized, federation and the actors' health of a running node.
    Status(status::StatusArguments),
    /// Checks or prints a Namecoin-layout AuxPoW offline.
    #[command(subcommand)]
    Auxpow(auxpow::AuxPowCommand),
    /// Checks offline that a block is final.
    #[command(subcommand)]
    Proof(proof::ProofCommand),
    /// Keystores of federation members.
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Changes of the members and of who holds the coins.
    #[command(subcommand)]
    Federation(federation::FederationCommand),
    /// Bitcoin in and out, for depositors.
    #[command(subcommand)]
    Peg(peg::PegCommand),
    /// A stopped node's databases.
    #[command(subcommand)]
    Db(db::DbCommand),
    /// Writes the blocks of a stopped node's chain to a file.
    Export(move_chain::ExportArguments),
    /// Checks and executes the blocks of a file into a stopped node's databases.
    Import(move_chain::ImportArguments),
    /// Snapshots of the state, for new nodes.
    #[command(subcommand)]
    Snapshot(snapshot::SnapshotCommand),
    /// Checks or prints the effective configuration.
    #[command(subcommand)]
    Config(config::ConfigCommand),
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no failures; everything else is wrong usage.
            let code = if error.use_stderr() { 2 } else { 0 };
            return match error.print() {
                Ok(()) => ExitCode::from(code),
                Err(_) => ExitCode::FAILURE,
            };
        }
    };
    let outcome = match arguments.command {
        Command::Dev(arguments) => dev::dev(arguments),
        Command::Init(arguments) => init::init(&arguments),
        Command::Run(arguments) => run::run(arguments),
        Command::Mine(arguments) => mine::mine(arguments),
        Command::Load(arguments) => load::load(arguments),
        Command::BitcoinRegtest(arguments) => bitcoin_regtest::bitcoin_regtest(arguments),
        Command::CustodySigner(arguments) => custody_signer::custody_signer(arguments),
        Command::Engine(arguments) => engine::engine(arguments),
        Command::EvmTest(arguments) => evm_test::evm_test(&arguments),
        Command::Status(arguments) => status::status(&arguments),
        Command::Auxpow(command) => auxpow::auxpow(command),
        Command::Proof(command) => proof::proof(command),
        Command::Keys(command) => keys::keys(command),
        Command::Federation(command) => federation::federation(command),
        Command::Peg(command) => peg::peg(command),
        Command::Db(command) => db::db(command),
        Command::Export(arguments) => move_chain::export(arguments),
        Command::Import(arguments) => move_chain::import(arguments),
        Command::Snapshot(command) => snapshot::snapshot(command),
        Command::Config(command) => config::config(command),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Reads a file, or standard input for `-`, refusing more than [`MAX_INPUT`] bytes.
fn read_input(path: &Path) -> Result<String, Failure> {
    use std::io::Read as _;
    let name = path.display();
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(MAX_INPUT + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MAX_INPUT + 1).read_to_string(&mut text))
    };
    match read {
        Ok(bytes) if u64::try_from(bytes).is_ok_and(|bytes| bytes <= MAX_INPUT) => Ok(text),
        Ok(_) => Err(Failure::work(format!("{name} has more than {MAX_INPUT} bytes"))),
        Err(error) => Err(Failure::work(error).help(format!("while reading {name}"))),
    }
}
