//! What happens next is what happens next; and whatever is cut or forged ends well.

use std::cell::RefCell;
use std::rc::Rc;

use thimble_core::deployment::{Call, Verdict};
use thimble_core::flight::{Event as Seen, Purpose, Ring};
use thimble_core::machine::{Run, StopSet};
use thimble_core::state::State;
use thimble_core::time::Instant;
use thimble_hal_sim::runner::{self, DEPLOYMENT, End, Then};
use thimble_hal_sim::sample;
use thimble_hal_sim::sim::{Effect, Fate, Handle, Plan};

use super::*;

const FAILED: &str = include_str!("../../tests/replay/mender-3.4-failed.log");
const INSTALLED: &str = include_str!("../../tests/replay/mender-3.4-installed.log");
const DEBUG: &str = include_str!("../../tests/replay/mender-3.4-debug.log");
const OURS: &str = include_str!("../../tests/replay/thimble-failed.log");

fn of(bytes: &[u8]) -> Account {
    account(bytes, "file").unwrap_or_else(|why| panic!("{why:?}"))
}

fn shown(bytes: &[u8]) -> String {
    let mut out = Vec::new();
    let account = of(bytes);
    let next = next(&account, &Subject::default());
    show(&mut out, &account, &next).unwrap();
    String::from_utf8(out).unwrap()
}

/// One call of the module fails, and power is lost before the effect of a number.
#[derive(Clone)]
struct Cut(Rc<RefCell<Fault>>);

#[derive(Default)]
struct Fault {
    effects: usize,
    cut: Option<usize>,
    fails: Option<Call>,
}

impl Plan for Cut {
    fn fate(&mut self, effect: &Effect) -> Fate {
        let Fault { effects, cut, fails } = &mut *self.0.borrow_mut();
        *effects += 1;
        if *cut == Some(*effects) {
            *cut = None;
            return Fate::LostBefore;
        }
        if let (Some(call), Effect::Module(of)) = (&*fails, effect)
            && call == of
        {
            *fails = None;
            return Fate::Fails;
        }
        Fate::Works
    }
}

/// Power is lost before each effect of an update in which this call fails. The record that is there then, replayed, says how
/// the update ends: as it did.
fn says_how_it_ends(profile: Profile, fails: Option<Call>) {
    let artifact = sample::fitting(true);
    let mut open = 0;
    for cut in 1.. {
        let plan = Cut(Rc::new(RefCell::new(Fault { effects: 0, cut: Some(cut), fails })));
        let bench =
            Handle::new(runner::durable(profile, &artifact), artifact.clone(), Box::new(plan.clone()));
        let (mut record, mut starts) = (None, 1);
        while let End::Down(_) =
            runner::process(&bench, Run::Daemon, StopSet::default(), &mut |_, _| Then::GoOn)
        {
            if plan.0.borrow().cut.is_none() && record.is_none() {
                // From here on nothing goes wrong.
                plan.0.borrow_mut().fails = None;
                record = Some(bench.0.borrow().durable.records.get(&Key::Flight).cloned());
            }
            starts += usize::from(record.is_none());
            runner::boot(&bench);
        }
        let effects = plan.0.borrow().effects;
        if effects < cut {
            assert!(open > 10, "{open} of {cut}");
            return;
        }
        // Before the first record there is none.
        let Some(Some(record)) = record else { continue };
        let account = of(&record);
        assert_eq!(
            (account.complaints.as_slice(), account.notes.as_slice()),
            (&[][..], &[][..]),
            "cut at {cut}"
        );
        let bench = bench.0.borrow();
        let status = bench.durable.server.deployments[DEPLOYMENT].status();
        let name = runner::name(&bench.durable);
        let next = next(&account, &Subject::default());
        let Some((_, again)) = next.last() else { continue };
        // A process that lost power before its first write is not on record: nobody knows that it was there.
        if account.way.iter().filter(|happened| **happened == Happened::Restart).count() + 1 < starts {
            continue;
        }
        open += 1;
        assert_eq!(again.missing, [], "cut at {cut}: {:#?}", account.way);
        assert_eq!(
            (again.good.end, again.good.installed.as_str()),
            (status, name.as_str()),
            "cut at {cut}: {account:#?}"
        );
    }
}

#[test]
fn from_any_point_of_an_update_the_record_says_how_it_ends() {
    for profile in [Profile::SLOTS, Profile::FILES, Profile::CUSTOM] {
        says_how_it_ends(profile, None);
        says_how_it_ends(profile, Some(Call::ArtifactInstall));
        says_how_it_ends(profile, Some(Call::ArtifactCommit));
    }
    says_how_it_ends(Profile::SLOTS, Some(Call::ArtifactVerifyReboot));
}

#[test]
fn a_log_of_menders_client_becomes_a_timeline() {
    let text = shown(FAILED.as_bytes());
    for line in [
        "ArtifactInstall_Enter_00  ok\n",
        "! ArtifactInstall_Enter_01_check  exit status 3\n",
        "  | no good\n",
        "! update-install -> rollback\n",
        "The update is over: failure.",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(shown(INSTALLED.as_bytes()).contains("The update is over: success."));
    let account = of(DEBUG.as_bytes());
    assert_eq!(account.complaints, [""; 0]);
    let calls = account.events.iter().filter(|event| event.lane == Lane::Module);
    let calls: Vec<&str> = calls.map(|event| event.what.as_str()).collect();
    assert_eq!(
        calls,
        [
            "Download",
            "SupportsRollback",
            "ArtifactInstall",
            "NeedsArtifactReboot",
            "ArtifactCommit",
            "Cleanup"
        ]
    );
}

#[test]
fn our_own_log_becomes_one() {
    let text = shown(OURS.as_bytes());
    for line in [
        "! ArtifactInstall_Enter_01_check  ended with exit status 3\n",
        "  | no good\n",
        "ArtifactRollback_Enter_00  ok\n",
        "The update is over: failure.",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[test]
fn a_log_that_ends_in_the_middle_says_what_may_come() {
    let lines =
        |log: &str, count: usize| log.lines().take(count).map(|line| format!("{line}\n")).collect::<String>();
    // Mender's client has installed, and will commit.
    let text = shown(lines(INSTALLED, 13).as_bytes());
    assert!(text.contains("What follows is what thimble would do") && text.contains("\n 1. "), "{text}");
    assert!(text.contains("Without another failure: success, new is installed.\n"), "{text}");
    assert!(text.contains("If the client starts again"), "{text}");
    assert!(
        text.contains("Without another failure: failure, old is installed (interrupted in ArtifactInstall"),
        "{text}"
    );
    // Ours has failed, and will roll back.
    let text = shown(lines(OURS, 8).as_bytes());
    assert!(text.contains(" 1. SupportsRollback") && text.contains("ArtifactRollback"), "{text}");
    assert!(!text.contains("Without another failure: success"), "{text}");
}

#[test]
fn whatever_is_cut_off_a_log_the_rest_is_shown() {
    for log in [FAILED, OURS] {
        for cut in 1..log.len() {
            let account = of(&log.as_bytes()[..cut]);
            assert!(account.complaints.len() <= 1, "{cut}: {:?}", account.complaints);
        }
    }
}

#[test]
fn an_order_that_no_client_produces_is_said() {
    let mut lines: Vec<&str> = INSTALLED.lines().collect();
    let at =
        lines.iter().position(|line| line.contains("mender-update-control-refresh-maps [none] -")).unwrap();
    lines.remove(at);
    let account = of(lines.join("\n").as_bytes());
    assert_eq!(
        account.complaints,
        [format!(
            "line {}: `mender-update-control -> update-install` cannot follow: the client was in \
             mender-update-control-refresh-maps",
            at + 1
        )]
    );
    // In a record.
    let mut ring = Ring::new();
    let starts = Seen::Starts { run: Purpose::Daemon, version: "1", found: None };
    for event in
        [starts, Seen::Enters(State::Commit), Seen::Enters(State::Install), Seen::Ends(Verdict::Good)]
    {
        ring.note(Instant::ZERO, &event);
    }
    let text = shown(ring.bytes());
    assert!(text.contains("event 2: `ArtifactInstall` cannot follow `ArtifactCommit`\n"), "{text}");
}

#[test]
fn nothing_in_a_log_controls_a_terminal_and_long_texts_are_cut() {
    let long = "x".repeat(10_000);
    for message in [
        "\\u001b[31mred\\u0007",
        "running state script ArtifactInstall_Enter_00\\u001b[2J",
        "State transition: \\u001b]0;a\\u0007 [x] -> \\u001bc [y]",
        "Collected output (stderr) while running script x\\n\\u001b[1m\\n\\n---------- end of script output",
        "the update module ended ArtifactInstall with \\u001b[1m",
        &long,
    ] {
        let log = format!(
            "{{\"level\":\"error\",\"message\":\"running state script ArtifactInstall_Enter_00\"}}\n\
             {{\"level\":\"error\",\"message\":\"{message}\"}}\n"
        );
        let text = shown(log.as_bytes());
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
        assert!(text.lines().all(|line| line.len() < 2000), "{text}");
    }
}

#[test]
fn limits_are_told() {
    let long = format!("{{\"message\":\"{}\"}}\n", "x".repeat(70_000));
    assert_eq!(of(long.as_bytes()).complaints, ["line 1: longer than 65536 bytes"]);
    let many = "{\n".repeat(100_010);
    let complaints = of(many.as_bytes()).complaints;
    assert_eq!(complaints.len(), 22, "{complaints:?}");
    assert!(complaints[0].starts_with("line 1: no JSON object of a log"), "{complaints:?}");
    assert_eq!(complaints[20..], ["only the first 100000 lines are looked at", "and 99980 more"]);
}

#[test]
fn any_record_with_a_right_checksum_is_shown() {
    let artifact = sample::fitting(true);
    let plan = Cut(Rc::default());
    let bench = Handle::new(runner::durable(Profile::FILES, &artifact), artifact, Box::new(plan));
    runner::daemon(&bench, &mut |_, _| Then::GoOn);
    let good = bench.0.borrow().durable.records[&Key::Flight].clone();
    let body = good.len() - 4;
    for at in 1..body {
        for value in [0, 1, 3, 17, 128, 255] {
            let mut bytes = good[..body].to_vec();
            bytes[at] = value;
            bytes.extend(crc32(&bytes).to_le_bytes());
            if let Some(account) = record::read(&bytes) {
                let mut out = Vec::new();
                show(&mut out, &account, &[]).unwrap();
            }
        }
    }
}

/// CRC-32 (IEEE), as records have it.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[test]
fn digits_are_read_with_whatever_ends_their_lines() {
    assert_eq!(from_digits(b"\r\n00fF\r\n10\n"), Some(vec![0, 255, 16]));
    assert_eq!(from_digits(b"\n0"), None);
    assert_eq!(from_digits(b"\n0g"), None);
    assert!(matches!(account(b"thimble flight record\n00\n", "f"), Err(Failure::Input(_))));
    assert!(matches!(account(b"what is this", "f"), Err(Failure::Input(_))));
}
