//! Other settings for a daemon that runs, at SIGHUP or by a request: the file is read again.

use std::sync::{Arc, Mutex, PoisonError};

use fairway_api::types::Reloaded;
use fairway_core::world::Requester;
use fairway_engine::{Engine, EngineError};
use fairway_model::Settings;
use thiserror::Error;

use super::arguments::DaemonArguments;
use super::configuration::Configuration;
use super::configuration_error::ConfigurationError;
use crate::logging::Log;

/// Why the daemon goes on with the settings that it had.
#[derive(Debug, Error)]
pub enum ReloadError {
    /// The file makes no sense.
    #[error("cannot reload the configuration: {0}")]
    Configuration(#[from] ConfigurationError),
    /// The settings do not fit what runs.
    #[error("cannot reload the configuration: {0}")]
    Engine(#[from] EngineError),
}

/// What a daemon was started with, and what it runs with now.
pub struct Reload {
    flags: DaemonArguments,
    engine: Arc<Engine>,
    now: Mutex<Configuration>,
    log: Log,
}

impl Reload {
    /// Of a daemon with these flags, which runs with `now`.
    pub fn new(flags: DaemonArguments, now: Configuration, engine: Arc<Engine>, log: Log) -> Self {
        Self { flags, engine, now: Mutex::new(now), log }
    }

    /// Reads the file again and goes over to what it says. What cannot change while the daemon runs stays;
    /// what has changed is logged.
    ///
    /// # Errors
    /// A file that makes no sense, or settings that do not fit what runs: nothing has changed then.
    pub fn reload(&self, requester: Option<Requester>) -> Result<Reloaded, ReloadError> {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let mut new = self.flags.clone().configuration()?;
        let fixed = fixed(&now, &new);
        new.settings.relay_user = now.settings.relay_user;
        let mut changed = changed(&now.settings, &new.settings);
        if !changed.is_empty() {
            self.engine.reconfigure(requester, new.settings.clone())?;
            now.settings = new.settings;
        }
        if now.log_level != new.log_level {
            now.log_level = new.log_level;
            self.log.set_level(new.log_level);
            changed.push("log-level");
        }
        if now.log_format != new.log_format {
            now.log_format = new.log_format;
            self.log.set_format(new.log_format);
            changed.push("log-format");
        }
        for name in &fixed {
            tracing::warn!(name, "failed to change a setting while the daemon runs; restart the daemon");
        }
        match changed.is_empty() {
            true => tracing::info!("configuration reloaded; no setting changed"),
            false => tracing::info!(changed = changed.join(", "), "configuration reloaded"),
        }
        let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
        Ok(Reloaded { changed: owned(changed), needs_restart: owned(fixed) })
    }

    /// Reloads, and logs a failure.
    pub fn reload_or_log(&self) {
        if let Err(error) = self.reload(None) {
            tracing::error!("{error}");
        }
    }
}

/// What is other and must stay.
fn fixed(now: &Configuration, new: &Configuration) -> Vec<&'static str> {
    let differences = [
        ("hosts", (&now.socket, &now.endpoints) != (&new.socket, &new.endpoints)),
        ("tlscacert, tlscert or tlskey", now.tls != new.tls),
        ("data-root", now.data_root != new.data_root),
        ("exec-root", now.exec_root != new.exec_root),
        ("docker-plugin", now.docker_plugin != new.docker_plugin),
        ("metrics-addr", now.metrics != new.metrics),
        ("pidfile", now.pid_file != new.pid_file),
        ("group", now.socket_group != new.socket_group),
        ("iptables-flavour", now.iptables != new.iptables),
        ("relay-user", now.settings.relay_user != new.settings.relay_user),
    ];
    differences.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

/// The settings that are other, by the names of their flags.
fn changed(now: &Settings, new: &Settings) -> Vec<&'static str> {
    macro_rules! differing {
        ($($name:literal: $field:ident),* $(,)?) => {
            [$(($name, now.$field != new.$field)),*]
        };
    }
    let differences = differing! {
        "firewall-backend": backend, "iptables": iptables, "ip6tables": ip6tables,
        "userland-proxy": userland_proxy, "ip-forward": ip_forward, "ip-forward-no-drop": ip_forward_no_drop,
        "allow-direct-routing": allow_direct_routing, "bridge-accept-fwmark": accept_mark,
        "firewall-integration": firewall_integration, "ip-masq": masquerade,
        "icc": icc, "bip": bridge_address, "fixed-cidr": fixed_cidr, "default-gateway": default_gateway,
        "bridge": bridge, "ipv6": ipv6, "bip6": bridge_address_ipv6, "fixed-cidr-v6": fixed_cidr_ipv6,
        "default-gateway-v6": default_gateway_ipv6, "host-gateway-ip": host_gateway,
        "default-network-opts": network_options, "default-address-pools": address_pools, "mtu": mtu,
        "ip": publish_address, "dns": dns, "dns-search": dns_search, "dns-opts": dns_options,
        "log-opts": log_options,
    };
    differences.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_that_is_other_is_named() {
        let now = Settings::default();
        assert!(changed(&now, &now).is_empty());
        let new = Settings { mtu: Some(1400), icc: false, ..now.clone() };
        assert_eq!(changed(&now, &new), ["icc", "mtu"]);
        // No field is left out: each key of the settings but the relay's user has a name.
        let keys = serde_json::to_value(&now).unwrap().as_object().unwrap().len();
        let other = Settings {
            backend: fairway_model::Backend::Iptables,
            iptables: false,
            ip6tables: false,
            userland_proxy: false,
            ip_forward: false,
            ip_forward_no_drop: true,
            allow_direct_routing: true,
            firewall_integration: true,
            accept_mark: Some(fairway_model::PacketMark { value: 1, mask: 1 }),
            masquerade: false,
            icc: false,
            bridge_address: "10.0.0.1/8".parse().ok(),
            fixed_cidr: "10.0.0.0/8".parse().ok(),
            default_gateway: "10.0.0.2".parse().ok(),
            bridge: fairway_model::DefaultBridge::Disabled,
            ipv6: true,
            bridge_address_ipv6: "fd00::1/64".parse().ok(),
            fixed_cidr_ipv6: "fd00::/64".parse().ok(),
            default_gateway_ipv6: "fd00::2".parse().ok(),
            host_gateway: vec!["10.0.0.3".parse().unwrap()],
            network_options: [("bridge".to_owned(), Default::default())].into(),
            address_pools: vec![fairway_model::AddressPool { base: "10.0.0.0/8".parse().unwrap(), size: 24 }],
            mtu: Some(1400),
            publish_address: "127.0.0.1".parse().unwrap(),
            dns: vec!["10.0.0.4".parse().unwrap()],
            dns_search: vec!["a".to_owned()],
            dns_options: vec!["b".to_owned()],
            log_options: [("max-size".to_owned(), "1m".to_owned())].into(),
            relay_user: Some(1),
        };
        assert_eq!(changed(&now, &other).len(), keys - 1);
    }
}
