//! Everything that can happen to an update: up to two failures and two losses of power, at every point.

use thimble_core::machine::Stop;
use thimble_hal_sim::explore::{Limits, explore};
use thimble_hal_sim::model::{Budget, Mistake, Simulation};
use thimble_hal_sim::world::Profile;

const PROFILES: [(&str, Profile); 5] = [
    ("A/B slots", Profile::SLOTS),
    ("one place", Profile::FILES),
    ("one place, restarts something", Profile::CUSTOM),
    ("one place, no rollback", Profile::ONE_WAY),
    ("no payload", Profile::EMPTY),
];

#[test]
fn daemon_survives_two_failures_and_two_losses() {
    for (name, profile) in PROFILES {
        let budget = Budget { failures: 2, losses: 2 };
        match explore(Simulation::daemon(profile, budget, None), Limits::default()) {
            Ok(counts) => println!("daemon, {name}: {counts}"),
            Err(failing) => panic!("daemon, {name}:\n{failing}"),
        }
    }
}

#[test]
fn daemon_that_resumes_downloads_survives_a_failure_and_two_losses() {
    resuming(Budget { failures: 1, losses: 2 });
}

#[test]
#[ignore = "1.5 million configurations, most of a minute: `./test -- --ignored` before a release"]
fn daemon_that_resumes_downloads_survives_two_failures_and_two_losses() {
    resuming(Budget { failures: 2, losses: 2 });
}

fn resuming(budget: Budget) {
    for (name, profile) in PROFILES {
        match explore(Simulation::resuming_daemon(profile, budget), Limits::default()) {
            Ok(counts) => println!("resuming daemon, {name}: {counts}"),
            Err(failing) => panic!("resuming daemon, {name}:\n{failing}"),
        }
    }
}

#[test]
fn command_line_survives_two_failures_and_two_losses() {
    for (name, profile) in PROFILES {
        for stop in core::iter::once(None).chain(Stop::ALL.map(Some)) {
            let budget = Budget { failures: 2, losses: if stop.is_none() { 2 } else { 1 } };
            match explore(Simulation::command_line(profile, budget, stop), Limits::default()) {
                Ok(counts) => println!("command line, {name}, {stop:?}: {counts}"),
                Err(failing) => panic!("command line, {name}, {stop:?}:\n{failing}"),
            }
        }
    }
}

#[test]
fn every_built_in_mistake_is_found() {
    for (mistake, profile) in [
        (Mistake::SaveIsLost, Profile::SLOTS),
        (Mistake::RollbackDoesNothing, Profile::FILES),
        (Mistake::CommitDoesNothing, Profile::SLOTS),
        (Mistake::FailedQueryIsYes, Profile::ONE_WAY),
        (Mistake::NameIsAlwaysNew, Profile::ONE_WAY),
        (Mistake::BrokenPayloadIsTaken, Profile::SLOTS),
    ] {
        let budget = Budget { failures: 2, losses: 1 };
        let failing = explore(Simulation::daemon(profile, budget, Some(mistake)), Limits::default())
            .expect_err(&format!("{mistake:?} goes unnoticed"));
        println!("{mistake:?}, after {} steps: {}", failing.path.len(), failing.wrong);
        assert!(!failing.path.is_empty());
    }
}
