//! The rules that a transaction must keep on its own, and against its sender's account.

use super::{InvalidTransaction, PoolAccount, PoolHead, PooledTransaction};
use alloy_consensus::transaction::Transaction as _;
use alloy_consensus::{TxType, Typed2718 as _};
use alloy_primitives::U256;
use revm::context_interface::cfg::gas::calculate_initial_tx_gas;
use revm::primitives::eip3860::MAX_INITCODE_SIZE;
use revm::primitives::eip7825::TX_GAS_LIMIT_CAP;
use revm::primitives::hardfork::SpecId;

/// Checks what needs no account: type, fees, gas, initcode, authorizations.
///
/// # Errors
/// The first rule that is broken.
pub(super) fn against_rules(pooled: &PooledTransaction, head: &PoolHead) -> Result<(), InvalidTransaction> {
    let transaction = pooled.transaction();
    let rules = head.next_rules;
    let since = match transaction.tx_type() {
        TxType::Legacy => SpecId::FRONTIER,
        TxType::Eip2930 => SpecId::BERLIN,
        TxType::Eip1559 => SpecId::LONDON,
        TxType::Eip4844 => return Err(InvalidTransaction::Blob),
        TxType::Eip7702 => SpecId::PRAGUE,
    };
    if !rules.is_enabled_in(since) {
        return Err(InvalidTransaction::UnsupportedType { kind: transaction.ty() });
    }
    if transaction.is_create() && rules.is_enabled_in(SpecId::SHANGHAI) && transaction.input().len() > MAX_INITCODE_SIZE
    {
        return Err(InvalidTransaction::Initcode { size: transaction.input().len(), limit: MAX_INITCODE_SIZE });
    }
    if transaction.authorization_list().is_some_and(<[_]>::is_empty) {
        return Err(InvalidTransaction::EmptyAuthorizations);
    }
    if transaction.nonce() == u64::MAX {
        return Err(InvalidTransaction::NonceMax);
    }
    if pooled.tip() > pooled.fee() {
        return Err(InvalidTransaction::TipAboveFee { tip: pooled.tip(), fee: pooled.fee() });
    }
    gas(pooled, head)
}

fn gas(pooled: &PooledTransaction, head: &PoolHead) -> Result<(), InvalidTransaction> {
    let transaction = pooled.transaction();
    let gas = transaction.gas_limit();
    if gas > head.gas_limit {
        return Err(InvalidTransaction::BlockGasLimit { gas, limit: head.gas_limit });
    }
    if head.next_rules.is_enabled_in(SpecId::OSAKA) && gas > TX_GAS_LIMIT_CAP {
        return Err(InvalidTransaction::GasCap { gas, cap: TX_GAS_LIMIT_CAP });
    }
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let (accounts, slots) = transaction.access_list().map_or((0, 0), |list| {
        (count(list.len()), list.iter().fold(0u64, |sum, item| sum.saturating_add(count(item.storage_keys.len()))))
    });
    let needed = calculate_initial_tx_gas(
        head.next_rules,
        transaction.input(),
        transaction.is_create(),
        accounts,
        slots,
        transaction.authorization_count().unwrap_or(0),
        None,
    );
    if gas < needed.initial_total_gas() {
        return Err(InvalidTransaction::IntrinsicGas { gas, needed: needed.initial_total_gas() });
    }
    if gas < needed.floor_gas {
        return Err(InvalidTransaction::FloorGas { gas, needed: needed.floor_gas });
    }
    Ok(())
}

/// Checks nonce, code and balance; `earlier` is what the sender's other pending transactions can cost.
///
/// # Errors
/// The first rule that is broken.
pub(super) fn against_account(
    pooled: &PooledTransaction,
    account: &PoolAccount,
    earlier: U256,
) -> Result<(), InvalidTransaction> {
    if pooled.nonce() < account.nonce {
        return Err(InvalidTransaction::NonceTooLow { next: account.nonce, nonce: pooled.nonce() });
    }
    if account.is_contract {
        return Err(InvalidTransaction::SenderIsContract { address: pooled.sender() });
    }
    let cost = pooled.cost().saturating_add(earlier);
    if cost > account.balance {
        let overshot = cost.saturating_sub(account.balance);
        return Err(InvalidTransaction::InsufficientFunds { balance: account.balance, cost, overshot });
    }
    Ok(())
}
