//! Head choice and reorganisations (protocol section 4), duplicated and reordered messages, bounded waiting.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::explicit_counter_loop,
    reason = "tests may stop"
)]

use alys_chain::{
    BlockError, ChainConfig, ChainEvent, ConfigError, ImportOutcome, Input, Message, PeerTag, PendingReason,
    testing::{Cluster, Fixture, Node, mine},
};
use alys_primitives::{Address, BlockHeader, Height, SignedBlock};
use std::sync::Arc;

/// All blocks of a node's head chain above a height.
fn chain_above(cluster: &Cluster, height: u64) -> Vec<Arc<SignedBlock>> {
    let store = &cluster.nodes[0].store;
    (height + 1..=store.top().0)
        .map(|height| store.block(&store.canonical(Height(height)).unwrap()).unwrap().0)
        .collect()
}

/// Two futures of one chain of four: `left` goes on at once, `right` misses a slot first. Members sign in both, as only
/// more than f malicious ones could.
fn two_futures(common: u64, left: u64, right: u64) -> (Cluster, Cluster) {
    let mut one = Cluster::new(Fixture::new(4));
    one.run_slots(common);
    let mut other = one.clone();
    one.run_slots(left);
    let slot = common + left + 1;
    other.now = other.fixture.slot_start(slot).saturating_sub(600);
    for slot in slot..slot + right {
        other.run_slot(slot);
    }
    (one, other)
}

#[test]
fn a_longer_notarized_chain_takes_over_and_subscribers_hear_what_changed() {
    let (one, other) = two_futures(5, 2, 3);
    let mut node = one.nodes[0].clone();
    let before = node.chain.view().head;
    assert_eq!(before.height, Height(7));
    let blocks = chain_above(&other, 5);
    assert_eq!(blocks.len(), 3);
    let now = other.now;
    for block in &blocks {
        node.receive(now, Message::Block(block.clone()));
    }
    // Two blocks of the other chain have certificates by their children: as long as ours, so the order decides.
    let certificate = other.nodes[0].store.block(&blocks[2].root()).unwrap().1.unwrap();
    node.receive(now, Message::Notarization(certificate));
    let head = node.chain.view().head;
    assert_eq!(head.root, blocks[2].root());
    assert_eq!(head.height, Height(8));
    let reorgs: Vec<_> = node
        .log
        .events
        .iter()
        .filter_map(|event| match event {
            ChainEvent::Reorg { common_ancestor, dropped, added, alert } => {
                Some((common_ancestor.height, dropped.len(), added.len(), *alert))
            }
            _ => None,
        })
        .collect();
    assert_eq!(reorgs.len(), 1);
    assert_eq!(reorgs[0].0, Height(5));
    assert_eq!(reorgs[0].1, 2);
    assert!(!reorgs[0].3);
    // Storage and execution moved together.
    for block in &blocks {
        assert_eq!(node.store.canonical(block.header.height), Some(block.root()));
    }
    assert_eq!(node.log.forkchoices.last().unwrap().head, head.execution_hash);
    let mut again = node.clone();
    again.restart(&one.fixture, one.fixture.config(Some(0))).unwrap();
    assert_eq!(again.chain.state_root(), node.chain.state_root());
}

#[test]
fn a_shorter_canonical_chain_leaves_no_heights_behind() {
    let mut node = {
        let (one, other) = two_futures(5, 1, 2);
        let mut node = one.nodes[0].clone();
        for block in chain_above(&other, 5) {
            node.receive(other.now, Message::Block(block.clone()));
        }
        let top = other.nodes[0].chain.view().head.root;
        let certificate = other.nodes[0].store.block(&top).unwrap().1.unwrap();
        node.receive(other.now, Message::Notarization(certificate));
        assert_eq!(node.chain.view().head.root, top);
        node
    };
    assert_eq!(node.store.top(), Height(7));
    assert!(node.sync().is_none());
}

#[test]
fn ties_go_to_the_lower_root_whatever_came_first() {
    let (one, other) = two_futures(5, 1, 1);
    let (left, right) = (chain_above(&one, 5)[0].clone(), chain_above(&other, 5)[0].clone());
    let certificate =
        |cluster: &Cluster, block: &SignedBlock| cluster.nodes[0].store.block(&block.root()).unwrap().1.unwrap();
    let lower = left.root().min(right.root());
    let now = other.now;
    let mut first = one.nodes[0].clone();
    first.receive(now, Message::Block(right.clone()));
    first.receive(now, Message::Notarization(certificate(&other, &right)));
    let mut second = other.nodes[0].clone();
    second.receive(now, Message::Block(left.clone()));
    second.receive(now, Message::Notarization(certificate(&one, &left)));
    assert_eq!(first.chain.view().head.root, lower);
    assert_eq!(second.chain.view().head.root, lower);
    assert_eq!(first.chain.state_root(), second.chain.state_root(), "the order of facts leaves no trace");
}

#[test]
fn more_work_wins_among_chains_of_one_length() {
    let mut one = Cluster::new(Fixture::new(4));
    one.run_slots(5);
    let mut other = one.clone();
    one.run_slots(1);
    other.mine(0);
    other.now = other.fixture.slot_start(6).saturating_add(1_400);
    other.run_slot(7);
    let worked = chain_above(&other, 5)[0].clone();
    assert!(!worked.body.auxpow.is_empty());
    let mut node = one.nodes[0].clone();
    node.receive(other.now, Message::Block(worked.clone()));
    node.receive(other.now, Message::Notarization(other.nodes[0].store.block(&worked.root()).unwrap().1.unwrap()));
    assert_eq!(node.chain.view().head.root, worked.root());
}

#[test]
fn the_chain_never_leaves_the_finalized_block() {
    let mut one = Cluster::new(Fixture::new(1));
    one.run_slots(4);
    let mut other = one.clone();
    one.mine(0);
    one.run_slots(5);
    let finalized = one.nodes[0].chain.view().finalized;
    assert_eq!(finalized.height, Height(3));
    // A longer chain from below it: blocks 1 and 2 are common, the rest is another future.
    let mut below = Cluster::new(Fixture::new(1));
    below.run_slots(2);
    for slot in 4..20 {
        below.now = below.fixture.slot_start(slot).saturating_sub(600);
        below.run_slot(slot);
    }
    let now = below.now;
    let node = &mut one.nodes[0];
    for block in chain_above(&below, 2) {
        node.receive(now, Message::Block(block));
    }
    let view = node.chain.view();
    assert_eq!(view.finalized, finalized);
    assert!(view.head.height < Height(18));
    let first = chain_above(&below, 2)[0].root();
    assert_eq!(node.outcome(&first), Some(&ImportOutcome::Rejected(BlockError::NotOnFinalized)));
    other.run_slots(1);
}

#[test]
fn side_blocks_leave_the_tree_and_the_store_when_finality_passes_them() {
    let (mut one, other) = two_futures(5, 3, 1);
    let side = chain_above(&other, 5)[0].clone();
    let now = one.now;
    one.nodes[0].receive(now.saturating_add(10_000), Message::Block(side.clone()));
    assert!(one.nodes[0].store.block(&side.root()).is_some());
    one.mine(1);
    one.run_slots(8);
    assert!(one.nodes[0].chain.view().finalized.height > Height(5));
    assert!(one.nodes[0].store.block(&side.root()).is_none());
    let mut again = one.nodes[0].clone();
    again.restart(&one.fixture, one.fixture.config(Some(0))).unwrap();
    assert_eq!(again.chain.state_root(), one.nodes[0].chain.state_root());
}

#[test]
fn a_deep_reorganisation_raises_an_alert() {
    let (one, other) = two_futures(2, 4, 5);
    // Three blocks of the first chain had certificates.
    for (max_reorg_depth, alerts) in [(Some(4), 0), (Some(3), 0), (Some(2), 1), (None, 0)] {
        let config = ChainConfig { max_reorg_depth, ..one.fixture.config(None) };
        let mut node = Node::with_config(&one.fixture, None, config);
        for block in chain_above(&one, 0).into_iter().chain(chain_above(&other, 2)) {
            node.receive(other.now, Message::Block(block));
        }
        let top = other.nodes[0].chain.view().head.root;
        node.receive(other.now, Message::Notarization(other.nodes[0].store.block(&top).unwrap().1.unwrap()));
        assert_eq!(node.chain.view().head.root, top);
        let reorgs: Vec<bool> = reorgs(&node).iter().map(|(_, _, alert)| *alert).collect();
        assert_eq!(reorgs, [alerts > 0], "{max_reorg_depth:?}");
        // Consecutive slots of both chains are notarized: more than f members signed twice, which is told.
        assert!(violations(&node) > 0);
    }
}

/// Depth, new blocks and alert of each reorganisation.
fn reorgs(node: &Node) -> Vec<(usize, usize, bool)> {
    let reorgs = node.log.events.iter().filter_map(|event| match event {
        ChainEvent::Reorg { dropped, added, alert, .. } => Some((dropped.len(), added.len(), *alert)),
        _ => None,
    });
    reorgs.collect()
}

fn violations(node: &Node) -> usize {
    node.log.events.iter().filter(|event| matches!(event, ChainEvent::SafetyViolation { .. })).count()
}

#[test]
fn what_was_not_safe_is_left_without_an_alarm() {
    // Two blocks in consecutive slots make none of the first chain's own safe.
    let (one, other) = two_futures(5, 1, 2);
    let mut node = one.nodes[0].clone();
    for block in chain_above(&other, 5) {
        node.receive(other.now, Message::Block(block));
    }
    let top = other.nodes[0].chain.view().head.root;
    node.receive(other.now, Message::Notarization(other.nodes[0].store.block(&top).unwrap().1.unwrap()));
    assert_eq!(node.chain.view().head.root, top);
    assert_eq!((reorgs(&node), violations(&node)), (vec![(1, 2, false)], 0));
}

#[test]
fn finality_of_another_branch_takes_the_head_with_it_and_is_told_as_a_violation() {
    // As only more than f malicious members can bring about: the shorter branch is the one with work.
    let mut one = Cluster::new(Fixture::new(4));
    one.run_slots(5);
    let mut other = one.clone();
    one.run_slots(12);
    other.now = other.fixture.slot_start(18).saturating_sub(600);
    for round in 0..2u64 {
        other.mine(0);
        (0..4).for_each(|slot| other.run_slot(18 + round * 4 + slot));
    }
    let (long, short) = (one.nodes[0].chain.view(), other.nodes[0].chain.view());
    assert!(short.finalized.height > Height(5), "on its own branch");
    assert!(short.head.height < long.head.height);

    let mut node = one.nodes[0].clone();
    let now = other.now;
    // Of the long chain, on a parent that the node never hears of.
    let stray = {
        let head = node.store.block(&long.head.root).unwrap().0;
        let parent = BlockHeader {
            slot: head.parent_notarization[0].slot,
            height: short.finalized.height.saturating_sub(1),
            ..BlockHeader::default()
        };
        Arc::new(one.fixture.forge(&head, |block| {
            block.parent_notarization[0] = one.fixture.certify(&parent, &[0, 1, 2]);
            block.header.parent_root = parent.root();
            block.header.height = short.finalized.height;
            block.payload.block_number = short.finalized.height.0;
        }))
    };
    node.receive(now, Message::Block(stray.clone()));
    assert!(matches!(node.outcome(&stray.root()), Some(ImportOutcome::Pending(PendingReason::Parent(_)))));
    for block in chain_above(&other, 5) {
        node.receive(now, Message::Block(block));
    }
    let certificate = other.nodes[0].store.block(&short.head.root).unwrap().1.unwrap();
    node.receive(now, Message::Notarization(certificate));

    let view = node.chain.view();
    assert_eq!((view.head, view.finalized), (short.head, short.finalized));
    assert!(violations(&node) > 0);
    assert_eq!(node.outcome(&stray.root()), Some(&ImportOutcome::Rejected(BlockError::NotOnFinalized)));
    // Nothing is left of the heights above.
    assert_eq!(node.store.top(), short.head.height);
    for height in 1..=short.head.height.0 {
        assert_eq!(node.store.canonical(Height(height)), other.nodes[0].store.canonical(Height(height)));
    }
    assert_eq!(node.log.forkchoices.last().unwrap().head, short.head.execution_hash);
    let mut again = node.clone();
    again.restart(&one.fixture, one.fixture.config(Some(0))).unwrap();
    assert_eq!(again.chain.state_root(), node.chain.state_root());
}

#[test]
fn any_order_and_any_number_of_copies_gives_the_same_chain() {
    let mut source = Cluster::new(Fixture::new(4));
    for _ in 0..4 {
        source.run_slots(4);
        source.mine(0);
    }
    source.run_slots(3);
    let blocks = chain_above(&source, 0);
    let now = source.now;
    let mut expected = None;
    for order in 0..6u64 {
        let mut messages: Vec<Message> = Vec::new();
        for block in &blocks {
            messages.push(Message::Block(block.clone()));
            messages.push(Message::Block(block.clone()));
            let certificate = source.nodes[0].store.block(&block.root()).unwrap().1.unwrap();
            messages.push(Message::Notarization(certificate));
        }
        let mut seed = order.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        for index in (1..messages.len()).rev() {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            messages.swap(index, usize::try_from(seed % (u64::try_from(index).unwrap() + 1)).unwrap());
        }
        let mut node = Node::new(&source.fixture, None);
        for message in messages {
            node.receive(now, message);
        }
        assert_eq!(node.chain.view().head, source.nodes[0].chain.view().head, "order {order}");
        assert_eq!(node.chain.view().finalized, source.nodes[0].chain.view().finalized);
        let pointers = (node.chain.view().head, node.chain.view().safe, node.chain.view().finalized);
        assert_eq!(*expected.get_or_insert(pointers), pointers);
        assert_eq!(node.chain.view().pending_blocks, 0);
    }
}

/// A branch on top of the finalized block whose own newest record ends below that block: what its next record has to begin
/// with is finalized already.
#[test]
fn a_branch_with_a_record_of_its_own_goes_on_where_that_ended() {
    let mut one = Cluster::new(Fixture::new(4));
    one.run_slots(9);
    let template = one.nodes[0].chain.auxpow_template(Address::repeat_byte(0xaa), one.now).unwrap();
    one.run_slots(1);
    let mut other = one.clone();
    // This branch commits to what was safe a block ago.
    let now = one.now;
    for node in &mut one.nodes {
        node.receive(now, Message::AuxPow(mine(template.bundle.clone(), 7)));
    }
    one.run_slots(1);
    let ended = one.nodes[0].chain.view().committed.end.height;
    // The other one, a slot later, to one block more, which becomes final.
    let slot = 12;
    other.now = other.fixture.slot_start(slot).saturating_sub(600);
    other.run_slot(slot);
    assert!(other.mine(0));
    other.run_slots(6);
    let finalized = other.nodes[0].chain.view().finalized.height;
    assert!(ended < finalized && finalized <= Height(10), "{ended} {finalized}");

    one.run_slots(1);
    assert!(one.mine(0));
    one.run_slots(2);
    let blocks = chain_above(&one, 10);
    let committed = one.nodes[0].chain.view().committed.end.height;
    assert!(committed > ended, "a second record on the branch");
    let mut node = other.nodes[0].clone();
    for block in &blocks {
        node.receive(other.now, Message::Block(block.clone()));
        let outcome = node.outcome(&block.root());
        assert!(matches!(outcome, Some(ImportOutcome::Imported { .. })), "{}: {outcome:?}", block.header.height);
    }
}

#[test]
fn the_same_inputs_give_the_same_effects() {
    let run = || {
        let mut cluster = Cluster::new(Fixture::new(4));
        for _ in 0..3 {
            cluster.run_slots(5);
            cluster.mine(1);
        }
        let logs: Vec<String> = cluster.nodes.iter().map(|node| format!("{:?}", node.log)).collect();
        (logs, cluster.nodes.iter().map(|node| node.chain.state_root()).collect::<Vec<_>>())
    };
    assert_eq!(run(), run());
}

#[test]
fn blocks_that_wait_are_bounded_and_expire() {
    let mut source = Cluster::new(Fixture::new(1));
    for _ in 0..6 {
        source.run_slots(5);
        source.mine(0);
    }
    let blocks = chain_above(&source, 0);
    let config = ChainConfig { max_pending_blocks: 8, pending_expiry: 5_000, ..source.fixture.config(None) };
    let mut node = Node::with_config(&source.fixture, None, config);
    let now = source.now;
    for block in &blocks[1..] {
        node.receive(now, Message::Block(block.clone()));
    }
    assert_eq!(node.chain.view().pending_blocks, 8);
    let second = blocks[1].root();
    let waits = ImportOutcome::Pending(PendingReason::Parent(blocks[0].root()));
    assert_eq!(node.outcome(&second), Some(&waits));
    let last = blocks[blocks.len() - 1].root();
    assert_eq!(node.outcome(&last), Some(&ImportOutcome::Rejected(BlockError::PendingFull)));
    // The nearest ones are kept: the missing parent brings them all in.
    let mut filled = node.clone();
    filled.receive(now, Message::Block(blocks[0].clone()));
    assert_eq!(filled.chain.view().pending_blocks, 0);
    // It takes a place itself on its way, for which the farthest one left.
    assert_eq!(filled.chain.view().unfinalized_blocks, 8);

    let (at, _) = node.chain.poll_timeout().unwrap();
    assert_eq!(at, now.saturating_add(5_000));
    node.handle(at, Input::Tick).unwrap();
    assert_eq!(node.chain.view().pending_blocks, 0);
    assert_eq!(node.chain.poll_timeout(), None);
}

#[test]
fn one_author_cannot_fill_the_waiting_place() {
    let mut source = Cluster::new(Fixture::new(4));
    source.run_slots(6);
    let blocks = chain_above(&source, 0);
    let fixture = source.fixture.clone();
    let config = ChainConfig { max_pending_blocks: 16, ..fixture.config(None) };
    let mut node = Node::with_config(&fixture, None, config);
    let now = source.now;
    // Many proposals of one member for one slot, on a parent that is missing.
    for variant in 0..40u64 {
        let forged = fixture.forge(&blocks[3], |block| block.payload.gas_limit = variant);
        node.receive(now, Message::Block(Arc::new(forged)));
    }
    assert_eq!(node.chain.view().pending_blocks, 4, "a quarter of the place for one of four");
    for block in &blocks {
        node.receive(now, Message::Block(block.clone()));
    }
    assert!(node.chain.view().head.height >= Height(3));
}

#[test]
fn one_peer_cannot_fill_the_waiting_place() {
    let mut source = Cluster::new(Fixture::new(1));
    for _ in 0..4 {
        source.run_slots(5);
        source.mine(0);
    }
    let blocks = chain_above(&source, 0);
    let config = ChainConfig { max_pending_blocks: 64, max_pending_per_peer: 4, ..source.fixture.config(None) };
    let mut node = Node::with_config(&source.fixture, None, config);
    let now = source.now;
    let bring = |node: &mut Node, block: &SignedBlock, peer: u64| {
        let block = node.chain.verifier().block(block.clone()).unwrap();
        node.handle(now, Input::PeerBlock { block, peer: PeerTag(peer) }).unwrap();
    };
    // The farthest first: those that are nearer to being useful take their place.
    for block in blocks[5..].iter().rev() {
        bring(&mut node, block, 1);
    }
    let waiting = node.chain.pending_blocks();
    let heights: Vec<u64> = waiting.iter().map(|status| status.height.0).collect();
    assert_eq!(heights, [6, 7, 8, 9], "in order of priority");
    assert!(waiting.iter().all(|status| status.peer == Some(PeerTag(1)) && status.attempts == 0));
    assert_eq!(waiting[0].reason, PendingReason::Parent(blocks[4].root()));
    bring(&mut node, &blocks[12], 1);
    assert_eq!(node.outcome(&blocks[12].root()), Some(&ImportOutcome::Rejected(BlockError::PendingFull)));
    // Another peer has its own share.
    bring(&mut node, &blocks[12], 2);
    assert_eq!(node.chain.view().pending_blocks, 5);
    for block in &blocks[..5] {
        bring(&mut node, block, 3);
    }
    assert_eq!(node.chain.pending_blocks().len(), 1, "the rest was imported");
    assert!(node.chain.view().head.height >= Height(8));
}

#[test]
fn other_choices_are_checked_before_they_are_taken() {
    let fixture = Fixture::new(1);
    let mut node = Node::new(&fixture, Some(0));
    let good = fixture.config(Some(0));
    let refused = |change: &dyn Fn(&mut ChainConfig)| {
        let mut config = good.clone();
        change(&mut config);
        node.chain.clone().reconfigure(config).err()
    };
    let out = |field, found, range| Some(ConfigError::OutOfRange { field, found, range });
    assert_eq!(refused(&|config| config.production_lead = 2_000), out("production_lead", 2_000, "less than a slot"));
    assert_eq!(refused(&|config| config.pending_expiry = 10), out("pending_expiry", 10, "at least a slot"));
    assert_eq!(refused(&|config| config.max_pending_blocks = 0), out("max_pending_blocks", 0, "at least 1"));
    assert_eq!(refused(&|config| config.member_key = None), Some(ConfigError::MemberKey));
    assert_eq!(refused(&|_| {}), None);
    // What is taken holds from the next block on.
    let mut source = Cluster::new(Fixture::new(1));
    source.run_slots(6);
    node.chain.reconfigure(ChainConfig { max_pending_blocks: 4, ..good.clone() }).unwrap();
    for block in &chain_above(&source, 0)[1..] {
        node.receive(source.now, Message::Block(block.clone()));
    }
    assert_eq!(node.chain.view().pending_blocks, 4);
}
