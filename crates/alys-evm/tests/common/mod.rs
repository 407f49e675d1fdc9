//! A chain of our own to try things on: funded keys, signed transactions, and an executor in a folder.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod node;

use alloy_consensus::transaction::Recovered;
use alloy_consensus::{SignableTransaction, TxEip1559, TxEip7702, TxLegacy};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256};
use alys_engine::{Attributes, BuiltPayload, ForkchoiceState, NewPayload, PayloadStatus};
use alys_evm::{
    AlysGenesis, BestTransactions, BuildTarget, DEFAULT_GAS_LIMIT, Executor, ExecutorConfig, NoTransactions, Rejection,
    TransactionSource, Tx, alys_genesis,
};
use k256::ecdsa::SigningKey;
use std::path::Path;
use std::sync::{Arc, mpsc};

/// Chain id of the test chain.
pub const CHAIN_ID: u64 = 212_121;

/// Time of its genesis.
pub const GENESIS_TIME: u64 = 1_700_000_000;

/// Where fees go.
pub const BURN: Address = Address::ZERO;

/// A key and its address.
#[derive(Clone)]
pub struct Wallet {
    pub key: SigningKey,
    pub address: Address,
}

/// The wallet of a small number.
pub fn wallet(number: u8) -> Wallet {
    let key = SigningKey::from_slice(&[number; 32]).unwrap();
    let address = Address::from_public_key(key.verifying_key());
    Wallet { key, address }
}

impl Wallet {
    pub fn sign<T: SignableTransaction<Signature>>(&self, transaction: T) -> alloy_consensus::Signed<T> {
        let signature = self.sign_hash(transaction.signature_hash());
        transaction.into_signed(signature)
    }

    pub fn sign_hash(&self, hash: B256) -> Signature {
        let (signature, recovery) = self.key.sign_prehash_recoverable(hash.as_slice()).unwrap();
        Signature::from((signature, recovery))
    }

    /// A fee market transaction with plenty of gas and a tip of 1 gwei.
    pub fn call(&self, nonce: u64, to: TxKind, value: U256, input: Bytes) -> Recovered<Tx> {
        self.send(TxEip1559 {
            chain_id: CHAIN_ID,
            nonce,
            gas_limit: 500_000,
            max_fee_per_gas: 20_000_000_000,
            max_priority_fee_per_gas: 1_000_000_000,
            to,
            value,
            input,
            ..TxEip1559::default()
        })
    }

    pub fn send(&self, transaction: TxEip1559) -> Recovered<Tx> {
        Recovered::new_unchecked(Tx::Eip1559(self.sign(transaction)), self.address)
    }

    pub fn legacy(&self, transaction: TxLegacy) -> Recovered<Tx> {
        Recovered::new_unchecked(Tx::Legacy(self.sign(transaction)), self.address)
    }

    pub fn set_code(&self, transaction: TxEip7702) -> Recovered<Tx> {
        Recovered::new_unchecked(Tx::Eip7702(self.sign(transaction)), self.address)
    }
}

/// A source that gives fixed transactions in order and tells what was refused.
pub struct Fixed {
    pub transactions: Vec<Arc<Recovered<Tx>>>,
    pub rejections: mpsc::Sender<(B256, Rejection)>,
}

impl TransactionSource for Fixed {
    fn best(&self, _target: BuildTarget) -> Box<dyn BestTransactions> {
        let mut transactions = self.transactions.clone();
        transactions.reverse();
        Box::new(FixedBest { transactions, rejections: self.rejections.clone() })
    }
}

struct FixedBest {
    transactions: Vec<Arc<Recovered<Tx>>>,
    rejections: mpsc::Sender<(B256, Rejection)>,
}

impl BestTransactions for FixedBest {
    fn next(&mut self) -> Option<Arc<Recovered<Tx>>> {
        self.transactions.pop()
    }

    fn reject(&mut self, transaction: &Recovered<Tx>, rejection: Rejection) {
        let _ = self.rejections.send((*transaction.inner().tx_hash(), rejection));
    }
}

/// Wallets 1 to 3 have 1000 coins each.
pub fn genesis() -> alloy_genesis::Genesis {
    let coins = U256::from(1000) * U256::from(10).pow(U256::from(18));
    alys_genesis(&AlysGenesis {
        chain_id: CHAIN_ID,
        timestamp: GENESIS_TIME,
        balances: (1..=3).map(|number| (wallet(number).address, coins)).collect(),
        gas_limit: DEFAULT_GAS_LIMIT,
        prev_randao: B256::ZERO,
    })
    .unwrap()
}

pub fn open(folder: &Path, config: ExecutorConfig) -> Executor {
    Executor::open(folder, genesis(), config, Box::new(NoTransactions)).unwrap()
}

pub fn attributes(timestamp: u64) -> Attributes {
    Attributes {
        timestamp,
        prev_randao: B256::repeat_byte(7),
        fee_recipient: BURN,
        withdrawals: Vec::new(),
        parent_beacon_block_root: B256::repeat_byte(8),
    }
}

pub fn heads(head: B256) -> ForkchoiceState {
    ForkchoiceState { head, safe: B256::ZERO, finalized: B256::ZERO }
}

pub fn as_new(built: &BuiltPayload, attributes: &Attributes) -> NewPayload {
    NewPayload {
        payload: built.payload.clone(),
        parent_beacon_block_root: attributes.parent_beacon_block_root,
        execution_requests: built.execution_requests.clone(),
    }
}

/// Builds on `parent`, without importing.
pub fn build(
    executor: &mut Executor,
    parent: B256,
    attributes: &Attributes,
    transactions: Vec<Recovered<Tx>>,
) -> (NewPayload, Vec<(B256, Rejection)>) {
    let (rejections, rejected) = mpsc::channel();
    let transactions = transactions.into_iter().map(Arc::new).collect();
    executor.set_source(Box::new(Fixed { transactions, rejections }));
    let outcome = executor.forkchoice_updated(heads(parent), Some(attributes)).unwrap();
    assert_eq!(outcome.status, PayloadStatus::Valid);
    let built = executor.get_payload(outcome.payload_id.unwrap()).unwrap();
    executor.set_source(Box::new(NoTransactions));
    (as_new(&built, attributes), rejected.try_iter().collect())
}

/// Builds on the head with its timestamp plus two seconds, imports the block and makes it the head.
pub fn extend(executor: &mut Executor, transactions: Vec<Recovered<Tx>>) -> NewPayload {
    let head = executor.reader().heads().latest;
    let (new, rejected) = build(executor, head.hash, &attributes(head.timestamp + 2), transactions);
    assert_eq!(rejected, []);
    assert_eq!(executor.new_payload(&new).unwrap(), PayloadStatus::Valid);
    let outcome = executor.forkchoice_updated(heads(new.payload.block_hash), None).unwrap();
    assert_eq!(outcome.status, PayloadStatus::Valid);
    new
}
