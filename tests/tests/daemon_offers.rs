//! A server that offers the same deployment again after it ended here: the real daemon against the strict server.

use std::fs;
use std::time::Instant;

use thimble_hal_sim::listen::{Entry, Security};
use thimble_hal_sim::server::{Endpoint, Fault, Server};
use thimble_tests::lab::Package;
use thimble_tests::managed::{Daemon, ID, LIMIT, Managed};

fn device() -> Managed {
    let managed = Managed::with(Security::Plain);
    managed.deploy(&Package::new("release-2"));
    managed
}

/// How often the deployment has begun.
fn begun(managed: &Managed) -> usize {
    managed.lab.journal().iter().filter(|line| *line == "ArtifactInstall").count()
}

fn polls(server: &Server) -> u32 {
    server.count(Endpoint::NextV1)
}

/// Polls that were answered with an offer of the deployment, in order.
fn offers(journal: &[Entry]) -> usize {
    journal.iter().filter(|entry| entry.endpoint == Some(Endpoint::NextV1) && entry.status == 200).count()
}

fn log(managed: &Managed) -> String {
    fs::read_to_string(managed.lab.path("daemon.log")).unwrap_or_default()
}

/// Waits until the daemon has turned down so many offers since it was first started.
#[track_caller]
fn turned_down(managed: &Managed, times: usize) {
    let end = Instant::now() + LIMIT;
    while log(managed).matches("is offered again and does not begin").count() < times {
        assert!(Instant::now() < end, "{}", managed.story());
        std::thread::yield_now();
    }
}

/// Runs the daemon until it reboots.
#[track_caller]
fn reboots(managed: &Managed, mut daemon: Daemon) {
    assert!(!managed.wait_while(&mut daemon, |_, _| false), "{}", managed.story());
}

/// A device that reboots into each update and rolls it back, and a server that refuses with this status to hear so: it
/// offers the deployment again and again. The daemon has turned it down once.
fn refused(status: u16) -> (Managed, Daemon) {
    let managed = device();
    managed.lab.on("NeedsArtifactReboot", "echo Automatic");
    managed.lab.on("SupportsRollback", "echo Yes");
    managed.lab.on("ArtifactCommit", "exit 1");
    managed.server.with(|server| {
        // Behind `downloading`, `installing`, `rebooting` and the one before the commit.
        server.disturb(Endpoint::Status, 4, 1000, Fault::Status(status));
    });
    reboots(&managed, managed.start());
    reboots(&managed, managed.start());
    let daemon = managed.start();
    turned_down(&managed, 1);
    (managed, daemon)
}

#[test]
fn r48_a_deployment_whose_end_is_refused_does_not_begin_again_over_restarts_too() {
    for status in [400, 403] {
        let (managed, daemon) = refused(status);
        let sent = managed.server.with(|server| server.count(Endpoint::Status));
        turned_down(&managed, 3);
        drop(daemon);
        let _daemon = managed.start();
        turned_down(&managed, 5);
        assert!(managed.server.wait_until(LIMIT, |_, journal| offers(journal) >= 6));
        assert_eq!(begun(&managed), 1, "{}", managed.story());
        assert_eq!(managed.lab.journal().iter().filter(|line| *line == "reboot").count(), 2);
        // Nothing is reported of it, and the device says nothing else of itself than before.
        assert_eq!(managed.server.with(|server| server.count(Endpoint::Status)), sent, "{}", managed.story());
        let log = log(&managed);
        let line = log.lines().find(|line| line.contains("does not begin")).unwrap_or_default();
        assert!(line.contains("the server refused to hear how it ended") && line.contains(ID), "{line}");
        assert!(line.contains("level=warning") && line.contains("'check-update'"), "{line}");
        assert_eq!(log.matches("of artifact").count(), 1, "{log}");
        let status = managed.lab.run(["status"]).status(0).stdout.clone();
        assert!(status.contains("Next poll"), "{status}");
        // It is the last one, and none is in progress.
        assert!(status.contains(&format!("\nLast deployment: release-2 ({ID}): failure: ")), "{status}");
        assert!(!status.contains("\nDeployment:"), "{status}");
    }
}

#[test]
fn r48_check_update_begins_it_again_once() {
    let (managed, daemon) = refused(403);
    // Behind the next reports up to the end.
    managed.server.with(|server| {
        server.calm();
        server.disturb(Endpoint::Status, 4, 1000, Fault::Status(403));
    });
    managed.lab.run(["check-update"]).status(0);
    reboots(&managed, daemon);
    reboots(&managed, managed.start());
    let before = log(&managed).matches("does not begin").count();
    let _daemon = managed.start();
    turned_down(&managed, before + 2);
    assert_eq!(begun(&managed), 2, "{}", managed.story());
}

#[test]
fn r48_a_deployment_that_is_offered_again_after_its_end_was_heard_begins_five_times() {
    let managed = device();
    managed.lab.on("ArtifactInstall", "exit 1");
    let mut daemon = managed.start();
    for time in 1..=5 {
        managed.wait(&mut daemon, |server, _| server.deployments[ID].is_over());
        assert_eq!(begun(&managed), time, "{}", managed.story());
        // A server with a retry count.
        managed.server.with(|server| server.deployments.get_mut(ID).expect("it is there").statuses.clear());
    }
    turned_down(&managed, 2);
    assert_eq!(begun(&managed), 5, "{}", managed.story());
    let line = log(&managed);
    assert!(line.contains("does not begin: it has begun 5 times within a day"), "{line}");
    drop(daemon);
    let mut daemon = managed.start();
    turned_down(&managed, 4);
    // Another deployment is not held up by it.
    managed.server.with(|server| {
        let deployment = server.deployments.remove(ID).expect("it is there");
        server.deployments.insert("another".into(), deployment);
    });
    managed.wait(&mut daemon, |server, _| server.deployments["another"].is_over());
    assert_eq!(begun(&managed), 6, "{}", managed.story());
}

#[test]
fn r48_a_deployment_that_sync_leave_drops_is_not_counted() {
    let managed = device();
    let go = managed.lab.path("go");
    managed.lab.rootfs_script("Sync_Leave_00");
    managed.lab.on("Sync_Leave_00", &format!("[ -e '{}' ] || exit 1", go.display()));
    let mut daemon = managed.start();
    managed.wait(&mut daemon, |_, journal| offers(journal) > 6);
    assert_eq!(begun(&managed), 0, "{}", managed.story());
    managed.lab.write("go", "");
    managed.wait(&mut daemon, |server, _| server.deployments[ID].is_over() && polls(server) > 7);
    assert_eq!(begun(&managed), 1, "{}", managed.story());
}
