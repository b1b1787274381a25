//! Where the machine stands, and where it goes: two total, pure functions.
//!
//! [`next`] is the transition table of `spec/state-machine.md` 3, for the daemon and, with the rows that differ, for
//! the command line; [`resume`] says where to go on after a restart. A new [`State`] does not compile until it has a
//! row, a tag, a script name and a resume rule.

use crate::checkpoint::{Checkpoint, Tag};
use crate::deployment::{Mode, Point, Verdict};
use crate::limits;
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

/// The part of a state: its `Enter` scripts, its work, its `Leave` or its `Error` scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "Mender's own names, and Main")]
pub enum Phase {
    Enter,
    Main,
    Leave,
    Error,
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
        (InstallDoor,          Enter) => to((InstallDoor,          Main),  (CheckRollback,        Main)).retry((InstallDoor, Enter)),
        (InstallDoor,          Main)  => to((ReportInstalling,     Main),  (CheckRollback,        Main)).nothing((InstallDoor, Leave)),
        (InstallDoor,          Leave) => to((InstallDoor,          Main),  (CheckRollback,        Main)).nothing((InstallDoor, Enter)),
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
        (Rollback,             Main)  => to((Rollback,             Leave), (RollbackFailed,       Leave)),
        (Rollback,             Leave) => to((CheckRollbackReboot,  Main),  (CheckRollbackReboot,  Main)),
        (RollbackFailed,       Leave) => to((Failure,              Enter), (Failure,              Enter)),
        (CheckRollbackReboot,  Main)  => to((RollbackReboot,       Enter), (Failure,              Enter)).nothing((Failure, Enter)),
        (RollbackReboot,       Enter) => to((RollbackReboot,       Main),  (RollbackReboot,       Main)),
        (RollbackReboot,       Main)  => to((VerifyRollbackReboot, Main),  (VerifyRollbackReboot, Main)),
        (VerifyRollbackReboot, Main)  => to((RollbackReboot,       Leave), (RollbackReboot,       Main)),
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
        | (CheckAutoCommit | AwaitCommit, Enter | Main | Leave | Error)
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
        // "Aborted": the user asked for a rollback of a module that has none; the update stays as it is.
        (CheckRollback,        Main)  => to((Rollback,             Enter), (Failure,              Enter)).nothing((Failure, Enter)).aborted((End, Main)),
        (Commit,               Leave) => to((Cleanup,              Main),  (Cleanup,              Main)),
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
        | (Prepare | CheckReboot | CheckAutoCommit | AwaitCommit | CheckRollback | Cleanup | SaveProvides | StateLoop,
           Enter | Leave | Error)     => managed(state, phase),
    }
}

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

/// Whether a failure at this place makes the deployment's [`Verdict`] worse. Not where errors are ignored, and not
/// where the table itself takes them as an answer.
#[must_use]
pub const fn failure_counts(state: State, phase: Phase) -> bool {
    match (state, phase) {
        (_, Error) => false,
        (RollbackReboot, Main) => false,
        (RollbackReboot, Enter | Leave) => true,
        (
            Idle | Inventory | Poll | Offer | ReportDownloading | ReportInstalling | ReportRebooting
            | CheckRollback | VerifyRollbackReboot | ReportFinal | ReportLog | ClearData | End | AwaitCommit,
            Enter | Main | Leave,
        ) => false,
        (
            Download | Prepare | CheckSizes | EmptyPayload | InstallDoor | Install | CheckReboot
            | CheckAutoCommit | RebootDoor | Reboot | VerifyReboot | CommitDoor | ReportCommit | Commit
            | CheckVersion | Rollback | RollbackFailed | CheckRollbackReboot | Failure | SaveProvides
            | Cleanup | StateLoop,
            Enter | Main | Leave,
        ) => true,
    }
}

/// What is written to the record on entry to a place, before anything of it runs; `None` leaves the record alone.
#[must_use]
pub const fn tag(mode: Mode, state: State, phase: Phase) -> Option<Tag> {
    let managed = matches!(mode, Mode::Managed);
    match (state, phase) {
        (Download, Enter) | (CheckSizes, Main) | (EmptyPayload, Leave) if managed => Some(Tag::Store),
        (Install, Enter) => Some(Tag::Install),
        // A power cycle while the reboot is held back counts as the reboot.
        (RebootDoor, Leave) | (Reboot, Enter) => Some(Tag::Reboot),
        (VerifyReboot, Main) => Some(Tag::AfterReboot),
        (CheckReboot, Main) if !managed => Some(Tag::BeforeCommit),
        (Commit, Enter) => Some(Tag::Commit),
        (Commit, Leave) => Some(Tag::AfterCommit),
        (Rollback, Enter) => Some(Tag::Rollback),
        (RollbackReboot, Enter) => Some(Tag::RollbackReboot),
        (VerifyRollbackReboot, Main) => Some(Tag::AfterRollbackReboot),
        (Failure, Enter | Main) => Some(Tag::Failure),
        (SaveProvides | Cleanup, Main) => Some(Tag::Cleanup),
        (
            Idle | Inventory | Poll | Offer | ReportDownloading | Download | Prepare | CheckSizes
            | EmptyPayload | InstallDoor | ReportInstalling | Install | CheckReboot | CheckAutoCommit
            | AwaitCommit | RebootDoor | ReportRebooting | Reboot | VerifyReboot | CommitDoor | ReportCommit
            | Commit | CheckVersion | CheckRollback | Rollback | RollbackFailed | CheckRollbackReboot
            | RollbackReboot | VerifyRollbackReboot | Failure | SaveProvides | Cleanup | ReportFinal
            | ReportLog | ClearData | End | StateLoop,
            Enter | Main | Leave | Error,
        ) => None,
    }
}

/// Whether the machine goes on, with a line in the log, when the record cannot be written at this place: the
/// states of the failure path ("FS" in the table). Elsewhere a failed write is a failure of the place.
#[must_use]
pub const fn saves_if_possible(state: State) -> bool {
    match state {
        Rollback | RollbackReboot | VerifyRollbackReboot | Failure | Cleanup | ReportFinal => true,
        Idle | Inventory | Poll | Offer | ReportDownloading | Download | Prepare | CheckSizes
        | EmptyPayload | InstallDoor | ReportInstalling | Install | CheckReboot | CheckAutoCommit
        | AwaitCommit | RebootDoor | ReportRebooting | Reboot | VerifyReboot | CommitDoor | ReportCommit
        | Commit | CheckVersion | CheckRollback | RollbackFailed | CheckRollbackReboot | SaveProvides
        | ReportLog | ClearData | End | StateLoop => false,
    }
}

/// Where the daemon goes on with a saved update after any restart (`state-machine.md` 11). First boot, reboot, crash
/// and power loss are told apart by the record alone. A download goes on only with the server's offer beside it, and not
/// for ever; the scripts of `Download_Enter` run again unless the record says that the header behind them was verified.
#[must_use]
pub const fn resume(saved: &Checkpoint) -> (State, Phase, Verdict) {
    let verdict = saved.verdict;
    match saved.tag {
        // `downloading` is not reported again: `installing` may have been, if all of the payload was there.
        Tag::Store if saved.offer && saved.stores < limits::DOWNLOAD_STORES => {
            if saved.header {
                (Prepare, Main, verdict)
            } else {
                (Download, Enter, verdict)
            }
        }
        Tag::Store => (Cleanup, Main, Verdict::RolledBack),
        Tag::BeforeInstall | Tag::Install | Tag::AfterReboot | Tag::BeforeCommit | Tag::Commit => {
            (CheckRollback, Main, verdict.worsened())
        }
        Tag::Reboot => (VerifyReboot, Main, verdict),
        Tag::BeforeCommitLeave | Tag::AfterCommit => (Commit, Leave, verdict),
        Tag::Rollback => (Rollback, Enter, verdict),
        Tag::RollbackReboot | Tag::AfterRollbackReboot => (VerifyRollbackReboot, Main, verdict),
        Tag::Failure => (Failure, Enter, verdict),
        Tag::Cleanup => (Cleanup, Main, verdict),
    }
}

/// The verbs of the command line that go on with an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the verbs' own names")]
pub enum Verb {
    Resume,
    Commit,
    Rollback,
}

/// Where a verb goes on with a saved standalone update; `None`: the verb is refused there (`standalone-cli.md` 3).
#[must_use]
pub const fn resume_standalone(verb: Verb, saved: &Checkpoint) -> Option<(State, Phase, Verdict)> {
    let verdict = saved.verdict;
    // An install or commit that was cut off is a failure, whoever asks; a rollback is the user's wish.
    let interrupted = Some((CheckRollback, Main, verdict.worsened()));
    match (saved.tag, verb) {
        (Tag::BeforeInstall, Verb::Resume) => Some((Install, Enter, verdict)),
        (Tag::Install, Verb::Resume) | (Tag::Commit, Verb::Resume | Verb::Commit) => interrupted,
        (Tag::BeforeCommit, Verb::Resume | Verb::Commit) => Some((Commit, Enter, verdict)),
        (Tag::BeforeCommitLeave | Tag::AfterCommit, Verb::Resume) => Some((Commit, Leave, verdict)),
        (Tag::Rollback, Verb::Resume) => Some((Rollback, Enter, verdict)),
        (Tag::Failure, Verb::Resume) => Some((Failure, Enter, verdict)),
        (Tag::Cleanup, Verb::Resume) => Some((Cleanup, Main, verdict)),
        (
            Tag::BeforeInstall | Tag::Install | Tag::BeforeCommit | Tag::Commit | Tag::BeforeCommitLeave | Tag::Rollback,
            Verb::Rollback,
        ) => Some((CheckRollback, Main, verdict)),
        (Tag::BeforeInstall | Tag::Install | Tag::BeforeCommitLeave | Tag::AfterCommit, Verb::Commit)
        | (Tag::Rollback | Tag::Failure | Tag::Cleanup, Verb::Commit)
        | (Tag::AfterCommit | Tag::Failure | Tag::Cleanup, Verb::Rollback)
        // The daemon's own tags.
        | (Tag::Store | Tag::Reboot | Tag::AfterReboot | Tag::RollbackReboot | Tag::AfterRollbackReboot, _) => None,
    }
}
