//! In the place of `verbs.rs` where the feature `verbs` is off: there is no run of the command line. The type has no value,
//! so that whatever the machine does for such a run is left out.

use super::words::{Refusal, Report, Run, Saved};
use super::{Daemon, Owner};
use crate::checkpoint::{Checkpoint, RebootKind};
use crate::deployment::Verdict;
use crate::state::{Outcome, Place, Reached, Stop, StopSet};
use crate::time::Instant;

/// A run of the command line: never one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum CommandLine {}

/// Whose run it is where none has begun.
pub(super) fn nobody() -> Owner {
    let Saved { report, maps, begun, .. } = Saved::nothing();
    Owner::Daemon(Daemon::start(Instant::ZERO, Run::Daemon, maps, report, begun, false))
}

#[expect(clippy::needless_pass_by_ref_mut, reason = "as with verbs")]
impl CommandLine {
    pub(super) const fn start(
        _: Run,
        _: StopSet,
        _: Option<&Checkpoint>,
    ) -> Result<(Self, Place, Verdict), Refusal> {
        Err(Refusal::NoVerbs)
    }

    pub(super) const fn run(&self) -> Run {
        match *self {}
    }

    pub(super) const fn stops_before(&self, _: Stop) -> bool {
        match *self {}
    }

    pub(super) const fn take_rollback(&mut self) -> bool {
        match *self {}
    }

    pub(super) const fn note_reboot(&mut self, _: RebootKind) {
        match *self {}
    }

    pub(super) const fn note_auto_commit(&mut self, _: bool) {
        match *self {}
    }

    pub(super) const fn note(&mut self, _: Place, _: Outcome) {
        match *self {}
    }

    pub(super) const fn fails_at(&mut self, _: Place) {
        match *self {}
    }

    pub(super) const fn has_failed(&self) -> bool {
        match *self {}
    }

    pub(super) const fn exit(&mut self, _: Option<Reached>, _: Verdict) -> Report {
        match *self {}
    }
}
