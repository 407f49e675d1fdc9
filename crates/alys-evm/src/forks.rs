//! The fork schedule of a genesis file, in the words of the execution crates.

use alloy_eips::eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS;
use alloy_eips::eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS;
use alloy_eips::eip7840::BlobParams;
use alloy_eips::{BlobScheduleBlobParams, eip1559::BaseFeeParams};
use alloy_evm::eth::spec::EthExecutorSpec;
use alloy_evm::spec_by_timestamp_and_block_number;
use alloy_genesis::ChainConfig;
use alloy_hardforks::{EthereumChainHardforks, EthereumHardfork, EthereumHardforks, ForkCondition};
use alloy_primitives::Address;
use alys_engine::ForkTimes;
use revm::primitives::hardfork::SpecId;

/// Which rules hold when. Forks before the merge are switched by block number, later ones by time. A chain of our own
/// begins after the merge; older rules serve to import chains that began before it.
#[derive(Clone, Debug)]
pub struct Forks {
    chain_id: u64,
    activations: EthereumChainHardforks,
    deposit_contract: Address,
    /// Of EIP-7002 and EIP-7251.
    request_contracts: [Address; 2],
    blobs: BlobScheduleBlobParams,
}

/// Why a fork schedule is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForkError {
    /// The merge is not scheduled by block number.
    #[error(
        "genesis: `terminalTotalDifficulty` must be 0, or `mergeNetsplitBlock` the number of the first block after it"
    )]
    NoMerge,
    /// A fork is scheduled before the one that it builds on.
    #[error("genesis: `{later}` is scheduled before `{earlier}`")]
    OutOfOrder {
        /// The fork that must come first.
        earlier: &'static str,
        /// The fork that must come second.
        later: &'static str,
    },
    /// A fork that this program does not know.
    #[error("genesis: `{fork}` is scheduled, which this program does not know; run a newer one")]
    Unknown {
        /// The field of the chain config.
        fork: &'static str,
    },
    /// An address that is none.
    #[error("genesis: `{field}` is no address: {reason}")]
    Address {
        /// The field of the chain config.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Blob parameters that make no sense.
    #[error(
        "genesis: blobSchedule of `{fork}` must have target ≤ max ≤ {limit} and a base fee update fraction above 0"
    )]
    BlobParams {
        /// The fork.
        fork: &'static str,
        /// The most blobs that a block can have.
        limit: u64,
    },
}

/// An address that a key of the chain config may put in place of Ethereum's.
fn moved(config: &ChainConfig, field: &'static str, usual: Address) -> Result<Address, ForkError> {
    match config.extra_fields.get_deserialized::<Address>(field) {
        None => Ok(usual),
        Some(Ok(address)) => Ok(address),
        Some(Err(error)) => Err(ForkError::Address { field, reason: error.to_string() }),
    }
}

/// Far above any schedule, and low enough for blob gas to stay within 64 bits.
const MAX_BLOBS: u64 = 4096;

impl Forks {
    /// Reads the schedule of a chain config. A fork that is left out is active with the next later one.
    ///
    /// # Errors
    /// [`ForkError`], naming the field that is wrong.
    pub fn new(config: &ChainConfig) -> Result<Self, ForkError> {
        use EthereumHardfork as Fork;
        let merge = match (config.terminal_total_difficulty, config.merge_netsplit_block) {
            (_, Some(block)) => block,
            (Some(difficulty), None) if difficulty.is_zero() => 0,
            _ => return Err(ForkError::NoMerge),
        };
        let unknown = [("amsterdamTime", config.amsterdam_time), ("bogotaTime", config.bogota_time)];
        if let Some((fork, _)) = unknown.into_iter().find(|(_, time)| time.is_some()) {
            return Err(ForkError::Unknown { fork });
        }
        let mut activations = vec![(Fork::Frontier, ForkCondition::Block(0))];
        let mut later = ("mergeNetsplitBlock", merge);
        for (fork, name, block) in [
            (Fork::Paris, "mergeNetsplitBlock", Some(merge)),
            (Fork::GrayGlacier, "grayGlacierBlock", config.gray_glacier_block),
            (Fork::ArrowGlacier, "arrowGlacierBlock", config.arrow_glacier_block),
            (Fork::London, "londonBlock", config.london_block),
            (Fork::Berlin, "berlinBlock", config.berlin_block),
            (Fork::MuirGlacier, "muirGlacierBlock", config.muir_glacier_block),
            (Fork::Istanbul, "istanbulBlock", config.istanbul_block),
            (Fork::Petersburg, "petersburgBlock", config.petersburg_block),
            (Fork::Constantinople, "constantinopleBlock", config.constantinople_block),
            (Fork::Byzantium, "byzantiumBlock", config.byzantium_block),
            (Fork::SpuriousDragon, "eip158Block", config.eip158_block),
            (Fork::Tangerine, "eip150Block", config.eip150_block),
            (Fork::Homestead, "homesteadBlock", config.homestead_block),
        ] {
            let block = block.unwrap_or(later.1);
            if block > later.1 {
                return Err(ForkError::OutOfOrder { earlier: name, later: later.0 });
            }
            later = (name, block);
            activations.push((fork, ForkCondition::Block(block)));
        }
        let mut times = [
            (Fork::Shanghai, "shanghaiTime", config.shanghai_time),
            (Fork::Cancun, "cancunTime", config.cancun_time),
            (Fork::Prague, "pragueTime", config.prague_time),
            (Fork::Osaka, "osakaTime", config.osaka_time),
        ];
        let mut later: Option<(&'static str, u64)> = None;
        for (_, name, time) in times.iter_mut().rev() {
            if time.is_none() {
                *time = later.map(|(_, time)| time);
            }
            match (*time, later) {
                (Some(time), Some((later, later_time))) if time > later_time => {
                    return Err(ForkError::OutOfOrder { earlier: name, later });
                }
                _ => {}
            }
            later = time.map(|time| (*name, time));
        }
        activations
            .extend(times.into_iter().filter_map(|(fork, _, time)| Some((fork, ForkCondition::Timestamp(time?)))));
        let mut blobs = config.blob_schedule_blob_params();
        if let (Some(prague), None) = (config.blob_schedule.get("prague"), config.blob_schedule.get("osaka")) {
            // A chain without blobs does not get any with a fork that is not about them.
            blobs.osaka.target_blob_count = prague.target_blob_count;
            blobs.osaka.max_blob_count = prague.max_blob_count;
            blobs.osaka.update_fraction = prague.update_fraction;
        }
        let named = [("cancun", blobs.cancun), ("prague", blobs.prague), ("osaka", blobs.osaka)];
        let scheduled = blobs.scheduled.iter().map(|(_, params)| ("bpo", *params));
        for (fork, params) in named.into_iter().chain(scheduled) {
            let sane = params.target_blob_count <= params.max_blob_count && params.max_blob_count <= MAX_BLOBS;
            if !sane || params.update_fraction == 0 {
                return Err(ForkError::BlobParams { fork, limit: MAX_BLOBS });
            }
        }
        Ok(Self {
            chain_id: config.chain_id,
            activations: EthereumChainHardforks::new(activations),
            // As geth: a chain without the setting has its deposit contract nowhere.
            deposit_contract: config.deposit_contract_address.unwrap_or_default(),
            request_contracts: [
                moved(config, "withdrawalRequestContractAddress", WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS)?,
                moved(config, "consolidationRequestContractAddress", CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS)?,
            ],
            blobs,
        })
    }

    /// When the forks begin by which the Engine API's methods differ.
    pub fn times(&self) -> ForkTimes {
        let time = |fork| self.ethereum_fork_activation(fork).as_timestamp();
        ForkTimes {
            shanghai: time(EthereumHardfork::Shanghai),
            cancun: time(EthereumHardfork::Cancun),
            prague: time(EthereumHardfork::Prague),
            osaka: time(EthereumHardfork::Osaka),
        }
    }

    /// Where the contracts stand that collect withdrawal and consolidation requests: Ethereum's addresses, unless the
    /// genesis file moves them as Besu's can.
    pub const fn request_contracts(&self) -> [Address; 2] {
        self.request_contracts
    }

    /// EIP-155 chain id.
    pub const fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// The rules of a block.
    pub fn spec_at(&self, number: u64, timestamp: u64) -> SpecId {
        spec_by_timestamp_and_block_number(self, timestamp, number)
    }

    /// Blob parameters of a block of that time; `None` before Cancun.
    pub fn blob_params_at(&self, timestamp: u64) -> Option<BlobParams> {
        if let Some(params) = self.blobs.active_scheduled_params_at_timestamp(timestamp) {
            return Some(*params);
        }
        if self.is_osaka_active_at_timestamp(timestamp) {
            Some(self.blobs.osaka)
        } else if self.is_prague_active_at_timestamp(timestamp) {
            Some(self.blobs.prague)
        } else if self.is_cancun_active_at_timestamp(timestamp) {
            Some(self.blobs.cancun)
        } else {
            None
        }
    }

    /// How base fees move (EIP-1559).
    pub const fn base_fee_params(&self) -> BaseFeeParams {
        BaseFeeParams::ethereum()
    }
}

impl EthereumHardforks for Forks {
    fn ethereum_fork_activation(&self, fork: EthereumHardfork) -> ForkCondition {
        self.activations.ethereum_fork_activation(fork)
    }
}

impl EthExecutorSpec for Forks {
    fn deposit_contract_address(&self) -> Option<Address> {
        Some(self.deposit_contract)
    }
}
