//! What clients notice while the daemon is killed, ended and started again, and while its relay is replaced: new
//! connections through nf_tables and through the proxy, questions for names, and attaches.

mod clients;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fairway::daemon::EXEC_ROOT;
use fairway_kernel::namespace::NAMED_DIRECTORY;
use fairway_lab::{Lab, Place};
use fairway_relay::client::RelayClient;
use fairway_relay::server::{self, Configuration};
use fairway_relay::table::Change;

use crate::figures::Table;
use crate::stage::{FIRST_CONTAINER_PORT, HOST, Holdings, Stage, request};
use crate::{Failure, load};
use clients::Counts;

const PORT: u16 = 8080;
const NAMES: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11)), 53);
/// How many attaches are in flight.
const ATTACHING: usize = 32;
/// How long the load runs before and after what happens.
const BEFORE: Duration = Duration::from_secs(2);
const AFTER: Duration = Duration::from_secs(3);
/// How long the kernel may work on what has left.
const SETTLING: Duration = Duration::from_secs(20);
/// The version of a relay that a daemon replaces.
const ANOTHER_VERSION: &str = "another";

/// What the clients ask for in a second.
struct Load {
    name: &'static str,
    through_kernel: u32,
    through_proxy: u32,
    questions: u32,
}

const LOADS: [Load; 4] = [
    Load { name: "nf_tables", through_kernel: 10_000, through_proxy: 0, questions: 0 },
    Load { name: "proxy", through_kernel: 0, through_proxy: 10_000, questions: 0 },
    Load { name: "names", through_kernel: 0, through_proxy: 0, questions: 50_000 },
    Load { name: "all", through_kernel: 2_000, through_proxy: 1_000, questions: 10_000 },
];

/// What happens to the daemon.
type Event = fn(&mut Stage) -> Result<(), Failure>;

const EVENTS: [(&str, Event); 4] = [
    ("nothing happens", |_| Ok(())),
    ("kill -9", |stage| stage.kill(false)),
    ("SIGTERM", |stage| stage.end()),
    ("SIGTERM, relay replaced", |stage| {
        stage.end()?;
        have_relay_of_another_version(stage)
    }),
];

/// Each load, while each event happens.
pub fn measure(lab: &Lab) -> Result<(), Failure> {
    let mut stage = Stage::new(lab, "upgrading", &[])?;
    stage.network("app")?;
    let names = stage.namespaces("upgrading", 2)?;
    stage.client()?.attach(&request(&names[0], "app", PORT, 1))?;
    stage.client()?.attach(&request(&names[1], "app", 0, 0))?;
    let place = |name: &String| stage.host.sandbox(format!("{NAMED_DIRECTORY}/{name}"));
    let (server, asker) = (place(&names[0])?, place(&names[1])?);
    let listener = server.run_in(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, FIRST_CONTAINER_PORT)))??;
    load::serve(&listener, 2 * clients::CONNECTING)?;
    let attaching = stage.namespaces("attaching", ATTACHING)?;
    let mut held = None;
    let columns = ["", "a second", "failed", "p99 ms", "longest ms"];
    let table = Table::new("New connections, questions and attaches while the daemon is upgraded", &columns);
    for load in &LOADS {
        for (what, event) in EVENTS {
            let counts = under(&mut stage, load, &asker, (&names[0], &attaching), event)?;
            for (kind, counts) in counts {
                let title = format!("{what}; load {}: {kind}", load.name);
                table.row([title].into_iter().chain(counts.cells()));
                counts.print_failures();
            }
            if let Some(held) = &held {
                settle(&stage, held)?;
            } else {
                std::thread::sleep(AFTER);
                held = Some(stage.holdings()?);
            }
        }
    }
    Ok(())
}

/// Lets an event happen and the daemon start again under a load; what came of the load.
fn under(
    stage: &mut Stage,
    load: &Load,
    asker: &Place,
    (asked_for, attaching): (&str, &[String]),
    event: Event,
) -> Result<Vec<(&'static str, Counts)>, Failure> {
    let stop = AtomicBool::new(false);
    let (host, neighbour, address) =
        (stage.host.clone(), stage.neighbour.clone(), stage.address().to_owned());
    let [by_kernel, by_proxy] =
        [HOST.parse::<Ipv4Addr>()?, Ipv4Addr::LOCALHOST].map(|address| SocketAddr::from((address, PORT)));
    let stop = &stop;
    std::thread::scope(|scope| {
        let connect = |place: Place, target, rate| {
            move || place.run_in(|| clients::connect(target, rate, stop)).map_err(Failure::from)
        };
        let kernel = (load.through_kernel > 0)
            .then(|| scope.spawn(connect((*neighbour).clone(), by_kernel, load.through_kernel)));
        let proxy = (load.through_proxy > 0)
            .then(|| scope.spawn(connect((*host).clone(), by_proxy, load.through_proxy)));
        let names = (load.questions > 0).then(|| {
            scope.spawn(|| asker.run_in(|| clients::ask(NAMES, asked_for, load.questions, stop))?)
        });
        let attaches = scope.spawn(|| clients::attach(&address, attaching, stop));
        std::thread::sleep(BEFORE);
        let happened = event(stage).and_then(|()| {
            if stage.is_running()? {
                return Ok(());
            }
            stage.launch()?;
            stage.until(|client| client.ping())
        });
        std::thread::sleep(AFTER);
        stop.store(true, Ordering::Relaxed);
        let ended = |_| Failure::from("a client panicked");
        let mut counts = Vec::new();
        if let Some(kernel) = kernel {
            counts.push(("connections by nf_tables", kernel.join().map_err(ended)??));
        }
        if let Some(proxy) = proxy {
            counts.push(("connections by the proxy", proxy.join().map_err(ended)??));
        }
        if let Some(names) = names {
            counts.push(("questions", names.join().map_err(ended)??));
        }
        counts.push(("attach and detach", attaches.join().map_err(ended)??));
        happened.map(|()| counts)
    })
}

/// Has a relay that reports another version take the place of the daemon's relay while there is no daemon.
fn have_relay_of_another_version(stage: &Stage) -> Result<(), Failure> {
    let path = PathBuf::from(EXEC_ROOT).join("relay.sock");
    stage.host.run_in(|| {
        let held = RelayClient::connect(&path)?.hand_over(SETTLING)?;
        std::fs::remove_file(&path)?;
        let listener = server::listen(&path)?;
        let configuration = Configuration { version: ANOTHER_VERSION, ..Configuration::default() };
        std::thread::Builder::new()
            .name("relay".to_owned())
            .spawn(move || server::run(listener, configuration))?;
        let insert = |held: fairway_relay::table::RecordWithSockets| Change::Insert {
            record: held.record,
            sockets: held.sockets.into_iter().map(Into::into).collect(),
        };
        RelayClient::connect(&path)?.apply(held.into_iter().map(insert).collect())?;
        Ok(())
    })?
}

/// Waits until there is what there was.
fn settle(stage: &Stage, held: &Holdings) -> Result<(), Failure> {
    let deadline = Instant::now() + SETTLING;
    loop {
        let found = stage.holdings()?;
        if found == *held {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("{held:?} became {found:?}: {}", stage.log()?).into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
