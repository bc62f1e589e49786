//! Networks and sandboxes as files declare them: `fairway apply` and `fairway export`.

use fairway_lab::{DhcpServer, Outcome, ask, serve_tcp};

use crate::cli::{CommandOutput, fairway, field, inside, printed};
use crate::dns::{RecordType, look_up};
use crate::harness::{HOST, LAN, Stage};
use crate::kernel_state::{assert_same, observe};

const FILE: &str = "
networks:
  front:
    ipam: {config: [{subnet: 172.28.0.0/16}]}
  back: {internal: true}
sandboxes:
  web:
    networks:
      front: {ipv4_address: 172.28.0.9, aliases: [www]}
      back:
    ports: ['8080:80']
";

/// Writes a file on the host.
fn write(stage: &Stage, name: &str, text: &str) -> String {
    let path = format!("/run/{name}");
    stage.host.run_in(|| std::fs::write(&path, text)).unwrap().unwrap();
    path
}

fn apply(stage: &Stage, text: &str, flags: &str) -> CommandOutput {
    let path = write(stage, "declaration.yaml", text);
    fairway(stage, &format!("apply -f {path} {flags}"))
}

/// The lines of an apply that succeeds.
fn applied(stage: &Stage, text: &str, flags: &str) -> String {
    let path = write(stage, "declaration.yaml", text);
    printed(stage, &format!("apply -f {path} {flags}"))
}

fn names(stage: &Stage) -> String {
    printed(stage, "network ls -f type=custom --format {{.Name}}")
}

#[test]
fn a_file_makes_networks_and_a_sandbox_that_is_reached() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let before = observe(&stage, &[]);
        let lines = "create network back: it does not exist\n\
                     create network front: it does not exist\n\
                     create sandbox web: it does not exist";
        assert_eq!(applied(&stage, FILE, "--dry-run"), lines);
        assert_same("the host", &before, &observe(&stage, &[]));
        assert_eq!(names(&stage), "");

        assert_eq!(applied(&stage, FILE, ""), lines);
        let web = inside(&stage, "web");
        let _server = serve_tcp(&web, "0.0.0.0:80").unwrap();
        assert_eq!(ask(&stage.lan, &format!("{HOST}:8080")).unwrap(), Outcome::answered(LAN));
        let found = look_up(&web, "127.0.0.11:53", "www", RecordType::A).unwrap();
        assert_eq!(found, ["172.28.0.9".parse::<std::net::IpAddr>().unwrap()]);

        let before = observe(&stage, &[]);
        assert_eq!(applied(&stage, FILE, "--prune"), "unchanged");
        assert_same("the host", &before, &observe(&stage, &[]));

        // In place: the namespace and its server stay.
        let changed = FILE
            .replace("8080:80", "8081:80")
            .replace("{internal: true}", "{internal: true, driver_opts: {fairway.isolate: 'true'}}");
        assert_eq!(
            applied(&stage, &changed, ""),
            "change sandbox web: unpublish 8080:80/tcp\n\
             change network back: fairway.isolate: none -> true\n\
             change sandbox web: publish 8081:80/tcp"
        );
        assert_eq!(ask(&stage.lan, &format!("{HOST}:8081")).unwrap(), Outcome::answered(LAN));
        assert_eq!(ask(&stage.lan, &format!("{HOST}:8080")).unwrap(), Outcome::Refused);
        assert_eq!(applied(&stage, &changed, ""), "unchanged");
    });
}

#[test]
fn networks_of_every_driver_are_left_alone_the_second_time() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let file = "
name: shop
networks:
  bridge: {enable_ipv6: true}
  internal: {driver_opts: {com.docker.network.internal: '1'}}
  ptp: {driver: ptp}
  routed: {driver: routed}
  macvlan: {driver: macvlan, driver_opts: {parent: eth0}, ipam: {config: [{subnet: 10.61.0.0/24}]}}
  common: {config_only: true, ipam: {config: [{subnet: 172.29.0.0/16}]}}
  configured: {config_from: common}
sandboxes:
  one: {networks: [bridge, internal, ptp, routed]}
  two: {networks: [macvlan, configured]}
";
        let lines = applied(&stage, file, "");
        assert_eq!(lines.lines().count(), 9, "{lines}");
        assert_eq!(applied(&stage, file, ""), "unchanged");
        assert_eq!(applied(&stage, &printed(&stage, "export"), ""), "unchanged");
    });
}

#[test]
fn what_a_file_no_longer_has_is_pruned() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        printed(&stage, "network create own");
        let before = observe(&stage, &[]);
        applied(&stage, FILE, "");
        let left = apply(&stage, "networks: {}", "");
        let reason = "an earlier apply created it, and the file does not declare it";
        let expected: String = ["sandbox web", "network back", "network front"]
            .map(|what| format!("WARNING: left {what}: {reason}: remove it with --prune\n"))
            .concat();
        assert_eq!((left.output.as_str(), left.errors, left.code), ("unchanged\n", expected, 0));
        // A file of another name prunes nothing of this one.
        assert_eq!(applied(&stage, "name: other", "--prune"), "unchanged");
        assert_eq!(
            applied(&stage, "networks: {}", "--prune"),
            format!(
                "remove sandbox web: {reason}\nremove network back: {reason}\nremove network front: {reason}"
            )
        );
        assert_eq!(names(&stage), "own", "no apply made it");
        assert_same("the host", &before, &observe(&stage, &[]));
    });
}

#[test]
fn what_cannot_be_changed_is_refused_before_anything_is() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        applied(&stage, FILE, "");
        let before = observe(&stage, &[]);
        let other = FILE
            .replace("172.28.0", "172.29.0")
            .replace("networks:\n  front:", "networks:\n  new:\n  front:");
        let refused = apply(&stage, &other, "");
        assert_eq!((refused.output.as_str(), refused.code), ("", 1));
        assert_eq!(
            refused.errors,
            "cannot apply /run/declaration.yaml: nothing was changed:\n  cannot change network front: \
             ipam.config: 172.28.0.0/16 gateway 172.28.0.1 -> 172.29.0.0/16: sandbox web is on it: \
             disconnect these first\n"
        );
        assert_same("the host", &before, &observe(&stage, &[]));
        // Without endpoints on it, it is created again.
        let alone = "networks: {front: {ipam: {config: [{subnet: 172.29.0.0/16}]}}, back: {internal: true}}";
        let lines = applied(&stage, alone, "--prune");
        assert!(lines.contains("change network front: ipam.config: 172.28.0.0/16"), "{lines}");

        // What the daemon would refuse later is refused at first, with a dry run too.
        let overlap =
            "networks: {a: {ipam: {config: [{subnet: 172.29.0.0/16}]}}, 0: {}, front: {external: true}}";
        for flags in ["", "--dry-run"] {
            let refused = apply(&stage, overlap, flags);
            assert_eq!((refused.output.as_str(), refused.code), ("", 1));
            let line = "nothing was changed:\n  cannot create network a: Pool overlaps";
            assert!(refused.errors.contains(line), "{refused:?}");
        }
        // What only the kernel knows is refused in its place.
        let _other = serve_tcp(&stage.host, "0.0.0.0:8090").unwrap();
        let taken = "networks: {0: {}}\nsandboxes: {box: {networks: [0], ports: ['8090:80']}}";
        let failed = apply(&stage, taken, "");
        assert_eq!((failed.output.as_str(), failed.code), ("create network 0: it does not exist\n", 1));
        let start = "cannot create sandbox box: Error response from daemon: ";
        assert!(failed.errors.lines().any(|line| line.starts_with(start)), "{failed:?}");

        let unknown = apply(&stage, "networks: {front: {drivr: lan}}", "");
        let start = "cannot read /run/declaration.yaml: line 1, column 20: unknown key \"drivr\": did you mean driver?";
        assert!(unknown.errors.starts_with(start) && unknown.code == 1, "{unknown:?}");
        let missing = fairway(&stage, "apply -f /run/nosuch.yaml");
        assert_eq!(missing.errors, "cannot read /run/nosuch.yaml: No such file or directory (os error 2)\n");
    });
}

#[test]
fn a_sandbox_keeps_its_network_if_the_next_is_impossible() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        applied(&stage, FILE, "");
        let before = observe(&stage, &[]);
        let refused = apply(&stage, &FILE.replace("172.28.0.9", "10.29.0.5"), "");
        assert_eq!((refused.output.as_str(), refused.code), ("", 1));
        assert_eq!(
            refused.errors,
            "cannot apply /run/declaration.yaml: nothing was changed:\n  cannot change sandbox web: invalid \
             endpoint settings: no configured subnet of network front contains IP address 10.29.0.5\n"
        );
        assert_same("the host", &before, &observe(&stage, &[]));
    });
}

#[test]
fn what_is_exported_changes_nothing_and_makes_the_same_elsewhere() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &["--default-network-opt=bridge=com.docker.network.driver.mtu=1400"]);
        for line in [
            "network create --subnet 172.28.0.0/16 --ip-range 172.28.4.0/24 --aux-address nas=172.28.0.5 front",
            "network create --ipv6 --internal --label tier=data -o fairway.isolate=true back",
            "network create -d ptp pair",
            "network create -d routed --subnet 10.77.0.0/24 far",
            "network create -d macvlan -o parent=eth0 --subnet 10.10.50.0/24 --gateway 10.10.50.1 wire",
            "network create --config-only --subnet 172.31.0.0/16 pattern",
            "network create --config-from pattern copy",
            "sandbox create --network front --network name=back,alias=www,mac-address=02:00:00:00:00:77 --ip 172.28.0.9 -p 8080:80 -p 7000-7002:90-92/udp web",
            "sandbox create --network none --hostname db.example --dns 10.9.9.9 --add-host up:host-gateway db",
            "sandbox create -p 127.0.0.1::53/udp old",
        ] {
            printed(&stage, line);
        }
        stage.sandbox("guest", &["pair"], &[]);
        let exported = printed(&stage, "export");
        assert_eq!(applied(&stage, &exported, "--prune"), "unchanged", "{exported}");
        let json = printed(&stage, "export --format json");
        assert_eq!(applied(&stage, &json, ""), "unchanged", "{json}");

        let other = stage.second_host(lab, "other", ["10.10.50.98", "fd50::98"], &[]);
        other.host.run_in(|| drop(fairway_kernel::namespace::create_named("guest").unwrap())).unwrap();
        let lines = applied(&other, &exported, "");
        assert_eq!(lines.lines().filter(|line| line.starts_with("create")).count(), 11, "{lines}");
        assert_eq!(printed(&other, "export"), exported);
        assert_eq!(applied(&other, &exported, ""), "unchanged");

        let (_far, interface) = stage.far(lab);
        let subnet = "--subnet 10.20.0.0/24 --gateway 10.20.0.2 --ip-range 10.20.0.100-10.20.0.120";
        printed(&stage, &format!("network create -d lan -o parent={interface} {subnet} office"));
        printed(&stage, "sandbox create --network office --mac-address 02:42:ac:11:00:09 cam");
        let exported = printed(&stage, "export");
        assert!(exported.contains("office") && exported.contains("cam"), "{exported}");
        assert_eq!(applied(&stage, &exported, "--prune"), "unchanged", "{exported}");
    });
}

#[test]
fn steps_after_a_lease_are_checked_too() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let pool = ["10.10.50.60".parse().unwrap()];
        let server = DhcpServer::start(&stage.lan, "eth0", LAN.parse().unwrap(), &pool, 600).unwrap();
        let text = "
networks:
  office: {driver: lan, driver_opts: {parent: eth0, fairway.dhcp: 'true'}}
sandboxes:
  cam: {networks: [office]}
  db: {ports: ['8080:80']}
  web: {ports: ['8080:80']}
";
        for flags in ["--dry-run", ""] {
            let refused = apply(&stage, text, flags);
            assert_eq!((refused.output.as_str(), refused.code), ("", 1));
            assert!(refused.errors.contains("cannot create sandbox web: "), "{}", refused.errors);
        }
        assert_eq!(names(&stage), "");
        let text = text.replacen("8080", "8081", 1);
        assert_eq!(applied(&stage, &text, "--dry-run"), applied(&stage, &text, ""));
        assert_eq!(field(&stage, "cam", "NetworkSettings.Networks.office.IPAddress"), "10.10.50.60");
        drop(server);
    });
}

#[test]
fn of_a_compose_file_the_networks_are_made() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let compose = "
name: shop
services:
  web:
    image: nginx:${NO_SUCH_TAG}
    networks: {front: {aliases: [www]}}
    ports: ['${NO_SUCH_PORT:-8080}:80']
networks:
  front: {driver_opts: {com.docker.network.driver.mtu: 1400}}
";
        let made = apply(&stage, compose, "");
        assert_eq!((made.output.as_str(), made.code), ("create network shop_front: it does not exist\n", 0));
        let command =
            "fairway run -d --name web --network name=shop_front,alias=www --publish 8080:80/tcp -- PROGRAM";
        assert_eq!(
            made.errors,
            format!(
                "WARNING: The \"NO_SUCH_TAG\" variable is not set. Defaulting to a blank string.\n\
                 WARNING: left service web: apply starts no programs (image not applied): \
                 start one with: {command}\n"
            )
        );
        let refused = apply(&stage, &compose.replace("TAG}", "TAG:?say which}"), "");
        assert!(refused.errors.contains("missing variable `NO_SUCH_TAG`: say which"), "{}", refused.errors);
        let start = command.trim_start_matches("fairway ").replace("PROGRAM", "sleep 1000");
        printed(&stage, &start);
        let compose = compose.replace("${NO_SUCH_TAG}", "latest");
        assert_eq!(applied(&stage, &compose, ""), "unchanged");
        // The networks and ports of one that runs are changed as declared.
        assert_eq!(
            applied(&stage, &compose.replace("8080", "8081"), ""),
            "change sandbox web: unpublish 8080:80/tcp\nchange sandbox web: publish 8081:80/tcp"
        );
        assert_eq!(printed(&stage, "port web 80").lines().next(), Some("0.0.0.0:8081"));
        printed(&stage, "rm -f web");
    });
}
