//! Limits of the traffic of endpoints: `fairway.ingress_rate` and its like.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use fairway_api::types::{ContainerCreate, EndpointSettings};
use fairway_lab::{Place, serve_tcp};

use crate::harness::{Sandbox, Stage, eventually, refusal, request};

/// The bytes take two seconds at this rate.
const RATE: &str = "1mbit";
const BYTES: usize = 250_000;
/// Less than the time that the bytes take beyond the burst and the buffers of both ends.
pub const AT_LEAST: Duration = Duration::from_millis(800);

const PATIENCE: Duration = Duration::from_secs(20);

fn options(asked: &[(&str, &str)]) -> EndpointSettings {
    let asked = asked.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    EndpointSettings { driver_opts: Some(asked.collect()), ..EndpointSettings::default() }
}

fn on(network: &str, asked: &[(&str, &str)]) -> ContainerCreate {
    let mut container = request(&[network], &[]);
    container.networking_config.endpoints_config[0].1 = options(asked);
    container
}

/// How long bytes take from one place to another.
pub fn takes(from: &Place, to: &Place, address: &str) -> Duration {
    let listener = to.run_in(|| TcpListener::bind("[::]:0")).unwrap().unwrap();
    let target = format!("{address}:{}", listener.local_addr().unwrap().port());
    std::thread::scope(|scope| {
        let received = scope.spawn(move || {
            let mut bytes = Vec::new();
            listener.accept().unwrap().0.read_to_end(&mut bytes).unwrap();
            bytes.len()
        });
        let mut stream = from.run_in(|| TcpStream::connect(target)).unwrap().unwrap();
        let since = Instant::now();
        stream.write_all(&vec![7; BYTES]).unwrap();
        drop(stream);
        assert_eq!(received.join().unwrap(), BYTES);
        since.elapsed()
    })
}

fn tc(place: &Place, arguments: &[&str]) -> String {
    let output = place.run(Command::new("tc").args(arguments)).unwrap();
    assert!(output.status.success(), "tc {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn buffers(place: &Place) -> Vec<String> {
    let output = place.run(Command::new("ip").args(["-br", "link", "show", "type", "ifb"])).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split_ascii_whitespace().next().map(str::to_owned)).collect()
}

/// Whether what a limited sandbox receives, and what it sends, is slow.
fn slow(limited: &Sandbox, free: &Sandbox) -> [bool; 2] {
    let (to, from) = (limited.address("app").to_string(), free.address("app").to_string());
    [takes(free, limited, &to), takes(limited, free, &from)].map(|time| time >= AT_LEAST)
}

#[test]
fn each_direction_has_its_rate() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        stage.network("app");
        let free = stage.attach("free", on("app", &[])).unwrap();
        let limits = [("fairway.ingress_rate", RATE), ("fairway.egress_rate", RATE)];
        let ingress = stage.attach("ingress", on("app", &limits[..1])).unwrap();
        let egress = stage.attach("egress", on("app", &limits[1..])).unwrap();
        assert_eq!(slow(&ingress, &free), [true, false]);
        assert_eq!(slow(&egress, &free), [false, true]);
        assert_eq!(buffers(&stage.host).len(), 1, "what is sent alone needs a buffer");
    });
}

#[test]
fn limits_last_and_leave_nothing() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::new(lab, &[]);
        stage.network("app");
        let free = stage.attach("free", on("app", &[])).unwrap();
        let limits = [("fairway.ingress_rate", RATE), ("fairway.egress_rate", RATE)];
        let limited = stage.attach("limited", on("app", &limits)).unwrap();
        let [buffer] = buffers(&stage.host).try_into().unwrap();
        let interface = buffer.replacen("fi", "fw", 1);
        let disciplines = |stage: &Stage| {
            let of = |name: &str| tc(&stage.host, &["qdisc", "show", "dev", name]);
            let filter = tc(&stage.host, &["filter", "show", "dev", &interface, "ingress"]);
            [of(&interface), of(&buffer), filter.replace("device unkwn", "")].concat()
        };
        let made = disciplines(&stage);
        assert!(
            made.matches("rate 1Mbit burst 64Kb lat 25ms").count() == 2 && made.contains(&buffer),
            "{made}"
        );

        stage.daemon.restart(&[]);
        assert_eq!(disciplines(&stage), made);
        // What another program removes is found, and made again.
        tc(&stage.host, &["qdisc", "del", "dev", &interface, "root"]);
        tc(&stage.host, &["qdisc", "del", "dev", &interface, "ingress"]);
        let changes = stage.client().plan_difference().unwrap().changes;
        let repaired =
            changes.iter().find(|change| change.object == format!("traffic limit of interface {interface}"));
        assert!(repaired.is_some(), "{changes:?}");
        let output = stage.host.run(Command::new("ip").args(["link", "del", &buffer])).unwrap();
        assert!(output.status.success());
        eventually("the limit is repaired", PATIENCE, || {
            buffers(&stage.host).len() == 1 && disciplines(&stage) == made
        });
        assert_eq!(slow(&limited, &free), [true, true]);
        let _server = serve_tcp(&limited, "[::]:80").unwrap();
        let target = format!("{}:80", limited.address("app"));
        let explained = stage.client().explain("free", &target, false).unwrap();
        assert_eq!((explained.answered, &explained.planned), (Some(true), &None), "{}", explained.sentence);
        for limit in ["the limit of traffic (tbf)", "the limit of traffic (ifb)"] {
            assert!(explained.sentence.contains(limit), "{}", explained.sentence);
        }

        stage.disconnect("app", "limited").unwrap();
        eventually("the buffer is gone", PATIENCE, || buffers(&stage.host).is_empty());
        stage.connect("app", "limited", options(&limits)).unwrap();
        assert_eq!(buffers(&stage.host).len(), 1);
        // Also while no daemon runs.
        stage.daemon.kill9();
        stage.remove_namespace(limited);
        stage.daemon.restart(&[]);
        eventually("the buffer is gone", PATIENCE, || buffers(&stage.host).is_empty());
    });
}

#[test]
fn where_there_is_no_interface_on_the_host_limits_are_refused() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        stage.create_network("pair", |network| network.driver = "ptp".to_owned()).unwrap();
        stage.network("app");
        let refused = refusal(stage.attach("one", on("pair", &[("fairway.egress_rate", RATE)])));
        assert!(
            refused.contains("with the driver ptp a container has no interface on the host"),
            "{refused}"
        );
        let refused = refusal(stage.attach("one", on("app", &[("fairway.egress_rate", "fast")])));
        assert!(refused.contains("fairway.egress_rate=fast"), "{refused}");
    });
}
