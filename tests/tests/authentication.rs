//! When the daemon asks again: for a token after it got none, and after an answer without end. On the simulated
//! platform, whose minutes take no time.

use thimble_core::deployment::Call;
use thimble_core::machine::{Run, StopSet};
use thimble_core::script::{ScriptAction, ScriptState};
use thimble_core::time::{Duration, Instant};
use thimble_hal_sim::runner::{self, Then};
use thimble_hal_sim::sample;
use thimble_hal_sim::server::{Endpoint, Fault, Server};
use thimble_hal_sim::sim::{Effect, Fate, Handle, Plan, Smooth};
use thimble_hal_sim::world::Profile;

/// `Sync_Enter` asks once to be run again later, each time.
struct SlowSync {
    asked: bool,
}

impl Plan for SlowSync {
    fn fate(&mut self, effect: &Effect) -> Fate {
        match effect {
            Effect::Script(transition)
                if (transition.state, transition.action) == (ScriptState::Sync, ScriptAction::Enter) =>
            {
                self.asked = !self.asked;
                if self.asked { Fate::Refuses } else { Fate::Works }
            }
            Effect::Script(_)
            | Effect::Commit(_)
            | Effect::Module(_)
            | Effect::Mark
            | Effect::Status(_)
            | Effect::Reboot => Fate::Works,
        }
    }
}

/// The seconds at which a server that is disturbed like this is asked for a token, in the first minutes.
fn asked(minutes: u64, disturb: impl FnOnce(&mut Server)) -> Vec<u64> {
    let artifact = sample::fitting(true);
    let bench = Handle::new(runner::durable(Profile::FILES, &artifact), artifact, Box::new(Smooth));
    disturb(&mut bench.0.borrow_mut().durable.server);
    asked_on(&bench, minutes)
}

/// The same on this bench.
fn asked_on(bench: &Handle, minutes: u64) -> Vec<u64> {
    let end = Instant::ZERO + Duration::from_secs(60 * minutes);
    let mut times = Vec::new();
    runner::daemon(bench, &mut |bench, _| {
        let bench = bench.0.borrow();
        if bench.durable.server.count(Endpoint::Auth) as usize > times.len() {
            times.push(bench.now.as_millis() / 1000);
        }
        if bench.now < end { Then::GoOn } else { Then::Stop }
    });
    times
}

#[test]
fn n14_inventory_and_poll_share_one_vain_authentication() {
    assert_eq!(asked(4, |server| server.accepts_all = false), [0, 60, 120, 180]);
    let trouble = |server: &mut Server| server.disturb(Endpoint::Auth, 0, 1000, Fault::Status(503));
    assert_eq!(asked(4, trouble), [0, 60, 120, 180]);
}

/// The seconds at which a device that is not accepted asks, when `Sync_Enter` takes as long each time.
fn asked_with_slow_scripts(minutes: u64, seconds: u64) -> Vec<u64> {
    let artifact = sample::fitting(true);
    let plan = Box::new(SlowSync { asked: false });
    let bench = Handle::new(runner::durable(Profile::FILES, &artifact), artifact, plan);
    bench.0.borrow_mut().durable.server.accepts_all = false;
    bench.0.borrow_mut().config.state_script_retry_interval = Duration::from_secs(seconds);
    asked_on(&bench, minutes)
}

#[test]
fn n14_inventory_and_poll_share_one_vain_authentication_however_long_the_scripts_between_them_take() {
    assert_eq!(asked_with_slow_scripts(4, 2), [2, 64, 126, 188]);
}

/// Where something is always due when the scripts are done, the device never waits in Idle; it asks all the same.
#[test]
fn n14_scripts_that_take_as_long_as_the_back_off_do_not_end_authentication() {
    assert_eq!(asked_with_slow_scripts(6, 60), [60, 180, 300]);
}

#[test]
fn n13_an_inventory_put_off_by_the_server_is_not_sent_after_a_deployment_either() {
    let artifact = sample::fitting(true);
    let bench = Handle::new(runner::durable(Profile::FILES, &artifact), artifact, Box::new(Smooth));
    let put_off = Fault::RetryAfter("100".into());
    bench.0.borrow_mut().durable.server.disturb(Endpoint::Inventory, 0, 1, put_off);
    let end = Instant::ZERO + Duration::from_secs(150);
    let mut times = Vec::new();
    let mut memory = runner::Memory::default();
    let mut device =
        runner::Process::start(&bench, Run::Daemon, StopSet::default(), &mut memory).expect("it starts");
    while bench.0.borrow().now < end {
        assert!(device.poll().is_none());
        let sent = bench.0.borrow().durable.server.count(Endpoint::Inventory) as usize;
        if sent > times.len() {
            times.push(bench.0.borrow().now.as_millis() / 1000);
        }
        assert!(device.pass_time());
    }
    let bench = bench.0.borrow();
    assert_eq!(bench.durable.server.deployments[runner::DEPLOYMENT].status(), "success");
    assert_eq!(times, [0, 100]);
}

#[test]
fn n14_what_the_server_asks_for_is_waited_for_by_every_request() {
    let later = |server: &mut Server| server.disturb(Endpoint::Auth, 0, 1000, Fault::RetryAfter("50".into()));
    assert_eq!(asked(3, later), [0, 50, 100, 150]);
}

#[test]
fn n1_an_answer_that_drips_is_given_up() {
    for endpoint in [Endpoint::Auth, Endpoint::NextV1] {
        let artifact = sample::fitting(true);
        let bench = Handle::new(runner::durable(Profile::FILES, &artifact), artifact, Box::new(Smooth));
        bench.0.borrow_mut().durable.server.disturb(endpoint, 0, 1, Fault::Drip);
        runner::daemon(&bench, &mut |_, _| Then::GoOn);
        let bench = bench.0.borrow();
        assert_eq!(bench.durable.server.deployments[runner::DEPLOYMENT].status(), "success", "{endpoint:?}");
        assert!(
            bench.log.iter().any(|(_, line)| line.contains("no whole answer within 600 s")),
            "{endpoint:?}"
        );
        // Each byte takes four minutes.
        assert!(bench.now < Instant::ZERO + Duration::from_secs(3600), "{endpoint:?}: {:?}", bench.now);
    }
}

/// The body of such an answer says nothing, so its length means nothing.
#[test]
fn a_report_and_an_inventory_are_accepted_however_long_the_answer_is() {
    let artifact = sample::fitting(true);
    let bench = Handle::new(runner::durable(Profile::FILES, &artifact), artifact, Box::new(FailingInstall));
    let long = Fault::Body(vec![b' '; 1 << 20]);
    for endpoint in [Endpoint::Status, Endpoint::Log, Endpoint::Inventory] {
        bench.0.borrow_mut().durable.server.disturb(endpoint, 0, 1000, long.clone());
    }
    runner::daemon(&bench, &mut |bench, client| {
        let log_was_sent = bench.0.borrow().durable.server.count(Endpoint::Log) > 0;
        if log_was_sent && client.machine().is_idle() { Then::Stop } else { Then::GoOn }
    });
    let bench = bench.0.borrow();
    let server = &bench.durable.server;
    // `downloading`, `installing`, `failure`; nothing is sent twice, or later.
    assert_eq!((server.count(Endpoint::Status), server.count(Endpoint::Log)), (3, 1));
    assert_eq!(server.count(Endpoint::Inventory), 1);
    assert_eq!(bench.now, Instant::ZERO);
}

/// The module's `ArtifactInstall` fails.
struct FailingInstall;

impl Plan for FailingInstall {
    fn fate(&mut self, effect: &Effect) -> Fate {
        if *effect == Effect::Module(Call::ArtifactInstall) { Fate::Fails } else { Fate::Works }
    }
}

/// A key in an element that does not answer holds nothing up for ever.
#[test]
fn server_75_a_key_that_does_not_sign_ends_the_authentication_and_not_the_daemon() {
    let artifact = sample::fitting(true);
    let bench = Handle::new(runner::durable(Profile::FILES, &artifact), artifact, Box::new(Smooth));
    bench.0.borrow_mut().key_silent_until = Instant::ZERO + Duration::from_secs(5000);
    let times = asked_on(&bench, 150);
    let log = bench.0.borrow().log.iter().map(|(_, line)| format!("{line}\n")).collect::<String>();
    let said = "the device's key: it was not there, or did not sign, within 1 hour";
    assert_eq!(log.matches(said).count(), 1, "{log}");
    assert!(times.first().is_some_and(|first| *first > 3600), "{times:?}: {log}");
}
