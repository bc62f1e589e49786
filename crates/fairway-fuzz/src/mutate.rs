//! Changes of inputs.

use fairway_model::Rng;

/// The longest input in bytes.
const LONGEST: usize = 1 << 16;
/// Bytes that parsers treat in a special way.
const SPECIAL: &[u8] = b"\0\x01\x7f\x80\xff{}[]\":,/.-=%\n 09";

/// One of the inputs, changed in some places, or joined with another one.
pub fn mutate(inputs: &[&[u8]], rng: &mut Rng) -> Vec<u8> {
    let choose = |rng: &mut Rng| {
        inputs.get(rng.below(inputs.len().max(1) as u64) as usize).copied().unwrap_or_default()
    };
    let mut bytes = choose(rng).to_vec();
    for _ in 0..=rng.below(6) {
        let place = rng.below(bytes.len() as u64 + 1) as usize;
        let end = (place + rng.below(9) as usize).min(bytes.len());
        match rng.below(8) {
            0 => bytes.truncate(place),
            1 => drop(bytes.drain(place..end)),
            2 => {
                let again = bytes[place..end].to_vec();
                bytes.splice(place..place, again);
            }
            3 => {
                let other = choose(rng);
                let from = rng.below(other.len() as u64 + 1) as usize;
                bytes.truncate(place);
                bytes.extend_from_slice(&other[from..]);
            }
            4 => {
                let special = SPECIAL[rng.below(SPECIAL.len() as u64) as usize];
                bytes.insert(place, special);
            }
            5 if place < bytes.len() => bytes[place] ^= 1 << rng.below(8),
            6 if place < bytes.len() => bytes[place] = SPECIAL[rng.below(SPECIAL.len() as u64) as usize],
            _ if place < bytes.len() => bytes[place] = rng.next() as u8,
            _ => bytes.push(rng.next() as u8),
        }
    }
    bytes.truncate(LONGEST);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_change_and_are_the_same_for_the_same_seed() {
        let inputs: [&[u8]; 2] = [b"{\"a\":1}", b""];
        let of = |seed| {
            (0..50).map(|_| 0).fold((Rng::new(seed), Vec::new()), |(mut rng, mut all), _: u8| {
                all.push(mutate(&inputs, &mut rng));
                (rng, all)
            })
        };
        let (first, again, other) = (of(1).1, of(1).1, of(2).1);
        assert_eq!(first, again);
        assert_ne!(first, other);
        assert!(first.iter().filter(|bytes| !inputs.contains(&bytes.as_slice())).count() > 40);
    }
}
