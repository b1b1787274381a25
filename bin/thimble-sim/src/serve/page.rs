//! The server's page: requests as they come. On a port of its own, on this machine only; what requests say reaches the page
//! as JSON, and becomes text there.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use serde_json::{Value, json};
use thimble_hal_sim::listen::Listener;

use super::board::{Board, Seen};
use crate::loopback::{self, Answer};

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The last violations and deployments that are shown.
const SHOWN: usize = 100;

/// Listens on this port, 0 takes a free one; for as long as the process lives.
///
/// # Errors
/// The port is taken.
pub(super) fn start(port: u16, board: Arc<Board>, listener: Arc<Listener>) -> io::Result<SocketAddr> {
    let socket = loopback::listen(port)?;
    let address = socket.local_addr()?;
    thread::spawn(move || {
        if let Err(error) = loopback::serve(&socket, &|target| answer(target, &board, &listener)) {
            // The server goes on.
            eprintln!("http://{address}/ takes no connection any more: {error}");
        }
    });
    Ok(address)
}

fn answer(target: &str, board: &Board, listener: &Listener) -> Answer {
    match target.split_once('?').unwrap_or((target, "")) {
        ("/", _) => Answer {
            status: 200,
            kind: "text/html; charset=utf-8",
            body: page(),
            policy: loopback::policy(SCRIPT, STYLE, true),
        },
        ("/seen", query) => {
            let since = query.strip_prefix("since=").and_then(|number| number.parse().ok()).unwrap_or(0);
            let seen = seen(since, board, listener).to_string();
            Answer::plain(200, "application/json; charset=utf-8", seen)
        }
        _ => Answer::refusal(404, "There is / and /seen?since=N."),
    }
}

fn page() -> String {
    PAGE.replace("{{style}}", STYLE).replace("{{script}}", SCRIPT)
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
    use std::io::{Read, Write};
    use std::net::TcpStream;

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
        assert!(head.contains(&loopback::policy(SCRIPT, STYLE, true)), "{head}");
        for text in [STYLE, SCRIPT] {
            assert!(body.contains(text));
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
}
