//! Resolves names as the programs of a namespace do: by their hosts file, then by the servers of their resolv.conf.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::time::Duration;

use fairway_inspect::explain::{ByTopology, Ends, Peer};
use fairway_kernel::namespace;
use fairway_model::{NameServer, ResolvConf};
use fairway_walk::NamespaceId;
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};

use crate::host::Host;

/// How long a server may take, and how often it is asked: less than the C library does, for a person who waits.
const PATIENCE: Duration = Duration::from_secs(1);
const ATTEMPTS: usize = 2;
const PORT: u16 = 53;
/// The name is tried as it is first if it has as many dots, by default (resolv.conf(5)).
const NDOTS: usize = 1;
/// How much of a file is read.
const LARGEST_FILE: u64 = 1024 * 1024;
/// The largest answer by UDP.
const LARGEST: usize = 4096;

impl Host {
    /// The address of a name for the programs of an end; else why there is none, if a server was asked.
    pub(crate) fn look_up(&self, asker: &Peer, name: &str) -> Result<IpAddr, Option<String>> {
        if !is_host_name(name) {
            return Err(None);
        }
        let place = ByTopology.namespace(&self.topology, asker).unwrap_or(NamespaceId::HOST);
        let files = Files::of(self, place);
        if let Some(address) = by_hosts(&files.hosts, name) {
            return Ok(address);
        }
        let listed = self.listed.get(place.0).ok_or(None)?;
        let handle = namespace::open(&listed.namespace).map_err(|error| Some(error.to_string()))?;
        let (names, servers) = (candidates(name, &files.resolv_conf), files.servers());
        let asked = move || ask_servers(&names, &servers);
        self.workers.run(&handle, asked).map_err(|error| Some(error.to_string()))?.map_err(Some)
    }
}

/// The files by which a C library resolves names.
struct Files {
    hosts: String,
    resolv_conf: ResolvConf,
}

impl Files {
    /// The files that programs in a namespace see.
    fn of(host: &Host, place: NamespaceId) -> Self {
        let read = |path: &str| match host.process_in(place).filter(|_| place != NamespaceId::HOST) {
            Some(process) => {
                let file = fairway_containers::open_inside(process, path);
                file.and_then(|it| std::io::read_to_string(it.take(LARGEST_FILE))).unwrap_or_default()
            }
            None => std::fs::read_to_string(path).unwrap_or_default(),
        };
        let index = |name: &str| Some(host.topology[place].interface_named(name)?.index);
        Self { hosts: read("/etc/hosts"), resolv_conf: ResolvConf::parse(&read("/etc/resolv.conf"), index) }
    }

    /// The servers of resolv.conf; without one it is that of the host itself.
    fn servers(&self) -> Vec<NameServer> {
        match self.resolv_conf.nameservers.as_slice() {
            [] => vec![NameServer::from(IpAddr::V4(Ipv4Addr::LOCALHOST))],
            servers => servers.to_vec(),
        }
    }
}

/// Whether a text can be the name of a host at all (RFC 1123, 2.1), with underscores as containers have them.
fn is_host_name(text: &str) -> bool {
    let letters =
        |label: &str| label.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-' || it == b'_');
    let text = text.strip_suffix('.').unwrap_or(text);
    !text.is_empty()
        && text.len() < 254
        && text.split('.').all(|it| !it.is_empty() && it.len() < 64 && letters(it))
}

/// The address of a name in a hosts file, IPv4 first (hosts(5)).
fn by_hosts(text: &str, name: &str) -> Option<IpAddr> {
    let name = name.trim_end_matches('.');
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let found = lines.filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let address: IpAddr = words.next()?.parse().ok()?;
        words.any(|it| it.eq_ignore_ascii_case(name)).then_some(address)
    });
    found.min_by_key(IpAddr::is_ipv6)
}

/// The full names to ask for, in their order.
fn candidates(name: &str, resolv_conf: &ResolvConf) -> Vec<String> {
    if name.ends_with('.') {
        return vec![name.to_owned()];
    }
    let ndots =
        resolv_conf.options.iter().filter_map(|it| it.strip_prefix("ndots:")?.parse().ok()).next_back();
    let searched = resolv_conf
        .search
        .iter()
        .filter(|it| *it != ".")
        .map(|it| format!("{name}.{}.", it.trim_matches('.')));
    let plain = format!("{name}.");
    let is_first = name.matches('.').count() >= ndots.unwrap_or(NDOTS);
    match is_first {
        true => [plain].into_iter().chain(searched).collect(),
        false => searched.chain([plain]).collect(),
    }
}

/// The answer of a server.
enum Answer {
    Address(IpAddr),
    /// The name or the type does not exist.
    Nothing,
    Failed(String),
}

/// Asks the servers for the names, in their order, within the namespace of the calling thread.
fn ask_servers(names: &[String], servers: &[NameServer]) -> Result<IpAddr, String> {
    let mut reason = "it has no name server".to_owned();
    let mut silent: Vec<NameServer> = Vec::new();
    for name in names {
        for server in servers {
            if silent.contains(server) {
                continue;
            }
            match ask(*server, name) {
                Answer::Address(address) => return Ok(address),
                Answer::Nothing => {
                    reason = format!("{} does not know it", server.address);
                    break;
                }
                Answer::Failed(why) => {
                    reason = format!("{} {why}", server.address);
                    silent.push(*server);
                }
            }
        }
    }
    Err(reason)
}

/// Asks a server for the addresses of a name, IPv4 first.
fn ask(server: NameServer, name: &str) -> Answer {
    let Ok(name) = Name::from_ascii(name) else { return Answer::Nothing };
    for kind in [RecordType::A, RecordType::AAAA] {
        let replies = (0..ATTEMPTS).map(|_| exchange(server, &name, kind));
        let mut last = None;
        for reply in replies {
            match reply {
                Ok(reply) => {
                    last = Some(read(&reply));
                    break;
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    last = Some(Answer::Failed(format!("does not answer within {} s", PATIENCE.as_secs())));
                }
                Err(error) => last = Some(Answer::Failed(format!("cannot be asked: {error}"))),
            }
        }
        match last {
            Some(Answer::Nothing) | None => {}
            Some(answer) => return answer,
        }
    }
    Answer::Nothing
}

fn exchange(server: NameServer, name: &Name, kind: RecordType) -> std::io::Result<Message> {
    let address = match server.address {
        IpAddr::V4(address) => SocketAddr::from((address, PORT)),
        IpAddr::V6(address) => SocketAddrV6::new(address, PORT, 0, server.scope).into(),
    };
    let any: SocketAddr = if address.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(address)?;
    let mut question = Message::query();
    question.metadata.recursion_desired = true;
    question.add_query(Query::query(name.clone(), kind));
    socket.send(&question.to_vec().map_err(std::io::Error::other)?)?;
    let mut buffer = [0; LARGEST];
    loop {
        let length = socket.recv(&mut buffer)?;
        let reply = buffer.get(..length).unwrap_or_default();
        let reply = Message::from_vec(reply).map_err(std::io::Error::other)?;
        if reply.metadata.id == question.metadata.id {
            return Ok(reply);
        }
    }
}

/// What a reply says.
fn read(reply: &Message) -> Answer {
    let address = reply.answers.iter().find_map(|record| match &record.data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    });
    match (address, reply.metadata.response_code) {
        (Some(address), _) => Answer::Address(address),
        (None, ResponseCode::NoError | ResponseCode::NXDomain) => Answer::Nothing,
        (None, code) => Answer::Failed(format!("answers {code}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolv_conf(text: &str) -> ResolvConf {
        ResolvConf::parse(text, |_| None)
    }

    #[test]
    fn a_hosts_file_has_names_and_aliases() {
        let text = "127.0.0.1 localhost # db\n::1 localhost ip6-localhost\n172.17.0.2\tWeb web.example\nbroken web\n";
        assert_eq!(by_hosts(text, "web.EXAMPLE"), Some("172.17.0.2".parse().unwrap()));
        assert_eq!(by_hosts(text, "web."), Some("172.17.0.2".parse().unwrap()));
        assert_eq!(by_hosts(text, "ip6-localhost"), Some("::1".parse().unwrap()));
        assert_eq!(by_hosts(text, "localhost"), Some("127.0.0.1".parse().unwrap()));
        assert_eq!(by_hosts(text, "db"), None);
        assert_eq!(by_hosts(text, "172.17.0.2"), None);
    }

    #[test]
    fn a_short_name_is_searched_before_it_is_asked_as_it_is() {
        let search = resolv_conf("search a.example b.example.\n");
        assert_eq!(candidates("web", &search), ["web.a.example.", "web.b.example.", "web."]);
        assert_eq!(candidates("web.c", &search), ["web.c.", "web.c.a.example.", "web.c.b.example."]);
        assert_eq!(candidates("web.", &search), ["web."]);
        let dots = resolv_conf("search a.example\noptions ndots:5\n");
        assert_eq!(candidates("web.c", &dots), ["web.c.a.example.", "web.c."]);
        // Docker writes `ndots:0` for containers of its own networks.
        assert_eq!(candidates("web", &resolv_conf("search .\noptions ndots:0\n")), ["web."]);
    }

    #[test]
    fn what_is_no_name_of_a_host_is_not_asked_for() {
        for name in ["web", "web_1", "web.example.", "a-b", "9"] {
            assert!(is_host_name(name), "{name}");
        }
        for text in ["", ".", "a..b", "docker:web", "a/b", "a b", "10.0.0.1/8", &"x".repeat(64)] {
            assert!(!is_host_name(text), "{text}");
        }
    }
}
