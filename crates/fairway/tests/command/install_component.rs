//! `fairway install` and `uninstall` of what other programs need, below a root of their own.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;

use super::install::{done, put, run, tree};
use super::text;

const NETAVARK: &str = "usr/local/libexec/fairway/podman/netavark";
const AARDVARK: &str = "usr/local/libexec/fairway/podman/aardvark-dns";
const PODMAN: &str = "etc/containers/containers.conf.d/50-fairway.conf";
const PLUGIN: &str = "opt/cni/bin/fairway-cni";
const CONFLIST: &str = "etc/cni/net.d/10-fairway.conflist";
const HOOK: &str = "etc/containers/oci/hooks.d/fairway.json";
const HOOKS: &str = "etc/containers/containers.conf.d/50-fairway-hooks.conf";
const DOCKER: &str = "etc/systemd/system/fairway.service.d/docker-plugin.conf";
const ALL: [(&str, &[&str]); 4] = [
    ("netavark", &[NETAVARK, AARDVARK, PODMAN]),
    ("cni", &[PLUGIN, CONFLIST]),
    ("oci-hook", &[HOOK, HOOKS]),
    ("docker-plugin", &[DOCKER]),
];

/// What `install` or `uninstall` says.
fn said(root: &Path, verb: &str, component: &str, flags: &[&str]) -> String {
    let program: &[&str] = &["--bin-path", "/usr/bin/fairway"];
    done(root, verb, &[&[component], program, flags].concat())
}

fn reported(word: &str, paths: &[&str]) -> String {
    paths.iter().map(|path| format!("{word} /{path}\n")).collect()
}

fn target(root: &Path, path: &str) -> String {
    fs::read_link(root.join(path)).unwrap().to_str().unwrap().to_owned()
}

fn files(root: &Path) -> Vec<String> {
    let is_file = |path: &String| !root.join(path).is_dir() || root.join(path).is_symlink();
    tree(root).into_keys().filter(is_file).collect()
}

#[test]
fn each_is_installed_once_and_removed() {
    for (component, paths) in ALL {
        let root = TempDir::new().unwrap();
        let root = root.path();
        let dry = said(root, "install", component, &["--dry-run"]);
        assert!(tree(root).is_empty(), "{component}");
        assert_eq!(dry.matches("would create /").count(), paths.len(), "{dry}");
        let first = said(root, "install", component, &[]);
        assert!(first.starts_with(&reported("created", paths)), "{first}");
        let made = tree(root);
        let again = said(root, "install", component, &[]);
        assert!(again.starts_with(&reported("unchanged", paths)), "{again}");
        assert_eq!(tree(root), made);
        assert_eq!(said(root, "uninstall", component, &["--dry-run"]), reported("would remove", paths));
        assert_eq!(tree(root), made);
        assert_eq!(said(root, "uninstall", component, &[]), reported("removed", paths));
        assert_eq!(files(root), [""; 0], "{component}");
        assert_eq!(said(root, "uninstall", component, &[]), reported("unchanged", paths));
    }
}

#[test]
fn links_lead_to_the_program_and_files_name_it() {
    let root = TempDir::new().unwrap();
    let root = root.path();
    let docker = said(root, "install", "docker-plugin", &[]);
    assert!(docker.contains("systemctl daemon-reload && systemctl restart fairway"), "{docker}");
    let setting = fs::read_to_string(root.join(DOCKER)).unwrap();
    assert!(setting.contains("[Service]\nEnvironment=FAIRWAY_DOCKER_PLUGIN=true\n"), "{setting}");
    let hook = said(root, "install", "oci-hook", &[]);
    assert!(hook.contains(r#""poststop": [{"path": "/usr/bin/fairway", "#), "{hook}");
    let says = fs::read_to_string(root.join(HOOK)).unwrap();
    assert!(says.contains(r#""path": "/usr/bin/fairway""#), "{says}");
    said(root, "install", "cni", &[]);
    assert_eq!(target(root, PLUGIN), "/usr/bin/fairway");
    assert!(fs::read_to_string(root.join(CONFLIST)).unwrap().contains(r#""type": "fairway-cni""#));
    said(root, "install", "netavark", &["--prefix", "/opt/fw/"]);
    for name in ["netavark", "aardvark-dns"] {
        assert_eq!(target(root, &format!("opt/fw/libexec/fairway/podman/{name}")), "/usr/bin/fairway");
    }
    let says = fs::read_to_string(root.join(PODMAN)).unwrap();
    let first =
        "helper_binaries_dir = [\n  \"/opt/fw/libexec/fairway/podman\",\n  \"/usr/local/libexec/podman\",\n";
    assert!(says.contains(first) && says.contains("\"/usr/lib/podman\",\n]\n"), "{says}");
    said(root, "uninstall", "netavark", &["--prefix", "/opt/fw"]);
    assert!(!root.join("opt/fw/libexec/fairway").exists() && root.join("opt/fw/libexec").exists());
}

#[test]
fn what_was_there_is_kept_and_given_back() {
    let root = TempDir::new().unwrap();
    let root = root.path();
    put(root, PODMAN, "[engine]\nruntime = \"runc\"\n");
    put(root, AARDVARK, "a program");
    fs::create_dir_all(root.join(NETAVARK).parent().unwrap()).unwrap();
    symlink("/nonexistent/netavark", root.join(NETAVARK)).unwrap();
    let before = tree(root);
    let first = said(root, "install", "netavark", &[]);
    for path in [NETAVARK, AARDVARK, PODMAN] {
        assert!(first.contains(&format!("replaced /{path} (kept as /{path}.before-fairway)\n")), "{first}");
    }
    assert_eq!(target(root, NETAVARK), "/usr/bin/fairway");
    assert!(said(root, "install", "netavark", &[]).starts_with("unchanged "));
    let restored = said(root, "uninstall", "netavark", &[]);
    assert!(
        restored.contains(&format!("restored /{PODMAN} (from /{PODMAN}.before-fairway)\n")),
        "{restored}"
    );
    assert_eq!(tree(root), before);
    assert_eq!(target(root, NETAVARK), "/nonexistent/netavark");
}

#[test]
fn a_second_foreign_file_is_not_lost() {
    let root = TempDir::new().unwrap();
    let root = root.path();
    put(root, PODMAN, "first");
    said(root, "install", "netavark", &[]);
    put(root, PODMAN, "second");
    fs::remove_file(root.join(NETAVARK)).unwrap();
    let before = tree(root);
    let output = run(root, "install", &["netavark", "--bin-path", "/usr/bin/fairway"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), String::new()));
    let errors = text(&output.stderr);
    assert!(
        errors.contains("50-fairway.conf.before-fairway is kept already, so nothing is written"),
        "{errors}"
    );
    assert_eq!(tree(root), before);
    // It is not Fairway's, so it stays, and so does the first.
    let left = said(root, "uninstall", "netavark", &[]);
    assert!(left.contains(&format!("left, for fairway install did not make it: /{PODMAN}\n")), "{left}");
    assert_eq!(fs::read_to_string(root.join(PODMAN)).unwrap(), "second");
    assert_eq!(fs::read_to_string(root.join(format!("{PODMAN}.before-fairway"))).unwrap(), "first");
}

#[test]
fn another_program_is_an_update_and_a_users_change_stays() {
    let root = TempDir::new().unwrap();
    let root = root.path();
    for component in ["cni", "oci-hook"] {
        said(root, "install", component, &[]);
    }
    let other = done(root, "install", &["oci-hook", "--bin-path", "/opt/fairway"]);
    assert!(other.starts_with(&format!("updated /{HOOK}\n")), "{other}");
    assert!(fs::read_to_string(root.join(HOOK)).unwrap().contains("/opt/fairway"));
    let other = done(root, "install", &["cni", "--bin-path", "/opt/fairway"]);
    assert!(other.starts_with(&format!("updated /{PLUGIN}\nunchanged /{CONFLIST}\n")), "{other}");
    assert_eq!(target(root, PLUGIN), "/opt/fairway");
    let edited = fs::read_to_string(root.join(CONFLIST)).unwrap().replace("10.22.", "10.23.");
    put(root, CONFLIST, &edited);
    for verb in ["install", "uninstall"] {
        let said = said(root, verb, "cni", &[]);
        assert!(said.contains(&format!("left, for it was changed: /{CONFLIST}\n")), "{said}");
        assert_eq!(fs::read_to_string(root.join(CONFLIST)).unwrap(), edited);
    }
    assert!(!root.join(PLUGIN).is_symlink());
}

#[test]
fn paths_that_files_cannot_name_are_refused() {
    let root = TempDir::new().unwrap();
    for flags in [
        &["oci-hook", "--bin-path", "/opt/my \"programs\"/fairway"][..],
        &["cni", "--bin-path", "fairway"],
        &["netavark", "--prefix", "local"],
        &["netavark", "--prefix", "/opt/\"x\""],
    ] {
        let output = run(root.path(), "install", flags);
        assert_eq!(output.status.code(), Some(1), "{flags:?}");
        assert!(text(&output.stderr).contains("use --bin-path or --prefix"), "{}", text(&output.stderr));
    }
    let output = run(root.path(), "install", &["--prefix", "/opt"]);
    assert!(!output.status.success() && text(&output.stderr).contains("<PROGRAM>"), "{output:?}");
    assert!(tree(root.path()).is_empty());
}
