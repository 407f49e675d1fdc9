//! The chain's own view of Bitcoin: the headers that block bodies brought (protocol section 7).
//!
//! Only these decide what counts as confirmed, so that a node without a Bitcoin node judges exactly as the others. A
//! block brings headers that follow the view's tip, or a branch from an earlier header that has more work than what it
//! replaces; there are no side branches in the state. The view keeps a bounded run of headers; a branch that leaves
//! below it is refused.
//!
//! Rules are Bitcoin Core's for headers: work, required difficulty (retargeting every 2016 blocks, testnet's easy blocks,
//! BIP-94 on testnet4), time above the median of the last eleven and at most two hours ahead of the block that brings
//! the header, version at least 4.

use alys_primitives::{B256, BitcoinCheckpoint, BitcoinHeaderBytes};
use bitcoin::{
    BlockHash, CompactTarget, Network, Target, Work,
    block::Header,
    consensus::{Params, deserialize},
    hashes::Hash as _,
};
use ssz_derive::{Decode, Encode};

/// How far ahead (seconds) of the block that brings it a header's time may be.
const MAX_FUTURE_SECONDS: u64 = 2 * 60 * 60;

/// How many headers the median time is taken of.
const MEDIAN_SPAN: usize = 11;

/// How far (seconds) the first header of a period may lie before its parent on testnet4 (BIP-94).
const MAX_TIMEWARP_SECONDS: u32 = 600;

/// The least version of a header: BIP-34, BIP-65 and BIP-66 are active wherever a chain with a peg begins.
const MIN_VERSION: i32 = 4;

/// Why headers are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The first one follows no header of the view.
    #[error("parent {parent} is not within the view")]
    UnknownParent {
        /// The parent that it names, internal byte order.
        parent: B256,
    },
    /// The first one is part of the view already.
    #[error("header {hash} is part of the view already")]
    Known {
        /// Its hash, internal byte order.
        hash: B256,
    },
    /// Two neighbours do not follow each other.
    #[error("header {position} does not follow the one before it")]
    Gap {
        /// Position in the list.
        position: usize,
    },
    /// The bits are not those that the rules require there.
    #[error("bits {found:08x} at height {height}, required are {expected:08x}")]
    Bits {
        /// The header's height.
        height: u64,
        /// Found.
        found: u32,
        /// Required.
        expected: u32,
    },
    /// The hash is no proof of work for the bits.
    #[error("header {hash} at height {height} misses its target")]
    Work {
        /// The header's height.
        height: u64,
        /// Its hash, internal byte order.
        hash: B256,
    },
    /// Not later than the median time of the eleven before it.
    #[error("time {time} at height {height} is not after the median time {median}")]
    TooOld {
        /// The header's height.
        height: u64,
        /// Its time.
        time: u32,
        /// The median.
        median: u32,
    },
    /// Too far ahead of the block that brings it.
    #[error("time {time} at height {height} is later than {latest}")]
    TooNew {
        /// The header's height.
        height: u64,
        /// Its time.
        time: u32,
        /// The latest time that is taken.
        latest: u64,
    },
    /// Starts a difficulty period too far before its parent (BIP-94).
    #[error("time {time} starts a period before {earliest}")]
    Timewarp {
        /// The header's time.
        time: u32,
        /// The earliest that is taken.
        earliest: u32,
    },
    /// A version that soft forks have retired.
    #[error("version {version} at height {height}, required is at least {MIN_VERSION}")]
    Version {
        /// The header's height.
        height: u64,
        /// Its version.
        version: i32,
    },
    /// The branch has no more work than what it would replace.
    #[error("a branch from height {fork_height} with no more work than the view's")]
    NoMoreWork {
        /// Height of the last header that both have.
        fork_height: u64,
    },
    /// No 80-byte header, which the container's type excludes.
    #[error("not a header")]
    Malformed,
}

/// A header of the view, with what the rules need of its difficulty period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Entry {
    header: BitcoinHeaderBytes,
    /// Internal byte order.
    hash: B256,
    /// Time of the period's first header.
    period_time: u32,
    /// Its bits.
    period_bits: u32,
    /// Bits of the newest header of the period that is no easy block.
    regular_bits: u32,
}

/// The best branch, from the oldest kept header to the tip.
#[derive(Clone, Debug, PartialEq, Eq, Default, Encode, Decode)]
pub struct HeaderView {
    root_height: u64,
    /// Times of the headers before the root, newest first.
    earlier_times: Vec<u32>,
    entries: Vec<Entry>,
}

/// What never changes about a network's headers.
#[derive(Clone, Debug)]
pub(crate) struct HeaderRules {
    params: Params,
    window: usize,
}

impl HeaderRules {
    pub(crate) fn new(network: Network, window: u64) -> Self {
        Self { params: Params::new(network), window: usize::try_from(window).unwrap_or(usize::MAX) }
    }

    fn easiest(&self) -> u32 {
        self.params.max_attainable_target.to_compact_lossy().to_consensus()
    }

    fn starts_period(&self, height: u64) -> bool {
        height.is_multiple_of(self.params.difficulty_adjustment_interval())
    }

    fn follows_bip94(&self) -> bool {
        self.params.network == Network::Testnet4
    }

    /// The bits that a child of `parent` must have.
    fn required_bits(&self, parent: &Entry, parent_header: &Header, height: u64, time: u32) -> u32 {
        if self.starts_period(height) {
            let span = parent_header.time.saturating_sub(parent.period_time);
            let base = if self.follows_bip94() { parent.period_bits } else { parent_header.bits.to_consensus() };
            let base = CompactTarget::from_consensus(base);
            return CompactTarget::from_next_work_required(base, u64::from(span), &self.params).to_consensus();
        }
        if !self.params.allow_min_difficulty_blocks {
            return parent_header.bits.to_consensus();
        }
        let patience = self.params.pow_target_spacing.saturating_mul(2);
        if u64::from(time) > u64::from(parent_header.time).saturating_add(patience) {
            return self.easiest();
        }
        parent.regular_bits
    }
}

/// Headers below this height fell out of the view or left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    /// Height of the last header that old and new view share.
    pub(crate) fork_height: u64,
    /// Whether headers were replaced.
    pub(crate) is_reorg: bool,
}

impl HeaderView {
    /// A view of nothing but the checkpoint.
    pub(crate) fn new(rules: &HeaderRules, checkpoint: &BitcoinCheckpoint) -> Result<Self, HeaderError> {
        let header = parse(&checkpoint.header)?;
        let narrow = |value: u64| u32::try_from(value).map_err(|_| HeaderError::Malformed);
        let bits = header.bits.to_consensus();
        let period_bits = narrow(checkpoint.period_bits)?;
        let earlier = checkpoint.earlier_times.iter().take(MEDIAN_SPAN.saturating_sub(1));
        Ok(Self {
            root_height: checkpoint.height,
            earlier_times: earlier.map(|time| narrow(*time)).collect::<Result<_, _>>()?,
            entries: vec![Entry {
                header: checkpoint.header,
                hash: hash_of(&header),
                period_time: narrow(checkpoint.period_time)?,
                period_bits,
                regular_bits: if bits == rules.easiest() { period_bits } else { bits },
            }],
        })
    }

    /// Height of the oldest kept header.
    pub fn root_height(&self) -> u64 {
        self.root_height
    }

    /// Height of the tip.
    pub fn tip_height(&self) -> u64 {
        let above = u64::try_from(self.entries.len()).unwrap_or(u64::MAX).saturating_sub(1);
        self.root_height.saturating_add(above)
    }

    /// Hash of the tip in internal byte order; zero for a chain without a peg.
    pub fn tip_hash(&self) -> B256 {
        self.entries.last().map(|entry| entry.hash).unwrap_or_default()
    }

    /// Hash at a height, if it is kept.
    pub fn hash_at(&self, height: u64) -> Option<B256> {
        self.entries.get(self.index(height)?).map(|entry| entry.hash)
    }

    /// Height of a kept header.
    pub fn height_of(&self, hash: &B256) -> Option<u64> {
        let index = self.entries.iter().rposition(|entry| entry.hash == *hash)?;
        Some(self.root_height.saturating_add(u64::try_from(index).ok()?))
    }

    /// Headers from this height to the tip, both included; zero above the tip.
    pub fn confirmations(&self, height: u64) -> u64 {
        self.tip_height().saturating_add(1).saturating_sub(height)
    }

    /// The kept header with this hash: height and Merkle root, internal byte order.
    pub(crate) fn find(&self, hash: &B256) -> Option<(u64, B256)> {
        let height = self.height_of(hash)?;
        let header = parse(&self.entries.get(self.index(height)?)?.header).ok()?;
        Some((height, B256::from(header.merkle_root.to_byte_array())))
    }

    /// Hashes for a locator, newest first: every one of the last ten, then at doubling distances, the root last.
    pub fn locator(&self) -> Vec<B256> {
        let mut hashes = Vec::new();
        let (mut back, mut step) = (0usize, 1usize);
        while let Some(entry) = self.entries.len().checked_sub(back.saturating_add(1)).and_then(|i| self.entries.get(i))
        {
            hashes.push(entry.hash);
            if hashes.len() >= 10 {
                step = step.saturating_mul(2);
            }
            back = back.saturating_add(step);
        }
        let root = self.entries.first().map(|entry| entry.hash);
        if root != hashes.last().copied() {
            hashes.extend(root);
        }
        hashes
    }

    fn index(&self, height: u64) -> Option<usize> {
        usize::try_from(height.checked_sub(self.root_height)?).ok()
    }

    /// The view after a block at `now` (Unix seconds) brought these headers, parents first.
    ///
    /// # Errors
    /// [`HeaderError`] with the first rule that is broken.
    pub(crate) fn extend(
        &self,
        rules: &HeaderRules,
        headers: &[BitcoinHeaderBytes],
        now: u64,
    ) -> Result<(Self, Moved), HeaderError> {
        let tip_height = self.tip_height();
        let Some(first) = headers.first() else {
            return Ok((self.clone(), Moved { fork_height: tip_height, is_reorg: false }));
        };
        let first = parse(first)?;
        let parent = B256::from(first.prev_blockhash.to_byte_array());
        let fork_height = self.height_of(&parent).ok_or(HeaderError::UnknownParent { parent })?;
        let hash = hash_of(&first);
        if self.height_of(&hash).is_some() {
            return Err(HeaderError::Known { hash });
        }
        let kept = self.index(fork_height).and_then(|index| index.checked_add(1)).ok_or(HeaderError::Malformed)?;
        let mut next = self.clone();
        let replaced = next.entries.split_off(kept.min(next.entries.len()));
        for (position, header) in headers.iter().enumerate() {
            let header = *header;
            if position > 0 && B256::from(parse(&header)?.prev_blockhash.to_byte_array()) != next.tip_hash() {
                return Err(HeaderError::Gap { position });
            }
            next.push(rules, header, now)?;
        }
        let is_reorg = !replaced.is_empty();
        if is_reorg {
            let gained = next.entries.get(kept..).unwrap_or_default();
            if work(gained)? <= work(&replaced)? {
                return Err(HeaderError::NoMoreWork { fork_height });
            }
        }
        next.prune(rules.window)?;
        Ok((next, Moved { fork_height, is_reorg }))
    }

    /// Checks one header against the tip and makes it the new tip.
    fn push(&mut self, rules: &HeaderRules, bytes: BitcoinHeaderBytes, now: u64) -> Result<(), HeaderError> {
        let header = parse(&bytes)?;
        let parent = *self.entries.last().ok_or(HeaderError::Malformed)?;
        let parent_header = parse(&parent.header)?;
        let height = self.tip_height().saturating_add(1);
        let hash = hash_of(&header);
        let (found, expected) =
            (header.bits.to_consensus(), rules.required_bits(&parent, &parent_header, height, header.time));
        if found != expected {
            return Err(HeaderError::Bits { height, found, expected });
        }
        if !Target::from_compact(header.bits).is_met_by(BlockHash::from_byte_array(hash.0)) {
            return Err(HeaderError::Work { height, hash });
        }
        let median = self.median_time()?;
        if header.time <= median {
            return Err(HeaderError::TooOld { height, time: header.time, median });
        }
        let latest = now.saturating_add(MAX_FUTURE_SECONDS);
        if u64::from(header.time) > latest {
            return Err(HeaderError::TooNew { height, time: header.time, latest });
        }
        let starts_period = rules.starts_period(height);
        if starts_period && rules.follows_bip94() {
            let earliest = parent_header.time.saturating_sub(MAX_TIMEWARP_SECONDS);
            if header.time < earliest {
                return Err(HeaderError::Timewarp { time: header.time, earliest });
            }
        }
        let version = header.version.to_consensus();
        if version < MIN_VERSION {
            return Err(HeaderError::Version { height, version });
        }
        let regular = starts_period || found != rules.easiest();
        self.entries.push(Entry {
            header: bytes,
            hash,
            period_time: if starts_period { header.time } else { parent.period_time },
            period_bits: if starts_period { found } else { parent.period_bits },
            regular_bits: if regular { found } else { parent.regular_bits },
        });
        Ok(())
    }

    /// The median time of the tip and the ten headers before it.
    fn median_time(&self) -> Result<u32, HeaderError> {
        let kept = self.entries.iter().rev().take(MEDIAN_SPAN);
        let mut times =
            kept.map(|entry| parse(&entry.header).map(|header| header.time)).collect::<Result<Vec<_>, _>>()?;
        let missing = MEDIAN_SPAN.saturating_sub(times.len());
        times.extend(self.earlier_times.iter().take(missing));
        times.sort_unstable();
        times.get(times.len().checked_div(2).unwrap_or(0)).copied().ok_or(HeaderError::Malformed)
    }

    /// Forgets the oldest headers beyond the window.
    fn prune(&mut self, window: usize) -> Result<(), HeaderError> {
        let surplus = self.entries.len().saturating_sub(window.max(MEDIAN_SPAN));
        for entry in self.entries.drain(..surplus) {
            self.earlier_times.insert(0, parse(&entry.header)?.time);
            self.root_height = self.root_height.saturating_add(1);
        }
        self.earlier_times.truncate(MEDIAN_SPAN.saturating_sub(1));
        Ok(())
    }
}

fn work(entries: &[Entry]) -> Result<Work, HeaderError> {
    let mut sum = Work::from_be_bytes([0; 32]);
    for entry in entries {
        // Far below 2^256: each target was checked, and there are at most a window of them.
        sum = add(sum, parse(&entry.header)?.work());
    }
    Ok(sum)
}

#[allow(clippy::arithmetic_side_effects, reason = "the type has no checked addition; see the caller for the bound")]
fn add(a: Work, b: Work) -> Work {
    a + b
}

fn parse(bytes: &BitcoinHeaderBytes) -> Result<Header, HeaderError> {
    deserialize(bytes.as_slice()).map_err(|_| HeaderError::Malformed)
}

fn hash_of(header: &Header) -> B256 {
    B256::from(header.block_hash().to_byte_array())
}
