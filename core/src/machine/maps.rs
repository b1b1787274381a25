//! The control maps of the device, and their record.

#[cfg(doc)]
use super::Op;
use super::words::{Action, OfferedMap};
use super::{Apart, Doing, DoorNote, Machine, NO_MAPS, Owner, Shift};
use crate::control::{Full, Holder, Lifetime, Map, Order, OrderError, Points, Pool, PoolRecord, parse_id};
use crate::limits;
use crate::state::{Outcome, State};
use crate::time::{Duration, Instant};

/// The control maps, and how their record stands to them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Maps {
    pub(super) pool: Pool,
    record: Record,
    /// What the server said about the deployment has changed the maps; it goes on record with the deployment.
    offered: bool,
    /// The server's map for the deployment cannot be used: the deployment fails.
    refused: bool,
}

/// How the record of the maps stands to the maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Record {
    /// It says the same.
    Current,
    /// It is older.
    Older,
    /// The outstanding operation writes it.
    Written,
    /// The driver writes it now, beside the outstanding operation.
    WrittenAside,
    /// It cannot be read, and an update was in progress when that was noticed: what it may have held back fails.
    /// It is written anew at the end of that update, and not before: a restart must find it as it is.
    Damaged,
}

impl Maps {
    /// At start: the maps on record; `None` when the record cannot be read. `in_progress`: so is an update, which
    /// they may have held back.
    pub(super) fn start(maps: Option<Pool>, in_progress: bool) -> Self {
        let record = match (&maps, in_progress) {
            (Some(_), true | false) => Record::Current,
            (None, true) => Record::Damaged,
            (None, false) => Record::Older,
        };
        Self { pool: maps.unwrap_or_default(), record, offered: false, refused: false }
    }

    /// An operation that writes the maps begins.
    pub(super) const fn begin(&mut self) {
        match self.record {
            Record::Older => self.record = Record::Written,
            Record::Current if self.offered => self.record = Record::Written,
            Record::Current | Record::Written | Record::WrittenAside | Record::Damaged => {}
        }
    }

    /// The outstanding operation ended. What changed meanwhile is still to be written.
    pub(super) fn end(&mut self, outcome: Outcome) {
        match self.record {
            Record::Written if outcome == Outcome::Success => {
                self.record = Record::Current;
                self.offered = false;
            }
            Record::Written => self.record = Record::Older,
            Record::Current | Record::Older | Record::WrittenAside | Record::Damaged => {}
        }
    }

    /// Other maps. Times alone need not be saved.
    fn replace(&mut self, pool: Pool) {
        if !pool.is_saved_as(&self.pool) {
            self.changed();
        }
        self.pool = pool;
    }

    /// The maps have changed.
    pub(super) const fn changed(&mut self) {
        match self.record {
            Record::Current | Record::Older | Record::Written | Record::WrittenAside => {
                self.record = Record::Older;
            }
            Record::Damaged => {}
        }
    }

    pub(super) const fn is_older(&self) -> bool {
        matches!(self.record, Record::Older)
    }

    pub(super) const fn is_damaged(&self) -> bool {
        matches!(self.record, Record::Damaged)
    }

    pub(super) const fn is_refused(&self) -> bool {
        self.refused
    }

    pub(super) fn rebase(&mut self, shift: Shift) {
        self.pool.shift(|at| shift.time(at));
    }
}

impl Machine {
    /// The control maps; the command line has none.
    #[must_use]
    pub const fn maps(&self) -> &Pool {
        match &self.owner {
            Owner::Daemon(daemon) => &daemon.maps.pool,
            Owner::CommandLine(_) => &NO_MAPS,
        }
    }

    /// What is to be made durable of [`Self::maps`] now: with [`Op::Save`] and [`Op::ClearData`] in the same batch, by
    /// [`Op::SaveMaps`] and [`Action::SaveMaps`] alone. `None`: their record is what it should be.
    #[must_use]
    pub const fn maps_to_save(&self) -> Option<PoolRecord<'_>> {
        let Owner::Daemon(daemon) = &self.owner else { return None };
        if limits::MAPS == 0 {
            return None;
        }
        let maps = &daemon.maps;
        match maps.record {
            Record::Older | Record::Written => Some(maps.pool.record(true)),
            // The driver carries out an operation that writes when it begins: it has been written already.
            Record::WrittenAside => Some(maps.pool.record(!maps.offered || self.writes_maps())),
            Record::Current if maps.offered => Some(maps.pool.record(true)),
            Record::Current | Record::Damaged => None,
        }
    }

    /// Whether [`Self::maps`] are on record: a restart forgets none of them. `written`: the outstanding operation has made
    /// durable what it was to save, and its end is not told yet.
    #[must_use]
    pub const fn maps_are_stored(&self, written: bool) -> bool {
        match &self.owner {
            Owner::Daemon(daemon) => match daemon.maps.record {
                Record::Current => true,
                Record::Written => written,
                Record::Older | Record::WrittenAside | Record::Damaged => false,
            },
            Owner::CommandLine(_) => false,
        }
    }

    /// How long until a map that a program sets now is to be renewed.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn renewal(&self, now: Instant, map: Map) -> Result<Duration, Full> {
        let expiration = self.config.update_control_map_expiration;
        self.add_map(&mut self.maps().clone(), now, map)?;
        Ok(Duration::from_secs(expiration.as_secs() / 2))
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
        self.maps().clone().order(name, points, order, lifetime, now)
    }

    /// The outstanding operation writes the maps.
    const fn writes_maps(&self) -> bool {
        match self.doing {
            Doing::Saving | Doing::Loading | Doing::Stopping(_) | Doing::SavingMaps(_) => true,
            Doing::Work(_) => matches!(self.state, State::ClearData),
            Doing::Script(..) | Doing::ScriptLater(..) | Doing::Repeat(_) | Doing::Waiting | Doing::Over => {
                false
            }
        }
    }

    /// One more of a program's, to what begins as [`Self::maps`].
    fn add_map(&self, pool: &mut Pool, now: Instant, map: Map) -> Result<(), Full> {
        if self.state == State::Idle {
            pool.purge_expired(now);
        }
        pool.insert_local(map, now, self.config.update_control_map_expiration)
    }

    /// A program on the device sets a map.
    pub(super) fn local_map(&mut self, now: Instant, map: Map) -> Action {
        let mut pool = self.maps().clone();
        if self.add_map(&mut pool, now, map).is_err() {
            return Action::Wait;
        }
        // A map that is only renewed wakes an update that waits, but puts off nothing that is under way.
        let is_news = !pool.is_saved_as(self.maps());
        self.replace_maps(pool);
        if is_news || self.doing == Doing::Waiting {
            self.knock();
        }
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
        let mut pool = self.maps().clone();
        if pool.order(name, points, order, lifetime, now).is_err() {
            return Action::Wait;
        }
        self.replace_maps(pool);
        self.knock();
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
        if let Some(outcome) = self.news_at_door() {
            return self.go_on(now, outcome);
        }
        match self.daemon() {
            Some(daemon) if daemon.maps.is_older() => {
                daemon.maps.record = Record::WrittenAside;
                Action::SaveMaps
            }
            Some(_) | None => Action::Wait,
        }
    }

    /// The answer to [`Action::SaveMaps`].
    pub(super) fn maps_saved(&mut self, saved: bool) -> Action {
        let whole = self.writes_maps();
        if let Some(daemon) = self.daemon()
            && daemon.maps.record == Record::WrittenAside
        {
            let maps = &mut daemon.maps;
            maps.record = if saved { Record::Current } else { Record::Older };
            // All of it may be on record by now.
            maps.offered &= !saved || (!whole && maps.pool.is_from_server());
        }
        Action::Wait
    }

    /// A new deployment begins, with what the server says about holding it back.
    pub(super) fn open_doors(&mut self, now: Instant, map: OfferedMap) {
        let id = parse_id(self.checkpoint.deployment.as_str());
        let expiration = self.config.update_control_map_expiration;
        let Some(daemon) = self.daemon() else { return };
        daemon.door = None;
        let maps = &mut daemon.maps;
        let before = maps.pool.clone();
        // What expired while there was nothing to do is no word about this deployment, nor is the server's about
        // another.
        maps.pool.purge_expired(now);
        maps.pool.forget_other_deployments(id);
        let mut note = None;
        maps.refused = match (map, id) {
            (OfferedMap::Unusable, _) => true,
            (OfferedMap::Absent, None) => false,
            (OfferedMap::Absent, Some(id)) => {
                maps.pool.withdraw(id);
                false
            }
            (OfferedMap::Map(map), _) => {
                let full = maps.pool.insert_from_server(map, now, expiration).is_err();
                note = full.then_some(DoorNote::NoRoom);
                full
            }
        };
        maps.offered |= !maps.pool.is_saved_as(&before);
        self.note = Apart(note);
    }

    /// The server's map of the deployment at hand; false: there is no room for it.
    pub(super) fn set_server_map(&mut self, now: Instant, map: Map) -> bool {
        let mut pool = self.maps().clone();
        if pool.insert_from_server(map, now, self.config.update_control_map_expiration).is_err() {
            self.note = Apart(Some(DoorNote::NoRoom));
            if let Some(daemon) = self.daemon() {
                daemon.maps.refused = true;
            }
            return false;
        }
        self.replace_maps(pool);
        true
    }

    fn replace_maps(&mut self, pool: Pool) {
        if let Some(daemon) = self.daemon() {
            daemon.maps.replace(pool);
        }
    }

    /// True when the deployment must fail because of its map.
    pub(super) const fn map_is_refused(&self) -> bool {
        match &self.owner {
            Owner::Daemon(daemon) => daemon.maps.is_refused(),
            Owner::CommandLine(_) => false,
        }
    }

    /// The deployment is over: its maps go, whichever way they came, and the expired ones.
    pub(super) fn close_doors(&mut self, now: Instant) {
        let id = parse_id(self.checkpoint.deployment.as_str());
        let Some(daemon) = self.daemon() else { return };
        daemon.door = None;
        let maps = &mut daemon.maps;
        let mut pool = maps.pool.clone();
        if let Some(id) = id {
            pool.remove(id);
        }
        pool.purge_expired(now);
        // A record that cannot be read has failed this deployment. It is written anew, or it would fail the next one
        // too.
        if maps.is_damaged() {
            maps.record = Record::Older;
        }
        maps.replace(pool);
        maps.refused = false;
    }
}
