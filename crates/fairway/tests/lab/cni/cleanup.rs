//! CHECK, GC, the end of the daemon, and many at once.

use std::sync::Barrier;

use fairway_lab::{Place, serve_tcp};
use serde_json::json;

use super::runtime::{Attachment, Runtime};
use super::{answers, plugin, with_forwarding};
use crate::harness::{HOST, Stage};
use crate::kernel_state::{assert_same, observe};
use crate::on_demand::{daemons, wait_until_ended};

/// How many containers come and go at the same time.
const AT_ONCE: usize = 60;

fn ip(place: &Place, words: &str) {
    let mut command = std::process::Command::new("ip");
    assert!(place.run(command.args(words.split(' '))).unwrap().status.success(), "{words}");
}

#[test]
fn a_check_names_what_is_missing() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let runtime = Runtime::new(&stage, "0.4.0", "pods", json!([plugin()]));
        let (web, path) = runtime.namespace("web");
        let at = Attachment::of("web", &path);
        let ports = json!({"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]});
        runtime.add(at, &ports).unwrap();
        let missing = |text: &str| {
            let (code, message) = runtime.check(at, &ports).unwrap_err();
            assert_eq!((code, message.contains(text)), (999, true), "{message}");
        };
        ip(&web, "address del 10.22.0.2/16 dev eth0");
        missing("address 10.22.0.2/16 is missing on interface eth0");
        ip(&web, "address add 10.22.0.2/16 dev eth0");
        missing("route 0.0.0.0/0 is missing");
        ip(&web, "route add default via 10.22.0.1");
        runtime.check(at, &ports).unwrap();
        ip(&web, "link set eth0 address 02:00:00:00:00:09");
        missing("MAC address");
        stage.client().unpublish("web", crate::harness::ports(&["8080:80"])).unwrap();
        missing("host port 8080 is not published to 80/tcp");
        ip(&web, "link del eth0");
        stage.client().detach("web").unwrap();
        missing("is not attached to network pods");
    });
}

#[test]
fn garbage_is_what_is_not_valid_on_this_network() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let runtime = Runtime::new(&stage, "1.1.0", "pods", json!([plugin()]));
        let mut other = plugin();
        other["bridge"] = json!("cni8");
        other["ipam"] = json!({"subnet": "10.23.0.0/24"});
        let elsewhere = Runtime::new(&stage, "1.1.0", "elsewhere", json!([other]));
        for name in ["a", "b", "c"] {
            let (_, path) = runtime.namespace(name);
            runtime.add(Attachment::of(name, &path), &json!({})).unwrap();
            let second = Attachment { interface: "net1", ..Attachment::of(name, &path) };
            elsewhere.add(second, &json!({})).unwrap();
        }
        stage.network("own");
        let _own = stage.sandbox("own", &["own"], &[]);
        let on = |network: &str| {
            let mut names: Vec<_> =
                stage.client().network(network).unwrap().containers.into_values().collect();
            names.sort_by(|one, two| one.name.cmp(&two.name));
            names.into_iter().map(|it| it.name).collect::<Vec<_>>()
        };
        runtime.collect_garbage(&[("a", "eth0"), ("b", "net1"), ("unknown", "eth0")]).unwrap();
        assert_eq!((on("pods"), on("elsewhere").len(), on("own").len()), (vec!["a".to_owned()], 3, 1));
        runtime.collect_garbage(&[]).unwrap();
        assert!(stage.client().network("pods").is_err(), "the last container has left");
        assert_eq!((on("elsewhere").len(), on("own").len()), (3, 1));
    });
}

#[test]
fn containers_go_on_after_a_kill_of_the_daemon() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::new(lab, &[]);
        let before = with_forwarding(&stage);
        let ports = json!({"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]});
        let (web, path) = Runtime::new(&stage, "1.0.0", "pods", json!([plugin()])).namespace("web");
        let at = Attachment::of("web", &path);
        let _server = serve_tcp(&web, "0.0.0.0:80").unwrap();
        let result = Runtime::new(&stage, "1.0.0", "pods", json!([plugin()])).add(at, &ports).unwrap();
        stage.daemon.kill9();
        assert!(answers(&stage.lan, &format!("{HOST}:8080")), "without a daemon");
        let runtime = Runtime::new(&stage, "1.0.0", "pods", json!([plugin()]));
        assert_eq!(runtime.delete(at).unwrap_err().0, 11, "to be tried again later");
        stage.daemon.restart(&[]);
        assert!(answers(&stage.lan, &format!("{HOST}:8080")));
        let runtime = Runtime::new(&stage, "1.0.0", "pods", json!([plugin()]));
        runtime.remember(at, result);
        runtime.check(at, &ports).unwrap();
        runtime.delete(at).unwrap();
        assert_same("after DEL", &observe(&stage, &[]), &before);
    });
}

/// Has containers of a runtime come, and then go, each time all at the same time.
fn come_and_go(runtime: &Runtime, number: usize, between: impl FnOnce()) {
    let containers: Vec<_> = (0..number).map(|it| (it, runtime.namespace(&format!("c{it}")).1)).collect();
    let all = |what: &(dyn Fn(Attachment, usize) + Sync)| {
        let barrier = Barrier::new(number);
        std::thread::scope(|scope| {
            for (it, path) in &containers {
                let (barrier, id) = (&barrier, format!("container-{it}"));
                scope.spawn(move || {
                    barrier.wait();
                    what(Attachment::of(&id, path), *it);
                });
            }
        });
    };
    all(&|at, number| {
        let port = json!({"hostPort": 10_000 + number, "containerPort": 80, "protocol": "tcp"});
        runtime.add(at, &json!({"portMappings": [port]})).unwrap();
    });
    between();
    all(&|at, _| runtime.delete(at).unwrap());
}

#[test]
fn many_come_and_go_at_once_and_leave_nothing() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let before = with_forwarding(&stage);
        let number = std::env::var("FAIRWAY_AT_ONCE").ok().and_then(|text| text.parse().ok());
        let number = number.unwrap_or(AT_ONCE);
        come_and_go(&Runtime::new(&stage, "1.0.0", "pods", json!([plugin()])), number, || {
            assert_eq!(stage.client().network("pods").unwrap().containers.len(), number);
        });
        assert_same("after all", &observe(&stage, &[]), &before);
    });
}

#[test]
fn the_first_container_starts_the_daemon_and_the_last_one_ends_it() {
    fairway_lab::run(|lab| {
        let stage = Stage::before_daemon(lab);
        let before = observe(&stage, &[]);
        let runtime = Runtime::on_demand(&stage, "1.0.0", "pods", json!([plugin()]));
        come_and_go(&runtime, 20, || assert_eq!(daemons().len(), 1));
        wait_until_ended();
        // What is gone needs no daemon.
        runtime.delete(Attachment { interface: "eth0", container: "c1", ..Attachment::default() }).unwrap();
        assert_eq!(daemons().len(), 0);
        assert_same("after the end", &observe(&stage, &[]), &before);
    });
}
