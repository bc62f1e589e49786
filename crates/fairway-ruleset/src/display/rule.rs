//! A rule's expressions read back into the statements that a person would write.

mod opaque;

use super::super::{
    CtDirection, Datatype, Expression, Family, FibFlags, LimitRate, LookupResult, MetaKey, NatFlags, NatKind,
    PayloadBase, Register, RegisterRange, Reject, Set, SetData, Table,
};
use super::field::{self, ARP, Field, IPV4, IPV6, Protocols};

/// What a register holds.
#[derive(Debug, Clone)]
enum Held {
    /// Something with a name, perhaps masked.
    Named { name: String, datatype: Datatype, mask: Option<Vec<u8>> },
    /// A constant.
    Constant(Vec<u8>),
    /// A further part of a value that was printed with its first.
    Continued,
}

/// The layer whose protocol a statement determines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Determines {
    Network,
    Transport,
}

struct Statement {
    text: String,
    determines: Option<Determines>,
    /// A later statement says it too.
    implied: bool,
}

struct Reader<'a> {
    table: &'a Table,
    held: Vec<Option<Held>>,
    protocols: Protocols,
    statements: Vec<Statement>,
}

/// The statements of a rule, joined by blanks.
pub(super) fn text(table: &Table, expressions: &[Expression]) -> String {
    let network = match table.family {
        Family::Ip => Some(IPV4),
        Family::Ip6 => Some(IPV6),
        Family::Arp => Some(ARP),
        _ => None,
    };
    let mut reader = Reader {
        table,
        held: vec![None; usize::from(Register::COUNT)],
        protocols: Protocols { network, transport: None },
        statements: Vec::new(),
    };
    for expression in expressions {
        reader.read(expression);
    }
    let kept: Vec<String> = reader
        .statements
        .into_iter()
        .filter(|statement| !statement.implied)
        .map(|statement| statement.text)
        .collect();
    kept.join(" ")
}

impl Reader<'_> {
    fn read(&mut self, expression: &Expression) {
        match expression {
            Expression::Meta { key, to } => self.name(*to, key.to_string(), key.datatype()),
            Expression::MetaSet { key, from } => {
                let value = self.value(*from, key.datatype());
                let key = key.to_string();
                let meta = if key.starts_with("meta") { "" } else { "meta " };
                self.say(format!("{meta}{key} set {value}"));
            }
            Expression::Payload { base, offset, length, to } => {
                let field = self.field(*base, *offset, *length);
                self.name(*to, field.name, field.datatype);
            }
            Expression::PayloadSet { from, base, offset, length, .. } => {
                let field = self.field(*base, *offset, *length);
                let value = self.value(*from, field.datatype);
                self.say(format!("{} set {value}", field.name));
            }
            Expression::Extension { kind, number, offset, length, present, to } => {
                let name = if *present {
                    format!("{kind} {number}")
                } else {
                    format!("{kind} @{number},{},{}", offset * 8, length * 8)
                };
                let datatype = if *present { Datatype::Boolean } else { Datatype::Bytes };
                self.name(*to, name, datatype);
            }
            Expression::Compare { from, operator, value } => self.compare(*from, *operator, value),
            Expression::Range { from, inverted, first, last } => {
                let (name, datatype) = self.named(*from);
                let not = if *inverted { "!= " } else { "" };
                self.say(format!("{name} {not}{}", super::range_text(datatype, first, last)));
            }
            Expression::Bitwise { from, to, mask, xor } => self.mask(*from, *to, mask, xor),
            Expression::Byteorder { from, to, .. } => {
                // It is compared in network order then, so that less and greater mean what they say.
                let (name, datatype) = self.named(*from);
                self.name(*to, name, Datatype::Other { number: 4, length: datatype.length() as u8 });
            }
            Expression::Lookup { set, from, result } => self.look_up(set, *from, *result),
            Expression::Update { set, from } => {
                let key = self.key_text(self.table.set(set), *from);
                self.say(format!("update @{set} {{ {key} }}"));
            }
            Expression::Immediate { to, value } => {
                self.held[usize::from(to.slot())] = Some(Held::Constant(value.clone()));
            }
            Expression::Ct { key, direction, to } => {
                self.name(*to, format!("ct {}{key}", side(*direction)), key.datatype());
            }
            Expression::CtSet { key, direction, from } => {
                let value = self.value(*from, key.datatype());
                self.say(format!("ct {}{key} set {value}", side(*direction)));
            }
            Expression::Fib { result, flags, to } => {
                let kind =
                    if flags.contains(FibFlags::PRESENT) { Datatype::Boolean } else { result.datatype() };
                self.name(*to, format!("fib {} {result}", fib_text(*flags)), kind);
            }
            Expression::Socket { key, to } => self.name(*to, format!("socket {key}"), key.datatype()),
            Expression::Nat { kind, family, address, port, flags } => {
                let word = match kind {
                    NatKind::Source => "snat",
                    NatKind::Destination => "dnat",
                };
                let datatype =
                    if *family == Family::Ip6 { Datatype::Ipv6Address } else { Datatype::Ipv4Address };
                let target = self.target(address.map(|address| (address, datatype)), *port);
                let family =
                    if self.table.family == Family::Inet { format!(" {family}") } else { String::new() };
                self.say(format!("{word}{family}{target}{}", nat_flags(*flags)));
            }
            Expression::Masquerade { port, flags } => {
                let target = self.target(None, *port);
                self.say(format!("masquerade{target}{}", nat_flags(*flags)));
            }
            Expression::Redirect { port, flags } => {
                let target = self.target(None, *port);
                self.say(format!("redirect{target}{}", nat_flags(*flags)));
            }
            Expression::Verdict(verdict) => self.say(verdict.to_string()),
            Expression::Counter(count) => {
                self.say(format!("counter packets {} bytes {}", count.packets, count.bytes));
            }
            Expression::Reject(reject) => self.say(reject_text(*reject)),
            Expression::Limit(limit) => self.say(limit_text(*limit)),
            Expression::Notrack => self.say("notrack".into()),
            Expression::Unknown { name, attributes } => {
                if !self.read_opaque(name, attributes) {
                    self.say(format!("[{name}]"));
                }
            }
            Expression::NumberGenerator { source, modulus, offset, to } => {
                let offset = if *offset == 0 { String::new() } else { format!(" offset {offset}") };
                self.name(*to, format!("{source} mod {modulus}{offset}"), Datatype::HostInteger);
            }
            Expression::Chance { numerator, denominator } => {
                self.say(format!("[{numerator} of {denominator}]"));
            }
            Expression::Undecided { holds, fails, inverted, .. } => {
                self.say(format!("[{}]", if *inverted { fails } else { holds }));
            }
            Expression::MovedPort { base, first, last, to } => {
                self.name(*to, format!("{first}-{last}/{base}"), Datatype::InetService);
            }
            Expression::OneOf { ways, inverted } => {
                let not = if *inverted { "none" } else { "one" };
                self.say(format!("[{not} of {}]", ways.len()));
            }
            Expression::BridgePort { output, to } => {
                let side = if *output { "out" } else { "in" };
                self.name(*to, format!("physdev {side}"), Datatype::InterfaceName);
            }
            Expression::ExclusiveOr { one, other, to, .. } => {
                let name = format!("{} ^ {}", self.named(*one).0, self.named(*other).0);
                self.name(*to, name, Datatype::HostInteger);
            }
        }
    }

    fn say(&mut self, text: String) {
        self.statements.push(Statement { text, determines: None, implied: false });
    }

    fn name(&mut self, to: Register, name: String, datatype: Datatype) {
        self.held[usize::from(to.slot())] = Some(Held::Named { name, datatype, mask: None });
    }

    fn field(&mut self, base: PayloadBase, offset: u32, length: u32) -> Field {
        let field = field::field(self.protocols, base, offset, length);
        for statement in &mut self.statements {
            statement.implied |= statement.determines == Some(Determines::Network) && field.implies_network
                || statement.determines == Some(Determines::Transport) && field.implies_transport;
        }
        field
    }

    fn named(&self, register: Register) -> (String, Datatype) {
        match &self.held[usize::from(register.slot())] {
            Some(Held::Named { name, datatype, .. }) => (name.clone(), *datatype),
            Some(Held::Constant(value)) => (field::hexadecimal(value), Datatype::Bytes),
            Some(Held::Continued) | None => (format!("register {}", register.slot()), Datatype::Bytes),
        }
    }

    /// What a register holds, as a value of a type.
    fn value(&self, register: Register, datatype: Datatype) -> String {
        match &self.held[usize::from(register.slot())] {
            Some(Held::Constant(value)) => datatype.text(value),
            _ => self.named(register).0,
        }
    }

    fn compare(&mut self, from: Register, operator: super::super::Comparison, value: &[u8]) {
        use super::super::Comparison::{Equal, LessOrEqual, NotEqual};
        let (name, datatype) = self.named(from);
        let mask = match &self.held[usize::from(from.slot())] {
            Some(Held::Named { mask, .. }) => mask.clone(),
            _ => None,
        };
        let sign = if operator == Equal { String::new() } else { format!("{operator} ") };
        let is_flags = matches!(datatype, Datatype::CtState | Datatype::CtStatus);
        let text = match mask {
            Some(mask) if operator == NotEqual && value.iter().all(|byte| *byte == 0) && is_flags => {
                format!("{name} {}", datatype.text(&mask))
            }
            Some(mask) => match field::prefix_text(datatype, value, &mask) {
                Some(prefix) => format!("{name} {sign}{prefix}"),
                None => format!("{name} & {} {operator} {}", datatype.text(&mask), datatype.text(value)),
            },
            None if value.len() < datatype.length() => {
                match field::prefix_text(datatype, value, &vec![0xff; value.len()]) {
                    Some(prefix) => format!("{name} {sign}{prefix}"),
                    None => format!("{name} {sign}{}", datatype.text(value)),
                }
            }
            None => format!("{name} {sign}{}", datatype.text(value)),
        };
        if operator == LessOrEqual
            && let Some(before) = self.statements.last_mut()
            && let Some(least) = before.text.strip_prefix(&format!("{name} >= "))
            && let Some(greatest) = text.strip_prefix(&format!("{name} <= "))
        {
            before.text = format!("{name} {least}-{greatest}");
            return;
        }
        self.say(text);
        if operator == Equal {
            self.learn(&name, value);
        }
    }

    /// Notes what an equality says about the packet's protocols.
    fn learn(&mut self, name: &str, value: &[u8]) {
        let determines = if name == MetaKey::NetworkFamily.to_string() {
            self.protocols.network = match value {
                [2] => Some(IPV4),
                [10] => Some(IPV6),
                _ => None,
            };
            Determines::Network
        } else if name == MetaKey::Protocol.to_string() || name == "ether type" {
            self.protocols.network = value.try_into().map(u16::from_be_bytes).ok();
            Determines::Network
        } else if [MetaKey::TransportProtocol.to_string().as_str(), "ip protocol", "ip6 nexthdr"]
            .contains(&name)
        {
            self.protocols.transport = value.first().copied();
            Determines::Transport
        } else {
            return;
        };
        if let Some(statement) = self.statements.last_mut() {
            statement.determines = Some(determines);
        }
    }

    fn mask(&mut self, from: Register, to: Register, mask: &[u8], xor: &[u8]) {
        let (name, datatype) = self.named(from);
        let held = if xor.iter().all(|byte| *byte == 0) {
            Held::Named { name, datatype, mask: Some(mask.to_vec()) }
        } else {
            let name = format!("{name} & {} ^ {}", datatype.text(mask), datatype.text(xor));
            Held::Named { name, datatype, mask: None }
        };
        self.held[usize::from(to.slot())] = Some(held);
    }

    fn look_up(&mut self, name: &str, from: Register, result: LookupResult) {
        let set = self.table.set(name);
        let key = self.key_text(set, from);
        let target = match set {
            Some(set) if set.flags.anonymous => {
                let elements: Vec<String> =
                    set.elements.iter().map(|element| super::element_text(set, element)).collect();
                format!("{{ {} }}", elements.join(", "))
            }
            _ => format!("@{name}"),
        };
        match result {
            LookupResult::Match => self.say(format!("{key} {target}")),
            LookupResult::NoMatch => self.say(format!("{key} != {target}")),
            LookupResult::Verdict => self.say(format!("{key} vmap {target}")),
            LookupResult::Value(to) => {
                let parts = match set.map(|set| &set.data) {
                    Some(SetData::Value(parts)) => parts.clone(),
                    _ => vec![Datatype::Bytes],
                };
                let mut slot = Some(to);
                for (at, part) in parts.iter().enumerate() {
                    let Some(register) = slot else { break };
                    self.held[usize::from(register.slot())] = Some(match at {
                        0 => Held::Named { name: format!("{key} map {target}"), datatype: *part, mask: None },
                        _ => Held::Continued,
                    });
                    slot = register.after(part.padded_length());
                }
            }
        }
    }

    fn key_text(&self, set: Option<&Set>, from: Register) -> String {
        let Some(set) = set else { return self.named(from).0 };
        let mut texts = Vec::new();
        let mut slot = Some(from);
        for part in &set.key {
            let Some(register) = slot else { break };
            texts.push(self.named(register).0);
            slot = register.after(part.padded_length());
        }
        texts.join(" . ")
    }

    fn target(&self, address: Option<(RegisterRange, Datatype)>, port: Option<RegisterRange>) -> String {
        if address.is_none() && port.is_none() {
            return String::new();
        }
        let mut text = String::from(" to ");
        if let Some((address, datatype)) = address {
            let first = self.value(address.first, datatype);
            // The colons of an address and the one before a port have to differ.
            let is_constant = matches!(self.held[usize::from(address.first.slot())], Some(Held::Constant(_)));
            if is_constant && port.is_some() && datatype == Datatype::Ipv6Address {
                text.push_str(&format!("[{first}]"));
            } else {
                text.push_str(&first);
            }
            if address.last != address.first {
                text.push_str(&format!("-{}", self.value(address.last, datatype)));
            }
        }
        if let Some(port) = port
            && !matches!(self.held[usize::from(port.first.slot())], Some(Held::Continued))
        {
            text.push_str(&format!(":{}", self.value(port.first, Datatype::InetService)));
            if port.last != port.first {
                text.push_str(&format!("-{}", self.value(port.last, Datatype::InetService)));
            }
        }
        text
    }
}

fn side(direction: Option<CtDirection>) -> String {
    direction.map(|direction| format!("{direction} ")).unwrap_or_default()
}

fn fib_text(flags: FibFlags) -> String {
    let words = [
        (FibFlags::SOURCE, "saddr"),
        (FibFlags::DESTINATION, "daddr"),
        (FibFlags::MARK, "mark"),
        (FibFlags::INPUT, "iif"),
        (FibFlags::OUTPUT, "oif"),
    ];
    let set: Vec<&str> =
        words.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, word)| *word).collect();
    set.join(" . ")
}

fn nat_flags(flags: NatFlags) -> String {
    let words = [
        (NatFlags::RANDOM, "random"),
        (NatFlags::FULLY_RANDOM, "fully-random"),
        (NatFlags::PERSISTENT, "persistent"),
        (NatFlags::NETMAP, "netmap"),
    ];
    let set: Vec<&str> =
        words.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, word)| *word).collect();
    if set.is_empty() { String::new() } else { format!(" {}", set.join(",")) }
}

fn reject_text(reject: Reject) -> String {
    match reject {
        Reject::TcpReset => "reject with tcp reset".into(),
        Reject::AnyUnreachable(1) => "reject".into(),
        Reject::AnyUnreachable(0) => "reject with icmpx no-route".into(),
        Reject::AnyUnreachable(2) => "reject with icmpx host-unreachable".into(),
        Reject::AnyUnreachable(3) => "reject with icmpx admin-prohibited".into(),
        Reject::AnyUnreachable(code) => format!("reject with icmpx {code}"),
        Reject::Unreachable(code) => format!("reject with icmp {code}"),
    }
}

pub(super) fn limit_text(limit: LimitRate) -> String {
    let over = if limit.inverted { "over " } else { "" };
    format!("limit rate {over}{limit}")
}
