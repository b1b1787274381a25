//! Scenarios: what is done to a device, and the timeline of what it did, as text that anyone can read and write.
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
//! follow. [`words`] is the table of words. A scenario is read whole before anything is done ([`Scenario::read`]); then it
//! happens ([`Scenario::run`]).

pub mod limits;
pub mod suite;
pub mod words;

mod commands;
mod complaint;
mod file;
mod rules;
mod run;
mod transcript;
mod values;

pub use self::commands::{CALLS, STATUSES, names as effects, transitions};
pub use self::complaint::{Complaint, Complaints};
pub use self::file::Scenario;
pub use self::run::Happened;
pub use self::suite::load;

/// The id of the server's N-th deployment, counted from 1.
fn deployment_id(number: usize) -> String {
    format!("5100ed00-0000-4000-8000-{number:012}")
}

#[cfg(test)]
mod tests;
