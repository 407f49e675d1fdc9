//! Which blocks a simulation has, and when they are.

use super::simulate::{SimulateError, refused};
use alloy_consensus::Header;
use alloy_eips::eip4895::Withdrawal;
use alloy_rpc_types_eth::simulate::{MAX_SIMULATE_BLOCKS, SimBlock};
use alloy_rpc_types_eth::state::StateOverride;
use alloy_rpc_types_eth::{BlockOverrides, TransactionRequest};

/// Seconds between blocks that do not say when they are.
const BLOCK_SECONDS: u64 = 12;

/// A block to simulate, whose number and time are settled.
pub(super) struct Planned<'a> {
    pub(super) number: u64,
    pub(super) timestamp: u64,
    pub(super) overrides: BlockOverrides,
    pub(super) state: Option<&'a StateOverride>,
    pub(super) calls: &'a [TransactionRequest],
    pub(super) withdrawals: &'a [Withdrawal],
}

/// Settles numbers and times; what is left out between two blocks is filled with empty ones.
///
/// Of the blocks' withdrawals those that are missing are none.
pub(super) fn chain<'a>(
    asked: &'a [SimBlock],
    withdrawals: &'a [Vec<Withdrawal>],
    base: &Header,
) -> Result<Vec<Planned<'a>>, SimulateError> {
    if asked.is_empty() {
        return Err(refused(-32602, "empty input"));
    }
    let too_many = || refused(-38026, "too many blocks");
    if u64::try_from(asked.len()).is_ok_and(|count| count > MAX_SIMULATE_BLOCKS) {
        return Err(too_many());
    }
    let mut planned = Vec::new();
    let (mut number, mut timestamp) = (base.number, base.timestamp);
    let withdrawals = withdrawals.iter().map(Vec::as_slice).chain(std::iter::repeat(&[][..]));
    for (block, withdrawals) in asked.iter().zip(withdrawals) {
        let overrides = block.block_overrides.clone().unwrap_or_default();
        let wanted = match overrides.number {
            Some(wanted) => u64::try_from(wanted).map_err(|_| too_many())?,
            None => number.saturating_add(1),
        };
        if wanted <= number {
            return Err(refused(-38020, format!("block numbers must be in order: {wanted} <= {number}")));
        }
        if wanted.saturating_sub(base.number) > MAX_SIMULATE_BLOCKS {
            return Err(too_many());
        }
        while number.saturating_add(1) < wanted {
            number = number.saturating_add(1);
            timestamp = timestamp.saturating_add(BLOCK_SECONDS);
            let overrides = BlockOverrides::default();
            planned.push(Planned { number, timestamp, overrides, state: None, calls: &[], withdrawals: &[] });
        }
        number = wanted;
        timestamp = match overrides.time {
            None => timestamp.saturating_add(BLOCK_SECONDS),
            Some(time) if time > timestamp => time,
            Some(time) => {
                return Err(refused(-38021, format!("block timestamps must be in order: {time} <= {timestamp}")));
            }
        };
        let (state, calls) = (block.state_overrides.as_ref(), block.calls.as_slice());
        planned.push(Planned { number, timestamp, overrides, state, calls, withdrawals });
    }
    Ok(planned)
}
