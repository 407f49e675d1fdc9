//! A chain and a journal in memory, with faults, and signed transactions to send.

use crate::Tx;
use crate::pool::{
    ChainUnavailable, JournalEntry, JournalError, PoolAccount, PoolChain, PoolConfig, PoolHandle, PoolHead, PoolTask,
    PoolTaskError, TransactionJournal,
};
use alloy_consensus::crypto::secp256k1::sign_message;
use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256};
use revm::primitives::hardfork::SpecId;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

pub(super) const CHAIN_ID: u64 = 1337;
pub(super) const GWEI: u128 = 1_000_000_000;
pub(super) const ETHER: u128 = GWEI * GWEI;

/// A sender with a secret key.
#[derive(Clone, Copy)]
pub(super) struct Wallet(u8);

impl Wallet {
    pub(super) fn new(number: u8) -> Self {
        Self(number)
    }

    pub(super) fn sign<T>(self, transaction: T) -> Bytes
    where
        T: SignableTransaction<Signature>,
        Tx: From<alloy_consensus::Signed<T>>,
    {
        let signature = sign_message(B256::repeat_byte(self.0), transaction.signature_hash()).unwrap();
        Tx::from(transaction.into_signed(signature)).encoded_2718().into()
    }

    pub(super) fn address(self) -> Address {
        crate::pool::PooledTransaction::decode(self.sign(transfer(0, 1)), CHAIN_ID).unwrap().sender()
    }

    /// A transfer of 1 wei at `nonce` that tips `gwei` gwei.
    pub(super) fn pay(self, nonce: u64, gwei: u128) -> Bytes {
        self.sign(transfer(nonce, gwei))
    }
}

pub(super) fn transfer(nonce: u64, gwei: u128) -> TxEip1559 {
    TxEip1559 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: gwei * GWEI + 10 * GWEI,
        max_priority_fee_per_gas: gwei * GWEI,
        to: TxKind::Call(Address::repeat_byte(0x22)),
        value: U256::from(1),
        ..TxEip1559::default()
    }
}

struct State {
    head: PoolHead,
    accounts: HashMap<B256, BTreeMap<Address, PoolAccount>>,
    dropped: HashMap<(B256, B256), Vec<Bytes>>,
}

/// A chain whose accounts the test sets; unknown accounts have a hundred coins.
pub(super) struct FakeChain {
    state: Mutex<State>,
    pub(super) panics: AtomicBool,
}

impl FakeChain {
    pub(super) fn new() -> Arc<Self> {
        let hash = B256::with_last_byte(1);
        let head = PoolHead {
            hash,
            number: 1,
            gas_limit: 30_000_000,
            next_base_fee: 7,
            next_rules: SpecId::PRAGUE,
            finalized_number: 1,
            finalized_hash: hash,
        };
        let accounts = HashMap::from([(hash, BTreeMap::new())]);
        Arc::new(Self {
            state: Mutex::new(State { head, accounts, dropped: HashMap::new() }),
            panics: AtomicBool::new(false),
        })
    }

    pub(super) fn change_head(&self, change: impl FnOnce(&mut PoolHead)) {
        change(&mut self.state.lock().unwrap().head);
    }

    pub(super) fn set(&self, wallet: Wallet, nonce: u64, balance: u128) {
        let mut state = self.state.lock().unwrap();
        let head = state.head.hash;
        let account = PoolAccount { nonce, balance: U256::from(balance), is_contract: false };
        state.accounts.get_mut(&head).unwrap().insert(wallet.address(), account);
    }

    /// A new head with `nonces` over the accounts of the old one.
    pub(super) fn advance(&self, nonces: &[(Wallet, u64)]) -> B256 {
        let mut state = self.state.lock().unwrap();
        let old = state.head.hash;
        let mut accounts = state.accounts.get(&old).unwrap().clone();
        for (wallet, nonce) in nonces {
            accounts.entry(wallet.address()).or_insert_with(rich).nonce = *nonce;
        }
        state.head.number += 1;
        state.head.hash = B256::from(U256::from(state.accounts.len() + 1));
        let hash = state.head.hash;
        state.accounts.insert(hash, accounts);
        old
    }

    /// Makes `block` the head again; `dropped` are the transactions that this undoes.
    pub(super) fn fall_back(&self, block: B256, dropped: Vec<Bytes>) {
        let mut state = self.state.lock().unwrap();
        let old = state.head.hash;
        state.dropped.insert((old, block), dropped);
        state.head.hash = block;
        state.head.number -= 1;
    }

    /// The head is final.
    pub(super) fn finalize(&self) {
        let mut state = self.state.lock().unwrap();
        state.head.finalized_number = state.head.number;
        state.head.finalized_hash = state.head.hash;
    }
}

fn rich() -> PoolAccount {
    PoolAccount { nonce: 0, balance: U256::from(100 * ETHER), is_contract: false }
}

impl PoolChain for FakeChain {
    fn head(&self) -> Result<PoolHead, ChainUnavailable> {
        Ok(self.state.lock().unwrap().head)
    }

    fn is_at(&self, head: &PoolHead) -> bool {
        *head == self.state.lock().unwrap().head
    }

    fn account(&self, block: B256, address: Address) -> Result<PoolAccount, ChainUnavailable> {
        assert!(!self.panics.swap(false, Ordering::SeqCst), "a planted panic");
        let state = self.state.lock().unwrap();
        let accounts = state.accounts.get(&block).ok_or(ChainUnavailable { reason: "unknown block".to_owned() })?;
        Ok(accounts.get(&address).copied().unwrap_or_else(rich))
    }

    fn dropped(&self, old: B256, new: B256) -> Result<Vec<Bytes>, ChainUnavailable> {
        Ok(self.state.lock().unwrap().dropped.get(&(old, new)).cloned().unwrap_or_default())
    }
}

/// What a crash leaves behind: the entries that were synced.
#[derive(Clone, Default)]
pub(super) struct FakeJournal {
    pub(super) entries: Arc<Mutex<Vec<JournalEntry>>>,
    pub(super) fails: Arc<AtomicBool>,
}

impl FakeJournal {
    pub(super) fn len(&self) -> usize {
        self.entries.lock().unwrap().len()
    }
}

impl TransactionJournal for FakeJournal {
    fn append(&mut self, entries: &[JournalEntry]) -> Result<(), JournalError> {
        if self.fails.load(Ordering::SeqCst) {
            // The database's error has no public constructor; opening one at an impossible place makes one.
            let file = tempfile::NamedTempFile::new().unwrap();
            return match rocksdb::DB::open_default(file.path()) {
                Ok(_) => panic!("a file is not a database"),
                Err(error) => Err(JournalError::Write(error)),
            };
        }
        self.entries.lock().unwrap().extend_from_slice(entries);
        Ok(())
    }

    fn remove(&mut self, hashes: &[B256]) -> Result<(), JournalError> {
        self.entries.lock().unwrap().retain(|entry| !hashes.contains(&entry.hash));
        Ok(())
    }

    fn load(&mut self) -> Result<Vec<JournalEntry>, JournalError> {
        Ok(self.entries.lock().unwrap().clone())
    }
}

/// A running pool.
pub(super) struct Running {
    pub(super) pool: PoolHandle,
    pub(super) chain: Arc<FakeChain>,
    pub(super) journal: FakeJournal,
    heads: watch::Sender<()>,
    task: JoinHandle<Result<(), PoolTaskError>>,
    stop: oneshot::Sender<()>,
}

impl Running {
    pub(super) fn start() -> Self {
        Self::over(FakeChain::new(), FakeJournal::default(), PoolConfig::new(CHAIN_ID))
    }

    pub(super) fn with(change: impl FnOnce(&mut PoolConfig)) -> Self {
        let mut config = PoolConfig::new(CHAIN_ID);
        change(&mut config);
        Self::over(FakeChain::new(), FakeJournal::default(), config)
    }

    pub(super) fn over(chain: Arc<FakeChain>, journal: FakeJournal, config: PoolConfig) -> Self {
        let (pool, task) = PoolTask::open(config, chain.clone(), journal.clone()).unwrap();
        let (heads, changed) = watch::channel(());
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(task.run(changed, async move {
            let _ = stopped.await;
        }));
        Self { pool, chain, journal, heads, task, stop }
    }

    /// Tells the pool of a new head and waits until it has followed.
    pub(super) async fn follow(&self) {
        self.heads.send_replace(());
        // Requests are served after the head is followed.
        self.pool.get(B256::ZERO).await.unwrap();
    }

    /// Ends the task as a crash would: nothing is flushed.
    pub(super) async fn crash(self) -> (Arc<FakeChain>, FakeJournal) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
        (self.chain, self.journal)
    }

    pub(super) async fn ended(self) -> Result<(), PoolTaskError> {
        self.task.await.unwrap()
    }

    /// Nonces and senders in the order in which a builder would see them.
    pub(super) fn order(&self, base_fee: u64) -> Vec<(Address, u64)> {
        self.pool.candidates(base_fee).map(|transaction| (transaction.sender(), transaction.nonce())).collect()
    }
}
