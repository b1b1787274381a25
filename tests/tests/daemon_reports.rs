//! What the daemon reports of a deployment, and what it makes of answers that refuse a report: the real daemon against the
//! strict server.

use std::fs;

use thimble_hal_sim::listen::{Entry, Security};
use thimble_hal_sim::server::{Endpoint, Fault, Server};
use thimble_tests::lab::Package;
use thimble_tests::managed::{ID, Managed};

fn device() -> Managed {
    Managed::with(Security::Plain)
}

/// Statuses with their substates, as the server keeps them.
fn reported(managed: &Managed) -> Vec<(String, Option<String>)> {
    managed.server.with(|server| server.deployments[ID].statuses.clone())
}

fn has_status(status: &'static str) -> impl FnMut(&Server, &[Entry]) -> bool {
    move |server, _| server.deployments[ID].statuses.iter().any(|(name, _)| name == status)
}

fn ran(managed: &Managed, call: &str) -> bool {
    managed.lab.journal().iter().any(|line| line == call)
}

#[test]
fn r25_a_reason_in_long_characters_fits_into_the_substate() {
    let managed = device();
    let bytes = fs::read(Package::new("release-2").build(&managed.lab)).unwrap();
    // 240 bytes, and no 200 characters: the reason has the name in it.
    managed.deploy_bytes(&"ä".repeat(120), bytes.into());
    assert_eq!(managed.finish(), "failure", "{}", managed.story());
    managed.no_violations();
    let (_, substate) = reported(&managed).pop().unwrap();
    let substate = substate.unwrap_or_default();
    assert!(substate.contains("the server offered artifact \"äää"), "{substate}");
    assert!((197..=200).contains(&substate.len()) && substate.ends_with("..."), "{}", substate.len());
}

#[test]
fn r25_a_status_whose_substate_is_refused_is_reported_once_more_without_it() {
    let managed = device();
    managed.lab.on("ArtifactInstall", "exit 1");
    managed.deploy(&Package::new("release-2"));
    // The last report is the third: there is none before the commit.
    managed.server.with(|server| server.disturb(Endpoint::Status, 2, 1, Fault::Status(400)));
    assert_eq!(managed.finish(), "failure", "{}", managed.story());
    managed.no_violations();
    assert_eq!(reported(&managed).pop(), Some(("failure".into(), None)));
    let journal = managed.server.journal();
    let refused = journal.iter().position(|entry| entry.status == 400).unwrap();
    assert_eq!(journal[refused + 1].endpoint, Some(Endpoint::Status), "{}", managed.story());
    assert_eq!(managed.server.with(|server| server.count(Endpoint::Status)), 4, "{}", managed.story());
}

#[test]
fn r25_a_status_without_a_substate_is_not_repeated_because_of_a_400() {
    let managed = device();
    managed.deploy(&Package::new("release-2"));
    managed.server.with(|server| server.disturb(Endpoint::Status, 0, 1, Fault::Status(400)));
    assert_eq!(managed.finish(), "success", "{}", managed.story());
    let statuses: Vec<_> = reported(&managed).into_iter().map(|(status, _)| status).collect();
    assert_eq!(statuses, ["installing", "success"], "{}", managed.story());
    managed.no_violations();
}

#[test]
fn r28_each_report_behind_one_with_a_substate_has_one_over_a_reboot_too() {
    let managed = device();
    managed.lab.on("NeedsArtifactReboot", "echo Automatic");
    managed.deploy(&managed.lab.with_all_scripts(Package::new("release-2")));
    let map = |action: &str| {
        format!(r#"{{"id":"{ID}","states":{{"ArtifactInstall_Enter":{{"action":"{action}"}}}}}}"#)
    };
    let say = |action: &str| {
        managed.server.with(|server| {
            server.v2 = true;
            server.deployments.get_mut(ID).unwrap().control_map = Some(map(action));
        });
    };
    managed.configure(r#","UpdateControlMapExpirationTimeSeconds":2"#);
    say("pause");
    let mut daemon = managed.start();
    managed.wait(&mut daemon, has_status("pause_before_installing"));
    say("force_continue");
    assert_eq!(managed.finish_with(daemon), "success", "{}", managed.story());
    let reported = reported(&managed);
    assert_eq!(reported[0], ("downloading".into(), None), "nothing to say yet");
    let silent: Vec<_> = reported.iter().skip(1).filter(|(_, substate)| substate.is_none()).collect();
    assert!(silent.is_empty() && reported.len() >= 6, "{reported:?}");
    managed.no_violations();
}

#[test]
fn r29_a_deployment_that_the_server_does_not_know_ends_before_its_install() {
    // At `downloading` and at `installing`.
    for skip in [0, 1] {
        let managed = device();
        managed.deploy(&Package::new("release-2"));
        managed.server.with(|server| server.disturb(Endpoint::Status, skip, 1, Fault::Status(404)));
        assert_eq!(managed.finish(), "failure", "{skip}\n{}", managed.story());
        assert_eq!(ran(&managed, "Download"), skip > 0, "{}", managed.story());
        assert!(
            !ran(&managed, "ArtifactInstall") && !ran(&managed, "ArtifactRollback"),
            "{}",
            managed.story()
        );
        assert_eq!(managed.lab.name(), "unknown", "{}", managed.story());
        managed.no_violations();
    }
}

#[test]
fn r29_a_deployment_that_the_server_forgot_later_goes_on_to_its_end_without_reports() {
    let managed = device();
    managed.deploy(&Package::new("release-2"));
    managed.lab.on("ArtifactInstall", "while [ ! -e \"$lab/go\" ]; do sleep 0.05; done");
    let mut daemon = managed.start();
    managed.wait(&mut daemon, has_status("installing"));
    managed.server.with(|server| server.deployments.remove(ID));
    managed.lab.write("go", "");
    let asked = managed.server.with(|server| server.count(Endpoint::NextV1));
    // Polling goes on.
    managed.wait(&mut daemon, |server, _| server.count(Endpoint::NextV1) >= asked + 2);
    assert_eq!(managed.lab.name(), "release-2", "{}", managed.story());
    assert!(ran(&managed, "ArtifactCommit") && ran(&managed, "Cleanup"), "{}", managed.story());
    // `downloading`, `installing`, and the one before the commit, which was answered 404: `success` is not sent.
    assert_eq!(managed.server.with(|server| server.count(Endpoint::Status)), 3, "{}", managed.story());
}

#[test]
fn r29_another_404_than_the_device_apis_is_a_failure_like_others() {
    for skip in [0, 1] {
        let managed = device();
        managed.deploy(&Package::new("release-2"));
        managed.server.with(|server| server.disturb(Endpoint::Status, skip, 1, Fault::Page(404)));
        assert_eq!(managed.finish(), "success", "{skip}\n{}", managed.story());
        assert_eq!(managed.lab.name(), "release-2");
        managed.no_violations();
    }
}

#[test]
fn r27_a_device_that_was_accepted_again_sends_its_inventory_with_the_next_poll() {
    let managed = device();
    let mut daemon = managed.start();
    let sent = |server: &Server| server.devices.values().map(|device| device.inventories).sum::<u32>();
    managed.wait(&mut daemon, |server, _| sent(server) == 1 && server.count(Endpoint::NextV1) > 0);
    // Decommissioned, and what the server knew of it is gone; then accepted again.
    managed.server.with(|server| server.devices.values_mut().for_each(|device| device.inventory.clear()));
    managed.server.with(Server::expire_tokens);
    managed.wait(&mut daemon, |server, _| sent(server) == 2);
    let known =
        managed.server.with(|server| server.devices.values().all(|device| !device.inventory.is_empty()));
    assert!(known, "{}", managed.story());
    managed.no_violations();
}

/// A device whose update is committed, and whose server cannot be reached when it is to hear of it.
fn unheard() -> Managed {
    let managed = device();
    managed.deploy(&Package::new("release-2"));
    managed.server.with(|server| {
        // Behind `downloading`, `installing` and the one before the commit.
        server.disturb(Endpoint::Status, 3, 1, Fault::Unreachable);
    });
    let mut daemon = managed.start();
    managed.wait(&mut daemon, |server, _| server.count(Endpoint::Status) == 4);
    drop(daemon);
    managed
}

#[test]
fn r23_restarts_while_the_server_is_gone_change_nothing_of_a_committed_update() {
    let managed = unheard();
    managed.server.with(|server| server.disturb(Endpoint::Auth, 0, 1000, Fault::Unreachable));
    for _ in 0..35 {
        let before = managed.server.with(|server| server.count(Endpoint::Auth));
        let mut daemon = managed.start();
        managed.wait(&mut daemon, |server, _| server.count(Endpoint::Auth) > before);
        drop(daemon);
    }
    managed.server.with(Server::calm);
    assert_eq!(managed.finish(), "success", "{}", managed.story());
    // It is told before the device polls with its new name.
    managed.no_violations();
    assert_eq!(managed.lab.name(), "release-2");
    let cleanups = managed.lab.journal().iter().filter(|line| *line == "Cleanup").count();
    assert_eq!(cleanups, 1, "{}", managed.story());
    let (_, substate) = reported(&managed).pop().unwrap();
    assert!(substate.unwrap_or_default().starts_with("installed; downloaded"), "{}", managed.story());
}

#[test]
fn r23_a_person_may_install_while_the_server_has_not_heard() {
    let managed = unheard();
    let package = Package::new("release-3").build(&managed.lab);
    managed.lab.run(["install".as_ref(), package.as_os_str()]).status(0);
    managed.lab.run(["commit"]).status(0);
    assert_eq!(managed.lab.name(), "release-3");
    assert_eq!(managed.finish(), "success", "{}", managed.story());
    managed.no_violations();
}

#[test]
fn r23_a_last_report_that_the_server_refuses_is_given_up_with_an_error() {
    let managed = unheard();
    managed.server.with(|server| server.disturb(Endpoint::Status, 0, 1, Fault::Status(403)));
    let mut daemon = managed.start();
    managed.wait(&mut daemon, |server, _| server.count(Endpoint::Status) == 5);
    let asked = managed.server.with(|server| server.count(Endpoint::NextV1));
    managed.wait(&mut daemon, |server, _| server.count(Endpoint::NextV1) > asked);
    let log = fs::read_to_string(managed.lab.path("daemon.log")).unwrap();
    let line = log.lines().find(|line| line.contains("is not reported any more")).unwrap_or_default();
    assert!(line.contains("level=error") && line.contains("403"), "{line}\n{}", managed.story());
}
