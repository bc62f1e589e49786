//! containerd, by `ctr`.

use std::process::Command;

use crate::stage::{self, Running, Stage, assert_listed, sh, succeeds, wait_for};

const CONFIG: &str = r#"
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
    "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
address = "/run/containerd/containerd.sock"
"#;

const NETWORK: &str = r#"{"cniVersion": "0.4.0", "name": "bb", "plugins": [{"type": "bridge", "bridge": "cni0",
    "isGateway": true, "ipam": {"type": "host-local", "subnet": "10.99.0.0/24"}}]}"#;

/// Runs a command of ctr in the namespace of containerd that is named as the test's control groups, for containerd
/// names these so.
pub fn ctr(stage: &Stage, arguments: &str) -> String {
    sh(&format!("ctr -n {} {arguments}", stage.cgroup))
}

/// Starts containerd, and waits until it answers.
pub fn start() -> Running {
    std::fs::create_dir_all("/run/containerd").unwrap();
    std::fs::write("/run/containerd/config.toml", CONFIG).unwrap();
    let mut command = Command::new("containerd");
    let running = Running::start(command.args(["-c", "/run/containerd/config.toml"]), "/run/containerd.log");
    wait_for("containerd", || succeeds("ctr version"));
    running
}

#[test]
fn its_containers_are_listed() {
    stage::run(&["containerd", "ctr", "runc"], |stage| {
        std::fs::write("/etc/cni/net.d/10-bb.conflist", NETWORK).unwrap();
        sh("mount -t tmpfs tmpfs /opt && mkdir /opt/cni && ln -s /usr/lib/cni /opt/cni/bin");
        let _daemon = start();
        // A root file system needs no image.
        let run = |options: &str| ctr(stage, &format!("run -d {options}"));
        run("--rootfs /run/image plain /bin/sleep 1000");
        run("--net-host --rootfs /run/image hosted /bin/sleep 1000");
        let scope = format!("ctr:{}", stage.cgroup);
        let mut expected =
            vec![format!("{scope}/hosted running [host] []"), format!("{scope}/plain running [] []")];
        if succeeds("test -x /usr/lib/cni/bridge") {
            run("--cni --rootfs /run/image attached /bin/sleep 1000");
            expected.insert(0, format!("{scope}/attached running [bb] [10.99.0.2]"));
        }
        assert_listed(&expected.iter().map(String::as_str).collect::<Vec<_>>());
        ctr(stage, "task kill -s 9 plain");
        wait_for("the end of a container", || stage::listed("").0.len() == expected.len() - 1);
    });
}
