//! The Debian package, from its installation to its purge, and the files of `fairway install`, in a Debian machine under
//! systemd.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::mpsc::{self, TryRecvError};

use crate::machine::{Machine, ROOT};
use crate::stage::{self, PROGRAM, succeeds, wait_for};

/// What the tests run.
const PROGRAMS: [&str; 7] =
    ["systemd-nspawn", "systemctl", "dpkg-deb", "deb-systemd-helper", "objcopy", "curl", "nft"];
/// Where the packages are, for the stage and for the machine.
const PACKAGES: &str = "/var/tmp/packages";
/// Asks the published port. It has to be answered within a second.
const ASK: &str = "curl -s -o /dev/null -m 1 http://10.50.0.2:8080/";

/// Lists what a daemon that was removed must not leave.
const LEFT: &str = "ip -o link | grep -e fairway0 -e br- || true; nft list ruleset | grep -i fairway || true
    iptables-legacy-save | grep -i fairway || true; pgrep -l fairway || true; find /run -xdev -path '*/fairway*'";

/// Builds the packages of a version with the program that is tested.
fn build(version: &str) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/build-deb");
    let mut command = Command::new(script);
    command.arg(format!("{ROOT}{PACKAGES}")).env("FAIRWAY_BINARY", PROGRAM).env("FAIRWAY_VERSION", version);
    command.env("DPKG_DEB_COMPRESSOR_TYPE", "none").env("TMPDIR", "/run");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What a machine has that a package may leave behind: files, tables, links, forwarding, groups, control groups.
fn inventory(machine: &Machine) -> BTreeSet<String> {
    let listed = machine.sh(
        "find /etc /opt /run /srv /usr /var -xdev -path /var/tmp -prune -o -path /var/log -prune -o -path /var/cache -prune \
             -o -path /var/lib/dpkg -prune -o -path /run/systemd -prune -o -path /run/log -prune -o -print
         nft list ruleset
         ip -o link | cut -d: -f2
         sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding
         getent group | sed 's/^/group /'
         for root in /sys/fs/cgroup /sys/fs/cgroup/unified; do
             test ! -e $root/cgroup.procs || find $root -name 'fairway*'
         done",
    );
    // A tool keeps what was there before next to a file.
    let kept = |line: &&str| !line.ends_with('-') && !line.ends_with(".lock");
    listed.lines().filter(kept).map(str::to_owned).collect()
}

/// The names of a machine's processes, among them the shell and `ps` that list them, and nothing else of this test.
fn processes(machine: &Machine) -> BTreeSet<String> {
    machine.sh("names=$(ps -e -o comm=); echo \"$names\"").lines().map(str::to_owned).collect()
}

fn assert_same(before: &BTreeSet<String>, after: &BTreeSet<String>) {
    let (new, gone): (Vec<_>, Vec<_>) =
        (after.difference(before).collect(), before.difference(after).collect());
    assert!(new.is_empty() && gone.is_empty(), "left behind: {new:#?}\ngone: {gone:#?}");
}

/// Asks the published port again and again while a closure runs; returns how often it was asked, and how often there was
/// no answer.
fn asked_during(act: impl FnOnce()) -> (u32, u32) {
    std::thread::scope(|scope| {
        // Also an `act` that panics drops its end.
        let (acting, ended) = mpsc::channel::<()>();
        let asking = scope.spawn(move || {
            let (mut asked, mut unanswered) = (0, 0);
            while ended.try_recv() == Err(TryRecvError::Empty) {
                asked += 1;
                unanswered += u32::from(!succeeds(ASK));
            }
            (asked, unanswered)
        });
        act();
        drop(acting);
        asking.join().unwrap()
    })
}

/// A property of the daemon's unit.
fn property(machine: &Machine, name: &str) -> String {
    machine.sh(&format!("systemctl show --value -p {name} fairway"))
}

#[test]
fn its_life_from_install_to_purge() {
    stage::run(&PROGRAMS, |stage| {
        let machine = Machine::boot(stage);
        build("1.0");
        build("1.1");
        let (before, processes_before) = (inventory(&machine), processes(&machine));
        machine.sh(&format!("dpkg -i {PACKAGES}/fairway_1.0_*.deb {PACKAGES}/fairway-dbgsym_1.0_*.deb"));
        assert_eq!(property(&machine, "ActiveState"), "active");
        assert_eq!(machine.sh("systemctl is-enabled fairway"), "enabled");
        assert!(!machine.succeeds("systemctl is-enabled fairway.socket"));
        machine.sh(
            "systemd-analyze verify /usr/lib/systemd/system/fairway.service /usr/lib/systemd/system/fairway.socket
             systemd-analyze security --offline=yes --threshold=70 /usr/lib/systemd/system/fairway.service
             zcat /usr/share/man/man1/fairway-network-create.1.gz | grep -q subnet
             bash -n /usr/share/bash-completion/completions/fairway
             id=$(readelf -n /usr/bin/fairway | sed -n 's/.*Build ID: //p')
             readelf -S /usr/lib/debug/.build-id/$(echo $id | cut -c1-2)/$(echo $id | cut -c3-).debug | grep -q debug_line",
        );
        // Members of the group use the daemon, others do not.
        let list =
            |groups: &str| machine.succeeds(&format!("setpriv --reuid 65534 {groups} fairway network ls"));
        assert!(list("--regid 65534 --groups fairway") && !list("--regid 65534 --clear-groups"));

        machine.sh("mkdir /run/www && fairway network create app
            fairway run -d --name web --network app -p 8080:80 -- busybox httpd -f -p 80 -h /run/www");
        wait_for("the published port", || succeeds(ASK));
        let (process, relay) = (property(&machine, "MainPID"), machine.sh("pgrep -x fairway-relay"));
        machine.sh("echo '{\"group\": \"daemon\"}' > /etc/fairway/daemon.json");
        let upgrade = || drop(machine.sh(&format!("dpkg -i {PACKAGES}/fairway*_1.1_*.deb")));
        let (asked, unanswered) = asked_during(upgrade);
        assert!(asked > 10 && unanswered == 0, "{unanswered} of {asked} requests");
        assert_ne!(property(&machine, "MainPID"), process);
        assert_eq!(machine.sh("pgrep -x fairway-relay"), relay, "the relay goes on");
        assert_eq!(machine.sh("stat -c %G /run/fairway/api.sock"), "daemon", "the file is the user's");
        let log = machine.sh("journalctl -b --no-pager");
        assert!(log.contains("ready") && !log.contains("left-over"), "{log}");

        machine.sh("dpkg -r fairway-dbgsym fairway");
        assert!(!succeeds(ASK));
        assert_eq!(machine.sh(LEFT), "");
        machine.sh("test -e /etc/fairway/daemon.json && test -d /var/lib/fairway");
        // What is durable comes back with the program.
        machine.sh(&format!("dpkg -i {PACKAGES}/fairway_1.1_*.deb"));
        assert_eq!(machine.sh("fairway network ls -q -f name=app | wc -l"), "1");
        machine.sh("dpkg -P fairway fairway-dbgsym; rm -r /run/www");
        assert_same(&before, &inventory(&machine));
        // Those of systemd come and go.
        wait_for("the end of all processes", || processes(&machine).is_subset(&processes_before));
    });
}

#[test]
fn its_units_serve_every_driver_and_firewall() {
    stage::run(&PROGRAMS, |stage| {
        let machine = Machine::boot(stage);
        machine.sh(&format!(
            "ln -s {PROGRAM} /usr/local/sbin/fairway
             fairway install --bin-path {PROGRAM}
             groupadd --system fairway && systemctl daemon-reload && systemctl start fairway.socket
             ip link add wire0 type veth peer name wire1 && ip link set wire1 up
             ip address add 10.60.0.2/24 dev wire0 && ip link set wire0 up"
        ));
        assert_eq!(property(&machine, "ActiveState"), "inactive");
        machine.sh("setpriv --reuid 65534 --regid 65534 --groups fairway fairway ps");
        wait_for("the daemon", || property(&machine, "ActiveState") == "active");
        machine.sh("mkdir -p /etc/fairway /run/www
            fairway network create app
            fairway network create -d ptp ptp
            fairway network create -d routed routed
            fairway network create -d lan -o parent=wire0 --subnet 10.60.0.0/24 --gateway 10.60.0.1 lan
            for network in bridge app ptp routed lan; do fairway run -d --network $network -- sleep 1000; done
            fairway run -d --name web --network app -p 8080:80 -- busybox httpd -f -p 80 -h /run/www
            fairway sandbox create named && ip netns exec named ip link && fairway sandbox rm named");
        wait_for("the published port", || succeeds(ASK));
        for (settings, rules) in [
            (r#"{"firewall-backend": "iptables", "iptables-flavour": "nft"}"#, "iptables-nft-save"),
            (r#"{"firewall-backend": "iptables", "iptables-flavour": "legacy"}"#, "iptables-legacy-save"),
            ("{}", "nft list ruleset"),
        ] {
            machine.sh(&format!(
                "echo '{settings}' > /etc/fairway/daemon.json
                 systemctl restart fairway
                 {rules} | grep -qi fairway
                 fairway run --rm --network app -- getent hosts web"
            ));
            assert!(succeeds(ASK), "{settings}");
        }
        machine.sh("fairway ps -q | xargs fairway rm -f
            fairway network rm lan && fairway network create -d macvlan -o parent=wire0 --subnet 10.61.0.0/24 macvlan
            fairway run --rm --network macvlan -- ip address show eth0");

        // A daemon that answers no more is started again.
        machine.sh("mkdir -p /run/systemd/system/fairway.service.d
            printf '[Service]\nWatchdogSec=6\nTimeoutAbortSec=1\n' > /run/systemd/system/fairway.service.d/test.conf
            systemctl daemon-reload && systemctl restart fairway && sleep 8");
        assert_eq!(property(&machine, "NRestarts"), "0");
        machine.sh("kill -STOP $(systemctl show --value -p MainPID fairway)");
        wait_for("another daemon", || property(&machine, "NRestarts") == "1");
        wait_for("the daemon", || property(&machine, "ActiveState") == "active");

        machine.sh("systemctl stop fairway.socket fairway && fairway uninstall --purge
             rm -r /run/systemd/system/fairway.service.d && systemctl daemon-reload");
        assert_eq!(machine.sh(LEFT), "");
        assert_eq!(machine.sh("find /etc/systemd /etc/NetworkManager /var/lib -name '*fairway*'"), "");
    });
}
