//! The machine: told what happened, it says what to do next.
//!
//! [`Machine::step`] takes one [`Event`] and returns one [`Action`]. At most one operation is outstanding at a time;
//! its end comes back as [`Event::Done`]. No clock, no I/O, no traits: the machine can be cloned, compared, hashed
//! and walked through every path.

mod again;
mod doors;
mod enter;
mod late;
mod leave;
mod maps;
mod polls;
mod scripts;
mod start;
#[cfg_attr(not(feature = "verbs"), path = "machine/no_verbs.rs")]
mod verbs;
mod words;

pub use crate::state::{Reached, Stop, StopSet};
pub use doors::{DoorNote, Held};
pub use words::{Action, ApiCall, Check, Event, OfferedMap, Op, OpId, Refusal, Report, Run, Saved};

use crate::apart::Apart;
use crate::checkpoint::{Checkpoint, Format, Newer, RebootKind, Tag};
use crate::config::Config;
use crate::control::{Map, Pool};
use crate::deployment::{Mode, Verdict};
use crate::http::RetryAfter;
use crate::limits;
#[cfg(feature = "text")]
use crate::message::Catalogue;
use crate::retry::Backoff;
use crate::state::{self, Entry, Outcome, Phase, Place, State, Unsaved};
use crate::text::Text;
use crate::time::Instant;

use again::Again;
use doors::{Door, Word};
use late::Unheard;
use maps::Maps;
use polls::Polls;
use scripts::Scripts;
use verbs::CommandLine;

/// What the machine is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Doing {
    /// An operation of the place it stands at.
    Work(Limit),
    /// A script of the place.
    Script(Scripts, Limit),
    /// A script asked to be run again then.
    ScriptLater(Scripts, Instant),
    /// The request of the place is repeated then.
    Repeat(Instant),
    /// The record is being written before the place begins.
    Saving,
    /// The load is being counted before a saved update goes on.
    Loading,
    /// The record of a stop is being written.
    Stopping(Stop),
    /// The control maps are being written, before this word of theirs counts.
    SavingMaps(Word),
    /// Idle, or held back at a door.
    Waiting,
    /// The run is over: no event acts any more.
    Over,
}

/// How long an operation may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Limit {
    /// As long as it does: it has limits of its own.
    None,
    /// Until then.
    At(Instant),
    /// It was killed: whatever it says, it has failed.
    Killed,
}

impl Limit {
    const fn at(self) -> Option<Instant> {
        match self {
            Self::At(at) => Some(at),
            Self::None | Self::Killed => None,
        }
    }

    fn has_come(self, now: Instant) -> bool {
        self.at().is_some_and(|at| at <= now)
    }

    const fn outcome(self, outcome: Outcome) -> Outcome {
        match self {
            Self::Killed => Outcome::Failure,
            Self::None | Self::At(_) => outcome,
        }
    }
}

/// What a place does on entry: an operation, or it has its outcome at once.
enum Begin {
    Start(Op),
    SaveMaps(Word),
    Wait,
    Already(Outcome),
}

/// Whose update it is, and what only that one needs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "control-maps",
    expect(clippy::large_enum_variant, reason = "no heap: the machine is built in place")
)]
enum Owner {
    Daemon(Daemon),
    CommandLine(CommandLine),
}

/// What only the daemon needs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Daemon {
    /// It runs without updates, because of this.
    newer: Option<Newer>,
    polls: Polls,
    maps: Maps,
    /// The door the update stands at, from its refresh until it is passed.
    door: Option<Door>,
    /// The repeats of the report that must get through.
    report: Backoff,
    /// The report at hand was sent before.
    repeats: bool,
    /// The server does not know the deployment: nothing more is reported of it.
    unknown: bool,
    /// The server has not heard how this deployment ended.
    unheard: Option<Unheard>,
    /// The deployments that began here.
    again: Again,
}

impl Daemon {
    const fn run(&self) -> Run {
        match self.newer {
            Some(newer) => Run::NoUpdates(newer),
            None => Run::Daemon,
        }
    }
}

/// The state machine of one client. See the module's documentation.
///
/// Machines of one configuration are equal when they do the same from now on. What is only for the log or for people
/// (notes, since when a door is shut), the configuration itself and the number of the operation do not count; nor does how
/// long ago deployments began, which matters after a day. Other times do: see [`Machine::rebase`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Machine {
    config: Apart<Config>,
    note: Apart<Option<DoorNote>>,
    asked_too_long: Apart<bool>,
    report_given_up: Apart<bool>,
    op: OpId,
    state: State,
    phase: Phase,
    doing: Doing,
    verdict: Verdict,
    checkpoint: Checkpoint,
    /// What is on record, as far as the machine was told; `None`: no update in progress.
    saved: Option<Checkpoint>,
    /// The module wants file sizes.
    file_sizes: bool,
    /// The process ends.
    terminated: bool,
    owner: Owner,
}

impl Machine {
    /// What happened, and what to do next. Events that change nothing give [`Action::Wait`].
    pub fn step(&mut self, now: Instant, event: Event) -> Action {
        self.note = Apart(None);
        self.asked_too_long = Apart(false);
        self.report_given_up = Apart(false);
        if self.is_over() {
            return Action::Wait;
        }
        match event {
            Event::LocalMap(map) => self.local_map(now, map),
            Event::Order { name, points, order, lifetime } => {
                self.ordered(now, name, points, order, lifetime)
            }
            Event::MapsSaved(saved) => self.maps_saved(saved),
            Event::Terminate => {
                self.terminated = true;
                Action::Wait
            }
            Event::Done(op, outcome) if self.op.is(&op) => {
                let outcome = self.without_answer(outcome);
                self.done(now, outcome)
            }
            Event::Offered { .. }
            | Event::Refreshed { .. }
            | Event::ServerMap(_)
            | Event::Authenticated
            | Event::Tick
            | Event::Check(_)
            | Event::Approved
                if self.terminated =>
            {
                Action::Wait
            }
            Event::Offered { op, id, map } if self.op.is(&op) => self.offered(now, id, map),
            Event::Refreshed { op, map } if self.op.is(&op) => self.refreshed(now, map),
            Event::Done(..) | Event::Offered { .. } | Event::Refreshed { .. } => Action::Wait,
            Event::ServerMap(map) => self.server_map(now, map),
            Event::Authenticated => {
                if let Some(daemon) = self.daemon() {
                    daemon.polls.forget_inventory();
                }
                Action::Wait
            }
            Event::Tick => self.tick(now),
            Event::Check(check) => self.checked(now, check),
            Event::Approved => self.approved(now),
        }
    }

    /// When to send [`Event::Tick`], at the latest. `None`: only events move the machine.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        if self.terminated {
            return None;
        }
        match self.doing {
            Doing::Work(limit) | Doing::Script(_, limit) => limit.at(),
            Doing::ScriptLater(_, until) | Doing::Repeat(until) => Some(until),
            Doing::Waiting => match &self.owner {
                Owner::Daemon(daemon) if self.point().is_some() => daemon.door_deadline(&self.config),
                Owner::Daemon(daemon) => daemon.polls.deadline(),
                Owner::CommandLine(_) => None,
            },
            Doing::Saving | Doing::Loading | Doing::Stopping(_) | Doing::SavingMaps(_) | Doing::Over => None,
        }
    }

    /// Moves every time the machine keeps: what was so long before or after `from` is as long before or after `to`.
    /// A deadline that has come by `from` has come at `to`.
    ///
    /// For those who compare machines: let time pass, then go back to the `now` that all comparisons are made at, and
    /// equal situations are equal machines. That `now` must be later than the longest time that is looked back at, a
    /// day and the longest interval of the configuration: nothing is before the start of the clock.
    pub fn rebase(&mut self, from: Instant, to: Instant) {
        let shift = Shift { from, to };
        match &mut self.doing {
            Doing::Work(limit) => shift.limit(limit),
            Doing::Script(scripts, limit) => {
                scripts.rebase(shift);
                shift.limit(limit);
            }
            Doing::ScriptLater(scripts, until) => {
                scripts.rebase(shift);
                *until = shift.due(*until);
            }
            Doing::Repeat(until) => *until = shift.due(*until),
            Doing::Saving
            | Doing::Loading
            | Doing::Stopping(_)
            | Doing::SavingMaps(_)
            | Doing::Waiting
            | Doing::Over => {}
        }
        if let Owner::Daemon(daemon) = &mut self.owner {
            daemon.polls.rebase(shift);
            daemon.maps.rebase(shift);
            if let Some(door) = &mut daemon.door {
                door.rebase(shift);
            }
            if let Some(unheard) = &mut daemon.unheard {
                unheard.rebase(shift);
            }
            daemon.again.rebase(shift);
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

    /// Whether the daemon waits in Idle for its next poll: the end of one round and the beginning of the next.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.place() == (State::Idle, Phase::Main) && self.doing == Doing::Waiting
    }

    /// Whether the run is over: no event acts any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.doing == Doing::Over
    }

    /// Whether [`Event::Terminate`] has come: nothing begins any more, and only control maps are still saved.
    #[must_use]
    pub const fn is_terminated(&self) -> bool {
        self.terminated
    }

    pub(crate) const fn config(&self) -> &Config {
        &self.config.0
    }

    /// How the update stands.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// A daemon that takes the place of another one in the same process asks for a deployment and sends the inventory when
    /// that one would have ([`Self::next_update`], [`Self::next_inventory`]), and not at once. To be called between the
    /// start and the first step; without effect on anybody but a daemon.
    pub fn put_off(&mut self, update: Option<Instant>, inventory: Option<Instant>) {
        if let Some(daemon) = self.daemon() {
            daemon.polls.put_off(update, inventory);
        }
    }

    /// When the server is asked for a deployment next; a deployment in progress goes first.
    #[must_use]
    pub const fn next_update(&self) -> Option<Instant> {
        match &self.owner {
            Owner::Daemon(daemon) => daemon.polls.next_update,
            Owner::CommandLine(_) => None,
        }
    }

    /// When the inventory is sent next.
    #[must_use]
    pub const fn next_inventory(&self) -> Option<Instant> {
        match &self.owner {
            Owner::Daemon(daemon) => daemon.polls.next_inventory,
            Owner::CommandLine(_) => None,
        }
    }

    /// The last step ended a script that asked to be run again later, and has asked so for too long.
    #[must_use]
    pub const fn script_asked_too_long(&self) -> bool {
        self.asked_too_long.0
    }

    /// The last step ended the report of how a deployment ended, or of its log, and the server has not heard it: it was
    /// refused for good, or could not be delivered for too long.
    #[must_use]
    pub const fn report_was_given_up(&self) -> bool {
        self.report_given_up.0
    }

    /// What the run was started for.
    #[must_use]
    pub const fn run(&self) -> Run {
        match &self.owner {
            Owner::Daemon(daemon) => daemon.run(),
            Owner::CommandLine(line) => line.run(),
        }
    }

    /// The deployment's id, while an update of the daemon's is in progress; else empty.
    #[must_use]
    pub fn deployment(&self) -> &str {
        self.checkpoint.deployment.as_str()
    }

    const fn mode(&self) -> Mode {
        match &self.owner {
            Owner::Daemon(_) => Mode::Managed,
            Owner::CommandLine(_) => Mode::Standalone,
        }
    }

    const fn daemon(&mut self) -> Option<&mut Daemon> {
        match &mut self.owner {
            Owner::Daemon(daemon) => Some(daemon),
            Owner::CommandLine(_) => None,
        }
    }

    const fn command_line(&mut self) -> Option<&mut CommandLine> {
        match &mut self.owner {
            Owner::Daemon(_) => None,
            Owner::CommandLine(line) => Some(line),
        }
    }

    fn start_op(&mut self, op: Op) -> Action {
        let writes_maps = match op {
            Op::Save | Op::SaveMaps | Op::ClearData => true,
            Op::SaveReport => !self.is_late(),
            Op::SaveProvides(_)
            | Op::SaveBegun
            | Op::ForgetReport
            | Op::RunScript(..)
            | Op::CheckVersion
            | Op::CheckRunning
            | Op::CallModule(_)
            | Op::Prepare
            | Op::Stream(_)
            | Op::Reboot
            | Op::Request(_)
            | Op::AskPolicy(_)
            | Op::End => false,
        };
        if let (true, Some(daemon)) = (writes_maps, self.daemon()) {
            daemon.maps.begin();
        }
        self.op = self.op.next();
        Action::Start(self.op.clone(), op)
    }

    fn tick(&mut self, now: Instant) -> Action {
        match self.doing {
            Doing::Work(limit) if limit.has_come(now) => {
                self.doing = Doing::Work(Limit::Killed);
                Action::Kill
            }
            Doing::Script(scripts, limit) if limit.has_come(now) => {
                self.doing = Doing::Script(scripts, Limit::Killed);
                Action::Kill
            }
            Doing::ScriptLater(scripts, until) if until <= now => self.script_again(now, scripts),
            Doing::Repeat(until) if until <= now => self.go_on(now, Outcome::Later(None)),
            Doing::Waiting if self.point().is_some() => match self.woken(now) {
                Some(outcome) => self.go_on(now, outcome),
                None => Action::Wait,
            },
            Doing::Waiting => self.begin_or_go_on(now),
            Doing::Work(_)
            | Doing::Script(..)
            | Doing::ScriptLater(..)
            | Doing::Repeat(_)
            | Doing::Saving
            | Doing::Loading
            | Doing::Stopping(_)
            | Doing::SavingMaps(_)
            | Doing::Over => Action::Wait,
        }
    }

    /// Somebody wants a poll or an inventory push.
    fn checked(&mut self, now: Instant, check: Check) -> Action {
        let Some(daemon) = self.daemon() else { return Action::Wait };
        match check {
            Check::Update => {
                daemon.polls.update_due |= daemon.run().asks_for_updates();
                daemon.again.person_asks();
            }
            Check::Inventory => daemon.polls.inventory_due = true,
        }
        self.tick(now)
    }

    /// The outcome of an operation that brought no answer: a request that is answered in full has an event of its own.
    fn without_answer(&self, outcome: Outcome) -> Outcome {
        let asks = self.place() == (State::Poll, Phase::Main) && !self.is_late() && !self.is_turning_down();
        if outcome == Outcome::Success && asks {
            return Outcome::Nothing;
        }
        if outcome == Outcome::Success && self.point().is_some() && self.phase == Phase::Enter {
            return Outcome::Failure;
        }
        outcome
    }

    /// The server has a deployment: its record begins, unless the deployment is turned down.
    fn offered(&mut self, now: Instant, id: Text<{ limits::DEPLOYMENT_ID }>, map: OfferedMap) -> Action {
        if self.place() != (State::Poll, Phase::Main) {
            return self.done(now, Outcome::Failure);
        }
        if self.doing != Doing::Work(Limit::Killed) {
            if self.turns_down(now, id.as_str()).is_some() {
                return self.turn_down(now);
            }
            let offer = self.config.resumes_downloads();
            let blank = blank(self.mode(), self.checkpoint.format);
            self.checkpoint = Checkpoint { deployment: id, offer, ..blank };
            self.verdict = Verdict::Good;
            self.saved = None;
            self.file_sizes = false;
            if let Some(daemon) = self.daemon() {
                daemon.unknown = false;
                daemon.again.offered();
            }
            self.open_doors(now, map);
        }
        self.done(now, Outcome::Success)
    }

    /// The server sent the map of the deployment at hand anew; `None`: it cannot be used.
    fn refreshed(&mut self, now: Instant, map: Option<Map>) -> Action {
        if self.point().is_none() || self.phase != Phase::Enter {
            return self.done(now, Outcome::Failure);
        }
        let is_used =
            self.doing == Doing::Work(Limit::Killed) || map.is_some_and(|map| self.set_server_map(now, map));
        // Asking again would not help.
        self.done(now, if is_used { Outcome::Success } else { Outcome::Refused })
    }

    fn done(&mut self, now: Instant, outcome: Outcome) -> Action {
        if let Some(daemon) = self.daemon() {
            daemon.maps.end(outcome);
        }
        if self.terminated {
            return Action::Wait;
        }
        let saved = outcome == Outcome::Success;
        match core::mem::replace(&mut self.doing, Doing::Waiting) {
            Doing::Saving if saved => {
                self.saved = Some(self.checkpoint.clone());
                self.begun_is_written();
                self.begin_or_go_on(now)
            }
            Doing::Saving => {
                let Entry { unsaved, .. } = state::entry(self.mode(), self.state, self.phase);
                self.unsaved(now, unsaved)
            }
            Doing::Loading => {
                if saved {
                    self.saved = Some(self.checkpoint.clone());
                }
                let place = self.place();
                self.enter(now, place, true)
            }
            Doing::Stopping(stop) if saved => {
                self.saved = Some(self.checkpoint.clone());
                self.exit(Some(Reached::Stopped(stop)))
            }
            Doing::Stopping(_) => {
                let rule = state::stop(self.state, self.phase).map_or(Unsaved::Ends, |(.., rule)| rule);
                self.unsaved(now, rule)
            }
            // Maps that cannot be saved still count while this process lives.
            Doing::SavingMaps(word) => self.follow_maps(now, word),
            Doing::Script(scripts, limit) => self.script_done(now, scripts, limit.outcome(outcome)),
            Doing::Work(limit) => self.main_done(now, limit.outcome(outcome)),
            // No operation was outstanding: nobody can have ended it.
            doing @ (Doing::ScriptLater(..) | Doing::Repeat(_) | Doing::Waiting | Doing::Over) => {
                self.doing = doing;
                Action::Wait
            }
        }
    }

    fn go_on(&mut self, now: Instant, outcome: Outcome) -> Action {
        match self.leave(now, outcome) {
            Ok(place) => self.enter(now, place, false),
            Err(action) => action,
        }
    }
}

/// Another `now`: see [`Machine::rebase`].
#[derive(Clone, Copy)]
pub(crate) struct Shift {
    from: Instant,
    to: Instant,
}

impl Shift {
    /// Any time, before or after.
    pub(crate) fn time(self, at: Instant) -> Instant {
        if at >= self.from { self.to + at.since(self.from) } else { self.to - self.from.since(at) }
    }

    /// A time that is waited for: how long ago it came does not matter.
    fn due(self, at: Instant) -> Instant {
        self.time(at).max(self.to)
    }

    fn limit(self, limit: &mut Limit) {
        if let Limit::At(at) = limit {
            *at = self.due(*at);
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

/// The maps of the command line: it has none.
static NO_MAPS: Pool = Pool::new();

/// All texts here.
#[cfg(feature = "text")]
pub(crate) const TEXTS: &[&Catalogue] = &[&words::OPS, &words::API_CALLS];
