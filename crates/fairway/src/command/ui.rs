//! `fairway ui`: a page to look at the networks.

mod browser;
mod source;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use fairway_kernel::unix_socket;
use fairway_ui::{Guard, Listener, Token};
use rustix::net::SocketType;
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};

use super::error::CommandError;
use super::print::print_line;
use source::HostSource;

/// Where the page is served by default: at a free port of loopback.
const DEFAULT: &str = "127.0.0.1:0";
/// The user of the server and its group may connect: a proxy.
const MODE: u32 = 0o660;
/// How many connections wait to be accepted.
const BACKLOG: i32 = 128;

/// Where the page is served, and whether it is opened.
#[derive(Debug, Args)]
pub(super) struct UiOptions {
    /// Address of loopback, such as 127.0.0.1:8080, or unix:///PATH for a proxy [default: 127.0.0.1 and a free port]
    #[arg(long, value_name = "ADDRESS", default_value = DEFAULT, hide_default_value = true)]
    listen: Place,
    /// URL at which a proxy serves the page, such as https://fairway.example.com
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Print the address of the page, and open no browser
    #[arg(long)]
    no_open: bool,
}

/// Where the server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Loopback(SocketAddr),
    Socket(PathBuf),
}

/// Why a place to listen at is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
enum PlaceError {
    #[error("an address of loopback with a port, such as 127.0.0.1:8080, or unix:///PATH is expected")]
    Malformed,
    #[error(
        "{0} can be reached from other hosts: use unix:///PATH behind a proxy with TLS, or forward a port with ssh -L"
    )]
    NotLoopback(SocketAddr),
}

impl std::str::FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        if let Some(path) = text.strip_prefix("unix://") {
            return if path.starts_with('/') {
                Ok(Self::Socket(path.into()))
            } else {
                Err(PlaceError::Malformed)
            };
        }
        let address: SocketAddr = text.parse().map_err(|_| PlaceError::Malformed)?;
        if address.ip().is_loopback() {
            Ok(Self::Loopback(address))
        } else {
            Err(PlaceError::NotLoopback(address))
        }
    }
}

/// Removes the socket of the server when that ends.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // The next server makes way for itself.
        let _ = unix_socket::remove(&self.0);
    }
}

impl UiOptions {
    pub(super) fn run(&self, host: &str) -> Result<i32, CommandError> {
        let token = Token::random().map_err(CommandError::Token)?;
        let guard = Guard::new(token.clone(), self.url.as_deref())?;
        let (listener, local, _socket) = self.listen()?;
        let source = Arc::new(HostSource::open(host)?);
        let fragment = format!("/#token={}", token.text());
        let url = self
            .url
            .as_deref()
            .or(local.as_deref())
            .map(|url| url.trim_end_matches('/').to_owned() + &fragment);
        match &url {
            Some(url) => print_line(url)?,
            // What a user forwards to the socket has an address that is not known here.
            None => print_line(&format!("http://localhost:PORT{fragment}"))?,
        }
        let _opened = url.filter(|_| !self.no_open && local.is_some()).and_then(|url| browser::open(&url));
        let runtime = fairway_ui::runtime().map_err(CommandError::Serve)?;
        let signals = runtime
            .block_on(async { Ok((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)) });
        let (mut interrupt, mut terminate) = signals.map_err(CommandError::Serve)?;
        let ended = async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        fairway_ui::serve(runtime, listener, guard, source, ended).map_err(CommandError::Serve)?;
        Ok(0)
    }

    /// Listens; with the address of the page if a browser of this host can open it.
    fn listen(&self) -> Result<(Listener, Option<String>, Option<SocketFile>), CommandError> {
        let failed = |place: String| move |source| CommandError::Listen { place, source };
        match &self.listen {
            Place::Loopback(address) => {
                let listener = TcpListener::bind(address).map_err(failed(address.to_string()))?;
                let bound = listener.local_addr().map_err(failed(address.to_string()))?;
                Ok((Listener::Tcp(listener), Some(format!("http://{bound}")), None))
            }
            Place::Socket(path) => {
                let socket = unix_socket::listen(path, SocketType::STREAM, MODE, BACKLOG);
                let socket = socket.map_err(failed(path.display().to_string()))?;
                Ok((Listener::Unix(socket.into()), None, Some(SocketFile(path.clone()))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_sockets_are_listened_at() {
        let loopback = |text: &str| Place::Loopback(text.parse().unwrap());
        for text in ["127.0.0.1:0", "127.0.0.1:8080", "[::1]:8080", "127.3.2.1:80"] {
            assert_eq!(text.parse(), Ok(loopback(text)));
        }
        assert_eq!("unix:///run/page.sock".parse(), Ok(Place::Socket("/run/page.sock".into())));
        for text in ["0.0.0.0:80", "10.10.50.99:80", "[::]:80", "[fd00::1]:80"] {
            assert_eq!(text.parse::<Place>(), Err(PlaceError::NotLoopback(text.parse().unwrap())));
        }
        for text in ["", "127.0.0.1", "localhost:80", "8080", "unix://page.sock", "/run/page.sock", "::1:80"]
        {
            assert_eq!(text.parse::<Place>(), Err(PlaceError::Malformed), "{text}");
        }
    }
}
