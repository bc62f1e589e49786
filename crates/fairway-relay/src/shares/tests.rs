use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{Shares, source};

const LONG: Duration = Duration::from_secs(90);

/// Ends what is in excess, and says what it was.
fn end_greediest(shares: &mut Shares<u8, u8, u32>) -> Vec<u32> {
    std::iter::from_fn(|| shares.excess().inspect(|part| shares.remove(*part))).collect()
}

#[test]
fn the_greediest_source_of_the_greediest_owner_is_given_up() {
    let now = Instant::now();
    let mut shares = Shares::new(10);
    for part in 0..4 {
        shares.insert(part, 1, 1, 1, LONG, now);
    }
    for part in 4..8 {
        shares.insert(part, 1, part as u8, 1, LONG, now);
    }
    shares.insert(8, 2, 1, 1, LONG, now);
    shares.insert(9, 2, 2, 1, LONG, now);
    assert!(end_greediest(&mut shares).is_empty());
    shares.touch(0, now + Duration::from_secs(1));
    for (part, gone) in [(10, 1), (11, 2), (12, 3)] {
        shares.insert(part, 2, 3, 1, LONG, now + LONG);
        assert_eq!(end_greediest(&mut shares), [gone]);
    }
}

#[test]
fn a_new_part_does_not_replace_an_equal_one() {
    let now = Instant::now();
    let mut shares = Shares::new(4);
    for part in [0, 1] {
        shares.insert(part, 9, 1, 1, LONG, now);
        shares.insert(part + 2, 1, 1, 1, LONG, now);
    }
    for part in 4..100 {
        shares.insert(part, 1, 2, 1, LONG, now);
        assert!(end_greediest(&mut shares).iter().all(|gone| *gone > 1));
    }
}

#[test]
fn of_sources_with_one_part_each_the_longest_idle_is_given_up() {
    let now = Instant::now();
    let mut shares = Shares::new(3);
    for part in 0..3u32 {
        shares.insert(part, 1, part as u8, 1, LONG, now + Duration::from_secs(u64::from(part)));
    }
    shares.touch(0, now + Duration::from_secs(5));
    shares.insert(3, 1, 3, 1, LONG, now + Duration::from_secs(6));
    assert_eq!(end_greediest(&mut shares), [1]);
}

#[test]
fn a_part_ends_after_its_idle_timeout() {
    let now = Instant::now();
    let second = |n| now + Duration::from_secs(n);
    let mut shares = Shares::new(10);
    shares.insert(1, 1, 1, 1, LONG, now);
    shares.insert(2, 1, 1, 1, LONG, now);
    shares.touch(1, second(60));
    assert_eq!(shares.idle(second(89)), None);
    assert_eq!(shares.idle(second(90)), Some(2));
    shares.remove(2);
    assert_eq!(shares.idle(second(90)), None);
    assert_eq!(shares.deadline(), Some(second(150)));
    shares.set_idle_timeout(1, Duration::from_secs(1));
    assert_eq!(shares.idle(second(61)), Some(1));
}

#[test]
fn an_ipv6_client_is_its_prefix_and_an_ipv4_client_itself() {
    let of = |text: &str| source(text.parse().unwrap());
    assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
    assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
    assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
}

/// Owner, source, cost and last use.
type Entry = (u8, u8, usize, Instant);

proptest! {
    /// Compares with a plain list: what goes is of the greediest owner and source, and nothing is left behind.
    #[test]
    fn the_part_that_goes_is_of_the_greediest(
        steps in prop::collection::vec((0u8..4, 0u32..24, 0u8..4, 0u8..4, 1usize..4), 1..200),
    ) {
        let start = Instant::now();
        let mut shares = Shares::new(12);
        let mut model: BTreeMap<u32, Entry> = BTreeMap::new();
        for (n, (step, part, owner, source, cost)) in steps.into_iter().enumerate() {
            let now = start + Duration::from_millis(n as u64);
            match step {
                0 | 1 => {
                    shares.insert(part, owner, source, cost, LONG, now);
                    model.insert(part, (owner, source, cost, now));
                }
                2 => {
                    shares.touch(part, now);
                    model.entry(part).and_modify(|it| it.3 = now);
                }
                _ => {
                    shares.remove(part);
                    model.remove(&part);
                }
            }
            while let Some(gone) = shares.excess() {
                prop_assert!(model.values().map(|it| it.2).sum::<usize>() > 12);
                let sum = |of: &dyn Fn(&Entry) -> bool| {
                    model.values().filter(|it| of(it)).map(|it| it.2).sum::<usize>()
                };
                let (owner, source, _, used) = model[&gone];
                let of_owner = sum(&|it| it.0 == owner);
                let of_source = sum(&|it| (it.0, it.1) == (owner, source));
                for (other, theirs, _, at) in model.values() {
                    prop_assert!(sum(&|it| it.0 == *other) <= of_owner);
                    if *other == owner {
                        prop_assert!(sum(&|it| (it.0, it.1) == (owner, *theirs)) <= of_source);
                        prop_assert!((*theirs != source) || *at >= used);
                    }
                }
                shares.remove(gone);
                model.remove(&gone);
            }
            prop_assert!(model.values().map(|it| it.2).sum::<usize>() <= 12);
        }
        for part in model.keys() {
            shares.remove(*part);
        }
        prop_assert_eq!(shares.total, 0);
        prop_assert!(shares.owners.is_empty() && shares.ranking.is_empty() && shares.queue.is_empty());
    }
}
