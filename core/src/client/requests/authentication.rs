//! The request for a token: who the device is, signed.

use core::task::Poll;

use super::Trouble;
use crate::api::Endpoint;
use crate::api::auth::{self, AuthRequest};
use crate::client::Client;
use crate::client::messages::RequestText;
use crate::hal::{Cause, DeviceKey, Identity, Network, Platform};
use crate::http::{Request, Target};
use crate::session::{Event, RequestKind};
use crate::time::Instant;

/// What is waited for while the request for a token is made. Each may take its time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asking {
    /// The identity.
    Identity,
    /// The public key. The identity, of this length, stands in the front of what the body is made of.
    PublicKey { identity: usize },
    /// The signature of the body.
    Signature,
}

impl<P: Platform> Client<'_, P> {
    /// [`Task::FindIdentity`](crate::flow::Task::FindIdentity).
    pub(in crate::client) fn find_identity(&mut self, now: Instant) -> Result<(), Trouble> {
        if self.device.servers.is_empty() {
            return Err(self.note_trouble(&RequestText::NoServer));
        }
        self.requests.asking = Asking::Identity;
        match self.hal.identity.start(now) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.note_trouble(&RequestText::Identity { error: Cause::of(&error) })),
        }
    }

    /// Ready when the body and its signature are written.
    #[inline(never)]
    pub(super) fn poll_token_request(&mut self, now: Instant) -> Poll<Result<(), Trouble>> {
        let Self { hal, device, requests, lent, .. } = self;
        let log = &mut hal.log;
        loop {
            match requests.asking {
                Asking::Identity => match hal.identity.poll(now, lent.free().0) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(identity)) => requests.asking = Asking::PublicKey { identity },
                    Poll::Ready(Err(error)) => {
                        return Poll::Ready(Err(
                            requests.note(log, &RequestText::Identity { error: Cause::of(&error) })
                        ));
                    }
                },
                Asking::PublicKey { identity } => {
                    let (record, out) = lent.free();
                    let identity = match auth::Identity::parse(record.get(..identity).unwrap_or_default()) {
                        Ok(identity) => identity,
                        Err(error) => return Poll::Ready(Err(requests.note(log, &error))),
                    };
                    let pubkey = match hal.device_key.poll_public_key(now) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Ok(pubkey)) => pubkey,
                        Poll::Ready(Err(error)) => {
                            return Poll::Ready(Err(
                                requests.note(log, &RequestText::Key { error: Cause::of(&error) })
                            ));
                        }
                    };
                    let request = AuthRequest::begin(out, identity, device.tenant_token, device.tier);
                    let body = match request.finish(pubkey) {
                        Ok(body) => body.len(),
                        Err(error) => return Poll::Ready(Err(requests.note(log, &error))),
                    };
                    lent.wrote(body);
                    requests.asking = Asking::Signature;
                }
                Asking::Signature => {
                    let (body, room) = lent.signing();
                    let signed = match hal.device_key.poll_sign(now, body, room) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(signed) => signed.map(str::len),
                    };
                    return Poll::Ready(match signed {
                        Ok(length) => {
                            lent.signed(length);
                            Ok(())
                        }
                        Err(error) => Err(requests.note(log, &RequestText::Key { error: Cause::of(&error) })),
                    });
                }
            }
        }
    }

    /// Sends the body to this server; else what happened.
    #[inline(never)]
    pub(in crate::client) fn ask_for_token(&mut self, now: Instant, server: u8) -> Result<(), Event> {
        let Self { hal, device, requests, lent, .. } = self;
        requests.sent = Some(0);
        let base = device.server(server).unwrap_or_default();
        let (body, signature, room) = lent.sending();
        let url = Endpoint::Auth.url(base, room).map_err(|error| {
            requests.note(&mut hal.log, &RequestText::Failed { request: RequestKind::Token, error: &error });
            Event::NotSent
        })?;
        let request = Request {
            method: Endpoint::Auth.method(),
            target: Target::Url(url),
            authorization: None,
            signature: Some(signature),
            body: Some(body),
            offset: 0,
            etag: None,
        };
        hal.network.start(now, &request).map_err(|error| {
            requests.note(
                &mut hal.log,
                &RequestText::Failed { request: RequestKind::Token, error: &Cause::of(&error) },
            );
            Event::NotSent
        })
    }
}
