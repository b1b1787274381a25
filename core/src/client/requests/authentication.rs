//! The request for a token: who the device is, signed.

use super::Trouble;
use super::sending::API_URL;
use crate::api::Endpoint;
use crate::api::auth::{AuthRequest, Identity};
use crate::client::Client;
use crate::hal::{Agent, Network, Platform};
use crate::http::{Request, Target};
use crate::limits;
use crate::session::Event;
use crate::time::Instant;

impl<P: Platform> Client<'_, P> {
    /// [`Task::FindIdentity`](crate::flow::Task::FindIdentity).
    pub(in crate::client) fn find_identity(&mut self, now: Instant) -> Result<(), Trouble> {
        if self.hal.agent.server(0).is_none() {
            return Err(self.note_trouble(format_args!("no server is configured: set ServerURL")));
        }
        match self.hal.agent.start_identity(now) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.note_trouble(format_args!("the device's identity: {error}"))),
        }
    }

    /// The body. The identity, of this length, stands in the front of what it is made of.
    pub(super) fn write_token_request(&mut self, identity: usize) -> Result<(), Trouble> {
        let Self { hal, requests, lent, .. } = self;
        let log = &mut hal.log;
        let (record, out) = lent.free();
        let identity = Identity::parse(record.get(..identity).unwrap_or_default());
        let identity = identity.map_err(|error| requests.note(log, format_args!("{error}")))?;
        let request = AuthRequest::begin(out, identity, hal.agent.tenant_token(), hal.agent.tier());
        let pubkey = hal
            .agent
            .public_key()
            .map_err(|error| requests.note(log, format_args!("the device's key: {error}")))?;
        let body = match request.finish(pubkey) {
            Ok(body) => body.len(),
            Err(error) => return Err(requests.note(log, format_args!("{error}"))),
        };
        lent.wrote(body);
        Ok(())
    }

    /// Signs the body and sends it to this server; else what happened.
    pub(in crate::client) fn ask_for_token(&mut self, now: Instant, server: u8) -> Result<(), Event> {
        let Self { hal, requests, lent, .. } = self;
        let body = lent.body();
        requests.sent = Some(0);
        let mut signature = [0; limits::SIGNATURE];
        let signature = hal.agent.sign(body, &mut signature).map_err(|error| {
            requests.note(&mut hal.log, format_args!("the device's key: {error}"));
            Event::IdentityFailed
        })?;
        let base = hal.agent.server(server.into()).unwrap_or_default();
        let mut url = [0; API_URL];
        let url = Endpoint::Auth.url(base, &mut url).map_err(|error| {
            requests.note(&mut hal.log, format_args!("authentication: {error}"));
            Event::NotSent
        })?;
        let request = Request {
            method: Endpoint::Auth.method(),
            target: Target::Url(url),
            token: None,
            signature: Some(signature),
            body: Some(body.len()),
            offset: 0,
            etag: None,
        };
        hal.network.start(now, &request).map_err(|error| {
            requests.note(&mut hal.log, format_args!("authentication: {error}"));
            Event::NotSent
        })
    }
}
