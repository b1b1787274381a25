//! The record while it is written: the bytes themselves, always ready to be stored.

use super::{CRC, Event, FORMAT, HEAD, Record, split_first};
use crate::time::{Duration, Instant};

/// Bytes of a record at most: some 170 events. An update with two reboots and a rollback has 70, in 460 bytes.
pub const MAX_LEN: usize = 1024;

/// Longest event with its length: the longest reason.
const LONGEST: usize = super::REASON + 16;

/// The last events, in memory.
#[derive(Debug)]
pub struct Ring {
    bytes: [u8; MAX_LEN],
    /// Where the events end, and the checksum begins.
    end: usize,
    /// Where the last one begins, and the [`Event::Again`] behind it, with how often.
    last: Option<usize>,
    again: Option<(usize, u32)>,
    /// When the last one happened, in whole seconds since the first of this process.
    at: Option<Instant>,
    /// And the one before an [`Event::Again`].
    first_at: Option<Instant>,
}

impl Default for Ring {
    fn default() -> Self {
        Self::new()
    }
}

impl Ring {
    /// Nothing has happened.
    #[must_use]
    pub const fn new() -> Self {
        let mut bytes = [0; MAX_LEN];
        let [format, ..] = &mut bytes;
        *format = FORMAT;
        Self { bytes, end: HEAD, last: None, again: None, at: None, first_at: None }
    }

    /// Goes on behind what an earlier process has stored. False: that is no record of this version, and nothing is changed.
    pub fn go_on(&mut self, stored: &[u8]) -> bool {
        let place = self.bytes.get_mut(..stored.len());
        let (Some(_), Some(place)) = (Record::decode(stored), place) else { return false };
        place.copy_from_slice(stored);
        self.end = stored.len().saturating_sub(CRC);
        (self.last, self.again, self.at, self.first_at) = (None, None, None, None);
        true
    }

    /// The record's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.end.saturating_add(CRC)).unwrap_or_default()
    }

    /// Something happened.
    pub fn note(&mut self, now: Instant, event: &Event<'_>) {
        let mut buf = [0; LONGEST];
        let before = self.at.unwrap_or(now);
        let after = seconds(now.since(before));
        // Whole seconds, so that what is cut off does not add up.
        let at = before + Duration::from_secs(after.into());
        let Some(length) = encode(&mut buf, after, event) else { return };
        if self.is_last(event) {
            let (place, times) = self.again.map_or((self.end, 0), |(place, times)| (place, times));
            let times = times.saturating_add(1);
            let first = self.first_at.unwrap_or(before);
            self.end = place;
            if let Some(length) = encode(&mut buf, seconds(at.since(first)), &Event::Again(times)) {
                self.push(&buf, length);
                // Others may have made room for it.
                self.again = Some((self.end.saturating_sub(length.saturating_add(1)), times));
            }
        } else {
            self.push(&buf, length);
            self.last = Some(self.end.saturating_sub(length.saturating_add(1)));
            self.again = None;
            self.first_at = Some(at);
        }
        self.at = Some(at);
        self.seal();
    }

    /// Whether the last event was the same.
    fn is_last(&self, event: &Event<'_>) -> bool {
        let mut buf = [0; LONGEST];
        let Ok(event) = postcard::to_slice(event, &mut buf) else { return false };
        let stored = self.last.and_then(|last| split_first(self.bytes.get(last..self.end)?));
        let Some((stored, _)) = stored else { return false };
        postcard::take_from_bytes::<u32>(stored).is_ok_and(|(_, stored)| stored == event)
    }

    /// Appends an event of so many bytes; the oldest make room.
    fn push(&mut self, event: &[u8; LONGEST], length: usize) {
        let Ok(first) = u8::try_from(length) else { return };
        let needs = length.saturating_add(1);
        while self.end.saturating_add(needs).saturating_add(CRC) > MAX_LEN {
            if !self.drop_first() {
                return;
            }
        }
        let end = self.end.saturating_add(needs);
        if let (Some([place, rest @ ..]), Some(event)) =
            (self.bytes.get_mut(self.end..end), event.get(..length))
        {
            *place = first;
            rest.copy_from_slice(event);
            self.end = end;
        }
    }

    /// The oldest event makes room; false: there is none.
    fn drop_first(&mut self) -> bool {
        let events = self.bytes.get(HEAD..self.end).unwrap_or_default();
        let Some((first, _)) = split_first(events) else { return false };
        let length = first.len().saturating_add(1);
        let from = HEAD.saturating_add(length);
        self.bytes.copy_within(from..self.end, HEAD);
        self.end = self.end.saturating_sub(length);
        let moved = |place: usize| place.checked_sub(length).filter(|&place| place >= HEAD);
        self.last = self.last.and_then(moved);
        self.again = self.again.and_then(|(place, times)| Some((moved(place)?, times)));
        let [_, a, b, c, d, ..] = &mut self.bytes;
        let dropped = u32::from_le_bytes([*a, *b, *c, *d]).wrapping_add(1);
        [*a, *b, *c, *d] = dropped.to_le_bytes();
        true
    }

    fn seal(&mut self) {
        let crc = crate::crc::hash(self.bytes.get(..self.end).unwrap_or_default()).to_le_bytes();
        let end = self.end.saturating_add(CRC);
        if let Some(place) = self.bytes.get_mut(self.end..end) {
            place.copy_from_slice(&crc);
        }
    }
}

/// Writes seconds and event into the front of `buf`; their length.
fn encode(buf: &mut [u8; LONGEST], after: u32, event: &Event<'_>) -> Option<usize> {
    postcard::to_slice(&(after, event), buf).ok().map(|bytes| bytes.len())
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}
