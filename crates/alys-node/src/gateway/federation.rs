//! The federation's calls: who its members are, and the change that a quorum of them signed.

use super::alys::refusal;
use super::record::record;
use crate::actors::chain::ChainMessage;
use alys_actor::Addr;
use alys_chain::{ChainView, FederationError, change_root};
use alys_primitives::{ChainSpec, FederationChange};
use jsonrpsee::RpcModule;
use jsonrpsee::types::{ErrorObjectOwned, Params};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The change breaks a rule, which `data.rule` names.
const REFUSED: i32 = -32602;

/// The node can't answer now.
const NOT_READY: i32 = -32002;

/// The longest change in hex digits: 128 members and 128 custodians take 80 thousand. As much as gossip takes.
const MAX_CHANGE_HEX: usize = 128 * 1024;

/// How long checking a change may take: the quorum's signature, and a proof of possession of each member.
const CHANGE_DEADLINE: Duration = Duration::from_secs(30);

/// What the calls are answered from.
#[derive(Clone)]
pub struct FederationRpc {
    /// The chain's constants.
    pub spec: Arc<ChainSpec>,
    /// The chain's published view.
    pub view: watch::Receiver<ChainView>,
    /// Takes changes.
    pub chain: Addr<ChainMessage>,
}

/// The module.
///
/// # Errors
/// A method was registered twice, which is a bug.
pub fn federation_module(rpc: FederationRpc) -> Result<RpcModule<FederationRpc>, jsonrpsee::core::RegisterMethodError> {
    let mut module = RpcModule::new(rpc);
    module.register_method("alys_federation", |_, rpc, _| rpc.federation())?;
    module.register_async_method("alys_submitFederationChange", |params, rpc, _| async move {
        rpc.submit(&params).await
    })?;
    Ok(module)
}

impl FederationRpc {
    fn federation(&self) -> Value {
        let view = self.view.borrow();
        let members: Vec<Value> = view
            .members
            .iter()
            .enumerate()
            .map(|(index, member)| {
                json!({
                    "index": index,
                    "publicKey": member.public_key,
                    "proofOfPossession": member.proof_of_possession,
                    "feeAddress": member.fee_address,
                })
            })
            .collect();
        let change = view.change.as_ref().map(|change| {
            json!({
                "height": change.height.0,
                "membersRoot": change.members_root,
                // There it takes effect if the block that carries it is final by then, else it lapses.
                "effectiveHeight": change.height.saturating_add(self.spec.epoch_delay).0,
                "custody": view.peg.ledger().next_custodians(),
            })
        });
        json!({ "epoch": view.epoch.0, "quorum": view.quorum, "members": members, "change": change })
    }

    /// A change that a quorum signed, as SSZ in hex. It waits for an author, is told to the other members, and stays until
    /// its epoch ends.
    async fn submit(&self, params: &Params<'_>) -> Result<Value, ErrorObjectOwned> {
        let change: Box<FederationChange> = Box::new(record(params, "change of the federation", MAX_CHANGE_HEX)?);
        let root = change_root(&change);
        let asked = self.chain.ask_within(CHANGE_DEADLINE, |reply| ChainMessage::UpdateFederation { change, reply });
        match asked.await {
            Ok(Ok(())) => Ok(json!({ "changeRoot": root })),
            Ok(Err(error)) => Err(broken(&error)),
            Err(error) => Err(refusal(NOT_READY, error.to_string())),
        }
    }
}

/// The rule that a change breaks, for people and for programs.
fn broken(error: &FederationError) -> ErrorObjectOwned {
    ErrorObjectOwned::owned(REFUSED, error.to_string(), Some(json!({ "rule": error.rule() })))
}
