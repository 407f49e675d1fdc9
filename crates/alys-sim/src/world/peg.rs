//! The peg's outside: a Bitcoin chain, people who deposit and burn, payments that are broadcast, and what each node
//! suggests for its blocks.

use super::{Event, World};
use crate::{
    Fault,
    bitcoin::{Bitcoin, input},
    dice::Dice,
    machine::{Fact, Told},
};
use alys_chain::{
    Input, Message,
    peg::{CustodyEntry, PauseState, PegLedger, PegOffer, PegRules},
    testing::offered_custody,
};
use alys_primitives::{
    Address, AddressText, B256, BitcoinCheckpoint, BitcoinHeaderBytes, Burn, Burns, CustodyKeys, Epoch, OfferedCustody,
    PegInRecord, PegOutId, PegSpec, Root, Sats, Settlement, SignedBlock, U256, VariableList,
};
use bitcoin::{
    Amount, Network, OutPoint, ScriptBuf, Transaction, TxOut, Txid, WPubkeyHash,
    absolute::LockTime,
    consensus::{deserialize, serialize},
    hashes::Hash as _,
    key::{Keypair, Secp256k1},
    transaction,
};
use std::collections::{BTreeMap, BTreeSet};

/// Wei in a satoshi.
const SAT: u64 = 10_000_000_000;

/// The least that is credited, in satoshis.
pub(crate) const MIN_PEGIN: u64 = 10_000;

/// Headers after which a deposit or a payment counts: few, so that branches undo what was credited.
const CONFIRMATIONS: u64 = 2;

/// The most blocks that a branch replaces.
const DEEPEST: u64 = 6;

/// Blocks under which a deposit or a payment must have been recorded when everything has been well for that long: about a
/// minute.
const BURIED: usize = 12;

/// Bitcoin blocks after a change of custody in which people still pay to the old address; few enough of the grace period that
/// no branch makes their deposits late.
const STILL_PAYING: u64 = 60;

/// Milliseconds between two looks at a peg that is paused in the calm.
const RESUME_EVERY: u64 = 3_000;

/// What happens outside of the nodes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outside {
    /// Bitcoin has a block.
    Block,
    /// Somebody deposits or burns.
    People,
    /// A node looks at Bitcoin.
    Look { node: usize },
    /// In the calm, the federation lets a paused peg go on.
    Resume,
}

/// The outside.
#[derive(Debug)]
pub(super) struct PegWorld {
    rules: PegRules,
    bitcoin: Bitcoin,
    dice: Dice,
    counter: u64,
    /// For changes of custody and who pays to old addresses.
    custody_dice: Dice,
    /// Custodies that were named.
    custodies: u8,
    /// What each payment that was broadcast pays.
    payments: BTreeMap<Txid, Vec<PegOutId>>,
    /// These payments themselves.
    sent: BTreeMap<Txid, Transaction>,
    /// Transactions of which a confirmed one has spent something, ever.
    parents: BTreeSet<Txid>,
    /// Attempts that took the place of another one that was confirmed, and that no block has shown since.
    switched: BTreeSet<Txid>,
    /// Deposits that can't come back: their coins were spent otherwise while they were out.
    vanished: u64,
}

/// The peg's constants in simulations.
pub(super) fn spec() -> PegSpec {
    let genesis = bitcoin::constants::genesis_block(Network::Regtest).header;
    PegSpec {
        network_magic: Network::Regtest.magic().to_bytes().into(),
        checkpoint: BitcoinCheckpoint {
            header: BitcoinHeaderBytes::try_from(serialize(&genesis).as_slice()).unwrap_or_default(),
            height: 0,
            period_time: u64::from(genesis.time),
            period_bits: u64::from(genesis.bits.to_consensus()),
            earlier_times: VariableList::empty(),
        },
        header_window: 288,
        confirmations: CONFIRMATIONS,
        min_pegin: Sats(MIN_PEGIN),
        max_pegins: 4,
        max_batch_requests: 4,
        min_fee_rate: 2_000,
        initial_fee_rate: 2_000,
        max_fee_rate: 20_000,
        bump_interval: 2,
        old_address_grace: 280,
        custody_keys: custody_keys(1),
        custody_threshold: 2,
        recovery: VariableList::empty(),
    }
}

/// Four keys, the first of which has this secret in each byte.
fn custody_keys(first: u8) -> CustodyKeys {
    let secp = Secp256k1::new();
    let key = |seed: u8| {
        let pair = Keypair::from_seckey_slice(&secp, &[seed; 32]);
        pair.map(|pair| B256::from(pair.x_only_public_key().0.serialize())).unwrap_or_default()
    };
    CustodyKeys::new(custody_seeds(first).map(key).collect()).unwrap_or_default()
}

/// What each byte of the secrets of four keys is.
fn custody_seeds(first: u8) -> impl Iterator<Item = u8> {
    (0..4).map(move |index: u8| first.wrapping_add(index))
}

/// Whether a transaction pays to those who hold or held coins by these books.
fn pays_custody(ledger: &PegLedger, transaction: &Transaction) -> bool {
    transaction.output.iter().any(|output| ledger.custody_by_script(&output.script_pubkey).is_some())
}

/// Whether two payments are attempts at the same, which spend the same coins.
fn is_sibling(one: &Transaction, other: &Transaction) -> bool {
    let coins = |transaction: &Transaction| -> Vec<OutPoint> {
        transaction.input.iter().map(|input| input.previous_output).collect()
    };
    coins(one) == coins(other)
}

impl PegWorld {
    pub(super) fn new(spec: &PegSpec, seed: u64) -> Option<Self> {
        Some(Self {
            rules: PegRules::new(spec).ok()?,
            bitcoin: Bitcoin::new(),
            dice: Dice::new(seed ^ 0x5065_6721),
            counter: 0,
            custody_dice: Dice::new(seed ^ 0x4375_7374),
            custodies: 0,
            payments: BTreeMap::new(),
            sent: BTreeMap::new(),
            parents: BTreeSet::new(),
            switched: BTreeSet::new(),
            vanished: 0,
        })
    }

    pub(super) fn custody(&self) -> ScriptBuf {
        self.rules.custody().script_pubkey().clone()
    }

    /// Who holds the coins after a change of the federation that names somebody, which every second one does.
    pub(super) fn custodians(&mut self, genesis_root: &Root, epoch: Epoch) -> Option<OfferedCustody> {
        if self.custodies >= 50 || self.custody_dice.once_in(2) {
            return None;
        }
        self.custodies += 1;
        let secrets: Vec<[u8; 32]> = custody_seeds(1 + 4 * self.custodies).map(|seed| [seed; 32]).collect();
        Some(offered_custody(&secrets, 2, genesis_root, epoch))
    }

    /// Where somebody pays to who knows these books, or knew those of a while ago.
    fn target(&mut self, ledger: &PegLedger) -> ScriptBuf {
        let height = u64::try_from(self.bitcoin.height()).unwrap_or(u64::MAX);
        let known = |entry: &&CustodyEntry| entry.is_current || entry.retired_at.saturating_add(STILL_PAYING) > height;
        let known: Vec<&CustodyEntry> = ledger.custodies().iter().filter(known).collect();
        let old = known.len() > 1 && self.custody_dice.once_in(4);
        let picked = if old { self.custody_dice.index(known.len()) } else { known.len().saturating_sub(1) };
        known.get(picked).map_or_else(|| self.custody(), |entry| ScriptBuf::from_bytes(entry.script.clone()))
    }

    fn paid_twice(&self) -> Option<String> {
        let mut paid: BTreeMap<PegOutId, Txid> = BTreeMap::new();
        for (_, transaction) in self.bitcoin.confirmed() {
            let txid = transaction.compute_txid();
            for id in self.payments.get(&txid).into_iter().flatten() {
                if let Some(other) = paid.insert(*id, txid) {
                    return Some(format!("{id:?} is paid by {other} and by {txid}"));
                }
            }
        }
        None
    }

    fn deposit(&mut self, custody: &ScriptBuf) -> Transaction {
        self.counter += 1;
        let mut from = [0xd0; 32];
        from[..8].copy_from_slice(&self.counter.to_le_bytes());
        let small = self.dice.once_in(10);
        let sats = if small { self.dice.between(1_000, MIN_PEGIN - 1) } else { self.dice.between(20_000, 4_000_000) };
        let pay = |sats: u64| TxOut { value: Amount::from_sat(sats), script_pubkey: custody.clone() };
        let mut output = vec![pay(sats)];
        if self.dice.once_in(6) {
            output.push(pay(self.dice.between(1_000, 100_000)));
        }
        if !self.dice.once_in(10) {
            let recipient = [u8::try_from(self.dice.between(1, 200)).unwrap_or(1); 20];
            output.push(TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::new_op_return(recipient) });
        }
        Transaction {
            version: transaction::Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![input(OutPoint::new(Txid::from_byte_array(from), 0), ScriptBuf::new())],
            output,
        }
    }

    /// Where somebody wants their bitcoin; now and then that is nowhere.
    fn address(&mut self) -> String {
        let hash = WPubkeyHash::from_byte_array([u8::try_from(self.dice.below(250)).unwrap_or(0); 20]);
        let script = ScriptBuf::new_p2wpkh(&hash);
        let network = match self.dice.below(8) {
            0 => return "no address".to_owned(),
            1 => Network::Bitcoin,
            _ => Network::Regtest,
        };
        bitcoin::Address::from_script(&script, network).map(|address| address.to_string()).unwrap_or_default()
    }
}

impl World {
    pub(super) fn begin_peg(&mut self) {
        let Some(peg) = &mut self.peg else { return };
        let (block, people) = (peg.dice.between(500, 4_000), peg.dice.between(1_000, 6_000));
        self.at(self.now + block, Event::Outside(Outside::Block));
        if self.faults.has(Fault::PegTraffic) {
            self.at(self.now + people, Event::Outside(Outside::People));
        }
        for node in 0..self.nodes.len() {
            self.look_again_at_bitcoin(node);
        }
    }

    pub(super) fn outside(&mut self, what: Outside) {
        match what {
            Outside::Block => self.bitcoin_block(),
            Outside::People => self.people(),
            Outside::Look { node } => self.look_at_bitcoin(node),
            Outside::Resume => self.resume_peg(),
        }
    }

    fn bitcoin_block(&mut self) {
        let time = self.now / 1_000;
        let Some(peg) = &mut self.peg else { return };
        let next = peg.dice.between(2_000, 9_000);
        peg.bitcoin.mine(time, &mut peg.dice);
        self.at(self.now + next, Event::Outside(Outside::Block));
        self.broadcast_payments();
        self.paid_once();
    }

    /// Members sign what is final, and broadcast it.
    fn broadcast_payments(&mut self) {
        let up = self.up();
        let Some(peg) = &mut self.peg else { return };
        let Some(node) = up.get(peg.dice.index(up.len())) else { return };
        let Some(chain) = self.nodes[*node].chain() else { return };
        let finalized = chain.view().finalized;
        let Some(state) = chain.state(&finalized.root) else { return };
        let ledger = state.peg.ledger();
        for batch in ledger.batches() {
            for attempt in batch.attempts.iter().filter(|attempt| attempt.height <= finalized.height) {
                if let Ok(payment) = ledger.payment(&peg.rules, batch, attempt) {
                    let txid = payment.transaction.compute_txid();
                    self.truth.payments.insert(B256::from(txid.to_byte_array()), batch.requests.clone());
                    peg.payments.insert(txid, batch.requests.clone());
                    peg.sent.insert(txid, payment.transaction.clone());
                    peg.bitcoin.submit(payment.transaction);
                }
            }
        }
    }

    /// S4, as Bitcoin sees it.
    fn paid_once(&mut self) {
        if let Some(twice) = self.peg.as_ref().and_then(PegWorld::paid_twice) {
            self.violate("S4 burns are paid once", twice);
        }
    }

    pub(super) fn bitcoin_reorganisation(&mut self) -> bool {
        let time = self.now / 1_000;
        let Some(peg) = &mut self.peg else { return false };
        let depth = usize::try_from(peg.dice.between(1, DEEPEST)).unwrap_or(1);
        let spent = peg.bitcoin.confirmed().flat_map(|(_, transaction)| &transaction.input);
        peg.parents.extend(spent.map(|input| input.previous_output.txid));
        let (payments, sent, parents) = (&peg.payments, &peg.sent, &peg.parents);
        let (mut vanished, mut switched) = (0, Vec::new());
        // Now and then a depositor has spent the coin otherwise meanwhile, or a miner takes another attempt at a payment. (Not
        // of one whose change was spent by a payment that confirmed: the books are not undone so far.)
        let happened = peg.bitcoin.reorganise(depth, time, &mut peg.dice, |transaction, dice| {
            let txid = transaction.compute_txid();
            if payments.contains_key(&txid) {
                let siblings: Vec<&Transaction> =
                    sent.values().filter(|other| **other != transaction && is_sibling(other, &transaction)).collect();
                if siblings.is_empty() || parents.contains(&txid) || !dice.once_in(2) {
                    return Some(transaction);
                }
                let picked = siblings.get(dice.index(siblings.len())).map(|sibling| (*sibling).clone());
                switched.extend(picked.as_ref().map(Transaction::compute_txid));
                return picked;
            }
            let gone = dice.once_in(40);
            vanished += u64::from(gone);
            (!gone).then_some(transaction)
        });
        peg.switched.extend(switched);
        peg.vanished += vanished;
        if happened {
            self.path("bitcoin branches");
            self.paid_once();
        }
        happened
    }

    /// All members sign how the peg's directions shall be, and one node hears of it.
    pub(super) fn decide_pause(&mut self, pegin_paused: bool, pegout_paused: bool) -> bool {
        if self.peg.is_none() {
            return false;
        }
        let up = self.up();
        let Some(node) = self.pick(&up) else { return false };
        let Some(chain) = self.nodes[node].chain() else { return false };
        let (view, verifier) = (chain.view(), chain.verifier());
        let sequence = view.peg.ledger().pause().sequence + 1;
        let decision = PauseState { sequence, pegin_paused, pegout_paused };
        let root = verifier.pause_signing_root(view.epoch, &decision);
        let pause = self.forge.pause(root, view.epoch, &decision, &self.signers(&view));
        self.truth.decisions.insert((view.epoch.0, sequence, pegin_paused, pegout_paused));
        self.tell(node, Fact::Message { message: Message::Pause(pause), peer: None }) != Told::Refused
    }

    /// Lets a paused peg go on, again and again until it does: the decision may meet another one of the same number.
    pub(super) fn resume_peg(&mut self) {
        if self.peg.is_none() {
            return;
        }
        self.at(self.now + RESUME_EVERY, Event::Outside(Outside::Resume));
        let up = self.up();
        let paused = up.first().and_then(|node| self.nodes[*node].chain()).is_some_and(|chain| {
            let view = chain.view();
            let pause = view.peg.ledger().pause();
            pause.pegin_paused || pause.pegout_paused
        });
        if paused {
            self.decide_pause(false, false);
        }
    }

    fn people(&mut self) {
        let up = self.up();
        let Some(peg) = &mut self.peg else { return };
        let next = peg.dice.between(500, 5_000);
        let burns = peg.dice.once_in(3);
        self.at(self.now + next, Event::Outside(Outside::People));
        if self.calm {
            return;
        }
        self.fire(Fault::PegTraffic);
        let Some(peg) = &mut self.peg else { return };
        if !burns {
            let informed = up.first().and_then(|node| self.nodes[*node].chain());
            let target = match informed {
                Some(chain) => peg.target(chain.view().peg.ledger()),
                None => peg.custody(),
            };
            let deposit = peg.deposit(&target);
            peg.bitcoin.submit(deposit);
            return;
        }
        let Some(node) = up.get(peg.dice.index(up.len())).copied() else { return };
        let Some(chain) = self.nodes[node].chain() else { return };
        let totals = *chain.view().peg.ledger().totals();
        let supply = (totals.credited.0 + totals.refunded.0).saturating_sub(totals.burned.0);
        if supply < 4 * MIN_PEGIN {
            return;
        }
        let count = peg.dice.between(1, 3);
        let burns: Vec<Burn> = (0..count)
            .map(|log_index| {
                let most = (supply / 4).min(1_000_000);
                let sats = if peg.dice.once_in(8) { 200 } else { peg.dice.between(MIN_PEGIN / 2, most) };
                Burn {
                    log_index,
                    sender: Address::repeat_byte(u8::try_from(peg.dice.between(1, 200)).unwrap_or(1)),
                    bitcoin_address: AddressText::new(peg.address().into_bytes()).unwrap_or_default(),
                    amount: U256::from(sats) * U256::from(SAT),
                }
            })
            .collect();
        self.nodes[node].executor.next_burns = Burns::new(burns).unwrap_or_default();
    }

    /// What a new block does for the peg.
    pub(super) fn peg_paths(&mut self, block: &SignedBlock) {
        let minted = block.payload.withdrawals.iter().filter(|it| it.validator_index == 3).count();
        let body = &block.body;
        let is_sweep = |settlement: &&Settlement| {
            let transaction: Option<Transaction> = deserialize(&settlement.payment.transaction).ok();
            let txid = transaction.map(|transaction| B256::from(transaction.compute_txid().to_byte_array()));
            txid.and_then(|txid| self.truth.payments.get(&txid)).is_some_and(Vec::is_empty)
        };
        let swept = body.settlements.iter().filter(is_sweep).count();
        let replaced = self.peg.as_mut().map_or(0, |peg| {
            let shown = |record: &&PegInRecord| {
                let transaction: Option<Transaction> = deserialize(&record.transaction).ok();
                transaction.is_some_and(|transaction| peg.switched.remove(&transaction.compute_txid()))
            };
            body.pegins.iter().filter(shown).count()
        });
        let counts = [
            ("deposits minted", minted),
            // Others were recorded before, or name nobody.
            ("deposits shown again", body.pegins.len() - minted.min(body.pegins.len())),
            ("burns paid", body.settlements.len() - swept),
            ("coins swept", swept),
            ("burns given back", body.refunds.len()),
            ("payments bumped", body.fee_bumps.len()),
            ("pauses decided", body.pause.len()),
            ("payments replaced", replaced),
        ];
        for (path, count) in counts {
            for _ in 0..count {
                self.path(path);
            }
        }
    }

    /// Liveness: what was confirmed long enough before the end stands in the books, if nothing was lost for good.
    pub(super) fn pegs_complete(&mut self, node: usize) {
        let Some((peg, chain)) = self.peg.as_ref().zip(self.nodes[node].chain()) else { return };
        let view = chain.view();
        let ledger = view.peg.ledger();
        // Deposits that vanished stop the peg, as they must.
        if peg.vanished > 0 || ledger.imbalance() != 0 {
            return;
        }
        let buried = peg.bitcoin.height().saturating_sub(BURIED);
        let missing = peg.bitcoin.confirmed().find(|(height, transaction)| {
            let ours = pays_custody(ledger, transaction);
            let txid = B256::from(transaction.compute_txid().to_byte_array());
            *height <= buried && ours && ledger.find_recorded(&txid).is_none()
        });
        if let Some((height, transaction)) = missing {
            let what = format!("{} of Bitcoin's block {height} is not in the books", transaction.compute_txid());
            self.violate("pegs complete", what);
        }
    }

    /// Whether blocks are on the best branch.
    pub(super) fn bitcoin_has(&self, blocks: &[B256]) -> bool {
        self.peg.as_ref().is_some_and(|peg| blocks.iter().all(|block| peg.bitcoin.has(block)))
    }

    fn look_again_at_bitcoin(&mut self, node: usize) {
        let Some(peg) = &mut self.peg else { return };
        let next = peg.dice.between(500, 4_000);
        self.at(self.now + next, Event::Outside(Outside::Look { node }));
    }

    /// A node suggests what it sees, which is up to a block late.
    fn look_at_bitcoin(&mut self, node: usize) {
        self.look_again_at_bitcoin(node);
        if self.nodes[node].frozen_until > self.now {
            return;
        }
        let Some(peg) = &mut self.peg else { return };
        let Some(chain) = self.nodes[node].chain() else { return };
        let view = chain.view();
        let (headers, ledger) = (view.peg.headers(), view.peg.ledger());
        let late = usize::from(peg.dice.once_in(4));
        let top = peg.bitcoin.height().saturating_sub(late);
        // The newest block that the chain's own view and this Bitcoin share.
        let from = usize::try_from(headers.tip_height()).unwrap_or(0).min(top);
        let shared = (0..=from).rev().find(|height| {
            let known = u64::try_from(*height).ok().and_then(|height| headers.hash_at(height));
            known.is_some() && known == peg.bitcoin.hash_at(*height)
        });
        let Some(shared) = shared else { return };
        let mut pegins = Vec::new();
        let replacements: BTreeSet<B256> = ledger.replacements().collect();
        for (height, transaction) in peg.bitcoin.confirmed() {
            let txid = transaction.compute_txid();
            let internal = B256::from(txid.to_byte_array());
            let open = ledger.find_recorded(&internal).is_none_or(|recorded| recorded.is_lost);
            let ours = pays_custody(ledger, transaction);
            let settled_before = ledger.find_recorded(&internal).is_some();
            let deposit = ours && (!peg.payments.contains_key(&txid) || settled_before);
            if height <= top && open && (deposit || replacements.contains(&internal)) {
                pegins.extend(peg.bitcoin.record(&txid));
            }
        }
        let payment = |attempt: &alys_chain::peg::Attempt| {
            let txid = Txid::from_byte_array(attempt.txid.0);
            peg.bitcoin.height_of(&txid).filter(|height| *height <= top).and_then(|_| peg.bitcoin.record(&txid))
        };
        let mut settlements = Vec::new();
        let mut unconfirmed = Vec::new();
        for batch in ledger.batches() {
            match batch.attempts.iter().find_map(payment) {
                Some(payment) => settlements.push(Settlement { batch: batch.number, payment }),
                None => unconfirmed.push(batch.number),
            }
        }
        let offer = PegOffer {
            headers: peg.bitcoin.headers_from(shared + 1, (top - shared).min(144)),
            pegins,
            settlements,
            fee_rate: (!peg.dice.once_in(3)).then(|| peg.dice.between(1_000, 9_000)),
            unconfirmed,
        };
        self.feed(node, Input::Peg(Box::new(offer)));
    }
}
