//! The story of a custody that changes hands while the chain runs: five members of whom one is lost with its key, four who
//! take over. A test and `cargo xtask demo peg --rotate` play it, with the commands that operators use.

#![allow(dead_code, unreachable_pub, reason = "tests and an example each use their part")]

use crate::peg_world::{Backend, BitcoinWallet, Result, World, number, same, wei, words};
use alys_bitcoin::BitcoinPort as _;
use alys_node::bridge::withdrawal;
use alys_node::dev_accounts::dev_accounts;
use alys_node::evm_account::EvmAccount;
use alys_primitives::{Address, Sats, U256};
use bitcoin::{Network, ScriptBuf, Transaction, Txid};
use serde_json::{Value, json};
use std::path::Path;

/// Members at first; the last one is lost.
pub const MEMBERS: usize = 5;

/// Those who stay.
pub const STAY: usize = MEMBERS - 1;

/// How many of those who stay must sign for the new coins.
const THRESHOLD: usize = 3;

/// Deposits before the change, to the old address after it, and to the new one; all odd.
const BEFORE: [u64; 2] = [123_456_789, 20_000_003];
const IN_GRACE: u64 = 3_000_001;
const AFTER: u64 = 5_000_007;
const BURN: u64 = 100_000_001;

/// Plays it; each step is told. Fails if an amount is off by a satoshi or a wei.
pub async fn play(binary: &Path, folder: &Path, backend: &Backend, tell: impl Fn(String)) -> Result<()> {
    let mut world = World::start(binary, folder, MEMBERS, backend).await?;
    let mut wallet = BitcoinWallet::new(0x21)?;
    wallet.earn(&world, 6).await?;
    let before = world.supply(0).await?;
    let (old, descriptor) = deposit_address(&world).await?;
    tell(format!("{MEMBERS} members hold deposits at {old}\n  {descriptor}"));

    world.kill_member(STAY);
    world.kill_signer(STAY);
    tell(format!("member {STAY} is gone, and its key with it"));
    for (sats, account) in BEFORE.into_iter().zip([0x51, 0x52]) {
        deposit(&world, &mut wallet, &old, sats, Address::repeat_byte(account)).await?;
    }
    tell(format!("{} and {} satoshis came in and are credited", BEFORE[0], BEFORE[1]));

    let new = hand_over(&mut world, &tell).await?;
    let (old_script, new_script) = (script(&old)?, script(&new)?);
    let mut absorbed = sweep(&world, BEFORE.iter().sum(), &new_script, &tell).await?;
    deposit(&world, &mut wallet, &old, IN_GRACE, Address::repeat_byte(0x53)).await?;
    tell(format!("{IN_GRACE} satoshis came to the old address in time and are credited"));
    absorbed += sweep(&world, IN_GRACE, &new_script, &tell).await?;
    deposit(&world, &mut wallet, &new, AFTER, Address::repeat_byte(0x54)).await?;
    tell(format!("{AFTER} satoshis came to the new address and are credited"));

    // A burn, paid from coins of the new custody and of no other.
    let sender = EvmAccount::new(&dev_accounts()?[1].secret_key.secret_bytes())?;
    let burn = world.send(1, &sender, withdrawal(&wallet.address().to_string(), Sats(BURN))).await?;
    let payment = world.sent(2, &burn).await?;
    world.waits_for_a_block(payment).await?;
    world.confirm(6).await?;
    let mut fee = 0;
    for member in 0..STAY {
        fee = world.paid(member, &burn, payment, BURN).await?;
    }
    for spent in spent(&world, &found(&world, payment).await?).await? {
        same("the owner of a spent coin", &spent.script_pubkey, &new_script)?;
    }
    tell(format!(
        "{BURN} satoshis were burned and paid by {THRESHOLD} of the {STAY} new keys, {fee} of them to miners"
    ));

    let deposits = BEFORE.iter().sum::<u64>() + IN_GRACE + AFTER;
    for member in 0..STAY {
        let after = world.supply(member).await?;
        let grown = |field: &str| -> Result<U256> { Ok(number(&after[field])? - number(&before[field])?) };
        same("minted in wei", grown("mintedWei")?, wei(deposits))?;
        same("burned in wei", grown("burnedWei")?, wei(BURN))?;
        same("absorbed in satoshis", &after["absorbedSats"], &json!(absorbed))?;
        same("locked in satoshis", &after["lockedSats"], &json!(deposits - BURN - absorbed))?;
        same("unpaid and imbalance", (&after["unpaidSats"], &after["imbalanceSats"]), (&json!(0), &json!("0")))?;
        let custody = world.call(member, "alys_custody", json!([])).await?;
        same("left with the old custody", &custody["custodies"][0]["sats"], &json!(0))?;
        same("held by the new custody", &custody["custodies"][1]["sats"], &after["lockedSats"])?;
        same("open sweeps by the metrics", world.metric(member, "alys_peg_sweeps_open").await?, 0.0)?;
        same("unswept satoshis by the metrics", world.metric(member, "alys_peg_unswept_sats").await?, 0.0)?;
        // Both sweeps settled while these nodes looked on.
        same("sweeps by the metrics", world.metric(member, "alys_peg_sweeps_total").await?, 2.0)?;
        let swept = f64::from(u32::try_from(BEFORE.iter().sum::<u64>() + IN_GRACE)?);
        same("satoshis swept by the metrics", world.metric(member, "alys_peg_swept_sats_total").await?, swept)?;
    }
    same("the old address", &script(&old)?, &old_script)?;
    tell(format!(
        "{} satoshis are locked, all at the new address; {absorbed} went to miners for the sweeps",
        deposits - BURN - absorbed
    ));
    Ok(())
}

/// The members that stay take over from those who held the coins; gives their address.
pub async fn hand_over(world: &mut World, tell: &impl Fn(String)) -> Result<String> {
    let announced = change(world, tell).await?;
    for member in 0..STAY {
        let asked = ("alys_federation", json!([]));
        let now = world.until("the new epoch", member, asked, |told| told["epoch"] == 1).await?;
        same("members", now["members"].as_array().map(Vec::len), Some(STAY))?;
        let asked = ("alys_custody", json!([]));
        world.until("the new custody", member, asked, |told| told["custodies"][1]["isCurrent"] == true).await?;
    }
    let (new, descriptor) = deposit_address(world).await?;
    same("the address that members signed for", &announced, &new)?;
    tell(format!("epoch 1 began; deposits go to {new}\n  {descriptor}"));
    Ok(new)
}

/// The members that stay name four new keys and leave out the lost one; gives the address that they sign for.
async fn change(world: &mut World, tell: &impl Fn(String)) -> Result<String> {
    let members = world.call(0, "alys_federation", json!([])).await?;
    let lost = members["members"][STAY]["publicKey"].as_str().ok_or("no key")?.to_owned();
    let proposal = world.file("change");
    let threshold = THRESHOLD.to_string();
    let mut propose = words(&["federation", "propose", "--rpc", world.url(0), "--out", &proposal, "--remove", &lost]);
    propose.extend(words(&["--custody-threshold", &threshold]));
    for index in 0..STAY {
        let mut offer = words(&["federation", "offer", "--custody-generation", "1", "--epoch", "0"]);
        offer.extend(world.chain_files());
        offer.extend(words(&["--fee-address", "0x0505050505050505050505050505050505050505"]));
        offer.extend(world.key_files(index));
        let path = world.file(&format!("offer-{index}"));
        std::fs::write(&path, world.command(&offer)?)?;
        propose.extend(words(&["--custodian", &path]));
    }
    world.command(&propose)?;
    let record = world.file("record");
    let submit = words(&["federation", "submit", &proposal, "--rpc", world.url(1), "--record", &record]);
    for index in 0..STAY {
        let refused = world.command(&submit).err().map(|error| error.to_string()).unwrap_or_default();
        let expected = if index == 0 { "nobody has signed" } else { "no-quorum" };
        same("a refusal for want of signatures", refused.contains(expected), true)?;
        let mut sign = words(&["federation", "sign", &proposal]);
        sign.extend(world.chain_files());
        sign.extend(world.key_files(index));
        world.command(&sign)?;
    }
    world.command(&submit)?;
    let shown = world.command(&words(&["federation", "show", &proposal, "--json", "--rpc", world.url(2)]))?;
    let shown: Value = serde_json::from_str(&shown)?;
    same("who leaves", &shown["removed"], &json!([lost]))?;
    for index in 0..STAY {
        world.restart_signer_with(index, format!("--change={record}"))?;
    }
    tell(format!(
        "{STAY} members signed for {THRESHOLD} of {STAY} new keys and without member {STAY}; it was submitted"
    ));
    Ok(shown["custodyAddress"].as_str().ok_or("no address")?.to_owned())
}

/// Where a member says that deposits go, and the descriptor.
pub async fn deposit_address(world: &World) -> Result<(String, String)> {
    let asked = ("alys_depositAddress", json!([]));
    let told = world.until("an address", 0, asked, |answer| answer["address"].is_string()).await?;
    let text = |field: &str| Ok::<_, &str>(told[field].as_str().ok_or("no text")?.to_owned());
    Ok((text("address")?, text("descriptor")?))
}

pub async fn deposit(world: &World, wallet: &mut BitcoinWallet, to: &str, sats: u64, account: Address) -> Result<()> {
    let txid = world.bitcoin.broadcast(wallet.deposit(to, sats, account)?).await?;
    world.waits_for_a_block(txid).await?;
    world.confirm(6).await?;
    world.credited(0..STAY, account, sats).await
}

/// Waits until the old custody's coins are being swept; gives the newest attempt.
pub async fn begun_sweep(world: &World) -> Result<Txid> {
    let asked = ("alys_custody", json!([]));
    let begun = world.until("a sweep", 0, asked, |told| told["custodies"][0]["sweep"]["txid"].is_string()).await?;
    Ok(begun["custodies"][0]["sweep"]["txid"].as_str().ok_or("no txid")?.parse()?)
}

/// Waits until every member that stays has settled the sweep, and the old custody holds nothing.
pub async fn swept(world: &World) -> Result<()> {
    for member in 0..STAY {
        let asked = ("alys_custody", json!([]));
        let swept = |told: &Value| told["custodies"][0]["sats"] == 0 && told["custodies"][0]["sweep"].is_null();
        world.until("the end of the sweep", member, asked, swept).await?;
    }
    Ok(())
}

/// Waits for the sweep of the old custody's coins, which are these, lets Bitcoin take it, and checks it there; gives its fee.
async fn sweep(world: &World, sats: u64, to: &ScriptBuf, tell: &impl Fn(String)) -> Result<u64> {
    let txid = begun_sweep(world).await?;
    world.waits_for_a_block(txid).await?;
    world.confirm(6).await?;
    swept(world).await?;
    let transaction = found(world, txid).await?;
    let [output] = &transaction.output[..] else { return Err("a sweep has one output".into()) };
    same("where a sweep goes", &output.script_pubkey, to)?;
    let brought: u64 = spent(world, &transaction).await?.iter().map(|coin| coin.value.to_sat()).sum();
    same("satoshis swept", brought, sats)?;
    let fee = brought - output.value.to_sat();
    tell(format!("{sats} satoshis were swept to the new address by {txid}, {fee} of them to miners"));
    Ok(fee)
}

pub async fn found(world: &World, txid: Txid) -> Result<Transaction> {
    Ok(world.bitcoin.find_transaction(txid).await?.ok_or("a transaction is in no block")?.transaction)
}

/// The coins that a transaction spends.
async fn spent(world: &World, transaction: &Transaction) -> Result<Vec<bitcoin::TxOut>> {
    let mut coins = Vec::new();
    for input in &transaction.input {
        let source = found(world, input.previous_output.txid).await?;
        let vout = usize::try_from(input.previous_output.vout)?;
        coins.push(source.output.get(vout).cloned().ok_or("no such coin")?);
    }
    Ok(coins)
}

pub fn script(address: &str) -> Result<ScriptBuf> {
    Ok(address.parse::<bitcoin::Address<_>>()?.require_network(Network::Regtest)?.script_pubkey())
}
