//! `/metrics`, as Prometheus reads it.

mod format;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use fairway_lab::{Outcome, ask, ask_datagram, serve_datagrams, serve_tcp};
use rustix::process::{Pid, Signal, kill_process};

use crate::dns::{RecordType, look_up};
use crate::foreign_changes;
use crate::harness::{HOST, LAN, Stage, eventually, refusal};
use crate::kernel_state::relay_pid;
use crate::upstream::{RESOLVER, set_servers};
use format::{Samples, read};

/// Asks for a page at TCP on the host, and returns head and body.
fn fetch(stage: &Stage, address: &'static str, path: &'static str) -> (String, String) {
    let reply = stage.host.run_in(move || exchange(TcpStream::connect(address).unwrap(), path)).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn exchange(mut stream: impl Read + Write, path: &str) -> String {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: fairway\r\nConnection: close\r\n\r\n").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    reply
}

/// The metrics at the daemon's socket.
pub fn metrics(stage: &Stage) -> Samples {
    let socket = UnixStream::connect(stage.daemon.address().trim_start_matches("unix://")).unwrap();
    let reply = exchange(socket, "/metrics");
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    let head = head.to_ascii_lowercase();
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    read(body)
}

/// The growth of a sample while something is done.
fn growth(stage: &Stage, series: &str, act: impl FnOnce()) -> f64 {
    let value = |samples: &Samples| samples.get(series).copied().unwrap_or_default();
    let before = value(&metrics(stage));
    act();
    value(&metrics(stage)) - before
}

#[test]
fn values_follow_what_happens() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        stage.network("app");
        let attaches = "fairway_attach_duration_seconds_count";
        let mut web = None;
        assert_eq!(
            growth(&stage, attaches, || web =
                Some(stage.sandbox("web", &["app"], &["8080:80", "8081:81/udp"]))),
            1.0
        );
        let web = web.unwrap();
        let _server = serve_tcp(&web, "0.0.0.0:80").unwrap();
        let _datagrams = serve_datagrams(&web, "0.0.0.0:81").unwrap();
        let now = metrics(&stage);
        assert_eq!(now["fairway_networks{driver=\"bridge\"}"], 2.0);
        assert_eq!(now["fairway_sandboxes{state=\"running\"}"], 1.0);
        assert_eq!(now["fairway_endpoints"], 1.0);
        assert_eq!(now["fairway_published_ports{protocol=\"udp\"}"], 2.0, "of both families");
        assert_eq!(now["fairway_relay_up"], 1.0);
        assert!(now["fairway_store_commit_duration_seconds_count"] >= 2.0);
        assert!(now["fairway_conntrack_entries_limit"] > 0.0);

        // A port: through the proxy, and by the network.
        let proxied =
            || assert_eq!(ask(&stage.host, "127.0.0.1:8080").unwrap(), Outcome::answered("172.18.0.1"));
        assert_eq!(growth(&stage, "fairway_relay_connections_total", proxied), 1.0);
        let datagram = || {
            let outcome = ask_datagram(&stage.host, "127.0.0.1:8081").unwrap();
            assert!(matches!(outcome, Outcome::Answered { .. }), "{outcome:?}");
        };
        assert_eq!(growth(&stage, "fairway_relay_flows_total", datagram), 1.0);
        let direct = || assert_eq!(ask(&stage.lan, &format!("{HOST}:8080")).unwrap(), Outcome::answered(LAN));
        let bytes = "fairway_network_bytes_total{network=\"app\",direction=\"in\"}";
        assert!(growth(&stage, bytes, direct) > 100.0);

        // A name of a sandbox; and one that no name server answers.
        let known = || drop(look_up(&web, RESOLVER, "web", RecordType::A).unwrap());
        assert_eq!(growth(&stage, "fairway_resolver_queries_total{answer=\"names\"}", known), 1.0);
        set_servers(&stage, &[LAN]);
        let unknown = || drop(look_up(&web, RESOLVER, "elsewhere.test", RecordType::A));
        eventually(
            "the daemon has read the name servers, and a query is forwarded",
            Duration::from_secs(20),
            || growth(&stage, "fairway_resolver_queries_total{answer=\"forwarded\"}", unknown) == 1.0,
        );

        // A link that another program deletes.
        let gateway = stage.client().network("app").unwrap().ipam.config[0].gateway.parse().unwrap();
        let delete = move || foreign_changes::delete_link(&foreign_changes::bridge_with(gateway));
        stage.host.run_in(delete).unwrap();
        let repaired = "fairway_drift_repaired_objects_total{kind=\"bridge\"}";
        eventually("the repair is counted", Duration::from_secs(20), || {
            metrics(&stage).get(repaired).is_some_and(|count| *count >= 1.0)
        });
        let now = metrics(&stage);
        assert!(
            now["fairway_reconciler_repairs_total"] >= 1.0 && now["fairway_reconciler_runs_total"] >= 1.0
        );

        // Refusals, and the end of the sandbox.
        let refused = || assert!(refusal(stage.client().network("nosuch")).contains("not found"));
        assert_eq!(growth(&stage, "fairway_api_requests_total{code=\"404\"}", refused), 1.0);
        let refused = || drop(refusal(stage.create_network("app", |_| {})));
        assert_eq!(growth(&stage, "fairway_command_failures_total{reason=\"refused\"}", refused), 1.0);
        let detach = || stage.client().detach("web").unwrap();
        assert_eq!(growth(&stage, "fairway_detach_duration_seconds_count", detach), 1.0);
        assert_eq!(metrics(&stage)["fairway_endpoints"], 0.0);
    });
}

#[test]
fn a_relay_that_is_stopped_delays_no_more_than_the_metrics() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let relay = Pid::from_raw(i32::try_from(relay_pid().unwrap()).unwrap()).unwrap();
        kill_process(relay, Signal::STOP).unwrap();
        let now = metrics(&stage);
        kill_process(relay, Signal::CONT).unwrap();
        assert_eq!(now["fairway_relay_up"], 0.0);
        assert!(!now.contains_key("fairway_relay_open_connections"));
        eventually("it counts again", Duration::from_secs(20), || metrics(&stage)["fairway_relay_up"] == 1.0);
    });
}

#[test]
fn a_tcp_address_of_the_host_itself_has_metrics_and_nothing_else() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::new(lab, &["--metrics-addr", "127.0.0.1:9323"]);
        let (head, body) = fetch(&stage, "127.0.0.1:9323", "/metrics");
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        assert_eq!(read(&body)["fairway_networks{driver=\"bridge\"}"], 1.0);
        for path in ["/networks", "/", "/v1.47/metrics", "/containers/json"] {
            let (head, body) = fetch(&stage, "127.0.0.1:9323", path);
            assert!(head.starts_with("HTTP/1.1 404") && body.contains("only GET /metrics"), "{head} {body}");
        }
        assert_eq!(ask(&stage.lan, &format!("{HOST}:9323")).unwrap(), Outcome::Refused);
        stage.daemon.stop();
        for refused in ["0.0.0.0:1", "10.10.50.99:9323", "[::]:9323"] {
            stage.daemon.launch(&["--metrics-addr", refused]);
            assert!(!stage.daemon.wait_until_ended().unwrap().success(), "{refused}");
            let log = stage.daemon.log();
            let said = log.lines().find(|line| line.contains(refused)).expect(refused);
            assert!(said.contains("metrics are served at loopback alone"), "{said}");
        }
    });
}

#[test]
fn each_of_many_networks_has_its_counters() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &["--default-address-pool", "base=10.64.0.0/10,size=24"]);
        let names: Vec<String> = (0..120).map(|number| format!("n{number}")).collect();
        names.iter().for_each(|name| drop(stage.network(name)));
        let now = metrics(&stage);
        for name in &names {
            for direction in ["in", "out"] {
                let series =
                    format!("fairway_network_packets_total{{network=\"{name}\",direction=\"{direction}\"}}");
                assert!(now.contains_key(&series), "{series}");
            }
        }
        let stats = stage.client().stats(None).unwrap();
        assert!(stats.iter().filter(|network| names.contains(&network.name)).all(|it| it.traffic.is_some()));
    });
}
