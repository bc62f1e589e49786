//! Namespaces in which an engine runs: of network, mounts and processes.
//!
//! They are not a lab, because engines need the machine's root for control groups. All that the engine writes is in
//! memory; its processes end with the namespace; its control groups are removed.

use std::any::type_name;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// The program that is tested.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_fairway");
/// Set for the second execution of a test, to the name of its control groups.
const INSIDE: &str = "FAIRWAY_ENGINES_INSIDE";
/// What a test prints when its body ran to the end.
const RAN: &str = "the body of the test ran";
/// How long an engine may take to start on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A host for one engine, with the image `bb` to be imported: a file system with busybox.
pub struct Stage {
    /// The name that all control groups of the test begin with.
    pub cgroup: String,
}

/// Runs the body of a test in new namespaces, if this is root and all programs are installed.
pub fn run<F: FnOnce(&Stage)>(programs: &[&str], body: F) {
    if let Ok(cgroup) = std::env::var(INSIDE) {
        prepare();
        body(&Stage { cgroup });
        println!("{RAN}");
        return;
    }
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: engines need the machine's root");
    }
    let missing = programs.iter().chain(&["busybox"]).find(|program| find(program).is_none());
    if let Some(missing) = missing {
        return eprintln!("skipped: the program {missing} is not installed");
    }
    // The type of a closure is named for the function that it is in.
    let test = type_name::<F>().trim_end_matches("::{{closure}}");
    let test = test.split_once("::").unwrap().1;
    let cgroup = format!("fairway-engines-{}-{}", std::process::id(), test.replace("::", "-"));
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child"]);
    // A shell as the first process reaps what engines leave to it: podman takes a conmon that has ended, and is not
    // reaped, to be running, and waits for it.
    command.args(["--mount-proc", "--propagation", "private", "sh", "-c", "\"$@\"; exit $?", "sh"]);
    command.arg(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(INSIDE, &cgroup);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut errors = child.stderr.take().unwrap();
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = errors.read_to_string(&mut text);
        text
    });
    let mut ran = false;
    for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
        ran |= line.contains(RAN);
        println!("{line}");
        // The pipe stays open until the namespace has ended, which a paused container delays for ever.
        if line.starts_with("test result") {
            break;
        }
    }
    thaw(&cgroup);
    let status = child.wait().unwrap();
    remove_cgroups(&cgroup);
    let errors = errors.join().unwrap();
    assert!(status.success() && ran, "the test failed in its namespaces:\n{errors}");
}

/// The path of a program.
fn find(program: &str) -> Option<PathBuf> {
    let directories = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    directories.iter().map(|directory| Path::new(directory).join(program)).find(|path| path.exists())
}

/// Makes all directories that engines write to private and in memory, and the image.
fn prepare() {
    sh("mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /dev/shm
        mkdir -p /run/image/bin /run/image/etc /run/image/proc /run/image/sys /run/image/dev /run/image/usr
        for directory in etc var/lib var/log; do
            mkdir -p /run/above/$directory /run/work/$directory
            above=upperdir=/run/above/$directory,workdir=/run/work/$directory
            mount -t overlay -o lowerdir=/$directory,$above overlay /$directory
        done
        for directory in docker containers containerd cni lxc nerdctl; do
            mkdir -p /var/lib/$directory && mount -t tmpfs tmpfs /var/lib/$directory
        done
        rm -rf /etc/docker /etc/cni /etc/containers/networks
        mkdir -p /etc/cni/net.d /etc/containers/networks
        cp $(command -v busybox) /run/image/bin/busybox
        for name in cat httpd ip sh sleep true wget; do ln -s busybox /run/image/bin/$name; done
        touch /run/image/etc/os-release
        tar -C /run/image -cf /run/image.tar .
        ip link set lo up");
    // The sysfs of a network namespace has its own links; control groups stay as they are.
    sh("mkdir /run/cgroup && mount --rbind /sys/fs/cgroup /run/cgroup && mount -t sysfs sysfs /sys
        mount --rbind /run/cgroup /sys/fs/cgroup");
}

/// A program that runs until this is dropped.
pub struct Running(pub Child);

impl Running {
    /// Starts a program. What it prints goes to a file.
    pub fn start(command: &mut Command, log: &str) -> Self {
        let log = File::create(log).unwrap();
        let command = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Self(command.spawn().unwrap())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs lines of a shell, which have to succeed, and returns what they print, without the last line end.
pub fn sh(script: &str) -> String {
    let output = Command::new("sh").args(["-ec", script]).stdin(Stdio::null()).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {}\n{printed}{errors}", output.status);
    printed.trim_end().to_owned()
}

/// Waits until a condition holds.
pub fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} takes too long");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What a shell command prints, without the last line end; if it fails, none, and its errors are shown with those of the
/// test.
pub fn printed(command: &str) -> Option<String> {
    let output = Command::new("sh").args(["-c", command]).stdin(Stdio::null()).output().unwrap();
    if !output.status.success() {
        eprintln!("{command}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        return None;
    }
    Some(String::from_utf8(output.stdout).unwrap().trim_end().to_owned())
}

/// Whether a shell command succeeds.
pub fn succeeds(command: &str) -> bool {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    shell.status().unwrap().success()
}

/// The on-demand daemons in the namespace of processes.
pub fn daemons() -> String {
    sh("pgrep -f -- '--on-deman[d]' || true")
}

/// Waits for the end of the on-demand daemon, which leaves nothing behind.
pub fn wait_until_nothing_is_left() {
    // The daemon executes itself to remove what it made, and has no command line for a moment.
    let left = || {
        sh("ip -o link | grep -v ': lo:' || true
        nft list tables 2>/dev/null | grep fairway || true")
    };
    wait_for("the end of the daemon", || daemons().is_empty() && left().is_empty());
    assert_eq!(left(), "");
}

/// What `fairway ps --all-engines` lists, sorted as it does: qualified name, status, networks, addresses and ports of
/// each container; and what it prints to the standard error.
pub fn listed(options: &str) -> (Vec<String>, String) {
    let format = "{{.QualifiedName}} {{.Status}} [{{.Networks}}] [{{.Addresses}}] {{.Ports}}";
    let mut command = Command::new(PROGRAM);
    command.args(["ps", "--all-engines", "--format", format]).args(options.split_ascii_whitespace());
    let output = command.stdin(Stdio::null()).output().unwrap();
    let (printed, errors) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{printed}{errors}");
    (printed.lines().map(|line| line.trim_end().to_owned()).collect(), errors)
}

/// Asserts what is listed with stopped containers, without a warning.
pub fn assert_listed(expected: &[&str]) {
    let (lines, errors) = listed("--all");
    assert_eq!(
        (lines.iter().map(String::as_str).collect::<Vec<_>>().as_slice(), errors.as_str()),
        (expected, "")
    );
}

/// Thaws the containers that a failed test left paused: the kernel cannot end them otherwise.
fn thaw(name: &str) {
    sh(&format!(
        "for file in $(find /sys/fs/cgroup -path '*/{name}*' -name freezer.state); do echo THAWED > $file; done
         for file in $(find /sys/fs/cgroup -path '*/{name}*' -name cgroup.freeze); do echo 0 > $file; done"
    ));
}

/// Removes the control groups that a test left: control groups are the machine's, and no namespace's.
fn remove_cgroups(name: &str) {
    let script = format!("find /sys/fs/cgroup -depth -type d -path '*/{name}*' -exec rmdir {{}} +");
    // Processes that were killed leave their groups a moment later.
    let deadline = Instant::now() + PATIENCE;
    while !succeeds(&script) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(100));
    }
    // Groups of other tests come and go meanwhile.
    let left = sh(&format!("find /sys/fs/cgroup -depth -type d -path '*/{name}*' 2>/dev/null || true"));
    assert_eq!(left, "", "control groups are left");
}
