//! The invariants, written apart from the code under test: what must hold whatever happens.

use thimble_core::checkpoint::{Checkpoint, Tag};
use thimble_core::deployment::{Call, Status};
use thimble_core::machine::{ApiCall, Machine, Op};
use thimble_core::script::{ScriptState, Transition};

use crate::world::{Content, Device, Name};

/// What went wrong so far with what some promises depend on. Each excuses what it says, and no longer than it lasts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Trouble {
    /// The record of the update could not be written, and has not been written since: it says an earlier step.
    pub stale: bool,
    /// The work tree was removed while the record said an earlier step: a restart from there finds none.
    pub treeless: bool,
    /// The server was told what a restart may not know of: while the record said an earlier step, or before the
    /// module's `Cleanup` failed.
    pub told: bool,
    /// Name and provides could not be written, and were not written since.
    pub provides: bool,
    /// The record could not be deleted.
    pub clear: bool,
    /// The module's `Cleanup` failed after the new name was on record.
    pub cleanup: bool,
}

impl Trouble {
    /// An operation that writes records has done so, or could not.
    pub fn wrote(&mut self, op: Op, written: bool) {
        match op {
            Op::Save | Op::SaveReport => self.stale = !written,
            Op::SaveProvides(_) => {
                self.stale &= !written;
                self.provides = !written;
            }
            Op::ClearData | Op::ForgetReport => self.clear = !written,
            Op::SaveMaps
            | Op::SaveBegun
            | Op::AskPolicy(_)
            | Op::RunScript(..)
            | Op::CheckVersion
            | Op::CheckRunning
            | Op::CallModule(_)
            | Op::Prepare
            | Op::Stream(_)
            | Op::Request(_)
            | Op::Reboot
            | Op::End => {}
        }
    }

    /// The work tree was removed.
    pub const fn cleaned(&mut self) {
        self.treeless |= self.stale;
    }

    /// The module's `Cleanup` failed, with this name on record, and this status told last.
    pub fn cleanup_failed(&mut self, name: Name, status: Option<Status>) {
        self.cleanup |= name == Name::New;
        self.told |= matches!(status, Some(Status::Success | Status::Failure));
    }

    /// A status was told to the server.
    pub const fn reported(&mut self) {
        self.told |= self.stale;
    }

    /// A process starts: it goes by what is on record.
    pub const fn started(&mut self) {
        self.stale = false;
    }
}

/// The records under which a call to the module may be made: what a restart in the middle of it must find.
const fn tags_of_call(call: Call) -> Option<&'static [Tag]> {
    match call {
        Call::ArtifactInstall => Some(&[Tag::Install]),
        Call::ArtifactReboot => Some(&[Tag::Reboot]),
        Call::ArtifactVerifyReboot => Some(&[Tag::AfterReboot]),
        Call::ArtifactCommit => Some(&[Tag::Commit]),
        Call::ArtifactRollback => Some(&[Tag::Rollback]),
        // The reboot is repeated after a failed verification.
        Call::ArtifactRollbackReboot => Some(&[Tag::RollbackReboot, Tag::AfterRollbackReboot]),
        Call::ArtifactVerifyRollbackReboot => Some(&[Tag::AfterRollbackReboot]),
        Call::ArtifactFailure => Some(&[Tag::Failure]),
        Call::Cleanup => Some(&[Tag::Cleanup]),
        Call::ProvidePayloadFileSizes
        | Call::NeedsArtifactReboot
        | Call::SupportsRollback
        | Call::Download
        | Call::DownloadWithFileSizes => None,
    }
}

/// The same for the scripts of an artifact.
const fn tags_of_scripts(transition: Transition) -> Option<&'static [Tag]> {
    match transition.state {
        ScriptState::Idle | ScriptState::Sync | ScriptState::Download => None,
        // Not before the install began, so never for an artifact that was not verified.
        ScriptState::ArtifactInstall => Some(&[Tag::Install]),
        ScriptState::ArtifactReboot => Some(&[Tag::Reboot, Tag::AfterReboot]),
        ScriptState::ArtifactCommit => Some(&[Tag::Commit, Tag::AfterCommit]),
        ScriptState::ArtifactRollback => Some(&[Tag::Rollback]),
        ScriptState::ArtifactRollbackReboot => Some(&[Tag::RollbackReboot, Tag::AfterRollbackReboot]),
        ScriptState::ArtifactFailure => Some(&[Tag::Failure]),
    }
}

/// Before an operation: is it allowed now?
///
/// # Errors
/// What is wrong.
pub fn before(
    op: Op,
    record: Option<&Checkpoint>,
    device: &Device,
    machine: &Machine,
    trouble: Trouble,
) -> Result<(), String> {
    let needed = match op {
        Op::CallModule(call) => tags_of_call(call),
        Op::RunScript(transition, _) => tags_of_scripts(transition),
        Op::Reboot => Some(&[Tag::Reboot, Tag::RollbackReboot, Tag::AfterRollbackReboot][..]),
        Op::Save
        | Op::SaveMaps
        | Op::AskPolicy(_)
        | Op::SaveProvides(_)
        | Op::ClearData
        | Op::ForgetReport
        | Op::SaveBegun
        | Op::SaveReport
        | Op::CheckVersion
        | Op::CheckRunning
        | Op::Prepare
        | Op::Stream(_)
        | Op::Request(_)
        | Op::End => None,
    };
    // On the way back an update goes on without its record; forward it never does, but its `_Error` scripts run.
    let forward = matches!(
        op,
        Op::CallModule(
            Call::ArtifactInstall | Call::ArtifactReboot | Call::ArtifactVerifyReboot | Call::ArtifactCommit
        )
    );
    if let Some(tags) = needed
        && (forward || !trouble.stale)
    {
        let tag = record.map(|record| record.tag);
        if !tag.is_some_and(|tag| tags.contains(&tag)) {
            return Err(format!("{op:?} is begun while the record says {tag:?}"));
        }
        if record != Some(machine.checkpoint()) {
            return Err(format!("{op:?} is begun before the record is written"));
        }
    }
    match op {
        Op::CallModule(Call::ArtifactInstall) if device.tree && !device.staged => {
            Err("an update is installed that was not verified".into())
        }
        Op::CallModule(call) if call != Call::Cleanup && !device.tree && !trouble.treeless => {
            Err(format!("{call} is called without a work tree"))
        }
        Op::Request(ApiCall::Status { status: Status::Success, .. }) => before_success(device),
        Op::CallModule(_)
        | Op::RunScript(..)
        | Op::Reboot
        | Op::Save
        | Op::SaveMaps
        | Op::AskPolicy(_)
        | Op::SaveProvides(_)
        | Op::ClearData
        | Op::ForgetReport
        | Op::SaveBegun
        | Op::SaveReport
        | Op::CheckVersion
        | Op::CheckRunning
        | Op::Prepare
        | Op::Stream(_)
        | Op::Request(_)
        | Op::End => Ok(()),
    }
}

/// Before the server is told success.
///
/// # Errors
/// What is wrong.
pub fn before_success(device: &Device) -> Result<(), String> {
    let good = !device.profile.payload || (device.content() == Content::New && device.is_settled());
    if good { Ok(()) } else { Err("success is reported for an update that is not committed".into()) }
}

/// How things stand when an update is over.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// There is a record of an update.
    pub record: bool,
    /// There is a record of the server's offer.
    pub offer: bool,
    /// Something is marked as stored of a payload.
    pub partial: bool,
    /// The device.
    pub device: &'a Device,
    /// The name on record.
    pub name: Name,
    /// The final status that the server heard last.
    pub verdict: Option<Status>,
    /// Nobody may clean up: the record was written too often (STATE-37), or the command line lost power before there
    /// was a record.
    pub tree_may_stay: bool,
}

/// The update is over: does the name say what runs, does the server know, is nothing left behind?
///
/// # Errors
/// What is wrong.
pub fn at_end(end: End<'_>, trouble: Trouble) -> Result<(), String> {
    let End { record, offer, partial, device, name, verdict, tree_may_stay } = end;
    if record && !trouble.clear {
        return Err("the update is over and its record is still there".into());
    }
    if offer && !trouble.clear {
        return Err("the update is over and the server's offer is still on record".into());
    }
    if (device.tree || device.staged || device.backup || device.original.is_some()) && !tree_may_stay {
        return Err("the update is over and its work tree is still there".into());
    }
    if (partial || device.partial.is_some()) && !tree_may_stay {
        return Err("the update is over and what was stored of its payload is still there".into());
    }
    let stays_old = trouble.provides && name == Name::Old;
    let named = match name {
        Name::New => Some(Content::New),
        Name::Old => Some(Content::Old),
        Name::Inconsistent => None,
    };
    if let Some(named) = named.filter(|_| !stays_old) {
        if device.profile.payload && device.content() != named {
            return Err(format!("the name on record is {name:?}, what runs is {:?}", device.content()));
        }
        if !device.is_settled() {
            return Err(format!("the update is over, and the next boot is not what runs ({name:?})"));
        }
    }
    match verdict {
        Some(Status::Success) if name != Name::New && !stays_old => {
            Err(format!("the server was told success, the name on record is {name:?}"))
        }
        Some(Status::Failure) if name == Name::New && !trouble.cleanup => {
            Err("the server was told failure, and the new name is on record without the suffix".into())
        }
        Some(_) | None => Ok(()),
    }
}

/// A restart from `record`, and another one right after it, must go on at the same place.
///
/// # Errors
/// What is wrong.
pub fn resumes_twice(
    record: &Checkpoint,
    start: impl Fn(Checkpoint) -> Option<Machine>,
) -> Result<(), String> {
    let Some(once) = start(record.clone()) else { return Ok(()) };
    let Some(twice) = start(once.checkpoint().clone()) else {
        return Err(format!("a second restart from {record:?} is refused"));
    };
    // One load more can be one too many.
    let given_up = twice.place().0 == thimble_core::state::State::StateLoop
        || (record.tag == Tag::Store && once.checkpoint().stores == thimble_core::limits::DOWNLOAD_STORES);
    if given_up || (once.place(), once.verdict()) == (twice.place(), twice.verdict()) {
        Ok(())
    } else {
        Err(format!("resuming twice goes to {:?}, once to {:?}", twice.place(), once.place()))
    }
}
