//! `setup --username --password`: the tenant token of hosted Mender, fetched as `mender-setup` does it, from a server that stands
//! in for that one behind a proxy.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::{DEFAULT_VERSIONS, ServerConfig, ServerConnection, StreamOwned};
use thimble_tests::lab::{Lab, Ran, has, left_out, thimble};

const PASSWORD: &str = "pass:w\u{f6}rd";
const LOGIN: &str = "POST /api/management/v1/useradm/auth/login HTTP/1.1";
const TENANT: &str = "GET /api/management/v1/tenantadm/user/tenant HTTP/1.1";

/// What it answers, in this order; each request of a connection of its own.
struct Server {
    proxy: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Puts its authority's certificate into `ca.pem` of the lab.
    fn new(lab: &Lab, answers: Vec<String>) -> Self {
        let mut ca = CertificateParams::new(Vec::new()).expect("parameters");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().expect("a key")).expect("an authority");
        lab.write("ca.pem", &ca.pem());
        let key = KeyPair::generate().expect("a key");
        let names = CertificateParams::new(vec!["hosted.mender.io".to_owned()]).expect("parameters");
        let certificate = names.signed_by(&key, &ca).expect("a certificate").der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(DEFAULT_VERSIONS)
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("a configuration");
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
        let proxy = format!("http://{}", listener.local_addr().expect("its address"));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&requests);
        thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().expect("a connection");
                assert_eq!(head(&mut stream).lines().next(), Some("CONNECT hosted.mender.io:443 HTTP/1.1"));
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").expect("the tunnel");
                let mut tls = StreamOwned::new(ServerConnection::new(config.clone()).expect("TLS"), stream);
                let request = head(&mut tls);
                heard.lock().expect("the list").push(request);
                // A client that has read enough closes.
                drop(tls.write_all(answer.as_bytes()));
                tls.conn.send_close_notify();
                drop(tls.flush());
            }
        });
        Self { proxy, requests }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("the list").clone()
    }
}

fn head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        head.extend(byte);
    }
    String::from_utf8_lossy(&head).into_owned()
}

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

const GIVEN: [&str; 7] = [
    "setup",
    "--device-type",
    "gateway",
    "--hosted-mender",
    "--demo-polling=false",
    "--server-cert",
    "ca.pem",
];

fn run(lab: &Lab, server: &Server, more: &[&str]) -> Ran {
    let mut command = lab.command(GIVEN.iter().chain(more));
    Ran::of(command.env("https_proxy", &server.proxy).stdin(Stdio::null()).spawn().expect("it starts"))
}

fn config(lab: &Lab) -> String {
    fs::read_to_string(lab.path("conf/mender.conf")).unwrap_or_default()
}

fn line<'r>(request: &'r str, name: &str) -> Option<&'r str> {
    request.lines().find_map(|line| line.strip_prefix(name))
}

#[test]
fn the_tenant_token_is_fetched_with_name_and_password() {
    let lab = Lab::new();
    let tenant = r#"{"id": "5", "name": "Us", "tenant_token": "tenant.token-1", "trial": true}"#;
    let answers = vec![answer("200 OK", "user.token\n"), answer("200 OK", tenant), answer("401 No", "")];
    let server = Server::new(&lab, answers);
    let ran = run(&lab, &server, &["--username", "me@example.com", "--password", PASSWORD]);
    ran.status(0);
    assert_eq!(ran.stderr, "");
    assert!(config(&lab).contains("\"TenantToken\": \"tenant.token-1\""), "{}", config(&lab));
    assert!(config(&lab).contains("\"ServerURL\": \"https://hosted.mender.io\""), "{}", config(&lab));
    let requests = server.requests();
    let [login, tenant, device] = requests.as_slice() else { panic!("{requests:#?}") };
    assert_eq!(login.lines().next(), Some(LOGIN));
    // The words of `printf 'me@example.com:pass:w\u00f6rd' | base64`.
    assert_eq!(line(login, "Authorization: "), Some("Basic bWVAZXhhbXBsZS5jb206cGFzczp3w7ZyZA=="));
    assert_eq!(line(login, "Content-Length: "), Some("0"));
    assert_eq!(tenant.lines().next(), Some(TENANT));
    assert_eq!(line(tenant, "Authorization: "), Some("Bearer user.token"));
    // What asks whether it is a server has neither.
    assert_eq!(line(device, "Authorization: "), None);
    for secret in [PASSWORD, "user.token", "bWVA", "tenant.token"] {
        assert!(!ran.stdout.contains(secret) && !ran.stderr.contains(secret), "{}{}", ran.stdout, ran.stderr);
    }
}

#[test]
fn whatever_goes_wrong_is_said_and_changes_nothing() {
    let long = "t".repeat(9000);
    let good = answer("200 OK", "user.token");
    let huge = format!("{{\"x\": \"{}\", \"tenant_token\": \"t\"}}", "x".repeat(70_000));
    let cases = [
        (vec![answer("401 No", "")], "does not know this e-mail address with this password (status 401)"),
        (vec![answer("403 No", "")], "does not let this account log in (status 403): the account may not"),
        (vec![answer("404 No", "")], "(status 404): there is nothing of that name; give --tenant-token"),
        (vec![answer("429 No\r\nRetry-After: 7", "")], "(status 429): too many attempts; try again in 7 s"),
        (vec![answer("503 No", "")], "(status 503): it cannot answer now; try again later"),
        (
            vec![answer("302 No\r\nLocation: http://127.0.0.1:1/", "")],
            "(status 302): which is none of its answers",
        ),
        (vec![answer("200 OK", "")], "something that is no token"),
        (vec![answer("200 OK", "a b")], "something that is no token"),
        (vec![answer("200 OK", "a\r\nX: y")], "something that is no token"),
        (vec![answer("200 OK", &long)], "something that is no token"),
        (vec![good.clone(), answer("401 No", "")], "which organization the account belongs to (status 401)"),
        (vec![good.clone(), answer("404 No", "")], "which organization the account belongs to (status 404)"),
        (vec![good.clone(), answer("200 OK", "{}")], "names no tenant token"),
        (vec![good.clone(), answer("200 OK", "[")], "names no tenant token"),
        (vec![good.clone(), answer("200 OK", r#"{"tenant_token": 5}"#)], "names no tenant token"),
        (vec![good.clone(), answer("200 OK", r#"{"tenant_token": ""}"#)], "names no tenant token"),
        (vec![good.clone(), answer("200 OK", r#"{"tenant_token": "a\u0000"}"#)], "names no tenant token"),
        (
            vec![good.clone(), answer("200 OK", r#"{"tenant_token": "a", "tenant_token": "b"}"#)],
            "names no tenant token",
        ),
        (vec![good, answer("200 OK", &huge)], "names no tenant token"),
    ];
    for (answers, reason) in cases {
        let lab = Lab::new();
        let server = Server::new(&lab, answers);
        let ran = run(&lab, &server, &["--username", "me@example.com", "--password", PASSWORD]);
        ran.failed(reason);
        assert!(!ran.stderr.contains(PASSWORD), "{}", ran.stderr);
        assert_eq!(config(&lab), "", "{reason}");
        let left = fs::read_dir(lab.path("conf")).expect("a directory").count();
        assert_eq!(left, 1, "{reason}: only the scripts' directory");
    }
}

#[test]
fn a_server_that_cannot_prove_who_it_is_hears_no_password() {
    let lab = Lab::new();
    let server = Server::new(&lab, vec![answer("200 OK", "user.token")]);
    let other = Lab::new();
    drop(Server::new(&other, Vec::new()));
    fs::copy(other.path("ca.pem"), lab.path("ca.pem")).expect("it is copied");
    let ran = run(&lab, &server, &["--username", "me@example.com", "--password", PASSWORD]);
    ran.failed("certificate");
    assert!(server.requests().iter().all(String::is_empty), "{:?}", server.requests());
    assert_eq!(config(&lab), "");
}

#[test]
fn options_that_do_not_go_together() {
    let lab = Lab::new();
    let server = Server::new(&lab, vec![answer("401 No", "")]);
    let cases: [(&[&str], &str); 5] = [
        (&["--username", "me"], "--username \"me\" is no e-mail address"),
        (&["--username", "a:b@c", "--password", "x"], "a blank or a colon"),
        (
            &["--username", "me@example.com"],
            "is asked at a terminal alone, and this is none; give --password",
        ),
        (&["--password", "secret"], "nobody answers \"E-mail address of the account\"; give --username"),
        (
            &["--username", "me@example.com", "--password", &"x".repeat(1025)],
            "--password is longer than 1024 bytes",
        ),
    ];
    for (more, reason) in cases {
        run(&lab, &server, more).failed(reason);
        assert_eq!((config(&lab).as_str(), server.requests().len()), ("", 0), "{more:?}");
    }
    // As Mender has it: a token that is given is the one that is taken.
    let both = ["--username", "me@example.com", "--password", "x", "--tenant-token", "given"];
    let ran = run(&lab, &server, &both);
    ran.status(0);
    assert!(
        ran.stderr.contains("warning: --username and --password are used with hosted.mender.io alone"),
        "{}",
        ran.stderr
    );
    assert!(config(&lab).contains("\"TenantToken\": \"given\""), "{}", config(&lab));
    // Another server has no such login: Mender's program asks nothing of it either.
    let other = ["setup", "--device-type", "x", "--server-url", "http://127.0.0.1:1", "--demo-polling"];
    let ran = lab.run(other.iter().chain(&["--username", "me@example.com", "--password", "x"]));
    ran.status(0);
    assert!(ran.stderr.contains("are used with hosted.mender.io alone"), "{}", ran.stderr);
}

#[test]
fn the_password_is_typed_unseen_and_again_when_it_is_wrong() {
    if !has("script") {
        left_out("script (Debian package bsdutils)");
        return;
    }
    let lab = Lab::new();
    let answers = vec![
        answer("401 No", ""),
        answer("200 OK", "user.token"),
        answer("200 OK", r#"{"tenant_token": "tenant"}"#),
        answer("401 No", ""),
    ];
    let server = Server::new(&lab, answers);
    let line = format!("{} {} --username me@example.com", thimble().display(), GIVEN.join(" "));
    let mut child = Command::new("script")
        .args(["-qefc", &line, "/dev/null"])
        .current_dir(lab.path(""))
        .env("MENDER_CONF_DIR", lab.path("conf"))
        .env("MENDER_DATASTORE_DIR", lab.path("store"))
        .env("https_proxy", &server.proxy)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script runs");
    let (mut keys, mut screen) = (child.stdin.take().expect("keys"), child.stdout.take().expect("a screen"));
    let mut seen = String::new();
    // A mistyped letter is taken back; the first password is wrong.
    for password in ["wrong-one\n", "goox\u{7f}d-one\n"] {
        let before = seen.matches("Password (not shown): ").count();
        while seen.matches("Password (not shown): ").count() == before {
            let mut bytes = [0; 256];
            let read = screen.read(&mut bytes).expect("it shows something");
            assert!(read > 0, "{seen}");
            seen += &String::from_utf8_lossy(&bytes[..read]);
        }
        keys.write_all(password.as_bytes()).expect("it is typed");
    }
    let mut rest = Vec::new();
    screen.read_to_end(&mut rest).expect("the end");
    seen += &String::from_utf8_lossy(&rest);
    assert!(child.wait().expect("it ends").success(), "{seen}");
    assert!(seen.contains("does not know this e-mail address"), "{seen}");
    assert!(!seen.contains("-one"), "{seen}");
    assert!(config(&lab).contains("\"TenantToken\": \"tenant\""), "{}", config(&lab));
    // The words of `printf me@example.com:good-one | base64`.
    assert_eq!(line_of(&server, 1), Some("Basic bWVAZXhhbXBsZS5jb206Z29vZC1vbmU=".to_owned()));
}

fn line_of(server: &Server, request: usize) -> Option<String> {
    server.requests().get(request).and_then(|request| line(request, "Authorization: ").map(str::to_owned))
}
