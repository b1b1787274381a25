//! The way to the server for other programs on this device (R-43): a proxy on the loopback interface that passes on the
//! requests that have the client's current token, over the client's own connections, with their certificates and proxies.
//!
//! ```text
//!   program --- http://127.0.0.1:PORT/api/... ---> Forwarder --- Connector (TLS, private CA, own certificate) ---> server
//! ```
//!
//! It is polled in the client's one loop, and no call waits. Any user of the device may connect: whoever has no token,
//! which only root hears over D-Bus, gets status 401, has 10 seconds, and can take none of the places of the requests that
//! had it. What such a user can do is make others wait: until its head is whole, the connection of a program that has
//! the token is like any other. It is not closed for another's sake before it is 5 ms old, and while all places are
//! taken by younger ones, the next connections wait in the kernel's queue, in their order. Every request has a connection
//! of its own (`Connection: close`), so that no byte of one can reach another.
//!
//! What ends a connection: its answer; the end of either side, also of one that only says that it sends no more; 10 s
//! without a whole head; 60 s in which the server takes nothing or does not answer; 5 minutes in which no byte of a body
//! comes or is taken. One whose protocol was changed (`Upgrade`, such as a websocket) may be silent: it ends with either
//! side, when bytes are not taken for 5 minutes, or when the kernel finds that the other end is not there any more.

mod exchange;
#[cfg(feature = "fuzzing")]
pub mod fuzz;
mod head;
mod pipe;
mod session;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, TcpListener};

use thimble_core::hal::Level;
use thimble_core::time::{Duration, Instant, earliest};

use self::head::Origin;
use self::session::{Gate, Session};
use crate::SharedLog;
use crate::network::Connections;
use crate::wait::PollSet;

/// Requests with a token that are under way at a time. One more gets status 503.
const WITH_TOKEN: usize = 8;

/// Connections at a time whose request has not come yet, or is over, or was refused. One more takes the place of the
/// oldest that has its answer, else of the oldest.
const WITHOUT_TOKEN: usize = 4;

/// How long each of them keeps its place: programs send the head of a request in several pieces, one behind the other. Not longer: the
/// proxy accepts [`WITHOUT_TOKEN`] connections in that time, and where more come, the kernel's queue fills up, and programs with the
/// token wait for their turn in it.
const KEEPS: Duration = Duration::from_millis(5);

/// Connections that one turn accepts.
const ACCEPTED: usize = 16;

/// How long the listener rests after a connection could not be accepted.
const REST: Duration = Duration::from_secs(1);

/// The proxy. Takes no memory for connections that are not there.
pub struct Forwarder {
    connections: Connections,
    log: SharedLog,
    listener: Option<(TcpListener, String)>,
    listen: fn() -> io::Result<(TcpListener, u16)>,
    /// In the order in which they came.
    sessions: Vec<Session>,
    /// No connection is accepted before this time.
    rests: Option<Instant>,
    /// All places of [`WITHOUT_TOKEN`] are taken until then, unless one of them becomes free.
    full: Option<Instant>,
    /// The log already says that there can be no proxy.
    is_missing: bool,
    /// The log already says that the server cannot be reached.
    is_lost: bool,
}

impl fmt::Debug for Forwarder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forwarder").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl Forwarder {
    /// Does not listen yet.
    #[must_use]
    pub fn new(connections: Connections, log: SharedLog) -> Self {
        Self {
            connections,
            log,
            listener: None,
            listen,
            sessions: Vec::new(),
            rests: None,
            full: None,
            is_missing: false,
            is_lost: false,
        }
    }

    /// The URL under which the proxy listens, from the first call on; programs put the path of a request behind it.
    /// `None`: no port can be had. The log says why, once, and the next call tries again.
    pub fn url(&mut self) -> Option<&str> {
        if self.listener.is_none() {
            match (self.listen)() {
                Ok((listener, port)) => {
                    let url = format!("http://127.0.0.1:{port}");
                    self.log.borrow_mut().log(
                        Level::Info,
                        format_args!("programs with the device's token reach the server through {url}"),
                    );
                    self.listener = Some((listener, url));
                    self.is_missing = false;
                }
                Err(error) if !std::mem::replace(&mut self.is_missing, true) => self.log.borrow_mut().log(
                    Level::Warning,
                    format_args!(
                        "no proxy for other programs: a port of 127.0.0.1 cannot be had: {error}; they get the server's \
                         own URL"
                    ),
                ),
                Err(_) => {}
            }
        }
        self.listener.as_ref().map(|(_, url)| url.as_str())
    }

    /// Adds the descriptors that the next turn would read from or write to.
    pub fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        if let (Some((listener, _)), None, None) = (&self.listener, self.rests, self.full) {
            set.read(listener);
        }
        for session in &self.sessions {
            session.wants(set);
        }
    }

    /// When to turn next, even if no descriptor became ready.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let accepts = earliest(self.rests, self.full);
        self.sessions.iter().map(Session::deadline).fold(accepts, earliest)
    }

    /// Goes on with every connection as far as possible. `token`: the client's current token, and the URL of the server
    /// that gave it; requests that are under way do not need it any more.
    pub fn turn(&mut self, now: Instant, token: Option<(&str, &str)>) {
        let origin = token.map(|(token, server)| Origin { token, server });
        self.rests = self.rests.filter(|&until| now < until);
        for index in 0..self.sessions.len() {
            self.serve(index, now, origin);
        }
        self.sessions.retain(|session| !session.is_gone());
        for _ in 0..ACCEPTED {
            self.full = self.full_until(now);
            if self.rests.is_some() || self.full.is_some() || !self.accept(now, origin) {
                break;
            }
        }
        self.full = self.full_until(now);
        if self.sessions.is_empty() {
            self.sessions = Vec::new();
        }
    }

    fn serve(&mut self, index: usize, now: Instant, origin: Option<Origin<'_>>) {
        let admitted = self.sessions.iter().filter(|session| session.is_admitted()).count();
        let gate = Gate { origin, connections: &self.connections, is_open: admitted < WITH_TOKEN };
        let Some(session) = self.sessions.get_mut(index) else { return };
        let was_admitted = session.is_admitted();
        match session.turn(now, &gate) {
            Some(why) => {
                let level =
                    if std::mem::replace(&mut self.is_lost, true) { Level::Debug } else { Level::Warning };
                let text = format_args!("a program's request did not get through to the server: {why}");
                self.log.borrow_mut().log(level, text);
            }
            None if was_admitted && !session.is_admitted() => self.is_lost = false,
            None => {}
        }
    }

    /// Which connection without a token loses its place to the next one; `None`: there is a place.
    fn loser(&self) -> Option<usize> {
        let without = || self.sessions.iter().enumerate().filter(|(_, session)| session.is_without_token());
        if without().count() < WITHOUT_TOKEN {
            return None;
        }
        let loser = without().min_by_key(|(_, session)| (!session.is_answered(), session.since()));
        loser.map(|(index, _)| index)
    }

    /// Until when no connection can be accepted, because each keeps its place.
    fn full_until(&self, now: Instant) -> Option<Instant> {
        let loser = self.sessions.get(self.loser()?)?;
        Some(loser.since() + KEEPS).filter(|&until| now < until)
    }

    /// Accepts a connection, and goes on with it; false when there is none.
    fn accept(&mut self, now: Instant, origin: Option<Origin<'_>>) -> bool {
        let Some((listener, _)) = &self.listener else { return false };
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {
                return true;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            // For example, the process has no descriptors left. Trying again at once would make the main loop spin.
            Err(error) => {
                let text = format_args!("a program's connection has to wait: {error}");
                self.log.borrow_mut().log(Level::Debug, text);
                self.rests = Some(now + REST);
                return false;
            }
        };
        let Ok(session) = Session::new(stream, now) else { return true };
        let loser = self.loser();
        self.sessions.push(session);
        // At once: a program that has its token sends its request right away, and then has a place of its own.
        self.serve(self.sessions.len().saturating_sub(1), now, origin);
        if let Some(loser) = loser
            && self.sessions.last().is_some_and(Session::is_without_token)
        {
            self.sessions.remove(loser);
        }
        self.sessions.retain(|session| !session.is_gone());
        true
    }
}

/// A port that the kernel chooses.
fn listen() -> io::Result<(TcpListener, u16)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    Ok((listener, port))
}
