//! HTTP over streams in memory, which give and take as little as a stream may, and end anywhere.

use std::borrow::ToOwned;
use std::collections::VecDeque;
use std::format;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use core::convert::Infallible;
use core::task::Poll;

use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write, WriteReady};

use super::{Connect, Error, Http};
use crate::hal::{Error as _, Kind, Network};
use crate::http::exchange::{Limits, Stage};
use crate::http::fault::{Activity, Fault, HeadFault, RedirectFault, RequestFault, UrlFault};
use crate::http::url::Authority;
use crate::http::write::Relay;
use crate::http::{Authorization, Head, Method, Request, Target};
use crate::time::{Duration, Instant};

/// How a stream ends behind its last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The peer said so.
    Proper,
    /// It did not.
    CutOff,
    /// It does not: the peer is silent.
    Never,
}

/// One connection: what the peer says, and what it was told.
#[derive(Clone, Debug)]
struct Wire {
    answer: Vec<u8>,
    end: End,
    /// Bytes of the first read, if they are fewer than asked for.
    first: Option<usize>,
    /// Then one byte at a time.
    drips: bool,
    /// The peer says nothing before it was told something that ends like this.
    waits_for: &'static str,
    /// Bytes that the peer takes.
    takes: usize,
    told: Vec<u8>,
    /// Every other question whether it is ready is answered with no.
    is_ready: bool,
}

impl Wire {
    fn new(answer: impl AsRef<[u8]>) -> Self {
        Self {
            answer: answer.as_ref().to_vec(),
            end: End::Proper,
            first: None,
            drips: false,
            waits_for: "",
            takes: usize::MAX,
            told: Vec::new(),
            is_ready: true,
        }
    }

    fn blink(&mut self) -> bool {
        self.is_ready = !self.is_ready;
        self.is_ready
    }
}

impl ErrorType for Wire {
    type Error = ErrorKind;
}

impl ReadReady for Wire {
    fn read_ready(&mut self) -> Result<bool, ErrorKind> {
        let is_silent = self.answer.is_empty() && self.end == End::Never;
        Ok(!is_silent && self.told.ends_with(self.waits_for.as_bytes()) && self.blink())
    }
}

impl Read for Wire {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        assert!(!buf.is_empty(), "a read of nothing looks like an end");
        if self.answer.is_empty() {
            return match self.end {
                End::Proper => Ok(0),
                End::CutOff => Err(ErrorKind::ConnectionAborted),
                End::Never => panic!("it was not ready"),
            };
        }
        let most = self.first.take().unwrap_or(if self.drips { 1 } else { usize::MAX });
        let length = most.max(1).min(buf.len()).min(self.answer.len());
        buf[..length].copy_from_slice(&self.answer[..length]);
        self.answer.drain(..length);
        Ok(length)
    }
}

impl WriteReady for Wire {
    fn write_ready(&mut self) -> Result<bool, ErrorKind> {
        Ok(self.told.len() < self.takes && self.blink())
    }
}

impl Write for Wire {
    /// One byte at a time.
    fn write(&mut self, buf: &[u8]) -> Result<usize, ErrorKind> {
        self.told.push(buf[0]);
        Ok(1)
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

/// The connections that will be opened, in their order, and where the open ones led.
#[derive(Clone, Debug, Default)]
struct World {
    to_come: VecDeque<Wire>,
    open: Option<Wire>,
    closed: Vec<Wire>,
    asked: Vec<String>,
    has_proxy: bool,
}

impl World {
    fn of(wires: impl IntoIterator<Item = Wire>) -> Self {
        Self { to_come: wires.into_iter().collect(), ..Self::default() }
    }

    /// What was said on the connection of this number.
    fn told(&self, index: usize) -> &str {
        let wire = self.closed.iter().chain(&self.open).nth(index).unwrap();
        str::from_utf8(&wire.told).unwrap()
    }
}

impl Connect for World {
    type Stream = Wire;
    type Error = Infallible;

    fn open(&mut self, _: Instant, server: &Authority<'_>, is_https: bool) -> Result<(), Infallible> {
        self.close();
        self.asked.push(format!("{}{server}", if is_https { "tls " } else { "" }));
        self.open = self.to_come.pop_front();
        Ok(())
    }

    fn poll(&mut self, _: Instant) -> Poll<Result<(), Infallible>> {
        if self.open.is_some() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn stream(&mut self) -> Option<&mut Wire> {
        self.open.as_mut()
    }

    fn close(&mut self) {
        self.closed.extend(self.open.take());
    }

    fn relay(&self, _: &Authority<'_>) -> Option<Relay<'_>> {
        self.has_proxy.then_some(Relay { authorization: Some("Basic dTpw") })
    }
}

type Failure = Error<Infallible, ErrorKind>;

/// Of a size that no test needs more of.
const MEMORY: usize = 1024;

fn get(url: &str) -> Request<'_> {
    Request {
        method: Method::Get,
        target: Target::Url(url),
        authorization: None,
        signature: None,
        body: None,
        offset: 0,
        etag: None,
    }
}

fn http(wires: impl IntoIterator<Item = Wire>) -> Http<World, [u8; MEMORY]> {
    Http::new(World::of(wires), [0; MEMORY], Limits::default())
}

/// Polls until ready. What waits is asked again, and after so many times it hangs.
fn run<T>(mut poll: impl FnMut() -> Poll<T>) -> T {
    for _ in 0..10_000 {
        if let Poll::Ready(value) = poll() {
            return value;
        }
    }
    panic!("it hangs");
}

/// The head and the body of an answer, read in pieces of an odd size.
fn fetch(
    http: &mut impl Network<Error = Failure>,
    request: &Request<'_>,
) -> Result<(Head, Vec<u8>), Failure> {
    http.start(Instant::ZERO, request)?;
    let head = run(|| http.poll_head(Instant::ZERO))?;
    let (mut body, mut piece) = (Vec::new(), [0; 3]);
    loop {
        match run(|| http.poll_read(Instant::ZERO, &mut piece))? {
            0 => return Ok((head, body)),
            read => body.extend_from_slice(&piece[..read]),
        }
    }
}

/// Answers, the body in each, and whether it ends with the connection.
const ANSWERS: [(&str, &str, bool); 7] = [
    ("HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 5\r\n\r\nhello", "hello", false),
    ("HTTP/1.1 206 OK\r\nContent-Length: 0\r\n\r\n", "", false),
    ("HTTP/1.1 204 No Content\r\n\r\n", "", false),
    (
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab",
        "ab",
        false,
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n00b;x=\"y\"\r\nhello world\r\n0\r\nT: u\r\n\r\n",
        "abchello world",
        false,
    ),
    ("HTTP/1.1 200 OK\r\n\r\nuntil the end", "until the end", true),
    ("HTTP/1.0 404 Not Found\r\nConnection: close\r\n\r\nno", "no", true),
];

#[test]
fn an_answer_is_the_same_in_whatever_pieces_it_comes() {
    for (answer, expected, _) in ANSWERS {
        for first in 1..=answer.len() {
            for drips in [false, true] {
                let mut http = http([Wire { first: Some(first), drips, ..Wire::new(answer) }]);
                let (head, body) = fetch(&mut http, &get("http://h/")).unwrap();
                assert_eq!(str::from_utf8(&body), Ok(expected), "{answer} {first} {drips}");
                assert_eq!(http.etag(), answer.contains("ETag").then_some("\"e\""), "{}", head.status);
                assert!(http.connector().open.is_none() && http.deadline().is_none());
                // Complete once and for all (N6).
                assert_eq!(http.poll_read(Instant::ZERO, &mut [0; 3]), Poll::Ready(Ok(0)));
            }
        }
    }
}

#[test]
fn an_answer_that_ends_early_is_a_broken_connection_wherever_it_ends() {
    for (answer, expected, until_end) in ANSWERS {
        let whole = answer.len();
        let head = answer.rfind("\r\n\r\n").map_or(0, |at| at + 4);
        for length in 0..=whole {
            for end in [End::Proper, End::CutOff] {
                for is_download in [true, false] {
                    let token = (!is_download).then_some("t");
                    let mut http = http([Wire { end, ..Wire::new(&answer[..length]) }]);
                    let result = fetch(
                        &mut http,
                        &Request { authorization: token.map(Authorization::Bearer), ..get("http://h/") },
                    );
                    let case = format!("{length} bytes of {answer}, then {end:?}, {is_download}: {result:?}");
                    // what ends with the connection may be cut off if it says itself whether it is complete.
                    let may_end = until_end && length >= head && (end == End::Proper || is_download);
                    if length == whole && (!until_end || may_end) {
                        assert_eq!(str::from_utf8(&result.unwrap().1), Ok(expected), "{case}");
                    } else if may_end {
                        assert_eq!(result.unwrap().1, &answer.as_bytes()[head..length], "{case}");
                    } else {
                        assert_eq!(result.map(|_| ()).unwrap_err().kind(), Kind::Connection, "{case}");
                        assert_eq!(http.exchange().stage(), Stage::Idle, "{case}");
                        assert!(http.connector().open.is_none(), "{case}");
                    }
                }
            }
        }
    }
}

#[test]
fn redirects_lead_from_host_to_host_and_bytes_of_one_never_reach_the_next() {
    let to = |location: &str| Wire {
        drips: true,
        ..Wire::new(format!("HTTP/1.1 302 X\r\nLocation: {location}\r\n\r\nHTTP/1.1 200"))
    };
    let last = Wire::new("HTTP/1.1 206 X\r\nContent-Range: bytes 5-5/6\r\nContent-Length: 1\r\n\r\nx");
    let mut http = http([to("/b?c"), to("d"), to("https://other.example:8443/e"), last.clone()]);
    let call = Request { offset: 5, etag: Some("\"e\""), ..get("http://h/a/a") };
    let (head, body) = fetch(&mut http, &call).unwrap();
    assert_eq!((head.status, &body[..]), (206, &b"x"[..]));
    let world = http.connector();
    assert_eq!(world.asked, ["h:80", "h:80", "h:80", "tls other.example:8443"]);
    for (index, line) in ["GET /a/a ", "GET /b?c ", "GET /d ", "GET /e "].into_iter().enumerate() {
        let told = world.told(index);
        assert!(
            told.starts_with(line) && told.contains("\r\nRange: bytes=5-\r\nIf-Range: \"e\"\r\n"),
            "{told}"
        );
    }
    assert_eq!(http.peer().unwrap().to_string(), "other.example:8443");

    let failure = |wires: Vec<Wire>, url: &str| fetch(&mut self::http(wires), &get(url)).unwrap_err();
    let four = vec![to("/"), to("/"), to("/"), to("/")];
    assert_eq!(failure(four, "http://h/"), Error::Fault(Fault::Redirect(RedirectFault::TooMany(3))));
    let down = failure(vec![to("http://h/")], "https://h/");
    assert_eq!(down, Error::Fault(Fault::Redirect(RedirectFault::Downgrade)));
    let no_url = failure(vec![to("ftp://h/")], "https://h/");
    assert_eq!(no_url, Error::Fault(Fault::Redirect(RedirectFault::Url(UrlFault::Scheme))));
}

#[test]
fn who_redirected_to_nowhere_is_still_named() {
    for location in ["ftp://other/", "http://u@other/", "http://other/"] {
        let mut http = http([Wire::new(format!("HTTP/1.1 302 X\r\nLocation: {location}\r\n\r\n"))]);
        fetch(&mut http, &get("https://h:8443/a")).unwrap_err();
        assert_eq!(http.peer().unwrap().to_string(), "h:8443");
    }
}

#[test]
fn a_call_with_a_token_is_not_redirected_and_its_token_is_forgotten() {
    let answer = "HTTP/1.1 302 X\r\nLocation: http://other/\r\nContent-Length: 0\r\n\r\n";
    let mut memory = [0; MEMORY];
    let mut http = Http::new(World::of([Wire::new(answer)]), &mut memory, Limits::default());
    let token = "secret".repeat(80);
    let (head, _) =
        fetch(&mut http, &Request { authorization: Some(Authorization::Bearer(&token)), ..get("http://h/") })
            .unwrap();
    assert_eq!(head.status, 302);
    assert_eq!(http.connector().asked, ["h:80"]);
    assert!(http.connector().told(0).contains(&token));
    drop(http);
    assert!(!memory.windows(6).any(|part| part == b"secret"));
}

#[test]
fn a_body_goes_out_from_the_callers_memory() {
    let body = b"0123456789";
    let call = Request {
        method: Method::Put,
        authorization: Some(Authorization::Bearer("t")),
        body: Some(10),
        ..get("http://h/")
    };
    let answer = Wire::new("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let mut http = http([Wire { waits_for: "\r\n\r\n0123456789", ..answer }]);
    http.start(Instant::ZERO, &call).unwrap();
    let mut rest = &body[..];
    while !rest.is_empty() {
        let taken = run(|| http.poll_send(Instant::ZERO, rest)).unwrap();
        assert!(taken > 0, "all of it is wanted");
        rest = &rest[taken..];
    }
    assert_eq!(run(|| http.poll_head(Instant::ZERO)).unwrap().status, 200);
    let told = http.connector().told(0);
    assert!(told.contains("\r\nContent-Length: 10\r\n") && told.ends_with("\r\n\r\n0123456789"), "{told}");
}

#[test]
fn n12_an_answer_before_the_whole_body_was_sent_counts() {
    let answer = Wire::new("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig");
    let call = Request {
        method: Method::Put,
        authorization: Some(Authorization::Bearer("t")),
        body: Some(1000),
        ..get("http://h/")
    };
    // The peer takes the head and a part of the body.
    let mut http = http([Wire { takes: 500, drips: true, ..answer }]);
    http.start(Instant::ZERO, &call).unwrap();
    let body = [b'x'; 1000];
    let mut sent = 0;
    loop {
        match run(|| http.poll_send(Instant::ZERO, &body[sent..])).unwrap() {
            0 => break,
            taken => sent += taken,
        }
    }
    assert!((1..500).contains(&sent), "{sent}");
    assert_eq!(run(|| http.poll_head(Instant::ZERO)).unwrap().status, 413);
}

#[test]
fn every_stage_has_its_time() {
    let limits = Limits::default();
    let silent = || Wire { end: End::Never, ..Wire::new("") };
    let deaf = || Wire { takes: 0, ..silent() };
    let stalling = || Wire { end: End::Never, ..Wire::new("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n") };
    for (wire, activity, limit) in [
        (None, Activity::Open, limits.open),
        (Some(deaf()), Activity::Send, limits.write),
        (Some(silent()), Activity::Head, limits.head),
        (Some(stalling()), Activity::Body, limits.body_idle),
    ] {
        let mut http = http(wire);
        http.start(Instant::ZERO, &get("http://h/")).unwrap();
        let mut poll = |at| match http.exchange().stage() {
            Stage::Body => http.poll_read(at, &mut [0; 9]).map_ok(|_| ()),
            Stage::Idle | Stage::Open | Stage::Send | Stage::Head => http.poll_head(at).map_ok(|_| ()),
        };
        for _ in 0..1000 {
            assert!(!matches!(poll(Instant::ZERO), Poll::Ready(Err(_))));
        }
        assert!(poll(Instant::ZERO + limit - Duration::from_millis(1)).is_pending(), "{activity:?}");
        let late = poll(Instant::ZERO + limit);
        assert_eq!(late, Poll::Ready(Err(Error::Fault(Fault::TimedOut(activity)))));
        assert_eq!((http.deadline(), http.connector().open.is_none()), (None, true));
    }
}

#[test]
fn a_plain_request_goes_through_a_proxy_as_it_is() {
    let through = |answer: &str, url: &str| {
        let world = World { has_proxy: true, ..World::of([Wire::new(answer)]) };
        let mut http = Http::new(world, [0; MEMORY], Limits::default());
        let result = fetch(&mut http, &get(url)).map(|(head, _)| head.status);
        (result, http.connector().told(0).to_owned())
    };
    let (status, told) = through("HTTP/1.1 204 X\r\n\r\n", "http://h/p?q");
    assert!(
        told.starts_with("GET http://h/p?q HTTP/1.1\r\nHost: h\r\nProxy-Authorization: Basic dTpw\r\n"),
        "{told}"
    );
    assert_eq!(status, Ok(204));
    let refused = "HTTP/1.1 407 Who\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(through(refused, "http://h/").0, Err(Error::Fault(Fault::ProxyUser)));
    // Behind a tunnel it is the server that speaks.
    let (status, told) = through(refused, "https://h/p");
    assert!(told.starts_with("GET /p HTTP/1.1\r\nHost: h\r\nUser-Agent"), "{told}");
    assert_eq!(status, Ok(407));
}

#[test]
fn whatever_memory_is_lent_is_enough_or_named() {
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 1\r\n\r\nx", "y".repeat(300));
    let wires = || [Wire::new("HTTP/1.1 302 X\r\nLocation: /elsewhere\r\n\r\n"), Wire::new(&long)];
    let mut is_enough = false;
    for length in 0..600 {
        let mut memory = vec![0; length];
        let mut http = Http::new(World::of(wires()), &mut memory[..], Limits::default());
        match fetch(&mut http, &get("http://h/somewhere")) {
            Ok((_, body)) => {
                assert_eq!(body, b"x");
                is_enough = true;
            }
            Err(error) => {
                assert!(!is_enough, "{length} bytes are not enough, and fewer were: {error}");
                let Error::Fault(fault) = error else { panic!("{error}") };
                let (Fault::Url(UrlFault::TooLong(limit))
                | Fault::Redirect(RedirectFault::Url(UrlFault::TooLong(limit)))
                | Fault::Request(RequestFault::TooLong(limit))
                | Fault::Head(HeadFault::TooLarge(limit))) = fault
                else {
                    panic!("{fault}")
                };
                assert!(limit <= length, "{length} bytes are lent: {fault}");
            }
        }
    }
    assert!(is_enough);
}

#[test]
fn n27_a_head_is_at_most_as_long_as_the_limit_says() {
    let limits = Limits { head_bytes: 100, ..Limits::default() };
    let fetch = |answer: String| {
        let mut http = Http::new(World::of([Wire::new(answer)]), [0; MEMORY], limits);
        fetch(&mut http, &get("http://h/")).map(|(head, _)| head.status)
    };
    let head = |length: usize| {
        let frame = "HTTP/1.1 204 OK\r\nX: \r\n\r\n".len();
        format!("HTTP/1.1 204 OK\r\nX: {}\r\n\r\n", "y".repeat(length - frame))
    };
    assert_eq!(fetch(head(100)), Ok(204));
    let too_large = Err(Error::Fault(Fault::Head(HeadFault::TooLarge(100))));
    assert_eq!(fetch(head(101)), too_large);
    // Interim answers count as well.
    let interim = "HTTP/1.1 100 Continue\r\n\r\n";
    assert_eq!(fetch(format!("{interim}{}", head(75))), Ok(204));
    assert_eq!(fetch(format!("{interim}{}", head(76))), too_large);
    assert_eq!(fetch(interim.repeat(5)), too_large);
}

#[test]
fn what_makes_no_sense_ends_the_request() {
    // Answers with one byte changed, each to a few others.
    for (answer, ..) in ANSWERS {
        for at in 0..answer.len() {
            for byte in [0, b'\n', b'\r', b' ', b':', b'0', b'9', b'f', b'z', 0x7f, 0xff] {
                let mut bytes = answer.as_bytes().to_vec();
                bytes[at] = byte;
                let mut http = http([Wire { drips: true, ..Wire::new(bytes) }]);
                match fetch(&mut http, &get("http://h/")) {
                    Ok((head, body)) => assert!((200..600).contains(&head.status) && body.len() < 100),
                    Err(error) => {
                        assert!(matches!(error.kind(), Kind::Corrupt | Kind::Connection), "{error}");
                        assert_eq!(http.exchange().stage(), Stage::Idle);
                    }
                }
            }
        }
    }
}

#[test]
fn a_file_or_nothing_is_no_request() {
    let mut http = http([]);
    let file = Request { target: Target::File("/a"), ..get("") };
    assert_eq!(http.start(Instant::ZERO, &file).unwrap_err().kind(), Kind::Refused);
    let idle = Poll::Ready(Err(Error::Fault(Fault::Idle)));
    assert_eq!(http.poll_read(Instant::ZERO, &mut [0]), idle);
    assert_eq!(http.poll_send(Instant::ZERO, b"x"), idle);
    assert_eq!(http.poll_head(Instant::ZERO), Poll::Ready(Err(Error::Fault(Fault::Idle))));
    assert!(http.connector().asked.is_empty());
}
