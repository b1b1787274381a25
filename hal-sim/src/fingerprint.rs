//! 128-bit fingerprints of values: the same in every run and on every computer, for the same build of the same source.

use std::hash::{Hash, Hasher};

use twox_hash::XxHash3_128;

/// Makes fingerprints: collects what a value hashes, then takes XXH3 of all of it at once, which is several times
/// faster than a hasher that mixes each of many small writes.
#[derive(Debug, Default)]
pub struct Fingerprints(Bytes);

impl Fingerprints {
    /// The fingerprint of `value`. Two different values have the same one with a probability of 2^-128; among a billion
    /// values, any two do with one of 2^-69.
    pub fn of(&mut self, value: &impl Hash) -> u128 {
        self.0.0.clear();
        value.hash(&mut self.0);
        XxHash3_128::oneshot(&self.0.0)
    }
}

/// Collects what is written. Numbers are written the same way on every computer; what enums write to tell their
/// variants apart, an `isize`, takes one byte.
#[derive(Debug, Default)]
struct Bytes(Vec<u8>);

impl Hasher for Bytes {
    fn finish(&self) -> u64 {
        0
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    #[inline]
    fn write_u8(&mut self, number: u8) {
        self.0.push(number);
    }

    #[inline]
    fn write_u16(&mut self, number: u16) {
        self.write(&number.to_le_bytes());
    }

    #[inline]
    fn write_u32(&mut self, number: u32) {
        self.write(&number.to_le_bytes());
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.write(&number.to_le_bytes());
    }

    #[inline]
    fn write_u128(&mut self, number: u128) {
        self.write(&number.to_le_bytes());
    }

    #[inline]
    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    #[inline]
    fn write_isize(&mut self, number: isize) {
        match u8::try_from(number) {
            Ok(small) if small < u8::MAX => self.write_u8(small),
            Ok(_) | Err(_) => {
                self.write_u8(u8::MAX);
                self.write_u64(number as u64);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Hash)]
    enum Kind {
        First,
        Second(u16, Option<u64>),
    }

    #[test]
    fn fingerprints_do_not_depend_on_the_run() {
        let mut fingerprints = Fingerprints::default();
        let values = [Kind::First, Kind::Second(1, None), Kind::Second(1, Some(0)), Kind::Second(256, None)];
        let golden = values.map(|value| fingerprints.of(&value));
        assert_eq!(golden, values.map(|value| Fingerprints::default().of(&value)));
        assert_eq!(golden[0], XxHash3_128::oneshot(&[0]));
        assert_eq!(golden[1], XxHash3_128::oneshot(&[1, 1, 0, 0]));
    }

    #[test]
    fn large_numbers_are_told_from_small_ones() {
        let mut fingerprints = Fingerprints::default();
        let numbers = [-1_isize, 0, 254, 255, 256, 255 << 8];
        let all = numbers.map(|number| fingerprints.of(&number));
        for (at, one) in all.iter().enumerate() {
            assert!(!all[..at].contains(one), "{}", numbers[at]);
        }
    }
}
