//! What a lab and its hosts are made of.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Output, Stdio};
use std::time::Duration;

use fairway_lab::SCRATCH;
use rustix::process::Signal;

/// This program, to run but one of the ignored tests, which are programs for the others.
fn again(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--ignored", "--nocapture"]);
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
#[ignore = "a program"]
fn sleeper() {
    std::thread::sleep(Duration::from_secs(1000));
}

#[test]
#[ignore = "a program"]
fn short_sleeper() {
    std::thread::sleep(Duration::from_millis(50));
}

/// Leaves a process behind and tells its pid.
#[test]
#[ignore = "a program"]
#[expect(clippy::zombie_processes, reason = "it is to be orphaned")]
fn leaver() {
    let orphan = again("short_sleeper").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    println!("left {}.", orphan.id());
}

/// Tells who the host is and what it holds.
#[test]
#[ignore = "a program"]
fn teller() {
    println!("named {}.", rustix::system::uname().nodename().to_string_lossy());
    for path in std::env::var("TELL").unwrap().split(':') {
        println!("{path} holds {:?}.", fs::read_to_string(path).unwrap());
    }
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
            let seen = text(&one.run(again("teller").env("TELL", path)).unwrap());
            assert!(seen.contains(&format!("{} holds \"mine\".", path.display())), "{seen}");
            assert!(!other.run_in(|| path.exists()).unwrap());
            assert!(!path.exists());
        }
        let told = text(&one.run(again("teller").env("TELL", "/etc/hostname:/etc/resolv.conf")).unwrap());
        for line in ["named one.", "/etc/hostname holds \"one\\n\".", "/etc/resolv.conf holds \"\"."] {
            assert!(told.contains(line), "{told}");
        }
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
        let told = text(&host.run(again("teller").env("TELL", path)).unwrap());
        assert!(told.contains("holds \"1\\n\"."), "{told}");
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
        let mut sleeper = host.spawn(&mut again("sleeper")).unwrap();
        let path = format!("/proc/{}", sleeper.id());
        assert!(Path::new(&path).exists());
        assert_eq!(sleeper.wait_within(Duration::from_millis(10)).unwrap(), None);
        sleeper.signal(Signal::TERM).unwrap();
        let status = sleeper.wait_within(Duration::from_secs(5)).unwrap().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(Signal::TERM.as_raw()));

        let sleeper = host.spawn(&mut again("sleeper")).unwrap();
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
        let told = text(&host.run(&mut again("leaver")).unwrap());
        let orphan = told.split_once("left ").unwrap().1.split_once('.').unwrap().0;
        let path = format!("/proc/{orphan}");
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
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains("set `sysctl user.max_user_namespaces=10000`"), "{told}");
    });
}

#[test]
#[ignore = "a program"]
fn counter_of_users() {
    fairway_lab::run(|lab| println!("other users: {}.", lab.has_other_users().unwrap()));
}

#[test]
fn a_lab_has_the_users_that_it_may_have() {
    let single = text(&again("counter_of_users").env("FAIRWAY_LAB_SINGLE_USER", "1").output().unwrap());
    assert!(single.contains("other users: false."), "{single}");
    if std::env::var_os("FAIRWAY_LAB_SINGLE_USER").is_none() {
        let all = text(&again("counter_of_users").output().unwrap());
        let expected = rustix::process::geteuid().is_root();
        assert!(all.contains(&format!("other users: {expected}.")), "{all}");
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
#[ignore = "it executes itself with the same arguments: the next test runs it alone"]
fn program() {
    let status = fairway_lab::main(|lab| {
        lab.host("host").unwrap();
        std::process::exit(7);
    });
    assert_eq!(status.unwrap(), ExitCode::from(7));
}

#[test]
fn a_program_executes_itself_inside_and_returns_its_status() {
    let output = again("program").output().unwrap();
    assert!(output.status.success() && text(&output).contains("1 passed"), "{}", text(&output));
}
