//! What came: the last requests, for standard output and for the page.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use thimble_hal_sim::listen::Entry;
use thimble_hal_sim::server::Endpoint;

use super::fault::name;

/// Requests that are kept.
pub(super) const KEPT: usize = 500;

/// Most bytes of a text of a request that are kept: what comes is of whoever sends it.
const TEXT: usize = 4096;

/// A request and its answer.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// Counted from 1.
    pub(super) number: u64,
    /// Since the server started.
    pub(super) at: Duration,
    pub(super) method: String,
    /// The endpoint, or the target where there is none.
    pub(super) what: String,
    /// The body of a request that says something, and the range of a download.
    pub(super) said: String,
    pub(super) status: u16,
    /// The fault that the answer met.
    pub(super) wire: String,
}

/// See the file's documentation.
pub(super) struct Board {
    started: Instant,
    last: Mutex<(u64, VecDeque<Seen>)>,
    changed: Condvar,
}

impl Board {
    pub(super) fn new() -> Self {
        Self { started: Instant::now(), last: Mutex::default(), changed: Condvar::new() }
    }

    fn last(&self) -> MutexGuard<'_, (u64, VecDeque<Seen>)> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, entry: &Entry) {
        let (number, last) = &mut *self.last();
        *number += 1;
        last.push_back(Seen::of(*number, self.started.elapsed(), entry));
        if last.len() > KEPT {
            last.pop_front();
        }
        self.changed.notify_all();
    }

    /// The requests behind this number that are still kept.
    pub(super) fn since(&self, number: u64) -> Vec<Seen> {
        let (_, last) = &*self.last();
        last.iter().filter(|seen| seen.number > number).cloned().collect()
    }

    /// The same; if there is none, waits for one, but not longer than so.
    pub(super) fn wait(&self, number: u64, limit: Duration) -> Vec<Seen> {
        let last = self.last();
        drop(self.changed.wait_timeout_while(last, limit, |(count, _)| *count <= number));
        self.since(number)
    }
}

impl Seen {
    fn of(number: u64, at: Duration, entry: &Entry) -> Self {
        let what = match entry.endpoint {
            None => cut(&entry.target),
            Some(endpoint) => name(endpoint).to_owned(),
        };
        let said = match entry.endpoint {
            Some(Endpoint::Status | Endpoint::Inventory | Endpoint::NextV2) => {
                cut(&String::from_utf8_lossy(entry.body.get(..TEXT).unwrap_or(&entry.body)))
            }
            Some(
                Endpoint::Auth | Endpoint::NextV1 | Endpoint::Log | Endpoint::ControlMap | Endpoint::Artifact,
            )
            | None => {
                let range = entry.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("range"));
                range.map_or_else(String::new, |(_, range)| cut(range))
            }
        };
        let wire = entry.wire.as_ref().map_or_else(String::new, ToString::to_string);
        Self { number, at, method: cut(&entry.method), what, said, status: entry.status, wire }
    }

    /// In one line, without control characters.
    pub(super) fn line(&self) -> String {
        let Self { method, what, said, status, wire, .. } = self;
        let said = if said.is_empty() { String::new() } else { format!(" {said}") };
        let wire = if wire.is_empty() { String::new() } else { format!(" ({wire})") };
        plain(&format!("{method} {what}{said} -> {status}{wire}"))
    }
}

/// What came from elsewhere, without control characters.
pub(super) fn plain(text: &str) -> String {
    text.escape_debug().to_string().replace("\\\"", "\"")
}

fn cut(text: &str) -> String {
    let end = (0..=TEXT.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    if end == text.len() { text.to_owned() } else { format!("{}...", &text[..end]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(target: &str, endpoint: Option<Endpoint>, body: &[u8]) -> Entry {
        let (method, target) = ("PUT".into(), target.into());
        let headers = vec![("Range".into(), "bytes=5-".into())];
        Entry { endpoint, method, target, headers, body: body.to_vec(), status: 204, wire: None }
    }

    #[test]
    fn a_request_is_one_line_whatever_is_in_it() {
        let board = Board::new();
        board.push(&entry("/x", Some(Endpoint::Status), b"{\"status\":\"a\nb\x1b[2J\"}"));
        board.push(&entry("/<script>\r\n\u{202e}", None, b"secret"));
        board.push(&entry("/artifacts/1", Some(Endpoint::Artifact), b""));
        let lines: Vec<String> = board.since(0).iter().map(Seen::line).collect();
        assert_eq!(
            lines,
            [
                "PUT status {\"status\":\"a\\nb\\u{1b}[2J\"} -> 204",
                "PUT /<script>\\r\\n\\u{202e} bytes=5- -> 204",
                "PUT artifact bytes=5- -> 204",
            ]
        );
    }

    #[test]
    fn the_last_requests_are_kept_and_no_more_of_each_than_is_useful() {
        let board = Board::new();
        for _ in 0..KEPT + 10 {
            board.push(&entry(&"ä".repeat(TEXT), Some(Endpoint::Inventory), &[0xff; 100_000]));
        }
        let kept = board.since(0);
        assert_eq!((kept.len(), kept[0].number, board.since(KEPT as u64 + 9).len()), (KEPT, 11, 1));
        assert!(kept[0].said.len() <= TEXT + 3, "{}", kept[0].said.len());
        // One that came long ago is not waited for.
        assert_eq!(board.wait(5, Duration::MAX).len(), KEPT);
    }
}
