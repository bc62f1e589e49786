//! What the program refuses by itself, before it asks any daemon: compared with what Docker 20.10
//! answered to the same. Docker's words, as it said them, must be in ours; its exit code is ours.

use super::{NOBODY, fairway, text};

/// Arguments; words of Docker's own that ours must have (in any letter case); the exit code.
type Row = (&'static str, &'static str, i32);

const DOCKER: [Row; 14] = [
    ("network create --subnet 172.31.0.0/99 bad", "invalid subnet 172.31.0.0/99", 1),
    ("network create --subnet 999.1.1.0/24 bad", "invalid subnet 999.1.1.0/24", 1),
    (
        "network create --subnet 172.31.0.5/24 --gateway 172.30.0.1 bad",
        "no matching subnet for gateway 172.30.0.1",
        1,
    ),
    (
        "network create --subnet 172.31.0.0/24 --ip-range 172.30.0.0/25 bad",
        "no matching subnet for range 172.30.0.0/25",
        1,
    ),
    (
        "network create --subnet 172.31.0.0/24 --aux-address x=172.30.0.9 bad",
        "no matching subnet for aux-address 172.30.0.9",
        1,
    ),
    ("run --rm --network app --ip abc -- true", "invalid IPv4 address: abc", 125),
    ("run --rm -p 70000:80 -- true", "Invalid hostPort: 70000", 125),
    (
        "run --rm -p 8000-8001:80-82 -- true",
        "Invalid ranges specified for container and host Ports: 80-82 and 8000-8001",
        125,
    ),
    ("run --rm -p abc:80 -- true", "Invalid hostPort: abc", 125),
    ("run --rm -p 80:80/xyz -- true", "Invalid proto: xyz", 125),
    ("run --rm -p 80: -- true", "No port specified: 80:<empty>", 125),
    ("run --rm --network name=app,ip=10.1.0.2 --ip 10.1.0.3 -- true", "conflicting options:", 125),
    ("run --rm --add-host db -- true", "bad format for add-host: \"db\"", 125),
    ("network connect --driver-opt x app c1", "invalid key value pair format in driver options", 125),
];

#[test]
fn they_say_what_docker_says_and_more() {
    for (line, docker, code) in DOCKER {
        let output = fairway(NOBODY, &line.split(' ').collect::<Vec<_>>());
        let told = text(&output.stderr);
        assert!(told.to_lowercase().contains(&docker.to_lowercase()), "{line}: {told}");
        assert_eq!(output.status.code(), Some(code), "{line}");
        assert_eq!(text(&output.stdout), "", "{line}");
        if line.starts_with("run") {
            assert!(
                told.starts_with("fairway: ") && told.ends_with("See 'fairway run --help'.\n"),
                "{line}: {told}"
            );
        }
    }
}

#[test]
fn what_is_mistyped_is_corrected() {
    for (line, tip, code) in [
        ("netwrk ls", "'network'", 1),
        ("network creat x", "'create'", 1),
        ("run --nmae x -- true", "'--name'", 125),
        ("ps --fromat json", "'--format'", 125),
        ("network create --subnte 10.1.0.0/24 x", "'--subnet'", 125),
    ] {
        let output = fairway(NOBODY, &line.split(' ').collect::<Vec<_>>());
        let told = text(&output.stderr);
        assert!(told.contains(tip) && told.contains("See 'fairway "), "{line}: {told}");
        assert_eq!(output.status.code(), Some(code), "{line}");
    }
}

#[test]
fn what_is_missing_is_named() {
    for (line, missing, code) in [
        ("run --rm", "<COMMAND>", 125),
        ("exec web", "<COMMAND>", 125),
        ("network create", "<NETWORK>", 1),
        ("network connect app", "<CONTAINER>", 1),
        ("stop", "<CONTAINER>", 1),
        ("attach --name x", "--netns", 1),
    ] {
        let output = fairway(NOBODY, &line.split(' ').collect::<Vec<_>>());
        let told = text(&output.stderr);
        assert!(told.contains(missing), "{line}: {told}");
        assert_eq!(output.status.code(), Some(code), "{line}");
    }
}

#[test]
fn a_daemon_that_is_not_there_is_told_of() {
    for (line, start, code) in [
        ("ps", "cannot connect to the Fairway daemon at ", 1),
        ("run -- true", "fairway: cannot connect to the Fairway daemon at ", 125),
        ("-H tcp://127.0.0.1:2375 ps", "invalid daemon address \"tcp://127.0.0.1:2375\"", 1),
    ] {
        let output = fairway(NOBODY, &line.split(' ').collect::<Vec<_>>());
        assert!(text(&output.stderr).starts_with(start), "{line}: {}", text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{line}");
    }
}
