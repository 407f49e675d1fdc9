//! `eth_config` (EIP-7910): what the node would do at its current, next and last fork.

use super::EthRpc;
use super::args::Args;
use super::error::RpcError;
use crate::EvmReader;
use alloy_eips::{eip2935, eip4788};
use alloy_primitives::{Address, U64};
use revm::primitives::hardfork::SpecId;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Names of precompiles (EIP-7910), the last two bytes of their addresses, and the rules that brought them.
const PRECOMPILES: [(&str, u16, SpecId); 18] = [
    ("ECREC", 1, SpecId::FRONTIER),
    ("SHA256", 2, SpecId::FRONTIER),
    ("RIPEMD160", 3, SpecId::FRONTIER),
    ("ID", 4, SpecId::FRONTIER),
    ("MODEXP", 5, SpecId::BYZANTIUM),
    ("BN254_ADD", 6, SpecId::BYZANTIUM),
    ("BN254_MUL", 7, SpecId::BYZANTIUM),
    ("BN254_PAIRING", 8, SpecId::BYZANTIUM),
    ("BLAKE2F", 9, SpecId::ISTANBUL),
    ("KZG_POINT_EVALUATION", 0x0a, SpecId::CANCUN),
    ("BLS12_G1ADD", 0x0b, SpecId::PRAGUE),
    ("BLS12_G1MSM", 0x0c, SpecId::PRAGUE),
    ("BLS12_G2ADD", 0x0d, SpecId::PRAGUE),
    ("BLS12_G2MSM", 0x0e, SpecId::PRAGUE),
    ("BLS12_PAIRING_CHECK", 0x0f, SpecId::PRAGUE),
    ("BLS12_MAP_FP_TO_G1", 0x10, SpecId::PRAGUE),
    ("BLS12_MAP_FP2_TO_G2", 0x11, SpecId::PRAGUE),
    ("P256VERIFY", 0x100, SpecId::OSAKA),
];

/// The answer.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Config {
    current: Value,
    next: Option<Value>,
    last: Option<Value>,
}

pub(super) async fn config(rpc: Arc<EthRpc>, args: Args) -> Result<Config, RpcError> {
    args.at_most(0)?;
    let now = rpc.reader.heads().latest.timestamp;
    let times = fork_times(&rpc.reader);
    let current = times.range(..=now).next_back().copied().unwrap_or_default();
    let later = |time: &u64| describe(&rpc.reader, *time);
    let coming: Vec<u64> = times.range(now.saturating_add(1)..).copied().collect();
    Ok(Config {
        current: describe(&rpc.reader, current),
        next: coming.first().map(later),
        last: coming.last().map(later),
    })
}

/// When the rules change by time.
fn fork_times(reader: &EvmReader) -> BTreeSet<u64> {
    let config = &reader.genesis().config;
    let times = [
        config.shanghai_time,
        config.cancun_time,
        config.prague_time,
        config.osaka_time,
        config.bpo1_time,
        config.bpo2_time,
        config.bpo3_time,
        config.bpo4_time,
        config.bpo5_time,
    ];
    times.into_iter().flatten().collect()
}

/// At which numbers the rules changed before the merge.
fn fork_blocks(reader: &EvmReader) -> BTreeSet<u64> {
    let config = &reader.genesis().config;
    let blocks = [
        config.homestead_block,
        config.dao_fork_block,
        config.eip150_block,
        config.eip155_block,
        config.eip158_block,
        config.byzantium_block,
        config.constantinople_block,
        config.petersburg_block,
        config.istanbul_block,
        config.muir_glacier_block,
        config.berlin_block,
        config.london_block,
        config.arrow_glacier_block,
        config.gray_glacier_block,
        config.merge_netsplit_block,
    ];
    blocks.into_iter().flatten().filter(|number| *number > 0).collect()
}

fn describe(reader: &EvmReader, time: u64) -> Value {
    let forks = reader.forks();
    let spec = forks.spec_at(u64::MAX, time);
    let precompiles: BTreeMap<&str, Address> = PRECOMPILES
        .into_iter()
        .filter(|(.., since)| spec.is_enabled_in(*since))
        .map(|(name, number, _)| (name, Address::left_padding_from(&number.to_be_bytes())))
        .collect();
    let mut contracts = BTreeMap::new();
    if spec.is_enabled_in(SpecId::CANCUN) {
        contracts.insert("BEACON_ROOTS_ADDRESS", eip4788::BEACON_ROOTS_ADDRESS);
    }
    if spec.is_enabled_in(SpecId::PRAGUE) {
        let deposits = reader.genesis().config.deposit_contract_address.unwrap_or_default();
        contracts.insert("DEPOSIT_CONTRACT_ADDRESS", deposits);
        contracts.insert("HISTORY_STORAGE_ADDRESS", eip2935::HISTORY_STORAGE_ADDRESS);
        let [withdrawals, consolidations] = forks.request_contracts();
        contracts.insert("WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS", withdrawals);
        contracts.insert("CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS", consolidations);
    }
    let blobs = forks.blob_params_at(time).map(|params| {
        json!({
            "target": params.target_blob_count,
            "max": params.max_blob_count,
            "baseFeeUpdateFraction": u64::try_from(params.update_fraction).unwrap_or(u64::MAX),
        })
    });
    json!({
        "activationTime": time,
        "blobSchedule": blobs,
        "chainId": U64::from(forks.chain_id()),
        "forkId": fork_id(reader, time),
        "precompiles": precompiles,
        "systemContracts": contracts,
    })
}

/// The checksum over the genesis hash and all forks up to `time` (EIP-2124, EIP-6122).
fn fork_id(reader: &EvmReader, time: u64) -> String {
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(reader.genesis_hash().as_slice());
    let times = fork_times(reader).into_iter().filter(|at| *at <= time && *at > reader.genesis().timestamp);
    for fork in fork_blocks(reader).into_iter().chain(times) {
        checksum.update(&fork.to_be_bytes());
    }
    format!("0x{:08x}", checksum.finalize())
}
