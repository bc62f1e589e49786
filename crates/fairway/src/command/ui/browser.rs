//! Opens the page in the browser of the user.
//!
//! The token must not be an argument of a program, since all users of the host can read those. The browser gets a file
//! that only its user can read, and that leads to the page.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fairway_ui::Token;

/// The program that opens a file with the program that the user has chosen for it.
const PROGRAM: &str = "xdg-open";

/// The user who is at the display, if that is another one than this process's: sudo was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct User {
    user: u32,
    group: u32,
}

/// A file that leads to the page. It is removed with this value.
pub(super) struct Opened(PathBuf);

impl Drop for Opened {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Opens the page where there is a display and a program for it; none where there is not.
pub(super) fn open(url: &str) -> Option<Opened> {
    let variable = environment();
    if !has_display(&variable) {
        return None;
    }
    match begin(url, &variable) {
        Ok(opened) => Some(opened),
        Err(error) => {
            tracing::info!(%error, "opened no browser: open the address that was printed");
            None
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the display and its user are in the environment alone")]
fn environment() -> impl Fn(&str) -> Option<String> {
    |name| std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn has_display(variable: &impl Fn(&str) -> Option<String>) -> bool {
    ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| variable(name).is_some())
}

/// The user at the display, where root acts for another user.
fn user(variable: &impl Fn(&str) -> Option<String>, is_root: bool) -> Option<User> {
    let number = |name: &str| variable(name)?.parse().ok();
    let user = User { user: number("SUDO_UID")?, group: number("SUDO_GID")? };
    (is_root && user.user != 0).then_some(user)
}

#[expect(clippy::disallowed_methods, reason = "no system call opens a browser")]
fn begin(url: &str, variable: &impl Fn(&str) -> Option<String>) -> io::Result<Opened> {
    let user = user(variable, rustix::process::geteuid().is_root());
    let name = Token::random().map_err(io::Error::other)?;
    let path = std::env::temp_dir().join(format!("fairway-ui-{}.html", name.text()));
    let opened = lead(&path, url, user)?;
    let mut command = Command::new(PROGRAM);
    command.arg(&path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Some(User { user, group }) = user {
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        command.uid(user).gid(group).env("HOME", fairway_run::home(&passwd, user));
        command.env("XDG_RUNTIME_DIR", format!("/run/user/{user}"));
    }
    let mut process = command.spawn()?;
    // It ends soon: the browser is another process.
    std::thread::Builder::new().name("browser".to_owned()).spawn(move || process.wait())?;
    Ok(opened)
}

/// Writes the file that leads to the page, for a user alone.
fn lead(path: &Path, url: &str, user: Option<User>) -> io::Result<Opened> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let opened = Opened(path.to_owned());
    writeln!(
        file,
        "<!doctype html><meta charset=\"utf-8\"><title>Fairway</title>\
         <meta http-equiv=\"refresh\" content=\"0;url={url}\"><a href=\"{url}\">Fairway</a>"
    )?;
    if let Some(User { user, group }) = user {
        chown(path, Some(user), Some(group))?;
    }
    Ok(opened)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn variables(pairs: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> Option<String> {
        |name| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn a_browser_is_opened_where_there_is_a_display() {
        assert!(has_display(&variables(&[("DISPLAY", ":0")])));
        assert!(has_display(&variables(&[("WAYLAND_DISPLAY", "wayland-0")])));
        assert!(!has_display(&variables(&[("TERM", "xterm")])));
    }

    #[test]
    fn the_browser_is_that_of_the_user_who_used_sudo() {
        let sudo = variables(&[("SUDO_UID", "1000"), ("SUDO_GID", "100")]);
        assert_eq!(user(&sudo, true), Some(User { user: 1000, group: 100 }));
        assert_eq!(user(&sudo, false), None, "only root can act for another user");
        assert_eq!(user(&variables(&[("SUDO_UID", "0"), ("SUDO_GID", "0")]), true), None);
        assert_eq!(user(&variables(&[("SUDO_UID", "1000")]), true), None);
    }

    #[test]
    fn the_token_is_in_a_file_of_the_user_alone_and_only_for_a_while() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("page.html");
        let opened = lead(&path, "http://127.0.0.1:4000/#token=abc", None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(fs::read_to_string(&path).unwrap().contains("0;url=http://127.0.0.1:4000/#token=abc\""));
        assert!(lead(&path, "", None).is_err(), "a file that is there is no one to write into");
        drop(opened);
        assert!(!path.exists());
    }
}
