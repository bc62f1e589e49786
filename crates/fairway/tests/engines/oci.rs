//! Fairway as the hook of runc and crun, which run bundles without an engine.

use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::podman;
use crate::stage::{self, Running, Stage, daemons, sh, succeeds, wait_for, wait_until_nothing_is_left};

const FAIRWAY: &str = env!("CARGO_BIN_EXE_fairway");

/// An OCI runtime, and how its hooks are called before the command runs.
struct Runtime {
    command: &'static str,
    hook: &'static str,
    cgroup: String,
}

/// The annotation by which crun keeps what hooks print, for the container with an id.
fn crun_errors(id: &str) -> (&'static str, String) {
    ("run.oci.hooks.stderr", format!("/run/{id}.errors"))
}

const APP: [(&str, &str); 3] = [
    ("fairway.network", "app"),
    ("fairway.subnet", "10.55.0.0/24,fd55::/64"),
    ("fairway.gateway", "10.55.0.254"),
];

impl Runtime {
    fn runc(stage: &Stage) -> Self {
        Self { command: "runc", hook: "createRuntime", cgroup: stage.cgroup.clone() }
    }

    fn crun(stage: &Stage) -> Self {
        sh("test -e /sys/fs/cgroup/cgroup.controllers || mount -t cgroup2 cgroup2 /sys/fs/cgroup");
        Self {
            command: "crun --cgroup-manager=disabled",
            hook: "createRuntime",
            cgroup: stage.cgroup.clone(),
        }
    }

    /// The configuration of a bundle with the hooks.
    fn configuration(&self, id: &str, command: &str, annotations: &[(&str, &str)]) -> Value {
        let args: Vec<_> = command.split(' ').collect();
        let mut annotations: serde_json::Map<_, _> =
            annotations.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let (key, file) = crun_errors(id);
        annotations.insert(key.to_owned(), json!(file));
        let capabilities = json!(["CAP_NET_BIND_SERVICE", "CAP_KILL"]);
        let namespaces: Vec<_> =
            ["pid", "mount", "network", "ipc", "uts"].iter().map(|kind| json!({"type": kind})).collect();
        let hook = |phase: &str| json!([{"path": FAIRWAY, "args": ["fairway", "oci-hook", phase]}]);
        json!({
            "ociVersion": "1.0.2",
            "process": {"user": {"uid": 0, "gid": 0}, "args": args, "env": ["PATH=/bin"], "cwd": "/",
                "capabilities": {"bounding": capabilities, "permitted": capabilities, "effective": capabilities}},
            "root": {"path": "/run/image", "readonly": true},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/etc/resolv.conf", "type": "bind", "source": "/run/resolver", "options": ["bind", "ro"]},
            ],
            "linux": {"namespaces": namespaces, "cgroupsPath": format!("/{}-{id}", self.cgroup)},
            "hooks": {self.hook: hook(self.hook), "poststop": hook("poststop")},
            "annotations": annotations,
        })
    }

    /// Starts the container of a bundle.
    fn run(&self, id: &str, configuration: &Value) -> Output {
        std::fs::write("/run/resolver", "nameserver 127.0.0.11\noptions ndots:0\n").unwrap();
        let bundle = format!("/run/bundles/{id}");
        std::fs::create_dir_all(&bundle).unwrap();
        std::fs::write(format!("{bundle}/config.json"), configuration.to_string()).unwrap();
        // The container's process has the files of its runtime, which must not be pipes to this process.
        let script = format!("exec {} run -d --bundle {bundle} {id} > /run/{id}.log 2>&1", self.command);
        let mut output = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).output().unwrap();
        output.stderr = std::fs::read(format!("/run/{id}.log")).unwrap();
        output.stderr.extend(std::fs::read(crun_errors(id).1).unwrap_or_default());
        output
    }

    fn start(&self, id: &str, command: &str, annotations: &[(&str, &str)]) {
        let output = self.run(id, &self.configuration(id, command, annotations));
        assert!(output.status.success(), "{id}: {}", text(&output.stderr));
    }

    /// Why a container does not start.
    fn failure(&self, id: &str, annotations: &[(&str, &str)]) -> String {
        let output = self.run(id, &self.configuration(id, "sleep 1000", annotations));
        assert!(!output.status.success(), "{id} started");
        text(&output.stderr)
    }

    fn inside(&self, id: &str, command: &str) -> String {
        sh(&format!("{} exec {id} /bin/busybox {command}", self.command))
    }

    fn reaches(&self, id: &str, url: &str) -> bool {
        succeeds(&format!("{} exec {id} /bin/busybox timeout 3 /bin/busybox wget -q -O- {url}", self.command))
    }

    fn delete(&self, id: &str) {
        sh(&format!("{} delete --force {id}", self.command));
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn fairway(arguments: &str) -> String {
    sh(&format!("{FAIRWAY} {arguments}"))
}

fn on_host(url: &str) -> bool {
    succeeds(&format!("busybox timeout 3 busybox wget -q -O- {url}"))
}

const WEB: &str = "busybox httpd -f -p 80 -h /etc";

/// Two bundles on a network that they describe, without a daemon before and after.
fn bundles_are_connected(runtime: &Runtime) {
    let published =
        [&APP[..], &[("fairway.publish", "8080:80"), ("fairway.name", "web"), ("fairway.alias", "www")]];
    runtime.start("web.1", WEB, &published.concat());
    runtime.start("client", "sleep 1000", &[("fairway.network", "app"), ("fairway.ip", "10.55.0.77")]);
    assert!(runtime.inside("client", "ip address show eth0").contains("10.55.0.77/24"));
    assert!(runtime.inside("client", "ip route").contains("default via 10.55.0.254"));
    for host in ["10.55.0.1", "[fd55::2]", "web", "www"] {
        assert!(runtime.reaches("client", &format!("http://{host}/os-release")), "{host}");
    }
    assert!(on_host("http://127.0.0.1:8080/os-release"));
    let listed = fairway("ps");
    assert!(listed.contains("web") && listed.contains("client"), "{listed}");

    // What cannot be connected does not run, and leaves nothing.
    let taken = runtime.failure("second", &[("fairway.network", "app"), ("fairway.publish", "8080:80")]);
    assert!(taken.contains("8080"), "{taken}");
    let missing = runtime.failure("third", &[("fairway.network", "absent")]);
    assert!(missing.contains("network absent not found"), "{missing}");
    let typing = runtime.failure("fourth", &[("fairway.netwrok", "app")]);
    assert!(typing.contains("unknown annotation fairway.netwrok"), "{typing}");
    assert_eq!(fairway("ps -q").lines().count(), 2);

    // The network of the host is left alone, with no word about networks.
    let mut hosted = runtime.configuration("hosted", "sleep 1000", &[("fairway.network", "app")]);
    hosted["linux"]["namespaces"].as_array_mut().unwrap().retain(|it| it["type"] != "network");
    let output = runtime.run("hosted", &hosted);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(fairway("ps -q").lines().count(), 2);
    runtime.delete("hosted");

    // One is deleted by its runtime; the other ends, and is deleted when the daemon is gone.
    runtime.delete("web.1");
    assert!(!fairway("ps").contains("web"));
    assert!(!on_host("http://127.0.0.1:8080/os-release"));
    sh(&format!("{} kill client KILL", runtime.command));
    wait_until_nothing_is_left();
    runtime.delete("client");
    assert_eq!(daemons(), "", "poststop started a daemon");
}

#[test]
fn bundles_of_runc_are_connected() {
    stage::run(&["runc"], |stage| bundles_are_connected(&Runtime::runc(stage)));
}

#[test]
fn bundles_of_crun_are_connected() {
    stage::run(&["crun"], |stage| bundles_are_connected(&Runtime::crun(stage)));
}

/// Networks that a user created, and the default one. The hooks are those of old runtimes.
fn bundles_join_networks_of_the_daemon(runtime: &Runtime) {
    let mut command = Command::new(FAIRWAY);
    let _daemon = Running::start(command.args(["daemon", "--data-root", "/run/data"]), "/run/daemon.log");
    wait_for("the daemon", || succeeds(&format!("{FAIRWAY} version")));
    fairway("network create --subnet 10.66.0.0/24 front");
    fairway("network create --subnet 10.67.0.0/24 back");
    let runtime = Runtime { hook: "prestart", cgroup: runtime.cgroup.clone(), ..*runtime };
    runtime.start("web", WEB, &[("fairway.network", "back")]);
    runtime.start("both", "sleep 1000", &[("fairway.network", "front,back")]);
    runtime.start("other", "sleep 1000", &[("fairway.network", "front")]);
    runtime.start("plain", WEB, &[]);
    assert!(runtime.reaches("both", "http://web/os-release"));
    assert!(runtime.inside("both", "ip address show eth1").contains("10.67.0."));
    assert!(!runtime.reaches("other", "http://10.67.0.2/os-release"));
    let address = fairway("inspect --format '{{.NetworkSettings.Networks.bridge.IPAddress}}' plain");
    assert!(on_host(&format!("http://{address}/os-release")), "{address}");
    for id in ["web", "both", "other", "plain"] {
        runtime.delete(id);
    }
    assert_eq!(fairway("ps -aq"), "");
    assert!(fairway("network ls").contains("front"));
}

#[test]
fn bundles_of_runc_join_networks_of_the_daemon() {
    stage::run(&["runc"], |stage| bundles_join_networks_of_the_daemon(&Runtime::runc(stage)));
}

#[test]
fn bundles_of_crun_join_networks_of_the_daemon() {
    stage::run(&["crun"], |stage| bundles_join_networks_of_the_daemon(&Runtime::crun(stage)));
}

#[test]
fn the_hook_called_by_hand_says_what_it_does() {
    stage::run(&[], |_| {
        let called = |phase: &str, state: &str| {
            let script = format!("echo '{state}' | {FAIRWAY} oci-hook {phase} 2>&1 && echo 0 || echo $?");
            sh(&script)
        };
        let own = format!(r#"{{"id": "web", "status": "creating", "pid": {}}}"#, std::process::id());
        let alone =
            "fairway-oci-hook: container web is in the network namespace of its runtime: it is left alone\n0";
        assert_eq!(called("", &own), alone);
        assert_eq!(called("poststop", r#"{"id": "web"}"#), "0");
        assert!(called("poststart", &own).ends_with("is expected\n1"));
        assert!(called("", "web").starts_with("fairway-oci-hook: cannot read the container's state: "));
        assert_eq!(daemons(), "");
    });
}

/// A user with a namespace for the runtime and one for a container, whose hooks are called in the former.
const USER: &str = r#"
ip link set lo up
unshare --net sleep 1000 > /dev/null 2>&1 & sleep 0.5
container=$!
hook() { echo "$1" | /run/fw oci-hook "$2"; }
hook '{"id": "web", "pid": '$container', "annotations": {"fairway.network": "app", "fairway.subnet": "10.5.0.0/24"}}' createRuntime
nsenter --net --target $container ip -brief address show eth0
/run/fw -H unix:///run/user/4242/fairway/api.sock ps --format '{{.Names}}'
hook '{"id": "web"}' poststop
/run/fw -H unix:///run/user/4242/fairway/api.sock ps --all --quiet | wc -l
"#;

#[test]
fn containers_of_a_user_are_connected_in_a_namespace_of_the_users() {
    stage::run(&["setpriv", "unshare"], |_| {
        std::fs::write("/run/user.sh", USER).unwrap();
        sh(&format!(
            "chmod 755 /run && mkdir -p /run/user/4242 && chown 4242 /run/user/4242 && install -m 755 {FAIRWAY} /run/fw"
        ));
        let as_user = |script: &str| {
            let user = "setpriv --reuid 4242 --regid 4242 --clear-groups env XDG_RUNTIME_DIR=/run/user/4242";
            format!("{user} {script}")
        };
        let printed = sh(&as_user("unshare --map-root-user --user --net --mount sh -e /run/user.sh"));
        let lines: Vec<_> = printed.lines().collect();
        assert!(lines[0].contains("10.5.0.2/24"), "{printed}");
        assert_eq!(lines[1..], ["web", "0"], "{printed}");
        // Without such a namespace the hook fails, and poststop has nothing to do.
        let state = format!(r#"{{"id": "web", "pid": {}}}"#, std::process::id());
        std::fs::write("/run/state", state).unwrap();
        assert!(succeeds(&as_user("/run/fw oci-hook poststop < /run/state")));
        sh(
            "unshare --net sleep 1000 > /dev/null 2>&1 & echo '{\"id\": \"web\", \"pid\": '$!'}' > /run/state; sleep 0.5",
        );
        assert!(!succeeds(&as_user("/run/fw oci-hook createRuntime < /run/state")));
    });
}

#[test]
fn podman_calls_the_installed_hook_for_annotated_containers() {
    stage::run(&["podman", "crun", "conmon"], |_| {
        podman::prepare();
        fairway(&format!("install oci-hook --bin-path {FAIRWAY}"));
        let run =
            |options: &str| podman::podman(&format!("run -d --cgroups=disabled --network none {options}"));
        let app = "--annotation fairway.network=app --annotation fairway.subnet=10.55.0.0/24";
        run(&format!(
            "--name web {app} --annotation fairway.name=web bb /bin/busybox httpd -f -p 80 -h /etc"
        ));
        run(&format!("--name client {app} bb /bin/busybox sleep 1000"));
        run("--name alone bb /bin/busybox sleep 1000");
        podman::podman(
            "exec client /bin/busybox timeout 3 /bin/busybox wget -q -O- http://10.55.0.2/os-release",
        );
        assert!(!podman::podman("exec alone /bin/busybox ip -o link").contains("eth0"));
        assert_eq!(fairway("ps -q").lines().count(), 2);
        podman::podman("rm -f -t 0 web client alone");
        wait_until_nothing_is_left();
    });
}
