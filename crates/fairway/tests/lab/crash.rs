//! Killed at each boundary between two steps of each change in turn, and started again: World, kernel, files and
//! sockets are then what a fresh daemon makes of the same World, and nothing is left over.

use std::time::Duration;

use fairway_api::ClientError;
use fairway_api::filter::Filters;
use fairway_api::types::{EndpointSettings, NetworkCreate};
use fairway_lab::{Host, Lab, Place};

use crate::harness::{Stage, eventually, request, use_backend};
use crate::kernel_state::{assert_same, make_anew, observe};

/// More boundaries than any change has.
const MANY: usize = 40;

/// A change, and what takes it back.
struct Case {
    /// The objects that are not of the scene.
    prepare: fn(&Stage),
    act: fn(&Stage) -> Result<(), ClientError>,
    undo: fn(&Stage) -> Result<(), ClientError>,
}

/// A World with something of everything: `a` on two networks with ports, `b` on the default bridge, `spare` without
/// endpoints.
struct Scene {
    stage: Stage,
    places: Vec<(&'static str, Place)>,
}

impl Scene {
    fn new(lab: &Lab) -> Scene {
        let mut stage = Stage::before_daemon(lab);
        stage.host.set_sysctl("net.ipv4.ip_forward", "0").unwrap();
        stage.daemon.launch(&[]);
        stage.daemon.wait_until_ready();
        stage.create_network("web", |network| network.enable_ipv6 = Some(true)).unwrap();
        stage.network("spare");
        stage.network("other");
        stage.sandbox("a", &["web", "other"], &["8080:80", "5300:53/udp"]);
        stage.sandbox("b", &["bridge"], &[]);
        stage.sandbox("c", &["web"], &["9090:90"]);
        let place = |name| (name, stage.host.sandbox(format!("/run/netns/{name}")).unwrap());
        let places = ["a", "b", "c"].map(place).to_vec();
        Scene { stage, places }
    }

    fn places(&self) -> Vec<(&'static str, &Place)> {
        self.places.iter().map(|(name, place)| (*name, place)).collect()
    }

    /// All that a client is shown.
    fn world(&self) -> Vec<String> {
        let mut client = self.stage.client();
        let networks = client.networks(&Filters::default()).unwrap();
        let containers = client.containers(true, &Filters::default()).unwrap();
        let containers = containers.iter().map(|found| format!("{:?}", client.container(&found.id).unwrap()));
        networks.iter().map(|network| format!("{network:?}")).chain(containers).collect()
    }

    /// Whether kernel, files and sockets are what a fresh daemon makes of the World.
    fn check(&mut self, what: &str, flags: &[&str]) {
        let found = observe(&self.stage, &self.places());
        let places = self.places.clone();
        let places: Vec<_> = places.iter().map(|(name, place)| (*name, place)).collect();
        let reported = self.world();
        make_anew(&mut self.stage, flags, &places);
        assert_eq!(reported, self.world(), "{what}: the World lives on");
        assert_same(what, &found, &observe(&self.stage, &places));
    }

    /// Runs the daemon until it is killed at a boundary, whose name is returned; none if `act` is over before.
    fn crash_at(
        &mut self,
        number: usize,
        act: impl FnOnce(&Stage) -> Result<(), ClientError>,
    ) -> Option<String> {
        self.stage.daemon.kill9();
        self.stage.daemon.launch_with(&[], &[("FAIRWAY_CRASH_AT", &format!("change:{number}"))]);
        self.stage.daemon.wait_until_ready();
        let outcome = act(&self.stage);
        match outcome {
            Ok(()) => None,
            Err(error @ ClientError::Refused { .. }) => panic!("{error}"),
            Err(_) => Some(self.killed()),
        }
    }

    /// The boundary that the daemon was killed at.
    fn killed(&mut self) -> String {
        self.stage.daemon.wait_until_ended().expect("it was killed");
        let log = self.stage.daemon.log();
        let line =
            log.lines().rfind(|line| line.contains("killing the daemon at failpoint")).expect("as asked");
        line.split("failpoint=").nth(1).unwrap().trim_matches('"').to_owned()
    }
}

/// Kills the daemon at each boundary of a change.
fn crash_everywhere(case: Case) -> impl FnOnce(&Lab) {
    move |lab| {
        let mut scene = Scene::new(lab);
        (case.prepare)(&scene.stage);
        let mut passed = Vec::new();
        for number in 1..MANY {
            let before = scene.world();
            let Some(boundary) = scene.crash_at(number, case.act) else { break };
            scene.stage.daemon.launch(&[]);
            scene.stage.daemon.wait_until_ready();
            let after = scene.world();
            assert_eq!(before == after, boundary == "bound", "durable or not: at {boundary}");
            scene.check(&format!("killed at {number}, {boundary}"), &[]);
            if before != after {
                (case.undo)(&scene.stage).unwrap();
            }
            passed.push(boundary);
        }
        for name in [
            "bound",
            "durable",
            "firewall",
            "bridges",
            "netns links",
            "routes",
            "namespaces",
            "traffic limits",
            "files",
            "relay",
            "flows",
            "counts",
        ] {
            assert!(passed.iter().any(|passed| passed == name), "never killed at {name}: {passed:?}");
        }
        assert!(passed.len() < MANY - 1, "the change is never over");
    }
}

fn nothing(_: &Stage) {}

#[test]
fn making_a_network() {
    fairway_lab::run(|lab| {
        crash_everywhere(Case {
            prepare: nothing,
            act: |stage| stage.create_network("new", |network| network.enable_ipv6 = Some(true)).map(drop),
            undo: |stage| stage.client().remove_network("new"),
        })(lab);
    });
}

#[test]
fn making_a_routed_network() {
    fn routed(network: &mut NetworkCreate) {
        network.driver = "routed".to_owned();
        let peers = "172.30.2.0/24@10.10.50.1,172.30.3.0/24@10.10.50.98".to_owned();
        network.options.insert("fairway.peers".to_owned(), peers);
    }
    fairway_lab::run(|lab| {
        crash_everywhere(Case {
            prepare: nothing,
            act: |stage| stage.create_network("new", routed).map(drop),
            undo: |stage| stage.client().remove_network("new"),
        })(lab);
    });
}

#[test]
fn removing_a_network() {
    fairway_lab::run(|lab| {
        crash_everywhere(Case {
            prepare: nothing,
            act: |stage| stage.client().remove_network("spare"),
            undo: |stage| stage.create_network("spare", |_| {}).map(drop),
        })(lab);
    });
}

#[test]
fn attaching() {
    fairway_lab::run(|lab| {
        let attach = |stage: &Stage| {
            let mut limited = request(&["web"], &["7070:70", "7070:70/udp"]);
            let options = [("fairway.egress_rate".to_owned(), "10mbit".to_owned())];
            limited.networking_config.endpoints_config[0].1.driver_opts = Some(options.into());
            stage.attach("new", limited).map(drop)
        };
        crash_everywhere(Case { prepare: nothing, act: attach, undo: |stage| stage.client().detach("new") })(
            lab,
        );
    });
}

#[test]
fn attaching_by_iptables() {
    fairway_lab::run(|lab| {
        use_backend("nft");
        let attach = |stage: &Stage| stage.attach("new", request(&["web"], &["7070:70"])).map(drop);
        crash_everywhere(Case { prepare: nothing, act: attach, undo: |stage| stage.client().detach("new") })(
            lab,
        );
    });
}

#[test]
fn making_a_network_by_legacy_iptables() {
    fairway_lab::run(|lab| {
        use_backend("legacy");
        crash_everywhere(Case {
            prepare: nothing,
            act: |stage| stage.create_network("new", |network| network.enable_ipv6 = Some(true)).map(drop),
            undo: |stage| stage.client().remove_network("new"),
        })(lab);
    });
}

#[test]
fn detaching() {
    fairway_lab::run(|lab| {
        crash_everywhere(Case {
            prepare: nothing,
            act: |stage| stage.client().detach("c"),
            undo: |stage| stage.attach("c", request(&["web"], &["9090:90"])).map(drop),
        })(lab);
    });
}

#[test]
fn connecting() {
    fairway_lab::run(|lab| {
        crash_everywhere(Case {
            prepare: nothing,
            act: |stage| stage.connect("web", "b", EndpointSettings::default()),
            undo: |stage| stage.disconnect("web", "b"),
        })(lab);
    });
}

/// A network of links without an end on the host, which `b` is not on yet: of macvlans, or a pair whose one end `a` has.
fn with_netns_links(stage: &Stage, driver: &str) {
    let ask = |network: &mut NetworkCreate| {
        network.driver = driver.to_owned();
        network.enable_ipv6 = Some(true);
        network.options.insert("parent".to_owned(), "eth0".to_owned());
    };
    stage.create_network("past", ask).unwrap();
    if driver == "ptp" {
        stage.connect("past", "a", EndpointSettings::default()).unwrap();
    }
}

fn join(stage: &Stage) -> Result<(), ClientError> {
    stage.connect("past", "b", EndpointSettings::default())
}

fn leave(stage: &Stage) -> Result<(), ClientError> {
    stage.disconnect("past", "b")
}

#[test]
fn joining_by_a_macvlan() {
    fairway_lab::run(|lab| {
        let prepare = |stage: &Stage| with_netns_links(stage, "macvlan");
        crash_everywhere(Case { prepare, act: join, undo: leave })(lab);
    });
}

#[test]
fn leaving_by_a_macvlan() {
    fairway_lab::run(|lab| {
        let prepare = |stage: &Stage| {
            with_netns_links(stage, "macvlan");
            join(stage).unwrap();
        };
        crash_everywhere(Case { prepare, act: leave, undo: join })(lab);
    });
}

#[test]
fn joining_a_pair() {
    fairway_lab::run(|lab| {
        let prepare = |stage: &Stage| with_netns_links(stage, "ptp");
        crash_everywhere(Case { prepare, act: join, undo: leave })(lab);
    });
}

#[test]
fn leaving_a_pair() {
    fairway_lab::run(|lab| {
        let prepare = |stage: &Stage| {
            with_netns_links(stage, "ptp");
            join(stage).unwrap();
        };
        crash_everywhere(Case { prepare, act: leave, undo: join })(lab);
    });
}

#[test]
fn disconnecting_the_last_network_with_names() {
    fairway_lab::run(|lab| {
        crash_everywhere(Case {
            prepare: nothing,
            act: |stage| stage.disconnect("web", "c"),
            undo: |stage| stage.connect("web", "c", EndpointSettings::default()),
        })(lab);
    });
}

#[test]
fn starting_with_other_flags() {
    fairway_lab::run(|lab| {
        let mut scene = Scene::new(lab);
        let others = ["--userland-proxy=false", "--ip-forward=false", "--ip-masq=false", "--mtu=1400"];
        let mut passed = Vec::new();
        for number in 1..MANY {
            scene.stage.daemon.kill9();
            scene.stage.daemon.launch_with(&others, &[("FAIRWAY_CRASH_AT", &format!("start:{number}"))]);
            if scene.is_ready_or_killed() {
                break;
            }
            passed.push(scene.killed());
            scene.stage.daemon.launch(&others);
            scene.stage.daemon.wait_until_ready();
            scene.check(&format!("killed at {number} of the start"), &others);
            scene.stage.daemon.restart(&[]);
        }
        for name in ["host released", "durable", "relay", "firewall", "bridges", "namespaces", "counts"] {
            assert!(passed.iter().any(|passed| passed == name), "never killed at {name}: {passed:?}");
        }
    });
}

impl Scene {
    /// Waits until the daemon answers (true) or has ended.
    fn is_ready_or_killed(&mut self) -> bool {
        let mut ready = false;
        eventually("ready, or killed", Duration::from_secs(20), || {
            ready = self.stage.client().ping().is_ok();
            ready || is_gone(&self.stage.host, self.stage.daemon.pid())
        });
        ready
    }
}

/// Whether a process has ended; it may not have been waited for.
fn is_gone(host: &Host, pid: u32) -> bool {
    let stat = host.run_in(|| std::fs::read_to_string(format!("/proc/{pid}/stat"))).unwrap();
    stat.map_or(true, |text| text.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')))
}
