//! Requests and their answers, also while one daemon takes the place of another.

use std::io;
use std::time::Duration;

use super::connection::{Connection, Response};
use super::{Client, ClientError};
use crate::types::ErrorMessage;

/// How often a request that no daemon has read is sent again.
const RETRIES: usize = 3;
/// How long to wait before, since a daemon with too many clients leaves requests unread too.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

impl Client {
    /// Sends a request and brings its answer, unless that is a refusal.
    pub(super) fn send(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&[u8]>,
    ) -> Result<Response, ClientError> {
        let kept = self.connection.take().filter(Connection::idle);
        let (connection, response) =
            self.answered(kept, |connection| connection.request(method, path, body))?;
        if response.keep {
            self.connection = Some(connection);
        }
        if response.status < 400 { Ok(response) } else { Err(refused(&response)) }
    }

    /// Performs an exchange on a connection, or on another one if no daemon reads the request: one that ends leaves those
    /// of its connections and of its socket unread, for the next daemon.
    pub(super) fn answered<T>(
        &self,
        kept: Option<Connection>,
        mut exchange: impl FnMut(&mut Connection) -> io::Result<T>,
    ) -> Result<(Connection, T), ClientError> {
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.open()?,
        };
        let mut retries = 0..RETRIES;
        loop {
            match exchange(&mut connection) {
                Ok(answer) => return Ok((connection, answer)),
                Err(error) if Connection::is_unread(&error) && retries.next().is_some() => {
                    std::thread::sleep(RETRY_PAUSE);
                    connection = self.open()?;
                }
                Err(error) => return Err(self.failed(error)),
            }
        }
    }

    fn open(&self) -> Result<Connection, ClientError> {
        Connection::open(&self.path).map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied => ClientError::Denied { address: self.address.clone() },
            _ => ClientError::NotRunning { address: self.address.clone(), source },
        })
    }

    fn failed(&self, source: io::Error) -> ClientError {
        match source.kind() {
            io::ErrorKind::InvalidData => self.malformed(source),
            _ => ClientError::Lost { address: self.address.clone(), source },
        }
    }
}

/// What a refusal says.
pub(super) fn refused(response: &Response) -> ClientError {
    let message = match serde_json::from_slice::<ErrorMessage>(&response.body) {
        Ok(error) if !error.message.is_empty() => error.message,
        _ => format!("the daemon refused with status {}", response.status),
    };
    ClientError::Refused { status: response.status, message }
}
