//! What may enter a network by a sandbox's own address, without NAT: by the gateway mode of the network, from
//! interfaces that it trusts, with the mark of `--bridge-accept-fwmark`, or with `--allow-direct-routing`.

use super::packet::{ICMP, INPUT_AND_OUTPUT, OUTPUT_AND_FAMILY};
use super::reason::Reason;
use super::routed_driver;
use crate::object::{RulesetSwitches, SetName};
use fairway_ruleset::{Chain, Family, Load, MetaKey, RuleBuilder, rule};

/// The chain that accepts packets to published ports.
const DIRECT: &str = "direct-ingress";
/// The chain of packets that enter a network with gateway mode `routed`.
const ROUTED_MODE: &str = "routed-mode-in";

/// The last rules about packets into a network but for the final drop. Packets from internal networks were dropped
/// before, and internal networks are in none of these sets.
pub(super) fn entry(switches: &RulesetSwitches) -> Vec<RuleBuilder> {
    let mut rules = Vec::new();
    if let Some(mark) = switches.accept_mark {
        rules.push(
            rule()
                .is_masked(Load::Meta(MetaKey::Mark), mark.mask.to_ne_bytes(), mark.value.to_ne_bytes())
                .is_not_in(&[Load::OUTPUT_NAME], SetName::InternalBridges.text())
                .accept()
                .comment(Reason::AcceptMark),
        );
    }
    let unprotected = rule().is_in(&OUTPUT_AND_FAMILY, SetName::UnprotectedBridges.text());
    rules.push(unprotected.accept().comment(Reason::GatewayUnprotected));
    let routed = rule().is_in(&OUTPUT_AND_FAMILY, SetName::RoutedModeBridges.text());
    rules.push(routed.goto(ROUTED_MODE).comment(Reason::GatewayRouted));
    rules.push(
        rule().is_in(&[Load::OUTPUT_NAME], SetName::RoutedDriverBridges.text()).goto(routed_driver::IN),
    );
    rules.push(match switches.allow_direct_routing {
        true => rule().goto(DIRECT).comment(Reason::DirectRouting),
        false => {
            let trusted = rule().is_in(&INPUT_AND_OUTPUT, SetName::TrustedInterfaces.text());
            trusted.goto(DIRECT).comment(Reason::TrustedInterface)
        }
    });
    rules
}

/// Into a network with gateway mode `routed`: published ports, and ICMP.
pub(super) fn routed_mode() -> Chain {
    Chain::regular(ROUTED_MODE).with([
        rule().family(Family::Ip).is(Load::TRANSPORT, ICMP).accept(),
        rule().family(Family::Ip6).icmpv6().accept(),
        rule().goto(DIRECT),
    ])
}

/// To a sandbox's own address: published ports.
pub(super) fn chain() -> Chain {
    let families = [
        (Family::Ip, Load::IP_DESTINATION, SetName::DirectPorts4),
        (Family::Ip6, Load::IP6_DESTINATION, SetName::DirectPorts6),
    ];
    let published = families.map(|(family, address, set)| {
        let key = [address, Load::TRANSPORT, Load::DESTINATION_PORT];
        rule().family(family).is_in(&key, set.text()).accept().comment(Reason::PublishedPort)
    });
    Chain::regular(DIRECT).with(published).with([Reason::NotPublished.drops(rule())])
}
