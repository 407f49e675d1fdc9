//! A federation of real `alys-node` processes on this machine: what `testnet` and `chaos` share.

mod disk;
mod node;
mod power;
mod preload;
mod proxy;
mod rpc;
mod service;

pub(crate) use node::{Log, Node, signal};
pub(crate) use proxy::Links;
pub(crate) use rpc::{Status, call};
pub(crate) use service::{Bitcoin, Client, Service};

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::run::{run, shown, target};
use crate::setup;

/// Who the miner is paid for: the first development account.
pub(crate) const PAYOUT: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

/// How long a node may take from its start to its first answer.
pub(crate) const START: Duration = Duration::from_secs(60);

/// What kind of federation.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) nodes: usize,
    pub(crate) slot_seconds: u64,
    pub(crate) folder: PathBuf,
    pub(crate) release: bool,
    /// A program that is there already, such as a build with a planted bug; none: it is built.
    pub(crate) program: Option<PathBuf>,
    /// Whether peers reach each other through proxies that can be cut.
    pub(crate) proxied: bool,
    /// Seconds between two rounds of mining; no miner without.
    pub(crate) mining: Option<u64>,
    /// Whether each node's wall clock can be set, and its syncs made to fail.
    pub(crate) preloaded: bool,
    /// Variables that the nodes are started with.
    pub(crate) environment: Vec<(String, String)>,
    /// Whether each node has a disk that can be filled.
    pub(crate) small_disks: bool,
    /// Whether the nodes share a regtest Bitcoin.
    pub(crate) bitcoin: bool,
    /// Whether the last node has its EVM in an execution client, behind the Engine API.
    pub(crate) client: bool,
}

/// The processes and the ways between them.
pub(crate) struct Federation {
    pub(crate) nodes: Vec<Node>,
    pub(crate) links: Links,
    pub(crate) bitcoin: Option<Bitcoin>,
    pub(crate) client: Option<Client>,
    miner: Option<Child>,
    pub(crate) folder: PathBuf,
}

/// Builds the node, unless the plan names a program, and gives the program's path.
pub(crate) fn program(plan: &Plan) -> Result<PathBuf, Failure> {
    if let Some(program) = &plan.program {
        return program.canonicalize().map_err(|error| Failure::file("run", program, &error));
    }
    build(plan.release, &[])
}

/// Builds the node with more arguments to cargo and gives the program's path.
pub(crate) fn build(release: bool, more: &[&str]) -> Result<PathBuf, Failure> {
    let mut build = setup::prepare()?.cargo();
    build.args(["build", "--package", "alys-node", "--bin", "alys-node"]).args(more);
    if release {
        build.arg("--release");
    }
    run(&mut build)?;
    Ok(target().join(if release { "release" } else { "debug" }).join("alys-node"))
}

impl Federation {
    /// Writes a chain (if the folder has none yet) and starts its nodes.
    pub(crate) fn start(program: &Path, plan: &Plan) -> Result<Self, Failure> {
        let chain = plan.folder.join("chain");
        if !chain.join("chain.json").exists() {
            let mut init = Command::new(program);
            init.args(["init", "--preset", "dev", "--data-dir"])
                .arg(&chain)
                .args(["--members", &plan.nodes.to_string(), "--slot-seconds", &plan.slot_seconds.to_string()])
                .stdout(Stdio::null());
            run(&mut init)?;
        }
        let peers = (0..plan.nodes)
            .map(|index| {
                let text = read_text(&chain.join(format!("member-{index}/peer-id")))?;
                Ok(text.trim().to_owned())
            })
            .collect::<Result<Vec<_>, Failure>>()?;
        let ports = free_ports(plan.nodes * 3 + 2)?;
        let [own @ .., for_bitcoin, for_client] = ports.as_slice() else {
            return Err(Failure::work("no free loopback ports"));
        };
        let bitcoin = plan.bitcoin.then(|| Bitcoin::start(program, *for_bitcoin, &plan.folder)).transpose()?;
        let genesis = chain.join("genesis.json");
        let client = plan.client.then(|| Client::start(program, *for_client, &genesis, &plan.folder)).transpose()?;
        let ports: Vec<[SocketAddr; 3]> = own.chunks_exact(3).filter_map(|three| three.try_into().ok()).collect();
        let listens: Vec<SocketAddr> = ports.iter().map(|[_, _, p2p]| *p2p).collect();
        let links = if plan.proxied { Links::proxied(&listens)? } else { Links::direct(&listens) };
        let library = plan.preloaded.then(|| preload::compile(&plan.folder)).transpose()?;
        let mut nodes = Vec::new();
        for (index, [rpc, metrics, p2p]) in ports.into_iter().enumerate() {
            let others = (0..plan.nodes)
                .filter(|other| *other != index)
                .filter_map(|other| {
                    let way = links.way(index, other)?;
                    let peer = peers.get(other)?;
                    Some(format!("/ip4/{}/tcp/{}/p2p/{peer}", way.ip(), way.port()))
                })
                .collect::<Vec<_>>()
                .join(",");
            let mut arguments = vec![
                "run".to_owned(),
                format!("--config={}", chain.join(format!("member-{index}/alys.toml")).display()),
                format!("--rpc-listen={rpc}"),
                "--rpc-mining=true".to_owned(),
                format!("--metrics-listen={metrics}"),
                format!("--network-listen=/ip4/{}/tcp/{}", p2p.ip(), p2p.port()),
                format!("--network-peers={others}"),
                "--node-log=info".to_owned(),
                "--node-log-format=json".to_owned(),
            ];
            if let Some(client) = client.as_ref().filter(|_| index + 1 == plan.nodes) {
                arguments.extend(client.arguments());
            }
            let log = plan.folder.join(format!("node-{index}.log"));
            let mut node = Node::new(index, program.to_owned(), arguments, rpc, metrics, log);
            node.environment.clone_from(&plan.environment);
            node.environment.extend(bitcoin.iter().flat_map(Bitcoin::environment));
            let data = chain.join(format!("member-{index}/data"));
            if let Some(library) = &library {
                let control = plan.folder.join(format!("faults-{index}"));
                node.preload = Some(preload::Preload::new(library.clone(), control, data.clone())?);
            }
            if plan.small_disks {
                node.disk = Some(disk::SmallDisk::mount(&data)?);
            }
            nodes.push(node);
        }
        let mut federation = Self { nodes, links, bitcoin, client, miner: None, folder: plan.folder.clone() };
        for node in &mut federation.nodes {
            node.start()?;
        }
        for node in &mut federation.nodes {
            node.until_answers(START)?;
        }
        if let Some(period) = plan.mining {
            federation.miner = Some(start_miner(program, &federation.nodes, period, &plan.folder)?);
        }
        Ok(federation)
    }

    /// The nodes' answers now; none from a node that is down or does not answer.
    pub(crate) fn statuses(&self) -> Vec<Option<Status>> {
        thread::scope(|scope| {
            let asked: Vec<_> = self.nodes.iter().map(|node| scope.spawn(|| node.status())).collect();
            asked.into_iter().map(|asked| asked.join().unwrap_or_default()).collect()
        })
    }

    /// Waits until `wanted` holds of the statuses; gives how long that took.
    pub(crate) fn until(
        &self,
        what: &str,
        patience: Duration,
        wanted: impl Fn(&[Option<Status>]) -> bool,
    ) -> Result<Duration, Failure> {
        let began = Instant::now();
        loop {
            let statuses = self.statuses();
            if wanted(&statuses) {
                return Ok(began.elapsed());
            }
            if began.elapsed() > patience {
                return Err(Failure::work(format!("{what} did not happen within {} s", patience.as_secs()))
                    .because(line(&statuses)));
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Stops everything in order: SIGTERM, then SIGKILL for what stays.
    pub(crate) fn stop(&mut self) -> Vec<(usize, String)> {
        if let Some(miner) = &mut self.miner {
            signal(miner.id(), "TERM");
        }
        for node in &self.nodes {
            node.signal("CONT");
            node.signal("TERM");
        }
        let mut ends = Vec::new();
        for node in &mut self.nodes {
            if let Some(end) = node.end_within(Duration::from_secs(20)) {
                ends.push((node.index, end));
            }
        }
        if let Some(mut miner) = self.miner.take() {
            // It holds nothing.
            let _ = miner.kill();
            let _ = miner.wait();
        }
        ends
    }
}

impl Drop for Federation {
    fn drop(&mut self) {
        self.stop();
    }
}

fn read_text(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| Failure::file("read", path, &error))
}

fn start_miner(program: &Path, nodes: &[Node], period: u64, folder: &Path) -> Result<Child, Failure> {
    let urls = nodes.iter().map(|node| format!("http://{}", node.rpc)).collect::<Vec<_>>().join(",");
    let path = folder.join("miner.log");
    let log = fs::File::create(&path).map_err(|error| Failure::file("write", &path, &error))?;
    let mut miner = Command::new(program);
    miner
        .args(["mine", "--rpc", &urls, "--payout", PAYOUT, "--period", &period.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    miner.spawn().map_err(|error| Failure::work(format!("cannot start `{}`", shown(&miner))).because(error))
}

/// One line for all nodes: head, safe and finalized height, and peers.
pub(crate) fn line(statuses: &[Option<Status>]) -> String {
    let cells = statuses.iter().enumerate().map(|(index, status)| match status {
        None => format!("{index}: -"),
        Some(status) => format!(
            "{index}: {}/{}/{} p{}{}",
            status.head,
            status.safe,
            status.finalized,
            status.peers,
            if status.stalled { " stalled" } else { "" }
        ),
    });
    cells.collect::<Vec<_>>().join("   ")
}

/// Loopback ports that were free a moment ago, below those that Linux gives to outgoing connections: a node that is down
/// does not find its port taken by one.
pub(crate) fn free_ports(count: usize) -> Result<Vec<SocketAddr>, Failure> {
    let from = 12_000 + u16::try_from(std::process::id() % 400).unwrap_or(0) * 50;
    let ports: Vec<SocketAddr> = (from..=u16::MAX)
        .filter_map(|port| TcpListener::bind(("127.0.0.1", port)).ok()?.local_addr().ok())
        .take(count)
        .collect();
    if ports.len() == count { Ok(ports) } else { Err(Failure::work("no free loopback ports")) }
}

/// The value at `percent` of sorted numbers.
pub(crate) fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let index = (sorted.len().saturating_mul(percent)).div_ceil(100).saturating_sub(1);
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0)
}
