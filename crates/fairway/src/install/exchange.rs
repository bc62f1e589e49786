//! Puts links and files of Fairway in the places of others, which are kept and given back.

use std::path::Path;

use super::component::{Component, Content, Item, Owner};
use super::place::Place;
use super::{Fate, Found, InstallError, Outcome};

/// What the name of a kept file ends with. No program reads files with such names.
pub const SUFFIX: &str = ".before-fairway";

/// Installs what a component needs, below a root. `prefix` is the directory of podman's links. What is there and foreign is
/// kept under another name. A dry run reports what would be done, and does nothing.
///
/// # Errors
/// A path that cannot be written into a file, something foreign where something is kept already, or a file that cannot be
/// read: nothing is written then. One that cannot be written: others may be, and doing it again does the rest.
pub fn install_component(
    component: Component,
    root: &Path,
    program: &Path,
    prefix: &Path,
    dry_run: bool,
) -> Result<Vec<Outcome>, InstallError> {
    let mut decided = Vec::new();
    for item in component.items(program, prefix)? {
        let (place, kept) = places(root, &item);
        let fate = installed(item.content.owner(&place.find()?));
        if fate == Fate::Exchanged && kept.find()? != Found::Nothing {
            return Err(InstallError::Kept { path: place.path().to_owned(), kept: kept.path().to_owned() });
        }
        decided.push((item, place, kept, fate));
    }
    let mut outcomes = Vec::with_capacity(decided.len());
    for (item, place, kept, fate) in decided {
        if !dry_run {
            if fate == Fate::Exchanged {
                place.rename(&kept)?;
            }
            if !matches!(fate, Fate::Unchanged | Fate::Edited) {
                put(&place, &item.content)?;
            }
        }
        outcomes.push(Outcome { path: place.path().to_owned(), fate, text: item.content.text() });
    }
    Ok(outcomes)
}

/// Removes what a component needed, and gives back what was kept.
///
/// # Errors
/// See [`install_component`].
pub fn uninstall_component(
    component: Component,
    root: &Path,
    program: &Path,
    prefix: &Path,
    dry_run: bool,
) -> Result<Vec<Outcome>, InstallError> {
    let mut outcomes = Vec::new();
    for item in component.items(program, prefix)? {
        let (place, kept) = places(root, &item);
        let found = place.find()?;
        let fate = removed(item.content.owner(&found), kept.find()? != Found::Nothing);
        if !dry_run {
            match fate {
                Fate::Removed => place.remove()?,
                Fate::Restored => kept.rename(&place)?,
                _ => {}
            }
        }
        outcomes.push(Outcome { path: place.path().to_owned(), fate, text: String::new() });
    }
    if !dry_run {
        for directory in component.directories(prefix) {
            // One that holds more stays.
            let _ = Place::below(root, &directory).remove_directory();
        }
    }
    Ok(outcomes)
}

fn places(root: &Path, item: &Item) -> (Place, Place) {
    let place = Place::below(root, &item.path);
    let kept = place.with_suffix(SUFFIX);
    (place, kept)
}

fn put(place: &Place, content: &Content) -> Result<(), InstallError> {
    match content {
        Content::Link(target) => place.link(target),
        file => place.write(&file.text()),
    }
}

/// What is done to have an item where something of an owner is.
fn installed(owner: Option<Owner>) -> Fate {
    match owner {
        None => Fate::Created,
        Some(Owner::Current) => Fate::Unchanged,
        Some(Owner::Former) => Fate::Updated,
        Some(Owner::Edited) => Fate::Edited,
        Some(Owner::Foreign) => Fate::Exchanged,
    }
}

/// What is done to be rid of an item, with or without something that was kept.
fn removed(owner: Option<Owner>, is_kept: bool) -> Fate {
    match (owner, is_kept) {
        (Some(Owner::Edited), _) => Fate::Edited,
        (Some(Owner::Foreign), _) => Fate::Foreign,
        (_, true) => Fate::Restored,
        (None, false) => Fate::Unchanged,
        (Some(_), false) => Fate::Removed,
    }
}
