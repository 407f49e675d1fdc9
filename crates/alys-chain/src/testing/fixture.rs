//! Chain specs and keys for tests.

use super::Plant;
use crate::{Chain, ChainConfig, Restored, error::RestoreError};
use alys_crypto::{PublicKey, SecretKey};
use alys_primitives::{
    Address, AuxPowSpec, B256, ChainSpec, EvmSpec, FixedBytes, Fork, Height, Member, PublicKeyBytes, SignatureBytes,
    Slot, U256, UnixMillis, VariableList,
};

/// Which signatures a test uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemeKind {
    /// BLS12-381.
    Bls,
    /// Hashes in place of signatures.
    Unproven,
}

/// A chain spec with the keys of its members.
#[derive(Clone, Debug)]
pub struct Fixture {
    /// The spec; change it before the first chain is made.
    pub spec: ChainSpec,
    /// The members' keys, in order.
    pub keys: Vec<SecretKey>,
    /// Their public halves; making one costs more than a whole simulated signature.
    pub(super) public_keys: Vec<PublicKey>,
    /// Which signatures chains use.
    pub scheme: SchemeKind,
    /// A mistake that cores make on purpose; with hashes for signatures only.
    pub plant: Option<Plant>,
}

impl Fixture {
    /// A federation of `members` with hashes for signatures: slots of 2 seconds, work of two hashes, stall after 20
    /// blocks, finality two blocks after the carrier.
    pub fn new(members: usize) -> Self {
        Self::with_scheme(members, SchemeKind::Unproven)
    }

    /// As [`Fixture::new`] with a choice of signatures.
    pub fn with_scheme(members: usize, scheme: SchemeKind) -> Self {
        let keys: Vec<SecretKey> = (0..members).map(key).collect();
        let spec = ChainSpec {
            genesis_time: 1_800_000_000,
            slot_duration: 2,
            max_clock_drift: 500,
            forks: VariableList::new(vec![Fork {
                activation_height: Height(0),
                fork_version: FixedBytes([0, 0, 0, 1]),
            }])
            .unwrap(),
            members: VariableList::new(keys.iter().enumerate().map(|(i, key)| member(i, key, scheme)).collect())
                .unwrap(),
            epoch_delay: 16,
            max_blocks_without_pow: 20,
            max_bundle_blocks: 40,
            min_finalization_depth: 2,
            miner_share: 8_000,
            max_withdrawals: 256,
            auxpow: AuxPowSpec {
                chain_id: 0x0a17,
                spacing: 60,
                half_life: 3_600,
                initial_bits: 0x207f_ffff,
                min_auxpow_work: U256::from(2),
                allow_output_commitment: false,
            },
            evm: EvmSpec {
                chain_id: 31_337,
                genesis_hash: B256::repeat_byte(0x11),
                genesis_prev_randao: B256::repeat_byte(0x22),
                genesis_file_hash: B256::repeat_byte(0x33),
                fee_recipient: Address::repeat_byte(0xfe),
                genesis_allocation: U256::from(1_000_000_000_000_000_000_000u128),
            },
            peg: VariableList::empty(),
        };
        let public_keys = keys.iter().map(SecretKey::public_key).collect();
        Self { spec, keys, public_keys, scheme, plant: None }
    }

    /// The default configuration of a member, or of a node that is none.
    pub fn config(&self, member: Option<usize>) -> ChainConfig {
        ChainConfig { member_key: member.map(|index| self.public_key(index)), ..ChainConfig::default() }
    }

    /// A member's key as the spec has it.
    pub fn public_key(&self, index: usize) -> PublicKeyBytes {
        PublicKeyBytes::from(self.public_keys[index].to_bytes())
    }

    /// A chain at genesis.
    pub fn genesis(&self, config: ChainConfig) -> Chain {
        match self.scheme {
            SchemeKind::Bls => Chain::genesis(self.spec.clone(), config).expect("a usable spec"),
            SchemeKind::Unproven => super::genesis(self.spec.clone(), config, self.plant).expect("a usable spec"),
        }
    }

    /// A chain from what a store kept.
    ///
    /// # Errors
    /// As [`Chain::restore`].
    pub fn restore(&self, config: ChainConfig, restored: Restored) -> Result<Chain, RestoreError> {
        match self.scheme {
            SchemeKind::Bls => Chain::restore(self.spec.clone(), config, restored),
            SchemeKind::Unproven => super::restore(self.spec.clone(), config, restored, self.plant),
        }
    }

    /// Start of a slot.
    pub fn slot_start(&self, slot: u64) -> UnixMillis {
        self.spec.slot_start_millis(Slot(slot))
    }
}

/// The key of a test member.
pub(super) fn key(index: usize) -> SecretKey {
    let mut material = [7; 32];
    material[0] = u8::try_from(index % 251).unwrap_or(0);
    material[1] = u8::try_from(index / 251).unwrap_or(0);
    SecretKey::generate(&material).expect("32 bytes of material")
}

/// A member entry for a key; its fee address is made of its index plus one.
pub(super) fn member(index: usize, key: &SecretKey, scheme: SchemeKind) -> Member {
    Member {
        public_key: PublicKeyBytes::from(key.public_key().to_bytes()),
        proof_of_possession: match scheme {
            SchemeKind::Bls => SignatureBytes::from(key.prove_possession().to_bytes()),
            SchemeKind::Unproven => SignatureBytes::ZERO,
        },
        fee_address: Address::repeat_byte(u8::try_from(index + 1).unwrap_or(u8::MAX)),
    }
}
