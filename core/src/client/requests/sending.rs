//! What is sent with the token: each request's endpoint and body.

use core::task::Poll;

use super::{API_URL, Asked, Failed, Stage, failed};
use crate::api::Endpoint;
use crate::api::deployments;
use crate::api::inventory::Attributes;
use crate::client::Client;
use crate::deployment::Status;
use crate::hal::{Agent, Key, Level, Log, Network, Platform, Storage, System};
use crate::http::{Request, Target};
use crate::json::Value;
use crate::limits;
use crate::machine::ApiCall;
use crate::state::Outcome;
use crate::text::Text;
use crate::time::Instant;

impl<P: Platform> Client<'_, P> {
    /// Sends what the machine asked for; there is a token.
    pub(super) fn send(&mut self, now: Instant) -> Result<(), Failed> {
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
    pub(super) fn send_inventory(&mut self, now: Instant) -> Result<Poll<Option<Outcome>>, Failed> {
        let mut device_type = [0; limits::DEVICE_TYPE];
        let device_type = self.hal.system.device_type(&mut device_type).ok();
        let provides = self.hal.storage.read(Key::Provides, self.out);
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
    pub(super) fn request(&mut self, now: Instant, asked: Asked) -> Result<(), Failed> {
        let mut device_type = [0; limits::DEVICE_TYPE];
        let mut name = [0; limits::NAME];
        let (mut artifact_name, mut device) = (deployments::UNKNOWN_NAME, "");
        if matches!(asked, Asked::NextV2 | Asked::NextV1) {
            device = self
                .hal
                .system
                .device_type(&mut device_type)
                .map_err(|error| failed!("the device type cannot be read: {error}"))?;
            let provides = self.hal.storage.read(Key::Provides, self.record);
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
}
