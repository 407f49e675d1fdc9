//! What each fork from Shanghai to Osaka changes, at its edges: instructions and precompiles, limits of transactions and
//! blocks, fields of headers, and how each wrong one is named.

#![allow(clippy::unwrap_used)]

mod common;

use alloy_consensus::constants::EMPTY_OMMER_ROOT_HASH;
use alloy_consensus::proofs::{calculate_transaction_root, calculate_withdrawals_root};
use alloy_consensus::transaction::Recovered;
use alloy_consensus::{Block, BlockBody, Header, TxEip1559};
use alloy_eips::eip4895::{Withdrawal, Withdrawals};
use alloy_eips::eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS;
use alloy_eips::eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS;
use alloy_eips::eip7685::Requests;
use alloy_eips::{BlockId, Decodable2718 as _};
use alloy_genesis::Genesis;
use alloy_primitives::{Address, B64, B256, Bloom, Bytes, TxKind, U256, address, hex};
use alloy_rlp::Encodable as _;
use alloy_rpc_types_eth::TransactionRequest;
use alys_engine::{NewPayload, PayloadStatus};
use alys_evm::{CallRequest, CallStatus, Executor, ExecutorConfig, FullBlock, NoTransactions, Rejection, Tx};
use alys_primitives::Gwei;
use common::node::Node;
use common::{CHAIN_ID, GENESIS_TIME, attributes, build, extend, wallet};
use serde_json::{Value, json};

const SINK: Address = address!("00000000000000000000000000000000000000aa");

/// Forks in their order.
const FORKS: [&str; 4] = ["Shanghai", "Cancun", "Prague", "Osaka"];

/// A genesis at which a fork is the newest one.
fn genesis(fork: &str) -> Genesis {
    let mut genesis = common::genesis();
    genesis.coinbase = Address::repeat_byte(0xc0);
    let newest = FORKS.iter().position(|name| *name == fork).unwrap();
    let since = |fork: usize| (fork <= newest).then_some(0);
    let config = &mut genesis.config;
    (config.shanghai_time, config.cancun_time, config.prague_time, config.osaka_time) =
        (since(0), since(1), since(2), since(3));
    genesis
}

/// Its chain in a folder that goes with it.
fn chain(genesis: Genesis) -> (Executor, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let config = ExecutorConfig { gas_limit: genesis.gas_limit, ..ExecutorConfig::default() };
    (Executor::open(folder.path(), genesis, config, Box::new(NoTransactions)).unwrap(), folder)
}

/// How a contract of this code ends, and the gas of the transaction that calls it.
fn run(executor: &Executor, code: &[u8], input: &[u8]) -> (CallStatus, u64) {
    let account = json!({ SINK.to_string(): { "code": Bytes::copy_from_slice(code) } });
    let request = CallRequest {
        transaction: TransactionRequest::default().to(SINK).input(Bytes::copy_from_slice(input).into()),
        state_overrides: Some(serde_json::from_value(account).unwrap()),
        gas_cap: 1_000_000,
        ..CallRequest::default()
    };
    let outcome = executor.reader().call(BlockId::latest(), request).unwrap();
    (outcome.status, outcome.gas_used)
}

/// A signature of P-256 over `alys` eight times: hash, r, s, x, y.
const P256: [u8; 160] = hex!(
    "616c7973616c7973616c7973616c7973616c7973616c7973616c7973616c7973"
    "bdbeae1cdd57e6907a4f1ce48943670f7408498876eef0233708a45c0ee74275"
    "0f519ecd9d06687cb3999e122c573f0c6fec8ad57b61a4dacff357a068f37b33"
    "f9ebe464147cc102d92324d099d927c1a50e42d57a08a116ffec0a29819d8c65"
    "70baf7d12888902a6a0c1d67add103123c859ab69bf8e9431c9384930d4b7eee"
);

/// What is probed, the fork that brings it, code, input, and what it returns before the fork and from it on.
type Probe = (&'static str, &'static str, Vec<u8>, Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>);

/// Calls the precompile of this number with all input, and returns what it returned and, after it, whether it did.
fn precompile(number: u16) -> Vec<u8> {
    let [high, low] = number.to_be_bytes();
    // calldatacopy; staticcall; returndatacopy behind nothing; mstore the outcome behind that.
    let mut code = hex!("365f5f375f5f365f61").to_vec();
    code.extend([high, low]);
    code.extend(hex!("5afa3d5f5f3e3d523d6020015ff3"));
    code
}

#[test]
fn instructions_and_precompiles_come_with_their_fork() {
    let chains = FORKS.map(|fork| chain(genesis(fork)));
    let word = |value: u64| U256::from(value).to_be_bytes_vec();
    let words = |values: &[u64]| values.iter().flat_map(|value| word(*value)).collect::<Vec<u8>>();
    let mut forged = P256;
    forged[159] ^= 1;
    let modexp = |length: u64| [words(&[length, 1, 1]), vec![0; usize::try_from(length).unwrap()], vec![3, 5]].concat();
    let (yes, no) = (word(1), word(0));
    // What it returns before the fork (nothing where it fails) and from the fork on.
    let lines: Vec<Probe> = vec![
        ("PUSH0", "Shanghai", hex!("5f5f5260205ff3").to_vec(), vec![], None, Some(word(0))),
        ("TLOAD", "Cancun", hex!("5f5c5f5260205ff3").to_vec(), vec![], None, Some(word(0))),
        ("TSTORE", "Cancun", hex!("60075f5d5f5c5f5260205ff3").to_vec(), vec![], None, Some(word(7))),
        ("MCOPY", "Cancun", hex!("60075f5260205f60205e60206020f3").to_vec(), vec![], None, Some(word(7))),
        ("BLOBHASH", "Cancun", hex!("5f495f5260205ff3").to_vec(), vec![], None, Some(word(0))),
        ("BLOBBASEFEE", "Cancun", hex!("4a5f5260205ff3").to_vec(), vec![], None, Some(word(1))),
        ("CLZ of 1", "Osaka", hex!("60011e5f5260205ff3").to_vec(), vec![], None, Some(word(255))),
        ("CLZ of 0", "Osaka", hex!("5f1e5f5260205ff3").to_vec(), vec![], None, Some(word(256))),
        ("CLZ of all bits", "Osaka", hex!("5f191e5f5260205ff3").to_vec(), vec![], None, Some(word(0))),
        // An address without code takes every call.
        ("point evaluation", "Cancun", precompile(0x0a), vec![0; 192], Some(yes.clone()), Some(no.clone())),
        (
            "G1ADD of infinity",
            "Prague",
            precompile(0x0b),
            vec![0; 256],
            Some(yes.clone()),
            Some([vec![0; 128], yes.clone()].concat()),
        ),
        ("G1ADD of too little", "Prague", precompile(0x0b), vec![0; 255], Some(yes.clone()), Some(no.clone())),
        ("MAP_FP2_TO_G2 of nothing", "Prague", precompile(0x11), vec![], Some(yes.clone()), Some(no.clone())),
        (
            "P256VERIFY",
            "Osaka",
            precompile(0x100),
            P256.to_vec(),
            Some(yes.clone()),
            Some([word(1), yes.clone()].concat()),
        ),
        ("P256VERIFY of a forgery", "Osaka", precompile(0x100), forged.to_vec(), Some(yes.clone()), Some(yes.clone())),
        ("P256VERIFY of less", "Osaka", precompile(0x100), vec![1; 159], Some(yes.clone()), Some(yes.clone())),
        (
            "MODEXP of 1024 bytes",
            "Osaka",
            precompile(0x05),
            modexp(1024),
            Some([vec![0], yes.clone()].concat()),
            Some([vec![0], yes.clone()].concat()),
        ),
        (
            "MODEXP of 1025 bytes",
            "Osaka",
            precompile(0x05),
            modexp(1025),
            Some([vec![0], yes.clone()].concat()),
            Some(no.clone()),
        ),
    ];
    for (what, since, code, input, before, after) in lines {
        let since = FORKS.iter().position(|fork| *fork == since).unwrap();
        for (index, (fork, (executor, _))) in FORKS.iter().zip(&chains).enumerate() {
            let found = match run(executor, &code, &input).0 {
                CallStatus::Success { output, .. } => Some(output.to_vec()),
                CallStatus::Revert { .. } | CallStatus::Halt { .. } => None,
            };
            let expected = if index < since { &before } else { &after };
            assert_eq!(&found, expected, "{what} at {fork}");
        }
    }
    // The least price of MODEXP (EIP-7883), and what P256VERIFY costs (EIP-7951) beside an address without code, of which
    // the first call costs 2600 and that of a precompile 100.
    // Three slots are read besides, so that the floor for the data (EIP-7623) is exceeded.
    let reads = hex!("5f54506001545060025450");
    let gas = |fork: usize, code: &[u8], input: &[u8]| run(&chains[fork].0, &[&reads[..], code].concat(), input).1;
    let small = [words(&[1, 1, 1]), vec![2, 3, 5]].concat();
    assert_eq!(gas(3, &precompile(5), &small) - gas(2, &precompile(5), &small), 500 - 200);
    let (osaka, prague) = (gas(3, &precompile(0x100), &forged), gas(2, &precompile(0x100), &forged));
    assert_eq!(osaka + 2_600, prague + 6_900 + 100);
    // The coinbase is warm (EIP-3651).
    assert_eq!(run(&chains[0].0, &hex!("413100"), &[]).1, 21_000 + 2 + 100);
}

/// The block that a payload stands for.
fn block_of(new: &NewPayload, fork: &str) -> FullBlock {
    let payload = &new.payload;
    let transactions: Vec<Tx> =
        payload.transactions.iter().map(|bytes| Tx::decode_2718_exact(bytes).unwrap()).collect();
    let withdrawals = Withdrawals::new(
        payload
            .withdrawals
            .iter()
            .map(|withdrawal| Withdrawal {
                index: withdrawal.index,
                validator_index: withdrawal.validator_index,
                address: withdrawal.address,
                amount: withdrawal.amount.0,
            })
            .collect(),
    );
    let requests = Requests::from_requests(new.execution_requests.iter().map(|request| request.to_vec()));
    let (cancun, prague) = (fork != "Shanghai", fork == "Prague" || fork == "Osaka");
    let header = Header {
        parent_hash: payload.parent_hash,
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        beneficiary: payload.fee_recipient,
        state_root: payload.state_root,
        transactions_root: calculate_transaction_root(&transactions),
        receipts_root: payload.receipts_root,
        logs_bloom: Bloom::new(payload.logs_bloom.0),
        number: payload.block_number,
        gas_limit: payload.gas_limit,
        gas_used: payload.gas_used,
        timestamp: payload.timestamp,
        extra_data: Bytes::from(payload.extra_data.to_vec()),
        mix_hash: payload.prev_randao,
        base_fee_per_gas: Some(payload.base_fee_per_gas.to()),
        withdrawals_root: Some(calculate_withdrawals_root(&withdrawals)),
        blob_gas_used: cancun.then_some(payload.blob_gas_used),
        excess_blob_gas: cancun.then_some(payload.excess_blob_gas),
        parent_beacon_block_root: cancun.then_some(new.parent_beacon_block_root),
        requests_hash: prague.then(|| requests.requests_hash()),
        ..Header::default()
    };
    let body = BlockBody { transactions, ommers: Vec::new(), withdrawals: Some(withdrawals) };
    let block = Block { header, body };
    assert_eq!(block.header.hash_slow(), payload.block_hash, "{fork}: it is that block");
    block
}

#[test]
fn each_field_of_a_header_is_judged_and_named() {
    type Change = fn(&mut FullBlock);
    let lines: Vec<(&str, &[&str], Change)> = vec![
        ("number", &FORKS, |block| block.header.number += 1),
        ("timestamp", &FORKS, |block| block.header.timestamp = GENESIS_TIME),
        ("extraData", &FORKS, |block| block.header.extra_data = vec![0; 33].into()),
        ("gasUsed", &FORKS, |block| block.header.gas_used = block.header.gas_limit + 1),
        ("gasUsed", &FORKS, |block| block.header.gas_used += 1),
        ("gasLimit", &FORKS, |block| (block.header.gas_limit, block.header.gas_used) = (4_999, 0)),
        ("gasLimit", &FORKS, |block| block.header.gas_limit += block.header.gas_limit / 1024),
        ("gasLimit", &FORKS, |block| block.header.gas_limit -= block.header.gas_limit / 1024),
        ("gasLimit", &FORKS, |block| block.header.gas_limit = u64::MAX),
        ("baseFeePerGas", &FORKS, |block| block.header.base_fee_per_gas = Some(1)),
        ("baseFeePerGas", &FORKS, |block| block.header.base_fee_per_gas = None),
        ("difficulty", &FORKS, |block| block.header.difficulty = U256::from(1)),
        ("nonce", &FORKS, |block| block.header.nonce = B64::with_last_byte(1)),
        ("sha3Uncles", &FORKS, |block| block.header.ommers_hash = B256::ZERO),
        ("sha3Uncles", &FORKS, |block| block.body.ommers = vec![Header::default()]),
        ("transactionsRoot", &FORKS, |block| block.header.transactions_root = B256::ZERO),
        ("transactionsRoot", &FORKS, |block| block.body.transactions.clear()),
        ("receiptsRoot", &FORKS, |block| block.header.receipts_root = B256::ZERO),
        ("logsBloom", &FORKS, |block| block.header.logs_bloom = Bloom::repeat_byte(1)),
        ("stateRoot", &FORKS, |block| block.header.state_root = B256::ZERO),
        ("withdrawalsRoot", &FORKS, |block| block.header.withdrawals_root = Some(B256::ZERO)),
        ("withdrawalsRoot", &FORKS, |block| block.header.withdrawals_root = None),
        ("withdrawalsRoot", &FORKS, |block| block.body.withdrawals = None),
        ("blobGasUsed", &FORKS[1..], |block| block.header.blob_gas_used = Some(131_072)),
        ("blobGasUsed", &FORKS[1..], |block| block.header.blob_gas_used = None),
        ("blobGasUsed", &FORKS[..1], |block| block.header.blob_gas_used = Some(0)),
        ("excessBlobGas", &FORKS[1..], |block| block.header.excess_blob_gas = Some(1)),
        ("parentBeaconBlockRoot", &FORKS[1..], |block| block.header.parent_beacon_block_root = None),
        ("parentBeaconBlockRoot", &FORKS[..1], |block| block.header.parent_beacon_block_root = Some(B256::ZERO)),
        // Another root is another state: EIP-4788 stores it.
        ("stateRoot", &FORKS[1..], |block| block.header.parent_beacon_block_root = Some(B256::ZERO)),
        ("requestsHash", &FORKS[2..], |block| block.header.requests_hash = Some(B256::ZERO)),
        ("requestsHash", &FORKS[2..], |block| block.header.requests_hash = None),
        ("requestsHash", &FORKS[1..2], |block| block.header.requests_hash = Some(B256::ZERO)),
    ];
    for fork in FORKS {
        let (mut builder, _builders) = chain(genesis(fork));
        let parent = builder.reader().heads().latest.hash;
        let transfer = wallet(1).call(0, TxKind::Call(SINK), U256::from(5), Bytes::new());
        let mut attributes = attributes(GENESIS_TIME + 2);
        attributes.withdrawals =
            vec![alys_primitives::Withdrawal { index: 0, validator_index: 0, address: SINK, amount: Gwei(1) }];
        let good = block_of(&build(&mut builder, parent, &attributes, vec![transfer]).0, fork);
        let (mut executor, _folder) = chain(genesis(fork));
        for (field, forks, change) in &lines {
            if !forks.contains(&fork) {
                continue;
            }
            let mut bad = good.clone();
            change(&mut bad);
            let status = executor.import_block(&bad).unwrap();
            let PayloadStatus::Invalid { latest_valid_hash, reason } = status else {
                panic!("{fork}, {field}: {status:?}")
            };
            assert!(reason.starts_with(field), "{fork}, {field}: {reason}");
            // A body that is not the header's says nothing about the header, which may have another.
            let of_body = matches!(*field, "sha3Uncles" | "transactionsRoot" | "withdrawalsRoot");
            assert_eq!(latest_valid_hash, (!of_body).then_some(parent), "{fork}, {field}");
        }
        assert_eq!(executor.import_block(&good).unwrap(), PayloadStatus::Valid, "{fork}");
    }
}

#[test]
fn excess_blob_gas_follows_the_reserve_price_from_osaka_on() {
    // Of the parent: excess, used and base fee; then what follows before and from Osaka on (EIP-7691, EIP-7918).
    let lines: [(u64, u64, u128, u64, u64); 9] = [
        (0, 0, 1_000_000_000, 0, 0),
        (0, 655_360, 1_000_000_000, 0, 0),
        (0, 786_432, 1_000_000_000, 0, 262_144),
        (0, 1_179_648, 1_000_000_000, 393_216, 393_216),
        (1_310_720, 786_432, 16, 1_310_720, 1_310_720),
        (1_310_720, 786_432, 17, 1_310_720, 1_572_864),
        (13_107_200, 0, 1_000_000_000, 12_320_768, 13_107_200),
        (39_321_600, 393_216, 1_000_000_000, 38_928_384, 39_452_672),
        (262_144_000, 1_179_648, 1_000_000_000, 262_537_216, 262_537_216),
    ];
    for (excess, used, base_fee, before, since) in lines {
        for (fork, expected) in [("Prague", before), ("Osaka", since)] {
            let mut genesis = genesis(fork);
            let schedule = json!({ "target": 6, "max": 9, "baseFeeUpdateFraction": 5_007_716 });
            for name in ["cancun", "prague", "osaka"] {
                genesis.config.blob_schedule.insert(name.to_owned(), serde_json::from_value(schedule.clone()).unwrap());
            }
            genesis.excess_blob_gas = Some(excess);
            genesis.blob_gas_used = Some(used);
            genesis.base_fee_per_gas = Some(base_fee);
            let (mut executor, _folder) = chain(genesis);
            let built = extend(&mut executor, Vec::new());
            assert_eq!(built.payload.excess_blob_gas, expected, "{fork}: {excess} {used} {base_fee}");
        }
    }
}

#[test]
fn a_chain_without_blobs_gets_none_with_osaka() {
    let (executor, _folder) = chain(genesis("Osaka"));
    let params = executor.reader().forks().blob_params_at(GENESIS_TIME).unwrap();
    assert_eq!((params.target_blob_count, params.max_blob_count), (0, 0));
}

/// A block of these transactions on the head, and those that don't fit. Each `salt` is a block of its own.
fn block_with(
    executor: &mut Executor,
    salt: u64,
    transactions: Vec<Recovered<Tx>>,
) -> (NewPayload, Vec<(B256, Rejection)>) {
    let parent = executor.reader().heads().latest.hash;
    let mut attributes = attributes(GENESIS_TIME + 2);
    attributes.prev_randao = B256::from(U256::from(salt));
    build(executor, parent, &attributes, transactions)
}

/// A call of [`SINK`] with `zeros` zero bytes.
fn long(nonce: u64, zeros: usize, gas_limit: u64) -> Recovered<Tx> {
    wallet(1).send(TxEip1559 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit,
        max_fee_per_gas: 20_000_000_000,
        to: TxKind::Call(SINK),
        input: vec![0; zeros].into(),
        ..TxEip1559::default()
    })
}

/// Puts in place of `block`'s results what execution says that they are, until it is valid or something else is wrong.
fn settle(executor: &mut Executor, mut block: FullBlock) -> (FullBlock, PayloadStatus) {
    loop {
        let status = executor.import_block(&block).unwrap();
        let PayloadStatus::Invalid { reason, .. } = &status else { return (block, status) };
        let expected = reason.rsplit(' ').next().unwrap();
        let header = &mut block.header;
        match reason.split(' ').next().unwrap() {
            "gasUsed" if reason.contains("expected") => header.gas_used = expected.parse().unwrap(),
            "receiptsRoot" => header.receipts_root = expected.parse().unwrap(),
            "stateRoot" => header.state_root = expected.parse().unwrap(),
            _ => return (block, status),
        }
    }
}

/// `block` with these transactions.
fn with_transactions(block: &FullBlock, transactions: Vec<Recovered<Tx>>) -> FullBlock {
    let mut block = block.clone();
    block.body.transactions = transactions.into_iter().map(|transaction| transaction.into_parts().0).collect();
    block.header.transactions_root = calculate_transaction_root(&block.body.transactions);
    block
}

#[test]
fn a_transaction_has_at_most_2_to_24_gas_from_osaka_on() {
    const CAP: u64 = 1 << 24;
    for (fork, limited) in [("Prague", false), ("Osaka", true)] {
        let (mut executor, _folder) = chain(genesis(fork));
        let (at, _) = block_with(&mut executor, 1, vec![long(0, 0, CAP)]);
        assert_eq!(at.payload.transactions.len(), 1, "{fork}: the cap itself is allowed");
        let (above, rejected) = block_with(&mut executor, 2, vec![long(0, 1, CAP + 1)]);
        assert_eq!(above.payload.transactions.is_empty(), limited, "{fork}");
        assert_eq!(rejected.len(), usize::from(limited), "{fork}: {rejected:?}");
        assert!(rejected.iter().all(|(_, why)| matches!(why, Rejection::Invalid(_))), "{rejected:?}");
        let block = with_transactions(&block_of(&at, fork), vec![long(0, 2, CAP + 1)]);
        let (_, status) = settle(&mut executor, block);
        match (limited, status) {
            (false, PayloadStatus::Valid) => {}
            (true, PayloadStatus::Invalid { reason, .. }) if reason.contains("gas limit") => {}
            (_, status) => panic!("{fork}: {status:?}"),
        }
    }
}

#[test]
fn a_block_has_at_most_8_mib_from_osaka_on() {
    const MOST: usize = 8 << 20;
    const GAS: u64 = 1 << 24;
    for (fork, limited) in [("Prague", false), ("Osaka", true)] {
        let mut genesis = genesis(fork);
        genesis.gas_limit = 120_000_000;
        let (mut executor, _folder) = chain(genesis);
        let empty = block_of(&block_with(&mut executor, 1, Vec::new()).0, fork);
        let five: Vec<_> = (0..5).map(|nonce| long(nonce, 1_600_000, GAS)).collect();
        let of = |last: usize| {
            let mut block = with_transactions(&empty, [&five[..], &[long(5, last, GAS)]].concat());
            // Zero bytes cost their floor of 10.
            block.header.gas_used = 6 * 21_000 + 10 * (5 * 1_600_000 + u64::try_from(last).unwrap());
            block
        };
        // Numbers of a signature that begin with a zero byte are a byte shorter.
        let about = 300_000 + MOST - of(300_000).length();
        let exact = (about - 3..=about + 3).rev().map(of).find(|block| block.length() <= MOST).unwrap();
        assert!(MOST - exact.length() <= 2, "{}", exact.length());
        let more = (about - 3..=about + 3).map(of).find(|block| block.length() > MOST).unwrap();
        let (_, status) = settle(&mut executor, more);
        match (limited, status) {
            (false, PayloadStatus::Valid) => {}
            (true, PayloadStatus::Invalid { reason, .. }) if reason.starts_with("size") => {}
            (_, status) => panic!("{fork}: {status:?}"),
        }
        let (_, status) = settle(&mut executor, exact);
        assert_eq!(status, PayloadStatus::Valid, "{fork}: the limit itself is allowed");
    }
}

#[test]
fn the_least_gas_of_a_transaction_is_exact() {
    let (mut executor, _folder) = chain(genesis("Prague"));
    let alice = wallet(1);
    let mut salt = 0;
    let of = |to: TxKind, input: Vec<u8>, gas_limit: u64| {
        let max_fee_per_gas = 20_000_000_000;
        alice.send(TxEip1559 {
            chain_id: CHAIN_ID,
            gas_limit,
            max_fee_per_gas,
            to,
            input: input.into(),
            ..TxEip1559::default()
        })
    };
    let words = |bytes: u64| bytes.div_ceil(32) * 2;
    let call = TxKind::Call(SINK);
    // Of 21000: zero bytes 4 and others 16, or the floor of 10 and 40 (EIP-7623); creations 32000 and 2 a word (EIP-3860).
    let lines: Vec<(&str, TxKind, Vec<u8>, u64)> = vec![
        ("nothing", call, vec![], 21_000),
        ("zero bytes", call, vec![0; 100], 21_000 + 10 * 100),
        ("other bytes", call, vec![1; 100], 21_000 + 40 * 100),
        ("an empty creation", TxKind::Create, vec![], 53_000),
        ("a creation", TxKind::Create, vec![0; 64], 53_000 + 4 * 64 + words(64)),
        ("the longest initcode", TxKind::Create, vec![0; 49_152], 21_000 + 10 * 49_152),
    ];
    for (what, to, input, least) in lines {
        for (gas, fits) in [(least - 1, false), (least, true)] {
            let transaction = of(to, input.clone(), gas);
            salt += 1;
            let (new, rejected) = block_with(&mut executor, salt, vec![transaction]);
            assert_eq!(new.payload.transactions.len(), usize::from(fits), "{what} with {gas}: {rejected:?}");
        }
    }
    let longer = of(TxKind::Create, vec![0; 49_153], 10_000_000);
    let (new, rejected) = block_with(&mut executor, 0, vec![longer]);
    assert!(new.payload.transactions.is_empty() && rejected.len() == 1, "initcode beyond its limit");
    // Deployed code: 24,576 bytes at most (EIP-170), none that begins with 0xef (EIP-3541).
    for (what, initcode, deployed) in [
        ("the longest code", &hex!("6160005ff3")[..], true),
        ("longer code", &hex!("6160015ff3")[..], false),
        ("code that begins with 0xef", &hex!("60ef5f5360015ff3")[..], false),
    ] {
        let (mut executor, _folder) = chain(genesis("Prague"));
        extend(&mut executor, vec![of(TxKind::Create, initcode.to_vec(), 10_000_000)]);
        let code = executor.reader().code(BlockId::latest(), alice.address.create(0)).unwrap();
        assert_eq!(!code.is_empty(), deployed, "{what}");
    }
}

#[test]
fn withdrawals_of_nothing_leave_no_account_and_of_the_most_are_credited() {
    for fork in FORKS {
        let (mut executor, _folder) = chain(genesis(fork));
        let parent = executor.reader().heads().latest.hash;
        let [nobody, rich, twice] = [1, 2, 3].map(|byte| Address::repeat_byte(0xa0 + byte));
        let of = |index: u64, address: Address, amount: u64| alys_primitives::Withdrawal {
            index,
            validator_index: u64::MAX,
            address,
            amount: Gwei(amount),
        };
        let mut withdrawals = vec![of(0, nobody, 0), of(u64::MAX, rich, u64::MAX)];
        // Indexes are consensus' business: the same one twice is as good as two.
        withdrawals.extend((0..254).map(|_| of(7, twice, 1)));
        let mut attributes = attributes(GENESIS_TIME + 2);
        attributes.withdrawals = withdrawals;
        let (new, _) = build(&mut executor, parent, &attributes, Vec::new());
        let (mut other, _others) = chain(genesis(fork));
        assert_eq!(other.new_payload(&new).unwrap(), PayloadStatus::Valid, "{fork}");
        other.forkchoice_updated(common::heads(new.payload.block_hash), None).unwrap();
        let reader = other.reader();
        let balance = |address| reader.account(BlockId::latest(), address).unwrap().map(|account| account.balance);
        let gwei = U256::from(1_000_000_000);
        assert_eq!(balance(nobody), None, "{fork}");
        assert_eq!(balance(rich), Some(U256::from(u64::MAX) * gwei), "{fork}");
        assert_eq!(balance(twice), Some(U256::from(254) * gwei), "{fork}");
    }
}

async fn ask(node: &Node, method: &str, params: Value) -> Value {
    node.ask(&json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_listed_by_rising_type_and_in_no_other_way() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path(), common::genesis());
    let alice = wallet(1);
    let request = |nonce: u64, to: Address, length: usize| {
        let fee = U256::from(1_000);
        json!([Bytes::from(alloy_eips::Encodable2718::encoded_2718(
            alice.call(nonce, TxKind::Call(to), fee, vec![7; length].into()).inner()
        ))])
    };
    // The consolidation comes first in the block.
    node.call("eth_sendRawTransaction", request(0, CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, 96)).await;
    node.call("eth_sendRawTransaction", request(1, WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, 56)).await;
    let head = node.reader.heads().latest;
    let forkchoice =
        json!({ "headBlockHash": head.hash, "safeBlockHash": B256::ZERO, "finalizedBlockHash": B256::ZERO });
    let root = B256::repeat_byte(8);
    let attributes = json!({
        "timestamp": format!("{:#x}", head.timestamp + 2), "prevRandao": B256::ZERO, "suggestedFeeRecipient": SINK,
        "withdrawals": [], "parentBeaconBlockRoot": root,
    });
    let begun = node.call("engine_forkchoiceUpdatedV3", json!([forkchoice, attributes])).await;
    let built = node.call("engine_getPayloadV4", json!([begun["payloadId"]])).await;
    let requests: Vec<Bytes> = serde_json::from_value(built["executionRequests"].clone()).unwrap();
    let [withdrawals, consolidations] = requests.as_slice() else { panic!("{requests:?}") };
    assert_eq!((withdrawals[0], withdrawals.len()), (1, 1 + 76));
    assert_eq!((consolidations[0], consolidations.len()), (2, 1 + 116));

    let payload = &built["executionPayload"];
    let new = async |requests: Value| ask(&node, "engine_newPayloadV4", json!([payload, [], root, requests])).await;
    let short = |kind: u8| Bytes::from(vec![kind]);
    for (what, wrong) in [
        ("falling types", json!([consolidations, withdrawals])),
        ("one type twice", json!([withdrawals, withdrawals])),
        ("a type without data", json!([short(0), withdrawals, consolidations])),
        ("an empty request", json!(["0x", withdrawals, consolidations])),
        ("null", json!(null)),
        ("no list", json!({})),
        ("a number", json!([1])),
    ] {
        assert_eq!(new(wrong).await["error"]["code"], -32602, "{what}");
    }
    let more = Bytes::from([&withdrawals[..], &[0]].concat());
    for (what, wrong) in [
        ("none", json!([])),
        ("one less", json!([withdrawals])),
        ("one more", json!([withdrawals, consolidations, Bytes::from(vec![3, 1])])),
        ("a byte more", json!([more, consolidations])),
    ] {
        let status = new(wrong).await["result"].clone();
        assert_eq!((&status["status"], &status["latestValidHash"]), (&json!("INVALID"), &Value::Null), "{what}");
    }
    let mut long = payload.clone();
    long["extraData"] = json!(format!("0x{}", "00".repeat(33)));
    let status = ask(&node, "engine_newPayloadV4", json!([long, [], root, requests])).await["result"].clone();
    assert_eq!((&status["status"], &status["latestValidHash"]), (&json!("INVALID"), &Value::Null), "extra data");
    assert_eq!(new(json!(requests)).await["result"]["status"], "VALID");
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forks_to_come_are_told_in_advance() {
    let folder = tempfile::tempdir().unwrap();
    let mut genesis = common::genesis();
    genesis.config.osaka_time = Some(GENESIS_TIME + 3);
    genesis.config.bpo1_time = Some(GENESIS_TIME + 100);
    let more = json!({ "target": 1, "max": 2, "baseFeeUpdateFraction": 8_346_193 });
    genesis.config.blob_schedule.insert("bpo1".to_owned(), serde_json::from_value(more).unwrap());
    let node = Node::open(folder.path(), genesis);
    let before = node.call("eth_config", json!([])).await;
    let id = |config: &Value| config["forkId"].as_str().unwrap().to_owned();
    assert_eq!(before["current"]["activationTime"], 0);
    assert_eq!(before["next"]["activationTime"], GENESIS_TIME + 3);
    assert_eq!(before["last"]["activationTime"], GENESIS_TIME + 100);
    assert!(before["current"]["precompiles"].get("P256VERIFY").is_none());
    assert!(before["next"]["precompiles"].get("P256VERIFY").is_some());
    assert_eq!(before["next"]["blobSchedule"]["max"], 0);
    assert_eq!(before["last"]["blobSchedule"]["max"], 2);
    let ids = ["current", "next", "last"].map(|which| id(&before[which]));
    assert!(ids[0] != ids[1] && ids[1] != ids[2], "{ids:?}");
    let capabilities = node.call("eth_capabilities", json!([])).await;
    assert_eq!(capabilities["head"], json!({ "number": "0x0", "hash": node.reader.genesis_hash() }));
    assert_eq!(capabilities["state"]["deleteStrategy"], json!({ "type": "window", "retentionBlocks": "0x2000" }));
    assert_eq!(capabilities["receipts"], json!({ "disabled": false, "oldestBlock": "0x0" }));
    node.kill().await;
}
