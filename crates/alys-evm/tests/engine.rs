//! Building, executing, moving the head, and coming back after a crash.

#![allow(clippy::unwrap_used)]

mod common;

use alloy_consensus::{Transaction, TxEip1559};
use alloy_eips::BlockId;
use alloy_eips::eip7702::Authorization;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, address, bytes, hex};
use alloy_rpc_types_eth::TransactionRequest;
use alys_engine::{EngineError, ExecutionEngine, ForkchoiceState, PayloadId, PayloadStatus};
use alys_evm::{BRIDGE_ADDRESS, CallRequest, CallStatus, ChainEvent, ExecutorConfig, ReadError, Rejection, spawn};
use alys_primitives::{Gwei, VariableList, Withdrawal};
use common::{BURN, CHAIN_ID, GENESIS_TIME, attributes, build, extend, heads, open, wallet};

const SINK: Address = address!("00000000000000000000000000000000000000aa");

/// A coin.
fn coin() -> U256 {
    U256::from(10).pow(U256::from(18))
}

/// Stores the first word of calldata in slot 0, logs it, and returns the value that was there before.
const STORE: &[u8] = &hex!("5f545f52 5f35 5f55 5f35 5f5f a1 6020 5ff3");

/// Init code that deploys `runtime`.
fn deploy(runtime: &[u8]) -> Bytes {
    let length = u8::try_from(runtime.len()).unwrap();
    let mut code = vec![0x60, length, 0x60, 0x0b, 0x5f, 0x39, 0x60, length, 0x5f, 0xf3, 0x00];
    code.extend_from_slice(runtime);
    code.into()
}

fn word(value: u64) -> Bytes {
    U256::from(value).to_be_bytes_vec().into()
}

#[test]
fn transfers_pay_value_and_fees_to_the_wei() {
    let folder = tempfile::tempdir().unwrap();
    let mut executor = open(folder.path(), ExecutorConfig::default());
    let (alice, bob) = (wallet(1), wallet(2));
    let before = executor.reader().account(BlockId::latest(), alice.address).unwrap().unwrap();
    let first = alice.call(0, TxKind::Call(SINK), coin(), Bytes::new());
    let second = bob.call(0, TxKind::Call(SINK), coin(), Bytes::new());
    let hash = *first.inner().tx_hash();
    let new = extend(&mut executor, vec![first, second]);
    let base_fee = u128::try_from(new.payload.base_fee_per_gas).unwrap();
    // The base fee falls by an eighth after the empty genesis block.
    assert_eq!(base_fee, 875_000_000);
    let price = base_fee + 1_000_000_000;
    let reader = executor.reader();
    let after = reader.account(BlockId::latest(), alice.address).unwrap().unwrap();
    assert_eq!(after.nonce, 1);
    assert_eq!(before.balance - after.balance, coin() + U256::from(21_000 * price));
    assert_eq!(reader.account(BlockId::latest(), SINK).unwrap().unwrap().balance, coin() * U256::from(2));
    let tips = reader.account(BlockId::latest(), BURN).unwrap().unwrap().balance;
    assert_eq!(tips, U256::from(42_000_u64 * 1_000_000_000));
    let fees = executor.block_fees(new.payload.block_hash).unwrap();
    assert_eq!(fees.total, U256::from(42_000 * price), "base and priority fees together");
    let receipt = reader.receipt(hash).unwrap().unwrap();
    assert_eq!((receipt.gas_used, receipt.effective_gas_price), (21_000, price));
    assert!(receipt.receipt.status());
    let mined = reader.transaction(hash).unwrap().unwrap();
    assert_eq!((mined.block.hash, mined.index), (new.payload.block_hash, 0));
    assert_eq!(mined.transaction.signer(), alice.address);
    assert_eq!(executor.block_fees(B256::ZERO), Err(EngineError::UnknownBlock { hash: B256::ZERO }));
}

#[test]
fn contracts_are_deployed_called_and_logged() {
    let folder = tempfile::tempdir().unwrap();
    let mut executor = open(folder.path(), ExecutorConfig::default());
    let alice = wallet(1);
    let contract = alice.address.create(0);
    let creation = alice.call(0, TxKind::Create, U256::ZERO, deploy(STORE));
    let creation_hash = *creation.inner().tx_hash();
    extend(&mut executor, vec![creation, alice.call(1, TxKind::Call(contract), U256::ZERO, word(5))]);
    let call = alice.call(2, TxKind::Call(contract), U256::ZERO, word(9));
    let call_hash = *call.inner().tx_hash();
    extend(&mut executor, vec![call]);
    let reader = executor.reader();
    assert_eq!(reader.receipt(creation_hash).unwrap().unwrap().contract_address, Some(contract));
    assert_eq!(reader.code(BlockId::latest(), contract).unwrap().as_ref(), STORE);
    let receipt = reader.receipt(call_hash).unwrap().unwrap();
    assert_eq!(receipt.receipt.logs().len(), 1);
    assert_eq!(receipt.receipt.logs()[0].topics(), [B256::with_last_byte(9)]);
    for (block, value) in [(0, 0), (1, 5), (2, 9)] {
        assert_eq!(reader.storage(BlockId::number(block), contract, U256::ZERO).unwrap(), U256::from(value));
    }
    assert_eq!(reader.account(BlockId::number(0), contract).unwrap(), None);
    let request = |value: u64| CallRequest {
        transaction: TransactionRequest::default().to(contract).input(word(value).into()),
        gas_cap: 10_000_000,
        ..CallRequest::default()
    };
    for (block, value) in [(1, 5), (2, 9)] {
        let outcome = reader.call(BlockId::number(block), request(1)).unwrap();
        assert_eq!(outcome.status, CallStatus::Success { output: word(value), created: None }, "at {block}");
        assert_eq!(outcome.logs.len(), 1);
    }
    let (list, _) = reader.access_list(BlockId::latest(), request(1)).unwrap();
    assert_eq!(list.0.len(), 1);
    assert_eq!((list.0[0].address, list.0[0].storage_keys.as_slice()), (contract, [B256::ZERO].as_slice()));
    // A call changes nothing.
    assert_eq!(reader.storage(BlockId::latest(), contract, U256::ZERO).unwrap(), U256::from(9));
}

#[test]
fn calls_revert_halt_and_obey_the_gas_cap() {
    let folder = tempfile::tempdir().unwrap();
    let executor = open(folder.path(), ExecutorConfig::default());
    let reader = executor.reader();
    let call = |code: Bytes, gas_cap: u64| {
        let overrides = serde_json::json!({ SINK.to_string(): { "code": code } });
        let request = CallRequest {
            transaction: TransactionRequest::default().to(SINK),
            state_overrides: Some(serde_json::from_value(overrides).unwrap()),
            gas_cap,
            ..CallRequest::default()
        };
        reader.call(BlockId::latest(), request).unwrap()
    };
    let reverted = call(bytes!("5f35 6007 5f53 6001 5ffd"), 100_000);
    assert_eq!(reverted.status, CallStatus::Revert { output: bytes!("07") });
    let endless = call(bytes!("5b5f56"), 100_000);
    assert!(matches!(endless.status, CallStatus::Halt { out_of_gas: true, .. }), "{endless:?}");
    assert_eq!(endless.gas_used, 100_000);
    let rich = CallRequest {
        transaction: TransactionRequest::default().to(SINK).value(coin()),
        gas_cap: 100_000,
        ..CallRequest::default()
    };
    assert!(matches!(reader.call(BlockId::latest(), rich), Err(ReadError::InvalidCall(_))));
}

#[test]
fn whatever_is_changed_in_a_payload_makes_it_invalid() {
    let folder = tempfile::tempdir().unwrap();
    let mut executor = open(folder.path(), ExecutorConfig::default());
    let genesis = executor.reader().heads().latest.hash;
    let alice = wallet(1);
    let transfer = alice.call(0, TxKind::Call(SINK), coin(), Bytes::new());
    let mut attributes = attributes(GENESIS_TIME + 2);
    attributes.withdrawals = vec![Withdrawal { index: 0, validator_index: 3, address: SINK, amount: Gwei(17) }];
    let (good, _) = build(&mut executor, genesis, &attributes, vec![transfer]);
    let mut other_folder_executor = {
        // Another executor that has not built the block, so that everything is executed.
        let other = tempfile::tempdir().unwrap();
        (open(other.path(), ExecutorConfig::default()), other)
    };
    let executor = &mut other_folder_executor.0;
    let fields = [
        "parent",
        "state",
        "receipts",
        "bloom",
        "randao",
        "number",
        "gas limit",
        "gas used",
        "time",
        "extra",
        "base fee",
        "transactions",
        "withdrawals",
        "blob gas",
        "excess",
        "root",
        "requests",
        "recipient",
    ];
    for field in fields {
        let mut bad = good.clone();
        let payload = &mut bad.payload;
        match field {
            "parent" => payload.parent_hash = B256::repeat_byte(1),
            "state" => payload.state_root = B256::repeat_byte(1),
            "receipts" => payload.receipts_root = B256::repeat_byte(1),
            "bloom" => payload.logs_bloom.0[3] = 1,
            "randao" => payload.prev_randao = B256::repeat_byte(1),
            "number" => payload.block_number = 2,
            "gas limit" => payload.gas_limit += 1,
            "gas used" => payload.gas_used += 1,
            "time" => payload.timestamp += 1,
            "extra" => payload.extra_data = VariableList::default(),
            "base fee" => payload.base_fee_per_gas += U256::from(1),
            "transactions" => payload.transactions = VariableList::default(),
            "withdrawals" => payload.withdrawals = VariableList::default(),
            "blob gas" => payload.blob_gas_used = 131_072,
            "excess" => payload.excess_blob_gas = 1,
            "root" => bad.parent_beacon_block_root = B256::repeat_byte(1),
            "requests" => {
                bad.execution_requests = VariableList::new(vec![VariableList::new(vec![1, 2]).unwrap()]).unwrap();
            }
            "recipient" => payload.fee_recipient = SINK,
            other => panic!("{other}"),
        }
        let stale = executor.new_payload(&bad).unwrap();
        let PayloadStatus::Invalid { latest_valid_hash: None, reason } = stale else { panic!("{field}: {stale:?}") };
        // The error names the hash that the fields make; under that hash only execution can tell.
        assert!(reason.starts_with("blockHash is"), "{field}: {reason}");
        bad.payload.block_hash = reason.rsplit(' ').next().unwrap().parse().unwrap();
        let status = executor.new_payload(&bad).unwrap();
        match field {
            "parent" => assert_eq!(status, PayloadStatus::Syncing),
            // These belong to consensus: another valid block has them.
            "randao" | "extra" => assert_eq!(status, PayloadStatus::Valid, "{field}"),
            "gas limit" => assert_eq!(status, PayloadStatus::Valid, "{field}"),
            _ => {
                let PayloadStatus::Invalid { latest_valid_hash, reason } = status else {
                    panic!("{field}: {status:?}")
                };
                assert_eq!(latest_valid_hash, Some(genesis), "{field}: {reason}");
                let head = executor.forkchoice_updated(heads(bad.payload.block_hash), None).unwrap();
                assert!(matches!(head.status, PayloadStatus::Invalid { .. }), "{field}: {head:?}");
            }
        }
    }
    assert_eq!(executor.new_payload(&good).unwrap(), PayloadStatus::Valid);
    executor.forkchoice_updated(heads(good.payload.block_hash), None).unwrap();
    let sink = executor.reader().account(BlockId::latest(), SINK).unwrap().unwrap();
    assert_eq!(sink.balance, coin() + U256::from(17_000_000_000_u64), "withdrawals are minted");
}

#[test]
fn transactions_that_do_not_fit_are_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let mut executor = open(folder.path(), ExecutorConfig::default());
    let genesis = executor.reader().heads().latest.hash;
    let (alice, bob, nobody) = (wallet(1), wallet(2), wallet(9));
    let plain = |gas_limit: u64, nonce: u64, fee: u128| TxEip1559 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit,
        max_fee_per_gas: fee,
        to: TxKind::Call(SINK),
        ..TxEip1559::default()
    };
    let fee = 10_000_000_000;
    let good = alice.send(plain(21_000, 0, fee));
    let cases = [
        (alice.send(plain(21_000, 0, fee)), "low"),
        (alice.send(plain(21_000, 5, fee)), "later"),
        (bob.send(plain(21_000, 0, 1)), "later"),
        (bob.send(plain(40_000_000, 0, fee)), "fit"),
        (bob.send(plain(20_000, 0, fee)), "invalid"),
        (nobody.send(plain(21_000, 0, fee)), "later"),
        (bob.send(TxEip1559 { chain_id: 1, ..plain(21_000, 0, fee) }), "invalid"),
    ];
    let mut transactions = vec![good.clone()];
    transactions.extend(cases.iter().map(|(transaction, _)| transaction.clone()));
    transactions.push(bob.send(plain(21_000, 0, fee)));
    let (new, rejected) = build(&mut executor, genesis, &attributes(GENESIS_TIME + 2), transactions);
    assert_eq!(new.payload.transactions.len(), 2, "the good ones are in: {rejected:?}");
    assert_eq!(rejected.len(), cases.len());
    for ((_, rejection), (_, kind)) in rejected.iter().zip(&cases) {
        let fits = match rejection {
            Rejection::DoesNotFit => *kind == "fit",
            Rejection::NonceTooLow => *kind == "low",
            Rejection::NotNow(_) => *kind == "later",
            Rejection::Invalid(_) => *kind == "invalid",
        };
        assert!(fits, "{kind}: {rejection:?}");
    }
    assert_eq!(executor.new_payload(&new).unwrap(), PayloadStatus::Valid);
}

#[test]
fn the_head_moves_between_branches_with_all_its_state() {
    let folder = tempfile::tempdir().unwrap();
    let mut executor = open(folder.path(), ExecutorConfig::default());
    let mut events = executor.reader().events();
    let alice = wallet(1);
    let contract = alice.address.create(0);
    let creation = alice.call(0, TxKind::Create, U256::ZERO, deploy(STORE));
    let base = extend(&mut executor, vec![creation]).payload.block_hash;
    let store = |nonce: u64, value: u64| alice.call(nonce, TxKind::Call(contract), U256::ZERO, word(value));
    let on_a = store(1, 11);
    let a_hash = *on_a.inner().tx_hash();
    let a1 = extend(&mut executor, vec![on_a]).payload.block_hash;
    let a2 = extend(&mut executor, vec![store(2, 12)]).payload.block_hash;
    let proof_a = executor.reader().proof(BlockId::latest(), contract, &[U256::ZERO]).unwrap();

    // Branch b, built by another executor and executed here while a is canonical.
    let other = tempfile::tempdir().unwrap();
    let mut builder = open(other.path(), ExecutorConfig::default());
    assert_eq!(
        extend(&mut builder, vec![alice.call(0, TxKind::Create, U256::ZERO, deploy(STORE))]).payload.block_hash,
        base
    );
    let b: Vec<_> = (0..4).map(|step| extend(&mut builder, vec![store(1 + step, 20 + step)])).collect();
    for new in &b {
        assert_eq!(executor.new_payload(new).unwrap(), PayloadStatus::Valid);
    }
    let reader = executor.reader();
    assert_eq!(reader.heads().latest.hash, a2, "executing moves no head");
    assert_eq!(reader.storage(BlockId::latest(), contract, U256::ZERO).unwrap(), U256::from(12));
    let side = reader.storage(BlockId::hash(b[3].payload.block_hash), contract, U256::ZERO);
    assert!(matches!(side, Err(ReadError::NotCanonical { .. })));

    while events.try_recv().is_ok() {}
    let b4 = b[3].payload.block_hash;
    executor.forkchoice_updated(heads(b4), None).unwrap();
    let ChainEvent::Reorg { dropped, added } = events.try_recv().unwrap() else { panic!("not a reorganisation") };
    assert_eq!(dropped.iter().map(|block| block.hash).collect::<Vec<_>>(), [a2, a1]);
    assert_eq!(
        added.iter().map(|block| block.hash).collect::<Vec<_>>(),
        b.iter().map(|new| new.payload.block_hash).collect::<Vec<_>>()
    );
    assert_eq!(reader.heads().latest.hash, b4);
    assert_eq!(reader.storage(BlockId::latest(), contract, U256::ZERO).unwrap(), U256::from(23));
    for (number, value) in [(1, 0), (2, 20), (3, 21), (4, 22), (5, 23)] {
        assert_eq!(reader.storage(BlockId::number(number), contract, U256::ZERO).unwrap(), U256::from(value));
    }
    assert_eq!(reader.transaction(a_hash).unwrap(), None, "a dropped transaction is no longer mined");
    assert_eq!(reader.header(BlockId::latest()).unwrap().unwrap().state_root, b[3].payload.state_root);

    // And back, then on: roots are right only if the trie came back whole.
    executor.forkchoice_updated(heads(a2), None).unwrap();
    assert_eq!(executor.reader().proof(BlockId::latest(), contract, &[U256::ZERO]).unwrap(), proof_a);
    let a3 = extend(&mut executor, vec![store(3, 13)]);
    assert_eq!(builder.new_payload(&a3).unwrap(), PayloadStatus::Syncing, "the builder does not know branch a");
    assert_eq!(reader.canonical_hash(5).unwrap(), None);
    assert_eq!(reader.transaction(a_hash).unwrap().unwrap().block.hash, a1);
}

#[test]
fn finalized_blocks_are_never_left() {
    let folder = tempfile::tempdir().unwrap();
    let mut executor = open(folder.path(), ExecutorConfig::default());
    let genesis = executor.reader().heads().latest.hash;
    let (side, _) = build(&mut executor, genesis, &attributes(GENESIS_TIME + 9), Vec::new());
    assert_eq!(executor.new_payload(&side).unwrap(), PayloadStatus::Valid);
    let first = extend(&mut executor, Vec::new()).payload.block_hash;
    let second = extend(&mut executor, Vec::new()).payload.block_hash;
    let refuse = |executor: &mut alys_evm::Executor, state: ForkchoiceState| {
        let before = executor.reader().heads();
        assert!(matches!(executor.forkchoice_updated(state, None), Err(EngineError::Refused { .. })), "{state:?}");
        assert_eq!(executor.reader().heads(), before);
    };
    let side_hash = side.payload.block_hash;
    refuse(&mut executor, ForkchoiceState { head: second, safe: side_hash, finalized: B256::ZERO });
    refuse(&mut executor, ForkchoiceState { head: second, safe: first, finalized: second });
    executor.forkchoice_updated(ForkchoiceState { head: second, safe: first, finalized: first }, None).unwrap();
    let heads_now = executor.reader().heads();
    assert_eq!((heads_now.safe.hash, heads_now.finalized.hash), (first, first));
    refuse(&mut executor, heads(side_hash));
    let unknown = executor.forkchoice_updated(heads(B256::repeat_byte(3)), None).unwrap();
    assert_eq!(unknown.status, PayloadStatus::Syncing);
    let stale = attributes(heads_now.latest.timestamp);
    let stale = executor.forkchoice_updated(heads(second), Some(&stale));
    assert!(matches!(stale, Err(EngineError::InvalidAttributes { .. })), "{stale:?}");
    assert_eq!(executor.get_payload(PayloadId([0; 8])), Err(EngineError::UnknownPayload { id: [0; 8] }));
}

#[test]
fn an_executor_that_was_dropped_comes_back_with_everything_it_answered_for() {
    let folder = tempfile::tempdir().unwrap();
    let alice = wallet(1);
    let mut expected = Vec::new();
    let mut side = None;
    for round in 0..6_u64 {
        let mut executor = open(folder.path(), ExecutorConfig::default());
        for new in &expected {
            let new: &alys_engine::NewPayload = new;
            assert_eq!(executor.new_payload(new).unwrap(), PayloadStatus::Valid);
        }
        if let Some(head) = expected.last() {
            assert_eq!(executor.reader().heads().latest.hash, head.payload.block_hash);
            let account = executor.reader().account(BlockId::latest(), alice.address).unwrap().unwrap();
            assert_eq!(account.nonce, round);
        }
        if let Some(side) = side {
            // A block that was executed but not canonical is still known.
            assert_eq!(executor.reader().number_of(side).unwrap(), Some(round + 1));
        }
        expected.push(extend(&mut executor, vec![alice.call(round, TxKind::Call(SINK), coin(), Bytes::new())]));
        let head = executor.reader().heads().latest;
        let (next, _) = build(&mut executor, head.hash, &attributes(head.timestamp + 7), Vec::new());
        assert_eq!(executor.new_payload(&next).unwrap(), PayloadStatus::Valid);
        side = Some(next.payload.block_hash);
    }
}

#[test]
fn history_is_kept_for_the_window_and_no_longer() {
    let folder = tempfile::tempdir().unwrap();
    let config = ExecutorConfig { history_blocks: Some(4), ..ExecutorConfig::default() };
    let mut executor = open(folder.path(), config);
    let alice = wallet(1);
    let reader = executor.reader();
    for nonce in 0..12 {
        let new = extend(&mut executor, vec![alice.call(nonce, TxKind::Call(SINK), coin(), Bytes::new())]);
        let hash = new.payload.block_hash;
        executor.forkchoice_updated(ForkchoiceState { head: hash, safe: hash, finalized: hash }, None).unwrap();
    }
    for number in 9..=12 {
        let sink = reader.account(BlockId::number(number), SINK).unwrap().unwrap();
        assert_eq!(sink.balance, coin() * U256::from(number));
    }
    let old = reader.account(BlockId::number(3), SINK);
    assert!(matches!(old, Err(ReadError::Pruned { number: 3, .. })), "{old:?}");
    assert!(reader.block_by_number(3).unwrap().is_some(), "blocks stay");
    assert!(matches!(reader.account(BlockId::number(13), SINK), Err(ReadError::UnknownBlock)));
}

#[test]
fn an_account_can_take_on_code() {
    let folder = tempfile::tempdir().unwrap();
    let mut executor = open(folder.path(), ExecutorConfig::default());
    let (alice, bob) = (wallet(1), wallet(2));
    let contract = alice.address.create(0);
    extend(&mut executor, vec![alice.call(0, TxKind::Create, U256::ZERO, deploy(STORE))]);
    let authorization = Authorization { chain_id: U256::from(CHAIN_ID), address: contract, nonce: 0 };
    let signature = bob.sign_hash(authorization.signature_hash());
    let set_code = alice.set_code(alloy_consensus::TxEip7702 {
        chain_id: CHAIN_ID,
        nonce: 1,
        gas_limit: 200_000,
        max_fee_per_gas: 10_000_000_000,
        to: bob.address,
        input: word(4),
        authorization_list: vec![authorization.into_signed(signature)],
        ..alloy_consensus::TxEip7702::default()
    });
    assert_eq!(set_code.inner().authorization_count(), Some(1));
    extend(&mut executor, vec![set_code]);
    let reader = executor.reader();
    let code = reader.code(BlockId::latest(), bob.address).unwrap();
    assert_eq!(code, [&hex!("ef0100")[..], contract.as_slice()].concat());
    assert_eq!(reader.storage(BlockId::latest(), bob.address, U256::ZERO).unwrap(), U256::from(4));
}

/// Call data of `requestPegOut(bytes)`.
fn peg_out(text: &[u8]) -> Bytes {
    let mut input = alloy_primitives::keccak256("requestPegOut(bytes)")[..4].to_vec();
    input.extend_from_slice(&U256::from(32).to_be_bytes::<32>());
    input.extend_from_slice(&U256::from(text.len()).to_be_bytes::<32>());
    input.extend_from_slice(text);
    input.resize(4 + 64 + text.len().next_multiple_of(32), 0);
    input.into()
}

#[test]
fn burns_are_those_of_the_bridge_whoever_calls_it_and_nobody_elses() {
    let folder = tempfile::tempdir().unwrap();
    let mut executor = open(folder.path(), ExecutorConfig::default());
    let alice = wallet(1);
    let text = b"bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";
    // Passes call data and value on to the bridge.
    let proxy = [&hex!("365f5f37 5f5f365f34 73")[..], BRIDGE_ADDRESS.as_slice(), &hex!("5af100")].concat();
    // Logs its call data under the bridge's topic.
    let impostor = [&hex!("365f5f37 33 7f")[..], alys_engine::REQUEST_PEG_OUT.as_slice(), &hex!("365fa200")].concat();
    let (proxy_address, impostor_address) = (alice.address.create(0), alice.address.create(1));
    let create = |nonce, code: &[u8]| alice.call(nonce, TxKind::Create, U256::ZERO, deploy(code));
    extend(&mut executor, vec![create(0, &proxy), create(1, &impostor)]);
    let forged: Bytes = [&peg_out(text)[4 + 32..]].concat().into();
    let new = extend(
        &mut executor,
        vec![
            alice.call(2, TxKind::Call(impostor_address), U256::ZERO, forged),
            alice.call(3, TxKind::Call(proxy_address), coin(), peg_out(text)),
            // Below the minimum: reverts, and leaves no log.
            alice.call(4, TxKind::Call(BRIDGE_ADDRESS), U256::from(1), peg_out(text)),
            alice.call(5, TxKind::Call(BRIDGE_ADDRESS), coin() * U256::from(2), peg_out(text)),
        ],
    );
    assert_eq!(new.payload.transactions.len(), 4);
    let burns = executor.block_burns(new.payload.block_hash).unwrap();
    let seen: Vec<_> = burns.iter().map(|burn| (burn.log_index, burn.sender, burn.amount)).collect();
    assert_eq!(seen, [(1, proxy_address, coin()), (2, alice.address, coin() * U256::from(2))]);
    assert!(burns.iter().all(|burn| burn.bitcoin_address[..] == text[..]));
    let unknown = B256::repeat_byte(1);
    assert_eq!(executor.block_burns(unknown), Err(EngineError::UnknownBlock { hash: unknown }));
}

#[test]
fn the_bridge_and_the_system_contracts_stand_in_genesis() {
    let folder = tempfile::tempdir().unwrap();
    let mut executor = open(folder.path(), ExecutorConfig::default());
    let alice = wallet(1);
    let text = b"bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";
    let mut input = hex!("00000000").to_vec();
    input[..4].copy_from_slice(&alloy_primitives::keccak256("requestPegOut(bytes)")[..4]);
    input.extend_from_slice(&U256::from(32).to_be_bytes::<32>());
    input.extend_from_slice(&U256::from(text.len()).to_be_bytes::<32>());
    input.extend_from_slice(text);
    input.resize(input.len().next_multiple_of(32) + 4, 0);
    let request = alice.call(0, TxKind::Call(BRIDGE_ADDRESS), coin(), input.into());
    let hash = *request.inner().tx_hash();
    let new = extend(&mut executor, vec![request]);
    let reader = executor.reader();
    let receipt = reader.receipt(hash).unwrap().unwrap();
    assert!(receipt.receipt.status());
    let log = &receipt.receipt.logs()[0];
    assert_eq!(log.address, BRIDGE_ADDRESS);
    let topic = alloy_primitives::keccak256("RequestPegOut(address,bytes,uint256)");
    assert_eq!(log.topics(), [topic, alice.address.into_word()]);
    assert_ne!(new.payload.logs_bloom.0, [0; 256]);
    // EIP-4788 keeps the parent beacon root by time, EIP-2935 the parent's hash by number.
    let roots = alloy_eips::eip4788::BEACON_ROOTS_ADDRESS;
    let slot = U256::from(new.payload.timestamp % 8191);
    assert_eq!(reader.storage(BlockId::latest(), roots, slot).unwrap(), U256::from(new.payload.timestamp));
    let root = reader.storage(BlockId::latest(), roots, slot + U256::from(8191)).unwrap();
    assert_eq!(B256::from(root), B256::repeat_byte(8));
    let hashes = alloy_eips::eip2935::HISTORY_STORAGE_ADDRESS;
    let parent = reader.storage(BlockId::latest(), hashes, U256::ZERO).unwrap();
    assert_eq!(B256::from(parent), reader.genesis_hash());
}

#[test]
fn another_genesis_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path(), ExecutorConfig::default()));
    let mut genesis = common::genesis();
    genesis.timestamp += 1;
    let source = Box::new(alys_evm::NoTransactions);
    let opened = alys_evm::Executor::open(folder.path(), genesis, ExecutorConfig::default(), source);
    assert!(matches!(opened, Err(alys_evm::ExecutorError::Db(alys_evm::DbError::OtherGenesis { .. }))));
}

#[tokio::test]
async fn the_port_builds_executes_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let executor = open(folder.path(), ExecutorConfig::default());
    let reader = executor.reader();
    let (engine, thread) = spawn(executor).unwrap();
    let info = engine.info().await.unwrap();
    assert_eq!((info.chain_id, info.genesis_hash, info.head_number), (CHAIN_ID, reader.genesis_hash(), 0));
    let mut follower = reader.subscribe();
    let mut head = info.head;
    for step in 1..=3 {
        let attributes = attributes(GENESIS_TIME + 2 * step);
        let outcome = engine.forkchoice_updated(heads(head), Some(attributes.clone())).await.unwrap();
        let built = engine.get_payload(outcome.payload_id.unwrap()).await.unwrap();
        head = built.payload.block_hash;
        assert_eq!(engine.new_payload(common::as_new(&built, &attributes)).await.unwrap(), PayloadStatus::Valid);
        engine.forkchoice_updated(heads(head), None).await.unwrap();
        assert!(follower.has_changed().unwrap());
        assert_eq!(follower.borrow_and_update().latest.hash, head);
        assert_eq!(engine.block_fees(head).await.unwrap().total, U256::ZERO);
    }
    drop(engine);
    let executor = tokio::task::spawn_blocking(|| thread.join()).await.unwrap().unwrap();
    assert_eq!(executor.info().head_number, 3);
}
