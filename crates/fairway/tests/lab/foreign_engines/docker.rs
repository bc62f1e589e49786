//! The real Docker Engine: each container asks each other one, the host, the LAN and published ports.

pub(super) mod doctor;

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fairway_lab::Place;

use super::inside::{self, printed};
use super::{Asker, agree_of_all, explain};
use crate::ui::Ui;

const SOCKET: &str = "unix:///run/docker.sock";
const GROUP: &str = "fairway-test-docker";
const IMAGE: &str = "busybox";
const PATIENCE: Duration = Duration::from_secs(60);

/// A static busybox as an image.
const MAKE_IMAGE: &str = "mkdir -p /run/image/bin && cp /bin/busybox /run/image/bin/ && tar -C /run/image -c . | \
     docker -H unix:///run/docker.sock import - busybox";

/// What is in memory while the test runs.
const DIRECTORIES: [&str; 3] = ["/run", "/etc/docker", "/var/lib/docker"];
const PROGRAMS: [&str; 3] = ["/usr/sbin/dockerd", "/bin/busybox", "/usr/sbin/iptables"];

fn docker(arguments: &[&str]) -> String {
    printed("docker", &[&["-H", SOCKET], arguments].concat())
}

struct Docker {
    daemon: Child,
}

impl Docker {
    fn start(flags: &[&str]) -> Self {
        let log = File::create("/run/dockerd.log").unwrap();
        let mut command = Command::new("dockerd");
        command.args(["-H", SOCKET, "--data-root", "/run/docker-data", "--storage-driver", "vfs"]);
        command.args(["--cgroup-parent", GROUP]).args(flags).stdin(Stdio::null());
        let daemon = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        let answers =
            || Command::new("docker").args(["-H", SOCKET, "version"]).output().unwrap().status.success();
        while !answers() {
            let log = std::fs::read_to_string("/run/dockerd.log").unwrap();
            assert!(Instant::now() < deadline, "dockerd does not answer: {log}");
            std::thread::sleep(Duration::from_millis(100));
        }
        printed("sh", &["-c", MAKE_IMAGE]);
        Self { daemon }
    }

    fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.daemon);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.daemon.wait().unwrap();
    }
}

/// A container that sleeps, with these arguments of `docker run`; its namespace.
fn run(name: &str, arguments: &[&str]) -> Place {
    let all = [&["run", "-d", "--name", name], arguments, &[IMAGE, "/bin/busybox", "sleep", "1000"]].concat();
    docker(&all);
    Place::from_path(format!("/proc/{}/ns/net", docker(&["inspect", "-f", "{{.State.Pid}}", name]))).unwrap()
}

/// The addresses of a container.
fn addresses(name: &str) -> Vec<String> {
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}";
    docker(&["inspect", "-f", format, name]).split_ascii_whitespace().map(str::to_owned).collect()
}

/// The containers, by name, with their places.
fn containers() -> Vec<Asker> {
    docker(&["network", "create", "app"]);
    docker(&["network", "create", "-o", "com.docker.network.bridge.enable_icc=false", "apart"]);
    docker(&["network", "create", "--internal", "inner"]);
    let all: [(&str, &[&str]); 8] = [
        ("web", &["-p", "8080:80"]),
        ("other", &[]),
        ("app1", &["--network", "app", "-p", "127.0.0.1:8081:80", "-p", "8085:81"]),
        ("app2", &["--network", "app", "--network-alias", "friend"]),
        ("apart1", &["--network", "apart", "-p", "8082:80"]),
        ("apart2", &["--network", "apart"]),
        ("inner1", &["--network", "inner"]),
        ("both", &["--network", "inner"]),
    ];
    let places = all.map(|(name, arguments)| (name.to_owned(), run(name, arguments)));
    docker(&["network", "connect", "app", "both"]);
    places.into()
}

/// What is asked of a host of Docker with these flags.
fn everyone_asks_everything(flags: &[&str]) {
    let docker = Docker::start(flags);
    let containers = containers();
    let addresses: Vec<String> = containers.iter().flat_map(|(name, _)| addresses(name)).collect();
    let host = Place::here().unwrap();
    let asked = agree_of_all(&host, &containers, &addresses, &[8080, 8081, 8082, 8085]);
    println!("{asked} questions of Docker with {flags:?}");
    by_name(&host);
    for (name, _) in &containers {
        printed("docker", &["-H", SOCKET, "rm", "-f", name]);
    }
    docker.stop();
}

/// Containers are found by name and id, and names are resolved as the container does.
fn by_name(host: &Place) {
    let end = |from: &str, to: &str| {
        let (explained, _) = explain(host, from, to).unwrap();
        explained.walks[0].end.text.clone()
    };
    let web = &addresses("web")[0];
    let id = docker(&["inspect", "-f", "{{.Id}}", "other"]);
    let pid = docker(&["inspect", "-f", "{{.State.Pid}}", "other"]);
    for from in ["other", "docker:other", "container:other", &id[..12], &format!("pid:{pid}")] {
        let text = end(from, "web");
        assert!(text.starts_with("delivered on web to"), "{from}: {text}");
        assert!(text.ends_with(&format!("> {web}")), "{from}: {text}");
    }
    // Docker's resolver answers at 127.0.0.11, by rules in the container.
    let friend = end("app1", "friend");
    assert!(friend.starts_with("delivered on app2 to"), "{friend}");
    let resolver = end("app1", "127.0.0.11:53/udp");
    assert!(resolver.contains("delivered on app1 to dockerd"), "{resolver}");
    let unknown = explain(host, "app1", "nosuch:80").unwrap_err();
    assert!(unknown.contains("cannot find \"nosuch\"") && unknown.contains("127.0.0.11"), "{unknown}");
    let picture =
        printed(env!("CARGO_BIN_EXE_fairway"), &["graph", "--format", "mermaid", "--path", "app1", "web"]);
    for part in ["bridge · docker", "apart · docker", "\"app1", "127.0.0.1:8081 → 80/tcp", "web<br/>"] {
        assert!(picture.contains(part), "{part}: {picture}");
    }
    on_page(host);
    docker(&["stop", "-t", "0", "inner1"]);
    let stopped = explain(host, "inner1", "web:80").unwrap_err();
    assert_eq!(stopped.trim_end(), "container docker:inner1 is not running: start it first");
}

/// `fairway ui` shows the containers, and the way from one to another.
fn on_page(host: &Place) {
    let ui = Ui::start_at(host, &["ui", "--no-open"]);
    let rows = ui.get(host, "/data/containers");
    let row = rows.as_array().unwrap().iter().find(|it| it["Name"] == "app1").unwrap();
    let ports = row["Ports"].to_string();
    assert_eq!((row["Engine"].as_str(), row["Endpoint"].as_str()), (Some("docker"), Some("app1")));
    assert!(ports.contains("127.0.0.1:8081->80/tcp"), "{ports}");
    let picture = ui.get(host, "/data/picture").to_string();
    for name in ["web", "app1", "app2", "apart1", "both", "app", "apart", "inner"] {
        assert!(picture.contains(&format!("\"{name}\"")), "{name}: {picture}");
    }
    let answer = ui.get(host, "/data/explain?from=app1&to=app2");
    assert_eq!(answer["Walk"]["Answered"], true, "{answer}");
    let elements = answer["Picture"]["Elements"].to_string();
    assert!(elements.contains(r#""Class":"trail""#), "the way is drawn: {answer}");
}

#[test]
fn with_its_proxy_what_is_said_is_what_happens() {
    inside::run(
        "foreign_engines::docker::with_its_proxy_what_is_said_is_what_happens",
        &PROGRAMS,
        GROUP,
        || {
            inside::prepare(&DIRECTORIES);
            everyone_asks_everything(&["--userland-proxy=true"]);
        },
    );
}

#[test]
fn without_its_proxy_what_is_said_is_what_happens() {
    inside::run(
        "foreign_engines::docker::without_its_proxy_what_is_said_is_what_happens",
        &PROGRAMS,
        GROUP,
        || {
            inside::prepare(&DIRECTORIES);
            everyone_asks_everything(&["--userland-proxy=false"]);
        },
    );
}
