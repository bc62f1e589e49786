//! The command line against the real daemon: the built program is run on the host, as a user would.

mod networks;

use std::process::{Command, Stdio};
use std::time::Duration;

use fairway_lab::{Host, Outcome, Place, Process, SCRATCH, ask, serve_tcp};
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{HOST, LAN, Stage, eventually};
use crate::kernel_state::{assert_same, observe};

const FAIRWAY: &str = env!("CARGO_BIN_EXE_fairway");
/// How long what takes moments may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// For shells, which have no command of their own for it.
const SHOW: &str = "show() { while read -r line; do echo \"$line\"; done < $1; }";
/// Docker's default capabilities.
const CAPABILITIES: &str = "CapBnd:\t00000000a80425fb";

/// What a command said, and how it ended.
#[derive(Debug, PartialEq, Eq)]
pub struct CommandOutput {
    /// What it printed.
    pub output: String,
    /// What it printed to its standard error.
    pub errors: String,
    /// Its exit code.
    pub code: i32,
}

/// The words of a line: between blanks, or between two `'`.
pub fn words(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for (number, part) in line.split('\'').enumerate() {
        match number % 2 {
            0 => words.extend(part.split_ascii_whitespace()),
            _ => words.push(part),
        }
    }
    words
}

/// A command of these words, for the stage's daemon.
fn command(stage: &Stage, words: &[&str]) -> Command {
    let mut command = Command::new(FAIRWAY);
    command.args(words).env("FAIRWAY_HOST", stage.daemon.address()).stdin(Stdio::null());
    command
}

fn reported(host: &Host, command: &mut Command) -> CommandOutput {
    let output = host.run(command).unwrap();
    CommandOutput {
        output: String::from_utf8(output.stdout).unwrap(),
        errors: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code().unwrap(),
    }
}

/// Runs a line on the host.
pub fn fairway(stage: &Stage, line: &str) -> CommandOutput {
    reported(&stage.host, &mut command(stage, &words(line)))
}

/// What a line prints, without the end of its last line. It does not fail.
pub fn printed(stage: &Stage, line: &str) -> String {
    succeeded(line, fairway(stage, line))
}

/// As [`printed`], with a script for a shell as the command to be run.
fn scripted(stage: &Stage, line: &str, script: &str) -> String {
    succeeded(line, with_script(stage, line, script))
}

fn with_script(stage: &Stage, line: &str, script: &str) -> CommandOutput {
    let mut all = words(line);
    all.extend(["/bin/sh", "-c", script]);
    reported(&stage.host, &mut command(stage, &all))
}

fn succeeded(line: &str, reported: CommandOutput) -> String {
    assert_eq!((reported.code, reported.errors.as_str()), (0, ""), "{line}");
    reported.output.trim_end_matches('\n').to_owned()
}

/// A script that runs until it is asked to end, with code 3, and reports on SIGUSR1 that it was received.
fn until_signal(first: &str) -> String {
    let never = format!("{SCRATCH}/never");
    if !std::fs::exists(&never).unwrap() {
        let mode = rustix::fs::Mode::from_raw_mode(0o666);
        rustix::fs::mknodat(rustix::fs::CWD, &never, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    }
    // Only a wait is interrupted by signals in every shell.
    format!("trap 'exit 3' TERM; trap 'echo heard' USR1; {first}; read x <> {never} & while :; do wait; done")
}

/// Starts a sandbox that stays, with these flags.
pub fn stay(stage: &Stage, flags: &str) -> String {
    scripted(stage, &format!("run -d {flags} --"), &until_signal(":"))
}

/// The inside of a sandbox.
pub fn inside(stage: &Stage, name: &str) -> Place {
    let key = printed(stage, &format!("inspect -f {{{{.NetworkSettings.SandboxKey}}}} {name}"));
    stage.host.sandbox(key).unwrap()
}

/// One field of a sandbox or network.
pub fn field(stage: &Stage, name: &str, field: &str) -> String {
    printed(stage, &format!("inspect -f {{{{.{field}}}}} {name}"))
}

fn signal(stage: &Stage, name: &str, signal: Signal) {
    let pid = field(stage, name, "State.Pid").parse().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

fn ended(mut process: Process) -> i32 {
    process.wait_within(PATIENCE).unwrap().unwrap().code().unwrap()
}

/// Starts a command in the foreground of a client; it waits when this returns.
fn foreground(stage: &Stage, name: &str) -> Process {
    let ready = format!("{SCRATCH}/{name}-is-ready");
    let script = until_signal(&format!("echo > {ready}"));
    let all = [words("run --rm --name"), vec![name, "--", "/bin/sh", "-c", &script]].concat();
    let process =
        stage.host.spawn(command(stage, &all).stdout(Stdio::piped()).stderr(Stdio::piped())).unwrap();
    eventually(name, PATIENCE, || std::fs::exists(&ready).unwrap());
    process
}

#[test]
fn several_sandboxes_are_stopped_at_once() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        // The one ends after the other.
        for (name, at_end) in [
            ("slow", "while [ ! -e /run/other ]; do sleep 0.1; done; exit 4"),
            ("other", "touch /run/other; exit 5"),
        ] {
            let script = format!("trap '{at_end}' TERM; echo ready; while :; do sleep 0.1; done");
            scripted(&stage, &format!("run -d --name {name} --network none --"), &script);
            eventually("it is ready", PATIENCE, || printed(&stage, &format!("logs {name}")) == "ready");
        }
        assert_eq!(printed(&stage, "stop -t 60 slow other"), "slow\nother");
        assert_eq!(printed(&stage, "wait slow other"), "4\n5");
    });
}

#[test]
fn exit_codes_and_signals_pass_through() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let before = observe(&stage, &[]);
        let code = |line: &str| fairway(&stage, line).code;
        assert_eq!(
            [0, 7].map(|code| with_script(&stage, "run --rm --", &format!("exit {code}")).code),
            [0, 7]
        );
        assert_eq!(code("run --rm --network nosuch -- /bin/sh"), 125);
        assert_eq!(code("run --rm -- /etc"), 126);
        assert_eq!(code("run --rm -- /nonexistent"), 127);
        assert_eq!(code("run -d --rm -- /nonexistent"), 127);

        let killed = foreground(&stage, "killed");
        assert_eq!(printed(&stage, "kill killed"), "killed");
        assert_eq!(ended(killed), 137);

        let mut heard = foreground(&stage, "heard");
        heard.signal(Signal::USR1).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        heard.signal(Signal::TERM).unwrap();
        let mut output = heard.stdout.take().unwrap();
        assert_eq!(ended(heard), 3);
        assert_eq!(std::io::read_to_string(&mut output).unwrap(), "heard\n");
        assert_eq!(printed(&stage, "ps -a -q"), "", "--rm leaves none");
        let mut after = observe(&stage, &[]);
        after.retain(|line| !line.contains("/var/lib/fairway/logs"));
        assert_same("afterwards", &after, &before);
    });
}

#[test]
fn a_command_sees_a_host_of_its_own() {
    fairway_lab::run(|lab| {
        let stage = Stage::before_daemon(lab);
        stage
            .host
            .run_in(|| std::fs::write("/etc/resolv.conf", "nameserver 10.10.50.1\nsearch lan.test\n"))
            .unwrap()
            .unwrap();
        let mut stage = stage;
        stage.daemon.launch(&[]);
        stage.daemon.wait_until_ready();
        printed(&stage, "network create --subnet 172.25.0.0/16 app");
        let facts = format!("{SHOW}; echo $$; show /proc/sys/kernel/hostname; show /proc/self/status");
        let facts = scripted(&stage, "run --rm --name web --hostname shop --", &facts);
        let facts: Vec<&str> = facts.lines().collect();
        assert_eq!(facts[..2], ["1", "shop"]);
        assert!(facts.contains(&CAPABILITIES), "{facts:?}");
        let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_ne!(own.trim(), "shop");

        let files = format!("{SHOW}; show /etc/resolv.conf; show /etc/hosts; show /etc/hostname");
        let asked = "run --rm --hostname shop --network app --ip 172.25.0.9 --add-host db:10.1.1.1 \
                     --add-host out:host-gateway --dns 9.9.9.9 --dns-search in.test --dns-opt timeout:2 --";
        let localhost = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
                         fe00::0\tip6-localnet\nff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\n\
                         ff02::2\tip6-allrouters\n";
        let lines = "10.1.1.1\tdb\n172.17.0.1\tout\n172.25.0.9\tshop\nshop";
        let servers = "search in.test\nnameserver 127.0.0.11\noptions timeout:2 ndots:0\n";
        assert_eq!(scripted(&stage, asked, &files), format!("{servers}{localhost}{lines}"));
        // On the default bridge there is no resolver: the host's servers are asked.
        let plain = scripted(&stage, "run --rm --hostname plain --", &files);
        let servers = "search lan.test\nnameserver 10.10.50.1\n";
        assert_eq!(plain, format!("{servers}{localhost}172.17.0.2\tplain\nplain"));
        let asked = scripted(
            &stage,
            "run --rm --dns 9.9.9.9 --dns-search . --",
            &format!("{SHOW}; show /etc/resolv.conf"),
        );
        assert_eq!(asked, "nameserver 9.9.9.9");

        // Without -d it has the caller's streams, and its own environment.
        let reported =
            with_script(&stage, "run --rm -e MODE=x -w /etc --", "echo $MODE; pwd; echo wrong >&2");
        assert_eq!(reported, CommandOutput { output: "x\n/etc\n".into(), errors: "wrong\n".into(), code: 0 });
    });
}

/// A shell's words for whether the daemon is in sight: nothing when it is not.
const LOOK: &str = "for it in /run/fairway.sock /run/fairway/* /run/fairway/sandboxes/* /var/lib/fairway/logs/*; \
                    do [ -e $it ] && [ ! -c $it ] && echo $it; done; exit 0";

#[test]
fn the_daemon_is_out_of_sight() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::new(lab, &[]);
        // Where nobody names one, the socket is in the exec root.
        let start = || {
            let mut command = Command::new(FAIRWAY);
            command.arg("daemon").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let process = stage.host.spawn(&mut command).unwrap();
            let answers = || reported(&stage.host, Command::new(FAIRWAY).arg("ps")).code == 0;
            eventually("the daemon answers", PATIENCE, answers);
            process
        };
        let socket = stage.daemon.address().strip_prefix("unix://").unwrap();
        assert_eq!(scripted(&stage, "run --rm --", &format!("[ -S {socket} ] && echo seen; {LOOK}")), "");
        stage.daemon.kill9();
        let asked = |line: &str, script: &str| {
            let all = [words(line), vec!["/bin/sh", "-c", script]].concat();
            succeeded(line, reported(&stage.host, Command::new(FAIRWAY).args(all)))
        };
        let daemon = start();
        for mode in ["bridge", "host", "none"] {
            asked(&format!("run -d --name {mode} --network {mode} --"), &until_signal(":"));
        }
        let look = |when: &str| {
            for name in ["bridge", "host", "none"] {
                assert_eq!(asked(&format!("exec {name}"), LOOK), "", "{name} {when}");
            }
        };
        look("at first");
        drop(daemon);
        let _daemon = start();
        look("with a daemon that started later");
    });
}

#[test]
fn a_detached_command_has_a_life() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        printed(&stage, "network create --subnet 172.25.0.0/16 app");
        let asked = "run -d --name web --network app --ip 172.25.3.3 -p 8080:80 -p 127.0.0.1:5353:53/udp --";
        let id = scripted(&stage, asked, &until_signal("echo out; echo wrong >&2"));
        assert_eq!(id, field(&stage, "web", "ID"));
        let reached = || {
            let _server = serve_tcp(&inside(&stage, "web"), "0.0.0.0:80").unwrap();
            ask(&stage.lan, &format!("{HOST}:8080")).unwrap()
        };
        assert_eq!(reached(), Outcome::answered(LAN));
        let everywhere = "0.0.0.0:8080\n[::]:8080";
        let ports = "53/udp -> 127.0.0.1:5353\n80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080";
        assert_eq!(printed(&stage, "port web"), ports);
        assert_eq!(printed(&stage, "port web 80"), everywhere);
        let row = "ps --format '{{.ID}} {{.Names}} {{.State}} {{.Ports}} {{.Networks}} {{.Addresses}}'";
        let shown = "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp, 127.0.0.1:5353->53/udp app 172.25.3.3";
        assert_eq!(printed(&stage, row), format!("{} web running {shown}", &id[..12]));

        eventually("it writes", PATIENCE, || fairway(&stage, "logs web").errors == "wrong\n");
        assert_eq!(
            fairway(&stage, "logs web"),
            CommandOutput { output: "out\n".into(), errors: "wrong\n".into(), code: 0 }
        );
        let mut follower = stage
            .host
            .spawn(command(&stage, &["logs", "-f", "web"]).stdout(Stdio::piped()).stderr(Stdio::null()))
            .unwrap();
        signal(&stage, "web", Signal::USR1);
        eventually("it is heard", PATIENCE, || fairway(&stage, "logs web").output == "out\nheard\n");
        assert_eq!(fairway(&stage, "rm web").code, 1, "it runs");
        assert_eq!(printed(&stage, "stop web"), "web");
        let mut followed = follower.stdout.take().unwrap();
        assert_eq!(ended(follower), 0);
        assert_eq!(std::io::read_to_string(&mut followed).unwrap(), "out\nheard\n");

        assert_eq!(printed(&stage, "ps -q"), "");
        assert_eq!(printed(&stage, "ps -a --format '{{.Names}} {{.State}} {{.Ports}}'"), "web exited ");
        assert!(printed(&stage, "ps -a --format {{.Status}}").starts_with("Exited (3) "));
        assert_eq!(printed(&stage, "wait web"), "3");
        assert_eq!(fairway(&stage, "exec web /bin/sh").code, 1);
        assert_eq!(ask(&stage.lan, &format!("{HOST}:8080")).unwrap(), Outcome::Refused);
        // Who joins meanwhile does not get what the other one asked for.
        stay(&stage, "--name other --network app");
        for again in ["start web", "restart web"] {
            assert_eq!(printed(&stage, again), "web");
            assert_eq!(field(&stage, "web", "NetworkSettings.Networks.app.IPAddress"), "172.25.3.3");
            assert_eq!(printed(&stage, "port web"), ports);
            assert_eq!(reached(), Outcome::answered(LAN), "{again}");
        }
        let host = scripted(&stage, "exec web", &format!("{SHOW}; show /proc/sys/kernel/hostname"));
        assert_eq!(host, id[..12]);
        assert_eq!(with_script(&stage, "exec -e CODE=9 web", "exit $CODE").code, 9);
        assert_eq!(fairway(&stage, "exec web /nonexistent").code, 127);

        let rows = |filter: &str| printed(&stage, &format!("ps -a --format {{{{.Names}}}} {filter}"));
        assert_eq!(rows(""), "other\nweb");
        assert_eq!(rows("-f name=we -f status=running"), "web");
        assert_eq!(rows(&format!("-f id={}", &id[..5])), "web");
        assert_eq!(rows("-f network=app -f label=none"), "");
        assert_eq!(rows("-n 1"), "other");
        assert_eq!(printed(&stage, "rm -f web other"), "web\nother");
        assert_eq!(rows(""), "");
    });
}

#[test]
fn a_supervisor_outlives_the_daemon() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::new(lab, &[]);
        stay(&stage, "--name before -p 8080:80");
        let meanwhile = stay(&stage, "--name meanwhile");
        stay(&stage, "--name after");
        let held = foreground(&stage, "held");
        let heard = foreground(&stage, "heard");
        let pid = |name: &str| field(&stage, name, "State.Pid");
        let pids = ["before", "meanwhile", "after"].map(pid);
        signal(&stage, "before", Signal::TERM);
        let records = |stage: &Stage| -> Vec<String> {
            let entries = || std::fs::read_dir("/var/lib/fairway/logs").unwrap().flatten();
            let names = || entries().map(|entry| entry.file_name().into_string().unwrap());
            let mut found: Vec<_> =
                stage.host.run_in(|| names().filter(|name| name.ends_with(".exit")).collect()).unwrap();
            found.sort();
            found
        };
        assert_eq!(printed(&stage, "wait before"), "3");
        eventually("the supervisor was heard", PATIENCE, || records(&stage).is_empty());
        stage.daemon.kill9();
        let kill =
            |pid: &str| kill_process(Pid::from_raw(pid.parse().unwrap()).unwrap(), Signal::TERM).unwrap();
        kill(&pids[1]);
        heard.signal(Signal::TERM).unwrap();
        assert_eq!(ended(heard), 3, "a client in the foreground needs no daemon for it");
        eventually("both are recorded", PATIENCE, || records(&stage).len() == 2);
        stage.daemon.launch(&[]);
        stage.daemon.wait_until_ready();
        assert_eq!(field(&stage, "meanwhile", "State.ExitCode"), "3");
        assert_eq!(field(&stage, "after", "State.Running"), "true");
        kill(&pids[2]);
        assert_eq!(printed(&stage, "wait after"), "3");
        held.signal(Signal::TERM).unwrap();
        assert_eq!(ended(held), 3);
        assert_eq!(printed(&stage, "ps -q"), "");
        let rows = printed(&stage, "ps -a --format '{{.Names}} {{.State}}'");
        assert_eq!(rows, "after exited\nmeanwhile exited\nbefore exited");
        let left = [format!("{meanwhile}.exit")];
        eventually("only unreported exits are written", PATIENCE, || records(&stage) == left);
        printed(&stage, "rm after meanwhile before");
        assert_eq!(records(&stage), [""; 0]);
    });
}

#[test]
fn the_name_that_is_nearest_to_an_end_of_a_packet_is_proposed() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        stay(&stage, "--name web --network none");
        for line in ["explain wbe 10.0.0.1:80", "explain web wbe:80", "trace wbe"] {
            let failed = fairway(&stage, line);
            assert!(failed.errors.trim_end().ends_with(": did you mean web?"), "{line}: {failed:?}");
            assert_ne!(failed.code, 0, "{line}");
        }
        let failed = fairway(&stage, "explain elsewhere 10.0.0.1:80");
        assert!(!failed.errors.contains("did you mean"), "{failed:?}");
    });
}
