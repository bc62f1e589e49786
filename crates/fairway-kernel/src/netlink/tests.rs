use rustix::io::Errno;

use super::*;
use crate::testing::in_new_namespace;

const ROOT: [u8; 16] = [0; 16];

fn link_by_name(batch: &mut Batch, name: &str) {
    batch.message(libc::RTM_GETLINK, 0, format!("link {name}")).raw(&ROOT).text(libc::IFLA_IFNAME, name);
}

fn dummy(batch: &mut Batch, name: &str) {
    let flags = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
    batch
        .message(libc::RTM_NEWLINK, flags, format!("dummy {name}"))
        .raw(&ROOT)
        .text(libc::IFLA_IFNAME, name)
        .nest(libc::IFLA_LINKINFO, |info| {
            info.text(libc::IFLA_INFO_KIND, "bridge");
        });
}

#[test]
fn attributes_come_back_as_they_were_written() {
    let mut batch = Batch::new();
    batch.message(1, 0, "a message").u8(1, 7).text(2, "eth0").nest(3, |inner| {
        inner.be16(4, 0x0102).u32(5, 9);
    });
    let bytes = batch.bytes();
    assert_eq!(bytes.len() % 4, 0);
    assert_eq!(u32::from_ne_bytes(bytes[..4].try_into().unwrap()) as usize, bytes.len());
    let attributes = Attributes::new(&bytes[HEADER_LENGTH..]);
    assert_eq!(attributes.find(1).unwrap().u8(), Some(7));
    assert_eq!(attributes.find(2).unwrap().text(), Some("eth0"));
    assert_eq!(attributes.nested(3).find(4).unwrap().value, [1, 2]);
    assert_eq!(attributes.nested(3).find(5).unwrap().u32(), Some(9));
    assert_eq!(attributes.find(6), None);
}

#[test]
fn attributes_with_impossible_lengths_end_the_walk() {
    for bytes in [&[3, 0, 1, 0][..], &[9, 0, 1, 0, 0, 0], &[4, 0, 1]] {
        assert_eq!(Attributes::new(bytes).next(), None, "{bytes:?}");
    }
}

#[test]
fn a_batch_is_answered_message_by_message() {
    in_new_namespace(|| {
        let socket = Socket::open(Protocol::Route).unwrap();
        let mut batch = Batch::new();
        dummy(&mut batch, "one");
        dummy(&mut batch, "one");
        dummy(&mut batch, "a-name-that-is-far-too-long");
        dummy(&mut batch, "two");
        link_by_name(&mut batch, "two");
        let outcome = socket.transact_each(&mut batch).unwrap();
        let refused: Vec<_> = outcome.refusals.iter().map(|r| (r.index, r.label.as_str(), r.errno)).collect();
        assert_eq!(
            refused,
            [(1, "dummy one", Errno::EXIST), (2, "dummy a-name-that-is-far-too-long", Errno::RANGE),]
        );
        assert!(outcome.refusals[1].message.is_some(), "{:?}", outcome.refusals[1]);
        assert!(outcome.refusals[1].offset.is_some());
        let names: Vec<_> = outcome
            .replies
            .iter()
            .map(|reply| reply.attributes(16).find(libc::IFLA_IFNAME).unwrap().text().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["two"]);
    });
}

#[test]
fn a_refusal_is_named_and_the_socket_stays_usable() {
    in_new_namespace(|| {
        let socket = Socket::open(Protocol::Route).unwrap();
        let mut batch = Batch::new();
        link_by_name(&mut batch, "nowhere");
        let error = socket.transact(&mut batch).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::NODEV));
        assert_eq!(error.to_string(), "link nowhere: No such device (os error 19)");
        let mut batch = Batch::new();
        link_by_name(&mut batch, "lo");
        assert_eq!(socket.transact(&mut batch).unwrap().len(), 1);
    });
}

#[test]
fn a_dump_of_many_parts_is_whole() {
    in_new_namespace(|| {
        let socket = Socket::open(Protocol::Route).unwrap();
        let mut batch = Batch::new();
        (0..200).for_each(|number| dummy(&mut batch, &format!("d{number}")));
        assert_eq!(socket.transact(&mut batch).unwrap(), []);
        let mut request = Batch::new();
        request.message(libc::RTM_GETLINK, libc::NLM_F_DUMP as u16, "all links").raw(&ROOT);
        assert_eq!(socket.dump(&mut request).unwrap().len(), 201);
        // A second dump on the same socket is not confused by the first.
        assert_eq!(socket.dump(&mut request).unwrap().len(), 201);
    });
}

#[test]
fn a_refused_dump_is_an_error() {
    in_new_namespace(|| {
        let socket = Socket::open(Protocol::Route).unwrap();
        let mut request = Batch::new();
        // A header that is too short, which strict checks refuse.
        request.message(libc::RTM_GETLINK, libc::NLM_F_DUMP as u16, "all links").raw(&[0; 4]);
        let error = socket.dump(&mut request).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::INVAL));
    });
}

#[test]
fn an_attribute_that_is_too_long_is_not_sent() {
    in_new_namespace(|| {
        let socket = Socket::open(Protocol::Route).unwrap();
        let mut batch = Batch::new();
        batch.message(libc::RTM_GETLINK, 0, "a long one").raw(&ROOT).attribute(1, &[0; 70_000]);
        let error = socket.transact(&mut batch).unwrap_err();
        assert_eq!(error, Error::AttributeTooLong { label: "a long one".into() });
    });
}

#[test]
fn notifications_arrive_and_overruns_are_reported() {
    in_new_namespace(|| {
        let listener = Socket::open(Protocol::Route).unwrap();
        listener.join(libc::RTNLGRP_LINK).unwrap();
        assert_eq!(listener.notifications(), Ok(vec![]));
        let socket = Socket::open(Protocol::Route).unwrap();
        let mut batch = Batch::new();
        dummy(&mut batch, "one");
        socket.transact(&mut batch).unwrap();
        let heard = listener.notifications().unwrap();
        assert_eq!(heard.len(), 1);
        assert_eq!(heard[0].kind, libc::RTM_NEWLINK);

        listener.grow_receive_buffer(4096).unwrap();
        let mut batch = Batch::new();
        (0..300).for_each(|number| dummy(&mut batch, &format!("d{number}")));
        socket.transact(&mut batch).unwrap();
        assert_eq!(listener.notifications(), Err(Error::Overrun));
    });
}
