//! What is sent with the token: the endpoint and the body of each request.

use core::task::Poll;

use super::Trouble;
use crate::api::inventory::Attributes;
use crate::api::{Endpoint, deployments};
use crate::artifact::provides::UNKNOWN;
use crate::client::Client;
use crate::client::messages::{RecordText, RequestText, say};
use crate::deployment::Status;
use crate::hal::{
    Cause, DeploymentLog, Error as _, Inventory, Key, Kind, Level, Network, Platform, Storage, System,
};
use crate::http::{Authorization, Request, Target};
use crate::json::Value;
use crate::limits;
use crate::plain::Plain;
use crate::session::{self, RequestKind};
use crate::text::{Text, TextExt};
use crate::time::Instant;

/// The longest URL of the device API: a server's, a path, two names of which each byte may be written as three.
pub(in crate::client) const API_URL: usize =
    limits::SERVER_URL + 3 * (limits::STORED_NAME + limits::DEVICE_TYPE) + 128;

impl<P: Platform> Client<'_, P> {
    /// The inventory scripts have ended: their output becomes the body. True: a server has accepted the same. Without feature
    /// `inventory`, nobody asks for it.
    #[inline(never)]
    pub(super) fn write_inventory(&mut self) -> Result<bool, Trouble> {
        if !cfg!(feature = "inventory") {
            return Ok(true);
        }
        let Self { hal, device, requests, lent, .. } = self;
        let log = &mut hal.log;
        let (record, out) = lent.free();
        let mut device_type = [0; limits::DEVICE_TYPE];
        let device_type = hal.system.device_type(&mut device_type).ok();
        let provides = match hal.storage.read(Key::Provides, out) {
            Ok(provides) => provides,
            // Nothing is said of what nobody here can read.
            Err(error) if error.kind() == Kind::Newer => None,
            Err(error) => {
                return Err(requests.note(log, &RecordText::Installed { error: Cause::of(&error) }));
            }
        };
        let provides = Value::parse(provides.unwrap_or(b"{}"))
            .map_err(|error| requests.note(log, &RequestText::Installed { error }))?;
        let mut attributes = Attributes::new(record);
        // In the order in which they are kept, should there be too many.
        let name = deployments::artifact_name(provides);
        let mut own = name.map_or(Ok(()), |name| attributes.own(&Plain("artifact_name"), &name));
        if let Some(device_type) = device_type {
            own = own.and_then(|()| attributes.own(&Plain("device_type"), &Plain(device_type)));
        }
        own = own.and_then(|()| attributes.own(&Plain("mender_client_version"), &Plain(device.version)));
        own = own.and_then(|()| attributes.own_provides(provides));
        own.map_err(|error| requests.note(log, &RequestText::Inventory { error: &error }))?;
        let mut index: usize = 0;
        while let Some((script, output)) = hal.inventory.output(index) {
            attributes.begin_script();
            attributes.push(output);
            match attributes.end_script(true) {
                Ok(0) => {}
                Ok(count) => say(log, Level::Warning, &RequestText::LinesLeftOut { script, count }),
                Err(error) => say(log, Level::Warning, &RequestText::Script { script, error: &error }),
            }
            index = index.saturating_add(1);
        }
        match attributes.write(out) {
            Ok((body, not_sent)) => {
                if not_sent.names > 0 {
                    say(log, Level::Warning, &not_sent);
                }
                let (length, is_accepted) = (body.len(), requests.accepted.is(body));
                lent.wrote(length);
                Ok(is_accepted)
            }
            Err(error) => Err(requests.note(log, &RequestText::Inventory { error: &error })),
        }
    }

    /// Sends a request with the token.
    #[inline(never)]
    pub(in crate::client) fn send(
        &mut self,
        now: Instant,
        kind: RequestKind,
        server: u8,
    ) -> Result<(), Trouble> {
        let (mut device_type, mut name) = ([0; limits::DEVICE_TYPE], [0; limits::STORED_NAME]);
        let (mut artifact_name, mut device) = (UNKNOWN, "");
        match kind {
            RequestKind::NextV1 | RequestKind::NextV2 => {
                let Self { hal, requests, lent, .. } = self;
                let log = &mut hal.log;
                let (record, out) = lent.free();
                device = hal
                    .system
                    .device_type(&mut device_type)
                    .map_err(|error| requests.note(log, &Cause::of(&error)))?;
                let provides = hal.storage.read(Key::Provides, record).map_err(|error| {
                    requests.note(log, &RecordText::Installed { error: Cause::of(&error) })
                })?;
                let provides = Value::parse(provides.unwrap_or(b"{}"))
                    .map_err(|error| requests.note(log, &RequestText::Installed { error }))?;
                if let Some(installed) = deployments::artifact_name(provides) {
                    artifact_name = installed.unescape(&mut name).unwrap_or(UNKNOWN);
                }
                if kind == RequestKind::NextV2 {
                    let body = deployments::next_v2(device, provides, out)
                        .map_err(|error| requests.note(log, &error))?
                        .len();
                    lent.wrote(body);
                }
            }
            RequestKind::Status(status) | RequestKind::StatusAlone(status) => {
                let is_alone = matches!(kind, RequestKind::StatusAlone(_));
                let substate = if is_alone { Text::new() } else { self.substate(status) };
                self.write_status(status, substate.as_str())?;
            }
            RequestKind::Token | RequestKind::Log | RequestKind::Inventory | RequestKind::ControlMap => {}
        }

        let Self { hal, device: about, requests, flow, lent, token, .. } = self;
        let deployment = flow.machine().reported();
        let endpoint = match kind {
            RequestKind::Token => Endpoint::Auth,
            RequestKind::NextV2 => Endpoint::NextV2,
            RequestKind::NextV1 => Endpoint::NextV1 { artifact_name, device_type: device },
            RequestKind::Status(_) | RequestKind::StatusAlone(_) => Endpoint::Status(deployment),
            RequestKind::Log => Endpoint::Log(deployment),
            RequestKind::Inventory => Endpoint::Inventory,
            RequestKind::ControlMap => Endpoint::ControlMap(deployment),
        };
        let base = about.server(server).unwrap_or_default();
        let (length, _, room) = lent.sending();
        let url = endpoint.url(base, room).map_err(|error| {
            requests.note(&mut hal.log, &RequestText::Failed { request: kind, error: &error })
        })?;
        let body = match kind {
            RequestKind::NextV1 | RequestKind::ControlMap => None,
            RequestKind::Log => {
                // One that was made for an earlier attempt.
                hal.deployment_log.forget();
                let length = hal.deployment_log.open(deployment).map_err(|error| {
                    requests.note(&mut hal.log, &RequestText::Log { error: Cause::of(&error) })
                })?;
                Some(length)
            }
            RequestKind::Token
            | RequestKind::NextV2
            | RequestKind::Status(_)
            | RequestKind::StatusAlone(_)
            | RequestKind::Inventory => Some(length),
        };
        requests.sent = body.map(|_| 0);
        let request = Request {
            method: endpoint.method(),
            target: Target::Url(url),
            authorization: Some(Authorization::Bearer(token.as_str())),
            signature: None,
            body,
            offset: 0,
            etag: None,
        };
        hal.network.start(now, &request).map_err(|error| {
            requests.note(&mut hal.log, &RequestText::Failed { request: kind, error: &Cause::of(&error) })
        })
    }

    /// Hands the body of the request to the network, piece by piece; ready when it has all, or wants no more.
    pub(super) fn poll_body(&mut self, now: Instant, kind: RequestKind) -> Poll<Result<(), session::Event>> {
        while let Some(sent) = self.requests.sent {
            let Self { hal, requests, lent, .. } = self;
            let rest = if kind == RequestKind::Log {
                match hal.deployment_log.read(sent) {
                    Ok(rest) => rest,
                    Err(error) => {
                        hal.network.cancel();
                        requests.note(&mut hal.log, &RequestText::Log { error: Cause::of(&error) });
                        return Poll::Ready(Err(session::Event::Broken { lost: false }));
                    }
                }
            } else {
                lent.body().get(sent..).unwrap_or_default()
            };
            if rest.is_empty() {
                requests.sent = None;
                break;
            }
            match hal.network.poll_send(now, rest) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(taken)) => requests.sent = (taken > 0).then(|| sent.saturating_add(taken)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.request_broke(kind, &error))),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// What a status report says beside the status. The server keeps the last substate that it was sent: once there was
    /// one, each later report has one, or the old one would stand beside the new status.
    #[inline(never)]
    fn substate(&self, status: Status) -> Text<{ limits::REASON }> {
        if self.machine().is_late() {
            return Text::front(&self.requests.last_substate);
        }
        match (status, self.waiting()) {
            (Status::Success | Status::Failure, _) => Text::cut(&self.story.line(self.machine().verdict())),
            (_, Some((_, why))) => Text::cut(&why),
            (_, None) if self.requests.had_substate => Text::copy(status.name()).unwrap_or_default(),
            (_, None) => Text::new(),
        }
    }

    /// The body of a status report, in the front of `out`.
    fn write_status(&mut self, status: Status, substate: &str) -> Result<(), Trouble> {
        match deployments::status(status, substate, self.lent.free().1) {
            Ok(body) => {
                let length = body.len();
                self.lent.wrote(length);
                self.requests.has_substate = !substate.is_empty();
                self.requests.had_substate |= self.requests.has_substate;
                Ok(())
            }
            Err(error) => Err(self.requests.note(&mut self.hal.log, &error)),
        }
    }
}
