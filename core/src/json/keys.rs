//! The keys of JSON objects, sorted in lent memory: whether one of them stands twice, and where one of them stands.
//!
//! Each key takes [`ENTRY`] bytes: its hash, and where its first quote stands. They are sorted as these bytes, in n log n
//! comparisons, and the keys themselves are compared only within a group of one hash. A group of more than [`GROUP`] never
//! comes by chance and is refused, so that nobody can choose keys that take long.

use super::counter::looked;
use super::scan::skip_string;
use super::{DEPTH, Str, Value, Walk};
use crate::limits;
use crate::message::texts;
use crate::sort::sort;

/// Bytes of lent memory for a key.
pub const ENTRY: usize = 8;

type Entry = [u8; ENTRY];

/// Parts of a text's keys that are sorted one after the other, at most: each one costs a walk through the text.
const PARTS: usize = 8;

/// Keys of one hash, at most.
const GROUP: usize = 8;

/// Why the keys of a text are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeysError {
    /// Two keys of one object are the same but for the case of ASCII letters.
    Repeated,
    /// There are more keys than this, in one object or in all.
    TooMany(usize),
    /// So many different keys have one hash that somebody has chosen them for it.
    Chosen,
}

texts! {
    ERRORS = 'J': KeysError {
        16 Repeated => "an object has a key twice",
        17 TooMany(limit) => "more than {limit} keys",
        18 Chosen => "it has keys that were chosen to be slow to tell apart",
    }
}

impl core::error::Error for KeysError {}

impl Value<'_> {
    /// Checks that no object, at any depth, has two keys that are the same but for the case of ASCII letters: two readers
    /// could see different values. An object may have `most` keys.
    ///
    /// The text is walked through once, or at most ten times when `scratch` is too short for all of its keys at once.
    ///
    /// # Errors
    /// [`KeysError`]. All objects together may have [`limits::JSON_KEYS`] keys, and at most six times as many as `scratch`
    /// has room for, at [`ENTRY`] bytes a key.
    pub fn check_keys(self, most: usize, scratch: &mut [u8]) -> Result<(), KeysError> {
        let (entries, _) = scratch.as_chunks_mut::<ENTRY>();
        // A part is filled to three quarters, so that parts of different lengths have room.
        let in_part = (entries.len() / 4).saturating_mul(3).max(1);
        let limit = limits::JSON_KEYS.min(in_part.saturating_mul(PARTS));
        let mut count: usize = 0;
        for key in Keys::of(self.0) {
            if key.number > most {
                return Err(KeysError::TooMany(most));
            }
            if let Some(entry) = entries.get_mut(count) {
                *entry = key.entry(self.0);
            }
            count = count.saturating_add(1);
            if count > limit {
                return Err(KeysError::TooMany(limit));
            }
        }
        if let Some(all) = entries.get_mut(..count) {
            return check_sorted(self.0, all);
        }
        let parts = count.div_ceil(in_part).next_power_of_two();
        for part in 0..parts {
            let mut held: usize = 0;
            for key in Keys::of(self.0) {
                let entry = key.entry(self.0);
                if (hash_of(entry) as usize).checked_rem(parts) == Some(part) {
                    // More than a part has room for: the keys were chosen to have such hashes.
                    *entries.get_mut(held).ok_or(KeysError::TooMany(limit))? = entry;
                    held = held.saturating_add(1);
                }
            }
            check_sorted(self.0, entries.get_mut(..held).unwrap_or_default())?;
        }
        Ok(())
    }
}

fn check_sorted(text: &str, entries: &mut [Entry]) -> Result<(), KeysError> {
    sort(entries, Entry::lt);
    // Equal keys of different objects never have the same hash; see `hash`.
    let same =
        |&a: &Entry, &b: &Entry| key_at(text, place_of(a)).folded().eq(key_at(text, place_of(b)).folded());
    for group in groups(entries) {
        // One more than may be: among so many a key that stands twice is still called that.
        for (number, a) in group.iter().enumerate().take(GROUP.saturating_add(1)) {
            if group.iter().take(number).any(|b| same(a, b)) {
                return Err(KeysError::Repeated);
            }
        }
    }
    check_groups(entries)
}

/// The entries of each hash, of sorted ones.
fn groups(entries: &[Entry]) -> impl Iterator<Item = &[Entry]> {
    entries.chunk_by(|&a, &b| hash_of(a) == hash_of(b))
}

fn check_groups(entries: &[Entry]) -> Result<(), KeysError> {
    if groups(entries).any(|group| group.len() > GROUP) { Err(KeysError::Chosen) } else { Ok(()) }
}

/// The members of one object by their keys, in lent memory.
pub struct Index<'t, 's> {
    text: &'t str,
    entries: &'s mut [Entry],
}

/// A bit of the first byte of an entry's place, which needs no more than 31 bits.
const MARK: u8 = 1 << 7;

impl<'t, 's> Index<'t, 's> {
    /// The members of `object`, which has each key once; none where it is no object.
    ///
    /// # Errors
    /// [`KeysError::TooMany`]: `scratch` is shorter than [`ENTRY`] bytes a key. [`KeysError::Chosen`].
    pub fn of(object: Option<Value<'t>>, scratch: &'s mut [u8]) -> Result<Self, KeysError> {
        let text = object.map_or("", |object| object.0);
        let (room, _) = scratch.as_chunks_mut::<ENTRY>();
        let limit = room.len();
        let mut walk = Walk::begin(text, b'{');
        let mut held: usize = 0;
        while let Some(key) = walk.as_mut().and_then(Walk::next) {
            let at = walk.as_ref().map_or(0, |walk| walk.at).saturating_sub(key.0.len());
            let hash = hash(0, key_at(text, at));
            *room.get_mut(held).ok_or(KeysError::TooMany(limit))? = entry(hash, at);
            held = held.saturating_add(1);
            walk.as_mut().and_then(Walk::next);
        }
        let entries = room.get_mut(..held).unwrap_or_default();
        sort(entries, Entry::lt);
        check_groups(entries)?;
        Ok(Self { text, entries })
    }

    /// The place of a member, for the other methods.
    #[must_use]
    pub fn find(&self, key: Str<'_>) -> Option<usize> {
        let hash = hash(0, key);
        let first = self.entries.partition_point(|&entry| hash_of(entry) < hash);
        let group =
            self.entries.iter().enumerate().skip(first).take_while(|(_, entry)| hash_of(**entry) == hash);
        let mut same =
            group.filter(|(_, entry)| key_at(self.text, place_of(**entry)).chars().eq(key.chars()));
        same.next().map(|(at, _)| at)
    }

    /// The value of the member at a place.
    #[must_use]
    pub fn value(&self, at: usize) -> Option<Value<'t>> {
        let at = place_of(*self.entries.get(at)?);
        let mut walk = Walk { text: self.text, at };
        walk.next()?;
        walk.next()
    }

    /// Marks the member at a place; true the first time.
    pub fn mark(&mut self, at: usize) -> bool {
        let Some([.., first, _, _, _]) = self.entries.get_mut(at) else { return false };
        let is_new = *first & MARK == 0;
        *first |= MARK;
        is_new
    }

    /// The keys that were not marked.
    pub fn unmarked(&self) -> impl Iterator<Item = Str<'t>> {
        let unmarked = self.entries.iter().filter(|[.., first, _, _, _]| first & MARK == 0);
        unmarked.map(|&entry| key_at(self.text, place_of(entry)))
    }
}

fn entry(hash: u32, place: usize) -> Entry {
    // A text is shorter than 2 GiB: it stands in a lent buffer.
    let [a, b, c, d] = hash.to_be_bytes();
    let [e, f, g, h] = u32::try_from(place).unwrap_or(u32::MAX).to_be_bytes();
    [a, b, c, d, e, f, g, h]
}

const fn hash_of([a, b, c, d, ..]: Entry) -> u32 {
    u32::from_be_bytes([a, b, c, d])
}

const fn place_of([.., a, b, c, d]: Entry) -> usize {
    u32::from_be_bytes([a & !MARK, b, c, d]) as usize
}

/// The key whose first quote stands there.
fn key_at(text: &str, at: usize) -> Str<'_> {
    let end = skip_string(text.as_bytes(), at);
    looked(end.saturating_sub(at));
    Str(text.get(at.saturating_add(1)..end.saturating_sub(1)).unwrap_or_default())
}

/// Equal for keys that fold to the same. Every step can be undone, so that one key gives different hashes for different
/// `object`s.
fn hash(object: u32, key: Str<'_>) -> u32 {
    let hash = key.folded().fold(0x811c_9dc5 ^ object.wrapping_mul(0x9e37_79b1), |hash, c| {
        (hash ^ u32::from(c)).wrapping_mul(0x0100_0193)
    });
    let hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash ^ hash >> 13
}

/// A key where it stands.
struct Key {
    /// Offset of its first quote.
    at: usize,
    /// Its object, by the order in which they begin.
    object: u32,
    /// How many keys of its object came so far, with it.
    number: usize,
}

impl Key {
    fn entry(&self, text: &str) -> Entry {
        entry(hash(self.object, key_at(text, self.at)), self.at)
    }
}

/// All keys of a valid text, at any depth, in the order of the text.
struct Keys<'a> {
    text: &'a [u8],
    at: usize,
    objects: u32,
    /// Object, and its keys so far, of each open level; object 0 for an array.
    open: [(u32, usize); DEPTH as usize],
    depth: usize,
    /// A string that comes now is a key.
    key_next: bool,
}

impl<'a> Keys<'a> {
    fn of(text: &'a str) -> Self {
        looked(text.len());
        let open = [(0, 0); DEPTH as usize];
        Self { text: text.as_bytes(), at: 0, objects: 0, open, depth: 0, key_next: false }
    }

    fn begin(&mut self, object: u32) {
        if let Some(level) = self.open.get_mut(self.depth) {
            *level = (object, 0);
        }
        self.depth = self.depth.saturating_add(1);
        self.key_next = object != 0;
    }

    fn level(&mut self) -> Option<&mut (u32, usize)> {
        self.open.get_mut(self.depth.checked_sub(1)?)
    }
}

impl Iterator for Keys<'_> {
    type Item = Key;

    fn next(&mut self) -> Option<Key> {
        loop {
            let at = self.at;
            let byte = *self.text.get(at)?;
            self.at = at.saturating_add(1);
            match byte {
                b'{' => {
                    self.objects = self.objects.saturating_add(1);
                    self.begin(self.objects);
                }
                b'[' => self.begin(0),
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                b',' => self.key_next = self.level().is_some_and(|(object, _)| *object != 0),
                b'"' => {
                    self.at = skip_string(self.text, at);
                    if core::mem::take(&mut self.key_next)
                        && let Some((object, keys)) = self.level()
                    {
                        *keys = keys.saturating_add(1);
                        return Some(Key { at, object: *object, number: *keys });
                    }
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
