//! The same with Docker Engine, in network, mount and process namespaces of its own.
//!
//! It cannot be in a lab: without the machine's root it cannot set up the cgroups of containers. So this program is
//! executed again by unshare(1), for root alone.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fairway_lab::Place;

use crate::Failure;
use crate::figures::{Table, Times};
use crate::memory::proportional;
use crate::publish::{COLUMNS, FIRST, cells, connect};
use crate::stage::{FIRST_CONTAINER_PORT, HOST, NEIGHBOUR};

/// The argument of the second execution.
pub const INSIDE: &str = "docker-inside";
const NEIGHBOUR_NAME: &str = "neighbour";
const IMAGE: &str = "sleeper";
const SOCKET: &str = "unix:///run/docker.sock";
/// More take it hours.
const COUNTS: [(u16, usize); 4] = [(0, 5), (1, 5), (100, 1), (1000, 1)];
const PATIENCE: Duration = Duration::from_secs(30);

/// Measures it where it is installed and may be run; else says why not.
pub fn measure() -> Result<(), Failure> {
    if !rustix::process::geteuid().is_root() || !Path::new("/usr/sbin/dockerd").exists() {
        println!("\nNo Docker: it takes root, and the package docker.io.");
        return Ok(());
    }
    let program = std::env::current_exe()?;
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    let status = command.arg(program).arg(INSIDE).status()?;
    if status.success() { Ok(()) } else { Err("Docker cannot be measured".into()) }
}

/// What is measured in there.
pub fn inside() -> Result<(), Failure> {
    if std::process::id() != 1 {
        return Err("this is for a namespace of its own".into());
    }
    prepare()?;
    let version = run("dockerd", &["--version"])?;
    let title = format!("The same with {}: start and rm -f ms, memory of all processes", version.trim());
    let table = Table::new(&title, &COLUMNS);
    for proxy in [true, false] {
        let mut daemon = start(proxy)?;
        for (count, rounds) in COUNTS {
            let what = format!("Docker, proxy {}, {count} ports", if proxy { "on" } else { "off" });
            table.row(row(what, count, rounds)?);
        }
        rustix::process::kill_process(pid_of(&daemon)?, rustix::process::Signal::TERM)?;
        daemon.wait()?;
    }
    tidy_cgroups();
    Ok(())
}

fn pid_of(child: &Child) -> Result<rustix::process::Pid, Failure> {
    rustix::process::Pid::from_raw(child.id().cast_signed()).ok_or_else(|| "it has no process".into())
}

/// Runs a program to its end and brings what it printed.
fn run(program: &str, arguments: &[&str]) -> Result<String, Failure> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)).into())
}

fn docker(arguments: &[&str]) -> Result<String, Failure> {
    run("docker", &[&["-H", SOCKET][..], arguments].concat())
}

/// Directories in memory, and a neighbour on the host's LAN.
fn prepare() -> Result<(), Failure> {
    for directory in ["/run", "/etc/docker", "/var/lib/docker"] {
        if Path::new(directory).exists() {
            run("mount", &["-t", "tmpfs", "tmpfs", directory])?;
        }
    }
    let batch = format!(
        "ip link set lo up
ip netns add {NEIGHBOUR_NAME}
ip link add eth0 type veth peer name eth0 netns {NEIGHBOUR_NAME}
ip address add {HOST}/24 dev eth0
ip link set eth0 up
ip -n {NEIGHBOUR_NAME} address add {NEIGHBOUR}/24 dev eth0
ip -n {NEIGHBOUR_NAME} link set eth0 up
ip route add default via {NEIGHBOUR}"
    );
    for line in batch.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        run(words[0], &words[1..])?;
    }
    Ok(())
}

fn start(proxy: bool) -> Result<Child, Failure> {
    let log = File::create("/run/dockerd.log")?;
    let mut command = Command::new("dockerd");
    command.args(["-H", SOCKET, "--data-root", "/run/docker-data", "--storage-driver", "vfs"]);
    command.arg(format!("--userland-proxy={proxy}"));
    let daemon = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
    let deadline = Instant::now() + PATIENCE;
    while docker(&["version"]).is_err() {
        if Instant::now() > deadline {
            return Err(
                format!("it does not answer: {}", std::fs::read_to_string("/run/dockerd.log")?).into()
            );
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    if docker(&["image", "inspect", IMAGE]).is_err() {
        run("sh", &["-c", &format!("{MAKE_IMAGE} | docker -H {SOCKET} import - {IMAGE}")])?;
    }
    Ok(daemon)
}

/// A file system that holds sleep(1) and its libraries.
const MAKE_IMAGE: &str = "mkdir -p /run/image/bin && cp /bin/sleep /run/image/bin/ && \
     for file in $(ldd /bin/sleep | grep -o '/[^ ]*'); do \
     mkdir -p /run/image$(dirname $file) && cp $file /run/image$file; done; tar -C /run/image -c .";

fn row(what: String, count: u16, rounds: usize) -> Result<Vec<String>, Failure> {
    let (mut publish, mut remove) = (Times::default(), Times::default());
    let mut measured = None;
    let neighbour = Place::from_path(format!("/run/netns/{NEIGHBOUR_NAME}"))?;
    let (last, first) = (FIRST + count.max(1) - 1, FIRST_CONTAINER_PORT);
    let ports = format!("0.0.0.0:{FIRST}-{last}:{first}-{}", first + count.max(1) - 1);
    let publishing: &[&str] = if count > 0 { &["-p", &ports] } else { &[] };
    for round in 0..rounds {
        let create = [&["create", "--name", "publishing"][..], publishing, &[IMAGE, "/bin/sleep", "1000"]];
        docker(&create.concat())?;
        publish.note(|| docker(&["start", "publishing"]))?;
        if round + 1 == rounds && count > 0 {
            let memory = everything()?;
            let pid = docker(&["inspect", "-f", "{{.State.Pid}}", "publishing"])?;
            let sandbox = Place::from_path(format!("/proc/{}/ns/net", pid.trim()))?;
            measured = Some((memory, connect(&neighbour, &sandbox, last, first + count - 1)?));
        }
        remove.note(|| docker(&["rm", "-f", "publishing"]))?;
    }
    Ok(cells(what, &publish, &remove, measured.as_ref()))
}

/// The memory of all processes but this one.
fn everything() -> Result<f64, Failure> {
    let pids = std::fs::read_dir("/proc")?.flatten().filter_map(|it| it.file_name().to_str()?.parse().ok());
    // One that ends meanwhile holds nothing.
    Ok(pids.filter(|pid| *pid != 1).map(|pid| proportional(pid).unwrap_or_default()).sum())
}

/// Cgroups are the machine's, not the namespace's: what is left of containers goes.
fn tidy_cgroups() {
    let _ = Command::new("find")
        .args(["/sys/fs/cgroup", "-depth", "-type", "d", "-path", "*/docker*"])
        .args(["-exec", "rmdir", "{}", ";"])
        .stderr(Stdio::null())
        .status();
}
