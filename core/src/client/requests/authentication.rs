//! Authentication: asking the servers for a token, one after the other, and for how long one in vain counts
//! (`spec/server-api.md` 2).

use core::task::Poll;

use super::{API_URL, Asked, Failed, Requests, Stage, failed};
use crate::api::Endpoint;
use crate::api::auth::{AuthRequest, Identity};
use crate::client::Client;
use crate::config::ANSWER_WAIT;
use crate::hal::{Agent, Clock, Network, Platform};
use crate::http::{Request, Target};
use crate::limits;
use crate::machine::{ApiCall, retry_after};
use crate::retry::SHORTEST;
use crate::state::Outcome;
use crate::text::Text;
use crate::time::{Duration, Instant};

/// Room for a signature in base64: RSA-4096 has 684 bytes.
const SIGNATURE: usize = 1024;

/// An authentication in vain, whose outcome is that of the requests right behind it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Denied {
    until: Instant,
    /// The server asked for the time.
    asked_for: bool,
}

impl Requests {
    /// Somebody at the device asks: whatever is waited for, the server is asked.
    pub(in crate::client) const fn ask_again(&mut self) {
        self.denied = None;
    }

    /// The time that the server asked for, when a token was asked for, and that is not over.
    fn asked_to_wait(&self, now: Instant) -> Option<u64> {
        let denied = self.denied.filter(|denied| denied.asked_for && now < denied.until)?;
        Some(denied.until.since(now).as_millis().div_ceil(1000))
    }

    /// The outcome of a request that needs a token right behind an authentication in vain. A time that the server asked
    /// for is for every request; else one authentication is enough for both the inventory and the poll of a round
    /// (server-api.md 2.2), and the next round, which may come as soon as the pause is over, has its own.
    pub(super) fn still_denied(&self, now: Instant, call: ApiCall) -> Option<Outcome> {
        if let Some(seconds) = self.asked_to_wait(now) {
            return Some(Outcome::Later(u32::try_from(seconds).ok()));
        }
        let Denied { until, .. } = self.denied?;
        let in_this_round = until.since(now).as_millis() > SHORTEST.as_millis() / 2;
        (in_this_round && matches!(call, ApiCall::Next | ApiCall::Inventory)).then_some(Outcome::Failure)
    }
}

impl<P: Platform> Client<'_, P> {
    /// Begins to ask for a token, at once or when the last vain attempt is long enough ago.
    pub(in crate::client) fn begin_token(&mut self, now: Instant) -> Result<(), Failed> {
        self.requests.token.clear();
        if let Some(seconds) = self.requests.asked_to_wait(now) {
            return Err(failed!("authentication: the server asked to wait for {seconds} s more"));
        }
        match self.requests.no_token_before {
            Some(until) if now < until => {
                self.requests.stage = Stage::Spacing(until);
                Ok(())
            }
            Some(_) | None => self.begin_identity(now),
        }
    }

    /// First of all who the device is.
    pub(super) fn begin_identity(&mut self, now: Instant) -> Result<(), Failed> {
        self.requests.stage = Stage::Identity;
        self.hal.agent.start_identity(now).map_err(|error| failed!("the device's identity: {error}"))
    }

    /// The body of the request for a token, in the front of `out`. The identity stands in the front of `record`.
    pub(super) fn write_token_request(&mut self, identity: usize) -> Result<(), Failed> {
        let identity = Identity::parse(self.record.get(..identity).unwrap_or_default());
        let identity = identity.map_err(|error| failed!("{error}"))?;
        // The key is borrowed from the agent; the rest of what it knows is copied before.
        let tenant_token: Text<{ limits::TOKEN }> =
            Text::copy(self.hal.agent.tenant_token()).map_err(|_| failed!("TenantToken is too long"))?;
        let tier = self.hal.agent.tier();
        let pubkey = self.hal.agent.public_key().map_err(|error| failed!("the device's key: {error}"))?;
        let request = AuthRequest { identity, pubkey, tenant_token: tenant_token.as_str(), tier };
        let length = request.write(self.out).map_err(|error| failed!("{error}"))?.len();
        self.requests.body = length;
        Ok(())
    }

    /// Sends the request for a token to the server of this number.
    pub(super) fn ask_for_token(&mut self, now: Instant, server: usize) -> Result<(), Failed> {
        let body = self.out.get(..self.requests.body).unwrap_or_default();
        let mut signature = [0; SIGNATURE];
        let signature = self
            .hal
            .agent
            .sign(body, &mut signature)
            .map_err(|error| failed!("the device's key: {error}"))?;
        let base =
            self.hal.agent.server(server).ok_or_else(|| failed!("no server is configured: set ServerURL"))?;
        let mut url = [0; API_URL];
        let url = Endpoint::Auth.url(base, &mut url).map_err(|error| failed!("{error}"))?;
        let request = Request {
            method: Endpoint::Auth.method(),
            target: Target::Url(url),
            token: None,
            signature: Some(signature),
            body: Some(body),
            offset: 0,
            etag: None,
        };
        self.requests.stage = Stage::Head(Asked::Token(server));
        self.requests.answer_by = Some(now + ANSWER_WAIT);
        self.hal.network.start(now, &request).map_err(|error| failed!("authentication: {error}"))
    }

    pub(super) fn next_server(
        &mut self,
        now: Instant,
        server: usize,
        outcome: Outcome,
        reason: &Failed,
    ) -> Result<Poll<Option<Outcome>>, Failed> {
        let next = server.saturating_add(1);
        self.note_trouble(reason);
        if self.hal.agent.server(next).is_none() {
            // Whoever needs a token next: no request is repeated at once (N13). Counted from the answer, which may have
            // come a while after this turn began.
            let answered = self.hal.clock.now();
            self.requests.no_token_before = Some(answered + SHORTEST);
            let asked_for = retry_after(outcome);
            let wait =
                asked_for.map_or(SHORTEST, |after| Duration::from_secs(after.seconds.into()).max(SHORTEST));
            let asked_for = asked_for.is_some();
            self.requests.denied = Some(Denied { until: answered + wait, asked_for });
            return Ok(Poll::Ready(Some(outcome)));
        }
        self.hal.network.cancel();
        self.ask_for_token(now, next)?;
        Ok(Poll::Ready(None))
    }
}
