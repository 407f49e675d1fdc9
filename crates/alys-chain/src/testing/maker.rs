//! Blocks that are valid on any notarized block of a tree, made without a signer or a clock.

use super::{Fixture, Model, Node, mine, model::MODEL_MEMBERS};
use crate::Message;
use alys_auxpow::Asert;
use alys_primitives::{
    Address, AuxBundle, AuxPowRecord, BlockBody, BlockHeader, ExecutionPayload, Height, Notarization, Root,
    SignatureBytes, SignedBlock, Slot, U256, UnixMillis, VariableList, blocks_root,
};
use sha2::{Digest as _, Sha256};

/// Makes blocks that are valid on any notarized block that it still knows, and tells them to a core and a [`Model`].
#[derive(Debug)]
pub struct Maker {
    /// Chain spec and keys.
    pub fixture: Fixture,
    genesis_root: Root,
    /// Hears of everything in order.
    pub node: Node,
    /// Hears of everything in order, too.
    pub model: Model,
    /// After the slots of every block.
    pub now: UnixMillis,
    /// What was told.
    pub facts: Vec<Vec<Message>>,
    salt: u32,
}

impl Default for Maker {
    fn default() -> Self {
        Self::new()
    }
}

impl Maker {
    /// Genesis.
    pub fn new() -> Self {
        let fixture = Fixture::new(MODEL_MEMBERS);
        Self {
            genesis_root: fixture.spec.genesis_root(),
            node: Node::new(&fixture, None),
            model: Model::new(&fixture),
            now: fixture.slot_start(1_000),
            facts: Vec::new(),
            salt: 0,
            fixture,
        }
    }

    /// Tells both of facts that come together.
    pub fn tell(&mut self, facts: Vec<Message>) {
        for fact in &facts {
            self.node.receive(self.now, fact.clone());
            self.model.hear(fact);
        }
        self.facts.push(facts);
    }

    /// A record over all uncommitted blocks of a chain, for a child in `slot`.
    fn record(&mut self, parent: Root, slot: u64) -> Option<AuxPowRecord> {
        let state = self.node.chain.state(&parent)?.clone();
        let chain = self.model.chain(parent)?;
        let roots: Vec<Root> =
            chain.into_iter().filter(|root| self.model.height(*root) > state.committed.end.height.0).collect();
        let spec = &self.fixture.spec;
        let asert = Asert::of_spec(&spec.auxpow).unwrap();
        let bundle = AuxBundle {
            genesis_root: self.genesis_root,
            auxpow_chain_id: spec.auxpow.chain_id,
            bits: asert.bits(slot * spec.slot_duration, state.committed.records),
            miner_address: Address::repeat_byte(0xaa),
            template_slot: Slot(slot),
            previous_auxpow_root: state.committed.auxpow_root,
            start_root: *roots.first()?,
            end_root: *roots.last()?,
            count: u64::try_from(roots.len()).unwrap(),
            blocks_root: blocks_root(&roots)?,
        };
        self.salt += 1;
        Some(mine(bundle, self.salt))
    }

    /// A block in `slot` on `parent`; `None` if the parent is not known, or is below the finalized block.
    pub fn block(
        &mut self,
        parent: Root,
        slot: u64,
        with_work: bool,
        certificate: Option<Notarization>,
    ) -> Option<SignedBlock> {
        let auxpow = if with_work { self.record(parent, slot) } else { None };
        let state = self.node.chain.state(&parent)?;
        let spec = &self.fixture.spec;
        let before = self.model.arrived().get(&parent);
        let payload = ExecutionPayload {
            parent_hash: before.map_or(spec.evm.genesis_hash, |block| block.header.execution_block_hash),
            fee_recipient: spec.evm.fee_recipient,
            prev_randao: state.next_randao,
            block_number: self.model.height(parent) + 1,
            gas_limit: 30_000_000,
            timestamp: spec.slot_start(Slot(slot)),
            base_fee_per_gas: U256::from(7),
            ..ExecutionPayload::default()
        };
        let header = BlockHeader {
            slot: Slot(slot),
            height: Height(self.model.height(parent) + 1),
            parent_root: parent,
            author_index: author(self.genesis_root, slot),
            state_root: state.root(),
            ..BlockHeader::default()
        };
        let optional = |record: Option<AuxPowRecord>| VariableList::new(record.into_iter().collect()).unwrap();
        let body = BlockBody { auxpow: optional(auxpow), ..BlockBody::default() };
        let parent_notarization = VariableList::new(certificate.into_iter().collect()).unwrap();
        let mut block =
            SignedBlock { header, body, payload, author_signature: SignatureBytes::ZERO, parent_notarization };
        self.fixture.reseal(&mut block);
        Some(block)
    }
}

/// The author of a slot: members in the order of a hash of chain, epoch, round and index (section 2, ADR 0004).
fn author(genesis_root: Root, slot: u64) -> u64 {
    let members = u64::try_from(MODEL_MEMBERS).unwrap();
    let mut order: Vec<([u8; 32], u64)> = (0..members)
        .map(|index| {
            let mut hash = Sha256::new_with_prefix(genesis_root);
            for number in [0, slot / members, index] {
                hash.update(number.to_le_bytes());
            }
            (hash.finalize().into(), index)
        })
        .collect();
    order.sort_unstable();
    order[usize::try_from(slot % members).unwrap()].1
}
