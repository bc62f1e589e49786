//! Limits of one request. A request is worked on while other requests wait, is stored, and is sent to the kernel and the
//! relay.

use super::{CreateNetwork, Refusal};
use fairway_model::{EndpointRequest, PublishRequest, SandboxOptions};

/// The maximum number of published ports of a sandbox: all of TCP and all of UDP.
const PORTS: usize = 2 * 65_535;
/// The maximum number of entries of one list, such as names, addresses or options.
const ENTRIES: usize = 10_000;
/// The maximum number of networks of a sandbox. What it may resolve is one message to the relay, of 128 KiB.
const NETWORKS: usize = 512;
/// The maximum length of the aliases of an endpoint, which are one message to the relay.
const ALIAS_BYTES: usize = 96 * 1024;
/// The maximum length of the links of a sandbox, which are in one message with its networks.
const LINK_BYTES: usize = 64 * 1024;
/// What a message holds for a link besides its texts: the id of its network, and punctuation.
const LINK: usize = 80;
/// The maximum number of port ranges of one `unpublish`, since each is compared with each port.
const RANGES: usize = 256;

fn check(what: &'static str, count: usize, limit: usize) -> Result<(), Refusal> {
    match count > limit {
        true => Err(Refusal::TooMany { what, count, limit }),
        false => Ok(()),
    }
}

fn check_entries<const N: usize>(lists: [(&'static str, usize); N]) -> Result<(), Refusal> {
    lists.into_iter().try_for_each(|(what, count)| check(what, count, ENTRIES))
}

/// Checks the ports of publish requests: each range, and the number of ports with those of `before`.
pub(super) fn check_ports(before: &[PublishRequest], requests: &[PublishRequest]) -> Result<(), Refusal> {
    let ranges = |request: &PublishRequest| [Some(request.container_ports), request.host_ports];
    for range in requests.iter().flat_map(ranges).flatten() {
        if range.first == 0 || range.last < range.first {
            return Err(Refusal::InvalidPorts { first: range.first, last: range.last });
        }
    }
    let ports = before.iter().chain(requests).map(|request| request.container_ports.len());
    check("published ports of a container", ports.sum(), PORTS)
}

/// Checks the number of ranges of one `unpublish`.
pub(super) fn check_ranges(count: usize) -> Result<(), Refusal> {
    check("port ranges to unpublish", count, RANGES)
}

/// Checks the lists of a new sandbox.
pub(super) fn check_options(options: &SandboxOptions) -> Result<(), Refusal> {
    check_ports(&[], &options.publish)?;
    check("exposed ports", options.exposed.len(), PORTS)?;
    check_entries([
        ("DNS servers", options.dns.len()),
        ("DNS search domains", options.dns_search.len()),
        ("DNS options", options.dns_options.len()),
        ("extra hosts", options.extra_hosts.len()),
        ("labels", options.labels.len()),
        ("sysctls", options.process.sysctls.len()),
        ("groups", options.process.groups.len()),
    ])
}

/// Checks the lists of a new endpoint.
pub(super) fn check_endpoint(request: &EndpointRequest) -> Result<(), Refusal> {
    let aliases = request.aliases.iter().map(|alias| text_bytes(alias)).sum();
    check("bytes of aliases", aliases, ALIAS_BYTES)?;
    check_entries([("driver options", request.driver_options.len())])
}

/// Checks what the endpoints of one sandbox are together.
pub(super) fn check_endpoints<'a>(
    requests: impl Iterator<Item = &'a EndpointRequest> + Clone,
) -> Result<(), Refusal> {
    check("networks of a container", requests.clone().count(), NETWORKS)?;
    let links = requests.flat_map(|request| &request.links);
    let bytes = links.map(|(target, alias)| LINK + text_bytes(target) + text_bytes(alias)).sum();
    check("bytes of links", bytes, LINK_BYTES)
}

/// The length of a text in JSON, with quotes and a comma.
fn text_bytes(text: &str) -> usize {
    let escaped = |byte: &u8| byte.is_ascii_control() || matches!(byte, b'"' | b'\\');
    text.len() + 5 * text.bytes().filter(escaped).count() + 3
}

/// Checks the lists of a new network.
pub(super) fn check_network(request: &CreateNetwork) -> Result<(), Refusal> {
    let auxiliary = request.subnets.iter().map(|subnet| subnet.auxiliary.len()).sum();
    check_entries([
        ("subnets", request.subnets.len()),
        ("auxiliary addresses", auxiliary),
        ("options", request.options.len()),
        ("labels", request.labels.len()),
    ])
}
