//! The transition table, the tags and the resume tables, written out a second time and compared with the code: STATE-10
//! to STATE-39, STATE-60 to STATE-69, CLI-20 to CLI-29.

use thimble_core::checkpoint::{Checkpoint, Format, RebootKind, Tag};
use thimble_core::deployment::{Mode, Verdict};
use thimble_core::state::{Outcome, Phase, Place, State, Verb, effect, next, resume, resume_standalone, tag};
use thimble_core::text::Text;

use Mode::{Managed, Standalone};
use Outcome::{Aborted, Automatic, Failure as Fails, Later, Nothing, Refused, Success};
use Phase::{Enter, Error, Leave, Main};
use State::*;

type Row = (Place, Place, Place);

/// Place, on success, on failure.
#[rustfmt::skip]
const MANAGED: &[Row] = &[
    ((Idle, Enter), (Idle, Main), (Idle, Main)),
    ((Inventory, Enter), (Inventory, Main), (Inventory, Error)),
    ((Inventory, Main), (Inventory, Leave), (Inventory, Error)),
    ((Inventory, Leave), (Idle, Enter), (Inventory, Error)),
    ((Inventory, Error), (Idle, Enter), (Idle, Enter)),
    ((Poll, Enter), (Poll, Main), (Poll, Error)),
    ((Poll, Main), (Offer, Leave), (Poll, Error)),
    ((Poll, Leave), (Idle, Enter), (Poll, Error)),
    ((Poll, Error), (Idle, Enter), (Idle, Enter)),
    ((Offer, Leave), (ReportDownloading, Main), (Offer, Error)),
    ((Offer, Error), (End, Main), (End, Main)),
    ((ReportDownloading, Main), (Download, Enter), (Download, Enter)),
    ((Download, Enter), (Prepare, Main), (Download, Error)),
    ((Prepare, Main), (CheckSizes, Main), (Download, Error)),
    ((CheckSizes, Main), (Download, Main), (Download, Error)),
    ((Download, Main), (Download, Leave), (Download, Error)),
    ((Download, Error), (Cleanup, Main), (Cleanup, Main)),
    ((EmptyPayload, Leave), (SaveProvides, Main), (Download, Error)),
    ((ReportInstalling, Main), (Install, Enter), (Install, Enter)),
    ((Install, Enter), (Install, Main), (Install, Error)),
    ((Install, Main), (Install, Leave), (Install, Error)),
    ((Install, Leave), (CheckReboot, Main), (Install, Error)),
    ((Install, Error), (CheckRollback, Main), (CheckRollback, Main)),
    ((ReportRebooting, Main), (Reboot, Enter), (Reboot, Enter)),
    ((Reboot, Enter), (Reboot, Main), (Reboot, Error)),
    ((Reboot, Main), (VerifyReboot, Main), (Reboot, Error)),
    ((VerifyReboot, Main), (Reboot, Leave), (Reboot, Error)),
    ((Reboot, Error), (CheckRollback, Main), (CheckRollback, Main)),
    ((ReportCommit, Main), (Commit, Enter), (CheckRollback, Main)),
    ((Commit, Enter), (CheckVersion, Main), (Commit, Error)),
    ((CheckVersion, Main), (Commit, Main), (Commit, Error)),
    ((Commit, Main), (Commit, Leave), (Commit, Error)),
    ((Commit, Error), (CheckRollback, Main), (CheckRollback, Main)),
    ((Commit, Leave), (SaveProvides, Main), (SaveProvides, Main)),
    ((CheckRollback, Main), (Rollback, Enter), (Failure, Enter)),
    ((Rollback, Enter), (Rollback, Main), (Rollback, Main)),
    ((Rollback, Main), (Rollback, Leave), (RollbackFailed, Leave)),
    ((Rollback, Leave), (CheckRollbackReboot, Main), (CheckRollbackReboot, Main)),
    ((RollbackFailed, Leave), (Failure, Enter), (Failure, Enter)),
    ((CheckRollbackReboot, Main), (RollbackReboot, Enter), (Failure, Enter)),
    ((RollbackReboot, Enter), (RollbackReboot, Main), (RollbackReboot, Main)),
    ((RollbackReboot, Main), (VerifyRollbackReboot, Main), (VerifyRollbackReboot, Main)),
    ((RollbackReboot, Leave), (Failure, Enter), (Failure, Enter)),
    ((Failure, Enter), (Failure, Main), (Failure, Main)),
    ((Failure, Main), (Failure, Leave), (Failure, Leave)),
    ((Failure, Leave), (SaveProvides, Main), (SaveProvides, Main)),
    ((SaveProvides, Main), (Cleanup, Main), (Cleanup, Main)),
    ((Cleanup, Main), (ReportFinal, Main), (ReportFinal, Main)),
    ((ReportFinal, Main), (ReportLog, Main), (ClearData, Main)),
    ((ReportLog, Main), (ClearData, Main), (ClearData, Main)),
    ((ClearData, Main), (End, Main), (End, Main)),
    ((End, Main), (Idle, Enter), (Idle, Enter)),
    ((StateLoop, Main), (ReportFinal, Main), (ReportFinal, Main)),
];

/// Where other outcomes than success and failure lead.
#[rustfmt::skip]
const MANAGED_OTHER: &[(Place, Outcome, Place)] = &[
    ((Idle, Leave), Nothing, (Inventory, Enter)),
    ((Idle, Leave), Success, (Poll, Enter)),
    ((Poll, Main), Nothing, (Poll, Leave)),
    ((ReportDownloading, Main), Aborted, (Cleanup, Main)),
    ((Prepare, Main), Nothing, (EmptyPayload, Leave)),
    ((ReportInstalling, Main), Aborted, (Cleanup, Main)),
    ((CheckReboot, Main), Fails, (CheckRollback, Main)),
    ((ReportRebooting, Main), Aborted, (CheckRollback, Main)),
    ((ReportCommit, Main), Aborted, (CheckRollback, Main)),
    ((ReportCommit, Main), Later(None), (ReportCommit, Main)),
    ((CheckRollback, Main), Nothing, (Failure, Enter)),
    ((Rollback, Main), Later(None), (Rollback, Main)),
    ((CheckRollbackReboot, Main), Nothing, (Failure, Enter)),
    ((CheckRollbackReboot, Main), Automatic, (RollbackReboot, Enter)),
    ((VerifyRollbackReboot, Main), Success, (RollbackReboot, Leave)),
    ((VerifyRollbackReboot, Main), Later(None), (RollbackReboot, Main)),
    ((ReportFinal, Main), Aborted, (ClearData, Main)),
    ((ReportFinal, Main), Later(None), (ReportFinal, Main)),
    ((ReportLog, Main), Later(None), (ReportFinal, Main)),
];

/// The rows of the command line.
#[rustfmt::skip]
const STANDALONE: &[(Place, Outcome, Place)] = &[
    ((Prepare, Main), Success, (Download, Enter)),
    ((Prepare, Main), Fails, (End, Main)),
    ((Prepare, Main), Nothing, (SaveProvides, Main)),
    ((Download, Enter), Success, (CheckSizes, Main)),
    ((Download, Main), Fails, (Download, Error)),
    ((Download, Leave), Success, (Install, Enter)),
    ((Download, Error), Success, (Cleanup, Main)),
    ((Install, Leave), Success, (CheckReboot, Main)),
    ((Install, Main), Fails, (Install, Error)),
    ((Install, Error), Success, (CheckRollback, Main)),
    ((CheckReboot, Main), Success, (CheckAutoCommit, Main)),
    ((CheckReboot, Main), Automatic, (CheckAutoCommit, Main)),
    ((CheckReboot, Main), Nothing, (CheckAutoCommit, Main)),
    ((CheckReboot, Main), Fails, (CheckRollback, Main)),
    ((CheckAutoCommit, Main), Success, (AwaitCommit, Main)),
    ((CheckAutoCommit, Main), Nothing, (Commit, Enter)),
    ((CheckAutoCommit, Main), Fails, (CheckRollback, Main)),
    ((Commit, Main), Success, (Commit, Leave)),
    ((Commit, Main), Fails, (Commit, Error)),
    ((Commit, Error), Success, (CheckRollback, Main)),
    ((Commit, Leave), Success, (Cleanup, Main)),
    ((Commit, Leave), Fails, (Cleanup, Main)),
    ((CheckRollback, Main), Success, (Rollback, Enter)),
    ((CheckRollback, Main), Nothing, (Failure, Enter)),
    ((CheckRollback, Main), Fails, (Failure, Enter)),
    ((Rollback, Main), Later(None), (End, Main)),
    ((Rollback, Leave), Success, (Failure, Enter)),
    ((RollbackFailed, Leave), Success, (Failure, Enter)),
    ((Failure, Leave), Success, (Cleanup, Main)),
    ((Cleanup, Main), Success, (SaveProvides, Main)),
    ((Cleanup, Main), Fails, (SaveProvides, Main)),
    ((SaveProvides, Main), Success, (ClearData, Main)),
    ((SaveProvides, Main), Fails, (End, Main)),
];

#[test]
fn every_row_of_the_daemon_is_the_specifications() {
    for &((state, phase), good, bad) in MANAGED {
        assert_eq!(next(Managed, state, phase, Success), good, "{state:?} {phase:?}");
        assert_eq!(next(Managed, state, phase, Fails), bad, "{state:?} {phase:?}");
        assert_eq!(next(Managed, state, phase, Refused), bad, "{state:?} {phase:?}");
    }
    for &((state, phase), outcome, to) in MANAGED_OTHER {
        assert_eq!(next(Managed, state, phase, outcome), to, "{state:?} {phase:?} {outcome:?}");
    }
    // The doors of update control stand between these rows; where nothing holds them, they are passed.
    for (state, phase, outcome, door, to) in [
        (Download, Leave, Success, InstallDoor, ReportInstalling),
        (CheckReboot, Main, Success, RebootDoor, ReportRebooting),
        (CheckReboot, Main, Automatic, RebootDoor, ReportRebooting),
        (CheckReboot, Main, Nothing, CommitDoor, ReportCommit),
        (Reboot, Leave, Success, CommitDoor, ReportCommit),
    ] {
        assert_eq!(next(Managed, state, phase, outcome), (door, Enter));
        assert_eq!(next(Managed, door, Enter, Success), (door, Main));
        assert_eq!(next(Managed, door, Main, Success), (to, Main));
        assert_eq!(next(Managed, door, Main, Nothing), (door, Leave), "a pause");
        // before the install there is nothing to take back.
        let no = if door == InstallDoor { Cleanup } else { CheckRollback };
        for phase in [Enter, Main, Leave] {
            for outcome in [Fails, Refused, Aborted] {
                assert_eq!(next(Managed, door, phase, outcome), (no, Main));
                let rolled_back =
                    effect(Managed, door, phase, outcome).on(Verdict::Good) == Verdict::RolledBack;
                assert_eq!(rolled_back, door == InstallDoor, "{door:?} {phase:?} {outcome:?}");
            }
        }
    }
}

#[test]
fn every_step_of_the_command_line_is_the_specifications() {
    for &((state, phase), outcome, to) in STANDALONE {
        assert_eq!(next(Standalone, state, phase, outcome), to, "{state:?} {phase:?} {outcome:?}");
    }
}

#[test]
fn records_are_tagged_as_the_specification_says() {
    for &(state, phase, name) in &[
        (Download, Enter, Tag::Store),
        (CheckSizes, Main, Tag::Store),
        (EmptyPayload, Leave, Tag::Store),
        (Install, Enter, Tag::Install),
        (Reboot, Enter, Tag::Reboot),
        (RebootDoor, Leave, Tag::Reboot),
        (VerifyReboot, Main, Tag::AfterReboot),
        (Commit, Enter, Tag::Commit),
        (Commit, Leave, Tag::AfterCommit),
        (Rollback, Enter, Tag::Rollback),
        (RollbackReboot, Enter, Tag::RollbackReboot),
        (VerifyRollbackReboot, Main, Tag::AfterRollbackReboot),
        (Failure, Enter, Tag::Failure),
        (Failure, Main, Tag::Failure),
        (SaveProvides, Main, Tag::Cleanup),
        (Cleanup, Main, Tag::Cleanup),
        // The end of a deployment has a record of its own.
        (ReportFinal, Main, Tag::Report),
    ] {
        assert_eq!(tag(Managed, state, phase), Some(name), "{state:?} {phase:?}");
    }
    // Everything else leaves the record alone; the door and 47 are not among these rows.
    let saving = MANAGED.iter().filter(|((state, phase), ..)| tag(Managed, *state, *phase).is_some()).count();
    assert_eq!(saving, 17 - 2);
    assert_eq!(tag(Standalone, CheckReboot, Main), Some(Tag::BeforeCommit));
    assert_eq!(tag(Standalone, Download, Enter), None, "P and D store nothing");
    assert_eq!(tag(Standalone, CheckSizes, Main), None, "P and D store nothing");
}

fn record(mode: Mode, tag: Tag, verdict: Verdict) -> Checkpoint {
    Checkpoint {
        format: Format::One,
        mode,
        tag,
        verdict,
        stopped: false,
        failed: false,
        reboot: RebootKind::None,
        module: true,
        header: true,
        stores: 0,
        deployment: Text::default(),
        offer: false,
    }
}

#[test]
fn the_daemon_resumes_as_the_specification_says() {
    let (good, failed, back) = (Verdict::Good, Verdict::Failed, Verdict::RolledBack);
    for (tag, saved, place, verdict) in [
        (Tag::Store, good, (Cleanup, Main), back),
        (Tag::Install, good, (CheckRollback, Main), failed),
        (Tag::Reboot, good, (VerifyReboot, Main), good),
        (Tag::AfterReboot, good, (CheckRollback, Main), failed),
        (Tag::Commit, good, (CheckRollback, Main), failed),
        (Tag::AfterCommit, good, (Commit, Leave), good),
        (Tag::Rollback, back, (Rollback, Enter), back),
        (Tag::RollbackReboot, back, (VerifyRollbackReboot, Main), back),
        (Tag::AfterRollbackReboot, back, (VerifyRollbackReboot, Main), back),
        (Tag::Failure, back, (Failure, Enter), back),
        (Tag::Failure, failed, (Failure, Enter), failed),
        // D-6: the whole outcome is stored.
        (Tag::Cleanup, good, (Cleanup, Main), good),
        (Tag::Cleanup, failed, (Cleanup, Main), failed),
        (Tag::Rollback, Verdict::RollbackFailed, (Rollback, Enter), Verdict::RollbackFailed),
    ] {
        let (state, phase, now) = resume(&record(Managed, tag, saved));
        assert_eq!(((state, phase), now), (place, verdict), "{tag:?}");
    }
}

#[test]
fn a_download_goes_on_only_with_an_offer_and_not_for_ever() {
    let store = Checkpoint { offer: true, ..record(Managed, Tag::Store, Verdict::Good) };
    let half = thimble_core::limits::STORES / 2;
    assert_eq!(resume(&store), (Prepare, Main, Verdict::Good));
    let before_the_header = Checkpoint { header: false, module: false, ..store.clone() };
    assert_eq!(resume(&before_the_header), (Download, Enter, Verdict::Good));
    for stores in 0..u8::MAX {
        let goes_on = resume(&Checkpoint { stores, ..store.clone() }).0 != Cleanup;
        assert_eq!(goes_on, stores < half, "{stores}");
    }
    for tag in [Tag::Install, Tag::Reboot, Tag::AfterCommit, Tag::Rollback, Tag::Failure, Tag::Cleanup] {
        let record = record(Managed, tag, Verdict::Good);
        let offered = Checkpoint { offer: true, ..record.clone() };
        assert_eq!(resume(&offered), resume(&record), "{tag:?}");
    }
}

#[test]
fn the_verbs_resume_as_the_specification_says() {
    // before the commit it is asked whether what is to be committed runs.
    let (c0, r0, f) = ((CheckRunning, Main), (CheckRollback, Main), (Failure, Enter));
    assert_eq!(next(Standalone, CheckRunning, Main, Success), (Commit, Enter));
    assert_eq!(next(Standalone, CheckRunning, Main, Refused), (End, Main));
    // Record, `resume`, `commit`, `rollback`.
    for (tag, go_on, commit, rollback) in [
        (Tag::BeforeInstall, Some((Install, Enter)), None, Some(r0)),
        (Tag::Install, Some(r0), None, Some(r0)),
        (Tag::BeforeCommit, Some(c0), Some(c0), Some(r0)),
        (Tag::Commit, Some(r0), Some(r0), Some(r0)),
        (Tag::BeforeCommitLeave, Some((Commit, Leave)), None, Some(r0)),
        (Tag::AfterCommit, Some((Commit, Leave)), None, None),
        (Tag::Rollback, Some((Rollback, Enter)), None, Some(r0)),
        (Tag::Failure, Some(f), None, None),
        (Tag::Cleanup, Some((Cleanup, Main)), None, None),
    ] {
        let place = |verb| {
            resume_standalone(verb, &record(Standalone, tag, Verdict::Good))
                .map(|(state, phase, _)| (state, phase))
        };
        assert_eq!(place(Verb::Resume), go_on, "{tag:?}");
        assert_eq!(place(Verb::Commit), commit, "{tag:?}");
        assert_eq!(place(Verb::Rollback), rollback, "{tag:?}");
    }
}

#[test]
fn the_outcome_tracker_is_the_specifications() {
    let all = [Verdict::Good, Verdict::Failed, Verdict::RolledBack, Verdict::RollbackFailed];
    let worse = [Verdict::Failed, Verdict::Failed, Verdict::RollbackFailed, Verdict::RollbackFailed];
    assert_eq!(all.map(Verdict::worsened), worse);
    assert_eq!(all.map(Verdict::is_good), [true, false, false, false]);
    assert_eq!(all.map(Verdict::is_inconsistent), [false, true, false, true]);
}

#[rustfmt::skip]
const STATES: [State; 35] = [
    Idle, Inventory, Poll, Offer, ReportDownloading, Download, Prepare, CheckSizes, EmptyPayload, InstallDoor,
    ReportInstalling, Install, CheckReboot, RebootDoor, ReportRebooting, Reboot, VerifyReboot, CommitDoor,
    ReportCommit, Commit, CheckVersion, CheckRollback, Rollback, RollbackFailed, CheckRollbackReboot, RollbackReboot,
    VerifyRollbackReboot, Failure, SaveProvides, Cleanup, ReportFinal, ReportLog, ClearData, End, StateLoop,
];
const OUTCOMES: [Outcome; 7] = [Success, Fails, Refused, Nothing, Automatic, Later(None), Aborted];

/// Whatever happens once a deployment was handed out, the machine is idle again only by way of `End`.
#[test]
fn i3_every_way_out_of_a_deployment_passes_its_end() {
    let outer = |state| matches!(state, Idle | Inventory | Poll);
    for state in STATES.into_iter().filter(|&state| !outer(state)) {
        for phase in [Enter, Main, Leave, Error] {
            for outcome in OUTCOMES {
                let (to, _) = next(Managed, state, phase, outcome);
                assert!(!outer(to) || state == End, "{state:?} {phase:?} {outcome:?} leads to {to:?}");
            }
        }
    }
}

/// The way back from every place to `End`, by failures alone, has an end.
#[test]
fn i3_a_deployment_in_which_everything_fails_ends() {
    for state in STATES {
        for phase in [Enter, Main, Leave, Error] {
            let mut place = (state, phase);
            let mut steps = 0;
            while place.0 != End && place.0 != Idle {
                place = next(Managed, place.0, place.1, Fails);
                // Verification after a rollback is repeated until the store counter ends it.
                if place == (RollbackReboot, Main) {
                    place = (StateLoop, Main);
                }
                steps += 1;
                assert!(steps < 40, "{state:?} {phase:?} goes round");
            }
        }
    }
}
