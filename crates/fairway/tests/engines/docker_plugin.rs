//! Docker Engine with Fairway's network plugin: its containers on networks of Fairway.

mod firewall;
mod restarts;

use std::process::Command;
use std::time::Duration;

use crate::docker::{docker, start};
use crate::stage::{self, PROGRAM, Running, Stage, printed, sh, succeeds, wait_for};

/// The address of the host on its LAN.
const HOST: &str = "192.0.2.1";

/// Starts Fairway's daemon with the plugin.
fn fairway(options: &[&str]) -> Running {
    let mut command = Command::new(PROGRAM);
    command.args(["daemon", "--docker-plugin"]).args(options);
    let daemon = Running::start(&mut command, "/run/fairway.log");
    wait_for("fairway", || succeeds(&format!("{PROGRAM} network ls")));
    daemon
}

/// Adds a page to the image.
fn prepare_image() {
    sh("echo page > /run/image/etc/page && tar -C /run/image -cf /run/image.tar .");
}

/// The host with a LAN on which a neighbor is, and both daemons.
fn host(stage: &Stage, options: &[&str]) -> (Running, Running) {
    prepare_lan();
    let fairway = fairway(&[]);
    (fairway, start(stage, options))
}

fn prepare_lan() {
    prepare_image();
    sh(&format!(
        "ip netns add neighbor
         ip link add up0 type veth peer name eth0 netns neighbor
         ip address add {HOST}/24 dev up0 && ip link set up0 up
         ip -n neighbor address add 192.0.2.2/24 dev eth0 && ip -n neighbor link set eth0 up
         ip -n neighbor link set lo up && ip -n neighbor route add default via {HOST}"
    ));
}

fn run(name: &str, options: &str) {
    docker(&format!("run -d --name {name} {options} bb httpd -f -p 80 -h /etc"));
    await_server(name);
}

/// Waits until the server of a container listens.
fn await_server(name: &str) {
    wait_for("the server", || fetched_in(name, "127.0.0.1"));
}

/// The command that fetches a page of a container.
fn get(at: &str) -> String {
    format!("busybox wget -q -O- http://{at}/page")
}

/// Whether a page can be fetched on the host.
fn fetched(at: &str) -> bool {
    printed(&format!("timeout 3 {}", get(at))).as_deref() == Some("page")
}

fn fetched_by_neighbor(at: &str) -> bool {
    printed(&format!("timeout 3 ip netns exec neighbor {}", get(at))).as_deref() == Some("page")
}

fn fetched_in(container: &str, at: &str) -> bool {
    let command = format!("timeout 5 docker -H unix:///run/docker.sock exec {container} /bin/{}", get(at));
    printed(&command).as_deref() == Some("page")
}

/// The names that `fairway ps` lists, sorted.
fn listed() -> Vec<String> {
    let printed = sh(&format!("{PROGRAM} ps --format '{{{{.Names}}}}'"));
    let mut names: Vec<String> = printed.lines().map(str::to_owned).collect();
    names.sort_unstable();
    names
}

/// Waits until `fairway ps` lists these names.
fn wait_until_listed(names: &[&str]) {
    wait_for(&format!("{names:?} in {:?}", listed()), || listed() == names);
}

fn networks() -> Vec<String> {
    let printed = sh(&format!("{PROGRAM} network ls --format '{{{{.Name}}}}'"));
    printed.lines().filter(|it| !["bridge", "host", "none"].contains(it)).map(str::to_owned).collect()
}

/// Asserts that no link, port or rule of a container or a network is left.
fn assert_nothing_is_left() {
    wait_until_listed(&[]);
    assert_eq!(networks(), Vec::<String>::new());
    let links = sh("ip -o link | cut -d' ' -f2 | cut -d@ -f1 | tr -d ':' | grep -E '^(fw|fp|br-)' || true");
    assert_eq!(links, "");
    let elements = sh("nft list map inet fairway published-ipv4 2>/dev/null | grep elements || true");
    assert_eq!(elements, "");
    let doctor = sh(&format!("{PROGRAM} doctor"));
    assert!(doctor.starts_with("No problems found"), "{doctor}");
}

const PROGRAMS: [&str; 5] = ["dockerd", "docker", "containerd", "nft", "curl"];

#[test]
fn containers_reach_one_another_and_are_reached() {
    stage::run(&PROGRAMS, |stage| {
        let _daemons = host(stage, &[]);
        docker("network create -d fairway --subnet 172.30.0.0/16 app");
        run(
            "web",
            "--network app --network-alias www --ip 172.30.0.9 \
             -p 8080:80 -p 127.0.0.1:8081:80 -p 192.0.2.1:8082-8084:80 -p 5300:53/udp -p 9",
        );
        docker("run -d --name client --network app --link web:linked bb sleep 1000");
        let link = docker("exec web ip -o address show eth0");
        assert!(link.contains("172.30.0.9/16"), "{link}");
        // The command line of another version does not ask this dockerd for a MAC address.
        let create = r#"{"Image":"bb","Cmd":["sleep","1000"],"MacAddress":"02:42:0a:00:00:77","HostConfig":{"NetworkMode":"app"}}"#;
        let url = "http://docker/containers/create?name=named";
        sh(&format!(
            "curl -sf --unix-socket /run/docker.sock -H Content-Type:application/json -d '{create}' {url}"
        ));
        docker("start named");
        assert!(docker("exec named ip link show eth0").contains("02:42:0a:00:00:77"));
        assert!(fetched_in("named", "web"));
        docker("rm -f named");
        for (at, by_neighbor) in [
            ("127.0.0.1:8080", false),
            ("127.0.0.1:8081", false),
            ("192.0.2.1:8080", true),
            ("192.0.2.1:8082", true),
        ] {
            assert!(fetched(at), "{at}");
            assert_eq!(fetched_by_neighbor(at), by_neighbor, "{at}");
        }
        assert!(!fetched_by_neighbor("192.0.2.1:8081"), "a port of loopback");
        assert!(!fetched_by_neighbor("172.30.0.9"), "an address of a container");
        for at in ["web", "www", "linked", "172.30.0.9", "192.0.2.1:8080"] {
            assert!(fetched_in("client", at), "{at}");
        }
        assert!(fetched_in("web", "192.0.2.1:8080"), "by its own published port");
        wait_until_listed(&["client", "web"]);
        let ports = sh(&format!("{PROGRAM} port web"));
        for port in
            ["80/tcp -> 0.0.0.0:8080", "80/tcp -> 127.0.0.1:8081", "53/udp -> 0.0.0.0:5300", "9/tcp -> "]
        {
            assert!(ports.contains(port), "{ports}");
        }
        // dockerd shows what it has asked for, and the addresses that it chose.
        let bindings = docker("inspect -f '{{json .HostConfig.PortBindings}}' web");
        assert!(bindings.contains("\"8081\""), "{bindings}");
        assert_eq!(docker("inspect -f '{{.NetworkSettings.Networks.app.IPAddress}}' web"), "172.30.0.9");
        let explained = sh(&format!("{PROGRAM} explain client web:80"));
        assert!(explained.contains("= delivered on web to httpd"), "{explained}");
        let explained = sh(&format!("{PROGRAM} explain 192.0.2.2 {HOST}:8080"));
        assert!(explained.contains("= delivered on web to httpd"), "{explained}");
        assert!(sh(&format!("{PROGRAM} graph --format dot")).contains("web"));
        let mut command = Command::new(PROGRAM);
        let trace = Running::start(command.args(["trace", "client", "web:80"]), "/run/trace.log");
        let traced = |words: &str| std::fs::read_to_string("/run/trace.log").unwrap().contains(words);
        wait_for("the trace", || traced("\n"));
        assert!(fetched_in("client", "web"));
        wait_for("a packet in the container", || traced("web") && traced("172.30.0.9:80"));
        drop(trace);
        // Fairway's users publish further ports, and leave to Docker what is Docker's.
        sh(&format!("{PROGRAM} publish web 8090:80"));
        assert!(fetched_by_neighbor("192.0.2.1:8090"));
        for (command, text) in [
            ("network rm app", "cannot remove network app: it is Docker's: docker network rm app"),
            ("network disconnect app web", "cannot disconnect container web: it is Docker's"),
            ("stop web", "cannot stop container web: it is Docker's: docker stop web"),
            ("rm -f web", "it is Docker's"),
        ] {
            let refused = sh(&format!("! {PROGRAM} {command} 2>&1"));
            assert!(refused.contains(text), "{command}: {refused}");
        }
        let refused = docker_fails("run --network app -p 8080:80 bb true");
        assert!(refused.contains("port is already allocated: container web publishes 8080/tcp"), "{refused}");
        docker("rename web front");
        docker("rm -f client front");
        docker("network rm app");
        assert_nothing_is_left();
    });
}

/// What a command of Docker that fails says.
fn docker_fails(arguments: &str) -> String {
    let output = Command::new("docker")
        .args(["-H", "unix:///run/docker.sock"])
        .args(arguments.split_ascii_whitespace())
        .output()
        .unwrap();
    assert!(!output.status.success(), "{arguments}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn networks_have_the_options_of_docker() {
    stage::run(&PROGRAMS, |stage| {
        let _daemons = host(stage, &[]);
        docker(
            "network create -d fairway --ipv6 --subnet 10.67.0.0/24 --ip-range 10.67.0.128/25 --gateway 10.67.0.9 \
             --aux-address r=10.67.0.128 --subnet fd67::/64 --label l=3 -o com.docker.network.driver.mtu=1400 \
             -o com.docker.network.bridge.name=own0 both",
        );
        run("six", "--network both --ip6 fd67::77 -p 8080:80");
        let address = docker("exec six ip -o address show eth0");
        assert!(address.contains("10.67.0.129/24") && address.contains("fd67::77/64"), "{address}");
        let routes = format!("{}{}", docker("exec six ip route"), docker("exec six ip -6 route"));
        assert!(
            routes.contains("default via 10.67.0.9") && routes.contains("default via fd67::1"),
            "{routes}"
        );
        assert!(docker("exec six ip link show eth0").contains("mtu 1400"));
        assert!(sh("ip -o address show own0").contains("10.67.0.9/24"));
        assert!(fetched("[::1]:8080") && fetched("127.0.0.1:8080"));
        docker("network create -d fairway --internal --subnet 10.68.0.0/24 inside");
        run("hidden", "--network inside -p 8081:80");
        assert_eq!(docker("exec hidden ip route | grep -c default || true"), "0");
        assert!(!fetched("127.0.0.1:8081"));
        assert!(!succeeds("ip link show docker_gwbridge"), "dockerd connects it to no other network");
        docker("network connect --alias six inside six");
        assert!(fetched_in("six", "hidden") && fetched_in("hidden", "six"));
        docker("network disconnect inside six");
        assert!(!fetched_in("hidden", "10.67.0.129"));
        docker("network create -d fairway --ipam-driver null plain");
        docker("run -d --name bare --network plain bb sleep 1000");
        assert_eq!(docker("exec bare ip -o address show eth0"), "");
        assert!(docker("exec bare ip link show eth0").contains("UP"));
        assert!(!succeeds("ip link show docker_gwbridge"), "dockerd connects it to no other network");
        docker("rm -f bare");
        docker("network rm plain");
        for (options, text) in [
            ("--subnet 10.67.0.0/25 overlap", "Pool overlaps"),
            ("--subnet 192.0.2.0/25 lan", "the host would lose it"),
            (
                "--subnet 10.69.0.0/24 -o com.docker.network.driver.mtu=no bad",
                "com.docker.network.driver.mtu=no",
            ),
        ] {
            let refused = docker_fails(&format!("network create -d fairway {options}"));
            assert!(refused.contains(text), "{options}: {refused}");
        }
        assert!(docker_fails("network create -d fairway --scope swarm far").contains("swarm"));
        docker("rm -f six hidden");
        docker("network rm both inside");
        assert_nothing_is_left();
    });
}

#[test]
fn the_gateway_of_several_networks_is_the_one_of_dockerd() {
    stage::run(&PROGRAMS, |stage| {
        let _daemons = host(stage, &[]);
        docker("network create -d fairway --subnet 10.71.0.0/24 front");
        docker("network create -d fairway --subnet 10.72.0.0/24 back");
        run("web", "--network front -p 8080:80");
        docker("run -d --name db --network back bb sleep 1000");
        assert!(!fetched_in("db", "10.71.0.2"), "networks are apart");
        docker("network connect back web");
        assert!(fetched_in("db", "web") && fetched("127.0.0.1:8080"));
        let default = || docker("exec web ip route | grep default");
        let before = default();
        docker("network disconnect front web");
        assert!(
            default().contains("10.72.0.1")
                && fetched("127.0.0.1:8080")
                && fetched_by_neighbor("192.0.2.1:8080")
        );
        docker("network connect front web");
        assert!(default().contains("via 10.7") && fetched("127.0.0.1:8080"), "{before}");
        // The published ports follow the default route to a network of dockerd's own, and back.
        docker("network connect bridge web");
        assert!(fetched("127.0.0.1:8080") || default().contains("172.17"), "{}", default());
        docker("network disconnect bridge web");
        assert!(fetched("127.0.0.1:8080") && fetched_by_neighbor("192.0.2.1:8080"));
        docker("rm -f web db");
        docker("network rm front back");
        assert_nothing_is_left();
    });
}

#[test]
fn addresses_are_those_of_the_ipam_driver() {
    stage::run(&PROGRAMS, |stage| {
        let (fairway_daemon, dockerd) = host(stage, &[]);
        docker("network create -d fairway --ipam-driver fairway --ipv6 --subnet fd76::/64 any");
        docker(
            "network create -d fairway --ipam-driver fairway --subnet 10.76.0.0/24 --ip-range 10.76.0.128/25 \
             --aux-address r=10.76.0.128 chosen",
        );
        docker("network create -d bridge --ipam-driver fairway plain");
        run("web", "--network chosen -p 8080:80");
        docker("run -d --name fixed --network chosen --ip 10.76.0.7 bb sleep 1000");
        docker("run -d --name both --network any bb sleep 1000");
        docker("run -d --name bridged --network plain bb sleep 1000");
        let address = |name: &str| docker(&format!("exec {name} ip -o address show eth0"));
        assert!(address("web").contains("10.76.0.129/24"), "{}", address("web"));
        assert!(address("fixed").contains("10.76.0.7/24"), "{}", address("fixed"));
        assert!(address("both").contains("fd76::2/64"), "{}", address("both"));
        assert!(fetched("127.0.0.1:8080") && fetched_in("fixed", "web"));
        for (command, text) in [
            ("run --network chosen --ip 10.76.0.7 bb true", "Address already in use: 10.76.0.7"),
            ("network create -d fairway --ipam-driver fairway --subnet 10.76.0.0/25 o", "Pool overlaps"),
            ("network create -d fairway --ipam-driver fairway --ipam-opt a=b o", "has no options"),
        ] {
            let refused = docker_fails(command);
            assert!(refused.contains(text), "{command}: {refused}");
        }
        // Fairway's own networks leave the pools alone.
        sh(&format!("{PROGRAM} network create own"));
        let overlap = docker_fails("network create -d fairway --ipam-driver fairway --subnet 10.76.0.0/16 o");
        assert!(overlap.contains("Pool overlaps"), "{overlap}");
        sh(&format!("{PROGRAM} network rm own"));
        // All is remembered, and what is freed meanwhile is collected.
        drop(fairway_daemon);
        let _fairway = fairway(&[]);
        docker("restart -t 0 web fixed");
        await_server("web");
        assert!(address("fixed").contains("10.76.0.7/24") && fetched("127.0.0.1:8080"));
        // A killed dockerd frees no address, and asks for the same one again.
        drop(dockerd);
        let _dockerd = start(stage, &[]);
        std::thread::sleep(Duration::from_secs(11));
        docker("start fixed web");
        await_server("web");
        assert!(address("fixed").contains("10.76.0.7/24") && fetched("127.0.0.1:8080"));
        docker("rm -f web fixed both bridged");
        docker("network rm any chosen plain");
        docker("network create -d fairway --ipam-driver fairway --subnet 10.76.0.0/24 again");
        docker("network rm again");
        assert_nothing_is_left();
    });
}

/// A server and a client of UDP: the first datagram is sent back.
const ECHO: &str = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 53))
while True:
    data, peer = s.recvfrom(100); s.sendto(data, peer)";
const ASK: &str = "import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(3)
s.sendto(b'echo', ('192.0.2.1', 5300)); print(s.recv(100).decode())";

#[test]
fn datagrams_reach_a_container_and_no_flow_outlives_it() {
    stage::run(&[&PROGRAMS[..], &["python3", "nsenter"]].concat(), |stage| {
        let _daemons = host(stage, &[]);
        std::fs::write("/run/echo.py", ECHO).unwrap();
        std::fs::write("/run/ask.py", ASK).unwrap();
        docker("network create -d fairway --subnet 10.77.0.0/24 app");
        for name in ["first", "second"] {
            docker(&format!("run -d --name {name} --network app -p 5300:53/udp bb sleep 1000"));
            let pid = docker(&format!("inspect -f {{{{.State.Pid}}}} {name}"));
            let mut command = Command::new("nsenter");
            command.args(["-n", "-t", &pid, "python3", "/run/echo.py"]);
            let _server = Running::start(&mut command, "/run/echo.log");
            wait_for("an answer", || {
                printed("ip netns exec neighbor python3 /run/ask.py").as_deref() == Some("echo")
            });
            assert_eq!(sh("python3 /run/ask.py"), "echo", "on the host");
            docker(&format!("rm -f {name}"));
        }
        docker("network rm app");
        assert_nothing_is_left();
    });
}

#[test]
fn compose_uses_its_networks() {
    stage::run(&[&PROGRAMS[..], &["docker-compose"]].concat(), |stage| {
        let _daemons = host(stage, &[]);
        sh("mkdir /run/shop && cat > /run/shop/docker-compose.yml <<'END'
version: \"3.5\"
services:
  web:
    image: bb
    command: httpd -f -p 80 -h /etc
    networks: [front, back]
    ports: [\"8080:80\"]
  worker:
    image: bb
    command: sleep 1000
    networks:
      back: {aliases: [job]}
networks:
  front: {driver: fairway}
  back: {driver: fairway, internal: true, ipam: {driver: fairway}}
END");
        let compose = |arguments: &str| {
            sh(&format!(
                "cd /run/shop && DOCKER_HOST=unix:///run/docker.sock docker-compose {arguments} 2>&1"
            ))
        };
        compose("up -d --scale worker=2");
        await_server("shop_web_1");
        assert!(fetched("127.0.0.1:8080") && fetched_by_neighbor("192.0.2.1:8080"));
        wait_until_listed(&["shop_web_1", "shop_worker_1", "shop_worker_2"]);
        assert!(fetched_in("shop_worker_1", "web"));
        assert_eq!(sh(&format!("{PROGRAM} port shop_web_1 80")), "0.0.0.0:8080\n[::]:8080");
        compose("restart -t 0 web");
        await_server("shop_web_1");
        assert!(fetched("127.0.0.1:8080") && fetched_in("shop_worker_2", "web"));
        compose("down -t 0");
        assert_nothing_is_left();
    });
}
