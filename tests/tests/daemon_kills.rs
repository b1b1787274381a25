//! The daemon is killed at every request, at every script and at every call of the module, and started again: every
//! deployment ends, and what the server is told is what the device is.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use thimble_hal_sim::listen::When;
use thimble_hal_sim::server::Endpoint;
use thimble_tests::lab::Package;
use thimble_tests::managed::Managed;

/// How the device behaves.
#[derive(Clone, Copy, Debug)]
enum Device {
    Good,
    Reboots,
    FailsToInstall,
    FailsAfterReboot,
}

impl Device {
    fn set_up(self) -> Managed {
        let managed = Managed::with(thimble_hal_sim::listen::Security::Plain);
        match self {
            Self::Good => {}
            Self::Reboots => managed.lab.on("NeedsArtifactReboot", "echo Automatic"),
            Self::FailsToInstall => managed.lab.on("ArtifactInstall", "exit 1"),
            Self::FailsAfterReboot => {
                managed.lab.on("NeedsArtifactReboot", "echo Automatic");
                managed.lab.on("ArtifactVerifyReboot", "exit 1");
            }
        }
        managed.deploy(&managed.lab.with_all_scripts(Package::new("release-2")));
        managed
    }

    /// What the first run without a kill shows: lines of the journal, requests.
    fn lengths(self) -> (usize, usize) {
        let managed = self.set_up();
        let status = managed.finish();
        let good = matches!(self, Self::Good | Self::Reboots);
        assert_eq!(status, if good { "success" } else { "failure" }, "{}", managed.story());
        managed.no_violations();
        (managed.lab.journal().len(), managed.server.journal().len())
    }
}

/// The device and the server agree on how it ended.
#[track_caller]
fn is_true(managed: &Managed, status: &str, what: &str) {
    managed.no_violations();
    let name = managed.lab.name();
    let expected: &[&str] = match status {
        "success" => &["release-2"],
        "failure" => &["unknown", "release-2_INCONSISTENT"],
        other => panic!("{what}: {other}\n{}", managed.story()),
    };
    assert!(expected.contains(&name.as_str()), "{what}: {status}, name {name}\n{}", managed.story());
    assert!(managed.lab.path("store/modules/v3/payloads/0000/tree").symlink_metadata().is_err(), "{what}");
    let journal = managed.lab.journal();
    let calls: Vec<&String> =
        journal.iter().filter(|line| !line.starts_with('[') && *line != "reboot").collect();
    assert!(calls.is_empty() || calls.last().is_some_and(|call| *call == "Cleanup"), "{what}: {journal:?}");
}

fn power_is_lost_at_every_line_of_the_journal(device: Device) {
    let (lines, _) = device.lengths();
    for line in 1..=lines {
        let managed = device.set_up();
        managed.lab.cut_at(line);
        let status = managed.finish();
        is_true(&managed, &status, &format!("{device:?}, line {line}"));
    }
}

/// Kills the daemon when the request of this number (from 0) has come, before or after its effect.
fn kill_at(managed: &Arc<Managed>, number: usize, at: When, pid: &Arc<AtomicU32>) {
    let pid = pid.clone();
    let count = Mutex::new(0);
    managed.server.observe(Some(Box::new(move |when, _| {
        let mut count = count.lock().expect("nobody panics");
        if when != at {
            return;
        }
        if *count == number {
            let pid = pid.load(Ordering::SeqCst).to_string();
            assert!(Command::new("kill").args(["-KILL", &pid]).status().expect("kill runs").success());
        }
        *count += 1;
    })));
}

fn power_is_lost_at_every_request(device: Device) {
    let (_, requests) = device.lengths();
    for number in 0..requests {
        for at in [When::Before, When::After] {
            let managed = Arc::new(device.set_up());
            let pid = Arc::new(AtomicU32::new(0));
            kill_at(&managed, number, at, &pid);
            let status = managed.finish_telling(&mut |of| pid.store(of, Ordering::SeqCst));
            managed.server.observe(None);
            is_true(&managed, &status, &format!("{device:?}, request {number}, {at:?}"));
            assert!(managed.server.with(|server| server.count(Endpoint::Auth)) > 0);
        }
    }
}

#[test]
fn i2_power_is_lost_at_every_line_of_a_good_update() {
    power_is_lost_at_every_line_of_the_journal(Device::Good);
}

#[test]
fn i2_power_is_lost_at_every_line_of_an_update_with_reboot() {
    power_is_lost_at_every_line_of_the_journal(Device::Reboots);
}

#[test]
fn i2_power_is_lost_at_every_line_of_a_failed_install() {
    power_is_lost_at_every_line_of_the_journal(Device::FailsToInstall);
}

#[test]
fn i2_power_is_lost_at_every_line_of_a_failed_reboot() {
    power_is_lost_at_every_line_of_the_journal(Device::FailsAfterReboot);
}

#[test]
fn i2_power_is_lost_at_every_request_of_an_update_with_reboot() {
    power_is_lost_at_every_request(Device::Reboots);
}

#[test]
fn i2_power_is_lost_at_every_request_of_a_failed_install() {
    power_is_lost_at_every_request(Device::FailsToInstall);
}
