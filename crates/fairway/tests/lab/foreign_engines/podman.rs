//! The real podman with netavark: each container asks each other one, the host, the LAN and published ports.

use fairway_lab::Place;

use super::docker::doctor::findings;
use super::inside::{self, printed};
use super::{Asker, agree_of_all, explain};

const GROUP: &str = "fairway-test-podman";
const IMAGE: &str = "busybox";
const PROGRAMS: [&str; 4] = ["/usr/bin/podman", "/usr/lib/podman/netavark", "/usr/sbin/runc", "/bin/busybox"];
/// What is in memory while the test runs.
const DIRECTORIES: [&str; 5] = ["/run", "/etc/containers", "/var/lib/containers", "/var/lib/cni", "/var/tmp"];
const FILES: [(&str, &str); 3] = [
    (
        "containers.conf",
        "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\nruntime = \"runc\"\n\
         [network]\nnetwork_backend = \"netavark\"\n",
    ),
    ("policy.json", "{\"default\": [{\"type\": \"insecureAcceptAnything\"}]}"),
    (
        "storage.conf",
        "[storage]\ndriver = \"vfs\"\nrunroot = \"/run/containers/storage\"\n\
         graphroot = \"/var/lib/containers/storage\"\n",
    ),
];
/// A static busybox as an image.
const MAKE_IMAGE: &str = "mkdir -p /run/image/bin && cp /bin/busybox /run/image/bin/ && tar -C /run/image -c . | podman import - busybox";

fn podman(arguments: &[&str]) -> String {
    printed("podman", arguments)
}

/// A container that sleeps, with these arguments of `podman run`; its namespace.
fn run(name: &str, arguments: &[&str]) -> Place {
    let first = ["run", "-d", "--cgroup-parent", GROUP, "--name", name];
    podman(&[&first, arguments, &[IMAGE, "/bin/busybox", "sleep", "1000"]].concat());
    Place::from_path(format!("/proc/{}/ns/net", podman(&["inspect", "-f", "{{.State.Pid}}", name]))).unwrap()
}

#[test]
fn what_is_said_is_what_happens() {
    inside::run("foreign_engines::podman::what_is_said_is_what_happens", &PROGRAMS, GROUP, || {
        inside::prepare(&DIRECTORIES);
        for (name, text) in FILES {
            std::fs::write(format!("/etc/containers/{name}"), text).unwrap();
        }
        printed("sysctl", &["-qw", "net.ipv4.ip_forward=1"]);
        printed("sh", &["-c", MAKE_IMAGE]);
        podman(&["network", "create", "app"]);
        podman(&["network", "create", "--internal", "inner"]);
        let all: [(&str, &[&str]); 5] = [
            ("web", &["-p", "8080:80"]),
            ("other", &[]),
            ("app1", &["--network", "app", "-p", "127.0.0.1:8081:80", "-p", "8085:81"]),
            ("both", &["--network", "app,inner"]),
            ("inner1", &["--network", "inner"]),
        ];
        let containers: Vec<Asker> =
            all.map(|(name, arguments)| (name.to_owned(), run(name, arguments))).into();
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}";
        let addresses = containers.iter().map(|(name, _)| podman(&["inspect", "-f", format, name]));
        let addresses: Vec<String> =
            addresses.flat_map(|it| it.split(' ').map(str::to_owned).collect::<Vec<_>>()).collect();
        let host = Place::here().unwrap();
        println!("{} questions of podman", agree_of_all(&host, &containers, &addresses, &[8080, 8081, 8085]));
        let (explained, _) = explain(&host, "podman:other", "web").unwrap();
        assert!(
            explained.walks[0].end.text.starts_with("delivered on web to"),
            "{:?}",
            explained.walks[0].end
        );
        // Netavark does not ask for the input interface of what is published on loopback.
        let found: Vec<String> =
            findings().into_iter().map(|it| format!("{}: {}", it.id, it.message)).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        let on_loopback = "loopback-ports: podman:app1 publishes 127.0.0.1:8081/tcp";
        assert!(found[0].starts_with(on_loopback), "{found:?}");
        podman(&["rm", "-f", "-t", "0", "--all"]);
    });
}
