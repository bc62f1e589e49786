//! A Debian machine under systemd: a container of systemd-nspawn whose root is this machine's, with all changes in
//! memory, and whose network is a link to the stage.

use std::process::Command;

use crate::stage::{Running, Stage, printed, sh, succeeds, wait_for};

/// The machine's address on its link to the stage.
pub const ADDRESS: &str = "10.50.0.2";
/// Its root, as the stage sees it.
pub const ROOT: &str = "/run/machine";

/// A machine that has booted. It ends when this is dropped.
pub struct Machine {
    _nspawn: Running,
    /// The process id of its systemd.
    init: String,
}

impl Machine {
    /// Boots a machine that starts nothing by itself but systemd's own services, and that knows its neighbor 10.50.0.1.
    pub fn boot(stage: &Stage) -> Self {
        sh(&format!(
            "for root in $(findmnt -R -l -n -o TARGET /sys/fs/cgroup); do mkdir -p $root/{} 2>/dev/null || true; done
             mkdir -p /run/machine-upper /run/machine-work {ROOT}
             mount -t overlay -o lowerdir=/,upperdir=/run/machine-upper,workdir=/run/machine-work overlay {ROOT}
             rm -rf {ROOT}/etc/systemd/system/* {ROOT}/usr/sbin/policy-rc.d {ROOT}/var/lib/systemd/deb-systemd-helper-*
             rm -f {ROOT}/var/lib/man-db/auto-update
             echo 0123456789abcdef0123456789abcdef > {ROOT}/etc/machine-id",
            stage.cgroup
        ));
        // A group without processors takes no process; that of systemd is another one.
        let script = format!(
            "for file in $(find /sys/fs/cgroup -name cgroup.procs -path '*/{}/*'); do echo $$ > $file || true; done
             exec systemd-nspawn --register=no --keep-unit --private-network -D {ROOT} --boot",
            stage.cgroup
        );
        let nspawn = Running::start(Command::new("sh").args(["-c", &script]), "/run/boot.log");
        let children = format!("pgrep -P {}", nspawn.0.id());
        let started =
            |init: &str| succeeds(&format!("nsenter -t {init} -a systemctl is-active multi-user.target"));
        wait_for("systemd", || printed(&children).is_some_and(|init| started(&init)));
        let init = printed(&children).unwrap();
        sh(&format!(
            "ip link add lan0 type veth peer name eth0 netns {init}
             ip address add 10.50.0.1/24 dev lan0 && ip link set lan0 up
             nsenter -t {init} -n sh -ec '
                 ip link set lo up && ip address add {ADDRESS}/24 dev eth0 && ip link set eth0 up
                 ip route add default via 10.50.0.1'"
        ));
        Self { _nspawn: nspawn, init }
    }

    /// Runs lines of a shell in the machine, which have to succeed, and returns what they print, without the last line
    /// end.
    pub fn sh(&self, script: &str) -> String {
        sh(&self.line(script))
    }

    /// Whether lines of a shell succeed in the machine.
    pub fn succeeds(&self, script: &str) -> bool {
        succeeds(&self.line(script))
    }

    fn line(&self, script: &str) -> String {
        format!("exec nsenter -t {} -a sh -ec '{}'", self.init, script.replace('\'', r"'\''"))
    }
}
