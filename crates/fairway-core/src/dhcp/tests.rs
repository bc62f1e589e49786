use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use fairway_model::{EndpointId, Lease, LeaseIdentity, MacAddress};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const SERVER_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 50);
const START: i64 = 1_000 * SECOND;

fn identity() -> LeaseIdentity {
    let client = EndpointId::new([7; 32]);
    LeaseIdentity { client, mac: MacAddress([2, 0, 0, 0, 0, 7]), hostname: "web".to_owned() }
}

/// The message in a frame, behind 42 bytes of headers.
fn sent(frame: &[u8]) -> Message {
    Message::decode(&frame[42..]).unwrap()
}

fn answer(question: &Message, message_type: MessageType) -> Message {
    Message {
        message_type,
        your_address: ADDRESS,
        server: Some(SERVER),
        lease_seconds: Some(80),
        client: Vec::new(),
        hostname: String::new(),
        ..question.clone()
    }
}

fn leased() -> Lease {
    let mut client = Client::new(identity(), 9, START);
    let discover = sent(&client.poll(START).unwrap().unwrap());
    assert_eq!((discover.message_type, discover.broadcast), (MessageType::Discover, true));
    assert_eq!((discover.hostname.as_str(), discover.client.len()), ("web", 17));
    assert_eq!(client.poll(START).unwrap(), None);
    assert_eq!(client.receive(SERVER_MAC, &answer(&discover, MessageType::Offer), START), None);
    let request = sent(&client.poll(START).unwrap().unwrap());
    assert_eq!(
        (request.message_type, request.requested, request.server),
        (MessageType::Request, Some(ADDRESS), Some(SERVER))
    );
    client.receive(SERVER_MAC, &answer(&request, MessageType::Ack), START).unwrap()
}

#[test]
fn four_messages_make_a_lease() {
    let lease = leased();
    assert_eq!((lease.address, lease.server, lease.server_mac), (ADDRESS, SERVER, SERVER_MAC));
    let times = [lease.renew_at, lease.rebind_at, lease.expires_at].map(|at| (at - START) / SECOND);
    assert_eq!(times, [40, 70, 80]);
}

#[test]
fn only_what_was_offered_is_taken_of_who_offered_it() {
    let mut client = Client::new(identity(), 9, START);
    let discover = sent(&client.poll(START).unwrap().unwrap());
    let offer = answer(&discover, MessageType::Offer);
    assert_eq!(
        client.receive(SERVER_MAC, &answer(&discover, MessageType::Ack), START),
        None,
        "nothing was offered"
    );
    let strangers = [
        Message { transaction: 8, ..offer.clone() },
        Message { mac: SERVER_MAC, ..offer.clone() },
        Message { server: None, ..offer.clone() },
    ];
    for stranger in &strangers {
        client.receive(SERVER_MAC, stranger, START);
        assert_eq!(client.poll(START).unwrap(), None, "{stranger:?} is no offer");
    }
    client.receive(SERVER_MAC, &offer, START);
    let request = sent(&client.poll(START).unwrap().unwrap());
    let ack = answer(&request, MessageType::Ack);
    let unfit = [
        Message { server: Some(ADDRESS), ..ack.clone() },
        Message { your_address: SERVER, ..ack.clone() },
        Message { lease_seconds: None, ..ack.clone() },
        Message { lease_seconds: Some(0), ..ack.clone() },
        Message { transaction: 1, ..ack.clone() },
    ];
    unfit.iter().for_each(|it| assert_eq!(client.receive(SERVER_MAC, it, START), None, "{it:?}"));
    assert!(client.receive(SERVER_MAC, &ack, START).is_some());
}

#[test]
fn silence_and_refusals_end_it() {
    let mut client = Client::new(identity(), 9, START);
    let (mut now, mut frames) = (START, 0);
    let failure = loop {
        match client.poll(now) {
            Ok(frame) => frames += usize::from(frame.is_some()),
            Err(failure) => break failure,
        }
        now = client.next_poll();
    };
    assert_eq!((failure, frames, now - START), (LeaseError::Silence, 3, TIMEOUT_SECONDS * SECOND));
    let mut client = Client::new(identity(), 9, START);
    for _ in 0..2 {
        let discover = sent(&client.poll(START).unwrap().unwrap());
        assert_eq!(discover.message_type, MessageType::Discover);
        client.receive(SERVER_MAC, &answer(&discover, MessageType::Offer), START);
        let request = sent(&client.poll(START).unwrap().unwrap());
        client.receive(SERVER_MAC, &answer(&request, MessageType::Nak), START);
    }
    assert_eq!(client.poll(START), Err(LeaseError::Refused(SERVER)));
}

#[test]
fn a_lease_is_renewed_rebound_and_lost() {
    let mut renewal = Renewal::new(leased(), "web", 3, START);
    assert_eq!(renewal.poll(START + 39 * SECOND), (None, None));
    // By its server first, then by any.
    let (frame, event) = renewal.poll(START + 40 * SECOND);
    let frame = frame.unwrap();
    assert_eq!((event, &frame[..6]), (None, &SERVER_MAC.0[..]));
    let request = sent(&frame);
    assert_eq!((request.client_address, request.requested, request.server), (ADDRESS, None, None));
    let (frame, _) = renewal.poll(START + 70 * SECOND);
    assert_eq!(frame.unwrap()[..6], [0xff; 6]);
    // A server answers.
    let ack = answer(&request, MessageType::Ack);
    let now = START + 71 * SECOND;
    assert!(
        matches!(renewal.receive(SERVER_MAC, &ack, now), Some(LeaseEvent::Renewed(lease)) if lease.expires_at == now + 80 * SECOND)
    );
    assert_eq!(renewal.receive(SERVER_MAC, &ack, now), None, "it is not asked for");
    // No server answers.
    let mut at = now;
    let lost = loop {
        at += SECOND / 4;
        if let (_, Some(event)) = renewal.poll(at) {
            break event;
        }
    };
    assert!(matches!(lost, LeaseEvent::Lost(lease) if lease.lost));
    assert_eq!(at, now + 80 * SECOND);
    // A lost lease is reported once, still requested, and renewed again.
    assert!(renewal.poll(at + LOST_PAUSE).0.is_some());
    assert!(matches!(renewal.receive(SERVER_MAC, &ack, at), Some(LeaseEvent::Renewed(lease)) if !lease.lost));
}

const LOST_PAUSE: i64 = 60 * SECOND;

#[test]
fn a_refusal_loses_it_at_once_and_only_when_asked() {
    let mut renewal = Renewal::new(leased(), "web", 3, START);
    let nak = answer(&Message::new(&identity(), MessageType::Request, 3), MessageType::Nak);
    assert_eq!(renewal.receive(SERVER_MAC, &nak, START), None);
    renewal.poll(START + 40 * SECOND);
    assert!(matches!(renewal.receive(SERVER_MAC, &nak, START + 40 * SECOND), Some(LeaseEvent::Lost(_))));
    assert_eq!(renewal.receive(SERVER_MAC, &nak, START + 41 * SECOND), None, "it is lost already");
}

#[test]
fn it_is_given_back_to_who_lent_it() {
    let frame = release(&leased(), 4);
    let message = sent(&frame);
    assert_eq!(
        (message.message_type, message.client_address, message.server),
        (MessageType::Release, ADDRESS, Some(SERVER))
    );
    assert_eq!(frame[..6], SERVER_MAC.0);
    let message = sent(&decline(&leased(), 4));
    assert_eq!((message.message_type, message.requested), (MessageType::Decline, Some(ADDRESS)));
}

/// A frame of a server, made from one of a client.
fn reply_frame(message: &Message) -> Vec<u8> {
    let mut frame = frame::to_server(message, None);
    frame[34..38].copy_from_slice(&[0, 67, 0, 68]);
    frame
}

proptest! {
    #[test]
    fn whatever_is_heard_nothing_breaks(bytes in prop::collection::vec(any::<u8>(), 0..400), valid in any::<bool>(), at in 0..400_usize) {
        let mut frame = reply_frame(&answer(&Message::new(&identity(), MessageType::Request, 9), MessageType::Ack));
        if valid {
            // Broken somewhere behind the headers.
            frame.splice((42 + at).min(frame.len()).., bytes);
        } else {
            frame = bytes;
        }
        if let Some((from, message)) = parse_frame(&frame) {
            let mut client = Client::new(identity(), 9, START);
            prop_assert_eq!(client.receive(from, &message, START), None);
            Message::decode(&message.encode());
        }
    }

    #[test]
    fn what_is_said_is_understood(
        message_type in prop_oneof![Just(MessageType::Offer), Just(MessageType::Ack), Just(MessageType::Nak)],
        transaction: u32,
        broadcast: bool,
        address: u32,
        seconds in prop::option::of(any::<u32>()),
        client in prop::collection::vec(any::<u8>(), 0..255),
        hostname in "[a-z]{0,60}",
    ) {
        let message = Message {
            broadcast,
            your_address: address.into(),
            router: Some(SERVER),
            netmask: Some(Ipv4Addr::new(255, 255, 255, 0)),
            lease_seconds: seconds,
            renewal_seconds: seconds,
            client,
            hostname,
            ..Message::new(&identity(), message_type, transaction)
        };
        prop_assert_eq!(Message::decode(&message.encode()), Some(message.clone()));
        prop_assert_eq!(parse_frame(&reply_frame(&message)), Some((identity().mac, message)));
    }
}
