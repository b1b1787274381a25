//! Requests to the server: a token first, then the device API (`spec/server-api.md`).
//!
//! Each request is one completion: the machine hears how it ended exactly once. A token is asked for when there is
//! none, and once more when the server refuses the one there is.

use core::fmt;
use core::task::Poll;

use super::operation::{Polled, Work};
use super::summary::Summary;
use super::transfer::Transfer;
use super::{Client, Source};
use crate::api::auth::{self, AuthRequest, Identity};
use crate::api::deployments::{self, Offer};
use crate::api::inventory::{Accepted, Attributes};
use crate::api::{Endpoint, Reply, V2Memory, check_url, error_text};
use crate::config::{ANSWER_WAIT, LOG_WAIT};
use crate::control::{Map, MapError};
use crate::deployment::Status;
use crate::hal::{
    Agent, Clock, Error as _, Head, Kind, Level, Log, Network, Platform, Request, Storage, System, Target,
};
use crate::json::Value;
use crate::limits;
use crate::machine::{ApiCall, retry_after};
use crate::retry::SHORTEST;
use crate::state::Outcome;
use crate::text::Text;
use crate::time::{Duration, Instant, earliest};

/// After so many requests in a row that found no connection, the token is dropped: another server may answer.
const LOST_CONNECTIONS: u8 = 3;

/// Room for a URL of the device API: a server's, a path, two encoded names.
const API_URL: usize = 2048;

/// Room for a signature in base64: RSA-4096 has 684 bytes.
const SIGNATURE: usize = 1024;

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

/// An authentication in vain, whose outcome is that of the requests right behind it.
#[derive(Clone, Copy, Debug)]
struct Denied {
    until: Instant,
    /// The server asked for the time.
    asked_for: bool,
}

/// What the server said about the artifact it offered.
#[derive(Debug, Default)]
pub(super) struct Offered {
    artifact_name: Text<{ limits::NAME }>,
    fits_device: bool,
    /// Why its link cannot be used.
    bad_link: Text<80>,
}

/// Why an artifact is not the one that was offered.
#[derive(Debug)]
pub(super) enum NotOffered {
    Name(Text<{ limits::NAME }>),
    DeviceType,
}

impl fmt::Display for NotOffered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(offered) => {
                write!(f, "the server offered artifact \"{offered}\", the link gives another")
            }
            Self::DeviceType => f.write_str("the server's offer is not for this device type"),
        }
    }
}

impl Offered {
    pub(super) const fn new(artifact_name: Text<{ limits::NAME }>, fits_device: bool) -> Self {
        Self { artifact_name, fits_device, bad_link: Text::new() }
    }

    pub(super) fn artifact_name(&self) -> &str {
        self.artifact_name.as_str()
    }

    pub(super) const fn fits_device(&self) -> bool {
        self.fits_device
    }

    /// The artifact must be the one that was offered, and offered to this device.
    pub(super) fn check(&self, name: &str) -> Result<(), NotOffered> {
        if self.artifact_name != *name {
            return Err(NotOffered::Name(self.artifact_name.clone()));
        }
        if !self.fits_device {
            return Err(NotOffered::DeviceType);
        }
        Ok(())
    }

    pub(super) fn bad_link(&self) -> &str {
        self.bad_link.as_str()
    }
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

    /// Somebody at the device asks: whatever is waited for, the server is asked.
    pub(super) const fn ask_again(&mut self) {
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
    fn still_denied(&self, now: Instant, call: ApiCall) -> Option<Outcome> {
        if let Some(seconds) = self.asked_to_wait(now) {
            return Some(Outcome::Later(u32::try_from(seconds).ok()));
        }
        let Denied { until, .. } = self.denied?;
        let in_this_round = until.since(now).as_millis() > SHORTEST.as_millis() / 2;
        (in_this_round && matches!(call, ApiCall::Next | ApiCall::Inventory)).then_some(Outcome::Failure)
    }
}

/// A request that cannot go on; text for people.
type Failed = Text<{ limits::REASON }>;

macro_rules! failed {
    ($($arg:tt)*) => { Text::cut(format_args!($($arg)*)) };
}

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

    /// Begins to ask for a token, at once or when the last vain attempt is long enough ago.
    pub(super) fn begin_token(&mut self, now: Instant) -> Result<(), Failed> {
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
    fn begin_identity(&mut self, now: Instant) -> Result<(), Failed> {
        self.requests.stage = Stage::Identity;
        self.hal.agent.start_identity(now).map_err(|error| failed!("the device's identity: {error}"))
    }

    /// The body of the request for a token, in the front of `out`. The identity stands in the front of `record`.
    fn write_token_request(&mut self, identity: usize) -> Result<(), Failed> {
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
    fn ask_for_token(&mut self, now: Instant, server: usize) -> Result<(), Failed> {
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

    /// Sends what the machine asked for; there is a token.
    fn send(&mut self, now: Instant) -> Result<(), Failed> {
        match self.requests.call {
            Some(ApiCall::Next) if self.requests.v2.is_worth_trying(now) => self.request(now, Asked::NextV2),
            Some(ApiCall::Next) => self.request(now, Asked::NextV1),
            Some(ApiCall::Status { .. }) => self.request(now, Asked::Status),
            Some(ApiCall::Log) => self.request(now, Asked::Log),
            Some(ApiCall::ControlMap) => self.request(now, Asked::ControlMap),
            Some(ApiCall::Inventory) => {
                self.requests.stage = Stage::Inventory;
                self.hal.agent.start_inventory(now).map_err(|error| failed!("inventory: {error}"))
            }
            None => Err(failed!("no request is under way")),
        }
    }

    /// The inventory scripts have ended: their output becomes the body, sent unless the server has it already.
    fn send_inventory(&mut self, now: Instant) -> Result<Poll<Option<Outcome>>, Failed> {
        let mut device_type = [0; limits::DEVICE_TYPE];
        let device_type = self.hal.system.device_type(&mut device_type).ok();
        let provides = self.hal.storage.read(crate::hal::Key::Provides, self.out);
        let provides = provides.map_err(|error| failed!("what is installed cannot be read: {error}"))?;
        let provides =
            Value::parse(provides.unwrap_or(b"{}")).map_err(|error| failed!("what is installed: {error}"))?;
        let mut attributes = Attributes::new(self.record);
        let mut own = attributes.own("mender_client_version", self.hal.agent.version());
        if let Some(device_type) = device_type {
            own = own.and_then(|()| attributes.own("device_type", device_type));
        }
        own = own.and_then(|()| attributes.own_provides(provides));
        own.map_err(|error| failed!("inventory: {error}"))?;
        let mut index: usize = 0;
        while let Some((script, output)) = self.hal.agent.inventory(index) {
            attributes.begin_script();
            attributes.push(output);
            match attributes.end_script(true) {
                Ok(0) => {}
                Ok(left_out) => self.hal.log.log(
                    Level::Warning,
                    format_args!(
                        "{script}: lines without key=value in UTF-8, or with too long a key, are left out: {left_out}"
                    ),
                ),
                Err(error) => {
                    self.hal.log.log(Level::Warning, format_args!("{script}: {error}"))
                }
            }
            index = index.saturating_add(1);
        }
        let body = attributes.write(self.out).map_err(|error| failed!("{error}"))?;
        if self.requests.accepted.is(body) {
            return Ok(Poll::Ready(Some(Outcome::Success)));
        }
        self.requests.body = body.len();
        self.request(now, Asked::Inventory)?;
        Ok(Poll::Ready(None))
    }

    /// Sends a request with the token.
    fn request(&mut self, now: Instant, asked: Asked) -> Result<(), Failed> {
        let mut device_type = [0; limits::DEVICE_TYPE];
        let mut name = [0; limits::NAME];
        let (mut artifact_name, mut device) = (deployments::UNKNOWN_NAME, "");
        if matches!(asked, Asked::NextV2 | Asked::NextV1) {
            device = self
                .hal
                .system
                .device_type(&mut device_type)
                .map_err(|error| failed!("the device type cannot be read: {error}"))?;
            let provides = self.hal.storage.read(crate::hal::Key::Provides, self.record);
            let provides = provides.map_err(|error| failed!("what is installed cannot be read: {error}"))?;
            let provides = Value::parse(provides.unwrap_or(b"{}"))
                .map_err(|error| failed!("what is installed: {error}"))?;
            if let Some(installed) = deployments::artifact_name(provides) {
                artifact_name = installed.unescape(&mut name).unwrap_or(deployments::UNKNOWN_NAME);
            }
            if asked == Asked::NextV2 {
                let body =
                    deployments::next_v2(device, provides, self.out).map_err(|error| failed!("{error}"))?;
                self.requests.body = body.len();
            }
        }
        let deployment = self.machine.deployment();
        if let (Asked::Status, Some(ApiCall::Status { status, .. })) = (asked, self.requests.call) {
            let is_final = matches!(status, Status::Success | Status::Failure);
            let substate = match self.waiting() {
                _ if is_final => self.summary(),
                Some((_, why)) => why,
                None => Text::new(),
            };
            let body = deployments::status(status, substate.as_str(), self.out)
                .map_err(|error| failed!("{error}"))?;
            self.requests.body = body.len();
        }
        let endpoint = match asked {
            Asked::Token(_) => Endpoint::Auth,
            Asked::NextV2 => Endpoint::NextV2,
            Asked::NextV1 => Endpoint::NextV1 { artifact_name, device_type: device },
            Asked::Status => Endpoint::Status(deployment),
            Asked::Log => Endpoint::Log(deployment),
            Asked::Inventory => Endpoint::Inventory,
            Asked::ControlMap => Endpoint::ControlMap(deployment),
        };
        let server = self.requests.server;
        let base =
            self.hal.agent.server(server).ok_or_else(|| failed!("no server is configured: set ServerURL"))?;
        let mut url = [0; API_URL];
        let url = endpoint.url(base, &mut url).map_err(|error| failed!("{error}"))?;
        let body = match asked {
            Asked::NextV1 | Asked::ControlMap => None,
            Asked::Log => {
                let log = self.hal.agent.deployment_log(deployment);
                Some(log.map_err(|error| failed!("the deployment's log: {error}"))?)
            }
            Asked::Token(_) | Asked::NextV2 | Asked::Status | Asked::Inventory => {
                self.out.get(..self.requests.body)
            }
        };
        let request = Request {
            method: endpoint.method(),
            target: Target::Url(url),
            token: Some(self.requests.token.as_str()),
            signature: None,
            body,
            offset: 0,
            etag: None,
        };
        self.requests.stage = Stage::Head(asked);
        self.requests.answer_by = Some(now + asked.limit());
        self.hal.network.start(now, &request).map_err(|error| failed!("{}: {error}", asked.name()))
    }

    /// No answer came. The next server may give a token; all else fails.
    fn no_answer(
        &mut self,
        now: Instant,
        asked: Asked,
        lost: bool,
        reason: Failed,
    ) -> Result<Poll<Option<Outcome>>, Failed> {
        if let Asked::Token(server) = asked {
            return self.next_server(now, server, Outcome::Failure, &reason);
        }
        if lost {
            self.requests.lost_connections = self.requests.lost_connections.saturating_add(1);
            if self.requests.lost_connections >= LOST_CONNECTIONS {
                self.requests.token.clear();
            }
        }
        Err(reason)
    }

    fn next_server(
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

    /// The head of an answer came.
    fn answered(&mut self, now: Instant, asked: Asked, head: Head) -> Result<Poll<Option<Outcome>>, Failed> {
        self.requests.lost_connections = 0;
        let reply = asked.reply(head);
        if reply == Reply::Unauthorized && !matches!(asked, Asked::Token(_)) && !self.requests.refused {
            // Once, even when the token is new: a second refusal is an ordinary failure.
            self.requests.refused = true;
            self.hal.network.cancel();
            self.hal.log.log(Level::Info, format_args!("the server refused the token: authenticating again"));
            self.begin_token(now)?;
            return Ok(Poll::Ready(None));
        }
        if reply == Reply::NotFound && asked == Asked::NextV2 {
            self.hal.network.cancel();
            self.requests.v2.not_found(now);
            self.request(now, Asked::NextV1)?;
            return Ok(Poll::Ready(None));
        }
        self.requests.stage = Stage::Body(asked, reply, 0);
        Ok(Poll::Ready(None))
    }

    /// The body of an answer came; `whole`: to its end.
    fn answer_complete(
        &mut self,
        now: Instant,
        asked: Asked,
        reply: Reply,
        length: usize,
        whole: bool,
    ) -> Result<Poll<Option<Outcome>>, Failed> {
        let body = self.record.get(..length).unwrap_or_default();
        if reply == Reply::Done && !whole {
            return Err(failed!("{}: the answer is longer than {length} bytes", asked.name()));
        }
        if let (Asked::Token(server), Reply::Done) = (asked, reply) {
            match auth::token(body) {
                Ok(token) => {
                    self.requests.token = Text::copy(token).unwrap_or_default();
                    self.requests.server = server;
                    self.requests.denied = None;
                    // The server may have forgotten the device's inventory.
                    self.requests.accepted.forget();
                    self.hal.network.cancel();
                    if self.requests.call.is_none() {
                        self.requests.stage = Stage::None;
                        self.requests.trouble.clear();
                        // Whoever asks again and again does not reach the server more often.
                        self.requests.no_token_before = Some(self.hal.clock.now() + SHORTEST);
                        return Ok(Poll::Ready(Some(Outcome::Success)));
                    }
                    self.send(now)?;
                    return Ok(Poll::Ready(None));
                }
                Err(error) => return self.next_server(now, server, Outcome::Failure, &failed!("{error}")),
            }
        }
        if reply != Reply::Done && reply != Reply::Nothing {
            let text = error_text(body).unwrap_or_default();
            let colon = if text.is_empty() { "" } else { ": " };
            let reason = failed!("{}: {reply}{colon}{text}", asked.name());
            if let Asked::Token(server) = asked {
                let outcome = match reply {
                    Reply::Later(seconds) => Outcome::Later(seconds),
                    Reply::Done
                    | Reply::Nothing
                    | Reply::Unauthorized
                    | Reply::NotFound
                    | Reply::Aborted
                    | Reply::TooLarge
                    | Reply::Failed(_) => Outcome::Failure,
                };
                return self.next_server(now, server, outcome, &reason);
            }
            self.note_trouble(&reason);
        } else {
            self.requests.trouble.clear();
        }
        Ok(Poll::Ready(Some(match reply {
            Reply::Done => self.accepted_by_server(now, asked, length)?,
            Reply::Nothing => Outcome::Nothing,
            Reply::Aborted => Outcome::Aborted,
            Reply::TooLarge => Outcome::Refused,
            Reply::Later(seconds) => Outcome::Later(seconds),
            // The token stays: when it is refused again, that request asks for another.
            Reply::Unauthorized | Reply::NotFound | Reply::Failed(_) => Outcome::Failure,
        })))
    }

    fn accepted_by_server(&mut self, now: Instant, asked: Asked, length: usize) -> Result<Outcome, Failed> {
        match asked {
            Asked::NextV2 | Asked::NextV1 => self.take_offer(now, length),
            Asked::Inventory => {
                let body = self.out.get(..self.requests.body).and_then(|body| str::from_utf8(body).ok());
                self.requests.accepted.remember(body.unwrap_or_default());
                Ok(Outcome::Success)
            }
            Asked::ControlMap => {
                let body = self.record.get(..length).unwrap_or_default();
                let raw = deployments::control_map(body).map_err(|error| failed!("{error}"))?;
                let map = Map::from_server(Some(raw), self.machine.deployment());
                self.take_map(now, map);
                Ok(Outcome::Success)
            }
            Asked::Token(_) | Asked::Status | Asked::Log => Ok(Outcome::Success),
        }
    }

    /// Reads the offer in the front of `record`.
    fn take_offer(&mut self, now: Instant, length: usize) -> Result<Outcome, Failed> {
        let base = self.hal.agent.server(self.requests.server).unwrap_or_default();
        let scheme = check_url(base).map_err(|error| failed!("ServerURL: {error}"))?;
        let body = self.record.get(..length).unwrap_or_default();
        let mut link = [0; limits::URL];
        let offer = Offer::parse(body, scheme, &mut link).map_err(|error| failed!("{error}"))?;
        let mut device_type = [0; limits::DEVICE_TYPE];
        let device_type = self.hal.system.device_type(&mut device_type).unwrap_or_default();
        if self.requests.for_link {
            let same = offer.id == *self.machine.deployment()
                && offer.artifact_name == self.requests.offered.artifact_name;
            if !same || !offer.is_for(device_type) {
                return Ok(Outcome::Nothing);
            }
            let map = Map::from_server(offer.control_map, offer.id.as_str());
            let map = map.map_err(|error| failed!("the server's update control map: {error}"))?;
            self.location = Text::copy(offer.uri.map_err(|error| failed!("{error}"))?).unwrap_or_default();
            // An answer without one may be that of a server which knows none: the doors ask for it.
            if map.is_some() {
                self.take_map(now, Ok(map));
            }
            return Ok(Outcome::Success);
        }
        self.transfer = Transfer::default();
        self.earlier = None;
        self.offer_stored = false;
        self.requests.offered = Offered {
            artifact_name: offer.artifact_name.clone(),
            fits_device: offer.is_for(device_type),
            bad_link: Text::new(),
        };
        match offer.uri {
            Ok(link) => {
                self.source = Source::Url;
                self.location = Text::copy(link).unwrap_or_default();
            }
            Err(error) => {
                self.source = Source::Unknown;
                self.requests.offered.bad_link = Text::cut(format_args!("{error}"));
            }
        }
        self.reason.clear();
        self.reason_stored = false;
        self.summary = Summary::default();
        self.hal.log.open_deployment(offer.id.as_str());
        let name = &self.requests.offered.artifact_name;
        self.hal.log.log(Level::Info, format_args!("deployment {} of artifact \"{name}\" begins", offer.id));
        let map = Map::from_server(offer.control_map, offer.id.as_str());
        self.machine.offer(offer.id);
        self.take_map(now, map);
        Ok(Outcome::Success)
    }

    /// What the server says about holding the deployment back.
    fn take_map(&mut self, now: Instant, map: Result<Option<Map>, MapError>) {
        if let Err(error) = &map {
            self.fail(format_args!("the server's update control map: {error}"));
        }
        self.machine.set_server_map(now, map.map_err(|_| ()));
        // A restart before the first door must not forget it. A failure is logged.
        self.save_maps();
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
