//! What may enter a network without having been translated: by the gateway modes, from interfaces that a
//! network trusts, with a mark that the operator gave, or because direct routing is allowed.

use super::rules::INTO;
use crate::object::{RulesetSwitches, SetName};
use fairway_ruleset::{Chain, Family, Load, MetaKey, RuleBuilder, rule};

/// The chain that lets packets to published ports pass.
const STRAIGHT: &str = "straight-to-published";
/// The chain of packets that enter a routed network.
const ROUTED: &str = "into-routed-mode";
/// IANA's number of ICMP.
const ICMP: [u8; 1] = [1];

/// The end of what decides about packets into a network. Who comes from an internal network was turned
/// away before, and what is internal is in none of these sets.
pub(super) fn untranslated(switches: &RulesetSwitches) -> Vec<RuleBuilder> {
    let mut rules = Vec::new();
    if let Some(mark) = switches.accept_mark {
        rules.push(
            rule()
                .is_masked(Load::Meta(MetaKey::Mark), mark.mask.to_ne_bytes(), mark.value.to_ne_bytes())
                .is_not_in(&[Load::OUTPUT_NAME], SetName::InternalBridges.text())
                .accept()
                .comment("marked"),
        );
    }
    rules.push(rule().is_in(&INTO, SetName::UnprotectedBridges.text()).accept().comment("unprotected"));
    rules.push(rule().is_in(&INTO, SetName::RoutedModeBridges.text()).goto(ROUTED).comment("routed"));
    rules.push(
        rule().is_in(&[Load::OUTPUT_NAME], SetName::RoutedDriverBridges.text()).goto(super::routed::INTO),
    );
    rules.push(match switches.allow_direct_routing {
        true => rule().goto(STRAIGHT).comment("direct routing is allowed"),
        false => {
            let from = [Load::INPUT_NAME, Load::OUTPUT_NAME];
            rule()
                .is_in(&from, SetName::TrustedInterfaces.text())
                .goto(STRAIGHT)
                .comment("from a trusted interface")
        }
    });
    rules
}

/// To a routed network: published ports, and whatever ICMP.
pub(super) fn routed() -> Chain {
    Chain::regular(ROUTED).with([
        rule().family(Family::Ip).is(Load::TRANSPORT, ICMP).accept(),
        rule().family(Family::Ip6).icmpv6().accept(),
        rule().goto(STRAIGHT),
    ])
}

/// To the sandbox's own address: published ports.
pub(super) fn straight() -> Chain {
    let families = [
        (Family::Ip, Load::IP_DESTINATION, SetName::DirectPorts4),
        (Family::Ip6, Load::IP6_DESTINATION, SetName::DirectPorts6),
    ];
    let published = families.map(|(family, address, set)| {
        let key = [address, Load::TRANSPORT, Load::DESTINATION_PORT];
        rule().family(family).is_in(&key, set.text()).accept().comment("published")
    });
    Chain::regular(STRAIGHT).with(published).with([rule().counter().drop().comment("not published")])
}
