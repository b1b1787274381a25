//! The machine around the client, and who it is.

use thimble_core::config::Tier;
use thimble_core::hal::{Agent, ErrorType, Exit, Kind, Poll, System};
use thimble_core::time::Instant;

use super::{DEVICE_TYPE, Down, Effect, Fate, Gone, Handle, SERVER};

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
        let room = buf.get_mut(..DEVICE_TYPE.len()).ok_or(Gone("the buffer is too short", Kind::TooLarge))?;
        room.copy_from_slice(DEVICE_TYPE.as_bytes());
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
pub struct Identity(pub(super) Handle);

impl ErrorType for Identity {
    type Error = Gone;
}

impl Agent for Identity {
    fn server(&self, index: usize) -> Option<&str> {
        (index == 0).then_some(SERVER)
    }

    fn tenant_token(&self) -> &'static str {
        ""
    }

    fn tier(&self) -> Option<Tier> {
        None
    }

    fn version(&self) -> &'static str {
        "simulated"
    }

    fn start_identity(&mut self, _: Instant) -> Result<(), Gone> {
        Ok(())
    }

    fn poll_identity(&mut self, _: Instant, out: &mut [u8]) -> Poll<Result<usize, Gone>> {
        let text = format!("mac=02:00:00:00:00:{:02}\n", self.0.0.borrow().number);
        let Some(room) = out.get_mut(..text.len()) else {
            return Poll::Ready(Err(Gone("the buffer is too short", Kind::TooLarge)));
        };
        room.copy_from_slice(text.as_bytes());
        Poll::Ready(Ok(text.len()))
    }

    fn public_key(&mut self) -> Result<&str, Gone> {
        Ok(
            "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n",
        )
    }

    fn sign<'o>(&mut self, _: &[u8], out: &'o mut [u8]) -> Result<&'o str, Gone> {
        let room = out.get_mut(..4).ok_or(Gone("the buffer is too short", Kind::TooLarge))?;
        room.copy_from_slice(b"c2ln");
        core::str::from_utf8(room).map_err(|_| Gone("not text", Kind::Corrupt))
    }

    fn start_inventory(&mut self, _: Instant) -> Result<(), Gone> {
        Ok(())
    }

    fn poll_inventory(&mut self, _: Instant) -> Poll<()> {
        Poll::Ready(())
    }

    fn inventory(&self, _: usize) -> Option<(&str, &[u8])> {
        None
    }

    fn deployment_log(&mut self, _: &str) -> Result<&[u8], Gone> {
        Ok(br#"{"messages":[{"timestamp":"2026-01-01T00:00:00Z","level":"INFO","message":"simulated"}]}"#)
    }

    fn cancel(&mut self) {}
}
