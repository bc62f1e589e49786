//! Commands under a supervisor: their log, their end, and what they outlive.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fairway_kernel::process::{Process, identity};
use fairway_model::{LogLimits, ResourceLimits};
use fairway_run::{Ending, Files, Launch, LogOptions, Order, attach, detach, print_log, resize};
use rustix::process::Signal;

use rustix::mount::{MountFlags, mount};

use super::workspace::{WORK, place, probe, shell, until};
use super::{Case, PROBE, text, this_program};

pub const CASES: &[Case] = &[
    ("the_log_and_the_end_are_recorded", the_log_and_the_end_are_recorded),
    ("it_outlives_its_starter", it_outlives_its_starter),
    ("what_cannot_start_says_why", what_cannot_start_says_why),
    ("it_is_gone_if_not_released", it_is_gone_if_not_released),
    ("it_can_be_stopped", it_can_be_stopped),
    ("a_log_is_added_to", a_log_is_added_to),
    ("output_is_kept_within_its_limits", output_is_kept_within_its_limits),
    ("a_full_disk_holds_up_no_command", a_full_disk_holds_up_no_command),
    (
        "a_supervisor_that_is_asked_to_end_stops_its_command",
        a_supervisor_that_is_asked_to_end_stops_its_command,
    ),
    ("it_leaves_the_control_group_of_its_starter", it_leaves_the_control_group_of_its_starter),
    ("clients_get_all_output_and_give_the_input", clients_get_all_output_and_give_the_input),
    ("clients_are_served_while_output_floods", clients_are_served_while_output_floods),
    ("a_terminal_outlives_its_clients", a_terminal_outlives_its_clients),
    ("what_cannot_be_limited_does_not_start", what_cannot_be_limited_does_not_start),
];

fn order(launch: Launch) -> Order {
    Order {
        name: "box".to_owned(),
        launch,
        cgroups: Vec::new(),
        resources: Default::default(),
        attachments: 0,
        log: place("log"),
        limits: LogLimits::default(),
        record: place("record"),
        context: place("reported").to_str().unwrap().to_owned(),
    }
}

fn logged(options: &LogOptions) -> (String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    print_log(&place("log"), options, &mut out, &mut err).unwrap();
    (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

fn the_log_and_the_end_are_recorded() {
    let order = order(shell("read line; echo out $line; echo err >&2; printf unfinished; exit 7"));
    let detached = detach(&order).unwrap();
    let process = detached.identity();
    assert_eq!(detached.namespace().unwrap().path, format!("/proc/{}/ns/net", process.pid));
    assert_eq!(detached.release(&Files::default()).unwrap(), [""; 0]);
    let follow = LogOptions { follow: true, ..LogOptions::default() };
    assert_eq!(logged(&follow), ("out\nunfinished".to_owned(), "err\n".to_owned()));
    until("the end is reported", || fs::read_to_string(place("reported")).is_ok_and(|code| code == "7"));
    let ending = Ending::read(&order.record, process).unwrap();
    assert_eq!((ending.code, ending.process), (7, process));
    let mut other = process;
    other.start_time += 1;
    assert_eq!(Ending::read(&order.record, other), None);
}

fn it_outlives_its_starter() {
    let script = format!("until [ -e {WORK}/leave ]; do :; done; echo later; exit 9");
    fs::write(place("order"), serde_json::to_vec(&order(shell(&script))).unwrap()).unwrap();
    let status = this_program().args([PROBE, "starter"]).arg(place("order")).status().unwrap();
    assert!(status.success());
    assert!(!place("reported").exists());
    fs::write(place("leave"), "").unwrap();
    until("the end is reported", || fs::read_to_string(place("reported")).is_ok_and(|code| code == "9"));
    assert_eq!(logged(&LogOptions::default()).0, "later\n");
}

fn what_cannot_start_says_why() {
    let mut missing = order(shell(""));
    missing.launch.command = vec!["no-such-program".to_owned()];
    let refused = detach(&missing).unwrap().release(&Files::default()).unwrap_err();
    assert_eq!(refused.exit_code(), 127);
    assert!(refused.to_string().contains("\"no-such-program\""), "{refused}");
    assert!(!place("reported").exists());
    let unlogged = Order { log: "/no/such/log".into(), ..order(shell("")) };
    let refused = detach(&unlogged).unwrap_err();
    assert_eq!(refused.exit_code(), 125);
    assert!(refused.to_string().contains("/no/such/log"), "{refused}");
}

fn it_is_gone_if_not_released() {
    let detached = detach(&order(shell(": > /mnt/began"))).unwrap();
    let process = detached.identity();
    assert_eq!(identity(process.pid).unwrap(), process);
    drop(detached);
    assert!(identity(process.pid).is_err());
    assert!(!place("began").exists());
}

fn it_can_be_stopped() {
    let ready = place("ready");
    let order = order(probe(&["signals", ready.to_str().unwrap()]));
    let detached = detach(&order).unwrap();
    let process = detached.identity();
    detached.release(&Files::default()).unwrap();
    until("the command is ready", || ready.exists());
    let held = Process::open(process).unwrap();
    held.signal(Signal::TERM).unwrap();
    assert!(held.wait(Duration::from_secs(20)).unwrap());
    until("the end is reported", || fs::read_to_string(place("reported")).is_ok_and(|code| code == "15"));
}

fn a_log_is_added_to() {
    for round in ["one", "two"] {
        let _ = fs::remove_file(place("reported"));
        let detached = detach(&order(shell(&format!("echo {round}")))).unwrap();
        detached.release(&Files::default()).unwrap();
        until("the end is reported", || fs::read_to_string(place("reported")).is_ok_and(|code| code == "0"));
    }
    assert_eq!(logged(&LogOptions::default()).0, "one\ntwo\n");
    assert_eq!(text(place("log")).lines().count(), 2);
}

/// Writes this many lines of 20 bytes.
fn lines(count: u32) -> String {
    format!("n=0; while [ $n -lt {count} ]; do echo 0123456789012345678; n=$((n+1)); done; exit 7")
}

fn ended_with(code: &str) {
    until("the end is reported", || fs::read_to_string(place("reported")).is_ok_and(|found| found == code));
}

fn output_is_kept_within_its_limits() {
    let limits = LogLimits { max_size: Some(64 << 10), max_files: 3 };
    let detached = detach(&Order { limits, ..order(shell(&lines(10_000))) }).unwrap();
    detached.release(&Files::default()).unwrap();
    ended_with("7");
    let sizes = ["log", "log.1", "log.2"].map(|name| fs::metadata(place(name)).unwrap().len());
    assert!(sizes.iter().all(|size| *size <= 64 << 10), "{sizes:?}");
    assert!(!place("log.3").exists() && !place("log.next").exists());
    let kept = logged(&LogOptions::default()).0;
    assert!(kept.lines().count() > 1000 && kept.lines().all(|line| line == "0123456789012345678"));
}

fn a_full_disk_holds_up_no_command() {
    fs::create_dir(place("small")).unwrap();
    mount("tmpfs", place("small"), "tmpfs", MountFlags::empty(), c"size=32k").unwrap();
    let order = Order { log: place("small/log"), ..order(shell(&lines(10_000))) };
    detach(&order).unwrap().release(&Files::default()).unwrap();
    ended_with("7");
    let mut out = Vec::new();
    print_log(&order.log, &LogOptions::default(), &mut out, &mut std::io::sink()).unwrap();
    assert!(String::from_utf8(out).unwrap().lines().count() > 100);
}

/// The number of the supervisor of a detached process.
fn supervisor(process: u32) -> u32 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap()
}

fn a_supervisor_that_is_asked_to_end_stops_its_command() {
    // As the first process of its namespace, a shell without a trap does not notice SIGTERM.
    let detached = detach(&order(shell("echo begun; while :; do read -r x < /dev/zero; done"))).unwrap();
    let supervisor = identity(supervisor(detached.identity().pid)).unwrap();
    detached.release(&Files::default()).unwrap();
    until("the command runs", || logged(&LogOptions::default()).0 == "begun\n");
    Process::open(supervisor).unwrap().signal(Signal::TERM).unwrap();
    ended_with("137");
}

/// A control group of this test, which is gone with it.
struct Group(PathBuf);

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::write(self.0.parent().unwrap().join("cgroup.procs"), "0");
        until("its control group is empty", || fs::remove_dir(&self.0).is_ok());
    }
}

fn it_leaves_the_control_group_of_its_starter() {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let hierarchy = mounts.lines().find(|line| line.contains(" - cgroup2 "));
    let Some(hierarchy) = hierarchy.and_then(|line| line.split(' ').nth(4)) else {
        return eprintln!("skipped: no cgroup2 is mounted here");
    };
    let group = Path::new(hierarchy).join(format!("fairway-test-{}", std::process::id()));
    if let Err(error) = fs::create_dir(&group) {
        return eprintln!("skipped: no control group can be made here: {error}");
    }
    let group = Group(group);
    let own = group.0.join("fairway/box");
    let order = Order { cgroups: vec![own.clone()], ..order(shell("until [ -e /mnt/leave ]; do :; done")) };
    let detached = detach(&order).unwrap();
    let process = detached.identity().pid;
    let groups = fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap();
    let name = group.0.file_name().unwrap().to_str().unwrap();
    assert!(groups.contains(&format!("{name}/fairway/box\n")), "{groups}");
    detached.release(&Files::default()).unwrap();
    fs::write(place("leave"), "").unwrap();
    ended_with("0");
    until("its control group is gone", || !group.0.join("fairway").exists());
}

/// Attaches as soon as the supervisor of the case's command listens.
fn attached() -> UnixStream {
    let mut stream = None;
    until("the supervisor listens", || {
        stream = attach(&place("log"), true).unwrap();
        stream.is_some()
    });
    stream.unwrap()
}

/// What the command writes that has the input of a client, to its end.
fn conversation(mut stream: UnixStream, input: &str) -> String {
    stream.write_all(input.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut output = Vec::new();
    stream.read_to_end(&mut output).unwrap();
    String::from_utf8(output).unwrap()
}

/// The output in frames of the standard output, each shorter than 256 bytes.
fn unframed(output: &str) -> String {
    let mut rest = output;
    let mut text = String::new();
    while let Some(after) = rest.strip_prefix("\u{1}\0\0\0\0\0\0") {
        let (piece, others) = after[1..].split_at(usize::from(after.as_bytes()[0]));
        text.push_str(piece);
        rest = others;
    }
    assert_eq!(rest, "");
    text
}

fn clients_get_all_output_and_give_the_input() {
    let launch = Launch {
        input: true,
        input_once: true,
        ..shell("echo first; while read line; do echo got $line; done")
    };
    let order = Order { attachments: 1, ..order(launch) };
    let client = std::thread::spawn(|| conversation(attached(), "a\nb\n"));
    detach(&order).unwrap().release(&Files::default()).unwrap();
    assert_eq!(unframed(&client.join().unwrap()), "first\ngot a\ngot b\n");
    until("the end is reported", || place("reported").exists());
    assert_eq!(logged(&LogOptions::default()).0, "first\ngot a\ngot b\n");
    assert!(attach(&place("log"), true).unwrap().is_none());
}

fn clients_are_served_while_output_floods() {
    let launch = Launch { input: true, ..shell("yes & read line; kill $!; exit 7") };
    let limits = LogLimits { max_size: Some(64 << 10), max_files: 2 };
    detach(&Order { limits, ..order(launch) }).unwrap().release(&Files::default()).unwrap();
    until("it floods", || place("log.1").exists());
    attached().write_all(b"enough\n").unwrap();
    ended_with("7");
}

fn a_terminal_outlives_its_clients() {
    let script = "read a; echo one $a $(stty size); read b; echo two $b; exit 4";
    let launch = Launch { terminal: Some([31, 97]), input: true, ..shell(script) };
    detach(&order(launch)).unwrap().release(&Files::default()).unwrap();
    // What is typed is shown, and the one client takes nothing from the other.
    let mut first = attached();
    first.write_all(b"x\n").unwrap();
    let mut shown = [0; 64];
    let mut length = 0;
    until("the answer", || {
        length += first.read(&mut shown[length..]).unwrap();
        shown[..length].ends_with(b"one x 31 97\r\n")
    });
    drop(first);
    assert!(resize(&place("log"), 33, 99).unwrap());
    assert!(conversation(attached(), "y\n").ends_with("two y\r\n"));
    until("the end is reported", || fs::read_to_string(place("reported")).is_ok_and(|code| code == "4"));
}

fn what_cannot_be_limited_does_not_start() {
    let resources = ResourceLimits { pids: Some(9), ..ResourceLimits::default() };
    // In no control group of its own.
    let refused = detach(&Order { resources, ..order(shell("")) }).unwrap_err();
    assert_eq!(refused.exit_code(), 125);
    assert!(refused.to_string().contains("the cgroup controller pids is not available"), "{refused}");
}
