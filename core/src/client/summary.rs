//! What an update went through, in one line: for the log, and for the server as `substate`.

use core::fmt;

use crate::deployment::Verdict;
use crate::message::messages;
use crate::script::Transition;
use crate::time::{Duration, Instant};

/// What is counted while an update runs. It begins anew with the process: what a reboot took with it is left out.
#[derive(Debug, Default)]
pub(super) struct Summary {
    received: u64,
    breaks: u32,
    /// The transition whose scripts asked for time longest, and how long they had.
    waited: Option<(Transition, Duration)>,
    /// The scripts that asked for time and have not been run again yet.
    waiting: Option<(Transition, Instant)>,
}

impl Summary {
    pub(super) fn received(&mut self, bytes: usize) {
        self.received = self.received.saturating_add(bytes as u64);
    }

    pub(super) fn link_broke(&mut self) {
        self.breaks = self.breaks.saturating_add(1);
    }

    pub(super) fn script_waits(&mut self, transition: Transition, now: Instant) {
        self.waiting = Some((transition, now));
    }

    /// A script starts; the wait before it, if there was one, is over.
    pub(super) fn script_starts(&mut self, now: Instant) {
        let Some((transition, since)) = self.waiting.take() else { return };
        let before =
            self.waited.filter(|(other, _)| *other == transition).map_or(0, |(_, time)| time.as_millis());
        let time = Duration::from_millis(now.since(since).as_millis().saturating_add(before));
        if self.waited.is_none_or(|(_, longest)| time > longest) {
            self.waited = Some((transition, time));
        }
    }

    /// The line. `reason` is why the update failed first; empty if it did not.
    pub(super) const fn line<'a>(&'a self, verdict: Verdict, reason: &'a str) -> SummaryLine<'a> {
        SummaryLine { summary: self, verdict, reason }
    }
}

/// What an update went through, for people: one line of at most some 700 bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct SummaryLine<'a> {
    summary: &'a Summary,
    verdict: Verdict,
    reason: &'a str,
}

impl fmt::Display for SummaryLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ending = match self.verdict {
            Verdict::Good => Piece::Installed,
            Verdict::Failed => Piece::Failed,
            Verdict::RolledBack => Piece::RolledBack,
            Verdict::RollbackFailed => Piece::RollbackFailed,
        };
        ending.fmt(f)?;
        if !self.reason.is_empty() {
            f.write_str(": ")?;
            f.write_str(self.reason)?;
        }
        let Summary { received, breaks, waited, waiting: _ } = *self.summary;
        if received > 0 {
            Piece::Downloaded { received }.fmt(f)?;
        }
        match breaks {
            0 => {}
            1 => Piece::BrokeOnce.fmt(f)?,
            times => Piece::Broke { times }.fmt(f)?,
        }
        match waited {
            Some((transition, time)) => Piece::AskedFor { transition, time }.fmt(f),
            None => Ok(()),
        }
    }
}

messages! {
    /// Pieces of the line, each a code of its own.
    enum Piece, PIECES = 'S' {
        1 Installed => "installed",
        2 Failed => "failed and not rolled back",
        3 RolledBack => "failed, the device is what it was",
        4 RollbackFailed => "failed, and so did the way back",
        5 Downloaded { received: u64 } => "; downloaded {received} bytes",
        6 BrokeOnce => ", the link broke once",
        7 Broke { times: u32 } => ", the link broke {times} times",
        8 AskedFor { transition: Transition, time: Duration } => "; {transition} asked for {time}",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    use crate::script::{ScriptAction, ScriptState};

    const AT: fn(u64) -> Instant = |seconds| Instant::from_millis(seconds.saturating_mul(1000));

    #[test]
    fn a_smooth_update_is_short() {
        let mut summary = Summary::default();
        summary.received(5120);
        assert_eq!(summary.line(Verdict::Good, "").to_string(), "installed; downloaded 5120 bytes");
        assert_eq!(Summary::default().line(Verdict::Good, "").to_string(), "installed");
    }

    #[test]
    fn a_rough_one_says_what_happened() {
        let enter = Transition { state: ScriptState::ArtifactInstall, action: ScriptAction::Enter };
        let mut summary = Summary::default();
        summary.received(10);
        summary.link_broke();
        summary.link_broke();
        for start in [10, 100] {
            summary.script_waits(enter, AT(start));
            summary.script_starts(AT(start + 60));
        }
        summary.script_starts(AT(999));
        assert_eq!(
            summary
                .line(Verdict::RolledBack, "the update module ended ArtifactInstall with exit status 1")
                .to_string(),
            "failed, the device is what it was: the update module ended ArtifactInstall with exit status 1; downloaded \
             10 bytes, the link broke 2 times; ArtifactInstall_Enter asked for 120 s"
        );
    }
}
