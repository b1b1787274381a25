//! A second, independent implementation of the rules of control maps, without regard to memory. Tests compare with it
//! what core's pool holds and decides (CONTROL-10 to CONTROL-33).

use std::cmp::Reverse;

use thimble_core::config::Config;
use thimble_core::control::{Holder, Lifetime, Map, Order, Pool, Rule, Rules, Vote};
use thimble_core::deployment::Point;
use thimble_core::time::{Duration, Instant};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Known {
    map: Map,
    expired: bool,
    lifetime: Lifetime,
    ends: Option<Instant>,
    received: Option<Rules>,
}

/// All maps, in the order they are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reference(Vec<Known>);

impl Reference {
    fn put(&mut self, known: Known) {
        self.take(known.map.id, known.map.priority);
        self.0.push(known);
        self.0.sort_by_key(|known| (Reverse(known.map.priority), known.map.id));
    }

    fn take(&mut self, id: u128, priority: i8) {
        self.0.retain(|known| (known.map.id, known.map.priority) != (id, priority));
    }

    fn tick(&mut self, now: Instant) {
        for known in &mut self.0 {
            known.expired |= known.ends.is_some_and(|at| at <= now);
        }
    }

    /// A program sets a map.
    pub fn local(&mut self, map: Map, now: Instant) {
        if map.is_empty() {
            return self.take(map.id, map.priority);
        }
        let ends = Some(now + Config::default().update_control_map_expiration);
        self.put(Known { map, expired: false, lifetime: Lifetime::Renewed, ends, received: None });
    }

    /// The server sends a map: one that it sent before keeps what has become of it.
    pub fn server(&mut self, map: Map, now: Instant) {
        let same = |known: &&Known| {
            (known.map.id, known.map.priority) == (map.id, map.priority) && known.received == Some(map.rules)
        };
        let advanced = self.0.iter().find(same).map_or(map, |known| known.map);
        self.gone(map.id);
        let ends = Some(now + Config::default().update_control_map_expiration);
        let received = Some(map.rules);
        self.put(Known { map: advanced, expired: false, lifetime: Lifetime::Renewed, ends, received });
    }

    /// The server has no map for its deployment, or the deployment is over.
    pub fn gone(&mut self, id: u128) {
        self.0.retain(|known| known.map.id != id);
    }

    /// A person gives an order.
    pub fn order(&mut self, by: Holder, points: &[Point], order: Order, lifetime: Lifetime, now: Instant) {
        let is_his = |known: &&Known| (known.map.id, known.map.priority) == (by.id, by.priority);
        let in_force = |known: &&Known| !known.expired && known.ends.is_none_or(|at| now < at);
        let before = self.0.iter().find(is_his).filter(in_force).cloned();
        let (action, executed) = match order {
            Order::Pause => (Vote::Pause, Vote::Pause),
            Order::Pass => (Vote::ForceContinue, Vote::Continue),
            Order::Fail => (Vote::Fail, Vote::Continue),
            Order::Lift => (Vote::Continue, Vote::Continue),
        };
        let mut rules = before.as_ref().map_or(Rules::default(), |known| known.map.rules);
        for point in points {
            *rules.at_mut(*point) =
                Rule { action, on_map_expire: Vote::Continue, on_action_executed: executed };
        }
        let map = Map { id: by.id, priority: by.priority, rules };
        // All orders given under one name share one duration.
        let mut elsewhere = Point::ALL.into_iter().filter(|point| !points.contains(point));
        let said_elsewhere = elsewhere
            .any(|point| before.as_ref().is_some_and(|known| *known.map.rules.at(point) != Rule::default()));
        let another_time = before.as_ref().is_some_and(|known| known.lifetime != lifetime);
        let counts_once = matches!(order, Order::Pass | Order::Fail);
        let keeps_time =
            order == Order::Lift || (counts_once && lifetime == Lifetime::Unlimited && said_elsewhere);
        if said_elsewhere && another_time && !keeps_time && !map.is_empty() {
            return;
        }
        self.take(by.id, by.priority);
        if map.is_empty() {
            return;
        }
        let ends = |time: Duration| Some(now + time);
        let known = match (before, order, lifetime) {
            (Some(known), _, _) if keeps_time => Known { map, ..known },
            (_, _, Lifetime::For(time)) => {
                Known { map, expired: false, lifetime, ends: ends(time), received: None }
            }
            (_, _, Lifetime::Unlimited | Lifetime::Renewed) => {
                Known { map, expired: false, lifetime, ends: None, received: None }
            }
        };
        self.put(known);
    }

    /// What the maps say at a point: `Continue` is "nobody objects".
    pub fn query(&mut self, point: Point, now: Instant) -> Vote {
        self.tick(now);
        for priority in (-10..=10).rev() {
            let mut votes = Vec::new();
            for known in self.0.iter_mut().filter(|known| known.map.priority == priority) {
                let rule = known.map.rules.at_mut(point);
                votes.push(if known.expired { rule.on_map_expire } else { rule.action });
                rule.action = rule.on_action_executed;
            }
            for weighty in [Vote::Fail, Vote::Pause, Vote::ForceContinue] {
                if votes.contains(&weighty) {
                    return weighty;
                }
            }
        }
        Vote::Continue
    }

    /// What the maps would say, and whether that would change them.
    #[must_use]
    pub fn would_say(&self, point: Point, now: Instant) -> (Vote, bool) {
        let mut asked = self.clone();
        let vote = asked.query(point, now);
        (vote, asked.rules() != self.rules())
    }

    /// Expired maps and orders that were carried out go when the client becomes idle.
    pub fn purge(&mut self, now: Instant) {
        self.tick(now);
        self.0
            .retain(|known| !known.expired && (known.lifetime == Lifetime::Renewed || !known.map.is_empty()));
    }

    /// The device has started again, with what `pool` had on record.
    #[must_use]
    pub fn restarted(&self) -> Self {
        let boot = Config::default().update_control_map_boot_expiration;
        let restart = |known: &Known| {
            let ends = match known.lifetime {
                Lifetime::Renewed => Some(Instant::ZERO + boot),
                Lifetime::For(time) => Some(Instant::ZERO + time),
                Lifetime::Unlimited => None,
            };
            Known { ends, received: None, ..known.clone() }
        };
        Self(self.0.iter().map(restart).collect())
    }

    /// The same, with the expiries that the pool has noticed so far: what is on record.
    #[must_use]
    pub fn as_noticed_by(&self, pool: &Pool) -> Self {
        let mut noticed = self.clone();
        for (known, (_, expired, _)) in noticed.0.iter_mut().zip(pool.maps()) {
            known.expired = expired;
        }
        noticed
    }

    /// What goes on record while the deployment that the server speaks about does not.
    #[must_use]
    pub fn without_server(&self) -> Self {
        Self(self.0.iter().filter(|known| known.received.is_none()).cloned().collect())
    }

    /// What the record says: each map, and whether it has expired.
    #[must_use]
    pub fn plain(&self) -> Vec<(Map, bool)> {
        self.0.iter().map(|known| (known.map, known.expired)).collect()
    }

    /// Whether the record of the two is the same: it has no times.
    #[must_use]
    pub fn is_saved_as(&self, other: &Self) -> bool {
        let saved = |known: &Known| (known.map, known.expired, known.lifetime);
        self.0.iter().map(saved).eq(other.0.iter().map(saved))
    }

    fn rules(&self) -> Vec<Map> {
        self.0.iter().map(|known| known.map).collect()
    }

    /// Whether the pool is what it must be. It notices an expiry when it is next asked, never before it is due.
    #[must_use]
    pub fn is(&self, pool: &Pool, now: Instant) -> bool {
        let mut due = self.clone();
        due.tick(now);
        self.0.len() == pool.maps().count()
            && self.0.iter().zip(&due.0).zip(pool.maps()).all(|((known, due), (map, expired, ends))| {
                known.map == *map
                    && (!expired || due.expired)
                    && (known.expired || expired || known.ends == ends)
            })
    }

    /// Whether a map without an expiry holds updates up at this point for ever, even if its author never returns.
    #[must_use]
    pub fn holds_for_ever(&self, point: Point) -> bool {
        let for_ever = |known: &&Known| known.lifetime == Lifetime::Unlimited;
        self.0.iter().filter(for_ever).any(|known| known.map.rules.at(point).action == Vote::Pause)
    }

    /// Whether there is a map of this id, or of this name.
    #[must_use]
    pub fn holds(&self, id: u128) -> bool {
        self.0.iter().any(|known| known.map.id == id)
    }
}
