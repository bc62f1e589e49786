//! Tables that note which packets come by, at the beginning and the end of every hook.
//!
//! Their rules are walked like all others, so what the walker has counted can be compared with what the kernel has.

use fairway_kernel::nftables::{Transaction, Writer};
use fairway_lab::Place;
use fairway_ruleset::{
    Chain, ChainKind, Comparison, Datatype, Expression, Family, Hook, MetaKey, PayloadBase, Register, Rule,
    Set, Table,
};

/// The table's name, in both families.
pub const NAME: &str = "watch";
/// How many keys a set takes.
const SIZE: u32 = 65_536;
/// Before all others, and after them.
const ENDS: [i32; 2] = [-1000, 1000];
const HOOKS: [Hook; 5] = [Hook::Prerouting, Hook::Input, Hook::Forward, Hook::Output, Hook::Postrouting];

/// The sets of both families.
pub const SETS: [&str; 2] = ["seen4", "seen6"];

fn set(ipv4: bool) -> Set {
    let address = if ipv4 { Datatype::Ipv4Address } else { Datatype::Ipv6Address };
    use Datatype::Mark;
    Set::new(SETS[usize::from(!ipv4)], [Mark, Mark, Mark, address, address, Mark, Mark, Mark])
        .filled_by_rules(SIZE)
}

/// What is noted of a packet besides its addresses.
enum Kind {
    /// Ports.
    Ports(u8),
    /// An echo: its type and identifier.
    Echo,
    /// An error: its type and code, and the ports, or the identifier and number, of what it is about.
    Error { about_echo: bool },
}

const ERROR: Kind = Kind::Error { about_echo: false };
const ABOUT_ECHO: Kind = Kind::Error { about_echo: true };

/// A rule in the making.
struct Noting {
    expressions: Vec<Expression>,
    next: Register,
}

impl Noting {
    fn put(&mut self, length: usize, load: impl FnOnce(Register) -> Expression) {
        self.expressions.push(load(self.next));
        self.next = self.next.after(length).unwrap_or(self.next);
    }

    fn number(&mut self, number: u32) {
        self.put(4, |to| Expression::Immediate { to, value: number.to_be_bytes().to_vec() });
    }

    fn payload(&mut self, base: PayloadBase, offset: u32, length: u32) {
        self.put(length as usize, |to| Expression::Payload { base, offset, length, to });
    }

    fn is(&mut self, load: Expression, mask: Option<u8>, value: &[u8]) {
        let from = Register::FIRST;
        self.expressions.push(load);
        if let Some(mask) = mask {
            let (mask, xor) = (vec![mask], vec![0]);
            self.expressions.push(Expression::Bitwise { from, to: from, mask, xor });
        }
        let value = value.to_vec();
        self.expressions.push(Expression::Compare { from, operator: Comparison::Equal, value });
    }
}

/// Notes packets of a kind at a place, which has a number.
fn rule(bridged: bool, ipv4: bool, place: u32, kind: &Kind) -> Rule {
    use PayloadBase::{Link, Network, Transport};
    let to = Register::FIRST;
    let mut rule = Noting { expressions: Vec::new(), next: Register::FIRST };
    let payload = |base, offset, length| Expression::Payload { base, offset, length, to };
    match bridged {
        true => rule.is(payload(Link, 12, 2), None, if ipv4 { &[0x08, 0x00] } else { &[0x86, 0xdd] }),
        false => {
            let family = if ipv4 { Family::Ip } else { Family::Ip6 };
            rule.is(Expression::Meta { key: MetaKey::NetworkFamily, to }, None, &[family.number()]);
        }
    }
    let icmp = if ipv4 { 1 } else { 58 };
    let protocol = if let Kind::Ports(protocol) = kind { *protocol } else { icmp };
    rule.is(Expression::Meta { key: MetaKey::TransportProtocol, to }, None, &[protocol]);
    // Echo and its reply differ by a bit: 8 and 0, 128 and 129. "Unreachable" is 3 and 1.
    match (kind, ipv4) {
        (Kind::Ports(_), _) => {}
        (Kind::Echo, true) => rule.is(payload(Transport, 0, 1), Some(0xf7), &[0]),
        (Kind::Echo, false) => rule.is(payload(Transport, 0, 1), Some(0xfe), &[128]),
        (Kind::Error { .. }, _) => rule.is(payload(Transport, 0, 1), None, &[if ipv4 { 3 } else { 1 }]),
    }
    if let Kind::Error { about_echo } = kind {
        let about = payload(Transport, 8 + if ipv4 { 9 } else { 6 }, 1);
        let operator = if *about_echo { Comparison::Equal } else { Comparison::NotEqual };
        rule.expressions.push(about);
        rule.expressions.push(Expression::Compare { from: to, operator, value: vec![icmp] });
    }
    rule.number(place);
    rule.put(4, |to| Expression::Meta { key: MetaKey::InputInterface, to });
    rule.put(4, |to| Expression::Meta { key: MetaKey::OutputInterface, to });
    let (at, length) = if ipv4 { (12, 4) } else { (8, 16) };
    rule.payload(Network, at, length);
    rule.payload(Network, at + length, length);
    rule.number(protocol.into());
    match kind {
        Kind::Ports(_) => {
            rule.payload(Transport, 0, 4);
            rule.number(0);
        }
        Kind::Echo => {
            rule.payload(Transport, 0, 2);
            rule.payload(Transport, 4, 2);
        }
        Kind::Error { about_echo } => {
            rule.payload(Transport, 0, 2);
            let about = 8 + if ipv4 { 20 } else { 40 };
            rule.payload(Transport, if *about_echo { about + 4 } else { about }, 4);
        }
    }
    rule.expressions
        .push(Expression::Update { set: SETS[usize::from(!ipv4)].to_owned(), from: Register::FIRST });
    Rule { expressions: rule.expressions, ..Rule::default() }
}

fn table(bridged: bool) -> Table {
    let family = if bridged { Family::Bridge } else { Family::Inet };
    let mut table = Table::new(family, NAME);
    table.sets = vec![set(true), set(false)];
    for (number, hook) in HOOKS.into_iter().enumerate() {
        for (end, priority) in ENDS.into_iter().enumerate() {
            let place = (number * 2 + end) as u32;
            let kinds = [Kind::Ports(6), Kind::Ports(17), Kind::Echo, ERROR, ABOUT_ECHO];
            let rules = [true, false].into_iter().flat_map(|ipv4| {
                kinds.iter().map(move |kind| rule(bridged, ipv4, place, kind)).collect::<Vec<_>>()
            });
            let chain = Chain::base(format!("at{place}"), ChainKind::Filter, hook, priority);
            table.chains.push(chain.with(rules));
        }
    }
    table
}

/// Begins to watch a place.
pub fn begin(place: &Place) {
    place
        .run_in(|| {
            let mut transaction = Transaction::new();
            transaction.create(&table(false)).create(&table(true));
            Writer::open().unwrap().commit(transaction).unwrap();
        })
        .unwrap();
}

/// What was noted: family, whether it is IPv4, key.
pub fn read(place: &Place) -> Vec<(Family, bool, Vec<u8>)> {
    place
        .run_in(|| {
            let writer = Writer::open().unwrap();
            let mut all = Vec::new();
            for family in [Family::Inet, Family::Bridge] {
                for ipv4 in [true, false] {
                    let found = writer.reader().elements(family, NAME, &set(ipv4)).unwrap();
                    all.extend(found.into_iter().map(|element| (family, ipv4, element.key)));
                }
            }
            all
        })
        .unwrap()
}

/// A key in words, for the report of a disagreement.
pub fn words(family: Family, ipv4: bool, key: &[u8]) -> String {
    let number = |at: usize| u32::from_be_bytes(key[at..at + 4].try_into().unwrap_or_default());
    let native = |at: usize| u32::from_ne_bytes(key[at..at + 4].try_into().unwrap_or_default());
    let length = if ipv4 { 4 } else { 16 };
    let address = |at: usize| match ipv4 {
        true => std::net::Ipv4Addr::from(number(at)).to_string(),
        false => {
            std::net::Ipv6Addr::from(<[u8; 16]>::try_from(&key[at..at + 16]).unwrap_or_default()).to_string()
        }
    };
    let place = number(0) as usize;
    let end = ["begins", "ends"][place % 2];
    let rest = 12 + 2 * length;
    let pair = |at: usize| {
        let [a, b, c, d] = number(at).to_be_bytes();
        format!("{}/{}", u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
    };
    format!(
        "{family} {} {end}, in {} out {}: protocol {} {} > {} {} {}",
        HOOKS[place / 2],
        native(4),
        native(8),
        number(rest),
        address(12),
        address(12 + length),
        pair(rest + 4),
        pair(rest + 8),
    )
}
