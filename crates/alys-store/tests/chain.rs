//! What is applied is what is read.

mod support;

use alys_chain::{ChainBatch, ChainWrite, Offence, Pointers};
use alys_primitives::{
    Approval, ApprovalData, BitVector, Burns, Epoch, Evidence, FederationChange, Height, Members, Pause, Root,
    SignatureBytes, Slot, VoteEquivocation,
};
use alys_store::{Database, FinalizedBundle, FolderLock, StoreConfig, StoreError};
use std::sync::Arc;
use support::{GENESIS, assert_chain, auxpow, block, certificate, fees, import, open, state_root};

#[test]
fn applied_batches_survive_a_reopen() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut database = open(folder.path());
    database.apply(&import(1)).expect("written");
    database.apply_many(&[import(2), import(3), import(4)]).expect("written");
    assert_chain(&database.reader(), 4);
    database.close().expect("closed");

    let database = open(folder.path());
    assert_chain(&database.reader(), 4);
    let restored = database.load().expect("loads");
    let heights: Vec<u64> = restored.blocks.iter().map(|block| block.block.header.height.0).collect();
    assert_eq!(heights, [1, 2, 3, 4]);
    assert_eq!(restored.certificates.len(), 4);
    assert_eq!(restored.state_root, Some(state_root(4)));
    let head = block(4, 0).root();
    assert_eq!(restored.pointers, Some(Pointers { head, safe: Root::ZERO, finalized: Root::ZERO }));
    assert_eq!(restored.checkpoint, None);
}

#[test]
fn an_empty_group_commits_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut database = open(folder.path());
    let commits = database.commits();
    database.apply_many(&[]).expect("nothing to do");
    assert_eq!(database.commits(), commits);
}

#[test]
fn a_new_database_holds_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = open(folder.path());
    let reader = database.reader();
    assert_chain(&reader, 0);
    assert_eq!(reader.pointers().expect("readable"), None);
    assert_eq!(reader.bundle_at(Height(3)).expect("readable"), None);
    let restored = database.load().expect("loads");
    assert!(restored.blocks.is_empty() && restored.state_root.is_none() && restored.pointers.is_none());
}

#[test]
fn a_reorganisation_moves_the_height_index_and_drops_the_side_block() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut database = open(folder.path());
    database.apply_many(&[import(1), import(2), import(3)]).expect("written");
    let side = block(2, 5);
    let (side_root, old_root) = (side.root(), block(2, 0).root());
    let reader = database.reader();

    database
        .apply(&ChainBatch {
            writes: vec![
                ChainWrite::Block {
                    root: side_root,
                    block: Arc::new(side.clone()),
                    fees: fees(2),
                    burns: Burns::default(),
                },
                ChainWrite::Decanonical { height: Height(3) },
                ChainWrite::Canonical { height: Height(2), root: side_root },
            ],
            state_root: state_root(9),
        })
        .expect("written");
    assert_eq!(reader.block_at(Height(2)).expect("readable").map(|stored| stored.block), Some(side));
    assert_eq!(reader.block_at(Height(3)).expect("readable"), None);
    assert_eq!(reader.canonical_roots(Height(0), 10).expect("readable").len(), 2);
    let mut both = vec![old_root, side_root];
    both.sort();
    assert_eq!(reader.roots_at(Height(2)).expect("readable"), both);

    let drop_old = ChainBatch { writes: vec![ChainWrite::DropBlock { root: old_root }], state_root: state_root(10) };
    database.apply_many(&[drop_old.clone(), drop_old]).expect("dropping twice is the same as once");
    assert_eq!(reader.block(old_root).expect("readable"), None);
    assert_eq!(reader.certificate(old_root).expect("readable"), None);
    assert_eq!(reader.roots_at(Height(2)).expect("readable"), [side_root]);
    reader.verify().expect("whole");
}

#[test]
fn a_block_written_and_dropped_in_one_group_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut database = open(folder.path());
    let root = block(1, 0).root();
    let drop = ChainBatch { writes: vec![ChainWrite::DropBlock { root }], state_root: state_root(2) };
    database.apply_many(&[import(1), drop]).expect("written");
    let reader = database.reader();
    assert_eq!(reader.block(root).expect("readable"), None);
    assert!(reader.roots_at(Height(1)).expect("readable").is_empty());
    assert_eq!(reader.certificate(root).expect("readable"), None);
}

#[test]
fn queued_work_keeps_its_order_over_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let records: Vec<_> = (0..6).map(auxpow).collect();
    let queue = |(hash, record): &(Root, _)| ChainBatch {
        writes: vec![ChainWrite::QueueAuxPow { hash: *hash, record: alys_primitives::AuxPowRecord::clone(record) }],
        state_root: state_root(1),
    };
    let mut database = open(folder.path());
    database.apply(&queue(&records[0])).expect("written");
    database.apply_many(&[queue(&records[1]), queue(&records[2])]).expect("written");
    drop(database);
    let mut database = open(folder.path());
    database.apply_many(&[queue(&records[3]), queue(&records[4]), queue(&records[5])]).expect("written");
    database
        .apply(&ChainBatch { writes: vec![ChainWrite::DropAuxPow { hash: records[2].0 }], state_root: state_root(1) })
        .expect("written");

    let reader = database.reader();
    let expected: Vec<_> = [0, 1, 3, 4, 5].map(|number| records[number].clone()).into();
    assert_eq!(reader.auxpow_queue().expect("readable"), expected);
    assert_eq!(reader.auxpow(records[2].0).expect("readable"), None);
    assert_eq!(reader.auxpow(records[3].0).expect("readable"), Some(records[3].1.clone()));
    let restored: Vec<_> = expected.into_iter().map(|(_, record)| record).collect();
    assert_eq!(database.load().expect("loads").auxpow, restored);
}

#[test]
fn proofs_and_the_change_that_wait_for_an_author_survive_and_are_dropped() {
    let folder = tempfile::tempdir().expect("a folder");
    let offence = |epoch, member| Offence { epoch: Epoch(epoch), member, proposal: false };
    let proof = |slot| {
        let approval = |root| Approval {
            data: ApprovalData { block_root: Root::repeat_byte(root), slot: Slot(slot), epoch: Epoch(1) },
            member_index: 2,
            signature: SignatureBytes::ZERO,
        };
        let votes = vec![VoteEquivocation { first: approval(1), second: approval(2) }];
        Evidence { votes: votes.try_into().expect("few"), ..Evidence::default() }
    };
    let change = |epoch| FederationChange {
        genesis_root: Root::repeat_byte(1),
        epoch: Epoch(epoch),
        members: Members::default(),
        custody: alys_primitives::Optional::default(),
        bitfield: BitVector::new(),
        aggregate_signature: SignatureBytes::ZERO,
    };
    let keep =
        |epoch, member, slot| ChainWrite::KeepProof { offence: offence(epoch, member), proof: Box::new(proof(slot)) };
    let apply = |database: &mut Database, writes| {
        database.apply(&ChainBatch { writes, state_root: state_root(1) }).expect("written");
    };
    let pause = |sequence| Pause {
        genesis_root: state_root(0),
        epoch: Epoch(0),
        sequence,
        pegin_paused: true,
        pegout_paused: false,
        bitfield: BitVector::new(),
        aggregate_signature: SignatureBytes::ZERO,
    };
    let mut database = open(folder.path());
    let changes = [1, 2].map(|epoch| ChainWrite::KeepChange(Box::new(change(epoch))));
    apply(&mut database, [vec![keep(1, 2, 7), keep(0, 300, 8), keep(1, 3, 9)], changes.into()].concat());
    apply(&mut database, vec![ChainWrite::DropProof { offence: offence(1, 2) }]);
    apply(&mut database, [1, 2].map(|sequence| ChainWrite::KeepPause(Box::new(pause(sequence)))).into());
    drop(database);

    let mut database = open(folder.path());
    database.reader().verify().expect("whole");
    let restored = database.load().expect("loads");
    assert_eq!(restored.evidence, [proof(8), proof(9)], "by epoch, then by member");
    assert_eq!(restored.change, Some(change(2)), "the newer one");
    assert_eq!(restored.pause, Some(pause(2)), "the newer one");
    apply(&mut database, vec![ChainWrite::DropChange, ChainWrite::DropPause]);
    let restored = database.load().expect("loads");
    assert_eq!((restored.change, restored.pause), (None, None));
}

#[test]
fn a_bundle_is_found_by_each_of_its_heights() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut database = open(folder.path());
    let bundle = |number: u8, from, to| FinalizedBundle {
        bundle: Root::repeat_byte(number),
        carrier: Root::repeat_byte(number + 100),
        from: Height(from),
        to: Height(to),
    };
    let (first, second) = (bundle(1, 1, 5), bundle(2, 6, 300));
    for FinalizedBundle { bundle, carrier, from, to } in [first, second] {
        let writes = vec![ChainWrite::Finalized { bundle, carrier, from, to }];
        database.apply(&ChainBatch { writes, state_root: state_root(1) }).expect("written");
    }
    let reader = database.reader();
    for (height, expected) in [
        (0, None),
        (1, Some(first)),
        (5, Some(first)),
        (6, Some(second)),
        (256, Some(second)),
        (300, Some(second)),
        (301, None),
    ] {
        assert_eq!(reader.bundle_at(Height(height)).expect("readable"), expected, "height {height}");
    }
}

#[test]
fn a_block_under_a_foreign_root_is_never_served() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut database = open(folder.path());
    let wrong = Root::repeat_byte(0xee);
    let writes =
        vec![ChainWrite::Block { root: wrong, block: Arc::new(block(1, 0)), fees: fees(1), burns: Burns::default() }];
    database.apply(&ChainBatch { writes, state_root: state_root(1) }).expect("written");
    let error = database.reader().block(wrong).expect_err("the root does not match");
    assert!(error.is_corruption(), "{error}");
    assert!(database.load().is_err() && database.reader().verify().is_err());
}

#[test]
fn a_height_that_names_a_missing_block_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut database = open(folder.path());
    let writes =
        vec![ChainWrite::Canonical { height: Height(4), root: certificate(Root::repeat_byte(8), 1).block_root }];
    database.apply(&ChainBatch { writes, state_root: state_root(1) }).expect("written");
    assert!(database.reader().block_at(Height(4)).expect_err("dangling").is_corruption());
}

#[test]
fn readers_outlive_the_writer_and_keep_the_folder_locked() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut database = open(folder.path());
    database.apply(&import(1)).expect("written");
    let reader = database.reader();
    database.close().expect("closed");
    assert_chain(&reader, 1);
    let second = Database::open(folder.path(), GENESIS, &StoreConfig::default());
    assert!(matches!(second, Err(StoreError::Locked { folder: named }) if named == folder.path()));
    drop(reader);
    open(folder.path());
}

#[test]
fn a_locked_folder_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let lock = FolderLock::acquire(folder.path()).expect("free");
    let error = FolderLock::acquire(folder.path()).expect_err("taken");
    assert!(error.to_string().contains(&folder.path().display().to_string()), "{error}");
    drop(lock);
    FolderLock::acquire(folder.path()).expect("free again");
}

#[test]
fn a_database_of_another_chain_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(open(folder.path()));
    let other = Root::repeat_byte(0x48);
    let error = Database::open(folder.path(), other, &StoreConfig::default()).expect_err("another chain");
    assert!(matches!(error, StoreError::OtherChain { found: GENESIS, expected, .. } if expected == other));
    open(folder.path());
}
