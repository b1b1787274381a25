//! A made-up board: its flash is an array, its network a [link](crate::wire) to a made-up server. What a real one brings
//! (drivers, a network stack, TLS) is not here, so that what is measured is core.
//!
//! Here is what every board has; `full` and `small` say what of the rest is there.

#[cfg(feature = "full")]
mod full;
#[cfg(not(feature = "full"))]
mod small;

use core::cell::RefCell;
use core::task::Poll;

use thimble_core::deployment::Call;
use thimble_core::embedded_io::ErrorKind;
use thimble_core::hal::{
    Change, Clock, DeviceKey, ErrorType, Exit, Key, PayloadSink, Storage, System, TreeFacts, UpdateModule,
};
use thimble_core::http::exchange::Limits;
use thimble_core::network::Http;
use thimble_core::time::{Duration, Instant};

use crate::wire::{Link, Wire};

#[cfg(feature = "full")]
pub use full::{Board, hal};
#[cfg(not(feature = "full"))]
pub use small::{Board, hal};

/// Longest record of this board, in bytes.
const RECORD: usize = 4096;

/// HTTP over the link. Its memory is lent, as that of the client is.
pub type Network<'w> = Http<Link<'w>, &'w mut [u8]>;

/// What outlives a reset.
pub struct World {
    records: [Option<([u8; RECORD], usize)>; Key::ALL.len()],
    /// The link to the server.
    pub wire: Wire,
    /// Now.
    pub now: Instant,
    /// The board was asked to reset.
    pub reset: bool,
    /// Bytes of payload that were written.
    pub written: usize,
    /// The call of the module that ran last.
    call: Option<Call>,
    /// How often an artifact was to be installed. The second time fails.
    installs: usize,
}

impl World {
    /// A board on which `release-1` runs.
    pub const fn new() -> Self {
        Self {
            records: [const { None }; Key::ALL.len()],
            wire: Wire::new(),
            now: Instant::ZERO,
            reset: false,
            written: 0,
            call: None,
            installs: 0,
        }
    }

    /// Puts a record in place.
    pub fn put(&mut self, key: Key, bytes: &[u8]) -> Result<(), ErrorKind> {
        let slot = self.records.get_mut(key as usize).ok_or(ErrorKind::Other)?;
        let (room, length) = slot.get_or_insert(([0; RECORD], 0));
        room.get_mut(..bytes.len()).ok_or(ErrorKind::Other)?.copy_from_slice(bytes);
        *length = bytes.len();
        Ok(())
    }
}

/// HTTP without a request, with memory for the longest URL and head together.
fn network<'w>(world: &'w RefCell<World>, heads: &'w mut [u8]) -> Network<'w> {
    Http::new(Link(world), heads, Limits::default())
}

/// One of the board's parts: each of them is a view of the whole.
pub struct Part<'w>(&'w RefCell<World>);

impl ErrorType for Part<'_> {
    type Error = ErrorKind;
}

impl Storage for Part<'_> {
    fn read<'b>(&mut self, key: Key, buf: &'b mut [u8]) -> Result<Option<&'b [u8]>, ErrorKind> {
        let world = self.0.borrow();
        let Some(Some((bytes, length))) = world.records.get(key as usize) else { return Ok(None) };
        let to = buf.get_mut(..*length).ok_or(ErrorKind::Other)?;
        to.copy_from_slice(bytes.get(..*length).ok_or(ErrorKind::Other)?);
        Ok(Some(to))
    }

    fn commit(&mut self, batch: &[Change<'_>]) -> Result<(), ErrorKind> {
        let mut world = self.0.borrow_mut();
        for change in batch {
            match *change {
                Change::Put(key, bytes) => world.put(key, bytes)?,
                Change::Delete(key) => *world.records.get_mut(key as usize).ok_or(ErrorKind::Other)? = None,
            }
        }
        Ok(())
    }
}

impl PayloadSink for Part<'_> {
    fn poll_begin(&mut self, _: Instant, _: &str, _: u64) -> Poll<Result<(), ErrorKind>> {
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, _: Instant, bytes: &[u8]) -> Poll<Result<usize, ErrorKind>> {
        self.0.borrow_mut().written += bytes.len();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_end(&mut self, _: Instant) -> Poll<Result<(), ErrorKind>> {
        Poll::Ready(Ok(()))
    }

    fn poll_finish(&mut self, _: Instant) -> Poll<Result<(), ErrorKind>> {
        Poll::Ready(Ok(()))
    }

    fn abort(&mut self) {}
}

impl UpdateModule for Part<'_> {
    fn select(&mut self, _: &str) -> Result<(), ErrorKind> {
        Ok(())
    }

    fn prepare(&mut self, _: &TreeFacts<'_>) -> Result<(), ErrorKind> {
        Ok(())
    }

    fn start(&mut self, _: Instant, call: Call) -> Result<(), ErrorKind> {
        let mut world = self.0.borrow_mut();
        world.call = Some(call);
        world.installs += usize::from(call == Call::ArtifactInstall);
        Ok(())
    }

    fn poll_exit(&mut self, _: Instant) -> Poll<Result<Exit, ErrorKind>> {
        let world = self.0.borrow();
        let fails = world.call == Some(Call::ArtifactInstall) && world.installs == 2;
        Poll::Ready(Ok(Exit::Code(fails.into())))
    }

    fn answer(&self) -> &[u8] {
        match self.0.borrow().call {
            Some(Call::NeedsArtifactReboot) => b"Automatic",
            Some(Call::SupportsRollback) => b"Yes",
            _ => b"",
        }
    }

    fn kill(&mut self, _: Instant, _: Duration) {}

    fn is_clean(&mut self) -> bool {
        false
    }

    fn remove(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

impl System for Part<'_> {
    fn device_type<'b>(&mut self, buf: &'b mut [u8]) -> Result<&'b str, ErrorKind> {
        let name = b"board";
        let to = buf.get_mut(..name.len()).ok_or(ErrorKind::Other)?;
        to.copy_from_slice(name);
        str::from_utf8(to).map_err(|_| ErrorKind::Other)
    }

    fn start_reboot(&mut self, _: Instant) -> Result<(), ErrorKind> {
        self.0.borrow_mut().reset = true;
        Ok(())
    }
}

impl DeviceKey for Part<'_> {
    fn poll_public_key(&mut self, _: Instant) -> Poll<Result<&str, ErrorKind>> {
        Poll::Ready(Ok("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"))
    }

    fn poll_sign<'o>(
        &mut self,
        _: Instant,
        body: &[u8],
        out: &'o mut [u8],
    ) -> Poll<Result<&'o str, ErrorKind>> {
        let text = if body.is_empty() { "AAAA" } else { "BBBB" };
        Poll::Ready(match out.get_mut(..text.len()) {
            Some(to) => {
                to.copy_from_slice(text.as_bytes());
                Ok(text)
            }
            None => Err(ErrorKind::Other),
        })
    }
}

impl Clock for Part<'_> {
    fn now(&mut self) -> Instant {
        self.0.borrow().now
    }
}
