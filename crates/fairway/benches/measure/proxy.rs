//! Published ports: through the proxy and translated, against the direct connection.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::time::Duration;

use fairway_kernel::namespace::NAMED_DIRECTORY;
use fairway_lab::Lab;

use crate::figures::{Table, milliseconds};
use crate::stage::{HOST, Stage, request};
use crate::{Failure, load};

const LENGTH: Duration = Duration::from_secs(3);
const CONNECTIONS: usize = 8000;
const CLIENTS: usize = 4;
const ROUND_TRIPS: usize = 20_000;
/// What [`request`] publishes first.
const PORT: u16 = 1000;
const HOST_PORT: u16 = 8080;

/// Throughput, connections a second and round trips.
pub fn measure(lab: &Lab) -> Result<(), Failure> {
    let stage = Stage::new(lab, "bytes", &[])?;
    let names = stage.namespaces("server", 1)?;
    let attached = stage.client()?.attach(&request(&names[0], "bridge", HOST_PORT, 1))?;
    let address: IpAddr = attached.networks["bridge"].ip_address.parse()?;
    let place = stage.host.sandbox(format!("{NAMED_DIRECTORY}/{}", names[0]))?;
    let listener = place.run_in(|| TcpListener::bind(("0.0.0.0", PORT)))??;
    load::serve(&listener, CLIENTS)?;
    let (direct, proxied) = (SocketAddr::new(address, PORT), SocketAddr::from(([127, 0, 0, 1], HOST_PORT)));
    let published = SocketAddr::new(HOST.parse()?, HOST_PORT);
    let table =
        Table::new("Bytes to a sandbox", &["", "Gbit/s", "connects/s", "p99 ms", "1 byte p50", "p99 ms"]);
    for (what, from, to) in [
        ("host to sandbox, direct", &stage.host, direct),
        ("host to 127.0.0.1, proxy", &stage.host, proxied),
        ("neighbour on the LAN to published port, translated", &stage.neighbour, published),
    ] {
        let (rate, connected, connects, trips) = from.run_in(|| -> Result<_, Failure> {
            let rate = load::throughput(to, LENGTH)?;
            let (connected, connects) = load::connections(to, CONNECTIONS, CLIENTS)?;
            Ok((rate, connected, connects, load::round_trips(to, ROUND_TRIPS)?))
        })??;
        let cells = [format!("{rate:.1}"), format!("{connected:.0}"), milliseconds(connects.percentile(99))];
        table.row([what.to_owned()].into_iter().chain(cells).chain(trips.cells()));
    }
    Ok(())
}
