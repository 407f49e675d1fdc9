//! The two-way peg as pure rules (protocol section 7): what Bitcoin headers, deposits, payments and burns make of the
//! chain's state. Nothing here looks at a Bitcoin node; what one sees enters as a [`PegOffer`] and only steers what is
//! proposed.
//!
//! Where to look: `headers.rs` is the chain's own view of Bitcoin, `proof.rs` and `deposit.rs` what a deposit must be,
//! `ledger.rs` the books, `pause.rs` a quorum's switch, `apply.rs` every rule of records and burns, `payment.rs` the derived
//! payments, `settled.rs` what happens when Bitcoin puts one attempt at a payment in the place of another, `rotation.rs` how custody changes hands, `possession.rs` the proof that an offered key is held, `custody.rs` the
//! output that holds the deposits, `propose.rs` what an author puts into a block.

mod apply;
mod custody;
mod deposit;
mod error;
mod headers;
mod ledger;
mod pause;
mod payment;
mod possession;
mod proof;
mod propose;
mod rotation;
mod sealed;
mod settled;
mod state;

pub use custody::{Custody, CustodyError, NUMS_KEY, Recovery};
pub use deposit::{Deposit, DepositOutput, Unclaimed, parse_deposit, parse_recipient};
pub use error::PegError;
pub use headers::{HeaderError, HeaderView};
pub use ledger::{
    Attempt, Batch, Coin, Finished, MAX_FINISHED, PegLedger, RETURN_LOG_INDEX, Recorded, RecordedKind, Request, Totals,
    Unpayable,
};
pub use pause::{PauseError, PauseState, pause_root};
pub use payment::{
    MAX_INPUTS, Payee, Payment, PaymentError, derive_payment, derive_sweep, dust_limit, select_coins, sweep_coins,
};
pub use possession::possession_message;
pub use proof::ProofError;
pub use propose::PegOffer;
pub use rotation::CustodyEntry;
pub use settled::Settled;
pub use state::Peg;

pub(crate) use apply::{Applier, Place, Step, WEI_PER_SAT, burns};
pub(crate) use pause::{signing_root as pause_signing_root, verify as verify_pause};
pub(crate) use possession::is_held;
pub(crate) use propose::propose;

use alys_primitives::PegSpec;
use bitcoin::{Network, p2p::Magic};
use headers::HeaderRules;

/// Why a spec makes no peg.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PegSpecError {
    /// Magic bytes of no known network.
    #[error("peg.network_magic {found} names no Bitcoin network")]
    Network {
        /// The bytes.
        found: alys_primitives::FixedBytes<4>,
    },
    /// The checkpoint is no header, or a number in it does not fit.
    #[error("peg.checkpoint: {0}")]
    Checkpoint(#[from] HeaderError),
    /// The custody keys make no script.
    #[error("peg: {0}")]
    Custody(#[from] CustodyError),
}

/// Everything of a chain's peg that never changes.
#[derive(Clone, Debug)]
pub struct PegRules {
    pub(crate) spec: PegSpec,
    pub(crate) network: Network,
    pub(crate) headers: HeaderRules,
    pub(crate) custody: Custody,
    pub(crate) genesis_headers: HeaderView,
}

impl PegRules {
    /// The rules that a spec makes.
    ///
    /// # Errors
    /// [`PegSpecError`].
    pub fn new(spec: &PegSpec) -> Result<Self, PegSpecError> {
        let found = spec.network_magic;
        let network = Network::try_from(Magic::from_bytes(found.0)).map_err(|_| PegSpecError::Network { found })?;
        let headers = HeaderRules::new(network, spec.header_window);
        let genesis_headers = HeaderView::new(&headers, &spec.checkpoint)?;
        Ok(Self { spec: spec.clone(), network, headers, custody: Custody::of_spec(spec)?, genesis_headers })
    }

    /// The constants.
    pub fn spec(&self) -> &PegSpec {
        &self.spec
    }

    /// The Bitcoin network.
    pub fn network(&self) -> Network {
        self.network
    }

    /// The custody that the chain begins with.
    pub fn custody(&self) -> &Custody {
        &self.custody
    }

    /// The address that deposits pay to.
    pub fn deposit_address(&self, ledger: &PegLedger) -> Option<bitcoin::Address> {
        let script = &ledger.custody(ledger.current_custody())?.script;
        bitcoin::Address::from_script(bitcoin::Script::from_bytes(script), self.network).ok()
    }
}
