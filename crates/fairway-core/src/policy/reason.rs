//! Why a rule of ours drops a packet.

use fairway_ruleset::RuleBuilder;

/// Why a rule of ours drops a packet. The rule has it as its comment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// 127.0.0.0/8 is the destination of a packet that arrives at another interface than `lo`.
    LoopbackFromOutside,
    /// Forwarded between interfaces of which none is a bridge of ours, where only we switched forwarding on.
    UnrelatedForward,
    /// From or to an internal network.
    InternalNetwork,
    /// To a sandbox's port that is not published.
    NotPublished,
    /// It would leave with the sandbox's own address, since conntrack translates no invalid packet.
    NotTranslated,
    /// From another network of this host.
    OtherNetwork,
    /// Between sandboxes of a network with `icc=false`.
    IccOff,
    /// The first segment of a TCP connection that a link allows in the other direction only.
    AgainstLink,
    /// The relay may not send there.
    RelayDestination,
    /// Two VLAN tags hide what follows from the other rules.
    StackedVlanTags,
    /// The source MAC belongs to another port.
    SpoofedMac,
    /// The sender's MAC in an ARP message belongs to another port.
    SpoofedArpMac,
    /// The sender's address in an ARP message belongs to another port.
    SpoofedArpAddress,
    /// The IPv4 source belongs to another port.
    SpoofedIpv4,
    /// The IPv6 source belongs to another port.
    SpoofedIpv6,
    /// The address in a neighbor advertisement belongs to another port.
    SpoofedNdTarget,
    /// Nothing says that the source belongs to the port (`fairway.guard=strict`).
    UnassignedSource,
    /// More broadcasts and multicasts a second than a LAN takes.
    StormLimit,
    /// Neither IP nor ARP, on a LAN.
    UnknownProtocol,
    /// What a DHCP server sends, on a LAN.
    DhcpServer,
    /// What a router announces, on a LAN.
    RouterAdvertisement,
    /// An ARP request or neighbor solicitation for an address of another port, on a LAN.
    OtherTarget,
}

impl DropReason {
    const ALL: [Self; 22] = [
        Self::LoopbackFromOutside,
        Self::UnrelatedForward,
        Self::InternalNetwork,
        Self::NotPublished,
        Self::NotTranslated,
        Self::OtherNetwork,
        Self::IccOff,
        Self::AgainstLink,
        Self::RelayDestination,
        Self::StackedVlanTags,
        Self::SpoofedMac,
        Self::SpoofedArpMac,
        Self::SpoofedArpAddress,
        Self::SpoofedIpv4,
        Self::SpoofedIpv6,
        Self::SpoofedNdTarget,
        Self::UnassignedSource,
        Self::StormLimit,
        Self::UnknownProtocol,
        Self::DhcpServer,
        Self::RouterAdvertisement,
        Self::OtherTarget,
    ];

    /// The comment of the rule.
    pub const fn comment(self) -> &'static str {
        match self {
            Self::LoopbackFromOutside => "127.0.0.0/8 from outside the host",
            Self::UnrelatedForward => "neither interface is a Fairway bridge",
            Self::InternalNetwork => "internal network",
            Self::NotPublished => "port not published",
            Self::NotTranslated => "invalid, would leave without NAT",
            Self::OtherNetwork => "from another network",
            Self::IccOff => "icc=false",
            Self::AgainstLink => "new connection against a link",
            Self::RelayDestination => "not a destination of the relay",
            Self::StackedVlanTags => "stacked VLAN tags",
            Self::SpoofedMac => "spoofed MAC",
            Self::SpoofedArpMac => "spoofed ARP sender MAC",
            Self::SpoofedArpAddress => "spoofed ARP sender address",
            Self::SpoofedIpv4 => "spoofed IPv4 source",
            Self::SpoofedIpv6 => "spoofed IPv6 source",
            Self::SpoofedNdTarget => "spoofed neighbor advertisement",
            Self::UnassignedSource => "source not assigned to this port",
            Self::StormLimit => "over the storm limit",
            Self::UnknownProtocol => "neither IP nor ARP",
            Self::DhcpServer => "DHCP server",
            Self::RouterAdvertisement => "router advertisement",
            Self::OtherTarget => "query for another port",
        }
    }

    /// The reason that a rule's comment states; none if the rule is not one of ours.
    pub fn from_comment(comment: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.comment() == comment)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_states_one_reason() {
        for reason in DropReason::ALL {
            assert_eq!(DropReason::from_comment(reason.comment()), Some(reason));
        }
        assert_eq!(DropReason::from_comment("published port"), None);
    }
}
