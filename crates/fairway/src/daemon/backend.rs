//! Which firewall, as flags and the file name it.

use fairway_kernel::iptables::Flavour;
use fairway_model::Backend;
use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// `nftables` or `iptables`.
///
/// # Errors
/// It is neither.
pub fn backend(text: &str) -> Result<Backend, String> {
    match text {
        "nftables" => Ok(Backend::Nftables),
        "iptables" => Ok(Backend::Iptables),
        _ => Err("it is nftables or iptables".to_owned()),
    }
}

/// `nft` or `legacy`.
///
/// # Errors
/// It is neither.
pub fn flavour(text: &str) -> Result<Flavour, String> {
    let known = [Flavour::Nft, Flavour::Legacy].into_iter().find(|flavour| flavour.text() == text);
    known.ok_or_else(|| "it is nft or legacy".to_owned())
}

/// The backend as a key of the file has it.
pub fn named_backend<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Backend>, D::Error> {
    named(deserializer, "firewall-backend", backend)
}

/// The flavour as a key of the file has it.
pub fn named_flavour<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Flavour>, D::Error> {
    named(deserializer, "iptables-flavour", flavour)
}

fn named<'de, T, D: Deserializer<'de>>(
    deserializer: D,
    key: &str,
    read: fn(&str) -> Result<T, String>,
) -> Result<Option<T>, D::Error> {
    let text = String::deserialize(deserializer)?;
    read(&text).map(Some).map_err(|reason| D::Error::custom(format!("invalid {key} {text}: {reason}")))
}
