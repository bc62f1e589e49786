//! Options: key-value pairs, marks and address pools.

use ipnet::IpNet;

use super::{ParseError, expected_message};
use crate::address_range::reserved_reason;
use crate::{AddressPool, PacketMark};

/// Parses `--label`: `key=value`, or `key` for an empty value.
///
/// # Errors
/// [`ParseError::Pair`] without a key.
pub fn label(text: &str) -> Result<(String, String), ParseError> {
    pair("label", text.split_once('=').unwrap_or((text, "")), text, "key or key=value")
}

/// Parses `--opt`: `key=value`, or `key` for an empty value.
///
/// # Errors
/// [`ParseError::Pair`] without a key.
pub fn option(text: &str) -> Result<(String, String), ParseError> {
    pair("option", text.split_once('=').unwrap_or((text, "")), text, "key or key=value")
}

/// Parses `--driver-opt`: `key=value`.
///
/// # Errors
/// [`ParseError::Pair`] without a key or an equals sign.
pub fn driver_option(text: &str) -> Result<(String, String), ParseError> {
    let split = text.split_once('=').unwrap_or_default();
    pair("key value pair format in driver options", split, text, "key=value")
}

fn pair(
    what: &'static str,
    (key, value): (&str, &str),
    text: &str,
    expected: &'static str,
) -> Result<(String, String), ParseError> {
    let key = key.trim();
    if key.is_empty() || key.contains(char::is_whitespace) {
        return Err(ParseError::Pair { what, text: text.to_owned(), expected });
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// Parses `--bridge-accept-fwmark`: `MARK` or `MARK/MASK`, each decimal, or hexadecimal behind `0x`.
///
/// # Errors
/// [`ParseError::Mark`] if a number exceeds 32 bits, or the mark has bits outside the mask.
pub fn packet_mark(text: &str) -> Result<PacketMark, ParseError> {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    let (value, mask) = match text.split_once('/') {
        Some((value, mask)) => (number(value), number(mask)),
        None => (number(text), Some(u32::MAX)),
    };
    match (value, mask) {
        (Some(value), Some(mask)) if value & !mask == 0 && mask != 0 => Ok(PacketMark { value, mask }),
        _ => Err(ParseError::Mark(text.to_owned())),
    }
}

/// Parses `--default-address-pool`: `base=10.0.0.0/8,size=24`, in either order.
///
/// # Errors
/// [`ParseError::Pool`] with the missing or invalid part.
pub fn address_pool(text: &str) -> Result<AddressPool, ParseError> {
    let error = |reason: String| ParseError::Pool { text: text.to_owned(), reason };
    let (mut base, mut size) = (None::<IpNet>, None::<u8>);
    for field in text.split(',') {
        let (key, value) = field.split_once('=').unwrap_or((field, ""));
        match key.trim().to_ascii_lowercase().as_str() {
            "base" if base.is_none() => {
                let read = value.trim().parse();
                let reason = || expected_message(value.trim(), "a subnet such as 10.0.0.0/8");
                base =
                    Some(read.map_err(|_| error(format!("base {value:?} is not a subnet: {}", reason())))?);
            }
            "size" if size.is_none() => {
                let read = value.trim().parse();
                size = Some(read.map_err(|_| error(format!("size {value:?} is not a prefix length")))?);
            }
            _ => {
                let expected = "base=SUBNET,size=PREFIX-LENGTH, each once, is expected";
                return Err(error(format!("{expected}, not {field:?}")));
            }
        }
    }
    let (Some(base), Some(size)) = (base, size) else {
        return Err(error("base=SUBNET,size=PREFIX-LENGTH is expected".to_owned()));
    };
    checked_pool(base, size).map_err(error)
}

/// Checks base and size of an address pool.
///
/// # Errors
/// Why there cannot be such a pool.
pub fn checked_pool(base: IpNet, size: u8) -> Result<AddressPool, String> {
    let expected = base.trunc();
    if base != expected {
        return Err(format!("base {base} should be {expected}"));
    }
    if let Some(reason) = reserved_reason(base) {
        return Err(reason.to_owned());
    }
    // A subnet must hold a gateway and an endpoint.
    let longest = base.max_prefix_len() - 1;
    if size < base.prefix_len() || size > longest {
        return Err(format!("size must lie between {} and {longest}", base.prefix_len()));
    }
    Ok(AddressPool { base, size })
}
