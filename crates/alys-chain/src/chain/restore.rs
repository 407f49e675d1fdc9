//! A restart: the chain that follows from what the store kept.

use super::Chain;
use crate::{
    ChainConfig, Checkpoint, Effect, Message, RestoreError, Restored, RestoredBlock, basic, change,
    constants::Constants, error::BlockError, evidence, federation::Federation, queue::Queued, scheme::Scheme,
    transition, tree::Entry,
};
use alys_auxpow::AuxPow;
use alys_primitives::{B256, Burns, ChainSpec, Members, Notarization, Root, SignedBlock, TreeHash as _, Wei};
use std::{collections::BTreeMap, sync::Arc};

impl Chain {
    /// The chain that follows from what a store kept. Blocks are taken as executed and their signatures as checked,
    /// everything else about them is checked again; pointers and state root are recomputed and compared.
    ///
    /// The first effect is the fork choice, so that the execution engine follows even if it was behind.
    ///
    /// # Errors
    /// [`RestoreError`] if what was stored does not make one consistent chain. A node must then halt or sync anew.
    pub fn restore(spec: ChainSpec, config: ChainConfig, restored: Restored) -> Result<Self, RestoreError> {
        Self::resume(spec, config, restored, Scheme::Bls)
    }

    pub(crate) fn resume(
        spec: ChainSpec,
        config: ChainConfig,
        restored: Restored,
        scheme: Scheme,
    ) -> Result<Self, RestoreError> {
        let (constants, first_federation) = Constants::new(spec, scheme)?;
        let (entry, trunk) = match restored.checkpoint {
            Some(checkpoint) => checkpoint_entry(&constants, checkpoint, scheme)?,
            None => (transition::genesis(&constants, first_federation), Vec::new()),
        };
        let mut chain = Self::at(Arc::new(constants), config, entry, trunk);
        let mut certificates: BTreeMap<Root, Notarization> =
            restored.certificates.into_iter().map(|certificate| (certificate.block_root, certificate)).collect();
        let mut blocks = restored.blocks;
        blocks.sort_by_key(|restored| restored.block.header.height);
        for restored in blocks {
            chain.put_back(restored, &mut certificates)?;
        }
        let finalized = chain.tree.finalized().root;
        if let Some((root, _)) = certificates.into_iter().find(|(root, _)| *root != finalized) {
            return Err(RestoreError::Certificate { root });
        }
        for record in restored.auxpow {
            let Ok(proof) = AuxPow::decode_normalised(&record.proof) else { continue };
            let hash = record.bundle.tree_hash_root();
            chain.sums.add_auxpow(&hash);
            chain.queue.insert(hash, Queued { parent_header: proof.parent.hash(), record });
        }
        chain.restore_proofs(&restored.evidence);
        if let Some(change) = restored.change {
            chain.restore_change(change)?;
        }
        if let Some(pause) = restored.pause {
            chain.restore_pause(pause);
        }
        chain.tree.rescan_head();
        chain.tree.rescan_safe();
        chain.stalled = chain.needs_auxpow();

        let computed = chain.pointers();
        if let Some(stored) = restored.pointers.filter(|stored| *stored != computed) {
            return Err(RestoreError::Pointers { stored: Box::new(stored), computed: Box::new(computed) });
        }
        let root = chain.state_root();
        if let Some(stored) = restored.state_root.filter(|stored| *stored != root) {
            return Err(RestoreError::StateRoot { stored, computed: root });
        }
        chain.view = chain.current_view();
        let forkchoice = chain.forkchoice();
        chain.journal.now(Effect::Forkchoice(forkchoice));
        chain.tell_again();
        chain.vote_again();
        Ok(chain)
    }

    /// Tells the peers of what waits for an author: we may have stopped between the write and the telling.
    fn tell_again(&mut self) {
        for proof in self.found.iter() {
            self.journal.now(Effect::Broadcast(Message::Evidence(evidence::container([proof]))));
        }
        if let Some(waiting) = self.waiting_change().cloned() {
            self.journal.now(Effect::Broadcast(Message::FederationChange(waiting)));
        }
        if let Some(waiting) = self.waiting_pause().cloned() {
            self.journal.now(Effect::Broadcast(Message::Pause(waiting)));
        }
    }

    /// Puts a stored block back into the tree, with its certificate.
    fn put_back(
        &mut self,
        restored: RestoredBlock,
        certificates: &mut BTreeMap<Root, Notarization>,
    ) -> Result<(), RestoreError> {
        let RestoredBlock { block, fees, burns } = restored;
        let root = block.root();
        if self.tree.get(&root).is_some() {
            return Ok(());
        }
        let parent = self.tree.get(&block.header.parent_root).ok_or(RestoreError::Orphan { root })?;
        if parent.certificate.is_none() && parent.root != self.tree.finalized().root {
            return Err(RestoreError::Orphan { root });
        }
        let entry = self
            .reapply(parent, &block, fees, &burns)
            .map_err(|error| RestoreError::Block { root, error: Box::new(error) })?;
        self.begun = self.begun.max(entry.state.epoch);
        self.sums.add_block(&entry);
        self.tree.insert(entry);
        self.learn_federation(&root);
        if let Some(certificate) = certificates.remove(&root) {
            let matches = certificate.slot == block.header.slot && certificate.epoch == block.header.epoch;
            if !matches {
                return Err(RestoreError::Certificate { root });
            }
            self.sums.add_certificate(&certificate);
            self.tree.certify(certificate);
        }
        Ok(())
    }

    fn reapply(&self, parent: &Entry, block: &SignedBlock, fees: Wei, burns: &Burns) -> Result<Entry, BlockError> {
        basic::validate(&self.constants, block).map_err(|error| match error {
            crate::VerifyError::Block(error) => error,
            crate::VerifyError::UnknownEpoch { .. }
            | crate::VerifyError::NoMember { .. }
            | crate::VerifyError::Signature
            | crate::VerifyError::Certificate(_)
            | crate::VerifyError::ParentCertificate
            | crate::VerifyError::BodyRoot { .. } => BlockError::ParentCertificate,
        })?;
        let parent_header = stored_parent_header(block)?;
        let next = match block.body.federation_change.first() {
            Some(record) => Some(Arc::new(change::parse(&record.members, self.constants.scheme)?)),
            None => None,
        };
        let checked =
            transition::check(&self.constants, || self.tree.uncommitted(parent), parent, block, parent_header, next)?;
        transition::apply(&self.constants, parent, block, checked, fees, burns)
    }

    /// Approves again what was not notarized when we stopped: the signing record lets identical messages pass.
    fn vote_again(&mut self) {
        let head = self.tree.head().root;
        let mut open: Vec<_> = self
            .tree
            .entries()
            .filter(|entry| entry.header.parent_root == head && entry.certificate.is_none())
            .map(|entry| (entry.header.slot, entry.root))
            .collect();
        open.sort_unstable();
        for (_, root) in open {
            self.vote(&root);
        }
    }
}

/// Hash of the header that did a stored block's work.
fn stored_parent_header(block: &SignedBlock) -> Result<Option<B256>, BlockError> {
    match block.body.auxpow.first() {
        Some(record) => {
            let proof = AuxPow::decode_normalised(&record.proof).map_err(crate::AuxPowError::from)?;
            Ok(Some(proof.parent.hash()))
        }
        None => Ok(None),
    }
}

/// The finalized entry that a checkpoint describes.
fn checkpoint_entry(
    constants: &Constants,
    checkpoint: Checkpoint,
    scheme: Scheme,
) -> Result<(Entry, Vec<crate::TrunkBlock>), RestoreError> {
    let Checkpoint { header, certificate, state, members, next_members, trunk } = checkpoint;
    let root = header.root();
    let parse = |members: Members| {
        Federation::new(members, scheme).map(Arc::new).map_err(|_| RestoreError::Checkpoint("unusable members"))
    };
    let federation = parse(members)?;
    let next_federation = next_members.map(parse).transpose()?;
    if federation.root() != state.members_root {
        return Err(RestoreError::Checkpoint("members are not those of the state"));
    }
    let in_flight = state.change.first().map(|change| change.members_root);
    if next_federation.as_ref().map(|next| next.root()) != in_flight {
        return Err(RestoreError::Checkpoint("next members are not those of the state"));
    }
    if header.epoch != state.epoch {
        return Err(RestoreError::Checkpoint("header and state are of different epochs"));
    }
    let genesis = root == constants.genesis_block_root;
    let certified = certificate.as_ref().is_some_and(|certificate| certificate.block_root == root);
    if !genesis && !certified {
        return Err(RestoreError::Checkpoint("no certificate of its block"));
    }
    if !genesis && trunk.last().is_none_or(|last| last.root != root || last.fees_total != state.fees_total) {
        return Err(RestoreError::Checkpoint("the trunk does not end with its block"));
    }
    let entry = Entry {
        root,
        header,
        state_root: state.root(),
        state: Arc::new(state),
        federation,
        next_federation,
        carries: None,
        certificate,
        votes: BTreeMap::new(),
        children: Vec::new(),
    };
    Ok((entry, trunk))
}
