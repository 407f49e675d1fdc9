//! The consensus state and what it holds, on their way to disk and to peers and back.

#![allow(clippy::unwrap_used, reason = "tests may stop")]

use alys_chain::peg::Peg;
use alys_chain::testing::{Cluster, Fixture};
use alys_chain::{ChainState, Checkpoint, Message};
use alys_primitives::ssz::{Decode, DecodeError, Encode};
use alys_primitives::{Height, Root, TreeHash, U256, VariableList, typenum::U4};
use serde::Serialize;
use serde::de::value::{BytesDeserializer, U64Deserializer};
use serde::de::{self, Deserialize as _, DeserializeOwned};
use std::fmt::Debug;

/// A checkpoint with a recorded offence, and the head's state, in which work waits for finality.
fn scene() -> (Checkpoint, ChainState) {
    let mut cluster = Cluster::new(Fixture::new(4));
    let fixture = cluster.fixture.clone();
    for round in 0..4u64 {
        for node in &mut cluster.nodes {
            node.executor.next_fees = U256::from(round * 1_234_567_890_123u64);
        }
        cluster.run_slots(4);
        let now = cluster.now;
        let node = &mut cluster.nodes[0];
        let head = node.store.block(&node.chain.view().head.root).unwrap().0;
        let twin = fixture.forge(&head, |twin| twin.payload.extra_data = vec![1].try_into().unwrap());
        for header in [&head.header, &twin.header] {
            node.receive(now, Message::Approval(fixture.approve(header, 3)));
        }
        cluster.deliver();
        cluster.mine(0);
    }
    cluster.run_slots(1);
    let chain = &cluster.nodes[0].chain;
    let (checkpoint, state) = (chain.checkpoint(), chain.state(&chain.view().head.root).unwrap().clone());
    assert!(checkpoint.header.height > Height(0) && !state.carriers.is_empty());
    assert!(checkpoint.state.offences.has(3, false) && !checkpoint.state.offences.has(3, true));
    assert!(!checkpoint.state.offences.has(u64::MAX, false), "nobody has this index");
    (checkpoint, state)
}

/// As the store does it.
fn from_disk<T: Serialize + DeserializeOwned>(value: &T) -> T {
    let bytes = bincode::serde::encode_to_vec(value, bincode::config::standard()).unwrap();
    let (value, read) = bincode::serde::decode_from_slice(&bytes, bincode::config::standard()).unwrap();
    assert_eq!(read, bytes.len());
    value
}

#[test]
fn a_checkpoint_comes_back_from_disk_as_it_was() {
    let (checkpoint, state) = scene();
    let again = from_disk(&checkpoint);
    assert_eq!(again, checkpoint);
    assert_eq!(again.state.root(), checkpoint.state.root());
    assert_eq!(from_disk(&state), state);
}

#[test]
fn a_peg_that_is_damaged_on_disk_is_refused_with_the_reason() {
    let read = |bytes: &[u8]| Peg::deserialize(BytesDeserializer::<de::value::Error>::new(bytes));
    let peg = scene().1.peg;
    let good = peg.as_ssz_bytes();
    assert_eq!(read(&good).unwrap(), peg);
    let error = read(&good[..good.len() - 1]).unwrap_err().to_string();
    assert!(error.contains("OffsetOutOfBounds"), "{error}");
    let error = Peg::deserialize(U64Deserializer::<de::value::Error>::new(7)).unwrap_err().to_string();
    assert!(error.contains("the peg's state in SSZ"), "{error}");
}

#[test]
fn a_peg_is_hashed_as_its_root_is() {
    let peg = scene().1.peg;
    assert_eq!(peg.tree_hash_root(), peg.root());
    let (pegs, roots) = (vec![peg.clone(), peg.clone()], vec![peg.root(); 2]);
    let pegs = VariableList::<Peg, U4>::new(pegs).unwrap();
    assert_eq!(pegs.tree_hash_root(), VariableList::<Root, U4>::new(roots).unwrap().tree_hash_root());
}

/// What decodes is one value; offsets that point out of the bytes, and an end within the fixed part, do not decode.
fn refuses_damage<T: Encode + Decode + PartialEq + Debug>(value: &T) {
    let bytes = value.as_ssz_bytes();
    assert_eq!(T::from_ssz_bytes(&bytes).as_ref(), Ok(value));
    assert_eq!(bytes.len(), value.ssz_bytes_len());
    assert!(T::from_ssz_bytes(&vec![0xff; bytes.len()]).is_err());
    let cut = T::from_ssz_bytes(&bytes[..3]);
    let typed = matches!(
        cut,
        Err(DecodeError::InvalidByteLength { len: 3, .. } | DecodeError::InvalidLengthPrefix { len: 3, .. })
    );
    assert!(typed, "{cut:?}");
}

#[test]
fn damaged_states_are_refused() {
    let (checkpoint, state) = scene();
    refuses_damage(&checkpoint.state);
    refuses_damage(&state.peg);
    refuses_damage(&state);
}
