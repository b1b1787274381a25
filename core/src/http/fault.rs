//! What can be wrong with a request, with its answer, and with a URL.

use core::fmt;

use crate::digits;
#[cfg(feature = "text")]
use crate::message::Catalogue;
use crate::message::{Coded, quote, texts};

/// Why a request came to nothing. Texts never hold a path, a query, a token or a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the texts below say it")]
pub enum Fault {
    Url(UrlFault),
    Request(RequestFault),
    Idle,
    TimedOut(Activity),
    Closed(Activity),
    Head(HeadFault),
    Body(BodyFault),
    Redirect(RedirectFault),
    ProxyUser,
}

/// What the client was doing when the request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the texts below say it")]
pub enum Activity {
    Open,
    Send,
    Head,
    Body,
}

/// Why a redirect was not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedirectFault {
    /// So many were followed already, which is the limit.
    TooMany(u8),
    /// From `https` to `http`.
    Downgrade,
    /// To what is no URL that the client can use.
    Url(UrlFault),
}

/// Why a text is not a URL that the client can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlFault {
    /// More than so many bytes: [`limits::URL`](crate::limits::URL), or the room for it in what is lent.
    TooLong(usize),
    /// This byte: a blank, a control character or one beyond ASCII.
    Byte(u8),
    /// Neither `http://` nor `https://`.
    Scheme,
    /// A name or password before the host.
    UserInfo,
    /// No host, or one that is neither a name nor an address.
    Host,
    /// Something other than 1 to 65535.
    Port,
}

/// What is wrong with the head of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the texts below say it")]
pub enum HeadFault {
    Syntax,
    Status,
    TooManyHeaders(usize),
    HeaderName,
    HeaderValue,
    LineEnd,
    TooLarge(usize),
    BothLengths,
    Length,
    Coding,
    Upgrade,
    ProxySurplus,
}

/// What is wrong with the body of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the texts below say it")]
pub enum BodyFault {
    ChunkSize,
    ChunkEnd,
    Trailer,
}

/// Why a request cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestFault {
    /// The named value holds bytes that cannot be sent in a header.
    Header(&'static str),
    /// The head does not fit into the memory that was lent for it, which has so many bytes.
    TooLong(usize),
}

/// The connection broke.
pub struct Lost<'a> {
    /// What the client was doing.
    pub activity: Activity,
    /// Why, in the words of the stream.
    pub cause: &'a dyn Coded,
}

texts! {
    FAULTS = 'W': Fault {
        1 Url(fault) => "the URL cannot be used: {fault}",
        2 Request(fault) => "{fault}",
        3 Idle => "no request is under way",
        4 TimedOut(activity) => "timed out {activity}",
        5 Closed(activity) => "closed the connection {activity}",
        6 Head(fault) => "bad answer: {fault}",
        7 Body(fault) => "bad answer: {fault}",
        8 Redirect(fault) => "redirect not followed: {fault}",
        9 ProxyUser => "the proxy wants a user name and a password",
    }

    LOST = 'W': Lost<'_> {
        15 Self { activity, cause } => "connection lost {activity}: {cause}",
    }

    ACTIVITIES = 'W': Activity {
        11 Open => "while connecting",
        12 Send => "while sending the request",
        13 Head => "before the head of the answer was complete",
        14 Body => "before the body of the answer was complete",
    }

    REDIRECTS = 'W': RedirectFault {
        22 Downgrade => "it leads from https to http",
        23 Url(fault) => "the URL it leads to cannot be used: {fault}",
        24 TooMany(limit) => "there were {limit} before it, and no more are followed",
    }

    URLS = 'W': UrlFault {
        31 TooLong(limit) => "it is longer than {limit} bytes",
        32 Byte(byte) with (hex = Hex(*byte)) => "it holds the byte {hex}; percent-encode it",
        33 Scheme => "it does not begin with http:// or https://",
        34 UserInfo => "it holds a user name or password before an @, which is not supported",
        35 Host => "its host is neither a name nor an address (IPv6 goes in brackets)",
        36 Port => "its port is no number from 1 to 65535",
    }

    HEADS = 'W': HeadFault {
        41 Syntax => "not HTTP/1.1",
        42 Status => "its status is no number from 100 to 599",
        43 TooManyHeaders(limit) => "it has more than {limit} headers",
        44 HeaderName => "a line of its head does not begin with the name of a header",
        45 HeaderValue => "a header of it holds a byte that may not stand there",
        46 LineEnd => "a line of its head does not end where it should",
        47 TooLarge(limit) => "its head is longer than {limit} bytes",
        48 BothLengths => "its length is given more than once",
        49 Length => "its Content-Length is no number of bytes",
        50 Coding => "its body is coded in a way that was not asked for",
        51 Upgrade => "it changes to a protocol that was not asked for",
        52 ProxySurplus => "the proxy sent more than its answer",
    }

    BODIES = 'W': BodyFault {
        61 ChunkSize => "the size of a chunk is no number of bytes, or has too much behind it",
        62 ChunkEnd => "a chunk does not end where it should",
        63 Trailer => "what follows the last chunk is too long or no header",
    }

    REQUESTS = 'W': RequestFault {
        71 Header(name) => "the {name} holds bytes that may not stand in a request",
        72 TooLong(limit) => "the head of the request is longer than {limit} bytes",
    }
}

/// What core says about HTTP.
#[cfg(feature = "text")]
pub(crate) const TEXTS: &[&Catalogue] =
    &[&FAULTS, &LOST, &ACTIVITIES, &REDIRECTS, &URLS, &HEADS, &BODIES, &REQUESTS];

impl core::error::Error for Fault {}
impl core::error::Error for RedirectFault {}
impl core::error::Error for UrlFault {}
impl core::error::Error for HeadFault {}
impl core::error::Error for BodyFault {}
impl core::error::Error for RequestFault {}

/// A byte as URLs write it.
struct Hex(u8);

impl Coded for Hex {
    fn content(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        quote(f, self)
    }
}

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        digits::hex(f, self.0)
    }
}
