//! `alys-node custody-signer`: a member's custody key in a process of its own.

use super::failure::{Failure, Outcome};
use super::run::{StopSignals, runtime, start_logging};
use crate::bridge::custody_key;
use crate::chain_files::ChainFiles;
use crate::config::LogFormat;
use crate::key_files::unlock;
use alys_bitcoin::signer::{OwnSigner, Policy, SignedPayments, SignerServer};
use alys_chain::peg::PegRules;
use alys_primitives::Sats;
use clap::Args;
use std::path::PathBuf;

#[derive(Args)]
pub(super) struct SignerArguments {
    /// Chain spec (JSON).
    #[arg(long)]
    chain_spec: PathBuf,
    /// EVM genesis in geth's format (JSON).
    #[arg(long)]
    genesis: PathBuf,
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
    let key = custody_key(&secret).ok_or_else(|| Failure::work("the keystore's secret gives no custody key"))?;
    if !rules.custody().keys().contains(&key.public_key()) {
        return Err(Failure::usage(format!("the custody key {} is not part of the federation's", key.public_key()))
            .help("the chain spec's `peg.custody_keys` lists them"));
    }
    let signed = SignedPayments::open(&arguments.record).map_err(Failure::work)?;
    let policy = Policy::new(spec, rules.custody().clone(), arguments.daily_limit.map(Sats));
    let signer = OwnSigner::new(key, policy, signed, || crate::clock::wall_now().0 / 1000);
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
