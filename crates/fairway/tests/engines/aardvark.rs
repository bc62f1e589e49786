//! The face of aardvark-dns, started by the real netavark: by hand with what podman says to it, and by podman.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::podman::prepare;
use crate::stage::{self, PATIENCE, sh, succeeds};

const NETAVARK: &str = "/usr/lib/podman/netavark";
const FILES: &str = "/run/containers/networks/aardvark-dns";

/// Puts the program where podman and netavark look for it, by its name.
fn install() {
    sh("mkdir -p /run/helpers /run/containers/networks");
    for (link, target) in [
        ("aardvark-dns", env!("CARGO_BIN_EXE_fairway")),
        ("netavark", NETAVARK),
        ("rootlessport", "/usr/lib/podman/rootlessport"),
    ] {
        std::os::unix::fs::symlink(target, format!("/run/helpers/{link}")).unwrap();
    }
}

/// Runs netavark for a container's namespace, as podman does, and returns what it prints.
fn netavark(verb: &str, netns: &str, json: &str) -> String {
    let mut command = Command::new(NETAVARK);
    command.args(["--config", "/run/containers/networks", "--rootless=false"]);
    command.args(["--aardvark-binary=/run/helpers/aardvark-dns", verb]).arg(format!("/run/netns/{netns}"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(json.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let (printed, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{verb} {netns}: {printed}{errors}");
    printed.into_owned()
}

/// A network as podman describes it: its name, its number and whether it is internal.
fn network((name, number, internal): (&str, u8, bool)) -> String {
    format!(
        r#""{name}":{{"name":"{name}","id":"{number:064x}","driver":"bridge","network_interface":"podman{number}",
        "created":"2026-11-29T13:20:48.806196321Z","subnets":[{{"subnet":"10.89.{number}.0/24","gateway":"10.89.{number}.1"}}],
        "ipv6_enabled":false,"internal":{internal},"dns_enabled":true,"ipam_options":{{"driver":"host-local"}}}}"#
    )
}

/// What podman says of a container on these networks: its address ends with `last` on each.
fn request(name: &str, last: u8, networks: &[(&str, u8, bool)]) -> String {
    let endpoint = |(place, (network, number, _)): (usize, &(&str, u8, bool))| {
        format!(
            r#""{network}":{{"static_ips":["10.89.{number}.{last}"],"aliases":["{last:012x}"],"interface_name":"eth{place}"}}"#
        )
    };
    let endpoints: Vec<String> = networks.iter().enumerate().map(endpoint).collect();
    let information: Vec<String> = networks.iter().copied().map(network).collect();
    format!(
        r#"{{"container_id":"{last:064x}","container_name":"{name}","networks":{{{}}},"network_info":{{{}}}}}"#,
        endpoints.join(","),
        information.join(",")
    )
}

/// What nslookup of busybox says in a namespace. netavark 1.4 leaves the MAC of a bridge to the kernel, which changes it
/// with its ports, so the neighbors of the namespace are forgotten first.
fn look_up(netns: &str, name: &str, server: &str) -> String {
    sh(&format!(
        "ip -n {netns} neigh flush all
         nsenter --net=/run/netns/{netns} busybox nslookup {name} {server} 2>&1 || true"
    ))
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn netavark_starts_signals_and_ends_the_server() {
    stage::run(&[NETAVARK, "iptables", "nsenter"], |_| {
        install();
        sh("for name in c1 c2 c3; do ip netns add $name; ip -n $name link set lo up; done");
        let (one, two) = (("b1", 1, false), ("b2", 2, false));
        let (first, second, third) =
            (request("c1", 9, &[one]), request("c2", 77, &[one, two]), request("c3", 5, &[two]));
        let reply = netavark("setup", "c1", &first);
        assert!(reply.contains(r#""dns_server_ips":["10.89.1.1"]"#), "{reply}");
        let pid = std::fs::read_to_string(format!("{FILES}/aardvark.pid")).unwrap();
        assert_eq!(sh(&format!("cat /proc/{pid}/comm")), "aardvark-dns");
        assert!(look_up("c1", "c1.dns.podman", "10.89.1.1").contains("10.89.1.9"));
        netavark("setup", "c2", &second);
        netavark("setup", "c3", &third);
        eventually("the new containers are found", || {
            look_up("c1", "c2.dns.podman", "10.89.1.1").contains("10.89.1.77")
                && look_up("c3", "c2.dns.podman", "10.89.2.1").contains("10.89.2.77")
        });
        assert!(look_up("c2", "c3.dns.podman", "10.89.1.1").contains("10.89.2.5"));
        assert!(look_up("c2", "c1.dns.podman", "10.89.1.1").contains("10.89.1.9"));
        assert!(look_up("c1", "c3.dns.podman", "10.89.1.1").contains("NXDOMAIN"));
        assert!(look_up("c2", "10.89.1.9", "10.89.1.1").contains("name = c1"));
        assert_eq!(std::fs::read_to_string(format!("{FILES}/aardvark.pid")).unwrap(), pid, "one server");
        netavark("teardown", "c1", &first);
        eventually("the removed container is unknown", || {
            look_up("c2", "c1.dns.podman", "10.89.1.1").contains("NXDOMAIN")
        });
        netavark("teardown", "c2", &second);
        netavark("teardown", "c3", &third);
        eventually("the server ends with the last container", || {
            !succeeds(&format!("test -e {FILES}/aardvark.pid"))
                && !succeeds(&format!("test -e /proc/{pid}/exe"))
        });
        // The next container gets a new server, also if the last one was killed.
        netavark("setup", "c1", &first);
        let pid = std::fs::read_to_string(format!("{FILES}/aardvark.pid")).unwrap();
        sh(&format!("kill -9 {pid}"));
        // To netavark an ended process runs until it is reaped.
        eventually("the killed server is reaped", || !succeeds(&format!("test -e /proc/{pid}")));
        netavark("setup", "c3", &third);
        assert!(look_up("c1", "c1.dns.podman", "10.89.1.1").contains("10.89.1.9"));
        assert!(look_up("c3", "c3.dns.podman", "10.89.2.1").contains("10.89.2.5"));
    });
}

#[test]
fn containers_of_podman_find_one_another() {
    stage::run(&[NETAVARK, "podman", "crun", "conmon", "iptables"], |_| {
        prepare();
        install();
        std::fs::write(
            "/run/containers.conf",
            "[engine]\nhelper_binaries_dir=[\"/run/helpers\"]\n[network]\nnetwork_backend=\"netavark\"\n",
        )
        .unwrap();
        let podman = |arguments: &str| {
            sh(&format!(
                "CONTAINERS_CONF=/run/containers.conf CONTAINERS_STORAGE_CONF=/run/storage.conf podman --runtime crun {arguments}"
            ))
        };
        podman("network create app --subnet 10.56.0.0/24");
        podman("run -d --name web --cgroups=disabled --network app --network-alias www bb sleep 1000");
        podman("run -d --name db --cgroups=disabled --network app bb sleep 1000");
        let server = sh(&format!("cat /proc/$(cat {FILES}/aardvark.pid)/comm"));
        assert_eq!(server, "aardvark-dns");
        let program = sh(&format!("readlink /proc/$(cat {FILES}/aardvark.pid)/exe"));
        assert_eq!(program, env!("CARGO_BIN_EXE_fairway"));
        // By the container's own resolv.conf, with its search domain.
        for name in ["web", "www", "web.dns.podman"] {
            eventually("a container finds another", || {
                let command = format!("exec db busybox nslookup {name}");
                podman(&format!("{command} 2>&1 || true")).contains("10.56.0.2")
            });
        }
        podman("rm -f -t 0 web db");
        eventually("the server ends", || !succeeds(&format!("test -e {FILES}/aardvark.pid")));
    });
}
