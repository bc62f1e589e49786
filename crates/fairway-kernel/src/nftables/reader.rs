//! Reads the kernel's nf_tables tables.

use fairway_ruleset::{Chain, Element, Family, Rule, Set, Table, TableFlags};

use super::numbers::{self as n, message};
use super::{Error, decode, encode, transaction};
use crate::netlink::{Attributes, Batch, Message, MessageBuilder, Protocol, Socket};

const DUMP: u16 = libc::NLM_F_DUMP as u16;
/// How often a table is read again when the rules of the namespace change meanwhile.
const ATTEMPTS: u32 = 16;

/// Decodes a rule with the name of its chain.
type DecodeRule = fn(Attributes<'_>) -> Option<(String, Rule)>;

/// An existing table, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableHeader {
    /// Its family.
    pub family: Family,
    /// Its name.
    pub name: String,
    /// Its flags, which show ownership.
    pub flags: TableFlags,
    /// The netlink port of the socket that owns it, while there is one.
    pub owner: Option<u32>,
}

/// A socket that reads the tables of one network namespace.
#[derive(Debug)]
pub struct Reader {
    pub(super) socket: Socket,
}

impl Reader {
    /// Opens a reader in the namespace of the calling thread.
    ///
    /// # Errors
    /// If no socket can be created.
    pub fn open() -> Result<Self, Error> {
        Ok(Self { socket: Socket::open(Protocol::Netfilter)? })
    }

    /// The generation: a number that changes with every transaction in the namespace.
    ///
    /// # Errors
    /// If the exchange fails.
    pub fn generation(&self) -> Result<u32, Error> {
        let mut batch = Batch::new();
        transaction::begin(&mut batch, message::GET_GENERATION, 0, 0, "the generation of nf_tables".into());
        let replies = self.socket.transact(&mut batch)?;
        let id = replies.first().and_then(|reply| attributes(reply).find(n::generation::ID)?.be32());
        id.ok_or(Error::Netlink(crate::netlink::Error::Malformed("the generation is missing")))
    }

    /// All tables of the supported families.
    ///
    /// # Errors
    /// If the exchange fails.
    pub fn tables(&self) -> Result<Vec<TableHeader>, Error> {
        let replies = self.dump(message::GET_TABLE, 0, "tables", |_| {})?;
        Ok(replies.iter().filter_map(listed).collect())
    }

    /// A table with its content, set elements ordered by key; none if there is no such table.
    ///
    /// # Errors
    /// [`Error::Unsteady`] if the rules change again and again meanwhile, or if the exchange fails.
    pub fn table(&self, family: Family, name: &str) -> Result<Option<Table>, Error> {
        self.steadily(family, name, |_| true, decode::rule)
    }

    /// A table with its content, without the elements of sets of exact keys, which may be very many; none if there is
    /// no such table.
    ///
    /// # Errors
    /// As [`Self::table`].
    pub fn outline(&self, family: Family, name: &str) -> Result<Option<Table>, Error> {
        self.steadily(family, name, |set| !set.is_exact(), decode::rule)
    }

    /// As [`Self::outline`], of rules only the handle, counters, and the expressions that carry matches and targets of
    /// xtables: for a table whose rules iptables prints, which may be very many.
    ///
    /// # Errors
    /// As [`Self::table`].
    pub fn skim(&self, family: Family, name: &str) -> Result<Option<Table>, Error> {
        self.steadily(family, name, |set| !set.is_exact(), decode::skimmed_rule)
    }

    fn steadily(
        &self,
        family: Family,
        name: &str,
        filled: impl Fn(&Set) -> bool,
        rule: DecodeRule,
    ) -> Result<Option<Table>, Error> {
        for _ in 0..ATTEMPTS {
            let before = self.generation()?;
            match self.read_table(family, name, &filled, rule) {
                // A set or chain can vanish between two requests.
                Err(error) if error.is_absent() => {}
                Err(error) => return Err(error),
                Ok(table) if self.generation()? == before => return Ok(table),
                Ok(_) => {}
            }
        }
        Err(Error::Unsteady { table: format!("{family} {name}"), attempts: ATTEMPTS })
    }

    /// The tables of other programs that IP packets meet, each with its content and whether a socket owns it; tables
    /// that keep changing while they are read are left out.
    ///
    /// # Errors
    /// If the exchange fails.
    pub fn foreign(&self, ours: impl Fn(&TableHeader) -> bool) -> Result<Vec<(Table, bool)>, Error> {
        let mut found = Vec::new();
        for listed in self.tables()? {
            let meets = matches!(listed.family, Family::Inet | Family::Ip | Family::Ip6);
            if ours(&listed) || !meets {
                continue;
            }
            for _ in 0..ATTEMPTS {
                let before = self.generation()?;
                match self.read_table(listed.family, &listed.name, |_| true, decode::rule) {
                    Err(error) if error.is_absent() => {}
                    Err(error) => return Err(error),
                    Ok(read) if self.generation()? == before => {
                        let owned = listed.owner.is_some();
                        found.extend(read.map(|table| (table, owned)));
                        break;
                    }
                    Ok(_) => {}
                }
            }
        }
        Ok(found)
    }

    fn read_table(
        &self,
        family: Family,
        name: &str,
        filled: impl Fn(&Set) -> bool,
        rule: DecodeRule,
    ) -> Result<Option<Table>, Error> {
        let Some(listed) = self.listed(family, name)? else { return Ok(None) };
        let mut table = Table { flags: listed.flags, ..Table::new(family, name) };
        table.chains = self.chains(family, name)?;
        let mut at = 0;
        for (chain, rule) in self.all_rules(family, name, None, rule)? {
            // The rules of a chain come one after the other, and there may be thousands of chains.
            if table.chains.get(at).is_none_or(|known| known.name != chain) {
                at = table.chains.iter().position(|known| known.name == chain).unwrap_or(table.chains.len());
            }
            if let Some(known) = table.chains.get_mut(at) {
                known.rules.push(rule);
            }
        }
        let sets = self.dump(message::GET_SET, family.number(), "sets", |request| {
            request.text(n::set::TABLE, name);
        })?;
        table.sets = sets.iter().filter_map(|reply| decode::set(attributes(reply))).collect();
        for set in table.sets.iter_mut().filter(|set| filled(set)) {
            set.elements = self.elements(family, name, set)?;
        }
        Ok(Some(table))
    }

    /// A table without its content; none if there is no such table.
    ///
    /// # Errors
    /// If the exchange fails.
    pub fn listed(&self, family: Family, name: &str) -> Result<Option<TableHeader>, Error> {
        let mut batch = Batch::new();
        let label = format!("table {family} {name}");
        transaction::begin(&mut batch, message::GET_TABLE, 0, family.number(), label)
            .text(n::table::NAME, name);
        match self.socket.transact(&mut batch) {
            Ok(replies) => Ok(replies.iter().find_map(listed)),
            Err(error) if error.errno() == Some(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The names of all chains of a family, each after that of its table.
    ///
    /// # Errors
    /// If the exchange fails.
    pub fn chain_names(&self, family: Family) -> Result<Vec<(String, String)>, Error> {
        let replies = self.dump(message::GET_CHAIN, family.number(), "chains", |_| {})?;
        let names = replies.iter().map(attributes).filter_map(|chain| {
            Some((decode::text(chain, n::chain::TABLE)?, decode::text(chain, n::chain::NAME)?))
        });
        Ok(names.collect())
    }

    fn chains(&self, family: Family, table: &str) -> Result<Vec<Chain>, Error> {
        let replies = self.dump(message::GET_CHAIN, family.number(), "chains", |_| {})?;
        let own = replies
            .iter()
            .map(attributes)
            .filter(|chain| decode::text(*chain, n::chain::TABLE).as_deref() == Some(table));
        Ok(own.filter_map(|chain| decode::chain(family, chain)).collect())
    }

    /// The rules of a chain.
    ///
    /// # Errors
    /// If there is no such chain, or if the exchange fails.
    pub fn rules(&self, family: Family, table: &str, chain: &str) -> Result<Vec<Rule>, Error> {
        let rules = self.all_rules(family, table, Some(chain), decode::rule)?;
        Ok(rules.into_iter().map(|(_, rule)| rule).collect())
    }

    fn all_rules(
        &self,
        family: Family,
        table: &str,
        chain: Option<&str>,
        rule: DecodeRule,
    ) -> Result<Vec<(String, Rule)>, Error> {
        let mut batch = Batch::new();
        let label = "the list of rules".to_owned();
        {
            let mut request = transaction::begin(&mut batch, message::GET_RULE, DUMP, family.number(), label);
            request.text(n::rule::TABLE, table);
            if let Some(chain) = chain {
                request.text(n::rule::CHAIN, chain);
            }
        }
        let read = |_, payload: &[u8]| rule(Attributes::new(payload.get(n::HEADER_LENGTH..)?));
        Ok(self.socket.dump_map(&mut batch, read)?)
    }

    /// The elements of a set, in the order of their keys, with their counters.
    ///
    /// # Errors
    /// If there is no such set ([`Error::is_absent`]), or if the exchange fails.
    pub fn elements(&self, family: Family, table: &str, set: &Set) -> Result<Vec<Element>, Error> {
        let replies = self.dump(message::GET_ELEMENTS, family.number(), "elements", |request| {
            request.text(n::element::LIST_TABLE, table).text(n::element::LIST_SET, &set.name);
        })?;
        Ok(decode::elements(set, replies.iter().map(attributes)))
    }

    /// The element of a set with a key, or its catch-all element with an empty key; none if there is none.
    ///
    /// # Errors
    /// If the exchange fails.
    pub fn element(
        &self,
        family: Family,
        table: &str,
        set: &Set,
        key: &[u8],
    ) -> Result<Option<Element>, Error> {
        let mut batch = Batch::new();
        let label = format!("an element of the set {} of {family} {table}", set.name);
        transaction::begin(&mut batch, message::GET_ELEMENTS, 0, family.number(), label)
            .text(n::element::LIST_TABLE, table)
            .text(n::element::LIST_SET, &set.name)
            .nest(n::element::LIST_ELEMENTS, |list| encode::element(list, set, &Element::new(key)));
        match self.socket.transact(&mut batch) {
            Ok(replies) => Ok(decode::elements(set, replies.iter().map(attributes)).into_iter().next()),
            Err(error) if error.errno() == Some(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn dump(
        &self,
        kind: u16,
        family: u8,
        what: &str,
        fill: impl FnOnce(&mut MessageBuilder<'_>),
    ) -> Result<Vec<Message>, Error> {
        let mut batch = Batch::new();
        fill(&mut transaction::begin(&mut batch, kind, DUMP, family, format!("the list of {what}")));
        Ok(self.socket.dump(&mut batch)?)
    }
}

/// The attributes of a message of nf_tables.
pub(super) fn attributes(message: &Message) -> Attributes<'_> {
    message.attributes(n::HEADER_LENGTH)
}

fn listed(reply: &Message) -> Option<TableHeader> {
    let found = attributes(reply);
    Some(TableHeader {
        family: Family::from_number(*reply.payload.first()?)?,
        name: decode::text(found, n::table::NAME)?,
        flags: decode::table_flags(found),
        owner: found.find(n::table::OWNER).and_then(|owner| owner.be32()),
    })
}
