//! What a command sees: names, environment, capabilities, files, and what is out of its sight.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};

use fairway::process::{CapabilitySet, Files, Launch, NetworkNamespace, environment, launch};
use rustix::mount::{MountFlags, mount};

use super::room::{WORK, code_with, file, place, printed, printed_with, shell};
use super::{Case, MARK};

pub const CASES: &[Case] = &[
    ("it_is_process_1_of_its_own_host", it_is_process_1_of_its_own_host),
    ("the_environment_is_its_own", the_environment_is_its_own),
    ("capabilities_are_dockers", capabilities_are_dockers),
    ("capabilities_are_as_chosen", capabilities_are_as_chosen),
    ("files_of_its_own_are_in_etc", files_of_its_own_are_in_etc),
    ("a_link_in_etc_is_followed", a_link_in_etc_is_followed),
    ("files_that_the_host_lacks_are_there", files_that_the_host_lacks_are_there),
    ("the_control_socket_is_out_of_sight", the_control_socket_is_out_of_sight),
    ("kernel_switches_cannot_be_turned", kernel_switches_cannot_be_turned),
    ("shared_memory_is_its_own", shared_memory_is_its_own),
    ("nothing_is_refused_by_the_kernel", nothing_is_refused_by_the_kernel),
];

fn it_is_process_1_of_its_own_host() {
    let before = super::text("/proc/sys/kernel/hostname");
    let facts = printed(&shell("echo $$; show /proc/sys/kernel/hostname; echo /proc/[0-9]*"));
    assert_eq!(facts, "1\nweb\n/proc/1");
    assert_eq!(super::text("/proc/sys/kernel/hostname"), before);
}

fn the_environment_is_its_own() {
    let mut launched = shell("export -p; echo $(pwd)");
    launched.environment = environment("web", "/root", Some("dumb"), &["MODE=a b".to_owned()]);
    launched.directory = "/etc".into();
    let found = printed(&launched);
    for line in ["HOSTNAME='web'", "HOME='/root'", "TERM='dumb'", "MODE='a b'"] {
        let plain = line.replace('\'', "\"");
        assert!(found.contains(line) || found.contains(&plain), "{line} is not in {found}");
    }
    assert!(std::env::var(MARK).is_ok());
    assert!(!found.contains(MARK), "the caller's environment came along: {found}");
    assert!(found.ends_with("\n/etc"), "{found}");
}

/// The capability sets of a command, as `/proc/PID/status` names them, and its no_new_privs flag.
fn rights(launched: &Launch) -> Vec<(String, u64)> {
    let mut launched = launched.clone();
    *launched.command.last_mut().unwrap() = "show /proc/self/status; show /proc/1/status".to_owned();
    sets(&printed(&launched))
}

fn sets(status: &str) -> Vec<(String, u64)> {
    let line = |line: &str| {
        let (name, value) = line.split_once(':')?;
        let radix = if name.starts_with("Cap") { 16 } else { 10 };
        (name.starts_with("Cap") || name == "NoNewPrivs")
            .then(|| (name.to_owned(), u64::from_str_radix(value.trim(), radix).unwrap()))
    };
    let mut found: Vec<_> = status.lines().filter_map(line).collect();
    found.sort();
    found.dedup();
    found
}

fn expected(set: u64) -> Vec<(String, u64)> {
    [("CapAmb", 0), ("CapBnd", set), ("CapEff", set), ("CapInh", 0), ("CapPrm", set), ("NoNewPrivs", 0)]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
}

fn capabilities_are_dockers() {
    assert_eq!(rights(&shell("")), expected(0xa804_25fb));
}

fn capabilities_are_as_chosen() {
    let own =
        sets(&super::text("/proc/self/status")).into_iter().find(|(name, _)| name == "CapBnd").unwrap().1;
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    for (privileged, added, dropped, set) in [
        (false, names(&[]), names(&["ALL"]), 0),
        (false, names(&["net_admin"]), names(&["CAP_CHOWN"]), 0xa804_25fa | 1 << 12),
        (false, names(&["ALL"]), names(&["SYS_ADMIN"]), own & !(1 << 21)),
        (true, names(&[]), names(&[]), own),
    ] {
        let mut launched = shell("");
        launched.capabilities = CapabilitySet::choose(privileged, &added, &dropped).unwrap();
        launched.privileged = privileged;
        assert_eq!(rights(&launched), expected(set), "{added:?} {dropped:?}");
    }
}

fn own_files() -> Files {
    Files {
        resolv_conf: Some(file("state/resolv.conf", "nameserver 127.0.0.11\n")),
        hosts: Some(file("state/hosts", "127.0.0.1 localhost\n")),
        hostname: Some(file("state/hostname", "web\n")),
    }
}

const SHOW_FILES: &str = "show /etc/resolv.conf; show /etc/hosts; show /etc/hostname";
const SHOWN_FILES: &str = "nameserver 127.0.0.11\n127.0.0.1 localhost\nweb";

/// Puts an `/etc` of these files where this case alone sees it.
fn etc(names: &[&str]) {
    mount("tmpfs", "/etc", "tmpfs", MountFlags::empty(), c"").unwrap();
    names.iter().for_each(|name| fs::write(format!("/etc/{name}"), "the host's\n").unwrap());
}

fn files_of_its_own_are_in_etc() {
    etc(&["resolv.conf", "hosts", "hostname", "other"]);
    let mut launched = shell(&format!("{SHOW_FILES}; show /etc/other; echo written > /etc/other"));
    // Where they come from is hidden, and they are seen all the same.
    launched.hidden = vec![place("state")];
    assert_eq!(printed_with(&launched, &own_files()), format!("{SHOWN_FILES}\nthe host's"));
    assert_eq!(super::text("/etc/resolv.conf"), "the host's");
    assert_eq!(super::text("/etc/other"), "written", "all else is the host's own");
    let some = Files { hosts: None, ..own_files() };
    assert_eq!(printed_with(&shell("show /etc/hosts"), &some), "the host's");
}

fn a_link_in_etc_is_followed() {
    etc(&["hosts", "hostname"]);
    let stub = file("stub/stub-resolv.conf", "nameserver 127.0.0.53\n");
    symlink(&stub, "/etc/resolv.conf").unwrap();
    assert_eq!(printed_with(&shell(SHOW_FILES), &own_files()), SHOWN_FILES);
    assert_eq!(super::text(&stub), "nameserver 127.0.0.53");
}

fn files_that_the_host_lacks_are_there() {
    etc(&["other"]);
    symlink("/nowhere/resolv.conf", "/etc/resolv.conf").unwrap();
    assert_eq!(
        printed_with(&shell(&format!("{SHOW_FILES}; show /etc/other")), &own_files()),
        format!("{SHOWN_FILES}\nthe host's")
    );
    // The host lacks them still.
    assert!(!fs::exists("/etc/hosts").unwrap() && !fs::exists("/etc/hostname").unwrap());
    assert_eq!(fs::read_link("/etc/resolv.conf").unwrap().to_str(), Some("/nowhere/resolv.conf"));
}

fn the_control_socket_is_out_of_sight() {
    let socket = place("run/api.sock");
    fs::create_dir(place("run")).unwrap();
    let listener = UnixListener::bind(&socket).unwrap();
    let alone = place("alone.sock");
    let _other = UnixListener::bind(&alone).unwrap();
    let script = format!(
        "[ -S {WORK}/run/api.sock ] && exit 1; [ -S {WORK}/alone.sock ] && exit 2; [ -d {WORK}/run ] || exit 3; (: > {WORK}/run/new) 2> /dev/null && exit 4; exit 0"
    );
    assert_eq!(code_with(&shell(&script), &Files::default()), 1, "without hiding, it is in sight");
    let mut launched = shell(&script);
    launched.hidden = vec![place("run"), alone, place("absent")];
    assert_eq!(code_with(&launched, &Files::default()), 0);
    UnixStream::connect(&socket).unwrap();

    // A daemon that starts again makes its socket anew; in a hidden directory that is not seen.
    launched.command = shell(&format!(
        "until [ -e {WORK}/again ]; do :; done; [ -S {WORK}/run/api.sock ] && exit 1; exit 0"
    ))
    .command;
    let running = launch(&launched).unwrap().release(&Files::default()).unwrap();
    drop(listener);
    fs::remove_file(&socket).unwrap();
    let _listener = UnixListener::bind(&socket).unwrap();
    fs::write(place("again"), "").unwrap();
    assert_eq!(running.wait_forwarding_signals().unwrap(), 0);
}

fn kernel_switches_cannot_be_turned() {
    let script = "try() { if (echo \"$2\" > $1) 2> /dev/null; then echo yes; else echo no; fi; }; \
                  try /proc/sys/net/ipv4/ip_forward 1; try /proc/sys/kernel/hostname other; \
                  [ -f /proc/interrupts ] && echo yes; \
                  while read id parent device root target options rest; do \
                  [ $target = /sys ] && how=${options%%,*}; done < /proc/self/mountinfo; echo $how";
    let mut launched = shell(script);
    assert_eq!(printed(&launched), "no\nno\nro");
    launched.privileged = true;
    launched.capabilities = CapabilitySet::all();
    let free = printed(&launched);
    // The host name has a second guard: only the machine's root may write this one.
    let lines: Vec<&str> = free.lines().collect();
    assert_eq!([lines[0], lines[2], lines[3]], ["yes", "yes", "rw"]);
    assert_eq!(
        printed(&shell("read start < /proc/sys/net/ipv4/ip_unprivileged_port_start; echo $start")),
        "0",
        "low ports need no capability, as in Docker"
    );
}

fn shared_memory_is_its_own() {
    let mark = format!("/dev/shm/fairway-test-{}", std::process::id());
    let script =
        format!("[ -e {mark} ] && echo seen; : > {mark}-inner; [ -e {mark}-inner ] && echo made; exit 0");
    fs::write(&mark, "").unwrap();
    let seen = printed(&shell(&script));
    fs::remove_file(&mark).unwrap();
    assert_eq!(seen, "made");
    assert!(!fs::exists(format!("{mark}-inner")).unwrap());
}

fn nothing_is_refused_by_the_kernel() {
    let holder = launch(&shell("exit 0")).unwrap();
    let path = holder.namespace().unwrap().path.into();
    for network in [NetworkNamespace::New, NetworkNamespace::Caller, NetworkNamespace::Join(path)] {
        for privileged in [false, true] {
            let launched = Launch { network: network.clone(), privileged, ..shell("exit 0") };
            let running = launch(&launched).unwrap().release(&Files::default()).unwrap();
            assert_eq!(running.notes(), [""; 0], "{network:?}");
            assert_eq!(running.wait_forwarding_signals().unwrap(), 0);
        }
    }
}
