//! What an outcome does beside leading on: to the verdict, and to the report of the command line.

use super::{Outcome, Phase, State, Stop};
use crate::deployment::{Effect, Mode};

use Phase::*;
use State::*;

use Effect::{Keeps, RollsBack, Worsens};

/// What an outcome of a place does to the verdict.
#[must_use]
pub const fn effect(mode: Mode, state: State, phase: Phase, outcome: Outcome) -> Effect {
    let [success, nothing, failure, aborted] = effects(mode, state, phase);
    match outcome {
        Outcome::Success | Outcome::Automatic => success,
        Outcome::Nothing => nothing,
        Outcome::Failure | Outcome::Refused => failure,
        Outcome::Aborted => aborted,
        Outcome::Later(_) => Keeps,
    }
}

#[rustfmt::skip]
const fn effects(mode: Mode, state: State, phase: Phase) -> [Effect; 4] {
    match (mode, state, phase) {
        //                                                success    nothing    failure    aborted
        (_, Download, Error)                          => [RollsBack, RollsBack, RollsBack, RollsBack],
        (_, CheckRollback, Main)                      => [RollsBack, Keeps,     Keeps,     Keeps],
        (Mode::Standalone, Prepare, _)                => [Keeps,     Keeps,     RollsBack, RollsBack],
        (Mode::Managed, Prepare, _)                   => [Keeps,     Keeps,     Worsens,   Worsens],
        (_, ReportDownloading | ReportInstalling, _)  => [Keeps,     Keeps,     Keeps,     RollsBack],
        // Whoever says no there: nothing is installed yet.
        (_, InstallDoor, _)                           => [Keeps,     Keeps,     RollsBack, RollsBack],
        (_, ReportRebooting, _)                       => [Keeps,     Keeps,     Keeps,     Worsens],
        // The new data is committed whatever the clean-up says; the command line says apart that it failed.
        (Mode::Standalone, Cleanup, _)                => [Keeps,     Keeps,     Keeps,     Keeps],
        (Mode::Managed, Cleanup, _)                   => [Keeps,     Keeps,     Worsens,   Worsens],
        // The reboot of the rollback is repeated until its verification is content.
        (_, RollbackReboot, Main)                     => [Keeps,     Keeps,     Keeps,     Keeps],
        (_, RollbackReboot, Enter | Leave | Error)    => [Keeps,     Keeps,     Worsens,   Worsens],
        (_, Download, Enter | Main | Leave)           => [Keeps,     Keeps,     Worsens,   Worsens],
        // Errors of `_Error` scripts are ignored.
        (_, Install | Reboot | Commit, Error)         => [Keeps,     Keeps,     Keeps,     Keeps],
        (_, Install | Reboot | Commit, Enter | Main | Leave)
                                                      => [Keeps,     Keeps,     Worsens,   Worsens],
        (_, CheckSizes | EmptyPayload | CheckReboot | CheckAutoCommit | RebootDoor | VerifyReboot | CommitDoor
          | ReportCommit | CheckVersion | Rollback | RollbackFailed | CheckRollbackReboot | Failure
          | SaveProvides | StateLoop, _)              => [Keeps,     Keeps,     Worsens,   Worsens],
        // Nothing of the deployment, or the table itself takes the failure as an answer.
        (_, Idle | Inventory | Poll | Offer | AwaitCommit | CheckRunning | VerifyRollbackReboot | ReportFinal | ReportLog
          | ClearData | End, _)
        | (_, CheckRollback, Enter | Leave | Error)   => [Keeps,     Keeps,     Keeps,     Keeps],
    }
}

/// Whether a run of the command line has failed with this outcome.
#[must_use]
pub const fn run_fails(state: State, phase: Phase, outcome: Outcome) -> bool {
    let failed = match outcome {
        Outcome::Failure | Outcome::Refused | Outcome::Aborted => true,
        Outcome::Success | Outcome::Automatic | Outcome::Nothing => false,
        // A rollback that could not be done, and is left for `resume`. A script asks for it too, and runs again.
        Outcome::Later(_) => matches!((state, phase), (Rollback, Main)),
    };
    // What says nothing about the update: its record cannot be deleted, or the module has no rollback.
    let of_the_run = match state {
        ClearData => matches!(outcome, Outcome::Failure | Outcome::Refused),
        CheckRollback => matches!(outcome, Outcome::Aborted),
        CheckRunning => matches!(outcome, Outcome::Failure | Outcome::Refused),
        Idle | Inventory | Poll | Offer | ReportDownloading | Download | Prepare | CheckSizes
        | EmptyPayload | InstallDoor | ReportInstalling | Install | CheckReboot | CheckAutoCommit
        | AwaitCommit | RebootDoor | ReportRebooting | Reboot | VerifyReboot | CommitDoor | ReportCommit
        | Commit | CheckVersion | Rollback | RollbackFailed | CheckRollbackReboot | RollbackReboot
        | VerifyRollbackReboot | Failure | SaveProvides | Cleanup | ReportFinal | ReportLog | End
        | StateLoop => false,
    };
    let [success, _, failure, _] = effects(Mode::Standalone, state, phase);
    // `Download_Error` follows a failure that was noted before.
    let counts = !matches!(failure, Keeps) && matches!(success, Keeps);
    of_the_run || (failed && counts)
}

/// How far a run of the command line got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reached {
    /// The artifact was refused before anything of it was stored.
    Nothing,
    /// The artifact has no payload; its provides are committed.
    EmptyCommitted,
    /// Stopped before this point, as asked.
    Stopped(Stop),
    /// Installed; waits for `commit` or `rollback`.
    AwaitingCommit,
    /// A rollback was asked for and the module has none; the update stays as it is.
    RollbackUnsupported,
    /// Everything was done and the record is gone.
    Ended,
    /// The boot loader could not be asked or told to go back: the record says that the rollback begins, and `resume` or
    /// `rollback` repeats it.
    NotRolledBack,
    /// What is to be committed does not run: the user has not rebooted yet. Nothing was changed.
    NotRebooted,
    /// The end could not be stored; `resume` tries again.
    Unfinished,
}

/// How far a run of the command line has got with this outcome; `None`: no further than before.
#[must_use]
pub const fn reached(state: State, outcome: Outcome) -> Option<Reached> {
    let [success, failure, nothing, aborted, later] = match state {
        Prepare => [None, Some(Reached::Nothing), Some(Reached::EmptyCommitted), None, None],
        CheckAutoCommit => [Some(Reached::AwaitingCommit), None, None, None, None],
        CheckRollback => [None, None, None, Some(Reached::RollbackUnsupported), None],
        Rollback => [None, None, None, None, Some(Reached::NotRolledBack)],
        CheckRunning => [None, Some(Reached::NotRebooted), None, None, None],
        SaveProvides => [None, Some(Reached::Unfinished), None, None, None],
        ClearData => [Some(Reached::Ended), Some(Reached::Unfinished), None, None, None],
        Idle | Inventory | Poll | Offer | ReportDownloading | Download | CheckSizes | EmptyPayload
        | InstallDoor | ReportInstalling | Install | CheckReboot | AwaitCommit | RebootDoor
        | ReportRebooting | Reboot | VerifyReboot | CommitDoor | ReportCommit | Commit | CheckVersion
        | RollbackFailed | CheckRollbackReboot | RollbackReboot | VerifyRollbackReboot | Failure
        | Cleanup | ReportFinal | ReportLog | End | StateLoop => [None, None, None, None, None],
    };
    match outcome {
        Outcome::Success => success,
        Outcome::Failure | Outcome::Refused => failure,
        Outcome::Nothing => nothing,
        Outcome::Aborted => aborted,
        Outcome::Later(_) => later,
        Outcome::Automatic => None,
    }
}
