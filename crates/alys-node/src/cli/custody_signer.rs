//! `alys-node custody-signer`: a member's custody key in a process of its own.

use super::failure::{Failure, Outcome};
use super::run::{StopSignals, runtime, start_logging};
use crate::bounded::read_bounded;
use crate::bridge::custody_keys;
use crate::chain_files::ChainFiles;
use crate::config::LogFormat;
use crate::key_files::unlock;
use alys_bitcoin::signer::{OwnSigner, Policy, SignedPayments, SignerServer};
use alys_chain::peg::{Custody, PegRules};
use alys_primitives::ssz::Decode as _;
use alys_primitives::{FederationChange, Sats};
use clap::Args;
use std::path::{Path, PathBuf};

/// The longest file with a change in bytes: 128 members, in hex.
const MAX_CHANGE_BYTES: u64 = 128 * 1024;

#[derive(Args)]
pub(super) struct SignerArguments {
    /// Chain spec (JSON).
    #[arg(long)]
    chain_spec: PathBuf,
    /// EVM genesis in geth's format (JSON).
    #[arg(long)]
    genesis: PathBuf,
    /// A change of the federation (SSZ in hex) as it was submitted; all since genesis, in their order. Whoever they make
    /// custodians is served too.
    #[arg(long)]
    change: Vec<PathBuf>,
    /// EIP-2335 keystore whose custody key signs.
    #[arg(long)]
    keystore: PathBuf,
    /// File whose first line is the keystore's password.
    #[arg(long)]
    password_file: PathBuf,
    /// Unix socket to listen at; the node's `validator.custody_socket`.
    #[arg(long)]
    socket: PathBuf,
    /// File of what was signed, which must outlive everything.
    #[arg(long)]
    record: PathBuf,
    /// The most satoshis of requests that are signed for the first time within a day.
    #[arg(long)]
    daily_limit: Option<u64>,
    /// Log filter.
    #[arg(long, default_value = "info")]
    log: String,
}

pub(super) fn custody_signer(arguments: SignerArguments) -> Outcome {
    start_logging(&arguments.log, LogFormat::Text)?;
    let files = ChainFiles::read(&arguments.chain_spec, &arguments.genesis).map_err(Failure::usage)?;
    let spec = files.spec.peg.first().ok_or_else(|| {
        Failure::usage(format!("the chain in {} has no peg", arguments.chain_spec.display()))
            .help("its spec's `peg` names the custody")
    })?;
    let rules = PegRules::new(spec).map_err(Failure::usage)?;
    let secret = unlock(&arguments.keystore, &arguments.password_file).map_err(Failure::work)?;
    let keys = custody_keys(&secret);
    let changes = arguments.change.iter().map(|path| read_change(path)).collect::<Result<Vec<_>, _>>()?;
    let custodians = alys_chain::follow_custody(files.spec.clone(), &changes).map_err(Failure::usage)?;
    let mut custodies = vec![rules.custody().clone()];
    for custodians in &custodians {
        custodies.push(Custody::of(custodians).map_err(Failure::usage)?);
    }
    if !custodies.iter().any(|custody| keys.iter().any(|key| custody.keys().contains(&key.public_key()))) {
        return Err(Failure::usage("no custody key of this keystore is part of the federation's")
            .help("the chain spec's `peg.custody_keys` lists them, and `--change` names later ones"));
    }
    let signed = SignedPayments::open(&arguments.record).map_err(Failure::work)?;
    let policy = Policy::new(spec, custodies, arguments.daily_limit.map(Sats));
    let signer = OwnSigner::new(keys, policy, signed, || crate::clock::wall_now().0 / 1000);
    runtime()?.block_on(async move {
        let mut signals = StopSignals::listen()?;
        let server = SignerServer::bind(&arguments.socket)
            .await
            .map_err(|error| Failure::work(error).help(format!("while listening at {}", arguments.socket.display())))?;
        println!("custody signer at {}", arguments.socket.display());
        tokio::select! {
            biased;
            () = signals.asked() => {}
            never = server.run(signer) => match never {},
        }
        drop(std::fs::remove_file(&arguments.socket));
        Ok(())
    })
}

fn read_change(path: &Path) -> Result<FederationChange, Failure> {
    let bytes = read_bounded(path, MAX_CHANGE_BYTES).map_err(Failure::usage)?;
    let text = String::from_utf8_lossy(&bytes);
    let bytes = hex::decode(text.trim().trim_start_matches("0x")).unwrap_or_default();
    FederationChange::from_ssz_bytes(&bytes)
        .map_err(|_| Failure::usage(format!("{} is no change of the federation (SSZ in hex)", path.display())))
}
