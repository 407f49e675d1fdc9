//! A store that keeps what was synced, and after a crash any prefix of what was not.

use crate::{BatchId, ChainBatch, ChainWrite, Checkpoint, Offence, Pointers, Restored, RestoredBlock};
use alys_primitives::{
    AuxPowRecord, Burns, Evidence, FederationChange, Height, Notarization, Pause, Root, SignedBlock, Wei,
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// What is on the disk.
#[derive(Clone, Debug, Default)]
struct Disk {
    blocks: BTreeMap<Root, (Arc<SignedBlock>, Wei, Burns)>,
    certificates: BTreeMap<Root, Notarization>,
    auxpow: BTreeMap<Root, AuxPowRecord>,
    proofs: BTreeMap<Offence, Evidence>,
    change: Option<FederationChange>,
    pause: Option<Pause>,
    canonical: BTreeMap<Height, Root>,
    pointers: Option<Pointers>,
    checkpoint: Option<Checkpoint>,
    bundles: BTreeMap<Height, Root>,
    state_root: Option<Root>,
}

/// The store of one node.
#[derive(Clone, Debug, Default)]
pub struct StoreModel {
    disk: Disk,
    unsynced: VecDeque<(BatchId, ChainBatch)>,
}

impl StoreModel {
    /// Writes a batch without syncing it.
    pub fn write(&mut self, id: BatchId, batch: ChainBatch) {
        self.unsynced.push_back((id, batch));
    }

    /// Syncs everything written; gives the newest batch.
    pub fn sync(&mut self) -> Option<BatchId> {
        let mut newest = None;
        while let Some((id, batch)) = self.unsynced.pop_front() {
            self.disk.apply(batch);
            newest = Some(id);
        }
        newest
    }

    /// The power fails: the first `kept` of the unsynced batches survive.
    pub fn crash(&mut self, kept: usize) {
        for _ in 0..kept {
            if let Some((_, batch)) = self.unsynced.pop_front() {
                self.disk.apply(batch);
            }
        }
        self.unsynced.clear();
    }

    /// How many batches are not synced.
    pub fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    /// What a chain starts again from.
    pub fn restored(&self) -> Restored {
        let disk = &self.disk;
        let floor = disk.checkpoint.as_ref().map(|checkpoint| checkpoint.header.height);
        let above = |height: Height| floor.is_none_or(|floor| height > floor);
        let blocks: Vec<RestoredBlock> = disk
            .blocks
            .values()
            .filter(|(block, _, _)| above(block.header.height))
            .map(|(block, fees, burns)| RestoredBlock {
                block: block.as_ref().clone(),
                fees: *fees,
                burns: burns.clone(),
            })
            .collect();
        let certificates = disk
            .certificates
            .iter()
            .filter(|(root, _)| disk.blocks.get(*root).is_some_and(|(block, _, _)| above(block.header.height)))
            .map(|(_, certificate)| certificate.clone())
            .collect();
        Restored {
            checkpoint: disk.checkpoint.clone(),
            blocks,
            certificates,
            auxpow: disk.auxpow.values().cloned().collect(),
            evidence: disk.proofs.values().cloned().collect(),
            change: disk.change.clone(),
            pause: disk.pause.clone(),
            pointers: disk.pointers,
            state_root: disk.state_root,
        }
    }

    /// A stored block with its certificate.
    pub fn block(&self, root: &Root) -> Option<(Arc<SignedBlock>, Option<Notarization>)> {
        let (block, _, _) = self.disk.blocks.get(root)?;
        Some((Arc::clone(block), self.disk.certificates.get(root).cloned()))
    }

    /// A stored block with what its receipts say.
    pub fn stored(&self, root: &Root) -> Option<RestoredBlock> {
        let (block, fees, burns) = self.disk.blocks.get(root)?;
        Some(RestoredBlock { block: block.as_ref().clone(), fees: *fees, burns: burns.clone() })
    }

    /// The block that the head's chain has at a height.
    pub fn canonical(&self, height: Height) -> Option<Root> {
        self.disk.canonical.get(&height).copied()
    }

    /// The greatest height of the head's chain.
    pub fn top(&self) -> Height {
        self.disk.canonical.last_key_value().map(|(height, _)| *height).unwrap_or_default()
    }

    /// The finalized bundle that holds a height.
    pub fn bundle_at(&self, height: Height) -> Option<Root> {
        self.disk.bundles.get(&height).copied()
    }

    /// The pointers on disk.
    pub fn pointers(&self) -> Option<Pointers> {
        self.disk.pointers
    }

    /// Damages the disk: forgets a block.
    pub fn lose_block(&mut self, root: &Root) {
        self.disk.blocks.remove(root);
    }
}

impl Disk {
    fn apply(&mut self, batch: ChainBatch) {
        for write in batch.writes {
            match write {
                ChainWrite::Block { root, block, fees, burns } => {
                    self.blocks.insert(root, (block, fees, burns));
                }
                ChainWrite::Certificate(certificate) => {
                    self.certificates.insert(certificate.block_root, certificate);
                }
                ChainWrite::QueueAuxPow { hash, record } => {
                    self.auxpow.insert(hash, record);
                }
                ChainWrite::DropAuxPow { hash } => {
                    self.auxpow.remove(&hash);
                }
                ChainWrite::KeepProof { offence, proof } => {
                    self.proofs.insert(offence, *proof);
                }
                ChainWrite::DropProof { offence } => {
                    self.proofs.remove(&offence);
                }
                ChainWrite::KeepChange(change) => self.change = Some(*change),
                ChainWrite::DropChange => self.change = None,
                ChainWrite::KeepPause(pause) => self.pause = Some(*pause),
                ChainWrite::DropPause => self.pause = None,
                ChainWrite::Canonical { height, root } => {
                    self.canonical.insert(height, root);
                }
                ChainWrite::Decanonical { height } => {
                    self.canonical.remove(&height);
                }
                ChainWrite::Pointers(pointers) => self.pointers = Some(pointers),
                ChainWrite::Finalized { bundle, from, to, .. } => {
                    for height in from.0..=to.0 {
                        self.bundles.insert(Height(height), bundle);
                    }
                }
                ChainWrite::Checkpoint(checkpoint) => self.checkpoint = Some(*checkpoint),
                ChainWrite::DropBlock { root } => {
                    self.blocks.remove(&root);
                    self.certificates.remove(&root);
                }
            }
        }
        self.state_root = Some(batch.state_root);
    }
}
