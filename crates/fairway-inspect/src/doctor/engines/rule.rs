//! Reads rules of other programs, as far as the checks ask: interfaces, destination, ports and verdict.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fairway_ruleset::{
    Comparison, CtDirection, CtKey, Expression, MetaKey, NatKind, PayloadBase, Register, Rule, Verdict,
};
use ipnet::IpNet;

/// A value that a rule compares with, and whether it has to be equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted<T> {
    /// Whether packets with this value match; otherwise all others do.
    pub equal: bool,
    /// The value.
    pub value: T,
}

impl<T: PartialEq> Wanted<T> {
    /// Whether a packet with this value matches.
    pub fn accepts(&self, value: &T) -> bool {
        (self.value == *value) == self.equal
    }
}

/// The verdict of a rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Outcome {
    /// It accepts the packet.
    Accept,
    /// It drops or rejects the packet.
    Drop,
    /// It translates the destination.
    TranslateTo(IpAddr),
    /// Anything else.
    #[default]
    Other,
}

/// The matches of a rule that the checks ask for, and its verdict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleFacts {
    /// The rule's handle; of iptables-legacy its number in the chain.
    pub handle: Option<u64>,
    /// The input interface.
    pub input: Option<Wanted<String>>,
    /// The output interface.
    pub output: Option<Wanted<String>>,
    /// The destination address.
    pub destination: Option<Wanted<IpNet>>,
    /// The number of the transport protocol.
    pub protocol: Option<u8>,
    /// The first and the last destination port, before or after translation.
    pub ports: Option<(u16, u16)>,
    /// The verdict.
    pub outcome: Outcome,
}

/// The content of a register.
#[derive(Debug, Clone)]
enum Content {
    Constant(Vec<u8>),
    Input,
    Output,
    Protocol,
    Destination { ipv4: bool, mask: Option<Vec<u8>> },
    Port,
}

impl RuleFacts {
    /// Reads a rule. A match that is not known is passed over.
    pub fn of(rule: &Rule) -> Self {
        let mut facts = Self { handle: rule.handle, ..Self::default() };
        let mut registers: BTreeMap<Register, Content> = BTreeMap::new();
        facts.read(&rule.expressions, &mut registers);
        facts
    }

    fn read(&mut self, expressions: &[Expression], registers: &mut BTreeMap<Register, Content>) {
        for expression in expressions {
            if let Some((to, content)) = load(expression, registers) {
                match content {
                    Some(content) => registers.insert(to, content),
                    None => registers.remove(&to),
                };
                continue;
            }
            match expression {
                Expression::Compare { from, operator, value } => {
                    let equal = match operator {
                        Comparison::Equal => true,
                        Comparison::NotEqual => false,
                        _ => continue,
                    };
                    if let Some(content) = registers.get(from) {
                        self.compare(content, equal, value);
                    }
                }
                Expression::Range { from, inverted: false, first, last } => {
                    if let (Some(Content::Port), Some(first), Some(last)) =
                        (registers.get(from), number(first), number(last))
                    {
                        self.ports = Some((first, last));
                    }
                }
                Expression::OneOf { ways, inverted: false } => {
                    if let [way] = ways.as_slice() {
                        self.read(way, &mut BTreeMap::new());
                    }
                }
                Expression::Verdict(Verdict::Accept) => self.outcome = Outcome::Accept,
                Expression::Verdict(Verdict::Drop) | Expression::Reject(_) => self.outcome = Outcome::Drop,
                Expression::Nat { kind: NatKind::Destination, address: Some(range), .. } => {
                    if let Some(Content::Constant(bytes)) = registers.get(&range.first)
                        && let Some(address) = address(bytes)
                    {
                        self.outcome = Outcome::TranslateTo(address);
                    }
                }
                _ => {}
            }
        }
    }

    fn compare(&mut self, content: &Content, equal: bool, value: &[u8]) {
        match content {
            Content::Input => self.input = Some(Wanted { equal, value: text(value) }),
            Content::Output => self.output = Some(Wanted { equal, value: text(value) }),
            Content::Protocol if equal => self.protocol = value.first().copied(),
            Content::Destination { ipv4, mask } => {
                let bits = mask.as_deref().map_or(value.len() * 8, ones);
                // Of a prefix of whole bytes only these are loaded.
                let mut bytes = value.to_vec();
                bytes.resize(if *ipv4 { 4 } else { 16 }, 0);
                let network = address(&bytes).and_then(|it| IpNet::new(it, u8::try_from(bits).ok()?).ok());
                self.destination = network.map(|value| Wanted { equal, value }).or(self.destination.take());
            }
            Content::Port if equal => self.ports = number(value).map(|port| (port, port)),
            _ => {}
        }
    }

    /// Whether packets with this transport protocol and destination port match, as far as the rule asks for them.
    pub fn is_for(&self, protocol: u8, port: u16) -> bool {
        self.protocol.is_none_or(|wanted| wanted == protocol)
            && self.ports.is_none_or(|(first, last)| (first..=last).contains(&port))
    }
}

/// The register that an expression writes, and its new content, if it is one that the checks ask for.
fn load(
    expression: &Expression,
    registers: &BTreeMap<Register, Content>,
) -> Option<(Register, Option<Content>)> {
    const PROTOCOL: (u32, u32) = (9, 1);
    const NEXT_HEADER: (u32, u32) = (6, 1);
    const IPV4_DESTINATION: u32 = 16;
    const IPV6_DESTINATION: u32 = 24;
    const PORT: (u32, u32) = (2, 2);
    Some(match expression {
        Expression::Meta { key, to } => {
            let content = match key {
                MetaKey::InputName => Some(Content::Input),
                MetaKey::OutputName => Some(Content::Output),
                MetaKey::TransportProtocol => Some(Content::Protocol),
                _ => None,
            };
            (*to, content)
        }
        Expression::Payload { base, offset, length, to } => {
            let content = match (base, (*offset, *length)) {
                (PayloadBase::Network, (IPV4_DESTINATION, 1..=4)) => {
                    Some(Content::Destination { ipv4: true, mask: None })
                }
                (PayloadBase::Network, (IPV6_DESTINATION, 1..=16)) => {
                    Some(Content::Destination { ipv4: false, mask: None })
                }
                (PayloadBase::Network, PROTOCOL | NEXT_HEADER) => Some(Content::Protocol),
                (PayloadBase::Transport, PORT) => Some(Content::Port),
                _ => None,
            };
            (*to, content)
        }
        Expression::Ct { key: CtKey::DestinationPort, direction: Some(CtDirection::Original), to } => {
            (*to, Some(Content::Port))
        }
        Expression::Ct { to, .. } | Expression::Fib { to, .. } | Expression::Extension { to, .. } => {
            (*to, None)
        }
        Expression::Immediate { to, value } => (*to, Some(Content::Constant(value.clone()))),
        Expression::Bitwise { from, to, mask, .. } => {
            let content = match registers.get(from) {
                Some(Content::Destination { ipv4, .. }) => {
                    Some(Content::Destination { ipv4: *ipv4, mask: Some(mask.clone()) })
                }
                _ => None,
            };
            (*to, content)
        }
        _ => return None,
    })
}

/// The number of leading ones of a mask.
fn ones(mask: &[u8]) -> usize {
    mask.iter().map(|byte| byte.count_ones() as usize).sum()
}

/// An interface's name, which ends at the first zero. A name that matches as a prefix ends without one.
fn text(bytes: &[u8]) -> String {
    let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

fn number(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(..2)?.try_into().ok()?))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match *bytes {
        [a, b, c, d] => Some(IpAddr::from([a, b, c, d])),
        _ => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
    }
}

#[cfg(test)]
mod tests {
    use fairway_ruleset::{Family, iptables_save};

    use super::*;

    fn facts(rule: &str) -> RuleFacts {
        let text = format!("*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING {rule}\nCOMMIT\n");
        RuleFacts::of(&iptables_save::read(Family::Ip, &text)[0].chains[0].rules[0])
    }

    #[test]
    fn a_translation_has_its_target_port_and_interface() {
        let found = facts(
            "-d 127.0.0.1/32 ! -i docker0 -p tcp -m tcp --dport 8081 -j DNAT --to-destination 172.17.0.2:80",
        );
        assert_eq!(found.input, Some(Wanted { equal: false, value: "docker0".to_owned() }));
        assert_eq!(found.destination, Some(Wanted { equal: true, value: "127.0.0.1/32".parse().unwrap() }));
        assert_eq!((found.protocol, found.ports), (Some(6), Some((8081, 8081))));
        assert_eq!(found.outcome, Outcome::TranslateTo("172.17.0.2".parse().unwrap()));
        assert!(found.is_for(6, 8081) && !found.is_for(17, 8081) && !found.is_for(6, 8082));
    }

    #[test]
    fn prefixes_and_ranges_are_read() {
        let found = facts("-d 127.0.0.0/8 -i lo -o eth1 -p udp -m udp --dport 10:20 -j DROP");
        assert_eq!(found.destination.unwrap().value, "127.0.0.0/8".parse().unwrap());
        assert_eq!(found.output.unwrap().value, "eth1");
        assert_eq!((found.ports, found.outcome), (Some((10, 20)), Outcome::Drop));
        let found = facts("-p tcp -m multiport --dports 80 -j ACCEPT");
        assert_eq!((found.ports, found.outcome), (Some((80, 80)), Outcome::Accept));
    }

    #[test]
    fn what_is_not_asked_for_is_passed_over() {
        let found = facts("-s 10.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER");
        assert_eq!(found, RuleFacts { handle: Some(1), ..RuleFacts::default() });
        assert!(found.is_for(6, 1));
        assert_eq!(facts("-p tcp -j REJECT --reject-with tcp-reset").outcome, Outcome::Drop);
        assert_eq!(facts("-m conntrack --ctorigdstport 8080 -j DROP").ports, Some((8080, 8080)));
    }
}
