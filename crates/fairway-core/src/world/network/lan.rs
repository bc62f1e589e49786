//! Creation of lan networks.

use std::net::IpAddr;

use crate::ipam;
use crate::world::option::{DHCP, PARENT};
use crate::world::{CreateNetwork, NetworkOptions, Refusal, World};
use fairway_model::Rng;
use fairway_model::SubnetRequest;
use fairway_model::{Driver, Network, Subnet, Uplink};

/// The name of the host's addresses among the auxiliary addresses, which are never allocated.
const HOST_ADDRESS: &str = "host";

impl World {
    /// The network with this uplink or macvlan parent.
    fn holder_of(&self, parent: &str) -> Option<&Network> {
        let holds = |network: &&Network| {
            network.uplink.as_ref().is_some_and(|it| it.parent == parent)
                || network.macvlan.as_ref().is_some_and(|it| it.parent == parent)
        };
        self.networks().find(holds)
    }

    /// The uplink of a new lan network; none for other drivers.
    pub(super) fn uplink(
        &self,
        request: &CreateNetwork,
        options: &NetworkOptions,
        driver: Driver,
    ) -> Result<Option<Uplink>, Refusal> {
        if driver != Driver::Lan {
            return Ok(None);
        }
        let refused = |name: &str, value: &str, reason: &str| Refusal::InvalidOption {
            name: name.to_owned(),
            value: value.to_owned(),
            reason: reason.to_owned(),
        };
        let Some(parent) = &options.parent else {
            let reason = "a lan network needs the interface that leads to its LAN: add -o parent=eth0";
            return Err(refused(PARENT, "", reason));
        };
        if request.internal || options.internal {
            return Err(refused("internal", "true", "a lan network cannot be internal: drop --internal"));
        }
        if options.icc == Some(false) {
            let reason = "hosts on a LAN reach one another: drop the option";
            return Err(refused("com.docker.network.bridge.enable_icc", "false", reason));
        }
        if let Some(holder) = self.holder_of(parent) {
            return Err(Refusal::ParentTaken { parent: parent.clone(), holder: holder.name.clone() });
        }
        let found = request.uplink.as_deref().filter(|uplink| uplink.parent == *parent);
        let uplink = found.ok_or_else(|| Refusal::NoParent(parent.clone()))?.clone();
        match uplink.unusable {
            Some(reason) => Err(Refusal::ParentUnfit { parent: parent.clone(), reason }),
            None => Ok(Some(uplink)),
        }
    }

    /// The subnets of a lan network: as requested, else those of the uplink's addresses. The gateway is that of the LAN.
    pub(super) fn lan_subnets(
        &self,
        request: &CreateNetwork,
        uplink: &Uplink,
        families: [bool; 2],
        rng: &mut Rng,
    ) -> Result<Vec<Subnet>, Refusal> {
        let mut completed = Vec::new();
        let mut routers: [Option<IpAddr>; 2] = [None, None];
        for (ipv4, enabled) in [(true, families[0]), (false, families[1])] {
            let of_family =
                |asked: &&SubnetRequest| asked.subnet.map_or(ipv4, |subnet| subnet.addr().is_ipv4() == ipv4);
            let asked = request.subnets.iter().find(of_family);
            if !enabled {
                completed.extend(asked.cloned());
                continue;
            }
            let mut wanted = asked.cloned().unwrap_or_default();
            let missing = |what| Refusal::LanUnknown { parent: uplink.parent.clone(), what };
            let own = uplink.address(ipv4).map(|address| address.trunc());
            let family = if ipv4 {
                "IPv4 address: name the LAN's --subnet"
            } else {
                "IPv6 address: name the LAN's --subnet"
            };
            let subnet = wanted.subnet.or(own).ok_or_else(|| missing(family))?;
            wanted.subnet = Some(subnet);
            let gateway = wanted.gateway.or(uplink.gateway(ipv4));
            let gateway =
                gateway.ok_or_else(|| missing("default route: name the LAN's --subnet and --gateway"))?;
            // An IPv6 router has a link-local address, which is in no subnet.
            wanted.gateway = Some(gateway).filter(|gateway| subnet.contains(gateway));
            routers[usize::from(!ipv4)] = Some(gateway);
            for (number, address) in uplink.addresses.iter().map(|address| address.addr()).enumerate() {
                let known =
                    wanted.gateway == Some(address) || wanted.auxiliary.values().any(|it| *it == address);
                if subnet.contains(&address) && !known {
                    let number = if number == 0 { String::new() } else { number.to_string() };
                    wanted.auxiliary.insert(format!("{HOST_ADDRESS}{number}"), address);
                }
            }
            completed.push(wanted);
        }
        let [enable_ipv4, enable_ipv6] = families;
        let taken = self.taken_subnets(None);
        let (name, settings, host) = (&request.name, &self.settings, &self.host);
        let mut subnets =
            ipam::allocate_subnets(name, &completed, enable_ipv4, enable_ipv6, settings, host, &taken, rng)?;
        for subnet in &mut subnets {
            if let Some(router) = routers[usize::from(subnet.subnet.addr().is_ipv6())] {
                subnet.gateway = router;
            }
        }
        Ok(subnets)
    }
}

/// Refuses `fairway.dhcp` without a DHCP server, without IPv4, and with an address range.
pub(super) fn check_dhcp(
    request: &CreateNetwork,
    options: &NetworkOptions,
    driver: Driver,
    enable_ipv4: bool,
) -> Result<(), Refusal> {
    let of_ipv4 = |range: fairway_model::IpRange| range.is_ipv4();
    let ranged = request.subnets.iter().any(|asked| asked.ip_range.is_some_and(of_ipv4));
    let reason = match (driver, enable_ipv4, ranged) {
        _ if !options.bridge.dhcp => return Ok(()),
        (Driver::Lan, true, false) => return Ok(()),
        (Driver::Lan, true, true) => "addresses come from the DHCP server: drop the IPv4 --ip-range",
        (Driver::Lan, false, _) => "leases are of IPv4 addresses: drop --ipv4=false",
        _ => "only networks of the driver lan use a DHCP server: add -d lan",
    };
    let value = request.options.get(DHCP).cloned().unwrap_or_default();
    Err(Refusal::InvalidOption { name: DHCP.to_owned(), value, reason: reason.to_owned() })
}

/// Warnings about subnets without an address range, whose addresses a DHCP server may allocate too.
pub(super) fn warnings(uplink: &Uplink, subnets: &[Subnet]) -> Vec<String> {
    let whole = subnets.iter().filter(|subnet| subnet.ip_range.is_none() && subnet.subnet.addr().is_ipv4());
    whole
        .map(|subnet| {
            format!(
                "addresses are allocated from all of {} on the LAN of {}: add an --ip-range that no DHCP server there allocates from",
                subnet.subnet, uplink.parent
            )
        })
        .collect()
}

#[cfg(test)]
mod tests;
