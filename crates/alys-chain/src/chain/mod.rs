//! The chain core: one value that owns everything, fed with facts and polled for wishes.

mod certify;
mod evidence;
mod federation;
mod import;
mod mining;
mod pause;
mod produce;
mod restore;
mod view;
mod vote;

use crate::{
    BatchId, ChainConfig, ChainView, ChainWrite, ConfigError, Counters, Effect, ExecutionId, GenesisError, Input,
    InputError, Pointers, SignId, SignRefusal, Verifier,
    constants::Constants,
    digest::Sums,
    early::Early,
    error::BlockError,
    evidence::Found,
    federation::Federation,
    journal::{Journal, Visible},
    peg::{PegOffer, PegRules},
    pending::{PendingBlocks, PendingLimits},
    queue::AuxPowQueue,
    scheme::Scheme,
    transition,
    tree::{Entry, Tree},
    verify::Basis,
    witness::Witness,
};
use alys_primitives::{ApprovalData, ChainSpec, Epoch, Height, Pause, Root, SignatureBytes, Slot, UnixMillis};
pub use mining::AuxTemplate;
use produce::Production;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// Why the core wants to hear of the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimeoutReason {
    /// A slot of ours comes up.
    Production,
    /// A waiting block's slot comes up, its execution is tried again, or it expires.
    Pending,
}

/// What an open signature is for.
#[derive(Clone, Debug)]
enum Signing {
    Proposal,
    Approval { data: ApprovalData, member_index: u64 },
}

/// A block that was rejected, and why, for as long as there is room to remember.
#[derive(Clone, Debug, Default)]
struct Rejected {
    errors: BTreeMap<Root, BlockError>,
    order: VecDeque<Root>,
}

impl Rejected {
    fn insert(&mut self, root: Root, error: BlockError, limit: usize) {
        if self.errors.insert(root, error).is_none() {
            self.order.push_back(root);
        }
        while self.order.len() > limit {
            if let Some(oldest) = self.order.pop_front() {
                self.errors.remove(&oldest);
            }
        }
    }
}

/// What we have voted for since the core was made. The signing record outlives it and has the last word.
#[derive(Clone, Copy, Debug, Default)]
struct Voted {
    /// Greatest slot.
    slot: Option<Slot>,
    /// Greatest height of a parent.
    parent_height: Height,
}

/// The pure state machine of one chain.
///
/// ```text
/// loop {
///     chain.handle(now, input)?;
///     while let Some(effect) = chain.poll_effect() { /* carry out; answers become inputs */ }
///     // call handle(at, Input::Tick) no later than chain.poll_timeout()
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Chain {
    constants: Arc<Constants>,
    config: ChainConfig,
    federations: Arc<BTreeMap<Epoch, Arc<Federation>>>,
    tree: Tree,
    sums: Sums,
    pending: PendingBlocks,
    /// Blocks to look at again before the input in hand is done.
    ready: VecDeque<Root>,
    rejected: Rejected,
    early: Early,
    witness: Witness,
    found: Found,
    /// A change of the federation that waits for an author.
    change: Option<federation::Candidate>,
    /// A decision about pausing the peg that waits for an author.
    pause: Option<Pause>,
    queue: AuxPowQueue,
    voted: Voted,
    /// The newest epoch of which a block was imported: who saw it begin never votes in an older one.
    begun: Epoch,
    signing: BTreeMap<SignId, Signing>,
    production: Production,
    peg_offer: PegOffer,
    journal: Journal,
    now: UnixMillis,
    next_id: u64,
    stalled: bool,
    view: ChainView,
    counters: Counters,
}

impl Chain {
    /// A chain of nothing but genesis, which is notarized, safe and finalized.
    ///
    /// # Errors
    /// [`GenesisError`] if a constant is out of range or a member's key or proof of possession does not hold.
    pub fn genesis(spec: ChainSpec, config: ChainConfig) -> Result<Self, GenesisError> {
        Self::begin(spec, config, Scheme::Bls)
    }

    pub(crate) fn begin(spec: ChainSpec, config: ChainConfig, scheme: Scheme) -> Result<Self, GenesisError> {
        let (constants, federation) = Constants::new(spec, scheme)?;
        let entry = transition::genesis(&constants, federation);
        Ok(Self::at(Arc::new(constants), config, entry, Vec::new()))
    }

    /// A chain whose only block is this finalized one.
    fn at(constants: Arc<Constants>, config: ChainConfig, entry: Entry, trunk: Vec<crate::TrunkBlock>) -> Self {
        let federations = Arc::new(BTreeMap::from([(entry.state.epoch, Arc::clone(&entry.federation))]));
        let (begun, root) = (entry.state.epoch, entry.root);
        let mut sums = Sums::default();
        sums.add_block(&entry);
        if let Some(certificate) = &entry.certificate {
            sums.add_certificate(certificate);
        }
        let tree = Tree::new(entry, trunk);
        let view = view::empty(&constants, &tree);
        let mut chain = Self {
            constants,
            config,
            federations,
            tree,
            sums,
            pending: PendingBlocks::default(),
            ready: VecDeque::new(),
            rejected: Rejected::default(),
            early: Early::default(),
            witness: Witness::default(),
            found: Found::default(),
            change: None,
            pause: None,
            queue: AuxPowQueue::default(),
            voted: Voted::default(),
            begun,
            signing: BTreeMap::new(),
            production: Production::default(),
            peg_offer: PegOffer::default(),
            journal: Journal::default(),
            now: UnixMillis(0),
            next_id: 0,
            stalled: false,
            view,
            counters: Counters::default(),
        };
        chain.learn_federation(&root);
        chain.stalled = chain.needs_auxpow();
        chain.view = chain.current_view();
        chain
    }

    /// Takes in one fact. What follows from it is then to be polled from [`Chain::poll_effect`].
    ///
    /// # Errors
    /// [`InputError`] if the fact is an answer to no open question, or was verified for another chain or federation, or
    /// does not match the block it is about. The chain is unchanged then, the passing of time apart.
    pub fn handle(&mut self, now: UnixMillis, input: Input) -> Result<(), InputError> {
        self.now = now;
        let result = match input {
            Input::Tick => Ok(()),
            Input::Block(block) => self.import(block, None),
            Input::PeerBlock { block, peer } => self.import(block, Some(peer)),
            Input::Approval(approval) => self.approval(approval),
            Input::Notarization(certificate) => self.notarization(certificate),
            Input::AuxPow(record) => self.auxpow(record),
            Input::Evidence(evidence) => self.evidence(evidence),
            Input::FederationChange(change) => self.federation_change(change),
            Input::Pause(pause) => self.pause(pause),
            Input::Peg(offer) => {
                self.peg_offer = *offer;
                Ok(())
            }
            Input::Built { id, result } => self.built(id, result),
            Input::Executed { id, outcome } => self.executed(id, outcome),
            Input::Signed { id, result } => self.signed(id, result),
            Input::Durable { id } => self.durable(id),
        };
        self.look_again();
        self.produce();
        self.settle();
        result
    }

    /// Takes other choices of the operator while running; what they bound from now on, they do not undo.
    ///
    /// # Errors
    /// [`ConfigError`] if a choice is out of range or names another key; nothing has changed then.
    pub fn reconfigure(&mut self, config: ChainConfig) -> Result<(), ConfigError> {
        config.validate(&self.constants.spec)?;
        if config.member_key != self.config.member_key {
            return Err(ConfigError::MemberKey);
        }
        self.config = config;
        Ok(())
    }

    /// The next wish, in the order in which they are to be carried out.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.journal.next_effect()
    }

    /// When to send [`Input::Tick`] at the latest, and why; `None` if only other facts can change anything.
    pub fn poll_timeout(&self) -> Option<(UnixMillis, TimeoutReason)> {
        let production = self.production.timeout().map(|at| (at, TimeoutReason::Production));
        let pending = self.pending.next_timer().map(|at| (at, TimeoutReason::Pending));
        production.into_iter().chain(pending).min()
    }

    /// What checking messages takes. Get a fresh one when the epoch in [`ChainView`] changes.
    pub fn verifier(&self) -> Verifier {
        Verifier { constants: Arc::clone(&self.constants), federations: Arc::clone(&self.federations) }
    }

    /// One hash over everything durable: equal for a chain that ran and one that was restored from what it wrote.
    pub fn state_root(&self) -> Root {
        self.sums.root(self.constants.genesis_root, &self.pointers(), self.tree.finalized().state_root)
    }

    /// The rules of the peg; none for a chain without one.
    pub fn peg_rules(&self) -> Option<&PegRules> {
        self.constants.peg.as_ref()
    }

    /// Root of the chain's constants, its name.
    pub fn genesis_root(&self) -> Root {
        self.constants.genesis_root
    }

    fn pointers(&self) -> Pointers {
        Pointers { head: self.tree.head().root, safe: self.tree.safe().root, finalized: self.tree.finalized().root }
    }

    fn fresh_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        id
    }

    fn fresh_execution(&mut self) -> ExecutionId {
        ExecutionId(self.fresh_id())
    }

    /// The proof must be for this chain and rest on federations that it knows.
    fn check_basis(&self, basis: &Basis) -> Result<(), InputError> {
        if basis.genesis_root != self.constants.genesis_root {
            return Err(InputError::OtherChain);
        }
        for (epoch, root) in &basis.federations {
            if self.federations.get(epoch).is_none_or(|known| known.root() != *root) {
                return Err(InputError::StaleProof { epoch: *epoch });
            }
        }
        Ok(())
    }

    fn limits(&self) -> PendingLimits {
        let members = self.tree.head().federation.len().max(1);
        PendingLimits {
            blocks: self.config.max_pending_blocks,
            bytes: self.config.max_pending_bytes,
            share: self.config.max_pending_blocks.div_ceil(members),
            per_peer: self.config.max_pending_per_peer,
        }
    }

    fn needs_auxpow(&self) -> bool {
        transition::child_rules(&self.constants, self.tree.head()).needs_auxpow
    }

    fn signed(&mut self, id: SignId, result: Result<SignatureBytes, SignRefusal>) -> Result<(), InputError> {
        let signing = self.signing.remove(&id).ok_or(InputError::UnknownId { id: id.0 })?;
        match (signing, result) {
            (Signing::Proposal, result) => self.proposal_signed(id, result),
            (Signing::Approval { data, member_index }, Ok(signature)) => {
                self.approval_signed(data, member_index, signature);
            }
            (Signing::Approval { .. }, Err(_)) => {
                self.counters.refused = self.counters.refused.saturating_add(1);
            }
        }
        Ok(())
    }

    fn durable(&mut self, id: BatchId) -> Result<(), InputError> {
        let (visible, view) = self.journal.durable(id).ok_or(InputError::UnknownId { id: id.0 })?;
        self.view = view;
        self.show(visible);
        Ok(())
    }

    /// Closes the input in hand: its writes become one batch, what tells of them waits.
    fn settle(&mut self) {
        if self.journal.has_writes() {
            let pointers = self.pointers();
            self.journal.write(ChainWrite::Pointers(pointers));
            let (root, view) = (self.state_root(), self.current_view());
            self.journal.seal(root, view);
        }
        #[cfg(feature = "testing")]
        if self.constants.scheme.planted(crate::testing::Plant::ReleaseBeforePersist) {
            let early = self.journal.release();
            self.show(early);
        }
        let visible = self.journal.settle();
        self.show(visible);
    }

    fn show(&mut self, visible: Vec<Visible>) {
        for item in visible {
            match item {
                Visible::Effect(effect) => self.journal.now(effect),
                Visible::Vote(root) => self.vote(&root),
            }
        }
    }
}
