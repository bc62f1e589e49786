//! Where a jump has to be so that what our own tables let pass is not dropped by another.
//!
//! The jump leads to a chain of ours in their table, which accepts what comes from our bridges or goes there. That
//! ends their evaluation and not ours: whether it may pass is still decided by our own tables, at the same hook.

use super::{ForeignTable, Samples, walk};
use fairway_ruleset::{Chain, ChainKind, Comparison, Expression, Hook, Load, Register, Rule, Verdict, rule};

/// The name of Fairway's chain in foreign tables.
pub const CHAIN: &str = "fairway-accept";
/// Its name in version 0.1.0 and before: a chain of this name is replaced.
pub const FORMER_CHAIN: &str = "fairway-beside";
/// The comment of the jump to it.
pub const MARK: &str = "fairway";
/// Where Docker has others put their rules, before its own.
const DOCKER_USER: &str = "DOCKER-USER";

/// The jump.
pub fn jump() -> Rule {
    rule().counter().jump(CHAIN).comment(MARK).into()
}

/// The chain of Fairway's that a rule jumps to, if it is the jump.
fn jump_target(rule: &Rule) -> Option<&str> {
    let target = |it: &'_ Expression| match it {
        Expression::Verdict(Verdict::Jump(chain)) => {
            [CHAIN, FORMER_CHAIN].into_iter().find(|own| chain == own)
        }
        _ => None,
    };
    rule.expressions.iter().find_map(target).filter(|_| rule.comment.as_deref() == Some(MARK))
}

/// Whether a rule is Fairway's jump.
pub fn is_jump(rule: &Rule) -> bool {
    jump_target(rule).is_some()
}

/// The rules of our chain, as `iptables` would have them: a name is compared with the zero that ends it.
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

/// The table without what is ours in it.
pub fn without_ours(foreign: &ForeignTable) -> ForeignTable {
    let mut foreign = foreign.clone();
    foreign.table.chains.retain(|chain| ![CHAIN, FORMER_CHAIN].contains(&chain.name.as_str()));
    for chain in &mut foreign.table.chains {
        chain.rules.retain(|rule| !is_jump(rule));
    }
    foreign
}

impl ForeignTable {
    /// Whether chains of ours are in it, as our firewall has them where iptables is the backend.
    pub fn has_ours(&self) -> bool {
        self.table.chains.iter().any(|chain| is_ours(&chain.name))
    }
}

/// Whether a chain is one of those that our firewall has where iptables is the backend.
fn is_ours(chain: &str) -> bool {
    chain.starts_with("FAIRWAY") && chain != fairway_core::object::iptables::USER
}

/// The chains of a table, as it is without ours, at whose top a jump has to be: one for each base chain that drops
/// what is forwarded.
pub fn places(foreign: &ForeignTable, networks: &[Samples]) -> Vec<String> {
    // Where our own rules are, they stand first, and accepting before them would let everything pass.
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

/// Whether a base chain drops anything that is forwarded for these networks, for sure or not.
pub fn drops(foreign: &ForeignTable, base: &str, networks: &[Samples]) -> bool {
    let packets = networks.iter().flat_map(Samples::packets).filter(|packet| packet.hook == Hook::Forward);
    packets.into_iter().any(|packet| {
        let chain = foreign.table.chain(base);
        chain.is_some_and(|chain| !walk::drops_in(foreign, chain, &packet).is_empty())
    })
}

/// The table as it would be with our chain and a jump to it.
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

/// What `iptables-legacy-restore --noflush` is told so that a table of the older interface has the jumps, and no other;
/// no places take all of it away.
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
        // Declared so, a chain that is there is emptied.
        lines.insert(1, format!(":{CHAIN} - [0:0]"));
        for bridge in bridges {
            lines.extend(["-i", "-o"].map(|side| format!("-A {CHAIN} {side} {bridge} -j ACCEPT")));
        }
        lines.extend(places.iter().map(|place| format!("-I {place} 1 {}", jump(CHAIN))));
    }
    lines.extend(["COMMIT".to_owned(), String::new()]);
    lines.join("\n")
}
