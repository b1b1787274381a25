//! What the driver says to people: in the log, as the reason of a failure, and about a request.

mod doors;
mod download;
mod records;
mod requests;
mod update;

pub(super) use doors::WhyFailed;
pub use doors::{By, OPERATOR, WhyHeld};
pub(super) use download::DownloadText;
pub(super) use records::{Interrupted, RecordText};
pub(super) use requests::RequestText;
pub(super) use update::{ScriptFault, ScriptName, UpdateText};

use core::fmt;

use crate::hal::{Level, Log};
#[cfg(feature = "text")]
use crate::message::Catalogue;
use crate::message::{Coded, Say};

/// Writes a line to the log.
pub(super) fn say(log: &mut impl Log, level: Level, line: &dyn Coded) {
    let line = Hinted::of(line, log);
    log.log(level, format_args!("{line}"));
}

/// What core says, with the platform's hint behind its text.
pub(super) struct Hinted<'a> {
    said: &'a dyn Coded,
    #[cfg(feature = "text")]
    hint: &'static str,
}

impl<'a> Hinted<'a> {
    #[cfg_attr(not(feature = "text"), expect(unused_variables, reason = "codes have no hints"))]
    pub(super) fn of(said: &'a dyn Coded, log: &impl Log) -> Self {
        Self {
            said,
            #[cfg(feature = "text")]
            hint: log.hint(said),
        }
    }
}

impl fmt::Display for Hinted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Say(self.said).fmt(f)?;
        #[cfg(feature = "text")]
        f.write_str(self.hint)?;
        Ok(())
    }
}

/// All texts here.
#[cfg(feature = "text")]
pub(super) const TEXTS: &[&Catalogue] = &[
    &doors::WHY_HELD,
    &doors::BY,
    &doors::WHY_FAILED,
    &download::TEXTS,
    &records::TEXTS,
    &records::INTERRUPTED,
    &requests::TEXTS,
    &update::TEXTS,
    &update::SCRIPT_NAMES,
    &update::SCRIPT_FAULTS,
];

#[cfg(test)]
mod tests;
