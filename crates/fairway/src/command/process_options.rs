//! Options about a command's process, as `run` and `exec` take them.

use std::fs;

use clap::Args;

use super::error::CommandError;

/// What a command finds around it.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct ProcessOptions {
    /// Set environment variables (NAME=VALUE; NAME alone takes the caller's value); may be repeated
    #[arg(short, long, value_name = "VARIABLE", help_heading = "Process")]
    env: Vec<String>,
    /// Read in a file of environment variables; may be repeated
    #[arg(long, value_name = "FILE", help_heading = "Process")]
    env_file: Vec<String>,
    /// Working directory of the command
    #[arg(short, long, value_name = "DIRECTORY", help_heading = "Process")]
    pub(super) workdir: Option<String>,
    /// User of the command (USER[:GROUP], by name or number) [default: root; in a sandbox that runs, its user]
    #[arg(short, long, value_name = "USER", help_heading = "Process")]
    pub(super) user: Option<String>,
    /// Give extended privileges to the command
    #[arg(long, help_heading = "Process")]
    pub(super) privileged: bool,
    /// Keep STDIN open for clients that attach by Docker's API; in the foreground the command has the caller's input
    #[arg(short, long, help_heading = "Process")]
    pub(super) interactive: bool,
    /// Allocate a terminal; in the foreground the command has the caller's terminal
    #[arg(short, long, help_heading = "Process")]
    pub(super) tty: bool,
}

impl ProcessOptions {
    /// The variables that are asked for, those of files first, each `NAME=VALUE`.
    ///
    /// # Errors
    /// A file that cannot be read, or a line that is no variable.
    pub(super) fn environment(&self) -> Result<Vec<String>, CommandError> {
        let mut variables = Vec::new();
        for path in &self.env_file {
            variables.extend(environment_file(path)?);
        }
        for text in &self.env {
            variables.extend(variable(text, "--env")?);
        }
        Ok(variables)
    }
}

/// The variables of a file, each `NAME=VALUE`.
///
/// # Errors
/// It cannot be read, or a line is no variable.
pub(super) fn environment_file(path: &str) -> Result<Vec<String>, CommandError> {
    let unreadable = |source| CommandError::EnvironmentFile { path: path.to_owned(), source };
    let text = fs::read_to_string(path).map_err(unreadable)?;
    let lines = text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.filter_map(|line| variable(line, path).transpose()).collect()
}

/// A variable with its value; none when the caller has none of that name.
#[expect(clippy::disallowed_methods, reason = "`--env NAME` takes the value of the caller, as in Docker")]
fn variable(text: &str, place: &str) -> Result<Option<String>, CommandError> {
    let error = |reason| CommandError::Environment { text: text.to_owned(), path: place.to_owned(), reason };
    let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
    if name.is_empty() {
        return Err(error("a variable without a name"));
    }
    if name.contains(char::is_whitespace) {
        return Err(error("a name contains white space"));
    }
    Ok(match value {
        Some(_) => Some(text.to_owned()),
        None => std::env::var(name).ok().map(|value| format!("{name}={value}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_come_from_files_then_flags() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("env").display().to_string();
        fs::write(&path, "# comment\n\n  A=1\nB=x y=z\nSURELY_NOT_SET_ANYWHERE\n").unwrap();
        let options = ProcessOptions {
            env: vec!["A=2".to_owned(), "PATH".to_owned()],
            env_file: vec![path],
            ..ProcessOptions::default()
        };
        let path = format!("PATH={}", std::env::var("PATH").unwrap());
        assert_eq!(options.environment().unwrap(), ["A=1", "B=x y=z", "A=2", &path]);
    }

    #[test]
    fn what_is_no_variable_is_named() {
        for (text, reason) in [("=x", "a variable without a name"), ("A B=x", "a name contains white space")]
        {
            let options = ProcessOptions { env: vec![text.to_owned()], ..ProcessOptions::default() };
            let error = options.environment().unwrap_err().to_string();
            assert_eq!(error, format!("poorly formatted environment: {text:?} in --env: {reason}"));
        }
    }
}
