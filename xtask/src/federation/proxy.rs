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

/// Hexadecimal digits in a row that make a hash, a block or a payload, which a lying proxy changes; no number is as long.
const LONG: usize = 33;

/// One way: who connects to `address` reaches `to`, unless it is cut.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    cut: Arc<AtomicBool>,
    /// Counts the cuts: connections of an earlier count end.
    era: Arc<AtomicU64>,
    lying: Arc<AtomicBool>,
}

impl Proxy {
    pub(super) fn start(to: SocketAddr) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::work("a proxy can't listen").because(error);
        let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (cut, era) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let lying = Arc::new(AtomicBool::new(false));
        let seen = (Arc::clone(&cut), Arc::clone(&era), Arc::clone(&lying));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if seen.0.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(server) = TcpStream::connect(to) else { continue };
                let now = seen.1.load(Ordering::SeqCst);
                for (from, into, answers) in [(&client, &server, false), (&server, &client, true)] {
                    if let (Ok(from), Ok(into)) = (from.try_clone(), into.try_clone()) {
                        let (era, lying) = (Arc::clone(&seen.1), answers.then(|| Arc::clone(&seen.2)));
                        thread::spawn(move || carry(from, into, &era, now, lying.as_deref()));
                    }
                }
            }
        });
        Ok(Self { address, cut, era, lying })
    }

    /// Changes what the server answers, or leaves it alone again.
    pub(super) fn lie(&self, lying: bool) {
        self.lying.store(lying, Ordering::SeqCst);
    }

    fn set(&self, cut: bool) {
        self.cut.store(cut, Ordering::SeqCst);
        if cut {
            self.era.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Changes the last digit of every long hexadecimal string, which leaves lengths and JSON as they are.
fn falsify(bytes: &mut [u8]) {
    let mut row = 0;
    for place in 0..=bytes.len() {
        if bytes.get(place).is_some_and(u8::is_ascii_hexdigit) {
            row += 1;
            continue;
        }
        if row >= LONG
            && let Some(last) = place.checked_sub(1).and_then(|last| bytes.get_mut(last))
        {
            *last = if *last == b'0' { b'1' } else { b'0' };
        }
        row = 0;
    }
}

/// Carries bytes until either end closes or the way is cut, changed while `lying` is set.
fn carry(mut from: TcpStream, mut into: TcpStream, era: &AtomicU64, mine: u64, lying: Option<&AtomicBool>) {
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
                let Some(bytes) = buffer.get_mut(..count) else { break };
                if lying.is_some_and(|lying| lying.load(Ordering::SeqCst)) {
                    falsify(bytes);
                }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lie_is_a_hash_that_is_not_right_in_an_answer_that_is() {
        let hash = "ab".repeat(32);
        let honest = format!("Content-Length: 123\r\n\r\n{{\"id\":17,\"number\":\"0x1234\",\"hash\":\"0x{hash}\"}}");
        let mut told = honest.clone().into_bytes();
        falsify(&mut told);
        let told = String::from_utf8_lossy(&told).into_owned();
        assert_eq!(told, honest.replace(&hash, &format!("{}0", hash.get(..63).unwrap_or_default())));
        let mut again = told.clone().into_bytes();
        falsify(&mut again);
        assert_ne!(String::from_utf8_lossy(&again), told);
    }
}
