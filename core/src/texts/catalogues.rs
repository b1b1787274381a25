//! Every catalogue of core.

use crate::message::{Catalogue, Row};
use crate::{
    api, artifact, checkpoint, client, config, control, hal, http, json, machine, module, session, text,
    transfer,
};

/// By room.
const ROOMS: &[&[&[&Catalogue]]] = &[
    client::TEXTS,
    &[
        api::TEXTS,
        artifact::TEXTS,
        checkpoint::TEXTS,
        config::TEXTS,
        control::TEXTS,
        hal::TEXTS,
        http::fault::TEXTS,
        json::TEXTS,
        machine::TEXTS,
        module::rootfs::TEXTS,
        #[cfg(feature = "panel")]
        crate::panel::TEXTS,
        session::TEXTS,
        text::TEXTS,
        transfer::TEXTS,
    ],
];

pub(super) fn all() -> impl Iterator<Item = &'static Catalogue> {
    ROOMS.iter().copied().flatten().copied().flatten().copied()
}

/// The text of this number.
pub(super) fn row(letter: char, number: u16) -> Option<&'static Row> {
    let rows = all().filter(|catalogue| catalogue.letter == letter).flat_map(|catalogue| catalogue.rows);
    rows.into_iter().find(|row| row.number == number)
}
