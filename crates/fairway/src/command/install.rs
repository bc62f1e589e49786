//! `fairway install` and `fairway uninstall`: the files of the host. They need no daemon.

use std::path::{Path, PathBuf};

use clap::Args;

use super::error::CommandError;
use super::print::print_line;
use crate::install::{self, Fate, Outcome};

/// Where, and whether at all.
#[derive(Debug, Args)]
struct Where {
    /// Directory that stands for /, as for an image
    #[arg(long, value_name = "DIRECTORY", default_value = "/")]
    root: PathBuf,
    /// Tell what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// What is to be installed.
#[derive(Debug, Args)]
pub(super) struct InstallOptions {
    #[command(flatten)]
    place: Where,
    /// Program that the unit starts [default: this one]
    #[arg(long, value_name = "PATH")]
    bin_path: Option<PathBuf>,
}

/// What is to be removed.
#[derive(Debug, Args)]
pub(super) struct UninstallOptions {
    #[command(flatten)]
    place: Where,
}

impl InstallOptions {
    pub(super) fn run(&self) -> Result<i32, CommandError> {
        let Where { root, dry_run } = &self.place;
        let program = match &self.bin_path {
            Some(path) => path.clone(),
            None => install::this_program()?,
        };
        let outcomes = install::install(root, &program, *dry_run)?;
        tell(&outcomes, *dry_run)?;
        if !dry_run && changed(&outcomes) {
            print_line("Next:")?;
            if is_host(root) {
                print_line("  systemctl daemon-reload && systemctl enable --now fairway")?;
                tell_the_others()?;
            } else {
                print_line(&format!("  systemctl --root={} enable fairway", root.display()))?;
            }
        }
        Ok(0)
    }
}

impl UninstallOptions {
    pub(super) fn run(&self) -> Result<i32, CommandError> {
        let Where { root, dry_run } = &self.place;
        let outcomes = install::uninstall(root, *dry_run)?;
        tell(&outcomes, *dry_run)?;
        if !dry_run && changed(&outcomes) && is_host(root) {
            print_line("Next:")?;
            print_line("  systemctl stop fairway; systemctl daemon-reload")?;
            tell_the_others()?;
        }
        Ok(0)
    }
}

fn is_host(root: &Path) -> bool {
    root == Path::new("/")
}

fn changed(outcomes: &[Outcome]) -> bool {
    outcomes.iter().any(|outcome| matches!(outcome.fate, Fate::Created | Fate::Updated | Fate::Removed))
}

/// A line for each file; in a dry run also what would be written.
fn tell(outcomes: &[Outcome], dry_run: bool) -> Result<(), CommandError> {
    for Outcome { path, fate, text } in outcomes {
        let (done, to_be_done) = match fate {
            Fate::Created => ("created", "would create"),
            Fate::Updated => ("updated", "would update"),
            Fate::Unchanged => ("unchanged", "unchanged"),
            Fate::Removed => ("removed", "would remove"),
            Fate::Foreign => (
                "left, for fairway install did not make it:",
                "would leave, for fairway install did not make it:",
            ),
        };
        print_line(&format!("{} {}", if dry_run { to_be_done } else { done }, path.display()))?;
        if dry_run && matches!(fate, Fate::Created | Fate::Updated) {
            print_line(text)?;
        }
    }
    Ok(())
}

/// How the programs that read the files hear of them, each only where it runs.
fn tell_the_others() -> Result<(), CommandError> {
    print_line("  nmcli general reload        # if NetworkManager runs")?;
    print_line("  networkctl reload           # if systemd-networkd runs")?;
    print_line("  udevadm control --reload")
}
