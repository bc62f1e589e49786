use super::*;
use serde_json::{Value, json};

fn create(change: impl FnOnce(&mut Value)) -> Result<Network, String> {
    let mut request = json!({
        "network": {
            "name": "n1", "id": "ab".repeat(32), "driver": "bridge", "dns_enabled": true, "internal": false,
            "ipv6_enabled": false
        },
        "used": {"interfaces": ["podman0"], "names": {"podman": "2f25"}, "subnets": ["10.88.0.0/16", "10.89.0.0/24"]},
        "options": {
            "subnet_pools": [{"base": "10.89.0.0/16", "size": 24}, {"base": "10.90.0.0/15", "size": 24}],
            "default_interface_name": "podman", "check_used_subnets": true
        }
    });
    change(&mut request);
    let request = serde_json::from_value(request).map_err(|error| error.to_string())?;
    let links = ["lo", "eth0", "podman1"].map(str::to_owned);
    network(request, &links, &|_| None, "2026-11-29T13:20:48Z".to_owned(), &mut Rng::new(1))
        .map_err(|error| error.to_string())
}

fn refused(change: impl FnOnce(&mut Value)) -> String {
    create(change).unwrap_err()
}

#[test]
fn a_bridge_gets_a_name_a_subnet_and_a_gateway() {
    let network = create(|_| {}).unwrap();
    assert_eq!(network.network_interface.as_deref(), Some("podman2"), "podman1 is a link of the host");
    let subnet = &network.subnets.as_ref().unwrap()[0];
    assert_eq!(
        (subnet.subnet.to_string(), subnet.gateway),
        ("10.89.1.0/24".to_owned(), "10.89.1.1".parse().ok())
    );
    assert_eq!(network.ipam_options.unwrap()["driver"], "host-local");
    assert_eq!(network.created.as_deref(), Some("2026-11-29T13:20:48Z"));
}

#[test]
fn both_families_get_a_subnet_where_one_is_missing() {
    let network = create(|request| request["network"]["ipv6_enabled"] = true.into()).unwrap();
    let subnets = network.subnets.unwrap();
    assert!(subnets[0].subnet.addr().is_ipv4() && subnets[1].subnet.addr().is_ipv6(), "{subnets:?}");
    let network = create(|request| request["network"]["subnets"] = json!([{"subnet": "fdcc::/64"}])).unwrap();
    assert!(network.ipv6_enabled);
    assert_eq!(network.subnets.unwrap()[0].gateway, "fdcc::1".parse().ok());
}

#[test]
fn names_of_docker_are_taken() {
    let network = create(|request| {
        request["network"]["options"] =
            json!({"com.docker.network.driver.mtu": "1400", "com.docker.network.bridge.name": "mybr"});
    })
    .unwrap();
    assert_eq!(
        (network.network_interface.as_deref(), network.options.unwrap()["mtu"].as_str()),
        (Some("mybr"), "1400")
    );
}

#[test]
fn what_clashes_is_refused_with_netavarks_texts() {
    let set = |key: &'static str, value: Value| refused(move |request| request["network"][key] = value);
    let subnets = |value: Value| set("subnets", value);
    assert_eq!(set("name", "".into()), "Network name must be supplied");
    assert_eq!(set("name", "podman".into()), "network already exists podman");
    assert!(set("name", "a b".into()).starts_with("Invalid characters in network name \"a b\""));
    assert!(set("id", "abc".into()).starts_with("Network id must be a hexadecimal string"));
    assert_eq!(set("network_interface", "podman0".into()), "bridge name podman0 already in use");
    assert!(set("network_interface", "a".repeat(16).into()).starts_with("Interface name is too long"));
    assert_eq!(
        subnets(json!([{"subnet": "10.88.1.0/24"}])),
        "subnet 10.88.1.0/24 is already used on the host or by another config"
    );
    assert_eq!(
        subnets(json!([{"subnet": "10.100.0.0/24", "gateway": "10.200.0.1"}])),
        "gateway 10.200.0.1 not in subnet 10.100.0.0/24"
    );
    assert!(
        subnets(json!([{"subnet": "10.100.0.0/31"}]))
            .starts_with("could not create gateway for subnet 10.100.0.0/31")
    );
    assert_eq!(
        subnets(json!([{"subnet": "10.1.2.0/23"}, {"subnet": "10.1.3.248/30"}])),
        "overlapping subnets: 10.1.2.0/23 and 10.1.3.248/30"
    );
    assert_eq!(
        subnets(json!([{"subnet": "10.1.2.0/24"}, {"subnet": "10.1.2.0/24"}])),
        "duplicate subnet defined: 10.1.2.0/24"
    );
    assert_eq!(
        subnets(json!([{"subnet": "10.100.0.0/24", "lease_range": {"start_ip": "10.200.0.20"}}])),
        "lease range start_ip 10.200.0.20 not in subnet 10.100.0.0/24"
    );
    assert_eq!(set("options", json!({"bogus": "1"})), "unsupported bridge network option: bogus");
    assert_eq!(set("options", json!({"vlan": "5000"})), "vlan must be between 0 and 4094");
    assert_eq!(set("ipam_options", json!({"driver": "odd"})), "Unsupported ipam driver: odd");
    assert_eq!(
        set("driver", "flannel".into()),
        "plugin for driver \"flannel\" not found in plugin directories"
    );
    assert_eq!(
        refused(|request| {
            request["network"]["dns_enabled"] = false.into();
            request["network"]["network_dns_servers"] = json!(["9.9.9.9"]);
        }),
        "cannot set NetworkDNSServers if DNS is not enabled for the network"
    );
    assert_eq!(
        set("routes", json!([{"destination": "10.1.0.1/16", "gateway": "10.89.0.2"}])),
        "route destination invalid"
    );
}

#[test]
fn what_setup_would_refuse_is_refused_in_its_words() {
    let options = |value: Value| refused(move |request| request["network"]["options"] = value);
    let is_unsupported =
        |text: String, what: &str| assert!(text.contains(&format!("{what} is not supported")), "{text}");
    is_unsupported(options(json!({"vlan": "7"})), "option vlan=7");
    is_unsupported(options(json!({"vrf": "red"})), "option vrf=red");
    assert!(options(json!({"mtu": "12"})).contains("12"));
    assert!(options(json!({"outbound_addr4": "nowhere"})).contains("nowhere"));
    let dhcp = refused(|request| request["network"]["ipam_options"] = json!({"driver": "dhcp"}));
    assert_eq!(dhcp, "cannot use dhcp ipam driver without using the option mode=unmanaged");
    let subnets = json!([{"subnet": "10.1.0.0/24"}, {"subnet": "10.2.0.0/24"}]);
    is_unsupported(refused(|request| request["network"]["subnets"] = subnets), "a second IPv4 subnet");
    let of_lan = |driver: &'static str, options: Value| {
        refused(move |request| {
            request["network"]["driver"] = driver.into();
            request["network"]["network_interface"] = "eth0".into();
            request["network"]["subnets"] = json!([{"subnet": "10.10.50.0/24"}]);
            request["network"]["options"] = options;
        })
    };
    assert_eq!(of_lan("ipvlan", json!({})), "unknown network driver \"ipvlan\"");
    is_unsupported(of_lan("macvlan", json!({"bclim": "5"})), "option bclim=5");
}

#[test]
fn macvlan_networks_ask_dhcp_servers_unless_they_have_a_subnet() {
    let macvlan = |subnet: bool| {
        create(move |request| {
            request["network"]["driver"] = "macvlan".into();
            request["network"]["network_interface"] = "eth0".into();
            if subnet {
                request["network"]["subnets"] = json!([{"subnet": "10.10.50.0/24"}]);
            }
        })
        .unwrap()
    };
    assert_eq!(macvlan(false).ipam_options.unwrap()["driver"], "dhcp");
    let network = macvlan(true);
    assert_eq!(
        (network.ipam_options.unwrap()["driver"].as_str(), network.dns_enabled),
        ("host-local", false)
    );
    let other = |driver: &'static str, parent: &'static str| {
        refused(move |request| {
            request["network"]["driver"] = driver.into();
            request["network"]["network_interface"] = parent.into();
        })
    };
    assert_eq!(other("macvlan", "eth9"), "parent interface eth9 does not exist");
    assert_eq!(other("ipvlan", "eth0"), "ipam driver dhcp is not supported with ipvlan");
}

#[test]
fn pools_that_are_full_or_odd_give_nothing() {
    let full = refused(|request| {
        request["used"]["subnets"] = json!(["10.0.0.0/8"]);
    });
    assert_eq!(full, "could not find free subnet from subnet pools");
    let odd = refused(|request| {
        request["options"]["subnet_pools"] =
            json!([{"base": "10.0.0.0/24", "size": 8}, {"base": "fd00::/8", "size": 64}]);
    });
    assert_eq!(odd, "could not find free subnet from subnet pools");
}
