//! `fairway install` as the real engines read what it writes.

use crate::podman;
use crate::stage::{self, sh};

/// A program in place of Fairway: it notes by which name it is called, and is that program of the distribution.
const RECORDER: &str = "#!/bin/sh\necho $0 >> /run/calls\nexec /usr/lib/podman/${0##*/} \"$@\"\n";

#[test]
fn podman_runs_the_installed_programs_and_finds_its_own() {
    let programs = ["podman", "crun", "conmon", "slirp4netns", "newuidmap", "setpriv"];
    stage::run(&programs, |_| {
        podman::prepare();
        std::fs::write("/run/recorder", RECORDER).unwrap();
        sh("chmod 755 /run/recorder; touch /run/calls; chmod 666 /run/calls");
        let program = env!("CARGO_BIN_EXE_fairway");
        let fairway = |verb: &str| {
            sh(&format!("{program} {verb} netavark --bin-path /run/recorder --prefix /run/prefix"))
        };
        fairway("install");
        assert_eq!(podman::podman("info --format {{.Host.NetworkBackend}}"), "netavark");
        podman::podman("network create app");
        podman::podman("run -d --name web --cgroups=disabled --network app -p 8081:80 bb sleep 1000");
        podman::podman("rm -f -t 0 web");
        let calls = sh("sort -u /run/calls");
        assert!(calls.contains("/run/prefix/libexec/fairway/podman/netavark"), "{calls}");
        assert!(calls.contains("/run/prefix/libexec/fairway/podman/aardvark-dns"), "{calls}");
        sh("rm /run/calls; touch /run/calls");
        fairway("uninstall");
        podman::podman("run -d --name web --cgroups=disabled --network app bb sleep 1000");
        podman::podman("rm -f -t 0 web");
        assert_eq!(sh("cat /run/calls"), "");
        // With the program itself the container is Fairway's.
        sh(&format!("{program} install netavark --bin-path {program} --prefix /run/prefix"));
        podman::podman("run -d --name web --cgroups=disabled --network app bb sleep 1000");
        assert_eq!(sh(&format!("{program} ps --format '{{{{.Names}}}}'")), "web");
        podman::podman("rm -f -t 0 web");
        // Published ports of a user take podman's rootlessport, which is where it was.
        let users = podman::prepare_user();
        users("import /run/image.tar bb");
        users("run -d --name web --cgroups=disabled -p 8080:80 bb sleep 1000");
        users("rm -f -t 0 web");
    });
}
