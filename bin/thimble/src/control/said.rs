//! What an order comes to, in words: the same from the daemon and from the record.

use thimble_core::deployment::Point;

use crate::control_request::ControlRequest;
use crate::people::{list, time};

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
