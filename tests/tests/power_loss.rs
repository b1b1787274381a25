//! The real client, its parser and its requests on the simulated platform: every effect cut before, inside and after.
//!
//! This shows that the driver performs what the machines say. What the machines say with more failures and losses of
//! power, those of the network included, is walked in `exhaustive.rs`.

use thimble_core::config::Config;
use thimble_hal_sim::model::Budget;
use thimble_hal_sim::walk::walk_with;
use thimble_hal_sim::world::Profile;

const PROFILES: [(&str, Profile); 5] = [
    ("A/B slots", Profile::SLOTS),
    ("one place", Profile::FILES),
    ("one place, restarts something", Profile::CUSTOM),
    ("one place, no rollback", Profile::ONE_WAY),
    ("no payload", Profile::EMPTY),
];

fn walk_all(failures: u8, losses: u8, standalone: bool) {
    walk_all_with(&Config::default(), failures, losses, standalone);
}

fn walk_all_with(config: &Config, failures: u8, losses: u8, standalone: bool) {
    for (name, profile) in PROFILES {
        let mode = if standalone { "command line" } else { "daemon" };
        match walk_with(config, profile, Budget { failures, losses }, standalone) {
            Ok(counts) => println!("{mode}, {name}, {failures} failures, {losses} losses: {counts}"),
            Err(failing) => panic!("{mode}, {name}, {failures} failures, {losses} losses:\n{failing}"),
        }
    }
}

#[test]
fn daemon_survives_two_losses_of_power() {
    walk_all(0, 2, false);
}

#[test]
fn daemon_survives_a_failure_and_a_loss_of_power() {
    walk_all(1, 1, false);
}

fn resuming() -> Config {
    Config { resume_downloads: true, ..Config::default() }
}

#[test]
fn daemon_that_resumes_downloads_survives_two_losses_of_power() {
    walk_all_with(&resuming(), 0, 2, false);
}

#[test]
fn daemon_that_resumes_downloads_survives_a_failure_and_a_loss_of_power() {
    walk_all_with(&resuming(), 1, 1, false);
}

#[test]
fn command_line_survives_two_losses_of_power() {
    walk_all(0, 2, true);
}

#[test]
fn command_line_survives_a_failure_and_a_loss_of_power() {
    walk_all(1, 1, true);
}

#[test]
fn command_line_survives_two_failures_and_two_losses_of_power() {
    walk_all(2, 2, true);
}
