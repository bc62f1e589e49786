//! Subnets of ptp networks.

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};

use fairway_model::SubnetRequest;

use super::{CreateNetwork, Refusal};

/// The requested subnets of a ptp network. Without an IPv4 subnet it is any /31 (RFC 3021).
pub(super) fn asked(request: &CreateNetwork) -> Result<Vec<SubnetRequest>, Refusal> {
    if let Some(gateway) = request.subnets.iter().find_map(|subnet| subnet.gateway) {
        return Err(Refusal::GatewayOnPair(gateway));
    }
    let mut subnets = request.subnets.clone();
    let names_ipv4 = subnets.iter().any(|subnet| subnet.subnet.is_none_or(|net| net.addr().is_ipv4()));
    if request.enable_ipv4.unwrap_or(true) && !names_ipv4 {
        let any = Ipv4Net::new(Ipv4Addr::UNSPECIFIED, 31).ok().map(IpNet::V4);
        subnets.push(SubnetRequest { subnet: any, ..SubnetRequest::default() });
    }
    Ok(subnets)
}
