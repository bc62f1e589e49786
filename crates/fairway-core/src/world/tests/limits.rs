//! Limits of one request: the last count that is accepted, and the first that is refused.

use std::net::IpAddr;

use crate::world::limit::{
    check_endpoint, check_endpoints, check_network, check_options, check_ports, check_ranges,
};
use crate::world::{CreateNetwork, Refusal};
use fairway_model::{
    EndpointRequest, PortRange, ProcessOptions, Protocol, PublishRequest, SandboxOptions, SubnetRequest,
};

const ENTRIES: usize = 10_000;
const PORTS: usize = 131_070;

/// The list that a check refuses; empty if it accepts.
fn refused(checked: Result<(), Refusal>) -> &'static str {
    match checked {
        Ok(()) => "",
        Err(Refusal::TooMany { what, count, limit }) => {
            assert!(count > limit, "{count} of {limit}");
            what
        }
        Err(other) => panic!("{other}"),
    }
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

fn pairs<T: FromIterator<(String, String)>>(count: usize) -> T {
    names(count).into_iter().map(|name| (name, String::new())).collect()
}

#[test]
fn lists_of_sandboxes_have_limits() {
    let none = SandboxOptions::default;
    let server = IpAddr::from([10, 0, 0, 1]);
    type Options = fn(usize, IpAddr) -> SandboxOptions;
    fn process(process: ProcessOptions) -> SandboxOptions {
        SandboxOptions { process, ..Default::default() }
    }
    let lists: [(&str, Options); 7] = [
        ("DNS servers", |count, server| SandboxOptions { dns: vec![server; count], ..Default::default() }),
        ("DNS search domains", |count, _| SandboxOptions { dns_search: names(count), ..Default::default() }),
        ("DNS options", |count, _| SandboxOptions { dns_options: names(count), ..Default::default() }),
        ("extra hosts", |count, _| SandboxOptions {
            extra_hosts: names(count).into_iter().map(|name| (name, None)).collect(),
            ..Default::default()
        }),
        ("labels", |count, _| SandboxOptions { labels: pairs(count), ..Default::default() }),
        ("sysctls", |count, _| process(ProcessOptions { sysctls: pairs(count), ..Default::default() })),
        ("groups", |count, _| process(ProcessOptions { groups: names(count), ..Default::default() })),
    ];
    assert_eq!(refused(check_options(&none())), "");
    for (what, options) in lists {
        assert_eq!(refused(check_options(&options(ENTRIES, server))), "", "{what}");
        assert_eq!(refused(check_options(&options(ENTRIES + 1, server))), what);
    }
    let exposed = |extra| {
        let all = (1..=u16::MAX).flat_map(|port| [(port, Protocol::Tcp), (port, Protocol::Udp)]);
        SandboxOptions { exposed: all.chain(extra).collect(), ..none() }
    };
    assert_eq!(refused(check_options(&exposed(None))), "");
    assert_eq!(refused(check_options(&exposed(Some((1, Protocol::Sctp))))), "exposed ports");
}

#[test]
fn published_ports_have_a_limit_and_valid_ranges() {
    let request = |first, last| PublishRequest {
        host_address: None,
        host_ports: None,
        container_ports: PortRange { first, last },
        protocol: Protocol::Tcp,
    };
    let all = request(1, u16::MAX);
    let twice = [all.clone(), all.clone()];
    assert_eq!(twice.iter().map(|it| it.container_ports.len()).sum::<usize>(), PORTS);
    assert_eq!(refused(check_ports(&[], &twice)), "");
    assert_eq!(refused(check_ports(&twice[..1], &twice[1..])), "");
    assert_eq!(refused(check_ports(&twice, &[request(5, 5)])), "published ports of a container");
    let options = SandboxOptions { publish: vec![request(0, 5)], ..SandboxOptions::default() };
    for invalid in
        [check_ports(&[], &[request(0, 5)]), check_ports(&[], &[request(6, 5)]), check_options(&options)]
    {
        assert!(matches!(invalid, Err(Refusal::InvalidPorts { .. })), "{invalid:?}");
    }
    let host = PublishRequest { host_ports: Some(PortRange { first: 0, last: 1 }), ..request(5, 6) };
    assert!(matches!(check_ports(&[], &[host]), Err(Refusal::InvalidPorts { first: 0, last: 1 })));
    assert_eq!((refused(check_ranges(256)), refused(check_ranges(257))), ("", "port ranges to unpublish"));
}

#[test]
fn lists_of_endpoints_and_networks_have_limits() {
    let options = |count| EndpointRequest { driver_options: pairs(count), ..Default::default() };
    assert_eq!(refused(check_endpoint(&options(ENTRIES))), "");
    assert_eq!(refused(check_endpoint(&options(ENTRIES + 1))), "driver options");
    let aliases = |last| {
        let all = (0..384).map(|_| "a".repeat(253)).chain([last]);
        EndpointRequest { aliases: all.collect(), ..Default::default() }
    };
    assert_eq!(
        refused(check_endpoint(&EndpointRequest { aliases: names(ENTRIES), ..Default::default() })),
        ""
    );
    assert_eq!(refused(check_endpoint(&aliases(String::new()))), "bytes of aliases");
    type Network = fn(usize) -> CreateNetwork;
    let lists: [(&str, Network); 4] = [
        ("subnets", |count| CreateNetwork {
            subnets: vec![SubnetRequest::default(); count],
            ..Default::default()
        }),
        ("auxiliary addresses", |count| {
            let auxiliary = |count| SubnetRequest {
                auxiliary: names(count).into_iter().map(|name| (name, [10, 0, 0, 1].into())).collect(),
                ..SubnetRequest::default()
            };
            CreateNetwork { subnets: vec![auxiliary(1), auxiliary(count - 1)], ..Default::default() }
        }),
        ("options", |count| CreateNetwork { options: pairs(count), ..Default::default() }),
        ("labels", |count| CreateNetwork { labels: pairs(count), ..Default::default() }),
    ];
    for (what, request) in lists {
        assert_eq!(refused(check_network(&request(ENTRIES))), "", "{what}");
        assert_eq!(refused(check_network(&request(ENTRIES + 1))), what);
    }
}

#[test]
fn the_endpoints_of_a_sandbox_have_limits_together() {
    let networks = |count| vec![EndpointRequest::default(); count];
    assert_eq!(refused(check_endpoints(networks(512).iter())), "");
    assert_eq!(refused(check_endpoints(networks(513).iter())), "networks of a container");
    let links = |target: &str, count| {
        let links = vec![(target.to_owned(), "db".to_owned()); count];
        [EndpointRequest { links, ..Default::default() }, EndpointRequest::default()]
    };
    // 64 KiB, of which each takes 80 bytes, 9 or 24 for the target and 5 for the alias.
    assert_eq!(refused(check_endpoints(links("target", 697).iter())), "");
    assert_eq!(refused(check_endpoints(links("target", 698).iter())), "bytes of links");
    assert_eq!(refused(check_endpoints(links("\n\"\\xyz", 601).iter())), "");
    assert_eq!(refused(check_endpoints(links("\n\"\\xyz", 602).iter())), "bytes of links");
}
