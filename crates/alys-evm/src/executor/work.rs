//! Payloads being built.

use super::canonical::refused;
use super::payload::{encode_payload, from_port};
use super::side::SideError;
use super::{Executor, MAX_JOBS, unavailable};
use crate::db::{DbError, HeadState};
use crate::execute::{Attributes, BuildError, BuildLimits, Built, Executed, build_block};
use alloy_primitives::{B256, keccak256};
use alys_engine::{BuiltPayload, EngineError, PayloadId};

/// A payload that was asked for. It is built when it is fetched, so that it holds what the pool has then.
#[derive(Debug)]
pub(super) struct PayloadJob {
    id: PayloadId,
    parent: B256,
    attributes: Attributes,
    built: Option<Built>,
}

impl Executor {
    /// Begins a payload on an executed block.
    pub(super) fn begin_payload(&mut self, parent: B256, attributes: &alys_engine::Attributes) -> PayloadId {
        let id = payload_id(parent, attributes);
        if self.jobs.iter().any(|job| job.id == id) {
            return id;
        }
        if self.jobs.len() >= MAX_JOBS {
            self.jobs.pop_front();
        }
        let attributes = Attributes {
            timestamp: attributes.timestamp,
            prev_randao: attributes.prev_randao,
            fee_recipient: attributes.fee_recipient,
            withdrawals: attributes.withdrawals.iter().map(from_port).collect(),
            parent_beacon_block_root: attributes.parent_beacon_block_root,
        };
        self.jobs.push_back(PayloadJob { id, parent, attributes, built: None });
        id
    }

    /// The payload of `id`, built from what the pool has at the first call (`engine_getPayload`).
    ///
    /// # Errors
    /// [`EngineError::UnknownPayload`], [`EngineError::InvalidAttributes`] for attributes that can't be built on, and
    /// [`EngineError::Unavailable`] if the database fails.
    pub fn get_payload(&mut self, id: PayloadId) -> Result<BuiltPayload, EngineError> {
        let unknown = EngineError::UnknownPayload { id: id.0 };
        let Some(index) = self.jobs.iter().position(|job| job.id == id) else { return Err(unknown) };
        let Some(mut job) = self.jobs.remove(index) else { return Err(unknown) };
        let built = match job.built.take() {
            Some(built) => built,
            None => self.build(job.parent, &job.attributes)?,
        };
        let payload = encode_payload(&built)
            .map_err(|what| EngineError::Broken { reason: format!("the built block has too large {what}") });
        job.built = Some(built);
        self.jobs.push_back(job);
        payload
    }

    fn build(&mut self, parent_hash: B256, attributes: &Attributes) -> Result<Built, EngineError> {
        let side = self.side_state(parent_hash).map_err(|error| match error {
            SideError::Db(error) => self.db.failed(error),
            error @ SideError::TooFar => refused(&error.to_string()),
        })?;
        let parent = self.db.header(parent_hash).map_err(|error| self.db.failed(error))?;
        let parent = parent.ok_or_else(|| self.db.failed(DbError::Corrupt { what: "a payload's parent" }))?;
        let limits = BuildLimits { gas_limit: self.config.gas_limit, extra_data: self.config.extra_data.clone() };
        let built = build_block(
            &self.db,
            &self.chain.forks,
            side.overlay(HeadState(&self.db)),
            (&parent, parent_hash),
            attributes,
            &limits,
            self.source.as_ref(),
        );
        self.keep_side_state(side);
        built.map_err(|error| match error {
            error @ BuildError::Attributes { .. } => EngineError::InvalidAttributes { reason: error.to_string() },
            error @ BuildError::Execution(_) => unavailable(error),
        })
    }

    /// What executing a block yields, if this executor built the block: it need not be executed again.
    pub(super) fn built_before(&self, hash: B256) -> Option<Executed> {
        let mut built = self.jobs.iter().filter_map(|job| job.built.as_ref());
        built.find(|built| built.hash == hash).map(|built| built.executed.clone())
    }
}

/// Equal requests have equal ids.
fn payload_id(parent: B256, attributes: &alys_engine::Attributes) -> PayloadId {
    let mut bytes = Vec::with_capacity(128);
    bytes.extend_from_slice(parent.as_slice());
    bytes.extend_from_slice(&attributes.timestamp.to_be_bytes());
    bytes.extend_from_slice(attributes.prev_randao.as_slice());
    bytes.extend_from_slice(attributes.fee_recipient.as_slice());
    bytes.extend_from_slice(attributes.parent_beacon_block_root.as_slice());
    for withdrawal in &attributes.withdrawals {
        bytes.extend_from_slice(&alloy_rlp::encode(from_port(withdrawal)));
    }
    let hash = keccak256(bytes);
    let mut id = [0; 8];
    id.iter_mut().zip(hash.iter()).for_each(|(to, from)| *to = *from);
    PayloadId(id)
}
