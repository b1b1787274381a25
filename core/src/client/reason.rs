//! The first reason of a failure: it is what people are told.

use core::fmt;

use crate::hal::{Level, Log};
use crate::limits;
use crate::text::Text;

/// Why something failed has been logged, and kept if nothing failed before. Made by [`note`] only, so that no failure
/// goes without a reason.
#[derive(Debug)]
#[must_use]
pub(super) struct Noted(());

/// Logs why something failed, and keeps it in `first` if that is empty.
pub(super) fn note(
    first: &mut Text<{ limits::REASON }>,
    log: &mut impl Log,
    reason: fmt::Arguments<'_>,
) -> Noted {
    log.log(Level::Error, reason);
    if first.is_empty() {
        *first = Text::cut(reason);
    }
    Noted(())
}
