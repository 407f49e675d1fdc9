//! One machine as the world sees it: facts go in, wishes come out. What lies between is the core alone ([`CoreMachine`]) or a
//! node's actors around it, which another crate brings.

use alys_chain::{
    Chain, ChainConfig, Effect, Input, Message, PeerTag, Restored, RestoredBlock, VerifyError, testing::Fixture,
};
use alys_primitives::{B256, Height, Notarization, Root, SignedBlock, UnixMillis};
use std::sync::Arc;

/// Two clocks of one machine.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The true time in milliseconds; runs evenly.
    pub now: u64,
    /// What the machine's wall clock shows beyond it.
    pub skew: i64,
}

impl Clock {
    /// What the wall clock shows.
    pub fn wall(self) -> UnixMillis {
        UnixMillis(self.now.saturating_add_signed(self.skew))
    }

    /// The true time at which the wall clock shows `local`.
    pub fn true_time(self, local: UnixMillis) -> u64 {
        local.0.saturating_add_signed(self.skew.saturating_neg())
    }
}

/// Something that a machine learns.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "a fact is moved once and never kept")]
pub enum Fact {
    /// An answer to a wish, a suggestion of this machine's Bitcoin, or nothing but the time.
    Input(Input),
    /// What somebody signed or mined, not checked yet.
    Message {
        /// It.
        message: Message,
        /// Who passed it on; none for this machine's own operator or miner.
        peer: Option<PeerTag>,
    },
    /// Blocks that were asked for, parents first.
    Blocks {
        /// They.
        blocks: Vec<Arc<SignedBlock>>,
        /// The last one's certificate, if it is known.
        certificate: Option<Notarization>,
        /// Who gave them.
        peer: PeerTag,
    },
    /// The answer to [`Wish::Read`].
    Read {
        /// The question.
        id: u64,
        /// What the disk holds.
        found: Box<Found>,
    },
    /// The answer to [`Wish::AskBitcoin`].
    Bitcoin {
        /// The question.
        id: u64,
        /// Whether all blocks are on the best branch that this machine sees.
        known: bool,
    },
    /// An actor panics at the next message that it handles.
    Panic(Victim),
}

/// An actor that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// The one around the core: its memory is lost, its supervisor starts another one from the disk.
    Chain,
    /// The one that drives the engine.
    Execution,
}

/// What became of a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It was taken in, or is on its way.
    Taken,
    /// The core has no use for it.
    NotTaken,
    /// Its signatures, work or form don't hold.
    Refused,
    /// It is of an epoch that the machine does not know yet.
    UnknownEpoch,
}

/// What a machine wants of its surroundings.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "a wish is moved once and never kept")]
pub enum Wish {
    /// As of the core. Answers to building, executing, signing and writing are facts with the same id.
    Effect(Effect),
    /// A question to the disk, which may be asked when everything written before is on it.
    Read {
        /// Names the answer.
        id: u64,
        /// What.
        what: Question,
    },
    /// Whether blocks are on Bitcoin's best branch (internal byte order of their hashes).
    AskBitcoin {
        /// Names the answer.
        id: u64,
        /// The blocks.
        blocks: Vec<B256>,
    },
    /// The chain was read from the disk again, after a start of the machine or of an actor; how it was then.
    Restored(Box<Chain>),
    /// An actor failed; its supervisor starts another one.
    Failed(Victim),
    /// All actors have ended: the process is gone.
    Ended,
    /// Something happened that never may.
    Broken(String),
}

/// What can be asked of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// All that a chain starts again from.
    Everything,
    /// The block of the head's chain at a height.
    Height(Height),
    /// A block of any branch.
    Root(Root),
}

/// What a disk holds.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "boxed where it travels")]
pub enum Found {
    /// For [`Question::Everything`].
    Everything(Restored),
    /// For the others.
    Block(Option<RestoredBlock>),
}

/// One machine.
pub trait Machine: std::fmt::Debug {
    /// Tells it something at a time that never runs backwards.
    fn tell(&mut self, clock: Clock, fact: Fact) -> Told;

    /// The next wish.
    fn poll_wish(&mut self) -> Option<Wish>;

    /// The true time at which it wants to hear of the time again.
    fn wake_at(&self, clock: Clock) -> Option<u64>;

    /// Its core as it is after everything that was told; none while it starts.
    fn core(&self) -> Option<&Chain>;

    /// Whether the node's actors run in it: then it takes runs of blocks whole, judges clocks itself and can lose an actor.
    fn has_actors(&self) -> bool {
        false
    }
}

/// Starts machines.
pub trait Maker {
    /// Starts a node's machine from what its disk holds.
    ///
    /// # Errors
    /// What of the disk is no chain.
    fn boot(&mut self, start: Start<'_>) -> Result<Box<dyn Machine>, String>;

    /// What the command line needs to make such machines, ahead of the other options.
    fn flag(&self) -> &'static str {
        ""
    }

    /// Whether [`Machine::has_actors`] of its machines.
    fn has_actors(&self) -> bool {
        false
    }
}

/// What a machine starts with.
#[derive(Debug)]
pub struct Start<'a> {
    /// Spec, signatures, planted mistake.
    pub fixture: &'a Fixture,
    /// Which node.
    pub node: usize,
    /// Its configuration.
    pub config: ChainConfig,
    /// What its disk holds.
    pub disk: Restored,
    /// Its clocks.
    pub clock: Clock,
    /// Counts its starts.
    pub boot: u64,
    /// For dice of its own; another one for each start, with its number.
    pub seed: u64,
}

/// The core alone, its verifier in front of it.
#[derive(Debug)]
pub struct CoreMachine(Chain);

/// Makes machines with nothing but the core.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cores;

impl Maker for Cores {
    fn boot(&mut self, start: Start<'_>) -> Result<Box<dyn Machine>, String> {
        let chain = start.fixture.restore(start.config, start.disk).map_err(|error| error.to_string())?;
        Ok(Box::new(CoreMachine(chain)))
    }
}

/// A message that was checked, as the core takes it.
fn verified(chain: &Chain, message: Message, peer: Option<PeerTag>) -> Result<Input, Told> {
    let verifier = chain.verifier();
    let refused = || Told::Refused;
    match message {
        Message::Block(block) => match verifier.block(Arc::unwrap_or_clone(block)) {
            Ok(block) => Ok(match peer {
                Some(peer) => Input::PeerBlock { block, peer },
                None => Input::Block(block),
            }),
            Err(VerifyError::UnknownEpoch { .. }) => Err(Told::UnknownEpoch),
            Err(_) => Err(Told::Refused),
        },
        Message::Approval(approval) => verifier.approval(approval).ok().map(Input::Approval).ok_or_else(refused),
        Message::Notarization(it) => verifier.notarization(it).ok().map(Input::Notarization).ok_or_else(refused),
        Message::AuxPow(record) => verifier.auxpow(record).ok().map(Input::AuxPow).ok_or_else(refused),
        Message::Evidence(evidence) => verifier.evidence(evidence).ok().map(Input::Evidence).ok_or_else(refused),
        Message::FederationChange(change) => {
            verifier.federation_change(change).ok().map(Input::FederationChange).ok_or_else(refused)
        }
        Message::Pause(pause) => verifier.pause(pause).ok().map(Input::Pause).ok_or_else(refused),
    }
}

impl CoreMachine {
    fn give(&mut self, clock: Clock, input: Input) -> Told {
        match self.0.handle(clock.wall(), input) {
            Ok(()) => Told::Taken,
            Err(_) => Told::NotTaken,
        }
    }

    fn take(&mut self, clock: Clock, message: Message, peer: Option<PeerTag>) -> Told {
        match verified(&self.0, message, peer) {
            Ok(input) => self.give(clock, input),
            Err(told) => told,
        }
    }
}

impl Machine for CoreMachine {
    fn tell(&mut self, clock: Clock, fact: Fact) -> Told {
        match fact {
            Fact::Input(input) => self.give(clock, input),
            Fact::Message { message, peer } => self.take(clock, message, peer),
            Fact::Blocks { blocks, certificate, peer } => {
                let blocks = blocks.into_iter().map(Message::Block);
                let messages = blocks.chain(certificate.map(Message::Notarization));
                messages.fold(Told::Taken, |_, message| self.take(clock, message, Some(peer)))
            }
            // It asks no such questions and has no actors.
            Fact::Read { .. } | Fact::Bitcoin { .. } | Fact::Panic(_) => Told::NotTaken,
        }
    }

    fn poll_wish(&mut self) -> Option<Wish> {
        self.0.poll_effect().map(Wish::Effect)
    }

    fn wake_at(&self, clock: Clock) -> Option<u64> {
        self.0.poll_timeout().map(|(local, _)| clock.true_time(local))
    }

    fn core(&self) -> Option<&Chain> {
        Some(&self.0)
    }
}
