use super::*;

const JSON: (&str, &str) = ("Content-Type", "application/json");
const ID: &str = "0e5c3f3b-5f7e-4f6c-9d0a-2a5b6c7d8e9f";
const AUTH: &str = r#"{"id_data":"{\"mac\":\"00:01\"}","pubkey":"-----BEGIN PUBLIC KEY-----\nMA==\n-----END PUBLIC KEY-----\n"}"#;
const V1: &str = "/api/devices/v1/deployments/device/deployments";

fn server() -> Server {
    let mut server = Server::new("http://127.0.0.1:1");
    let artifact = Artifact {
        name: "new".into(),
        device_types: vec!["board".into()],
        bytes: Arc::from(&b"0123456789"[..]),
    };
    server.deployments.insert(ID.into(), Deployment::new(artifact));
    server
}

fn auth(server: &mut Server) -> Response {
    let headers = [JSON, ("X-MEN-Signature", "c2ln")];
    let target = "/api/devices/v1/authentication/auth_requests";
    server.request(&Request { method: "POST", target, headers: &headers, body: AUTH.as_bytes() })
}

/// A device with a token.
struct Client {
    server: Server,
    token: String,
}

impl Client {
    fn new(mut server: Server) -> Self {
        let response = auth(&mut server);
        assert_eq!(response.status, 200);
        Self { server, token: format!("Bearer {}", String::from_utf8(response.body.to_vec()).unwrap()) }
    }

    fn send(&mut self, method: &str, target: &str, body: &str) -> Response {
        let headers = [JSON, ("Authorization", self.token.as_str())];
        let headers = if body.is_empty() { &headers[1..] } else { &headers };
        self.server.request(&Request { method, target, headers, body: body.as_bytes() })
    }

    fn next(&mut self, name: &str) -> Response {
        self.send("GET", &format!("{V1}/next?artifact_name={name}&device_type=board"), "")
    }

    fn status(&mut self, status: &str) -> u16 {
        self.send("PUT", &format!("{V1}/{ID}/status"), &format!(r#"{{"status":"{status}"}}"#)).status
    }

    fn log(&mut self, body: &str) -> u16 {
        self.send("PUT", &format!("{V1}/{ID}/log"), body).status
    }

    #[track_caller]
    fn assert_violated(&mut self, part: &str) {
        let violations = std::mem::take(&mut self.server.violations);
        assert!(violations.iter().any(|v| v.contains(part)), "{part} not in {violations:?}");
    }
}

#[test]
fn a_good_deployment_violates_nothing() {
    let mut client = Client::new(server());
    let offer = client.next("old");
    assert_eq!(offer.status, 200);
    let text = String::from_utf8(offer.body.to_vec()).unwrap();
    assert!(text.contains("\\u0026X-Amz-Sig=a%2Fb%20c%3D%3D\\u0026x=1"), "{text}");
    assert_eq!(client.next("old").status, 200, "polls repeat the same deployment");
    for status in ["downloading", "installing", "rebooting", "installing", "success", "success"] {
        assert_eq!(client.status(status), 204);
    }
    assert_eq!(client.next("new").status, 204);
    assert_eq!(client.server.deployments[ID].status(), "success");
    assert_eq!(client.server.violations(), [""; 0]);
}

#[test]
fn devices_get_tokens_while_they_are_accepted() {
    let mut server = server();
    server.accepts_all = false;
    assert_eq!(auth(&mut server).status, 401);
    server.set_acceptance(Acceptance::Accepted);
    let mut client = Client::new(server);
    let old = client.token.clone();
    assert_eq!(auth(&mut client.server).status, 200);
    assert_eq!((client.next("old").status, client.token == old), (200, true), "an old token stays good");
    client.server.set_acceptance(Acceptance::Rejected);
    let refused = client.next("old");
    assert_eq!((refused.status, refused.body.len()), (401, 0));
    assert_eq!(client.server.violations(), [""; 0]);
}

#[test]
fn bad_authentication_is_refused() {
    let mut server = server();
    let target = "/api/devices/v1/authentication/auth_requests";
    let mut send = |headers: &[(&str, &str)], body: &str| {
        server.request(&Request { method: "POST", target, headers, body: body.as_bytes() }).status
    };
    let signed = [JSON, ("X-MEN-Signature", "c2ln")];
    assert_eq!(send(&signed[..1], AUTH), 400);
    assert_eq!(send(&signed[1..], AUTH), 415);
    assert_eq!(send(&signed, "{"), 400);
    assert_eq!(send(&signed, &AUTH.replace("pubkey", "key")), 400);
    assert_eq!(send(&signed, &AUTH.replace(r#"{\"mac\":\"00:01\"}"#, "[]")), 400);
    assert_eq!(send(&signed, &format!("{AUTH}{}", " ".repeat(1 << 20))), 413);
    let headers = &signed;
    let request = Request { method: "POST", target, headers, body: AUTH.as_bytes() };
    assert_eq!(server.request_verified(&request, &|_, _, _| false).status, 401);
    assert_eq!(server.violations().len(), 8, "{:?}", server.violations());
}

#[test]
fn other_members_than_the_known_ones_are_violations() {
    let mut client = Client::new(server());
    client.next("old");
    client.send("PUT", &format!("{V1}/{ID}/status"), r#"{"status":"downloading","x":1}"#);
    client.assert_violated("status has a member x");
    let body = r#"{"device_provides":{"device_type":"board","artifact_name":"old"},"update_control_map":true,"y":1}"#;
    assert_eq!(
        client
            .send(
                "POST",
                &V1.replace("v1", "v2")
                    .replace("/deployments/device/deployments", "/deployments/device/deployments/next"),
                body
            )
            .status,
        404
    );
    client.assert_violated("next has a member y");
}

#[test]
fn a_poll_with_new_provides_fails_the_deployment() {
    let mut client = Client::new(server());
    client.next("old");
    assert_eq!(client.next("new").status, 409);
    client.assert_violated("unfinished deployment");
    assert_eq!(client.server.deployments[ID].status(), "failure");
}

#[test]
fn the_server_itself_finds_what_needs_no_update() {
    let mut client = Client::new(server());
    assert_eq!(client.next("new").status, 204);
    assert_eq!(client.server.deployments[ID].status(), "already-installed");
    let mut client = Client::new(server());
    let other = format!("{V1}/next?artifact_name=old&device_type=other");
    assert_eq!(client.send("GET", &other, "").status, 204);
    assert_eq!(client.server.deployments[ID].status(), "noartifact");
    assert_eq!(client.send("GET", &format!("{V1}/next?artifact_name=&device_type=b"), "").status, 400);
}

#[test]
fn final_states_are_not_final_and_aborts_are() {
    let mut client = Client::new(server());
    assert_eq!(client.status("downloading"), 404, "before next");
    client.assert_violated("404");
    client.next("old");
    assert_eq!((client.status("success"), client.status("installing")), (204, 204));
    client.assert_violated("open again");
    assert_eq!(client.next("old").status, 200, "it is offered again");
    client.server.abort(ID);
    assert_eq!((client.status("success"), client.next("old").status), (409, 204));
    assert_eq!(client.status("nonsense"), 400);
}

#[test]
fn one_bad_log_entry_refuses_all() {
    let mut client = Client::new(server());
    client.next("old");
    client.status("failure");
    let entry = |time: &str, level: &str, message: &str| {
        format!(r#"{{"messages":[{{"timestamp":"{time}","level":"{level}","message":"{message}"}}]}}"#)
    };
    for time in ["2026-11-23T20:00:00Z", "2026-11-23T20:00:00.123456+01:00"] {
        assert_eq!(client.log(&entry(time, "info", "m")), 204);
    }
    assert_eq!(client.server.violations(), [""; 0]);
    assert_eq!(client.server.deployments[ID].log, ["info m"]);
    for time in ["2026-11-23T20:00:00", "2026-11-23 20:00:00Z", "2026-11-23T20:00:00.Z", "1", ""] {
        assert_eq!(client.log(&entry(time, "info", "m")), 400, "{time}");
    }
    let time = "2026-11-23T20:00:00Z";
    assert_eq!((client.log(&entry(time, "", "m")), client.log(&entry(time, "i", ""))), (400, 400));
    assert_eq!(client.log(r#"{"messages":[]}"#), 400);
}

#[test]
fn inventories_are_strings_and_lists() {
    let mut client = Client::new(server());
    let mut send =
        |body: &str| client.send("PUT", "/api/devices/v1/inventory/device/attributes", body).status;
    let version = r#"{"name":"mender_client_version","value":"1"}"#;
    assert_eq!(send(&format!(r#"[{version},{{"name":"a","value":["1","2"]}}]"#)), 200);
    for bad in ["true", "null", "{}"] {
        assert_eq!(send(&format!(r#"[{version},{{"name":"a","value":{bad}}}]"#)), 400);
    }
    for (count, status) in [(99, 200), (100, 400)] {
        let many: String = (0..count).map(|i| format!(",{{\"name\":\"{i}\",\"value\":\"1\"}}")).collect();
        assert_eq!(send(&format!("[{version}{many}]")), status);
    }
    assert_eq!(send("[]"), 200);
    client.assert_violated("without mender_client_version");
    let device = client.server.devices.values().next().unwrap();
    assert_eq!((device.inventories, device.inventory.len()), (3, 0));
}

#[test]
fn control_maps_are_there_in_version_two_only() {
    let mut server = server();
    server.v2 = true;
    server.deployments.get_mut(ID).unwrap().control_map = Some(format!(r#"{{"id":"{ID}"}}"#));
    let mut client = Client::new(server);
    let next = "/api/devices/v2/deployments/device/deployments/next";
    let body =
        r#"{"device_provides":{"device_type":"board","artifact_name":"old"},"update_control_map":true}"#;
    let offer = String::from_utf8(client.send("POST", next, body).body.to_vec()).unwrap();
    assert!(offer.contains(r#""update_control_map":{"id":""#), "{offer}");
    let map = format!("/api/devices/v2/deployments/device/deployments/{ID}/update_control_map");
    assert_eq!(client.send("GET", &map, "").status, 200);
    client.server.abort(ID);
    assert_eq!(client.send("GET", &map, "").status, 404);
    assert_eq!(client.server.violations(), [""; 0]);
}

#[test]
fn downloads_are_whole_or_from_an_offset() {
    let mut server = server();
    let link = Server::link(ID);
    let mut get = |headers: &[(&str, &str)]| {
        let response = server.request(&Request { method: "GET", target: &link, headers, body: b"" });
        let range = response.headers.iter().find(|(name, _)| *name == "Content-Range");
        (
            response.status,
            String::from_utf8(response.body.to_vec()).unwrap(),
            range.map(|(_, value)| value.clone()),
        )
    };
    assert_eq!(get(&[]), (200, "0123456789".into(), None));
    assert_eq!(get(&[("Range", "bytes=4-")]), (206, "456789".into(), Some("bytes 4-9/10".into())));
    assert_eq!(get(&[("Range", "bytes=4-5"), ("If-Range", "\"new-10\"")]).1, "45");
    assert_eq!(get(&[("Range", "bytes=4-"), ("If-Range", "\"else\"")]).0, 200);
    assert_eq!(get(&[("Range", "bytes=10-")]).0, 416);
    assert_eq!(get(&[("Authorization", "Bearer x")]).0, 200);
    assert_eq!(server.violations().len(), 2);
    let target = link.replace("%20", " ");
    assert_eq!(
        server.request(&Request { method: "GET", target: &target, headers: &[], body: b"" }).status,
        403
    );
}

#[test]
fn faults_come_when_and_as_often_as_planned() {
    let mut client = Client::new(server());
    client.server.disturb(Endpoint::NextV1, 1, 2, Fault::Status(500));
    client.server.disturb(Endpoint::NextV1, 0, 1, Fault::RetryAfter("7".into()));
    let statuses: Vec<_> = (0..5).map(|_| client.next("old").status).collect();
    assert_eq!(statuses, [200, 500, 500, 429, 200]);
    assert_eq!(client.server.count(Endpoint::NextV1), 5);

    client.server.disturb(Endpoint::Status, 0, 1, Fault::AnswerLost);
    client.server.disturb(Endpoint::Status, 0, 1, Fault::Unreachable);
    let send = |client: &mut Client, status: &str| {
        let body = format!(r#"{{"status":"{status}"}}"#);
        client.send("PUT", &format!("{V1}/{ID}/status"), &body).delivery
    };
    assert_eq!(send(&mut client, "downloading"), Delivery::Lost);
    assert_eq!(client.server.deployments[ID].status(), "downloading", "it had its effect");
    assert_eq!(send(&mut client, "installing"), Delivery::Lost);
    assert_eq!(client.server.deployments[ID].status(), "downloading", "it had none");
    assert_eq!(client.server.violations(), [""; 0]);
}
