//! The server's update control maps, with the real daemon against the strict server: each row of the table of server
//! maps (CONTROL-40 to CONTROL-42), pauses that end in every way, and two at once.

use thimble_hal_sim::listen::{Entry, Listener, Security, Wire};
use thimble_hal_sim::server::{Endpoint, Fault, Server};
use thimble_tests::lab::Package;
use thimble_tests::managed::{ID, Managed};

const STATES: [&str; 3] = ["ArtifactInstall_Enter", "ArtifactReboot_Enter", "ArtifactCommit_Enter"];

fn map(states: &str) -> String {
    format!(r#"{{"id":"{ID}","states":{{{states}}}}}"#)
}

/// One that says nothing but that it is there, and so is asked for again.
fn harmless() -> String {
    map(r#""ArtifactCommit_Enter":{"action":"force_continue"}"#)
}

/// A device that restarts in its update, on a hosted server that has this map for it. Maps are renewed every second.
fn device(control_map: &str) -> Managed {
    let managed = Managed::with(Security::Plain);
    managed.configure(r#","UpdateControlMapExpirationTimeSeconds":2,"RetryPollCount":2"#);
    managed.lab.on("NeedsArtifactReboot", "echo Automatic");
    managed.deploy(&managed.lab.with_all_scripts(Package::new("release-2")));
    managed.server.with(|server| server.v2 = true);
    say(&managed, control_map);
    managed
}

fn say(managed: &Managed, control_map: &str) {
    managed.server.with(|server| {
        for deployment in server.deployments.values_mut() {
            deployment.control_map = Some(control_map.to_owned());
        }
    });
}

fn count(managed: &Managed, endpoint: Endpoint) -> u32 {
    managed.server.with(|server| server.count(endpoint))
}

fn reported(status: &'static str) -> impl FnMut(&Server, &[Entry]) -> bool {
    move |server, _| server.deployments[ID].statuses.iter().any(|(name, _)| name == status)
}

fn ran(managed: &Managed, call: &str) -> bool {
    managed.lab.journal().iter().any(|line| line == call)
}

#[test]
fn a_map_is_announced_received_and_refreshed_before_each_point() {
    let managed = device(&harmless());
    assert_eq!(managed.finish(), "success", "{}", managed.story());
    managed.no_violations();
    assert_eq!(count(&managed, Endpoint::ControlMap), 3, "{}", managed.story());
    let requests = managed.server.journal();
    let refresh = format!("/api/devices/v2/deployments/device/deployments/{ID}/update_control_map");
    let refreshes = requests.iter().filter(|entry| entry.endpoint == Some(Endpoint::ControlMap));
    for entry in refreshes {
        assert_eq!((entry.method.as_str(), entry.target.as_str()), ("GET", refresh.as_str()));
    }
    let next = requests.iter().find(|entry| entry.endpoint == Some(Endpoint::NextV2)).unwrap();
    let body = String::from_utf8_lossy(&next.body);
    assert!(body.contains(r#""update_control_map":true"#) && !body.contains("map\":{"), "{body}");
}

#[test]
fn a_deployment_without_a_map_is_not_asked_about() {
    // That the server has one by the time it could be asked changes nothing.
    let managed = device("null");
    let mut daemon = managed.start();
    managed.wait(&mut daemon, reported("downloading"));
    say(&managed, &map(r#""ArtifactCommit_Enter":{"action":"fail"}"#));
    assert_eq!(managed.finish_with(daemon), "success", "{}", managed.story());
    assert_eq!(count(&managed, Endpoint::ControlMap), 0);
    managed.no_violations();
}

#[test]
fn a_map_that_cannot_be_used_fails_the_deployment_at_once() {
    let other = harmless().replace(ID, "11111111-1111-1111-1111-111111111111");
    for (control_map, why) in [
        (map(r#""ArtifactInstall_Enter":{"action":"stop"}"#), "has a value that it cannot have"),
        (harmless().replace("states", "status"), "unknown key"),
        ("[]".to_owned(), "wrong type"),
        (other, "not that of the deployment"),
        (harmless().replace(ID, ""), "must be a UUID"),
        (r#"{"states":{}}"#.to_owned(), "must be a UUID"),
    ] {
        let managed = device(&control_map);
        assert_eq!(managed.finish(), "failure", "{control_map}\n{}", managed.story());
        assert_eq!(managed.statuses(), ["failure"], "{control_map}");
        assert_eq!(count(&managed, Endpoint::Artifact), 0, "{control_map}");
        let substate = managed.server.with(|server| server.deployments[ID].statuses[0].1.clone());
        assert!(substate.as_deref().unwrap_or_default().contains(why), "{control_map}: {substate:?}");
        managed.no_violations();
    }
}

#[test]
fn a_deployment_that_is_gone_at_a_refresh_takes_the_error_path_of_its_point() {
    for (skip, state) in STATES.iter().enumerate() {
        let managed = device(&harmless());
        managed.server.with(|server| {
            server.disturb(Endpoint::ControlMap, u32::try_from(skip).unwrap(), 1, Fault::Status(404));
        });
        assert_eq!(managed.finish(), "failure", "{state}\n{}", managed.story());
        assert_eq!(ran(&managed, "ArtifactInstall"), skip > 0, "{state}\n{}", managed.story());
        // R-24: before the install there is nothing to roll back.
        assert_eq!(ran(&managed, "ArtifactRollback"), skip > 0, "{state}\n{}", managed.story());
        assert!(!ran(&managed, "ArtifactCommit") && ran(&managed, "Cleanup"), "{state}");
        assert_eq!(managed.lab.name(), "unknown", "{state}");
        managed.no_violations();
    }
}

#[test]
fn a_refresh_that_fails_is_repeated() {
    let faults = [
        Fault::Status(500),
        Fault::Status(403),
        Fault::Body(b"{}".to_vec()),
        Fault::Body(b"{".to_vec()),
        Fault::Unreachable,
        Fault::AnswerLost,
        Fault::Cut(3),
        Fault::RetryAfter("1".into()),
    ];
    for fault in faults {
        let managed = device(&harmless());
        managed.server.with(|server| server.disturb(Endpoint::ControlMap, 1, 1, fault.clone()));
        assert_eq!(managed.finish(), "success", "{fault:?}\n{}", managed.story());
        assert_eq!(count(&managed, Endpoint::ControlMap), 4, "{fault:?}");
        managed.no_violations();
    }
    let managed = device(&harmless());
    managed.server.disturb(Endpoint::ControlMap, 0, 1, Wire::Reset(20));
    assert_eq!(managed.finish(), "success", "{}", managed.story());
}

#[test]
fn a_refresh_that_fails_for_ever_takes_the_error_path_of_its_point() {
    for (skip, state) in STATES.iter().enumerate() {
        let managed = device(&harmless());
        managed.server.with(|server| {
            server.disturb(Endpoint::ControlMap, u32::try_from(skip).unwrap(), 99, Fault::Status(500));
        });
        assert_eq!(managed.finish(), "failure", "{state}\n{}", managed.story());
        // The first and as many again as RetryPollCount says.
        assert_eq!(count(&managed, Endpoint::ControlMap), u32::try_from(skip).unwrap() + 3, "{state}");
        assert_eq!(ran(&managed, "ArtifactInstall"), skip > 0, "{state}");
        assert_eq!(ran(&managed, "ArtifactRollback"), skip > 0, "{state}: R-24");
        managed.no_violations();
    }
}

#[test]
fn a_map_that_becomes_unusable_fails_at_the_refresh() {
    let managed = device(&map(r#""ArtifactReboot_Enter":{"action":"pause"}"#));
    let mut daemon = managed.start();
    managed.wait(&mut daemon, reported("pause_before_rebooting"));
    say(&managed, "[]");
    assert_eq!(managed.finish_with(daemon), "failure", "{}", managed.story());
    assert!(ran(&managed, "ArtifactRollback"));
    managed.no_violations();
}

#[test]
fn the_server_pauses_each_point_and_ends_the_pause_in_every_way() {
    for (state, status) in
        STATES.iter().zip(["pause_before_installing", "pause_before_rebooting", "pause_before_committing"])
    {
        for (end, expected) in [("force_continue", "success"), ("fail", "failure"), ("abort", "aborted")] {
            let managed = device(&map(&format!(r#""{state}":{{"action":"pause"}}"#)));
            let mut daemon = managed.start();
            while !managed.wait_while(&mut daemon, reported(status)) {
                // The reboot of the device.
                daemon = managed.start();
            }
            if end == "abort" {
                managed.server.with(|server| server.abort(ID));
            } else {
                say(&managed, &map(&format!(r#""{state}":{{"action":"{end}"}}"#)));
            }
            assert_eq!(managed.finish_with(daemon), expected, "{state} {end}\n{}", managed.story());
            let pauses = managed.statuses().iter().filter(|name| *name == status).count();
            assert_eq!(pauses, 1, "{state} {end}: the server keeps what is new");
            let installed = managed.lab.name() == "release-2";
            assert_eq!(installed, expected == "success", "{state} {end}\n{}", managed.story());
            managed.no_violations();
        }
    }
}

#[test]
fn two_points_are_paused_in_one_update() {
    let managed =
        device(&map(r#""ArtifactInstall_Enter":{"action":"pause","on_action_executed":"continue"},
           "ArtifactCommit_Enter":{"action":"pause","on_action_executed":"continue"}"#));
    assert_eq!(managed.finish(), "success", "{}", managed.story());
    let statuses = managed.statuses();
    let pauses: Vec<_> = statuses.iter().filter(|status| status.starts_with("pause")).collect();
    assert_eq!(pauses, ["pause_before_installing", "pause_before_committing"], "{statuses:?}");
    managed.no_violations();
}

#[test]
fn the_server_that_gave_the_token_is_asked_for_the_map() {
    let managed = device(&harmless());
    let first = Listener::start(0, Security::Plain, Server::new("")).unwrap();
    first.with(|server| {
        server.v2 = true;
        server.accepts_all = false;
    });
    managed.lab.configure(&format!(
        r#"{{"Servers":[{{"ServerURL":"{}"}},{{"ServerURL":"{}"}}],"UpdatePollIntervalSeconds":1,
            "RetryPollIntervalSeconds":1}}"#,
        first.url(),
        managed.server.url()
    ));
    assert_eq!(managed.finish(), "success", "{}", managed.story());
    assert_eq!(count(&managed, Endpoint::ControlMap), 3);
    assert_eq!(first.with(|server| server.count(Endpoint::ControlMap)), 0);
    managed.no_violations();
}

#[test]
fn what_the_server_said_about_a_deployment_that_never_began_decides_about_no_other() {
    const OTHER: &str = "99999999-9999-4999-8999-999999999999";
    // The client is killed before the deployment's first record; the deployment is dropped.
    for shell in ["kill -KILL $PPID", "exit 1"] {
        let managed = device(&map(r#""ArtifactInstall_Enter":{"action":"fail"}"#));
        managed.lab.rootfs_script("Sync_Leave_00");
        // The first is that of the inventory.
        let first = r#"[ "$(grep -c Sync_Leave "$lab/journal")" = 1 ] && exit 0"#;
        managed.lab.on("Sync_Leave_00", &format!("{first}\n{shell}"));
        let mut daemon = managed.start();
        let offer_another = || {
            managed.server.with(|server| {
                let mut deployment = server.deployments.remove(ID).unwrap();
                deployment.control_map = None;
                server.deployments.insert(OTHER.to_owned(), deployment);
            });
        };
        if shell.starts_with("kill") {
            daemon.ended();
            offer_another();
            managed.lab.on("Sync_Leave_00", "");
            daemon = managed.start();
        } else {
            managed.wait(&mut daemon, |server, _| server.count(Endpoint::NextV2) > 0);
            offer_another();
            let asked = count(&managed, Endpoint::NextV2);
            managed.wait(&mut daemon, |server, _| server.count(Endpoint::NextV2) >= asked + 2);
            managed.lab.on("Sync_Leave_00", "");
        }
        // As far as the door that the map was about.
        managed.wait(&mut daemon, |server, _| {
            let statuses = &server.deployments[OTHER].statuses;
            statuses.iter().any(|(status, _)| status == "rebooting" || status == "failure")
        });
        assert!(ran(&managed, "ArtifactInstall"), "{shell}\n{}", managed.story());
        assert!(!ran(&managed, "ArtifactRollback"), "{shell}\n{}", managed.story());
        daemon.stop();
    }
}
