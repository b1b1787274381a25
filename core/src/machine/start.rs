//! The start of a run, from what is on record: first boot, reboot, crash and power loss are one path.

use super::words::{Action, Op, Refusal, Run, Saved};
use super::{
    Again, Apart, CommandLine, Daemon, Doing, Machine, Maps, OpId, Owner, Polls, StopSet, Unheard, blank,
    verbs,
};
use crate::begun::Begun;
use crate::checkpoint::{Checkpoint, Format, Tag};
use crate::config::Config;
use crate::control::Pool;
use crate::deployment::{Mode, Verdict};
use crate::last_report::Ended;
use crate::limits;
use crate::retry::Backoff;
use crate::state::{self, Phase, State};
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
            update.map(|record| Checkpoint { offer: record.offer && config.resumes_downloads(), ..record });
        let is_own = |record: &Checkpoint| record.mode == run.mode() && run.has_record();
        let (owner, place, verdict) = match run {
            Run::Daemon | Run::NoUpdates(_) => {
                let resumed = update.as_ref().filter(|record| is_own(record));
                let daemon = Daemon::start(now, run, maps, report, begun, resumed.is_some());
                let (state, phase, verdict) =
                    resumed.map_or((State::Idle, Phase::Enter, Verdict::Good), state::resume);
                (Owner::Daemon(daemon), (state, phase), verdict)
            }
            Run::Install | Run::Continue(_) | Run::Bootstrap => {
                let (line, place, verdict) = CommandLine::start(run, stop_before, update.as_ref())?;
                (Owner::CommandLine(line), place, verdict)
            }
        };
        // Whatever takes the place of a record keeps its format: the update of that one may not be committed yet.
        let format = update.as_ref().map_or(Format::NEWEST, |record| record.format);
        // The daemon does not go on with an update of the command line, which waits for its user.
        let saved = update.filter(is_own);
        self.owner = owner;
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
            owner: verbs::nobody(),
        }
    }
}

impl Daemon {
    pub(super) fn start(
        now: Instant,
        run: Run,
        maps: Option<Pool>,
        report: Option<Ended>,
        begun: Begun,
        resumes: bool,
    ) -> Self {
        Self {
            newer: run.newer(),
            polls: Polls::start(run.asks_for_updates()),
            maps: Maps::start(maps, resumes),
            door: None,
            report: Backoff::new(),
            repeats: false,
            unknown: false,
            unheard: report.map(Unheard::new),
            again: Again::start(now, begun, resumes),
        }
    }
}
