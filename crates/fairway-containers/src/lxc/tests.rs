use super::*;
use crate::testing::{Fixture, lines};

/// As lxc-create of LXC 5 writes it.
const CONFIG: &str = "# Template used to create this container: /usr/share/lxc/templates/lxc-busybox
lxc.net.0.type = veth
lxc.net.0.link = lxcbr0
lxc.net.0.flags = up
lxc.net.0.hwaddr = 00:16:3e:af:3a:c1
lxc.net.0.ipv4.address = 10.0.3.5/24
lxc.net.0.ipv6.address = fd00::5/64
lxc.net.0.name = eth0
lxc.rootfs.path = dir:/var/lib/lxc/web/rootfs
lxc.uts.name = web
";

/// What is read of a configuration.
fn configured(text: &str) -> Container {
    let mut container = Container::new(Engine::Lxc { user: None }, vec!["web".to_owned()], String::new());
    configure(&mut container, text);
    container
}

#[test]
fn networks_are_read() {
    let container = configured(CONFIG);
    assert_eq!(lines(std::slice::from_ref(&container)), ["lxc:web exited lxcbr0=10.0.3.5=fd00::5"]);
    assert_eq!(container.attachments[0].interface.as_deref(), Some("eth0"));
    assert_eq!(container.attachments[0].mac, Some("00:16:3e:af:3a:c1".parse().unwrap()));
}

#[test]
fn modes_and_odd_lines_are_read() {
    for (text, expected) in [
        ("", "lxc:web exited"),
        ("lxc.net.0.type = none", "lxc:web exited Host"),
        ("lxc.net.0.type = empty", "lxc:web exited None"),
        ("lxc.net.0.type = empty\nlxc.net.1.type = macvlan\nlxc.net.1.link = eth0", "lxc:web exited eth0"),
        ("lxc.net.0.type = veth", "lxc:web exited veth"),
        ("lxc.net.0.link = br0", "lxc:web exited None"),
        ("lxc.net.0.type = phys\nlxc.net.0.ipv4.address = x\nlxc.net.0.hwaddr = y", "lxc:web exited phys"),
        ("lxc.net.x.type = none\nlxc.net\nlxc.net.0\n= =\n", "lxc:web exited"),
        // The last value of an option counts.
        ("lxc.net.0.type=veth\nlxc.net.0.link=br0\nlxc.net.0.link=br1", "lxc:web exited br1"),
    ] {
        assert_eq!(lines(&[configured(text)]), [expected], "{text}");
    }
}

#[test]
fn titles_of_monitors_are_read() {
    for (title, expected) in [
        ("[lxc monitor] /var/lib/lxc web", Some(("/var/lib/lxc", "web"))),
        ("[lxc monitor] /srv/my containers web ", Some(("/srv/my containers", "web"))),
        ("[lxc monitor] web", None),
        ("lxc-start", None),
        ("", None),
    ] {
        assert_eq!(monitored(title), expected, "{title}");
    }
}

#[test]
fn running_and_stopped_containers_are_found() {
    let fixture = Fixture::new();
    fixture.file("/var/lib/lxc/web/config", CONFIG).file("/var/lib/lxc/old/config", "lxc.net.0.type = empty");
    fixture.file("/var/lib/lxc/lxc-monitord.log", "");
    fixture.process(40, 1, "lxc-start").file("/proc/40/cmdline", "[lxc monitor] /var/lib/lxc web\0");
    fixture.file("/proc/40/task/40/children", "41").process(41, 40, "init");
    fixture.process(50, 1, "lxd").file("/proc/50/cmdline", "[lxc monitor] /var/snap/lxd/containers db\0");
    fixture.file("/proc/50/task/50/children", "51").process(51, 50, "init");
    fixture.process(60, 1, "lxc-start -n starting");
    let (containers, notes) = fixture.read(read);
    assert_eq!(
        lines(&containers),
        ["lxc:old exited None", "lxc:web running pid=41 lxcbr0=10.0.3.5=fd00::5", "lxc:db running pid=51"]
    );
    assert_eq!(notes, []);
}

#[test]
fn containers_of_a_user_are_the_users() {
    let fixture = Fixture::new();
    fixture.file("/var/lib/lxc/web/config", CONFIG);
    fixture.process(40, 1, "lxc-start").file("/proc/40/cmdline", "[lxc monitor] /var/lib/lxc web\0");
    fixture.file("/proc/40/task/40/children", "41").process(41, 40, "init");
    let (containers, _) = fixture.read_as(1000, read);
    // The container of root does not run, whatever another user's process is called.
    let lines = lines(&containers);
    assert_eq!(lines[0], "lxc:web exited lxcbr0=10.0.3.5=fd00::5");
    assert!(lines[1].starts_with("lxc:1000/web running pid=41"), "{}", lines[1]);
}
