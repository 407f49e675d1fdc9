//! Chains of made-up blocks, and what a database should hold of them.
#![allow(dead_code, reason = "each test binary uses a part")]

use alys_chain::{ChainBatch, ChainWrite, Pointers};
use alys_primitives::{
    Address, AuxBundle, AuxPowRecord, B256, BitVector, BlockBody, BlockHeader, Burn, Burns, Epoch, ExecutionPayload,
    Height, Notarization, Root, SignatureBytes, SignedBlock, Slot, TreeHash as _, U256, VariableList, Wei,
};
use alys_store::{Database, Reader, StoreConfig};
use std::path::Path;
use std::sync::Arc;

/// The chain of all tests.
pub(crate) const GENESIS: Root = Root::repeat_byte(0x47);

pub(crate) fn open(folder: &Path) -> Database {
    Database::open(folder, GENESIS, &StoreConfig::default()).expect("the database opens")
}

/// A block at `height`; blocks of one height differ by `branch`.
pub(crate) fn block(height: u64, branch: u64) -> SignedBlock {
    let transaction = VariableList::new(vec![branch.to_le_bytes()[0]; 200]).expect("short");
    let payload = ExecutionPayload {
        block_number: height,
        base_fee_per_gas: U256::from(7),
        transactions: VariableList::new(vec![transaction]).expect("one"),
        ..ExecutionPayload::default()
    };
    let body = BlockBody::default();
    let parent_root = if height == 0 { Root::ZERO } else { Root::from(U256::from(height - 1)) };
    let header = BlockHeader {
        slot: Slot(height + branch),
        height: Height(height),
        parent_root,
        body_root: body.tree_hash_root(),
        ..BlockHeader::default()
    };
    SignedBlock {
        header,
        body,
        payload,
        author_signature: SignatureBytes::repeat_byte(9),
        parent_notarization: VariableList::default(),
    }
}

pub(crate) fn fees(height: u64) -> Wei {
    U256::from(height) * U256::from(1_000_000_007u64)
}

/// Every third block burned something.
pub(crate) fn burns(height: u64) -> Burns {
    let burn = Burn {
        log_index: height,
        sender: Address::repeat_byte(0x5e),
        bitcoin_address: VariableList::new(vec![b'b'; 42]).expect("short"),
        amount: U256::from(height) * U256::from(10_000_000_000u64),
    };
    VariableList::new(if height.is_multiple_of(3) { vec![burn] } else { Vec::new() }).expect("short")
}

pub(crate) fn certificate(block_root: Root, slot: u64) -> Notarization {
    let mut bitfield = BitVector::new();
    bitfield.set(2, true).expect("within 128");
    Notarization {
        block_root,
        slot: Slot(slot),
        epoch: Epoch(0),
        bitfield,
        aggregate_signature: SignatureBytes::repeat_byte(3),
    }
}

pub(crate) fn auxpow(number: u64) -> (Root, AuxPowRecord) {
    let bundle = AuxBundle {
        genesis_root: GENESIS,
        auxpow_chain_id: 7,
        bits: 0x207f_ffff,
        miner_address: Address::repeat_byte(1),
        template_slot: Slot(number),
        previous_auxpow_root: Root::ZERO,
        start_root: Root::repeat_byte(2),
        end_root: Root::repeat_byte(3),
        count: 2,
        blocks_root: Root::repeat_byte(4),
    };
    (bundle.tree_hash_root(), AuxPowRecord { bundle, proof: VariableList::new(vec![5; 300]).expect("short") })
}

pub(crate) fn state_root(height: u64) -> Root {
    Root::from(U256::from(height + 1_000_000))
}

/// The decision to import the block at `height` as the head of a chain, with its certificate.
pub(crate) fn import(height: u64) -> ChainBatch {
    let block = block(height, 0);
    let root = block.root();
    ChainBatch {
        writes: vec![
            ChainWrite::Block { root, block: Arc::new(block), fees: fees(height), burns: burns(height) },
            ChainWrite::Certificate(certificate(root, height)),
            ChainWrite::Canonical { height: Height(height), root },
            ChainWrite::Pointers(Pointers { head: root, safe: B256::ZERO, finalized: B256::ZERO }),
        ],
        state_root: state_root(height),
    }
}

/// Asserts that the chain made of [`import`]s up to `height`, from 1, is stored whole, and nothing else.
pub(crate) fn assert_chain(reader: &Reader, height: u64) {
    for number in 1..=height {
        let stored = reader.block_at(Height(number)).expect("readable").expect("stored");
        assert_eq!(stored.block, block(number, 0), "block {number}");
        assert_eq!(stored.fees, fees(number));
        assert_eq!(stored.burns, burns(number));
        let root = stored.block.root();
        assert_eq!(reader.certificate(root).expect("readable"), Some(certificate(root, number)));
    }
    assert_eq!(reader.block_at(Height(height + 1)).expect("readable"), None);
    let expected = (height > 0).then(|| state_root(height));
    assert_eq!(reader.state_root().expect("readable"), expected);
    reader.verify().expect("whole");
}
