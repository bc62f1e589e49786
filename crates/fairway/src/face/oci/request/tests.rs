use std::collections::BTreeMap;

use super::*;

const PATH: &str = "/proc/7/ns/net";

fn configuration(pairs: &[(&str, &str)]) -> Configuration {
    let annotations: BTreeMap<_, _> =
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Configuration::read(&annotations).unwrap()
}

#[test]
fn settings_are_of_the_first_network_and_aliases_of_each() {
    let pairs = [
        ("fairway.network", "app,db"),
        ("fairway.ip", "10.1.0.9"),
        ("fairway.mac", "02:42:0a:01:00:09"),
        ("fairway.alias", "www"),
        ("fairway.publish", "8080:80"),
        ("fairway.dns", "9.9.9.9"),
    ];
    let request = join("web", PATH, &configuration(&pairs));
    assert_eq!((request.name.as_str(), request.path.as_str()), ("web", PATH));
    assert_eq!(request.id, leave("web").id);
    assert!(request.networks.is_empty());
    let ContainerCreate { host_config, networking_config, labels, .. } = request.container;
    assert_eq!((host_config.network_mode.as_str(), host_config.dns), ("app", vec!["9.9.9.9".to_owned()]));
    let ports: Vec<_> = host_config.port_bindings.into_iter().collect();
    assert_eq!(ports[0].0, "80/tcp");
    assert_eq!(ports[0].1.as_ref().unwrap()[0].host_port, "8080");
    assert_eq!((labels["io.fairway.container"].as_str(), labels[ENGINE_LABEL].as_str()), ("web", "oci"));
    let [(first, app), (second, db)] = networking_config.endpoints_config.try_into().unwrap();
    assert_eq!((first.as_str(), second.as_str()), ("app", "db"));
    assert_eq!(app.ipam_config.unwrap().ipv4_address, "10.1.0.9");
    assert_eq!((app.mac_address.as_str(), db.mac_address.as_str()), ("02:42:0a:01:00:09", ""));
    assert!(db.ipam_config.is_none());
    assert_eq!((app.aliases, db.aliases), (Some(vec!["www".to_owned()]), Some(vec!["www".to_owned()])));
}

#[test]
fn a_described_network_is_part_of_the_request() {
    let pairs = [
        ("fairway.network", "app"),
        ("fairway.subnet", "10.1.0.0/24"),
        ("fairway.option.fairway.guard", "strict"),
    ];
    let request = join("web", PATH, &configuration(&pairs));
    let [network] = request.networks.try_into().unwrap();
    assert_eq!((network.name.as_str(), network.internal), ("app", false));
    assert_eq!(network.ipam.unwrap().config[0].subnet, "10.1.0.0/24");
    assert_eq!(network.options["fairway.guard"], "strict");
}

#[test]
fn without_a_network_the_default_one_is_asked_for() {
    let request = join("web", PATH, &Configuration::default());
    assert_eq!(request.container.host_config.network_mode, "bridge");
    assert_eq!(request.container.networking_config.endpoints_config[0].0, "bridge");
}

#[test]
fn containers_are_named_by_their_ids() {
    let long = "0123456789abcdef".repeat(4);
    let given = configuration(&[("fairway.name", "given")]);
    assert_eq!(join("web", PATH, &given).name, "given");
    for (id, expected) in
        [("web_1", "web_1"), ("a+b@c", "a-b-c"), ("+web", "web"), (long.as_str(), "0123456789ab"), ("+", "")]
    {
        assert_eq!(join(id, PATH, &Configuration::default()).name, expected, "{id}");
    }
    assert_eq!(join(&long, PATH, &given).id, long);
    assert_ne!(leave("a+b").id, leave("a-b").id);
}
