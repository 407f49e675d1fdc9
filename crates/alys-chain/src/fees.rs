//! What the carrier of an AuxPoW mints: the fees of its bundle's blocks, again (protocol section 7).

use crate::federation::Federation;
use alys_primitives::{Address, Gwei, U256, Wei, Withdrawal, WithdrawalKind};

/// Hundredths of a percent in one.
const WHOLE: u64 = 10_000;

/// How the fees of a bundle are shared out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Distribution {
    /// In the order in which the payload must hold them. Nobody gets a withdrawal of nothing.
    pub(crate) withdrawals: Vec<Withdrawal>,
    /// What is left for the next bundle, in wei.
    pub(crate) carry: Wei,
    /// Sum of the withdrawals, in wei.
    pub(crate) minted: Wei,
}

/// Shares out a bundle's fees: the miner gets its share of them, the rest and what earlier bundles left over go evenly
/// to the members. Shares are rounded down to whole gwei; what rounding leaves is carried over.
///
/// `None` if an amount does not fit its type, which takes more coins than exist.
pub(crate) fn distribute(
    fees: Wei,
    carry: Wei,
    miner_share: u64,
    miner: Address,
    federation: &Federation,
    first_index: u64,
) -> Option<Distribution> {
    let total = fees.checked_add(carry)?;
    let for_miner = miner_reward(fees, miner_share)?;
    let rest = total.checked_sub(for_miner.to_wei())?;
    let members = U256::from(federation.len());
    let (for_member, _) = Gwei::from_wei(rest.checked_div(members)?)?;

    let shares = std::iter::once((WithdrawalKind::Miner, miner, for_miner))
        .chain(federation.members().iter().map(|member| (WithdrawalKind::Federation, member.fee_address, for_member)));
    let mut withdrawals = Vec::new();
    let mut minted = Wei::ZERO;
    let mut index = first_index;
    for (kind, address, amount) in shares.filter(|(_, _, amount)| amount.0 > 0) {
        withdrawals.push(Withdrawal { index, validator_index: kind.validator_index(), address, amount });
        minted = minted.checked_add(amount.to_wei())?;
        index = index.checked_add(1)?;
    }
    Some(Distribution { withdrawals, carry: total.checked_sub(minted)?, minted })
}

/// The miner's part of a bundle's fees.
pub(crate) fn miner_reward(fees: Wei, miner_share: u64) -> Option<Gwei> {
    let part = fees.checked_mul(U256::from(miner_share))?.checked_div(U256::from(WHOLE))?;
    Gwei::from_wei(part).map(|(gwei, _)| gwei)
}
