//! Networks that hold the configuration of others: `--config-only` and `--config-from`.

use crate::world::configure::predefined;
use crate::world::{CreateNetwork, NetworkOptions, Refusal, World};
use fairway_model::{Driver, Network, NetworkConfiguration, NetworkId};

/// A network that holds a configuration and is nothing itself. As in Docker it has the driver `null`.
pub(super) fn network(request: CreateNetwork, id: NetworkId, now: i64) -> Result<Network, Refusal> {
    if request.config_from.is_some() {
        return Err(Refusal::ConfigurationOfConfiguration);
    }
    // Where it is used it is checked with its driver.
    NetworkOptions::parse(&request.options)?;
    let CreateNetwork { subnets, enable_ipv4, enable_ipv6, .. } = request;
    Ok(Network {
        predefined: false,
        internal: request.internal,
        enable_ipv4: enable_ipv4.unwrap_or(true),
        enable_ipv6: enable_ipv6.unwrap_or(false),
        configuration: Some(NetworkConfiguration { subnets, enable_ipv4, enable_ipv6 }),
        ipam_options: request.ipam_options,
        options: request.options,
        labels: request.labels,
        ..predefined(id, &request.name, Driver::Null, now)
    })
}

impl World {
    /// The request with the configuration that it names. As in Docker it has none of its own then.
    pub(super) fn with_configuration(&self, request: CreateNetwork) -> Result<CreateNetwork, Refusal> {
        let Some(reference) = &request.config_from else { return Ok(request) };
        let from = self.find_network(reference)?;
        let Some(configuration) = &from.configuration else {
            return Err(Refusal::NoConfiguration(from.name.clone()));
        };
        let own = CreateNetwork {
            name: request.name.clone(),
            driver: request.driver.clone(),
            config_from: request.config_from.clone(),
            // The API always gives a value, which is the default one.
            enable_ipv4: request.enable_ipv4.filter(|ipv4| *ipv4),
            enable_ipv6: request.enable_ipv6.filter(|ipv6| !ipv6),
            uplink: request.uplink.clone(),
            parent: request.parent.clone(),
            ..CreateNetwork::default()
        };
        if own != request {
            return Err(Refusal::OwnConfiguration { network: request.name, from: from.name.clone() });
        }
        Ok(CreateNetwork {
            subnets: configuration.subnets.clone(),
            enable_ipv4: configuration.enable_ipv4,
            enable_ipv6: configuration.enable_ipv6,
            internal: from.internal,
            ipam_options: from.ipam_options.clone(),
            options: from.options.clone(),
            labels: from.labels.clone(),
            config_from: Some(from.name.clone()),
            ..own
        })
    }

    /// Refuses the removal of a configuration that a network has.
    pub(super) fn check_configuration_is_unused(&self, network: &Network) -> Result<(), Refusal> {
        let uses = |other: &&Network| other.config_from.as_ref() == Some(&network.name);
        match self.networks().find(uses).filter(|_| network.configuration.is_some()) {
            Some(user) => {
                Err(Refusal::ConfigurationInUse { network: network.name.clone(), user: user.name.clone() })
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
