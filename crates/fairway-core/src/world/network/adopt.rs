//! Networks on a bridge that is the user's own.

use ipnet::IpNet;

use fairway_model::HostFacts;
use fairway_model::SubnetRequest;

/// The addresses of a bridge of the host's own; none if there is no such bridge, and one is made.
pub fn adopted(host: &HostFacts, bridge: &str) -> Option<Vec<IpNet>> {
    host.bridges.iter().any(|name| name == bridge).then(|| host.addresses_of(bridge).collect())
}

/// What is asked of subnets where the bridge has addresses: a family of which no subnet is asked for
/// has the bridge's own, and the gateway of a subnet is the address that the bridge has in it.
pub fn with_own_addresses(
    asked: &[SubnetRequest],
    addresses: Option<&[IpNet]>,
    enable_ipv4: bool,
    enable_ipv6: bool,
) -> Vec<SubnetRequest> {
    let mut requests = asked.to_vec();
    for address in addresses.unwrap_or_default() {
        let v6 = address.addr().is_ipv6();
        if !(if v6 { enable_ipv6 } else { enable_ipv4 }) {
            continue;
        }
        // One without a subnet is of the first family, as where none is adopted.
        let is_v6 = |request: &SubnetRequest| request.subnet.map_or(!enable_ipv4, |it| it.addr().is_ipv6());
        match requests.iter_mut().find(|request| is_v6(request) == v6) {
            Some(request) => complete(request, *address),
            None => {
                let mut request = SubnetRequest::default();
                complete(&mut request, *address);
                requests.push(request);
            }
        }
    }
    requests
}

fn complete(request: &mut SubnetRequest, address: IpNet) {
    let subnet = *request.subnet.get_or_insert(address.trunc());
    if request.gateway.is_none() && subnet.contains(&address.addr()) {
        request.gateway = Some(address.addr());
    }
}
