//! The custody changes hands while Bitcoin changes its mind: sweeps, deposits to the old address and a payment leave the best
//! branch by reorganisations of one to ten blocks and come back, and fees rise while a sweep waits. Every amount is exact at
//! every member and in Bitcoin; nothing is minted or paid twice.

#![allow(clippy::unwrap_used, reason = "a test fails where it can't go on")]

#[path = "common/peg_rotation.rs"]
mod peg_rotation;
#[path = "common/peg_world.rs"]
mod peg_world;

use alys_bitcoin::{BitcoinPort as _, TemplateTransaction};
use alys_node::bridge::withdrawal;
use alys_node::dev_accounts::dev_accounts;
use alys_node::evm_account::EvmAccount;
use alys_primitives::{Address, Sats, U256};
use bitcoin::{ScriptBuf, Transaction, Txid};
use peg_rotation::{MEMBERS, STAY, begun_sweep, deposit, deposit_address, found, hand_over, script, swept};
use peg_world::{Backend, BitcoinWallet, Result, World, number, same, wei};
use serde_json::{Value, json};
use std::path::Path;

/// What is there before the change, and what is burned and paid by the new keys.
const FIRST: u64 = 123_456_789;
const BURN: u64 = 50_000_001;

/// How deep Bitcoin is reorganised under each sweep: before it has settled, so that it leaves just with its first block, and
/// after that.
const DEPTHS: [(u32, u32); 5] = [(1, 6), (2, 7), (3, 8), (4, 9), (5, 10)];

/// The sweep of this round goes with a payment; after this one Bitcoin also forgets what waits for a block.
const WITH_PAYMENT: usize = 1;
const FORGETS: usize = 2;

/// Bitcoin blocks until another attempt at a payment is due.
const BUMP_INTERVAL: u32 = 12;

struct Story {
    world: World,
    wallet: BitcoinWallet,
    old: String,
    new: ScriptBuf,
    /// The books of a chain without a deposit.
    before: Value,
    /// What was deposited, for whom.
    deposits: Vec<(Address, u64)>,
    /// What the settled sweeps gave to miners.
    absorbed: u64,
}

impl Story {
    /// The next odd amount and who it is for.
    fn next(&mut self) -> (Address, u64) {
        let count = u8::try_from(self.deposits.len()).unwrap();
        let next = (Address::repeat_byte(0x60 + count), 3_000_001 + 1_000_002 * u64::from(count));
        self.deposits.push(next);
        next
    }

    /// A deposit to the old address, credited at every member.
    async fn late_deposit(&mut self) -> Result<u64> {
        let (account, sats) = self.next();
        deposit(&self.world, &mut self.wallet, &self.old.clone(), sats, account).await?;
        Ok(sats)
    }

    /// Waits until every member's books show this much missing (negative) or balance.
    async fn imbalance(&self, what: &str, sats: i128) -> Result<()> {
        for member in 0..STAY {
            let asked = ("alys_supply", json!([]));
            let is_so = |told: &Value| told["imbalanceSats"] == json!(sats.to_string());
            self.world.until(what, member, asked, is_so).await?;
        }
        Ok(())
    }

    /// What a transaction brings to the new custody.
    fn brings(&self, transaction: &Transaction) -> i128 {
        let ours = transaction.output.iter().filter(|output| output.script_pubkey == self.new);
        ours.map(|output| i128::from(output.value.to_sat())).sum()
    }

    /// The sweep of one late deposit of `sats` leaves the best branch twice.
    async fn sweep(&mut self, round: usize, sats: u64, others: &[Txid]) -> Result<()> {
        let (unsettled, settled) = DEPTHS[round];
        let world = &mut self.world;
        let sweep = begun_sweep(world).await?;
        let all = [&[sweep], others].concat();
        for txid in &all {
            world.waits_for_a_block(*txid).await?;
        }
        world.confirm(unsettled).await?;
        world.reorganise(unsettled).await?;
        same("where the sweep is", world.bitcoin.find_transaction(sweep).await?.is_none(), true)?;
        for txid in &all {
            world.waits_for_a_block(*txid).await?;
        }
        same("the sweep after the reorganisation", begun_sweep(world).await?, sweep)?;
        world.confirm(6).await?;
        swept(world).await?;
        let transaction = found(world, sweep).await?;
        let fee = sats - transaction.output[0].value.to_sat();
        same("outputs of the sweep", transaction.output.len(), 1)?;
        self.absorbed += fee;
        self.imbalance("books that balance", 0).await?;

        // Settled, and gone again: the books miss what it brought, until it is back.
        let mut missing = 0;
        for txid in &all {
            missing += self.brings(&found(&self.world, *txid).await?);
        }
        self.world.reorganise(settled).await?;
        self.imbalance("books that miss the sweep", -missing).await?;
        if round == FORGETS {
            self.world.restart_bitcoin().await?;
        }
        for txid in &all {
            self.world.waits_for_a_block(*txid).await?;
        }
        self.world.confirm(6).await?;
        self.imbalance("books that balance again", 0).await?;
        swept(&self.world).await?;
        println!("{sats} satoshis swept by {sweep}, dropped by {unsettled} and by {settled} blocks; {fee} to miners");
        Ok(())
    }

    /// A deposit to the old address leaves the best branch before it is credited, and after.
    async fn deposit_comes_and_goes(&mut self) -> Result<()> {
        let (account, sats) = self.next();
        let transaction = self.wallet.deposit(&self.old, sats, account)?;
        let txid = self.world.bitcoin.broadcast(transaction).await?;
        self.world.waits_for_a_block(txid).await?;
        self.world.confirm(5).await?;
        let asked = ("alys_pegInStatus", json!([txid.to_string()]));
        for member in 0..STAY {
            let five = |status: &Value| status["confirmations"] == json!(5);
            self.world.until("five confirmations", member, asked.clone(), five).await?;
        }
        self.world.reorganise(5).await?;
        self.world.waits_for_a_block(txid).await?;
        self.world.confirm(6).await?;
        self.world.credited(0..STAY, account, sats).await?;
        // The sweep of it waits for its first block when the deposit leaves.
        let sweep = begun_sweep(&self.world).await?;
        self.world.waits_for_a_block(sweep).await?;
        self.world.reorganise(8).await?;
        self.imbalance("books that miss the deposit", -i128::from(sats)).await?;
        for member in 0..STAY {
            let lost = |status: &Value| status["status"] == "lost";
            self.world.until("that it is lost", member, asked.clone(), lost).await?;
        }
        self.world.waits_for_a_block(txid).await?;
        self.world.waits_for_a_block(sweep).await?;
        self.world.confirm(6).await?;
        swept(&self.world).await?;
        self.imbalance("books that balance again", 0).await?;
        let transaction = found(&self.world, sweep).await?;
        self.absorbed += sats - transaction.output[0].value.to_sat();
        println!("{sats} satoshis came to the old address, left by 5 and by 8 blocks, and were minted once");
        Ok(())
    }

    /// The newest attempt at the sweep, once it is another than `before`, as it waits for a block.
    async fn attempt(&self, before: Option<Txid>) -> Result<TemplateTransaction> {
        let asked = ("alys_custody", json!([]));
        let told = self
            .world
            .until("another attempt", 0, asked, |told| {
                let txid = told["custodies"][0]["sweep"]["txid"].as_str();
                txid.is_some() && txid != before.map(|txid| txid.to_string()).as_deref()
            })
            .await?;
        let txid = told["custodies"][0]["sweep"]["txid"].as_str().ok_or("no txid")?.parse()?;
        self.world.waits_for_a_block(txid).await
    }

    /// Nobody mines the sweep for what it pays: it is attempted again at higher fees. Miners take the second attempt, a
    /// reorganisation drops it, and the third one is what counts.
    async fn fees_rise(&mut self) -> Result<()> {
        let sats = self.late_deposit().await?;
        let first = self.attempt(None).await?;
        self.world.mine_only(&[], BUMP_INTERVAL).await?;
        let second = self.attempt(Some(first.txid)).await?;
        self.world.mine_only(&[], BUMP_INTERVAL).await?;
        let third = self.attempt(Some(second.txid)).await?;
        // Half as much again each time, for a transaction of the same size.
        let size = u64::try_from(third.transaction.vsize())?;
        for (attempt, rate) in [(&first, 2_000), (&second, 3_000), (&third, 4_500)] {
            same("the size of an attempt", u64::try_from(attempt.transaction.vsize())?, size)?;
            same("the fee of an attempt", attempt.fee.to_sat(), (size * rate).div_ceil(1_000))?;
            same("where it goes", &attempt.transaction.output[0].script_pubkey, &self.new)?;
        }
        self.world.mine_only(std::slice::from_ref(&second), 3).await?;
        self.world.reorganise(3).await?;
        self.world.mine_only(std::slice::from_ref(&third), 6).await?;
        swept(&self.world).await?;
        self.imbalance("books that balance", 0).await?;
        self.absorbed += third.fee.to_sat();
        for attempt in [first, second] {
            same("an older attempt", self.world.bitcoin.find_transaction(attempt.txid).await?.is_none(), true)?;
        }
        println!("{sats} satoshis swept by the third attempt, {} to miners", third.fee.to_sat());
        Ok(())
    }
}

/// The custody has changed hands, and what was there before is swept.
async fn begin(folder: &Path) -> Result<Story> {
    let binary = Path::new(env!("CARGO_BIN_EXE_alys-node"));
    let mut world = World::start(binary, folder, MEMBERS, &Backend::Regtest).await?;
    let mut wallet = BitcoinWallet::new(0x21)?;
    wallet.earn(&world, 10).await?;
    let before = world.supply(0).await?;
    let (old, _) = deposit_address(&world).await?;
    world.kill_member(STAY);
    world.kill_signer(STAY);
    let first = Address::repeat_byte(0x5f);
    deposit(&world, &mut wallet, &old, FIRST, first).await?;
    let new = script(&hand_over(&mut world, &|step| println!("{step}")).await?)?;
    let sweep = begun_sweep(&world).await?;
    world.waits_for_a_block(sweep).await?;
    world.confirm(6).await?;
    swept(&world).await?;
    let absorbed = FIRST - found(&world, sweep).await?.output[0].value.to_sat();
    Ok(Story { world, wallet, old, new, before, deposits: vec![(first, FIRST)], absorbed })
}

/// What every member and Bitcoin itself say in the end, when this many satoshis were burned and are paid.
async fn adds_up(story: Story, burned: u64) -> Result<()> {
    let Story { world, old, new, before, deposits, absorbed, .. } = story;
    let total: u64 = deposits.iter().map(|(_, sats)| sats).sum();
    for member in 0..STAY {
        for (account, sats) in &deposits {
            same("minted for a depositor, in wei", world.balance(member, *account).await?, wei(*sats))?;
        }
        let after = world.supply(member).await?;
        let grown = |field: &str| -> Result<U256> { Ok(number(&after[field])? - number(&before[field])?) };
        same("minted in wei", grown("mintedWei")?, wei(total))?;
        same("burned in wei", grown("burnedWei")?, wei(burned))?;
        same("absorbed in satoshis", &after["absorbedSats"], &json!(absorbed))?;
        same("locked in satoshis", &after["lockedSats"], &json!(total - burned - absorbed))?;
        same("unpaid and imbalance", (&after["unpaidSats"], &after["imbalanceSats"]), (&json!(0), &json!("0")))?;
    }
    same("coins at the old address", world.unspent(&script(&old)?).await?.len(), 0)?;
    let held: u64 = world.unspent(&new).await?.values().sum();
    same("satoshis at the new address", held, total - burned - absorbed)?;
    println!("{held} satoshis are locked, all at the new address; {absorbed} went to miners for the sweeps");
    Ok(())
}

async fn sweeps(folder: &Path) -> Result<()> {
    let mut story = begin(folder).await?;
    let sender = EvmAccount::new(&dev_accounts()?[1].secret_key.secret_bytes())?;
    let payee = BitcoinWallet::new(0x77)?;
    let mut payment = None;
    for round in 0..DEPTHS.len() {
        let sats = story.late_deposit().await?;
        let mut others = Vec::new();
        if round == WITH_PAYMENT {
            let call = withdrawal(&payee.address().to_string(), Sats(BURN));
            let burn = story.world.send(1, &sender, call).await?;
            let txid = story.world.sent(2, &burn).await?;
            payment = Some((burn, txid));
            others.push(txid);
        }
        story.sweep(round, sats, &others).await?;
    }
    let (burn, payment) = payment.ok_or("nothing was paid")?;
    let mut fee = 0;
    for member in 0..STAY {
        fee = story.world.paid(member, &burn, payment, BURN).await?;
    }
    let paid = story.world.unspent(&payee.script()).await?;
    same("what the payee has", paid.values().copied().collect::<Vec<_>>(), vec![BURN - fee])?;
    adds_up(story, BURN).await
}

async fn deposits_and_fees(folder: &Path) -> Result<()> {
    let mut story = begin(folder).await?;
    story.deposit_comes_and_goes().await?;
    story.fees_rise().await?;
    adds_up(story, 0).await
}

fn play<'a, S: Future<Output = Result<()>>>(folder: &'a tempfile::TempDir, story: impl FnOnce(&'a Path) -> S) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(story(folder.path())).unwrap();
}

#[test]
fn sweeps_and_a_payment_survive_reorganisations_before_and_after_they_settle() {
    play(&tempfile::tempdir().unwrap(), sweeps);
}

#[test]
fn a_late_deposit_comes_and_goes_and_a_sweep_is_mined_at_a_risen_fee() {
    play(&tempfile::tempdir().unwrap(), deposits_and_fees);
}
