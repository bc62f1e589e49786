//! `fairway daemon`: runs the daemon, or checks, reloads or removes what a daemon runs with.

use std::sync::Arc;

use clap::Args;
use fairway_api::Client;

use super::Level;
use super::error::CommandError;
use super::print::{print_line, warn};
use crate::daemon::{self, Configuration, DaemonArguments, Plugin};
use crate::face::docker_plugin::DockerPlugin;

/// How the daemon is run, or what is done instead.
#[derive(Debug, Args)]
pub(super) struct DaemonOptions {
    /// Set the logging level
    #[arg(short = 'l', long, value_enum, value_name = "LEVEL")]
    log_level: Option<Level>,
    /// Validate flags and configuration file, and exit
    #[arg(long, conflicts_with_all = ["reload", "remove"])]
    validate: bool,
    /// Make the running daemon reload its configuration file, wait for it, and exit
    #[arg(long, conflicts_with = "remove")]
    reload: bool,
    /// Remove tables, links, routes and the relay of a daemon that does not run, restore forwarding and interfaces,
    /// and exit; networks stay in the data root
    #[arg(long)]
    remove: bool,
    /// With --remove: stop sandboxes that run
    #[arg(long, requires = "remove")]
    force: bool,
    #[command(flatten)]
    arguments: DaemonArguments,
}

impl DaemonOptions {
    pub(super) fn run(
        self,
        hosts: Vec<String>,
        debug: bool,
        level: Option<Level>,
    ) -> Result<i32, CommandError> {
        let Self { log_level, validate, reload: reloads, remove: removes, force, mut arguments } = self;
        arguments.sockets = hosts;
        arguments.level = log_level.or(level);
        arguments.debug = debug.then_some(true);
        if validate {
            daemon::configuration(arguments)?;
            print_line("configuration OK")?;
        } else if reloads {
            let socket = daemon::configuration(arguments)?.socket;
            reload(&format!("unix://{}", socket.display()))?;
        } else if removes {
            let configuration = daemon::configuration_of_places(arguments)?;
            remove(&configuration, force)?;
            print_line(&format!("networks and logs stay in {}", configuration.data_root.display()))?;
        } else {
            let plugin: Arc<dyn Plugin> = Arc::new(DockerPlugin::default());
            return Ok(daemon::main(arguments, &plugin)?);
        }
        Ok(0)
    }
}

/// Removes what the daemon made, and prints what was removed.
pub(super) fn remove(configuration: &Configuration, force: bool) -> Result<(), CommandError> {
    let removed = daemon::remove(configuration, &DockerPlugin::default(), force)?;
    removed.stopped.iter().try_for_each(|name| print_line(&format!("stopped {name}")))?;
    print_line("removed tables, links, routes and the relay; restored forwarding and interfaces")
}

/// Asks the daemon to reload, and prints what came of it.
fn reload(host: &str) -> Result<(), CommandError> {
    let reloaded = Client::new(host)?.reload()?;
    for name in reloaded.needs_restart {
        warn(&format!("{name} cannot change while the daemon runs: restart the daemon"));
    }
    match reloaded.changed.is_empty() {
        true => print_line("reloaded: no setting changed"),
        false => print_line(&format!("reloaded: {}", reloaded.changed.join(", "))),
    }
}
