//! The logs of a call as `eth_simulateV1` shows them: with transfers of coins between them, where that is asked for.

use alloy_evm::revm::context_interface::{ContextTr, JournalTr as _};
use alloy_evm::revm::inspector::Inspector;
use alloy_evm::revm::interpreter::{CallInputs, CallOutcome, CreateInputs, CreateOutcome};
use alloy_primitives::{Address, B256, Log, LogData, U256, address, b256};

/// Who logs transfers of coins (execution-apis, `eth_simulateV1`).
const TRANSFER_EMITTER: Address = address!("eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee");

/// `Transfer(address,address,uint256)`
const TRANSFER_TOPIC: B256 = b256!("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef");

/// Collects logs in order and drops those of frames that failed. Numbers go on over the calls of a block, and those of
/// dropped logs are not used again, as in geth.
#[derive(Clone, Debug, Default)]
pub(super) struct CallLogs {
    transfers: bool,
    /// Precompiles that were moved away: their addresses stay warm.
    warm: Vec<Address>,
    frames: Vec<usize>,
    logs: Vec<(u64, Log)>,
    next: u64,
}

impl CallLogs {
    pub(super) const fn new(transfers: bool, warm: Vec<Address>) -> Self {
        Self { transfers, warm, frames: Vec::new(), logs: Vec::new(), next: 0 }
    }

    /// The logs of the call that ended, with their numbers in the block.
    pub(super) fn take(&mut self) -> Vec<(u64, Log)> {
        self.frames.clear();
        std::mem::take(&mut self.logs)
    }

    fn push(&mut self, log: Log) {
        self.logs.push((self.next, log));
        self.next = self.next.saturating_add(1);
    }

    fn transfer(&mut self, from: Address, to: Address, value: U256) {
        if !self.transfers || value.is_zero() {
            return;
        }
        let topics = vec![TRANSFER_TOPIC, from.into_word(), to.into_word()];
        let data = LogData::new_unchecked(topics, value.to_be_bytes_vec().into());
        self.push(Log { address: TRANSFER_EMITTER, data });
    }

    fn begin<CTX: ContextTr>(&mut self, context: &mut CTX) {
        if self.frames.is_empty() {
            for address in &self.warm {
                // A database that fails here fails again when the account is needed.
                let _ = context.journal_mut().load_account(*address);
            }
        }
        self.frames.push(self.logs.len());
    }

    fn end(&mut self, succeeded: bool) {
        let begun = self.frames.pop().unwrap_or(0);
        if !succeeded {
            self.logs.truncate(begun);
        }
    }
}

impl<CTX: ContextTr> Inspector<CTX> for CallLogs {
    fn log(&mut self, _: &mut CTX, log: Log) {
        self.push(log);
    }

    fn call(&mut self, context: &mut CTX, inputs: &mut CallInputs) -> Option<CallOutcome> {
        self.begin(context);
        if let Some(value) = inputs.transfer_value() {
            self.transfer(inputs.transfer_from(), inputs.transfer_to(), value);
        }
        None
    }

    fn call_end(&mut self, _: &mut CTX, _: &CallInputs, outcome: &mut CallOutcome) {
        self.end(outcome.result.result.is_ok());
    }

    fn create(&mut self, context: &mut CTX, inputs: &mut CreateInputs) -> Option<CreateOutcome> {
        self.begin(context);
        if !inputs.value().is_zero() {
            let nonce =
                context.journal_mut().load_account(inputs.caller()).map_or(0, |account| account.data.info.nonce);
            self.transfer(inputs.caller(), inputs.created_address(nonce), inputs.value());
        }
        None
    }

    fn create_end(&mut self, _: &mut CTX, _: &CreateInputs, outcome: &mut CreateOutcome) {
        self.end(outcome.result.result.is_ok());
    }

    fn selfdestruct(&mut self, contract: Address, target: Address, value: U256) {
        self.transfer(contract, target, value);
    }
}
