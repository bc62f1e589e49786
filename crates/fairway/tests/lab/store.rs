//! The store of the daemon: a file system that is full, the store of the version before, records that cannot be used.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use fairway_api::types::NetworkCreate;
use fairway_inspect::doctor::{Finding, Severity};
use fairway_lab::{Lab, Outcome, ask, serve_tcp};
use fairway_store::{Change, Store};
use rustix::mount::{MountFlags, mount};

use crate::cli::{fairway, printed};
use crate::harness::{HOST, Stage, refusal};

const DATA_ROOT: &str = "/var/lib/fairway";
/// What the store and its snapshots need, and some more.
const SIZE: &std::ffi::CStr = c"size=12m,mode=0755";
/// The store of version 0.1.0 that the store's own tests have.
const DATABASE: &[u8] = include_bytes!("../../../fairway-store/tests/data/format-1.redb");
const JOURNAL: &[u8] = include_bytes!("../../../fairway-store/tests/data/format-1.redb.journal");
/// The size of that version's journals.
const JOURNAL_SIZE: usize = 1 << 20;

/// The place of the format in the snapshot, after its name.
const FORMAT_AT: usize = 12;

/// Snapshot and journal.
fn files() -> [Vec<u8>; 2] {
    ["snapshot", "journal"].map(|name| fs::read(format!("{DATA_ROOT}/world.{name}")).unwrap())
}

fn store_finding(stage: &Stage) -> Finding {
    let findings = stage.client().doctor(false).unwrap().findings;
    findings.into_iter().find(|finding| finding.id == "store").unwrap()
}

/// Makes a network whose record takes this many bytes.
fn large(stage: &Stage, name: &str, size: usize) -> Result<(), String> {
    let label =
        |network: &mut NetworkCreate| drop(network.labels.insert("text".to_owned(), "x".repeat(size)));
    stage.create_network(name, label).map(drop).map_err(|error| error.to_string())
}

/// A daemon with a network `web`, and little space for its data.
fn on_small_disk(lab: &Lab) -> Stage {
    let mut stage = Stage::before_daemon(lab);
    let mounted = || {
        fs::create_dir_all(DATA_ROOT).unwrap();
        mount("tmpfs", DATA_ROOT, "tmpfs", MountFlags::NOSUID, Some(SIZE)).unwrap();
    };
    stage.host.run_in(mounted).unwrap();
    stage.daemon.launch(&[]);
    stage.daemon.wait_until_ready();
    stage.network("web");
    stage
}

/// Takes all space of the data root.
fn fill() {
    let mut ballast = File::create(Path::new(DATA_ROOT).join("ballast")).unwrap();
    for size in [1 << 16, 1 << 8, 1] {
        while ballast.write_all(&vec![1; size]).is_ok() {}
    }
}

#[test]
fn a_full_disk_refuses_changes_and_nothing_else_until_it_has_space() {
    fairway_lab::run(|lab: &Lab| {
        let mut stage = on_small_disk(lab);
        let p = stage.sandbox("p", &["web"], &["8080:80"]);
        let _server = serve_tcp(&p, "0.0.0.0:80").unwrap();
        stage.host.run_in(fill).unwrap();

        // The journal has its space; a snapshot has none.
        let mut refused = Vec::new();
        for number in 0..20 {
            refused.extend(large(&stage, &format!("n{number}"), 500_000).err());
        }
        assert!((1..20).contains(&refused.len()), "{refused:?}");
        for text in &refused {
            assert!(text.contains("world.snapshot.new: No space left on device (os error 28)"), "{text}");
        }
        let small = refusal(stage.create_network("small", |_| {}));
        assert!(small.contains("No space left on device"), "{small}");
        let found = store_finding(&stage);
        assert_eq!(found.severity, Severity::Error, "{found:?}");
        assert!(found.message.starts_with("every change has been refused for "), "{found:?}");
        assert!(found.message.contains("No space left on device"), "{found:?}");
        let info = fairway(&stage, "info");
        assert!(info.errors.contains("No space left on device"), "{info:?}");
        let answered = ask(&stage.lan, &format!("{HOST}:8080")).unwrap();
        assert!(matches!(answered, Outcome::Answered { .. }), "{answered:?}");
        assert!(printed(&stage, "ps").contains("0.0.0.0:8080->80/tcp"));
        assert!(printed(&stage, "network ls").contains("n0"));
        // What is read needs no space either.
        assert_eq!(fairway(&stage, "store check").code, 0);

        // As soon as there is space.
        stage.host.run_in(|| fs::remove_file(Path::new(DATA_ROOT).join("ballast")).unwrap()).unwrap();
        stage.network("late");
        assert_eq!(store_finding(&stage).severity, Severity::Ok);
        assert_eq!(fairway(&stage, "info").errors, "");

        // What was refused stays refused.
        stage.daemon.kill9();
        stage.daemon.launch(&[]);
        stage.daemon.wait_until_ready();
        let networks = printed(&stage, "network ls --format {{.Name}}");
        let kept: Vec<&str> =
            networks.lines().filter(|name| name.starts_with('n') && *name != "none").collect();
        assert_eq!(kept.len(), 20 - refused.len(), "{networks}");
        assert!(networks.contains("late") && !networks.contains("small"), "{networks}");
    });
}

#[test]
fn a_daemon_starts_on_a_full_disk() {
    fairway_lab::run(|lab: &Lab| {
        let mut stage = on_small_disk(lab);
        stage.host.run_in(fill).unwrap();
        stage.daemon.kill9();
        stage.daemon.launch(&[]);
        stage.daemon.wait_until_ready();
        stage.network("more");
        assert_eq!(store_finding(&stage).severity, Severity::Ok);
    });
}

#[test]
fn the_store_of_the_version_before_is_migrated() {
    fairway_lab::run(|lab: &Lab| {
        let mut stage = Stage::before_daemon(lab);
        let place = || {
            fs::create_dir_all(DATA_ROOT).unwrap();
            fs::write(format!("{DATA_ROOT}/world.redb"), DATABASE).unwrap();
            let mut journal = JOURNAL.to_vec();
            journal.resize(JOURNAL_SIZE, 0);
            fs::write(format!("{DATA_ROOT}/world.redb.journal"), journal).unwrap();
        };
        stage.host.run_in(place).unwrap();
        let older = fairway(&stage, "store check");
        assert_eq!(older.code, 1);
        assert!(older.errors.contains("it has the format of the version before"), "{older:?}");
        for _ in 0..2 {
            stage.daemon.launch(&[]);
            stage.daemon.wait_until_ready();
            let networks = printed(&stage, "network ls --format {{.Name}}");
            let names: Vec<&str> = networks.lines().collect();
            assert_eq!(names, ["bridge", "extra", "host", "late", "none", "web"]);
            let ports = printed(&stage, "inspect -f '{{json .HostConfig.PortBindings}}' shop mail");
            assert!(ports.contains("8080") && ports.contains("2525"), "{ports}");
            let members = printed(&stage, "inspect -f '{{json .NetworkSettings.Networks}}' shop");
            assert!(members.contains("\"late\"") && members.contains("\"db\""), "{members}");
            assert_eq!(printed(&stage, "store check"), "store OK: 12 records");
            stage.daemon.kill9();
        }
        let kept = |name: &str| stage.host.run_in(|| Path::new(DATA_ROOT).join(name).exists()).unwrap();
        assert!(kept("world.redb.old") && !kept("world.redb"));
    });
}

#[test]
fn a_store_of_a_newer_version_is_refused_and_left_as_it_is() {
    fairway_lab::run(|lab: &Lab| {
        let mut stage = Stage::new(lab, &[]);
        stage.network("web");
        stage.daemon.stop();
        let snapshot = format!("{DATA_ROOT}/world.snapshot");
        let present = stage.host.run_in(files).unwrap();
        let mut newer = present[0].clone();
        newer[FORMAT_AT] += 1;
        stage.host.run_in(|| fs::write(&snapshot, &newer).unwrap()).unwrap();
        let before = stage.host.run_in(files).unwrap();
        let refused =
            "it has format 3, and this version reads formats up to 2: start the newer version again";
        let checked = fairway(&stage, "store check");
        assert_eq!(checked.code, 1);
        assert!(checked.errors.contains(refused), "{checked:?}");
        stage.daemon.launch(&[]);
        assert!(stage.daemon.wait_until_ended().is_some_and(|status| !status.success()));
        assert!(stage.daemon.log().contains(refused), "{}", stage.daemon.log());
        assert!(stage.host.run_in(files).unwrap() == before, "a refused store was changed");
        // The newer version goes on.
        stage.host.run_in(|| fs::write(&snapshot, &present[0]).unwrap()).unwrap();
        stage.daemon.launch(&[]);
        stage.daemon.wait_until_ready();
        assert!(printed(&stage, "network ls").contains("web"));
    });
}

#[test]
fn a_record_that_cannot_be_used_is_reported_and_kept_until_it_is_removed() {
    fairway_lab::run(|lab: &Lab| {
        let mut stage = Stage::new(lab, &[]);
        let network = stage.network("web").id;
        stage.sandbox("p", &["web"], &[]);
        let dumped = printed(&stage, "store dump");
        assert!(dumped.contains(&format!("\"network/{network}\": {{")), "{dumped}");
        stage.daemon.stop();
        let remove_network = || {
            let store = Store::open(format!("{DATA_ROOT}/world"), Duration::ZERO).unwrap();
            let keys = store.load().into_keys();
            let endpoint = keys.into_iter().find(|key| key.starts_with("endpoint/")).unwrap();
            let delete = vec![format!("network/{network}")];
            store.commit(Change { delete, ..Change::default() }).unwrap();
            endpoint
        };
        let endpoint = stage.host.run_in(remove_network).unwrap();
        let line = format!("{endpoint}: network/{network} is missing, which it belongs to");
        for _ in 0..2 {
            stage.daemon.launch(&[]);
            stage.daemon.wait_until_ready();
            let log = stage.daemon.log();
            let logged =
                format!("failed to use record {endpoint} of the store: network/{network} is missing");
            assert!(log.contains(&logged), "{log}");
            let found = store_finding(&stage);
            assert_eq!(found.severity, Severity::Warning);
            assert!(found.message.contains(&endpoint), "{found:?}");
            let checked = fairway(&stage, "store check");
            assert_eq!(checked.code, 1);
            assert!(checked.output.starts_with(&format!("record {line}\n")), "{checked:?}");
            stage.daemon.stop();
        }
        assert_eq!(printed(&stage, &format!("store rm {endpoint}")), endpoint);
        assert!(printed(&stage, "store check").starts_with("store OK"));
        let again = fairway(&stage, &format!("store rm {endpoint}"));
        assert_eq!(again.code, 1);
        assert!(again.errors.contains("it is not orphaned"), "{again:?}");
    });
}
