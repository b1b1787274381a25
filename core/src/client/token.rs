//! The token as other programs on the device use it: what it is, and asking for a new one while the machine is busy
//! with other things.
//!
//! Such a fetch is the front half of a request: the same steps, with no request behind them. It shares network and
//! buffers with the machine's operations, which go first. A request that begins meanwhile takes the fetch over as its
//! own authentication; anything else that needs the buffers puts it off.

use super::Client;
use crate::flow::Event;
use crate::hal::{Clock, Platform};

impl<P: Platform> Client<'_, P> {
    /// The token that requests are sent with, and the URL of the server that gave it. `None` while there is none; no
    /// network activity.
    #[must_use]
    pub fn token(&self) -> Option<(&str, &str)> {
        let server = self.device.server(self.flow.session().server()?)?;
        Some((self.token.as_str(), server))
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
        self.flow.session().is_authenticating()
    }

    /// A program on the device wants a new token. True: it is being asked for, or will be as soon as the machine
    /// leaves room. False: it cannot be; [`Self::trouble`] says why, unless the client ends. Poll soon.
    pub fn fetch_token(&mut self) -> bool {
        if self.flow.is_terminated() || self.flow.is_over() {
            return false;
        }
        let now = self.hal.clock.now();
        let ended = self.requests.authentications();
        self.tell(now, Event::FetchToken);
        if !self.is_authenticating() {
            // Nobody else hears of what did not begin.
            self.requests.forget_authentications_since(ended);
        }
        self.is_authenticating()
    }
}
