//! Snappy under gossip: decompressed before the message id is computed, so that one message has one id.

use crate::wire::{Topic, compress, decompress};
use libp2p::gossipsub::{DataTransform, Message, MessageId, RawMessage, TopicHash};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::io;

/// Bytes of a message id.
const ID_BYTES: usize = 20;

/// Decompresses within the topic's limit.
#[derive(Clone, Debug)]
pub(super) struct Snappy {
    topics: HashMap<TopicHash, Topic>,
}

impl Snappy {
    pub(super) fn new(topics: HashMap<TopicHash, Topic>) -> Self {
        Self { topics }
    }
}

impl DataTransform for Snappy {
    fn inbound_transform(&self, raw: RawMessage) -> Result<Message, io::Error> {
        let topic = self.topics.get(&raw.topic);
        let topic = topic.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unknown topic"))?;
        let data = decompress(&raw.data, topic.max_bytes())?;
        Ok(Message { source: raw.source, data, sequence_number: raw.sequence_number, topic: raw.topic })
    }

    fn outbound_transform(&self, _: &TopicHash, data: Vec<u8>) -> Result<Vec<u8>, io::Error> {
        Ok(compress(&data)?)
    }
}

/// The first 20 bytes of SHA-256 over topic and decompressed content.
pub(super) fn message_id(message: &Message) -> MessageId {
    let mut hasher = Sha256::new();
    hasher.update(message.topic.as_str().as_bytes());
    hasher.update([0]);
    hasher.update(&message.data);
    let digest = hasher.finalize();
    MessageId::new(digest.get(..ID_BYTES).unwrap_or(&digest))
}
