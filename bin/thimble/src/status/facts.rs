//! The facts of which every answer is made: JSON for programs, the page for people, properties on D-Bus.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::SystemTime;

use thimble_core::control::Pool;
use thimble_core::deployment::Point;
use thimble_core::time::Instant;
use thimble_hal_linux::log::rfc3339;
use thimble_hal_linux::policy::Local;

use crate::holds;
use crate::json::{member, number};

use super::last::Last;

/// How this device stands.
pub(crate) struct Facts<'a> {
    /// Mender's word for the state of the daemon; empty: none is running.
    pub(crate) state: &'static str,
    pub(crate) doing: Cow<'a, str>,
    pub(crate) by_hand: Option<&'a str>,
    /// Why the server is not asked for deployments.
    pub(crate) no_updates: Option<String>,
    /// The point an update waits before, and what holds it there.
    pub(crate) waiting: Option<(Point, String)>,
    pub(crate) wait_ends: Option<WaitEnd>,
    pub(crate) deployment: Option<&'a str>,
    /// The artifact of the deployment, or of the update by hand; not known any more after some restarts.
    pub(crate) artifact: Option<&'a str>,
    pub(crate) reason: Option<&'a str>,
    pub(crate) download: Option<Download>,
    pub(crate) last: Option<&'a Last>,
    pub(crate) next_poll: Option<Instant>,
    pub(crate) next_inventory: Option<Instant>,
    pub(crate) trouble: Option<&'a str>,
    /// The server that answered last, or that is asked first.
    pub(crate) server: Option<&'a str>,
    /// When it did.
    pub(crate) last_contact: Option<Instant>,
    pub(crate) maps: Option<&'a Pool>,
    /// The configured policies: a list in JSON.
    pub(crate) policies: &'a str,
}

/// When a wait ends by itself, as far as that can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WaitEnd {
    pub(crate) at: Instant,
    /// The same in local time, such as `Tue 02:00`; empty when the clock is not set.
    pub(crate) local: String,
    /// What happens then: a word for programs.
    pub(crate) then: &'static str,
}

impl WaitEnd {
    /// The update window opens.
    pub(crate) const OPENS: &'static str = "window opens";
    /// The update goes on, unless something else holds it up.
    pub(crate) const CONTINUES: &'static str = "continues";
    /// The update fails.
    pub(crate) const FAILS: &'static str = "fails";

    pub(crate) fn new(at: Instant, now: Instant, then: &'static str) -> Self {
        let local = Local::after(at.since(now)).map_or_else(String::new, |local| local.to_string());
        Self { at, local, then }
    }
}

/// How far a download is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Download {
    /// Bytes that have come.
    pub(crate) received: u64,
    /// The length of the artifact, where the server says it.
    pub(crate) total: Option<u64>,
    /// Bytes a second, as measured lately.
    pub(crate) speed: Option<u64>,
}

impl Download {
    /// Whole percents; `None`: nobody knows how much there is to come.
    pub(crate) fn percent(self) -> Option<u64> {
        let total = self.total.filter(|&total| total > 0)?;
        let percent = u128::from(self.received.min(total)) * 100 / u128::from(total);
        u64::try_from(percent).ok()
    }

    /// How long the rest takes at this speed.
    pub(crate) fn seconds_left(self) -> Option<u64> {
        let left = self.total?.saturating_sub(self.received);
        Some(left.div_ceil(self.speed.filter(|&speed| speed > 0)?))
    }
}

impl Facts<'_> {
    /// Adds them to an object of JSON that has a member already.
    pub(crate) fn members(&self, out: &mut String, now: Instant) {
        let seconds = |at: Option<Instant>| at.map(|at| seconds_until(at, now));
        member(out, "state", text(self.state));
        member(out, "doing", text(&self.doing));
        member(out, "by_hand", self.by_hand);
        member(out, "no_updates_because", self.no_updates.as_deref());
        let waiting = self.waiting.as_ref();
        member(out, "waiting_before", waiting.map(|(point, _)| point.word()));
        member(out, "waiting_because", waiting.map(|(_, why)| why.as_str()));
        let end = self.wait_ends.as_ref();
        member(out, "waiting_until", end.and_then(|end| text(&end.local)));
        number(out, "waiting_seconds", seconds(end.map(|end| end.at)));
        member(out, "waiting_then", end.map(|end| end.then));
        member(out, "deployment", self.deployment);
        member(out, "deployment_artifact", self.artifact);
        member(out, "reason", self.reason);
        let download = self.download;
        number(out, "received_bytes", download.map(|download| download.received));
        number(out, "total_bytes", download.and_then(|download| download.total));
        number(out, "percent", download.and_then(Download::percent));
        number(out, "bytes_per_second", download.and_then(|download| download.speed));
        number(out, "seconds_left", download.and_then(Download::seconds_left));
        let last = self.last;
        member(out, "last_deployment", last.and_then(|last| text(&last.deployment)));
        member(out, "last_artifact", last.and_then(|last| text(&last.artifact)));
        member(out, "last_outcome", last.map(Last::outcome));
        member(out, "last_reason", last.and_then(|last| text(&last.reason)));
        let ended = last.and_then(|last| last.ended);
        member(out, "last_ended", ended.map(rfc3339).as_deref());
        number(out, "last_ended_seconds", ended.and_then(seconds_since));
        number(out, "next_poll_seconds", seconds(self.next_poll));
        number(out, "next_inventory_seconds", seconds(self.next_inventory));
        member(out, "trouble", self.trouble);
        member(out, "server", self.server);
        number(out, "last_contact_seconds", self.last_contact.map(|at| now.since(at).as_secs()));
        let maps = self.maps.map_or_else(|| "null".to_owned(), |maps| holds::maps(maps, now));
        let _ = write!(out, ",\"holds\":{maps},\"policies\":{}", self.policies);
    }
}

fn text(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// Whole seconds from now; 0 when it is past.
pub(crate) fn seconds_until(at: Instant, now: Instant) -> u64 {
    at.since(now).as_millis().div_ceil(1000)
}

/// Seconds since a time of the wall clock; `None`: by that clock it is not past, so that it was set since.
fn seconds_since(time: SystemTime) -> Option<u64> {
    SystemTime::now().duration_since(time).ok().map(|since| since.as_secs())
}
