//! The command line: Docker's commands, flags, texts and exit codes wherever Docker has them.
//!
//! A command reads its options, asks the daemon over its socket, and prints; it needs no runtime,
//! so that it starts within milliseconds. Each option is defined once: what several commands take
//! is in `options`.

mod attach;
mod command_options;
mod complete;
mod completion;
mod daemon;
mod declaration;
mod declare;
mod docker;
mod doctor;
mod engines;
mod error;
mod events;
mod exec;
mod explain;
mod graph;
mod groups;
mod image;
mod inspect;
mod install;
mod known;
mod lifecycle;
mod list;
mod logs;
mod man;
mod near;
mod network;
mod on_host;
mod options;
mod paint;
mod plan;
mod port;
mod print;
mod process_options;
mod republish;
mod run;
mod sandbox;
mod session;
mod start;
mod store;
mod system;
mod template;
mod top;
mod trace;
mod ui;
mod update;
mod usage;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::builder::styling::Styles;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use fairway_api::Client;
use fairway_kernel::system::inherit::unblock_signals;

use crate::demo;
use crate::logging::{self, Level, LogFormat};
#[doc(hidden)]
pub use declaration::fuzz as fuzz_declaration;
use error::CommandError;
use session::Session;
pub use session::report;

/// The daemon's socket by default.
const DEFAULT_HOST: &str = "unix:///run/fairway.sock";

/// Container networking as one program.
#[derive(Debug, Parser)]
#[command(name = "fairway", version, about, styles = Styles::plain(), subcommand_required = true)]
struct Arguments {
    /// Daemon socket to connect to, or to listen at; the daemon takes several [default: unix:///run/fairway.sock]
    #[arg(
        short = 'H',
        long,
        global = true,
        env = "FAIRWAY_HOST",
        hide_env_values = true,
        value_name = "SOCKET",
        help_heading = "Global options"
    )]
    host: Vec<String>,
    /// Enable debug mode
    #[arg(short = 'D', long, global = true, help_heading = "Global options")]
    debug: bool,
    /// Set the logging level
    #[arg(short = 'l', long, value_enum, value_name = "LEVEL")]
    log_level: Option<Level>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a command in a new sandbox
    Run(Box<run::RunOptions>),
    /// Run a command in a running sandbox
    Exec(exec::ExecOptions),
    /// List sandboxes
    Ps(list::ListSandboxes),
    /// Display detailed information on sandboxes and networks
    Inspect(inspect::InspectOptions),
    /// List port mappings or a specific mapping for the sandbox
    Port(port::PortOptions),
    /// Publish ports of a running sandbox
    Publish(republish::PublishOptions),
    /// Remove published ports from a running sandbox
    Unpublish(republish::UnpublishOptions),
    /// Get real time events
    Events(events::EventsOptions),
    /// Fetch the logs of a detached sandbox
    Logs(logs::LogsOptions),
    /// Display the running processes of a sandbox, or all networks live
    Top(top::TopOptions),
    /// Start one or more stopped sandboxes
    Start(start::StartOptions),
    /// Stop one or more running sandboxes
    Stop(lifecycle::StopOptions),
    /// Restart one or more sandboxes
    Restart(lifecycle::RestartOptions),
    /// Kill one or more running sandboxes
    Kill(lifecycle::KillOptions),
    /// Update limits and the restart policy of one or more sandboxes
    Update(update::UpdateOptions),
    /// Rename a sandbox
    Rename(update::RenameOptions),
    /// Remove one or more sandboxes
    Rm(lifecycle::RemoveOptions),
    /// Block until one or more sandboxes stop, then print their exit codes
    Wait(lifecycle::WaitOptions),
    /// Manage networks
    #[command(subcommand)]
    Network(network::NetworkCommand),
    /// Show the way of a packet: each chain, rewrite, route and the outcome
    Explain(explain::ExplainOptions),
    /// Diagnose networking problems on this host and suggest fixes
    Doctor(doctor::DoctorOptions),
    /// List the planned objects, or with --diff what differs from them in the kernel
    Plan(plan::PlanOptions),
    /// Draw the networks and the way of a packet
    Graph(graph::GraphOptions),
    /// Trace real packets: each interface, chain and rewrite they pass
    Trace(trace::TraceOptions),
    /// Serve a page with a live picture of the networks
    Ui(ui::UiOptions),
    /// Connect an existing network namespace to networks
    Attach(Box<attach::AttachOptions>),
    /// Disconnect attached network namespaces from all their networks
    Detach(attach::DetachOptions),
    /// Manage sandboxes for `ip netns exec`
    #[command(subcommand)]
    Sandbox(sandbox::SandboxCommand),
    /// Create and change networks and sandboxes as a file declares them
    Apply(declare::ApplyOptions),
    /// Write the networks and sandboxes as a file for apply
    Export(declare::ExportOptions),
    /// Run the daemon
    Daemon(Box<daemon::DaemonOptions>),
    /// Verify and display the durable records of the daemon
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Install the systemd unit and the files that keep others off Fairway's links
    Install(install::InstallOptions),
    /// Remove the files that install wrote
    Uninstall(install::UninstallOptions),
    /// Demonstrate Fairway in a temporary lab of namespaces
    Demo,
    /// Show the version information
    Version(system::VersionOptions),
    /// Remove what is not used
    #[command(subcommand)]
    System(system::SystemCommand),
    /// Display system-wide information
    Info(system::InfoOptions),
    /// Generate the autocompletion script for a shell
    Completion(completion::CompletionOptions),
    /// Write the manual pages
    #[command(hide = true)]
    Man(man::ManOptions),
}

/// Runs the command that the arguments, the program's name among them, ask for.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    match complete::answer(&arguments) {
        Ok(true) => return ExitCode::SUCCESS,
        Ok(false) => {}
        Err(error) => return exit(usage::report(error, &arguments)),
    }
    let mut command = groups::grouped(Arguments::command());
    let matches = command.try_get_matches_from_mut(&arguments);
    let parsed = matches.and_then(|matches| Arguments::from_arg_matches(&matches));
    let parsed = match parsed.map_err(|error| error.format(&mut command)) {
        Ok(parsed) => parsed,
        Err(error) => return exit(usage::report(error, &arguments)),
    };
    match parsed.verb {
        Verb::Demo => demo::main(),
        _ => exit(parsed.run_and_report(&arguments)),
    }
}

/// The kernel keeps eight bits of an exit code.
fn exit(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(125))
}

impl Arguments {
    /// Runs the command, prints its error if it fails, and returns the exit code.
    fn run_and_report(self, arguments: &[OsString]) -> i32 {
        let launches = matches!(self.verb, Verb::Run(_));
        let named = launches || matches!(self.verb, Verb::Daemon(_));
        let host = self.host.last().cloned();
        match self.act() {
            Ok(code) => code,
            Err(error) if error.unheard() => 0,
            Err(error) => {
                let mut text = error.to_string();
                if named {
                    text.insert_str(0, "fairway: ");
                }
                if !usage::destroys(arguments)
                    && let Ok(mut client) = Client::new(host.as_deref().unwrap_or(DEFAULT_HOST))
                {
                    text.push_str(&error.near(&mut client));
                }
                if let Some(hint) = error.hint(launches) {
                    text.push_str(&hint);
                }
                if launches && error.misuse() {
                    text.push_str("\nSee 'fairway run --help'.");
                }
                // That nobody reads it changes nothing.
                let _ = writeln!(io::stderr(), "{text}");
                if launches { error.launch_code() } else { error.plain_code() }
            }
        }
    }

    fn act(self) -> Result<i32, CommandError> {
        let Self { host: mut hosts, debug, log_level, verb } = self;
        if let Verb::Daemon(options) = verb {
            return options.run(hosts, debug, log_level);
        }
        let host = hosts.pop();
        // They were held for the daemon, which alone has handlers for them.
        let _ = unblock_signals();
        if let Some(level) = if debug { Some(Level::Debug) } else { log_level } {
            logging::start(level, LogFormat::Text);
        }
        let session = || Session::open(host.as_deref().unwrap_or(DEFAULT_HOST));
        match verb {
            Verb::Run(options) => options.run(&mut session()?),
            Verb::Exec(options) => options.run(&mut session()?),
            Verb::Ps(options) => options.run(session()?.client),
            Verb::Inspect(options) => options.run(&mut session()?.client),
            Verb::Port(options) => options.run(&mut session()?.client),
            Verb::Publish(options) => options.run(&mut session()?.client),
            Verb::Unpublish(options) => options.run(&mut session()?.client),
            Verb::Logs(options) => options.run(&mut session()?.client),
            Verb::Top(options) => options.run(host.as_deref().unwrap_or(DEFAULT_HOST)),
            Verb::Start(options) => options.run(&mut session()?),
            Verb::Stop(options) => options.run(&mut session()?.client),
            Verb::Restart(options) => options.run(&mut session()?),
            Verb::Kill(options) => options.run(&mut session()?.client),
            Verb::Update(options) => options.run(&mut session()?.client),
            Verb::Rename(options) => options.run(&mut session()?.client),
            Verb::Rm(options) => options.run(&mut session()?.client),
            Verb::Wait(options) => options.run(&mut session()?.client),
            Verb::Network(command) => command.run(&mut session()?.client),
            Verb::Explain(options) => options.run(&mut session()?.client, host.is_some()),
            Verb::Doctor(options) => options.run(&mut session()?.client, host.is_some()),
            Verb::Plan(options) => options.run(&mut session()?.client),
            Verb::Graph(options) => options.run(&mut session()?.client, host.is_some()),
            Verb::Trace(options) => options.run(&mut session()?.client, host.is_some()),
            Verb::Ui(options) => options.run(host.as_deref().unwrap_or(DEFAULT_HOST)),
            Verb::Attach(options) => options.run(&mut session()?.client),
            Verb::Detach(options) => options.run(&mut session()?.client),
            Verb::Sandbox(command) => command.run(&mut session()?.client),
            Verb::Apply(options) => options.run(&mut session()?.client),
            Verb::Export(options) => options.run(&mut session()?.client),
            Verb::Events(options) => options.run(&mut session()?.client),
            Verb::Version(options) => options.run(&mut session()?.client),
            Verb::System(command) => command.run(&mut session()?.client),
            Verb::Info(options) => options.run(&mut session()?.client),
            Verb::Completion(options) => options.run(),
            Verb::Man(options) => options.run(),
            Verb::Store(command) => command.run(),
            Verb::Install(options) => options.run(),
            Verb::Uninstall(options) => options.run(host),
            // The demo has no daemon to ask, and both are run without this.
            Verb::Demo | Verb::Daemon(_) => Ok(0),
        }
    }
}
