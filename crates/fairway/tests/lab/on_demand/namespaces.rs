//! Faces in other network namespaces than the daemon's, and in user namespaces.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fairway::face::daemon::{Place, ask_by};
use fairway_api::Client;
use fairway_api::types::{AttachRequest, NetworkCreate};
use fairway_kernel::namespace;
use fairway_lab::SCRATCH;

use super::{PROGRAM, daemons, face, place, wait_until_ended};
use crate::harness::{Stage, request};

#[test]
fn each_network_namespace_has_a_daemon_of_its_own() {
    fairway_lab::run(|lab| {
        let stage = Stage::before_daemon(lab);
        stage.host.run_in(|| namespace::create_named("other")).unwrap().unwrap();
        let other = stage.host.sandbox("/run/netns/other").unwrap();
        let elsewhere = || {
            other
                .run_in(|| ask_by(Path::new(PROGRAM), &place(), Client::info))
                .unwrap()
                .unwrap()
                .docker_root_dir
        };
        let root = || face(&stage, Client::info).unwrap().docker_root_dir;
        assert_eq!(root(), "/run/fairway/on-demand");
        assert_eq!(elsewhere(), format!("{SCRATCH}/config/fairway/on-demand"));
        assert_eq!((root(), daemons().len()), ("/run/fairway/on-demand".to_owned(), 2));
        // Each links what is in its own namespace.
        let network = NetworkCreate { name: "app".into(), driver: "bridge".into(), ..Default::default() };
        face(&stage, |client| client.create_network(&network)).unwrap();
        let networks = other
            .run_in(|| ask_by(Path::new(PROGRAM), &place(), |client| client.networks(&Default::default())));
        assert!(networks.unwrap().unwrap().iter().all(|network| network.name != "app"));
        wait_until_ended();
        assert!(!Path::new(&format!("{SCRATCH}/config/fairway")).exists());
    });
}

/// What the test binary is executed again for, in a user namespace.
const DIRECTORY: &str = "FAIRWAY_TEST_DIRECTORY";
/// Where it finds the programs.
const PROGRAMS: &str = "FAIRWAY_TEST_PROGRAMS";

#[test]
fn a_user_has_a_daemon_in_a_user_namespace() {
    fairway_lab::run(|lab| {
        let stage = Stage::before_daemon(lab);
        let directory = format!("{SCRATCH}/user");
        fs::create_dir(&directory).unwrap();
        // A user may not be able to look into the directory that the programs were built in.
        let built = Path::new(PROGRAM).parent().unwrap();
        let programs = format!("{SCRATCH}/programs");
        let test = std::env::current_exe().unwrap();
        let test = Path::new(&programs).join(test.strip_prefix(built).unwrap());
        let mut command = Command::new("sh");
        command
            .args(["-ec", "mkdir $1; mount --bind $2 $1; shift 2; exec \"$@\"", "sh", &programs])
            .arg(built);
        if lab.has_other_users().unwrap() {
            std::os::unix::fs::chown(&directory, Some(1000), Some(1000)).unwrap();
            command.args(["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"]);
        }
        command.args(["unshare", "--user", "--map-root-user", "--net", "--mount"]).arg(test);
        command.args(["on_demand::namespaces::without_root", "--exact", "--ignored", "--nocapture"]);
        command.env(DIRECTORY, &directory).env(PROGRAMS, &programs);
        let output = stage.host.run(&mut command).unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.contains("1 passed"), "{text}");
        wait_until_ended();
        let left: Vec<_> = fs::read_dir(&directory).unwrap().flatten().map(|entry| entry.path()).collect();
        assert_eq!(left, [] as [PathBuf; 0]);
    });
}

#[test]
#[ignore = "runs in the user namespace that another test makes"]
fn without_root() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let place = Place { rootless: true, directory: directory.into() };
    let program = Path::new(&std::env::var_os(PROGRAMS).unwrap()).join("fairway");
    let mut process =
        Command::new("unshare").args(["--net", "sleep", "infinity"]).stdout(Stdio::null()).spawn().unwrap();
    let is_apart = || {
        namespace::identity(&format!("/proc/{}/ns/net", process.id())).unwrap().identity()
            != namespace::own().unwrap().namespace().identity()
    };
    crate::harness::eventually("it has a namespace", super::PATIENCE, is_apart);
    let network = NetworkCreate { name: "app".into(), driver: "bridge".into(), ..Default::default() };
    let container = request(&["app"], &["8080:80"]);
    let attach = AttachRequest { name: "web".into(), pid: process.id(), container, ..Default::default() };
    let attached = ask_by(&program, &place, |client| {
        client.create_network(&network)?;
        client.attach(&attach)
    });
    let attached = attached.unwrap();
    assert!(!attached.networks["app"].ip_address.is_empty());
    let root = ask_by(&program, &place, Client::info).unwrap().docker_root_dir;
    assert_eq!(Path::new(&root), place.directory.join("fairway/on-demand"));
    process.kill().unwrap();
    process.wait().unwrap();
}
