//! Bad input entry by entry, over HTTP to a running node: each line says what is sent and how it is refused. Each answer
//! comes in bounded time, others are served meanwhile, and every transaction that was taken is mined once.

#![allow(clippy::unwrap_used, reason = "a test fails where it can't go on")]

mod common;

use alloy_consensus::{SignableTransaction, Signed, TxEip1559, TxEip2930, TxEip7702, TxEnvelope, TxLegacy};
use alloy_eips::Encodable2718 as _;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, address, hex};
use alys_node::chain_files::PRESET_CHAIN_ID;
use alys_node::dev_accounts::dev_accounts;
use common::{DevNode, number};
use k256::ecdsa::SigningKey;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const SINK: Address = address!("00000000000000000000000000000000000000aa");
const GWEI: u128 = 1_000_000_000;

/// The longest that any single answer may take here, beside other builds and without optimisation.
const BOUND: Duration = Duration::from_secs(25);

/// The order of secp256k1.
const ORDER: U256 = U256::from_be_bytes(hex!("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"));

struct Key {
    secret: SigningKey,
    address: Address,
}

impl Key {
    fn dev(index: usize) -> Self {
        let account = dev_accounts().unwrap().swap_remove(index);
        Self { secret: SigningKey::from_slice(&account.secret_key.secret_bytes()).unwrap(), address: account.address }
    }

    fn sign<T: SignableTransaction<Signature>>(&self, transaction: T) -> Signed<T> {
        let hash = transaction.signature_hash();
        let signature = Signature::from(self.secret.sign_prehash_recoverable(hash.as_slice()).unwrap());
        transaction.into_signed(signature)
    }

    /// The bytes of a signed transaction.
    fn raw<T: SignableTransaction<Signature>>(&self, transaction: T) -> String
    where
        TxEnvelope: From<Signed<T>>,
    {
        text(TxEnvelope::from(self.sign(transaction)).encoded_2718())
    }
}

fn text(bytes: Vec<u8>) -> String {
    Bytes::from(bytes).to_string()
}

/// A transfer that nothing is wrong with.
fn good(nonce: u64) -> TxEip1559 {
    TxEip1559 {
        chain_id: PRESET_CHAIN_ID,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 20 * GWEI,
        max_priority_fee_per_gas: GWEI,
        to: TxKind::Call(SINK),
        value: U256::from(1),
        ..TxEip1559::default()
    }
}

fn legacy(nonce: u64) -> TxLegacy {
    TxLegacy {
        chain_id: Some(PRESET_CHAIN_ID),
        nonce,
        gas_limit: 21_000,
        gas_price: 20 * GWEI,
        to: TxKind::Call(SINK),
        ..TxLegacy::default()
    }
}

fn set_code(nonce: u64) -> TxEip7702 {
    TxEip7702 {
        chain_id: PRESET_CHAIN_ID,
        nonce,
        gas_limit: 100_000,
        max_fee_per_gas: 20 * GWEI,
        max_priority_fee_per_gas: GWEI,
        to: SINK,
        ..TxEip7702::default()
    }
}

/// `transaction` with another signature than its sender's.
fn forged(transaction: TxEip1559, r: U256, s: U256, parity: bool) -> String {
    let signed = Signed::new_unhashed(transaction, Signature::new(r, s, parity));
    text(TxEnvelope::from(signed).encoded_2718())
}

/// What a node says to a call, and how long it took.
fn ask(node: &DevNode, body: &[u8]) -> (u16, Value) {
    let began = Instant::now();
    let (status, answer) = node.post("", body);
    let shown = String::from_utf8_lossy(body).chars().take(100).collect::<String>();
    assert!(began.elapsed() < BOUND, "{shown}: {:?}", began.elapsed());
    let answer = serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{shown}: {status} {answer:.200}"));
    (status, answer)
}

fn call(node: &DevNode, method: &str, params: &Value) -> Value {
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    ask(node, request.to_string().as_bytes()).1
}

/// Each line is refused with this code, in these words, and shortly.
fn check_refused(node: &DevNode, method: &str, lines: Vec<(&str, Value, i64, &str)>) {
    for (what, params, code, words) in lines {
        let answer = call(node, method, &params);
        let error = &answer["error"];
        assert_eq!(error["code"], code, "{method}, {what}: {answer:.300}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(words), "{method}, {what}: {message}");
        assert!(message.len() < 1_000, "{method}, {what}: no longer than the question deserves");
    }
}

/// A node, and honest users who are served all the time.
fn with_node(test: impl FnOnce(&DevNode)) {
    let folder = tempfile::tempdir().unwrap();
    let node = DevNode::start(&folder.path().join("chain"), &["--slot-duration", "1s"], &folder.path().join("log"));
    let height = number(&node.status()["head"]["height"]);
    let done = AtomicBool::new(false);
    let (calls, slowest) = std::thread::scope(|scope| {
        let honest = scope.spawn(|| {
            let (mut calls, mut slowest) = (0, Duration::ZERO);
            while !done.load(Ordering::Relaxed) {
                let began = Instant::now();
                assert!(call(&node, "eth_blockNumber", &json!([]))["result"].is_string());
                assert_eq!(call(&node, "eth_call", &json!([{ "to": SINK }]))["result"], "0x");
                (calls, slowest) = (calls + 1, slowest.max(began.elapsed()));
            }
            (calls, slowest)
        });
        // The honest user is told to go home also where the test fails.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(&node)));
        done.store(true, Ordering::Relaxed);
        let honest = honest.join().unwrap();
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        honest
    });
    println!("others: {calls} rounds of two calls, the slowest {slowest:?}");
    node.until("more blocks", |status| number(&status["head"]["height"]) > height + 1);
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(!log.contains("panicked"), "{log}");
    assert!(node.terminate().success());
}

#[test]
fn bad_transactions() {
    with_node(|node| {
        let (alice, bob) = (Key::dev(0), Key::dev(1));
        let send = "eth_sendRawTransaction";
        let one = |raw: String| json!([raw]);
        let alices = |transaction: TxEip1559| one(alice.raw(transaction));
        let signature = *alice.sign(good(0)).signature();
        let (r, s, v) = (signature.r(), signature.s(), signature.v());
        let stranger = Key { secret: SigningKey::from_slice(&[9; 32]).unwrap(), address: Address::ZERO };
        let whole = hex::decode(alice.raw(good(0))).unwrap();

        let malformed = "transaction can't be decoded";
        let unknown = "transaction type not supported";
        check_refused(
            node,
            send,
            vec![
                ("no argument", json!([]), -32602, "missing value for required argument 0"),
                ("two arguments", json!(["0x", "0x"]), -32602, "too many arguments"),
                ("named arguments", json!({ "data": "0x" }), -32602, "non-array args"),
                ("null", json!([null]), -32602, "argument 0"),
                ("a number", json!([7]), -32602, "argument 0"),
                ("an object", json!([{}]), -32602, "argument 0"),
                ("no hexadecimal", json!(["0xzz"]), -32602, "argument 0"),
                ("half a byte", json!(["0x123"]), -32602, "argument 0"),
                ("no bytes", json!(["0x"]), -32000, malformed),
                ("a string of RLP", json!(["0xb8ff"]), -32000, unknown),
                ("an empty list", json!(["0xc0"]), -32000, malformed),
                ("a list of 2^56 bytes", json!(["0xff00ffffffffffffff"]), -32000, malformed),
                ("a type without fields", json!(["0x02"]), -32000, malformed),
                ("too few fields", json!(["0x02c0"]), -32000, malformed),
                ("lists in lists", one(format!("0x02{}", "c1".repeat(2_000))), -32000, malformed),
                ("a byte behind", one(text([&whole[..], &[0]].concat())), -32000, malformed),
                ("a type of no fork", json!(["0x05c0"]), -32000, unknown),
                ("the last type", json!(["0x7fc0"]), -32000, unknown),
                ("a blob transaction", json!(["0x03c0"]), -32000, unknown),
                ("another chain", alices(TxEip1559 { chain_id: 1, ..good(0) }), -32000, "invalid chain id for signer"),
                (
                    "another chain, legacy",
                    one(alice.raw(TxLegacy { chain_id: Some(1), ..legacy(0) })),
                    -32000,
                    "invalid chain id for signer",
                ),
                ("no chain", one(alice.raw(TxLegacy { chain_id: None, ..legacy(0) })), -32000, "replay-protected"),
                ("no signature", one(forged(good(0), U256::ZERO, U256::ZERO, false)), -32000, "invalid sender"),
                ("r beyond the order", one(forged(good(0), ORDER, s, v)), -32000, "invalid sender"),
                ("s beyond the order", one(forged(good(0), r, ORDER, v)), -32000, "invalid sender"),
                ("the other s", one(forged(good(0), r, ORDER - s, !v)), -32000, "invalid sender"),
                ("a stranger's signature", one(forged(good(0), r, s, !v)), -32000, "insufficient funds"),
                ("nobody's coins", one(stranger.raw(good(0))), -32000, "insufficient funds for gas * price + value"),
                ("too little gas", alices(TxEip1559 { gas_limit: 20_999, ..good(0) }), -32000, "intrinsic gas too low"),
                (
                    "too little gas for its data",
                    alices(TxEip1559 { gas_limit: 30_000, input: vec![1; 1_000].into(), ..good(0) }),
                    -32000,
                    "intrinsic gas too low",
                ),
                (
                    "less gas than the floor for its data",
                    alices(TxEip1559 { gas_limit: 40_000, input: vec![1; 1_000].into(), ..good(0) }),
                    -32000,
                    "floor data gas",
                ),
                (
                    "too little gas for its access list",
                    one(alice.raw(TxEip2930 {
                        chain_id: PRESET_CHAIN_ID,
                        gas_limit: 22_000,
                        gas_price: 20 * GWEI,
                        to: TxKind::Call(SINK),
                        access_list: serde_json::from_value(json!([{ "address": SINK, "storageKeys": [] }])).unwrap(),
                        ..TxEip2930::default()
                    })),
                    -32000,
                    "intrinsic gas too low",
                ),
                (
                    "more gas than a block has",
                    alices(TxEip1559 { gas_limit: 1_000_000_000, ..good(0) }),
                    -32000,
                    "exceeds block gas limit",
                ),
                ("all gas", alices(TxEip1559 { gas_limit: u64::MAX, ..good(0) }), -32000, "exceeds block gas limit"),
                (
                    "a tip above the fee",
                    alices(TxEip1559 { max_priority_fee_per_gas: 21 * GWEI, ..good(0) }),
                    -32000,
                    "max priority fee per gas higher than max fee per gas",
                ),
                (
                    "the highest fee",
                    alices(TxEip1559 { max_fee_per_gas: u128::MAX, ..good(0) }),
                    -32000,
                    "insufficient funds",
                ),
                ("all coins", alices(TxEip1559 { value: U256::MAX, ..good(0) }), -32000, "insufficient funds"),
                ("the last nonce", alices(good(u64::MAX)), -32000, "nonce has max value"),
                (
                    "initcode over its limit",
                    alices(TxEip1559 {
                        gas_limit: 5_000_000,
                        to: TxKind::Create,
                        input: vec![0; 49_153].into(),
                        ..good(0)
                    }),
                    -32000,
                    "max initcode size exceeded",
                ),
                (
                    "oversize",
                    alices(TxEip1559 { gas_limit: 10_000_000, input: vec![0; 131_072].into(), ..good(0) }),
                    -32000,
                    "oversized data",
                ),
                ("no authorizations", one(alice.raw(set_code(0))), -32000, "empty auth list"),
            ],
        );
        for cut in 0..whole.len() {
            let answer = call(node, send, &one(text(whole[..cut].to_vec())));
            assert_eq!(answer["error"]["code"], -32000, "cut at {cut}: {answer}");
        }
        // Longer than a request may be.
        let huge =
            json!({ "jsonrpc": "2.0", "id": 1, "method": send, "params": [format!("0x{}", "00".repeat(2 << 20))] });
        assert_eq!(ask(node, huge.to_string().as_bytes()).0, 413);
        let pool = call(node, "txpool_status", &json!([]))["result"].clone();
        assert_eq!(pool, json!({ "pending": "0x0", "queued": "0x0" }), "nothing of it was taken");

        // A gap waits and nothing behind it is lost; what is sent twice is there once.
        let mut taken: BTreeMap<u64, B256> = BTreeMap::new();
        let mut take = |nonce: u64| {
            let answer = call(node, send, &alices(good(nonce)));
            taken.insert(nonce, serde_json::from_value(answer["result"].clone()).expect("taken"));
        };
        (1..5).for_each(&mut take);
        check_refused(
            node,
            send,
            vec![
                ("sent twice", alices(good(3)), -32000, "already known"),
                (
                    "a replacement that pays no more",
                    alices(TxEip1559 { value: U256::from(2), ..good(3) }),
                    -32000,
                    "replacement transaction underpriced",
                ),
                (
                    "a replacement that pays more to the miner only",
                    alices(TxEip1559 { max_priority_fee_per_gas: 2 * GWEI, ..good(3) }),
                    -32000,
                    "replacement transaction underpriced",
                ),
            ],
        );
        for nonce in 100..164 {
            assert!(call(node, send, &one(bob.raw(good(nonce))))["result"].is_string(), "{nonce} waits");
        }
        check_refused(
            node,
            send,
            vec![("more gaps than a sender may have", one(bob.raw(good(164))), -32000, "account limit exceeded")],
        );
        take(0);
        let deadline = Instant::now() + common::PATIENCE;
        let mined = |hash: &B256| call(node, "eth_getTransactionReceipt", &json!([hash]))["result"].clone();
        for (nonce, hash) in &taken {
            while mined(hash).is_null() {
                assert!(Instant::now() < deadline, "nonce {nonce} is lost");
                std::thread::park_timeout(Duration::from_millis(50));
            }
            assert_eq!(mined(hash)["status"], "0x1", "nonce {nonce}");
        }
        let count = call(node, "eth_getTransactionCount", &json!([alice.address, "latest"]));
        assert_eq!(count["result"], "0x5", "each was mined once");
        assert_eq!(call(node, "txpool_status", &json!([]))["result"]["queued"], "0x40", "the others wait on");
        let late = alices(TxEip1559 { max_fee_per_gas: 40 * GWEI, ..good(0) });
        check_refused(node, send, vec![("a nonce that was used", late, -32000, "nonce too low")]);
    });
}

/// Overrides that put `code` at [`SINK`].
fn coded(code: &[u8]) -> Value {
    json!({ SINK.to_string(): { "code": Bytes::copy_from_slice(code) } })
}

#[test]
fn bombs() {
    with_node(|node| {
        // Each is the code of a contract that is called with all the gas that a call may have.
        let bombs: Vec<(&str, Vec<u8>)> = vec![
            ("an endless loop", hex!("5b5f56").to_vec()),
            ("hashing in a loop", hex!("5b6120005f205056").to_vec()),
            ("memory to the end", hex!("5b5a5f52595f52600056").to_vec()),
            (
                "memory beyond everything",
                hex!("5f7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff52").to_vec(),
            ),
            ("a call of itself", hex!("5f5f5f5f5f305af100").to_vec()),
            ("calls of itself in a loop", hex!("5b5f5f5f5f5f305af15056").to_vec()),
            ("delegate calls of itself", hex!("5b5f5f5f5f305af45056").to_vec()),
            // Copies its own code and creates with it.
            ("creations of itself", hex!("5b385f5f39385f5ff05056").to_vec()),
            ("logs", hex!("5b6104005fa05f56").to_vec()),
            ("storage", hex!("5b5a5a555f56").to_vec()),
            ("cold accounts", hex!("5b5a31505f56").to_vec()),
            // modexp of 1024-byte numbers, all of whose bits are set.
            ("modexp", {
                let mut code = hex!("6104005f526104006020526104006040525f195f52").to_vec();
                code.extend(hex!("6104005f52610400602052610400604052"));
                code.extend(hex!("5b5f5f610c605f60055afa505f56"));
                code
            }),
            ("pairings", hex!("5b60205f6118005f60085afa505f56").to_vec()),
            ("recoveries", hex!("5b60205f60805f60015afa505f56").to_vec()),
            ("blake2f with all rounds", hex!("63ffffffff60e01b5f525b60405f60d55f60095afa505f56").to_vec()),
        ];
        let all_gas = json!({ "to": SINK, "gas": "0xffffffffffffffff" });
        for (what, code) in &bombs {
            let code = coded(code);
            let params = json!([all_gas, "latest", code]);
            for method in ["eth_call", "eth_estimateGas", "eth_createAccessList"] {
                let answer = call(node, method, &params);
                // Some end by themselves, since a call keeps a 64th of its gas back.
                if let Some(code) = answer["error"]["code"].as_i64() {
                    assert_eq!(code, -32000, "{what}, {method}: {answer:.300}");
                }
            }
            let traced = json!([all_gas, "latest", { "tracer": "callTracer", "stateOverrides": code }]);
            // As deep as the calls were, which is deeper than this test's JSON reader goes.
            let request = json!({ "jsonrpc": "2.0", "id": 1, "method": "debug_traceCall", "params": traced });
            let began = Instant::now();
            let (status, text) = node.post("", request.to_string().as_bytes());
            assert!(status == 200 && began.elapsed() < BOUND, "{what}: {status} {:?}", began.elapsed());
            if !text.starts_with("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":") {
                let answer: Value = serde_json::from_str(&text).unwrap();
                let code = answer["error"]["code"].as_i64().unwrap();
                assert!(code == -32000 || code == -32008, "{what}: {answer:.300}");
            }
            let blocks = json!([{ "stateOverrides": code, "calls": [all_gas] }]);
            let answer = call(node, "eth_simulateV1", &json!([{ "blockStateCalls": blocks }, "latest"]));
            assert!(answer["result"].is_array() || answer["error"]["code"].is_i64(), "{what}: {answer:.300}");
        }
        check_refused(
            node,
            "eth_call",
            vec![
                ("a loop without end", json!([all_gas, "latest", coded(&hex!("5b5f56"))]), -32000, "out of gas"),
                ("no instruction", json!([all_gas, "latest", coded(&hex!("fe"))]), -32000, "invalid opcode"),
                ("too few on the stack", json!([all_gas, "latest", coded(&hex!("50"))]), -32000, "stack underflow"),
                ("too many on the stack", json!([all_gas, "latest", coded(&hex!("5b5f5f56"))]), -32000, "stack"),
                ("a jump to nowhere", json!([all_gas, "latest", coded(&hex!("60ff56"))]), -32000, "invalid jump"),
                ("a revert", json!([all_gas, "latest", coded(&hex!("5f5ffd"))]), 3, "execution reverted"),
            ],
        );
    });
}

#[test]
fn bad_arguments() {
    with_node(|node| {
        let zero = B256::ZERO;
        let many: Vec<B256> = vec![zero; 5_000];
        let addresses: Vec<Address> = (0..5_000u16).map(|n| Address::left_padding_from(&n.to_be_bytes())).collect();
        // Objects within objects, as deep as JSON is read.
        let deep = (0..120).fold(json!(1), |inner, _| json!({ "a": inner }));
        let lines: Vec<(&str, &str, Value, i64, &str)> = vec![
            ("eth_getBalance", "unknown tag", json!([SINK, "newest"]), -32602, "argument 1 (block)"),
            ("eth_getBalance", "no tag", json!([SINK, ""]), -32602, "argument 1 (block)"),
            ("eth_getBalance", "a decimal number", json!([SINK, "17"]), -32602, "argument 1 (block)"),
            ("eth_getBalance", "a negative number", json!([SINK, "-0x1"]), -32602, "argument 1 (block)"),
            ("eth_getBalance", "2^64", json!([SINK, "0x10000000000000000"]), -32602, "argument 1 (block)"),
            ("eth_getBalance", "a block to come", json!([SINK, "0x7fffffffffffffff"]), -32000, "header not found"),
            ("eth_getBalance", "2^63", json!([SINK, "0x8000000000000000"]), -32602, "larger than int64"),
            ("eth_getBalance", "no digits", json!([SINK, "0x"]), -32602, "argument 1 (block)"),
            ("eth_getBalance", "a tag in capitals", json!([SINK, "LATEST"]), -32602, "argument 1 (block)"),
            (
                "eth_getBalance",
                "a tag in capitals within an object",
                json!([SINK, { "blockNumber": "Latest" }]),
                -32602,
                "argument 1 (blockNumber)",
            ),
            ("eth_getBalance", "a block of another chain", json!([SINK, zero]), -32000, "header not found"),
            (
                "eth_getBalance",
                "both hash and number",
                json!([SINK, { "blockHash": zero, "blockNumber": "0x1" }]),
                -32602,
                "argument 1",
            ),
            ("eth_getBalance", "a short address", json!(["0x12", "latest"]), -32602, "argument 0 (address)"),
            ("eth_getBalance", "an object", json!([{}, "latest"]), -32602, "argument 0 (address)"),
            ("eth_getBalance", "deep nesting", json!([deep]), -32602, "argument 0 (address)"),
            ("eth_getCode", "unknown tag", json!([SINK, "head"]), -32602, "argument 1 (block)"),
            (
                "eth_getStorageAt",
                "65 digits",
                json!([SINK, format!("0x{}", "1".repeat(65)), "latest"]),
                -32602,
                "argument 1",
            ),
            ("eth_getTransactionCount", "unknown tag", json!([SINK, "unsafe"]), -32602, "argument 1 (block)"),
            ("eth_getBlockByNumber", "unknown tag", json!(["genesis", false]), -32602, "argument 0"),
            ("eth_getBlockByNumber", "a tag in capitals", json!(["Finalized", false]), -32602, "argument 0"),
            ("eth_getBlockByNumber", "a hash", json!([zero, false]), -32602, "argument 0"),
            ("eth_getBlockByNumber", "no flag", json!(["latest", "yes"]), -32602, "argument 1"),
            ("eth_getBlockReceipts", "a tag in capitals", json!(["SAFE"]), -32602, "argument 0"),
            ("eth_feeHistory", "a tag in capitals", json!(["0x1", "Latest", []]), -32602, "argument 1"),
            ("debug_traceBlockByNumber", "a tag in capitals", json!(["LATEST"]), -32602, "argument 0"),
            ("eth_getLogs", "a tag in capitals", json!([{ "fromBlock": "Earliest" }]), -32602, "argument 0"),
            ("eth_newFilter", "a tag in capitals", json!([{ "toBlock": "LATEST" }]), -32602, "argument 0"),
            ("eth_getBlockReceipts", "unknown tag", json!(["newest"]), -32602, "argument 0"),
            ("eth_call", "text", json!(["call"]), -32602, "argument 0"),
            ("eth_call", "gas that is no number", json!([{ "to": SINK, "gas": "lots" }]), -32602, "argument 0"),
            ("eth_call", "unknown tag", json!([{ "to": SINK }, "newest"]), -32602, "argument 1 (block)"),
            ("eth_call", "two data", json!([{ "to": SINK, "data": "0x01", "input": "0x02" }]), -32000, "both"),
            (
                "eth_call",
                "coins that are not there",
                json!([{ "to": SINK, "value": "0x1" }]),
                -32000,
                "insufficient funds",
            ),
            (
                "eth_call",
                "a fee below the tip",
                json!([{ "to": SINK, "maxFeePerGas": "0x1", "maxPriorityFeePerGas": "0x2" }]),
                -32000,
                "max fee per gas",
            ),
            (
                "eth_call",
                "less gas than it needs",
                json!([{ "to": SINK, "gas": "0x5207" }]),
                -32000,
                "intrinsic gas too low",
            ),
            ("eth_call", "blobs", json!([{ "to": SINK, "blobVersionedHashes": [zero] }]), -32602, "blob transactions"),
            ("eth_estimateGas", "unknown tag", json!([{ "to": SINK }, "newest"]), -32602, "argument 1 (block)"),
            ("eth_getLogs", "unknown tag", json!([{ "fromBlock": "newest" }]), -32602, "argument 0"),
            (
                "eth_getLogs",
                "a huge range",
                json!([{ "fromBlock": "0x0", "toBlock": "0x7fffffffffffffff" }]),
                -32602,
                "beyond current head",
            ),
            (
                "eth_getLogs",
                "a range that ends before it begins",
                json!([{ "fromBlock": "0x2", "toBlock": "0x1" }]),
                -32602,
                "invalid block range",
            ),
            ("eth_getLogs", "5,000 addresses", json!([{ "address": addresses }]), -32602, "max addresses or topics"),
            ("eth_getLogs", "five topics", json!([{ "topics": [zero, zero, zero, zero, zero] }]), -32602, "argument 0"),
            ("eth_getLogs", "hash and range", json!([{ "blockHash": zero, "fromBlock": "0x1" }]), -32602, "argument 0"),
            (
                "eth_feeHistory",
                "rewards of 1,000 percentiles",
                json!(["0x1", "latest", vec![1; 1_000]]),
                -32602,
                "query limit",
            ),
            (
                "eth_feeHistory",
                "the 101st percentile",
                json!(["0x1", "latest", [101]]),
                -32602,
                "invalid reward percentile",
            ),
            ("eth_feeHistory", "no number", json!(["many", "latest", []]), -32602, "argument 0"),
            ("eth_feeHistory", "blocks to come", json!(["0x1", "0xffffff", []]), -32000, "beyond head block"),
            ("eth_getProof", "5,000 slots", json!([SINK, many, "latest"]), -32602, "too many storage keys"),
            ("eth_simulateV1", "no blocks", json!([{ "blockStateCalls": [] }]), -32602, "empty input"),
            (
                "eth_simulateV1",
                "300 blocks",
                json!([{ "blockStateCalls": vec![json!({}); 300] }]),
                -38026,
                "too many blocks",
            ),
            ("eth_getFilterChanges", "unknown filter", json!(["0x1"]), -32000, "filter not found"),
            ("eth_getFilterChanges", "no filter", json!(["x"]), -32000, "filter not found"),
            ("eth_sign", "no keys", json!([SINK, "0x"]), -32000, "keeps no keys"),
            ("debug_traceTransaction", "unknown", json!([zero]), -32000, "transaction not found"),
            (
                "debug_traceCall",
                "JavaScript",
                json!([{ "to": SINK }, "latest", { "tracer": "{fault: function() {}}" }]),
                -32000,
                "JS Tracer",
            ),
            ("debug_traceBlockByNumber", "unknown tag", json!(["newest"]), -32602, "argument 0"),
            ("eth_nothing", "unknown method", json!([]), -32601, "Method not found"),
            ("engine_newPayloadV4", "a method of another port", json!([]), -32601, "Method not found"),
            ("admin_addPeer", "a method that is off", json!([]), -32601, "Method not found"),
        ];
        for (method, what, params, code, words) in lines {
            check_refused(node, method, vec![(what, params, code, words)]);
        }
        // Tags that are known are answered, also before anything is safe or final.
        for tag in ["latest", "pending", "earliest", "safe", "finalized", "0x0"] {
            let answer = call(node, "eth_getBalance", &json!([SINK, tag]));
            assert!(answer["result"].is_string(), "{tag}: {answer}");
        }
        // More than there is of what has no limit of its own is cut.
        let history = call(node, "eth_feeHistory", &json!(["0xffffffff", "latest", []]));
        assert!(history["result"]["baseFeePerGas"].as_array().unwrap().len() < 2_000, "{history:.200}");
    });
}

#[test]
fn bad_requests() {
    with_node(|node| {
        let deep = |open: &str, close: &str, count: usize| format!("{}1{}", open.repeat(count), close.repeat(count));
        let request = |params: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":{params}}}"#);
        let bytes = |text: &str| text.as_bytes().to_vec();
        let lines: Vec<(&str, Vec<u8>, i64)> = vec![
            ("nothing", bytes(""), -32700),
            ("half a request", bytes(r#"{"jsonrpc":"2.0","id":1,"meth"#), -32700),
            ("a request and a half", bytes(&request("[]").repeat(2)), -32700),
            ("no JSON", bytes("GET / HTTP/1.1"), -32700),
            ("zero bytes", vec![0; 1_000], -32700),
            ("invalid UTF-8 only", vec![0xff; 1_000], -32700),
            (
                "invalid UTF-8 in the method",
                b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"eth_\xc3\x28\"}".to_vec(),
                -32700,
            ),
            (
                "invalid UTF-8 in an argument",
                b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"eth_call\",\"params\":[\"\xe2\x82\"]}".to_vec(),
                -32700,
            ),
            (
                "invalid UTF-8 in the id",
                b"{\"jsonrpc\":\"2.0\",\"id\":\"\xf0\x28\",\"method\":\"eth_chainId\"}".to_vec(),
                -32700,
            ),
            (
                "invalid UTF-8 in a batch",
                b"[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xed\xa0\x80\"}]".to_vec(),
                -32700,
            ),
            ("half a surrogate", bytes(r#"{"jsonrpc":"2.0","id":1,"method":"\ud800"}"#), -32700),
            ("arrays without end", bytes(&"[".repeat(200_000)), -32700),
            ("objects without end", bytes(&r#"{"a":"#.repeat(200_000)), -32700),
            ("200,000 arrays in an argument", bytes(&request(&deep("[", "]", 200_000))), -32602),
            ("200,000 objects in an argument", bytes(&request(&deep(r#"{"a":"#, "}", 200_000))), -32602),
            ("a number beyond numbers", bytes("1e999999"), -32700),
            ("a number", bytes("17"), -32600),
            ("null", bytes("null"), -32600),
            ("text", bytes(r#""eth_chainId""#), -32600),
            ("no method", bytes(r#"{"jsonrpc":"2.0","id":1}"#), -32600),
            ("a method that is a number", bytes(r#"{"jsonrpc":"2.0","id":1,"method":1}"#), -32600),
            ("an object for an id", bytes(r#"{"jsonrpc":"2.0","id":{},"method":"eth_chainId"}"#), -32600),
            ("an array for an id", bytes(r#"{"jsonrpc":"2.0","id":[1],"method":"eth_chainId","params":[]}"#), -32600),
            ("an object for an id, 1.0", bytes(r#"{"id":{"a":1},"method":"eth_chainId"}"#), -32600),
            ("another version", bytes(r#"{"jsonrpc":"3.0","id":1,"method":"eth_chainId"}"#), -32600),
            ("an empty batch", bytes("[]"), -32600),
            ("1,001 calls", bytes(&format!("[{}]", vec![request("[]"); 1_001].join(","))), -32600),
            ("5,000 calls", bytes(&format!("[{}]", vec![request("[]"); 5_000].join(","))), -32600),
            ("100,000 numbers", bytes(&format!("[{}1]", "1,".repeat(99_999))), -32600),
        ];
        for (what, body, code) in lines {
            let (status, answer) = ask(node, &body);
            assert!(status == 200 || status == 400, "{what}: {status}");
            assert_eq!(answer["error"]["code"], code, "{what}: {answer:.300}");
            assert!(answer["error"]["message"].as_str().unwrap().len() < 1_000, "{what}");
        }
        // What is wrong in a batch spoils nothing beside it.
        let mixed = format!(
            r#"[{}, 1, null, [], {{}}, {{"jsonrpc":"2.0","id":2,"method":"eth_nothing"}}, {}]"#,
            request("[]"),
            request("[]")
        );
        let (_, answers) = ask(node, mixed.as_bytes());
        let codes: Vec<Option<i64>> =
            answers.as_array().unwrap().iter().map(|answer| answer["error"]["code"].as_i64()).collect();
        let invalid = Some(-32600);
        assert_eq!(codes, [None, invalid, invalid, invalid, invalid, Some(-32601), None], "{answers}");
        // Any other id comes back as it was sent.
        for id in ["-1", "1.50", "18446744073709551616", "true", "\"{}\"", "null", "0"] {
            let request = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"eth_chainId"}}"#);
            for (body, version) in [(request.clone(), "2.0"), (request.replace("2.0", "1.0"), "1.0")] {
                let (status, answer) = node.post("", body.as_bytes());
                assert!(status == 200 && answer.contains(&format!(r#""id":{id}"#)), "{version}, {id}: {answer}");
                assert!(answer.contains(r#""result":"0x88d7""#), "{version}, {id}: {answer}");
            }
        }
        let (_, answers) = ask(
            node,
            br#"[{"jsonrpc":"2.0","id":-7,"method":"eth_chainId"},{"jsonrpc":"2.0","id":{},"method":"eth_chainId"},
            {"jsonrpc":"2.0","id":0,"method":"eth_chainId"},{"jsonrpc":"2.0","id":false,"method":"eth_nothing"}]"#,
        );
        let seen: Vec<(&Value, Option<i64>)> = answers
            .as_array()
            .unwrap()
            .iter()
            .map(|answer| (&answer["id"], answer["error"]["code"].as_i64()))
            .collect();
        let (null, no) = (Value::Null, Some(-32601));
        assert_eq!(seen, [(&json!(-7), None), (&null, invalid), (&json!(0), None), (&json!(false), no)], "{answers}");
        // As many calls as are allowed are all answered.
        let (_, answers) = ask(node, format!("[{}]", vec![request("[]"); 1_000].join(",")).as_bytes());
        assert!(answers.as_array().unwrap().iter().all(|answer| answer["result"].is_string()));
        assert_eq!(answers.as_array().unwrap().len(), 1_000);
        // A large body, and an answer that would be larger than answers may be.
        assert_eq!(ask(node, &vec![b' '; 3 << 20]).0, 413);
        let large =
            format!(r#"[{{"to":"{SINK}"}},"latest",{{"{SINK}":{{"code":"0x62100000 5ff3"}}}}]"#).replace(' ', "");
        let large = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"eth_call","params":{large}}}"#);
        assert_eq!(ask(node, large.as_bytes()).1["result"].as_str().unwrap().len(), 2 + (2 << 20), "one is answered");
        let (_, answer) = ask(node, format!("[{}]", vec![large; 40].join(",")).as_bytes());
        assert_eq!(answer["error"]["code"], -32011, "{answer:.300}");
    });
}
