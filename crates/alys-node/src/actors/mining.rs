//! The mining actor: hands out templates and takes proofs.

use super::chain::ChainMessage;
use crate::mining::{Frontier, Issued, MiningError, TemplateBook};
use alys_actor::{Actor, Addr, Context, Message, Overflow, Reply};
use alys_auxpow::{AuxPow, DecodeError, Rules, Target};
use alys_chain::ChainView;
use alys_primitives::{Address, AuxPowRecord, ChainSpec, Root, VariableList};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long the chain may take for a template or a proof.
const CHAIN_DEADLINE: Duration = Duration::from_secs(20);

/// What became of a submitted proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it was taken.
    pub accepted: bool,
    /// Name of the broken rule.
    pub rule: Option<String>,
    /// In words.
    pub reason: Option<String>,
}

impl Verdict {
    fn accepted() -> Self {
        Self { accepted: true, rule: None, reason: None }
    }

    fn rejected(rule: &str, reason: String) -> Self {
        Self { accepted: false, rule: Some(rule.to_owned()), reason: Some(reason) }
    }
}

/// Requests of miners.
#[derive(Debug)]
pub enum MiningMessage {
    /// Work for a payout address.
    Create {
        /// Who is paid.
        payout: Address,
        /// The template.
        reply: Reply<Result<Box<Issued>, MiningError>>,
    },
    /// A proof for a template.
    Submit {
        /// The mined hash, internal byte order.
        hash: Root,
        /// The serialised AuxPoW; decoded only if the hash is known.
        proof: Vec<u8>,
        /// What became of it.
        reply: Reply<Result<Verdict, MiningError>>,
    },
    /// What would become of a proof; nothing is kept.
    Check {
        /// The mined hash, internal byte order.
        hash: Root,
        /// The serialised AuxPoW.
        proof: Vec<u8>,
        /// The verdict of the rules, work included.
        reply: Reply<Result<Verdict, MiningError>>,
    },
}

impl Message for MiningMessage {
    fn overflow(&self) -> Overflow {
        match self {
            Self::Create { .. } | Self::Submit { .. } | Self::Check { .. } => Overflow::Reject,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Submit { .. } => "submit",
            Self::Check { .. } => "check",
        }
    }
}

/// The actor.
pub struct MiningActor {
    spec: Arc<ChainSpec>,
    chain: Addr<ChainMessage>,
    view: watch::Receiver<ChainView>,
    book: TemplateBook,
}

impl MiningActor {
    /// An actor that mines on what `view` shows and gives proofs to `chain`.
    pub fn new(spec: Arc<ChainSpec>, chain: Addr<ChainMessage>, view: watch::Receiver<ChainView>) -> Self {
        Self { spec, chain, view, book: TemplateBook::default() }
    }

    fn frontier(&self) -> Frontier {
        let view = self.view.borrow();
        let previous = view.committed.auxpow_root;
        Frontier {
            previous_auxpow_root: previous,
            end_root: view.bundle_end,
            awaits_inclusion: view.queued_auxpow.iter().any(|queued| queued.bundle.previous_auxpow_root == previous),
        }
    }

    async fn create(&mut self, payout: Address) -> Result<Box<Issued>, MiningError> {
        let frontier = self.frontier();
        self.book.supersede(frontier.previous_auxpow_root);
        if let Some(issued) = self.book.current(payout, &frontier, Instant::now()) {
            return Ok(Box::new(issued.clone()));
        }
        let template = self
            .chain
            .ask_within(CHAIN_DEADLINE, |reply| ChainMessage::AuxPowTemplate { payout, reply })
            .await
            .map_err(|error| MiningError::Unavailable { reason: error.to_string() })??;
        metrics::counter!("alys_auxpow_templates_total").increment(1);
        Ok(Box::new(self.book.issue(template, Instant::now())))
    }

    /// The rules that need no chain: layout, commitment, work.
    fn judge(&self, hash: Root, proof: &[u8]) -> Result<Result<AuxPowRecord, Verdict>, MiningError> {
        let issued = self.book.find(hash).ok_or(MiningError::UnknownHash)?;
        let bundle = issued.template.bundle.clone();
        let proof = AuxPow::decode(proof).map_err(|error| {
            count_rejection(error.rule(), &error.to_string());
            MiningError::Undecodable(error)
        })?;
        let target = Target::from_compact(bundle.bits)
            .map_err(|error| MiningError::Unavailable { reason: format!("template with bad bits: {error}") })?;
        if let Err(error) = proof.verify(hash, &Rules::of_spec(&self.spec.auxpow), target) {
            count_rejection(error.rule(), &error.to_string());
            return Ok(Err(Verdict::rejected(error.rule(), error.to_string())));
        }
        // What decodes within the bound encodes within it: normalising only drops bytes.
        let encoded = proof.encode();
        let found = encoded.len();
        let proof = VariableList::new(encoded).map_err(|_| MiningError::Undecodable(DecodeError::TooLong { found }))?;
        Ok(Ok(AuxPowRecord { bundle, proof }))
    }

    async fn submit(&self, hash: Root, proof: &[u8]) -> Result<Verdict, MiningError> {
        let record = match self.judge(hash, proof)? {
            Ok(record) => Box::new(record),
            Err(verdict) => return Ok(verdict),
        };
        let processed = self
            .chain
            .ask_within(CHAIN_DEADLINE, |reply| ChainMessage::ProcessAuxPow { record, reply })
            .await
            .map_err(|error| MiningError::Unavailable { reason: error.to_string() })?;
        match processed {
            Ok(()) => {
                metrics::counter!("alys_auxpow_accepted_total").increment(1);
                Ok(Verdict::accepted())
            }
            Err(error) => {
                count_rejection(error.rule(), &error.to_string());
                Ok(Verdict::rejected(error.rule(), error.to_string()))
            }
        }
    }
}

fn count_rejection(rule: &'static str, reason: &str) {
    metrics::counter!("alys_auxpow_rejected_total", "rule" => rule).increment(1);
    tracing::info!(rule, reason, "AuxPoW rejected");
}

impl Actor for MiningActor {
    type Message = MiningMessage;
    type Error = Infallible;

    async fn handle(&mut self, message: MiningMessage, _: &mut Context<MiningMessage>) -> Result<(), Infallible> {
        match message {
            MiningMessage::Create { payout, reply } => {
                let result = self.create(payout).await;
                reply.send(result);
            }
            MiningMessage::Submit { hash, proof, reply } => {
                let result = self.submit(hash, &proof).await;
                reply.send(result);
            }
            MiningMessage::Check { hash, proof, reply } => {
                let result = self.judge(hash, &proof).map(|judged| match judged {
                    Ok(_) => Verdict::accepted(),
                    Err(verdict) => verdict,
                });
                reply.send(result);
            }
        }
        Ok(())
    }
}
