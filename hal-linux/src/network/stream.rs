//! A non-blocking connection to a peer: TCP, with TLS over it as often as needed (a request through a TLS proxy to an
//! `https` server is TLS inside TLS).
//!
//! While it is being opened, it is read from and written to as the standard library does it: `WouldBlock` says that there
//! is nothing. Core asks first (`read_ready`, `write_ready`): both do what can be done without waiting.

use std::fmt;
use std::io::{self, BufRead, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use embedded_io::ErrorKind;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};
use rustls::ClientConnection;

use crate::wait::PollSet;

/// How often one call reads from what lies below, at most 4 KiB each time: a peer that sends messages of TLS itself
/// without end must not keep the client from its other work.
const TURN: usize = 16;

/// A connection. What cannot go on is noted, and [`Stream::wants`] then knows what is waited for.
pub(crate) enum Stream {
    Tcp(Tcp),
    Tls(Box<Tls>),
}

pub(crate) struct Tcp {
    socket: TcpStream,
    wants_read: bool,
    wants_write: bool,
}

pub(crate) struct Tls {
    connection: ClientConnection,
    below: Stream,
    /// The last call ended because its turn was over. More may be here already, and no descriptor tells of it.
    is_turn_over: bool,
}

impl Stream {
    /// Begins to connect.
    pub(super) fn connect(address: SocketAddr) -> io::Result<Self> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(family, SocketType::STREAM, flags, None)?;
        match connect(&socket, &address) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS | rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(Self::Tcp(Tcp { socket: socket.into(), wants_read: false, wants_write: false }))
    }

    /// Whether the connection has been made.
    pub(super) fn poll_connected(&mut self) -> io::Result<bool> {
        let tcp = self.tcp();
        let ready = tcp.is_ready(PollFlags::OUT)?;
        tcp.wants_write = !ready;
        if ready {
            sockopt::socket_error(&tcp.socket)??;
            // A request is written at once and answered at once: there is nothing to collect.
            tcp.socket.set_nodelay(true)?;
        }
        Ok(ready)
    }

    /// Wraps this connection in TLS.
    pub(super) fn secured(self, connection: ClientConnection) -> Self {
        Self::Tls(Box::new(Tls { connection, below: self, is_turn_over: false }))
    }

    /// Goes on with the handshake of the outermost TLS: `Ok` when it is complete.
    pub(super) fn handshake(&mut self) -> io::Result<()> {
        let Self::Tls(tls) = self else { return Ok(()) };
        for _ in 0..TURN {
            tls.flush()?;
            if !tls.connection.is_handshaking() {
                return Ok(());
            }
            if tls.receive()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        tls.end_turn()
    }

    /// Forgets what the stream waits for, until the next `read` or `write`.
    pub(crate) fn rest(&mut self) {
        match self {
            Self::Tcp(tcp) => (tcp.wants_read, tcp.wants_write) = (false, false),
            Self::Tls(tls) => {
                tls.is_turn_over = false;
                tls.below.rest();
            }
        }
    }

    /// `Ok` when the next read has bytes, the end or an error.
    fn poll_read(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(tcp) => note(tcp.poll(PollFlags::IN), &mut tcp.wants_read),
            Self::Tls(tls) => tls.poll_read(),
        }
    }

    /// `Ok` when the next write takes bytes, and everything written before has left this process.
    fn poll_write(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(tcp) => note(tcp.poll(PollFlags::OUT), &mut tcp.wants_write),
            Self::Tls(tls) => tls.flush(),
        }
    }

    /// Whether to go on at once, after the client's other work: nothing is waited for.
    pub(super) fn goes_on_at_once(&self) -> bool {
        match self {
            Self::Tcp(_) => false,
            Self::Tls(tls) => tls.is_turn_over || tls.below.goes_on_at_once(),
        }
    }

    /// Adds what the last `read` or `write` would have waited for.
    pub(super) fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        match self {
            Self::Tcp(tcp) => {
                if tcp.wants_read {
                    set.read(&tcp.socket);
                }
                if tcp.wants_write {
                    set.write(&tcp.socket);
                }
            }
            Self::Tls(tls) => tls.below.wants(set),
        }
    }

    /// Asks a peer that has been silent for two minutes whether it is still there: one that is not ends the connection.
    pub(crate) fn keep_alive(&mut self) -> io::Result<()> {
        keep_alive(&self.tcp().socket)
    }

    fn tcp(&mut self) -> &mut Tcp {
        match self {
            Self::Tcp(tcp) => tcp,
            Self::Tls(tls) => tls.below.tcp(),
        }
    }
}

/// Why a connection broke.
#[derive(Debug)]
pub(crate) struct StreamError(pub(crate) io::Error);

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for StreamError {}

impl embedded_io::Error for StreamError {
    /// [`ErrorKind::ConnectionAborted`]: TLS ended without the message that says so.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the standard library's own, and open")]
    fn kind(&self) -> ErrorKind {
        match self.0.kind() {
            io::ErrorKind::UnexpectedEof => ErrorKind::ConnectionAborted,
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => ErrorKind::ConnectionReset,
            io::ErrorKind::InvalidData => ErrorKind::InvalidData,
            _ => ErrorKind::Other,
        }
    }
}

impl embedded_io::ErrorType for Stream {
    type Error = StreamError;
}

impl embedded_io::ReadReady for Stream {
    fn read_ready(&mut self) -> Result<bool, StreamError> {
        ready(self.poll_read())
    }
}

impl embedded_io::Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, StreamError> {
        let read = Read::read(self, buf).map_err(StreamError)?;
        // The caller may take any time over these bytes.
        self.rest();
        Ok(read)
    }
}

impl embedded_io::WriteReady for Stream {
    fn write_ready(&mut self) -> Result<bool, StreamError> {
        ready(self.poll_write())
    }
}

impl embedded_io::Write for Stream {
    fn write(&mut self, buf: &[u8]) -> Result<usize, StreamError> {
        Write::write(self, buf).map_err(StreamError)
    }

    fn flush(&mut self) -> Result<(), StreamError> {
        Write::flush(self).map_err(StreamError)
    }
}

fn ready(done: io::Result<()>) -> Result<bool, StreamError> {
    match done {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(StreamError(error)),
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(tcp) => tcp.socket.fmt(f),
            Self::Tls(tls) => write!(f, "Tls({:?})", tls.below),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => note(retry(|| tcp.socket.read(buf)), &mut tcp.wants_read),
            Self::Tls(tls) => tls.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => note(retry(|| tcp.socket.write(buf)), &mut tcp.wants_write),
            Self::Tls(tls) => tls.write(buf),
        }
    }

    /// `Ok` when everything written has left this process.
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(_) => Ok(()),
            Self::Tls(tls) => tls.flush(),
        }
    }
}

impl Tcp {
    fn poll(&self, direction: PollFlags) -> io::Result<()> {
        if self.is_ready(direction)? { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }

    fn is_ready(&self, direction: PollFlags) -> io::Result<bool> {
        let mut fds = [PollFd::new(&self.socket, direction)];
        Ok(retry(|| Ok(poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?))? > 0)
    }
}

impl Tls {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.poll_read()?;
        self.connection.reader().read(buf)
    }

    /// Decrypts what has arrived, until there is something to read.
    fn poll_read(&mut self) -> io::Result<()> {
        self.is_turn_over = false;
        for _ in 0..TURN {
            match self.flush() {
                // Messages of TLS itself, such as the answer to a key update, are sent when there is room; reading does
                // not wait for that.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => done?,
            }
            match self.connection.reader().fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Nothing means that the peer has properly closed; without that it is an error.
                done => return done.map(drop),
            }
            self.receive()?;
        }
        self.end_turn()
    }

    fn end_turn<T>(&mut self) -> io::Result<T> {
        self.is_turn_over = true;
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.flush()?;
        let taken = self.connection.writer().write(buf)?;
        match self.flush() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => done?,
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.connection.wants_write() {
            if self.connection.write_tls(&mut self.below)? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        self.below.flush()
    }

    /// Takes what has arrived; 0 at the end of what lies below.
    fn receive(&mut self) -> io::Result<usize> {
        let received = self.connection.read_tls(&mut self.below)?;
        if let Err(error) = self.connection.process_new_packets() {
            // The alert tells the peer why; whether it gets through changes nothing.
            let _ = self.flush();
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        Ok(received)
    }
}

/// Has the kernel ask the peer whether it is there, after two minutes in which nothing came, three times.
pub(crate) fn keep_alive(socket: &TcpStream) -> io::Result<()> {
    sockopt::set_tcp_keepidle(socket, Duration::from_secs(120))?;
    sockopt::set_tcp_keepintvl(socket, Duration::from_secs(20))?;
    sockopt::set_tcp_keepcnt(socket, 3)?;
    Ok(sockopt::set_socket_keepalive(socket, true)?)
}

fn note<T>(done: io::Result<T>, wants: &mut bool) -> io::Result<T> {
    *wants = matches!(&done, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
    done
}

fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
