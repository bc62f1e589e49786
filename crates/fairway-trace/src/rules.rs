//! The rules of one namespace: those that make the kernel trace packets, and the lookup of traced rules.

use std::time::{Duration, Instant};

use fairway_core::policy::is_trace_table;
use fairway_inspect::trace::{OVERFLOW, RuleMet, RuleTexts};
use fairway_kernel::namespace::{self, Handle, Workers};
use fairway_kernel::nftables::{Error, TraceEvent, TracePoint, Transaction, Writer};
use fairway_kernel::survey;
use fairway_ruleset::{Expression, Hook, Table, TableFlags, resolver};
use rustix::io::Errno;

use crate::error::TraceError;

/// How long unknown rules are not looked up again at least.
const PAUSE: Duration = Duration::from_millis(200);
/// How many times as long as a reading takes the next one waits: a host may have many thousand rules.
const SHARE: u32 = 10;

/// The rules of a namespace.
pub struct Rules {
    /// Reads them inside the namespace: iptables prints those of its own.
    workers: Workers,
    namespace: Handle,
    /// The socket that owns the tables of the trace: they are deleted with it.
    writer: Writer,
    tables: Vec<Table>,
    book: RuleTexts,
    read: Instant,
    pause: Duration,
    installed: Vec<Table>,
    unmarked: u64,
}

impl Rules {
    /// Opens a namespace.
    ///
    /// # Errors
    /// It cannot be entered, or the kernel has no nf_tables.
    pub fn open(workers: &Workers, namespace: &Handle) -> Result<Self, TraceError> {
        Ok(Self {
            writer: workers.run(namespace, Writer::open)??,
            workers: workers.clone(),
            namespace: namespace.clone(),
            tables: Vec::new(),
            book: RuleTexts::default(),
            read: Instant::now(),
            pause: PAUSE,
            installed: Vec::new(),
            unmarked: 0,
        })
    }

    /// Reads all tables, with rules of iptables in its own words.
    pub fn read(&mut self) {
        let began = Instant::now();
        match self.run_inside(|| survey::tables(true)) {
            Ok(Ok(tables)) => self.tables = tables,
            Ok(Err(error)) => {
                tracing::debug!(%error, "failed to read rules: {error}; naming rules by handle")
            }
            Err(error) => tracing::debug!(%error, "failed to read rules: {error}; naming rules by handle"),
        }
        self.name_rules();
        self.read = Instant::now();
        self.pause = PAUSE.max(began.elapsed() * SHARE);
    }

    /// Runs work inside the namespace.
    ///
    /// # Errors
    /// The namespace cannot be entered.
    pub fn run_inside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, namespace::Error> {
        self.workers.run(&self.namespace, work)
    }

    fn name_rules(&mut self) {
        self.book = RuleTexts::new(self.tables.iter().chain(&self.installed).cloned().collect());
    }

    /// The tables as read.
    pub fn tables(&self) -> Vec<Table> {
        self.tables.clone()
    }

    /// Whether foreign rules could decide about packets.
    pub fn decide(&self) -> bool {
        self.tables.iter().any(|table| table.name != resolver::TABLE)
    }

    /// Installs the tables of a trace, replacing those installed before. The kernel deletes them when this is dropped,
    /// or the process killed. Returns whether the kernel can: before Linux 5.12 tables have no owners.
    ///
    /// # Errors
    /// The kernel refuses for another reason.
    pub fn install_owned(&mut self, tables: impl Fn(TableFlags) -> Vec<Table>) -> Result<bool, Error> {
        match self.put(tables(TableFlags { owner: true, ..TableFlags::default() })) {
            Err(Error::Refused { errno: Errno::OPNOTSUPP | Errno::INVAL, .. }) => Ok(false),
            outcome => outcome.map(|()| true),
        }
    }

    /// As [`Self::install_owned`], with tables that stay if the process is killed.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn install_unowned(&mut self, tables: impl Fn(TableFlags) -> Vec<Table>) -> Result<(), Error> {
        self.put(tables(TableFlags::default()))
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
        self.name_rules();
        Ok(())
    }

    /// Deletes the installed tables.
    pub fn remove(&mut self) {
        let mut transaction = Transaction::new();
        for table in std::mem::take(&mut self.installed) {
            transaction.delete_table(table.family, &table.name);
        }
        if let Err(error) = self.writer.commit(transaction) {
            tracing::warn!(%error, "failed to delete the rules of a trace: {error}; they go with the process that owns them");
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
            // Its rules are not shown.
            _ if is_trace_table(table) => true,
            TracePoint::Rule(handle) => book.rule(*family, table, chain, handle).is_some(),
            TracePoint::End => true,
            TracePoint::Policy => book.base(*family, table, chain).is_some(),
        };
        if !is_known(&self.book) && self.read.elapsed() >= self.pause {
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
