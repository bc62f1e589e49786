use fairway_model::EndpointId;

use super::*;
use crate::route::message;
use crate::testing::in_new_namespace;

fn add_veth(links: &Links, name: &str) {
    let mut batch = Batch::new();
    batch
        .message(libc::RTM_NEWLINK, CREATE_NEW, "a pair")
        .raw(&message::ifinfo(0, Some(true)))
        .text(libc::IFLA_IFNAME, name)
        .nest(libc::IFLA_LINKINFO, |info| {
            info.text(libc::IFLA_INFO_KIND, "veth");
        });
    links.socket.transact(&mut batch).unwrap();
}

fn limit(ingress: Option<TokenBucket>, egress: Option<TokenBucket>) -> TrafficLimit {
    let endpoint = EndpointId::new([7; 32]);
    TrafficLimit { endpoint, host_interface: "fw7".to_owned(), mtu: 1400, ingress, egress }
}

#[test]
fn limits_are_read_as_they_are_made() {
    in_new_namespace(|| {
        let links = Links::open().unwrap();
        add_veth(&links, "fw7");
        add_veth(&links, "fw8");
        assert!(links.disciplines().unwrap().is_empty());
        let (slow, fast) = (
            TokenBucket { rate: 1_250_000, burst: 20_000 },
            TokenBucket { rate: 12_500_000_000, burst: 125_000_000 },
        );
        let wanted = limit(Some(slow), Some(fast));
        for _ in 0..2 {
            links.apply_traffic_limit(&wanted).unwrap();
            let found = links.disciplines().unwrap();
            let host = found[&links.index("fw7").unwrap()];
            assert!(host.is(&slow) && !host.is(&fast) && host.redirects, "{found:?}");
            let buffer = found[&links.index("fi7").unwrap()];
            assert!(buffer.is(&fast) && !buffer.redirects, "{found:?}");
            assert_eq!(found.len(), 2, "{found:?}");
        }
        let buffer = links.find("fi7").unwrap().unwrap();
        assert_eq!(buffer.mark(), Some(Mark::Endpoint(wanted.endpoint)));
        assert!(buffer.up && buffer.group == 0, "{buffer:?}");

        // What another program removes is made again.
        let mut batch = Batch::new();
        let host = links.index("fw7").unwrap();
        for parent in [ROOT, INGRESS] {
            batch.message(RTM_DELQDISC, 0, "delete").raw(&header(host, 0, parent, 0));
        }
        links.socket.transact(&mut batch).unwrap();
        assert_eq!(links.disciplines().unwrap().len(), 1);
        links.apply_traffic_limit(&wanted).unwrap();
        assert!(links.disciplines().unwrap()[&host].redirects);

        // Another rate replaces it.
        links.apply_traffic_limit(&limit(Some(fast), None)).unwrap();
        assert!(links.disciplines().unwrap()[&links.index("fw7").unwrap()].is(&fast));
    });
}

#[test]
fn a_foreign_link_is_left_alone() {
    in_new_namespace(|| {
        let links = Links::open().unwrap();
        add_veth(&links, "fw7");
        add_veth(&links, "fi7");
        let bucket = TokenBucket { rate: 1_250_000, burst: 20_000 };
        let refusal = links.apply_traffic_limit(&limit(None, Some(bucket))).unwrap_err();
        assert!(matches!(&refusal, Error::Foreign { name, .. } if name == "fi7"), "{refusal}");
        assert!(links.disciplines().unwrap().is_empty());
        let missing = TrafficLimit { host_interface: "fw9".to_owned(), ..limit(Some(bucket), None) };
        assert!(matches!(links.apply_traffic_limit(&missing), Err(Error::NoInterface { .. })));
    });
}
