//! Runs the programs of iptables.
//!
//! There are two flavours with the same names: iptables-nft, which writes to nf_tables, and iptables-legacy, with
//! tables of its own in the kernel. The distribution or the administrator decides which one `iptables` is
//! (`update-alternatives --config iptables`).

use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use thiserror::Error;

use crate::system::xtables;

/// The directories of administrators' programs, searched in addition to `PATH`.
const DIRECTORIES: &str = "/usr/local/sbin:/usr/sbin:/sbin";
/// The files that list the tables of iptables-legacy in a network namespace, one a line.
const LEGACY_TABLES: [&str; 2] =
    ["/proc/thread-self/net/ip6_tables_names", "/proc/thread-self/net/ip_tables_names"];

/// The backend of a program of iptables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// In tables of nf_tables.
    Nft,
    /// In tables of their own.
    Legacy,
}

impl Flavour {
    /// Its name, as it is in the names of programs.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Nft => "nft",
            Self::Legacy => "legacy",
        }
    }

    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            Self::Nft => Self::Legacy,
            Self::Legacy => Self::Nft,
        }
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Why rules cannot be read or written.
#[derive(Debug, Error)]
pub enum Error {
    /// The program is not installed.
    #[error("there is no {program} in PATH: install iptables, or use --firewall-backend=nftables")]
    Missing {
        /// Its name.
        program: String,
    },
    /// The program cannot be run.
    #[error("cannot run {program}: {source}")]
    Run {
        /// Its name.
        program: String,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
    /// The program refuses.
    #[error("{program} refuses{}: {said}", .line.as_ref().map(|line| format!(" `{line}`")).unwrap_or_default())]
    Refused {
        /// Its name.
        program: String,
        /// The refused line, if the program names it.
        line: Option<String>,
        /// Its error output.
        said: String,
    },
}

/// The programs of one flavour.
#[derive(Debug, Clone)]
pub struct Programs {
    flavour: Flavour,
    /// What is between `iptables-` and `restore`.
    infix: String,
}

#[expect(clippy::disallowed_methods, reason = "PATH says where iptables is")]
fn find(program: &str) -> Result<PathBuf, Error> {
    let path = std::env::var("PATH").unwrap_or_default();
    let found =
        path.split(':').chain(DIRECTORIES.split(':')).map(|directory| PathBuf::from(directory).join(program));
    found
        .into_iter()
        .find(|path| path.is_absolute() && path.is_file())
        .ok_or_else(|| Error::Missing { program: program.to_owned() })
}

fn said(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

/// The line of a script that a complaint is about: `line 7 failed`, `Error occurred at line: 7`.
fn line_of<'a>(script: &'a str, complaint: &str) -> Option<&'a str> {
    let number = complaint.split("line").nth(1)?.trim_start_matches([' ', ':']);
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    script.lines().nth(digits.parse::<usize>().ok()?.checked_sub(1)?)
}

impl Programs {
    /// Finds the programs of a flavour, or the host's default ones.
    ///
    /// # Errors
    /// They are not installed.
    pub fn open(asked: Option<Flavour>) -> Result<Self, Error> {
        let programs = match asked {
            Some(flavour) => Self { flavour, infix: format!("{flavour}-") },
            None => {
                let output = run(&find("iptables")?, &["--version"], |_| Ok(()))?;
                // Before 1.8 there was only iptables-legacy, whose version does not say so.
                let nft = String::from_utf8_lossy(&output.stdout).contains("nf_tables");
                Self { flavour: if nft { Flavour::Nft } else { Flavour::Legacy }, infix: String::new() }
            }
        };
        for ipv4 in [true, false] {
            for what in ["restore", "save"] {
                find(&programs.name(ipv4, what))?;
            }
        }
        Ok(programs)
    }

    /// Where their rules are.
    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    fn name(&self, ipv4: bool, what: &str) -> String {
        format!("{}-{}{what}", if ipv4 { "iptables" } else { "ip6tables" }, self.infix)
    }

    /// Applies a script in the network namespace of the calling thread; table by table, each atomically. Rules that
    /// the script does not name stay. `started` is called with the process id before anything is changed.
    ///
    /// # Errors
    /// The program is not installed or refuses; tables that were committed before stay so.
    pub fn restore(&self, ipv4: bool, script: &str, started: impl FnOnce(u32)) -> Result<(), Error> {
        let program = self.name(ipv4, "restore");
        let feed = |child: &mut Child| {
            started(child.id());
            match child.stdin.take() {
                Some(mut input) => input.write_all(script.as_bytes()),
                None => Ok(()),
            }
        };
        match run(&find(&program)?, &["--noflush", "--wait"], feed) {
            Err(Error::Refused { program, said, .. }) => {
                let line = line_of(script, &said).map(str::to_owned);
                Err(Error::Refused { program, line, said })
            }
            outcome => outcome.map(drop),
        }
    }

    /// All rules of a family, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// The program is not installed or fails.
    pub fn save(&self, ipv4: bool) -> Result<String, Error> {
        let output = run(&find(&self.name(ipv4, "save"))?, &[], |_| Ok(()))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

#[expect(clippy::disallowed_methods, reason = "iptables is changed by its own programs")]
fn run(
    path: &PathBuf,
    arguments: &[&str],
    feed: impl FnOnce(&mut Child) -> std::io::Result<()>,
) -> Result<Output, Error> {
    let program = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let failed = |source| Error::Run { program: program.clone(), source };
    let mut command = Command::new(path);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    // A program that ends before it has read all its input reports why.
    let fed = feed(&mut child);
    let output = child.wait_with_output().map_err(failed)?;
    if !output.status.success() {
        return Err(Error::Refused { program, line: None, said: said(&output.stderr) });
    }
    fed.map_err(failed)?;
    Ok(output)
}

/// The tables of iptables-legacy in the namespace of the calling thread.
pub fn legacy_tables(ipv4: bool) -> Vec<String> {
    // Without the file there are no tables.
    let names = std::fs::read_to_string(LEGACY_TABLES[usize::from(ipv4)]).unwrap_or_default();
    names.lines().map(str::to_owned).collect()
}

/// Whether the namespace of the calling thread has tables of iptables-legacy.
pub fn has_legacy_tables(ipv4: bool) -> bool {
    !legacy_tables(ipv4).is_empty()
}

/// The number and size of the rules of each table of iptables-legacy: the kernel sends no notification of changes, so
/// they are polled.
pub fn legacy_table_sizes(ipv4: bool) -> Vec<(u32, u32)> {
    // Only existing tables are read: reading creates a missing one. Errors count as no change.
    let sizes = |table: &String| xtables::legacy_size(ipv4, table).unwrap_or_default();
    legacy_tables(ipv4).iter().map(sizes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refused_line_is_named() {
        let script = "*filter\n-A FORWARD -j X\nCOMMIT\n";
        assert_eq!(line_of(script, "iptables-restore: line 2 failed"), Some("-A FORWARD -j X"));
        let verbose = "iptables-restore v1.8.9 (legacy): no chain; Error occurred at line: 2; Try `...'";
        assert_eq!(line_of(script, verbose), Some("-A FORWARD -j X"));
        assert_eq!(line_of(script, "another program holds the lock"), None);
    }

    #[test]
    fn a_missing_program_is_named_with_the_way_out() {
        let error = find("iptables-missing").unwrap_err().to_string();
        let wanted =
            "there is no iptables-missing in PATH: install iptables, or use --firewall-backend=nftables";
        assert_eq!(error, wanted);
    }
}
