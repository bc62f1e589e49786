//! Setup and teardown as podman calls netavark, as whole processes; of Fairway, and of netavark itself.

use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fairway_kernel::namespace::NAMED_DIRECTORY;
use fairway_lab::{Lab, SCRATCH};
use serde_json::{Value, json};

use crate::Failure;
use crate::attach::{COLUMNS, cells};
use crate::figures::{Table, Times};
use crate::stage::Stage;

/// Debian's netavark, which programs iptables.
const DEBIAN: &str = "/usr/lib/podman/netavark";
/// The path of a netavark 2, which programs nftables, if one is to be compared.
const NEWER: &str = "NETAVARK";
const ROUNDS: usize = 21;
/// With many ports netavark takes seconds.
const FEW_ROUNDS: usize = 5;
const MANY: u16 = 100;
const FIRST: u16 = 40_000;

/// What a container has.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    ports: u16,
    range: bool,
    names: bool,
}

const CASES: [Case; 6] = [
    Case { name: "no port", ports: 0, range: false, names: false },
    Case { name: "1 port", ports: 1, range: false, names: false },
    Case { name: "1 port, names", ports: 1, range: false, names: true },
    Case { name: "100 ports", ports: 100, range: false, names: false },
    Case { name: "1,000 ports", ports: 1000, range: false, names: false },
    Case { name: "1,000 ports as one range", ports: 1000, range: true, names: false },
];

/// A program that is called as netavark.
struct Program {
    name: &'static str,
    path: PathBuf,
    aardvark: PathBuf,
    most_ports: u16,
}

/// On a bridge that is made and deleted each time, and on one that is there.
pub fn measure(lab: &Lab) -> Result<(), Failure> {
    let table = Table::new("netavark: setup and teardown, ms, whole processes", &COLUMNS);
    let stage = Stage::new(lab, "netavark", &["--userland-proxy=false"])?;
    let spare = stage.namespaces("spare", 8)?;
    let standing = stage.namespaces("standing", 1)?;
    let socket = stage.address().trim_start_matches("unix://").to_owned();
    stage.host.run_in(|| symlink(socket, "/run/fairway.sock"))??;
    let own = PathBuf::from(format!("{SCRATCH}/netavark"));
    symlink(env!("CARGO_BIN_EXE_fairway"), &own)?;
    let ours = PathBuf::from(env!("CARGO_BIN_EXE_fairway"));
    let mut programs = vec![Program { name: "fairway", path: own, aardvark: ours, most_ports: u16::MAX }];
    let debian = PathBuf::from(DEBIAN.replace("netavark", "aardvark-dns"));
    if let Some(path) = std::env::var_os(NEWER).map(PathBuf::from) {
        // The transaction of more is too large without the machine's root.
        let (aardvark, most_ports) = (debian.clone(), MANY);
        programs.push(Program { name: "netavark 2.1", path, aardvark, most_ports });
    }
    if Path::new(DEBIAN).exists() {
        programs.push(Program {
            name: "netavark 1.4",
            path: DEBIAN.into(),
            aardvark: debian,
            most_ports: MANY,
        });
    }
    for program in &programs {
        for case in CASES.iter().filter(|case| case.ports <= program.most_ports) {
            table.row(cells(
                format!("{}, {}", case.name, program.name),
                &times(&stage, program, &spare, *case)?,
            ));
        }
        let case = CASES[1];
        let first = Call { program, namespace: &standing[0], number: 99, case: CASES[0] };
        stage.host.run_in(|| first.run("setup"))??;
        let row = times(&stage, program, &spare, case)?;
        table.row(cells(format!("{}, bridge is there, {}", case.name, program.name), &row));
        stage.host.run_in(|| first.run("teardown"))??;
    }
    Ok(())
}

fn times(stage: &Stage, program: &Program, spare: &[String], case: Case) -> Result<[Times; 2], Failure> {
    let (mut setup, mut teardown) = (Times::default(), Times::default());
    let rounds = if case.ports >= MANY && program.name != "fairway" { FEW_ROUNDS } else { ROUNDS };
    for round in 0..rounds {
        let call = Call { program, namespace: &spare[round % 8], number: round as u8, case };
        stage.host.run_in(|| {
            setup.note(|| call.run("setup"))?;
            teardown.note(|| call.run("teardown"))
        })??;
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    Ok([setup, teardown])
}

/// One container.
struct Call<'a> {
    program: &'a Program,
    namespace: &'a str,
    number: u8,
    case: Case,
}

impl Call<'_> {
    fn input(&self) -> Value {
        let Case { ports, range, names, .. } = self.case;
        let mapping = |offset: u16, range: u16| {
            json!({"host_ip": "", "host_port": FIRST + offset, "container_port": 1000 + offset, "range": range,
                "protocol": "tcp"})
        };
        let ports: Vec<_> = match range {
            true => vec![mapping(0, ports)],
            false => (0..ports).map(|offset| mapping(offset, 1)).collect(),
        };
        json!({
            "container_id": format!("{:02x}", self.number).repeat(32), "container_name": format!("c{}", self.number),
            "port_mappings": ports,
            "networks": {"n": {"static_ips": [format!("10.89.0.{}", 10 + self.number)], "aliases": [],
                "interface_name": "eth0"}},
            "network_info": {"n": {"name": "n", "id": "ab".repeat(32), "driver": "bridge",
                "network_interface": "podman9", "options": {"mtu": "1500"}, "ipv6_enabled": false, "internal": false, "dns_enabled": names,
                "subnets": [{"subnet": "10.89.0.0/24", "gateway": "10.89.0.1"}],
                "ipam_options": {"driver": "host-local"}}},
        })
    }

    fn run(&self, command: &str) -> Result<(), Failure> {
        let mut child = Command::new(&self.program.path)
            .args(["--config", SCRATCH, "--rootless=false", "--aardvark-binary"])
            .arg(&self.program.aardvark)
            .args([command, &format!("{NAMED_DIRECTORY}/{}", self.namespace)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(self.input().to_string().as_bytes())?;
        }
        let output = child.wait_with_output()?;
        match output.status.success() {
            true => Ok(()),
            false => Err(format!("{command}: {}", String::from_utf8_lossy(&output.stdout)).into()),
        }
    }
}
