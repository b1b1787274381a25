//! The doors before install, reboot and commit, where control maps, policies and people decide.
//!
//! ```text
//! Enter: refresh ──> Main: maps ── force_continue ────> the state behind the door
//!    ^ retry │ abort     │ │ └── continue ──> policies ──^
//!    └───────┘      fail │ │ pause               │ not yet
//!                        v └───────> Leave: report, wait ── changed, approved, expired ──> Main
//!              CheckRollback                              └─ time to refresh ────────────> Enter
//! ```
//!
//! An approval ends what is under way at the door, and Main lets the update pass.

use super::words::{Action, ApiCall, Op};
use super::{Apart, Begin, Daemon, Doing, Limit, Machine, Owner, Shift, retry_after};
use crate::config::Config;
use crate::control::{Answer, Decision, Holder, parse_id};
use crate::deployment::Point;
use crate::retry::{Backoff, Purpose, SHORTEST, Schedule};
use crate::state::{self, Outcome, Phase};
use crate::time::{Duration, Instant, earliest};

/// How the door stands that the update stands at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Door {
    /// Since when the update stands there; for people and policies.
    since: Apart<Instant>,
    news: News,
    /// The tries to get the server's map anew.
    refresh: Backoff,
    /// When the maps were asked last.
    asked: Instant,
    hold: Option<Hold>,
}

/// What happened at the door since it was looked at last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum News {
    None,
    /// The maps changed.
    Changed,
    /// Somebody at the device lets the update pass.
    Approved,
}

/// The update is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Hold {
    by: Held,
    /// When that was reported last.
    reported: Option<Instant>,
    /// When the policies want to be asked again.
    ask_again: Option<Instant>,
}

/// What holds an update back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Held {
    /// This control map.
    Map(Holder),
    /// A policy of the device.
    Policy,
    /// The server, which does not say whether its control map still holds.
    Server,
}

/// What happened at a door, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DoorNote {
    /// The update waits.
    Waits(Point, Held),
    /// The update fails. `None`: the saved maps could not be read.
    Fails(Point, Option<Held>),
    /// Somebody at the device let it pass.
    Approved(Point),
    /// There is no room for the server's map: the deployment fails.
    NoRoom,
}

/// What the maps said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Word {
    /// No objection: the policies are asked.
    Continue,
    ForceContinue,
    Pause(Holder),
    /// `None`: the saved maps could not be read.
    Fail(Option<Holder>),
}

impl Word {
    const fn of(decision: Decision) -> Self {
        match (decision.answer, decision.by) {
            (Answer::Continue, _) => Self::Continue,
            (Answer::ForceContinue, _) => Self::ForceContinue,
            (Answer::Pause, Some(by)) => Self::Pause(by),
            (Answer::Fail, by) => Self::Fail(by),
            // Somebody always says it.
            (Answer::Pause, None) => Self::Continue,
        }
    }
}

impl Door {
    const fn new(now: Instant) -> Self {
        Self { since: Apart(now), news: News::None, refresh: Backoff::new(), asked: now, hold: None }
    }

    /// Once per pause, and again every poll interval, to notice an abort (R-15).
    fn report_is_due(&self, now: Instant, config: &Config) -> bool {
        let reported = self.hold.and_then(|hold| hold.reported);
        reported.is_none_or(|at| now >= at + config.update_poll_interval)
    }

    pub(super) fn rebase(&mut self, shift: Shift) {
        self.since = Apart(shift.time(self.since.0));
        self.asked = shift.time(self.asked);
        if let Some(hold) = &mut self.hold {
            hold.reported = hold.reported.map(|at| shift.time(at));
            hold.ask_again = hold.ask_again.map(|at| shift.due(at));
        }
    }
}

impl Daemon {
    /// When a paused door looks again: at the next event of the maps, when the pause is to be reported anew, or when
    /// a policy may have changed its mind.
    pub(super) fn door_deadline(&self, config: &Config) -> Option<Instant> {
        let hold = self.door.as_ref()?.hold;
        earliest(self.maps_deadline(config), hold.and_then(|hold| hold.ask_again))
    }

    fn maps_deadline(&self, config: &Config) -> Option<Instant> {
        let door = self.door.as_ref()?;
        let report = door.hold.and_then(|hold| hold.reported).map(|at| at + config.update_poll_interval);
        earliest(self.maps.pool.next_event(door.asked), report)
    }
}

impl Machine {
    /// The door the update waits at, and what holds it there.
    #[must_use]
    pub fn held(&self) -> Option<(Point, Held)> {
        let (point, door) = (self.point()?, self.at_door()?);
        let asks_in_vain = self.phase == Phase::Enter && door.refresh.is_used();
        let by = door.hold.map(|hold| hold.by).or(asks_in_vain.then_some(Held::Server))?;
        Some((point, by))
    }

    /// What the last step did at a door, for the log.
    #[must_use]
    pub const fn door_note(&self) -> Option<DoorNote> {
        self.note.0
    }

    /// Since when the update stands at the door at hand.
    #[must_use]
    pub fn at_door_since(&self) -> Option<Instant> {
        self.at_door().map(|door| door.since.0)
    }

    /// The point of the door at hand: an update that stands there can be approved.
    #[must_use]
    pub const fn point(&self) -> Option<Point> {
        state::point(self.state)
    }

    fn at_door(&self) -> Option<&Door> {
        match &self.owner {
            Owner::Daemon(daemon) => daemon.door.as_ref(),
            Owner::CommandLine(_) => None,
        }
    }

    fn door_mut(&mut self) -> Option<&mut Door> {
        self.daemon()?.door.as_mut()
    }

    fn news(&self) -> News {
        self.at_door().map_or(News::None, |door| door.news)
    }

    /// The maps changed. While something is under way at the door, that is noticed when it ends.
    pub(super) fn knock(&mut self) {
        if let Some(door) = self.door_mut()
            && door.news == News::None
        {
            door.news = News::Changed;
        }
    }

    /// Something has changed at the door where the update waits. A process that ends leaves that to the next one: what
    /// counts once would be used up here.
    pub(super) fn news_at_door(&self) -> Option<Outcome> {
        let waits = self.doing == Doing::Waiting && !self.terminated;
        (waits && self.news() != News::None).then_some(Outcome::Success)
    }

    /// Somebody lets the update pass the door it stands at: whoever does so need not wait for a server or a policy that
    /// does not answer. Away from a door it means nothing: what runs there is not ended.
    pub(super) fn approved(&mut self, now: Instant) -> Action {
        if self.point().is_none() {
            return Action::Wait;
        }
        let Some(door) = self.door_mut() else { return Action::Wait };
        door.news = News::Approved;
        match self.doing {
            Doing::Waiting => self.go_on(now, Outcome::Success),
            Doing::Repeat(_) => self.go_on(now, Outcome::Later(None)),
            Doing::Work(Limit::None | Limit::At(_)) => {
                self.doing = Doing::Work(Limit::Killed);
                Action::Kill
            }
            Doing::Work(Limit::Killed)
            | Doing::Script(..)
            | Doing::ScriptLater(..)
            | Doing::Saving
            | Doing::Loading
            | Doing::Stopping(_)
            | Doing::SavingMaps(_)
            | Doing::Over => Action::Wait,
        }
    }

    /// The work of a door.
    pub(super) fn door(&mut self, now: Instant, point: Point) -> Begin {
        let (asks_server, refused) = (self.holds_server_map(), self.map_is_refused());
        let Owner::Daemon(Daemon { door, maps, unknown, .. }) = &mut self.owner else {
            return Begin::Already(Outcome::Failure);
        };
        let door = door.get_or_insert(Door::new(now));
        match (self.phase, door.news) {
            (Phase::Enter, _) if refused => Begin::Already(Outcome::Failure),
            (Phase::Enter, News::None | News::Changed) if asks_server => {
                Begin::Start(Op::Request(ApiCall::ControlMap))
            }
            (Phase::Enter, News::None | News::Changed | News::Approved) => Begin::Already(Outcome::Success),
            (Phase::Main, News::Approved) => {
                self.note = Apart(Some(DoorNote::Approved(point)));
                self.pass()
            }
            (Phase::Main, News::None | News::Changed) => {
                door.asked = now;
                door.news = News::None;
                let decision = maps.pool.query(point, now);
                if decision.changed {
                    maps.changed();
                }
                let word = if maps.is_damaged() { Word::Fail(None) } else { Word::of(decision) };
                if maps.is_older() { Begin::SaveMaps(word) } else { self.follow(point, word) }
            }
            (Phase::Leave, News::Changed | News::Approved) => Begin::Already(Outcome::Success),
            (Phase::Leave, News::None) if door.report_is_due(now, &self.config) => {
                if let Some(hold) = &mut door.hold {
                    hold.reported = Some(now);
                }
                if *unknown { Begin::Wait } else { self.status(point.pause_status()) }
            }
            (Phase::Leave, News::None) => Begin::Wait,
            (Phase::Error, _) => Begin::Already(Outcome::Failure),
        }
    }

    /// The maps are saved, or cannot be: what they said counts.
    pub(super) fn follow_maps(&mut self, now: Instant, word: Word) -> Action {
        let Some(point) = self.point() else { return Action::Wait };
        match self.follow(point, word) {
            Begin::Start(op) => self.work(now, op),
            Begin::Already(outcome) => self.go_on(now, outcome),
            // What the maps said never leads to these.
            Begin::SaveMaps(_) | Begin::Wait => Action::Wait,
        }
    }

    /// What follows from the answer of the maps.
    fn follow(&mut self, point: Point, word: Word) -> Begin {
        match word {
            Word::Continue if self.config.policies => Begin::Start(Op::AskPolicy(point)),
            Word::Continue | Word::ForceContinue => self.pass(),
            Word::Pause(by) => Begin::Already(self.hold(point, Held::Map(by), None)),
            Word::Fail(by) => Begin::Already(self.refuse(point, by.map(Held::Map))),
        }
    }

    /// The operation of a door ended.
    pub(super) fn door_done(&mut self, now: Instant, point: Point, outcome: Outcome) -> Action {
        let outcome = match (self.phase, point, outcome) {
            // The server does not know the deployment of which the pause was reported (R-29).
            (Phase::Leave, Point::Install, Outcome::Nothing) => Outcome::Aborted,
            (Phase::Leave, Point::Reboot | Point::Commit, Outcome::Nothing) => self.heard(outcome),
            (Phase::Enter | Phase::Main | Phase::Leave | Phase::Error, _, outcome) => outcome,
        };
        let outcome = match (self.phase, self.news(), outcome) {
            // The deployment was aborted.
            (Phase::Enter | Phase::Leave, _, Outcome::Aborted) => Outcome::Aborted,
            (Phase::Enter, News::Approved, _) => Outcome::Success,
            (Phase::Enter, News::None | News::Changed, Outcome::Success) => {
                if let Some(door) = self.door_mut() {
                    door.refresh.reset();
                }
                Outcome::Success
            }
            (Phase::Enter, News::None | News::Changed, Outcome::Refused) => Outcome::Refused,
            (
                Phase::Enter,
                News::None | News::Changed,
                Outcome::Failure | Outcome::Nothing | Outcome::Automatic | Outcome::Later(_),
            ) => {
                let schedule = Schedule::new(&self.config, Purpose::Refresh);
                let wait = self.door_mut().and_then(|door| door.refresh.next(schedule, retry_after(outcome)));
                match wait {
                    Some(wait) => {
                        self.doing = Doing::Repeat(now + wait);
                        return Action::Wait;
                    }
                    None => Outcome::Failure,
                }
            }
            // The maps may say something else by now: they are asked again.
            (Phase::Main, News::Changed | News::Approved, _) => Outcome::Nothing,
            (Phase::Main, News::None, outcome) => self.policies_said(now, point, outcome),
            // The report of a pause is best effort.
            (Phase::Leave, News::Changed | News::Approved, _) => Outcome::Success,
            (Phase::Leave, News::None, _) => {
                self.doing = Doing::Waiting;
                return Action::Wait;
            }
            (Phase::Error, _, _) => Outcome::Failure,
        };
        self.go_on(now, outcome)
    }

    /// Time passed at a paused door: `None` when there is nothing to do yet.
    pub(super) fn woken(&self, now: Instant) -> Option<Outcome> {
        let Owner::Daemon(daemon) = &self.owner else { return None };
        if daemon.door_deadline(&self.config).is_none_or(|at| at > now) {
            return None;
        }
        // A policy that wants to be asked again is no reason to ask the server.
        let refresh =
            daemon.maps_deadline(&self.config).is_some_and(|at| at <= now) && self.holds_server_map();
        Some(if refresh { Outcome::Nothing } else { Outcome::Success })
    }

    fn holds_server_map(&self) -> bool {
        parse_id(self.checkpoint.deployment.as_str()).is_some_and(|id| self.maps().holds(id))
    }

    /// What follows from the answer of the policies.
    fn policies_said(&mut self, now: Instant, point: Point, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Success | Outcome::Automatic | Outcome::Nothing => {
                self.leave_door();
                Outcome::Success
            }
            Outcome::Later(after) => {
                let wait = after.map_or(SHORTEST, |seconds| Duration::from_secs(seconds.into()));
                self.hold(point, Held::Policy, Some(now + wait.max(SHORTEST)))
            }
            Outcome::Failure | Outcome::Refused | Outcome::Aborted => self.refuse(point, Some(Held::Policy)),
        }
    }

    fn pass(&mut self) -> Begin {
        self.leave_door();
        Begin::Already(Outcome::Success)
    }

    /// The door at hand is left behind.
    fn leave_door(&mut self) {
        if let Some(daemon) = self.daemon() {
            daemon.door = None;
        }
    }

    fn hold(&mut self, point: Point, by: Held, ask_again: Option<Instant>) -> Outcome {
        if let Some(door) = self.door_mut() {
            let reported = door.hold.and_then(|hold| hold.reported);
            let is_new = door.hold.is_none_or(|hold| hold.by != by);
            door.hold = Some(Hold { by, reported, ask_again });
            if is_new {
                self.note = Apart(Some(DoorNote::Waits(point, by)));
            }
        }
        Outcome::Nothing
    }

    fn refuse(&mut self, point: Point, by: Option<Held>) -> Outcome {
        self.leave_door();
        self.note = Apart(Some(DoorNote::Fails(point, by)));
        Outcome::Failure
    }
}
