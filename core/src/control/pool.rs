use core::cmp::Reverse;
use core::hash::{Hash, Hasher};

use super::{Map, Points, Rule, Rules, Vote};
use crate::deployment::Point;
use crate::limits;
use crate::message::texts;
use crate::retry::SHORTEST;
use crate::sort::sort;
use crate::time::{Duration, Instant, earliest};

/// What the maps say at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// No objection; what else may hold an update back is asked next.
    Continue,
    /// Go on, whatever else may hold an update back.
    ForceContinue,
    /// Wait, and ask again at [`Pool::next_event`] and at every change of the pool.
    Pause,
    /// As if the state behind the point had failed.
    Fail,
}

/// The pair that names a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Holder {
    /// See [`Map::id`].
    pub id: u128,
    /// See [`Map::priority`].
    pub priority: i8,
}

/// The answer to [`Pool::query`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Decision {
    /// What the maps say.
    pub answer: Answer,
    /// The map whose word it is; `None` where no map has an opinion.
    pub by: Option<Holder>,
    /// The query changed the pool, which is to be saved.
    pub changed: bool,
}

/// How long a map counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lifetime {
    /// As configured, unless it is renewed: from a program, or from the server.
    Renewed,
    /// This long, and again this long after a restart: from a person, who need not stay to renew it.
    For(Duration),
    /// Until it is lifted: likewise.
    Unlimited,
}

/// What a person at the device says about some points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// Wait there, in every update, until it is lifted or its time is up. Then updates go on.
    Pause,
    /// Pass there once, whatever lower priorities and the policies say.
    Pass,
    /// Fail there once.
    Fail,
    /// No order any more.
    Lift,
}

impl Order {
    const fn rule(self) -> Rule {
        let go_on = Vote::Continue;
        let (action, on_action_executed) = match self {
            Self::Pause => (Vote::Pause, Vote::Pause),
            Self::Pass => (Vote::ForceContinue, go_on),
            Self::Fail => (Vote::Fail, go_on),
            Self::Lift => (go_on, go_on),
        };
        Rule { action, on_map_expire: go_on, on_action_executed }
    }
}

/// Why an order was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OrderError {
    /// There is no room for it.
    Full,
    /// An earlier order under this name counts for another time; all orders under one name share one duration.
    Lifetime(Lifetime),
}

texts! {
    ORDER_ERRORS = 'C': OrderError {
        21 Full with (full = Full) => "{full}",
        22 Lifetime(before) =>
            "an earlier order under this name counts {before}, and this one would count for another time: take the earlier one \
             back first, or give the same time",
    }

    LIFETIMES = 'C': Lifetime {
        23 For(time) => "for {time}",
        24 Unlimited => "until it is taken back",
        25 Renewed => "until it expires",
    }

    FULL = 'C': Full {
        26 Self with (limit = limits::MAPS) => "there are already {limit} update control maps; delete one first",
    }
}

impl core::error::Error for OrderError {}

/// The pool holds [`limits::MAPS`] maps and none of them is the one to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Full;

impl core::error::Error for Full {}

/// The maps of this device. They concern every deployment; the id only matters for refresh and clean-up.
///
/// Pure and without timers: whoever waits does so until [`Self::next_event`]. What is saved
/// ([`Self::write`]) must be saved after every insert, removal, purge and query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Sorted: maps first, by descending priority, then by id. So equal pools are equal values, however they
    /// came to be.
    entries: [Option<Entry>; limits::MAPS],
}

impl Default for Pool {
    fn default() -> Self {
        Self::new()
    }
}

impl Hash for Pool {
    /// Only the entries that are used: they stand in front.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_usize(self.entries().count());
        self.entries().for_each(|entry| entry.hash(state));
    }
}

/// What is made durable of a pool: see [`Pool::record`].
#[derive(Clone, Copy, Debug)]
pub struct PoolRecord<'a> {
    pub(super) pool: &'a Pool,
    /// What the server said is in it.
    whole: bool,
}

impl<'a> PoolRecord<'a> {
    /// Whether what the server said is in it.
    #[must_use]
    pub const fn is_whole(self) -> bool {
        self.whole
    }

    pub(super) fn entries(self) -> impl Iterator<Item = &'a Entry> {
        self.pool.entries().filter(move |entry| self.whole || entry.received.is_none())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Entry {
    pub(super) map: Map,
    pub(super) expired: bool,
    /// The rules as the server last sent them, before any query advanced them. Not saved: after a restart
    /// the server's map counts as new, so that nothing it forbids is missed.
    received: Option<Rules>,
    pub(super) lifetime: Lifetime,
    /// `None`: never, or it has already.
    ends: Option<Ends>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Ends {
    halfway: Instant,
    expires: Instant,
}

impl Entry {
    /// `expiration` is that of maps that are to be renewed.
    pub(super) fn new(map: Map, lifetime: Lifetime, now: Instant, expiration: Duration) -> Self {
        let ends = match lifetime {
            Lifetime::Renewed => {
                let expiration = expiration.max(SHORTEST);
                let half = Duration::from_millis(expiration.as_millis() / 2);
                Some(Ends { halfway: now + half, expires: now + expiration })
            }
            // Nobody renews it: half of its time is nothing to wake for.
            Lifetime::For(time) => Some(Ends { halfway: now + time, expires: now + time }),
            Lifetime::Unlimited => None,
        };
        Self { map, expired: false, received: None, lifetime, ends }
    }

    /// It has expired: when does not matter any more.
    pub(super) const fn expire(&mut self) {
        self.expired = true;
        self.ends = None;
    }

    const fn holder(&self) -> Holder {
        Holder { id: self.map.id, priority: self.map.priority }
    }
}

impl Pool {
    /// No maps: every update goes on.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: [None; limits::MAPS] }
    }

    /// True when nothing is to be saved: the record is removed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries().next().is_none()
    }

    /// True when a map, active or expired, has this id: it is to be fetched anew before each point. An order of a person's
    /// that has this id does not count, since the server knows nothing of it.
    #[must_use]
    pub fn holds(&self, id: u128) -> bool {
        self.entries().any(|entry| entry.map.id == id && entry.lifetime == Lifetime::Renewed)
    }

    /// What is to be made durable. `whole`: all of it. Else without what the server said in this process: its word about
    /// a deployment goes on record together with the deployment, or a restart would take it for a program's.
    #[must_use]
    pub const fn record(&self, whole: bool) -> PoolRecord<'_> {
        PoolRecord { pool: self, whole }
    }

    /// Whether it holds a map that the server sent in this process.
    pub(crate) fn is_from_server(&self) -> bool {
        self.entries().any(|entry| entry.received.is_some())
    }

    /// Moves every time in it.
    pub(crate) fn shift(&mut self, time: impl Fn(Instant) -> Instant) {
        for ends in self.entries.iter_mut().flatten().filter_map(|entry| entry.ends.as_mut()) {
            *ends = Ends { halfway: time(ends.halfway), expires: time(ends.expires) };
        }
    }

    /// Whether the record of the two is the same: all but the times.
    #[must_use]
    pub fn is_saved_as(&self, other: &Self) -> bool {
        let saved = |entry: &Entry| (entry.map, entry.expired, entry.lifetime);
        self.entries().map(saved).eq(other.entries().map(saved))
    }

    /// A map from a program on the device. Replaces the one of the same id and priority; an empty one deletes it.
    pub fn insert_local(&mut self, map: Map, now: Instant, expiration: Duration) -> Result<(), Full> {
        if map.is_empty() {
            self.remove_pair(&map);
            return Ok(());
        }
        self.place(Entry::new(map, Lifetime::Renewed, now, expiration))
    }

    /// What a person says about `points`; what was said about the other points in the same name stays. All
    /// orders in one name end at the same time: one that counts once, [`Order::Pass`] or [`Order::Fail`], takes the time that is
    /// there when it has none of its own.
    ///
    /// # Errors
    /// [`OrderError`]; the pool is unchanged.
    pub fn order(
        &mut self,
        name: Holder,
        points: Points,
        order: Order,
        lifetime: Lifetime,
        now: Instant,
    ) -> Result<(), OrderError> {
        // An expiry counts though nobody has asked since: what is over does not come back in a new order.
        let in_force = |entry: &&Entry| !entry.expired && entry.ends.is_none_or(|ends| now < ends.expires);
        let before = self.entries().find(|entry| entry.holder() == name).filter(in_force);
        let mut rules = before.map_or(Rules::default(), |entry| entry.map.rules);
        for point in points.iter() {
            *rules.at_mut(point) = order.rule();
        }
        let map = Map { id: name.id, priority: name.priority, rules };
        if map.is_empty() {
            self.remove_pair(&map);
            return Ok(());
        }
        let others = before.filter(|entry| {
            let other =
                |point: &Point| !points.contains(*point) && *entry.map.rules.at(*point) != Rule::default();
            Point::ALL.iter().any(other)
        });
        let entry = match (before.copied(), others.copied()) {
            // What is lifted, or counts once, does not change how long the rest counts.
            (Some(entry), _) if order == Order::Lift => Entry { map, ..entry },
            (_, Some(entry))
                if lifetime == Lifetime::Unlimited && matches!(order, Order::Pass | Order::Fail) =>
            {
                Entry { map, ..entry }
            }
            (_, Some(entry)) if entry.lifetime != lifetime => {
                return Err(OrderError::Lifetime(entry.lifetime));
            }
            (Some(_) | None, _) => Entry::new(map, lifetime, now, SHORTEST),
        };
        self.place(entry).map_err(|Full| OrderError::Full)
    }

    /// The maps, in the order they are asked: name, what they say, whether they have expired, and when they will.
    pub fn maps(&self) -> impl Iterator<Item = (&Map, bool, Option<Instant>)> {
        self.entries().map(|entry| (&entry.map, entry.expired, entry.ends.map(|ends| ends.expires)))
    }

    /// A map from the server. Replaces all priorities of its id. One that is equal to the last one the server sent
    /// is renewed but keeps what queries have made of its actions. On an error the pool is unchanged.
    pub fn insert_from_server(&mut self, map: Map, now: Instant, expiration: Duration) -> Result<(), Full> {
        let advanced = self.entries().find(|entry| {
            (entry.map.id, entry.map.priority) == (map.id, map.priority) && entry.received == Some(map.rules)
        });
        let mut entry = Entry::new(advanced.map_or(map, |old| old.map), Lifetime::Renewed, now, expiration);
        entry.received = Some(map.rules);

        let mut pool = self.clone();
        pool.withdraw(map.id);
        pool.place(entry)?;
        *self = pool;
        Ok(())
    }

    /// Deletes all priorities of `id`, but not what a person said: the server has no map for the deployment.
    pub fn withdraw(&mut self, id: u128) {
        self.retain(|entry| entry.map.id != id || entry.lifetime != Lifetime::Renewed);
    }

    /// Deletes all priorities of `id`: the deployment is over.
    pub fn remove(&mut self, id: u128) {
        self.retain(|entry| entry.map.id != id);
    }

    /// Deletes what the server said about other deployments than `id`: one that ended before its record was made was
    /// never closed.
    pub fn forget_other_deployments(&mut self, id: Option<u128>) {
        self.retain(|entry| entry.received.is_none() || Some(entry.map.id) == id);
    }

    /// Deletes the expired maps, and the orders that were carried out; called when the client becomes idle.
    pub fn purge_expired(&mut self, now: Instant) {
        self.expire(now);
        self.retain(|entry| !entry.expired && (entry.lifetime == Lifetime::Renewed || !entry.map.is_empty()));
    }

    /// Asks the maps whether the update goes on at `point`, highest priority first, until a priority decides.
    ///
    /// Every map asked has its action for this point replaced by `on_action_executed`, so asking twice may give
    /// two answers.
    #[must_use]
    pub fn query(&mut self, point: Point, now: Instant) -> Decision {
        let mut changed = self.expire(now);
        let mut vote = Vote::Continue;
        let mut by = None;
        let mut group = None;
        for entry in self.entries.iter_mut().flatten() {
            if group != Some(entry.map.priority) && vote != Vote::Continue {
                break;
            }
            group = Some(entry.map.priority);
            let holder = entry.holder();
            let rule = entry.map.rules.at_mut(point);
            let word = if entry.expired { rule.on_map_expire } else { rule.action };
            if word > vote {
                (vote, by) = (word, Some(holder));
            }
            changed |= rule.action != rule.on_action_executed;
            rule.action = rule.on_action_executed;
        }
        let answer = match vote {
            Vote::Continue => Answer::Continue,
            Vote::ForceContinue => Answer::ForceContinue,
            Vote::Pause => Answer::Pause,
            Vote::Fail => Answer::Fail,
        };
        Decision { answer, by, changed }
    }

    /// When a paused update should ask again though nothing changed: the nearest half-way time or expiry of an
    /// active map. Never before `now` except for an expiry that no call has noticed yet. `None`: no active map.
    #[must_use]
    pub fn next_event(&self, now: Instant) -> Option<Instant> {
        self.entries()
            .filter(|entry| !entry.expired)
            .filter_map(|entry| entry.ends)
            .map(|ends| if now < ends.halfway { ends.halfway } else { ends.expires })
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
            if !entry.expired && entry.ends.is_some_and(|ends| now >= ends.expires) {
                entry.expire();
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
        let key = |place: &Option<Entry>| match place {
            Some(entry) => (false, Reverse(entry.map.priority), entry.map.id),
            None => (true, Reverse(0), 0),
        };
        sort(&mut self.entries, |a, b| key(a) < key(b));
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
