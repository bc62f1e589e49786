//! Podman, of root and of a user.

use crate::stage::{self, assert_listed, sh, succeeds};

/// Makes the image, in a storage that needs no kernel module. Control groups are those of version 2 from here on, which
/// crun insists on.
pub fn prepare() {
    sh("test -e /sys/fs/cgroup/cgroup.controllers || mount -t cgroup2 cgroup2 /sys/fs/cgroup");
    let storage = "[storage]\ndriver=\"vfs\"\nrunroot=\"/run/containers/storage\"\n\
                   graphroot=\"/var/lib/containers/storage\"\n";
    std::fs::write("/run/storage.conf", storage).unwrap();
    podman("import /run/image.tar bb");
}

/// Runs a command of podman, as root.
pub fn podman(arguments: &str) -> String {
    sh(&format!("CONTAINERS_STORAGE_CONF=/run/storage.conf podman --runtime crun {arguments}"))
}

/// Makes a user. Returns what runs the user's podman.
pub fn prepare_user() -> impl Fn(&str) -> String {
    sh("mount --make-rshared / && mkdir -p /run/user/4242 /run/home && chown 4242:4242 /run/user/4242 /run/home
            chmod 755 /run && chmod 644 /run/image.tar /run/storage.conf
            printf '[storage]\\ndriver=\"vfs\"\\n' > /run/storage.conf
            echo 'alice:x:4242:4242::/run/home:/bin/sh' >> /etc/passwd
            echo 'alice:200000:65536' | tee -a /etc/subuid >> /etc/subgid
            mknod /run/tun c 10 200 && chmod 666 /run/tun && mount --bind /run/tun /dev/net/tun");
    |arguments: &str| {
        sh(&format!(
            "cd /run/home && exec setpriv --reuid 4242 --regid 4242 --clear-groups env HOME=/run/home \
                 XDG_RUNTIME_DIR=/run/user/4242 CONTAINERS_STORAGE_CONF=/run/storage.conf podman {arguments}"
        ))
    }
}

#[test]
fn containers_of_root_are_listed() {
    stage::run(&["podman", "crun", "conmon"], |_| {
        prepare();
        podman("network create app --subnet 10.56.0.0/24");
        podman("network create quiet --disable-dns --subnet 10.57.0.0/24");
        let run = |options: &str| podman(&format!("run -d --cgroups=disabled {options} bb sleep 1000"));
        run("--name web --network app -p 8080:80");
        run("--name joined --network container:web");
        run("--name hosted --network host");
        run("--name alone --network none");
        run("--name silent --rm --network quiet -p 127.0.0.1:9000-9002:80-82/udp");
        run("--name def");
        podman("create --name made bb sleep 1000");
        podman("run --name done --cgroups=disabled --network none bb true");
        let netavark_keeps_ports = succeeds("test -d /run/containers/networks/firewall/ports");
        let (tcp, udp) = if netavark_keeps_ports { ("->80", "->80-82") } else { ("", "") };
        assert_listed(&[
            "podman:alone running [none] []",
            "podman:def running [podman] [10.88.0.2]",
            "podman:done exited [none] []",
            "podman:hosted running [host] []",
            "podman:joined running [container:web] []",
            "podman:made created [] []",
            &format!("podman:silent running [quiet] [10.57.0.2] 127.0.0.1:9000-9002{udp}/udp"),
            &format!("podman:web running [app] [10.56.0.2] 0.0.0.0:8080{tcp}/tcp"),
        ]);
        podman("rm -f -t 0 joined");
        podman("rm -f -t 0 web");
        assert_eq!(stage::listed("").0.len(), 4);
    });
}

#[test]
fn containers_of_a_user_are_listed_as_the_users() {
    stage::run(&["podman", "crun", "conmon", "slirp4netns", "newuidmap", "setpriv"], |_| {
        prepare();
        let podman = prepare_user();
        podman("import /run/image.tar bb");
        podman("run -d --name web --cgroups=disabled -p 8080:80 bb sleep 1000");
        podman("create --name made bb sleep 1000");
        let (lines, errors) = stage::listed("--all");
        assert_eq!((lines.len(), errors.as_str()), (2, ""), "{lines:?}");
        assert_eq!(lines[0], "podman:alice/made created [] []");
        // slirp4netns chooses an IPv6 address.
        assert!(lines[1].starts_with("podman:alice/web running [tap0] [10.0.2.100"), "{}", lines[1]);
        assert!(lines[1].ends_with(":8080/tcp"), "{}", lines[1]);
    });
}
