use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use super::*;

/// A user that is not root, where files can be given to one.
const OTHER: u32 = 4_242;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_directory_is_made_where_only_we_can_write() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("a/b");
    ensure(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o022, 0);
    fs::create_dir(path.join("inner")).unwrap();
    fs::write(path.join("file"), "").unwrap();
    ensure(&path).unwrap();
    // Our own links may lead anywhere that is safe.
    let link = scratch.path().join("link");
    symlink("a/../a/b", &link).unwrap();
    ensure(&link).unwrap();
    ensure(&link.join("below")).unwrap();
}

#[test]
fn directories_writable_by_other_users_are_refused_by_name() {
    let scratch = tempfile::tempdir().unwrap();
    let (above, path) = (scratch.path().join("above"), scratch.path().join("above/root"));
    ensure(&path).unwrap();
    for mode in [0o777, 0o757] {
        set_mode(&above, mode);
        let refused = ensure(&path).unwrap_err();
        assert!(matches!(&refused, Error::Writable { path, .. } if *path == above), "{refused}");
        assert!(ensure(&above.join("new")).is_err());
        assert!(!above.join("new").exists(), "it was made");
    }
    // As /tmp is: others may add to it.
    set_mode(&above, 0o1777);
    ensure(&path).unwrap();
    let refused = ensure(&above).unwrap_err();
    assert!(matches!(refused, Error::Writable { .. }), "{refused}");
    fs::create_dir(path.join("logs")).unwrap();
    set_mode(&path.join("logs"), 0o777);
    let refused = ensure(&path).unwrap_err().to_string();
    assert!(refused.contains("root/logs (mode 777)"), "{refused}");
}

#[test]
fn files_of_another_user_are_refused_by_name() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().join("root");
    ensure(&root).unwrap();
    if chown(&root, Some(OTHER), None).is_err() {
        // This test's user cannot give files away, so there is nothing that another one owns.
        return;
    }
    let refuses = |what: &Path, path: &Path| {
        let refused = ensure(path).unwrap_err();
        assert!(matches!(&refused, Error::Owner { path, owner: OTHER, .. } if path == what), "{refused}");
    };
    refuses(&root, &root);
    refuses(&root, &root.join("below"));
    chown(&root, Some(0), None).unwrap();
    let planted = root.join("world.snapshot");
    symlink("/etc/passwd", &planted).unwrap();
    std::os::unix::fs::lchown(&planted, Some(OTHER), None).unwrap();
    refuses(&planted, &root);
    // A link that another user has put where all may write.
    let shared = scratch.path().join("shared");
    fs::create_dir(&shared).unwrap();
    set_mode(&shared, 0o1777);
    let link = shared.join("fairway");
    fs::remove_file(&planted).unwrap();
    symlink(&root, &link).unwrap();
    ensure(&link).unwrap();
    std::os::unix::fs::lchown(&link, Some(OTHER), None).unwrap();
    refuses(&link, &link);
}
