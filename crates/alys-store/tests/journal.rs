//! Journals of durable actors in the database: crashes, damage, and several actors side by side.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use alys_actor::durable::{
    Bad, Checkpoint, Committed, DecodeError, Durable, DurableError, Journal as _, Once, Options,
};
use alys_actor::{Actor, Child, Context, Exit, Message, Reply, StartCause, Supervisor, System};
use alys_primitives::Root;
use alys_store::{ActorJournal, ActorName, Column, Database, StoreConfig, StoreError};

/// Each input adds itself, so that the state shows order and repetition.
#[derive(Debug, Default)]
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
        let sum = self.0.iter().fold(7_u64, |sum, n| sum.wrapping_mul(31).wrapping_add(*n));
        let mut root = [0; 32];
        root[..8].copy_from_slice(&sum.to_le_bytes());
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

type Kept = Durable<Ledger, ActorJournal>;

fn database(folder: &Path) -> Result<Database, StoreError> {
    Database::open(folder, Root::ZERO, &StoreConfig::default())
}

fn name(name: &str) -> ActorName {
    ActorName::new(name).expect("a good name")
}

async fn open(folder: &Path) -> Result<Kept, DurableError> {
    let journal = ActorJournal::new(database(folder).expect("opens"), name("root/keeper"));
    Durable::open(journal, OPTIONS, &StartCause::First, Ledger::default).await
}

async fn filled(folder: &Path, n: u64) {
    let mut durable = open(folder).await.expect("opens");
    for i in 1..=n {
        durable.commit(i).await.expect("commits");
    }
}

#[tokio::test]
async fn state_is_rebuilt_from_the_newest_checkpoint_and_the_inputs_after_it() {
    let folder = tempfile::tempdir().expect("a folder");
    filled(folder.path(), 10).await;
    let durable = open(folder.path()).await.expect("opens");
    assert_eq!(durable.state().0, (1..=10).collect::<Vec<_>>());
    assert_eq!((durable.recovered().checkpoint, durable.recovered().replayed), (8, 2));
    drop(durable);
    // Checkpoints at 4 and 8, inputs after the older one.
    let reader = database(folder.path()).expect("opens").reader();
    let inputs = reader.inputs(&name("root/keeper"), 0, 100).expect("reads");
    assert_eq!(inputs.iter().map(|i| i.seq).collect::<Vec<_>>(), (5..=10).collect::<Vec<_>>());
    assert_eq!(reader.inputs(&name("root/keeper"), 6, 2).expect("reads").len(), 2);
    assert_eq!(reader.saved_actor(&name("root/keeper"), 1).expect("reads").map(|s| s.seq), Some(4));
    assert_eq!(reader.saved_actor(&name("root/keeper"), 2).expect("reads"), None);
}

#[tokio::test]
async fn actors_in_one_database_do_not_see_each_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut database = database(folder.path()).expect("opens");
    // Names of which one begins the other, and one that sorts between.
    let names = ["a", "ab", "a/b"].map(name);
    let made = tempfile::tempdir().expect("a folder");
    filled(made.path(), 3).await;
    let mut source = ActorJournal::new(self::database(made.path()).expect("opens"), name("root/keeper"));
    let records = source.read(0, 10).await.expect("reads");
    for (i, name) in names.iter().enumerate() {
        database.append_inputs(name, &records[i..]).expect("appends");
    }
    for (i, name) in names.iter().enumerate() {
        assert_eq!(database.reader().inputs(name, 0, 10).expect("reads"), records[i..]);
        assert_eq!(database.reader().saved_actor(name, 0).expect("reads"), None);
    }
    assert!(
        ActorName::new("").is_err() && ActorName::new("a\0b").is_err() && ActorName::new(&"a".repeat(256)).is_err()
    );
}

/// Writes bytes into a record behind the store's back.
fn damage(folder: &Path, column: Column, seq: u64) {
    let options = rocksdb::Options::default();
    let families = Column::ALL.map(Column::name);
    let db = rocksdb::DB::open_cf(&options, folder.join("rocksdb"), families).expect("opens");
    let mut key = b"root/keeper\0".to_vec();
    key.extend_from_slice(&seq.to_be_bytes());
    let family = db.cf_handle(column.name()).expect("a column");
    let mut value = db.get_cf(family, &key).expect("reads").expect("is there");
    if let Some(byte) = value.last_mut() {
        *byte ^= 1;
    }
    db.put_cf(family, &key, value).expect("writes");
    db.flush_wal(true).expect("syncs");
}

#[tokio::test]
async fn a_damaged_checkpoint_is_passed_over_and_a_damaged_input_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    filled(folder.path(), 10).await;
    damage(folder.path(), Column::ActorCheckpoints, 8);
    let durable = open(folder.path()).await.expect("falls back");
    assert_eq!(durable.state().0, (1..=10).collect::<Vec<_>>());
    assert_eq!((durable.recovered().checkpoint, &*durable.recovered().passed_over), (4, &[Bad::Checkpoint(8)][..]));
    drop(durable);
    damage(folder.path(), Column::ActorJournal, 10);
    let error = open(folder.path()).await.err().expect("refused");
    assert!(matches!(error, DurableError::Unrecoverable(Bad::Checkpoint(8))), "{error}");
}

#[tokio::test]
async fn a_missing_input_is_a_gap_and_not_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    filled(folder.path(), 3).await;
    {
        let families = Column::ALL.map(Column::name);
        let db =
            rocksdb::DB::open_cf(&rocksdb::Options::default(), folder.path().join("rocksdb"), families).expect("opens");
        let family = db.cf_handle(Column::ActorJournal.name()).expect("a column");
        let mut key = b"root/keeper\0".to_vec();
        key.extend_from_slice(&2_u64.to_be_bytes());
        db.delete_cf(family, key).expect("deletes");
        db.flush_wal(true).expect("syncs");
    }
    let error = open(folder.path()).await.err().expect("refused");
    assert!(matches!(error, DurableError::Unrecoverable(Bad::Gap(2))), "{error}");
}

enum Msg {
    Add { number: u64, reply: Reply<bool> },
}

impl Message for Msg {}

struct Keeper {
    folder: std::path::PathBuf,
    durable: Option<Kept>,
}

impl Actor for Keeper {
    type Message = Msg;
    type Error = DurableError;

    async fn started(&mut self, ctx: &mut Context<Msg>) -> Result<(), DurableError> {
        let journal = ActorJournal::new(database(&self.folder).expect("opens"), name("root/keeper"));
        self.durable = Some(Durable::open(journal, OPTIONS, ctx.start_cause(), Ledger::default).await?);
        Ok(())
    }

    async fn handle(&mut self, message: Msg, _: &mut Context<Msg>) -> Result<(), DurableError> {
        let durable = self.durable.as_mut().ok_or(DurableError::Broken)?;
        let Msg::Add { number, reply } = message;
        let done = durable.commit_once(Once { sender: 1, number }, number).await?;
        // Every seventh message kills the incarnation after the write and before the answer.
        assert!(number % 7 != 6 || done == Committed::Duplicate, "as planned");
        reply.send(true);
        Ok(())
    }
}

const FOLDER: &str = "ALYS_STORE_TEST_FOLDER";

/// The process that is killed: goes on from what it finds, and says each number once it is acknowledged.
#[test]
fn child_commits_until_it_dies() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = std::path::PathBuf::from(folder);
    std::panic::set_hook(Box::new(|_| {}));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let first = open(&folder).await.expect("opens").state().0.len();
        let mut root = Supervisor::new("root").intensity(u32::MAX, std::time::Duration::from_secs(1));
        let keeper =
            root.add(Child::new("keeper", move || Keeper { folder: folder.clone(), durable: None }).blocking());
        let system = System::builder("test").start(root).await.expect("starts");
        let mut out = std::io::stdout();
        for number in u64::try_from(first).expect("small").. {
            while keeper.ask(|reply| Msg::Add { number, reply }).await.is_err() {}
            writeln!(out, "\nacknowledged {number}").expect("the parent listens");
            out.flush().expect("the parent listens");
        }
        let _: Exit = system.ended().await;
    });
}

#[test]
fn a_durable_actor_survives_panics_and_kill_9_with_every_acknowledged_input_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut acknowledged = 0;
    for round in 0..4 {
        let mut child = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", "child_commits_until_it_dies", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let out = BufReader::new(child.stdout.take().expect("piped"));
        let mut said = out
            .lines()
            .map_while(Result::ok)
            .filter_map(|line| line.strip_prefix("acknowledged ").and_then(|number| number.parse::<u64>().ok()));
        for number in said.by_ref().take(9 + 5 * round) {
            acknowledged = number + 1;
        }
        child.kill().expect("killed");
        // What it said before it died counts as well.
        if let Some(number) = said.last() {
            acknowledged = number + 1;
        }
        child.wait().expect("reaped");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let found = runtime.block_on(open(folder.path())).expect("opens").state().0.clone();
        let n = u64::try_from(found.len()).expect("small");
        assert!(n == acknowledged || n == acknowledged + 1, "round {round}: {n} kept, {acknowledged} acknowledged");
        assert_eq!(found, (0..n).collect::<Vec<_>>());
        acknowledged = n;
    }
    assert!(acknowledged >= 40, "only {acknowledged}");
}
