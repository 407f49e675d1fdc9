//! The operator's listener: `/metrics`, `/healthz`, `/readyz`, and a page for people at `/dashboard` that reads them.

use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections served at once; more wait in the kernel's backlog.
const MAX_CONNECTIONS: usize = 32;

/// How long a client may take to send its request line and headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// The page and what it consists of. Nothing of it comes from elsewhere, and the policy lets nothing else in.
const PAGE: &str = include_str!("dashboard.html");
const SCRIPT: &str = include_str!("dashboard.js");
const STYLE: &str = include_str!("dashboard.css");
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// Whether the node can do its work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// What is not ready; empty when the node is.
    pub missing: Vec<String>,
}

/// What the listener serves from.
#[derive(Clone)]
pub struct Ops {
    /// Renders the metrics; absent when the node was started without a recorder.
    pub metrics: Option<PrometheusHandle>,
    /// The node's readiness, kept current by the node.
    pub readiness: watch::Receiver<Readiness>,
}

/// Binds and serves until `stop` is cancelled; connections in hand are finished first.
///
/// # Errors
/// The address can't be bound.
pub async fn serve(
    address: SocketAddr,
    ops: Ops,
    stop: CancellationToken,
) -> std::io::Result<(SocketAddr, impl Future<Output = ()> + Send)> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    let connections = TaskTracker::new();
    let work = async move {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let next = async {
                let place = places.clone().acquire_owned().await;
                (place, listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                next = next => next,
            };
            let Ok((socket, _)) = accepted else { continue };
            let ops = ops.clone();
            let stop = stop.clone();
            connections.spawn(async move {
                // Given back when the connection ends.
                let _place = place;
                let service = service_fn(move |request| {
                    let answer = answer(&ops, &request);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEADER_TIMEOUT)
                    .serve_connection(TokioIo::new(socket), service);
                tokio::pin!(connection);
                let ended = tokio::select! {
                    ended = &mut connection => ended,
                    () = stop.cancelled() => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                };
                if let Err(error) = ended {
                    tracing::debug!(%error, "operator connection ended");
                }
            });
        }
        connections.close();
        connections.wait().await;
    };
    Ok((bound, work))
}

fn answer(ops: &Ops, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
    }
    match request.uri().path() {
        "/healthz" => text(StatusCode::OK, "alive\n".to_owned()),
        "/readyz" => {
            let missing = ops.readiness.borrow().missing.clone();
            if missing.is_empty() {
                text(StatusCode::OK, "ready\n".to_owned())
            } else {
                text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", missing.join(", ")))
            }
        }
        "/metrics" => match &ops.metrics {
            Some(handle) => text(StatusCode::OK, handle.render()),
            None => text(StatusCode::NOT_FOUND, "no metrics recorder in this process\n".to_owned()),
        },
        "/" | "/dashboard" => page(PAGE, "text/html; charset=utf-8"),
        "/dashboard.js" => page(SCRIPT, "text/javascript; charset=utf-8"),
        "/dashboard.css" => page(STYLE, "text/css; charset=utf-8"),
        _ => text(StatusCode::NOT_FOUND, "known: /dashboard /metrics /healthz /readyz\n".to_owned()),
    }
}

/// A part of the page, under the policy.
fn page(content: &'static str, kind: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(content.as_bytes())));
    let headers = response.headers_mut();
    for (name, value) in [
        (http::header::CONTENT_TYPE, kind),
        (http::header::CONTENT_SECURITY_POLICY, POLICY),
        (http::header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (http::header::REFERRER_POLICY, "no-referrer"),
        (http::header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, http::HeaderValue::from_static(value));
    }
    response
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_comes_with_a_strict_policy_and_names_nothing_from_elsewhere() {
        let response = page(PAGE, "text/html; charset=utf-8");
        let policy = response.headers().get(http::header::CONTENT_SECURITY_POLICY);
        let policy = policy.and_then(|value| value.to_str().ok()).unwrap_or_default();
        assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
        for content in [PAGE, SCRIPT, STYLE] {
            assert!(!content.contains("://") && !content.contains("onload="), "{content}");
        }
        assert!(!PAGE.contains("style=") && !PAGE.contains("<style"), "the policy refuses inline styles");
    }

    #[test]
    fn every_metric_of_the_page_the_dashboard_and_the_alerts_is_one_that_the_program_names() {
        let sources = crate::measures::tests::sources();
        let documents = [
            SCRIPT,
            include_str!("../../../../docs/ops/alerts.yml"),
            include_str!("../../../../docs/ops/grafana-dashboard.json"),
        ];
        let mut seen = 0;
        for document in documents {
            let words = document.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
            // A prefix of several in the page's script ends with an underscore.
            for word in words.filter(|word| word.starts_with("alys_") && !word.ends_with('_') && *word != "alys_actors")
            {
                let name = word.trim_end_matches("_bucket");
                assert!(sources.contains(&format!("\"{name}\"")), "{name} is not exported");
                seen += 1;
            }
        }
        assert!(seen > 20, "{seen}");
    }

    #[test]
    fn promtool_takes_the_alert_rules() {
        let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ops/alerts.yml");
        let promtool = std::env::var_os("PROMTOOL").filter(|name| !name.is_empty());
        let named = promtool.is_some();
        let promtool = promtool.unwrap_or_else(|| "promtool".into());
        let output = match std::process::Command::new(&promtool).args(["check", "rules", rules]).output() {
            Ok(output) => output,
            Err(error) if !named && error.kind() == std::io::ErrorKind::NotFound => {
                alys_vectors::skip("needs promtool: PROMTOOL names none and it is not on the PATH");
                return;
            }
            Err(error) => panic!("{}: {error}", promtool.display()),
        };
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success() && said.contains("SUCCESS"), "{said}");
    }
}
