//! Commands under a supervisor: their log, their end, and what they outlive.

use std::fs;
use std::time::Duration;

use fairway::process::{
    Ending, Files, Launch, LogOptions, Order, Stopped, detach, identify, print_log, stop,
};

use super::room::{WORK, place, probe, shell, until};
use super::{Case, PROBE, text, this_program};

pub const CASES: &[Case] = &[
    ("the_log_and_the_end_are_recorded", the_log_and_the_end_are_recorded),
    ("it_outlives_its_starter", it_outlives_its_starter),
    ("what_cannot_start_says_why", what_cannot_start_says_why),
    ("it_is_gone_if_not_released", it_is_gone_if_not_released),
    ("it_can_be_stopped", it_can_be_stopped),
    ("a_log_is_added_to", a_log_is_added_to),
];

fn order(launch: Launch) -> Order {
    Order {
        name: "box".to_owned(),
        launch,
        log: place("log"),
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
    assert_eq!(identify(process.pid).unwrap(), process);
    drop(detached);
    assert!(identify(process.pid).is_err());
    assert!(!place("began").exists());
}

fn it_can_be_stopped() {
    let ready = place("ready");
    let order = order(probe(&["signals", ready.to_str().unwrap()]));
    let detached = detach(&order).unwrap();
    let process = detached.identity();
    detached.release(&Files::default()).unwrap();
    until("the command is ready", || ready.exists());
    assert_eq!(stop(process, 15, Duration::from_secs(20)).unwrap(), Stopped::Asked);
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
