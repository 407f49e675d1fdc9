//! Payloads being built.

use super::canonical::refused;
use super::payload::{encode_payload, from_port};
use super::side::SideError;
use super::{Executor, MAX_JOBS, unavailable};
use crate::Tx;
use crate::db::{DbError, HeadState};
use crate::execute::{Attributes, BuildError, BuildLimits, Built, Executed, build_block};
use crate::source::{BestTransactions, BuildTarget, Rejection, TransactionSource};
use alloy_consensus::transaction::Recovered;
use alloy_primitives::{B256, Bytes, keccak256};
use alys_engine::{BuiltPayload, EngineError, PayloadId};
use std::sync::Arc;

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
        let attributes = own_attributes(attributes);
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

    /// A block on any executed block, of exactly these transactions or of the pool's, which is not kept
    /// (`testing_buildBlockV1`).
    ///
    /// # Errors
    /// [`EngineError::Refused`] names the transaction that does not fit, [`EngineError::UnknownBlock`] an unknown parent;
    /// the others as [`Self::get_payload`].
    pub fn build_sample(&mut self, sample: SampleBlock) -> Result<BuiltPayload, EngineError> {
        let SampleBlock { parent, attributes, transactions, extra_data } = sample;
        if self.db.header(parent).map_err(|error| self.db.failed(error))?.is_none() {
            return Err(EngineError::UnknownBlock { hash: parent });
        }
        let attributes = own_attributes(&attributes);
        let extra_data = extra_data.unwrap_or_else(|| self.config.extra_data.clone());
        let built = match transactions {
            None => self.build_from(parent, &attributes, extra_data, None)?,
            Some(transactions) => {
                let (refusals, refused) = std::sync::mpsc::channel();
                let source = Listed { transactions, refusals };
                let built = self.build_from(parent, &attributes, extra_data, Some(&source))?;
                if let Ok(reason) = refused.try_recv() {
                    return Err(EngineError::Refused { reason });
                }
                built
            }
        };
        encode_payload(&built)
            .map_err(|what| EngineError::Broken { reason: format!("the built block has too large {what}") })
    }

    fn build(&mut self, parent_hash: B256, attributes: &Attributes) -> Result<Built, EngineError> {
        let extra_data = self.config.extra_data.clone();
        self.build_from(parent_hash, attributes, extra_data, None)
    }

    fn build_from(
        &mut self,
        parent_hash: B256,
        attributes: &Attributes,
        extra_data: Bytes,
        source: Option<&dyn TransactionSource>,
    ) -> Result<Built, EngineError> {
        let side = self.side_state(parent_hash).map_err(|error| match error {
            SideError::Db(error) => self.db.failed(error),
            error @ SideError::TooFar => refused(&error.to_string()),
        })?;
        let parent = self.db.header(parent_hash).map_err(|error| self.db.failed(error))?;
        let parent = parent.ok_or_else(|| self.db.failed(DbError::Corrupt { what: "a payload's parent" }))?;
        let limits = BuildLimits { gas_limit: self.config.gas_limit, extra_data };
        let built = build_block(
            &self.db,
            &self.chain.forks,
            side.overlay(HeadState(&self.db)),
            (&parent, parent_hash),
            attributes,
            &limits,
            source.unwrap_or_else(|| self.source.as_ref()),
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

fn own_attributes(attributes: &alys_engine::Attributes) -> Attributes {
    Attributes {
        timestamp: attributes.timestamp,
        prev_randao: attributes.prev_randao,
        fee_recipient: attributes.fee_recipient,
        withdrawals: attributes.withdrawals.iter().map(from_port).collect(),
        parent_beacon_block_root: attributes.parent_beacon_block_root,
    }
}

/// What a sample block is made of.
#[derive(Clone, Debug)]
pub struct SampleBlock {
    /// The block to build on.
    pub parent: B256,
    /// What consensus would decide.
    pub attributes: alys_engine::Attributes,
    /// The transactions, all of which must fit; the pool's best without.
    pub transactions: Option<Vec<Arc<Recovered<Tx>>>>,
    /// Free bytes of the header, at most 32; the operator's without.
    pub extra_data: Option<Bytes>,
}

/// Given transactions in their order; tells of each that does not fit.
struct Listed {
    transactions: Vec<Arc<Recovered<Tx>>>,
    refusals: std::sync::mpsc::Sender<String>,
}

impl TransactionSource for Listed {
    fn best(&self, _: BuildTarget) -> Box<dyn BestTransactions> {
        let transactions = self.transactions.clone().into_iter();
        Box::new(ListedBest { transactions, refusals: self.refusals.clone() })
    }
}

struct ListedBest {
    transactions: std::vec::IntoIter<Arc<Recovered<Tx>>>,
    refusals: std::sync::mpsc::Sender<String>,
}

impl BestTransactions for ListedBest {
    fn next(&mut self) -> Option<Arc<Recovered<Tx>>> {
        self.transactions.next()
    }

    fn reject(&mut self, transaction: &Recovered<Tx>, rejection: Rejection) {
        let reason = match rejection {
            Rejection::DoesNotFit => "does not fit into the block".to_owned(),
            Rejection::NonceTooLow => "nonce too low".to_owned(),
            Rejection::NotNow(reason) | Rejection::Invalid(reason) => reason,
        };
        // The builder's caller reads the first one.
        drop(self.refusals.send(format!("transaction {}: {reason}", transaction.inner().tx_hash())));
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
