//! The texts of rules: trace messages of nf_tables have only their handles.

use super::event::RuleMet;
use fairway_ruleset::{Chain, Expression, Family, Hook, Table};

/// The rules of a namespace, as read from the kernel.
#[derive(Debug, Clone, Default)]
pub struct RuleTexts {
    tables: Vec<Table>,
}

impl RuleTexts {
    /// The texts of the rules of these tables. Counters are left out: their values change, and they decide nothing.
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

    /// Hook and priority of a base chain; none for other chains.
    pub fn base(&self, family: Family, table: &str, chain: &str) -> Option<(Hook, i32)> {
        let base = self.chain(family, table, chain)?.1.base.as_ref()?;
        Some((base.hook, base.priority))
    }

    /// The rule with a handle; none if the rules changed since they were read.
    pub fn rule(&self, family: Family, table: &str, chain: &str, handle: u64) -> Option<RuleMet> {
        let (table, chain) = self.chain(family, table, chain)?;
        let rule = chain.rules.iter().find(|rule| rule.handle == Some(handle))?;
        Some(RuleMet::Rule { handle, text: Some(table.rule_text(rule)), comment: rule.comment.clone() })
    }
}
