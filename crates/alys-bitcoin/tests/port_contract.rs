//! What every implementation of the port must do: the embedded regtest, and Bitcoin Core where there is one.
//!
//! Core runs when `BITCOIND` names a binary or `bitcoind` is on the `PATH`.
#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

mod support;

use std::net::TcpListener;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use alys_bitcoin::core_rpc::{Auth, CoreConfig, CoreRpc};
use alys_bitcoin::core_server::CoreServer;
use alys_bitcoin::port::{MAX_HEADERS, MAX_LOCATOR};
use alys_bitcoin::template::{BlockTemplate, grind};
use alys_bitcoin::{BitcoinPort, BlockPlace, Invalid, PortError, Regtest, RegtestLimits, Unavailable, embedded};
use bitcoin::hashes::Hash as _;
use bitcoin::{Block, BlockHash, OutPoint, Transaction, Txid};
use support::{NOW, p2wpkh, pay, sign_p2wpkh};

/// Half of regtest's first reward.
const HALF: u64 = 2_500_000_000;

fn solved(template: &BlockTemplate, tag: u8) -> Block {
    let coinbase = template.coinbase(&p2wpkh(1), &[tag; 4]).unwrap();
    let mut header = template.header(&coinbase);
    while grind(&mut header, 10_000).unwrap().is_none() {}
    template.block(header, coinbase)
}

async fn mine(port: &impl BitcoinPort, count: u32) -> Vec<Block> {
    let mut blocks = Vec::new();
    for _ in 0..count {
        let block = solved(&port.block_template().await.unwrap(), 0);
        assert_eq!(port.submit_block(block.clone()).await, Ok(BlockPlace::Best));
        blocks.push(block);
    }
    blocks
}

/// A template right after a send may not have the transaction yet.
async fn mine_with(port: &impl BitcoinPort, txid: Txid) -> Block {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let template = port.block_template().await.unwrap();
        if template.transactions.iter().any(|entry| entry.txid == txid) {
            let block = solved(&template, 0);
            assert_eq!(port.submit_block(block.clone()).await, Ok(BlockPlace::Best));
            return block;
        }
        assert!(Instant::now() < deadline, "the template never had the transaction");
    }
}

/// The index of transactions may lag behind the tip.
async fn find(port: &impl BitcoinPort, txid: Txid) -> alys_bitcoin::FoundTransaction {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = port.find_transaction(txid).await.unwrap() {
            return found;
        }
        assert!(Instant::now() < deadline, "the transaction was never found");
    }
}

async fn honours_the_contract(port: &impl BitcoinPort) {
    let start = port.best_block().await.unwrap();
    assert_eq!(start.height, 0);
    let blocks = mine(port, 102).await;
    let best = port.best_block().await.unwrap();
    assert_eq!((best.height, best.hash), (102, blocks[101].block_hash()));

    // Headers.
    let at = port.header_at(5).await.unwrap().unwrap();
    assert_eq!((at.hash, at.header, at.height), (blocks[4].block_hash(), blocks[4].header, 5));
    assert_eq!(port.header_at(103).await, Ok(None));
    let nowhere = BlockHash::all_zeros();
    let after = port.headers_after(vec![nowhere, blocks[9].block_hash()], 3).await.unwrap();
    let hashes: Vec<BlockHash> = after.iter().map(|placed| placed.hash).collect();
    assert_eq!(hashes, [blocks[10].block_hash(), blocks[11].block_hash(), blocks[12].block_hash()]);
    assert_eq!(after[0].height, 11);
    assert_eq!(port.headers_after(vec![start.hash], MAX_HEADERS).await.unwrap().len(), 102);
    assert_eq!(port.headers_after(vec![best.hash], 3).await, Ok(Vec::new()));
    let unknown = port.headers_after(vec![nowhere], 3).await;
    assert_eq!(unknown, Err(PortError::Invalid(Invalid::UnknownHeaders { count: 1 })));
    for (locator, limit) in [(vec![nowhere; MAX_LOCATOR + 1], 1), (vec![best.hash], MAX_HEADERS + 1)] {
        let refused = port.headers_after(locator, limit).await;
        assert!(matches!(refused, Err(PortError::Invalid(Invalid::TooMany { .. }))), "{refused:?}");
    }

    // Blocks.
    assert_eq!(port.block(blocks[7].block_hash()).await, Ok(Some(blocks[7].clone())));
    assert_eq!(port.block(nowhere).await, Ok(None));
    assert_eq!(port.submit_block(blocks[101].clone()).await, Ok(BlockPlace::Known));

    // Transactions.
    let coin = |block: &Block| OutPoint { txid: block.txdata[0].compute_txid(), vout: 0 };
    let spend = |block: &Block| {
        let mut transaction = pay(&[coin(block)], &[(HALF, p2wpkh(2)), (2 * HALF - HALF - 5_000, p2wpkh(3))]);
        sign_p2wpkh(&mut transaction, 0, 2 * HALF, 1);
        transaction
    };
    let transaction = spend(&blocks[0]);
    let txid = transaction.compute_txid();
    assert_eq!(port.find_transaction(txid).await, Ok(None));
    assert_eq!(port.broadcast(transaction.clone()).await, Ok(txid));
    assert_eq!(port.broadcast(transaction.clone()).await, Ok(txid), "again is no error");
    assert_eq!(port.find_transaction(txid).await, Ok(None), "not confirmed");
    let block = mine_with(port, txid).await;
    let found = find(port, txid).await;
    assert!(found.proofs_hold());
    assert_eq!((found.block.hash, found.block.height, found.position), (block.block_hash(), 103, 1));
    assert_eq!(found.transaction, transaction);
    assert_eq!(port.broadcast(transaction.clone()).await, Ok(txid), "confirmed is no error");
    let refused = |answer: Result<Txid, PortError>| {
        let error = answer.unwrap_err();
        assert!(matches!(error, PortError::Invalid(_)) && !error.is_retryable(), "{error}");
    };
    let mut unsigned: Transaction = spend(&blocks[1]);
    unsigned.input[0].witness.clear();
    refused(port.broadcast(unsigned).await);
    refused(port.broadcast(pay(&[OutPoint { txid: Txid::all_zeros(), vout: 3 }], &[(HALF, p2wpkh(2))])).await);

    // A block that pays too much.
    let mut template = port.block_template().await.unwrap();
    template.coinbase_value += template.coinbase_value;
    let error = port.submit_block(solved(&template, 0)).await.unwrap_err();
    assert!(matches!(error, PortError::Invalid(_)), "{error}");

    // A branch that grows longer than the best one: what it replaces is gone from the best branch.
    let tip = port.best_block().await.unwrap();
    let mut template = port.block_template().await.unwrap();
    (template.previous, template.height) = (blocks[101].block_hash(), 103);
    template.transactions.clear();
    template.coinbase_value = bitcoin::Amount::from_sat(2 * HALF);
    let side = solved(&template, 1);
    assert_eq!(port.submit_block(side.clone()).await, Ok(BlockPlace::Side));
    assert_eq!(port.best_block().await, Ok(tip));
    (template.previous, template.height) = (side.block_hash(), 104);
    let longer = solved(&template, 2);
    assert_eq!(port.submit_block(longer.clone()).await, Ok(BlockPlace::Best));
    assert_eq!(port.best_block().await.unwrap().hash, longer.block_hash());
    assert_eq!(port.find_transaction(txid).await, Ok(None));
    let bridged = port.headers_after(vec![tip.hash, blocks[101].block_hash()], 10).await.unwrap();
    assert_eq!(bridged.iter().map(|placed| placed.hash).collect::<Vec<_>>(), [side.block_hash(), longer.block_hash()]);
    assert_eq!(
        port.block(tip.hash).await.unwrap().map(|block| block.block_hash()),
        Some(tip.hash),
        "side blocks are kept"
    );
}

#[tokio::test]
async fn the_embedded_regtest_honours_the_contract() {
    let regtest = Regtest::new(RegtestLimits::default());
    let (handle, task) = embedded(regtest, None, NonZeroUsize::new(4).unwrap(), || NOW);
    let task = tokio::spawn(task);
    honours_the_contract(&handle).await;
    task.abort();
}

#[tokio::test]
async fn a_regtest_served_as_core_serves_one_honours_the_contract_through_the_core_client() {
    let regtest = Regtest::new(RegtestLimits::default());
    let (handle, chain) = embedded(regtest, None, NonZeroUsize::new(4).unwrap(), || NOW);
    let chain = tokio::spawn(chain);
    let server = CoreServer::bind(([127, 0, 0, 1], 0).into(), handle, "alys", "secret").await.unwrap();
    let url = format!("http://{}", server.address().unwrap());
    let server = tokio::spawn(server.run());
    let client = |password: &str| {
        let auth = Auth::User { name: "alys".to_owned(), password: password.to_owned() };
        CoreRpc::new(CoreConfig { url: url.clone(), auth, timeout: Duration::from_secs(20) }).unwrap()
    };
    let refused = client("wrong").best_block().await.unwrap_err();
    assert!(matches!(refused, PortError::Unavailable(Unavailable::Credentials { .. })), "{refused}");
    honours_the_contract(&client("secret")).await;
    assert_eq!(client("secret").estimate_fee_rate(6).await, Ok(None));
    server.abort();
    chain.abort();
}

/// A running Bitcoin Core; killed when dropped.
struct Core {
    process: Child,
    folder: tempfile::TempDir,
    port: u16,
}

impl Core {
    fn start(binary: &PathBuf) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new(binary)
            .args(["-regtest", "-listen=0", "-dnsseed=0", "-fixedseeds=0", "-connect=0", "-txindex=1"])
            .args(["-rpcbind=127.0.0.1", "-rpcallowip=127.0.0.1", "-fallbackfee=0.0001"])
            .arg(format!("-rpcport={port}"))
            .arg(format!("-datadir={}", folder.path().display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, folder, port }
    }

    fn client(&self) -> CoreRpc {
        CoreRpc::new(CoreConfig {
            url: format!("http://127.0.0.1:{}", self.port),
            auth: Auth::Cookie(self.folder.path().join("regtest/.cookie")),
            timeout: Duration::from_secs(20),
        })
        .unwrap()
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn bitcoind() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("BITCOIND") {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("bitcoind")).find(|file| file.is_file())
}

#[tokio::test]
async fn bitcoin_core_honours_the_contract() {
    let Some(binary) = bitcoind() else {
        alys_vectors::skip("needs a Bitcoin Core binary: BITCOIND names none and bitcoind is not on the PATH");
        return;
    };
    let core = Core::start(&binary);
    let client = core.client();
    let deadline = Instant::now() + Duration::from_secs(60);
    while let Err(error) = client.best_block().await {
        assert!(error.is_retryable(), "a node that starts asks for patience: {error}");
        assert!(Instant::now() < deadline, "bitcoind never answered: {error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    honours_the_contract(&client).await;
    assert_eq!(client.estimate_fee_rate(6).await, Ok(None), "a young chain tells nothing about fees");
}
