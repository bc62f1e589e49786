//! What a packet and a new connection cost on a host with many networks and publications.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use fairway_kernel::namespace::NAMED_DIRECTORY;
use fairway_lab::Lab;

use crate::figures::{Table, milliseconds};
use crate::stage::{FIRST_CONTAINER_PORT, HOST, Stage, request_ipv4};
use crate::{Failure, load};

const LENGTH: Duration = Duration::from_secs(3);
const CONNECTIONS: usize = 4000;
const ROUND_TRIPS: usize = 20_000;
const HOST_PORT: u16 = 8080;
const HOLDERS: u16 = 100;
const EACH: u16 = 100;
/// More networks than Docker's pools have subnets for.
const POOL: &str = "--default-address-pool=base=10.128.0.0/10,size=24";

/// With 10 networks and one publication, and with 1,000 networks and 10,000 publications of others.
pub fn measure(lab: &Lab) -> Result<(), Failure> {
    let columns = ["", "Gbit/s", "connects/s", "p50 ms", "p99 ms", "1 byte p50", "p99 ms"];
    let table = Table::new("From the LAN through a published port, by what else exists", &columns);
    for backend in ["nftables", "iptables"] {
        for (networks, holders) in [(10_u16, 0), (1000, HOLDERS)] {
            let flag = format!("--firewall-backend={backend}");
            let stage = Stage::new(lab, &format!("{backend}-{networks}"), &[&flag, POOL])?;
            for number in 0..networks {
                stage.network(&format!("net{number}"))?;
            }
            let mut client = stage.client()?;
            for (number, name) in (0..holders).zip(stage.namespaces("holder", usize::from(holders))?) {
                let network = format!("net{number}");
                client.attach(&request_ipv4(&name, &network, 10_000 + number * EACH, EACH))?;
            }
            let names = stage.namespaces("server", 1)?;
            // The last network: a list is walked to its end.
            let network = format!("net{}", networks - 1);
            client.attach(&request_ipv4(&names[0], &network, HOST_PORT, 1))?;
            let place = stage.host.sandbox(format!("{NAMED_DIRECTORY}/{}", names[0]))?;
            let listener = place.run_in(|| TcpListener::bind(("0.0.0.0", FIRST_CONTAINER_PORT)))??;
            load::serve(&listener, 1)?;
            let target = SocketAddr::new(HOST.parse()?, HOST_PORT);
            let (rate, connected, connects, trips) =
                stage.neighbour.run_in(|| -> Result<_, Failure> {
                    let rate = load::throughput(target, LENGTH)?;
                    let (connected, connects) = load::connections(target, CONNECTIONS, 1)?;
                    Ok((rate, connected, connects, load::round_trips(target, ROUND_TRIPS)?))
                })??;
            let publications = u32::from(holders) * u32::from(EACH);
            let what = format!("{backend}, {networks} networks, {publications} publications of others");
            let cells = [
                format!("{rate:.1}"),
                format!("{connected:.0}"),
                milliseconds(connects.percentile(50)),
                milliseconds(connects.percentile(99)),
            ];
            table.row([what].into_iter().chain(cells).chain(trips.cells()));
        }
    }
    Ok(())
}
