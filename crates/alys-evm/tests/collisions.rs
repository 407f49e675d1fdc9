//! Creations at addresses where something is already: code, a nonce, or storage alone (EIP-7610).

#![allow(clippy::unwrap_used)]

mod common;

use alloy_eips::BlockId;
use alloy_genesis::{Genesis, GenesisAccount};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, address, hex, keccak256};
use alloy_rpc_types_eth::TransactionRequest;
use alys_evm::{CallRequest, CallStatus, Executor, ExecutorConfig, MinedReceipt, NoTransactions, TraceLimits};
use common::{extend, wallet};
use serde_json::{Value, json};

/// Creates an empty contract with the salt that it is called with, and returns the address.
const FACTORY: &[u8] = &hex!("5f35 5f5f5f f5 5f52 6020 5ff3");
const FACTORY_ADDRESS: Address = address!("00000000000000000000000000000000000000fa");

/// What stands at an address before a contract is created there, and whether it can be.
fn occupants() -> Vec<(&'static str, GenesisAccount, bool)> {
    let stored = || Some([(B256::with_last_byte(1), B256::with_last_byte(2))].into_iter().collect());
    let cleared = || Some([(B256::with_last_byte(1), B256::ZERO)].into_iter().collect());
    let none = GenesisAccount::default;
    let coins = || GenesisAccount { balance: U256::from(5), ..none() };
    vec![
        ("coins", coins(), true),
        ("storage", GenesisAccount { storage: stored(), ..none() }, false),
        ("storage and coins", GenesisAccount { storage: stored(), ..coins() }, false),
        ("a slot that holds nothing", GenesisAccount { storage: cleared(), ..coins() }, true),
        ("a nonce", GenesisAccount { nonce: Some(1), ..none() }, false),
        ("code", GenesisAccount { code: Some(Bytes::from_static(&[0])), ..none() }, false),
    ]
}

fn salted(salt: u8) -> Address {
    FACTORY_ADDRESS.create2(B256::with_last_byte(salt), keccak256([]))
}

fn chain(occupied: Address, occupant: GenesisAccount) -> (Executor, tempfile::TempDir) {
    let mut genesis: Genesis = common::genesis();
    let code = Some(Bytes::from_static(FACTORY));
    let factory = GenesisAccount { nonce: Some(1), code, ..GenesisAccount::default() };
    genesis.alloc.extend([(occupied, occupant), (FACTORY_ADDRESS, factory)]);
    let folder = tempfile::tempdir().unwrap();
    let config = ExecutorConfig { gas_limit: genesis.gas_limit, ..ExecutorConfig::default() };
    (Executor::open(folder.path(), genesis, config, Box::new(NoTransactions)).unwrap(), folder)
}

fn receipt(executor: &Executor, hash: B256) -> MinedReceipt {
    executor.reader().receipt(hash).unwrap().unwrap()
}

fn nonce(executor: &Executor, address: Address) -> u64 {
    executor.reader().account(BlockId::latest(), address).unwrap().map_or(0, |account| account.nonce)
}

#[test]
fn a_transaction_creates_nothing_where_something_is() {
    let alice = wallet(1);
    for (what, occupant, is_free) in occupants() {
        let target = alice.address.create(0);
        let (mut executor, _folder) = chain(target, occupant.clone());
        // Deploys a single byte.
        let transaction = alice.call(0, TxKind::Create, U256::ZERO, hex!("5f5f53 6001 5ff3").into());
        let hash = *transaction.inner().tx_hash();
        extend(&mut executor, vec![transaction]);
        let mined = receipt(&executor, hash);
        assert_eq!(mined.receipt.status(), is_free, "{what}");
        assert_eq!(mined.gas_used == 500_000, !is_free, "{what}: {} gas", mined.gas_used);
        assert_eq!(nonce(&executor, alice.address), 1, "{what}");
        let reader = executor.reader();
        assert_eq!(nonce(&executor, target), if is_free { 1 } else { occupant.nonce.unwrap_or(0) }, "{what}");
        let code = if is_free { Bytes::from_static(&[0]) } else { occupant.code.clone().unwrap_or_default() };
        assert_eq!(reader.code(BlockId::latest(), target).unwrap(), code, "{what}");
        let has_storage = occupant.storage_slots().any(|(_, value)| !value.is_zero());
        let slot = reader.storage(BlockId::latest(), target, U256::from(1)).unwrap();
        assert_eq!(slot, if has_storage { U256::from(2) } else { U256::ZERO }, "{what}: it stays what it was");
    }
}

#[test]
fn a_contract_creates_nothing_where_something_is() {
    let alice = wallet(1);
    for (what, occupant, is_free) in occupants() {
        let (mut executor, _folder) = chain(salted(1), occupant);
        let input = |salt: u8| Bytes::from(B256::with_last_byte(salt).0);
        let create = |executor: &Executor, salt: u8| {
            let transaction = TransactionRequest::default().to(FACTORY_ADDRESS).input(input(salt).into());
            let request = CallRequest { transaction, gas_cap: 1_000_000, ..CallRequest::default() };
            let outcome = executor.reader().call(BlockId::latest(), request).unwrap();
            let CallStatus::Success { output, .. } = outcome.status else { panic!("{what}: {:?}", outcome.status) };
            (B256::from_slice(&output), outcome.gas_used)
        };
        assert_eq!(create(&executor, 2).0, salted(2).into_word(), "{what}: another address is free");
        let (created, gas) = create(&executor, 1);
        assert_eq!(created, if is_free { salted(1).into_word() } else { B256::ZERO }, "{what}");
        // A collision takes all gas that a creation is given: all but a 64th.
        assert_eq!(gas > 900_000, !is_free, "{what}: {gas} gas");

        // Also where an earlier transaction of the block has touched the account.
        let call = |nonce: u64, salt: u8| alice.call(nonce, TxKind::Call(FACTORY_ADDRESS), U256::ZERO, input(salt));
        let touch = alice.call(0, TxKind::Call(salted(1)), U256::from(1), Bytes::new());
        let transactions = vec![touch, call(1, 1), call(2, 3)];
        let last = *transactions[1].inner().tx_hash();
        extend(&mut executor, transactions);
        assert_eq!(nonce(&executor, FACTORY_ADDRESS), 3, "{what}: each attempt uses a nonce");
        assert_eq!(nonce(&executor, salted(3)), 1, "{what}");
        assert_eq!(receipt(&executor, last).gas_used > 400_000, !is_free, "{what}");

        // A trace runs it again and sees the same.
        let reader = executor.reader();
        let block = reader.block(BlockId::latest()).unwrap().unwrap();
        let options = serde_json::from_value(json!({ "tracer": "callTracer" })).unwrap();
        let traced = reader.trace_block(block, Some(1), &options, TraceLimits::default()).unwrap();
        let trace: Value = serde_json::to_value(&traced[0].trace).unwrap();
        assert_eq!(trace["calls"][0]["type"], "CREATE2", "{what}: {trace}");
        assert_eq!(trace["calls"][0]["error"].is_string(), !is_free, "{what}: {trace}");
    }
}
