use fairway_model::Namespace;

use super::*;
use crate::testing::{Fixture, lines};

fn namespace(inode: u64) -> Option<Namespace> {
    Some(Namespace { path: format!("/proc/{inode}/ns/net"), device: 4, inode })
}

fn container(engine: Engine, name: &str, inode: u64) -> Container {
    let mut container = Container::new(engine, vec![name.to_owned()], String::new());
    container.namespace = namespace(inode);
    container
}

fn named(name: &str, inode: u64) -> Container {
    let mut container = container(Engine::NamedNamespace, name, inode);
    container.namespace_names = vec![name.to_owned()];
    container
}

#[test]
fn a_named_namespace_of_a_container_is_not_listed_twice() {
    let mut survey = Survey::default();
    survey.add(vec![named("blue", 7), named("cni-1", 8), named("red", 9), named("cni-2", 8)]);
    let names = |survey: &Survey| survey.containers.iter().map(Container::qualified).collect::<Vec<_>>();
    assert_eq!(names(&survey), ["netns:blue", "netns:cni-1", "netns:cni-2", "netns:red"]);
    let mut host = container(Engine::Docker { user: None }, "monitor", 9);
    host.mode = Mode::Host;
    survey.add(vec![container(Engine::Kubernetes, "default/web", 8), host]);
    assert_eq!(names(&survey), ["docker:monitor", "pod:default/web", "netns:blue", "netns:red"]);
    assert_eq!(survey.containers[1].namespace_names, ["cni-1", "cni-2"]);
    assert_eq!(survey.resolve("netns:cni-2").unwrap().unwrap().name(), "default/web");
    // Added again, the names are not doubled.
    survey.add(vec![named("cni-1", 8)]);
    assert_eq!(survey.containers[1].namespace_names, ["cni-1", "cni-2"]);
}

#[test]
fn containers_without_a_namespace_have_no_names_of_one() {
    let mut survey = Survey::default();
    let mut stopped = container(Engine::Lxc { user: None }, "stopped", 1);
    stopped.namespace = None;
    let mut unreadable = named("blue", 1);
    unreadable.namespace = None;
    survey.add(vec![stopped, unreadable]);
    assert_eq!(survey.containers.len(), 2);
    assert!(survey.containers[0].namespace_names.is_empty());
}

#[test]
fn a_container_in_the_namespace_of_this_process_uses_that_of_the_host() {
    let fixture = Fixture::new();
    fixture.file("/run/systemd/machines/deb", "LEADER=41").process(41, 1, "systemd");
    assert_eq!(lines(&fixture.survey().containers), ["machine:deb running pid=41"]);
    fixture.link("/proc/self/ns/net", "/proc/self/ns/net");
    assert_eq!(lines(&fixture.survey().containers), ["machine:deb running pid=41 Host"]);
}

#[test]
fn named_namespaces_are_read() {
    let fixture = Fixture::new();
    fixture.link("/run/netns/blue", "/proc/self/ns/net").file("/run/netns/gone", "");
    let survey = fixture.survey();
    assert_eq!(lines(&survey.containers), ["netns:blue running"]);
    assert_eq!(survey.containers[0].namespace_names, ["blue"]);
    // What is left of an unmounted one is not a note: there is nothing to be done for it.
    assert_eq!(survey.notes, []);
}

#[test]
fn an_empty_host_has_neither_containers_nor_notes() {
    let fixture = Fixture::new();
    assert_eq!(fixture.survey(), Survey { root: fixture.root().to_owned(), ..Survey::default() });
}

#[test]
fn processes_and_namespaces_are_resolved_without_an_engine() {
    let fixture = Fixture::new();
    fixture.process(41, 1, "nginx").link("/run/netns/blue", "/proc/self/ns/net");
    let own = namespace::identity("/proc/self/ns/net").unwrap();
    for (name, qualified, pid) in [
        ("pid:41", "pid:41", Some(41)),
        ("netns:/run/netns/blue", "netns:/run/netns/blue", None),
        ("netns:blue", "netns:blue", None),
    ] {
        let found = namespace_of(fixture.root(), name).unwrap().unwrap();
        assert_eq!((found.qualified().as_str(), found.pid, found.state), (qualified, pid, State::Running));
        assert_eq!(found.namespace.unwrap().inode, own.inode);
    }
    for name in ["blue", "docker:blue", "netns:a/b", "netns:..", ""] {
        assert_eq!(namespace_of(fixture.root(), name).unwrap(), None, "{name}");
    }
    let error = |name| namespace_of(fixture.root(), name).unwrap_err().to_string();
    assert_eq!(error("pid:x"), "invalid process id \"x\": a number such as pid:1234 is expected");
    assert!(error("pid:42").contains("/proc/42/ns/net: No such file"), "{}", error("pid:42"));
    assert!(error("netns:/nothing").contains("/nothing: No such file"), "{}", error("netns:/nothing"));
}

#[test]
fn a_survey_resolves_names_first() {
    let fixture = Fixture::new();
    fixture.process(41, 1, "nginx");
    let mut survey = fixture.survey();
    let mut web = container(Engine::Docker { user: None }, "web", 7);
    web.pid = Some(41);
    survey.add(vec![web, container(Engine::Lxc { user: None }, "web", 8)]);
    assert_eq!(survey.resolve("pid:41").unwrap().unwrap().qualified(), "docker:web");
    assert_eq!(
        survey.resolve("web").unwrap_err().to_string(),
        "\"web\" names several containers: write one of docker:web, lxc:web"
    );
    assert_eq!(survey.resolve("nothing").unwrap(), None);
}

#[test]
fn an_engine_whose_files_hang_is_left_out_and_delays_nothing_longer() {
    let fixture = Fixture::new();
    let host = Host { root: fixture.root().to_owned(), processes: Vec::new(), deadline: Instant::now() };
    let started = Instant::now();
    let hangs: Read = |_| {
        std::thread::sleep(Duration::from_secs(60));
        Vec::new()
    };
    let answers: Read = |_| vec![Container::new(Engine::Nspawn, vec!["deb".to_owned()], String::new())];
    let panics: Read = |_| panic!("an engine's reader has a defect");
    let limit = started + Duration::from_secs(2);
    let (found, notes) = gather(host, &[("one", hangs), ("two", answers), ("three", panics)], limit);
    assert!(started.elapsed() < Duration::from_secs(50), "{:?}", started.elapsed());
    assert_eq!(lines(&found), ["machine:deb exited"]);
    assert_eq!(notes, [Note::LeftOut { engine: "one" }, Note::LeftOut { engine: "three" }]);
}

#[test]
fn a_sandbox_that_another_engine_asked_for_is_listed_once() {
    let mut survey = Survey::default();
    let hosted = Container { mode: Mode::Host, ..container(Engine::Fairway, "hosted", 8) };
    survey.add(vec![
        container(Engine::Podman { user: None }, "web", 7),
        container(Engine::Docker { user: None }, "own", 8),
        container(Engine::Fairway, "web", 7),
        container(Engine::Fairway, "alone", 9),
        hosted,
    ]);
    let names: Vec<_> = survey.containers.iter().map(Container::qualified).collect();
    assert_eq!(names, ["fairway:alone", "fairway:hosted", "docker:own", "podman:web"]);
    assert!(survey.resolve("web").unwrap().is_some_and(|found| found.engine != Engine::Fairway));
}
