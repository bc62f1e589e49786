//! Static routes, the metric and the absence of the default route, and other names of interfaces on the host.

use std::process::Command;

use fairway_api::types::{ContainerCreate, EndpointSettings, NetworkCreate};
use fairway_lab::{Lab, Outcome, Place, Question, ask, serve_tcp};

use crate::harness::{HOST, LAN, LAN6, Stage, refusal, request};

on_each_backend! {
    packets_take_the_routes_of_endpoints;
    without_a_default_route_ports_are_published;
}

fn options(options: &[(&str, &str)]) -> EndpointSettings {
    let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    EndpointSettings { driver_opts: Some(options.collect()), ..EndpointSettings::default() }
}

fn on(networks: &[&str], asked: &[(&str, &str)]) -> ContainerCreate {
    let mut container = request(networks, &[]);
    container.networking_config.endpoints_config[0].1 = options(asked);
    container
}

fn ip(place: &Place, arguments: &[&str]) -> String {
    let output = place.run(Command::new("ip").args(arguments)).unwrap();
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn dual_stack(subnets: &[&str], asked: &[(&str, &str)]) -> impl FnOnce(&mut NetworkCreate) {
    let subnets: Vec<String> = subnets.iter().map(|text| (*text).to_owned()).collect();
    let asked = asked.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    move |network| {
        network.enable_ipv6 = Some(true);
        network.ipam.get_or_insert_default().config = subnets
            .into_iter()
            .map(|subnet| fairway_api::types::IpamConfig { subnet, ..Default::default() })
            .collect();
        network.options = asked;
    }
}

/// Two sandboxes on two networks; behind the second one, which forwards, is a subnet of its own.
fn packets_take_the_routes_of_endpoints(lab: &Lab) {
    let mut stage = Stage::new(lab, &[]);
    stage.create_network("app", dual_stack(&["10.1.0.0/24", "fd01::/64"], &[])).unwrap();
    let routes = "10.9.0.0/16@10.2.0.2,fd09::/48@fd02::2,blackhole:10.66.0.0/16,prohibit:fd66::/48#9";
    let defaults = [("fairway.routes", routes), ("fairway.metric", "77")];
    stage.create_network("back", dual_stack(&["10.2.0.0/24", "fd02::/64"], &defaults)).unwrap();
    let router = stage.attach("router", on(&["back"], &[("fairway.routes", "")])).unwrap();
    assert_eq!(router.address("back").to_string(), "10.2.0.2");
    for address in ["10.9.0.1/16", "fd09::1/48"] {
        ip(&router, &["address", "add", address, "dev", "lo"]);
    }
    let _servers = [serve_tcp(&router, "[::]:80").unwrap(), serve_tcp(&stage.lan, "[::]:80").unwrap()];
    let web = stage.attach("web", on(&["app"], &[])).unwrap();
    let asks = |target: &str| Question::to(target).unwrap().tcp(&web).unwrap();

    assert_ne!(asks("10.9.0.1:80"), Outcome::answered("10.2.0.3"));
    stage.connect("back", "web", EndpointSettings { gw_priority: 1, ..options(&[]) }).unwrap();
    let check = |stage: &Stage| {
        assert_eq!(asks("10.9.0.1:80"), Outcome::answered("10.2.0.3"));
        assert_eq!(asks("[fd09::1]:80"), Outcome::answered("fd02::3"));
        assert_eq!(asks(&format!("{LAN}:80")), Outcome::answered(HOST));
        assert!(!matches!(asks("10.66.0.1:80"), Outcome::Answered { .. }));
        assert!(!matches!(asks("[fd66::1]:80"), Outcome::Answered { .. }));
        assert!(ip(&web, &["route"]).contains("default via 10.2.0.1 dev eth1 metric 77"));
        assert!(ip(&web, &["-6", "route"]).contains("default via fd02::1 dev eth1 metric 77"));
        assert!(ip(&web, &["route"]).contains("blackhole 10.66.0.0/16 proto 70"));
        for (target, answered) in
            [("10.9.0.1:80", true), ("[fd09::1]:80", true), ("10.66.0.1:80", false), ("[fd66::1]:80", false)]
        {
            let explained = stage.client().explain("web", target, false).unwrap();
            let shown = (explained.answered, explained.planned);
            assert_eq!(shown, (Some(answered), None), "{target}: {}", explained.sentence);
        }
    };
    check(&stage);
    assert!(!matches!(asks(&format!("[{LAN6}]:81")), Outcome::Answered { .. }));

    // Changed inside while no daemon runs: right again at the next start.
    ip(&web, &["route", "del", "10.9.0.0/16"]);
    ip(&web, &["-6", "route", "add", "blackhole", "fd77::/48", "proto", "70"]);
    stage.daemon.restart(&[]);
    assert!(!ip(&web, &["-6", "route"]).contains("fd77::/48"));
    check(&stage);

    stage.disconnect("back", "web").unwrap();
    let left = ip(&web, &["route"]) + &ip(&web, &["-6", "route"]);
    assert!(!left.contains("proto 70"), "{left}");
    assert!(left.contains("default via 10.1.0.1 dev eth0"), "{left}");
    let error = stage.connect("back", "web", options(&[("fairway.routes", "10.9.0.0/16@10.1.0.9")]));
    assert!(refusal(error).contains("the gateway 10.1.0.9 is not in the subnet 10.2.0.0/24 of network back"));
}

fn without_a_default_route_ports_are_published(lab: &Lab) {
    let mut stage = Stage::new(lab, &[]);
    stage.create_network("app", dual_stack(&["10.1.0.0/24", "fd01::/64"], &[])).unwrap();
    let mut container =
        on(&["app"], &[("fairway.default_route", "false"), ("fairway.host_interface", "web0")]);
    container.host_config.port_bindings = crate::harness::ports(&["8080:80"]);
    let web = stage.attach("web", container).unwrap();
    let _servers = [serve_tcp(&web, "[::]:80").unwrap(), serve_tcp(&stage.lan, "[::]:80").unwrap()];
    for _ in 0..2 {
        assert!(!ip(&web, &["route"]).contains("default"));
        assert!(!ip(&web, &["-6", "route"]).contains("default"));
        assert!(!matches!(
            Question::to(&format!("{LAN}:80")).unwrap().tcp(&web).unwrap(),
            Outcome::Answered { .. }
        ));
        assert!(matches!(ask(&stage.host, "127.0.0.1:8080").unwrap(), Outcome::Answered { .. }));
        assert!(ip(&stage.host, &["link", "show", "web0"]).contains("altname web0"));
        stage.daemon.restart(&[]);
    }
    // Another program's interface has the name.
    ip(&stage.host, &["link", "add", "taken0", "type", "bridge"]);
    let error = stage.attach("other", on(&["app"], &[("fairway.host_interface", "taken0")]));
    assert!(refusal(error).contains("the host already has an interface taken0"));
    let error = stage.attach("other", on(&["app"], &[("fairway.host_interface", "web0")]));
    assert!(refusal(error).contains("the interface of container web has that name"));
    assert!(stage.client().container("other").is_err(), "nothing is left of it");
    // A lost name is given again.
    ip(&stage.host, &["link", "property", "del", "dev", "web0", "altname", "web0"]);
    stage.daemon.restart(&[]);
    ip(&stage.host, &["link", "show", "web0"]);
}
