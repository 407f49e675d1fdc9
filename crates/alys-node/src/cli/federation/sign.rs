//! A member's signature under a proposal.

use super::proposal::{MemberSignature, Proposal};
use crate::cli::arguments::{ChainArguments, KeyArguments};
use crate::cli::failure::{Failure, Outcome};
use alys_chain::{Chain, ChainConfig};
use clap::Args;
use std::path::PathBuf;

#[derive(Args)]
pub(in crate::cli) struct SignArguments {
    /// The proposal; the signature is added to it.
    proposal: PathBuf,
    #[command(flatten)]
    chain: ChainArguments,
    #[command(flatten)]
    key: KeyArguments,
}

pub(super) fn sign(arguments: &SignArguments) -> Outcome {
    let mut proposal = Proposal::read(&arguments.proposal)?;
    let files = arguments.chain.read()?;
    let spec = files.spec.clone();
    let chain = Chain::genesis(files.spec, ChainConfig::default()).map_err(Failure::usage)?;
    proposal.check(&chain)?;
    proposal.check_signatures(&chain.verifier())?;
    let key = arguments.key.unlock()?;
    let public_key = key.public_key().to_bytes().into();
    let signature = key.sign(proposal.signing_root(&chain.verifier())).to_bytes().into();
    if proposal.signatures.iter().all(|known| known.public_key != public_key) {
        proposal.signatures.push(MemberSignature { public_key, signature });
        proposal.replace(&arguments.proposal)?;
    }
    print!("{}", proposal.describe(&spec, None));
    Ok(())
}
