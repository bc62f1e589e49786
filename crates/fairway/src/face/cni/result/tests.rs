use super::*;

fn outcome() -> Outcome {
    let text = json!({
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "cni0", "mtu": 1400}, {"name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": "/n"}],
        "ips": [{"interface": 1, "address": "10.22.0.2/16", "gateway": "10.22.0.1"}, {"address": "fd22::2/64"}],
        "routes": [{"dst": "0.0.0.0/0", "priority": 7}],
    });
    Outcome::of_value("", &text).unwrap()
}

#[test]
fn each_version_has_its_own_keys() {
    for version in Version::ALL {
        let json = outcome().json(version);
        assert_eq!(json["cniVersion"], version.text());
        let old = version < Version::V1_0_0;
        let family = |text: &str| if old { json!(text) } else { Value::Null };
        assert_eq!((&json["ips"][0]["version"], &json["ips"][1]["version"]), (&family("4"), &family("6")));
        let newest = version == Version::V1_1_0;
        let number = |number: u32| if newest { json!(number) } else { Value::Null };
        assert_eq!(json["interfaces"][0]["mtu"], number(1400));
        assert_eq!(
            json["routes"],
            if newest { json!([{"dst": "0.0.0.0/0", "priority": 7}]) } else { json!([{"dst": "0.0.0.0/0"}]) }
        );
        assert_eq!(json["dns"], json!({}));
        let again = Outcome::of_value("", &json).unwrap();
        assert_eq!((again.ips, again.interfaces.len()), (outcome().ips, 2));
    }
}

#[test]
fn a_later_result_is_added_to_that_before() {
    let mut all = outcome();
    assert_eq!((all.in_sandbox("eth0"), all.in_sandbox("cni0")), (Some(1), None));
    let mut later = outcome();
    later.dns.nameservers.push("10.1.1.1".to_owned());
    all.extend(later);
    assert_eq!(all.interfaces.len(), 4);
    let places: Vec<_> = all.ips.iter().map(|ip| ip.interface).collect();
    assert_eq!(places, [Some(1), None, Some(3), None]);
    assert_eq!((all.routes.len(), all.dns.nameservers.len()), (2, 1));
    // Name servers of the first plugin stay.
    let mut other = outcome();
    other.dns.domain = "example.com".to_owned();
    all.extend(other);
    assert_eq!(all.dns.domain, "");
}
