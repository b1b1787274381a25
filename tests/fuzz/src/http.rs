//! What holds for whatever a server sends, and for any URL: panics where it does not.

use std::convert::Infallible;
use std::task::Poll;

use thimble_core::embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write, WriteReady};
use thimble_core::hal::{Error as _, Kind, Network};
use thimble_core::http::body::{Body, Next};
use thimble_core::http::exchange::Limits;
use thimble_core::http::head::{Parsed, parse};
use thimble_core::http::url::{Authority, Joined, Url};
use thimble_core::http::{Method, Request, Target};
use thimble_core::network::{Connect, Http};
use thimble_core::time::Instant;

/// A response: head, then body. Reading ends, never takes more than there is, and what is a head stays one with more
/// bytes behind it. A download that gets it, also from wherever it leads to, ends in the same way in whatever pieces it
/// comes.
pub fn response(bytes: &[u8]) {
    parts(bytes);
    let whole = download(bytes, usize::MAX);
    for piece in [1, 7] {
        assert_eq!(download(bytes, piece), whole, "in pieces of {piece}");
    }
}

/// Status and body of a download, or the kind of its failure. Each server that it comes to answers the same.
fn download(bytes: &[u8], piece: usize) -> Result<(u16, Vec<u8>), Kind> {
    let mut http = Http::new(Server { answer: bytes, piece, open: None }, [0; 32 * 1024], Limits::default());
    let request = Request {
        method: Method::Get,
        target: Target::Url("http://host:8080/path/file?query"),
        authorization: None,
        signature: None,
        body: None,
        offset: 0,
        etag: None,
    };
    http.start(Instant::ZERO, &request).map_err(|error| error.kind())?;
    let Poll::Ready(head) = http.poll_head(Instant::ZERO) else { panic!("a head does not end") };
    let status = head.map_err(|error| error.kind())?.status;
    let (mut body, mut buf) = (Vec::new(), [0; 64]);
    loop {
        let Poll::Ready(read) = http.poll_read(Instant::ZERO, &mut buf) else {
            panic!("a body does not end")
        };
        match read.map_err(|error| error.kind())? {
            0 => return Ok((status, body)),
            read => body.extend_from_slice(&buf[..read]),
        }
        assert!(body.len() <= bytes.len(), "a body of {} bytes", body.len());
    }
}

/// Says the same on every connection.
struct Server<'a> {
    answer: &'a [u8],
    piece: usize,
    open: Option<Stream<'a>>,
}

struct Stream<'a> {
    rest: &'a [u8],
    piece: usize,
}

impl<'a> Connect for Server<'a> {
    type Stream = Stream<'a>;
    type Error = Infallible;

    fn open(&mut self, _: Instant, _: &Authority<'_>, _: bool) -> Result<(), Infallible> {
        self.open = Some(Stream { rest: self.answer, piece: self.piece });
        Ok(())
    }

    fn poll(&mut self, _: Instant) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn stream(&mut self) -> Option<&mut Stream<'a>> {
        self.open.as_mut()
    }

    fn close(&mut self) {
        self.open = None;
    }
}

impl ErrorType for Stream<'_> {
    type Error = ErrorKind;
}

impl ReadReady for Stream<'_> {
    fn read_ready(&mut self) -> Result<bool, ErrorKind> {
        Ok(true)
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        let (read, rest) = self.rest.split_at(buf.len().min(self.piece).min(self.rest.len()));
        buf[..read.len()].copy_from_slice(read);
        self.rest = rest;
        Ok(read.len())
    }
}

impl WriteReady for Stream<'_> {
    fn write_ready(&mut self) -> Result<bool, ErrorKind> {
        Ok(true)
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, buf: &[u8]) -> Result<usize, ErrorKind> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

fn parts(bytes: &[u8]) {
    const NOW: Option<u64> = Some(1_800_000_000);
    let mut rest = bytes;
    loop {
        match parse(rest, NOW) {
            Ok(Parsed::Complete(length, head)) => {
                assert!(0 < length && length <= rest.len(), "a head of {length} bytes in {}", rest.len());
                let (before, behind) = rest.split_at(length);
                match parse(before, NOW) {
                    Ok(Parsed::Complete(again, same)) => assert_eq!((again, same), (length, head)),
                    other => panic!("without what stands behind it a head is {other:?}"),
                }
                if let Some(location) = head.location {
                    joined("https://host:8443/path/file?query", location);
                }
                body(Body::new(head.framing), behind);
                return;
            }
            Ok(Parsed::Interim(length)) => {
                assert!(0 < length && length <= rest.len());
                rest = &rest[length..];
            }
            Ok(Parsed::Partial) | Err(_) => return,
        }
    }
}

fn body(mut body: Body, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match body.next() {
            Next::End => return,
            Next::Data(most) => {
                assert!(most > 0, "data of no bytes are asked for");
                let taken = usize::try_from(most).unwrap_or(usize::MAX).min(bytes.len());
                body.advance(taken);
                bytes = &bytes[taken..];
            }
            Next::Mark => {
                if body.mark(bytes[0]).is_err() {
                    return;
                }
                bytes = &bytes[1..];
            }
        }
    }
}

/// A URL that is accepted is sent to the host that it names, has nothing in it that ends a header, and stays the same
/// when it is read again.
pub fn url(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let (first, second) = text.split_once('\n').unwrap_or((text, ""));
    if let Ok(url) = Url::parse(first) {
        whole(&url);
        joined(first, second);
    }
}

fn joined(base: &str, location: &str) {
    let Ok(url) = Url::parse(base) else { panic!("{base} was a URL") };
    if let Ok(Joined { kept, between, rest }) = url.join(location) {
        let text = format!("{}{between}{rest}", &base[..kept]);
        if let Ok(url) = Url::parse(&text) {
            whole(&url);
        }
    }
}

fn whole(url: &Url<'_>) {
    let (text, path) = (url.absolute_form().to_string(), url.origin_form().to_string());
    let host = url.host_header().to_string();
    assert!(path.starts_with('/') && !path.contains('#'), "path {path}");
    assert!(text.bytes().all(|byte| byte > b' ' && byte != 0x7f), "{text}");
    assert!(!host.contains(['/', '?', '#', '@', '\\', ' ']), "{host}");
    match Url::parse(&text) {
        Ok(again) => assert!(again == *url, "{text} is another URL"),
        // The longest URL, and now it has the slash that was missing in front of its path.
        Err(fault) => assert!(text.len() > 8192, "{text} was accepted, and now {fault}"),
    }
}
