//! The cache of name servers' answers.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::wire::Reply;
use crate::slab::SlabKey;

/// The most bytes of cached answers.
const BYTES: usize = 8 << 20;

/// The most cached answers.
const ENTRIES: usize = 8_192;

/// The longest that an answer is cached, whatever its TTL, in seconds.
const LONGEST: u32 = 300;

/// The longest that a negative answer is cached, in seconds.
const LONGEST_NEGATIVE: u32 = 30;

struct Entry {
    bytes: Box<[u8]>,
    reply: Reply,
    stored: Instant,
    expires: Instant,
}

/// The origin of answers: one resolver, or none for the host's own servers, which all sandboxes share.
pub(crate) type Origin = Option<SlabKey>;

/// The answers of one origin.
#[derive(Default)]
struct Share {
    entries: HashMap<Rc<[u8]>, Entry>,
    order: VecDeque<(Instant, Rc<[u8]>)>,
    bytes: usize,
}

/// Answers by origin, question, servers and flags. The oldest of the origin that has the most are dropped first.
#[derive(Default)]
pub(crate) struct Cache {
    shares: HashMap<Origin, Share>,
    bytes: usize,
    entries: usize,
}

impl Cache {
    /// Caches an answer, if its TTL allows.
    pub fn store(&mut self, origin: Origin, key: &[u8], bytes: &[u8], reply: Reply, now: Instant) {
        let longest = if reply.code == 0 { LONGEST } else { LONGEST_NEGATIVE };
        let seconds = reply.lasts.unwrap_or(0).min(longest);
        if seconds == 0 {
            return;
        }
        let Some(bytes) = bytes.get(..reply.end) else { return };
        let share = self.shares.entry(origin).or_default();
        self.bytes -= share.drop_entry(key);
        let key: Rc<[u8]> = key.into();
        let bytes: Box<[u8]> = bytes.into();
        let size = key.len() + bytes.len();
        (share.bytes, self.bytes, self.entries) = (share.bytes + size, self.bytes + size, self.entries + 1);
        let expires = now + Duration::from_secs(seconds.into());
        share.order.push_back((now, Rc::clone(&key)));
        share.entries.insert(key, Entry { bytes, reply, stored: now, expires });
        while (self.bytes > BYTES || self.entries > ENTRIES) && self.drop_oldest() {}
    }

    /// Drops the oldest answer of the origin that has the most bytes, or the most answers when these are many.
    fn drop_oldest(&mut self) -> bool {
        let many = self.entries > ENTRIES;
        let greediest = |share: &&mut Share| if many { share.order.len() } else { share.bytes };
        let Some(share) = self.shares.values_mut().max_by_key(greediest) else { return false };
        let Some((stored, oldest)) = share.order.pop_front() else { return false };
        self.entries -= 1;
        // The answer may have been stored again since.
        if share.entries.get(&oldest).is_some_and(|entry| entry.stored == stored) {
            self.bytes -= share.drop_entry(&oldest);
        }
        true
    }

    /// Finds an answer and its age in seconds.
    pub fn find(&mut self, origin: Origin, key: &[u8], now: Instant) -> Option<(&[u8], &Reply, u32)> {
        let share = self.shares.get_mut(&origin)?;
        if share.entries.get(key)?.expires <= now {
            self.bytes -= share.drop_entry(key);
            return None;
        }
        let entry = share.entries.get(key)?;
        let age = now.saturating_duration_since(entry.stored).as_secs();
        Some((&entry.bytes, &entry.reply, u32::try_from(age).unwrap_or(u32::MAX)))
    }

    /// Drops the answers of one origin.
    pub fn forget(&mut self, origin: Origin) {
        if let Some(share) = self.shares.remove(&origin) {
            self.bytes -= share.bytes;
            self.entries -= share.order.len();
        }
    }

    /// Drops all answers.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Share {
    /// Drops an answer, if it exists, and returns its size in bytes.
    fn drop_entry(&mut self, key: &[u8]) -> usize {
        let Some((key, entry)) = self.entries.remove_entry(key) else { return 0 };
        let size = key.len() + entry.bytes.len();
        self.bytes -= size;
        size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(lasts: Option<u32>, end: usize) -> Reply {
        Reply { flags: 0, code: 0, end, additional: 0, ttls: Vec::new(), lasts }
    }

    #[test]
    fn answers_last_as_long_as_they_say_and_no_longer_than_we_allow() {
        let mut cache = Cache::default();
        let now = Instant::now();
        let later = |seconds| now + Duration::from_secs(seconds);
        cache.store(None, b"short", b"bytes", reply(Some(10), 5), now);
        cache.store(None, b"long", b"bytes", reply(Some(1_000_000), 5), now);
        cache.store(None, b"never", b"bytes", reply(None, 5), now);
        assert_eq!(
            cache.find(None, b"short", later(9)).map(|(bytes, _, age)| (bytes, age)),
            Some((&b"bytes"[..], 9))
        );
        assert!(cache.find(None, b"short", later(10)).is_none());
        assert!(cache.find(None, b"long", later(299)).is_some());
        assert!(cache.find(None, b"long", later(300)).is_none());
        assert!(cache.find(None, b"never", now).is_none());
    }

    #[test]
    fn memory_is_bounded() {
        let mut cache = Cache::default();
        let now = Instant::now();
        let large = vec![0; 60_000];
        for n in 0u32..1_000 {
            cache.store(
                None,
                &n.to_be_bytes(),
                &large,
                reply(Some(60), large.len()),
                now + Duration::from_millis(n.into()),
            );
        }
        assert!(cache.bytes <= BYTES);
        assert!(cache.find(None, &999u32.to_be_bytes(), now).is_some());
        assert!(cache.find(None, &0u32.to_be_bytes(), now).is_none());
        for n in 0u32..20_000 {
            cache.store(
                None,
                b"same",
                &n.to_be_bytes(),
                reply(Some(60), 4),
                now + Duration::from_millis(n.into()),
            );
        }
        assert!(cache.entries <= ENTRIES && cache.shares[&None].order.len() == cache.entries);
    }

    #[test]
    fn cached_answers_are_kept_apart_by_origin_and_the_greediest_loses_first() {
        let mut cache = Cache::default();
        let now = Instant::now();
        let [greedy, modest] = [1, 2].map(|slot| Some(SlabKey { slot, generation: 0 }));
        cache.store(modest, b"name", b"bytes", reply(Some(60), 5), now);
        assert!(cache.find(greedy, b"name", now).is_none() && cache.find(None, b"name", now).is_none());
        for n in 0u32..20_000 {
            cache.store(greedy, &n.to_be_bytes(), b"bytes", reply(Some(60), 5), now);
        }
        assert!(cache.find(modest, b"name", now).is_some());
        assert!(cache.entries <= ENTRIES);
        cache.forget(greedy);
        assert_eq!((cache.entries, cache.bytes), (1, 9));
    }
}
