//! Traces without a daemon, on a host that another engine has set up.

use super::*;
use crate::foreign_engines::plain::{Plain, run_on};
use crate::harness::eventually;
use fairway_kernel::nftables::Reader;

/// A trace by the program itself, on a host.
fn start(host: &Place, words: &str) -> Trace {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fairway"));
    command.arg("trace").args(words.split_ascii_whitespace()).env_remove("FAIRWAY_HOST");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Trace::of(host.run_in(|| command.spawn()).unwrap().unwrap(), words)
}

fn place<'p>(plain: &'p Plain, name: &str) -> &'p Place {
    &plain.places.iter().find(|(known, _)| known == name).unwrap().1
}

/// The tables in a place.
fn tables(place: &Place) -> Vec<String> {
    let all = place.run_in(|| Reader::open().unwrap().tables().unwrap()).unwrap();
    all.into_iter().map(|it| format!("{} {}", it.family, it.name)).collect()
}

#[test]
fn a_published_port_is_seen_with_rules_and_rewrites() {
    fairway_lab::run(|lab| {
        let plain = Plain::new(lab);
        let mut trace = start(&plain.host, "lan host:8080");
        assert_eq!(ask(&plain.lan, &format!("{HOST}:8080")), format!("answered {LAN}"));
        trace.wait_for("FIN");
        let text = trace.end();
        let first = packet(&text, &format!("flow 1:  tcp {LAN}:"));
        let expected = [
            &format!("host eth0 in tcp {LAN}:"),
            "host prerouting ip nat -100: PREROUTING: -p tcp -m addrtype --dst-type LOCAL",
            &format!("host translate destination {HOST}:8080 -> 172.17.0.2:80"),
            "host forward ip filter 0: FORWARD: -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT",
            "host conntrack new: tcp",
            "host docker0 out",
            "host v-web out",
        ];
        assert_in_order(&first, &expected);
        let sum = text.lines().find(|line| line.starts_with("flow 1: tcp")).unwrap();
        assert!(sum.contains("> 172.17.0.2:80: established"), "{sum}");
    });
}

#[test]
fn a_drop_names_its_rule_and_both_ends_are_seen_inside() {
    fairway_lab::run(|lab| {
        let plain = Plain::new(lab);
        let mut trace = start(&plain.host, "other --all");
        assert_eq!(trace.notes[0], "watching the host and inside other, web");
        ask(place(&plain, "other"), "172.18.0.2:80");
        assert!(ask(place(&plain, "other"), "172.17.0.2:80").starts_with("answered"));
        trace.wait_for("= dropped on host by ip filter DOCKER-ISOLATION-STAGE-2");
        trace.wait_for("= arrives at web by eth0");
        let text = trace.end();
        let dropped = packet(&text, "flow 1:  tcp 172.17.0.3:");
        let expected = [
            "other eth0 out tcp 172.17.0.3:",
            "host v-other in",
            "host docker0 in",
            "host forward ip filter 0: FORWARD: -j DOCKER-ISOLATION-STAGE-1",
            "host forward ip filter 0: DOCKER-ISOLATION-STAGE-2: -o br-app -j DROP",
            "= dropped on host by ip filter DOCKER-ISOLATION-STAGE-2: -o br-app -j DROP (handle ",
        ];
        assert_in_order(&dropped, &expected);
    });
}

#[test]
fn rules_inside_a_container_are_traced() {
    fairway_lab::run(|lab| {
        let plain = Plain::new(lab);
        let mut inside = strangers(82);
        inside.chains[0].base.as_mut().unwrap().hook = Hook::Input;
        make(place(&plain, "web"), inside);
        let mut trace = start(&plain.host, "netns:other netns:web");
        assert_eq!(trace.notes[0], "watching the host and inside other, web");
        ask(place(&plain, "other"), "172.17.0.2:82");
        trace.wait_for("= dropped on web by inet strangers guard: \"not this one\"");
        trace.end();
    });
}

#[test]
fn a_container_that_comes_later_is_followed_and_one_that_goes_is_let_go() {
    fairway_lab::run(|lab| {
        let plain = Plain::new(lab);
        run_on(
            &plain.host,
            "ip netns add gone
            ip link add v-gone type veth peer name eth0 netns gone
            ip -n gone address add 172.17.0.8/16 dev eth0
            ip -n gone link set eth0 up",
        );
        let trace = start(&plain.host, "any:80");
        assert!(trace.notes[0].contains("gone"), "{:?}", trace.notes);
        run_on(&plain.host, "ip netns del gone");
        eventually("its link is gone", PATIENCE, || {
            let links = plain.host.run(Command::new("ip").args(["link", "show", "v-gone"])).unwrap();
            !links.status.success()
        });
        run_on(
            &plain.host,
            "ip netns add late
            ip link add v-late type veth peer name eth0 netns late
            ip link set v-late master docker0
            ip link set v-late up
            ip -n late address add 172.17.0.9/16 dev eth0
            ip -n late link set eth0 up",
        );
        let late = plain.host.sandbox("/run/netns/late").unwrap();
        eventually("it is seen inside the late one", PATIENCE, || {
            assert!(ask(&late, "172.17.0.2:80").starts_with("answered"));
            std::thread::sleep(Duration::from_millis(300));
            trace.printed.try_iter().any(|line| line.contains("  late  ") && line.contains("eth0"))
        });
        trace.end();
    });
}

#[test]
fn nothing_is_left_however_the_program_ends() {
    fairway_lab::run(|lab| {
        let plain = Plain::new(lab);
        make(place(&plain, "web"), strangers(82));
        let places: [&Place; 2] = [&plain.host, place(&plain, "web")];
        let before = places.map(tables);
        let begin = || {
            let trace = start(&plain.host, "web");
            let made = places.map(|it| tables(it).len());
            assert_eq!(made, [before[0].len() + 2, before[1].len() + 1]);
            trace
        };
        // Killed, the kernel itself deletes what it owned; ended, the program does.
        let mut killed = begin();
        killed.process.kill().unwrap();
        killed.process.wait().unwrap();
        eventually("no table is left by the killed one", PATIENCE, || places.map(tables) == before);
        begin().end();
        assert_eq!(places.map(tables), before);
    });
}

#[test]
fn two_traces_run_at_once() {
    fairway_lab::run(|lab| {
        let plain = Plain::new(lab);
        let mut both = [start(&plain.host, "lan host:8080"), start(&plain.host, "other web")];
        assert!(ask(&plain.lan, &format!("{HOST}:8080")).starts_with("answered"));
        assert!(ask(place(&plain, "other"), "172.17.0.2:80").starts_with("answered"));
        both.iter_mut().for_each(|it| it.wait_for("FIN"));
        let [published, between] = both.map(Trace::end);
        assert!(
            published.contains(&format!("flow 1: tcp {LAN}:")) && !published.contains("172.17.0.3"),
            "{published}"
        );
        assert!(between.contains("flow 1: tcp 172.17.0.3:") && !between.contains(LAN), "{between}");
    });
}

#[test]
fn legacy_rules_are_named_with_their_namespace() {
    fairway_lab::run(|lab| {
        let plain = Plain::new(lab);
        run_on(&plain.host, "ip netns exec web iptables-legacy -A INPUT -p tcp --dport 81 -j DROP");
        let mut trace = start(&plain.host, "other web");
        let note = trace.notes_of.recv_timeout(PATIENCE).unwrap();
        assert!(
            note.starts_with(
                "rules of iptables-legacy cannot be traced: web has tables of iptables (filter): "
            ),
            "{note}"
        );
        ask(place(&plain, "other"), "172.17.0.2:81");
        trace.wait_for("= arrives at web by eth0");
        assert!(trace.end().contains("> 172.17.0.2:81: no answer seen"));
    });
}

#[test]
fn without_rights_the_missing_ones_are_named() {
    fairway_lab::run(|lab| {
        let host = lab.host("host").unwrap();
        let refused = |drop: &str| {
            let mut command = Command::new("setpriv");
            command.args([&format!("--bounding-set={drop}"), "--inh-caps=-all"]);
            command.args([env!("CARGO_BIN_EXE_fairway"), "trace", "host"]).env_remove("FAIRWAY_HOST");
            let output = host.run(&mut command).unwrap();
            assert_eq!(output.status.code(), Some(1));
            String::from_utf8(output.stderr).unwrap()
        };
        let way_out =
            "run this as root, or with CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN and CAP_SYS_PTRACE\n";
        assert_eq!(
            refused("-net_raw"),
            format!("cannot trace packets of this host without CAP_NET_RAW: {way_out}")
        );
        assert!(
            refused("-all").contains("without CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN, CAP_SYS_PTRACE: ")
        );
    });
}

#[test]
fn the_daemon_answers_for_its_sandboxes_and_the_program_for_others() {
    fairway_lab::run(|lab| {
        let mut players = Players::new(lab, &[]);
        let host = players.stage.host.clone();
        // Where it is looked for if no daemon is named.
        let socket = players.stage.daemon.address().strip_prefix("unix://").unwrap().to_owned();
        host.run_in(|| std::os::unix::fs::symlink(socket, "/run/fairway.sock")).unwrap().unwrap();
        run_on(
            &host,
            "ip netns add foreign
            ip link add v-foreign type veth peer name eth0 netns foreign
            ip address add 10.77.0.1/24 dev v-foreign
            ip link set v-foreign up
            ip -n foreign address add 10.77.0.2/24 dev eth0
            ip -n foreign link set eth0 up
            ip -n foreign route add default via 10.77.0.1",
        );
        let foreign = host.sandbox("/run/netns/foreign").unwrap();
        let mut trace = start(&host, "foreign web");
        assert_eq!(trace.notes[0], "watching the host and inside foreign, web");
        ask(&foreign, &format!("{}:80", players.web.address("app")));
        trace.wait_for("= dropped on host by inet fairway network-in: \"port not published\"");
        let first = packet(&trace.end(), "flow 1:  tcp 10.77.0.2:");
        assert_in_order(&first, &["foreign eth0 out", "host v-foreign in", "host forward inet fairway 0"]);
        let names = || tables(&host).into_iter().filter(|it| it.contains("fairway-trace")).count();
        let unknown = start(&host, "web");
        assert_eq!(unknown.notes[0], "watching the host and inside web, near");
        players.stage.daemon.kill9();
        eventually("the trace was the daemon's", PATIENCE, || names() == 0);
        drop(unknown.rest());
    });
}
