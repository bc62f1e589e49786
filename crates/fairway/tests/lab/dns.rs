//! A DNS client, on another implementation of the protocol than the resolver's so that it does not share its mistakes.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use fairway_lab::Place;
pub use hickory_proto::op::ResponseCode;
use hickory_proto::op::{Edns, Message, MessageType, Query};
pub use hickory_proto::rr::{Name, RecordType};
use hickory_proto::rr::{RData, Record};

/// The largest answer by UDP that is read, and offered where EDNS is used.
const MAXIMUM_SIZE: u16 = 4096;

/// What carries a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// UDP with the classic 512 bytes (RFC 1035).
    Udp,
    /// UDP with EDNS and 4,096 bytes (RFC 6891).
    Edns,
    /// TCP.
    Tcp,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsFailure {
    /// No program listens at the server's address.
    Refused,
    /// No answer in time.
    TimedOut,
    /// The connection, or the way to the server, failed.
    Failed(String),
    /// The server's message is not an answer.
    Malformed(String),
}

impl From<io::Error> for DnsFailure {
    fn from(error: io::Error) -> DnsFailure {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => DnsFailure::Refused,
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => DnsFailure::TimedOut,
            _ => DnsFailure::Failed(error.to_string()),
        }
    }
}

/// The answer of a name server.
#[derive(Clone, Debug, PartialEq)]
pub struct DnsAnswer {
    pub code: ResponseCode,
    pub truncated: bool,
    /// Bytes of the message.
    pub size: usize,
    /// The records of the answer section, in their order.
    pub records: Vec<Record>,
}

impl DnsAnswer {
    fn decode(bytes: &[u8]) -> Result<DnsAnswer, DnsFailure> {
        let message = Message::from_vec(bytes).map_err(|error| DnsFailure::Malformed(error.to_string()))?;
        let header = message.metadata;
        if header.message_type != MessageType::Response {
            return Err(DnsFailure::Malformed("it is a query".to_owned()));
        }
        Ok(DnsAnswer {
            code: header.response_code,
            truncated: header.truncation,
            size: bytes.len(),
            records: message.answers,
        })
    }

    /// The addresses among the records, in their order.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let address = |record: &Record| match &record.data {
            RData::A(address) => Some(address.0.into()),
            RData::AAAA(address) => Some(address.0.into()),
            _ => None,
        };
        self.records.iter().filter_map(address).collect()
    }

    /// The names that PTR records give, in their order.
    pub fn names(&self) -> Vec<String> {
        let name = |record: &Record| match &record.data {
            RData::PTR(name) => Some(name.to_string().trim_end_matches('.').to_owned()),
            _ => None,
        };
        self.records.iter().filter_map(name).collect()
    }
}

/// A query to a name server.
#[derive(Clone, Copy, Debug)]
pub struct DnsQuestion<'a> {
    name: &'a str,
    kind: RecordType,
    transport: Transport,
    patience: Duration,
}

impl<'a> DnsQuestion<'a> {
    /// A query for records of a type, by UDP, that waits long for the answer on a busy machine.
    pub fn new(name: &'a str, kind: RecordType) -> DnsQuestion<'a> {
        DnsQuestion { name, kind, transport: Transport::Udp, patience: Duration::from_secs(15) }
    }

    pub fn by(self, transport: Transport) -> DnsQuestion<'a> {
        DnsQuestion { transport, ..self }
    }

    pub fn within(self, patience: Duration) -> DnsQuestion<'a> {
        DnsQuestion { patience, ..self }
    }

    /// Sends the query from a place to a server (`"127.0.0.11:53"`), and waits for the answer.
    pub fn ask(self, place: &Place, server: &str) -> Result<DnsAnswer, DnsFailure> {
        let server = server.parse().unwrap();
        place.run_in(|| self.exchange(server)).unwrap()
    }

    fn exchange(self, server: SocketAddr) -> Result<DnsAnswer, DnsFailure> {
        static ID: AtomicU16 = AtomicU16::new(1);
        let deadline = Instant::now() + self.patience;
        let id = ID.fetch_add(1, Ordering::Relaxed);
        let query = self.encode(id);
        if self.transport == Transport::Tcp {
            return exchange_tcp(server, &query, deadline);
        }
        let own = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(own)?;
        socket.connect(server)?;
        socket.send(&query)?;
        let mut buffer = vec![0; usize::from(MAXIMUM_SIZE)];
        loop {
            socket.set_read_timeout(Some(left(deadline)?))?;
            let length = socket.recv(&mut buffer)?;
            // The answer to another query is passed over.
            if buffer[..length].starts_with(&id.to_be_bytes()) {
                return DnsAnswer::decode(&buffer[..length]);
            }
        }
    }

    fn encode(self, id: u16) -> Vec<u8> {
        let mut message = Message::query();
        message.metadata.id = id;
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii(self.name).unwrap(), self.kind));
        if self.transport == Transport::Edns {
            let mut edns = Edns::new();
            edns.set_max_payload(MAXIMUM_SIZE);
            message.set_edns(edns);
        }
        message.to_vec().unwrap()
    }
}

fn exchange_tcp(server: SocketAddr, query: &[u8], deadline: Instant) -> Result<DnsAnswer, DnsFailure> {
    let mut stream = TcpStream::connect_timeout(&server, left(deadline)?)?;
    let length = u16::try_from(query.len()).unwrap();
    stream.write_all(&[&length.to_be_bytes(), query].concat())?;
    stream.set_read_timeout(Some(left(deadline)?))?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer)?;
    DnsAnswer::decode(&answer)
}

fn left(deadline: Instant) -> Result<Duration, DnsFailure> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(DnsFailure::TimedOut) } else { Ok(left) }
}

/// The name under which the names of an address are found (RFC 1035 3.5, RFC 3596 2.5).
pub fn reverse_name(address: IpAddr) -> String {
    Name::from(address).to_string()
}

/// The addresses of a name, by UDP, in the order of the answer; none if the name does not exist.
pub fn look_up(place: &Place, server: &str, name: &str, kind: RecordType) -> Result<Vec<IpAddr>, DnsFailure> {
    Ok(DnsQuestion::new(name, kind).ask(place, server)?.addresses())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Turns a query into an answer with one A record of 10.0.0.9 that lives for a second.
    fn answer(query: &[u8]) -> Vec<u8> {
        let mut answer = query.to_vec();
        answer[2] |= 0x80;
        answer[7] = 1;
        // What follows the question, EDNS's record, has no place before the answer.
        answer[11] = 0;
        let end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
        answer.truncate(end);
        answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 10, 0, 0, 9]);
        answer
    }

    #[test]
    fn the_client_reads_the_answer_to_its_own_query_by_each_transport() {
        fairway_lab::run(|lab| {
            let host = lab.host("host").unwrap();
            let server = "127.0.0.11:53";
            let (udp, tcp) = host
                .run_in(|| (UdpSocket::bind(server).unwrap(), TcpListener::bind(server).unwrap()))
                .unwrap();
            std::thread::spawn(move || {
                let mut buffer = [0; 512];
                while let Ok((length, peer)) = udp.recv_from(&mut buffer) {
                    // The answer to another query comes first, and is not taken.
                    udp.send_to(&answer(&[&[0xff, 0xff], &buffer[2..length]].concat()), peer).unwrap();
                    udp.send_to(&answer(&buffer[..length]), peer).unwrap();
                }
            });
            std::thread::spawn(move || {
                let (mut stream, _) = tcp.accept().unwrap();
                let mut buffer = [0; 512];
                let length = stream.read(&mut buffer).unwrap();
                let answer = answer(&buffer[2..length]);
                stream.write_all(&[&(answer.len() as u16).to_be_bytes()[..], &answer].concat()).unwrap();
            });
            for transport in [Transport::Udp, Transport::Edns, Transport::Tcp] {
                let answer = DnsQuestion::new("web", RecordType::A).by(transport).ask(&host, server).unwrap();
                assert_eq!((answer.code, answer.records[0].ttl), (ResponseCode::NoError, 1));
                assert_eq!(answer.addresses(), ["10.0.0.9".parse::<IpAddr>().unwrap()], "{transport:?}");
            }
        });
    }

    #[test]
    fn the_client_distinguishes_a_silent_server_from_a_missing_one() {
        fairway_lab::run(|lab| {
            let host = lab.host("host").unwrap();
            let server = "127.0.0.11:53";
            let question = DnsQuestion::new("web", RecordType::AAAA).within(Duration::from_millis(100));
            for transport in [Transport::Udp, Transport::Tcp] {
                let patient = question.by(transport).within(Duration::from_secs(15));
                assert_eq!(patient.ask(&host, server), Err(DnsFailure::Refused), "{transport:?}");
            }
            let _silent = host.run_in(|| UdpSocket::bind(server).unwrap()).unwrap();
            assert_eq!(question.ask(&host, server), Err(DnsFailure::TimedOut));
        });
    }
}
