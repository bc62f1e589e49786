//! `/metrics`: on the sockets of the API, and alone at a TCP address.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use fairway_inspect::metrics::{MEDIA_TYPE, text};
use fairway_model::RefusalKind;
use hyper::Method;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

use super::reply::Reply;
use super::{Clients, blocking, look, turn};
use crate::engine_api::{EngineApi, Failure};

/// How many requests for metrics are answered at once, apart from the engine's other calls; further ones wait.
pub(super) const SCRAPES_AT_ONCE: usize = 2;
/// How many connections to the TCP address there may be; further ones wait.
const CONNECTIONS: usize = 32;
/// How long one may take, for one request and its reply.
const CONNECTION: Duration = Duration::from_secs(60);
/// How long to wait before the next connection when the process is out of file descriptors.
const REST: Duration = Duration::from_millis(50);

/// What metrics are about, and how many requests for them are answered.
#[derive(Clone)]
pub(super) struct Metrics {
    engine: Arc<dyn EngineApi>,
    clients: Clients,
    turns: Arc<Semaphore>,
}

impl Metrics {
    /// The metrics of an engine and the clients of its API.
    pub(super) fn new(engine: Arc<dyn EngineApi>, clients: &Clients) -> Self {
        Self { engine, clients: clients.clone(), turns: Arc::new(Semaphore::new(SCRAPES_AT_ONCE)) }
    }

    /// Reads the metrics. This has threads of its own, so that it goes on while all other calls wait.
    pub(super) async fn read(&self) -> Result<Reply, Failure> {
        let _turn = turn(&self.turns).await?;
        let Self { engine, clients, .. } = self.clone();
        blocking(move || {
            let mut measured = engine.measurements();
            measured.api = clients.measurements();
            Ok(Reply::document(MEDIA_TYPE, look(&*engine, |world| Ok(text(world, &measured)))?))
        })
        .await
    }

    /// The reply of the TCP address.
    async fn reply(&self, method: &Method, path: &str) -> Result<Reply, Failure> {
        match (method, path) {
            (&Method::GET | &Method::HEAD, "/metrics") => self.read().await,
            _ => {
                let reason = format!("page not found: only GET /metrics is served here: {path}");
                Err(Failure::new(RefusalKind::NotFound, reason))
            }
        }
    }
}

/// Serves `/metrics` and nothing else at a TCP address, while the runtime runs.
///
/// # Errors
/// The socket cannot be set up.
pub fn serve_metrics(
    runtime: &Runtime,
    listener: TcpListener,
    engine: Arc<dyn EngineApi>,
    clients: &Clients,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let _context = runtime.enter();
    let listener = tokio::net::TcpListener::from_std(listener)?;
    runtime.spawn(accept(listener, Metrics::new(engine, clients)));
    Ok(())
}

async fn accept(listener: tokio::net::TcpListener, metrics: Metrics) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let metrics = metrics.clone();
                tokio::spawn(async move {
                    connection(stream, metrics).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "failed to accept a connection for metrics: {error}");
                tokio::time::sleep(REST).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, metrics: Metrics) {
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        let metrics = metrics.clone();
        async move {
            let reply = metrics.reply(request.method(), request.uri().path()).await;
            let reply = reply.unwrap_or_else(|failure| Reply::refusal(&failure));
            Ok::<_, Infallible>(reply.into_response())
        }
    });
    // A client that neither sends nor reads would keep its place for ever.
    let served = hyper::server::conn::http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection for metrics ended early: {error}"),
        Err(error) => tracing::debug!(%error, "a connection for metrics took too long: {error}"),
    }
}
