//! What `fairway install` puts on a host: a systemd unit for the daemon, and files by which
//! NetworkManager, systemd-networkd and udev leave its links alone.
//!
//! What the files say is in `text`, and what becomes of a file in [`Fate`]: neither does I/O. Only
//! `place` reads and writes.
//!
//! A file is ours if its first line says so ([`MARK`]). All are looked at before any is written: if
//! a foreign file has one of the names, nothing is.
//!
//! What other programs need to use Fairway is in `component`; `exchange` puts it in the place of what is there.

mod component;
mod exchange;
mod place;
mod text;

use std::path::{Path, PathBuf};

use thiserror::Error;

pub use component::Component;
pub use exchange::{SUFFIX, install_component, uninstall_component};
use place::Place;
pub use text::{File, MARK, PATHS, files};

/// Why nothing, or not all, is installed or removed.
#[derive(Debug, Error)]
pub enum InstallError {
    /// Files of these names exist that Fairway did not write.
    #[error(
        "{} not made by fairway install, so nothing is written: move {} away, or make \"{MARK}\" the first line",
        is_or_are(.0),
        if .0.len() == 1 { "it" } else { "them" }
    )]
    Foreign(Vec<PathBuf>),
    /// The path cannot be written into a unit as it is.
    #[error(
        "cannot name the program {0:?} in a systemd unit: an absolute path of letters, digits and /._+- is expected: use --bin-path"
    )]
    Program(PathBuf),
    /// The path cannot be written into a file as it is.
    #[error(
        "cannot name {0:?} in a file: an absolute path of letters, digits and /._+- is expected: use --bin-path or --prefix"
    )]
    Path(PathBuf),
    /// Something foreign is where something foreign was exchanged before.
    #[error(
        "{} is not Fairway's, and {} is kept already, so nothing is written: move one of them away", .path.display(), .kept.display()
    )]
    Kept {
        /// Where it is.
        path: PathBuf,
        /// Where that of before is.
        kept: PathBuf,
    },
    /// The system does not say what program this is.
    #[error("cannot find this program's path: {0}: use --bin-path")]
    Unlocated(#[source] std::io::Error),
    /// A file or directory withstands.
    #[error("cannot {verb} {path}: {source}")]
    File {
        /// What was to be done.
        verb: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

fn is_or_are(paths: &[PathBuf]) -> String {
    let names: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    format!("{} {}", names.join(", "), if names.len() == 1 { "is" } else { "are" })
}

/// What is where a file belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A file that says this.
    File(Vec<u8>),
    /// A symbolic link (which masks a unit, for example) to this.
    Link(PathBuf),
    /// A directory, a device.
    Other,
}

impl Found {
    /// Whether it is a file of ours: its first line says so.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::File(bytes) if bytes.split(|byte| *byte == b'\n').next() == Some(MARK.as_bytes()))
    }
}

/// What becomes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is not there: it is written.
    Created,
    /// It is ours and says something else: it is written anew.
    Updated,
    /// It is ours and says what it shall, or is not there and shall not be.
    Unchanged,
    /// It was ours.
    Removed,
    /// A foreign file: Fairway did not write it.
    Foreign,
    /// A foreign one is there: it is kept under another name, and ours is written.
    Exchanged,
    /// Ours is removed, and the one that was kept is given back.
    Restored,
    /// It is ours, and a user changed it: it stays.
    Edited,
}

impl Fate {
    /// What is done to have a file say a text.
    #[must_use]
    pub fn of_installed(found: &Found, text: &str) -> Self {
        match found {
            Found::Nothing => Self::Created,
            Found::File(bytes) if bytes == text.as_bytes() => Self::Unchanged,
            _ if found.is_ours() => Self::Updated,
            _ => Self::Foreign,
        }
    }

    /// What is done to be rid of a file of ours.
    #[must_use]
    pub fn of_removed(found: &Found) -> Self {
        match found {
            Found::Nothing => Self::Unchanged,
            _ if found.is_ours() => Self::Removed,
            _ => Self::Foreign,
        }
    }
}

/// A file, and what became of it, or would.
#[derive(Debug)]
pub struct Outcome {
    /// Where it is, with the root.
    pub path: PathBuf,
    /// What became of it.
    pub fate: Fate,
    /// What it says if it is installed; empty if it is removed.
    pub text: String,
}

/// Writes each file below a root; `program` is what the unit starts. A dry run reports
/// what would be done and writes nothing.
///
/// # Errors
/// [`InstallError::Program`], [`InstallError::Foreign`] and a file that cannot be read: nothing is
/// written then. One that cannot be written: others may be, and doing it again does the rest.
pub fn install(root: &Path, program: &Path, dry_run: bool) -> Result<Vec<Outcome>, InstallError> {
    let files = files(program).ok_or_else(|| InstallError::Program(program.to_owned()))?;
    let mut places = Vec::with_capacity(files.len());
    for File { path, text } in files {
        let place = Place::new(root, path);
        let fate = Fate::of_installed(&place.find()?, &text);
        places.push((place, fate, text));
    }
    let foreign: Vec<_> = places.iter().filter(|(_, fate, _)| *fate == Fate::Foreign).collect();
    if !foreign.is_empty() {
        return Err(InstallError::Foreign(
            foreign.iter().map(|(place, ..)| place.path().to_owned()).collect(),
        ));
    }
    let mut outcomes = Vec::with_capacity(places.len());
    for (place, fate, text) in places {
        if !dry_run && fate != Fate::Unchanged {
            place.write(&text)?;
        }
        outcomes.push(Outcome { path: place.path().to_owned(), fate, text });
    }
    Ok(outcomes)
}

/// Removes each file below a root that is ours. Directories stay. A dry run removes nothing.
///
/// # Errors
/// A file that cannot be looked at or removed; doing it again does the rest.
pub fn uninstall(root: &Path, dry_run: bool) -> Result<Vec<Outcome>, InstallError> {
    let mut outcomes = Vec::with_capacity(PATHS.len());
    for path in PATHS {
        let place = Place::new(root, path);
        let fate = Fate::of_removed(&place.find()?);
        if !dry_run && fate == Fate::Removed {
            place.remove()?;
        }
        outcomes.push(Outcome { path: place.path().to_owned(), fate, text: String::new() });
    }
    Ok(outcomes)
}

/// The program that runs, as the system knows it.
///
/// # Errors
/// [`InstallError::Unlocated`]: there is no `/proc`.
pub fn this_program() -> Result<PathBuf, InstallError> {
    std::env::current_exe().map_err(InstallError::Unlocated)
}
