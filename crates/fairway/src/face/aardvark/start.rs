//! Starts the server in the background, and waits until it is ready: netavark takes the return for it.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use super::NAME;
use super::error::AardvarkError;
use super::server::{Options, READY};

/// Starts a server with these options, and returns when it serves.
///
/// # Errors
/// The server's, or that it cannot be started.
#[expect(clippy::disallowed_methods, reason = "the server is this program, executed again")]
pub(super) fn start(options: &Options) -> Result<(), AardvarkError> {
    let failed = |source| AardvarkError::Start { what: "the server", source };
    let (mut outcome, ready) = io::pipe().map_err(failed)?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0(NAME).arg("--config").arg(&options.directory);
    command.arg("--port").arg(options.port.to_string());
    // As one word, since the domain may begin with a dash.
    command.arg(format!("--filter-search-domain={}", options.search_domain)).arg("serve");
    command.stdin(Stdio::from(ready)).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().map_err(failed)?;
    // This end of the pipe is open in the server alone now, which closes it when it ends.
    drop(command);
    let mut text = String::new();
    outcome.read_to_string(&mut text).map_err(failed)?;
    match text.as_str() {
        READY => Ok(()),
        "" => Err(AardvarkError::Ended),
        reason => Err(AardvarkError::Server(reason.to_owned())),
    }
}
