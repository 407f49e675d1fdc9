//! The peg's whole story on a one-member development chain: bitcoin in, coins used, coins burned, bitcoin out. Ends by
//! itself; fails if an amount is off by a satoshi or a wei.
//!
//! `cargo xtask demo peg` runs it.

#![allow(clippy::print_stdout, reason = "it tells a story")]

use alys_bitcoin::{BitcoinPort as _, RegtestHandle};
use alys_chain::ChainConfig;
use alys_crypto::SecretKey;
use alys_node::bridge::{custody_key, withdrawal};
use alys_node::chain_files::{ChainFiles, member};
use alys_node::config::Config;
use alys_node::dev_accounts::dev_accounts;
use alys_node::evm_account::{Call, EvmAccount};
use alys_node::rpc_client::{RpcClient, RpcClientError};
use alys_node::{DevBitcoin, Node, NodeBuilder, Validator};
use alys_primitives::{Address, Members, Sats, U256};
use alys_store::signing::{RecordIdentity, SigningRecord, Watermarks};
use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash as _;
use bitcoin::key::Keypair;
use bitcoin::secp256k1::{Message, Secp256k1, SecretKey as BitcoinSecret};
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::{
    Address as BitcoinAddress, Amount, CompressedPublicKey, Network, OutPoint, ScriptBuf, Sequence, Transaction, TxIn,
    TxOut, Txid, Witness, ecdsa, transaction,
};
use serde_json::{Value, json};
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Satoshis that the depositor sends: an odd amount, so that rounding would show.
const DEPOSIT: u64 = 123_456_789;

/// Satoshis of them that pass on to somebody else and leave again.
const WITHDRAWAL: u64 = 50_000_001;

/// The same in wei.
const WEI_PER_SAT: u64 = 10_000_000_000;

/// The longest that one step may take.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let began = Instant::now();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(story()) {
        Ok(()) => {
            println!("\nevery amount is exact; {} seconds", began.elapsed().as_secs());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn story() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("alys-peg-demo-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let outcome = play(&folder).await;
    std::fs::remove_dir_all(&folder)?;
    outcome
}

async fn play(folder: &Path) -> Result<()> {
    println!("1  a development chain: one member, one-second slots, an embedded regtest Bitcoin");
    let node = start(folder).await?;
    let bitcoin = node.bitcoin.clone().ok_or("no embedded Bitcoin")?;
    let rpc = rpc(&node)?;
    let outcome = pegs(&rpc, &bitcoin).await;
    node.shutdown().await;
    outcome
}

async fn pegs(rpc: &RpcClient, bitcoin: &RegtestHandle) -> Result<()> {
    let accounts = dev_accounts()?;
    let [first, second, ..] = accounts.as_slice() else { return Err("too few accounts".into()) };
    let sender = EvmAccount::new(&second.secret_key.secret_bytes())?;
    let payer = EvmAccount::new(&first.secret_key.secret_bytes())?;
    // Nobody has used it: whatever it holds came through the peg.
    let newcomer = EvmAccount::new(&[0x42; 32])?;
    let before = supply(rpc).await?;

    println!("2  somebody earns bitcoin on regtest");
    let wallet = Wallet::new()?;
    let coin = wallet.earn(bitcoin).await?;
    println!("   {} holds {} satoshis", wallet.address(), coin.1);

    println!("3  and deposits {DEPOSIT} satoshis for {}", newcomer.address());
    let target = wait(rpc, "alys_depositAddress", json!([newcomer.address()]), |_| true).await?;
    let address = target["address"].as_str().ok_or("no address")?.to_owned();
    println!("   to {address}, with the recipient in an OP_RETURN");
    let deposit = wallet.deposit(coin, &address, newcomer.address())?;
    let txid = bitcoin.broadcast(deposit).await?;
    println!("   Bitcoin transaction {txid}");
    bitcoin.generate_to(wallet.script(), 1).await?;
    let seen = wait(rpc, "alys_pegInStatus", json!([txid.to_string()]), |status| status["status"] == "seen").await?;
    println!("   seen with {} confirmation", seen["confirmations"]);
    expect("nothing is minted yet", balance(rpc, newcomer.address()).await?, U256::ZERO)?;
    bitcoin.generate_to(wallet.script(), 5).await?;
    let credited = wait(rpc, "alys_pegInStatus", json!([txid.to_string()]), |status| {
        matches!(status["status"].as_str(), Some("credited" | "safe" | "finalized"))
    })
    .await?;
    println!("4  minted in block {} after {} confirmations", credited["height"], credited["confirmations"]);
    expect("the newcomer's balance in wei", balance(rpc, newcomer.address()).await?, wei(DEPOSIT))?;

    println!("5  the newcomer hands {WITHDRAWAL} satoshis' worth on to {}", sender.address());
    let sender_before = balance(rpc, sender.address()).await?;
    let call = Call { to: sender.address(), value: wei(WITHDRAWAL), input: Default::default() };
    let moved = newcomer.send(rpc, call).await?;
    wait(rpc, "eth_getTransactionReceipt", json!([moved]), |receipt| receipt["status"] == "0x1").await?;
    expect("what arrived in wei", balance(rpc, sender.address()).await? - sender_before, wei(WITHDRAWAL))?;

    println!("6  who burns them for bitcoin");
    let payee = wallet.address().to_string();
    let burn = sender.send(rpc, withdrawal(&payee, Sats(WITHDRAWAL))).await?;
    let receipt = wait(rpc, "eth_getTransactionReceipt", json!([burn]), |receipt| receipt["status"] == "0x1").await?;
    let gas = number(&receipt["gasUsed"])? * number(&receipt["effectiveGasPrice"])?;
    let spent = sender_before + wei(WITHDRAWAL) - balance(rpc, sender.address()).await?;
    expect("what the burn cost in wei, gas apart", spent - gas, wei(WITHDRAWAL))?;
    let refused = payer.send(rpc, withdrawal(&payee, Sats(9_999))).await;
    expect("a burn below the minimum is refused", refused.is_err(), true)?;

    println!("7  the burn becomes final by merged mining, and the payment is derived, signed and sent");
    let mut last = String::new();
    let sent = wait(rpc, "alys_pegOutStatus", json!([burn]), |status| {
        let now = status[0]["status"].as_str().unwrap_or_default();
        if now != last {
            println!("   {now}");
            now.clone_into(&mut last);
        }
        matches!(now, "broadcast" | "confirmed" | "paid")
    })
    .await?;
    let payment: Txid = sent[0]["txid"].as_str().ok_or("no txid")?.parse()?;
    println!("   Bitcoin transaction {payment}");
    bitcoin.generate_to(ScriptBuf::new_op_return([0; 4]), 6).await?;
    let paid = wait(rpc, "alys_pegOutStatus", json!([burn]), |status| status[0]["status"] == "paid").await?;
    println!("8  settled in block {} after 6 confirmations", paid[0]["settledAt"]);

    let found = bitcoin.find_transaction(payment).await?.ok_or("the payment is in no block")?;
    let outputs = &found.transaction.output;
    let inputs = DEPOSIT;
    let fee = inputs - outputs.iter().map(|output| output.value.to_sat()).sum::<u64>();
    let rate = fee as f64 / found.transaction.vsize() as f64;
    println!("   {} virtual bytes, {fee} satoshis of fee ({rate:.2} a byte)", found.transaction.vsize());
    expect("outputs of the payment", outputs.len(), 2)?;
    expect("what the payee got in satoshis", outputs[0].value.to_sat(), WITHDRAWAL - fee)?;
    expect("who got it", outputs[0].script_pubkey == wallet.script(), true)?;
    expect("change for the federation in satoshis", outputs[1].value.to_sat(), DEPOSIT - WITHDRAWAL)?;
    expect("what the node says was paid", paid[0]["paidSats"].as_u64(), Some(WITHDRAWAL - fee))?;

    let after = supply(rpc).await?;
    let change = |field: &str| Ok::<U256, Box<dyn Error>>(number(&after[field])? - number(&before[field])?);
    expect("deposited in wei", change("depositedWei")?, wei(DEPOSIT))?;
    expect("minted in wei", change("mintedWei")?, wei(DEPOSIT))?;
    expect("burned in wei", change("burnedWei")?, wei(WITHDRAWAL))?;
    expect("supply grew by, in wei", change("supplyWei")?, wei(DEPOSIT - WITHDRAWAL))?;
    expect("locked in satoshis", after["lockedSats"].as_u64(), Some(DEPOSIT - WITHDRAWAL))?;
    expect("unpaid in satoshis", after["unpaidSats"].as_u64(), Some(0))?;
    expect("imbalance in satoshis", after["imbalanceSats"].as_str(), Some("0"))?;
    Ok(())
}

async fn start(folder: &Path) -> Result<Node> {
    let key = SecretKey::generate(&[7; 32])?;
    let accounts = dev_accounts()?;
    let payout = accounts.last().ok_or("no accounts")?.address;
    let members = Members::new(vec![member(&key, payout)]).map_err(|_| "too many members")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let custody = custody_key(&key, 0).ok_or("no custody key")?;
    let files = ChainFiles::dev(members, now, 1)?.with_regtest_peg(vec![custody.public_key().serialize().into()])?;
    let identity =
        RecordIdentity { genesis_root: files.spec.genesis_root(), public_key: key.public_key().to_bytes().into() };
    let record = folder.join("signing-record");
    SigningRecord::create(&record, &identity, &Watermarks::default())?;
    let mut config = Config::default();
    config.node.data_dir = folder.join("data");
    config.rpc.listen.set_port(0);
    config.metrics.listen.set_port(0);
    config.rpc.mining = true;
    config.mining.payout = Some(payout);
    let node = NodeBuilder::new(config, files)
        .validator(Validator { key, record })
        .dev_bitcoin(DevBitcoin { miner_payout: Some(payout) })
        .chain_config(ChainConfig { production_lead: 0, ..ChainConfig::default() })
        .start()
        .await?;
    Ok(node)
}

fn rpc(node: &Node) -> Result<RpcClient> {
    let listening = node.listening.borrow().ok_or("the gateway does not listen")?;
    Ok(RpcClient::new(&format!("http://{}", listening.rpc), Duration::from_secs(30))?)
}

/// Asks until the answer is as wanted. What is not found yet is asked for again.
async fn wait(rpc: &RpcClient, method: &str, params: Value, mut wanted: impl FnMut(&Value) -> bool) -> Result<Value> {
    let deadline = Instant::now() + PATIENCE;
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    loop {
        ticks.tick().await;
        let answer = match rpc.call(method, params.clone()).await {
            Ok(answer) if wanted(&answer) => return Ok(answer),
            Ok(answer) => answer.to_string(),
            Err(error @ RpcClientError::Refused { code: -32001 | -32002, .. }) => error.to_string(),
            Err(error) => return Err(error.into()),
        };
        if Instant::now() > deadline {
            return Err(format!("{method} {params} did not come out as wanted in time: {answer}").into());
        }
    }
}

async fn balance(rpc: &RpcClient, account: Address) -> Result<U256> {
    number(&rpc.call("eth_getBalance", json!([account, "latest"])).await?)
}

async fn supply(rpc: &RpcClient) -> Result<Value> {
    Ok(rpc.call("alys_supply", json!([])).await?)
}

fn number(value: &Value) -> Result<U256> {
    Ok(value.as_str().ok_or_else(|| format!("{value} is no number"))?.parse()?)
}

fn wei(sats: u64) -> U256 {
    U256::from(sats) * U256::from(WEI_PER_SAT)
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Result<()> {
    if found == expected {
        println!("   ok  {what}: {found:?}");
        Ok(())
    } else {
        Err(format!("{what}: {found:?}, expected {expected:?}").into())
    }
}

/// A depositor with one key.
struct Wallet {
    keypair: Keypair,
}

impl Wallet {
    fn new() -> Result<Self> {
        let secret = BitcoinSecret::from_slice(&[0x21; 32])?;
        Ok(Self { keypair: Keypair::from_secret_key(&Secp256k1::new(), &secret) })
    }

    fn key(&self) -> CompressedPublicKey {
        CompressedPublicKey(self.keypair.public_key())
    }

    fn script(&self) -> ScriptBuf {
        ScriptBuf::new_p2wpkh(&self.key().wpubkey_hash())
    }

    fn address(&self) -> BitcoinAddress {
        BitcoinAddress::p2wpkh(&self.key(), Network::Regtest)
    }

    /// A block reward that can be spent.
    async fn earn(&self, bitcoin: &RegtestHandle) -> Result<(OutPoint, u64)> {
        let blocks = bitcoin.generate_to(self.script(), 1).await?;
        bitcoin.generate_to(ScriptBuf::new_op_return([0; 4]), 100).await?;
        let hash = *blocks.first().ok_or("no block")?;
        let block = bitcoin.block(hash).await?.ok_or("the block is gone")?;
        let coinbase = block.txdata.first().ok_or("no coinbase")?;
        let value = coinbase.output.first().ok_or("no reward")?.value.to_sat();
        Ok((OutPoint { txid: coinbase.compute_txid(), vout: 0 }, value))
    }

    fn deposit(&self, coin: (OutPoint, u64), address: &str, recipient: Address) -> Result<Transaction> {
        let federation: BitcoinAddress = address.parse::<BitcoinAddress<_>>()?.require_network(Network::Regtest)?;
        let note = ScriptBuf::new_op_return(recipient.into_array());
        let output = |sats: u64, script_pubkey| TxOut { value: Amount::from_sat(sats), script_pubkey };
        let mut transaction = Transaction {
            version: transaction::Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn {
                previous_output: coin.0,
                script_sig: ScriptBuf::new(),
                sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
                witness: Witness::new(),
            }],
            output: vec![
                output(DEPOSIT, federation.script_pubkey()),
                output(0, note),
                output(coin.1 - DEPOSIT - 1_000, self.script()),
            ],
        };
        let hash_type = EcdsaSighashType::All;
        let value = Amount::from_sat(coin.1);
        let hash = SighashCache::new(&transaction).p2wpkh_signature_hash(0, &self.script(), value, hash_type)?;
        let secp = Secp256k1::new();
        let signature = secp.sign_ecdsa(&Message::from_digest(hash.to_byte_array()), &self.keypair.secret_key());
        let signature = ecdsa::Signature { signature, sighash_type: hash_type };
        if let Some(input) = transaction.input.first_mut() {
            input.witness = Witness::p2wpkh(&signature, &self.keypair.public_key());
        }
        Ok(transaction)
    }
}
