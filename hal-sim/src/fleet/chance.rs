//! What looks like chance and is the same in every run with the same seed.

use thimble_core::time::Duration;

/// A sequence of numbers that is known by its seed (SplitMix64: one word, any seed is good).
#[derive(Clone, Copy, Debug)]
pub(super) struct Chance(u64);

impl Chance {
    /// The sequence of one device, or of anything else that has a number.
    pub(super) fn of(seed: u64, number: u64) -> Self {
        let mut of_seed = Self(seed);
        Self(of_seed.next() ^ number.wrapping_mul(0xd134_2543_de82_ef95))
    }

    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number below `end`, or 0.
    pub(super) const fn below(&mut self, end: u64) -> u64 {
        // The high half of the product: as even as the number itself, but for one part in 2^64 / `end`.
        ((self.next() as u128 * end as u128) >> 64) as u64
    }

    /// Sixteen bits.
    pub(super) const fn bits(&mut self) -> u16 {
        (self.next() >> 48) as u16
    }

    /// A time from `from` on, below `to`.
    pub(super) const fn between(&mut self, from: Duration, to: Duration) -> Duration {
        Duration::from_millis(from.as_millis() + self.below(to.as_millis().saturating_sub(from.as_millis())))
    }

    /// `count` of the numbers below `all`, each with the same chance, as a bit each.
    pub(super) fn choose(&mut self, count: usize, all: usize) -> Vec<u64> {
        let mut bits = vec![0; all.div_ceil(64)];
        let (mut wanted, mut left) = (count.min(all) as u64, all as u64);
        for number in 0..all {
            if self.below(left) < wanted {
                bits[number / 64] |= 1 << (number % 64);
                wanted -= 1;
            }
            left -= 1;
        }
        bits
    }
}

/// Whether this number was chosen.
pub(super) fn is_chosen(bits: &[u64], number: usize) -> bool {
    bits.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_chosen_as_were_wanted_and_others_with_another_seed() {
        for (count, all) in [(0, 100), (1, 100), (37, 100), (100, 100), (7, 0), (200, 100)] {
            let bits = Chance::of(1, 0).choose(count, all);
            let chosen = (0..all + 64).filter(|number| is_chosen(&bits, *number)).count();
            assert_eq!(chosen, count.min(all), "{count} of {all}");
        }
        let of = |seed| Chance::of(seed, 0).choose(50, 1000);
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }

    #[test]
    fn numbers_are_spread_evenly() {
        let mut counts = [0_u32; 10];
        for number in 0..10_000 {
            counts[Chance::of(7, number).below(10) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
        assert_eq!(Chance::of(1, 1).below(0), 0);
        let (hour, two) = (Duration::from_secs(3600), Duration::from_secs(7200));
        let time = Chance::of(1, 2).between(hour, two);
        assert!(time >= hour && time < two);
        assert_eq!(Chance::of(1, 2).between(two, hour), two);
    }
}
