//! What rules say that the kernel tells by number only.

use super::event::RuleMet;
use fairway_ruleset::{Chain, Expression, Family, Hook, Table};

/// The rules of a namespace as they were read.
#[derive(Debug, Clone, Default)]
pub struct RuleTexts {
    tables: Vec<Table>,
}

impl RuleTexts {
    /// Of these tables. What rules counted is left out: it changes, and decides nothing.
    pub fn new(mut tables: Vec<Table>) -> Self {
        let chains = tables.iter_mut().flat_map(|table| &mut table.chains);
        for rule in chains.flat_map(|chain| &mut chain.rules) {
            rule.expressions.retain(|expression| !matches!(expression, Expression::Counter(_)));
        }
        Self { tables }
    }

    fn chain(&self, family: Family, table: &str, chain: &str) -> Option<(&Table, &Chain)> {
        let table = self.tables.iter().find(|it| it.family == family && it.name == table)?;
        Some((table, table.chain(chain)?))
    }

    /// Where a chain hangs; none of one that is jumped to.
    pub fn base(&self, family: Family, table: &str, chain: &str) -> Option<(Hook, i32)> {
        let base = self.chain(family, table, chain)?.1.base.as_ref()?;
        Some((base.hook, base.priority))
    }

    /// The rule of a number; none if there is none, for then the rules are others than those that were read.
    pub fn rule(&self, family: Family, table: &str, chain: &str, handle: u64) -> Option<RuleMet> {
        let (table, chain) = self.chain(family, table, chain)?;
        let rule = chain.rules.iter().find(|rule| rule.handle == Some(handle))?;
        Some(RuleMet::Rule { handle, text: Some(table.rule_text(rule)), comment: rule.comment.clone() })
    }
}
