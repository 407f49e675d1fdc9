//! Blocks and certificates as JSON: camel case, hashes as `0x` hex in internal byte order, numbers as numbers.

use crate::actors::watcher::Anomaly;
use alys_chain::{BlockRef, ChainView};
use alys_primitives::ssz::Encode as _;
use alys_primitives::{AuxBundle, BitVector, MaxMembers, Notarization, SignedBlock, TreeHash, Withdrawal};
use serde_json::{Value, json};

pub(super) fn block_ref(block: &BlockRef) -> Value {
    json!({
        "root": block.root,
        "height": block.height.0,
        "slot": block.slot.0,
        "executionHash": block.execution_hash,
    })
}

/// Where `height` stands: `finalized`, `safe`, or `notarized`.
pub(super) fn stage(height: u64, view: &ChainView) -> &'static str {
    if height <= view.finalized.height.0 {
        "finalized"
    } else if height <= view.safe.height.0 {
        "safe"
    } else {
        "notarized"
    }
}

pub(super) fn block(block: &SignedBlock) -> Value {
    let header = &block.header;
    let body = &block.body;
    let payload = &block.payload;
    json!({
        "root": block.root(),
        "slot": header.slot.0,
        "height": header.height.0,
        "parentRoot": header.parent_root,
        "epoch": header.epoch.0,
        "authorIndex": header.author_index,
        "stateRoot": header.state_root,
        "bodyRoot": header.body_root,
        "executionHash": header.execution_block_hash,
        "timestamp": payload.timestamp,
        "transactions": payload.transactions.len(),
        "gasUsed": payload.gas_used,
        "withdrawals": payload.withdrawals.iter().map(withdrawal).collect::<Vec<_>>(),
        "auxpow": body.auxpow.first().map(|record| json!({
            "bundle": bundle(&record.bundle),
            "proof": format!("0x{}", hex::encode(&record.proof[..])),
        })),
        "bitcoinHeaders": body.bitcoin_headers.len(),
        "pegIns": body.pegins.len(),
        "pegOutBatches": body.pegout_batches.len(),
        // As `alys_submitFederationChange` took it.
        "federationChange": body.federation_change.first().map(|change| format!("0x{}", hex::encode(change.as_ssz_bytes()))),
        "authorSignature": block.author_signature,
        "parentNotarization": block.parent_notarization.first().map(notarization),
    })
}

fn withdrawal(withdrawal: &Withdrawal) -> Value {
    json!({
        "index": withdrawal.index,
        "kind": withdrawal.validator_index,
        "address": withdrawal.address,
        "gwei": withdrawal.amount.0,
    })
}

pub(super) fn bundle(bundle: &AuxBundle) -> Value {
    json!({
        "hash": bundle.tree_hash_root(),
        "auxpowChainId": bundle.auxpow_chain_id,
        "bits": format!("{:08x}", bundle.bits),
        "minerAddress": bundle.miner_address,
        "templateSlot": bundle.template_slot.0,
        "previousAuxpowRoot": bundle.previous_auxpow_root,
        "startRoot": bundle.start_root,
        "endRoot": bundle.end_root,
        "count": bundle.count,
        "blocksRoot": bundle.blocks_root,
    })
}

pub(super) fn anomaly(anomaly: &Anomaly) -> Value {
    json!({
        "actor": anomaly.actor,
        "measure": anomaly.measure.name(),
        "value": anomaly.value,
        "usual": anomaly.usual,
    })
}

pub(super) fn notarization(certificate: &Notarization) -> Value {
    json!({
        "blockRoot": certificate.block_root,
        "slot": certificate.slot.0,
        "epoch": certificate.epoch.0,
        "signers": signers(&certificate.bitfield),
        "aggregateSignature": certificate.aggregate_signature,
    })
}

fn signers(bitfield: &BitVector<MaxMembers>) -> Vec<usize> {
    bitfield.iter().enumerate().filter_map(|(index, set)| set.then_some(index)).collect()
}
