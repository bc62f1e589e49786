//! Options of networks about names: `fairway.names`, `fairway.domain` and `fairway.dns`.

use std::net::IpAddr;
use std::time::Duration;

use crate::dns::{DnsQuestion, RecordType, ResponseCode, look_up, reverse_name};
use fairway_api::types::EndpointSettings;
use fairway_lab::Place;

use crate::harness::{LAN, Stage, refusal, request};
use crate::upstream::{FIRST, RESOLVER, SECOND, Upstream, stage};

/// What a name resolves to, also where a name server that does not answer is asked first.
fn addresses(place: &Place, name: &str) -> Vec<IpAddr> {
    let question = DnsQuestion::new(name, RecordType::A).within(Duration::from_secs(15));
    question.ask(place, RESOLVER).unwrap().addresses()
}

fn network(stage: &Stage, name: &str, option: (&str, &str)) {
    let option = (option.0.to_owned(), option.1.to_owned());
    stage.create_network(name, |network| network.options = [option].into()).unwrap();
}

fn resolv_conf(stage: &Stage, name: &str) -> String {
    let path = stage.client().container(name).unwrap().resolv_conf_path;
    stage.host.run_in(|| std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn a_network_without_names_gives_no_resolver() {
    fairway_lab::run(|lab| {
        let (mut stage, _upstream) = stage(lab);
        network(&stage, "mute", ("fairway.names", "false"));
        stage.network("app");
        let one = stage.sandbox("one", &["mute"], &[]);
        let two = stage.sandbox("two", &["mute"], &[]);
        for _ in 0..2 {
            assert!(look_up(&one, RESOLVER, "two", RecordType::A).is_err(), "nothing answers");
            let file = resolv_conf(&stage, "one");
            assert!(file.contains(&format!("nameserver {LAN}")) && !file.contains(RESOLVER), "{file}");
            stage.daemon.restart(&[]);
        }
        // On a network with names both have a resolver, and no name on the other network.
        stage.connect("app", "one", EndpointSettings::default()).unwrap();
        stage.connect("app", "two", EndpointSettings::default()).unwrap();
        let found = addresses(&one, "two");
        assert_eq!(found.len(), 1);
        assert_ne!(found, [two.address("mute")]);
        assert_eq!(addresses(&one, "two.mute"), [IpAddr::from(FIRST)], "forwarded");
    });
}

#[test]
fn names_resolve_below_the_domain_of_a_network() {
    fairway_lab::run(|lab| {
        let (mut stage, upstream) = stage(lab);
        network(&stage, "app", ("fairway.domain", "dns.podman"));
        let client = stage.sandbox("client", &["app"], &[]);
        let web = stage.sandbox("web", &["app"], &[]);
        for _ in 0..2 {
            for name in ["web", "web.app", "web.dns.podman", "WEB.DNS.PODMAN"] {
                assert_eq!(addresses(&client, name), [web.address("app")], "{name}");
            }
            let ask = |name: &str, kind| DnsQuestion::new(name, kind).ask(&client, RESOLVER).unwrap();
            assert_eq!(ask("other.dns.podman", RecordType::A).code, ResponseCode::NXDomain);
            let reverse = ask(&reverse_name(web.address("app")), RecordType::PTR);
            assert_eq!(reverse.names(), ["web.app"]);
            assert_eq!(upstream.asked(), 0);
            stage.daemon.restart(&[]);
        }
        let error = stage.create_network("net", |network| {
            network.options = [("fairway.domain".to_owned(), "a b".to_owned())].into();
        });
        assert!(refusal(error).contains("a domain of letters, digits and hyphens is expected"));
    });
}

#[test]
fn questions_go_to_the_name_servers_of_networks() {
    fairway_lab::run(|lab| {
        let (mut stage, first) = stage(lab);
        stage.lan.add_address("eth0", "10.10.50.2/24").unwrap();
        let second = Upstream::start(&stage.lan, "10.10.50.2", SECOND);
        network(&stage, "app", ("fairway.dns", "10.10.50.2"));
        stage.network("plain");
        // The first one does not answer: the next one is asked.
        network(&stage, "silent", ("fairway.dns", "10.10.50.77"));
        let one = stage.sandbox("one", &["app"], &[]);
        assert_eq!(addresses(&one, "example.org"), [IpAddr::from(SECOND)]);
        stage.daemon.restart(&[]);
        assert_eq!(addresses(&one, "example.net"), [IpAddr::from(SECOND)]);
        assert!(first.asked() == 0 && second.asked() > 0);

        let mut container = request(&["app"], &[]);
        container.host_config.dns = vec![LAN.to_owned()];
        let own = stage.attach("own", container).unwrap();
        assert_eq!(addresses(&own, "example.com"), [IpAddr::from(FIRST)]);

        let other = stage.sandbox("other", &["plain"], &[]);
        assert_eq!(addresses(&other, "example.edu"), [IpAddr::from(FIRST)]);
        stage.connect("silent", "other", EndpointSettings::default()).unwrap();
        stage.connect("app", "other", EndpointSettings::default()).unwrap();
        assert_eq!(
            addresses(&other, "example.info"),
            [IpAddr::from(SECOND)],
            "those of all networks are asked"
        );
        stage.disconnect("silent", "other").unwrap();
        stage.disconnect("app", "other").unwrap();
        assert_eq!(addresses(&other, "example.int"), [IpAddr::from(FIRST)]);
    });
}
