//! A client between honest verdicts and a server that lies, breaks off, or says nothing: typed errors, never a verdict.

#![allow(clippy::unwrap_used)]

mod script;

use alloy_primitives::{Address, B256, FixedBytes, U256};
use alys_engine::{
    Attributes, ChainIdentity, EndpointConfig, EngineClient, EngineClientConfig, EngineError, ExecutionEngine, Fork,
    ForkTimes, ForkchoiceState, ForwardError, JwtSecret, NewPayload, PayloadId, PayloadStatus, RetryPolicy, Timeouts,
    payload_hash, wire,
};
use alys_primitives::{ExecutionPayload, ExecutionRequests};
use script::{CHAIN_ID, GENESIS, Reaction, Request, Script, Server, handshake};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const SECRET: JwtSecret = JwtSecret::new([7; 32]);
const FORKS: ForkTimes = ForkTimes { shanghai: Some(0), cancun: Some(0), prague: Some(0), osaka: None };

fn config(servers: &[&Server]) -> EngineClientConfig {
    let endpoints =
        servers.iter().map(|server| EndpointConfig { url: server.url(), secret: SECRET, rpc_url: None }).collect();
    let chain = ChainIdentity { chain_id: CHAIN_ID, genesis_hash: GENESIS };
    let mut config = EngineClientConfig::new(endpoints, chain, FORKS);
    config.retry = RetryPolicy {
        attempts: 3,
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(2),
        seed: 1,
    };
    let short = Duration::from_millis(200);
    config.timeouts = Timeouts {
        new_payload: short,
        forkchoice: short,
        get_payload: short,
        capabilities: short,
        eth: short,
        forward: short,
    };
    config.max_response_bytes = 1 << 20;
    config
}

fn client(servers: &[&Server]) -> EngineClient {
    EngineClient::new(config(servers)).unwrap()
}

/// A payload whose hash is right.
fn payload() -> NewPayload {
    let mut new = NewPayload {
        payload: ExecutionPayload {
            parent_hash: GENESIS,
            block_number: 1,
            gas_limit: 30_000_000,
            timestamp: 10,
            base_fee_per_gas: U256::from(7),
            ..ExecutionPayload::default()
        },
        parent_beacon_block_root: B256::repeat_byte(8),
        execution_requests: ExecutionRequests::default(),
    };
    new.payload.block_hash = payload_hash(&new, Fork::Prague).unwrap();
    new
}

fn attributes() -> Attributes {
    Attributes {
        timestamp: 10,
        prev_randao: B256::ZERO,
        fee_recipient: Address::ZERO,
        withdrawals: Vec::new(),
        parent_beacon_block_root: B256::repeat_byte(8),
    }
}

fn heads(head: B256) -> ForkchoiceState {
    ForkchoiceState { head, safe: B256::ZERO, finalized: B256::ZERO }
}

/// Answers `method` with `reaction`, and the handshake honestly.
fn only(method: &'static str, reaction: impl Fn(&Value) -> Reaction + Send + Sync + 'static) -> Script {
    Arc::new(move |request| if request.method == method { reaction(&request.params) } else { handshake(request) })
}

fn status(status: &str, latest: Option<B256>) -> Value {
    json!({ "status": status, "latestValidHash": latest, "validationError": null })
}

#[tokio::test]
async fn verdicts_are_handed_on_as_they_are() {
    let hash = payload().payload.block_hash;
    let cases = [
        (status("VALID", Some(hash)), PayloadStatus::Valid),
        (status("SYNCING", None), PayloadStatus::Syncing),
        (status("ACCEPTED", None), PayloadStatus::Accepted),
        (
            json!({ "status": "INVALID", "latestValidHash": GENESIS, "validationError": "gas" }),
            PayloadStatus::Invalid { latest_valid_hash: Some(GENESIS), reason: "gas".to_owned() },
        ),
        (
            json!({ "status": "INVALID_BLOCK_HASH" }),
            PayloadStatus::Invalid { latest_valid_hash: None, reason: "no reason given".to_owned() },
        ),
    ];
    for (answer, expected) in cases {
        let server = Server::start(only("engine_newPayloadV4", move |_| Reaction::Result(answer.clone()))).await;
        assert_eq!(client(&[&server]).new_payload(payload()).await, Ok(expected));
        assert_eq!(server.count("engine_newPayloadV4"), 1, "a verdict is not asked for twice");
    }
}

#[tokio::test]
async fn every_request_carries_a_fresh_token() {
    let server = Server::start(Arc::new(handshake)).await;
    client(&[&server]).info().await.unwrap();
    let tokens = server.tokens();
    assert!(tokens.len() >= 5);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    for token in tokens {
        assert_eq!(SECRET.verify(&token, now), Ok(()));
    }
}

#[tokio::test]
async fn lies_and_nonsense_are_never_a_verdict() {
    let hash = payload().payload.block_hash;
    let long = "x".repeat(2 << 20);
    let reactions = [
        Reaction::Result(status("VALID", None)),
        Reaction::Result(status("VALID", Some(GENESIS))),
        Reaction::Result(status("INVALID", Some(hash))),
        Reaction::Result(status("valid", Some(hash))),
        Reaction::Result(json!({ "latestValidHash": hash })),
        Reaction::Result(json!([])),
        Reaction::Result(Value::Null),
        Reaction::Result(json!("VALID")),
        Reaction::Result(json!({ "status": "VALID", "latestValidHash": "0x12" })),
        Reaction::Body(b"{".to_vec()),
        Reaction::Body(Vec::new()),
        Reaction::Body(b"<html>Bad Gateway</html>".to_vec()),
        Reaction::Body(vec![0xff; 64]),
        Reaction::Body("[".repeat(100_000).into_bytes()),
        Reaction::Body(
            json!({ "jsonrpc": "2.0", "id": 1_u64 << 40, "result": status("VALID", Some(hash)) })
                .to_string()
                .into_bytes(),
        ),
        Reaction::Body(json!({ "jsonrpc": "2.0", "result": status("VALID", Some(hash)) }).to_string().into_bytes()),
        Reaction::Result(json!({ "status": "SYNCING", "validationError": long })),
    ];
    for reaction in reactions {
        let shown = format!("{reaction:?}").chars().take(120).collect::<String>();
        let server = Server::start(only("engine_newPayloadV4", move |_| reaction.clone())).await;
        let answer = client(&[&server]).new_payload(payload()).await;
        assert!(matches!(answer, Err(EngineError::Broken { .. })), "{shown}: {answer:?}");
    }
}

#[tokio::test]
async fn silence_and_broken_connections_are_unavailability() {
    let reactions = [
        Reaction::Nothing,
        Reaction::Close,
        Reaction::Half(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"jsonrpc\"".to_vec()),
        Reaction::Half(b"HTTP/1.1 200 OK\r\ntransfer-enc".to_vec()),
        Reaction::Half(b"SSH-2.0-OpenSSH\r\n".to_vec()),
        Reaction::Status(503),
        Reaction::Status(401),
        Reaction::Error(-32000, "database is locked"),
        Reaction::Error(-32603, "internal error"),
        Reaction::Error(12, "who knows"),
    ];
    for reaction in reactions {
        let shown = format!("{reaction:?}");
        let server = Server::start(only("engine_newPayloadV4", move |_| reaction.clone())).await;
        let answer = client(&[&server]).new_payload(payload()).await;
        let Err(EngineError::Unavailable { reason }) = answer else { panic!("{shown}: {answer:?}") };
        assert!(reason.contains("engine_newPayloadV4"), "{reason}");
        assert_eq!(server.count("engine_newPayloadV4"), 3, "{shown}: tried as often as configured");
    }
}

#[tokio::test]
async fn no_question_is_answered_by_nonsense_and_none_waits_for_ever() {
    let reactions = [
        Reaction::Nothing,
        Reaction::Close,
        Reaction::Half(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"jsonrpc\"".to_vec()),
        Reaction::Endless(1, Duration::from_millis(5)),
        Reaction::Endless(1 << 16, Duration::ZERO),
        Reaction::Status(502),
        Reaction::Body(b"<html>Bad Gateway</html>".to_vec()),
        Reaction::Body(vec![0xff; 64]),
        Reaction::Body(b"{\"jsonrpc\":\"2.0\",\"id\":".to_vec()),
        Reaction::Result(json!({})),
        Reaction::Result(json!("0x")),
        Reaction::Result(json!([{ "payloadStatus": null }])),
        Reaction::Result(json!({ "payloadStatus": status("VALID", Some(B256::repeat_byte(5))), "payloadId": null })),
        Reaction::Result(json!({ "payloadStatus": status("VALID", Some(GENESIS)), "payloadId": "0x12" })),
    ];
    let begun = json!({ "payloadStatus": status("VALID", Some(GENESIS)), "payloadId": FixedBytes([1; 8]) });
    for reaction in reactions {
        let shown = format!("{reaction:?}").chars().take(120).collect::<String>();
        let began = std::time::Instant::now();
        let typed = |method: &str, error: EngineError| {
            let fits = matches!(error, EngineError::Broken { .. } | EngineError::Unavailable { .. });
            assert!(fits, "{method}, {shown}: {error:?}");
        };
        let only_to = async |method: &'static str| {
            let (reaction, begun) = (reaction.clone(), begun.clone());
            let script: Script = Arc::new(move |request| match request.method.as_str() {
                asked if asked == method => reaction.clone(),
                "engine_forkchoiceUpdatedV3" => Reaction::Result(begun.clone()),
                _ => handshake(request),
            });
            Server::start(script).await
        };
        let server = only_to("engine_newPayloadV4").await;
        typed("newPayload", client(&[&server]).new_payload(payload()).await.unwrap_err());
        let server = only_to("engine_forkchoiceUpdatedV3").await;
        typed(
            "forkchoice",
            client(&[&server]).forkchoice_updated(heads(GENESIS), Some(attributes())).await.unwrap_err(),
        );
        let server = only_to("engine_getPayloadV4").await;
        let building = client(&[&server]);
        building.forkchoice_updated(heads(GENESIS), Some(attributes())).await.unwrap();
        typed("getPayload", building.get_payload(PayloadId([1; 8])).await.unwrap_err());
        let server = only_to("eth_getBlockByHash").await;
        typed("fees", client(&[&server]).block_fees(GENESIS).await.unwrap_err());
        let server = only_to("eth_chainId").await;
        let error = client(&[&server]).info().await.unwrap_err();
        assert!(!matches!(error, EngineError::Refused { .. }), "{shown}: {error:?}");
        assert!(began.elapsed() < Duration::from_secs(20), "{shown}: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn refusals_are_typed_and_not_repeated() {
    type Fits = fn(&EngineError) -> bool;
    let cases: [(i64, Fits); 5] = [
        (-38002, |error| matches!(error, EngineError::Refused { .. })),
        (-38003, |error| matches!(error, EngineError::InvalidAttributes { .. })),
        (-38005, |error| matches!(error, EngineError::Refused { .. })),
        (-32602, |error| matches!(error, EngineError::Refused { .. })),
        (-32601, |error| matches!(error, EngineError::Refused { .. })),
    ];
    for (code, fits) in cases {
        let server =
            Server::start(only("engine_forkchoiceUpdatedV3", move |_| Reaction::Error(code, "as you say"))).await;
        let error = client(&[&server]).forkchoice_updated(heads(GENESIS), Some(attributes())).await.unwrap_err();
        assert!(fits(&error), "{code}: {error:?}");
        assert_eq!(server.count("engine_forkchoiceUpdatedV3"), 1);
    }
}

#[tokio::test]
async fn an_engine_of_another_chain_is_not_used() {
    let cases: [(&'static str, Reaction, &str); 5] = [
        ("eth_chainId", Reaction::Result(json!("0x1")), "chain id"),
        ("eth_getBlockByNumber", Reaction::Result(json!({ "hash": B256::ZERO, "number": "0x0" })), "genesis"),
        ("eth_getBlockByNumber", Reaction::Result(Value::Null), "genesis"),
        ("engine_exchangeCapabilities", Reaction::Result(json!(["engine_newPayloadV2"])), "method"),
        ("eth_config", Reaction::Result(json!({ "current": { "blobSchedule": { "max": 6 } } })), "blobs"),
    ];
    for (method, reaction, what) in cases {
        let server = Server::start(only(method, move |_| reaction.clone())).await;
        let error = client(&[&server]).new_payload(payload()).await.unwrap_err();
        assert!(matches!(error, EngineError::Mismatch { .. }), "{method}: {error:?}");
        assert!(error.to_string().contains(what), "{error}");
        assert_eq!(server.count("engine_newPayloadV4"), 0, "never asked for a verdict");
    }
    let missing = only("eth_getBlockReceipts", |_| Reaction::Error(-32601, "no such method"));
    let server = Server::start(missing).await;
    assert!(matches!(client(&[&server]).info().await, Err(EngineError::Mismatch { .. })));
}

#[tokio::test]
async fn the_next_engine_answers_when_the_first_does_not() {
    let hash = payload().payload.block_hash;
    let valid = only("engine_newPayloadV4", move |_| Reaction::Result(status("VALID", Some(hash))));
    for broken in [Reaction::Close, Reaction::Status(500), Reaction::Body(b"}".to_vec()), Reaction::Nothing] {
        let first = Server::start(Arc::new(move |_| broken.clone())).await;
        let second = Server::start(valid.clone()).await;
        let client = client(&[&first, &second]);
        assert_eq!(client.new_payload(payload()).await, Ok(PayloadStatus::Valid));
        assert_eq!(client.new_payload(payload()).await, Ok(PayloadStatus::Valid));
        assert_eq!(first.requests(), 1, "it stays with the one that answers");
    }
    let gone = Server::start(valid.clone()).await;
    let url = gone.url();
    drop(gone);
    let second = Server::start(valid).await;
    let mut config = config(&[&second]);
    config.endpoints.insert(0, EndpointConfig { url, secret: SECRET, rpc_url: None });
    assert_eq!(EngineClient::new(config).unwrap().new_payload(payload()).await, Ok(PayloadStatus::Valid));
}

#[tokio::test]
async fn a_restarted_engine_introduces_itself_again() {
    let counter = std::sync::atomic::AtomicU32::new(0);
    let hash = payload().payload.block_hash;
    let script: Script = Arc::new(move |request| {
        if request.method != "engine_newPayloadV4" {
            return handshake(request);
        }
        match counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => Reaction::Close,
            _ => Reaction::Result(status("VALID", Some(hash))),
        }
    });
    let server = Server::start(script).await;
    assert_eq!(client(&[&server]).new_payload(payload()).await, Ok(PayloadStatus::Valid));
    assert_eq!(server.count("eth_chainId"), 2);
}

/// Builds on genesis with one server whose `engine_getPayloadV4` answers `envelope`.
async fn build_with(envelope: Value) -> Result<(), EngineError> {
    let script: Script = Arc::new(move |request| match request.method.as_str() {
        "engine_forkchoiceUpdatedV3" => Reaction::Result(
            json!({ "payloadStatus": status("VALID", Some(GENESIS)), "payloadId": "0x0000000000000007" }),
        ),
        "engine_getPayloadV4" => Reaction::Result(envelope.clone()),
        _ => handshake(request),
    });
    let server = Server::start(script).await;
    let client = client(&[&server]);
    let outcome = client.forkchoice_updated(heads(GENESIS), Some(attributes())).await?;
    assert_eq!(outcome.payload_id, Some(PayloadId([0, 0, 0, 0, 0, 0, 0, 7])));
    client.get_payload(PayloadId([0, 0, 0, 0, 0, 0, 0, 7])).await.map(|built| {
        assert_eq!(built.payload, payload().payload);
        assert_eq!(built.block_value, U256::from(5));
    })
}

fn envelope(new: &NewPayload) -> Value {
    json!({
        "executionPayload": wire::Payload::from_port(&new.payload, wire::PayloadVersion::V3),
        "blockValue": "0x5",
        "blobsBundle": { "commitments": [], "proofs": [], "blobs": [] },
        "shouldOverrideBuilder": false,
        "executionRequests": [],
    })
}

#[tokio::test]
async fn a_built_payload_must_be_what_was_asked_for() {
    assert_eq!(build_with(envelope(&payload())).await, Ok(()));
    type Change = fn(&mut NewPayload);
    let changes: [(&str, bool, Change); 8] = [
        ("parent", true, |new| new.payload.parent_hash = B256::repeat_byte(1)),
        ("timestamp", true, |new| new.payload.timestamp = 11),
        ("prevRandao", true, |new| new.payload.prev_randao = B256::repeat_byte(1)),
        ("feeRecipient", true, |new| new.payload.fee_recipient = Address::repeat_byte(1)),
        ("blob gas", true, |new| new.payload.blob_gas_used = 131_072),
        ("blob gas", true, |new| {
            new.payload.transactions = vec![vec![3, 1].try_into().unwrap()].try_into().unwrap();
        }),
        ("hash", false, |new| new.payload.state_root = B256::repeat_byte(1)),
        ("hash", false, |new| new.parent_beacon_block_root = B256::ZERO),
    ];
    for (what, rehash, change) in changes {
        let mut new = payload();
        change(&mut new);
        if rehash || what == "hash" && new.parent_beacon_block_root.is_zero() {
            new.payload.block_hash = payload_hash(&new, Fork::Prague).unwrap();
        }
        let error = build_with(envelope(&new)).await.unwrap_err();
        assert!(matches!(&error, EngineError::Broken { reason } if reason.contains(what)), "{what}: {error:?}");
    }
    for broken in [Value::Null, json!({}), json!({ "executionPayload": {} })] {
        assert!(matches!(build_with(broken.clone()).await, Err(EngineError::Broken { .. })), "{broken}");
    }
    let mut long = envelope(&payload());
    long["executionPayload"]["extraData"] = json!(format!("0x{}", "00".repeat(33)));
    assert!(matches!(build_with(long).await, Err(EngineError::Broken { .. })));
}

#[tokio::test]
async fn unknown_and_forgotten_payloads_are_unknown() {
    let server = Server::start(Arc::new(handshake)).await;
    let never = client(&[&server]).get_payload(PayloadId([1; 8])).await;
    assert_eq!(never, Err(EngineError::UnknownPayload { id: [1; 8] }));
    for code in [-38001, -32001] {
        let script: Script = Arc::new(move |request| match request.method.as_str() {
            "engine_forkchoiceUpdatedV3" => Reaction::Result(
                json!({ "payloadStatus": status("VALID", Some(GENESIS)), "payloadId": FixedBytes([1; 8]) }),
            ),
            "engine_getPayloadV4" => Reaction::Error(code, "Unknown payload"),
            _ => handshake(request),
        });
        let server = Server::start(script).await;
        let client = client(&[&server]);
        client.forkchoice_updated(heads(GENESIS), Some(attributes())).await.unwrap();
        assert_eq!(client.get_payload(PayloadId([1; 8])).await, Err(EngineError::UnknownPayload { id: [1; 8] }));
    }
}

#[tokio::test]
async fn blobs_are_invalid_without_asking() {
    let server = Server::start(Arc::new(handshake)).await;
    let mut new = payload();
    new.payload.transactions = vec![vec![3, 0xc0].try_into().unwrap()].try_into().unwrap();
    let status = client(&[&server]).new_payload(new).await.unwrap();
    assert!(matches!(status, PayloadStatus::Invalid { .. }));
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn fees_are_counted_only_from_what_makes_the_hash() {
    let block = |extra: Value| {
        let mut block = json!({
            "hash": GENESIS, "number": "0x1", "parentHash": B256::ZERO, "sha3Uncles": B256::ZERO,
            "miner": Address::ZERO, "stateRoot": B256::ZERO, "transactionsRoot": B256::ZERO,
            "receiptsRoot": B256::ZERO, "logsBloom": FixedBytes([0_u8; 256]), "difficulty": "0x0", "gasLimit": "0x1",
            "gasUsed": "0x0", "timestamp": "0x1", "extraData": "0x", "mixHash": B256::ZERO,
            "nonce": "0x0000000000000000", "baseFeePerGas": "0x7", "uncles": [], "transactions": [], "size": "0x1",
        });
        for (key, value) in extra.as_object().unwrap() {
            block[key] = value.clone();
        }
        block
    };
    for (answer, fits) in [
        (Value::Null, EngineError::UnknownBlock { hash: GENESIS }),
        (block(json!({})), EngineError::Broken { reason: String::new() }),
    ] {
        let server = Server::start(only("eth_getBlockByHash", move |_| Reaction::Result(answer.clone()))).await;
        let error = client(&[&server]).block_fees(GENESIS).await.unwrap_err();
        assert_eq!(std::mem::discriminant(&error), std::mem::discriminant(&fits), "{error:?}");
    }
}

#[tokio::test]
async fn addresses_that_cannot_be_called_are_refused() {
    let chain = ChainIdentity { chain_id: 1, genesis_hash: GENESIS };
    let none = EngineClient::new(EngineClientConfig::new(Vec::new(), chain, FORKS));
    assert_eq!(none.unwrap_err(), alys_engine::ConfigError::NoEndpoint);
    for url in ["", "127.0.0.1:8551", "https://127.0.0.1:8551", "ws://127.0.0.1", "http://"] {
        let endpoint = EndpointConfig { url: url.to_owned(), secret: SECRET, rpc_url: None };
        let made = EngineClient::new(EngineClientConfig::new(vec![endpoint], chain, FORKS));
        assert_eq!(made.unwrap_err(), alys_engine::ConfigError::Url { url: url.to_owned() });
    }
}

#[tokio::test]
async fn an_engine_whose_answers_do_not_fit_loses_its_turn() {
    let hash = payload().payload.block_hash;
    let valid = only("engine_newPayloadV4", move |_| Reaction::Result(status("VALID", Some(hash))));
    let lies = [status("VALID", Some(GENESIS)), status("maybe", None), Value::Null];
    for lie in lies {
        let first = Server::start(only("engine_newPayloadV4", move |_| Reaction::Result(lie.clone()))).await;
        let second = Server::start(valid.clone()).await;
        let client = client(&[&first, &second]);
        assert_eq!(client.new_payload(payload()).await, Ok(PayloadStatus::Valid));
        assert_eq!(client.new_payload(payload()).await, Ok(PayloadStatus::Valid));
        assert_eq!(first.count("engine_newPayloadV4"), 1);
    }
}

#[tokio::test]
async fn a_users_call_is_handed_through_and_changes_nothing() {
    let script = |request: &Request| match request.method.as_str() {
        "eth_call" => Reaction::Error(3, "execution reverted"),
        "eth_gasPrice" => Reaction::Result(json!("0x7")),
        "eth_getCode" => Reaction::Close,
        _ => handshake(request),
    };
    let (first, second) = (Server::start(Arc::new(script)).await, Server::start(Arc::new(script)).await);
    let client = client(&[&first, &second]);
    assert_eq!(client.forward("eth_gasPrice", json!([])).await, Ok(json!("0x7")));
    let reverted = client.forward("eth_call", json!([{}])).await;
    assert_eq!(reverted, Err(ForwardError::Refused { code: 3, message: "execution reverted".to_owned(), data: None }));
    let lost = client.forward("eth_getCode", json!([])).await;
    assert!(matches!(lost, Err(ForwardError::Unavailable { .. })), "{lost:?}");
    client.info().await.unwrap();
    assert_eq!(first.count("eth_chainId"), 1, "the engine is still trusted");
    assert_eq!(second.requests(), 0, "the other one is not asked");
}
