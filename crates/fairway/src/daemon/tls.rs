//! The API at TCP, for clients whose certificate is of an authority that the operator names.
//!
//! Connections end here, and their bytes go on to the daemon's own socket. So the server of the API knows nothing of TLS,
//! and what is not authorized is not read by it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use thiserror::Error;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::endpoint::TlsFiles;

/// How many connections there may be; further ones wait.
const CONNECTIONS: usize = 256;
/// How long a client may take to show its certificate.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Why the API is not served at TCP.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read, or has nothing of what it is for.
    #[error("cannot read {what} from {path}: {source}")]
    File {
        /// What the file is for.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate, key or authority are not what they have to be.
    #[error("cannot use the certificate {path}: {source}")]
    Certificate {
        /// The path of the certificate.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: rustls::Error,
    },
    /// The authority has no usable certificate.
    #[error("cannot use the certificate authority {path}: {source}")]
    Authority {
        /// The path of its certificates.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: rustls::server::VerifierBuilderError,
    },
    /// The address cannot be listened at.
    #[error("cannot listen at tcp://{address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// Serves the API at an address, on a thread of its own, until the process ends.
///
/// # Errors
/// The files are not usable, or the address cannot be listened at.
pub fn serve(address: &str, files: &TlsFiles, socket: &Path) -> Result<SocketAddr, TlsError> {
    let acceptor = TlsAcceptor::from(Arc::new(configuration(files)?));
    let refused = |source| TlsError::Listen { address: address.to_owned(), source };
    let listener = std::net::TcpListener::bind(address).map_err(refused)?;
    let bound = listener.local_addr().map_err(refused)?;
    listener.set_nonblocking(true).map_err(refused)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(refused)?;
    let socket = socket.to_owned();
    let serve = move || {
        runtime.block_on(async move {
            match TcpListener::from_std(listener) {
                Ok(listener) => accept(listener, acceptor, socket).await,
                Err(error) => tracing::error!(%error, "failed to serve the API at TCP: {error}"),
            }
        });
    };
    std::thread::Builder::new().name("tls".to_owned()).spawn(serve).map_err(refused)?;
    Ok(bound)
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, socket: PathBuf) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let (acceptor, socket) = (acceptor.clone(), socket.clone());
                tokio::spawn(async move {
                    if let Err(error) = connection(stream, &acceptor, &socket).await {
                        tracing::debug!(%peer, %error, "a connection from {peer} ended early: {error}");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "failed to accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Passes the bytes of a client on, once it has shown its certificate.
async fn connection(stream: TcpStream, acceptor: &TlsAcceptor, socket: &Path) -> std::io::Result<()> {
    let handshake = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream));
    let mut client = handshake.await.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
    let mut daemon = UnixStream::connect(socket).await?;
    copy_bidirectional(&mut client, &mut daemon).await.map(drop)
}

fn configuration(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    let unusable = |source| TlsError::Certificate { path: files.authority.clone(), source };
    for certificate in certificates("the certificates of the authority", &files.authority)? {
        roots.add(certificate).map_err(unusable)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|source| TlsError::Authority { path: files.authority.clone(), source })?;
    let unusable = |source| TlsError::Certificate { path: files.certificate.clone(), source };
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|source| TlsError::File {
        what: "the key",
        path: files.key.clone(),
        source,
    })?;
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates("the certificate", &files.certificate)?, key)
        .map_err(unusable)
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |source| TlsError::File { what, path: path.to_owned(), source };
    let read = CertificateDer::pem_file_iter(path).map_err(unreadable)?;
    let found = read.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    match found.is_empty() {
        true => Err(unreadable(rustls::pki_types::pem::Error::NoItemsFound)),
        false => Ok(found),
    }
}
