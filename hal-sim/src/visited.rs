//! What a walk has seen: of each configuration its fingerprint, how it was reached, and where it goes if nothing goes
//! wrong. 28 bytes, with the table to find it again at most [`crate::explore::Limits::BYTES`].

use hashbrown::HashTable;

/// So many configurations can be told apart by their numbers.
pub(crate) const FULL: usize = (u32::MAX - 1) as usize;

/// No number.
const NONE: u32 = u32::MAX;

/// Configurations by the order in which they were seen.
#[derive(Debug, Default)]
pub(crate) struct Visited {
    seen: Vec<Seen>,
    table: HashTable<u32>,
}

#[derive(Debug)]
struct Seen {
    /// In four parts, so that no byte is lost to alignment.
    fingerprint: [u32; 4],
    from: u32,
    choice: u32,
    next: u32,
}

impl Seen {
    fn fingerprint(&self) -> u128 {
        self.fingerprint.iter().rev().fold(0, |whole, part| whole << 32 | u128::from(*part))
    }

    #[expect(clippy::cast_possible_truncation, reason = "64 well mixed bits place it in the table")]
    fn hash(&self) -> u64 {
        self.fingerprint() as u64
    }
}

impl Visited {
    pub(crate) fn len(&self) -> usize {
        self.seen.len()
    }

    /// The number of a configuration, and whether it was not seen before: then it was reached by this choice.
    #[expect(clippy::cast_possible_truncation, reason = "in 32 bits, there are at most FULL")]
    pub(crate) fn insert(&mut self, fingerprint: u128, from: u32, choice: u32) -> (u32, bool) {
        let Self { seen, table } = self;
        let parts = [0, 32, 64, 96].map(|shift| (fingerprint >> shift) as u32);
        let new = Seen { fingerprint: parts, from, choice, next: NONE };
        let is_same = |at: &u32| seen.get(*at as usize).is_some_and(|old| old.fingerprint == parts);
        if let Some(at) = table.find(new.hash(), is_same) {
            return (*at, false);
        }
        let at = seen.len() as u32;
        if seen.len() == seen.capacity() {
            // By a quarter, not the double: it is the greater part of the memory.
            seen.reserve_exact((seen.len() / 4).max(1024));
        }
        let hash = new.hash();
        seen.push(new);
        table.insert_unique(hash, at, |at| seen.get(*at as usize).map_or(0, Seen::hash));
        (at, true)
    }

    /// The fingerprint of a configuration.
    pub(crate) fn fingerprint(&self, at: u32) -> u128 {
        self.seen.get(at as usize).map_or(0, Seen::fingerprint)
    }

    /// If nothing goes wrong, `at` goes on to `next`.
    pub(crate) fn goes_on(&mut self, at: u32, next: u32) {
        if let Some(seen) = self.seen.get_mut(at as usize) {
            seen.next = next;
        }
    }

    /// The choices that lead to a configuration, from the first one on.
    pub(crate) fn choices_to(&self, mut at: u32) -> Vec<u32> {
        let mut choices = Vec::new();
        while at != 0
            && let Some(seen) = self.seen.get(at as usize)
        {
            choices.push(seen.choice);
            at = seen.from;
        }
        choices.reverse();
        choices
    }

    /// A configuration from which it goes on for ever though nothing goes wrong.
    pub(crate) fn endless(&self) -> Option<u32> {
        // The walk, by the number of its first configuration, that came here first.
        let mut walks = vec![NONE; self.seen.len()];
        for (walk, _) in (0..).zip(&self.seen) {
            let mut at = walk;
            while let Some(seen) = self.seen.get(at as usize)
                && let Some(before) = walks.get_mut(at as usize)
                && *before == NONE
            {
                *before = walk;
                at = seen.next;
            }
            if walks.get(at as usize) == Some(&walk) {
                return Some(at);
            }
        }
        None
    }

    /// The memory it takes.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.seen.capacity() * size_of::<Seen>() + self.table.allocation_size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explore::Limits;
    use crate::fingerprint::Fingerprints;

    #[test]
    fn a_configuration_takes_no_more_than_is_promised() {
        let mut visited = Visited::default();
        let mut fingerprints = Fingerprints::default();
        let mut most = 0;
        for number in 0..300_000_u32 {
            assert_eq!(visited.insert(fingerprints.of(&number), 0, 0), (number, true));
            if number >= 4096 {
                most = most.max(visited.bytes() / visited.len());
            }
        }
        assert!(most <= Limits::BYTES, "{most}");
        assert_eq!(visited.insert(fingerprints.of(&7), 0, 0), (7, false));
    }

    #[test]
    fn endless_is_what_goes_round() {
        let mut visited = Visited::default();
        for number in 0..6_u32 {
            visited.insert(number.into(), 0, 0);
        }
        for (from, to) in [(0, 1), (1, 2), (3, 1), (4, 5)] {
            visited.goes_on(from, to);
        }
        assert_eq!(visited.endless(), None);
        visited.goes_on(5, 4);
        assert_eq!(visited.endless(), Some(4));
        visited.goes_on(5, 5);
        assert_eq!(visited.endless(), Some(5));
    }
}
