//! Where a daemon's objects are, also by a configuration with which no daemon can start.

use super::arguments::DaemonArguments;
use super::configuration::Configuration;
use super::configuration_error::ConfigurationError;
use super::endpoint::ApiEndpoint;
use super::file;

/// The keys of the file that say where a daemon's objects are.
const NEEDED: [&str; 6] =
    ["data-root", "exec-root", "hosts", "firewall-backend", "iptables-flavour", "relay-user"];

/// The flags and the file together; if they make no sense, those of them that say where a daemon's objects are. What is
/// wrong is logged then.
///
/// # Errors
/// A file that a flag names cannot be read: the objects of another daemon would be removed.
pub(super) fn configuration(flags: DaemonArguments) -> Result<Configuration, ConfigurationError> {
    match flags.clone().configuration() {
        Err(error @ ConfigurationError::Read { .. }) => Err(error),
        Err(error) => {
            tracing::warn!("{error}: using directories, sockets and firewall alone");
            needed(flags).without_file()
        }
        all => all,
    }
}

fn needed(flags: DaemonArguments) -> DaemonArguments {
    let file = file::readable_keys(&flags, &NEEDED);
    // The places of an on-demand daemon are not those of the file.
    let places = if flags.on_demand { DaemonArguments::default() } else { file.clone() };
    let named = if flags.sockets.is_empty() { places.hosts.unwrap_or_default() } else { flags.sockets };
    DaemonArguments {
        on_demand: flags.on_demand,
        data_root: flags.data_root.or(places.data_root),
        exec_root: flags.exec_root.or(places.exec_root),
        sockets: named.into_iter().filter(|text| is_unix(text)).collect(),
        firewall_backend: flags.firewall_backend.or(file.firewall_backend),
        iptables_flavour: flags.iptables_flavour.or(file.iptables_flavour),
        relay_user: flags.relay_user.or(file.relay_user),
        ..DaemonArguments::default()
    }
}

fn is_unix(text: &str) -> bool {
    matches!(ApiEndpoint::parse(text), Ok(ApiEndpoint::Unix(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn places_are_found_whatever_else_is_wrong() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for text in [
            r#"{"exec-root": "/e", "data-root": "/d", "hosts": ["tcp://0.0.0.0:1", "unix:///s", "x"], "bip": "172.17.0.0/16"}"#,
            r#"{"exec-root": "/e", "data-root": "/d", "hosts": ["unix:///s"], "unknown": 1, "relay-user": "x"}"#,
            r#"{"exec-root": "/f", "data-root": "/d", "hosts": ["unix:///s"]}"#,
        ] {
            std::fs::write(file.path(), text).unwrap();
            let flags = DaemonArguments {
                config_file: Some(file.path().to_owned()),
                exec_root: Some("/e".into()),
                ..DaemonArguments::default()
            };
            let found = configuration(flags).unwrap();
            assert_eq!((found.data_root, found.exec_root), ("/d".into(), "/e".into()), "{text}");
            assert_eq!(found.socket, Path::new("/s"), "{text}");
        }
        std::fs::write(file.path(), "{").unwrap();
        let flags = DaemonArguments { config_file: Some(file.path().to_owned()), ..Default::default() };
        assert_eq!(configuration(flags).unwrap().data_root, Path::new("/var/lib/fairway"));
        let missing = DaemonArguments { config_file: Some("/nonexistent".into()), ..Default::default() };
        assert!(configuration(missing).is_err());
    }
}
