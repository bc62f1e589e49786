//! Networks on an existing bridge.

use ipnet::IpNet;

use fairway_model::HostFacts;
use fairway_model::SubnetRequest;

/// The addresses of an existing bridge; none if there is no bridge of that name, so that Fairway creates it.
pub fn adopted(host: &HostFacts, bridge: &str) -> Option<Vec<IpNet>> {
    host.bridges.iter().any(|name| name == bridge).then(|| host.addresses_of(bridge).collect())
}

/// The requested subnets of a network on an existing bridge: a family without a requested subnet gets that of the
/// bridge's address, and the gateway of a subnet is the bridge's address in it.
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
        // A request without a subnet is of the first enabled family.
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
