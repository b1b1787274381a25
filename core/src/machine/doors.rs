//! The doors before install, reboot and commit, where control maps decide (`spec/update-control.md` 7).
//!
//! ```text
//! Enter: refresh ──> Main: query ── continue ──> the state behind the door
//!    ^ retry │ abort      │ │ pause
//!    └───────┘            │ └──> Leave: report, wait ── changed, expired ──> Main
//!                  fail   v                          └─ time to refresh ───> Enter
//!              CheckRollback
//! ```

use super::{ApiCall, Begin, Doing, Event, Machine, Op};
use crate::control::{Answer, Full, Map, Point, Pool, parse_id};
use crate::machine::Action;
use crate::retry::{Backoff, Purpose, Schedule};
use crate::state::{Outcome, Phase, State};
use crate::time::{Duration, Instant, earliest};

/// The control maps of the device, and how the door at hand stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Doors {
    pool: Pool,
    /// The record of the maps is older than the pool.
    dirty: bool,
    /// The saved maps cannot be read: what they held back must not go on (R-18).
    unreadable: bool,
    /// The server's map for the deployment cannot be used: the deployment fails at once.
    refused: bool,
    answer: Option<Answer>,
    /// When the pause at this door was reported last, and when the maps were looked at last.
    reported: Option<Instant>,
    looked: Option<Instant>,
    refresh: Backoff,
}

impl Machine {
    /// The control maps, to be saved when [`Self::maps_to_save`].
    #[must_use]
    pub const fn maps(&self) -> &Pool {
        &self.doors.pool
    }

    /// Whether [`Self::maps`] is newer than its record.
    #[must_use]
    pub const fn maps_to_save(&self) -> bool {
        self.doors.dirty
    }

    /// The record of the maps was written.
    pub const fn maps_saved(&mut self) {
        self.doors.dirty = false;
    }

    /// At start: the maps on record; `None` when the record cannot be read.
    pub fn load_maps(&mut self, pool: Option<Pool>) {
        match pool {
            Some(pool) => self.doors.pool = pool,
            None => self.doors.unreadable = true,
        }
    }

    /// A map from a program on the device. Returns how long until it should be renewed, and what to do now.
    ///
    /// # Errors
    /// [`Full`]; nothing was changed.
    pub fn set_local_map(&mut self, now: Instant, map: Map) -> Result<(Duration, Action), Full> {
        let expiration = self.config.update_control_map_expiration;
        if self.state == State::Idle {
            self.doors.pool.purge_expired(now);
        }
        self.doors.pool.insert_local(map, now, expiration)?;
        self.doors.dirty = true;
        let renew = Duration::from_secs(expiration.as_secs() / 2);
        Ok((renew, self.step(now, Event::ControlChanged)))
    }

    /// The server's map for the deployment at hand: `Ok(None)` when it has none, `Err` when it cannot be used.
    /// Called before the request that brought it is reported as ended.
    pub fn set_server_map(&mut self, now: Instant, map: Result<Option<Map>, ()>) {
        let expiration = self.config.update_control_map_expiration;
        let doors = &mut self.doors;
        let before = doors.pool.clone();
        let id = parse_id(self.checkpoint.deployment.as_str());
        match map {
            Ok(Some(map)) => doors.refused |= doors.pool.insert_from_server(map, now, expiration).is_err(),
            Ok(None) => {
                if let Some(id) = id {
                    doors.pool.remove(id);
                }
            }
            Err(()) => doors.refused = true,
        }
        doors.dirty |= doors.pool != before;
    }

    /// True when the deployment must fail at once because of its map.
    pub(super) const fn map_is_refused(&self) -> bool {
        self.doors.refused
    }

    /// A new deployment begins.
    pub(super) const fn reset_doors(&mut self) {
        self.doors.refused = false;
        self.doors.reported = None;
    }

    /// The deployment is over: its maps go, whichever way they came, and the expired ones.
    pub(super) fn close_doors(&mut self, now: Instant) {
        let before = self.doors.pool.clone();
        if let Some(id) = parse_id(self.checkpoint.deployment.as_str()) {
            self.doors.pool.remove(id);
        }
        self.doors.pool.purge_expired(now);
        self.doors.dirty |= self.doors.pool != before;
        self.doors.refused = false;
        self.doors.unreadable = false;
    }

    /// The work of a door.
    pub(super) fn door(&mut self, now: Instant, point: Point) -> Begin {
        match self.phase {
            Phase::Enter => {
                let held =
                    parse_id(self.checkpoint.deployment.as_str()).is_some_and(|id| self.doors.pool.holds(id));
                if held {
                    Begin::Start(Op::Request(ApiCall::ControlMap))
                } else {
                    Begin::Already(Outcome::Success)
                }
            }
            Phase::Main => {
                self.doors.looked = Some(now);
                let (answer, changed) = self.doors.pool.query(point, now);
                self.doors.dirty |= changed;
                self.doors.answer = Some(if self.doors.unreadable { Answer::Fail } else { answer });
                if self.doors.dirty { Begin::Start(Op::SaveMaps) } else { Begin::Already(self.answered()) }
            }
            Phase::Leave if self.report_is_due(now) => {
                self.doors.reported = Some(now);
                Begin::Start(Op::Request(ApiCall::Status {
                    status: point.pause_status(),
                    fresh_token: false,
                }))
            }
            Phase::Leave => Begin::Wait,
            Phase::Error => Begin::Already(Outcome::Failure),
        }
    }

    /// The operation of a door ended.
    pub(super) fn door_done(&mut self, now: Instant, outcome: Outcome) -> Result<Outcome, Doing> {
        match (self.phase, outcome) {
            // 404: the deployment was aborted.
            (Phase::Enter, Outcome::Aborted) => Ok(Outcome::Aborted),
            (Phase::Enter, Outcome::Success) => {
                self.doors.refresh.reset();
                if core::mem::take(&mut self.doors.refused) {
                    Ok(Outcome::Failure)
                } else {
                    Ok(Outcome::Success)
                }
            }
            (Phase::Enter, outcome) => {
                let schedule = Schedule::new(&self.config, Purpose::Poll);
                match self.doors.refresh.next(schedule, super::retry_after(outcome)) {
                    Some(wait) => Err(Doing::Pause(now + wait)),
                    None => Ok(Outcome::Failure),
                }
            }
            // A map that cannot be saved still counts while this process lives.
            (Phase::Main, _) => Ok(self.answered()),
            (Phase::Leave, Outcome::Aborted) => Ok(Outcome::Aborted),
            // The report of a pause is best effort.
            (Phase::Leave, _) => Err(Doing::Waiting),
            (Phase::Error, _) => Ok(Outcome::Failure),
        }
    }

    /// A paused door was woken, by time or by a change of the maps: `None` when there is nothing to do yet.
    pub(super) fn woken(&self, now: Instant, changed: bool) -> Option<Outcome> {
        if changed {
            return Some(Outcome::Success);
        }
        if self.door_deadline().is_none_or(|at| at > now) {
            return None;
        }
        let held = parse_id(self.checkpoint.deployment.as_str()).is_some_and(|id| self.doors.pool.holds(id));
        Some(if held { Outcome::Nothing } else { Outcome::Success })
    }

    /// When a paused door looks again: at the next event of the maps, or when the pause is to be reported anew.
    pub(super) fn door_deadline(&self) -> Option<Instant> {
        let looked = self.doors.looked?;
        let report = self.doors.reported.map(|at| at + self.config.update_poll_interval);
        earliest(self.doors.pool.next_event(looked), report)
    }

    /// Once per pause, and again every poll interval, to notice an abort (R-15).
    fn report_is_due(&self, now: Instant) -> bool {
        self.doors.reported.is_none_or(|at| now >= at + self.config.update_poll_interval)
    }

    fn answered(&mut self) -> Outcome {
        match self.doors.answer.take() {
            Some(Answer::Pause) => Outcome::Nothing,
            Some(Answer::Fail) => Outcome::Failure,
            Some(Answer::Continue) | None => {
                self.doors.reported = None;
                Outcome::Success
            }
        }
    }
}
