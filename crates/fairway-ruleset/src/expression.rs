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
    /// What is not known here; the kernel's name for it and its attributes as they came.
    Unknown {
        /// The kernel's name for it.
        name: String,
        /// Its attributes.
        attributes: Vec<u8>,
    },
}
