//! Signals by name or number.

use fairway_api::Failure;
use fairway_kernel::system::signal::{HIGHEST, REALTIME_LOWEST, of_number};
use rustix::process::Signal;

/// The signals of all architectures, and those that Linux has besides.
const NAMES: [(&str, Signal); 33] = [
    ("ABRT", Signal::ABORT),
    ("ALRM", Signal::ALARM),
    ("BUS", Signal::BUS),
    ("CHLD", Signal::CHILD),
    ("CLD", Signal::CHILD),
    ("CONT", Signal::CONT),
    ("FPE", Signal::FPE),
    ("HUP", Signal::HUP),
    ("ILL", Signal::ILL),
    ("INT", Signal::INT),
    ("IO", Signal::IO),
    ("IOT", Signal::ABORT),
    ("KILL", Signal::KILL),
    ("PIPE", Signal::PIPE),
    ("PROF", Signal::PROF),
    ("PWR", Signal::POWER),
    ("QUIT", Signal::QUIT),
    ("SEGV", Signal::SEGV),
    ("STKFLT", Signal::STKFLT),
    ("STOP", Signal::STOP),
    ("SYS", Signal::SYS),
    ("TERM", Signal::TERM),
    ("TRAP", Signal::TRAP),
    ("TSTP", Signal::TSTP),
    ("TTIN", Signal::TTIN),
    ("TTOU", Signal::TTOU),
    ("URG", Signal::URG),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("VTALRM", Signal::VTALARM),
    ("WINCH", Signal::WINCH),
    ("XCPU", Signal::XCPU),
    ("XFSZ", Signal::XFSZ),
];

/// A signal by name, with or without `SIG`, or by number. Real-time signals are `RTMIN`, `RTMIN+3`, `RTMAX-1` and such.
///
/// # Errors
/// There is none of this name.
pub fn signal(text: &str) -> Result<Signal, Failure> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let named = NAMES.iter().find(|(known, _)| *known == name).map(|(_, signal)| *signal);
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
