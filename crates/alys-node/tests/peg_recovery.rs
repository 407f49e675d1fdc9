//! The last resort on a running federation: its nodes hold coins at an address with the recovery leaf, the peg works as ever,
//! then all members vanish, and the holders of the recovery keys take what is left by the command: not one block before the
//! lock has passed, and at it. And everything that the command refuses.

#![allow(clippy::unwrap_used, reason = "a test fails where it can't go on")]

mod common;
#[path = "common/peg_world.rs"]
mod peg_world;

use alys_bitcoin::BitcoinPort as _;
use alys_node::bridge::withdrawal;
use alys_node::dev_accounts::dev_accounts;
use alys_node::evm_account::EvmAccount;
use alys_primitives::{Address, Sats};
use bitcoin::{Network, OutPoint, ScriptBuf};
use common::alys_node;
use peg_world::{Backend, BitcoinWallet, Result, World, same, words};
use serde_json::{Value, json};
use std::path::Path;

/// The shortest lock that a chain may have.
const BLOCKS: u32 = 144;

const MEMBERS: usize = 3;
const DEPOSITS: [u64; 2] = [30_000_001, 5_000_003];
const BURN: u64 = 10_000_001;
const FEE_RATE: u64 = 3_000;

/// Files of three recovery keys: two plain ones and a keystore.
struct Keys {
    folder: String,
}

impl Keys {
    fn new(folder: &Path) -> Self {
        let folder = folder.display().to_string();
        for (name, digit) in [("one", "1"), ("two", "2"), ("stranger", "4")] {
            std::fs::write(format!("{folder}/{name}"), digit.repeat(64)).unwrap();
        }
        std::fs::write(format!("{folder}/password"), "correct horse\n").unwrap();
        let keys = Self { folder };
        let new = ["keys", "new", "--kdf", "pbkdf2"].map(str::to_owned).to_vec();
        run(&[new, words(&["--out", &keys.file("keystore"), "--password-file", &keys.file("password")])].concat())
            .unwrap();
        keys
    }

    fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }

    fn plain(&self, name: &str) -> Vec<String> {
        words(&["--secret-file", &self.file(name)])
    }

    fn keystore(&self) -> Vec<String> {
        words(&["--keystore", &self.file("keystore"), "--password-file", &self.file("password")])
    }

    /// The flags of `init`: two of the three keys recover.
    fn init(&self) -> Vec<String> {
        let blocks = BLOCKS.to_string();
        let mut flags = words(&["--recovery-threshold", "2", "--recovery-blocks", &blocks]);
        for source in [self.plain("one"), self.plain("two"), self.keystore()] {
            let key = run(&[words(&["peg", "recover", "key"]), source].concat()).unwrap();
            flags.extend(words(&["--recovery-key", key.trim()]));
        }
        flags
    }
}

/// Runs a command; gives what it printed, or its error.
fn run(arguments: &[String]) -> std::result::Result<String, String> {
    let output = alys_node().args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

fn refused(arguments: &[String], reason: &str) {
    let error = run(arguments).unwrap_err();
    assert!(error.starts_with("error: ") && error.contains(reason), "{arguments:?}: wanted '{reason}', got {error}");
}

/// Two deposits, one of which is partly paid out again; gives the script that holds what is left.
async fn ordinary_life(world: &World) -> Result<ScriptBuf> {
    let mut wallet = BitcoinWallet::new(0x21)?;
    wallet.earn(world, 4).await?;
    let asked = ("alys_depositAddress", json!([]));
    let told = world.until("an address", 0, asked, |answer| answer["address"].is_string()).await?;
    let descriptor = told["descriptor"].as_str().unwrap_or_default();
    same("a leaf for recovery", descriptor.contains(&format!("older({BLOCKS})")), true)?;
    let address = told["address"].as_str().ok_or("no address")?.to_owned();
    for (sats, byte) in DEPOSITS.into_iter().zip([0x61, 0x62]) {
        let account = Address::repeat_byte(byte);
        let txid = world.bitcoin.broadcast(wallet.deposit(&address, sats, account)?).await?;
        world.waits_for_a_block(txid).await?;
        world.confirm(6).await?;
        world.credited(0..MEMBERS, account, sats).await?;
    }
    let sender = EvmAccount::new(&dev_accounts()?[1].secret_key.secret_bytes())?;
    let burn = world.send(1, &sender, withdrawal(&wallet.address().to_string(), Sats(BURN))).await?;
    let payment = world.sent(2, &burn).await?;
    world.waits_for_a_block(payment).await?;
    world.confirm(6).await?;
    for member in 0..MEMBERS {
        world.paid(member, &burn, payment, BURN).await?;
        let books = ("alys_supply", json!([]));
        let left = DEPOSITS.iter().sum::<u64>() - BURN;
        let settled = move |told: &Value| told["lockedSats"] == json!(left) && told["imbalanceSats"] == "0";
        world.until("balanced books", member, books, settled).await?;
    }
    Ok(address.parse::<bitcoin::Address<_>>()?.require_network(Network::Regtest)?.script_pubkey())
}

/// The commands of those who recover, on a chain whose files are these.
struct Holders<'a> {
    keys: &'a Keys,
    world: &'a World,
    target: String,
}

impl Holders<'_> {
    fn command(&self, name: &str, flags: &[&[String]]) -> Vec<String> {
        [words(&["peg", "recover", name]), self.world.chain_files(), flags.concat()].concat()
    }

    fn prepare(&self, out: &str, coins: &[String]) -> Vec<String> {
        let rate = FEE_RATE.to_string();
        let flags = words(&["--to", &self.target, "--fee-rate", &rate, "--out", &self.keys.file(out)]);
        self.command("prepare", &[&flags, coins, self.world.bitcoin_flags()])
    }

    fn sign(&self, psbt: &str, key: &[String]) -> Vec<String> {
        self.command("sign", &[&words(&[&self.keys.file(psbt), "--to", &self.target]), key])
    }

    fn finish(&self, psbts: &[&str]) -> Vec<String> {
        let files: Vec<String> = psbts.iter().map(|name| self.keys.file(name)).collect();
        self.command("finish", &[&files, &words(&["--broadcast"]), self.world.bitcoin_flags()])
    }
}

async fn story(folder: &Path, backend: &Backend) -> Result<()> {
    let keys = Keys::new(folder);
    let binary = Path::new(env!("CARGO_BIN_EXE_alys-node"));
    let mut world = World::start_with(binary, folder, MEMBERS, backend, &keys.init()).await?;
    let custody = ordinary_life(&world).await?;

    // Nobody is left; Bitcoin goes on.
    for member in 0..MEMBERS {
        world.kill_member(member);
        world.kill_signer(member);
    }
    let left = world.unspent(&custody).await?;
    same("satoshis that are left", left.values().sum::<u64>(), DEPOSITS.iter().sum::<u64>() - BURN)?;
    same("coins that are left", left.len(), 2)?;
    let heir = BitcoinWallet::new(0x55)?;
    let holders = Holders { keys: &keys, world: &world, target: heir.address().to_string() };
    let coins: Vec<String> = left.keys().flat_map(|coin| words(&["--coin", &coin.to_string()])).collect();

    // Prepared and signed long before the time: one holder after another on one copy, a third one on another.
    let prepared = run(&holders.prepare("spend", &coins))?;
    same("a word about the lock", prepared.contains("not yet: coin"), true)?;
    std::fs::copy(keys.file("spend"), keys.file("copy"))?;
    refused(&holders.finish(&["spend"]), "0 recovery keys have signed, 2 must");
    run(&holders.sign("spend", &keys.plain("one")))?;
    refused(&holders.finish(&["spend"]), "1 recovery keys have signed, 2 must");
    refused(&holders.sign("copy", &keys.plain("stranger")), "is no recovery key of this chain");
    run(&holders.sign("copy", &keys.keystore()))?;
    let both = ["spend", "copy"];
    refused(&holders.finish(&both), "can be spent from Bitcoin block");
    let scan = words(&["--scan-from", "1"]);
    refused(&holders.prepare("scanned", &scan), "can be spent from Bitcoin block");

    // One block before the time of the younger coin.
    let mut youngest = 0;
    for OutPoint { txid, .. } in left.keys() {
        youngest = youngest.max(world.bitcoin.find_transaction(*txid).await?.ok_or("no coin")?.block.height);
    }
    let first = youngest + BLOCKS;
    world.confirm(first - 2 - world.bitcoin.best_block().await?.height).await?;
    let reason = format!("can be spent from Bitcoin block {first} on, which is 1 blocks after the next one");
    refused(&holders.finish(&both), &reason);
    // Not by the command alone: Bitcoin refuses it, too.
    let offline = holders.command("finish", &[&both.map(|name| keys.file(name))]);
    let raw = run(&offline)?.lines().last().unwrap_or_default().to_owned();
    let transaction: bitcoin::Transaction = bitcoin::consensus::encode::deserialize_hex(&raw)?;
    same("what Bitcoin says one block early", world.bitcoin.broadcast(transaction.clone()).await.is_err(), true)?;
    // The older coin could go alone, and that is what is found.
    let alone = run(&holders.prepare("alone", &scan))?;
    same("coins that are old enough", alone.matches("spends  ").count(), 1)?;

    world.confirm(1).await?;
    let sent = run(&holders.finish(&both))?;
    let txid = transaction.compute_txid();
    same("what was sent", sent.trim().lines().last(), Some(format!("sent {txid}").as_str()))?;
    world.waits_for_a_block(txid).await?;
    world.confirm(1).await?;
    let fee = (u64::try_from(transaction.vsize())? * FEE_RATE).div_ceil(1_000);
    let taken: Vec<u64> = world.unspent(&heir.script()).await?.into_values().collect();
    same("what was taken", taken, vec![left.values().sum::<u64>() - fee])?;
    same("coins that are left", world.unspent(&custody).await?.len(), 0)?;
    refused(&holders.prepare("again", &scan), "hold no coins of this chain");
    // Whoever sends it again is told by Bitcoin that its coins are gone.
    let spent = run(&holders.command("finish", &[&words(&[&keys.file("alone")]), world.bitcoin_flags()]));
    same("unsigned", spent.unwrap_err().contains("0 recovery keys have signed"), true)?;
    Ok(())
}

fn play(backend: &Backend) {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(story(folder.path(), backend)).unwrap();
}

#[test]
fn recovery_keys_take_what_vanished_members_have_left() {
    play(&Backend::Regtest);
}

#[test]
fn recovery_keys_take_what_vanished_members_have_left_on_bitcoin_core() {
    match Backend::core() {
        Some(core) => play(&core),
        None => alys_vectors::skip("needs a Bitcoin Core binary: BITCOIND names none and bitcoind is not on the PATH"),
    }
}

/// A chain's files, made with these flags.
fn made(folder: &Path, name: &str, flags: &[String]) -> Vec<String> {
    let data = folder.join(name);
    let init = words(&["init", "--preset", "dev", "--data-dir", &data.display().to_string()]);
    run(&[init, flags.to_vec()].concat()).unwrap();
    let file = |name: &str| data.join(name).display().to_string();
    words(&["--chain-spec", &file("chain.json"), "--genesis", &file("genesis.json")])
}

#[test]
fn what_can_not_be_prepared_signed_or_finished_is_refused_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let keys = Keys::new(folder.path());
    let chain = made(folder.path(), "with", &keys.init());
    let other = made(folder.path(), "without", &[]);
    let txid = "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b";
    let coin = format!("{txid}:1=5000000");
    let to = BitcoinWallet::new(0x55).unwrap().address().to_string();
    let prepare = |chain: &[String], coins: &[&str], to: &str, rate: &str, out: &str| {
        let flags = words(&["--to", to, "--fee-rate", rate, "--out", &keys.file(out)]);
        let coins = coins.iter().flat_map(|coin| words(&["--coin", coin])).collect();
        [words(&["peg", "recover", "prepare"]), chain.to_vec(), flags, coins].concat()
    };
    let refuse = |coins: &[&str], to: &str, rate: &str, reason: &str| {
        refused(&prepare(&chain, coins, to, rate, "refused"), reason);
        assert!(!Path::new(&keys.file("refused")).exists(), "nothing is written: {reason}");
    };
    refused(&prepare(&other, &[&coin], &to, "2000", "refused"), "the chain spec names no recovery keys");
    refuse(&[], &to, "2000", "--coin");
    for bad in ["", "1", txid, &format!("{txid}:1=0"), &format!("{txid}:1=-1"), &format!("{txid}:x=5")] {
        refuse(&[bad], &to, "2000", "TXID:VOUT");
    }
    refuse(&[&format!("{txid}:1")], &to, "2000", "nobody says what coin");
    refuse(&[&coin, &coin], &to, "2000", "is named twice");
    refuse(&[&coin], &to, "999", "a fee rate of 999");
    refuse(&[&coin], &to, "-1", "--fee-rate");
    refuse(&[&coin], &to, "20000000", "is more than half of the coins'");
    refuse(&[&format!("{txid}:1=450")], &to, "1000", "satoshis would be left");
    refuse(&[&format!("{txid}:1=100")], &to, "1000", "is more than half of the coins'");
    refuse(&[&coin], "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "2000", "is not valid on regtest");
    refuse(&[&coin], "bcrt1nonsense", "2000", "--to");
    let twenty_one_million = format!("{txid}:2=2100000000000000");
    refuse(&[&coin, &twenty_one_million], &to, "2000", "a sum overflows");
    let unreachable = words(&["--bitcoin-url", "http://127.0.0.1:1"]);
    let asking = [prepare(&chain, &[&coin], &to, "2000", "refused"), unreachable].concat();
    refused(&asking, "without one way to log in");
    let cookie = words(&["--bitcoin-cookie-file", &keys.file("password")]);
    refused(&[asking, cookie].concat(), "bitcoin unavailable");
    let custody = words(&["--custody", "1"]);
    refused(&[prepare(&chain, &[&coin], &to, "2000", "refused"), custody].concat(), "there is no custody 1");

    // A good one, which nothing overwrites.
    run(&prepare(&chain, &[&coin], &to, "2000", "good")).unwrap();
    refused(&prepare(&chain, &[&coin], &to, "2000", "good"), "can't be written");
    let command = |name: &str, chain: &[String], flags: &[&[String]]| {
        [words(&["peg", "recover", name]), chain.to_vec(), flags.concat()].concat()
    };
    let file = |name: &str| words(&[&keys.file(name)]);
    let pays = words(&["--to", &to]);
    let one = keys.plain("one");
    refused(&command("sign", &other, &[&file("good"), &pays, &one]), "the chain spec names no recovery keys");
    let elsewhere = words(&["--to", &BitcoinWallet::new(0x56).unwrap().address().to_string()]);
    refused(&command("sign", &chain, &[&file("good"), &elsewhere, &one]), "pays another address than --to");
    refused(&command("sign", &chain, &[&file("good"), &pays]), "--keystore");
    refused(&command("sign", &chain, &[&file("good"), &pays, &keys.plain("nothing")]), "can't be read");
    refused(&command("sign", &chain, &[&file("good"), &pays, &keys.plain("password")]), "holds no secret key");
    refused(&command("sign", &chain, &[&file("nothing"), &pays, &one]), "can't be read");
    let psbt = std::fs::read(keys.file("good")).unwrap();
    std::fs::write(keys.file("torn"), &psbt[..psbt.len() - 9]).unwrap();
    std::fs::write(keys.file("empty"), "").unwrap();
    std::fs::write(keys.file("large"), vec![0; (4 << 20) + 1]).unwrap();
    for (name, reason) in [("torn", "no PSBT"), ("empty", "no PSBT"), ("large", "more than"), ("keystore", "no PSBT")] {
        refused(&command("sign", &chain, &[&file(name), &pays, &one]), reason);
        refused(&command("finish", &chain, &[&file("good"), &file(name)]), reason);
    }
    refused(&command("finish", &chain, &[&file("good"), &words(&["--broadcast"])]), "--bitcoin-url");

    // Another spend of the same coin does not mix with it. A second key makes it whole.
    run(&prepare(&chain, &[&coin], &to, "2500", "dearer")).unwrap();
    run(&command("sign", &chain, &[&file("dearer"), &pays, &one])).unwrap();
    refused(&command("finish", &chain, &[&file("good"), &file("dearer")]), "a PSBT of transaction");
    run(&command("sign", &chain, &[&file("good"), &pays, &one, &keys.plain("two")])).unwrap();
    let finished = run(&command("finish", &chain, &[&file("good")])).unwrap();
    assert!(finished.contains("signed by      2 of the 2"), "{finished}");
    let raw = finished.lines().last().unwrap();
    let transaction: bitcoin::Transaction = bitcoin::consensus::encode::deserialize_hex(raw).unwrap();
    let fee = (u64::try_from(transaction.vsize()).unwrap() * 2_000).div_ceil(1_000);
    assert_eq!(transaction.output[0].value.to_sat(), 5_000_000 - fee);
}
