//! `fairway run`.

use clap::{ArgAction, Args};
use fairway_model::{LogLimits, parse};

use super::command_options::CommandOptions;
use super::error::CommandError;
use super::options::SandboxOptions;
use super::print::{print_line, warn};
use super::process_options::ProcessOptions;
use super::session::Session;
use fairway_run::CapabilitySet;

/// What is to be run, and where.
#[derive(Debug, Args)]
#[command(
    disable_help_flag = true,
    override_usage = "fairway run [OPTIONS] [--] COMMAND [ARGUMENT]...",
    after_help = "Examples:
  fairway run --rm --network front -- ip address
  fairway run -d --name web -p 8080:80 -- python3 -m http.server 80
  fairway run -d --network name=front,alias=www,ip=172.28.0.9 -- python3 -m http.server"
)]
pub(super) struct RunOptions {
    /// Run the command in the background and print the sandbox ID
    #[arg(short, long)]
    detach: bool,
    /// Remove the sandbox when its command exits
    #[arg(long)]
    rm: bool,
    /// Image whose files the command sees: 'host' or the name of a directory below DATA_ROOT/images [default: host]
    #[arg(long, value_name = "IMAGE", default_value = "", hide_default_value = true)]
    image: String,
    /// Name of the sandbox [default: a random name]
    #[arg(long, value_name = "NAME", value_parser = parse::name)]
    name: Option<String>,
    #[command(flatten)]
    sandbox: SandboxOptions,
    #[command(flatten)]
    process: ProcessOptions,
    #[command(flatten)]
    command_options: CommandOptions,
    /// Add capabilities, such as NET_ADMIN, or ALL; may be repeated
    #[arg(long, value_name = "CAPABILITY", value_delimiter = ',', help_heading = "Process")]
    cap_add: Vec<String>,
    /// Drop capabilities, such as NET_RAW, or ALL; may be repeated
    #[arg(long, value_name = "CAPABILITY", value_delimiter = ',', help_heading = "Process")]
    cap_drop: Vec<String>,
    /// Log option of a detached command (max-size=10m, max-file=3); may be repeated
    #[arg(long, value_name = "OPTION", value_parser = parse::option, help_heading = "Process")]
    log_opt: Vec<(String, String)>,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    /// Command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl RunOptions {
    /// Does it; the exit code is that of the command, unless it is detached.
    pub(super) fn run(self, session: &mut Session) -> Result<i32, CommandError> {
        CapabilitySet::choose(self.process.privileged, &self.cap_add, &self.cap_drop)?;
        let mut request = self.sandbox.request()?;
        self.command_options.add_to(&mut request);
        request.env = self.process.environment()?;
        request.user = self.process.user.unwrap_or_default();
        request.tty = self.process.tty;
        request.open_stdin = self.process.interactive;
        request.working_dir = self.process.workdir.unwrap_or_default();
        request.cmd = self.command;
        request.image = self.image;
        request.host_config.auto_remove = self.rm;
        request.host_config.cap_add = self.cap_add;
        request.host_config.cap_drop = self.cap_drop;
        request.host_config.log_config.config = self.log_opt.into_iter().collect();
        LogLimits::parse(&request.host_config.log_config.config)?;
        request.host_config.privileged = self.process.privileged;

        let created = session.client.create_container(self.name.as_deref().unwrap_or_default(), &request)?;
        created.warnings.iter().flatten().for_each(|text| warn(text));
        let outcome = match self.detach {
            true => session.detached(&created.id, 0).and_then(|()| print_line(&created.id)).map(|()| 0),
            false => session.foreground(&created.id),
        };
        if outcome.is_err() && self.rm {
            // As in Docker, one without `--rm` stays, to be looked at. If the daemon is gone, or has
            // forgotten it already, there is nothing to add to the failure.
            let _ = session.client.remove_container(&created.id, true);
        }
        outcome
    }
}
