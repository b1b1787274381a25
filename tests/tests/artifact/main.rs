//! The artifact parser against artifacts of Mender's own writer, of ours, and against hostile ones
//! (`docs/rules/artifact.md`, `docs/rules/hardening.md`).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod damage;
mod format;
mod harness;
mod hostile;
mod mender;
mod provides;
