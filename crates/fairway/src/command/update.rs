//! `fairway update` and `rename`.

use clap::Args;
use fairway_api::Client;

use super::command_options::LimitOptions;
use super::error::CommandError;
use super::print::{each, print_line};

/// Which sandboxes to change, and how.
#[derive(Debug, Args)]
pub(super) struct UpdateOptions {
    #[command(flatten)]
    limits: LimitOptions,
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Which sandbox gets which name.
#[derive(Debug, Args)]
pub(super) struct RenameOptions {
    /// Name or id
    container: String,
    /// The new name
    new_name: String,
}

impl UpdateOptions {
    pub(super) fn run(&self, client: &mut Client) -> Result<i32, CommandError> {
        if self.limits.is_empty() {
            return Err(CommandError::NothingToUpdate);
        }
        let update = self.limits.clone().update();
        each(&self.containers, |name| {
            let updated = client.update_container(name, &update).map_err(CommandError::from);
            updated.map_err(|error| error.with_near(client))?;
            print_line(name)
        })
    }
}

impl RenameOptions {
    pub(super) fn run(&self, client: &mut Client) -> Result<i32, CommandError> {
        client.rename(&self.container, &self.new_name)?;
        Ok(0)
    }
}
