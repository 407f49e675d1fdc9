//! What readers see of the bridge.

use super::payments::PaymentStatus;
use super::scanner::Found;
use alys_bitcoin::BestBlock;
use bitcoin::Txid;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A snapshot of the bridge, for a watch channel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BridgeView {
    /// The node's Bitcoin, when it last answered.
    pub bitcoin: Option<BestBlock>,
    /// Height of the newest Bitcoin block that was looked through.
    pub scanned: Option<u32>,
    /// Why Bitcoin did not answer, if it did not the last time.
    pub failure: Option<String>,
    /// Deposits in Bitcoin blocks, by transaction.
    pub found: Arc<BTreeMap<Txid, Found>>,
    /// Payments that have not settled, by batch.
    pub payments: Arc<BTreeMap<u64, PaymentStatus>>,
}
