//! The server: HTTP/1.1 on loopback or a unix socket, with one thread for the connections and some for the source's
//! calls, which block.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::changes::Changes;
use crate::content::{Drawn, DrawnAnswer, rows, trace_event};
use crate::guard::Guard;
use crate::reply::{self, Content};
use crate::route::{Data, Route};
use crate::source::{Failure, FailureKind, Source};

/// How many connections are open at once; further ones wait.
const CONNECTIONS: usize = 64;
/// How many traces run at once.
const TRACES: usize = 8;
/// How many threads wait for the source, traces among them.
const THREADS: usize = 24;
/// How long a client may take to send the head of a request.
const PATIENCE: Duration = Duration::from_secs(10);
/// The size of the read buffer in bytes: the head of a request has to fit.
const BUFFER: usize = 32 << 10;
/// How often a stream without events shows that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How many events are queued for a slow page.
const QUEUE: usize = 256;

/// What the server listens at.
#[derive(Debug)]
pub enum Listener {
    /// A port of loopback.
    Tcp(std::net::TcpListener),
    /// A unix socket.
    Unix(std::os::unix::net::UnixListener),
}

/// Creates the runtime of [`serve`], in which `shutdown` can be set up before.
///
/// # Errors
/// The kernel has no file descriptors left.
pub fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(THREADS)
        .thread_name("page-data")
        .build()
}

/// Serves the page until `shutdown` resolves. Blocks the thread that calls it.
///
/// # Errors
/// The threads or the socket cannot be set up. The failure of a connection ends that connection only.
pub fn serve(
    runtime: Runtime,
    listener: Listener,
    guard: Guard,
    source: Arc<dyn Source>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let server = Server {
        changes: Changes::watch(Arc::clone(&source))?,
        guard: Arc::new(guard),
        source,
        traces: Arc::new(Semaphore::new(TRACES)),
    };
    let result = runtime.block_on(async {
        tokio::select! {
            () = shutdown => Ok(()),
            result = server.accept(listener) => result,
        }
    });
    runtime.shutdown_background();
    result
}

/// The server, shared by all connections.
#[derive(Clone)]
struct Server {
    guard: Arc<Guard>,
    source: Arc<dyn Source>,
    changes: Changes,
    traces: Arc<Semaphore>,
}

impl Server {
    async fn accept(self, listener: Listener) -> io::Result<()> {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        match listener {
            Listener::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                let listener = tokio::net::TcpListener::from_std(listener)?;
                loop {
                    let place = Arc::clone(&places).acquire_owned().await;
                    self.begin(place.ok(), listener.accept().await.map(|(stream, _)| stream)).await;
                }
            }
            Listener::Unix(listener) => {
                listener.set_nonblocking(true)?;
                let listener = tokio::net::UnixListener::from_std(listener)?;
                loop {
                    let place = Arc::clone(&places).acquire_owned().await;
                    self.begin(place.ok(), listener.accept().await.map(|(stream, _)| stream)).await;
                }
            }
        }
    }

    /// Serves an accepted connection in a task of its own.
    async fn begin(
        &self,
        place: Option<OwnedSemaphorePermit>,
        accepted: io::Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static>,
    ) {
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                // Most often the process is out of file descriptors.
                tracing::warn!(%error, "failed to accept a connection");
                return tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let server = self.clone();
        let service = service_fn(move |request| {
            let server = server.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        tokio::spawn(async move {
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .max_buf_size(BUFFER)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(place);
        });
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Content> {
        let (head, _) = request.into_parts();
        let route = Route::of(head.uri.path(), head.uri.query().unwrap_or_default());
        // What does not exist is refused like data, so that strangers learn nothing from it.
        let purpose = route.as_ref().map_or(crate::guard::Purpose::Data, Route::purpose);
        if let Err(refused) = self.guard.check(&head.method, &head.uri, &head.headers, purpose) {
            tracing::debug!(path = head.uri.path(), reason = %refused, "refused a request");
            return reply::refusal(refused.status(), &refused.to_string());
        }
        let answer = match route {
            Some(Route::Page(asset) | Route::File(asset)) => {
                Ok(reply::text(asset.media_type, Bytes::from(asset.text.into_owned())))
            }
            Some(Route::Data(data)) => self.data(data).await,
            None => return reply::refusal(StatusCode::NOT_FOUND, "there is no such file"),
        };
        answer.unwrap_or_else(|failure| {
            let status = match failure.kind {
                FailureKind::Refused => StatusCode::BAD_REQUEST,
                FailureKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            };
            reply::refusal(status, &failure.message)
        })
    }

    async fn data(&self, data: Data) -> Result<Response<Content>, Failure> {
        match data {
            Data::Picture { collapse } => {
                let drawn = self.call(move |source| Ok(Drawn::new(source.picture()?, collapse)));
                Ok(reply::json(&drawn.await?))
            }
            Data::Explain { from, to, collapse } => {
                let answer =
                    self.call(move |source| Ok(DrawnAnswer::new(source.explain(&from, &to)?, collapse)));
                Ok(reply::json(&answer.await?))
            }
            Data::Containers => Ok(reply::json(&self.call(|source| Ok(rows(&source.containers()?))).await?)),
            Data::Findings => Ok(reply::json(&self.call(|source| source.findings()).await?)),
            Data::Changes => Ok(self.changes()),
            Data::Trace { from, to } => self.trace(from, to),
        }
    }

    /// Calls the source in a thread that may block.
    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Source) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let source = Arc::clone(&self.source);
        let done = tokio::task::spawn_blocking(move || work(&*source)).await;
        done.unwrap_or_else(|error| {
            Err(Failure { kind: FailureKind::Unavailable, message: format!("the call failed: {error}") })
        })
    }

    /// Streams an event at once, and one for each change.
    fn changes(&self) -> Response<Content> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let mut count = self.changes.subscribe();
        tokio::spawn(async move {
            count.mark_unchanged();
            let mut event = reply::event("change", &*count.borrow());
            loop {
                if sender.send(event).await.is_err() {
                    return;
                }
                event = tokio::select! {
                    () = sender.closed() => return,
                    changed = count.changed() => match changed {
                        Ok(()) => reply::event("change", &*count.borrow_and_update()),
                        Err(_) => return,
                    },
                    () = tokio::time::sleep(HEARTBEAT) => reply::heartbeat(),
                };
            }
        });
        reply::stream(receiver)
    }

    /// Streams the packets of a trace. That it cannot begin is an event too: the stream has begun then.
    fn trace(&self, from: Option<String>, to: Option<String>) -> Result<Response<Content>, Failure> {
        let place = Arc::clone(&self.traces).try_acquire_owned().map_err(|_| Failure {
            kind: FailureKind::Unavailable,
            message: format!("{TRACES} traces run already: close one of them"),
        })?;
        let (sender, receiver) = mpsc::channel(QUEUE);
        let source = Arc::clone(&self.source);
        tokio::task::spawn_blocking(move || {
            let result = source.trace(from, to, &mut |message| {
                let (name, data) = trace_event(message);
                sender.blocking_send(reply::event(name, &data)).is_ok()
            });
            let end = match result {
                Ok(()) => reply::event("end", &""),
                Err(failure) => reply::event("failure", &failure.message),
            };
            // A page that is gone needs no end.
            let _ = sender.blocking_send(end);
            drop(place);
        });
        Ok(reply::stream(receiver))
    }
}

#[cfg(test)]
mod tests;
