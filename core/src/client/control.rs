//! Who may hold an update back, and let it go on: programs by control maps, people by orders, policies by themselves.

use core::fmt;

use super::Client;
use crate::control::{Full, Holder, Id, Lifetime, Map, Order, Points};
use crate::deployment::Point;
use crate::hal::{Clock, Level, Log, Platform, Policy};
use crate::limits;
use crate::machine::{DoorNote, Event, Held};
use crate::text::Text;

/// The name under which people at the device give their orders unless they choose another. Nobody else's words weigh
/// more.
pub const OPERATOR: Holder = Holder { id: 0x7468_696d_626c_4065_8000_6f70_6572_6174, priority: 10 };

type Reason = Text<{ limits::REASON }>;

impl<P: Platform> Client<'_, P> {
    /// A program on the device sets an update control map, as JSON. Returns after how many seconds it should be
    /// renewed; the map is durable then, also after [`Self::terminate`], when nothing follows from it in this process.
    ///
    /// # Errors
    /// Text for people; nothing was changed.
    pub fn set_control_map(&mut self, json: &[u8]) -> Result<u64, Text<{ limits::REASON }>> {
        self.keeps_maps()?;
        let now = self.hal.clock.now();
        let map = Map::parse(json).map_err(|error| Text::cut(format_args!("{error}")))?;
        let map = map.ok_or_else(|| Text::cut(format_args!("null is no update control map")))?;
        let renew = self.machine.renewal(now, map).map_err(|error| Text::cut(format_args!("{error}")))?;
        self.tell(now, Event::LocalMap(map));
        Ok(renew.as_secs())
    }

    /// A person at the device says what updates do at `points`. The order is durable on return, or the log says why it
    /// is not; it counts while this process lives.
    ///
    /// # Errors
    /// Text for people; nothing was changed.
    pub fn order(
        &mut self,
        name: Holder,
        points: &[Point],
        order: Order,
        lifetime: Lifetime,
    ) -> Result<(), Reason> {
        self.keeps_maps()?;
        let now = self.hal.clock.now();
        let points = Points::of(points);
        self.machine
            .takes_order(now, name, points, order, lifetime)
            .map_err(|error| Text::cut(format_args!("{error}")))?;
        self.tell(now, Event::Order { name, points, order, lifetime });
        Ok(())
    }

    /// A person at the device lets the update pass the point it stands before, whatever holds it there; nobody waits
    /// for a server or a policy that does not answer. `None`: no update stands before a point, or the client ends, and
    /// nothing is changed.
    pub fn approve(&mut self) -> Option<Point> {
        if self.terminated {
            return None;
        }
        let point = self.machine.point()?;
        let now = self.hal.clock.now();
        self.tell(now, Event::Approved);
        Some(point)
    }

    /// The point the update waits before, and what holds it there, for people.
    #[must_use]
    pub fn waiting(&self) -> Option<(Point, Reason)> {
        let (point, held) = self.machine.held()?;
        Some((point, self.why_held(held)))
    }

    /// Logs what the last step did at a door.
    pub(super) fn note_doors(&mut self) {
        let Some(note) = self.machine.door_note() else { return };
        match note {
            DoorNote::Waits(point, held) => {
                let why = self.why_held(held);
                self.hal
                    .log
                    .log(Level::Info, format_args!("the update waits before {}: {why}", point.name()));
            }
            DoorNote::Approved(point) => {
                self.hal.log.log(Level::Info, format_args!("somebody let the update pass {}", point.name()));
            }
            DoorNote::NoRoom => {
                self.fail(format_args!("the server's update control map: {Full}"));
            }
            DoorNote::Fails(point, held) => {
                let why: Reason = match held {
                    Some(Held::Map(holder)) => Text::cut(format_args!("{} said fail", By(holder))),
                    Some(Held::Server) => Text::cut(format_args!("{NO_ANSWER}")),
                    Some(Held::Policy) => Text::cut(format_args!("{}", self.hal.policy.reason())),
                    None => Text::cut(format_args!("the saved update control maps cannot be read")),
                };
                self.fail(format_args!("not allowed to go on before {}: {why}", point.name()));
            }
        }
    }

    /// The maps on record are those of the newer version: a further one would be forgotten.
    fn keeps_maps(&self) -> Result<(), Reason> {
        self.no_updates().map_or(Ok(()), |newer| Err(Text::cut(format_args!("no updates: {newer}"))))
    }

    fn why_held(&self, held: Held) -> Reason {
        match held {
            Held::Map(holder) => Text::cut(format_args!("{} said pause", By(holder))),
            Held::Policy => Text::cut(format_args!("{}", self.hal.policy.reason())),
            Held::Server => Text::cut(format_args!("{NO_ANSWER}")),
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
