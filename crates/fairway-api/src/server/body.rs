//! Reading the bodies of requests.

use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::HeaderMap;
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::EXPECT;

use super::clients::Connection;
use crate::engine_api::{Failure, FailureKind};

/// What a request may say at most: all ports of TCP and UDP, published one by one, are about 6 MB.
pub(super) const BODY_LIMIT: usize = 8 << 20;
/// From so many bytes on the memory that a request took is returned to the system.
const LARGE: usize = 1 << 20;
/// How much of a refused body is read for a client that reads no reply before it has sent all.
const DISCARD_LIMIT: usize = 1 << 30;

/// A body, whose memory counts for its connection until it is dropped.
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

/// Reads a body as a whole.
///
/// # Errors
/// It is too large, or breaks off, or its memory is needed for a client that takes less.
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

/// Reads on what a client still sends of a request that is refused, and keeps nothing of it: a client may read the
/// reply only when all is sent. One that waits for a word before it sends (`Expect`) has its word.
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
        // Behind the limit the connection is closed, whatever the client thinks of it.
        let _ = tokio::time::timeout(reading, all).await;
    });
}
