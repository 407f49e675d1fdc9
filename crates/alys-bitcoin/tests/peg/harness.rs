//! A federation's chain beside a Bitcoin chain.

#![allow(unreachable_pub, reason = "shared by the modules of one test binary")]

use crate::support::{NOW, keypair, p2wpkh, pay, sign_p2wpkh};
use alys_bitcoin::{CustodyKey, FoundTransaction, Regtest, RegtestLimits, SigningSession};
use alys_chain::peg::{Batch, Custody, Payment, PegLedger, PegOffer, PegRules};
use alys_chain::testing::{Cluster, Fixture};
use alys_chain::{BlockError, ImportOutcome, Input, Message};
use alys_primitives::{
    Address, AddressText, B256, BitcoinCheckpoint, BitcoinHeaderBytes, Burn, Burns, CustodyKeys, Height, PegInRecord,
    PegSpec, Sats, Settlement, SignedBlock, U256, UnixMillis, VariableList,
};
use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash as _;
use bitcoin::{Address as BitcoinAddress, BlockHash, Network, OutPoint, ScriptBuf, Transaction, Txid};
use std::sync::Arc;

/// Wei in a satoshi.
pub const SAT: u64 = 10_000_000_000;

/// What each mature coin of the depositor holds.
pub const COIN: u64 = 5_000_000_000;

/// Seed of the depositor's key.
const DEPOSITOR: u8 = 50;

pub fn custody_keys(count: u8) -> Vec<CustodyKey> {
    (0..count).map(|index| CustodyKey::from_bytes(&[index + 1; 32]).unwrap()).collect()
}

pub fn spec(keys: &[CustodyKey], threshold: u64) -> PegSpec {
    let genesis = bitcoin::constants::genesis_block(Network::Regtest).header;
    PegSpec {
        network_magic: Network::Regtest.magic().to_bytes().into(),
        checkpoint: BitcoinCheckpoint {
            header: BitcoinHeaderBytes::try_from(serialize(&genesis).as_slice()).unwrap(),
            height: 0,
            period_time: u64::from(genesis.time),
            period_bits: u64::from(genesis.bits.to_consensus()),
            earlier_times: VariableList::empty(),
        },
        header_window: 288,
        confirmations: 6,
        min_pegin: Sats(10_000),
        max_pegins: 4,
        max_batch_requests: 8,
        min_fee_rate: 2_000,
        initial_fee_rate: 2_000,
        max_fee_rate: 50_000,
        bump_interval: 12,
        old_address_grace: 20,
        custody_keys: CustodyKeys::new(keys.iter().map(|key| key.public_key().serialize().into()).collect()).unwrap(),
        custody_threshold: threshold,
        recovery: VariableList::empty(),
    }
}

/// One member's Alys chain, an observer that imports every block, a Bitcoin chain, and who uses them.
#[derive(Clone)]
pub struct World {
    pub cluster: Cluster,
    pub regtest: Regtest,
    pub rules: PegRules,
    pub keys: Vec<CustodyKey>,
    /// Mature coins of the depositor.
    purse: Vec<OutPoint>,
    /// What the node suggests besides headers.
    pub pegins: Vec<Txid>,
    pub fee_rate: Option<u64>,
    pub unconfirmed: Vec<u64>,
    burns: u64,
}

impl World {
    pub fn new() -> Self {
        Self::with(custody_keys(3), 2, |_| {})
    }

    pub fn with(keys: Vec<CustodyKey>, threshold: u64, change: impl FnOnce(&mut PegSpec)) -> Self {
        let mut fixture = Fixture::new(1);
        let mut spec = spec(&keys, threshold);
        change(&mut spec);
        fixture.spec.peg = VariableList::new(vec![spec.clone()]).unwrap();
        fixture.spec.genesis_time = u64::from(NOW);
        fixture.spec.max_blocks_without_pow = 10_000;
        fixture.spec.max_bundle_blocks = 10_000;
        let mut regtest = Regtest::new(RegtestLimits::default());
        let script = p2wpkh(DEPOSITOR);
        let mut purse = Vec::new();
        for _ in 0..24 {
            let block = regtest.generate(&script, NOW).unwrap();
            purse.push(OutPoint { txid: block.txdata[0].compute_txid(), vout: 0 });
        }
        regtest.generate_to(&p2wpkh(99), 100, NOW).unwrap();
        let rules = PegRules::new(&spec).unwrap();
        let mut world = Self {
            cluster: Cluster::new(fixture),
            regtest,
            rules,
            keys,
            purse,
            pegins: Vec::new(),
            fee_rate: None,
            unconfirmed: Vec::new(),
            burns: 0,
        };
        world.slots(2);
        world
    }

    pub fn custody(&self) -> &Custody {
        self.rules.custody()
    }

    pub fn federation(&self) -> ScriptBuf {
        self.custody().script_pubkey().clone()
    }

    pub fn ledger(&self) -> PegLedger {
        self.cluster.nodes[0].chain.view().peg.ledger().clone()
    }

    pub fn head(&self) -> Height {
        self.cluster.nodes[0].chain.view().head.height
    }

    /// Mines Bitcoin blocks with what waits in the pool.
    pub fn bitcoin(&mut self, blocks: u32) {
        self.regtest.generate_to(&p2wpkh(99), blocks, NOW).unwrap();
    }

    /// Sends a transaction with these outputs from one of the depositor's coins; the rest is the fee.
    pub fn send(&mut self, outputs: &[(u64, ScriptBuf)]) -> Transaction {
        let coin = self.purse.pop().unwrap();
        let mut transaction = pay(&[coin], outputs);
        sign_p2wpkh(&mut transaction, 0, COIN, DEPOSITOR);
        self.regtest.broadcast(transaction.clone()).unwrap();
        transaction
    }

    /// A deposit with 20 raw bytes, in a block of its own.
    pub fn deposit(&mut self, sats: u64, recipient: Address) -> Txid {
        let outputs = [(sats, self.federation()), (0, op_return(recipient.as_slice()))];
        let txid = self.send(&outputs).compute_txid();
        self.pegins.push(txid);
        self.bitcoin(1);
        txid
    }

    pub fn record(&self, txid: Txid) -> PegInRecord {
        record(&self.regtest.find_transaction(&txid).expect("confirmed"))
    }

    /// What a node with this Bitcoin would suggest now.
    pub fn offer(&self) -> PegOffer {
        let view = self.cluster.nodes[0].chain.view();
        let locator: Vec<BlockHash> =
            view.peg.headers().locator().into_iter().map(|hash| BlockHash::from_byte_array(hash.0)).collect();
        let headers = self.regtest.headers_after(&locator, 144).unwrap();
        let headers =
            headers.iter().map(|placed| BitcoinHeaderBytes::try_from(serialize(&placed.header).as_slice()).unwrap());
        let found = |txid: &Txid| self.regtest.find_transaction(txid);
        let settlements = view.peg.ledger().batches().iter().filter_map(|batch| {
            let payment = batch.attempts.iter().find_map(|attempt| found(&Txid::from_byte_array(attempt.txid.0)))?;
            Some(Settlement { batch: batch.number, payment: record(&payment) })
        });
        PegOffer {
            headers: headers.collect(),
            pegins: self.pegins.iter().filter_map(|txid| Some(record(&found(txid)?))).collect(),
            settlements: settlements.collect(),
            fee_rate: self.fee_rate,
            unconfirmed: self.unconfirmed.clone(),
        }
    }

    /// Lets slots pass; before each the node's Bitcoin is looked at. After each the books must balance.
    pub fn slots(&mut self, count: u64) {
        for _ in 0..count {
            let offer = self.offer();
            let now = self.cluster.now;
            self.cluster.nodes[0].handle(now, Input::Peg(Box::new(offer))).unwrap();
            self.cluster.run_slots(1);
            self.check_conservation();
        }
    }

    /// As [`World::slots`], while the books may not balance.
    pub fn slots_unbalanced(&mut self, count: u64) {
        for _ in 0..count {
            let offer = self.offer();
            let now = self.cluster.now;
            self.cluster.nodes[0].handle(now, Input::Peg(Box::new(offer))).unwrap();
            self.cluster.run_slots(1);
        }
    }

    /// Mines a bundle and lets slots pass until everything up to now is final.
    pub fn finalize(&mut self) {
        self.slots(3);
        let target = self.cluster.nodes[0].chain.view().safe.height;
        assert!(self.cluster.mine(0), "nothing to mine");
        for _ in 0..12 {
            if self.cluster.nodes[0].chain.view().finalized.height >= target {
                return;
            }
            self.slots(1);
        }
        panic!("{target} did not become final");
    }

    /// Burns in the next block.
    pub fn burn(&mut self, burns: &[(u64, &str)]) {
        let height = self.head().0 + 1;
        let burns: Vec<Burn> = burns
            .iter()
            .map(|(sats, address)| {
                self.burns += 1;
                Burn {
                    log_index: self.burns,
                    sender: Address::repeat_byte(0xb0),
                    bitcoin_address: AddressText::new(address.as_bytes().to_vec()).unwrap(),
                    amount: U256::from(*sats) * U256::from(SAT),
                }
            })
            .collect();
        for node in &mut self.cluster.nodes {
            node.executor.burns.insert(height, Burns::new(burns.clone()).unwrap());
        }
        self.slots(1);
        assert_eq!(self.head(), Height(height), "the block came");
    }

    /// The payment of a batch's newest attempt, as every node derives it.
    pub fn payment(&self, batch: &Batch) -> Payment {
        let attempt = batch.attempts.last().unwrap();
        let payment = self.ledger().payment(&self.rules, batch, attempt).unwrap();
        assert_eq!(payment.txid(), attempt.txid);
        payment
    }

    /// Signs the newest attempt with the first keys that suffice.
    pub fn sign(&self, batch: &Batch) -> Transaction {
        let payment = self.payment(batch);
        let mut session = SigningSession::new(self.custody().clone(), payment.clone()).unwrap();
        for key in self.keys.iter().take(self.custody().threshold()) {
            session.add(&key.sign(self.custody(), &payment).unwrap()).unwrap();
        }
        session.assemble().unwrap()
    }

    /// Conservation (protocol section 7), recomputed from what Bitcoin and the payloads hold.
    fn check_conservation(&self) {
        let view = self.cluster.nodes[0].chain.view();
        let ledger = view.peg.ledger();
        assert_eq!(ledger.imbalance(), 0, "at {}", view.head.height);
        let genesis = self.cluster.fixture.spec.evm.genesis_allocation;
        let wei = |sats: Sats| U256::from(sats.0) * U256::from(SAT);
        let supply = view.ledger.minted - view.ledger.burned;
        let assets = wei(ledger.locked()) + wei(ledger.totals().absorbed) + genesis;
        assert_eq!(assets, supply + wei(ledger.unpaid()) + wei(ledger.unclaimed()), "at {}", view.head.height);
    }

    /// Mints of a kind in the head's chain, in the order of the payloads.
    pub fn mints(&self, kind: u64) -> Vec<(Address, u64)> {
        let store = &self.cluster.nodes[0].store;
        (1..=self.head().0)
            .filter_map(|height| store.block(&store.canonical(Height(height))?))
            .flat_map(|(block, _)| block.payload.withdrawals.to_vec())
            .filter(|withdrawal| withdrawal.validator_index == kind)
            .map(|withdrawal| (withdrawal.address, withdrawal.amount.0))
            .collect()
    }

    /// The newest block, with changed records, offered to a node that does not have it: what does it say? The payload's
    /// withdrawals stay as they are.
    pub fn judge(&mut self, change: impl FnOnce(&mut SignedBlock)) -> Result<(), BlockError> {
        let store = &self.cluster.nodes[0].store;
        let root = store.canonical(self.head()).unwrap();
        let (block, _) = store.block(&root).unwrap();
        let block = self.cluster.fixture.forge(&block, change);
        let verified = match self.cluster.nodes[0].chain.verifier().block(block) {
            Ok(verified) => verified,
            Err(alys_chain::VerifyError::Block(error)) => return Err(error),
            Err(other) => panic!("{other}"),
        };
        // A fresh node that has imported everything below.
        let mut node = alys_chain::testing::Node::new(&self.cluster.fixture, None);
        node.executor.burns.clone_from(&self.cluster.nodes[0].executor.burns);
        let now = self.now();
        for height in 1..self.head().0 {
            let (ancestor, _) = store.block(&store.canonical(Height(height)).unwrap()).unwrap();
            assert!(node.receive(now, Message::Block(Arc::clone(&ancestor))));
        }
        let root = verified.root();
        node.handle(now, Input::Block(verified)).unwrap();
        match node.outcome(&root) {
            Some(ImportOutcome::Imported { .. }) => Ok(()),
            Some(ImportOutcome::Rejected(error)) => Err(error.clone()),
            other => panic!("{other:?}"),
        }
    }

    pub fn now(&self) -> UnixMillis {
        self.cluster.now
    }
}

/// An address of a script on regtest, as text.
pub fn text(script: &ScriptBuf) -> String {
    BitcoinAddress::from_script(script, Network::Regtest).unwrap().to_string()
}

pub fn payee(seed: u8) -> ScriptBuf {
    ScriptBuf::new_p2tr(&crate::support::secp(), keypair(seed).x_only_public_key().0, None)
}

pub fn op_return(bytes: &[u8]) -> ScriptBuf {
    ScriptBuf::new_op_return(bitcoin::script::PushBytesBuf::try_from(bytes.to_vec()).unwrap())
}

pub fn record(found: &FoundTransaction) -> PegInRecord {
    let stripped = |transaction: &Transaction| {
        let mut bare = transaction.clone();
        bare.input.iter_mut().for_each(|input| input.witness.clear());
        VariableList::new(serialize(&bare)).unwrap()
    };
    let hashes = |branch: &[bitcoin::hashes::sha256d::Hash]| {
        VariableList::new(branch.iter().map(|hash| B256::from(hash.to_byte_array())).collect()).unwrap()
    };
    PegInRecord {
        bitcoin_block: B256::from(found.block.hash.to_byte_array()),
        transaction: stripped(&found.transaction),
        index: u64::from(found.position),
        branch: hashes(&found.branch),
        coinbase: stripped(&found.coinbase),
        coinbase_branch: hashes(&found.coinbase_branch),
    }
}
