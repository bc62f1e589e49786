//! A reboot of a host whose podman has Fairway as its netavark: units of `podman generate systemd` start the containers.

use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::podman_on_fairway::{
    PODMAN, PROGRAMS, assert_nothing_is_left, connect_lan, daemon, fetch, fetch_from, podman, serve, set_up,
};
use crate::stage::{self, PROGRAM, Running, sh, succeeds, wait_for};

/// A unit for a container, as podman writes it.
struct Unit(String);

impl Unit {
    /// The unit of `podman generate systemd`.
    fn generate(container: &str, options: &str) -> Self {
        let text = podman(&format!("generate systemd --name --stop-timeout 0 {options} {container}"));
        let name = format!("container-{container}.service");
        // Control groups are the machine's: the container that is made anew gets none.
        let text = text.replace("--cgroups=no-conmon", "--cgroups=disabled");
        Self(text.replace("\\\n", "").replace("%n", &name).replace("%t", "/run"))
    }

    /// Runs the commands of a key, as `ExecStart`.
    fn run(&self, key: &str) {
        let commands = self.0.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let podman = PODMAN.trim_end_matches("--runtime crun").trim_end();
        for command in commands {
            sh(&command.replace("/usr/bin/podman", podman));
        }
    }
}

/// Ends all of podman's and Fairway's processes at once, and has this thread go on in the state of a host that has just
/// booted: what is in memory is gone, as are links and tables.
fn reboot(daemon: &str) {
    let processes = podman("ps --format '{{.Names}}'").replace('\n', " ");
    let of = |field: &str| podman(&format!("inspect --format '{{{{.State.{field}}}}}' {processes}"));
    // A container's monitor would tidy up after it.
    let all = [of("ConmonPid"), of("Pid"), daemon.to_owned(), sh("pgrep -x fairway-relay")].join(" ");
    let all = all.replace('\n', " ");
    sh(&format!("kill -9 {all}"));
    wait_for("the end of all processes", || !succeeds(&format!("ps -o stat= {all} | grep -qv Z")));
    // One below the /run of this stage, as `ip netns` makes it on the machine, is listed and cannot be unmounted.
    let of_memory = "/run/containers /run/crun /run/fairway /run/fairway.sock /run/libpod /run/netns";
    sh(&format!(
        "for directory in {of_memory} /var/lib/containers/; do
             for mount in $(cut -d ' ' -f 5 /proc/self/mountinfo | grep ^$directory | sort -r); do umount -l $mount || true; done
         done
         rm -rf {of_memory}
         mount -t tmpfs tmpfs /dev/shm && touch /dev/shm/boot && unshare --net=/dev/shm/boot ip link set lo up"
    ));
    let namespace = File::open("/dev/shm/boot").unwrap();
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    sh("umount -l /dev/shm/boot");
    assert_eq!(sh("ip -o link | grep -vc ': lo:' || true; nft list tables"), "0");
    connect_lan();
}

/// Containers of both kinds of units are what they were before the reboot.
fn assert_started(when: &str) {
    let address = |name: &str| {
        podman(&format!("inspect --format '{{{{.NetworkSettings.Networks.app.IPAddress}}}}' {name}"))
    };
    assert_eq!((address("kept"), address("anew")), ("10.60.0.50".into(), "10.60.0.60".into()), "{when}");
    for place in ["", "ip netns exec lan"] {
        assert_eq!(fetch_from(place, "10.10.50.1:8080").as_deref(), Some("kept"), "{when}: {place}");
    }
    assert_eq!(fetch_from("", "127.0.0.1:8081").as_deref(), Some("anew"), "{when}");
    assert_eq!(fetch_from("ip netns exec lan", "10.10.50.1:8081"), None, "{when}");
    assert_eq!(fetch("kept", "anew").as_deref(), Some("anew"), "{when}");
    assert_eq!(fetch("anew", "kept").as_deref(), Some("kept"), "{when}");
    assert_eq!(sh(&format!("{PROGRAM} ps --format '{{{{.Names}}}}' | sort")), "anew\nkept", "{when}");
}

/// Makes containers and their units, and starts the units after a reboot. `boot` is what the host starts before.
fn restart(before: impl FnOnce() -> Option<Running>, boot: impl FnOnce() -> Option<Running>) {
    set_up(PROGRAM);
    let system = before();
    podman("network create --subnet 10.60.0.0/24 app");
    serve("kept", "--network app --ip 10.60.0.50 -p 8080:80");
    serve("anew", "--network app --ip 10.60.0.60 -p 127.0.0.1:8081:80");
    assert_started("before the reboot");
    let units = [Unit::generate("kept", ""), Unit::generate("anew", "--new")];
    let process = system.as_ref().map(|daemon| daemon.0.id().to_string());
    reboot(&process.or_else(daemon).unwrap());
    drop(system);
    let _system = boot();
    for unit in &units {
        unit.run("ExecStartPre");
        unit.run("ExecStart");
    }
    assert_started("after the reboot");
    for unit in &units {
        unit.run("ExecStop");
        unit.run("ExecStopPost");
    }
    podman("rm kept");
    assert_eq!(podman("ps --all --quiet"), "");
    assert_eq!(sh(&format!("{PROGRAM} ps --all --quiet")), "");
}

#[test]
fn units_start_their_containers_after_a_reboot() {
    stage::run(&PROGRAMS, |_| {
        restart(|| None, || None);
        assert_nothing_is_left();
    });
}

/// What the daemon of the system keeps on disk names namespaces of before the reboot.
#[test]
fn units_start_their_containers_after_a_reboot_with_the_daemon_of_the_system() {
    fn start() -> Option<Running> {
        let mut daemon = Command::new(PROGRAM);
        let daemon = Running::start(daemon.args(["daemon", "--bridge", "none"]), "/run/daemon.log");
        wait_for("the daemon", || succeeds(&format!("{PROGRAM} ps")));
        Some(daemon)
    }
    stage::run(&PROGRAMS, |_| {
        restart(start, start);
        assert_eq!(sh("ip -br link | grep -v -E '^(lo|lan0)' || true"), "");
    });
}
