//! The rules of one namespace: those that make the kernel trace packets, and the lookup of traced rules.

use std::time::{Duration, Instant};

use fairway_core::policy::is_trace_table;
use fairway_inspect::trace::{OVERFLOW, RuleMet, RuleTexts};
use fairway_kernel::nftables::{Error, Reader, TraceEvent, TracePoint, Transaction, Writer};
use fairway_ruleset::{Expression, Hook, Table, TableFlags, resolver};
use rustix::io::Errno;

/// How long unknown rules are not looked up again.
const PAUSE: Duration = Duration::from_millis(200);

/// The rules of a namespace.
pub struct Rules {
    /// The socket that owns the tables of the trace: they are deleted with it.
    writer: Writer,
    tables: Vec<Table>,
    book: RuleTexts,
    read: Instant,
    installed: Vec<Table>,
    unmarked: u64,
}

impl Rules {
    /// Opens the namespace of the calling thread.
    ///
    /// # Errors
    /// The kernel has no nf_tables.
    pub fn open() -> Result<Self, Error> {
        Ok(Self {
            writer: Writer::open()?,
            tables: Vec::new(),
            book: RuleTexts::default(),
            read: Instant::now(),
            installed: Vec::new(),
            unmarked: 0,
        })
    }

    /// Reads all tables.
    pub fn read(&mut self) {
        self.read = Instant::now();
        match outlines(self.writer.reader()) {
            Ok(tables) => {
                self.book = RuleTexts::new(tables.clone());
                self.tables = tables;
            }
            Err(error) => tracing::debug!(%error, "failed to read rules: {error}; naming rules by handle"),
        }
    }

    /// The tables as read.
    pub fn tables(&self) -> Vec<Table> {
        self.tables.clone()
    }

    /// Whether foreign rules could decide about packets.
    pub fn decide(&self) -> bool {
        self.tables.iter().any(|table| table.name != resolver::TABLE && !is_trace_table(&table.name))
    }

    /// Installs the tables of a trace, replacing those installed before.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn install(&mut self, tables: impl Fn(TableFlags) -> Vec<Table>) -> Result<(), Error> {
        let owned = TableFlags { owner: true, ..TableFlags::default() };
        match self.put(tables(owned)) {
            // Before Linux 5.12 tables have no owners.
            Err(Error::Refused { errno: Errno::OPNOTSUPP | Errno::INVAL, .. }) => {
                self.put(tables(TableFlags::default()))
            }
            outcome => outcome,
        }
    }

    fn put(&mut self, tables: Vec<Table>) -> Result<(), Error> {
        let mut transaction = Transaction::new();
        for old in &self.installed {
            transaction.delete_table(old.family, &old.name);
        }
        for table in &tables {
            transaction.create(table);
        }
        self.writer.commit(transaction)?;
        self.installed = tables;
        self.unmarked = 0;
        Ok(())
    }

    /// Whether the kernel deletes the installed tables when the socket closes.
    pub fn vanish(&self) -> bool {
        self.installed.iter().all(|table| table.flags.owner)
    }

    /// Deletes the installed tables.
    pub fn remove(&mut self) {
        let mut transaction = Transaction::new();
        for table in std::mem::take(&mut self.installed) {
            transaction.delete_table(table.family, &table.name);
        }
        if let Err(error) = self.writer.commit(transaction) {
            tracing::warn!(%error, "failed to delete the rules of a trace: {error}; the next start deletes them");
        }
    }

    /// How many more packets than at the last call exceeded the rate limit.
    pub fn unmarked(&mut self) -> u64 {
        let count = |table: &Table| {
            let rules = self.writer.reader().rules(table.family, &table.name, OVERFLOW).unwrap_or_default();
            let counts = rules.iter().flat_map(|rule| &rule.expressions).map(|expression| match expression {
                Expression::Counter(count) => count.packets,
                _ => 0,
            });
            counts.sum::<u64>()
        };
        let all: u64 = self.installed.iter().map(count).sum();
        let more = all.saturating_sub(self.unmarked);
        self.unmarked = all;
        more
    }

    /// The hook of a traced chain, and the rule.
    pub fn look_up(&mut self, traced: &TraceEvent) -> (Option<(Hook, i32)>, RuleMet) {
        let TraceEvent { family, table, chain, .. } = traced;
        let is_known = |book: &RuleTexts| match traced.at {
            TracePoint::Rule(handle) => book.rule(*family, table, chain, handle).is_some(),
            TracePoint::End => true,
            TracePoint::Policy => book.base(*family, table, chain).is_some(),
        };
        if !is_known(&self.book) && self.read.elapsed() >= PAUSE {
            self.read();
        }
        let met = match traced.at {
            TracePoint::Rule(handle) => {
                let found = self.book.rule(*family, table, chain, handle);
                found.unwrap_or(RuleMet::Rule { handle, text: None, comment: None })
            }
            TracePoint::End => RuleMet::End,
            TracePoint::Policy => RuleMet::Policy,
        };
        (self.book.base(*family, table, chain), met)
    }
}

/// Lists all tables, of sets only the anonymous ones of rules. Changes meanwhile may be read in part.
fn outlines(reader: &Reader) -> Result<Vec<Table>, Error> {
    let mut tables = Vec::new();
    for listed in reader.tables()? {
        tables.extend(reader.outline(listed.family, &listed.name)?);
    }
    Ok(tables)
}

/// Deletes the trace tables of a killed daemon, where tables have no owners.
pub fn sweep() {
    let swept = Writer::open().and_then(|mut writer| {
        let mut transaction = Transaction::new();
        let left = writer.reader().tables()?;
        for table in left.iter().filter(|it| is_trace_table(&it.name) && it.owner.is_none()) {
            transaction.destroy_table(table.family, &table.name);
        }
        writer.commit(transaction)
    });
    if let Err(error) = swept {
        tracing::warn!(%error, "failed to delete the rules of traces before: {error}");
    }
}
