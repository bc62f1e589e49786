//! What could not be read, for the user.

use std::fmt;

/// Something that could not be read, because of which containers may be missing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Note {
    /// The socket of an engine did not answer in time; its files were read instead.
    NoAnswer {
        /// The engine.
        engine: &'static str,
        /// The socket.
        socket: String,
    },
    /// The files of an engine could not be read in time.
    LeftOut {
        /// The engine.
        engine: &'static str,
    },
    /// A record is not as expected.
    Broken {
        /// The engine.
        engine: &'static str,
        /// The file or socket.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// Files that this process may not read.
    Denied {
        /// The first of the paths.
        path: String,
        /// How many more there are.
        others: usize,
        /// The capabilities that would allow it and are missing.
        missing: Vec<&'static str>,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer { engine, socket } => {
                write!(f, "{engine}: {socket} did not answer within a second: its files were read instead")
            }
            Self::LeftOut { engine } => {
                write!(
                    f,
                    "{engine}: its files could not be read within a second: its containers are left out"
                )
            }
            Self::Broken { engine, path, reason } => write!(f, "{engine}: cannot use {path}: {reason}"),
            Self::Denied { path, others, missing } => {
                write!(f, "cannot read {path}")?;
                if *others > 0 {
                    write!(f, " and {others} more")?;
                }
                f.write_str(": containers may be missing: run this as root")?;
                if !missing.is_empty() {
                    write!(f, ", or with {}", missing.join(", "))?;
                }
                Ok(())
            }
        }
    }
}

/// Joins the notes on denied files into one, and sorts all.
pub(crate) fn join(notes: Vec<Note>, missing: &[&'static str]) -> Vec<Note> {
    let (denied, mut others): (Vec<_>, Vec<_>) =
        notes.into_iter().partition(|note| matches!(note, Note::Denied { .. }));
    let counted = denied.into_iter().filter_map(|note| match note {
        Note::Denied { path, others, .. } => Some((path, others)),
        _ => None,
    });
    let sum = counted.reduce(|(path, one), (_, other)| (path, one + 1 + other));
    if let Some((path, count)) = sum {
        others.push(Note::Denied { path, others: count, missing: missing.to_vec() });
    }
    others.sort();
    others.dedup();
    others
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(path: &str) -> Note {
        Note::Denied { path: path.to_owned(), others: 0, missing: Vec::new() }
    }

    #[test]
    fn denied_files_are_one_note() {
        let silent = || Note::LeftOut { engine: "docker" };
        let notes =
            join(vec![denied("/a"), silent(), denied("/b"), denied("/c"), silent()], &["CAP_SYS_PTRACE"]);
        let texts: Vec<String> = notes.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "docker: its files could not be read within a second: its containers are left out",
                "cannot read /a and 2 more: containers may be missing: run this as root, or with CAP_SYS_PTRACE",
            ]
        );
    }

    #[test]
    fn joined_notes_can_be_joined_again() {
        let once = join(vec![denied("/a"), denied("/b")], &[]);
        let twice = join([once, vec![denied("/c")]].concat(), &[]);
        assert_eq!(twice, [Note::Denied { path: "/a".to_owned(), others: 2, missing: Vec::new() }]);
    }

    #[test]
    fn one_denied_file_needs_no_count() {
        let text = join(vec![denied("/a")], &[])[0].to_string();
        assert_eq!(text, "cannot read /a: containers may be missing: run this as root");
        assert_eq!(join(Vec::new(), &["CAP_SYS_ADMIN"]), []);
    }
}
