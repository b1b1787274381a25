use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use super::*;
use crate::script::{ScriptAction, ScriptState};
use crate::time::Instant;

const AT: fn(u64) -> Instant = |seconds| Instant::from_millis(seconds.saturating_mul(1000));
const ENTER: Transition = Transition { state: ScriptState::ArtifactInstall, action: ScriptAction::Enter };

fn starts() -> Event<'static> {
    Event::Starts { run: Purpose::Daemon, version: "0.1.0", found: Some(Tag::Install) }
}

/// One of each kind, in the order of their numbers.
fn all() -> Vec<Event<'static>> {
    std::vec![
        starts(),
        Event::Begins { deployment: [0x22, 0x20, 0x7c, 0xf4, 0x36, 0x5d, 0x2f, 0x3f] },
        Event::Enters(State::Install),
        Event::Script { transition: ENTER, number: 1, how: How::Exited(3) },
        Event::Call(Call::NeedsArtifactReboot, How::Automatic),
        Event::Request(Request::Status(Status::Installing), Answer::Status(204)),
        Event::Downloads(1 << 40),
        Event::BreaksOff(300),
        Event::Waits(Point::Reboot, Holder::Policy),
        Event::Approved(Point::Reboot),
        Event::Forbidden(Point::Commit, Holder::Unreadable),
        Event::Saves(Saved::Update(Tag::Rollback, Verdict::RolledBack)),
        Event::NotSaved,
        Event::Reason("~R14(R42)"),
        Event::Ends(Verdict::RolledBack),
        Event::NotRebooted,
        Event::Terminated,
        Event::Again(300),
    ]
}

fn of(events: &[Event<'static>]) -> Ring {
    let mut ring = Ring::new();
    for (at, event) in (0..).zip(events) {
        ring.note(AT(at), event);
    }
    ring
}

fn read(ring: &Ring) -> Vec<(u32, u32, Event<'_>)> {
    let entries = Record::decode(ring.bytes()).unwrap().entries();
    entries.map(|entry| (entry.number, entry.after, entry.event.unwrap())).collect()
}

fn shown(ring: &Ring) -> String {
    read(ring).iter().map(|(_, after, event)| format!("+{after} {event}\n")).collect()
}

#[test]
fn golden_bytes() {
    let mut ring = Ring::new();
    for (at, event) in (0..).zip(all()) {
        ring.note(AT(at * 100), &event);
    }
    let bytes = ring.bytes();
    let hex: String = bytes[..bytes.len() - CRC].iter().map(|byte| format!("{byte:02x}")).collect();
    let golden = "0100000000 \
         0b00000005302e312e300102 \
         0a640122207cf4365d2f3f \
         0364020b \
         0764030300010403 \
         0464040402 \
         076405020100cc01 \
         086406808080808020 \
         046407ac02 \
         0464080101 \
         03640901 \
         04640a0203 \
         05640b000902 \
         02640c \
         0c640d097e5231342852343229 \
         03640e02 \
         02640f \
         026410 \
         046411ac02";
    assert_eq!(hex, golden.replace(' ', ""));
    assert_eq!(read(&ring).into_iter().map(|(_, _, event)| event).collect::<Vec<_>>(), all());
}

/// The numbers of what is stored, by the names: a change in the middle of one of these would give old records another meaning.
#[test]
fn what_is_numbered_is_appended_to() {
    fn numbered<T: Serialize + core::fmt::Debug>(all: &[T]) -> String {
        let mut buf = [0; 16];
        let mut one = |value: &T| format!("{} {value:?}, ", postcard::to_slice(value, &mut buf).unwrap()[0]);
        all.iter().map(&mut one).collect()
    }
    let calls = [
        Call::ProvidePayloadFileSizes,
        Call::Download,
        Call::DownloadWithFileSizes,
        Call::ArtifactInstall,
        Call::NeedsArtifactReboot,
        Call::ArtifactReboot,
        Call::ArtifactVerifyReboot,
        Call::ArtifactCommit,
        Call::SupportsRollback,
        Call::ArtifactRollback,
        Call::ArtifactRollbackReboot,
        Call::ArtifactVerifyRollbackReboot,
        Call::ArtifactFailure,
        Call::Cleanup,
    ];
    let statuses = [
        Status::Downloading,
        Status::Installing,
        Status::Rebooting,
        Status::PauseBeforeInstalling,
        Status::PauseBeforeRebooting,
        Status::PauseBeforeCommitting,
        Status::Success,
        Status::Failure,
    ];
    let hows = [
        How::Well,
        How::No,
        How::Automatic,
        How::Later,
        How::Exited(0),
        How::Killed(0),
        How::TooSlow,
        How::Failed,
    ];
    let verdicts = [Verdict::Good, Verdict::Failed, Verdict::RolledBack, Verdict::RollbackFailed];
    let golden = [
        (
            numbered(&State::ALL),
            "0 Idle, 1 Inventory, 2 Poll, 3 Offer, 4 ReportDownloading, 5 Download, 6 Prepare, 7 CheckSizes, \
             8 EmptyPayload, 9 InstallDoor, 10 ReportInstalling, 11 Install, 12 CheckReboot, 13 CheckAutoCommit, \
             14 AwaitCommit, 15 CheckRunning, 16 RebootDoor, 17 ReportRebooting, 18 Reboot, 19 VerifyReboot, \
             20 CommitDoor, 21 ReportCommit, 22 Commit, 23 CheckVersion, 24 CheckRollback, 25 Rollback, \
             26 RollbackFailed, 27 CheckRollbackReboot, 28 RollbackReboot, 29 VerifyRollbackReboot, 30 Failure, \
             31 SaveProvides, 32 Cleanup, 33 ReportFinal, 34 ReportLog, 35 ClearData, 36 End, 37 StateLoop, ",
        ),
        (
            numbered(&calls),
            "0 ProvidePayloadFileSizes, 1 Download, 2 DownloadWithFileSizes, 3 ArtifactInstall, \
             4 NeedsArtifactReboot, 5 ArtifactReboot, 6 ArtifactVerifyReboot, 7 ArtifactCommit, 8 SupportsRollback, \
             9 ArtifactRollback, 10 ArtifactRollbackReboot, 11 ArtifactVerifyRollbackReboot, 12 ArtifactFailure, \
             13 Cleanup, ",
        ),
        (
            numbered(&statuses),
            "0 Downloading, 1 Installing, 2 Rebooting, 3 PauseBeforeInstalling, 4 PauseBeforeRebooting, \
             5 PauseBeforeCommitting, 6 Success, 7 Failure, ",
        ),
        (
            numbered(&ScriptState::ALL),
            "0 Idle, 1 Sync, 2 Download, 3 ArtifactInstall, 4 ArtifactReboot, 5 ArtifactCommit, 6 ArtifactRollback, \
             7 ArtifactRollbackReboot, 8 ArtifactFailure, ",
        ),
        (
            numbered(&[ScriptAction::Enter, ScriptAction::Leave, ScriptAction::Error]),
            "0 Enter, 1 Leave, 2 Error, ",
        ),
        (
            numbered(&hows),
            "0 Well, 1 No, 2 Automatic, 3 Later, 4 Exited(0), 5 Killed(0), 6 TooSlow, 7 Failed, ",
        ),
        (numbered(&verdicts), "0 Good, 1 Failed, 2 RolledBack, 3 RollbackFailed, "),
        (numbered(&[Naming::Good, Naming::Inconsistent, Naming::Loop]), "0 Good, 1 Inconsistent, 2 Loop, "),
        (numbered(&Point::ALL), "0 Install, 1 Reboot, 2 Commit, "),
    ];
    for (found, golden) in golden {
        assert_eq!(found, golden);
    }
}

#[test]
fn every_prefix_and_every_flipped_bit_is_none() {
    let bytes = of(&all()).bytes().to_vec();
    for cut in 0..bytes.len() {
        assert_eq!(Record::decode(&bytes[..cut]), None, "cut at {cut}");
    }
    for bit in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Record::decode(&bytes), None, "bit {bit}");
        assert!(!Ring::new().go_on(&bytes), "bit {bit}");
    }
}

/// Whoever forges a record can make its checksum right.
#[test]
fn any_content_with_a_right_checksum_is_read_to_its_end_or_none() {
    let good = of(&all()).bytes().to_vec();
    let events = good.len() - CRC;
    let mut odd = 0;
    for at in 0..events {
        for value in 0..=u8::MAX {
            let mut bytes = good[..events].to_vec();
            bytes[at] = value;
            bytes.extend(crate::crc::hash(&bytes).to_le_bytes());
            let Some(record) = Record::decode(&bytes) else { continue };
            let mut count = 0;
            for entry in record.entries() {
                count += 1;
                odd += usize::from(entry.event.is_none());
                let _ = entry.event.map(|event| event.to_string());
            }
            assert!(count <= events);
            let mut ring = Ring::new();
            assert!(ring.go_on(&bytes));
            (0..200).for_each(|at| ring.note(AT(at), &Event::Downloads(at)));
            assert!(Record::decode(ring.bytes()).is_some(), "{at} {value}");
        }
    }
    assert!(odd > 100, "some of it is not known: {odd}");
}

#[test]
fn an_event_of_a_newer_version_is_passed_over_and_kept() {
    let mut bytes = [1, 0, 0, 0, 0, 2, 7, 99, 2, 0, 12].to_vec();
    bytes.extend(crate::crc::hash(&bytes).to_le_bytes());
    let events = |bytes: &[u8]| {
        Record::decode(bytes)
            .unwrap()
            .entries()
            .map(|entry| (entry.after, entry.event.map(|e| e.to_string())))
            .collect::<Vec<_>>()
    };
    let said = Some("that could not be put on record".to_string());
    assert_eq!(events(&bytes), [(7, None), (0, said.clone())]);
    let mut ring = Ring::new();
    assert!(ring.go_on(&bytes));
    ring.note(AT(9), &Event::NotSaved);
    assert_eq!(
        events(ring.bytes()),
        [(7, None), (0, said.clone()), (0, said)],
        "another process, another event"
    );
}

#[test]
fn the_oldest_make_room_and_are_counted() {
    let mut ring = Ring::new();
    for at in 0..1000 {
        ring.note(AT(at * 2), &Event::Downloads(at));
    }
    let record = Record::decode(ring.bytes()).unwrap();
    let events = read(&ring);
    assert!(ring.bytes().len() <= MAX_LEN && ring.bytes().len() > MAX_LEN - 16);
    assert_eq!(record.dropped() as usize + events.len(), 1000);
    assert_eq!(events.last(), Some(&(999, 2, Event::Downloads(999))));
    assert_eq!(events[0].0, record.dropped());
    assert!(events.len() > 100, "{}", events.len());
}

#[test]
fn what_happens_again_is_counted_and_its_time_is_not_lost() {
    let mut ring = of(&[starts()]);
    let fails = Event::Request(Request::Token, Answer::Broken);
    for at in [10, 20, 35] {
        ring.note(AT(at), &fails);
    }
    ring.note(AT(40), &Event::NotSaved);
    ring.note(AT(41), &fails);
    assert_eq!(
        shown(&ring),
        "+0 the daemon starts (version 0.1.0) and finds an update in progress: the install has begun\n\
         +10 the request for a token: the connection broke, or could not be made\n\
         +25 the same 2 times more\n\
         +5 that could not be put on record\n\
         +1 the request for a token: the connection broke, or could not be made\n"
    );
    // As often as it likes.
    for at in 0..100_000 {
        ring.note(AT(100 + at), &fails);
    }
    assert!(ring.bytes().len() < 100);
}

#[test]
fn fractions_of_seconds_add_up() {
    let mut ring = of(&[starts()]);
    for half in 1..=10 {
        ring.note(Instant::from_millis(half * 500), &Event::Downloads(half));
    }
    assert_eq!(read(&ring).iter().map(|(_, after, _)| after).sum::<u32>(), 5);
}

#[test]
fn the_longest_event_fits_and_a_longer_one_is_left_out() {
    let reason = "~".repeat(REASON);
    let mut ring = of(&[starts()]);
    ring.note(AT(u64::from(u32::MAX) * 2), &Event::Reason(&reason));
    assert_eq!(read(&ring)[1], (1, u32::MAX, Event::Reason(&reason)));
    let longer = "~".repeat(REASON * 2);
    ring.note(AT(u64::from(u32::MAX) * 2), &Event::Reason(&longer));
    assert_eq!(read(&ring).len(), 2);
}

#[test]
fn nothing_in_it_controls_a_terminal() {
    let starts = Event::Starts { run: Purpose::Daemon, version: "\u{1b}[31m", found: None };
    let reason = Event::Reason("\u{1b}]0;~S1\u{7}");
    for event in [starts, reason] {
        let shown = event.to_string();
        assert!(!shown.chars().any(char::is_control), "{shown:?}");
    }
}
