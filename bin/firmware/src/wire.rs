//! The board's byte stream: a link that holds some hundred bytes in each direction, as a modem or the buffers of a socket do.
//! Whoever is at its other end has its turn between two polls of the client.

use core::cell::RefCell;
use core::task::Poll;

use thimble_core::embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write, WriteReady};
use thimble_core::http::url::Authority;
use thimble_core::network::Connect;
use thimble_core::time::Instant;

use crate::board::World;

/// How the connection stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum State {
    Closed,
    /// The board waits for the server.
    Opening,
    Open,
    /// What was received before the break can still be read.
    Broken,
}

/// Both directions of the link.
pub struct Wire {
    pub state: State,
    pub to_server: Fifo,
    pub to_board: Fifo,
}

impl Wire {
    /// Without a connection.
    pub const fn new() -> Self {
        Self { state: State::Closed, to_server: Fifo::new(), to_board: Fifo::new() }
    }
}

/// Bytes under way.
pub struct Fifo {
    bytes: [u8; 512],
    length: usize,
}

impl Fifo {
    const fn new() -> Self {
        Self { bytes: [0; 512], length: 0 }
    }

    /// Adds the front of `bytes`; how much of it there was room for.
    pub fn put(&mut self, bytes: &[u8]) -> usize {
        let room = self.bytes.get_mut(self.length..).unwrap_or_default();
        let count = copy(room, bytes);
        self.length += count;
        count
    }

    /// Moves the front into `to`; how much there was.
    pub fn take(&mut self, to: &mut [u8]) -> usize {
        let count = copy(to, self.bytes.get(..self.length).unwrap_or_default());
        self.length -= count;
        // Byte by byte: nothing else in the image needs `memmove`, which is one and a half kilobytes.
        for at in 0..self.length {
            self.bytes[at] = self.bytes[at + count];
        }
        count
    }
}

/// As much as fits.
fn copy(to: &mut [u8], from: &[u8]) -> usize {
    let count = to.len().min(from.len());
    to[..count].copy_from_slice(&from[..count]);
    count
}

/// The driver of the link. It is the stream as well: there is only one connection at a time.
pub struct Link<'w>(pub &'w RefCell<World>);

impl Link<'_> {
    fn set(&mut self, state: State) {
        self.0.borrow_mut().wire = Wire { state, ..Wire::new() };
    }
}

impl Connect for Link<'_> {
    type Stream = Self;
    type Error = ErrorKind;

    fn open(&mut self, _: Instant, _: &Authority<'_>, _: bool) -> Result<(), ErrorKind> {
        self.set(State::Opening);
        Ok(())
    }

    fn poll(&mut self, _: Instant) -> Poll<Result<(), ErrorKind>> {
        if self.0.borrow().wire.state == State::Open { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn stream(&mut self) -> Option<&mut Self> {
        (self.0.borrow().wire.state != State::Closed).then_some(self)
    }

    fn close(&mut self) {
        self.set(State::Closed);
    }
}

impl ErrorType for Link<'_> {
    type Error = ErrorKind;
}

impl ReadReady for Link<'_> {
    fn read_ready(&mut self) -> Result<bool, ErrorKind> {
        let wire = &self.0.borrow().wire;
        Ok(wire.to_board.length > 0 || wire.state == State::Broken)
    }
}

impl Read for Link<'_> {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        match self.0.borrow_mut().wire.to_board.take(buf) {
            0 => Err(ErrorKind::ConnectionReset),
            count => Ok(count),
        }
    }
}

impl WriteReady for Link<'_> {
    fn write_ready(&mut self) -> Result<bool, ErrorKind> {
        let fifo = &self.0.borrow().wire.to_server;
        Ok(fifo.length < fifo.bytes.len())
    }
}

impl Write for Link<'_> {
    fn write(&mut self, buf: &[u8]) -> Result<usize, ErrorKind> {
        Ok(self.0.borrow_mut().wire.to_server.put(buf))
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}
