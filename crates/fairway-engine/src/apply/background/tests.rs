use std::sync::mpsc::channel;
use std::time::Duration;

use fairway_core::object::{Fragment, PortSocket, SandboxRoutes, SocketUse, VethLink};
use fairway_model::{Advertising, EndpointId, MacAddress, Protocol, SandboxId};

use super::*;

fn namespace(inode: u64) -> Namespace {
    Namespace { path: format!("/run/netns/{inode}"), device: 4, inode }
}

fn veth(name: &str, inode: u64, address: &str) -> (Key, Object) {
    let object = VethLink {
        host_interface: name.to_owned(),
        endpoint: EndpointId::new([1; 32]),
        bridge: "fw0".to_owned(),
        namespace: Some(namespace(inode)),
        interface: "eth0".to_owned(),
        mac: MacAddress([2; 6]),
        mtu: 1500,
        addresses: vec![address.parse().unwrap()],
        hairpin: false,
        sysctls: Vec::new(),
        advertising: Advertising::default(),
        alternative_name: None,
    };
    (Key::Veth(name.to_owned()), Object::Veth(object))
}

fn port(number: u16) -> (Key, Object) {
    let object = PortSocket { sandbox: SandboxId::new([1; 32]), purpose: SocketUse::Reserve };
    (Key::Socket(Protocol::Tcp, ([0, 0, 0, 0], number).into()), Object::Socket(object))
}

fn routes(sandbox: u8, inode: u64) -> (Key, Object) {
    let object = SandboxRoutes { namespace: namespace(inode), gateways: Vec::new(), others: Vec::new() };
    (Key::SandboxRoutes(SandboxId::new([sandbox; 32])), Object::SandboxRoutes(object))
}

fn added(object: (Key, Object)) -> Difference {
    Difference { added: Fragment::from([object]), ..Difference::default() }
}

fn removed(object: (Key, Object)) -> Difference {
    Difference { removed: Fragment::from([object]), ..Difference::default() }
}

#[test]
fn a_claim_meets_what_has_its_keys_addresses_or_namespaces() {
    let gone = Fragment::from([veth("vf1", 10, "10.0.0.2/24"), port(80)]);
    let claim = Claim::of(&gone);
    for (what, difference, meets) in [
        ("another link to the same namespace", added(veth("vf2", 10, "10.0.0.3/24")), true),
        ("another link with the same address", added(veth("vf2", 11, "10.0.0.2/16")), true),
        ("the same link elsewhere", added(veth("vf1", 11, "10.0.0.3/24")), true),
        ("routes in the same namespace", added(routes(9, 10)), true),
        ("the same port", added(port(80)), true),
        ("the same port, which goes", removed(port(80)), true),
        ("another link elsewhere", added(veth("vf2", 11, "10.0.0.3/24")), false),
        ("another link that leaves the same namespace", removed(veth("vf2", 10, "10.0.0.2/24")), false),
        ("routes elsewhere", added(routes(1, 11)), false),
        ("another port", added(port(81)), false),
        ("nothing", Difference::default(), false),
    ] {
        assert_eq!(claim.meets(&difference), meets, "{what}");
    }
}

/// Starts work on a port that ends when the sender is used.
fn start(background: &Arc<Background>, number: u16) -> std::sync::mpsc::Sender<()> {
    let (end, ended) = channel();
    let work = move || ended.recv().unwrap();
    background.run(Claim::of(&Fragment::from([port(number)])), work);
    end
}

/// Waits on another thread, and sends when that is done.
fn waiting(background: &Arc<Background>, difference: Option<Difference>) -> std::sync::mpsc::Receiver<()> {
    let (sender, receiver) = channel();
    let background = Arc::clone(background);
    std::thread::spawn(move || {
        match difference {
            Some(difference) => background.wait_for(&difference),
            None => background.wait_for_all(),
        }
        sender.send(()).unwrap();
    });
    receiver
}

const SOON: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(60);

#[test]
fn what_is_met_is_waited_for_and_nothing_else() {
    let background = Arc::new(Background::default());
    let ends = [80, 81].map(|number| start(&background, number));
    background.wait_for(&added(port(82)));
    let met = waiting(&background, Some(added(port(80))));
    assert!(met.recv_timeout(SOON).is_err(), "it did not wait");
    ends[0].send(()).unwrap();
    met.recv_timeout(LONG).unwrap();
    ends[1].send(()).unwrap();
    background.wait_for(&added(port(81)));
}

#[test]
fn all_that_goes_on_is_waited_for_but_not_what_comes_later() {
    let background = Arc::new(Background::default());
    let first = start(&background, 80);
    let all = waiting(&background, None);
    assert!(all.recv_timeout(SOON).is_err(), "it did not wait");
    let _later = start(&background, 81);
    first.send(()).unwrap();
    all.recv_timeout(LONG).unwrap();
}

#[test]
fn a_claim_ends_with_work_that_panics() {
    let background = Arc::new(Background::default());
    background.run(Claim::of(&Fragment::from([port(80)])), || panic!("on purpose"));
    background.wait_for(&added(port(80)));
}

#[test]
fn beyond_the_limit_the_caller_works_itself() {
    let background = Arc::new(Background::default());
    let ends: Vec<_> = (0..AT_ONCE).map(|at| start(&background, u16::try_from(at).unwrap())).collect();
    let (sender, receiver) = channel();
    let caller = std::thread::current().id();
    background.run(Claim::default(), move || sender.send(std::thread::current().id()).unwrap());
    assert_eq!(receiver.try_recv(), Ok(caller));
    ends.into_iter().for_each(|end| end.send(()).unwrap());
    background.wait_for_all();
}
