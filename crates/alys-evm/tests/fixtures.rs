//! Blocks of Ethereum's own test suites, executed and compared: hashes, roots, post states and rejections.
//!
//! The suites stand beside the checkout (`alys_vectors`); where they are absent the tests say so and are counted.

#![allow(clippy::unwrap_used)]

use alloy_consensus::Header;
use alloy_eips::BlockId;
use alloy_genesis::{ChainConfig, Genesis, GenesisAccount};
use alloy_primitives::{Address, B256, Bytes, U256, address};
use alloy_rlp::Decodable;
use alys_engine::{ForkchoiceState, NewPayload, PayloadStatus};
use alys_evm::{Executor, ExecutorConfig, FullBlock, NoTransactions, genesis_hash};
use alys_primitives::{ExecutionPayload, VariableList};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The rules of a suite's network name, as a chain config.
fn config(network: &str, suite: Option<&SuiteConfig>) -> ChainConfig {
    let at = |time: u64, active: bool| active.then_some(time);
    let (shanghai, cancun, prague, osaka) = match network {
        "Shanghai" => (Some(0), None, None, None),
        "Cancun" => (Some(0), Some(0), None, None),
        "Prague" => (Some(0), Some(0), Some(0), None),
        "Osaka" => (Some(0), Some(0), Some(0), Some(0)),
        "CancunToPragueAtTime15k" => (Some(0), Some(0), at(15_000, true), None),
        other => panic!("unknown network {other}"),
    };
    let mut config = ChainConfig {
        chain_id: 1,
        terminal_total_difficulty: Some(U256::ZERO),
        shanghai_time: shanghai,
        cancun_time: cancun,
        prague_time: prague,
        osaka_time: osaka,
        deposit_contract_address: Some(address!("00000000219ab540356cBB839Cbe05303d7705Fa")),
        ..ChainConfig::default()
    };
    for (fork, params) in suite.iter().flat_map(|suite| &suite.blob_schedule) {
        let params = serde_json::json!({
            "target": params.target.to::<u64>(),
            "max": params.max.to::<u64>(),
            "baseFeeUpdateFraction": params.base_fee_update_fraction.to::<u64>(),
        });
        config.blob_schedule.insert(fork.to_lowercase(), serde_json::from_value(params).unwrap());
    }
    config
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SuiteConfig {
    #[serde(default)]
    blob_schedule: BTreeMap<String, SuiteBlobs>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SuiteBlobs {
    target: U256,
    max: U256,
    base_fee_update_fraction: U256,
}

#[derive(Deserialize)]
struct SuiteAccount {
    nonce: U256,
    balance: U256,
    code: Bytes,
    storage: BTreeMap<U256, U256>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    network: String,
    config: Option<SuiteConfig>,
    #[serde(rename = "genesisBlockHeader")]
    genesis: SuiteHeader,
    pre: BTreeMap<Address, SuiteAccount>,
    #[serde(default)]
    blocks: Vec<SuiteBlock>,
    #[serde(default)]
    engine_new_payloads: Vec<SuitePayload>,
    lastblockhash: B256,
    post_state: Option<BTreeMap<Address, SuiteAccount>>,
}

#[derive(Deserialize)]
struct SuiteBlock {
    rlp: Bytes,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SuitePayload {
    params: Vec<Value>,
    validation_error: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SuiteHeader {
    hash: B256,
    coinbase: Address,
    difficulty: U256,
    extra_data: Bytes,
    gas_limit: U256,
    mix_hash: B256,
    nonce: alloy_primitives::B64,
    timestamp: U256,
    base_fee_per_gas: U256,
    excess_blob_gas: Option<U256>,
    blob_gas_used: Option<U256>,
}

impl Case {
    fn genesis(&self) -> Genesis {
        let header = &self.genesis;
        let alloc = self.pre.iter().map(|(address, account)| {
            let storage = account.storage.iter().map(|(slot, value)| (B256::from(*slot), B256::from(*value)));
            let account = GenesisAccount {
                nonce: Some(account.nonce.to()),
                balance: account.balance,
                code: Some(account.code.clone()),
                storage: Some(storage.collect()),
                ..GenesisAccount::default()
            };
            (*address, account)
        });
        Genesis {
            config: config(&self.network, self.config.as_ref()),
            nonce: u64::from_be_bytes(header.nonce.0),
            timestamp: header.timestamp.to(),
            extra_data: header.extra_data.clone(),
            gas_limit: header.gas_limit.to(),
            difficulty: header.difficulty,
            mix_hash: header.mix_hash,
            coinbase: header.coinbase,
            alloc: alloc.collect(),
            base_fee_per_gas: Some(header.base_fee_per_gas.to()),
            excess_blob_gas: header.excess_blob_gas.map(|gas| gas.to()),
            blob_gas_used: header.blob_gas_used.map(|gas| gas.to()),
            ..Genesis::default()
        }
    }

    fn open(&self, folder: &Path, name: &str) -> Executor {
        let genesis = self.genesis();
        assert_eq!(genesis_hash(&genesis).unwrap(), self.genesis.hash, "{name}: genesis");
        Executor::open(folder, genesis, ExecutorConfig::default(), Box::new(NoTransactions)).unwrap()
    }

    fn check_end(&self, executor: &Executor, name: &str) {
        let reader = executor.reader();
        assert_eq!(reader.heads().latest.hash, self.lastblockhash, "{name}: last block");
        for (address, expected) in self.post_state.iter().flatten() {
            let account = reader.account(BlockId::latest(), *address).unwrap().unwrap_or_else(|| {
                panic!("{name}: {address} is missing from the post state");
            });
            assert_eq!(account.balance, expected.balance, "{name}: balance of {address}");
            assert_eq!(U256::from(account.nonce), expected.nonce, "{name}: nonce of {address}");
            assert_eq!(reader.code(BlockId::latest(), *address).unwrap(), expected.code, "{name}: code of {address}");
            for (slot, value) in &expected.storage {
                let found = reader.storage(BlockId::latest(), *address, *slot).unwrap();
                assert_eq!(found, *value, "{name}: slot {slot} of {address}");
            }
        }
    }
}

fn make_head(executor: &mut Executor, head: B256) {
    let state = ForkchoiceState { head, safe: B256::ZERO, finalized: B256::ZERO };
    let outcome = executor.forkchoice_updated(state, None).unwrap();
    assert_eq!(outcome.status, PayloadStatus::Valid);
}

fn run_blocks(name: &str, case: &Case) {
    let folder = tempfile::tempdir().unwrap();
    let mut executor = case.open(folder.path(), name);
    for (index, block) in case.blocks.iter().enumerate() {
        let exception = block.rest.keys().any(|key| key.starts_with("expectException"));
        let status = match FullBlock::decode(&mut block.rlp.as_ref()) {
            Ok(decoded) => {
                let status = executor.import_block(&decoded).unwrap();
                if status == PayloadStatus::Valid && !exception {
                    make_head(&mut executor, decoded.header.hash_slow());
                }
                status
            }
            Err(error) => PayloadStatus::Invalid { latest_valid_hash: None, reason: error.to_string() },
        };
        let valid = status == PayloadStatus::Valid;
        assert_eq!(
            valid,
            !exception,
            "{name}: block {index}: {status:?}; expected {:?}",
            block.rest.get("expectException")
        );
    }
    case.check_end(&executor, name);
}

fn run_payloads(name: &str, case: &Case) {
    let folder = tempfile::tempdir().unwrap();
    let mut executor = case.open(folder.path(), name);
    for (index, payload) in case.engine_new_payloads.iter().enumerate() {
        let new = new_payload(&payload.params);
        let status = executor.new_payload(&new).unwrap();
        let valid = status == PayloadStatus::Valid;
        assert_eq!(valid, payload.validation_error.is_none(), "{name}: payload {index}: {status:?}");
        if valid {
            make_head(&mut executor, new.payload.block_hash);
        }
    }
    case.check_end(&executor, name);
}

fn new_payload(params: &[Value]) -> NewPayload {
    let payload: alloy_rpc_types_engine::ExecutionPayloadV3 = serde_json::from_value(params[0].clone()).unwrap();
    let v2 = payload.payload_inner;
    let v1 = v2.payload_inner;
    let transactions = v1.transactions.iter().map(|bytes| VariableList::new(bytes.to_vec()).unwrap()).collect();
    let withdrawals = v2.withdrawals.iter().map(|withdrawal| alys_primitives::Withdrawal {
        index: withdrawal.index,
        validator_index: withdrawal.validator_index,
        address: withdrawal.address,
        amount: alys_primitives::Gwei(withdrawal.amount),
    });
    let requests: Vec<Bytes> =
        params.get(3).map_or_else(Vec::new, |value| serde_json::from_value(value.clone()).unwrap());
    NewPayload {
        payload: ExecutionPayload {
            parent_hash: v1.parent_hash,
            fee_recipient: v1.fee_recipient,
            state_root: v1.state_root,
            receipts_root: v1.receipts_root,
            logs_bloom: v1.logs_bloom.0,
            prev_randao: v1.prev_randao,
            block_number: v1.block_number,
            gas_limit: v1.gas_limit,
            gas_used: v1.gas_used,
            timestamp: v1.timestamp,
            extra_data: VariableList::new(v1.extra_data.to_vec()).unwrap(),
            base_fee_per_gas: v1.base_fee_per_gas,
            block_hash: v1.block_hash,
            transactions: VariableList::new(transactions).unwrap(),
            withdrawals: VariableList::new(withdrawals.collect()).unwrap(),
            blob_gas_used: payload.blob_gas_used,
            excess_blob_gas: payload.excess_blob_gas,
        },
        parent_beacon_block_root: serde_json::from_value(params[2].clone()).unwrap(),
        execution_requests: VariableList::new(
            requests.iter().map(|bytes| VariableList::new(bytes.to_vec()).unwrap()).collect(),
        )
        .unwrap(),
    }
}

fn json_files(folder: &Path, out: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            json_files(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "json") {
            out.push(path);
        }
    }
}

fn run_suite(suite: &str, run: fn(&str, &Case)) {
    let Some(folder) = alys_vectors::find(&format!("engine/{suite}")) else { return };
    let mut files = Vec::new();
    json_files(&folder, &mut files);
    let (mut passed, mut failed) = (0, Vec::new());
    for file in files {
        let cases: BTreeMap<String, Case> = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        for (name, case) in cases {
            match std::panic::catch_unwind(|| run(&name, &case)) {
                Ok(()) => passed += 1,
                Err(_) => failed.push(name),
            }
        }
    }
    println!("{suite}: {passed} passed, {} failed", failed.len());
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(passed > 0, "no cases in {}", folder.display());
}

#[test]
fn blocks_of_ethereum_tests_give_their_hashes_and_states() {
    run_suite("ethereum-tests/BlockchainTests", run_blocks);
}

#[test]
fn blocks_of_prague_and_osaka_give_their_hashes_and_states() {
    run_suite("eest-blockchain-prague", run_blocks);
}

#[test]
fn payloads_of_osaka_give_their_hashes_and_states() {
    run_suite("eest-engine", run_payloads);
}

#[test]
fn headers_keep_their_bytes() {
    let Some(folder) = alys_vectors::find("engine/ethereum-tests/BlockchainTests/ValidBlocks") else { return };
    let mut files = Vec::new();
    json_files(&folder, &mut files);
    for file in files {
        let cases: BTreeMap<String, Case> = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        for block in cases.values().flat_map(|case| &case.blocks) {
            let decoded = FullBlock::decode(&mut block.rlp.as_ref()).unwrap();
            let header: &Header = &decoded.header;
            assert_eq!(alloy_rlp::encode(&decoded), block.rlp.as_ref(), "block {}", header.number);
        }
    }
}

#[test]
fn a_chain_over_all_forks_is_imported() {
    let Some(folder) = alys_vectors::find("engine/execution-apis/tests") else { return };
    let genesis = alys_evm::parse_genesis(&std::fs::read(folder.join("genesis.json")).unwrap()).unwrap();
    let chain = std::fs::read(folder.join("chain.rlp")).unwrap();
    let head: Value = serde_json::from_slice(&std::fs::read(folder.join("headfcu.json")).unwrap()).unwrap();
    let database = tempfile::tempdir().unwrap();
    let mut executor =
        Executor::open(database.path(), genesis, ExecutorConfig::default(), Box::new(NoTransactions)).unwrap();
    let mut rest = chain.as_slice();
    while !rest.is_empty() {
        let block = FullBlock::decode(&mut rest).unwrap();
        let status = executor.import_block(&block).unwrap();
        assert_eq!(status, PayloadStatus::Valid, "block {}", block.header.number);
        make_head(&mut executor, block.header.hash_slow());
    }
    let expected = head["params"][0]["headBlockHash"].as_str().unwrap();
    assert_eq!(executor.reader().heads().latest.hash.to_string(), expected);
}
