//! The transition table: where each outcome leads from each place.

use super::{Outcome, Phase, Place, State};
use crate::deployment::Mode;

use Phase::*;
use State::*;

/// One row of the table.
#[derive(Clone, Copy, Debug)]
struct Row {
    success: Place,
    failure: Place,
    nothing: Place,
    aborted: Place,
    retry: Place,
}

impl Row {
    const fn nothing(self, nothing: Place) -> Self {
        Self { nothing, ..self }
    }

    const fn aborted(self, aborted: Place) -> Self {
        Self { aborted, ..self }
    }

    const fn retry(self, retry: Place) -> Self {
        Self { retry, ..self }
    }
}

/// The row of a place that goes `success` or `failure`; "nothing" is success and "aborted" and "retry" are failure
/// unless the row says otherwise.
const fn to(success: Place, failure: Place) -> Row {
    Row { success, failure, nothing: success, aborted: failure, retry: failure }
}

/// Where to go from a place, given how its work ended. Total; pure.
#[must_use]
pub const fn next(mode: Mode, state: State, phase: Phase, outcome: Outcome) -> Place {
    let row = match mode {
        Mode::Managed => managed(state, phase),
        Mode::Standalone => standalone(state, phase),
    };
    match outcome {
        Outcome::Success | Outcome::Automatic => row.success,
        Outcome::Failure | Outcome::Refused => row.failure,
        Outcome::Nothing => row.nothing,
        Outcome::Aborted => row.aborted,
        Outcome::Later(_) => row.retry,
    }
}

/// The daemon's rows (STATE-10 to STATE-37).
#[rustfmt::skip]
const fn managed(state: State, phase: Phase) -> Row {
    match (state, phase) {
        // Outer loop.       place                  success                     failure
        (Idle,                 Enter) => to((Idle,                 Main),  (Idle,                 Main)),
        (Idle,                 Main)  => to((Idle,                 Leave), (Idle,                 Leave)),
        (Idle,                 Leave) => to((Poll,                 Enter), (Poll,                 Enter)).nothing((Inventory, Enter)),
        (Inventory,            Enter) => to((Inventory,            Main),  (Inventory,            Error)),
        (Inventory,            Main)  => to((Inventory,            Leave), (Inventory,            Error)),
        (Inventory,            Leave) => to((Idle,                 Enter), (Inventory,            Error)),
        (Inventory,            Error) => to((Idle,                 Enter), (Idle,                 Enter)),
        (Poll,                 Enter) => to((Poll,                 Main),  (Poll,                 Error)),
        (Poll,                 Main)  => to((Offer,                Leave), (Poll,                 Error)).nothing((Poll, Leave)),
        (Poll,                 Leave) => to((Idle,                 Enter), (Poll,                 Error)),
        (Poll,                 Error) => to((Idle,                 Enter), (Idle,                 Enter)),
        (Offer,                Leave) => to((ReportDownloading,    Main),  (Offer,                Error)),
        (Offer,                Error) => to((End,                  Main),  (End,                  Main)),

        // Download.
        (ReportDownloading,    Main)  => to((Download,             Enter), (Download,             Enter)).aborted((Cleanup, Main)),
        (Download,             Enter) => to((Prepare,              Main),  (Download,             Error)),
        (Prepare,              Main)  => to((CheckSizes,           Main),  (Download,             Error)).nothing((EmptyPayload, Leave)),
        (CheckSizes,           Main)  => to((Download,             Main),  (Download,             Error)),
        (Download,             Main)  => to((Download,             Leave), (Download,             Error)),
        (Download,             Leave) => to((InstallDoor,          Enter), (Download,             Error)),
        (Download,             Error) => to((Cleanup,              Main),  (Cleanup,              Main)),
        (EmptyPayload,         Leave) => to((SaveProvides,         Main),  (Download,             Error)),

        // Install, reboot, commit.
        // Nothing is installed yet: a no at this door leads where the server's leads.
        (InstallDoor,          Enter) => to((InstallDoor,          Main),  (Cleanup,              Main)).retry((InstallDoor, Enter)),
        (InstallDoor,          Main)  => to((ReportInstalling,     Main),  (Cleanup,              Main)).nothing((InstallDoor, Leave)),
        (InstallDoor,          Leave) => to((InstallDoor,          Main),  (Cleanup,              Main)).nothing((InstallDoor, Enter)),
        (ReportInstalling,     Main)  => to((Install,              Enter), (Install,              Enter)).aborted((Cleanup, Main)),
        (Install,              Enter) => to((Install,              Main),  (Install,              Error)),
        (Install,              Main)  => to((Install,              Leave), (Install,              Error)),
        (Install,              Leave) => to((CheckReboot,          Main),  (Install,              Error)),
        (Install,              Error) => to((CheckRollback,        Main),  (CheckRollback,        Main)),
        (CheckReboot,          Main)  => to((RebootDoor,           Enter), (CheckRollback,        Main)).nothing((CommitDoor, Enter)),
        (RebootDoor,           Enter) => to((RebootDoor,           Main),  (CheckRollback,        Main)).retry((RebootDoor, Enter)),
        (RebootDoor,           Main)  => to((ReportRebooting,      Main),  (CheckRollback,        Main)).nothing((RebootDoor, Leave)),
        (RebootDoor,           Leave) => to((RebootDoor,           Main),  (CheckRollback,        Main)).nothing((RebootDoor, Enter)),
        (ReportRebooting,      Main)  => to((Reboot,               Enter), (Reboot,               Enter)).aborted((CheckRollback, Main)),
        (Reboot,               Enter) => to((Reboot,               Main),  (Reboot,               Error)),
        (Reboot,               Main)  => to((VerifyReboot,         Main),  (Reboot,               Error)),
        (VerifyReboot,         Main)  => to((Reboot,               Leave), (Reboot,               Error)),
        (Reboot,               Leave) => to((CommitDoor,           Enter), (Reboot,               Error)),
        (Reboot,               Error) => to((CheckRollback,        Main),  (CheckRollback,        Main)),
        (CommitDoor,           Enter) => to((CommitDoor,           Main),  (CheckRollback,        Main)).retry((CommitDoor, Enter)),
        (CommitDoor,           Main)  => to((ReportCommit,         Main),  (CheckRollback,        Main)).nothing((CommitDoor, Leave)),
        (CommitDoor,           Leave) => to((CommitDoor,           Main),  (CheckRollback,        Main)).nothing((CommitDoor, Enter)),
        (ReportCommit,         Main)  => to((Commit,               Enter), (CheckRollback,        Main)).retry((ReportCommit, Main)),
        (Commit,               Enter) => to((CheckVersion,         Main),  (Commit,               Error)),
        (CheckVersion,         Main)  => to((Commit,               Main),  (Commit,               Error)),
        (Commit,               Main)  => to((Commit,               Leave), (Commit,               Error)),
        (Commit,               Error) => to((CheckRollback,        Main),  (CheckRollback,        Main)),
        (Commit,               Leave) => to((SaveProvides,         Main),  (SaveProvides,         Main)),

        // Rollback and failure.
        (CheckRollback,        Main)  => to((Rollback,             Enter), (Failure,              Enter)).nothing((Failure, Enter)),
        (Rollback,             Enter) => to((Rollback,             Main),  (Rollback,             Main)),
        (Rollback,             Main)  => to((Rollback,             Leave), (RollbackFailed,       Leave)).retry((Rollback, Main)),
        (Rollback,             Leave) => to((CheckRollbackReboot,  Main),  (CheckRollbackReboot,  Main)),
        (RollbackFailed,       Leave) => to((Failure,              Enter), (Failure,              Enter)),
        (CheckRollbackReboot,  Main)  => to((RollbackReboot,       Enter), (Failure,              Enter)).nothing((Failure, Enter)),
        (RollbackReboot,       Enter) => to((RollbackReboot,       Main),  (RollbackReboot,       Main)),
        (RollbackReboot,       Main)  => to((VerifyRollbackReboot, Main),  (VerifyRollbackReboot, Main)),
        // Not a failure but a reason to reboot once more.
        (VerifyRollbackReboot, Main)  => to((RollbackReboot,       Leave), (RollbackReboot,       Main)).nothing((RollbackReboot, Main)),
        (RollbackReboot,       Leave) => to((Failure,              Enter), (Failure,              Enter)),
        (Failure,              Enter) => to((Failure,              Main),  (Failure,              Main)),
        (Failure,              Main)  => to((Failure,              Leave), (Failure,              Leave)),
        (Failure,              Leave) => to((SaveProvides,         Main),  (SaveProvides,         Main)),

        // Closing.
        (SaveProvides,         Main)  => to((Cleanup,              Main),  (Cleanup,              Main)),
        (Cleanup,              Main)  => to((ReportFinal,          Main),  (ReportFinal,          Main)),
        (ReportFinal,          Main)  => to((ReportLog,            Main),  (ClearData,            Main)).retry((ReportFinal, Main)),
        (ReportLog,            Main)  => to((ClearData,            Main),  (ClearData,            Main)).retry((ReportFinal, Main)),
        (ClearData,            Main)  => to((End,                  Main),  (End,                  Main)),
        (End,                  Main)  => to((Idle,                 Enter), (Idle,                 Enter)),
        (StateLoop,            Main)  => to((ReportFinal,          Main),  (ReportFinal,          Main)),

        // Places that do not exist. They are never entered; should one be, the deployment is closed.
        (Offer, Enter | Main) | (EmptyPayload, Enter | Main | Error) | (RollbackFailed, Enter | Main | Error)
        | (Rollback | RollbackReboot | Failure, Error) | (Idle, Error)
        | (InstallDoor | RebootDoor | CommitDoor, Error)
        | (ReportDownloading | Prepare | CheckSizes | ReportInstalling | CheckReboot | ReportRebooting | VerifyReboot
          | ReportCommit | CheckVersion | CheckRollback | CheckRollbackReboot | VerifyRollbackReboot | SaveProvides | Cleanup
          | ReportFinal | ReportLog | ClearData | End | StateLoop, Enter | Leave | Error)
        | (CheckAutoCommit | AwaitCommit | CheckRunning, Enter | Main | Leave | Error)
                                      => to((Cleanup,              Main),  (Cleanup,              Main)),
    }
}

/// The command line's rows; all others are the daemon's.
#[rustfmt::skip]
const fn standalone(state: State, phase: Phase) -> Row {
    match (state, phase) {
        (Prepare,              Main)  => to((Download,             Enter), (End,                  Main)).nothing((SaveProvides, Main)),
        (Download,             Enter) => to((CheckSizes,           Main),  (Download,             Error)),
        (Download,             Leave) => to((Install,              Enter), (Download,             Error)),
        (CheckReboot,          Main)  => to((CheckAutoCommit,      Main),  (CheckRollback,        Main)),
        (CheckAutoCommit,      Main)  => to((AwaitCommit,          Main),  (CheckRollback,        Main)).nothing((Commit, Enter)),
        (AwaitCommit,          Main)  => to((End,                  Main),  (End,                  Main)),
        // Not rebooted yet: the run ends, its record stays.
        (CheckRunning,         Main)  => to((Commit,               Enter), (End,                  Main)),
        // "Aborted": the user asked for a rollback of a module that has none; the update stays as it is.
        (CheckRollback,        Main)  => to((Rollback,             Enter), (Failure,              Enter)).nothing((Failure, Enter)).aborted((End, Main)),
        (Commit,               Leave) => to((Cleanup,              Main),  (Cleanup,              Main)),
        // "Later": the boot loader could not be told to go back. The run ends, its record stays.
        (Rollback,             Main)  => to((Rollback,             Leave), (RollbackFailed,       Leave)).retry((End, Main)),
        (Rollback,             Leave) => to((Failure,              Enter), (Failure,              Enter)),
        (Failure,              Leave) => to((Cleanup,              Main),  (Cleanup,              Main)),
        // Name and provides come last, together with the end of the record; if that fails, `resume` tries again.
        (Cleanup,              Main)  => to((SaveProvides,         Main),  (SaveProvides,         Main)),
        (SaveProvides,         Main)  => to((ClearData,            Main),  (End,                  Main)),
        (StateLoop,            Main)  => to((ClearData,            Main),  (ClearData,            Main)),
        (Idle | Inventory | Poll | Offer | ReportDownloading | Download | CheckSizes | EmptyPayload | InstallDoor
        | ReportInstalling | Install | RebootDoor | ReportRebooting | Reboot | VerifyReboot | CommitDoor | ReportCommit
        | Commit | CheckVersion | Rollback | RollbackFailed | CheckRollbackReboot | RollbackReboot | VerifyRollbackReboot
        | Failure | ReportFinal | ReportLog | ClearData | End, _)
        | (Prepare | CheckReboot | CheckAutoCommit | AwaitCommit | CheckRunning | CheckRollback | Cleanup | SaveProvides | StateLoop,
           Enter | Leave | Error)     => managed(state, phase),
    }
}
