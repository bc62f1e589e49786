//! Who serves and who asks in the demo's sandboxes: this program itself, so that none other is
//! needed.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

/// The hidden subcommand that answers everybody with the address that it sees.
pub const SERVE: &str = "demo-server";
/// The hidden subcommand that asks such a server.
pub const ASK: &str = "demo-client";

/// The answer of a port without a listener.
pub const REFUSED: &str = "refused";

const LOST: Duration = Duration::from_millis(1500);

/// Runs the part of the demo that this program was started as, if it was.
pub fn stage(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let part = arguments.nth(1)?;
    let argument = arguments.next().and_then(|argument| argument.into_string().ok()).unwrap_or_default();
    match part.to_str()? {
        SERVE => Some(serve(&argument)),
        ASK => {
            println!("{}", ask(&argument));
            Some(ExitCode::SUCCESS)
        }
        _ => None,
    }
}

fn serve(port: &str) -> ExitCode {
    let Ok(listener) = TcpListener::bind(format!("[::]:{port}")) else { return ExitCode::FAILURE };
    for mut connection in listener.incoming().flatten() {
        let Ok(peer) = connection.peer_addr() else { continue };
        // Whoever has hung up needs no answer.
        let _ = writeln!(connection, "{}", peer.ip().to_canonical());
    }
    ExitCode::SUCCESS
}

/// Asks, by the resolver of wherever it runs, and says how it went.
pub fn ask(target: &str) -> String {
    let found = match target.to_socket_addrs() {
        Ok(mut found) => found.next(),
        Err(_) => return "no such name".to_owned(),
    };
    let Some(address) = found else { return "no such name".to_owned() };
    let answer = TcpStream::connect_timeout(&address, LOST).and_then(|mut connection| {
        let mut text = String::new();
        connection.set_read_timeout(Some(LOST))?;
        connection.read_to_string(&mut text)?;
        Ok(text)
    });
    match answer {
        Ok(source) => format!("answered; it saw {}", source.trim()),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => REFUSED.to_owned(),
        Err(_) => "no answer".to_owned(),
    }
}
