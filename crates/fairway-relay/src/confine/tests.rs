use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, PidfdGetfdFlags, Resource, Signal, getpid, getrlimit, kill_process, kill_process_group,
    pidfd_getfd, pidfd_open, pidfd_send_signal, prlimit, setrlimit, test_kill_process,
};

use super::{User, confine};

/// What was tried, and the error number that it ended with.
type Attempt = (&'static str, Result<(), Option<i32>>);

/// What a confined thread tried and how it went; it may not even print.
fn attempts(user: Option<User>) -> (super::Confinement, Vec<Attempt>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let limits = getrlimit(Resource::Nofile);
    let mut other = Command::new("sleep");
    other.arg("1000");
    if let (Some(User { user, group }), true) = (user, rustix::process::geteuid().is_root()) {
        other.uid(user).gid(group);
    }
    let other = other.spawn();
    // Without other users in this namespace there is no other process to signal.
    let mut other = other.or_else(|_| Command::new("sleep").arg("1000").spawn()).unwrap();
    let another = Pid::from_child(&other);
    let descriptor = pidfd_open(another, PidfdFlags::empty()).unwrap();
    let outcome = std::thread::spawn(move || {
        let confinement = confine(user);
        let io = |outcome: std::io::Result<()>| outcome.map_err(|error| error.raw_os_error());
        let raw = |outcome: Result<(), Errno>| outcome.map_err(|errno| Some(errno.raw_os_error()));
        let unspecified: SocketAddr = ([127, 0, 0, 1], 0).into();
        use rustix::net::{AddressFamily as Family, SocketType as Type, socket};
        let outcomes = vec![
            ("open a file", io(std::fs::File::open("/etc/passwd").map(drop))),
            ("list a directory", io(std::fs::read_dir("/").map(drop))),
            ("write a file", io(std::fs::write("/tmp/fairway-relay-confined", b""))),
            ("run a program", io(std::process::Command::new("/bin/true").status().map(drop))),
            ("raw socket", raw(socket(Family::INET, Type::RAW, None).map(drop))),
            ("packet socket", raw(socket(Family::PACKET, Type::RAW, None).map(drop))),
            ("netlink socket", raw(socket(Family::NETLINK, Type::RAW, None).map(drop))),
            ("unix socket", raw(socket(Family::UNIX, Type::STREAM, None).map(drop))),
            ("listen", io(TcpListener::bind(unspecified).map(drop))),
            ("bind a UDP port", io(UdpSocket::bind(unspecified).map(drop))),
            ("new namespace", raw(unshare())),
            ("signal", raw(test_kill_process(getpid()))),
            // Another relay has the same user.
            ("signal another", raw(kill_process(another, Signal::CONT))),
            ("signal another by descriptor", raw(pidfd_send_signal(&descriptor, Signal::CONT))),
            ("signal a group", raw(kill_process_group(another, Signal::CONT))),
            ("files of another", raw(pidfd_getfd(&descriptor, 0, PidfdGetfdFlags::empty()).map(drop))),
            ("limits of another", raw(prlimit(Some(another), Resource::Nofile, limits).map(drop))),
            ("other user", raw(rustix::thread::set_thread_uid(rustix::process::Uid::ROOT))),
            ("limits", raw(setrlimit(Resource::Nofile, limits))),
            // What it is there for still works.
            ("WORKS connect", io(TcpStream::connect(address).map(drop))),
            ("WORKS accept", io(listener.accept().map(drop))),
            ("WORKS pipe", raw(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map(drop))),
            ("WORKS memory", {
                let many = vec![1u8; 64 << 20];
                if many[9] == 1 { Ok(()) } else { Err(None) }
            }),
        ];
        (confinement, outcomes)
    })
    .join()
    .unwrap();
    other.kill().unwrap();
    other.wait().unwrap();
    outcome
}

/// A descriptor of our namespace of users, entered anew, is as good as a new one for the test:
/// either call is refused.
fn unshare() -> Result<(), Errno> {
    rustix::thread::move_into_link_name_space(
        rustix::stdio::stdin(),
        Some(rustix::thread::LinkNameSpaceType::Network),
    )
}

#[test]
fn a_confined_thread_can_do_its_work_and_nothing_else() {
    // Outside of any namespace of users, root can become anybody.
    let all_users = std::fs::read_to_string("/proc/self/uid_map").unwrap().contains("4294967295");
    let root = all_users && rustix::process::geteuid().is_root();
    let user = User { user: 65_534, group: 65_534 };
    let (confinement, outcomes) = attempts(Some(user));
    for part in ["capabilities", "no new privileges", "no tracing", "seccomp"] {
        assert!(confinement.in_force.iter().any(|found| found == part), "{confinement:?}");
    }
    let changed = confinement.in_force.iter().any(|found| found == "user");
    let explained = confinement.missing.iter().any(|(part, reason)| part == "user" && !reason.is_empty());
    assert!(changed != explained && (changed || !root), "{confinement:?}");
    for (what, outcome) in outcomes {
        if what.starts_with("WORKS") {
            assert_eq!(outcome, Ok(()), "{what}");
        } else {
            let errno = outcome.expect_err(what);
            let expected = [Errno::PERM, Errno::ACCESS].map(|errno| Some(errno.raw_os_error()));
            assert!(expected.contains(&errno), "{what}: {errno:?}");
        }
    }
}

#[test]
fn missing_parts_of_the_confinement_have_a_reason() {
    let (confinement, _) = attempts(None);
    let missing = confinement.missing.iter().find(|(part, _)| part == "user").unwrap();
    assert!(missing.1.contains("no user was given"), "{missing:?}");
    assert!(confinement.in_force.iter().any(|part| part == "seccomp"));
}
