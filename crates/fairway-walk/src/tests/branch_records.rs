//! Branches as records and as sentences.

use super::branches::{branches, with_iptables};
use super::{TCP, UDP};
use crate::{Branches, EndKind, Topology};

fn walked(rules: &str, protocol: u8) -> (Branches, Topology) {
    let text = format!("*filter\n:FORWARD ACCEPT [0:0]\n{rules}COMMIT\n");
    let topology = with_iptables(&text, &[]);
    (branches(&topology, protocol, "10.2.0.2"), topology)
}

const STATELESS: &str = "-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT\n";

#[test]
fn a_connection_without_branches_has_its_walks_alone() {
    let (found, topology) = walked("", TCP);
    let (walks, records) = found.records(&topology);
    assert_eq!((walks, records), (found.branches[0].walk.records(&topology), vec![]));
    assert_eq!(found.sentence(&topology), "It is answered; the server sees 10.1.0.2.");
    assert_eq!((found.answered(), found.not_walked_text()), (Some(true), None));
}

#[test]
fn branches_are_records_with_what_they_share_before_them() {
    let drop = "-A FORWARD -m statistic --mode random --probability 0.25 -j DROP\n";
    let limit = "-A FORWARD -m limit --limit 3/min -j ACCEPT\n-A FORWARD -j REJECT\n";
    let (found, topology) = walked(&format!("{STATELESS}{drop}{limit}"), TCP);
    let (walks, records) = found.records(&topology);
    let [shared] = walks.as_slice() else { panic!("{walks:?}") };
    assert_eq!((shared.end.kind, shared.end.text.as_str()), (EndKind::Branches, "3 branches from here"));
    assert_eq!(
        (shared.title.as_str(), shared.end.namespace.as_str()),
        ("the first packet, in all branches", "router")
    );
    for record in &records {
        assert_eq!(record.walks[0].steps[..shared.steps.len()], shared.steps);
        assert!(record.walks[0].steps.len() > shared.steps.len());
    }
    let texts: Vec<_> =
        records.iter().map(|it| (it.text.as_str(), it.probability.as_deref(), it.answered)).collect();
    let (below, above) =
        ("while below the limit of 3/min burst 5, 3 of 4", "while above the limit of 3/min burst 5, 3 of 4");
    assert_eq!(
        texts,
        [
            ("1 of 4", Some("1/4"), Some(false)),
            (below, Some("3/4"), Some(true)),
            (above, Some("3/4"), Some(false))
        ]
    );
    let condition = &records[1].conditions[0];
    assert_eq!(condition.text, "while below the limit of 3/min burst 5");
    assert!(
        condition.rule.starts_with("ip filter FORWARD: -m limit --limit 3/min -j ACCEPT"),
        "{}",
        condition.rule
    );
    assert_eq!(records[1].sentence, "It is answered; the server sees 10.1.0.2.");
    assert_eq!(found.answered(), None);
    let said = found.sentence(&topology);
    assert!(said.starts_with("It depends. 1 of 4: No answer: dropped on router by "), "{said}");
    assert!(
        said.contains(&format!(
            "; {below}: It is answered; the server sees 10.1.0.2; {above}: Refused on router"
        )),
        "{said}"
    );
}

#[test]
fn what_all_branches_have_in_common_is_said_once() {
    let drops = "-A FORWARD -m statistic --mode random --probability 0.5 -j DROP\n-A FORWARD -j DROP\n";
    let (found, topology) = walked(&format!("{STATELESS}{drops}"), UDP);
    let said = found.sentence(&topology);
    assert!(said.starts_with("It depends. 1 of 2: No answer: dropped on router"), "two rules: {said}");
    assert_eq!(found.answered(), Some(false));
    let nat = "*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n\
        -A POSTROUTING -m statistic --mode random --probability 0.5 -j SNAT --to-source 10.2.0.1\nCOMMIT\n";
    let topology = with_iptables(nat, &[]);
    let found = branches(&topology, UDP, "10.2.0.2");
    assert_eq!(found.sentence(&topology), "It is answered in all 2 branches.");
    assert_eq!(found.answered(), Some(true));
}

#[test]
fn branches_that_were_not_walked_are_counted_and_weighed() {
    let many: String = (0..200)
        .map(|number| {
            let left = 200 - number;
            format!(
                "-A FORWARD -m statistic --mode random --probability {:.10} -j REJECT\n",
                1.0 / f64::from(left)
            )
        })
        .collect();
    let (found, topology) = walked(&format!("{STATELESS}{many}"), UDP);
    let text = "at least 1 more branch was not walked (together 9 of 25)";
    assert_eq!(found.not_walked_text().as_deref(), Some(text));
    assert_eq!(found.answered(), None);
    assert!(
        found.sentence(&topology).ends_with(" At least 1 more branch was not walked (together 9 of 25).")
    );
    let (walks, _) = found.records(&topology);
    assert_eq!(walks[0].end.text, "more than 128 branches from here");
    assert!(found.sentence(&topology).contains("; 122 other results."), "{}", found.sentence(&topology));
}
