//! An EVM in which the contracts that collect requests (EIP-7002, EIP-7251) may stand elsewhere.
//!
//! On Ethereum their addresses are constants. Genesis files of private chains can move them, with the two keys that
//! Besu gave this (`withdrawalRequestContractAddress`, `consolidationRequestContractAddress`).

use crate::Forks;
use alloy_eips::eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS;
use alloy_eips::eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS;
use alloy_evm::revm::context::CfgEnv;
use alloy_evm::revm::context_interface::result::ResultAndState;
use alloy_evm::{Evm, EvmEnv};
use alloy_primitives::{Address, Bytes};

/// Calls the contracts where the genesis file has them.
pub(crate) struct RelocatedEvm<'a, E> {
    inner: E,
    forks: &'a Forks,
}

impl<'a, E> RelocatedEvm<'a, E> {
    pub(crate) const fn new(inner: E, forks: &'a Forks) -> Self {
        Self { inner, forks }
    }
}

impl<E: Evm> Evm for RelocatedEvm<'_, E> {
    type DB = E::DB;
    type Tx = E::Tx;
    type Error = E::Error;
    type HaltReason = E::HaltReason;
    type Spec = E::Spec;
    type BlockEnv = E::BlockEnv;
    type Precompiles = E::Precompiles;
    type Inspector = E::Inspector;

    fn block(&self) -> &Self::BlockEnv {
        self.inner.block()
    }

    fn cfg_env(&self) -> &CfgEnv<Self::Spec> {
        self.inner.cfg_env()
    }

    fn chain_id(&self) -> u64 {
        self.inner.chain_id()
    }

    fn transact_raw(&mut self, tx: Self::Tx) -> Result<ResultAndState<Self::HaltReason>, Self::Error> {
        self.inner.transact_raw(tx)
    }

    fn transact_system_call(
        &mut self,
        caller: Address,
        contract: Address,
        data: Bytes,
    ) -> Result<ResultAndState<Self::HaltReason>, Self::Error> {
        let [withdrawals, consolidations] = self.forks.request_contracts();
        let contract = if contract == WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS {
            withdrawals
        } else if contract == CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS {
            consolidations
        } else {
            contract
        };
        self.inner.transact_system_call(caller, contract, data)
    }

    fn finish(self) -> (Self::DB, EvmEnv<Self::Spec, Self::BlockEnv>) {
        self.inner.finish()
    }

    fn set_inspector_enabled(&mut self, enabled: bool) {
        self.inner.set_inspector_enabled(enabled);
    }

    fn components(&self) -> (&Self::DB, &Self::Inspector, &Self::Precompiles) {
        self.inner.components()
    }

    fn components_mut(&mut self) -> (&mut Self::DB, &mut Self::Inspector, &mut Self::Precompiles) {
        self.inner.components_mut()
    }
}
