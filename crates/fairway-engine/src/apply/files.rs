//! The files that sandboxes mount: resolv.conf, hosts and hostname, in a directory for each sandbox below the exec
//! root.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::FileError;
use fairway_core::object::FileName;
use fairway_model::SandboxId;
use rustix::fs::statvfs;
use rustix::process::geteuid;

/// The directory of logs in the data root.
pub(crate) const LOGS: &str = "logs";

/// The directories of the files and logs of all sandboxes.
#[derive(Debug, Clone)]
pub struct SandboxFiles {
    root: PathBuf,
    logs: PathBuf,
}

impl SandboxFiles {
    /// The files under `exec_root`, which is empty after a boot, and the logs under `data_root`.
    pub fn under(exec_root: &Path, data_root: &Path) -> Self {
        Self { root: exec_root.join("sandboxes"), logs: data_root.join(LOGS) }
    }

    /// The log of one sandbox.
    pub fn log(&self, sandbox: SandboxId) -> PathBuf {
        self.logs.join(format!("{sandbox}.log"))
    }

    /// The directory of logs and store, and how many bytes its file system has left.
    pub fn space(&self) -> Option<(String, u64)> {
        let directory = self.logs.parent()?;
        let found = statvfs(directory).ok()?;
        // Some is left for root alone.
        let blocks = if geteuid().is_root() { found.f_bfree } else { found.f_bavail };
        Some((directory.display().to_string(), blocks.saturating_mul(found.f_frsize)))
    }

    /// The directory of one sandbox.
    pub fn directory(&self, sandbox: SandboxId) -> PathBuf {
        self.root.join(sandbox.to_string())
    }

    /// The path of a file.
    pub fn path(&self, sandbox: SandboxId, name: FileName) -> PathBuf {
        self.directory(sandbox).join(name.text())
    }

    /// The contents of a file; none if it does not exist.
    pub fn read(&self, sandbox: SandboxId, name: FileName) -> Option<String> {
        std::fs::read_to_string(self.path(sandbox, name)).ok()
    }

    /// Writes a file. An existing file is rewritten in place: sandboxes mount its inode.
    ///
    /// # Errors
    /// The filesystem refuses.
    pub fn write(&self, sandbox: SandboxId, name: FileName, contents: &str) -> Result<(), FileError> {
        let path = self.path(sandbox, name);
        let error = |action| {
            let path = path.clone();
            move |source| FileError { action, path, source }
        };
        let open = || std::fs::File::options().write(true).create(true).truncate(true).open(&path);
        let mut file = match open() {
            Err(failure) if failure.kind() == io::ErrorKind::NotFound => {
                std::fs::create_dir_all(self.directory(sandbox)).map_err(error("create the directory of"))?;
                open()
            }
            opened => opened,
        }
        .map_err(error("open"))?;
        file.write_all(contents.as_bytes()).map_err(error("write"))
    }

    /// Lists all files with their contents.
    pub fn all(&self) -> Vec<(SandboxId, FileName, String)> {
        const NAMES: [FileName; 3] = [FileName::ResolvConf, FileName::Hosts, FileName::Hostname];
        let directories = std::fs::read_dir(&self.root).into_iter().flatten().flatten();
        let sandboxes = directories.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let files = sandboxes.flat_map(|id| NAMES.map(|name| (id, name)));
        files.filter_map(|(id, name)| Some((id, name, self.read(id, name)?))).collect()
    }

    /// Removes a file, and the directory with the last of them; a missing file is no error.
    ///
    /// # Errors
    /// The filesystem refuses.
    pub fn remove(&self, sandbox: SandboxId, name: FileName) -> Result<(), FileError> {
        let path = self.path(sandbox, name);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(FileError { action: "remove", path, source })
            }
            _ => {
                // It stays while it holds anything else.
                let _ = std::fs::remove_dir(self.directory(sandbox));
                Ok(())
            }
        }
    }

    /// The sandboxes that have a directory, a log, or a recorded exit code.
    pub fn sandboxes(&self) -> BTreeSet<SandboxId> {
        let entries = |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten();
        let id = |name: std::ffi::OsString| name.to_str()?.split('.').next()?.parse().ok();
        entries(&self.root).chain(entries(&self.logs)).filter_map(|entry| id(entry.file_name())).collect()
    }

    /// Removes the directory of a removed sandbox, its log, and its recorded exit code.
    pub fn forget(&self, sandbox: SandboxId) {
        // A file that cannot be removed is retried at the next start.
        let _ = std::fs::remove_dir_all(self.directory(sandbox));
        remove_log(&self.log(sandbox));
        for further in ["exit", "draft", "attach"] {
            let _ = std::fs::remove_file(self.log(sandbox).with_extension(further));
        }
    }
}

impl SandboxFiles {
    /// Removes the files of all sandboxes; their logs stay.
    pub fn remove_all(&self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

/// Removes a log with its rotated files, `.1`, `.2` and so on. One number may be missing among them: a writer was
/// killed while it rotated.
fn remove_log(log: &Path) {
    let _ = std::fs::remove_file(log);
    let _ = std::fs::remove_file(log.with_added_extension("next"));
    let mut missing = 0;
    for number in 1.. {
        match std::fs::remove_file(log.with_added_extension(number.to_string())) {
            Ok(()) => missing = 0,
            Err(_) if missing > 0 => return,
            Err(_) => missing += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_file_keeps_its_inode() {
        let root = tempfile::tempdir().unwrap();
        let files = SandboxFiles::under(root.path(), root.path());
        let id = SandboxId::new([7; 32]);
        assert_eq!(files.read(id, FileName::Hosts), None);
        files.write(id, FileName::Hosts, "a longer first text\n").unwrap();
        let inode = std::fs::metadata(files.path(id, FileName::Hosts)).unwrap().ino();
        files.write(id, FileName::Hosts, "short\n").unwrap();
        assert_eq!(files.read(id, FileName::Hosts).unwrap(), "short\n");
        assert_eq!(std::fs::metadata(files.path(id, FileName::Hosts)).unwrap().ino(), inode);
        assert_eq!(files.sandboxes(), [id].into());
        assert_eq!(files.all(), [(id, FileName::Hosts, "short\n".to_owned())]);
        files.write(id, FileName::Hostname, "name").unwrap();
        files.remove(id, FileName::Hostname).unwrap();
        assert!(files.directory(id).exists());
        files.remove(id, FileName::Hosts).unwrap();
        assert!(!files.directory(id).exists());
        files.remove(id, FileName::Hosts).unwrap();
        std::fs::create_dir_all(root.path().join("logs")).unwrap();
        for extension in ["log", "log.1", "log.3", "log.next"] {
            std::fs::write(files.log(id).with_extension(extension), "").unwrap();
        }
        files.forget(id);
        assert!(files.sandboxes().is_empty());
    }
}
