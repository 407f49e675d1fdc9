//! Genesis: geth's file format in, the first block and its state out.

use crate::forks::{ForkError, Forks};
use crate::trie::{AccountUpdate, StateUpdate};
use alloy_consensus::Header;
use alloy_consensus::constants::{EMPTY_OMMER_ROOT_HASH, EMPTY_ROOT_HASH, EMPTY_WITHDRAWALS, KECCAK_EMPTY};
use alloy_consensus::proofs::state_root_ref_unhashed;
use alloy_eips::eip7685::EMPTY_REQUESTS_HASH;
use alloy_eips::eip7840::BlobParams;
use alloy_eips::{eip2935, eip4788, eip7002, eip7251};
use alloy_evm::revm::primitives::hardfork::SpecId;
use alloy_genesis::{ChainConfig, Genesis, GenesisAccount};
use alloy_primitives::{Address, B64, B256, Bytes, U256, hex, keccak256};
use alloy_trie::TrieAccount;
use std::collections::BTreeMap;

/// The largest genesis file that is read.
pub const MAX_GENESIS_BYTES: usize = 16 << 20;

/// What an account of a genesis file has.
const ACCOUNT_FIELDS: [&str; 5] = ["nonce", "balance", "code", "storage", "secretKey"];

/// Where the bridge contract stands.
pub const BRIDGE_ADDRESS: Address = alys_engine::BRIDGE_ADDRESS;

/// Gas limit of the chains that [`alys_genesis`] makes.
pub const DEFAULT_GAS_LIMIT: u64 = 30_000_000;

/// Base fee of the first block of the chains that [`alys_genesis`] makes: 1 gwei.
pub const INITIAL_BASE_FEE: u64 = 1_000_000_000;

/// Runtime bytecode of the bridge contract as hex text, made by `contracts/build.mjs`.
const BRIDGE_CODE: &str = include_str!("../contracts/bridge.runtime.hex");

/// Why a genesis file is refused.
#[derive(Debug, thiserror::Error)]
pub enum GenesisError {
    /// The file is too long.
    #[error("genesis: {bytes} bytes are more than {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The most bytes read.
        limit: usize,
    },
    /// It is not JSON of the right shape.
    #[error("genesis: {0}")]
    Json(#[from] serde_json::Error),
    /// Its fork schedule is wrong.
    #[error(transparent)]
    Forks(#[from] ForkError),
    /// A field has a value that can't be.
    #[error("genesis: `{field}` is {problem}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// Reads a genesis file in geth's format.
///
/// # Errors
/// [`GenesisError`], before anything larger than [`MAX_GENESIS_BYTES`] is decoded.
pub fn parse_genesis(json: &[u8]) -> Result<Genesis, GenesisError> {
    if json.len() > MAX_GENESIS_BYTES {
        return Err(GenesisError::TooLarge { bytes: json.len(), limit: MAX_GENESIS_BYTES });
    }
    let mut document: serde_json::Value = serde_json::from_slice(json)?;
    // Accounts often carry comments, and contracts no balance.
    for account in document.get_mut("alloc").and_then(|alloc| alloc.as_object_mut()).into_iter().flatten() {
        if let Some(fields) = account.1.as_object_mut() {
            fields.retain(|field, _| ACCOUNT_FIELDS.contains(&field.as_str()));
            fields.entry("balance").or_insert_with(|| "0x0".into());
        }
    }
    let genesis: Genesis = serde_json::from_value(document)?;
    Forks::new(&genesis.config)?;
    genesis_header(&genesis)?;
    Ok(genesis)
}

/// The header of a genesis block, with the root of its state.
///
/// # Errors
/// [`GenesisError`] if the schedule or a field is wrong.
pub fn genesis_header(genesis: &Genesis) -> Result<Header, GenesisError> {
    let forks = Forks::new(&genesis.config)?;
    let number = genesis.number.unwrap_or_default();
    let spec = forks.spec_at(number, genesis.timestamp);
    let accounts: BTreeMap<Address, TrieAccount> =
        genesis.alloc.iter().map(|(address, account)| (*address, account.clone().into_trie_account())).collect();
    let base_fee = match genesis.base_fee_per_gas {
        Some(fee) => u64::try_from(fee)
            .map_err(|_| GenesisError::Field { field: "baseFeePerGas", problem: "more than 64 bits" })?,
        None => INITIAL_BASE_FEE,
    };
    if genesis.gas_limit == 0 {
        return Err(GenesisError::Field { field: "gasLimit", problem: "zero" });
    }
    let since = |fork: SpecId| spec.is_enabled_in(fork);
    Ok(Header {
        parent_hash: genesis.parent_hash.unwrap_or_default(),
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        beneficiary: genesis.coinbase,
        state_root: state_root_ref_unhashed(&accounts),
        transactions_root: EMPTY_ROOT_HASH,
        receipts_root: EMPTY_ROOT_HASH,
        difficulty: genesis.difficulty,
        number,
        gas_limit: genesis.gas_limit,
        timestamp: genesis.timestamp,
        extra_data: genesis.extra_data.clone(),
        mix_hash: genesis.mix_hash,
        nonce: B64::from(genesis.nonce.to_be_bytes()),
        base_fee_per_gas: since(SpecId::LONDON).then_some(base_fee),
        withdrawals_root: since(SpecId::SHANGHAI).then_some(EMPTY_WITHDRAWALS),
        blob_gas_used: since(SpecId::CANCUN).then(|| genesis.blob_gas_used.unwrap_or_default()),
        excess_blob_gas: since(SpecId::CANCUN).then(|| genesis.excess_blob_gas.unwrap_or_default()),
        parent_beacon_block_root: since(SpecId::CANCUN).then_some(B256::ZERO),
        requests_hash: since(SpecId::PRAGUE).then_some(EMPTY_REQUESTS_HASH),
        ..Header::default()
    })
}

/// Hash of a genesis block.
///
/// # Errors
/// As [`genesis_header`].
pub fn genesis_hash(genesis: &Genesis) -> Result<B256, GenesisError> {
    Ok(genesis_header(genesis)?.hash_slow())
}

/// The genesis state as changes to an empty one, and the code that it needs.
pub(crate) fn genesis_state(genesis: &Genesis) -> (StateUpdate, BTreeMap<B256, Bytes>) {
    let mut state = StateUpdate::new();
    let mut codes = BTreeMap::new();
    for (address, account) in &genesis.alloc {
        let code_hash = match account.non_empty_code() {
            Some(code) => {
                let hash = keccak256(code);
                codes.insert(hash, code.clone());
                hash
            }
            None => KECCAK_EMPTY,
        };
        let storage = account.storage_slots().map(|(slot, value)| (slot.into(), value)).collect();
        let info = Some((account.nonce.unwrap_or_default(), account.balance, code_hash));
        state.insert(*address, AccountUpdate { info, wiped: false, storage });
    }
    (state, codes)
}

/// What differs between the chains that [`alys_genesis`] makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlysGenesis {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Time of the genesis block, in seconds since the Unix epoch.
    pub timestamp: u64,
    /// Funded accounts with their balances in wei.
    pub balances: BTreeMap<Address, U256>,
    /// Gas limit of the genesis block, which later blocks keep.
    pub gas_limit: u64,
    /// `prevRandao` of the genesis block.
    pub prev_randao: B256,
}

/// A genesis file for an Alys chain: Prague rules from the start, no blobs, the system contracts of EIP-4788, 2935,
/// 7002 and 7251 at their canonical addresses, and the bridge contract (protocol section 7).
///
/// # Errors
/// [`GenesisError::Field`] if a funded account is one of those contracts.
pub fn alys_genesis(chain: &AlysGenesis) -> Result<Genesis, GenesisError> {
    let no_blobs = BlobParams { target_blob_count: 0, max_blob_count: 0, max_blobs_per_tx: 0, ..BlobParams::prague() };
    let config = ChainConfig {
        chain_id: chain.chain_id,
        homestead_block: Some(0),
        eip150_block: Some(0),
        eip155_block: Some(0),
        eip158_block: Some(0),
        byzantium_block: Some(0),
        constantinople_block: Some(0),
        petersburg_block: Some(0),
        istanbul_block: Some(0),
        berlin_block: Some(0),
        london_block: Some(0),
        merge_netsplit_block: Some(0),
        terminal_total_difficulty: Some(U256::ZERO),
        terminal_total_difficulty_passed: true,
        shanghai_time: Some(0),
        cancun_time: Some(0),
        prague_time: Some(0),
        deposit_contract_address: Some(Address::ZERO),
        blob_schedule: [("cancun".to_owned(), no_blobs), ("prague".to_owned(), no_blobs)].into(),
        ..ChainConfig::default()
    };
    let bridge = hex::decode(BRIDGE_CODE.trim())
        .map_err(|_| GenesisError::Field { field: "bridge code", problem: "not hex" })?;
    let contracts = [
        (eip4788::BEACON_ROOTS_ADDRESS, eip4788::BEACON_ROOTS_CODE.clone()),
        (eip2935::HISTORY_STORAGE_ADDRESS, eip2935::HISTORY_STORAGE_CODE.clone()),
        (eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_CODE.clone()),
        (eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_CODE.clone()),
        (BRIDGE_ADDRESS, Bytes::from(bridge)),
    ];
    let mut alloc: BTreeMap<Address, GenesisAccount> = chain
        .balances
        .iter()
        .map(|(address, balance)| (*address, GenesisAccount { balance: *balance, ..GenesisAccount::default() }))
        .collect();
    for (address, code) in contracts {
        let account = GenesisAccount { nonce: Some(1), code: Some(code), ..GenesisAccount::default() };
        if alloc.insert(address, account).is_some() {
            return Err(GenesisError::Field { field: "balances", problem: "funding a system contract" });
        }
    }
    let genesis = Genesis {
        config,
        timestamp: chain.timestamp,
        gas_limit: chain.gas_limit,
        mix_hash: chain.prev_randao,
        base_fee_per_gas: Some(u128::from(INITIAL_BASE_FEE)),
        excess_blob_gas: Some(0),
        blob_gas_used: Some(0),
        alloc,
        ..Genesis::default()
    };
    genesis_header(&genesis)?;
    Ok(genesis)
}
