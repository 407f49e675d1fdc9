//! A chain of the past: blocks with real signatures, work, execution and storage, made without waiting for their slots.

#![allow(clippy::unwrap_used, reason = "a test or a measurement stops where it can't go on")]
#![allow(dead_code, unreachable_pub, reason = "shared by test binaries and benchmarks")]

use alys_auxpow::{AuxPow, Commitment, ParentHeader, Target, Transaction, TxInput, TxOutput, merkle_fold};
use alys_chain::{Built, Chain, ChainConfig, Effect, ExecutionOutcome, Input, SignRequest};
use alys_crypto::SecretKey;
use alys_engine::{Attributes, ExecutionEngine, ForkchoiceState, NewPayload, PayloadStatus};
use alys_evm::{Executor, ExecutorConfig, TransactionSource, spawn};
use alys_node::chain_files::ChainFiles;
use alys_node::snapshot::{SNAPSHOTS, Sources, create};
use alys_primitives::{
    Address, AuxBundle, AuxPowRecord, BitVector, FederationChange, Height, Members, Slot, TreeHash as _, UnixMillis,
    VariableList,
};
use alys_store::{Database, StoreConfig};
use std::path::Path;

/// Slots between two bundles.
const BUNDLE: u64 = 10;

/// What happens on the way.
#[derive(Default)]
pub struct Plan {
    /// A change of the federation that is offered to the authors from a slot on.
    pub change: Option<(u64, Members)>,
    /// The slot after which a snapshot of the newest finalized block is made.
    pub snapshot_at: Option<u64>,
}

/// Drives a chain core of one member through past slots, with the node's own engine and database.
pub async fn make(
    files: &ChainFiles,
    key: &SecretKey,
    folder: &Path,
    blocks: u64,
    transactions: Box<dyn TransactionSource>,
) {
    make_with(files, key, folder, blocks, transactions, Plan::default()).await;
}

/// The same, by a plan.
pub async fn make_with(
    files: &ChainFiles,
    key: &SecretKey,
    folder: &Path,
    blocks: u64,
    transactions: Box<dyn TransactionSource>,
    plan: Plan,
) {
    let config = ChainConfig { member_key: Some(key.public_key().to_bytes().into()), ..ChainConfig::default() };
    let mut chain = Chain::genesis(files.spec.clone(), config).unwrap();
    let settings = StoreConfig::default();
    let mut database = Database::open(&folder.join("chain"), files.spec.genesis_root(), &settings).unwrap();
    let settings = ExecutorConfig::default();
    let executor = Executor::open(&folder.join("evm"), files.genesis.clone(), settings, transactions).unwrap();
    let sources = Sources { genesis_root: files.spec.genesis_root(), store: database.reader(), evm: executor.reader() };
    let (engine, thread) = spawn(executor).unwrap();
    for slot in 1..=blocks {
        let now = files.spec.slot_start_millis(Slot(slot));
        if slot % BUNDLE == 0
            && let Ok(template) = chain.auxpow_template(Address::repeat_byte(2), now)
        {
            let record = mine(template.bundle, u32::try_from(slot).unwrap());
            let record = chain.verifier().auxpow(record).unwrap();
            chain.handle(now, Input::AuxPow(record)).unwrap();
            carry_out(&mut chain, now, key, &engine, &mut database).await;
        }
        if let Some((_, members)) = plan.change.as_ref().filter(|(at, _)| *at == slot) {
            let change = signed_change(&chain, key, members);
            let change = chain.verifier().federation_change(change).unwrap();
            chain.handle(now, Input::FederationChange(change)).unwrap();
        }
        chain.handle(now, Input::Tick).unwrap();
        carry_out(&mut chain, now, key, &engine, &mut database).await;
        if plan.snapshot_at == Some(slot) {
            create(&sources, &folder.join(SNAPSHOTS), |_| {}).unwrap();
        }
    }
    assert_eq!(chain.view().head.height, Height(blocks));
    drop((engine, sources));
    thread.join().unwrap();
}

async fn carry_out(
    chain: &mut Chain,
    now: UnixMillis,
    key: &SecretKey,
    engine: &impl ExecutionEngine,
    database: &mut Database,
) {
    while let Some(effect) = chain.poll_effect() {
        let input = match effect {
            Effect::Build { id, parent_execution_hash, attributes, .. } => {
                let attributes = Attributes {
                    timestamp: attributes.timestamp,
                    prev_randao: attributes.prev_randao,
                    fee_recipient: attributes.fee_recipient,
                    withdrawals: attributes.withdrawals,
                    parent_beacon_block_root: attributes.parent_beacon_block_root,
                };
                let head = parent_execution_hash;
                let state = ForkchoiceState { head, safe: Default::default(), finalized: Default::default() };
                let begun = engine.forkchoice_updated(state, Some(attributes)).await.unwrap();
                let built = engine.get_payload(begun.payload_id.unwrap()).await.unwrap();
                Input::Built { id, result: Ok(Built { payload: built.payload, requests: built.execution_requests }) }
            }
            Effect::Execute { id, block } => {
                let hash = block.payload.block_hash;
                let payload = NewPayload {
                    payload: block.payload.clone(),
                    parent_beacon_block_root: block.header.parent_root,
                    execution_requests: block.body.execution_requests.clone(),
                };
                let status = engine.new_payload(payload).await.unwrap();
                assert_eq!(status, PayloadStatus::Valid);
                let fees = engine.block_fees(hash).await.unwrap().total;
                let burns = engine.block_burns(hash).await.unwrap();
                Input::Executed { id, outcome: ExecutionOutcome::Valid { fees, burns } }
            }
            Effect::Sign { id, request } => {
                let (SignRequest::Proposal { signing_root, .. } | SignRequest::Approval { signing_root, .. }) = request;
                Input::Signed { id, result: Ok(key.sign(signing_root).to_bytes().into()) }
            }
            Effect::Persist { id, batch } => {
                database.apply_many(&[batch]).unwrap();
                Input::Durable { id }
            }
            Effect::Forkchoice(update) => {
                let state = ForkchoiceState { head: update.head, safe: update.safe, finalized: update.finalized };
                engine.forkchoice_updated(state, None).await.unwrap();
                continue;
            }
            Effect::Broadcast(_)
            | Effect::Imported { .. }
            | Effect::AuxPowProcessed { .. }
            | Effect::FederationProcessed { .. }
            | Effect::PauseProcessed { .. }
            | Effect::Event(_) => continue,
        };
        chain.handle(now, input).unwrap();
    }
}

/// A change of the federation, signed by its only member.
fn signed_change(chain: &Chain, key: &SecretKey, members: &Members) -> FederationChange {
    let epoch = chain.view().epoch;
    let signature =
        key.sign(chain.verifier().federation_signing_root(epoch, members, &alys_primitives::Optional::default()));
    let mut bitfield = BitVector::new();
    bitfield.set(0, true).unwrap();
    FederationChange {
        genesis_root: chain.view().genesis_root,
        epoch,
        members: members.clone(),
        custody: alys_primitives::Optional::default(),
        bitfield,
        aggregate_signature: signature.to_bytes().into(),
    }
}

/// Free work, on a parent block that differs by `salt`.
fn mine(bundle: AuxBundle, salt: u32) -> AuxPowRecord {
    let mut script = vec![3, 1, 2, 3];
    script.extend(Commitment::alone(bundle.tree_hash_root()).to_bytes());
    let input = TxInput { previous_txid: Default::default(), previous_index: u32::MAX, script, sequence: u32::MAX };
    let output = TxOutput { value: 5_000_000_000, script: vec![0x51] };
    let coinbase = Transaction { version: 1, inputs: vec![input], outputs: vec![output], lock_time: salt };
    let mut header = [0; 80];
    header[0..4].copy_from_slice(&0x2000_0000u32.to_le_bytes());
    header[36..68].copy_from_slice(merkle_fold(coinbase.txid(), &[], 0).as_slice());
    let mut proof = AuxPow {
        coinbase,
        coinbase_branch: Vec::new(),
        chain_branch: Vec::new(),
        chain_index: 0,
        parent: ParentHeader(header),
    };
    let target = Target::from_compact(bundle.bits).unwrap();
    let met = (0..u32::MAX).any(|nonce| {
        proof.parent = proof.parent.with_nonce(nonce);
        target.is_met_by(proof.parent.hash())
    });
    assert!(met);
    AuxPowRecord { bundle, proof: VariableList::new(proof.encode()).unwrap() }
}
