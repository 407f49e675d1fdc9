//! `eth_*`, `debug_*` and `txpool_*` as a wallet, an explorer and a stranger call them.

#![allow(clippy::unwrap_used)]

mod common;

use alloy_consensus::transaction::Recovered;
use alloy_consensus::{Signed, TxEip1559, TxLegacy};
use alloy_eips::Encodable2718 as _;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, address, hex};
use alys_evm::rpc::{NetStatus, RpcConfig, Syncing};
use alys_evm::{Executor, ExecutorConfig, NoTransactions, TraceLimits, Tx};
use common::node::Node;
use common::{CHAIN_ID, genesis, open, wallet};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const SINK: Address = address!("00000000000000000000000000000000000000aa");

/// Stores the first word of calldata in slot 0, logs it, and returns the value that was there before.
const STORE: &[u8] = &hex!("5f545f52 5f35 5f55 5f35 5f5f a1 6020 5ff3");

/// Init code that deploys `runtime`.
fn deploy(runtime: &[u8]) -> Bytes {
    let length = u8::try_from(runtime.len()).unwrap();
    let mut code = vec![0x60, length, 0x60, 0x0b, 0x5f, 0x39, 0x60, length, 0x5f, 0xf3, 0x00];
    code.extend_from_slice(runtime);
    code.into()
}

fn raw(transaction: &Recovered<Tx>) -> Value {
    json!([Bytes::from(transaction.inner().encoded_2718())])
}

async fn send(node: &Node, transaction: &Recovered<Tx>) -> B256 {
    serde_json::from_value(node.call("eth_sendRawTransaction", raw(transaction)).await).unwrap()
}

fn plain(nonce: u64) -> TxEip1559 {
    TxEip1559 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 20_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to: TxKind::Call(SINK),
        ..TxEip1559::default()
    }
}

fn word(value: u64) -> Bytes {
    U256::from(value).to_be_bytes_vec().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_behind_takes_no_transaction_until_it_has_caught_up() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path(), genesis());
    let transaction = wallet(1).send(plain(0));
    let behind = NetStatus { syncing: Some(Syncing { starting: 0, highest: 40 }), ..NetStatus::default() };
    node.net.send_replace(behind);
    let (code, message) = node.refusal("eth_sendRawTransaction", raw(&transaction)).await;
    assert!(code == -32000 && message.contains("block 40"), "{code}: {message}");
    node.net.send_replace(NetStatus { waiting: true, ..NetStatus::default() });
    let (code, message) = node.refusal("eth_sendRawTransaction", raw(&transaction)).await;
    assert!(code == -32000 && message.contains("too few peers"), "{code}: {message}");
    assert_eq!(node.call("txpool_status", json!([])).await["pending"], json!("0x0"));
    node.net.send_replace(NetStatus::default());
    send(&node, &transaction).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_transactions_are_refused_with_the_words_that_wallets_know() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path(), genesis());
    let (alice, poor) = (wallet(1), wallet(9));
    let signed = |transaction: TxEip1559| raw(&alice.send(transaction));
    let malleable = {
        let good = alice.sign(plain(0));
        let (transaction, signature, _) = good.into_parts();
        let order =
            U256::from_str_radix("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", 16).unwrap();
        let high = Signature::new(signature.r(), order - signature.s(), !signature.v());
        Tx::Eip1559(Signed::new_unhashed(transaction, high))
    };
    let unsigned = Tx::Eip1559(Signed::new_unhashed(plain(0), Signature::new(U256::ZERO, U256::ZERO, false)));
    let bytes = |transaction: &Tx| json!([Bytes::from(transaction.encoded_2718())]);
    let legacy =
        TxLegacy { gas_limit: 21_000, gas_price: 20_000_000_000, to: TxKind::Call(SINK), ..TxLegacy::default() };
    let long = TxEip1559 { gas_limit: 10_000_000, input: vec![0; 140_000].into(), ..plain(0) };
    let cases: Vec<(Value, i64, &str)> = vec![
        (json!([]), -32602, "missing value for required argument 0"),
        (json!(["0xzz"]), -32602, "invalid argument 0"),
        (json!([7]), -32602, "invalid argument 0"),
        (json!(["0x"]), -32000, "transaction can't be decoded"),
        (json!(["0x02"]), -32000, "transaction can't be decoded"),
        (json!(["0x02c0"]), -32000, "transaction can't be decoded"),
        (json!(["0xdeadbeef"]), -32000, "transaction can't be decoded"),
        (json!(["0x05c0"]), -32000, "transaction type not supported"),
        (json!(["0x03c0"]), -32000, "transaction type not supported"),
        (signed(TxEip1559 { chain_id: 1, ..plain(0) }), -32000, "invalid chain id for signer: have 1 want 212121"),
        (bytes(&malleable), -32000, "invalid sender"),
        (bytes(&unsigned), -32000, "invalid sender"),
        (raw(&alice.legacy(legacy)), -32000, "only replay-protected (EIP-155) transactions allowed"),
        (signed(TxEip1559 { gas_limit: 20_999, ..plain(0) }), -32000, "intrinsic gas too low"),
        (signed(TxEip1559 { gas_limit: 31_000_000, ..plain(0) }), -32000, "exceeds block gas limit"),
        (
            signed(TxEip1559 { max_priority_fee_per_gas: 30_000_000_000, ..plain(0) }),
            -32000,
            "max priority fee per gas higher than max fee per gas",
        ),
        (signed(TxEip1559 { nonce: u64::MAX, ..plain(0) }), -32000, "nonce has max value"),
        (signed(TxEip1559 { value: U256::MAX, ..plain(0) }), -32000, "insufficient funds for gas * price + value"),
        (raw(&poor.send(plain(0))), -32000, "insufficient funds for gas * price + value"),
        (signed(long), -32000, "oversized data"),
    ];
    for (params, code, words) in cases {
        let (found, message) = node.refusal("eth_sendRawTransaction", params.clone()).await;
        let shown = params.to_string().chars().take(90).collect::<String>();
        assert_eq!(found, code, "{shown}: {message}");
        assert!(message.contains(words), "{shown}: {message}");
        assert!(message.len() < 1_000, "{shown}: the answer is not longer than the question deserves");
    }
    // Cut short anywhere, a good transaction is none.
    let good = alice.send(plain(0)).inner().encoded_2718();
    for cut in 0..good.len() {
        let (code, _) = node.refusal("eth_sendRawTransaction", json!([Bytes::copy_from_slice(&good[..cut])])).await;
        assert_eq!(code, -32000, "cut at {cut}");
    }
    assert_eq!(node.call("txpool_status", json!([])).await, json!({ "pending": "0x0", "queued": "0x0" }));

    // What is good is taken all the same, once; a gap waits; a replacement must pay a tenth more.
    send(&node, &alice.send(plain(0))).await;
    let (code, message) = node.refusal("eth_sendRawTransaction", raw(&alice.send(plain(0)))).await;
    assert_eq!((code, message.as_str()), (-32000, "already known"));
    send(&node, &alice.send(plain(5))).await;
    assert_eq!(node.call("txpool_status", json!([])).await, json!({ "pending": "0x1", "queued": "0x1" }));
    let cheap = alice.send(TxEip1559 { max_fee_per_gas: 21_000_000_000, value: U256::from(1), ..plain(0) });
    let (code, message) = node.refusal("eth_sendRawTransaction", raw(&cheap)).await;
    assert!(code == -32000 && message.starts_with("replacement transaction underpriced"), "{code} {message}");
    node.mine().await;
    let (code, message) = node.refusal("eth_sendRawTransaction", raw(&cheap)).await;
    assert!(code == -32000 && message.starts_with("nonce too low"), "{code} {message}");
    let content = node.call("txpool_contentFrom", json!([alice.address])).await;
    assert_eq!(content["queued"]["5"]["nonce"], "0x5", "{content}");
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_that_make_no_sense_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path(), genesis());
    let zero = B256::ZERO;
    let many: Vec<Address> = (0_u16..5_000).map(|n| Address::left_padding_from(&n.to_be_bytes())).collect();
    let cases: Vec<(&str, Value, i64, &str)> = vec![
        ("eth_getBalance", json!([]), -32602, "missing value for required argument 0"),
        ("eth_getBalance", json!(["0x12"]), -32602, "argument 0 (address)"),
        ("eth_getBalance", json!([SINK, "newest"]), -32602, "argument 1 (block)"),
        ("eth_getBalance", json!([SINK, "0x99"]), -32000, "header not found"),
        ("eth_getBalance", json!([SINK, { "blockHash": zero }]), -32000, "header not found"),
        ("eth_getBalance", json!([SINK, "latest", 1]), -32602, "too many arguments"),
        ("eth_getBalance", json!({ "address": SINK }), -32602, "non-array args"),
        ("eth_getBlockByNumber", json!(["1", false]), -32602, "argument 0"),
        ("eth_getBlockByNumber", json!(["0x10000000000000000", false]), -32602, "argument 0"),
        ("eth_getBlockByHash", json!(["0x1234", false]), -32602, "argument 0"),
        ("eth_getTransactionByHash", json!([hex::encode(zero)]), -32602, "0x prefix"),
        ("eth_getStorageAt", json!([SINK, "0x".to_owned() + &"1".repeat(65), "latest"]), -32602, "argument 1"),
        ("eth_call", json!([{ "to": SINK, "gas": "lots" }]), -32602, "argument 0"),
        ("eth_call", json!([{ "to": SINK, "value": "0x1" }, "latest"]), -32000, "insufficient funds"),
        ("eth_call", json!([{ "to": SINK }, "0x99"]), -32000, "header not found"),
        ("eth_call", json!([{ "to": SINK, "blobVersionedHashes": [zero] }]), -32602, "blob transactions"),
        (
            "eth_call",
            json!([{ "to": SINK }, "latest", { SINK.to_string(): { "state": {}, "stateDiff": {} } }]),
            -32602,
            "overrides",
        ),
        ("eth_feeHistory", json!(["0x5", "0x99", []]), -32000, "request beyond head block"),
        ("eth_feeHistory", json!(["0x5", "latest", [101]]), -32602, "invalid reward percentile"),
        ("eth_feeHistory", json!(["0x5", "latest", [20, 10]]), -32602, "invalid reward percentile"),
        ("eth_feeHistory", json!(["0x5", "latest", vec![1; 1_000]]), -32602, "query limit"),
        ("eth_getLogs", json!([{ "fromBlock": "0x5", "toBlock": "0x2" }]), -32602, "invalid block range"),
        ("eth_getLogs", json!([{ "fromBlock": "0x0", "toBlock": "0xffffffffffff" }]), -32602, "beyond current head"),
        ("eth_getLogs", json!([{ "blockHash": zero }]), -32000, "unknown block"),
        ("eth_getLogs", json!([{ "address": many }]), -32602, "max addresses"),
        ("eth_getProof", json!([SINK, vec![zero; 5_000], "latest"]), -32602, "too many storage keys"),
        ("eth_getFilterChanges", json!(["0x1"]), -32000, "filter not found"),
        ("eth_subscribe", json!(["dreams"]), -32602, "no \"dreams\" subscription"),
        ("eth_sendTransaction", json!([{}]), -32000, "keeps no keys"),
        ("eth_simulateV1", json!([{ "blockStateCalls": [] }]), -32602, "empty input"),
        ("debug_traceTransaction", json!([zero]), -32000, "transaction not found"),
        ("debug_traceBlockByNumber", json!(["0x0"]), -32000, "genesis is not traceable"),
        ("debug_traceBlockByNumber", json!(["0x99"]), -32000, "block not found"),
        (
            "debug_traceCall",
            json!([{ "to": SINK }, "latest", { "tracer": "{step: function() {}}" }]),
            -32000,
            "JS Tracer",
        ),
        ("eth_nothing", json!([]), -32601, "Method not found"),
    ];
    for (method, params, code, words) in cases {
        if method == "eth_subscribe" {
            let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
            let answer = node.ask(&request).await;
            assert_eq!(answer["error"]["code"], code, "{answer}");
            continue;
        }
        let shown = format!("{method}{params}").chars().take(120).collect::<String>();
        let (found, message) = node.refusal(method, params).await;
        assert_eq!(found, code, "{shown}: {message}");
        assert!(message.contains(words), "{shown}: {message}");
        assert!(message.len() < 1_000, "{shown}");
    }
    assert_eq!(node.call("eth_getBlockByNumber", json!(["0x99", false])).await, Value::Null);
    assert_eq!(node.call("eth_getTransactionReceipt", json!([zero])).await, Value::Null);
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expensive_calls_end_and_others_are_served_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let executor =
        Executor::open(folder.path(), genesis(), ExecutorConfig::default(), Box::new(NoTransactions)).unwrap();
    let mut config = RpcConfig::new("test/1".to_owned());
    config.gas_cap = 5_000_000;
    config.max_heavy = 1;
    config.max_slow = 1;
    config.trace = TraceLimits { max_bytes: 1 << 20, max_time: Duration::from_secs(20) };
    let node = Node::over(executor, config);
    let with_code = |code: &[u8]| json!({ SINK.to_string(): { "code": Bytes::copy_from_slice(code) } });
    // jumpdest, push0, jump; and a contract that calls itself with all gas.
    let endless = with_code(&hex!("5b5f56"));
    let recursive = with_code(&hex!("5f5f5f5f5f305af100"));
    let started = Instant::now();
    let bomb = node.refusal("eth_call", json!([{ "to": SINK, "gas": "0xffffffffffff" }, "latest", endless]));
    let height = node.call("eth_blockNumber", json!([]));
    let ((code, message), height) = tokio::join!(bomb, height);
    assert!(code == -32000 && message.contains("out of gas"), "{code} {message}");
    assert_eq!(height, "0x0");
    assert_eq!(node.call("eth_call", json!([{ "to": SINK }, "latest", recursive])).await, "0x");
    let (code, message) = node.refusal("eth_estimateGas", json!([{ "to": SINK }, "latest", endless])).await;
    assert!(code == -32000 && message.contains("gas required exceeds allowance"), "{code} {message}");
    let trace = json!([{ "to": SINK }, "latest", { "stateOverrides": endless }]);
    let (code, message) = node.refusal("debug_traceCall", trace).await;
    assert!(code == -32000 && message.contains("more than 1048576 bytes"), "{code} {message}");
    let limited =
        json!([{ "to": SINK, "gas": "0x6000" }, "latest", { "stateOverrides": recursive, "tracer": "callTracer" }]);
    let calls = node.call("debug_traceCall", limited).await;
    assert_eq!(calls["calls"].as_array().map(Vec::len), Some(1), "a call within a call");
    let blocks = json!([{ "blockStateCalls": [{ "stateOverrides": endless, "calls": [{ "to": SINK, "gas": "0x100000" }, { "to": SINK }] }] }]);
    let simulated = node.call("eth_simulateV1", blocks).await;
    assert_eq!(simulated[0]["calls"][0]["error"]["message"], "out of gas");
    assert!(started.elapsed() < Duration::from_secs(60));
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn contracts_are_called_estimated_traced_and_proven() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path(), genesis());
    let alice = wallet(1);
    let contract = alice.address.create(0);
    let creation = send(&node, &alice.call(0, TxKind::Create, U256::ZERO, deploy(STORE))).await;
    node.mine().await;
    let receipt = node.call("eth_getTransactionReceipt", json!([creation])).await;
    assert_eq!((&receipt["status"], &receipt["contractAddress"]), (&json!("0x1"), &json!(contract)));
    let call = json!({ "from": alice.address, "to": contract, "input": word(7) });
    let gas = node.call("eth_estimateGas", json!([call])).await;
    let gas = u64::from_str_radix(gas.as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
    let list = node.call("eth_createAccessList", json!([call])).await;
    assert_eq!(list["accessList"][0]["storageKeys"], json!([B256::ZERO]), "{list}");
    let exact = TxEip1559 { gas_limit: gas, to: TxKind::Call(contract), input: word(7), ..plain(1) };
    let stored = send(&node, &alice.send(exact)).await;
    let block = node.mine().await;
    let receipt = node.call("eth_getTransactionReceipt", json!([stored])).await;
    assert_eq!(receipt["status"], "0x1", "the estimate is enough");
    assert_eq!(receipt["logs"][0]["topics"], json!([B256::with_last_byte(7)]));
    assert_eq!(node.call("eth_getStorageAt", json!([contract, "0x0", "latest"])).await, json!(B256::with_last_byte(7)));
    let values = node.call("eth_getStorageValues", json!([{ contract.to_string(): ["0x0", "0x1"] }])).await;
    assert_eq!(values.as_object().unwrap().values().next().unwrap(), &json!([B256::with_last_byte(7), B256::ZERO]));
    let proof = node.call("eth_getProof", json!([contract, ["0x0"], "latest"])).await;
    assert_eq!(proof["storageProof"][0]["value"], "0x7");
    let logs = node.call("eth_getLogs", json!([{ "fromBlock": "0x0", "address": contract }])).await;
    assert_eq!(logs.as_array().unwrap().len(), 1);
    assert_eq!(logs, node.call("eth_getLogs", json!([{ "blockHash": block }])).await);

    let steps = node.call("debug_traceTransaction", json!([stored])).await;
    assert_eq!(
        (&steps["failed"], &steps["gas"]),
        (
            &json!(false),
            &receipt["gasUsed"]
                .as_str()
                .map(|gas| { json!(u64::from_str_radix(gas.trim_start_matches("0x"), 16).unwrap()) })
                .unwrap()
        )
    );
    let names: Vec<_> =
        steps["structLogs"].as_array().unwrap().iter().map(|step| step["op"].as_str().unwrap()).collect();
    assert_eq!(names.first(), Some(&"PUSH0"));
    assert!(names.contains(&"SSTORE") && names.contains(&"LOG1") && names.last() == Some(&"RETURN"), "{names:?}");
    let tracer = |name: &str| json!([stored, { "tracer": name }]);
    let frame = node.call("debug_traceTransaction", tracer("callTracer")).await;
    assert_eq!((&frame["type"], &frame["to"]), (&json!("CALL"), &json!(contract)));
    let before = node.call("debug_traceTransaction", tracer("prestateTracer")).await;
    let key = contract.to_string().to_lowercase();
    assert!(before.get(&key).is_some(), "{before}");
    let whole = node.call("debug_traceBlockByHash", json!([block, { "tracer": "callTracer" }])).await;
    assert_eq!(whole[0]["txHash"], json!(stored));
    assert_eq!(whole[0]["result"], frame);
    assert_eq!(whole, node.call("debug_traceBlockByNumber", json!(["0x2", { "tracer": "callTracer" }])).await);
    let traced = node.call("debug_traceCall", json!([call, "0x1", { "tracer": "callTracer" }])).await;
    assert_eq!(traced["output"], json!(B256::ZERO), "before the second block nothing was stored");

    // revert("now")
    let reason = hex!(
        "08c379a0000000000000000000000000000000000000000000000000000000000000002000000000000000000000000000000000000000000000000000000000000000036e6f770000000000000000000000000000000000000000000000000000000000"
    );
    let mut code = hex!("6064600a5f3960645ffd").to_vec();
    code.extend_from_slice(&reason);
    let reverting = json!([{ "to": SINK }, "latest", { SINK.to_string(): { "code": Bytes::from(code) } }]);
    for method in ["eth_call", "eth_estimateGas"] {
        let answer = node.ask(&json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": reverting })).await;
        let error = &answer["error"];
        assert_eq!((&error["code"], &error["message"]), (&json!(3), &json!("execution reverted: now")), "{answer}");
        assert_eq!(error["data"], json!(Bytes::copy_from_slice(&reason)));
    }
    let config = node.call("eth_config", json!([])).await;
    assert_eq!(config["current"]["blobSchedule"]["max"], 0);
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_and_subscriptions_tell_what_is_new() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path(), genesis());
    let alice = wallet(1);
    let contract = alice.address.create(0);
    let blocks = node.call("eth_newBlockFilter", json!([])).await;
    let logs = node.call("eth_newFilter", json!([{ "address": contract }])).await;
    let pending = node.call("eth_newPendingTransactionFilter", json!([])).await;
    let mut heads = node.methods.subscribe("eth_subscribe", ["newHeads"], 16).await.unwrap();
    let mut news = node
        .methods
        .subscribe("eth_subscribe", json!(["logs", { "address": contract }]).as_array().unwrap().clone(), 16)
        .await
        .unwrap();
    let creation = send(&node, &alice.call(0, TxKind::Create, U256::ZERO, deploy(STORE))).await;
    let call = send(&node, &alice.call(1, TxKind::Call(contract), U256::ZERO, word(3))).await;
    let block = node.mine().await;
    assert_eq!(node.call("eth_getFilterChanges", json!([blocks])).await, json!([block]));
    assert_eq!(node.call("eth_getFilterChanges", json!([blocks])).await, json!([]), "told once");
    assert_eq!(node.call("eth_getFilterChanges", json!([pending])).await, json!([creation, call]));
    let changes = node.call("eth_getFilterChanges", json!([logs])).await;
    assert_eq!(changes[0]["transactionHash"], json!(call));
    assert_eq!(node.call("eth_getFilterLogs", json!([logs])).await, changes);
    let (head, _) = heads.next::<Value>().await.unwrap().unwrap();
    assert_eq!(head["hash"], json!(block));
    let (log, _) = news.next::<Value>().await.unwrap().unwrap();
    assert_eq!(log, changes[0]);
    assert_eq!(node.call("eth_uninstallFilter", json!([blocks])).await, true);
    assert_eq!(node.call("eth_uninstallFilter", json!([blocks])).await, false);
    assert_eq!(node.refusal("eth_getFilterChanges", json!([blocks])).await.0, -32000);
    drop((heads, news));
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_and_log_searches_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = RpcConfig::new("test/1".to_owned());
    config.max_filters = 3;
    config.max_log_blocks = 2;
    let node = Node::over(open(folder.path(), ExecutorConfig::default()), config);
    for _ in 0..3 {
        node.mine().await;
        node.call("eth_newBlockFilter", json!([])).await;
    }
    let (code, message) = node.refusal("eth_newBlockFilter", json!([])).await;
    assert!(code == -32005 && message.contains("too many filters"), "{code} {message}");
    let (code, message) = node.refusal("eth_getLogs", json!([{ "fromBlock": "0x0", "toBlock": "latest" }])).await;
    assert!(code == -32005 && message.contains("max block range 2"), "{code} {message}");
    assert_eq!(node.call("eth_getLogs", json!([{ "fromBlock": "0x2", "toBlock": "latest" }])).await, json!([]));
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_simulation_on_an_older_block_gives_the_root_that_it_gave_when_the_block_was_the_head() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path(), genesis());
    let alice = wallet(1);
    let contract = alice.address.create(0);
    // Stores calldata's first word at the slot that is its second word.
    let code = hex!("5f35 6020 35 55");
    let store = |nonce: u64, slot: u64, value: u64| {
        let input = [word(value), word(slot)].concat();
        alice.call(nonce, TxKind::Call(contract), U256::ZERO, input.into())
    };
    send(&node, &alice.call(0, TxKind::Create, U256::ZERO, deploy(&code))).await;
    send(&node, &store(1, 1, 5)).await;
    send(&node, &store(2, 2, 6)).await;
    node.mine().await;
    let on = async |block: &str, account: Value| {
        let blocks = json!([{ "stateOverrides": { contract.to_string(): account }, "calls": [] }]);
        let simulated = node.call("eth_simulateV1", json!([{ "blockStateCalls": blocks }, block])).await;
        simulated[0]["stateRoot"].as_str().unwrap().to_owned()
    };
    let wiped = json!({ "state": { B256::with_last_byte(9).to_string(): B256::with_last_byte(1) } });
    let changed = json!({ "stateDiff": { B256::with_last_byte(1).to_string(): B256::with_last_byte(1) } });
    let then = (on("latest", wiped.clone()).await, on("latest", changed.clone()).await, on("latest", json!({})).await);
    assert!(then.0 != then.1 && then.1 != then.2 && then.0 != then.2);
    // Later a slot is deleted, one is changed, and one comes.
    send(&node, &store(3, 1, 0)).await;
    send(&node, &store(4, 2, 7)).await;
    send(&node, &store(5, 3, 8)).await;
    node.mine().await;
    assert_eq!((on("0x1", wiped).await, on("0x1", changed).await, on("0x1", json!({})).await), then);
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_filled_so_that_it_needs_only_a_signature() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path(), genesis());
    let alice = wallet(1);
    send(&node, &alice.send(plain(0))).await;
    let filled =
        node.call("eth_fillTransaction", json!([{ "from": alice.address, "to": SINK, "input": word(1) }])).await;
    let tx = &filled["tx"];
    let number = |field: &str| u64::from_str_radix(tx[field].as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
    assert_eq!((number("type"), number("nonce"), number("chainId"), number("value")), (2, 1, CHAIN_ID, 0), "{tx}");
    assert_eq!((&tx["accessList"], tx.get("from")), (&json!([]), None));
    let transaction = TxEip1559 {
        nonce: number("nonce"),
        gas_limit: number("gas"),
        max_fee_per_gas: number("maxFeePerGas").into(),
        max_priority_fee_per_gas: number("maxPriorityFeePerGas").into(),
        input: word(1),
        ..plain(1)
    };
    let sent = send(&node, &alice.send(transaction)).await;
    node.mine().await;
    assert_eq!(node.call("eth_getTransactionReceipt", json!([sent])).await["status"], "0x1");
    for (params, words) in [
        (json!([{ "gasPrice": "0x1", "maxFeePerGas": "0x1" }]), "both gasPrice and"),
        (json!([{ "maxPriorityFeePerGas": "0x2", "maxFeePerGas": "0x1" }]), "(1) < maxPriorityFeePerGas (2)"),
        (json!([{ "to": SINK, "chainId": "0x1" }]), "chainId does not match"),
    ] {
        let (code, message) = node.refusal("eth_fillTransaction", params).await;
        assert!(code == -32000 && message.contains(words), "{code}: {message}");
    }
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn withdrawals_of_simulated_blocks_are_credited() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path(), genesis());
    let withdrawal = json!({ "index": "0x0", "validatorIndex": "0x1", "address": SINK, "amount": "0x5" });
    // Returns its own balance.
    let code = json!({ SINK.to_string(): { "code": "0x475f5260205ff3" } });
    let call = json!({ "to": SINK });
    let blocks = json!([
        { "stateOverrides": code, "blockOverrides": { "withdrawals": [withdrawal] }, "calls": [call] },
        { "blockOverrides": null, "calls": [call] },
    ]);
    let simulated = node.call("eth_simulateV1", json!([{ "blockStateCalls": blocks }])).await;
    let balance = |block: usize| simulated[block]["calls"][0]["returnData"].clone();
    assert_eq!((balance(0), balance(1)), (json!(word(0)), json!(word(5_000_000_000))), "after the block's calls");
    assert_eq!((&simulated[0]["withdrawals"], &simulated[1]["withdrawals"]), (&json!([withdrawal]), &json!([])));
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_methods_is_what_the_module_serves() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path(), genesis());
    let mut served: Vec<&str> = node
        .methods
        .method_names()
        .filter(|name| !name.starts_with("engine_") && !name.starts_with("testing_"))
        .collect();
    let mut listed: Vec<&str> = alys_evm::rpc::METHODS.to_vec();
    listed.extend(["eth_subscribe", "eth_unsubscribe"]);
    served.sort_unstable();
    listed.sort_unstable();
    assert_eq!(served, listed);
    node.kill().await;
}
