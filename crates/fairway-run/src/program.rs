//! Which file a command means, and becoming it.

use std::convert::Infallible;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::Access;

use super::{Failure, reaper};

/// How this program becomes the command.
pub(super) enum Become<'a> {
    /// It is replaced by the command.
    Replaced,
    /// It stays as the first process of the sandbox, starts the command, and then calls this.
    Init(&'a mut dyn FnMut()),
}

/// Replaces this program by the command, in its working directory, or runs it to its end as the first process of the
/// sandbox; returns only when it cannot.
///
/// # Errors
/// The failures for which Docker exits with 126 and 127.
#[expect(
    clippy::disallowed_methods,
    reason = "executes the program of the sandbox, in its working directory"
)]
pub(super) fn become_command(
    command: &[String],
    environment: &[(String, String)],
    directory: &Path,
    how: Become<'_>,
) -> Result<Infallible, Failure> {
    let name = command.first().ok_or(Failure::NoCommand)?;
    std::env::set_current_dir(directory).map_err(|error| Failure::CannotInvoke {
        command: name.clone(),
        reason: format!("its working directory {} cannot be entered: {error}", directory.display()),
    })?;
    let path = environment.iter().find(|(name, _)| name == "PATH").map_or("", |(_, path)| path);
    let file = find(name, path)?;
    let mut program = Command::new(&file);
    program
        .arg0(name)
        .args(&command[1..])
        .env_clear()
        .envs(environment.iter().map(|(name, value)| (name, value)));
    let error = match how {
        Become::Replaced => program.exec(),
        Become::Init(started) => match reaper::run_command(program, started) {
            Ok(never) => match never {},
            Err(error) => error,
        },
    };
    Err(match error.kind() {
        io::ErrorKind::NotFound => Failure::NotFound {
            command: name.clone(),
            reason: format!(
                "no such file or directory: {}, or the interpreter that it names",
                file.display()
            ),
        },
        _ => Failure::CannotInvoke { command: name.clone(), reason: in_words_of_docker(&error) },
    })
}

/// A name with a slash is a path; any other is looked for in each directory of `path`, of which an
/// empty one means the working directory (POSIX, 8.3).
fn find(name: &str, path: &str) -> Result<PathBuf, Failure> {
    let not_found = |place: &str| {
        let reason = format!("executable file not found{place}");
        Failure::NotFound { command: name.to_owned(), reason }
    };
    if name.contains('/') {
        return Ok(PathBuf::from(name));
    }
    if name.is_empty() {
        return Err(not_found(": the name is empty"));
    }
    let mut refusal = not_found(" in a directory of PATH");
    for directory in path.split(':') {
        let file = Path::new(if directory.is_empty() { "." } else { directory }).join(name);
        if !file.is_file() {
            continue;
        }
        match rustix::fs::access(&file, Access::EXEC_OK) {
            Ok(()) => return Ok(file),
            Err(errno) => {
                let reason = format!("{}: {}", file.display(), in_words_of_docker(&errno.into()));
                refusal = Failure::CannotInvoke { command: name.to_owned(), reason };
            }
        }
    }
    Err(refusal)
}

/// Why the kernel executes no file. Docker's clients exit with 126 for these words.
fn in_words_of_docker(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::IsADirectory => "is a directory".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_first_that_can_be_executed_is_it() {
        let directory = tempfile::tempdir().unwrap();
        let [none, plain, good] = ["none", "plain", "good"].map(|name| directory.path().join(name));
        for (place, mode) in [(&plain, 0o644), (&good, 0o755)] {
            fs::create_dir(place).unwrap();
            fs::write(place.join("tool"), "").unwrap();
            fs::set_permissions(place.join("tool"), fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::create_dir(plain.join("directory")).unwrap();
        let path = |places: &[&PathBuf]| {
            places.iter().map(|place| place.to_str().unwrap()).collect::<Vec<_>>().join(":")
        };
        assert_eq!(find("tool", &path(&[&none, &plain, &good])), Ok(good.join("tool")));
        assert_eq!(find("tool", &path(&[&none, &plain])).unwrap_err().exit_code(), 126);
        assert_eq!(find("tool", &path(&[&none])).unwrap_err().exit_code(), 127);
        assert_eq!(find("directory", &path(&[&plain])).unwrap_err().exit_code(), 127);
        assert_eq!(find("", &path(&[&good])).unwrap_err().exit_code(), 127);
        assert_eq!(find("./tool", ""), Ok(PathBuf::from("./tool")));
    }
}
