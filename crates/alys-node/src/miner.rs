//! The dev chain's merged miner: mines the embedded regtest and commits to Alys bundles, through the same JSON-RPC calls
//! that miners outside use.

use crate::rpc_client::{RpcClient, RpcClientError};
use alys_auxpow::{AuxPow, Commitment, ParentHeader, Target, Transaction, display_order};
use alys_bitcoin::{BitcoinPort, GrindError, PortError, TemplateError, grind, grind_to};
use alys_primitives::{Address, B256};
use bitcoin::ScriptBuf;
use bitcoin::consensus::encode::serialize;
use bitcoin::hashes::Hash as _;
use serde_json::{Value, json};

/// Hashes tried before other work gets a turn.
const CHUNK: u32 = 20_000;

/// Hashes tried for one template before a fresh one is asked for.
const MAX_ATTEMPTS: u32 = 20_000_000;

/// Why a round of mining brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum MinerError {
    /// The node has no template or refused the proof's form.
    #[error("the node did not serve the miner")]
    Rpc(#[from] RpcClientError),
    /// The template is not what `createauxblock` gives.
    #[error("template without a readable `{field}`")]
    Template {
        /// The field.
        field: &'static str,
    },
    /// Bitcoin gave no template or refused the block.
    #[error("bitcoin")]
    Bitcoin(#[from] PortError),
    /// The coinbase can't hold the commitment.
    #[error("coinbase")]
    Coinbase(#[from] TemplateError),
    /// The header can't be ground.
    #[error("grinding")]
    Grind(#[from] GrindError),
    /// The coinbase just made can't be read back.
    #[error("coinbase encoding")]
    Encoding(#[from] alys_auxpow::DecodeError),
    /// No hash met the target in time; a fresh template is easier.
    #[error("{MAX_ATTEMPTS} hashes met no target")]
    Exhausted,
    /// The node says that the proof breaks a rule.
    #[error("the node rejected the proof for {hash}")]
    Rejected {
        /// The mined hash as the node printed it.
        hash: String,
    },
}

/// Mines for one payout address.
pub struct Miner<B> {
    rpc: RpcClient,
    bitcoin: B,
    payout: Address,
    script: ScriptBuf,
    last: Option<String>,
}

/// What one round did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Round {
    /// A proof was taken.
    Mined {
        /// The mined hash as the node printed it.
        hash: String,
    },
    /// The node has no other work than what was mined already.
    NothingNew,
}

impl<B: BitcoinPort> Miner<B> {
    /// A miner that asks `rpc` for work, mines on `bitcoin`, and is paid at `payout` here and at `script` there.
    pub fn new(rpc: RpcClient, bitcoin: B, payout: Address, script: ScriptBuf) -> Self {
        Self { rpc, bitcoin, payout, script, last: None }
    }

    /// Asks for work, mines it, and submits the proof; and the Bitcoin block, if the header meets that target too.
    ///
    /// # Errors
    /// [`MinerError`]; the next round may succeed.
    ///
    /// # Cancel safety
    /// A dropped future loses the round's work and nothing else.
    pub async fn round(&mut self) -> Result<Round, MinerError> {
        let template = self.rpc.call("createauxblock", json!([self.payout])).await?;
        let hash = text(&template, "hash")?.to_owned();
        if self.last.as_ref() == Some(&hash) {
            return Ok(Round::NothingNew);
        }
        let mut mined = [0; 32];
        hex::decode_to_slice(&hash, &mut mined).map_err(|_| MinerError::Template { field: "hash" })?;
        let bits =
            u32::from_str_radix(text(&template, "bits")?, 16).map_err(|_| MinerError::Template { field: "bits" })?;
        let target = Target::from_compact(bits).map_err(|_| MinerError::Template { field: "bits" })?;
        let proof = self.mine(display_order(B256::from(mined)), target).await?;
        let answer = self.rpc.call("submitauxblock", json!([hash, hex::encode(proof)])).await?;
        if answer != Value::Bool(true) {
            return Err(MinerError::Rejected { hash });
        }
        self.last = Some(hash.clone());
        Ok(Round::Mined { hash })
    }

    async fn mine(&self, hash: B256, target: Target) -> Result<Vec<u8>, MinerError> {
        let template = self.bitcoin.block_template().await?;
        let coinbase = template.coinbase(&self.script, &Commitment::alone(hash).to_bytes())?;
        let mut header = template.header(&coinbase);
        let mut attempts = 0;
        let aux_target = bitcoin::Target::from_be_bytes(target.to_be_bytes());
        while grind_to(&mut header, aux_target, CHUNK)?.is_none() {
            attempts += CHUNK;
            if attempts >= MAX_ATTEMPTS {
                return Err(MinerError::Exhausted);
            }
            tokio::task::yield_now().await;
        }
        let mut header_bytes = [0; 80];
        for (to, from) in header_bytes.iter_mut().zip(serialize(&header)) {
            *to = from;
        }
        let proof = AuxPow {
            coinbase: Transaction::decode(&serialize(&coinbase))?,
            coinbase_branch: template.coinbase_branch().iter().map(|item| B256::from(item.to_byte_array())).collect(),
            chain_branch: Vec::new(),
            chain_index: 0,
            parent: ParentHeader(header_bytes),
        };
        if header.validate_pow(header.target()).is_ok() {
            self.bitcoin.submit_block(template.block(header, coinbase)).await?;
        }
        Ok(proof.encode())
    }

    /// Mines one Bitcoin block without a commitment, so that the regtest moves although no Alys work is to be had.
    ///
    /// # Errors
    /// Bitcoin gave no template or refused the block.
    pub async fn bitcoin_block(&self) -> Result<(), MinerError> {
        let template = self.bitcoin.block_template().await?;
        let coinbase = template.coinbase(&self.script, &[])?;
        let mut header = template.header(&coinbase);
        if grind(&mut header, MAX_ATTEMPTS)?.is_none() {
            return Err(MinerError::Exhausted);
        }
        self.bitcoin.submit_block(template.block(header, coinbase)).await?;
        Ok(())
    }
}

fn text<'a>(template: &'a Value, field: &'static str) -> Result<&'a str, MinerError> {
    template.get(field).and_then(Value::as_str).ok_or(MinerError::Template { field })
}

/// A script that anybody can spend: regtest coins are worth nothing.
pub fn anyone_can_spend() -> ScriptBuf {
    bitcoin::blockdata::script::Builder::new().push_opcode(bitcoin::opcodes::OP_TRUE).into_script()
}
