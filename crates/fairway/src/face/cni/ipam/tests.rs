use serde_json::{Value, json};

use super::*;

fn built_in(ipam: Value, ranges: Value) -> Result<Addressing, Error> {
    let text = json!({"name": "pods", "ipam": ipam, "runtimeConfig": {"ipRanges": ranges}}).to_string();
    Addressing::built_in(&Configuration::read(text.as_bytes()).unwrap(), &[])
}

fn subnets(ipam: Value, ranges: Value) -> Vec<[String; 3]> {
    let found = built_in(ipam, ranges).unwrap().subnets.into_iter().map(|subnet| subnet.configuration());
    found.map(|it| [it.subnet, it.gateway, it.ip_range]).collect()
}

fn refused(ipam: Value) -> String {
    let error = built_in(ipam, Value::Null).unwrap_err();
    assert_eq!(error.code(), 7, "{error}");
    error.to_string()
}

#[test]
fn ranges_are_those_of_host_local() {
    let texts = |rows: &[[&str; 3]]| rows.iter().map(|row| row.map(str::to_owned)).collect::<Vec<_>>();
    let one = [["10.1.0.0/24", "10.1.0.1", ""]];
    assert_eq!(subnets(json!({"subnet": "10.1.0.0/24"}), Value::Null), texts(&one));
    assert_eq!(subnets(Value::Null, json!([[{"subnet": "10.1.0.0/24"}]])), texts(&one));
    // The runtime repeats what the configuration has.
    let both =
        json!({"subnet": "10.1.0.0/24", "ranges": [[{"subnet": "10.1.0.0/24"}, {"subnet": "10.1.0.0/24"}]]});
    assert_eq!(subnets(both, json!([[{"subnet": "10.1.0.0/24"}]])), texts(&one));
    let families =
        json!({"ranges": [[{"subnet": "10.1.0.0/24", "gateway": "10.1.0.254"}], [{"subnet": "fd01::/64"}]]});
    let expected = [["10.1.0.0/24", "10.1.0.254", ""], ["fd01::/64", "fd01::1", ""]];
    assert_eq!(subnets(families, Value::Null), texts(&expected));
    for (start, end, expected) in [
        ("10.1.0.10", "10.1.0.20", "10.1.0.10-10.1.0.20"),
        ("10.1.0.128", "10.1.0.255", "10.1.0.128/25"),
        ("10.1.0.9", "10.1.0.9", "10.1.0.9/32"),
        ("10.1.0.200", "", "10.1.0.200-10.1.0.254"),
        ("", "10.1.0.99", "10.1.0.1-10.1.0.99"),
    ] {
        let range = json!({"subnet": "10.1.0.0/24", "rangeStart": start, "rangeEnd": end});
        assert_eq!(subnets(range, Value::Null)[0][2], expected);
    }
    let range = json!({"subnet": "fd01::/64", "rangeStart": "fd01::1:0", "rangeEnd": "fd01::1:ffff"});
    assert_eq!(subnets(range, Value::Null)[0][2], "fd01::1:0/112");
    assert_eq!(subnets(json!({"subnet": "10.1.0.0/31"}), Value::Null)[0][1], "10.1.0.0");
    // The daemon chooses.
    assert_eq!(built_in(Value::Null, Value::Null).unwrap(), Addressing::default());
    assert_eq!(Addressing::default().enables(true), None);
}

#[test]
fn ranges_that_a_network_cannot_have_are_refused() {
    for (ipam, text) in [
        (
            json!({"ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "10.2.0.0/24"}]]}),
            "are of one address family",
        ),
        (
            json!({"ranges": [[{"subnet": "10.1.0.0/24"}, {"subnet": "10.2.0.0/24"}]]}),
            "a set has several ranges",
        ),
        (json!({"ranges": [[]]}), "a set is empty"),
        (json!({"subnet": "10.1.0.9/24"}), "it should be 10.1.0.0/24"),
        (json!({"subnet": "10.1.0.0"}), "a prefix such as"),
        (json!({"rangeStart": "10.1.0.9"}), "invalid subnet"),
        (json!({"subnet": "10.1.0.0/24", "gateway": "x"}), "invalid gateway"),
        (json!({"subnet": "10.1.0.0/24", "rangeStart": "10.2.0.9"}), "is not in subnet"),
        (json!({"subnet": "10.1.0.0/24", "rangeEnd": "x"}), "invalid rangeEnd"),
        (json!({"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.9", "rangeEnd": "10.1.0.8"}), "is above"),
    ] {
        let found = refused(ipam);
        assert!(found.contains(text), "{found}");
    }
}

#[test]
fn the_answer_of_a_plugin_describes_the_network() {
    let given = |ips: Value| {
        let text =
            json!({"cniVersion": "0.4.0", "ips": ips, "dns": {"nameservers": ["10.9.9.9"]}}).to_string();
        Addressing::of_plugin(Outcome::read("", text.as_bytes()).unwrap())
    };
    let found = given(json!([
        {"version": "4", "address": "10.1.0.7/24", "gateway": "10.1.0.254"}, {"address": "fd01::7/64"},
    ]))
    .unwrap();
    let subnets: Vec<_> = found.subnets.iter().map(|it| format!("{} {}", it.subnet, it.gateway)).collect();
    assert_eq!(subnets, ["10.1.0.0/24 10.1.0.254", "fd01::/64 fd01::1"]);
    let addresses: [IpAddr; 2] = ["10.1.0.7".parse().unwrap(), "fd01::7".parse().unwrap()];
    assert_eq!((found.addresses.as_slice(), found.dns.nameservers.len()), (&addresses[..], 1));
    assert!(given(json!([])).unwrap_err().to_string().contains("no address"));
    assert!(given(json!([{"address": "10.1.0.7"}])).is_err());
    assert!(given(json!([{"address": "10.1.0.7/24"}, {"address": "10.2.0.7/24"}])).is_err());
}

#[test]
fn a_file_in_the_format_of_resolv_conf_has_name_servers() {
    let text = "# comment\nnameserver 10.1.1.1\nnameserver fd00::1\nsearch a.example b.example\noptions ndots:2 edns0\ndomain c.example\n";
    let dns = resolv_conf(text);
    assert_eq!((dns.nameservers.len(), dns.search.len(), dns.options.len()), (2, 2, 2));
    assert_eq!(dns.domain, "c.example");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let named = |path: &str| {
        let text = json!({"name": "pods", "ipam": {"resolvConf": path}}).to_string();
        let configuration = Configuration::read(text.as_bytes()).unwrap();
        Addressing::built_in(&configuration, &[]).unwrap().with_name_servers(&configuration)
    };
    assert_eq!(named(file.path().to_str().unwrap()).unwrap().dns, dns);
    assert_eq!(named("/none").unwrap_err().code(), 7);
}
