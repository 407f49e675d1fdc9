//! Blocks on demand, as `generatetoaddress` makes them.

use bitcoin::constants::MAX_BLOCK_SIGOPS_COST;
use bitcoin::{Block, BlockHash, OutPoint, Script, Transaction};

use super::coins::CoinSource;
use super::{BlockError, Regtest};
use crate::template::{GrindError, TemplateError, grind};

/// Nonces that are tried for one block. Half of all hashes meet regtest's target.
const MAX_ATTEMPTS: u32 = 1_000_000;
/// What a template leaves of a block's signature operations for the coinbase.
const RESERVED_SIGNATURE_COST: usize = 400;

/// Why no block was made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GenerateError {
    /// The coinbase could not be made.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The search ended without a nonce.
    #[error(transparent)]
    Grind(#[from] GrindError),
    /// No nonce within the attempts of one block.
    #[error("no nonce found in {MAX_ATTEMPTS} attempts")]
    NoNonce,
    /// The block was refused: its time may lie too far ahead, or a limit is reached.
    #[error(transparent)]
    Block(#[from] BlockError),
}

impl Regtest {
    /// Makes one block on the tip with what waits, pays its reward to `payout`, and takes it.
    ///
    /// # Errors
    /// [`GenerateError`]; nothing has changed then.
    pub fn generate(&mut self, payout: &Script, now: u32) -> Result<Block, GenerateError> {
        let template = self.template(now);
        let coinbase = template.coinbase(payout, &[])?;
        let mut header = template.header(&coinbase);
        grind(&mut header, MAX_ATTEMPTS)?.ok_or(GenerateError::NoNonce)?;
        let block = template.block(header, coinbase);
        self.submit(block.clone(), now)?;
        Ok(block)
    }

    /// Makes `count` blocks one after another. A reward can be spent once 100 blocks are on it.
    ///
    /// # Errors
    /// [`GenerateError`]; the blocks made before stay.
    pub fn generate_to(&mut self, payout: &Script, count: u32, now: u32) -> Result<Vec<BlockHash>, GenerateError> {
        (0..count).map(|_| self.generate(payout, now).map(|block| block.block_hash())).collect()
    }
}

/// Counts signature operations while a template is filled.
#[derive(Debug, Default)]
pub(super) struct SignatureOperations {
    cost: usize,
}

impl SignatureOperations {
    /// Whether one more transaction fits; counts it then.
    pub(super) fn admits(&mut self, transaction: &Transaction, coins: &impl CoinSource) -> bool {
        let own = transaction.total_sigop_cost(|point: &OutPoint| coins.coin(point).map(|coin| coin.output.clone()));
        let cost = self.cost.saturating_add(own).saturating_add(RESERVED_SIGNATURE_COST);
        let fits = usize::try_from(MAX_BLOCK_SIGOPS_COST).is_ok_and(|limit| cost <= limit);
        if fits {
            self.cost = self.cost.saturating_add(own);
        }
        fits
    }
}
