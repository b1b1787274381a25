use super::{ErrorType, Exit, Poll};
use crate::script::Transition;
use crate::time::{Duration, Instant};

/// Runs state scripts (`docs/rules/state-scripts.md`) and stages those of an artifact.
pub trait ScriptRunner: ErrorType {
    /// Starts the script number `index` (bytewise order of names) of `transition`.
    ///
    /// `Ok(false)`: there is no script of that number; the transition is done. Number 0 reads the directory
    /// anew and checks its version file; higher numbers and repeats use what number 0 saw. An error fails the
    /// transition. Runs in a process group of its own, stdin from nowhere, output to the log (capped).
    fn start(&mut self, now: Instant, transition: Transition, index: u16) -> Result<bool, Self::Error>;

    /// Ready when the script has ended and its process group holds nothing more of the client's.
    fn poll_exit(&mut self, now: Instant) -> Poll<Result<Exit, Self::Error>>;

    /// Ends the running script: SIGTERM to its group, `grace` later SIGKILL. `poll_exit` then reports the end.
    fn kill(&mut self, now: Instant, grace: Duration);

    /// The file name of the script last started, for messages; empty if the platform's scripts have no names.
    fn name(&self) -> &str {
        ""
    }

    /// When `poll_exit` should be called though nothing woke the platform.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Checks the version file of the root filesystem's scripts (right before `ArtifactCommit`): missing, `2`
    /// or `3` are good, anything else is an error.
    fn check_version(&mut self) -> Result<(), Self::Error>;

    /// A new artifact is about to be read: published and staged artifact scripts are deleted.
    fn discard(&mut self) -> Result<(), Self::Error>;

    /// The next script of the artifact being read. Its name is one that [`crate::script::parse_name`] took.
    /// It goes to a staging place where nothing runs it.
    fn stage(&mut self, name: &str, size: u64) -> Result<(), Self::Error>;

    /// More bytes of the script last named.
    fn stage_write(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;

    /// The header is verified: what was staged becomes the artifact's scripts, durable on return. Power loss
    /// leaves either nothing or all.
    fn publish(&mut self) -> Result<(), Self::Error>;
}
