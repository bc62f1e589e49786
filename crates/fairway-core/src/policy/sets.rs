//! How our sets and maps are declared.

use crate::object::SetName;
use fairway_ruleset::{Datatype, Set};

/// The declaration of a set or map, without elements.
pub(super) fn declare(set: SetName) -> Set {
    use Datatype::{
        EtherAddress, InetProtocol, InetService, InterfaceName, Ipv4Address, Ipv6Address, NetworkFamily,
    };
    let name = set.text();
    match set {
        SetName::Bridges
        | SetName::InternalBridges
        | SetName::OpenBridges
        | SetName::LenientBridges
        | SetName::RoutedDriverBridges => Set::new(name, [InterfaceName]),
        SetName::SameNetwork | SetName::IccOff | SetName::TrustedInterfaces => {
            Set::new(name, [InterfaceName, InterfaceName])
        }
        SetName::MasqueradeBridges | SetName::UnprotectedBridges | SetName::RoutedModeBridges => {
            Set::new(name, [InterfaceName, NetworkFamily])
        }
        SetName::Snat4 => Set::map(name, [InterfaceName], [Ipv4Address]),
        SetName::Snat6 => Set::map(name, [InterfaceName], [Ipv6Address]),
        SetName::DirectPorts4 => Set::new(name, [Ipv4Address, InetProtocol, InetService]),
        SetName::DirectPorts6 => Set::new(name, [Ipv6Address, InetProtocol, InetService]),
        SetName::Peers4 => Set::new(name, [InterfaceName, Ipv4Address]).with_ranges(),
        SetName::Peers6 => Set::new(name, [InterfaceName, Ipv6Address]).with_ranges(),
        SetName::Links4 => Set::new(name, [Ipv4Address, Ipv4Address, InetProtocol, InetService]),
        SetName::Links6 => Set::new(name, [Ipv6Address, Ipv6Address, InetProtocol, InetService]),
        SetName::IccOffPorts | SetName::StrictGuardPorts | SetName::LanPorts | SetName::StormLimits => {
            Set::new(name, [InterfaceName])
        }
        SetName::LanRouters4 => Set::new(name, [Ipv4Address]),
        SetName::LinkedPorts => Set::new(name, [InterfaceName, InterfaceName, InetProtocol, InetService]),
        SetName::Published4 | SetName::EnginePublished4 => {
            Set::map(name, [InetProtocol, InetService], [Ipv4Address, InetService])
        }
        SetName::Published4ByAddress | SetName::EnginePublished4ByAddress => {
            Set::map(name, [InetProtocol, Ipv4Address, InetService], [Ipv4Address, InetService])
        }
        SetName::Published6 | SetName::EnginePublished6 => {
            Set::map(name, [InetProtocol, InetService], [Ipv6Address, InetService])
        }
        SetName::Published6ByAddress | SetName::EnginePublished6ByAddress => {
            Set::map(name, [InetProtocol, Ipv6Address, InetService], [Ipv6Address, InetService])
        }
        SetName::Hairpin4 => Set::new(name, [Ipv4Address, Ipv4Address]),
        SetName::Hairpin6 => Set::new(name, [Ipv6Address, Ipv6Address]),
        SetName::AssignedMacs => Set::new(name, [EtherAddress]),
        SetName::PortMacs => Set::new(name, [InterfaceName, EtherAddress]),
        SetName::AssignedIps4 => Set::new(name, [Ipv4Address]),
        SetName::PortIps4 => Set::new(name, [InterfaceName, Ipv4Address]),
        SetName::AssignedIps6 => Set::new(name, [Ipv6Address]),
        SetName::PortIps6 => Set::new(name, [InterfaceName, Ipv6Address]),
    }
}
