//! A member's signature under a proposal.

use super::proposal::{MemberSignature, Proposal};
use crate::chain_files::ChainFiles;
use crate::cli::failure::{Failure, Outcome};
use crate::key_files::unlock;
use alys_chain::{Chain, ChainConfig};
use clap::Args;
use std::path::PathBuf;

#[derive(Args)]
pub(in crate::cli) struct SignArguments {
    /// The proposal; the signature is added to it.
    proposal: PathBuf,
    /// Chain spec (JSON).
    #[arg(long)]
    chain_spec: PathBuf,
    /// EVM genesis in geth's format (JSON).
    #[arg(long)]
    genesis: PathBuf,
    /// EIP-2335 keystore of the member.
    #[arg(long)]
    keystore: PathBuf,
    /// File whose first line is the keystore's password.
    #[arg(long)]
    password_file: PathBuf,
}

pub(super) fn sign(arguments: &SignArguments) -> Outcome {
    let mut proposal = Proposal::read(&arguments.proposal)?;
    let files = ChainFiles::read(&arguments.chain_spec, &arguments.genesis).map_err(Failure::usage)?;
    let spec = files.spec.clone();
    let chain = Chain::genesis(files.spec, ChainConfig::default()).map_err(Failure::usage)?;
    proposal.check(&chain)?;
    proposal.check_signatures(&chain.verifier())?;
    let key = unlock(&arguments.keystore, &arguments.password_file).map_err(Failure::work)?;
    let public_key = key.public_key().to_bytes().into();
    let signature = key.sign(proposal.signing_root(&chain.verifier())).to_bytes().into();
    if proposal.signatures.iter().all(|known| known.public_key != public_key) {
        proposal.signatures.push(MemberSignature { public_key, signature });
        proposal.replace(&arguments.proposal)?;
    }
    print!("{}", proposal.describe(&spec, None));
    Ok(())
}
