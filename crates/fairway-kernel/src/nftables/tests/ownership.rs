//! Who may change a table.

use fairway_ruleset::{Family, Table, TableFlags};
use rustix::io::Errno;

use super::{firewall, guard, published};
use crate::nftables::{Error, Reader, Transaction, Writer};
use crate::testing::in_new_namespace;

fn owned() -> Table {
    Table { flags: TableFlags::OWNED, ..firewall() }
}

fn attempt(writer: &mut Writer, fill: impl FnOnce(&mut Transaction)) -> Result<(), Error> {
    let mut transaction = Transaction::new();
    fill(&mut transaction);
    writer.commit(transaction)
}

#[test]
fn only_the_owner_can_change_an_owned_table_and_all_can_read_it() {
    in_new_namespace(|| {
        let table = owned();
        let mut owner = Writer::open().unwrap();
        attempt(&mut owner, |change| {
            change.create(&table);
        })
        .unwrap();
        let listed = Reader::open().unwrap().listed(table.family, &table.name).unwrap().unwrap();
        assert_eq!(listed.owner, Some(owner.port()));
        assert_eq!(listed.flags, TableFlags::OWNED);

        let mut other = Writer::open().unwrap();
        let ports = table.set("ports").unwrap();
        let refusals = [
            attempt(&mut other, |change| {
                change.add_elements(&table, ports, &[published(1)]);
            }),
            attempt(&mut other, |change| {
                change.delete_table(table.family, &table.name);
            }),
            attempt(&mut other, |change| {
                change.flush_set(&table, "ports");
            }),
            attempt(&mut other, |change| {
                change.insert_rule(&table, "forward", &table.chains[1].rules[0]);
            }),
            attempt(&mut other, |change| {
                change.add_table(&table);
            }),
            attempt(&mut other, |change| {
                change.add_table(&firewall());
            }),
        ];
        for refusal in refusals {
            assert_eq!(refusal.unwrap_err().errno(), Some(Errno::PERM));
        }
        let seen = other.reader().table(table.family, &table.name).unwrap().unwrap();
        assert_eq!(seen.at_rest().chains, table.clone().at_rest().chains);
        attempt(&mut owner, |change| {
            change.delete_table(table.family, &table.name);
        })
        .unwrap();
    });
}

/// What `nft flush ruleset` sends: one request to delete every table.
fn flush_everything(writer: &mut Writer) -> Result<(), Error> {
    attempt(writer, |change| {
        crate::nftables::transaction::begin(
            &mut change.batch,
            crate::nftables::numbers::message::DELETE_TABLE,
            0,
            0,
            "all tables".into(),
        );
    })
}

#[test]
fn flushing_the_ruleset_skips_owned_tables() {
    in_new_namespace(|| {
        let mut owner = Writer::open().unwrap();
        attempt(&mut owner, |change| {
            change.create(&owned()).create(&guard());
        })
        .unwrap();
        let mut other = Writer::open().unwrap();
        flush_everything(&mut other).unwrap();
        let left: Vec<_> = other.reader().tables().unwrap();
        assert_eq!(left.len(), 1, "{left:?}");
        assert_eq!(left[0].family, Family::Inet);
        let seen = other.reader().table(Family::Inet, "fairway").unwrap().unwrap();
        assert_eq!(seen.at_rest().chains, owned().at_rest().chains);
    });
}

#[test]
fn an_owned_table_outlives_its_owner_and_is_adopted() {
    in_new_namespace(|| {
        let table = owned();
        let mut first = Writer::open().unwrap();
        attempt(&mut first, |change| {
            change.create(&table);
        })
        .unwrap();
        drop(first);
        let reader = Reader::open().unwrap();
        let orphan = reader.listed(table.family, &table.name).unwrap().unwrap();
        assert_eq!(orphan.owner, None);

        let mut second = Writer::open().unwrap();
        attempt(&mut second, |change| {
            change.add_table(&table);
        })
        .unwrap();
        let adopted = reader.listed(table.family, &table.name).unwrap().unwrap();
        assert_eq!(adopted.owner, Some(second.port()));
        let seen = reader.table(table.family, &table.name).unwrap().unwrap();
        assert_eq!(seen.sets.len(), table.sets.len());
        assert_eq!(seen.at_rest().chains, table.clone().at_rest().chains, "adoption changed the rules");

        let mut other = Writer::open().unwrap();
        let refused = attempt(&mut other, |change| {
            change.delete_table(table.family, &table.name);
        });
        assert_eq!(refused.unwrap_err().errno(), Some(Errno::PERM));
        flush_everything(&mut other).unwrap();
        assert!(reader.listed(table.family, &table.name).unwrap().is_some());
    });
}

#[test]
fn adopting_and_replacing_is_one_transaction() {
    in_new_namespace(|| {
        let table = owned();
        let mut first = Writer::open().unwrap();
        attempt(&mut first, |change| {
            change.create(&table);
        })
        .unwrap();
        drop(first);
        let mut second = Writer::open().unwrap();
        let old = second.reader().table(table.family, &table.name).unwrap().unwrap();
        let mut new = table.clone();
        new.chains[1].rules.truncate(1);
        attempt(&mut second, |change| {
            change.replace(&old, &new);
        })
        .unwrap();
        let seen = second.reader().table(table.family, &table.name).unwrap().unwrap();
        assert_eq!(seen.at_rest().chains, new.at_rest().chains);
        let listed = second.reader().listed(table.family, &table.name).unwrap().unwrap();
        assert_eq!(listed.owner, Some(second.port()));
    });
}

#[test]
fn a_table_without_owner_is_taken_over_with_its_elements() {
    in_new_namespace(|| {
        let mut writer = Writer::open().unwrap();
        assert_eq!(writer.best_flags().unwrap(), TableFlags::OWNED, "Linux 6.9 or later is expected");
        assert_eq!(writer.reader().tables().unwrap(), [], "asking had an effect");
        let ports = firewall().sets.swap_remove(0);
        attempt(&mut writer, |change| {
            change.create(&firewall()).add_elements(&firewall(), &ports, &[published(81)]);
        })
        .unwrap();
        // The kernel does not let a table change hands that was not made to.
        let refused = attempt(&mut writer, |change| {
            change.add_table(&owned());
        });
        assert_eq!(refused.unwrap_err().errno(), Some(Errno::OPNOTSUPP));

        let old = writer.reader().table(Family::Inet, "fairway").unwrap().unwrap();
        attempt(&mut writer, |change| {
            change.replace(&old, &owned());
        })
        .unwrap();
        let seen = writer.reader().table(Family::Inet, "fairway").unwrap().unwrap();
        assert_eq!(seen.flags, TableFlags::OWNED);
        assert_eq!(seen.at_rest(), Table { flags: TableFlags::OWNED, ..old }.at_rest());
    });
}

#[test]
fn an_orphaned_table_can_be_changed_until_it_is_adopted() {
    in_new_namespace(|| {
        let table = owned();
        let mut first = Writer::open().unwrap();
        attempt(&mut first, |change| {
            change.create(&table);
        })
        .unwrap();
        drop(first);
        let mut other = Writer::open().unwrap();
        flush_everything(&mut other).unwrap();
        assert_eq!(other.reader().tables().unwrap(), []);
    });
}
