//! Reads the bodies of requests, within the limits of size and memory.

use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::HeaderMap;
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::EXPECT;

use super::clients::Connection;
use crate::engine_api::{Failure, FailureKind};

/// The largest body in bytes: all ports of TCP and UDP, published one by one, are about 6 MB.
pub(super) const BODY_LIMIT: usize = 8 << 20;
/// The size in bytes from which the memory of a body is returned to the system.
const LARGE: usize = 1 << 20;
/// How many bytes of a refused body are read, for clients that read the reply only after they have sent the body.
const DISCARD_LIMIT: usize = 1 << 30;

/// A request body; its memory counts for its connection until it is dropped.
#[derive(Debug, Default)]
pub(super) struct Held {
    bytes: Bytes,
    connection: Option<Arc<Connection>>,
}

impl Held {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl From<&'static str> for Held {
    fn from(text: &'static str) -> Self {
        Self { bytes: Bytes::from_static(text.as_bytes()), connection: None }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            connection.release_body();
        }
    }
}

fn too_large() -> Failure {
    let message =
        format!("cannot read the request: its body is larger than {BODY_LIMIT} bytes: ask for less");
    Failure::new(FailureKind::TooLarge, message)
}

/// Reads a whole body.
///
/// # Errors
/// The body is too large or incomplete, or its memory is needed for a client that uses less.
pub(super) async fn read(connection: &Arc<Connection>, body: &mut Incoming) -> Result<Held, Failure> {
    let declared = body.size_hint().lower();
    if usize::try_from(declared).is_ok_and(|declared| declared == 0) && body.is_end_stream() {
        return Ok(Held::default());
    }
    if usize::try_from(declared).is_ok_and(|declared| declared > BODY_LIMIT) {
        return Err(too_large());
    }
    let mut held = Held { bytes: Bytes::new(), connection: Some(Arc::clone(connection)) };
    let mut text = Vec::new();
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = connection.body_dropped() => {
                let message = "cannot read the request: its memory is needed for other clients: try again later";
                return Err(Failure::new(FailureKind::Unavailable, message));
            }
        };
        let data = match frame {
            None => break,
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            Some(Err(error)) => return Err(Failure::invalid(format!("cannot read the request: {error}"))),
        };
        if text.len() + data.len() > BODY_LIMIT {
            return Err(too_large());
        }
        connection.take_body(data.len())?;
        text.extend_from_slice(&data);
        if text.len() > LARGE {
            connection.note_large_body();
        }
    }
    held.bytes = text.into();
    Ok(held)
}

/// Reads and drops the rest of a refused request: some clients read the reply only after they have sent all. A client
/// that sent `Expect` waits for the reply before it sends the body, so there is nothing to read.
pub(super) fn discard(connection: &Arc<Connection>, head: &HeaderMap, mut body: Incoming) {
    if body.is_end_stream() || head.contains_key(EXPECT) {
        return;
    }
    let reading = connection.reading();
    tokio::spawn(async move {
        let all = async {
            let mut read = 0;
            while let Some(Ok(frame)) = body.frame().await {
                read += frame.data_ref().map_or(0, Bytes::len);
                if read > DISCARD_LIMIT {
                    break;
                }
            }
        };
        // A client that exceeds the limit loses its connection.
        let _ = tokio::time::timeout(reading, all).await;
    });
}
