//! Who reaches whom in a lab, and what the probes call it.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]
#![allow(clippy::disallowed_methods, reason = "tests run programs and read the environment")]

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use fairway_lab::{
    DatagramFlow, Fault, Host, Lab, Outcome, Place, Question, Transfer, ask, ask_datagram, serve_datagrams,
    serve_echo, serve_tcp,
};

/// Two hosts on a LAN, with both families.
fn pair(lab: &Lab) -> (Host, Host) {
    let (left, right) = (lab.host("left").unwrap(), lab.host("right").unwrap());
    let lan = lab.lan("lan0").unwrap();
    assert_eq!(lan.join(&left, &["10.10.50.1/24", "fd50::1/64"]).unwrap(), "eth0");
    lan.join(&right, &["10.10.50.99/24", "fd50::99/64"]).unwrap();
    (left, right)
}

#[test]
fn two_hosts_meet() {
    fairway_lab::run(|lab| {
        let (left, right) = pair(lab);
        let _server = serve_tcp(&right, "[::]:80").unwrap();
        assert_eq!(ask(&left, "10.10.50.99:80").unwrap(), Outcome::answered("10.10.50.1"));
        assert_eq!(ask(&left, "[fd50::99]:80").unwrap(), Outcome::answered("fd50::1"));
        assert_eq!(ask(&right, "127.0.0.1:80").unwrap(), Outcome::answered("127.0.0.1"));
        let reply = Question::to("10.10.50.99:80").unwrap().tcp_reply(&left).unwrap().unwrap();
        assert_eq!(reply.server, "right");
        assert_eq!(reply.destination, "10.10.50.99:80".parse().unwrap());
    });
}

#[test]
fn a_question_comes_from_the_given_address() {
    fairway_lab::run(|lab| {
        let (left, right) = pair(lab);
        left.add_address("eth0", "10.10.50.2/24").unwrap();
        let _tcp = serve_tcp(&right, "0.0.0.0:80").unwrap();
        let _udp = serve_datagrams(&right, "0.0.0.0:80").unwrap();
        let source: IpAddr = "10.10.50.2".parse().unwrap();
        let question = Question::to("10.10.50.99:80").unwrap().from(source);
        assert_eq!(question.tcp(&left).unwrap(), Outcome::Answered { source });
        assert_eq!(question.udp(&left).unwrap(), Outcome::Answered { source });
    });
}

#[test]
fn a_host_routes_between_two_lans() {
    fairway_lab::run(|lab| {
        let (near, router, far) =
            (lab.host("near").unwrap(), lab.host("router").unwrap(), lab.host("far").unwrap());
        let (here, there) = (lab.lan("here").unwrap(), lab.lan("there").unwrap());
        here.join(&near, &["10.1.0.2/24", "fd01::2/64"]).unwrap();
        here.join(&router, &["10.1.0.1/24", "fd01::1/64"]).unwrap();
        assert_eq!(there.join(&router, &["10.2.0.1/24", "fd02::1/64"]).unwrap(), "eth1");
        there.join(&far, &["10.2.0.2/24", "fd02::2/64"]).unwrap();
        near.route("default", "10.1.0.1").unwrap();
        near.route("default", "fd01::1").unwrap();
        far.route("10.1.0.0/24", "10.2.0.1").unwrap();
        far.route("fd01::/64", "fd02::1").unwrap();
        let _server = serve_tcp(&far, "[::]:80").unwrap();

        assert_eq!(ask(&near, "10.2.0.2:80").unwrap(), Outcome::TimedOut);
        router.set_sysctl("net.ipv4.ip_forward", "1").unwrap();
        router.set_sysctl("net.ipv6.conf.all.forwarding", "1").unwrap();
        assert_eq!(router.sysctl("net.ipv4.ip_forward").unwrap(), "1");
        assert_eq!(ask(&near, "10.2.0.2:80").unwrap(), Outcome::answered("10.1.0.2"));
        assert_eq!(ask(&near, "[fd02::2]:80").unwrap(), Outcome::answered("fd01::2"));
        // The neighbour's setting is its own.
        assert_eq!(near.sysctl("net.ipv4.ip_forward").unwrap(), "0");
    });
}

#[test]
fn what_became_of_a_question_has_its_category() {
    fairway_lab::run(|lab| {
        let (left, right) = pair(lab);
        let asked =
            |target: &str| Question::to(target).unwrap().within(Duration::from_secs(2)).tcp(&left).unwrap();
        assert_eq!(asked("10.10.50.99:81"), Outcome::Refused);
        assert_eq!(asked("[fd50::99]:81"), Outcome::Refused);
        assert_eq!(asked("10.10.50.77:80"), Outcome::TimedOut);
        assert_eq!(asked("192.0.2.1:80"), Outcome::Unreachable);
        assert_eq!(asked("[2001:db8::1]:80"), Outcome::Unreachable);

        let silent = right.run_in(|| std::net::TcpListener::bind("0.0.0.0:82").unwrap()).unwrap();
        assert_eq!(asked("10.10.50.99:82"), Outcome::AcceptedNeverAnswered);
        let closing = std::thread::spawn(move || {
            // The first is the one from above, which is gone.
            drop(silent.accept().unwrap());
            drop(silent.accept().unwrap());
        });
        assert_eq!(asked("10.10.50.99:82"), Outcome::Dropped);
        closing.join().unwrap();
        assert_eq!(asked("10.10.50.99:82"), Outcome::Refused);
    });
}

#[test]
fn the_same_categories_for_datagrams() {
    fairway_lab::run(|lab| {
        let (left, right) = pair(lab);
        assert_eq!(ask_datagram(&left, "10.10.50.99:53").unwrap(), Outcome::Refused);
        assert_eq!(ask_datagram(&left, "192.0.2.1:53").unwrap(), Outcome::Unreachable);
        let silent = right.run_in(|| std::net::UdpSocket::bind("0.0.0.0:53").unwrap()).unwrap();
        let question = Question::to("10.10.50.99:53").unwrap().within(Duration::from_millis(100));
        assert_eq!(question.udp(&left).unwrap(), Outcome::TimedOut);
        drop(silent);

        let server = serve_datagrams(&right, "[::]:53").unwrap();
        assert_eq!(ask_datagram(&left, "10.10.50.99:53").unwrap(), Outcome::answered("10.10.50.1"));
        assert_eq!(ask_datagram(&left, "[fd50::99]:53").unwrap(), Outcome::answered("fd50::1"));

        let flow = DatagramFlow::open(&left, "10.10.50.99:53").unwrap();
        let port = flow.local_address().unwrap().port();
        for _ in 0..3 {
            let reply = flow.ask_reply(Duration::from_secs(15)).unwrap();
            assert_eq!(reply.source, SocketAddr::new("10.10.50.1".parse().unwrap(), port));
        }
        drop(server);
        assert_eq!(flow.ask(Duration::from_secs(15)), Outcome::Refused);
    });
}

#[test]
fn a_transfer_reports_whether_every_byte_came_back() {
    fairway_lab::run(|lab| {
        let (left, right) = pair(lab);
        let server = serve_echo(&right, "0.0.0.0:90").unwrap();
        let transfer = Transfer::start(&left, "10.10.50.99:90").unwrap();
        assert!(transfer.moves_on(200_000, Duration::from_secs(20)));
        let report = transfer.finish();
        assert_eq!(report.fault, None);
        assert!(report.sent >= 200_000);
        assert_eq!(report.sent, report.returned);

        let transfer = Transfer::start(&left, "10.10.50.99:90").unwrap();
        assert!(transfer.moves_on(1, Duration::from_secs(20)));
        drop(server);
        assert!(!transfer.moves_on(1_000_000, Duration::from_millis(200)));
        let fault = transfer.finish().fault;
        assert!(matches!(fault, Some(Fault::Cut(_) | Fault::Lost)), "{fault:?}");

        // A far end that answers the right number of wrong bytes.
        let wrong = right.run_in(|| std::net::TcpListener::bind("0.0.0.0:91").unwrap()).unwrap();
        let far = std::thread::spawn(move || {
            let (mut stream, _) = wrong.accept().unwrap();
            stream.write_all(&[0, 0x9e, 0]).unwrap();
            std::io::copy(&mut stream, &mut std::io::sink())
        });
        let transfer = Transfer::start(&left, "10.10.50.99:91").unwrap();
        assert!(!transfer.moves_on(3, Duration::from_millis(200)));
        assert_eq!(transfer.finish().fault, Some(Fault::Corrupt { at: 2 }));
        let _ = far.join().unwrap();
    });
}

#[test]
fn a_place_is_also_a_path_to_a_namespace() {
    fairway_lab::run(|lab| {
        let (left, right) = pair(lab);
        let sleeper = right.spawn(std::process::Command::new("sleep").arg("1000")).unwrap();
        let place = Place::from_path(format!("/proc/{}/ns/net", sleeper.id())).unwrap();
        let _server = serve_tcp(&place, "10.10.50.99:80").unwrap();
        assert_eq!(ask(&left, "10.10.50.99:80").unwrap(), Outcome::answered("10.10.50.1"));
        assert!(Place::from_path("/proc/self/ns/nothing").is_err());
        assert!(Place::from_path("/proc/self/status").unwrap().run_in(|| ()).is_err());
    });
}

#[test]
fn a_sandbox_of_a_host_has_its_own_network_and_the_hosts_files() {
    fairway_lab::run(|lab| {
        let (_, right) = pair(lab);
        right
            .run_in(|| {
                // As `ip netns add` does: a namespace held by a bind mount that only this host sees.
                std::fs::create_dir_all("/run/netns").unwrap();
                std::fs::write("/run/netns/web", "").unwrap();
                let unshared = fairway_kernel::system::unshare(rustix::thread::UnshareFlags::NEWNET);
                unshared.unwrap();
                rustix::mount::mount_bind("/proc/thread-self/ns/net", "/run/netns/web").unwrap();
            })
            .unwrap();
        assert!(Place::from_path("/run/netns/web").is_err());
        let web = right.sandbox("/run/netns/web").unwrap();
        assert_eq!(web.run_in(|| std::fs::read_to_string("/etc/hostname").unwrap()).unwrap(), "right\n");
        let own = Place::from_path(format!("/proc/{}/ns/net", std::process::id())).unwrap();
        assert!(own.mac("eth0").is_err() && web.mac("eth0").is_err() && right.mac("eth0").is_ok());
    });
}

#[test]
fn an_interface_that_is_down_reaches_no_host() {
    fairway_lab::run(|lab| {
        let (left, right) = pair(lab);
        let _server = serve_tcp(&right, "0.0.0.0:80").unwrap();
        left.set_link("eth0", false).unwrap();
        assert_eq!(ask(&left, "10.10.50.99:80").unwrap(), Outcome::Unreachable);
        left.set_link("eth0", true).unwrap();
        assert_eq!(ask(&left, "10.10.50.99:80").unwrap(), Outcome::answered("10.10.50.1"));
    });
}

#[test]
fn what_is_no_address_is_refused_with_an_example() {
    fairway_lab::run(|lab| {
        let host = lab.host("one").unwrap();
        let lan = lab.lan("lan0").unwrap();
        let error = lan.join(&host, &["10.10.50.1"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"10.10.50.1\" is not an address with a prefix length, such as 10.10.50.99/24"
        );
        assert!(ask(&host, "localhost").is_err());
        // Refused before anything was plugged in.
        assert!(host.set_link("eth0", true).is_err());
        assert!(lab.lan("lan0").is_err());
    });
}
