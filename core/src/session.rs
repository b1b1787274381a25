//! The session: which server is asked what, and when it may be asked again.
//!
//! [`Session::step`] takes one [`Event`] and returns one [`Action`]. At most one request is at hand. No clock, no I/O,
//! no texts: token, URLs, bodies and reasons are the driver's. A session can be cloned, compared, hashed and walked
//! through every path.
//!
//! ```text
//!   Ask, AskForLink: no token, or a fresh one is wanted       Ask, AskForLink: with a token
//!   Room: a program on the device wants a token                     |
//!      |                                                            |
//!      v                                                            |
//!   Spacing --> Identity --> asks server 0, 1 ... --- a token ----> |
//!      ^           |             |                                  v
//!      |           | own fault   | no server is left      Inventory: runs the scripts
//!      |           +------+------+                                  |
//!      |                  v                                         v
//!      |           Ended: in vain                        asks the server of the token --- answer ---> Ended
//!      |                                                     |         |
//!      +------- 401, the first time in this request ---------+         +- 404 to NextV2: asks NextV1
//! ```
//!
//! | at hand | what comes | what follows |
//! |---|---|---|
//! | nothing | a request, and there is a token | the inventory scripts, or the request is sent to the server of the token |
//! | nothing | a request without a token, or one that wants a fresh one; room for a fetch | all servers asked to wait: ended, `Later`. The round has asked in vain: ended. Else spacing or identity |
//! | spacing | time | identity |
//! | spacing, identity, an answer about a token | a request, when it was a fetch | the same, now for the request |
//! | identity | ready | the first server that did not ask to wait is asked for a token |
//! | identity, an answer about a token | the device's own failure | ended: in vain |
//! | identity | time: it did not become ready | ended: in vain |
//! | the head of an answer | 401, the first time in this request, but not about a token | as a request without a token |
//! | the head of an answer | 404 to `NextV2` | `NextV1` |
//! | the head of an answer | 400 to a status with a substate | the status alone |
//! | the head of an answer | 429 about a token | that server is left out as long as it asked for; the body |
//! | the head of an answer | anything else | the body |
//! | an answer about a token | a token | ended, for a fetch; else as a request with a token |
//! | an answer about a token | none, for whatever reason | the next server that did not ask to wait; none is left: ended, in vain |
//! | any other answer | it came | ended with what it says |
//! | any other answer | it did not come, not all of it, or not in time | ended, with what a 429 said about when to ask again; three lost connections in a row drop the token |
//! | inventory scripts | ready | ended when the server has the same; else it is sent |

mod kept;
mod words;

#[cfg(test)]
mod tests;

#[cfg(test)]
mod walk;

pub use words::{Action, Awaits, Config, Content, Event, RequestKind};

use crate::api::Reply;
use crate::config::IDENTITY_WAIT;
use crate::machine::ApiCall;
#[cfg(feature = "text")]
use crate::message::Catalogue;
use crate::state::Outcome;
use crate::time::Instant;

use kept::Kept;
use words::{Errand, Goal};

/// Decides about all requests to the server. See the module's documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Session {
    kept: Kept,
    at_hand: AtHand,
}

/// The request at hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum AtHand {
    /// None.
    #[default]
    Nothing,
    /// A token is needed, and the last authentication was a moment ago.
    Spacing(Errand),
    /// The identity of the device is being found out, to ask for a token. It must be known by then, and the request signed.
    Identity(Errand, Instant),
    /// The inventory scripts run; this server gave the token.
    Inventory(Errand, u8),
    /// A request was sent; nothing of the answer is here.
    Head(Sent),
    /// The head of the answer is here: what it means.
    Body(Sent, Reply),
    /// The client ends: nothing is begun any more.
    Over,
}

/// A request that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Sent {
    errand: Errand,
    kind: RequestKind,
    server: u8,
    /// The whole answer must be here by then.
    answer_by: Instant,
}

impl Session {
    /// A session without a token. `offered_by`: the number of the server that offered the deployment at hand, if it is
    /// known.
    #[must_use]
    pub fn new(offered_by: Option<u8>) -> Self {
        let mut session = Self::default();
        session.kept.offered_by = offered_by;
        session
    }

    /// What happened, and what to do next. An event that means nothing where the session stands gives
    /// [`Action::Wait`].
    pub fn step(&mut self, config: &Config, now: Instant, event: Event) -> Action {
        self.kept.drop_past(now);
        match event {
            Event::Ask(call) => self.ask(config, now, Goal::Call(call)),
            Event::AskLate(call) => self.ask(config, now, Goal::Late(call)),
            Event::AskForLink => self.ask(config, now, Goal::Link),
            Event::FetchToken => self.fetch_token(),
            Event::Room => self.room(config, now),
            Event::MakeWay => self.make_way(now),

            Event::IdentityReady => self.identity_ready(config, now),
            Event::IdentityFailed => self.identity_failed(config, now),
            Event::InventoryReady { same_as_accepted } => self.inventory_ready(now, same_as_accepted),
            Event::InventoryFailed => self.inventory_failed(),
            Event::Head(reply) => self.head(config, now, reply),
            Event::Answer(content) => self.answer(config, now, content),
            Event::NotSent => self.no_answer(config, now, false),
            Event::Broken { lost } => self.no_answer(config, now, lost),
            Event::Tick => self.tick(config, now),

            Event::RoundBegins => self.kept.note(Kept::round_begins),
            Event::RoundOver => self.kept.note(Kept::round_over),
            Event::SomebodyAsks => self.kept.note(Kept::ask_again),
            Event::GiveUp => self.give_up(now),
            Event::Terminate => self.terminate(),
        }
    }

    /// When to send [`Event::Tick`], at the latest. `None`: only events move the session.
    #[must_use]
    pub const fn deadline(&self) -> Option<Instant> {
        match self.at_hand {
            AtHand::Spacing(_) => Some(self.kept.not_before),
            AtHand::Head(sent) | AtHand::Body(sent, _) => Some(sent.answer_by),
            AtHand::Identity(_, by) => Some(by),
            AtHand::Nothing | AtHand::Inventory(..) | AtHand::Over => None,
        }
    }

    /// What the driver polls for.
    #[must_use]
    pub const fn awaits(&self) -> Awaits {
        match self.at_hand {
            AtHand::Nothing | AtHand::Spacing(_) | AtHand::Over => Awaits::Nothing,
            AtHand::Identity(..) => Awaits::Identity,
            AtHand::Inventory(..) => Awaits::Inventory,
            AtHand::Head(sent) => Awaits::Head(sent.kind),
            AtHand::Body(sent, reply) => Awaits::Body(sent.kind, sent.server, reply),
        }
    }

    /// The number of the server that gave the token; `None`: there is no token.
    #[must_use]
    pub fn server(&self) -> Option<u8> {
        self.kept.token.map(|token| token.server)
    }

    /// The number of the server that offered the deployment at hand, as far as it is known.
    #[must_use]
    pub const fn offered_by(&self) -> Option<u8> {
        self.kept.offered_by
    }

    /// A token is being asked for, or will be as soon as there is [`Event::Room`].
    #[must_use]
    pub const fn is_authenticating(&self) -> bool {
        self.kept.fetch_waits || self.authenticates().is_some()
    }

    /// A program's wish for a token waits for [`Event::Room`].
    #[must_use]
    pub const fn waits_for_room(&self) -> bool {
        self.kept.fetch_waits
    }

    /// A token is being asked for, with no request behind it.
    #[must_use]
    pub const fn is_fetching(&self) -> bool {
        matches!(self.authenticates(), Some(Errand::Fetch))
    }

    /// The offer that is asked for is that of a fresh link.
    #[must_use]
    pub const fn is_for_link(&self) -> bool {
        match self.at_hand {
            AtHand::Head(sent) | AtHand::Body(sent, _) => sent.errand.is_for_link(),
            AtHand::Nothing
            | AtHand::Spacing(_)
            | AtHand::Identity(..)
            | AtHand::Inventory(..)
            | AtHand::Over => false,
        }
    }

    /// Moves every time that the session keeps by as much as it is from `from` to `to`; what was due at `from` is due at
    /// `to`. For those who compare or hash sessions of different moments: two that differ in nothing but the clock are
    /// then equal.
    pub fn rebase(&mut self, from: Instant, to: Instant) {
        self.kept.rebase(from, to);
        match &mut self.at_hand {
            AtHand::Head(Sent { answer_by: by, .. })
            | AtHand::Body(Sent { answer_by: by, .. }, _)
            | AtHand::Identity(_, by) => *by = to + by.since(from),
            AtHand::Nothing | AtHand::Spacing(_) | AtHand::Inventory(..) | AtHand::Over => {}
        }
    }

    /// For whom a token is being asked for, if one is.
    const fn authenticates(&self) -> Option<Errand> {
        match self.at_hand {
            AtHand::Spacing(errand) | AtHand::Identity(errand, _) => Some(errand),
            AtHand::Head(sent) | AtHand::Body(sent, _) if sent.kind.is_token() => Some(sent.errand),
            AtHand::Nothing | AtHand::Inventory(..) | AtHand::Head(_) | AtHand::Body(..) | AtHand::Over => {
                None
            }
        }
    }

    /// A request is wanted. A token that is being fetched is this request's too.
    fn ask(&mut self, config: &Config, now: Instant, goal: Goal) -> Action {
        let errand = Errand::Request { goal, token_was_refused: false };
        match &mut self.at_hand {
            AtHand::Over => return Action::Ended(Outcome::Failure),
            AtHand::Spacing(of) | AtHand::Identity(of, _) => {
                *of = errand;
                return Action::Wait;
            }
            AtHand::Head(sent) | AtHand::Body(sent, _) if sent.kind.is_token() => {
                sent.errand = errand;
                return Action::Wait;
            }
            AtHand::Nothing | AtHand::Inventory(..) | AtHand::Head(_) | AtHand::Body(..) => {}
        }
        match self.kept.token {
            Some(token) if !goal.wants_fresh_token() => self.pursue(now, errand, goal, token.server),
            Some(_) | None => self.authenticate(config, now, errand),
        }
    }

    /// A program wants a token. One that is being asked for already serves it too.
    fn fetch_token(&mut self) -> Action {
        self.kept.fetch_waits |= self.at_hand != AtHand::Over && self.authenticates().is_none();
        Action::Wait
    }

    /// Network and buffers are free.
    fn room(&mut self, config: &Config, now: Instant) -> Action {
        if self.at_hand != AtHand::Nothing || !core::mem::take(&mut self.kept.fetch_waits) {
            return Action::Wait;
        }
        self.authenticate(config, now, Errand::Fetch)
    }

    /// Network and buffers are needed.
    fn make_way(&mut self, now: Instant) -> Action {
        if !self.is_fetching() {
            return Action::Wait;
        }
        self.kept.fetch_waits = true;
        self.give_up(now)
    }

    /// A token is needed, and from now on there is none. The waits that all servers asked for come first; then, that a
    /// round asks in vain only once; then the spacing.
    fn authenticate(&mut self, config: &Config, now: Instant, errand: Errand) -> Action {
        self.kept.token = None;
        if let Some(later) = self.kept.all_wait(config, now) {
            self.end(later)
        } else if self.kept.shares_failure(errand.of_round()) {
            self.end(Outcome::Failure)
        } else if now < self.kept.not_before {
            self.at_hand = AtHand::Spacing(errand);
            Action::Wait
        } else {
            self.find_identity(now, errand)
        }
    }

    fn find_identity(&mut self, now: Instant, errand: Errand) -> Action {
        self.at_hand = AtHand::Identity(errand, now + IDENTITY_WAIT);
        Action::FindIdentity
    }

    fn identity_ready(&mut self, config: &Config, now: Instant) -> Action {
        let AtHand::Identity(errand, _) = self.at_hand else { return Action::Wait };
        self.ask_next_server(config, now, errand, 0)
    }

    fn identity_failed(&mut self, config: &Config, now: Instant) -> Action {
        let Some(errand) = self.authenticates() else { return Action::Wait };
        self.in_vain(config, now, errand)
    }

    /// Asks for a token the first server from this number on that did not ask to wait.
    fn ask_next_server(&mut self, config: &Config, now: Instant, errand: Errand, from: u8) -> Action {
        match self.kept.next_server(config, now, from) {
            Some(server) => self.send(now, errand, RequestKind::Token, server),
            None => self.in_vain(config, now, errand),
        }
    }

    /// An authentication ended without a token.
    fn in_vain(&mut self, config: &Config, now: Instant, errand: Errand) -> Action {
        self.kept.authenticated_in_vain(now, errand.of_round());
        let later = self.kept.all_wait(config, now);
        self.end(later.unwrap_or(Outcome::Failure))
    }

    /// There is a token: on with what it is for.
    fn pursue(&mut self, now: Instant, errand: Errand, goal: Goal, server: u8) -> Action {
        let call = match goal {
            Goal::Call(call) | Goal::Late(call) => call,
            Goal::Link => ApiCall::Next,
        };
        let kind = match call {
            ApiCall::Inventory => {
                self.at_hand = AtHand::Inventory(errand, server);
                return Action::CollectInventory;
            }
            ApiCall::Next if self.kept.lacks_v2(server) => RequestKind::NextV1,
            ApiCall::Next => RequestKind::NextV2,
            ApiCall::Status { status, fresh_token: _ } => RequestKind::Status(status),
            ApiCall::Log => RequestKind::Log,
            ApiCall::ControlMap => RequestKind::ControlMap,
        };
        self.send(now, errand, kind, server)
    }

    fn inventory_ready(&mut self, now: Instant, same_as_accepted: bool) -> Action {
        let AtHand::Inventory(errand, server) = self.at_hand else { return Action::Wait };
        if same_as_accepted && self.kept.inventory_accepted {
            return self.end(Outcome::Success);
        }
        self.send(now, errand, RequestKind::Inventory, server)
    }

    fn inventory_failed(&mut self) -> Action {
        let AtHand::Inventory(..) = self.at_hand else { return Action::Wait };
        self.end(Outcome::Failure)
    }

    fn send(&mut self, now: Instant, errand: Errand, kind: RequestKind, server: u8) -> Action {
        let answer_by = now + kind.limit();
        self.at_hand = AtHand::Head(Sent { errand, kind, server, answer_by });
        Action::Send(kind, server)
    }

    /// The head of the answer came. Two of them are answered without a look at the body.
    fn head(&mut self, config: &Config, now: Instant, reply: Reply) -> Action {
        let AtHand::Head(sent) = self.at_hand else { return Action::Wait };
        self.kept.connected();
        match reply {
            Reply::Unauthorized => {
                if let Some(again) = sent.errand.token_refused()
                    && !sent.kind.is_token()
                {
                    return self.authenticate(config, now, again);
                }
            }
            Reply::NotFound => {
                if sent.kind == RequestKind::NextV2 {
                    self.kept.v2_not_found(sent.server, now);
                    return self.send(now, sent.errand, RequestKind::NextV1, sent.server);
                }
            }
            Reply::SubstateRefused => {
                if let RequestKind::Status(status) = sent.kind {
                    return self.send(now, sent.errand, RequestKind::StatusAlone(status), sent.server);
                }
            }
            Reply::Later(seconds) => {
                if sent.kind.is_token() {
                    self.kept.put_off(sent.server, now, seconds);
                }
            }
            Reply::Done | Reply::Nothing | Reply::Aborted | Reply::TooLarge | Reply::Failed(_) => {}
        }
        self.at_hand = AtHand::Body(sent, reply);
        Action::Read
    }

    /// The body of the answer came.
    fn answer(&mut self, config: &Config, now: Instant, content: Content) -> Action {
        let AtHand::Body(sent, reply) = self.at_hand else { return Action::Wait };
        let outcome = outcome(sent.kind, reply, content, self.kept.may_refuse(sent.server));
        match sent.kind {
            RequestKind::Token => match (outcome, sent.errand) {
                (Outcome::Success, errand) => {
                    self.kept.authenticated(now, sent.server);
                    match errand {
                        Errand::Request { goal, .. } => self.pursue(now, errand, goal, sent.server),
                        Errand::Fetch => self.end(outcome),
                    }
                }
                (
                    Outcome::Failure
                    | Outcome::Refused
                    | Outcome::Nothing
                    | Outcome::Automatic
                    | Outcome::Later(_)
                    | Outcome::Aborted,
                    errand,
                ) => self.ask_next_server(config, now, errand, sent.server.saturating_add(1)),
            },
            RequestKind::Inventory => {
                self.kept.inventory_accepted |= outcome == Outcome::Success;
                self.end(outcome)
            }
            RequestKind::NextV2 | RequestKind::NextV1 => {
                if outcome == Outcome::Success && !sent.errand.is_for_link() {
                    self.kept.offered_by = Some(sent.server);
                }
                self.end(outcome)
            }
            RequestKind::Status(_)
            | RequestKind::StatusAlone(_)
            | RequestKind::Log
            | RequestKind::ControlMap => self.end(outcome),
        }
    }

    /// No answer came, or not all of it. What its head said about when to ask again counts.
    fn no_answer(&mut self, config: &Config, now: Instant, lost: bool) -> Action {
        let (AtHand::Head(sent) | AtHand::Body(sent, _)) = self.at_hand else { return Action::Wait };
        let outcome = if let AtHand::Body(_, Reply::Later(seconds)) = self.at_hand {
            Outcome::Later(seconds)
        } else {
            Outcome::Failure
        };
        if sent.kind.is_token() {
            return self.ask_next_server(config, now, sent.errand, sent.server.saturating_add(1));
        }
        if lost {
            self.kept.connection_lost();
        }
        self.end(outcome)
    }

    /// Time passed.
    fn tick(&mut self, config: &Config, now: Instant) -> Action {
        match self.at_hand {
            AtHand::Spacing(errand) if self.kept.not_before <= now => self.find_identity(now, errand),
            AtHand::Identity(errand, by) if by <= now => self.in_vain(config, now, errand),
            AtHand::Head(sent) | AtHand::Body(sent, _) if sent.answer_by <= now => {
                self.no_answer(config, now, true)
            }
            AtHand::Nothing
            | AtHand::Spacing(_)
            | AtHand::Identity(..)
            | AtHand::Inventory(..)
            | AtHand::Head(_)
            | AtHand::Body(..)
            | AtHand::Over => Action::Wait,
        }
    }

    fn end(&mut self, outcome: Outcome) -> Action {
        self.at_hand = AtHand::Nothing;
        Action::Ended(outcome)
    }

    /// The request at hand is not wanted any more. A server that was asked for a token has been asked.
    fn give_up(&mut self, now: Instant) -> Action {
        match self.at_hand {
            AtHand::Head(sent) | AtHand::Body(sent, _) if sent.kind.is_token() => self.kept.space(now),
            AtHand::Over => return Action::Cancel,
            AtHand::Nothing
            | AtHand::Spacing(_)
            | AtHand::Identity(..)
            | AtHand::Inventory(..)
            | AtHand::Head(_)
            | AtHand::Body(..) => {}
        }
        self.at_hand = AtHand::Nothing;
        Action::Cancel
    }

    /// The client ends.
    fn terminate(&mut self) -> Action {
        self.kept.fetch_waits = false;
        self.at_hand = AtHand::Over;
        Action::Cancel
    }
}

/// How a request ends whose answer is here.
///
/// `may_refuse`: as far as is known, the server is the one that made the offer. Another one does not know the deployment,
/// which says nothing about it (R-23).
const fn outcome(kind: RequestKind, reply: Reply, content: Content, may_refuse: bool) -> Outcome {
    match reply {
        Reply::NotFound | Reply::Aborted if !may_refuse && kind.is_report() => {
            if kind.is_last() {
                Outcome::Later(None)
            } else if matches!((reply, content), (Reply::NotFound, Content::Unusable)) {
                Outcome::Failure
            } else {
                // A server was reached and has nothing against the update, which goes on.
                Outcome::Success
            }
        }
        Reply::Aborted if !may_refuse => Outcome::Failure,
        // The server does not know the deployment. A 404 of anything else counts as 503 (R-29).
        Reply::NotFound if kind.is_report() && matches!(content, Content::Good) => Outcome::Nothing,
        Reply::NotFound if kind.is_last() => Outcome::Later(None),
        // Of a last report: asking again would not help, or the server is out of order, and may be so for ever (R-23).
        Reply::Failed(400..=407 | 409..=499) if kind.is_last() => Outcome::Refused,
        Reply::Failed(500..=599) if kind.is_last() => Outcome::Later(None),
        Reply::Later(None) if kind.is_last() => Outcome::Failure,
        Reply::Done => match content {
            Content::Good => Outcome::Success,
            Content::NotThisDeployment => Outcome::Nothing,
            Content::Unusable => Outcome::Failure,
        },
        Reply::Nothing => Outcome::Nothing,
        Reply::Aborted => Outcome::Aborted,
        Reply::TooLarge => Outcome::Refused,
        Reply::Later(seconds) => Outcome::Later(seconds),
        // The token stays: when it is refused again, that request asks for another.
        Reply::Unauthorized | Reply::NotFound | Reply::SubstateRefused | Reply::Failed(_) => Outcome::Failure,
    }
}

/// All texts here.
#[cfg(feature = "text")]
pub(crate) const TEXTS: &[&Catalogue] = &[&words::REQUESTS];
