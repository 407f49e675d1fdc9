//! Receipts of Ethereum's types for transactions of [`Tx`].

use crate::Tx;
use alloy_consensus::{Eip658Value, Receipt, ReceiptEnvelope, TxType};
use alloy_evm::Evm;
use alloy_evm::eth::receipt_builder::{ReceiptBuilder, ReceiptBuilderCtx};

/// Builds receipts with a status (EIP-658).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Receipts;

impl ReceiptBuilder for Receipts {
    type Transaction = Tx;
    type Receipt = ReceiptEnvelope;

    fn build_receipt<E: Evm>(&self, context: ReceiptBuilderCtx<'_, TxType, E>) -> Self::Receipt {
        let receipt = Receipt {
            status: Eip658Value::Eip658(context.result.is_success()),
            cumulative_gas_used: context.cumulative_gas_used,
            logs: context.result.into_logs(),
        };
        ReceiptEnvelope::from_typed(context.tx_type, receipt.with_bloom())
    }
}
