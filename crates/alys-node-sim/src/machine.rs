//! A node's actors in a runtime of their own: facts become messages, what they ask of others becomes wishes.

use crate::boot::Started;
use crate::idle::Idle;
use crate::memory::{self, Shared};
use crate::mirror::{Mirror, TOO_BUSY, lock};
use crate::ports::{Out, Outbox, SignReply};
use alys_actor::{Addr, Reply};
use alys_chain::{
    BatchId, BuildId, Built, Chain, ChainEvent, Effect, ExecutionId, ExecutionOutcome, ImportOutcome, Input,
    Message as Gossip, PeerTag, PendingReason, SignId, SignRequest, Unavailable, change_root, peg::pause_root,
};
use alys_node::actors::chain::ChainMessage;
use alys_node::actors::signer::SignerMessage;
use alys_node::actors::storage::StorageMessage;
use alys_p2p::Verdict;
use alys_primitives::{
    BlockBody, BlockHeader, ExecutionPayload, Root, SignatureBytes, SignedBlock, TreeHash as _, VariableList,
};
use alys_sim::machine::{Clock, Fact, Found, Machine, Question, Told, Victim, Wish};
use alys_store::StoreError;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::{broadcast, oneshot};

/// A machine looks at its timers at least this often, in milliseconds, whatever the core wants.
const LOOK_EVERY: u64 = 250;

/// The answer to a question to the disk.
#[derive(Debug)]
enum ReadReply {
    Everything(Reply<Result<Box<alys_chain::Restored>, StoreError>>),
    Block(Reply<Result<Option<Box<SignedBlock>>, StoreError>>),
}

/// One machine.
#[derive(Debug)]
pub(crate) struct Node {
    runtime: Runtime,
    idle: Arc<Idle>,
    chain: Addr<ChainMessage>,
    outbox: Outbox,
    gossip: broadcast::Receiver<Gossip>,
    events: broadcast::Receiver<ChainEvent>,
    memory: Shared,
    mirror: Arc<Mutex<Mirror>>,
    skew: Arc<AtomicI64>,
    /// Where the runtime's clock stands, true time.
    now: u64,
    core: Option<Chain>,
    wake: Option<u64>,
    wishes: VecDeque<Wish>,
    next_id: u64,
    writes: VecDeque<(BatchId, Reply<Result<(), StoreError>>)>,
    /// Questions to the disk that wait for writes before them.
    held: VecDeque<(Question, ReadReply)>,
    reads: BTreeMap<u64, ReadReply>,
    builds: BTreeMap<u64, oneshot::Sender<Result<Built, Unavailable>>>,
    executions: BTreeMap<u64, oneshot::Sender<ExecutionOutcome>>,
    signings: BTreeMap<u64, (SignRequest, SignReply)>,
    bitcoin: BTreeMap<u64, oneshot::Sender<bool>>,
}

impl Node {
    pub(crate) fn new(started: Started) -> Self {
        let Started { runtime, idle, chain, outbox, gossip, events, memory, mirror, skew, now } = started;
        Self {
            runtime,
            idle,
            chain,
            outbox,
            gossip,
            events,
            memory,
            mirror,
            skew,
            now,
            core: None,
            wake: None,
            wishes: VecDeque::new(),
            next_id: 0,
            writes: VecDeque::new(),
            held: VecDeque::new(),
            reads: BTreeMap::new(),
            builds: BTreeMap::new(),
            executions: BTreeMap::new(),
            signings: BTreeMap::new(),
            bitcoin: BTreeMap::new(),
        }
    }

    /// Lets the time move to `clock`, gives `inject` to the actors, and runs them until they wait.
    fn run(&mut self, clock: Clock, inject: impl FnOnce()) {
        self.skew.store(clock.skew, Ordering::Relaxed);
        let step = Duration::from_millis(clock.now.saturating_sub(self.now));
        self.now = self.now.max(clock.now);
        let idle = Arc::clone(&self.idle);
        self.runtime.block_on(async move {
            if !step.is_zero() {
                tokio::time::advance(step).await;
            }
            inject();
            idle.wait().await;
        });
    }

    /// Takes what the actors have done.
    fn collect(&mut self) -> Option<Told> {
        let (mut told, failed);
        {
            let mut mirror = lock(&self.mirror);
            failed = std::mem::take(&mut mirror.failed);
            if std::mem::take(&mut mirror.fed_times) >= TOO_BUSY {
                self.wishes.push_back(Wish::Broken(format!("{TOO_BUSY} messages in no time")));
            }
            self.wishes.extend(mirror.restored.drain(..).map(|chain| Wish::Restored(Box::new(chain))));
            self.core = mirror.fed.take().or(self.core.take());
            self.wake = mirror.wake;
        }
        told = None;
        for out in self.outbox.take() {
            told = self.carry(out).or(told);
        }
        while let Some(message) = self.received(|node| node.gossip.try_recv()) {
            self.wishes.push_back(Wish::Effect(Effect::Broadcast(message)));
        }
        while let Some(event) = self.received(|node| node.events.try_recv()) {
            if let ChainEvent::NewBlock(block) = &event {
                let outcome = ImportOutcome::Imported { height: block.height, notarized: false };
                self.wishes.push_back(Wish::Effect(Effect::Imported { root: block.root, outcome }));
            }
            self.wishes.push_back(Wish::Effect(Effect::Event(event)));
        }
        if failed {
            self.wishes.push_back(Wish::Failed(Victim::Chain));
        }
        told
    }

    fn received<T>(&mut self, next: impl FnOnce(&mut Self) -> Result<T, broadcast::error::TryRecvError>) -> Option<T> {
        match next(self) {
            Ok(value) => Some(value),
            Err(broadcast::error::TryRecvError::Lagged(missed)) => {
                self.wishes.push_back(Wish::Broken(format!("{missed} messages in one run")));
                None
            }
            Err(broadcast::error::TryRecvError::Empty | broadcast::error::TryRecvError::Closed) => None,
        }
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Makes a wish of what left the actors.
    fn carry(&mut self, out: Out) -> Option<Told> {
        let effect = match out {
            Out::Storage(message) => {
                self.store(message);
                return None;
            }
            Out::Signer(SignerMessage::Sign { request, reply }) => {
                let id = self.id();
                self.signings.insert(id, (request, reply));
                Effect::Sign { id: SignId(id), request }
            }
            Out::Signer(SignerMessage::Met(met)) => {
                if !memory::lock(&self.memory).may_be_own(&met) {
                    self.broken(format!("takes its own signature for another process's: {met:?}"));
                }
                return None;
            }
            Out::Signer(SignerMessage::Contradicted(met)) => {
                self.broken(format!("signed twice: {met:?}"));
                return None;
            }
            Out::Build { parent, attributes, reply } => {
                let id = self.id();
                self.builds.insert(id, reply);
                let slot = alys_primitives::Slot(0);
                Effect::Build { id: BuildId(id), slot, parent_execution_hash: parent, attributes }
            }
            Out::Execute { payload, reply } => {
                let id = self.id();
                self.executions.insert(id, reply);
                Effect::Execute { id: ExecutionId(id), block: Arc::new(carrier(payload)) }
            }
            Out::Forkchoice(update) => Effect::Forkchoice(update),
            Out::Bitcoin { blocks, reply } => {
                let id = self.id();
                self.bitcoin.insert(id, reply);
                self.wishes.push_back(Wish::AskBitcoin { id, blocks });
                return None;
            }
            Out::Judged { block, verdict } => return Some(self.judged(block, verdict)),
            Out::Imported { root, outcome: Ok(outcome) } => Effect::Imported { root, outcome },
            Out::Imported { outcome: Err(alys_chain::VerifyError::UnknownEpoch { .. }), .. } => {
                return Some(Told::UnknownEpoch);
            }
            Out::Imported { outcome: Err(_), .. } => return Some(Told::Refused),
            // What was taken in is told as an event: the run may have been cut at an epoch that was not known.
            Out::RangeImported { refused } => return refused.then_some(Told::Refused),
            Out::Worked { hash, outcome } => Effect::AuxPowProcessed { hash, outcome },
            Out::Changed { change_root, outcome } => Effect::FederationProcessed { change_root, outcome },
            Out::Paused { pause_root, outcome } => Effect::PauseProcessed { pause_root, outcome },
            Out::Failed => {
                self.wishes.push_back(Wish::Failed(Victim::Execution));
                return None;
            }
            Out::Broken(what) => {
                self.broken(what);
                return None;
            }
            Out::Ended => {
                self.wishes.push_back(Wish::Ended);
                return None;
            }
        };
        self.wishes.push_back(Wish::Effect(effect));
        None
    }

    fn broken(&mut self, what: String) {
        self.wishes.push_back(Wish::Broken(what));
    }

    /// The verdict about gossip. A block whose parent is missing is asked for, as the sync actor would.
    fn judged(&mut self, block: Option<(Root, Root)>, verdict: Option<Verdict>) -> Told {
        let missing =
            |chain: &Chain, root: &Root, parent: &Root| chain.find(parent).is_none() && chain.find(root).is_none();
        if let (Some((root, parent)), Some(Verdict::Accept), Some(core)) = (block, verdict, &self.core)
            && missing(core, &root, &parent)
        {
            let outcome = ImportOutcome::Pending(PendingReason::Parent(parent));
            self.wishes.push_back(Wish::Effect(Effect::Imported { root, outcome }));
        }
        match verdict {
            Some(Verdict::Reject) => Told::Refused,
            Some(Verdict::Ignore) => Told::NotTaken,
            Some(Verdict::Accept) | None => Told::Taken,
        }
    }

    fn store(&mut self, message: StorageMessage) {
        let (question, reply) = match message {
            StorageMessage::Apply { batches, reply } => {
                let mut last = BatchId(self.next_id);
                for batch in batches {
                    last = BatchId(self.id());
                    self.wishes.push_back(Wish::Effect(Effect::Persist { id: last, batch }));
                }
                self.writes.push_back((last, reply));
                return;
            }
            StorageMessage::Load { reply } => (Question::Everything, ReadReply::Everything(reply)),
            StorageMessage::Block { height, reply } => (Question::Height(height), ReadReply::Block(reply)),
            StorageMessage::BlockByRoot { root, reply } => (Question::Root(root), ReadReply::Block(reply)),
            StorageMessage::KeepLightRecords { .. }
            | StorageMessage::KeepOlder { .. }
            | StorageMessage::KeepBundles { .. } => {
                self.broken("the chain's actor asks for what only other actors ask for".to_owned());
                return;
            }
        };
        self.held.push_back((question, reply));
        self.ask_disk();
    }

    /// Asks what no write is before.
    fn ask_disk(&mut self) {
        while self.writes.is_empty() {
            let Some((what, reply)) = self.held.pop_front() else { return };
            let id = self.id();
            self.reads.insert(id, reply);
            self.wishes.push_back(Wish::Read { id, what });
        }
    }

    /// An answer of the world.
    fn answer(&mut self, clock: Clock, input: Input) -> Told {
        match input {
            Input::Tick => self.run(clock, || ()),
            Input::Durable { id } => {
                let mut replies = Vec::new();
                while self.writes.front().is_some_and(|(last, _)| *last <= id) {
                    replies.extend(self.writes.pop_front().map(|(_, reply)| reply));
                }
                self.run(clock, || replies.into_iter().for_each(|reply| reply.send(Ok(()))));
                self.ask_disk();
            }
            Input::Built { id, result } => {
                let reply = self.builds.remove(&id.0);
                self.run(clock, || answer_with(reply, result));
            }
            Input::Executed { id, outcome } => {
                let reply = self.executions.remove(&id.0);
                self.run(clock, || answer_with(reply, outcome));
            }
            Input::Signed { id, result } => {
                let Some((request, reply)) = self.signings.remove(&id.0) else { return Told::NotTaken };
                if result.is_ok() {
                    memory::lock(&self.memory).signed(&request);
                }
                self.run(clock, || reply.send(result));
            }
            Input::Peg(offer) => {
                let chain = self.chain.clone();
                self.run(clock, || drop(chain.try_tell(ChainMessage::PegOffer(offer))));
            }
            // What is checked comes as messages.
            Input::Block(_)
            | Input::PeerBlock { .. }
            | Input::Approval(_)
            | Input::Notarization(_)
            | Input::AuxPow(_)
            | Input::Evidence(_)
            | Input::FederationChange(_)
            | Input::Pause(_) => return Told::NotTaken,
        }
        Told::Taken
    }

    /// Something that somebody signed or mined.
    fn message(&mut self, clock: Clock, message: Gossip, peer: Option<PeerTag>) {
        let (chain, outbox) = (self.chain.clone(), self.outbox.clone());
        match (message, peer) {
            (Gossip::AuxPow(record), _) => {
                let hash = record.bundle.tree_hash_root();
                let record = Box::new(record);
                self.run(clock, || {
                    let answer = chain.ask(|reply| ChainMessage::ProcessAuxPow { record, reply });
                    spawn(answer, move |outcome| outbox.push(Out::Worked { hash, outcome }));
                });
            }
            (Gossip::FederationChange(change), None) => {
                let change_root = change_root(&change);
                let change = Box::new(change);
                self.run(clock, || {
                    let answer = chain.ask(|reply| ChainMessage::UpdateFederation { change, reply });
                    spawn(answer, move |outcome| outbox.push(Out::Changed { change_root, outcome }));
                });
            }
            (Gossip::Pause(pause), None) => {
                let pause_root = pause_root(&pause);
                let pause = Box::new(pause);
                self.run(clock, || {
                    let answer = chain.ask(|reply| ChainMessage::PausePeg { pause, reply });
                    spawn(answer, move |outcome| outbox.push(Out::Paused { pause_root, outcome }));
                });
            }
            (message, peer) => {
                let block = match &message {
                    Gossip::Block(block) => Some((block.root(), block.header.parent_root)),
                    Gossip::Approval(_)
                    | Gossip::Notarization(_)
                    | Gossip::AuxPow(_)
                    | Gossip::Evidence(_)
                    | Gossip::FederationChange(_)
                    | Gossip::Pause(_) => None,
                };
                let (message, peer) = (Box::new(message), peer.unwrap_or(PeerTag(u64::MAX)));
                self.run(clock, || {
                    let answer = chain.ask(|reply| ChainMessage::Gossip { message, peer, reply });
                    spawn_any(answer, move |verdict| outbox.push(Out::Judged { block, verdict }));
                });
            }
        }
    }

    fn blocks(
        &mut self,
        clock: Clock,
        blocks: Vec<Arc<SignedBlock>>,
        certificate: Option<alys_primitives::Notarization>,
        peer: PeerTag,
    ) {
        let (chain, outbox) = (self.chain.clone(), self.outbox.clone());
        let Some(root) = blocks.last().map(|block| block.root()) else { return };
        let mut blocks: Vec<SignedBlock> = blocks.into_iter().map(Arc::unwrap_or_clone).collect();
        self.run(clock, || match (blocks.len(), certificate) {
            // A single one goes the way of an operator's or embedder's.
            (1, None) => {
                let Some(block) = blocks.pop().map(Box::new) else { return };
                let answer = chain.ask(|reply| ChainMessage::ImportBlock { block, reply });
                spawn(answer, move |outcome| outbox.push(Out::Imported { root, outcome }));
            }
            (_, certificate) => {
                let certificate = certificate.map(Box::new);
                let answer = chain.ask(|reply| ChainMessage::ImportRange { blocks, peer, certificate, reply });
                spawn(answer, move |outcome| outbox.push(Out::RangeImported { refused: outcome.is_err() }));
            }
        });
    }
}

/// Answers whoever still waits for it.
fn answer_with<T>(waiting: Option<oneshot::Sender<T>>, answer: T) {
    if let Some(waiting) = waiting {
        drop(waiting.send(answer));
    }
}

/// Puts a question into the chain's inbox and waits for the answer in a task; one that failed with the actor is none.
fn spawn<T: Send + 'static>(ask: alys_actor::Ask<ChainMessage, T>, then: impl FnOnce(T) + Send + 'static) {
    tokio::spawn(async move {
        if let Ok(answer) = ask.await {
            then(answer);
        }
    });
}

/// As [`spawn`]; without an answer, `then` is told so.
fn spawn_any<T: Send + 'static>(ask: alys_actor::Ask<ChainMessage, T>, then: impl FnOnce(Option<T>) + Send + 'static) {
    tokio::spawn(async move { then(ask.await.ok()) });
}

/// A block that is nothing but its payload: what an engine looks at.
fn carrier(payload: ExecutionPayload) -> SignedBlock {
    SignedBlock {
        header: BlockHeader::default(),
        author_signature: SignatureBytes::ZERO,
        body: BlockBody::default(),
        payload,
        parent_notarization: VariableList::empty(),
    }
}

impl Machine for Node {
    fn tell(&mut self, clock: Clock, fact: Fact) -> Told {
        let mut unknown = false;
        let told = match fact {
            Fact::Input(input) => self.answer(clock, input),
            Fact::Message { message, peer } => {
                if let (Gossip::Block(block), Some(core)) = (&message, &self.core) {
                    unknown = !core.verifier().knows(block.header.epoch);
                }
                self.message(clock, message, peer);
                Told::Taken
            }
            Fact::Blocks { blocks, certificate, peer } => {
                self.blocks(clock, blocks, certificate, peer);
                Told::Taken
            }
            Fact::Read { id, found } => {
                match (self.reads.remove(&id), *found) {
                    (Some(ReadReply::Everything(reply)), Found::Everything(restored)) => {
                        self.run(clock, || reply.send(Ok(Box::new(restored))));
                    }
                    (Some(ReadReply::Block(reply)), Found::Block(found)) => {
                        self.run(clock, || reply.send(Ok(found.map(|found| Box::new(found.block)))));
                    }
                    (_, _) => self.broken("an answer of the disk fits no question".to_owned()),
                }
                Told::Taken
            }
            Fact::Bitcoin { id, known } => {
                let reply = self.bitcoin.remove(&id);
                self.run(clock, || answer_with(reply, known));
                Told::Taken
            }
            Fact::Panic(Victim::Chain) => {
                lock(&self.mirror).panic = true;
                Told::Taken
            }
            Fact::Panic(Victim::Execution) => {
                memory::lock(&self.memory).fail = true;
                Told::Taken
            }
        };
        let judged = self.collect();
        if unknown { Told::UnknownEpoch } else { judged.unwrap_or(told) }
    }

    fn poll_wish(&mut self) -> Option<Wish> {
        let wish = self.wishes.pop_front();
        if matches!(wish, Some(Wish::Failed(Victim::Chain))) {
            // Until now it was the core of whom the wishes before tell.
            self.core = None;
        }
        wish
    }

    fn wake_at(&self, clock: Clock) -> Option<u64> {
        let look = clock.now + LOOK_EVERY;
        Some(self.wake.map_or(look, |wake| wake.min(look)))
    }

    fn core(&self) -> Option<&Chain> {
        self.core.as_ref()
    }

    fn has_actors(&self) -> bool {
        true
    }
}
