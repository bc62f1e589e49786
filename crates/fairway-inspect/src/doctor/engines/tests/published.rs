//! Published ports that are open to more hosts than their user believes, or need a helper.

use super::*;

const UFW: &str = include_str!("../../../conflict/data/ufw.v4");
const CLOSE: &str =
    "iptables -I DOCKER-USER -i eth0 -p tcp -m conntrack --ctorigdstport 8080 --ctdir ORIGINAL -j DROP";

/// A host of Docker with ufw, as if Docker's rules came first.
fn with_ufw() -> TestHost {
    let mut host = TestHost::new();
    let filter = iptables_save::read(Family::Ip, UFW).remove(0);
    let mut known = host.observed.host.tables.remove(0);
    let chains = filter.chains.into_iter();
    for chain in chains {
        match known.chains.iter_mut().find(|it| it.name == chain.name) {
            Some(own) => {
                own.base = chain.base;
                own.rules.extend(chain.rules);
            }
            None => known.chains.push(chain),
        }
    }
    host.observed.host.tables.insert(0, known);
    host
}

#[test]
fn a_port_that_ufw_has_not_opened_is_a_warning() {
    let mut host = with_ufw();
    host.only(
        "published-firewall",
        Severity::Warning,
        "ufw has not opened published ports of docker:web (8080/tcp)",
        CLOSE,
    );
    let closed = CLOSE.strip_prefix("iptables -I ").unwrap();
    host.rule("filter", &format!("-A {closed}"));
    host.is_healthy();
}

#[test]
fn a_port_that_ufw_opened_is_meant() {
    let mut host = with_ufw();
    host.rule("filter", "-A ufw-user-input -p tcp -m tcp --dport 22 -j ACCEPT");
    assert_eq!(host.findings().len(), 1);
    host.rule("filter", "-A ufw-user-input -p tcp -m tcp --dport 8080 -j ACCEPT");
    host.is_healthy();
}

#[test]
fn ports_on_loopback_and_of_containers_that_are_gone_are_not_open() {
    let mut host = with_ufw();
    host.observed.containers[0].known.ports[0].host_address = ip("127.0.0.1");
    host.is_healthy();
    host.observed.containers[0].known.ports[0].host_address = ip("0.0.0.0");
    host.observed.containers[0].running = false;
    host.is_healthy();
}

#[test]
fn ufw_that_is_off_closes_nothing() {
    let mut host = with_ufw();
    let input = host.observed.host.tables[0].chains.iter_mut().find(|it| it.name == "INPUT").unwrap();
    input.base.as_mut().unwrap().policy = fairway_ruleset::Policy::Accept;
    host.is_healthy();
}

#[test]
fn a_port_that_firewalld_has_not_opened_is_a_warning() {
    use fairway_ruleset::{Chain, rule};
    let mut host = TestHost::new();
    host.observed.containers[0].known.engine = EngineWords::Podman;
    let mut table = Table::new(Family::Inet, "firewalld");
    table.chains.push(Chain::regular("filter_INPUT_ZONES"));
    table
        .chains
        .push(Chain::regular("filter_IN_public_allow").with([rule().to_port(Protocol::Tcp, 22).accept()]));
    host.observed.host.tables.push(table);
    host.only(
        "published-firewall",
        Severity::Warning,
        "firewalld has not opened published ports of docker:web (8080/tcp)",
        "podman run -p 127.0.0.1:8080:80 IMAGE",
    );
    let open = rule().to_port(Protocol::Tcp, 8080).accept();
    host.observed.host.tables.last_mut().unwrap().chains[1].rules.push(open.into());
    host.is_healthy();
}

const LOOPBACK: &str = "-A DOCKER -d 127.0.0.1/32 ! -i docker0 -p tcp -m tcp --dport 8081 -j DNAT --to-destination 172.17.0.2:80";
const DROP: &str = "iptables -t raw -I PREROUTING ! -i lo -d 127.0.0.1 -p tcp --dport 8081 -j DROP";

#[test]
fn a_port_on_loopback_that_the_lan_reaches_is_a_warning() {
    let mut host = TestHost::new();
    host.rule("nat", LOOPBACK);
    host.publish("web", Protocol::Tcp, "127.0.0.1", 8081, 80);
    host.only("loopback-ports", Severity::Warning, "docker:web publishes 127.0.0.1:8081/tcp", DROP);
    // What Docker 28 does, and the fix.
    host.rules("*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -d 127.0.0.1/32 ! -i lo -p tcp -m tcp --dport 8081 -j DROP\nCOMMIT\n");
    host.is_healthy();
}

#[test]
fn a_rule_that_asks_for_the_interface_is_safe() {
    let mut host = TestHost::new();
    host.rule("nat", &LOOPBACK.replace("! -i docker0", "-i lo"));
    host.is_healthy();
    let mut host = TestHost::new();
    host.rule("nat", &LOOPBACK.replace("127.0.0.1", "10.0.0.2"));
    host.is_healthy();
}

#[test]
fn loopback_addresses_from_outside_are_a_warning_with_a_proxy() {
    let mut host = TestHost::new();
    host.find("eth0").route_localnet = true;
    host.is_healthy();
    host.publish("web", Protocol::Tcp, "127.0.0.1", 8081, 80);
    host.only(
        "loopback-ports",
        Severity::Warning,
        "route_localnet of eth0 is on, and docker:web (8081/tcp) publishes ports on loopback",
        "iptables -t raw -I PREROUTING ! -i lo -d 127.0.0.0/8 -j DROP",
    );
    // As kube-proxy has it, where loopback itself may send.
    host.rules("*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -d 127.0.0.0/8 ! -i lo -j DROP\nCOMMIT\n");
    host.is_healthy();
}

#[test]
fn a_protocol_that_needs_a_helper_is_a_note() {
    let mut host = TestHost::new();
    host.publish("web", Protocol::Tcp, "0.0.0.0", 2121, 21);
    host.only(
        "conntrack-helpers",
        Severity::Note,
        "docker:web publishes ftp at 2121/tcp",
        "modprobe nf_nat_ftp && iptables -t raw -A PREROUTING -p tcp --dport 2121 -j CT --helper ftp",
    );
    host.observed.containers[0].running = false;
    host.is_healthy();
}

#[test]
fn a_helper_that_a_rule_assigns_suffices() {
    let mut host = TestHost::new();
    host.publish("web", Protocol::Udp, "0.0.0.0", 5060, 5060);
    assert_eq!(host.findings().len(), 1);
    host.rules(
        "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p udp -m udp --dport 5060 -j CT --helper sip\nCOMMIT\n",
    );
    host.is_healthy();
}

#[test]
fn helpers_for_everyone_are_a_note() {
    let mut host = TestHost::new();
    host.observed.automatic_helpers = Some(false);
    host.is_healthy();
    host.observed.automatic_helpers = Some(true);
    host.only(
        "conntrack-helpers",
        Severity::Note,
        "nf_conntrack_helper is 1",
        "sysctl -w net.netfilter.nf_conntrack_helper=0",
    );
}
