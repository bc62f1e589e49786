//! Engines that run containers need the machine's root: tests with them run in network, mount and process namespaces of
//! their own, but not in a lab, where cgroups cannot be set up.

use std::path::Path;
use std::process::Command;

/// The address of the host on its LAN.
pub const HOST: &str = "10.10.50.99";
/// The neighbour's.
pub const LAN: &str = "10.10.50.1";
/// The mark of a test that runs in namespaces of its own.
const MARK: &str = "FAIRWAY_TEST_IN_NAMESPACES";
/// The exit status by which it says that the body ran to its end.
const BODY_RAN: i32 = 86;

/// Runs the body of the test with this name in namespaces of its own, as root, if all programs are there; else says why
/// not. `group` is the cgroup that it may leave behind, which is removed.
pub fn run(test: &str, programs: &[&str], group: &str, body: impl FnOnce()) {
    if std::env::var_os(MARK).is_some() {
        assert_eq!(std::process::id(), 1, "this is for a namespace of its own");
        body();
        std::process::exit(BODY_RAN);
    }
    let missing: Vec<_> = programs.iter().filter(|it| !Path::new(it).exists()).collect();
    // In a user namespace root has no right to the machine's cgroups.
    let whole = std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|it| it.contains("4294967295"));
    if !rustix::process::geteuid().is_root() || !whole || !missing.is_empty() {
        println!("skipped: it takes root of the machine, and {programs:?}, of which {missing:?} is missing");
        return;
    }
    let status = Command::new("unshare")
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(MARK, "1")
        .status()
        .unwrap();
    // Cgroups are the machine's, not the namespace's.
    let pattern = format!("/sys/fs/cgroup/*{group}*");
    let tidied = Command::new("find")
        .args(["/sys/fs/cgroup", "-depth", "-type", "d", "-path", &pattern, "-exec", "rmdir", "{}", ";"])
        .output();
    drop(tidied.unwrap());
    assert_eq!(status.code(), Some(BODY_RAN), "the test failed in its namespaces: see its output above");
}

/// Runs a program to its end and returns what it printed.
pub fn printed(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// Runs lines of words, one program each.
pub fn lines(text: &str) {
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split(' ').collect();
        printed(words[0], &words[1..]);
    }
}

/// Directories in memory, and a neighbour on the LAN of the host.
pub fn prepare(directories: &[&str]) {
    for directory in directories.iter().filter(|it| Path::new(it).exists()) {
        printed("mount", &["-t", "tmpfs", "tmpfs", directory]);
    }
    // What engines write below /etc, such as Docker's key, stays in memory too.
    lines(
        "mkdir -p /run/etc/above /run/etc/work
        mount -t overlay -o lowerdir=/etc,upperdir=/run/etc/above,workdir=/run/etc/work overlay /etc",
    );
    lines(&format!(
        "ip link set lo up
        ip netns add neighbour
        ip link add eth0 type veth peer name eth0 netns neighbour
        ip address add {HOST}/24 dev eth0
        ip link set eth0 up
        ip -n neighbour link set lo up
        ip -n neighbour address add {LAN}/24 dev eth0
        ip -n neighbour link set eth0 up
        ip -n neighbour route add default via {HOST}
        ip route add default via {LAN}"
    ));
}
