//! Bitcoin Core behind the port, over its JSON-RPC.
//!
//! Only calls that need no wallet: `getblockchaininfo`, `getblockhash`, `getblockheader`, `getblock`,
//! `getrawtransaction` (with `-txindex`), `sendrawtransaction`, `getblocktemplate`, `submitblock`, `estimatesmartfee`.
//!
//! The node is not trusted: answers are bounded before they are read, headers and blocks must hash to what was asked for
//! and follow each other, and whatever does not fit is [`Unavailable::Nonsense`](crate::Unavailable), which means "ask
//! again", never "invalid". A cookie is read anew when the node refuses the old one, so that it may restart.

mod answers;
mod client;
mod transport;

pub use client::CoreRpc;
pub(crate) use transport::cut;
pub use transport::{Auth, CoreConfig, CoreConfigError};
