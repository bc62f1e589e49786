//! HTTP replies.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use fairway_model::RefusalKind;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::Sleep;

use super::API_VERSION;
use super::clients::Connection;
use super::framing::Framing;
use crate::engine_api::{Failure, FailureKind};
use crate::types::ErrorMessage;

type Later = Pin<Box<dyn Future<Output = Option<Bytes>> + Send>>;

/// A reply: status, headers and body.
pub(super) struct Reply {
    status: StatusCode,
    content_type: Option<&'static str>,
    headers: &'static [(&'static str, &'static str)],
    body: ReplyBody,
}

/// The body of a reply: complete, or sent after the head.
pub(super) enum ReplyBody {
    Now(Option<Bytes>),
    Later(Later),
    /// A stream, until its sender closes it or the timeout expires.
    Stream(mpsc::Receiver<Bytes>, Option<Pin<Box<Sleep>>>),
}

impl Reply {
    /// A reply with status 200 and a JSON body.
    pub(super) fn json<T: Serialize>(value: &T) -> Result<Self, Failure> {
        Self::with_status(StatusCode::OK, value)
    }

    /// A reply with status 201 and a JSON body.
    pub(super) fn created<T: Serialize>(value: &T) -> Result<Self, Failure> {
        Self::with_status(StatusCode::CREATED, value)
    }

    fn with_status<T: Serialize>(status: StatusCode, value: &T) -> Result<Self, Failure> {
        let text = serde_json::to_vec(value).map_err(|error| {
            Failure::new(FailureKind::Internal, format!("cannot write the reply: {error}"))
        })?;
        Ok(Self::with_body(status, Some("application/json"), ReplyBody::Now(Some(text.into()))))
    }

    fn with_body(status: StatusCode, content_type: Option<&'static str>, body: ReplyBody) -> Self {
        Self { status, content_type, headers: &[], body }
    }

    /// A reply without a body.
    pub(super) fn empty(status: StatusCode) -> Self {
        Self::with_body(status, None, ReplyBody::Now(None))
    }

    /// The reply to a ping: plain text, with headers that prevent caching.
    pub(super) fn ping(text: &'static str) -> Self {
        let body = ReplyBody::Now(Some(Bytes::from_static(text.as_bytes())));
        Self {
            status: StatusCode::OK,
            content_type: Some("text/plain; charset=utf-8"),
            headers: &[
                ("cache-control", "no-cache, no-store, must-revalidate"),
                ("pragma", "no-cache"),
                ("swarm", "inactive"),
            ],
            body,
        }
    }

    /// A reply with status 200 and a text of the given type.
    pub(super) fn document(content_type: &'static str, text: String) -> Self {
        Self::with_body(StatusCode::OK, Some(content_type), ReplyBody::Now(Some(text.into())))
    }

    /// A reply with status 200 at once, and a JSON body when it is known.
    pub(super) fn later(body: impl Future<Output = Option<Bytes>> + Send + 'static) -> Self {
        Self::with_body(StatusCode::OK, Some("application/json"), ReplyBody::Later(Box::pin(body)))
    }

    /// A reply with status 200 at once, and a stream of JSON texts that ends after the duration `left`.
    pub(super) fn stream(receive: mpsc::Receiver<Bytes>, left: Option<Duration>) -> Self {
        let end = left.map(|left| Box::pin(tokio::time::sleep(left)));
        Self::with_body(StatusCode::OK, Some("application/json"), ReplyBody::Stream(receive, end))
    }

    /// A reply with status 200 at once, and a stream of a process's output.
    pub(super) fn raw(framing: Framing, receive: mpsc::Receiver<Bytes>) -> Self {
        Self::with_body(StatusCode::OK, Some(framing.content_type()), ReplyBody::Stream(receive, None))
    }

    /// A reply after which the connection is a stream of a process.
    pub(super) fn upgraded(framing: Framing) -> Self {
        let headers = &[("connection", "Upgrade"), ("upgrade", "tcp")];
        let (status, content_type) = (StatusCode::SWITCHING_PROTOCOLS, Some(framing.content_type()));
        Self { status, content_type, headers, body: ReplyBody::Now(None) }
    }

    /// A reply with the status and the message of a failure.
    pub(super) fn refusal(failure: &Failure) -> Self {
        let status = match failure.kind {
            FailureKind::Refused(RefusalKind::Invalid) => StatusCode::BAD_REQUEST,
            FailureKind::Refused(RefusalKind::Forbidden) => StatusCode::FORBIDDEN,
            FailureKind::Refused(RefusalKind::NotFound) => StatusCode::NOT_FOUND,
            FailureKind::Refused(RefusalKind::Conflict) => StatusCode::CONFLICT,
            FailureKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
            FailureKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            FailureKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            FailureKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::with_status(status, &ErrorMessage { message: failure.message.clone() })
            .unwrap_or_else(|_| Self::empty(status))
    }

    pub(super) fn into_response(self) -> Response<ReplyBody> {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(HeaderName::from_static("api-version"), HeaderValue::from_static(API_VERSION));
        headers.insert(HeaderName::from_static("docker-experimental"), HeaderValue::from_static("false"));
        headers.insert(HeaderName::from_static("ostype"), HeaderValue::from_static("linux"));
        headers.insert(HeaderName::from_static("server"), HeaderValue::from_static("Fairway (linux)"));
        for (name, value) in self.headers {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        if let Some(content_type) = self.content_type {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        response
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let bytes = match &mut *self {
            Self::Now(bytes) => bytes.take(),
            Self::Later(later) => {
                let Poll::Ready(bytes) = later.as_mut().poll(context) else { return Poll::Pending };
                *self = Self::Now(None);
                bytes
            }
            Self::Stream(receive, end) => match receive.poll_recv(context) {
                Poll::Ready(bytes) => bytes,
                Poll::Pending if end.as_mut().is_some_and(|end| end.as_mut().poll(context).is_ready()) => {
                    None
                }
                Poll::Pending => return Poll::Pending,
            },
        };
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Now(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Now(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |it| it.len() as u64)),
            Self::Later(_) | Self::Stream(..) => SizeHint::default(),
        }
    }
}

/// A body that is being sent; dropping it makes the connection idle.
pub(super) struct Sent {
    body: ReplyBody,
    connection: Arc<Connection>,
}

impl Sent {
    pub(super) fn new(body: ReplyBody, connection: Arc<Connection>) -> Self {
        Self { body, connection }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.connection.is_idle();
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
