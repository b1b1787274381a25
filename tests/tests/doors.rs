//! Control maps at the doors before install, reboot and commit (`update-control.md` 4 and 7), on the machine alone.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks at the operations it is about")]

use thimble_core::checkpoint::Tag;
use thimble_core::config::Config;
use thimble_core::control::{Map, Pool};
use thimble_core::deployment::{Call, Status};
use thimble_core::machine::{Action, ApiCall, Event, Machine, Op, OpId, Run, StopSet};
use thimble_core::state::Outcome;
use thimble_core::text::Text;
use thimble_core::time::{Duration, Instant};

const ID: &str = "01234567-89ab-cdef-0123-456789abcdef";

struct Device {
    machine: Machine,
    action: Action,
    now: Instant,
    did: Vec<String>,
}

impl Device {
    fn start() -> Self {
        let now = Instant::from_millis(1000);
        let (machine, action) =
            Machine::start(now, &Config::default(), Run::Daemon, StopSet::default(), None).unwrap();
        Self { machine, action, now, did: Vec::new() }
    }

    fn with_map(state: &str, rule: &str) -> Self {
        let mut device = Self::start();
        device.set_map(state, rule);
        device
    }

    fn set_map(&mut self, state: &str, rule: &str) {
        let json =
            format!(r#"{{"id":"11111111-1111-1111-1111-111111111111","states":{{"{state}":{rule}}}}}"#);
        let map = Map::parse(json.as_bytes()).unwrap().unwrap();
        let (_, action) = self.machine.set_local_map(self.now, map).unwrap();
        if action != Action::Wait {
            self.action = action;
        }
    }

    /// Everything succeeds (the module wants an automatic reboot and can roll back) until the machine waits.
    fn run(&mut self) {
        self.run_with(|_| Outcome::Success);
    }

    fn run_with(&mut self, outcome: impl Fn(Op) -> Outcome) {
        for _ in 0..300 {
            let Action::Start(id, op) = self.action.clone() else { return };
            self.note(op);
            self.complete(id, op, &outcome);
            if op == Op::End {
                return;
            }
        }
        panic!("goes on for ever: {:?}", self.did);
    }

    fn complete(&mut self, id: OpId, op: Op, outcome: &impl Fn(Op) -> Outcome) {
        let mut ended = outcome(op);
        match op {
            Op::RunScript(..) if ended == Outcome::Success => ended = Outcome::Nothing,
            Op::Request(ApiCall::Next) if ended == Outcome::Success => {
                self.machine.offer(Text::copy(ID).unwrap())
            }
            Op::CallModule(Call::NeedsArtifactReboot) if ended == Outcome::Success => {
                ended = Outcome::Automatic
            }
            Op::SaveMaps => self.machine.maps_saved(),
            _ => {}
        }
        self.action = self.machine.step(self.now, Event::Done(id, ended));
    }

    fn note(&mut self, op: Op) {
        match op {
            Op::CallModule(call) => self.did.push(call.name().into()),
            Op::Request(ApiCall::Status { status, .. }) => self.did.push(status.name().into()),
            Op::Request(ApiCall::ControlMap) => self.did.push("refresh".into()),
            Op::Reboot => self.did.push("reboot".into()),
            _ => {}
        }
    }

    fn wait(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
        self.action = self.machine.step(self.now, Event::Tick);
    }

    fn count(&self, what: &str) -> usize {
        self.did.iter().filter(|did| *did == what).count()
    }
}

#[test]
fn without_maps_the_doors_are_open() {
    let mut device = Device::start();
    device.run();
    assert_eq!(device.count("success"), 1, "{:?}", device.did);
    assert!(!device.did.iter().any(|did| did.starts_with("pause") || did == "refresh"));
}

#[test]
fn a_pause_holds_each_door_and_a_changed_map_opens_it() {
    for (state, status, before) in [
        ("ArtifactInstall_Enter", Status::PauseBeforeInstalling, "ArtifactInstall"),
        ("ArtifactReboot_Enter", Status::PauseBeforeRebooting, "reboot"),
        ("ArtifactCommit_Enter", Status::PauseBeforeCommitting, "ArtifactCommit"),
    ] {
        let mut device = Device::with_map(state, r#"{"action":"pause"}"#);
        device.run();
        assert_eq!(device.count(status.name()), 1, "{:?}", device.did);
        assert_eq!(device.count(before), 0, "{state}: {:?}", device.did);
        // Spurious ticks change nothing.
        device.wait(1);
        assert_eq!(device.action, Action::Wait);

        device.set_map(state, r#"{"action":"force_continue"}"#);
        device.run();
        assert_eq!(device.count(status.name()), 1, "reported once: {:?}", device.did);
        assert_eq!((device.count(before), device.count("success")), (1, 1), "{state}: {:?}", device.did);
    }
}

#[test]
fn a_map_that_says_fail_rolls_back_without_error_scripts() {
    let mut device = Device::with_map("ArtifactCommit_Enter", r#"{"action":"fail"}"#);
    device.run();
    let after: Vec<_> = device.did.iter().skip_while(|did| *did != "reboot").map(String::as_str).collect();
    assert!(after.contains(&"SupportsRollback") && after.contains(&"ArtifactRollback"), "{after:?}");
    assert_eq!((device.count("ArtifactCommit"), device.count("failure")), (0, 1), "{after:?}");
}

#[test]
fn a_paused_map_that_nobody_renews_expires_into_failure() {
    let mut device = Device::with_map("ArtifactInstall_Enter", r#"{"action":"pause"}"#);
    device.run();
    // Half-way it looks again, and holds on.
    device.wait(1800);
    device.run();
    assert_eq!(device.count("ArtifactRollback"), 0);
    device.wait(1801);
    device.run();
    assert_eq!((device.count("ArtifactInstall"), device.count("failure")), (0, 1), "{:?}", device.did);
}

#[test]
fn a_pause_is_reported_again_every_poll_interval_and_an_abort_is_noticed() {
    let mut device =
        Device::with_map("ArtifactInstall_Enter", r#"{"action":"pause","on_map_expire":"continue"}"#);
    device.run();
    device.wait(1800);
    device.run_with(|op| {
        if matches!(op, Op::Request(ApiCall::Status { status: Status::PauseBeforeInstalling, .. })) {
            Outcome::Aborted
        } else {
            Outcome::Success
        }
    });
    assert_eq!(device.count("pause_before_installing"), 2, "{:?}", device.did);
    assert_eq!((device.count("ArtifactInstall"), device.count("failure")), (0, 1), "{:?}", device.did);
}

#[test]
fn a_pause_before_the_reboot_is_on_record_as_the_reboot() {
    let mut device = Device::with_map("ArtifactReboot_Enter", r#"{"action":"pause"}"#);
    device.run();
    assert_eq!(device.machine.checkpoint().tag, Tag::Reboot);
    assert!(device.machine.is_saved());
    // Power is lost: it counts as the reboot.
    let saved = device.machine.checkpoint().clone();
    let (machine, action) =
        Machine::start(device.now, &Config::default(), Run::Daemon, StopSet::default(), Some(saved)).unwrap();
    let mut again = Device { machine, action, now: device.now, did: Vec::new() };
    again.run();
    assert_eq!(again.did.first().map(String::as_str), Some("ArtifactVerifyReboot"), "{:?}", again.did);
    assert_eq!(again.count("success"), 1);
}

#[test]
fn the_servers_map_is_refreshed_before_each_door_and_its_end_aborts() {
    let server_map = |device: &mut Device| {
        let raw = format!(r#"{{"id":"{ID}","states":{{}}}}"#);
        let keep =
            format!(r#"{{"id":"{ID}","states":{{"ArtifactCommit_Enter":{{"action":"force_continue"}}}}}}"#);
        assert!(Map::from_server(Some(&raw), ID).is_ok());
        device.machine.set_server_map(device.now, Map::from_server(Some(&keep), ID).map_err(|_| ()));
    };
    for abort in [false, true] {
        let mut device = Device::start();
        for _ in 0..300 {
            let Action::Start(id, op) = device.action.clone() else { break };
            device.note(op);
            let is_next = op == Op::Request(ApiCall::Next);
            let refused = abort && op == Op::Request(ApiCall::ControlMap) && device.count("refresh") == 2;
            if is_next {
                device.machine.offer(Text::copy(ID).unwrap());
                server_map(&mut device);
                device.action = device.machine.step(device.now, Event::Done(id, Outcome::Success));
            } else {
                let ended = if refused { Outcome::Aborted } else { Outcome::Success };
                device.complete(id, op, &|_| ended);
            }
            if device.did.iter().any(|did| did == "success" || did == "failure") {
                break;
            }
        }
        if abort {
            assert_eq!(
                (device.count("refresh"), device.count("rebooting"), device.count("failure")),
                (2, 0, 1)
            );
        } else {
            assert_eq!((device.count("refresh"), device.count("success")), (3, 1), "{:?}", device.did);
        }
    }
}

#[test]
fn a_map_of_the_servers_that_is_no_good_fails_the_deployment_at_once() {
    let mut device = Device::start();
    while let Action::Start(id, op) = device.action.clone() {
        device.note(op);
        if op == Op::Request(ApiCall::Next) {
            device.machine.offer(Text::copy(ID).unwrap());
            device.machine.set_server_map(device.now, Err(()));
            device.action = device.machine.step(device.now, Event::Done(id, Outcome::Success));
        } else {
            device.complete(id, op, &|_| Outcome::Success);
        }
        if device.count("failure") == 1 {
            break;
        }
    }
    assert_eq!(device.did, ["failure"]);
}

#[test]
fn saved_maps_that_cannot_be_read_hold_nothing_back_but_fail_what_they_may_have_held() {
    let mut device = Device::start();
    device.machine.load_maps(None);
    device.run();
    assert_eq!((device.count("ArtifactInstall"), device.count("failure")), (0, 1), "{:?}", device.did);

    let mut device = Device::start();
    device.machine.load_maps(Some(Pool::new()));
    device.run();
    assert_eq!(device.count("success"), 1);
}
