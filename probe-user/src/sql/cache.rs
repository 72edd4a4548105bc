//! Remembers texts and fingerprints, so that the frequent statement costs one look-up.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use twox_hash::{XxHash3_64, XxHash3_128};

use super::normalise::Normaliser;
use super::{Effect, MAX_CAPTURED, Parsed, Part, SqlInfo};

/// Parses SQL texts, with a memory of the latest ones. One for each thread that decodes.
///
/// Raw texts are known by their 128-bit hash, so that literals are not kept, unless
/// [`capturing`](Self::capturing). Memory is bounded by the number of entries and by the bytes of
/// text that they hold.
#[derive(Debug)]
pub struct SqlCache {
    raw: LruCache<(u128, bool, bool), Arc<Parsed>>,
    raw_bytes: usize,
    known: LruCache<u64, Arc<SqlInfo>>,
    known_bytes: usize,
    max_bytes: usize,
    captures: bool,
    normaliser: Normaliser,
}

impl Default for SqlCache {
    fn default() -> Self {
        Self::new(4096, 4 << 20)
    }
}

impl SqlCache {
    /// A cache of up to `entries` raw texts and as many fingerprints, whose normalised texts take
    /// up to `max_bytes` each.
    pub fn new(entries: usize, max_bytes: usize) -> Self {
        let entries = NonZeroUsize::new(entries).unwrap_or(NonZeroUsize::MIN);
        // Not allocated at once: most hosts have a few hundred statements.
        Self {
            raw: LruCache::unbounded(),
            raw_bytes: 0,
            known: LruCache::unbounded(),
            known_bytes: 0,
            max_bytes: max_bytes.max(entries.get()),
            captures: false,
            normaliser: Normaliser::default(),
        }
        .with_entries(entries)
    }

    /// Whether the statements are kept as they were sent, too.
    pub fn capturing(mut self, captures: bool) -> Self {
        self.captures = captures;
        self
    }

    fn with_entries(mut self, entries: NonZeroUsize) -> Self {
        self.raw.resize(entries);
        self.known.resize(entries);
        self
    }

    /// The statements of `raw`. `cut` tells that the text goes on but is not at hand;
    /// `backslash_escapes` that the session has `standard_conforming_strings = off`.
    pub fn parse(&mut self, raw: &[u8], cut: bool, backslash_escapes: bool) -> Arc<Parsed> {
        let key = (XxHash3_128::oneshot(raw), cut, backslash_escapes);
        if let Some(parsed) = self.raw.get(&key) {
            return Arc::clone(parsed);
        }
        let parsed = Arc::new(self.parse_now(raw, cut, backslash_escapes, true));
        self.raw_bytes += bytes_of(&parsed);
        if let Some((_, evicted)) = self.raw.push(key, Arc::clone(&parsed)) {
            self.raw_bytes = self.raw_bytes.saturating_sub(bytes_of(&evicted));
        }
        while self.raw_bytes > self.max_bytes {
            let Some((_, evicted)) = self.raw.pop_lru() else {
                break;
            };
            self.raw_bytes = self.raw_bytes.saturating_sub(bytes_of(&evicted));
        }
        parsed
    }

    fn parse_now(&mut self, raw: &[u8], cut: bool, backslash: bool, outermost: bool) -> Parsed {
        let mut normaliser = std::mem::take(&mut self.normaliser);
        let captures = self.captures;
        let mut parts = Vec::new();
        let mut prepares = Vec::new();
        normaliser.run(raw, cut, backslash, |normaliser, found| {
            if let Some(range) = found.prepared {
                prepares.push((parts.len(), range));
            }
            let fingerprint = XxHash3_64::oneshot(normaliser.text());
            let info = self.remember(fingerprint, || SqlInfo {
                text: normaliser.readable().into_boxed_str(),
                fingerprint,
                operation: found.operation,
                complete: !found.cut,
            });
            parts.push(Part {
                info,
                literals: found.literals,
                traceparent: found.traceparent,
                text: captures.then(|| captured(raw, found.range.clone(), found.cut)),
                effect: found.effect,
            });
        });
        self.normaliser = normaliser;
        for (index, range) in prepares.into_iter().filter(|_| outermost) {
            let inner = raw.get(range).unwrap_or_default();
            let inner = self.parse_now(inner, false, backslash, false);
            if let Some(Part {
                effect: Effect::Prepare(_, prepared),
                ..
            }) = parts.get_mut(index)
            {
                *prepared = Some(Arc::new(inner));
            }
        }
        Parsed {
            parts: parts.into_boxed_slice(),
            cut,
        }
    }

    fn remember(&mut self, fingerprint: u64, make: impl FnOnce() -> SqlInfo) -> Arc<SqlInfo> {
        if let Some(info) = self.known.get(&fingerprint) {
            return Arc::clone(info);
        }
        let info = Arc::new(make());
        self.known_bytes += info.text.len();
        if let Some((_, evicted)) = self.known.push(fingerprint, Arc::clone(&info)) {
            self.known_bytes = self.known_bytes.saturating_sub(evicted.text.len());
        }
        while self.known_bytes > self.max_bytes {
            let Some((_, evicted)) = self.known.pop_lru() else {
                break;
            };
            self.known_bytes = self.known_bytes.saturating_sub(evicted.text.len());
        }
        info
    }

    /// How many texts it remembers.
    pub fn len(&self) -> usize {
        self.raw.len()
    }

    /// How many bytes its entries hold, counted as if nothing were shared.
    pub fn bytes(&self) -> usize {
        self.raw_bytes + self.known_bytes
    }

    /// Whether it remembers none.
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }
}

/// What an entry holds, counted as if nothing were shared.
fn bytes_of(parsed: &Parsed) -> usize {
    let parts = parsed.parts.iter();
    parts
        .map(|part| {
            let captured = part.text.as_ref().map_or(0, |text| text.len());
            size_of::<Part>() + part.info.text.len() + captured
        })
        .sum()
}

/// A part of the text as it was sent, without the space around it; ends in `…` when it goes on.
fn captured(raw: &[u8], range: std::ops::Range<usize>, cut: bool) -> Arc<str> {
    let all = raw.get(range).unwrap_or_default().trim_ascii();
    let kept = all.get(..MAX_CAPTURED).unwrap_or(all);
    let mut text = String::from_utf8_lossy(kept).into_owned();
    if cut || kept.len() < all.len() {
        // A character that was cut in two is no character.
        text.truncate(text.trim_end_matches(char::REPLACEMENT_CHARACTER).len());
        text.push('…');
    }
    text.into()
}
