//! The chain of committed bundles, followed from genesis without blocks: by headers, bundles and work (ADR 0019).
//!
//! Who starts anew and trusts no block follows the records of merged mining instead. Each names the one before it, begins
//! right after it, and has the difficulty that the rules prescribe, so that a run of records from genesis can't be made with
//! less work than it claims. Of two chains the one with more work counts.
//!
//! Work says nothing of the federation, so that is followed as well, from the members in the chain's spec: with the record
//! in which a new epoch begins come the changes that lead to it, each signed by a quorum of the members before. A chain that
//! only miners made has no such changes, and no certificates of those members.
//!
//! Not seen here, and checked by whoever downloads blocks: what is inside blocks, and whether the carrier of a record was safe.

use crate::{
    AuxPowEssence, Committed, Point, Verifier, bundle, change,
    constants::Constants,
    error::{AuxPowError, FederationError, GenesisError, VerifyError},
    federation::Federation,
    proof::verifier,
    scheme::Scheme,
};
use alys_auxpow::{AuxPow, Target};
use alys_primitives::{
    AuxBundle, B256, BlockHeader, ChainSpec, Epoch, Height, LightRecord, Root, Slot, TreeHash as _, Wei,
};
use std::{collections::BTreeMap, sync::Arc};

/// Why a record does not continue a chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LightError {
    /// The bundle or its work breaks a rule.
    #[error("bundle: {0}")]
    Bundle(#[from] AuxPowError),
    /// A header is not the one that the bundle names.
    #[error("the header of the {which} block has root {found}, the bundle names {expected}")]
    Header {
        /// `first` or `last`.
        which: &'static str,
        /// Root of the header.
        found: Root,
        /// The bundle's.
        expected: Root,
    },
    /// The run does not begin with the child of the last committed block.
    #[error("the bundle begins on {found}, the last committed block is {expected}")]
    Gap {
        /// Parent of the first block.
        found: Root,
        /// The last committed block.
        expected: Root,
    },
    /// Heights, slots or epochs of the headers can't be those of such a run.
    #[error("the headers are not the ends of a run of {count} blocks")]
    Run {
        /// Blocks of the bundle.
        count: u64,
    },
    /// There are more or fewer changes of the federation than epochs that begin.
    #[error("{found} changes of the federation for {expected} new epochs")]
    Changes {
        /// Changes.
        found: u64,
        /// Epochs.
        expected: u64,
    },
    /// The federation before did not decide a change.
    #[error("change of epoch {epoch}: {error}")]
    Federation {
        /// The epoch whose members should have signed.
        epoch: Epoch,
        /// What is wrong.
        error: FederationError,
    },
}

/// The chain of committed bundles up to one of them.
#[derive(Clone, Debug)]
pub struct LightChain {
    constants: Arc<Constants>,
    committed: Committed,
    end_slot: Slot,
    epoch: Epoch,
    federations: Arc<BTreeMap<Epoch, Arc<Federation>>>,
}

impl LightChain {
    /// The chain without any bundle.
    ///
    /// # Errors
    /// [`GenesisError`] if the spec makes no chain.
    pub fn genesis(spec: ChainSpec) -> Result<Self, GenesisError> {
        Self::begin(spec, Scheme::Bls)
    }

    pub(crate) fn begin(spec: ChainSpec, scheme: Scheme) -> Result<Self, GenesisError> {
        let (constants, federation) = Constants::new(spec, scheme)?;
        let committed = Committed {
            auxpow_root: Root::ZERO,
            bundle: Root::ZERO,
            parent_header: B256::ZERO,
            end: Point { root: constants.genesis_block_root, height: Height(0) },
            records: 0,
            work: Wei::ZERO,
            fees: Wei::ZERO,
        };
        let epoch = Epoch(0);
        Ok(Self {
            constants: Arc::new(constants),
            committed,
            end_slot: Slot(0),
            epoch,
            federations: Arc::new(BTreeMap::from([(epoch, federation)])),
        })
    }

    /// Takes the next record. `now` is the newest slot in which a template can have been made; nothing changes on an error.
    ///
    /// # Errors
    /// [`LightError`] with the first rule that is broken.
    pub fn follow(&mut self, light: &LightRecord, now: Slot) -> Result<(), LightError> {
        let bundle = &light.record.bundle;
        let proof = AuxPow::decode_normalised(&light.record.proof).map_err(AuxPowError::from)?;
        bundle::check_follows(&self.constants, &self.committed, bundle, proof.parent.hash())?;
        self.check_run(light)?;
        if bundle.template_slot < light.end.slot || bundle.template_slot > now {
            let (found, from) = (bundle.template_slot, light.end.slot);
            return Err(AuxPowError::TemplateSlot { found, from, to: now }.into());
        }
        let expected = self.constants.bits(bundle.template_slot, self.committed.records);
        if bundle.bits != expected {
            return Err(AuxPowError::Bits { found: bundle.bits, expected }.into());
        }
        let parent_header = self.verifier().work(&light.record, &proof)?;
        let federations = self.follow_federation(light)?;

        let work = Target::from_compact(bundle.bits).map_err(AuxPowError::from)?.work();
        let bundle_root = bundle.tree_hash_root();
        self.committed = Committed {
            auxpow_root: AuxPowEssence { bundle: bundle_root, parent_header }.root(),
            bundle: bundle_root,
            parent_header,
            end: Point { root: bundle.end_root, height: light.end.height },
            records: self.committed.records.saturating_add(1),
            work: self.committed.work.saturating_add(work),
            fees: Wei::ZERO,
        };
        self.end_slot = light.end.slot;
        self.epoch = light.end.epoch;
        if let Some(federations) = federations {
            self.federations = Arc::new(federations);
        }
        Ok(())
    }

    /// The headers are those of the bundle's ends, and its blocks have room between them.
    fn check_run(&self, light: &LightRecord) -> Result<(), LightError> {
        let LightRecord { record, start, end, .. } = light;
        let bundle = &record.bundle;
        let named = |which, header: &BlockHeader, expected| match header.root() {
            found if found == expected => Ok(()),
            found => Err(LightError::Header { which, found, expected }),
        };
        named("first", start, bundle.start_root)?;
        named("last", end, bundle.end_root)?;
        let before = &self.committed.end;
        if start.parent_root != before.root {
            return Err(LightError::Gap { found: start.parent_root, expected: before.root });
        }
        let count = bundle.count;
        // `count` is at least 1 here, or the heights would not rise.
        let length = count.checked_sub(1);
        let fits = start.height == before.height.next()
            && end.height.0.checked_sub(start.height.0) == length
            && start.slot > self.end_slot
            && end.slot.0.checked_sub(start.slot.0) >= length
            && start.epoch >= self.epoch
            && end.epoch >= start.epoch;
        if fits && length.is_some() { Ok(()) } else { Err(LightError::Run { count }) }
    }

    /// The federations with those of the epochs that begin; none if no epoch does.
    fn follow_federation(&self, light: &LightRecord) -> Result<Option<BTreeMap<Epoch, Arc<Federation>>>, LightError> {
        let expected = light.end.epoch.0.saturating_sub(self.epoch.0);
        let found = u64::try_from(light.changes.len()).unwrap_or(u64::MAX);
        if found != expected {
            return Err(LightError::Changes { found, expected });
        }
        if expected == 0 {
            return Ok(None);
        }
        let mut federations = BTreeMap::clone(&self.federations);
        for (change, epoch) in light.changes.iter().zip(self.epoch.0..) {
            let wrong = |error| LightError::Federation { epoch: Epoch(epoch), error };
            if change.epoch != Epoch(epoch) {
                return Err(wrong(FederationError::Epoch { found: change.epoch, expected: Epoch(epoch) }));
            }
            let current = federations
                .get(&change.epoch)
                .ok_or_else(|| wrong(FederationError::Epoch { found: change.epoch, expected: self.epoch }))?;
            let next = change::verify(&self.constants, current, change).map_err(wrong)?;
            federations.insert(Epoch(epoch.saturating_add(1)), next);
        }
        Ok(Some(federations))
    }

    /// Expected hashes of all records.
    pub fn work(&self) -> Wei {
        self.committed.work
    }

    /// Number of records.
    pub fn records(&self) -> u64 {
        self.committed.records
    }

    /// The last block that is committed to; genesis before the first record.
    pub fn end(&self) -> Point {
        self.committed.end
    }

    /// Slot of that block.
    pub fn end_slot(&self) -> Slot {
        self.end_slot
    }

    /// Epoch of that block.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// What the next bundle names as the record before it; the chain's identity up to here.
    pub fn auxpow_root(&self) -> Root {
        self.committed.auxpow_root
    }

    /// Hash-tree-root of an epoch's members, if the epoch has begun.
    pub fn members_root(&self, epoch: Epoch) -> Option<Root> {
        self.federations.get(&epoch).map(|federation| federation.root())
    }

    /// Checks blocks of every epoch so far.
    pub fn verifier(&self) -> Verifier {
        Verifier { constants: Arc::clone(&self.constants), federations: Arc::clone(&self.federations) }
    }
}

/// What a light start remembers of a record, to prove blocks by it later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LightBundle {
    /// Height of the first block.
    pub from: Height,
    /// How many blocks there are.
    pub count: u64,
    /// Root of the list of their roots.
    pub blocks_root: Root,
}

impl LightBundle {
    /// What is needed of a record that was followed.
    pub fn of(light: &LightRecord) -> Self {
        let AuxBundle { count, blocks_root, .. } = light.record.bundle;
        Self { from: light.start.height, count, blocks_root }
    }

    /// Whether the bundle holds the block `root` at `height`, by the siblings on the way to the root of its list.
    pub fn holds(&self, root: Root, height: Height, branch: &[Root]) -> bool {
        let index = height.0.checked_sub(self.from.0);
        index.is_some_and(|index| verifier::holds(self.blocks_root, self.count, root, index, branch))
    }
}

/// Why older blocks are not what they claim to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OlderError {
    /// A block is not the parent of the one above it.
    #[error("block {found} at height {height} is not the parent {expected}")]
    Unlinked {
        /// Its height.
        height: Height,
        /// Its root.
        found: Root,
        /// What the block above it names.
        expected: Root,
    },
    /// A block is wrong by itself, or not signed by those who had to.
    #[error("block at height {height}: {error}")]
    Block {
        /// Its height.
        height: Height,
        /// Why.
        error: VerifyError,
    },
    /// The lowest block has height 1 and another parent than genesis, or none above it.
    #[error("the oldest block does not stand on genesis")]
    Genesis,
}

impl Verifier {
    /// Checks a run of blocks, oldest first, that ends right below a block that is known to be final, whose parent is
    /// `below`: hashes bind them, and every signature is checked, those that no hash covers too. `entropy` must be
    /// unpredictable to whoever made the blocks.
    ///
    /// # Errors
    /// [`OlderError`] with the first thing that is wrong, from the newest down.
    pub fn older(
        &self,
        blocks: &[alys_primitives::SignedBlock],
        below: Root,
        top: Height,
        entropy: &[u8; 32],
    ) -> Result<(), OlderError> {
        let (mut expected, mut height) = (below, top);
        for block in blocks.iter().rev() {
            let found = block.root();
            if found != expected || block.header.height != height {
                return Err(OlderError::Unlinked { height, found, expected });
            }
            (expected, height) = (block.header.parent_root, height.saturating_sub(1));
        }
        if height == Height(0) && expected != self.constants.genesis_block_root {
            return Err(OlderError::Genesis);
        }
        let checked = self.blocks(blocks.to_vec(), entropy);
        for (block, verdict) in blocks.iter().zip(checked) {
            verdict.map_err(|error| OlderError::Block { height: block.header.height, error })?;
        }
        Ok(())
    }
}
