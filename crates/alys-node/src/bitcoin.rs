//! The Bitcoin of a node: the one that its operator chose.

use alys_bitcoin::{
    BestBlock, BitcoinPort, BlockPlace, BlockTemplate, CoreRpc, FoundTransaction, PlacedHeader, PortError,
    RegtestHandle, Unavailable,
};
use bitcoin::{Block, BlockHash, Transaction, Txid};

/// What stands behind the port.
#[derive(Clone, Debug)]
pub enum NodeBitcoin {
    /// A regtest of the node's own.
    Embedded(RegtestHandle),
    /// A Bitcoin Core, or what speaks like one.
    Core(Box<CoreRpc>),
    /// None: every question fails with "ask again later".
    Absent,
}

/// The same call to whatever is there.
macro_rules! ask {
    ($self:ident.$call:ident($($argument:expr),*)) => {
        match $self {
            Self::Embedded(regtest) => regtest.$call($($argument),*).await,
            Self::Core(core) => core.$call($($argument),*).await,
            Self::Absent => Err(Unavailable::NotConfigured.into()),
        }
    };
}

impl BitcoinPort for NodeBitcoin {
    async fn best_block(&self) -> Result<BestBlock, PortError> {
        ask!(self.best_block())
    }

    async fn header_at(&self, height: u32) -> Result<Option<PlacedHeader>, PortError> {
        ask!(self.header_at(height))
    }

    async fn headers_after(&self, locator: Vec<BlockHash>, limit: usize) -> Result<Vec<PlacedHeader>, PortError> {
        ask!(self.headers_after(locator, limit))
    }

    async fn block(&self, hash: BlockHash) -> Result<Option<Block>, PortError> {
        ask!(self.block(hash))
    }

    async fn broadcast(&self, transaction: Transaction) -> Result<Txid, PortError> {
        ask!(self.broadcast(transaction))
    }

    async fn find_transaction(&self, txid: Txid) -> Result<Option<FoundTransaction>, PortError> {
        ask!(self.find_transaction(txid))
    }

    async fn estimate_fee_rate(&self, blocks: u16) -> Result<Option<u64>, PortError> {
        ask!(self.estimate_fee_rate(blocks))
    }

    async fn block_template(&self) -> Result<BlockTemplate, PortError> {
        ask!(self.block_template())
    }

    async fn submit_block(&self, block: Block) -> Result<BlockPlace, PortError> {
        ask!(self.submit_block(block))
    }
}

impl NodeBitcoin {
    /// The regtest, if it is the node's own.
    pub fn embedded(&self) -> Option<&RegtestHandle> {
        match self {
            Self::Embedded(regtest) => Some(regtest),
            Self::Core(_) | Self::Absent => None,
        }
    }
}
