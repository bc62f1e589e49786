//! Each check on a healthy host of Docker, where it finds nothing, and on one with the problem that it reports.

mod leftovers;
mod passing;
mod published;

use std::net::IpAddr;

use fairway_model::{PortRange, Protocol};
use fairway_ruleset::{Family, Table, iptables_save};
use fairway_walk::{Interface, NamespaceId, NetworkNamespace, Route, RouteKind};

use super::*;
use crate::explain::{EngineWords, KnownContainer, KnownNetwork, KnownPort};

/// The rules that Docker 20.10 makes for `docker0` with a container that publishes port 8080.
const DOCKER: &str = "*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
COMMIT
";

/// An IPv4 address.
fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A host of Docker with a container `web` at 172.17.0.2 that publishes port 8080.
struct TestHost {
    observed: EngineObservations,
}

impl TestHost {
    fn new() -> Self {
        let mut host = Self { observed: EngineObservations::default() };
        host.observed.host = NetworkNamespace { name: "host".to_owned(), ..NetworkNamespace::default() };
        host.interface("eth0", "", "10.0.0.2/24");
        host.bridge("docker0", "172.17.0.1/16");
        host.route("0.0.0.0/0", "eth0");
        host.rules(DOCKER);
        host.container("web", EngineWords::Docker, "bridge", "172.17.0.2");
        host.publish("web", Protocol::Tcp, "0.0.0.0", 8080, 80);
        host
    }

    fn interface(&mut self, name: &str, kind: &str, address: &str) -> &mut Interface {
        let index = self.observed.host.interfaces.len() as u32 + 2;
        self.observed.mtus.insert(index, 1500);
        let addresses: Vec<ipnet::IpNet> = address.parse().into_iter().collect();
        self.observed.held.extend(addresses.iter().map(ipnet::IpNet::addr));
        self.observed.host.interfaces.push(Interface {
            index,
            name: name.to_owned(),
            kind: kind.to_owned(),
            up: true,
            addresses: addresses.clone(),
            forwarding: (true, true),
            ..Interface::default()
        });
        for address in addresses {
            self.route(&address.trunc().to_string(), name);
        }
        self.observed.host.interfaces.last_mut().unwrap()
    }

    /// A bridge with two ports.
    fn bridge(&mut self, name: &str, address: &str) {
        let index = self.interface(name, "bridge", address).index;
        for port in ["a", "b"] {
            self.interface(&format!("{name}{port}"), "veth", "").bridge = Some(index);
        }
    }

    fn find(&mut self, name: &str) -> &mut Interface {
        self.observed.host.interfaces.iter_mut().find(|it| it.name == name).unwrap()
    }

    fn route(&mut self, destination: &str, interface: &str) {
        let interface = self.find(interface).index;
        self.observed.host.routes.push(Route {
            table: 254,
            destination: destination.parse().unwrap(),
            kind: RouteKind::Unicast,
            gateway: None,
            interface,
            metric: 0,
            source: None,
        });
    }

    /// Adds rules of iptables.
    fn rules(&mut self, saved: &str) {
        for table in iptables_save::read(Family::Ip, saved) {
            match self.observed.host.tables.iter_mut().find(|it| it.name == table.name) {
                Some(known) => known.chains.extend(table.chains),
                None => self.observed.host.tables.push(table),
            }
        }
    }

    /// Inserts a rule at the top of a chain.
    fn rule(&mut self, table: &str, rule: &str) {
        let chain = rule.split(' ').nth(1).unwrap();
        let text = format!("*{table}\n:{chain} - [0:0]\n{rule}\nCOMMIT\n");
        let read: Vec<Table> = iptables_save::read(Family::Ip, &text);
        let rules = read[0].chains[0].rules.clone();
        let known = self.observed.host.tables.iter_mut().find(|it| it.name == table).unwrap();
        known.chains.iter_mut().find(|it| it.name == chain).unwrap().rules.splice(..0, rules);
    }

    fn container(&mut self, name: &str, engine: EngineWords, network: &str, address: &str) {
        let place = NamespaceId(self.observed.containers.len() + 1);
        self.observed.held.insert(ip(address));
        let networks = vec![KnownNetwork { name: network.to_owned(), addresses: vec![ip(address)] }];
        self.observed.containers.push(EngineContainer {
            name: format!("docker:{name}"),
            known: KnownContainer {
                engine,
                engine_name: "docker".to_owned(),
                name: name.to_owned(),
                namespace: Some(place),
                networks,
                ports: Vec::new(),
            },
            running: true,
            own_namespace: true,
            dead_name_servers: Vec::new(),
        });
    }

    fn publish(&mut self, name: &str, protocol: Protocol, address: &str, host: u16, container: u16) {
        let found = self.observed.containers.iter_mut().find(|it| it.known.name == name).unwrap();
        found.known.ports.push(KnownPort {
            protocol,
            host_address: ip(address),
            host_ports: PortRange::single(host),
            container_port: Some(container),
        });
    }

    /// The findings other than those of checks that passed.
    fn findings(&self) -> Vec<Finding> {
        examine_engines(&self.observed).into_iter().filter(|it| it.severity != Severity::Ok).collect()
    }

    /// The only finding, which is one of this check and has these words in its message and this fix.
    #[track_caller]
    fn only(&self, id: &str, severity: Severity, words: &str, fix: &str) {
        let found = self.findings();
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!((found[0].id.as_str(), found[0].severity), (id, severity), "{found:#?}");
        assert!(found[0].message.contains(words), "{found:#?}");
        assert!(!found[0].impact.is_empty());
        assert_eq!(found[0].fix.as_ref().unwrap().command, fix);
    }

    #[track_caller]
    fn is_healthy(&self) {
        assert_eq!(self.findings(), []);
    }
}

#[test]
fn a_healthy_host_has_no_findings() {
    TestHost::new().is_healthy();
    let passed = examine_engines(&TestHost::new().observed);
    let ids: Vec<&str> = ENGINE_CHECKS.iter().map(|check| check.id).collect();
    assert_eq!(passed.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(), ids);
    let nothing = EngineObservations::default();
    assert!(examine_engines(&nothing).iter().all(|it| it.severity == Severity::Ok));
}

#[test]
fn the_identifiers_of_all_checks_differ() {
    let mut ids: Vec<&str> = ENGINE_CHECKS.iter().map(|check| check.id).collect();
    ids.extend(crate::doctor::CHECKS.iter().map(|check| check.id));
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all);
}

#[test]
fn a_check_that_cannot_be_carried_out_is_unknown() {
    let mut host = TestHost::new();
    host.observed.not_examined.insert("stale-flows", "no conntrack".to_owned());
    let found = host.findings();
    assert_eq!((found[0].id.as_str(), found[0].severity), ("stale-flows", Severity::Unknown));
    assert_eq!(found[0].message, "cannot examine this: no conntrack");
    let none = engines_not_examined("no rights");
    assert_eq!(none.len(), ENGINE_CHECKS.len());
    assert!(none.iter().all(|it| it.severity == Severity::Unknown));
}
