//! The commands: attach, detach, compare, clean up.

use std::collections::BTreeMap;

use fairway_api::filter::Filters;
use fairway_api::types::{ContainerInspect, EndpointSettings, JoinRequest, LeaveRequest};
use fairway_api::{Client, ClientError};
use fairway_model::ENGINE_LABEL;

use super::check::{self, Seen};
use super::configuration::Configuration;
use super::delegate::Plugin;
use super::describe::{self, ENGINE, INTERFACE};
use super::environment::Environment;
use super::error::Error;
use super::ipam::Addressing;
use super::result::Outcome;
use crate::face::container_id::{CONTAINER_LABEL, sandbox_id};
use crate::face::daemon::{self, Place};

/// What a request asks.
#[derive(Debug)]
pub struct Request {
    /// The variables.
    pub environment: Environment,
    /// The configuration.
    pub configuration: Configuration,
    /// The configuration as it came.
    pub text: Vec<u8>,
    /// Where the caller runs.
    pub place: Place,
    /// Whether the caller binds the published ports itself.
    pub holds_ports: bool,
}

impl Request {
    /// Asks the daemon, and once more if it ends before it answers.
    fn ask<T>(&self, mut ask: impl FnMut(&mut Client) -> Result<T, ClientError>) -> Result<T, Error> {
        match self.configuration.host.as_str() {
            "" => Ok(daemon::ask(&self.place, ask)?),
            address => Ok(ask(&mut Client::new(address)?)?),
        }
    }

    /// Asks the daemon, unless none runs and nothing of one is left.
    fn ask_if_any(&self, ask: impl FnMut(&mut Client) -> Result<(), ClientError>) -> Result<(), Error> {
        let _: Option<()> = match self.configuration.host.as_str() {
            "" => daemon::ask_if_any(&self.place, ask)?,
            _ => Some(self.ask(ask)?),
        };
        Ok(())
    }

    fn plugin(&self) -> Result<Option<Plugin<'_>>, Error> {
        let name = self.configuration.delegate();
        name.map(|name| Plugin::find(name, &self.environment, &self.text)).transpose()
    }

    fn network(&self) -> &str {
        &self.configuration.name
    }

    /// Attaches the container.
    ///
    /// # Errors
    /// Nothing is attached then, and no address taken.
    pub fn add(&self) -> Result<Outcome, Error> {
        self.configuration.check_supported()?;
        let previous = self.previous()?;
        let plugin = self.plugin()?;
        self.environment.check_namespace()?;
        let addressing = match &plugin {
            Some(plugin) => Addressing::of_plugin(plugin.add()?),
            None => Addressing::built_in(&self.configuration, &self.environment.arguments.addresses),
        };
        let attached = addressing.and_then(|addressing| self.join(&addressing));
        if let (Err(_), Some(plugin)) = (&attached, &plugin) {
            // The reason of the failure says more than one of this.
            let _ = plugin.delete();
        }
        let own = attached?;
        Ok(match previous {
            Some(mut previous) => {
                previous.extend(own);
                previous
            }
            None => own,
        })
    }

    fn join(&self, addressing: &Addressing) -> Result<Outcome, Error> {
        let addressing = addressing.clone().with_name_servers(&self.configuration)?;
        let described = describe::join(&self.environment, &self.configuration, &addressing)?;
        let request = JoinRequest { ports_held: self.holds_ports, ..described };
        let leave = LeaveRequest { id: request.id.clone(), networks: vec![self.network().to_owned()] };
        let attached = match self.configuration.host.as_str() {
            "" => daemon::join(&self.place, &request, &leave)?,
            address => Client::new(address)?.join(&request)?,
        };
        if let Some(error) = ignored_option(&request, &attached.warnings) {
            self.ask(|client| client.leave(&leave))?;
            return Err(error);
        }
        Ok(describe::outcome(&self.environment, &self.configuration, &addressing, &attached))
    }

    /// The result of the plugins before this one.
    fn previous(&self) -> Result<Option<Outcome>, Error> {
        let Some(value) = &self.configuration.prev_result else { return Ok(None) };
        let previous = Outcome::of_value("prevResult", value)?;
        match previous.in_sandbox(&self.environment.interface) {
            None => Ok(Some(previous)),
            Some(_) => Err(Error::Unsupported {
                key: "prevResult".to_owned(),
                reason: format!(
                    "another plugin made interface {}, and Fairway publishes ports and names of interfaces that it makes: put fairway-cni in the place of that plugin, first in the list",
                    self.environment.interface
                ),
            }),
        }
    }

    /// Detaches the container, if it is attached.
    ///
    /// # Errors
    /// The daemon or the IPAM plugin fails.
    pub fn delete(&self) -> Result<(), Error> {
        let id = sandbox_id(ENGINE, &self.environment.container_id).to_string();
        let leave = LeaveRequest { id: id.clone(), networks: vec![self.network().to_owned()] };
        self.ask_if_any(|client| match known(client, &id)? {
            Some(container) if self.has_attachment(&container) => client.leave(&leave),
            _ => Ok(()),
        })?;
        match self.plugin()? {
            Some(plugin) => plugin.delete(),
            None => Ok(()),
        }
    }

    /// Whether a container is on the network by the interface of this request.
    fn has_attachment(&self, container: &ContainerInspect) -> bool {
        let endpoint = container.network_settings.networks.get(self.network());
        endpoint.and_then(interface) == Some(self.environment.interface.as_str())
    }

    /// Compares what exists with the result of ADD.
    ///
    /// # Errors
    /// [`Error::Check`] names the difference.
    pub fn check(&self) -> Result<(), Error> {
        let Some(value) = &self.configuration.prev_result else {
            return Err(Error::Invalid("CHECK takes the result of ADD: prevResult is missing".to_owned()));
        };
        let expected = Outcome::of_value("prevResult", value)?;
        let id = sandbox_id(ENGINE, &self.environment.container_id).to_string();
        let container = self.ask(|client| known(client, &id))?.filter(|known| self.has_attachment(known));
        let Some(container) = container else {
            let text = format!(
                "container {} is not attached to network {} by {}",
                self.environment.container_id,
                self.network(),
                self.environment.interface
            );
            return Err(Error::Check(text));
        };
        let ports = describe::ports(&self.configuration.runtime_config.port_mappings)?;
        check::check_container(&container, self.network(), &expected, &ports)?;
        Seen::read(&self.environment.netns)?.check(&self.environment.interface, &expected)?;
        match self.plugin()? {
            Some(plugin) => plugin.ask("CHECK"),
            None => Ok(()),
        }
    }

    /// Detaches all containers from the network but those of the valid attachments.
    ///
    /// # Errors
    /// The daemon or the IPAM plugin fails; the others are detached nevertheless.
    pub fn collect_garbage(&self) -> Result<(), Error> {
        let Some(valid) = &self.configuration.valid_attachments else {
            return Err(Error::Invalid(
                "GC takes the attachments to keep: cni.dev/valid-attachments is missing".to_owned(),
            ));
        };
        let valid: Vec<_> =
            valid.iter().map(|it| (sandbox_id(ENGINE, &it.container_id).to_string(), &it.ifname)).collect();
        let filters = Filters::default().with("label", &format!("{ENGINE_LABEL}={ENGINE}"));
        let containers = self.ask(|client| client.containers(true, &filters))?;
        let plugin = self.plugin()?;
        let mut outcome = Ok(());
        for container in containers {
            let endpoint = container.network_settings.networks.get(self.network());
            let Some(interface) = endpoint.and_then(interface) else { continue };
            if valid.iter().any(|(id, name)| *id == container.id && *name == interface) {
                continue;
            }
            let leave = LeaveRequest { id: container.id.clone(), networks: vec![self.network().to_owned()] };
            outcome = outcome.and(self.ask(|client| client.leave(&leave)));
            let given = container.labels.get(CONTAINER_LABEL);
            if let (Some(plugin), Some(given)) = (&plugin, given) {
                outcome = outcome.and(plugin.delete_of(given, interface));
            }
        }
        outcome
    }

    /// Whether containers can be attached.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn status(&self) -> Result<(), Error> {
        let unavailable = |error| Error::Unavailable(Box::new(error));
        self.configuration.check_supported()?;
        self.ask(Client::ping).map_err(unavailable)?;
        self.plugin().map(drop).map_err(unavailable)
    }
}

/// Whether a runtime of this name (proc_pid_comm(5)) binds the published ports itself, after ADD: podman does, and has its
/// conmon hold them.
pub fn holds_ports(runtime: &str) -> bool {
    runtime.trim_end() == "podman"
}

/// The interface that the runtime named.
fn interface(endpoint: &EndpointSettings) -> Option<&str> {
    endpoint.driver_opts.as_ref()?.get(INTERFACE).map(String::as_str)
}

/// The option that the daemon does not know and therefore ignores, as one of another version does.
fn ignored_option(request: &JoinRequest, warnings: &[String]) -> Option<Error> {
    let endpoints = request.container.networking_config.endpoints_config.iter();
    let options = endpoints.flat_map(|(_, settings)| settings.driver_opts.iter().flat_map(BTreeMap::keys));
    let of_networks = request.networks.iter().flat_map(|network| network.options.keys());
    options.chain(of_networks).find_map(|key| {
        let unknown = format!("option {key} is unknown");
        let warning = warnings.iter().find(|warning| warning.contains(&unknown))?;
        Some(Error::Unsupported { key: key.clone(), reason: warning.clone() })
    })
}

fn known(client: &mut Client, id: &str) -> Result<Option<ContainerInspect>, ClientError> {
    match client.container(id) {
        Ok(known) => Ok(Some(known)),
        Err(ClientError::Refused { status: 404, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
