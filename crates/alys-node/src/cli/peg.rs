//! `alys-node peg`: for those who bring bitcoin in and take it out.

use super::failure::{Failure, Outcome};
use super::pause::{PauseCommand, pause};
use super::recover::{RecoverCommand, recover};
use crate::bounded::read_bounded;
use crate::bridge::withdrawal;
use crate::evm_account::{AccountError, EvmAccount};
use crate::rpc_client::{RpcClient, RpcClientError};
use alys_primitives::{Address, Sats};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;
use zeroize::Zeroizing;

/// The longest that one call may take.
const RPC_DEADLINE: Duration = Duration::from_secs(30);

/// How often a deposit or withdrawal that is followed is asked about.
const FOLLOW_PERIOD: Duration = Duration::from_secs(1);

/// The longest key file in bytes.
const MAX_KEY_BYTES: u64 = 256;

#[derive(Subcommand)]
pub(super) enum PegCommand {
    /// Where to pay bitcoin so that an EVM address is credited.
    Deposit(DepositArguments),
    /// Burns coins and asks for bitcoin.
    Withdraw(WithdrawArguments),
    /// How far a deposit (Bitcoin transaction id) or a withdrawal (EVM transaction hash) is.
    Status(StatusArguments),
    /// For members: hold deposits or payments, or let them go on.
    #[command(subcommand)]
    Pause(PauseCommand),
    /// For the holders of recovery keys: take coins that nobody has moved for long, if too many custody keys are lost.
    #[command(subcommand)]
    Recover(Box<RecoverCommand>),
}

#[derive(Args)]
pub(super) struct Connection {
    /// JSON-RPC address of the node.
    #[arg(long, default_value = "http://127.0.0.1:8545")]
    rpc: String,
    /// JSON instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct DepositArguments {
    /// The EVM address to be credited.
    #[arg(long)]
    to: Address,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Args)]
pub(super) struct WithdrawArguments {
    /// The Bitcoin address to be paid.
    #[arg(long)]
    to: String,
    /// How much to burn, in satoshis; the Bitcoin fee comes out of it.
    #[arg(long)]
    sats: u64,
    /// File with the account's secret key in hex.
    #[arg(long)]
    key_file: PathBuf,
    /// Ends as soon as the burn is sent instead of following it until it is paid.
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Args)]
pub(super) struct StatusArguments {
    /// A Bitcoin transaction id (64 hex digits), or an EVM transaction hash (0x and 64 hex digits).
    id: String,
    /// Goes on until the deposit is final, or the withdrawal is paid or refunded.
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn peg(command: PegCommand) -> Outcome {
    if let PegCommand::Pause(command) = &command {
        return pause(command);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::work)?;
    runtime.block_on(async {
        match command {
            PegCommand::Deposit(arguments) => deposit(&arguments).await,
            PegCommand::Withdraw(arguments) => withdraw(&arguments).await,
            PegCommand::Status(arguments) => status(&arguments).await,
            PegCommand::Recover(command) => recover(&command).await,
            PegCommand::Pause(_) => Ok(()),
        }
    })
}

impl Connection {
    fn client(&self) -> Result<RpcClient, Failure> {
        RpcClient::new(&self.rpc, RPC_DEADLINE).map_err(Failure::usage)
    }
}

async fn deposit(arguments: &DepositArguments) -> Outcome {
    let client = arguments.connection.client()?;
    let answer = call(&client, "alys_depositAddress", json!([arguments.to])).await?;
    if arguments.connection.json {
        println!("{answer}");
        return Ok(());
    }
    println!("network        {}", plain(&answer["network"]));
    println!("pay to         {}", plain(&answer["address"]));
    println!("second output  OP_RETURN with {} (script {})", hex::encode(arguments.to), plain(&answer["opReturn"]));
    println!("at least       {} satoshis, all outputs to the address together", plain(&answer["minSats"]));
    println!("credited after {} confirmations", plain(&answer["confirmations"]));
    println!();
    println!("with bitcoin-cli:");
    println!(
        "  bitcoin-cli -named send outputs='{{\"{}\": AMOUNT, \"data\": \"{}\"}}'",
        plain(&answer["address"]),
        hex::encode(arguments.to)
    );
    println!("then: alys-node peg status --follow TXID");
    Ok(())
}

async fn withdraw(arguments: &WithdrawArguments) -> Outcome {
    let client = arguments.connection.client()?;
    let account = account(&arguments.key_file)?;
    let hash =
        account.send(&client, withdrawal(&arguments.to, Sats(arguments.sats))).await.map_err(|error| match error {
            AccountError::Rpc(error @ RpcClientError::Refused { .. }) => Failure::work(error)
                .help("the amount must be whole satoshis between the contract's bounds, and the account must hold it"),
            other @ (AccountError::Key
            | AccountError::Rpc(_)
            | AccountError::Answer { .. }
            | AccountError::Signature(_)) => Failure::work(other),
        })?;
    if arguments.no_wait {
        match arguments.connection.json {
            true => println!("{}", json!({ "transaction": hash })),
            false => println!("burn sent: {hash}"),
        }
        return Ok(());
    }
    follow(&client, &hash.to_string(), arguments.connection.json).await
}

async fn status(arguments: &StatusArguments) -> Outcome {
    let client = arguments.connection.client()?;
    if arguments.follow {
        return follow(&client, &arguments.id, arguments.connection.json).await;
    }
    let answer = ask(&client, &arguments.id).await.map_err(|error| rpc_failure(error, &arguments.id))?;
    print(&answer, arguments.connection.json);
    Ok(())
}

/// Prints each new status until nothing more will change.
async fn follow(client: &RpcClient, id: &str, json: bool) -> Outcome {
    let mut last = Value::Null;
    let mut ticks = tokio::time::interval(FOLLOW_PERIOD);
    loop {
        ticks.tick().await;
        let answer = match ask(client, id).await {
            Ok(answer) => answer,
            // A transaction that is not in a block yet.
            Err(RpcClientError::Refused { code: -32001, .. }) => continue,
            Err(error) => return Err(rpc_failure(error, id)),
        };
        let status: Vec<&Value> = entries(&answer).iter().map(|entry| &entry["status"]).collect();
        let seen = json!(status);
        if seen != last {
            print(&answer, json);
            last = seen;
        }
        let ended = |status: &Value| {
            matches!(status.as_str(), Some("finalized" | "unclaimed" | "too-large" | "paid" | "refunded" | "payment"))
        };
        let is_withdrawal = answer.is_array();
        if status.iter().all(|status| ended(status) && !(is_withdrawal && status.as_str() == Some("finalized"))) {
            return Ok(());
        }
    }
}

async fn ask(client: &RpcClient, id: &str) -> Result<Value, RpcClientError> {
    let method = if id.starts_with("0x") { "alys_pegOutStatus" } else { "alys_pegInStatus" };
    client.call(method, json!([id])).await
}

fn entries(answer: &Value) -> &[Value] {
    answer.as_array().map_or(std::slice::from_ref(answer), Vec::as_slice)
}

fn print(answer: &Value, json: bool) {
    if json {
        println!("{answer}");
        return;
    }
    for entry in entries(answer) {
        let mut line = format!("{:<10} {} sats", plain(&entry["status"]), plain(&entry["sats"]));
        for (key, label) in [
            ("confirmations", "confirmations"),
            ("recipient", "for"),
            ("bitcoinAddress", "to"),
            ("batch", "batch"),
            ("paidSats", "paid"),
            ("txid", "txid"),
            ("reason", "reason"),
        ] {
            if !entry[key].is_null() {
                line.push_str(&format!(", {label} {}", plain(&entry[key])));
            }
        }
        println!("{line}");
    }
}

/// An account whose key is in a file, so that it is in no process list.
fn account(path: &std::path::Path) -> Result<EvmAccount, Failure> {
    let bytes = Zeroizing::new(read_bounded(path, MAX_KEY_BYTES).map_err(Failure::usage)?);
    let bad =
        || Failure::usage(format!("{} holds no secret key", path.display())).help("64 hex digits, with or without 0x");
    let text = std::str::from_utf8(&bytes).map_err(|_| bad())?.trim();
    let mut secret = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.trim_start_matches("0x"), &mut *secret).map_err(|_| bad())?;
    EvmAccount::new(&secret).map_err(Failure::usage)
}

async fn call(client: &RpcClient, method: &str, params: Value) -> Result<Value, Failure> {
    client.call(method, params).await.map_err(|error| rpc_failure(error, method))
}

fn rpc_failure(error: RpcClientError, what: &str) -> Failure {
    match &error {
        RpcClientError::Unreachable { .. } => {
            Failure::work(error).help("is the node running? `--rpc` names another address")
        }
        RpcClientError::BadUrl { .. }
        | RpcClientError::TimedOut { .. }
        | RpcClientError::Malformed { .. }
        | RpcClientError::Refused { .. } => Failure::work(error).help(format!("while asking about {what}")),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}
