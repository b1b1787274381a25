//! The proxy between small programs and small servers on the loopback device. Time limits are reached by telling another
//! time, not by waiting.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::task::Poll;
use std::thread;

use thimble_core::time::{Duration, Instant, earliest};

use super::Forwarder;
use crate::network::tests::tls::{Authority, Identity, accept, params};
use crate::network::tests::{FORGOTTEN, Server, read_request};
use crate::network::{HttpNetwork, NetworkConfig, Proxies};
use crate::testing::{TestLog, Waits, log, now, run};
use crate::wait::PollSet;

const TOKEN: &str = "aaaa.bbbb.cccc";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The proxy in a loop of its own, with the token of a server.
struct Bench {
    forwarder: Forwarder,
    token: String,
    server: String,
    /// The server gave the token.
    is_accepted: bool,
    log: std::rc::Rc<std::cell::RefCell<TestLog>>,
    /// Wakes the loop when the programs are done.
    wakes: Option<UnixStream>,
}

impl Waits for Bench {
    fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        self.forwarder.wants(set);
        if let Some(wakes) = &self.wakes {
            set.read(wakes);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.forwarder.deadline()
    }
}

impl Bench {
    fn new(server: &str) -> Self {
        Self::with(server, NetworkConfig::default())
    }

    fn with(server: &str, config: NetworkConfig) -> Self {
        let (lines, shared) = log();
        let connections = HttpNetwork::new(config, shared.clone()).unwrap().connections();
        let forwarder = Forwarder::new(connections, shared);
        Self {
            forwarder,
            token: TOKEN.into(),
            server: server.into(),
            is_accepted: true,
            log: lines,
            wakes: None,
        }
    }

    fn turn(&mut self, at: Instant) {
        let token = Some((self.token.as_str(), self.server.as_str())).filter(|_| self.is_accepted);
        self.forwarder.turn(at, token);
    }

    /// A program connects.
    fn connect(&mut self) -> TcpStream {
        let address = self.forwarder.url().unwrap().strip_prefix("http://").unwrap().to_owned();
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(FORGOTTEN)).unwrap();
        stream.set_write_timeout(Some(FORGOTTEN)).unwrap();
        stream
    }

    /// Serves while a program does this.
    fn during<T: Send + 'static>(&mut self, program: impl FnOnce() -> T + Send + 'static) -> T {
        let (wakes, mut waker) = UnixStream::pair().unwrap();
        self.wakes = Some(wakes);
        let program = thread::spawn(move || {
            let done = program();
            let _ = waker.write_all(b"x");
            done
        });
        run(self, |bench, at| {
            bench.turn(at);
            if program.is_finished() { Poll::Ready(()) } else { Poll::Pending }
        });
        self.wakes = None;
        program.join().unwrap()
    }

    /// What comes back of these bytes until the proxy closes.
    fn answer(&mut self, request: impl Into<Vec<u8>>) -> String {
        let (mut stream, request) = (self.connect(), request.into());
        self.during(move || {
            // The proxy may have seen enough.
            let _ = stream.write_all(&request);
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            String::from_utf8(answer).unwrap()
        })
    }

    /// Goes on until this holds.
    fn until(&mut self, mut holds: impl FnMut(&Self) -> bool) {
        run(self, |bench, at| {
            bench.turn(at);
            if holds(bench) { Poll::Ready(()) } else { Poll::Pending }
        });
    }

    /// Turns at this time until this holds: what the kernels have to move needs its time.
    #[track_caller]
    fn turns_at(&mut self, at: Instant, mut holds: impl FnMut(&Self) -> bool) {
        let end = now() + Duration::from_secs(FORGOTTEN.as_secs());
        while !holds(self) {
            assert!(now() < end, "{} connections", self.forwarder.sessions.len());
            self.turn(at);
        }
    }

    fn admitted(&self) -> usize {
        self.forwarder.sessions.iter().filter(|session| session.is_admitted()).count()
    }
}

/// A request with the token.
fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n\r\n")
}

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or(answer)
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap_or_default().1
}

/// Bytes up to an empty line.
fn read_head(stream: &mut impl Read) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

#[test]
fn r43_a_request_with_the_token_gets_to_the_path_of_its_server() {
    let server = Server::replying(vec![
        "HTTP/1.1 200 Fine\r\nX-A: b\r\nKeep-Alive: 5\r\nConnection: keep-alive, X-C\r\nX-C: d\r\nContent-Length: 2\r\n\r\nokGET",
    ]);
    let mut bench = Bench::new(&server.url("/tenant"));
    let answer = bench.answer(format!(
        "PUT /api/x?y=/../z HTTP/1.1\r\nHost: evil.example\r\nX-One: 1\r\nauthorization:bearer   {TOKEN} \r\n\
         Connection: X-Two, keep-alive\r\nX-Two: 2\r\nProxy-Authorization: Basic x\r\nContent-Length: 4\r\n\r\nbodyGET / HTTP/1.1\r\n\r\n"
    ));
    assert_eq!(answer, "HTTP/1.1 200 Fine\r\nX-A: b\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    let expected = format!(
        "PUT /tenant/api/x?y=/../z HTTP/1.1\r\nHost: {}\r\nX-One: 1\r\nauthorization: bearer   {TOKEN}\r\n\
         Content-Length: 4\r\nConnection: close\r\n\r\nbody",
        server.address
    );
    assert_eq!(server.request(), expected);
    bench.until(|bench| bench.forwarder.sessions.is_empty());
}

#[test]
fn r43_nobody_without_the_current_token_reaches_the_server() {
    let server = Server::replying(vec![OK]);
    let mut bench = Bench::new(&server.url(""));
    for authorization in [
        String::new(),
        "Authorization: Bearer\r\n".into(),
        "Authorization: Bearer \r\n".into(),
        "Authorization: Bearer aaaa.bbbb.cccd\r\n".into(),
        format!("Authorization: Bearer {TOKEN}x\r\n"),
        format!("Authorization: Bearer x{TOKEN}\r\n"),
        format!("Authorization: Basic {TOKEN}\r\n"),
        format!("Authorization: {TOKEN}\r\n"),
        format!("Authorization: Bearer x\r\nAuthorization: Bearer {TOKEN}\r\n"),
        format!("X-Authorization: Bearer {TOKEN}\r\n"),
    ] {
        let answer = bench.answer(format!("GET /a HTTP/1.1\r\nHost: a\r\n{authorization}\r\n"));
        assert!(
            answer.starts_with("HTTP/1.1 401 ") && answer.contains("WWW-Authenticate: Bearer\r\n"),
            "{answer}"
        );
        assert!(answer.contains("GetJwtToken"), "{answer}");
    }
    // A token that is not there is nobody's.
    bench.token = String::new();
    assert_eq!(status(&bench.answer("GET /a HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer \r\n\r\n")), "401");
    bench.token = TOKEN.into();
    // The only connection to the server is that of the good one.
    assert_eq!(body(&bench.answer(get("/good"))), "ok");
    assert!(server.request().starts_with("GET /good "));
    // A new token: whoever stole the old one has nothing.
    bench.token = "another".into();
    assert_eq!(status(&bench.answer(get("/stolen"))), "401");
    assert!(bench.log.borrow().0.iter().all(|line| !line.contains(TOKEN)), "{:?}", bench.log.borrow().0);
}

#[test]
fn r43_a_proxy_without_a_token_serves_nobody() {
    let mut bench = Bench::new("http://127.0.0.1:9");
    bench.is_accepted = false;
    assert_eq!(status(&bench.answer(get("/a"))), "401");
}

#[test]
fn bodies_pass_in_both_directions_in_every_form() {
    let big = "x".repeat(300_000);
    let length = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{big}", big.len());
    let chunks = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x};e\r\n{big}\r\n0\r\nT: r\r\n\r\n",
        big.len()
    );
    let close = format!("HTTP/1.1 200 OK\r\n\r\n{big}");
    for (reply, has_chunks) in [(length, false), (chunks, true), (close, false)] {
        let server = Server::replying(vec![reply.clone(), reply]);
        let mut bench = Bench::new(&server.url(""));
        let answer = bench.answer(get("/"));
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"));
        assert_eq!(answer.contains("\r\nTransfer-Encoding: chunked\r\n"), has_chunks);
        assert_eq!(body(&answer).matches('x').count(), big.len());
        assert_eq!(body(&answer).ends_with("\r\n0\r\n\r\n"), has_chunks);
        // HTTP/1.0 knows no chunks.
        let old = bench.answer(get("/").replace("HTTP/1.1", "HTTP/1.0"));
        assert!(body(&old) == big && !old.contains("chunked"));
    }
    // And to the server.
    let server = Server::start(2, |_, mut stream| {
        let head = read_head(&mut stream);
        let mut body = Vec::new();
        let end: &[u8] = if head.contains("chunked") { b"\r\n0\r\n\r\n" } else { b"yy" };
        let mut piece = [0; 5000];
        while !body.ends_with(end) {
            let read = stream.read(&mut piece).unwrap();
            assert!(read > 0, "cut");
            body.extend_from_slice(&piece[..read]);
        }
        stream.write_all(OK.as_bytes()).unwrap();
        format!("{head}{}", body.iter().filter(|byte| **byte == b'x').count())
    });
    let mut bench = Bench::new(&server.url(""));
    let head = get("/up").replace("GET", "POST").replace("\r\n\r\n", "\r\n");
    assert_eq!(body(&bench.answer(format!("{head}Content-Length: 300002\r\n\r\n{big}yy"))), "ok");
    assert!(server.request().ends_with("\r\n\r\n300000"));
    let chunked = format!(
        "{head}Transfer-Encoding: chunked\r\n\r\n{:x};e=f\r\n{big}\r\n0\r\nHost: b\r\n\r\n",
        big.len()
    );
    assert_eq!(body(&bench.answer(chunked)), "ok");
    let got = server.request();
    assert!(got.contains("\r\nTransfer-Encoding: chunked\r\n") && got.ends_with("300000"), "{got}");
}

#[test]
fn answers_without_a_body_end_with_their_head() {
    for (method, reply, expected) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "Content-Length: 5\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "Transfer-Encoding: chunked\r\n"),
        ("GET", "HTTP/1.1 204 No\r\n\r\n", ""),
        ("GET", "HTTP/1.1 304 No\r\nContent-Length: 5\r\n\r\n", "Content-Length: 5\r\n"),
        (
            "GET",
            "HTTP/1.1 302 Go\r\nLocation: https://other/\r\nContent-Length: 0\r\n\r\n",
            "Location: https://other/\r\nContent-Length: 0\r\n",
        ),
    ] {
        // The server keeps its connection open: nothing but the head says that this is all.
        let server = Server::start(1, move |_, mut stream| {
            let request = read_request(&mut stream);
            stream.write_all(reply.as_bytes()).unwrap();
            let _ = stream.read(&mut [0]);
            request
        });
        let mut bench = Bench::new(&server.url(""));
        let answer = bench.answer(get("/").replace("GET", method));
        let line = reply.lines().next().unwrap();
        assert_eq!(answer, format!("{line}\r\n{expected}Connection: close\r\n\r\n"), "{method} {reply:?}");
    }
}

#[test]
fn a_program_that_waits_for_100_gets_it() {
    let server = Server::start(1, |_, mut stream| {
        let head = read_head(&mut stream);
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        let mut body = [0; 4];
        stream.read_exact(&mut body).unwrap();
        stream.write_all(OK.as_bytes()).unwrap();
        head
    });
    let mut bench = Bench::new(&server.url(""));
    let mut stream = bench.connect();
    let (interim, answer) = bench.during(move || {
        let head = get("/").replace("\r\n\r\n", "\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let interim = read_head(&mut stream);
        stream.write_all(b"body").unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        (interim, rest)
    });
    assert_eq!((interim.as_str(), body(&answer)), ("HTTP/1.1 100 Continue\r\n\r\n", "ok"));
    assert!(server.request().contains("\r\nExpect: 100-continue\r\n"));
}

const UPGRADE: &str =
    "HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n";

/// A program's request for another protocol.
fn upgrade() -> String {
    get("/connect").replace(
        "\r\n\r\n",
        "\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n",
    )
}

/// Speaks another protocol, and echoes, each connection by itself; what ends with `!` is the end. Then what it was asked.
fn echoing(connections: usize) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, requests) = channel();
    thread::spawn(move || {
        for _ in 0..connections {
            let (stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(FORGOTTEN)).unwrap();
            let sender = sender.clone();
            thread::spawn(move || sender.send(echo(stream)));
        }
    });
    (url, requests)
}

fn echo(mut stream: TcpStream) -> String {
    let head = read_head(&mut stream);
    // The first bytes of the new protocol may come with the head.
    stream.write_all(format!("{UPGRADE}hello").as_bytes()).unwrap();
    let mut piece = [0; 3000];
    loop {
        match stream.read(&mut piece).unwrap_or(0) {
            0 => return format!("{head}eof"),
            read if piece[..read].ends_with(b"!") => {
                stream.write_all(b"bye").unwrap();
                return head;
            }
            read => stream.write_all(&piece[..read]).unwrap(),
        }
    }
}

#[test]
fn r43_an_upgrade_passes_any_bytes_and_outlives_its_token() {
    let (server, requests) = echoing(2);
    let mut bench = Bench::new(&server);
    let mut stream = bench.connect();
    let mut stream = bench.during(move || {
        stream.write_all(upgrade().as_bytes()).unwrap();
        assert_eq!(
            read_head(&mut stream),
            UPGRADE.replace(
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n",
                "Sec-WebSocket-Accept: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            )
        );
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).unwrap();
        assert_eq!(&hello, b"hello");
        stream
    });
    // Nothing holds memory or has a deadline while it is idle, for however long.
    assert_eq!(bench.forwarder.deadline(), None);
    bench.turn(now() + Duration::from_secs(1_000_000));
    assert_eq!(bench.admitted(), 1);
    bench.token = "another".into();
    let data: Vec<u8> = (0..1_000_000_u32).map(|n| 100 + (n % 97) as u8).collect();
    let mut writer = stream.try_clone().unwrap();
    let sent = data.clone();
    let (echoed, rest) = bench.during(move || {
        let writing = thread::spawn(move || writer.write_all(&sent).unwrap());
        let mut echoed = vec![0; 1_000_000];
        stream.read_exact(&mut echoed).unwrap();
        writing.join().unwrap();
        stream.write_all(b"end!").unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        (echoed, rest)
    });
    assert!(echoed == data && rest == "bye", "{rest}");
    let request = requests.recv_timeout(FORGOTTEN).unwrap();
    assert!(request.contains("\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"), "{request}");
    assert!(request.contains("\r\nSec-WebSocket-Key: k\r\n"), "{request}");
    bench.until(|bench| bench.forwarder.sessions.is_empty());
    // And when it is the program that goes.
    bench.token = TOKEN.into();
    let mut stream = bench.connect();
    bench.during(move || {
        stream.write_all(upgrade().as_bytes()).unwrap();
        read_head(&mut stream);
    });
    bench.until(|bench| bench.forwarder.sessions.is_empty());
    assert!(requests.recv_timeout(FORGOTTEN).unwrap().ends_with("eof"));
}

#[test]
fn a_protocol_that_nobody_asked_for_or_that_is_refused() {
    let server = Server::replying(vec![UPGRADE, "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"]);
    let mut bench = Bench::new(&server.url(""));
    let answer = bench.answer(get("/"));
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("not asked for"), "{answer}");
    assert_eq!(status(&bench.answer(upgrade())), "403");
    let with_body = upgrade().replace("\r\n\r\n", "\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!(status(&bench.answer(with_body)), "400");
}

#[test]
fn r43_more_than_allowed() {
    let (server, _requests) = echoing(8);
    let mut bench = Bench::new(&server);
    let mut streams: Vec<TcpStream> = Vec::new();
    for _ in 0..8 {
        let mut stream = bench.connect();
        streams.push(bench.during(move || {
            stream.write_all(upgrade().as_bytes()).unwrap();
            read_head(&mut stream);
            stream
        }));
    }
    assert_eq!(bench.admitted(), 8);
    let ninth = bench.answer(get("/"));
    assert!(ninth.starts_with("HTTP/1.1 503 ") && ninth.contains("try again later"), "{ninth}");
    // Those without a token push each other out, and nobody else.
    let (start, mut silent) = (now(), Vec::new());
    for number in 0..10 {
        let mut stream = bench.connect();
        stream.write_all(b"GET / HTTP/1.1\r\n").unwrap();
        silent.push(stream);
        bench.turns_at(start + Duration::from_millis(5 * number), |bench| {
            bench.forwarder.sessions.len() == 8 + 4.min(silent.len())
                && silent.iter().filter(|stream| is_closed(stream)).count() == silent.len().saturating_sub(4)
        });
    }
    assert_eq!(bench.admitted(), 8);
    for (number, stream) in silent.iter().enumerate() {
        assert_eq!(is_closed(stream), number < 6, "{number}");
    }
    // Each of the eight still works, and makes room with its end.
    for mut stream in streams {
        bench.during(move || {
            stream.write_all(b"hi").unwrap();
            let mut text = [0; 7];
            stream.read_exact(&mut text).unwrap();
            assert_eq!(&text, b"hellohi");
        });
    }
    bench.until(|bench| bench.admitted() == 0);
}

/// The proxy has closed this connection.
fn is_closed(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let end = stream.peek(&mut [0]);
    stream.set_nonblocking(false).unwrap();
    !matches!(end, Ok(1)) && !matches!(end, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

/// A program that has the token, and sends the head of its request in two pieces, beside many that have none.
#[test]
fn r43_a_head_in_two_pieces_gets_through_a_crowd_without_a_token() {
    // Its answer comes when the crowd was looked at: who has one makes room first.
    let (answers, may_answer) = channel();
    let server = Server::start(1, move |_, mut stream| {
        let head = read_head(&mut stream);
        may_answer.recv_timeout(FORGOTTEN).unwrap();
        stream.write_all(OK.as_bytes()).unwrap();
        head
    });
    let mut bench = Bench::new(&server.url(""));
    let start = now();
    let request = get("/two");
    let (first, second) = request.split_at(30);
    let mut stream = bench.connect();
    stream.write_all(first.as_bytes()).unwrap();
    let crowd: Vec<TcpStream> = (0..40).map(|_| bench.connect()).collect();
    // Four have a place; the others wait in the kernel's queue, and nobody looks at it.
    bench.turns_at(start, |bench| bench.forwarder.sessions.len() == 4);
    for _ in 0..20 {
        bench.turn(start + Duration::from_millis(4));
    }
    assert_eq!(bench.forwarder.deadline(), Some(start + super::KEEPS));
    assert!(!is_closed(&stream) && crowd.iter().all(|stream| !is_closed(stream)));
    stream.write_all(second.as_bytes()).unwrap();
    bench.turns_at(start + Duration::from_millis(4), |bench| bench.admitted() == 1);
    // Its place is free for the next of the others, and the places of the first three have an end.
    assert_eq!(bench.forwarder.sessions.len(), 5);
    bench.turns_at(start + super::KEEPS, |_| crowd.iter().filter(|stream| is_closed(stream)).count() == 3);
    answers.send(()).unwrap();
    let answer = bench.during(move || {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    assert_eq!(body(&answer), "ok");
    assert!(server.request().starts_with("GET /two "));
}

#[test]
fn r43_whoever_has_an_answer_makes_room_first() {
    let mut bench = Bench::new("http://127.0.0.1:9");
    let start = now();
    let silent: Vec<TcpStream> = (0..2).map(|_| bench.connect()).collect();
    bench.turns_at(start, |bench| bench.forwarder.sessions.len() == 2);
    let mut refused = bench.connect();
    refused.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let more: Vec<TcpStream> = (0..2).map(|_| bench.connect()).collect();
    let later = start + super::KEEPS;
    bench.turns_at(later, |bench| bench.forwarder.sessions.iter().any(super::Session::is_answered));
    bench.turns_at(later, |bench| bench.forwarder.sessions.len() == 4);
    bench.turn(later);
    assert!(read_head(&mut refused).starts_with("HTTP/1.1 401 "));
    // The two silent ones are older, and the last one waits nevertheless.
    let end = later + super::KEEPS;
    assert_eq!(bench.forwarder.deadline(), Some(end));
    bench.turns_at(end, |bench| !bench.forwarder.sessions.iter().any(super::Session::is_answered));
    assert!(silent.iter().chain(&more).all(|stream| !is_closed(stream)));
    assert_eq!(bench.forwarder.sessions.len(), 4);
}

#[test]
fn r43_a_head_has_ten_seconds_however_slowly_it_comes() {
    let mut bench = Bench::new("http://127.0.0.1:9");
    let mut stream = bench.connect();
    bench.until(|bench| bench.forwarder.sessions.len() == 1);
    let start = now();
    for (second, byte) in get("/").bytes().enumerate().take(9) {
        stream.write_all(&[byte]).unwrap();
        bench.turn(start + Duration::from_secs(second as u64));
    }
    assert!(bench.forwarder.deadline().unwrap() <= start + Duration::from_secs(10));
    bench.turn(start + Duration::from_secs(11));
    bench.turn(start + Duration::from_secs(11));
    assert!(read_head(&mut stream).starts_with("HTTP/1.1 408 "));
    // And is not waited for after that.
    bench.turn(start + Duration::from_secs(17));
    assert!(bench.forwarder.sessions.is_empty());
}

#[test]
fn r43_a_head_has_16_kib() {
    let mut bench = Bench::new("http://127.0.0.1:9");
    let long = get("/").replace("\r\n\r\n", &format!("\r\nX: {}\r\n\r\n", "y".repeat(16 * 1024)));
    assert_eq!(status(&bench.answer(long)), "431");
    assert_eq!(status(&bench.answer("G".repeat(100_000))), "431");
    let many = get("/").replace("\r\n\r\n", &format!("\r\n{}\r\n", "X: 1\r\n".repeat(101)));
    assert_eq!(status(&bench.answer(many)), "431");
}

#[test]
fn a_server_that_is_not_there_or_makes_no_sense() {
    for (reply, status_line) in [
        ("", "502"),
        ("nonsense\r\n\r\n", "502"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "502"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", "502"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx", "502"),
        ("HTTP/1.1 999 OK\r\n\r\n", "502"),
    ] {
        let server = Server::replying(vec![reply]);
        let mut bench = Bench::new(&server.url(""));
        let answer = bench.answer(get("/"));
        assert_eq!(status(&answer), status_line, "{reply:?}: {answer}");
        let lines = &bench.log.borrow().0;
        assert!(lines.iter().any(|line| line.contains("did not get through to the server")), "{lines:?}");
    }
    // A lost network: one warning, however often programs try.
    let mut bench = Bench::new("http://127.0.0.1:9");
    for _ in 0..3 {
        assert_eq!(status(&bench.answer(get("/"))), "502");
    }
    let warnings = bench.log.borrow().0.iter().filter(|line| line.starts_with("warning")).count();
    assert_eq!(warnings, 1, "{:?}", bench.log.borrow().0);
}

#[test]
fn r43_an_answer_that_is_cut_is_never_taken_for_a_whole_one() {
    for reply in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
    ] {
        for version in ["HTTP/1.1", "HTTP/1.0"] {
            let server = Server::replying(vec![reply]);
            let mut bench = Bench::new(&server.url(""));
            let mut stream = bench.connect();
            let end = bench.during(move || {
                stream.write_all(get("/").replace("HTTP/1.1", version).as_bytes()).unwrap();
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer).map(|_| answer)
            });
            let error = end.expect_err(reply);
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{reply:?}");
        }
    }
}

#[test]
fn an_early_answer_to_a_large_request_arrives() {
    let server = Server::start(1, |_, mut stream| {
        let head = read_head(&mut stream);
        stream.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno!").unwrap();
        head
    });
    let mut bench = Bench::new(&server.url(""));
    let head = get("/").replace("GET", "PUT").replace("\r\n\r\n", "\r\nContent-Length: 5000000\r\n\r\n");
    let mut stream = bench.connect();
    let answer = bench.during(move || {
        stream.write_all(head.as_bytes()).unwrap();
        let mut writer = stream.try_clone().unwrap();
        let writing = thread::spawn(move || {
            let _ = writer.write_all(&[b'x'; 5_000_000]);
            let _ = writer.shutdown(Shutdown::Write);
        });
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        drop(stream);
        writing.join().unwrap();
        answer
    });
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[test]
fn a_program_that_gives_up_makes_room_at_once() {
    let (asked, wait) = channel();
    let server = Server::start(1, move |_, mut stream| {
        let head = read_head(&mut stream);
        asked.send(()).unwrap();
        // No answer, until the proxy closes.
        let mut rest = String::new();
        let _ = stream.read_to_string(&mut rest);
        head + &rest
    });
    let mut bench = Bench::new(&server.url(""));
    let mut stream = bench.connect();
    stream.write_all(get("/slow").as_bytes()).unwrap();
    bench.during(move || wait.recv_timeout(FORGOTTEN).unwrap());
    assert_eq!(bench.admitted(), 1);
    drop(stream);
    bench.until(|bench| bench.forwarder.sessions.is_empty());
    assert!(server.request().starts_with("GET /slow "));
    assert!(
        bench.log.borrow().0.iter().all(|line| !line.starts_with("warning")),
        "{:?}",
        bench.log.borrow().0
    );
}

#[test]
fn a_program_that_never_reads_stops_its_server_and_ends() {
    let server = Server::start(1, |_, mut stream| {
        let head = read_head(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        stream.set_write_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        // Without end, until the proxy goes.
        while stream.write_all(&[0; 65536]).is_ok() {}
        head
    });
    let mut bench = Bench::new(&server.url(""));
    let mut stream = bench.connect();
    stream.write_all(get("/").as_bytes()).unwrap();
    // The kernels' buffers are full: the program's descriptor is all that is waited for.
    let mut quiet = 0;
    while quiet < 20 {
        bench.turn(now());
        let mut set = PollSet::new();
        bench.forwarder.wants(&mut set);
        let until = earliest(Some(now() + Duration::from_millis(20)), None);
        let ready = set.wait_ready(now(), until.unwrap()).unwrap();
        quiet = if ready { 0 } else { quiet + 1 };
    }
    assert_eq!(bench.admitted(), 1);
    // What a slow machine's kernel still moves puts the end off, and is bounded as its buffers are.
    let mut turns = 0;
    while bench.admitted() > 0 {
        let until = bench.forwarder.deadline().unwrap();
        assert!(until <= now() + Duration::from_secs(300 * (turns + 1)), "no end");
        bench.turn(until);
        turns += 1;
        assert!(turns < 1000, "bytes that nobody reads put the end off without an end");
    }
    assert!(server.request().starts_with("GET / "));
}

/// A server behind TLS that answers one request; `clients`: those of this authority alone.
fn tls(identity: &Identity, clients: Option<&Authority>) -> Server {
    let config = Arc::new(identity.server_with(rustls::DEFAULT_VERSIONS, clients));
    Server::start(1, move |_, stream| {
        let mut tls = accept(&config, stream);
        if tls.conn.complete_io(&mut tls.sock).is_err() {
            return "no handshake".to_owned();
        }
        let request = read_request(&mut tls);
        let _ = tls.write_all(OK.as_bytes());
        tls.conn.send_close_notify();
        let _ = tls.flush();
        request
    })
}

fn through_tls(identity: &Identity, clients: Option<&Authority>, config: NetworkConfig) -> String {
    let server = tls(identity, clients);
    let mut bench = Bench::with(&format!("https://{}", server.address), config);
    bench.answer(get("/tls"))
}

#[test]
fn r43_certificates_are_those_of_the_client() {
    let authority = Authority::new();
    let identity = authority.issue(&params(&["127.0.0.1"]));
    assert_eq!(body(&through_tls(&identity, None, authority.config())), "ok");
    // Nobody else's authority, nobody else's name.
    let stranger = Authority::new().issue(&params(&["127.0.0.1"]));
    for bad in [stranger, authority.issue(&params(&["other.example"]))] {
        let answer = through_tls(&bad, None, authority.config());
        assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("certificate"), "{answer}");
        // SkipVerify is meant for that.
        let skip = NetworkConfig { skip_verify: true, ..NetworkConfig::default() };
        assert_eq!(body(&through_tls(&bad, None, skip)), "ok");
    }
    // The client's own certificate is shown.
    let ours = authority.issue(&params(&["device"]));
    let config = NetworkConfig {
        client_certificate: Some(authority.write("device.crt", &ours.certificate_pem)),
        client_key: Some(authority.write("device.key", &ours.key_pem)),
        ..authority.config()
    };
    assert_eq!(body(&through_tls(&identity, Some(&authority), config)), "ok");
    let answer = through_tls(&identity, Some(&authority), authority.config());
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
}

/// The server speaks another protocol over TLS, and sends back what it gets; a piece at a time, so that both directions
/// are full at times.
#[test]
fn r43_an_upgrade_over_tls_passes_any_bytes() {
    let authority = Authority::new();
    let config = Arc::new(authority.issue(&params(&["127.0.0.1"])).server());
    let server = Server::start(1, move |_, stream| {
        let mut tls = accept(&config, stream);
        let head = read_head(&mut tls);
        tls.write_all(UPGRADE.as_bytes()).unwrap();
        let mut piece = [0; 3000];
        loop {
            match tls.read(&mut piece).unwrap_or(0) {
                0 => return head,
                read => tls.write_all(&piece[..read]).unwrap(),
            }
        }
    });
    let mut bench = Bench::with(&format!("https://{}", server.address), authority.config());
    let mut stream = bench.connect();
    let data: Vec<u8> = (0..2_000_000_u32).map(|n| (n % 251) as u8).collect();
    let sent = data.clone();
    let echoed = bench.during(move || {
        stream.write_all(upgrade().as_bytes()).unwrap();
        assert!(read_head(&mut stream).starts_with("HTTP/1.1 101 "));
        let mut writer = stream.try_clone().unwrap();
        let writing = thread::spawn(move || writer.write_all(&sent).unwrap());
        let mut echoed = vec![0; 2_000_000];
        stream.read_exact(&mut echoed).unwrap();
        writing.join().unwrap();
        echoed
    });
    assert!(echoed == data);
    bench.until(|bench| bench.forwarder.sessions.is_empty());
    assert!(server.request().starts_with("GET /connect "));
}

#[test]
fn r43_a_port_that_cannot_be_had_is_said_once_and_tried_again() {
    let mut bench = Bench::new("http://127.0.0.1:9");
    bench.forwarder.listen = || Err(std::io::ErrorKind::AddrNotAvailable.into());
    assert!(bench.forwarder.url().is_none() && bench.forwarder.url().is_none());
    bench.turn(now());
    let lines = bench.log.borrow().0.clone();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].starts_with("warning: no proxy") && lines[0].contains("the server's own URL"),
        "{lines:?}"
    );
    bench.forwarder.listen = super::listen;
    assert_eq!(status(&bench.answer("GET / HTTP/1.1\r\nHost: a\r\n\r\n")), "401");
}

#[test]
fn r43_requests_go_through_the_proxy_of_the_environment() {
    let proxy = Server::replying(vec![OK, "HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n"]);
    let variable = format!("http://user:word@{}", proxy.address);
    let proxies = Proxies::from_env(|name| (name == "http_proxy").then(|| variable.clone().into()));
    let mut bench =
        Bench::with("http://server.example/base", NetworkConfig { proxies, ..NetworkConfig::default() });
    assert_eq!(body(&bench.answer(get("/x?y"))), "ok");
    let expected = "GET http://server.example/base/x?y HTTP/1.1\r\nHost: server.example\r\nProxy-Authorization: Basic dXNlcjp3b3Jk\r\n";
    let request = proxy.request();
    assert!(request.starts_with(expected), "{request}");
    let answer = bench.answer(get("/x"));
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("http_proxy"), "{answer}");
}
