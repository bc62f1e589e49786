//! What a command sees: names, environment, capabilities, files, and what is out of its sight.

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use fairway_run::{
    CapabilitySet, Entry, Files, Launch, NetworkNamespace, Running, enter, environment, launch,
};
use rustix::fs::Mode;
use rustix::mount::{MountFlags, mount, mount_bind};
use rustix::process::umask;

use super::workspace::{WORK, code, code_with, file, place, printed, printed_with, shell, until};
use super::{Case, MARK};

pub const CASES: &[Case] = &[
    ("it_is_process_1_of_its_own_host", it_is_process_1_of_its_own_host),
    ("the_environment_is_its_own", the_environment_is_its_own),
    ("capabilities_are_dockers", capabilities_are_dockers),
    ("capabilities_are_as_chosen", capabilities_are_as_chosen),
    ("files_of_its_own_are_in_etc", files_of_its_own_are_in_etc),
    ("files_stay_whatever_the_host_does_to_its_own", files_stay_whatever_the_host_does_to_its_own),
    ("directories_below_etc_are_the_hosts", directories_below_etc_are_the_hosts),
    ("without_an_overlay_the_files_are_there_and_a_note_says_so", without_an_overlay_the_files_are_there),
    ("a_link_in_etc_is_followed", a_link_in_etc_is_followed),
    ("files_that_the_host_lacks_are_there", files_that_the_host_lacks_are_there),
    ("the_control_socket_is_out_of_sight", the_control_socket_is_out_of_sight),
    ("kernel_switches_cannot_be_turned", kernel_switches_cannot_be_turned),
    ("shared_memory_is_its_own", shared_memory_is_its_own),
    ("nothing_is_refused_by_the_kernel", nothing_is_refused_by_the_kernel),
    ("a_directory_can_be_the_root", a_directory_can_be_the_root),
];

fn it_is_process_1_of_its_own_host() {
    let before = super::text("/proc/sys/kernel/hostname");
    let facts = printed(&shell("echo $$; show /proc/sys/kernel/hostname; echo /proc/[0-9]*"));
    assert_eq!(facts, "1\nweb\n/proc/1");
    assert_eq!(super::text("/proc/sys/kernel/hostname"), before);
}

fn the_environment_is_its_own() {
    let mut launched = shell("export -p; echo $(pwd)");
    launched.environment = environment("web", "/root", Some("dumb"), &["MODE=a b".to_owned()]);
    launched.directory = "/etc".into();
    let found = printed(&launched);
    for line in ["HOSTNAME='web'", "HOME='/root'", "TERM='dumb'", "MODE='a b'"] {
        let plain = line.replace('\'', "\"");
        assert!(found.contains(line) || found.contains(&plain), "{line} is not in {found}");
    }
    assert!(std::env::var(MARK).is_ok());
    assert!(!found.contains(MARK), "the caller's environment came along: {found}");
    assert!(found.ends_with("\n/etc"), "{found}");
}

/// The capability sets of a command, as `/proc/PID/status` names them, and its no_new_privs flag.
fn rights(launched: &Launch) -> Vec<(String, u64)> {
    let mut launched = launched.clone();
    *launched.command.last_mut().unwrap() = "show /proc/self/status; show /proc/1/status".to_owned();
    sets(&printed(&launched))
}

fn sets(status: &str) -> Vec<(String, u64)> {
    let line = |line: &str| {
        let (name, value) = line.split_once(':')?;
        let radix = if name.starts_with("Cap") { 16 } else { 10 };
        (name.starts_with("Cap") || name == "NoNewPrivs")
            .then(|| (name.to_owned(), u64::from_str_radix(value.trim(), radix).unwrap()))
    };
    let mut found: Vec<_> = status.lines().filter_map(line).collect();
    found.sort();
    found.dedup();
    found
}

fn expected(set: u64) -> Vec<(String, u64)> {
    [("CapAmb", 0), ("CapBnd", set), ("CapEff", set), ("CapInh", 0), ("CapPrm", set), ("NoNewPrivs", 0)]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
}

fn capabilities_are_dockers() {
    assert_eq!(rights(&shell("")), expected(0xa804_25fb));
}

fn capabilities_are_as_chosen() {
    let own =
        sets(&super::text("/proc/self/status")).into_iter().find(|(name, _)| name == "CapBnd").unwrap().1;
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    for (privileged, added, dropped, set) in [
        (false, names(&[]), names(&["ALL"]), 0),
        (false, names(&["net_admin"]), names(&["CAP_CHOWN"]), 0xa804_25fa | 1 << 12),
        (false, names(&["ALL"]), names(&["SYS_ADMIN"]), own & !(1 << 21)),
        (true, names(&[]), names(&[]), own),
    ] {
        let mut launched = shell("");
        launched.capabilities = CapabilitySet::choose(privileged, &added, &dropped).unwrap();
        launched.privileged = privileged;
        assert_eq!(rights(&launched), expected(set), "{added:?} {dropped:?}");
    }
}

fn own_files() -> Files {
    Files {
        resolv_conf: Some(file("state/resolv.conf", "nameserver 127.0.0.11\n")),
        hosts: Some(file("state/hosts", "127.0.0.1 localhost\n")),
        hostname: Some(file("state/hostname", "web\n")),
    }
}

const SHOW_FILES: &str = "show /etc/resolv.conf; show /etc/hosts; show /etc/hostname";
const SHOWN_FILES: &str = "nameserver 127.0.0.11\n127.0.0.1 localhost\nweb";

/// Puts an `/etc` of these files where this case alone sees it.
fn etc(names: &[&str]) {
    mount("tmpfs", "/etc", "tmpfs", MountFlags::empty(), c"").unwrap();
    names.iter().for_each(|name| fs::write(format!("/etc/{name}"), "the host's\n").unwrap());
}

fn files_of_its_own_are_in_etc() {
    etc(&["resolv.conf", "hosts", "hostname", "other"]);
    let mut launched =
        shell(&format!("{SHOW_FILES}; show /etc/other; echo written > /etc/other; show /etc/other"));
    // Where they come from is hidden, and they are seen all the same.
    launched.hidden = vec![place("state")];
    assert_eq!(printed_with(&launched, &own_files()), format!("{SHOWN_FILES}\nthe host's\nwritten"));
    for name in ["resolv.conf", "other"] {
        assert_eq!(super::text(format!("/etc/{name}")), "the host's", "{name}");
    }
    let some = Files { hosts: None, ..own_files() };
    assert_eq!(printed_with(&shell("show /etc/hosts"), &some), "the host's");
}

fn a_link_in_etc_is_followed() {
    etc(&["hosts", "hostname"]);
    let stub = file("stub/stub-resolv.conf", "nameserver 127.0.0.53\n");
    symlink(&stub, "/etc/resolv.conf").unwrap();
    assert_eq!(printed_with(&shell(SHOW_FILES), &own_files()), SHOWN_FILES);
    assert_eq!(super::text(&stub), "nameserver 127.0.0.53");
}

/// Starts a shell that waits for `go` before it runs the script, and returns when it waits.
fn waiting(script: &str, files: &Files) -> Running {
    let script = format!(
        "show() {{ while IFS= read -r line; do echo \"$line\"; done < \"$1\"; }}; : > {WORK}/waiting; \
         until [ -e {WORK}/go ]; do :; done; exec > {WORK}/printed; {script}"
    );
    let running = launch(&shell(&script)).unwrap().release(files).unwrap();
    assert_eq!(running.notes(), [""; 0]);
    until("the shell waits", || place("waiting").exists());
    running
}

/// Lets the shell of [`waiting`] go on, and returns what it printed.
fn printed_then(running: Running) -> String {
    fs::write(place("go"), "").unwrap();
    assert_eq!(running.wait_forwarding_signals().unwrap(), 0);
    super::text(place("printed"))
}

/// Renames a new file over an old one, as `sed -i` and NetworkManager do.
fn replace(path: impl AsRef<Path>) {
    let draft = path.as_ref().with_extension("draft");
    fs::write(&draft, "replaced\n").unwrap();
    fs::rename(draft, path).unwrap();
}

fn files_stay_whatever_the_host_does_to_its_own() {
    etc(&["hosts", "hostname"]);
    let stub = file("stub/stub-resolv.conf", "nameserver 127.0.0.53\n");
    symlink(&stub, "/etc/resolv.conf").unwrap();
    let files = own_files();
    let running = waiting(SHOW_FILES, &files);
    let process = running.identity();
    let entered = |script: &str| {
        let command = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        let entry = Entry {
            capabilities: CapabilitySet::docker_default(),
            identity: None,
            cgroups: Vec::new(),
            environment: environment("web", "/root", None, &[]),
            directory: "/".into(),
            command,
        };
        enter(process, &entry).unwrap().wait_forwarding_signals().unwrap()
    };
    replace(&stub);
    replace("/etc/hosts");
    fs::remove_file("/etc/hostname").unwrap();
    let look = "read server < /etc/resolv.conf; read hosts < /etc/hosts; read name < /etc/hostname; \
                [ \"$server $hosts $name\" = 'nameserver 127.0.0.11 127.0.0.1 localhost web' ]";
    assert_eq!(entered(look), 0);
    fs::remove_file("/etc/resolv.conf").unwrap();
    fs::write("/etc/resolv.conf", "nameserver 192.0.2.53\n").unwrap();
    fs::remove_file("/etc/hosts").unwrap();
    fs::write("/etc/hostname", "other\n").unwrap();
    assert_eq!(entered(look), 0);
    // What is rewritten in place is seen: links and aliases come and go.
    fs::write(files.hosts.unwrap(), "192.0.2.1 db\n").unwrap();
    assert_eq!(printed_then(running), SHOWN_FILES.replace("127.0.0.1 localhost", "192.0.2.1 db"));
    assert_eq!(super::text("/etc/resolv.conf"), "nameserver 192.0.2.53");
}

fn directories_below_etc_are_the_hosts() {
    etc(&["hosts", "other"]);
    for name in ["directory", "mounted"] {
        fs::create_dir(format!("/etc/{name}")).unwrap();
    }
    fs::write("/etc/directory/file", "first\n").unwrap();
    fs::write("/etc/single", "").unwrap();
    mount("tmpfs", "/etc/mounted", "tmpfs", MountFlags::empty(), c"").unwrap();
    fs::write("/etc/mounted/inside", "mounted\n").unwrap();
    mount_bind("/etc/mounted/inside", "/etc/single").unwrap();
    let script = "show /etc/directory/file; show /etc/mounted/inside; show /etc/single; show /etc/new; \
                  echo written > /etc/directory/written";
    let running = waiting(script, &own_files());
    replace("/etc/directory/file");
    fs::write("/etc/new", "new\n").unwrap();
    assert_eq!(printed_then(running), "replaced\nmounted\nmounted\nnew");
    assert_eq!(super::text("/etc/directory/written"), "written");
}

fn without_an_overlay_the_files_are_there() {
    etc(&["resolv.conf", "hosts", "hostname"]);
    // The kernel stacks two of them, and no third.
    for depth in ["one", "two"] {
        let layer = |name: &str| place(&format!("{depth}-{name}"));
        for name in ["upper", "work"] {
            fs::create_dir(layer(name)).unwrap();
        }
        let (upper, work) = (layer("upper"), layer("work"));
        let options = format!("lowerdir=/etc,upperdir={},workdir={}", upper.display(), work.display());
        let options = CString::new(options).unwrap();
        mount("overlay", "/etc", "overlay", MountFlags::empty(), options.as_c_str()).unwrap();
    }
    let script = format!(
        "show() {{ while IFS= read -r line; do echo \"$line\"; done < \"$1\"; }}; exec > {WORK}/printed; {SHOW_FILES}"
    );
    let running = launch(&shell(&script)).unwrap().release(&own_files()).unwrap();
    assert!(running.notes()[0].starts_with("/etc cannot be an overlay"), "{:?}", running.notes());
    assert_eq!(running.wait_forwarding_signals().unwrap(), 0);
    assert_eq!(super::text(place("printed")), SHOWN_FILES);
}

fn files_that_the_host_lacks_are_there() {
    etc(&["other"]);
    symlink("/nowhere/resolv.conf", "/etc/resolv.conf").unwrap();
    assert_eq!(
        printed_with(&shell(&format!("{SHOW_FILES}; show /etc/other")), &own_files()),
        format!("{SHOWN_FILES}\nthe host's")
    );
    // The host lacks them still.
    assert!(!fs::exists("/etc/hosts").unwrap() && !fs::exists("/etc/hostname").unwrap());
    assert_eq!(fs::read_link("/etc/resolv.conf").unwrap().to_str(), Some("/nowhere/resolv.conf"));
}

fn the_control_socket_is_out_of_sight() {
    let socket = place("run/api.sock");
    fs::create_dir(place("run")).unwrap();
    let listener = UnixListener::bind(&socket).unwrap();
    let alone = place("alone.sock");
    let _other = UnixListener::bind(&alone).unwrap();
    let script = format!(
        "[ -S {WORK}/run/api.sock ] && exit 1; [ -S {WORK}/alone.sock ] && exit 2; [ -d {WORK}/run ] || exit 3; (: > {WORK}/run/new) 2> /dev/null && exit 4; exit 0"
    );
    assert_eq!(code_with(&shell(&script), &Files::default()), 1, "without hiding, it is in sight");
    let mut launched = shell(&script);
    launched.hidden = vec![place("run"), alone, place("absent")];
    assert_eq!(code_with(&launched, &Files::default()), 0);
    UnixStream::connect(&socket).unwrap();

    // A daemon that starts again makes its socket anew; in a hidden directory that is not seen.
    launched.command = shell(&format!(
        "until [ -e {WORK}/again ]; do :; done; [ -S {WORK}/run/api.sock ] && exit 1; exit 0"
    ))
    .command;
    let running = launch(&launched).unwrap().release(&Files::default()).unwrap();
    drop(listener);
    fs::remove_file(&socket).unwrap();
    let _listener = UnixListener::bind(&socket).unwrap();
    fs::write(place("again"), "").unwrap();
    assert_eq!(running.wait_forwarding_signals().unwrap(), 0);
}

fn kernel_switches_cannot_be_turned() {
    let script = "try() { if (echo \"$2\" > $1) 2> /dev/null; then echo yes; else echo no; fi; }; \
                  try /proc/sys/net/ipv4/ip_forward 1; try /proc/sys/kernel/hostname other; \
                  [ -f /proc/interrupts ] && echo yes; \
                  while read id parent device root target options rest; do \
                  [ $target = /sys ] && how=${options%%,*}; done < /proc/self/mountinfo; echo $how";
    let mut launched = shell(script);
    assert_eq!(printed(&launched), "no\nno\nro");
    launched.privileged = true;
    launched.capabilities = CapabilitySet::all();
    let free = printed(&launched);
    // The host name has a second guard: only the machine's root may write this one.
    let lines: Vec<&str> = free.lines().collect();
    assert_eq!([lines[0], lines[2], lines[3]], ["yes", "yes", "rw"]);
    assert_eq!(
        printed(&shell("read start < /proc/sys/net/ipv4/ip_unprivileged_port_start; echo $start")),
        "0",
        "low ports need no capability, as in Docker"
    );
}

fn shared_memory_is_its_own() {
    let mark = format!("/dev/shm/fairway-test-{}", std::process::id());
    let script =
        format!("[ -e {mark} ] && echo seen; : > {mark}-inner; [ -e {mark}-inner ] && echo made; exit 0");
    fs::write(&mark, "").unwrap();
    let seen = printed(&shell(&script));
    fs::remove_file(&mark).unwrap();
    assert_eq!(seen, "made");
    assert!(!fs::exists(format!("{mark}-inner")).unwrap());
}

fn nothing_is_refused_by_the_kernel() {
    let holder = launch(&shell("exit 0")).unwrap();
    let path = holder.namespace().unwrap().path.into();
    for network in [NetworkNamespace::New, NetworkNamespace::Caller, NetworkNamespace::Join(path)] {
        for privileged in [false, true] {
            let launched = Launch { network: network.clone(), privileged, ..shell("exit 0") };
            let running = launch(&launched).unwrap().release(&Files::default()).unwrap();
            assert_eq!(running.notes(), [""; 0], "{network:?}");
            assert_eq!(running.wait_forwarding_signals().unwrap(), 0);
        }
    }
}

fn a_directory_can_be_the_root() {
    // The host's programs, in a root without its other files.
    let root = place("root");
    for name in ["usr", "bin", "lib", "lib64"] {
        let (from, to) = (Path::new("/").join(name), root.join(name));
        if from.exists() {
            fs::create_dir_all(&to).unwrap();
            rustix::mount::mount_bind_recursive(from, to).unwrap();
        }
    }
    let made = file("root/etc/resolv.conf", "nameserver 192.0.2.9\n");
    file("root/kept", "");
    let files = own_files();
    let script = "read a < /etc/resolv.conf; read b < /etc/hosts; [ \"$a $b\" = 'nameserver 127.0.0.11 127.0.0.1 localhost' ] \
                  && [ -e /kept ] && [ ! -e /mnt ] && [ ! -e /var ] && [ -e /proc/self/status ] && [ -c /dev/null ] \
                  && : > /written";
    let launched = Launch { root: Some(root.clone()), ..shell(script) };
    assert_eq!(code_with(&launched, &files), 0);
    assert!(root.join("written").exists(), "it is the directory itself");
    assert_eq!(super::text(made), "nameserver 192.0.2.9", "its own file is as it was");
    let missing = Launch { root: Some(place("missing")), ..shell("") };
    assert_eq!(code(&missing), 125);

    // A working directory that is missing is made, where links lead in the image.
    symlink("/workplace", root.join("link")).unwrap();
    symlink("/nowhere", root.join("dangling")).unwrap();
    let in_directory = |directory: &str| Launch {
        root: Some(root.clone()),
        directory: directory.into(),
        ..shell(&format!("[ \"$(pwd -P)\" = {} ]", directory.replace("/link", "/workplace")))
    };
    // Whatever the caller's mask is.
    umask(Mode::from_raw_mode(0o077));
    for directory in ["/workplace/a", "/workplace/a", "/link/b/c"] {
        assert_eq!(code(&in_directory(directory)), 0, "{directory}");
    }
    let mode = fs::metadata(root.join("workplace/b")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    assert!(!Path::new("/workplace").exists(), "nothing is made outside");
    for (directory, expected) in
        [("/dangling", 126), ("/dangling/a", 125), ("/dev/made", 125), ("/proc/made", 125)]
    {
        assert_eq!(code(&in_directory(directory)), expected, "{directory}");
    }
    assert!(!Path::new("/dev/made").exists());
}
