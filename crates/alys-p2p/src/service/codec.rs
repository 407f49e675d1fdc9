//! Requests and answers as frames.

use crate::wire::{FrameError, Request, Response, read_frame, write_frame};
use futures::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use libp2p::StreamProtocol;
use libp2p::request_response::Codec;
use std::io;

/// The protocol's name on the wire.
pub(super) const PROTOCOL: StreamProtocol = StreamProtocol::new("/alys/req/1/ssz_snappy");

/// What came as a request. libp2p tells nobody of a request that could not be read, so this says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// A request.
    Valid(Request),
    /// Bytes that are none.
    Malformed,
}

#[derive(Clone, Debug, Default)]
pub(super) struct FrameCodec;

impl Codec for FrameCodec {
    type Protocol = StreamProtocol;
    type Request = Question;
    type Response = Response;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Question>
    where
        T: AsyncRead + Unpin + Send,
    {
        let read = read_frame(io, Request::limit).await;
        match read.and_then(|(kind, content)| Request::decode(kind, &content)) {
            Ok(request) => Ok(Question::Valid(request)),
            Err(FrameError::Stream(error)) => Err(error),
            Err(error) => {
                tracing::debug!(%error, "request is malformed");
                Ok(Question::Malformed)
            }
        }
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Response>
    where
        T: AsyncRead + Unpin + Send,
    {
        let (kind, content) = read_frame(io, Response::limit).await?;
        Ok(Response::decode(kind, &content)?)
    }

    async fn write_request<T>(&mut self, _: &StreamProtocol, io: &mut T, question: Question) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        let Question::Valid(request) = question else { return Err(io::ErrorKind::InvalidInput.into()) };
        let (kind, content) = request.encode();
        write_frame(io, kind, &content).await?;
        io.close().await
    }

    async fn write_response<T>(&mut self, _: &StreamProtocol, io: &mut T, response: Response) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        let (kind, content) = response.encode();
        write_frame(io, kind, &content).await?;
        io.close().await
    }
}
