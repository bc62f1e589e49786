//! Labs: throw-away sets of network namespaces that play hosts on LANs.
//!
//! A lab needs no root and touches nothing of the machine: this program is executed once more, as root of its own
//! user, network, mount, pid, IPC and UTS namespaces, and dies, with every process and every link in it, when
//! its starter dies. A test gets one from [`run`], a program from [`main`]:
//!
//! ```no_run
//! use fairway_lab::{Outcome, ask, serve_tcp};
//!
//! #[test]
//! fn the_router_forwards() {
//!     fairway_lab::run(|lab| {
//!         let [near, router, far] = ["near", "router", "far"].map(|name| lab.host(name).unwrap());
//!         let (here, there) = (lab.lan("here").unwrap(), lab.lan("there").unwrap());
//!         here.join(&near, &["10.1.0.2/24", "fd01::2/64"]).unwrap();
//!         here.join(&router, &["10.1.0.1/24", "fd01::1/64"]).unwrap();
//!         there.join(&router, &["10.2.0.1/24"]).unwrap();
//!         there.join(&far, &["10.2.0.2/24"]).unwrap();
//!         near.route("default", "10.1.0.1").unwrap();
//!         far.route("default", "10.2.0.1").unwrap();
//!         router.set_sysctl("net.ipv4.ip_forward", "1").unwrap();
//!
//!         let _server = serve_tcp(&far, "0.0.0.0:80").unwrap();
//!         assert_eq!(ask(&near, "10.2.0.2:80").unwrap(), Outcome::answered("10.1.0.2"));
//!     });
//! }
//! ```
//!
//! The closure of a test runs in another process than the lines around it, and so do those lines, a second time:
//! nothing of value is computed outside the closure. What runs in a lab:
//!
//! - a [`Host`] has its own links, routes, sysctls and host name, and its own /run, /var/lib and /etc; the rest of
//!   the machine's files are seen, and [`SCRATCH`] is shared by all of the lab;
//! - a [`Place`] is where things run: a host, a sandbox of it ([`Place::sandbox`]), or any namespace by its path
//!   ([`Place::from_path`]). [`Place::spawn`] and [`Place::run`] start programs there, [`Place::run_in`] a closure;
//! - probes: [`serve_tcp`], [`serve_datagrams`], [`serve_echo`]; [`ask`], [`ask_datagram`], [`Question`],
//!   [`DatagramFlow`], [`Transfer`]; [`DhcpServer`]; [`FrameSender`] and [`Capture`] with [`frame`];
//! - [`leftovers`] proves that nothing stayed behind.
//!
//! With `FAIRWAY_LAB_SINGLE_USER=1` a lab has no user but root, as it is where the caller is not root. Where the system
//! forbids user namespaces, [`LabError::Forbidden`] says who does and what to do, and tests fail.

mod dhcp;
mod enter;
mod error;
pub mod frame;
mod inside;
mod lab;
pub mod leftovers;
mod mounts;
mod place;
mod probe;
mod process;
mod tap;
mod userns_denied;
mod wire;

pub use dhcp::{DhcpServer, Heard};
pub use enter::{enter, main, run};
pub use error::LabError;
pub use inside::is_inside;
pub use lab::{Host, Lab, Lan};
pub use mounts::SCRATCH;
pub use place::Place;
pub use probe::{
    DatagramFlow, Fault, Outcome, Question, Reply, Server, Transfer, TransferReport, ask, ask_datagram,
    serve_datagrams, serve_echo, serve_tcp,
};
pub use process::Process;
pub use tap::{Capture, FrameSender};
pub use userns_denied::Cause;
