//! Accounts, code, storage and proofs.

use super::EthRpc;
use super::args::Args;
use super::error::RpcError;
use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{Address, B256, Bytes, U64, U256};
use alloy_rpc_types_eth::EIP1186AccountProofResponse;
use alloy_serde::JsonStorageKey;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) async fn balance(rpc: Arc<EthRpc>, args: Args) -> Result<U256, RpcError> {
    let args = args.at_most(2)?;
    let (address, block): (Address, _) = (args.required(0, "address")?, args.block(1)?);
    rpc.look(move |rpc| Ok(rpc.reader.account(block, address)?.map_or(U256::ZERO, |account| account.balance))).await
}

/// At `pending`, the pool's transactions count.
pub(super) async fn transaction_count(rpc: Arc<EthRpc>, args: Args) -> Result<U64, RpcError> {
    let args = args.at_most(2)?;
    let (address, block): (Address, _) = (args.required(0, "address")?, args.block(1)?);
    let pooled = match block {
        BlockId::Number(BlockNumberOrTag::Pending) => rpc.pool.pending_nonce(address).unwrap_or(0),
        BlockId::Number(_) | BlockId::Hash(_) => 0,
    };
    rpc.look(move |rpc| {
        let nonce = rpc.reader.account(block, address)?.map_or(0, |account| account.nonce);
        Ok(U64::from(nonce.max(pooled)))
    })
    .await
}

pub(super) async fn code(rpc: Arc<EthRpc>, args: Args) -> Result<Bytes, RpcError> {
    let args = args.at_most(2)?;
    let (address, block) = (args.required(0, "address")?, args.block(1)?);
    rpc.look(move |rpc| Ok(rpc.reader.code(block, address)?)).await
}

pub(super) async fn storage_at(rpc: Arc<EthRpc>, args: Args) -> Result<B256, RpcError> {
    let args = args.at_most(3)?;
    let (address, slot, block): (_, JsonStorageKey, _) =
        (args.required(0, "address")?, args.required(1, "slot")?, args.block(2)?);
    let slot = U256::from_be_bytes(slot.as_b256().0);
    rpc.look(move |rpc| Ok(B256::from(rpc.reader.storage(block, address, slot)?))).await
}

pub(super) async fn proof(rpc: Arc<EthRpc>, args: Args) -> Result<EIP1186AccountProofResponse, RpcError> {
    let args = args.at_most(3)?;
    let (address, keys, block): (_, Vec<JsonStorageKey>, _) =
        (args.required(0, "address")?, args.required(1, "storageKeys")?, args.block(2)?);
    if keys.len() > rpc.config.max_proof_slots {
        let (count, limit) = (keys.len(), rpc.config.max_proof_slots);
        return Err(RpcError::Params(format!("too many storage keys: {count}, at most {limit}")));
    }
    rpc.compute(move |rpc| {
        let slots: Vec<_> = keys.iter().map(|key| U256::from_be_bytes(key.as_b256().0)).collect();
        let mut proof = rpc.reader.proof(block, address, &slots)?;
        // Keys are repeated in the form in which they were asked for.
        for (answer, key) in proof.storage_proof.iter_mut().zip(keys) {
            answer.key = key;
        }
        Ok(proof)
    })
    .await
}

/// Slots of several accounts at once.
pub(super) async fn storage_values(rpc: Arc<EthRpc>, args: Args) -> Result<BTreeMap<Address, Vec<B256>>, RpcError> {
    let args = args.at_most(2)?;
    let (wanted, block): (BTreeMap<Address, Vec<JsonStorageKey>>, _) = (args.required(0, "slots")?, args.block(1)?);
    let (count, limit) = (wanted.values().map(Vec::len).sum::<usize>(), rpc.config.max_proof_slots);
    if count == 0 {
        return Err(RpcError::Params("empty request".to_owned()));
    }
    if count > limit {
        return Err(RpcError::Params(format!("too many slots: {count}, at most {limit}")));
    }
    rpc.read(move |rpc| {
        let mut answer = BTreeMap::new();
        for (address, slots) in wanted {
            let mut values = Vec::with_capacity(slots.len());
            for slot in slots {
                let slot = U256::from_be_bytes(slot.as_b256().0);
                values.push(B256::from(rpc.reader.storage(block, address, slot)?));
            }
            answer.insert(address, values);
        }
        Ok(answer)
    })
    .await
}
