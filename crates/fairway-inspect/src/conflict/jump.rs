//! A jump in a foreign chain that keeps it from dropping packets of Fairway's networks.
//!
//! The jump leads to a chain of Fairway in the foreign table, which accepts packets from and to Fairway's bridges. That
//! ends the evaluation of the foreign table only: Fairway's own tables still filter the packets, at the same hook.

use super::{ForeignTable, Samples};
use fairway_core::object::iptables::{USER, is_ours};
use fairway_ruleset::{Chain, ChainKind, Comparison, Expression, Hook, Load, Register, Rule, Verdict, rule};

/// The name of Fairway's chain in foreign tables.
pub const CHAIN: &str = "fairway-accept";
/// Its name in version 0.1.0 and before: a chain of this name is replaced.
pub const FORMER_CHAIN: &str = "fairway-beside";
/// The comment of the jump to it.
pub const MARK: &str = "fairway";
/// The chain that Docker has for rules of other programs, before its own.
const DOCKER_USER: &str = "DOCKER-USER";

/// The rule that jumps to Fairway's chain.
pub fn jump() -> Rule {
    rule().counter().jump(CHAIN).comment(MARK).into()
}

/// The chain of Fairway that a rule jumps to, if the rule is Fairway's jump.
fn jump_target(rule: &Rule) -> Option<&str> {
    let target = |it: &'_ Expression| match it {
        Expression::Verdict(Verdict::Jump(chain)) => {
            [CHAIN, FORMER_CHAIN].into_iter().find(|own| chain == own)
        }
        _ => None,
    };
    rule.expressions.iter().find_map(target).filter(|_| rule.comment.as_deref() == Some(MARK))
}

/// Whether a rule is the jump to Fairway's chain.
pub fn is_jump(rule: &Rule) -> bool {
    jump_target(rule).is_some()
}

/// The rules of Fairway's chain, as iptables-nft writes them: an interface name is compared with its final zero.
pub fn rules(bridges: &[String]) -> Vec<Rule> {
    let accept = |load: Load, bridge: &str| {
        let value = [bridge.as_bytes(), &[0]].concat();
        let compare = Expression::Compare { from: Register::FIRST, operator: Comparison::Equal, value };
        rule().expression(load.into_register(Register::FIRST)).expression(compare).counter().accept().into()
    };
    let both = |bridge: &String| {
        [accept(Load::INPUT_NAME, bridge.as_str()), accept(Load::OUTPUT_NAME, bridge.as_str())]
    };
    bridges.iter().flat_map(both).collect()
}

/// The table without Fairway's chain and jumps.
pub fn without_ours(foreign: &ForeignTable) -> ForeignTable {
    let mut foreign = foreign.clone();
    foreign.table.chains.retain(|chain| ![CHAIN, FORMER_CHAIN].contains(&chain.name.as_str()));
    for chain in &mut foreign.table.chains {
        chain.rules.retain(|rule| !is_jump(rule));
    }
    foreign
}

impl ForeignTable {
    /// Whether the table has chains of Fairway's iptables backend.
    pub fn has_ours(&self) -> bool {
        self.table.chains.iter().any(|chain| is_ours(&chain.name) && chain.name != USER)
    }
}

/// The chains of a table that need a jump as their first rule: one for each base chain that drops forwarded packets.
/// The table is given without Fairway's chain and jumps.
pub fn places(foreign: &ForeignTable, networks: &[Samples]) -> Vec<String> {
    // Fairway's iptables backend has its rules first in these tables: a jump before them would accept everything.
    if foreign.owned || foreign.has_ours() {
        return Vec::new();
    }
    let bridges: Vec<String> = networks.iter().map(|samples| samples.bridge.clone()).collect();
    let forwards = |chain: &&Chain| {
        chain.base.as_ref().is_some_and(|it| it.hook == Hook::Forward && it.kind != ChainKind::Nat)
    };
    let mut places = Vec::new();
    for base in foreign.table.chains.iter().filter(forwards) {
        if !drops(foreign, &base.name, networks) {
            continue;
        }
        let place = [DOCKER_USER, base.name.as_str()].into_iter().find(|place| {
            foreign.table.chain(place).is_some()
                && !drops(&with_jump(foreign, place, &bridges), &base.name, networks)
        });
        places.extend(place.map(str::to_owned).filter(|place| !places.contains(place)));
    }
    places
}

/// Whether a base chain drops, or may drop, forwarded packets of these networks.
pub fn drops(foreign: &ForeignTable, base: &str, networks: &[Samples]) -> bool {
    let Some(chain) = foreign.table.chain(base) else { return false };
    let mut packets = networks.iter().flat_map(Samples::packets).map(|(_, packet)| packet);
    packets.any(|packet| {
        packet.hook == Hook::Forward && !packet.possible_drops_in(&foreign.table, chain).is_empty()
    })
}

/// The table with Fairway's chain and a jump to it.
fn with_jump(foreign: &ForeignTable, place: &str, bridges: &[String]) -> ForeignTable {
    let mut with = foreign.clone();
    if let Some(chain) = with.table.chains.iter_mut().find(|chain| chain.name == place) {
        chain.rules.insert(0, jump());
    }
    let mut own = Chain::regular(CHAIN);
    own.rules = rules(bridges);
    with.table.chains.push(own);
    with
}

/// The input for `iptables-legacy-restore --noflush` that makes a table of iptables-legacy have exactly the jumps in
/// `places`; without places it removes Fairway's chain as well.
pub fn legacy_script(found: &ForeignTable, places: &[String], bridges: &[String]) -> String {
    let mut lines = vec!["*filter".to_owned()];
    let jump = |target: &str| format!("-m comment --comment {MARK} -j {target}");
    for chain in &found.table.chains {
        let targets = chain.rules.iter().filter_map(jump_target);
        lines.extend(targets.map(|target| format!("-D {} {}", chain.name, jump(target))));
    }
    let gone = [FORMER_CHAIN, CHAIN].into_iter().filter(|name| places.is_empty() || *name != CHAIN);
    for name in gone.filter(|name| found.table.chain(name).is_some()) {
        lines.extend([format!("-F {name}"), format!("-X {name}")]);
    }
    if !places.is_empty() {
        // The declaration empties a chain that exists.
        lines.insert(1, format!(":{CHAIN} - [0:0]"));
        for bridge in bridges {
            lines.extend(["-i", "-o"].map(|side| format!("-A {CHAIN} {side} {bridge} -j ACCEPT")));
        }
        lines.extend(places.iter().map(|place| format!("-I {place} 1 {}", jump(CHAIN))));
    }
    lines.extend(["COMMIT".to_owned(), String::new()]);
    lines.join("\n")
}
