//! What the session keeps while no request is at hand.

use super::words::{Action, Config, OfRound};
use crate::digits::divide;
use crate::limits::SERVERS;
use crate::retry::SHORTEST;
use crate::state::Outcome;
use crate::time::{Duration, Instant};

/// After so many requests in a row that lost their connection the token is dropped: another server may answer.
const LOST_CONNECTIONS: u8 = 3;

/// How long a server without the second version of `next` is not asked for it again.
const V2_MEMORY: Duration = Duration::from_secs(24 * 60 * 60);

/// Times that have passed are [`Instant::ZERO`], so that they do not tell two states apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Kept {
    pub(super) token: Option<Token>,
    /// No authentication begins before this.
    pub(super) not_before: Instant,
    /// No token is asked for before this, server by server: `Retry-After`.
    waits: [Instant; SERVERS],
    v1_only: Option<V1Only>,
    pub(super) round: Round,
    /// A program wants a token; there was no room yet.
    pub(super) fetch_waits: bool,
    /// The server that gave the token has the inventory that was accepted last.
    pub(super) inventory_accepted: bool,
    /// The server that offered the deployment at hand.
    pub(super) offered_by: Option<u8>,
}

/// The token that requests are sent with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Token {
    /// The server that gave it, to which all requests go.
    pub(super) server: u8,
    /// Connections to it that were lost in a row.
    lost: u8,
}

/// A server that does not know the second version of `next`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct V1Only {
    server: u8,
    until: Instant,
}

/// From leaving Idle to the next wait in Idle. One authentication in vain is enough for both the inventory and the poll
/// of a round. The second inventory, or the second poll, of one round may authenticate again: a device on which one of
/// them is always due when its scripts have ended never waits in Idle, and must ask all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Round {
    /// The update machine waits in Idle.
    #[default]
    Over,
    /// It has left Idle.
    Begun,
    /// The same, and an authentication was in vain. Which requests that has failed so far:
    InVain { next: bool, inventory: bool },
}

impl Kept {
    /// Makes the change, which needs nothing to be done.
    pub(super) fn note(&mut self, change: fn(&mut Self)) -> Action {
        change(self);
        Action::Wait
    }

    /// What no longer matters is forgotten.
    pub(super) fn drop_past(&mut self, now: Instant) {
        let past = |at: &mut Instant| {
            if *at <= now {
                *at = Instant::ZERO;
            }
        };
        past(&mut self.not_before);
        self.waits.iter_mut().for_each(past);
        self.v1_only = self.v1_only.filter(|memory| now < memory.until);
    }

    pub(super) fn rebase(&mut self, from: Instant, to: Instant) {
        self.drop_past(from);
        let shift = |at: &mut Instant| {
            if *at != Instant::ZERO {
                *at = to + at.since(from);
            }
        };
        shift(&mut self.not_before);
        self.waits.iter_mut().for_each(shift);
        if let Some(memory) = &mut self.v1_only {
            shift(&mut memory.until);
        }
    }

    pub(super) const fn round_begins(&mut self) {
        self.round = match self.round {
            Round::Over | Round::Begun => Round::Begun,
            in_vain @ Round::InVain { .. } => in_vain,
        };
    }

    pub(super) const fn round_over(&mut self) {
        self.round = Round::Over;
    }

    /// Nothing that a server or a round said holds a request back.
    pub(super) const fn ask_again(&mut self) {
        self.waits = [Instant::ZERO; SERVERS];
        self.round = match self.round {
            Round::Begun | Round::InVain { .. } => Round::Begun,
            Round::Over => Round::Over,
        };
    }

    /// A server gave a token. A waiting fetch has what it wants, and the server may have forgotten the inventory. However
    /// often programs ask, and though a server may refuse the token at once: servers are not asked more often (N14).
    pub(super) fn authenticated(&mut self, now: Instant, server: u8) {
        self.space(now);
        self.token = Some(Token { server, lost: 0 });
        self.round = match self.round {
            Round::Begun | Round::InVain { .. } => Round::Begun,
            Round::Over => Round::Over,
        };
        self.fetch_waits = false;
        self.inventory_accepted = false;
    }

    /// No server gave a token, or none could be asked. A waiting fetch has its answer.
    pub(super) fn authenticated_in_vain(&mut self, now: Instant, request: Option<OfRound>) {
        self.space(now);
        self.round = match self.round {
            Round::Begun | Round::InVain { .. } => Round::InVain {
                next: request == Some(OfRound::Next),
                inventory: request == Some(OfRound::Inventory),
            },
            Round::Over => Round::Over,
        };
        self.fetch_waits = false;
    }

    /// Whether this request fails because its round has authenticated in vain.
    pub(super) const fn shares_failure(&mut self, request: Option<OfRound>) -> bool {
        match (&mut self.round, request) {
            (Round::InVain { next: failed, inventory: _ }, Some(OfRound::Next))
            | (Round::InVain { next: _, inventory: failed }, Some(OfRound::Inventory)) => {
                !core::mem::replace(failed, true)
            }
            (Round::InVain { .. }, None) | (Round::Over | Round::Begun, _) => false,
        }
    }

    /// No authentication begins for a moment (N13).
    pub(super) fn space(&mut self, now: Instant) {
        self.not_before = now + SHORTEST;
    }

    /// Whether this server can say that it does not know the deployment, or that it was aborted.
    pub(super) fn may_refuse(&self, server: u8) -> bool {
        self.offered_by.is_none_or(|by| by == server)
    }

    /// The server has too many requests; it may have said for how long.
    pub(super) fn put_off(&mut self, server: u8, now: Instant, seconds: Option<u32>) {
        if let (Some(wait), Some(seconds)) = (self.waits.get_mut(usize::from(server)), seconds) {
            *wait = now + Duration::from_secs(seconds.into()).max(SHORTEST);
        }
    }

    /// The first server from this number on that did not ask to wait.
    pub(super) fn next_server(&self, config: &Config, now: Instant, from: u8) -> Option<u8> {
        (from..config.servers).find(|&server| self.wait(server) <= now)
    }

    /// All servers asked to wait: until when the first of them did.
    pub(super) fn all_wait(&self, config: &Config, now: Instant) -> Option<Outcome> {
        let soonest = (0..config.servers).map(|server| self.wait(server)).min()?;
        let (seconds, rest) = divide(soonest.since(now).as_millis(), 1000);
        let seconds = seconds.saturating_add((rest > 0).into());
        (seconds > 0).then(|| Outcome::Later(u32::try_from(seconds).ok()))
    }

    pub(super) fn v2_not_found(&mut self, server: u8, now: Instant) {
        self.v1_only = Some(V1Only { server, until: now + V2_MEMORY });
    }

    pub(super) fn lacks_v2(&self, server: u8) -> bool {
        self.v1_only.is_some_and(|memory| memory.server == server)
    }

    /// Something came from a server.
    pub(super) const fn connected(&mut self) {
        if let Some(token) = &mut self.token {
            token.lost = 0;
        }
    }

    /// A request with the token lost its connection.
    pub(super) fn connection_lost(&mut self) {
        let counted = |token: Token| Token { lost: token.lost.saturating_add(1), ..token };
        self.token = self.token.map(counted).filter(|token| token.lost < LOST_CONNECTIONS);
    }

    fn wait(&self, server: u8) -> Instant {
        self.waits.get(usize::from(server)).copied().unwrap_or_default()
    }
}
