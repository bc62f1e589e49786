//! `fairway install` and `fairway uninstall`: the files of the host. They need no daemon.

use std::path::{Path, PathBuf};

use clap::Args;

use super::daemon::remove;
use super::error::CommandError;
use super::print::print_line;
use crate::daemon::{self, DaemonArguments};
use crate::install::{self, Component, Fate, Outcome, SUFFIX};

/// Where podman's links are, unless another directory is named.
const PREFIX: &str = "/usr/local";

/// Where, and whether at all.
#[derive(Debug, Args)]
struct Where {
    /// Use this directory as /, for example for an image
    #[arg(long, value_name = "DIRECTORY", default_value = "/")]
    root: PathBuf,
    /// Show what would be done without doing it
    #[arg(long)]
    dry_run: bool,
}

/// A program that uses Fairway, and the program that it calls.
#[derive(Debug, Args)]
struct Which {
    /// Program that uses Fairway [default: none, but the daemon's unit and what belongs to it]
    #[arg(value_enum, value_name = "PROGRAM")]
    component: Option<Component>,
    /// With netavark: links are in libexec/fairway of this directory [default: /usr/local]
    #[arg(long, value_name = "DIRECTORY", requires = "component")]
    prefix: Option<PathBuf>,
    /// Program that the unit starts and links lead to [default: this one]
    #[arg(long, value_name = "PATH")]
    bin_path: Option<PathBuf>,
}

impl Which {
    fn program(&self) -> Result<PathBuf, CommandError> {
        match &self.bin_path {
            Some(path) => Ok(path.clone()),
            None => Ok(install::this_program()?),
        }
    }

    fn prefix(&self) -> &Path {
        self.prefix.as_deref().unwrap_or(Path::new(PREFIX))
    }
}

/// What is to be installed.
#[derive(Debug, Args)]
pub(super) struct InstallOptions {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    which: Which,
}

/// What is to be removed.
#[derive(Debug, Args)]
pub(super) struct UninstallOptions {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    which: Which,
    /// Also remove the daemon's changes of the host, its networks and its logs, for good
    #[arg(long, conflicts_with_all = ["root", "component"])]
    purge: bool,
    /// With --purge: stop sandboxes that run
    #[arg(long, requires = "purge")]
    force: bool,
}

impl InstallOptions {
    pub(super) fn run(&self) -> Result<i32, CommandError> {
        let Where { root, dry_run } = &self.place;
        let program = self.which.program()?;
        if let Some(component) = self.which.component {
            let outcomes =
                install::install_component(component, root, &program, self.which.prefix(), *dry_run)?;
            report(&outcomes, *dry_run)?;
            if !dry_run {
                print_line(&component.next(&program))?;
            }
            return Ok(0);
        }
        let outcomes = install::install(root, &program, *dry_run)?;
        report(&outcomes, *dry_run)?;
        if !dry_run && changed(&outcomes) {
            print_line("Next:")?;
            if is_host(root) {
                print_line("  groupadd --system --force fairway    # its members may use the daemon")?;
                print_line("  systemctl daemon-reload && systemctl enable --now fairway")?;
                reload_service_manager()?;
            } else {
                print_line(&format!("  systemctl --root={} enable fairway", root.display()))?;
            }
        }
        Ok(0)
    }
}

impl UninstallOptions {
    pub(super) fn run(&self, host: Option<String>) -> Result<i32, CommandError> {
        let Where { root, dry_run } = &self.place;
        if let Some(component) = self.which.component {
            let (program, prefix) = (self.which.program()?, self.which.prefix());
            report(&install::uninstall_component(component, root, &program, prefix, *dry_run)?, *dry_run)?;
            return Ok(0);
        }
        if self.purge {
            self.purge(host)?;
        }
        let outcomes = install::uninstall(root, *dry_run)?;
        report(&outcomes, *dry_run)?;
        if !self.purge && is_host(root) {
            print_line("The daemon's tables, links and relay remain: fairway daemon --remove removes them,")?;
            print_line("fairway uninstall --purge also its networks and logs.")?;
        }
        if !dry_run && changed(&outcomes) && is_host(root) {
            print_line("Next:")?;
            print_line("  systemctl stop fairway.socket fairway; systemctl daemon-reload")?;
            reload_service_manager()?;
        }
        Ok(0)
    }
}

impl UninstallOptions {
    /// Removes what the daemon made, then what is durable. The configuration file is the user's, and stays.
    fn purge(&self, host: Option<String>) -> Result<(), CommandError> {
        let arguments = DaemonArguments { sockets: host.into_iter().collect(), ..DaemonArguments::default() };
        let configuration = daemon::configuration_of_places(arguments)?;
        let root = configuration.data_root.display();
        if self.place.dry_run {
            print_line(
                "would remove tables, links, routes and the relay, and restore forwarding and interfaces",
            )?;
            return print_line(&format!("would remove networks and logs in {root}"));
        }
        remove(&configuration, self.force)?;
        daemon::purge(&configuration)?;
        print_line(&format!("removed networks and logs in {root}"))
    }
}

fn is_host(root: &Path) -> bool {
    root == Path::new("/")
}

fn changed(outcomes: &[Outcome]) -> bool {
    outcomes.iter().any(|outcome| matches!(outcome.fate, Fate::Created | Fate::Updated | Fate::Removed))
}

/// A line for each file; in a dry run also what would be written.
fn report(outcomes: &[Outcome], dry_run: bool) -> Result<(), CommandError> {
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
            Fate::Exchanged => ("replaced", "would replace"),
            Fate::Restored => ("restored", "would restore"),
            Fate::Edited => ("left, for it was changed:", "would leave, for it was changed:"),
        };
        let kept = match fate {
            Fate::Exchanged => format!(" (kept as {}{SUFFIX})", path.display()),
            Fate::Restored => format!(" (from {}{SUFFIX})", path.display()),
            _ => String::new(),
        };
        print_line(&format!("{} {}{kept}", if dry_run { to_be_done } else { done }, path.display()))?;
        if dry_run && matches!(fate, Fate::Created | Fate::Updated | Fate::Exchanged) {
            print_line(text)?;
        }
    }
    Ok(())
}

/// How the programs that read the files hear of them, each only where it runs.
fn reload_service_manager() -> Result<(), CommandError> {
    print_line("  nmcli general reload        # if NetworkManager runs")?;
    print_line("  networkctl reload           # if systemd-networkd runs")?;
    print_line("  udevadm control --reload")
}
