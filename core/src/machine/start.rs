//! The start of a run, from what is on record: first boot, reboot, crash and power loss are one path.

use super::words::{Action, Op, Refusal, Report, Run, Saved};
use super::{
    Again, Apart, CommandLine, Daemon, Doing, Machine, Maps, OpId, Owner, Polls, StopSet, Unheard, blank,
};
use crate::checkpoint::{Checkpoint, Format, RebootKind, Tag};
use crate::config::Config;
use crate::deployment::{Mode, Verdict};
use crate::limits;
use crate::retry::Backoff;
use crate::state::{self, Phase, Place, Reached, State, Verb};
use crate::time::Instant;

impl Machine {
    /// Starts the run, from what is on record, if anything is.
    ///
    /// # Errors
    /// [`Refusal`]: the verb cannot be carried out; nothing was changed.
    pub fn start(
        now: Instant,
        config: &Config,
        run: Run,
        stop_before: StopSet,
        saved: Saved,
    ) -> Result<(Self, Action), Refusal> {
        let mut machine = Self::over();
        let action = machine.launch(now, config, run, stop_before, saved)?;
        Ok((machine, action))
    }

    /// [`Self::start`] in place: a machine is more than a kilobyte, and is not moved about on a small stack.
    pub(crate) fn launch(
        &mut self,
        now: Instant,
        config: &Config,
        run: Run,
        stop_before: StopSet,
        saved: Saved,
    ) -> Result<Action, Refusal> {
        let Saved { update, report, offered_by: _, maps, begun } = saved;
        let update =
            update.map(|record| Checkpoint { offer: record.offer && config.resume_downloads, ..record });
        let (place, verdict) = first_place(run, update.as_ref())?;
        // Whatever takes the place of a record keeps its format: the update of that one may not be committed yet.
        let format = update.as_ref().map_or(Format::NEWEST, |record| record.format);
        // The daemon does not go on with an update of the command line, which waits for its user.
        let saved = update.filter(|record| record.mode == run.mode() && run.has_record());
        self.owner = match run {
            Run::Daemon | Run::NoUpdates(_) => Owner::Daemon(Daemon {
                run,
                polls: Polls::start(run.asks_for_updates()),
                maps: Maps::start(maps, saved.is_some()),
                door: None,
                report: Backoff::new(),
                repeats: false,
                unknown: false,
                unheard: report.map(Unheard::new),
                again: Again::start(now, begun, saved.is_some()),
            }),
            Run::Install | Run::Continue(_) | Run::Bootstrap => {
                let failed_at = saved.as_ref().and_then(|record| failed_before(run, place, record));
                Owner::CommandLine(CommandLine::start(run, stop_before, verdict, failed_at))
            }
        };
        self.config = Apart(config.clone());
        (self.state, self.phase) = place;
        self.doing = Doing::Waiting;
        self.verdict = verdict;
        self.checkpoint = saved.clone().unwrap_or_else(|| blank(run.mode(), format));
        self.saved = saved;
        Ok(match (self.saved.as_ref(), run.mode()) {
            (Some(record), Mode::Managed) if record.stores >= limits::STORES => self.state_loop(now),
            (Some(record), Mode::Managed) => {
                // Loads count as writes do, or a device that dies again and again would never give up.
                self.checkpoint.stores = record.stores.saturating_add(1);
                self.doing = Doing::Loading;
                self.start_op(Op::Save)
            }
            (Some(record), Mode::Standalone) => {
                let begun = !record.stopped
                    && !matches!(record.tag, Tag::BeforeInstall | Tag::BeforeCommit | Tag::BeforeCommitLeave);
                self.enter(now, place, begun)
            }
            (None, Mode::Managed | Mode::Standalone) => self.enter(now, place, false),
        })
    }

    /// A run that is over before it has begun.
    pub(crate) fn over() -> Self {
        let line = CommandLine::start(Run::Install, StopSet::default(), Verdict::Good, None);
        Self {
            config: Apart(Config::default()),
            note: Apart(None),
            asked_too_long: Apart(false),
            report_given_up: Apart(false),
            op: OpId::default(),
            state: State::End,
            phase: Phase::Main,
            doing: Doing::Over,
            verdict: Verdict::Good,
            checkpoint: blank(Mode::Standalone, Format::NEWEST),
            saved: None,
            file_sizes: false,
            terminated: false,
            owner: Owner::CommandLine(line),
        }
    }
}

impl CommandLine {
    const fn start(run: Run, stop_before: StopSet, verdict: Verdict, failed_at: Option<Place>) -> Self {
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
}

/// Where the run begins.
fn first_place(run: Run, saved: Option<&Checkpoint>) -> Result<(Place, Verdict), Refusal> {
    match (run, saved) {
        (Run::Daemon, Some(record)) if record.mode == Mode::Managed => {
            let (state, phase, verdict) = state::resume(record);
            Ok(((state, phase), verdict))
        }
        (Run::Daemon | Run::NoUpdates(_), Some(_) | None) => Ok(((State::Idle, Phase::Enter), Verdict::Good)),
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
