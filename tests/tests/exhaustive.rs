//! Everything that can happen to an update, to the three machines of the client with a device, two servers and the
//! network: up to two failures and two losses of power, at every point.

use thimble_core::machine::Stop;
use thimble_hal_sim::explore::{Limits, explore};
use thimble_hal_sim::model::{Budget, Mistake};
use thimble_hal_sim::whole::Whole;
use thimble_hal_sim::world::Profile;

const PROFILES: [(&str, Profile); 5] = [
    ("A/B slots", Profile::SLOTS),
    ("one place", Profile::FILES),
    ("one place, restarts something", Profile::CUSTOM),
    ("one place, no rollback", Profile::ONE_WAY),
    ("no payload", Profile::EMPTY),
];

const TWO_OF_EACH: Budget = Budget { failures: 2, losses: 2 };

fn walk(what: &str, start: Whole) {
    match explore(start, Limits::default()) {
        Ok(counts) => println!("{what}: {counts}"),
        Err(failing) => panic!("{what}:\n{failing}"),
    }
}

#[test]
fn daemon_survives_two_failures_and_two_losses() {
    for (name, profile) in PROFILES {
        walk(&format!("daemon, {name}"), Whole::daemon(profile, TWO_OF_EACH, false, None));
    }
}

#[test]
fn daemon_that_resumes_downloads_survives_two_failures_and_two_losses() {
    for (name, profile) in PROFILES {
        walk(&format!("resuming daemon, {name}"), Whole::daemon(profile, TWO_OF_EACH, true, None));
    }
}

#[test]
fn command_line_survives_two_failures_and_two_losses() {
    for (name, profile) in PROFILES {
        for stop in core::iter::once(None).chain(Stop::ALL.map(Some)) {
            let what = format!("command line, {name}, {stop:?}");
            walk(&what, Whole::command_line(profile, TWO_OF_EACH, stop));
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
        (Mistake::TokenIsKept, Profile::SLOTS),
        (Mistake::RangeIsOff, Profile::SLOTS),
        (Mistake::SecondServerIsNotAsked, Profile::EMPTY),
    ] {
        let budget = Budget { failures: 2, losses: 1 };
        let failing = explore(Whole::daemon(profile, budget, false, Some(mistake)), Limits::default())
            .expect_err(&format!("{mistake:?} goes unnoticed"));
        println!("{mistake:?}, after {} steps: {}", failing.path.len(), failing.wrong);
        assert!(!failing.path.is_empty());
    }
}
