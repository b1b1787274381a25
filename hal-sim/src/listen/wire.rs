//! Answers as they go out: whole, or damaged on the wire.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use super::Stream;
use crate::server::{Delivery, Response};

/// What happens to an answer on the wire. The request has had its effect; for requests without one see
/// [`crate::server::Fault`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wire {
    /// The connection is reset after so many bytes of the answer, its head included.
    Reset(usize),
    /// The connection ends after so many bytes of the answer.
    Close(usize),
    /// Nothing more comes after so many bytes of the answer.
    Hang(usize),
    /// Pieces of so many bytes with so many milliseconds between them.
    Slow(usize, u64),
    /// These bytes in place of the answer; then the connection ends.
    Raw(Vec<u8>),
    /// These bytes behind the answer; the connection stays.
    Surplus(Vec<u8>),
    /// No `Content-Length`: the end of the connection is the end of the body.
    NoLength,
    /// The body in chunks of so many bytes.
    Chunked(usize),
    /// This header beside the others.
    Header(String),
    /// An interim answer (100) comes first.
    Interim,
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reset(bytes) => write!(f, "reset after {bytes} bytes"),
            Self::Close(bytes) => write!(f, "closed after {bytes} bytes"),
            Self::Hang(bytes) => write!(f, "nothing more after {bytes} bytes"),
            Self::Slow(bytes, pause) => write!(f, "{bytes} bytes each {pause} ms"),
            Self::Raw(bytes) => write!(f, "{} other bytes in its place", bytes.len()),
            Self::Surplus(bytes) => write!(f, "{} bytes behind it", bytes.len()),
            Self::NoLength => f.write_str("without a length"),
            Self::Chunked(bytes) => write!(f, "in chunks of {bytes} bytes"),
            Self::Header(header) => write!(f, "with the header {header}"),
            Self::Interim => f.write_str("with 100 before it"),
        }
    }
}

/// Sends an answer. False: the connection is over.
pub(super) fn send(
    stream: &mut impl Stream,
    response: &Response,
    wire: Option<&Wire>,
    is_over: &dyn Fn() -> bool,
) -> io::Result<bool> {
    let drip = Wire::Slow(1, 240_000);
    let wire = if response.delivery == Delivery::Drip { Some(&drip) } else { wire };
    match response.delivery {
        Delivery::Lost => return close(stream),
        Delivery::Silent => return hang(stream, is_over),
        Delivery::Cut(length) => {
            stream.write_all(&head(response, Length::Known, None))?;
            stream.write_all(&response.body[..length.min(response.body.len())])?;
            return close(stream);
        }
        Delivery::Ends(length) => {
            stream.write_all(&head(response, Length::Unknown, None))?;
            stream.write_all(&response.body[..length.min(response.body.len())])?;
            return close(stream);
        }
        Delivery::Whole | Delivery::Drip => {}
    }
    let whole = || [&head(response, Length::Known, None)[..], &response.body[..]].concat();
    let front = |bytes: usize| {
        let mut whole = whole();
        whole.truncate(bytes);
        whole
    };
    match wire {
        None => {
            stream.write_all(&head(response, Length::Known, None))?;
            stream.write_all(&response.body)?;
        }
        Some(Wire::Reset(bytes)) => {
            stream.write_all(&front(*bytes))?;
            stream.flush()?;
            rustix::net::sockopt::set_socket_linger(stream.tcp(), Some(Duration::ZERO))?;
            return Ok(false);
        }
        Some(Wire::Close(bytes)) => {
            stream.write_all(&front(*bytes))?;
            return close(stream);
        }
        Some(Wire::Hang(bytes)) => {
            stream.write_all(&front(*bytes))?;
            return hang(stream, is_over);
        }
        Some(Wire::Slow(bytes, pause)) => {
            for piece in whole().chunks((*bytes).max(1)) {
                stream.write_all(piece)?;
                stream.flush()?;
                thread::sleep(Duration::from_millis(*pause));
            }
        }
        Some(Wire::Raw(bytes)) => {
            stream.write_all(bytes)?;
            return close(stream);
        }
        Some(Wire::Surplus(bytes)) => stream.write_all(&[&whole()[..], bytes].concat())?,
        Some(Wire::NoLength) => {
            stream.write_all(&head(response, Length::Unknown, None))?;
            stream.write_all(&response.body)?;
            return close(stream);
        }
        Some(Wire::Chunked(size)) => {
            stream.write_all(&head(response, Length::Chunks, None))?;
            for chunk in response.body.chunks((*size).max(1)) {
                stream.write_all(&[format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat())?;
            }
            stream.write_all(b"0\r\n\r\n")?;
        }
        Some(Wire::Header(line)) => {
            stream.write_all(&head(response, Length::Known, Some(line)))?;
            stream.write_all(&response.body)?;
        }
        Some(Wire::Interim) => {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            stream.write_all(&whole())?;
        }
    }
    stream.flush()?;
    Ok(true)
}

enum Length {
    Known,
    Unknown,
    Chunks,
}

fn head(response: &Response, length: Length, extra: Option<&str>) -> Vec<u8> {
    let mut head =
        format!("HTTP/1.1 {} {}\r\nDate: Mon, 23 Nov 2026 00:00:00 GMT\r\n", response.status, "Reason");
    for (name, value) in &response.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    match length {
        // An answer without content has no length either.
        Length::Known if response.status == 204 => {}
        Length::Known => head.push_str(&format!("Content-Length: {}\r\n", response.body.len())),
        Length::Unknown => {}
        Length::Chunks => head.push_str("Transfer-Encoding: chunked\r\n"),
    }
    if let Some(extra) = extra {
        head.push_str(extra);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// Ends the connection in order, what was sent arrives.
fn close(stream: &mut impl Stream) -> io::Result<bool> {
    stream.flush()?;
    stream.tcp().shutdown(Shutdown::Both)?;
    Ok(false)
}

/// Waits for the peer to end the connection.
fn hang(stream: &mut impl Stream, is_over: &dyn Fn() -> bool) -> io::Result<bool> {
    stream.flush()?;
    let mut buf = [0; 4096];
    while !is_over() {
        match stream.read(&mut buf) {
            Ok(0) => return Ok(false),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}
