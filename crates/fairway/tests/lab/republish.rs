//! Publications that change while their sandbox lives.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fairway_lab::{
    DatagramFlow, Lab, Outcome, Place, ask, ask_datagram, serve_datagrams, serve_echo, serve_tcp,
};

use crate::cli::{field, printed};
use crate::harness::{HOST, LAN, Stage, eventually, ports, refusal};

/// How long what takes moments may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes that go to an echo server and come back, all the time.
struct Transfer {
    ended: Arc<AtomicBool>,
    carried: Arc<AtomicU64>,
    thread: JoinHandle<std::io::Result<()>>,
}

impl Transfer {
    fn start(place: &Place, target: &str) -> Self {
        let target = target.to_owned();
        let mut stream = place.run_in(move || TcpStream::connect(target).unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (ended, carried) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (reported, count) = (Arc::clone(&ended), Arc::clone(&carried));
        let thread = std::thread::spawn(move || {
            let mut back = [0; 8192];
            while !reported.load(Ordering::Relaxed) {
                stream.write_all(&[7; 8192])?;
                stream.read_exact(&mut back)?;
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        let transfer = Self { ended, carried, thread };
        transfer.goes_on("at first");
        transfer
    }

    /// Waits for more of it to be carried.
    fn goes_on(&self, when: &str) {
        let before = self.carried.load(Ordering::Relaxed);
        eventually(&format!("the transfer goes on {when}"), PATIENCE, || {
            assert!(!self.thread.is_finished(), "the transfer was cut {when}");
            self.carried.load(Ordering::Relaxed) > before + 2
        });
    }

    fn end(self) {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.join().unwrap().unwrap();
    }
}

/// Whether a connection is cut from afar, and not just silent.
fn is_cut(mut stream: TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        // The first packet after it was taken away is what is answered by a reset.
        if stream.write_all(b"x").is_err() {
            return true;
        }
        match stream.read(&mut [0; 64]) {
            Ok(0) => return true,
            Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return true;
            }
            _ => {}
        }
    }
    false
}

on_each_backend! {
    a_port_comes_and_goes_while_a_transfer_runs_through_another;
}

fn a_port_comes_and_goes_while_a_transfer_runs_through_another(lab: &Lab) {
    let mut stage = Stage::new(lab, &[]);
    let server = stage.sandbox("server", &["bridge"], &["8080:80"]);
    let neighbour = stage.sandbox("neighbour", &["bridge"], &[]);
    let _servers = [
        serve_echo(&server, "0.0.0.0:80").unwrap(),
        serve_tcp(&server, "0.0.0.0:81").unwrap(),
        serve_echo(&server, "0.0.0.0:82").unwrap(),
    ];
    let _datagrams = serve_datagrams(&server, "0.0.0.0:53").unwrap();
    for flag in ["--userland-proxy=true", "--userland-proxy=false"] {
        stage.daemon.restart(&[flag]);
        let transfers =
            [Transfer::start(&stage.lan, "10.10.50.99:8080"), Transfer::start(&stage.host, "127.0.0.1:8080")];
        let (lan, host) = (&*stage.lan, &*stage.host);
        let from = [(lan, HOST), (host, "127.0.0.1"), (host, HOST), (&*neighbour, HOST)];
        let reached = |expected: bool| {
            for (place, at) in from {
                let seen = ask(place, &format!("{at}:8081")).unwrap();
                let as_expected = match &seen {
                    Outcome::Answered { .. } => expected,
                    other => !expected && *other == Outcome::Refused,
                };
                assert!(as_expected, "{} to {at}: {seen}, published: {expected}, {flag}", place.name());
            }
        };
        reached(false);
        let published =
            stage.client().publish("server", ports(&["8081:81", "8082:82", "5300:53/udp"])).unwrap();
        assert_eq!(published.ports.len(), 4, "{:?}", published.ports);
        reached(true);
        let open = |place: &Place, at: &str| {
            let at = format!("{at}:8082");
            place.run_in(move || TcpStream::connect(at).unwrap()).unwrap()
        };
        let mut connections = [open(lan, HOST), open(host, "127.0.0.1")];
        for connection in &mut connections {
            connection.write_all(b"x").unwrap();
            connection.read_exact(&mut [0]).unwrap();
        }
        let flow = DatagramFlow::open(lan, &format!("{HOST}:5300")).unwrap();
        assert_eq!(flow.ask(PATIENCE), Outcome::answered(LAN));
        transfers.iter().for_each(|transfer| transfer.goes_on("during an addition"));

        let gone = stage.client().unpublish("server", ports(&["8081:81", "8082:82", "5300:53/udp"])).unwrap();
        assert_eq!(gone.ports.keys().collect::<Vec<_>>(), ["80/tcp"]);
        reached(false);
        assert_eq!(ask_datagram(lan, &format!("{HOST}:5300")).unwrap(), Outcome::Refused);
        assert!(!matches!(flow.ask(Duration::from_millis(200)), Outcome::Answered { .. }), "an old flow");
        for (connection, place) in connections.into_iter().zip(["lan", "host"]) {
            assert!(is_cut(connection), "a connection of {place} through the removed port, {flag}");
        }
        // The host has it again.
        drop(stage.host.run_in(|| TcpListener::bind("0.0.0.0:8081").unwrap()).unwrap());
        transfers.iter().for_each(|transfer| transfer.goes_on("during a removal"));
        transfers.into_iter().for_each(Transfer::end);
    }
}

#[test]
fn what_was_published_on_a_living_sandbox_outlives_every_daemon() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::new(lab, &[]);
        let server = stage.sandbox("server", &["bridge"], &["8080:80", "9000-9002:90-92"]);
        let _server = serve_tcp(&server, "0.0.0.0:81").unwrap();
        stage.client().publish("server", ports(&["8081:81", "81"])).unwrap();
        stage.client().unpublish("server", ports(&["8080:80", "9001:91"])).unwrap();
        let published = |stage: &Stage| stage.client().container("server").unwrap().network_settings.ports;
        let mut before = published(&stage);
        assert_eq!(before.keys().collect::<Vec<_>>(), ["81/tcp", "90/tcp", "92/tcp"]);
        // Without the proxy no port of IPv6 leads to a sandbox without IPv6.
        before.values_mut().flatten().for_each(|bindings| bindings.retain(|binding| binding.host_ip != "::"));
        stage.daemon.kill9();
        assert_eq!(ask(&stage.lan, "10.10.50.99:8081").unwrap(), Outcome::answered(LAN));
        stage.daemon.launch(&["--userland-proxy=false"]);
        stage.daemon.wait_until_ready();
        assert_eq!(published(&stage), before);
        for (port, expected) in
            [(8081, Outcome::answered(LAN)), (8080, Outcome::Refused), (9001, Outcome::Refused)]
        {
            assert_eq!(ask(&stage.lan, &format!("{HOST}:{port}")).unwrap(), expected, "{port}");
        }
    });
}

#[test]
fn a_port_that_a_program_of_the_host_has_is_refused_and_a_random_one_chosen_anew() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let server = stage.sandbox("server", &["bridge"], &["8080:80"]);
        let _serving = serve_tcp(&server, "0.0.0.0:80").unwrap();
        let _held = stage.host.run_in(|| TcpListener::bind("0.0.0.0:8091").unwrap()).unwrap();
        let message = refusal(stage.client().publish("server", ports(&["8090:80", "8091:80"])));
        assert!(message.contains("8091") && message.contains("already in use"), "{message}");
        let seen = ask(&stage.host, "127.0.0.1:8090").unwrap();
        assert_eq!(seen, Outcome::Refused, "all of it is taken back");
        let published = stage.client().publish("server", ports(&["8091-8092:80"])).unwrap();
        let bindings = published.ports["80/tcp"].as_ref().unwrap();
        let host_ports: Vec<_> = bindings.iter().map(|binding| binding.host_port.as_str()).collect();
        assert_eq!(host_ports, ["8080", "8080", "8092", "8092"]);
        assert_eq!(ask(&stage.lan, "10.10.50.99:8092").unwrap(), Outcome::answered(LAN));
        let message = refusal(stage.client().unpublish("server", ports(&["8090:80"])));
        assert!(
            message.starts_with("No public port '8090:80/tcp' published for server: it publishes"),
            "{message}"
        );
    });
}

#[test]
fn without_a_network_no_port_is_published_nor_shown() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let inn = stage.create_network("inn", |network| network.internal = true).unwrap();
        assert!(inn.internal);
        let web = stage.sandbox("web", &["bridge"], &["8080:80", "127.0.0.1:8081:81"]);
        let _server = serve_tcp(&web, "0.0.0.0:80").unwrap();
        let shown = || {
            let ports = printed(&stage, "port web");
            let listed = printed(&stage, "ps --format {{.Ports}}");
            let inspected = field(&stage, "web", "NetworkSettings.Ports");
            let held = stage.host.run_in(|| TcpListener::bind("0.0.0.0:8080").is_err()).unwrap();
            assert_eq!(ports.is_empty(), listed.is_empty(), "{ports} {listed}");
            assert_eq!(ports.is_empty(), !inspected.contains("808"), "{ports} {inspected}");
            assert_eq!(ports.is_empty(), !held, "{ports}");
            ports.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let before = shown();
        assert_eq!(before, ["80/tcp -> 0.0.0.0:8080", "80/tcp -> [::]:8080", "81/tcp -> 127.0.0.1:8081"]);
        stage.disconnect("bridge", "web").unwrap();
        assert_eq!(shown(), [""; 0]);
        // Another may have it meanwhile.
        let other = stage.sandbox("other", &["bridge"], &["8080:80"]);
        let refused = refusal(stage.connect("bridge", "web", Default::default()));
        assert!(refused.contains("8080") && refused.contains("already allocated"), "{refused}");
        stage.client().detach("other").unwrap();
        drop(other);
        // A network without a way out publishes nothing, one with a way out publishes again.
        stage.connect("inn", "web", Default::default()).unwrap();
        assert_eq!(shown(), [""; 0]);
        stage.connect("bridge", "web", Default::default()).unwrap();
        assert_eq!(shown(), before);
        assert_eq!(ask(&stage.lan, &format!("{HOST}:8080")).unwrap(), Outcome::answered(LAN));
        stage.disconnect("bridge", "web").unwrap();
        assert_eq!(shown(), [""; 0]);
        assert_eq!(ask(&stage.lan, &format!("{HOST}:8080")).unwrap(), Outcome::Refused);
    });
}
