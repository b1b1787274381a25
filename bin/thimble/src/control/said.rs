//! What an order comes to, in words: the same from the daemon and from the record.

use thimble_core::control::{Holder, Map, Pool};
use thimble_core::deployment::Point;
use thimble_core::time::Instant;

use crate::control_request::ControlRequest;
use crate::people::{list, time};
use crate::status::seconds_until;

/// Updates wait from now on.
pub(super) fn paused(request: &ControlRequest, points: &[Point]) -> String {
    let end = match request.time {
        Some(limit) => format!("for {}", time(limit.as_secs())),
        None => "until 'control continue'".into(),
    };
    format!("updates wait before {}, {end}", names(points))
}

/// An update that is not there yet fails.
pub(super) fn fails_next(points: &[Point]) -> String {
    format!("the next update that comes to {} fails there", names(points))
}

/// Behind an order that counts once: how long it counts, if it ends by itself. Perhaps an earlier order gave it that time.
pub(super) fn counts_for(maps: &Pool, name: Holder, now: Instant) -> String {
    let is_named = |map: &Map| (map.id, map.priority) == (name.id, name.priority);
    let ends = maps.maps().find(|(map, ..)| is_named(map)).and_then(|(_, _, ends)| ends);
    ends.map_or_else(String::new, |at| format!("; the order counts for {}", time(seconds_until(at, now))))
}

/// One that is not there yet passes.
pub(super) fn passes_next(request: &ControlRequest, points: &[Point]) -> String {
    format!(
        "the next update passes {}, unless a map of priority {} or higher objects",
        names(points),
        request.name.priority
    )
}

/// Nothing waits, and nothing is held up any more.
pub(super) const LIFTED: &str = "nothing is held up by this name any more; no update waits";

fn names(points: &[Point]) -> String {
    list(points.iter().map(|point| point.word()))
}
