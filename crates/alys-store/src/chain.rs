//! How the chain's decisions map to columns.

use crate::codec::{self, Kind};
use crate::database::{Changes, Shared, root_of};
use crate::{Column, Damage, Database, StoreError};
use alys_chain::{ChainBatch, ChainWrite, Checkpoint, Offence, Pointers, Restored, RestoredBlock};
use alys_primitives::ssz::{Decode, Encode};
use alys_primitives::{
    AuxPowRecord, Burns, Evidence, FederationChange, Height, Notarization, Pause, Root, SignedBlock, TreeHash as _, Wei,
};
use rocksdb::ReadOptions;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

const POINTERS_KEY: &[u8] = b"pointers";
const STATE_ROOT_KEY: &[u8] = b"state_root";
const CHECKPOINT_KEY: &[u8] = b"chain";

/// The change of the federation that waits for an author; there is one at most.
const CHANGE_KEY: &[u8] = b"change";
/// The decision about pausing the peg that waits for an author; there is one at most.
const PAUSE_KEY: &[u8] = b"pause";
/// Before an offence: a proof that waits for an author.
const PROOF_PREFIX: &[u8] = b"proof";

const CHECKPOINT_KIND: Kind = Kind(*b"CHKP");
/// Version 2 has the peg's ledger in the state.
const CHECKPOINT_VERSION: u16 = 2;

const ROOT_BYTES: usize = 32;
const WEI_BYTES: usize = 32;
const NUMBER_BYTES: usize = 8;

/// A bundle that is final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinalizedBundle {
    /// Hash of the bundle.
    pub bundle: Root,
    /// The block that carries its AuxPoW.
    pub carrier: Root,
    /// Height of its first block.
    pub from: Height,
    /// Height of its last block.
    pub to: Height,
}

impl Database {
    /// Commits one decision of the chain: atomic and synced when it returns.
    ///
    /// # Errors
    /// Any error means that the process must stop: the chain has decided what the disk may not hold.
    pub fn apply(&mut self, batch: &ChainBatch) -> Result<(), StoreError> {
        self.apply_many(std::slice::from_ref(batch))
    }

    /// Commits several decisions, in order, with one sync (group commit). They become durable together.
    ///
    /// # Errors
    /// As [`Database::apply`].
    pub fn apply_many(&mut self, batches: &[ChainBatch]) -> Result<(), StoreError> {
        let Some(newest) = batches.last() else { return Ok(()) };
        let shared = std::sync::Arc::clone(self.shared());
        let mut changes = self.changes_of(&shared, batches.iter().flat_map(|batch| &batch.writes))?;
        changes.put(Column::Meta, STATE_ROOT_KEY, newest.state_root.as_slice());
        self.commit(changes, newest.state_root)
    }

    /// What writes of the chain change in the columns.
    pub(crate) fn changes_of<'a, 'w>(
        &self,
        shared: &'a Shared,
        writes: impl IntoIterator<Item = &'w ChainWrite>,
    ) -> Result<Changes<'a>, StoreError> {
        let mut writer = Writer { shared, changes: Changes::new(shared), heights: BTreeMap::new() };
        let group = self.commits() + 1;
        for (position, write) in (0u64..).zip(writes) {
            writer.write(write, (group, position))?;
        }
        Ok(writer.changes)
    }

    /// What a chain starts again from: everything above the newest checkpoint. Each record is checked.
    ///
    /// # Errors
    /// Damage ([`StoreError::is_corruption`]), the disk's errors.
    pub fn load(&self) -> Result<Restored, StoreError> {
        let reader = self.reader();
        let checkpoint = reader.checkpoint()?;
        let from = checkpoint.as_ref().map_or(Height(0), |checkpoint| checkpoint.header.height.next());
        let mut roots = Vec::new();
        self.shared().scan::<()>(Column::BlocksByHeight, &from.0.to_be_bytes(), |key, _| {
            roots.push(split_height_key(key)?.1);
            Ok(ControlFlow::Continue(()))
        })?;
        let mut blocks = Vec::with_capacity(roots.len());
        let mut certificates = Vec::new();
        for root in roots {
            let block = reader.block(root)?.ok_or_else(|| corrupt(Column::Blocks, root, Damage::Dangling(root)))?;
            blocks.push(block);
            certificates.extend(reader.certificate(root)?);
        }
        let auxpow = reader.auxpow_queue()?.into_iter().map(|(_, record)| record).collect();
        let (mut evidence, mut change, mut pause) = (Vec::new(), None, None);
        self.shared().scan::<()>(Column::Waiting, &[], |key, value| {
            match decode_waiting(key, value)? {
                Waiting::Proof(proof) => evidence.push(proof),
                Waiting::Change(found) => change = Some(*found),
                Waiting::Pause(found) => pause = Some(*found),
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let (pointers, state_root) = (reader.pointers()?, reader.state_root()?);
        Ok(Restored { checkpoint, blocks, certificates, auxpow, evidence, change, pause, pointers, state_root })
    }
}

/// Collects the changes of a group of batches.
struct Writer<'a> {
    shared: &'a Shared,
    changes: Changes<'a>,
    /// Heights of the blocks in `changes`.
    heights: BTreeMap<Root, Height>,
}

impl Writer<'_> {
    /// Adds one write. `order` rises from write to write, over restarts too.
    fn write(&mut self, write: &ChainWrite, order: (u64, u64)) -> Result<(), StoreError> {
        let changes = &mut self.changes;
        match write {
            ChainWrite::Block { root, block, fees, burns } => {
                let height = block.header.height;
                self.heights.insert(*root, height);
                let mut value = Vec::with_capacity(NUMBER_BYTES + WEI_BYTES + block.ssz_bytes_len());
                value.extend_from_slice(&height.0.to_be_bytes());
                value.extend_from_slice(&fees.to_be_bytes::<WEI_BYTES>());
                block.ssz_append(&mut value);
                changes.put(Column::Blocks, root.as_slice(), &value);
                if !burns.is_empty() {
                    changes.put(Column::Burns, root.as_slice(), &burns.as_ssz_bytes());
                }
                changes.put(Column::BlocksByHeight, &height_key(height, *root), &[]);
            }
            ChainWrite::Certificate(certificate) => {
                changes.put(Column::Certificates, certificate.block_root.as_slice(), &certificate.as_ssz_bytes());
            }
            ChainWrite::QueueAuxPow { hash, record } => {
                let mut value = Vec::new();
                value.extend_from_slice(&order.0.to_be_bytes());
                value.extend_from_slice(&order.1.to_be_bytes());
                record.ssz_append(&mut value);
                changes.put(Column::AuxPowQueue, hash.as_slice(), &value);
            }
            ChainWrite::DropAuxPow { hash } => changes.delete(Column::AuxPowQueue, hash.as_slice()),
            ChainWrite::KeepProof { offence, proof } => {
                changes.put(Column::Waiting, &proof_key(offence), &proof.as_ssz_bytes());
            }
            ChainWrite::DropProof { offence } => changes.delete(Column::Waiting, &proof_key(offence)),
            ChainWrite::KeepChange(change) => changes.put(Column::Waiting, CHANGE_KEY, &change.as_ssz_bytes()),
            ChainWrite::DropChange => changes.delete(Column::Waiting, CHANGE_KEY),
            ChainWrite::KeepPause(pause) => changes.put(Column::Waiting, PAUSE_KEY, &pause.as_ssz_bytes()),
            ChainWrite::DropPause => changes.delete(Column::Waiting, PAUSE_KEY),
            ChainWrite::Canonical { height, root } => {
                changes.put(Column::Canonical, &height.0.to_be_bytes(), root.as_slice());
            }
            ChainWrite::Decanonical { height } => changes.delete(Column::Canonical, &height.0.to_be_bytes()),
            ChainWrite::Pointers(Pointers { head, safe, finalized }) => {
                let value = [head.0, safe.0, finalized.0].concat();
                changes.put(Column::Meta, POINTERS_KEY, &value);
            }
            ChainWrite::Finalized { bundle, carrier, from, to } => {
                let value = [bundle.as_slice(), carrier.as_slice(), &to.0.to_be_bytes()].concat();
                changes.put(Column::Bundles, &from.0.to_be_bytes(), &value);
            }
            ChainWrite::Checkpoint(checkpoint) => {
                let bytes = codec::encode(CHECKPOINT_KIND, CHECKPOINT_VERSION, checkpoint.as_ref())
                    .map_err(StoreError::Encode)?;
                changes.put(Column::Checkpoints, CHECKPOINT_KEY, &bytes);
            }
            ChainWrite::DropBlock { root } => {
                let height = match self.heights.get(root) {
                    Some(height) => Some(*height),
                    None => stored_height(self.shared, *root)?,
                };
                if let Some(height) = height {
                    changes.delete(Column::Blocks, root.as_slice());
                    changes.delete(Column::Burns, root.as_slice());
                    changes.delete(Column::BlocksByHeight, &height_key(height, *root));
                    changes.delete(Column::Certificates, root.as_slice());
                }
            }
        }
        Ok(())
    }
}

/// The height in a block's record.
fn stored_height(shared: &Shared, root: Root) -> Result<Option<Height>, StoreError> {
    let Some(value) = shared.get(Column::Blocks, root.as_slice())? else { return Ok(None) };
    let damaged = || corrupt(Column::Blocks, root, Damage::Length);
    let (height, _) = value.split_first_chunk::<NUMBER_BYTES>().ok_or_else(damaged)?;
    Ok(Some(Height(u64::from_be_bytes(*height))))
}

/// Reads a block, checked against its root.
pub(crate) fn read_block(
    shared: &Shared,
    root: Root,
    options: &ReadOptions,
) -> Result<Option<RestoredBlock>, StoreError> {
    let Some(value) = shared.get_opt(Column::Blocks, root.as_slice(), options)? else { return Ok(None) };
    let (block, fees) = decode_block(root, &value)?;
    let burns = match shared.get_opt(Column::Burns, root.as_slice(), options)? {
        Some(ssz) => decode_burns(root, &ssz)?,
        None => Burns::default(),
    };
    Ok(Some(RestoredBlock { block, fees, burns }))
}

pub(crate) fn decode_burns(root: Root, ssz: &[u8]) -> Result<Burns, StoreError> {
    decode(Column::Burns, root, ssz)
}

/// A block with its fees.
pub(crate) fn decode_block(root: Root, value: &[u8]) -> Result<(SignedBlock, Wei), StoreError> {
    let damaged = |damage| corrupt(Column::Blocks, root, damage);
    let (height, rest) = value.split_first_chunk::<NUMBER_BYTES>().ok_or_else(|| damaged(Damage::Length))?;
    let (fees, ssz) = rest.split_first_chunk::<WEI_BYTES>().ok_or_else(|| damaged(Damage::Length))?;
    let block: SignedBlock = decode(Column::Blocks, root, ssz)?;
    let found = block.root();
    if found != root {
        return Err(damaged(Damage::Root { found }));
    }
    let found = block.body.tree_hash_root();
    if found != block.header.body_root {
        return Err(damaged(Damage::Root { found }));
    }
    if block.header.height.0 != u64::from_be_bytes(*height) {
        return Err(damaged(Damage::Height(block.header.height.0)));
    }
    Ok((block, Wei::from_be_bytes(*fees)))
}

pub(crate) fn decode_certificate(root: Root, value: &[u8]) -> Result<Notarization, StoreError> {
    let certificate: Notarization = decode(Column::Certificates, root, value)?;
    let found = certificate.block_root;
    if found != root {
        return Err(corrupt(Column::Certificates, root, Damage::Root { found }));
    }
    Ok(certificate)
}

/// A queued record with its place in the queue.
pub(crate) fn decode_auxpow(hash: Root, value: &[u8]) -> Result<((u64, u64), AuxPowRecord), StoreError> {
    let damaged = || corrupt(Column::AuxPowQueue, hash, Damage::Length);
    let (group, rest) = value.split_first_chunk::<NUMBER_BYTES>().ok_or_else(damaged)?;
    let (position, ssz) = rest.split_first_chunk::<NUMBER_BYTES>().ok_or_else(damaged)?;
    let record: AuxPowRecord = decode(Column::AuxPowQueue, hash, ssz)?;
    let found = record.bundle.tree_hash_root();
    if found != hash {
        return Err(corrupt(Column::AuxPowQueue, hash, Damage::Root { found }));
    }
    Ok(((u64::from_be_bytes(*group), u64::from_be_bytes(*position)), record))
}

/// A record of [`Column::Waiting`].
pub(crate) enum Waiting {
    Proof(Evidence),
    Change(Box<FederationChange>),
    Pause(Box<Pause>),
}

fn proof_key(offence: &Offence) -> Vec<u8> {
    let (epoch, member) = (offence.epoch.0.to_be_bytes(), offence.member.to_be_bytes());
    [PROOF_PREFIX, &epoch, &member, &[u8::from(offence.proposal)]].concat()
}

pub(crate) fn decode_waiting(key: &[u8], value: &[u8]) -> Result<Waiting, StoreError> {
    let damaged = |damage| StoreError::Corrupt { column: Column::Waiting, key: key.to_vec(), damage };
    if key == CHANGE_KEY {
        let change = FederationChange::from_ssz_bytes(value).map_err(|error| damaged(Damage::Ssz(error)))?;
        return Ok(Waiting::Change(Box::new(change)));
    }
    if key == PAUSE_KEY {
        let pause = Pause::from_ssz_bytes(value).map_err(|error| damaged(Damage::Ssz(error)))?;
        return Ok(Waiting::Pause(Box::new(pause)));
    }
    if !key.starts_with(PROOF_PREFIX) {
        return Err(damaged(Damage::Key));
    }
    Ok(Waiting::Proof(Evidence::from_ssz_bytes(value).map_err(|error| damaged(Damage::Ssz(error)))?))
}

pub(crate) fn decode_bundle(key: &[u8], value: &[u8]) -> Result<FinalizedBundle, StoreError> {
    let from = crate::database::number_of(Column::Bundles, key)?;
    let damaged = || StoreError::Corrupt { column: Column::Bundles, key: key.to_vec(), damage: Damage::Length };
    let (bundle, rest) = value.split_first_chunk::<ROOT_BYTES>().ok_or_else(damaged)?;
    let (carrier, to) = rest.split_first_chunk::<ROOT_BYTES>().ok_or_else(damaged)?;
    let to = <[u8; NUMBER_BYTES]>::try_from(to).map_err(|_| damaged())?;
    Ok(FinalizedBundle {
        bundle: Root::from(*bundle),
        carrier: Root::from(*carrier),
        from: Height(from),
        to: Height(u64::from_be_bytes(to)),
    })
}

pub(crate) fn read_pointers(shared: &Shared, options: &ReadOptions) -> Result<Option<Pointers>, StoreError> {
    let Some(value) = shared.get_opt(Column::Meta, POINTERS_KEY, options)? else { return Ok(None) };
    match value.as_chunks::<ROOT_BYTES>() {
        ([head, safe, finalized], []) => {
            Ok(Some(Pointers { head: Root::from(*head), safe: Root::from(*safe), finalized: Root::from(*finalized) }))
        }
        _ => Err(StoreError::Corrupt { column: Column::Meta, key: POINTERS_KEY.to_vec(), damage: Damage::Length }),
    }
}

pub(crate) fn read_state_root(shared: &Shared) -> Result<Option<Root>, StoreError> {
    shared.get(Column::Meta, STATE_ROOT_KEY)?.map(|value| root_of(Column::Meta, STATE_ROOT_KEY, &value)).transpose()
}

pub(crate) fn read_checkpoint(shared: &Shared) -> Result<Option<Checkpoint>, StoreError> {
    shared.get(Column::Checkpoints, CHECKPOINT_KEY)?.map(|value| decode_checkpoint(CHECKPOINT_KEY, &value)).transpose()
}

pub(crate) fn decode_checkpoint(key: &[u8], value: &[u8]) -> Result<Checkpoint, StoreError> {
    codec::decode(CHECKPOINT_KIND, CHECKPOINT_VERSION, value).map_err(|error| StoreError::Corrupt {
        column: Column::Checkpoints,
        key: key.to_vec(),
        damage: Damage::Codec(error),
    })
}

fn decode<T: Decode>(column: Column, root: Root, ssz: &[u8]) -> Result<T, StoreError> {
    T::from_ssz_bytes(ssz).map_err(|error| corrupt(column, root, Damage::Ssz(error)))
}

fn corrupt(column: Column, root: Root, damage: Damage) -> StoreError {
    StoreError::Corrupt { column, key: root.to_vec(), damage }
}

fn height_key(height: Height, root: Root) -> Vec<u8> {
    [height.0.to_be_bytes().as_slice(), root.as_slice()].concat()
}

pub(crate) fn split_height_key(key: &[u8]) -> Result<(Height, Root), StoreError> {
    let damaged = || StoreError::Corrupt { column: Column::BlocksByHeight, key: key.to_vec(), damage: Damage::Key };
    let (height, root) = key.split_first_chunk::<NUMBER_BYTES>().ok_or_else(damaged)?;
    let root = Root::try_from(root).map_err(|_| damaged())?;
    Ok((Height(u64::from_be_bytes(*height)), root))
}
