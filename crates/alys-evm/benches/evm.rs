//! What a block costs: a full one of transfers, on states of 10,000 to 1,000,000 accounts, with the parts of its time and
//! beside the EVM alone; and a search for logs over 100,000 blocks.
//!
//! `ALYS_ACCOUNTS` lists the sizes, `ALYS_LOG_BLOCKS` sets the length of the searched chain.

#![allow(clippy::unwrap_used, reason = "a measurement stops where it can't go on")]

#[path = "../tests/common/mod.rs"]
mod common;

use alloy_consensus::TxEip1559;
use alloy_consensus::transaction::Recovered;
use alloy_evm::{Evm as _, EvmEnv, EvmFactory as _, eth::EthEvmFactory};
use alloy_genesis::{Genesis, GenesisAccount};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use alys_engine::{ForkchoiceState, NewPayload, PayloadStatus};
use alys_evm::{BlockTimings, Executor, ExecutorConfig, NoTransactions, Tx};
use common::node::Node;
use common::{CHAIN_ID, GENESIS_TIME, as_new, attributes, build, genesis, wallet};
use k256::ecdsa::SigningKey;
use revm::database::{CacheDB, EmptyDB};
use revm::primitives::hardfork::SpecId;
use revm::state::AccountInfo;
use std::path::Path;
use std::time::{Duration, Instant};

const GAS_LIMIT: u64 = 36_000_000;
const TRANSFERS: u64 = GAS_LIMIT / 21_000;
const BLOCKS: u64 = 5;
const GWEI: u128 = 1_000_000_000;

fn main() {
    let sizes = std::env::var("ALYS_ACCOUNTS").unwrap_or_else(|_| "10000,100000,1000000".to_owned());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    println!("a block of {TRANSFERS} transfers ({GAS_LIMIT} gas), median of {BLOCKS}, milliseconds; {threads} threads");
    println!(
        "{:>9} {:>7} {:>8} {:>6} {:>6} {:>8} {:>6} {:>10} {:>9} {:>9} {:>10}",
        "accounts", "total", "recover", "run", "trie", "compare", "write", "head moves", "revm", "ratio", "trie share"
    );
    for size in sizes.split(',') {
        full_block(size.trim().parse().unwrap());
    }
    logs();
}

/// The key of a sender, and the address of an account that only exists.
fn key(number: u64) -> SigningKey {
    SigningKey::from_slice(keccak256(number.to_be_bytes()).as_slice()).unwrap()
}

fn bystander(number: u64) -> Address {
    Address::from_slice(&keccak256(number.to_le_bytes())[..20])
}

fn account(coins: u64) -> GenesisAccount {
    GenesisAccount { balance: U256::from(coins) * U256::from(GWEI) * U256::from(GWEI), ..GenesisAccount::default() }
}

fn state_of(accounts: u64, keys: &[SigningKey]) -> Genesis {
    let mut genesis = genesis();
    genesis.gas_limit = GAS_LIMIT;
    genesis.alloc.extend((0..accounts).map(|number| (bystander(number), account(1))));
    genesis.alloc.extend(keys.iter().map(|key| (Address::from_public_key(key.verifying_key()), account(100))));
    genesis
}

/// A block's transfers, each from another sender to another account.
fn transfers(keys: &[SigningKey], nonce: u64, accounts: u64) -> Vec<Recovered<Tx>> {
    let sign = |(index, key): (u64, &SigningKey)| {
        let to = bystander((nonce * TRANSFERS + index).wrapping_mul(0x9e37_79b9_7f4a_7c15) % accounts);
        let sender = common::Wallet { key: key.clone(), address: Address::from_public_key(key.verifying_key()) };
        sender.send(TxEip1559 {
            chain_id: CHAIN_ID,
            nonce,
            gas_limit: 21_000,
            max_fee_per_gas: 20 * GWEI,
            max_priority_fee_per_gas: GWEI,
            to: TxKind::Call(to),
            value: U256::from(1_000_000),
            ..TxEip1559::default()
        })
    };
    (0..).zip(keys).map(sign).collect()
}

fn open(folder: &Path, genesis: &Genesis) -> Executor {
    let config = ExecutorConfig { gas_limit: GAS_LIMIT, ..ExecutorConfig::default() };
    Executor::open(folder, genesis.clone(), config, Box::new(NoTransactions)).unwrap()
}

fn head(hash: B256) -> ForkchoiceState {
    ForkchoiceState { head: hash, safe: B256::ZERO, finalized: B256::ZERO }
}

fn full_block(accounts: u64) {
    let keys: Vec<SigningKey> = (0..TRANSFERS).map(key).collect();
    let genesis = state_of(accounts, &keys);
    let folder = tempfile::tempdir().unwrap();
    let (ours, copy) = (folder.path().join("ours"), folder.path().join("copy"));
    drop(open(&ours, &genesis));
    copy_folder(&ours, &copy);

    // Built on a copy of the state, so that they are new to the executor that is measured.
    let mut builder = open(&copy, &genesis);
    let mut blocks: Vec<(NewPayload, Vec<Recovered<Tx>>)> = Vec::new();
    for number in 0..BLOCKS {
        let sent = transfers(&keys, number, accounts);
        let parent = builder.info().head;
        let (new, _) = build(&mut builder, parent, &attributes(GENESIS_TIME + 2 * number + 2), sent.clone());
        assert_eq!(new.payload.transactions.len(), sent.len());
        assert_eq!(builder.new_payload(&new).unwrap(), PayloadStatus::Valid);
        builder.forkchoice_updated(head(new.payload.block_hash), None).unwrap();
        blocks.push((new, sent));
    }
    drop(builder);

    let mut executor = open(&ours, &genesis);
    let mut measured: Vec<(BlockTimings, Duration, Duration)> = Vec::new();
    for (new, sent) in &blocks {
        let alone = revm_alone(&genesis, new, sent);
        assert_eq!(executor.new_payload(new).unwrap(), PayloadStatus::Valid);
        let began = Instant::now();
        executor.forkchoice_updated(head(new.payload.block_hash), None).unwrap();
        measured.push((executor.last_timings(), began.elapsed(), alone));
    }
    let median = |part: &dyn Fn(&(BlockTimings, Duration, Duration)) -> Duration| {
        let mut times: Vec<f64> = measured.iter().map(|measure| part(measure).as_secs_f64() * 1000.0).collect();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let (total, recover) = (median(&|(timings, _, _)| timings.total), median(&|(timings, _, _)| timings.recover));
    let (trie, alone) = (median(&|(timings, _, _)| timings.trie), median(&|(_, _, alone)| *alone));
    println!(
        "{accounts:>9} {total:>7.1} {recover:>8.1} {:>6.1} {trie:>6.1} {:>8.1} {:>6.1} {:>10.1} {alone:>9.1} {:>9.2} {:>9.0}%",
        median(&|(timings, _, _)| timings.run),
        median(&|(timings, _, _)| timings.compare),
        median(&|(timings, _, _)| timings.write),
        median(&|(_, moved, _)| *moved),
        total / (alone + trie),
        100.0 * trie / total,
    );
}

/// The same transactions through revm over a map in memory: recovering the senders, executing, committing.
fn revm_alone(genesis: &Genesis, new: &NewPayload, sent: &[Recovered<Tx>]) -> Duration {
    let mut database = CacheDB::new(EmptyDB::default());
    let nonce = new.payload.block_number - 1;
    for transaction in sent {
        for address in [transaction.signer(), alloy_consensus::Transaction::to(transaction.inner()).unwrap()] {
            let balance = genesis.alloc.get(&address).map_or(U256::ZERO, |account| account.balance);
            let nonce = if address == transaction.signer() { nonce } else { 0 };
            database.insert_account_info(address, AccountInfo { balance, nonce, ..AccountInfo::default() });
        }
    }
    let mut environment = EvmEnv::<SpecId>::default();
    environment.cfg_env = environment.cfg_env.with_chain_id(CHAIN_ID).with_spec_and_mainnet_gas_params(SpecId::PRAGUE);
    environment.block_env.gas_limit = GAS_LIMIT;
    environment.block_env.basefee = new.payload.base_fee_per_gas.try_into().unwrap();
    let mut evm = EthEvmFactory::default().create_evm(&mut database, environment);
    let raw: Vec<&Tx> = sent.iter().map(Recovered::inner).collect();
    let began = Instant::now();
    for transaction in raw {
        let recovered = alloy_consensus::transaction::SignerRecoverable::try_to_recovered_ref(transaction).unwrap();
        assert!(evm.transact_commit(recovered).unwrap().is_success());
    }
    began.elapsed()
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// Logs its calldata's first word as topic.
const LOGGER: &[u8] = &alloy_primitives::hex!("5f355f5fa100");

/// In memory where the system has such a folder: what is measured is the search, not the making.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn logs() {
    let blocks: u64 = std::env::var("ALYS_LOG_BLOCKS").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000);
    let folder = scratch();
    let logger = Address::repeat_byte(0x55);
    let mut genesis = genesis();
    let code = Some(Bytes::from_static(LOGGER));
    genesis.alloc.insert(logger, GenesisAccount { code, ..GenesisAccount::default() });
    let mut executor =
        Executor::open(folder.path(), genesis, ExecutorConfig::default(), Box::new(NoTransactions)).unwrap();
    let (alice, mut nonce) = (wallet(1), 0);
    let mut parent = executor.info().head;
    let began = Instant::now();
    for number in 1..=blocks {
        let mut sent = Vec::new();
        if number % 1000 == 0 {
            sent.push(alice.call(nonce, TxKind::Call(logger), U256::ZERO, B256::from(U256::from(number)).into()));
            nonce += 1;
        }
        let wanted = attributes(GENESIS_TIME + 2 * number);
        let (new, _) = if sent.is_empty() {
            let outcome = executor.forkchoice_updated(head(parent), Some(&wanted)).unwrap();
            let built = executor.get_payload(outcome.payload_id.unwrap()).unwrap();
            (as_new(&built, &wanted), ())
        } else {
            let (new, _) = build(&mut executor, parent, &wanted, sent);
            executor.set_source(Box::new(NoTransactions));
            (new, ())
        };
        assert_eq!(executor.new_payload(&new).unwrap(), PayloadStatus::Valid);
        parent = new.payload.block_hash;
    }
    executor.forkchoice_updated(head(parent), None).unwrap();
    println!("\nlogs: {blocks} blocks made in {:.1} s, a log in every thousandth", began.elapsed().as_secs_f64());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut config = alys_evm::rpc::RpcConfig::new("bench/1".to_owned());
        config.max_log_blocks = config.max_log_blocks.max(blocks + 1);
        let node = Node::over(executor, config);
        let all = serde_json::json!([{ "fromBlock": "0x1", "toBlock": "latest", "address": logger }]);
        let none =
            serde_json::json!([{ "fromBlock": "0x1", "toBlock": "latest", "address": Address::repeat_byte(0x77) }]);
        for (what, params) in [("all of the contract's logs", all), ("none that match", none)] {
            let mut times = Vec::new();
            let mut found = 0;
            for _ in 0..5 {
                let began = Instant::now();
                found = node.call("eth_getLogs", params.clone()).await.as_array().unwrap().len();
                times.push(began.elapsed().as_secs_f64() * 1000.0);
            }
            times.sort_by(f64::total_cmp);
            println!("eth_getLogs over {blocks} blocks, {what}: {found} logs in {:.0} ms (median of 5)", times[2]);
        }
        node.kill().await;
    });
}
