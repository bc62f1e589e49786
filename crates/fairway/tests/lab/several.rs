//! Sandboxes on several networks and in one another's: who answers to a shared name, and what stopping and starting
//! does.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::dns::{RecordType, look_up};
use fairway_api::types::EndpointSettings;
use fairway_lab::{Outcome, Place, Question, ask, serve_tcp};

use crate::cli::{fairway, field, inside, printed, stay};
use crate::foreign_firewalls::run_with;
use crate::harness::{HOST, LAN, Sandbox, Stage, refusal, request};

const RESOLVER: &str = "127.0.0.11:53";
/// What is not let through is waited for in vain.
const IMPATIENT: Duration = Duration::from_millis(1200);

fn addresses(place: &Place, name: &str) -> Vec<IpAddr> {
    look_up(place, RESOLVER, name, RecordType::A).unwrap()
}

/// Who answers a client that does as most do: it tries one address of the name after the other.
fn reached(place: &Place, name: &str) -> Option<String> {
    addresses(place, name).into_iter().find_map(|address| {
        let question = Question::to(&SocketAddr::new(address, 80).to_string()).unwrap().within(IMPATIENT);
        question.tcp_reply(place).unwrap().ok().map(|reply| reply.server)
    })
}

fn with_alias(stage: &Stage, name: &str, network: &str) -> Sandbox {
    let mut container = request(&[network], &[]);
    container.networking_config.endpoints_config[0].1.aliases = Some(vec!["pool".to_owned()]);
    stage.attach(name, container).unwrap()
}

#[test]
fn a_shared_name_leads_to_who_answers_and_to_the_first_where_that_was_asked() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        stage.network("all");
        let option = |value: &str| {
            let value = value.to_owned();
            stage.create_network("first", |network| {
                network.options.insert("fairway.alias_answer".to_owned(), value);
            })
        };
        assert!(refusal(option("second")).contains("first or all is expected"));
        option("first").unwrap();
        for network in ["all", "first"] {
            let names = ["a", "b", "c"].map(|name| format!("{network}-{name}"));
            let asker = stage.sandbox(&format!("{network}-asker"), &[network], &[]);
            let [a, b, c] = names.each_ref().map(|name| with_alias(&stage, name, network));
            let mut servers: Vec<_> =
                [&*a, &*b, &*c].iter().map(|place| Some(serve_tcp(place, "0.0.0.0:80").unwrap())).collect();
            let all = [&a, &b, &c].map(|it| it.address(network));
            let answered = if network == "all" { all.to_vec() } else { all[..1].to_vec() };
            assert_eq!(addresses(&asker, "pool"), answered);
            assert_eq!(reached(&asker, "pool").as_deref(), Some(a.name()), "{network}");

            // The first holder's server is gone: nobody is there, but it still holds the name.
            servers[0] = None;
            let second = (network == "all").then_some(b.name());
            assert_eq!(reached(&asker, "pool").as_deref(), second, "{network}");
            // It answers nothing at all, not even that nobody is there.
            let silent = "table ip silent { chain in { type filter hook input priority 0; policy drop; }; }";
            run_with(&a, "nft", &["-f", "-"], silent);
            assert_eq!(addresses(&asker, "pool"), answered);
            assert_eq!(reached(&asker, "pool").as_deref(), second, "{network}");

            // It is gone itself: the next one takes its place in both.
            stage.client().detach(&names[0]).unwrap();
            assert_eq!(reached(&asker, "pool").as_deref(), Some(b.name()), "{network}");
            assert_eq!(addresses(&asker, "pool")[0], all[1], "{network}");
        }
    });
}

#[test]
fn who_shares_a_namespace_keeps_it_until_it_is_started_again() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        printed(&stage, "network create --subnet 172.25.0.0/16 app");
        stay(&stage, "--name owner --network app --ip 172.25.0.9");
        stay(&stage, "--name joiner --network container:owner");
        let key = |name: &str| field(&stage, name, "NetworkSettings.SandboxKey");
        let namespace =
            |place: &Place| place.run_in(|| std::fs::read_link("/proc/thread-self/ns/net").unwrap()).unwrap();
        let process = |name: &str| {
            let pid = field(&stage, name, "State.Pid");
            stage.host.sandbox(format!("/proc/{pid}/ns/net")).unwrap()
        };
        assert_eq!(namespace(&process("joiner")), namespace(&process("owner")));
        let _lan = serve_tcp(&stage.lan, "0.0.0.0:80").unwrap();
        let target = format!("{LAN}:80");
        assert_eq!(ask(&process("joiner"), &target).unwrap(), Outcome::answered(HOST));

        // The owner stops: the joiner runs on where it is, and there is nothing there any more.
        let old = namespace(&process("joiner"));
        printed(&stage, "stop owner");
        assert_eq!(field(&stage, "joiner", "State.Running"), "true");
        assert_eq!(namespace(&process("joiner")), old);
        assert_ne!(ask(&process("joiner"), &target).unwrap(), Outcome::answered(HOST));
        let refused = fairway(&stage, "run --rm --network container:owner -- true");
        assert_eq!(refused.code, 125);
        assert!(
            refused.errors.contains("cannot join network of a non running container: "),
            "{}",
            refused.errors
        );

        // The owner starts again, in a namespace of its own: the joiner is still in the old one.
        printed(&stage, "start owner");
        assert_ne!(namespace(&process("owner")), old);
        assert_eq!(namespace(&process("joiner")), old);
        assert_ne!(ask(&process("joiner"), &target).unwrap(), Outcome::answered(HOST));

        // Started again it joins the new one; and not while there is none.
        printed(&stage, "stop joiner");
        printed(&stage, "stop owner");
        let refused = fairway(&stage, "start joiner");
        assert_eq!(refused.code, 1);
        assert!(
            refused.errors.contains("cannot join network of a non running container: "),
            "{}",
            refused.errors
        );
        assert_eq!(field(&stage, "joiner", "State.Running"), "false");
        printed(&stage, "start owner");
        printed(&stage, "start joiner");
        assert_eq!(namespace(&process("joiner")), namespace(&process("owner")));
        assert_eq!(key("joiner"), key("owner"));
        assert_eq!(ask(&process("joiner"), &target).unwrap(), Outcome::answered(HOST));
        assert_eq!(field(&stage, "owner", "NetworkSettings.Networks.app.IPAddress"), "172.25.0.9");
    });
}

#[test]
fn what_is_connected_while_it_is_stopped_is_there_when_it_starts() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        for (name, subnet) in [("app", "172.25.0.0/16"), ("back", "172.26.0.0/16")] {
            printed(&stage, &format!("network create --subnet {subnet} {name}"));
        }
        stay(&stage, "--name asker --network app");
        stay(&stage, "--name web -p 8080:80");
        let has_resolver =
            |name: &str| printed(&stage, &format!("exec {name} cat /etc/resolv.conf")).contains("127.0.0.11");
        assert!(!has_resolver("web"), "the default bridge has none");
        printed(&stage, "stop web");
        printed(&stage, "network connect --ip 172.25.3.3 --alias www app web");
        printed(&stage, "network connect back web");
        printed(&stage, "network disconnect back web");
        let nobody = look_up(&inside(&stage, "asker"), RESOLVER, "www", RecordType::A);
        assert_ne!(nobody, Ok(vec![IpAddr::from([172, 25, 3, 3])]), "it does not run");
        printed(&stage, "start web");
        let web = inside(&stage, "web");
        let _server = serve_tcp(&web, "0.0.0.0:80").unwrap();
        assert_eq!(addresses(&inside(&stage, "asker"), "www"), [IpAddr::from([172, 25, 3, 3])]);
        assert_eq!(ask(&inside(&stage, "asker"), "172.25.3.3:80").unwrap(), Outcome::answered("172.25.0.2"));
        assert_eq!(ask(&stage.lan, &format!("{HOST}:8080")).unwrap(), Outcome::answered(LAN));
        let networks = field(&stage, "web", "NetworkSettings.Networks");
        assert!(
            networks.contains("app") && networks.contains("bridge") && !networks.contains("back"),
            "{networks}"
        );

        // It has a resolver now, and keeps it when it leaves the network that brought it.
        assert!(has_resolver("web"));
        assert_eq!(addresses(&web, "asker"), [IpAddr::from([172, 25, 0, 2])]);
        printed(&stage, "network disconnect app web");
        assert!(has_resolver("web"));
        assert_ne!(look_up(&web, RESOLVER, "asker", RecordType::A), Ok(vec![IpAddr::from([172, 25, 0, 2])]));
        printed(&stage, "network connect app web");
        assert_eq!(addresses(&web, "asker"), [IpAddr::from([172, 25, 0, 2])]);
        // And when it leaves the default bridge: then the other network is its way out.
        printed(&stage, "network disconnect bridge web");
        assert!(has_resolver("web"));
        assert_eq!(addresses(&web, "asker"), [IpAddr::from([172, 25, 0, 2])]);
        assert_eq!(ask(&stage.lan, &format!("{HOST}:8080")).unwrap(), Outcome::answered(LAN));
        let _lan = serve_tcp(&stage.lan, "0.0.0.0:80").unwrap();
        assert_eq!(ask(&web, &format!("{LAN}:80")).unwrap(), Outcome::answered(HOST));
    });
}

#[test]
fn host_and_none_keep_to_themselves() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        stage.network("app");
        stay(&stage, "--name open --network host");
        stay(&stage, "--name hermit --network none");
        stay(&stage, "--name web --network app");
        let host = "container cannot be disconnected from host network or connected to host network";
        let shared = "container sharing network namespace with another container or host cannot be connected to any other network";
        let private = "container cannot be connected to multiple networks with one of the networks in private (none) mode";
        for (network, name, reason) in [
            ("host", "web", host),
            ("host", "hermit", host),
            ("app", "open", shared),
            ("none", "web", private),
            ("app", "hermit", private),
        ] {
            let refused = refusal(stage.connect(network, name, EndpointSettings::default()));
            assert!(refused.contains(reason), "{name} to {network}: {refused}");
        }
        assert!(refusal(stage.disconnect("host", "open")).contains(host));
        assert!(refusal(stage.disconnect("app", "hermit")).contains("is not connected to network app"));
        // Who has nothing but loopback reaches nobody, and nobody reaches it.
        let hermit = inside(&stage, "hermit");
        assert_eq!(ask(&hermit, &format!("{LAN}:80")).unwrap(), Outcome::Unreachable);
        let _server = serve_tcp(&hermit, "127.0.0.1:80").unwrap();
        assert_eq!(ask(&hermit, "127.0.0.1:80").unwrap(), Outcome::answered("127.0.0.1"));
        // Who is in the host's namespace is the host.
        let _server = serve_tcp(&stage.host, "0.0.0.0:81").unwrap();
        let pid = field(&stage, "open", "State.Pid");
        let open = stage.host.sandbox(format!("/proc/{pid}/ns/net")).unwrap();
        assert_eq!(ask(&open, "127.0.0.1:81").unwrap(), Outcome::answered("127.0.0.1"));
        assert_eq!(ask(&stage.lan, &format!("{HOST}:81")).unwrap(), Outcome::answered(LAN));
    });
}

#[test]
fn a_sandbox_whose_network_was_removed_does_not_start_without_it() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::new(lab, &[]);
        for name in ["app", "back", "other"] {
            stage.network(name);
        }
        stay(&stage, "--name web --network app");
        printed(&stage, "network connect back web");
        printed(&stage, "stop web");
        printed(&stage, "network rm app back");
        stage.daemon.restart(&[]);
        for missing in ["app", "back"] {
            let refused = fairway(&stage, "start web");
            assert_eq!(refused.code, 1, "{refused:?}");
            assert!(refused.errors.contains(&format!("network {missing} not found")), "{}", refused.errors);
            assert_eq!(field(&stage, "web", "State.Running"), "false");
            // It is forgotten, or there is one of that name again.
            match missing {
                "app" => drop(printed(&stage, "network disconnect app web")),
                _ => {
                    stage.network("back");
                    printed(&stage, "network connect back web");
                }
            }
        }
        printed(&stage, "start web");
        let networks = field(&stage, "web", "NetworkSettings.Networks");
        assert!(networks.contains("back") && !networks.contains("app"), "{networks}");
        // Without any network it was asked to have none.
        printed(&stage, "stop web");
        printed(&stage, "network disconnect back web");
        printed(&stage, "start web");
    });
}
