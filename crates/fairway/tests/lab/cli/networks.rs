//! Networks by the command line: the modes, what comes and goes while a command runs, and namespaces of others.

use std::net::IpAddr;

use crate::dns::{RecordType, look_up};
use fairway_kernel::namespace;
use fairway_lab::{Outcome, Question, ask, serve_tcp};

use super::{SHOW, field, inside, printed, scripted, stay};
use crate::harness::{HOST, LAN, Stage, request};
use crate::kernel_state::{assert_same, observe};

#[test]
fn the_modes_of_networks() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let links = "for it in /sys/class/net/*; do echo ${it##*/}; done";
        assert_eq!(scripted(&stage, "run --rm --network none --", links), "lo");
        let all = scripted(&stage, "run --rm --network host --", links);
        assert!(all.contains("eth0") && all.contains("fairway0"), "{all}");
        let name = format!("{SHOW}; show /proc/sys/kernel/hostname");
        assert_eq!(scripted(&stage, "run --rm --network host --", &name), "host");

        printed(&stage, "network create app");
        stay(&stage, "--name hermit --network none");
        printed(&stage, "network disconnect none hermit");
        printed(&stage, "network connect app hermit");
        assert_eq!(scripted(&stage, "exec hermit", links), "eth0\nlo", "none is left for another one");
        stay(&stage, "--name first --hostname shared --network app -P --expose 80 --expose 90-91/udp");
        let shared = format!("{links}; {name}");
        assert_eq!(scripted(&stage, "run --rm --network container:first --", &shared), "eth0\nlo\nshared");
        let first = stay(&stage, "--name joined --network container:first");
        assert_eq!(
            field(&stage, "joined", "NetworkSettings.SandboxKey"),
            field(&stage, "first", "NetworkSettings.SandboxKey")
        );
        assert_eq!(first, field(&stage, "joined", "ID"));

        let published = printed(&stage, "port first");
        let ports: Vec<&str> = published
            .lines()
            .filter_map(|line| line.split_once(" -> 0.0.0.0:"))
            .map(|(port, _)| port)
            .collect();
        assert_eq!(ports, ["80/tcp", "90/udp", "91/udp"]);
        let port = printed(&stage, "port first 80/tcp")
            .lines()
            .next()
            .unwrap()
            .rsplit(':')
            .next()
            .unwrap()
            .to_owned();
        let _server = serve_tcp(&inside(&stage, "joined"), "0.0.0.0:80").unwrap();
        assert_eq!(ask(&stage.lan, &format!("{HOST}:{port}")).unwrap(), Outcome::answered(LAN));
    });
}

#[test]
fn networks_come_and_go_while_it_runs() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        for (name, subnet) in [("app", "172.25.0.0/16"), ("back", "172.26.0.0/16")] {
            let id = printed(&stage, &format!("network create --subnet {subnet} --label of=test {name}"));
            assert_eq!(field(&stage, name, "Id"), id);
        }
        stay(&stage, "--name web --network back -p 8080:80");
        let place = inside(&stage, "web");
        let _server = serve_tcp(&place, "0.0.0.0:80").unwrap();
        // The way out, as hexadecimal of the host's order; and by which address the port is reached.
        let ways = format!("{SHOW}; show /proc/net/route");
        let goes_by = |gateway: [u8; 4], address: &str| {
            let routes = scripted(&stage, "exec web", &ways);
            let wanted = format!("\t00000000\t{:08X}\t", u32::from_ne_bytes(gateway));
            assert!(routes.replace(' ', "\t").contains(&wanted), "{address}: {routes}");
            assert_eq!(
                ask(&stage.lan, &format!("{HOST}:8080")).unwrap(),
                Outcome::answered(LAN),
                "{address}"
            );
            let reply =
                Question::to(&format!("{HOST}:8080")).unwrap().tcp_reply(&stage.lan).unwrap().unwrap();
            assert_eq!(reply.destination.ip().to_string(), address);
        };
        goes_by([172, 26, 0, 1], "172.26.0.2");
        assert_eq!(printed(&stage, "network connect --ip 172.25.7.7 --alias www app web"), "");
        goes_by([172, 25, 0, 1], "172.25.7.7");
        stay(&stage, "--name asks --network app");
        let found = look_up(&inside(&stage, "asks"), "127.0.0.11:53", "www", RecordType::A).unwrap();
        assert_eq!(found, [IpAddr::from([172, 25, 7, 7])]);
        assert_eq!(printed(&stage, "network disconnect app web"), "");
        goes_by([172, 26, 0, 1], "172.26.0.2");
        printed(&stage, "network connect --gw-priority=-1 app web");
        goes_by([172, 26, 0, 1], "172.26.0.2");

        let names = |filter: &str| printed(&stage, &format!("network ls --format {{{{.Name}}}} {filter}"));
        assert_eq!(names("-f type=custom"), "app\nback");
        assert_eq!(names("-f label=of=test -f name=ba"), "back");
        printed(&stage, "network create idle");
        printed(&stage, "rm -f asks");
        printed(&stage, "network disconnect back web");
        assert_eq!(names("-f dangling=true"), "back\nidle");
        assert_eq!(printed(&stage, "network prune -f"), "Deleted Networks:\nback\nidle");
        assert_eq!(printed(&stage, "network prune -f"), "");
        assert_eq!(names("-f type=custom"), "app");
        printed(&stage, "rm -f web");
        assert_eq!(printed(&stage, "network rm app"), "app");
    });
}

#[test]
fn namespaces_of_others_are_attached() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        printed(&stage, "network create --subnet 172.25.0.0/16 app");
        let before = observe(&stage, &[]);
        // A process in a namespace of its own, which the test has already.
        let (helper, process) = stage.attach_process("helper", request(&["none"], &[])).unwrap();
        printed(&stage, "detach helper");
        let pid = process.id();
        let attached = printed(&stage, &format!("attach --pid {pid} --name job --network app -p 9000:80"));
        assert!(attached.contains("\nname          job\nnetwork       app 172.25.0.2/16\n"), "{attached}");
        assert!(attached.contains("\nport          0.0.0.0:9000 -> 80/tcp\n"), "{attached}");
        let files: Vec<&str> =
            attached.lines().filter_map(|line| line.split_once(" /")).map(|(_, path)| path).collect();
        let [servers, hosts] = files[..] else { panic!("{attached}") };
        let read =
            |path: &str| stage.host.run_in(|| std::fs::read_to_string(format!("/{path}")).unwrap()).unwrap();
        assert!(read(servers).contains("nameserver 127.0.0.11\n"));
        assert!(read(hosts).contains("172.25.0.2\t"));
        let _server = serve_tcp(&helper, "0.0.0.0:80").unwrap();
        assert_eq!(ask(&stage.lan, &format!("{HOST}:9000")).unwrap(), Outcome::answered(LAN));
        assert_eq!(printed(&stage, "detach job"), "job");
        assert_same("after detach", &observe(&stage, &[]), &before);

        let id = printed(&stage, "sandbox create --network app -p 9000:80 --add-host db:10.1.1.1 box");
        assert_eq!(printed(&stage, "sandbox ls -q"), id[..12]);
        assert_eq!(printed(&stage, "sandbox ls --format '{{.Names}} {{.Addresses}}'"), "box 172.25.0.2");
        let place = stage.host.sandbox("/run/netns/box").unwrap();
        let server = serve_tcp(&place, "0.0.0.0:80").unwrap();
        assert_eq!(ask(&stage.lan, &format!("{HOST}:9000")).unwrap(), Outcome::answered(LAN));
        // `ip netns exec` binds them over those in /etc.
        assert!(read("etc/netns/box/resolv.conf").contains("nameserver 127.0.0.11\n"));
        assert!(read("etc/netns/box/hosts").contains("10.1.1.1\tdb\n172.25.0.2\t"));
        // It has no process.
        let links = "for it in /sys/class/net/*; do echo ${it##*/}; done";
        assert_eq!(scripted(&stage, "exec box", links), "eth0\nlo");
        assert_eq!(printed(&stage, "detach box"), "box");
        assert!(printed(&stage, "attach --netns box --name again --network app").contains("172.25.0.2/16"));
        assert_eq!(printed(&stage, "detach again"), "again");
        drop((server, place));
        stage
            .host
            .run_in(|| namespace::remove_named(&namespace::identity("/run/netns/box").unwrap()))
            .unwrap()
            .unwrap();

        printed(&stage, "sandbox create --network app box");
        let logged = stage.daemon.log().len();
        for command in ["network disconnect app box", "network connect app box", "rename box other"] {
            printed(&stage, command);
        }
        assert!(!stage.daemon.log()[logged..].contains("/etc/netns"), "{}", stage.daemon.log());
        assert!(read("etc/netns/box/hosts").contains("172.25.0."), "the namespace keeps its name");
        assert!(!stage.host.run_in(|| std::fs::exists("/etc/netns/other").unwrap()).unwrap());
        assert_eq!(printed(&stage, "sandbox rm other"), "other");
        assert!(!stage.host.run_in(|| std::fs::exists("/run/netns/box").unwrap()).unwrap());
        assert_same("after rm", &observe(&stage, &[]), &before);
        drop(process);
    });
}
