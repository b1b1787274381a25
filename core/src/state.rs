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
mod stop;
mod table;

pub use outcome::{Reached, effect, reached, run_fails};
pub use record::{Entry, Otherwise, Unsaved, Write, entry, stop, tag};
pub use restart::{Restart, Verb, restart, resume, resume_standalone};
pub use stop::{Stop, StopSet};
pub use table::next;

use crate::deployment::Point;
use crate::retry::Purpose;
use crate::script::{ScriptAction, ScriptState, Transition};

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "flight", derive(serde::Serialize, serde::Deserialize))]
pub enum State {
    /// Nothing to do; waits for a timer or a signal.
    Idle,
    /// Pushes the inventory, with the scripts of `Sync`.
    Inventory,
    /// Asks for a deployment, with the scripts of `Sync`.
    Poll,
    /// A deployment was handed out; `Sync` is being left for it.
    Offer,
    /// Tells the server `downloading`.
    ReportDownloading,
    /// The payload goes to the module, with the scripts of `Download`.
    Download,
    /// The artifact is asked for and its header verified. Alone and first on the command line.
    Prepare,
    /// Asks the module whether it wants file sizes.
    CheckSizes,
    /// Leaves `Download` with an artifact that has no payload.
    EmptyPayload,
    /// The control maps decide whether the install may begin. Phases of all doors: `Enter` asks the server for a
    /// fresh map, `Main` asks the maps, `Leave` is the pause.
    InstallDoor,
    /// Tells the server `installing`.
    ReportInstalling,
    /// The module installs, with the scripts of `ArtifactInstall`.
    Install,
    /// Asks the module whether it wants a reboot.
    CheckReboot,
    /// Command line: can the module roll back? If not, the commit follows at once.
    CheckAutoCommit,
    /// Command line: installed; `commit` or `rollback` come later, from the user.
    AwaitCommit,
    /// Command line: does what is to be committed run? If not, the user has not rebooted yet, and the update stays
    ///
    CheckRunning,
    /// The control maps decide whether the reboot may begin.
    RebootDoor,
    /// Tells the server `rebooting`.
    ReportRebooting,
    /// The module or the client reboots the device, with the scripts of `ArtifactReboot`.
    Reboot,
    /// Asks the module whether the reboot went well.
    VerifyReboot,
    /// The control maps decide whether the commit may begin.
    CommitDoor,
    /// Asks the server, with a fresh token, whether the update is still wanted. Must get through.
    ReportCommit,
    /// The module commits, with the scripts of `ArtifactCommit`.
    Commit,
    /// Looks whether this client can run the scripts of the root file system it booted into.
    CheckVersion,
    /// Asks the module whether it can roll back.
    CheckRollback,
    /// The module rolls back, with the scripts of `ArtifactRollback`.
    Rollback,
    /// Leaves `ArtifactRollback` after it failed.
    RollbackFailed,
    /// Asks the module whether it wants a reboot, now that it has rolled back.
    CheckRollbackReboot,
    /// The module or the client reboots into the old system, with the scripts of `ArtifactRollbackReboot`.
    RollbackReboot,
    /// Asks the module whether the old system is back; repeated with the reboot until it is.
    VerifyRollbackReboot,
    /// The module is told of the failure, with the scripts of `ArtifactFailure`.
    Failure,
    /// Name and provides of what is now installed become durable.
    SaveProvides,
    /// The module cleans up, the work tree goes.
    Cleanup,
    /// Tells the server the end. Must get through.
    ReportFinal,
    /// Sends the deployment log of a failure.
    ReportLog,
    /// The record of the update is deleted.
    ClearData,
    /// The update is over.
    End,
    /// The update wrote its record too often; it is given up as it is.
    StateLoop,
}

impl State {
    /// All states.
    #[rustfmt::skip]
    pub const ALL: [Self; 38] = [
        Idle, Inventory, Poll, Offer, ReportDownloading, Download, Prepare, CheckSizes, EmptyPayload, InstallDoor,
        ReportInstalling, Install, CheckReboot, CheckAutoCommit, AwaitCommit, CheckRunning, RebootDoor, ReportRebooting, Reboot,
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

use Phase::*;
use State::*;

/// The point at which a state asks the control maps, if it is a door.
#[must_use]
pub const fn point(state: State) -> Option<Point> {
    match state {
        InstallDoor => Some(Point::Install),
        RebootDoor => Some(Point::Reboot),
        CommitDoor => Some(Point::Commit),
        Idle | Inventory | Poll | Offer | ReportDownloading | Download | Prepare | CheckSizes
        | EmptyPayload | ReportInstalling | Install | CheckReboot | CheckAutoCommit | AwaitCommit
        | CheckRunning | ReportRebooting | Reboot | VerifyReboot | ReportCommit | Commit | CheckVersion
        | CheckRollback | Rollback | RollbackFailed | CheckRollbackReboot | RollbackReboot
        | VerifyRollbackReboot | Failure | SaveProvides | Cleanup | ReportFinal | ReportLog | ClearData
        | End | StateLoop => None,
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
        | CheckAutoCommit | AwaitCommit | CheckRunning | RebootDoor | ReportRebooting | VerifyReboot
        | CommitDoor | ReportCommit | CheckVersion | CheckRollback | CheckRollbackReboot
        | VerifyRollbackReboot | SaveProvides | Cleanup | ReportFinal | ReportLog | ClearData | End
        | StateLoop => return None,
    };
    let action = match phase {
        Enter => ScriptAction::Enter,
        Leave => ScriptAction::Leave,
        Error => ScriptAction::Error,
        Main => return None,
    };
    Some(Transition { state: script_state, action })
}

/// Whether an error of one script lets the others of its transition run (S-6).
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
            | CheckRunning | RebootDoor | ReportRebooting | Reboot | VerifyReboot | CommitDoor | ReportCommit
            | CheckVersion | CheckRollback | CheckRollbackReboot | VerifyRollbackReboot | SaveProvides
            | Cleanup | ReportFinal | ReportLog | ClearData | End | StateLoop,
            Enter | Main | Leave,
        ) => false,
    }
}

/// How a failure at this place is repeated before it counts; `None`: it counts at once. Status and log of an update that
/// is over share their retries.
#[must_use]
pub const fn retries(state: State, phase: Phase) -> Option<Purpose> {
    match (state, phase) {
        (ReportCommit, Main) => Some(Purpose::BeforeCommit),
        // Only for a boot loader that could not be told to go back: the module's own failure counts at once.
        (Rollback, Main) => Some(Purpose::BeforeCommit),
        (ReportFinal | ReportLog, Main) => Some(Purpose::Report),
        (InstallDoor | RebootDoor | CommitDoor, Enter) => Some(Purpose::Refresh),
        (ReportCommit | Rollback | ReportFinal | ReportLog, Enter | Leave | Error)
        | (InstallDoor | RebootDoor | CommitDoor, Main | Leave | Error)
        | (
            Idle | Inventory | Poll | Offer | ReportDownloading | Download | Prepare | CheckSizes
            | EmptyPayload | ReportInstalling | Install | CheckReboot | CheckAutoCommit | AwaitCommit
            | CheckRunning | ReportRebooting | Reboot | VerifyReboot | Commit | CheckVersion | CheckRollback
            | RollbackFailed | CheckRollbackReboot | RollbackReboot | VerifyRollbackReboot | Failure
            | SaveProvides | Cleanup | ClearData | End | StateLoop,
            Enter | Main | Leave | Error,
        ) => None,
    }
}
