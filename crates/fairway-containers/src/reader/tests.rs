use std::io::Read;

use super::*;
use crate::testing::Fixture;

fn in_reader<T>(fixture: &Fixture, act: impl Fn(&mut Reader<'_>) -> T) -> (T, Vec<String>) {
    let result = std::cell::Cell::new(None);
    let (_, notes) = fixture.read(|reader| {
        result.set(Some(act(reader)));
        Vec::new()
    });
    (result.take().unwrap(), notes.iter().map(ToString::to_string).collect())
}

#[test]
fn what_is_absent_is_no_note() {
    let fixture = Fixture::new();
    fixture.file("/file", "x");
    let (result, notes) = in_reader(&fixture, |it| {
        (it.names("/none"), it.text("/none"), it.text("/file/none"), it.pid_file("/none"), it.namespace(1))
    });
    assert_eq!(result, (Vec::new(), None, None, None, None));
    assert_eq!(notes, Vec::<String>::new());
}

#[test]
fn files_that_are_not_as_expected_are_notes() {
    let fixture = Fixture::new();
    fixture.file("/bytes", b"\xff").file("/json", "[1,").file("/pid", "x").file("/directory/file", "");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        fixture.root().join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let (result, notes) = in_reader(&fixture, |it| {
        (it.text("/bytes"), it.json("/json"), it.pid_file("/pid"), it.text("/directory"), it.text("/pipe"))
    });
    assert_eq!(result, (None, None, None, None, None));
    assert_eq!(
        notes,
        [
            "engine: cannot use /bytes: it is not UTF-8",
            "engine: cannot use /json: EOF while parsing a value at line 1 column 3",
            "engine: cannot use /pid: it holds no process id",
            "engine: cannot use /directory: it is not a regular file",
            "engine: cannot use /pipe: it is not a regular file",
        ]
    );
}

#[test]
fn a_process_id_in_a_file_counts_while_the_process_runs() {
    let fixture = Fixture::new();
    fixture.process(41, 7, "x").file("/a", "41\n").file("/b", "42").file("/c", "43");
    fixture.file("/proc/43/stat", "43 (a) b) Z 7 1").file("/proc/44/stat", "44 x");
    let (result, notes) = in_reader(&fixture, |it| (it.pid_file("/a"), it.pid_file("/b"), it.pid_file("/c")));
    assert_eq!((result, notes.len()), ((Some(41), None, None), 0));
    let (parents, _) = in_reader(&fixture, |it| [41, 42, 43, 44].map(|pid| it.host.parent(pid)));
    assert_eq!(parents, [Some(7), None, None, None]);
}

#[test]
fn links_in_a_container_do_not_lead_to_files_of_the_host() {
    // The root of the test's own process is the host's: what it opens is that, and nothing but regular files.
    let fixture = Fixture::new();
    fixture.file("/file", "inside").link("/link", "file");
    let own = std::process::id();
    let open = |name: &str| {
        let mut text = String::new();
        let path = fixture.root().join(name).display().to_string();
        open_inside(own, &path)?.read_to_string(&mut text)?;
        Ok::<_, io::Error>(text)
    };
    assert_eq!(open("file").unwrap(), "inside");
    assert_eq!(open("link").unwrap(), "inside");
    assert_eq!(open("none").unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(open("").unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert_eq!(
        open_inside(own, "/proc/self/exe").unwrap_err().raw_os_error(),
        Some(Errno::LOOP.raw_os_error())
    );
}
