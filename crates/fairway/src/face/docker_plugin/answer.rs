//! Answers the calls of dockerd by commands of the engine.

use std::sync::Arc;
use std::time::Duration;

use fairway_api::{Applied, Failure};
use fairway_core::world::Command;
use fairway_model::RefusalKind;
use serde_json::{Value, json};

use super::call::Call;
use super::collect::Collector;
use super::created::Created;
use super::describe;
use super::error::Error;
use super::pools;
use super::protocol::{self, Interface};
use crate::daemon::PluginEngine;

/// How often a request looks whether the daemon has started.
const GLANCE: Duration = Duration::from_millis(2);

/// The plugin.
pub struct Plugin {
    engine: Arc<dyn PluginEngine>,
    collector: Arc<Collector>,
    created: Created,
}

impl Plugin {
    /// The plugin of an engine.
    pub fn new(engine: Arc<dyn PluginEngine>, collector: Arc<Collector>, created: Created) -> Self {
        Self { engine, collector, created }
    }

    /// Answers a call.
    ///
    /// # Errors
    /// The engine refuses, or the call makes no sense.
    pub fn answer(&self, call: Call) -> Result<Value, Error> {
        while !self.engine.is_started() {
            std::thread::sleep(GLANCE);
        }
        match call {
            Call::Activate => return Ok(json!({"Implements": ["NetworkDriver", "IpamDriver"]})),
            Call::NetworkCapabilities => return Ok(json!({"Scope": "local", "ConnectivityScope": "local"})),
            // The plugin remembers pools and addresses: dockerd need not request them again when it starts.
            Call::IpamCapabilities => {
                return Ok(json!({"RequiresMACAddress": false, "RequiresRequestReplay": false}));
            }
            Call::AddressSpaces => return Ok(pools::address_spaces()),
            Call::RequestPool(request) => {
                let allocated = self.execute_or_collect(&pools::request_pool(&request)?)?.allocated;
                return pools::pool(allocated);
            }
            Call::RequestAddress(request) => {
                let allocated = self.execute_or_collect(&pools::request_address(&request)?)?.allocated;
                return pools::address(allocated);
            }
            Call::ReleasePool(request) => self.execute_if_known(pools::release_pool(&request)?)?,
            Call::ReleaseAddress(request) => self.execute_if_known(pools::release_address(&request)?)?,
            Call::CreateNetwork(request) => drop(self.execute_or_collect(&describe::network(request)?)?),
            Call::DeleteNetwork(request) => self.delete_network(&request.network)?,
            Call::CreateEndpoint(request) => return self.create_endpoint(&request),
            Call::Join(request) => return self.join(&request),
            Call::EndpointInfo(_) => return Ok(json!({"Value": {}})),
            // The link is moved back to the host after this, and deleted with the endpoint.
            Call::Leave(_) | Call::Discover => {}
            Call::DeleteEndpoint(request) => self.delete_endpoint(&request.endpoint)?,
            Call::ProgramExternalConnectivity(request) => {
                drop(self.execute_or_collect(&describe::external_connectivity(&request)?)?);
            }
            Call::RevokeExternalConnectivity(request) => {
                let endpoint = describe::endpoint_id(&request.endpoint)?;
                self.execute_if_known(Command::ExternalConnectivity { endpoint, ports: None })?;
            }
        }
        Ok(json!({}))
    }

    fn execute(&self, command: Command) -> Result<Applied, Failure> {
        let applied = self.engine.execute_for_plugin(command)?;
        for warning in &applied.warnings {
            tracing::warn!("Docker plugin: {warning}");
        }
        Ok(applied)
    }

    /// Executes a command. Where something is taken, what dockerd no longer has is removed, and it is tried once more.
    fn execute_or_collect(&self, command: &Command) -> Result<Applied, Failure> {
        match self.execute(command.clone()) {
            Err(failure) if failure.kind == RefusalKind::Forbidden.into() => {
                self.collector.collect(&*self.engine);
                self.execute(command.clone())
            }
            result => result,
        }
    }

    /// Executes a command that removes something, which may be gone.
    fn execute_if_known(&self, command: Command) -> Result<(), Failure> {
        match self.execute(command) {
            Err(failure) if failure.kind == RefusalKind::NotFound.into() => Ok(()),
            result => result.map(drop),
        }
    }

    /// Removes a network, with the endpoints that dockerd no longer has: it removes a network only without any.
    fn delete_network(&self, id: &str) -> Result<(), Error> {
        let id = describe::network_id(id)?;
        let endpoints = self.engine.look(|world| {
            describe::endpoints_of_docker(world, id).map(|(endpoint, _)| endpoint.id).collect::<Vec<_>>()
        });
        for endpoint in endpoints.into_iter().flatten() {
            self.execute_if_known(Command::DeleteEndpoint { endpoint })?;
        }
        Ok(self.execute_if_known(Command::RemoveNetwork { network: id.to_string() })?)
    }

    fn create_endpoint(&self, request: &protocol::CreateEndpoint) -> Result<Value, Error> {
        let (id, endpoint, chosen) = describe::endpoint(request)?;
        let network = describe::network_id(&request.network)?;
        if self.engine.look(|world| world.network(network).is_none()).unwrap_or(false) {
            return Err(Error::UnknownNetwork(network.short()));
        }
        self.created.insert(id, &endpoint).map_err(Error::Remember)?;
        let mac_address = chosen.map(|mac| mac.to_string()).unwrap_or_default();
        Ok(json!({"Interface": Interface { mac_address, ..Interface::default() }}))
    }

    fn join(&self, request: &protocol::Join) -> Result<Value, Error> {
        let id = describe::endpoint_id(&request.endpoint)?;
        let endpoint = self.created.take(id).ok_or_else(|| Error::NotCreated(id.short()))?;
        self.collector.joins(id);
        let network = describe::network_id(&request.network)?;
        let replaced = self.engine.look(|world| describe::replaced(world, network, &endpoint));
        for endpoint in replaced.into_iter().flatten() {
            self.execute_if_known(Command::DeleteEndpoint { endpoint })?;
        }
        self.execute(describe::join(request, endpoint)?)?;
        match self.engine.look(|world| describe::joined(world, id)).transpose() {
            Ok(Some(Some(joined))) => {
                self.collector.joined();
                Ok(json!(joined))
            }
            Ok(_) => Err(Error::NotCreated(id.short())),
            Err(error) => {
                self.execute_if_known(Command::DeleteEndpoint { endpoint: id })?;
                Err(error)
            }
        }
    }

    fn delete_endpoint(&self, id: &str) -> Result<(), Error> {
        let endpoint = describe::endpoint_id(id)?;
        self.created.take(endpoint);
        Ok(self.execute_if_known(Command::DeleteEndpoint { endpoint })?)
    }
}
