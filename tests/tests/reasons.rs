//! Why an update failed, as the server hears it (`substate`): the first reason, in plain words. On the simulated platform.

use thimble_core::deployment::Call;
use thimble_core::script::{ScriptAction, ScriptState, Transition};
use thimble_hal_sim::runner::{self, DEPLOYMENT, Then};
use thimble_hal_sim::sample;
use thimble_hal_sim::server::{Endpoint, Fault as ServerFault, Server};
use thimble_hal_sim::sim::{Effect, Fate, Handle, Plan, Smooth};
use thimble_hal_sim::world::Profile;

/// Power is lost once, inside this call.
struct LostIn(Call, bool);

impl Plan for LostIn {
    fn fate(&mut self, effect: &Effect) -> Fate {
        if *effect == Effect::Module(self.0) && !std::mem::replace(&mut self.1, true) {
            return Fate::LostInside;
        }
        Fate::Works
    }
}

/// The last status, and why.
fn end(profile: Profile, plan: Box<dyn Plan>, disturb: impl FnOnce(&mut Server)) -> (String, String) {
    let artifact = sample::fitting(true);
    let bench = Handle::new(runner::durable(profile, &artifact), artifact, plan);
    disturb(&mut bench.0.borrow_mut().durable.server);
    let mut reason = String::new();
    runner::daemon(&bench, &mut |_, client| {
        if !client.reason().is_empty() {
            reason = client.reason().to_owned();
        }
        Then::GoOn
    });
    let bench = bench.0.borrow();
    let deployment = &bench.durable.server.deployments[DEPLOYMENT];
    let substate = deployment.statuses.last().and_then(|(_, substate)| substate.clone()).unwrap_or_default();
    if deployment.status() == "failure" {
        assert!(substate.contains(&reason) && !reason.is_empty(), "{substate:?}, {reason:?}");
    }
    (deployment.status().to_owned(), reason)
}

#[test]
fn a_restart_that_fails_an_update_says_where_it_was() {
    for (call, at) in [
        (Call::Download, "before ArtifactInstall"),
        (Call::ArtifactInstall, "in ArtifactInstall"),
        (Call::ArtifactVerifyReboot, "before ArtifactCommit"),
        (Call::ArtifactCommit, "in ArtifactCommit"),
    ] {
        let (status, reason) = end(Profile::SLOTS, Box::new(LostIn(call, false)), |_| {});
        let wanted = format!("interrupted {at}: the client was started again, or power was lost");
        assert_eq!((status.as_str(), reason), ("failure", wanted));
    }
}

/// Power is lost in each script of this transition.
struct AlwaysLostIn(Transition);

impl Plan for AlwaysLostIn {
    fn fate(&mut self, effect: &Effect) -> Fate {
        if *effect == Effect::Script(self.0) { Fate::LostInside } else { Fate::Works }
    }
}

#[test]
fn an_update_that_is_interrupted_again_and_again_says_so() {
    let leave = Transition { state: ScriptState::ArtifactCommit, action: ScriptAction::Leave };
    let (status, reason) = end(Profile::SLOTS, Box::new(AlwaysLostIn(leave)), |_| {});
    assert_eq!((status.as_str(), reason.as_str()), ("failure", "interrupted again and again: given up"));
}

#[test]
fn an_aborted_deployment_says_so() {
    for skip in 0..4 {
        let (_, reason) = end(Profile::SLOTS, Box::new(Smooth), |server| {
            server.disturb(Endpoint::Status, skip, 1, ServerFault::Status(409));
        });
        assert_eq!(reason, "the server aborted the deployment", "status {skip}");
    }
}

#[test]
fn a_server_that_cannot_be_asked_before_the_commit_is_the_reason() {
    // Behind downloading, installing and rebooting; twelve retries are made.
    let (status, reason) = end(Profile::SLOTS, Box::new(Smooth), |server| {
        server.disturb(Endpoint::Status, 3, 13, ServerFault::Status(500));
    });
    assert_eq!(status, "failure");
    let wanted = "the server could not be asked before the commit: reporting the status: ";
    assert!(reason.starts_with(wanted) && reason.contains("500"), "{reason:?}");
}

#[test]
fn a_map_that_fails_an_update_is_the_reason_and_not_the_request_that_brought_it() {
    for (point, name) in [("ArtifactInstall_Enter", "install"), ("ArtifactCommit_Enter", "commit")] {
        let (status, reason) = end(Profile::SLOTS, Box::new(Smooth), |server| {
            server.v2 = true;
            let deployment = server.deployments.get_mut(DEPLOYMENT).unwrap();
            deployment.control_map =
                Some(format!(r#"{{"id":"{DEPLOYMENT}","states":{{"{point}":{{"action":"fail"}}}}}}"#));
            // An earlier request was in trouble.
            server.disturb(Endpoint::Inventory, 0, 1, ServerFault::Status(500));
        });
        assert_eq!(status, "failure", "{name}");
        assert!(
            reason.starts_with("not allowed to go on before") && reason.ends_with("said fail"),
            "{reason:?}"
        );
    }
}
