//! Finds files in sandboxes that are not the ones Fairway mounted.

use std::fs::File;
use std::os::unix::fs::MetadataExt;

use fairway_core::object::FileName;
use fairway_core::world::World;
use fairway_inspect::doctor::ReplacedFile;
use fairway_model::{NetworkMode, Sandbox, SandboxKind};
use rustix::fs::{Mode, OFlags, ResolveFlags, fstat, openat2};

use crate::apply::files::SandboxFiles;

/// The mounted files that the process of each sandbox does not read.
pub(super) fn replaced(world: &World, files: &SandboxFiles) -> Vec<ReplacedFile> {
    let mut running: Vec<&Sandbox> = world.sandboxes().filter(|it| it.kind == SandboxKind::Run).collect();
    running.sort_by_key(|sandbox| &sandbox.name);
    running.into_iter().flat_map(|sandbox| replaced_of(world, files, sandbox)).collect()
}

fn replaced_of(world: &World, files: &SandboxFiles, sandbox: &Sandbox) -> Vec<ReplacedFile> {
    let owner = world.namespace_owner(sandbox).filter(|owner| owner.mode != NetworkMode::Host);
    let (Some(owner), Some(process)) = (owner, sandbox.process()) else { return Vec::new() };
    // A process that is ending has no root.
    let Ok(root) = File::open(format!("/proc/{}/root", process.pid)) else { return Vec::new() };
    let named = [
        (FileName::ResolvConf, "/etc/resolv.conf"),
        (FileName::Hosts, "/etc/hosts"),
        (FileName::Hostname, "/etc/hostname"),
    ];
    let is_replaced = |(name, path): &(FileName, &str)| {
        let own = std::fs::metadata(files.path(owner.id, *name));
        // Does not block on a FIFO that the sandbox put there, and stays within its root.
        let seen =
            openat2(&root, *path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT)
                .and_then(fstat);
        own.is_ok_and(|own| !seen.is_ok_and(|seen| (seen.st_dev, seen.st_ino) == (own.dev(), own.ino())))
    };
    let replaced = named.into_iter().filter(is_replaced);
    replaced.map(|(_, path)| ReplacedFile { sandbox: sandbox.name.clone(), path: path.to_owned() }).collect()
}
