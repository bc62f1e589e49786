//! Reads the directory of network files.

use std::fs::{self, DirEntry};
use std::io;
use std::path::Path;

use crate::face::aardvark::error::AardvarkError;
use crate::face::aardvark::network_file::{Network, network_of, parse};

/// Reads all networks of a directory, by name. What is wrong with a file is logged, and left out; a file that cannot be
/// read counts as a network without content, since it may be about to be written.
///
/// # Errors
/// The directory cannot be read.
pub(super) fn read(directory: &Path) -> Result<Vec<Network>, AardvarkError> {
    let failed = |source| AardvarkError::Directory { path: directory.to_owned(), source };
    let mut networks = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        networks.extend(network(&entry.map_err(failed)?));
    }
    networks.sort_by(|one, other| (&one.name, one.internal).cmp(&(&other.name, other.internal)));
    Ok(networks)
}

fn network(entry: &DirEntry) -> Option<Network> {
    let path = entry.path();
    let path = path.display();
    if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
        return None;
    }
    let name = entry.file_name();
    let Some(name) = name.to_str() else {
        tracing::error!("{path} is skipped: its name is not UTF-8");
        return None;
    };
    let (name, internal) = network_of(name)?;
    let text = match fs::read_to_string(entry.path()) {
        Ok(text) => text,
        // It was removed meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::error!(%error, "failed to read {path}: {error}");
            String::new()
        }
    };
    let (file, bad) = parse(&text);
    for bad in bad {
        tracing::error!(error = %bad, "{path}, {bad}; skipped");
    }
    Some(Network { name: name.to_owned(), internal, file })
}
