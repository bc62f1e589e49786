//! What a lab and its hosts are made of.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use fairway_lab::SCRATCH;
use rustix::process::Signal;

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
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
            let seen = one.run(&mut shell(&format!("cat {}", path.display()))).unwrap();
            assert_eq!(seen.stdout, b"mine");
            assert!(!other.run_in(|| path.exists()).unwrap());
            assert!(!path.exists());
        }
        let script = "uname -n; cat /etc/hostname /etc/resolv.conf; grep one /etc/hosts";
        let told = one.run(&mut shell(script)).unwrap();
        assert_eq!(String::from_utf8_lossy(&told.stdout), "one\none\n127.0.1.1\tone\n");
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
fn sysctls_of_the_network_can_be_written_by_programs_too() {
    fairway_lab::run(|lab| {
        let host = lab.host("host").unwrap();
        let script = "echo 1 > /proc/sys/net/ipv4/ip_forward; cat /proc/sys/net/ipv4/ip_forward";
        assert_eq!(host.run(&mut shell(script)).unwrap().stdout, b"1\n");
        assert_eq!(host.sysctl("net.ipv4.ip_forward").unwrap(), "1");
        let links = host.run(&mut shell("ls /sys/class/net")).unwrap().stdout;
        assert_eq!(String::from_utf8_lossy(&links).trim(), "lo");
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
        let status = sleeper.wait_within(Duration::from_secs(5)).unwrap().unwrap();
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
        let mut command = shell("sleep 0.05 & echo $!");
        let orphan = host.run(command.stdout(Stdio::piped()).stderr(Stdio::null())).unwrap().stdout;
        let path = format!("/proc/{}", String::from_utf8_lossy(&orphan).trim());
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
        let own = std::env::current_exe().unwrap();
        let mut command = Command::new(own);
        command.args(["the_scratch_directory_is_shared", "--exact"]);
        let output = host.run(&mut command).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
    });
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
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(["program", "--exact", "--ignored"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}
