//! A platform's error in what core says to people.

use core::fmt;

use super::Error;
use crate::message::Coded;

/// A platform's error as an argument of a text: with feature `text` its own text, without what [`Error::write_code`]
/// writes. Its `Display` is then not linked.
#[derive(Clone, Copy)]
pub(crate) struct Cause<'a>(&'a dyn Told);

impl<'a> Cause<'a> {
    pub(crate) fn of<E: Error>(error: &'a E) -> Self {
        Self(error)
    }
}

/// What is needed of an error, and no more.
trait Told {
    #[cfg(feature = "text")]
    fn text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;

    fn code(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

impl<E: Error> Told for E {
    #[cfg(feature = "text")]
    fn text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }

    fn code(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_code(f)
    }
}

impl Coded for Cause<'_> {
    fn content(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.code(f)
    }
}

#[cfg(feature = "text")]
impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.text(f)
    }
}
