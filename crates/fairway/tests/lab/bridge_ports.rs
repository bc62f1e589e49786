//! A bridge with as many ports as the kernel gives it.

use fairway_lab::{Outcome, ask, serve_tcp};

use crate::foreign_firewalls::run_with;
use crate::harness::{LAN, Stage, refusal, request};

/// `BR_MAX_PORTS` of net/bridge/br_private.h, without the number 0, which no port has.
const MOST: usize = 1023;

#[test]
fn a_port_more_than_a_bridge_can_have_is_refused_by_name() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let network = stage.network("full");
        let bridge = format!("br-{}", &network.id[..12]);
        // All ports but one, as pairs with both ends on the bridge.
        let pairs: String = (0..MOST / 2)
            .map(|number| {
                format!(
                    "link add left{number} type veth peer name right{number}\n\
                     link set left{number} master {bridge}\nlink set right{number} master {bridge}\n"
                )
            })
            .collect();
        run_with(&stage.host, "ip", &["-batch", "-"], &pairs);
        let last = stage.sandbox("last", &["full"], &["8080:80"]);
        let refused = refusal(stage.attach("more", request(&["full"], &["8081:80"])));
        assert!(refused.contains(&format!("bridge {bridge}")), "{refused}");
        assert!(refused.contains("1023 ports") && !refused.contains("os error"), "{refused}");
        assert!(stage.client().container("more").is_err());
        let other = stage.sandbox("more", &["bridge"], &["8081:80"]);
        let _servers = [&*last, &*other].map(|place| serve_tcp(place, "0.0.0.0:80").unwrap());
        for port in [8080, 8081] {
            let target = format!("{}:{port}", crate::harness::HOST);
            assert_eq!(ask(&stage.lan, &target).unwrap(), Outcome::answered(LAN));
        }
        let refused = refusal(stage.connect("full", "more", Default::default()));
        assert!(refused.contains("1023 ports"), "{refused}");
        // One port is free again.
        stage.client().detach("last").unwrap();
        stage.connect("full", "more", Default::default()).unwrap();
    });
}
