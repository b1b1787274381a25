//! Who may hold an update back, and let it go on: programs by control maps, people by orders, policies by themselves.

use core::fmt;

use super::Client;
use super::operation::Work;
use super::reason::{Noted, note};
use crate::checkpoint::Newer;
use crate::control::{Full, Holder, Id, Lifetime, Map, MapError, Order, OrderError, Points};
use crate::deployment::Point;
use crate::flow::Event;
use crate::hal::{Clock, Hal, Level, Log, Platform, Policy};
use crate::limits;
use crate::machine::{DoorNote, Held};
use crate::state::Outcome;
use crate::text::floor_char_boundary;

/// The name under which people at the device give their orders unless they choose another. Nobody else's words weigh
/// more.
pub const OPERATOR: Holder = Holder { id: 0x7468_696d_626c_4065_8000_6f70_6572_6174, priority: 10 };

/// Why an update control map is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapNotTaken {
    /// The maps on record are those of this newer version: a further one would be forgotten.
    NoUpdates(Newer),
    /// It is no map.
    Map(MapError),
    /// It is `null`, which stands for no map.
    Null,
    /// There is no room for it.
    Full(Full),
    /// It counts in this process, but could not be stored: a restart forgets it. The log says why.
    NotStored,
}

impl fmt::Display for MapNotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoUpdates(newer) => write!(f, "no updates: {newer}"),
            Self::Map(error) => error.fmt(f),
            Self::Null => f.write_str("null is no update control map"),
            Self::Full(full) => full.fmt(f),
            Self::NotStored => f.write_str(NOT_STORED),
        }
    }
}

impl core::error::Error for MapNotTaken {}

/// Why an order is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderNotTaken {
    /// As [`MapNotTaken::NoUpdates`].
    NoUpdates(Newer),
    /// As the maps say.
    Order(OrderError),
    /// As [`MapNotTaken::NotStored`].
    NotStored,
}

impl fmt::Display for OrderNotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoUpdates(newer) => write!(f, "no updates: {newer}"),
            Self::Order(error) => error.fmt(f),
            Self::NotStored => f.write_str(NOT_STORED),
        }
    }
}

impl core::error::Error for OrderNotTaken {}

const NOT_STORED: &str =
    "it counts until the client is started again, but could not be stored: see the log, then say it again";

/// What holds an update back, for people: one line of at most [`limits::REASON`] bytes.
#[derive(Clone, Copy, Debug)]
pub struct WhyHeld<'a> {
    held: Held,
    /// What the policy says.
    policy: &'a str,
}

impl fmt::Display for WhyHeld<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.held {
            Held::Map(holder) => write!(f, "{} said pause", By(holder)),
            Held::Policy => f.write_str(self.policy),
            Held::Server => f.write_str(NO_ANSWER),
        }
    }
}

impl<P: Platform> Client<'_, P> {
    /// A program on the device sets an update control map, as JSON. Returns after how many seconds it should be
    /// renewed; the map is durable then, also after [`Self::terminate`], when nothing follows from it in this process.
    ///
    /// # Errors
    /// [`MapNotTaken`]; nothing was changed, but for [`MapNotTaken::NotStored`]: the map then counts until the process
    /// ends. So it is while the store fails, and while the record of maps is damaged and an update is in progress.
    pub fn set_control_map(&mut self, json: &[u8]) -> Result<u64, MapNotTaken> {
        if let Some(newer) = self.no_updates() {
            return Err(MapNotTaken::NoUpdates(newer));
        }
        let now = self.hal.clock.now();
        let map = Map::parse(json).map_err(MapNotTaken::Map)?.ok_or(MapNotTaken::Null)?;
        let renew = self.machine().renewal(now, map).map_err(MapNotTaken::Full)?;
        self.tell(now, Event::LocalMap(map));
        if self.maps_are_stored() { Ok(renew.as_secs()) } else { Err(MapNotTaken::NotStored) }
    }

    /// A person at the device says what updates do at `points`. The order is durable on return, as a map is.
    ///
    /// # Errors
    /// [`OrderNotTaken`]; as with [`Self::set_control_map`].
    pub fn order(
        &mut self,
        name: Holder,
        points: &[Point],
        order: Order,
        lifetime: Lifetime,
    ) -> Result<(), OrderNotTaken> {
        if let Some(newer) = self.no_updates() {
            return Err(OrderNotTaken::NoUpdates(newer));
        }
        let now = self.hal.clock.now();
        let points = Points::of(points);
        self.machine().takes_order(now, name, points, order, lifetime).map_err(OrderNotTaken::Order)?;
        self.tell(now, Event::Order { name, points, order, lifetime });
        if self.maps_are_stored() { Ok(()) } else { Err(OrderNotTaken::NotStored) }
    }

    /// What saves them is done as it begins, and told later.
    fn maps_are_stored(&self) -> bool {
        self.machine().maps_are_stored(self.work == Work::Ended(Outcome::Success))
    }

    /// A person at the device lets the update pass the point it stands before, whatever holds it there; nobody waits
    /// for a server or a policy that does not answer. `None`: no update stands before a point, or the client ends, and
    /// nothing is changed.
    pub fn approve(&mut self) -> Option<Point> {
        if self.flow.is_terminated() {
            return None;
        }
        let point = self.machine().point()?;
        let now = self.hal.clock.now();
        self.tell(now, Event::Approved);
        Some(point)
    }

    /// The point the update waits before, and what holds it there.
    #[must_use]
    pub fn waiting(&self) -> Option<(Point, WhyHeld<'_>)> {
        let (point, held) = self.machine().held()?;
        Some((point, why_held(held, self.hal.policy.reason())))
    }

    /// Logs what happened at a door.
    pub(super) fn note_door(&mut self, door_note: DoorNote) {
        match door_note {
            DoorNote::Waits(point, held) => {
                let Hal { log, policy, .. } = &mut self.hal;
                let why = why_held(held, policy.reason());
                log.log(Level::Info, format_args!("the update waits before {}: {why}", point.name()));
            }
            DoorNote::Approved(point) => {
                self.hal.log.log(Level::Info, format_args!("somebody let the update pass {}", point.name()));
            }
            DoorNote::NoRoom => {
                self.fail(format_args!("the server's update control map: {Full}"));
            }
            DoorNote::Fails(point, held) => {
                let Hal { log, policy, .. } = &mut self.hal;
                let why = WhyFailed { held, policy: policy.reason() };
                let Noted { .. } = note(
                    &mut self.story.reason,
                    log,
                    format_args!("not allowed to go on before {}: {why}", point.name()),
                );
            }
        }
    }
}

fn why_held(held: Held, policy: &str) -> WhyHeld<'_> {
    let (policy, _) = policy.split_at(floor_char_boundary(policy, limits::REASON));
    WhyHeld { held, policy }
}

/// Why an update fails at a door.
struct WhyFailed<'a> {
    held: Option<Held>,
    policy: &'a str,
}

impl fmt::Display for WhyFailed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.held {
            Some(Held::Map(holder)) => write!(f, "{} said fail", By(holder)),
            Some(Held::Policy) => f.write_str(self.policy),
            Some(Held::Server) => f.write_str(NO_ANSWER),
            None => f.write_str("the saved update control maps cannot be read"),
        }
    }
}

/// What holds an update back at a door whose server cannot be asked.
const NO_ANSWER: &str = "the server does not say whether its update control map still holds";

/// Whose word it was.
struct By(Holder);

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == OPERATOR {
            return f.write_str("an operator at the device");
        }
        write!(f, "update control map {} of priority {}", Id(self.0.id), self.0.priority)
    }
}
