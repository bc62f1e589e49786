//! `fairway top`: the processes of a sandbox, or networks, sandboxes, traffic and findings while they change.

mod overview;
mod processes;
mod sampler;
mod screen;

use std::io::{self, IsTerminal};

use clap::Args;
use fairway_kernel::system::inherit::block_signals;
use rustix::process::Signal;

use super::error::CommandError;
use super::print::print;
use super::session::Session;

/// What to show.
#[derive(Debug, Args)]
pub(super) struct TopOptions {
    /// Name or id of a running sandbox, whose processes are shown [default: all networks, live]
    container: Option<String>,
    /// Print networks, sandboxes, traffic and findings once, as without a terminal
    #[arg(long, conflicts_with = "container")]
    once: bool,
}

impl TopOptions {
    pub(super) fn run(&self, host: &str) -> Result<i32, CommandError> {
        let mut client = Session::open(host)?.client;
        if let Some(container) = &self.container {
            return processes::show(&mut client, container);
        }
        if self.once || !io::stdout().is_terminal() {
            let findings = client.doctor(false)?.findings;
            let views = overview::views(&sampler::sample(&mut client, Some(findings))?, None);
            print(&overview::text(&views))?;
            return Ok(0);
        }
        // A daemon that does not run is reported before the screen is cleared.
        client.ping()?;
        // Before there are threads, which would be ended by them: the terminal is given back first.
        let ends = [Signal::HUP, Signal::INT, Signal::TERM].map(Signal::as_raw);
        let ended = block_signals(&ends).map_err(|errno| CommandError::Print(errno.into()))?;
        screen::show(sampler::start(host)?, &ended).map_err(CommandError::Print)?;
        Ok(0)
    }
}
