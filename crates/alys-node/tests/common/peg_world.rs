//! A federation of processes that share one Bitcoin, and somebody with coins: what tests and the demonstration of the peg
//! play with. Nothing in here looks inside a node.

#![allow(dead_code, reason = "tests and examples each use their part")]
#![allow(unreachable_pub, reason = "shared by tests and examples")]

use alys_bitcoin::core_rpc::{Auth, CoreConfig};
use alys_bitcoin::{BitcoinPort as _, CoreRpc};
use alys_node::evm_account::{Call, EvmAccount};
use alys_node::rpc_client::{RpcClient, RpcClientError};
use alys_primitives::{Address, U256};
use bitcoin::Txid;
use serde_json::{Value, json};
use std::error::Error;
use std::fs::OpenOptions;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[path = "bitcoin_blocks.rs"]
mod bitcoin_blocks;
#[path = "bitcoin_wallet.rs"]
mod bitcoin_wallet;

#[allow(unused_imports, reason = "tests and examples each use their part")]
pub use bitcoin_wallet::BitcoinWallet;

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
    /// Host and port of its metrics.
    metrics: String,
    log: PathBuf,
    process: Option<Process>,
}

/// Where a member listens.
struct Place {
    rpc: u16,
    metrics: u16,
    p2p: u16,
    peer: String,
}

/// The processes.
pub struct World {
    binary: PathBuf,
    folder: PathBuf,
    places: Vec<Place>,
    /// The flags that all members have.
    flags: Vec<String>,
    members: Vec<Member>,
    miner: Option<Process>,
    backend: Backend,
    bitcoin_port: u16,
    bitcoin_process: Option<Process>,
    /// The shared Bitcoin.
    pub bitcoin: CoreRpc,
}

impl World {
    /// Starts a Bitcoin, `members` members with a custody signer each, and a merged miner, with all files below `folder`.
    pub async fn start(binary: &Path, folder: &Path, members: usize, backend: &Backend) -> Result<Self> {
        Self::start_with(binary, folder, members, backend, &[]).await
    }

    /// The same, with these flags for `init` beside its own.
    pub async fn start_with(
        binary: &Path,
        folder: &Path,
        members: usize,
        backend: &Backend,
        init: &[String],
    ) -> Result<Self> {
        let ports = free_ports(members * 3 + 1)?;
        let mut ports = ports.into_iter();
        let mut port = || ports.next().ok_or("too few ports");
        let bitcoin_port = port()?;
        let (process, bitcoin, flags) = start_bitcoin(binary, folder, backend, bitcoin_port)?;

        let chain = folder.join("chain");
        let made = Command::new(binary)
            .args(["init", "--preset", "dev", "--members", &members.to_string(), "--slot-seconds", "1"])
            .args(init)
            .args(["--epoch-delay", "16", "--data-dir"])
            .arg(&chain)
            .stdout(Stdio::null())
            .status()?;
        if !made.success() {
            return Err("no chain could be made".into());
        }
        let mut places = Vec::new();
        for index in 0..members {
            let peer = std::fs::read_to_string(chain.join(format!("member-{index}/peer-id")))?;
            places.push(Place { rpc: port()?, metrics: port()?, p2p: port()?, peer: peer.trim().to_owned() });
        }
        let list = (0..members).map(|index| member(folder, index, &places, &flags));
        let members = list.collect();
        let (binary, folder) = (binary.to_owned(), folder.to_owned());
        let (backend, bitcoin_process) = (backend.clone(), Some(process));
        let mut world = Self {
            binary,
            folder,
            places,
            flags,
            members,
            miner: None,
            backend,
            bitcoin_port,
            bitcoin_process,
            bitcoin,
        };
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

    /// A further node with a key of its own, new from the keystore on, which waits to become a member; gives its number.
    pub fn join(&mut self) -> Result<usize> {
        let index = self.members.len();
        let own = |name: &str| self.file(&format!("member-{index}/{name}"));
        std::fs::create_dir_all(own(""))?;
        std::fs::write(own("password"), "correct horse")?;
        let keys = words(&["keys", "new", "--kdf", "pbkdf2", "--password-file", &own("password")]);
        self.command(&[keys, words(&["--out", &own("keystore.json")])].concat())?;
        let config = "[node]\ndata_dir = \"data\"\nchain_spec = \"../chain.json\"\ngenesis = \"../genesis.json\"\n\
                      [validator]\nkeystore = \"keystore.json\"\npassword_file = \"password\"\n";
        std::fs::write(own("alys.toml"), config)?;
        self.command(&words(&["keys", "history", "new", "--never-signed", "--config", &own("alys.toml")]))?;
        let mut ports = free_ports(3)?.into_iter();
        let mut port = || ports.next().ok_or("too few ports");
        self.places.push(Place { rpc: port()?, metrics: port()?, p2p: port()?, peer: String::new() });
        self.members.push(member(&self.folder, index, &self.places, &self.flags));
        self.start_member(index)?;
        Ok(index)
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

    /// Flags of commands that ask this Bitcoin themselves.
    pub fn bitcoin_flags(&self) -> &[String] {
        &self.flags
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
        let mut votes = Vec::new();
        for index in signers {
            let mut arguments = words(&["peg", "pause", "sign", "--epoch", "0", "--sequence", &sequence.to_string()]);
            arguments.extend(self.chain_files());
            arguments.extend(self.key_files(*index));
            arguments.extend(words(flags));
            let vote = self.folder.join(format!("vote-{sequence}-{index}"));
            std::fs::write(&vote, self.command(&arguments)?)?;
            votes.push(vote.display().to_string());
        }
        let mut arguments = words(&["peg", "pause", "submit", "--rpc", self.url(submit_to)]);
        arguments.extend(votes);
        self.command(&arguments).map(drop)
    }

    /// Flags that name the chain.
    pub fn chain_files(&self) -> Vec<String> {
        words(&["--chain-spec", &self.file("chain.json"), "--genesis", &self.file("genesis.json")])
    }

    /// Flags that name a member's key.
    pub fn key_files(&self, index: usize) -> Vec<String> {
        let own = |name: &str| self.file(&format!("member-{index}/{name}"));
        words(&["--keystore", &own("keystore.json"), "--password-file", &own("password")])
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

    /// The payment of a burn, once enough members have signed and it was sent.
    pub async fn sent(&self, member: usize, burn: &str) -> Result<Txid> {
        let status = self
            .until("a payment", member, ("alys_pegOutStatus", json!([burn])), |status| {
                matches!(status[0]["status"].as_str(), Some("broadcast" | "confirmed" | "paid"))
            })
            .await?;
        Ok(status[0]["txid"].as_str().ok_or("no txid")?.parse()?)
    }

    /// Waits until a member says that a burn was paid, and checks the amount against the transaction; gives the fee.
    pub async fn paid(&self, member: usize, burn: &str, payment: Txid, sats: u64) -> Result<u64> {
        let asked = ("alys_pegOutStatus", json!([burn]));
        let paid = self.until("the settlement", member, asked, |status| status[0]["status"] == "paid").await?;
        let found = self.bitcoin.find_transaction(payment).await?.ok_or("the payment is in no block")?;
        let vout = usize::try_from(paid[0]["vout"].as_u64().ok_or("no output")?)?;
        let value = found.transaction.output.get(vout).ok_or("no such output")?.value.to_sat();
        same("the payment's output in satoshis", &paid[0]["paidSats"], &json!(value))?;
        same("the payment's fee in satoshis", &paid[0]["feeSats"], &json!(sats - value))?;
        same("the payment", &paid[0]["txid"], &json!(payment.to_string()))?;
        Ok(sats - value)
    }

    /// Waits until an account has what was deposited for it, to the wei, at each of these members.
    pub async fn credited(&self, members: std::ops::Range<usize>, account: Address, sats: u64) -> Result<()> {
        for member in members {
            let asked = ("eth_getBalance", json!([account, "latest"]));
            let expected = format!("{:#x}", wei(sats));
            self.until("the credit", member, asked, |balance| *balance == json!(expected)).await?;
        }
        Ok(())
    }

    /// Runs a command of the binary, which must succeed; gives what it printed.
    pub fn command(&self, arguments: &[String]) -> Result<String> {
        let output = Command::new(&self.binary).args(arguments).output()?;
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout)?),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned().into()),
        }
    }

    /// A file of the chain's folder, such as `member-0/keystore.json`.
    pub fn file(&self, name: &str) -> String {
        self.folder.join("chain").join(name).display().to_string()
    }

    /// JSON-RPC address of a member.
    pub fn url(&self, member: usize) -> &str {
        &self.members[member].url
    }

    /// A member's metric without labels; zero if it was never touched.
    pub async fn metric(&self, member: usize, name: &str) -> Result<f64> {
        let address = &self.members[member].metrics;
        let mut socket = TcpStream::connect(address).await?;
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await?;
        let text = String::from_utf8_lossy(&answer);
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.unwrap_or("0").trim().parse()?)
    }

    /// Starts a member's signer again, with one more flag from now on.
    pub fn restart_signer_with(&mut self, index: usize, flag: String) -> Result<()> {
        self.kill_signer(index);
        self.members[index].signer.push(flag);
        self.start_signer(index)
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

    /// Kills the Bitcoin and starts it again: its blocks are kept, what waited in its pool is not.
    pub async fn restart_bitcoin(&mut self) -> Result<()> {
        self.bitcoin_process = None;
        let (process, bitcoin, _) = start_bitcoin(&self.binary, &self.folder, &self.backend, self.bitcoin_port)?;
        (self.bitcoin_process, self.bitcoin) = (Some(process), bitcoin);
        self.bitcoin_answers().await
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

/// How a member's processes are started.
fn member(folder: &Path, index: usize, places: &[Place], flags: &[String]) -> Member {
    let own = |name: &str| folder.join(format!("chain/member-{index}/{name}")).display().to_string();
    let peers: Vec<String> = places
        .iter()
        .enumerate()
        .filter(|(other, _)| *other != index)
        .map(|(_, place)| format!("/ip4/127.0.0.1/tcp/{}/p2p/{}", place.p2p, place.peer))
        .collect();
    let Place { rpc, metrics, p2p, .. } = &places[index];
    let mut arguments = vec![
        "run".to_owned(),
        format!("--config={}", own("alys.toml")),
        format!("--rpc-listen=127.0.0.1:{rpc}"),
        format!("--metrics-listen=127.0.0.1:{metrics}"),
        format!("--network-listen=/ip4/127.0.0.1/tcp/{p2p}"),
        format!("--network-peers={}", peers.join(",")),
    ];
    arguments.extend(flags.iter().cloned());
    arguments.push(format!("--validator-custody-socket={}", own("signer.socket")));
    let signer = vec![
        "custody-signer".to_owned(),
        format!("--chain-spec={}", folder.join("chain/chain.json").display()),
        format!("--genesis={}", folder.join("chain/genesis.json").display()),
        format!("--keystore={}", own("keystore.json")),
        format!("--password-file={}", own("password")),
        format!("--socket={}", own("signer.socket")),
        format!("--record={}", own("signed-payments")),
    ];
    Member {
        arguments,
        signer,
        signer_process: None,
        url: format!("http://127.0.0.1:{rpc}"),
        metrics: format!("127.0.0.1:{metrics}"),
        log: folder.join(format!("member-{index}.log")),
        process: None,
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

/// Fails with both values if they differ.
pub fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Result<()> {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:?}, expected {expected:?}").into()) }
}

/// Arguments of a command.
pub fn words(arguments: &[&str]) -> Vec<String> {
    arguments.iter().map(|&word| word.to_owned()).collect()
}
