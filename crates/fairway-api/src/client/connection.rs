//! HTTP/1.1 on a unix socket, as much as an answer of the daemon needs (RFC 9112).

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// What an answer's head may have. Ours have eight fields.
const HEADERS: usize = 64;

/// A connection to the daemon.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    /// What was received and not yet read.
    buffer: Vec<u8>,
}

/// An answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    /// Whether the connection can be used again.
    pub(super) keep: bool,
}

/// How an answer says where its body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    Bytes(usize),
    Chunks,
    UntilClosed,
}

impl Connection {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { stream: UnixStream::connect(path)?, buffer: Vec::with_capacity(4096) })
    }

    /// Whether the daemon has neither closed an idle connection nor said something unasked.
    pub(super) fn idle(&self) -> bool {
        let mut byte = [0];
        let silent = self.stream.set_nonblocking(true).is_ok()
            && (&self.stream).read(&mut byte).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        self.stream.set_nonblocking(false).is_ok() && silent && self.buffer.is_empty()
    }

    /// Whether a request failed before the daemon had read all of it, so that it was not performed: the kernel resets a
    /// unix socket whose other end is closed with unread bytes (`unix_release_sock`), and else it ends.
    pub(super) fn is_unread(error: &io::Error) -> bool {
        [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe].contains(&error.kind())
    }

    /// Sends a request and reads its answer.
    pub(super) fn request(&mut self, method: &str, path: &str, body: Option<&[u8]>) -> io::Result<Response> {
        self.send(method, path, body)?;
        let (mut response, length) = self.head()?;
        self.body(&mut response, length)?;
        Ok(response)
    }

    /// Sends a request without a body. Of an answer that comes in parts, each part is shown as soon as it is
    /// there, until `show` says that it is enough; of any other, and of a refusal, the body is in the answer.
    pub(super) fn stream(
        &mut self,
        method: &str,
        path: &str,
        show: &mut dyn FnMut(&[u8]) -> bool,
    ) -> io::Result<Response> {
        self.send(method, path, None)?;
        let (mut response, length) = self.head()?;
        if length == Length::Chunks && response.status < 400 {
            self.chunks(show)?;
        } else {
            self.body(&mut response, length)?;
        }
        Ok(response)
    }

    fn send(&mut self, method: &str, path: &str, body: Option<&[u8]>) -> io::Result<()> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: fairway\r\n").into_bytes();
        if let Some(body) = body {
            let length = body.len();
            write!(request, "Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n")?;
            request.extend_from_slice(body);
        } else {
            request.extend_from_slice(b"\r\n");
        }
        self.stream.write_all(&request)
    }

    fn body(&mut self, response: &mut Response, length: Length) -> io::Result<()> {
        match length {
            Length::Bytes(count) => {
                while self.buffer.len() < count {
                    self.receive()?;
                }
                response.body = self.take(count);
            }
            Length::Chunks => self.chunks(&mut |chunk| {
                response.body.extend_from_slice(chunk);
                true
            })?,
            Length::UntilClosed => {
                response.body = std::mem::take(&mut self.buffer);
                self.stream.read_to_end(&mut response.body)?;
            }
        }
        Ok(())
    }

    fn head(&mut self) -> io::Result<(Response, Length)> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; HEADERS];
            let mut head = httparse::Response::new(&mut headers);
            match head.parse(&self.buffer).map_err(invalid)? {
                httparse::Status::Complete(end) => {
                    let read = read_head(&head)?;
                    self.take(end);
                    return Ok(read);
                }
                httparse::Status::Partial => self.receive()?,
            }
        }
    }

    fn chunks(&mut self, show: &mut dyn FnMut(&[u8]) -> bool) -> io::Result<()> {
        loop {
            match httparse::parse_chunk_size(&self.buffer).map_err(|_| invalid("a chunk without its size"))? {
                httparse::Status::Partial => self.receive()?,
                httparse::Status::Complete((start, size)) => {
                    let size = usize::try_from(size).map_err(invalid)?;
                    let end = start.checked_add(size).ok_or_else(|| invalid("a chunk without an end"))?;
                    // Each chunk, the last and empty one too, ends with a line end.
                    while self.buffer.len() - end.min(self.buffer.len()) < 2 {
                        self.receive()?;
                    }
                    let chunk = self.buffer.get(start..end).unwrap_or_default();
                    let enough = size > 0 && !show(chunk);
                    self.take(end + 2);
                    if size == 0 || enough {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        self.buffer.drain(..count).collect()
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut bytes = [0; 16 << 10];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    self.buffer.extend_from_slice(bytes.get(..count).unwrap_or(&bytes));
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn invalid(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

fn read_head(head: &httparse::Response<'_, '_>) -> io::Result<(Response, Length)> {
    let status = head.code.unwrap_or_default();
    let mut length = Length::UntilClosed;
    let mut keep = head.version == Some(1);
    for header in head.headers.iter() {
        let value = std::str::from_utf8(header.value).map_err(invalid)?.trim();
        if header.name.eq_ignore_ascii_case("content-length") {
            length = Length::Bytes(value.parse().map_err(invalid)?);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            length = Length::Chunks;
        } else if header.name.eq_ignore_ascii_case("connection") && value.eq_ignore_ascii_case("close") {
            keep = false;
        }
    }
    // These have no body, whatever they say.
    if matches!(status, 204 | 304) {
        length = Length::Bytes(0);
    }
    Ok((Response { status, body: Vec::new(), keep: keep && length != Length::UntilClosed }, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the client makes of answers that come byte by byte.
    fn answers(text: &'static str, count: usize) -> Vec<io::Result<Response>> {
        let (stream, mut server) = UnixStream::pair().unwrap();
        let mut requests = server.try_clone().unwrap();
        let writer = std::thread::spawn(move || {
            // A client that has seen enough hangs up in the middle.
            if text.as_bytes().iter().all(|byte| server.write_all(&[*byte]).is_ok()) {
                drop(server.shutdown(std::net::Shutdown::Write));
            }
            // Requests that are never read would reset the connection, as such a client does.
            drop(requests.read_to_end(&mut Vec::new()));
        });
        let mut connection = Connection { stream, buffer: Vec::new() };
        let answers = (0..count).map(|_| connection.request("GET", "/", None)).collect();
        drop(connection);
        writer.join().unwrap();
        answers
    }

    fn answer(status: u16, body: &str, keep: bool) -> Response {
        Response { status, body: body.into(), keep }
    }

    #[test]
    fn answers_with_a_length_follow_one_another() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOKHTTP/1.1 204 No Content\r\n\r\n\
                    HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let answers: Vec<_> = answers(text, 3).into_iter().map(Result::unwrap).collect();
        assert_eq!(answers, [answer(200, "OK", true), answer(204, "", true), answer(404, "", false)]);
    }

    #[test]
    fn chunks_are_put_together() {
        let text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nB;x=y\r\n0123456789 \r\n0\r\n\r\n\
                    HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx";
        let answers: Vec<_> = answers(text, 2).into_iter().map(Result::unwrap).collect();
        assert_eq!(answers, [answer(200, "abc0123456789 ", true), answer(200, "x", true)]);
    }

    #[test]
    fn a_body_without_a_length_ends_with_the_connection() {
        let answers = answers("HTTP/1.1 200 OK\r\n\r\nall of it", 1);
        assert_eq!(answers[0].as_ref().unwrap(), &answer(200, "all of it", false));
    }

    #[test]
    fn truncated_or_invalid_http_is_an_error() {
        let kind = |text| answers(text, 1).remove(0).unwrap_err().kind();
        assert_eq!(kind("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"), io::ErrorKind::UnexpectedEof);
        assert_eq!(kind("SSH-2.0-OpenSSH_9.2\r\n\r\n"), io::ErrorKind::InvalidData);
        assert_eq!(
            kind("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"),
            io::ErrorKind::InvalidData
        );
    }
}
