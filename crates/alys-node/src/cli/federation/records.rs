//! The records of all changes, taken from a node's blocks: a custody signer follows the federation by them.

use super::current::NodeChain;
use super::record::{decode, keep};
use crate::cli::failure::{Failure, Outcome};
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(Args)]
pub(in crate::cli) struct RecordsArguments {
    /// Folder to write to: one file for each epoch, such as `change-0`, whose members signed it.
    #[arg(long)]
    out: PathBuf,
    /// JSON-RPC address of a node that has all blocks. `custody-signer` checks every record, so it need not be trusted.
    #[arg(long, default_value = "http://127.0.0.1:8545")]
    rpc: String,
}

pub(super) async fn records(arguments: &RecordsArguments) -> Outcome {
    let node = NodeChain::ask(&arguments.rpc).await?;
    std::fs::create_dir_all(&arguments.out)
        .map_err(|error| Failure::work(error).help(format!("while making {}", arguments.out.display())))?;
    let status = node.client.call("alys_status", json!([])).await.map_err(Failure::work)?;
    let head = number(&status["head"]["height"])?;
    let mut known = 0;
    for epoch in 0..node.current.epoch.0 {
        // The first height of the next epoch; the one above the head belongs to the newest.
        let (mut below, mut first) = (known, head.saturating_add(1));
        while first.saturating_sub(below) > 1 {
            let middle = below.midpoint(first);
            if number(&block(&node, middle).await?["epoch"])? > epoch {
                first = middle;
            } else {
                below = middle;
            }
        }
        known = below;
        // A change takes effect that many blocks after the one that carries it, or never.
        let carrier = block(&node, first.saturating_sub(node.spec.epoch_delay)).await?;
        let text = carrier["federationChange"].as_str().unwrap_or_default();
        let change = decode(text).filter(|change| change.epoch.0 == epoch);
        let change =
            change.ok_or_else(|| Failure::work(format!("no change of epoch {epoch} where it was looked for")))?;
        let path = arguments.out.join(format!("change-{epoch}"));
        keep(&path, text)?;
        let custody = if change.custody.is_empty() { "the custody stays" } else { "new custodians" };
        println!("{}  {} members, {custody}", path.display(), change.members.len());
    }
    Ok(())
}

async fn block(node: &NodeChain, height: u64) -> Result<Value, Failure> {
    let asked = node.client.call("alys_blockByHeight", json!([height])).await;
    asked.map_err(|error| Failure::work(error).help("a node that joined from a snapshot lacks old blocks: ask another"))
}

fn number(value: &Value) -> Result<u64, Failure> {
    value.as_u64().ok_or_else(|| Failure::work(format!("the node answered {value} where a number was due")))
}
