//! Random names of sandboxes.

use fairway_model::Rng;

const QUALITIES: [&str; 32] = [
    "able", "brisk", "calm", "daring", "eager", "fair", "gentle", "hardy", "idle", "jolly", "keen", "lively",
    "merry", "nimble", "open", "plucky", "quiet", "ready", "steady", "tidy", "upright", "vivid", "wary",
    "young", "zesty", "bright", "clever", "deft", "frank", "lucid", "proud", "swift",
];

const SIGHTS: [&str; 32] = [
    "anchor",
    "beacon",
    "buoy",
    "channel",
    "compass",
    "cutter",
    "delta",
    "dock",
    "estuary",
    "ferry",
    "fjord",
    "galley",
    "gull",
    "harbour",
    "hawser",
    "islet",
    "jetty",
    "keel",
    "lagoon",
    "lighthouse",
    "marina",
    "mooring",
    "pier",
    "pilot",
    "quay",
    "rudder",
    "sail",
    "shoal",
    "skiff",
    "sound",
    "tide",
    "wharf",
];

/// A random name that is not `taken`: two words, and a number if the words are taken.
pub fn random_name(rng: &mut Rng, taken: impl Fn(&str) -> bool) -> String {
    let mut pick = |words: &[&'static str; 32]| words[rng.below(32) as usize];
    let mut name = format!("{}_{}", pick(&QUALITIES), pick(&SIGHTS));
    if taken(&name) {
        let plain = name.clone();
        let mut number = 2_u64;
        while taken(&name) {
            name = format!("{plain}{number}");
            number += 1 + rng.below(number);
        }
    }
    name
}
