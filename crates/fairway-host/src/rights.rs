//! The capabilities that reading a host takes, and tracing its packets.

use rustix::thread::CapabilitySet;

use crate::error::HostError;

const NEEDED: [(CapabilitySet, &str); 3] = [
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
    (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN"),
    (CapabilitySet::SYS_PTRACE, "CAP_SYS_PTRACE"),
];

/// Refuses to read half of a host.
///
/// # Errors
/// [`HostError::Rights`] with the capabilities that this process lacks.
pub fn check() -> Result<(), HostError> {
    let missing = missing(held());
    if missing.is_empty() { Ok(()) } else { Err(HostError::Rights { missing }) }
}

/// Refuses to trace half of the packets.
///
/// # Errors
/// [`HostError::TraceRights`] with the capabilities that this process lacks.
pub fn check_to_trace() -> Result<(), HostError> {
    let mut missing = missing(held());
    if !held().contains(CapabilitySet::NET_RAW) {
        missing.push("CAP_NET_RAW");
    }
    missing.sort_unstable();
    if missing.is_empty() { Ok(()) } else { Err(HostError::TraceRights { missing }) }
}

fn held() -> CapabilitySet {
    rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective)
}

fn missing(held: CapabilitySet) -> Vec<&'static str> {
    NEEDED.iter().filter(|(needed, _)| !held.contains(*needed)).map(|(_, name)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(missing(CapabilitySet::all()), [""; 0]);
        assert_eq!(missing(CapabilitySet::empty()), ["CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_SYS_PTRACE"]);
        assert_eq!(missing(CapabilitySet::NET_ADMIN | CapabilitySet::SYS_ADMIN), ["CAP_SYS_PTRACE"]);
        let error = HostError::Rights { missing: vec!["CAP_SYS_ADMIN"] }.to_string();
        assert!(
            error.starts_with("cannot read this host without CAP_SYS_ADMIN: run this as root"),
            "{error}"
        );
    }
}
