//! An execution engine that knows which blocks follow which, and takes fees from the header: `gas_used` times
//! `base_fee_per_gas`.

use crate::{Built, ExecutionOutcome, PayloadAttributes, PayloadShape, Unavailable, payload_hash};
use alys_primitives::{B256, Burns, ExecutionPayload, ExecutionRequests, SignedBlock, U256, VariableList, Wei};
use ssz::{Decode as _, Encode as _};
use std::collections::BTreeMap;

/// The fake engine of one node.
#[derive(Clone, Debug)]
pub struct FakeExecutor {
    known: BTreeMap<B256, u64>,
    /// The fees of the next payload that is built.
    pub next_fees: Wei,
    /// While set, the engine gives no answers.
    pub down: bool,
    /// What the bridge contract logs in the blocks of a height.
    pub burns: BTreeMap<u64, Burns>,
    /// What the bridge contract logs in the next payload that is built, which carries it.
    pub next_burns: Burns,
}

/// First byte of a transaction that is nothing but burns.
const BURNS: u8 = 2;

/// Extra data that makes a payload invalid.
pub(super) const INVALID: &[u8] = b"invalid";

impl FakeExecutor {
    /// An engine that knows the genesis block.
    pub fn new(genesis: B256) -> Self {
        Self {
            known: BTreeMap::from([(genesis, 0)]),
            next_fees: Wei::ZERO,
            down: false,
            burns: BTreeMap::new(),
            next_burns: Burns::default(),
        }
    }

    /// Builds a payload.
    ///
    /// # Errors
    /// [`Unavailable`] if the engine is down or does not know the parent.
    pub fn build(&mut self, parent: B256, attributes: &PayloadAttributes) -> Result<Built, Unavailable> {
        let number = match self.known.get(&parent) {
            Some(number) if !self.down => number + 1,
            Some(_) | None => return Err(Unavailable { reason: "down or unknown parent".to_owned() }),
        };
        let mut payload = ExecutionPayload {
            parent_hash: parent,
            fee_recipient: attributes.fee_recipient,
            prev_randao: attributes.prev_randao,
            block_number: number,
            gas_limit: 30_000_000,
            gas_used: u64::from(!self.next_fees.is_zero()),
            timestamp: attributes.timestamp,
            base_fee_per_gas: self.next_fees.max(U256::from(7)),
            withdrawals: VariableList::new(attributes.withdrawals.clone()).expect("bounded by the rules"),
            ..ExecutionPayload::default()
        };
        let burns = std::mem::take(&mut self.next_burns);
        if !burns.is_empty() {
            let transaction = [vec![BURNS], burns.as_ssz_bytes()].concat();
            let transaction = VariableList::new(transaction).expect("few burns");
            payload.transactions = VariableList::new(vec![transaction]).expect("one transaction");
        }
        let requests = ExecutionRequests::empty();
        payload.block_hash =
            payload_hash(&payload, attributes.parent_beacon_block_root, &requests, PayloadShape::Prague);
        Ok(Built { payload, requests })
    }

    /// Executes a block's payload.
    pub fn execute(&mut self, block: &SignedBlock) -> ExecutionOutcome {
        let payload = &block.payload;
        if self.down {
            return ExecutionOutcome::Unavailable { reason: "down".to_owned() };
        }
        let Some(parent) = self.known.get(&payload.parent_hash) else { return ExecutionOutcome::Syncing };
        if payload.block_number != parent + 1 || payload.extra_data.as_ref() == INVALID {
            return ExecutionOutcome::Invalid { reason: "marked invalid".to_owned() };
        }
        self.known.insert(payload.block_hash, payload.block_number);
        let carried = payload.transactions.first().and_then(|transaction| transaction.strip_prefix(&[BURNS]));
        let carried = carried.and_then(|bytes| Burns::from_ssz_bytes(bytes).ok());
        let at_height = || self.burns.get(&payload.block_number).cloned().unwrap_or_default();
        let burns = carried.unwrap_or_else(at_height);
        ExecutionOutcome::Valid { fees: U256::from(payload.gas_used) * payload.base_fee_per_gas, burns }
    }

    /// Whether the engine has executed a block.
    pub fn knows(&self, hash: &B256) -> bool {
        self.known.contains_key(hash)
    }
}
