//! Shows the progress of a download on standard error: on a terminal a bar that is redrawn, otherwise a line for every
//! tenth.

use std::io::{IsTerminal, stderr};

use thimble_core::client::DownloadProgress;
use thimble_hal_linux::log::Outlet;

const BAR: usize = 40;

/// Shows the progress of one download. Says nothing while the length is unknown, or when there is nothing new.
#[derive(Debug)]
pub(crate) struct Meter {
    is_terminal: bool,
    /// The last line was shown.
    ended: bool,
    shown: Option<u8>,
    outlet: Outlet,
}

impl Meter {
    pub(crate) fn new() -> Self {
        Self::on(stderr().is_terminal())
    }

    fn on(is_terminal: bool) -> Self {
        Self { is_terminal, ended: false, shown: None, outlet: Outlet::stderr() }
    }

    /// Shows `progress` if it is news. Errors of standard error have nowhere to go.
    pub(crate) fn update(&mut self, progress: DownloadProgress) {
        if self.ended {
            return;
        }
        if let Some(text) = self.text(progress) {
            let _ = self.outlet.write(text.as_bytes());
        }
    }

    /// The download is over: its last line is shown, however short it was. To be called as often as anybody likes.
    pub(crate) fn end(&mut self, progress: DownloadProgress) {
        self.update(progress);
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        if self.is_terminal && self.shown.take().is_some_and(|shown| shown < 100) {
            let _ = self.outlet.write(b"\n");
        }
        self.shown = None;
    }

    fn text(&mut self, DownloadProgress { received, total }: DownloadProgress) -> Option<String> {
        let total = total.filter(|&total| total > 0)?;
        let percent = u8::try_from(u128::from(received.min(total)) * 100 / u128::from(total)).unwrap_or(100);
        let step = if self.is_terminal { 1 } else { 10 };
        let level = percent / step * step;
        if level == 0 || self.shown.is_some_and(|shown| level <= shown) {
            return None;
        }
        self.shown = Some(level);
        if !self.is_terminal {
            return Some(format!("{level}%\n"));
        }
        let filled = BAR * usize::from(level) / 100;
        // Back at the front of the line, so that a log line, always longer, takes the place of the bar.
        let end = if level == 100 { "\n" } else { "\r" };
        Some(format!("[{}{}] {level:3}%{end}", "#".repeat(filled), " ".repeat(BAR - filled)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(is_terminal: bool, total: Option<u64>) -> Vec<String> {
        let mut meter = Meter::on(is_terminal);
        (0..=2000).filter_map(|received| meter.text(DownloadProgress { received, total })).collect()
    }

    #[test]
    fn a_log_gets_a_line_every_tenth() {
        assert_eq!(texts(false, Some(2000)).concat(), "10%\n20%\n30%\n40%\n50%\n60%\n70%\n80%\n90%\n100%\n");
    }

    #[test]
    fn a_terminal_gets_every_percent_on_one_line() {
        let texts = texts(true, Some(2000));
        assert_eq!(texts.len(), 100);
        assert!(texts.iter().all(|text| text.starts_with('[') && text.trim().len() == BAR + 7), "{texts:?}");
        assert_eq!(texts.concat().matches('\n').count(), 1);
    }

    #[test]
    fn without_a_length_nothing_is_said_and_no_length_is_trusted() {
        assert!(texts(true, None).is_empty() && texts(false, Some(0)).is_empty());
        assert_eq!(texts(false, Some(1)).concat(), "100%\n");
        let mut meter = Meter::on(false);
        assert_eq!(
            meter.text(DownloadProgress { received: u64::MAX, total: Some(u64::MAX) }).as_deref(),
            Some("100%\n")
        );
    }
}
