//! Docker's own clients at Fairway's daemon: the command line, and Compose.

use std::path::Path;

use crate::stage::{self, PROGRAM, printed, sh, succeeds, wait_for};

/// Starts a daemon at the place where Docker's clients look for theirs.
fn set_up() {
    sh(&format!("{PROGRAM} daemon --data-root /run/data >/run/daemon.log 2>&1 &"));
    sh("ip netns add lan && ip link add lan0 type veth peer name eth0 netns lan
        ip address add 10.10.50.1/24 dev lan0 && ip link set lan0 up
        ip -n lan address add 10.10.50.9/24 dev eth0 && ip -n lan link set eth0 up");
    wait_for("the daemon", || succeeds("test -S /run/fairway.sock"));
    sh("ln -s fairway.sock /run/docker.sock");
}

fn docker(arguments: &str) -> String {
    sh(&format!("docker {arguments}"))
}

/// Ends the daemon, which has to have nothing left.
fn end() {
    assert_eq!(sh("docker ps -aq"), "");
    sh("pkill -f '[d]aemon --data-root'");
    wait_for("the end of the daemon", || !succeeds("pgrep -f '[d]aemon --data-root'"));
    sh(&format!("{PROGRAM} daemon --data-root /run/data --remove"));
    assert_eq!(sh("ip -br link | grep -v -E '^(lo|lan0)' || true; nft list tables"), "");
}

/// Where Docker's command line may be, of several versions.
const CLIENTS: [&str; 2] = ["/usr/bin/docker", "/usr/local/bin/docker"];

#[test]
fn the_command_line_runs_containers() {
    stage::run(&["docker", "ip", "nft"], |_| {
        set_up();
        for client in CLIENTS.into_iter().filter(|client| Path::new(client).exists()) {
            sh(&format!("mount --bind {client} $(command -v docker)"));
            run_containers();
        }
        end();
    });
}

fn run_containers() {
    assert_eq!(docker("run --rm host echo hello"), "hello");
    // One that ends at once loses nothing.
    for number in 0..5 {
        assert_eq!(docker(&format!("run --rm host echo {number}")), number.to_string());
    }
    let both = sh("docker run --rm host sh -c 'echo out; echo err >&2; exit 7' 2>/run/err || echo $?");
    assert_eq!((both.as_str(), sh("cat /run/err").as_str()), ("out\n7", "err"));

    docker("network create app");
    docker(
        "run -d --name web --network app -p 8080:80 host sh -c 'echo web > /run/name; exec busybox httpd -f -p 80 -h /run'",
    );
    docker(
        "run -d --name db --network app --network-alias store host sh -c 'while :; do echo tick; sleep 0.1; done'",
    );
    let get =
        |place: &str, url: &str| printed(&format!("{place} timeout 3 wget -qO- -t 1 http://{url}/name"));
    wait_for("the server", || get("ip netns exec lan", "10.10.50.1:8080").as_deref() == Some("web"));
    assert_eq!(get("docker exec db", "web").as_deref(), Some("web"));

    wait_for("lines", || docker("logs db").lines().count() >= 3);
    assert_eq!(docker("logs -n 1 db"), "tick");
    let line = docker("logs -n 1 -t db");
    assert!(line.starts_with("20") && line.ends_with("Z tick"), "{line}");
    assert_eq!(docker("logs --since 1h --until 30m db"), "");
    assert_eq!(docker("exec -e A=1 -w /tmp db sh -c 'echo $A $(pwd)'"), "1 /tmp");
    assert_eq!(sh("docker exec db sh -c 'exit 3' || echo $?"), "3");
    assert_eq!(sh("echo data | docker exec -i db cat"), "data");
    // A terminal, with the size of the client's.
    let shown = sh(
        "script -qec 'stty rows 33 cols 99; docker exec -it db sh -c \"tty; sleep 0.3; stty size\"' /dev/null </dev/null",
    );
    assert!(shown.contains("/dev/pts/") && shown.contains("33 99"), "{shown}");
    let top = docker("top db");
    assert!(top.starts_with("UID") && top.contains("while :; do echo tick"), "{top}");
    let stats = docker("stats --no-stream --format '{{.Name}} {{.NetIO}} {{.PIDs}}' web");
    assert!(stats.starts_with("web ") && !stats.contains(" 0B / 0B "), "{stats}");

    // Attached: to what it writes from now on, and to its end.
    let attached = sh(
        "docker attach --no-stdin db > /run/attached & sleep 0.5; docker stop -t 1 db; wait; cat /run/attached",
    );
    assert!(attached.lines().filter(|line| *line == "tick").count() >= 2, "{attached}");
    docker("rename db store1");
    docker("restart -t 1 store1");
    assert_eq!(get("docker exec store1", "web").as_deref(), Some("web"));
    assert_eq!(docker("ps --format '{{.Names}} {{.Image}}'"), "store1 host\nweb host");
    docker("rm -f web store1");
    docker("system prune -f");
}

#[test]
fn containers_have_streams_users_and_limits() {
    stage::run(&["docker", "ip", "nft", "script"], |_| {
        set_up();
        for client in CLIENTS.into_iter().filter(|client| Path::new(client).exists()) {
            sh(&format!("mount --bind {client} $(command -v docker)"));
            streams();
            users_and_namespaces();
            events();
            limits();
            images();
        }
        end();
    });
}

/// What a command prints at a terminal of 33 rows and 99 columns, of which the first shell is `input`.
fn at_terminal(input: &str, command: &str) -> String {
    sh(&format!("({input}) | script -qec \"stty rows 33 cols 99; {command}\" /dev/null"))
}

fn streams() {
    assert_eq!(sh("echo data | docker run --rm -i host cat"), "data");
    assert_eq!(sh("head -c 9000000 /dev/zero | docker run --rm -i host wc -c"), "9000000");
    let both = sh("echo x | docker run --rm -i host sh -c 'cat; echo err >&2; exit 7' 2>/run/err || echo $?");
    assert_eq!((both.as_str(), sh("cat /run/err").as_str()), ("x\n7", "err"));
    // Without an input too, output is as it was written, and a command waits for clients that are slow.
    assert_eq!(sh("docker run --rm host head -c 5000000 /dev/zero | (sleep 1; wc -c)"), "5000000");
    let limited = "--log-opt max-size=20k --log-opt max-file=1";
    assert_eq!(
        sh(&format!("docker run --rm {limited} host seq 1 20000 | md5sum")),
        sh("seq 1 20000 | md5sum")
    );
    assert_eq!(sh(r"docker run --rm host printf '\377\376\000' | od -An -tx1").trim(), "ff fe 00");
    let begun = "docker run --rm host sh -c 'printf prompt; sleep 3' >/run/out & sleep 2; cat /run/out; wait";
    assert_eq!(sh(begun), "prompt");
    assert_eq!(sh("docker run --rm -a stderr host sh -c 'echo out; echo err >&2' 2>&1"), "err");
    assert_eq!(
        sh(
            "docker run --rm host nosuch 2>/run/err || echo $?; docker run --rm host /etc/passwd 2>>/run/err || echo $?"
        ),
        "127\n126"
    );
    let shown = at_terminal("sleep 2", "docker run --rm -it host sh -c 'tty; sleep 0.5; stty size'");
    assert!(shown.contains("/dev/pts/") && shown.contains("33 99"), "{shown}");

    // A shell that one client leaves, and another one ends.
    docker("run -dit --name shell host sh");
    let keys = r"sleep 1; printf 'echo fir''st\n'; sleep 1; printf '\020\021'; sleep 1";
    let shown = at_terminal(keys, "docker attach shell || true");
    assert!(shown.contains("first"), "{shown}");
    assert_eq!(docker("inspect -f '{{.State.Running}} {{.Config.Tty}}' shell"), "true true");
    at_terminal(r"sleep 1; printf 'exit 5\n'; sleep 1", "docker attach shell || true");
    assert_eq!(docker("wait shell"), "5");
    assert!(docker("logs shell").contains("first"));
    docker("rm shell");
}

fn users_and_namespaces() {
    let user =
        "run --rm -u www-data --group-add 4 host sh -c 'id -un; id -G; echo $HOME; echo hi >/dev/stdout'";
    assert_eq!(docker(user), "www-data\n33 4\n/var/www\nhi");
    assert_eq!(
        docker("run --rm -u 1234:77 host sh -c 'id -u; id -g; grep CapEff /proc/self/status'"),
        "1234\n77\nCapEff:\t0000000000000000"
    );
    let unknown = sh("docker run --rm -u stranger host true 2>&1 || true");
    assert!(
        unknown.contains("unable to find user stranger: no matching entries in passwd file"),
        "{unknown}"
    );
    docker(
        "run -d --name idle --init --sysctl net.core.somaxconn=77 --stop-signal USR1 host sh -c 'trap \"exit 7\" USR1; while :; do sleep 0.1; done'",
    );
    assert_eq!(docker("exec idle cat /proc/1/comm /proc/sys/net/core/somaxconn"), "fairway-init\n77");
    assert_eq!(docker("exec -u www-data idle id -un"), "www-data");
    assert_eq!(docker("stop idle"), "idle");
    assert_eq!(docker("wait idle"), "7");
    let signals = "events --since 1m --until 0s --filter container=idle --filter event=kill";
    // Docker's client asks for whole seconds.
    wait_for("the signal", || {
        docker(&format!("{signals} --format '{{{{.Actor.Attributes.signal}}}}'")) == "10"
    });
    docker("rm idle");
    let refused = sh("docker run --rm --sysctl kernel.shm_rmid_forced=1 host true 2>&1 || true");
    assert!(refused.contains("only sysctls of network namespaces"), "{refused}");
}

fn events() {
    docker("run -d --name seen host sleep 1000");
    assert_eq!(sh("docker exec seen sh -c 'exit 3' || true"), "");
    docker("update --restart on-failure:2 seen && docker restart -t 0 seen");
    docker("run --name attached host true && docker rm attached && docker rm -f seen");
    let kinds = "exec_create exec_start exec_die update restart attach".replace(' ', " --filter event=");
    let happened = format!(
        "events --since 1m --until 0s --filter event={kinds} --format '{{{{.Action}}}} {{{{.Actor.Attributes.name}}}}{{{{.Actor.Attributes.exitCode}}}}'"
    );
    let expected = [
        "exec_create: sh -c exit 3 seen<no value>",
        "exec_start: sh -c exit 3 seen<no value>",
        "exec_die seen3",
        "update seen<no value>",
        "restart seen<no value>",
        "attach attached<no value>",
    ];
    wait_for("the events", || docker(&happened).ends_with(&expected.join("\n")));
}

/// An image is a directory, here with nothing but a shell.
fn images() {
    sh("mkdir -p /run/data/images/box:1/bin /run/data/images/box:1/etc
        cp $(command -v busybox) /run/data/images/box:1/bin/sh
        echo 'app:x:7:8::/home/app:' >/run/data/images/box:1/etc/passwd");
    assert_eq!(docker("images --format '{{.Repository}}:{{.Tag}}'"), "host:latest\nbox:1");
    docker("network create app && docker run -d --name db --network app host sleep 1000");
    let seen = docker(
        "run --rm --network app -u app box:1 sh -c 'echo /*; echo $HOME; cat /etc/hosts | grep -c localhost; nslookup db | grep -c 172'",
    );
    assert_eq!(seen, "/bin /dev /etc /proc /sys\n/home/app\n2\n1");
    // A missing working directory is made.
    assert_eq!(docker("run --rm -w /bin/new/er box:1 sh -c pwd"), "/bin/new/er");
    assert_eq!(
        sh("docker run --name broken -w /dev/new box:1 sh 2>/dev/null || echo $?; test ! -e /dev/new"),
        "125"
    );
    let error = docker("inspect -f '{{.State.Error}}' broken && docker rm broken");
    assert!(error.contains("/dev/new"), "{error}");
    docker("run -d --name box box:1 sh -c 'sleep 1000'");
    assert_eq!(docker("exec -u app box sh -c 'id -u; id -g'"), "7\n8");
    assert_eq!(docker("inspect -f '{{.Config.Image}}' box"), "box:1");
    let missing = sh("docker run --rm box:2 true 2>&1 || true");
    assert!(
        missing.contains("No such image: box:2: there are host, box:1") || missing.contains("cannot pull"),
        "{missing}"
    );
    docker("rm -f box db && docker network rm app");
}

fn limits() {
    docker("run -d --name small -m 64m --cpus 0.5 --pids-limit 50 host sleep 1000");
    let id = docker("inspect -f '{{.Id}}' small");
    let limit = |files: &str| {
        let of = |file| {
            format!("find /sys/fs/cgroup -path '*fairway/{id}/{file}' -exec cat {{}} + 2>/dev/null || true")
        };
        files.split(' ').map(|file| sh(&of(file))).collect::<Vec<_>>().concat()
    };
    assert_eq!(limit("memory.max memory.limit_in_bytes"), "67108864");
    assert!(["50000", "50000 100000"].contains(&limit("cpu.max cpu.cfs_quota_us").as_str()));
    assert_eq!(limit("pids.max").lines().next_back().unwrap(), "50");
    // What is executed in it counts too.
    let of_command = sh("cat /proc/$(docker inspect -f '{{.State.Pid}}' small)/cgroup");
    assert!(of_command.contains(&format!("fairway/{id}")), "{of_command}");
    assert_eq!(
        sh("docker exec -d small sleep 77; sleep 1; cat /proc/$(pgrep -f '^sleep 7[7]')/cgroup"),
        of_command
    );
    // It goes on without a client that reads what it writes.
    docker("exec -d small sh -c 'yes | head -n 100000; echo >/run/written'");
    sh(
        "timeout -s KILL 1 docker exec small sh -c 'yes | head -n 1000000; sleep 2; echo; echo >/run/left' | head -n 1",
    );
    wait_for("all is written", || succeeds("test -e /run/written -a -e /run/left"));
    docker("update --memory 128m --pids-limit 60 --restart always small");
    assert_eq!(limit("memory.max memory.limit_in_bytes"), "134217728");
    assert_eq!(
        docker("inspect -f '{{.HostConfig.Memory}} {{.HostConfig.RestartPolicy.Name}}' small"),
        "134217728 always"
    );
    docker("update --pids-limit -1 small");
    assert_eq!(limit("pids.max").lines().next_back().unwrap(), "max");
    let refused = sh("docker update --cpu-shares 5 small 2>&1 || true");
    assert!(refused.contains("--cpu-shares (CpuShares) is not supported"), "{refused}");
    docker("rm -f small");
    let refused = sh("docker run --rm -m 1m host true 2>&1 || true");
    assert!(refused.contains("Minimum memory limit allowed is 6MB"), "{refused}");
    let hungry = r#"exec awk 'BEGIN { x = "aaaaaaaaaaaaaaaa"; while (1) x = x x }'"#;
    for foreground in ["", "-d"] {
        sh(&format!("docker run {foreground} --name hungry -m 20m host sh -c {hungry:?} || true"));
        docker("wait hungry");
        assert_eq!(docker("inspect -f '{{.State.OOMKilled}}' hungry"), "true");
        docker("rm hungry");
    }
}

#[test]
fn containers_are_restarted_by_their_policies() {
    stage::run(&["docker", "ip", "nft"], |_| {
        set_up();
        let state =
            |name: &str| docker(&format!("inspect -f '{{{{.RestartCount}}}} {{{{.State.Status}}}}' {name}"));
        docker("run -d --restart on-failure:2 --name flaky host sh -c 'echo x >>/run/count; exit 3'");
        wait_for("the last restart", || state("flaky") == "2 exited");
        assert_eq!(sh("grep -c x /run/count"), "3");
        docker("run -d --restart unless-stopped --name web -p 8080:80 host busybox httpd -f -p 80 -h /etc");
        docker("run -d --restart always --name stopped host sleep 1000");
        docker("run -d --restart unless-stopped --name ended host sleep 1000");
        docker("stop -t 0 stopped ended");
        let answers =
            || succeeds("ip netns exec lan timeout 3 wget -qO- -t 1 http://10.10.50.1:8080/os-release");
        let first = docker("inspect -f '{{.State.Pid}}' web");
        sh(&format!("kill -9 {first}"));
        wait_for("the server again", answers);
        assert_eq!(state("web"), "1 running");

        // As in Docker, one that waits for its restart is waited for: here for the next code, and for a stop.
        docker(
            "run -d --restart always --name counting host sh -c 'echo >>/run/runs; exit $(wc -l </run/runs)'",
        );
        wait_for("a longer delay", || docker("inspect -f '{{.RestartCount}}' counting") == "4");
        let last: u32 = docker("inspect -f '{{.State.ExitCode}}' counting").parse().unwrap();
        assert!(docker("wait counting").parse::<u32>().unwrap() > last);
        sh("docker wait counting >/run/waited &");
        docker("stop counting");
        wait_for("the end of the wait", || succeeds("grep -q . /run/waited"));
        docker("rm counting");

        // The host is off: all processes end at once.
        sh(
            "pkill -9 -f '[d]aemon --data-root'; pkill -9 -f '[f]airway-supervisor'; pkill -9 -f 'busybox http[d]'",
        );
        sh(&format!("{PROGRAM} daemon --data-root /run/data >>/run/daemon.log 2>&1 &"));
        wait_for("the server after the boot", answers);
        wait_for("a policy of always", || state("stopped") == "1 running");
        assert_eq!((state("ended"), state("flaky")), ("0 exited".to_owned(), "2 exited".to_owned()));
        // What a user stops or removes stays so.
        docker("stop -t 0 stopped");
        sh("sleep 1");
        assert_eq!(state("stopped"), "1 exited");
        docker("rm -f web stopped ended flaky");
        sh("sleep 1");
        end();
    });
}

#[test]
fn compose_brings_services_up_and_down() {
    stage::run(&["docker", "docker-compose", "ip", "nft"], |_| {
        set_up();
        sh("mkdir /run/shop && cd /run/shop && cat > docker-compose.yml <<'END'
version: \"3\"
services:
  web:
    image: host
    command: sh -c 'mkdir -p /run/www; echo web > /run/www/name; echo web is up; exec busybox httpd -f -p 80 -h /run/www'
    networks: [front, back]
    ports: [\"8080:80\"]
  db:
    image: host
    command: sh -c 'echo db is up; exec sleep 1000'
    networks:
      back: {aliases: [database], ipv4_address: 172.28.5.10}
networks:
  front: {}
  back: {internal: true, ipam: {config: [{subnet: 172.28.5.0/24}]}}
END");
        let compose = |arguments: &str| sh(&format!("cd /run/shop && docker-compose {arguments} 2>&1"));
        compose("up -d");
        let get = || printed("ip netns exec lan timeout 3 wget -qO- -t 1 http://10.10.50.1:8080/name");
        wait_for("the server", || get().as_deref() == Some("web"));
        assert_eq!(compose("port web 80"), "0.0.0.0:8080");
        assert!(compose("ps").contains("web"));
        let logs = compose("logs --no-color");
        assert!(logs.contains("web is up") && logs.contains("db is up"), "{logs}");
        assert!(compose("exec -T web getent hosts database").contains("database"));
        assert_eq!(sh("docker network ls -qf name=shop_ | wc -l"), "2");
        compose("restart -t 1 db");
        assert!(compose("exec -T web getent hosts database").contains("database"));
        // New containers take the names and addresses of the old ones, which are renamed before.
        compose("up -d --force-recreate -t 1");
        wait_for("the server", || get().as_deref() == Some("web"));
        compose("down -t 1");
        assert_eq!(get(), None);
        end();
    });
}

#[test]
fn clients_come_by_further_sockets_and_by_tls() {
    stage::run(&["docker", "curl", "ip", "nft", "openssl", "systemd-socket-activate"], |_| {
        sh("mkdir /run/tls && cd /run/tls
            new() { openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=$1 -keyout $1.key -out $1.pem 2>/dev/null; }
            sign() {
                openssl req -newkey rsa:2048 -nodes -subj /CN=$2 -keyout $2.key -out $2.csr 2>/dev/null
                printf 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n' > $2.ext
                openssl x509 -req -days 2 -in $2.csr -CA $1.pem -CAkey $1.key -CAcreateserial -extfile $2.ext -out $2.pem 2>/dev/null
            }
            new ca; new other; sign ca server; sign ca client; sign other stranger");
        let listens = "-H tcp://127.0.0.1:2376 --tlsverify --tlscacert /run/tls/ca.pem --tlscert /run/tls/server.pem --tlskey /run/tls/server.key";
        sh(&format!(
            "systemd-socket-activate -l /run/activated.sock {PROGRAM} daemon --data-root /run/data \
                -H fd:// -H unix:///run/first.sock -H unix:///run/second.sock {listens} >/run/daemon.log 2>&1 &"
        ));
        wait_for("the socket", || succeeds("test -S /run/activated.sock"));
        // It is started by the first client.
        assert_eq!(docker("-H unix:///run/activated.sock network ls -q | wc -l"), "3");
        for socket in ["first", "second"] {
            assert_eq!(docker(&format!("-H unix:///run/{socket}.sock network ls -q | wc -l")), "3");
        }
        let tls = |name: &str| {
            format!(
                "-H tcp://127.0.0.1:2376 --tlsverify --tlscacert /run/tls/ca.pem --tlscert /run/tls/{name}.pem --tlskey /run/tls/{name}.key"
            )
        };
        assert_eq!(docker(&format!("{} run --rm host echo hello", tls("client"))), "hello");
        assert_eq!(sh(&format!("echo in | docker {} run -i --rm host cat </dev/null", tls("client"))), "");
        for refused in [
            format!("docker {} network ls", tls("stranger")),
            "docker -H tcp://127.0.0.1:2376 network ls".to_owned(),
            "curl -fs http://127.0.0.1:2376/version".to_owned(),
            "curl -fsk https://127.0.0.1:2376/version".to_owned(),
        ] {
            assert!(!succeeds(&format!("timeout 5 {refused}")), "{refused}");
        }
        // Those who are refused keep no others out.
        assert_eq!(docker(&format!("{} network ls -q | wc -l", tls("client"))), "3");
        let plain = sh(&format!("{PROGRAM} daemon --validate -H tcp://127.0.0.1:2375 2>&1 || true"));
        assert!(plain.contains("add --tlsverify"), "{plain}");
        let passed = sh(&format!(
            "unshare --net {PROGRAM} daemon --data-root /run/other --exec-root /run/other -H unix:///run/other.sock -H fd:// 2>&1 || true"
        ));
        assert!(passed.contains("systemd passed no socket"), "{passed}");
    });
}

/// What the SDK for Python does in its own tests and in those of others.
const SDK: &str = r#"
import docker, time
client = docker.from_env()
assert client.ping() and [image.tags for image in client.images.list()] == [["host:latest"]]
assert client.containers.run("host", ["echo", "hello"], remove=True) == b"hello\n"
pool = docker.types.IPAMPool(subnet="10.5.0.0/24")
app = client.networks.create("app", ipam=docker.types.IPAMConfig(pool_configs=[pool]))
web = client.containers.run("host", ["sh", "-c", "echo up; exec sleep 100"], detach=True, name="web", network="app")
for _ in range(100):
    if web.logs(): break
    time.sleep(0.05)
web.reload()
assert (web.status, web.image.tags, web.logs()) == ("running", ["host:latest"], b"up\n")
assert web.exec_run(["sh", "-c", "exit 3"]).exit_code == 3
assert web.top()["Titles"][0] == "UID" and list(web.stats(stream=False)["networks"]) == ["eth0"]
socket = client.api.exec_start(client.api.exec_create(web.id, "cat", stdin=True)["Id"], socket=True)
socket._sock.sendall(b"ping\n")
assert socket._sock.recv(100) == b"\x01\0\0\0\0\0\0\x05ping\n"
socket._sock.close()
web.rename("front"); web.restart(timeout=1); web.reload()
assert (web.name, web.status) == ("front", "running")
web.stop(timeout=1); web.remove()
try:
    client.containers.run("busybox", "true")
    assert False
except docker.errors.APIError as error:
    assert "a directory below DATA_ROOT/images" in error.explanation, error
assert client.networks.prune() == {"NetworksDeleted": ["app"]}
assert client.volumes.list() == [] and client.df()["Containers"] == []
try:
    client.swarm.leave()
    assert False
except docker.errors.APIError as error:
    assert error.status_code == 503
"#;

#[test]
fn the_sdk_for_python_runs_containers() {
    stage::run(&["docker", "docker-compose", "ip", "nft"], |_| {
        set_up();
        std::fs::write("/run/sdk.py", SDK).unwrap();
        // Debian's, which its Compose needs too.
        sh("/usr/bin/python3 /run/sdk.py");
        end();
    });
}
