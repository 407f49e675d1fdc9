//! What is told to everybody.

use super::frame::{FrameError, decompress};
use super::request::MAX_BLOCK_BYTES;
use alys_primitives::ssz::{Decode, DecodeError, Encode};
use alys_primitives::{
    Approval, AuxPowRecord, Evidence, FederationChange, Notarization, Pause, Root, SignedBlock, UnixMillis,
    VariableList, typenum,
};
use ssz_derive::{Decode, Encode};
use std::sync::Arc;

/// The longest transaction on the wire, as the transaction pool takes it.
const MAX_TRANSACTION_BYTES: usize = 128 * 1024;

/// The longest PSBT in gossip, in bytes. A payment of 64 inputs by 10 of 15 members takes about 150 kB.
pub const MAX_PSBT_BYTES: usize = 1024 * 1024;

/// Room for what stands around a PSBT.
const PEG_FRAMING: usize = 64;

/// Members' signatures of one payment of the peg.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PegSignatures {
    /// When the sender made the message. Gossip forgets a message only after minutes, so that the same signatures could
    /// not be told again to members which came to the payment later; nothing else depends on it.
    pub sent_at: UnixMillis,
    /// The payment with the signatures that the sender knows (BIP-174, BIP-371).
    pub psbt: VariableList<u8, typenum::U1048576>,
}

/// A subject of gossip. Each chain has its own, since its name is part of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Proposals.
    Block,
    /// Members' approvals.
    Approval,
    /// Certificates.
    Notarization,
    /// Work that waits for an author.
    AuxPow,
    /// Transactions.
    Transaction,
    /// Proofs of a broken promise.
    Evidence,
    /// Changes of the federation.
    Federation,
    /// Signatures of the peg's payments.
    Peg,
    /// Decisions about pausing the peg.
    Pause,
}

impl Topic {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Block,
        Self::Approval,
        Self::Notarization,
        Self::AuxPow,
        Self::Transaction,
        Self::Evidence,
        Self::Federation,
        Self::Peg,
        Self::Pause,
    ];

    /// Its name, as in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Approval => "approval",
            Self::Notarization => "notarization",
            Self::AuxPow => "auxpow",
            Self::Transaction => "transaction",
            Self::Evidence => "evidence",
            Self::Federation => "federation",
            Self::Peg => "peg",
            Self::Pause => "pause",
        }
    }

    /// Its name on the wire: `/alys/<first 8 bytes of the genesis root>/<name>/ssz_snappy/1`.
    pub fn wire_name(self, genesis_root: Root) -> String {
        let chain = hex::encode(genesis_root.get(..8).unwrap_or_default());
        format!("/alys/{chain}/{}/ssz_snappy/1", self.name())
    }

    /// The most bytes of a message, decompressed.
    pub fn max_bytes(self) -> usize {
        match self {
            Self::Block => MAX_BLOCK_BYTES,
            Self::Approval | Self::Notarization | Self::Pause => 512,
            Self::AuxPow => 96 * 1024,
            Self::Transaction => MAX_TRANSACTION_BYTES,
            Self::Evidence | Self::Federation => 64 * 1024,
            Self::Peg => MAX_PSBT_BYTES + PEG_FRAMING,
        }
    }
}

/// Why bytes are no message of their topic.
#[derive(Debug, thiserror::Error)]
pub enum GossipError {
    /// Too many bytes.
    #[error("{length} bytes in topic {topic}, at most {limit} are taken")]
    TooLarge {
        /// The topic's name.
        topic: &'static str,
        /// Bytes.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// Not the topic's SSZ.
    #[error("no message of topic {topic}: {reason:?}")]
    Ssz {
        /// The topic's name.
        topic: &'static str,
        /// What the decoder met.
        reason: DecodeError,
    },
}

/// One message, decoded.
#[derive(Clone, Debug, PartialEq)]
pub enum GossipMessage {
    /// A proposal.
    Block(Arc<SignedBlock>),
    /// An approval.
    Approval(Approval),
    /// A certificate.
    Notarization(Notarization),
    /// Work.
    AuxPow(Arc<AuxPowRecord>),
    /// An EIP-2718 transaction.
    Transaction(Vec<u8>),
    /// Proofs of a broken promise.
    Evidence(Arc<Evidence>),
    /// A change of the federation.
    Federation(Arc<FederationChange>),
    /// Signatures of a payment.
    Peg(Arc<PegSignatures>),
    /// A decision about pausing the peg.
    Pause(Pause),
}

impl GossipMessage {
    /// Where it belongs.
    pub fn topic(&self) -> Topic {
        match self {
            Self::Block(_) => Topic::Block,
            Self::Approval(_) => Topic::Approval,
            Self::Notarization(_) => Topic::Notarization,
            Self::AuxPow(_) => Topic::AuxPow,
            Self::Transaction(_) => Topic::Transaction,
            Self::Evidence(_) => Topic::Evidence,
            Self::Federation(_) => Topic::Federation,
            Self::Peg(_) => Topic::Peg,
            Self::Pause(_) => Topic::Pause,
        }
    }

    /// Its bytes before compression.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Block(block) => block.as_ssz_bytes(),
            Self::Approval(approval) => approval.as_ssz_bytes(),
            Self::Notarization(certificate) => certificate.as_ssz_bytes(),
            Self::AuxPow(record) => record.as_ssz_bytes(),
            Self::Transaction(bytes) => bytes.clone(),
            Self::Evidence(evidence) => evidence.as_ssz_bytes(),
            Self::Federation(change) => change.as_ssz_bytes(),
            Self::Peg(signatures) => signatures.as_ssz_bytes(),
            Self::Pause(pause) => pause.as_ssz_bytes(),
        }
    }

    /// Decompresses and decodes bytes as they come from a peer: measured before anything is allocated for them.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn from_compressed(topic: Topic, bytes: &[u8]) -> Result<Self, FrameError> {
        let bytes = decompress(bytes, topic.max_bytes())?;
        Self::decode(topic, &bytes).map_err(|_| FrameError::Ssz)
    }

    /// Decodes decompressed bytes. A transaction is checked by whoever knows transactions, a PSBT by whoever knows the
    /// payment.
    ///
    /// # Errors
    /// [`GossipError`].
    pub fn decode(topic: Topic, bytes: &[u8]) -> Result<Self, GossipError> {
        let limit = topic.max_bytes();
        if bytes.len() > limit {
            return Err(GossipError::TooLarge { topic: topic.name(), length: bytes.len(), limit });
        }
        let ssz = |reason| GossipError::Ssz { topic: topic.name(), reason };
        match topic {
            Topic::Block => SignedBlock::from_ssz_bytes(bytes).map(Arc::new).map(Self::Block).map_err(ssz),
            Topic::Approval => Approval::from_ssz_bytes(bytes).map(Self::Approval).map_err(ssz),
            Topic::Notarization => Notarization::from_ssz_bytes(bytes).map(Self::Notarization).map_err(ssz),
            Topic::AuxPow => AuxPowRecord::from_ssz_bytes(bytes).map(Arc::new).map(Self::AuxPow).map_err(ssz),
            Topic::Transaction if bytes.is_empty() => Err(ssz(DecodeError::ZeroLengthItem)),
            Topic::Transaction => Ok(Self::Transaction(bytes.to_vec())),
            Topic::Evidence => Evidence::from_ssz_bytes(bytes).map(Arc::new).map(Self::Evidence).map_err(ssz),
            Topic::Federation => {
                FederationChange::from_ssz_bytes(bytes).map(Arc::new).map(Self::Federation).map_err(ssz)
            }
            Topic::Peg => PegSignatures::from_ssz_bytes(bytes).map(Arc::new).map(Self::Peg).map_err(ssz),
            Topic::Pause => Pause::from_ssz_bytes(bytes).map(Self::Pause).map_err(ssz),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alys_primitives::{ApprovalData, SignatureBytes, Slot};

    fn approval() -> Approval {
        let data = ApprovalData { block_root: Root::repeat_byte(1), slot: Slot(7), ..sample_data() };
        Approval { data, member_index: 3, signature: SignatureBytes::repeat_byte(9) }
    }

    fn sample_data() -> ApprovalData {
        ApprovalData { block_root: Root::ZERO, slot: Slot(0), epoch: alys_primitives::Epoch(0) }
    }

    #[test]
    fn messages_read_back_as_written_in_their_topic_only() {
        let message = GossipMessage::Approval(approval());
        let bytes = message.encode();
        assert_eq!(GossipMessage::decode(Topic::Approval, &bytes).unwrap(), message);
        for topic in [Topic::Block, Topic::Notarization, Topic::AuxPow] {
            assert!(matches!(GossipMessage::decode(topic, &bytes), Err(GossipError::Ssz { .. })), "{topic:?}");
        }
    }

    #[test]
    fn oversize_and_empty_messages_are_refused() {
        for topic in Topic::ALL {
            let large = vec![0; topic.max_bytes() + 1];
            assert!(matches!(GossipMessage::decode(topic, &large), Err(GossipError::TooLarge { .. })), "{topic:?}");
            assert!(GossipMessage::decode(topic, &[]).is_err(), "{topic:?}");
        }
    }

    #[test]
    fn the_longest_psbt_fits_and_a_longer_one_does_not() {
        let message = |bytes: usize| PegSignatures {
            sent_at: UnixMillis(7),
            psbt: VariableList::new(vec![1; bytes]).unwrap_or_default(),
        };
        let longest = GossipMessage::Peg(Arc::new(message(MAX_PSBT_BYTES)));
        assert_eq!(GossipMessage::decode(Topic::Peg, &longest.encode()).unwrap(), longest);
        let mut longer = longest.encode();
        longer.push(1);
        assert!(matches!(GossipMessage::decode(Topic::Peg, &longer), Err(GossipError::Ssz { .. })));
    }

    #[test]
    fn chains_do_not_share_topics() {
        let name = Topic::Block.wire_name(Root::repeat_byte(0xab));
        assert_eq!(name, "/alys/abababababababab/block/ssz_snappy/1");
        assert_ne!(name, Topic::Block.wire_name(Root::ZERO));
    }
}
