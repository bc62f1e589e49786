mod compose;
mod difference;
mod model;
mod port;

use std::collections::{BTreeMap, HashMap};

use fairway_api::types::{ContainerInspect, EndpointSettings, NetworkInspect};
use proptest::prelude::*;

use super::declared::Declaration;
use super::error::{Refusal, TextError};
use super::export::export;
use super::file::{EndpointKeys, File, IpamKeys, NetworkKeys, SandboxKeys, ServiceKeys, SubnetKeys};
use super::plan::{Plan, plan};
use super::port::Port;
use super::present::Present;
use super::text;
use model::carry_out;

fn declared(text: &str) -> Declaration {
    Declaration::new(text::read(text, HashMap::new()).unwrap(), "").unwrap()
}

/// The steps of a text, carried out.
fn apply(present: &mut Present, text: &str, prune: bool) -> String {
    let plan = plan(&declared(text), present, prune).unwrap();
    let lines: Vec<String> = plan.steps.iter().map(ToString::to_string).collect();
    plan.steps.into_iter().for_each(|step| carry_out(present, step.action));
    lines.into_iter().chain(plan.notes.iter().map(|note| format!("({note})"))).collect::<Vec<_>>().join("\n")
}

/// A daemon that has only its own network, and these sandboxes.
fn fresh(sandboxes: Vec<ContainerInspect>) -> Present {
    let bridge = NetworkInspect { name: "bridge".to_owned(), ..NetworkInspect::default() };
    Present { networks: vec![bridge], sandboxes, ..Present::default() }
}

/// A sandbox that `fairway run` made.
fn run(name: &str) -> ContainerInspect {
    let mut sandbox =
        ContainerInspect { name: format!("/{name}"), kind: "run".to_owned(), ..Default::default() };
    sandbox.state.running = true;
    sandbox.host_config.network_mode = "bridge".to_owned();
    sandbox.network_settings.networks = [("bridge".to_owned(), EndpointSettings::default())].into();
    sandbox
}

const FILE: &str = "
networks:
  front:
    driver_opts: {com.docker.network.driver.mtu: 9000}
    ipam: {config: [{subnet: 172.28.0.7/16, gateway: 172.28.0.1}]}
  back: {internal: true, labels: [tier=data]}
sandboxes:
  web:
    networks:
      front: {ipv4_address: 172.28.0.9, aliases: [www]}
      back:
    ports: [8080:80, {target: 53, published: 5353, protocol: udp, host_ip: 127.0.0.1}]
  db: {netns: db, networks: [back]}
";

#[test]
fn a_file_is_made_changed_and_pruned() {
    let mut present = fresh(Vec::new());
    insta::assert_snapshot!(apply(&mut present, FILE, false), @"
    create network back: it does not exist
    create network front: it does not exist
    create sandbox db: it does not exist
    create sandbox web: it does not exist
    ");
    assert_eq!(apply(&mut present, FILE, true), "");
    let changed = "
networks:
  front:
    driver_opts: {fairway.isolate: true}
    ipam: {config: [{subnet: 172.28.0.0/16}]}
  extra: {driver: macvlan}
sandboxes:
  web:
    hostname: web.example
    networks: [front]
  db: {netns: db, networks: [front, extra], ports: [5432]}
";
    let kept = "(left network back: an earlier apply created it, and the file does not declare it: remove it with --prune)";
    let lines = apply(&mut present.clone(), changed, false);
    assert!(lines.ends_with(kept), "{lines}");
    assert_eq!(lines.matches("remove").count(), 1, "{lines}");
    insta::assert_snapshot!(apply(&mut present, changed, true), @"
    change sandbox web: hostname: none -> web.example (detached)
    change sandbox db: disconnect from network back, which is not declared
    remove network back: an earlier apply created it, and the file does not declare it
    change network front: com.docker.network.driver.mtu: 9000 -> none; fairway.isolate: none -> true
    create network extra: it does not exist
    change sandbox web: hostname: none -> web.example (attached again)
    change sandbox db: connect to network front
    change sandbox db: connect to network extra
    change sandbox db: publish 5432/tcp
    ");
    assert_eq!(apply(&mut present, changed, true), "");
}

#[test]
fn endpoints_and_ports_change_in_place() {
    let mut present = fresh(Vec::new());
    apply(&mut present, FILE, false);
    let changed = FILE
        .replace("ipv4_address: 172.28.0.9, aliases: [www]", "aliases: [www, api]")
        .replace("8080:80", "8081:80")
        .replace("      back:\n", "");
    insta::assert_snapshot!(apply(&mut present, &changed, false), @"
    change sandbox web: disconnect from network back, which is not declared
    change sandbox web: ipv4_address: 172.28.0.9 -> none; aliases: www -> www, api on network front (disconnected)
    change sandbox web: unpublish 8080:80/tcp
    change sandbox web: ipv4_address: 172.28.0.9 -> none; aliases: www -> www, api on network front (connected again)
    change sandbox web: publish 8081:80/tcp
    ");
    assert_eq!(apply(&mut present, &changed, false), "");
}

#[test]
fn json_is_read_as_yaml_is() {
    let json = r#"{"networks": {"front": {"driver_opts": {"com.docker.network.driver.mtu": 9000}, "internal": true}}}"#;
    let yaml =
        "networks:\n  front:\n    driver_opts: [com.docker.network.driver.mtu=9000]\n    internal: true\n";
    assert_eq!(declared(json), declared(yaml));
    assert_eq!(declared(json).networks[0].options["com.docker.network.driver.mtu"], "9000");
    assert_eq!(declared(""), Declaration::default());
}

#[test]
fn values_refer_to_variables_as_in_compose() {
    let text = "
name: ${PROJECT:-shop}
networks: {front: {labels: {price: $$5, tier: $TIER, '$TIER': '${NONE}'}}}
sandboxes: {web: {networks: [front], ports: ['${PORT:-8080}:80']}}
";
    let variables =
        [("TIER", "data"), ("PORT", "9000")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let file = text::read(text, variables.into()).unwrap();
    assert_eq!(file.name, "shop");
    let labels = &file.networks["front"].as_ref().unwrap().labels;
    assert_eq!(
        (labels["price"].as_str(), labels["tier"].as_str(), labels["$TIER"].as_str()),
        ("$5", "data", "")
    );
    let [web] = &Declaration::new(file, "").unwrap().sandboxes[..] else { panic!("one sandbox") };
    assert!(format!("{:?}", web.request).contains("9000"), "{:?}", web.request);
    let refused = text::read("name: ${PROJECT:?say which}", HashMap::new()).unwrap_err().to_string();
    assert!(refused.contains("say which"), "{refused}");
    assert!(text::read("name: ${PROJECT", HashMap::new()).is_err());
}

#[test]
fn values_have_one_form() {
    let one = "
networks: {front: {ipam: {config: [{subnet: 'FD00:1:0::7/64', gateway: 'fd00:1:0::1'}]}}}
sandboxes:
  web:
    networks: {front: {ipv6_address: 'FD00:1::00A', mac_address: '02-42-AC-00-00-0A'}}
    dns: '0:0::1'
    extra_hosts: [up=host-gateway]
    expose: 7000-7001
    ports: [{target: 80, published: 8080}]
";
    let other = "
networks: {front: {ipam: {config: [{subnet: 'fd00:1::/64', gateway: 'fd00:1::1'}]}}}
sandboxes:
  web:
    networks: {front: {ipv6_address: 'fd00:1::a', mac_address: '02:42:ac:00:00:0a'}}
    dns: ['::1']
    extra_hosts: {up: host-gateway}
    expose: [7000, 7001/tcp]
    ports: ['8080:80/tcp']
";
    assert_eq!(declared(one), declared(other));
}

#[test]
fn unknown_keys_are_refused_with_the_near_one() {
    for (text, expected) in [
        ("network:\n  front:\n", "line 1, column 1: unknown key \"network\": did you mean networks?"),
        (
            "networks:\n  front:\n    drivr: lan\n",
            "line 3, column 5: unknown key \"drivr\": did you mean driver?",
        ),
        (
            "sandboxes:\n  web:\n    port: [80]\n",
            "line 3, column 5: unknown key \"port\": did you mean ports?",
        ),
        (
            "sandboxes: {web: {ports: [{targt: 80}]}}",
            "line 1, column 28: unknown key \"targt\": did you mean target?",
        ),
        (
            "services: {web: {networks: {front: {alias: x}}}}",
            "line 1, column 37: unknown key \"alias\": did you mean aliases?",
        ),
    ] {
        let error = text::read(text, HashMap::new()).unwrap_err();
        assert!(matches!(error, TextError::Key { .. }), "{error}");
        assert!(error.to_string().starts_with(expected), "{error}");
    }
    assert_eq!(
        text::read("x-common: &c {driver: lan}\nnetworks: {front: *c}", HashMap::new())
            .unwrap()
            .networks
            .len(),
        1
    );
}

#[test]
fn wrong_values_are_named_with_their_place() {
    for (text, expected) in [
        ("networks: [", "line 1"),
        ("networks: {front: {internal: maybe}}", "line 1, column 30"),
        ("sandboxes: {web: {ports: ['80:x']}}", "invalid containerPort: x"),
        ("sandboxes: {web: {networks: [a, a]}}", "a is listed twice"),
        ("networks: {}\nnetworks: {}", "duplicate mapping key `networks` is not allowed here at line 2"),
    ] {
        let error = text::read(text, HashMap::new()).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let refused = |text: &str| {
        let refusals = Declaration::new(text::read(text, HashMap::new()).unwrap(), "").unwrap_err();
        refusals.iter().map(Refusal::to_string).collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(refused("
networks:
  front: {ipam: {config: [{subnet: 172.28.0.0/33}]}}
  twin: {name: front, internal: true}
  other: {name: front}
  near: {driver: brigde}
  far: {driver_opts: {com.docker.network.driver.mtu: many}}
  bridge:
sandboxes:
  web: {netns: ./web, networks: [twin]}
  a b: {}
  db: {networks: [frnt, twin]}
  api: {networks: {twin: {ipv4_address: 1.2.3}}}
services:
  db: {}
"), @r#"
    cannot declare network bridge: it is predefined: declare it with external: true
    cannot read network far: invalid option com.docker.network.driver.mtu=many: 68 to 65535 bytes are expected
    cannot read network front: invalid subnet 172.28.0.0/33: an address and a prefix length such as 172.20.0.0/16 is expected
    cannot find driver "brigde" of network near: did you mean bridge?: it can be bridge, routed, lan, macvlan, ptp
    cannot declare network front twice: give one of them another name
    cannot read sandbox a b: "a b" is not a name: only [a-zA-Z0-9][a-zA-Z0-9_.-]* are allowed, up to 128 characters
    cannot read the networks of api: invalid IPv4 address: 1.2.3: an address such as 10.1.2.3 is expected
    cannot connect db to network frnt: it is not in networks: did you mean front?
    cannot use the namespace of sandbox web: ./web: a path such as /run/netns/web, or a name of ip netns is expected
    cannot declare sandbox db twice: give one of them another name
    "#);
}

#[test]
fn what_cannot_be_done_is_refused_before_anything_is() {
    let mut present = fresh(Vec::new());
    apply(&mut present, FILE, false);
    present.sandboxes.push(run("job"));
    let mut shared = run("shared");
    shared.host_config.network_mode = "host".to_owned();
    present.sandboxes.push(shared);
    let text = "
networks:
  front: {ipam: {config: [{subnet: 172.29.0.0/16}]}}
  ghost: {external: true}
  new:
sandboxes:
  job: {}
  web: {networks: [front]}
  db: {netns: db, networks: [new]}
services:
  shared: {ports: [80]}
";
    let refusals = plan(&declared(text), &present, true).unwrap_err();
    let lines: Vec<String> = refusals.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(lines.join("\n"), @"
    cannot change sandbox job: it was made by fairway run: declare its networks and ports in services
    cannot connect sandbox shared: it has no networks of its own in mode host: run it with --network
    cannot change network front: ipam.config: 172.28.0.0/16 gateway 172.28.0.1 -> 172.29.0.0/16: sandbox web is on it: disconnect these first
    cannot find network ghost, which is declared external: create it, or declare it without external
    ");
    let keeps = "networks: {back: {external: true}}\nservices: {web: {}, db: {}}";
    let refusals = plan(&declared(keeps), &present, true).unwrap_err();
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    insta::assert_snapshot!(refusals[0], @"
    cannot remove network front: sandbox web is on it: disconnect these first, or declare the network
    ");
}

#[test]
fn a_compose_file_gives_networks_and_says_how_to_start_the_rest() {
    let compose = "
name: shop
services:
  web:
    image: nginx
    environment: {A: b}
    networks: {front: {aliases: [www]}, back: {priority: 5}}
    ports: ['8080:80']
  job:
    container_name: cron
    build: .
    networks: [back]
    ports: ['127.0.0.1:9000:9000/udp']
networks:
  front:
  back: {name: data, enable_ipv6: true}
volumes: {data: {}}
";
    let mut present = fresh(vec![run("cron")]);
    insta::assert_snapshot!(apply(&mut present, compose, false), @"
    change sandbox cron: disconnect from network bridge, which is not declared
    create network data: it does not exist
    create network shop_front: it does not exist
    change sandbox cron: connect to network data
    change sandbox cron: publish 127.0.0.1:9000:9000/udp
    (not applied: volumes: Fairway applies networks, sandboxes and the networks and ports of services)
    (left service web: apply starts no programs (image, environment not applied): start one with: fairway run -d --name web --network name=data --network name=shop_front,alias=www --publish 8080:80/tcp -- PROGRAM)
    ");
    let again = apply(&mut present, compose, false);
    assert!(again.starts_with('('), "{again}");
}

#[test]
fn default_options_of_the_daemon_are_no_difference() {
    let mtu = ("com.docker.network.driver.mtu".to_owned(), "1400".to_owned());
    let default_options = [("bridge".to_owned(), BTreeMap::from([mtu]))].into();
    let mut present = Present { default_options, ..fresh(Vec::new()) };
    apply(&mut present, "networks: {front: {}}", false);
    assert_eq!(apply(&mut present, "networks: {front: {}}", false), "");
    let other = "networks: {front: {driver_opts: {com.docker.network.driver.mtu: 1300}}}";
    assert_eq!(
        apply(&mut present, other, false),
        "change network front: com.docker.network.driver.mtu: 1400 -> 1300"
    );
    apply(&mut present, "networks: {front: {}}", false);
    assert_eq!(apply(&mut present, "networks: {front: {}}", false), "");
}

#[test]
fn a_namespace_that_is_gone_is_attached_again() {
    let mut present = fresh(Vec::new());
    apply(&mut present, FILE, false);
    present.sandboxes[0].state.running = false;
    assert_eq!(
        apply(&mut present, FILE, false),
        "change sandbox db: its namespace is gone (detached)\nchange sandbox db: its namespace is gone (attached again)"
    );
}

fn endpoint() -> impl Strategy<Value = EndpointKeys> {
    let aliases = prop::collection::vec("[a-c]", 0..3);
    (aliases, prop::option::of(2..9_u8), prop::option::of(-1..2_i32)).prop_map(
        |(aliases, address, gw_priority)| EndpointKeys {
            aliases,
            ipv4_address: address.map(|last| format!("10.1.0.{last}")).unwrap_or_default(),
            gw_priority,
            ..EndpointKeys::default()
        },
    )
}

fn network() -> impl Strategy<Value = NetworkKeys> {
    let subnet = prop::option::of((1..4_u8, any::<bool>()));
    let options = prop::collection::btree_map("fairway[.][a-c]", "[0-1]", 0..3);
    let labels = prop::collection::btree_map("[a-c]", "[0-1]", 0..2);
    let driver = prop::option::of(prop::sample::select(vec!["bridge".to_owned(), "ptp".to_owned()]));
    (subnet, options, labels, driver, prop::option::of(any::<bool>()), prop::option::of(any::<bool>()))
        .prop_map(|(subnet, driver_opts, labels, driver, internal, enable_ipv6)| NetworkKeys {
            driver,
            driver_opts,
            labels,
            internal,
            enable_ipv6,
            ipam: subnet.map(|(number, gateway)| IpamKeys {
                config: vec![SubnetKeys {
                    subnet: format!("10.{number}.0.0/16"),
                    gateway: if gateway { format!("10.{number}.0.1") } else { String::new() },
                    ..SubnetKeys::default()
                }],
                ..IpamKeys::default()
            }),
            ..NetworkKeys::default()
        })
}

fn port() -> impl Strategy<Value = Port> {
    let text = prop::sample::select(vec![
        "80",
        "8080:80",
        "8081:80",
        "127.0.0.1::80",
        "[::1]:53:53/udp",
        "7000-7003:90-93",
    ]);
    text.prop_map(|text| Port(fairway_model::parse::publish(text).unwrap().remove(0)))
}

/// A file whose sandboxes are on networks of the file.
fn file() -> impl Strategy<Value = File> {
    let names = || prop::sample::subsequence(vec!["back", "front", "lan"], 0..4);
    let sandbox = (
        prop::option::of(names()),
        prop::collection::vec(endpoint(), 3),
        prop::collection::vec(port(), 0..4),
        prop::option::of(Just("other".to_owned())),
        prop::sample::select(vec![String::new(), "host.example".to_owned()]),
    );
    (
        prop::collection::vec(network(), 3),
        names(),
        prop::collection::btree_map("[a-c]", sandbox, 0..4),
        prop::option::of(names()),
    )
        .prop_map(|(networks, present, sandboxes, service)| {
            let on = |names: Vec<&str>, endpoints: Vec<EndpointKeys>| {
                let names = names.into_iter().filter(|name| present.contains(name)).map(str::to_owned);
                names.zip(endpoints).collect::<Vec<_>>()
            };
            let service = service.map(|names| ServiceKeys {
                networks: Some(on(names, vec![EndpointKeys::default(); 3])),
                ..ServiceKeys::default()
            });
            let sandboxes =
                sandboxes.into_iter().map(|(name, (names, endpoints, ports, netns, hostname))| {
                    let networks = names.map(|names| on(names, endpoints));
                    (name, Some(SandboxKeys { netns, hostname, networks, ports, ..SandboxKeys::default() }))
                });
            File {
                sandboxes: sandboxes.collect(),
                networks: present
                    .iter()
                    .map(|name| (*name).to_owned())
                    .zip(networks.into_iter().map(Some))
                    .collect(),
                services: service.into_iter().map(|it| ("job".to_owned(), Some(it))).collect(),
                ..File::default()
            }
        })
}

/// Plans and carries out; false if it is refused.
fn reach(present: &mut Present, declaration: &Declaration, prune: bool) -> bool {
    let Ok(Plan { steps, .. }) = plan(declaration, present, prune) else { return false };
    steps.into_iter().for_each(|step| carry_out(present, step.action));
    true
}

proptest! {
    /// After the steps there is nothing left to do, whatever there was before.
    #[test]
    fn after_the_steps_there_are_none(files in prop::collection::vec((file(), any::<bool>()), 1..5)) {
        let mut present = fresh(vec![run("job")]);
        for (file, prune) in files {
            let declaration = Declaration::new(file, "").unwrap();
            if reach(&mut present, &declaration, prune) {
                prop_assert_eq!(plan(&declaration, &present, prune).unwrap().steps, []);
            }
        }
    }

    /// What is exported changes nothing, and makes the same from nothing.
    #[test]
    fn what_is_exported_is_what_there_is(files in prop::collection::vec(file(), 1..3)) {
        let mut present = fresh(vec![run("job")]);
        for file in files {
            reach(&mut present, &Declaration::new(file, "").unwrap(), false);
        }
        let (exported, _) = export(&present).unwrap();
        let text = serde_saphyr::to_string(&exported).unwrap();
        let read = text::read(&text, HashMap::new()).unwrap();
        prop_assert_eq!(&read, &exported, "{}", text);
        let json = serde_json::to_string(&exported).unwrap();
        prop_assert_eq!(&text::read(&json, HashMap::new()).unwrap(), &exported, "{}", json);
        let declaration = Declaration::new(read, "").unwrap();
        prop_assert_eq!(plan(&declaration, &present, false).unwrap().steps, [], "{}", text);

        let mut empty = fresh(Vec::new());
        prop_assert!(reach(&mut empty, &declaration, false));
        let (mut again, _) = export(&empty).unwrap();
        again.services.clone_from(&exported.services);
        // The network of the service alone.
        let external = |_: &String, keys: &mut Option<NetworkKeys>| keys.as_ref().is_none_or(|it| it.external.is_none());
        let mut exported = exported;
        exported.networks.retain(external);
        again.networks.retain(external);
        prop_assert_eq!(again, exported);
    }
}
