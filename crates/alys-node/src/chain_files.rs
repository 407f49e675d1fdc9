//! The two files that name a chain: its spec and its EVM genesis; and the presets that make them.

use crate::bounded::{ReadError, read_bounded};
use crate::dev_accounts::{BALANCE_BTC, dev_accounts};
use alloy_genesis::Genesis;
use alys_evm::{AlysGenesis, DEFAULT_GAS_LIMIT, GenesisError, alys_genesis, genesis_hash, parse_genesis};
use alys_primitives::{
    Address, AuxPowSpec, B256, BitcoinCheckpoint, BitcoinHeaderBytes, ChainSpec, CustodyKeys, EvmSpec, Fork, Height,
    Member, Members, PegSpec, Sats, SpecError, U256, VariableList,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The largest chain spec file in bytes.
pub(crate) const MAX_SPEC_BYTES: u64 = 1 << 20;

/// The largest genesis file in bytes.
const MAX_GENESIS_BYTES: u64 = 16 << 20;

/// EVM chain id of the presets.
pub const PRESET_CHAIN_ID: u64 = 35_031;

/// Merged-mining chain id of the presets.
pub const PRESET_AUXPOW_CHAIN_ID: u64 = 0x1549;

/// Receives fees, which the carrier of an AuxPoW mints again; nobody holds its key.
pub const BURN_ADDRESS: Address = alloy_primitives::address!("000000000000000000000000000000000000dEaD");

/// Wei in a bitcoin.
const WEI_IN_BTC: u64 = 1_000_000_000_000_000_000;

/// Regtest's target, which every second hash meets: bits of the dev preset's first bundle.
const EASIEST_BITS: u32 = 0x207f_ffff;

/// Bits of the testnet preset's first bundle: about 2^32 hashes.
const TESTNET_BITS: u32 = 0x1d00_ffff;

/// Why a chain's files can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ChainFilesError {
    /// A file can't be read.
    #[error(transparent)]
    File(#[from] ReadError),
    /// A chain spec is malformed.
    #[error("chain spec {path}")]
    Spec {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A chain spec's constants are out of range.
    #[error(transparent)]
    Constants(#[from] SpecError),
    /// A genesis file is malformed.
    #[error("EVM genesis {path}")]
    Genesis {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: GenesisError,
    },
    /// A preset's genesis can't be made.
    #[error("the preset's genesis")]
    Preset(#[from] GenesisError),
    /// Spec and genesis are not of one chain.
    #[error("the EVM genesis has {field} {found}, the chain spec says {expected}")]
    Mismatch {
        /// What differs.
        field: &'static str,
        /// The genesis file's.
        found: String,
        /// The spec's.
        expected: String,
    },
    /// Development accounts can't be derived.
    #[error("development accounts")]
    Accounts(#[from] bitcoin::bip32::Error),
}

/// A chain's constants with the EVM genesis that they name.
#[derive(Clone, Debug)]
pub struct ChainFiles {
    /// The constants.
    pub spec: ChainSpec,
    /// The EVM genesis in geth's format.
    pub genesis: Genesis,
}

impl ChainFiles {
    /// Reads both files and checks that they belong together.
    ///
    /// # Errors
    /// An unreadable, oversized or malformed file; constants out of range; files of two chains.
    pub fn read(spec: &Path, genesis: &Path) -> Result<Self, ChainFilesError> {
        let spec_bytes = read_bounded(spec, MAX_SPEC_BYTES)?;
        let parsed: ChainSpec = serde_json::from_slice(&spec_bytes)
            .map_err(|source| ChainFilesError::Spec { path: spec.to_owned(), source })?;
        parsed.validate()?;
        let genesis_bytes = read_bounded(genesis, MAX_GENESIS_BYTES)?;
        let at_path = |source| ChainFilesError::Genesis { path: genesis.to_owned(), source };
        let parsed_genesis = parse_genesis(&genesis_bytes).map_err(at_path)?;
        let document: Value =
            serde_json::from_slice(&genesis_bytes).map_err(|error| at_path(GenesisError::Json(error)))?;
        let files = Self { spec: parsed, genesis: parsed_genesis };
        files.check(canonical_hash(&document))?;
        Ok(files)
    }

    fn check(&self, file_hash: B256) -> Result<(), ChainFilesError> {
        let evm = &self.spec.evm;
        let same = |field, found: String, expected: String| {
            if found == expected { Ok(()) } else { Err(ChainFilesError::Mismatch { field, found, expected }) }
        };
        same("chain id", self.genesis.config.chain_id.to_string(), evm.chain_id.to_string())?;
        same("hash", genesis_hash(&self.genesis)?.to_string(), evm.genesis_hash.to_string())?;
        same("prevRandao", self.genesis.mix_hash.to_string(), evm.genesis_prev_randao.to_string())?;
        same("canonical file hash", file_hash.to_string(), evm.genesis_file_hash.to_string())?;
        same("allocation", allocation(&self.genesis).to_string(), evm.genesis_allocation.to_string())
    }

    /// The chain spec as a file's text.
    ///
    /// # Errors
    /// Never in practice: every field has a JSON form.
    pub fn spec_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(&self.spec).map(|text| text + "\n")
    }

    /// The genesis as a file's text.
    ///
    /// # Errors
    /// Never in practice: every field has a JSON form.
    pub fn genesis_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(&self.genesis).map(|text| text + "\n")
    }

    /// A chain for development: funded accounts of the well-known mnemonic, easy work, quick finality.
    ///
    /// # Errors
    /// Constants out of range, such as a slot of no length.
    pub fn dev(members: Members, genesis_time: u64, slot_duration: u64) -> Result<Self, ChainFilesError> {
        let balance = U256::from(BALANCE_BTC).saturating_mul(U256::from(WEI_IN_BTC));
        let balances = dev_accounts()?.into_iter().map(|account| (account.address, balance)).collect();
        let auxpow = AuxPowSpec {
            chain_id: PRESET_AUXPOW_CHAIN_ID,
            spacing: 10,
            half_life: 3600,
            initial_bits: EASIEST_BITS,
            min_auxpow_work: U256::from(2u64),
            allow_output_commitment: true,
        };
        let limits = Limits { max_blocks_without_pow: 30, max_bundle_blocks: 120, min_finalization_depth: 2 };
        Self::preset(members, genesis_time, slot_duration, balances, auxpow, limits)
    }

    /// Gives the chain a peg to Bitcoin's regtest, held by these keys: few confirmations' worth of patience, low fees.
    ///
    /// # Errors
    /// Constants out of range, such as no keys.
    pub fn with_regtest_peg(mut self, custody_keys: Vec<B256>) -> Result<Self, ChainFilesError> {
        let genesis = bitcoin::constants::genesis_block(bitcoin::Network::Regtest).header;
        let header = bitcoin::consensus::serialize(&genesis);
        // A majority, which lies between f + 1 and n - f for every n.
        let majority = u64::try_from(custody_keys.len() / 2 + 1).unwrap_or(u64::MAX);
        let peg = PegSpec {
            network_magic: bitcoin::Network::Regtest.magic().to_bytes().into(),
            checkpoint: BitcoinCheckpoint {
                header: BitcoinHeaderBytes::try_from(header.as_slice()).unwrap_or_default(),
                height: 0,
                period_time: u64::from(genesis.time),
                period_bits: u64::from(genesis.bits.to_consensus()),
                earlier_times: VariableList::empty(),
            },
            header_window: 2016,
            confirmations: 6,
            min_pegin: Sats(10_000),
            max_pegins: 16,
            max_batch_requests: 64,
            min_fee_rate: 2_000,
            initial_fee_rate: 2_000,
            max_fee_rate: 500_000,
            bump_interval: 12,
            old_address_grace: 144,
            custody_threshold: majority,
            recovery: VariableList::empty(),
            custody_keys: CustodyKeys::new(custody_keys).unwrap_or_default(),
        };
        self.spec.peg = VariableList::new(vec![peg]).unwrap_or_default();
        self.spec.validate()?;
        Ok(self)
    }

    /// A chain for a federation that tries things out: nobody is funded, blocks cost real work.
    ///
    /// # Errors
    /// Constants out of range.
    pub fn testnet(members: Members, genesis_time: u64, slot_duration: u64) -> Result<Self, ChainFilesError> {
        let auxpow = AuxPowSpec {
            chain_id: PRESET_AUXPOW_CHAIN_ID,
            spacing: 60,
            half_life: 3600,
            initial_bits: TESTNET_BITS,
            min_auxpow_work: U256::from(1u64 << 20),
            allow_output_commitment: false,
        };
        let limits = Limits { max_blocks_without_pow: 1800, max_bundle_blocks: 3600, min_finalization_depth: 6 };
        Self::preset(members, genesis_time, slot_duration, BTreeMap::new(), auxpow, limits)
    }

    fn preset(
        members: Members,
        genesis_time: u64,
        slot_duration: u64,
        balances: BTreeMap<Address, U256>,
        auxpow: AuxPowSpec,
        limits: Limits,
    ) -> Result<Self, ChainFilesError> {
        let chain = AlysGenesis {
            chain_id: PRESET_CHAIN_ID,
            timestamp: genesis_time,
            balances,
            gas_limit: DEFAULT_GAS_LIMIT,
            prev_randao: B256::ZERO,
        };
        let genesis = alys_genesis(&chain)?;
        let document = serde_json::to_value(&genesis).map_err(GenesisError::Json)?;
        let evm = EvmSpec {
            chain_id: chain.chain_id,
            genesis_hash: genesis_hash(&genesis)?,
            genesis_prev_randao: chain.prev_randao,
            genesis_file_hash: canonical_hash(&document),
            genesis_allocation: allocation(&genesis),
            fee_recipient: BURN_ADDRESS,
        };
        let first_rules = Fork { activation_height: Height(0), fork_version: Default::default() };
        let spec = ChainSpec {
            genesis_time,
            slot_duration,
            max_clock_drift: 500,
            forks: VariableList::new(vec![first_rules]).unwrap_or_default(),
            members,
            epoch_delay: 32,
            max_blocks_without_pow: limits.max_blocks_without_pow,
            max_bundle_blocks: limits.max_bundle_blocks,
            min_finalization_depth: limits.min_finalization_depth,
            miner_share: 8000,
            max_withdrawals: 256,
            auxpow,
            evm,
            peg: VariableList::empty(),
        };
        spec.validate()?;
        Ok(Self { spec, genesis })
    }
}

struct Limits {
    max_blocks_without_pow: u64,
    max_bundle_blocks: u64,
    min_finalization_depth: u64,
}

/// A member entry for a chain spec.
pub fn member(key: &alys_crypto::SecretKey, fee_address: Address) -> Member {
    Member {
        public_key: key.public_key().to_bytes().into(),
        proof_of_possession: key.prove_possession().to_bytes().into(),
        fee_address,
    }
}

/// Everything that the genesis hands out, in wei.
fn allocation(genesis: &Genesis) -> U256 {
    genesis.alloc.values().fold(U256::ZERO, |sum, account| sum.saturating_add(account.balance))
}

/// SHA-256 over a document without blanks and with the keys of every object in order of their bytes.
fn canonical_hash(document: &Value) -> B256 {
    let mut text = String::new();
    write_canonical(document, &mut text);
    B256::from_slice(&Sha256::digest(text.as_bytes()))
}

fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(entries) => {
            let sorted: BTreeMap<&String, &Value> = entries.iter().collect();
            text.push('{');
            for (position, (key, entry)) in sorted.into_iter().enumerate() {
                if position > 0 {
                    text.push(',');
                }
                text.push_str(&Value::String(key.clone()).to_string());
                text.push(':');
                write_canonical(entry, text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    text.push(',');
                }
                write_canonical(item, text);
            }
            text.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => text.push_str(&value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_member() -> Members {
        let key = alys_crypto::SecretKey::generate(&[7; 32]).unwrap();
        Members::new(vec![member(&key, Address::repeat_byte(1))]).unwrap()
    }

    fn write(files: &ChainFiles, genesis: &str) -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let paths = (folder.path().join("chain.json"), folder.path().join("genesis.json"));
        std::fs::write(&paths.0, files.spec_json().unwrap()).unwrap();
        std::fs::write(&paths.1, genesis).unwrap();
        (folder, paths.0, paths.1)
    }

    #[test]
    fn presets_read_back_as_written() {
        for files in
            [ChainFiles::dev(one_member(), 1_700_000_000, 2), ChainFiles::testnet(one_member(), 1_700_000_000, 2)]
        {
            let files = files.unwrap();
            let (_folder, spec, genesis) = write(&files, &files.genesis_json().unwrap());
            let read = ChainFiles::read(&spec, &genesis).unwrap();
            assert_eq!(read.spec.genesis_root(), files.spec.genesis_root());
        }
    }

    #[test]
    fn a_genesis_whose_schedule_was_changed_is_refused() {
        let files = ChainFiles::dev(one_member(), 1_700_000_000, 2).unwrap();
        let mut document: Value = serde_json::from_str(&files.genesis_json().unwrap()).unwrap();
        document["config"]["osakaTime"] = 2_000_000_000u64.into();
        let (_folder, spec, genesis) = write(&files, &document.to_string());
        let error = ChainFiles::read(&spec, &genesis).unwrap_err();
        assert!(matches!(error, ChainFilesError::Mismatch { field: "canonical file hash", .. }), "{error}");
    }

    #[test]
    fn a_genesis_with_other_money_is_refused() {
        let files = ChainFiles::dev(one_member(), 1_700_000_000, 2).unwrap();
        let other = ChainFiles::testnet(one_member(), 1_700_000_000, 2).unwrap();
        let (_folder, spec, genesis) = write(&files, &other.genesis_json().unwrap());
        assert!(matches!(ChainFiles::read(&spec, &genesis), Err(ChainFilesError::Mismatch { field: "hash", .. })));
    }

    #[test]
    fn unknown_constants_are_refused() {
        let files = ChainFiles::dev(one_member(), 1_700_000_000, 2).unwrap();
        let (_folder, spec, genesis) = write(&files, &files.genesis_json().unwrap());
        let text = std::fs::read_to_string(&spec).unwrap().replacen('{', "{\"max_block_size\": 1,", 1);
        std::fs::write(&spec, text).unwrap();
        assert!(matches!(ChainFiles::read(&spec, &genesis), Err(ChainFilesError::Spec { .. })));
    }
}
