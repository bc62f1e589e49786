//! The files of a log, which change their names while they are read.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How many names in a row may be missing before another file. One is missing for a moment while files change their
/// names, and for longer after a writer that was killed meanwhile; the others are for changes between two looks.
const GAP: u32 = 8;

/// Where the files are: the log itself is 0, and `.1` is the one before it.
pub(super) fn place(path: &Path, number: u32) -> PathBuf {
    if number == 0 { path.to_owned() } else { path.with_added_extension(number.to_string()) }
}

/// Whether a file is the one at a path.
pub(super) fn same(file: &File, path: &Path) -> io::Result<bool> {
    Ok(if_any(path.metadata())?.map(identity) == Some(identity(file.metadata()?)))
}

/// All files of a log that are newer than `than`, the oldest first.
///
/// They are looked for from the newest on. Meanwhile each may get a higher number, never a lower one: so the next that
/// is met after a file is the one before it if that file still has its number; if not, it is looked for further on.
pub(super) fn newer(path: &Path, than: Option<&File>) -> io::Result<Vec<File>> {
    let known = than.map(File::metadata).transpose()?.map(identity);
    let mut files = Vec::new();
    // The oldest that was found, and its number while that is known.
    let (mut last, mut last_number) = (None, None);
    let (mut next, mut missing) = (0, 0);
    while missing <= GAP {
        let number = next;
        next += 1;
        let Some(file) = if_any(File::open(place(path, number)))? else {
            missing += 1;
            continue;
        };
        missing = 0;
        let found = identity(file.metadata()?);
        if last == Some(found) {
            last_number = Some(number);
            continue;
        }
        if last.is_some() {
            let Some(its) = last_number else { continue };
            if if_any(place(path, its).metadata())?.map(identity) != last {
                (next, last_number) = (its + 1, None);
                continue;
            }
        }
        if known == Some(found) {
            break;
        }
        files.push(file);
        (last, last_number) = (Some(found), Some(number));
    }
    files.reverse();
    Ok(files)
}

/// None where there is no file.
fn if_any<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn identity(found: Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use fairway_model::LogLimits;

    use super::super::{Log, Stream};
    use super::*;

    /// The numbers that the files of a log hold, each in one line.
    fn numbers(files: &[File]) -> Vec<u32> {
        let texts = files.iter().map(|file| io::read_to_string(file).unwrap());
        let lines = texts.filter(|text| text.ends_with('\n'));
        lines.map(|line| line.split(['"', '\\']).nth(3).unwrap().parse().unwrap()).collect()
    }

    #[test]
    fn files_are_in_their_order_while_others_are_begun() {
        for max_files in [2, 3, 20] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("log");
            let one_line = LogLimits { max_size: Some(1), max_files };
            let mut log = Log::open(&path, one_line).unwrap();
            let over = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    for number in 0..4_000 {
                        log.write(Stream::Stdout, format!("{number}\n").as_bytes()).unwrap();
                    }
                    over.store(true, Ordering::Relaxed);
                });
                let mut than = None;
                while !over.load(Ordering::Relaxed) {
                    for than in [None, than.as_ref()] {
                        let read = numbers(&newer(&path, than).unwrap());
                        let in_order = read.windows(2).all(|pair| pair[0] + 1 == pair[1]);
                        assert!(in_order, "{max_files} files: {read:?}");
                    }
                    than = newer(&path, None).unwrap().into_iter().next();
                }
            });
        }
    }
}
