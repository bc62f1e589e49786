//! What goes wrong in the middle of a history.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use fairway_kernel::monitor::{Event, Monitor};
use fairway_kernel::route::Links;
use fairway_model::Rng;
use rustix::mount::{MountFlags, mount, mount_remount};
use rustix::process::{Pid, Signal, kill_process};

use crate::foreign_changes;
use crate::harness::{Stage, eventually};
use crate::kernel_state::{kill, kill_relay};

const DATA_ROOT: &str = "/var/lib/fairway";
/// What the store needs, and some more.
const SIZE: &std::ffi::CStr = c"size=16m,mode=0755";
/// What the offset of each record in the journal is a multiple of.
const BLOCK: usize = 64;
/// How long the daemon is stopped.
const PAUSE: Duration = Duration::from_millis(150);
/// How often a link changes while it is: more changes than a netlink socket holds.
const FLOOD: u32 = 5000;

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    KillDaemon,
    KillRelay,
    KillBoth,
    /// SIGSTOP for a while.
    PauseDaemon,
    /// The daemon is stopped while so many links change that notifications are lost.
    NetlinkOverflow,
    FlushRuleset,
    DeleteLinks,
    DiskFull,
    DiskReadOnly,
    /// The wall clock is set, by seconds to years.
    SetClock,
    /// The daemon is killed, and its journal ends in half a record that no command was acknowledged for.
    HalfARecord,
}

const ALL: [Fault; 11] = [
    Fault::KillDaemon,
    Fault::KillRelay,
    Fault::KillBoth,
    Fault::PauseDaemon,
    Fault::NetlinkOverflow,
    Fault::FlushRuleset,
    Fault::DeleteLinks,
    Fault::DiskFull,
    Fault::DiskReadOnly,
    Fault::SetClock,
    Fault::HalfARecord,
];

/// Gives the daemon a file system of its own for its data.
pub fn mount_data_root() {
    fs::create_dir_all(DATA_ROOT).unwrap();
    mount("tmpfs", DATA_ROOT, "tmpfs", MountFlags::NOSUID, Some(SIZE)).unwrap();
}

impl Fault {
    pub fn random(rng: &mut Rng) -> Self {
        ALL[rng.below(ALL.len() as u64) as usize]
    }

    /// Lets it happen.
    pub fn strike(self, stage: &Stage, rng: &mut Rng) {
        let pid = stage.daemon.pid();
        match self {
            Self::KillDaemon | Self::HalfARecord => kill(pid),
            Self::KillRelay => kill_relay(),
            Self::KillBoth => {
                kill(pid);
                kill_relay();
            }
            Self::PauseDaemon => paused(pid, || std::thread::sleep(PAUSE)),
            Self::NetlinkOverflow => paused(pid, || stage.host.run_in(flood).unwrap()),
            Self::FlushRuleset => stage.host.run_in(foreign_changes::flush_ruleset).unwrap(),
            Self::DeleteLinks => {
                let (first, step) = (rng.below(3) as usize, 1 + rng.below(3) as usize);
                stage.host.run_in(|| delete_links(first, step)).unwrap();
            }
            Self::DiskFull => stage.host.run_in(fill).unwrap(),
            Self::DiskReadOnly => stage.host.run_in(|| read_only(true)).unwrap(),
            Self::SetClock => {
                let seconds = 30_i64.pow(1 + rng.below(5) as u32);
                stage.daemon.set_clock(if rng.below(2) == 0 { seconds } else { -seconds });
            }
        }
        std::thread::sleep(Duration::from_millis(rng.below(80)));
    }

    /// Ends it, and returns when a daemon answers.
    pub fn recover(self, stage: &mut Stage) {
        match self {
            Self::KillDaemon | Self::KillBoth => stage.daemon.restart(&[]),
            Self::HalfARecord => {
                stage.daemon.kill9();
                stage.host.run_in(break_off).unwrap();
                stage.daemon.restart(&[]);
            }
            Self::DiskFull => stage.host.run_in(|| fs::remove_file(ballast()).unwrap()).unwrap(),
            Self::DiskReadOnly => stage.host.run_in(|| read_only(false)).unwrap(),
            _ => {}
        }
        // It finds out by itself, and what it repairs is there when nothing differs.
        let repaired = || stage.client().plan_difference().is_ok_and(|found| found.changes.is_empty());
        eventually("the daemon repairs what was hurt", Duration::from_secs(30), repaired);
    }
}

/// Does something while the daemon is stopped.
fn paused(pid: u32, work: impl FnOnce()) {
    let pid = Pid::from_raw(pid as i32).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    work();
    kill_process(pid, Signal::CONT).unwrap();
}

fn flood() {
    let monitor = Monitor::open().unwrap();
    foreign_changes::add_bridge("flood0");
    foreign_changes::change_mtu("flood0", FLOOD);
    foreign_changes::delete_link("flood0");
    assert_eq!(monitor.events(), Ok(vec![Event::Lost]), "the flood is too small");
}

/// Deletes some of the daemon's links.
fn delete_links(first: usize, step: usize) {
    let links = Links::open().unwrap();
    let marked = links.all().unwrap().into_iter().filter(|link| link.mark().is_some());
    for link in marked.skip(first).step_by(step) {
        // It may be gone: one end of a pair takes the other along, and clients go on removing.
        let _ = links.delete(link.index, &link.name);
    }
}

fn ballast() -> std::path::PathBuf {
    Path::new(DATA_ROOT).join("ballast")
}

fn fill() {
    let mut file = File::create(ballast()).unwrap();
    for size in [1 << 16, 1 << 8, 1] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
}

fn read_only(on: bool) {
    let flags = if on { MountFlags::RDONLY } else { MountFlags::empty() };
    // Refused while a file is open for writing, as that of the daemon is: then the fault is none.
    let _ = mount_remount(DATA_ROOT, flags, "");
}

/// Lets the journal end in half a record.
fn break_off() {
    let mut files: Vec<_> = fs::read_dir(DATA_ROOT).unwrap().flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.to_string_lossy().contains("journal"));
    let path = files.first().expect("the store has a journal");
    let mut text = fs::read(path).unwrap();
    // The next record begins at the next block: before it there can be zeros of the last one.
    let end = text.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1).next_multiple_of(BLOCK);
    let half = [0x40, 0, 0, 0, 0xde, 0xad, 0xbe, 0xef, b'{', b'"'];
    text.resize(text.len().max(end + half.len()), 0);
    text[end..end + half.len()].copy_from_slice(&half);
    fs::write(path, text).unwrap();
}
