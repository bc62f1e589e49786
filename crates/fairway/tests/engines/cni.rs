//! Fairway as the CNI plugin of containerd and podman: its daemon is started on demand.

use std::process::Command;

use crate::containerd;
use crate::podman;
use crate::stage::{self, daemons, sh, succeeds, wait_until_nothing_is_left};

/// Networks: one as `fairway install` has it, and one with the reference's IPAM.
const NETWORK: &str = r#"{"cniVersion": "VERSION", "name": "NAME", "plugins": [{"type": "fairway-cni", "bridge": "BRIDGE",
    "isDefaultGateway": true, "ipMasq": true, "ipam": {"subnet": "SUBNET"},
    "capabilities": {"portMappings": true, "aliases": true, "ips": true, "mac": true}}]}"#;

/// Puts the plugin where runtimes look, and a network.
fn install(version: &str, name: &str, bridge: &str, subnet: &str) {
    if !succeeds("test -e /opt/cni/bin/fairway-cni") {
        sh(
            "mount -t tmpfs tmpfs /opt && mkdir -p /opt/cni/bin && cp -s /usr/lib/cni/* /opt/cni/bin/ || true",
        );
        sh(&format!("ln -s {} /opt/cni/bin/fairway-cni", env!("CARGO_BIN_EXE_fairway")));
    }
    let text = NETWORK.replace("VERSION", version).replace("NAME", name).replace("BRIDGE", bridge);
    std::fs::write(format!("/etc/cni/net.d/10-{name}.conflist"), text.replace("SUBNET", subnet)).unwrap();
}

fn fairway(arguments: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fairway"));
    let output = command.args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn by_containerd() {
    stage::run(&["containerd", "ctr", "runc"], |stage| {
        install("1.0.0", "fw", "cni0", "10.99.0.0/24");
        let _daemon = containerd::start();
        let ctr = |arguments: &str| containerd::ctr(stage, arguments);
        let shell = |name: &str, script: &str| {
            ctr(&format!("task exec --exec-id x{} {name} /bin/sh -c '{script}'", next()))
        };
        ctr("run -d --cni --rootfs /run/image web /bin/busybox httpd -f -p 80 -h /etc");
        ctr("run -d --cni --rootfs /run/image client /bin/sleep 1000");
        assert!(shell("client", "busybox ip address show eth0").contains("10.99.0.3/24"));
        let get = "busybox wget -q -O- http://10.99.0.2/os-release && echo fetched";
        assert_eq!(shell("client", get), "fetched");
        let web = format!("{}-web", stage.cgroup);
        let resolve = format!("busybox nslookup {web} 127.0.0.11");
        assert!(shell("client", &resolve).contains("10.99.0.2"));
        assert!(fairway("ps").contains(&web));
        // The daemon is killed: traffic goes on, and the next request starts another.
        sh(&format!("kill -9 {}", daemons()));
        assert_eq!(shell("client", get), "fetched");
        ctr("run -d --cni --rootfs /run/image third /bin/sleep 1000");
        assert!(shell("third", "busybox ip address show eth0").contains("10.99.0.4/24"));
        // One is detached by DEL with an empty CNI_NETNS, two end without any DEL.
        assert_eq!(ctr("run --rm --cni --rootfs /run/image fourth /bin/true"), "");
        assert_eq!(fairway("ps -q").lines().count(), 3);
        for name in ["web", "client", "third"] {
            ctr(&format!("task kill -s 9 {name}"));
        }
        wait_until_nothing_is_left();
    });
}

/// A number that no earlier call returned.
fn next() -> usize {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[test]
fn by_podman() {
    stage::run(&["podman", "crun", "conmon"], |_| {
        podman::prepare();
        install("0.4.0", "front", "cni1", "10.98.0.0/24");
        install("0.4.0", "back", "cni2", "10.97.0.0/24");
        sh("cat > /run/containers.conf <<'END'
[network]
network_backend = \"cni\"
cni_plugin_dirs = [\"/opt/cni/bin\"]
network_config_dir = \"/etc/cni/net.d\"
default_network = \"front\"
END");
        let podman = |arguments: &str| {
            sh(&format!(
                "export CONTAINERS_CONF=/run/containers.conf CONTAINERS_STORAGE_CONF=/run/storage.conf
                 podman --runtime crun {arguments}"
            ))
        };
        let run = |options: &str| podman(&format!("run -d --cgroups=disabled {options}"));
        run(
            "--name web --network front --network-alias www -p 8080:80 -p 5300:53/udp bb /bin/busybox httpd -f -p 80 -h /etc",
        );
        run("--name client --network front bb /bin/sleep 1000");
        run("--name db --network back bb /bin/busybox httpd -f -p 80 -h /etc");
        let get = |url: &str| format!("busybox timeout 3 /bin/busybox wget -q -O- http://{url}/os-release");
        let inside = |name: &str, url: &str| podman(&format!("exec {name} /bin/{}", get(url)));
        inside("client", "10.98.0.2");
        assert!(podman("exec client /bin/busybox cat /etc/resolv.conf").contains("nameserver 127.0.0.11"));
        let address = |name: &str| podman(&format!("exec client /bin/busybox nslookup {name}"));
        for name in ["web", "www"] {
            assert!(address(name).contains("10.98.0.2"), "{name}");
        }
        sh(&get("127.0.0.1:8080"));
        assert!(fairway("ps").contains("8080->80/tcp"), "{}", fairway("ps"));
        // Two networks are apart until a container is on both.
        let apart = format!(
            "CONTAINERS_CONF=/run/containers.conf CONTAINERS_STORAGE_CONF=/run/storage.conf podman --runtime crun exec client /bin/{}",
            get("10.97.0.2")
        );
        assert!(!succeeds(&apart));
        podman("network connect back client");
        inside("client", "10.97.0.2");
        assert!(address("db").contains("10.97.0.2"));
        assert_eq!(podman("exec client /bin/busybox ip -o link show eth1").lines().count(), 1);
        sh(&format!("kill -9 {}", daemons()));
        sh(&get("127.0.0.1:8080"));
        podman("network disconnect back client");
        assert!(!succeeds(&apart));
        podman("network reload web");
        inside("client", "10.98.0.2");
        sh(&get("127.0.0.1:8080"));
        podman("rm -f -t 0 web client db");
        wait_until_nothing_is_left();
    });
}
