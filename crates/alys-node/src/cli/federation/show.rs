//! What a proposal changes.

use super::current::NodeChain;
use super::proposal::{Proposal, custody_address};
use crate::cli::failure::{Failure, Outcome};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

#[derive(Args)]
pub(in crate::cli) struct ShowArguments {
    /// The proposal.
    proposal: PathBuf,
    /// JSON-RPC address of a node that you trust.
    #[arg(long, default_value = "http://127.0.0.1:8545")]
    rpc: String,
    /// One JSON document instead of text.
    #[arg(long)]
    json: bool,
}

pub(super) async fn show(arguments: &ShowArguments) -> Outcome {
    let proposal = Proposal::read(&arguments.proposal)?;
    let node = NodeChain::ask(&arguments.rpc).await?;
    proposal.check(&node.chain)?;
    proposal.check_signatures(&node.chain.verifier())?;
    let now = &node.current.members;
    if arguments.json {
        let keys = |all: &[alys_primitives::Member], others: &[alys_primitives::Member]| {
            let only = all.iter().filter(|member| !others.contains(member));
            only.map(|member| member.public_key).collect::<Vec<_>>()
        };
        let members = proposal.members.to_vec();
        let document = json!({
            "changeRoot": proposal.root(),
            "epoch": proposal.epoch,
            "currentEpoch": node.current.epoch,
            "quorum": node.current.quorum,
            "signers": proposal.signatures.iter().map(|signed| signed.public_key).collect::<Vec<_>>(),
            "added": keys(&members, now),
            "removed": keys(now, &members),
            "members": members.len(),
            "custody": proposal.custody.first(),
            "custodyAddress": proposal.custody.first().and_then(|custody| custody_address(&node.spec, &custody.custodians())),
        });
        println!("{}", serde_json::to_string_pretty(&document).map_err(Failure::work)?);
    } else {
        print!("{}", proposal.describe(&node.spec, Some(now)));
        println!("quorum    {}", node.current.quorum);
    }
    Ok(())
}
