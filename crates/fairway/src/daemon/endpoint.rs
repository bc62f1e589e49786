//! Where the daemon serves its API: `-H`, in dockerd's words.

use std::path::PathBuf;

use super::configuration_error::ConfigurationError;

/// The unix socket that clients use by default.
pub const DEFAULT_SOCKET: &str = "/run/fairway.sock";
/// Docker's port for TLS, where none is given.
const TLS_PORT: u16 = 2376;

/// A place where the daemon serves its API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiEndpoint {
    /// A unix socket, by its path.
    Unix(PathBuf),
    /// The sockets that systemd passes (sd_listen_fds(3)).
    Activated,
    /// TCP with TLS at a host's address or name and a port. Clients have to show a certificate.
    Tls(String),
}

impl ApiEndpoint {
    /// Parses `unix:///run/fairway.sock`, `fd://` or `tcp://0.0.0.0:2376`.
    ///
    /// # Errors
    /// It is none of them.
    pub fn parse(text: &str) -> Result<Self, ConfigurationError> {
        let unix = text.strip_prefix("unix://").filter(|path| !path.is_empty());
        let tcp = text.strip_prefix("tcp://").map(|address| address.trim_end_matches('/'));
        match (unix, tcp) {
            (Some(path), _) => Ok(Self::Unix(path.into())),
            (_, Some(address)) if !address.is_empty() => Ok(Self::Tls(match has_port(address) {
                true => address.to_owned(),
                false => format!("{address}:{TLS_PORT}"),
            })),
            _ if text.starts_with("fd://") => Ok(Self::Activated),
            _ => Err(ConfigurationError::Value {
                name: "host",
                value: text.to_owned(),
                reason: "unix:///run/fairway.sock, fd:// or tcp://0.0.0.0:2376 is expected".to_owned(),
            }),
        }
    }
}

/// Whether an address ends with a port; one of IPv6 is in brackets.
fn has_port(address: &str) -> bool {
    address.rsplit_once(':').is_some_and(|(host, port)| {
        port.parse::<u16>().is_ok() && (!host.contains(':') || host.ends_with(']'))
    })
}

/// The files of TLS: PEM, as dockerd's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// `--tlscacert`: whose certificates clients may show.
    pub authority: PathBuf,
    /// `--tlscert`: the daemon's own certificate, with those between it and its authority.
    pub certificate: PathBuf,
    /// `--tlskey`: its key.
    pub key: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_dockerds() {
        let tls = |address: &str| Some(ApiEndpoint::Tls(address.to_owned()));
        for (text, expected) in [
            ("unix:///run/x.sock", Some(ApiEndpoint::Unix("/run/x.sock".into()))),
            ("fd://", Some(ApiEndpoint::Activated)),
            ("tcp://0.0.0.0:2376", tls("0.0.0.0:2376")),
            ("tcp://10.0.0.1", tls("10.0.0.1:2376")),
            ("tcp://[::1]:7/", tls("[::1]:7")),
            ("tcp://[::1]", tls("[::1]:2376")),
            ("tcp://", None),
            ("unix://", None),
            ("/run/x.sock", None),
            ("npipe://x", None),
        ] {
            assert_eq!(ApiEndpoint::parse(text).ok(), expected, "{text}");
        }
    }
}
