//! A chain of Bitcoin headers: headers first, the branch with most work wins, old headers fall off.
//!
//! Rules: proof of work and required difficulty (retargeting every 2016 blocks; testnet's minimum-difficulty blocks;
//! none on regtest; BIP-94 on testnet4), time above the median of the last eleven and at most two hours ahead, minimum
//! versions after BIP-34, BIP-65 and BIP-66. Transactions are not looked at.
//!
//! The chain starts at a checkpoint (the genesis block or a later one that the operator trusts) and keeps a bounded run
//! of headers of the best branch and a bounded number beside it. A branch that leaves below the oldest kept header is
//! refused. Among branches of equal work the one seen first stays.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bitcoin::block::Header;
use bitcoin::consensus::Params;
use bitcoin::constants::genesis_block;
use bitcoin::pow::Work;
use bitcoin::{BlockHash, CompactTarget, Network};

use crate::compact::{self, WorkError};

/// How far (seconds) ahead of the given time a header's time may be.
pub const MAX_FUTURE_SECONDS: u32 = 2 * 60 * 60;
/// How many headers the median time is taken of.
pub const MEDIAN_TIME_SPAN: usize = 11;
/// How far (seconds) the first header of a period may lie before its parent on testnet4 (BIP-94).
const MAX_TIMEWARP_SECONDS: u32 = 600;

/// What a header chain keeps at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Headers of the best branch, at least 1.
    pub best: usize,
    /// Headers beside the best branch, all branches together.
    pub side: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { best: 8_064, side: 4_096 }
    }
}

/// The first header of a difficulty period, as far as the next retarget needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochStart {
    /// Its time, Unix seconds.
    pub time: u32,
    /// Its bits.
    pub bits: CompactTarget,
}

/// Where a header chain begins: a header taken on trust, with what the rules need of the headers before it.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// The header itself.
    pub header: Header,
    /// Its height.
    pub height: u32,
    /// Work of the whole chain up to and including it.
    pub work: Work,
    /// The first header of the period that it stands in (itself, when its height is a multiple of 2016).
    pub epoch_start: EpochStart,
    /// Times of the headers before it, newest first; up to ten are used. With fewer, the median of the first headers
    /// after it is taken of those that there are, as after a genesis block.
    pub earlier_times: Vec<u32>,
}

impl Checkpoint {
    /// The genesis block of a network.
    pub fn genesis(network: Network) -> Self {
        let header = genesis_block(network).header;
        Self {
            header,
            height: 0,
            work: header.work(),
            epoch_start: EpochStart { time: header.time, bits: header.bits },
            earlier_times: Vec::new(),
        }
    }
}

/// What inserting a header did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inserted {
    /// It was there before.
    Known,
    /// It was kept beside the best branch.
    Side,
    /// It is the new tip.
    Best(TipChange),
}

/// How the best branch changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TipChange {
    /// Headers that left the best branch, the old tip first.
    pub disconnected: Vec<BlockHash>,
    /// Headers that joined it, the new tip last.
    pub connected: Vec<BlockHash>,
}

/// Why a header is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Its parent is not known: unknown still, or older than what is kept.
    #[error("parent {parent} is unknown")]
    UnknownParent {
        /// The parent it names.
        parent: BlockHash,
    },
    /// The hash is no proof of work.
    #[error("insufficient work: {0}")]
    Work(#[from] WorkError),
    /// The bits are not those that the rules require here.
    #[error("bits {actual:08x} at height {height}, required are {expected:08x}")]
    WrongBits {
        /// The header's height.
        height: u32,
        /// Required.
        expected: u32,
        /// Found.
        actual: u32,
    },
    /// Not later than the median time of the last eleven headers.
    #[error("time {time} is not after the median time {median}")]
    TimeTooOld {
        /// The header's time.
        time: u32,
        /// The median time that it must exceed.
        median: u32,
    },
    /// More than two hours ahead; it may be offered again later.
    #[error("time {time} is later than {latest}")]
    TimeTooNew {
        /// The header's time.
        time: u32,
        /// The latest time that is taken now.
        latest: u32,
    },
    /// Starts a period too far before its parent (BIP-94).
    #[error("time {time} starts a period before {earliest}")]
    Timewarp {
        /// The header's time.
        time: u32,
        /// The earliest time that is taken here.
        earliest: u32,
    },
    /// A version that an active soft fork has retired.
    #[error("version {version} at height {height}, required is at least {minimum}")]
    OldVersion {
        /// The header's height.
        height: u32,
        /// Its version.
        version: i32,
        /// The smallest version that is taken here.
        minimum: i32,
    },
    /// Too many headers beside the best branch, all with at least as much work.
    #[error("{limit} headers beside the best branch are kept already, all with at least as much work")]
    SideFull {
        /// The limit.
        limit: usize,
    },
    /// No height is left.
    #[error("the height does not fit 32 bits")]
    HeightOverflow,
}

impl HeaderError {
    /// Whether the same header may be taken later: its sender need not be at fault.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::UnknownParent { .. } | Self::TimeTooNew { .. } | Self::SideFull { .. })
    }
}

/// A work-ordered, bounded tree of headers with one best branch.
#[derive(Debug, Clone)]
pub struct HeaderChain {
    params: Params,
    limits: Limits,
    entries: BTreeMap<BlockHash, Entry>,
    /// The best branch, from the oldest kept header to the tip. Never empty.
    best: VecDeque<BlockHash>,
    root_height: u32,
    /// The tip, again, so that reading it can't fail.
    tip: Entry,
    /// Times of the headers before the root, newest first, at most ten.
    earlier_times: VecDeque<u32>,
    next_sequence: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    header: Header,
    hash: BlockHash,
    height: u32,
    work: Work,
    /// Order of arrival: among equals the first stays.
    sequence: u64,
    epoch_start: EpochStart,
    /// The bits of the newest header of this period that is no minimum-difficulty block, this one included.
    regular_bits: CompactTarget,
}

impl HeaderChain {
    /// A chain that holds only the checkpoint.
    pub fn new(network: Network, checkpoint: Checkpoint, limits: Limits) -> Self {
        let params = Params::new(network);
        let header = checkpoint.header;
        let minimum = params.max_attainable_target.to_compact_lossy();
        let regular_bits = if header.bits == minimum { checkpoint.epoch_start.bits } else { header.bits };
        let tip = Entry {
            header,
            hash: header.block_hash(),
            height: checkpoint.height,
            work: checkpoint.work,
            sequence: 0,
            epoch_start: checkpoint.epoch_start,
            regular_bits,
        };
        Self {
            params,
            limits: Limits { best: limits.best.max(1), side: limits.side },
            entries: BTreeMap::from([(tip.hash, tip)]),
            best: VecDeque::from([tip.hash]),
            root_height: tip.height,
            tip,
            earlier_times: checkpoint.earlier_times.into_iter().take(MEDIAN_TIME_SPAN - 1).collect(),
            next_sequence: 1,
        }
    }

    /// The hash of the best branch's tip.
    pub fn tip_hash(&self) -> BlockHash {
        self.tip.hash
    }

    /// The header of the best branch's tip.
    pub fn tip(&self) -> &Header {
        &self.tip.header
    }

    /// The height of the best branch's tip.
    pub fn height(&self) -> u32 {
        self.tip.height
    }

    /// The work of the best branch, from genesis on.
    pub fn work(&self) -> Work {
        self.tip.work
    }

    /// The height of the oldest header that is kept.
    pub fn root_height(&self) -> u32 {
        self.root_height
    }

    /// How many headers of the best branch, and how many beside it, are kept.
    pub fn counts(&self) -> (usize, usize) {
        (self.best.len(), self.entries.len().saturating_sub(self.best.len()))
    }

    /// A kept header and its height, on any branch.
    pub fn get(&self, hash: &BlockHash) -> Option<(&Header, u32)> {
        self.entries.get(hash).map(|entry| (&entry.header, entry.height))
    }

    /// The hash of the best branch at a height, if it is kept.
    pub fn hash_at(&self, height: u32) -> Option<BlockHash> {
        let index = usize::try_from(height.checked_sub(self.root_height)?).ok()?;
        self.best.get(index).copied()
    }

    /// Whether a header is part of the best branch.
    pub fn is_best(&self, hash: &BlockHash) -> bool {
        self.entries.get(hash).is_some_and(|entry| self.hash_at(entry.height) == Some(*hash))
    }

    /// Headers from this one to the tip, both included; `None` when it is not on the best branch.
    pub fn confirmations(&self, hash: &BlockHash) -> Option<u32> {
        let entry = self.entries.get(hash).filter(|entry| self.hash_at(entry.height) == Some(*hash))?;
        self.tip.height.checked_sub(entry.height)?.checked_add(1)
    }

    /// The median time of a header and the ten before it: what the next header's time must exceed.
    pub fn median_time(&self, hash: &BlockHash) -> Option<u32> {
        self.entries.get(hash).map(|entry| self.median_time_of(entry))
    }

    /// The median time at the tip.
    pub fn tip_median_time(&self) -> u32 {
        self.median_time_of(&self.tip)
    }

    /// The bits that the child of the tip must carry if its time is `time`.
    pub fn next_bits(&self, time: u32) -> CompactTarget {
        self.required_bits(&self.tip, self.tip.height.saturating_add(1), time)
    }

    /// Checks a header against all rules without keeping it; gives its height.
    ///
    /// `now` is the time (Unix seconds) that the header's time is held against.
    ///
    /// # Errors
    /// [`HeaderError`] names the broken rule.
    pub fn check(&self, header: &Header, now: u32) -> Result<u32, HeaderError> {
        self.judge(header, now).map(|entry| entry.height)
    }

    /// Checks a header and keeps it; headers that no longer fit the limits are forgotten.
    ///
    /// # Errors
    /// [`HeaderError`] names the broken rule; nothing is kept then.
    pub fn insert(&mut self, header: &Header, now: u32) -> Result<Inserted, HeaderError> {
        let inserted = self.insert_unpruned(header, now)?;
        self.prune(self.limits.best);
        Ok(inserted)
    }

    /// As [`insert`](Self::insert), but keeps the old branch whole until [`prune`](Self::prune), so that a branch whose
    /// blocks turn out invalid can be taken back.
    pub(crate) fn insert_unpruned(&mut self, header: &Header, now: u32) -> Result<Inserted, HeaderError> {
        let hash = header.block_hash();
        if self.entries.contains_key(&hash) {
            return Ok(Inserted::Known);
        }
        let entry = self.judge(header, now)?;
        if entry.work <= self.tip.work {
            self.make_room_beside(&entry)?;
            self.keep(entry);
            return Ok(Inserted::Side);
        }
        self.keep(entry);
        Ok(Inserted::Best(self.switch_to(entry)))
    }

    /// Forgets a header and all that follow it, because its block is invalid. The root stays whatever happens.
    ///
    /// Gives the forgotten hashes; the best branch is then the one with most work among the rest.
    pub(crate) fn invalidate(&mut self, hash: &BlockHash) -> Vec<BlockHash> {
        let Some(height) = self.entries.get(hash).map(|entry| entry.height).filter(|height| *height > self.root_height)
        else {
            return Vec::new();
        };
        let mut later: Vec<(u32, BlockHash, BlockHash)> = self
            .entries
            .values()
            .filter(|entry| entry.height > height)
            .map(|entry| (entry.height, entry.hash, entry.header.prev_blockhash))
            .collect();
        later.sort_unstable();
        let mut forgotten = BTreeSet::from([*hash]);
        for (_, descendant, parent) in later {
            if forgotten.contains(&parent) {
                forgotten.insert(descendant);
            }
        }
        self.entries.retain(|hash, _| !forgotten.contains(hash));
        let strongest = self.entries.values().max_by_key(|entry| (entry.work, std::cmp::Reverse(entry.sequence)));
        if let Some(strongest) = strongest.copied() {
            self.switch_to(strongest);
        }
        forgotten.into_iter().collect()
    }

    /// Shortens the best branch to `keep` headers and forgets branches that left below; gives the forgotten hashes.
    pub(crate) fn prune(&mut self, keep: usize) -> Vec<BlockHash> {
        let mut forgotten = Vec::new();
        while self.best.len() > keep.max(1) {
            let Some(hash) = self.best.pop_front() else { break };
            if let Some(old) = self.entries.remove(&hash) {
                self.earlier_times.push_front(old.header.time);
                self.earlier_times.truncate(MEDIAN_TIME_SPAN - 1);
            }
            self.root_height = self.root_height.saturating_add(1);
            forgotten.push(hash);
        }
        if !forgotten.is_empty() && self.entries.len() > self.best.len() {
            let mut beside: Vec<(u32, BlockHash, BlockHash)> = self.beside().collect();
            beside.sort_unstable();
            for (_, hash, parent) in beside {
                if !self.entries.contains_key(&parent) {
                    self.entries.remove(&hash);
                    forgotten.push(hash);
                }
            }
        }
        forgotten
    }

    /// The way from one kept header to the tip: down to where they part, then up. `None` when it is not kept.
    pub(crate) fn path_to_tip(&self, from: &BlockHash) -> Option<TipChange> {
        let mut disconnected = Vec::new();
        let mut at = self.entries.get(from)?;
        while self.hash_at(at.height) != Some(at.hash) {
            disconnected.push(at.hash);
            at = self.entries.get(&at.header.prev_blockhash)?;
        }
        let first = usize::try_from(at.height.checked_sub(self.root_height)?).ok()?.checked_add(1)?;
        Some(TipChange { disconnected, connected: self.best.range(first.min(self.best.len())..).copied().collect() })
    }

    fn judge(&self, header: &Header, now: u32) -> Result<Entry, HeaderError> {
        let parent = self
            .entries
            .get(&header.prev_blockhash)
            .ok_or(HeaderError::UnknownParent { parent: header.prev_blockhash })?;
        let hash = header.block_hash();
        compact::check_work(hash, header.bits, &self.params)?;
        let height = parent.height.checked_add(1).ok_or(HeaderError::HeightOverflow)?;
        let expected = self.required_bits(parent, height, header.time);
        if header.bits != expected {
            return Err(HeaderError::WrongBits {
                height,
                expected: expected.to_consensus(),
                actual: header.bits.to_consensus(),
            });
        }
        let median = self.median_time_of(parent);
        if header.time <= median {
            return Err(HeaderError::TimeTooOld { time: header.time, median });
        }
        let starts_period = self.starts_period(height);
        if starts_period && self.follows_bip94() {
            let earliest = parent.header.time.saturating_sub(MAX_TIMEWARP_SECONDS);
            if header.time < earliest {
                return Err(HeaderError::Timewarp { time: header.time, earliest });
            }
        }
        let latest = now.saturating_add(MAX_FUTURE_SECONDS);
        if header.time > latest {
            return Err(HeaderError::TimeTooNew { time: header.time, latest });
        }
        let (version, minimum) = (header.version.to_consensus(), self.minimum_version(height));
        if version < minimum {
            return Err(HeaderError::OldVersion { height, version, minimum });
        }
        let own = EpochStart { time: header.time, bits: header.bits };
        let minimum_bits = self.params.max_attainable_target.to_compact_lossy();
        let regular = starts_period || header.bits != minimum_bits;
        Ok(Entry {
            header: *header,
            hash,
            height,
            work: parent.work + header.work(),
            sequence: self.next_sequence,
            epoch_start: if starts_period { own } else { parent.epoch_start },
            regular_bits: if regular { header.bits } else { parent.regular_bits },
        })
    }

    /// `GetNextWorkRequired` of Bitcoin Core.
    fn required_bits(&self, parent: &Entry, height: u32, time: u32) -> CompactTarget {
        if self.starts_period(height) {
            let timespan = parent.header.time.saturating_sub(parent.epoch_start.time);
            let base = if self.follows_bip94() { parent.epoch_start.bits } else { parent.header.bits };
            return CompactTarget::from_next_work_required(base, u64::from(timespan), &self.params);
        }
        if !self.params.allow_min_difficulty_blocks {
            return parent.header.bits;
        }
        let patience = self.params.pow_target_spacing.saturating_mul(2);
        if u64::from(time) > u64::from(parent.header.time).saturating_add(patience) {
            return self.params.max_attainable_target.to_compact_lossy();
        }
        parent.regular_bits
    }

    fn median_time_of(&self, entry: &Entry) -> u32 {
        let mut times = Vec::with_capacity(MEDIAN_TIME_SPAN);
        let mut at = Some(entry);
        while let Some(entry) = at.filter(|_| times.len() < MEDIAN_TIME_SPAN) {
            times.push(entry.header.time);
            at = self.entries.get(&entry.header.prev_blockhash);
        }
        let missing = MEDIAN_TIME_SPAN.saturating_sub(times.len());
        times.extend(self.earlier_times.iter().take(missing));
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or(entry.header.time)
    }

    fn starts_period(&self, height: u32) -> bool {
        u64::from(height).is_multiple_of(self.params.difficulty_adjustment_interval())
    }

    fn follows_bip94(&self) -> bool {
        self.params.network == Network::Testnet4
    }

    fn minimum_version(&self, height: u32) -> i32 {
        // Bitcoin Core has these forks active from the first block on regtest; the parameters of `bitcoin` do not.
        if self.params.network == Network::Regtest {
            return 4;
        }
        if height >= self.params.bip65_height {
            4
        } else if height >= self.params.bip66_height {
            3
        } else if height >= self.params.bip34_height {
            2
        } else {
            i32::MIN
        }
    }

    fn keep(&mut self, entry: Entry) {
        self.entries.insert(entry.hash, entry);
        self.next_sequence = self.next_sequence.saturating_add(1);
    }

    /// Makes `tip`, which is kept, the tip of the best branch.
    fn switch_to(&mut self, tip: Entry) -> TipChange {
        let mut connected = Vec::new();
        let mut at = Some(tip);
        while let Some(entry) = at.filter(|entry| self.hash_at(entry.height) != Some(entry.hash)) {
            connected.push(entry.hash);
            at = self.entries.get(&entry.header.prev_blockhash).copied();
        }
        connected.reverse();
        let fork_height = at.map_or(self.root_height, |entry| entry.height);
        let kept =
            usize::try_from(fork_height.saturating_sub(self.root_height)).unwrap_or(usize::MAX).saturating_add(1);
        let mut disconnected = Vec::new();
        while self.best.len() > kept {
            disconnected.extend(self.best.pop_back());
        }
        self.best.extend(connected.iter().copied());
        self.tip = tip;
        TipChange { disconnected, connected }
    }

    fn beside(&self) -> impl Iterator<Item = (u32, BlockHash, BlockHash)> + '_ {
        let beside = self.entries.values().filter(|entry| self.hash_at(entry.height) != Some(entry.hash));
        beside.map(|entry| (entry.height, entry.hash, entry.header.prev_blockhash))
    }

    /// Forgets the weakest last header of a side branch when the limit is reached, unless `entry` is weaker still.
    fn make_room_beside(&mut self, entry: &Entry) -> Result<(), HeaderError> {
        let full = HeaderError::SideFull { limit: self.limits.side };
        if self.entries.len().saturating_sub(self.best.len()) < self.limits.side {
            return Ok(());
        }
        let parents: BTreeSet<BlockHash> = self.beside().map(|(_, _, parent)| parent).collect();
        let weakest = self
            .beside()
            .filter(|(_, hash, _)| !parents.contains(hash) && *hash != entry.header.prev_blockhash)
            .filter_map(|(_, hash, _)| self.entries.get(&hash))
            .min_by_key(|entry| (entry.work, std::cmp::Reverse(entry.sequence)))
            .ok_or(full)?;
        if weakest.work >= entry.work {
            return Err(full);
        }
        let hash = weakest.hash;
        self.entries.remove(&hash);
        Ok(())
    }
}
