//! Control maps, orders, policies and time at the doors: everything that can be said at any moment of an update, with
//! failures and losses of power, against rules that are written apart from the machine.

use thimble_core::control::Vote;
use thimble_core::deployment::Point;
use thimble_hal_sim::explore::{Limits, explore};
use thimble_hal_sim::mistake::Mistake;
use thimble_hal_sim::model::{Budget, Simulation};
use thimble_hal_sim::sayings::{DEPLOYMENT, Doors, Server, from_server};
use thimble_hal_sim::walk::{Said, controlled};
use thimble_hal_sim::world::Profile;

const PROFILES: [(&str, Profile); 3] = [
    ("A/B slots", Profile::SLOTS),
    ("one place", Profile::FILES),
    ("one place, no rollback", Profile::ONE_WAY),
];

fn machine(events: u8, failures: u8, losses: u8) {
    machine_of(&PROFILES, events, failures, losses);
}

fn machine_of(profiles: &[(&str, Profile)], events: u8, failures: u8, losses: u8) {
    let paused = Server::Map(from_server(Point::Install, Vote::Pause, Some(Vote::Continue)));
    for (name, profile) in profiles {
        for (who, policies, server) in [
            ("local maps and orders", false, Server::Silent),
            ("policies", true, Server::Silent),
            ("the server's map", false, paused),
        ] {
            let start = Simulation::controlled(
                *profile,
                Budget { failures, losses },
                Doors::new(events, policies, server),
            );
            let what = format!("{name}, {who}, {events} said, {failures} failures, {losses} losses");
            match explore(start, Limits::default()) {
                Ok(counts) => println!("{what}: {counts}"),
                Err(failing) => panic!("{what}:\n{failing}"),
            }
        }
    }
}

#[test]
fn the_machine_keeps_to_what_is_said_at_any_moment() {
    machine(2, 0, 0);
}

#[test]
fn the_machine_keeps_to_what_is_said_over_a_loss_of_power() {
    machine(1, 0, 1);
}

#[test]
fn the_machine_keeps_to_what_is_said_with_a_failure() {
    machine(1, 1, 0);
}

#[test]
#[ignore = "some million configurations, minutes: see CONTRIBUTING.md"]
fn the_machine_keeps_to_more_that_is_said_with_failures_and_losses_of_power() {
    // Whole configurations are kept: with the server's map and slots, these would be gigabytes.
    machine_of(&PROFILES[1..2], 1, 1, 1);
    machine_of(&PROFILES[1..2], 2, 0, 1);
    machine_of(&PROFILES[1..2], 2, 1, 0);
}

#[test]
fn every_built_in_mistake_about_the_doors_is_found() {
    let paused = Server::Map(from_server(Point::Install, Vote::Pause, None));
    for mistake in [Mistake::MapsAreLost, Mistake::PausesAreApproved, Mistake::RefreshIsDeaf] {
        let budget = Budget { failures: 0, losses: 1 };
        let start = Simulation::controlled(Profile::SLOTS, budget, Doors::new(1, false, paused))
            .with_mistake(mistake);
        let failing = explore(start, Limits::default()).expect_err(&format!("{mistake:?} goes unnoticed"));
        println!("{mistake:?}, after {} steps: {}", failing.path.len(), failing.wrong);
    }
}

fn client(profiles: &[(&str, Profile)], events: u8, failures: u8, losses: u8, server: Option<&str>) {
    let server =
        server.map(|rule| format!(r#"{{"id":"{DEPLOYMENT}","states":{{"ArtifactCommit_Enter":{rule}}}}}"#));
    for (name, profile) in profiles {
        let what = format!("{name}, {events} said, {failures} failures, {losses} losses, {server:?}");
        let said = Said { events, server: server.clone() };
        match controlled(*profile, Budget { failures, losses }, &said) {
            Ok(counts) => println!("{what}: {counts}"),
            Err(failing) => panic!("{what}:\n{failing}"),
        }
    }
}

const PAUSE_ONCE: &str = r#"{"action":"pause","on_action_executed":"continue"}"#;

#[test]
fn the_client_keeps_to_what_is_said_at_any_moment() {
    client(&PROFILES, 2, 0, 0, None);
    client(&PROFILES[1..2], 1, 0, 0, Some(PAUSE_ONCE));
}

#[test]
fn the_client_keeps_to_what_is_said_over_a_loss_of_power() {
    client(&PROFILES, 1, 0, 1, None);
    client(&PROFILES[1..2], 1, 0, 1, Some(PAUSE_ONCE));
}

#[test]
fn the_client_keeps_to_what_is_said_with_a_failure() {
    client(&PROFILES, 1, 1, 0, None);
    client(&PROFILES[1..2], 1, 1, 0, Some(PAUSE_ONCE));
}

#[test]
#[ignore = "minutes: see CONTRIBUTING.md"]
fn the_client_keeps_to_more_that_is_said_with_failures_and_losses_of_power() {
    client(&PROFILES[1..2], 1, 1, 1, None);
    client(&PROFILES[1..2], 2, 0, 1, None);
    client(&PROFILES[1..2], 2, 1, 0, None);
    client(&PROFILES[1..2], 2, 0, 0, Some(PAUSE_ONCE));
    client(&PROFILES, 1, 1, 0, Some(PAUSE_ONCE));
    client(&PROFILES, 1, 0, 1, Some(PAUSE_ONCE));
}
