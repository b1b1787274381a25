//! What a verb tells its user in the end, and its exit status: pure functions of the machine's report.

use thimble_core::checkpoint::RebootKind;
use thimble_core::deployment::Verdict;
use thimble_core::machine::{Reached, Report, Stop};
use thimble_core::state::{Phase, Place, State};

use crate::args::VerbName;
use crate::output::{FAILURE, REBOOT, SUCCESS};

/// Printed as soon as the artifact is accepted.
pub(crate) const BEGINS: &str = "Installing the artifact.";

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

/// The lines behind [`BEGINS`], in order (CLI-40).
pub(crate) fn lines(verb: VerbName, report: &Report) -> Vec<&'static str> {
    let mut lines = Vec::new();
    if report.reached == Reached::EmptyCommitted {
        lines.push("The artifact has no payload: what it provides is committed.");
    }
    let stops_before_commit = report.reached == Reached::Stopped(Stop::ArtifactCommitEnter);
    if report.auto_commit && !stops_before_commit {
        lines.push("The update module cannot roll back: the update is committed at once.");
    }
    match FirstFailure::of(report) {
        None if report.auto_commit && stops_before_commit => lines.push(
            "Installed, but not committed.\nThe update module cannot roll back: use 'commit' to finish the update.",
        ),
        None => lines.extend(achieved(verb, report)),
        Some(FirstFailure::AfterCommit) => lines.push("Installed and committed."),
        Some(FirstFailure::Accepting) => lines.push("The artifact was refused."),
        Some(FirstFailure::Download) => lines.push("The download failed."),
        Some(FirstFailure::Install) => lines.push("The installation failed."),
        Some(FirstFailure::Commit) => lines.push("The commit failed."),
        Some(FirstFailure::WayBack | FirstFailure::Closing) => {}
    }
    lines.extend(condition(report));
    if report.cleanup_failed {
        lines.push("The update module could not clean up.");
    }
    if report.reached == Reached::Unfinished {
        lines.push("The end of the update could not be stored: 'resume' tries again.");
    }
    if wants_reboot(report) {
        lines.push("A reboot is needed for the update to take effect.");
    }
    lines
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

/// How far a run without failure got.
fn achieved(verb: VerbName, report: &Report) -> Option<&'static str> {
    let line = match report.reached {
        // A commit before the reboot would be refused: what is committed has to run.
        Reached::AwaitingCommit | Reached::Stopped(Stop::ArtifactCommitEnter) if wants_reboot(report) => {
            "Installed, but not committed.\nReboot, then use 'commit' to make the update permanent, or 'rollback' to undo it."
        }
        Reached::AwaitingCommit | Reached::Stopped(Stop::ArtifactCommitEnter) => {
            "Installed, but not committed.\nUse 'commit' to make the update permanent, or 'rollback' to undo it."
        }
        Reached::Stopped(Stop::ArtifactInstallEnter) => {
            "The artifact is stored, but not installed. Use 'resume' to go on."
        }
        Reached::Stopped(Stop::ArtifactCommitLeave) => {
            "Installed and committed. Use 'resume' for the last steps."
        }
        Reached::Stopped(Stop::ArtifactRollbackEnter) => "Not rolled back yet. Use 'resume' to go on.",
        Reached::Stopped(Stop::ArtifactFailureEnter) if report.verdict == Verdict::RolledBack => {
            "Rolled back. Use 'resume' for the last steps."
        }
        Reached::Stopped(Stop::ArtifactFailureEnter) => "Not rolled back. Use 'resume' for the last steps.",
        Reached::Stopped(Stop::Cleanup) => "Only the clean-up is left. Use 'resume' for it.",
        Reached::Ended if report.verdict.is_good() => match verb {
            VerbName::Install => "Installed and committed.",
            VerbName::Resume => "The update is finished and committed.",
            VerbName::Commit
            | VerbName::Rollback
            | VerbName::ShowArtifact
            | VerbName::ShowProvides
            | VerbName::CheckUpdate
            | VerbName::SendInventory
            | VerbName::Daemon
            | VerbName::Bootstrap
            | VerbName::Status
            | VerbName::Control => "Committed.",
        },
        Reached::Nothing
        | Reached::EmptyCommitted
        | Reached::RollbackUnsupported
        | Reached::NotRolledBack
        | Reached::NotRebooted
        | Reached::Ended
        | Reached::Unfinished => return None,
    };
    Some(line)
}

/// What the device is now, after a failure or a rollback.
fn condition(report: &Report) -> Option<&'static str> {
    let failed = FirstFailure::of(report);
    let line = match (report.reached, report.verdict, failed) {
        (Reached::RollbackUnsupported, ..) => {
            "The update module cannot roll back: the update stays as it is. Use 'commit' to finish it."
        }
        (Reached::NotRolledBack, ..) => {
            "The device was not rolled back: the next boot may start the new image, see 'status'.\nUse 'resume' or 'rollback' to try again."
        }
        (Reached::NotRebooted, ..) => {
            "Not committed yet: the new root file system does not run.\nReboot, then use 'commit' to make the update permanent, or 'rollback' to undo it."
        }
        (_, _, Some(FirstFailure::AfterCommit)) => {
            "A step after the commit failed: the artifact is marked as inconsistent."
        }
        (_, _, Some(FirstFailure::Closing)) | (_, Verdict::Good, _) | (Reached::Stopped(_), _, None) => {
            return None;
        }
        (Reached::Stopped(_), _, Some(_)) => "The way back is not finished. Use 'resume' to go on.",
        (_, Verdict::RollbackFailed, _) => "The way back failed too: the device is in an inconsistent state.",
        (_, Verdict::Failed, _) => {
            "The update module cannot roll back: the device is in an inconsistent state."
        }
        (_, Verdict::RolledBack, Some(FirstFailure::Accepting | FirstFailure::Download)) => {
            "The device was not modified."
        }
        (_, Verdict::RolledBack, _) => "The device was rolled back.",
    };
    Some(line)
}

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

    /// Exit status without and with `--reboot-exit-code`, then the beginnings of the lines.
    #[track_caller]
    fn check(verb: VerbName, report: &Report, status: [u8; 2], expected: &[&str]) {
        assert_eq!([exit_status(report, false), exit_status(report, true)], status, "{report:?}");
        let lines = lines(verb, report);
        assert_eq!(lines.len(), expected.len(), "{lines:?}");
        for (line, expected) in lines.iter().zip(expected) {
            assert!(line.starts_with(expected), "{line} instead of {expected}");
        }
    }

    #[test]
    fn what_went_well() {
        use VerbName::{Commit, Install, Resume, Rollback};
        let reboot = |report| Report { reboot: RebootKind::Automatic, ..report };
        let waiting = Report { reached: Reached::AwaitingCommit, ..GOOD };
        let stopped = |stop| Report { reached: Reached::Stopped(stop), ..GOOD };
        let back = Report { verdict: Verdict::RolledBack, ..GOOD };
        check(Install, &waiting, [0, 0], &["Installed, but not committed."]);
        check(
            Install,
            &reboot(waiting),
            [0, 4],
            &["Installed, but not committed.\nReboot, then use 'commit'", "A reboot is needed"],
        );
        check(Install, &waiting, [0, 0], &["Installed, but not committed.\nUse 'commit'"]);
        check(
            Install,
            &Report { auto_commit: true, ..GOOD },
            [0, 0],
            &["The update module cannot", "Installed and"],
        );
        check(
            Install,
            &Report { auto_commit: true, ..stopped(Stop::ArtifactCommitEnter) },
            [0, 0],
            &["Installed, but not committed.\nThe update module cannot roll back"],
        );
        check(
            Install,
            &Report { reached: Reached::EmptyCommitted, ..GOOD },
            [0, 0],
            &["The artifact has no payload"],
        );
        check(Commit, &GOOD, [0, 0], &["Committed."]);
        check(Resume, &GOOD, [0, 0], &["The update is finished"]);
        check(Rollback, &back, [0, 0], &["The device was rolled back."]);
        check(
            Install,
            &stopped(Stop::ArtifactInstallEnter),
            [0, 0],
            &["The artifact is stored, but not installed."],
        );
        check(Install, &stopped(Stop::ArtifactCommitEnter), [0, 0], &["Installed, but not committed."]);
        check(Commit, &stopped(Stop::ArtifactCommitLeave), [0, 0], &["Installed and committed."]);
        let stopped = |stop| Report { reached: Reached::Stopped(stop), ..back };
        check(Rollback, &stopped(Stop::ArtifactRollbackEnter), [0, 0], &["Not rolled back yet."]);
        check(Rollback, &stopped(Stop::ArtifactFailureEnter), [0, 0], &["Rolled back."]);
        check(Rollback, &stopped(Stop::Cleanup), [0, 0], &["Only the clean-up"]);
    }

    #[test]
    fn what_failed() {
        use VerbName::{Commit, Install, Resume, Rollback};
        let back = Verdict::RolledBack;
        let refused = Report { reached: Reached::Nothing, ..failed(State::Prepare, Phase::Main, back) };
        check(Install, &refused, [1, 1], &["The artifact was refused.", "The device was not modified."]);
        for phase in [Phase::Enter, Phase::Main, Phase::Leave] {
            let report = failed(State::Download, phase, back);
            check(Install, &report, [1, 1], &["The download failed.", "The device was not modified."]);
            let report = failed(State::Install, phase, back);
            check(Install, &report, [1, 1], &["The installation failed.", "The device was rolled back."]);
            let report = failed(State::Install, phase, Verdict::Failed);
            check(
                Install,
                &report,
                [1, 1],
                &["The installation failed.", "The update module cannot roll back"],
            );
            let report = failed(State::Install, phase, Verdict::RollbackFailed);
            check(Install, &report, [1, 1], &["The installation failed.", "The way back failed too"]);
        }
        let report = Report { reboot: RebootKind::Custom, ..failed(State::Commit, Phase::Main, back) };
        check(
            Commit,
            &report,
            [1, 1],
            &["The commit failed.", "The device was rolled back.", "A reboot is needed"],
        );
        let report = failed(State::Commit, Phase::Leave, Verdict::Failed);
        check(Commit, &report, [1, 1], &["Installed and committed.", "A step after the commit failed"]);
        let report = Report { cleanup_failed: true, ..GOOD };
        check(Commit, &report, [1, 1], &["Committed.", "The update module could not clean up."]);
        let report = Report {
            reached: Reached::RollbackUnsupported,
            ..failed(State::CheckRollback, Phase::Main, Verdict::Good)
        };
        check(Rollback, &report, [1, 1], &["The update module cannot roll back: the update stays"]);
        assert_eq!(reason(&report), "the update module does not support rollback");
        let waits = |report| Report { reached: Reached::NotRolledBack, ..report };
        let report = waits(failed(State::Rollback, Phase::Main, back));
        check(Rollback, &report, [1, 1], &["The device was not rolled back: the next boot may start"]);
        let report = waits(failed(State::Install, Phase::Main, back));
        check(Install, &report, [1, 1], &["The installation failed.", "The device was not rolled back"]);
        let report = failed(State::Rollback, Phase::Main, Verdict::RollbackFailed);
        check(Rollback, &report, [1, 1], &["The way back failed too"]);
        let report = Report {
            reached: Reached::Unfinished,
            ..failed(State::SaveProvides, Phase::Main, Verdict::Failed)
        };
        check(Resume, &report, [1, 1], &["The end of the update could not be stored"]);
        let report = Report {
            reached: Reached::Stopped(Stop::ArtifactRollbackEnter),
            ..failed(State::Install, Phase::Main, back)
        };
        check(Install, &report, [1, 1], &["The installation failed.", "The way back is not finished."]);
    }
}
