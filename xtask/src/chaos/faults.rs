//! What is done to the nodes.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ledger::Ledger;
use crate::chance::Random;
use crate::failure::Failure;
use crate::federation::{Federation, Node, START, Service};

/// How a node ends that found damage in its databases (`docs/OPERATIONS.md`, exit codes).
const DAMAGE: &str = "exit status: 65";

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// SIGKILL, and once more while the node comes up again.
    Kill,
    /// SIGKILL of every node at once.
    Blackout,
    /// SIGKILL and the loss of what was not synced, once more while the node comes up again; at times of every node.
    PowerCut,
    /// SIGSTOP and SIGCONT.
    Pause,
    /// The nodes are parted in two groups.
    Partition,
    /// A stopped node's database has flipped bytes; a node that finds them is given an empty one and syncs.
    Corrupt,
    /// A node's wall clock jumps ahead or back and comes right again.
    Clock,
    /// A node's disk is full for a while.
    DiskFull,
    /// A node's syncs fail (EIO) for a while.
    SyncError,
    /// A node gets no more memory for a while.
    Memory,
    /// SIGKILL of the Bitcoin that all nodes share.
    BitcoinAway,
    /// Its answers are false.
    BitcoinLies,
    /// SIGKILL of the execution client that the last node has.
    ExecutionAway,
    /// Its answers are false.
    ExecutionLies,
}

impl Kind {
    pub(super) const ALL: [Self; 14] = [
        Self::Kill,
        Self::Blackout,
        Self::PowerCut,
        Self::Pause,
        Self::Partition,
        Self::Corrupt,
        Self::Clock,
        Self::DiskFull,
        Self::SyncError,
        Self::Memory,
        Self::BitcoinAway,
        Self::BitcoinLies,
        Self::ExecutionAway,
        Self::ExecutionLies,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Blackout => "blackout",
            Self::PowerCut => "power-cut",
            Self::Pause => "pause",
            Self::Partition => "partition",
            Self::Corrupt => "corrupt",
            Self::Clock => "clock",
            Self::DiskFull => "disk-full",
            Self::SyncError => "sync-error",
            Self::Memory => "memory",
            Self::BitcoinAway => "bitcoin-away",
            Self::BitcoinLies => "bitcoin-lies",
            Self::ExecutionAway => "execution-away",
            Self::ExecutionLies => "execution-lies",
        }
    }

    /// Whether it needs the preloaded library.
    pub(super) fn is_preloaded(self) -> bool {
        // A full disk as well: a file system that hands out room in advance is not full where it matters.
        matches!(self, Self::PowerCut | Self::Clock | Self::DiskFull | Self::SyncError)
    }

    /// Members that it takes: somebody must be parted from, and somebody must have what a damaged node lost.
    pub(super) fn least_nodes(self) -> usize {
        match self {
            Self::Corrupt => 4,
            Self::Partition => 2,
            Self::Kill
            | Self::Blackout
            | Self::PowerCut
            | Self::Pause
            | Self::Clock
            | Self::DiskFull
            | Self::SyncError
            | Self::Memory
            | Self::BitcoinAway
            | Self::BitcoinLies
            | Self::ExecutionAway
            | Self::ExecutionLies => 1,
        }
    }

    /// Whether it is about the Bitcoin that nodes share.
    pub(super) fn is_of_bitcoin(self) -> bool {
        matches!(self, Self::BitcoinAway | Self::BitcoinLies)
    }

    /// Whether it is about an execution client.
    pub(super) fn is_of_execution(self) -> bool {
        matches!(self, Self::ExecutionAway | Self::ExecutionLies)
    }
}

/// What became of a node that had ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Revival {
    /// It should not have ended.
    Unexpected,
    /// It runs again, on what it has.
    Restarted,
    /// It runs again, with empty databases.
    Anew,
}

/// One fault.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) nodes: Vec<usize>,
    pub(super) duration: Duration,
    seed: u64,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind.name())?;
        if !self.nodes.is_empty() {
            write!(f, " of nodes {:?}", self.nodes)?;
        }
        write!(f, " for {:.1} s", self.duration.as_secs_f64())
    }
}

impl Fault {
    /// A fault of a kind, the rest by chance: mostly one node, sometimes two, which halts a federation of four.
    pub(super) fn draw(kind: Kind, nodes: usize, random: &mut Random) -> Self {
        let crowd = match kind {
            Kind::Partition => nodes / 2,
            // A second damaged node would leave nobody to sync from in time.
            Kind::Corrupt | Kind::Clock | Kind::DiskFull | Kind::SyncError | Kind::Memory => 1,
            Kind::Blackout => nodes,
            // No node's own fault.
            Kind::BitcoinAway | Kind::BitcoinLies | Kind::ExecutionAway | Kind::ExecutionLies => 0,
            Kind::PowerCut if random.below(4) == 0 => nodes,
            Kind::PowerCut => 1,
            Kind::Kill | Kind::Pause => 1 + usize::from(nodes > 1 && random.below(4) == 0),
        };
        let mut all: Vec<usize> = (0..nodes).collect();
        let mut victims = Vec::new();
        for _ in 0..crowd {
            let index = usize::try_from(random.below(all.len().try_into().unwrap_or(1))).unwrap_or(0);
            victims.push(all.swap_remove(index));
        }
        victims.sort_unstable();
        let least = match kind {
            // Long enough that the node meets its slots, and has to write.
            Kind::Clock
            | Kind::DiskFull
            | Kind::SyncError
            | Kind::Memory
            | Kind::BitcoinAway
            | Kind::BitcoinLies
            | Kind::ExecutionAway
            | Kind::ExecutionLies => 8,
            Kind::Kill | Kind::Blackout | Kind::PowerCut | Kind::Pause | Kind::Partition | Kind::Corrupt => 2,
        };
        let seconds = least + random.below(10);
        let duration = Duration::from_millis(seconds * 1000 + random.below(1000));
        Self { kind, nodes: victims, duration, seed: random.next() }
    }

    /// Damage goes where unnoticed damage is: two such nodes at a time would leave too few to learn from.
    pub(super) fn aim(&mut self, federation: &Federation) {
        if let Some(node) = federation.nodes.iter().find(|node| self.kind == Kind::Corrupt && node.damaged) {
            self.nodes = vec![node.index];
        }
    }

    pub(super) fn inflict(&self, federation: &mut Federation) -> Result<(), Failure> {
        match self.kind {
            Kind::Kill | Kind::Blackout => self.each(federation, |node| node.kill()),
            Kind::PowerCut => {
                let mut random = Random::new(self.seed);
                self.each(federation, |node| node.kill());
                for node in self.victims(federation) {
                    let lost = node.lose_unsynced(&mut random)?;
                    println!("         node {} lost {} bytes of {} files", node.index, lost.bytes, lost.files);
                }
            }
            Kind::BitcoinAway | Kind::ExecutionAway => self.services(federation).for_each(Service::go_away),
            Kind::BitcoinLies | Kind::ExecutionLies => self.services(federation).for_each(|service| service.lie(true)),
            Kind::Pause => self.each(federation, |node| node.signal("STOP")),
            Kind::Partition => federation.links.partition(&self.nodes),
            Kind::Clock => {
                for node in self.victims(federation) {
                    node.set_clock(self.jump())?;
                }
            }
            Kind::DiskFull => {
                for node in self.victims(federation) {
                    node.fill_disk()?;
                }
            }
            Kind::SyncError => {
                for node in self.victims(federation) {
                    node.fail_syncs(true)?;
                }
            }
            Kind::Memory => {
                for node in self.victims(federation) {
                    node.limit_memory(true)?;
                }
            }
            Kind::Corrupt => {
                self.each(federation, |node| node.kill());
                let mut random = Random::new(self.seed);
                for index in &self.nodes {
                    let data = data(federation, *index);
                    // The EVM's may be in an execution client.
                    let evm = Some(data.join("evm")).filter(|folder| random.below(2) == 1 && folder.exists());
                    flip(&evm.unwrap_or_else(|| data.join("chain/rocksdb")), &mut random)?;
                    if let Some(node) = federation.nodes.get_mut(*index) {
                        node.damaged = true;
                    }
                }
            }
        }
        Ok(())
    }

    /// Ends the fault, and notes what the nodes say first.
    pub(super) fn heal(&self, federation: &mut Federation, ledger: &mut Ledger) -> Result<(), Failure> {
        match self.kind {
            Kind::Kill => {
                for index in &self.nodes {
                    if let Some(node) = federation.nodes.get_mut(*index) {
                        node.start()?;
                        // While it reads its database, or a moment later.
                        std::thread::sleep(Duration::from_millis(self.seed % 1500));
                        node.kill();
                        start_again(node, ledger)?;
                    }
                }
            }
            Kind::PowerCut => {
                let mut random = Random::new(self.seed.wrapping_add(1));
                for node in self.victims(federation) {
                    node.start()?;
                    std::thread::sleep(Duration::from_millis(self.seed % 1500));
                    node.kill();
                    node.lose_unsynced(&mut random)?;
                    start_again(node, ledger)?;
                }
            }
            Kind::Blackout => {
                // One after the other: the first ones have nobody to learn from what they forgot.
                for node in self.victims(federation) {
                    start_again(node, ledger)?;
                }
            }
            Kind::BitcoinAway | Kind::ExecutionAway => {
                for service in self.services(federation) {
                    service.come_back()?;
                }
            }
            Kind::BitcoinLies | Kind::ExecutionLies => {
                self.services(federation).for_each(|service| service.lie(false));
            }
            Kind::Pause => self.each(federation, |node| node.signal("CONT")),
            Kind::Partition => federation.links.heal(),
            Kind::Clock => {
                for node in self.victims(federation) {
                    node.set_clock(0)?;
                }
            }
            Kind::DiskFull => {
                for node in self.victims(federation) {
                    node.free_disk()?;
                    if node.start_if_ended()?.is_none() {
                        println!("         node {} went on without room", node.index);
                    }
                }
            }
            Kind::SyncError => {
                for node in self.victims(federation) {
                    node.fail_syncs(false)?;
                    // Whoever goes on after a failed sync acknowledges what may not be on disk.
                    if node.start_if_ended()?.is_none() {
                        let wrong = format!("node {} went on although its syncs failed", node.index);
                        ledger.violations.push(wrong);
                    }
                }
            }
            Kind::Memory => {
                for node in self.victims(federation) {
                    node.limit_memory(false)?;
                    if node.start_if_ended()?.is_none() {
                        println!("         node {} lived on what it had", node.index);
                    }
                }
            }
            Kind::Corrupt => {
                for node in self.victims(federation) {
                    node.start()?;
                }
            }
        }
        Ok(())
    }

    /// Brings back a node that ended by itself, if that was to be expected of this fault.
    pub(super) fn revive(&self, federation: &mut Federation, index: usize, end: &str) -> Result<Revival, Failure> {
        // Bytes that nobody needs when a node starts are read later: at the next restart, or when files are merged.
        if end == DAMAGE && federation.nodes.get(index).is_some_and(|node| node.damaged) {
            println!("         node {index} noticed the damage ({end}); it begins with empty databases");
            begin_anew(federation, index)?;
            return Ok(Revival::Anew);
        }
        if !self.nodes.contains(&index) {
            return Ok(Revival::Unexpected);
        }
        match self.kind {
            Kind::DiskFull | Kind::SyncError | Kind::Memory => {
                println!("         node {index} had ended ({end}); it is started again");
                if let Some(node) = federation.nodes.get_mut(index) {
                    node.start()?;
                }
                Ok(Revival::Restarted)
            }
            Kind::Kill
            | Kind::Blackout
            | Kind::PowerCut
            | Kind::Pause
            | Kind::Partition
            | Kind::Corrupt
            | Kind::BitcoinAway
            | Kind::BitcoinLies
            | Kind::ExecutionAway
            | Kind::ExecutionLies
            | Kind::Clock => Ok(Revival::Unexpected),
        }
    }

    fn each(&self, federation: &mut Federation, act: impl Fn(&mut Node)) {
        self.victims(federation).for_each(act);
    }

    fn victims<'a>(&'a self, federation: &'a mut Federation) -> impl Iterator<Item = &'a mut Node> {
        federation.nodes.iter_mut().filter(|node| self.nodes.contains(&node.index))
    }

    /// What a fault of no node is about.
    fn services<'a>(&self, federation: &'a mut Federation) -> impl Iterator<Item = &'a mut Service> {
        let bitcoin = federation.bitcoin.as_mut().filter(|_| self.kind.is_of_bitcoin());
        let client = federation.client.as_mut().filter(|_| self.kind.is_of_execution());
        let bitcoin = bitcoin.map(|bitcoin| &mut bitcoin.service);
        bitcoin.into_iter().chain(client.map(|client| &mut client.service))
    }

    /// How far a clock jumps, in milliseconds: seconds to an hour, either way.
    fn jump(&self) -> i64 {
        let millis = i64::try_from(1000 + self.seed % 3_600_000).unwrap_or(1000);
        if self.seed.is_multiple_of(2) { millis } else { -millis }
    }
}

/// Starts a node that was killed, and notes its first answer. That it does not come up again is a broken promise, unless
/// it found damage from before: then it waits for [`Fault::revive`].
fn start_again(node: &mut Node, ledger: &mut Ledger) -> Result<(), Failure> {
    node.start()?;
    match node.until_answers(START) {
        Ok(status) => {
            ledger.observe_one(node.index, &status);
            Ok(())
        }
        Err(_) if node.damaged && node.exit().as_deref() == Some(DAMAGE) => Ok(()),
        Err(failure) => {
            let end = node.ended().map(|end| format!(" ({end})")).unwrap_or_default();
            ledger.violations.push(format!("node {} did not come up again after SIGKILL{end}", node.index));
            Err(failure)
        }
    }
}

/// Gives a stopped node empty databases and starts it; its signing record, its keys and its transactions stay.
fn begin_anew(federation: &mut Federation, index: usize) -> Result<(), Failure> {
    let folder = data(federation, index);
    let Some(node) = federation.nodes.get_mut(index) else { return Ok(()) };
    for part in ["chain", "evm"] {
        let path = folder.join(part);
        if path.exists() {
            fs::remove_dir_all(&path).map_err(|error| Failure::file("remove", &path, &error))?;
        }
    }
    node.damaged = false;
    node.start()
}

fn data(federation: &Federation, index: usize) -> PathBuf {
    federation.folder.join(format!("chain/member-{index}/data"))
}

/// Flips bytes of the largest files of a database, where something is written: RocksDB makes its logs longer than what
/// they hold.
fn flip(folder: &Path, random: &mut Random) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::file("damage", folder, &error);
    let mut files: Vec<(u64, PathBuf)> = fs::read_dir(folder)
        .map_err(failed)?
        .filter_map(Result::ok)
        .filter(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            name.ends_with(".sst") || name.ends_with(".log")
        })
        .filter_map(|entry| Some((entry.metadata().ok()?.len(), entry.path())))
        .filter(|(length, _)| *length > 64)
        .collect();
    if files.is_empty() {
        return Err(Failure::work(format!("no file to damage in {}", folder.display())));
    }
    files.sort_unstable();
    for (_, path) in files.into_iter().rev().take(3) {
        let mut bytes = fs::read(&path).map_err(failed)?;
        let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        for _ in 0..8 {
            let place = usize::try_from(random.below(u64::try_from(written).unwrap_or(1))).unwrap_or(0);
            if let Some(byte) = bytes.get_mut(place) {
                *byte ^= 0xff;
            }
        }
        fs::write(&path, bytes).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_its_faults_again() {
        let draw = |seed| {
            let mut random = Random::new(seed);
            (0..20).map(|_| Fault::draw(Kind::Kill, 4, &mut random).to_string()).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn victims_are_different_nodes_of_the_federation() {
        let mut random = Random::new(3);
        for kind in Kind::ALL {
            for size in kind.least_nodes()..=4 {
                for _ in 0..50 {
                    let fault = Fault::draw(kind, size, &mut random);
                    let mut nodes = fault.nodes.clone();
                    nodes.dedup();
                    assert_eq!(nodes, fault.nodes);
                    let of_nodes = !kind.is_of_bitcoin() && !kind.is_of_execution();
                    assert_eq!(of_nodes, !nodes.is_empty());
                    assert!(nodes.iter().all(|node| *node < size));
                }
            }
        }
    }
}
