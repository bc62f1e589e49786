//! Signals by name or number.

use fairway_api::Failure;
use fairway_kernel::system::signal::{HIGHEST, REALTIME_LOWEST, of_number};
use rustix::process::Signal;

/// The signals of all architectures, and those that Linux has besides.
const NAMES: [(&str, Signal); 33] = [
    ("SIGABRT", Signal::ABORT),
    ("SIGALRM", Signal::ALARM),
    ("SIGBUS", Signal::BUS),
    ("SIGCHLD", Signal::CHILD),
    ("SIGCLD", Signal::CHILD),
    ("SIGCONT", Signal::CONT),
    ("SIGFPE", Signal::FPE),
    ("SIGHUP", Signal::HUP),
    ("SIGILL", Signal::ILL),
    ("SIGINT", Signal::INT),
    ("SIGIO", Signal::IO),
    ("SIGIOT", Signal::ABORT),
    ("SIGKILL", Signal::KILL),
    ("SIGPIPE", Signal::PIPE),
    ("SIGPROF", Signal::PROF),
    ("SIGPWR", Signal::POWER),
    ("SIGQUIT", Signal::QUIT),
    ("SIGSEGV", Signal::SEGV),
    ("SIGSTKFLT", Signal::STKFLT),
    ("SIGSTOP", Signal::STOP),
    ("SIGSYS", Signal::SYS),
    ("SIGTERM", Signal::TERM),
    ("SIGTRAP", Signal::TRAP),
    ("SIGTSTP", Signal::TSTP),
    ("SIGTTIN", Signal::TTIN),
    ("SIGTTOU", Signal::TTOU),
    ("SIGURG", Signal::URG),
    ("SIGUSR1", Signal::USR1),
    ("SIGUSR2", Signal::USR2),
    ("SIGVTALRM", Signal::VTALARM),
    ("SIGWINCH", Signal::WINCH),
    ("SIGXCPU", Signal::XCPU),
    ("SIGXFSZ", Signal::XFSZ),
];

/// A signal by name, with or without `SIG`, or by number. Real-time signals are `RTMIN`, `RTMIN+3`, `RTMAX-1` and such.
///
/// # Errors
/// There is none of this name.
pub fn signal(text: &str) -> Result<Signal, Failure> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let named = NAMES.iter().find(|(known, _)| known.strip_prefix("SIG") == Some(name));
    let named = named.map(|(_, signal)| *signal);
    let signal = named.or_else(|| number(name).and_then(of_number));
    signal.ok_or_else(|| Failure::invalid(format!("invalid signal: {text}")))
}

/// The number of a signal without a name of its own.
fn number(name: &str) -> Option<i32> {
    let (start, offset) = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(offset), _) => (REALTIME_LOWEST, offset),
        (_, Some(offset)) => (HIGHEST, offset),
        _ => return name.parse().ok(),
    };
    let number = start + if offset.is_empty() { 0 } else { offset.parse::<i8>().ok()?.into() };
    (REALTIME_LOWEST..=HIGHEST).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, number) in [
            ("TERM", 15),
            ("sigkill", 9),
            ("15", 15),
            ("SEGV", 11),
            ("SIGPWR", 30),
            ("31", 31),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("64", 64),
        ] {
            assert_eq!(signal(text).unwrap().as_raw(), number, "{text}");
        }
        for text in ["", "SIG", "NONE", "0", "-1", "32", "65", "RTMIN-1", "RTMIN+31", "RTMAX+1", "RTMIN+x"] {
            assert_eq!(signal(text).unwrap_err().to_string(), format!("invalid signal: {text}"));
        }
    }
}
