//! What drivers say of their links: modes, tunnels, tags, and programs that see the packets.

use std::net::IpAddr;

use fairway_model::MacvlanMode;

use crate::netlink::Attributes;

/// `IFLA_XDP` (linux/if_link.h).
pub(crate) const IFLA_XDP: u16 = 43;
/// `IFLA_XDP_PROG_ID` and the ids of drivers, of generic mode and of hardware.
const XDP_IDS: std::ops::RangeInclusive<u16> = 4..=7;
/// The first attribute of most drivers (`IFLA_VLAN_ID`, `IFLA_VXLAN_ID`, `IFLA_GENEVE_ID`, `IFLA_MACVLAN_MODE`,
/// `IFLA_IPVLAN_MODE`, `IFLA_VRF_TABLE`).
const FIRST: u16 = 1;

/// What the driver of a link says of it (`IFLA_INFO_DATA`, `IFLA_XDP`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkDetail {
    /// The mode of a macvlan.
    pub macvlan: Option<MacvlanMode>,
    /// The mode of an ipvlan: `l2`, `l3` or `l3s`.
    pub ipvlan: Option<&'static str>,
    /// The tag of a VLAN.
    pub vlan: Option<u16>,
    /// The table of a VRF.
    pub vrf_table: Option<u32>,
    /// The number of a tunnel's network (VNI).
    pub tunnel_network: Option<u32>,
    /// The other end of a tunnel; none if it has several.
    pub remote: Option<IpAddr>,
    /// The ids of the XDP programs that are attached.
    pub programs: Vec<u32>,
}

impl LinkDetail {
    /// Reads `IFLA_INFO_DATA` of a driver.
    pub(super) fn read_driver(&mut self, kind: &str, data: Attributes<'_>) {
        let number = || data.find(FIRST).and_then(|found| found.u32());
        let address = |kinds: &[u16]| {
            let mut found = kinds.iter().filter_map(|kind| data.find(*kind)?.address());
            found.find(|address| !address.is_unspecified())
        };
        match kind {
            "macvlan" | "macvtap" => {
                self.macvlan = number().and_then(|number| match number {
                    1 => Some(MacvlanMode::Private),
                    2 => Some(MacvlanMode::Vepa),
                    4 => Some(MacvlanMode::Bridge),
                    8 => Some(MacvlanMode::Passthru),
                    _ => None,
                });
            }
            "ipvlan" | "ipvtap" => {
                let mode = data.find(FIRST).and_then(|found| found.u16());
                self.ipvlan = mode.and_then(|mode| ["l2", "l3", "l3s"].get(usize::from(mode)).copied());
            }
            "vlan" => self.vlan = data.find(FIRST).and_then(|found| found.u16()),
            "vrf" => self.vrf_table = number(),
            // IFLA_VXLAN_GROUP and _GROUP6; IFLA_GENEVE_REMOTE and _REMOTE6.
            "vxlan" => (self.tunnel_network, self.remote) = (number(), address(&[2, 17])),
            "geneve" => (self.tunnel_network, self.remote) = (number(), address(&[2, 7])),
            // IFLA_GRE_REMOTE.
            "gre" | "gretap" | "ip6gre" | "ip6gretap" | "erspan" | "ip6erspan" => self.remote = address(&[7]),
            // IFLA_IPTUN_REMOTE.
            "ipip" | "sit" | "ip6tnl" => self.remote = address(&[3]),
            // IFLA_VTI_REMOTE.
            "vti" | "vti6" => self.remote = address(&[5]),
            _ => {}
        }
    }

    /// Reads `IFLA_XDP`.
    pub(super) fn read_programs(&mut self, attached: Attributes<'_>) {
        let ids = attached.filter(|it| XDP_IDS.contains(&it.kind)).filter_map(|it| it.u32());
        self.programs = ids.filter(|id| *id != 0).collect();
        self.programs.sort_unstable();
        self.programs.dedup();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attributes as the kernel sends them.
    fn data(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (kind, value) in attributes {
            bytes.extend(u16::try_from(value.len() + 4).unwrap().to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(*value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    fn read(kind: &str, attributes: &[(u16, &[u8])]) -> LinkDetail {
        let mut detail = LinkDetail::default();
        detail.read_driver(kind, Attributes::new(&data(attributes)));
        detail
    }

    #[test]
    fn tags_and_modes_are_read() {
        assert_eq!(read("vlan", &[(5, &[0, 0]), (1, &5_u16.to_ne_bytes())]).vlan, Some(5));
        assert_eq!(read("vrf", &[(1, &100_u32.to_ne_bytes())]).vrf_table, Some(100));
        for (number, mode) in [(0_u16, Some("l2")), (1, Some("l3")), (2, Some("l3s")), (3, None)] {
            assert_eq!(read("ipvlan", &[(1, &number.to_ne_bytes())]).ipvlan, mode);
        }
        for (number, mode) in [
            (1_u32, Some(MacvlanMode::Private)),
            (2, Some(MacvlanMode::Vepa)),
            (4, Some(MacvlanMode::Bridge)),
            (8, Some(MacvlanMode::Passthru)),
            (16, None),
        ] {
            assert_eq!(read("macvlan", &[(1, &number.to_ne_bytes())]).macvlan, mode);
        }
    }

    #[test]
    fn tunnels_have_a_network_and_another_end() {
        let number = 42_u32.to_ne_bytes();
        let far: IpAddr = "10.0.0.7".parse().unwrap();
        let far6: std::net::Ipv6Addr = "fd00::7".parse().unwrap();
        let vxlan = read("vxlan", &[(1, &number), (2, &[10, 0, 0, 7])]);
        assert_eq!((vxlan.tunnel_network, vxlan.remote), (Some(42), Some(far)));
        let vxlan = read("vxlan", &[(1, &number), (17, &far6.octets())]);
        assert_eq!((vxlan.tunnel_network, vxlan.remote), (Some(42), Some(far6.into())));
        // A vxlan that learns its other ends.
        assert_eq!(read("vxlan", &[(1, &number), (2, &[0; 4])]).remote, None);
        let geneve = read("geneve", &[(1, &number), (7, &far6.octets())]);
        assert_eq!((geneve.tunnel_network, geneve.remote), (Some(42), Some(far6.into())));
        for (kind, attribute) in [("gre", 7), ("gretap", 7), ("ipip", 3), ("sit", 3), ("vti", 5)] {
            assert_eq!(read(kind, &[(attribute, &[10, 0, 0, 7])]).remote, Some(far), "{kind}");
        }
    }

    #[test]
    fn other_drivers_say_nothing() {
        for kind in ["", "veth", "bridge", "wireguard", "dummy", "bond"] {
            assert_eq!(read(kind, &[(1, &[1, 0, 0, 0]), (2, &[10, 0, 0, 7])]), LinkDetail::default());
        }
    }

    #[test]
    fn programs_are_named_once() {
        let attached = |attributes: &[(u16, &[u8])]| {
            let mut detail = LinkDetail::default();
            detail.read_programs(Attributes::new(&data(attributes)));
            detail.programs
        };
        assert_eq!(attached(&[(2, &[0])]), []);
        let id = 7_u32.to_ne_bytes();
        // In one mode the id is there twice: as the program's, and as that of the mode.
        assert_eq!(attached(&[(2, &[2]), (4, &id), (6, &id)]), [7]);
        assert_eq!(attached(&[(2, &[4]), (5, &9_u32.to_ne_bytes()), (7, &id)]), [7, 9]);
    }
}
