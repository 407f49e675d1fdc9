//! `alys-node auxpow verify|decode`.

use super::failure::{Failure, Outcome};
use super::read_input;
use alys_auxpow::{AuxPow, CommitmentPlace, ParentHeader, Rules, Target, Transaction, display_order};
use alys_primitives::B256;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(Subcommand)]
pub(super) enum AuxPowCommand {
    /// Checks an AuxPoW offline; exit code 1 and the name of the broken rule if it is invalid.
    Verify(VerifyArguments),
    /// Prints an AuxPoW as JSON.
    Decode {
        /// Hex-encoded AuxPoW; `-` reads standard input.
        file: PathBuf,
    },
}

#[derive(Args)]
pub(super) struct VerifyArguments {
    /// The chain's id in merged mining.
    #[arg(long)]
    chain_id: u64,
    /// The mined hash as `createauxblock` prints it (64 hex digits, reversed byte order).
    #[arg(long)]
    hash: String,
    /// The target in Bitcoin's compact form (8 hex digits); without it the work is not checked.
    #[arg(long)]
    bits: Option<String>,
    /// Where the commitment may stand: scriptsig, output or either.
    #[arg(long, default_value = "scriptsig")]
    commitment: CommitmentPlace,
    /// One JSON document instead of text.
    #[arg(long)]
    json: bool,
    /// Hex-encoded AuxPoW; `-` reads standard input.
    file: PathBuf,
}

pub(super) fn auxpow(command: AuxPowCommand) -> Outcome {
    match command {
        AuxPowCommand::Verify(arguments) => verify(&arguments),
        AuxPowCommand::Decode { file } => {
            let proof = AuxPow::decode(&read_hex(&file)?)
                .map_err(|error| Failure::work(format!("{}: {error}", error.rule())))?;
            println!("{}", serde_json::to_string_pretty(&describe(&proof)).map_err(Failure::work)?);
            Ok(())
        }
    }
}

/// A broken rule: its name and the reason.
struct Broken {
    rule: &'static str,
    reason: String,
}

fn verify(arguments: &VerifyArguments) -> Outcome {
    let hash = parse_hash(&arguments.hash)?;
    let target = arguments.bits.as_deref().map(parse_bits).transpose()?;
    if arguments.chain_id > 0xffff {
        return Err(Failure::usage(format!("chain id {} does not fit 16 bits", arguments.chain_id)));
    }
    let bytes = read_hex(&arguments.file)?;
    let rules = Rules { chain_id: arguments.chain_id, place: arguments.commitment };
    match check(&bytes, hash, &rules, target) {
        Ok(facts) => {
            if arguments.json {
                println!("{facts}");
            } else {
                let work = if target.is_some() { "" } else { " (work not checked: no --bits)" };
                println!("valid{work}: parent {}", facts["parent"].as_str().unwrap_or_default());
            }
            Ok(())
        }
        Err(Broken { rule, reason }) => {
            if arguments.json {
                println!("{}", json!({ "valid": false, "rule": rule, "reason": reason }));
            }
            Err(Failure::work(format!("{rule}: {reason}")))
        }
    }
}

fn check(bytes: &[u8], hash: B256, rules: &Rules, target: Option<Target>) -> Result<Value, Broken> {
    let proof = AuxPow::decode(bytes).map_err(|error| Broken { rule: error.rule(), reason: error.to_string() })?;
    let verified = match target {
        Some(target) => proof.verify(hash, rules, target),
        None => proof.verify_commitment(hash, rules),
    }
    .map_err(|error| Broken { rule: error.rule(), reason: error.to_string() })?;
    Ok(json!({
        "valid": true,
        "workChecked": target.is_some(),
        "parent": display_hex(verified.parent_hash),
        "treeSize": verified.commitment.size,
        "treeNonce": verified.commitment.nonce,
        "chainIndex": proof.chain_index,
    }))
}

fn describe(proof: &AuxPow) -> Value {
    json!({
        "coinbase": describe_transaction(&proof.coinbase),
        "coinbaseBranch": proof.coinbase_branch.iter().copied().map(display_hex).collect::<Vec<_>>(),
        "chainBranch": proof.chain_branch.iter().copied().map(display_hex).collect::<Vec<_>>(),
        "chainIndex": proof.chain_index,
        "parent": describe_header(&proof.parent),
    })
}

fn describe_transaction(transaction: &Transaction) -> Value {
    json!({
        "txid": display_hex(transaction.txid()),
        "version": transaction.version,
        "inputs": transaction.inputs.iter().map(|input| json!({
            "txid": display_hex(input.previous_txid),
            "index": input.previous_index,
            "script": hex::encode(&input.script),
            "sequence": input.sequence,
        })).collect::<Vec<_>>(),
        "outputs": transaction.outputs.iter().map(|output| json!({
            "sats": output.value,
            "script": hex::encode(&output.script),
        })).collect::<Vec<_>>(),
        "lockTime": transaction.lock_time,
    })
}

fn describe_header(header: &ParentHeader) -> Value {
    json!({
        "hash": display_hex(header.hash()),
        "version": header.version(),
        "chainId": header.chain_id(),
        "previous": display_hex(header.previous()),
        "merkleRoot": display_hex(header.merkle_root()),
        "time": header.time(),
        "bits": format!("{:08x}", header.bits()),
        "nonce": header.nonce(),
    })
}

fn display_hex(hash: B256) -> String {
    hex::encode(display_order(hash))
}

fn parse_hash(text: &str) -> Result<B256, Failure> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes)
        .map_err(|error| Failure::usage(format!("`{text}` is not a hash: {error}")).help("64 hex digits without 0x"))?;
    Ok(display_order(B256::from(bytes)))
}

fn parse_bits(text: &str) -> Result<Target, Failure> {
    let bits = u32::from_str_radix(text, 16)
        .map_err(|error| Failure::usage(format!("`{text}` are no bits: {error}")).help("8 hex digits without 0x"))?;
    Target::from_compact(bits).map_err(|error| Failure::usage(format!("`{text}` is no target: {error}")))
}

fn read_hex(file: &std::path::Path) -> Result<Vec<u8>, Failure> {
    let text = read_input(file)?;
    hex::decode(text.trim()).map_err(|error| {
        Failure::work(format!("not-hex: {} holds no hex ({error})", file.display()))
            .help("the AuxPoW as hex digits, without 0x")
    })
}
