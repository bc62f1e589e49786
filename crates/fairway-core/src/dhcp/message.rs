//! DHCP messages: a BOOTP header and options (RFC 2131, section 2; RFC 2132).

use std::net::Ipv4Addr;

use fairway_model::{LeaseIdentity, MacAddress};

const BOOT_REQUEST: u8 = 1;
const BOOT_REPLY: u8 = 2;
const ETHERNET: u8 = 1;
/// The flag that requests a broadcast answer, since the client has no address yet.
const BROADCAST: u16 = 0x8000;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
const HEADER: usize = 236;
/// The minimum length of a message: BOOTP relay agents drop shorter ones.
const SHORTEST: usize = 300;

const PAD: u8 = 0;
const NETMASK: u8 = 1;
const ROUTER: u8 = 3;
const HOSTNAME: u8 = 12;
const REQUESTED: u8 = 50;
const LEASE_TIME: u8 = 51;
const KIND: u8 = 53;
const SERVER: u8 = 54;
const WANTED: u8 = 55;
const RENEWAL_TIME: u8 = 58;
const REBINDING_TIME: u8 = 59;
const CLIENT: u8 = 61;
const END: u8 = 255;

/// The DHCP message type (option 53).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "RFC 2131, section 3.1, says what each is for")]
pub enum MessageType {
    Discover = 1,
    Offer,
    Request,
    Decline,
    Ack,
    Nak,
    Release,
}

impl MessageType {
    fn from_number(number: u8) -> Option<Self> {
        let all =
            [Self::Discover, Self::Offer, Self::Request, Self::Decline, Self::Ack, Self::Nak, Self::Release];
        all.into_iter().find(|message_type| *message_type as u8 == number)
    }

    fn is_reply(self) -> bool {
        matches!(self, Self::Offer | Self::Ack | Self::Nak)
    }
}

/// A message with the fields that the client uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The message type.
    pub message_type: MessageType,
    /// The transaction id.
    pub transaction: u32,
    /// Whether the answer must be broadcast.
    pub broadcast: bool,
    /// The present address of the client; 0.0.0.0 if none.
    pub client_address: Ipv4Addr,
    /// The address for the client; 0.0.0.0 if none.
    pub your_address: Ipv4Addr,
    /// The MAC address of the client.
    pub mac: MacAddress,
    /// The client identifier; empty if missing.
    pub client: Vec<u8>,
    /// The host name; empty if missing.
    pub hostname: String,
    /// The requested address.
    pub requested: Option<Ipv4Addr>,
    /// The server identifier.
    pub server: Option<Ipv4Addr>,
    /// The subnet mask.
    pub netmask: Option<Ipv4Addr>,
    /// The first router.
    pub router: Option<Ipv4Addr>,
    /// The lease time in seconds; `u32::MAX` means infinite.
    pub lease_seconds: Option<u32>,
    /// The renewal time T1 in seconds.
    pub renewal_seconds: Option<u32>,
    /// The rebinding time T2 in seconds.
    pub rebinding_seconds: Option<u32>,
}

impl Message {
    /// A message of a client with its identity only.
    pub fn new(identity: &LeaseIdentity, message_type: MessageType, transaction: u32) -> Self {
        // Type 0 is an identifier other than a hardware address (RFC 2132, section 9.14). Half of the id is used, since
        // some servers limit the length.
        let client = [0].into_iter().chain(identity.client.bytes()[..16].iter().copied()).collect();
        Self {
            message_type,
            transaction,
            broadcast: false,
            client_address: Ipv4Addr::UNSPECIFIED,
            your_address: Ipv4Addr::UNSPECIFIED,
            mac: identity.mac,
            client,
            hostname: identity.hostname.clone(),
            requested: None,
            server: None,
            netmask: None,
            router: None,
            lease_seconds: None,
            renewal_seconds: None,
            rebinding_seconds: None,
        }
    }

    /// Encodes the message.
    pub fn encode(&self) -> Vec<u8> {
        let mut header = [0; HEADER];
        header[..3].copy_from_slice(&[
            if self.message_type.is_reply() { BOOT_REPLY } else { BOOT_REQUEST },
            ETHERNET,
            6,
        ]);
        header[4..8].copy_from_slice(&self.transaction.to_be_bytes());
        header[10..12].copy_from_slice(&(if self.broadcast { BROADCAST } else { 0 }).to_be_bytes());
        header[12..16].copy_from_slice(&self.client_address.octets());
        header[16..20].copy_from_slice(&self.your_address.octets());
        header[28..34].copy_from_slice(&self.mac.0);
        let mut bytes = [&header[..], &COOKIE].concat();
        let mut option = |number: u8, value: &[u8]| {
            // A value has at most 255 bytes.
            let value = value.get(..255).unwrap_or(value);
            bytes.extend([number, value.len() as u8]);
            bytes.extend(value);
        };
        option(KIND, &[self.message_type as u8]);
        let texts = [(CLIENT, self.client.as_slice()), (HOSTNAME, self.hostname.as_bytes())];
        texts.iter().filter(|(_, text)| !text.is_empty()).for_each(|(number, text)| option(*number, text));
        let addresses = [
            (REQUESTED, self.requested),
            (SERVER, self.server),
            (NETMASK, self.netmask),
            (ROUTER, self.router),
        ];
        for (number, address) in addresses {
            address.iter().for_each(|address| option(number, &address.octets()));
        }
        let times = [
            (LEASE_TIME, self.lease_seconds),
            (RENEWAL_TIME, self.renewal_seconds),
            (REBINDING_TIME, self.rebinding_seconds),
        ];
        for (number, seconds) in times {
            seconds.iter().for_each(|seconds| option(number, &seconds.to_be_bytes()));
        }
        if matches!(self.message_type, MessageType::Discover | MessageType::Request) {
            option(WANTED, &[NETMASK, ROUTER, LEASE_TIME, RENEWAL_TIME, REBINDING_TIME]);
        }
        bytes.push(END);
        bytes.resize(bytes.len().max(SHORTEST), PAD);
        bytes
    }

    /// Decodes a message; none if it is not DHCP over Ethernet.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let address = |at: usize| four(bytes.get(at..at + 4)?).map(Ipv4Addr::from);
        if bytes.get(1..3)? != [ETHERNET, 6] || bytes.get(HEADER..HEADER + 4)? != COOKIE {
            return None;
        }
        let mut message_type = None;
        let identity = LeaseIdentity {
            client: fairway_model::EndpointId::new([0; 32]),
            mac: MacAddress(bytes.get(28..34)?.try_into().ok()?),
            hostname: String::new(),
        };
        let mut read = Self {
            client: Vec::new(),
            ..Self::new(&identity, MessageType::Discover, u32::from_be_bytes(four(bytes.get(4..8)?)?))
        };
        read.broadcast = bytes.get(10)? & 0x80 != 0;
        (read.client_address, read.your_address) = (address(12)?, address(16)?);
        let mut rest = bytes.get(HEADER + 4..)?;
        while let [number, after @ ..] = rest {
            if *number == END {
                break;
            }
            if *number == PAD {
                rest = after;
                continue;
            }
            let (length, after) = after.split_first()?;
            let (value, after) = after.split_at_checked(usize::from(*length))?;
            rest = after;
            let address = || four(value).map(Ipv4Addr::from);
            let seconds = || four(value).map(u32::from_be_bytes);
            match *number {
                KIND => message_type = MessageType::from_number(*value.first()?),
                CLIENT => read.client = value.to_vec(),
                HOSTNAME => read.hostname = String::from_utf8_lossy(value).into_owned(),
                REQUESTED => read.requested = address(),
                SERVER => read.server = address(),
                NETMASK => read.netmask = address(),
                // Of several routers the first is preferred.
                ROUTER => read.router = value.get(..4).and_then(four).map(Ipv4Addr::from),
                LEASE_TIME => read.lease_seconds = seconds(),
                RENEWAL_TIME => read.renewal_seconds = seconds(),
                REBINDING_TIME => read.rebinding_seconds = seconds(),
                _ => {}
            }
        }
        read.message_type = message_type?;
        let operation = if read.message_type.is_reply() { BOOT_REPLY } else { BOOT_REQUEST };
        (*bytes.first()? == operation).then_some(read)
    }
}

fn four(bytes: &[u8]) -> Option<[u8; 4]> {
    bytes.try_into().ok()
}
