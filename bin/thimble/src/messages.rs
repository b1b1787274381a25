//! What a verb tells its user in the end, and its exit status: pure functions of the machine's report.

use thimble_core::checkpoint::{RebootKind, Tag};
use thimble_core::deployment::Verdict;
use thimble_core::machine::{Reached, Report, Stop};
use thimble_core::state::{Phase, Place, State};

use crate::output::{FAILURE, REBOOT, SUCCESS};
use crate::verbs::VerbName;

/// The line of an update that left no trace.
pub(crate) const NOT_MODIFIED: &str = "System not modified.";

/// Printed as soon as the artifact is accepted.
pub(crate) const BEGINS: &str = "Installing artifact...";

/// Printed where there was nothing to do.
pub(crate) const NO_UPDATE_IN_PROGRESS: &str = "No update in progress.";

/// What a run did, for its last words.
#[derive(Clone, Copy)]
pub(crate) struct Done<'a> {
    pub(crate) verb: VerbName,
    /// What was on record when the run began; for `install` that is nothing, and this does not count.
    pub(crate) from: Tag,
    pub(crate) report: &'a Report,
}

/// The exit status of a run that ended with `report`.
pub(crate) const fn exit_status(report: &Report, reboot_exit_code: bool) -> u8 {
    if !report.is_success() || matches!(report.reached, Reached::Nothing | Reached::Unfinished) {
        FAILURE
    } else if reboot_exit_code && wants_reboot(report) {
        REBOOT
    } else {
        SUCCESS
    }
}

/// The lines on standard output behind [`BEGINS`]: those of Mender's client, word for word, because programs match on them
///
pub(crate) fn lines(done: Done<'_>) -> Vec<String> {
    let report = done.report;
    let mut lines = Vec::new();
    if report.reached == Reached::EmptyCommitted {
        lines.push("Artifact with empty payload. Committing immediately.".to_owned());
    }
    if report.auto_commit && report.reached != Reached::Stopped(Stop::ArtifactCommitEnter) {
        lines.push("Update Module doesn't support rollback. Committing immediately.".to_owned());
    }
    let operation = match FirstFailure::of(report) {
        Some(FirstFailure::Accepting | FirstFailure::Download) => Some("Streaming failed."),
        Some(FirstFailure::Install) => Some("Installation failed."),
        Some(FirstFailure::Commit) => Some("Committing failed."),
        Some(FirstFailure::WayBack) => None,
        None | Some(FirstFailure::AfterCommit | FirstFailure::Closing) => done.achieved(),
    };
    lines.extend(operation.map(str::to_owned));
    let post_commit = FirstFailure::of(report) == Some(FirstFailure::AfterCommit);
    let additional = [
        done.condition(),
        post_commit.then_some("One or more post-commit steps failed."),
        report.cleanup_failed.then_some("Cleanup failed."),
        wants_reboot(report).then_some("At least one payload requested a reboot of the device it updated."),
    ];
    let additional = additional.into_iter().flatten().collect::<Vec<_>>().join(" ");
    if !additional.is_empty() {
        lines.push(additional);
    }
    lines
}

/// What the user may do next, where the lines do not say it; for standard error.
pub(crate) fn hint(report: &Report) -> Option<&'static str> {
    let hint = match report.reached {
        Reached::Stopped(Stop::ArtifactCommitEnter) if report.auto_commit => {
            "the update module cannot roll back: use 'commit' to finish the update"
        }
        // A commit before the reboot would be refused: what is committed has to run.
        Reached::AwaitingCommit | Reached::Stopped(Stop::ArtifactCommitEnter) if wants_reboot(report) => {
            "reboot, then use 'commit' to make the update permanent, or 'rollback' to undo it"
        }
        Reached::Stopped(
            Stop::ArtifactInstallEnter
            | Stop::ArtifactCommitLeave
            | Stop::ArtifactRollbackEnter
            | Stop::ArtifactFailureEnter
            | Stop::Cleanup,
        ) => "use 'resume' to go on",
        Reached::RollbackUnsupported => "the update stays as it is: use 'commit' to finish it",
        Reached::NotRebooted => {
            "not committed yet: reboot, then use 'commit' to make the update permanent, or 'rollback' to undo it"
        }
        Reached::NotRolledBack => {
            "the device was not rolled back: the next boot may start the new image, see 'status'; use 'resume' or \
             'rollback' to try again"
        }
        Reached::Unfinished => "the end of the update could not be stored: 'resume' tries again",
        Reached::Ended if report.verdict.is_inconsistent() => {
            "the artifact is marked as inconsistent until another one is installed"
        }
        Reached::Stopped(Stop::ArtifactCommitEnter)
        | Reached::AwaitingCommit
        | Reached::Nothing
        | Reached::EmptyCommitted
        | Reached::Ended => return None,
    };
    Some(hint)
}

/// The reason to show when this run has none, because the failure happened in an earlier run.
pub(crate) fn reason(report: &Report) -> &'static str {
    match FirstFailure::of(report) {
        _ if report.reached == Reached::RollbackUnsupported => "the update module does not support rollback",
        Some(FirstFailure::Install) => "the installation was interrupted, so the update failed",
        Some(FirstFailure::Commit) => "the commit was interrupted, so the update failed",
        Some(
            FirstFailure::Accepting
            | FirstFailure::Download
            | FirstFailure::AfterCommit
            | FirstFailure::WayBack
            | FirstFailure::Closing,
        )
        | None => "the update failed; see the log of the run before",
    }
}

/// Which part of the update failed first, as it is shown to the user.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FirstFailure {
    Accepting,
    Download,
    Install,
    Commit,
    AfterCommit,
    WayBack,
    Closing,
}

impl FirstFailure {
    fn of(report: &Report) -> Option<Self> {
        report.failed_at.map(Self::at)
    }

    const fn at((state, phase): Place) -> Self {
        match state {
            State::Prepare => Self::Accepting,
            State::CheckSizes | State::Download | State::EmptyPayload => Self::Download,
            State::Install | State::CheckReboot | State::CheckAutoCommit | State::AwaitCommit => {
                Self::Install
            }
            State::Commit if matches!(phase, Phase::Leave) => Self::AfterCommit,
            State::Commit | State::CheckVersion => Self::Commit,
            State::CheckRollback | State::Rollback | State::RollbackFailed | State::Failure => Self::WayBack,
            State::CheckRunning
            | State::SaveProvides
            | State::Cleanup
            | State::ClearData
            | State::End
            | State::StateLoop => Self::Closing,
            // States that only the daemon uses.
            State::Idle
            | State::Inventory
            | State::Poll
            | State::Offer
            | State::ReportDownloading
            | State::InstallDoor
            | State::ReportInstalling
            | State::RebootDoor
            | State::ReportRebooting
            | State::Reboot
            | State::VerifyReboot
            | State::CommitDoor
            | State::ReportCommit
            | State::CheckRollbackReboot
            | State::RollbackReboot
            | State::VerifyRollbackReboot
            | State::ReportFinal
            | State::ReportLog => Self::Closing,
        }
    }
}

impl Done<'_> {
    /// The artifact was installed in this run, and not before.
    const fn installed(&self) -> bool {
        match self.verb {
            VerbName::Install => true,
            VerbName::Resume => matches!(self.from, Tag::BeforeInstall),
            VerbName::Commit
            | VerbName::Rollback
            | VerbName::ShowArtifact
            | VerbName::ShowProvides
            | VerbName::ShowFlightRecord
            | VerbName::Inspect
            | VerbName::Doctor
            | VerbName::CheckUpdate
            | VerbName::SendInventory
            | VerbName::Daemon
            | VerbName::Bootstrap
            | VerbName::Status
            | VerbName::Control
            | VerbName::Setup
            | VerbName::Snapshot
            | VerbName::ExportMender => false,
        }
    }

    /// The commit was still to come when this run began.
    const fn commits(&self) -> bool {
        match self.from {
            Tag::Store
            | Tag::BeforeInstall
            | Tag::Install
            | Tag::Reboot
            | Tag::AfterReboot
            | Tag::BeforeCommit
            | Tag::Commit => true,
            Tag::BeforeCommitLeave
            | Tag::AfterCommit
            | Tag::Rollback
            | Tag::RollbackReboot
            | Tag::AfterRollbackReboot
            | Tag::Failure
            | Tag::Cleanup
            | Tag::Report => matches!(self.verb, VerbName::Install),
        }
    }

    /// How far a run got that did not fail, or only after the commit.
    fn achieved(&self) -> Option<&'static str> {
        let report = self.report;
        let committed = || match (self.installed(), self.commits()) {
            (true, _) => Some("Installed and committed."),
            (false, true) => Some("Committed."),
            (false, false) => None,
        };
        match report.reached {
            Reached::AwaitingCommit | Reached::Stopped(Stop::ArtifactCommitEnter) => self.installed().then_some(
                "Installed, but not committed.\nUse 'commit' to update, or 'rollback' to roll back the update.",
            ),
            Reached::Stopped(Stop::ArtifactInstallEnter) => {
                matches!(self.verb, VerbName::Install).then_some("Streamed to storage, but not installed/enabled.")
            }
            Reached::EmptyCommitted => Some("Installed and committed."),
            Reached::Stopped(Stop::ArtifactCommitLeave) => committed(),
            Reached::Stopped(Stop::Cleanup) | Reached::Ended
                if FirstFailure::of(report) == Some(FirstFailure::AfterCommit) =>
            {
                committed()
            }
            Reached::Stopped(Stop::Cleanup) if report.verdict.is_good() => committed(),
            Reached::Ended if report.verdict.is_good() => committed().or(Some("Cleaned up.")),
            Reached::Ended if matches!(self.from, Tag::Failure | Tag::Cleanup) => Some("Cleaned up."),
            Reached::Stopped(Stop::ArtifactRollbackEnter | Stop::ArtifactFailureEnter | Stop::Cleanup)
            | Reached::Nothing
            | Reached::RollbackUnsupported
            | Reached::NotRolledBack
            | Reached::NotRebooted
            | Reached::Ended
            | Reached::Unfinished => None,
        }
    }

    /// What the device is now, after a failure or a rollback in this run.
    fn condition(&self) -> Option<&'static str> {
        let report = self.report;
        let failed = FirstFailure::of(report);
        let only_closes = self.verb != VerbName::Install && matches!(self.from, Tag::Failure | Tag::Cleanup);
        match (report.reached, report.verdict, failed) {
            (Reached::RollbackUnsupported, ..) => Some(NO_ROLLBACK),
            (Reached::NotRolledBack, ..) => Some(ROLLBACK_FAILED),
            (Reached::NotRebooted, ..)
            | (_, _, Some(FirstFailure::AfterCommit | FirstFailure::Closing))
            | (_, Verdict::Good, _) => None,
            (_, _, None) if only_closes => None,
            (Reached::Stopped(Stop::ArtifactRollbackEnter), ..) => None,
            (_, Verdict::RollbackFailed, _) => Some(ROLLBACK_FAILED),
            (_, Verdict::Failed, _) => Some(NO_ROLLBACK),
            (_, Verdict::RolledBack, Some(FirstFailure::Accepting | FirstFailure::Download)) => {
                Some(NOT_MODIFIED)
            }
            (_, Verdict::RolledBack, _) => Some("Rolled back."),
        }
    }
}

const NO_ROLLBACK: &str = "Update Module does not support rollback. System may be in an inconsistent state.";

const ROLLBACK_FAILED: &str = "Rollback failed. System may be in an inconsistent state.";

const fn wants_reboot(report: &Report) -> bool {
    match report.reboot {
        RebootKind::Custom | RebootKind::Automatic => true,
        RebootKind::None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Report = Report {
        reached: Reached::Ended,
        verdict: Verdict::Good,
        failed_at: None,
        cleanup_failed: false,
        reboot: RebootKind::None,
        auto_commit: false,
    };

    fn failed(state: State, phase: Phase, verdict: Verdict) -> Report {
        Report { failed_at: Some((state, phase)), verdict, ..GOOD }
    }

    /// Exit status without and with `--reboot-exit-code`, then the lines.
    #[track_caller]
    fn check(verb: VerbName, from: Tag, report: &Report, status: [u8; 2], expected: &[&str]) {
        assert_eq!([exit_status(report, false), exit_status(report, true)], status, "{report:?}");
        assert_eq!(lines(Done { verb, from, report }), expected);
    }

    const WAITS: &str =
        "Installed, but not committed.\nUse 'commit' to update, or 'rollback' to roll back the update.";
    const REBOOT_WANTED: &str = "At least one payload requested a reboot of the device it updated.";
    const AT_ONCE: &str = "Update Module doesn't support rollback. Committing immediately.";

    #[test]
    fn r31_what_went_well_is_told_in_menders_words() {
        use VerbName::{Commit, Install, Resume, Rollback};
        let reboot = |report| Report { reboot: RebootKind::Automatic, ..report };
        let waiting = Report { reached: Reached::AwaitingCommit, ..GOOD };
        let stopped = |stop| Report { reached: Reached::Stopped(stop), ..GOOD };
        let back = Report { verdict: Verdict::RolledBack, ..GOOD };
        let auto = Report { auto_commit: true, ..GOOD };
        check(Install, Tag::Store, &waiting, [0, 0], &[WAITS]);
        check(Install, Tag::Store, &reboot(waiting), [0, 4], &[WAITS, REBOOT_WANTED]);
        check(Install, Tag::Store, &auto, [0, 0], &[AT_ONCE, "Installed and committed."]);
        let stops = Report { auto_commit: true, ..stopped(Stop::ArtifactCommitEnter) };
        check(Install, Tag::Store, &stops, [0, 0], &[WAITS]);
        let empty = Report { reached: Reached::EmptyCommitted, ..GOOD };
        let lines = ["Artifact with empty payload. Committing immediately.", "Installed and committed."];
        check(Install, Tag::Store, &empty, [0, 0], &lines);
        check(Commit, Tag::BeforeCommit, &GOOD, [0, 0], &["Committed."]);
        check(Resume, Tag::BeforeCommit, &GOOD, [0, 0], &["Committed."]);
        check(Resume, Tag::BeforeInstall, &auto, [0, 0], &[AT_ONCE, "Installed and committed."]);
        check(Resume, Tag::BeforeCommitLeave, &GOOD, [0, 0], &["Cleaned up."]);
        check(Resume, Tag::Cleanup, &GOOD, [0, 0], &["Cleaned up."]);
        check(Rollback, Tag::BeforeCommit, &back, [0, 0], &["Rolled back."]);
        check(Resume, Tag::Failure, &back, [0, 0], &["Cleaned up."]);
        let stored = "Streamed to storage, but not installed/enabled.";
        check(Install, Tag::Store, &stopped(Stop::ArtifactInstallEnter), [0, 0], &[stored]);
        check(Commit, Tag::BeforeCommit, &stopped(Stop::ArtifactCommitLeave), [0, 0], &["Committed."]);
        check(Resume, Tag::BeforeCommitLeave, &stopped(Stop::Cleanup), [0, 0], &[]);
        let stopped = |stop| Report { reached: Reached::Stopped(stop), ..back };
        check(Rollback, Tag::BeforeCommit, &stopped(Stop::ArtifactRollbackEnter), [0, 0], &[]);
        check(Resume, Tag::Rollback, &stopped(Stop::ArtifactFailureEnter), [0, 0], &["Rolled back."]);
        check(Resume, Tag::Failure, &stopped(Stop::Cleanup), [0, 0], &[]);
    }

    #[test]
    fn r31_what_failed_is_told_in_menders_words() {
        use VerbName::{Commit, Install, Resume, Rollback};
        let back = Verdict::RolledBack;
        let unmodified = ["Streaming failed.", "System not modified."];
        let refused = Report { reached: Reached::Nothing, ..failed(State::Prepare, Phase::Main, back) };
        check(Install, Tag::Store, &refused, [1, 1], &unmodified);
        for phase in [Phase::Enter, Phase::Main, Phase::Leave] {
            check(Install, Tag::Store, &failed(State::Download, phase, back), [1, 1], &unmodified);
            for (verdict, condition) in [
                (back, "Rolled back."),
                (Verdict::Failed, NO_ROLLBACK),
                (Verdict::RollbackFailed, "Rollback failed. System may be in an inconsistent state."),
            ] {
                let report = failed(State::Install, phase, verdict);
                check(Install, Tag::Store, &report, [1, 1], &["Installation failed.", condition]);
            }
        }
        let report = Report { reboot: RebootKind::Custom, ..failed(State::Commit, Phase::Main, back) };
        let lines = ["Committing failed.", &format!("Rolled back. {REBOOT_WANTED}")];
        check(Commit, Tag::BeforeCommit, &report, [1, 1], &lines);
        let report = failed(State::Commit, Phase::Leave, Verdict::Failed);
        let after = "One or more post-commit steps failed.";
        check(Commit, Tag::BeforeCommit, &report, [1, 1], &["Committed.", after]);
        check(Install, Tag::Store, &report, [1, 1], &["Installed and committed.", after]);
        let report = Report { cleanup_failed: true, ..failed(State::Cleanup, Phase::Main, Verdict::Good) };
        check(Commit, Tag::BeforeCommit, &report, [1, 1], &["Committed.", "Cleanup failed."]);
        let report = Report {
            reached: Reached::RollbackUnsupported,
            ..failed(State::CheckRollback, Phase::Main, Verdict::Good)
        };
        check(Rollback, Tag::BeforeCommit, &report, [1, 1], &[NO_ROLLBACK]);
        assert_eq!(reason(&report), "the update module does not support rollback");
        assert!(hint(&report).is_some_and(|hint| hint.contains("'commit'")));
        let waits = |report| Report { reached: Reached::NotRolledBack, ..report };
        let report = waits(failed(State::Rollback, Phase::Main, back));
        check(Rollback, Tag::BeforeCommit, &report, [1, 1], &[ROLLBACK_FAILED]);
        assert!(hint(&report).is_some_and(|hint| hint.contains("the next boot may start")));
        let report = waits(failed(State::Install, Phase::Main, back));
        check(Install, Tag::Store, &report, [1, 1], &["Installation failed.", ROLLBACK_FAILED]);
        let report = failed(State::Rollback, Phase::Main, Verdict::RollbackFailed);
        let lines = ["Rollback failed. System may be in an inconsistent state."];
        check(Rollback, Tag::BeforeCommit, &report, [1, 1], &lines);
        let report = Report {
            reached: Reached::Unfinished,
            ..failed(State::SaveProvides, Phase::Main, Verdict::Failed)
        };
        check(Resume, Tag::Commit, &report, [1, 1], &[]);
        assert!(hint(&report).is_some_and(|hint| hint.contains("'resume'")));
        let report = Report {
            reached: Reached::Stopped(Stop::ArtifactRollbackEnter),
            ..failed(State::Install, Phase::Main, back)
        };
        check(Install, Tag::Store, &report, [1, 1], &["Installation failed."]);
    }
}
