//! The token as other programs on the device use it: what it is, and asking for a new one while the machine is busy
//! with other things.
//!
//! Such a fetch is the front half of a request: the same steps, with no request behind them. It shares network and
//! buffers with the machine's operations, which go first. A request that begins meanwhile takes the fetch over as its
//! own authentication; anything else that needs the buffers puts it off.

use core::task::Poll;

use super::Client;
use super::operation::Work;
use crate::hal::{Agent, Clock, Network, Platform};
use crate::machine::Op;
use crate::session::Event;
use crate::state::{Outcome, Phase, State};
use crate::time::{Instant, earliest};

impl<P: Platform> Client<'_, P> {
    /// The token that requests are sent with, and the URL of the server that gave it. `None` while there is none; no
    /// network activity.
    #[must_use]
    pub fn token(&self) -> Option<(&str, &str)> {
        let server = self.hal.agent.server(self.session.server()?.into())?;
        Some((self.requests.token(), server))
    }

    /// How many authentications have ended since the start, wrapping: whenever the number has changed, [`Self::token`]
    /// is what came of the last one.
    #[must_use]
    pub const fn authentications(&self) -> u32 {
        self.requests.authentications()
    }

    /// Whether a new token is being asked for, or will be as soon as the machine leaves room.
    #[must_use]
    pub const fn is_authenticating(&self) -> bool {
        self.session.is_authenticating()
    }

    /// A program on the device wants a new token. True: it is being asked for, or will be as soon as the machine
    /// leaves room. False: it cannot be; [`Self::trouble`] says why, unless the client ends. Poll soon.
    pub fn fetch_token(&mut self) -> bool {
        if self.terminated || self.report.is_some() {
            return false;
        }
        let now = self.hal.clock.now();
        let ended = self.requests.authentications();
        self.tell_session(now, Event::FetchToken);
        if self.has_room() {
            self.begin_fetch(now);
        }
        if !self.session.is_authenticating() {
            // Nobody else hears of what did not begin.
            self.requests.forget_authentications_since(ended);
        }
        self.session.is_authenticating()
    }

    /// Moves a fetch on; `Pending` when there is nothing to do before the platform wakes.
    pub(super) fn advance_fetch(&mut self, now: Instant) -> Poll<()> {
        if self.session.waits_for_room() && self.has_room() {
            self.begin_fetch(now);
            return Poll::Ready(());
        }
        if self.session.is_fetching() { self.poll_session(now) } else { Poll::Pending }
    }

    /// When to poll a fetch.
    pub(super) fn fetch_deadline(&self) -> Option<Instant> {
        if !self.session.is_fetching() {
            return None;
        }
        earliest(self.requests_deadline(), self.hal.network.deadline())
    }

    /// The machine begins an operation: what shares its buffers or the network is put off.
    pub(super) fn make_way(&mut self, op: Op) {
        let needs_room = match op {
            Op::Prepare | Op::Stream(_) | Op::SaveProvides(_) | Op::ClearData => true,
            // The offer is written in a lent buffer.
            Op::Save => self.machine.checkpoint().offer && !self.offer_stored,
            // A request goes on with the token that is being fetched.
            Op::Request(_)
            | Op::SaveMaps
            | Op::AskPolicy(_)
            | Op::RunScript(..)
            | Op::CheckVersion
            | Op::CallModule(_)
            | Op::Reboot
            | Op::End => false,
        };
        if needs_room {
            let now = self.hal.clock.now();
            self.tell_session(now, Event::MakeWay);
        }
    }

    /// There is room. Whoever was told that it would be tried hears how it ended.
    fn begin_fetch(&mut self, now: Instant) {
        self.requests.ended = None;
        self.tell_session(now, Event::Room);
        if let Some(Outcome::Later(Some(seconds))) = self.requests.ended.take() {
            self.note_trouble(format_args!("authentication: the server asked to wait for {seconds} s more"));
        }
    }

    /// Neither the network nor the buffers of requests are in use, nor will be before [`Self::make_way`] says so.
    const fn has_room(&self) -> bool {
        let (state, phase) = self.machine.place();
        // Between the two halves of a transfer its connection stays open.
        let transfers = matches!(state, State::Prepare | State::CheckSizes | State::Download)
            && matches!(phase, Phase::Main);
        match self.work {
            Work::None | Work::Script | Work::Module(_) | Work::Policy => !transfers,
            Work::Done(_) | Work::Transfer | Work::Reboot { .. } | Work::Request => false,
        }
    }
}
