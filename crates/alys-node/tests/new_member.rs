//! A node becomes a member of a running federation, with the commands that operators use, and is needed from then on.

#![allow(clippy::unwrap_used, reason = "a test fails where it can't go on")]

#[path = "common/peg_world.rs"]
mod peg_world;

use peg_world::{Backend, Result, World, same, words};
use serde_json::json;
use std::path::Path;

const MEMBERS: usize = 3;

async fn story(folder: &Path) -> Result<()> {
    let binary = Path::new(env!("CARGO_BIN_EXE_alys-node"));
    let mut world = World::start(binary, folder, MEMBERS, &Backend::Regtest).await?;
    let newcomer = world.join()?;
    let follows = world.status("a follower", newcomer, |status| status["head"]["height"].as_u64() > Some(2)).await?;
    same("its place", &follows["memberIndex"], &json!(null))?;

    let mut offer = words(&["federation", "offer", "--fee-address", "0x0505050505050505050505050505050505050505"]);
    offer.extend(words(&["--epoch", "0"]));
    offer.extend(world.chain_files());
    offer.extend(world.key_files(newcomer));
    let offered = world.file("offer");
    std::fs::write(&offered, world.command(&offer)?)?;
    let proposal = world.file("change");
    world.command(&words(&["federation", "propose", "--rpc", world.url(0), "--add", &offered, "--out", &proposal]))?;
    for index in 0..2 {
        let mut sign = words(&["federation", "sign", &proposal]);
        sign.extend(world.chain_files());
        sign.extend(world.key_files(index));
        world.command(&sign)?;
    }
    // A node that is no member passes it on as well.
    world.command(&words(&["federation", "submit", &proposal, "--rpc", world.url(newcomer)]))?;
    world.status("its place", newcomer, |status| status["memberIndex"] == 3).await?;

    // Three of four are a quorum: without one of the old members nothing goes on but with the new one.
    world.kill_member(0);
    let halted = world.status("a head", 1, |_| true).await?;
    let height = halted["head"]["height"].as_u64().ok_or("no height")?;
    world.status("blocks", 1, |status| status["head"]["height"].as_u64() > Some(height + 8)).await?;
    let mut authors = Vec::new();
    for height in height + 1..=height + 8 {
        let block = world.call(1, "alys_blockByHeight", json!([height])).await?;
        authors.push(block["authorIndex"].as_u64().ok_or("no author")?);
    }
    same("a block of the new member", authors.contains(&3), true)
}

#[test]
fn a_new_member_is_needed_from_its_epoch_on() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(story(folder.path())).unwrap();
}
