//! Answers: what each means for the request, and what comes of an offer.

use core::task::Poll;

use super::{Asked, Failed, Stage, failed};
use crate::api::deployments::{self, Offer};
use crate::api::{Reply, auth, check_url, error_text};
use crate::client::offer::Offered;
use crate::client::summary::Summary;
use crate::client::transfer::Performer;
use crate::client::{Answer, Client, Source};
use crate::control::{Map, MapError};
use crate::hal::{Agent, Clock, Level, Log, Network, Platform, System};
use crate::http::Head;
use crate::limits;
use crate::machine::{Event, OfferedMap};
use crate::retry::SHORTEST;
use crate::state::Outcome;
use crate::text::Text;
use crate::time::Instant;

/// After so many requests in a row that found no connection, the token is dropped: another server may answer.
const LOST_CONNECTIONS: u8 = 3;

impl<P: Platform> Client<'_, P> {
    /// No answer came. The next server may give a token; all else fails.
    pub(super) fn no_answer(
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

    /// The head of an answer came.
    pub(super) fn answered(
        &mut self,
        now: Instant,
        asked: Asked,
        head: Head,
    ) -> Result<Poll<Option<Outcome>>, Failed> {
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
    pub(super) fn answer_complete(
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
                self.answer = Answer::Map(self.usable(map).flatten());
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
                && offer.artifact_name == *self.requests.offered.artifact_name();
            if !same || !offer.is_for(device_type) {
                return Ok(Outcome::Nothing);
            }
            let map = Map::from_server(offer.control_map, offer.id.as_str());
            let map = map.map_err(|error| failed!("the server's update control map: {error}"))?;
            self.location = Text::copy(offer.uri.map_err(|error| failed!("{error}"))?).unwrap_or_default();
            // An answer without one may be that of a server which knows none: the doors ask for it.
            if let Some(map) = map {
                self.tell(now, Event::ServerMap(map));
            }
            return Ok(Outcome::Success);
        }
        self.transfer = Performer::new(Text::new());
        self.earlier = false;
        self.offer_stored = false;
        let fits_device = offer.is_for(device_type);
        self.requests.offered = Offered::new(offer.artifact_name.clone(), fits_device);
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
        let name = self.requests.offered.artifact_name();
        self.hal.log.log(Level::Info, format_args!("deployment {} of artifact \"{name}\" begins", offer.id));
        let map = Map::from_server(offer.control_map, offer.id.as_str());
        let id = offer.id;
        let map = match self.usable(map) {
            Some(Some(map)) => OfferedMap::Map(map),
            Some(None) => OfferedMap::Absent,
            None => OfferedMap::Unusable,
        };
        self.answer = Answer::Offer(id, map);
        Ok(Outcome::Success)
    }

    /// What the server says about holding the deployment back; `None`, and the reason is noted, when it cannot be used.
    fn usable(&mut self, map: Result<Option<Map>, MapError>) -> Option<Option<Map>> {
        map.map_err(|error| self.fail(format_args!("the server's update control map: {error}"))).ok()
    }
}
