//! Control maps at the doors before install, reboot and commit (CONTROL-20 to CONTROL-22, CONTROL-50
//! to CONTROL-56), on the machine alone.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks at the operations it is about")]

use thimble_core::checkpoint::{Checkpoint, Tag};
use thimble_core::config::Config;
use thimble_core::control::{Holder, Lifetime, Map, Order, Points};
use thimble_core::deployment::{Call, Point, Status, Verdict};
use thimble_core::machine::{
    Action, ApiCall, DoorNote, Event, Held, Machine, OfferedMap, Op, OpId, Run, Saved, StopSet,
};
use thimble_core::state::Outcome;
use thimble_core::text::{Text, TextExt};
use thimble_core::time::{Duration, Instant};

const ID: &str = "01234567-89ab-cdef-0123-456789abcdef";

const OPERATOR: Holder = Holder { id: 7, priority: 10 };

struct Device {
    machine: Machine,
    action: Action,
    now: Instant,
    did: Vec<String>,
    /// The record of the maps was written when that of the update was deleted.
    cleared_maps: bool,
    /// What the server says about the deployment.
    server: Option<Map>,
    /// What happened at the doors.
    notes: Vec<DoorNote>,
}

impl Device {
    fn start() -> Self {
        Self::configured(&Config::default())
    }

    fn with_policies() -> Self {
        Self::configured(&Config { policies: true, ..Config::default() })
    }

    fn configured(config: &Config) -> Self {
        Self::saved(config, Saved::nothing())
    }

    fn saved(config: &Config, saved: Saved) -> Self {
        let now = Instant::from_millis(1000);
        let (machine, action) = Machine::start(now, config, Run::Daemon, StopSet::default(), saved).unwrap();
        Self { machine, action, now, did: Vec::new(), cleared_maps: false, server: None, notes: Vec::new() }
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
        assert!(self.machine.renewal(self.now, map).is_ok());
        self.tell(Event::LocalMap(map));
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

    /// Until it waits; the server offers its deployment with this map.
    fn run_offered(&mut self, map: &str, outcome: &impl Fn(Op) -> Outcome) {
        self.server = Map::from_server(Some(map), ID).unwrap();
        while let Action::Start(id, op) = self.action.clone() {
            self.note(op);
            self.complete(id, op, outcome);
        }
    }

    fn complete(&mut self, id: OpId, op: Op, outcome: &impl Fn(Op) -> Outcome) {
        let mut ended = outcome(op);
        match op {
            Op::RunScript(..) if ended == Outcome::Success => ended = Outcome::Nothing,
            Op::Request(ApiCall::Next) if ended == Outcome::Success => {
                let map = self.server.map_or(OfferedMap::Absent, OfferedMap::Map);
                return self.offer(id, map);
            }
            Op::Request(ApiCall::ControlMap) if ended == Outcome::Success => {
                return self.step(Event::Refreshed { op: id, map: self.server });
            }
            Op::CallModule(Call::NeedsArtifactReboot) if ended == Outcome::Success => {
                ended = Outcome::Automatic
            }
            _ => {}
        }
        self.step(Event::Done(id, ended));
    }

    fn step(&mut self, event: Event) {
        self.action = self.machine.step(self.now, event);
        self.notes.extend(self.machine.door_note());
    }

    fn offer(&mut self, op: OpId, map: OfferedMap) {
        let id = Text::copy(ID).unwrap();
        self.step(Event::Offered { op, id, map });
    }

    fn note(&mut self, op: Op) {
        match op {
            Op::CallModule(call) => self.did.push(call.name().into()),
            Op::Request(ApiCall::Status { status, .. }) => self.did.push(status.name().into()),
            Op::Request(ApiCall::ControlMap) => self.did.push("refresh".into()),
            Op::Reboot => self.did.push("reboot".into()),
            Op::Save => self.did.push("save".into()),
            Op::SaveMaps => self.did.push("save maps".into()),
            Op::ClearData => self.cleared_maps |= self.machine.maps_to_save().is_some(),
            Op::AskPolicy(point) => self.did.push(format!("policy {}", point.word())),
            _ => {}
        }
    }

    fn order(&mut self, points: &[Point], order: Order, lifetime: Lifetime) {
        let points = Points::of(points);
        self.machine.takes_order(self.now, OPERATOR, points, order, lifetime).unwrap();
        self.tell(Event::Order { name: OPERATOR, points, order, lifetime });
    }

    fn approve(&mut self) {
        self.tell(Event::Approved);
    }

    /// Something happens beside the outstanding operation; the maps can always be saved.
    fn tell(&mut self, event: Event) {
        let mut action = self.machine.step(self.now, event);
        if action == Action::SaveMaps {
            action = self.machine.step(self.now, Event::MapsSaved(true));
        }
        if action != Action::Wait {
            self.action = action;
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
fn r24_what_fails_before_the_install_is_cleaned_up_and_nothing_else() {
    for (why, says_no) in [
        ("a map", None),
        ("a policy", Some(Op::AskPolicy(Point::Install))),
        ("the server", Some(Op::Request(ApiCall::ControlMap))),
    ] {
        let mut device = Device::with_policies();
        if why == "a map" {
            device.set_map("ArtifactInstall_Enter", r#"{"action":"fail"}"#);
        }
        let keep =
            format!(r#"{{"id":"{ID}","states":{{"ArtifactCommit_Enter":{{"action":"force_continue"}}}}}}"#);
        device.server = Map::from_server(Some(&keep), ID).unwrap();
        let mut verdict = None;
        for _ in 0..300 {
            let Action::Start(id, op) = device.action.clone() else { panic!("{why}: {:?}", device.action) };
            device.note(op);
            if op == Op::End {
                break;
            }
            verdict = Some(device.machine.verdict());
            let aborted =
                if op == Op::Request(ApiCall::ControlMap) { Outcome::Aborted } else { Outcome::Failure };
            device.complete(id, op, &|op| if says_no == Some(op) { aborted } else { Outcome::Success });
        }
        let mut did = device.did.clone();
        did.retain(|did| did.starts_with("Artifact") || did.starts_with("Supports") || did == "Cleanup");
        assert_eq!(did, ["Cleanup"], "{why}: {:?}", device.did);
        assert_eq!((device.count("reboot"), device.count("failure")), (0, 1), "{why}: {:?}", device.did);
        assert_eq!(verdict, Some(Verdict::RolledBack), "{why}: the name stays");
    }
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
        Machine::start(device.now, &Config::default(), Run::Daemon, StopSet::default(), Some(saved).into())
            .unwrap();
    let mut again = Device {
        machine,
        action,
        now: device.now,
        did: Vec::new(),
        cleared_maps: false,
        server: None,
        notes: Vec::new(),
    };
    again.run();
    let first = again.did.iter().find(|did| *did != "save");
    assert_eq!(first.map(String::as_str), Some("ArtifactVerifyReboot"), "{:?}", again.did);
    assert_eq!(again.count("success"), 1);
}

#[test]
fn the_servers_map_is_refreshed_before_each_door_and_its_end_aborts() {
    let keep =
        format!(r#"{{"id":"{ID}","states":{{"ArtifactCommit_Enter":{{"action":"force_continue"}}}}}}"#);
    for abort in [false, true] {
        let mut device = Device::start();
        device.server = Map::from_server(Some(&keep), ID).unwrap();
        for _ in 0..300 {
            let Action::Start(id, op) = device.action.clone() else { break };
            device.note(op);
            let refused = abort && op == Op::Request(ApiCall::ControlMap) && device.count("refresh") == 2;
            let ended = if refused { Outcome::Aborted } else { Outcome::Success };
            device.complete(id, op, &|_| ended);
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
            device.offer(id, OfferedMap::Unusable);
        } else {
            device.complete(id, op, &|_| Outcome::Success);
        }
        if device.count("failure") == 1 {
            break;
        }
    }
    device.did.retain(|did| did != "save");
    assert_eq!(device.did, ["failure"]);
}

/// Before the commit, as an earlier process has left it.
fn in_progress() -> Checkpoint {
    let mut device = Device::start();
    while let Action::Start(id, op) = device.action.clone() {
        if op == Op::Reboot {
            break;
        }
        device.complete(id, op, &|_| Outcome::Success);
    }
    assert_eq!(device.machine.checkpoint().tag, Tag::Reboot);
    device.machine.checkpoint().clone()
}

#[test]
fn saved_maps_that_cannot_be_read_fail_the_update_that_they_may_have_held_back() {
    let unreadable = Saved { update: Some(in_progress()), maps: None, ..Saved::nothing() };
    let mut device = Device::saved(&Config::default(), unreadable);
    device.run();
    assert_eq!((device.count("ArtifactCommit"), device.count("failure")), (0, 1), "{:?}", device.did);
    // Else it would fail every deployment that restarts the device.
    assert!(device.cleared_maps, "{:?}", device.did);

    let readable = Saved::from(Some(in_progress()));
    let mut device = Device::saved(&Config::default(), readable);
    device.run();
    assert_eq!(device.count("success"), 1);
}

#[test]
fn a_damaged_record_of_the_maps_does_not_fail_an_update_that_comes_later() {
    let mut device = Device::saved(&Config::default(), Saved { maps: None, ..Saved::nothing() });
    let first = loop {
        let Action::Start(id, op) = device.action.clone() else { panic!("{:?}", device.action) };
        if op == Op::Save {
            break device.machine.maps_to_save().is_some();
        }
        device.complete(id, op, &|_| Outcome::Success);
    };
    assert!(first, "it is written anew with the first record");
    device.run();
    assert_eq!(device.count("success"), 1, "{:?}", device.did);
}

#[test]
fn a_restart_finds_a_damaged_record_as_it_is_until_the_update_has_failed() {
    let mut device = Device::saved(
        &Config::default(),
        Saved { update: Some(in_progress()), maps: None, ..Saved::nothing() },
    );
    device.set_map("ArtifactReboot_Enter", r#"{"action":"pause"}"#);
    assert!(device.machine.maps_to_save().is_none(), "the update would pass after a restart");
    device.run();
    assert_eq!(device.count("failure"), 1, "{:?}", device.did);
    assert!(device.cleared_maps);
}

/// What the server says about a deployment is on record exactly when the deployment is: a restart in between would
/// take the map for a program's.
#[test]
fn a_map_of_a_program_between_an_offer_and_its_record_does_not_save_the_servers() {
    let map = format!(r#"{{"id":"{ID}","states":{{"ArtifactReboot_Enter":{{"action":"pause"}}}}}}"#);
    let mut device = Device::start();
    device.server = Map::from_server(Some(&map), ID).unwrap();
    let mut written = Vec::new();
    while let Action::Start(id, op) = device.action.clone() {
        if op == Op::Request(ApiCall::Status { status: Status::Downloading, fresh_token: false }) {
            let map = r#"{"id":"11111111-1111-1111-1111-111111111111","states":{"ArtifactReboot_Enter":{"action":"pause"}}}"#;
            let map = Map::parse(map.as_bytes()).unwrap().unwrap();
            assert_eq!(device.machine.step(device.now, Event::LocalMap(map)), Action::SaveMaps);
            written.push(ids_on_record(&device.machine));
            assert_eq!(device.machine.step(device.now, Event::MapsSaved(true)), Action::Wait);
        }
        if op == Op::Save {
            written.push(ids_on_record(&device.machine));
            if written.len() == 3 {
                break;
            }
        }
        device.complete(id, op, &|_| Outcome::Success);
    }
    assert_eq!(written, [1, 2, 0], "the program's, both with the deployment, then nothing new");
}

/// How many maps are to be made durable.
fn ids_on_record(machine: &Machine) -> usize {
    let mut buf = [0; thimble_core::limits::MAPS_RECORD];
    let record = machine.maps_to_save().and_then(|maps| maps.write(&mut buf).unwrap());
    record.map_or(0, |record| record.matches("\"id\"").count())
}

#[test]
fn a_pause_before_the_reboot_is_put_on_record_once() {
    let mut device = Device::with_policies();
    let held = |op| match op {
        Op::AskPolicy(Point::Reboot) => Outcome::Later(Some(60)),
        _ => Outcome::Success,
    };
    device.run_with(held);
    assert_eq!(device.machine.checkpoint().tag, Tag::Reboot);
    let written = device.count("save");
    for _ in 0..10 {
        device.wait(60);
        device.run_with(held);
    }
    assert_eq!((device.count("policy reboot"), device.count("save")), (11, written), "it wears the flash");
}

#[test]
fn maps_that_are_only_renewed_are_not_written_again() {
    let mut device = Device::start();
    let map = r#"{"id":"11111111-1111-1111-1111-111111111111","states":{"ArtifactReboot_Enter":{"action":"pause"}}}"#;
    let map = Map::parse(map.as_bytes()).unwrap().unwrap();
    assert_eq!(device.machine.step(device.now, Event::LocalMap(map)), Action::SaveMaps);
    assert!(device.machine.maps_to_save().is_some());
    assert_eq!(device.machine.step(device.now, Event::MapsSaved(true)), Action::Wait);
    let later = device.now + Duration::from_secs(1800);
    assert_eq!(device.machine.step(later, Event::LocalMap(map)), Action::Wait);
    assert!(device.machine.maps_to_save().is_none());

    let map = format!(r#"{{"id":"{ID}","states":{{"ArtifactReboot_Enter":{{"action":"pause"}}}}}}"#);
    device.server = Map::from_server(Some(&map), ID).unwrap();
    let downloads = |op: Op| matches!(op, Op::Stream(_));
    let mut new = Vec::new();
    while let Action::Start(id, op) = device.action.clone() {
        if op == Op::Save {
            new.push(device.machine.maps_to_save().is_some());
        }
        if downloads(op) {
            break;
        }
        device.complete(id, op, &|_| Outcome::Success);
    }
    assert_eq!(new, [true, false], "with the first record, and not again");
    // It comes again with a fresh link.
    for seconds in [1800, 3600] {
        let at = device.now + Duration::from_secs(seconds);
        let map = device.server.unwrap();
        assert_eq!(device.machine.step(at, Event::ServerMap(map)), Action::Wait, "after {seconds} s");
    }
}

#[test]
fn maps_that_could_not_be_saved_are_saved_with_the_next_record() {
    let mut device = Device::start();
    let map = r#"{"id":"11111111-1111-1111-1111-111111111111","states":{"ArtifactReboot_Enter":{"action":"pause"}}}"#;
    let map = Map::parse(map.as_bytes()).unwrap().unwrap();
    assert_eq!(device.machine.step(device.now, Event::LocalMap(map)), Action::SaveMaps);
    assert_eq!(device.machine.step(device.now, Event::MapsSaved(false)), Action::Wait);
    let mut new = Vec::new();
    while let Action::Start(id, op) = device.action.clone() {
        if op == Op::Save {
            new.push(device.machine.maps_to_save().is_some());
        }
        // The first record cannot be written either.
        let outcome = if op == Op::Save && new.len() == 1 { Outcome::Failure } else { Outcome::Success };
        device.complete(id, op, &|_| outcome);
        if op == Op::End {
            break;
        }
    }
    assert_eq!(new.first(), Some(&true));
    assert!(device.machine.maps_to_save().is_none(), "they were written with the end of the record");
}

#[test]
fn what_changes_while_the_maps_are_being_written_is_written_as_well() {
    let mut device = Device::with_policies();
    device.set_map("ArtifactInstall_Enter", r#"{"action":"force_continue","on_action_executed":"pause"}"#);
    while let Action::Start(id, op) = device.action.clone() {
        if op == Op::SaveMaps {
            let map = r#"{"id":"22222222-1111-1111-1111-111111111111","states":{"ArtifactReboot_Enter":{"action":"pause"}}}"#;
            let map = Map::parse(map.as_bytes()).unwrap().unwrap();
            assert_eq!(device.machine.step(device.now, Event::LocalMap(map)), Action::SaveMaps);
            assert_eq!(device.machine.step(device.now, Event::MapsSaved(false)), Action::Wait);
            device.complete(id, op, &|_| Outcome::Success);
            assert!(device.machine.maps_to_save().is_some(), "the second map is not on record");
            return;
        }
        device.complete(id, op, &|_| Outcome::Success);
    }
    panic!("the maps are never saved");
}

#[test]
fn each_deployment_has_all_its_retries_of_the_refresh() {
    let map = format!(r#"{{"id":"{ID}","states":{{"ArtifactReboot_Enter":{{"action":"force_continue"}}}}}}"#);
    let mut device = Device::start();
    device.server = Map::from_server(Some(&map), ID).unwrap();
    let mut refreshes = [0, 0];
    for refreshed in &mut refreshes {
        for _ in 0..1000 {
            match device.action.clone() {
                Action::Start(id, op) => {
                    device.note(op);
                    let refresh = op == Op::Request(ApiCall::ControlMap);
                    *refreshed += u32::from(refresh);
                    device.complete(id, op, &|_| if refresh { Outcome::Failure } else { Outcome::Success });
                    if op == Op::End {
                        break;
                    }
                }
                Action::Wait | Action::Kill | Action::SaveMaps | Action::Exit(_) => {
                    let at = device.machine.deadline().expect("it waits for something");
                    device.now = device.now.max(at);
                    device.action = device.machine.step(device.now, Event::Tick);
                }
            }
        }
    }
    assert_eq!(device.count("failure"), 2, "{:?}", device.did);
    assert_eq!(refreshes[0], refreshes[1], "tries in the first deployment and in the second");
    assert!(refreshes[0] > 1, "{refreshes:?}");
}

#[test]
fn an_approval_does_not_wait_for_a_server_that_does_not_answer() {
    let map = format!(r#"{{"id":"{ID}","states":{{"ArtifactInstall_Enter":{{"action":"pause"}}}}}}"#);
    let mut device = Device::start();
    device.run_offered(&map, &|_| Outcome::Success);
    assert!(matches!(device.machine.held(), Some((Point::Install, Held::Map(_)))), "{:?}", device.did);
    let no_refresh = |op| match op {
        Op::Request(ApiCall::ControlMap) => Outcome::Failure,
        _ => Outcome::Success,
    };
    device.wait(1800);
    device.run_with(no_refresh);
    assert_eq!(device.action, Action::Wait, "the next try of the refresh");
    device.approve();
    device.run_with(no_refresh);
    assert_eq!(device.count("ArtifactInstall"), 1, "{:?}", device.did);
}

#[test]
fn an_approval_ends_a_refresh_that_is_not_answered_and_the_update_goes_on() {
    let map = format!(r#"{{"id":"{ID}","states":{{"ArtifactReboot_Enter":{{"action":"force_continue"}}}}}}"#);
    // Before anything has held the update at the door, and after a try that has failed.
    for tries in [1, 2] {
        let mut device = Device::start();
        device.server = Map::from_server(Some(&map), ID).unwrap();
        loop {
            match device.action.clone() {
                Action::Start(id, op) if op == Op::Request(ApiCall::ControlMap) => {
                    device.note(op);
                    if device.count("refresh") < tries {
                        device.complete(id, op, &|_| Outcome::Failure);
                        assert_eq!(device.machine.held(), Some((Point::Install, Held::Server)));
                        continue;
                    }
                    device.approve();
                    assert_eq!(device.action, Action::Kill);
                    device.complete(id, op, &|_| Outcome::Failure);
                    break;
                }
                Action::Start(id, op) => device.complete(id, op, &|_| Outcome::Success),
                Action::Wait => device.wait(60),
                other @ (Action::Kill | Action::SaveMaps | Action::Exit(_)) => panic!("{other:?}"),
            }
        }
        assert_eq!(device.notes, [DoorNote::Approved(Point::Install)]);
        device.run_with(|op| match op {
            Op::Request(ApiCall::ControlMap) => Outcome::Failure,
            _ => Outcome::Success,
        });
        assert_eq!(device.count("ArtifactInstall"), 1, "{:?}", device.did);
    }
}

#[test]
fn a_server_that_is_overloaded_holds_an_update_at_a_door_for_a_day_at_most() {
    let map = format!(r#"{{"id":"{ID}","states":{{"ArtifactReboot_Enter":{{"action":"force_continue"}}}}}}"#);
    let mut device = Device::start();
    device.server = Map::from_server(Some(&map), ID).unwrap();
    let mut begun = None;
    while device.count("failure") == 0 {
        match device.action.clone() {
            Action::Start(id, op) => {
                device.note(op);
                let refresh = op == Op::Request(ApiCall::ControlMap);
                let outcome = if refresh { Outcome::Later(Some(5000)) } else { Outcome::Success };
                if refresh {
                    begun.get_or_insert(device.now);
                }
                device.complete(id, op, &|_| outcome);
            }
            Action::Wait => {
                device.now = device.machine.deadline().expect("it waits for something");
                device.action = device.machine.step(device.now, Event::Tick);
            }
            other @ (Action::Kill | Action::SaveMaps | Action::Exit(_)) => panic!("{other:?}"),
        }
    }
    assert_eq!(device.now.since(begun.unwrap()), Duration::from_secs(24 * 3600));
}

#[test]
fn a_loop_at_a_door_comes_to_an_equal_machine() {
    let mut device = Device::start();
    let base = Instant::ZERO + Duration::from_secs(10 * 24 * 3600);
    device.order(&Point::ALL, Order::Pause, Lifetime::Unlimited);
    device.run();
    device.machine.rebase(device.now, base);
    let mut seen = Vec::new();
    // The timer of the inventory runs out meanwhile.
    for _ in 0..20 {
        device.now = device.machine.deadline().expect("the pause is reported again");
        assert_eq!(device.now.since(base), Duration::from_secs(1800));
        device.action = device.machine.step(device.now, Event::Tick);
        device.run();
        device.machine.rebase(device.now, base);
        seen.push(device.machine.clone());
    }
    assert_ne!(seen[0], seen[1], "the inventory comes nearer");
    assert!(seen[17] == seen[18] && seen[18] == seen[19], "{:#?} {:#?}", seen[18], seen[19]);
}

#[test]
fn the_maps_decide_before_the_policies_are_asked() {
    let mut device = Device::with_policies();
    device.run();
    assert_eq!(
        ["policy install", "policy reboot", "policy commit"].map(|policy| device.count(policy)),
        [1, 1, 1],
        "{:?}",
        device.did
    );
    assert_eq!(device.count("success"), 1);

    for (rule, asked) in [(r#"{"action":"force_continue"}"#, 0), (r#"{"action":"continue"}"#, 1)] {
        let mut device = Device::with_policies();
        device.set_map("ArtifactInstall_Enter", rule);
        device.run();
        assert_eq!((device.count("policy install"), device.count("success")), (asked, 1), "{rule}");
    }
    let mut device = Device::with_policies();
    device.set_map("ArtifactInstall_Enter", r#"{"action":"pause"}"#);
    device.run();
    assert_eq!((device.count("policy install"), device.count("pause_before_installing")), (0, 1));
}

#[test]
fn a_policy_holds_the_update_up_until_it_says_otherwise() {
    let held = |op| match op {
        Op::AskPolicy(Point::Reboot) => Outcome::Later(Some(60)),
        _ => Outcome::Success,
    };
    let mut device = Device::with_policies();
    device.run_with(held);
    assert_eq!(device.machine.held(), Some((Point::Reboot, Held::Policy)));
    assert_eq!(device.notes, [DoorNote::Waits(Point::Reboot, Held::Policy)]);
    assert_eq!(device.machine.deadline(), Some(device.now + Duration::from_secs(60)));
    for asked in 2..5 {
        device.wait(60);
        device.run_with(held);
        assert_eq!((device.count("policy reboot"), device.count("pause_before_rebooting")), (asked, 1));
        assert_eq!(device.notes.len(), 1, "said once");
    }
    device.wait(60);
    device.run();
    assert_eq!((device.count("reboot"), device.count("success")), (1, 1), "{:?}", device.did);
    assert_eq!(device.machine.held(), None);
}

#[test]
fn a_policy_that_wants_to_be_asked_again_does_not_make_the_server_be_asked() {
    let mut device = Device::with_policies();
    let map = format!(r#"{{"id":"{ID}","states":{{"ArtifactReboot_Enter":{{"action":"force_continue"}}}}}}"#);
    let held = |op| match op {
        Op::AskPolicy(_) => Outcome::Later(Some(60)),
        _ => Outcome::Success,
    };
    device.run_offered(&map, &held);
    for _ in 0..10 {
        device.wait(60);
        device.run_with(held);
    }
    assert_eq!((device.count("refresh"), device.count("policy install")), (1, 11), "{:?}", device.did);
}

#[test]
fn a_policy_that_says_no_fails_the_update() {
    let mut device = Device::with_policies();
    device
        .run_with(|op| if op == Op::AskPolicy(Point::Commit) { Outcome::Failure } else { Outcome::Success });
    assert_eq!((device.count("ArtifactCommit"), device.count("failure")), (0, 1), "{:?}", device.did);
    assert_eq!(device.notes, [DoorNote::Fails(Point::Commit, Some(Held::Policy))]);
}

#[test]
fn a_person_lets_a_waiting_update_pass_whatever_holds_it() {
    let closed = |op| match op {
        Op::AskPolicy(_) => Outcome::Later(Some(60)),
        _ => Outcome::Success,
    };
    let mut device = Device::with_policies();
    device.set_map("ArtifactInstall_Enter", r#"{"action":"pause"}"#);
    device.run_with(closed);
    assert_eq!(device.count("ArtifactInstall"), 0);
    device.approve();
    device.run_with(closed);
    assert_eq!(device.count("ArtifactInstall"), 1, "{:?}", device.did);
    assert_eq!(device.machine.held(), Some((Point::Reboot, Held::Policy)), "for that door only");
    device.approve();
    device.run_with(closed);
    device.approve();
    device.run_with(closed);
    assert_eq!(device.count("success"), 1, "{:?}", device.did);
    // Nothing waits: nothing is let pass in advance.
    device.approve();
    assert_eq!(device.machine.held(), None);
}

#[test]
fn an_approval_behind_a_door_that_was_left_for_good_ends_nothing() {
    let map = format!(r#"{{"id":"{ID}","states":{{"ArtifactInstall_Enter":{{"action":"pause"}}}}}}"#);
    let mut device = Device::start();
    device.server = Map::from_server(Some(&map), ID).unwrap();
    loop {
        let Action::Start(id, op) = device.action.clone() else { panic!("{:?}", device.action) };
        if op == Op::CallModule(Call::Cleanup) {
            break;
        }
        // The server aborts the deployment where it is asked for its map.
        let aborted = |op| match op {
            Op::Request(ApiCall::ControlMap) => Outcome::Aborted,
            _ => Outcome::Success,
        };
        device.complete(id, op, &aborted);
    }
    let before = device.machine.clone();
    let action = device.machine.step(device.now, Event::Approved);
    assert_eq!(action, Action::Wait, "what runs is not ended");
    assert_eq!(device.machine, before, "nor does the approval count at the next door");
    device.run();
    assert!(device.notes.is_empty(), "{:?}", device.notes);
}

#[test]
fn what_changes_while_the_pause_is_being_reported_is_noticed_right_after() {
    for approved in [false, true] {
        let mut device = Device::with_map("ArtifactInstall_Enter", r#"{"action":"pause"}"#);
        let pause = ApiCall::Status { status: Status::PauseBeforeInstalling, fresh_token: false };
        while let Action::Start(id, op) = device.action.clone() {
            if op == Op::Request(pause) {
                // The request is on its way; an approval does not wait for its end.
                let outcome = if approved {
                    device.approve();
                    assert_eq!(device.action, Action::Kill);
                    Outcome::Failure
                } else {
                    device.set_map("ArtifactInstall_Enter", r#"{"action":"force_continue"}"#);
                    assert_eq!(device.action, Action::Start(id.clone(), op));
                    Outcome::Success
                };
                device.complete(id, op, &|_| outcome);
                continue;
            }
            device.note(op);
            device.complete(id, op, &|_| Outcome::Success);
            if op == Op::End {
                break;
            }
        }
        assert_eq!(device.count("success"), 1, "{:?}", device.did);
    }
}

#[test]
fn what_changes_while_a_policy_is_asked_is_noticed_right_after() {
    let mut device = Device::with_policies();
    let mut once = false;
    while let Action::Start(id, op) = device.action.clone() {
        if op == Op::AskPolicy(Point::Install) && !core::mem::replace(&mut once, true) {
            device.set_map("ArtifactInstall_Enter", r#"{"action":"pause"}"#);
        }
        device.note(op);
        device.complete(id, op, &|_| Outcome::Success);
    }
    assert_eq!(device.count("ArtifactInstall"), 0, "the map came before the door was passed");
    assert!(matches!(device.machine.held(), Some((Point::Install, Held::Map(_)))), "{:?}", device.did);
}

#[test]
fn orders_of_a_person_hold_let_go_and_fail() {
    let mut device = Device::start();
    device.order(&Point::ALL, Order::Pause, Lifetime::Unlimited);
    device.run();
    assert_eq!(device.machine.held(), Some((Point::Install, Held::Map(OPERATOR))));
    // It never expires, and is reported again to notice an abort.
    for _ in 0..200 {
        device.wait(1800);
        device.run();
    }
    assert_eq!(device.count("ArtifactInstall"), 0);
    device.order(&[Point::Install], Order::Lift, Lifetime::Unlimited);
    device.run();
    assert_eq!((device.count("ArtifactInstall"), device.count("reboot")), (1, 0));
    device.order(&[Point::Reboot], Order::Fail, Lifetime::Unlimited);
    device.run();
    assert_eq!(
        (device.count("reboot"), device.count("ArtifactRollback"), device.count("failure")),
        (1, 1, 1)
    );
    assert_eq!(device.count("rebooting"), 0, "the reboot is that of the rollback: {:?}", device.did);

    let mut device = Device::start();
    device.order(&[Point::Commit], Order::Pause, Lifetime::For(Duration::from_secs(7200)));
    device.run();
    device.wait(7199);
    device.run();
    assert_eq!(device.count("ArtifactCommit"), 0);
    device.wait(1);
    device.run();
    assert_eq!(device.count("success"), 1, "its time is up: {:?}", device.did);
}

#[test]
fn a_pause_at_each_point_ends_in_every_way() {
    let install = ("ArtifactInstall_Enter", "pause_before_installing", "ArtifactInstall");
    let reboot = ("ArtifactReboot_Enter", "pause_before_rebooting", "reboot");
    let commit = ("ArtifactCommit_Enter", "pause_before_committing", "ArtifactCommit");
    for (state, status, behind) in [install, reboot, commit] {
        for end in
            ["continue", "force_continue", "fail", "expires", "expires into continue", "removed", "409"]
        {
            let rule = match end {
                "expires into continue" => r#"{"action":"pause","on_map_expire":"continue"}"#,
                _ => r#"{"action":"pause"}"#,
            };
            let mut device = Device::with_map(state, rule);
            device.run();
            let before = device.count(behind);
            let aborts = |op| match op {
                Op::Request(ApiCall::Status { status, .. }) if status.name().starts_with("pause") => {
                    Outcome::Aborted
                }
                _ => Outcome::Success,
            };
            match end {
                "expires" | "expires into continue" => {
                    device.wait(1800);
                    device.run();
                    device.wait(1800);
                    device.run();
                }
                "removed" => {
                    device.set_map(state, "{}");
                    device.run();
                }
                "409" => {
                    device.wait(1800);
                    device.run_with(aborts);
                }
                action => {
                    device.set_map(state, &format!(r#"{{"action":"{action}"}}"#));
                    device.run();
                }
            }
            let goes_on = !matches!(end, "fail" | "expires" | "409");
            let context = format!("{state} {end}: {:?}", device.did);
            let expected = if goes_on { "success" } else { "failure" };
            assert_eq!(device.count(expected), 1, "{context}");
            // R-24: before the install there is nothing to roll back.
            let rolls_back = !goes_on && behind != "ArtifactInstall";
            assert_eq!(device.count("ArtifactRollback"), usize::from(rolls_back), "{context}");
            // The rollback after an install reboots as well.
            if behind != "reboot" {
                assert_eq!(device.count(behind) - before, usize::from(goes_on), "{context}");
            }
            let reports = if end.starts_with("expires") || end == "409" { 2 } else { 1 };
            assert_eq!(device.count(status), reports, "once a pause, and once a poll interval: {context}");
        }
    }
}

#[test]
fn the_report_of_a_pause_need_not_get_through() {
    for outcome in [Outcome::Failure, Outcome::Refused, Outcome::Later(Some(60))] {
        let mut device = Device::with_map("ArtifactCommit_Enter", r#"{"action":"pause"}"#);
        device.run_with(|op| match op {
            Op::Request(ApiCall::Status { status: Status::PauseBeforeCommitting, .. }) => outcome,
            _ => Outcome::Success,
        });
        assert_eq!(device.count("pause_before_committing"), 1, "{outcome:?}");
        device.set_map("ArtifactCommit_Enter", r#"{"action":"force_continue"}"#);
        device.run();
        assert_eq!(device.count("success"), 1, "{outcome:?}: {:?}", device.did);
    }
}
