//! What requests ask of a network and a container, and what is refused.

use std::net::IpAddr;
use std::process::{Command, Stdio};

use fairway_lab::{Outcome, ask, serve_tcp};
use serde_json::{Value, json};

use super::runtime::{Attachment, Runtime};
use super::{addresses, answers, plugin, with_forwarding};
use crate::harness::{HOST, Stage};
use crate::kernel_state::{assert_same, observe};
use crate::traffic_limits::{AT_LEAST, takes};

fn code_of<T: std::fmt::Debug>(outcome: Result<T, (u64, String)>) -> u64 {
    outcome.unwrap_err().0
}

#[test]
fn bad_requests_are_refused_with_the_code_of_the_specification() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let runtime = Runtime::new(&stage, "1.0.0", "pods", json!([plugin()]));
        let (_web, path) = runtime.namespace("web");
        let all = [
            ("CNI_CONTAINERID", "c1"),
            ("CNI_NETNS", &*path),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", "/usr/lib/cni"),
        ];
        let run = |command: &str, changes: &[(&str, &str)], input: &str| {
            let mut variables = vec![("CNI_COMMAND", command)];
            variables.extend(all.iter().filter(|(name, _)| changes.iter().all(|(it, _)| it != name)));
            variables.extend(changes);
            runtime.execute("fairway-cni", &variables, input)
        };
        let good = format!(
            r#"{{"cniVersion": "1.0.0", "name": "pods", "type": "fairway-cni", "host": "{}"}}"#,
            stage.daemon.address()
        );
        let bad = |from: &str, to: &str| good.replace(from, to);
        for (command, changes, input, code, text) in [
            (
                "ADD",
                &[("CNI_IFNAME", "")][..],
                good.clone(),
                4,
                "required env variables [CNI_IFNAME] missing",
            ),
            ("ADD", &[("CNI_NETNS", "")], good.clone(), 4, "required env variables [CNI_NETNS] missing"),
            ("FOO", &[], good.clone(), 4, "unknown CNI_COMMAND: FOO"),
            ("ADD", &[("CNI_CONTAINERID", "a b")], good.clone(), 4, "invalid characters in CNI_CONTAINERID"),
            ("ADD", &[("CNI_IFNAME", "far-too-long-for-it")], good.clone(), 4, "invalid CNI_IFNAME"),
            ("ADD", &[("CNI_ARGS", "IP")], good.clone(), 4, "invalid CNI_ARGS pair"),
            ("ADD", &[("CNI_ARGS", "IP=x")], good.clone(), 4, "invalid IP"),
            ("ADD", &[], "{".to_owned(), 6, "cannot decode"),
            ("ADD", &[], bad("\"pods\"", "7"), 6, "cannot decode"),
            ("ADD", &[], bad("\"pods\"", "\"a b\""), 7, "invalid name"),
            ("ADD", &[], bad("\"pods\"", "\"\""), 7, "no name"),
            ("ADD", &[], bad("1.0.0", "9.9.9"), 1, "incompatible CNI versions"),
            ("ADD", &[], bad("1.0.0", "0.2.0"), 1, "incompatible CNI versions"),
            ("CHECK", &[], bad("1.0.0", "0.3.1"), 1, "CHECK takes cniVersion 0.4.0"),
            ("GC", &[], good.clone(), 1, "GC takes cniVersion 1.1.0"),
            ("STATUS", &[], good.clone(), 1, "STATUS takes cniVersion 1.1.0"),
            ("CHECK", &[], good.clone(), 7, "prevResult"),
            ("GC", &[], bad("1.0.0", "1.1.0"), 7, "cni.dev/valid-attachments"),
            ("ADD", &[("CNI_NETNS", "/run/netns/none")], good.clone(), 4, "/run/netns/none"),
            ("ADD", &[], bad("\"type\"", "\"vlan\": 5, \"type\""), 7, "cannot use vlan"),
            ("ADD", &[], bad("\"type\"", "\"driver\": \"no\", \"type\""), 7, "plugin \"no\" not found"),
            ("ADD", &[], bad("\"type\"", "\"ipam\": {\"type\": \"none-such\"}, \"type\""), 999, "none-such"),
            (
                "ADD",
                &[],
                bad("\"type\"", "\"options\": {\"fairway.no\": \"1\"}, \"type\""),
                7,
                "fairway.no is unknown",
            ),
            ("ADD", &[], bad("host.sock", "none.sock"), 11, "none.sock"),
            ("DEL", &[], bad("host.sock", "none.sock"), 11, "none.sock"),
            ("STATUS", &[], bad("host.sock", "none.sock").replace("1.0.0", "1.1.0"), 50, "none.sock"),
        ] {
            let (found, message) = run(command, changes, &input).unwrap_err();
            assert_eq!(found, code, "{command} {changes:?} {input}: {message}");
            assert!(message.contains(text), "{command} {changes:?} {input}: {message}");
        }
        assert_eq!(run("VERSION", &[], "{}").unwrap()["supportedVersions"][3], "1.1.0");
        assert_eq!(run("STATUS", &[], &bad("1.0.0", "1.1.0")), Ok(Value::Null));
        assert!(stage.client().network("pods").is_err(), "what is refused changes nothing");
        // The runtime calls DEL after an ADD that was refused.
        let dhcp = bad("\"type\"", "\"ipam\": {\"type\": \"dhcp\"}, \"type\"");
        assert_eq!(run("ADD", &[], &dhcp).unwrap_err().0, 7);
        assert_eq!(run("DEL", &[], &dhcp), Ok(Value::Null));
        let none_left =
            bad("1.0.0", "1.1.0").replace("\"type\"", "\"cni.dev/valid-attachments\": null, \"type\"");
        assert_eq!(run("GC", &[], &none_left), Ok(Value::Null));
        // Started by hand, and as a subcommand.
        assert_eq!(runtime.execute("fairway-cni", &[], ""), Ok(Value::Null));
        let mut command = Command::new(env!("CARGO_BIN_EXE_fairway"));
        let output = command.arg("cni").env("CNI_COMMAND", "VERSION").stdin(Stdio::null()).output().unwrap();
        assert!(String::from_utf8(output.stdout).unwrap().contains("supportedVersions"));
    });
}

#[test]
fn a_second_add_is_refused_and_the_container_stays() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let runtime = Runtime::new(&stage, "1.0.0", "pods", json!([plugin()]));
        let (web, path) = runtime.namespace("web");
        let at = Attachment::of("web", &path);
        runtime.add(at, &json!({})).unwrap();
        let before = observe(&stage, &[("web", &web)]);
        let (code, message) = runtime.add(at, &json!({})).unwrap_err();
        assert_eq!((code, message.contains("is on network pods already")), (999, true), "{message}");
        // The runtime cleans up after an ADD that failed, which is not the end of another interface.
        let second = Attachment { interface: "eth1", ..at };
        runtime.add(second, &json!({})).unwrap_err();
        runtime.delete(second).unwrap();
        assert_same("after refusals", &observe(&stage, &[("web", &web)]), &before);
        // An interface of another program stays as it is.
        let (db, db_path) = runtime.namespace("db");
        let link = |place: &fairway_lab::Place, words: &str| {
            let mut command = Command::new("ip");
            place.run(command.args(words.split(' '))).unwrap();
        };
        link(&db, "link add eth0 type veth peer name other");
        let foreign = observe(&stage, &[("db", &db)]);
        runtime.add(Attachment::of("db", &db_path), &json!({})).unwrap_err();
        assert_same("an interface is taken", &observe(&stage, &[("db", &db)]), &foreign);
    });
}

#[test]
fn a_port_that_is_taken_fails_the_add_and_leaves_nothing() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let runtime = Runtime::new(&stage, "0.4.0", "pods", json!([plugin()]));
        let (_web, path) = runtime.namespace("web");
        let _server = serve_tcp(&stage.host, &format!("{HOST}:8080")).unwrap();
        let before = with_forwarding(&stage);
        let ports = json!({"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]});
        assert_eq!(code_of(runtime.add(Attachment::of("web", &path), &ports)), 999);
        assert_same("after a port that is taken", &observe(&stage, &[]), &before);
    });
}

#[test]
fn one_container_joins_several_networks() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let front = Runtime::new(&stage, "0.4.0", "front", json!([plugin()]));
        let mut other = plugin();
        other["bridge"] = json!("cni8");
        other["ipam"] = json!({"subnet": "10.23.0.0/24"});
        let back = Runtime::new(&stage, "0.4.0", "back", json!([other]));
        let (web, path) = front.namespace("web");
        let (db, db_path) = front.namespace("db");
        // Podman gives the published ports to each network.
        let ports = json!({"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "TCP"}]});
        let at = Attachment { arguments: "K8S_POD_NAME=web", ..Attachment::of("web-1", &path) };
        let second = Attachment { interface: "net1", ..at };
        front.add(at, &ports).unwrap();
        let joined = back.add(second, &ports).unwrap();
        assert_eq!(joined["interfaces"][2]["name"], "net1");
        back.add(Attachment::of("db", &db_path), &json!({})).unwrap();
        assert_eq!(stage.client().containers(true, &Default::default()).unwrap().len(), 2);
        let _server = serve_tcp(&web, "0.0.0.0:80").unwrap();
        assert!(answers(&db, "10.23.0.2:80"));
        assert_eq!(addresses(&db, "web"), ["10.23.0.2".parse::<IpAddr>().unwrap()]);
        front.check(at, &ports).unwrap();
        back.check(second, &ports).unwrap();
        back.delete(second).unwrap();
        assert!(!answers(&db, "10.23.0.2:80"));
        assert!(answers(&stage.lan, &format!("{HOST}:8080")), "it is on the other network");
        assert!(front.check(at, &ports).is_ok());
        assert_eq!(code_of(back.check(second, &json!({}))), 7, "there is no result any more");
        front.delete(at).unwrap();
        assert!(!answers(&stage.lan, &format!("{HOST}:8080")));
    });
}

#[test]
fn addresses_and_names_are_given_as_requested() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let runtime = Runtime::new(&stage, "1.1.0", "pods", json!([plugin()]));
        let mut count = 0;
        let mut add = |arguments: &str, asked: Value| {
            count += 1;
            let id = format!("c{count}");
            let (_, path) = runtime.namespace(&id);
            let at = Attachment { arguments, ..Attachment::of(&id, &path) };
            runtime.add(at, &asked)
        };
        let result = add("IP=10.22.1.1;MAC=02:aa:bb:cc:dd:01", json!({})).unwrap();
        assert_eq!(result["ips"][0]["address"], "10.22.1.1/16");
        assert_eq!(result["interfaces"][2]["mac"], "02:aa:bb:cc:dd:01");
        let asked = json!({
            "ips": ["10.22.1.2/16", "fd22::1:2", "10.22.1.2"], "mac": "02:aa:bb:cc:dd:02",
            "dns": {"servers": ["10.10.50.1"], "searches": ["example.com"]},
        });
        let result = add("", asked).unwrap();
        assert_eq!(result["ips"][0]["address"], "10.22.1.2/16");
        assert_eq!(result["ips"][1]["address"], "fd22::1:2/64");
        assert_eq!(result["interfaces"][2]["mac"], "02:aa:bb:cc:dd:02");
        assert_eq!(result["dns"], json!({"nameservers": ["10.10.50.1"], "search": ["example.com"]}));
        assert_eq!(code_of(add("", json!({"ips": ["10.22.1.2"]}))), 999, "it is in use");
        assert_eq!(code_of(add("", json!({"ips": ["10.99.1.2"]}))), 7, "it is outside");
        assert_eq!(code_of(add("", json!({"ips": ["10.22.3.3", "10.22.3.4"]}))), 7, "one of each family");
    });
}

#[test]
fn addresses_are_of_the_range_in_the_configuration() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let mut own = plugin();
        own["ipam"] = json!({"subnet": "10.31.0.0/24", "rangeStart": "10.31.0.20", "rangeEnd": "10.31.0.22"});
        let runtime = Runtime::new(&stage, "1.0.0", "pods", json!([own]));
        let add = |name: &str| {
            let (_, path) = runtime.namespace(name);
            runtime.add(Attachment::of(name, &path), &json!({}))
        };
        assert_eq!(add("a").unwrap()["ips"][0]["address"], "10.31.0.20/24");
        assert_eq!(add("b").unwrap()["ips"][0]["address"], "10.31.0.21/24");
        assert_eq!(add("c").unwrap()["ips"][0]["address"], "10.31.0.22/24");
        let (code, message) = add("d").unwrap_err();
        assert_eq!((code, message.contains("10.31.0.20-10.31.0.22")), (999, true), "{message}");
    });
}

#[test]
fn networks_have_the_options_of_the_bridge_plugin() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        stage.lan.route("10.30.0.0/16", HOST).unwrap();
        let server = serve_tcp(&stage.lan, "0.0.0.0:7").unwrap();
        let target = "10.10.50.1:7";
        let network = |name: &str, number: u8, more: Value| {
            let mut plugin = json!({
                "type": "fairway-cni", "bridge": format!("cni{number}"),
                "ipam": {"subnet": format!("10.30.{number}.0/24"), "routes": [{"dst": "0.0.0.0/0"}]},
            });
            plugin.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let runtime = Runtime::new(&stage, "1.0.0", name, json!([plugin]));
            ["one", "two"].map(|which| {
                let netns = format!("{name}-{which}");
                let (place, path) = runtime.namespace(&netns);
                (place, runtime.add(Attachment::of(&netns, &path), &json!({})).unwrap())
            })
        };
        let source = |place| match ask(place, target).unwrap() {
            Outcome::Answered { source } => Some(source),
            _ => None,
        };
        // Not a gateway: the containers reach each other alone.
        let [(one, result), (two, _)] = network("apart", 1, json!({"ipMasq": true}));
        assert_eq!(result["ips"][0]["gateway"], "10.30.1.1");
        let _two = serve_tcp(&two, "0.0.0.0:80").unwrap();
        assert!(answers(&one, "10.30.1.3:80"));
        assert!(!answers(&stage.host, "10.30.1.3:80"));
        assert_eq!(source(&one), None);
        // Not masqueraded.
        let [(one, _), _] = network("plain", 2, json!({"isGateway": true}));
        assert_eq!(source(&one), Some("10.30.2.2".parse().unwrap()));
        let [(one, _), _] = network("masq", 3, json!({"isGateway": true, "ipMasq": true}));
        assert_eq!(source(&one), Some(HOST.parse().unwrap()));
        drop(server);
        // Kept apart, of another size, and without foreign sources.
        let more = json!({
            "isGateway": true, "portIsolation": true, "mtu": 1400, "macspoofchk": true, "hairpinMode": true,
            "options": {"com.docker.network.bridge.gateway_mode_ipv4": "nat-unprotected"},
        });
        let [(one, _), (two, _)] = network("kept", 4, more);
        let _two = serve_tcp(&two, "0.0.0.0:80").unwrap();
        assert!(!answers(&one, "10.30.4.3:80"));
        assert!(answers(&stage.lan, "10.30.4.3:80"), "the option is Fairway's own");
        let mtu =
            one.run_in(|| std::fs::read_to_string("/proc/sys/net/ipv6/conf/eth0/mtu").unwrap()).unwrap();
        assert_eq!(mtu.trim(), "1400");
        assert_eq!(stage.client().network("kept").unwrap().options["fairway.guard"], "strict");
        // Another description of a network that is in use.
        let runtime = Runtime::new(&stage, "1.0.0", "kept", json!([plugin()]));
        let (_other, path) = runtime.namespace("other");
        let (code, message) = runtime.add(Attachment::of("other", &path), &json!({})).unwrap_err();
        assert_eq!((code, message.contains("exists with another bridge")), (999, true), "{message}");
    });
}

#[test]
fn a_container_has_the_routes_of_the_configuration() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        for version in ["0.4.0", "1.1.0"] {
            let mut own = plugin();
            own["isDefaultGateway"] = json!(false);
            own["isGateway"] = json!(true);
            own["ipam"]["routes"] = json!([
                {"dst": "0.0.0.0/0"}, {"dst": "10.77.0.0/16", "gw": "10.22.0.9"}, {"dst": "fd77::/64", "priority": 7},
            ]);
            let runtime = Runtime::new(&stage, version, "pods", json!([own]));
            let (web, path) = runtime.namespace(&format!("web-{version}"));
            let at = Attachment::of("web", &path);
            let result = runtime.add(at, &json!({})).unwrap();
            assert_eq!(
                result["routes"][2]["priority"],
                if version == "1.1.0" { json!(7) } else { Value::Null }
            );
            let routes = |family: &str| {
                let output = web.run(Command::new("ip").args([family, "route"])).unwrap();
                String::from_utf8(output.stdout).unwrap()
            };
            let (four, six) = (routes("-4"), routes("-6"));
            assert!(four.contains("default via 10.22.0.1 "), "{four}");
            assert!(four.contains("10.77.0.0/16 via 10.22.0.9 "), "{four}");
            assert!(six.contains("fd77::/64 via fd22::1 ") && six.contains("metric 7"), "{six}");
            assert!(!six.contains("default"), "{six}");
            runtime.check(at, &json!({})).unwrap();
            runtime.delete(at).unwrap();
        }
    });
}

#[test]
fn traffic_is_limited_as_the_runtime_asks() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let before = with_forwarding(&stage);
        let mut limited = plugin();
        limited["capabilities"] = json!({"bandwidth": true});
        let runtime = Runtime::new(&stage, "1.0.0", "pods", json!([limited]));
        let [(web, path), (client, client_path)] = ["web", "client"].map(|name| runtime.namespace(name));
        // As a kubelet asks for it.
        let bandwidth = json!({"bandwidth": {
            "ingressRate": 1_000_000, "ingressBurst": 80_000, "egressRate": 0, "egressBurst": 0,
        }});
        let (at, other) = (Attachment::of("web", &path), Attachment::of("client", &client_path));
        runtime.add(at, &bandwidth).unwrap();
        runtime.add(other, &json!({})).unwrap();
        assert!(takes(&client, &web, "10.22.0.2") >= AT_LEAST);
        assert!(takes(&web, &client, "10.22.0.3") < AT_LEAST);
        runtime.check(at, &bandwidth).unwrap();
        [at, other].into_iter().for_each(|it| runtime.delete(it).unwrap());

        let egress = json!({"bandwidth": {"egressRate": 1_000_000, "egressBurst": 2_147_483_647}});
        runtime.add(at, &egress).unwrap();
        let buffers = stage.host.run(Command::new("ip").args(["link", "show", "type", "ifb"])).unwrap();
        assert!(!buffers.stdout.is_empty(), "what it sends waits there");
        runtime.delete(at).unwrap();
        drop((web, client));
        for name in ["web", "client"] {
            stage.host.run(Command::new("ip").args(["netns", "del", name])).unwrap();
        }
        assert_same("limits", &observe(&stage, &[]), &before);
    });
}

#[test]
fn a_pair_may_have_a_subnet() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let subnet = json!({"subnet": "10.45.0.0/24"});
        let routes = json!({"dst": "10.9.0.0/16"});
        let ipam = json!({"ranges": [[subnet]], "routes": [routes]});
        let plugin = json!({"type": "fairway-cni", "driver": "ptp", "ipam": ipam});
        let runtime = Runtime::new(&stage, "1.0.0", "pair", json!([plugin]));
        let (one, one_path) = runtime.namespace("one");
        let (two, two_path) = runtime.namespace("two");
        let given = runtime.add(Attachment::of("one", &one_path), &json!({})).unwrap();
        assert_eq!(given["ips"][0].get("gateway"), None, "{given}");
        runtime.add(Attachment::of("two", &two_path), &json!({})).unwrap();
        let address = given["ips"][0]["address"].as_str().unwrap().trim_end_matches("/24").to_owned();
        let _server = serve_tcp(&one, "0.0.0.0:80").unwrap();
        assert!(answers(&two, &format!("{address}:80")));
        let routes = two.run(Command::new("ip").args(["route", "show", "10.9.0.0/16"])).unwrap().stdout;
        assert!(String::from_utf8(routes).unwrap().contains("dev eth0"), "a route without a next hop");
    });
}
