//! The users of the host, as `/etc/passwd` has them.

use crate::reader::Reader;

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) number: u32,
    pub(crate) home: String,
}

/// Reads the lines of passwd(5). Lines that are not users are left out.
fn parse(text: &str) -> Vec<User> {
    let user = |line: &str| {
        let mut fields = line.split(':');
        let (name, _, number) = (fields.next()?, fields.next()?, fields.next()?.parse().ok()?);
        let home = fields.nth(2)?;
        Some(User { name: name.to_owned(), number, home: home.to_owned() })
    };
    text.lines().filter_map(user).collect()
}

/// The users of the host.
pub(crate) fn list(reader: &mut Reader<'_>) -> Vec<User> {
    reader.text("/etc/passwd").map(|text| parse(&text)).unwrap_or_default()
}

/// The name of a user, or the number where there is no name; none for root, whose engines need no scope.
pub(crate) fn scope(users: &[User], number: u32) -> Option<String> {
    let name = || users.iter().find(|user| user.number == number).map(|user| user.name.clone());
    (number != 0).then(|| name().unwrap_or_else(|| number.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_read_and_named() {
        let text = "root:x:0:0:root:/root:/bin/bash\n# x\nbroken:x\nalice:x:1000:1000::/home/alice:/bin/sh\nx:x:no:0::/:";
        let users = parse(text);
        assert_eq!(users.len(), 2);
        assert_eq!((users[1].name.as_str(), users[1].home.as_str()), ("alice", "/home/alice"));
        assert_eq!(scope(&users, 0), None);
        assert_eq!(scope(&users, 1000).as_deref(), Some("alice"));
        assert_eq!(scope(&users, 1001).as_deref(), Some("1001"));
    }
}
