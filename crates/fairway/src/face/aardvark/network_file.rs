//! The files that netavark writes, one for each network, named for it.
//!
//! The first line has the addresses to listen at and the network's name servers; each other line has a container:
//! `ID IPv4 IPv6 NAMES[ SERVERS]`. Single blanks separate fields, of which some may be empty; commas separate items.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The end of the name of an internal network's file.
const INTERNAL: &str = "%int";

/// Files of the directory that are no networks.
const OTHERS: [&str; 2] = ["aardvark.pid", "aardvark.lock"];

/// A network with its containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Network {
    /// Its name.
    pub name: String,
    /// Whether queries from it are not forwarded.
    pub internal: bool,
    /// The content of its file.
    pub file: NetworkFile,
}

/// The content of a network's file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct NetworkFile {
    /// The addresses to listen at.
    pub listen: Vec<IpAddr>,
    /// The network's name servers.
    pub servers: Vec<IpAddr>,
    /// Its containers, oldest first.
    pub containers: Vec<Container>,
}

/// A container of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Container {
    /// Its identifier, equal in the files of all its networks.
    pub id: String,
    /// Its IPv4 addresses.
    pub ipv4: Vec<Ipv4Addr>,
    /// Its IPv6 addresses.
    pub ipv6: Vec<Ipv6Addr>,
    /// Its names in lower case, at least one.
    pub names: Vec<String>,
    /// Its own name servers.
    pub servers: Vec<IpAddr>,
}

/// A line that is skipped, or an address of the first line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub(super) struct BadLine {
    /// The number of the line, from 1 on.
    pub line: usize,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    /// The text is no address.
    #[error("invalid IP address {0:?}")]
    Address(String),
    /// The line has less than four fields.
    #[error("too few fields: ID IPv4 IPv6 NAMES are expected")]
    Fields,
    /// The container has no name.
    #[error("no names")]
    Names,
    /// The file has no address to listen at.
    #[error("no address to listen at")]
    Listen,
}

/// The name of the network that a file of the directory is for, and whether it is internal; `None` for other files.
pub(super) fn network_of(file: &str) -> Option<(&str, bool)> {
    if OTHERS.contains(&file) {
        return None;
    }
    Some(match file.strip_suffix(INTERNAL) {
        Some(name) => (name, true),
        None => (file, false),
    })
}

/// Parses a file. Bad lines are left out, and returned.
pub(super) fn parse(text: &str) -> (NetworkFile, Vec<BadLine>) {
    let mut file = NetworkFile::default();
    let mut bad = Vec::new();
    let mut lines = text.split('\n').enumerate().filter(|(_, line)| !line.is_empty());
    let (number, first) = lines.next().unwrap_or_default();
    let mut fields = first.split(' ');
    for (field, addresses) in [(fields.next(), &mut file.listen), (fields.next(), &mut file.servers)] {
        for item in items(field.unwrap_or_default()) {
            match parse_address(item) {
                Ok(address) => addresses.push(address),
                Err(problem) => bad.push(BadLine { line: number + 1, problem }),
            }
        }
    }
    if file.listen.is_empty() {
        bad.push(BadLine { line: number + 1, problem: Problem::Listen });
    }
    for (number, line) in lines {
        match container(line) {
            Ok(container) => file.containers.push(container),
            Err(problem) => bad.push(BadLine { line: number + 1, problem }),
        }
    }
    (file, bad)
}

fn container(line: &str) -> Result<Container, Problem> {
    let mut fields = line.split(' ');
    let (Some(id), Some(ipv4), Some(ipv6), Some(names)) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(Problem::Fields);
    };
    let names: Vec<String> = items(names).map(str::to_lowercase).collect();
    if names.is_empty() {
        return Err(Problem::Names);
    }
    Ok(Container {
        id: id.to_lowercase(),
        ipv4: addresses(ipv4)?,
        ipv6: addresses(ipv6)?,
        names,
        servers: addresses(fields.next().unwrap_or_default())?,
    })
}

/// The items of a list; an empty list has none.
fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').filter(|item| !item.is_empty())
}

fn addresses<T: FromStr>(list: &str) -> Result<Vec<T>, Problem> {
    items(list).map(parse_address).collect()
}

fn parse_address<T: FromStr>(item: &str) -> Result<T, Problem> {
    item.parse().map_err(|_| Problem::Address(item.to_owned()))
}

#[cfg(test)]
mod tests;
