//! What a member does by its wall clock, which may be set back, or jump ahead and come back. Its signer has the last word on what
//! is signed; the core must neither spin nor be locked out.

#![allow(clippy::unwrap_used, reason = "tests may stop")]

use alys_chain::testing::{Fixture, Node};
use alys_chain::{Input, Message, Unavailable};
use alys_primitives::{SignedBlock, UnixMillis};
use std::sync::Arc;

/// One member alone, so that every slot is its own.
fn member() -> (Fixture, Node) {
    let fixture = Fixture::new(1);
    let node = Node::new(&fixture, Some(0));
    (fixture, node)
}

/// Ticks as the core asks for, up to a time by its clock; gives the clock's last value.
fn run(node: &mut Node, from: UnixMillis, until: UnixMillis) -> UnixMillis {
    let mut now = from;
    for _ in 0..10_000 {
        node.handle(now, Input::Tick).unwrap();
        let (next, reason) = node.chain.poll_timeout().unwrap();
        assert!(next > now, "asks to be woken at {next:?} ({reason:?}), and it is {now:?}");
        if next > until {
            return now;
        }
        now = next;
    }
    panic!("no end of ticks");
}

fn proposed(node: &mut Node) -> Vec<Arc<SignedBlock>> {
    let blocks = node.outgoing.drain(..).filter_map(|message| match message {
        Message::Block(block) => Some(block),
        Message::Approval(_)
        | Message::Notarization(_)
        | Message::AuxPow(_)
        | Message::Evidence(_)
        | Message::FederationChange(_)
        | Message::Pause(_) => None,
    });
    blocks.collect()
}

#[test]
fn a_clock_that_is_set_back_while_the_engine_is_away_makes_no_busy_loop() {
    let (fixture, mut node) = member();
    run(&mut node, fixture.slot_start(0), fixture.slot_start(9));
    node.auto_build = false;
    node.handle(UnixMillis(fixture.slot_start(10).0 - 200), Input::Tick).unwrap();
    let (id, ..) = node.builds.pop_front().unwrap();
    let back = UnixMillis(fixture.slot_start(7).0 + 250);
    let result = Err(Unavailable { reason: "away".to_owned() });
    node.handle(back, Input::Built { id, result }).unwrap();
    node.auto_build = true;
    let end = run(&mut node, back, fixture.slot_start(9));
    proposed(&mut node);
    run(&mut node, end, fixture.slot_start(14));
    let slots: Vec<u64> = proposed(&mut node).iter().map(|block| block.header.slot.0).collect();
    assert_eq!(slots, [10, 11, 12, 13, 14]);
}

#[test]
fn a_payload_for_a_later_slot_is_signed_for_in_no_earlier_one() {
    let (fixture, mut node) = member();
    let start = fixture.slot_start(6);
    run(&mut node, fixture.slot_start(0), fixture.slot_start(5));
    // Its payload is ready, the slot has not begun.
    node.handle(UnixMillis(start.0 - 200), Input::Tick).unwrap();
    let signed = |node: &Node| node.signer.as_ref().unwrap().signed.clone();
    let before = signed(&node);
    node.handle(UnixMillis(fixture.slot_start(4).0 + 100), Input::Tick).unwrap();
    assert_eq!(signed(&node), before, "nothing is signed for a slot that has not begun");
    node.handle(start, Input::Tick).unwrap();
    assert!(signed(&node).len() > before.len(), "the slot has begun");
}

#[test]
fn a_proposal_is_made_up_to_the_deadline_and_not_later() {
    for (late, made) in [(0, 1), (1, 0)] {
        let (fixture, mut node) = member();
        run(&mut node, fixture.slot_start(0), fixture.slot_start(5));
        proposed(&mut node);
        let deadline = fixture.config(Some(0)).production_deadline;
        node.handle(UnixMillis(fixture.slot_start(6).0 + deadline + late), Input::Tick).unwrap();
        assert_eq!(proposed(&mut node).len(), made, "{late} ms late");
    }
}

#[test]
fn a_clock_that_jumped_ahead_and_came_back_locks_no_member_out() {
    let (fixture, mut node) = member();
    let now = run(&mut node, fixture.slot_start(0), fixture.slot_start(5));
    // An hour ahead; nothing is signed meanwhile.
    let signer = node.signer.as_mut().unwrap();
    signer.suspended = true;
    let hour = 3_600_000;
    run(&mut node, UnixMillis(now.0 + hour), UnixMillis(fixture.slot_start(7).0 + hour));
    node.signer.as_mut().unwrap().suspended = false;
    proposed(&mut node);
    run(&mut node, fixture.slot_start(8), fixture.slot_start(12));
    let slots: Vec<u64> = proposed(&mut node).iter().map(|block| block.header.slot.0).collect();
    assert_eq!(slots, [8, 9, 10, 11, 12]);
}
