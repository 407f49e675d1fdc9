//! Loopback proxies between peers: a connection can be cut and held off without touching the machine's network.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::failure::Failure;

/// Bytes carried at once.
const CHUNK: usize = 16 * 1024;

/// How often a carrying thread looks whether it was cut.
const LOOK: Duration = Duration::from_millis(100);

/// One way: who connects to `address` reaches `to`, unless it is cut.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    cut: Arc<AtomicBool>,
    /// Counts the cuts: connections of an earlier count end.
    era: Arc<AtomicU64>,
}

impl Proxy {
    fn start(to: SocketAddr) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::work("a proxy can't listen").because(error);
        let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (cut, era) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let seen = (Arc::clone(&cut), Arc::clone(&era));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if seen.0.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(server) = TcpStream::connect(to) else { continue };
                let now = seen.1.load(Ordering::SeqCst);
                for (from, into) in [(&client, &server), (&server, &client)] {
                    if let (Ok(from), Ok(into)) = (from.try_clone(), into.try_clone()) {
                        let era = Arc::clone(&seen.1);
                        thread::spawn(move || carry(from, into, &era, now));
                    }
                }
            }
        });
        Ok(Self { address, cut, era })
    }

    fn set(&self, cut: bool) {
        self.cut.store(cut, Ordering::SeqCst);
        if cut {
            self.era.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Carries bytes until either end closes or the way is cut.
fn carry(mut from: TcpStream, mut into: TcpStream, era: &AtomicU64, mine: u64) {
    let mut buffer = vec![0; CHUNK];
    // Without nodelay and a timeout the proxy would add delays of its own.
    let _ = into.set_nodelay(true);
    let _ = from.set_read_timeout(Some(LOOK));
    loop {
        if era.load(Ordering::SeqCst) != mine {
            break;
        }
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                let Some(bytes) = buffer.get(..count) else { break };
                if into.write_all(bytes).is_err() {
                    break;
                }
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    // Both ends learn of it; the other direction ends with them.
    let _ = from.shutdown(Shutdown::Both);
    let _ = into.shutdown(Shutdown::Both);
}

/// The ways between all nodes.
pub(crate) struct Links {
    direct: Vec<SocketAddr>,
    proxies: BTreeMap<(usize, usize), Proxy>,
}

impl Links {
    pub(super) fn direct(listens: &[SocketAddr]) -> Self {
        Self { direct: listens.to_vec(), proxies: BTreeMap::new() }
    }

    /// A proxy for each ordered pair of nodes.
    pub(super) fn proxied(listens: &[SocketAddr]) -> Result<Self, Failure> {
        let mut links = Self::direct(listens);
        for from in 0..listens.len() {
            for (into, listen) in listens.iter().enumerate() {
                if from != into {
                    links.proxies.insert((from, into), Proxy::start(*listen)?);
                }
            }
        }
        Ok(links)
    }

    /// Where `from` reaches `into`.
    pub(super) fn way(&self, from: usize, into: usize) -> Option<SocketAddr> {
        match self.proxies.get(&(from, into)) {
            Some(proxy) => Some(proxy.address),
            None => self.direct.get(into).copied(),
        }
    }

    /// Cuts every way between a node of `side` and one outside of it.
    pub(crate) fn partition(&self, side: &[usize]) {
        for ((from, into), proxy) in &self.proxies {
            proxy.set(side.contains(from) != side.contains(into));
        }
    }

    /// Opens every way.
    pub(crate) fn heal(&self) {
        for proxy in self.proxies.values() {
            proxy.set(false);
        }
    }
}
