//! The runs of the command line, and what only they need. `no_verbs.rs` takes the place of this file where the feature
//! `verbs` is off.

use super::Owner;
use super::words::{Refusal, Report, Run};
use crate::checkpoint::{Checkpoint, RebootKind, Tag};
use crate::deployment::{Mode, Verdict};
use crate::state::{self, Outcome, Phase, Place, Reached, State, Stop, StopSet, Verb};

/// A run of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct CommandLine {
    run: Run,
    stop_before: StopSet,
    report: Report,
    /// `rollback` was asked for and has not been decided yet.
    rollback_asked: bool,
}

/// Whose run it is where none has begun: that of less memory.
pub(super) fn nobody() -> Owner {
    Owner::CommandLine(CommandLine::new(Run::Install, StopSet::default(), Verdict::Good, None))
}

impl CommandLine {
    const fn new(run: Run, stop_before: StopSet, verdict: Verdict, failed_at: Option<Place>) -> Self {
        let report = Report {
            reached: Reached::Unfinished,
            verdict,
            failed_at,
            cleanup_failed: false,
            reboot: RebootKind::None,
            auto_commit: false,
        };
        Self { run, stop_before, report, rollback_asked: matches!(run, Run::Continue(Verb::Rollback)) }
    }

    /// A run, from what is on record; where it begins, and how the update stands there.
    pub(super) fn start(
        run: Run,
        stop_before: StopSet,
        update: Option<&Checkpoint>,
    ) -> Result<(Self, Place, Verdict), Refusal> {
        let (place, verdict) = first_place(run, update)?;
        let record = update.filter(|_| run.has_record());
        let failed_at = record.and_then(|record| failed_before(run, place, record));
        Ok((Self::new(run, stop_before, verdict, failed_at), place, verdict))
    }

    pub(super) const fn run(&self) -> Run {
        self.run
    }

    pub(super) const fn stops_before(&self, stop: Stop) -> bool {
        self.stop_before.contains(stop)
    }

    /// Whether `rollback` was asked for; it is decided now.
    pub(super) const fn take_rollback(&mut self) -> bool {
        core::mem::replace(&mut self.rollback_asked, false)
    }

    pub(super) const fn note_reboot(&mut self, reboot: RebootKind) {
        self.report.reboot = reboot;
    }

    pub(super) const fn note_auto_commit(&mut self, auto_commit: bool) {
        self.report.auto_commit = auto_commit;
    }

    /// What the run reports of a place that it leaves.
    pub(super) fn note(&mut self, place: Place, outcome: Outcome) {
        let (state, phase) = place;
        if state::run_fails(state, phase, outcome) {
            self.fails_at(place);
        }
        self.report.cleanup_failed |= state == State::Cleanup
            && matches!(outcome, Outcome::Failure | Outcome::Refused | Outcome::Aborted);
        let reached = state::reached(state, outcome);
        // An empty payload stays one when its record is gone.
        let stays = self.report.reached == Reached::EmptyCommitted && reached == Some(Reached::Ended);
        if let Some(reached) = reached.filter(|_| !stays) {
            self.report.reached = reached;
        }
    }

    /// Here it has failed, unless it had before.
    pub(super) fn fails_at(&mut self, place: Place) {
        self.report.failed_at.get_or_insert(place);
    }

    pub(super) const fn has_failed(&self) -> bool {
        self.report.failed_at.is_some()
    }

    /// The run is over.
    pub(super) const fn exit(&mut self, reached: Option<Reached>, verdict: Verdict) -> Report {
        if let Some(reached) = reached {
            self.report.reached = reached;
        }
        self.report.verdict = verdict;
        self.report
    }
}

/// Where the run begins.
fn first_place(run: Run, saved: Option<&Checkpoint>) -> Result<(Place, Verdict), Refusal> {
    match (run, saved) {
        (Run::Daemon | Run::NoUpdates(_), _) => Err(Refusal::NoVerbs),
        (Run::Bootstrap, Some(_) | None) | (Run::Install, None) => {
            Ok(((State::Prepare, Phase::Main), Verdict::Good))
        }
        (Run::Install | Run::Continue(_), Some(record)) if record.mode == Mode::Managed => {
            Err(Refusal::Deployment)
        }
        (Run::Install, Some(record)) => {
            let possible = |verb| Some(verb).filter(|&verb| state::resume_standalone(verb, record).is_some());
            Err(Refusal::InProgress(Verb::ALL.map(possible)))
        }
        (Run::Continue(_), None) => Err(Refusal::NoUpdate),
        (Run::Continue(verb), Some(record)) => match state::resume_standalone(verb, record) {
            Some((state, phase, verdict)) => Ok(((state, phase), verdict)),
            None => Err(Refusal::WrongState(record.tag)),
        },
    }
}

/// Where the update of the command line has failed before this run.
fn failed_before(run: Run, place: Place, record: &Checkpoint) -> Option<Place> {
    // An install or commit that was cut off has failed, unless a rollback is what was asked for.
    let goes_on = matches!(run, Run::Continue(Verb::Resume | Verb::Commit));
    if goes_on && place.0 == State::CheckRollback {
        let at = if record.tag == Tag::Install { State::Install } else { State::Commit };
        return Some((at, Phase::Main));
    }
    // What was cut off was the way back from a failure: going on with it does not make it a success.
    (record.failed && run == Run::Continue(Verb::Resume)).then_some(place)
}
