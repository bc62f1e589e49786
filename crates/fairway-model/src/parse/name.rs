//! Names of networks, sandboxes, hosts and interfaces.

use super::ParseError;

/// The longest name of a network or sandbox, in bytes.
const NAME_LIMIT: usize = 128;

/// The longest name in DNS, in bytes as text (RFC 1035 section 2.3.4, less length and root bytes).
const DOMAIN_LIMIT: usize = 253;

/// The longest host name that Linux keeps, in bytes (`__NEW_UTS_LEN`, linux/utsname.h).
const HOSTNAME_LIMIT: usize = 64;

/// The longest interface name in bytes: IFNAMSIZ of linux/if.h, less the terminating zero.
const INTERFACE_LIMIT: usize = 15;

/// Whether a text can name a network or sandbox: `[a-zA-Z0-9][a-zA-Z0-9_.-]*`, up to 128 bytes.
pub fn is_name(text: &str) -> bool {
    text.len() <= NAME_LIMIT
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(in_name)
}

/// Reads the name of a network or sandbox.
///
/// # Errors
/// [`ParseError::Name`] if [`is_name`] says no.
pub fn name(text: &str) -> Result<String, ParseError> {
    if is_name(text) { Ok(text.to_owned()) } else { Err(ParseError::Name(text.to_owned())) }
}

/// Whether a text can be a name that other sandboxes ask for: like [`is_name`], but as long as DNS
/// allows, with no empty part between dots, and it may begin with `_` as services' names do.
pub fn is_alias(text: &str) -> bool {
    is_domain(text, DOMAIN_LIMIT)
}

/// Reads `--network-alias`, the second half of `--link`, and the first of `--add-host`.
///
/// # Errors
/// [`ParseError::HostName`] if [`is_alias`] says no.
pub fn alias(text: &str) -> Result<String, ParseError> {
    host_name("alias", text, DOMAIN_LIMIT)
}

/// Whether a text can be a host name: like [`is_alias`], up to the 64 bytes that Linux keeps.
pub fn is_hostname(text: &str) -> bool {
    is_domain(text, HOSTNAME_LIMIT)
}

/// Reads `--hostname`.
///
/// # Errors
/// [`ParseError::HostName`] if [`is_hostname`] says no.
pub fn hostname(text: &str) -> Result<String, ParseError> {
    host_name("hostname", text, HOSTNAME_LIMIT)
}

/// Whether a text can be an interface's name: `[a-zA-Z0-9_][a-zA-Z0-9_.@=+-]*`, up to 15 bytes.
///
/// The kernel takes more (`dev_valid_name` of net/core/dev.c). Names end in logs, in commands and in rules, where
/// other characters mean something. It refuses `all` and `default`, for these are directories of sysctls
/// (`sysctl_dev_name_is_allowed`).
pub fn is_interface_name(text: &str) -> bool {
    (1..=INTERFACE_LIMIT).contains(&text.len())
        && !matches!(text, "all" | "default")
        && text.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.@=+-".contains(&byte))
}

/// Reads an interface's name.
///
/// # Errors
/// [`ParseError::Interface`] if [`is_interface_name`] says no.
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

/// Reads a domain name, for a flag that the error names.
pub(super) fn domain(what: &'static str, text: &str) -> Result<String, ParseError> {
    host_name(what, text, DOMAIN_LIMIT)
}

/// Parts of up to 63 bytes (RFC 1035) joined by dots.
fn is_domain(text: &str, limit: usize) -> bool {
    text.len() <= limit
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len()) && label.bytes().all(in_name) && !label.starts_with('-')
        })
}

const fn in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')
}
