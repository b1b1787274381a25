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

use crate::hal::{Level, Log};
#[cfg(feature = "text")]
use crate::message::Catalogue;
use crate::message::{Coded, Say};

/// Writes a line to the log.
pub(super) fn say(log: &mut impl Log, level: Level, line: &dyn Coded) {
    log.log(level, format_args!("{}", Say(line)));
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
