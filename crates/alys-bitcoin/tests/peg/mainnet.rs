//! Real Bitcoin headers, brought by blocks.

use crate::harness::{custody_keys, spec};
use alys_chain::Input;
use alys_chain::peg::PegOffer;
use alys_chain::testing::{Cluster, Fixture};
use alys_primitives::{B256, BitcoinHeaderBytes, VariableList};
use bitcoin::Network;
use bitcoin::block::Header;
use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::Hash as _;
use serde_json::Value;

fn header(value: &Value) -> Header {
    deserialize(&hex::decode(value["hex"].as_str().unwrap().trim_start_matches("0x")).unwrap()).unwrap()
}

fn headers(value: &Value) -> Vec<Header> {
    value.as_array().unwrap().iter().map(header).collect()
}

fn bytes(header: &Header) -> BitcoinHeaderBytes {
    BitcoinHeaderBytes::try_from(serialize(header).as_slice()).unwrap()
}

/// A chain whose view begins at a real header in the middle of a period.
fn chain(start: &Header, period: &Header, height: u64, now: u32) -> Cluster {
    let mut peg = spec(&custody_keys(3), 2);
    peg.network_magic = Network::Bitcoin.magic().to_bytes().into();
    peg.checkpoint.header = bytes(start);
    peg.checkpoint.height = height;
    peg.checkpoint.period_time = u64::from(period.time);
    peg.checkpoint.period_bits = u64::from(period.bits.to_consensus());
    let mut fixture = Fixture::new(1);
    fixture.spec.peg = VariableList::new(vec![peg]).unwrap();
    fixture.spec.genesis_time = u64::from(now);
    Cluster::new(fixture)
}

fn offer(cluster: &mut Cluster, headers: &[Header]) {
    let offer = PegOffer { headers: headers.iter().map(bytes).collect(), ..PegOffer::default() };
    let now = cluster.now;
    cluster.nodes[0].handle(now, Input::Peg(Box::new(offer))).unwrap();
    cluster.run_slots(1);
}

fn tip(cluster: &Cluster) -> (u64, B256) {
    let view = cluster.nodes[0].chain.view();
    (view.peg.headers().tip_height(), view.peg.headers().tip_hash())
}

fn hash(header: &Header) -> B256 {
    B256::from(header.block_hash().to_byte_array())
}

#[test]
fn blocks_bring_real_headers_over_a_retarget() {
    let Some(path) = alys_vectors::find("bitcoin/pow/tbtc_headersReorgAndRetarget.json") else { return };
    let vectors: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let (start, period) = (header(&vectors["genesis"]), header(&vectors["oldPeriodStart"]));
    let (before, after) = (headers(&vectors["preRetargetChain"]), headers(&vectors["postRetargetChain"]));
    assert_ne!(before[0].bits, after[0].bits, "the difficulty changes");
    let mut cluster = chain(&start, &period, 437_466, after.last().unwrap().time);
    let all: Vec<Header> = before.iter().chain(&after).copied().collect();

    // With the old difficulty the retarget's first header is refused, and nothing of the list is taken.
    let mut wrong = all.clone();
    wrong[before.len()].bits = before[0].bits;
    offer(&mut cluster, &wrong);
    assert_eq!(tip(&cluster), (437_466, hash(&start)));

    offer(&mut cluster, &before);
    assert_eq!(tip(&cluster), (437_471, hash(before.last().unwrap())));
    // Those that are known are left out by the author.
    let orphan = header(&vectors["orphan_437478"]);
    let shared = after.iter().position(|header| header.block_hash() == orphan.prev_blockhash).unwrap();
    let mut with_orphan: Vec<Header> = all[..before.len() + shared + 1].to_vec();
    with_orphan.push(orphan);
    offer(&mut cluster, &with_orphan);
    assert_eq!(tip(&cluster), (437_478, hash(&orphan)));
    // The branch that won on Bitcoin replaces it.
    offer(&mut cluster, &after[shared + 1..]);
    let height = 437_471 + u64::try_from(after.len()).unwrap();
    assert_eq!(tip(&cluster), (height, hash(after.last().unwrap())));
    let view = cluster.nodes[0].chain.view();
    assert_eq!(view.peg.headers().height_of(&hash(&orphan)), None);
    assert_eq!(view.peg.headers().confirmations(437_471), height - 437_470);
}

#[test]
fn the_view_keeps_so_many_headers_and_finds_its_way_by_a_locator() {
    let Some(path) = alys_vectors::find("bitcoin/pow/tbtc_longHeaders.json") else { return };
    let vectors: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let all = headers(&vectors["chain"]);
    let first = vectors["chain"][0]["height"].as_u64().unwrap();
    let mut cluster = chain(&all[0], &header(&vectors["epochStart"]), first, all.last().unwrap().time);
    for chunk in all[1..].chunks(100) {
        offer(&mut cluster, chunk);
    }
    let top = first + u64::try_from(all.len()).unwrap() - 1;
    assert_eq!(tip(&cluster), (top, hash(all.last().unwrap())));
    let view = cluster.nodes[0].chain.view();
    let locator = view.peg.headers().locator();
    assert_eq!(locator[..10], all.iter().rev().take(10).map(hash).collect::<Vec<_>>());
    assert_eq!(*locator.last().unwrap(), view.peg.headers().hash_at(view.peg.headers().root_height()).unwrap());
    assert!(locator.len() < 32);
}
