//! The processes of a sandbox, from proc(5).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use fairway_kernel::process::{PARENT, START_TIME, StatFields};

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    /// Its user.
    pub user: u32,
    /// Its command with arguments.
    pub command: String,
    /// What the kernel counts.
    pub stat: Stat,
}

/// What the kernel says of a process, from proc_pid_stat(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stat {
    /// The name of the program.
    pub name: String,
    /// Its parent.
    pub parent: u32,
    /// The number of its terminal; 0 without one.
    pub terminal: u32,
    /// User and system time, in ticks.
    pub ticks: u64,
    /// When it was started, in ticks since the host was.
    pub started: u64,
    /// Its memory, in pages.
    pub pages: u64,
}

/// The numbers of the fields in proc_pid_stat(5).
const TERMINAL: usize = 7;
const USER_TIME: usize = 14;
const SYSTEM_TIME: usize = 15;
const PAGES: usize = 24;

impl Stat {
    fn parse(text: &[u8]) -> Option<Self> {
        let stat = StatFields::parse(text)?;
        Some(Self {
            parent: stat.number(PARENT)?.try_into().ok()?,
            terminal: stat.number(TERMINAL)?.try_into().ok()?,
            ticks: stat.number(USER_TIME)? + stat.number(SYSTEM_TIME)?,
            started: stat.number(START_TIME)?,
            pages: stat.number(PAGES)?,
            name: stat.name.into_owned(),
        })
    }

    /// The name of the terminal, as `ps` has it.
    pub fn terminal(&self) -> String {
        // Numbers of devices: 136 to 143 are pseudo-terminals, 256 of each (linux/major.h).
        let (major, minor) =
            ((self.terminal >> 8) & 0xfff, (self.terminal & 0xff) | ((self.terminal >> 12) & 0xf_ff00));
        match major {
            136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
            4 => format!("tty{minor}"),
            _ => "?".to_owned(),
        }
    }
}

/// The processes that share the namespace of processes of one, or of network if that is the host's; by their numbers.
///
/// # Errors
/// There is no such process.
pub(crate) fn of_sandbox(first: u32) -> io::Result<BTreeMap<u32, Process>> {
    let namespace = |pid: &str, kind: &str| fs::metadata(format!("/proc/{pid}/ns/{kind}")).map(|it| it.ino());
    let first = first.to_string();
    let own = namespace(&first, "pid")? != namespace("self", "pid")?;
    let kind = if own { "pid" } else { "net" };
    let wanted = namespace(&first, kind)?;
    let mut found = BTreeMap::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // A process may end meanwhile.
        if namespace(&pid.to_string(), kind).ok() != Some(wanted) {
            continue;
        }
        let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).ok();
        let Some(stat) = read("stat").and_then(|text| Stat::parse(&text)) else { continue };
        let user = entry.metadata().map(|it| it.uid()).unwrap_or_default();
        let command = read("cmdline")
            .and_then(|text| String::from_utf8(text).ok())
            .map(|text| text.trim_end_matches('\0').replace('\0', " "));
        let command = command.filter(|text| !text.is_empty()).unwrap_or_else(|| format!("[{}]", stat.name));
        found.insert(pid, Process { user, command, stat });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_processes_may_look_like_columns() {
        let text = b"7 (a) S (b) S 41 7 7 34817 7 4194304 1 0 0 0 250 50 0 0 20 0 1 0 12345 1 2 3";
        let stat = Stat::parse(text).unwrap();
        let name = "a) S (b".to_owned();
        let expected = Stat { name, parent: 41, terminal: 34817, ticks: 300, started: 12345, pages: 2 };
        assert_eq!(stat, expected);
        assert_eq!(stat.terminal(), "pts/1");
        assert_eq!(Stat { terminal: 0, ..expected }.terminal(), "?");
        assert_eq!(Stat::parse(b"7 (a) S"), None);
    }
}
