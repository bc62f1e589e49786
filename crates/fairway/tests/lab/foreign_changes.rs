//! What others may do to Fairway's objects, by netlink, in the namespace of the calling thread. Numbers are those of
//! `<linux/rtnetlink.h>`, `<linux/if_link.h>` and `<linux/netfilter/nf_tables.h>`.

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use fairway_kernel::netlink::{Batch, Protocol, Socket};
use fairway_kernel::route::{Link, Links};
use ipnet::IpNet;

const NEW_LINK: u16 = 16;
const DELETE_ADDRESS: u16 = 21;
const DELETE_ROUTE: u16 = 25;
const CREATE_EXCLUSIVELY: u16 = 0x600;
const IFF_UP: u32 = 1;
const NF_TABLES: u16 = 10;

fn send(protocol: Protocol, mut batch: Batch) {
    Socket::open(protocol).unwrap().transact(&mut batch).unwrap();
}

/// `nft flush ruleset`: every table of every family without an owner is gone.
pub fn flush_ruleset() {
    let mut batch = Batch::new();
    batch.message(0x10, 0, "begin").raw(&[0, 0, 0, NF_TABLES as u8]);
    // NFT_MSG_DELTABLE without family and name.
    batch.message(NF_TABLES << 8 | 2, 0, "flush").raw(&[0; 4]);
    batch.message(0x11, 0, "end").raw(&[0, 0, 0, NF_TABLES as u8]);
    send(Protocol::Netfilter, batch);
}

/// A link by its name.
pub fn link(name: &str) -> Link {
    Links::open().unwrap().find(name).unwrap().unwrap_or_else(|| panic!("there is no {name}"))
}

/// `ip link del`.
pub fn delete_link(name: &str) {
    Links::open().unwrap().delete(link(name).index, name).unwrap();
}

fn header(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}

/// `ip link add NAME type bridge`, down and without an address.
pub fn add_bridge(name: &str) {
    let mut batch = Batch::new();
    batch.message(NEW_LINK, CREATE_EXCLUSIVELY, "bridge").raw(&header(0, 0, 0)).text(3, name).nest(
        18,
        |info| {
            info.text(1, "bridge");
        },
    );
    send(Protocol::Route, batch);
}

/// `ip link set NAME down`.
pub fn set_down(name: &str) {
    let mut batch = Batch::new();
    batch.message(NEW_LINK, 0, "down").raw(&header(link(name).index, 0, IFF_UP));
    send(Protocol::Route, batch);
}

/// `ip link set NAME nomaster`.
pub fn take_from_bridge(name: &str) {
    let mut batch = Batch::new();
    batch.message(NEW_LINK, 0, "nomaster").raw(&header(link(name).index, 0, 0)).u32(10, 0);
    send(Protocol::Route, batch);
}

/// `ip link set NAME mtu`.
pub fn set_mtu(name: &str, mtu: u32) {
    let mut batch = Batch::new();
    batch.message(NEW_LINK, 0, "mtu").raw(&header(link(name).index, 0, 0)).u32(4, mtu);
    send(Protocol::Route, batch);
}

/// `ip link set NAME mtu`, so many times, with another size each time.
pub fn change_mtu(name: &str, times: u32) {
    let index = link(name).index;
    let socket = Socket::open(Protocol::Route).unwrap();
    for first in (0..times).step_by(100) {
        let mut batch = Batch::new();
        for number in first..first + 100 {
            let mtu = 1400 + number % 100;
            batch.message(NEW_LINK, 0, "mtu").raw(&header(index, 0, 0)).u32(4, mtu);
        }
        socket.transact(&mut batch).unwrap();
    }
}

/// `ip address del`.
pub fn remove_address(name: &str, address: IpNet) {
    let family = if address.addr().is_ipv4() { 2 } else { 10 };
    let mut header = [family, address.prefix_len(), 0, 0, 0, 0, 0, 0];
    header[4..8].copy_from_slice(&link(name).index.to_ne_bytes());
    let mut batch = Batch::new();
    batch.message(DELETE_ADDRESS, 0, "address").raw(&header).address(2, address.addr());
    send(Protocol::Route, batch);
}

/// `ip route del default`, of IPv4.
pub fn remove_default_route() {
    let mut batch = Batch::new();
    // struct rtmsg: IPv4, everything, main table.
    batch.message(DELETE_ROUTE, 0, "route").raw(&[2, 0, 0, 0, 254, 0, 0, 0, 0, 0, 0, 0]);
    send(Protocol::Route, batch);
}

/// Makes a veth pair from here into the namespace at a path: this end is gone as soon as that namespace is.
pub fn thread_into(path: &str, name: &str) {
    let namespace = File::open(path).unwrap();
    let mut batch = Batch::new();
    batch.message(NEW_LINK, CREATE_EXCLUSIVELY, "thread").raw(&header(0, 0, 0)).text(3, name).nest(
        18,
        |info| {
            info.text(1, "veth").nest(2, |data| {
                data.nest(1, |peer| {
                    peer.raw(&header(0, 0, 0)).text(3, "thread").u32(28, namespace.as_raw_fd() as u32);
                });
            });
        },
    );
    send(Protocol::Route, batch);
}

/// Whether there is a link of that name.
pub fn has_link(name: &str) -> bool {
    Links::open().unwrap().find(name).unwrap().is_some()
}

/// The host's end of the link of the sandbox that has this address.
pub fn port_of(inside: &fairway_lab::Place, interface: &str) -> String {
    let peer = inside.run_in(|| link(interface).peer).unwrap().unwrap();
    let links = Links::open().unwrap().all().unwrap();
    links.into_iter().find(|link| link.index == peer).unwrap().name
}

/// The bridge that has an address.
pub fn bridge_with(address: IpAddr) -> String {
    let links = Links::open().unwrap();
    let found =
        links.addresses(0).unwrap().into_iter().find(|found| found.address.addr() == address).unwrap();
    links.all().unwrap().into_iter().find(|link| link.index == found.interface).unwrap().name
}
