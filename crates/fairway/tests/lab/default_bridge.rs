//! The default network: with IPv6, on a bridge of the user's own, or none; and what else the daemon's flags say of it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use fairway_lab::{Outcome, ask, serve_tcp};

use crate::cli::{fairway, printed};
use crate::foreign_changes;
use crate::harness::{HOST6, LAN, LAN6, Sandbox, Stage, eventually, refusal, request};

fn six(stage: &Stage, flags: &[&str]) -> Vec<String> {
    let network = stage.client().network("bridge").unwrap();
    assert_eq!(network.enable_ipv6, flags.contains(&"--ipv6"), "{flags:?}");
    network
        .ipam
        .config
        .into_iter()
        .map(|it| format!("{} {} {}", it.subnet, it.gateway, it.ip_range))
        .collect()
}

fn hosts(sandbox: &Sandbox) -> String {
    std::fs::read_to_string(&sandbox.attached.hosts_path).unwrap_or_default()
}

fn at(address: IpAddr, port: u16) -> String {
    SocketAddr::new(address, port).to_string()
}

/// The last daemon ends by itself, and says why.
fn is_refused(stage: &mut Stage, flags: &[&str]) -> String {
    stage.daemon.kill9();
    stage.daemon.launch(flags);
    let status = stage.daemon.wait_until_ended().expect("it is refused");
    assert!(!status.success());
    stage.daemon.log().lines().last().unwrap_or_default().to_owned()
}

#[test]
fn with_ipv6_it_is_as_any_network_with_ipv6() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::new(lab, &["--ipv6"]);
        let chosen = six(&stage, &["--ipv6"]);
        assert!(chosen[1].starts_with("fd") && chosen[1].contains("::/64 "), "{chosen:?}");
        let web = stage.sandbox("web", &["bridge"], &["8080:80"]);
        let neighbour = stage.sandbox("neighbour", &["bridge"], &[]);
        let own = web.address6("bridge");
        let gateway: IpAddr = web.attached.networks["bridge"].ipv6_gateway.parse().unwrap();
        let _servers = [serve_tcp(&web, "[::]:80").unwrap(), serve_tcp(&stage.lan, "[::]:80").unwrap()];
        // Outward, from a neighbour, and by the published port, from the LAN and by the host's loopback.
        assert_eq!(ask(&web, &at(LAN6.parse().unwrap(), 80)).unwrap(), Outcome::answered(HOST6));
        let near = Outcome::Answered { source: neighbour.address6("bridge") };
        assert_eq!(ask(&neighbour, &at(own, 80)).unwrap(), near);
        assert_eq!(ask(&stage.lan, &at(HOST6.parse().unwrap(), 8080)).unwrap(), Outcome::answered(LAN6));
        let by_proxy = Outcome::Answered { source: gateway };
        assert_eq!(ask(&stage.host, "[::1]:8080").unwrap(), by_proxy);
        // What no port is published of is not reached by its own address.
        stage.lan.route("fd00::/8", HOST6).unwrap();
        assert_eq!(ask(&stage.lan, &at(own, 80)).unwrap(), Outcome::TimedOut);
        let file = stage.host.run_in(|| hosts(&web)).unwrap();
        assert!(file.contains(&format!("{own}\tweb")) || file.contains(&format!("{own}\t")), "{file}");
        assert!(web.attached.networks["bridge"].global_ipv6_prefix_len == 64);

        // The subnet stays; without IPv6 those who have an address of it would lose it.
        stage.daemon.restart(&["--ipv6"]);
        assert_eq!(six(&stage, &["--ipv6"]), chosen);
        let said = is_refused(&mut stage, &[]);
        assert!(said.contains(" has fd") && said.contains("--ipv6"), "{said}");
        stage.daemon.restart(&["--ipv6"]);
        ["web", "neighbour"].iter().for_each(|name| stage.client().detach(name).unwrap());
        stage.daemon.restart(&[]);
        assert_eq!(six(&stage, &[]).len(), 1);
        let flags = [
            "--ipv6",
            "--bip6=fd08::f/48",
            "--fixed-cidr-v6=fd08:0:0:7::/64",
            "--default-gateway-v6=fd08::9",
        ];
        stage.daemon.restart(&flags);
        assert_eq!(six(&stage, &flags)[1], "fd08::/48 fd08::f fd08:0:0:7::/64");
        let web = stage.sandbox("web", &["bridge"], &[]);
        assert!(web.address6("bridge").to_string().starts_with("fd08:0:0:7:"), "{}", web.address6("bridge"));
        let routes = web.run_in(|| std::fs::read_to_string("/proc/thread-self/net/ipv6_route").unwrap());
        let gateway = "fd080000000000000000000000000009";
        assert!(routes.unwrap().contains(gateway), "the default route leads to another");
        let said = is_refused(&mut stage, &["--ipv6", "--bip6=fd09::1/64"]);
        assert!(said.contains("--bip6 fd09::1/64") && said.contains("web has fd08:0:0:7:"), "{said}");
    });
}

/// A bridge of the host's own, up, with addresses.
fn make_bridge(stage: &Stage, name: &str, addresses: &[&str]) {
    stage.host.run_in(|| foreign_changes::add_bridge(name)).unwrap();
    stage.host.set_link(name, true).unwrap();
    addresses.iter().for_each(|address| stage.host.add_address(name, address).unwrap());
}

/// The addresses of a link of the host that are good everywhere.
fn addresses(stage: &Stage, name: &str) -> Vec<String> {
    let found = stage.host.run_in(|| {
        let links = fairway_kernel::route::Links::open().unwrap();
        let index = foreign_changes::link(name).index;
        let all = links.addresses(index).unwrap();
        let own = all.into_iter().filter(|it| it.interface == index && it.scope == 0);
        own.map(|it| it.address.to_string()).collect::<Vec<_>>()
    });
    found.unwrap()
}

#[test]
fn on_a_bridge_of_ones_own() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::before_daemon(lab);
        let said = is_refused(&mut stage, &["--bridge=own0"]);
        assert!(said.contains("cannot use bridge own0: it does not exist"), "{said}");
        stage.host.run_in(|| foreign_changes::add_bridge("own0")).unwrap();
        let said = is_refused(&mut stage, &["--bridge=own0"]);
        assert!(said.contains("cannot use bridge own0: it has no IPv4 address"), "{said}");
        stage.host.set_link("own0", true).unwrap();
        stage.host.add_address("own0", "10.77.0.254/24").unwrap();
        stage.host.add_address("own0", "10.78.0.1/24").unwrap();
        let before = addresses(&stage, "own0");
        for flags in [&["--bridge=own0"][..], &["-b", "own0", "--userland-proxy=false"]] {
            stage.daemon.restart(flags);
            assert_eq!(six(&stage, flags), ["10.77.0.0/24 10.77.0.254 "]);
            let web = stage.sandbox("web", &["bridge"], &["8080:80"]);
            assert_eq!(web.attached.networks["bridge"].gateway, "10.77.0.254");
            let _server = serve_tcp(&web, "0.0.0.0:80").unwrap();
            assert_eq!(ask(&stage.lan, "10.10.50.99:8080").unwrap(), Outcome::answered(LAN));
            assert_eq!(ask(&stage.host, "127.0.0.1:8080").unwrap(), Outcome::answered("10.77.0.254"));
            let port = stage.host.run_in(|| foreign_changes::port_of(&web, "eth0")).unwrap();
            let master = stage.host.run_in(|| foreign_changes::link(&port).master).unwrap();
            assert_eq!(master, Some(stage.host.run_in(|| foreign_changes::link("own0").index).unwrap()));
            stage.client().detach("web").unwrap();
        }
        let localnet = |stage: &Stage| stage.host.sysctl("net.ipv4.conf.own0.route_localnet").unwrap();
        assert_eq!(localnet(&stage), "1");
        assert!(!stage.host.run_in(|| foreign_changes::has_link("fairway0")).unwrap());
        // Back to a bridge of ours: the other one is as it was.
        stage.daemon.restart(&[]);
        assert!(stage.host.run_in(|| foreign_changes::has_link("fairway0")).unwrap());
        assert_eq!((addresses(&stage, "own0"), localnet(&stage).as_str()), (before, "0"));
        let sandbox = stage.sandbox("web", &["bridge"], &[]);
        let said = is_refused(&mut stage, &["--bridge=own0"]);
        assert!(said.contains("web has ") && said.contains("10.77.0.254/24"), "{said}");
        drop(sandbox);
    });
}

#[test]
fn a_network_on_a_bridge_of_ones_own_leaves_it() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::new(lab, &[]);
        make_bridge(&stage, "own0", &["10.77.0.254/24"]);
        let name = ("com.docker.network.bridge.name", "own0");
        let on_it = |network: &mut fairway_api::types::NetworkCreate| {
            network.options.insert(name.0.to_owned(), name.1.to_owned());
        };
        let made = stage.create_network("app", on_it).unwrap();
        assert_eq!(made.ipam.config[0].subnet, "10.77.0.0/24");
        let web = stage.sandbox("web", &["app"], &["8080:80"]);
        assert_eq!(web.attached.networks["app"].gateway, "10.77.0.254");
        let _server = serve_tcp(&web, "0.0.0.0:80").unwrap();
        stage.daemon.restart(&[]);
        assert_eq!(ask(&stage.lan, "10.10.50.99:8080").unwrap(), Outcome::answered(LAN));
        let said = refusal(stage.create_network("second", on_it));
        assert!(said.contains("own0") && said.contains("app"), "{said}");
        stage.client().detach("web").unwrap();
        stage.client().remove_network("app").unwrap();
        assert_eq!(addresses(&stage, "own0"), ["10.77.0.254/24"]);
        // What it lacks it is given, and loses again.
        let other = stage.create_network("other", |network| {
            on_it(network);
            let config =
                fairway_api::types::IpamConfig { subnet: "10.79.0.0/24".to_owned(), ..Default::default() };
            network.ipam.get_or_insert_default().config = vec![config];
        });
        assert_eq!(other.unwrap().ipam.config[0].gateway, "10.79.0.1");
        assert_eq!(addresses(&stage, "own0"), ["10.77.0.254/24", "10.79.0.1/24"]);
        let name: std::net::IpAddr = "10.79.0.1".parse().unwrap();
        stage
            .host
            .run_in(|| foreign_changes::remove_address("own0", ipnet::IpNet::new(name, 24).unwrap()))
            .unwrap();
        eventually("it is given back", Duration::from_secs(20), || addresses(&stage, "own0").len() == 2);
        stage.client().remove_network("other").unwrap();
        assert_eq!(addresses(&stage, "own0"), ["10.77.0.254/24"]);
    });
}

#[test]
fn without_one_a_sandbox_has_loopback_alone() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::new(lab, &[]);
        let web = stage.sandbox("web", &["bridge"], &[]);
        let said = is_refused(&mut stage, &["--bridge=none"]);
        assert!(said.contains("cannot disable the default bridge: container web runs on it"), "{said}");
        stage.daemon.restart(&[]);
        drop(web);
        stage.client().detach("web").unwrap();
        stage.daemon.restart(&["--bridge=none"]);
        assert!(!stage.host.run_in(|| foreign_changes::has_link("fairway0")).unwrap());
        let listed = printed(&stage, "network ls --format {{.Name}}");
        assert_eq!(listed, "host\nnone");
        let links = printed(&stage, "run --rm -- ls /sys/class/net");
        assert!(!links.contains("eth0"), "{links}");
        let reported = fairway(&stage, "run --rm --network bridge -- true");
        assert!(reported.errors.contains("network bridge not found"), "{reported:?}");
        assert!(refusal(stage.attach("bad", request(&["bridge"], &[]))).contains("network bridge not found"));
        stage.network("app");
        let app = stage.sandbox("app", &["app"], &[]);
        assert_eq!(app.attached.networks.len(), 1);
        stage.daemon.restart(&[]);
        assert_eq!(six(&stage, &[]).len(), 1);
    });
}

#[test]
fn options_and_host_gateway_are_the_daemons() {
    fairway_lab::run(|lab| {
        let flags = [
            "--default-network-opt=bridge=com.docker.network.driver.mtu=1380",
            "--host-gateway-ip=10.9.9.9",
            "--host-gateway-ip=fd09::9",
        ];
        let mut stage = Stage::new(lab, &flags);
        let app = stage.network("app");
        assert_eq!(app.options["com.docker.network.driver.mtu"], "1380");
        let own = |network: &mut fairway_api::types::NetworkCreate| {
            network.options.insert("com.docker.network.driver.mtu".to_owned(), "1450".to_owned());
        };
        let other = stage.create_network("other", own).unwrap();
        assert_eq!(other.options["com.docker.network.driver.mtu"], "1450");
        let shown = printed(&stage, "run --rm --network app --add-host out:host-gateway -- cat /etc/hosts");
        assert!(shown.contains("10.9.9.9\tout\nfd09::9\tout\n"), "{shown}");
        let mtu = printed(&stage, "run --rm --network app -- cat /sys/class/net/eth0/mtu");
        assert_eq!(mtu, "1380");
        stage.daemon.restart(&["--ipv6", "--fixed-cidr-v6=fd08::/64"]);
        let shown = printed(&stage, "run --rm --add-host out:host-gateway -- cat /etc/hosts");
        assert!(shown.contains("172.17.0.1\tout\nfd08::1\tout\n"), "{shown}");
    });
}
