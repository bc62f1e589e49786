//! Names of networks, sandboxes, hosts and interfaces.

use super::ParseError;

/// The maximum length of a name of a network or sandbox, in bytes.
const NAME_LIMIT: usize = 128;

/// The maximum length of a domain name as text, in bytes (RFC 1035, section 2.3.4, less length and root bytes).
const DOMAIN_LIMIT: usize = 253;

/// The maximum length of a host name in Linux, in bytes (`__NEW_UTS_LEN`, linux/utsname.h).
const HOSTNAME_LIMIT: usize = 64;

/// The maximum length of an interface name in bytes: IFNAMSIZ of linux/if.h, less the terminating zero.
const INTERFACE_LIMIT: usize = 15;

/// Whether a text is a valid name of a network or sandbox: `[a-zA-Z0-9][a-zA-Z0-9_.-]*`, up to 128 bytes.
pub fn is_name(text: &str) -> bool {
    text.len() <= NAME_LIMIT
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(in_name)
}

/// Parses the name of a network or sandbox.
///
/// # Errors
/// [`ParseError::Name`] unless [`is_name`].
pub fn name(text: &str) -> Result<String, ParseError> {
    if is_name(text) { Ok(text.to_owned()) } else { Err(ParseError::Name(text.to_owned())) }
}

/// Whether a text is a valid alias: like [`is_name`], but up to the length of a domain name, without empty labels, and
/// with a leading `_` allowed, as in service names.
pub fn is_alias(text: &str) -> bool {
    is_domain(text, DOMAIN_LIMIT)
}

/// Parses `--network-alias`, the second half of `--link`, and the first of `--add-host`.
///
/// # Errors
/// [`ParseError::HostName`] unless [`is_alias`].
pub fn alias(text: &str) -> Result<String, ParseError> {
    host_name("alias", text, DOMAIN_LIMIT)
}

/// Whether a text is a valid host name: like [`is_alias`], up to 64 bytes, the limit of Linux.
pub fn is_hostname(text: &str) -> bool {
    is_domain(text, HOSTNAME_LIMIT)
}

/// Parses `--hostname`.
///
/// # Errors
/// [`ParseError::HostName`] unless [`is_hostname`].
pub fn hostname(text: &str) -> Result<String, ParseError> {
    host_name("hostname", text, HOSTNAME_LIMIT)
}

/// Whether a text is a valid interface name: `[a-zA-Z0-9_][a-zA-Z0-9_.@=+-]*`, up to 15 bytes.
///
/// The kernel allows more characters (`dev_valid_name` of net/core/dev.c), but names appear in logs, commands and
/// rules, where other characters have a meaning. The kernel rejects `all` and `default`, which are directories of
/// sysctls (`sysctl_dev_name_is_allowed`).
pub fn is_interface_name(text: &str) -> bool {
    (1..=INTERFACE_LIMIT).contains(&text.len())
        && !matches!(text, "all" | "default")
        && text.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.@=+-".contains(&byte))
}

/// Parses the name of an interface.
///
/// # Errors
/// [`ParseError::Interface`] unless [`is_interface_name`].
pub fn interface_name(text: &str) -> Result<String, ParseError> {
    if is_interface_name(text) { Ok(text.to_owned()) } else { Err(ParseError::Interface(text.to_owned())) }
}

fn host_name(what: &'static str, text: &str, limit: usize) -> Result<String, ParseError> {
    if is_domain(text, limit) {
        Ok(text.to_owned())
    } else {
        Err(ParseError::HostName { what, text: text.to_owned(), limit })
    }
}

/// Parses a domain name; `what` names the value in errors.
pub(super) fn domain(what: &'static str, text: &str) -> Result<String, ParseError> {
    host_name(what, text, DOMAIN_LIMIT)
}

/// Whether a text is labels of up to 63 bytes (RFC 1035), joined by dots.
fn is_domain(text: &str, limit: usize) -> bool {
    text.len() <= limit
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len()) && label.bytes().all(in_name) && !label.starts_with('-')
        })
}

const fn in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')
}
