//! Decides which links are Fairway's: by their mark, or by the group of links that do not have their mark yet.

use super::{Error, Link, Mark};

/// The link group of new links until they get their mark: the kernel takes a group at creation, an alias only
/// afterwards. The number spells "FWAY".
pub(super) const INCOMPLETE_GROUP: u32 = 0x4657_4159;

impl Link {
    /// Whether Fairway created this link and has not set its mark yet.
    pub fn is_incomplete(&self) -> bool {
        self.alias.is_none() && self.group == INCOMPLETE_GROUP
    }
}

/// Checks that a link is of this kind and Fairway's: it has the mark, or was just created and has none yet.
pub(super) fn check_owner(link: &Link, kind: &str, mark: Mark) -> Result<(), Error> {
    let ours = link.mark() == Some(mark) || link.is_incomplete();
    if ours && link.kind.as_deref() == Some(kind) {
        return Ok(());
    }
    Err(foreign(link))
}

/// The refusal of a link that is not Fairway's.
pub(super) fn foreign(link: &Link) -> Error {
    let kind = link.kind.as_deref().unwrap_or("hardware");
    let what = match &link.alias {
        Some(alias) => format!("a {kind} link with the alias {alias:?}"),
        None => format!("a {kind} link"),
    };
    Error::Foreign { name: link.name.clone(), what }
}
