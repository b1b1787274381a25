//! A small HTTP server for one person on this machine: it answers `GET` on 127.0.0.1, and tells nobody else anything.
//!
//! Pages of other sites, which run in the same browser, can send requests here too. They cannot read an answer, as nothing in it
//! allows that; a name of theirs that they let lead to 127.0.0.1 is refused by its `Host`.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// The longest head of a request: a path of 64 choices has far less.
const HEAD: usize = 8 * 1024;

/// Connections at a time; a browser opens six. More are closed at once.
const CONNECTIONS: usize = 16;

/// A connection lasts no longer, however slowly the other side reads or writes.
const TIME: Duration = Duration::from_secs(10);

/// So often it is tried to accept a connection, with this pause.
const TRIES: u32 = 600;
const RETRY: Duration = Duration::from_millis(100);

/// What is answered.
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// What the body is, with its character set.
    pub(crate) kind: &'static str,
    /// The body.
    pub(crate) body: String,
    /// The content security policy: what a page may do.
    pub(crate) policy: String,
}

impl Answer {
    /// A text that says what is wrong.
    pub(crate) fn refusal(status: u16, text: &str) -> Self {
        Self::plain(status, "text/plain; charset=utf-8", format!("{text}\n"))
    }

    /// A body that is no page.
    pub(crate) fn plain(status: u16, kind: &'static str, body: String) -> Self {
        Self { status, kind, body, policy: "default-src 'none'".to_owned() }
    }
}

/// Listens on this port of 127.0.0.1; 0 takes a free one.
pub(crate) fn listen(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

/// What a page may do: run this script and use this style, which are known by their digests, and load nothing. With `live` it may
/// ask the server that it came from.
pub(crate) fn policy(script: &str, style: &str, live: bool) -> String {
    let digest = |text: &str| STANDARD.encode(Sha256::digest(text));
    let connect = if live { "'self'" } else { "'none'" };
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; img-src data:; connect-src {connect}; base-uri 'none'; form-action 'none'",
        digest(script),
        digest(style)
    )
}

/// Answers until the process ends. `answer` gets path and query of a request.
///
/// # Errors
/// No connection can be accepted, again and again.
pub(crate) fn serve(socket: &TcpListener, answer: &(dyn Fn(&str) -> Answer + Sync)) -> io::Result<()> {
    let port = socket.local_addr()?.port();
    let open = AtomicUsize::new(0);
    let mut failed = 0;
    thread::scope(|scope| {
        loop {
            let tcp = match socket.accept() {
                Ok((tcp, _)) => tcp,
                // Too many open files, for one; they become fewer.
                Err(_) if failed < TRIES => {
                    failed += 1;
                    thread::sleep(RETRY);
                    continue;
                }
                Err(error) => return Err(error),
            };
            failed = 0;
            if open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS {
                open.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let open = &open;
            scope.spawn(move || {
                // The peer may do with its connection what it likes.
                let _ = one(Timed { tcp, until: Instant::now() + TIME }, port, answer);
                open.fetch_sub(1, Ordering::Relaxed);
            });
        }
    })
}

/// A connection that ends at a time.
struct Timed {
    tcp: TcpStream,
    until: Instant,
}

impl Timed {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

impl Read for Timed {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.tcp.set_read_timeout(self.left()?)?;
        self.tcp.read(buf)
    }
}

impl Write for Timed {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.tcp.set_write_timeout(self.left()?)?;
        self.tcp.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}

/// One request and its answer.
fn one(mut stream: Timed, port: u16, answer: &dyn Fn(&str) -> Answer) -> io::Result<()> {
    let answer = match head(&mut stream)? {
        None => Answer::refusal(431, &format!("A request has at most {HEAD} bytes.")),
        Some(head) => match target(&head, port) {
            Ok(target) => answer(target),
            Err(refusal) => refusal,
        },
    };
    stream.write_all(bytes(&answer).as_slice())?;
    stream.tcp.shutdown(Shutdown::Write)?;
    // What is left unread would reset the connection before the answer has arrived.
    io::copy(&mut (&mut stream).take(1024 * 1024), &mut io::sink())?;
    Ok(())
}

/// The head of a request; `None`: it is too long.
fn head(stream: &mut impl Read) -> io::Result<Option<String>> {
    let mut read = Vec::new();
    let mut buf = [0; 1024];
    loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            read.truncate(end);
            return Ok(Some(String::from_utf8_lossy(&read).into_owned()));
        }
        if read.len() > HEAD {
            return Ok(None);
        }
        match stream.read(&mut buf) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(more) => read.extend_from_slice(&buf[..more]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Path and query, where the request is one that is answered.
fn target(head: &str, port: u16) -> Result<&str, Answer> {
    let mut lines = head.split("\r\n");
    let words: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, target, "HTTP/1.1" | "HTTP/1.0"] = words.as_slice() else {
        return Err(Answer::refusal(400, "This is no request of HTTP/1.1."));
    };
    let fields: Option<Vec<(&str, &str)>> = lines.map(|line| line.split_once(':')).collect();
    let fields = fields.ok_or_else(|| Answer::refusal(400, "A line of the request is no header field."))?;
    let values = |name: &str| -> Vec<&str> {
        let of_name = fields.iter().filter(|(of, _)| of.eq_ignore_ascii_case(name));
        of_name.map(|(_, value)| value.trim()).collect()
    };
    let ours = [format!("127.0.0.1:{port}"), format!("localhost:{port}")];
    match values("Host").as_slice() {
        [host] if ours.iter().any(|of| of.eq_ignore_ascii_case(host)) => {}
        _ => return Err(Answer::refusal(403, &format!("Only http://{} is answered.", ours[0]))),
    }
    if *method != "GET" {
        return Err(Answer::refusal(405, "Only GET is answered."));
    }
    // A link from elsewhere may lead to the page, and nothing but a page of this server asks for more.
    if *target != "/" && values("Sec-Fetch-Site").iter().any(|site| !matches!(*site, "same-origin" | "none"))
    {
        return Err(Answer::refusal(403, "Pages of other sites are not answered."));
    }
    Ok(target)
}

/// An answer as it goes over the wire.
fn bytes(Answer { status, kind, body, policy }: &Answer) -> Vec<u8> {
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        431 => "Request Header Fields Too Large",
        _ => "Answer",
    };
    let allow = if *status == 405 { "Allow: GET\r\n" } else { "" };
    let length = body.len();
    format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{allow}Connection: close\r\n\
         Cache-Control: no-store\r\nContent-Security-Policy: {policy}; frame-ancestors 'none'\r\nX-Content-Type-Options: nosniff\r\n\
         Cross-Origin-Resource-Policy: same-origin\r\nReferrer-Policy: no-referrer\r\n\r\n{body}"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(head: &str) -> u16 {
        target(head, 80).err().map_or(200, |answer| answer.status)
    }

    #[test]
    fn only_what_asks_for_this_host_is_answered() {
        assert_eq!(target("GET /path?at=1.2 HTTP/1.1\r\nHost: localhost:80", 80).ok(), Some("/path?at=1.2"));
        assert_eq!(target("GET / HTTP/1.1\r\nhost:127.0.0.1:80 \r\nAccept: */*", 80).ok(), Some("/"));
        for (head, status) in [
            ("GET / HTTP/1.1", 403),
            ("GET / HTTP/1.1\r\nHost: 127.0.0.1:81", 403),
            ("GET / HTTP/1.1\r\nHost: evil.example:80", 403),
            ("GET / HTTP/1.1\r\nHost: localhost:80\r\nHost: evil.example", 403),
            ("POST / HTTP/1.1\r\nHost: localhost:80", 405),
            ("GET /", 400),
            ("GET / / HTTP/1.1\r\nHost: localhost:80", 400),
            ("GET / HTTP/1.1\r\nHost: localhost:80\r\nnonsense", 400),
            ("GET /document HTTP/1.1\r\nHost: localhost:80\r\nSec-Fetch-Site: cross-site", 403),
            ("GET /document HTTP/1.1\r\nHost: localhost:80\r\nSec-Fetch-Site: same-origin", 200),
            ("GET / HTTP/1.1\r\nHost: localhost:80\r\nSec-Fetch-Site: cross-site", 200),
        ] {
            assert_eq!(refused(head), status, "{head}");
        }
    }

    #[test]
    fn a_request_is_read_up_to_a_limit() {
        let long = [b'x'; HEAD + 2048];
        assert!(head(&mut long.as_slice()).unwrap().is_none());
        assert!(head(&mut b"GET / HT".as_slice()).is_err());
        let read = head(&mut b"GET / HTTP/1.1\r\n\r\nbody".as_slice()).unwrap();
        assert_eq!(read.as_deref(), Some("GET / HTTP/1.1"));
    }
}
