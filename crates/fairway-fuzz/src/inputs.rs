//! The inputs of a target that are kept: `fuzz/corpus/TARGET/*`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// An input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Its file.
    pub path: PathBuf,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// The inputs of a target, in the order of their names.
///
/// # Errors
/// The directory or a file cannot be read.
pub fn corpus(target: &str) -> io::Result<Vec<Input>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut paths: Vec<PathBuf> =
        fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?;
    paths.sort();
    paths.into_iter().map(|path| Ok(Input { bytes: fs::read(&path)?, path })).collect()
}
