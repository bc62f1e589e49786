//! `fairway sandbox`: namespaces that Fairway makes and `ip netns exec` enters.

use clap::{ArgAction, Args, Subcommand};
use fairway_api::Client;
use fairway_api::types::{AttachRequest, Attached, ContainerCreate, ContainerInspect};
use fairway_kernel::namespace;
use fairway_model::parse;

use super::error::CommandError;
use super::list::{created, show_all};
use super::options::SandboxOptions;
use super::print::{ListOptions, each, print_line, warn};

/// What can be done with such sandboxes.
#[derive(Debug, Subcommand)]
pub(super) enum SandboxCommand {
    /// Create a network namespace for 'ip netns exec NAME' and connect it to networks
    Create(Box<CreateSandbox>),
    /// List these sandboxes
    Ls(ListOptions),
    /// Remove these sandboxes and their namespaces
    Rm(RemoveSandboxes),
}

/// The sandbox that is wanted.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(super) struct CreateSandbox {
    #[command(flatten)]
    sandbox: SandboxOptions,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    /// Name of the sandbox and of its namespace
    #[arg(value_parser = parse::name)]
    name: String,
}

/// What is to go.
#[derive(Debug, Args)]
pub(super) struct RemoveSandboxes {
    /// Names or ids
    #[arg(required = true, value_name = "SANDBOX")]
    sandboxes: Vec<String>,
}

impl SandboxCommand {
    pub(super) fn run(self, client: &mut Client) -> Result<i32, CommandError> {
        match self {
            Self::Create(options) => {
                let (name, container) = (options.name, options.sandbox.request()?);
                // Before anything is made, whether anybody is there to ask.
                client.ping()?;
                let attached = attach_new(client, name, container)?;
                attached.warnings.iter().for_each(|text| warn(text));
                print_line(&attached.id)?;
                Ok(0)
            }
            Self::Ls(options) => {
                let found = created(client)?;
                show_all(client, &found, &options)
            }
            Self::Rm(options) => each(&options.sandboxes, |name| {
                let known = client.container(name)?;
                if known.kind != "created" {
                    return Err(CommandError::NotCreated { name: name.to_owned(), kind: known.kind });
                }
                detach_and_remove(client, &known)?;
                print_line(name)
            }),
        }
    }
}

/// Creates a namespace of this name and attaches it; without the sandbox the namespace does not stay.
pub(super) fn attach_new(
    client: &mut Client,
    name: String,
    container: ContainerCreate,
) -> Result<Attached, CommandError> {
    let made = namespace::create_named(&name)?;
    let (path, kind) = (made.path.clone(), "created".to_owned());
    match client.attach(&AttachRequest { name, pid: 0, path, kind, container }) {
        Ok(attached) => Ok(attached),
        Err(error) => {
            namespace::remove_named(&made)?;
            Err(error.into())
        }
    }
}

/// Detaches a sandbox, and removes the namespace that Fairway created for it.
pub(super) fn detach_and_remove(client: &mut Client, known: &ContainerInspect) -> Result<(), CommandError> {
    // None when it is gone already.
    let made = namespace::identity(&known.network_settings.sandbox_key).ok();
    client.detach(&known.id)?;
    if let Some(made) = made {
        namespace::remove_named(&made)?;
    }
    Ok(())
}
