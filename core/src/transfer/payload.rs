//! The second half of a transfer: the payload's files, their marks, and the module's own time.

use super::words::Stream;
use crate::digits::divide;
use crate::time::{Duration, Instant};

/// What the second half keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Payload {
    time: ModuleTime,
    /// How much of it there is in all.
    limit: Duration,
    mark_every: u64,
    /// The sink kept what an earlier process stored.
    pub(super) kept: bool,
    pub(super) file: Option<File>,
}

/// The module's own time: it stands still while the network is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum ModuleTime {
    /// It ends then.
    Runs(Instant),
    /// So much of it is left.
    Stands(Duration),
}

/// The file that began last and has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct File {
    pub(super) size: u64,
    /// How many of its bytes came.
    pub(super) came: u64,
    pub(super) plain: bool,
}

impl Payload {
    pub(super) const fn new(stream: Stream, kept: bool) -> Self {
        let Stream { mark_every, time } = stream;
        Self { time: ModuleTime::Stands(time), limit: time, mark_every, kept, file: None }
    }

    pub(super) const fn file_begins(&mut self, size: u64, plain: bool) {
        self.file = Some(File { size, came: 0, plain });
    }

    pub(super) const fn file_ends(&mut self) {
        self.file = None;
    }

    pub(super) const fn came(&mut self, bytes: u64) {
        if let Some(file) = &mut self.file {
            file.came = file.came.saturating_add(bytes);
        }
    }

    /// How many bytes of the file may come before its next mark, and whether the mark is due now. `None`: it has none.
    fn next_mark(&self) -> Option<(u64, bool)> {
        let file = self.file.filter(|file| file.plain)?;
        if self.mark_every == 0 {
            return None;
        }
        let (_, past) = divide(file.came, self.mark_every);
        Some((self.mark_every.saturating_sub(past), past == 0))
    }

    /// How much of so many bytes may be parsed at once: a mark is where a file has a multiple of so many bytes.
    pub(super) fn up_to_mark(&self, bytes: usize) -> usize {
        let left =
            self.next_mark().map_or(usize::MAX, |(left, _)| usize::try_from(left).unwrap_or(usize::MAX));
        bytes.min(left)
    }

    pub(super) fn mark_is_due(&self) -> bool {
        self.next_mark().is_some_and(|(_, due)| due)
    }

    /// The network is waited for, or not.
    pub(super) fn wait_for_network(&mut self, now: Instant, waits: bool) {
        self.time = match (self.time, waits) {
            (ModuleTime::Runs(end), true) => ModuleTime::Stands(end.since(now)),
            (ModuleTime::Stands(left), false) => ModuleTime::Runs(now + left),
            (time @ ModuleTime::Runs(_), false) | (time @ ModuleTime::Stands(_), true) => time,
        };
    }

    /// When the module's time ends, unless it stands still.
    pub(super) const fn time_ends(&self) -> Option<Instant> {
        match self.time {
            ModuleTime::Runs(end) => Some(end),
            ModuleTime::Stands(_) => None,
        }
    }

    pub(super) const fn time_limit(&self) -> Duration {
        self.limit
    }

    pub(super) fn rebase(&mut self, from: Instant, to: Instant) {
        if let ModuleTime::Runs(end) = &mut self.time {
            *end = to + end.since(from);
        }
    }
}
