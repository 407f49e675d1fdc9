//! Where a peer is and who it must be.

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use std::fmt;
use std::str::FromStr;

/// The longest text of an address.
const MAX_TEXT: usize = 512;

/// Why a text is no peer's address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not a multiaddress.
    #[error("`{text}` is no multiaddress ({reason})")]
    Form {
        /// The text.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Longer than any address.
    #[error("an address of {length} characters, at most {MAX_TEXT} are taken")]
    TooLong {
        /// Its length.
        length: usize,
    },
    /// It does not say who is there.
    #[error("`{text}` does not end with /p2p/ and the peer's id")]
    NoPeer {
        /// The text.
        text: String,
    },
    /// A transport that this node does not speak.
    #[error("`{text}`: only /ip4 or /ip6 with /tcp/PORT or /udp/PORT/quic-v1 are spoken")]
    Transport {
        /// The text.
        text: String,
    },
}

/// A peer's address: `/ip4/10.0.0.7/tcp/30303/p2p/12D3Koo…`. The id is checked by the handshake, so that whoever answers
/// at the address without holding the key is no peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerAddress {
    /// Who.
    pub peer: PeerId,
    /// Where, without the id.
    pub address: Multiaddr,
}

/// Parses an address to listen on, such as `/ip4/127.0.0.1/tcp/30303` or `/ip4/0.0.0.0/udp/30303/quic-v1`.
///
/// # Errors
/// [`AddressError`].
pub fn listen_address(text: &str) -> Result<Multiaddr, AddressError> {
    let address = parse(text)?;
    check_transport(text, &address)?;
    Ok(address)
}

impl FromStr for PeerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let mut address = parse(text)?;
        let Some(Protocol::P2p(peer)) = address.pop() else {
            return Err(AddressError::NoPeer { text: text.to_owned() });
        };
        check_transport(text, &address)?;
        Ok(Self { peer, address })
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/p2p/{}", self.address, self.peer)
    }
}

fn parse(text: &str) -> Result<Multiaddr, AddressError> {
    if text.len() > MAX_TEXT {
        return Err(AddressError::TooLong { length: text.len() });
    }
    text.parse().map_err(|error: libp2p::multiaddr::Error| AddressError::Form {
        text: text.to_owned(),
        reason: error.to_string(),
    })
}

fn check_transport(text: &str, address: &Multiaddr) -> Result<(), AddressError> {
    let parts: Vec<Protocol<'_>> = address.iter().collect();
    match parts.as_slice() {
        [Protocol::Ip4(_) | Protocol::Ip6(_), Protocol::Tcp(_)]
        | [Protocol::Ip4(_) | Protocol::Ip6(_), Protocol::Udp(_), Protocol::QuicV1] => Ok(()),
        _ => Err(AddressError::Transport { text: text.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";

    #[test]
    fn an_address_reads_back_as_printed() {
        for transport in ["/ip4/127.0.0.1/tcp/30303", "/ip6/::1/udp/9/quic-v1"] {
            let text = format!("{transport}/p2p/{PEER}");
            let address: PeerAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(address.address, listen_address(transport).unwrap());
        }
    }

    #[test]
    fn what_can_not_be_dialled_is_refused() {
        assert!(matches!("".parse::<PeerAddress>(), Err(AddressError::NoPeer { .. })));
        assert!(matches!("127.0.0.1:30303".parse::<PeerAddress>(), Err(AddressError::Form { .. })));
        assert!(matches!("/ip4/127.0.0.1/tcp/1".parse::<PeerAddress>(), Err(AddressError::NoPeer { .. })));
        let memory = format!("/memory/7/p2p/{PEER}");
        assert!(matches!(memory.parse::<PeerAddress>(), Err(AddressError::Transport { .. })));
        assert!(matches!("/".repeat(600).parse::<PeerAddress>(), Err(AddressError::TooLong { .. })));
        assert!(matches!(listen_address("/ip4/127.0.0.1/udp/1"), Err(AddressError::Transport { .. })));
    }
}
