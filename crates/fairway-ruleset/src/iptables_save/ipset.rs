//! Sets of `ipset`, which rules of iptables ask by name, as sets of nf_tables.

use std::net::IpAddr;

use super::octets;
use crate::{
    Datatype, Element, Expression, Family, Load, LookupResult, Register, Set, Table, UndecidedState,
};
use fairway_model::MacAddress;

/// A set of `ipset`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpSet {
    /// Its name.
    pub name: String,
    /// Its type, as `hash:net,port`.
    pub kind: String,
    /// Whether its entries may vanish by themselves.
    pub vanishes: bool,
    /// Its entries.
    pub members: Vec<IpSetMember>,
}

/// An entry of a set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IpSetMember {
    /// Its addresses, in order, each the first and the last of a range.
    pub addresses: Vec<(IpAddr, IpAddr)>,
    /// The number of its protocol.
    pub protocol: Option<u8>,
    /// Its ports, the first and the last.
    pub ports: Option<(u16, u16)>,
    /// Its MAC address.
    pub mac: Option<MacAddress>,
    /// The name of its interface.
    pub interface: Option<String>,
    /// Whether it is an exception, or else asks for more than this.
    pub is_special: bool,
    /// When it will vanish, in milliseconds.
    pub expires: Option<u64>,
}

/// A field of a set's entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Address,
    Protocol,
    Port,
    Mac,
    Interface,
}

impl IpSet {
    /// The fields that a packet is compared in; none if the type is not supported here.
    fn fields(&self) -> Option<Vec<(Field, usize)>> {
        let (storage, fields) = self.kind.split_once(':')?;
        let mut all = Vec::new();
        for (place, field) in fields.split(',').enumerate() {
            match field {
                "ip" | "net" => all.push((Field::Address, place)),
                // The ports of a bitmap have no protocol.
                "port" if storage == "bitmap" => all.push((Field::Port, place)),
                "port" => all.extend([(Field::Protocol, place), (Field::Port, place)]),
                "mac" => all.push((Field::Mac, place)),
                "iface" => all.push((Field::Interface, place)),
                _ => return None,
            }
        }
        let is_simple = self.members.iter().all(|member| !member.is_special);
        is_simple.then_some(all)
    }

    /// The set for packets of a family.
    fn set(&self, family: Family, fields: &[(Field, usize)], is_dynamic: bool) -> Set {
        let part = |(field, _): &(Field, usize)| match field {
            Field::Address if family == Family::Ip6 => Datatype::Ipv6Address,
            Field::Address => Datatype::Ipv4Address,
            Field::Protocol => Datatype::InetProtocol,
            Field::Port => Datatype::InetService,
            Field::Mac => Datatype::EtherAddress,
            Field::Interface => Datatype::InterfaceName,
        };
        let mut set =
            Set::new(set_name(&self.name), fields.iter().map(part).collect::<Vec<_>>()).with_ranges();
        (set.flags.timeout, set.flags.dynamic) = (self.vanishes, is_dynamic);
        let is_ipv6 = family == Family::Ip6;
        let members =
            self.members.iter().filter(|it| it.addresses.iter().all(|(first, _)| first.is_ipv6() == is_ipv6));
        set.with(members.filter_map(|member| member.element(fields)))
    }

    /// How a rule with those sides (`src,dst`) loads what it looks up; none if a side does not fit.
    fn loads(&self, family: Family, fields: &[(Field, usize)], sides: &str) -> Option<Vec<Expression>> {
        let sides: Vec<&str> = sides.split(',').collect();
        let mut register = Some(Register::FIRST);
        let mut loads = Vec::new();
        for (field, place) in fields {
            let source = match *sides.get(*place)? {
                "src" => true,
                "dst" => false,
                _ => return None,
            };
            let (load, length) = match (field, family) {
                (Field::Address, Family::Ip6) => {
                    (if source { Load::IP6_SOURCE } else { Load::IP6_DESTINATION }, 16)
                }
                (Field::Address, _) => (if source { Load::IP_SOURCE } else { Load::IP_DESTINATION }, 4),
                (Field::Protocol, _) => (Load::TRANSPORT, 1),
                (Field::Port, _) => (if source { Load::SOURCE_PORT } else { Load::DESTINATION_PORT }, 2),
                (Field::Mac, _) => (if source { Load::ETHER_SOURCE } else { Load::ETHER_DESTINATION }, 6),
                (Field::Interface, _) => (if source { Load::INPUT_NAME } else { Load::OUTPUT_NAME }, 16),
            };
            let to = register?;
            loads.push(load.into_register(to));
            register = to.after(length);
        }
        Some(loads)
    }
}

impl IpSetMember {
    fn element(&self, fields: &[(Field, usize)]) -> Option<Element> {
        let (mut first, mut last) = (Vec::new(), Vec::new());
        let mut addresses = self.addresses.iter();
        for (field, _) in fields {
            let (one, other) = match field {
                Field::Address => addresses.next().map(|(first, last)| (octets(*first), octets(*last)))?,
                Field::Protocol => (vec![self.protocol?], vec![self.protocol?]),
                Field::Port => {
                    self.ports.map(|(first, last)| (first.to_be_bytes().into(), last.to_be_bytes().into()))?
                }
                Field::Mac => self.mac.map(|mac| (mac.0.to_vec(), mac.0.to_vec()))?,
                Field::Interface => {
                    let mut name = self.interface.clone()?.into_bytes();
                    name.resize(16, 0);
                    (name.clone(), name)
                }
            };
            for (key, part) in [(&mut first, one), (&mut last, other)] {
                key.extend(part);
                if fields.len() > 1 {
                    key.resize(key.len().next_multiple_of(Register::SIZE), 0);
                }
            }
        }
        let element = Element { timeout: self.expires, expires: self.expires, ..Element::new(first) };
        Some(element.up_to(last))
    }
}

/// The name of a set of `ipset` among the sets of a table.
fn set_name(name: &str) -> String {
    format!("ipset {name}")
}

/// Whether a table has rules that ask sets of `ipset`.
pub fn asks_ipsets(table: &Table) -> bool {
    let rules = table.chains.iter().flat_map(|chain| &chain.rules);
    rules.flat_map(|rule| &rule.expressions).any(|it| asked(it).is_some())
}

/// The name of the set that an expression asks, the sides of the packet, and whether it matches what is not in the set.
fn asked(expression: &Expression) -> Option<(&str, &str, bool)> {
    match expression {
        Expression::Undecided { inverted, state: UndecidedState::IpSet { name, sides }, .. } => {
            Some((name, sides, *inverted))
        }
        _ => None,
    }
}

/// Puts lookups in the place of what asks these sets, as far as their types are supported.
pub fn adopt_ipsets(table: &mut Table, ipsets: &[IpSet]) {
    let adds = |name: &str| {
        let added = [format!("--add-set {name} "), format!("--del-set {name} ")];
        let mut rules =
            table.chains.iter().flat_map(|chain| &chain.rules).filter_map(|rule| rule.text.as_ref());
        rules.any(|text| added.iter().any(|added| text.contains(added)))
    };
    let dynamic: Vec<bool> = ipsets.iter().map(|ipset| adds(&ipset.name)).collect();
    let family = table.family;
    let mut used = Vec::new();
    for rule in table.chains.iter_mut().flat_map(|chain| &mut chain.rules) {
        if !rule.expressions.iter().any(|it| asked(it).is_some()) {
            continue;
        }
        rule.expressions = std::mem::take(&mut rule.expressions)
            .into_iter()
            .flat_map(|expression| {
                let lookup = look_up(family, &expression, ipsets);
                used.extend(lookup.as_ref().map(|(place, _)| *place));
                lookup.map_or_else(|| vec![expression], |(_, expressions)| expressions)
            })
            .collect();
    }
    used.sort_unstable();
    used.dedup();
    for place in used {
        let Some((ipset, is_dynamic)) = ipsets.get(place).zip(dynamic.get(place)) else { continue };
        let fields = ipset.fields().unwrap_or_default();
        table.sets.push(ipset.set(family, &fields, *is_dynamic));
    }
}

/// What looks up in the set that an expression asks, with the set's place among all.
fn look_up(family: Family, expression: &Expression, ipsets: &[IpSet]) -> Option<(usize, Vec<Expression>)> {
    let (name, sides, inverted) = asked(expression)?;
    let place = ipsets.iter().position(|ipset| ipset.name == name)?;
    let ipset = ipsets.get(place)?;
    let fields = ipset.fields()?;
    let mut expressions = ipset.loads(family, &fields, sides)?;
    let (set, from) = (set_name(name), Register::FIRST);
    expressions.push(Expression::Lookup { set, from, result: LookupResult::Match });
    if inverted {
        // A packet without ports is in no set of ports: it may not end at loading them.
        expressions = vec![Expression::OneOf { ways: vec![expressions], inverted: true }];
    }
    Some((place, expressions))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iptables_save::read;

    fn member(addresses: &[(&str, &str)], port: Option<u16>) -> IpSetMember {
        IpSetMember {
            addresses: addresses
                .iter()
                .map(|(one, other)| (one.parse().unwrap(), other.parse().unwrap()))
                .collect(),
            protocol: port.map(|_| 6),
            ports: port.map(|port| (port, port)),
            ..IpSetMember::default()
        }
    }

    fn ipset(kind: &str, members: Vec<IpSetMember>) -> IpSet {
        IpSet { name: "x".to_owned(), kind: kind.to_owned(), vanishes: false, members }
    }

    /// What is made of a rule that asks the set.
    fn adopted(rule: &str, ipset: IpSet) -> (String, Vec<String>) {
        let text = format!("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT {rule} -j DROP\nCOMMIT\n");
        let mut table = read(Family::Ip, &text).remove(0);
        assert!(asks_ipsets(&table));
        adopt_ipsets(&mut table, &[ipset]);
        let plain = crate::Rule { text: None, ..table.chains[0].rules[0].clone() };
        let elements = table.sets.iter().flat_map(|set| set.elements.iter().map(|it| set.element_text(it)));
        (table.rule_text(&plain), elements.collect())
    }

    #[test]
    fn what_asks_a_known_set_looks_it_up() {
        let net = member(&[("10.0.0.0", "10.0.0.255")], None);
        let (rule, elements) = adopted("-m set --match-set x src", ipset("hash:net", vec![net.clone()]));
        assert_eq!(rule, "ip saddr @ipset x drop");
        assert_eq!(elements, ["10.0.0.0/24"]);
        let six = member(&[("fd00::", "fd00::ff")], None);
        let (_, elements) = adopted("-m set --match-set x dst", ipset("hash:net", vec![net, six]));
        assert_eq!(elements.len(), 1, "of the table's family alone");
        let both = member(&[("10.0.0.1", "10.0.0.1"), ("10.1.0.0", "10.1.255.255")], Some(80));
        let (rule, elements) =
            adopted("-m set --match-set x dst,dst,src", ipset("hash:ip,port,net", vec![both]));
        assert_eq!(rule, "ip daddr . meta l4proto . th dport . ip saddr @ipset x drop");
        assert_eq!(elements, ["10.0.0.1 . tcp . 80 . 10.1.0.0/16"]);
        let ports = IpSetMember { ports: Some((30_000, 30_010)), ..IpSetMember::default() };
        let (rule, elements) = adopted("-m set --match-set x dst", ipset("bitmap:port", vec![ports]));
        assert_eq!(
            (rule.as_str(), elements.as_slice()),
            ("th dport @ipset x drop", &["30000-30010".to_owned()][..])
        );
    }

    #[test]
    fn what_is_not_supported_stays_undecided() {
        let undecided = "[if its source is in the ipset x] drop";
        let special = IpSetMember { is_special: true, ..member(&[("10.0.0.0", "10.0.0.0")], None) };
        for set in
            [ipset("list:set", vec![]), ipset("hash:ip,mark", vec![]), ipset("hash:net", vec![special])]
        {
            assert_eq!(adopted("-m set --match-set x src", set), (undecided.to_owned(), vec![]));
        }
        let other = IpSet { name: "y".to_owned(), ..ipset("hash:ip", vec![]) };
        assert_eq!(adopted("-m set --match-set x src", other).0, undecided);
        let (rule, _) = adopted("-m set ! --match-set x src", ipset("hash:ip", vec![]));
        assert_eq!(rule, "[none of 1] drop");
    }
}
