use super::match_subnets;
use crate::ipam::IpamError;
use fairway_model::SubnetRequest;

fn matched(
    subnets: &[&str],
    gateways: &[&str],
    ranges: &[&str],
    auxiliary: &[&str],
) -> Result<Vec<SubnetRequest>, IpamError> {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    match_subnets(&owned(subnets), &owned(gateways), &owned(ranges), &owned(auxiliary))
}

#[test]
fn each_value_goes_to_the_subnet_that_contains_it() {
    let requests = matched(
        &["fd00::/64", "10.1.0.0/16", "0.0.0.0/24"],
        &["10.1.0.1", "fd00::9"],
        &["fd00::100/120"],
        &["db=10.1.0.5", "www=fd00::5", "ntp=10.1.0.6"],
    )
    .unwrap();
    let [v6, v4, any] = requests.as_slice() else { panic!("{requests:?}") };
    assert_eq!(v6.subnet, Some("fd00::/64".parse().unwrap()));
    assert_eq!(v6.gateway, Some("fd00::9".parse().unwrap()));
    assert_eq!(v6.ip_range, Some("fd00::100/120".parse().unwrap()));
    assert_eq!(v6.auxiliary.keys().collect::<Vec<_>>(), ["www"]);
    assert_eq!(v4.gateway, Some("10.1.0.1".parse().unwrap()));
    assert_eq!(v4.ip_range, None);
    assert_eq!(v4.auxiliary.keys().collect::<Vec<_>>(), ["db", "ntp"]);
    assert_eq!(*any, SubnetRequest { subnet: Some("0.0.0.0/24".parse().unwrap()), ..Default::default() });
}

#[test]
fn without_flags_no_subnet_is_requested() {
    assert_eq!(matched(&[], &[], &[], &[]), Ok(Vec::new()));
}

#[test]
fn host_bits_are_left_to_the_daemon() {
    let requests = matched(&["10.1.0.5/24"], &["10.1.0.1"], &[], &[]).unwrap();
    assert_eq!(requests[0].subnet.unwrap().to_string(), "10.1.0.5/24");
    assert_eq!(requests[0].gateway, Some("10.1.0.1".parse().unwrap()));
}

#[test]
fn refusals_use_the_words_of_docker() {
    type Case<'a> = (&'a [&'a str], &'a [&'a str], &'a [&'a str], &'a [&'a str], &'a str);
    let table: &[Case<'_>] = &[
        (
            &["172.31.0.0/24"],
            &["172.30.0.1"],
            &[],
            &[],
            "no matching subnet for gateway 172.30.0.1: add the --subnet that contains it",
        ),
        (&["172.31.0.0/24"], &[], &["172.30.0.0/25"], &[], "no matching subnet for range 172.30.0.0/25: "),
        (&["172.31.0.0/24"], &[], &["172.31.0.0/23"], &[], "no matching subnet for range 172.31.0.0/23: "),
        (&["172.31.0.0/24"], &[], &[], &["x=172.30.0.9"], "no matching subnet for aux-address 172.30.0.9: "),
        (&[], &[], &[], &["x=172.30.0.9"], "no matching subnet for aux-address 172.30.0.9: "),
        (&["0.0.0.0/24"], &["172.30.0.1"], &[], &[], "no matching subnet for gateway 172.30.0.1: "),
        (&[], &["10.0.0.1"], &[], &[], "every ip-range or gateway must have a corresponding subnet"),
        (&[], &[], &["10.0.0.0/25"], &[], "every ip-range or gateway must have a corresponding subnet"),
        (
            &["10.0.0.0/24"],
            &["10.0.0.1", "10.0.0.2"],
            &[],
            &[],
            "cannot configure multiple gateways (10.0.0.1, 10.0.0.2) on the same subnet (10.0.0.0/24)",
        ),
        (
            &["10.0.0.0/24"],
            &[],
            &["10.0.0.0/25", "10.0.0.128/25"],
            &[],
            "cannot configure multiple ranges (10.0.0.0/25, 10.0.0.128/25) on the same subnet (10.0.0.0/24)",
        ),
        (
            &["10.0.0.0/8", "10.1.0.0/16"],
            &[],
            &[],
            &[],
            "multiple overlapping subnet configuration is not supported: 10.0.0.0/8 and 10.1.0.0/16",
        ),
        (&["172.31.0.0/99"], &[], &[], &[], "invalid subnet 172.31.0.0/99: an address and a prefix length"),
        (&["999.1.1.0/24"], &[], &[], &[], "invalid subnet 999.1.1.0/24: "),
        (&["10.0.0.0/24"], &["abc"], &[], &[], "invalid gateway abc: an IP address is expected"),
        (&["10.0.0.0/24"], &[], &["10.0.0.0"], &[], "invalid ip-range 10.0.0.0: "),
        (&["10.0.0.0/24"], &[], &[], &["10.0.0.9"], "invalid aux-address 10.0.0.9: name=address is expected"),
        (&["10.0.0.0/24"], &[], &[], &["=10.0.0.9"], "invalid aux-address =10.0.0.9: "),
        (&["10.0.0.0/24"], &[], &[], &["x=y"], "invalid aux-address y: an IP address is expected"),
    ];
    for (subnets, gateways, ranges, auxiliary, expected) in table {
        let error = matched(subnets, gateways, ranges, auxiliary).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error:?} does not start with {expected:?}");
    }
}

#[test]
fn a_missing_prefix_length_is_named() {
    for (subnets, ranges) in [(&["10.1.0.0"][..], &[][..]), (&["10.1.0.0/24"], &["10.1.0.0"])] {
        let text = matched(subnets, &[], ranges, &[]).unwrap_err().to_string();
        assert!(text.contains("the prefix length is missing"), "{text}");
    }
}
