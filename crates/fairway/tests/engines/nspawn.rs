//! systemd-nspawn, without systemd-machined.

use std::process::Command;

use crate::stage::{self, Running, Stage, assert_listed, sh, wait_for};

/// Starts a machine in a control group of the test: systemd-nspawn makes others below that of its caller.
fn start(stage: &Stage, name: &str, options: &[&str]) -> Running {
    let script = format!(
        "for file in $(find /sys/fs/cgroup -name cgroup.procs -path '*/{}/*'); do echo $$ > $file; done
         exec systemd-nspawn --register=no --keep-unit \"$@\" /bin/sleep 1000",
        stage.cgroup
    );
    let mut command = Command::new("sh");
    Running::start(command.args(["-c", &script, "sh"]).args(options), &format!("/run/{name}.log"))
}

#[test]
fn its_machines_are_listed() {
    stage::run(&["systemd-nspawn"], |stage| {
        sh(&format!(
            "for root in $(findmnt -R -l -n -o TARGET /sys/fs/cgroup); do mkdir -p $root/{} 2>/dev/null || true; done
             cp -a /run/image /run/deb",
            stage.cgroup
        ));
        let _deb = start(stage, "deb", &["-D", "/run/deb"]);
        let _private = start(stage, "private", &["-D", "/run/image", "--private-network", "-M", "private"]);
        let pid = |name: &str| fairway_containers::read("/".as_ref()).resolve(name).unwrap()?.pid;
        let sleeps =
            |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|it| it == "sleep\n");
        wait_for("systemd-nspawn", || {
            ["machine:deb", "machine:private"].iter().all(|name| pid(name).is_some_and(sleeps))
        });
        let pid = pid("machine:private").unwrap();
        sh(&format!(
            "ip link add v0 type veth peer name v1 && ip link set v1 netns {pid}
             nsenter --net=/proc/{pid}/ns/net ip address add 10.9.0.2/24 dev v1"
        ));
        assert_listed(&["machine:deb running [host] []", "machine:private running [v0] [10.9.0.2]"]);
    });
}
