//! The kernel's expressions.

use super::{
    ByteOrder, Comparison, CtDirection, CtKey, ExtensionKind, Family, FibFlags, FibResult, MetaKey, NatFlags,
    PayloadBase, Register, RegisterRange, SocketKey,
};

/// Where a packet goes next.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// On to the next base chain of the hook.
    Accept,
    /// Nowhere.
    Drop,
    /// To the next expression.
    Continue,
    /// To the next rule.
    Break,
    /// To the rule after the jump; in a base chain, to its policy.
    Return,
    /// To a chain, and back after it.
    Jump(String),
    /// To a chain, and not back.
    Goto(String),
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
            Self::Continue => f.write_str("continue"),
            Self::Break => f.write_str("break"),
            Self::Return => f.write_str("return"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
            Self::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}

/// What passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes, from the network header on.
    pub bytes: u64,
}

/// Which checksums are updated after bytes of a packet were replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Checksum {
    /// None.
    None,
    /// The internet checksum (RFC 1071) at an offset from the same base.
    Internet {
        /// The offset, in bytes.
        offset: u32,
        /// Whether the replaced bytes are also part of the transport's pseudo header.
        pseudo_header: bool,
    },
    /// The CRC of SCTP.
    Sctp,
}

/// What is translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NatKind {
    /// The source.
    Source,
    /// The destination.
    Destination,
}

/// How a refused packet is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reject {
    /// With an ICMP or ICMPv6 "unreachable" of that code.
    Unreachable(u8),
    /// With a TCP reset.
    TcpReset,
    /// With an "unreachable" of the packet's family (`NFT_REJECT_ICMPX_*`).
    AnyUnreachable(u8),
}

/// The codes of [`Reject::AnyUnreachable`] (`NFT_REJECT_ICMPX_*`).
const NO_ROUTE: u8 = 0;
const PORT_UNREACHABLE: u8 = 1;
const HOST_UNREACHABLE: u8 = 2;
const PROHIBITED: u8 = 3;

impl Reject {
    /// The same in codes that mean the same for both families, where they have one in common (RFC 792, RFC 1812 5.2.7.1,
    /// RFC 4443 3.1).
    pub const fn of_any(self, family: Family) -> Self {
        let Self::Unreachable(code) = self else { return self };
        Self::AnyUnreachable(match (family, code) {
            (_, 0) => NO_ROUTE,
            (Family::Ip6, 4) | (Family::Ip, 3) => PORT_UNREACHABLE,
            (Family::Ip6, 3) | (Family::Ip, 1) => HOST_UNREACHABLE,
            (Family::Ip6, 1) | (Family::Ip, 9 | 10 | 13) => PROHIBITED,
            _ => return self,
        })
    }

    /// Whether the sender gets a TCP reset in place of an ICMP error.
    pub const fn is_refusal(self) -> bool {
        matches!(self, Self::TcpReset | Self::AnyUnreachable(PORT_UNREACHABLE))
    }
}

impl std::fmt::Display for Reject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TcpReset => "a TCP reset",
            Self::AnyUnreachable(NO_ROUTE) => "an ICMP \"no route\"",
            Self::AnyUnreachable(PORT_UNREACHABLE) => "an ICMP \"port unreachable\"",
            Self::AnyUnreachable(HOST_UNREACHABLE) => "an ICMP \"host unreachable\"",
            Self::AnyUnreachable(PROHIBITED) => "an ICMP \"prohibited\"",
            Self::Unreachable(_) | Self::AnyUnreachable(_) => "an ICMP \"unreachable\"",
        })
    }
}

/// How much passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LimitRate {
    /// So much
    pub amount: u64,
    /// in so many seconds,
    pub seconds: u64,
    /// and so much more at once.
    pub burst: u32,
    /// Whether bytes are meant, and not packets.
    pub bytes: bool,
    /// Whether what exceeds it matches, and not what keeps it.
    pub inverted: bool,
}

impl std::fmt::Display for LimitRate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = if self.bytes { " bytes" } else { "" };
        write!(f, "{}{what}/", self.amount)?;
        match self.seconds {
            1 => f.write_str("second")?,
            60 => f.write_str("minute")?,
            3600 => f.write_str("hour")?,
            86_400 => f.write_str("day")?,
            604_800 => f.write_str("week")?,
            seconds => write!(f, "{seconds}s")?,
        }
        match (self.burst, self.bytes) {
            // What the kernel has by itself.
            (0, _) | (5, false) => Ok(()),
            (burst, true) => write!(f, " burst {burst} bytes"),
            (burst, false) => write!(f, " burst {burst} packets"),
        }
    }
}

/// What a lookup does when it finds the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LookupResult {
    /// It matches.
    Match,
    /// It does not match; it matches when the key is absent.
    NoMatch,
    /// It matches and leaves the element's value.
    Value(Register),
    /// It follows the element's verdict.
    Verdict,
}

/// What a number of [`Expression::NumberGenerator`] follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NumberSource {
    /// Each packet gets a random one.
    Random,
    /// Each packet gets the one after that of the packet before.
    InTurn,
    /// Packets with equal headers get the same one, which depends on a secret of the kernel.
    Hash,
}

impl std::fmt::Display for NumberSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Random => "numgen random",
            Self::InTurn => "numgen inc",
            Self::Hash => "hash",
        })
    }
}

/// What an [`Expression::Undecided`] depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum UndecidedState {
    /// Something of this rule alone, as the tokens of a limit.
    OfRule,
    /// Whether a list has an address of the packet: rules that ask the same list get the same answer.
    Member {
        /// The list, with what else the match asks of its entries.
        list: String,
        /// Whether it is asked for the source; otherwise for the destination, or more.
        source: bool,
    },
    /// Whether a set of `ipset` has fields of the packet.
    IpSet {
        /// The set.
        name: String,
        /// For each field, whether the source's or the destination's: `src,dst`.
        sides: String,
    },
}

/// One step of a rule: it matches or not, and may leave or use values in registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// Loads a fact about the packet.
    Meta {
        /// The fact.
        key: MetaKey,
        /// Where to.
        to: Register,
    },
    /// Changes a fact about the packet.
    MetaSet {
        /// The fact.
        key: MetaKey,
        /// Where the new value is.
        from: Register,
    },
    /// Loads bytes of the packet; a packet that is too short does not match.
    Payload {
        /// Where the offset counts from.
        base: PayloadBase,
        /// The first byte.
        offset: u32,
        /// How many.
        length: u32,
        /// Where to.
        to: Register,
    },
    /// Replaces bytes of the packet.
    PayloadSet {
        /// Where the new bytes are.
        from: Register,
        /// Where the offset counts from.
        base: PayloadBase,
        /// The first byte.
        offset: u32,
        /// How many.
        length: u32,
        /// The checksum that is updated.
        checksum: Checksum,
    },
    /// Loads an option or extension header, or whether there is one.
    Extension {
        /// Where it is looked for.
        kind: ExtensionKind,
        /// The option's or header's number.
        number: u8,
        /// The first byte within it.
        offset: u32,
        /// How many.
        length: u32,
        /// Whether only its presence is asked for.
        present: bool,
        /// Where to.
        to: Register,
    },
    /// Matches if a value compares so.
    Compare {
        /// Where the value is.
        from: Register,
        /// How.
        operator: Comparison,
        /// With what; only so many bytes are compared.
        value: Vec<u8>,
    },
    /// Matches if a value is between two others, both included.
    Range {
        /// Where the value is.
        from: Register,
        /// Whether it matches what is outside instead.
        inverted: bool,
        /// The least.
        first: Vec<u8>,
        /// The greatest.
        last: Vec<u8>,
    },
    /// `to = (from & mask) ^ xor`.
    Bitwise {
        /// Where the value is.
        from: Register,
        /// Where to.
        to: Register,
        /// The bits that stay.
        mask: Vec<u8>,
        /// The bits that are turned; as long as `mask`.
        xor: Vec<u8>,
    },
    /// Turns the bytes of each number of a value.
    Byteorder {
        /// Where the value is.
        from: Register,
        /// Where to.
        to: Register,
        /// Which way.
        order: ByteOrder,
        /// The length of the value in bytes.
        length: u32,
        /// The length of a number: 2, 4 or 8.
        size: u32,
    },
    /// Looks a key up in a set or map.
    Lookup {
        /// The set.
        set: String,
        /// Where the key is.
        from: Register,
        /// What for.
        result: LookupResult,
    },
    /// Loads a constant.
    Immediate {
        /// Where to.
        to: Register,
        /// The constant.
        value: Vec<u8>,
    },
    /// Says where the packet goes.
    Verdict(Verdict),
    /// Loads what conntrack knows; a flow that it does not know matches only a state.
    Ct {
        /// The fact.
        key: CtKey,
        /// Whose.
        direction: Option<CtDirection>,
        /// Where to.
        to: Register,
    },
    /// Changes what conntrack knows.
    CtSet {
        /// The fact.
        key: CtKey,
        /// Whose.
        direction: Option<CtDirection>,
        /// Where the new value is.
        from: Register,
    },
    /// Looks into the routing tables.
    Fib {
        /// What is wanted.
        result: FibResult,
        /// What is asked.
        flags: FibFlags,
        /// Where to.
        to: Register,
    },
    /// Loads a fact about the host's socket that the packet is for; without one it does not match.
    Socket {
        /// The fact.
        key: SocketKey,
        /// Where to.
        to: Register,
    },
    /// Translates the flow, and accepts.
    Nat {
        /// What.
        kind: NatKind,
        /// Of which family the address is.
        family: Family,
        /// The new address.
        address: Option<RegisterRange>,
        /// The new port.
        port: Option<RegisterRange>,
        /// How it chooses.
        flags: NatFlags,
    },
    /// Translates the source to the address of the interface the packet leaves by, and accepts.
    Masquerade {
        /// The new port.
        port: Option<RegisterRange>,
        /// How it chooses.
        flags: NatFlags,
    },
    /// Translates the destination to this host, and accepts.
    Redirect {
        /// The new port.
        port: Option<RegisterRange>,
        /// How it chooses.
        flags: NatFlags,
    },
    /// Puts a key into a dynamic set, unless it is there; where the set counts, its element then counts the
    /// packet. When the set is full it does not match.
    Update {
        /// The set.
        set: String,
        /// Where the key is.
        from: Register,
    },
    /// Counts.
    Counter(Count),
    /// Drops and answers.
    Reject(Reject),
    /// Matches as long as not too much passed.
    Limit(LimitRate),
    /// Keeps conntrack from this packet.
    Notrack,
    /// Matches if one of several ways does, each with registers of its own; inverted, if none does. Only read, never
    /// written: one match of iptables may ask for what nf_tables says in several rules.
    OneOf {
        /// The ways.
        ways: Vec<Vec<Expression>>,
        /// Whether none is to match.
        inverted: bool,
    },
    /// Loads the name of the port of a bridge by which the packet arrived or, where the bridge forwards it, leaves;
    /// empty without one. Only read, never written (`xt_physdev`).
    BridgePort {
        /// Whether that by which it leaves is meant.
        output: bool,
        /// Where to.
        to: Register,
    },
    /// `to = one ^ other`. Only read, never written (`xt_connmark`).
    ExclusiveOr {
        /// Where a value is.
        one: Register,
        /// Where the other is.
        other: Register,
        /// Where to.
        to: Register,
        /// The length of the values in bytes.
        length: u32,
    },
    /// Loads a number from `offset` on, below `offset` plus `modulus`, in the host's byte order. Only read, never
    /// written (`nft_numgen`, `nft_hash`).
    NumberGenerator {
        /// What the number follows from.
        source: NumberSource,
        /// How many numbers there are.
        modulus: u32,
        /// The first of them.
        offset: u32,
        /// Where to.
        to: Register,
    },
    /// Matches so many packets of so many, by chance or in turn. Only read, never written (`xt_statistic`).
    Chance {
        /// So many,
        numerator: u32,
        /// of so many.
        denominator: u32,
    },
    /// Matches or not, by what is not in the packet or not read. Only read, never written: a match of iptables.
    Undecided {
        /// The match's name: `limit`, `recent`, `set`.
        name: String,
        /// The condition, as `while below the limit of 3/min`.
        holds: String,
        /// Its opposite.
        fails: String,
        /// Whether it matches if the condition fails.
        inverted: bool,
        /// What the condition depends on.
        state: UndecidedState,
    },
    /// Loads a port: the packet's destination port, moved from a range that begins with `base` to one from `first` to
    /// `last` (`NF_NAT_RANGE_PROTO_OFFSET`). Only read, never written.
    MovedPort {
        /// The first port of the range that is translated.
        base: u16,
        /// The first port of the new range.
        first: u16,
        /// The last port of the new range.
        last: u16,
        /// Where to.
        to: Register,
    },
    /// What is not known here; the kernel's name for it and its attributes as they came.
    Unknown {
        /// The kernel's name for it.
        name: String,
        /// Its attributes.
        attributes: Vec<u8>,
    },
}
