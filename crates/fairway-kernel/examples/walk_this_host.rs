//! Walks a connection of this host through its own routes and rules, in all branches, and prints each step:
//!
//! ```sh
//! cargo run -p fairway-kernel --example walk_this_host -- 10.0.0.5:80
//! ```

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};

use fairway_kernel::survey;
use fairway_walk::{NamespaceId, Origin, Proxy, Topology, Tuple, Walker, walk_branches};

const TCP: u8 = 6;

fn main() -> Result<(), Box<dyn Error>> {
    let target: SocketAddr = std::env::args().nth(1).ok_or("which ADDRESS:PORT?")?.parse()?;
    // Interfaces, routes, rules of nf_tables and iptables, sockets: as values, read once.
    let host = survey::survey("host")?.namespace;
    let topology = Topology { namespaces: vec![host] };
    let tuple = Tuple {
        protocol: TCP,
        // The kernel chooses the source by the route, and so does the walker.
        source: Ipv4Addr::UNSPECIFIED.into(),
        destination: target.ip(),
        source_port: 40_000,
        destination_port: target.port(),
    };
    let origin = Origin::Local(NamespaceId::HOST);
    let found = walk_branches(&Walker::new(&topology), origin, tuple, Proxy::default());
    for branch in &found.branches {
        println!("{}", branch.label());
        for walk in branch.walk.records(&topology) {
            println!("{}", walk.title);
            for step in &walk.steps {
                println!("  {:12} {}", step.location(), step.text());
            }
            println!("  = {}", walk.end.text);
        }
    }
    println!("{}", found.sentence(&topology));
    Ok(())
}
