//! Every catalogue of core.

use crate::message::{Catalogue, Row};
use crate::{artifact, hal, json, text};

/// By room.
pub(super) const ALL: &[&[&Catalogue]] = &[artifact::TEXTS, hal::TEXTS, json::TEXTS, text::TEXTS];

/// The text of this number.
pub(super) fn row(letter: char, number: u16) -> Option<&'static Row> {
    let catalogues = ALL.iter().copied().flatten().filter(|catalogue| catalogue.letter == letter);
    catalogues.flat_map(|catalogue| catalogue.rows).find(|row| row.number == number)
}
