//! One question on a host of containers that another engine made, without a daemon of Fairway: a program that starts,
//! reads the host and ends.

use std::fmt::Write as _;
use std::process::{Command, Stdio};

use fairway_kernel::namespace;
use fairway_lab::{Host, Lab};

use crate::Failure;
use crate::figures::{Table, Times};
use crate::floor::feed;

const ROUNDS: usize = 20;
/// A bridge takes 1,023 ports.
const BRIDGES: usize = 4;
/// With three rules each and three for each bridge, 21,012 rules for 1,000 containers.
const PORTS_EACH: usize = 7;
/// As many as fit into one transaction in a user namespace.
const RULES_AT_ONCE: usize = 300;
const HOST: &str = "10.10.50.99";
const NEIGHBOUR: &str = "10.10.50.1";
const FIRST_PORT: usize = 20_000;

/// With 10, 100 and 1,000 containers, as Docker 20.10 makes their links and rules.
pub fn measure(lab: &Lab) -> Result<(), Failure> {
    let columns = ["", "ms p50", "p99", "peak MiB"];
    let table = Table::new("A question on a host of another engine's containers, without a daemon", &columns);
    for count in [10, 100, 1_000] {
        let host = lab.host(&format!("foreign-{count}"))?;
        let neighbour = lab.host("neighbour")?;
        let wire = lab.lan(&format!("foreign-{count}"))?;
        wire.join(&host, &[&format!("{HOST}/24")])?;
        wire.join(&neighbour, &[&format!("{NEIGHBOUR}/24")])?;
        let rules = fill(&host, count)?;
        let same_bridge = format!("netns:of{count}-{BRIDGES}");
        let (first, other) = (format!("netns:of{count}-0:80"), format!("netns:of{count}-1"));
        let published = format!("{HOST}:{}", FIRST_PORT + count * PORTS_EACH - 1);
        let lan = format!("lan:{NEIGHBOUR}");
        for (what, from, to) in [
            ("a container to another one", same_bridge.as_str(), first.as_str()),
            ("a container to another network", other.as_str(), first.as_str()),
            ("from the LAN to the last published port", lan.as_str(), published.as_str()),
        ] {
            let (mut times, mut peak) = (Times::default(), 0);
            for _ in 0..ROUNDS {
                peak = peak.max(times.note(|| ask(&host, from, to))?);
            }
            let what = format!("{count} containers, {rules} rules: {what}");
            let peak = format!("{:.1}", f64::from(peak) / 1024.0);
            table.row([what].into_iter().chain(times.cells()).chain([peak]));
        }
    }
    Ok(())
}

/// Asks once; returns the most memory that the program had, in KiB.
fn ask(host: &Host, from: &str, to: &str) -> Result<u32, Failure> {
    host.run_in(|| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fairway"));
        command.args(["explain", from, to]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let status = format!("/proc/{}/status", child.id());
        let mut peak = 0;
        while child.try_wait()?.is_none() {
            let text = std::fs::read_to_string(&status).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            peak = peak.max(number.unwrap_or_default());
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        Ok(peak)
    })?
}

/// Makes bridges, containers and rules; returns how many rules.
fn fill(host: &Host, count: usize) -> Result<usize, Failure> {
    let (mut links, mut filter, mut nat) = (String::new(), Rules::default(), Rules::default());
    for bridge in 0..BRIDGES {
        writeln!(links, "link add br-{bridge} type bridge")?;
        writeln!(links, "addr add 172.{}.0.1/16 dev br-{bridge}", 18 + bridge)?;
        writeln!(links, "link set br-{bridge} up")?;
        nat.rule(&format!("POSTROUTING -s 172.{}.0.0/16 ! -o br-{bridge} -j MASQUERADE", 18 + bridge));
        nat.rule(&format!("DOCKER -i br-{bridge} -j RETURN"));
        filter.rule(&format!("FORWARD -o br-{bridge} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"));
        filter.rule(&format!("FORWARD -o br-{bridge} -j DOCKER"));
        filter.rule(&format!("FORWARD -i br-{bridge} ! -o br-{bridge} -j ACCEPT"));
        filter.rule(&format!("FORWARD -i br-{bridge} -o br-{bridge} -j ACCEPT"));
        filter.rule(&format!("STAGE-1 -i br-{bridge} ! -o br-{bridge} -j STAGE-2"));
        filter.rule(&format!("STAGE-2 -o br-{bridge} -j DROP"));
    }
    let mut port = FIRST_PORT;
    for container in 0..count {
        let (bridge, place) = (container % BRIDGES, container / BRIDGES + 2);
        let address = format!("172.{}.{}.{}", 18 + bridge, place / 256, place % 256);
        writeln!(links, "link add v{container} type veth peer name eth0 netns of{count}-{container}")?;
        writeln!(links, "link set v{container} master br-{bridge} up")?;
        for inside in 0..PORTS_EACH {
            let inside = 80 + inside;
            nat.rule(&format!("DOCKER ! -i br-{bridge} -p tcp -m tcp --dport {port} -j DNAT --to-destination {address}:{inside}"));
            nat.rule(&format!(
                "POSTROUTING -s {address}/32 -d {address}/32 -p tcp -m tcp --dport {inside} -j MASQUERADE"
            ));
            filter.rule(&format!("DOCKER -d {address}/32 ! -i br-{bridge} -o br-{bridge} -p tcp -m tcp --dport {inside} -j ACCEPT"));
            port += 1;
        }
    }
    let declared = "*filter\n:FORWARD DROP\n:DOCKER -\n:STAGE-1 -\n:STAGE-2 -\n-A FORWARD -j STAGE-1\nCOMMIT\n*nat\n:DOCKER -\n\
                    -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n\
                    -A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER\nCOMMIT\n";
    let tables = [("filter", &filter), ("nat", &nat)];
    let parts = tables.into_iter().flat_map(|(table, rules)| {
        rules.0.chunks(RULES_AT_ONCE).map(move |some| format!("*{table}\n{}COMMIT\n", some.concat()))
    });
    let parts: Vec<String> = parts.collect();
    host.run_in(|| -> Result<(), Failure> {
        for container in 0..count {
            namespace::create_named(&format!("of{count}-{container}"))?;
        }
        feed("ip", &["-batch", "-"], &links)?;
        for container in 0..count {
            let (bridge, place) = (container % BRIDGES, container / BRIDGES + 2);
            let network = format!("172.{}", 18 + bridge);
            let inside = format!(
                "link set lo up\naddr add {network}.{}.{}/16 dev eth0\nlink set eth0 up\nroute add default via {network}.0.1\n",
                place / 256,
                place % 256
            );
            feed("ip", &["-n", &format!("of{count}-{container}"), "-batch", "-"], &inside)?;
        }
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
        feed("iptables-nft-restore", &[], declared)?;
        parts.iter().try_for_each(|part| feed("iptables-nft-restore", &["--noflush"], part))
    })??;
    Ok(nat.0.len() + filter.0.len() + 3)
}

/// Rules as iptables-restore reads them.
#[derive(Default)]
struct Rules(Vec<String>);

impl Rules {
    fn rule(&mut self, rule: &str) {
        self.0.push(format!("-A {rule}\n"));
    }
}
