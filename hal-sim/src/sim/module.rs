//! The update module of the device, and where its payload goes.

use thimble_core::deployment::Call;
use thimble_core::hal::{ErrorType, Exit, Kind, PayloadSink, Poll, Stored, TreeFacts, UpdateModule};
use thimble_core::time::{Duration, Instant};

use super::{Effect, Fate, Gone, Handle};
use crate::world::{Device, Reboot};

/// The update module of the device.
pub struct Module {
    bench: Handle,
    call: Option<Call>,
    fate: Fate,
    answer: &'static [u8],
    ended: bool,
    killed: bool,
    seen: bool,
    /// What came of the payload's file.
    file: Vec<u8>,
}

/// Of a payload's file, between marks.
const MARK_EVERY: u64 = 8;

impl Module {
    pub(super) fn new(bench: Handle) -> Self {
        Self {
            bench,
            call: None,
            fate: Fate::Works,
            answer: b"",
            ended: false,
            killed: false,
            seen: false,
            file: Vec::new(),
        }
    }

    fn device<T>(&self, act: impl FnOnce(&mut Device) -> T) -> T {
        act(&mut self.bench.0.borrow_mut().durable.device)
    }

    /// What the call printed and how it ended.
    fn perform(&mut self, call: Call) -> bool {
        let profile = self.device(|device| device.profile);
        let word = |yes: bool| if yes { "Yes" } else { "No" };
        let answer = match call {
            Call::NeedsArtifactReboot => match profile.reboot {
                Reboot::No => "No",
                Reboot::Yes => "Yes",
                Reboot::Automatic => "Automatic",
            },
            Call::SupportsRollback => word(profile.rollback),
            Call::ProvidePayloadFileSizes => "No",
            Call::Download
            | Call::DownloadWithFileSizes
            | Call::ArtifactInstall
            | Call::ArtifactReboot
            | Call::ArtifactVerifyReboot
            | Call::ArtifactCommit
            | Call::ArtifactRollback
            | Call::ArtifactRollbackReboot
            | Call::ArtifactVerifyRollbackReboot
            | Call::ArtifactFailure
            | Call::Cleanup => {
                self.bench.line(call.name());
                return match self.fate {
                    // A module that fails may have done its work or not; here it has not, except for the note it
                    // needs to roll back.
                    Fate::Fails | Fate::Refuses => {
                        self.device(|device| device.half_call(call));
                        false
                    }
                    Fate::LostInside => {
                        self.device(|device| device.half_call(call));
                        false
                    }
                    Fate::Works | Fate::LostBefore | Fate::LostAfter => {
                        self.device(|device| device.call(call))
                    }
                };
            }
        };
        let good = !matches!(self.fate, Fate::Fails | Fate::Refuses);
        self.answer = if good { answer.as_bytes() } else { b"" };
        self.bench.line(format!("{call}? {}", if good { answer } else { "(fails)" }));
        good
    }
}

impl ErrorType for Module {
    type Error = Gone;
}

impl PayloadSink for Module {
    fn mark_every(&self) -> u64 {
        MARK_EVERY
    }

    fn mark(&mut self, sum: &[u8; 32]) -> Result<(), Gone> {
        let fate = self.bench.fate(&Effect::Mark)?;
        let mut file = self.file.clone();
        match fate {
            Fate::Fails | Fate::Refuses => return Err(Gone("the disk is full", Kind::NoSpace)),
            // A disk that keeps the mark and loses what it speaks of.
            Fate::LostInside => file.iter_mut().for_each(|byte| *byte = 0),
            Fate::Works | Fate::LostBefore | Fate::LostAfter => {}
        }
        self.device(|device| device.partial = Some((file, *sum)));
        if matches!(fate, Fate::LostInside | Fate::LostAfter) {
            self.bench.lose();
            return Err(Gone::down());
        }
        Ok(())
    }

    fn stored(&mut self) -> Option<Stored> {
        self.device(|device| {
            device.partial.as_ref().map(|(bytes, sum)| Stored { length: bytes.len() as u64, sum: *sum })
        })
    }

    fn read_stored(&mut self, to: &mut [u8]) -> Result<usize, Gone> {
        let at = self.file.len();
        let bytes = self.device(|device| device.partial.as_ref().map(|(bytes, _)| bytes.clone()));
        let bytes = bytes.unwrap_or_default();
        let length = bytes.len().saturating_sub(at).min(to.len());
        to[..length].copy_from_slice(&bytes[at..at + length]);
        self.file.extend(&bytes[at..at + length]);
        Ok(length)
    }

    fn forget_stored(&mut self) -> Result<(), Gone> {
        self.file.clear();
        self.device(|device| device.partial = None);
        Ok(())
    }

    fn poll_begin(&mut self, _: Instant, _: &str, _: u64) -> Poll<Result<(), Gone>> {
        self.file.clear();
        match self.fate {
            _ if self.bench.is_down() => Poll::Pending,
            Fate::Fails | Fate::Refuses => {
                Poll::Ready(Err(Gone("the module ended with exit status 1", Kind::Other)))
            }
            Fate::LostInside => {
                self.bench.lose();
                Poll::Pending
            }
            Fate::Works | Fate::LostBefore | Fate::LostAfter => Poll::Ready(Ok(())),
        }
    }

    fn poll_write(&mut self, _: Instant, bytes: &[u8]) -> Poll<Result<usize, Gone>> {
        if self.bench.is_down() {
            return Poll::Pending;
        }
        self.file.extend(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_end(&mut self, _: Instant) -> Poll<Result<(), Gone>> {
        if self.bench.is_down() {
            return Poll::Pending;
        }
        let mut bench = self.bench.0.borrow_mut();
        if bench.payload.is_some_and(|expected| self.file != expected) {
            bench.durable.server.violation("the module got other bytes than the artifact has");
        }
        Poll::Ready(Ok(()))
    }

    fn poll_finish(&mut self, _: Instant) -> Poll<Result<(), Gone>> {
        if self.bench.is_down() {
            return Poll::Pending;
        }
        self.device(Device::received);
        if self.fate == Fate::LostAfter {
            self.bench.lose();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn abort(&mut self) {}
}

impl UpdateModule for Module {
    fn select(&mut self, _: &str) -> Result<(), Gone> {
        Ok(())
    }

    fn prepare(&mut self, _: &TreeFacts<'_>) -> Result<(), Gone> {
        if self.bench.is_down() {
            return Err(Gone::down());
        }
        self.device(Device::prepare);
        Ok(())
    }

    fn prepare_again(&mut self, _: &TreeFacts<'_>) -> Result<(), Gone> {
        if self.bench.is_down() {
            return Err(Gone::down());
        }
        self.device(Device::prepare_again);
        Ok(())
    }

    fn start(&mut self, _: Instant, call: Call) -> Result<(), Gone> {
        if call != Call::Cleanup && !self.device(|device| device.tree) {
            return Err(Gone("the work tree is missing", Kind::NotFound));
        }
        self.seen = false;
        self.killed = false;
        self.fate = self.bench.fate(&Effect::Module(call))?;
        self.call = Some(call);
        if matches!(call, Call::Download | Call::DownloadWithFileSizes) {
            self.bench.line(call.name());
            self.device(Device::receive);
            return Ok(());
        }
        self.ended = self.perform(call);
        if matches!(self.fate, Fate::LostInside | Fate::LostAfter) {
            self.bench.lose();
        }
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        // A download takes what comes at once: only the network is waited for.
        let downloads = matches!(self.call, Some(Call::Download | Call::DownloadWithFileSizes));
        (self.call.is_some() && (self.killed || !downloads)).then_some(Instant::ZERO)
    }

    fn poll_exit(&mut self, _: Instant) -> Poll<Result<Exit, Gone>> {
        if self.bench.is_down() || !std::mem::replace(&mut self.seen, true) {
            return Poll::Pending;
        }
        let good = self.call.take().is_some() && self.ended;
        Poll::Ready(Ok(Exit::Code(u8::from(!good))))
    }

    fn answer(&self) -> &[u8] {
        self.answer
    }

    fn kill(&mut self, _: Instant, _: Duration) {
        self.ended = false;
        self.killed = true;
    }

    fn is_clean(&mut self) -> bool {
        !self.device(|device| device.tree)
    }

    fn remove(&mut self) -> Result<(), Gone> {
        if !self.bench.is_down() {
            self.device(Device::clean);
        }
        Ok(())
    }
}
