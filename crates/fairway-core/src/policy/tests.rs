//! The complete nftables ruleset of each scenario, as `nft list ruleset` prints it: read the files in `rulesets/`.

use super::*;
use crate::object::{Key, Object};
use crate::plan::plan;
use crate::world::tests::{publish, run, sandbox, start};
use crate::world::{Command, CreateNetwork, World};
use fairway_model::{
    Backend, EndpointRequest, HostFacts, HostRoute, MacAddress, PacketMark, Protocol, Rng, SandboxOptions,
    Settings, SubnetRequest, Uplink, UplinkRoute,
};

const MODE4: &str = "com.docker.network.bridge.gateway_mode_ipv4";

/// The tables of a World with the elements of its Plan.
fn listing(world: &World) -> String {
    let plan = plan(world);
    let objects = plan.objects();
    let (rulesets, objects): (Vec<_>, Vec<_>) = objects.partition(|(key, _)| matches!(key, Key::Ruleset));
    let mut tables = match rulesets.as_slice() {
        [(_, Object::Ruleset(switches))] => ruleset(switches),
        _ => Vec::new(),
    };
    for (key, object) in &objects {
        let (Key::Element(name, bytes), Object::Element(element)) = (key, object) else { continue };
        let sets = tables.iter_mut().filter(|table| table.family == name.family());
        let set = sets.flat_map(|table| &mut table.sets).find(|set| set.name == name.text()).unwrap();
        set.elements.push(element.to_element(*name, bytes));
    }
    tables.iter().map(|table| format!("{table}\n")).collect()
}

struct Scenario {
    world: World,
    rng: Rng,
}

impl Scenario {
    fn new(settings: Settings, host: HostFacts) -> Self {
        let (mut world, mut rng) = (World::default(), Rng::new(1));
        let settings = Settings { relay_user: Some(61_000), ..settings };
        let configure = Command::Configure { settings: Box::new(settings), host: Box::new(host) };
        world.apply(configure, 0, &mut rng).unwrap();
        Self { world, rng }
    }

    fn run(mut self, commands: impl IntoIterator<Item = Command>) -> Self {
        run(&mut self.world, &mut self.rng, commands);
        self
    }

    /// Compares with `rulesets/NAME.snap`.
    fn assert(&self, name: &str) {
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path("rulesets");
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(name, listing(&self.world)));
    }
}

/// A host with br_netfilter off, where the daemon uses the proxy.
fn by_default() -> Scenario {
    Scenario::new(Settings::default(), HostFacts::default())
}

fn lan_route() -> HostRoute {
    HostRoute { destination: "10.10.50.0/24".parse().unwrap(), interface: "eth0".to_owned() }
}

fn with_settings(settings: Settings) -> Scenario {
    Scenario::new(settings, HostFacts::default())
}

fn options(options: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// `network create --subnet SUBNET -o OPTION=VALUE app`.
fn app(subnets: &[&str], chosen: &[(&str, &str)]) -> CreateNetwork {
    let subnet = |text: &&str| SubnetRequest { subnet: text.parse().ok(), ..SubnetRequest::default() };
    CreateNetwork {
        name: "app".to_owned(),
        subnets: subnets.iter().map(subnet).collect(),
        options: options(chosen),
        ..CreateNetwork::default()
    }
}

/// `web` on a network, with port 80 published as 8080.
fn web(network: &str) -> [Command; 2] {
    [sandbox("web", &[(network, EndpointRequest::default())], publish(Some(8080), 80)), start("web")]
}

/// A network `app` with `web` on it.
fn app_with_web(scenario: Scenario, app: CreateNetwork) -> Scenario {
    scenario.run([Command::CreateNetwork(app)]).run(web("app"))
}

#[test]
fn the_default_bridge_with_a_published_port() {
    by_default().run(web("bridge")).assert("default_bridge");
}

#[test]
fn no_userland_proxy() {
    with_settings(Settings { userland_proxy: false, ..Settings::default() })
        .run(web("bridge"))
        .assert("no_userland_proxy");
}

#[test]
fn bridge_netfilter_on_without_the_proxy() {
    let settings = Settings { userland_proxy: false, ..Settings::default() };
    let host = HostFacts { bridge_netfilter_ipv4: true, bridge_netfilter_ipv6: true, ..HostFacts::default() };
    Scenario::new(settings, host).run(web("bridge")).assert("bridge_netfilter");
}

#[test]
fn a_link_on_the_default_bridge_with_icc_off() {
    let links = vec![("db".to_owned(), "database".to_owned())];
    let expose = SandboxOptions { exposed: vec![(5432, Protocol::Tcp)], ..SandboxOptions::default() };
    let request = EndpointRequest { links, ..EndpointRequest::default() };
    with_settings(Settings { icc: false, ..Settings::default() })
        .run([
            sandbox("db", &[("bridge", EndpointRequest::default())], expose),
            start("db"),
            sandbox("web", &[("bridge", request)], SandboxOptions::default()),
            start("web"),
        ])
        .assert("icc_off_with_link");
}

#[test]
fn an_internal_network_with_a_strict_guard() {
    let internal = CreateNetwork { internal: true, ..app(&["10.1.0.0/24"], &[("fairway.guard", "strict")]) };
    app_with_web(by_default(), internal).assert("internal_strict_guard");
}

#[test]
fn the_gateway_mode_isolated() {
    let mode = [(MODE4, "isolated")];
    let isolated = CreateNetwork { internal: true, ..app(&["10.1.0.0/24"], &mode) };
    app_with_web(by_default(), isolated).assert("gateway_mode_isolated");
}

#[test]
fn the_gateway_mode_routed() {
    app_with_web(by_default(), app(&["10.1.0.0/24"], &[(MODE4, "routed")])).assert("gateway_mode_routed");
}

#[test]
fn the_gateway_mode_nat_unprotected_with_a_source_address() {
    let chosen = [(MODE4, "nat-unprotected"), ("com.docker.network.host_ipv4", "10.10.50.99")];
    app_with_web(by_default(), app(&["10.1.0.0/24"], &chosen)).assert("gateway_mode_nat_unprotected");
}

#[test]
fn ipv6_and_ipv4() {
    let both = CreateNetwork { enable_ipv6: Some(true), ..app(&["10.1.0.0/24", "fd01::/64"], &[]) };
    app_with_web(by_default(), both).assert("ipv6");
}

#[test]
fn direct_routing_allowed_and_a_mark_accepted() {
    let accept_mark = Some(PacketMark { value: 0x10, mask: 0xf0 });
    let settings = Settings { allow_direct_routing: true, accept_mark, ..Settings::default() };
    with_settings(settings).run(web("bridge")).assert("allow_direct_routing");
}

#[test]
fn a_trusted_host_interface() {
    let chosen = [("com.docker.network.bridge.trusted_host_interfaces", "vpn0")];
    app_with_web(by_default(), app(&["10.1.0.0/24"], &chosen)).assert("trusted_host_interface");
}

#[test]
fn the_driver_routed_with_a_peer() {
    let routed = app(&["172.30.1.0/24"], &[("fairway.peers", "172.30.2.0/24@10.10.50.98")]);
    let host = HostFacts { routes: vec![lan_route()], ..HostFacts::default() };
    let routed = CreateNetwork { driver: "routed".to_owned(), ..routed };
    app_with_web(Scenario::new(Settings::default(), host), routed).assert("driver_routed");
}

#[test]
fn the_driver_lan() {
    let uplink = Uplink {
        parent: "eth0".to_owned(),
        mac: MacAddress([2, 0, 0, 0, 0, 9]),
        mtu: 1500,
        addresses: vec!["10.10.50.99/24".parse().unwrap()],
        routes: vec![
            UplinkRoute { destination: "10.10.50.0/24".parse().unwrap(), gateway: None, metric: 0 },
            UplinkRoute {
                destination: "0.0.0.0/0".parse().unwrap(),
                gateway: "10.10.50.1".parse().ok(),
                metric: 0,
            },
        ],
        boot: "boot".to_owned(),
        unusable: None,
    };
    let lan = CreateNetwork {
        driver: "lan".to_owned(),
        subnets: Vec::new(),
        uplink: Some(Box::new(uplink)),
        ..app(&[], &[("parent", "eth0")])
    };
    app_with_web(by_default(), lan).assert("driver_lan");
}

#[test]
fn forwarding_switched_on_by_the_daemon() {
    let host = HostFacts { forwarding: (false, false), ..HostFacts::default() };
    let settings = Settings { ipv6: true, ..Settings::default() };
    Scenario::new(settings, host).run(web("bridge")).assert("forwarding_switched_on");
}

#[test]
fn the_bridge_table_alone_with_the_backend_iptables() {
    with_settings(Settings { backend: Backend::Iptables, ..Settings::default() })
        .run(web("bridge"))
        .assert("backend_iptables");
}

#[test]
fn ipv4_not_filtered() {
    with_settings(Settings { iptables: false, ..Settings::default() })
        .run(web("bridge"))
        .assert("iptables_false");
}

#[test]
fn ipv6_not_filtered() {
    with_settings(Settings { ip6tables: false, ..Settings::default() })
        .run(web("bridge"))
        .assert("ip6tables_false");
}

#[test]
fn nothing_filtered() {
    let settings = Settings { iptables: false, ip6tables: false, ..Settings::default() };
    let scenario = with_settings(settings).run(web("bridge"));
    assert_eq!(listing(&scenario.world), "", "no tables");
}

/// The tables of the switches, with the comments that an earlier version wrote.
fn with_comments(switches: &RulesetSwitches, comments: &[(&str, &str)]) -> Vec<Table> {
    let mut tables: Vec<Table> = ruleset(switches).into_iter().map(Table::at_rest).collect();
    let rules = tables.iter_mut().flat_map(|table| &mut table.chains).flat_map(|chain| &mut chain.rules);
    for comment in rules.filter_map(|rule| rule.comment.as_mut()) {
        if let Some((_, former)) = comments.iter().find(|(now, _)| now == comment) {
            *comment = (*former).to_owned();
        }
    }
    tables
}

#[test]
fn tables_of_an_earlier_version_show_whether_its_daemon_switched_forwarding_on() {
    let former = [(Reason::UnrelatedForward.comment(), "forwarding is on for our networks alone")];
    for comments in [&[][..], &former] {
        for (ipv4, ipv6) in [(true, true), (true, false), (false, true), (false, false)] {
            let switches = RulesetSwitches {
                drop_unrelated_forward_ipv4: ipv4,
                drop_unrelated_forward_ipv6: ipv6,
                ..RulesetSwitches::default()
            };
            let tables = with_comments(&switches, comments);
            let inet = tables.iter().find(|table| table.family == Family::Inet).unwrap();
            assert_eq!(drops_unrelated_forwarding(inet), (ipv4, ipv6));
        }
    }
}

#[test]
fn tables_of_an_earlier_version_show_which_families_they_filter() {
    let former =
        [(Reason::Ipv4Disabled.comment(), "not filtered"), (Reason::Ipv6Disabled.comment(), "not filtered")];
    for (ipv4_disabled, ipv6_disabled) in [(false, false), (true, false), (false, true), (true, true)] {
        for (bridge_table_only, comments) in [(false, &[][..]), (true, &[]), (false, &former)] {
            let switches = RulesetSwitches {
                ipv4_disabled,
                ipv6_disabled,
                bridge_table_only,
                ..RulesetSwitches::default()
            };
            let found = unknown_switches(&with_comments(&switches, comments));
            assert_eq!(
                (found.ipv4_disabled, found.ipv6_disabled, found.bridge_table_only),
                (ipv4_disabled, ipv6_disabled, bridge_table_only)
            );
        }
    }
    let none = unknown_switches(&[]);
    assert_eq!((none.ipv4_disabled, none.ipv6_disabled, none.bridge_table_only), (false, false, true));
}

#[test]
fn tables_of_traces_are_recognized_by_name() {
    assert!(is_trace_table("fairway-trace-12") && !is_trace_table("fairway"));
}
