//! Serves HTTP on one connection, and records its activity in its [`Connection`].

use std::convert::Infallible;
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::watch;

use super::Server;
use super::clients::Connection;
use crate::engine_api::Failure;

/// The size of the read buffer in bytes: the head of a request has to fit.
const BUFFER: usize = 64 << 10;

/// How long a refused connection stays open, so that its client can read the reason.
const REFUSAL: Duration = Duration::from_secs(1);

impl Server {
    /// Answers the requests of a connection until the client or the daemon ends it.
    pub(super) async fn connection(
        mut self,
        stream: UnixStream,
        connection: Connection,
        mut stopping: watch::Receiver<bool>,
    ) {
        let connection = Arc::new(connection);
        if let Some(requester) = connection.requester() {
            self.engine = self.engine.requested_by(requester);
        }
        let refused = self.engine.check_peer(stream.as_fd()).err();
        let service = service_fn(|request| {
            let (server, connection, refused) = (self.clone(), Arc::clone(&connection), refused.clone());
            async move { Ok::<_, Infallible>(server.answer(connection, refused, request).await) }
        });
        let stream = Watched { stream, connection: Arc::clone(&connection) };
        let http = hyper::server::conn::http1::Builder::new()
            .max_buf_size(BUFFER)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        tokio::pin!(http);
        let serves = async {
            tokio::select! {
                result = http.as_mut() => result,
                // `wait_for` returns a lock, which must not be held across the next await.
                () = async { drop(stopping.wait_for(|stopping| *stopping).await) } => {
                    http.as_mut().graceful_shutdown();
                    http.await
                }
            }
        };
        tokio::select! {
            result = serves => {
                if let Err(error) = result {
                    tracing::debug!(%error, "a connection ended early");
                }
            }
            () = connection.closed() => tracing::debug!("closed a connection that was idle, slow or above the limit"),
        }
    }
}

/// Refuses a connection above the limit: sends the reason, and reads the request for a moment, since some clients read
/// the reply only after they have sent the request.
pub(super) async fn refuse(mut stream: UnixStream, failure: &Failure) {
    tracing::warn!(reason = %failure, "refused a connection");
    let text = serde_json::json!({ "message": failure.message }).to_string();
    let head = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n";
    let reply = format!("{head}Content-Length: {}\r\n\r\n{text}", text.len());
    let answers = async {
        stream.write_all(reply.as_bytes()).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
    };
    if let Ok(Err(error)) = tokio::time::timeout(REFUSAL, answers).await {
        tracing::debug!(%error, "a refused connection ended early");
    }
}

/// A stream that records reads in its [`Connection`].
pub(super) struct Watched {
    pub(super) stream: UnixStream,
    pub(super) connection: Arc<Connection>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.connection.has_read();
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// Does nothing: the stream is closed right afterwards, whole. That resets it if a request was not read, which the
    /// client may then send again (`unix_release_sock`), while the end of one direction could mean that it was performed.
    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }
}
