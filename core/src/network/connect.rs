use core::task::Poll;

use embedded_io::{Read, ReadReady, Write, WriteReady};

use crate::hal;
use crate::http::url::Authority;
use crate::http::write::Relay;
use crate::time::Instant;

/// Opens connections to servers, one at a time: to a server of the configuration, to the host of an artifact, to where a
/// redirect leads.
///
/// Everything below HTTP is here: names, sockets or a modem, TLS, a proxy's tunnel. So are the time limits of these
/// steps: 30 s for a lookup, for connecting, and for a handshake (SERVER-70 to SERVER-72). A connection that is still not
/// open after [`Limits::open`](crate::http::exchange::Limits::open) is closed whatever its steps say.
pub trait Connect {
    /// An open connection, over TLS where that was asked for.
    ///
    /// * No call waits. `read` is called after `read_ready` said true, `write` after `write_ready` did. Where one of them
    ///   says false, the platform wakes its main loop when that changes.
    /// * `read` gives 0 at the end of the stream, if that is the peer's: over TLS, only when the peer said that it ends. A
    ///   stream that is cut off is an error of kind [`embedded_io::ErrorKind::ConnectionAborted`]; any other error is a
    ///   broken connection.
    /// * `write_ready` is true only when nothing of what was written before waits in this process. `flush`, called once
    ///   behind each request, is called then, and has nothing to wait for.
    /// * Both directions move on what the other one needs, such as messages of TLS itself.
    type Stream: Read + Write + ReadReady + WriteReady;

    /// Why there is no connection.
    type Error: hal::Error;

    /// Begins to open a connection to `server`, over TLS where `is_https`; the one before is closed first. An error here
    /// is final, as one of [`Self::poll`] is.
    fn open(&mut self, now: Instant, server: &Authority<'_>, is_https: bool) -> Result<(), Self::Error>;

    /// Goes on opening. Ready with nothing when the connection is open, and again when it is asked once more; never ready
    /// when nothing is being opened.
    fn poll(&mut self, now: Instant) -> Poll<Result<(), Self::Error>>;

    /// The connection; `None` unless it is open.
    fn stream(&mut self) -> Option<&mut Self::Stream>;

    /// Closes the connection, or gives up opening it. What was written has either left this process or is lost.
    fn close(&mut self);

    /// When a poll should be made though nothing woke the platform.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// The proxy that a plain `http` request to `server` is handed to as it is. [`Self::open`] then leads to that proxy. A
    /// proxy that is asked for a tunnel is nobody's business but this trait's.
    fn relay(&self, _server: &Authority<'_>) -> Option<Relay<'_>> {
        None
    }

    /// The wall clock in seconds since 1970, for servers that say by date when to ask again. `None`: such dates are
    /// ignored.
    fn unix_now(&self) -> Option<u64> {
        None
    }
}

impl<C: Connect> Connect for &mut C {
    type Stream = C::Stream;
    type Error = C::Error;

    fn open(&mut self, now: Instant, server: &Authority<'_>, is_https: bool) -> Result<(), Self::Error> {
        C::open(self, now, server, is_https)
    }

    fn poll(&mut self, now: Instant) -> Poll<Result<(), Self::Error>> {
        C::poll(self, now)
    }

    fn stream(&mut self) -> Option<&mut Self::Stream> {
        C::stream(self)
    }

    fn close(&mut self) {
        C::close(self);
    }

    fn deadline(&self) -> Option<Instant> {
        C::deadline(self)
    }

    fn relay(&self, server: &Authority<'_>) -> Option<Relay<'_>> {
        C::relay(self, server)
    }

    fn unix_now(&self) -> Option<u64> {
        C::unix_now(self)
    }
}
