//! `fairway explain` without a daemon, on hosts of other engines: what it says and what the kernel then does.

mod docker;
mod inside;
pub mod plain;
mod podman;

use std::fmt::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use fairway_api::types::Explained;
use fairway_lab::{Place, Question, Server, serve_tcp};

use crate::explain::{said, surely_seen};

const FAIRWAY: &str = env!("CARGO_BIN_EXE_fairway");
/// How long a connection may take: all are tried at once.
const PATIENCE: Duration = Duration::from_secs(3);

/// One who asks: the name that `explain` knows, and the place.
type Asker = (String, Place);

/// `fairway explain` on a host without a daemon, and its exit code.
fn explain(host: &Place, from: &str, to: &str) -> Result<(Explained, i32), String> {
    let mut command = Command::new(FAIRWAY);
    command.args(["explain", "--format", "json", from, to]).env_remove("FAIRWAY_HOST").stdin(Stdio::null());
    let output = host.run(&mut command).unwrap();
    match serde_json::from_slice(&output.stdout) {
        Ok(explained) => Ok((explained, output.status.code().unwrap())),
        Err(_) => Err(String::from_utf8(output.stderr).unwrap()),
    }
}

/// Asks everything of everyone, in thought and for real. How many questions there were.
///
/// # Panics
/// When what is said is not what is seen.
fn agree(host: &Place, askers: &[Asker], targets: &[SocketAddr]) -> usize {
    let seen: Vec<Vec<String>> = thread::scope(|scope| {
        let ask = |place, target: &SocketAddr| {
            let question = Question::to(&target.to_string()).unwrap().within(PATIENCE);
            scope.spawn(move || question.tcp(place).unwrap().to_string())
        };
        let asked =
            askers.iter().map(|(_, place)| targets.iter().map(|it| ask(place, it)).collect::<Vec<_>>());
        let asked: Vec<_> = asked.collect();
        asked.into_iter().map(|all| all.into_iter().map(|one| one.join().unwrap()).collect()).collect()
    });
    let mut wrong = String::new();
    for ((name, place), seen) in askers.iter().zip(seen) {
        for (target, seen) in targets.iter().zip(seen) {
            let (explained, code) = explain(host, name, &target.to_string()).unwrap();
            let said = said(&explained);
            let seen = surely_seen(place, target, &said, seen);
            // Accepted and reset at once: the reset may overtake the client's own connect(2).
            let overtaken = said == "dropped" && seen == "refused";
            assert_eq!(code, i32::from(explained.answered == Some(false)), "{name} -> {target}");
            if said != seen && !overtaken {
                writeln!(wrong, "{name} -> {target}: seen {seen}, said {said}\n{}", steps(&explained))
                    .unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    askers.len() * targets.len()
}

/// Has every container, the host and the neighbour on its LAN ask every address of a container, published ports, the host
/// and the LAN; containers serve at port 80. How many questions there were.
fn agree_of_all(host: &Place, containers: &[Asker], addresses: &[String], published: &[u16]) -> usize {
    let neighbour = Place::from_path("/run/netns/neighbour").unwrap();
    let mut servers: Vec<Server> =
        containers.iter().map(|(_, place)| serve_tcp(place, "0.0.0.0:80").unwrap()).collect();
    servers.push(serve_tcp(host, "0.0.0.0:9000").unwrap());
    servers.push(serve_tcp(&neighbour, "0.0.0.0:80").unwrap());
    let own = addresses.iter().flat_map(|it| [80, 81].map(|port| format!("{it}:{port}")));
    let ports = published.iter().chain(&[9000, 9001]).map(|port| format!("{}:{port}", inside::HOST));
    let targets = own.chain(ports).chain([format!("{}:80", inside::LAN)]);
    let targets: Vec<SocketAddr> = targets.map(|it| it.parse().unwrap()).collect();
    let mut askers = containers.to_vec();
    askers.extend([("host".to_owned(), host.clone()), ("lan".to_owned(), neighbour)]);
    agree(host, &askers, &targets)
}

/// The walks as lines.
fn steps(explained: &Explained) -> String {
    let mut text = String::new();
    for walk in &explained.walks {
        writeln!(text, "  {}", walk.title).unwrap();
        for step in &walk.steps {
            writeln!(text, "    {} {} {}", step.namespace, step.location(), step.text()).unwrap();
        }
        writeln!(text, "    = {}", walk.end.text).unwrap();
    }
    text
}
