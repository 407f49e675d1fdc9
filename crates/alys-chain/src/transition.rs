//! From the state after a block to the state after its child (protocol sections 2 to 7): what the child must be, and
//! what it makes of the state.

use crate::{
    bundle,
    checkpoint::TrunkBlock,
    constants::Constants,
    error::{BlockError, FederationError, PayloadError},
    evidence,
    federation::Federation,
    fees::{self, Distribution},
    peg::{self, Peg, PegRules},
    scheme::Scheme,
    state::{AuxPowEssence, Carrier, ChainState, ChangeInFlight, Committed, Ledger, Offences, Point},
    tree::Entry,
};
use alys_auxpow::Target;
use alys_primitives::{
    AuxPowRecord, B256, BlockHeader, Burns, Epoch, FederationChange, Height, Optional, Root, Sats, SignatureBytes,
    SignedBlock, Slot, VariableList, Wei, Withdrawal,
};
use sha2::{Digest as _, Sha256};
use std::{collections::BTreeMap, sync::Arc};

/// How long a run of consecutive slots makes its second-last block safe.
const SAFE_RUN: u64 = 3;

/// The entry of block 0.
pub(crate) fn genesis(constants: &Constants, federation: Arc<Federation>) -> Entry {
    let header = constants.genesis_header.clone();
    let root = constants.genesis_block_root;
    let allocation = constants.spec.evm.genesis_allocation;
    let point = Point { root, height: Height(0) };
    let state = ChainState {
        epoch: Epoch(0),
        epoch_start: Height(0),
        members_root: federation.root(),
        change: Optional::default(),
        run: 1,
        safe: point,
        finalized: point,
        committed: Arc::new(Committed {
            auxpow_root: Root::ZERO,
            bundle: Root::ZERO,
            parent_header: B256::ZERO,
            end: point,
            records: 0,
            work: Wei::ZERO,
            fees: Wei::ZERO,
        }),
        carriers: Arc::new(VariableList::empty()),
        fees_total: Wei::ZERO,
        fee_carry: Wei::ZERO,
        next_withdrawal_index: 0,
        // No author signed genesis.
        next_randao: next_randao(constants.spec.evm.genesis_prev_randao, &SignatureBytes::ZERO),
        ledger: Ledger { deposited: allocation, minted: allocation, burned: Wei::ZERO, fees_reminted: Wei::ZERO },
        offences: Offences::default(),
        peg: Peg::genesis(constants.peg.as_ref()),
    };
    Entry {
        root,
        header,
        state_root: state.root(),
        state: Arc::new(state),
        federation,
        next_federation: None,
        carries: None,
        certificate: None,
        votes: BTreeMap::new(),
        children: Vec::new(),
    }
}

/// `prevRandao` of a child: `sha256(parent's prevRandao || parent's author signature)`.
fn next_randao(previous: B256, author_signature: &SignatureBytes) -> B256 {
    let digest: [u8; 32] = Sha256::new_with_prefix(previous).chain_update(author_signature).finalize().into();
    B256::from(digest)
}

/// What a parent prescribes for its children, whatever is in them.
#[derive(Clone, Debug)]
pub(crate) struct ChildRules {
    pub(crate) height: Height,
    pub(crate) epoch: Epoch,
    epoch_start: Height,
    pub(crate) federation: Arc<Federation>,
    change: Optional<ChangeInFlight>,
    next_federation: Option<Arc<Federation>>,
    /// Whether only a block with an AuxPoW can follow.
    pub(crate) needs_auxpow: bool,
}

/// The rules for children of `parent`.
pub(crate) fn child_rules(constants: &Constants, parent: &Entry) -> ChildRules {
    let state = &parent.state;
    let height = parent.height().next();
    let mut rules = ChildRules {
        height,
        epoch: state.epoch,
        epoch_start: state.epoch_start,
        federation: Arc::clone(&parent.federation),
        change: state.change.clone(),
        next_federation: parent.next_federation.clone(),
        needs_auxpow: height.since(state.committed.end.height) > constants.spec.max_blocks_without_pow,
    };
    // A change takes effect `epoch_delay` blocks after its record if that is final in this chain by then, else lapses.
    if let Some(change) = state.change.first().copied()
        && height >= change.height.saturating_add(constants.spec.epoch_delay)
    {
        rules.change = Optional::default();
        if let Some(next) = rules.next_federation.take().filter(|_| state.finalized.height >= change.height) {
            rules.epoch = Epoch(state.epoch.0.saturating_add(1));
            rules.epoch_start = height;
            rules.federation = next;
        }
    }
    rules
}

/// What an AuxPoW record does when a child of `parent` carries it.
#[derive(Clone, Debug)]
pub(crate) struct Commitment {
    pub(crate) bundle_root: Root,
    parent_header: B256,
    end: TrunkBlock,
    work: Wei,
    distribution: Distribution,
}

impl Commitment {
    pub(crate) fn withdrawals(&self) -> &[Withdrawal] {
        &self.distribution.withdrawals
    }
}

/// Checks a record for a child of `parent` in `slot` and derives what it mints.
pub(crate) fn commit(
    constants: &Constants,
    uncommitted: &[TrunkBlock],
    parent: &Entry,
    rules: &ChildRules,
    record: &AuxPowRecord,
    parent_header: B256,
    slot: Slot,
) -> Result<Commitment, BlockError> {
    let state = &parent.state;
    let bundle = &record.bundle;
    let end = bundle::check(constants, state, uncommitted, bundle, parent_header, slot)?;
    let target = Target::from_compact(bundle.bits).map_err(crate::AuxPowError::from)?;
    let fees = end.fees_total.checked_sub(state.committed.fees).ok_or(BlockError::Overflow)?;
    let distribution = fees::distribute(
        fees,
        state.fee_carry,
        constants.spec.miner_share,
        bundle.miner_address,
        &rules.federation,
        state.next_withdrawal_index,
    )
    .ok_or(BlockError::Overflow)?;
    Ok(Commitment {
        bundle_root: alys_primitives::TreeHash::tree_hash_root(bundle),
        parent_header,
        end,
        work: target.work(),
        distribution,
    })
}

/// A block that fits its parent, ready for execution.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    rules: ChildRules,
    commitment: Option<Commitment>,
    offences: Offences,
    /// What the peg's records do; none if there are none.
    peg: Option<peg::Step>,
}

/// Checks everything about a block that depends on its ancestors, execution apart.
///
/// `uncommitted` gives the blocks after the last committed one up to the parent.
pub(crate) fn check(
    constants: &Constants,
    uncommitted: impl FnOnce() -> Vec<TrunkBlock>,
    parent: &Entry,
    block: &SignedBlock,
    parent_header: Option<B256>,
    next_federation: Option<Arc<Federation>>,
) -> Result<Checked, BlockError> {
    let header = &block.header;
    let mut rules = child_rules(constants, parent);
    check_header(constants, parent, &rules, header)?;
    let commitment = match block.body.auxpow.first().zip(parent_header) {
        Some((record, parent_header)) => {
            Some(commit(constants, &uncommitted(), parent, &rules, record, parent_header, header.slot)?)
        }
        None if rules.needs_auxpow => {
            let committed = parent.state.committed.end.height;
            return Err(BlockError::Stalled { height: header.height, committed });
        }
        None => None,
    };
    let fees = commitment.as_ref().map_or(&[][..], Commitment::withdrawals);
    let peg = check_peg(constants, parent, &rules, block, fees.len())?;
    check_payload(parent, block, &withdrawals(parent, fees, peg.as_ref())?)?;
    let before = &parent.state.offences;
    let mut offences = if rules.epoch == parent.state.epoch { before.clone() } else { before.next_epoch() };
    evidence::record(&mut offences, rules.epoch, &block.body.evidence)?;
    if let Some((change, next)) = block.body.federation_change.first().zip(next_federation) {
        check_change(&rules, change)?;
        let in_flight = ChangeInFlight { height: rules.height, members_root: next.root() };
        rules.change = VariableList::new(vec![in_flight]).map_err(|_| FederationError::InFlight)?;
        rules.next_federation = Some(next);
    }
    Ok(Checked { rules, commitment, offences, peg })
}

/// Checks that a change of the federation can go into a child whose parent prescribes these rules (section 7).
pub(crate) fn check_change(rules: &ChildRules, change: &FederationChange) -> Result<(), FederationError> {
    if change.epoch != rules.epoch {
        return Err(FederationError::Epoch { found: change.epoch, expected: rules.epoch });
    }
    if rules.change.is_empty() { Ok(()) } else { Err(FederationError::InFlight) }
}

/// Applies the peg's records of a block.
fn check_peg(
    constants: &Constants,
    parent: &Entry,
    rules: &ChildRules,
    block: &SignedBlock,
    fee_withdrawals: usize,
) -> Result<Option<peg::Step>, BlockError> {
    let body = &block.body;
    let is_empty = body.bitcoin_headers.is_empty()
        && body.settlements.is_empty()
        && body.pegins.is_empty()
        && body.refunds.is_empty()
        && body.fee_bumps.is_empty()
        && body.pegout_batches.is_empty()
        && body.pause.is_empty()
        && body.federation_change.iter().all(|change| change.custody.is_empty());
    let Some(peg_rules) = &constants.peg else { return Ok(None) };
    let moved = peg_before(peg_rules, parent, rules);
    if is_empty && moved.is_none() {
        return Ok(None);
    }
    let before = moved.as_ref().unwrap_or(&parent.state.peg);
    let place = peg_place(constants, parent, rules, block.header.slot, fee_withdrawals);
    let step = peg::Applier::new(peg_rules, before, place).body(body)?;
    Ok(Some(step))
}

/// The peg as a child of `parent` finds it, if a change of custody takes effect or is dropped with it.
pub(crate) fn peg_before(peg_rules: &PegRules, parent: &Entry, rules: &ChildRules) -> Option<Peg> {
    parent.state.peg.at_child(peg_rules, rules.epoch != parent.state.epoch, !rules.change.is_empty())
}

/// What the peg's rules look at of a child of `parent` in `slot`.
pub(crate) fn peg_place(
    constants: &Constants,
    parent: &Entry,
    rules: &ChildRules,
    slot: Slot,
    fee_withdrawals: usize,
) -> peg::Place {
    let max = usize::try_from(constants.spec.max_withdrawals).unwrap_or(usize::MAX);
    peg::Place {
        height: rules.height,
        time: constants.spec.slot_start(slot),
        epoch: rules.epoch,
        finalized: parent.state.finalized.height,
        max_withdrawals: max.saturating_sub(fee_withdrawals),
        #[cfg(feature = "testing")]
        scheme: constants.scheme,
    }
}

/// All withdrawals of a child's payload in their order (section 7): miner, federation, refunds, deposits.
pub(crate) fn withdrawals(
    parent: &Entry,
    fees: &[Withdrawal],
    peg: Option<&peg::Step>,
) -> Result<Vec<Withdrawal>, BlockError> {
    let mut withdrawals = fees.to_vec();
    for mint in peg.map_or(&[][..], |step| &step.mints) {
        let position = u64::try_from(withdrawals.len()).map_err(|_| BlockError::Overflow)?;
        let index = parent.state.next_withdrawal_index.checked_add(position).ok_or(BlockError::Overflow)?;
        withdrawals.push(Withdrawal {
            index,
            validator_index: mint.kind.validator_index(),
            address: mint.address,
            amount: mint.amount,
        });
    }
    Ok(withdrawals)
}

fn check_header(
    constants: &Constants,
    parent: &Entry,
    rules: &ChildRules,
    header: &BlockHeader,
) -> Result<(), BlockError> {
    if header.height != rules.height {
        return Err(BlockError::Height { found: header.height, parent: parent.height() });
    }
    if header.slot <= parent.header.slot {
        return Err(BlockError::Slot { found: header.slot, parent: parent.header.slot });
    }
    if header.epoch != rules.epoch {
        return Err(BlockError::Epoch { found: header.epoch, expected: rules.epoch });
    }
    let author = rules.federation.author(constants.genesis_root, rules.epoch, header.slot);
    if header.author_index != author {
        return Err(BlockError::Author { found: header.author_index, expected: author });
    }
    if header.state_root != parent.state_root {
        return Err(BlockError::StateRoot { found: header.state_root, expected: parent.state_root });
    }
    Ok(())
}

fn check_payload(parent: &Entry, block: &SignedBlock, derived: &[Withdrawal]) -> Result<(), PayloadError> {
    let payload = &block.payload;
    let expected = parent.header.execution_block_hash;
    if payload.parent_hash != expected {
        return Err(PayloadError::ParentHash { found: payload.parent_hash, expected });
    }
    let expected = parent.state.next_randao;
    if payload.prev_randao != expected {
        return Err(PayloadError::PrevRandao { found: payload.prev_randao, expected });
    }
    let given = &payload.withdrawals;
    if given.as_ref() != derived {
        let position = given.iter().zip(derived).take_while(|(a, b)| a == b).count();
        return Err(PayloadError::Withdrawals { position, found: given.len(), expected: derived.len() });
    }
    Ok(())
}

/// The entry of a checked block that was executed with these fees.
pub(crate) fn apply(
    constants: &Constants,
    parent: &Entry,
    block: &SignedBlock,
    checked: Checked,
    executed_fees: Wei,
    burns: &Burns,
) -> Result<Entry, BlockError> {
    let Checked { rules, commitment, offences, peg } = checked;
    let header = &block.header;
    let before = &parent.state;
    let root = header.root();

    let follows = header.slot == parent.header.slot.next() && rules.epoch == before.epoch;
    let run = if follows { before.run.saturating_add(1).min(SAFE_RUN) } else { 1 };
    // Three notarized blocks in consecutive slots of one epoch: the second and its ancestors are safe (section 4).
    let safe = if run == SAFE_RUN { Point { root: parent.root, height: parent.height() } } else { before.safe };

    let mut state = ChainState {
        epoch: rules.epoch,
        epoch_start: rules.epoch_start,
        members_root: rules.federation.root(),
        change: rules.change,
        run,
        safe,
        finalized: before.finalized,
        committed: Arc::clone(&before.committed),
        carriers: before.carriers.clone(),
        fees_total: before.fees_total.checked_add(executed_fees).ok_or(BlockError::Overflow)?,
        fee_carry: before.fee_carry,
        next_withdrawal_index: before.next_withdrawal_index,
        next_randao: next_randao(block.payload.prev_randao, &block.author_signature),
        ledger: before.ledger,
        offences,
        peg: before.peg.clone(),
    };
    let carries = match commitment {
        Some(commitment) => Some(Box::new(record(constants.scheme, &mut state, root, header.height, commitment)?)),
        None => None,
    };
    if let Some(step) = peg {
        credit(&mut state, step)?;
    }
    burn(constants, &mut state, root, header.height, burns)?;
    settle_carriers(&mut state, header.height, constants.spec.min_finalization_depth);
    Ok(Entry {
        root,
        header: header.clone(),
        state_root: state.root(),
        state: Arc::new(state),
        federation: rules.federation,
        next_federation: rules.next_federation,
        carries,
        certificate: None,
        votes: BTreeMap::new(),
        children: Vec::new(),
    })
}

/// Takes the peg's records into the state.
fn credit(state: &mut ChainState, step: peg::Step) -> Result<(), BlockError> {
    let minted = u64::try_from(step.mints.len()).map_err(|_| BlockError::Overflow)?;
    state.next_withdrawal_index = state.next_withdrawal_index.checked_add(minted).ok_or(BlockError::Overflow)?;
    for mint in &step.mints {
        state.ledger.minted = state.ledger.minted.checked_add(mint.amount.to_wei()).ok_or(BlockError::Overflow)?;
    }
    let deposited = in_wei(step.deposited)?;
    state.ledger.deposited = state.ledger.deposited.checked_add(deposited).ok_or(BlockError::Overflow)?;
    state.peg = step.peg;
    Ok(())
}

/// Takes burns into the state. A chain without a peg has nobody who could pay them, and only counts.
fn burn(
    constants: &Constants,
    state: &mut ChainState,
    root: Root,
    height: Height,
    burns: &Burns,
) -> Result<(), BlockError> {
    if let Some(rules) = &constants.peg {
        let (peg, _) = peg::burns(rules, &state.peg, root, height, burns)?;
        state.peg = peg;
    }
    for burn in burns {
        state.ledger.burned = state.ledger.burned.checked_add(burn.amount).ok_or(BlockError::Overflow)?;
    }
    Ok(())
}

fn in_wei(amount: Sats) -> Result<Wei, BlockError> {
    Wei::from(amount.0).checked_mul(Wei::from(peg::WEI_PER_SAT)).ok_or(BlockError::Overflow)
}

/// Takes a committed record into the state.
#[cfg_attr(not(feature = "testing"), allow(unused_variables, reason = "the scheme can carry a planted mistake"))]
fn record(
    scheme: Scheme,
    state: &mut ChainState,
    root: Root,
    height: Height,
    commitment: Commitment,
) -> Result<Carrier, BlockError> {
    let Commitment { bundle_root, parent_header, end, work, distribution } = commitment;
    let end_point = Point { root: end.root, height: end.height };
    let start = state.committed.end.height.next();
    let minted = u64::try_from(distribution.withdrawals.len()).map_err(|_| BlockError::Overflow)?;
    state.next_withdrawal_index = state.next_withdrawal_index.checked_add(minted).ok_or(BlockError::Overflow)?;
    #[cfg(feature = "testing")]
    let carry = if scheme.planted(crate::testing::Plant::CarryTwice) {
        state.fee_carry.saturating_add(distribution.carry)
    } else {
        distribution.carry
    };
    #[cfg(not(feature = "testing"))]
    let carry = distribution.carry;
    state.fee_carry = carry;
    state.ledger.fees_reminted =
        state.ledger.fees_reminted.checked_add(distribution.minted).ok_or(BlockError::Overflow)?;
    state.committed = Arc::new(Committed {
        auxpow_root: AuxPowEssence { bundle: bundle_root, parent_header }.root(),
        bundle: bundle_root,
        parent_header,
        end: end_point,
        records: state.committed.records.checked_add(1).ok_or(BlockError::Overflow)?,
        work: state.committed.work.saturating_add(work),
        fees: end.fees_total,
    });
    let carrier = Carrier { root, height, bundle: bundle_root, start, end: end_point };
    let mut carriers: Vec<Carrier> = state.carriers.to_vec();
    if carriers.len() >= VariableList::<Carrier, crate::MaxCarriers>::max_len() {
        carriers.pop();
    }
    carriers.push(carrier);
    state.carriers = Arc::new(VariableList::new(carriers).map_err(|_| BlockError::Overflow)?);
    Ok(carrier)
}

/// Finality in this chain (section 6): a carrier that is safe and has enough notarized descendants makes its bundle
/// final.
fn settle_carriers(state: &mut ChainState, height: Height, depth: u64) {
    let (safe, deep) = (state.safe.height, height.0.checked_sub(depth).map(Height));
    let is_final = |carrier: &Carrier| carrier.height <= safe && deep.is_some_and(|deep| carrier.height <= deep);
    if let Some(newest) = state.carriers.iter().rev().find(|carrier| is_final(carrier)).copied() {
        state.finalized = newest.end;
        let rest: Vec<Carrier> = state.carriers.iter().filter(|carrier| !is_final(carrier)).copied().collect();
        // Never longer than before.
        state.carriers = Arc::new(VariableList::new(rest).unwrap_or_else(|_| VariableList::empty()));
    }
}
