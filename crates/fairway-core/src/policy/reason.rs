//! The purpose of each rule of ours, which the rule has as its comment.

use fairway_ruleset::RuleBuilder;

/// Declares [`Reason`] from one list of variants with their comments.
macro_rules! reasons {
    ($($(#[$doc:meta])+ $name:ident = $comment:literal,)+) => {
        /// Why a rule of ours drops, accepts, passes over or translates a packet. The rule has it as its comment.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Reason {
            $($(#[$doc])+ $name,)+
        }

        impl Reason {
            const ALL: &[Self] = &[$(Self::$name),+];

            /// The comment of the rule.
            pub const fn comment(self) -> &'static str {
                match self {
                    $(Self::$name => $comment,)+
                }
            }
        }
    };
}

reasons! {
    // Drops.
    /// 127.0.0.0/8 is the destination of a packet that arrives at another interface than `lo`.
    LoopbackFromOutside = "127.0.0.0/8 from outside the host",
    /// Forwarded between interfaces of which none is a bridge of ours, where only we switched forwarding on.
    UnrelatedForward = "neither interface is a Fairway bridge",
    /// From or to an internal network.
    InternalNetwork = "internal network",
    /// To a sandbox's port that is not published.
    NotPublished = "port not published",
    /// It would leave with the sandbox's own address, since conntrack translates no invalid packet.
    NotTranslated = "invalid, would leave without NAT",
    /// From another network of this host.
    OtherNetwork = "from another network",
    /// Between sandboxes of a network with `icc=false`.
    IccOff = "icc=false",
    /// The first segment of a TCP connection that a link allows in the other direction only.
    AgainstLink = "new connection against a link",
    /// The relay may not send there.
    RelayDestination = "not a destination of the relay",
    /// Two VLAN tags hide what follows from the other rules.
    StackedVlanTags = "stacked VLAN tags",
    /// The source MAC belongs to another port.
    SpoofedMac = "spoofed MAC",
    /// The sender's MAC in an ARP message belongs to another port.
    SpoofedArpMac = "spoofed ARP sender MAC",
    /// The sender's address in an ARP message belongs to another port.
    SpoofedArpAddress = "spoofed ARP sender address",
    /// The IPv4 source belongs to another port.
    SpoofedIpv4 = "spoofed IPv4 source",
    /// The IPv6 source belongs to another port.
    SpoofedIpv6 = "spoofed IPv6 source",
    /// The address in a neighbor advertisement belongs to another port.
    SpoofedNdTarget = "spoofed neighbor advertisement",
    /// Nothing says that the source belongs to the port (`fairway.guard=strict`).
    UnassignedSource = "source not assigned to this port",
    /// More broadcasts and multicasts a second than a LAN takes.
    StormLimit = "over the storm limit",
    /// Neither IP nor ARP, on a LAN.
    UnknownProtocol = "neither IP nor ARP",
    /// What a DHCP server sends, on a LAN.
    DhcpServer = "DHCP server",
    /// What a router announces, on a LAN.
    RouterAdvertisement = "router advertisement",
    /// An ARP request or neighbor solicitation for an address of another port, on a LAN.
    OtherTarget = "query for another port",
    // Accepts, returns and translations.
    /// To a published port.
    PublishedPort = "published port",
    /// To a published port, by the sandbox's own address on a routed network.
    PublishedPortDirect = "published port, by the sandbox's address",
    /// Between sandboxes of one network.
    SameNetwork = "same network",
    /// Between networks that are not isolated from one another.
    NotIsolated = "networks not isolated",
    /// Through a link.
    Link = "link",
    /// The reply to a packet through a link.
    LinkReply = "reply through a link",
    /// From a peer of a routed network.
    FromPeer = "from a peer",
    /// To a peer of a routed network, with the sandbox's own address.
    ToPeer = "to a peer, without NAT",
    /// Bridged, and filtered in the IP hooks, where br_netfilter passes it.
    FilteredByInet = "filtered in the inet table",
    /// Bridged: the IP hooks only see it because br_netfilter passes it to them.
    Bridged = "bridged, not routed",
    /// IPv4 is neither filtered nor translated, by the option of the daemon.
    Ipv4Disabled = "iptables=false",
    /// IPv6 is neither filtered nor translated, by the option of the daemon.
    Ipv6Disabled = "ip6tables=false",
    /// It has the mark of `--bridge-accept-fwmark`.
    AcceptMark = "bridge-accept-fwmark",
    /// To a network with gateway mode `nat-unprotected`.
    GatewayUnprotected = "gateway mode nat-unprotected",
    /// To a network with gateway mode `routed`.
    GatewayRouted = "gateway mode routed",
    /// `--allow-direct-routing` lets it reach published ports by a sandbox's own address.
    DirectRouting = "allow-direct-routing",
    /// From an interface that the network trusts.
    TrustedInterface = "trusted host interface",
    /// From a sandbox: the proxy answers it.
    SandboxUsesProxy = "sandboxes use the proxy",
    /// To 127.0.0.0/8: the proxy answers it.
    LoopbackUsesProxy = "loopback uses the proxy",
    /// From or to an IPv6 link-local address, which the kernel does not forward: the proxy answers it.
    LinkLocalUsesProxy = "link-local addresses use the proxy",
    /// Of a connection of the proxy that was there before the rules.
    OlderConnection = "connection of the proxy, older than these rules",
    /// To `::1`, which is not translated.
    LoopbackIpv6 = "IPv6 has no route_localnet",
    /// It leaves with an address of the host.
    Outbound = "outbound",
    /// From the host, with the address of the bridge.
    FromHost = "from the host",
    /// To a port that the sender itself publishes.
    OwnPublishedPort = "to its own published port",
    /// The reply would be bridged, and not meet the translation.
    BridgedReply = "the bridge would pass the reply untranslated",
    /// A TCP segment of the relay that begins no connection.
    NotFirstSegment = "not the first segment of a connection",
    /// An untracked reply of the relay, from a port that is published at all addresses.
    FromPublished4 = "from a port in published4",
    /// An untracked reply of the relay, from a port that is published at one address.
    FromPublished4ByAddress = "from a port in published4_by_address",
    /// As [`Reason::FromPublished4`], for IPv6.
    FromPublished6 = "from a port in published6",
    /// As [`Reason::FromPublished4ByAddress`], for IPv6.
    FromPublished6ByAddress = "from a port in published6_by_address",
    /// From a port of a bridge that is no sandbox's.
    NotSandboxPort = "not a port of a sandbox",
    /// DHCP of a sandbox without an address.
    Dhcp = "DHCP",
    /// An ARP probe for an address that the sender does not have yet.
    ArpProbe = "ARP probe",
    /// A neighbor solicitation for an address that the sender does not have yet.
    DuplicateAddressDetection = "duplicate address detection",
    /// From a sandbox without an address.
    NoAddressYet = "no address yet",
    /// A neighbor advertisement of a router.
    RouterMac = "a router announces its MAC",
}

impl Reason {
    /// The reason that a rule's comment states; none if the rule is not one of ours.
    pub fn from_comment(comment: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.comment() == comment)
    }

    /// Whether the packet used an address or a MAC that its port does not have.
    pub const fn is_spoofing(self) -> bool {
        matches!(
            self,
            Self::SpoofedMac
                | Self::SpoofedArpMac
                | Self::SpoofedArpAddress
                | Self::SpoofedIpv4
                | Self::SpoofedIpv6
                | Self::SpoofedNdTarget
                | Self::UnassignedSource
        )
    }

    /// Ends a rule: counts and drops what it matches.
    pub(super) fn drops(self, rule: RuleBuilder) -> RuleBuilder {
        rule.counter().drop().comment(self.comment())
    }
}

impl From<Reason> for String {
    fn from(reason: Reason) -> Self {
        reason.comment().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_states_one_reason() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_comment(reason.comment()), Some(*reason));
        }
        assert_eq!(Reason::from_comment("a rule of another program"), None);
    }
}
