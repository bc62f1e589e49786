//! The floor: the kernel objects of an attach, made by `ip -batch` on each side and `nft -f`. No
//! store, no sockets, no names, no files; what ip(8) and nft(8) make of it is what a shell script
//! could reach at best.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use fairway_kernel::namespace;
use fairway_lab::{Host, Lab};

use crate::Failure;
use crate::figures::Times;

const TABLES: &str = "
table inet floor {
  map published4 { type inet_proto . inet_service : ipv4_addr . inet_service; }
  set hairpin4 { type ipv4_addr . ipv4_addr; }
}
table bridge floor {
  set assigned_macs { type ether_addr; }
  set port_macs { type ifname . ether_addr; }
  set assigned_ips4 { type ipv4_addr; }
  set port_ips4 { type ifname . ipv4_addr; }
}
";
const BRIDGE: &str = "link add floor0 address 02:00:00:00:00:01 type bridge
addr add 172.17.0.1/16 dev floor0
link set floor0 up
";
const PAUSE: Duration = Duration::from_millis(50);

/// A host with a bridge and tables, filled by other programs.
pub struct Floor {
    host: Host,
    present: usize,
}

/// Runs a program that reads its work from the standard input, in the host of the calling thread.
pub fn feed(program: &str, arguments: &[&str], work: &str) -> Result<(), Failure> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    // A program that ends early says why.
    let written = child.stdin.take().map_or(Ok(()), |mut input| input.write_all(work.as_bytes()));
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(written?);
    }
    Err(format!("{program} failed: {}", String::from_utf8_lossy(&output.stderr)).into())
}

fn installed(program: &str) -> bool {
    Command::new(program).arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// What distinguishes the objects of one sandbox.
struct Sandbox {
    namespace: String,
    port: String,
    mac: String,
    address: String,
}

impl Sandbox {
    fn new(number: usize) -> Self {
        let place = number + 2;
        let (high, low) = (place / 256, place % 256);
        Self {
            namespace: format!("floor{number}"),
            port: format!("f{number}"),
            mac: format!("02:00:00:01:{high:02x}:{low:02x}"),
            address: format!("172.17.{high}.{low}"),
        }
    }

    fn elements(&self, verb: &str, ports: u16) -> String {
        let Self { port, mac, address, .. } = self;
        let mut text = format!(
            "{verb} element bridge floor assigned_macs {{ {mac} }}
{verb} element bridge floor port_macs {{ \"{port}\" . {mac} }}
{verb} element bridge floor assigned_ips4 {{ {address} }}
{verb} element bridge floor port_ips4 {{ \"{port}\" . {address} }}
"
        );
        if ports > 0 {
            let _ = writeln!(text, "{verb} element inet floor hairpin4 {{ {address} . {address} }}");
            let _ = write!(text, "{verb} element inet floor published4 {{ ");
            for offset in 0..ports {
                let _ = write!(text, "tcp . {} : {address} . {}, ", 40_000 + offset, 1000 + offset);
            }
            text.push_str("}\n");
        }
        text
    }

    fn links(&self) -> String {
        let Self { namespace, port, mac, .. } = self;
        format!(
            "link add {port} mtu 1500 master floor0 type veth peer name eth0 mtu 1500 address {mac} netns {namespace}
link set {port} alias floor:{port} up
"
        )
    }

    fn inside(&self) -> String {
        format!(
            "link set lo up
addr add {}/16 brd + dev eth0
link set eth0 up
route add default via 172.17.0.1
",
            self.address
        )
    }

    fn attach(&self, ports: u16) -> Result<(), Failure> {
        feed("nft", &["-f", "-"], &self.elements("add", ports))?;
        feed("ip", &["-batch", "-"], &self.links())?;
        feed("ip", &["-n", &self.namespace, "-batch", "-"], &self.inside())
    }

    fn detach(&self, ports: u16) -> Result<(), Failure> {
        feed("ip", &["-batch", "-"], &format!("link del {}\n", self.port))?;
        feed("nft", &["-f", "-"], &self.elements("delete", ports))
    }
}

impl Floor {
    /// Prepares a host; none, and said so, where the programs are not installed.
    pub fn find(lab: &Lab, name: &str) -> Result<Option<Self>, Failure> {
        let missing: Vec<&str> = ["ip", "nft"].into_iter().filter(|program| !installed(program)).collect();
        if !missing.is_empty() {
            println!("\nNo floor: {} not installed.", missing.join(" and "));
            return Ok(None);
        }
        let host = lab.host(name)?;
        host.run_in(|| {
            feed("nft", &["-f", "-"], TABLES).and_then(|()| feed("ip", &["-batch", "-"], BRIDGE))
        })??;
        Ok(Some(Self { host, present: 0 }))
    }

    /// Has this many sandboxes be there.
    pub fn fill(&mut self, count: usize) -> Result<(), Failure> {
        let added: Vec<Sandbox> = (self.present..count).map(Sandbox::new).collect();
        self.present = count;
        self.host.run_in(|| {
            added.iter().try_for_each(|it| namespace::create_named(&it.namespace).map(drop))?;
            // More at a time is more than nft(8) can send where the caller is not the machine's root.
            for some in added.chunks(100) {
                feed("nft", &["-f", "-"], &some.iter().map(|it| it.elements("add", 0)).collect::<String>())?;
            }
            feed("ip", &["-batch", "-"], &added.iter().map(Sandbox::links).collect::<String>())?;
            added.iter().try_for_each(|it| feed("ip", &["-n", &it.namespace, "-batch", "-"], &it.inside()))
        })?
    }

    /// Attaches and detaches one more, time after time.
    pub fn rounds(&mut self, rounds: usize, ports: u16) -> Result<[Times; 2], Failure> {
        let first = self.present;
        self.present += 8;
        self.host.run_in(|| {
            let spare: Vec<Sandbox> = (first..first + 8).map(Sandbox::new).collect();
            spare.iter().try_for_each(|it| namespace::create_named(&it.namespace).map(drop))?;
            let (mut attach, mut detach) = (Times::default(), Times::default());
            for sandbox in spare.iter().cycle().take(rounds) {
                attach.note(|| sandbox.attach(ports))?;
                detach.note(|| sandbox.detach(ports))?;
                std::thread::sleep(PAUSE);
            }
            Ok([attach, detach])
        })?
    }
}
