//! Five members as processes that share one Bitcoin, three of whom must sign: bitcoin in, used, burned, paid, to the
//! satoshi, while members come and go.

#![allow(clippy::unwrap_used, reason = "a test fails where it can't go on")]

#[path = "common/peg_world.rs"]
mod peg_world;

use alys_bitcoin::BitcoinPort as _;
use alys_node::bridge::withdrawal;
use alys_node::dev_accounts::dev_accounts;
use alys_node::evm_account::{Call, EvmAccount};
use alys_primitives::{Sats, U256};
use peg_world::{Backend, BitcoinWallet, Result, World, number, wei};
use serde_json::{Value, json};
use std::path::Path;

const MEMBERS: usize = 5;
const DEPOSIT: u64 = 123_456_789;
const BURN: u64 = 50_000_001;

/// The story. On Bitcoin Core without the halt and the pause, which are the members' own affair.
async fn story(folder: &Path, backend: &Backend) -> Result<()> {
    let binary = Path::new(env!("CARGO_BIN_EXE_alys-node"));
    let mut world = World::start(binary, folder, MEMBERS, backend).await?;
    let mut wallet = BitcoinWallet::new(0x21)?;
    wallet.earn(&world, 4).await?;
    let newcomer = EvmAccount::new(&[0x42; 32])?;
    let funded = dev_accounts()?;
    let sender = EvmAccount::new(&funded[1].secret_key.secret_bytes())?;
    let before = world.supply(0).await?;

    // In, once every member's view has come to the newest blocks.
    let asked = ("alys_depositAddress", json!([newcomer.address()]));
    let target = world.until("an address", 0, asked, |answer| answer["address"].is_string()).await?;
    let deposit = wallet.deposit(target["address"].as_str().ok_or("no address")?, DEPOSIT, newcomer.address())?;
    let txid = world.bitcoin.broadcast(deposit).await?;
    world.waits_for_a_block(txid).await?;
    world.confirm(5).await?;
    world
        .until("five confirmations", 1, ("alys_pegInStatus", json!([txid.to_string()])), |status| {
            status["confirmations"] == json!(5)
        })
        .await?;
    assert_eq!(world.balance(1, newcomer.address()).await?, U256::ZERO, "one confirmation is missing");
    world.confirm(1).await?;
    for member in 0..MEMBERS {
        let asked = ("eth_getBalance", json!([newcomer.address(), "latest"]));
        let expected = format!("{:#x}", wei(DEPOSIT));
        world.until("the credit", member, asked, |balance| *balance == json!(expected)).await?;
    }

    // Used, and burned. From here on one member and two signers are away: four of five go on, three sign.
    let call = Call { to: sender.address(), value: wei(BURN), input: Default::default() };
    world.send(0, &newcomer, call).await?;
    world.kill_member(4);
    world.kill_signer(4);
    world.kill_signer(3);
    let payee = wallet.address().to_string();
    let burn = world.send(1, &sender, withdrawal(&payee, Sats(BURN))).await?;

    if matches!(backend, Backend::Regtest) {
        // Without a second member the chain halts, and goes on when that one is back.
        let head = |status: &Value| status["head"]["height"].as_u64();
        world.kill_member(3);
        let halted = world.status("a head", 0, |_| true).await?;
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        let still = world.status("a head", 0, |_| true).await?;
        assert!(head(&still) <= head(&halted).map(|height| height + 1), "{still}");
        world.start_member(3)?;

        // Four of five hold deposits, and let them go on; three can't. Nothing of it concerns payments. It is told to a
        // node that is no member and never makes a block.
        let observer = world.join()?;
        let head = world.status("a head", 0, |_| true).await?["head"]["height"].as_u64();
        world.status("the newest blocks", observer, |status| status["head"]["height"].as_u64() >= head).await?;
        let too_few = world.decide(&[0, 1, 2], observer, 1, &["--hold-deposits"]).unwrap_err().to_string();
        assert!(too_few.contains("quorum"), "{too_few}");
        world.decide(&[0, 1, 2, 4], observer, 1, &["--hold-deposits"])?;
        for member in 0..4 {
            world.status("the pause", member, |status| status["peg"]["peginPaused"] == true).await?;
        }
        let status = world.status("the pause", 1, |_| true).await?;
        assert_eq!((&status["peg"]["sequence"], &status["peg"]["pegoutPaused"]), (&json!(1), &json!(false)));
        world.decide(&[0, 1, 2, 4], 1, 2, &[])?;
    }

    let payment = world.sent(2, &burn).await?;
    world.waits_for_a_block(payment).await?;
    world.confirm(6).await?;
    world.start_member(4)?;
    for member in 0..MEMBERS {
        world.paid(member, &burn, payment, BURN).await?;
        balanced(&world, member, &before).await?;
        world.status("no pause", member, |status| status["peg"]["peginPaused"] == false).await?;
    }
    Ok(())
}

/// A member's books after the deposit and the burn.
async fn balanced(world: &World, member: usize, before: &Value) -> Result<()> {
    let after = world.supply(member).await?;
    let change = |field: &str| -> Result<U256> { Ok(number(&after[field])? - number(&before[field])?) };
    assert_eq!(change("mintedWei")?, wei(DEPOSIT));
    assert_eq!(change("burnedWei")?, wei(BURN));
    assert_eq!(after["lockedSats"], json!(DEPOSIT - BURN));
    assert_eq!((&after["unpaidSats"], &after["imbalanceSats"]), (&json!(0), &json!("0")));
    Ok(())
}

fn play(backend: &Backend) {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(story(folder.path(), backend)).unwrap();
}

#[test]
fn three_of_five_members_sign_while_others_are_away() {
    play(&Backend::Regtest);
}

#[test]
fn three_of_five_members_sign_on_bitcoin_core() {
    match Backend::core() {
        Some(core) => play(&core),
        None => alys_vectors::skip("needs a Bitcoin Core binary: BITCOIND names none and bitcoind is not on the PATH"),
    }
}
