//! A made-up board: its flash is an array, its server a few lines. What a real one brings (a driver, a network stack, the
//! arithmetic of a signature) is not here, so that what is measured is core.
//!
//! Here is what every board has; `full` and `small` say what of the rest is there.

#[cfg(feature = "full")]
mod full;
#[cfg(not(feature = "full"))]
mod small;

use core::cell::RefCell;
use core::fmt;
use core::task::Poll;

use thimble_core::deployment::Call;
use thimble_core::hal::{
    Change, Clock, DeviceKey, Error, ErrorType, Exit, Key, Kind, Network, PayloadSink, Storage, System,
    TreeFacts, UpdateModule,
};
use thimble_core::http::{Head, Request};
use thimble_core::time::{Duration, Instant};

use crate::server::{Answer, Server};

#[cfg(feature = "full")]
pub use full::{Board, hal};
#[cfg(not(feature = "full"))]
pub use small::{Board, hal};

/// Longest record of this board, in bytes.
const RECORD: usize = 4096;

/// What outlives a reset: the records, and the server.
pub struct World {
    records: [Option<([u8; RECORD], usize)>; Key::ALL.len()],
    /// The server.
    pub server: Server,
    /// Now.
    pub now: Instant,
    /// The board was asked to reset.
    pub reset: bool,
    /// Bytes of payload that were written.
    pub written: usize,
    /// The call of the module that ran last.
    call: Option<Call>,
}

impl World {
    /// A board on which `release-1` runs.
    pub const fn new() -> Self {
        Self {
            records: [const { None }; Key::ALL.len()],
            server: Server::new(),
            now: Instant::ZERO,
            reset: false,
            written: 0,
            call: None,
        }
    }

    /// Puts a record in place.
    pub fn put(&mut self, key: Key, bytes: &[u8]) -> Result<(), BoardError> {
        let slot = self.records.get_mut(key as usize).ok_or(BoardError)?;
        let (room, length) = slot.get_or_insert(([0; RECORD], 0));
        room.get_mut(..bytes.len()).ok_or(BoardError)?.copy_from_slice(bytes);
        *length = bytes.len();
        Ok(())
    }
}

/// What goes wrong on the board.
#[derive(Debug)]
pub struct BoardError;

impl fmt::Display for BoardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("board")
    }
}

impl Error for BoardError {
    fn kind(&self) -> Kind {
        Kind::Connection
    }
}

/// One of the board's parts: each of them is a view of the whole.
pub struct Part<'w>(&'w RefCell<World>);

impl ErrorType for Part<'_> {
    type Error = BoardError;
}

impl Storage for Part<'_> {
    fn read<'b>(&mut self, key: Key, buf: &'b mut [u8]) -> Result<Option<&'b [u8]>, BoardError> {
        let world = self.0.borrow();
        let Some(Some((bytes, length))) = world.records.get(key as usize) else { return Ok(None) };
        let to = buf.get_mut(..*length).ok_or(BoardError)?;
        to.copy_from_slice(bytes.get(..*length).ok_or(BoardError)?);
        Ok(Some(to))
    }

    fn commit(&mut self, batch: &[Change<'_>]) -> Result<(), BoardError> {
        let mut world = self.0.borrow_mut();
        for change in batch {
            match *change {
                Change::Put(key, bytes) => world.put(key, bytes)?,
                Change::Delete(key) => *world.records.get_mut(key as usize).ok_or(BoardError)? = None,
            }
        }
        Ok(())
    }
}

impl PayloadSink for Part<'_> {
    fn poll_begin(&mut self, _: Instant, _: &str, _: u64) -> Poll<Result<(), BoardError>> {
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, _: Instant, bytes: &[u8]) -> Poll<Result<usize, BoardError>> {
        self.0.borrow_mut().written += bytes.len();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_end(&mut self, _: Instant) -> Poll<Result<(), BoardError>> {
        Poll::Ready(Ok(()))
    }

    fn poll_finish(&mut self, _: Instant) -> Poll<Result<(), BoardError>> {
        Poll::Ready(Ok(()))
    }

    fn abort(&mut self) {}
}

impl UpdateModule for Part<'_> {
    fn select(&mut self, _: &str) -> Result<(), BoardError> {
        Ok(())
    }

    fn prepare(&mut self, _: &TreeFacts<'_>) -> Result<(), BoardError> {
        Ok(())
    }

    fn start(&mut self, _: Instant, call: Call) -> Result<(), BoardError> {
        self.0.borrow_mut().call = Some(call);
        Ok(())
    }

    fn poll_exit(&mut self, _: Instant) -> Poll<Result<Exit, BoardError>> {
        let world = self.0.borrow();
        let fails = world.call == Some(Call::ArtifactInstall) && world.server.wants_failure();
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

    fn remove(&mut self) -> Result<(), BoardError> {
        Ok(())
    }
}

impl Network for Part<'_> {
    fn start(&mut self, _: Instant, request: &Request<'_>) -> Result<(), BoardError> {
        self.0.borrow_mut().server.ask(request);
        Ok(())
    }

    fn poll_send(&mut self, _: Instant, rest: &[u8]) -> Poll<Result<usize, BoardError>> {
        self.0.borrow_mut().server.hear(rest);
        Poll::Ready(Ok(rest.len()))
    }

    fn poll_head(&mut self, _: Instant) -> Poll<Result<Head, BoardError>> {
        Poll::Ready(Ok(self.0.borrow().server.head()))
    }

    fn poll_read(&mut self, _: Instant, buf: &mut [u8]) -> Poll<Result<usize, BoardError>> {
        Poll::Ready(match self.0.borrow_mut().server.read(buf) {
            Answer::Bytes(count) => Ok(count),
            Answer::Broken => Err(BoardError),
        })
    }

    fn etag(&self) -> Option<&str> {
        Some("\"one\"")
    }

    fn cancel(&mut self) {}
}

impl System for Part<'_> {
    fn device_type<'b>(&mut self, buf: &'b mut [u8]) -> Result<&'b str, BoardError> {
        let name = b"board";
        let to = buf.get_mut(..name.len()).ok_or(BoardError)?;
        to.copy_from_slice(name);
        str::from_utf8(to).map_err(|_| BoardError)
    }

    fn start_reboot(&mut self, _: Instant) -> Result<(), BoardError> {
        self.0.borrow_mut().reset = true;
        Ok(())
    }
}

impl DeviceKey for Part<'_> {
    fn poll_public_key(&mut self, _: Instant) -> Poll<Result<&str, BoardError>> {
        Poll::Ready(Ok("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"))
    }

    fn poll_sign<'o>(
        &mut self,
        _: Instant,
        body: &[u8],
        out: &'o mut [u8],
    ) -> Poll<Result<&'o str, BoardError>> {
        let text = if body.is_empty() { "AAAA" } else { "BBBB" };
        Poll::Ready(match out.get_mut(..text.len()) {
            Some(to) => {
                to.copy_from_slice(text.as_bytes());
                Ok(text)
            }
            None => Err(BoardError),
        })
    }
}

impl Clock for Part<'_> {
    fn now(&mut self) -> Instant {
        self.0.borrow().now
    }
}
