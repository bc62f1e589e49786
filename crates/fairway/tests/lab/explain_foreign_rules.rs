//! What `explain` says of tables of others, and what the kernel then does: everybody's rules are walked.

use std::net::SocketAddr;

use fairway_api::types::Explained;
use fairway_lab::{Lab, Place, Server, serve_tcp};

use crate::explain::agree;
use crate::foreign_firewalls::{run, run_with};
use crate::harness::{HOST, LAN, Sandbox, Stage, backend};

const DOCKER: &str = include_str!("../../../fairway-inspect/src/conflict/data/docker.v4");
const FIREWALLD: &str = include_str!("../data/foreign/firewalld.nft");

/// A sandbox that publishes, two on another network, and a neighbour on the LAN; each serves at port 80, and the host
/// at 9000.
struct Street {
    stage: Stage,
    sandboxes: [(&'static str, Sandbox); 3],
    _servers: Vec<Server>,
}

impl Street {
    fn new(lab: &Lab, flags: &[&str]) -> Self {
        let mut stage = Stage::before_daemon(lab);
        stage.host.set_bridge_netfilter(true).unwrap();
        stage.lan.route("172.16.0.0/12", HOST).unwrap();
        stage.daemon.launch(flags);
        stage.daemon.wait_until_ready();
        stage.network("web");
        let sandboxes = [
            ("d1", stage.sandbox("d1", &["bridge"], &["8080:80"])),
            ("w1", stage.sandbox("w1", &["web"], &["8081:80"])),
            ("w2", stage.sandbox("w2", &["web"], &[])),
        ];
        let places = sandboxes.iter().map(|(_, sandbox)| &**sandbox).chain([&*stage.lan]);
        let mut servers: Vec<Server> = places.map(|place| serve_tcp(place, "0.0.0.0:80").unwrap()).collect();
        servers.push(serve_tcp(&stage.host, "0.0.0.0:9000").unwrap());
        Self { stage, sandboxes, _servers: servers }
    }

    fn address(&self, name: &str) -> String {
        let (_, sandbox) = self.sandboxes.iter().find(|(own, _)| *own == name).unwrap();
        sandbox.address(if name == "d1" { "bridge" } else { "web" }).to_string()
    }

    /// Everybody asks for what is published, for what is not, for the host and for the LAN.
    fn agree(&self) {
        let own = ["d1", "w1", "w2"].map(|name| format!("{}:80", self.address(name)));
        let others = [8080, 8081, 9000, 9001].map(|port| format!("{HOST}:{port}"));
        let targets = own.into_iter().chain(others).chain([format!("{LAN}:80")]);
        let targets: Vec<SocketAddr> = targets.map(|it| it.parse().unwrap()).collect();
        let lan = format!("lan:{LAN}");
        let mut askers: Vec<(&str, &Place)> =
            self.sandboxes.iter().map(|(name, sandbox)| (*name, &**sandbox)).collect();
        askers.extend([("host", &*self.stage.host), (lan.as_str(), &*self.stage.lan)]);
        // What the LAN asks of itself does not come by.
        let questions: Vec<_> = askers
            .into_iter()
            .map(|(name, place)| {
                let beyond = |it: &&SocketAddr| !(name == lan && it.ip().to_string() == LAN);
                (name, place, targets.iter().filter(beyond).copied().collect())
            })
            .collect();
        assert_eq!(agree(&self.stage, &questions), 39);
    }

    fn explain(&self, from: &str, to: &str) -> Explained {
        self.stage.client().explain(from, to, false).unwrap()
    }
}

/// The handle of a chain's last rule but `behind`, as `nft` prints it.
fn handle(stage: &Stage, chain: &str, behind: usize) -> String {
    let listed = run(&stage.host, "nft", &["-a", "list", "chain", "ip", "filter", chain]);
    let handles = listed.lines().filter_map(|line| line.split("# handle ").nth(1)).collect::<Vec<_>>();
    handles.iter().rev().nth(behind).unwrap_or_else(|| panic!("{listed}")).trim().to_owned()
}

#[test]
fn dockers_own_rules_are_walked() {
    fairway_lab::run(|lab| {
        let street = Street::new(lab, &[]);
        run_with(&street.stage.host, "iptables-nft-restore", &[], DOCKER);
        street.agree();
        let dropped = street.explain("d1", &format!("{LAN}:80"));
        let sentence = "No answer: dropped on host by the policy of ip filter FORWARD.";
        assert_eq!(dropped.sentence, sentence);
        // Their rules may let it through, by the network's name.
        run(&street.stage.host, "iptables-nft", &["-I", "DOCKER-USER", "-i", "fairway0", "-j", "ACCEPT"]);
        run(
            &street.stage.host,
            "iptables-nft",
            &["-I", "DOCKER-USER", "-m", "conntrack", "--ctstate", "ESTABLISHED", "-j", "ACCEPT"],
        );
        let leaves = street.explain("d1", &format!("{LAN}:80")).sentence;
        assert_eq!(leaves, "Leaves the host; the reply cannot be predicted.");
        street.agree();
    });
}

#[test]
fn zones_of_firewalld_are_walked() {
    fairway_lab::run(|lab| {
        let street = Street::new(lab, &[]);
        run_with(&street.stage.host, "nft", &["-f", "-"], FIREWALLD);
        street.agree();
        let refused = street.explain("d1", &format!("{LAN}:80"));
        assert!(
            refused.sentence.starts_with("Refused on host by inet firewalld filter_FWD_public: reject"),
            "{}",
            refused.sentence
        );
        let trust =
            "firewall-cmd --permanent --zone=trusted --add-interface=fairway0 && firewall-cmd --reload";
        assert!(refused.advice.unwrap_or_default().contains(trust));
        let refused = street.explain("d1", &format!("{HOST}:9000"));
        let open = "that is a rule of firewalld: firewall-cmd --zone=public --add-port=9000/tcp";
        assert_eq!(refused.advice.as_deref(), Some(open));
    });
}

/// Rules that a person may have, with most of what iptables can ask: `{here}` is the LAN's address of the host, `{user}`
/// a user.
const MANY: &str = "*raw
:PREROUTING ACCEPT [0:0]
-A PREROUTING -p tcp -m tcp --dport 9001 -m addrtype --dst-type LOCAL -m rpfilter -j RETURN
-A PREROUTING -m rpfilter --loose --invert -j DROP
COMMIT
*mangle
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A PREROUTING -s {lan}/32 -p tcp -m multiport --dports 79,80:82,9000 -j MARK --set-xmark 0x10/0xf0
-A PREROUTING -m mark --mark 0x10/0xf0 -j CONNMARK --save-mark --nfmask 0xf0 --ctmask 0xf0
-A OUTPUT -p tcp -m owner ! --uid-owner {user} -m tcp --dport 9001 -j TOS --set-tos 0x10/0x3f
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A PREROUTING -p tcp -m tcp --dport 9001 -m addrtype --dst-type LOCAL -j REDIRECT --to-ports 9000
-A OUTPUT -p tcp -m tcp --dport 9001 -m addrtype --dst-type LOCAL -j DNAT --to-destination {here}:9000
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:ASIDE - [0:0]
-A INPUT -i eth+ -p tcp -m tcp --dport 9000 -m connmark --mark 0x10/0xf0 -m iprange --src-range {lan}-{lan} -j REJECT --reject-with tcp-reset
-A FORWARD -m limit --limit 3/min -j LOG --log-prefix \"-j DROP \"
-A FORWARD -p tcp -m tcp --dport 80 --tcp-flags FIN,SYN,RST,ACK SYN -j ASIDE
-A FORWARD -m statistic --mode random --probability 0.5 -j ACCEPT
-A ASIDE -m recent --rcheck --name nobody -j NFLOG
-A ASIDE -d {d1}/32 -m conntrack --ctstate NEW -m comment --comment \"no web\" -j DROP
-A ASIDE -m conntrack ! --ctstate DNAT -m physdev --physdev-is-bridged -m comment --comment \"not among you\" -j REJECT
-A ASIDE -m physdev ! --physdev-is-bridged -m comment --comment \"routed\" -j RETURN
COMMIT
";

fn many(lab: &Lab, program: &str, flags: &[&str], table: &str) -> Street {
    let street = Street::new(lab, flags);
    let rules = MANY.replace("{lan}", LAN).replace("{here}", HOST);
    // The kernel takes the number of a user that there is.
    let user = if lab.has_other_users().unwrap() { "61137" } else { "0" };
    let rules = rules.replace("{d1}", &street.address("d1")).replace("{user}", user);
    run_with(&street.stage.host, program, &["--noflush"], &rules);
    street.agree();
    let dropped = street.explain("host", &format!("{}:80", street.address("d1")));
    assert_eq!(dropped.answered, Some(true), "what the host asks is not forwarded");
    let dropped = street.explain(&format!("lan:{LAN}"), "host:8080");
    let by = format!("No answer: dropped on host by {table} filter ASIDE: \"no web\" (");
    assert!(dropped.sentence.starts_with(&by), "{}", dropped.sentence);
    let refused = street.explain("w1", &format!("{}:80", street.address("w2")));
    assert!(refused.sentence.contains("ASIDE: \"not among you\" ("), "{}", refused.sentence);
    assert!(refused.sentence.ends_with("gets an ICMP \"port unreachable\"."), "{}", refused.sentence);
    street
}

#[test]
fn rules_of_a_user_by_iptables_are_walked_and_named() {
    fairway_lab::run(|lab| {
        let street = many(lab, "iptables-nft-restore", &["--userland-proxy=false"], "ip");
        let own = handle(&street.stage, "ASIDE", 2);
        let dropped = street.explain(&format!("lan:{LAN}"), "host:8080");
        assert!(dropped.sentence.ends_with(&format!("(handle {own}).")), "{}", dropped.sentence);
        let steps = dropped.walks[0].steps.iter();
        let step = steps.into_iter().find(|it| it.rule.comment.as_deref() == Some("no web")).unwrap();
        assert_eq!(step.rule.handle.map(|it| it.to_string()), Some(own));
        let rule = step.rule.rule.as_deref().unwrap();
        assert!(rule.contains("-m comment --comment \"no web\" -j DROP"), "{rule}");
        // What chance decides is not told as if it were known.
        let chance =
            ["-I", "ASIDE", "-m", "statistic", "--mode", "random", "--probability", "0.5", "-j", "DROP"];
        run(&street.stage.host, "iptables-nft", &chance);
        let branched = street.explain("w1", &format!("{LAN}:80"));
        assert_eq!((branched.answered, branched.not_walked), (None, 0));
        let dropped = "It depends. 1 of 2: No answer: dropped on host by ip filter ASIDE: -m statistic ";
        assert!(branched.sentence.starts_with(dropped), "{}", branched.sentence);
        let shares: Vec<&str> = branched.branches.iter().filter_map(|it| it.probability.as_deref()).collect();
        assert_eq!(shares[0], "1/2", "{shares:?}");
        let shared = branched.walks[0].steps.len();
        assert!(branched.branches.iter().all(|it| it.walks[0].steps[..shared] == branched.walks[0].steps));
    });
}

#[test]
fn rules_of_a_user_by_legacy_iptables_are_walked_and_named() {
    fairway_lab::run(|lab| {
        let street = many(lab, "iptables-legacy-restore", &["--userland-proxy=false"], "legacy ip");
        let dropped = street.explain(&format!("lan:{LAN}"), "host:8080");
        assert!(dropped.sentence.ends_with("(number 2)."), "{}", dropped.sentence);
    });
}

#[test]
fn user_rules_and_ours_in_the_same_tables() {
    fairway_lab::run(|lab| {
        let street = Street::new(lab, backend("nft"));
        let own = "-A FAIRWAY-USER -s {lan}/32 -p tcp -m tcp --dport 80 -m comment --comment mine -j DROP";
        let own: Vec<String> = own.replace("{lan}", LAN).split(' ').map(str::to_owned).collect();
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        run(&street.stage.host, "iptables-nft", &own);
        street.agree();
        let dropped = street.explain(&format!("lan:{LAN}"), "host:8080").sentence;
        let number = handle(&street.stage, "FAIRWAY-USER", 0);
        assert_eq!(
            dropped,
            format!("No answer: dropped on host by ip filter FAIRWAY-USER: \"mine\" (handle {number}).")
        );
    });
}
