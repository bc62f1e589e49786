//! Tables of the older kernel interface, as `iptables-legacy-save` prints them.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Foreign;
use crate::ruleset::{
    Base, Chain, ChainKind, Comparison, CtKey, CtState, Expression, Family, Hook, Load, MetaKey, Policy,
    Register, Reject, Rule, Table, Verdict, priority,
};

/// Reads the table `filter` of what `iptables-legacy-save` (or `ip6tables-legacy-save`) prints; none if it is not
/// among it. What is not understood of a rule becomes something that may match.
pub fn read_saved(family: Family, text: &str) -> Option<Foreign> {
    let mut table = Table::new(family, "filter");
    let lines = text.lines().skip_while(|line| *line != "*filter").skip(1);
    for line in lines.take_while(|line| *line != "COMMIT") {
        if let Some(chain) = line.strip_prefix(':') {
            let mut words = chain.split_whitespace();
            let (name, policy) = (words.next()?, words.next()?);
            table.chains.push(Chain { base: base(name, policy), ..Chain::regular(name) });
        } else if let Some(words) = split(line).as_slice().strip_prefix(&["-A".to_owned()]) {
            let (name, words) = words.split_first()?;
            if let Some(chain) = table.chains.iter_mut().find(|chain| chain.name == *name) {
                let handle = Some(chain.rules.len() as u64 + 1);
                chain.rules.push(Rule { handle, ..rule(family, words) });
            }
        }
    }
    let found = !table.chains.is_empty();
    found.then_some(Foreign { table, legacy: true, owned: false })
}

fn base(name: &str, policy: &str) -> Option<Base> {
    let hook = match name {
        "INPUT" => Hook::Input,
        "FORWARD" => Hook::Forward,
        "OUTPUT" => Hook::Output,
        _ => return None,
    };
    let policy = if policy == "DROP" { Policy::Drop } else { Policy::Accept };
    Some(Base { kind: ChainKind::Filter, hook, priority: priority::FILTER, policy, devices: Vec::new() })
}

/// The words of a line; those in quotes are one.
fn split(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted, mut escaped) = (Vec::new(), String::new(), false, false);
    for letter in line.chars() {
        match letter {
            letter if escaped => {
                word.push(letter);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            ' ' if !quoted => words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty())),
            letter => word.push(letter),
        }
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

/// A rule in the making.
struct Reader {
    family: Family,
    rule: Rule,
}

fn rule(family: Family, words: &[String]) -> Rule {
    let mut reader = Reader { family, rule: Rule::default() };
    let mut words = words.iter().map(String::as_str).peekable();
    let mut inverted = false;
    while let Some(word) = words.next() {
        let not = std::mem::take(&mut inverted);
        match word {
            "!" => inverted = true,
            "-i" => reader.interface(MetaKey::InputName, words.next().unwrap_or_default(), not),
            "-o" => reader.interface(MetaKey::OutputName, words.next().unwrap_or_default(), not),
            "-s" => reader.address(true, words.next().unwrap_or_default(), not),
            "-d" => reader.address(false, words.next().unwrap_or_default(), not),
            "-p" => reader.protocol(words.next().unwrap_or_default(), not),
            "--ctstate" | "--state" => reader.states(words.next().unwrap_or_default(), not),
            "--comment" => reader.rule.comment = words.next().map(str::to_owned),
            // Each of these modules is told by its options.
            "-m" => match words.next() {
                Some("conntrack" | "state" | "comment") | None => {}
                Some(_) => reader.unknown(),
            },
            "-j" => reader.target(words.next().unwrap_or_default()),
            "-g" => {
                let chain = words.next().unwrap_or_default().to_owned();
                reader.push(Expression::Verdict(Verdict::Goto(chain)));
            }
            // Options of modules and targets.
            _ => {}
        }
    }
    reader.rule
}

impl Reader {
    fn push(&mut self, expression: Expression) {
        self.rule.expressions.push(expression);
    }

    /// Something that may match.
    fn unknown(&mut self) {
        self.push(Expression::Unknown { name: "match".to_owned(), attributes: Vec::new() });
    }

    fn compare(&mut self, load: Load, value: Vec<u8>, inverted: bool) {
        let operator = if inverted { Comparison::NotEqual } else { Comparison::Equal };
        self.push(load.into_register(Register::FIRST));
        self.push(Expression::Compare { from: Register::FIRST, operator, value });
    }

    /// A name, or the begin of one with `+` behind it.
    fn interface(&mut self, key: MetaKey, name: &str, inverted: bool) {
        let value = match name.strip_suffix('+') {
            Some(begin) => begin.as_bytes().to_vec(),
            None => [name.as_bytes(), &[0]].concat(),
        };
        if !value.is_empty() {
            self.compare(Load::Meta(key), value, inverted);
        }
    }

    fn address(&mut self, source: bool, text: &str, inverted: bool) {
        let load = match (self.family, source) {
            (Family::Ip, true) => Load::IP_SOURCE,
            (Family::Ip, false) => Load::IP_DESTINATION,
            (_, true) => Load::IP6_SOURCE,
            (_, false) => Load::IP6_DESTINATION,
        };
        let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        let Ok(net) = net else { return self.unknown() };
        let octets = |address: IpAddr| match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let (from, mask) = (Register::FIRST, octets(net.netmask()));
        let operator = if inverted { Comparison::NotEqual } else { Comparison::Equal };
        self.push(load.into_register(from));
        let xor = vec![0; mask.len()];
        self.push(Expression::Bitwise { from, to: from, mask, xor });
        self.push(Expression::Compare { from, operator, value: octets(net.network()) });
    }

    fn protocol(&mut self, name: &str, inverted: bool) {
        let number = match name {
            "tcp" => 6,
            "udp" => 17,
            "icmp" => 1,
            "icmpv6" | "ipv6-icmp" => 58,
            "sctp" => 132,
            other => match other.parse::<u8>() {
                Ok(number) => number,
                Err(_) => return self.unknown(),
            },
        };
        self.compare(Load::TRANSPORT, vec![number], inverted);
    }

    fn states(&mut self, names: &str, inverted: bool) {
        let bit = |name: &str| match name {
            "INVALID" => Some(CtState::Invalid),
            "ESTABLISHED" => Some(CtState::Established),
            "RELATED" => Some(CtState::Related),
            "NEW" => Some(CtState::New),
            "UNTRACKED" => Some(CtState::Untracked),
            _ => None,
        };
        if names.split(',').any(|name| bit(name).is_none()) {
            // Such as DNAT, which is what was done to a flow.
            return self.unknown();
        }
        let mask = names.split(',').filter_map(bit).fold(0, |bits, state| bits | state.number());
        let (from, to) = (Register::FIRST, Register::FIRST);
        self.push(Load::Ct(CtKey::State, None).into_register(from));
        let (mask, xor) = (mask.to_ne_bytes().to_vec(), vec![0; 4]);
        self.push(Expression::Bitwise { from, to, mask, xor });
        let operator = if inverted { Comparison::Equal } else { Comparison::NotEqual };
        self.push(Expression::Compare { from, operator, value: vec![0; 4] });
    }

    fn target(&mut self, name: &str) {
        let expression = match name {
            "ACCEPT" => Expression::Verdict(Verdict::Accept),
            "DROP" => Expression::Verdict(Verdict::Drop),
            "RETURN" => Expression::Verdict(Verdict::Return),
            "REJECT" => Expression::Reject(Reject::AnyUnreachable(0)),
            "QUEUE" | "NFQUEUE" | "SYNPROXY" => {
                Expression::Unknown { name: "queue".to_owned(), attributes: Vec::new() }
            }
            // A chain of that name, or something that notes or changes: there is no such chain then.
            other => Expression::Verdict(Verdict::Jump(other.to_owned())),
        };
        self.push(expression);
    }
}
