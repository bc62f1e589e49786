//! The firewalls of Fairway and of dockerd.

use super::{
    PROGRAMS, fairway, fetched, fetched_by_neighbor, fetched_in, host, prepare_image, prepare_lan, run,
    wait_until_listed,
};
use crate::docker::{docker, start};
use crate::stage::{self, sh};

#[test]
fn firewall_rules_of_dockerd_drop_nothing() {
    stage::run(&PROGRAMS, |stage| {
        // dockerd drops what it does not forward itself, if it was the one to switch forwarding on.
        prepare_image();
        sh("sysctl -q -w net.ipv4.ip_forward=0");
        let dockerd = start(stage, &[]);
        assert!(sh("iptables -S FORWARD").contains("-P FORWARD DROP"));
        drop(dockerd);
        let _daemons = host(stage, &[]);
        docker("network create -d fairway --subnet 10.75.0.0/24 app");
        docker("network create other");
        run("web", "--network app -p 8080:80");
        run("plain", "--network other -p 8081:80");
        assert!(fetched_by_neighbor("192.0.2.1:8080") && fetched_by_neighbor("192.0.2.1:8081"));
        assert!(fetched_in("plain", "192.0.2.1:8080") && fetched_in("web", "192.0.2.1:8081"));
        let neighbor = "ip netns exec neighbor busybox httpd -p 80 -h /run/image/etc";
        sh(neighbor);
        assert!(fetched_in("web", "192.0.2.2"), "a container reaches the LAN");
        assert!(!fetched_in("plain", "10.75.0.2"), "networks are apart");
    });
}

#[test]
fn the_firewall_may_be_that_of_iptables() {
    stage::run(&PROGRAMS, |stage| {
        prepare_lan();
        let _fairway = fairway(&["--firewall-backend=iptables", "--userland-proxy=false"]);
        let _dockerd = start(stage, &[]);
        docker("network create -d fairway --subnet 10.78.0.0/24 app");
        docker("network create -d fairway --subnet 10.79.0.0/24 other");
        run("web", "--network app -p 8080:80");
        docker("run -d --name near --network app bb sleep 1000");
        docker("run -d --name far --network other bb sleep 1000");
        assert!(fetched("127.0.0.1:8080") && fetched_by_neighbor("192.0.2.1:8080"));
        for container in ["web", "near", "far"] {
            assert!(fetched_in(container, "192.0.2.1:8080"), "{container}");
        }
        assert!(fetched_in("near", "web") && !fetched_in("far", "10.78.0.2"));
        docker("rm -f web near far");
        docker("network rm app other");
        wait_until_listed(&[]);
        assert_eq!(sh("iptables-save | grep -c 10.78.0 || true"), "0");
    });
}
