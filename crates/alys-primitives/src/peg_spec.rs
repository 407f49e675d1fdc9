//! The constants of the two-way peg (protocol section 7).

use crate::{B256, BitcoinHeaderBytes, FixedBytes, MaxMembers, Optional, PublicKeyBytes, Sats, SpecError};
use serde::{Deserialize, Serialize};
use ssz_derive::{Decode, Encode};
use ssz_types::{VariableList, typenum};
use tree_hash_derive::TreeHash;

/// The x-only public keys (BIP-340) that hold the deposits, in order of the members.
pub type CustodyKeys = VariableList<B256, MaxMembers>;

/// A Bitcoin header taken on trust, from which the chain's own view of Bitcoin grows.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TreeHash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BitcoinCheckpoint {
    /// The header.
    pub header: BitcoinHeaderBytes,
    /// Its height.
    pub height: u64,
    /// Time of the first header of its difficulty period, Unix seconds.
    pub period_time: u64,
    /// Compact target of that header.
    pub period_bits: u64,
    /// Times of up to ten headers before it, newest first, for the median.
    pub earlier_times: VariableList<u64, typenum::U16>,
}

/// Constants of the peg.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TreeHash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PegSpec {
    /// The Bitcoin network by the magic bytes of its peer-to-peer messages.
    pub network_magic: FixedBytes<4>,
    /// Where the chain's view of Bitcoin begins.
    pub checkpoint: BitcoinCheckpoint,
    /// How many headers of the best branch the state keeps. A deposit can be credited, and a branch replaced, only
    /// within them.
    pub header_window: u64,
    /// Headers, the deposit's own included, after which a deposit or a payment counts.
    pub confirmations: u64,
    /// The least that is credited, in satoshis.
    pub min_pegin: Sats,
    /// The most deposits in one block; at most 64.
    pub max_pegins: u64,
    /// The most requests that one payment serves; at most 256.
    pub max_batch_requests: u64,
    /// Least fee rate of a payment, in satoshis per 1000 virtual bytes.
    pub min_fee_rate: u64,
    /// Fee rate that the first payment is held against.
    pub initial_fee_rate: u64,
    /// Greatest fee rate of a payment.
    pub max_fee_rate: u64,
    /// Bitcoin blocks after which a payment that has not settled may be attempted at a higher fee.
    pub bump_interval: u64,
    /// Bitcoin blocks for which deposits to the address of an earlier federation are credited, from the height that the
    /// chain's view had when the next one's epoch began.
    pub old_address_grace: u64,
    /// Who can sign for the deposits.
    pub custody_keys: CustodyKeys,
    /// How many of them must.
    pub custody_threshold: u64,
    /// Who else can once a coin has lain for long; of every custody of the chain. Empty: nobody.
    #[serde(default)]
    pub recovery: Optional<CustodyRecovery>,
}

/// The fewest headers that a state may keep: a branch that replaces another arrives in one block, whose list holds 144.
const MIN_HEADER_WINDOW: u64 = 288;

/// The most headers that a state may keep: the whole view is hashed whenever Bitcoin moves.
const MAX_HEADER_WINDOW: u64 = 16_384;

impl PegSpec {
    /// Checks every constant against its range. Whether the keys are points of the curve is the chain crate's to say.
    ///
    /// # Errors
    /// The first constant that is out of range.
    pub fn validate(&self) -> Result<(), SpecError> {
        let range = |ok: bool, field: &'static str, value: u64, range: &'static str| {
            if ok { Ok(()) } else { Err(SpecError::OutOfRange { field, value: value.to_string(), range }) }
        };
        let window = self.header_window;
        range(
            (MIN_HEADER_WINDOW..=MAX_HEADER_WINDOW).contains(&window),
            "peg.header_window",
            window,
            "288 to 16384 headers",
        )?;
        range(
            (1..=144).contains(&self.confirmations),
            "peg.confirmations",
            self.confirmations,
            "1 to 144, and far fewer than the window",
        )?;
        range(self.min_pegin.0 >= 1_000, "peg.min_pegin", self.min_pegin.0, "at least 1000 satoshis")?;
        range((1..=64).contains(&self.max_pegins), "peg.max_pegins", self.max_pegins, "1 to 64")?;
        range(
            (1..=256).contains(&self.max_batch_requests),
            "peg.max_batch_requests",
            self.max_batch_requests,
            "1 to 256",
        )?;
        // Half as much again must be a whole satoshi a byte more, or nodes would not pass the replacement on.
        range(
            self.min_fee_rate >= 2_000,
            "peg.min_fee_rate",
            self.min_fee_rate,
            "at least 2000 (two satoshis a byte)",
        )?;
        range(
            (self.min_fee_rate..=self.max_fee_rate).contains(&self.initial_fee_rate),
            "peg.initial_fee_rate",
            self.initial_fee_rate,
            "from min_fee_rate to max_fee_rate",
        )?;
        range(
            self.max_fee_rate <= 10_000_000,
            "peg.max_fee_rate",
            self.max_fee_rate,
            "at most 10000000 (10000 satoshis a byte)",
        )?;
        range(
            self.old_address_grace <= window.saturating_sub(self.confirmations),
            "peg.old_address_grace",
            self.old_address_grace,
            "at most header_window - confirmations Bitcoin blocks",
        )?;
        range(self.bump_interval >= 1, "peg.bump_interval", self.bump_interval, "at least 1 Bitcoin block")?;
        check_custody(&self.custody_keys, self.custody_threshold)?;
        self.recovery.iter().try_for_each(CustodyRecovery::validate)
    }
}

/// Who can sign for the deposits from an epoch on.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TreeHash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Custodians {
    /// Their keys, in the order of their places in the script.
    pub keys: CustodyKeys,
    /// How many of them must sign.
    pub threshold: u64,
}

impl Custodians {
    /// Checks the number of keys and of signatures as [`PegSpec::validate`] does.
    ///
    /// # Errors
    /// The first constant that is out of range.
    pub fn validate(&self) -> Result<(), SpecError> {
        check_custody(&self.keys, self.threshold)
    }
}

/// Keys that can spend a coin of the custody which nobody has moved for long: the last resort if too many custody keys are
/// lost.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TreeHash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustodyRecovery {
    /// Their x-only public keys (BIP-340), in the order of their places in the script.
    pub keys: CustodyKeys,
    /// How many of them must sign.
    pub threshold: u64,
    /// How many Bitcoin blocks the coin must have lain, its own included (BIP-68).
    pub blocks: u64,
}

impl CustodyRecovery {
    /// Checks number of keys, of signatures and of blocks.
    ///
    /// # Errors
    /// The first constant that is out of range.
    pub fn validate(&self) -> Result<(), SpecError> {
        let range = |ok: bool, field: &'static str, value: u64, range: &'static str| {
            if ok { Ok(()) } else { Err(SpecError::OutOfRange { field, value: value.to_string(), range }) }
        };
        let keys = u64::try_from(self.keys.len()).unwrap_or(u64::MAX);
        range(keys >= 1, "peg.recovery.keys", keys, "at least one key")?;
        range(
            (1..=keys).contains(&self.threshold),
            "peg.recovery.threshold",
            self.threshold,
            "from 1 to the number of recovery keys",
        )?;
        // A day at least, or payments that take their time would race with it; no more than a sequence can say.
        range(
            (144..=65_535).contains(&self.blocks),
            "peg.recovery.blocks",
            self.blocks,
            "144 to 65535 Bitcoin blocks",
        )?;
        check_distinct(&self.keys)
    }
}

/// A key for the custody, with proof that whoever offers it holds it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TreeHash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustodyOffer {
    /// The x-only public key (BIP-340).
    pub key: B256,
    /// Who holds it: the BLS key of the keystore that it comes from.
    pub holder: PublicKeyBytes,
    /// Signature by `key` (BIP-340) over chain, epoch and holder; what exactly is the chain crate's to say.
    pub proof: FixedBytes<64>,
}

/// Who is to hold the deposits, as a change of the federation names them.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TreeHash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfferedCustody {
    /// Their keys, in the order of their places in the script.
    pub offers: VariableList<CustodyOffer, MaxMembers>,
    /// How many of them must sign.
    pub threshold: u64,
}

impl OfferedCustody {
    /// The custodians, without their proofs.
    pub fn custodians(&self) -> Custodians {
        let mut keys = CustodyKeys::empty();
        for offer in &self.offers {
            // Both lists have one bound.
            let _ = keys.push(offer.key);
        }
        Custodians { keys, threshold: self.threshold }
    }
}

fn check_custody(custody_keys: &CustodyKeys, threshold: u64) -> Result<(), SpecError> {
    let range = |ok: bool, field: &'static str, value: u64, range: &'static str| {
        if ok { Ok(()) } else { Err(SpecError::OutOfRange { field, value: value.to_string(), range }) }
    };
    let keys = u64::try_from(custody_keys.len()).unwrap_or(u64::MAX);
    range(keys >= 1, "peg.custody_keys", keys, "at least one key")?;
    // f + 1 <= k <= n - f: no minority of f can spend, none can hold payments up (protocol section 7).
    let faulty = keys.saturating_sub(1).checked_div(3).unwrap_or(0);
    range(
        (faulty.saturating_add(1)..=keys.saturating_sub(faulty)).contains(&threshold),
        "peg.custody_threshold",
        threshold,
        "from f + 1 to n - f of the n custody keys, f = floor((n - 1) / 3)",
    )?;
    check_distinct(custody_keys)
}

fn check_distinct(keys: &CustodyKeys) -> Result<(), SpecError> {
    for (second, key) in keys.iter().enumerate() {
        let earlier = keys.iter().take(second).position(|other| other == key);
        if let Some(first) = earlier {
            return Err(SpecError::DuplicateMember { first, second });
        }
    }
    Ok(())
}
