//! One question to Docker's API. It is asked in HTTP/1.0, so that the answer ends with the connection and is not in
//! chunks (RFC 9112, section 6.1).

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use thiserror::Error;

/// The most that is read of an answer. A thousand containers have two megabytes.
const MOST_BYTES: usize = 64 << 20;

/// Why there is no answer.
#[derive(Debug, Error)]
pub(super) enum Error {
    /// It took too long.
    #[error("it did not answer in time")]
    Silent,
    /// The connection failed.
    #[error(transparent)]
    Connection(#[from] io::Error),
    /// The answer is no HTTP.
    #[error("the answer is not HTTP")]
    NotHttp,
    /// The daemon refused.
    #[error("the daemon answered with status {0}")]
    Status(u16),
    /// The answer is too long.
    #[error("the answer is longer than {MOST_BYTES} bytes")]
    TooLong,
    /// The body is no JSON.
    #[error("the answer is not JSON: {0}")]
    NotJson(#[from] serde_json::Error),
}

/// Asks for a path, until the deadline.
pub(super) fn get(socket: &Path, path: &str, deadline: Instant) -> Result<Value, Error> {
    // Unlike that of other protocols, a connect blocks only while the queue of the listener is full; the caller has a
    // limit for that.
    let mut stream = UnixStream::connect(socket)?;
    stream.set_write_timeout(Some(left(deadline)?))?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(timed)?;
    let (mut answer, mut part) = (Vec::new(), [0; 16 << 10]);
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut part) {
            Ok(0) => return body(&answer),
            Ok(count) => answer.extend_from_slice(part.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(timed(error)),
        }
        if answer.len() > MOST_BYTES {
            return Err(Error::TooLong);
        }
    }
}

fn left(deadline: Instant) -> Result<Duration, Error> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(Error::Silent) } else { Ok(left) }
}

fn timed(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Error::Silent,
        _ => error.into(),
    }
}

/// The JSON in the body of a whole answer.
fn body(answer: &[u8]) -> Result<Value, Error> {
    const END: &[u8] = b"\r\n\r\n";
    let end = answer.windows(END.len()).position(|window| window == END).ok_or(Error::NotHttp)?;
    let (head, body) = answer.split_at(end + END.len());
    let head = std::str::from_utf8(head).map_err(|_| Error::NotHttp)?;
    let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
    match status {
        Some(200) => Ok(serde_json::from_slice(body)?),
        Some(status) => Err(Error::Status(status)),
        None => Err(Error::NotHttp),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_body_of_an_answer_is_json() {
        assert_eq!(body(b"HTTP/1.0 200 OK\r\nServer: Docker\r\n\r\n[1]").unwrap(), json!([1]));
        for (answer, message) in [
            (&b""[..], "the answer is not HTTP"),
            (b"HTTP/1.0 200 OK\r\n", "the answer is not HTTP"),
            (b"SSH-2.0\r\n\r\n", "the answer is not HTTP"),
            (b"HTTP/1.0 ok\r\n\r\n", "the answer is not HTTP"),
            (b"HTTP/1.\xff 200\r\n\r\n", "the answer is not HTTP"),
            (b"HTTP/1.0 500 Internal\r\n\r\n{}", "the daemon answered with status 500"),
            (
                b"HTTP/1.0 200 OK\r\n\r\n[",
                "the answer is not JSON: EOF while parsing a list at line 1 column 1",
            ),
        ] {
            assert_eq!(body(answer).unwrap_err().to_string(), message);
        }
    }
}
