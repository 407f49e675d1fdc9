//! `alys-node federation`: members change who they are and who holds the coins. One writes a proposal, a quorum signs the
//! file one after another (or copies of it), anybody submits it.

mod current;
mod proposal;
mod propose;
mod record;
mod records;
mod show;
mod sign;
mod submit;

pub(super) use record::custodies;

use super::failure::{Failure, Outcome};
use clap::Subcommand;
use std::time::Duration;

/// The longest that one call may take.
const RPC_DEADLINE: Duration = Duration::from_secs(30);

#[derive(Subcommand)]
pub(super) enum FederationCommand {
    /// Prints what a proposal needs of a new member or custodian: public keys, and proof that the key is held.
    Offer(propose::OfferArguments),
    /// Writes a proposal to change the present federation.
    Propose(propose::ProposeArguments),
    /// Adds a member's signature to a proposal.
    Sign(sign::SignArguments),
    /// Prints what a proposal changes, and who has signed it.
    Show(show::ShowArguments),
    /// Sends a proposal that a quorum signed to a node, which tells the other members; the next author includes it.
    Submit(submit::SubmitArguments),
    /// Writes the records of all changes so far to files, for `custody-signer --change`.
    Records(records::RecordsArguments),
}

pub(super) fn federation(command: FederationCommand) -> Outcome {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::work);
    match command {
        FederationCommand::Offer(arguments) => propose::offer(&arguments),
        FederationCommand::Propose(arguments) => runtime()?.block_on(propose::propose(&arguments)),
        FederationCommand::Sign(arguments) => sign::sign(&arguments),
        FederationCommand::Show(arguments) => runtime()?.block_on(show::show(&arguments)),
        FederationCommand::Submit(arguments) => runtime()?.block_on(submit::submit(&arguments)),
        FederationCommand::Records(arguments) => runtime()?.block_on(records::records(&arguments)),
    }
}
