//! Files for namespaces that `ip netns exec` enters: it mounts what is in `/etc/netns/NAME` over
//! `/etc`. There they are links to the sandbox's own files, which are rewritten in place.

use std::io;
use std::path::{Path, PathBuf};

use fairway_core::object::FileName;
use fairway_model::SandboxId;

use crate::apply::files::SandboxFiles;

const DIRECTORY: &str = "/etc/netns";
const FILES: [FileName; 2] = [FileName::ResolvConf, FileName::Hosts];

/// Makes the links for a namespace of that name.
///
/// # Errors
/// What the system said.
pub fn publish(name: &str, sandbox: SandboxId, files: &SandboxFiles) -> io::Result<()> {
    let directory = Path::new(DIRECTORY).join(name);
    std::fs::create_dir_all(&directory)?;
    for file in FILES {
        let target = files.path(sandbox, file);
        let link = target.file_name().map(|file| directory.join(file)).unwrap_or_default();
        match std::os::unix::fs::symlink(&target, &link) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_dangling(&link) => {
                std::fs::remove_file(&link)?;
                std::os::unix::fs::symlink(&target, &link)?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                tracing::warn!(path = %link.display(), "somebody else's file is there, and stays");
            }
            outcome => outcome?,
        }
    }
    Ok(())
}

/// Whether it is a link of ours to a sandbox that is gone.
fn is_dangling(link: &Path) -> bool {
    let ours = |target: PathBuf| {
        let directory = target.parent()?;
        let id = directory.file_name()?.to_str()?.parse::<SandboxId>().ok()?;
        (directory.parent()?.file_name()? == "sandboxes" && !target.exists()).then_some(id)
    };
    std::fs::read_link(link).ok().and_then(ours).is_some()
}

/// Links to sandboxes that are gone.
pub fn left() -> Vec<PathBuf> {
    let directories = std::fs::read_dir(DIRECTORY).into_iter().flatten().flatten();
    directories.flat_map(|directory| left_in(&directory.path())).collect()
}

fn left_in(directory: &Path) -> Vec<PathBuf> {
    let links = std::fs::read_dir(directory).into_iter().flatten().flatten();
    links.map(|link| link.path()).filter(|link| is_dangling(link)).collect()
}

/// Removes links to sandboxes that are gone, and directories that are empty then.
pub fn tidy() {
    for directory in std::fs::read_dir(DIRECTORY).into_iter().flatten().flatten() {
        let dangling = left_in(&directory.path());
        if dangling.is_empty() {
            continue;
        }
        // What cannot be removed is tried again when the next sandbox goes.
        dangling.iter().for_each(|link| drop(std::fs::remove_file(link)));
        let _ = std::fs::remove_dir(directory.path());
    }
}
