//! One fault of the network or the server at one endpoint, then a good server again: the deployment ends with the
//! truth (the rules of the network in `docs/rules/hardening.md`). Faults that the client meets with a wait of a minute,
//! and those that only a time limit ends, are in the tests that are ignored by default: `cargo test --test daemon_faults -- --ignored`.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use thimble_hal_sim::listen::{Entry, Security, Wire};
use thimble_hal_sim::server::{Endpoint, Fault};
use thimble_tests::cuts::each;
use thimble_tests::lab::{Package, has};
use thimble_tests::managed::Managed;

/// A fault, and how often it happens.
#[derive(Clone, Debug)]
enum Bad {
    Server(Fault),
    Wire(Wire),
}

use Bad::{Server as S, Wire as W};

/// Faults that make an answer useless.
fn useless() -> Vec<Bad> {
    let statuses = [301, 400, 403, 418, 500, 502, 503].map(|status| S(Fault::Status(status)));
    let bodies = ["", "garbage", "[]", "{\"id\":1}", "a b", "x\r\nX-Injected: y", "\u{0}"];
    let raw: [&[u8]; 8] = [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999999\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 429 Later\r\nRetry-After: 99999999999999999999999999x\r\nContent-Length: 0\r\n\r\n",
    ];
    let mut all = statuses.to_vec();
    all.extend(bodies.map(|body| S(Fault::Body(body.into()))));
    all.push(S(Fault::Body(vec![b'x'; 300_000])));
    all.extend([S(Fault::RetryAfter("1".into())), S(Fault::RetryAfter("0".into())), S(Fault::Unreachable)]);
    all.extend([Wire::Reset(0), Wire::Reset(40), Wire::Close(1), Wire::Close(40)].map(W));
    all.extend(raw.map(|bytes| W(Wire::Raw(bytes.to_vec()))));
    all
}

/// Strange answers that are good all the same.
fn strange() -> Vec<Bad> {
    vec![
        W(Wire::NoLength),
        W(Wire::Chunked(3)),
        W(Wire::Interim),
        W(Wire::Slow(7, 1)),
        W(Wire::Surplus(b"HTTP/1.1 500 surplus\r\n\r\n".to_vec())),
        W(Wire::Header("X-Large: ".to_owned() + &"x".repeat(2000))),
        W(Wire::Header("Connection: close".into())),
    ]
}

fn plan(managed: &Managed, endpoint: Endpoint, skip: u32, bad: &Bad) {
    match bad.clone() {
        S(fault) => managed.server.with(|server| server.disturb(endpoint, skip, 1, fault)),
        W(wire) => managed.server.disturb(endpoint, skip, 1, wire),
    }
}

/// Tries every case on a device of its own, several at a time.
fn try_all(cases: Vec<(Endpoint, u32, Bad)>, check: impl Fn(&Managed, &str) + Sync) {
    each(cases, |(endpoint, skip, bad)| {
        let managed = Managed::with(Security::Plain);
        managed.deploy(&Package::new("release-2"));
        plan(&managed, endpoint, skip, &bad);
        check(&managed, &format!("{endpoint:?} {bad:?}"));
    });
}

fn succeeds(managed: &Managed, what: &str) {
    let status = managed.finish();
    assert_eq!(status, "success", "{what}: {}", managed.story());
    managed.no_violations();
    assert_eq!(managed.lab.name(), "release-2", "{what}");
}

fn at(endpoint: Endpoint, faults: Vec<Bad>) -> Vec<(Endpoint, u32, Bad)> {
    faults.into_iter().map(|bad| (endpoint, 0, bad)).collect()
}

#[test]
fn n14_n16_authentication_survives_every_fault() {
    try_all(at(Endpoint::Auth, [useless(), strange()].concat()), succeeds);
}

#[test]
fn n4_n6_n7_n8_n9_a_poll_survives_every_fault() {
    try_all(at(Endpoint::NextV1, [useless(), strange()].concat()), succeeds);
}

#[test]
fn the_first_report_is_not_needed() {
    try_all(at(Endpoint::Status, [useless(), strange()].concat()), succeeds);
}

#[test]
fn the_inventory_is_not_needed() {
    try_all(at(Endpoint::Inventory, [useless(), strange()].concat()), succeeds);
}

#[test]
fn strange_answers_are_good_at_the_download_and_the_final_report() {
    let download = at(Endpoint::Artifact, strange());
    let last = strange().into_iter().map(|bad| (Endpoint::Status, 3, bad));
    try_all(download.into_iter().chain(last).collect(), succeeds);
}

#[test]
fn a_link_that_gives_something_else_fails_the_deployment() {
    let statuses = [301, 400, 403, 404, 416, 501, 505].map(|status| S(Fault::Status(status)));
    let bodies = [&b""[..], b"garbage", &[0; 100_000]].map(|body| S(Fault::Body(body.to_vec())));
    let cases = statuses.into_iter().chain(bodies).collect();
    try_all(at(Endpoint::Artifact, cases), |managed, what| {
        assert_eq!(managed.finish(), "failure", "{what}: {}", managed.story());
        managed.no_violations();
        assert_eq!(managed.lab.name(), "unknown", "{what}");
        assert!(!managed.lab.journal().iter().any(|line| line == "ArtifactInstall"), "{what}");
    });
}

#[test]
fn n12_a_report_or_log_that_is_too_large_is_not_repeated() {
    for endpoint in [Endpoint::Log, Endpoint::Status] {
        let managed = Managed::with(Security::Plain);
        managed.lab.on("ArtifactInstall", "exit 1");
        managed.deploy(&Package::new("release-2"));
        // The last report is the third: there is none before the commit.
        let skip = if endpoint == Endpoint::Status { 2 } else { 0 };
        managed.server.with(|server| server.disturb(endpoint, skip, 1, Fault::Status(413)));
        let mut daemon = managed.start();
        let next = |journal: &[Entry]| {
            let refused = journal.iter().position(|entry| entry.status == 413)?;
            journal.get(refused + 1)?.endpoint
        };
        managed.wait(&mut daemon, |_, journal| next(journal).is_some());
        // It is over: the server is asked for the next deployment.
        assert_eq!(next(&managed.server.journal()), Some(Endpoint::NextV1), "{}", managed.story());
    }
}

#[test]
fn n18_the_token_never_goes_to_the_artifacts_host() {
    let managed = Managed::new();
    managed.deploy(&Package::new("release-2"));
    assert_eq!(managed.finish(), "success", "{}", managed.story());
    let journal = managed.server.journal();
    let downloads: Vec<_> =
        journal.iter().filter(|entry| entry.endpoint == Some(Endpoint::Artifact)).collect();
    assert_eq!(downloads.len(), 1);
    for entry in downloads {
        assert!(entry.headers.iter().all(|(name, _)| !name.eq_ignore_ascii_case("authorization")));
    }
}

#[test]
fn r34_an_http_link_of_an_https_server_is_used_where_artifacts_are_verified() {
    if !(has("openssl") && has("mender-artifact")) {
        thimble_tests::lab::left_out("openssl and mender-artifact");
        return;
    }
    let managed = Managed::new();
    let run = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).current_dir(managed.lab.path("")).output();
        let output = output.expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run("openssl", &["ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", "key"]);
    run("openssl", &["ec", "-in", "key", "-pubout", "-out", "key.pem"]);
    let unsigned = Package::new("release-2").build(&managed.lab);
    run("mender-artifact", &["sign", unsigned.to_str().expect("text"), "-k", "key", "-o", "signed"]);
    let artifact: Arc<[u8]> = fs::read(managed.lab.path("signed")).expect("the artifact").into();

    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let links = format!("http://{}", listener.local_addr().expect("its address"));
    managed.deploy_bytes("release-2", Arc::clone(&artifact));
    managed.server.with(|server| server.links = links);
    managed.configure(&format!(r#","ArtifactVerifyKey":"{}""#, managed.lab.path("key.pem").display()));
    let host = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
            request.push(byte[0]);
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", artifact.len());
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&artifact)).expect("it is sent");
        String::from_utf8(request).expect("text")
    });
    assert_eq!(managed.finish(), "success", "{}", managed.story());
    let request = host.join().expect("one request");
    assert!(request.starts_with("GET /") && !request.to_lowercase().contains("authorization"), "{request}");
}

#[test]
fn n22_a_server_that_cannot_prove_itself_gets_nothing() {
    let managed = Managed::new();
    managed.lab.configure(&format!(r#"{{"ServerURL":"{}"}}"#, managed.server.url()));
    managed.lab.run(["bootstrap"]).failed("certificate");
    assert!(managed.server.journal().is_empty());
    managed.lab.write("server.pem", "garbage");
    managed.configure("");
    managed.lab.run(["daemon"]).failed("server.pem");
}

#[test]
fn r13_skip_verify_works_and_is_loud() {
    let managed = Managed::new();
    managed.lab.configure(&format!(r#"{{"ServerURL":"{}","SkipVerify":true}}"#, managed.server.url()));
    let ran = managed.lab.run(["bootstrap"]);
    ran.status(0);
    assert!(ran.stderr.contains("level=warning"), "{}", ran.stderr);
}

#[test]
fn several_servers_are_tried_in_turn() {
    let managed = Managed::with(Security::Plain);
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).unwrap();
    managed.lab.configure(&format!(
        r#"{{"Servers":[{{"ServerURL":"http://{nobody}"}},{{"ServerURL":"{}"}}],"UpdatePollIntervalSeconds":1}}"#,
        managed.server.url()
    ));
    managed.deploy(&Package::new("release-2"));
    assert_eq!(managed.finish(), "success", "{}", managed.story());
    managed.no_violations();
}

#[test]
#[ignore = "takes minutes: a download goes on after 60 s"]
fn n5_n10_n11_a_broken_download_goes_on_where_it_broke() {
    let mut cases = Vec::new();
    for bytes in [0, 1, 200, 300, 1000, 3000] {
        cases.push(W(Wire::Close(bytes)));
        cases.push(W(Wire::Reset(bytes)));
    }
    cases.push(S(Fault::Unreachable));
    cases.extend([408, 425, 429, 500, 503].map(|status| S(Fault::Status(status))));
    try_all(at(Endpoint::Artifact, cases), |managed, what| {
        succeeds_slowly(managed, what);
        let journal = managed.server.journal();
        assert_eq!(
            journal.iter().filter(|entry| entry.endpoint == Some(Endpoint::Artifact)).count(),
            2,
            "{what}"
        );
    });
}

#[test]
#[ignore = "takes minutes: reports are repeated after 60 s"]
fn reports_that_must_get_through_do() {
    let cases =
        [S(Fault::Status(500)), S(Fault::Unreachable), S(Fault::AnswerLost), W(Wire::Raw(b"x".to_vec()))];
    let cases =
        cases.iter().flat_map(|bad| [2, 3].map(|skip| (Endpoint::Status, skip, bad.clone()))).collect();
    try_all(cases, succeeds_slowly);
}

#[test]
#[ignore = "takes minutes: a silent server is given up after 60 s"]
fn n1_a_silent_server_does_not_stop_the_daemon() {
    let mut cases = Vec::new();
    for endpoint in [Endpoint::Auth, Endpoint::NextV1, Endpoint::Status, Endpoint::Inventory] {
        cases.push((endpoint, 0, S(Fault::Silent)));
        cases.push((endpoint, 0, W(Wire::Hang(10))));
    }
    try_all(cases, succeeds_slowly);
}

fn succeeds_slowly(managed: &Managed, what: &str) {
    let mut daemon = managed.start();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(300);
    while !managed.server.wait_until(std::time::Duration::from_secs(5), |server, _| {
        server.deployments.values().all(thimble_hal_sim::server::Deployment::is_over)
    }) {
        assert!(std::time::Instant::now() < end, "{what}: {}", managed.story());
    }
    assert_eq!(managed.status(), "success", "{what}: {}", managed.story());
    managed.wait(&mut daemon, |server, _| server.count(Endpoint::Status) > 0);
    managed.no_violations();
    drop(daemon);
    assert_eq!(managed.lab.name(), "release-2", "{what}");
}
