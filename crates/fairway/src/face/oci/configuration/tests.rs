use super::*;

fn annotations(pairs: &[(&str, &str)]) -> Annotations {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn refusal(pairs: &[(&str, &str)]) -> String {
    Configuration::read(&annotations(pairs)).unwrap_err().to_string()
}

#[test]
fn no_annotation_is_the_default_network() {
    assert_eq!(Configuration::read(&annotations(&[])).unwrap(), Configuration::default());
}

#[test]
fn annotations_are_read_as_the_options_of_run() {
    let read = Configuration::read(&annotations(&[
        ("fairway.network", "app, db"),
        ("fairway.publish", "8080:80,127.0.0.1:5353:53/udp"),
        ("fairway.name", "web"),
        ("fairway.alias", "www,api"),
        ("fairway.ip", "10.1.0.9"),
        ("fairway.ip6", "fd00::9"),
        ("fairway.mac", "02-42-0A-01-00-09"),
        ("fairway.dns", "9.9.9.9,2620:fe::fe"),
    ]));
    let words = |words: [&str; 2]| words.map(str::to_owned).to_vec();
    let publish = |text: &str| parse::publish(text).unwrap();
    let expected = Configuration {
        networks: words(["app", "db"]),
        description: None,
        publish: [publish("8080:80"), publish("127.0.0.1:5353:53/udp")].concat(),
        name: "web".to_owned(),
        aliases: words(["www", "api"]),
        ipv4: "10.1.0.9".to_owned(),
        ipv6: "fd00::9".to_owned(),
        mac: "02:42:0a:01:00:09".to_owned(),
        dns: words(["9.9.9.9", "2620:fe::fe"]),
    };
    assert_eq!(read.unwrap(), expected);
}

#[test]
fn a_network_can_be_described() {
    let read = Configuration::read(&annotations(&[
        ("fairway.network", "app"),
        ("fairway.subnet", "fd01::/64,10.1.0.0/24"),
        ("fairway.gateway", "10.1.0.254"),
        ("fairway.ip-range", "10.1.0.128/25"),
        ("fairway.driver", "bridge"),
        ("fairway.internal", "true"),
        ("fairway.ipv6", "true"),
        ("fairway.option.com.docker.network.driver.mtu", "1400"),
        ("fairway.option.fairway.routes", "10.9.0.0/16@10.1.0.3,10.8.0.0/16@10.1.0.3"),
    ]));
    let description = read.unwrap().description.unwrap();
    let gateways: Vec<_> = description.subnets.iter().map(|subnet| subnet.gateway).collect();
    assert_eq!(gateways, [None, "10.1.0.254".parse().ok()]);
    assert!(description.subnets[1].ip_range.is_some());
    assert!(description.internal && description.enable_ipv6 == Some(true));
    let routes = "10.9.0.0/16@10.1.0.3,10.8.0.0/16@10.1.0.3".to_owned();
    assert_eq!(
        description.options,
        [
            ("com.docker.network.driver.mtu".to_owned(), "1400".to_owned()),
            ("fairway.routes".to_owned(), routes)
        ]
        .into()
    );
    // One key is enough.
    let read = Configuration::read(&annotations(&[("fairway.network", "app"), ("fairway.driver", "ptp")]));
    assert_eq!(read.unwrap().description.unwrap().driver, "ptp");
}

#[test]
fn what_cannot_be_used_is_refused_by_name() {
    for (pairs, expected) in [
        (
            &[("fairway.netwrok", "app")][..],
            "unknown annotation fairway.netwrok: those of Fairway are fairway.network, ",
        ),
        (&[("fairway.network", "host")], "invalid annotation fairway.network: "),
        (&[("fairway.network", "container:web")], "invalid annotation fairway.network: "),
        (&[("fairway.publish", "8080:http")], "invalid annotation fairway.publish: "),
        (&[("fairway.ip", "fd00::1")], "invalid annotation fairway.ip: "),
        (&[("fairway.mac", "web")], "invalid annotation fairway.mac: "),
        (&[("fairway.name", "")], "invalid annotation fairway.name: "),
        (
            &[("fairway.network", "app"), ("fairway.internal", "yes")],
            "invalid annotation fairway.internal: \"yes\": ",
        ),
        (
            &[("fairway.network", "app"), ("fairway.subnet", "10.1.0.0")],
            "invalid annotation fairway.subnet: ",
        ),
        (
            &[("fairway.network", "app"), ("fairway.gateway", "10.1.0.1")],
            "invalid annotation fairway.subnet: ",
        ),
        (&[("fairway.subnet", "10.1.0.0/24")], "invalid annotation fairway.network: 0 networks are named, "),
        (
            &[("fairway.network", "app,db"), ("fairway.subnet", "10.1.0.0/24")],
            "invalid annotation fairway.network: 2 networks are named, ",
        ),
    ] {
        let refusal = refusal(pairs);
        assert!(refusal.starts_with(expected), "{refusal}");
    }
}

#[test]
fn a_missing_default_network_is_explained() {
    let missing = || {
        let refused = ClientError::Refused { status: 404, message: "network bridge not found".to_owned() };
        daemon::Error::from(refused)
    };
    let explained = Configuration::default().explain(missing()).to_string();
    assert!(
        explained.starts_with("no network is named, and the daemon has no default network: "),
        "{explained}"
    );
    let named = Configuration { networks: vec!["app".to_owned()], ..Configuration::default() };
    assert_eq!(named.explain(missing()).to_string(), "network bridge not found");
}
