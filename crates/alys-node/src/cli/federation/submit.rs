//! A proposal that a quorum signed goes to the chain.

use super::current::NodeChain;
use super::proposal::Proposal;
use super::record::keep;
use crate::cli::failure::{Failure, Outcome};
use crate::rpc_client::RpcClientError;
use alys_chain::FederationError;
use alys_primitives::ssz::Encode as _;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

#[derive(Args)]
pub(in crate::cli) struct SubmitArguments {
    /// The proposal, or several copies of it with different members' signatures.
    #[arg(required = true)]
    proposals: Vec<PathBuf>,
    /// JSON-RPC address of a node that you trust.
    #[arg(long, default_value = "http://127.0.0.1:8545")]
    rpc: String,
    /// Also writes the record (SSZ in hex) to this file: `custody-signer --change` needs it where custodians are named.
    #[arg(long)]
    record: Option<PathBuf>,
}

pub(super) async fn submit(arguments: &SubmitArguments) -> Outcome {
    let proposal = merged(&arguments.proposals)?;
    let node = NodeChain::ask(&arguments.rpc).await?;
    proposal.check(&node.chain)?;
    if proposal.epoch != node.current.epoch {
        let error = FederationError::Epoch { found: proposal.epoch, expected: node.current.epoch };
        let rule = error.rule();
        return Err(Failure::work(error).help(format!("the federation has changed since: propose anew; rule `{rule}`")));
    }
    proposal.check_signatures(&node.chain.verifier())?;
    let record = proposal.record(&node.current.members)?;
    let text = format!("0x{}", hex::encode(record.as_ssz_bytes()));
    let sent = node.client.call("alys_submitFederationChange", json!([text])).await;
    sent.map_err(|error| refused(error, proposal.signatures.len(), node.current.quorum))?;
    // Only what the node took. If this fails, submitting again does no harm.
    if let Some(path) = &arguments.record {
        keep(path, &text)?;
    }
    println!("change {} waits for the next author", proposal.root());
    println!("it takes effect {} blocks after the block that carries it", node.spec.epoch_delay);
    Ok(())
}

/// The first proposal with all signatures.
fn merged(paths: &[PathBuf]) -> Result<Proposal, Failure> {
    let mut proposals = paths.iter().map(|path| Ok((path, Proposal::read(path)?)));
    let (_, mut first) = proposals.next().unwrap_or_else(|| Err(Failure::usage("no proposal")))?;
    for next in proposals {
        let (path, copy) = next?;
        if copy.root() != first.root() {
            return Err(Failure::usage(format!("{} is about another change than the first", path.display()))
                .help("chain, epoch, members and custodians must be the same in all of them"));
        }
        first.merge(copy);
    }
    Ok(first)
}

/// The node's refusal, with what can be done about it.
fn refused(error: RpcClientError, signed: usize, quorum: u64) -> Failure {
    let RpcClientError::Refused { rule: Some(rule), .. } = &error else { return Failure::work(error) };
    let help = match rule.as_str() {
        "no-quorum" => format!("{signed} members have signed, {quorum} must; rule `{rule}`"),
        "in-flight" => format!(
            "one change at a time: `alys_federation` shows the one in the chain; one may also wait for an author; rule `{rule}`"
        ),
        _ => format!("rule `{rule}`"),
    };
    Failure::work(error).help(help)
}
