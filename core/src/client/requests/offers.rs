//! What the server offers: a deployment, a fresh link to its artifact, a control map for it.

use core::fmt;

use super::Trouble;
use crate::api::deployments::{BadAnswer, Offer};
use crate::api::{Scheme, UrlError, check_url};
use crate::client::Client;
use crate::client::download::{Download, Source};
use crate::client::offer::Offered;
use crate::client::reason::Story;
use crate::control::{Map, MapError};
use crate::flow::{self, Event};
use crate::hal::{Agent, Level, Log, Platform, System, Verifier};
use crate::limits;
use crate::machine::OfferedMap;
use crate::session::Content;
use crate::text::Text;
use crate::time::Instant;

/// Why an answer holds no offer.
enum BadOffer {
    Server(UrlError),
    Answer(BadAnswer),
}

impl fmt::Display for BadOffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(error) => write!(f, "ServerURL: {error}"),
            Self::Answer(error) => error.fmt(f),
        }
    }
}

impl<P: Platform> Client<'_, P> {
    /// Takes the offer of a deployment from the answer.
    pub(super) fn take_offer(&mut self, server: u8) -> Result<flow::Offer, Trouble> {
        let mut link = [0; limits::URL];
        let answer = self.lent.answer();
        let offer = read(&self.hal.agent, server, self.hal.verifier.has_keys(), answer, &mut link);
        let offer = match offer {
            Ok(offer) => offer,
            Err(error) => return Err(self.requests.note(&mut self.hal.log, format_args!("{error}"))),
        };
        let mut device_type = [0; limits::DEVICE_TYPE];
        let device_type = self.hal.system.device_type(&mut device_type).unwrap_or_default();
        self.requests.offered = Offered::new(offer.artifact_name.clone(), offer.is_for(device_type));
        let source = match offer.uri {
            Ok(link) => Source::Url(Text::copy(link).unwrap_or_default()),
            Err(error) => Source::Unknown(Text::cut(format_args!("{error}"))),
        };
        self.download = Download::new(source, Text::new());
        self.requests.had_substate = false;
        self.story = Story::default();
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
        Ok(flow::Offer::Deployment(id, map))
    }

    /// Takes a fresh link to the artifact of the deployment in progress from the answer.
    pub(super) fn take_link(&mut self, now: Instant, server: u8) -> Result<Content, Trouble> {
        let mut link = [0; limits::URL];
        let answer = self.lent.answer();
        let offer = read(&self.hal.agent, server, self.hal.verifier.has_keys(), answer, &mut link);
        let offer = match offer {
            Ok(offer) => offer,
            Err(error) => return Err(self.requests.note(&mut self.hal.log, format_args!("{error}"))),
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
            self.requests.note(log, format_args!("the server's update control map: {error}"))
        })?;
        let link =
            offer.uri.map_err(|error| self.requests.note(&mut self.hal.log, format_args!("{error}")))?;
        self.download.source = Source::Url(Text::copy(link).unwrap_or_default());
        // An answer without one may be that of a server which knows none: the doors ask for it.
        if let Some(map) = map {
            self.tell(now, Event::ServerMap(map));
        }
        Ok(Content::Good)
    }

    /// What the server says about holding the deployment back; `None`, and the reason is noted, when it cannot be used.
    pub(super) fn usable(&mut self, map: Result<Option<Map>, MapError>) -> Option<Option<Map>> {
        map.map_err(|error| self.fail(format_args!("the server's update control map: {error}"))).ok()
    }
}

/// Reads the offer in the answer of this server. Where artifacts are verified, it does not matter how they come.
fn read<'a, 'u, A: Agent>(
    agent: &A,
    server: u8,
    verifies: bool,
    answer: &'a [u8],
    link: &'u mut [u8],
) -> Result<Offer<'a, 'u>, BadOffer> {
    let base = agent.server(server.into()).unwrap_or_default();
    let own = check_url(base).map_err(BadOffer::Server)?;
    let least = if verifies { Scheme::Http } else { own };
    Offer::parse(answer, least, link).map_err(BadOffer::Answer)
}
