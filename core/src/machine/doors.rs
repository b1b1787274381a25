//! The doors before install, reboot and commit, where control maps, policies and people decide.
//!
//! ```text
//! Enter: refresh ──> Main: maps ── force_continue ────> the state behind the door
//!    ^ retry │ abort     │ │ └── continue ──> policies ──^
//!    └───────┘      fail │ │ pause               │ not yet
//!                        v └───────> Leave: report, wait ── changed, approved, expired ──> Main
//!              CheckRollback                              └─ time to refresh ────────────> Enter
//! ```

use super::{ApiCall, Begin, Doing, Machine, OfferedMap, Op};
use crate::control::{Answer, Full, Holder, Lifetime, Map, Order, OrderError, Points, Pool, parse_id};
use crate::deployment::Point;
use crate::machine::Action;
use crate::retry::{Backoff, Purpose, SHORTEST, Schedule};
use crate::state::{self, Outcome, Phase, State};
use crate::time::{Duration, Instant, earliest};

/// The control maps of the device, and how the door at hand stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Doors {
    pool: Pool,
    pub(super) record: MapsRecord,
    /// The saved maps cannot be read: what they held back must not go on (R-18).
    unreadable: bool,
    /// The server's map for the deployment cannot be used: the deployment fails at once.
    refused: bool,
    /// What the maps said, while they are being saved.
    answer: Option<Answer>,
    /// Whose word it was.
    by: Option<Holder>,
    held: Option<Held>,
    /// Since when the update stands at this door.
    since: Option<Instant>,
    /// When the pause at this door was reported last, and when the maps were looked at last.
    reported: Option<Instant>,
    looked: Option<Instant>,
    /// When the policies want to be asked again.
    ask_again: Option<Instant>,
    /// Somebody at the device lets the update pass this door.
    approved: bool,
    /// The maps changed while something else was under way here.
    changed: bool,
    refresh: Backoff,
    pub(super) note: Option<DoorNote>,
}

impl Doors {
    /// At start: the maps on record; `None` when the record cannot be read.
    pub(super) fn new(maps: Option<Pool>) -> Self {
        match maps {
            Some(pool) => Self { pool, ..Self::default() },
            None => Self { unreadable: true, record: MapsRecord::Damaged, ..Self::default() },
        }
    }
}

/// How the record of the maps stands to the maps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum MapsRecord {
    /// It says the same.
    #[default]
    Current,
    /// It is older.
    Older,
    /// The outstanding operation writes it.
    Written,
    /// The driver writes it now, beside the outstanding operation.
    WrittenAside,
    /// It cannot be read. It is written anew when the deployment that it fails is over.
    Damaged,
}

impl MapsRecord {
    /// The maps have changed.
    const fn changed(&mut self) {
        *self = Self::Older;
    }

    /// An operation that writes the maps begins.
    pub(super) const fn begin(&mut self) {
        match self {
            Self::Older => *self = Self::Written,
            Self::Current | Self::Written | Self::WrittenAside | Self::Damaged => {}
        }
    }

    /// The outstanding operation ended. What changed meanwhile is still to be written.
    pub(super) fn end(&mut self, outcome: Outcome) {
        match self {
            Self::Written => *self = if outcome == Outcome::Success { Self::Current } else { Self::Older },
            Self::Current | Self::Older | Self::WrittenAside | Self::Damaged => {}
        }
    }
}

/// What holds an update back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Held {
    /// This control map.
    Map(Holder),
    /// A policy of the device.
    Policy,
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

impl Machine {
    /// The control maps, to be saved when [`Self::maps_to_save`].
    #[must_use]
    pub const fn maps(&self) -> &Pool {
        &self.doors.pool
    }

    /// Whether [`Self::maps`] is newer than its record: then [`Op::Save`] and [`Op::ClearData`] write it in the same
    /// batch.
    #[must_use]
    pub const fn maps_to_save(&self) -> bool {
        match self.doors.record {
            MapsRecord::Older | MapsRecord::Written | MapsRecord::WrittenAside => true,
            MapsRecord::Current | MapsRecord::Damaged => false,
        }
    }

    /// How long until a map that a program sets now is to be renewed.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn renewal(&self, now: Instant, map: Map) -> Result<Duration, Full> {
        let expiration = self.config.update_control_map_expiration;
        self.pool_with(now, map).map(|_| Duration::from_secs(expiration.as_secs() / 2))
    }

    /// Whether an order of a person's can be taken. See [`Pool::order`].
    ///
    /// # Errors
    /// Why not.
    pub fn takes_order(
        &self,
        now: Instant,
        name: Holder,
        points: Points,
        order: Order,
        lifetime: Lifetime,
    ) -> Result<(), OrderError> {
        self.doors.pool.clone().order(name, points, order, lifetime, now)
    }

    /// The maps with one more of a program's.
    fn pool_with(&self, now: Instant, map: Map) -> Result<Pool, Full> {
        let mut pool = self.doors.pool.clone();
        if self.state == State::Idle {
            pool.purge_expired(now);
        }
        pool.insert_local(map, now, self.config.update_control_map_expiration)?;
        Ok(pool)
    }

    /// A program on the device sets a map.
    pub(super) fn local_map(&mut self, now: Instant, map: Map) -> Action {
        let Ok(pool) = self.pool_with(now, map) else { return Action::Wait };
        // A map that is only renewed wakes an update that waits, but puts off nothing that is under way.
        let is_news = !pool.is_saved_as(&self.doors.pool);
        self.replace_maps(pool);
        self.doors.changed |= (is_news || self.is_paused()) && self.point().is_some();
        self.save_aside(now)
    }

    /// A person at the device gives an order.
    pub(super) fn ordered(
        &mut self,
        now: Instant,
        name: Holder,
        points: Points,
        order: Order,
        lifetime: Lifetime,
    ) -> Action {
        let mut pool = self.doors.pool.clone();
        if pool.order(name, points, order, lifetime, now).is_err() {
            return Action::Wait;
        }
        self.replace_maps(pool);
        self.doors.changed |= self.point().is_some();
        self.save_aside(now)
    }

    /// The map of the deployment at hand came beside the operation that is under way.
    pub(super) fn server_map(&mut self, now: Instant, map: Map) -> Action {
        self.set_server_map(now, map);
        self.save_aside(now)
    }

    /// The maps may have changed: an update that waits asks them, and saves them with what they say. Else they are
    /// saved beside what is under way, where they have to be.
    fn save_aside(&mut self, now: Instant) -> Action {
        if self.is_paused() && self.doors.changed {
            return self.look_again(now);
        }
        if !self.maps_to_save() {
            return Action::Wait;
        }
        self.doors.record = MapsRecord::WrittenAside;
        Action::SaveMaps
    }

    /// The answer to [`Action::SaveMaps`].
    pub(super) fn maps_saved(&mut self, saved: bool) -> Action {
        if self.doors.record == MapsRecord::WrittenAside {
            self.doors.record = if saved { MapsRecord::Current } else { MapsRecord::Older };
        }
        Action::Wait
    }

    /// Somebody lets the update pass the door it waits at.
    pub(super) fn approved(&mut self, now: Instant) -> Action {
        if self.held().is_none() {
            return Action::Wait;
        }
        self.doors.approved = true;
        self.look_again(now)
    }

    /// Something may have changed at the door at hand; while something is under way there, that is noticed when it
    /// ends.
    fn look_again(&mut self, now: Instant) -> Action {
        if self.is_paused() && (self.doors.changed || self.doors.approved) {
            return self.go_on(now, Outcome::Success);
        }
        if self.doors.approved && matches!(self.doing, Doing::Pause(_)) {
            return self.repeat(now);
        }
        Action::Wait
    }

    /// The door the update waits at, and what holds it there.
    #[must_use]
    pub fn held(&self) -> Option<(Point, Held)> {
        Some((self.point()?, self.doors.held?))
    }

    /// What the last step did at a door, for the log.
    #[must_use]
    pub const fn door_note(&self) -> Option<DoorNote> {
        self.doors.note
    }

    /// Since when the update stands at the door at hand.
    #[must_use]
    pub const fn at_door_since(&self) -> Option<Instant> {
        self.doors.since
    }

    /// The point of the door at hand.
    #[must_use]
    pub const fn point(&self) -> Option<Point> {
        state::point(self.state)
    }

    /// A new deployment begins, with what the server says about holding it back.
    pub(super) fn open_doors(&mut self, now: Instant, map: OfferedMap) {
        self.pass();
        self.doors.refused = false;
        let id = parse_id(self.checkpoint.deployment.as_str());
        let mut pool = self.doors.pool.clone();
        // What expired while there was nothing to do is no word about this deployment, nor is the server's about
        // another.
        pool.purge_expired(now);
        pool.forget_other_deployments(id);
        if let (OfferedMap::Absent, Some(id)) = (map, id) {
            pool.withdraw(id);
        }
        self.replace_maps(pool);
        match map {
            OfferedMap::Absent => {}
            OfferedMap::Map(map) => self.set_server_map(now, map),
            OfferedMap::Unusable => self.doors.refused = true,
        }
    }

    /// The server sent the map of the deployment at hand anew.
    pub(super) fn refreshed(&mut self, now: Instant, map: Option<Map>) -> Action {
        if self.point().is_none() || self.phase != Phase::Enter {
            return self.done(now, Outcome::Failure);
        }
        if !matches!(self.doing, Doing::Work { killed: true, .. }) {
            match map {
                Some(map) => self.set_server_map(now, map),
                None => self.doors.refused = true,
            }
        }
        self.done(now, Outcome::Success)
    }

    fn set_server_map(&mut self, now: Instant, map: Map) {
        let mut pool = self.doors.pool.clone();
        if pool.insert_from_server(map, now, self.config.update_control_map_expiration).is_err() {
            self.doors.refused = true;
            self.doors.note = Some(DoorNote::NoRoom);
            return;
        }
        self.replace_maps(pool);
    }

    /// Times alone need not be saved.
    fn replace_maps(&mut self, pool: Pool) {
        if !pool.is_saved_as(&self.doors.pool) {
            self.doors.record.changed();
        }
        self.doors.pool = pool;
    }

    /// True when the deployment must fail at once because of its map.
    pub(super) const fn map_is_refused(&self) -> bool {
        self.doors.refused
    }

    /// The deployment is over: its maps go, whichever way they came, and the expired ones.
    pub(super) fn close_doors(&mut self, now: Instant) {
        let mut pool = self.doors.pool.clone();
        if let Some(id) = parse_id(self.checkpoint.deployment.as_str()) {
            pool.remove(id);
        }
        pool.purge_expired(now);
        self.replace_maps(pool);
        // A record that cannot be read has done its duty: it would fail the next deployment that restarts the device.
        if self.doors.record == MapsRecord::Damaged {
            self.doors.record.changed();
        }
        self.doors.refused = false;
        self.doors.unreadable = false;
        self.pass();
    }

    /// The door at hand is left behind.
    const fn pass(&mut self) {
        let doors = &mut self.doors;
        doors.held = None;
        doors.since = None;
        doors.reported = None;
        doors.ask_again = None;
        doors.approved = false;
        doors.changed = false;
        doors.refresh.reset();
    }

    /// The work of a door.
    pub(super) fn door(&mut self, now: Instant, point: Point) -> Begin {
        match self.phase {
            Phase::Enter => {
                self.doors.since.get_or_insert(now);
                // Whoever lets it pass need not wait for a server that does not answer.
                if self.holds_server_map() && !self.doors.approved {
                    Begin::Start(Op::Request(ApiCall::ControlMap))
                } else {
                    Begin::Already(Outcome::Success)
                }
            }
            Phase::Main => self.look(now, point),
            Phase::Leave if self.doors.changed || self.doors.approved => Begin::Already(Outcome::Success),
            Phase::Leave if self.report_is_due(now) => {
                self.doors.reported = Some(now);
                self.status(point.pause_status())
            }
            Phase::Leave => Begin::Wait,
            Phase::Error => Begin::Already(Outcome::Failure),
        }
    }

    /// Asks the maps, then the policies.
    fn look(&mut self, now: Instant, point: Point) -> Begin {
        self.doors.looked = Some(now);
        self.doors.changed = false;
        if core::mem::take(&mut self.doors.approved) {
            self.doors.note = Some(DoorNote::Approved(point));
            self.pass();
            return Begin::Already(Outcome::Success);
        }
        let reply = self.doors.pool.query(point, now);
        if reply.changed {
            self.doors.record.changed();
        }
        self.doors.answer = Some(if self.doors.unreadable { Answer::Fail } else { reply.answer });
        self.doors.by = reply.by.filter(|_| !self.doors.unreadable);
        if self.maps_to_save() {
            return Begin::Start(Op::SaveMaps);
        }
        match self.answered(point) {
            Next::Go(outcome) => Begin::Already(outcome),
            Next::Ask => Begin::Start(Op::AskPolicy(point)),
        }
    }

    /// The operation of a door ended.
    pub(super) fn door_done(&mut self, now: Instant, outcome: Outcome) -> DoorNext {
        let Some(point) = self.point() else { return DoorNext::Go(outcome) };
        match (self.phase, outcome) {
            // 404: the deployment was aborted.
            (Phase::Enter, Outcome::Aborted) => DoorNext::Go(Outcome::Aborted),
            (Phase::Enter, _) if self.doors.approved => DoorNext::Go(Outcome::Success),
            (Phase::Enter, Outcome::Success) => {
                self.doors.refresh.reset();
                let refused = core::mem::take(&mut self.doors.refused);
                DoorNext::Go(if refused { Outcome::Failure } else { Outcome::Success })
            }
            (Phase::Enter, outcome) => {
                let schedule = Schedule::new(&self.config, Purpose::Poll);
                match self.doors.refresh.next(schedule, super::retry_after(outcome)) {
                    Some(wait) => DoorNext::Wait(Doing::Pause(now + wait)),
                    None => DoorNext::Go(Outcome::Failure),
                }
            }
            // A map that cannot be saved still counts while this process lives.
            (Phase::Main, outcome) if self.doors.answer.is_none() => {
                DoorNext::Go(self.policies_said(now, point, outcome))
            }
            (Phase::Main, _) => match self.answered(point) {
                Next::Go(outcome) => DoorNext::Go(outcome),
                Next::Ask => DoorNext::Start(Op::AskPolicy(point)),
            },
            (Phase::Leave, Outcome::Aborted) => DoorNext::Go(Outcome::Aborted),
            // The report of a pause is best effort.
            (Phase::Leave, _) if self.doors.changed || self.doors.approved => DoorNext::Go(Outcome::Success),
            (Phase::Leave, _) => DoorNext::Wait(Doing::Waiting),
            (Phase::Error, _) => DoorNext::Go(Outcome::Failure),
        }
    }

    /// Time passed at a paused door: `None` when there is nothing to do yet.
    pub(super) fn woken(&self, now: Instant) -> Option<Outcome> {
        if self.door_deadline().is_none_or(|at| at > now) {
            return None;
        }
        // A policy that wants to be asked again is no reason to ask the server.
        let refresh = self.maps_deadline().is_some_and(|at| at <= now) && self.holds_server_map();
        Some(if refresh { Outcome::Nothing } else { Outcome::Success })
    }

    /// When a paused door looks again: at the next event of the maps, when the pause is to be reported anew, or when
    /// a policy may have changed its mind.
    pub(super) fn door_deadline(&self) -> Option<Instant> {
        earliest(self.maps_deadline(), self.doors.ask_again)
    }

    fn maps_deadline(&self) -> Option<Instant> {
        let looked = self.doors.looked?;
        let report = self.doors.reported.map(|at| at + self.config.update_poll_interval);
        earliest(self.doors.pool.next_event(looked), report)
    }

    fn holds_server_map(&self) -> bool {
        parse_id(self.checkpoint.deployment.as_str()).is_some_and(|id| self.doors.pool.holds(id))
    }

    /// Once per pause, and again every poll interval, to notice an abort (R-15).
    fn report_is_due(&self, now: Instant) -> bool {
        self.doors.reported.is_none_or(|at| now >= at + self.config.update_poll_interval)
    }

    /// What follows from the answer of the maps.
    fn answered(&mut self, point: Point) -> Next {
        let by = self.doors.by.map(Held::Map);
        match self.doors.answer.take() {
            Some(Answer::Continue) | None if self.config.policies => Next::Ask,
            Some(Answer::Continue | Answer::ForceContinue) | None => {
                self.pass();
                Next::Go(Outcome::Success)
            }
            Some(Answer::Pause) => Next::Go(self.hold(point, by)),
            Some(Answer::Fail) => Next::Go(self.refuse(point, by)),
        }
    }

    /// What follows from the answer of the policies.
    fn policies_said(&mut self, now: Instant, point: Point, outcome: Outcome) -> Outcome {
        match outcome {
            // The maps may say something else by now: they are asked again.
            _ if self.doors.changed || self.doors.approved => Outcome::Nothing,
            Outcome::Success | Outcome::Automatic | Outcome::Nothing => {
                self.pass();
                Outcome::Success
            }
            Outcome::Later(after) => {
                let wait = after.map_or(SHORTEST, |seconds| Duration::from_secs(seconds.into()));
                self.doors.ask_again = Some(now + wait.max(SHORTEST));
                self.hold(point, Some(Held::Policy))
            }
            Outcome::Failure | Outcome::Refused | Outcome::Aborted => self.refuse(point, Some(Held::Policy)),
        }
    }

    fn hold(&mut self, point: Point, by: Option<Held>) -> Outcome {
        if by != Some(Held::Policy) {
            self.doors.ask_again = None;
        }
        if let Some(by) = by
            && self.doors.held != Some(by)
        {
            self.doors.note = Some(DoorNote::Waits(point, by));
        }
        self.doors.held = by;
        Outcome::Nothing
    }

    fn refuse(&mut self, point: Point, by: Option<Held>) -> Outcome {
        self.pass();
        self.doors.note = Some(DoorNote::Fails(point, by));
        Outcome::Failure
    }
}

/// After the maps.
enum Next {
    Go(Outcome),
    Ask,
}

/// After an operation of a door.
pub(super) enum DoorNext {
    /// On with this outcome.
    Go(Outcome),
    /// Something is waited for.
    Wait(Doing),
    /// One more operation.
    Start(Op),
}
