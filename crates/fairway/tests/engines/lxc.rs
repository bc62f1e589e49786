//! LXC.

use crate::stage::{self, assert_listed, sh};

#[test]
fn its_containers_are_listed() {
    stage::run(&["lxc-start", "lxc-stop"], |stage| {
        let config = |name: &str, network: &str| {
            let directory = format!("/var/lib/lxc/{name}");
            std::fs::create_dir_all(&directory).unwrap();
            let groups = format!("lxc.cgroup.dir = {}/{name}", stage.cgroup);
            let text = format!(
                "lxc.uts.name = {name}\nlxc.rootfs.path = dir:/run/image\n{network}\nlxc.init.cmd = /bin/sleep 1000\n\
                 lxc.apparmor.profile = unconfined\n{groups}\n"
            );
            std::fs::write(format!("{directory}/config"), text).unwrap();
        };
        sh("ip link add lxcbr0 type bridge && ip link set lxcbr0 up");
        let link = "lxc.net.0.type = veth\nlxc.net.0.link = lxcbr0\nlxc.net.0.flags = up";
        config("fixed", &format!("{link}\nlxc.net.0.ipv4.address = 10.0.3.5/24"));
        config("asked", link);
        config("alone", "lxc.net.0.type = empty");
        config("stopped", link);
        sh("lxc-start -n fixed && lxc-start -n asked && lxc-start -n alone");
        // The address of that one is in no file, as after DHCP.
        sh("nsenter --net=/proc/$(lxc-info -n asked -p -H)/ns/net ip address add 10.0.3.9/24 dev eth0");
        assert_listed(&[
            "lxc:alone running [none] []",
            "lxc:asked running [lxcbr0] [10.0.3.9]",
            "lxc:fixed running [lxcbr0] [10.0.3.5]",
            "lxc:stopped exited [lxcbr0] []",
        ]);
        sh("for name in fixed asked alone; do lxc-stop -k -n $name; done");
        assert_eq!(stage::listed("").0, Vec::<String>::new());
    });
}
