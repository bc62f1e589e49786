//! Numbers and parts of packets that rules match, and the priorities of chains.

use std::net::Ipv6Addr;

use fairway_ruleset::{CtState, Load, MetaKey, RuleBuilder, rule};

/// Before any other table of the bridge family sees a frame.
pub(super) const GUARD_PRIORITY: i32 = -400;
/// `NF_BR_PRI_FILTER_BRIDGED`, linux/netfilter_bridge.h.
pub(super) const FILTER_BRIDGED: i32 = -200;

pub(super) const ETHERTYPE_IPV4: u16 = 0x0800;
pub(super) const ETHERTYPE_ARP: u16 = 0x0806;
pub(super) const ETHERTYPE_IPV6: u16 = 0x86dd;
/// The tags of IEEE 802.1Q and 802.1ad.
pub(super) const ETHERTYPES_VLAN: [u16; 2] = [0x8100, 0x88a8];
/// IANA's protocol number of ICMP.
pub(super) const ICMP: [u8; 1] = [1];
/// Router advertisement, RFC 4861 section 4.2.
pub(super) const ICMPV6_ROUTER_ADVERTISEMENT: u8 = 134;
/// Neighbor solicitation, RFC 4861 section 4.3.
pub(super) const ICMPV6_NEIGHBOR_SOLICITATION: u8 = 135;
/// Neighbor advertisement, RFC 4861 section 4.4.
pub(super) const ICMPV6_NEIGHBOR_ADVERTISEMENT: u8 = 136;
/// BOOTP client and server ports, RFC 2131 section 4.1.
pub(super) const DHCP_CLIENT: u16 = 68;
pub(super) const DHCP_SERVER: u16 = 67;
/// The port of DHCPv6 servers, RFC 8415 section 7.2.
pub(super) const DHCPV6_SERVER: u16 = 547;
/// fe80::/10 (RFC 4291 section 2.4).
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0);
const LINK_LOCAL_MASK: Ipv6Addr = Ipv6Addr::new(0xffc0, 0, 0, 0, 0, 0, 0, 0);

const FAMILY: Load = Load::Meta(MetaKey::NetworkFamily);
/// A key of input interface and family.
pub(super) const INPUT_AND_FAMILY: [Load; 2] = [Load::INPUT_NAME, FAMILY];
/// A key of output interface and family.
pub(super) const OUTPUT_AND_FAMILY: [Load; 2] = [Load::OUTPUT_NAME, FAMILY];
/// A key of input interface and output interface.
pub(super) const INPUT_AND_OUTPUT: [Load; 2] = [Load::INPUT_NAME, Load::OUTPUT_NAME];
/// The states of packets that belong to a flow that was allowed.
pub(super) const ESTABLISHED: [CtState; 2] = [CtState::Established, CtState::Related];

/// Matches frames by what is behind their first VLAN tag, as the receiver sees them: a tag of priority alone (VLAN 0)
/// does not count. The EtherType in the frame itself would be that of the tag.
pub(super) fn carries(ether_type: u16) -> RuleBuilder {
    rule().is(Load::Meta(MetaKey::Protocol), ether_type.to_be_bytes())
}

/// Matches IPv6 packets whose source or destination, as `address` says, is link-local.
pub(super) fn link_local(rule: RuleBuilder, address: Load) -> RuleBuilder {
    rule.is_masked(address, LINK_LOCAL_MASK.octets(), LINK_LOCAL.octets())
}
