//! `alys-node proof verify`: checks offline that a block is final.

use super::failure::{Failure, Outcome};
use super::read_input;
use crate::bounded::read_bounded;
use crate::chain_files::MAX_SPEC_BYTES;
use alys_chain::proof::{BlockProof, EpochQuorum, verifier};
use alys_chain::{Chain, ChainConfig, Verifier};
use alys_primitives::{ChainSpec, Epoch, Members, ssz::Decode as _};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(Subcommand)]
pub(super) enum ProofCommand {
    /// Checks what `alys_blockProof` answers; exit code 1 and what is wrong if the proof does not hold.
    Verify(VerifyArguments),
}

#[derive(Args)]
pub(super) struct VerifyArguments {
    /// The chain spec.
    #[arg(long)]
    spec: PathBuf,
    /// Members of the certifying epoch as JSON, as a chain spec has them; those of the spec if not given.
    #[arg(long)]
    members: Option<PathBuf>,
    /// One JSON document instead of text.
    #[arg(long)]
    json: bool,
    /// The proof: hex, or the answer of `alys_blockProof`; `-` reads standard input.
    file: PathBuf,
}

pub(super) fn proof(command: ProofCommand) -> Outcome {
    match command {
        ProofCommand::Verify(arguments) => verify(&arguments),
    }
}

fn verify(arguments: &VerifyArguments) -> Outcome {
    let spec = read_bounded(&arguments.spec, MAX_SPEC_BYTES).map_err(Failure::usage)?;
    let spec: ChainSpec = serde_json::from_slice(&spec).map_err(Failure::usage)?;
    // Checks the spec and the members' proofs of possession.
    let checker = Chain::genesis(spec, ChainConfig::default()).map_err(Failure::usage)?.verifier();
    let proof = read_proof(&read_input(&arguments.file)?)?;
    let quorum = quorum(&checker, arguments, proof.certificate.epoch)?;
    verifier::verify(&proof, &checker.trust(), &quorum).map_err(Failure::work)?;
    let header = &proof.header;
    if arguments.json {
        let found = json!({
            "final": true,
            "root": header.root(),
            "height": header.height.0,
            "slot": header.slot.0,
            "executionHash": header.execution_block_hash,
        });
        println!("{found}");
    } else {
        println!("final: block {} at height {}, slot {}", header.root(), header.height, header.slot);
        println!("       EVM block {}", header.execution_block_hash);
    }
    Ok(())
}

fn quorum(checker: &Verifier, arguments: &VerifyArguments, epoch: Epoch) -> Result<EpochQuorum, Failure> {
    match &arguments.members {
        Some(path) => {
            let members = read_bounded(path, MAX_SPEC_BYTES).map_err(Failure::usage)?;
            let members: Members = serde_json::from_slice(&members).map_err(Failure::usage)?;
            checker.quorum_of(&members).map_err(Failure::usage)
        }
        None => checker.quorum(epoch).ok_or_else(|| {
            Failure::usage(format!("the spec's members are those of epoch 0, the proof is of epoch {epoch}"))
                .help("`--members` names a file with that epoch's members")
        }),
    }
}

/// Hex, or a JSON document with a field `proof`, perhaps inside of a field `result`.
fn read_proof(text: &str) -> Result<BlockProof, Failure> {
    let text = text.trim();
    let hex = match serde_json::from_str::<Value>(text) {
        Ok(document) => {
            let answer = document.get("result").unwrap_or(&document);
            let proof = answer.get("proof").unwrap_or(answer).as_str();
            proof.ok_or_else(|| Failure::work("the document has no text in `proof`"))?.to_owned()
        }
        Err(_) => text.to_owned(),
    };
    let bytes = hex::decode(hex.trim_start_matches("0x")).map_err(Failure::work)?;
    BlockProof::from_ssz_bytes(&bytes).map_err(|error| Failure::work(format!("no block proof: {error:?}")))
}
