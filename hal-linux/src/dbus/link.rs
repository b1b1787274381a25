//! The connection to the bus: a socket, the greeting, messages in and out. No call blocks, and no buffer
//! grows without a limit: messages have a limited length, and while much output waits, no more input is read.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::os::unix::net::UnixStream;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use thimble_core::time::{Duration, Instant};

use super::message::{Frame, MESSAGE_MAX, Malformed, Message};
use crate::wait::PollSet;

/// While more output than this many bytes waits, no input is read: a peer that sends calls must also read the answers.
const ROOM: usize = 64 * 1024;

/// When more output than this many bytes waits, the bus counts as dead. The difference to [`ROOM`] is for signals,
/// which the client sends without being asked.
const OUTPUT_MAX: usize = 256 * 1024;

/// How long the bus may take to answer the greeting, and to read waiting output.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Longest line of the greeting, in bytes.
const LINE_MAX: usize = 512;

const CHUNK: usize = 4096;

/// Most chunks that are read in one turn, so that a bus that sends without end cannot block the daemon.
const CHUNKS: usize = 32;

/// Why there is no connection, or no longer one.
#[derive(Debug)]
pub(crate) enum Lost {
    Io(io::Error),
    /// The bus ended the connection.
    Ended,
    /// The bus does not accept this process's user, or asks for another way to authenticate.
    Rejected,
    Malformed,
    /// The bus did not answer, or did not read our output, in time.
    TooSlow,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Ended => f.write_str("the bus ended the connection"),
            Self::Rejected => f.write_str("the bus does not accept this user"),
            Self::Malformed => f.write_str("what the bus sent makes no sense"),
            Self::TooSlow => write!(f, "the bus did not answer within {PATIENCE}"),
        }
    }
}

impl From<Malformed> for Lost {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// What was received.
#[derive(Debug)]
pub(crate) enum Incoming {
    Message(Message),
    /// The header of a message that is longer than [`MESSAGE_MAX`]; the rest is skipped.
    TooLong(Message),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LinkState {
    /// The answer to `AUTH` has not come.
    Greeting,
    Messages,
}

#[derive(Debug)]
pub(crate) struct Link {
    stream: UnixStream,
    state: LinkState,
    input: Vec<u8>,
    /// How many bytes are still to be skipped of a message that was too long.
    skip: usize,
    output: Vec<u8>,
    sent: usize,
    /// When the bus is late: with the greeting, or with taking what waits to go out.
    late: Option<Instant>,
    has_ended: bool,
    /// The last turn ended at its limit, with input left.
    more: bool,
    /// The last turn ended because too much output waited; received messages may still be in the buffer.
    held: bool,
}

impl Link {
    /// Connects as the user `uid`, and begins the greeting.
    pub(crate) fn connect(now: Instant, address: &SocketAddrUnix, uid: u32) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        match connect(&socket, address) {
            Ok(()) => {}
            // The bus has too many waiting connections: try again later.
            Err(Errno::AGAIN) => return Err(ErrorKind::WouldBlock.into()),
            Err(error) => return Err(error.into()),
        }
        // The bus learns from the kernel which user this is. The protocol wants the user id as text all the same, with
        // each digit in hexadecimal.
        let hex: String = uid.to_string().bytes().map(|digit| format!("{digit:02x}")).collect();
        Ok(Self {
            stream: socket.into(),
            state: LinkState::Greeting,
            input: Vec::new(),
            skip: 0,
            output: format!("\0AUTH EXTERNAL {hex}\r\n").into_bytes(),
            sent: 0,
            late: Some(now + PATIENCE),
            has_ended: false,
            more: false,
            held: false,
        })
    }

    pub(crate) fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        if self.has_room() {
            set.read(&self.stream);
        }
        if !self.output.is_empty() {
            set.write(&self.stream);
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        if self.more || (self.held && self.has_room()) { Some(Instant::ZERO) } else { self.late }
    }

    /// Whether there is room for messages that could also be dropped or sent later.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting() < ROOM
    }

    /// Whether the greeting is over and messages may be sent.
    pub(crate) fn is_open(&self) -> bool {
        self.state == LinkState::Messages
    }

    /// Queues a message behind the waiting output.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.output.extend(bytes);
    }

    /// The next message; `None` when there is none for now, or the limit of this turn is reached.
    pub(crate) fn poll(&mut self, now: Instant) -> Result<Option<Incoming>, Lost> {
        self.more = false;
        self.held = false;
        self.flush(now)?;
        for _ in 0..CHUNKS {
            match self.state {
                LinkState::Greeting => self.greet(now)?,
                LinkState::Messages => {}
            }
            if self.state == LinkState::Messages
                && self.has_room()
                && let Some(incoming) = self.cut()?
            {
                return Ok(Some(incoming));
            }
            if self.late.is_some_and(|at| at <= now) {
                return Err(Lost::TooSlow);
            }
            if self.has_ended {
                return Err(Lost::Ended);
            }
            if !self.has_room() {
                self.held = true;
                return Ok(None);
            }
            if !self.receive()? {
                return Ok(None);
            }
        }
        self.more = true;
        Ok(None)
    }

    /// Reads the answer to the first line, and ends the greeting. Messages follow.
    fn greet(&mut self, now: Instant) -> Result<(), Lost> {
        let Some(end) = self.input.iter().position(|&byte| byte == b'\n') else {
            return if self.input.len() > LINE_MAX { Err(Lost::Malformed) } else { Ok(()) };
        };
        let line: Vec<u8> = self.input.drain(..=end).collect();
        if !line.starts_with(b"OK ") {
            return Err(Lost::Rejected);
        }
        self.state = LinkState::Messages;
        self.late = None;
        self.send(b"BEGIN\r\n");
        self.flush(now)
    }

    /// The next message of the input.
    fn cut(&mut self) -> Result<Option<Incoming>, Lost> {
        loop {
            let skipped = self.skip.min(self.input.len());
            self.input.drain(..skipped);
            self.skip -= skipped;
            let Some(frame) = Frame::find(&self.input)? else { return Ok(None) };
            let is_too_long = frame.total > MESSAGE_MAX;
            if is_too_long && frame.header > MESSAGE_MAX {
                self.skip = frame.total;
                continue;
            }
            let needed = if is_too_long { frame.header } else { frame.total };
            let Some(bytes) = self.input.get(..needed) else { return Ok(None) };
            let message = Message::decode(bytes)?;
            self.input.drain(..needed);
            self.skip = frame.total - needed;
            if let Some(message) = message {
                return Ok(Some(if is_too_long {
                    Incoming::TooLong(message)
                } else {
                    Incoming::Message(message)
                }));
            }
        }
    }

    /// Reads some bytes; false when there are none for now. The buffer holds at most a message and a chunk.
    fn receive(&mut self) -> Result<bool, Lost> {
        let mut chunk = [0; CHUNK];
        match self.stream.read(&mut chunk) {
            Ok(0) => {
                self.has_ended = true;
                Ok(true)
            }
            Ok(read) => {
                self.input.extend(chunk.iter().take(read));
                Ok(true)
            }
            Err(error) if is_for_later(&error) => Ok(false),
            Err(error) => Err(Lost::Io(error)),
        }
    }

    /// Sends as much of the waiting output as the bus takes.
    pub(crate) fn flush(&mut self, now: Instant) -> Result<(), Lost> {
        let mut moved = false;
        while let rest @ [_, ..] = self.output.get(self.sent..).unwrap_or_default() {
            match self.stream.write(rest) {
                Ok(0) => return Err(Lost::Ended),
                Ok(written) => {
                    self.sent += written;
                    moved = true;
                }
                Err(error) if is_for_later(&error) => break,
                Err(error) => return Err(Lost::Io(error)),
            }
        }
        if self.waiting() == 0 {
            self.output = Vec::new();
            self.sent = 0;
        } else if moved {
            self.output = mem::take(&mut self.output).split_off(self.sent);
            self.sent = 0;
        }
        if self.state == LinkState::Messages {
            self.late = if self.output.is_empty() {
                None
            } else if moved {
                Some(now + PATIENCE)
            } else {
                self.late.or(Some(now + PATIENCE))
            };
        }
        if self.waiting() > OUTPUT_MAX { Err(Lost::TooSlow) } else { Ok(()) }
    }

    fn waiting(&self) -> usize {
        self.output.len() - self.sent
    }
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
