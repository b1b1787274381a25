//! The transition table, the tags and the resume tables, written out from the specification (`state-machine.md` 3 and
//! 11, `standalone-cli.md` 3) and compared with the code. Numbers are the specification's.

use thimble_core::checkpoint::{Checkpoint, Format, RebootKind, Tag};
use thimble_core::deployment::{Mode, Verdict};
use thimble_core::state::{Outcome, Phase, Place, State, Verb, next, resume, resume_standalone, tag};
use thimble_core::text::Text;

use Mode::{Managed, Standalone};
use Outcome::{Aborted, Automatic, Failure as Fails, Later, Nothing, Refused, Success};
use Phase::{Enter, Error, Leave, Main};
use State::*;

type Row = (Place, Place, Place);

/// Place, on success, on failure.
#[rustfmt::skip]
const MANAGED: &[Row] = &[
    /* 2   */ ((Idle, Enter), (Idle, Main), (Idle, Main)),
    /* 6   */ ((Inventory, Enter), (Inventory, Main), (Inventory, Error)),
    /* 7   */ ((Inventory, Main), (Inventory, Leave), (Inventory, Error)),
    /* 9   */ ((Inventory, Leave), (Idle, Enter), (Inventory, Error)),
    /* 11a */ ((Inventory, Error), (Idle, Enter), (Idle, Enter)),
    /* 6   */ ((Poll, Enter), (Poll, Main), (Poll, Error)),
    /* 8   */ ((Poll, Main), (Offer, Leave), (Poll, Error)),
    /* 9   */ ((Poll, Leave), (Idle, Enter), (Poll, Error)),
    /* 11a */ ((Poll, Error), (Idle, Enter), (Idle, Enter)),
    /* 10  */ ((Offer, Leave), (ReportDownloading, Main), (Offer, Error)),
    /* 11b */ ((Offer, Error), (End, Main), (End, Main)),
    /* 12  */ ((ReportDownloading, Main), (Download, Enter), (Download, Enter)),
    /* 13  */ ((Download, Enter), (Prepare, Main), (Download, Error)),
    /* 14  */ ((Prepare, Main), (CheckSizes, Main), (Download, Error)),
    /* 14  */ ((CheckSizes, Main), (Download, Main), (Download, Error)),
    /* 14  */ ((Download, Main), (Download, Leave), (Download, Error)),
    /* 16  */ ((Download, Error), (Cleanup, Main), (Cleanup, Main)),
    /* 18b */ ((EmptyPayload, Leave), (SaveProvides, Main), (Download, Error)),
    /* 19  */ ((ReportInstalling, Main), (Install, Enter), (Install, Enter)),
    /* 20  */ ((Install, Enter), (Install, Main), (Install, Error)),
    /* 21  */ ((Install, Main), (Install, Leave), (Install, Error)),
    /* 22  */ ((Install, Leave), (CheckReboot, Main), (Install, Error)),
    /* 23  */ ((Install, Error), (CheckRollback, Main), (CheckRollback, Main)),
    /* 25  */ ((ReportRebooting, Main), (Reboot, Enter), (Reboot, Enter)),
    /* 26  */ ((Reboot, Enter), (Reboot, Main), (Reboot, Error)),
    /* 27  */ ((Reboot, Main), (VerifyReboot, Main), (Reboot, Error)),
    /* 28  */ ((VerifyReboot, Main), (Reboot, Leave), (Reboot, Error)),
    /* 30  */ ((Reboot, Error), (CheckRollback, Main), (CheckRollback, Main)),
    /* 32  */ ((ReportCommit, Main), (Commit, Enter), (CheckRollback, Main)),
    /* 33  */ ((Commit, Enter), (CheckVersion, Main), (Commit, Error)),
    /* 34  */ ((CheckVersion, Main), (Commit, Main), (Commit, Error)),
    /* 34  */ ((Commit, Main), (Commit, Leave), (Commit, Error)),
    /* 35  */ ((Commit, Error), (CheckRollback, Main), (CheckRollback, Main)),
    /* 37, 38 */ ((Commit, Leave), (SaveProvides, Main), (SaveProvides, Main)),
    /* 39  */ ((CheckRollback, Main), (Rollback, Enter), (Failure, Enter)),
    /* 40  */ ((Rollback, Enter), (Rollback, Main), (Rollback, Main)),
    /* 41  */ ((Rollback, Main), (Rollback, Leave), (RollbackFailed, Leave)),
    /* 42  */ ((Rollback, Leave), (CheckRollbackReboot, Main), (CheckRollbackReboot, Main)),
    /* 43  */ ((RollbackFailed, Leave), (Failure, Enter), (Failure, Enter)),
    /* 44  */ ((CheckRollbackReboot, Main), (RollbackReboot, Enter), (Failure, Enter)),
    /* 45  */ ((RollbackReboot, Enter), (RollbackReboot, Main), (RollbackReboot, Main)),
    /* 46  */ ((RollbackReboot, Main), (VerifyRollbackReboot, Main), (VerifyRollbackReboot, Main)),
    /* 48, 49, 50 */ ((RollbackReboot, Leave), (Failure, Enter), (Failure, Enter)),
    /* 51  */ ((Failure, Enter), (Failure, Main), (Failure, Main)),
    /* 52  */ ((Failure, Main), (Failure, Leave), (Failure, Leave)),
    /* 53  */ ((Failure, Leave), (SaveProvides, Main), (SaveProvides, Main)),
    /* 54  */ ((SaveProvides, Main), (Cleanup, Main), (Cleanup, Main)),
    /* 55  */ ((Cleanup, Main), (ReportFinal, Main), (ReportFinal, Main)),
    /* 56  */ ((ReportFinal, Main), (ReportLog, Main), (ClearData, Main)),
    /* 56  */ ((ReportLog, Main), (ClearData, Main), (ClearData, Main)),
    /* 57  */ ((ClearData, Main), (End, Main), (End, Main)),
    /* 58  */ ((End, Main), (Idle, Enter), (Idle, Enter)),
    /* 59  */ ((StateLoop, Main), (ReportFinal, Main), (ReportFinal, Main)),
];

/// The column "other".
#[rustfmt::skip]
const MANAGED_OTHER: &[(Place, Outcome, Place)] = &[
    /* 4b  */ ((Idle, Leave), Nothing, (Inventory, Enter)),
    /* 4a  */ ((Idle, Leave), Success, (Poll, Enter)),
    /* 8   */ ((Poll, Main), Nothing, (Poll, Leave)),
    /* 12  */ ((ReportDownloading, Main), Aborted, (Cleanup, Main)),
    /* 14  */ ((Prepare, Main), Nothing, (EmptyPayload, Leave)),
    /* 19  */ ((ReportInstalling, Main), Aborted, (Cleanup, Main)),
    /* 24  */ ((CheckReboot, Main), Fails, (CheckRollback, Main)),
    /* 25  */ ((ReportRebooting, Main), Aborted, (CheckRollback, Main)),
    /* 32  */ ((ReportCommit, Main), Aborted, (CheckRollback, Main)),
    /* 32  */ ((ReportCommit, Main), Later(None), (ReportCommit, Main)),
    /* 39  */ ((CheckRollback, Main), Nothing, (Failure, Enter)),
    /* 44  */ ((CheckRollbackReboot, Main), Nothing, (Failure, Enter)),
    /* 44  */ ((CheckRollbackReboot, Main), Automatic, (RollbackReboot, Enter)),
    /* 47  */ ((VerifyRollbackReboot, Main), Success, (RollbackReboot, Leave)),
    /* 47  */ ((VerifyRollbackReboot, Main), Later(None), (RollbackReboot, Main)),
    /* 56  */ ((ReportFinal, Main), Aborted, (ClearData, Main)),
    /* 56  */ ((ReportFinal, Main), Later(None), (ReportFinal, Main)),
    /* 56  */ ((ReportLog, Main), Later(None), (ReportFinal, Main)),
];

/// The steps of the command line (P, D, I, Q, C, L, R, F, Z).
#[rustfmt::skip]
const STANDALONE: &[(Place, Outcome, Place)] = &[
    /* P */ ((Prepare, Main), Success, (Download, Enter)),
    /* P */ ((Prepare, Main), Fails, (End, Main)),
    /* P */ ((Prepare, Main), Nothing, (SaveProvides, Main)),
    /* D */ ((Download, Enter), Success, (CheckSizes, Main)),
    /* D */ ((Download, Main), Fails, (Download, Error)),
    /* D */ ((Download, Leave), Success, (Install, Enter)),
    /* D */ ((Download, Error), Success, (Cleanup, Main)),
    /* I */ ((Install, Leave), Success, (CheckReboot, Main)),
    /* I */ ((Install, Main), Fails, (Install, Error)),
    /* I */ ((Install, Error), Success, (CheckRollback, Main)),
    /* Q */ ((CheckReboot, Main), Success, (CheckAutoCommit, Main)),
    /* Q */ ((CheckReboot, Main), Automatic, (CheckAutoCommit, Main)),
    /* Q */ ((CheckReboot, Main), Nothing, (CheckAutoCommit, Main)),
    /* Q */ ((CheckReboot, Main), Fails, (CheckRollback, Main)),
    /* Q */ ((CheckAutoCommit, Main), Success, (AwaitCommit, Main)),
    /* Q */ ((CheckAutoCommit, Main), Nothing, (Commit, Enter)),
    /* Q */ ((CheckAutoCommit, Main), Fails, (CheckRollback, Main)),
    /* C */ ((Commit, Main), Success, (Commit, Leave)),
    /* C */ ((Commit, Main), Fails, (Commit, Error)),
    /* C */ ((Commit, Error), Success, (CheckRollback, Main)),
    /* L */ ((Commit, Leave), Success, (Cleanup, Main)),
    /* L */ ((Commit, Leave), Fails, (Cleanup, Main)),
    /* R0 */ ((CheckRollback, Main), Success, (Rollback, Enter)),
    /* R0 */ ((CheckRollback, Main), Nothing, (Failure, Enter)),
    /* R0 */ ((CheckRollback, Main), Fails, (Failure, Enter)),
    /* R */ ((Rollback, Leave), Success, (Failure, Enter)),
    /* R */ ((RollbackFailed, Leave), Success, (Failure, Enter)),
    /* F */ ((Failure, Leave), Success, (Cleanup, Main)),
    /* Z */ ((Cleanup, Main), Success, (SaveProvides, Main)),
    /* Z */ ((Cleanup, Main), Fails, (SaveProvides, Main)),
    /* Z */ ((SaveProvides, Main), Success, (ClearData, Main)),
    /* Z */ ((SaveProvides, Main), Fails, (End, Main)),
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
        for phase in [Enter, Main, Leave] {
            assert_eq!(next(Managed, door, phase, Fails), (CheckRollback, Main));
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
    ] {
        assert_eq!(tag(Managed, state, phase), Some(name), "{state:?} {phase:?}");
    }
    // Everything else leaves the record alone; the door and 47 are not among these rows.
    let saving = MANAGED.iter().filter(|((state, phase), ..)| tag(Managed, *state, *phase).is_some()).count();
    assert_eq!(saving, 16 - 2);
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
    let (c0, r0, f) = ((Commit, Enter), (CheckRollback, Main), (Failure, Enter));
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
