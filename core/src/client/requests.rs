//! Requests to the server: carries out what the [session](crate::session) says, tells it what came back, and keeps the
//! texts: the token, the bodies, and why a request failed.
//!
//! Each request is one completion: whoever asked hears how it ended exactly once.

mod answers;
mod authentication;
mod offers;
mod sending;

use core::fmt;
use core::task::Poll;

use super::Client;
use super::offer::Offered;
use super::operation::{Polled, Work};
use crate::api::inventory::Accepted;
use crate::hal::{Agent, Clock, Error as _, Kind, Level, Log, Network, Platform};
use crate::limits;
use crate::machine::ApiCall;
use crate::session::{self, Action, Awaits, Event, RequestKind};
use crate::state::Outcome;
use crate::text::Text;
use crate::time::{Instant, earliest};

/// What belongs to requests and is no decision.
#[derive(Debug)]
pub(super) struct Requests {
    config: session::Config,
    token: Text<{ limits::TOKEN }>,
    /// How the request ended, until whoever asked has heard of it.
    pub(super) ended: Option<Outcome>,
    /// Length of the body in the front of `out`.
    body: usize,
    /// Length of the answer in the front of `record`.
    answer: usize,
    /// Authentications that have ended.
    authentications: u32,
    accepted: Accepted,
    pub(super) offered: Offered,
    /// Why the last request failed.
    trouble: Text<{ limits::REASON }>,
}

/// A request cannot go on. Why has been logged, and [`Requests::trouble`] says it.
pub(super) struct Trouble;

impl Requests {
    pub(super) fn new(servers: u8) -> Self {
        Self {
            config: session::Config { servers },
            token: Text::new(),
            ended: None,
            body: 0,
            answer: 0,
            authentications: 0,
            accepted: Accepted::new(),
            offered: Offered::default(),
            trouble: Text::new(),
        }
    }

    pub(super) fn trouble(&self) -> &str {
        self.trouble.as_str()
    }

    pub(super) fn token(&self) -> &str {
        self.token.as_str()
    }

    pub(super) const fn authentications(&self) -> u32 {
        self.authentications
    }

    /// The authentications after this number are not counted.
    pub(super) const fn forget_authentications_since(&mut self, number: u32) {
        self.authentications = number;
    }

    /// Logs what is wrong and keeps it for those who ask. A request that failed is no failure of the update by itself:
    /// the machine decides.
    fn note<L: Log>(&mut self, log: &mut L, reason: fmt::Arguments<'_>) -> Trouble {
        log.log(Level::Warning, reason);
        self.trouble = Text::cut(reason);
        Trouble
    }
}

/// How many servers there are; `None`: more than the session can keep apart.
pub(super) fn servers<A: Agent>(agent: &A) -> Option<u8> {
    let count = (0..=limits::SERVERS).take_while(|&index| agent.server(index).is_some()).count();
    u8::try_from(count).ok().filter(|_| count <= limits::SERVERS)
}

impl<P: Platform> Client<'_, P> {
    pub(super) fn requests_deadline(&self) -> Option<Instant> {
        earliest(self.hal.agent.deadline(), self.session.deadline())
    }

    /// Begins a request of the machine's.
    pub(super) fn begin_request(&mut self, now: Instant, call: ApiCall) -> Work {
        self.requests.ended = None;
        self.tell_session(now, Event::Ask(call));
        match self.requests.ended.take() {
            Some(outcome) => Work::Done(outcome),
            None => Work::Request,
        }
    }

    /// Moves the request on.
    pub(super) fn poll_request(&mut self, now: Instant) -> Polled {
        match self.poll_ended(now) {
            Poll::Pending => Polled::Pending,
            Poll::Ready(None) => Polled::Moved,
            Poll::Ready(Some(outcome)) => Polled::Ended(outcome),
        }
    }

    /// Asks for a fresh link to the artifact of the deployment in progress. Then [`Self::poll_link`].
    pub(super) fn ask_for_link(&mut self, now: Instant) {
        self.requests.ended = None;
        self.tell_session(now, Event::AskForLink);
    }

    /// How [`Event::AskForLink`] ended; `Ready(None)`: it moved on.
    pub(super) fn poll_link(&mut self, now: Instant) -> Poll<Option<Outcome>> {
        self.poll_ended(now)
    }

    /// Gives up the request at hand, and whatever else uses the network.
    pub(super) fn end_request(&mut self) {
        let now = self.hal.clock.now();
        self.tell_session(now, Event::GiveUp);
        self.requests.ended = None;
    }

    /// Moves the request at hand on, whoever asked; `Pending` when there is nothing to do before the platform wakes.
    pub(super) fn poll_session(&mut self, now: Instant) -> Poll<()> {
        let awaits = self.session.awaits();
        if self.session.deadline().is_some_and(|at| at <= now) {
            if let Awaits::Head(kind) | Awaits::Body(kind, ..) = awaits {
                let (name, limit) = (kind.name(), kind.limit().as_secs());
                self.note_trouble(format_args!("{name}: no whole answer within {limit} s"));
            }
            self.tell_session(now, Event::Tick);
            return Poll::Ready(());
        }
        let event = match awaits {
            Awaits::Nothing => return Poll::Pending,
            Awaits::Identity => match self.hal.agent.poll_identity(now, self.record) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(length)) => match self.write_token_request(length) {
                    Ok(()) => Event::IdentityReady,
                    Err(Trouble) => Event::IdentityFailed,
                },
                Poll::Ready(Err(error)) => {
                    self.note_trouble(format_args!("the device's identity: {error}"));
                    Event::IdentityFailed
                }
            },
            Awaits::Inventory => match self.hal.agent.poll_inventory(now) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) => match self.write_inventory() {
                    Ok(same_as_accepted) => Event::InventoryReady { same_as_accepted },
                    Err(Trouble) => Event::InventoryFailed,
                },
            },
            Awaits::Head(kind) => match self.hal.network.poll_head(now) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(head)) => Event::Head(self.reply(kind, head)),
                Poll::Ready(Err(error)) => {
                    let lost = matches!(error.kind(), Kind::Connection | Kind::TimedOut);
                    self.note_trouble(format_args!("{}: {error}", kind.name()));
                    Event::Broken { lost }
                }
            },
            Awaits::Body(kind, server, reply) => {
                let room = self.record.get_mut(self.requests.answer..).unwrap_or_default();
                let read = match room {
                    [] => None,
                    room => Some(self.hal.network.poll_read(now, room)),
                };
                match read {
                    Some(Poll::Pending) => return Poll::Pending,
                    Some(Poll::Ready(Ok(length @ 1..))) => {
                        self.requests.answer = self.requests.answer.saturating_add(length);
                        return Poll::Ready(());
                    }
                    Some(Poll::Ready(Ok(0))) => {
                        Event::Answer(self.read_answer(now, kind, server, reply, true))
                    }
                    None => Event::Answer(self.read_answer(now, kind, server, reply, false)),
                    Some(Poll::Ready(Err(error))) => {
                        self.note_trouble(format_args!("{}: the answer broke off: {error}", kind.name()));
                        Event::Broken { lost: true }
                    }
                }
            }
        };
        // Waits are counted from the answer, which may have come a while after this turn began.
        let now = self.hal.clock.now();
        self.tell_session(now, event);
        Poll::Ready(())
    }

    /// Tells the session what happened and carries out what it says, until there is something to wait for. Ends: each
    /// server is asked once at most.
    pub(super) fn tell_session(&mut self, now: Instant, event: Event) {
        let authenticated = self.session.is_authenticating();
        let mut next = Some(event);
        while let Some(event) = next {
            let action = self.session.step(&self.requests.config, now, event);
            next = self.carry_out(now, action);
        }
        if authenticated && !self.session.is_authenticating() && !self.terminated {
            self.requests.authentications = self.requests.authentications.wrapping_add(1);
        }
    }

    /// Begins what the session wants; what happened if it is over at once.
    fn carry_out(&mut self, now: Instant, action: Action) -> Option<Event> {
        match action {
            Action::FindIdentity => self.find_identity(now).err().map(|Trouble| Event::IdentityFailed),
            Action::CollectInventory => match self.hal.agent.start_inventory(now) {
                Ok(()) => None,
                Err(error) => {
                    self.note_trouble(format_args!("inventory: {error}"));
                    Some(Event::InventoryFailed)
                }
            },
            Action::Send(RequestKind::Token, server) => self.ask_for_token(now, server).err(),
            Action::Send(kind, server) => self.send(now, kind, server).err().map(|Trouble| Event::NotSent),
            Action::Read => {
                self.requests.answer = 0;
                None
            }
            Action::Cancel => {
                self.drop_request();
                None
            }
            Action::Ended(outcome) => {
                self.drop_request();
                self.requests.ended = Some(outcome);
                None
            }
            Action::Wait => None,
        }
    }

    fn poll_ended(&mut self, now: Instant) -> Poll<Option<Outcome>> {
        match self.requests.ended.take() {
            Some(outcome) => Poll::Ready(Some(outcome)),
            None => self.poll_session(now).map(|()| None),
        }
    }

    fn drop_request(&mut self) {
        self.hal.network.cancel();
        self.hal.agent.cancel();
    }

    pub(super) fn note_trouble(&mut self, reason: fmt::Arguments<'_>) -> Trouble {
        self.requests.note(&mut self.hal.log, reason)
    }
}
