//! Where the machine stands, and what its rules are: tables, each a total and pure function.
//!
//! | table | says for a place |
//! |---|---|
//! | [`next`] | where each outcome leads, for the daemon and, with the rows that differ, for the command line |
//! | [`entry`], [`stop`] | what is written to the record before the place begins, and where it leads when it cannot be |
//! | [`effect`], [`run_fails`], [`reached`] | what an outcome does to the verdict and to the report of the command line |
//! | [`restart`], [`resume`], [`resume_standalone`] | where a restart goes on |
//! | [`transition`], [`runs_all_scripts`], [`retries`], [`point`] | its scripts, its repeats, its door |
//!
//! A new [`State`] does not compile until it has a row in each of them.

mod outcome;
mod record;
mod restart;
mod table;

pub use outcome::{Effect, effect, reached, run_fails};
pub use record::{Entry, Otherwise, Stop, StopSet, Unsaved, Write, entry, stop, tag};
pub use restart::{Restart, Verb, restart, resume, resume_standalone};
pub use table::next;

use crate::deployment::Point;
use crate::retry::Purpose;
use crate::script::{ScriptAction, ScriptState, Transition};

/// What is being done. Numbers are those of the transition table in the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// 2-5: nothing to do; waits for a timer or a signal.
    Idle,
    /// 6, 7, 9, 11a: pushes the inventory.
    Inventory,
    /// 6, 8, 9, 11a: asks for a deployment.
    Poll,
    /// 10, 11b: a deployment was handed out; `Sync` is being left for it.
    Offer,
    /// 12: tells the server `downloading`.
    ReportDownloading,
    /// 13, 14, 16, 18a: the payload goes to the module.
    Download,
    /// 14, first half: the artifact is asked for and its header verified. Alone and first on the command line.
    Prepare,
    /// 14: does the module want file sizes?
    CheckSizes,
    /// 18b: leaves `Download` with an artifact that has no payload.
    EmptyPayload,
    /// The control maps decide whether the install may begin. Phases of all doors: `Enter` asks the server for a
    /// fresh map, `Main` asks the maps, `Leave` is the pause.
    InstallDoor,
    /// 19: tells the server `installing`.
    ReportInstalling,
    /// 20-23.
    Install,
    /// 24: does the module want a reboot?
    CheckReboot,
    /// Command line: can the module roll back? If not, the commit follows at once.
    CheckAutoCommit,
    /// Command line: installed; `commit` or `rollback` come later, from the user.
    AwaitCommit,
    /// The control maps decide whether the reboot may begin.
    RebootDoor,
    /// 25: tells the server `rebooting`.
    ReportRebooting,
    /// 26, 27, 29, 30.
    Reboot,
    /// 28: asks the module whether the reboot went well.
    VerifyReboot,
    /// The control maps decide whether the commit may begin.
    CommitDoor,
    /// 31, 32: asks the server, with a fresh token, whether the update is still wanted. Must get through.
    ReportCommit,
    /// 33, 35-38.
    Commit,
    /// 34, first half: can this client run the scripts of the root filesystem it booted into?
    CheckVersion,
    /// 39: can the module roll back?
    CheckRollback,
    /// 40-42.
    Rollback,
    /// 43: leaves `ArtifactRollback` after it failed.
    RollbackFailed,
    /// 44: does the module want a reboot, now that it rolled back?
    CheckRollbackReboot,
    /// 45, 46, 48.
    RollbackReboot,
    /// 47: asks the module whether the old system is back; repeated with the reboot until it is.
    VerifyRollbackReboot,
    /// 51-53.
    Failure,
    /// 54: name and provides of what is now installed become durable.
    SaveProvides,
    /// 55: the module cleans up, the work tree goes.
    Cleanup,
    /// 56: tells the server the end. Must get through.
    ReportFinal,
    /// 56: sends the deployment log of a failure.
    ReportLog,
    /// 57: the record of the update is deleted.
    ClearData,
    /// 58: the update is over.
    End,
    /// 59: the update wrote its record too often; it is given up as it is.
    StateLoop,
}

impl State {
    /// All states.
    #[rustfmt::skip]
    pub const ALL: [Self; 37] = [
        Idle, Inventory, Poll, Offer, ReportDownloading, Download, Prepare, CheckSizes, EmptyPayload, InstallDoor,
        ReportInstalling, Install, CheckReboot, CheckAutoCommit, AwaitCommit, RebootDoor, ReportRebooting, Reboot,
        VerifyReboot, CommitDoor, ReportCommit, Commit, CheckVersion, CheckRollback, Rollback, RollbackFailed,
        CheckRollbackReboot, RollbackReboot, VerifyRollbackReboot, Failure, SaveProvides, Cleanup, ReportFinal, ReportLog,
        ClearData, End, StateLoop,
    ];
}

/// The part of a state: its `Enter` scripts, its work, its `Leave` or its `Error` scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "Mender's own names, and Main")]
pub enum Phase {
    Enter,
    Main,
    Leave,
    Error,
}

impl Phase {
    /// All phases.
    pub const ALL: [Self; 4] = [Enter, Main, Leave, Error];
}

/// How an action ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It worked; a query said `Yes`.
    Success,
    /// It did not.
    Failure,
    /// It did not, and asking again would not help (a request that is too large, a directory that cannot be read).
    Refused,
    /// There is nothing to do: a query said `No`, no deployment is pending, the payload is empty, no script is left.
    Nothing,
    /// `NeedsArtifactReboot` said `Automatic`.
    Automatic,
    /// Try again: after this many seconds, or when the schedule says so.
    Later(Option<u32>),
    /// The server says that the deployment is over (409; 404 for a control map).
    Aborted,
}

/// A state and a phase.
pub type Place = (State, Phase);

use Phase::{Enter, Error, Leave, Main};
use State::{
    AwaitCommit, CheckAutoCommit, CheckReboot, CheckRollback, CheckRollbackReboot, CheckSizes, CheckVersion,
    Cleanup, ClearData, Commit, CommitDoor, Download, EmptyPayload, End, Failure, Idle, Install, InstallDoor,
    Inventory, Offer, Poll, Prepare, Reboot, RebootDoor, ReportCommit, ReportDownloading, ReportFinal,
    ReportInstalling, ReportLog, ReportRebooting, Rollback, RollbackFailed, RollbackReboot, SaveProvides,
    StateLoop, VerifyReboot, VerifyRollbackReboot,
};

/// The point at which a state asks the control maps, if it is a door.
#[must_use]
pub const fn point(state: State) -> Option<Point> {
    match state {
        InstallDoor => Some(Point::Install),
        RebootDoor => Some(Point::Reboot),
        CommitDoor => Some(Point::Commit),
        Idle | Inventory | Poll | Offer | ReportDownloading | Download | Prepare | CheckSizes
        | EmptyPayload | ReportInstalling | Install | CheckReboot | CheckAutoCommit | AwaitCommit
        | ReportRebooting | Reboot | VerifyReboot | ReportCommit | Commit | CheckVersion | CheckRollback
        | Rollback | RollbackFailed | CheckRollbackReboot | RollbackReboot | VerifyRollbackReboot
        | Failure | SaveProvides | Cleanup | ReportFinal | ReportLog | ClearData | End | StateLoop => None,
    }
}

/// The scripts that run at a place, if any do.
#[must_use]
pub const fn transition(state: State, phase: Phase) -> Option<Transition> {
    let script_state = match state {
        Idle => ScriptState::Idle,
        Inventory | Poll | Offer => ScriptState::Sync,
        Download | EmptyPayload => ScriptState::Download,
        Install => ScriptState::ArtifactInstall,
        Reboot => ScriptState::ArtifactReboot,
        Commit => ScriptState::ArtifactCommit,
        Rollback | RollbackFailed => ScriptState::ArtifactRollback,
        RollbackReboot => ScriptState::ArtifactRollbackReboot,
        Failure => ScriptState::ArtifactFailure,
        ReportDownloading | Prepare | CheckSizes | InstallDoor | ReportInstalling | CheckReboot
        | CheckAutoCommit | AwaitCommit | RebootDoor | ReportRebooting | VerifyReboot | CommitDoor
        | ReportCommit | CheckVersion | CheckRollback | CheckRollbackReboot | VerifyRollbackReboot
        | SaveProvides | Cleanup | ReportFinal | ReportLog | ClearData | End | StateLoop => return None,
    };
    let action = match phase {
        Enter => ScriptAction::Enter,
        Leave => ScriptAction::Leave,
        Error => ScriptAction::Error,
        Main => return None,
    };
    Some(Transition { state: script_state, action })
}

/// Whether an error of one script lets the others of its transition run (`state-scripts.md` 6, S-6).
#[must_use]
pub const fn runs_all_scripts(state: State, phase: Phase) -> bool {
    match (state, phase) {
        (_, Error) => true,
        (Idle | Rollback | RollbackFailed | RollbackReboot | Failure, Enter | Main | Leave) => true,
        (Commit, Leave) => true,
        (Commit, Enter | Main) => false,
        (
            Inventory | Poll | Offer | ReportDownloading | Download | Prepare | CheckSizes | EmptyPayload
            | InstallDoor | ReportInstalling | Install | CheckReboot | CheckAutoCommit | AwaitCommit
            | RebootDoor | ReportRebooting | Reboot | VerifyReboot | CommitDoor | ReportCommit | CheckVersion
            | CheckRollback | CheckRollbackReboot | VerifyRollbackReboot | SaveProvides | Cleanup
            | ReportFinal | ReportLog | ClearData | End | StateLoop,
            Enter | Main | Leave,
        ) => false,
    }
}

/// How a failure at this place is repeated before it counts; `None`: it counts at once. Status and log of an update that
/// is over share their retries.
#[must_use]
pub const fn retries(state: State, phase: Phase) -> Option<Purpose> {
    match (state, phase) {
        (ReportCommit, Main) => Some(Purpose::Report),
        (ReportFinal | ReportLog, Main) => Some(Purpose::Report),
        (InstallDoor | RebootDoor | CommitDoor, Enter) => Some(Purpose::Poll),
        (ReportCommit | ReportFinal | ReportLog, Enter | Leave | Error)
        | (InstallDoor | RebootDoor | CommitDoor, Main | Leave | Error)
        | (
            Idle | Inventory | Poll | Offer | ReportDownloading | Download | Prepare | CheckSizes
            | EmptyPayload | ReportInstalling | Install | CheckReboot | CheckAutoCommit | AwaitCommit
            | ReportRebooting | Reboot | VerifyReboot | Commit | CheckVersion | CheckRollback | Rollback
            | RollbackFailed | CheckRollbackReboot | RollbackReboot | VerifyRollbackReboot | Failure
            | SaveProvides | Cleanup | ClearData | End | StateLoop,
            Enter | Main | Leave | Error,
        ) => None,
    }
}
