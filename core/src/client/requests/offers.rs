//! What the server offers: a deployment, a fresh link to its artifact, a control map for it.

use super::Trouble;
use crate::api::deployments::Offer;
use crate::begun::TurnDown;
use crate::client::Client;
use crate::client::messages::{RequestText, say};
use crate::client::offer::Offered;
use crate::client::reason::Story;
use crate::control::{Map, MapError};
use crate::flow::{self, Event};
use crate::hal::{Level, Log, Platform, System, Verifier};
use crate::http::url::Url;
use crate::limits;
use crate::machine::OfferedMap;
use crate::session::Content;
use crate::time::Instant;

impl<P: Platform> Client<'_, P> {
    /// Takes the offer of a deployment from the answer. One that the machine turns down leaves nothing behind.
    #[inline(never)]
    pub(super) fn take_offer(&mut self, now: Instant, server: u8) -> Result<flow::Offer, Trouble> {
        let https_only = self.wants_https(server)?;
        let offer = match Offer::parse(self.lent.answer()) {
            Ok(offer) => offer,
            Err(error) => return Err(self.requests.note(&mut self.hal.log, &error)),
        };
        if let Some(why) = self.machine().turns_down(now, offer.id.as_str()) {
            let id = offer.id;
            self.say_turned_down(id.as_str(), why);
            return Ok(flow::Offer::Deployment(id, OfferedMap::Absent));
        }
        let mut device_type = [0; limits::DEVICE_TYPE];
        let device_type = self.hal.system.device_type(&mut device_type).unwrap_or_default();
        self.requests.offered = Offered::new(offer.artifact_name.clone(), offer.is_for(device_type));
        self.download.begin();
        // An unusable link fails the download, and is told there.
        let _ = self.download.source.set_url(|link| offer.link(https_only, link));
        self.requests.had_substate = false;
        self.story = Story::default();
        self.hal.log.open_deployment(offer.id.as_str());
        self.flight.begins(offer.id.as_str());
        let name = self.requests.offered.artifact_name();
        say(&mut self.hal.log, Level::Info, &RequestText::Begins { deployment: offer.id.as_str(), name });
        let map = Map::from_server(offer.control_map, offer.id.as_str());
        let id = offer.id;
        let map = match self.usable(map) {
            Some(Some(map)) => OfferedMap::Map(map),
            Some(None) => OfferedMap::Absent,
            None => OfferedMap::Unusable,
        };
        Ok(flow::Offer::Deployment(id, map))
    }

    /// The machine takes an offer for none.
    fn say_turned_down(&mut self, deployment: &str, why: TurnDown) {
        let line = match why {
            TurnDown::Refused(left) => RequestText::EndWasRefused { deployment, left },
            TurnDown::TooOften(left) => {
                RequestText::BeganTooOften { deployment, times: limits::BEGINNINGS, left }
            }
        };
        say(&mut self.hal.log, Level::Warning, &line);
    }

    /// Takes a fresh link to the artifact of the deployment in progress from the answer.
    #[inline(never)]
    pub(super) fn take_link(&mut self, now: Instant, server: u8) -> Result<Content, Trouble> {
        let https_only = self.wants_https(server)?;
        let offer = match Offer::parse(self.lent.answer()) {
            Ok(offer) => offer,
            Err(error) => return Err(self.requests.note(&mut self.hal.log, &error)),
        };
        let mut device_type = [0; limits::DEVICE_TYPE];
        let device_type = self.hal.system.device_type(&mut device_type).unwrap_or_default();
        let same = offer.id == *self.machine().deployment()
            && offer.artifact_name == *self.requests.offered.artifact_name();
        if !same || !offer.is_for(device_type) {
            return Ok(Content::NotThisDeployment);
        }
        let map = Map::from_server(offer.control_map, offer.id.as_str()).map_err(|error| {
            let log = &mut self.hal.log;
            self.requests.note(log, &RequestText::ServerMap { error: &error })
        })?;
        self.download
            .source
            .set_url(|link| offer.link(https_only, link))
            .map_err(|error| self.requests.note(&mut self.hal.log, &error))?;
        // An answer without one may be that of a server which knows none: the doors ask for it.
        if let Some(map) = map {
            self.tell(now, Event::ServerMap(map));
        }
        Ok(Content::Good)
    }

    /// Whether a link from this server has to be `https`: if the server's own URL is. Where artifacts are verified, it does
    /// not matter how they come.
    fn wants_https(&mut self, server: u8) -> Result<bool, Trouble> {
        match Url::parse(self.device.server(server).unwrap_or_default()) {
            Ok(url) => Ok(url.is_https && !self.hal.verifier.has_keys()),
            Err(error) => Err(self.note_trouble(&RequestText::ServerUrl { error: &error })),
        }
    }

    /// What the server says about holding the deployment back; `None`, and the reason is noted, when it cannot be used.
    pub(super) fn usable(&mut self, map: Result<Option<Map>, MapError>) -> Option<Option<Map>> {
        map.map_err(|error| self.fail(&RequestText::ServerMap { error: &error })).ok()
    }
}
