//! What Docker's command line has and Fairway's has not, with what to do instead.

/// Flags of `docker run`, `create` and `exec`, and what to do instead.
const FLAGS: [(&[&str], &str); 14] = [
    (
        &[
            "--blkio-weight",
            "--blkio-weight-device",
            "--cgroup-parent",
            "--cgroupns",
            "--cpu-count",
            "--cpu-percent",
            "--cpu-period",
            "--cpu-quota",
            "--cpu-rt-period",
            "--cpu-rt-runtime",
            "--cpu-shares",
            "--cpuset-cpus",
            "--cpuset-mems",
            "--device-read-bps",
            "--device-read-iops",
            "--device-write-bps",
            "--device-write-iops",
            "--kernel-memory",
            "--memory-reservation",
            "--memory-swap",
            "--memory-swappiness",
            "--oom-kill-disable",
            "--oom-score-adj",
            "-c",
        ],
        "Fairway limits memory, processors and processes: -m 512m --cpus 1.5 --pids-limit 100; for more, run it in the foreground under systemd-run --scope",
    ),
    (&["--ulimit"], "the command inherits the caller's limits: ulimit -n 1024; fairway run ..."),
    (
        &[
            "--mount",
            "--read-only",
            "--storage-opt",
            "--tmpfs",
            "--volume",
            "--volume-driver",
            "--volumes-from",
            "-v",
        ],
        "a sandbox sees the files of this host: give the command their paths",
    ),
    (&["--userns"], "users are those of this host: choose one with --user"),
    (&["--entrypoint"], "Fairway has no images: name the command itself"),
    (
        &["--disable-content-trust", "--platform", "--pull", "--quiet", "-q"],
        "Fairway has no images: it runs programs of this host",
    ),
    (
        &[
            "--health-cmd",
            "--health-interval",
            "--health-retries",
            "--health-start-interval",
            "--health-start-period",
            "--health-timeout",
            "--no-healthcheck",
        ],
        "Fairway checks the health of no command: look with fairway exec",
    ),
    (&["--log-driver"], "logs are kept as by json-file: limit them with --log-opt max-size=10m"),
    (&["--cidfile"], "fairway run -d prints the id: fairway run -d ... > FILE"),
    (&["--label-file"], "give each label with --label"),
    (&["--domainname"], "give it with the host name: --hostname NAME.DOMAIN"),
    (
        &["--attach", "--detach-keys", "--sig-proxy", "-a"],
        "in the foreground the command has the caller's streams and signals: leave it out",
    ),
    (
        &["--device", "--device-cgroup-rule", "--gpus", "--security-opt"],
        "a sandbox sees the devices of this host: narrow its rights with --cap-drop, or widen them with --privileged",
    ),
    (
        &["--annotation", "--ipc", "--isolation", "--pid", "--runtime", "--shm-size", "--uts"],
        "each sandbox has its own pid, IPC and UTS namespaces and no runtime: leave it out",
    ),
];

/// Commands of Docker's, and what to do instead.
const COMMANDS: [(&[&str], &str); 8] = [
    (&["stats"], "packets and bytes are shown by fairway network stats, processes by fairway top"),
    (
        &[
            "build", "builder", "buildx", "commit", "history", "image", "images", "import", "load", "login",
            "logout", "manifest", "pull", "push", "rmi", "save", "search", "tag", "trust",
        ],
        "Fairway has no images, it runs programs of this host: fairway run -- COMMAND",
    ),
    (&["cp", "diff", "volume"], "a sandbox sees the files of this host: use them directly"),
    (
        &["create"],
        "start it at once with fairway run, or make a namespace without a process with fairway sandbox create",
    ),
    (
        &["pause", "unpause"],
        "stop and continue its process: fairway kill -s STOP CONTAINER, fairway kill -s CONT CONTAINER",
    ),
    (&["container"], "leave the word out: fairway run, fairway ps, fairway rm"),
    (
        &["compose"],
        "Fairway makes the networks of a Compose file, and says how to start its services: fairway apply -f compose.yaml",
    ),
    (
        &["config", "node", "plugin", "secret", "service", "stack", "swarm"],
        "Fairway runs one command at a time on one host: put the commands into a script",
    ),
];

/// What to do instead of attaching to a container.
pub(super) const INSTEAD_OF_ATTACH: &str = "fairway attach joins the namespace of another program (--pid, --netns) to networks: \
     see the output of a command with fairway logs -f, and enter its sandbox with fairway exec";

/// What to do instead of a flag of `docker system prune`.
pub(super) fn instead_of_prune(flag: &str) -> Option<&'static str> {
    ["--all", "--volumes", "-a"]
        .contains(&flag)
        .then_some("Fairway has no images and no volumes: leave it out")
}

/// What to do instead of a flag.
pub(super) fn instead_of_flag(flag: &str) -> Option<&'static str> {
    find(&FLAGS, flag)
}

/// What to do instead of a command.
pub(super) fn instead_of_command(command: &str) -> Option<&'static str> {
    find(&COMMANDS, command)
}

fn find(table: &[(&[&str], &'static str)], word: &str) -> Option<&'static str> {
    table.iter().find(|(words, _)| words.contains(&word)).map(|(_, advice)| *advice)
}
