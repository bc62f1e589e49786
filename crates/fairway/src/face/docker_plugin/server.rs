//! The server: HTTP/1.1 on a unix socket. dockerd sends an empty `Host:`, and no body where a call has no arguments.
//!
//! dockerd repeats a request whose connection fails, but with an empty body once it has begun to send it (20.10, of the Go
//! package `net/http`). So each connection has one request: none that is idle is closed while dockerd writes to it. And
//! when the daemon ends, the socket is removed first; then all who have connected are answered.

use std::convert::Infallible;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fairway_kernel::unix_socket;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};

use super::answer::Plugin;
use super::call::Call;
use super::error::Error;

/// The most bytes of a body: all ports of TCP and UDP, published one by one, have about 12 MB.
const BODY_LIMIT: usize = 16 << 20;
/// How many calls of the engine run at once; further ones wait, so that threads are left to the API.
const CALLS_AT_ONCE: usize = 32;
/// How long the headers of a request may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long to wait before the next connection when the process is out of file descriptors.
const REST: Duration = Duration::from_millis(50);
/// The type of replies, as the protocol has it.
const MEDIA_TYPE: &str = "application/vnd.docker.plugins.v1.2+json";

/// The server, shared by all connections.
#[derive(Clone)]
struct Server {
    plugin: Arc<Plugin>,
    turns: Arc<Semaphore>,
}

/// Answers requests until `end` is true; then removes the socket at `path`, and answers the connections that are
/// there. `end` is dropped when all are answered.
pub async fn accept(listener: UnixListener, path: &Path, plugin: Arc<Plugin>, end: watch::Receiver<bool>) {
    let server = Server { plugin, turns: Arc::new(Semaphore::new(CALLS_AT_ONCE)) };
    let listener = match tokio::net::UnixListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "failed to serve the Docker plugin: {error}"),
    };
    let serve = |stream| drop(tokio::spawn(connection(stream, server.clone(), end.clone())));
    let mut ended = end.clone();
    let mut ended = std::pin::pin!(ended.wait_for(|end| *end));
    loop {
        let accepted = tokio::select! {
            _ = &mut ended => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => serve(stream),
            Err(error) => {
                tracing::warn!(%error, "failed to accept a connection of dockerd: {error}");
                tokio::time::sleep(REST).await;
            }
        }
    }
    if let Err(error) = unix_socket::remove(path) {
        tracing::debug!(%error, "failed to remove the socket of the Docker plugin: {error}");
    }
    for stream in waiting(listener) {
        serve(stream);
    }
}

/// The connections that wait to be accepted.
fn waiting(listener: tokio::net::UnixListener) -> impl Iterator<Item = tokio::net::UnixStream> {
    let listener = listener.into_std().ok();
    let accept = move || listener.as_ref()?.accept().ok();
    std::iter::from_fn(accept).filter_map(|(stream, _)| registered(stream).ok())
}

/// The connection in the runtime.
fn registered(stream: UnixStream) -> io::Result<tokio::net::UnixStream> {
    stream.set_nonblocking(true)?;
    tokio::net::UnixStream::from_std(stream)
}

/// Answers the request of a connection, and holds `_end` for as long.
async fn connection(stream: tokio::net::UnixStream, server: Server, _end: watch::Receiver<bool>) {
    let service = service_fn(move |request| {
        let server = server.clone();
        async move { Ok::<_, Infallible>(reply(request, server).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection of dockerd ended early: {error}");
    }
}

/// The reply to a request. dockerd takes the `Err` of a reply with the status 500 as the reason of a failure.
async fn reply(request: Request<Incoming>, server: Server) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    let answer = answer(request, server).await;
    let (status, value) = match answer {
        Ok(value) => (StatusCode::OK, value),
        Err(error) => {
            tracing::warn!(call = path, %error, "refused a request of dockerd: {error}");
            let status = match error {
                Error::Method(_) => StatusCode::NOT_FOUND,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            };
            (status, json!({ "Err": error.to_string() }))
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    response
}

async fn answer(request: Request<Incoming>, server: Server) -> Result<Value, Error> {
    let method = request.uri().path().trim_start_matches('/').to_owned();
    let body = Limited::new(request.into_body(), BODY_LIMIT).collect().await;
    let body = body.map_err(|error| Error::Body { method: method.clone(), reason: error.to_string() })?;
    let call = Call::read(&method, &body.to_bytes())?;
    tracing::debug!(?call, "request of dockerd");
    let Server { plugin, turns } = server;
    // The semaphore is never closed.
    let _turn = turns.acquire().await;
    // The engine's calls block.
    let answered = tokio::task::spawn_blocking(move || plugin.answer(call)).await;
    answered.unwrap_or_else(|error| Err(Error::Body { method, reason: io::Error::other(error).to_string() }))
}
