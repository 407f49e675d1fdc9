//! A federation of processes that share one Bitcoin, and somebody with coins: what tests and the demonstration of the peg
//! play with. Nothing in here looks inside a node.

#![allow(dead_code, reason = "tests and examples each use their part")]
#![allow(unreachable_pub, reason = "shared by tests and examples")]

use alys_bitcoin::core_rpc::{Auth, CoreConfig};
use alys_bitcoin::regtest::subsidy;
use alys_bitcoin::{BitcoinPort as _, CoreRpc, grind};
use alys_node::evm_account::{Call, EvmAccount};
use alys_node::rpc_client::{RpcClient, RpcClientError};
use alys_primitives::{Address, U256};
use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash as _;
use bitcoin::key::Keypair;
use bitcoin::secp256k1::{Message, Secp256k1, SecretKey};
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::{
    Address as BitcoinAddress, Amount, CompressedPublicKey, Network, OutPoint, ScriptBuf, Sequence, Transaction, TxIn,
    TxOut, Txid, Witness, ecdsa, transaction,
};
use serde_json::{Value, json};
use std::error::Error;
use std::fs::OpenOptions;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// The longest that one step may take.
const PATIENCE: Duration = Duration::from_secs(150);

/// How often it is looked whether a step is done.
const GLANCE: Duration = Duration::from_millis(200);

/// Wei in a satoshi.
pub const WEI_PER_SAT: u64 = 10_000_000_000;

/// What the wallet's transactions give to miners, in satoshis.
pub const WALLET_FEE: u64 = 5_000;

/// What Bitcoin it is.
#[derive(Clone, Debug)]
pub enum Backend {
    /// `alys-node bitcoin-regtest`.
    Regtest,
    /// A Bitcoin Core binary.
    Core(PathBuf),
}

impl Backend {
    /// Bitcoin Core if `BITCOIND` names one or it is on the PATH.
    pub fn core() -> Option<Self> {
        if let Some(named) = std::env::var_os("BITCOIND").filter(|name| !name.is_empty()) {
            return Some(Self::Core(named.into()));
        }
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|folder| folder.join("bitcoind")).find(|file| file.is_file()).map(Self::Core)
    }
}

/// A process that is killed when it is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Member {
    arguments: Vec<String>,
    signer: Vec<String>,
    signer_process: Option<Process>,
    url: String,
    log: PathBuf,
    process: Option<Process>,
}

/// The processes.
pub struct World {
    binary: PathBuf,
    folder: PathBuf,
    members: Vec<Member>,
    miner: Option<Process>,
    _bitcoin: Process,
    /// The shared Bitcoin.
    pub bitcoin: CoreRpc,
}

impl World {
    /// Starts a Bitcoin, `members` members with a custody signer each, and a merged miner, with all files below `folder`.
    pub async fn start(binary: &Path, folder: &Path, members: usize, backend: &Backend) -> Result<Self> {
        let ports = free_ports(members * 3 + 1)?;
        let mut ports = ports.into_iter();
        let mut port = || ports.next().ok_or("too few ports");
        let (process, bitcoin, flags) = start_bitcoin(binary, folder, backend, port()?)?;

        let chain = folder.join("chain");
        let made = Command::new(binary)
            .args(["init", "--preset", "dev", "--members", &members.to_string(), "--slot-seconds", "1", "--data-dir"])
            .arg(&chain)
            .stdout(Stdio::null())
            .status()?;
        if !made.success() {
            return Err("no chain could be made".into());
        }
        let mut places = Vec::new();
        for index in 0..members {
            let peer = std::fs::read_to_string(chain.join(format!("member-{index}/peer-id")))?;
            places.push((port()?, port()?, port()?, peer.trim().to_owned()));
        }
        let list = (0..members).map(|index| {
            let peers: Vec<String> = places
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != index)
                .map(|(_, (_, _, p2p, peer))| format!("/ip4/127.0.0.1/tcp/{p2p}/p2p/{peer}"))
                .collect();
            let (rpc, metrics, p2p, _) = &places[index];
            let mut arguments = vec![
                "run".to_owned(),
                format!("--config={}", chain.join(format!("member-{index}/alys.toml")).display()),
                format!("--rpc-listen=127.0.0.1:{rpc}"),
                format!("--metrics-listen=127.0.0.1:{metrics}"),
                format!("--network-listen=/ip4/127.0.0.1/tcp/{p2p}"),
                format!("--network-peers={}", peers.join(",")),
            ];
            arguments.extend(flags.iter().cloned());
            let own = |name: &str| chain.join(format!("member-{index}/{name}")).display().to_string();
            arguments.push(format!("--validator-custody-socket={}", own("signer.socket")));
            let signer = vec![
                "custody-signer".to_owned(),
                format!("--chain-spec={}", chain.join("chain.json").display()),
                format!("--genesis={}", chain.join("genesis.json").display()),
                format!("--keystore={}", own("keystore.json")),
                format!("--password-file={}", own("password")),
                format!("--socket={}", own("signer.socket")),
                format!("--record={}", own("signed-payments")),
            ];
            let log = folder.join(format!("member-{index}.log"));
            let url = format!("http://127.0.0.1:{rpc}");
            Member { arguments, signer, signer_process: None, url, log, process: None }
        });
        let members = list.collect();
        let (binary, folder) = (binary.to_owned(), folder.to_owned());
        let mut world = Self { binary, folder, members, miner: None, _bitcoin: process, bitcoin };
        world.bitcoin_answers().await?;
        for index in 0..world.members.len() {
            world.start_signer(index)?;
            world.start_member(index)?;
        }
        let urls: Vec<&str> = world.members.iter().map(|member| member.url.as_str()).collect();
        let payout = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
        let mut miner = Command::new(&world.binary);
        miner.args(["mine", "--rpc", &urls.join(","), "--payout", payout, "--period", "1"]);
        world.miner = Some(spawn(&mut miner, &world.folder.join("miner.log"))?);
        for index in 0..world.members.len() {
            world.status("the first block", index, |status| status["head"]["height"].as_u64() > Some(0)).await?;
        }
        Ok(world)
    }

    /// How many members there are.
    pub fn size(&self) -> usize {
        self.members.len()
    }

    /// Starts a member, with these flags beside its own.
    pub fn start_member_with(&mut self, index: usize, flags: &[String]) -> Result<()> {
        let member = &mut self.members[index];
        let mut command = Command::new(&self.binary);
        command.args(&member.arguments).args(flags);
        member.process = Some(spawn(&mut command, &member.log)?);
        Ok(())
    }

    /// Starts a member.
    pub fn start_member(&mut self, index: usize) -> Result<()> {
        self.start_member_with(index, &[])
    }

    /// Starts the process that signs payments for a member.
    pub fn start_signer(&mut self, index: usize) -> Result<()> {
        let member = &mut self.members[index];
        let mut command = Command::new(&self.binary);
        command.args(&member.signer);
        member.signer_process = Some(spawn(&mut command, &member.log)?);
        Ok(())
    }

    /// Sends SIGKILL to the process that signs payments for a member.
    pub fn kill_signer(&mut self, index: usize) {
        self.members[index].signer_process = None;
    }

    /// Sends SIGKILL to a member.
    pub fn kill_member(&mut self, index: usize) {
        self.members[index].process = None;
    }

    /// A call to a member.
    pub async fn call(&self, member: usize, method: &str, params: Value) -> std::result::Result<Value, RpcClientError> {
        self.client(member)?.call(method, params).await
    }

    /// A client of a member.
    pub fn client(&self, member: usize) -> std::result::Result<RpcClient, RpcClientError> {
        RpcClient::new(&self.members[member].url, Duration::from_secs(30))
    }

    /// Has these members sign a decision about pausing, and submits it to one of them, as operators do.
    pub fn decide(&self, signers: &[usize], submit_to: usize, sequence: u64, flags: &[&str]) -> Result<()> {
        let chain = self.folder.join("chain");
        let path = |name: &str| chain.join(name).display().to_string();
        let mut votes = Vec::new();
        for index in signers {
            let output = Command::new(&self.binary)
                .args(["peg", "pause", "sign", "--epoch", "0", "--sequence", &sequence.to_string()])
                .args(["--chain-spec", &path("chain.json"), "--genesis", &path("genesis.json")])
                .args(["--keystore", &path(&format!("member-{index}/keystore.json"))])
                .args(["--password-file", &path(&format!("member-{index}/password"))])
                .args(flags)
                .output()?;
            if !output.status.success() {
                return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
            }
            let vote = self.folder.join(format!("vote-{sequence}-{index}"));
            std::fs::write(&vote, output.stdout)?;
            votes.push(vote);
        }
        let output = Command::new(&self.binary)
            .args(["peg", "pause", "submit", "--rpc", &self.members[submit_to].url])
            .args(votes)
            .output()?;
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned().into()),
        }
    }

    /// Asks until the answer is as wanted; what is not there yet is asked for again.
    pub async fn until(
        &self,
        what: &str,
        member: usize,
        (method, params): (&str, Value),
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let began = Instant::now();
        loop {
            let seen = match self.call(member, method, params.clone()).await {
                Ok(answer) if wanted(&answer) => return Ok(answer),
                Ok(answer) => answer.to_string(),
                Err(error) => error.to_string(),
            };
            if began.elapsed() > PATIENCE {
                return Err(format!("{what} did not happen at member {member}: {seen}\n{}", self.logs()).into());
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// Waits until a member's status is as wanted.
    pub async fn status(&self, what: &str, member: usize, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        self.until(what, member, ("alys_status", json!([])), wanted).await
    }

    /// An account's wei as a member sees it.
    pub async fn balance(&self, member: usize, account: Address) -> Result<U256> {
        number(&self.call(member, "eth_getBalance", json!([account, "latest"])).await?)
    }

    /// The books as a member sees them.
    pub async fn supply(&self, member: usize) -> Result<Value> {
        Ok(self.call(member, "alys_supply", json!([])).await?)
    }

    /// Sends an EVM call and waits until it succeeded; gives the transaction's hash.
    pub async fn send(&self, member: usize, account: &EvmAccount, call: Call) -> Result<String> {
        let hash = account.send(&self.client(member)?, call).await?.to_string();
        self.until("a receipt", member, ("eth_getTransactionReceipt", json!([hash])), |receipt| {
            receipt["status"] == "0x1"
        })
        .await?;
        Ok(hash)
    }

    /// Mines Bitcoin blocks with what waits in the pool.
    pub async fn mine(&self, payout: &ScriptBuf, blocks: u32) -> Result<Vec<Txid>> {
        let mut coinbases = Vec::new();
        for number in 0..blocks {
            let template = self.bitcoin.block_template().await?;
            // Two blocks of one second would else be twins.
            let coinbase = template.coinbase(payout, &number.to_le_bytes())?;
            let mut header = template.header(&coinbase);
            while grind(&mut header, 1_000_000)?.is_none() {}
            coinbases.push(coinbase.compute_txid());
            self.bitcoin.submit_block(template.block(header, coinbase)).await?;
        }
        Ok(coinbases)
    }

    /// Mines blocks that pay nobody in particular.
    pub async fn confirm(&self, blocks: u32) -> Result<()> {
        self.mine(&ScriptBuf::new_op_return([0; 4]), blocks).await.map(drop)
    }

    /// Replaces the newest `depth` blocks by one more empty ones.
    pub async fn reorganise(&self, depth: u32) -> Result<()> {
        let mut template = self.bitcoin.block_template().await?;
        let base = template.height.checked_sub(depth + 1).ok_or("too few blocks")?;
        let fork = self.bitcoin.header_at(base).await?.ok_or("no block to fork from")?;
        (template.previous, template.height) = (fork.hash, base + 1);
        template.transactions.clear();
        for _ in 0..=depth {
            template.coinbase_value = subsidy(template.height);
            let coinbase = template.coinbase(&ScriptBuf::new_op_return([7; 4]), b"fork")?;
            let mut header = template.header(&coinbase);
            while grind(&mut header, 1_000_000)?.is_none() {}
            let block = template.block(header, coinbase);
            (template.previous, template.height) = (block.block_hash(), template.height + 1);
            template.time += 1;
            self.bitcoin.submit_block(block).await?;
        }
        let best = self.bitcoin.best_block().await?;
        if best.hash == template.previous { Ok(()) } else { Err("the branch did not win".into()) }
    }

    /// Waits until a transaction can be mined: a template made a moment after a send may lack it.
    pub async fn waits_for_a_block(&self, txid: Txid) -> Result<()> {
        let began = Instant::now();
        loop {
            let template = self.bitcoin.block_template().await?;
            if template.transactions.iter().any(|entry| entry.txid == txid) {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("transaction {txid} never came into a template").into());
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// The ends of the members' logs.
    pub fn logs(&self) -> String {
        let tail = |member: &Member| {
            let text = std::fs::read_to_string(&member.log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().rev().take(12).collect();
            format!("{}:\n{}\n", member.log.display(), lines.into_iter().rev().collect::<Vec<_>>().join("\n"))
        };
        self.members.iter().map(tail).collect()
    }

    async fn bitcoin_answers(&self) -> Result<()> {
        let began = Instant::now();
        while let Err(error) = self.bitcoin.best_block().await {
            if !error.is_retryable() || began.elapsed() > PATIENCE {
                return Err(error.into());
            }
            tokio::time::sleep(GLANCE).await;
        }
        Ok(())
    }
}

fn start_bitcoin(
    binary: &Path,
    folder: &Path,
    backend: &Backend,
    port: u16,
) -> Result<(Process, CoreRpc, Vec<String>)> {
    let data = folder.join("bitcoin");
    std::fs::create_dir_all(&data)?;
    let (mut command, cookie) = match backend {
        Backend::Regtest => {
            let mut command = Command::new(binary);
            command.args(["bitcoin-regtest", &format!("--listen=127.0.0.1:{port}"), "--data-dir"]).arg(&data);
            (command, data.join(".cookie"))
        }
        Backend::Core(bitcoind) => {
            let mut command = Command::new(bitcoind);
            command
                .args(["-regtest", "-listen=0", "-dnsseed=0", "-fixedseeds=0", "-connect=0", "-txindex=1"])
                .args(["-rpcbind=127.0.0.1", "-rpcallowip=127.0.0.1", "-fallbackfee=0.0001"])
                .arg(format!("-rpcport={port}"))
                .arg(format!("-datadir={}", data.display()));
            (command, data.join("regtest/.cookie"))
        }
    };
    let process = spawn(&mut command, &folder.join("bitcoin.log"))?;
    let url = format!("http://127.0.0.1:{port}");
    let flags = vec![format!("--bitcoin-url={url}"), format!("--bitcoin-cookie-file={}", cookie.display())];
    let client = CoreRpc::new(CoreConfig { url, auth: Auth::Cookie(cookie), timeout: Duration::from_secs(30) })?;
    Ok((process, client, flags))
}

fn spawn(command: &mut Command, log: &Path) -> Result<Process> {
    let file = OpenOptions::new().create(true).append(true).open(log)?;
    Ok(Process(command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn()?))
}

fn free_ports(count: usize) -> Result<Vec<u16>> {
    let held: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<std::io::Result<_>>()?;
    Ok(held
        .iter()
        .map(|listener| listener.local_addr().map(|address| address.port()))
        .collect::<std::io::Result<_>>()?)
}

/// A quantity in hex, or a decimal number in a text.
pub fn number(value: &Value) -> Result<U256> {
    Ok(value.as_str().ok_or_else(|| format!("{value} is no number"))?.parse()?)
}

/// Satoshis as wei.
pub fn wei(sats: u64) -> U256 {
    U256::from(sats) * U256::from(WEI_PER_SAT)
}

/// Somebody with one Bitcoin key.
pub struct BitcoinWallet {
    keypair: Keypair,
    coins: Vec<(OutPoint, u64)>,
}

impl BitcoinWallet {
    /// A wallet without coins.
    pub fn new(seed: u8) -> Result<Self> {
        let secret = SecretKey::from_slice(&[seed; 32])?;
        Ok(Self { keypair: Keypair::from_secret_key(&Secp256k1::new(), &secret), coins: Vec::new() })
    }

    fn key(&self) -> CompressedPublicKey {
        CompressedPublicKey(self.keypair.public_key())
    }

    /// What its coins pay to.
    pub fn script(&self) -> ScriptBuf {
        ScriptBuf::new_p2wpkh(&self.key().wpubkey_hash())
    }

    /// The same as an address.
    pub fn address(&self) -> BitcoinAddress {
        BitcoinAddress::p2wpkh(&self.key(), Network::Regtest)
    }

    /// Earns a block reward and splits it into `count` equal coins, all confirmed.
    pub async fn earn(&mut self, world: &World, count: u64) -> Result<()> {
        let coinbase = *world.mine(&self.script(), 1).await?.first().ok_or("no block")?;
        world.confirm(100).await?;
        let reward = 50 * 100_000_000;
        let each = (reward - 100 * WALLET_FEE) / count;
        let outputs = (0..count).map(|_| (each, self.script())).collect();
        let split = self.spend((OutPoint { txid: coinbase, vout: 0 }, reward), outputs)?;
        let txid = world.bitcoin.broadcast(split).await?;
        world.waits_for_a_block(txid).await?;
        world.confirm(1).await?;
        self.coins.extend((0u32..).zip(0..count).map(|(vout, _)| (OutPoint { txid, vout }, each)));
        Ok(())
    }

    /// A deposit of `sats` for `recipient` from one of the coins; what is over comes back, unnoticed by this wallet.
    pub fn deposit(&mut self, address: &str, sats: u64, recipient: Address) -> Result<Transaction> {
        let coin = self.coins.pop().ok_or("no coins left")?;
        let federation = address.parse::<BitcoinAddress<_>>()?.require_network(Network::Regtest)?;
        let rest = coin.1.checked_sub(sats + WALLET_FEE).ok_or("the coin is too small")?;
        let note = ScriptBuf::new_op_return(recipient.into_array());
        self.spend(coin, vec![(sats, federation.script_pubkey()), (0, note), (rest, self.script())])
    }

    fn spend(&self, coin: (OutPoint, u64), outputs: Vec<(u64, ScriptBuf)>) -> Result<Transaction> {
        let output = |(sats, script_pubkey)| TxOut { value: Amount::from_sat(sats), script_pubkey };
        let mut transaction = Transaction {
            version: transaction::Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn {
                previous_output: coin.0,
                script_sig: ScriptBuf::new(),
                sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
                witness: Witness::new(),
            }],
            output: outputs.into_iter().map(output).collect(),
        };
        let hash_type = EcdsaSighashType::All;
        let value = Amount::from_sat(coin.1);
        let hash = SighashCache::new(&transaction).p2wpkh_signature_hash(0, &self.script(), value, hash_type)?;
        let message = Message::from_digest(hash.to_byte_array());
        let signature = Secp256k1::new().sign_ecdsa(&message, &self.keypair.secret_key());
        let signature = ecdsa::Signature { signature, sighash_type: hash_type };
        if let Some(input) = transaction.input.first_mut() {
            input.witness = Witness::p2wpkh(&signature, &self.keypair.public_key());
        }
        Ok(transaction)
    }
}
