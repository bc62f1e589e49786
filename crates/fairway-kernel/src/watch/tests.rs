use std::process::{Child, Command, Stdio};

use super::*;
use crate::namespace::{create_named, remove_named};
use crate::testing::in_new_namespace_with_run;

const SOON: Option<Duration> = Some(Duration::from_secs(20));
const NOW: Option<Duration> = Some(Duration::ZERO);

/// A process that ends when its input is closed.
fn child() -> Child {
    Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
}

#[test]
fn the_end_of_a_process_is_one_event() {
    let watch = Watch::new().unwrap();
    let (mut first, mut second) = (child(), child());
    let identities = [&first, &second].map(|child| process::identity(child.id()).unwrap());
    watch.process("first", identities[0]).unwrap();
    watch.process("second", identities[1]).unwrap();
    assert_eq!(watch.wait(NOW), Ok(vec![]));
    first.kill().unwrap();
    assert_eq!(watch.wait(SOON), Ok(vec![Event::ProcessEnded("first")]));
    first.wait().unwrap();
    watch.forget(&"second");
    second.kill().unwrap();
    second.wait().unwrap();
    assert_eq!(watch.wait(NOW), Ok(vec![]));
    assert!(matches!(watch.process("late", identities[0]), Err(Error::Process(_))));
}

#[test]
fn a_waker_wakes() {
    let watch = Watch::<()>::new().unwrap();
    let waker = watch.waker();
    std::thread::scope(|scope| {
        scope.spawn(|| waker.wake());
        assert_eq!(watch.wait(SOON), Ok(vec![Event::Woken]));
    });
    assert_eq!(watch.wait(NOW), Ok(vec![]));
}

#[test]
fn removed_namespace_paths_are_reported() {
    in_new_namespace_with_run(|| {
        let watch = Watch::new().unwrap();
        let named = ["a", "b", "c"].map(|name| create_named(name).unwrap());
        for (key, namespace) in named.iter().enumerate() {
            watch.namespace(key, namespace).unwrap();
        }
        // Other names in the directory are not watched.
        std::fs::write("/run/netns/other", "").unwrap();
        assert_eq!(watch.wait(NOW), Ok(vec![]));
        remove_named(&named[1]).unwrap();
        assert_eq!(watch.wait(SOON), Ok(vec![Event::NamespaceGone(1)]));
        // Replaced by another namespace of the same name.
        remove_named(&named[0]).unwrap();
        create_named("a").unwrap();
        assert_eq!(watch.wait(SOON), Ok(vec![Event::NamespaceGone(0)]));
        watch.forget(&2);
        remove_named(&named[2]).unwrap();
        assert_eq!(watch.wait(NOW), Ok(vec![]));
        assert!(matches!(watch.namespace(3, &named[2]), Err(Error::Namespace(_))));
    });
}

#[test]
fn a_namespace_under_proc_goes_with_its_process() {
    let watch = Watch::new().unwrap();
    let mut child = child();
    let namespace = namespace::identity(&format!("/proc/{}/ns/net", child.id())).unwrap();
    watch.namespace("child", &namespace).unwrap();
    child.kill().unwrap();
    assert_eq!(watch.wait(SOON), Ok(vec![Event::NamespaceGone("child")]));
    child.wait().unwrap();
}

#[test]
fn a_file_is_followed_through_links_and_replacements() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("resolv.conf");
    let [one, two] = ["one", "two"].map(|name| {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        let file = folder.path().join(name).join("conf");
        std::fs::write(&file, name).unwrap();
        file
    });
    std::os::unix::fs::symlink("one/conf", &path).unwrap();
    let watch = Watch::<()>::new().unwrap();
    watch.file(&path).unwrap();
    let changed = Ok(vec![Event::FileChanged(path.clone())]);

    std::fs::write(folder.path().join("unrelated"), "").unwrap();
    std::fs::write(&two, "not yet").unwrap();
    assert_eq!(watch.wait(NOW), Ok(vec![]));
    // Written in place; replaced by a rename; written in place after that.
    std::fs::write(&one, "new").unwrap();
    assert_eq!(watch.wait(SOON), changed);
    std::fs::write(folder.path().join("one/temporary"), "newer").unwrap();
    std::fs::rename(folder.path().join("one/temporary"), &one).unwrap();
    assert_eq!(watch.wait(SOON), changed);
    std::fs::write(&one, "newest").unwrap();
    assert_eq!(watch.wait(SOON), changed);
    // The link leads elsewhere.
    std::fs::remove_file(&path).unwrap();
    assert_eq!(watch.wait(SOON), changed);
    std::os::unix::fs::symlink("two/conf", &path).unwrap();
    assert_eq!(watch.wait(SOON), changed);
    std::fs::write(&two, "there").unwrap();
    assert_eq!(watch.wait(SOON), changed);
    while !watch.wait(NOW).unwrap().is_empty() {}
    std::fs::write(&one, "no longer").unwrap();
    assert_eq!(watch.wait(NOW), Ok(vec![]));
}

#[test]
fn a_file_that_cannot_be_watched_hides_no_event() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("resolv.conf");
    let lead_to = |target: &str| {
        let _ = std::fs::remove_file(&path);
        std::os::unix::fs::symlink(target, &path).unwrap();
    };
    std::fs::write(folder.path().join("file"), "").unwrap();
    lead_to("file");
    let watch = Watch::new().unwrap();
    watch.file(&path).unwrap();
    let mut child = child();
    watch.process("child", process::identity(child.id()).unwrap()).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    lead_to("file/is/no/directory");
    let mut events = Vec::new();
    for _ in 0..3 {
        events.extend(watch.wait(NOW).unwrap());
    }
    let failed =
        |event: &Event<_>| matches!(event, Event::Failed(Error::Refused { errno: Errno::NOTDIR, .. }));
    assert!(events.iter().any(failed), "{events:?}");
    for event in [Event::ProcessEnded("child"), Event::FileChanged(path.clone())] {
        assert!(events.contains(&event), "{event:?} of {events:?}");
    }
    lead_to("file");
    assert_eq!(watch.wait(SOON), Ok(vec![Event::FileChanged(path)]), "it is watched all the same");
}

#[test]
fn paths_without_a_directory_are_refused() {
    let watch = Watch::<()>::new().unwrap();
    for path in ["resolv.conf", "/"] {
        assert_eq!(watch.file(Path::new(path)), Err(Error::Path(path.into())));
    }
}
