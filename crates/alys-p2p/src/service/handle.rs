//! The ways to the task.

use super::NetworkView;
use crate::peers::Offence;
use crate::wire::{GossipMessage, Refusal, Request, Response, Status};
use libp2p::PeerId;
use libp2p::gossipsub::MessageId;
use libp2p::request_response::InboundRequestId;
use tokio::sync::{mpsc, oneshot, watch};

/// A received message, for the verdict on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GossipId {
    pub(super) message: MessageId,
    pub(super) from: PeerId,
}

impl GossipId {
    /// Who passed it on.
    pub fn from(&self) -> PeerId {
        self.from
    }
}

/// A request that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub(super) InboundRequestId);

/// What becomes of a received message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is valid: passed on.
    Accept,
    /// Old, known, or not to be judged now: not passed on, and nobody is blamed.
    Ignore,
    /// It breaks a rule: not passed on, and who passed it here is blamed.
    Reject,
}

/// What comes from the network.
#[derive(Debug)]
pub enum Event {
    /// A message that waits for its verdict; without one it is not passed on.
    Gossip {
        /// For the verdict.
        id: GossipId,
        /// The message, bounded and decoded.
        message: GossipMessage,
    },
    /// A question of a peer, within its quota and bounds.
    Request {
        /// For the answer.
        id: RequestId,
        /// Who asks.
        peer: PeerId,
        /// What. Never [`Request::Status`], which the task answers itself.
        request: Request,
    },
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The peer is not connected, or the connection broke.
    #[error("the peer is not connected")]
    NotConnected,
    /// No answer in time.
    #[error("the peer did not answer in time")]
    Timeout,
    /// The peer does not speak the protocol.
    #[error("the peer does not speak the protocol")]
    Unsupported,
    /// The answer is no answer to the question.
    #[error("the peer's answer is malformed")]
    Malformed,
    /// The peer refused.
    #[error("the peer refused: {0:?}")]
    Refused(Refusal),
    /// The network service is busy or has stopped.
    #[error("the network service gives no answer")]
    Unavailable,
}

/// A command found no room, or nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Too many commands wait.
    #[error("too many commands wait for the network service")]
    Full,
    /// The service has stopped.
    #[error("the network service has stopped")]
    Stopped,
}

#[derive(Debug)]
pub(super) enum Command {
    Publish(GossipMessage),
    Verdict { id: GossipId, verdict: Verdict },
    Ask { peer: PeerId, request: Request, reply: oneshot::Sender<Result<Response, RequestError>> },
    Answer { id: RequestId, response: Response },
    Blame { peer: PeerId, offence: Offence },
    Status(Status),
}

/// Talks to the task. Cheap to clone; nothing here waits for the network but [`NetworkHandle::ask`].
#[derive(Clone, Debug)]
pub struct NetworkHandle {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) view: watch::Receiver<NetworkView>,
}

impl NetworkHandle {
    /// Tells everybody.
    ///
    /// # Errors
    /// [`SendError`]; a publication that finds no peers is only counted.
    pub fn publish(&self, message: GossipMessage) -> Result<(), SendError> {
        self.send(Command::Publish(message))
    }

    /// Judges a received message.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn judge(&self, id: GossipId, verdict: Verdict) -> Result<(), SendError> {
        self.send(Command::Verdict { id, verdict })
    }

    /// Asks one peer.
    ///
    /// # Errors
    /// [`RequestError`].
    ///
    /// # Cancel safety
    /// A dropped future loses the answer; the question was asked all the same.
    pub async fn ask(&self, peer: PeerId, request: Request) -> Result<Response, RequestError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Ask { peer, request, reply }).map_err(|_| RequestError::Unavailable)?;
        answer.await.map_err(|_| RequestError::Unavailable)?
    }

    /// Answers a peer's question.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn answer(&self, id: RequestId, response: Response) -> Result<(), SendError> {
        self.send(Command::Answer { id, response })
    }

    /// Holds something against a peer.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn blame(&self, peer: PeerId, offence: Offence) -> Result<(), SendError> {
        self.send(Command::Blame { peer, offence })
    }

    /// Replaces what peers are told of this node.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn set_status(&self, status: Status) -> Result<(), SendError> {
        self.send(Command::Status(status))
    }

    /// The newest view, and a way to wait for the next.
    pub fn view(&self) -> watch::Receiver<NetworkView> {
        self.view.clone()
    }

    fn send(&self, command: Command) -> Result<(), SendError> {
        self.commands.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SendError::Full,
            mpsc::error::TrySendError::Closed(_) => SendError::Stopped,
        })
    }
}

/// What comes from the network, in order.
#[derive(Debug)]
pub struct NetworkEvents(pub(super) mpsc::Receiver<Event>);

impl NetworkEvents {
    /// The next event; `None` when the task has ended.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.recv().await
    }
}
