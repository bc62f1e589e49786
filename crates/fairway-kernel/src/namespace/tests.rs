use super::*;
use crate::netlink::{Batch, Protocol, Socket};
use crate::testing::{in_new_namespace, in_new_namespace_with_run};

fn link_count() -> usize {
    let mut request = Batch::new();
    request.message(libc::RTM_GETLINK, libc::NLM_F_DUMP as u16, "links").raw(&[0; 16]);
    Socket::open(Protocol::Route).unwrap().dump(&mut request).unwrap().len()
}

#[test]
fn work_runs_inside_and_leaves_the_thread_at_home() {
    in_new_namespace(|| {
        let home = own().unwrap();
        let workers = Workers::new(4).unwrap();
        let target = in_new_namespace(|| own().unwrap());
        assert_ne!(home.namespace().inode, target.namespace().inode);
        for _ in 0..3 {
            let (inside, links) = workers.run(&target, || (own().unwrap(), link_count())).unwrap();
            assert_eq!(inside.namespace().inode, target.namespace().inode);
            assert_eq!(links, 1);
            // The same thread, home again.
            let back = workers.run(workers.initial(), || own().unwrap()).unwrap();
            assert_eq!(back.namespace().inode, home.namespace().inode);
        }
        assert_eq!(own().unwrap().namespace().inode, home.namespace().inode);
    });
}

#[test]
fn one_thread_serves_one_caller() {
    in_new_namespace(|| {
        let workers = Workers::new(4).unwrap();
        let target = in_new_namespace(|| own().unwrap());
        let threads: Vec<_> = (0..5).map(|_| workers.run(&target, rustix::thread::gettid).unwrap()).collect();
        assert!(threads.iter().all(|thread| *thread == threads[0]), "{threads:?}");
    });
}

#[test]
fn a_panic_inside_reaches_the_caller_and_the_pool_goes_on() {
    in_new_namespace(|| {
        let workers = Workers::new(1).unwrap();
        let target = in_new_namespace(|| own().unwrap());
        let call = std::panic::AssertUnwindSafe(|| workers.run(&target, || panic!("inside")));
        assert!(std::panic::catch_unwind(call).is_err());
        assert_eq!(workers.run(&target, || 7), Ok(7));
    });
}

#[test]
fn a_path_that_is_not_a_network_namespace_is_refused() {
    in_new_namespace(|| {
        let found = identity("/proc/self/ns/mnt");
        assert_eq!(found, Err(Error::NotNetwork { path: "/proc/self/ns/mnt".into() }));
        assert_eq!(identity("/proc/version"), Err(Error::NotNetwork { path: "/proc/version".into() }));
        assert_eq!(identity("/nowhere"), Err(Error::Open { path: "/nowhere".into(), errno: Errno::NOENT }));
        let workers = Workers::new(1).unwrap();
        let other = open_any("/proc/self/ns/mnt").unwrap();
        assert!(matches!(workers.run(&other, || ()), Err(Error::Enter { .. })));
    });
}

#[test]
fn a_replaced_namespace_at_the_same_path_is_noticed() {
    in_new_namespace(|| {
        let mut known = identity(OWN).unwrap();
        assert!(open(&known).is_ok());
        known.inode += 1;
        assert!(matches!(open(&known), Err(Error::Replaced { .. })));
    });
}

#[test]
fn named_namespaces_are_made_found_and_removed() {
    in_new_namespace_with_run(|| {
        let made = create_named("web").unwrap();
        assert_eq!(made.path, "/run/netns/web");
        assert_eq!(identity(&made.path), Ok(made.clone()));
        assert_ne!(made.inode, own().unwrap().namespace().inode);
        assert_eq!(
            create_named("web"),
            Err(Error::Exists { name: "web".into(), path: "/run/netns/web".into() })
        );
        let other = create_named("db").unwrap();
        assert_ne!(other.inode, made.inode);

        let wrong = Namespace { path: made.path.clone(), ..other.clone() };
        assert!(matches!(remove_named(&wrong), Err(Error::Replaced { .. })));
        assert_eq!(remove_named(&made), Ok(()));
        assert_eq!(remove_named(&made), Ok(()));
        assert!(!std::path::Path::new(&made.path).exists());
        assert_eq!(identity(&other.path), Ok(other));
    });
}

#[test]
fn names_that_are_no_file_names_are_refused() {
    for name in ["", ".", "..", "a/b", &"x".repeat(256)] {
        assert_eq!(create_named(name), Err(Error::Name(name.to_owned())));
    }
}

#[test]
fn a_socket_knows_its_namespace() {
    let socket = |()| std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let (there, identity) = in_new_namespace(|| (socket(()), own().unwrap().namespace().clone()));
    let (here, there) = (of_socket(socket(()).as_fd()).unwrap(), of_socket(there.as_fd()).unwrap());
    assert_eq!((there.namespace().device, there.namespace().inode), (identity.device, identity.inode));
    assert_eq!(here.namespace().inode, own().unwrap().namespace().inode);
    assert_ne!(here.namespace().inode, identity.inode);
    let file = std::fs::File::open("/proc/self/status").unwrap();
    assert!(of_socket(file.as_fd()).is_err());
}
