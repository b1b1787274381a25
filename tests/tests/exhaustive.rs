//! Whatever two failures and two losses of power, at any point, make of an update: of the three machines of the client
//! with a device, two servers and the network. `ARCHITECTURE.md` says what is not among it.

use thimble_core::deployment::Point;
use thimble_core::machine::Stop;
use thimble_hal_sim::explore::{Limits, explore};
use thimble_hal_sim::mistake::Mistake;
use thimble_hal_sim::model::Budget;
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

const ONE_OF_EACH: Budget = Budget { failures: 1, losses: 1 };

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
fn daemon_gives_programs_their_token_over_a_failure_and_a_loss() {
    for (name, profile) in PROFILES {
        let start = Whole::daemon(profile, ONE_OF_EACH, false, None).with_wishes(1);
        walk(&format!("daemon asked for a token, {name}"), start);
    }
}

#[test]
fn daemon_is_held_back_by_its_server_over_a_failure_and_a_loss() {
    for (name, profile) in PROFILES {
        for point in Point::ALL {
            let start =
                Whole::daemon(profile, ONE_OF_EACH, false, None).held_back(point).that_keeps_its_server();
            walk(&format!("daemon held back before {}, {name}", point.name()), start);
        }
    }
}

/// Each is found, in the daemon that begins every download anew or in the one that resumes them.
#[test]
fn every_built_in_mistake_is_found() {
    for (mistake, profile, resumes, found) in [
        (Mistake::SaveIsLost, Profile::SLOTS, false, "is begun while the record says"),
        (Mistake::NextSaveIsLost, Profile::FILES, false, "is begun while the record says"),
        (Mistake::RollbackDoesNothing, Profile::FILES, false, "what runs is"),
        (Mistake::CommitDoesNothing, Profile::SLOTS, false, "not committed"),
        (Mistake::FailedQueryIsYes, Profile::ONE_WAY, false, "what runs is"),
        (Mistake::NameIsAlwaysNew, Profile::ONE_WAY, false, "what runs is"),
        (Mistake::BrokenPayloadIsTaken, Profile::SLOTS, false, "not verified"),
        (Mistake::ReportIsForgotten, Profile::FILES, false, "was never told how it ended"),
        (Mistake::TokenIsKept, Profile::SLOTS, false, "after it was refused"),
        (Mistake::TokenOutlivesInstall, Profile::FILES, false, "a token of before the install"),
        (Mistake::RangeIsOff, Profile::SLOTS, false, "other bytes than the next ones"),
        (Mistake::DamagedFileIsUsed, Profile::FILES, true, "other bytes than the artifact"),
        (Mistake::SecondServerIsNotAsked, Profile::EMPTY, false, "a server was not asked"),
        (Mistake::FirstServerIsAskedTwice, Profile::EMPTY, false, "twice in one authentication"),
        (
            Mistake::RoundIsForgotten,
            Profile::EMPTY,
            false,
            "a round asks for a token though it has asked in vain",
        ),
        (Mistake::RequestsAreNotSpaced, Profile::EMPTY, false, "at once"),
        (Mistake::WaitForTokenIsNotKept, Profile::EMPTY, false, "though it asked to wait"),
        (Mistake::RetryAfterIsNotKept, Profile::EMPTY, false, "before the server wants it"),
        (Mistake::ReportsGoBackwards, Profile::SLOTS, false, "go backwards"),
        (Mistake::ScriptsHaveNoLimit, Profile::EMPTY, false, "has no time limit"),
        (Mistake::IdentityHasNoLimit, Profile::EMPTY, false, "has no time limit"),
        (Mistake::RecordIsLeft, Profile::FILES, false, "its record is still there"),
        (Mistake::OfferIsLeft, Profile::FILES, true, "offer is still on record"),
        (Mistake::TreeIsLeft, Profile::FILES, false, "work tree is still there"),
        (Mistake::PartialIsLeft, Profile::FILES, true, "of its payload is still there"),
        (Mistake::ParserIsKept, Profile::FILES, false, "at another byte than the next one"),
        (Mistake::RefusalIsAWish, Profile::EMPTY, false, "begins again though the server refused"),
        (Mistake::EndIsIgnored, Profile::EMPTY, false, "was told to end"),
        (Mistake::PausesAreApproved, Profile::FILES, false, "though the server holds it back"),
        (Mistake::RefreshIsDeaf, Profile::FILES, false, "it never ends"),
        (Mistake::WishIsForgotten, Profile::EMPTY, false, "waits for nothing"),
    ] {
        // As little beside the mistake as it takes to be found for what it is.
        let failures = match found {
            "waits for nothing" | "it never ends" => 0,
            "a round asks for a token though it has asked in vain" => 1,
            _ => 2,
        };
        let wishes = u8::from(mistake == Mistake::WishIsForgotten);
        let start = Whole::daemon(profile, Budget { failures, losses: 1 }, resumes, Some(mistake));
        let held_back = matches!(mistake, Mistake::PausesAreApproved | Mistake::RefreshIsDeaf);
        let start = if held_back { start.held_back(Point::Commit) } else { start.with_wishes(wishes) };
        let failing = explore(start, Limits::default()).expect_err(&format!("{mistake:?} goes unnoticed"));
        println!("{mistake:?}, after {} steps: {}", failing.path.len(), failing.wrong);
        assert!(failing.wrong.contains(found), "{mistake:?} is taken for something else:\n{failing}");
    }
}
