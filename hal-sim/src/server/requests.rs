//! The device API: each request is checked as the real server checks it, and then as a good client writes it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Acceptance, DEVICES, Deployment, Device, Endpoint, Request, Response, Server, TOKENS, Verify};

/// The largest body the real server takes.
const BODY: usize = 1 << 20;

const STATUSES: [&str; 10] = [
    "downloading",
    "installing",
    "rebooting",
    "pause_before_installing",
    "pause_before_rebooting",
    "pause_before_committing",
    "success",
    "failure",
    "already-installed",
    "noartifact",
];

/// The endpoint of a path, and the deployment in it.
pub(super) fn route(target: &str) -> Option<(Endpoint, &str)> {
    let path = target.split('?').next().unwrap_or("");
    if let Some(id) = path.strip_prefix("/artifacts/") {
        return Some((Endpoint::Artifact, id));
    }
    let path = path.strip_prefix("/api/devices/")?;
    match path {
        "v1/authentication/auth_requests" => return Some((Endpoint::Auth, "")),
        "v2/deployments/device/deployments/next" => return Some((Endpoint::NextV2, "")),
        "v1/deployments/device/deployments/next" => return Some((Endpoint::NextV1, "")),
        "v1/inventory/device/attributes" => return Some((Endpoint::Inventory, "")),
        _ => {}
    }
    let (version, rest) = path.split_once("/deployments/device/deployments/")?;
    let (id, last) = rest.split_once('/')?;
    match (version, last) {
        ("v1", "status") => Some((Endpoint::Status, id)),
        ("v1", "log") => Some((Endpoint::Log, id)),
        ("v2", "update_control_map") => Some((Endpoint::ControlMap, id)),
        _ => None,
    }
}

/// An answer that rejects the request, as the real server rejects it.
type Rejection = Response;

impl Server {
    pub(super) fn answer(
        &mut self,
        endpoint: Endpoint,
        id: &str,
        request: &Request<'_>,
        verify: Verify<'_>,
    ) -> Response {
        let answered = match endpoint {
            Endpoint::Artifact => return self.artifact(id, request),
            Endpoint::Auth => self.auth(request, verify),
            Endpoint::NextV2
            | Endpoint::NextV1
            | Endpoint::Status
            | Endpoint::Log
            | Endpoint::Inventory
            | Endpoint::ControlMap => self.authorized(request).and_then(|device| match endpoint {
                Endpoint::NextV2 => self.next_v2(&device, request),
                Endpoint::NextV1 => self.next_v1(&device, request),
                Endpoint::Status => self.status(&device, id, request),
                Endpoint::Log => self.log(&device, id, request),
                Endpoint::Inventory => self.inventory(&device, request),
                Endpoint::ControlMap | Endpoint::Auth | Endpoint::Artifact => self.control_map(&device, id),
            }),
        };
        answered.unwrap_or_else(|refused| refused)
    }

    fn auth(&mut self, request: &Request<'_>, verify: Verify<'_>) -> Result<Response, Rejection> {
        if request.header("Authorization").is_some() {
            self.violation("authentication with an Authorization header");
        }
        let body = self.json_body(request, "POST")?;
        let body =
            self.members(&body, "authentication", &["id_data", "pubkey"], &["tenant_token", "tier"])?;
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
        let (id_data, pubkey) = (text("id_data"), text("pubkey"));
        let Some(signature) = request.header("X-MEN-Signature") else {
            return Err(self.refuse(400, "missing signature"));
        };
        let Ok(Value::Object(identity)) = serde_json::from_str(&id_data) else {
            return Err(self.refuse(400, "id_data is no JSON object"));
        };
        if identity.is_empty() || !identity.values().all(is_text_or_list) {
            self.violation(format!("id_data is not made of strings and lists of strings: {id_data}"));
        }
        if !pubkey.starts_with("-----BEGIN PUBLIC KEY-----\n") || !pubkey.ends_with("-----\n") {
            return Err(self.refuse(400, "cannot decode public key"));
        }
        for optional in ["tenant_token", "tier"] {
            if body.contains_key(optional) && text(optional).is_empty() {
                self.violation(format!("{optional} is empty or no string"));
            }
        }
        if !verify(&pubkey, request.body, signature) {
            return Err(self.refuse(401, "signature verification failed"));
        }

        // Sorted by its keys: their order does not make another device.
        let name = Value::Object(identity).to_string();
        let acceptance = if self.accepts_all { Acceptance::Accepted } else { Acceptance::Pending };
        if !self.devices.contains_key(&name) {
            if self.devices.len() >= DEVICES {
                return Err(Response::error(503, "too many devices"));
            }
            for deployment in self.for_each.clone() {
                self.deploy(Deployment { only: Some(name.clone()), ..deployment });
            }
        }
        let device = self.devices.entry(name.clone()).or_insert_with(|| Device {
            acceptance,
            pubkey: String::new(),
            inventory: BTreeMap::new(),
            inventories: 0,
        });
        device.pubkey = pubkey;
        if device.acceptance != Acceptance::Accepted {
            return Err(Response::error(401, "dev auth: unauthorized"));
        }
        if self.tokens.len() >= TOKENS {
            self.tokens.clear();
        }
        self.issued += 1;
        let token = format!("eyJhbGciOiJSUzI1NiJ9.{}.model_-", self.issued);
        self.tokens.insert(token.clone(), name);
        let response = Response::new(200).header("Content-Type", "application/jwt");
        Ok(Response { body: token.into_bytes().into(), ..response })
    }

    /// The device whose token it is.
    fn authorized(&mut self, request: &Request<'_>) -> Result<String, Rejection> {
        let Some(token) = request.header("Authorization").and_then(|value| value.strip_prefix("Bearer "))
        else {
            return Err(self.refuse(401, "no token"));
        };
        // A token that was good once is answered with an empty body, as an expired one.
        self.tokens.get(token).cloned().ok_or_else(|| Response::new(401))
    }

    fn next_v2(&mut self, device: &str, request: &Request<'_>) -> Result<Response, Rejection> {
        let body = self.json_body(request, "POST")?;
        let body = self.members(&body, "next", &["device_provides", "update_control_map"], &[])?;
        if body.get("update_control_map") != Some(&Value::Bool(true)) {
            self.violation("next: update_control_map is not true");
        }
        let provides = body.get("device_provides").and_then(Value::as_object).cloned().unwrap_or_default();
        if !provides.values().all(Value::is_string) {
            self.violation("next: device_provides that are no strings");
        }
        if !self.v2 {
            return Err(Response::error(404, "not found"));
        }
        let text = |name: &str| provides.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
        self.next(device, (text("artifact_name"), text("device_type")))
    }

    fn next_v1(&mut self, device: &str, request: &Request<'_>) -> Result<Response, Rejection> {
        self.no_body(request, "GET")?;
        let query = request.target.split_once('?').map_or("", |(_, query)| query);
        let mut given = BTreeMap::new();
        for part in query.split('&') {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            if given.insert(name.to_owned(), percent_decoded(value)).is_some() {
                self.violation(format!("next: {name} is given twice"));
            }
        }
        if given.keys().ne(["artifact_name", "device_type"]) {
            self.violation(format!("next: parameters are {:?}", given.keys()));
        }
        let mut text = |name: &str| given.remove(name).flatten().unwrap_or_default();
        self.next(device, (text("artifact_name"), text("device_type")))
    }

    fn next(&mut self, device: &str, provides: (String, String)) -> Result<Response, Rejection> {
        if provides.0.is_empty() || provides.1.is_empty() {
            return Err(self.refuse(400, "artifact_name and device_type are required"));
        }
        let is_mine = |taken: &Option<(String, _)>| taken.as_ref().is_none_or(|(name, _)| name == device);
        let is_for_me = |only: &Option<String>| only.as_ref().is_none_or(|only| only == device);
        let mut all = self.deployments.iter_mut();
        let open = all.find(|(_, d)| !d.is_over() && is_mine(&d.taken) && is_for_me(&d.only));
        let Some((id, deployment)) = open else { return Ok(Response::new(204)) };
        match &deployment.taken {
            Some((_, before)) if *before != provides => {
                let text = format!("polled with {provides:?} after {before:?} in an unfinished deployment");
                deployment.statuses.push(("failure".into(), None));
                self.violation(text);
                return Err(Response::error(409, "Conflict: Device provides do not match"));
            }
            Some(_) => {}
            None => {
                deployment.taken = Some((device.to_owned(), provides.clone()));
                let ended = if !deployment.artifact.device_types.contains(&provides.1) {
                    Some("noartifact")
                } else if deployment.artifact.name == provides.0 {
                    Some("already-installed")
                } else {
                    None
                };
                if let Some(ended) = ended {
                    deployment.statuses.push((ended.into(), None));
                    return Ok(Response::new(204));
                }
            }
        }
        let mut answer = json!({
            "id": id,
            "artifact": {
                "id": "7e31d8a5-8a3c-4b43-9c8e-0c1f2a3b4c5d",
                "artifact_name": deployment.artifact.name,
                "device_types_compatible": deployment.artifact.device_types,
                "source": {
                    "uri": format!("{}{}", self.links, Self::link(id)),
                    "expire": "2026-11-24T00:00:00Z",
                    "method": "GET",
                },
            },
        });
        if let (true, Some(map)) = (self.v2, &deployment.control_map) {
            answer["update_control_map"] = serde_json::from_str(map).unwrap_or(Value::Null);
        }
        Ok(Response::new(200).json(&answer))
    }

    fn status(&mut self, device: &str, id: &str, request: &Request<'_>) -> Result<Response, Rejection> {
        let body = self.json_body(request, "PUT")?;
        let body = self.members(&body, "status", &["status"], &["substate"])?;
        let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
        let (Some(status), substate) = (text("status"), text("substate")) else {
            return Err(self.refuse(400, "status is no string"));
        };
        if !STATUSES.contains(&status.as_str()) {
            return Err(self.refuse(400, "unknown status value"));
        }
        if substate.as_ref().is_some_and(|substate| substate.len() > 200) {
            return Err(self.refuse(400, "substate is too long"));
        }
        if matches!(status.as_str(), "already-installed" | "noartifact") {
            self.violation(format!("status {status} is the server's to find"));
        }
        if !self.is_taken_by(device, id) {
            return Err(self.refuse(404, "deployment not found"));
        }
        let Some(deployment) = self.deployments.get_mut(id) else { return Ok(Response::new(404)) };
        if deployment.aborted {
            return Err(Response::error(409, "deployment aborted"));
        }
        let last = deployment.statuses.last().map(|(last, _)| last.clone());
        if last.as_ref() == Some(&status) {
            return Ok(Response::new(204));
        }
        let was_over = deployment.is_over();
        let says = |substate: &Option<String>| substate.as_deref().is_some_and(|text| !text.is_empty());
        let keeps_old =
            !says(&substate) && deployment.statuses.iter().any(|(_, substate)| says(substate)) && !self.plain;
        deployment.statuses.push((status.clone(), substate));
        if keeps_old {
            self.violation(format!("status {status} without a substate: the old one stands beside it"));
        }
        if was_over {
            self.violation(format!("status {status} after the end of deployment {id}: it is open again"));
        } else if status == "downloading" && last.is_some() {
            self.violation(format!("status downloading after {}", last.unwrap_or_default()));
        }
        Ok(Response::new(204))
    }

    fn log(&mut self, device: &str, id: &str, request: &Request<'_>) -> Result<Response, Rejection> {
        let body = self.json_body(request, "PUT")?;
        let body = self.members(&body, "log", &["messages"], &[])?;
        let messages = body.get("messages").and_then(Value::as_array).cloned().unwrap_or_default();
        if messages.is_empty() {
            return Err(self.refuse(400, "no messages"));
        }
        let mut log = Vec::new();
        for message in &messages {
            let message = self.members(message, "log message", &["timestamp", "level", "message"], &[])?;
            let text = |name: &str| message.get(name).and_then(Value::as_str).unwrap_or("");
            if text("level").is_empty() || text("message").is_empty() || !is_rfc3339(text("timestamp")) {
                return Err(self.refuse(400, "a message of the log is not valid"));
            }
            log.push(format!("{} {}", text("level"), text("message")));
        }
        if !self.is_taken_by(device, id) {
            return Err(self.refuse(404, "deployment not found"));
        }
        let Some(deployment) = self.deployments.get_mut(id) else { return Ok(Response::new(404)) };
        deployment.log = log;
        let status = deployment.status().to_owned();
        if !matches!(status.as_str(), "failure" | "aborted") {
            self.violation(format!("log of deployment {id} in status {status}"));
        }
        Ok(Response::new(204))
    }

    fn inventory(&mut self, device: &str, request: &Request<'_>) -> Result<Response, Rejection> {
        let method = if request.method == "PATCH" { "PATCH" } else { "PUT" };
        let body = self.json_body(request, method)?;
        let Some(attributes) = body.as_array() else {
            return Err(self.refuse(400, "inventory is no list"));
        };
        if attributes.len() > 100 {
            return Err(self.refuse(400, "too many attributes"));
        }
        let mut inventory = BTreeMap::new();
        for attribute in attributes {
            let attribute = self.members(attribute, "attribute", &["name", "value"], &["description"])?;
            let name = attribute.get("name").and_then(Value::as_str).unwrap_or("");
            let value = attribute.get("value").unwrap_or(&Value::Null);
            if name.is_empty() || name.len() > 1024 {
                return Err(self.refuse(400, "name of an attribute"));
            }
            if matches!(value, Value::Null | Value::Bool(_) | Value::Object(_)) {
                return Err(self.refuse(400, "value of an attribute"));
            }
            if !is_text_or_list(value) {
                self.violation(format!(
                    "attribute {name} is neither a string nor a list of strings: {value}"
                ));
            }
            if inventory.insert(name.to_owned(), value.to_string()).is_some() {
                self.violation(format!("attribute {name} is given twice"));
            }
        }
        if !inventory.contains_key("mender_client_version") {
            self.violation("inventory without mender_client_version");
        }
        if let Some(device) = self.devices.get_mut(device) {
            device.inventory = inventory;
            device.inventories += 1;
        }
        Ok(Response::new(200))
    }

    fn control_map(&mut self, device: &str, id: &str) -> Result<Response, Rejection> {
        if !self.v2 {
            return Err(self.refuse(404, "not found"));
        }
        let taken = self.is_taken_by(device, id);
        match self.deployments.get(id) {
            Some(deployment) if taken && !deployment.is_over() => {
                let map = deployment.control_map.as_deref();
                let map: Option<Value> = map.and_then(|map| serde_json::from_str(map).ok());
                Ok(Response::new(200).json(&map.map_or(json!({}), |map| json!({"update_control_map": map}))))
            }
            Some(_) | None => Err(Response::error(404, "not found")),
        }
    }

    fn is_taken_by(&self, device: &str, id: &str) -> bool {
        let taken = self.deployments.get(id).and_then(|deployment| deployment.taken.as_ref());
        taken.is_some_and(|(name, _)| name == device)
    }

    fn json_body(&mut self, request: &Request<'_>, method: &str) -> Result<Value, Rejection> {
        if request.method != method {
            return Err(self.refuse(405, "method not allowed"));
        }
        let kind = request.header("Content-Type").unwrap_or("").split(';').next().unwrap_or("").trim();
        if kind != "application/json" {
            return Err(self.refuse(415, "unsupported media type"));
        }
        if request.body.len() > BODY {
            return Err(self.refuse(413, "request body too large"));
        }
        serde_json::from_slice(request.body).map_err(|error| self.refuse(400, &error.to_string()))
    }

    fn no_body(&mut self, request: &Request<'_>, method: &str) -> Result<(), Rejection> {
        if request.method != method {
            return Err(self.refuse(405, "method not allowed"));
        }
        if !request.body.is_empty() {
            self.violation(format!("{method} {} with a body", request.target));
        }
        Ok(())
    }

    /// The members of an object; the required ones are there, and others than these are a violation.
    fn members(
        &mut self,
        value: &Value,
        name: &str,
        required: &[&str],
        optional: &[&str],
    ) -> Result<Map<String, Value>, Rejection> {
        let Some(members) = value.as_object() else {
            return Err(self.refuse(400, &format!("{name} is no object")));
        };
        for key in members.keys() {
            if !required.contains(&key.as_str()) && !optional.contains(&key.as_str()) {
                self.violation(format!("{name} has a member {key}"));
            }
        }
        match required.iter().find(|key| !members.contains_key(**key)) {
            // What the real server was seen to do.
            Some(&"status") => Err(self.refuse(500, "internal error")),
            Some(missing) => Err(self.refuse(400, &format!("{name} has no member {missing}"))),
            None => Ok(members.clone()),
        }
    }

    /// An answer that a good client never gets.
    fn refuse(&mut self, status: u16, text: &str) -> Rejection {
        self.violation(format!("answered {status}: {text}"));
        Response::error(status, text)
    }
}

fn is_text_or_list(value: &Value) -> bool {
    value.is_string() || value.as_array().is_some_and(|list| list.iter().all(Value::is_string))
}

/// `None` when it is no percent-encoding of UTF-8.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            let digits = std::str::from_utf8(&digits).ok()?;
            decoded.push(u8::from_str_radix(digits, 16).ok()?);
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).ok()
}

/// Date and time with seconds, an optional fraction, and a zone: as strict as the real server.
fn is_rfc3339(text: &str) -> bool {
    let Some((start, rest)) = text.split_at_checked(19) else { return false };
    let shape = start.bytes().zip("0000-00-00T00:00:00".bytes());
    let fits = |(byte, wanted): (u8, u8)| if wanted == b'0' { byte.is_ascii_digit() } else { byte == wanted };
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => {
            let zone = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            if zone.len() == fraction.len() {
                return false;
            }
            zone
        }
        None => rest,
    };
    let offset = |zone: &str| {
        zone.len() == 6 && zone.starts_with(['+', '-']) && zone.bytes().skip(1).zip("00:00".bytes()).all(fits)
    };
    shape.into_iter().all(fits) && (zone == "Z" || offset(zone))
}
