//! Laws of encodings, roots, units and times, over values of all shapes.

#![allow(clippy::unwrap_used, reason = "tests may stop")]

use alys_primitives::ssz::{Decode, DecodeError, Encode};
use alys_primitives::*;
use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;

/// Words that decide a value; it shrinks with them.
struct Source(std::vec::IntoIter<u64>);

impl Source {
    fn word(&mut self) -> u64 {
        self.0.next().unwrap_or(0)
    }
}

/// A value made of words.
trait Make: Sized {
    fn make(source: &mut Source) -> Self;
}

impl Make for u64 {
    /// Edges as often as everything between them.
    fn make(source: &mut Source) -> Self {
        match source.word() {
            word if word % 8 == 0 => Self::MAX,
            word if word % 8 == 1 => 0,
            word => word,
        }
    }
}

impl Make for u32 {
    fn make(source: &mut Source) -> Self {
        Self::try_from(source.word() >> 32).unwrap()
    }
}

impl Make for u8 {
    fn make(source: &mut Source) -> Self {
        Self::try_from(source.word() >> 56).unwrap()
    }
}

impl Make for bool {
    fn make(source: &mut Source) -> Self {
        source.word() % 2 == 1
    }
}

impl Make for U256 {
    fn make(source: &mut Source) -> Self {
        Self::from_limbs([(); 4].map(|()| u64::make(source)))
    }
}

impl<const N: usize> Make for FixedBytes<N> {
    fn make(source: &mut Source) -> Self {
        let word = source.word().to_le_bytes();
        Self::from(std::array::from_fn(|place| word[place % 8]))
    }
}

impl Make for Address {
    fn make(source: &mut Source) -> Self {
        Self(FixedBytes::make(source))
    }
}

impl<T: Make + Clone, N: typenum::Unsigned> Make for VariableList<T, N> {
    fn make(source: &mut Source) -> Self {
        let most = u64::try_from(N::to_usize().min(3)).unwrap();
        let count = source.word() % (most + 1);
        Self::new((0..count).map(|_| T::make(source)).collect()).unwrap()
    }
}

impl Make for BitVector<MaxMembers> {
    fn make(source: &mut Source) -> Self {
        let mut bits = Self::new();
        for _ in 0..source.word() % 5 {
            bits.set(usize::try_from(source.word() % 128).unwrap(), true).unwrap();
        }
        bits
    }
}

macro_rules! newtypes {
    ($($name:ident),*) => {
        $(impl Make for $name {
            fn make(source: &mut Source) -> Self {
                Self(u64::make(source))
            }
        })*
    };
}
newtypes!(Slot, Height, Epoch, Gwei, Sats, UnixMillis);

macro_rules! containers {
    ($($name:ident { $($field:ident),* $(,)? })*) => {
        $(impl Make for $name {
            fn make(source: &mut Source) -> Self {
                Self { $($field: Make::make(source)),* }
            }
        })*
    };
}
containers! {
    ApprovalData { block_root, slot, epoch }
    Approval { data, member_index, signature }
    Notarization { block_root, slot, epoch, bitfield, aggregate_signature }
    BlockHeader { slot, height, parent_root, epoch, author_index, execution_block_hash, state_root, body_root }
    SignedHeader { header, author_signature }
    ProposalEquivocation { first, second }
    VoteEquivocation { first, second }
    Evidence { proposals, votes }
    AuxBundle {
        genesis_root, auxpow_chain_id, bits, miner_address, template_slot, previous_auxpow_root, start_root, end_root,
        count, blocks_root,
    }
    AuxPowRecord { bundle, proof }
    Member { public_key, proof_of_possession, fee_address }
    Custodians { keys, threshold }
    CustodyOffer { key, holder, proof }
    CustodyRecovery { keys, threshold, blocks }
    OfferedCustody { offers, threshold }
    FederationChange { genesis_root, epoch, members, custody, bitfield, aggregate_signature }
    Pause { genesis_root, epoch, sequence, pegin_paused, pegout_paused, bitfield, aggregate_signature }
    PegInRecord { bitcoin_block, transaction, index, branch, coinbase, coinbase_branch }
    PegOutId { block_root, log_index }
    PegOutBatch { requests, fee_rate }
    FeeBump { batch, attempt }
    Settlement { batch, payment }
    Refund { request, reason }
    Burn { log_index, sender, bitcoin_address, amount }
    Withdrawal { index, validator_index, address, amount }
    ExecutionPayload {
        parent_hash, fee_recipient, state_root, receipts_root, logs_bloom, prev_randao, block_number, gas_limit, gas_used,
        timestamp, extra_data, base_fee_per_gas, block_hash, transactions, withdrawals, blob_gas_used, excess_blob_gas,
    }
    BlockBody {
        execution_requests, auxpow, bitcoin_headers, pegins, pegout_batches, fee_bumps, settlements, refunds,
        federation_change, pause, evidence,
    }
    SignedBlock { header, body, payload, author_signature, parent_notarization }
    Fork { activation_height, fork_version }
    AuxPowSpec { chain_id, spacing, half_life, initial_bits, min_auxpow_work, allow_output_commitment }
    EvmSpec { chain_id, genesis_hash, genesis_prev_randao, genesis_file_hash, fee_recipient, genesis_allocation }
    BitcoinCheckpoint { header, height, period_time, period_bits, earlier_times }
    PegSpec {
        network_magic, checkpoint, header_window, confirmations, min_pegin, max_pegins, max_batch_requests, min_fee_rate,
        initial_fee_rate, max_fee_rate, bump_interval, old_address_grace, custody_keys, custody_threshold,
        recovery,
    }
    ChainSpec {
        genesis_time, slot_duration, max_clock_drift, forks, members, epoch_delay, max_blocks_without_pow,
        max_bundle_blocks, min_finalization_depth, miner_share, max_withdrawals, auxpow, evm, peg,
    }
}

/// One encoding: it decodes to the value, and nothing shorter or longer does. Different values have different encodings
/// and roots.
fn encodes<T: Make + Encode + Decode + TreeHash + PartialEq + Debug>(words: &[u64], others: &[u64]) {
    let make = |words: &[u64]| T::make(&mut Source(Vec::from(words).into_iter()));
    let (value, other) = (make(words), make(others));
    let bytes = value.as_ssz_bytes();
    assert_eq!(bytes.len(), value.ssz_bytes_len());
    assert_eq!(T::from_ssz_bytes(&bytes).as_ref(), Ok(&value));
    if let Ok(longer) = T::from_ssz_bytes(&[bytes.as_slice(), &[0]].concat()) {
        // A last field that is a list of bytes takes the byte in, and is another value.
        assert_ne!(longer, value);
    }
    if let Some((_, shorter)) = bytes.split_last() {
        let front = &bytes[..shorter.len()];
        assert_ne!(T::from_ssz_bytes(front).as_ref(), Ok(&value));
    }
    assert_eq!(value == other, bytes == other.as_ssz_bytes());
    assert_eq!(value == other, value.tree_hash_root() == other.tree_hash_root());
}

/// A fixed length is the only one that decodes, and says so; where lengths vary, offsets that point out of the bytes are
/// refused, and so is an end within the fixed part.
fn refuses<T: Make + Encode + Decode + PartialEq + Debug>(words: &[u64]) {
    let bytes = T::make(&mut Source(Vec::from(words).into_iter())).as_ssz_bytes();
    let wrong_length = |len, expected| Err(DecodeError::InvalidByteLength { len, expected });
    if <T as Decode>::is_ssz_fixed_len() {
        let longer = [bytes.as_slice(), &[0]].concat();
        assert_eq!(T::from_ssz_bytes(&longer), wrong_length(bytes.len() + 1, bytes.len()));
        let (_, shorter) = bytes.split_last().unwrap();
        assert_eq!(T::from_ssz_bytes(shorter), wrong_length(bytes.len() - 1, bytes.len()));
    } else {
        assert!(T::from_ssz_bytes(&vec![0xff; bytes.len()]).is_err(), "offsets past the end");
        assert!(T::from_ssz_bytes(&bytes[..3]).is_err(), "an end within the fixed part");
    }
}

/// A counted thing is encoded and hashed as its number is, alone and in lists.
fn counts<T>(words: &[u64], wrap: impl Fn(u64) -> T)
where
    T: Make + Copy + Encode + Decode + TreeHash + PartialEq + Debug + std::fmt::Display + Serialize + DeserializeOwned,
{
    let numbers: VariableList<u64, typenum::U128> = VariableList::new(words.to_vec()).unwrap();
    let counted = VariableList::<T, typenum::U128>::new(words.iter().map(|word| wrap(*word)).collect()).unwrap();
    assert_eq!(counted.as_ssz_bytes(), numbers.as_ssz_bytes());
    assert_eq!(counted.tree_hash_root(), numbers.tree_hash_root());
    for (value, number) in counted.iter().zip(words) {
        assert_eq!((value.ssz_bytes_len(), value.as_ssz_bytes()), (8, number.as_ssz_bytes()));
        assert_eq!(value.tree_hash_root(), number.tree_hash_root());
        assert_eq!(value.to_string(), number.to_string());
        assert_eq!(serde_json::to_string(value).unwrap(), number.to_string());
    }
}

/// Files and checkpoints hold these through serde.
fn serialises<T: Make + Serialize + DeserializeOwned + PartialEq + Debug>(words: &[u64]) {
    let value = T::make(&mut Source(Vec::from(words).into_iter()));
    let text = serde_json::to_string(&value).unwrap();
    assert_eq!(serde_json::from_str::<T>(&text).unwrap(), value);
}

macro_rules! every {
    (@one $law:ident ($($argument:expr),*) $name:ident) => {
        $law::<$name>($($argument),*)
    };
    ($law:ident $arguments:tt: $($name:ident),* $(,)?) => {
        $(every!(@one $law $arguments $name);)*
    };
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn containers_have_one_encoding_and_a_root_of_their_own(
        words in proptest::collection::vec(any::<u64>(), 0..120),
        others in proptest::collection::vec(any::<u64>(), 0..120),
    ) {
        every!(encodes(&words, &others):
            ApprovalData, Approval, Notarization, BlockHeader, SignedHeader, ProposalEquivocation, VoteEquivocation,
            Evidence, AuxBundle, AuxPowRecord, Member, FederationChange, Pause, PegInRecord, PegOutId, PegOutBatch,
            FeeBump, Settlement, Refund, Burn, Withdrawal, ExecutionPayload, BlockBody, SignedBlock, Fork, AuxPowSpec,
            EvmSpec, BitcoinCheckpoint, PegSpec, Custodians, CustodyOffer, CustodyRecovery, OfferedCustody, ChainSpec,
        );
        every!(serialises(&words): Notarization, BlockHeader, AuxBundle, Member, Withdrawal, ChainSpec);
    }

    #[test]
    fn damaged_encodings_are_refused(words in proptest::collection::vec(any::<u64>(), 0..120)) {
        every!(refuses(&words):
            ApprovalData, Approval, Notarization, BlockHeader, SignedHeader, ProposalEquivocation, VoteEquivocation,
            Evidence, AuxBundle, AuxPowRecord, Member, FederationChange, Pause, PegInRecord, PegOutId, PegOutBatch,
            FeeBump, Settlement, Refund, Burn, Withdrawal, ExecutionPayload, BlockBody, SignedBlock, Fork, AuxPowSpec,
            EvmSpec, BitcoinCheckpoint, PegSpec, Custodians, CustodyOffer, CustodyRecovery, OfferedCustody, ChainSpec, Slot, Height, Epoch, Sats, Gwei, UnixMillis,
        );
    }

    #[test]
    fn a_switch_is_on_or_off(words in proptest::collection::vec(any::<u64>(), 0..120), byte in 2u8..) {
        let pause = Pause::make(&mut Source(words.into_iter()));
        let mut bytes = pause.as_ssz_bytes();
        // Behind the chain, the epoch and the sequence.
        for place in [48, 49] {
            let is_on = std::mem::replace(&mut bytes[place], byte);
            prop_assert!(matches!(Pause::from_ssz_bytes(&bytes), Err(DecodeError::BytesInvalid(_))));
            bytes[place] = is_on;
        }
        prop_assert_eq!(Pause::from_ssz_bytes(&bytes), Ok(pause));
    }

    #[test]
    fn a_chain_is_named_by_every_constant(
        words in proptest::collection::vec(any::<u64>(), 0..120),
        others in proptest::collection::vec(any::<u64>(), 0..120),
    ) {
        let make = |words: Vec<u64>| ChainSpec::make(&mut Source(words.into_iter()));
        let (spec, other) = (make(words), make(others));
        prop_assert_eq!(spec == other, spec.genesis_root() == other.genesis_root());
        let genesis = spec.genesis_header();
        prop_assert_eq!((genesis.state_root, genesis.execution_block_hash), (spec.genesis_root(), spec.evm.genesis_hash));
        prop_assert_eq!((genesis.height, genesis.slot, genesis.parent_root), (Height(0), Slot(0), Root::ZERO));
    }

    #[test]
    fn counted_things_are_encoded_as_their_numbers(words in proptest::collection::vec(any::<u64>(), 0..120)) {
        counts(&words, Slot);
        counts(&words, Height);
        counts(&words, Epoch);
        counts(&words, Sats);
        counts(&words, Gwei);
        counts(&words, UnixMillis);
    }

    #[test]
    fn a_blocks_identity_is_its_headers_root(words in proptest::collection::vec(any::<u64>(), 0..120)) {
        let block = SignedBlock::make(&mut Source(words.into_iter()));
        prop_assert_eq!(block.root(), block.header.tree_hash_root());
        prop_assert_eq!(block.signed_header().header.root(), block.root());
        let signed_by_another = SignedBlock { author_signature: SignatureBytes::repeat_byte(9), ..block.clone() };
        prop_assert_eq!(signed_by_another.root(), block.root());
    }

    #[test]
    fn a_bundles_root_tells_order_and_length(
        mut roots in proptest::collection::vec(any::<[u8; 32]>().prop_map(Root::from), 1..40),
        at in any::<prop::sample::Index>(),
    ) {
        let whole = blocks_root(&roots).unwrap();
        prop_assert_eq!(blocks_root(&roots).unwrap(), whole);
        prop_assert_ne!(blocks_root(&roots[1..]).unwrap(), whole);
        prop_assert_ne!(blocks_root(&[roots.as_slice(), &[Root::ZERO]].concat()).unwrap(), whole);
        let at = at.index(roots.len());
        roots[at].0[7] ^= 1;
        prop_assert_ne!(blocks_root(&roots).unwrap(), whole);
    }

    #[test]
    fn amounts_convert_without_loss(sats: u64, gwei: u64, rest in 0u64..1_000_000_000) {
        prop_assert_eq!(Gwei::from_wei(Gwei(gwei).to_wei()), Some((Gwei(gwei), Wei::ZERO)));
        let wei = Gwei(gwei).to_wei() + U256::from(rest);
        prop_assert_eq!(Gwei::from_wei(wei), Some((Gwei(gwei), U256::from(rest))));
        match Sats(sats).to_gwei() {
            Some(converted) => prop_assert_eq!(u128::from(converted.0), u128::from(sats) * 10),
            None => prop_assert!(u128::from(sats) * 10 > u128::from(u64::MAX)),
        }
        let beyond = Gwei(u64::MAX).to_wei() + U256::from(1_000_000_000u64);
        prop_assert_eq!(Gwei::from_wei(beyond + wei), None);
    }

    #[test]
    fn numbers_are_added_and_taken_away_within_their_range(a: u64, b: u64) {
        let wide = |sum: i128| u64::try_from(sum).ok().map(Height);
        let (x, y) = (i128::from(a), i128::from(b));
        prop_assert_eq!(Height(a).checked_add(b), wide(x + y));
        prop_assert_eq!(Height(a).checked_sub(b), wide(x - y));
        prop_assert_eq!(Height(a).saturating_add(b), wide(x + y).unwrap_or(Height(u64::MAX)));
        prop_assert_eq!(Height(a).saturating_sub(b), wide(x - y).unwrap_or(Height(0)));
        prop_assert_eq!(Height(a).since(Height(b)), wide(x - y).unwrap_or(Height(0)).0);
        prop_assert_eq!(Slot(a).next(), Slot(a.saturating_add(1)));
        prop_assert_eq!(Height(a).next(), Height(a.saturating_add(1)));
    }

    #[test]
    fn slots_and_times_are_inverse(genesis_time in 0u64..1 << 40, slot_duration in 1u64..3_600, slot in 0u64..1 << 40, part: u16) {
        let mut spec = ChainSpec::make(&mut Source(Vec::new().into_iter()));
        (spec.genesis_time, spec.slot_duration) = (genesis_time, slot_duration);
        let start = spec.slot_start_millis(Slot(slot));
        prop_assert_eq!(start.0, spec.slot_start(Slot(slot)) * 1_000);
        // Any time within a slot is that slot's.
        let within = u64::from(part) % (slot_duration * 1_000);
        prop_assert_eq!(spec.slot_at(start.saturating_add(within)), Slot(slot));
        prop_assert_eq!(spec.slot_at(start.saturating_add(slot_duration * 1_000)), Slot(slot + 1));
    }

    #[test]
    fn the_newest_activated_version_of_the_rules_holds(mut heights in proptest::collection::btree_set(1u64..1_000, 0..6), at in 0u64..1_100) {
        heights.insert(0);
        let version = |place: usize| FixedBytes([0, 0, 0, u8::try_from(place).unwrap()]);
        let forks = heights.iter().enumerate();
        let forks = forks.map(|(place, height)| Fork { activation_height: Height(*height), fork_version: version(place) });
        let mut spec = ChainSpec::make(&mut Source(Vec::new().into_iter()));
        spec.forks = VariableList::new(forks.collect()).unwrap();
        let newest = heights.iter().filter(|height| **height <= at).count() - 1;
        prop_assert_eq!(spec.fork_version(Height(at)), version(newest));
    }
}
