use core::cmp::Reverse;
use core::fmt;

use super::{Action, Map, Point, Rules};
use crate::limits;
use crate::retry::SHORTEST;
use crate::time::{Duration, Instant, earliest};

/// What the maps say at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Go on.
    Continue,
    /// Wait, and ask again at [`Pool::next_event`] and at every change of the pool.
    Pause,
    /// As if the state behind the point had failed.
    Fail,
}

/// The pool holds [`limits::MAPS`] maps and none of them is the one to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there are already {} update control maps; delete one first", limits::MAPS)
    }
}

impl core::error::Error for Full {}

/// The maps of this device. They concern every deployment; the id only matters for refresh and clean-up.
///
/// Pure and without timers: whoever waits does so until [`Self::next_event`]. What is saved
/// ([`Self::write`]) must be saved after every insert, removal, purge and query.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pool {
    /// Sorted: maps first, by descending priority, then by id. So equal pools are equal values, however they
    /// came to be.
    entries: [Option<Entry>; limits::MAPS],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Entry {
    pub(super) map: Map,
    pub(super) expired: bool,
    /// The rules as the server last sent them, before any query advanced them. Not saved: after a restart
    /// the server's map counts as new, so that nothing it forbids is missed.
    received: Option<Rules>,
    halfway: Instant,
    expires: Instant,
}

impl Entry {
    pub(super) fn new(map: Map, now: Instant, expiration: Duration) -> Self {
        let expiration = expiration.max(SHORTEST);
        let half = Duration::from_millis(expiration.as_millis() / 2);
        Self { map, expired: false, received: None, halfway: now + half, expires: now + expiration }
    }
}

impl Pool {
    /// No maps: every update goes on.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// True when nothing is to be saved: the record is removed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries().next().is_none()
    }

    /// True when a map, active or expired, has this id: it is to be fetched anew before each point.
    #[must_use]
    pub fn holds(&self, id: u128) -> bool {
        self.entries().any(|entry| entry.map.id == id)
    }

    /// A map from a program on the device. Replaces the one of the same id and priority; an empty one deletes it.
    pub fn insert_local(&mut self, map: Map, now: Instant, expiration: Duration) -> Result<(), Full> {
        if map.is_empty() {
            self.remove_pair(&map);
            return Ok(());
        }
        self.place(Entry::new(map, now, expiration))
    }

    /// A map from the server. Replaces all priorities of its id. One that is equal to the last one the server sent
    /// is renewed but keeps what queries have made of its actions. On an error the pool is unchanged.
    pub fn insert_from_server(&mut self, map: Map, now: Instant, expiration: Duration) -> Result<(), Full> {
        let advanced = self.entries().find(|entry| {
            (entry.map.id, entry.map.priority) == (map.id, map.priority) && entry.received == Some(map.rules)
        });
        let mut entry = Entry::new(advanced.map_or(map, |old| old.map), now, expiration);
        entry.received = Some(map.rules);

        let mut pool = self.clone();
        pool.remove(map.id);
        pool.place(entry)?;
        *self = pool;
        Ok(())
    }

    /// Deletes all priorities of `id`: the server has no map for the deployment, or the deployment is over.
    pub fn remove(&mut self, id: u128) {
        self.retain(|entry| entry.map.id != id);
    }

    /// Deletes the expired maps; called when the client becomes idle.
    pub fn purge_expired(&mut self, now: Instant) {
        self.expire(now);
        self.retain(|entry| !entry.expired);
    }

    /// Asks the maps whether the update goes on at `point`, highest priority first, until a priority decides.
    ///
    /// Every map asked has its action for this point replaced by `on_action_executed`, so asking twice may give
    /// two answers. True in the second place when that changed anything.
    #[must_use]
    pub fn query(&mut self, point: Point, now: Instant) -> (Answer, bool) {
        let mut changed = self.expire(now);
        let mut vote = Action::Continue;
        let mut group = None;
        for entry in self.entries.iter_mut().flatten() {
            if group != Some(entry.map.priority) && vote != Action::Continue {
                break;
            }
            group = Some(entry.map.priority);
            let rule = entry.map.rules.at_mut(point);
            vote = vote.max(if entry.expired { rule.on_map_expire } else { rule.action });
            changed |= rule.action != rule.on_action_executed;
            rule.action = rule.on_action_executed;
        }
        let answer = match vote {
            Action::Continue | Action::ForceContinue => Answer::Continue,
            Action::Pause => Answer::Pause,
            Action::Fail => Answer::Fail,
        };
        (answer, changed)
    }

    /// When a paused update should ask again though nothing changed: the nearest half-way time or expiry of an
    /// active map. Never before `now` except for an expiry that no call has noticed yet. `None`: no active map.
    #[must_use]
    pub fn next_event(&self, now: Instant) -> Option<Instant> {
        self.entries()
            .filter(|entry| !entry.expired)
            .map(|entry| if now < entry.halfway { entry.halfway } else { entry.expires })
            .fold(None, |nearest, at| earliest(nearest, Some(at)))
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().flatten()
    }

    /// Inserts in place of an entry of the same pair, or into a free place.
    pub(super) fn place(&mut self, entry: Entry) -> Result<(), Full> {
        self.remove_pair(&entry.map);
        let free = self.entries.iter_mut().find(|place| place.is_none()).ok_or(Full)?;
        *free = Some(entry);
        self.sort();
        Ok(())
    }

    /// Marks what has expired by `now`; true if that was anything.
    fn expire(&mut self, now: Instant) -> bool {
        let mut any = false;
        for entry in self.entries.iter_mut().flatten() {
            if !entry.expired && now >= entry.expires {
                entry.expired = true;
                any = true;
            }
        }
        any
    }

    fn remove_pair(&mut self, map: &Map) {
        self.retain(|entry| (entry.map.id, entry.map.priority) != (map.id, map.priority));
    }

    fn retain(&mut self, keep: impl Fn(&Entry) -> bool) {
        for place in &mut self.entries {
            if place.as_ref().is_some_and(|entry| !keep(entry)) {
                *place = None;
            }
        }
        self.sort();
    }

    fn sort(&mut self) {
        self.entries.sort_unstable_by_key(|place| match place {
            Some(entry) => (false, Reverse(entry.map.priority), entry.map.id),
            None => (true, Reverse(0), 0),
        });
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
