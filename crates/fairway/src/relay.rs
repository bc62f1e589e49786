//! The relay, as a process of its own: how the daemon starts it, and what it then runs.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use fairway_kernel::system::inherit::{block_signals, unblock_signals};
use fairway_relay::PROCESS_NAME;
use fairway_relay::confine::User;
use fairway_relay::server::{Configuration, run};
use rustix::process::Signal;

use crate::logging::{self, Level, LogFormat};
use crate::notify;
use fairway_run::{cgroup, named};

/// The hidden subcommand that runs a relay.
pub const SUBCOMMAND: &str = "relay";

/// How long a relay that was asked to end may take.
const LEAVING: Duration = Duration::from_secs(1);

/// The control group of relays.
const CGROUP: &str = "relay";

/// The user that the relay becomes where it can: one that systemd's conventions leave unused
/// (60578 to 61183), so that the firewall can match its traffic.
pub const USER: u32 = 61_137;

/// Starts a relay that serves `control`, and that outlives this process: it has the socket as its
/// standard input, and a process group of its own. Its log goes where ours goes.
///
/// # Errors
/// The program cannot be started.
pub fn start(control: OwnedFd, user: Option<u32>, log_format: LogFormat) -> io::Result<()> {
    let mut child = spawn(control, user, log_format)?;
    // A service manager would take it for a process that the daemon left behind.
    let cgroups = cgroup::enter(cgroup::places(CGROUP), child.id());
    // It is nobody's business when it ends but that of whoever talks to it; but it must not be left
    // a zombie.
    std::thread::Builder::new().name("relay-reaper".to_owned()).spawn(move || {
        drop(child.wait());
        cgroups.iter().for_each(|place| cgroup::remove(place));
    })?;
    Ok(())
}

/// Starts a relay that serves the other end of `control`, a connected socket, and ends with it.
///
/// # Errors
/// The program cannot be started.
pub fn start_for(control: OwnedFd) -> io::Result<Child> {
    spawn(control, may_become(USER).then_some(USER), LogFormat::Text)
}

#[expect(clippy::disallowed_methods, reason = "the relay is this program, executed again")]
fn spawn(control: OwnedFd, user: Option<u32>, log_format: LogFormat) -> io::Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0(PROCESS_NAME)
        .arg(SUBCOMMAND)
        .stdin(Stdio::from(control))
        .stdout(Stdio::null())
        .process_group(0);
    // It is not the relay that a service manager waits for.
    command.env_remove(notify::VARIABLE);
    command.arg(log_format.to_string());
    if let Some(user) = user {
        command.arg(user.to_string());
    }
    command.spawn()
}

/// Whether a process of ours can change its user to `user`: that takes a user namespace with more
/// users than one (user_namespaces(7), `/proc/PID/uid_map`), and the right.
pub fn may_become(user: u32) -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let within = |line: &str| {
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        let (Some(Ok(first)), Some(Ok(_)), Some(Ok(count))) =
            (numbers.next(), numbers.next(), numbers.next())
        else {
            return false;
        };
        (first..first + count).contains(&u64::from(user))
    };
    rustix::process::geteuid().is_root() && map.lines().any(within)
}

/// Removes the control group of a relay that was asked to end a moment ago, and others that hold nothing.
pub fn forget() {
    let since = Instant::now();
    let is_there = || cgroup::places(CGROUP).iter().any(|place| place.exists());
    cgroup::sweep();
    while is_there() && since.elapsed() < LEAVING {
        std::thread::sleep(LEAVING / 100);
        cgroup::sweep();
    }
}

/// Runs the relay on the socket that is the standard input. The arguments are the format of its log, and its user if it can
/// change that. Returns the exit code.
pub fn main(log_format: Option<&str>, user: Option<&str>) -> ExitCode {
    let format = LogFormat::from_str(log_format.unwrap_or_default(), false);
    logging::start(Level::Info, format.clone().unwrap_or_default());
    // Else arguments in another order would leave the relay the user of the daemon.
    match format.map_err(Into::into).and_then(|_| serve(user)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the relay has ended: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(user: Option<&str>) -> Result<(), Box<dyn std::error::Error>> {
    let control = io::stdin().as_fd().try_clone_to_owned()?;
    // Else the socket would stay open when it is handed over to another relay.
    rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    let user = user.map(str::parse::<u32>).transpose()?.map(|number| User { user: number, group: number });
    // The starter may have blocked those that end it.
    let _ = unblock_signals();
    // Connections are not to be cut by a signal to all processes of a terminal or a service, which is for the daemon.
    let _ = block_signals(&[Signal::HUP.as_raw(), Signal::INT.as_raw()]);
    named(c"fairway-relay", || run(control, Configuration { user, ..Configuration::default() }))?;
    Ok(())
}
