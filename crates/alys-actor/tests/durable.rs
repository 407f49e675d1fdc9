//! Durable restarts: what was acknowledged took effect once, whatever crashed and when.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use alys_actor::durable::{
    Bad, Checkpoint, Committed, DecodeError, Durable, DurableError, Fault, MemoryDisk, MemoryJournal, Once, Options,
};
use alys_actor::testkit::{Fragile, Fuse, is_uncertain};
use alys_actor::{Actor, Addr, Backoff, Child, Context, Exit, Message, Reply, StartCause, Supervisor, System};

/// Each input pushes itself, so that the state shows order and repetition.
#[derive(Clone, Debug, Default, PartialEq)]
struct Ledger(Vec<u64>);

impl Checkpoint for Ledger {
    type Input = u64;
    type Output = usize;
    const VERSION: u32 = 1;

    fn apply(&mut self, input: u64) -> usize {
        self.0.push(input);
        self.0.len()
    }

    fn root(&self) -> [u8; 32] {
        let mut root = [7_u8; 32];
        for (i, n) in self.0.iter().enumerate() {
            for (j, b) in n.to_le_bytes().into_iter().enumerate() {
                root[(i + j) % 32] = root[(i + j) % 32].wrapping_mul(31) ^ b;
            }
        }
        root
    }

    fn encode(&self) -> Vec<u8> {
        self.0.iter().flat_map(|n| n.to_le_bytes()).collect()
    }

    fn decode(_: u32, bytes: &[u8]) -> Result<Self, DecodeError> {
        let (numbers, rest) = bytes.as_chunks::<8>();
        if rest.is_empty() {
            Ok(Self(numbers.iter().map(|n| u64::from_le_bytes(*n)).collect()))
        } else {
            Err(DecodeError("length"))
        }
    }

    fn encode_input(input: &u64) -> Vec<u8> {
        input.to_le_bytes().to_vec()
    }

    fn decode_input(_: u32, bytes: &[u8]) -> Result<u64, DecodeError> {
        bytes.try_into().map(u64::from_le_bytes).map_err(|_| DecodeError("length"))
    }
}

const OPTIONS: Options = Options { checkpoint_every: 4, keep: 2, root_every: 1, senders: 8 };

async fn open(disk: &MemoryDisk) -> Result<Durable<Ledger, MemoryJournal>, DurableError> {
    Durable::open(disk.journal(), OPTIONS, &StartCause::First, Ledger::default).await
}

async fn filled(n: u64) -> MemoryDisk {
    let disk = MemoryDisk::new();
    let mut durable = open(&disk).await.unwrap();
    for i in 1..=n {
        assert_eq!(durable.commit(i).await.unwrap(), usize::try_from(i).unwrap());
    }
    disk
}

#[tokio::test]
async fn a_restart_takes_the_newest_checkpoint_and_the_inputs_after_it() {
    let disk = filled(10).await;
    // Checkpoints at 4 and 8; inputs since the older one.
    assert_eq!(disk.len(), (6, 2));
    let durable = open(&disk).await.unwrap();
    assert_eq!(durable.state().0, (1..=10).collect::<Vec<_>>());
    assert_eq!((durable.recovered().checkpoint, durable.recovered().replayed), (8, 2));
}

#[tokio::test]
async fn a_damaged_checkpoint_is_passed_over() {
    let disk = filled(10).await;
    assert!(disk.corrupt_checkpoint(0));
    let durable = open(&disk).await.unwrap();
    assert_eq!(durable.state().0, (1..=10).collect::<Vec<_>>());
    assert_eq!(durable.recovered().passed_over, [Bad::Checkpoint(8)]);
    assert_eq!(durable.recovered().checkpoint, 4);
    assert!(disk.corrupt_checkpoint(1));
    let error = open(&disk).await.err().unwrap();
    assert!(matches!(error, DurableError::Unrecoverable(Bad::Checkpoint(8))), "{error}");
}

#[tokio::test]
async fn restore_takes_an_older_checkpoint_if_there_is_one() {
    for (n, checkpoint) in [(3, 0), (5, 4), (10, 4)] {
        let disk = filled(n).await;
        let cause = StartCause::Restore(Exit::Killed);
        let durable = Durable::open(disk.journal(), OPTIONS, &cause, Ledger::default).await.unwrap();
        assert_eq!(durable.recovered().checkpoint, checkpoint);
        assert_eq!(durable.state().0, (1..=n).collect::<Vec<_>>());
    }
    let disk = filled(10).await;
    assert!(disk.corrupt_checkpoint(1));
    let cause = StartCause::Restore(Exit::Killed);
    let durable = Durable::open(disk.journal(), OPTIONS, &cause, Ledger::default).await.unwrap();
    assert_eq!(durable.recovered().checkpoint, 8);
}

#[tokio::test]
async fn a_damaged_input_is_never_applied() {
    let disk = filled(10).await;
    assert!(disk.corrupt_input(10));
    let error = open(&disk).await.err().unwrap();
    assert!(matches!(error, DurableError::Unrecoverable(Bad::Input(10))), "{error}");
}

/// Adds one to what it replays from a checkpoint: a determinism bug.
#[derive(Default)]
struct Forgetful(Ledger, bool);

impl Checkpoint for Forgetful {
    type Input = u64;
    type Output = usize;
    const VERSION: u32 = 1;

    fn apply(&mut self, input: u64) -> usize {
        self.0.apply(if self.1 { input.wrapping_add(1) } else { input })
    }

    fn root(&self) -> [u8; 32] {
        self.0.root()
    }

    fn encode(&self) -> Vec<u8> {
        self.0.encode()
    }

    fn decode(version: u32, bytes: &[u8]) -> Result<Self, DecodeError> {
        Ledger::decode(version, bytes).map(|l| Self(l, true))
    }

    fn encode_input(input: &u64) -> Vec<u8> {
        Ledger::encode_input(input)
    }

    fn decode_input(version: u32, bytes: &[u8]) -> Result<u64, DecodeError> {
        Ledger::decode_input(version, bytes)
    }
}

#[tokio::test]
async fn a_replay_that_diverges_is_noticed() {
    let disk = filled(10).await;
    let opened = Durable::open(disk.journal(), OPTIONS, &StartCause::First, Forgetful::default).await;
    // From either checkpoint the first replayed input gives it away, and the inputs since the genesis are gone.
    let error = opened.err().unwrap();
    assert!(matches!(error, DurableError::Unrecoverable(Bad::Diverged(9))), "{error}");
}

#[tokio::test]
async fn a_failed_write_breaks_the_state_until_it_is_opened_again() {
    for (fault, expected) in [(Fault::Fail, vec![1, 2]), (Fault::FailAfter, vec![1, 2, 3])] {
        let disk = filled(2).await;
        let mut durable = open(&disk).await.unwrap();
        disk.fault_after(0, fault);
        assert!(matches!(durable.commit(3).await, Err(DurableError::Journal(_))));
        assert!(matches!(durable.commit(4).await, Err(DurableError::Broken)));
        assert_eq!(open(&disk).await.unwrap().state().0, expected);
    }
}

#[tokio::test]
async fn a_journal_that_does_not_sync_is_caught() {
    let mut lost = 0;
    for seed in 0..8 {
        let disk = filled(2).await;
        let mut durable = open(&disk).await.unwrap();
        disk.fault_after(0, Fault::SkipSync);
        durable.commit(3).await.unwrap();
        disk.crash(seed);
        lost += usize::from(open(&disk).await.unwrap().state().0.len() == 2);
    }
    assert!(lost > 0, "the crash model loses nothing");
}

#[tokio::test]
async fn repeated_inputs_take_effect_once_across_checkpoints() {
    let disk = MemoryDisk::new();
    for round in 0..3_u64 {
        let mut durable = open(&disk).await.unwrap();
        for number in 0..5 {
            let again = durable.commit_once(Once { sender: 1, number }, number).await.unwrap();
            assert_eq!(again == Committed::Duplicate, round > 0);
        }
    }
    assert_eq!(open(&disk).await.unwrap().state().0, [0, 1, 2, 3, 4]);
}

enum Msg {
    Add { key: Once, n: u64, reply: Reply<()> },
    Read(Reply<Vec<u64>>),
}

impl Message for Msg {}

struct Keeper {
    disk: MemoryDisk,
    durable: Option<Durable<Ledger, MemoryJournal>>,
}

impl Actor for Keeper {
    type Message = Msg;
    type Error = DurableError;

    async fn started(&mut self, ctx: &mut Context<Msg>) -> Result<(), DurableError> {
        tokio::task::yield_now().await;
        let journal = self.disk.journal();
        self.durable = Some(Durable::open(journal, OPTIONS, ctx.start_cause(), Ledger::default).await?);
        Ok(())
    }

    async fn handle(&mut self, message: Msg, _: &mut Context<Msg>) -> Result<(), DurableError> {
        let durable = self.durable.as_mut().ok_or(DurableError::Broken)?;
        match message {
            Msg::Add { key, n, reply } => {
                tokio::task::yield_now().await;
                durable.commit_once(key, n).await?;
                tokio::task::yield_now().await;
                reply.send(());
            }
            Msg::Read(reply) => reply.send(durable.state().0.clone()),
        }
        Ok(())
    }
}

async fn add_surely(addr: &Addr<Msg>, n: u64) {
    loop {
        let key = Once { sender: 0, number: n };
        match addr.ask_within(Duration::from_secs(1), |reply| Msg::Add { key, n, reply }).await {
            Ok(()) => return,
            Err(error) => assert!(is_uncertain(&error), "{error}"),
        }
    }
}

async fn scenario(disk: MemoryDisk, fuse: Fuse, seed: u64) {
    let mut root = Supervisor::new("root").backoff(Backoff::NONE);
    let addr = root.add(Child::new("keeper", {
        let disk = disk.clone();
        move || Fragile::new(Keeper { disk: disk.clone(), durable: None }, fuse.clone())
    }));
    let system = System::builder("test").perturb(seed).start(root).await.unwrap();
    for n in 0..6 {
        add_surely(&addr, n).await;
    }
    let read = loop {
        if let Ok(read) = addr.ask(Msg::Read).await {
            break read;
        }
    };
    assert_eq!(read, [0, 1, 2, 3, 4, 5]);
    system.shutdown().await;
    assert_eq!(open(&disk).await.unwrap().state().0, [0, 1, 2, 3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn acknowledged_inputs_take_effect_once_whichever_await_panics() {
    for nth in 1.. {
        let fuse = Fuse::at(nth);
        scenario(MemoryDisk::new(), fuse.clone(), nth).await;
        if !fuse.has_burnt() {
            assert!(nth > 20, "only {nth} awaits were reached");
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn acknowledged_inputs_take_effect_once_whichever_write_fails() {
    for fault in [Fault::Fail, Fault::FailAfter] {
        for nth in 0..9 {
            let disk = MemoryDisk::new();
            disk.fault_after(nth, fault);
            scenario(disk, Fuse::at(u64::MAX), nth).await;
        }
    }
}

/// Kills the whole system at a time of the seed's choice, then the power: what was acknowledged is there once, what was not
/// is there at most once, and the order is that of the sender.
async fn power_cuts(seed: u64) -> (usize, usize) {
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut below = |n: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % n
    };
    let disk = MemoryDisk::new();
    let (mut acknowledged, mut cuts) = (Vec::new(), 0);
    let mut next = 0_u64;
    for _ in 0..12 {
        let mut root = Supervisor::new("root").backoff(Backoff::NONE).intensity(1000, Duration::from_secs(1));
        let addr = root.add(Child::new("keeper", {
            let disk = disk.clone();
            move || Keeper { disk: disk.clone(), durable: None }
        }));
        let system = System::builder("test").perturb(seed).start(root).await.unwrap();
        match below(3) {
            0 => disk.fault_after(below(6), Fault::Fail),
            1 => disk.fault_after(below(6), Fault::FailAfter),
            _ => {}
        }
        let (count, mut steps) = (below(8), below(16));
        let work = async {
            for _ in 0..count {
                let (n, key) = (next, Once { sender: 0, number: next });
                // One number may be sent several times before it is acknowledged, in this life or the next.
                while addr.ask_within(Duration::from_secs(1), |reply| Msg::Add { key, n, reply }).await.is_err() {}
                acknowledged.push(n);
                next += 1;
            }
        };
        // Cut at a random await: each poll of the work is one step.
        let mut work = Box::pin(work);
        let done = std::future::poll_fn(|cx| {
            if steps == 0 {
                return std::task::Poll::Ready(false);
            }
            steps -= 1;
            work.as_mut().poll(cx).map(|()| true)
        })
        .await;
        drop(work);
        cuts += usize::from(!done);
        drop(system);
        disk.crash(seed);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let found = open(&disk).await.unwrap().state().0.clone();
        let unsure = found.len() - acknowledged.len();
        assert!(unsure <= 1, "seed {seed}: {found:?} beside {acknowledged:?}");
        assert_eq!(found, (0..acknowledged.len() as u64 + unsure as u64).collect::<Vec<_>>(), "seed {seed}");
    }
    (acknowledged.len(), cuts)
}

#[tokio::test(start_paused = true)]
async fn acknowledged_inputs_survive_kills_and_power_cuts_exactly_once() {
    let (mut all, mut cut) = (0, 0);
    for seed in 0..60 {
        let (acknowledged, cuts) = power_cuts(seed).await;
        all += acknowledged;
        cut += cuts;
    }
    assert!(all > 500 && cut > 100, "{all} inputs, {cut} cuts: the test has lost its grip");
}
