//! A request that had the token: it goes to the server, and the answer comes back.
//!
//! Each direction holds one piece at most: what one side does not take is not read from the other.

use std::net::TcpStream;
use std::task::Poll;

use thimble_core::http::body::{Body, Framing, Next};
use thimble_core::http::exchange::Limits;
use thimble_core::network::Connect as _;
use thimble_core::time::{Duration, Instant};

use super::head::{self, Answer, Asked, BadAnswer, HEAD, Kind, Refusal};
use super::pipe::{Form, PIECE, Pipe, read, take, waits};
use crate::network::{Connector, NetworkError, Stream, keep_alive};
use crate::wait::PollSet;

/// How long what is on its way may still take when one side of a changed protocol has ended.
const LAST_TIME: Duration = Duration::from_secs(5);

/// A request that is passed on.
pub(super) struct Exchange {
    pub(super) connector: Connector,
    pub(super) kind: Kind,
    limits: Limits,
    is_relayed: bool,
    /// There is a connection to the server.
    is_open: bool,
    /// `None`: an idle connection whose protocol was changed. Its end is the end of one side; the kernel notices one that
    /// is not there any more ([`keep_alive`]).
    deadline: Option<Instant>,
    /// To the server. It begins with the head of the request.
    up: Pipe,
    /// What came with the head of the request and was not taken yet.
    ahead: Vec<u8>,
    request: Body,
    form: Form,
    /// The server takes no more of the request. Its answer may still come.
    is_refused: bool,
    /// To the program.
    down: Pipe,
    answer: Reply,
    /// The kernel asks whether the other ends are still there.
    is_watched: bool,
    /// The program has sent more than its request. That is not read, and hides its end.
    has_surplus: bool,
}

/// How far the answer is.
enum Reply {
    /// The bytes of its head so far, and the length of the interim answers before.
    Head(Vec<u8>, usize),
    Body(Body, Form),
    /// Any bytes in both directions. `true`: one side has ended, and nothing is read any more.
    Raw(bool),
    Over,
}

/// What one round did.
pub(super) enum Round {
    Moved,
    Waits,
    /// Everything was passed on.
    Done,
    /// The program gets this instead of an answer, with the reason.
    Refused(Refusal, String),
    /// Something broke after the answer began, or the program has gone. The reason is empty when nobody wants to know.
    Broken(String),
}

impl Exchange {
    /// `ahead`: what came behind the head of the request.
    pub(super) fn new(
        now: Instant,
        connector: Connector,
        limits: Limits,
        is_relayed: bool,
        asked: Asked,
        ahead: Vec<u8>,
    ) -> Self {
        let mut up = Pipe::default();
        *up.back() = asked.head;
        Self {
            connector,
            kind: asked.kind,
            limits,
            is_relayed,
            is_open: false,
            deadline: Some(now + limits.open),
            up,
            ahead,
            request: Body::new(asked.framing),
            form: form(asked.framing, false),
            is_refused: false,
            down: Pipe::default(),
            answer: Reply::Head(Vec::new(), 0),
            is_watched: false,
            has_surplus: false,
        }
    }

    pub(super) fn wants<'fd>(&'fd self, caller: &'fd TcpStream, set: &mut PollSet<'fd>) {
        self.connector.wants(set);
        if self.reads_caller() || self.waits_for_end() {
            set.read(caller);
        }
        if !self.down.is_empty() {
            set.write(caller);
        }
    }

    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// What follows when nothing moved for too long.
    pub(super) fn too_late(&self, now: Instant) -> Option<Round> {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return None;
        }
        Some(match &self.answer {
            Reply::Head(..) => self.fails(Refusal::ServerTooSlow, "nothing moved for too long".to_owned()),
            Reply::Body(..) => Round::Broken("nothing moved for too long".to_owned()),
            Reply::Raw(_) | Reply::Over => Round::Broken(String::new()),
        })
    }

    /// Goes on with everything once.
    pub(super) fn round(&mut self, now: Instant, caller: &mut TcpStream) -> Round {
        if !self.is_open {
            match self.connector.poll(now) {
                Poll::Pending => return Round::Waits,
                Poll::Ready(Err(error)) => {
                    let is_late = matches!(error, NetworkError::TimedOut(..));
                    let refusal = if is_late { Refusal::ServerTooSlow } else { Refusal::Server };
                    return Round::Refused(refusal, error.to_string());
                }
                Poll::Ready(Ok(())) => {
                    self.is_open = true;
                    self.deadline = Some(now + self.limits.write);
                }
            }
        }
        if let Some(stream) = self.connector.stream() {
            stream.rest();
        }
        let (sent, received) = match (self.send(caller), self.receive(caller)) {
            (Ok(sent), Ok(received)) => (sent, received),
            (Err(end), _) | (_, Err(end)) => return end,
        };
        if sent || received {
            self.moved(now, sent);
        }
        if matches!(self.answer, Reply::Raw(_)) && !std::mem::replace(&mut self.is_watched, true) {
            // Where the kernel does not know how, silence lasts until somebody writes.
            let _ = keep_alive(caller);
            let _ = self.connector.stream().map(Stream::keep_alive);
        }
        match &self.answer {
            Reply::Over | Reply::Raw(true) if self.up_is_over() && self.down.is_empty() => Round::Done,
            Reply::Head(..) | Reply::Body(..) | Reply::Raw(_) | Reply::Over if sent || received => {
                Round::Moved
            }
            Reply::Head(..) | Reply::Body(..) | Reply::Raw(_) | Reply::Over => Round::Waits,
        }
    }

    /// What is left for the server concerns nobody once there is a whole answer.
    fn up_is_over(&self) -> bool {
        matches!(self.answer, Reply::Over) || self.up.is_empty()
    }

    /// Bytes moved: the time for the next ones begins. That of the answer's head goes on, however slowly it comes.
    fn moved(&mut self, now: Instant, sent: bool) {
        let waits_for_caller = self.reads_caller();
        self.deadline = match &self.answer {
            Reply::Head(..) if !sent => self.deadline,
            Reply::Head(..) if waits_for_caller => Some(now + self.limits.body_idle),
            Reply::Head(..) => Some(now + self.limits.head),
            Reply::Body(..) | Reply::Over => Some(now + self.limits.body_idle),
            Reply::Raw(false) if self.up.is_empty() && self.down.is_empty() => None,
            Reply::Raw(false) => Some(now + self.limits.body_idle),
            Reply::Raw(true) => Some(self.deadline.unwrap_or(now + LAST_TIME).min(now + LAST_TIME)),
        };
    }

    /// Whether more of the program's bytes can be taken.
    fn reads_caller(&self) -> bool {
        let wants = match self.answer {
            Reply::Head(..) | Reply::Body(..) => self.request.next() != Next::End && !self.is_refused,
            Reply::Raw(has_ended) => !has_ended,
            Reply::Over => false,
        };
        self.is_open && self.up.is_empty() && wants
    }

    /// Whether all that is wanted of the program is to know whether it is still there.
    fn waits_for_end(&self) -> bool {
        let is_whole = match self.answer {
            Reply::Head(..) | Reply::Body(..) => self.request.next() == Next::End,
            Reply::Raw(_) | Reply::Over => false,
        };
        self.is_open && is_whole && !self.has_surplus
    }

    /// From the program to the server.
    fn send(&mut self, caller: &mut TcpStream) -> Result<bool, Round> {
        let mut moved = false;
        if self.waits_for_end() {
            match caller.peek(&mut [0]) {
                // It has given up: nobody waits for the answer, and its place is free.
                Ok(0) => return Err(Round::Broken(String::new())),
                Ok(_) => self.has_surplus = true,
                Err(error) if waits(&error) => {}
                Err(_) => return Err(Round::Broken(String::new())),
            }
        }
        if self.reads_caller() {
            let ahead = std::mem::take(&mut self.ahead);
            let (mut fault, is_raw) = (Ok(0), matches!(self.answer, Reply::Raw(_)));
            let (request, form, up) = (&mut self.request, self.form, self.up.back());
            let mut pass = |piece: &[u8]| {
                if is_raw {
                    up.extend_from_slice(piece);
                } else {
                    fault = take(request, form, piece, up);
                }
            };
            let read = if ahead.is_empty() {
                read(caller, PIECE, pass)
            } else {
                pass(&ahead);
                Ok(ahead.len())
            };
            if fault.is_err() {
                return Err(self.fails(Refusal::Length, String::new()));
            }
            match read {
                Ok(0) if is_raw => {
                    self.answer = Reply::Raw(true);
                    moved = true;
                }
                // Nobody is left who could want the answer to the part of a request.
                Ok(0) => return Err(Round::Broken(String::new())),
                Ok(_) => moved = true,
                Err(error) if waits(&error) => {}
                Err(_) => return Err(Round::Broken(String::new())),
            }
        }
        let Some(stream) = self.connector.stream() else { return Ok(moved) };
        let written = if self.up.is_empty() {
            std::io::Write::flush(stream).map(|()| 0)
        } else {
            self.up.write_to(stream)
        };
        match written {
            Ok(written) => moved |= written > 0,
            Err(error) if waits(&error) => {}
            Err(_) => {
                self.up.clear();
                self.is_refused = true;
                if matches!(self.answer, Reply::Raw(_)) {
                    self.answer = Reply::Raw(true);
                }
            }
        }
        Ok(moved)
    }

    /// From the server to the program.
    fn receive(&mut self, caller: &mut TcpStream) -> Result<bool, Round> {
        let mut moved = false;
        if self.down.is_empty() {
            let most = match &self.answer {
                Reply::Head(bytes, before) => HEAD.saturating_sub(bytes.len() + before),
                Reply::Body(..) | Reply::Raw(false) => PIECE,
                Reply::Raw(true) | Reply::Over => 0,
            };
            if let Some(stream) = self.connector.stream().filter(|_| most > 0) {
                let mut piece = Vec::new();
                match read(stream, most, |read| piece.extend_from_slice(read)) {
                    Ok(0) => {
                        moved = true;
                        self.ended()?;
                    }
                    Ok(_) => {
                        moved = true;
                        self.came(&piece)?;
                    }
                    Err(error) if waits(&error) => {}
                    Err(error) => return Err(self.fails(Refusal::Server, error.to_string())),
                }
            }
        }
        if !self.down.is_empty() {
            match self.down.write_to(caller) {
                Ok(_) => moved = true,
                Err(error) if waits(&error) => {}
                Err(_) => return Err(Round::Broken(String::new())),
            }
        }
        Ok(moved)
    }

    /// The server sent these bytes.
    fn came(&mut self, piece: &[u8]) -> Result<(), Round> {
        match &mut self.answer {
            Reply::Head(bytes, _) => {
                bytes.extend_from_slice(piece);
                self.head()
            }
            Reply::Body(body, form) => {
                let taken = take(body, *form, piece, self.down.back());
                let is_over = body.next() == Next::End;
                if let Err(fault) = taken {
                    return Err(Round::Broken(fault.to_string()));
                }
                if is_over {
                    self.answer = Reply::Over;
                }
                Ok(())
            }
            Reply::Raw(_) => {
                self.down.back().extend_from_slice(piece);
                Ok(())
            }
            Reply::Over => Ok(()),
        }
    }

    /// Reads what is there of the answer's head.
    fn head(&mut self) -> Result<(), Round> {
        while let Reply::Head(bytes, before) = &mut self.answer {
            let answer = match head::answer(bytes, self.kind, self.is_relayed) {
                Ok(answer) => answer,
                Err(bad) => return Err(self.fails(Refusal::Server, bad.text().to_owned())),
            };
            match answer {
                Answer::Partial if bytes.len() + *before >= HEAD => {
                    return Err(self.fails(Refusal::Server, BadAnswer::TooLong.text().to_owned()));
                }
                Answer::Partial => return Ok(()),
                Answer::Interim(length, head) => {
                    bytes.drain(..length);
                    *before += length;
                    self.down.back().extend_from_slice(&head);
                }
                Answer::Upgraded(length, head) => {
                    let behind = bytes.split_off(length);
                    self.down.back().extend_from_slice(&head);
                    self.down.back().extend_from_slice(&behind);
                    self.answer = Reply::Raw(false);
                    return Ok(());
                }
                Answer::Final(length, head, framing) => {
                    let behind = bytes.split_off(length);
                    let (mut body, form) = (Body::new(framing), form(framing, self.kind.is_old));
                    self.down.back().extend_from_slice(&head);
                    if let Err(fault) = take(&mut body, form, &behind, self.down.back()) {
                        return Err(self.fails(Refusal::Server, fault.to_string()));
                    }
                    self.answer =
                        if body.next() == Next::End { Reply::Over } else { Reply::Body(body, form) };
                }
            }
        }
        Ok(())
    }

    /// The server has closed.
    fn ended(&mut self) -> Result<(), Round> {
        match &self.answer {
            Reply::Head(..) => {
                let why = "it closed the connection before the head of its answer was complete";
                return Err(self.fails(Refusal::Server, why.to_owned()));
            }
            Reply::Body(body, _) if body.may_close() => self.answer = Reply::Over,
            Reply::Body(..) => {
                let why = "the server closed the connection before the body of its answer was complete";
                return Err(Round::Broken(why.to_owned()));
            }
            Reply::Raw(_) => self.answer = Reply::Raw(true),
            Reply::Over => {}
        }
        Ok(())
    }

    /// Something is wrong: the program gets a refusal as long as it has nothing of an answer.
    fn fails(&self, refusal: Refusal, why: String) -> Round {
        match &self.answer {
            Reply::Head(..) if self.down.is_whole() => Round::Refused(refusal, why),
            // Where the protocol was changed, both sides know what a cut means.
            Reply::Raw(_) => Round::Broken(String::new()),
            Reply::Head(..) | Reply::Body(..) | Reply::Over => Round::Broken(why),
        }
    }
}

fn form(framing: Framing, is_old: bool) -> Form {
    match framing {
        Framing::Chunked if !is_old => Form::Chunks,
        Framing::Chunked | Framing::Length(_) | Framing::UntilClose => Form::Plain,
    }
}
