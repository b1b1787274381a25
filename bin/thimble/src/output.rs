//! What goes to standard output and standard error, and the exit statuses.

use std::fmt::Display;
use std::io::{ErrorKind, Write, stdout};
use std::process::ExitCode;

use thimble_hal_linux::log::Outlet;

/// Everything was done.
pub(crate) const SUCCESS: u8 = 0;
/// Something failed; the last line on standard error says what.
pub(crate) const FAILURE: u8 = 1;
/// There is no update to go on with.
pub(crate) const NO_UPDATE: u8 = 2;
/// Everything was done, and a reboot makes it take effect.
pub(crate) const REBOOT: u8 = 4;

/// Why a verb could not do what was asked: an exit status and one line for people.
#[derive(Debug)]
pub(crate) struct Failure {
    status: u8,
    reason: String,
}

impl Failure {
    pub(crate) fn new(reason: impl Display) -> Self {
        Self::with_status(FAILURE, reason)
    }

    pub(crate) fn with_status(status: u8, reason: impl Display) -> Self {
        Self { status, reason: one_line(&reason.to_string()) }
    }

    /// Prints the reason, as the last line on standard error.
    pub(crate) fn report(&self, program: &str) -> ExitCode {
        let _ = Outlet::stderr().write(format!("{program}: {}\n", self.reason).as_bytes());
        ExitCode::from(self.status)
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reason)
    }
}

/// Prints `text` and ends with success; a reader that had enough is no failure.
pub(crate) fn print(text: &str) -> Result<u8, Failure> {
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(format_args!("cannot write to standard output: {error}")))
        }
        Ok(()) | Err(_) => Ok(SUCCESS),
    }
}

/// Tells the user something while an update runs, which no trouble with standard output may stop, and no reader that
/// does not read.
pub(crate) fn tell(line: &str) {
    let _ = Outlet::stdout().write(format!("{line}\n").as_bytes());
}

/// Tells the user what may be done next, on standard error.
pub(crate) fn hint(line: &str) {
    let _ = Outlet::stderr().write(format!("{line}\n").as_bytes());
}

/// `text` without anything that would end the line or move a terminal; names in it may come from anywhere.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown() {
        assert_eq!(one_line("a\nb\x1b[2Jü\t"), "a\\nb\\u{1b}[2Jü\\t");
    }
}
