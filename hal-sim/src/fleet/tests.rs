//! Fleets, small ones: what the figures say, and that they are those of the real client.

use std::sync::Arc;

use thimble_core::config::Config;
use thimble_core::deployment::{Call, Point};
use thimble_core::hal::Permit;
use thimble_core::machine::{Run, StopSet};
use thimble_core::time::{Duration, Instant};

use super::figures::{Figures, Kind, Stage};
use super::plan::{Hold, Overload, Phase, Plan, Share, Start};
use super::queue::{bytes_per_device, run};
use crate::runner::{self, DEPLOYMENT, End, Memory, Process};
use crate::sample;
use crate::server::Endpoint;
use crate::sim::{Effect, Fate, Handle, Smooth};
use crate::world::Profile;

const HOUR: Duration = Duration::from_secs(3600);

fn hours(count: u64) -> Duration {
    Duration::from_secs(count * 3600)
}

fn percent(number: u32) -> Share {
    Share::millionths(number * 10_000).unwrap()
}

fn figures(plan: &Plan<'_>) -> Figures {
    run(plan, &mut |_| {}).unwrap()
}

fn count(figures: &Figures, kind: Kind) -> u64 {
    figures.loads[kind as usize].requests
}

#[test]
fn the_same_plan_gives_the_same_figures_and_another_seed_others() {
    let plan = |seed| Plan {
        devices: 200,
        offline: percent(5),
        fail: percent(2),
        capacity: Some((5, Overload::TooMany(Some(30)))),
        start: Start::AllAtOnce,
        seed,
        ..Plan::default()
    };
    let first = figures(&plan(1));
    assert_eq!(first, figures(&plan(1)));
    assert_ne!(first, figures(&plan(2)));
    assert!(first.refused > 0 && first.lost > 0);
}

#[test]
fn every_device_is_counted_at_every_time() {
    let plan = Plan { devices: 100, offline: percent(20), fail: percent(10), ..Plan::default() };
    let figures = figures(&plan);
    assert_eq!(figures.buckets.len() as u64 * figures.width.as_secs(), plan.time.as_secs());
    for bucket in &figures.buckets {
        assert_eq!(bucket.stages.iter().sum::<u32>(), 100);
    }
    for kind in Kind::ALL {
        let sum: u64 = figures.buckets.iter().map(|bucket| bucket.requests[kind as usize]).sum();
        assert_eq!(sum, count(&figures, kind), "{}", kind.name());
    }
    assert!(figures.good.is_sorted() && figures.failed.is_sorted());
    assert_eq!(figures.stages[Stage::Good as usize] as usize, figures.good.len());
    assert_eq!(figures.stages[Stage::Failed as usize] as usize, figures.failed.len());
}

#[test]
fn a_share_of_the_updates_fails_and_is_reported_with_a_log() {
    let figures = figures(&Plan { devices: 200, fail: percent(3), ..Plan::default() });
    assert_eq!((figures.good.len(), figures.failed.len()), (194, 6));
    assert_eq!(count(&figures, Kind::Log), 6);
}

#[test]
fn a_phase_takes_no_more_devices_than_its_share() {
    let at = |share, time| Phase { share: percent(share), at: time };
    let phases = vec![at(10, HOUR), at(50, hours(4)), at(100, hours(8))];
    let figures = figures(&Plan { devices: 100, phases, ..Plan::default() });
    let by = |time| figures.good.iter().filter(|at| **at < time).count();
    assert_eq!([by(HOUR), by(hours(4)), by(hours(8)), by(hours(24))], [0, 10, 50, 100]);
}

#[test]
fn polls_are_as_often_as_they_are_configured_and_a_herd_spreads() {
    let config = Config { update_poll_interval: Duration::from_secs(600), ..Config::default() };
    let plan = Plan { devices: 500, config, phases: vec![], start: Start::AllAtOnce, ..Plan::default() };
    let figures = figures(&plan);
    // Each wait is up to a tenth longer, on average by a twentieth.
    let polls = count(&figures, Kind::Next) as f64 / 500.0;
    assert!((135.0..139.0).contains(&polls), "{polls}");
    // All asked within ten seconds at first; an hour later, jitter has spread them over half a minute and more.
    let peak = |from: usize, to: usize| figures.buckets[from..to].iter().map(|bucket| bucket.peak).max();
    assert!(peak(0, 1) > Some(100), "{:?}", peak(0, 1));
    assert!(peak(60, 120) < Some(40), "{:?}", peak(60, 120));
    assert!(peak(1200, 1440) < Some(10), "{:?}", peak(1200, 1440));
    assert_eq!(figures.offered, 0);
}

#[test]
fn a_server_that_has_too_much_to_do_is_asked_again_later() {
    let plan = |overload| Plan {
        devices: 300,
        start: Start::AllAtOnce,
        capacity: Some((10, overload)),
        ..Plan::default()
    };
    for overload in [Overload::TooMany(None), Overload::TooMany(Some(120)), Overload::Unavailable] {
        let figures = figures(&plan(overload));
        assert!(figures.refused > 100, "{overload:?}: {}", figures.refused);
        assert_eq!(figures.good.len(), 300, "{overload:?}");
    }
}

#[test]
fn devices_without_a_connection_are_not_heard_and_come_back() {
    let figures = figures(&Plan { devices: 300, offline: percent(30), size: 1_000_000, ..Plan::default() });
    assert!(figures.lost > 1000, "{}", figures.lost);
    assert_eq!(figures.offered, 300);
    assert_eq!(figures.good.len() + figures.failed.len(), 300);
}

#[test]
fn a_download_goes_on_where_the_connection_was_lost() {
    // It takes three hours, and the connection goes after two on average, for an hour.
    let config = |attempts| Config { retry_download_count: attempts, ..Config::default() };
    let plan = |attempts| Plan {
        devices: 20,
        config: config(attempts),
        offline: percent(33),
        size: 11_000_000_000,
        time: hours(240),
        ..Plan::default()
    };
    // Ten attempts, one a minute, are used up before it comes back.
    assert!(figures(&plan(10)).good.is_empty());
    let plan = plan(100);
    let figures = figures(&plan);
    assert!(count(&figures, Kind::Artifact) > 30, "{}", count(&figures, Kind::Artifact));
    // What came before is not downloaded again, but by those who gave up.
    let whole = figures.bytes / plan.size;
    assert!(whole <= 20, "{whole}");
    assert!(!figures.good.is_empty());
}

#[test]
fn what_has_come_of_a_download_in_progress_is_counted() {
    // 125,000 bytes a second for an hour, without the first seconds.
    let plan = Plan {
        devices: 1,
        start: Start::AllAtOnce,
        size: 1_000_000_000,
        link: 125_000,
        time: hours(1),
        ..Plan::default()
    };
    let bytes = figures(&plan).bytes;
    assert!((447_000_000..450_000_000).contains(&bytes), "{bytes}");
    // It grows with the time, to the whole of it.
    let at = |hours_passed| figures(&Plan { time: hours(hours_passed), ..plan.clone() }).bytes;
    assert_eq!((at(2) - bytes, at(24)), (450_000_000, plan.size));
}

#[test]
fn a_control_map_holds_all_back_until_its_time() {
    for point in Point::ALL {
        let hold = Some(Hold { point, until: hours(3) });
        let figures = figures(&Plan { devices: 50, hold, ..Plan::default() });
        assert_eq!((figures.good.len(), figures.waited), (50, 50), "{point:?}");
        assert!(figures.good.iter().all(|at| *at >= hours(3)), "{point:?}: {:?}", figures.good.first());
        assert!(figures.good.iter().all(|at| *at < hours(5)), "{point:?}: {:?}", figures.good.last());
        assert!(count(&figures, Kind::ControlMap) >= 50 * 3);
    }
}

#[test]
fn a_window_opens_by_local_time() {
    // From two to three in the morning.
    let policy = |point, minute: u32, _| {
        if point != Point::Install || (120..180).contains(&(minute % 1440)) {
            Permit::Go
        } else {
            Permit::Wait(Duration::from_secs(60))
        }
    };
    let config = Config { policies: true, ..Config::default() };
    let zones = vec![-8 * 60, 0, 60];
    let plan = Plan { devices: 30, config, policy: Some(&policy), zones, ..Plan::default() };
    let figures = figures(&plan);
    assert_eq!((figures.good.len(), figures.waited), (30, 30));
    let in_hour = |hour| figures.good.iter().filter(|at| (hours(hour)..hours(hour + 1)).contains(at)).count();
    assert_eq!([in_hour(1), in_hour(2), in_hour(10)], [10; 3]);
}

#[test]
fn a_device_takes_little_memory() {
    assert!(bytes_per_device() <= 2500, "{}", bytes_per_device());
}

/// Fails `ArtifactInstall`.
struct Fails;

impl crate::sim::Plan for Fails {
    fn fate(&mut self, effect: &Effect) -> Fate {
        if matches!(effect, Effect::Module(Call::ArtifactInstall)) { Fate::Fails } else { Fate::Works }
    }
}

/// What the real client asks the model of the server for, on the simulated device, in so much time.
fn real(time: Duration, has_update: bool, fails: bool, hold: Option<Hold>) -> Vec<(Kind, u64)> {
    let artifact: Arc<[u8]> = sample::fitting(true);
    let mut durable = runner::durable(Profile::SLOTS, &artifact);
    let word = |holds: bool, point: Point| {
        let action = if holds { "pause" } else { "continue" };
        format!(
            r#"{{"id":"{DEPLOYMENT}","priority":0,"states":{{"{}":{{"action":"{action}"}}}}}}"#,
            point.name()
        )
    };
    if !has_update {
        durable.server.deployments.clear();
    }
    if let (Some(hold), Some(deployment)) = (hold, durable.server.deployments.get_mut(DEPLOYMENT)) {
        deployment.control_map = Some(word(true, hold.point));
    }
    durable.server.v2 = true;
    let bench = Handle::new(durable, artifact, if fails { Box::new(Fails) } else { Box::new(Smooth) });
    bench.0.borrow_mut().scripts = Some(Vec::new());
    let mut memories = [Memory::default(), Memory::default(), Memory::default()];
    let end = Instant::ZERO + time;
    'boots: for memory in &mut memories {
        let mut process = Process::start(&bench, Run::Daemon, StopSet::default(), memory).unwrap();
        while bench.0.borrow().time() < end {
            match process.poll() {
                Some(End::Down(_)) => {
                    runner::boot(&bench);
                    continue 'boots;
                }
                Some(end) => panic!("{end:?}"),
                None => assert!(process.pass_time()),
            }
            if let Some(hold) = hold
                && bench.0.borrow().time() >= Instant::ZERO + hold.until
                && let Some(deployment) = bench.0.borrow_mut().durable.server.deployments.get_mut(DEPLOYMENT)
            {
                deployment.control_map = Some(word(false, hold.point));
            }
        }
        break;
    }
    let bench = bench.0.borrow();
    let server = &bench.durable.server;
    assert_eq!(server.violations(), &[] as &[String]);
    let of = |endpoint| u64::from(server.count(endpoint));
    vec![
        (Kind::Token, of(Endpoint::Auth)),
        (Kind::Next, of(Endpoint::NextV2)),
        (Kind::Status, of(Endpoint::Status)),
        (Kind::Log, of(Endpoint::Log)),
        (Kind::Inventory, of(Endpoint::Inventory)),
        (Kind::ControlMap, of(Endpoint::ControlMap)),
        (Kind::Artifact, of(Endpoint::Artifact)),
    ]
}

#[test]
fn a_device_asks_for_what_the_real_client_asks_for() {
    let time = hours(6);
    let held = |point| Some(Hold { point, until: hours(3) });
    for (has_update, fails, hold) in [
        (false, false, None),
        (true, false, None),
        (true, true, None),
        (true, false, held(Point::Install)),
        (true, false, held(Point::Reboot)),
        (true, false, held(Point::Commit)),
    ] {
        let all = vec![Phase { share: Share::ALL, at: Duration::ZERO }];
        let plan = Plan {
            devices: 1,
            time,
            phases: if has_update { all } else { vec![] },
            fail: if fails { Share::ALL } else { Share::NONE },
            hold,
            size: 10_000,
            install: Duration::ZERO,
            reboot: Some(Duration::from_millis(1)),
            start: Start::AllAtOnce,
            latency: Duration::from_millis(1),
            ..Plan::default()
        };
        let found = figures(&plan);
        for (kind, real) in real(time, has_update, fails, hold) {
            let simulated = count(&found, kind);
            // The daemon's main loop adds jitter to idle waits, which the simulated platform's does not.
            let least = if kind == Kind::Next { real - real / 10 - 1 } else { real };
            let name = kind.name();
            assert!(
                (least..=real).contains(&simulated),
                "{has_update} {fails} {hold:?} {name}: {simulated} {real}"
            );
        }
    }
}
