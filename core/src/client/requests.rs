//! Requests to the server: a token first, then the device API (`spec/server-api.md`).
//!
//! Each request is one completion: the machine hears how it ended exactly once. A token is asked for when there is
//! none, and once more when the server refuses the one there is.

mod answers;
mod authentication;
mod sending;

use core::task::Poll;

use super::Client;
use super::offer::Offered;
use super::operation::{Polled, Work};
use crate::api::inventory::Accepted;
use crate::api::{Endpoint, Reply, V2Memory};
use crate::config::{ANSWER_WAIT, LOG_WAIT};
use crate::hal::{Agent, Error as _, Kind, Level, Log, Network, Platform};
use crate::http::Head;
use crate::limits;
use crate::machine::ApiCall;
use crate::state::Outcome;
use crate::text::Text;
use crate::time::{Duration, Instant, earliest};

use authentication::Denied;

/// Room for a URL of the device API: a server's, a path, two encoded names.
const API_URL: usize = 2048;

/// What is being waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    None,
    /// The moment at which a token may be asked for again.
    Spacing(Instant),
    /// The identity script.
    Identity,
    /// The inventory scripts.
    Inventory,
    /// The head of the answer to this request.
    Head(Asked),
    /// Its body: what it means, and how much of it came.
    Body(Asked, Reply, usize),
}

/// Which request is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// For a token, from the server of this number.
    Token(usize),
    NextV2,
    NextV1,
    Status,
    Log,
    Inventory,
    ControlMap,
}

/// What is kept between requests, and the state of the one under way.
#[derive(Debug, Default)]
pub(super) struct Requests {
    stage: Stage,
    call: Option<ApiCall>,
    token: Text<{ limits::TOKEN }>,
    /// The server that gave the token.
    server: usize,
    /// The server refused the token once during this request.
    refused: bool,
    /// `next` is asked for a fresh link of the deployment at hand, whose download goes on.
    for_link: bool,
    lost_connections: u8,
    /// When the answer must be there.
    answer_by: Option<Instant>,
    /// No token is asked for before this.
    no_token_before: Option<Instant>,
    denied: Option<Denied>,
    /// Length of the body in the front of `out`.
    body: usize,
    /// A token is to be asked for as soon as there is room.
    pub(super) wanted: bool,
    /// Authentications that have ended.
    ended: u32,
    v2: V2Memory,
    accepted: Accepted,
    pub(super) offered: Offered,
    /// Why the last request failed.
    trouble: Failed,
}

impl Requests {
    pub(super) fn trouble(&self) -> &str {
        self.trouble.as_str()
    }

    pub(super) fn token(&self) -> &str {
        self.token.as_str()
    }

    pub(super) const fn server(&self) -> usize {
        self.server
    }

    pub(super) const fn ended(&self) -> u32 {
        self.ended
    }

    /// A token is being asked for.
    pub(super) const fn is_authenticating(&self) -> bool {
        match self.stage {
            Stage::Spacing(_) | Stage::Identity => true,
            Stage::Head(asked) | Stage::Body(asked, ..) => matches!(asked, Asked::Token(_)),
            Stage::None | Stage::Inventory => false,
        }
    }

    pub(super) fn authentication_ended(&mut self) {
        self.ended = self.ended.wrapping_add(1);
    }
}

/// A request that cannot go on; text for people.
type Failed = Text<{ limits::REASON }>;

macro_rules! failed {
    ($($arg:tt)*) => { Text::cut(format_args!($($arg)*)) };
}
use failed;

impl<P: Platform> Client<'_, P> {
    pub(super) fn requests_deadline(&self) -> Option<Instant> {
        match self.requests.stage {
            Stage::Spacing(until) => Some(until),
            Stage::None | Stage::Identity | Stage::Inventory => self.hal.agent.deadline(),
            Stage::Head(_) | Stage::Body(..) => earliest(self.hal.agent.deadline(), self.requests.answer_by),
        }
    }

    /// Begins a request of the machine's.
    pub(super) fn begin_request(&mut self, now: Instant, call: ApiCall) -> Work {
        self.requests.for_link = false;
        let fresh = matches!(call, ApiCall::Status { fresh_token: true, .. });
        if (fresh || self.requests.token.is_empty())
            && !self.requests.is_authenticating()
            && let Some(outcome) = self.requests.still_denied(now, call)
        {
            if fresh {
                // The repeat proves it.
                self.requests.token.clear();
            }
            return Work::Done(outcome);
        }
        match self.ask(now, call) {
            Ok(()) => Work::Request,
            Err(reason) => Work::Done(self.request_failed(&reason)),
        }
    }

    fn ask(&mut self, now: Instant, call: ApiCall) -> Result<(), Failed> {
        let requests = &mut self.requests;
        requests.call = Some(call);
        requests.refused = false;
        if requests.is_authenticating() {
            // A fetch is under way: its token is this request's too.
            return Ok(());
        }
        if matches!(call, ApiCall::Status { fresh_token: true, .. }) {
            requests.token.clear();
        }
        let authenticates = requests.token.is_empty();
        let begun = if authenticates { self.begin_token(now) } else { self.send(now) };
        if begun.is_err() {
            if authenticates {
                self.requests.authentication_ended();
            }
            self.end_request();
        }
        begun
    }

    /// Asks for a fresh link to the artifact of the deployment at hand: the same question as that for a deployment.
    /// Then [`Self::poll_link`].
    pub(super) fn ask_for_link(&mut self, now: Instant) -> Result<(), Failed> {
        self.requests.for_link = true;
        self.ask(now, ApiCall::Next)
    }

    /// [`Outcome::Success`]: the link is there. [`Outcome::Nothing`]: the server does not offer this deployment any
    /// more. Everything else may be another time.
    pub(super) fn poll_link(&mut self, now: Instant) -> Poll<Option<Outcome>> {
        let outcome = match self.counted_step(now) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(None)) => return Poll::Ready(None),
            Ok(Poll::Ready(Some(outcome))) => outcome,
            Err(reason) => self.request_failed(&reason),
        };
        self.end_request();
        Poll::Ready(Some(outcome))
    }

    /// Moves the request on.
    pub(super) fn poll_request(&mut self, now: Instant) -> Polled {
        match self.counted_step(now) {
            Ok(Poll::Pending) => Polled::Pending,
            Ok(Poll::Ready(None)) => Polled::Moved,
            Ok(Poll::Ready(Some(outcome))) => {
                self.end_request();
                Polled::Ended(outcome)
            }
            Err(reason) => {
                self.end_request();
                Polled::Ended(self.request_failed(&reason))
            }
        }
    }

    /// Moves a fetch of a token on, which has no request behind it.
    pub(super) fn poll_fetch(&mut self, now: Instant) -> Poll<()> {
        match self.counted_step(now) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(None)) => {}
            Ok(Poll::Ready(Some(_))) => self.end_request(),
            Err(reason) => {
                self.end_request();
                self.note_trouble(&reason);
            }
        }
        Poll::Ready(())
    }

    /// Drops what is under way.
    pub(super) fn end_request(&mut self) {
        self.hal.network.cancel();
        self.hal.agent.cancel();
        self.requests.stage = Stage::None;
        self.requests.call = None;
    }

    /// A request that failed is no failure of the update by itself: it is logged, and the machine decides.
    fn request_failed(&mut self, reason: &Failed) -> Outcome {
        self.note_trouble(reason);
        Outcome::Failure
    }

    /// Logs what is wrong and keeps it for those who ask.
    pub(super) fn note_trouble(&mut self, reason: &Failed) {
        self.hal.log.log(Level::Warning, format_args!("{reason}"));
        self.requests.trouble = reason.clone();
    }

    /// A step, after which authentications that ended are counted.
    fn counted_step(&mut self, now: Instant) -> Result<Poll<Option<Outcome>>, Failed> {
        let authenticated = self.requests.is_authenticating();
        let step = self.request_step(now);
        let is_over =
            !self.requests.is_authenticating() || !matches!(step, Ok(Poll::Pending | Poll::Ready(None)));
        if authenticated && is_over {
            self.requests.authentication_ended();
        }
        step
    }

    fn request_step(&mut self, now: Instant) -> Result<Poll<Option<Outcome>>, Failed> {
        let is_late = self.requests.answer_by.is_some_and(|at| at <= now);
        match self.requests.stage {
            Stage::Head(asked) | Stage::Body(asked, ..) if is_late => {
                let limit = asked.limit().as_secs();
                let reason = failed!("{}: no whole answer within {limit} s", asked.name());
                self.no_answer(now, asked, true, reason)
            }
            Stage::None => Err(failed!("no request is under way")),
            Stage::Spacing(until) if now < until => Ok(Poll::Pending),
            Stage::Spacing(_) => {
                self.begin_identity(now)?;
                Ok(Poll::Ready(None))
            }
            Stage::Identity => match self.hal.agent.poll_identity(now, self.record) {
                Poll::Pending => Ok(Poll::Pending),
                Poll::Ready(Ok(length)) => {
                    self.write_token_request(length)?;
                    self.ask_for_token(now, 0)?;
                    Ok(Poll::Ready(None))
                }
                Poll::Ready(Err(error)) => Err(failed!("the device's identity: {error}")),
            },
            Stage::Inventory => match self.hal.agent.poll_inventory(now) {
                Poll::Pending => Ok(Poll::Pending),
                Poll::Ready(()) => self.send_inventory(now),
            },
            Stage::Head(asked) => match self.hal.network.poll_head(now) {
                Poll::Pending => Ok(Poll::Pending),
                Poll::Ready(Ok(head)) => self.answered(now, asked, head),
                Poll::Ready(Err(error)) => {
                    let reason = failed!("{}: {error}", asked.name());
                    let lost = matches!(error.kind(), Kind::Connection | Kind::TimedOut);
                    self.no_answer(now, asked, lost, reason)
                }
            },
            Stage::Body(asked, reply, length) => {
                let room = self.record.get_mut(length..).unwrap_or_default();
                if room.is_empty() {
                    return self.answer_complete(now, asked, reply, length, false);
                }
                match self.hal.network.poll_read(now, room) {
                    Poll::Pending => Ok(Poll::Pending),
                    Poll::Ready(Ok(0)) => self.answer_complete(now, asked, reply, length, true),
                    Poll::Ready(Ok(read)) => {
                        self.requests.stage = Stage::Body(asked, reply, length.saturating_add(read));
                        Ok(Poll::Ready(None))
                    }
                    Poll::Ready(Err(error)) => {
                        let reason = failed!("{}: the answer broke off: {error}", asked.name());
                        self.no_answer(now, asked, true, reason)
                    }
                }
            }
        }
    }
}

impl Asked {
    const fn name(self) -> &'static str {
        match self {
            Self::Token(_) => "authentication",
            Self::NextV2 | Self::NextV1 => "asking for a deployment",
            Self::Status => "reporting the status",
            Self::Log => "sending the deployment's log",
            Self::Inventory => "sending the inventory",
            Self::ControlMap => "asking for the control map",
        }
    }

    /// How long the whole of it may take.
    const fn limit(self) -> Duration {
        match self {
            Self::Log => LOG_WAIT,
            Self::Token(_)
            | Self::NextV2
            | Self::NextV1
            | Self::Status
            | Self::Inventory
            | Self::ControlMap => ANSWER_WAIT,
        }
    }

    fn reply(self, head: Head) -> Reply {
        let endpoint = match self {
            Self::Token(_) => Endpoint::Auth,
            Self::NextV2 => Endpoint::NextV2,
            Self::NextV1 => Endpoint::NextV1 { artifact_name: "", device_type: "" },
            Self::Status => Endpoint::Status(""),
            Self::Log => Endpoint::Log(""),
            Self::Inventory => Endpoint::Inventory,
            Self::ControlMap => Endpoint::ControlMap(""),
        };
        endpoint.reply(head.status, head.retry_after)
    }
}
