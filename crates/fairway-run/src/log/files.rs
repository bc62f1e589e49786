//! The files of a log, which change their names while they are read.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where the older files are: `.1` is the one before the log itself.
pub(super) fn place(path: &Path, number: u32) -> PathBuf {
    path.with_added_extension(number.to_string())
}

/// Whether a file is the one at a path.
pub(super) fn same(file: &File, path: &Path) -> io::Result<bool> {
    match path.metadata() {
        Ok(found) => Ok(identity(&found) == identity(&file.metadata()?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// All files of a log that are newer than `than`, the oldest first.
///
/// They are opened from the newest on: one that becomes older meanwhile is met twice, and none is passed over.
pub(super) fn newer(path: &Path, than: Option<&File>) -> io::Result<Vec<File>> {
    let known = than.map(|file| file.metadata().map(|found| identity(&found))).transpose()?;
    let mut seen = Vec::new();
    let mut files = Vec::new();
    let mut missing = 0;
    let places = std::iter::once(path.to_owned()).chain((1..).map(|number| place(path, number)));
    for place in places {
        let file = match File::open(place) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                missing += 1;
                // One is missing for a moment while files change their names.
                if missing > 1 {
                    break;
                }
                continue;
            }
            Err(error) => return Err(error),
        };
        missing = 0;
        let identity = identity(&file.metadata()?);
        if known == Some(identity) {
            break;
        }
        if !seen.contains(&identity) {
            seen.push(identity);
            files.push(file);
        }
    }
    files.reverse();
    Ok(files)
}

fn identity(found: &std::fs::Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}
