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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{scheme::Scheme, testing::Fixture};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn fees_are_shared_out_to_the_last_wei(
            fees: u128, carry in 0u64..1 << 40, share in 0u64..=10_000, members in 1usize..9, index in 0u64..1 << 60,
        ) {
            let fixture = Fixture::new(members);
            let scheme = Scheme::Unproven(None);
            let Ok(federation) = Federation::new(fixture.spec.members.clone(), scheme) else { return Ok(()) };
            // No more coins than exist: 21 million bitcoin are 2.1e25 wei.
            let fees = Wei::from(fees % 21_000_000_000_000_000_000_000_000u128);
            let carry = Wei::from(carry);
            let miner = Address::repeat_byte(0xaa);
            let Some(shared) = distribute(fees, carry, share, miner, &federation, index) else {
                return Err(TestCaseError::fail("fits"));
            };
            let sum = shared.withdrawals.iter().fold(Wei::ZERO, |sum, it| sum.saturating_add(it.amount.to_wei()));
            prop_assert_eq!(sum, shared.minted);
            prop_assert_eq!(shared.minted.saturating_add(shared.carry), fees.saturating_add(carry));
            // What is carried over is less than a gwei each for the miner and the members.
            let places = U256::from(members).saturating_add(U256::from(1));
            prop_assert!(shared.carry < places.saturating_mul(U256::from(1_000_000_000u64)));
            // Numbered without gap; the miner first, then the members in order, all alike.
            for (withdrawal, expected) in shared.withdrawals.iter().zip(index..) {
                prop_assert_eq!(withdrawal.index, expected);
                prop_assert!(withdrawal.amount.0 > 0);
            }
            let of_members: Vec<_> = shared.withdrawals.iter().filter(|it| it.validator_index == 1).collect();
            prop_assert!(of_members.windows(2).all(|pair| pair.iter().all(|it| Some(it.amount) == pair.first().map(|it| it.amount))));
            prop_assert!(of_members.is_empty() || of_members.len() == members);
            // The miner's part is of this bundle's fees alone, rounded down.
            let of_miner = shared.withdrawals.iter().find(|it| it.validator_index == 0);
            let of_miner = of_miner.map_or(Gwei(0), |it| it.amount);
            prop_assert_eq!(Some(of_miner), miner_reward(fees, share));
            // Nothing depends on anything but the arguments.
            prop_assert_eq!(distribute(fees, carry, share, miner, &federation, index), Some(shared));
        }
    }
}
