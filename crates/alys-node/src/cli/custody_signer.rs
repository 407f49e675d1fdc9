//! `alys-node custody-signer`: a member's custody key in a process of its own.

use super::arguments::{ChainArguments, KeyArguments};
use super::failure::{Failure, Outcome};
use super::federation::custodies;
use super::run::{StopSignals, runtime, start_logging};
use crate::bridge::custody_keys;
use crate::config::LogFormat;
use alys_bitcoin::signer::{OwnSigner, Policy, SignedPayments, SignerServer};
use alys_chain::peg::PegRules;
use alys_primitives::Sats;
use clap::Args;
use std::path::PathBuf;

#[derive(Args)]
pub(super) struct SignerArguments {
    #[command(flatten)]
    chain: ChainArguments,
    /// A change of the federation (SSZ in hex) as it was submitted; all since genesis, in their order. Whoever they make
    /// custodians is served too.
    #[arg(long)]
    change: Vec<PathBuf>,
    #[command(flatten)]
    key: KeyArguments,
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
    let files = arguments.chain.read()?;
    let spec = files.spec.peg.first().ok_or_else(|| {
        Failure::usage(format!("the chain in {} has no peg", arguments.chain.chain_spec.display()))
            .help("its spec's `peg` names the custody")
    })?;
    let rules = PegRules::new(spec).map_err(Failure::usage)?;
    let secret = arguments.key.unlock()?;
    let keys = custody_keys(&secret);
    let custodies = custodies(&files.spec, &rules, &arguments.change)?;
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
