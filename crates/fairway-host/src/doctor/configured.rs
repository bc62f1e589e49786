//! Networks in the configuration files of CNI and podman.

use std::fs;
use std::path::Path;

use fairway_inspect::doctor::ConfiguredNetwork;
use ipnet::IpNet;
use serde_json::Value;

const CNI: &str = "/etc/cni/net.d";
const PODMAN: &str = "/etc/containers/networks";
/// How large a file may be.
const LARGEST: u64 = 1024 * 1024;

/// The networks with a bridge that CNI and podman are configured with.
pub fn networks() -> Vec<ConfiguredNetwork> {
    let cni =
        read(CNI, &["conf", "conflist", "json"]).into_iter().filter_map(|(file, it)| of_cni(&file, &it));
    let podman = read(PODMAN, &["json"]).into_iter().filter_map(|(file, it)| of_podman(&file, &it));
    cni.chain(podman).collect()
}

/// The JSON files of a directory with these endings, by name.
fn read(directory: &str, endings: &[&str]) -> Vec<(String, Value)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let has_ending = |path: &Path| {
        path.extension().and_then(|it| it.to_str()).is_some_and(|ending| endings.contains(&ending))
    };
    let files = entries.map(|it| it.path()).filter(|path| has_ending(path));
    let is_small = |path: &Path| fs::metadata(path).is_ok_and(|it| it.is_file() && it.len() <= LARGEST);
    let mut parsed: Vec<(String, Value)> = files
        .filter(|path| is_small(path))
        .filter_map(|path| {
            let value = serde_json::from_str(&fs::read_to_string(&path).ok()?).ok()?;
            Some((path.to_str()?.to_owned(), value))
        })
        .collect();
    parsed.sort_by(|one, other| one.0.cmp(&other.0));
    parsed
}

fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key)?.as_str().map(str::to_owned)
}

fn array<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn subnet(value: &Value) -> Option<IpNet> {
    value.get("subnet")?.as_str()?.parse().ok()
}

/// A network of CNI, as a list of plugins or as one plugin; none without the plugin `bridge`.
fn of_cni(file: &str, value: &Value) -> Option<ConfiguredNetwork> {
    let is_bridge = |it: &&Value| text(it, "type").as_deref() == Some("bridge");
    let bridge = array(value, "plugins").chain([value]).find(is_bridge)?;
    let ipam = bridge.get("ipam").unwrap_or(&Value::Null);
    let ranges = array(ipam, "ranges").filter_map(Value::as_array).flatten();
    Some(ConfiguredNetwork {
        engine: "CNI",
        name: text(value, "name")?,
        file: file.to_owned(),
        // The plugin's default (plugins/main/bridge).
        bridge: text(bridge, "bridge").or_else(|| Some("cni0".to_owned())),
        subnets: ranges.chain([ipam]).filter_map(subnet).collect(),
    })
}

/// A network of podman; none with another driver than `bridge`.
fn of_podman(file: &str, value: &Value) -> Option<ConfiguredNetwork> {
    (text(value, "driver").as_deref() == Some("bridge")).then_some(())?;
    Some(ConfiguredNetwork {
        engine: "podman",
        name: text(value, "name")?,
        file: file.to_owned(),
        bridge: text(value, "network_interface"),
        subnets: array(value, "subnets").filter_map(subnet).collect(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_network_of_cni_has_bridge_and_subnets() {
        let list = json!({"name": "web", "plugins": [
            {"type": "bridge", "bridge": "cni1", "ipam": {"ranges": [[{"subnet": "10.4.0.0/24"}], [{"subnet": "fd00::/64"}]]}},
            {"type": "portmap"},
        ]});
        let found = of_cni("/f", &list).unwrap();
        assert_eq!((found.name.as_str(), found.bridge.as_deref()), ("web", Some("cni1")));
        assert_eq!(found.subnets, ["10.4.0.0/24".parse().unwrap(), "fd00::/64".parse::<IpNet>().unwrap()]);
        let one = json!({"name": "one", "type": "bridge", "ipam": {"subnet": "10.5.0.0/16"}});
        let found = of_cni("/f", &one).unwrap();
        assert_eq!(found.bridge.as_deref(), Some("cni0"));
        assert_eq!(found.subnets, ["10.5.0.0/16".parse().unwrap()]);
        assert_eq!(of_cni("/f", &json!({"name": "m", "type": "macvlan"})), None);
        assert_eq!(of_cni("/f", &json!("text")), None);
    }

    #[test]
    fn a_network_of_podman_has_bridge_and_subnets() {
        let value = json!({"name": "web", "driver": "bridge", "network_interface": "podman1",
            "subnets": [{"subnet": "10.89.0.0/24", "gateway": "10.89.0.1"}]});
        let found = of_podman("/f", &value).unwrap();
        assert_eq!((found.name.as_str(), found.bridge.as_deref()), ("web", Some("podman1")));
        assert_eq!(found.subnets, ["10.89.0.0/24".parse().unwrap()]);
        assert_eq!(of_podman("/f", &json!({"name": "m", "driver": "macvlan"})), None);
    }
}
