//! Whole pages, as a person sees them.

use thimble_core::control::{Holder, Lifetime, Order, Points, Pool};
use thimble_core::deployment::Verdict;
use thimble_core::time::{Duration, Instant};

use crate::json::{member, number};
use crate::status::Last;
use crate::status::facts::{Download, Facts, WaitEnd};

use super::*;

const ID: &str = "0e5c3f3b-5f7e-4f6c-9d0a-2a5b6c7d8e9f";

const AT: fn(u64) -> Instant = |seconds| Instant::from_millis(seconds * 1000);

/// Now, in these tests.
const NOW: u64 = 100_000;

fn idle() -> Facts<'static> {
    Facts {
        state: "Idle",
        doing: "waiting for the next poll".into(),
        by_hand: None,
        no_updates: None,
        waiting: None,
        wait_ends: None,
        deployment: None,
        artifact: None,
        reason: None,
        download: None,
        last: None,
        next_poll: Some(AT(NOW + 1630)),
        next_inventory: None,
        trouble: None,
        server: Some("https://updates.example.com"),
        last_contact: Some(AT(NOW - 170)),
        maps: None,
        policies: "[]",
    }
}

fn deployment(state: &'static str, doing: &'static str) -> Facts<'static> {
    Facts {
        state,
        doing: doing.into(),
        deployment: Some(ID),
        artifact: Some("release-2"),
        next_poll: None,
        ..idle()
    }
}

fn last(deployment: &str, verdict: Verdict, reason: &str) -> Last {
    Last {
        deployment: deployment.into(),
        artifact: if deployment.is_empty() { String::new() } else { "release-2".into() },
        verdict,
        is_taken_back: false,
        reason: reason.into(),
        ended: None,
        is_old: true,
    }
}

/// A device with release-1 on it that answers with these facts, and these members of its own.
fn shown_with(facts: &Facts<'_>, own: &[(&str, &str)]) -> String {
    let mut answer = format!("{{\"running\":{}", !facts.state.is_empty());
    facts.members(&mut answer, AT(NOW));
    for (name, value) in [("artifact", "release-1"), ("device_type", "gateway")].iter().chain(own) {
        member(&mut answer, name, Some(value));
    }
    answer.push_str("}\n");
    page(&answer).unwrap()
}

#[track_caller]
fn shows(facts: &Facts<'_>, own: &[(&str, &str)], expected: &str) {
    assert_eq!(format!("\n{}", shown_with(facts, own)), expected);
}

#[test]
fn an_idle_device() {
    let last = last(ID, Verdict::Good, "");
    shows(
        &Facts { last: Some(&last), ..idle() },
        &[],
        "
State:           Idle, waiting for the next poll
Artifact:        release-1
Device type:     gateway
Server:          https://updates.example.com, answered 2 min 50 s ago
Last deployment: release-2 (0e5c3f3b-5f7e-4f6c-9d0a-2a5b6c7d8e9f): success
Next poll:       in 27 min
",
    );
}

#[test]
fn a_download() {
    let download = Download { received: 13_000_000, total: Some(28_400_000), speed: Some(1_300_000) };
    shows(
        &Facts { download: Some(download), ..deployment("Download", "downloading the artifact") },
        &[],
        "
State:           Download, downloading the artifact
Artifact:        release-1
Device type:     gateway
Server:          https://updates.example.com, answered 2 min 50 s ago
Deployment:      release-2 (0e5c3f3b-5f7e-4f6c-9d0a-2a5b6c7d8e9f)
Downloaded:      45 %, 12.3 MiB of 27.0 MiB, 1.2 MiB/s, 12 s left
",
    );
    // Nobody says how much there is to come: no percents, and no end.
    let download = Download { total: None, ..download };
    let page = shown_with(&Facts { download: Some(download), ..deployment("Download", "downloading") }, &[]);
    assert!(page.contains("\nDownloaded:      12.3 MiB, 1.2 MiB/s\n"), "{page}");
    // Nothing comes.
    let download = Download { total: Some(28_400_000), speed: Some(0), ..download };
    let page = shown_with(&Facts { download: Some(download), ..deployment("Download", "downloading") }, &[]);
    assert!(page.contains("\nDownloaded:      45 %, 12.3 MiB of 27.0 MiB, 0 bytes/s\n"), "{page}");
}

#[test]
fn a_wait_for_a_window() {
    let why = "outside the update window 02:00-04:00 (it is Mon 21:12)";
    let end = WaitEnd { at: AT(NOW + 17_280), local: "Tue 02:00".into(), then: WaitEnd::OPENS };
    shows(
        &Facts {
            waiting: Some((Point::Reboot, why.into())),
            wait_ends: Some(end),
            policies: "[\"reboot: only 02:00-04:00, at the latest after 7 days\"]",
            ..deployment("ArtifactReboot", "asking whether the update may go on")
        },
        &[],
        "
State:           ArtifactReboot, asking whether the update may go on
Artifact:        release-1
Device type:     gateway
Server:          https://updates.example.com, answered 2 min 50 s ago
Deployment:      release-2 (0e5c3f3b-5f7e-4f6c-9d0a-2a5b6c7d8e9f)
Waiting:         before reboot: outside the update window 02:00-04:00 (it is Mon 21:12)
Waiting until:   Tue 02:00, in 4 h 48 min: the update window opens then
Policy:          reboot: only 02:00-04:00, at the latest after 7 days
",
    );
}

#[test]
fn a_wait_for_a_person() {
    let mut pool = Pool::new();
    let all = Points::of(&Point::ALL);
    let lifetime = Lifetime::For(Duration::from_secs(5400));
    pool.order(OPERATOR, all, Order::Pause, lifetime, AT(NOW)).unwrap();
    let other = Holder { id: 1, priority: -3 };
    pool.order(other, Points::of(&[Point::Commit]), Order::Fail, Lifetime::Unlimited, AT(NOW)).unwrap();
    let end = WaitEnd { at: AT(NOW + 5400), local: "Mon 22:42".into(), then: WaitEnd::CONTINUES };
    let facts = Facts {
        waiting: Some((Point::Install, "an operator at the device said pause".into())),
        wait_ends: Some(end),
        maps: Some(&pool),
        ..deployment("ArtifactInstall", "asking whether the update may go on")
    };
    shows(
        &facts,
        &[],
        "
State:           ArtifactInstall, asking whether the update may go on
Artifact:        release-1
Device type:     gateway
Server:          https://updates.example.com, answered 2 min 50 s ago
Deployment:      release-2 (0e5c3f3b-5f7e-4f6c-9d0a-2a5b6c7d8e9f)
Waiting:         before install: an operator at the device said pause
Waiting until:   Mon 22:42, in 1 h 30 min: the update goes on then, at the latest
Hold:            by an operator: an update waits before install, reboot and commit, for 1 h 30 min more
Hold:            by 00000000-0000-0000-0000-000000000001 of priority -3: an update fails before commit, until that is taken back
",
    );
    // Nobody says when.
    let page = shown_with(&Facts { wait_ends: None, ..facts }, &[]);
    assert!(!page.contains("Waiting until"), "{page}");
}

#[test]
fn an_update_by_hand_that_is_not_committed_and_no_daemon() {
    let mut pool = Pool::new();
    let lifetime = Lifetime::For(Duration::from_secs(7200));
    pool.order(OPERATOR, Points::of(&[Point::Install]), Order::Pause, lifetime, AT(NOW)).unwrap();
    shows(
        &Facts {
            state: "",
            doing: "".into(),
            by_hand: Some(
                "an update installed by hand waits for 'commit' or 'rollback': release-2; the next deployment takes its place",
            ),
            last_contact: None,
            next_poll: None,
            maps: Some(&pool),
            ..idle()
        },
        &[],
        "
Daemon:          not running
Artifact:        release-1
Device type:     gateway
Server:          https://updates.example.com
By hand:         an update installed by hand waits for 'commit' or 'rollback': release-2; the next deployment takes its place
Hold:            by an operator: an update waits before install, for 2 h from the next start of the daemon on
",
    );
}

#[test]
fn a_deployment_that_failed() {
    let last = last(ID, Verdict::RolledBack, "the update module ended ArtifactInstall with exit status 1");
    let mut answer = String::from("{\"running\":true");
    Facts { last: Some(&last), trouble: Some("\"x\"\n\u{1b}[2J"), ..idle() }.members(&mut answer, AT(NOW));
    // By the clock of the wall.
    let answer = answer
        .replace("\"last_ended\":null", "\"last_ended\":\"2026-11-30T21:42:00Z\"")
        .replace("\"last_ended_seconds\":null", "\"last_ended_seconds\":11000");
    assert_eq!(
        format!("\n{}", page(&format!("{answer}}}")).unwrap()),
        "
State:           Idle, waiting for the next poll
Server:          https://updates.example.com, answered 2 min 50 s ago
Last deployment: release-2 (0e5c3f3b-5f7e-4f6c-9d0a-2a5b6c7d8e9f): failure: the device is what it was before
Failed because:  the update module ended ArtifactInstall with exit status 1
Ended:           2026-11-30T21:42:00Z, 3 h 3 min ago
Next poll:       in 27 min
Trouble:         \"x\"\\n\\u{1b}[2J
"
    );
}

#[test]
fn a_foreign_database_and_a_damaged_record() {
    let nothing =
        Facts { state: "", doing: "".into(), last_contact: None, next_poll: None, server: None, ..idle() };
    shows(
        &nothing,
        &[
            (
                "to_mend",
                "another Mender client has not finished an update by hand, and it is not continued here",
            ),
            (
                "unfinished",
                "another Mender client has not finished an update by hand, and it is not continued here",
            ),
        ],
        "
Daemon:          not running
To mend:         another Mender client has not finished an update by hand, and it is not continued here
Artifact:        release-1
Device type:     gateway
Unfinished:      another Mender client has not finished an update by hand, and it is not continued here
",
    );
    let taken_back = Last { is_taken_back: true, ..last("", Verdict::RolledBack, "") };
    shows(
        &Facts { last: Some(&taken_back), ..nothing },
        &[("to_mend", "the record of the update in progress is damaged")],
        "
Daemon:          not running
To mend:         the record of the update in progress is damaged
Artifact:        release-1
Device type:     gateway
Last update:     rolled back: the device is what it was before
",
    );
}

#[test]
fn two_root_file_systems() {
    let own = [
        ("boot_loader", "U-Boot"),
        ("root_a", "/dev/mmcblk0p2"),
        ("root_b", "/dev/mmcblk0p3"),
        ("root_running", "A"),
        ("root_selected", "B"),
    ];
    let mut answer = String::from("{\"running\":false");
    own.iter().for_each(|(name, value)| member(&mut answer, name, Some(value)));
    assert_eq!(
        page(&format!("{answer},\"root_trial\":true}}")).unwrap(),
        "Daemon:          not running\n\
         Boot loader:     U-Boot\n\
         Root A:          /dev/mmcblk0p2, runs until the reboot\n\
         Root B:          /dev/mmcblk0p3, starts next, on trial\n"
    );
}

#[test]
fn an_answer_of_an_older_daemon_and_what_is_no_answer() {
    let mut answer = String::from("{\"running\":true");
    member(&mut answer, "state", Some("Download"));
    member(&mut answer, "doing", Some("downloading the artifact"));
    member(&mut answer, "deployment", Some("d-1"));
    number(&mut answer, "received_bytes", Some(5));
    assert_eq!(
        page(&format!("{answer}}}")).unwrap(),
        "State:           Download, downloading the artifact\n\
         Deployment:      d-1\n\
         Downloaded:      5 bytes\n"
    );
    assert_eq!(page("{\"running\":true}").unwrap(), "Daemon:          does not answer\n");
    assert_eq!(page("{\"running\":null}").unwrap(), "Daemon:          cannot be asked\n");
    assert_eq!([page("[]"), page("{}"), page("")], [None, None, None]);
}

#[test]
fn a_sentence_says_what_changes() {
    let sentence_of = |facts: &Facts<'_>| {
        let mut answer = String::from("{\"running\":true");
        facts.members(&mut answer, AT(NOW));
        sentence(&format!("{answer}}}")).unwrap()
    };
    let download = Download { received: 13_000_000, total: Some(28_400_000), speed: None };
    let facts = Facts { download: Some(download), ..deployment("Download", "downloading the artifact") };
    assert_eq!(
        sentence_of(&facts),
        "downloading the artifact; deployment release-2 (0e5c3f3b-5f7e-4f6c-9d0a-2a5b6c7d8e9f); 40 %"
    );
    let good = last(ID, Verdict::Good, "");
    assert_eq!(
        sentence_of(&Facts { last: Some(&good), ..idle() }),
        "waiting for the next poll; the last update: success"
    );
    assert_eq!(sentence("{\"running\":false}").unwrap(), "the daemon is not running");
    assert_eq!(sentence("{}"), None);
}
