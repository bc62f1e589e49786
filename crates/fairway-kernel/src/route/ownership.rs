//! Decides which links are Fairway's: by their mark, or by the group of links that do not have their mark yet.

use super::{Error, Link, Links, Mark};

/// The link group of new links until they get their mark: the kernel takes a group at creation, an alias only
/// afterwards. The number spells "FWAY".
pub(super) const INCOMPLETE_GROUP: u32 = 0x4657_4159;

impl Link {
    /// Whether Fairway created this link and has not set its mark yet.
    pub fn is_incomplete(&self) -> bool {
        self.alias.is_none() && self.group == INCOMPLETE_GROUP
    }
}

impl Links {
    /// Deletes the links whose creation was interrupted before they got their mark, and returns their names. No other
    /// thread or process may be creating links meanwhile.
    ///
    /// # Errors
    /// [`Error::Netlink`].
    pub fn delete_incomplete(&self) -> Result<Vec<String>, Error> {
        let incomplete = self.all()?.into_iter().filter(Link::is_incomplete);
        incomplete.map(|link| self.delete(link.index, &link.name).map(|()| link.name)).collect()
    }

    /// Deletes a link that could not be set up, unless it has its mark: no later run would find it.
    pub(super) fn or_undo<T>(&self, name: &str, outcome: Result<T, Error>) -> Result<T, Error> {
        if outcome.is_err()
            && let Ok(Some(link)) = self.find(name)
            && link.is_incomplete()
        {
            self.delete(link.index, name)?;
        }
        outcome
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

#[cfg(test)]
mod tests;
