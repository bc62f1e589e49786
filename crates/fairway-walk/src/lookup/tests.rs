use super::*;
use fairway_ruleset::{Datatype, LimitRate, Verdict};

/// The definition of a lookup: compares the key with every element.
fn find_slowly<'s>(set: &'s Set, key: &[u8]) -> Option<&'s Element> {
    let within = |element: &&Element| match &element.last {
        None => element.key == key,
        Some(last) => parts(set).into_iter().all(|part| {
            element.key[part.clone()] <= key[part.clone()] && key[part.clone()] <= last[part.clone()]
        }),
    };
    let found = set.elements.iter().filter(|it| !it.key.is_empty()).find(within);
    found.or_else(|| set.elements.iter().find(|it| it.key.is_empty()))
}

fn agrees(set: &Set, keys: impl Iterator<Item = Vec<u8>>) -> usize {
    let index = Index::of(set);
    let mut met = 0;
    for key in keys {
        let found = index.find(set, &key);
        assert_eq!(found, find_slowly(set, &key), "{key:?}");
        met += usize::from(found.is_some_and(|element| !element.key.is_empty()));
    }
    met
}

#[test]
fn exact_keys_are_found_in_any_order_of_insertion() {
    let key = |number: u16| number.wrapping_mul(40_503).to_be_bytes().to_vec();
    let mut set = Set::verdict_map("ports", [Datatype::InetService])
        .with((0..300).map(|number| Element::to_verdict(key(number), Verdict::Accept)));
    assert_eq!(agrees(&set, (0..600).map(key)), 300);
    set.elements.push(Element::to_verdict([], Verdict::Drop));
    assert_eq!(agrees(&set, (0..600).map(key)), 300);
}

#[test]
fn ranges_match_the_keys_between_their_ends() {
    // 0-2, 5-7, 10-12 and so on, and some that are one key alone.
    let bytes = |number: u16| number.to_be_bytes().to_vec();
    let ranges = (0..200).map(|number| match number % 3 {
        0 => Element::new(bytes(number * 5)),
        _ => Element::new(bytes(number * 5)).up_to(bytes(number * 5 + 2)),
    });
    let set = Set::new("ranges", [Datatype::InetService]).with_ranges().with(ranges);
    let within = agrees(&set, (0..1100).map(bytes));
    assert_eq!(within, 67 + 133 * 3);
}

#[test]
fn ranges_of_concatenations_are_compared_part_by_part() {
    let key = |one: u16, other: u16| {
        let [a, b] = one.to_be_bytes();
        let [c, d] = other.to_be_bytes();
        vec![a, b, 0, 0, c, d, 0, 0]
    };
    // The first parts are few and overlap, the second are many.
    let elements = (0..300_u16).map(|number| {
        let low = number % 4 * 10;
        Element::new(key(low, number * 3)).up_to(key(low + 25, number * 3 + 3))
    });
    let set = Set::new("both", [Datatype::InetService, Datatype::InetService]).with_ranges().with(elements);
    let index = Index::of(&set);
    assert_eq!(index.part, 4..8);
    let keys = (0..60).step_by(3).flat_map(|one| (0..910).step_by(7).map(move |other| key(one, other)));
    let keys: Vec<_> = keys.collect();
    let mut met = 0;
    for key in &keys {
        // Where elements overlap, which one is found is the kernel's choice.
        let found = index.find(&set, key);
        assert_eq!(found.is_some(), find_slowly(&set, key).is_some(), "{key:?}");
        met += usize::from(found.is_some());
    }
    assert!(met > 100 && met < keys.len(), "{met} of {}", keys.len());
}

#[test]
fn an_element_with_a_limit_is_not_matched_by_one_packet() {
    let limit = LimitRate { amount: 1, seconds: 1, burst: 0, bytes: false, inverted: true };
    let set = Set::new("storm", [Datatype::InetService]).with([Element::new([0, 1]).with_limit(limit)]);
    assert_eq!(Index::of(&set).find(&set, &[0, 1]), None);
}
