//! The real podman, with Fairway as its netavark.

use std::time::Duration;

use crate::podman::prepare;
use crate::stage::{self, PROGRAM, printed, sh, succeeds, wait_for};

/// What the tests take.
pub const PROGRAMS: [&str; 5] = ["podman", "crun", "conmon", "nft", "ip"];

/// Makes this host's podman use the program as its netavark and, unless `aardvark` is another one, as its aardvark-dns.
pub fn set_up(aardvark: &str) {
    prepare();
    sh(&format!(
        "mkdir /run/helpers && ln -s {PROGRAM} /run/helpers/netavark && ln -s {aardvark} /run/helpers/aardvark-dns
         for file in /usr/lib/podman/* /usr/libexec/podman/*; do
             test -e $file && test ! -e /run/helpers/$(basename $file) && ln -s $file /run/helpers/ || true
         done
         printf '[network]\\nnetwork_backend=\"netavark\"\\n[engine]\\nhelper_binaries_dir=[\"/run/helpers\"]\\n' > /run/containers.conf"
    ));
    connect_lan();
}

/// Connects this host to a LAN with a neighbor, the namespace `lan` of `ip netns`.
pub fn connect_lan() {
    sh("ip netns add lan && ip link add lan0 type veth peer name eth0 netns lan
        ip address add 10.10.50.1/24 dev lan0 && ip link set lan0 up
        ip -n lan address add 10.10.50.9/24 dev eth0 && ip -n lan link set eth0 up");
}

pub fn podman(arguments: &str) -> String {
    sh(&format!("{PODMAN} {arguments}"))
}

pub const PODMAN: &str =
    "CONTAINERS_CONF=/run/containers.conf CONTAINERS_STORAGE_CONF=/run/storage.conf podman --runtime crun";

/// Starts a container that serves its own name at port 80.
pub fn serve(name: &str, options: &str) {
    podman(&format!(
        "run -d --name {name} --cgroups=disabled {options} bb sh -c 'echo {name} > /name; exec httpd -f -p 80 -h /'"
    ));
}

/// What a container reads from a web server.
pub fn fetch(container: &str, url: &str) -> Option<String> {
    // `podman exec` misses the end of a command now and then on a busy machine.
    let process = printed(&format!("{PODMAN} inspect -f '{{{{.State.Pid}}}}' {container}"))?;
    printed(&format!("timeout 5 nsenter -t {process} -m -n wget -qO- http://{url}/name"))
}

/// What this host, or a namespace of `ip netns`, reads from a web server.
pub fn fetch_from(place: &str, url: &str) -> Option<String> {
    printed(&format!("{place} timeout 3 wget -qO- -t 1 http://{url}/name"))
}

/// The process of the daemon on demand.
pub fn daemon() -> Option<String> {
    let found = sh("pgrep -f '[d]aemon --on-demand' || true");
    found.lines().next().map(str::to_owned)
}

/// Waits until nothing is left of Fairway: the daemon ends a few seconds after its last container.
pub fn assert_nothing_is_left() {
    // The daemon executes itself to remove what it made, and has no command line for a moment.
    wait_for("the end of the daemon", || daemon().is_none() && left().is_empty());
    assert_eq!(left(), "");
}

/// Links, tables and files.
fn left() -> String {
    sh("ip -br link | grep -v -E '^(lo|lan0)' || true
        nft list tables
        ls /run/fairway /run/containers/networks/fairway 2>/dev/null || true")
}

#[test]
fn containers_find_one_another_and_are_found() {
    stage::run(&PROGRAMS, |_| {
        set_up(PROGRAM);
        podman("network create app");
        podman("network create other");
        serve("web", "--network app --network-alias www -p 8080:80");
        serve("db", "--network app");
        serve("alone", "--network other -p 127.0.0.1:8081:80");
        for name in ["web", "www", "web.dns.podman", "10.89.0.2"] {
            assert_eq!(fetch("db", name).as_deref(), Some("web"), "{name}");
        }
        for place in ["", "ip netns exec lan"] {
            assert_eq!(fetch_from(place, "10.10.50.1:8080").as_deref(), Some("web"), "{place}");
        }
        assert_eq!(fetch_from("", "127.0.0.1:8080").as_deref(), Some("web"));
        assert_eq!(fetch("web", "10.10.50.1:8080").as_deref(), Some("web"), "its own published port");
        assert_eq!(fetch("alone", "10.10.50.1:8080").as_deref(), Some("web"), "from another network");
        assert_eq!(fetch_from("", "127.0.0.1:8081").as_deref(), Some("alone"));
        assert_eq!(fetch_from("ip netns exec lan", "10.10.50.1:8081"), None);
        assert_eq!(fetch("alone", "10.89.0.2"), None, "networks are isolated");
        assert_eq!(fetch("alone", "web"), None);

        podman("network connect app alone");
        assert_eq!(fetch("alone", "web").as_deref(), Some("web"));
        podman("network disconnect app alone");
        assert_eq!(fetch("alone", "web"), None);
        assert_eq!(fetch("alone", "alone").as_deref(), Some("alone"), "the network that is left has names");

        podman("network reload web");
        assert_eq!(fetch("db", "web").as_deref(), Some("web"));
        assert_eq!(fetch_from("ip netns exec lan", "10.10.50.1:8080").as_deref(), Some("web"));

        podman("stop -t 0 web");
        assert_eq!(fetch_from("", "127.0.0.1:8080"), None);
        podman("start web");
        assert_eq!(fetch("db", "web").as_deref(), Some("web"));
        let listed = sh(&format!("{PROGRAM} ps --format '{{{{.Names}}}}' | sort"));
        assert_eq!(listed, "alone\ndb\nweb");
        podman("rm -f -t 0 web db alone");
        assert_nothing_is_left();
    });
}

#[test]
fn names_outlive_a_network_that_a_container_leaves() {
    stage::run(&PROGRAMS, |_| {
        set_up(PROGRAM);
        podman("network create dual");
        podman("network create app1");
        serve("peer", "--network dual");
        // Podman sorts the networks by name, so that eth1 comes first.
        serve("web", "--network dual --network app1");
        serve("lan", "--network dual:interface_name=lan0");
        podman("network connect app1 lan");
        for name in ["web", "lan"] {
            let text = podman(&format!("exec {name} cat /etc/resolv.conf"));
            for server in ["127.0.0.64", "127.0.0.65"] {
                assert_eq!(text.matches(server).count(), 1, "{name}: {text}");
            }
            podman(&format!("network disconnect app1 {name}"));
            assert_eq!(fetch(name, "peer").as_deref(), Some("peer"), "{name}");
        }
        podman("rm -f -t 0 peer web lan");
        assert_nothing_is_left();
    });
}

#[test]
fn a_flushed_firewall_and_a_killed_daemon_harm_nothing() {
    stage::run(&PROGRAMS, |_| {
        set_up(PROGRAM);
        podman("network create app");
        serve("web", "--network app -p 8080:80");
        serve("db", "--network app");
        // On kernels before 6.9 the tables go, and are made again.
        sh("nft flush ruleset");
        let published = || fetch_from("ip netns exec lan", "10.10.50.1:8080").as_deref() == Some("web");
        wait_for("the firewall", published);
        sh(&format!("kill -9 {}", daemon().unwrap()));
        assert!(published());
        assert_eq!(fetch("db", "web").as_deref(), Some("web"), "names outlive the daemon");
        // The next call starts a daemon, which takes over what is there.
        serve("late", "--network app");
        assert_eq!(fetch("late", "web").as_deref(), Some("web"));
        assert_eq!(fetch("db", "late").as_deref(), Some("late"));
        assert!(published());
        podman("rm -f -t 0 web db late");
        assert_nothing_is_left();
    });
}

#[test]
fn a_setup_that_fails_leaves_nothing() {
    stage::run(&PROGRAMS, |_| {
        set_up(PROGRAM);
        sh("ip link add podman7 type veth peer name podman8");
        sh(r#"cat > /etc/containers/networks/bx.json <<'END'
{"name":"bx","id":"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff","driver":"bridge",
 "network_interface":"podman7","created":"2026-11-29T13:19:28.184552514Z",
 "subnets":[{"subnet":"10.89.77.0/24","gateway":"10.89.77.1"}],"ipv6_enabled":false,"internal":false,
 "dns_enabled":true,"ipam_options":{"driver":"host-local"}}
END"#);
        let refused = sh(&format!("{PODMAN} run --rm --cgroups=disabled --network bx bb true 2>&1 || true"));
        assert!(refused.contains("podman7"), "{refused}");
        sh("ip link delete podman7");
        assert_nothing_is_left();
    });
}

#[test]
fn a_container_on_several_networks_with_ipv6_has_one_way_out() {
    stage::run(&PROGRAMS, |_| {
        set_up(PROGRAM);
        podman("network create --ipv6 six");
        podman("network create --internal closed");
        serve("peer", "--network six --network closed -p 8082:80");
        serve("inside", "--network closed");
        assert_eq!(fetch("peer", "inside").as_deref(), Some("inside"));
        assert_eq!(fetch("inside", "peer").as_deref(), Some("peer"));
        assert_eq!(fetch_from("ip netns exec lan", "10.10.50.1:8082").as_deref(), Some("peer"));
        let addresses = podman("exec peer ip -6 addr show");
        assert_eq!(addresses.matches("scope global").count(), 1, "{addresses}");
        let routes = podman("exec peer ip route");
        assert_eq!(routes.matches("default").count(), 1, "{routes}");
        assert_eq!(fetch("inside", "10.10.50.1:8082"), None, "internal networks have no way out");
        podman("rm -f -t 0 peer inside");
        assert_nothing_is_left();
    });
}

/// Netavark loosens the filter on its bridges. Answers of Fairway's containers take the way that the question came.
#[test]
fn strict_reverse_path_filters_drop_nothing() {
    stage::run(&PROGRAMS, |_| {
        set_up(PROGRAM);
        sh("for links in all default lan0; do sysctl -qw net.ipv4.conf.$links.rp_filter=1; done");
        podman("network create one");
        podman("network create two");
        podman("network create --internal closed");
        let strict = "--sysctl net.ipv4.conf.all.rp_filter=1";
        serve("first", &format!("{strict} --network one --network two --network closed -p 8080:80"));
        serve("second", &format!("{strict} --network closed --network two -p 8081:80"));
        serve("a", &format!("{strict} --network one"));
        serve("b", &format!("{strict} --network two"));
        serve("c", &format!("{strict} --network closed"));
        for (port, name) in [(8080, "first"), (8081, "second")] {
            for place in ["", "ip netns exec lan"] {
                let answer = fetch_from(place, &format!("10.10.50.1:{port}"));
                assert_eq!(answer.as_deref(), Some(name), "{place}");
            }
            assert_eq!(fetch_from("", &format!("127.0.0.1:{port}")).as_deref(), Some(name));
            for from in ["first", "second", "a", "b"] {
                let answer = fetch(from, &format!("10.10.50.1:{port}"));
                assert_eq!(answer.as_deref(), Some(name), "from {from}");
            }
        }
        for (from, name) in [("a", "first"), ("b", "first"), ("c", "first"), ("b", "second"), ("c", "second")]
        {
            assert_eq!(fetch(from, name).as_deref(), Some(name), "from {from}");
        }
        podman("rm -f -t 0 first second a b c");
        assert_nothing_is_left();
    });
}

/// As a container does that has a DHCP client of its own.
#[test]
fn containers_of_networks_without_addresses_bring_their_own() {
    stage::run(&PROGRAMS, |_| {
        set_up(PROGRAM);
        podman("network create app");
        podman("network create --ipam-driver none bare");
        podman("network create -d macvlan --opt parent=lan0 --ipam-driver none lan");
        let addresses = |name: &str| podman(&format!("exec {name} ip -o address show scope global"));
        let add = |name: &str, address: &str, link: &str| {
            podman(&format!("exec {name} ip address add {address}/24 dev {link}"))
        };
        serve("a", "--cap-add NET_ADMIN --network bare");
        serve("b", "--cap-add NET_ADMIN --network app --network bare:interface_name=bare0 -p 8080:80");
        serve("c", "--cap-add NET_ADMIN --network lan");
        assert_eq!((addresses("a"), addresses("c")), (String::new(), String::new()));
        assert_eq!(sh("ip -o address show dev podman2"), "");
        add("a", "192.168.7.1", "eth0");
        add("b", "192.168.7.2", "bare0");
        add("c", "10.10.50.77", "eth0");
        let assert_reached = || {
            assert_eq!(fetch("a", "192.168.7.2").as_deref(), Some("b"));
            assert_eq!(fetch("b", "192.168.7.1").as_deref(), Some("a"));
            assert_eq!(fetch_from("ip netns exec lan", "10.10.50.77").as_deref(), Some("c"));
            assert_eq!(fetch_from("ip netns exec lan", "10.10.50.1:8080").as_deref(), Some("b"));
        };
        assert_reached();
        // The next daemon leaves a container its addresses, and so do another network and a repair.
        sh(&format!("kill -9 {}", daemon().unwrap()));
        serve("d", "--network bare");
        assert_reached();
        podman("network connect app a");
        podman("network connect --ip 10.89.0.77 app d");
        sh("/run/helpers/netavark --config /run/containers/networks firewall-reload");
        assert_reached();
        let findings = sh(&format!("{PROGRAM} doctor"));
        assert!(!findings.contains("warning") && !findings.contains("error"), "{findings}");
        let log = sh("cat /run/fairway/on-demand/daemon.log");
        assert!(!log.contains("WARN"), "{log}");
        podman("rm -f -t 0 a b c d");
        assert_nothing_is_left();
    });
}

#[test]
fn the_real_aardvark_dns_may_resolve_the_names() {
    stage::run(&PROGRAMS, |_| {
        let Some(aardvark) = ["/usr/lib/podman/aardvark-dns", "/usr/libexec/podman/aardvark-dns"]
            .into_iter()
            .find(|path| std::path::Path::new(path).exists())
        else {
            return eprintln!("skipped: aardvark-dns is not installed");
        };
        set_up(aardvark);
        podman("network create app");
        serve("web", "--network app");
        serve("db", "--network app");
        assert_eq!(fetch("db", "web").as_deref(), Some("web"));
        assert_eq!(podman("exec db cat /etc/resolv.conf").lines().nth(1), Some("nameserver 10.89.0.1"));
        podman("rm -f -t 0 web");
        assert_eq!(fetch("db", "web"), None);
        podman("rm -f -t 0 db");
        // A zombie stays: this host has no init that reaps.
        wait_for("the end of aardvark-dns", || !succeeds("ps -o stat= -C aardvark-dns | grep -qv Z"));
        assert_nothing_is_left();
    });
}

/// Podman gives its networks a network namespace of the user's own, where `/run` is another one.
#[test]
fn networks_of_a_user_need_no_root() {
    stage::run(&["podman", "crun", "conmon", "slirp4netns", "newuidmap", "setpriv"], |_| {
        set_up(PROGRAM);
        sh(&format!(
            "mkdir /var/lib/alice /var/lib/helpers
             mount -t tmpfs tmpfs /var/lib/alice && mount -t tmpfs tmpfs /var/lib/helpers
             cp {PROGRAM} /var/lib/helpers/netavark && ln /var/lib/helpers/netavark /var/lib/helpers/aardvark-dns
             for file in /usr/lib/podman/* /usr/libexec/podman/*; do
                 test -e $file && test ! -e /var/lib/helpers/$(basename $file) && ln -s $file /var/lib/helpers/ || true
             done
             sed s,/run/helpers,/var/lib/helpers, /run/containers.conf > /var/lib/helpers/containers.conf
             printf '[storage]\\ndriver=\"vfs\"\\n' > /var/lib/helpers/storage.conf
             cp /run/image.tar /var/lib/helpers && chmod -R a+rX /var/lib/helpers
             mount --make-rshared / && mkdir -p /run/user/4242 && chmod 755 /run
             chown 4242:4242 /run/user/4242 /var/lib/alice
             echo 'alice:x:4242:4242::/var/lib/alice:/bin/sh' >> /etc/passwd
             echo 'alice:200000:65536' | tee -a /etc/subuid >> /etc/subgid
             mknod /run/tun c 10 200 && chmod 666 /run/tun && mount --bind /run/tun /dev/net/tun"
        ));
        let podman = |arguments: &str| {
            sh(&format!(
                "cd /var/lib/alice && exec timeout 60 setpriv --reuid 4242 --regid 4242 --clear-groups env \
                 HOME=/var/lib/alice XDG_RUNTIME_DIR=/run/user/4242 CONTAINERS_CONF=/var/lib/helpers/containers.conf \
                 CONTAINERS_STORAGE_CONF=/var/lib/helpers/storage.conf podman --runtime crun {arguments}"
            ))
        };
        podman("import /var/lib/helpers/image.tar bb");
        podman("network create app");
        let serve = "bb sh -c 'echo web > /name; exec httpd -f -p 80 -h /'";
        // With its last container podman deletes the network namespace; the next one has another, at once or later.
        for pause in [0, 10] {
            podman(&format!("run -d --name web --network app --cgroups=disabled -p 8080:80 {serve}"));
            podman("run -d --name db --network app --cgroups=disabled bb sleep 1000");
            assert_eq!(podman("exec db wget -qO- http://web/name"), "web");
            assert_eq!(fetch_from("", "127.0.0.1:8080").as_deref(), Some("web"));
            podman("rm -f -t 0 web db");
            std::thread::sleep(Duration::from_secs(pause));
        }
        let runs = |name: &str| succeeds(&format!("ps -eo stat=,args= | grep -v ^Z | grep -q '{name}'"));
        wait_for("the end of the daemon and of the relay", || {
            !runs("[d]aemon --on-demand") && !runs("[f]airway-relay")
        });
    });
}
