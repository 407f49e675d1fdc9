//! `alys-node peg pause`: members sign a decision about pausing the peg, anybody submits it.

use super::arguments::{ChainArguments, KeyArguments};
use super::failure::{Failure, Outcome};
use crate::bounded::read_bounded;
use crate::rpc_client::RpcClient;
use alys_chain::peg::PauseState;
use alys_chain::{Chain, ChainConfig};
use alys_crypto::{AggregateSignature, Signature};
use alys_primitives::ssz::Encode as _;
use alys_primitives::{BitVector, Epoch, Pause, PublicKeyBytes, Root, SignatureBytes};
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// The longest that one call may take.
const RPC_DEADLINE: Duration = Duration::from_secs(30);

/// The longest file with a signed decision in bytes.
const MAX_VOTE_BYTES: u64 = 4096;

#[derive(Subcommand)]
pub(super) enum PauseCommand {
    /// Prints a member's signature of a decision, for a file.
    Sign(SignArguments),
    /// Sends a decision that a quorum signed to a node, which tells the others; the next author puts it into a block.
    Submit(SubmitArguments),
}

#[derive(Args)]
pub(super) struct SignArguments {
    #[command(flatten)]
    chain: ChainArguments,
    #[command(flatten)]
    key: KeyArguments,
    /// The current epoch, as `alys-node status` shows it.
    #[arg(long)]
    epoch: u64,
    /// Number of the decision: one more than the newest, which `alys_pegPause` tells.
    #[arg(long)]
    sequence: u64,
    /// Deposits are held from then on; without it they are credited.
    #[arg(long)]
    hold_deposits: bool,
    /// Payments are held from then on; without it they are made.
    #[arg(long)]
    hold_payments: bool,
}

#[derive(Args)]
pub(super) struct SubmitArguments {
    /// Files that `sign` wrote, of a quorum of members.
    #[arg(required = true)]
    votes: Vec<PathBuf>,
    /// JSON-RPC address of a member.
    #[arg(long, default_value = "http://127.0.0.1:8545")]
    rpc: String,
}

/// One member's signature of a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Vote {
    genesis_root: Root,
    epoch: Epoch,
    sequence: u64,
    pegin_paused: bool,
    pegout_paused: bool,
    public_key: PublicKeyBytes,
    signature: SignatureBytes,
}

impl Vote {
    /// What it is about.
    fn decision(&self) -> (Root, Epoch, u64, bool, bool) {
        (self.genesis_root, self.epoch, self.sequence, self.pegin_paused, self.pegout_paused)
    }
}

pub(super) fn pause(command: &PauseCommand) -> Outcome {
    match command {
        PauseCommand::Sign(arguments) => sign(arguments),
        PauseCommand::Submit(arguments) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::work)?;
            runtime.block_on(submit(arguments))
        }
    }
}

fn sign(arguments: &SignArguments) -> Outcome {
    let files = arguments.chain.read()?;
    let key = arguments.key.unlock()?;
    let chain = Chain::genesis(files.spec, ChainConfig::default()).map_err(Failure::usage)?;
    let state = PauseState {
        sequence: arguments.sequence,
        pegin_paused: arguments.hold_deposits,
        pegout_paused: arguments.hold_payments,
    };
    let epoch = Epoch(arguments.epoch);
    let signature = key.sign(chain.verifier().pause_signing_root(epoch, &state));
    let vote = Vote {
        genesis_root: chain.genesis_root(),
        epoch,
        sequence: state.sequence,
        pegin_paused: state.pegin_paused,
        pegout_paused: state.pegout_paused,
        public_key: key.public_key().to_bytes().into(),
        signature: signature.to_bytes().into(),
    };
    println!("{}", serde_json::to_string(&vote).map_err(Failure::work)?);
    Ok(())
}

async fn submit(arguments: &SubmitArguments) -> Outcome {
    let mut votes: Vec<Vote> = Vec::new();
    for path in &arguments.votes {
        let bytes = read_bounded(path, MAX_VOTE_BYTES).map_err(Failure::usage)?;
        let vote: Vote = serde_json::from_slice(&bytes)
            .map_err(|error| Failure::usage(error).help(format!("while reading {}", path.display())))?;
        if votes.first().is_some_and(|first| first.decision() != vote.decision()) {
            return Err(Failure::usage(format!("{} is about another decision than the first", path.display()))
                .help("chain, epoch, number and directions must be the same in all of them"));
        }
        if votes.iter().all(|known| known.public_key != vote.public_key) {
            votes.push(vote);
        }
    }
    let client = RpcClient::new(&arguments.rpc, RPC_DEADLINE).map_err(Failure::usage)?;
    let federation = client.call("alys_federation", json!([])).await.map_err(Failure::work)?;
    let members = federation["members"].as_array().map(Vec::as_slice).unwrap_or_default();
    let pause = record(&votes, members)?;
    let text = format!("0x{}", hex::encode(pause.as_ssz_bytes()));
    client.call("alys_submitPause", json!([text])).await.map_err(|error| {
        Failure::work(error).help(format!("{} signatures, the quorum is {}", votes.len(), federation["quorum"]))
    })?;
    println!("decision {} waits for the next author", pause.sequence);
    Ok(())
}

/// The record that block bodies carry.
fn record(votes: &[Vote], members: &[Value]) -> Result<Pause, Failure> {
    let first = votes.first().ok_or_else(|| Failure::usage("no signatures"))?;
    let mut bitfield = BitVector::new();
    let mut signatures = Vec::new();
    for vote in votes {
        let named = json!(vote.public_key);
        let index = members.iter().position(|member| member["publicKey"] == named).ok_or_else(|| {
            Failure::usage(format!("{} is no member's key", vote.public_key))
                .help("members of the current epoch decide")
        })?;
        bitfield.set(index, true).map_err(|_| Failure::work("too many members"))?;
        signatures.push(Signature::from_bytes(vote.signature.as_slice()).map_err(Failure::usage)?);
    }
    let sum = AggregateSignature::aggregate(&signatures).map_err(Failure::usage)?;
    Ok(Pause {
        genesis_root: first.genesis_root,
        epoch: first.epoch,
        sequence: first.sequence,
        pegin_paused: first.pegin_paused,
        pegout_paused: first.pegout_paused,
        bitfield,
        aggregate_signature: sum.to_bytes().into(),
    })
}
