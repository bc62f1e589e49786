//! The words of `nft` for expressions that are kept as they came (linux/netfilter/nf_tables.h).

use super::{Datatype, Reader, Register, SetData};
use crate::compat;

/// The attributes of an expression.
#[derive(Clone, Copy)]
struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    fn bytes(self, kind: u16) -> Option<&'a [u8]> {
        compat::attribute(self.0, kind)
    }

    /// A number of up to eight bytes in network order.
    fn number(self, kind: u16) -> Option<u64> {
        let bytes = self.bytes(kind).filter(|bytes| bytes.len() <= 8)?;
        Some(bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    fn text(self, kind: u16) -> Option<String> {
        let bytes = self.bytes(kind)?.split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    }

    fn register(self, kind: u16) -> Option<Register> {
        Register::from_number(self.number(kind)?.try_into().ok()?)
    }

    /// An attribute behind a word, if there is one.
    fn with_word(self, word: &str, kind: u16) -> Option<String> {
        Some(format!("{word} {}", self.number(kind)?))
    }
}

impl Reader<'_> {
    /// Reads an expression; false if nothing is known of it.
    pub(super) fn read_opaque(&mut self, name: &str, attributes: &[u8]) -> bool {
        let attributes = Attributes(attributes);
        let done = match name {
            "ct" | "rt" | "osf" | "exthdr" => self.load_or_set(name, attributes),
            "dynset" => self.change_set(attributes),
            "objref" => self.refer(attributes),
            "tproxy" => self.redirect_to_socket(attributes),
            _ => statement(name, attributes).map(|text| self.say(text)),
        };
        done.is_some()
    }

    /// An expression that loads a value into a register, or sets it from one.
    fn load_or_set(&mut self, name: &str, attributes: Attributes<'_>) -> Option<()> {
        /// The register to load into has the same number in all of them.
        const TO: u16 = 1;
        let (text, datatype, from) = match name {
            "ct" => (ct(attributes)?, Datatype::Bytes, 4),
            "rt" => route(attributes).map(|(text, datatype)| (text, datatype, 0))?,
            "osf" => (fingerprint(attributes), Datatype::InterfaceName, 0),
            _ => (option(attributes)?, Datatype::InetService, 7),
        };
        match attributes.register(TO) {
            Some(to) => self.name(to, text, datatype),
            None => {
                let value = self.value(attributes.register(from)?, datatype);
                self.say(format!("{text} set {value}"));
            }
        }
        Some(())
    }

    /// A statement that puts an element into a set, or takes it away.
    fn change_set(&mut self, attributes: Attributes<'_>) -> Option<()> {
        let (name, key) = (attributes.text(1)?, attributes.register(4)?);
        let word = ["add", "update", "delete"].get(attributes.number(3)? as usize)?;
        let key = self.key_text(self.table.set(&name), key);
        let timeout = attributes.number(6).filter(|it| *it != 0).map(|it| format!(" timeout {it}ms"));
        self.say(format!("{word} @{name} {{ {key}{} }}", timeout.unwrap_or_default()));
        Some(())
    }

    /// A statement with an object, which has a name or is the value of a map.
    fn refer(&mut self, attributes: Attributes<'_>) -> Option<()> {
        if let (Some(kind), Some(name)) = (attributes.number(1), attributes.text(2)) {
            self.say(format!("{} \"{name}\"", object(kind)?));
            return Some(());
        }
        let (from, name) = (attributes.register(3)?, attributes.text(4)?);
        let set = self.table.set(&name)?;
        let SetData::Object(kind) = set.data else { return None };
        let key = self.key_text(Some(set), from);
        self.say(format!("{} {key} map @{name}", object(kind.into())?));
        Some(())
    }

    /// `tproxy`, with the registers of an address and a port.
    fn redirect_to_socket(&mut self, attributes: Attributes<'_>) -> Option<()> {
        let (family, datatype) = match attributes.number(1)? {
            2 => (" ip", Datatype::Ipv4Address),
            10 => (" ip6", Datatype::Ipv6Address),
            _ => ("", Datatype::Bytes),
        };
        let address = attributes.register(2).map(|it| (it.into(), datatype));
        let target = self.target(address, attributes.register(3).map(Into::into));
        self.say(format!("tproxy{family}{target}"));
        Some(())
    }
}

/// What a statement with an object begins with (`NFT_OBJECT_*`).
fn object(kind: u64) -> Option<&'static str> {
    Some(match kind {
        1 => "counter name",
        2 => "quota name",
        3 => "ct helper set",
        4 => "limit name",
        5 => "ct count name",
        7 => "ct timeout set",
        8 => "meta secmark set",
        9 => "ct expectation set",
        10 => "synproxy name",
        _ => return None,
    })
}

/// What is known of a flow (`NFT_CT_*`) besides the keys that rules are evaluated on.
fn ct(attributes: Attributes<'_>) -> Option<String> {
    let key = match attributes.number(2)? {
        4 => "secmark",
        13 => "label",
        16 => "avgpkt",
        18 => "event",
        _ => return None,
    };
    let side = match attributes.number(3) {
        Some(0) => "original ",
        Some(_) => "reply ",
        None => "",
    };
    Some(format!("ct {side}{key}"))
}

/// What is known of the packet's route (`NFT_RT_*`).
fn route(attributes: Attributes<'_>) -> Option<(String, Datatype)> {
    let (name, datatype) = match attributes.number(2)? {
        0 => ("rt classid", Datatype::HostInteger),
        1 => ("rt ip nexthop", Datatype::Ipv4Address),
        2 => ("rt ip6 nexthop", Datatype::Ipv6Address),
        3 => ("rt mtu", Datatype::Bytes),
        4 => ("rt ipsec", Datatype::Boolean),
        _ => return None,
    };
    Some((name.to_owned(), datatype))
}

/// The system of the sender, by its first segment.
fn fingerprint(attributes: Attributes<'_>) -> String {
    let ttl = match attributes.number(2) {
        Some(1) => "ttl loose ",
        Some(2) => "ttl skip ",
        _ => "",
    };
    let what = if attributes.number(3) == Some(1) { "version" } else { "name" };
    format!("osf {ttl}{what}")
}

/// A field of a TCP option that a rule sets.
fn option(attributes: Attributes<'_>) -> Option<String> {
    const TCP: u64 = 1;
    let place = (attributes.number(2)?, attributes.number(3)?, attributes.number(4)?);
    Some(match (attributes.number(6)?, place) {
        (TCP, (2, 2, 2)) => "tcp option maxseg size".to_owned(),
        (TCP, (kind, offset, length)) => format!("tcp option @{kind},{},{}", offset * 8, length * 8),
        _ => return None,
    })
}

/// A statement without registers.
fn statement(name: &str, attributes: Attributes<'_>) -> Option<String> {
    Some(match name {
        "log" => log(attributes),
        "queue" => queue(attributes)?,
        "flow_offload" => format!("flow add @{}", attributes.text(1)?),
        "last" => "last".to_owned(),
        "synproxy" => {
            let size = attributes.with_word(" mss", 1).unwrap_or_default();
            let scale = attributes.with_word(" wscale", 2).unwrap_or_default();
            let flags = attributes.number(3).unwrap_or_default();
            let has = |bit: u64, word| if flags & bit != 0 { word } else { "" };
            format!("synproxy{size}{scale}{}{}", has(8, " timestamp"), has(4, " sack-perm"))
        }
        "match" | "target" => format!("xt {name} \"{}\"", attributes.text(1)?),
        _ => return None,
    })
}

fn log(attributes: Attributes<'_>) -> String {
    const WARNING: u64 = 4;
    const ALL: u64 = 0x2f;
    let levels = ["emerg", "alert", "crit", "err", "warn", "notice", "info", "debug", "audit"];
    let level = attributes.number(5).filter(|level| *level != WARNING);
    let flags = attributes.number(6).unwrap_or_default();
    let words = match flags & ALL {
        ALL => vec!["all"],
        _ => {
            let tcp = ["", "tcp sequence", "tcp options", "tcp sequence,options"];
            let rest = [(4, "ip options"), (8, "skuid"), (0x20, "ether")];
            let rest = rest.into_iter().filter(|(bit, _)| flags & bit != 0).map(|(_, word)| word);
            [tcp[(flags & 3) as usize]].into_iter().filter(|word| !word.is_empty()).chain(rest).collect()
        }
    };
    let parts = [
        attributes.text(2).map(|prefix| format!("prefix \"{prefix}\"")),
        attributes.with_word("group", 1),
        attributes.with_word("snaplen", 3),
        attributes.with_word("queue-threshold", 4),
        level.and_then(|level| Some(format!("level {}", levels.get(level as usize)?))),
    ];
    let words = words.into_iter().map(|word| format!("flags {word}"));
    ["log".to_owned()]
        .into_iter()
        .chain(parts.into_iter().flatten())
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}

fn queue(attributes: Attributes<'_>) -> Option<String> {
    let first = attributes.number(1)?;
    let last = first + attributes.number(2).unwrap_or(1).saturating_sub(1);
    let flags = match attributes.number(3).unwrap_or_default() & 3 {
        1 => " flags bypass",
        2 => " flags fanout",
        3 => " flags bypass,fanout",
        _ => "",
    };
    Some(if last == first {
        format!("queue{flags} to {first}")
    } else {
        format!("queue{flags} to {first}-{last}")
    })
}

#[cfg(test)]
mod tests {
    use crate::{Datatype, Expression, Family, Register, Set, SetData, Table, rule};

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

    fn text(name: &str, attributes: &[(u16, &[u8])]) -> String {
        let mut table = Table::new(Family::Inet, "mine");
        let mut quotas = Set::new("quotas", [Datatype::InetService]);
        quotas.data = SetData::Object(2);
        table.sets.push(quotas);
        let opaque = Expression::Unknown { name: name.to_owned(), attributes: data(attributes) };
        let port = Expression::Immediate { to: Register::FIRST, value: vec![19, 136] };
        table.rule_text(&rule().expression(port).expression(opaque).into())
    }

    #[test]
    fn statements_have_the_words_of_nft() {
        let first = Register::FIRST.number().to_be_bytes();
        assert_eq!(text("queue", &[(1, &[0, 5]), (2, &[0, 1])]), "queue to 5");
        assert_eq!(
            text("queue", &[(1, &[0, 1]), (2, &[0, 3]), (3, &[0, 3])]),
            "queue flags bypass,fanout to 1-3"
        );
        assert_eq!(text("queue", &[(1, &[0, 1]), (3, &[0, 1])]), "queue flags bypass to 1");
        assert_eq!(text("log", &[(5, &[0, 0, 0, 4])]), "log");
        assert_eq!(text("log", &[(6, &[0, 0, 0, 0x0c])]), "log flags ip options flags skuid");
        assert_eq!(text("flow_offload", &[(1, b"fast\0")]), "flow add @fast");
        assert_eq!(text("match", &[(1, b"geoip\0")]), "xt match \"geoip\"");
        assert_eq!(text("tproxy", &[(1, &[0, 0, 0, 2]), (3, &first)]), "tproxy ip to :5000");
        let update: [(u16, &[u8]); 3] = [(1, b"quotas\0"), (3, &[0, 0, 0, 1]), (4, &first)];
        assert_eq!(text("dynset", &update), "update @quotas { 0x1388 }");
        assert_eq!(text("objref", &[(3, &first), (4, b"quotas\0")]), "quota name 0x1388 map @quotas");
        assert_eq!(text("ct", &[(2, &[0, 0, 0, 13]), (4, &first)]), "ct label set 0x1388");
        // What is not known.
        for name in ["objref", "dynset", "rt", "ct", "exthdr", "queue", "tproxy", "what"] {
            assert_eq!(text(name, &[]), format!("[{name}]"));
        }
    }
}
