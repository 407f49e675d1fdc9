//! When a request is answered at the latest: a call that takes longer is given up, and the calls of its batch that are
//! left are refused without being tried. What they answer is geth's.

use jsonrpsee::server::middleware::rpc::{Batch, BatchEntry, Notification, Request, RpcServiceT};
use jsonrpsee::types::{ErrorObjectOwned, Id};
use jsonrpsee::{BatchResponseBuilder, MethodResponse};
use std::future::Future;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tower::Layer;

/// JSON-RPC's `resource unavailable`, as geth uses it.
const TIMED_OUT: i32 = -32002;

/// Makes [`Deadline`] services.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeadlineLayer {
    /// The longest that a call, or a batch as a whole, may take.
    pub(super) limit: Duration,
    /// The largest answer to a batch in bytes.
    pub(super) max_response: usize,
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Deadline { inner, layer: *self }
    }
}

/// The service of a [`DeadlineLayer`].
#[derive(Clone, Debug)]
pub(super) struct Deadline<S> {
    inner: S,
    layer: DeadlineLayer,
}

impl<S> RpcServiceT for Deadline<S>
where
    S: RpcServiceT<
            MethodResponse = MethodResponse,
            BatchResponse = MethodResponse,
            NotificationResponse = MethodResponse,
        > + Clone
        + Send
        + Sync
        + 'static,
{
    type MethodResponse = MethodResponse;
    type NotificationResponse = MethodResponse;
    type BatchResponse = MethodResponse;

    fn call<'a>(&self, request: Request<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let (inner, deadline) = (self.inner.clone(), Instant::now() + self.layer.limit);
        async move { call_until(&inner, request, deadline).await }
    }

    fn batch<'a>(&self, batch: Batch<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let (inner, deadline) = (self.inner.clone(), Instant::now() + self.layer.limit);
        let mut answers = BatchResponseBuilder::new_with_limit(self.layer.max_response);
        async move {
            let mut heard = false;
            for entry in batch {
                let answer = match entry {
                    Ok(BatchEntry::Call(request)) if Instant::now() >= deadline => timed_out(request.id),
                    Ok(BatchEntry::Call(request)) => call_until(&inner, request, deadline).await,
                    Ok(BatchEntry::Notification(notification)) => {
                        heard = true;
                        inner.notification(notification).await;
                        continue;
                    }
                    Err(error) => {
                        let (error, id) = error.into_parts();
                        MethodResponse::error(id, error)
                    }
                };
                if let Err(too_large) = answers.append(answer) {
                    return too_large;
                }
            }
            if answers.is_empty() && heard {
                return MethodResponse::notification();
            }
            MethodResponse::from_batch(answers.finish())
        }
    }

    fn notification<'a>(&self, notification: Notification<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        self.inner.notification(notification)
    }
}

async fn call_until<S>(inner: &S, request: Request<'_>, deadline: Instant) -> MethodResponse
where
    S: RpcServiceT<MethodResponse = MethodResponse>,
{
    let id = request.id.clone();
    timeout_at(deadline, inner.call(request)).await.unwrap_or_else(|_| timed_out(id))
}

fn timed_out(id: Id<'_>) -> MethodResponse {
    MethodResponse::error(id, ErrorObjectOwned::owned(TIMED_OUT, "request timed out", None::<()>))
}
