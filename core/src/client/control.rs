//! What holds an update back at a door, and people who let it pass.

use super::Client;
use super::messages::{UpdateText, WhyFailed, WhyHeld, say};
use super::reason::{Noted, note};
use crate::control::Full;
use crate::deployment::Point;
use crate::flow::Event;
use crate::hal::{Clock, Hal, Level, Platform, Policy};
use crate::limits;
use crate::machine::{DoorNote, Held};
use crate::text::floor_char_boundary;

impl<P: Platform> Client<'_, P> {
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
                say(log, Level::Info, &UpdateText::Waits { point: point.name(), why });
            }
            DoorNote::Approved(point) => {
                say(&mut self.hal.log, Level::Info, &UpdateText::Passes { point: point.name() });
            }
            DoorNote::NoRoom => {
                self.fail(&UpdateText::MapsFull { error: Full });
            }
            DoorNote::Fails(point, held) => {
                let Hal { log, policy, .. } = &mut self.hal;
                let why = WhyFailed::of(held, policy.reason());
                let reason = UpdateText::Forbidden { point: point.name(), why };
                let Noted { .. } = note(&mut self.story, log, &reason);
            }
        }
    }
}

fn why_held(held: Held, policy: &str) -> WhyHeld<'_> {
    let policy = policy.get(..floor_char_boundary(policy, limits::REASON)).unwrap_or_default();
    WhyHeld::of(held, policy)
}
