//! Replies: their headers, and bodies that are whole or a stream of server-sent events.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::json;
use tokio::sync::mpsc;

/// The policy of the page: it loads its own files and asks its own server, and no other page may hold it in a frame.
pub(crate) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'";

/// The headers of each reply.
const HEADERS: [(&str, &str); 8] = [
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
    // The next start has another token, and may have other files.
    ("cache-control", "no-store"),
];

/// The body of a reply.
#[derive(Debug)]
pub(crate) enum Content {
    /// All of it; none when it was sent.
    Whole(Option<Bytes>),
    /// What comes, until its sender is gone.
    Stream(mpsc::Receiver<Bytes>),
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Whole(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Self::Stream(receiver) => receiver.poll_recv(context).map(|it| it.map(|it| Ok(Frame::data(it)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

fn reply(status: StatusCode, media_type: &'static str, content: Content) -> Response<Content> {
    let mut response = Response::new(content);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers.insert(hyper::header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// A reply with a whole text.
pub(crate) fn text(media_type: &'static str, text: impl Into<Bytes>) -> Response<Content> {
    reply(StatusCode::OK, media_type, Content::Whole(Some(text.into())))
}

/// A reply with a JSON text.
pub(crate) fn json(value: &impl Serialize) -> Response<Content> {
    // What the page shows is texts and numbers, which JSON can always hold.
    text("application/json", serde_json::to_vec(value).unwrap_or_default())
}

/// A reply with server-sent events.
pub(crate) fn stream(receiver: mpsc::Receiver<Bytes>) -> Response<Content> {
    reply(StatusCode::OK, "text/event-stream", Content::Stream(receiver))
}

/// A reply that says why there is no other.
pub(crate) fn refusal(status: StatusCode, message: &str) -> Response<Content> {
    let body = json!({ "Message": message }).to_string();
    let mut response = reply(status, "application/json", Content::Whole(Some(body.into())));
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(hyper::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// A server-sent event. JSON texts have no line breaks, which would end it.
pub(crate) fn event(name: &str, data: &impl Serialize) -> Bytes {
    let data = serde_json::to_string(data).unwrap_or_default();
    format!("event: {name}\ndata: {data}\n\n").into()
}

/// A server-sent comment, which keeps a connection alive.
pub(crate) fn heartbeat() -> Bytes {
    Bytes::from_static(b":\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reply_has_the_policy_and_may_not_be_kept() {
        let (_, receiver) = mpsc::channel(1);
        for response in
            [text("text/html", "page"), json(&1), stream(receiver), refusal(StatusCode::FORBIDDEN, "no")]
        {
            for (name, value) in HEADERS {
                assert_eq!(response.headers()[name], value);
            }
            assert!(!response.headers().contains_key("access-control-allow-origin"));
            assert!(!response.headers().contains_key("set-cookie"));
        }
    }

    #[test]
    fn the_policy_allows_nothing_inline_and_nothing_of_other_sites() {
        for word in ["unsafe", "http:", "https:", "data:", "*"] {
            assert!(!POLICY.contains(word), "{word}");
        }
    }

    #[test]
    fn an_event_is_one_block_of_lines() {
        assert_eq!(event("note", &"two\nlines"), "event: note\ndata: \"two\\nlines\"\n\n");
    }
}
