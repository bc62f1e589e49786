//! The walker against the kernel: random worlds, and packets that are walked and sent.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]
#![allow(clippy::disallowed_methods, reason = "tests run programs and read the environment")]

mod ask;
mod build;
mod case;
mod judge;
mod own;
mod watch;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZero;
use std::ops::Range;
use std::process::Command;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use fairway_lab::{Lab, Place};

use ask::Servers;
use build::Built;
use case::{ASKING, Asked, Case, ON_HOST, Probe, SERVED};

/// How many worlds a test has, and packets in each.
const WORLDS: u64 = 9;
const PACKETS: usize = 50;
/// How many differences of a world are looked into.
const MOST: usize = 10;
/// What the line begins with that has the numbers of some worlds.
const SUM: &str = "packets and disagreements:";

/// Where the walker and the kernel differ.
struct Difference {
    /// The packet, by number.
    probe: usize,
    text: String,
}

/// Servers everywhere.
fn serve(built: &Built, world: &case::World) -> Vec<Servers> {
    let at = |address: IpAddr, port| SocketAddr::new(address, port);
    let any6: IpAddr = "::".parse().unwrap();
    let any4: IpAddr = "0.0.0.0".parse().unwrap();
    let mut servers: Vec<Servers> = built
        .sandboxes
        .iter()
        .enumerate()
        .map(|(number, place)| {
            let datagrams: Vec<_> = built.addresses_of(number).map(|it| at(it, SERVED)).collect();
            Servers::at(place, &[at(any6, SERVED)], &datagrams)
        })
        .collect();
    let own = case::HOST.into_iter().chain(case::SIDE).chain(["127.0.0.1", "::1"]);
    let more = case::MORE.into_iter().skip(usize::from(world.vanishes));
    let own = own.chain(more.filter(|_| world.more_addresses));
    let datagrams: Vec<_> = own.map(|text| at(text.parse().unwrap(), ON_HOST)).collect();
    servers.push(Servers::at(&built.host, &[at(any4, ON_HOST)], &datagrams));
    let lan = case::LAN.into_iter().chain(case::SIDE_LAN).map(|text| at(text.parse().unwrap(), SERVED));
    servers.push(Servers::at(&built.lan, &[at(any6, SERVED)], &lan.collect::<Vec<_>>()));
    servers
}

/// Builds the world of a case, and walks and sends its packets. Returns how many, and the differences.
fn check(lab: &Lab, number: usize, case: &Case) -> (usize, Vec<Difference>) {
    let built = Built::new(lab, number, &case.world);
    let servers = serve(&built, &case.world);
    let places: BTreeMap<String, &Place> = built.places().into_iter().collect();
    places.values().for_each(|place| watch::begin(place));
    let name_of = |from: case::From| match from {
        case::From::Sandbox(number) => build::sandbox_name(number),
        case::From::Host => "host".to_owned(),
        case::From::Lan => "lan".to_owned(),
    };
    let (apart, topology) = built.topology();
    let user = built.relay_user();
    let mut questions = Vec::new();
    let mut walked = Vec::new();
    let mut numbers = Vec::new();
    for (number, probe) in case.probes.iter().enumerate() {
        let Probe { from, protocol, .. } = *probe;
        let (Some(target), Some(place)) = (built.target(&case.world, probe), built.place(from)) else {
            continue;
        };
        let asked = Asked { protocol, target, port: ASKING + 2 * number as u16 };
        walked.push(judge::walk(&topology, &name_of(from), &asked, user));
        questions.push((place, asked));
        numbers.push((number, name_of(from)));
    }
    let silent: Vec<bool> = walked.iter().map(judge::is_silent).collect();
    let heard = ask::ask(&servers, &questions, &silent);
    let noted: Vec<judge::Noted> = places
        .iter()
        .flat_map(|(name, place)| {
            watch::read(place).into_iter().map(move |(family, ipv4, key)| (name.clone(), family, ipv4, key))
        })
        .collect();
    let mut differences = Vec::new();
    let mut hooks = judge::compare_hooks(&topology, &walked.iter().collect::<Vec<_>>(), noted.clone());
    for ((number, from), (((_, asked), walked), heard)) in
        numbers.iter().zip(questions.iter().zip(&walked).zip(heard))
    {
        let heard = judge::with_errors(heard, from, asked, &noted);
        let mut wrong: Vec<String> = judge::compare(walked, asked, heard).into_iter().collect();
        wrong.extend(judge::compare_alone(&apart, walked, from, asked, user));
        wrong.extend(hooks.remove(&asked.port).unwrap_or_default());
        if !wrong.is_empty() {
            let text =
                format!("{from} asks {asked:?}\n{}\n{}", wrong.join("\n"), judge::words(&topology, walked));
            differences.push(Difference { probe: *number, text });
        }
    }
    for (_, wrong) in hooks {
        differences.push(Difference { probe: usize::MAX, text: wrong.join("\n") });
    }
    (questions.len(), differences)
}

/// Sends what differs once more, each packet alone in a world of its own: a walk is that of one packet, and others may
/// be in its way, as when a neighbor is looked for in the name of one whose source is refused.
fn alone(lab: &Lab, seed: usize, case: &Case, differences: Vec<Difference>) -> Vec<Difference> {
    let again = |(number, difference): (usize, Difference)| {
        let Some(probe) = case.probes.get(difference.probe) else { return Some(difference) };
        let case = Case { world: case.world.clone(), probes: vec![probe.clone()] };
        let (_, mut found) = check(lab, seed * 100 + number, &case);
        if found.is_empty() {
            println!(
                "seed {seed}: agrees when alone: {}",
                difference.text.lines().next().unwrap_or_default()
            );
        }
        found.pop().map(|found| Difference { probe: difference.probe, ..found })
    };
    differences.into_iter().take(MOST).enumerate().filter_map(again).collect()
}

/// Says what differs, and how to see it again.
fn report(case: &Case, seed: u64, differences: &[Difference]) {
    for difference in differences {
        let probes =
            case.probes.get(difference.probe).map_or(case.probes.clone(), |probe| vec![probe.clone()]);
        let alone = Case { world: case.world.clone(), probes };
        println!(
            "the walker and the kernel differ, seed {seed}:\n{}\nFAIRWAY_CASE='{}' cargo test -p fairway --test worlds replay -- --ignored --nocapture\n",
            difference.text,
            serde_json::to_string(&alone).unwrap()
        );
    }
}

/// A number from the environment.
fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Walks and sends the packets of the worlds of these seeds. Returns how many, and how many differ.
fn check_all(lab: &Lab, seeds: Range<u64>) -> (usize, usize) {
    let (mut packets, mut wrong) = (0, 0);
    for seed in seeds {
        let case = Case::drawn(seed, PACKETS);
        let (sent, differences) = check(lab, seed as usize, &case);
        let differences = alone(lab, seed as usize, &case, differences);
        report(&case, seed, &differences);
        packets += sent;
        wrong += differences.len();
    }
    (packets, wrong)
}

#[test]
fn the_walker_agrees_with_the_kernel() {
    fairway_lab::run(|lab| {
        let first = asked("FAIRWAY_SEED").unwrap_or(1);
        let (packets, wrong) = check_all(lab, first..first + WORLDS);
        println!("\n{SUM} {packets} {wrong}");
        assert_eq!(wrong, 0, "disagreements of {packets} packets");
        assert!(packets > PACKETS * WORLDS as usize / 2, "{packets}");
    });
}

/// `FAIRWAY_WORLDS` packets, in as many worlds as that takes, from `FAIRWAY_SEED` on.
#[test]
#[ignore = "takes an hour for tens of thousands"]
fn many() {
    let wanted = asked("FAIRWAY_WORLDS").expect("FAIRWAY_WORLDS has the number of packets") as usize;
    let next = AtomicU64::new(asked("FAIRWAY_SEED").unwrap_or(1000));
    let (packets, wrong) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || {
        while packets.load(Relaxed) < wanted {
            let seed = next.fetch_add(WORLDS, Relaxed);
            let part = Command::new(std::env::current_exe().unwrap())
                .args(["the_walker_agrees_with_the_kernel", "--exact", "--nocapture"])
                .env("FAIRWAY_SEED", seed.to_string())
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&part.stdout);
            let sum = text.lines().find_map(|line| line.strip_prefix(SUM)?.trim().split_once(' '));
            let Some((sent, differ)) = sum else { panic!("from seed {seed}: {text}") };
            let (sent, differ): (usize, usize) = (sent.parse().unwrap(), differ.parse().unwrap());
            if differ > 0 {
                println!("{text}");
            }
            let sent = sent + packets.fetch_add(sent, Relaxed);
            let differ = differ + wrong.fetch_add(differ, Relaxed);
            println!("{sent} packets, {differ} disagreements");
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(work);
        }
    });
    assert_eq!(wrong.into_inner(), 0, "disagreements of {} packets", packets.into_inner());
}

#[test]
#[ignore = "for a case of FAIRWAY_CASE"]
fn replay() {
    fairway_lab::run(|lab| {
        let case = std::env::var("FAIRWAY_CASE").expect("FAIRWAY_CASE has the case");
        let case: Case = serde_json::from_str(&case).unwrap();
        let (packets, differences) = check(lab, 1, &case);
        report(&case, 0, &differences);
        assert!(differences.is_empty(), "{} of {packets}", differences.len());
    });
}
