//! Links in `/etc/netns/NAME` to the files of a sandbox: `ip netns exec` mounts them over `/etc`.

use std::io;
use std::path::{Path, PathBuf};

use fairway_core::object::FileName;
use fairway_model::SandboxId;

use crate::apply::files::SandboxFiles;

const DIRECTORY: &str = "/etc/netns";
const FILES: [FileName; 2] = [FileName::ResolvConf, FileName::Hosts];

/// Creates the links for a namespace of that name.
///
/// # Errors
/// The filesystem refuses.
pub fn publish(name: &str, sandbox: SandboxId, files: &SandboxFiles) -> io::Result<()> {
    let directory = Path::new(DIRECTORY).join(name);
    std::fs::create_dir_all(&directory)?;
    for file in FILES {
        let target = files.path(sandbox, file);
        let link = target.file_name().map(|file| directory.join(file)).unwrap_or_default();
        match std::os::unix::fs::symlink(&target, &link) {
            Err(_) if std::fs::read_link(&link).is_ok_and(|there| there == target) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_dangling(&link) => {
                std::fs::remove_file(&link)?;
                std::os::unix::fs::symlink(&target, &link)?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                tracing::warn!(path = %link.display(), "cannot link {}: another program's file exists", link.display());
            }
            outcome => outcome?,
        }
    }
    Ok(())
}

/// Whether the path is a link of Fairway's to a removed sandbox.
fn is_dangling(link: &Path) -> bool {
    let ours = |target: PathBuf| {
        let directory = target.parent()?;
        let id = directory.file_name()?.to_str()?.parse::<SandboxId>().ok()?;
        (directory.parent()?.file_name()? == "sandboxes" && !target.exists()).then_some(id)
    };
    std::fs::read_link(link).ok().and_then(ours).is_some()
}

/// Lists the links to removed sandboxes.
pub fn dangling() -> Vec<PathBuf> {
    let directories = std::fs::read_dir(DIRECTORY).into_iter().flatten().flatten();
    directories.flat_map(|directory| dangling_in(&directory.path())).collect()
}

fn dangling_in(directory: &Path) -> Vec<PathBuf> {
    let links = std::fs::read_dir(directory).into_iter().flatten().flatten();
    links.map(|link| link.path()).filter(|link| is_dangling(link)).collect()
}

/// Removes links to removed sandboxes, and directories that are empty then.
pub fn tidy() {
    for directory in std::fs::read_dir(DIRECTORY).into_iter().flatten().flatten() {
        let links = dangling_in(&directory.path());
        if links.is_empty() {
            continue;
        }
        // A link that cannot be removed is retried when the next sandbox is removed.
        links.iter().for_each(|link| drop(std::fs::remove_file(link)));
        let _ = std::fs::remove_dir(directory.path());
    }
}
