//! `fairway install` and `uninstall`, below a root of their own.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Output;

use tempfile::TempDir;

use super::{UNUSED, fairway, text};

const MARK: &str = "# Made by fairway install\n";
const NETWORK_MANAGER: &str = "etc/NetworkManager/conf.d/fairway.conf";
const NETWORK: &str = "etc/systemd/network/05-fairway.network";
const LINK: &str = "etc/systemd/network/05-fairway.link";
const UNIT: &str = "etc/systemd/system/fairway.service";
const SOCKET: &str = "etc/systemd/system/fairway.socket";
const ALL: [&str; 5] = [NETWORK_MANAGER, NETWORK, LINK, UNIT, SOCKET];

pub(super) fn run(root: &Path, verb: &str, flags: &[&str]) -> Output {
    fairway(UNUSED, &[&[verb, "--root", root.to_str().unwrap()], flags].concat())
}

/// Does it, and brings what it said without the root.
pub(super) fn done(root: &Path, verb: &str, flags: &[&str]) -> String {
    let output = run(root, verb, flags);
    assert_eq!((text(&output.stderr), output.status.code()), (String::new(), Some(0)));
    text(&output.stdout).replace(root.to_str().unwrap(), "")
}

fn install(root: &Path) -> String {
    done(root, "install", &["--bin-path", "/usr/bin/fairway"])
}

fn reported(word: &str) -> String {
    ALL.map(|path| format!("{word} /{path}\n")).concat()
}

/// All that is below a root: directories, and files with what they say.
pub(super) fn tree(root: &Path) -> BTreeMap<String, Option<String>> {
    let mut found = BTreeMap::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let says = path.is_file().then(|| fs::read_to_string(&path).unwrap());
            if path.is_dir() {
                directories.push(path);
            }
            found.insert(name, says);
        }
    }
    found
}

pub(super) fn put(root: &Path, path: &str, says: &str) {
    fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
    fs::write(root.join(path), says).unwrap();
}

/// Whether a name is one of a list of globs of `?` and letters.
fn matches(globs: &str, separator: char, name: &str) -> bool {
    globs.split(separator).map(|glob| glob.trim_start_matches("interface-name:")).any(|glob| {
        glob.len() == name.len()
            && glob.chars().zip(name.chars()).all(|(wanted, is)| wanted == '?' || wanted == is)
    })
}

#[test]
fn all_files_are_installed_once() {
    let root = TempDir::new().unwrap();
    let said = install(root.path());
    assert!(said.starts_with(&reported("created")), "{said}");
    assert!(said.contains("systemctl --root= enable fairway"), "{said}");
    let first = tree(root.path());
    assert_eq!(first.values().flatten().count(), ALL.len(), "{first:?}");
    for path in ALL {
        let says = first[path].as_deref().unwrap();
        assert!(says.starts_with(MARK), "{path}: {says}");
        assert_eq!(fs::metadata(root.path().join(path)).unwrap().permissions().mode() & 0o7777, 0o644);
    }
    let unit = first[UNIT].as_deref().unwrap();
    for line in ["ExecStart=/usr/bin/fairway daemon", "KillMode=process", "WantedBy=multi-user.target"] {
        assert!(unit.lines().any(|it| it == line), "{line}: {unit}");
    }
    assert_eq!(install(root.path()), reported("unchanged"));
    assert_eq!(tree(root.path()), first);
}

#[test]
fn they_speak_of_our_links_and_not_of_others() {
    let root = TempDir::new().unwrap();
    install(root.path());
    for (path, key, separator) in
        [(NETWORK_MANAGER, "match-device=", ';'), (NETWORK, "Name=", ' '), (LINK, "OriginalName=", ' ')]
    {
        let says = fs::read_to_string(root.path().join(path)).unwrap();
        let globs = says.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        for ours in ["fairway0", "br-1c9d5e3f2a71", "fw0123456789ab"] {
            assert!(matches(globs, separator, ours), "{path}: {ours}");
        }
        for other in ["eth0", "br-lan", "br0", "fwbr100i0", "fwpr100p0", "docker0", "fairway1"] {
            assert!(!matches(globs, separator, other), "{path}: {other}");
        }
        // udev passes over longer ones.
        for glob in globs.split(separator).map(|glob| glob.trim_start_matches("interface-name:")) {
            assert!(glob.len() <= 15, "{path}: {glob}");
        }
    }
}

#[test]
fn a_file_of_ours_is_brought_up_to_date() {
    let root = TempDir::new().unwrap();
    install(root.path());
    let first = tree(root.path());
    put(root.path(), NETWORK, &format!("{MARK}[Match]\nName=fw*\n"));
    let said = install(root.path());
    assert!(said.contains(&format!("updated /{NETWORK}\n")), "{said}");
    assert_eq!(said.matches("unchanged").count(), 4, "{said}");
    assert_eq!(tree(root.path()), first);
    let said = done(root.path(), "install", &["--bin-path", "/opt/fairway"]);
    assert!(said.contains(&format!("updated /{UNIT}\n")), "{said}");
    assert!(tree(root.path())[UNIT].as_deref().unwrap().contains("ExecStart=/opt/fairway daemon\n"));
}

#[test]
fn a_foreign_file_is_refused_and_nothing_is_written() {
    let root = TempDir::new().unwrap();
    // One that only quotes the mark is not ours.
    put(root.path(), LINK, &format!("# mine\n{MARK}"));
    fs::create_dir_all(root.path().join("etc/systemd/system")).unwrap();
    symlink("/dev/null", root.path().join(UNIT)).unwrap();
    let before = tree(root.path());
    for flags in [&[][..], &["--dry-run"]] {
        let output = run(root.path(), "install", flags);
        let said = text(&output.stderr);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), String::new()));
        for path in [LINK, UNIT] {
            assert!(said.contains(root.path().join(path).to_str().unwrap()), "{said}");
        }
        assert!(said.contains("are not made by fairway install, so nothing is written"), "{said}");
        assert_eq!(tree(root.path()), before);
    }
}

#[test]
fn a_program_that_a_unit_cannot_name_is_refused() {
    let root = TempDir::new().unwrap();
    for program in ["fairway", "/opt/my programs/fairway", "/opt/100%/fairway", "/opt/$HOME"] {
        let output = run(root.path(), "install", &["--bin-path", program]);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains(&format!("{program:?}")), "{}", text(&output.stderr));
    }
    assert!(tree(root.path()).is_empty());
}

#[test]
fn a_dry_run_prints_all_and_does_nothing() {
    let root = TempDir::new().unwrap();
    let dry = done(root.path(), "install", &["--dry-run", "--bin-path", "/usr/bin/fairway"]);
    assert!(tree(root.path()).is_empty());
    install(root.path());
    let installed = tree(root.path());
    for path in ALL {
        let says = installed[path].as_deref().unwrap();
        assert!(dry.contains(&format!("would create /{path}\n{says}")), "{path}: {dry}");
    }
    assert_eq!(done(root.path(), "uninstall", &["--dry-run"]), reported("would remove"));
    assert_eq!(tree(root.path()), installed);
}

#[test]
fn what_is_uninstalled_is_ours_alone() {
    let root = TempDir::new().unwrap();
    fs::create_dir_all(root.path().join("etc/systemd/network")).unwrap();
    install(root.path());
    put(root.path(), NETWORK_MANAGER, "[device-mine]\nmatch-device=interface-name:fw*\n");
    put(root.path(), "etc/systemd/network/10-lan.network", "[Match]\nName=eth0\n");
    let said = done(root.path(), "uninstall", &[]);
    assert!(
        said.contains(&format!("left, for fairway install did not make it: /{NETWORK_MANAGER}\n")),
        "{said}"
    );
    assert_eq!(said.matches("removed").count(), 4, "{said}");
    let left = tree(root.path());
    let files: Vec<_> =
        left.iter().filter(|(_, says)| says.is_some()).map(|(path, _)| path.as_str()).collect();
    assert_eq!(files, [NETWORK_MANAGER, "etc/systemd/network/10-lan.network"]);
    assert!(left.contains_key("etc/systemd/network") && left.contains_key("etc/systemd/system"), "{left:?}");
    fs::remove_file(root.path().join(NETWORK_MANAGER)).unwrap();
    assert_eq!(done(root.path(), "uninstall", &[]), reported("unchanged"));
}
