//! The machine: told what happened, it says what to do next.
//!
//! [`Machine::step`] takes one [`Event`] and returns one [`Action`]. At most one operation is outstanding at a time;
//! its end comes back as [`Event::Done`]. No clock, no I/O, no traits: the machine can be cloned, compared, hashed
//! and walked through every path.

mod doors;
mod enter;
mod leave;
mod scripts;
mod words;

pub use crate::state::{Stop, StopSet};
pub use doors::{DoorNote, Held};
pub use words::{Action, ApiCall, Check, Event, OfferedMap, Op, OpId, Reached, Refusal, Report, Run, Saved};

use crate::checkpoint::{Checkpoint, Format, RebootKind, Tag};
use crate::config::Config;
use crate::deployment::{Mode, Verdict};
use crate::http::RetryAfter;
use crate::limits;
use crate::retry::Backoff;
use crate::state::{self, Entry, Outcome, Phase, Place, State, Unsaved, Verb};
use crate::text::Text;
use crate::time::{Instant, earliest};

/// What the machine is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Doing {
    /// An operation of the place it stands at.
    Work { deadline: Option<Instant>, killed: bool },
    /// The record is being written before the place begins.
    Saving,
    /// The load is being counted before a saved update goes on.
    Loading,
    /// The record of a stop is being written.
    Stopping(Stop),
    /// A script or request is to be repeated then.
    Pause(Instant),
    /// Idle, or held back by a control map.
    Waiting,
    /// The run is over.
    Over,
}

/// What a place does on entry: an operation, or it has its outcome at once.
enum Begin {
    Start(Op),
    Wait,
    Already(Outcome),
}

/// The state machine of one client. See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Machine {
    config: Config,
    run: Run,
    stop_before: StopSet,
    state: State,
    phase: Phase,
    doing: Doing,
    op: u32,
    verdict: Verdict,
    checkpoint: Checkpoint,
    /// What is on record, as far as the machine was told; `None`: no update in progress.
    saved: Option<Checkpoint>,
    scripts: Scripts,
    file_sizes: bool,
    report: Report,
    /// `rollback` was asked for and has not been decided yet.
    rollback_asked: bool,
    /// The repeats of the report that must get through.
    report_backoff: Backoff,
    report_is_repeat: bool,
    doors: doors::Doors,
    daemon: Daemon,
}

/// The scripts of the transition at hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Scripts {
    index: u16,
    first_start: Option<Instant>,
    failed: bool,
}

/// What only the daemon needs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Daemon {
    update_due: bool,
    inventory_due: bool,
    /// The inventory went last: a poll that is due goes first, or a slow inventory would be due again for ever.
    poll_goes_first: bool,
    inventory_accepted: bool,
    next_update: Option<Instant>,
    next_inventory: Option<Instant>,
    /// After an inventory that was not accepted: how long it must not be sent again.
    no_inventory_before: Option<Instant>,
    poll_backoff: Backoff,
    inventory_backoff: Backoff,
}

impl Daemon {
    /// Of what is due.
    const fn inventory_is_next(&self) -> bool {
        self.inventory_due && !(self.update_due && self.poll_goes_first)
    }
}

impl Machine {
    /// Starts the run, from what is on record, if anything is: first boot, reboot, crash and power loss are one path.
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
        let Saved { update, maps } = saved;
        let saved =
            update.map(|record| Checkpoint { offer: record.offer && config.resume_downloads, ..record });
        let (place, verdict) = match (run, &saved) {
            (Run::Daemon, Some(record)) if record.mode == Mode::Managed => {
                let (state, phase, verdict) = state::resume(record);
                ((state, phase), verdict)
            }
            (Run::Daemon | Run::NoUpdates(_), _) => ((State::Idle, Phase::Enter), Verdict::Good),
            (Run::Bootstrap, _) | (Run::Install, None) => ((State::Prepare, Phase::Main), Verdict::Good),
            (Run::Install | Run::Continue(_), Some(record)) if record.mode == Mode::Managed => {
                return Err(Refusal::Deployment);
            }
            (Run::Install, Some(record)) => {
                let possible =
                    |verb| Some(verb).filter(|&verb| state::resume_standalone(verb, record).is_some());
                return Err(Refusal::InProgress(Verb::ALL.map(possible)));
            }
            (Run::Continue(_), None) => return Err(Refusal::NoUpdate),
            (Run::Continue(verb), Some(record)) => match state::resume_standalone(verb, record) {
                Some((state, phase, verdict)) => ((state, phase), verdict),
                None => return Err(Refusal::WrongState(record.tag)),
            },
        };
        // Whatever takes the place of a record keeps its format: the update of that one may not be committed yet.
        let format = saved.as_ref().map_or(Format::NEWEST, |record| record.format);
        // A standalone update that waits for its user is none of the daemon's.
        let saved = saved.filter(|record| record.mode == run.mode() && run.has_record());
        // An install or commit that was cut off has failed, unless a rollback is what was asked for.
        let interrupted =
            matches!(run, Run::Continue(Verb::Resume | Verb::Commit)) && place.0 == State::CheckRollback;
        let mut machine = Self {
            config: config.clone(),
            run,
            stop_before,
            state: place.0,
            phase: place.1,
            doing: Doing::Over,
            op: 0,
            verdict,
            checkpoint: saved.clone().unwrap_or_else(|| blank(run.mode(), format)),
            saved,
            scripts: Scripts::default(),
            file_sizes: false,
            report: Report {
                reached: Reached::Unfinished,
                verdict,
                failed_at: None,
                cleanup_failed: false,
                reboot: RebootKind::None,
                auto_commit: false,
            },
            rollback_asked: run == Run::Continue(Verb::Rollback),
            report_backoff: Backoff::new(),
            report_is_repeat: false,
            doors: doors::Doors::new(maps),
            daemon: Daemon {
                update_due: run.asks_for_updates(),
                inventory_due: true,
                poll_goes_first: false,
                inventory_accepted: false,
                next_update: None,
                next_inventory: None,
                no_inventory_before: None,
                poll_backoff: Backoff::new(),
                inventory_backoff: Backoff::new(),
            },
        };
        let action = match (&machine.saved, run.mode()) {
            (Some(record), Mode::Managed) => {
                if record.stores >= limits::STORES {
                    machine.state_loop(now)
                } else {
                    // Loads count as writes do, or a device that dies again and again would never give up.
                    machine.checkpoint.stores = record.stores.saturating_add(1);
                    machine.doing = Doing::Loading;
                    machine.start_op(Op::Save)
                }
            }
            (Some(record), Mode::Standalone) => {
                let begun = !record.stopped
                    && !matches!(record.tag, Tag::BeforeInstall | Tag::BeforeCommit | Tag::BeforeCommitLeave);
                if interrupted {
                    machine.report.failed_at = Some((
                        if record.tag == Tag::Install { State::Install } else { State::Commit },
                        Phase::Main,
                    ));
                } else if record.failed && run == Run::Continue(Verb::Resume) {
                    // What was cut off was the way back from a failure: going on with it does not make it a success.
                    machine.report.failed_at = Some(place);
                }
                machine.enter(now, place, begun)
            }
            (None, _) => machine.enter(now, place, false),
        };
        Ok((machine, action))
    }

    /// What happened, and what to do next. Events that change nothing give [`Action::Wait`].
    pub fn step(&mut self, now: Instant, event: Event) -> Action {
        self.doors.note = None;
        match event {
            Event::Done(op, outcome) if op == OpId(self.op) => {
                let outcome = self.without_answer(outcome);
                self.done(now, outcome)
            }
            Event::Offered { op, id, map } if op == OpId(self.op) => self.offered(now, id, map),
            Event::Refreshed { op, map } if op == OpId(self.op) => self.refreshed(now, map),
            Event::Done(..) | Event::Offered { .. } | Event::Refreshed { .. } => Action::Wait,
            Event::ServerMap(map) => self.server_map(now, map),
            Event::LocalMap(map) => self.local_map(now, map),
            Event::Order { name, points, order, lifetime } => {
                self.ordered(now, name, points, order, lifetime)
            }
            Event::MapsSaved(saved) => self.maps_saved(saved),
            Event::Tick => self.tick(now),
            Event::Check(check) => {
                match check {
                    Check::Update => self.daemon.update_due |= self.run.asks_for_updates(),
                    Check::Inventory => self.daemon.inventory_due = true,
                }
                self.tick(now)
            }
            Event::Approved => self.approved(now),
        }
    }

    /// When to send [`Event::Tick`], at the latest. `None`: only events move the machine.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match self.doing {
            Doing::Work { deadline, killed: _ } => deadline,
            Doing::Pause(until) => Some(until),
            Doing::Waiting if self.is_paused() => self.door_deadline(),
            Doing::Waiting => earliest(self.daemon.next_update, self.daemon.next_inventory),
            Doing::Saving | Doing::Loading | Doing::Stopping(_) | Doing::Over => None,
        }
    }

    /// What [`Op::Save`] must make durable.
    #[must_use]
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Whether what is on record equals [`Machine::checkpoint`]: the invariant of every action that touches the
    /// device.
    #[must_use]
    pub fn is_saved(&self) -> bool {
        self.saved.as_ref() == Some(&self.checkpoint)
    }

    /// Where the machine stands.
    #[must_use]
    pub const fn place(&self) -> Place {
        (self.state, self.phase)
    }

    /// How the update stands.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// When the server is asked for a deployment next; a deployment in progress goes first.
    #[must_use]
    pub const fn next_update(&self) -> Option<Instant> {
        self.daemon.next_update
    }

    /// When the inventory is sent next.
    #[must_use]
    pub const fn next_inventory(&self) -> Option<Instant> {
        self.daemon.next_inventory
    }

    /// What the run was started for.
    #[must_use]
    pub const fn run(&self) -> Run {
        self.run
    }

    /// The deployment's id, while [`ApiCall::Next`] or an update of the daemon's is in progress; else empty.
    #[must_use]
    pub fn deployment(&self) -> &str {
        self.checkpoint.deployment.as_str()
    }

    fn start_op(&mut self, op: Op) -> Action {
        if matches!(op, Op::Save | Op::SaveMaps | Op::ClearData) {
            self.doors.record.begin();
        }
        self.op = self.op.wrapping_add(1);
        Action::Start(OpId(self.op), op)
    }

    fn tick(&mut self, now: Instant) -> Action {
        match self.doing {
            Doing::Work { deadline: Some(at), killed: false } if at <= now => {
                self.doing = Doing::Work { deadline: None, killed: true };
                Action::Kill
            }
            Doing::Pause(until) if until <= now => self.repeat(now),
            Doing::Waiting if self.is_paused() => match self.woken(now) {
                Some(outcome) => self.go_on(now, outcome),
                None => Action::Wait,
            },
            Doing::Waiting => self.begin_or_go_on(now),
            Doing::Work { .. }
            | Doing::Pause(_)
            | Doing::Saving
            | Doing::Loading
            | Doing::Stopping(_)
            | Doing::Over => Action::Wait,
        }
    }

    /// The outcome of an operation that brought no answer: a request that is answered in full has an event of its own.
    fn without_answer(&self, outcome: Outcome) -> Outcome {
        match (self.place(), outcome) {
            ((State::Poll, Phase::Main), Outcome::Success) => Outcome::Nothing,
            (
                (State::InstallDoor | State::RebootDoor | State::CommitDoor, Phase::Enter),
                Outcome::Success,
            ) => Outcome::Failure,
            _ => outcome,
        }
    }

    /// The server has a deployment: its record begins.
    fn offered(&mut self, now: Instant, id: Text<{ limits::DEPLOYMENT_ID }>, map: OfferedMap) -> Action {
        if self.place() != (State::Poll, Phase::Main) {
            return self.done(now, Outcome::Failure);
        }
        if !matches!(self.doing, Doing::Work { killed: true, .. }) {
            let offer = self.config.resume_downloads && self.run == Run::Daemon;
            let blank = blank(self.run.mode(), self.checkpoint.format);
            self.checkpoint = Checkpoint { deployment: id, offer, ..blank };
            self.verdict = Verdict::Good;
            self.saved = None;
            self.file_sizes = false;
            self.open_doors(now, map);
        }
        self.done(now, Outcome::Success)
    }

    fn done(&mut self, now: Instant, outcome: Outcome) -> Action {
        self.doors.record.end(outcome);
        match core::mem::replace(&mut self.doing, Doing::Over) {
            Doing::Saving if outcome == Outcome::Success => {
                self.saved = Some(self.checkpoint.clone());
                self.begin_or_go_on(now)
            }
            Doing::Saving => {
                let Entry { unsaved, .. } = state::entry(self.run.mode(), self.state, self.phase);
                self.unsaved(now, unsaved)
            }
            Doing::Loading => {
                if outcome == Outcome::Success {
                    self.saved = Some(self.checkpoint.clone());
                }
                let place = self.place();
                self.enter(now, place, true)
            }
            Doing::Stopping(stop) if outcome == Outcome::Success => {
                self.saved = Some(self.checkpoint.clone());
                self.exit(Reached::Stopped(stop))
            }
            Doing::Stopping(_) => {
                let rule = state::stop(self.state, self.phase).map_or(Unsaved::Ends, |(.., rule)| rule);
                self.unsaved(now, rule)
            }
            Doing::Work { killed, .. } => {
                let outcome = if killed { Outcome::Failure } else { outcome };
                if state::transition(self.state, self.phase).is_some() {
                    self.script_done(now, outcome)
                } else {
                    self.main_done(now, outcome)
                }
            }
            // No operation was outstanding: nobody can have ended it.
            doing @ (Doing::Pause(_) | Doing::Waiting | Doing::Over) => {
                self.doing = doing;
                Action::Wait
            }
        }
    }

    /// Held back by a control map.
    fn is_paused(&self) -> bool {
        matches!(self.state, State::InstallDoor | State::RebootDoor | State::CommitDoor)
            && self.phase == Phase::Leave
            && self.doing == Doing::Waiting
    }

    fn go_on(&mut self, now: Instant, outcome: Outcome) -> Action {
        match self.leave(outcome) {
            Ok(place) => self.enter(now, place, false),
            Err(action) => action,
        }
    }
}

/// The wait the server asked for.
pub(crate) const fn retry_after(outcome: Outcome) -> Option<RetryAfter> {
    match outcome {
        Outcome::Later(Some(seconds)) => Some(RetryAfter { seconds }),
        Outcome::Later(None)
        | Outcome::Success
        | Outcome::Failure
        | Outcome::Refused
        | Outcome::Nothing
        | Outcome::Automatic
        | Outcome::Aborted => None,
    }
}

/// The record of an update that has not begun.
fn blank(mode: Mode, format: Format) -> Checkpoint {
    Checkpoint {
        format,
        mode,
        tag: if matches!(mode, Mode::Managed) { Tag::Store } else { Tag::BeforeInstall },
        verdict: Verdict::Good,
        stopped: false,
        failed: false,
        reboot: RebootKind::None,
        module: false,
        header: false,
        stores: 0,
        deployment: Text::default(),
        offer: false,
    }
}
