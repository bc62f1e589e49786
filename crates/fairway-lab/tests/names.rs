//! The DNS client against a server that says what it is told to say.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::io::{Read, Write};
use std::time::Duration;

use fairway_lab::dns::{Data, DnsFailure, DnsQuestion, Kind, Transport, look_up};

/// Turns a question into an answer with one A record of 10.0.0.9 that lives for a second.
fn answer(question: &[u8]) -> Vec<u8> {
    let mut answer = question.to_vec();
    answer[2] |= 0x80;
    answer[7] = 1;
    // What follows the question, EDNS's record, has no place before the answer.
    answer[11] = 0;
    let end = 12 + question[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
    answer.truncate(end);
    answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 10, 0, 0, 9]);
    answer
}

#[test]
fn each_transport_is_answered() {
    fairway_lab::run(|lab| {
        let host = lab.host("host").unwrap();
        let (udp, tcp) = host
            .run_in(|| {
                let udp = std::net::UdpSocket::bind("127.0.0.11:53").unwrap();
                (udp, std::net::TcpListener::bind("127.0.0.11:53").unwrap())
            })
            .unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((length, peer)) = udp.recv_from(&mut buffer) {
                // Somebody else's answer comes first, and is not taken.
                udp.send_to(&answer(&[&[0xff, 0xff], &buffer[2..length]].concat()), peer).unwrap();
                udp.send_to(&answer(&buffer[..length]), peer).unwrap();
            }
        });
        std::thread::spawn(move || {
            let (mut stream, _) = tcp.accept().unwrap();
            let mut buffer = [0; 512];
            let length = stream.read(&mut buffer).unwrap();
            let answer = answer(&buffer[2..length]);
            stream.write_all(&[&(answer.len() as u16).to_be_bytes()[..], &answer].concat()).unwrap();
        });
        for transport in [Transport::Udp, Transport::Edns, Transport::Tcp] {
            let question = DnsQuestion::new("web", Kind::A).by(transport);
            let answer = question.ask(&host, "127.0.0.11:53").unwrap().unwrap();
            assert_eq!(answer.code, 0);
            assert_eq!(answer.records.len(), 1, "{transport:?}");
            assert_eq!(answer.records[0].ttl, 1);
            assert_eq!(answer.records[0].data, Data::Address("10.0.0.9".parse().unwrap()));
        }
        let addresses = look_up(&host, "127.0.0.11:53", "web", Kind::A).unwrap().unwrap();
        assert_eq!(addresses, ["10.0.0.9".parse::<std::net::IpAddr>().unwrap()]);
    });
}

#[test]
fn silence_and_refusal_are_told_apart() {
    fairway_lab::run(|lab| {
        let host = lab.host("host").unwrap();
        let question = DnsQuestion::new("web", Kind::Aaaa).within(Duration::from_millis(100));
        for transport in [Transport::Udp, Transport::Tcp] {
            let refused = question.by(transport).ask(&host, "127.0.0.11:53").unwrap();
            assert_eq!(refused, Err(DnsFailure::Refused), "{transport:?}");
        }
        let _silent = host.run_in(|| std::net::UdpSocket::bind("127.0.0.11:53").unwrap()).unwrap();
        assert_eq!(question.ask(&host, "127.0.0.11:53").unwrap(), Err(DnsFailure::TimedOut));
    });
}
