//! `alys-node status`.

use super::failure::{Failure, Outcome};
use super::progress::Progress;
use crate::rpc_client::{RpcClient, RpcClientError};
use clap::Args;
use serde_json::{Value, json};
use std::time::Duration;

#[derive(Args)]
pub(super) struct StatusArguments {
    /// JSON-RPC address of the node.
    #[arg(long, default_value = "http://127.0.0.1:8545")]
    rpc: String,
    /// One JSON document instead of text.
    #[arg(long)]
    json: bool,
    /// Shows how far a node that catches up is, and ends when it has.
    #[arg(long)]
    watch: bool,
}

/// How often a watched node is asked.
const WATCH: Duration = Duration::from_millis(500);

pub(super) fn status(arguments: &StatusArguments) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::work)?;
    let client = RpcClient::new(&arguments.rpc, Duration::from_secs(10)).map_err(Failure::usage)?;
    let mut status = runtime.block_on(ask(&client))?;
    if arguments.watch {
        let mut progress = Progress::new();
        while status["sync"]["state"] == "syncing" {
            progress.told("syncing", &how_far(&status["sync"]));
            std::thread::sleep(WATCH);
            status = runtime.block_on(ask(&client))?;
        }
        progress.end();
    }
    let actors = runtime.block_on(client.call("alys_actors", json!([]))).map_err(Failure::work)?;
    if arguments.json {
        println!("{}", json!({ "status": status, "actors": actors }));
    } else {
        print!("{}", describe(&status, &actors));
    }
    Ok(())
}

async fn ask(client: &RpcClient) -> Result<Value, Failure> {
    client.call("alys_status", json!([])).await.map_err(|error| match &error {
        RpcClientError::Unreachable { .. } => {
            Failure::work(error).help("is the node running? `--rpc` names another address")
        }
        RpcClientError::BadUrl { .. }
        | RpcClientError::TimedOut { .. }
        | RpcClientError::Malformed { .. }
        | RpcClientError::Refused { .. } => Failure::work(error),
    })
}

fn how_far(sync: &Value) -> String {
    format!(
        "{} of {}, {} blocks a second, {} s left",
        plain(&sync["head"]),
        plain(&sync["target"]),
        plain(&sync["blocksPerSecond"]),
        plain(&sync["secondsLeft"]),
    )
}

fn describe(status: &Value, actors: &Value) -> String {
    let mut text = String::new();
    for tag in ["head", "safe", "finalized"] {
        let block = &status[tag];
        text.push_str(&format!(
            "{tag:<10} height {:<8} slot {:<8} {}\n",
            plain(&block["height"]),
            plain(&block["slot"]),
            plain(&block["root"]),
        ));
    }
    let auxpow = &status["auxpow"];
    text.push_str(&format!(
        "auxpow     {} bundles, committed to height {}, {} queued{}\n",
        plain(&auxpow["records"]),
        plain(&auxpow["committedHeight"]),
        plain(&auxpow["queued"]),
        if status["stalled"] == true { ", STALLED: waiting for a miner" } else { "" },
    ));
    let federation = &status["federation"];
    text.push_str(&format!(
        "federation epoch {}, {} members, quorum {}; this node is {}\n",
        plain(&federation["epoch"]),
        plain(&federation["members"]),
        plain(&federation["quorum"]),
        status["memberIndex"].as_u64().map_or_else(|| "an observer".to_owned(), |index| format!("member {index}")),
    ));
    let sync = &status["sync"];
    let mut progress = sync["state"].as_str().map(|state| format!(", {state}")).unwrap_or_default();
    if sync["state"] == "syncing" {
        progress.push_str(&format!(": {}", how_far(sync)));
    }
    if let Some(oldest) = sync["oldest"].as_u64().filter(|oldest| *oldest > 1) {
        progress.push_str(&format!(", blocks from {oldest} on are here"));
    }
    text.push_str(&format!("peers      {}{progress}\n", plain(&status["peers"])));
    let doppelganger = &status["doppelganger"];
    if !doppelganger.is_null() {
        text.push_str(&format!(
            "NOT SIGNING: another process signs with this member's key ({} of slot {})\n",
            plain(&doppelganger["duty"]),
            plain(&doppelganger["slot"]),
        ));
    }
    list_actors(actors, &mut text);
    text
}

/// One line per actor of the supervision tree.
fn list_actors(node: &Value, text: &mut String) {
    if let (Some(path), Some(state)) = (node["path"].as_str(), node["state"].as_str()) {
        text.push_str(&format!("actor      {path:<24} {state}, {} restarts\n", plain(&node["restarts"])));
    }
    for child in node["children"].as_array().into_iter().flatten() {
        list_actors(child, text);
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}
