//! Commands in the foreground: exit codes, signals, and the end of the starter or the command.

use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};
use std::time::Duration;

use fairway_kernel::process::{Process, identity};
use fairway_model::ProcessIdentity;
use fairway_run::{Files, Identity, Launch, NetworkNamespace, launch};
use rustix::process::Signal;

use super::workspace::{WORK, code, command, file, place, printed, probe, shell, until};
use super::{Case, PROBE, this_program};

pub const CASES: &[Case] = &[
    ("the_exit_code_is_the_commands", the_exit_code_is_the_commands),
    ("failures_have_codes_of_their_own", failures_have_codes_of_their_own),
    ("signals_are_passed_on", signals_are_passed_on),
    ("the_first_process_is_killed_if_it_does_not_listen", the_first_process_is_killed_if_it_does_not_listen),
    ("a_process_that_waits_dies_with_its_starter", a_process_that_waits_dies_with_its_starter),
    ("a_process_that_is_not_released_is_gone", a_process_that_is_not_released_is_gone),
    ("the_namespace_is_known_before_the_command", the_namespace_is_known_before_the_command),
    ("networks_are_new_joined_or_the_callers", networks_are_new_joined_or_the_callers),
    ("open_files_are_not_left_to_the_command", open_files_are_not_left_to_the_command),
    ("an_interrupt_key_arrives_once", an_interrupt_key_arrives_once),
    ("an_init_passes_signals_on_and_reaps", an_init_passes_signals_on_and_reaps),
    (
        "a_user_has_no_rights_and_the_groups_that_are_asked",
        a_user_has_no_rights_and_the_groups_that_are_asked,
    ),
    ("sysctls_are_set_before_the_command", sysctls_are_set_before_the_command),
];

fn the_exit_code_is_the_commands() {
    assert_eq!(code(&shell("exit 0")), 0);
    assert_eq!(code(&shell("exit 3")), 3);
    assert_eq!(code(&shell("(kill -9 $$)& wait; exit 4")), 4, "process 1 is not killed from within");
}

fn failures_have_codes_of_their_own() {
    assert_eq!(code(&command(&["no-such-program"])), 127);
    assert_eq!(code(&command(&["/no/such/program"])), 127);
    let plain = file("plain", "text");
    assert_eq!(code(&command(&[plain.to_str().unwrap()])), 126);
    assert_eq!(code(&command(&["/"])), 126);
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(&plain, "#!/no/such/interpreter\n").unwrap();
    assert_eq!(code(&command(&[plain.to_str().unwrap()])), 127);
    let mut elsewhere = shell("exit 0");
    elsewhere.directory = "/no/such/directory".into();
    assert_eq!(code(&elsewhere), 126);
    let mut unnamed = shell("exit 0");
    unnamed.hostname = "x".repeat(65);
    assert_eq!(code(&unnamed), 125);
    let mut lost = shell("exit 0");
    lost.network = NetworkNamespace::Join("/no/such/namespace".into());
    assert_eq!(code(&lost), 125);
    assert_eq!(code(&command(&[])), 125);
}

fn signals_are_passed_on() {
    for signal in [Signal::TERM, Signal::HUP, Signal::INT, Signal::USR1, Signal::WINCH] {
        let ready = place(&format!("ready-{}", signal.as_raw()));
        let launched = launch(&probe(&["signals", ready.to_str().unwrap()])).unwrap();
        let running = launched.release(&Files::default()).unwrap();
        let mut sender = Command::new("/bin/sh")
            .arg("-c")
            .arg(format!("until [ -e {} ]; do :; done; kill -{} $PPID", ready.display(), signal.as_raw()))
            .spawn()
            .unwrap();
        assert_eq!(running.wait_forwarding_signals().unwrap(), signal.as_raw());
        sender.wait().unwrap();
    }
}

fn the_first_process_is_killed_if_it_does_not_listen() {
    let running = launch(&shell("read line < /dev/tty || while :; do :; done")).unwrap();
    let running = running.release(&Files::default()).unwrap();
    let process = running.identity();
    let held = Process::open(process).unwrap();
    held.signal(Signal::TERM).unwrap();
    let stopper = std::thread::spawn(move || {
        assert!(!held.wait(Duration::from_millis(100)).unwrap(), "SIGTERM does not end it");
        held.kill().unwrap();
    });
    assert_eq!(running.wait_forwarding_signals().unwrap(), 137);
    stopper.join().unwrap();
    assert!(Process::open(process).is_err());
}

fn a_process_that_waits_dies_with_its_starter() {
    let report = place("report");
    let mut starter = this_program().args([PROBE, "blocked", report.to_str().unwrap()]).spawn().unwrap();
    until("the process is there", || report.exists());
    let process: ProcessIdentity = serde_json::from_slice(&fs::read(&report).unwrap()).unwrap();
    assert_eq!(identity(process.pid).unwrap(), process);
    starter.kill().unwrap();
    starter.wait().unwrap();
    until("the process is gone", || ended(process));
}

/// Whether a process is gone, or waits for a parent that does not care.
fn ended(process: ProcessIdentity) -> bool {
    identity(process.pid).ok() != Some(process)
        || fs::read_to_string(format!("/proc/{}/stat", process.pid))
            .map_or(true, |stat| stat.rsplit_once(')').unwrap().1.starts_with(" Z"))
}

fn a_process_that_is_not_released_is_gone() {
    let launched = launch(&shell(": > /mnt/began")).unwrap();
    let process = launched.identity();
    assert_eq!(identity(process.pid).unwrap(), process);
    drop(launched);
    assert!(identity(process.pid).is_err());
    assert!(!place("began").exists());
}

fn the_namespace_is_known_before_the_command() {
    let launched = launch(&shell(": > /mnt/began")).unwrap();
    let namespace = launched.namespace().unwrap();
    let own = fs::metadata("/proc/self/ns/net").unwrap();
    assert_ne!((namespace.device, namespace.inode), (own.dev(), own.ino()));
    assert!(!place("began").exists());
    let running = launched.release(&Files::default()).unwrap();
    assert_eq!(running.wait_forwarding_signals().unwrap(), 0);
    assert!(place("began").exists());
}

fn networks_are_new_joined_or_the_callers() {
    // The first two lines of /proc/net/dev are its head.
    let links = printed(&shell("show /proc/net/dev"));
    assert_eq!(links.lines().count(), 3, "{links}");
    assert!(links.lines().last().unwrap().trim_start().starts_with("lo:"), "{links}");

    let holder = launch(&shell("exit 0")).unwrap();
    let inode = |launched: &fairway_run::Launched| launched.namespace().unwrap().inode;
    let mut joined = shell("exit 0");
    joined.network = NetworkNamespace::Join(holder.namespace().unwrap().path.into());
    assert_eq!(inode(&launch(&joined).unwrap()), inode(&holder));
    let mut shared = shell("exit 0");
    shared.network = NetworkNamespace::Caller;
    assert_eq!(inode(&launch(&shared).unwrap()), fs::metadata("/proc/self/ns/net").unwrap().ino());
}

fn open_files_are_not_left_to_the_command() {
    let left = fs::File::open("/").unwrap();
    rustix::io::fcntl_setfd(&left, rustix::io::FdFlags::empty()).unwrap();
    // The shell opens the directory too while it reads it, and 10 and more for its own redirections.
    let names = printed(&shell("for name in /proc/self/fd/*; do echo ${name##*/}; done"));
    let open: Vec<u32> = names.lines().map(|name| name.parse().unwrap()).collect();
    assert_eq!(open[..3], [0, 1, 2]);
    assert!(open.len() <= 4, "{open:?}");
    let held = printed(&shell("for name in /proc/1/fd/*; do [ -e $name/etc ] && echo $name; done; exit 0"));
    assert_eq!(held, "");
}

fn an_interrupt_key_arrives_once() {
    let (ready, result) = (place("ready"), place("result"));
    let (terminal, other) = pseudoterminal();
    let mut session = this_program()
        .args([PROBE, "terminal", ready.to_str().unwrap(), result.to_str().unwrap()])
        .stdin(Stdio::from(other))
        .spawn()
        .unwrap();
    until("the command is ready", || ready.exists());
    fs::File::from(terminal.try_clone().unwrap()).write_all(b"\x03").unwrap();
    until("the command has ended", || result.exists());
    assert_eq!(super::text(&result), "2 true");
    session.wait().unwrap();
}

/// Both ends of a new terminal.
fn pseudoterminal() -> (OwnedFd, OwnedFd) {
    use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(terminal.as_fd()).unwrap();
    unlockpt(terminal.as_fd()).unwrap();
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let other = ioctl_tiocgptpeer(&terminal, flags).unwrap();
    assert!(rustix::termios::isatty(&other));
    (terminal, other)
}

fn an_init_passes_signals_on_and_reaps() {
    // Orphans, whose end only the init can take notice of, and a signal from outside.
    let script = format!(
        "(sh -c 'exit 0' & sh -c 'exit 0' &); trap 'exit 6' USR1; : > {WORK}/ready; \
         while [ -n \"$(grep -l 'State:.Z' /proc/[0-9]*/status)\" ]; do :; done; : > {WORK}/reaped; while :; do :; done"
    );
    let launched = launch(&Launch { init: true, ..shell(&script) }).unwrap();
    let running = launched.release(&Files::default()).unwrap();
    until("all are reaped", || place("reaped").exists());
    let pid = rustix::process::Pid::from_raw(running.identity().pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::USR1).unwrap();
    assert_eq!(running.wait_forwarding_signals().unwrap(), 6);
    let missing = Launch { init: true, ..command(&["no-such-program"]) };
    assert_eq!(code(&missing), 127);
}

fn a_user_has_no_rights_and_the_groups_that_are_asked() {
    let rights = "while read name value; do case $name in CapEff:|Uid:|Groups:) echo $name $value;; esac; done < /proc/self/status";
    // The only user that a user namespace of one user has.
    let identity = Identity { user: 0, group: 0, groups: Vec::new() };
    let root = printed(&Launch { identity: Some(identity), ..shell(rights) });
    assert!(root.contains("Uid: 0 0 0 0") && !root.contains("CapEff: 0000000000000000"), "{root}");
    let identity = Identity { user: 1234, group: 77, groups: vec![5, 6] };
    let launched = Launch { identity: Some(identity), ..shell(&format!("exec 2>&1; {rights}")) };
    // As root alone.
    if fs::read_to_string("/proc/self/uid_map").unwrap().trim().ends_with("4294967295") {
        fs::remove_file(place("printed")).unwrap();
        let user = printed(&launched);
        assert_eq!(
            user.lines().map(str::trim).collect::<Vec<_>>(),
            ["Uid: 1234 1234 1234 1234", "Groups: 5 6", "CapEff: 0000000000000000"]
        );
    } else {
        assert_eq!(code(&launched), 125);
    }
}

fn sysctls_are_set_before_the_command() {
    let sysctls = vec![("net.ipv4.ip_default_ttl".to_owned(), "17".to_owned())];
    let launched = Launch { sysctls, ..shell("cat /proc/sys/net/ipv4/ip_default_ttl") };
    assert_eq!(printed(&launched), "17");
    let unknown = Launch { sysctls: vec![("net.ipv4.nothing".to_owned(), "1".to_owned())], ..shell("") };
    assert_eq!(code(&unknown), 125);
}
