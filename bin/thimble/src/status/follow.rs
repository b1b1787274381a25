//! `status --watch`: the answer again and again, until a signal ends it. On a terminal the page is drawn in its place; elsewhere
//! there is a line for each change.

use std::io::{self, ErrorKind, IsTerminal, stdout};

use thimble_core::hal::Clock;
use thimble_core::json::Value;
use thimble_core::time::Duration;
use thimble_hal_linux::clock::BootClock;
use thimble_hal_linux::log::Outlet;
use thimble_hal_linux::wait::PollSet;

use crate::output::{Failure, SUCCESS};
use crate::signals::Signals;

use super::page;

/// Between two questions.
const PAUSE: Duration = Duration::from_secs(1);

/// To the first line; the rest of a line, and of the screen, is cleared.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";
const CLEAR: &str = "\x1b[2J";

/// Members that change with every second, or with every byte.
const TICKING: [&str; 11] = [
    "pid",
    "waiting_until",
    "waiting_seconds",
    "received_bytes",
    "bytes_per_second",
    "seconds_left",
    "last_ended_seconds",
    "next_poll_seconds",
    "next_inventory_seconds",
    "last_contact_seconds",
    "percent",
];

/// Where the answers are shown.
pub(crate) struct Screen {
    signals: Signals,
    outlet: Outlet,
    how: How,
    /// What was shown last.
    shown: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// The page, drawn in its place.
    InPlace,
    /// A sentence for each change.
    Sentences,
    /// An answer for programs for each change.
    Json,
}

impl Screen {
    /// On standard output.
    ///
    /// # Errors
    /// Signals cannot be noticed.
    pub(crate) fn new(json: bool) -> Result<Self, Failure> {
        let how = match (json, stdout().is_terminal()) {
            (true, _) => How::Json,
            (false, true) => How::InPlace,
            (false, false) => How::Sentences,
        };
        let signals = Signals::new().map_err(Failure::new)?;
        Ok(Self { signals, outlet: Outlet::stdout(), how, shown: String::new() })
    }

    /// Shows the answers until a signal comes, or nobody reads any more.
    pub(crate) fn follow(mut self, mut ask: impl FnMut() -> String) -> Result<u8, Failure> {
        while self.signals.count() == 0 {
            match self.show(&ask()) {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(SUCCESS),
                // What a reader was too slow for comes with the next change, and with the next second.
                Err(error) if error.kind() == ErrorKind::TimedOut => self.shown.clear(),
                Err(error) => {
                    return Err(Failure::new(format_args!("cannot write to standard output: {error}")));
                }
                Ok(()) => {}
            }
            let now = BootClock.now();
            let mut set = PollSet::new();
            self.signals.wants(&mut set);
            set.wait(now, Some(now + PAUSE))
                .map_err(|error| Failure::new(format_args!("cannot wait: {error}")))?;
        }
        Ok(SUCCESS)
    }

    fn show(&mut self, answer: &str) -> io::Result<()> {
        let nonsense = || "the daemon's answer makes no sense\n".to_owned();
        let (news, text) = match self.how {
            How::InPlace => {
                let page = page::page(answer).unwrap_or_else(nonsense);
                let drawn = in_place(&page, self.shown.is_empty());
                (page, drawn)
            }
            How::Sentences => {
                let line = page::sentence(answer).map_or_else(nonsense, |sentence| format!("{sentence}\n"));
                (line.clone(), line)
            }
            How::Json => (without_times(answer), answer.to_owned()),
        };
        if news == self.shown {
            return Ok(());
        }
        self.shown = news;
        self.outlet.write(text.as_bytes())
    }
}

/// The page over the one before.
fn in_place(page: &str, is_first: bool) -> String {
    let mut out = String::from(if is_first { CLEAR } else { "" });
    out.push_str(HOME);
    for line in page.lines() {
        out.push_str(line);
        out.push_str(CLEAR_LINE);
        out.push('\n');
    }
    out.push_str(CLEAR_BELOW);
    out
}

/// An answer without the members that change with time alone.
pub(crate) fn without_times(answer: &str) -> String {
    let Some(members) = Value::parse(answer.trim_end().as_bytes()).ok().and_then(|value| value.members())
    else {
        return answer.to_owned();
    };
    let mut out = String::new();
    for (name, value) in members {
        if !TICKING.iter().any(|ticking| name.is(ticking)) {
            // The times of holds pass as well.
            let value = value.raw().split("\"ends_in_seconds\":");
            out.extend(value.map(|part| part.trim_start_matches(|c: char| c.is_ascii_digit())));
            out.push(',');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_with_time_is_no_change() {
        let answer = |seconds: u32, percent: u32, state: &str| {
            format!(
                "{{\"running\":true,\"state\":\"{state}\",\"percent\":{percent},\"next_poll_seconds\":{seconds},\
                 \"holds\":[{{\"id\":\"x\",\"ends_in_seconds\":{seconds}}},{{\"id\":\"y\",\"ends_in_seconds\":null}}]}}\n"
            )
        };
        let of = |seconds, percent, state| without_times(&answer(seconds, percent, state));
        assert_eq!(of(10, 1, "Idle"), of(9, 2, "Idle"));
        assert_ne!(of(10, 1, "Idle"), of(10, 1, "Sync"));
        assert!(of(10, 1, "Idle").contains("\"y\",null") || of(10, 1, "Idle").contains("null}"));
        assert_eq!(without_times("no answer"), "no answer");
    }

    #[test]
    fn a_page_is_drawn_over_the_one_before() {
        assert_eq!(in_place("a\nb\n", true), "\u{1b}[2J\u{1b}[Ha\u{1b}[K\nb\u{1b}[K\n\u{1b}[J");
        assert_eq!(in_place("a\n", false), "\u{1b}[Ha\u{1b}[K\n\u{1b}[J");
    }
}
