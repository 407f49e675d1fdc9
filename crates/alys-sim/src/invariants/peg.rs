//! S3, S4 and S5 with a peg: an outpoint is minted once, a burn is paid or given back once, and what the federation holds
//! is what it owes. Recomputed at every block from its records, its burns and its payload; nothing is taken from the
//! core's ledger but what is compared with it.

use super::{Check, Invariant, Truth};
use alys_chain::{Chain, ChainState, ChainWrite, peg::Custody};
use alys_primitives::{
    Address, B256, BlockHeader, Burns, CustodyOffer, FederationChange, PegInRecord, PegOutId, Root, SignedBlock, U256,
    WithdrawalKind,
};
use bitcoin::{
    ScriptBuf, Transaction, XOnlyPublicKey,
    consensus::deserialize,
    hashes::{Hash as _, sha256},
    secp256k1::{Message, Secp256k1, schnorr},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Wei in a satoshi, and gwei in one.
const SAT: u64 = 10_000_000_000;
const GWEI_PER_SAT: u64 = 10;

/// The books after a block, in satoshis.
#[derive(Clone, Debug, Default)]
struct Books {
    deposited: u64,
    credited: u64,
    burned: u64,
    refunded: u64,
    absorbed: u64,
    /// Deposits that were taken, credited or not.
    taken: BTreeSet<B256>,
    /// The federation's coins, those of lost transactions among them.
    coins: BTreeMap<(B256, u32), Coin>,
    /// Output scripts of all who held coins, oldest first; the last ones hold them now.
    custodies: Vec<ScriptBuf>,
    /// Who takes over with the next epoch, and the height of the block that says so.
    next: Option<(u64, ScriptBuf)>,
    epoch: u64,
    /// Where recorded transactions stood last: the Bitcoin block and its height.
    places: BTreeMap<B256, (B256, u64)>,
    /// Burns that are neither paid nor given back.
    open: BTreeMap<PegOutId, (Address, u64)>,
    closed: BTreeSet<PegOutId>,
    /// What open payments pay.
    batches: BTreeSet<Vec<PegOutId>>,
    /// What settled payments did, by transaction.
    paid: BTreeMap<B256, Paid>,
}

/// What a settled payment did, so that it can be undone.
#[derive(Clone, Debug)]
struct Paid {
    spent: BTreeMap<(B256, u32), Coin>,
    closed: Vec<(PegOutId, (Address, u64))>,
    absorbed: u64,
}

/// A coin: whose by position among the custodies, and what it holds.
#[derive(Clone, Copy, Debug)]
struct Coin {
    custody: usize,
    sats: u64,
}

impl Books {
    fn custody_of(&self, script: &ScriptBuf) -> Option<usize> {
        self.custodies.iter().position(|known| known == script)
    }
}

/// Whether an offered custody key signed for this chain, this epoch and its holder (BIP-340, with a tagged hash).
fn is_held(change: &FederationChange, offer: &CustodyOffer) -> bool {
    let tag = sha256::Hash::hash(b"alys/custody-possession").to_byte_array();
    let epoch = change.epoch.0.to_le_bytes();
    let parts = [&tag[..], &tag, change.genesis_root.as_slice(), &epoch, offer.holder.as_slice(), offer.key.as_slice()];
    let message = Message::from_digest(sha256::Hash::hash(&parts.concat()).to_byte_array());
    let key = XOnlyPublicKey::from_slice(offer.key.as_slice());
    let proof = schnorr::Signature::from_slice(offer.proof.as_slice());
    key.is_ok_and(|key| proof.is_ok_and(|proof| Secp256k1::new().verify_schnorr(&proof, &message, &key).is_ok()))
}

/// Mints that a block's records call for: kind, address, satoshis.
type Mints = Vec<(u64, Address, u64)>;

#[derive(Debug)]
pub(crate) struct Peg {
    genesis: Arc<Books>,
    min_pegin: u64,
    epoch_delay: u64,
    books: BTreeMap<Root, Arc<Books>>,
}

impl Peg {
    /// Books for a federation whose deposits pay to this script at first, and whose changes take that many blocks.
    pub(crate) fn new(custody: ScriptBuf, min_pegin: u64, epoch_delay: u64) -> Self {
        let genesis = Arc::new(Books { custodies: vec![custody], ..Books::default() });
        Self { genesis, min_pegin, epoch_delay, books: BTreeMap::new() }
    }

    /// A change of custody takes effect with its epoch, or has lapsed.
    fn turn(&self, books: &mut Books, header: &BlockHeader) {
        if header.epoch.0 > books.epoch {
            books.epoch = header.epoch.0;
            books.custodies.extend(books.next.take().map(|(_, script)| script));
        } else if books.next.as_ref().is_some_and(|(height, _)| header.height.0 >= height + self.epoch_delay) {
            books.next = None;
        }
    }

    /// The books after a block's records and burns.
    fn next(
        &self,
        truth: &Truth,
        before: &Books,
        root: Root,
        block: &SignedBlock,
        burns: &Burns,
    ) -> Result<(Books, Mints), String> {
        let mut books = before.clone();
        self.turn(&mut books, &block.header);
        let mut refunds = Mints::new();
        let mut pegins = Mints::new();
        for settlement in &block.body.settlements {
            settle(truth, &mut books, settlement.batch, &settlement.payment)?;
        }
        for record in &block.body.pegins {
            self.deposit(truth, &mut books, record, &mut pegins)?;
        }
        for refund in &block.body.refunds {
            let id = refund.request;
            let (sender, sats) = close(&mut books, id)?;
            books.refunded += sats;
            refunds.push((WithdrawalKind::Refund.validator_index(), sender, sats));
        }
        for batch in &block.body.pegout_batches {
            for id in &batch.requests {
                if !books.open.contains_key(id) {
                    return Err(format!("{id:?} is to be paid and is no open burn"));
                }
                if let Some(other) = books.batches.iter().find(|ids| ids.contains(id)) {
                    return Err(format!("{id:?} is to be paid again; the payment of {other:?} has it"));
                }
            }
            books.batches.insert(batch.requests.to_vec());
        }
        if let Some((change, offered)) =
            block.body.federation_change.first().and_then(|change| Some((change, change.custody.first()?)))
        {
            if let Some(offer) = offered.offers.iter().find(|offer| !is_held(change, offer)) {
                return Err(format!("nothing proves that anybody holds the custody key {}", offer.key));
            }
            let custody = Custody::of(&offered.custodians(), None).map_err(|error| error.to_string())?;
            books.next = Some((block.header.height.0, custody.script_pubkey().clone()));
        }
        for burn in burns {
            let sats = u64::try_from(burn.amount / U256::from(SAT)).map_err(|error| error.to_string())?;
            books.burned += sats;
            books.open.insert(PegOutId { block_root: root, log_index: burn.log_index }, (burn.sender, sats));
        }
        refunds.append(&mut pegins);
        Ok((books, refunds))
    }

    fn deposit(&self, truth: &Truth, books: &mut Books, record: &PegInRecord, mints: &mut Mints) -> Check {
        let (transaction, txid) = parse(record)?;
        if truth.payments.contains_key(&txid) && !books.places.contains_key(&txid) {
            // Another attempt at a payment that has settled: what that did is undone, and this one settles it.
            undo(truth, books, &transaction)?;
            return settle(truth, books, 0, record);
        }
        let again = books.places.insert(txid, (record.bitcoin_block, 0)).is_some();
        if again || !books.taken.insert(txid) {
            return Ok(());
        }
        let mut sats = 0;
        let mut recipients = Vec::new();
        for (vout, output) in (0u32..).zip(&transaction.output) {
            if let Some(custody) = books.custody_of(&output.script_pubkey) {
                sats += output.value.to_sat();
                books.coins.insert((txid, vout), Coin { custody, sats: output.value.to_sat() });
            } else if let Some(raw) = output.script_pubkey.as_bytes().strip_prefix(&[0x6a, 20]) {
                recipients.push(Address::from_slice(raw));
            }
        }
        books.deposited += sats;
        if let ([recipient], true) = (recipients.as_slice(), sats >= self.min_pegin) {
            books.credited += sats;
            mints.push((WithdrawalKind::PegIn.validator_index(), *recipient, sats));
        }
        Ok(())
    }

    /// Compares with what the core keeps.
    fn compare(books: &mut Arc<Books>, state: &ChainState) -> Check {
        let (headers, ledger) = (state.peg.headers(), state.peg.ledger());
        let genesis = state.ledger.deposited.saturating_sub(U256::from(books.deposited) * U256::from(SAT));
        let wei = |sats: u64| U256::from(sats) * U256::from(SAT);
        let minted = genesis.saturating_add(wei(books.credited + books.refunded));
        if state.ledger.minted != minted || state.ledger.burned != wei(books.burned) {
            return Err(format!("minted {} and burned {} by the core", state.ledger.minted, state.ledger.burned));
        }
        let totals = ledger.totals();
        let ours = (books.deposited, books.credited, books.burned, books.refunded, books.absorbed);
        let theirs = (totals.deposited.0, totals.credited.0, totals.burned.0, totals.refunded.0, totals.absorbed.0);
        if ours != theirs {
            return Err(format!("totals are {theirs:?}, by the blocks they are {ours:?}"));
        }
        if books.places.values().any(|(_, height)| *height == 0) {
            for (block, height) in Arc::make_mut(books).places.values_mut().filter(|(_, height)| *height == 0) {
                *height = headers.height_of(block).unwrap_or(0);
            }
        }
        let lost = |txid: &B256| {
            let place = books.places.get(txid);
            place.is_some_and(|(block, height)| {
                *height >= headers.root_height() && headers.hash_at(*height) != Some(*block)
            })
        };
        let sum = |wanted: &dyn Fn(&B256, usize) -> bool| -> u64 {
            let counted = books.coins.iter().filter(|((txid, _), coin)| wanted(txid, coin.custody));
            counted.map(|(_, coin)| coin.sats).sum()
        };
        let (all, gone) = (sum(&|_, _| true), sum(&|txid, _| lost(txid)));
        let current = u64::try_from(books.custodies.len().saturating_sub(1)).unwrap_or(u64::MAX);
        if ledger.current_custody() != current {
            return Err(format!("custody {} by the core, {current} by the blocks", ledger.current_custody()));
        }
        for (number, custody) in (0u64..).zip(0..books.custodies.len()) {
            let held = sum(&|txid, holder| holder == custody && !lost(txid));
            if ledger.held_by(number).0 != held {
                return Err(format!("custody {number} holds {held}, {} by the core", ledger.held_by(number).0));
            }
        }
        if ledger.locked().0 != all - gone {
            return Err(format!("{} are locked by the core, {} by Bitcoin's headers", ledger.locked().0, all - gone));
        }
        let unpaid: u64 = books.open.values().map(|(_, sats)| sats).sum();
        if ledger.unpaid().0 != unpaid {
            return Err(format!("{} are unpaid by the core, {unpaid} by the blocks", ledger.unpaid().0));
        }
        let wide = i128::from;
        let supply = wide(books.credited) + wide(books.refunded) - wide(books.burned);
        let owed = supply + wide(unpaid) + wide(books.deposited - books.credited);
        if wide(all) + wide(books.absorbed) != owed {
            return Err(format!("{all} in coins and {} absorbed stand against {owed} owed", books.absorbed));
        }
        if ledger.imbalance() != -wide(gone) {
            return Err(format!("the core lacks {}, Bitcoin took {gone}", ledger.imbalance()));
        }
        Ok(())
    }
}

/// Takes a payment that Bitcoin confirmed, or a sweep.
fn settle(truth: &Truth, books: &mut Books, number: u64, payment: &PegInRecord) -> Check {
    let (transaction, txid) = parse(payment)?;
    let ids = truth.payments.get(&txid).ok_or_else(|| format!("payment {number} is settled and nobody sent it"))?;
    let mut spent = 0;
    let mut owners = BTreeSet::new();
    let mut paid = Paid { spent: BTreeMap::new(), closed: Vec::new(), absorbed: 0 };
    for place in inputs(&transaction) {
        let coin = books.coins.remove(&place).ok_or_else(|| format!("payment {number} spends {place:?}, no coin"))?;
        spent += coin.sats;
        owners.insert(coin.custody);
        paid.spent.insert(place, coin);
    }
    let owner = match owners.iter().copied().collect::<Vec<_>>()[..] {
        [owner] => owner,
        ref several => return Err(format!("payment {number} spends coins of custodies {several:?}")),
    };
    if !ids.is_empty() && !books.batches.remove(ids) {
        return Err(format!("payment {number} pays {ids:?}, which is no open payment"));
    }
    let mut asked = 0;
    for id in ids {
        let burn = close(books, *id)?;
        asked += burn.1;
        paid.closed.push((*id, burn));
    }
    let values: Vec<u64> = transaction.output.iter().map(|output| output.value.to_sat()).collect();
    let received: u64 = values.iter().take(ids.len()).sum();
    let sent: u64 = values.iter().sum();
    let fee = spent.checked_sub(sent).ok_or_else(|| format!("payment {number} pays more than it spends"))?;
    let borne = asked.checked_sub(received).ok_or_else(|| format!("payment {number} pays more than was burned"))?;
    paid.absorbed = fee.checked_sub(borne).ok_or_else(|| format!("payment {number} keeps {borne}, pays {fee}"))?;
    books.absorbed += paid.absorbed;
    if ids.is_empty() && (values.len() != 1 || fee * 2 > spent) {
        return Err(format!("sweep {number} of {spent} has outputs {values:?}"));
    }
    for (vout, output) in (0u32..).zip(&transaction.output).skip(ids.len()) {
        let custody = books.custody_of(&output.script_pubkey);
        // Change comes back to those who paid; a sweep goes to later ones.
        let custody = custody.filter(|to| if ids.is_empty() { *to > owner } else { *to == owner });
        let custody = custody.ok_or_else(|| format!("output {vout} of payment {number} pays a stranger"))?;
        books.coins.insert((txid, vout), Coin { custody, sats: output.value.to_sat() });
    }
    books.places.insert(txid, (payment.bitcoin_block, 0));
    books.paid.insert(txid, paid);
    Ok(())
}

/// The coins that a transaction spends.
fn inputs(transaction: &Transaction) -> impl Iterator<Item = (B256, u32)> + '_ {
    let points = transaction.input.iter().map(|input| input.previous_output);
    points.map(|point| (B256::from(point.txid.to_byte_array()), point.vout))
}

/// Undoes the settled payment that spends the same coins as this attempt.
fn undo(truth: &Truth, books: &mut Books, attempt: &Transaction) -> Check {
    let coins: BTreeSet<(B256, u32)> = inputs(attempt).collect();
    let same = books.paid.iter().find(|(_, paid)| paid.spent.keys().copied().collect::<BTreeSet<_>>() == coins);
    let before = same.map(|(txid, _)| *txid).ok_or("an attempt is shown and no payment has settled from its coins")?;
    let paid = books.paid.remove(&before).ok_or("a settled payment is gone")?;
    let ids = truth.payments.get(&before).ok_or("a payment has settled and nobody sent it")?;
    books.coins.retain(|(txid, _), _| *txid != before);
    books.coins.extend(paid.spent);
    for (id, burn) in paid.closed {
        books.closed.remove(&id);
        books.open.insert(id, burn);
    }
    if !ids.is_empty() {
        books.batches.insert(ids.clone());
    }
    books.absorbed -= paid.absorbed;
    books.places.remove(&before);
    Ok(())
}

/// Whether a block leaves the books as they are.
fn is_quiet(before: &Books, block: &SignedBlock, burns: &Burns) -> bool {
    let body = &block.body;
    burns.is_empty()
        && before.next.is_none()
        && before.epoch == block.header.epoch.0
        && body.federation_change.is_empty()
        && body.settlements.is_empty()
        && body.pegins.is_empty()
        && body.refunds.is_empty()
        && body.pegout_batches.is_empty()
}

fn close(books: &mut Books, id: PegOutId) -> Result<(Address, u64), String> {
    let burn = books.open.remove(&id);
    if !books.closed.insert(id) {
        return Err(format!("{id:?} is paid or given back a second time"));
    }
    burn.ok_or_else(|| format!("{id:?} was never burned"))
}

fn parse(record: &PegInRecord) -> Result<(Transaction, B256), String> {
    let transaction: Transaction = deserialize(&record.transaction).map_err(|error| error.to_string())?;
    let txid = B256::from(transaction.compute_txid().to_byte_array());
    Ok((transaction, txid))
}

impl Invariant for Peg {
    fn name(&self) -> &'static str {
        "S3 S4 S5 the peg's books"
    }

    fn written(&mut self, truth: &Truth, node: usize, chain: &Chain, write: &ChainWrite) -> Check {
        let ChainWrite::Block { root, block, burns, .. } = write else { return Ok(()) };
        if let Some(known) = self.books.get_mut(root) {
            // Another node had the block before.
            let state = chain.state(root);
            return state.map_or(Ok(()), |state| {
                Self::compare(known, state).map_err(|what| format!("node {node}: {root}: {what}"))
            });
        }
        let before = self.books.get(&block.header.parent_root).unwrap_or(&self.genesis).clone();
        let (mut books, mints) = match is_quiet(&before, block, burns) {
            true => (before, Mints::new()),
            false => {
                let (books, mints) = self.next(truth, &before, *root, block, burns)?;
                (Arc::new(books), mints)
            }
        };
        let found: Mints = block
            .payload
            .withdrawals
            .iter()
            .filter(|withdrawal| withdrawal.validator_index >= WithdrawalKind::Refund.validator_index())
            .map(|withdrawal| (withdrawal.validator_index, withdrawal.address, withdrawal.amount.0 / GWEI_PER_SAT))
            .collect();
        if found != mints {
            return Err(format!("{root} mints {found:?}, its records call for {mints:?}"));
        }
        // Finality may have passed the block at once.
        if let Some(state) = chain.state(root) {
            Self::compare(&mut books, state).map_err(|what| format!("node {node}: {root}: {what}"))?;
        }
        self.books.insert(*root, books);
        Ok(())
    }
}
