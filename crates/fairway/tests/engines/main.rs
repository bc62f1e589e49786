//! Fairway with the real engines: their containers are listed and attached. Each test is in namespaces of its own; it takes root and the engine,
//! and is skipped elsewhere.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]
#![allow(clippy::disallowed_methods, reason = "tests run programs and read the environment")]

mod aardvark;
mod cni;
mod containerd;
mod docker;
mod docker_clients;
mod docker_plugin;
mod install;
mod lxc;
mod machine;
mod nspawn;
mod oci;
mod package;
mod podman;
mod podman_on_fairway;
mod podman_restart;
mod podman_with_firewalld;
mod stage;
mod trace;

use fairway_containers::{ResolveError, read};

#[test]
fn one_name_in_two_engines_is_refused_with_both() {
    stage::run(&["dockerd", "docker", "podman", "crun"], |stage| {
        let _docker = docker::start(stage, &[]);
        docker::docker("run -d --name web --network none bb sleep 1000");
        let pid = docker::docker("inspect -f {{.State.Pid}} web");
        podman::prepare();
        podman::podman("run -d --name web --cgroups=disabled --network none bb sleep 1000");
        let survey = read("/".as_ref());
        let error = survey.resolve("web").unwrap_err();
        assert!(matches!(error, ResolveError::Ambiguous(_)));
        assert_eq!(
            error.to_string(),
            "\"web\" names several containers: write one of docker:web, podman:web"
        );
        assert_eq!(survey.resolve("docker:web").unwrap().unwrap().pid.unwrap().to_string(), pid);
        let id = podman::podman("inspect -f {{.Id}} web");
        assert_eq!(survey.resolve(&id[..10]).unwrap().unwrap().qualified(), "podman:web");
    });
}
