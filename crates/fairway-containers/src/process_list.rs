//! The processes by which engines show themselves.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Names of programs that run containers or hold their ports, or how these names begin. The kernel keeps 15 bytes.
const PROGRAMS: [&str; 7] = ["dockerd", "conmon", "rootlessport", "lxc-", "lxd", "incusd", "systemd-nspawn"];

/// A process of an engine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// The number of its user.
    pub(crate) user: u32,
    /// The program's name, at most 15 bytes.
    pub(crate) name: String,
    pub(crate) arguments: Vec<String>,
}

impl Process {
    /// The value of an option: the argument after `short` or `long`, or what follows `long=`.
    pub(crate) fn option(&self, short: &'static str, long: &'static str) -> Option<&str> {
        self.options(short, long).next()
    }

    /// The values of an option that may be repeated.
    pub(crate) fn options(&self, short: &'static str, long: &'static str) -> impl Iterator<Item = &str> {
        let next = self.arguments.iter().skip(1).map(Some).chain([None]);
        self.arguments.iter().zip(next).filter_map(move |(argument, next)| {
            if argument == short || argument == long {
                return next.map(String::as_str);
            }
            argument.strip_prefix(long)?.strip_prefix('=')
        })
    }
}

/// Splits the contents of `/proc/PID/cmdline` into arguments.
fn arguments(bytes: &[u8]) -> Vec<String> {
    let text = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    if text.is_empty() {
        return Vec::new();
    }
    text.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect()
}

/// Lists the processes of engines below a root directory. Those that end meanwhile are left out.
pub(crate) fn list(root: &Path) -> Vec<Process> {
    let entries = std::fs::read_dir(root.join("proc")).into_iter().flatten().flatten();
    let mut found: Vec<Process> = entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let directory = entry.path();
            let name = std::fs::read_to_string(directory.join("comm")).ok()?;
            let name = name.trim_end();
            if !PROGRAMS.iter().any(|program| name.starts_with(program)) {
                return None;
            }
            let arguments = arguments(&std::fs::read(directory.join("cmdline")).ok()?);
            let user = std::fs::metadata(&directory).ok()?.uid();
            Some(Process { pid, user, name: name.to_owned(), arguments })
        })
        .collect();
    found.sort_by_key(|process| process.pid);
    found
}

/// The children of a process: `/proc/PID/task/*/children` (Linux 3.5, `CONFIG_PROC_CHILDREN`).
pub(crate) fn children(root: &Path, pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(root.join(format!("proc/{pid}/task"))).into_iter().flatten().flatten();
    let texts = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let mut found: Vec<u32> = texts
        .flat_map(|text| text.split_ascii_whitespace().filter_map(|it| it.parse().ok()).collect::<Vec<_>>())
        .collect();
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(arguments: &[&str]) -> Process {
        Process { arguments: arguments.iter().map(|it| (*it).to_owned()).collect(), ..Process::default() }
    }

    #[test]
    fn options_are_found_in_each_form() {
        let daemon = process(&["dockerd", "-H", "unix:///a", "--host=unix:///b", "--host", "fd://", "-H"]);
        assert_eq!(daemon.options("-H", "--host").collect::<Vec<_>>(), ["unix:///a", "unix:///b", "fd://"]);
        assert_eq!(daemon.option("-g", "--data-root"), None);
        assert_eq!(process(&[]).option("-H", "--host"), None);
        // An option whose name only begins alike is another.
        assert_eq!(process(&["x", "--hostname=y"]).option("-H", "--host"), None);
    }

    #[test]
    fn command_lines_are_split_at_their_zeros() {
        assert_eq!(arguments(b"conmon\0-n\0\0web\0"), ["conmon", "-n", "", "web"]);
        assert_eq!(arguments(b""), Vec::<String>::new());
        assert_eq!(arguments(b"[lxc monitor] /var/lib/lxc web"), ["[lxc monitor] /var/lib/lxc web"]);
        assert_eq!(arguments(b"a\xff\0"), ["a\u{fffd}"]);
    }

    #[test]
    fn only_processes_of_engines_are_listed() {
        let root = tempfile::tempdir().unwrap();
        for (pid, name, line) in [
            ("12", "conmon", Some("conmon\0-n\0web\0")),
            ("7", "dockerd", Some("dockerd\0")),
            ("8", "bash", Some("bash\0")),
            // It ended between the reads.
            ("9", "conmon", None),
            ("self", "conmon", Some("conmon\0")),
        ] {
            let directory = root.path().join("proc").join(pid);
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join("comm"), format!("{name}\n")).unwrap();
            if let Some(line) = line {
                std::fs::write(directory.join("cmdline"), line).unwrap();
            }
        }
        let found = list(root.path());
        assert_eq!(
            found.iter().map(|it| (it.pid, it.name.as_str())).collect::<Vec<_>>(),
            [(7, "dockerd"), (12, "conmon")]
        );
        assert_eq!(found[1].arguments, ["conmon", "-n", "web"]);
        assert_eq!(list(Path::new("/nonexistent")), []);
    }

    #[test]
    fn children_of_all_threads_are_found() {
        let root = tempfile::tempdir().unwrap();
        for (thread, children) in [("5", "9 7 "), ("6", ""), ("8", "x 12")] {
            let directory = root.path().join("proc/5/task").join(thread);
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join("children"), children).unwrap();
        }
        assert_eq!(children(root.path(), 5), [7, 9, 12]);
        assert_eq!(children(root.path(), 6), Vec::<u32>::new());
    }
}
