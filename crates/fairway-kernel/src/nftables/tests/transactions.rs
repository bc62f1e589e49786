//! What is written is what is read; what is refused is named.

use std::collections::BTreeSet;

use fairway_core::object::RulesetSwitches;
use fairway_core::policy::ruleset;
use fairway_model::PacketMark;
use fairway_ruleset::{Datatype, ElementData, Family, Load, Policy, Rule, Set, Table, resolver, rule};
use rustix::io::Errno;

use super::{firewall, guard, published};
use crate::nftables::{Change, Error, Monitor, Notifications, Reader, Transaction, Writer};
use crate::testing::in_new_namespace;

fn created(table: &Table) -> Writer {
    let mut writer = Writer::open().unwrap();
    let mut transaction = Transaction::new();
    transaction.create(table);
    writer.commit(transaction).unwrap();
    writer
}

fn read(writer: &Writer, table: &Table) -> Table {
    writer.reader().table(table.family, &table.name).unwrap().unwrap().at_rest()
}

/// What is expected back: sets that count give each element a counter.
fn expected(mut table: Table) -> Table {
    for set in table.sets.iter_mut().filter(|set| set.counters) {
        for element in &mut set.elements {
            element.count = Some(Default::default());
        }
    }
    table.at_rest()
}

#[test]
fn tables_are_read_as_they_were_written() {
    in_new_namespace(|| {
        for table in [firewall(), guard(), resolver::resolver_table(40053, 40054)] {
            let writer = created(&table);
            pretty_eq(&read(&writer, &table), &expected(table));
        }
    });
}

#[test]
fn the_firewall_is_read_as_it_was_written_whatever_the_switches() {
    let switches = |bits: u16| RulesetSwitches {
        userland_proxy: bits & 1 != 0,
        bridge_netfilter_ipv4: bits & 2 != 0,
        bridge_netfilter_ipv6: bits & 4 != 0,
        drop_unrelated_forward_ipv4: bits & 8 != 0,
        drop_unrelated_forward_ipv6: bits & 16 != 0,
        relay_user: (bits & 32 != 0).then_some(4711),
        // Each family is spared with half of the other switches, for the time that all would take.
        ipv4_disabled: bits & 64 != 0 && bits & 128 == 0,
        ipv6_disabled: bits & 64 != 0 && bits & 128 != 0,
        bridge_table_only: false,
        allow_direct_routing: bits & 256 != 0,
        accept_mark: (bits & 512 != 0).then_some(PacketMark { value: 2, mask: 3 }),
    };
    in_new_namespace(|| {
        let mut writer = Writer::open().unwrap();
        let empty = |table: &Table| Table::new(table.family, table.name.clone());
        let mut before: Vec<_> = ruleset(&switches(0)).iter().map(empty).collect();
        for bits in (0..64).chain((64..1024).step_by(13)) {
            let tables = ruleset(&switches(bits));
            let mut transaction = Transaction::new();
            for (old, new) in before.iter().zip(&tables) {
                transaction.replace(old, new);
            }
            writer.commit(transaction).unwrap();
            before = tables.iter().map(|table| read(&writer, table)).collect();
            for (found, wanted) in before.iter().zip(tables) {
                pretty_eq(found, &wanted.at_rest());
            }
        }
    });
}

fn pretty_eq(one: &Table, other: &Table) {
    assert_eq!(one.to_string(), other.to_string());
    assert_eq!(one, other);
}

#[test]
fn tables_are_listed_and_a_missing_one_is_none() {
    in_new_namespace(|| {
        let writer = created(&guard());
        let tables = writer.reader().tables().unwrap();
        let names: Vec<_> = tables.iter().map(|table| (table.family, table.name.as_str())).collect();
        assert_eq!(names, [(Family::Bridge, "fairway")]);
        assert_eq!(writer.reader().table(Family::Inet, "fairway").unwrap(), None);
    });
}

#[test]
fn replacing_the_rules_keeps_elements_and_their_declaration_decides() {
    in_new_namespace(|| {
        let table = firewall();
        let mut writer = created(&table);
        let old = read(&writer, &table);

        let mut new = firewall();
        for set in &mut new.sets {
            set.elements.clear();
        }
        new.chains[1].rules.remove(4);
        new.chains[1].base.as_mut().unwrap().policy = Policy::Drop;
        new.chains[2].base.as_mut().unwrap().priority += 1;
        new.chains.push(fairway_ruleset::Chain::regular("more").with([rule().drop()]));
        new.sets.retain(|set| set.name != "pairs");
        new.sets[1] = Set::new("ports6", [Datatype::InetService]);
        new.chains[0].rules.remove(2);

        let mut transaction = Transaction::new();
        transaction.replace(&old, &new);
        writer.commit(transaction).unwrap();

        for set in &mut new.sets {
            if set.name != "ports6" {
                set.elements = table.set(&set.name).unwrap().elements.clone();
            }
        }
        pretty_eq(&read(&writer, &table), &expected(new));
    });
}

#[test]
fn absent_and_conflicting_elements_are_refused() {
    in_new_namespace(|| {
        let table = firewall();
        let ports = table.set("ports").unwrap();
        let mut writer = created(&table);
        let keys = |writer: &Writer| -> Vec<u16> {
            let found = writer.reader().elements(table.family, &table.name, ports).unwrap();
            found.iter().map(|element| u16::from_be_bytes([element.key[4], element.key[5]])).collect()
        };
        let mut commit = |fill: &dyn Fn(&mut Transaction)| {
            let mut transaction = Transaction::new();
            fill(&mut transaction);
            let result = writer.commit(transaction);
            (result, keys(&writer))
        };

        let (done, now) = commit(&|change| {
            change.add_elements(&table, ports, &[published(81), published(80)]);
        });
        assert_eq!((done, now), (Ok(()), vec![80, 81, 8080]));

        // The same again is no conflict; the same key with another value is.
        let (done, _) = commit(&|change| {
            change.add_elements(&table, ports, &[published(80)]);
        });
        assert_eq!(done, Ok(()));
        let mut other = published(80);
        other.data = ElementData::Value(vec![1, 2, 3, 4, 0, 80, 0, 0]);
        let (refused, now) = commit(&|change| {
            change.add_elements(&table, ports, &[published(82), other.clone()]);
        });
        let error = refused.unwrap_err();
        assert!(error.is_present(), "{error}");
        assert!(error.to_string().contains("element tcp . 80 of set ports"), "{error}");
        assert_eq!(now, [80, 81, 8080], "a refused transaction had an effect");

        let (refused, now) = commit(&|change| {
            change.delete_elements(&table, ports, &[published(81), published(9)]);
        });
        let error = refused.unwrap_err();
        assert!(error.is_absent(), "{error}");
        assert!(error.to_string().contains("element tcp . 9 of set ports"), "{error}");
        assert_eq!(now, [80, 81, 8080]);

        let (done, now) = commit(&|change| {
            change.destroy_elements(&table, ports, &[published(81), published(9)]);
            change.destroy_table(Family::Ip, "nowhere");
        });
        assert_eq!((done, now), (Ok(()), vec![80, 8080]));

        // A value is changed by removing and adding in one transaction.
        let (done, now) = commit(&|change| {
            change.delete_elements(&table, ports, &[published(80)]).add_elements(&table, ports, [&other]);
        });
        assert_eq!((done, now), (Ok(()), vec![80, 8080]));
    });
}

#[test]
fn destroying_absent_objects_works_on_old_kernels() {
    in_new_namespace(|| {
        let table = firewall();
        let ports = table.set("ports").unwrap();
        let mut writer = created(&table);
        writer.pretend_old_kernel();
        let present: Vec<_> = (1..=250).map(published).collect();
        let asked: Vec<_> = (101..=600).map(published).collect();
        let mut transaction = Transaction::new();
        transaction.add_elements(&table, ports, &present);
        writer.commit(transaction).unwrap();

        let mut transaction = Transaction::new();
        transaction
            .destroy_table(Family::Ip, "nowhere")
            .destroy_elements(&table, ports, &asked)
            .destroy_elements(&table, ports, [&published(700)])
            .delete_elements(&table, ports, [&published(701)]);
        let error = writer.commit(transaction).unwrap_err();
        assert!(error.to_string().contains("element tcp . 701 of set ports"), "{error}");

        let mut transaction = Transaction::new();
        transaction.destroy_table(Family::Ip, "nowhere").destroy_elements(&table, ports, &asked);
        writer.commit(transaction).unwrap();
        let left = writer.reader().elements(table.family, &table.name, ports).unwrap();
        assert_eq!(left.len(), 101, "100 of the 250, and the one of the table");

        let mut transaction = Transaction::new();
        transaction.destroy_table(table.family, &table.name);
        writer.commit(transaction).unwrap();
        assert_eq!(writer.reader().tables().unwrap(), []);
    });
}

#[test]
fn ten_thousand_elements_are_read_as_they_were_written() {
    in_new_namespace(|| {
        let table = firewall();
        let ports = table.set("ports").unwrap();
        let mut writer = created(&table);
        let many: Vec<_> = (10_000..20_000).map(published).collect();
        // Each part stays below what a socket without rights can send.
        for part in many.chunks(1000) {
            let mut transaction = Transaction::new();
            transaction.add_elements(&table, ports, part);
            assert!(transaction.size() < 400_000, "{} bytes", transaction.size());
            writer.commit(transaction).unwrap();
        }
        let mut found = writer.reader().elements(table.family, &table.name, ports).unwrap();
        assert_eq!(found.remove(0).key, published(8080).key);
        for element in &mut found {
            assert_eq!(element.count.take(), Some(Default::default()));
        }
        assert_eq!(found, many);
    });
}

#[test]
fn a_transaction_that_is_too_large_is_refused_before_anything_is_done() {
    in_new_namespace(|| {
        let table = firewall();
        let mut writer = created(&table);
        let limit = writer.limit();
        let ports = table.set("ports").unwrap();
        let elements: Vec<_> = (1..60_000).map(published).collect();
        let mut transaction = Transaction::new();
        while transaction.size() <= limit {
            transaction.add_elements(&table, ports, &elements);
        }
        let bytes = transaction.size();
        assert_eq!(writer.commit(transaction), Err(Error::TooLarge { bytes, limit }));
    });
}

#[test]
fn the_rule_that_is_refused_is_named() {
    in_new_namespace(|| {
        let mut table = firewall();
        table.chains[1].rules.insert(2, rule().is_in(&[Load::INPUT_NAME], "missing").accept().into());
        let mut writer = Writer::open().unwrap();
        let mut transaction = Transaction::new();
        transaction.create(&table);
        let error = writer.commit(transaction).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::NOENT));
        assert!(error.to_string().contains("rule 3 of chain forward"), "{error}");
        assert_eq!(writer.reader().tables().unwrap(), [], "a refused transaction had an effect");
    });
}

#[test]
fn one_rule_is_put_before_others_and_removed_by_its_handle() {
    in_new_namespace(|| {
        let table = firewall();
        let mut writer = created(&table);
        let mark = rule().jump("allow").comment("fairway").into();
        let mut transaction = Transaction::new();
        transaction.insert_rule(&table, "forward", &mark);
        writer.commit(transaction).unwrap();
        let rules = writer.reader().rules(table.family, &table.name, "forward").unwrap();
        let handle = rules[0].handle;
        assert_eq!(rules[0], Rule { handle, ..mark });
        let mut transaction = Transaction::new();
        transaction.delete_rule(&table, "forward", handle.unwrap());
        writer.commit(transaction).unwrap();
        pretty_eq(&read(&writer, &table), &expected(table));
    });
}

#[test]
fn changes_of_other_programs_are_reported_and_own_changes_are_not() {
    in_new_namespace(|| {
        let mut ours = Writer::open().unwrap();
        let monitor = Monitor::open(Some(ours.port())).unwrap();
        let before = ours.reader().generation().unwrap();
        let mut transaction = Transaction::new();
        transaction.create(&firewall());
        ours.commit(transaction).unwrap();
        assert_ne!(ours.reader().generation().unwrap(), before);
        assert_eq!(monitor.drain().unwrap(), Notifications::Changes(BTreeSet::new()));

        let mut others = Writer::open().unwrap();
        let mut transaction = Transaction::new();
        transaction.flush_set(&firewall(), "bridges").create(&guard());
        others.commit(transaction).unwrap();
        let Notifications::Changes(changes) = monitor.drain().unwrap() else { panic!("too much") };
        let tables: Vec<_> =
            changes.iter().map(|Change { family, table, .. }| (*family, table.as_str())).collect();
        assert_eq!(tables, [(Family::Inet, "fairway"), (Family::Bridge, "fairway")]);
        assert!(changes.iter().all(|change| change.program.is_some()), "{changes:?}");
        assert_eq!(monitor.drain().unwrap(), Notifications::Changes(BTreeSet::new()));
    });
}

#[test]
fn an_overflow_of_changes_is_reported() {
    in_new_namespace(|| {
        let monitor = Monitor::open(None).unwrap();
        let table = firewall();
        let mut writer = created(&table);
        let many: Vec<_> = (1..=60_000).map(published).collect();
        for part in many.chunks(1000) {
            let mut transaction = Transaction::new();
            transaction.add_elements(&table, table.set("ports").unwrap(), part);
            writer.commit(transaction).unwrap();
        }
        assert_eq!(monitor.drain().unwrap(), Notifications::Overflow);
        while monitor.drain().unwrap() != Notifications::Changes(BTreeSet::new()) {}
        let mut transaction = Transaction::new();
        transaction.flush_set(&table, "bridges");
        writer.commit(transaction).unwrap();
        let Notifications::Changes(changes) = monitor.drain().unwrap() else { panic!("too much again") };
        assert_eq!(changes.len(), 1);
    });
}

#[test]
fn a_reader_sees_what_a_writer_wrote() {
    in_new_namespace(|| {
        let table = guard();
        let _writer = created(&table);
        let reader = Reader::open().unwrap();
        assert_eq!(
            reader.table(table.family, &table.name).unwrap().map(Table::at_rest),
            Some(expected(table))
        );
    });
}
