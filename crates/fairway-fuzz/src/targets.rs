//! The targets, by name.

use std::str;

use fairway_api::types::{AttachRequest, ContainerCreate, ContainerUpdate, JoinRequest, NetworkCreate};
use fairway_core::dhcp;
use fairway_kernel::duplicate_address;
use fairway_model::{MacAddress, NameServer, ResolvConf, SandboxKind, parse};

/// A parser, and what sends it bytes.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name, which is that of its corpus and of its cargo-fuzz target.
    pub name: &'static str,
    /// Parses any bytes.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 16] = [
    Target { name: "aardvark_file", run: fairway::face::aardvark::fuzz },
    Target { name: "api_container", run: api_container },
    Target { name: "api_network", run: api_network },
    Target { name: "api_request", run: fairway_api::fuzz },
    Target { name: "arp_frame", run: arp_frame },
    Target { name: "cni_configuration", run: fairway::face::cni::fuzz },
    Target { name: "command_line_values", run: command_line_values },
    Target { name: "declaration", run: fairway::command::fuzz_declaration },
    Target { name: "dhcp_frame", run: dhcp_frame },
    Target { name: "dns_message", run: fairway_relay::resolver::fuzz },
    Target { name: "docker_plugin_call", run: fairway::face::docker_plugin::fuzz },
    Target { name: "netavark_request", run: fairway::face::netavark::fuzz },
    Target { name: "oci_state", run: fairway::face::oci::fuzz },
    Target { name: "resolv_conf", run: resolv_conf },
    Target { name: "store_journal", run: fairway_store::fuzz_journal },
    Target { name: "store_snapshot", run: fairway_store::fuzz_snapshot },
];

/// The target of this name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Bodies about containers, and those of faces that come by the same types.
fn api_container(bytes: &[u8]) {
    if let Ok(request) = fairway_api::json::from_slice::<ContainerCreate>(bytes) {
        let _ = fairway_api::decode::container("web", SandboxKind::Run, request);
    }
    if let Ok(request) = fairway_api::json::from_slice::<AttachRequest>(bytes) {
        let _ = fairway_api::decode::container(&request.name, SandboxKind::Attached, request.container);
    }
    if let Ok(update) = fairway_api::json::from_slice::<ContainerUpdate>(bytes) {
        let _ = fairway_api::decode::restart_policy(&update.restart_policy);
    }
    let _ = fairway_api::json::from_slice::<fairway_api::decode::Ignored>(bytes);
    let _ = fairway_api::json::from_slice::<JoinRequest>(bytes);
}

fn api_network(bytes: &[u8]) {
    if let Ok(request) = fairway_api::json::from_slice::<NetworkCreate>(bytes) {
        let _ = fairway_api::decode::network(request);
    }
}

/// Frames of a LAN, of ARP and IPv6 neighbor discovery.
fn arp_frame(bytes: &[u8]) {
    let _ = duplicate_address::holder(bytes, MacAddress([2, 0, 0, 0, 0, 1]));
}

fn dhcp_frame(bytes: &[u8]) {
    let _ = dhcp::parse_frame(bytes);
    let _ = dhcp::Message::decode(bytes);
}

fn resolv_conf(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = ResolvConf::parse(&text, |_| Some(2));
    let _ = text.parse::<NameServer>();
}

/// Values of flags, which clients of the API send as well.
fn command_line_values(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let _ = parse::publish(text);
    let _ = parse::unpublish(text);
    let _ = parse::expose(text);
    let _ = parse::add_host(text);
    let _ = parse::link(text);
    let _ = parse::mac(text);
    let _ = parse::cidr::<ipnet::IpNet>(text, "10.1.0.0/24");
    let _ = parse::address_pool(text);
    let _ = parse::packet_mark(text);
    let _ = parse::hostname(text);
    let _ = parse::interface_name(text);
    let _ = fairway_model::process::memory(text);
    let _ = fairway_model::process::cpus(text);
    let _ = fairway_model::process::sysctl(text);
    let _ = fairway_model::RestartPolicy::parse(text);
}
