//! What a lab and its hosts are made of.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]
#![allow(clippy::disallowed_methods, reason = "tests run programs and read the environment")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use fairway_lab::{Host, SCRATCH};
use rustix::process::Signal;

/// The program of these tests, to do one thing.
fn program(subcommand: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lab-program"));
    command.arg(subcommand);
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a program started on a host prints.
fn printed(host: &Host, program: &[&str]) -> String {
    text(&host.run(Command::new(program[0]).args(&program[1..])).unwrap())
}

#[test]
fn a_lab_begins_as_root_with_nothing_but_loopback() {
    fairway_lab::run(|_| {
        assert!(rustix::process::geteuid().is_root());
        assert_eq!(std::process::id(), 2);
        let devices = fs::read_to_string("/proc/net/dev").unwrap();
        assert_eq!(devices.lines().filter(|line| line.contains(':')).count(), 1, "{devices}");
    });
}

#[test]
fn what_a_host_writes_is_its_own() {
    fairway_lab::run(|lab| {
        let (one, other) = (lab.host("one").unwrap(), lab.host("other").unwrap());
        for path in ["/run/fairway.sock", "/var/lib/fairway/world", "/etc/netns/web/resolv.conf"] {
            let path = Path::new(path);
            one.run_in(|| {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "mine").unwrap();
            })
            .unwrap();
            assert_eq!(printed(&one, &["cat", path.to_str().unwrap()]), "mine");
            assert!(!other.run_in(|| path.exists()).unwrap());
            assert!(!path.exists());
        }
        assert_eq!(printed(&one, &["uname", "-n"]), "one\n");
        assert_eq!(printed(&one, &["cat", "/etc/hostname", "/etc/resolv.conf"]), "one\n");
        assert!(one.run_in(|| fs::read_to_string("/etc/hosts").unwrap()).unwrap().contains("\tone\n"));
        one.run_in(|| fs::write("/etc/resolv.conf", "nameserver 10.0.0.53\n").unwrap()).unwrap();
        assert_eq!(other.run_in(|| fs::read_to_string("/etc/resolv.conf").unwrap()).unwrap(), "");
        // The machine's own files are still to be read.
        let users = one.run_in(|| fs::read_to_string("/etc/passwd").unwrap()).unwrap();
        assert!(users.contains("root"), "{users}");
    });
}

#[test]
fn the_scratch_directory_is_shared() {
    fairway_lab::run(|lab| {
        let host = lab.host("host").unwrap();
        assert_eq!(std::env::temp_dir(), Path::new(SCRATCH));
        fs::write(lab.scratch().join("note"), "hello").unwrap();
        let path = lab.scratch().join("note");
        assert_eq!(host.run_in(|| fs::read_to_string(&path).unwrap()).unwrap(), "hello");
    });
}

#[test]
fn a_host_has_the_sysctls_and_links_of_its_own_network() {
    fairway_lab::run(|lab| {
        let (host, other) = (lab.host("host").unwrap(), lab.host("other").unwrap());
        let path = "/proc/sys/net/ipv4/ip_forward";
        host.run_in(|| fs::write(path, "1").unwrap()).unwrap();
        assert_eq!(printed(&host, &["cat", path]), "1\n");
        assert_eq!(host.sysctl("net.ipv4.ip_forward").unwrap(), "1");
        assert_eq!(other.sysctl("net.ipv4.ip_forward").unwrap(), "0");
        let links = host.run_in(|| fs::read_dir("/sys/class/net").unwrap().count()).unwrap();
        assert_eq!(links, 1);
        host.set_bridge_netfilter(false).unwrap();
        if host.has_bridge_netfilter().unwrap() {
            host.set_bridge_netfilter(true).unwrap();
            assert_eq!(host.sysctl("net.bridge.bridge-nf-call-iptables").unwrap(), "1");
        } else {
            assert!(host.set_bridge_netfilter(true).is_err());
        }
    });
}

#[test]
fn a_program_ends_with_its_handle() {
    fairway_lab::run(|lab| {
        let host = lab.host("host").unwrap();
        let mut sleeper = host.spawn(Command::new("sleep").arg("1000")).unwrap();
        let path = format!("/proc/{}", sleeper.id());
        assert!(Path::new(&path).exists());
        assert_eq!(sleeper.wait_within(Duration::from_millis(10)).unwrap(), None);
        sleeper.signal(Signal::TERM).unwrap();
        let status = sleeper.wait_within(Duration::from_secs(20)).unwrap().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(Signal::TERM.as_raw()));

        let sleeper = host.spawn(Command::new("sleep").arg("1000")).unwrap();
        let path = format!("/proc/{}", sleeper.id());
        drop(sleeper);
        assert!(!Path::new(&path).exists());
        assert!(host.spawn(&mut Command::new("/nonexistent/program")).is_err());
    });
}

#[test]
fn an_orphan_that_ends_does_not_stay_as_a_zombie() {
    fairway_lab::run(|lab| {
        let host = lab.host("host").unwrap();
        let orphan = printed(&host, &["sh", "-c", "sleep 0.05 >/dev/null & echo $!"]);
        let path = format!("/proc/{}", orphan.trim_end());
        let gone = (0..1000).any(|_| {
            std::thread::sleep(Duration::from_millis(5));
            !Path::new(&path).exists()
        });
        assert!(gone, "{path} is still there");
    });
}

#[test]
fn labs_stand_side_by_side() {
    // The tests of this file do so anyway; here, one lab stands within another as well.
    fairway_lab::run(|lab| {
        let host = lab.host("host").unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        let output = host.run(command.args(["the_scratch_directory_is_shared", "--exact"])).unwrap();
        assert!(output.status.success() && text(&output).contains("1 passed"), "{}", text(&output));
    });
}

#[test]
fn where_user_namespaces_are_forbidden_a_test_fails_and_names_the_way_out() {
    fairway_lab::run(|lab| {
        let host = lab.host("host").unwrap();
        // The limit of the lab's own user namespace, not of the machine.
        fs::write("/proc/sys/user/max_user_namespaces", "0").unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["the_scratch_directory_is_shared", "--exact", "--nocapture"]);
        let output = host.run(&mut command).unwrap();
        assert_eq!(output.status.code(), Some(101));
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains("set `sysctl user.max_user_namespaces=10000`"), "{error}");
    });
}

#[test]
fn a_lab_has_the_users_that_it_may_have() {
    let single = text(&program("users").env("FAIRWAY_LAB_SINGLE_USER", "1").output().unwrap());
    assert!(single.contains("other users: false\n"), "{single}");
    if std::env::var_os("FAIRWAY_LAB_SINGLE_USER").is_none() {
        let all = text(&program("users").output().unwrap());
        let expected = rustix::process::geteuid().is_root();
        assert!(all.contains(&format!("other users: {expected}\n")), "{all}");
    }
}

#[test]
#[should_panic(expected = "the test failed inside its lab")]
fn a_body_that_panics_fails_its_test() {
    fairway_lab::run(|lab| {
        lab.host("host").unwrap();
        panic!("as it should");
    });
}

#[test]
#[should_panic(expected = "ran no test by the name of elsewhere")]
fn a_body_that_is_not_run_fails_its_test() {
    elsewhere();
}

/// Not a test itself: the harness knows nothing of that name.
fn elsewhere() {
    fairway_lab::run(|_| ());
}

#[test]
fn a_program_executes_itself_inside_and_returns_its_status() {
    assert_eq!(program("status").status().unwrap().code(), Some(7));
}
