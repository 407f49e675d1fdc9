//! Requests and answers as frames.

use crate::wire::{Request, Response, read_frame, write_frame};
use futures::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use libp2p::StreamProtocol;
use libp2p::request_response::Codec;
use std::io;

/// The protocol's name on the wire.
pub(super) const PROTOCOL: StreamProtocol = StreamProtocol::new("/alys/req/1/ssz_snappy");

#[derive(Clone, Debug, Default)]
pub(super) struct FrameCodec;

impl Codec for FrameCodec {
    type Protocol = StreamProtocol;
    type Request = Request;
    type Response = Response;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Request>
    where
        T: AsyncRead + Unpin + Send,
    {
        let (kind, content) = read_frame(io, Request::limit).await?;
        Ok(Request::decode(kind, &content)?)
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Response>
    where
        T: AsyncRead + Unpin + Send,
    {
        let (kind, content) = read_frame(io, Response::limit).await?;
        Ok(Response::decode(kind, &content)?)
    }

    async fn write_request<T>(&mut self, _: &StreamProtocol, io: &mut T, request: Request) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
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
