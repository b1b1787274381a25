use super::*;
use crate::control::Points;
use std::vec::Vec;

const HOUR: Duration = Duration::from_secs(3600);

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

fn rule(action: Vote) -> Rule {
    Rule::new(Some(action), None, None)
}

fn map(id: u128, priority: i8, install: Rule) -> Map {
    Map { id, priority, rules: Rules { install, ..Rules::default() } }
}

fn pool(maps: &[Map]) -> Pool {
    let mut pool = Pool::new();
    for map in maps {
        pool.place(Entry::new(*map, Lifetime::Renewed, at(0), HOUR)).unwrap();
    }
    pool
}

fn said(decision: Decision) -> (Answer, bool) {
    (decision.answer, decision.changed)
}

fn install_actions(pool: &Pool) -> Vec<(i8, Vote)> {
    pool.entries().map(|entry| (entry.map.priority, entry.map.rules.install.action)).collect()
}

mod query {
    use super::*;
    use Vote::{Continue, Fail, ForceContinue, Pause};

    /// Every map turns to `on_action_executed`, here always different from its action, when it is asked.
    #[track_caller]
    fn check(maps: &[(i8, Vote)], answer: Answer, asked: &[i8]) {
        let mut pool = pool(
            &maps
                .iter()
                .zip(1..)
                .map(|((priority, action), id)| {
                    let executed = if *action == Fail { Continue } else { Fail };
                    map(id, *priority, Rule::new(Some(*action), None, Some(executed)))
                })
                .collect::<Vec<_>>(),
        );
        let before = install_actions(&pool);
        assert_eq!(said(pool.query(Point::Install, at(1))), (answer, !asked.is_empty()));
        for (was, is) in before.iter().zip(install_actions(&pool)) {
            assert_eq!(was.1 != is.1, asked.contains(&is.0), "{was:?} {is:?}");
        }
    }

    #[test]
    fn every_row_of_the_table() {
        check(&[], Answer::Continue, &[]);
        check(&[(0, Continue)], Answer::Continue, &[0]);
        check(&[(5, Continue), (0, Pause)], Answer::Pause, &[5, 0]);
        check(&[(5, ForceContinue), (0, Fail)], Answer::ForceContinue, &[5]);
        check(&[(0, Pause), (0, ForceContinue)], Answer::Pause, &[0]);
        check(&[(0, Pause), (0, Fail)], Answer::Fail, &[0]);
        check(&[(-10, Fail), (10, Pause)], Answer::Pause, &[10]);
    }

    #[test]
    fn an_expired_pause_fails_by_default() {
        let mut pool = pool(&[map(1, 0, rule(Pause))]);
        assert_eq!(pool.query(Point::Install, at(3599)).answer, Answer::Pause);
        assert_eq!(said(pool.query(Point::Install, at(3600))), (Answer::Fail, true));
        assert_eq!(said(pool.query(Point::Install, at(3600))), (Answer::Fail, false));
    }

    #[test]
    fn an_expired_map_says_what_it_was_told_to() {
        let mut pool = pool(&[map(1, 0, Rule::new(Some(Pause), Some(Continue), None))]);
        assert_eq!(pool.query(Point::Install, at(3600)).answer, Answer::Continue);
    }

    #[test]
    fn one_update_is_approved_and_the_next_one_held() {
        let mut pool = pool(&[map(1, 0, Rule::new(Some(ForceContinue), None, Some(Pause)))]);
        assert_eq!(said(pool.query(Point::Install, at(1))), (Answer::ForceContinue, true));
        assert_eq!(said(pool.query(Point::Install, at(2))), (Answer::Pause, false));
    }

    #[test]
    fn other_points_are_neither_asked_nor_changed() {
        let mut pool = pool(&[map(1, 0, Rule::new(Some(Fail), None, Some(Continue)))]);
        let before = pool.clone();
        assert_eq!(said(pool.query(Point::Reboot, at(1))), (Answer::Continue, false));
        assert_eq!(said(pool.query(Point::Commit, at(1))), (Answer::Continue, false));
        assert_eq!(pool, before);
    }
}

#[test]
fn a_full_pool_refuses_new_pairs_and_takes_known_ones() {
    let mut pool = Pool::new();
    for id in 0..limits::MAPS as u128 {
        pool.insert_local(map(id, 0, rule(Vote::Pause)), at(0), HOUR).unwrap();
    }
    let before = pool.clone();
    assert_eq!(pool.insert_local(map(3, 1, rule(Vote::Pause)), at(0), HOUR), Err(Full));
    assert_eq!(pool.insert_from_server(map(99, 0, rule(Vote::Pause)), at(0), HOUR), Err(Full));
    assert_eq!(pool, before);
    pool.insert_local(map(3, 0, rule(Vote::Fail)), at(0), HOUR).unwrap();
    // The server's map frees the places of its own id.
    pool.insert_from_server(map(3, 7, rule(Vote::Fail)), at(0), HOUR).unwrap();
    pool.insert_local(map(4, 0, Rule::default()), at(0), HOUR).unwrap();
    assert_eq!(pool.entries().count(), limits::MAPS - 1);
}

#[test]
fn an_empty_local_map_deletes_its_pair_only() {
    let mut pool = pool(&[map(1, 0, rule(Vote::Pause)), map(1, 1, rule(Vote::Pause))]);
    pool.insert_local(map(1, 1, Rule::default()), at(0), HOUR).unwrap();
    assert_eq!(install_actions(&pool), [(0, Vote::Pause)]);
}

#[test]
fn a_server_map_replaces_all_priorities_of_its_id() {
    let mut pool =
        pool(&[map(1, 0, rule(Vote::Pause)), map(1, 5, rule(Vote::Pause)), map(2, 5, rule(Vote::Pause))]);
    pool.insert_from_server(map(1, 3, rule(Vote::Fail)), at(0), HOUR).unwrap();
    assert_eq!(install_actions(&pool), [(5, Vote::Pause), (3, Vote::Fail)]);
}

#[test]
fn an_empty_server_map_stays_so_that_it_is_refreshed() {
    let mut pool = Pool::new();
    pool.insert_from_server(map(1, 0, Rule::default()), at(0), HOUR).unwrap();
    assert!(pool.holds(1));
    assert_eq!(said(pool.query(Point::Install, at(1))), (Answer::Continue, false));
}

#[test]
fn the_same_server_map_keeps_its_advanced_action_and_a_changed_one_re_arms() {
    let once = map(1, 0, Rule::new(Some(Vote::Pause), None, Some(Vote::Continue)));
    let mut pool = Pool::new();
    pool.insert_from_server(once, at(0), HOUR).unwrap();
    assert_eq!(said(pool.query(Point::Install, at(1))), (Answer::Pause, true));
    pool.insert_from_server(once, at(1800), HOUR).unwrap();
    assert_eq!(pool.next_event(at(1800)), Some(at(3600)), "it is renewed");
    assert_eq!(said(pool.query(Point::Install, at(1801))), (Answer::Continue, false));

    // Equal to the last one received, not to what became of it: that would be a change.
    let changed = map(1, 0, Rule::new(Some(Vote::Continue), Some(Vote::Fail), None));
    pool.insert_from_server(changed, at(1802), HOUR).unwrap();
    pool.insert_from_server(once, at(1803), HOUR).unwrap();
    assert_eq!(pool.query(Point::Install, at(1804)).answer, Answer::Pause);
}

#[test]
fn the_same_local_map_re_arms() {
    let once = map(1, 0, Rule::new(Some(Vote::Pause), None, Some(Vote::Continue)));
    let mut pool = pool(&[once]);
    assert_eq!(pool.query(Point::Install, at(1)).answer, Answer::Pause);
    pool.insert_local(once, at(2), HOUR).unwrap();
    assert_eq!(pool.query(Point::Install, at(3)).answer, Answer::Pause);
}

#[test]
fn a_renewed_map_is_no_longer_expired() {
    let pause = map(1, 0, rule(Vote::Pause));
    let mut pool = Pool::new();
    pool.insert_from_server(pause, at(0), HOUR).unwrap();
    assert_eq!(pool.query(Point::Install, at(3600)).answer, Answer::Fail);
    pool.insert_from_server(pause, at(3601), HOUR).unwrap();
    assert_eq!(pool.query(Point::Install, at(3602)).answer, Answer::Pause);
}

#[test]
fn the_next_event_is_half_way_then_the_expiry_then_never() {
    let mut pool = pool(&[map(1, 0, rule(Vote::Pause))]);
    assert_eq!(pool.next_event(at(0)), Some(at(1800)));
    assert_eq!(pool.next_event(at(1799)), Some(at(1800)));
    assert_eq!(pool.next_event(at(1800)), Some(at(3600)));
    pool.insert_local(map(2, 0, rule(Vote::Pause)), at(1700), Duration::from_secs(900)).unwrap();
    assert_eq!(pool.next_event(at(1800)), Some(at(2150)));
    let _ = pool.query(Point::Install, at(3600));
    assert_eq!(pool.next_event(at(3600)), None);
}

#[test]
fn n13_an_expiration_of_zero_lasts_a_second() {
    let mut pool = Pool::new();
    pool.insert_local(map(1, 0, rule(Vote::Pause)), at(5), Duration::ZERO).unwrap();
    assert_eq!(pool.query(Point::Install, at(5)).answer, Answer::Pause);
    assert_eq!(pool.query(Point::Install, at(6)).answer, Answer::Fail);
}

#[test]
fn expired_maps_stay_until_they_are_purged() {
    let mut pool = pool(&[map(1, 0, rule(Vote::Pause))]);
    pool.insert_local(map(2, 0, rule(Vote::Pause)), at(10), HOUR).unwrap();
    let _ = pool.query(Point::Install, at(3600));
    assert!(pool.holds(1));
    pool.purge_expired(at(3609));
    assert!(!pool.holds(1) && pool.holds(2));
    // A map whose expiry nobody noticed before is purged as well.
    pool.purge_expired(at(3610));
    assert!(pool.is_empty());
}

/// The rules of CONTROL-10 to CONTROL-33 once more, written down without a thought for memory or order.
mod model {
    use super::*;

    #[derive(Clone, Debug)]
    struct Known {
        map: Map,
        expires: Instant,
        expired: bool,
        last_received: Option<Map>,
    }

    #[derive(Clone, Debug, Default)]
    struct Model(Vec<Known>);

    impl Model {
        fn tick(&mut self, now: Instant) {
            for known in &mut self.0 {
                known.expired |= known.expires <= now;
            }
        }

        fn insert(&mut self, map: Map, now: Instant, from_server: bool) -> Result<(), Full> {
            let mut rest = self.0.clone();
            let old = if from_server {
                let same = |k: &&Known| k.map.id == map.id && k.last_received == Some(map);
                let old = rest.iter().find(same).cloned();
                rest.retain(|k| k.map.id != map.id);
                old
            } else {
                rest.retain(|k| !(k.map.id == map.id && k.map.priority == map.priority));
                None
            };
            if from_server || !map.is_empty() {
                if rest.len() == limits::MAPS {
                    return Err(Full);
                }
                rest.push(Known {
                    map: old.map_or(map, |k| k.map),
                    expires: now + HOUR,
                    expired: false,
                    last_received: from_server.then_some(map),
                });
            }
            self.0 = rest;
            Ok(())
        }

        fn query(&mut self, point: Point, now: Instant) -> Answer {
            self.tick(now);
            for priority in (-10..=10).rev() {
                let mut votes = Vec::new();
                for known in self.0.iter_mut().filter(|k| k.map.priority == priority) {
                    let rule = known.map.rules.at_mut(point);
                    votes.push(if known.expired { rule.on_map_expire } else { rule.action });
                    rule.action = rule.on_action_executed;
                }
                if votes.contains(&Vote::Fail) {
                    return Answer::Fail;
                }
                if votes.contains(&Vote::Pause) {
                    return Answer::Pause;
                }
                if votes.contains(&Vote::ForceContinue) {
                    return Answer::ForceContinue;
                }
            }
            Answer::Continue
        }
    }

    /// Xorshift: the same sequence everywhere for one seed.
    struct Random(u64);

    impl Random {
        fn below(&mut self, n: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % n
        }

        fn rule(&mut self) -> Rule {
            let mut any = || Some(Vote::ALL[self.below(4) as usize]);
            let (action, executed) = (any(), any());
            let expired = any().filter(|a| *a != Vote::Pause);
            Rule::new(action, expired, executed)
        }

        fn map(&mut self) -> Map {
            let rules = Rules { install: self.rule(), reboot: self.rule(), commit: self.rule() };
            let rules = if self.below(8) == 0 { Rules::default() } else { rules };
            Map { id: self.below(5).into(), priority: self.below(4) as i8 - 2, rules }
        }
    }

    #[test]
    fn agrees_with_the_pool_whatever_happens() {
        for seed in 1..=300 {
            let mut random = Random(seed);
            let mut recent = random.map();
            let (mut pool, mut model, mut now) = (Pool::new(), Model::default(), at(0));
            for step in 0..120 {
                let context = std::format!("seed {seed} step {step}");
                now = now + Duration::from_secs(random.below(1500));
                if random.below(2) == 0 {
                    recent = random.map();
                }
                match random.below(8) {
                    0 | 1 => assert_eq!(
                        pool.insert_local(recent, now, HOUR),
                        model.insert(recent, now, false),
                        "{context}"
                    ),
                    2 | 3 => assert_eq!(
                        pool.insert_from_server(recent, now, HOUR),
                        model.insert(recent, now, true),
                        "{context}"
                    ),
                    4 => {
                        pool.purge_expired(now);
                        model.tick(now);
                        model.0.retain(|k| !k.expired);
                    }
                    5 => {
                        let id = random.below(5).into();
                        pool.remove(id);
                        model.0.retain(|k| k.map.id != id);
                    }
                    _ => {
                        let point = Point::ALL[random.below(3) as usize];
                        assert_eq!(pool.query(point, now).answer, model.query(point, now), "{context}");
                    }
                }
                model.0.sort_by_key(|k| (Reverse(k.map.priority), k.map.id));
                let ours: Vec<_> = pool.entries().map(|e| e.map).collect();
                let theirs: Vec<_> = model.0.iter().map(|k| k.map).collect();
                assert_eq!(ours, theirs, "{context}");
            }
        }
    }

    #[test]
    fn the_order_of_insertion_changes_nothing() {
        for seed in 1..=200 {
            let mut random = Random(seed);
            let mut maps: Vec<_> = (0..6_u128).map(|id| Map { id, ..random.map() }).collect();
            let mut one = pool(&maps);
            maps.rotate_left(random.below(6) as usize);
            maps.swap(0, 3);
            let mut other = pool(&maps);
            for point in Point::ALL {
                assert_eq!(one.query(point, at(1)), other.query(point, at(1)), "seed {seed}");
            }
            assert_eq!(one, other, "seed {seed}");
        }
    }

    #[test]
    fn priorities_below_the_deciding_one_are_unchanged() {
        for seed in 1..=500 {
            let mut random = Random(seed);
            let maps: Vec<_> = (0..6_u128).map(|id| Map { id, ..random.map() }).collect();
            let before = pool(&maps);
            let mut after = before.clone();
            let changed = after.query(Point::Install, at(1)).changed;
            let decides = |e: &&Entry| e.map.rules.install.action != Vote::Continue;
            let Some(deciding) = before.entries().find(decides).map(|e| e.map.priority) else { continue };
            let below = |pool: &Pool| -> Vec<Map> {
                pool.entries().map(|e| e.map).filter(|m| m.priority < deciding).collect()
            };
            assert_eq!(below(&before), below(&after), "seed {seed}");
            assert_eq!(changed, before != after, "seed {seed}");
        }
    }
}

mod orders {
    use super::*;

    const NAME: Holder = Holder { id: 7, priority: 10 };

    fn ordered(points: &[Point], order: Order, lifetime: Lifetime) -> Pool {
        let mut pool = Pool::new();
        pool.order(NAME, Points::of(points), order, lifetime, at(0)).unwrap();
        pool
    }

    #[test]
    fn a_pause_holds_until_it_is_lifted() {
        let mut pool = ordered(&Point::ALL, Order::Pause, Lifetime::Unlimited);
        for point in Point::ALL {
            let reply = pool.query(point, at(1_000_000));
            assert_eq!((reply.answer, reply.by), (Answer::Pause, Some(NAME)));
        }
        assert_eq!(pool.next_event(at(1)), None);
        pool.purge_expired(at(1_000_000));
        pool.order(NAME, Points::of(&[Point::Install]), Order::Lift, Lifetime::Unlimited, at(2)).unwrap();
        assert_eq!(pool.query(Point::Install, at(3)).answer, Answer::Continue);
        assert_eq!(pool.query(Point::Commit, at(3)).answer, Answer::Pause);
        pool.order(NAME, Points::of(&Point::ALL), Order::Lift, Lifetime::Unlimited, at(4)).unwrap();
        assert!(pool.is_empty());
    }

    #[test]
    fn a_pause_for_a_time_goes_on_when_it_is_up() {
        let mut pool = ordered(&[Point::Reboot], Order::Pause, Lifetime::For(HOUR));
        assert_eq!(pool.query(Point::Reboot, at(3599)).answer, Answer::Pause);
        // Lifting something else does not make it longer.
        pool.order(NAME, Points::of(&[Point::Install]), Order::Lift, Lifetime::For(HOUR), at(1800)).unwrap();
        assert_eq!(pool.next_event(at(1800)), Some(at(3600)));
        // Nor does saying something for another time.
        let minute = Lifetime::For(Duration::from_secs(60));
        for (order, lifetime) in [
            (Order::Pause, Lifetime::Unlimited),
            (Order::Pause, minute),
            (Order::Pass, minute),
            (Order::Fail, minute),
        ] {
            let refused = pool.order(NAME, Points::of(&[Point::Commit]), order, lifetime, at(1800));
            assert_eq!(refused, Err(OrderError::Lifetime(Lifetime::For(HOUR))), "{order:?}");
        }
        // What counts once takes the time that is there.
        for order in [Order::Pass, Order::Fail] {
            pool.order(NAME, Points::of(&[Point::Commit]), order, Lifetime::Unlimited, at(1800)).unwrap();
            assert_eq!(pool.next_event(at(1800)), Some(at(3600)), "{order:?}");
        }
        assert_eq!(pool.query(Point::Reboot, at(3600)).answer, Answer::Continue);
        // A new order in the name of an expired one is not held to what that said elsewhere.
        pool.order(NAME, Points::of(&[Point::Commit]), Order::Pause, Lifetime::Unlimited, at(3601)).unwrap();
        assert_eq!(pool.query(Point::Reboot, at(3602)).answer, Answer::Continue);
        assert_eq!(pool.query(Point::Commit, at(3602)).answer, Answer::Pause);
    }

    #[test]
    fn an_order_whose_time_is_up_does_not_come_back_with_the_next_one() {
        // Nobody has asked the maps since, so nobody has noticed that it is over.
        let mut pool = ordered(&[Point::Install], Order::Pause, Lifetime::For(HOUR));
        pool.order(NAME, Points::of(&[Point::Reboot]), Order::Pause, Lifetime::Unlimited, at(3600)).unwrap();
        assert_eq!(pool.query(Point::Install, at(3601)).answer, Answer::Continue);
        assert_eq!(pool.query(Point::Reboot, at(3601)).answer, Answer::Pause);
    }

    #[test]
    fn passing_and_failing_count_once() {
        for (order, answer) in [(Order::Pass, Answer::ForceContinue), (Order::Fail, Answer::Fail)] {
            let mut pool = ordered(&[Point::Install], order, Lifetime::Unlimited);
            assert_eq!(pool.query(Point::Install, at(1)).answer, answer);
            assert_eq!(pool.query(Point::Install, at(1)).answer, Answer::Continue);
            pool.purge_expired(at(2));
            assert!(pool.is_empty(), "{order:?} was carried out");
        }
    }

    #[test]
    fn orders_outlive_a_restart_as_they_were_given() {
        for lifetime in [Lifetime::Unlimited, Lifetime::For(HOUR), Lifetime::Renewed] {
            let mut pool = ordered(&[Point::Commit], Order::Pause, lifetime);
            let mut buf = [0; limits::MAPS_RECORD];
            let saved = pool.record(true).write(&mut buf).unwrap().unwrap();
            let boot = Duration::from_secs(600);
            let loaded = Pool::load(saved.as_bytes(), at(50), boot).unwrap();
            let end = match lifetime {
                Lifetime::Unlimited => None,
                Lifetime::For(time) => Some(at(50) + time),
                Lifetime::Renewed => Some(at(50) + boot),
            };
            assert_eq!(loaded.maps().map(|(_, _, ends)| ends).collect::<Vec<_>>(), [end]);
            pool.order(NAME, Points::of(&Point::ALL), Order::Lift, lifetime, at(1)).unwrap();
            assert!(pool.is_empty());
        }
    }

    #[test]
    fn an_order_in_the_name_of_a_deployment_is_not_the_servers() {
        let mut pool = ordered(&[Point::Reboot], Order::Pause, Lifetime::Unlimited);
        assert!(!pool.holds(NAME.id), "nothing to ask the server for");
        pool.insert_from_server(map(NAME.id, 0, rule(Vote::Fail)), at(1), HOUR).unwrap();
        assert!(pool.holds(NAME.id));
        assert_eq!(pool.query(Point::Reboot, at(2)).answer, Answer::Pause, "the order is still there");
        pool.withdraw(NAME.id);
        assert_eq!(pool.query(Point::Install, at(3)).answer, Answer::Continue, "the server's is gone");
        assert_eq!(pool.query(Point::Reboot, at(3)).answer, Answer::Pause);
        pool.remove(NAME.id);
        assert!(pool.is_empty(), "the deployment is over");
    }

    #[test]
    fn a_full_pool_refuses_an_order_and_stays() {
        let mut pool = Pool::new();
        for id in 0..limits::MAPS as u128 {
            pool.insert_local(map(100 + id, 0, rule(Vote::Pause)), at(0), HOUR).unwrap();
        }
        let before = pool.clone();
        assert_eq!(
            pool.order(NAME, Points::of(&[Point::Install]), Order::Pause, Lifetime::Unlimited, at(0)),
            Err(OrderError::Full)
        );
        assert_eq!(pool, before);
    }
}
