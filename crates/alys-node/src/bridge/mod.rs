//! The bridge between the chain and Bitcoin: what a node sees there, proposes here, signs and sends (protocol section 7).
//!
//! Nothing in here decides whether a block is valid. The actor watches Bitcoin for deposits and payments and offers what it
//! finds to the chain; and it signs the payments that the chain has derived, once the block that carries them is final.
//! It keeps nothing on disk: deposits are found again, payments derived and signed again, after a restart.

mod actor;
mod custody_key;
mod lost;
mod member_signer;
mod payments;
mod scanner;
mod sweeps;
mod view;
mod withdrawal;

pub use actor::{BridgeActor, BridgeMessage, BridgePorts};
pub use custody_key::{CUSTODY_GENERATIONS, custody_key, custody_keys, recovery_key};
pub use member_signer::CustodyChoice;
pub use payments::{PaymentState, PaymentStatus};
pub use scanner::{Found, Scanner};
pub use view::BridgeView;
pub use withdrawal::withdrawal;
