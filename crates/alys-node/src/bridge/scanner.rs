//! Finding deposits in Bitcoin blocks.

use alys_bitcoin::FoundTransaction;
use alys_chain::peg::{Deposit, PegLedger, PegRules, Unclaimed, parse_deposit};
use alys_primitives::{B256, PegInRecord, VariableList};
use bitcoin::consensus::serialize;
use bitcoin::hashes::{Hash as _, sha256d};
use bitcoin::{Block, BlockHash, OutPoint, Script, Transaction, Txid};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// A deposit in a block of the node's best branch.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The transaction.
    pub txid: Txid,
    /// Height of its block.
    pub height: u32,
    /// What it pays, and for whom.
    pub deposit: Deposit,
    /// The record for a block body; `None` for a transaction larger than records can be.
    pub record: Option<Arc<PegInRecord>>,
}

/// The blocks that were looked through, and what was found in them. Bounded by the chain's own header view: what lies
/// below it can't be credited and is forgotten.
#[derive(Clone, Debug, Default)]
pub struct Scanner {
    /// Height of the oldest block that was looked through.
    base: u32,
    /// Hashes of the blocks that were looked through, oldest first.
    blocks: VecDeque<BlockHash>,
    found: BTreeMap<Txid, Found>,
    payments: BTreeMap<Txid, Found>,
}

impl Scanner {
    /// A scanner that begins with the block at `height`.
    pub fn starting_at(height: u32) -> Self {
        Self { base: height, ..Self::default() }
    }

    /// Height of the next block to look at.
    pub fn next_height(&self) -> u32 {
        let count = u32::try_from(self.blocks.len()).unwrap_or(u32::MAX);
        self.base.saturating_add(count)
    }

    /// The newest block that was looked through.
    pub fn tip(&self) -> Option<BlockHash> {
        self.blocks.back().copied()
    }

    /// Deposits, by transaction.
    pub fn found(&self) -> &BTreeMap<Txid, Found> {
        &self.found
    }

    /// Payments that bring something back to the federation, by transaction. The chain takes them by settlements, and from
    /// here if their block has left the best branch since.
    pub fn payments(&self) -> &BTreeMap<Txid, Found> {
        &self.payments
    }

    /// Takes back the newest block: it left the best branch.
    pub fn step_back(&mut self) {
        let height = self.next_height().saturating_sub(1);
        if self.blocks.pop_back().is_some() {
            self.found.retain(|_, found| found.height < height);
            self.payments.retain(|_, found| found.height < height);
        }
    }

    /// Forgets blocks below a height.
    pub fn forget_below(&mut self, height: u32) {
        while self.base < height && self.blocks.pop_front().is_some() {
            self.base = self.base.saturating_add(1);
        }
        self.found.retain(|_, found| found.height >= height);
        self.payments.retain(|_, found| found.height >= height);
    }

    /// Looks through the block at [`Scanner::next_height`]. Transactions that spend one of `ours` are payments, whose
    /// change is no deposit. `false` if the block does not follow the newest one, which must then be taken back.
    pub fn take(
        &mut self,
        rules: &PegRules,
        ledger: &PegLedger,
        block: &Block,
        ours: impl Fn(&OutPoint) -> bool,
    ) -> bool {
        if self.tip().is_some_and(|tip| tip != block.header.prev_blockhash) {
            return false;
        }
        let height = self.next_height();
        for (position, transaction) in block.txdata.iter().enumerate() {
            let is_payment = transaction.input.iter().any(|input| ours(&input.previous_output));
            let in_time = |script: &Script| rules.takes_deposits(ledger, script, u64::from(height));
            let minimum = rules.spec().min_pegin;
            let late = || {
                let any = |script: &Script| ledger.custody_by_script(script).map(|entry| entry.number);
                let deposit = parse_deposit(transaction, any, minimum)?;
                Some(Deposit { recipient: Err(Unclaimed::LateAddress), ..deposit })
            };
            let Some(deposit) = parse_deposit(transaction, in_time, minimum).or_else(late) else { continue };
            let txid = transaction.compute_txid();
            let proof = FoundTransaction::in_block(block, height, position);
            let record = proof.and_then(|found| pegin_record(&found)).map(Arc::new);
            let kind = if is_payment { &mut self.payments } else { &mut self.found };
            kind.insert(txid, Found { txid, height, deposit, record });
        }
        self.blocks.push_back(block.block_hash());
        true
    }
}

/// A confirmed transaction as block bodies carry it; `None` if it, or the block's coinbase, is larger than they allow.
pub(super) fn pegin_record(found: &FoundTransaction) -> Option<PegInRecord> {
    let branch = |hashes: &[sha256d::Hash]| {
        VariableList::new(hashes.iter().map(|hash| B256::from(hash.to_byte_array())).collect()).ok()
    };
    Some(PegInRecord {
        bitcoin_block: B256::from(found.block.hash.to_byte_array()),
        transaction: VariableList::new(stripped(&found.transaction)).ok()?,
        index: u64::from(found.position),
        branch: branch(&found.branch)?,
        coinbase: VariableList::new(stripped(&found.coinbase)).ok()?,
        coinbase_branch: branch(&found.coinbase_branch)?,
    })
}

/// What the txid covers.
fn stripped(transaction: &Transaction) -> Vec<u8> {
    let mut bare = transaction.clone();
    for input in &mut bare.input {
        input.witness.clear();
    }
    serialize(&bare)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::custody_key;
    use crate::chain_files::{ChainFiles, member};
    use crate::key_files::generate_key;
    use alys_chain::{Chain, ChainConfig};
    use alys_primitives::{Address, Members};
    use bitcoin::{Amount, ScriptBuf, Sequence, TxIn, TxOut, Witness, absolute, transaction};

    fn transaction(spends: OutPoint, pays: &Script, sats: u64) -> Transaction {
        Transaction {
            version: transaction::Version::TWO,
            lock_time: absolute::LockTime::ZERO,
            input: vec![TxIn {
                previous_output: spends,
                script_sig: ScriptBuf::new(),
                sequence: Sequence::MAX,
                witness: Witness::new(),
            }],
            output: vec![TxOut { value: Amount::from_sat(sats), script_pubkey: pays.to_owned() }],
        }
    }

    #[test]
    fn payments_are_found_apart_from_deposits_and_taken_back_with_their_blocks() {
        let key = generate_key().unwrap();
        let members = Members::new(vec![member(&key, Address::ZERO)]).unwrap();
        let custody = custody_key(&key, 0).unwrap().public_key().serialize().into();
        let files = ChainFiles::dev(members, 1_700_000_000, 1).unwrap().with_regtest_peg(vec![custody]).unwrap();
        let chain = Chain::genesis(files.spec, ChainConfig::default()).unwrap();
        let (rules, view) = (chain.peg_rules().unwrap(), chain.view());
        let ledger = view.peg.ledger();
        let ours = rules.deposit_address(ledger).unwrap().script_pubkey();
        let coin = |vout| OutPoint { txid: Txid::all_zeros(), vout };
        let (deposit, payment) = (transaction(coin(1), &ours, 50_000), transaction(coin(2), &ours, 70_000));
        let other = transaction(coin(2), &ScriptBuf::new_op_return([7]), 70_000);

        let mut block = bitcoin::constants::genesis_block(bitcoin::Network::Regtest);
        block.txdata.extend([deposit.clone(), payment.clone(), other]);
        let mut scanner = Scanner::starting_at(5);
        let is_ours = |point: &OutPoint| *point == coin(2);
        assert!(scanner.take(rules, ledger, &block, is_ours));
        assert_eq!(scanner.found().keys().collect::<Vec<_>>(), [&deposit.compute_txid()]);
        assert_eq!(scanner.payments().keys().collect::<Vec<_>>(), [&payment.compute_txid()]);
        assert!(scanner.payments().values().all(|found| found.height == 5 && found.record.is_some()));
        scanner.step_back();
        assert!(scanner.found().is_empty() && scanner.payments().is_empty());
        assert!(scanner.take(rules, ledger, &block, is_ours));
        scanner.forget_below(6);
        assert!(scanner.found().is_empty() && scanner.payments().is_empty());
    }
}
