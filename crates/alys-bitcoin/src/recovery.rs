//! The last resort: recovery keys spend coins of the custody that nobody has moved for long (protocol section 7).
//!
//! A [`RecoverySpend`] is one transaction that spends coins by the recovery leaf and pays everything less the fee to one
//! output. It travels among the holders of the keys as a PSBT (BIP-174, BIP-371). Whoever signs derives it anew from what the
//! PSBT says of its coins and from the chain's own custodies, so that nothing else is ever signed: one output, version 2, no
//! lock time, each input's sequence the leaf's lock. The amounts in it need not be believed, since every signature covers all
//! of them: with a wrong one no signature is worth anything.

use std::collections::{BTreeMap, BTreeSet};

use alys_chain::peg::{Custody, MAX_INPUTS, Recovery, dust_limit};
use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash as _;
use bitcoin::psbt::Psbt;
use bitcoin::secp256k1::{Message, Secp256k1, XOnlyPublicKey};
use bitcoin::sighash::{Prevouts, SighashCache, TapSighashType};
use bitcoin::taproot::{LeafVersion, Signature};
use bitcoin::{Amount, OutPoint, ScriptBuf, TapSighash, Transaction, TxIn, TxOut, Txid, transaction};

use crate::script::{SpendError, Verifier};
use crate::signing::CustodyKey;

/// The least that Bitcoin nodes pass on, in satoshis per 1000 virtual bytes.
pub const MIN_FEE_RATE: u64 = 1_000;

/// The heaviest transaction that Bitcoin nodes pass on, in weight units.
const MAX_WEIGHT: u64 = 400_000;

/// Why coins can't be spent by the recovery leaf.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryError {
    /// The chain spec names no recovery keys, so its custody has no such leaf.
    #[error("the chain spec names no recovery keys")]
    NoLeaf,
    /// Nothing to spend.
    #[error("no coins")]
    NoCoins,
    /// More coins than one transaction may spend.
    #[error("{found} coins, one transaction spends at most {MAX_INPUTS}")]
    TooManyCoins {
        /// How many.
        found: usize,
    },
    /// A coin is named twice.
    #[error("coin {coin} is named twice")]
    Duplicate {
        /// The coin.
        coin: OutPoint,
    },
    /// A coin lies at no address of the chain.
    #[error("coin {coin} lies at no custody's address of this chain")]
    NotOurs {
        /// The coin.
        coin: OutPoint,
    },
    /// The destination is an address of the custody, whose coins would lie there again.
    #[error("the destination is an address of the custody itself")]
    ToCustody,
    /// Bitcoin nodes would not pass it on.
    #[error("a fee rate of {found}, Bitcoin nodes pass on {MIN_FEE_RATE} satoshis per 1000 virtual bytes and more")]
    FeeRate {
        /// Found.
        found: u64,
    },
    /// The fee would eat more than half of the coins.
    #[error("a fee of {fee} satoshis is more than half of the coins' {coins}")]
    Fee {
        /// The fee.
        fee: u64,
        /// What the coins hold.
        coins: u64,
    },
    /// It pays more than it spends, which only a PSBT from elsewhere can say.
    #[error("it pays {paid} satoshis, the coins hold {coins}")]
    Overspends {
        /// What it pays.
        paid: u64,
        /// What the coins hold.
        coins: u64,
    },
    /// Less than Bitcoin nodes pass on would be left.
    #[error("{left} satoshis would be left, Bitcoin nodes pass on {least} and more")]
    Dust {
        /// What would be left.
        left: u64,
        /// The least.
        least: u64,
    },
    /// Heavier than Bitcoin nodes pass on.
    #[error("{weight} weight units are more than {MAX_WEIGHT}: spend fewer coins at once")]
    TooHeavy {
        /// The transaction's weight.
        weight: u64,
    },
    /// A sum does not fit its type, which takes more bitcoin than exist.
    #[error("a sum overflows")]
    Overflow,
    /// A PSBT is of something else than a spend by the leaf.
    #[error("the PSBT spends nothing by the recovery leaf: {what}")]
    OtherShape {
        /// What is wrong.
        what: &'static str,
    },
    /// Two PSBTs are of different transactions.
    #[error("a PSBT of transaction {found}, the others are of {expected}")]
    OtherTransaction {
        /// Its transaction.
        found: Txid,
        /// The others'.
        expected: Txid,
    },
    /// A signature of a key that is no recovery key, or for another script.
    #[error("input {input}: a signature of {key}, which is no recovery key for this script")]
    NoRecoveryKey {
        /// The input.
        input: usize,
        /// The key.
        key: XOnlyPublicKey,
    },
    /// A signature that does not verify, or covers less than the whole transaction.
    #[error("input {input}: the signature of {key} does not verify; a coin's amount may be wrong")]
    Signature {
        /// The input.
        input: usize,
        /// The key.
        key: XOnlyPublicKey,
    },
    /// A key's signatures are missing for some inputs.
    #[error("{key} signed {found} of {inputs} inputs")]
    Incomplete {
        /// The key.
        key: XOnlyPublicKey,
        /// Inputs that it signed.
        found: usize,
        /// Inputs of the transaction.
        inputs: usize,
    },
    /// The key is no recovery key.
    #[error("the key {key} is no recovery key of this chain")]
    NotARecoveryKey {
        /// The key.
        key: XOnlyPublicKey,
    },
    /// Fewer keys have signed than the script asks for.
    #[error("{found} recovery keys have signed, {needed} must")]
    TooFew {
        /// Have signed.
        found: usize,
        /// Must sign.
        needed: usize,
    },
    /// A coin has not lain for long enough.
    #[error("coin {coin} can be spent from Bitcoin block {first} on, which is {missing} blocks after the next one")]
    TooEarly {
        /// The coin.
        coin: OutPoint,
        /// Height of the first block that may hold the spend.
        first: u32,
        /// How many blocks must come before that one may be the next.
        missing: u32,
    },
    /// The transaction can't be hashed, which is a bug here.
    #[error("the transaction can't be hashed for signing")]
    Hash,
    /// The assembled transaction is not accepted.
    #[error("the assembled transaction is not valid: {0}")]
    Invalid(#[from] SpendError),
}

/// A transaction that spends coins by the recovery leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoverySpend {
    /// Without witnesses.
    transaction: Transaction,
    /// The outputs that its inputs spend, in order.
    spent: Vec<TxOut>,
    /// Whose these are, in order.
    owners: Vec<Custody>,
}

/// The signatures of each key, one per input, by the key's place in the chain spec.
type Signatures = BTreeMap<usize, Vec<Signature>>;

impl RecoverySpend {
    /// Spends `coins`, which belong to some of `custodies`, at `fee_rate` satoshis per 1000 virtual bytes; everything else goes
    /// to `destination`.
    ///
    /// # Errors
    /// [`RecoveryError`] names the first thing that is wrong.
    pub fn plan(
        custodies: &[Custody],
        coins: &[(OutPoint, TxOut)],
        destination: ScriptBuf,
        fee_rate: u64,
    ) -> Result<Self, RecoveryError> {
        if fee_rate < MIN_FEE_RATE {
            return Err(RecoveryError::FeeRate { found: fee_rate });
        }
        let mut coins = coins.to_vec();
        coins.sort_by_key(|(coin, _)| *coin);
        let mut spend = Self::shape(custodies, &coins, TxOut { value: Amount::ZERO, script_pubkey: destination })?;
        let weight = spend.signed_weight()?;
        if weight > MAX_WEIGHT {
            return Err(RecoveryError::TooHeavy { weight });
        }
        let fee = weight.div_ceil(4).checked_mul(fee_rate).ok_or(RecoveryError::Overflow)?.div_ceil(1_000);
        let available = spend.available()?;
        let left = available.checked_sub(fee).filter(|left| *left >= fee);
        let left = left.ok_or(RecoveryError::Fee { fee, coins: available })?;
        for output in &mut spend.transaction.output {
            let least = dust_limit(&output.script_pubkey).0;
            if left < least {
                return Err(RecoveryError::Dust { left, least });
            }
            output.value = Amount::from_sat(left);
        }
        Ok(spend)
    }

    /// The spend that a PSBT is about, derived anew.
    ///
    /// # Errors
    /// [`RecoveryError::OtherShape`] for anything else than [`RecoverySpend::psbt`] makes; what makes a plan impossible.
    pub fn of_psbt(custodies: &[Custody], psbt: &Psbt) -> Result<Self, RecoveryError> {
        let shape = |what| RecoveryError::OtherShape { what };
        let [output] = &psbt.unsigned_tx.output[..] else { return Err(shape("it has not exactly one output")) };
        let mut coins = Vec::new();
        for (input, fields) in psbt.unsigned_tx.input.iter().zip(&psbt.inputs) {
            let spent = fields.witness_utxo.clone().ok_or(shape("an input does not say what it spends"))?;
            coins.push((input.previous_output, spent));
        }
        let spend = Self::shape(custodies, &coins, output.clone())?;
        if spend.transaction.compute_txid() != psbt.unsigned_tx.compute_txid() {
            return Err(shape("version, lock time or a sequence is not the leaf's"));
        }
        let (fee, coins) = (spend.fee()?, spend.available()?);
        if fee > coins.div_ceil(2) {
            return Err(RecoveryError::Fee { fee, coins });
        }
        Ok(spend)
    }

    fn shape(custodies: &[Custody], coins: &[(OutPoint, TxOut)], output: TxOut) -> Result<Self, RecoveryError> {
        if custodies.iter().all(|custody| custody.recovery().is_none()) {
            return Err(RecoveryError::NoLeaf);
        }
        if coins.is_empty() {
            return Err(RecoveryError::NoCoins);
        }
        if coins.len() > MAX_INPUTS {
            return Err(RecoveryError::TooManyCoins { found: coins.len() });
        }
        if custodies.iter().any(|custody| *custody.script_pubkey() == output.script_pubkey) {
            return Err(RecoveryError::ToCustody);
        }
        let mut seen = BTreeSet::new();
        let (mut input, mut owners) = (Vec::new(), Vec::new());
        for (coin, spent) in coins {
            if !seen.insert(*coin) {
                return Err(RecoveryError::Duplicate { coin: *coin });
            }
            let owner = custodies.iter().find(|custody| *custody.script_pubkey() == spent.script_pubkey);
            let owner = owner.ok_or(RecoveryError::NotOurs { coin: *coin })?;
            let sequence = leaf(owner)?.sequence();
            input.push(TxIn { previous_output: *coin, sequence, ..TxIn::default() });
            owners.push(owner.clone());
        }
        let transaction =
            Transaction { version: transaction::Version::TWO, lock_time: LockTime::ZERO, input, output: vec![output] };
        Ok(Self { transaction, spent: coins.iter().map(|(_, spent)| spent.clone()).collect(), owners })
    }

    /// The transaction, without witnesses.
    pub fn transaction(&self) -> &Transaction {
        &self.transaction
    }

    /// The coins and what they hold, in the order of the inputs.
    pub fn coins(&self) -> impl Iterator<Item = (OutPoint, &TxOut)> {
        self.transaction.input.iter().map(|input| input.previous_output).zip(&self.spent)
    }

    /// Where everything goes, and how much that is.
    pub fn output(&self) -> Option<&TxOut> {
        self.transaction.output.first()
    }

    /// What miners get, in satoshis.
    ///
    /// # Errors
    /// [`RecoveryError::Overspends`].
    pub fn fee(&self) -> Result<u64, RecoveryError> {
        let (coins, paid) = (self.available()?, self.output().map_or(0, |output| output.value.to_sat()));
        coins.checked_sub(paid).ok_or(RecoveryError::Overspends { paid, coins })
    }

    /// What the coins hold, in satoshis.
    fn available(&self) -> Result<u64, RecoveryError> {
        let values = self.spent.iter().map(|spent| spent.value.to_sat());
        let sum = values.into_iter().try_fold(0u64, u64::checked_add).ok_or(RecoveryError::Overflow)?;
        if sum > Amount::MAX_MONEY.to_sat() { Err(RecoveryError::Overflow) } else { Ok(sum) }
    }

    /// The recovery keys, in the order of the chain spec; the same for every custody of a chain.
    ///
    /// # Errors
    /// [`RecoveryError::NoLeaf`].
    pub fn leaf(&self) -> Result<&Recovery, RecoveryError> {
        leaf(self.owners.first().ok_or(RecoveryError::NoCoins)?)
    }

    /// Weight units once it is signed; every complete witness has the same size.
    fn signed_weight(&self) -> Result<u64, RecoveryError> {
        let mut sample = self.transaction.clone();
        for (input, owner) in sample.input.iter_mut().zip(&self.owners) {
            let leaf = leaf(owner)?;
            let places: Vec<Option<[u8; 64]>> =
                (0..leaf.keys().len()).map(|index| (index < leaf.threshold()).then_some([0; 64])).collect();
            input.witness = leaf.witness(&places);
        }
        Ok(sample.weight().to_wu())
    }

    /// The first coin that has not lain for long enough, as an error; `heights` are those of the coins' blocks in the order of
    /// the inputs, `tip` is the newest block's.
    ///
    /// # Errors
    /// [`RecoveryError::TooEarly`] for the coin that must wait longest.
    pub fn check_age(&self, heights: &[u32], tip: u32) -> Result<(), RecoveryError> {
        let blocks = u32::from(self.leaf()?.blocks());
        let next = tip.saturating_add(1);
        let firsts = heights.iter().map(|height| height.saturating_add(blocks));
        let youngest = self.transaction.input.iter().zip(firsts).max_by_key(|(_, first)| *first);
        match youngest {
            Some((input, first)) if first > next => {
                let missing = first.saturating_sub(next);
                Err(RecoveryError::TooEarly { coin: input.previous_output, first, missing })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// A PSBT with all that a signer needs and no signatures.
    ///
    /// # Errors
    /// [`RecoveryError::NoLeaf`]; [`RecoveryError::Hash`] for a transaction with witnesses, which is never made here.
    pub fn psbt(&self) -> Result<Psbt, RecoveryError> {
        let mut psbt = Psbt::from_unsigned_tx(self.transaction.clone()).map_err(|_| RecoveryError::Hash)?;
        for ((input, spent), owner) in psbt.inputs.iter_mut().zip(&self.spent).zip(&self.owners) {
            let leaf = leaf(owner)?;
            let control = leaf.control_block();
            input.witness_utxo = Some(spent.clone());
            input.tap_internal_key = Some(control.internal_key);
            input.tap_merkle_root = Some(owner.merkle_root());
            input.tap_scripts = BTreeMap::from([(control.clone(), (leaf.leaf().clone(), LeafVersion::TapScript))]);
        }
        Ok(psbt)
    }

    /// The hash that a signature of one input covers: everything, by the recovery leaf.
    fn signature_hash(&self, input: usize) -> Result<TapSighash, RecoveryError> {
        let prevouts: Prevouts<'_, TxOut> = Prevouts::All(&self.spent);
        let leaf = leaf(self.owners.get(input).ok_or(RecoveryError::Hash)?)?;
        SighashCache::new(&self.transaction)
            .taproot_script_spend_signature_hash(input, &prevouts, leaf.leaf_hash(), TapSighashType::Default)
            .map_err(|_| RecoveryError::Hash)
    }

    /// Adds the signatures of one recovery key to a PSBT of this spend.
    ///
    /// # Errors
    /// [`RecoveryError::NotARecoveryKey`]; a PSBT of another transaction.
    pub fn sign(&self, psbt: &mut Psbt, key: &CustodyKey) -> Result<(), RecoveryError> {
        self.check_same(psbt)?;
        let (public_key, leaf_hash) = (key.public_key(), self.leaf()?.leaf_hash());
        if !self.leaf()?.keys().contains(&public_key) {
            return Err(RecoveryError::NotARecoveryKey { key: public_key });
        }
        for (index, input) in psbt.inputs.iter_mut().enumerate() {
            let signature = key.sign_recovery(self.signature_hash(index)?);
            input.tap_script_sigs.insert((public_key, leaf_hash), signature);
        }
        Ok(())
    }

    /// Takes the signatures of another PSBT of the same transaction.
    ///
    /// # Errors
    /// [`RecoveryError::OtherTransaction`], and signatures that count for nothing.
    pub fn combine(&self, psbt: &mut Psbt, other: &Psbt) -> Result<(), RecoveryError> {
        self.check_same(psbt)?;
        self.signatures(other)?;
        for (input, theirs) in psbt.inputs.iter_mut().zip(&other.inputs) {
            input.tap_script_sigs.extend(theirs.tap_script_sigs.iter().map(|(place, signature)| (*place, *signature)));
        }
        Ok(())
    }

    fn check_same(&self, psbt: &Psbt) -> Result<(), RecoveryError> {
        let (found, expected) = (psbt.unsigned_tx.compute_txid(), self.transaction.compute_txid());
        if found == expected && psbt.inputs.len() == self.owners.len() {
            return Ok(());
        }
        Err(RecoveryError::OtherTransaction { found, expected })
    }

    /// The keys that have signed in a PSBT, all of whose signatures verify.
    ///
    /// # Errors
    /// [`RecoveryError`] names the first signature that counts for nothing.
    pub fn signers(&self, psbt: &Psbt) -> Result<Vec<XOnlyPublicKey>, RecoveryError> {
        let keys = self.leaf()?.keys();
        Ok(self.signatures(psbt)?.keys().filter_map(|index| keys.get(*index).copied()).collect())
    }

    fn signatures(&self, psbt: &Psbt) -> Result<Signatures, RecoveryError> {
        self.check_same(psbt)?;
        let leaf = self.leaf()?;
        let (keys, leaf_hash) = (leaf.keys(), leaf.leaf_hash());
        let secp = Secp256k1::verification_only();
        let mut by_key = Signatures::new();
        for (input, fields) in psbt.inputs.iter().enumerate() {
            let message = Message::from_digest(self.signature_hash(input)?.to_byte_array());
            for ((key, script), signature) in &fields.tap_script_sigs {
                let place = keys.iter().position(|known| known == key).filter(|_| *script == leaf_hash);
                let place = place.ok_or(RecoveryError::NoRecoveryKey { input, key: *key })?;
                let covers_all = signature.sighash_type == TapSighashType::Default;
                if !covers_all || secp.verify_schnorr(&signature.signature, &message, key).is_err() {
                    return Err(RecoveryError::Signature { input, key: *key });
                }
                by_key.entry(place).or_default().push(*signature);
            }
        }
        let inputs = self.owners.len();
        for (place, signatures) in &by_key {
            if let Some(key) = keys.get(*place).copied().filter(|_| signatures.len() != inputs) {
                return Err(RecoveryError::Incomplete { key, found: signatures.len(), inputs });
            }
        }
        Ok(by_key)
    }

    /// The signed transaction, by the first keys that suffice, checked as Bitcoin will check it.
    ///
    /// # Errors
    /// [`RecoveryError::TooFew`] before enough keys have signed.
    pub fn assemble(&self, psbt: &Psbt) -> Result<Transaction, RecoveryError> {
        let signatures = self.signatures(psbt)?;
        let leaf_of_all = self.leaf()?;
        let (needed, keys) = (leaf_of_all.threshold(), leaf_of_all.keys().len());
        if signatures.len() < needed {
            return Err(RecoveryError::TooFew { found: signatures.len(), needed });
        }
        let mut signed = self.transaction.clone();
        for ((index, input), owner) in signed.input.iter_mut().enumerate().zip(&self.owners) {
            // More signatures than the script counts would fail.
            let mut places: Vec<Option<Vec<u8>>> = vec![None; keys];
            for (place, of_key) in signatures.iter().take(needed) {
                if let (Some(place), Some(signature)) = (places.get_mut(*place), of_key.get(index)) {
                    *place = Some(signature.to_vec());
                }
            }
            input.witness = leaf(owner)?.witness(&places);
        }
        Verifier::default().verify(&signed, &self.spent)?;
        Ok(signed)
    }
}

fn leaf(custody: &Custody) -> Result<&Recovery, RecoveryError> {
    custody.recovery().ok_or(RecoveryError::NoLeaf)
}
