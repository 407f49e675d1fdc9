//! A core with fakes around it, and a switch for each of them.

use super::{FakeExecutor, FakeSigner, Fixture, StoreModel};
use crate::{
    BuildId, Chain, ChainConfig, ChainEvent, Effect, ExecutionId, ForkchoiceUpdate, ImportOutcome, Input, InputError,
    Message, PayloadAttributes, RestoreError, SignId, SignRequest,
    error::{AuxPowError, FederationError},
    peg::PauseError,
};
use alys_primitives::{B256, Root, SignedBlock, Slot, UnixMillis};
use std::{collections::VecDeque, sync::Arc};

/// What a core said, for tests to look at.
#[derive(Clone, Debug, Default)]
pub struct NodeLog {
    /// Outcomes of imports.
    pub imported: Vec<(Root, ImportOutcome)>,
    /// Outcomes of AuxPoW records.
    pub auxpow: Vec<(Root, Result<(), AuxPowError>)>,
    /// Outcomes of federation changes, by what they decide.
    pub federation: Vec<(Root, Result<(), FederationError>)>,
    /// Outcomes of decisions about pausing the peg, by what they decide.
    pub pauses: Vec<(Root, Result<(), PauseError>)>,
    /// Events.
    pub events: Vec<ChainEvent>,
    /// Fork choices.
    pub forkchoices: Vec<ForkchoiceUpdate>,
    /// Refused inputs.
    pub refused: Vec<InputError>,
}

/// A node made of a core and fakes.
#[derive(Clone, Debug)]
pub struct Node {
    /// The core.
    pub chain: Chain,
    /// Its engine.
    pub executor: FakeExecutor,
    /// Its signer, if it is a member.
    pub signer: Option<FakeSigner>,
    /// Its store.
    pub store: StoreModel,
    /// What it said.
    pub log: NodeLog,
    /// Messages on their way out.
    pub outgoing: VecDeque<Message>,
    /// Whether writes are synced at once.
    pub auto_sync: bool,
    /// Whether payloads are executed at once.
    pub auto_execute: bool,
    /// Whether payloads are built at once.
    pub auto_build: bool,
    /// Whether signatures are made at once.
    pub auto_sign: bool,
    /// Open executions.
    pub executions: VecDeque<(ExecutionId, Arc<SignedBlock>)>,
    /// Open builds.
    pub builds: VecDeque<(BuildId, Slot, B256, PayloadAttributes)>,
    /// Open signatures.
    pub signatures: VecDeque<(SignId, SignRequest)>,
}

impl Node {
    /// A node at genesis.
    pub fn new(fixture: &Fixture, member: Option<usize>) -> Self {
        Self::with_config(fixture, member, fixture.config(member))
    }

    /// A node at genesis with a configuration of the caller's.
    pub fn with_config(fixture: &Fixture, member: Option<usize>, config: ChainConfig) -> Self {
        Self {
            chain: fixture.genesis(config),
            executor: FakeExecutor::new(fixture.spec.evm.genesis_hash),
            signer: member.map(|index| FakeSigner::new(fixture.keys[index].clone(), fixture.scheme)),
            store: StoreModel::default(),
            log: NodeLog::default(),
            outgoing: VecDeque::new(),
            auto_sync: true,
            auto_execute: true,
            auto_build: true,
            auto_sign: true,
            executions: VecDeque::new(),
            builds: VecDeque::new(),
            signatures: VecDeque::new(),
        }
    }

    /// Starts again from what the store kept. Execution and signing record live on, as they do outside of the core.
    ///
    /// # Errors
    /// As [`Chain::restore`].
    pub fn restart(&mut self, fixture: &Fixture, config: ChainConfig) -> Result<(), RestoreError> {
        self.chain = fixture.restore(config, self.store.restored())?;
        self.outgoing.clear();
        self.executions.clear();
        self.builds.clear();
        self.signatures.clear();
        Ok(())
    }

    /// Gives the core an input and carries out what follows.
    pub fn handle(&mut self, now: UnixMillis, input: Input) -> Result<(), InputError> {
        let result = self.chain.handle(now, input);
        if let Err(error) = result {
            self.log.refused.push(error);
        }
        self.pump(now);
        result
    }

    /// Carries out effects until none is left that is carried out at once.
    pub fn pump(&mut self, now: UnixMillis) {
        while let Some(answer) = self.step() {
            if let Err(error) = self.chain.handle(now, answer) {
                self.log.refused.push(error);
            }
        }
    }

    /// Carries out effects up to the next answer.
    fn step(&mut self) -> Option<Input> {
        while let Some(effect) = self.chain.poll_effect() {
            match effect {
                Effect::Build { id, slot, parent_execution_hash, attributes } => {
                    if self.auto_build {
                        return Some(Input::Built {
                            id,
                            result: self.executor.build(parent_execution_hash, &attributes),
                        });
                    }
                    self.builds.push_back((id, slot, parent_execution_hash, attributes));
                }
                Effect::Execute { id, block } => {
                    if self.auto_execute {
                        return Some(Input::Executed { id, outcome: self.executor.execute(&block) });
                    }
                    self.executions.push_back((id, block));
                }
                Effect::Sign { id, request } => {
                    if self.auto_sign {
                        let result = self.signer.as_mut().expect("only members are asked to sign").answer(&request);
                        return Some(Input::Signed { id, result });
                    }
                    self.signatures.push_back((id, request));
                }
                Effect::Persist { id, batch } => self.store.write(id, batch),
                Effect::Forkchoice(update) => {
                    for hash in [update.head, update.safe, update.finalized] {
                        assert!(self.executor.knows(&hash), "fork choice names a block that was never executed");
                    }
                    self.log.forkchoices.push(update);
                }
                Effect::Broadcast(message) => self.outgoing.push_back(message),
                Effect::Imported { root, outcome } => self.log.imported.push((root, outcome)),
                Effect::AuxPowProcessed { hash, outcome } => self.log.auxpow.push((hash, outcome)),
                Effect::FederationProcessed { change_root, outcome } => {
                    self.log.federation.push((change_root, outcome));
                }
                Effect::PauseProcessed { pause_root, outcome } => self.log.pauses.push((pause_root, outcome)),
                Effect::Event(event) => self.log.events.push(event),
            }
        }
        if self.auto_sync { self.sync() } else { None }
    }

    /// Syncs the store; gives the answer for the core.
    pub fn sync(&mut self) -> Option<Input> {
        self.store.sync().map(|id| Input::Durable { id })
    }

    /// The outcome of the newest import of a block.
    pub fn outcome(&self, root: &Root) -> Option<&ImportOutcome> {
        self.log.imported.iter().rev().find(|(imported, _)| imported == root).map(|(_, outcome)| outcome)
    }

    /// Verifies a message and takes it in. `false` if the verifier refuses it.
    pub fn receive(&mut self, now: UnixMillis, message: Message) -> bool {
        let verifier = self.chain.verifier();
        let input = match message {
            Message::Block(block) => verifier.block(block.as_ref().clone()).ok().map(Input::Block),
            Message::Approval(approval) => verifier.approval(approval).ok().map(Input::Approval),
            Message::Notarization(certificate) => verifier.notarization(certificate).ok().map(Input::Notarization),
            Message::AuxPow(record) => verifier.auxpow(record).ok().map(Input::AuxPow),
            Message::Evidence(evidence) => verifier.evidence(evidence).ok().map(Input::Evidence),
            Message::FederationChange(change) => verifier.federation_change(change).ok().map(Input::FederationChange),
            Message::Pause(pause) => verifier.pause(pause).ok().map(Input::Pause),
        };
        match input {
            Some(input) => {
                let _ = self.handle(now, input);
                true
            }
            None => false,
        }
    }
}
