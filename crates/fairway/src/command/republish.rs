//! `fairway publish` and `unpublish`: what Docker can only set when it creates.

use clap::Args;
use fairway_api::types::PublishedPorts;
use fairway_api::{Client, encode};
use fairway_model::UnpublishRequest;
use fairway_model::parse;

use super::error::CommandError;
use super::options::Published;
use super::port;
use super::print::{print, warn};

/// Which ports to publish.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  fairway publish web 8080:80             on all addresses of the host
  fairway publish web 127.0.0.1:8080:80   on one
  fairway publish web 7000-7009:7000-7009/udp")]
pub(super) struct PublishOptions {
    /// Sandbox, running or not
    container: String,
    /// Ports ([ADDRESS:][HOSTPORT:]PORT[/tcp|/udp], also ranges)
    #[arg(required = true, value_name = "PORT")]
    ports: Vec<Published>,
}

/// Which ports to publish no more.
#[derive(Debug, Args)]
pub(super) struct UnpublishOptions {
    /// Sandbox, running or not
    container: String,
    /// Ports ([ADDRESS:]HOSTPORT[:PORT][/tcp|/udp], also ranges; HOSTPORT 0: any that leads to PORT)
    #[arg(required = true, value_name = "HOSTPORT", value_parser = parse::unpublish)]
    ports: Vec<UnpublishRequest>,
}

impl PublishOptions {
    pub(super) fn run(self, client: &mut Client) -> Result<i32, CommandError> {
        let requests: Vec<_> = self.ports.into_iter().flat_map(|it| it.0).collect();
        print_published(&client.publish(&self.container, encode::port_bindings(&requests))?)
    }
}

impl UnpublishOptions {
    pub(super) fn run(&self, client: &mut Client) -> Result<i32, CommandError> {
        print_published(&client.unpublish(&self.container, encode::unpublish_bindings(&self.ports))?)
    }
}

fn print_published(published: &PublishedPorts) -> Result<i32, CommandError> {
    published.warnings.iter().for_each(|text| warn(text));
    print(&port::all(&published.ports))?;
    Ok(0)
}
