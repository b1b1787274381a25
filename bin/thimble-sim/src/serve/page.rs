//! The server's page: requests as they come. On a port of its own, on this machine only; what requests say reaches the page
//! as JSON, and becomes text there.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use thimble_hal_sim::listen::Listener;

use super::board::{Board, Seen};

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The longest head of a request: a browser's has some hundred bytes.
const HEAD: usize = 8 * 1024;

/// A request must be here within this time, and its answer taken.
const LIMIT: Duration = Duration::from_secs(10);

/// The wait after a connection that could not be accepted.
const RETRY: Duration = Duration::from_millis(100);

/// Connections at a time; one more is closed at once.
const CONNECTIONS: usize = 16;

/// The last violations and deployments that are shown.
const SHOWN: usize = 100;

/// Listens on this port, 0 takes a free one; for as long as the process lives.
///
/// # Errors
/// The port is taken.
pub(super) fn start(port: u16, board: Arc<Board>, listener: Arc<Listener>) -> io::Result<SocketAddr> {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let address = socket.local_addr()?;
    let open = Arc::new(AtomicUsize::new(0));
    thread::spawn(move || {
        loop {
            let Ok((stream, _)) = socket.accept() else {
                // Too many open files, for one; they become fewer.
                thread::sleep(RETRY);
                continue;
            };
            if open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS {
                open.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let (open, board, listener) = (open.clone(), board.clone(), listener.clone());
            thread::spawn(move || {
                // A browser that has gone does not matter.
                let _ = serve(stream, address, &board, &listener);
                open.fetch_sub(1, Ordering::Relaxed);
            });
        }
    });
    Ok(address)
}

/// One request, and the end of the connection.
fn serve(mut stream: TcpStream, address: SocketAddr, board: &Board, listener: &Listener) -> io::Result<()> {
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let began = Instant::now();
    let (mut head, mut buf) = (Vec::new(), [0; 1024]);
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        let read = stream.read(&mut buf)?;
        head.extend_from_slice(&buf[..read]);
        if read == 0 || head.len() > HEAD || began.elapsed() > LIMIT {
            return Ok(());
        }
    }
    let (status, kind, body) = answer(&String::from_utf8_lossy(&head), address, board, listener);
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\
         Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n\
         Content-Security-Policy: default-src 'none'; style-src {}; script-src {}; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n\r\n",
        body.len(),
        digest(STYLE),
        digest(SCRIPT),
    );
    stream.write_all(head.as_bytes())?;
    // Piece by piece: who takes a byte a second does not keep the connection for long.
    for piece in body.as_bytes().chunks(64 * 1024) {
        if began.elapsed() > LIMIT {
            return Ok(());
        }
        stream.write_all(piece)?;
    }
    Ok(())
}

/// Status, media type and body.
fn answer(
    head: &str,
    address: SocketAddr,
    board: &Board,
    listener: &Listener,
) -> (&'static str, &'static str, String) {
    let refused = |status: &'static str| (status, "text/plain", format!("{status}\n"));
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (method, target) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let host =
        lines.filter_map(|line| line.split_once(':')).find(|(name, _)| name.eq_ignore_ascii_case("host"));
    let host = host.map_or("", |(_, host)| host.trim());
    let port = address.port();
    // Another name that leads here would let a foreign page read this one.
    if host != format!("127.0.0.1:{port}") && host != format!("localhost:{port}") {
        return refused("421 Misdirected Request");
    }
    if method != "GET" {
        return refused("405 Method Not Allowed");
    }
    match target.split_once('?').unwrap_or((target, "")) {
        ("/", _) => ("200 OK", "text/html", page()),
        ("/seen", query) => {
            let since = query.strip_prefix("since=").and_then(|number| number.parse().ok()).unwrap_or(0);
            ("200 OK", "application/json", seen(since, board, listener).to_string())
        }
        _ => refused("404 Not Found"),
    }
}

fn page() -> String {
    PAGE.replace("{{style}}", STYLE).replace("{{script}}", SCRIPT)
}

/// How a policy names a text that may be used.
fn digest(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text.as_bytes())))
}

/// The requests behind this number, and how everything stands.
fn seen(since: u64, board: &Board, listener: &Listener) -> Value {
    let requests = board.since(since);
    let requests: Vec<Value> = requests.iter().map(request).collect();
    let (deployments, devices, violations) = listener.with(|server| {
        let deployments = server.deployments.iter().rev().take(SHOWN);
        let deployments = deployments.map(|(id, deployment)| {
            json!({"id": id, "artifact": deployment.artifact.name, "status": deployment.status()})
        });
        let violations = server.violations().iter().rev().take(SHOWN);
        let violations: Vec<String> = violations.map(|text| text.chars().take(1000).collect()).collect();
        (deployments.collect::<Vec<_>>(), server.devices.len(), violations)
    });
    json!({"requests": requests, "deployments": deployments, "devices": devices, "violations": violations})
}

fn request(seen: &Seen) -> Value {
    let Seen { number, at, method, what, said, status, wire } = seen;
    json!({
        "number": number, "at": at.as_secs(), "method": method, "what": what, "said": said, "status": status,
        "fault": wire,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use thimble_hal_sim::listen::{Entry, Security};
    use thimble_hal_sim::server::Server;

    /// A page, and what it answers to these lines.
    fn ask(board: &Arc<Board>, request: &str) -> String {
        let listener = Listener::start(0, Security::Plain, Server::new("")).unwrap();
        let address = start(0, board.clone(), Arc::new(listener)).unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        let host = format!("127.0.0.1:{}", address.port());
        stream.write_all(request.replace("{host}", &host).as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn the_page_is_whole_and_nothing_else_may_run_in_it() {
        let board = Arc::new(Board::new());
        let answer = ask(&board, "GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        for text in [STYLE, SCRIPT] {
            assert!(head.contains(&digest(text)) && body.contains(text));
        }
        assert!(!body.contains("{{") && !body.contains("http://") && !body.contains("https://"), "{body}");
        assert!(!SCRIPT.contains("innerHTML") && !SCRIPT.contains("insertAdjacent"));
    }

    #[test]
    fn what_a_request_says_is_text_in_json() {
        let board = Arc::new(Board::new());
        board.push(&Entry {
            endpoint: None,
            method: "GET".into(),
            target: "/</script><img src=x onerror=alert(1)>\"\u{1b}".into(),
            headers: vec![],
            body: vec![],
            status: 404,
            wire: None,
        });
        let answer = ask(&board, "GET /seen?since=0 HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("application/json") && head.contains("nosniff"), "{head}");
        let value: Value = serde_json::from_str(body).unwrap();
        assert_eq!(value["requests"][0]["what"], "/</script><img src=x onerror=alert(1)>\"\u{1b}");
        let none = ask(&board, "GET /seen?since=1 HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert!(none.contains("\"requests\":[]"), "{none}");
    }

    #[test]
    fn what_is_no_request_of_a_browser_is_refused() {
        let board = Arc::new(Board::new());
        let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(HEAD + 2048));
        for (request, told) in [
            ("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", "HTTP/1.1 421"),
            ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 421"),
            ("POST / HTTP/1.1\r\nHost: {host}\r\n\r\n", "HTTP/1.1 405"),
            ("GET /../etc HTTP/1.1\r\nHost: {host}\r\n\r\n", "HTTP/1.1 404"),
            ("\r\n\r\n", "HTTP/1.1 421"),
        ] {
            assert!(ask(&board, request).starts_with(told), "{request}");
        }
        let listener = Listener::start(0, Security::Plain, Server::new("")).unwrap();
        let address = start(0, board, Arc::new(listener)).unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        // It may be closed before all is sent.
        let _ = stream.write_all(long.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty());
    }
}
