//! What peers send over libp2p: frames and gossip, compressed.

use alys_p2p::{GossipMessage, Request, Response, Topic};

/// A question as it comes from a peer: kind, two lengths, snappy.
///
/// # Panics
/// On a finding.
pub fn request_frame(bytes: &[u8]) {
    let Ok(request) = Request::from_frame(bytes) else { return };
    let again = request.to_frame().and_then(|frame| Request::from_frame(&frame));
    assert_eq!(again.ok(), Some(request), "a question that does not read back as written");
}

/// An answer as it comes from a peer.
///
/// # Panics
/// On a finding.
pub fn response_frame(bytes: &[u8]) {
    let Ok(response) = Response::from_frame(bytes) else { return };
    let again = response.to_frame().and_then(|frame| Response::from_frame(&frame));
    assert_eq!(again.ok(), Some(response), "an answer that does not read back as written");
}

/// Gossip, compressed: the first byte chooses the topic.
///
/// # Panics
/// On a finding.
pub fn gossip(bytes: &[u8]) {
    let Some((topic, bytes)) = bytes.split_first() else { return };
    let Some(topic) = Topic::ALL.get(usize::from(*topic) % Topic::ALL.len()) else { return };
    if let Ok(message) = GossipMessage::from_compressed(*topic, bytes) {
        assert_eq!(message.topic(), *topic);
        assert_eq!(GossipMessage::decode(*topic, &message.encode()).ok(), Some(message));
    }
}
