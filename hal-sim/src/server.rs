//! A model of Mender's server, as the open-source one was seen to behave (`docs/rules/server.md`).
//!
//! Transport-free and deterministic: [`Server::request`] takes a whole request and gives a whole answer, so that a
//! simulated network and a real listener can both stand in front of it. It is lenient where the real one is, and
//! keeps a list of everything a good client does not do ([`Server::violations`]): a test that ends well also
//! asserts that this list is empty.

mod download;
mod requests;

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, Range};
use std::sync::Arc;

/// Violations that are kept: more say nothing new.
const VIOLATIONS: usize = 1000;

/// Devices that are known; one more is told to come later.
const DEVICES: usize = 100_000;

/// Tokens that are known. With one more all are forgotten, and devices ask for others.
const TOKENS: usize = 200_000;

/// One request, without its connection.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `GET`, `PUT`, ...
    pub method: &'a str,
    /// Path and query, as in the request line.
    pub target: &'a str,
    /// Names in any case.
    pub headers: &'a [(&'a str, &'a str)],
    /// Empty if there is none.
    pub body: &'a [u8],
}

impl Request<'_> {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }
}

/// One answer. `Content-Length` is the transport's: the length of `body`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Without `Content-Length`.
    pub headers: Vec<(&'static str, String)>,
    /// All of it, also when less arrives.
    pub body: Body,
    /// How much of it arrives.
    pub delivery: Delivery,
}

/// The bytes of an answer, or a part of an artifact's, which all its downloads share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    bytes: Arc<[u8]>,
    part: Range<usize>,
}

impl Body {
    /// This part of `bytes`, as far as there is one.
    #[must_use]
    pub fn part(bytes: &Arc<[u8]>, part: Range<usize>) -> Self {
        let end = part.end.min(bytes.len());
        Self { bytes: Arc::clone(bytes), part: part.start.min(end)..end }
    }
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.part.clone()]
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self { part: 0..bytes.len(), bytes: bytes.into() }
    }
}

/// How much of an answer arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// All.
    Whole,
    /// The head and so many bytes of the body; then the connection breaks.
    Cut(usize),
    /// The head without a length and so many bytes of the body; then the connection ends, as if that were all.
    Ends(usize),
    /// Nothing: the connection breaks.
    Lost,
    /// Nothing, and the connection stays: the client's time limit must end it.
    Silent,
    /// The head, then a byte every few minutes: no idle limit is reached.
    Drip,
}

impl Response {
    pub(crate) fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new().into(), delivery: Delivery::Whole }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// JSON as the server writes it, with `&`, `<` and `>` escaped.
    pub(crate) fn json(self, body: &serde_json::Value) -> Self {
        let text = body.to_string();
        let text = text.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e");
        let mut response = self.header("Content-Type", "application/json; charset=utf-8");
        response.body = text.into_bytes().into();
        response
    }

    pub(crate) fn error(status: u16, text: &str) -> Self {
        Self::new(status).json(&serde_json::json!({"error": text, "request_id": "model"}))
    }
}

/// The endpoints, to count and to disturb.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "named as in the device API")]
pub enum Endpoint {
    Auth,
    NextV2,
    NextV1,
    Status,
    Log,
    Inventory,
    ControlMap,
    Artifact,
}

/// A disturbance of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// This status, and an error body; the request has no effect.
    Status(u16),
    /// 429 with this `Retry-After`; the request has no effect.
    RetryAfter(String),
    /// This status, and a body that is not of the device API; the request has no effect.
    Page(u16),
    /// 200 with this body; the request has no effect.
    Body(Vec<u8>),
    /// The request never arrives.
    Unreachable,
    /// The request has its effect and the answer does not arrive.
    AnswerLost,
    /// The request has its effect, the head arrives and so many bytes of the body.
    Cut(usize),
    /// The answer has no length, and ends after so many bytes of its body as if that were all; all of it where it has less.
    Ends(usize),
    /// The request never arrives, and the connection stays open without an answer.
    Silent,
    /// The request has its effect, and the body of the answer comes very slowly: one byte every few minutes.
    Drip,
    /// The answer has this header instead of its own, or without it when the value is empty.
    Header(&'static str, String),
}

/// A planned fault, and which requests meet it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Planned {
    endpoint: Endpoint,
    skip: u32,
    times: u32,
    fault: Fault,
}

/// Whether the server accepts a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the server's own names")]
pub enum Acceptance {
    Pending,
    Accepted,
    Rejected,
    Decommissioned,
}

/// A device the server has heard of. Its key is the identity, canonically written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Device {
    /// Whether it gets tokens.
    pub acceptance: Acceptance,
    /// The key it asked with last.
    pub pubkey: String,
    /// Attributes it sent last: name to value, as JSON.
    pub inventory: BTreeMap<String, String>,
    /// How many inventories it sent.
    pub inventories: u32,
}

/// An artifact: its bytes are shared by all clones of the server.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// Its name, as in its header.
    pub name: String,
    /// The types of devices it is for.
    pub device_types: Vec<String>,
    /// The file.
    pub bytes: Arc<[u8]>,
}

// Hashing megabytes for every visited state would be slow; the same name never stands for other bytes in a run.
impl PartialEq for Artifact {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && self.device_types == other.device_types
            && self.bytes.len() == other.bytes.len()
    }
}

impl Eq for Artifact {}

impl Hash for Artifact {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.name, &self.device_types, self.bytes.len()).hash(state);
    }
}

/// A deployment for one device, the first that asks and fits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Deployment {
    /// What is to be installed.
    pub artifact: Artifact,
    /// The identity of the only device that it is for; `None`: the first that asks.
    pub only: Option<String>,
    /// JSON, not checked: the client must.
    pub control_map: Option<String>,
    /// The operator aborted it.
    pub aborted: bool,
    /// The device that asked first, and the provides it asked with.
    pub taken: Option<(String, Provides)>,
    /// What was reported, in order; what the server itself found stands there too.
    pub statuses: Vec<Reported>,
    /// The last log, as JSON lists it: `LEVEL message`.
    pub log: Vec<String>,
}

/// `artifact_name` and `device_type` of a poll.
pub type Provides = (String, String);

/// A status and its substate.
pub type Reported = (String, Option<String>);

impl Deployment {
    /// A deployment of `artifact` without a control map.
    #[must_use]
    pub const fn new(artifact: Artifact) -> Self {
        Self {
            artifact,
            only: None,
            control_map: None,
            aborted: false,
            taken: None,
            statuses: Vec::new(),
            log: Vec::new(),
        }
    }

    /// The status now; `pending` before the first.
    #[must_use]
    pub fn status(&self) -> &str {
        if self.aborted {
            return "aborted";
        }
        self.statuses.last().map_or("pending", |(status, _)| status)
    }

    /// True when `next` does not offer it any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.status(), "aborted" | "success" | "failure" | "already-installed" | "noartifact")
    }
}

/// Verifies a request for a token: public key (PEM), body, signature (base64). Real cryptography is the test's.
pub type Verify<'v> = &'v dyn Fn(&str, &[u8], &str) -> bool;

/// The server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    /// Whether it has the second version of the API: the hosted service has, the open-source one has not.
    pub v2: bool,
    /// New devices are accepted at once.
    pub accepts_all: bool,
    /// Parts of artifacts are given to those who ask for them; else all of it.
    pub ranges: bool,
    /// Scheme, host and port of artifact links, without a slash at the end.
    pub links: String,
    /// Devices by identity.
    pub devices: BTreeMap<String, Device>,
    /// Deployments by id, offered in this order.
    pub deployments: BTreeMap<String, Deployment>,
    /// Of each of these, a device that is new gets a deployment of its own.
    pub for_each: Vec<Deployment>,
    tokens: BTreeMap<String, String>,
    issued: u32,
    faults: Vec<Planned>,
    counts: BTreeMap<Endpoint, u32>,
    /// A status was refused with 400: those that follow may be without a substate.
    plain: bool,
    violations: Vec<String>,
}

impl Server {
    /// An open-source server that accepts every device and has no deployments.
    #[must_use]
    pub fn new(links: &str) -> Self {
        Self {
            v2: false,
            accepts_all: true,
            ranges: true,
            links: links.to_owned(),
            devices: BTreeMap::new(),
            deployments: BTreeMap::new(),
            for_each: Vec::new(),
            tokens: BTreeMap::new(),
            issued: 0,
            faults: Vec::new(),
            counts: BTreeMap::new(),
            plain: false,
            violations: Vec::new(),
        }
    }

    /// Answers one request; every signature is good.
    pub fn request(&mut self, request: &Request<'_>) -> Response {
        self.request_verified(request, &|_, _, _| true)
    }

    /// Answers one request, with a check of signatures.
    pub fn request_verified(&mut self, request: &Request<'_>, verify: Verify<'_>) -> Response {
        let Some((endpoint, id)) = requests::route(request.target) else {
            self.violation(format!("no such path: {} {}", request.method, request.target));
            return Response::error(404, "not found");
        };
        *self.counts.entry(endpoint).or_insert(0) += 1;
        let fault = self.next_fault(endpoint);
        self.plain |= endpoint == Endpoint::Status && fault == Some(Fault::Status(400));
        let instead = match &fault {
            Some(Fault::Status(status)) => Some(Response::error(*status, "injected")),
            Some(Fault::RetryAfter(value)) => {
                Some(Response::error(429, "injected").header("Retry-After", value.as_str()))
            }
            Some(Fault::Page(status)) => Some(Response {
                body: b"<html><title>not here</title></html>".to_vec().into(),
                ..Response::new(*status).header("Content-Type", "text/html")
            }),
            Some(Fault::Body(body)) => Some(Response {
                body: body.clone().into(),
                ..Response::new(200).header("Content-Type", "application/json")
            }),
            Some(Fault::Unreachable) => Some(Response { delivery: Delivery::Lost, ..Response::new(0) }),
            Some(Fault::Silent) => Some(Response { delivery: Delivery::Silent, ..Response::new(0) }),
            Some(Fault::AnswerLost | Fault::Cut(_) | Fault::Ends(_) | Fault::Drip | Fault::Header(..))
            | None => None,
        };
        if let Some(response) = instead {
            return response;
        }
        let mut response = self.answer(endpoint, id, request, verify);
        match fault {
            Some(Fault::AnswerLost) => response.delivery = Delivery::Lost,
            Some(Fault::Cut(length)) => response.delivery = Delivery::Cut(length),
            Some(Fault::Ends(length)) => response.delivery = Delivery::Ends(length),
            Some(Fault::Drip) => response.delivery = Delivery::Drip,
            Some(Fault::Header(name, value)) => {
                response.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
                if !value.is_empty() {
                    response.headers.push((name, value));
                }
            }
            Some(
                Fault::Status(_)
                | Fault::Page(_)
                | Fault::RetryAfter(_)
                | Fault::Body(_)
                | Fault::Unreachable
                | Fault::Silent,
            )
            | None => {}
        }
        response
    }

    /// The requests to `endpoint` after the next `skip`, `times` of them, meet `fault`. Faults planned first are
    /// met first.
    pub fn disturb(&mut self, endpoint: Endpoint, skip: u32, times: u32, fault: Fault) {
        self.faults.push(Planned { endpoint, skip, times, fault });
    }

    /// Nothing is disturbed any more.
    pub fn calm(&mut self) {
        self.faults.clear();
    }

    /// What a good client would not have done, in order.
    #[must_use]
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// Requests that came, disturbed ones included.
    #[must_use]
    pub fn count(&self, endpoint: Endpoint) -> u32 {
        self.counts.get(&endpoint).copied().unwrap_or(0)
    }

    /// Changes how the server stands to all devices; whoever is not accepted loses its tokens at once.
    pub fn set_acceptance(&mut self, acceptance: Acceptance) {
        for device in self.devices.values_mut() {
            device.acceptance = acceptance;
        }
        if acceptance != Acceptance::Accepted {
            self.tokens.clear();
        }
    }

    /// All tokens expire.
    pub fn expire_tokens(&mut self) {
        self.tokens.clear();
    }

    /// The operator aborts a deployment; unknown ones are left alone.
    pub fn abort(&mut self, id: &str) {
        if let Some(deployment) = self.deployments.get_mut(id) {
            deployment.aborted = true;
        }
    }

    /// The path and query of a deployment's artifact: with characters that must go out as they are.
    #[must_use]
    pub fn link(id: &str) -> String {
        format!("/artifacts/{id}?X-Amz-Date=20261123&X-Amz-Sig=a%2Fb%20c%3D%3D&x=1")
    }

    /// The endpoint of a path, with or without query.
    #[must_use]
    pub fn endpoint(target: &str) -> Option<Endpoint> {
        requests::route(target).map(|(endpoint, _)| endpoint)
    }

    /// One more deployment, behind those that there are.
    pub fn deploy(&mut self, deployment: Deployment) {
        let number = self.deployments.len() + 1;
        self.deployments.insert(format!("00000000-0000-4000-8000-{number:012}"), deployment);
    }

    /// Notes what a good client would not have done, as the transport saw it.
    pub fn violation(&mut self, text: impl Into<String>) {
        if self.violations.len() < VIOLATIONS {
            self.violations.push(text.into());
        }
    }

    fn next_fault(&mut self, endpoint: Endpoint) -> Option<Fault> {
        let at = self.faults.iter().position(|planned| planned.endpoint == endpoint)?;
        let planned = &mut self.faults[at];
        if planned.skip > 0 {
            planned.skip -= 1;
            return None;
        }
        let fault = planned.fault.clone();
        planned.times = planned.times.saturating_sub(1);
        if planned.times == 0 {
            self.faults.remove(at);
        }
        Some(fault)
    }
}

#[cfg(test)]
#[path = "server/tests.rs"]
mod tests;
