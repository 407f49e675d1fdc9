//! The story of a fee spike: miners leave out what pays too little, the members raise the fee by the rules until a payment is
//! taken, and miners who take an older attempt, or change their mind about which one, pay exactly what that one says. A test
//! and `cargo xtask demo peg --fee-spike` play it.

#![allow(dead_code, unreachable_pub, reason = "tests and an example each use their part")]

use crate::peg_world::{Backend, BitcoinWallet, Result, World, number, same, wei};
use alys_bitcoin::{BitcoinPort as _, TemplateTransaction};
use alys_node::bridge::withdrawal;
use alys_node::dev_accounts::dev_accounts;
use alys_node::evm_account::EvmAccount;
use alys_primitives::{Address, Sats, U256};
use bitcoin::{ScriptBuf, Transaction, Txid};
use serde_json::json;
use std::path::Path;

const MEMBERS: usize = 4;

/// Bitcoin blocks until another attempt at a payment is due (the preset's `bump_interval`).
const BUMP_INTERVAL: u32 = 12;

/// Satoshis per 1000 virtual bytes of the first attempts: the preset's, then half as much again each time.
const RATES: [u64; 3] = [2_000, 3_000, 4_500];

/// All odd.
const DEPOSIT: u64 = 123_456_789;
const BURNS: [u64; 3] = [50_000_001, 20_000_003, 7_000_009];

/// Plays it; each step is told. Fails if an amount is off by a satoshi or a wei.
pub async fn play(binary: &Path, folder: &Path, backend: &Backend, tell: impl Fn(String)) -> Result<()> {
    let world = World::start(binary, folder, MEMBERS, backend).await?;
    let mut wallet = BitcoinWallet::new(0x21)?;
    wallet.earn(&world, 2).await?;
    let before = world.supply(0).await?;
    let asked = ("alys_depositAddress", json!([]));
    let told = world.until("an address", 0, asked, |answer| answer["address"].is_string()).await?;
    let address = told["address"].as_str().ok_or("no address")?.to_owned();
    let federation = address.parse::<bitcoin::Address<_>>()?.assume_checked().script_pubkey();
    let account = Address::repeat_byte(0x66);
    let txid = world.bitcoin.broadcast(wallet.deposit(&address, DEPOSIT, account)?).await?;
    world.waits_for_a_block(txid).await?;
    world.confirm(6).await?;
    world.credited(0..MEMBERS, account, DEPOSIT).await?;
    tell(format!("{MEMBERS} members hold {DEPOSIT} satoshis at {address}"));

    let story = Story { world, federation };
    story.replacement_confirms(&tell).await?;
    story.older_attempt_confirms(&tell).await?;

    let world = &story.world;
    let burned: u64 = BURNS.iter().sum();
    for member in 0..MEMBERS {
        let after = world.supply(member).await?;
        let grown = |field: &str| -> Result<U256> { Ok(number(&after[field])? - number(&before[field])?) };
        same("minted in wei", grown("mintedWei")?, wei(DEPOSIT))?;
        same("burned in wei", grown("burnedWei")?, wei(burned))?;
        same("absorbed in satoshis", &after["absorbedSats"], &json!(0))?;
        same("locked in satoshis", &after["lockedSats"], &json!(DEPOSIT - burned))?;
        same("unpaid and imbalance", (&after["unpaidSats"], &after["imbalanceSats"]), (&json!(0), &json!("0")))?;
    }
    let held: u64 = world.unspent(&story.federation).await?.values().sum();
    same("satoshis that Bitcoin holds for the federation", held, DEPOSIT - burned)?;
    tell(format!("{held} satoshis stay locked, in the books of {MEMBERS} members and in Bitcoin"));
    Ok(())
}

struct Story {
    world: World,
    federation: ScriptBuf,
}

/// A burn on its way, and the attempts at its payment.
struct Payment {
    burn: String,
    sats: u64,
    payee: ScriptBuf,
    attempts: Vec<TemplateTransaction>,
}

impl Payment {
    /// The transactions whose outputs the first attempt spends.
    fn parents(&self) -> Vec<Txid> {
        let inputs = self.attempts.first().map_or(&[][..], |first| &first.transaction.input);
        inputs.iter().map(|input| input.previous_output.txid).collect()
    }
}

impl Story {
    /// Burns this much, and waits until the first attempt waits for a block.
    async fn burn(&self, sats: u64, seed: u8) -> Result<Payment> {
        let payee = BitcoinWallet::new(seed)?;
        let sender = EvmAccount::new(&dev_accounts()?[1].secret_key.secret_bytes())?;
        let burn = self.world.send(1, &sender, withdrawal(&payee.address().to_string(), Sats(sats))).await?;
        let txid = self.world.sent(2, &burn).await?;
        let first = self.world.waits_for_a_block(txid).await?;
        let payment = Payment { burn, sats, payee: payee.script(), attempts: vec![first] };
        self.check(&payment)?;
        Ok(payment)
    }

    /// Miners leave the payment out until the members raise its fee.
    async fn spike(&self, payment: &mut Payment) -> Result<()> {
        let before = payment.attempts.last().ok_or("no attempt")?.txid;
        self.world.mine_only(&[], BUMP_INTERVAL).await?;
        let asked = ("alys_pegOutStatus", json!([payment.burn]));
        let told = self
            .world
            .until("another attempt", 0, asked, |told| {
                let txid = told[0]["txid"].as_str();
                told[0]["status"] == "broadcast" && txid.is_some() && txid != Some(before.to_string().as_str())
            })
            .await?;
        let txid: Txid = told[0]["txid"].as_str().ok_or("no txid")?.parse()?;
        payment.attempts.push(self.world.waits_for_a_block(txid).await?);
        let waiting = self.world.bitcoin.block_template().await?.transactions;
        let replaced = waiting.iter().all(|entry| entry.txid != before);
        same("whether the attempt before it was replaced", replaced, true)?;
        self.check(payment)
    }

    /// Every attempt spends the same coins and pays the same request, at the rate that is due, from the request alone.
    fn check(&self, payment: &Payment) -> Result<()> {
        let first = payment.attempts.first().ok_or("no attempt")?;
        let inputs = |transaction: &Transaction| -> Vec<_> {
            transaction.input.iter().map(|input| input.previous_output).collect()
        };
        let change = first.transaction.output.get(1).ok_or("no change")?;
        for (attempt, rate) in payment.attempts.iter().zip(RATES) {
            let transaction = &attempt.transaction;
            let size = u64::try_from(transaction.vsize())?;
            let fee = (size * rate).div_ceil(1_000);
            same("the fee of an attempt", attempt.fee.to_sat(), fee)?;
            same("the coins of an attempt", inputs(transaction), inputs(&first.transaction))?;
            let [paid, back] = &transaction.output[..] else { return Err("a payment has two outputs here".into()) };
            same("what the payee gets", paid.value.to_sat(), payment.sats - fee)?;
            same("who is paid", &paid.script_pubkey, &payment.payee)?;
            same("what comes back", back, change)?;
            same("where it comes back to", &back.script_pubkey, &self.federation)?;
        }
        Ok(())
    }

    /// Every member says, and Bitcoin shows, that this attempt paid.
    async fn paid(&self, payment: &Payment, attempt: usize) -> Result<u64> {
        let paid = payment.attempts.get(attempt).ok_or("no such attempt")?;
        let mut fee = 0;
        for member in 0..MEMBERS {
            fee = self.world.paid(member, &payment.burn, paid.txid, payment.sats).await?;
        }
        same("the fee that was taken", fee, paid.fee.to_sat())?;
        let got: Vec<u64> = self.world.unspent(&payment.payee).await?.into_values().collect();
        same("what the payee has", got, vec![payment.sats - fee])?;
        for (number, other) in payment.attempts.iter().enumerate().filter(|(number, _)| *number != attempt) {
            let found = self.world.bitcoin.find_transaction(other.txid).await?;
            same(&format!("whether attempt {number} is in a block"), found.is_some(), false)?;
        }
        Ok(fee)
    }

    /// Two replacements, the last of which is taken.
    async fn replacement_confirms(&self, tell: &impl Fn(String)) -> Result<()> {
        let mut payment = self.burn(BURNS[0], 0x71).await?;
        tell(format!("{} satoshis were burned; miners want more than the payment offers", BURNS[0]));
        for _ in 0..2 {
            self.spike(&mut payment).await?;
            let attempt = payment.attempts.last().ok_or("no attempt")?;
            tell(format!(
                "{BUMP_INTERVAL} blocks without it: {} replaces it, {} satoshis for miners",
                attempt.txid,
                attempt.fee.to_sat()
            ));
        }
        self.world.confirm(6).await?;
        let fee = self.paid(&payment, 2).await?;
        tell(format!("the third attempt confirmed: {} satoshis paid, {fee} to miners", BURNS[0] - fee));
        Ok(())
    }

    /// A miner takes the older of two attempts; then Bitcoin changes its mind, and it is the newer one after all. A further
    /// payment, signed and sent, was to spend what came back by the older one: it is signed anew.
    async fn older_attempt_confirms(&self, tell: &impl Fn(String)) -> Result<()> {
        let mut payment = self.burn(BURNS[1], 0x72).await?;
        self.spike(&mut payment).await?;
        let [first, second] = &payment.attempts[..] else { return Err("two attempts are needed".into()) };
        self.world.mine_only(std::slice::from_ref(first), 6).await?;
        let fee = self.paid(&payment, 0).await?;
        tell(format!("of two attempts at {} satoshis a miner took the older one: {fee} to miners", BURNS[1]));
        let next = self.burn(BURNS[2], 0x73).await?;
        same("whose change the next payment spends", next.parents(), vec![first.txid])?;
        self.world.reorganise_with(6, std::slice::from_ref(second)).await?;
        for member in 0..MEMBERS {
            let asked = ("alys_pegOutStatus", json!([payment.burn]));
            let txid = second.txid.to_string();
            let wanted = |told: &serde_json::Value| told[0]["txid"] == json!(txid);
            self.world.until("the other attempt", member, asked, wanted).await?;
            let books = ("alys_supply", json!([]));
            self.world.until("balanced books", member, books, |told| told["imbalanceSats"] == "0").await?;
        }
        let fee = self.paid(&payment, 1).await?;
        tell(format!("7 other blocks have the newer one instead: paid once, {fee} to miners"));
        self.signed_anew(next, second.txid, tell).await
    }

    /// A payment that can't be any more is made again from the change that there is now.
    async fn signed_anew(&self, before: Payment, parent: Txid, tell: &impl Fn(String)) -> Result<()> {
        let gone = before.attempts.first().ok_or("no attempt")?.txid;
        let asked = ("alys_pegOutStatus", json!([before.burn]));
        let told = self
            .world
            .until("a payment that can be", 0, asked, |told| {
                let txid = told[0]["txid"].as_str();
                told[0]["status"] == "broadcast" && txid.is_some() && txid != Some(gone.to_string().as_str())
            })
            .await?;
        let txid: Txid = told[0]["txid"].as_str().ok_or("no txid")?.parse()?;
        let payment = Payment { attempts: vec![self.world.waits_for_a_block(txid).await?], ..before };
        self.check(&payment)?;
        same("whose change it spends", payment.parents(), vec![parent])?;
        self.world.confirm(6).await?;
        let fee = self.paid(&payment, 0).await?;
        same("whether the other one is in a block", self.world.bitcoin.find_transaction(gone).await?.is_some(), false)?;
        tell(format!(
            "{} satoshis more were to come from the older one's change; signed anew, {fee} to miners",
            BURNS[2]
        ));
        Ok(())
    }
}
