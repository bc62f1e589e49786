//! Checks of settings that need no kernel, so that `--validate`, `--reload` and the start say the same.

use std::fmt::Display;

use fairway_core::ipam::check_default_bridge_flags;
use fairway_core::world::NetworkOptions;
use fairway_model::parse::{ParseError, dns_option, dns_search, dns_server};
use fairway_model::{DefaultBridge, IPV6_MIN_MTU, MTU_RANGE, Settings};

use super::configuration_error::ConfigurationError;

/// Refuses settings that make no sense on any host.
///
/// # Errors
/// The setting, by its name.
pub(super) fn check(settings: &Settings) -> Result<(), ConfigurationError> {
    let ipv6 = settings.ipv6 && settings.bridge != DefaultBridge::Disabled;
    if let Some(mtu) = settings.mtu {
        if !MTU_RANGE.contains(&mtu) {
            let reason = format!("{} to {} bytes are expected", MTU_RANGE.start(), MTU_RANGE.end());
            return Err(refused("mtu", mtu, reason));
        }
        if ipv6 && mtu < IPV6_MIN_MTU {
            let reason = format!("--ipv6 needs at least {IPV6_MIN_MTU} bytes (RFC 8200, section 5)");
            return Err(refused("mtu", mtu, reason));
        }
    }
    if settings.bridge == DefaultBridge::Managed {
        check_default_bridge_flags(settings, false)?;
        if ipv6 {
            check_default_bridge_flags(settings, true)?;
        }
    }
    for (driver, options) in &settings.network_options {
        NetworkOptions::parse(options).map_err(|reason| refused("default-network-opts", driver, reason))?;
    }
    for server in &settings.dns {
        dns_server(&server.to_string()).map_err(|reason| refused("dns", server, reason))?;
    }
    Ok(())
}

/// `--dns-search` as it is in resolv.conf(5).
pub(super) fn search_domains(texts: Option<Vec<String>>) -> Result<Vec<String>, ConfigurationError> {
    each("dns-search", texts, dns_search)
}

/// `--dns-opt` as it is in resolv.conf(5).
pub(super) fn resolver_options(texts: Option<Vec<String>>) -> Result<Vec<String>, ConfigurationError> {
    each("dns-opts", texts, dns_option)
}

fn each(
    name: &'static str,
    texts: Option<Vec<String>>,
    parse: fn(&str) -> Result<String, ParseError>,
) -> Result<Vec<String>, ConfigurationError> {
    let texts = texts.unwrap_or_default();
    texts
        .iter()
        .map(|text| parse(text).map_err(|reason| refused(name, text.escape_debug(), reason)))
        .collect()
}

fn refused(name: &'static str, value: impl Display, reason: impl Display) -> ConfigurationError {
    ConfigurationError::Value { name, value: value.to_string(), reason: reason.to_string() }
}
