//! One program's connection, with one request:
//!
//! ```text
//!             token                 connected             101
//!   Head ------------> Opening ----------------> Body ---------> Raw
//!     |                   |                        |              |
//!     +--- refused -------+------------------------+--- end ------+---> Last (what is still to be written) ---> gone
//! ```
//!
//! Nothing here waits. Each direction holds one piece at most: what the one side does not take is not read from the
//! other.

use std::io;
use std::net::{Shutdown, TcpStream};

use rustix::net::sockopt;
use thimble_core::http::url::Url;
use thimble_core::network::Connect as _;
use thimble_core::time::{Duration, Instant, earliest};

use super::exchange::{Exchange, Round};
use super::head::{self, HEAD, Origin, Refusal};
use super::pipe::{Pipe, read, waits};
use crate::network::Connections;
use crate::wait::PollSet;

/// How long the head of a request may take to arrive, however slowly its bytes come.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// How long a program may take to read the last of its answer, and to close.
const LAST_TIME: Duration = Duration::from_secs(5);

/// Reads and writes that one turn does for a connection: the client has other work.
const ROUNDS: usize = 16;

/// What a new request is judged by.
pub(super) struct Gate<'a> {
    pub(super) origin: Option<Origin<'a>>,
    pub(super) connections: &'a Connections,
    /// Another request may be passed on.
    pub(super) is_open: bool,
}

/// A connection of a program.
pub(super) struct Session {
    caller: TcpStream,
    /// When it came, or its request had its end.
    since: Instant,
    stage: Stage,
    /// The end of the time for the head of the request, or for the last bytes.
    deadline: Instant,
    /// The last turn ended though there was more to do.
    more: bool,
}

enum Stage {
    /// The bytes of the head so far.
    Head(Vec<u8>),
    Forward(Box<Exchange>),
    /// The last bytes for the program; then whatever it sends is thrown away until it closes. If this side closed at once,
    /// the program's kernel could throw our answer away.
    Last(Pipe),
    Gone,
}

impl Session {
    pub(super) fn new(caller: TcpStream, now: Instant) -> io::Result<Self> {
        caller.set_nonblocking(true)?;
        caller.set_nodelay(true)?;
        let deadline = now + HEAD_TIME;
        Ok(Self { caller, since: now, stage: Stage::Head(Vec::new()), deadline, more: false })
    }

    /// Whether its request had the token and is still under way.
    pub(super) const fn is_admitted(&self) -> bool {
        matches!(self.stage, Stage::Forward(_))
    }

    /// Whether its request has not come yet, or is over, or was refused.
    pub(super) const fn is_without_token(&self) -> bool {
        matches!(self.stage, Stage::Head(_) | Stage::Last(_))
    }

    /// Whether nothing but the program's end is waited for, or the last bytes for it.
    pub(super) const fn is_answered(&self) -> bool {
        matches!(self.stage, Stage::Last(_))
    }

    /// When it came, or its request had its end.
    pub(super) const fn since(&self) -> Instant {
        self.since
    }

    pub(super) const fn is_gone(&self) -> bool {
        matches!(self.stage, Stage::Gone)
    }

    pub(super) fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        match &self.stage {
            Stage::Head(_) => set.read(&self.caller),
            Stage::Last(last) if last.is_empty() => set.read(&self.caller),
            Stage::Last(_) => set.write(&self.caller),
            Stage::Forward(exchange) => exchange.wants(&self.caller, set),
            Stage::Gone => {}
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            _ if self.more => Some(Instant::ZERO),
            Stage::Forward(exchange) => earliest(exchange.deadline(), exchange.connector.deadline()),
            Stage::Head(_) | Stage::Last(_) => Some(self.deadline),
            Stage::Gone => None,
        }
    }

    /// Goes on as far as possible. What went wrong with the server, for the log.
    pub(super) fn turn(&mut self, now: Instant, gate: &Gate<'_>) -> Option<String> {
        self.more = false;
        for _ in 0..ROUNDS {
            let round = match &mut self.stage {
                Stage::Head(_) => self.head(now, gate),
                Stage::Forward(exchange) => exchange.round(now, &mut self.caller),
                Stage::Last(_) => self.last(),
                Stage::Gone => return None,
            };
            let ended = match round {
                Round::Moved => continue,
                Round::Waits => match &self.stage {
                    Stage::Forward(exchange) => exchange.too_late(now),
                    Stage::Head(_) if now >= self.deadline => {
                        Some(Round::Refused(Refusal::TooSlow, String::new()))
                    }
                    Stage::Last(_) if now >= self.deadline => Some(Round::Broken(String::new())),
                    Stage::Head(_) | Stage::Last(_) | Stage::Gone => None,
                },
                Round::Done | Round::Refused(..) | Round::Broken(_) => Some(round),
            };
            return self.end(now, ended?);
        }
        self.more = true;
        None
    }

    /// Reads the head of the request.
    fn head(&mut self, now: Instant, gate: &Gate<'_>) -> Round {
        let Stage::Head(bytes) = &mut self.stage else { return Round::Waits };
        match read(&mut self.caller, HEAD.saturating_sub(bytes.len()), |piece| bytes.extend_from_slice(piece))
        {
            Ok(0) => return Round::Broken(String::new()),
            Ok(_) => {}
            Err(error) if waits(&error) => return Round::Waits,
            Err(_) => return Round::Broken(String::new()),
        }
        let mut connector = gate.connections.connector();
        let mut is_relayed = false;
        let asked = head::request(bytes, gate.origin, |url| {
            let relay = connector.relay(&url.authority).filter(|_| !url.is_https)?;
            is_relayed = true;
            Some(head::authorization(relay))
        });
        let asked = match asked {
            Ok(Some(asked)) => asked,
            Ok(None) => return Round::Moved,
            Err(refusal) => return Round::Refused(refusal, String::new()),
        };
        if !gate.is_open {
            return Round::Refused(Refusal::TooMany, String::new());
        }
        // The server of the token, whose URL was used before.
        let Some(server) = gate.origin.and_then(|origin| Url::parse(origin.server).ok()) else {
            return Round::Refused(Refusal::Server, String::new());
        };
        if let Err(error) = connector.open(now, &server.authority, server.is_https) {
            return Round::Refused(Refusal::Server, error.to_string());
        }
        let ahead = bytes.split_off(asked.length);
        let exchange = Exchange::new(now, connector, gate.connections.limits(), is_relayed, asked, ahead);
        self.stage = Stage::Forward(Box::new(exchange));
        Round::Moved
    }

    /// Writes the last bytes, then waits for the program to close.
    fn last(&mut self) -> Round {
        let Stage::Last(pipe) = &mut self.stage else { return Round::Waits };
        let done = if pipe.is_empty() {
            read(&mut self.caller, HEAD, |_| ())
        } else {
            let written = pipe.write_to(&mut self.caller);
            if pipe.is_empty() {
                let _ = self.caller.shutdown(Shutdown::Write);
            }
            written
        };
        match done {
            Ok(0) => self.stage = Stage::Gone,
            Ok(_) => return Round::Moved,
            Err(error) if waits(&error) => {}
            Err(_) => self.stage = Stage::Gone,
        }
        Round::Waits
    }

    /// What the program sees of the end; what the log says.
    fn end(&mut self, now: Instant, ended: Round) -> Option<String> {
        (self.since, self.deadline) = (now, now + LAST_TIME);
        let why = match ended {
            Round::Moved | Round::Waits => return None,
            Round::Done => {
                let _ = self.caller.shutdown(Shutdown::Write);
                self.stage = Stage::Last(Pipe::default());
                String::new()
            }
            Round::Refused(refusal, why) => {
                let is_head = matches!(&self.stage, Stage::Head(bytes) if bytes.starts_with(b"HEAD "))
                    || matches!(&self.stage, Stage::Forward(exchange) if exchange.kind.is_head);
                let mut last = Pipe::default();
                *last.back() = refusal.answer(&why, is_head);
                self.stage = Stage::Last(last);
                why
            }
            Round::Broken(why) => {
                // A reset, so that the program cannot take what it has for all of it.
                let _ = sockopt::set_socket_linger(&self.caller, Some(std::time::Duration::ZERO));
                self.stage = Stage::Gone;
                why
            }
        };
        // What is left to be done is done at once, or when the descriptor is ready.
        self.more = !self.is_gone();
        Some(why).filter(|why| !why.is_empty())
    }
}
