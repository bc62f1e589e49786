//! The configuration of a container for its OCI runtime: `config.json` of the runtime specification.

use serde_json::Value;

use crate::json::{list, text};

/// The network namespace that a configuration asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network<'a> {
    /// That of the runtime: the host's.
    Host,
    /// A new one.
    New,
    /// That of a process.
    Process(u32),
    /// The one at a path.
    Path(&'a str),
}

/// Reads which network namespace a container is to have.
pub(crate) fn network(config: &Value) -> Network<'_> {
    let mut namespaces = list(config, &["linux", "namespaces"]);
    let Some(found) = namespaces.find(|it| text(it, &["type"]) == Some("network")) else {
        return Network::Host;
    };
    let Some(path) = text(found, &["path"]) else { return Network::New };
    let pid = path.strip_prefix("/proc/").and_then(|rest| rest.strip_suffix("/ns/net")?.parse().ok());
    pid.map_or(Network::Path(path), Network::Process)
}

/// An annotation.
pub(crate) fn annotation<'a>(config: &'a Value, key: &str) -> Option<&'a str> {
    text(config, &["annotations", key])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_namespace_is_read() {
        let with = |value| json!({"linux": {"namespaces": [{"type": "pid"}, value]}});
        for (value, expected) in [
            (json!({"type": "network"}), Network::New),
            (json!({"type": "network", "path": ""}), Network::New),
            (json!({"type": "network", "path": "/run/netns/x"}), Network::Path("/run/netns/x")),
            (json!({"type": "network", "path": "/proc/41/ns/net"}), Network::Process(41)),
            (json!({"type": "network", "path": "/proc/x/ns/net"}), Network::Path("/proc/x/ns/net")),
            (json!({"type": "ipc"}), Network::Host),
            (json!(7), Network::Host),
        ] {
            assert_eq!(network(&with(value)), expected);
        }
        assert_eq!(network(&Value::Null), Network::Host);
    }

    #[test]
    fn annotations_are_read() {
        let config = json!({"annotations": {"nerdctl/name": "web", "x": 7}});
        assert_eq!(annotation(&config, "nerdctl/name"), Some("web"));
        assert_eq!(annotation(&config, "x"), None);
        assert_eq!(annotation(&json!({"annotations": null}), "x"), None);
    }
}
