use super::{ErrorType, Exit, PayloadSink, Poll};
use crate::deployment::Call;
use crate::time::{Duration, Instant};

/// What the client writes into the work tree (MODULE-20 to MODULE-25). Values are plain text; the JSON parts are
/// byte for byte what stood in the verified header.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the names are those of the tree")]
pub struct TreeFacts<'a> {
    pub current_artifact_name: &'a str,
    pub current_artifact_group: &'a str,
    pub current_device_type: &'a str,
    pub artifact_name: &'a str,
    pub artifact_group: &'a str,
    pub payload_type: &'a str,
    pub header_info: &'a [u8],
    pub type_info: &'a [u8],
    /// Empty if the artifact has none.
    pub meta_data: &'a [u8],
    /// How many files the payload has.
    pub files: usize,
}

/// Installs payloads of one type (`docs/rules/update-modules.md`). At most one call runs at a time.
pub trait UpdateModule: PayloadSink + ErrorType {
    /// Selects the handler of `payload_type` (a plain name, already checked). An error when there is none or it
    /// cannot be run. Called once per artifact and again after every restart.
    fn select(&mut self, payload_type: &str) -> Result<(), Self::Error>;

    /// Deletes what an earlier update left and keeps what the calls need of `facts` (on Linux in a work tree), durable before
    /// the first call that needs it.
    fn prepare(&mut self, facts: &TreeFacts<'_>) -> Result<(), Self::Error> {
        let _ = facts;
        Ok(())
    }

    /// As [`Self::prepare`], in the Download of a deployment that an earlier process began: what that one stored of
    /// the payload may be kept for [`PayloadSink::stored`].
    fn prepare_again(&mut self, facts: &TreeFacts<'_>) -> Result<(), Self::Error> {
        self.prepare(facts)
    }

    /// Starts `call`. For [`Call::Download`] and [`Call::DownloadWithFileSizes`] the payload then goes through
    /// the [`PayloadSink`] methods, and `poll_finish` reports the end of the call instead of `poll_exit`.
    /// Every call except `Cleanup` fails here when the work tree is missing.
    fn start(&mut self, now: Instant, call: Call) -> Result<(), Self::Error>;

    /// Ready when the call has ended. Not used for the download calls.
    fn poll_exit(&mut self, now: Instant) -> Poll<Result<Exit, Self::Error>> {
        let _ = now;
        Poll::Ready(Ok(Exit::Code(0)))
    }

    /// Whether the last `ArtifactRollback`, which ended with an error, has changed nothing and should be called again:
    /// the boot loader could not be asked or told, and it still starts what the update chose. Only the built-in
    /// handler knows that of itself.
    fn rollback_waits(&self) -> bool {
        false
    }

    /// Starts to find out whether the update that is to be committed waits for its reboot. `false`: nothing was
    /// started, this handler does not know such a thing. Else [`Self::poll_exit`] is ready when it is known, and
    /// [`Self::answer`] is `No` where what is to be committed does not run yet.
    fn start_check_running(&mut self, _now: Instant) -> Result<bool, Self::Error> {
        Ok(false)
    }

    /// What the ended query printed, at most [`crate::limits::QUERY_ANSWER`] bytes and one; more than that is no
    /// valid answer anyway. Nothing is `No`.
    fn answer(&self) -> &[u8] {
        b""
    }

    /// Ends the running call; after `grace` without any more patience (on Linux: SIGTERM to its process group, then SIGKILL).
    /// `poll_exit` (also for a download call) then reports the end.
    fn kill(&mut self, now: Instant, grace: Duration) {
        let _ = (now, grace);
    }

    /// When a poll should be made though nothing woke the platform.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// True when what [`Self::prepare`] kept is gone: `Cleanup` already ran. `Cleanup` is then not called again.
    fn is_clean(&mut self) -> bool {
        false
    }

    /// Removes what [`Self::prepare`] kept. Called after every `Cleanup`, whatever it returned.
    fn remove(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

impl<T: UpdateModule + ?Sized> UpdateModule for &mut T {
    fn select(&mut self, payload_type: &str) -> Result<(), Self::Error> {
        T::select(self, payload_type)
    }

    fn prepare(&mut self, facts: &TreeFacts<'_>) -> Result<(), Self::Error> {
        T::prepare(self, facts)
    }

    fn prepare_again(&mut self, facts: &TreeFacts<'_>) -> Result<(), Self::Error> {
        T::prepare_again(self, facts)
    }

    fn start(&mut self, now: Instant, call: Call) -> Result<(), Self::Error> {
        T::start(self, now, call)
    }

    fn poll_exit(&mut self, now: Instant) -> Poll<Result<Exit, Self::Error>> {
        T::poll_exit(self, now)
    }

    fn rollback_waits(&self) -> bool {
        T::rollback_waits(self)
    }

    fn start_check_running(&mut self, now: Instant) -> Result<bool, Self::Error> {
        T::start_check_running(self, now)
    }

    fn answer(&self) -> &[u8] {
        T::answer(self)
    }

    fn kill(&mut self, now: Instant, grace: Duration) {
        T::kill(self, now, grace);
    }

    fn deadline(&self) -> Option<Instant> {
        T::deadline(self)
    }

    fn is_clean(&mut self) -> bool {
        T::is_clean(self)
    }

    fn remove(&mut self) -> Result<(), Self::Error> {
        T::remove(self)
    }
}
