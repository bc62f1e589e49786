//! Signals by name or number.

use fairway_api::Failure;
use rustix::process::Signal;

/// A signal by name, with or without `SIG`, or by number.
///
/// # Errors
/// There is none of this name.
pub fn signal(text: &str) -> Result<Signal, Failure> {
    let upper = text.to_ascii_uppercase();
    let number = match upper.strip_prefix("SIG").unwrap_or(&upper) {
        "HUP" => Some(Signal::HUP),
        "INT" => Some(Signal::INT),
        "QUIT" => Some(Signal::QUIT),
        "ABRT" => Some(Signal::ABORT),
        "KILL" => Some(Signal::KILL),
        "USR1" => Some(Signal::USR1),
        "USR2" => Some(Signal::USR2),
        "PIPE" => Some(Signal::PIPE),
        "ALRM" => Some(Signal::ALARM),
        "TERM" => Some(Signal::TERM),
        "CHLD" => Some(Signal::CHILD),
        "CONT" => Some(Signal::CONT),
        "STOP" => Some(Signal::STOP),
        "TSTP" => Some(Signal::TSTP),
        "WINCH" => Some(Signal::WINCH),
        other => other.parse().ok().and_then(Signal::from_named_raw),
    };
    number.ok_or_else(|| Failure::invalid(format!("invalid signal: {text}")))
}
