use core::fmt;

use super::{ErrorType, Exit, Poll};
use crate::message::{self, texts};
use crate::script::Transition;
use crate::time::{Duration, Instant};

/// Runs state scripts (`docs/rules/state-scripts.md`) and stages those of an artifact.
///
/// [`NoScripts`] is that of a device which runs none.
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

impl<T: ScriptRunner + ?Sized> ScriptRunner for &mut T {
    fn start(&mut self, now: Instant, transition: Transition, index: u16) -> Result<bool, Self::Error> {
        T::start(self, now, transition, index)
    }

    fn poll_exit(&mut self, now: Instant) -> Poll<Result<Exit, Self::Error>> {
        T::poll_exit(self, now)
    }

    fn kill(&mut self, now: Instant, grace: Duration) {
        T::kill(self, now, grace);
    }

    fn name(&self) -> &str {
        T::name(self)
    }

    fn deadline(&self) -> Option<Instant> {
        T::deadline(self)
    }

    fn check_version(&mut self) -> Result<(), Self::Error> {
        T::check_version(self)
    }

    fn discard(&mut self) -> Result<(), Self::Error> {
        T::discard(self)
    }

    fn stage(&mut self, name: &str, size: u64) -> Result<(), Self::Error> {
        T::stage(self, name, size)
    }

    fn stage_write(&mut self, bytes: &[u8]) -> Result<(), Self::Error> {
        T::stage_write(self, bytes)
    }

    fn publish(&mut self) -> Result<(), Self::Error> {
        T::publish(self)
    }
}

/// A device that runs no state scripts. An artifact that brings some is refused: what they were to see to would not be
/// done.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoScripts;

/// An artifact brings state scripts, and this device runs none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScriptsRefused;

texts! {
    ERRORS = 'H': ScriptsRefused {
        32 Self => "this device runs no state scripts: make the artifact without them",
    }
}

impl super::Error for ScriptsRefused {
    fn kind(&self) -> super::Kind {
        super::Kind::Refused
    }

    fn write_code(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        message::write(f, self)
    }
}

impl ErrorType for NoScripts {
    type Error = ScriptsRefused;
}

impl ScriptRunner for NoScripts {
    fn start(&mut self, _: Instant, _: Transition, _: u16) -> Result<bool, ScriptsRefused> {
        Ok(false)
    }

    fn poll_exit(&mut self, _: Instant) -> Poll<Result<Exit, ScriptsRefused>> {
        Poll::Ready(Ok(Exit::Code(0)))
    }

    fn kill(&mut self, _: Instant, _: Duration) {}

    fn check_version(&mut self) -> Result<(), ScriptsRefused> {
        Ok(())
    }

    fn discard(&mut self) -> Result<(), ScriptsRefused> {
        Ok(())
    }

    fn stage(&mut self, _: &str, _: u64) -> Result<(), ScriptsRefused> {
        Err(ScriptsRefused)
    }

    fn stage_write(&mut self, _: &[u8]) -> Result<(), ScriptsRefused> {
        Err(ScriptsRefused)
    }

    fn publish(&mut self) -> Result<(), ScriptsRefused> {
        Ok(())
    }
}
