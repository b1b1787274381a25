//! Scenarios: what is done to a device, and the transcript of what it did, as text that anyone can read and write.
//!
//! ```text
//! # Power is lost while the update module installs: the device rolls back.
//! device slots
//! lose-power in ArtifactInstall
//! run
//! ----
//! -- downloading
//! Download_Enter
//! ...
//! ```
//!
//! Lines before `----` say what is done, lines behind it what happens; a blank line ends a part, and another may
//! follow. See [`words::HELP`] for the words.

pub mod words;

mod file;
mod rules;
mod run;
mod transcript;
mod values;

pub use self::file::{parse, print};
pub use self::run::run;

/// One part of a scenario: what is done, and the transcript that is expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The lines before `----`, comments included.
    pub done: Vec<String>,
    /// The lines behind it.
    pub expected: Vec<String>,
}
