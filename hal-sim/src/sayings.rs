//! Who holds updates up, for the walk over the machine alone: everything that can be said at any moment, and what must
//! then hold at the doors before install, reboot and commit (CONTROL-50 to CONTROL-56), written apart from the
//! machine.

use std::fmt;

use thimble_core::config::Config;
use thimble_core::control::{Holder, Lifetime, Map, Order, Points, Pool, Rule, Rules, Vote, parse_id};
use thimble_core::deployment::{Point, Verdict};
use thimble_core::machine::{self, ApiCall, Event, Machine, OfferedMap, Op};
use thimble_core::state::{self, Outcome, Phase, Place, State};
use thimble_core::time::{Duration, Instant};

use crate::reference::Reference;

/// The id of the simulated deployment, which a map of the server's must have: no example has one that begins like this.
pub const DEPLOYMENT: &str = "5100ed00-0000-4000-8000-000000000001";
/// The program on the device, and the person.
const PROGRAM: u128 = 1;
const PERSON: Holder = Holder { id: 2, priority: 10 };
const HOUR: Duration = Duration::from_secs(3600);

/// More waits at one door than maps that are not renewed, and policies within the budget, can be the reason of.
const WAITS: u8 = 16;

/// What the server says about the deployment's map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Server {
    /// It has none.
    Silent,
    /// It has this one.
    Map(Map),
    /// What it sends is no map.
    Garbage,
    /// The deployment was aborted: 404.
    Aborted,
}

/// Something that is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Said {
    /// By a program on the device.
    Map(Map),
    /// By a person.
    Order(Order, &'static [Point], Lifetime),
    /// By a person, about the update that waits.
    Approve,
    /// By the server, to whoever asks next.
    Server(Server),
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules = |f: &mut fmt::Formatter<'_>, map: &Map| {
            for point in Point::ALL {
                let Rule { action, on_map_expire, on_action_executed } = *map.rules.at(point);
                if *map.rules.at(point) != Rule::default() {
                    write!(f, " {} {action:?}/{on_map_expire:?}/{on_action_executed:?}", point.word())?;
                }
            }
            Ok(())
        };
        match self {
            Self::Map(map) => f.write_str("++ map:").and_then(|()| rules(f, map)),
            Self::Order(order, points, lifetime) => {
                let points: Vec<_> = points.iter().map(|point| point.word()).collect();
                write!(f, "++ order: {order:?} {} {lifetime:?}", points.join(","))
            }
            Self::Approve => f.write_str("++ approved"),
            Self::Server(Server::Map(map)) => {
                f.write_str("++ the server's map:").and_then(|()| rules(f, map))
            }
            Self::Server(server) => write!(f, "++ the server: {server:?}"),
        }
    }
}

/// What has been said, and how the door at hand stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Doors {
    /// Things that may still be said.
    pub events: u8,
    /// The device has policies.
    pub policies: bool,
    /// What the server says now.
    pub server: Server,
    reference: Reference,
    /// What is on record.
    stored: Reference,
    readable: bool,
    door: Door,
    /// The maps were other than on record since they were last written.
    changed: bool,
    /// Doors passed in this deployment.
    passed: usize,
    /// What was found wrong.
    pub wrong: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Door {
    /// What the maps said when they were asked last; `None` when something has changed since.
    vote: Option<Vote>,
    /// What they said, if something changed while that was being saved: it stands, or they are asked again.
    said: Option<Vote>,
    policy: Option<Outcome>,
    approved: bool,
    /// Something failed here.
    failed: bool,
    reported: Option<Instant>,
    waits: u8,
}

const fn at(point: Point, rule: Rule) -> Map {
    let none =
        Rule { action: Vote::Continue, on_map_expire: Vote::Continue, on_action_executed: Vote::Continue };
    let mut rules = Rules { install: none, reboot: none, commit: none };
    *rules.at_mut(point) = rule;
    Map { id: PROGRAM, priority: 0, rules }
}

/// A map of the server's that says `action` at `point`.
#[must_use]
pub fn from_server(point: Point, action: Vote, executed: Option<Vote>) -> Map {
    let id = parse_id(DEPLOYMENT).unwrap_or_default();
    Map { id, ..at(point, Rule::new(Some(action), None, executed)) }
}

impl Doors {
    /// Nothing was said yet but by the server.
    #[must_use]
    pub fn new(events: u8, policies: bool, server: Server) -> Self {
        Self {
            events,
            policies,
            server,
            reference: Reference::default(),
            stored: Reference::default(),
            readable: true,
            door: Door::default(),
            changed: false,
            passed: 0,
            wrong: None,
        }
    }

    /// The same with one thing less to be said; `None`: everything was.
    #[must_use]
    pub fn spend(&self) -> Option<Self> {
        let events = self.events.checked_sub(1)?;
        Some(Self { events, ..self.clone() })
    }

    /// The settings of the machine.
    #[must_use]
    pub fn config(&self) -> Config {
        Config { policies: self.policies, ..Config::default() }
    }

    /// What can be said now. What concerns doors left behind would not be heard in this deployment.
    #[must_use]
    pub fn sayings(&self, machine: &Machine) -> Vec<Said> {
        use Vote::{Continue, Fail, ForceContinue, Pause};
        let ahead = &Point::ALL[self.passed.min(3)..];
        let Some(next) = ahead.first() else { return Vec::new() };
        let only = &ahead[..1];
        let rule = |action, expire, executed| Rule::new(Some(action), expire, executed);
        let mut all: Vec<Said> =
            ahead.iter().map(|point| Said::Map(at(*point, rule(Pause, None, None)))).collect();
        all.push(Said::Map(at(*next, rule(Pause, Some(Continue), Some(Continue)))));
        all.push(Said::Map(at(*next, rule(Fail, None, Some(Continue)))));
        all.push(Said::Map(at(*next, rule(ForceContinue, None, Some(Pause)))));
        if self.reference.holds(PROGRAM) {
            all.push(Said::Map(at(*next, Rule::default())));
        }
        all.push(Said::Order(Order::Pause, ahead, Lifetime::Unlimited));
        all.push(Said::Order(Order::Pause, only, Lifetime::For(HOUR)));
        all.push(Said::Order(Order::Pass, only, Lifetime::Unlimited));
        all.push(Said::Order(Order::Fail, only, Lifetime::Unlimited));
        if self.reference.holds(PERSON.id) {
            all.push(Said::Order(Order::Lift, ahead, Lifetime::Unlimited));
        }
        if machine.point().is_some() {
            all.push(Said::Approve);
        }
        if matches!(self.server, Server::Map(_)) {
            for action in [Pause, ForceContinue, Fail] {
                all.push(Said::Server(Server::Map(from_server(*next, action, None))));
            }
            all.push(Said::Server(Server::Map(from_server(*next, Pause, Some(Continue)))));
            all.push(Said::Server(Server::Garbage));
            all.push(Said::Server(Server::Aborted));
        }
        all.retain(|said| *said != Said::Server(self.server));
        all
    }

    /// Tells the machine, as the client does; what the machine does about it.
    pub fn say(&mut self, said: Said, machine: &mut Machine, now: Instant) -> machine::Action {
        let before = machine.place();
        if !matches!(said, Said::Server(_)) && before.1 == Phase::Main {
            self.door.said = self.door.said.or(self.door.vote);
        }
        let action = match said {
            Said::Map(map) => {
                if machine.place().0 == State::Idle {
                    self.reference.purge(now);
                }
                self.reference.local(map, now);
                self.heard();
                machine.step(now, Event::LocalMap(map))
            }
            Said::Order(order, points, lifetime) => {
                self.reference.order(PERSON, points, order, lifetime, now);
                self.heard();
                let points = Points::of(points);
                machine.step(now, Event::Order { name: PERSON, points, order, lifetime })
            }
            Said::Approve => {
                self.door.approved = true;
                machine.step(now, Event::Approved)
            }
            Said::Server(server) => {
                self.server = server;
                return machine::Action::Wait;
            }
        };
        self.observe(before, machine, &action, now);
        action
    }

    /// The server offers the deployment: what it says about holding it back.
    pub fn offered(&mut self, now: Instant) -> OfferedMap {
        // What expired while there was nothing to do is no word about this deployment.
        self.reference.purge(now);
        let map = match self.server {
            Server::Silent | Server::Aborted => {
                self.reference.gone(parse_id(DEPLOYMENT).unwrap_or_default());
                OfferedMap::Absent
            }
            Server::Map(map) => {
                self.reference.server(map, now);
                OfferedMap::Map(map)
            }
            Server::Garbage => {
                self.door.failed = true;
                OfferedMap::Unusable
            }
        };
        self.heard();
        self.passed = 0;
        map
    }

    /// The server is asked for its map anew.
    ///
    /// # Errors
    /// It sends none.
    pub fn refreshed(&mut self, now: Instant) -> Result<Option<Map>, Outcome> {
        let answer = match self.server {
            Server::Silent => Err(Outcome::Failure),
            Server::Map(map) => {
                self.reference.server(map, now);
                Ok(Some(map))
            }
            Server::Garbage => {
                self.door.failed = true;
                Ok(None)
            }
            Server::Aborted => Err(Outcome::Aborted),
        };
        self.heard();
        answer
    }

    /// The maps have changed, if only until they are asked.
    fn heard(&mut self) {
        self.door.vote = None;
        self.changed |= !self.reference.is_saved_as(&self.stored);
    }

    /// Some time passed, at a door or elsewhere.
    pub const fn wait(&mut self, at_door: bool) {
        self.door.vote = None;
        self.door.waits = self.door.waits.saturating_add(at_door as u8);
    }

    /// An operation ended like this.
    pub const fn ended(&mut self, op: Op, place: Place, outcome: Outcome) {
        if matches!(op, Op::AskPolicy(_)) {
            self.door.policy = Some(outcome);
        }
        // Maps that cannot be saved count all the same, and the report of a pause need not get through.
        let counts = match outcome {
            Outcome::Aborted => true,
            Outcome::Failure | Outcome::Refused => {
                !matches!(op, Op::SaveMaps | Op::Request(ApiCall::Status { .. }))
            }
            Outcome::Success | Outcome::Nothing | Outcome::Automatic | Outcome::Later(_) => false,
        };
        self.door.failed |= counts && state::point(place.0).is_some();
    }

    /// The record of the maps was written, over what it was before.
    pub fn written(&mut self, machine: &Machine, before: Option<&[u8]>, record: Option<&[u8]>) {
        if before == record && !self.changed {
            self.complain(|| "the record of the maps is written again though nothing has changed".into());
        }
        self.changed = false;
        // The server's word about a deployment that is not on record is not either.
        let whole = machine.maps_to_save().is_none_or(|maps| maps.is_whole());
        let noticed = self.reference.as_noticed_by(machine.maps());
        self.stored = if whole { noticed } else { noticed.without_server() };
        let loaded = record.map_or(Ok(Pool::new()), |record| {
            Pool::load(record, Instant::ZERO, Config::default().update_control_map_boot_expiration)
        });
        let plain = |pool: &Pool| -> Vec<(Map, bool)> {
            pool.maps().map(|(map, expired, _)| (*map, expired)).collect()
        };
        let expected: Vec<_> = self.stored.plain();
        if !loaded.is_ok_and(|loaded| plain(&loaded) == expected)
            || (whole && expected != plain(machine.maps()))
        {
            self.complain(|| "the record of the maps is not what the maps are".into());
        }
    }

    /// What a process that starts reads from this record of the maps.
    #[must_use]
    pub fn maps(record: Option<&[u8]>) -> Option<Pool> {
        let boot = Config::default().update_control_map_boot_expiration;
        record.map_or(Some(Pool::new()), |record| Pool::load(record, Instant::ZERO, boot).ok())
    }

    /// The machine has just started, from this record of the maps.
    pub fn started(&mut self, machine: &Machine, record: Option<&[u8]>, in_progress: bool) {
        self.door = Door::default();
        let loads = Self::maps(record).is_some();
        // What cannot be read may have held back an update that is in progress, and no other.
        self.readable = loads || !in_progress;
        self.changed = !loads;
        self.reference = if loads { self.stored.restarted() } else { Reference::default() };
        if !self.reference.is(machine.maps(), Instant::ZERO) {
            self.complain(|| "the maps after the restart are not those on record".into());
        }
    }

    /// The deployment is over.
    ///
    /// # Errors
    /// The record of the maps cannot be read: it would fail the next one too. One that was damaged since the last
    /// deployment is left to the next.
    pub fn at_end(&self, record: Option<&[u8]>) -> Result<(), String> {
        let boot = Config::default().update_control_map_boot_expiration;
        match record.map(|record| Pool::load(record, Instant::ZERO, boot)) {
            Some(Err(_)) if self.changed => Ok(()),
            Some(Err(error)) => Err(format!("after the deployment: {error}")),
            Some(Ok(_)) | None => Ok(()),
        }
    }

    /// Whether the update waits at a door, in the sense of the table of restarts: it was reported.
    #[must_use]
    pub fn paused(machine: &Machine, op: Option<Op>) -> Option<Point> {
        let reported = match op {
            None => true,
            Some(op) => matches!(op, Op::Request(ApiCall::Status { .. })),
        };
        machine.point().filter(|_| reported && machine.place().1 == Phase::Leave)
    }

    /// Where a restart goes on with an update that waited (CONTROL-53, CONTROL-54).
    ///
    /// # Errors
    /// It does not go on where the table says.
    pub fn restarted(point: Point, machine: &Machine) -> Result<(), String> {
        let (state, verdict) = (machine.place().0, machine.verdict());
        let good = match point {
            Point::Install => state == State::Cleanup && verdict == Verdict::RolledBack,
            Point::Reboot => state == State::VerifyReboot && verdict == Verdict::Good,
            Point::Commit => state == State::CheckRollback && verdict == Verdict::Failed,
        };
        if good || state == State::StateLoop {
            return Ok(());
        }
        Err(format!("it waited before {}, and the restart goes to {state:?}, {verdict:?}", point.name()))
    }

    /// Whether somebody holds the update up who has to be waited for; how often time passed at this door.
    #[must_use]
    pub fn held_by(&self, point: Point) -> (Option<Said>, u8) {
        let released = if self.reference.holds_for_ever(point) {
            Some(Said::Order(Order::Lift, &Point::ALL, Lifetime::Unlimited))
        } else if let Server::Map(map) = self.server
            && map.rules.at(point).action == Vote::Pause
        {
            Some(Said::Server(Server::Map(from_server(point, Vote::ForceContinue, None))))
        } else {
            None
        };
        (released, self.door.waits)
    }

    /// After a step of the machine's from `before`: is what it does allowed?
    pub fn observe(&mut self, before: Place, machine: &Machine, action: &machine::Action, now: Instant) {
        let (state, phase) = machine.place();
        let op = match action {
            machine::Action::Start(_, op) => Some(*op),
            machine::Action::Kill
            | machine::Action::SaveMaps
            | machine::Action::Wait
            | machine::Action::Exit(_) => None,
        };
        if (state, phase) == (State::ClearData, Phase::Main) && op == Some(Op::ClearData) {
            self.reference.gone(parse_id(DEPLOYMENT).unwrap_or_default());
            self.reference.purge(now);
            self.readable = true;
        }
        if !self.reference.is(machine.maps(), now) {
            let mut asked = self.reference.clone();
            let vote = machine.point().map(|point| asked.query(point, now));
            if op != Some(Op::SaveMaps) || !asked.is(machine.maps(), now) {
                return self.complain(|| "the maps are not what their rules make of them".into());
            }
            self.reference = asked;
            self.door.vote = vote;
            self.door.said = None;
        }
        if let (Some(Op::SaveMaps), None, Some(point)) = (op, self.door.vote, machine.point()) {
            // An expiry was noticed: what was said then is being saved.
            let (vote, unasked) = self.reference.would_say(point, now);
            self.door.vote = Some(vote).filter(|_| !unasked);
        }
        self.changed |= !self.reference.as_noticed_by(machine.maps()).is_saved_as(&self.stored);
        let behind = [State::ReportInstalling, State::ReportRebooting, State::ReportCommit];
        let passed = Point::ALL.into_iter().zip(behind).find(|(_, behind)| *behind == state);
        let passed = passed.map(|(point, _)| point);
        if let Some(point) = passed.filter(|_| before.0 != state) {
            self.passes(point, now);
        }
        // Before the install there is nothing to take back.
        let at_first = before.0 == State::InstallDoor || before == (State::Download, Phase::Leave);
        if state == State::CheckRollback && at_first {
            return self.complain(|| "what was not installed is rolled back".into());
        }
        if state == State::Cleanup && at_first {
            self.fails(Point::Install, now);
        } else if state == State::CheckRollback
            && let Some(point) = state::point(before.0)
        {
            self.fails(point, now);
        }
        if let Some(Op::Request(ApiCall::Status { status, .. })) = op
            && let Some(point) = machine.point()
        {
            if status != point.pause_status() {
                return self.complain(|| format!("{} is reported before {}", status.name(), point.name()));
            }
            self.reports(point, now);
        }
        if phase != Phase::Main {
            self.door.said = None;
        }
    }

    /// What the maps say, and whether they must be asked first. A word that was being saved stands, where it is the
    /// one that is wanted.
    fn vote(&self, point: Point, now: Instant, wanted: &[Vote]) -> (Vote, bool) {
        if let Some(said) = self.door.said.filter(|said| wanted.contains(said)) {
            return (said, false);
        }
        self.door.vote.map_or_else(|| self.reference.would_say(point, now), |vote| (vote, false))
    }

    fn passes(&mut self, point: Point, now: Instant) {
        let (vote, unasked) = self.vote(point, now, &[Vote::Continue, Vote::ForceContinue]);
        let maps = vote == Vote::ForceContinue
            || (vote == Vote::Continue && (!self.policies || self.door.policy == Some(Outcome::Success)));
        let allowed = self.door.approved || (self.readable && maps && !unasked);
        if !allowed {
            let (door, readable) = (self.door.clone(), self.readable);
            self.complain(|| {
                format!(
                    "{} is passed: the maps say {vote:?} (readable: {readable}, asked: {}), {door:?}",
                    point.name(),
                    !unasked
                )
            });
        }
        self.passed = point as usize + 1;
        self.door = Door::default();
    }

    fn fails(&mut self, point: Point, now: Instant) {
        let (vote, unasked) = self.vote(point, now, &[Vote::Fail]);
        if self.readable && !self.door.failed && (vote != Vote::Fail || unasked) {
            let door = self.door.clone();
            self.complain(|| format!("fails before {} though the maps say {vote:?}, {door:?}", point.name()));
        }
        self.passed = Point::ALL.len();
        self.door = Door::default();
    }

    fn reports(&mut self, point: Point, now: Instant) {
        let again = self.door.reported.map(|before| before + Config::default().update_poll_interval);
        if again.is_some_and(|again| now < again) {
            self.complain(|| format!("the pause before {} is reported again too soon", point.name()));
        }
        let (vote, _) = self.vote(point, now, &[Vote::Pause]);
        let policy = matches!(self.door.policy, Some(Outcome::Later(_)));
        if vote != Vote::Pause && !policy {
            self.complain(|| format!("a pause before {} is reported, the maps say {vote:?}", point.name()));
        }
        self.door.reported = Some(now);
    }

    /// The update waits at a door, and nothing is under way.
    ///
    /// # Errors
    /// The server was not told, or it waits longer than anything explains.
    pub fn waits(&self, machine: &Machine, point: Point) -> Result<(), String> {
        if machine.place().1 == Phase::Leave && self.door.reported.is_none() {
            return Err(format!("the update waits before {} and the server was not told", point.name()));
        }
        if self.door.waits > WAITS {
            return Err(format!("nobody holds the update up, and it waits for ever before {}", point.name()));
        }
        Ok(())
    }

    fn complain(&mut self, what: impl FnOnce() -> String) {
        self.wrong.get_or_insert_with(what);
    }
}
