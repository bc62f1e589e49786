//! `fairway version` and `fairway info`.

use clap::{Args, Subcommand};
use fairway_api::types::{Info, Version};
use fairway_api::{API_VERSION, Client};
use serde::Serialize;

use super::error::CommandError;
use super::network;
use super::print::{print, print_line, warn};
use super::template::{Template, Value};

/// How to show versions.
#[derive(Debug, Args)]
pub(super) struct VersionOptions {
    /// Format output: 'json' or a Go template such as '{{.Server.Version}}'
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

/// How to show what the daemon says.
#[derive(Debug, Args)]
pub(super) struct InfoOptions {
    /// Format output: 'json' or a Go template such as '{{.ServerVersion}}'
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

/// What is done with all of a kind.
#[derive(Debug, Subcommand)]
pub(super) enum SystemCommand {
    /// Remove sandboxes that do not run, and networks that no sandbox uses
    Prune(PruneAll),
}

/// How to remove what is not used.
#[derive(Debug, Args)]
pub(super) struct PruneAll {
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
    /// Filter: label=KEY[=VALUE], label!=..., until=TIME; may be repeated
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
}

impl SystemCommand {
    pub(super) fn run(&self, client: &mut Client) -> Result<i32, CommandError> {
        let Self::Prune(PruneAll { force, filter }) = self;
        let filters = network::filters(filter)?;
        let warning = "This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n";
        if !force && !network::confirmed(warning)? {
            return Ok(0);
        }
        let deleted = client.prune_containers(&filters)?.containers_deleted.unwrap_or_default();
        if !deleted.is_empty() {
            print(&format!("Deleted Containers:\n{}\n\n", deleted.join("\n")))?;
        }
        network::prune(client, &filters).map(|()| 0)
    }
}

/// The two ends.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Versions {
    client: Version,
    server: Option<Version>,
}

fn formatted(format: &str, value: &impl Serialize) -> Result<(), CommandError> {
    let format = if format == "json" { "{{json .}}" } else { format };
    print_line(&Template::parse(format)?.render(&Value::of(value)?)?)
}

impl VersionOptions {
    pub(super) fn run(&self, client: &mut Client) -> Result<i32, CommandError> {
        let (server, absent) = match client.version() {
            Ok(version) => (Some(version), None),
            Err(error) => (None, Some(error)),
        };
        let own = Version {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            api_version: API_VERSION.to_owned(),
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            ..Version::default()
        };
        let versions = Versions { client: own, server };
        match &self.format {
            Some(format) => formatted(format, &versions)?,
            None => {
                print(&described("Client", &versions.client))?;
                if let Some(server) = &versions.server {
                    print(&format!("\n{}", described("Server", server)))?;
                }
            }
        }
        // As in Docker, half an answer is shown and the other half is a failure.
        absent.map_or(Ok(0), |error| Err(error.into()))
    }
}

fn described(title: &str, version: &Version) -> String {
    let Version { version, api_version, os, arch, kernel_version, .. } = version;
    let mut text = format!(
        "{title}:\n Version:       {version}\n API version:   {api_version}\n OS/Arch:       {os}/{arch}\n"
    );
    if !kernel_version.is_empty() {
        text.push_str(&format!(" Kernel:        {kernel_version}\n"));
    }
    text
}

impl InfoOptions {
    pub(super) fn run(&self, client: &mut Client) -> Result<i32, CommandError> {
        let info = client.info()?;
        match &self.format {
            Some(format) => formatted(format, &info)?,
            None => print(&summary(&info))?,
        }
        if self.format.is_none() {
            info.warnings.iter().for_each(|text| warn(text));
        }
        Ok(0)
    }
}

fn summary(info: &Info) -> String {
    format!(
        "Containers: {}\n Running: {}\n Stopped: {}\nServer Version: {}\nFirewall Backend: {}\n\
         Kernel Version: {}\nArchitecture: {}\nName: {}\nRoot Dir: {}\n",
        info.containers,
        info.containers_running,
        info.containers_stopped,
        info.server_version,
        info.firewall_backend.driver,
        info.kernel_version,
        info.architecture,
        info.name,
        info.docker_root_dir,
    )
}
