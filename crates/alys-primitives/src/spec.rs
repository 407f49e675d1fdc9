//! The constants that every node of one chain must share.

use crate::{Address, B256, BlockHeader, Members, Optional, PegSpec, Root, Slot, U256, UnixMillis};
use serde::{Deserialize, Serialize};
use ssz_derive::{Decode, Encode};
use ssz_types::{VariableList, typenum};
use tree_hash::TreeHash as _;
use tree_hash_derive::TreeHash;

/// A scheduled change of the rules.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TreeHash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fork {
    /// First height under the rules.
    pub activation_height: crate::Height,
    /// The version that signatures cover.
    pub fork_version: crate::FixedBytes<4>,
}

/// Constants of merged mining (protocol section 5).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TreeHash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuxPowSpec {
    /// The chain's id in merged mining; 16 bits, outside 0x2000..=0x3fff (which Bitcoin's version bits use).
    pub chain_id: u64,
    /// Seconds that the difficulty aims at between bundles.
    pub spacing: u64,
    /// Half-life of the difficulty in seconds (aserti3-2d).
    pub half_life: u64,
    /// The target of the first bundle in Bitcoin's compact form.
    pub initial_bits: u32,
    /// The least expected number of hashes of a valid proof; bounds the target from above.
    pub min_auxpow_work: U256,
    /// Whether a coinbase output may carry the commitment when the scriptSig carries none.
    pub allow_output_commitment: bool,
}

/// What the consensus rules need to know of the EVM.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TreeHash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvmSpec {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Hash of the EVM's genesis block.
    pub genesis_hash: B256,
    /// `prevRandao` of the genesis block.
    pub genesis_prev_randao: B256,
    /// SHA-256 over the genesis file's canonical JSON, which covers the fork schedule that the hash does not.
    pub genesis_file_hash: B256,
    /// Collects the fees that the carrier of an AuxPoW mints again.
    pub fee_recipient: Address,
    /// Sum of the balances in the EVM's genesis, which the ledger records as a deposit (protocol section 7).
    pub genesis_allocation: U256,
}

/// The constants of one chain. Their hash-tree-root names the chain and is part of every signature.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TreeHash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainSpec {
    /// Start of slot 0 in seconds since the Unix epoch.
    pub genesis_time: u64,
    /// Length of a slot in whole seconds.
    pub slot_duration: u64,
    /// How far ahead of its slot a block may be and by how much clocks may differ, in milliseconds.
    pub max_clock_drift: u64,
    /// The rule versions; the first starts at height 0.
    pub forks: VariableList<Fork, typenum::U16>,
    /// The first federation.
    pub members: Members,
    /// Blocks between the record of a federation change and its effect.
    pub epoch_delay: u64,
    /// Blocks past the last committed one after which only a block with an AuxPoW is valid.
    pub max_blocks_without_pow: u64,
    /// The longest bundle; at least `max_blocks_without_pow`.
    pub max_bundle_blocks: u64,
    /// Notarized descendants that the carrier of an AuxPoW needs before its bundle is final.
    pub min_finalization_depth: u64,
    /// The miner's share of fees in hundredths of a percent.
    pub miner_share: u64,
    /// The most withdrawals in one payload; at most 256.
    pub max_withdrawals: u64,
    /// Merged mining.
    pub auxpow: AuxPowSpec,
    /// Execution.
    pub evm: EvmSpec,
    /// The two-way peg; a chain without one refuses all of its records.
    #[serde(default)]
    pub peg: Optional<PegSpec>,
}

/// Why a chain spec is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// A constant is outside its range.
    #[error("chain spec: `{field}` is {value}, must be {range}")]
    OutOfRange {
        /// The constant's name.
        field: &'static str,
        /// Its value.
        value: String,
        /// The allowed values, in words.
        range: &'static str,
    },
    /// Two members share a key.
    #[error("chain spec: members {first} and {second} share one public key")]
    DuplicateMember {
        /// Index of one.
        first: usize,
        /// Index of the other.
        second: usize,
    },
}

impl ChainSpec {
    /// The chain's name in every signing root: the hash-tree-root of all constants.
    pub fn genesis_root(&self) -> Root {
        self.tree_hash_root()
    }

    /// The header of block 0, whose parent is the zero root and whose state root is [`ChainSpec::genesis_root`].
    pub fn genesis_header(&self) -> BlockHeader {
        BlockHeader {
            execution_block_hash: self.evm.genesis_hash,
            state_root: self.genesis_root(),
            ..BlockHeader::default()
        }
    }

    /// The version of the rules at `height`: the last fork that has started.
    pub fn fork_version(&self, height: crate::Height) -> crate::FixedBytes<4> {
        self.forks
            .iter()
            .rev()
            .find(|fork| fork.activation_height <= height)
            .map(|fork| fork.fork_version)
            .unwrap_or_default()
    }

    /// Seconds since the Unix epoch at which `slot` starts; the EVM timestamp of a block in it. Held at `u64::MAX`.
    pub fn slot_start(&self, slot: Slot) -> u64 {
        self.genesis_time.saturating_add(slot.0.saturating_mul(self.slot_duration))
    }

    /// [`ChainSpec::slot_start`] in milliseconds.
    pub fn slot_start_millis(&self, slot: Slot) -> UnixMillis {
        UnixMillis(self.slot_start(slot).saturating_mul(1000))
    }

    /// The slot that `now` lies in; slot 0 before genesis.
    pub fn slot_at(&self, now: UnixMillis) -> Slot {
        let elapsed = now.0.saturating_sub(self.genesis_time.saturating_mul(1000));
        Slot(elapsed.checked_div(self.slot_duration.saturating_mul(1000)).unwrap_or(0))
    }

    /// Checks every constant against its range.
    ///
    /// # Errors
    /// The first constant that is out of range, or a pair of members with one key. Proofs of possession are the crypto
    /// crate's to check.
    pub fn validate(&self) -> Result<(), SpecError> {
        let range = |ok: bool, field: &'static str, value: String, range: &'static str| {
            if ok { Ok(()) } else { Err(SpecError::OutOfRange { field, value, range }) }
        };
        range(
            (1..=3600).contains(&self.slot_duration),
            "slot_duration",
            self.slot_duration.to_string(),
            "1 to 3600 seconds",
        )?;
        range(
            self.max_clock_drift < self.slot_duration.saturating_mul(1000),
            "max_clock_drift",
            self.max_clock_drift.to_string(),
            "less than a slot, in milliseconds",
        )?;
        range(
            self.forks.first().is_some_and(|fork| fork.activation_height.0 == 0)
                && self
                    .forks
                    .iter()
                    .zip(self.forks.iter().skip(1))
                    .all(|(a, b)| a.activation_height < b.activation_height && a.fork_version != b.fork_version),
            "forks",
            self.forks.len().to_string(),
            "a list that starts at height 0 and rises",
        )?;
        range(!self.members.is_empty(), "members", "empty".to_owned(), "at least one member")?;
        for (second, member) in self.members.iter().enumerate() {
            let earlier = self.members.iter().take(second).position(|other| other.public_key == member.public_key);
            if let Some(first) = earlier {
                return Err(SpecError::DuplicateMember { first, second });
            }
        }
        range(
            self.max_blocks_without_pow >= 1,
            "max_blocks_without_pow",
            self.max_blocks_without_pow.to_string(),
            "at least 1",
        )?;
        range(
            self.max_bundle_blocks >= self.max_blocks_without_pow && self.max_bundle_blocks <= 65_536,
            "max_bundle_blocks",
            self.max_bundle_blocks.to_string(),
            "from max_blocks_without_pow to 65536",
        )?;
        range(self.miner_share <= 10_000, "miner_share", self.miner_share.to_string(), "0 to 10000")?;
        let members = u64::try_from(self.members.len()).unwrap_or(u64::MAX);
        range(
            self.max_withdrawals <= 256 && self.max_withdrawals > members.saturating_add(1),
            "max_withdrawals",
            self.max_withdrawals.to_string(),
            "more than the fee withdrawals of one block (members + 1), at most 256",
        )?;
        let chain_id = self.auxpow.chain_id;
        range(
            (1..=0xffff).contains(&chain_id) && !(0x2000..=0x3fff).contains(&chain_id),
            "auxpow.chain_id",
            chain_id.to_string(),
            "1 to 65535 outside 0x2000 to 0x3fff",
        )?;
        range(self.auxpow.spacing >= 1, "auxpow.spacing", self.auxpow.spacing.to_string(), "at least 1 second")?;
        range(self.auxpow.half_life >= 1, "auxpow.half_life", self.auxpow.half_life.to_string(), "at least 1 second")?;
        range(
            self.auxpow.min_auxpow_work >= U256::from(2u64),
            "auxpow.min_auxpow_work",
            self.auxpow.min_auxpow_work.to_string(),
            "at least 2 hashes",
        )?;
        self.peg.first().map_or(Ok(()), PegSpec::validate)
    }
}
