//! Signed transactions, and many clients that send and call at once.

use alloy_consensus::{SignableTransaction as _, TxEip1559, TxEnvelope};
use alloy_eips::Encodable2718 as _;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256};
use alys_node::chain_files::PRESET_CHAIN_ID;
use alys_node::dev_accounts::dev_accounts;
use alys_node::rpc_client::RpcClient;
use k256::ecdsa::SigningKey;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Accounts that send, each over a connection of its own.
const SENDERS: usize = 8;

/// Connections that call.
const CALLERS: usize = 8;

/// Pause before a transaction is offered again to a full pool.
const FULL: Duration = Duration::from_millis(20);

const PATIENCE: Duration = Duration::from_secs(60);

/// The keys, and the token's code and address.
pub(crate) struct Plan {
    keys: Vec<(SigningKey, Address)>,
    init: Bytes,
    token: Address,
}

/// Transactions of each sender, in the order of their nonces.
pub(crate) struct Batch(Vec<Vec<String>>);

/// A server and how far each sender is.
pub(crate) struct Load {
    url: String,
    client: RpcClient,
    nonces: Vec<u64>,
}

impl Plan {
    /// The senders, and the token that the first of them deploys with its first transaction.
    pub(crate) async fn new(load: &Load) -> Self {
        let keys: Vec<(SigningKey, Address)> = dev_accounts()
            .unwrap()
            .iter()
            .take(SENDERS)
            .map(|account| (SigningKey::from_slice(&account.secret_key.secret_bytes()).unwrap(), account.address))
            .collect();
        let mut init = hex::decode(include_str!("token.hex").trim()).unwrap();
        // The constructor's argument: everybody who holds some.
        for word in [32, SENDERS] {
            init.extend_from_slice(&U256::from(word).to_be_bytes::<32>());
        }
        keys.iter().for_each(|(_, address)| init.extend_from_slice(address.into_word().as_slice()));
        let first = load.nonce(keys[0].1).await;
        let token = keys[0].1.create(first);
        Self { keys, init: init.into(), token }
    }

    /// The next transactions: `count` of them, spread over the senders.
    pub(crate) fn sign(&self, tokens: bool, count: usize, load: &Load) -> Batch {
        let one = |sender: usize, place: usize| {
            let nonce = load.nonces[sender] + u64::try_from(place).unwrap();
            // Above the addresses of the precompiles.
            let number = U256::from(place * SENDERS + sender + 0x1_0000);
            if tokens {
                // transfer(address,uint256)
                let mut input = hex::decode("a9059cbb").unwrap();
                input.extend_from_slice(&number.to_be_bytes::<32>());
                input.extend_from_slice(&U256::from(1).to_be_bytes::<32>());
                self.transaction(sender, nonce, TxKind::Call(self.token), 0, input.into(), 80_000).0
            } else {
                let to = Address::from_word(B256::from(number));
                self.transaction(sender, nonce, TxKind::Call(to), 1, Bytes::new(), 21_000).0
            }
        };
        let share = |sender: usize| (count + SENDERS - 1 - sender) / SENDERS;
        Batch((0..SENDERS).map(|sender| (0..share(sender)).map(|place| one(sender, place)).collect()).collect())
    }

    fn transaction(
        &self,
        sender: usize,
        nonce: u64,
        to: TxKind,
        value: u64,
        input: Bytes,
        gas_limit: u64,
    ) -> (String, B256) {
        let transaction = TxEip1559 {
            chain_id: PRESET_CHAIN_ID,
            nonce,
            gas_limit,
            max_fee_per_gas: 1_000_000_000_000,
            max_priority_fee_per_gas: 1_000_000_000,
            to,
            value: U256::from(value),
            input,
            ..TxEip1559::default()
        };
        let hash = transaction.signature_hash();
        let signature = self.keys[sender].0.sign_prehash_recoverable(hash.as_slice()).unwrap();
        let envelope = TxEnvelope::Eip1559(transaction.into_signed(Signature::from(signature)));
        (format!("0x{}", hex::encode(envelope.encoded_2718())), *envelope.tx_hash())
    }
}

impl Load {
    pub(crate) fn new(url: &str) -> Self {
        Self { url: url.to_owned(), client: client(url), nonces: vec![0; SENDERS] }
    }

    async fn nonce(&self, address: Address) -> u64 {
        let answer = self.client.call("eth_getTransactionCount", json!([address, "latest"])).await.unwrap();
        u64::from_str_radix(answer.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
    }

    /// Deploys the token.
    pub(crate) async fn deploy(&mut self, plan: &Plan) {
        let (raw, hash) = plan.transaction(0, self.nonces[0], TxKind::Create, 0, plan.init.clone(), 3_000_000);
        offer(&self.client, &raw).await;
        assert_eq!(receipt(&self.client, hash).await["status"], "0x1");
        self.nonces[0] += 1;
    }

    /// Sends all; gives the time until the last was accepted, and until all were mined.
    pub(crate) async fn send_all(&self, batch: &Batch) -> (Duration, Duration) {
        let began = Instant::now();
        let mut sending = JoinSet::new();
        for list in &batch.0 {
            let (list, client) = (list.clone(), client(&self.url));
            sending.spawn(async move {
                for raw in &list {
                    offer(&client, raw).await;
                }
            });
        }
        while sending.join_next().await.is_some() {}
        let accepted = began.elapsed();
        let accounts: Vec<Address> = dev_accounts().unwrap().iter().take(SENDERS).map(|dev| dev.address).collect();
        for (sender, address) in accounts.into_iter().enumerate() {
            let wanted = self.nonces[sender] + u64::try_from(batch.0[sender].len()).unwrap();
            while self.nonce(address).await < wanted {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        (accepted, began.elapsed())
    }

    /// The batch is behind this server.
    pub(crate) fn sent(&mut self, batch: &Batch) {
        for (nonce, list) in self.nonces.iter_mut().zip(&batch.0) {
            *nonce += u64::try_from(list.len()).unwrap();
        }
    }
}

fn client(url: &str) -> RpcClient {
    RpcClient::new(url, PATIENCE).unwrap()
}

/// Until it is taken: a pool that is full takes it later.
async fn offer(client: &RpcClient, raw: &str) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = client.call("eth_sendRawTransaction", json!([raw])).await {
        assert!(Instant::now() < deadline, "{error}");
        tokio::time::sleep(FULL).await;
    }
}

async fn receipt(client: &RpcClient, hash: B256) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let receipt = client.call("eth_getTransactionReceipt", json!([hash])).await.unwrap();
        if !receipt.is_null() {
            return receipt;
        }
        assert!(Instant::now() < deadline, "{hash} is in no block");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// From sending to the receipt, one after another, at different times within a second.
pub(crate) async fn latency(load: &mut Load, plan: &Plan, count: usize) -> Vec<Duration> {
    let mut times = Vec::with_capacity(count);
    for index in 0..count {
        let to = TxKind::Call(Address::repeat_byte(0x77));
        let (raw, hash) = plan.transaction(0, load.nonces[0], to, 1, Bytes::new(), 21_000);
        tokio::time::sleep(Duration::from_millis(u64::try_from(index * 137 % 1000).unwrap())).await;
        let began = Instant::now();
        offer(&load.client, &raw).await;
        receipt(&load.client, hash).await;
        times.push(began.elapsed());
        load.nonces[0] += 1;
    }
    times
}

pub(crate) fn balance_calls(plan: &Plan) -> Value {
    json!([plan.keys[1].1, "latest"])
}

/// `balanceOf` of the token.
pub(crate) fn token_calls(plan: &Plan) -> Value {
    let data = format!("0x70a08231{}", hex::encode(plan.keys[1].1.into_word()));
    json!([{ "to": plan.token, "data": data }, "latest"])
}

/// Calls a second over several connections.
#[expect(clippy::cast_precision_loss, reason = "counts are small")]
pub(crate) async fn rate(load: &Load, method: &'static str, params: &Value, time: Duration) -> f64 {
    let began = Instant::now();
    let mut calling = JoinSet::new();
    for _ in 0..CALLERS {
        let (client, params) = (client(&load.url), params.clone());
        calling.spawn(async move {
            let mut count = 0_u64;
            while began.elapsed() < time {
                client.call(method, params.clone()).await.unwrap();
                count += 1;
            }
            count
        });
    }
    let mut sum = 0;
    while let Some(count) = calling.join_next().await {
        sum += count.unwrap();
    }
    sum as f64 / began.elapsed().as_secs_f64()
}
