//! What the network actor takes.

use alys_actor::{Message, Overflow, Reply};
use alys_chain::Message as ChainGossip;
use alys_evm::pool::PooledTransaction;
use alys_p2p::{Event, GossipId, NetworkView, Offence, PeerId, Request, RequestError, RequestId, Response, Verdict};
use std::sync::Arc;

/// Requests of other actors, and what comes in beside them.
#[derive(Debug)]
pub enum NetworkMessage {
    /// Asks one peer.
    Ask {
        /// Whom.
        peer: PeerId,
        /// What.
        request: Request,
        /// The answer.
        reply: Reply<Result<Response, RequestError>>,
    },
    /// Holds something against a peer.
    Blame {
        /// Whom.
        peer: PeerId,
        /// What it did.
        offence: Offence,
    },
    /// A peer told or asked something.
    Incoming(Event),
    /// The verdict on what a peer told.
    Judged {
        /// The message.
        id: GossipId,
        /// The verdict.
        verdict: Verdict,
    },
    /// The answer to what a peer asked.
    Answered {
        /// The question.
        id: RequestId,
        /// The answer.
        response: Response,
    },
    /// The chain wants peers to hear this.
    Outgoing(ChainGossip),
    /// A transaction became executable here.
    Transaction(Arc<PooledTransaction>),
    /// The bridge knows these signatures of a payment, as a PSBT.
    PegSignatures(Arc<[u8]>),
    /// So many messages were not sent, because this actor was too slow.
    Missed(u64),
    /// The peers, as they are now.
    Peers(Box<NetworkView>),
    /// Time to tell peers anew how far this node is.
    Status,
    /// The swarm's task ended.
    Ended,
}

impl Message for NetworkMessage {
    fn overflow(&self) -> Overflow {
        match self {
            Self::Ask { .. } => Overflow::Reject,
            Self::Blame { .. } => Overflow::DropOldest,
            Self::Incoming(_)
            | Self::Judged { .. }
            | Self::Answered { .. }
            | Self::Outgoing(_)
            | Self::Transaction(_)
            | Self::PegSignatures(_)
            | Self::Missed(_)
            | Self::Peers(_)
            | Self::Status
            | Self::Ended => Overflow::Wait,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Ask { .. } => "ask",
            Self::Blame { .. } => "blame",
            Self::Incoming(_) => "incoming",
            Self::Judged { .. } => "judged",
            Self::Answered { .. } => "answered",
            Self::Outgoing(_) => "outgoing",
            Self::Transaction(_) => "transaction",
            Self::PegSignatures(_) => "peg-signatures",
            Self::Missed(_) => "missed",
            Self::Peers(_) => "peers",
            Self::Status => "status",
            Self::Ended => "ended",
        }
    }
}
