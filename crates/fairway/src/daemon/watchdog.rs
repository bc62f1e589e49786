//! Reports to the service manager's watchdog while the daemon answers requests.

use std::path::Path;

use fairway_api::{Client, ClientError};

use crate::notify;

/// How many reports are due until the service manager ends the daemon: two may be late.
const REPORTS: u32 = 3;

/// Reports at regular times that a request was answered. While none is, there is no report, so the service manager ends
/// the daemon and starts another one.
pub(super) async fn report(socket: &Path) {
    let Some(limit) = notify::watchdog() else { return };
    let address = format!("unix://{}", socket.display());
    loop {
        let address = address.clone();
        if tokio::task::spawn_blocking(move || answers(&address)).await.unwrap_or(false)
            && let Err(error) = notify::alive()
        {
            tracing::warn!(%error, "failed to notify the service manager's watchdog: {error}");
        }
        tokio::time::sleep(limit / REPORTS).await;
    }
}

/// Whether the daemon answers a request that reads the World. A refusal, such as of one connection too many, is an answer.
fn answers(address: &str) -> bool {
    let answer = Client::new(address).and_then(|mut client| client.info());
    matches!(answer, Ok(_) | Err(ClientError::Refused { .. }))
}
