//! The machine around the client, and who it is.

use thimble_core::hal::{DeploymentLog, DeviceKey, ErrorType, Exit, Identity, Kind, Poll, System};
use thimble_core::time::Instant;

use super::{Down, Effect, Fate, Gone, Handle};

/// The machine around the client.
pub struct Sys {
    bench: Handle,
    fails: bool,
}

impl Sys {
    pub(super) fn new(bench: Handle) -> Self {
        Self { bench, fails: false }
    }
}

impl ErrorType for Sys {
    type Error = Gone;
}

impl System for Sys {
    fn device_type<'b>(&mut self, buf: &'b mut [u8]) -> Result<&'b str, Gone> {
        let bench = self.bench.0.borrow();
        let kind = bench.device_type.as_bytes();
        let room = buf.get_mut(..kind.len()).ok_or(Gone("the buffer is too short", Kind::TooLarge))?;
        room.copy_from_slice(kind);
        core::str::from_utf8(room).map_err(|_| Gone("not text", Kind::Corrupt))
    }

    fn start_reboot(&mut self, _: Instant) -> Result<(), Gone> {
        let fate = self.bench.fate(&Effect::Reboot)?;
        self.fails = matches!(fate, Fate::Fails | Fate::Refuses);
        self.bench.line(if self.fails { "** reboot fails" } else { "** reboot" });
        if !self.fails {
            self.bench.0.borrow_mut().down = Some(Down::Reboot);
        }
        Ok(())
    }

    fn poll_reboot(&mut self, _: Instant) -> Poll<Result<Exit, Gone>> {
        if self.fails { Poll::Ready(Ok(Exit::Code(1))) } else { Poll::Pending }
    }
}

/// Who the device is.
pub struct Who(pub(super) Handle);

impl ErrorType for Who {
    type Error = Gone;
}

impl Identity for Who {
    fn poll(&mut self, _: Instant, out: &mut [u8]) -> Poll<Result<usize, Gone>> {
        let text = format!("mac=02:00:00:00:00:{:02}\n", self.0.0.borrow().number);
        let Some(room) = out.get_mut(..text.len()) else {
            return Poll::Ready(Err(Gone("the buffer is too short", Kind::TooLarge)));
        };
        room.copy_from_slice(text.as_bytes());
        Poll::Ready(Ok(text.len()))
    }
}

impl DeviceKey for Who {
    fn poll_public_key(&mut self, _: Instant) -> Poll<Result<&str, Gone>> {
        Poll::Ready(Ok(
            "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n",
        ))
    }

    fn poll_sign<'o>(&mut self, now: Instant, _: &[u8], out: &'o mut [u8]) -> Poll<Result<&'o str, Gone>> {
        if now < self.0.0.borrow().key_silent_until {
            return Poll::Pending;
        }
        let room = out.get_mut(..4).ok_or(Gone("the buffer is too short", Kind::TooLarge));
        Poll::Ready(room.and_then(|room| {
            room.copy_from_slice(b"c2ln");
            core::str::from_utf8(room).map_err(|_| Gone("not text", Kind::Corrupt))
        }))
    }

    fn deadline(&self) -> Option<Instant> {
        let bench = self.0.0.borrow();
        Some(bench.key_silent_until).filter(|until| bench.now < *until)
    }
}

const ONE_LINE: &[u8] =
    br#"{"messages":[{"timestamp":"2026-01-01T00:00:00Z","level":"INFO","message":"simulated"}]}"#;

/// One line for the log of each deployment.
pub struct OneLine;

impl ErrorType for OneLine {
    type Error = Gone;
}

impl DeploymentLog for OneLine {
    fn open(&mut self, _: &str) -> Result<usize, Gone> {
        Ok(ONE_LINE.len())
    }

    fn read(&mut self, at: usize) -> Result<&[u8], Gone> {
        Ok(ONE_LINE.get(at..).unwrap_or_default())
    }
}
