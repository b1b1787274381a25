//! What is written to the record before a place begins, and where it leads when it cannot be written.

use super::{Phase, Place, State, Stop};
use crate::checkpoint::Tag;
use crate::deployment::{Effect, Mode};

use Phase::*;
use State::*;

/// What is written when a place is entered, before anything of it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What.
    pub write: Write,
    /// The write counts towards [`limits::STORES`](crate::limits::STORES), in an update of the daemon's.
    pub counts: bool,
    /// What follows when it cannot be written.
    pub unsaved: Unsaved,
}

/// Whether the record is written, and with which tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// The record is left alone.
    Nothing,
    /// With this tag.
    Tag(Tag),
    /// With this tag, unless the record says all of it already.
    Once(Tag),
    /// With this tag, in one batch with name and provides, which is the work of the place itself. Not after a clean
    /// rollback: the device is what it was, and nothing is written.
    WithProvides(Tag),
    /// As it is, if what should be on record is not: the device is touched now.
    Again,
    /// The same, and also when the verdict has changed since.
    AgainIfWorse,
}

impl Write {
    /// The tag that is written, where the place itself names one.
    #[must_use]
    pub const fn tag(self) -> Option<Tag> {
        match self {
            Self::Tag(tag) | Self::Once(tag) | Self::WithProvides(tag) => Some(tag),
            Self::Nothing | Self::Again | Self::AgainIfWorse => None,
        }
    }
}

/// What follows when the record cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsaved {
    /// The place fails.
    Fails,
    /// The place begins all the same, with a line in the log.
    GoesOn,
    /// The run of the command line ends. The record says the step before, and `resume` comes here again.
    Ends,
    /// To this place instead, with this effect on the verdict.
    Leads(Place, Effect),
    /// The same, as an error, while the record has this tag.
    LeadsFrom(Tag, Place, Otherwise),
    /// The same, as an error, unless the record has this tag.
    LeadsUnless(Tag, Place, Otherwise),
}

/// What follows where [`Unsaved::LeadsFrom`] or [`Unsaved::LeadsUnless`] does not lead elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Otherwise {
    /// As [`Unsaved::Fails`].
    Fails,
    /// As [`Unsaved::GoesOn`].
    GoesOn,
    /// As [`Unsaved::Ends`].
    Ends,
}

use Effect::{RollsBack, Worsens};
use Unsaved::{Ends, Fails, GoesOn, Leads, LeadsFrom, LeadsUnless};
use Write::{Again, AgainIfWorse, Once, WithProvides};

const NOTHING: Entry = Entry { write: Write::Nothing, counts: false, unsaved: Fails };

const fn write(write: Write, unsaved: Unsaved) -> Entry {
    Entry { write, counts: true, unsaved }
}

const fn free(write: Write, unsaved: Unsaved) -> Entry {
    Entry { write, counts: false, unsaved }
}

/// What is written when a place is entered.
///
/// On the way back from a failure an update goes on without its record. Forward it never does: what cannot be recorded
/// is not begun. An install that is not begun leads elsewhere than a failure of the install; so does the command line's
/// step "before" its `Leave` scripts. A rollback without its record is not begun there, or a restart would
/// commit what it undid.
#[rustfmt::skip]
#[must_use]
pub const fn entry(mode: Mode, state: State, phase: Phase) -> Entry {
    match (mode, state, phase) {
        //                                                written                               if it cannot be
        (Mode::Managed,    Download,             Enter) => write(Write::Tag(Tag::Store),               Fails),
        (Mode::Managed,    CheckSizes,           Main)  => write(Once(Tag::Store),                     Fails),
        (Mode::Managed,    EmptyPayload,         Leave) => write(Write::Tag(Tag::Store),               Fails),
        // Nothing is installed yet: as a no at the door before, and as a restart here.
        (_,                Install,              Enter) => write(Write::Tag(Tag::Install),             Leads((Cleanup, Main), RollsBack)),
        (Mode::Standalone, CheckReboot,          Main)  => write(Write::Tag(Tag::BeforeCommit),        Fails),
        // A power cycle while the reboot is held back counts as the reboot.
        (_,                RebootDoor,           Leave) => free(Once(Tag::Reboot),                     Fails),
        (_,                Reboot,               Enter) => write(Write::Tag(Tag::Reboot),              Fails),
        (_,                VerifyReboot,         Main)  => write(Write::Tag(Tag::AfterReboot),         Fails),
        (_,                Commit,               Enter) => write(Write::Tag(Tag::Commit),              Fails),
        (Mode::Managed,    Commit,               Leave) => write(Write::Tag(Tag::AfterCommit),         Fails),
        (Mode::Standalone, Commit,               Leave) => write(Write::Tag(Tag::AfterCommit),         LeadsFrom(Tag::Commit, (Commit, Error), Otherwise::Fails)),
        (Mode::Managed,    Rollback,             Enter) => write(Write::Tag(Tag::Rollback),            GoesOn),
        (Mode::Standalone, Rollback,             Enter) => write(Write::Tag(Tag::Rollback),            LeadsUnless(Tag::Rollback, (Failure, Enter), Otherwise::GoesOn)),
        // A rollback that a restart does not know of would be taken for the update: the record may still say `reboot`.
        (_,                Rollback,             Main)  => write(Again,                                GoesOn),
        (_,                RollbackReboot,       Enter) => write(Write::Tag(Tag::RollbackReboot),      GoesOn),
        // A script of `ArtifactRollbackReboot_Enter` that failed is remembered over the reboot (D-6).
        (_,                RollbackReboot,       Main)  => write(AgainIfWorse,                         GoesOn),
        (_,                VerifyRollbackReboot, Main)  => write(Write::Tag(Tag::AfterRollbackReboot), GoesOn),
        (_,                Failure,              Enter) => write(Write::Tag(Tag::Failure),             GoesOn),
        (_,                Failure,              Main)  => write(Write::Tag(Tag::Failure),             GoesOn),
        (_,                SaveProvides,         Main)  => write(WithProvides(Tag::Cleanup),           Fails),
        (_,                Cleanup,              Main)  => write(Write::Tag(Tag::Cleanup),             GoesOn),
        // From here on a restart has nothing to do but to report the end, however often it happens.
        (Mode::Managed,    ReportFinal,          Main)  => free(Once(Tag::Report),                     GoesOn),

        (Mode::Standalone, Download | CheckSizes | EmptyPayload | ReportFinal, _)
        | (Mode::Managed, CheckReboot, _)
        | (_, Download,            Main | Leave | Error)
        | (_, EmptyPayload | RebootDoor, Enter | Main | Error)
        | (_, CheckSizes | CheckReboot | VerifyReboot | VerifyRollbackReboot | SaveProvides | Cleanup | ReportFinal,
              Enter | Leave | Error)
        | (_, Install | Reboot,    Main | Leave | Error)
        | (_, Commit,              Main | Error)
        | (_, Rollback | RollbackReboot | Failure, Leave | Error)
        | (_, Idle | Inventory | Poll | Offer | ReportDownloading | Prepare | InstallDoor | ReportInstalling
              | CheckAutoCommit | AwaitCommit | CheckRunning | ReportRebooting | CommitDoor | ReportCommit | CheckVersion | CheckRollback
              | RollbackFailed | CheckRollbackReboot | ReportLog | ClearData | End | StateLoop,
              Enter | Main | Leave | Error)
                                                        => NOTHING,
    }
}

/// The tag that is written on entry to a place, before anything of it runs; `None` where the place has none of its own.
#[must_use]
pub const fn tag(mode: Mode, state: State, phase: Phase) -> Option<Tag> {
    match entry(mode, state, phase).write {
        Write::Tag(tag) | Once(tag) | WithProvides(tag) => Some(tag),
        Write::Nothing | Again | AgainIfWorse => None,
    }
}

/// Where the command line can stop before a place: the point, the record that says "stopped before it", and what
/// follows when that cannot be written.
#[rustfmt::skip]
#[must_use]
pub const fn stop(state: State, phase: Phase) -> Option<(Stop, Tag, Unsaved)> {
    match (state, phase) {
        (Install,  Enter) => Some((Stop::ArtifactInstallEnter,  Tag::BeforeInstall,     Leads((Cleanup, Main), RollsBack))),
        (Commit,   Enter) => Some((Stop::ArtifactCommitEnter,   Tag::BeforeCommit,      Leads((CheckRollback, Main), Worsens))),
        (Commit,   Leave) => Some((Stop::ArtifactCommitLeave,   Tag::BeforeCommitLeave, LeadsFrom(Tag::Commit, (Commit, Error), Otherwise::Ends))),
        (Rollback, Enter) => Some((Stop::ArtifactRollbackEnter, Tag::Rollback,          Ends)),
        (Failure,  Enter) => Some((Stop::ArtifactFailureEnter,  Tag::Failure,           Ends)),
        (Cleanup,  Main)  => Some((Stop::Cleanup,               Tag::Cleanup,           Ends)),
        (Install | Rollback | Failure, Main | Leave | Error) | (Commit, Main | Error)
        | (Cleanup, Enter | Leave | Error)
        | (Idle | Inventory | Poll | Offer | ReportDownloading | Download | Prepare | CheckSizes | EmptyPayload
           | InstallDoor | ReportInstalling | CheckReboot | CheckAutoCommit | AwaitCommit | CheckRunning | RebootDoor | ReportRebooting
           | Reboot | VerifyReboot | CommitDoor | ReportCommit | CheckVersion | CheckRollback | RollbackFailed
           | CheckRollbackReboot | RollbackReboot | VerifyRollbackReboot | SaveProvides | ReportFinal | ReportLog
           | ClearData | End | StateLoop, Enter | Main | Leave | Error)
                          => None,
    }
}
