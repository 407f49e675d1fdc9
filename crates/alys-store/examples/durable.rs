//! A durable actor: a counter in a RocksDB journal. Kill it whenever you like, also with `kill -9`, and start it again: every
//! number that it has said is still counted, once.
//!
//! `cargo run -p alys-store --example durable -- /tmp/counter`

use std::path::PathBuf;
use std::time::Duration;

use alys_actor::durable::{Checkpoint, DecodeError, Durable, DurableError, Once, Options};
use alys_actor::{Actor, Child, Context, Message, Reply, Supervisor, System};
use alys_primitives::Root;
use alys_store::{ActorJournal, ActorName, BadActorName, Database, StoreConfig, StoreError};

/// What is kept: a count and the sum of what was added.
#[derive(Debug, Default)]
struct Counter {
    count: u64,
    sum: u64,
}

impl Checkpoint for Counter {
    type Input = u64;
    type Output = u64;
    const VERSION: u32 = 1;

    fn apply(&mut self, input: u64) -> u64 {
        self.count = self.count.wrapping_add(1);
        self.sum = self.sum.wrapping_add(input);
        self.count
    }

    fn root(&self) -> [u8; 32] {
        let mut root = [0; 32];
        let (count, rest) = root.split_at_mut(8);
        count.copy_from_slice(&self.count.to_le_bytes());
        rest[..8].copy_from_slice(&self.sum.to_le_bytes());
        root
    }

    fn encode(&self) -> Vec<u8> {
        [self.count.to_le_bytes(), self.sum.to_le_bytes()].concat()
    }

    fn decode(_: u32, bytes: &[u8]) -> Result<Self, DecodeError> {
        let (count, sum) = bytes.split_first_chunk::<8>().ok_or(DecodeError("too short"))?;
        Ok(Self { count: u64::from_le_bytes(*count), sum: Self::decode_input(1, sum)? })
    }

    fn encode_input(input: &u64) -> Vec<u8> {
        input.to_le_bytes().to_vec()
    }

    fn decode_input(_: u32, bytes: &[u8]) -> Result<u64, DecodeError> {
        bytes.try_into().map(u64::from_le_bytes).map_err(|_| DecodeError("not eight bytes"))
    }
}

enum Msg {
    /// `number` names the request among those of this sender, so that it may be sent again.
    Add {
        number: u64,
        reply: Reply<u64>,
    },
    Count(Reply<u64>),
}

impl Message for Msg {}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the database")]
    Store(#[from] StoreError),
    #[error("the name")]
    Name(#[from] BadActorName),
    #[error("the journal")]
    Durable(#[from] DurableError),
}

struct Keeper {
    folder: PathBuf,
    durable: Option<Durable<Counter, ActorJournal>>,
}

impl Actor for Keeper {
    type Message = Msg;
    type Error = Error;

    /// Every incarnation begins from disk, so what a panic may have spoilt in memory is thrown away.
    async fn started(&mut self, ctx: &mut Context<Msg>) -> Result<(), Error> {
        let database = Database::open(&self.folder, Root::ZERO, &StoreConfig::default())?;
        let journal = ActorJournal::new(database, ActorName::new(&ctx.path())?);
        let durable = Durable::open(journal, Options::default(), ctx.start_cause(), Counter::default).await?;
        println!("found {} after {:?}", durable.state().count, durable.recovered());
        self.durable = Some(durable);
        Ok(())
    }

    async fn handle(&mut self, message: Msg, _: &mut Context<Msg>) -> Result<(), Error> {
        let durable = self.durable.as_mut().ok_or(DurableError::Broken)?;
        match message {
            Msg::Add { number, reply } => {
                // On disk first, then in memory, then said.
                durable.commit_once(Once { sender: 1, number }, 1).await?;
                reply.send(durable.state().count);
            }
            Msg::Count(reply) => reply.send(durable.state().count),
        }
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("a folder is needed")?);
    let mut root = Supervisor::new("root");
    let keeper = root.add(Child::new("keeper", move || Keeper { folder: folder.clone(), durable: None }).blocking());
    let system = System::builder("durable").start(root).await?;
    let mut number = keeper.ask(Msg::Count).await?;
    loop {
        // The same number again until it is acknowledged: it counts once.
        match keeper.ask_within(Duration::from_secs(5), |reply| Msg::Add { number, reply }).await {
            Ok(count) => println!("{count}"),
            Err(error) if system.tree().root.state == alys_actor::Phase::Stopped => return Err(error.into()),
            Err(_) => continue,
        }
        number += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
