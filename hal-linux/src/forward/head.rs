//! Heads of requests from programs on this device and of the server's answers: read, judged, and written anew.
//!
//! A head that two readers could understand differently is refused, and nothing of its form is passed on: every line is
//! written again, what holds for one connection alone (RFC 9110, 7.6.1) is left out, and how the body ends is said once.

use std::io::Write as _;

use httparse::{Header, Status};
use subtle::ConstantTimeEq as _;
use thimble_core::http::body::Framing;
use thimble_core::http::url::Url;
use thimble_core::http::write::Relay;

/// Longest head in bytes, of a request and of an answer with all interim answers before it (N27).
pub(super) const HEAD: usize = 16 * 1024;

/// Most headers of one head.
const HEADERS: usize = 100;

/// Headers that concern one connection, beside those that `Connection` names.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Where requests go, and which of them.
#[derive(Clone, Copy)]
pub(super) struct Origin<'a> {
    /// The token that a request must have.
    pub(super) token: &'a str,
    /// The server's URL; its path is put before that of each request.
    pub(super) server: &'a str,
}

/// What the client remembers of a request until its answer is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    /// The answer to `HEAD` has no body, whatever its head says.
    pub(super) is_head: bool,
    /// HTTP/1.0: neither chunks nor interim answers are understood.
    pub(super) is_old: bool,
    /// The answer may change the protocol.
    pub(super) upgrades: bool,
}

/// A request that may be passed on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// Bytes of its head as it came.
    pub(super) length: usize,
    pub(super) kind: Kind,
    /// How its body ends; never by the end of the connection.
    pub(super) framing: Framing,
    /// Its head as the server gets it.
    pub(super) head: Vec<u8>,
}

/// Why a request is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No head that everybody understands in the same way.
    Syntax,
    /// Its length is missing, given twice or no number, or its body is coded in an unknown way.
    Length,
    /// What it asks for is no path on the server.
    Target,
    /// No host or several.
    Host,
    /// It wants another protocol, and has a body.
    Upgrade,
    TooLong,
    TooLongTarget,
    /// No token, or not the one that the client has now.
    Token,
    TooSlow,
    TooMany,
    /// The server cannot be reached, or its answer makes no sense.
    Server,
    ServerTooSlow,
}

/// What a server's answer begins with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// More bytes are needed.
    Partial,
    /// An interim answer of so many bytes; another one follows. Empty where the program does not understand it.
    Interim(usize, Vec<u8>),
    /// From here on both sides speak another protocol.
    Upgraded(usize, Vec<u8>),
    /// The head's length, as the program gets it, and how its body ends.
    Final(usize, Vec<u8>, Framing),
}

/// Why an answer is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadAnswer {
    Syntax,
    TooLong,
    Length,
    Upgrade,
    ProxyUser,
}

impl BadAnswer {
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Syntax => "its answer is not HTTP/1.1",
            Self::TooLong => "the head of its answer is longer than 16 KiB or 100 lines",
            Self::Length => "the length of its answer is not clear",
            Self::Upgrade => "its answer changes to a protocol that was not asked for",
            Self::ProxyUser => "the proxy on the way wants a user name and a password (http_proxy)",
        }
    }
}

impl Refusal {
    /// The status, and what it is about.
    pub(super) const fn words(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::Syntax => (400, "Bad Request", "this is no head of a request of HTTP/1.1 or HTTP/1.0"),
            Self::Length => (400, "Bad Request", "the length of the request is not clear"),
            Self::Target => {
                (400, "Bad Request", "ask for an absolute path on the server, without dots as parts of it")
            }
            Self::Host => (400, "Bad Request", "the request must name one host"),
            Self::Upgrade => (400, "Bad Request", "a request for another protocol has no body"),
            Self::TooLong => (
                431,
                "Request Header Fields Too Large",
                "the head of a request has at most 16 KiB and 100 lines",
            ),
            Self::TooLongTarget => (414, "URI Too Long", "the URL of the request is too long"),
            Self::Token => (
                401,
                "Unauthorized",
                "the request needs the device's current token: call GetJwtToken or FetchJwtToken on D-Bus",
            ),
            Self::TooSlow => {
                (408, "Request Timeout", "the head of the request did not come within 10 seconds")
            }
            Self::TooMany => (503, "Service Unavailable", "too many requests are under way: try again later"),
            Self::Server => {
                (502, "Bad Gateway", "the server cannot be reached, or its answer makes no sense")
            }
            Self::ServerTooSlow => (504, "Gateway Timeout", "the server does not answer"),
        }
    }

    /// The answer to the program, with `more` about it. Without a body for `HEAD`.
    pub(super) fn answer(self, more: &str, is_head: bool) -> Vec<u8> {
        let (status, reason, text) = self.words();
        let text = if more.is_empty() { format!("{text}\n") } else { format!("{text}: {more}\n") };
        let mut out = Vec::new();
        let _ = write!(
            out,
            "HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n",
            text.len()
        );
        if self == Self::Token {
            out.extend_from_slice(b"WWW-Authenticate: Bearer\r\n");
        }
        out.extend_from_slice(b"Connection: close\r\n\r\n");
        if !is_head {
            out.extend_from_slice(text.as_bytes());
        }
        out
    }
}

/// Reads the head that `bytes` begins with; `None`: it is not complete. `relay` as [`thimble_core::network::Connect`]
/// says it of the server.
pub(super) fn request(
    bytes: &[u8],
    origin: Option<Origin<'_>>,
    relay: impl FnOnce(&Url<'_>) -> Option<Vec<u8>>,
) -> Result<Option<Asked>, Refusal> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
    let head = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
    if !ends_lines_properly(head) {
        return Err(Refusal::Syntax);
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let status = request.parse(head).map_err(|error| match error {
        httparse::Error::TooManyHeaders => Refusal::TooLong,
        httparse::Error::HeaderName
        | httparse::Error::HeaderValue
        | httparse::Error::NewLine
        | httparse::Error::Status
        | httparse::Error::Token
        | httparse::Error::Version => Refusal::Syntax,
    })?;
    let Some(length) = end else {
        return if bytes.len() < HEAD { Ok(None) } else { Err(Refusal::TooLong) };
    };
    let (Status::Complete(parsed), Some(method), Some(target), Some(minor)) =
        (status, request.method, request.path, request.version)
    else {
        return Err(Refusal::Syntax);
    };
    // Also refuses empty lines in front.
    if parsed != length || length > HEAD || !head.starts_with(method.as_bytes()) {
        return Err(if length > HEAD { Refusal::TooLong } else { Refusal::Syntax });
    }
    let headers = &*request.headers;
    let origin = origin.filter(|origin| has_token(headers, origin.token)).ok_or(Refusal::Token)?;
    let is_old = minor == 0;
    let mut hosts = values(headers, "host");
    match (hosts.next(), hosts.next()) {
        (Some(_), None) => {}
        (None, None) if is_old => {}
        (_, _) => return Err(Refusal::Host),
    }
    let framing = match framing(headers, is_old).ok_or(Refusal::Length)? {
        Some(framing) => framing,
        None => Framing::Length(0),
    };
    let upgrade = upgrade(headers).filter(|_| !is_old);
    if upgrade.is_some() && framing != Framing::Length(0) {
        return Err(Refusal::Upgrade);
    }
    if method == "CONNECT" || !is_path(target) {
        return Err(Refusal::Target);
    }
    let url = format!("{}{target}", origin.server);
    let url = Url::parse(&url).map_err(|_| Refusal::TooLongTarget)?;
    let mut out = Vec::with_capacity(length + 256);
    let _ = write!(out, "{method} ");
    let relay = relay(&url);
    let _ = match &relay {
        Some(_) => write!(out, "{}", url.absolute_form()),
        None => write!(out, "{}", url.origin_form()),
    };
    let _ = write!(out, " HTTP/1.1\r\nHost: {}\r\n", url.host_header());
    if let Some(authorization) = relay.filter(|value| !value.is_empty()) {
        line(&mut out, "Proxy-Authorization", &authorization);
    }
    pass_on(&mut out, headers, if is_old { &["host", "expect"] } else { &["host"] });
    let says_length = values(headers, "content-length").next().is_some();
    end_of_head(
        &mut out,
        Some(framing).filter(|framing| says_length || *framing != Framing::Length(0)),
        upgrade,
    );
    let kind = Kind { is_head: method == "HEAD", is_old, upgrades: upgrade.is_some() };
    Ok(Some(Asked { length, kind, framing, head: out }))
}

/// The value of `Proxy-Authorization`, empty if there is none.
pub(super) fn authorization(relay: Relay<'_>) -> Vec<u8> {
    relay.authorization.unwrap_or_default().as_bytes().to_vec()
}

/// Reads the head that a server's answer begins with. `is_relayed`: it may come from a proxy on the way.
pub(super) fn answer(bytes: &[u8], kind: Kind, is_relayed: bool) -> Result<Answer, BadAnswer> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(bytes) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) if bytes.len() < HEAD => return Ok(Answer::Partial),
        Ok(Status::Partial) | Err(httparse::Error::TooManyHeaders) => return Err(BadAnswer::TooLong),
        Err(
            httparse::Error::HeaderName
            | httparse::Error::HeaderValue
            | httparse::Error::NewLine
            | httparse::Error::Status
            | httparse::Error::Token
            | httparse::Error::Version,
        ) => return Err(BadAnswer::Syntax),
    };
    let (Some(status), Some(minor)) = (response.code, response.version) else {
        return Err(BadAnswer::Syntax);
    };
    let reason = response.reason.unwrap_or_default();
    let headers = &*response.headers;
    let mut out = Vec::with_capacity(length + 64);
    let _ = write!(out, "HTTP/1.1 {status:03} {reason}\r\n");
    match status {
        101 if !kind.upgrades => return Err(BadAnswer::Upgrade),
        101 => {
            let protocol = upgrade(headers).ok_or(BadAnswer::Upgrade)?;
            pass_on(&mut out, headers, &[]);
            end_of_head(&mut out, None, Some(protocol));
            return Ok(Answer::Upgraded(length, out));
        }
        100..=199 if kind.is_old => return Ok(Answer::Interim(length, Vec::new())),
        100..=199 => {
            pass_on(&mut out, headers, &[]);
            out.extend_from_slice(b"\r\n");
            return Ok(Answer::Interim(length, out));
        }
        407 if is_relayed => return Err(BadAnswer::ProxyUser),
        200..=599 => {}
        _ => return Err(BadAnswer::Syntax),
    }
    let said = framing(headers, minor == 0).ok_or(BadAnswer::Length)?;
    let has_no_body = kind.is_head || matches!(status, 204 | 304);
    let framing = if has_no_body { Framing::Length(0) } else { said.unwrap_or(Framing::UntilClose) };
    pass_on(&mut out, headers, &[]);
    // Of an answer without a body, the length says what there would be.
    let said = said.filter(|said| status != 204 && !(kind.is_old && *said == Framing::Chunked));
    end_of_head(&mut out, said, None);
    Ok(Answer::Final(length, out, framing))
}

/// Whether every line ends with CR LF, and neither byte stands anywhere else. The last byte may be a CR.
fn ends_lines_properly(head: &[u8]) -> bool {
    let mut before = 0;
    head.iter().all(|&byte| {
        let is_good = (byte == b'\n') == (before == b'\r') && byte != 0;
        before = byte;
        is_good
    })
}

/// Whether there is one `Authorization`, with this token. How long that takes says nothing about the token.
fn has_token(headers: &[Header<'_>], token: &str) -> bool {
    let mut all = values(headers, "authorization");
    let (Some(value), None) = (all.next(), all.next()) else { return false };
    let Some((scheme, rest)) = value.split_at_checked(7) else { return false };
    scheme.eq_ignore_ascii_case(b"bearer ")
        && !token.is_empty()
        && bool::from(rest.trim_ascii().ct_eq(token.as_bytes()))
}

/// How the body ends, if the head says so; `None`: it cannot be said for certain.
fn framing(headers: &[Header<'_>], is_old: bool) -> Option<Option<Framing>> {
    let mut lengths = values(headers, "content-length");
    let mut codings = values(headers, "transfer-encoding");
    let (length, coding) = (lengths.next(), codings.next());
    if lengths.next().is_some() || codings.next().is_some() {
        return None;
    }
    match (length, coding) {
        (None, None) => Some(None),
        (Some(length), None) => {
            let digits = length.trim_ascii();
            let are_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
            let text = std::str::from_utf8(digits).ok().filter(|_| are_digits)?;
            Some(Some(Framing::Length(text.parse().ok()?)))
        }
        (None, Some(coding)) => (coding.trim_ascii().eq_ignore_ascii_case(b"chunked") && !is_old)
            .then_some(Some(Framing::Chunked)),
        (Some(_), Some(_)) => None,
    }
}

/// The protocol that is asked for, or changed to: there is one `Upgrade`, and `Connection` names it.
fn upgrade<'h>(headers: &[Header<'h>]) -> Option<&'h [u8]> {
    let mut all = values(headers, "upgrade");
    let (Some(value), None) = (all.next(), all.next()) else { return None };
    (names(headers, "upgrade") && !value.trim_ascii().is_empty()).then_some(value)
}

/// Whether a header is one of a single connection.
fn is_own(headers: &[Header<'_>], name: &str) -> bool {
    HOP_BY_HOP.iter().any(|own| own.eq_ignore_ascii_case(name)) || names(headers, name)
}

/// Whether `Connection` names this.
fn names(headers: &[Header<'_>], name: &str) -> bool {
    values(headers, "connection")
        .flat_map(|value| value.split(|byte| *byte == b','))
        .any(|named| named.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
}

/// An absolute path with an optional query. A part of it that is one dot or two, written in any way, could lead out of
/// the path of the server's URL.
fn is_path(target: &str) -> bool {
    let path = target.split('?').next().unwrap_or_default();
    let is_dots = |part: &str| {
        let part = part.to_ascii_lowercase().replace("%2e", ".");
        part == "." || part == ".."
    };
    let path = path.to_ascii_lowercase().replace("%2f", "/").replace("%5c", "/").replace('\\', "/");
    target.starts_with('/')
        && target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
        && !path.split('/').any(is_dots)
}

fn values<'h>(headers: &[Header<'h>], name: &str) -> impl Iterator<Item = &'h [u8]> {
    headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
}

fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Every header that does not concern one connection, but those that are written anew.
fn pass_on(out: &mut Vec<u8>, headers: &[Header<'_>], anew: &[&str]) {
    let is_anew = |name: &str| {
        name.eq_ignore_ascii_case("content-length") || anew.iter().any(|anew| name.eq_ignore_ascii_case(anew))
    };
    for header in headers.iter().filter(|header| !is_own(headers, header.name) && !is_anew(header.name)) {
        line(out, header.name, header.value);
    }
}

/// How the body ends, and what becomes of the connection.
fn end_of_head(out: &mut Vec<u8>, framing: Option<Framing>, upgrade: Option<&[u8]>) {
    let _ = match framing {
        Some(Framing::Length(length)) => write!(out, "Content-Length: {length}\r\n"),
        Some(Framing::Chunked) => write!(out, "Transfer-Encoding: chunked\r\n"),
        Some(Framing::UntilClose) | None => Ok(()),
    };
    match upgrade {
        Some(protocol) => {
            line(out, "Upgrade", protocol);
            out.extend_from_slice(b"Connection: Upgrade\r\n\r\n");
        }
        // Each request has a connection of its own, on both sides: no byte of one can reach the next (N4, N5).
        None => out.extend_from_slice(b"Connection: close\r\n\r\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: Origin<'_> = Origin { token: "t.o.k", server: "https://server.example:8443/base" };

    /// What becomes of a request of these lines, behind its first one and `Host` and the token.
    fn asked(first: &str, lines: &str) -> Result<Asked, Refusal> {
        let text = format!("{first}\r\nHost: a\r\nAuthorization: Bearer t.o.k\r\n{lines}\r\n");
        of(text.as_bytes())
    }

    fn of(bytes: &[u8]) -> Result<Asked, Refusal> {
        request(bytes, Some(ORIGIN), |_| None).map(|asked| asked.expect("a whole head"))
    }

    #[test]
    fn n26_a_head_that_two_readers_read_differently_is_refused() {
        for (lines, refusal) in [
            ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", Refusal::Length),
            ("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n", Refusal::Length),
            ("Content-Length: 1\r\nContent-Length: 1\r\n", Refusal::Length),
            ("Content-Length: 1\r\ncontent-length: 2\r\n", Refusal::Length),
            ("Content-Length: 1, 1\r\n", Refusal::Length),
            ("Content-Length: +1\r\n", Refusal::Length),
            ("Content-Length: 0x1\r\n", Refusal::Length),
            ("Content-Length:\r\n", Refusal::Length),
            ("Content-Length: 99999999999999999999\r\n", Refusal::Length),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Refusal::Length),
            ("Transfer-Encoding: gzip, chunked\r\n", Refusal::Length),
            ("Transfer-Encoding: identity\r\n", Refusal::Length),
            ("Transfer-Encoding: xchunked\r\n", Refusal::Length),
            ("Content-Length : 1\r\n", Refusal::Syntax),
            ("X: 1\r\n folded\r\n", Refusal::Syntax),
            (" X: 1\r\n", Refusal::Syntax),
            ("X: a\rb\r\n", Refusal::Syntax),
            ("X: a\nContent-Length: 5\r\n", Refusal::Syntax),
            ("X: a\n\r\n", Refusal::Syntax),
            ("X: a\0b\r\n", Refusal::Syntax),
            ("X\r\n", Refusal::Syntax),
            ("Host: b\r\n", Refusal::Host),
            ("Upgrade: a\r\nConnection: upgrade\r\nContent-Length: 1\r\n", Refusal::Upgrade),
            ("Authorization: Bearer t.o.k\r\n", Refusal::Token),
        ] {
            assert_eq!(asked("POST /a HTTP/1.1", lines), Err(refusal), "{lines:?}");
        }
        assert_eq!(asked("POST /a HTTP/1.0", "Transfer-Encoding: chunked\r\n"), Err(Refusal::Length));
        for whole in [
            "\r\nGET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer t.o.k\r\n\r\n",
            "GET / HTTP/1.1\nHost: a\nAuthorization: Bearer t.o.k\n\n\r\n\r\n",
            "GET / HTTP/2.0\r\nHost: a\r\nAuthorization: Bearer t.o.k\r\n\r\n",
            "GET /\r\nHost: a\r\nAuthorization: Bearer t.o.k\r\n\r\n",
            "\r\n\r\n",
        ] {
            assert_eq!(of(whole.as_bytes()), Err(Refusal::Syntax), "{whole:?}");
        }
        assert_eq!(of(b"GET / HTTP/1.1\r\nAuthorization: Bearer t.o.k\r\n\r\n"), Err(Refusal::Host));
    }

    #[test]
    fn r43_only_paths_of_the_server_are_asked_for() {
        for target in [
            "http://other.example/",
            "//..",
            "*",
            "a",
            "/../b",
            "/a/..",
            "/a/%2e%2E/b",
            "/.%2e",
            "/a%2f..%2fb",
            "/a/.",
            "/a\\..\\b",
            "/a%5C..",
        ] {
            assert_eq!(asked(&format!("GET {target} HTTP/1.1"), ""), Err(Refusal::Target), "{target}");
        }
        assert_eq!(asked("CONNECT other.example:443 HTTP/1.1", ""), Err(Refusal::Target));
        for (target, expected) in [
            ("/", "/base/"),
            ("//other.example/x", "/base//other.example/x"),
            ("/@other.example/", "/base/@other.example/"),
            ("/a...b/..c/.d?x=/../y", "/base/a...b/..c/.d?x=/../y"),
        ] {
            let asked = asked(&format!("GET {target} HTTP/1.1"), "").unwrap();
            let head = String::from_utf8(asked.head).unwrap();
            assert!(
                head.starts_with(&format!("GET {expected} HTTP/1.1\r\nHost: server.example:8443\r\n")),
                "{head}"
            );
        }
        let long = format!("GET /{} HTTP/1.1", "x".repeat(9000));
        assert_eq!(asked(&long, ""), Err(Refusal::TooLongTarget));
    }

    #[test]
    fn every_prefix_of_a_head_needs_more() {
        let text =
            b"POST /a HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer t.o.k\r\nContent-Length: 3\r\n\r\nabc";
        let end = text.len() - 3;
        for length in 0..end {
            let asked = request(&text[..length], Some(ORIGIN), |_| None);
            assert_eq!(asked, Ok(None), "{length}");
        }
        let asked = of(text).unwrap();
        assert_eq!((asked.length, asked.framing), (end, Framing::Length(3)));
    }

    #[test]
    fn what_concerns_one_connection_stays_there() {
        let lines = "TE: trailers\r\nTrailer: X\r\nKeep-Alive: 1\r\nProxy-Connection: close\r\nConnection: X-Own ,y\r\n\
                     x-own: 1\r\nY: 2\r\nUpgrade: h2c\r\nZ: 3\r\nExpect: 100-continue\r\n";
        let asked_now = asked("POST /a HTTP/1.1", lines).unwrap();
        let head = String::from_utf8(asked_now.head).unwrap();
        let rest = head.split_once("t.o.k\r\n").unwrap().1;
        assert_eq!(rest, "Z: 3\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n");
        assert!(!asked_now.kind.upgrades, "Connection does not name it");
        // HTTP/1.0 knows neither interim answers nor a change of the protocol.
        let old = asked("POST /a HTTP/1.0", "Expect: 100-continue\r\nConnection: upgrade\r\nUpgrade: x\r\n")
            .unwrap();
        assert!(old.kind.is_old && !old.kind.upgrades);
        assert!(String::from_utf8(old.head).unwrap().ends_with("t.o.k\r\nConnection: close\r\n\r\n"));
    }

    #[test]
    fn a_length_of_nothing_is_passed_on() {
        for (lines, expected) in [
            ("Content-Length: 0\r\n", "t.o.k\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
            ("", "t.o.k\r\nConnection: close\r\n\r\n"),
        ] {
            let head = String::from_utf8(asked("PUT /a HTTP/1.1", lines).unwrap().head).unwrap();
            assert!(head.ends_with(expected), "{head}");
        }
    }
}
