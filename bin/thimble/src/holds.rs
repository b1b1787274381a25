//! What can hold updates up on this device, as JSON: update control maps, and the policies that are configured.

use std::fmt::Write as _;

use thimble_core::control::{Id, Pool, Rule};
use thimble_core::deployment::Point;
use thimble_core::json::Escape;
use thimble_core::time::Instant;

use crate::device::Device;
use crate::output::one_line;

/// The maps, as a list of objects.
pub(crate) fn maps(pool: &Pool, now: Instant) -> String {
    let mut out = String::from("[");
    for (index, (map, noticed, ends)) in pool.maps().enumerate() {
        let expired = noticed || ends.is_some_and(|end| end <= now);
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(out, "{comma}{{\"id\":\"{}\",\"priority\":{}", Id(map.id), map.priority);
        for point in Point::ALL {
            let Rule { action, on_map_expire, .. } = *map.rules.at(point);
            let word = if expired { on_map_expire } else { action };
            let _ = write!(out, ",\"{}\":\"{}\"", point.word(), word.name());
        }
        let _ = match ends.filter(|_| !expired) {
            None => write!(out, ",\"expired\":{expired},\"ends_in_seconds\":null}}"),
            Some(end) => write!(out, ",\"expired\":false,\"ends_in_seconds\":{}}}", end.since(now).as_secs()),
        };
    }
    out.push(']');
    out
}

/// The configured policies, as a list of texts: they do not change while the daemon runs.
pub(crate) fn policies(device: &Device) -> String {
    let policies = &device.conf.policies;
    let mut texts: Vec<String> = Vec::new();
    for window in &policies.windows {
        texts.push(format!("{}: only {window}, at the latest after {}", window.points, window.deadline));
    }
    for inhibitor in &policies.inhibitors {
        texts.push(format!("{}: {}, at most {}", inhibitor.points, inhibitor.sign, inhibitor.deadline));
    }
    let mut out = String::from("[");
    for (index, text) in texts.iter().enumerate() {
        out.push_str(if index == 0 { "\"" } else { ",\"" });
        let _ = Escape(&mut out).write_str(&one_line(text));
        out.push('"');
    }
    out.push(']');
    out
}
