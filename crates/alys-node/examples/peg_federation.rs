//! The peg under traffic: a federation of processes over one Bitcoin, deposits and burns in random order, a member killed
//! at each step of a deposit and of a payment. Ends by itself; fails if an amount is off by a satoshi or a wei.
//!
//! `cargo xtask demo peg --members 5 --deposits 100 --burns 100` runs it. With `--rotate` it is another story: the custody
//! changes hands while a member is lost. With `--fee-spike` miners want more than payments offer.

#![allow(clippy::print_stdout, reason = "it tells a story")]

#[path = "../tests/common/peg_fee_spike.rs"]
mod peg_fee_spike;
#[path = "../tests/common/peg_rotation.rs"]
mod peg_rotation;
#[path = "../tests/common/peg_world.rs"]
mod peg_world;

use alys_bitcoin::BitcoinPort as _;
use alys_node::bridge::withdrawal;
use alys_node::dev_accounts::dev_accounts;
use alys_node::evm_account::EvmAccount;
use alys_primitives::{Address, Sats, U256};
use bitcoin::Txid;
use clap::Parser;
use peg_world::{Backend, BitcoinWallet, Result, World, number, same, wei};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The longest that everything may take after the last deposit and burn were sent.
const PATIENCE: Duration = Duration::from_secs(1200);

/// How often a Bitcoin block comes.
const BITCOIN_PERIOD: Duration = Duration::from_secs(3);

#[derive(Parser)]
struct Arguments {
    /// Members of the federation; a majority of them must sign.
    #[arg(long, default_value_t = 5)]
    members: usize,
    /// Deposits.
    #[arg(long, default_value_t = 20)]
    deposits: usize,
    /// Burns.
    #[arg(long, default_value_t = 20)]
    burns: usize,
    /// Seed of amounts and order.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Plays how four of five members name new custody keys, sweep the old coins, and go on; the numbers count for nothing.
    #[arg(long)]
    rotate: bool,
    /// Plays how fees rise while payments wait, and the members replace them; the numbers count for nothing.
    #[arg(long, conflicts_with = "rotate")]
    fee_spike: bool,
    /// Uses the embedded regtest even where there is a Bitcoin Core.
    #[arg(long)]
    embedded: bool,
    /// The `alys-node` to start.
    #[arg(long)]
    binary: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let began = Instant::now();
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(story(&arguments)));
    match outcome {
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

async fn story(arguments: &Arguments) -> Result<()> {
    let folder = std::env::temp_dir().join(format!("alys-peg-federation-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let outcome = match (arguments.rotate, arguments.fee_spike) {
        (true, _) => rotate(arguments, &folder).await,
        (false, true) => fee_spike(arguments, &folder).await,
        (false, false) => play(arguments, &folder).await,
    };
    std::fs::remove_dir_all(&folder)?;
    outcome
}

/// A deposit on its way.
struct Deposit {
    recipient: Address,
    sats: u64,
}

/// A burn on its way.
struct Burn {
    transaction: String,
    sats: u64,
}

/// Bitcoin Core where there is one and the embedded regtest is not asked for.
fn backend(arguments: &Arguments) -> Backend {
    match Backend::core().filter(|_| !arguments.embedded) {
        Some(core) => core,
        None => {
            if !arguments.embedded {
                println!("skipped: Bitcoin Core (BITCOIND names none); the embedded regtest takes its place");
            }
            Backend::Regtest
        }
    }
}

/// The custody changes hands.
async fn rotate(arguments: &Arguments, folder: &Path) -> Result<()> {
    let backend = backend(arguments);
    println!("five members as processes over one Bitcoin: {backend:?}");
    peg_rotation::play(&arguments.binary, folder, &backend, teller()).await
}

/// Fees rise while payments wait.
async fn fee_spike(arguments: &Arguments, folder: &Path) -> Result<()> {
    let backend = backend(arguments);
    println!("four members as processes over one Bitcoin: {backend:?}");
    peg_fee_spike::play(&arguments.binary, folder, &backend, teller()).await
}

/// Prints steps with numbers and times.
fn teller() -> impl Fn(String) {
    let (began, steps) = (Instant::now(), std::cell::Cell::new(0));
    move |step| {
        steps.set(steps.get() + 1);
        println!("{:2}  {:4} s  {step}", steps.get(), began.elapsed().as_secs());
    }
}

async fn play(arguments: &Arguments, folder: &Path) -> Result<()> {
    let backend = backend(arguments);
    println!("1  {} members as processes over one Bitcoin: {backend:?}", arguments.members);
    let mut world = World::start(&arguments.binary, folder, arguments.members, &backend).await?;
    let mut dice = StdRng::seed_from_u64(arguments.seed);
    let mut wallet = BitcoinWallet::new(0x21)?;
    wallet.earn(&world, u64::try_from(arguments.deposits)? + 3).await?;
    let accounts: Vec<EvmAccount> = dev_accounts()?
        .iter()
        .map(|account| EvmAccount::new(&account.secret_key.secret_bytes()))
        .collect::<std::result::Result<_, _>>()?;
    let before = world.supply(0).await?;
    let asked = ("alys_depositAddress", json!([]));
    let target = world.until("an address", 0, asked, |answer| answer["address"].is_string()).await?;
    let address = target["address"].as_str().ok_or("no address")?.to_owned();
    println!("   {}", target["descriptor"].as_str().unwrap_or_default());

    println!("2  one deposit and one burn, a member killed at each step of them");
    let (first_deposit, first_burn) = with_kills(&mut world, &mut wallet, &address, &accounts, &mut dice).await?;

    println!("3  Bitcoin changes its mind");
    let lost = with_reorganisations(&world, &mut wallet, &address).await?;

    println!("4  {} deposits and {} burns in random order", arguments.deposits, arguments.burns);
    let mut order: Vec<bool> =
        std::iter::repeat_n(true, arguments.deposits).chain(std::iter::repeat_n(false, arguments.burns)).collect();
    order.shuffle(&mut dice);
    let (mut deposits, mut burns) = (vec![first_deposit], vec![first_burn]);
    deposits.extend(lost);
    let payee = wallet.address().to_string();
    let mut mined = Instant::now();
    for is_deposit in order {
        if is_deposit {
            let mut bytes = [0; 20];
            dice.fill(&mut bytes);
            let (recipient, sats) = (Address::from(bytes), dice.random_range(30_000..400_000));
            world.bitcoin.broadcast(wallet.deposit(&address, sats, recipient)?).await?;
            deposits.push(Deposit { recipient, sats });
        } else {
            let sats = dice.random_range(20_000..150_000);
            // Each account speaks to one member, which knows how many of its transactions wait.
            let number = dice.random_range(0..accounts.len());
            let client = world.client(number % world.size())?;
            let hash = accounts[number].send(&client, withdrawal(&payee, Sats(sats))).await?;
            burns.push(Burn { transaction: hash.to_string(), sats });
        }
        if mined.elapsed() > BITCOIN_PERIOD {
            world.confirm(1).await?;
            mined = Instant::now();
        }
    }
    let sent: u64 = deposits.iter().map(|deposit| deposit.sats).sum();
    let burned: u64 = burns.iter().map(|burn| burn.sats).sum();
    println!("   {sent} satoshis in, {burned} out");

    println!("5  Bitcoin goes on, and everything is credited and paid");
    settle(&world, &deposits, &burns).await?;

    println!("6  every amount, at every member and in Bitcoin");
    for member in 0..world.size() {
        for deposit in &deposits {
            let found = world.balance(member, deposit.recipient).await?;
            same("a credit in wei", found, wei(deposit.sats))?;
        }
    }
    println!("   ok  {} credits at {} members", deposits.len(), world.size());
    let fees = check_payments(&world, &burns).await?;
    println!("   ok  {} payments, {fees} satoshis of them went to miners", burns.len());
    for member in 0..world.size() {
        let after = world.supply(member).await?;
        let change = |field: &str| -> Result<U256> { Ok(number(&after[field])? - number(&before[field])?) };
        same("minted in wei", change("mintedWei")?, wei(sent))?;
        same("burned in wei", change("burnedWei")?, wei(burned))?;
        same("unpaid in satoshis", after["unpaidSats"].as_u64(), Some(0))?;
        same("imbalance", after["imbalanceSats"].as_str(), Some("0"))?;
        let absorbed = after["absorbedSats"].as_u64().unwrap_or(0);
        same("locked in satoshis", after["lockedSats"].as_u64(), Some(sent - burned - absorbed))?;
    }
    println!("   ok  {} satoshis stay locked", sent - burned);
    Ok(())
}

/// One deposit and one burn; at each step a member is killed and started again.
async fn with_kills(
    world: &mut World,
    wallet: &mut BitcoinWallet,
    address: &str,
    accounts: &[EvmAccount],
    dice: &mut StdRng,
) -> Result<(Deposit, Burn)> {
    let recipient = Address::repeat_byte(0x77);
    let sats = 5_000_001;
    let deposit = wallet.deposit(address, sats, recipient)?;
    let txid = world.bitcoin.broadcast(deposit).await?;
    world.waits_for_a_block(txid).await?;
    kill_one(world, dice, "deposit sent")?;
    world.confirm(1).await?;
    let status = |txid: Txid| ("alys_pegInStatus", json!([txid.to_string()]));
    world.until("first sight", 0, status(txid), |answer| answer["status"] == "seen").await?;
    kill_one(world, dice, "deposit seen")?;
    world.confirm(5).await?;
    for step in ["confirmed", "credited", "safe", "finalized"] {
        let steps = ["confirmed", "credited", "safe", "finalized"];
        let reached = move |answer: &Value| {
            let rank = |name: &str| steps.iter().position(|known| *known == name);
            rank(answer["status"].as_str().unwrap_or_default()) >= rank(step)
        };
        world.until(step, 0, status(txid), reached).await?;
        kill_one(world, dice, &format!("deposit {step}"))?;
    }
    let amount = 2_000_003;
    let account = accounts.first().ok_or("no accounts")?;
    let burn = world.send(0, account, withdrawal(&wallet.address().to_string(), Sats(amount))).await?;
    for step in ["queued", "finalized", "batched", "signing", "broadcast", "confirmed", "paid"] {
        let steps = ["queued", "finalized", "batched", "signing", "broadcast", "confirmed", "paid"];
        let reached = move |answer: &Value| {
            let rank = |name: &str| steps.iter().position(|known| *known == name);
            rank(answer[0]["status"].as_str().unwrap_or_default()) >= rank(step)
        };
        let answer = world.until(step, 0, ("alys_pegOutStatus", json!([burn])), reached).await?;
        kill_one(world, dice, &format!("payment {step}"))?;
        match step {
            "broadcast" => {
                let payment = answer[0]["txid"].as_str().ok_or("no txid")?.parse()?;
                world.waits_for_a_block(payment).await?;
                world.confirm(1).await?;
            }
            "confirmed" => world.confirm(5).await?,
            _ => {}
        }
    }
    for member in 0..world.size() {
        world.status("everybody's return", member, |status| status["sync"]["state"] == "synced").await?;
    }
    Ok((Deposit { recipient, sats }, Burn { transaction: burn, sats: amount }))
}

/// A deposit that leaves Bitcoin before it is deep enough, and one that leaves it after it was credited. Both come back.
async fn with_reorganisations(world: &World, wallet: &mut BitcoinWallet, address: &str) -> Result<Vec<Deposit>> {
    let mut deposits = Vec::new();
    for (blocks, depth, byte) in [(2, 3, 0x78), (6, 8, 0x79)] {
        let (recipient, sats) = (Address::repeat_byte(byte), 1_000_000 + u64::from(byte));
        let deposit = wallet.deposit(address, sats, recipient)?;
        let txid = world.bitcoin.broadcast(deposit.clone()).await?;
        world.waits_for_a_block(txid).await?;
        world.confirm(blocks).await?;
        let is_credited = blocks >= 6;
        let status = ("alys_pegInStatus", json!([txid.to_string()]));
        let wanted = move |answer: &Value| match answer["status"].as_str() {
            Some("seen") => !is_credited,
            Some("credited" | "safe" | "finalized") => is_credited,
            Some(_) | None => false,
        };
        world.until("first sight", 0, status.clone(), wanted).await?;
        let before = world.balance(0, recipient).await?;
        same("credited in wei", before, if is_credited { wei(sats) } else { U256::ZERO })?;

        world.reorganise(depth).await?;
        let expected = if is_credited { format!("-{sats}") } else { "0".to_owned() };
        let books = ("alys_supply", json!([]));
        world.until("the books' answer", 1, books.clone(), |supply| supply["imbalanceSats"] == json!(expected)).await?;
        same("credited meanwhile", world.balance(1, recipient).await?, before)?;
        // A node that reorganises keeps what falls out; whoever deposits sends again all the same.
        drop(world.bitcoin.broadcast(deposit).await);
        world.waits_for_a_block(txid).await?;
        world.confirm(6).await?;
        for member in 0..world.size() {
            let asked = ("eth_getBalance", json!([recipient, "latest"]));
            let credited = format!("{:#x}", wei(sats));
            world.until("the credit", member, asked, |balance| *balance == json!(credited)).await?;
            world.until("balanced books", member, books.clone(), |supply| supply["imbalanceSats"] == "0").await?;
        }
        println!("   {depth} blocks replaced under a deposit with {blocks} confirmations: credited once");
        deposits.push(Deposit { recipient, sats });
    }
    Ok(deposits)
}

/// Kills one of the members that are not asked and its signer, and starts both again at once.
fn kill_one(world: &mut World, dice: &mut StdRng, step: &str) -> Result<()> {
    if world.size() < 4 {
        return Ok(());
    }
    let victim = dice.random_range(1..world.size());
    world.kill_member(victim);
    world.kill_signer(victim);
    world.start_signer(victim)?;
    world.start_member(victim)?;
    println!("   {step}: member {victim} and its signer were killed and started again");
    Ok(())
}

/// Lets Bitcoin blocks come until every deposit is credited and every burn is paid.
async fn settle(world: &World, deposits: &[Deposit], burns: &[Burn]) -> Result<()> {
    let began = Instant::now();
    let mut told = (usize::MAX, usize::MAX);
    loop {
        world.confirm(1).await?;
        tokio::time::sleep(BITCOIN_PERIOD).await;
        let mut open = (0, 0);
        for deposit in deposits {
            open.0 += usize::from(world.balance(0, deposit.recipient).await? < wei(deposit.sats));
        }
        for burn in burns {
            let is_paid = match world.call(0, "alys_pegOutStatus", json!([burn.transaction])).await {
                Ok(status) => status[0]["status"] == "paid",
                // Not in a block yet.
                Err(_) => false,
            };
            open.1 += usize::from(!is_paid);
        }
        if open != told {
            println!("   {:4} s: {} deposits and {} burns are open", began.elapsed().as_secs(), open.0, open.1);
            told = open;
        }
        if open == (0, 0) {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            return Err(format!("{open:?} deposits and burns are still open\n{}", world.logs()).into());
        }
    }
}

/// Compares what the node says of each burn with the transaction in Bitcoin; gives what went to miners.
async fn check_payments(world: &World, burns: &[Burn]) -> Result<u64> {
    let mut fees = 0;
    for burn in burns {
        let status = world.call(0, "alys_pegOutStatus", json!([burn.transaction])).await?;
        let txid: Txid = status[0]["txid"].as_str().ok_or("no txid")?.parse()?;
        let vout = usize::try_from(status[0]["vout"].as_u64().ok_or("no output")?)?;
        let found = world.bitcoin.find_transaction(txid).await?.ok_or("a payment is in no block")?;
        let output = found.transaction.output.get(vout).ok_or("a payment lacks an output")?;
        let paid = status[0]["paidSats"].as_u64().ok_or("no amount")?;
        same("a payment's output in satoshis", output.value.to_sat(), paid)?;
        let fee = status[0]["feeSats"].as_u64().ok_or("no fee")?;
        same("payment and fee in satoshis", paid + fee, burn.sats)?;
        fees += fee;
    }
    Ok(fees)
}
