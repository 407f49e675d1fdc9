//! One encoding and one root for each container, for ever: a change here is a fork.

#![allow(clippy::unwrap_used, reason = "tests may stop")]

use alys_chain::{
    ChainState,
    proof::BlockProof,
    testing::{Fixture, offered_custody},
};
use alys_primitives::{
    Address, Approval, ApprovalData, AuxBundle, AuxPowRecord, B256, BitVector, BlockBody, BlockHeader, Epoch, Evidence,
    ExecutionPayload, FederationChange, Gwei, Height, Notarization, Pause, ProposalEquivocation, Root, SignatureBytes,
    SignedBlock, SignedHeader, Slot, TreeHash, U256, VariableList, VoteEquivocation, Withdrawal,
    ssz::{Decode, Encode},
};
use sha2::{Digest as _, Sha256};
use std::fmt::{Debug, Write as _};

/// A line for a container: its name, its size, a hash of its encoding, and its root.
fn line<T: Encode + Decode + TreeHash + PartialEq + Debug>(lines: &mut String, name: &str, value: &T) {
    writeln!(lines, "{} {}", encoding(name, value), value.tree_hash_root()).unwrap();
}

fn encoding<T: Encode + Decode + PartialEq + Debug>(name: &str, value: &T) -> String {
    let bytes = value.as_ssz_bytes();
    assert_eq!(&T::from_ssz_bytes(&bytes).unwrap(), value, "{name} decodes to itself");
    let digest = B256::from(<[u8; 32]>::from(Sha256::digest(&bytes)));
    format!("{name} {} {digest}", bytes.len())
}

fn root(number: u8) -> Root {
    Root::repeat_byte(number)
}

fn header() -> BlockHeader {
    BlockHeader {
        slot: Slot(9),
        height: Height(7),
        parent_root: root(1),
        epoch: Epoch(2),
        author_index: 3,
        execution_block_hash: root(2),
        state_root: root(3),
        body_root: root(4),
    }
}

fn bits() -> BitVector<alys_primitives::MaxMembers> {
    let mut bits = BitVector::new();
    for bit in [0, 2, 127] {
        bits.set(bit, true).unwrap();
    }
    bits
}

fn approval(block: u8) -> Approval {
    let data = ApprovalData { block_root: root(block), slot: Slot(9), epoch: Epoch(2) };
    Approval { data, member_index: 5, signature: SignatureBytes::repeat_byte(6) }
}

fn notarization() -> Notarization {
    Notarization {
        block_root: root(7),
        slot: Slot(9),
        epoch: Epoch(2),
        bitfield: bits(),
        aggregate_signature: SignatureBytes::repeat_byte(8),
    }
}

fn bundle() -> AuxBundle {
    AuxBundle {
        genesis_root: root(1),
        auxpow_chain_id: 0x0a17,
        bits: 0x207f_ffff,
        miner_address: Address::repeat_byte(2),
        template_slot: Slot(11),
        previous_auxpow_root: root(3),
        start_root: root(4),
        end_root: root(5),
        count: 6,
        blocks_root: root(7),
    }
}

fn record() -> AuxPowRecord {
    AuxPowRecord { bundle: bundle(), proof: VariableList::new(vec![1, 2, 3]).unwrap() }
}

fn evidence() -> Evidence {
    let signed = |slot: u64| SignedHeader {
        header: BlockHeader { slot: Slot(slot), ..header() },
        author_signature: SignatureBytes::repeat_byte(9),
    };
    Evidence {
        proposals: VariableList::new(vec![ProposalEquivocation { first: signed(1), second: signed(2) }]).unwrap(),
        votes: VariableList::new(vec![VoteEquivocation { first: approval(1), second: approval(2) }]).unwrap(),
    }
}

fn payload() -> ExecutionPayload {
    ExecutionPayload {
        parent_hash: root(1),
        fee_recipient: Address::repeat_byte(2),
        block_number: 7,
        gas_limit: 30_000_000,
        timestamp: 1_800_000_018,
        base_fee_per_gas: U256::from(7),
        block_hash: root(2),
        withdrawals: VariableList::new(vec![Withdrawal {
            index: 1,
            validator_index: 0,
            address: Address::repeat_byte(3),
            amount: Gwei(4),
        }])
        .unwrap(),
        ..ExecutionPayload::default()
    }
}

fn change() -> FederationChange {
    FederationChange {
        genesis_root: root(1),
        epoch: Epoch(2),
        members: Fixture::new(2).spec.members,
        custody: VariableList::new(vec![offered_custody(&[[7; 32], [8; 32]], 2, &root(1), Epoch(2))]).unwrap(),
        bitfield: bits(),
        aggregate_signature: SignatureBytes::repeat_byte(3),
    }
}

#[test]
fn containers_are_encoded_as_ever() {
    let mut lines = String::new();
    let body = BlockBody {
        auxpow: VariableList::new(vec![record()]).unwrap(),
        federation_change: VariableList::new(vec![change()]).unwrap(),
        evidence: evidence(),
        ..BlockBody::default()
    };
    let block = SignedBlock {
        header: header(),
        body: body.clone(),
        payload: payload(),
        author_signature: SignatureBytes::repeat_byte(4),
        parent_notarization: VariableList::new(vec![notarization()]).unwrap(),
    };
    let pause = Pause {
        genesis_root: root(1),
        epoch: Epoch(2),
        sequence: 3,
        pegin_paused: true,
        pegout_paused: false,
        bitfield: bits(),
        aggregate_signature: SignatureBytes::repeat_byte(4),
    };
    line(&mut lines, "BlockHeader", &header());
    line(&mut lines, "BlockBody (empty)", &BlockBody::default());
    line(&mut lines, "BlockBody", &body);
    line(&mut lines, "SignedBlock", &block);
    line(&mut lines, "ExecutionPayload", &payload());
    line(&mut lines, "Approval", &approval(1));
    line(&mut lines, "Notarization", &notarization());
    line(&mut lines, "AuxBundle", &bundle());
    line(&mut lines, "AuxPowRecord", &record());
    line(&mut lines, "Evidence", &evidence());
    line(&mut lines, "FederationChange", &change());
    line(&mut lines, "Pause", &pause);
    line(&mut lines, "ChainSpec", &Fixture::new(4).spec);
    let proof = BlockProof {
        header: header(),
        index: 3,
        branch: VariableList::new(vec![root(1); 16]).unwrap(),
        record: record(),
        body_branch: VariableList::new(vec![root(2); 4]).unwrap(),
        headers: VariableList::new(vec![header(); 3]).unwrap(),
        certificate: notarization(),
    };
    lines.push_str(&encoding("BlockProof", &proof));
    lines.push('\n');
    let expected = include_str!("golden/containers.txt");
    assert!(lines == expected, "the encodings are now\n{lines}");
}

/// The state root after genesis is in the header of every first block, so that it names the state's whole layout.
#[test]
fn the_state_after_genesis_is_what_it_was() {
    let fixture = Fixture::new(4);
    let chain = fixture.genesis(fixture.config(None));
    let state: &ChainState = chain.state(&fixture.spec.genesis_header().root()).unwrap();
    let found = format!("{}\n", encoding("ChainState", state) + " " + &state.root().to_string());
    let expected = include_str!("golden/state.txt");
    assert!(found == expected, "the state is now\n{found}");
}
