//! What name servers answered lately.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::wire::Reply;

/// The most bytes of answers that are remembered.
const BYTES: usize = 8 << 20;

/// The most answers that are remembered.
const ENTRIES: usize = 8_192;

/// The longest that an answer is remembered, whatever it allows, in seconds.
const LONGEST: u32 = 300;

/// The longest that the absence of an answer is remembered, in seconds.
const LONGEST_NEGATIVE: u32 = 30;

struct Entry {
    bytes: Box<[u8]>,
    reply: Reply,
    stored: Instant,
    expires: Instant,
}

/// Answers by question, servers and flags. The oldest make room.
#[derive(Default)]
pub(crate) struct Cache {
    entries: HashMap<Rc<[u8]>, Entry>,
    order: VecDeque<(Instant, Rc<[u8]>)>,
    bytes: usize,
}

impl Cache {
    /// Remembers an answer, if it may be.
    pub fn store(&mut self, key: &[u8], bytes: &[u8], reply: Reply, now: Instant) {
        let longest = if reply.code == 0 { LONGEST } else { LONGEST_NEGATIVE };
        let seconds = reply.lasts.unwrap_or(0).min(longest);
        if seconds == 0 {
            return;
        }
        self.forget(key);
        let key: Rc<[u8]> = key.into();
        let bytes: Box<[u8]> = bytes[..reply.end].into();
        self.bytes += key.len() + bytes.len();
        let expires = now + Duration::from_secs(seconds.into());
        self.order.push_back((now, Rc::clone(&key)));
        self.entries.insert(key, Entry { bytes, reply, stored: now, expires });
        while self.bytes > BYTES || self.order.len() > ENTRIES {
            let Some((stored, oldest)) = self.order.pop_front() else { break };
            // It may have been stored anew since.
            if self.entries.get(&oldest).is_some_and(|entry| entry.stored == stored) {
                self.forget(&oldest);
            }
        }
    }

    /// An answer and its age in seconds.
    pub fn find(&mut self, key: &[u8], now: Instant) -> Option<(&[u8], &Reply, u32)> {
        if self.entries.get(key)?.expires <= now {
            self.forget(key);
            return None;
        }
        let entry = self.entries.get(key)?;
        let age = now.saturating_duration_since(entry.stored).as_secs();
        Some((&entry.bytes, &entry.reply, u32::try_from(age).unwrap_or(u32::MAX)))
    }

    fn forget(&mut self, key: &[u8]) {
        if let Some((key, entry)) = self.entries.remove_entry(key) {
            self.bytes -= key.len() + entry.bytes.len();
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
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
        cache.store(b"short", b"bytes", reply(Some(10), 5), now);
        cache.store(b"long", b"bytes", reply(Some(1_000_000), 5), now);
        cache.store(b"never", b"bytes", reply(None, 5), now);
        assert_eq!(
            cache.find(b"short", later(9)).map(|(bytes, _, age)| (bytes, age)),
            Some((&b"bytes"[..], 9))
        );
        assert!(cache.find(b"short", later(10)).is_none());
        assert!(cache.find(b"long", later(299)).is_some());
        assert!(cache.find(b"long", later(300)).is_none());
        assert!(cache.find(b"never", now).is_none());
    }

    #[test]
    fn memory_is_bounded() {
        let mut cache = Cache::default();
        let now = Instant::now();
        let large = vec![0; 60_000];
        for n in 0u32..1_000 {
            cache.store(
                &n.to_be_bytes(),
                &large,
                reply(Some(60), large.len()),
                now + Duration::from_millis(n.into()),
            );
        }
        assert!(cache.bytes <= BYTES);
        assert!(cache.find(&999u32.to_be_bytes(), now).is_some());
        assert!(cache.find(&0u32.to_be_bytes(), now).is_none());
        for n in 0u32..20_000 {
            cache.store(b"same", &n.to_be_bytes(), reply(Some(60), 4), now + Duration::from_millis(n.into()));
        }
        assert!(cache.order.len() <= ENTRIES);
    }
}
