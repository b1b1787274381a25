//! What can be wrong with a request, with its answer, and with a URL.

use core::fmt;

use crate::limits;

/// Why a request came to nothing. Texts never hold a path, a query, a token or a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "`Display` says it")]
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
#[expect(missing_docs, reason = "`Display` says it")]
pub enum Activity {
    Open,
    Send,
    Head,
    Body,
}

/// Why a redirect was not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "`Display` says it")]
pub enum RedirectFault {
    TooMany,
    Downgrade,
    Url(UrlFault),
}

/// Why a text is not a URL that the client can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "`Display` says it")]
pub enum UrlFault {
    TooLong,
    Byte(u8),
    Scheme,
    UserInfo,
    Host,
    Port,
}

/// What is wrong with the head of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "`Display` says it")]
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
#[expect(missing_docs, reason = "`Display` says it")]
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

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(fault) => write!(f, "the URL cannot be used: {fault}"),
            Self::Request(fault) => fault.fmt(f),
            Self::Idle => f.write_str("no request is under way"),
            Self::TimedOut(activity) => write!(f, "timed out {activity}"),
            Self::Closed(activity) => write!(f, "closed the connection {activity}"),
            Self::Head(fault) => write!(f, "bad answer: {fault}"),
            Self::Body(fault) => write!(f, "bad answer: {fault}"),
            Self::Redirect(fault) => write!(f, "redirect not followed: {fault}"),
            Self::ProxyUser => f.write_str("the proxy wants a user name and a password"),
        }
    }
}

impl core::error::Error for Fault {}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "while connecting",
            Self::Send => "while sending the request",
            Self::Head => "before the head of the answer was complete",
            Self::Body => "before the body of the answer was complete",
        })
    }
}

impl fmt::Display for RedirectFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany => f.write_str("there were too many before it"),
            Self::Downgrade => f.write_str("it leads from https to http"),
            Self::Url(fault) => write!(f, "the URL it leads to cannot be used: {fault}"),
        }
    }
}

impl core::error::Error for RedirectFault {}

impl fmt::Display for UrlFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "it is longer than {} bytes", limits::URL),
            Self::Byte(byte) => write!(f, "it holds the byte {byte:#04x}; percent-encode it"),
            Self::Scheme => f.write_str("it does not begin with http:// or https://"),
            Self::UserInfo => {
                f.write_str("it holds a user name or password before an @, which is not supported")
            }
            Self::Host => f.write_str("its host is neither a name nor an address (IPv6 goes in brackets)"),
            Self::Port => f.write_str("its port is no number from 1 to 65535"),
        }
    }
}

impl core::error::Error for UrlFault {}

impl fmt::Display for HeadFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax => f.write_str("not HTTP/1.1"),
            Self::Status => f.write_str("its status is no number from 100 to 599"),
            Self::TooManyHeaders(limit) => write!(f, "it has more than {limit} headers"),
            Self::HeaderName => f.write_str("a line of its head does not begin with the name of a header"),
            Self::HeaderValue => f.write_str("a header of it holds a byte that may not stand there"),
            Self::LineEnd => f.write_str("a line of its head does not end where it should"),
            Self::TooLarge(limit) => write!(f, "its head is longer than {limit} bytes"),
            Self::BothLengths => f.write_str("its length is given more than once"),
            Self::Length => f.write_str("its Content-Length is no number of bytes"),
            Self::Coding => f.write_str("its body is coded in a way that was not asked for"),
            Self::Upgrade => f.write_str("it changes to a protocol that was not asked for"),
            Self::ProxySurplus => f.write_str("the proxy sent more than its answer"),
        }
    }
}

impl core::error::Error for HeadFault {}

impl fmt::Display for BodyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ChunkSize => "the size of a chunk is no number of bytes, or has too much behind it",
            Self::ChunkEnd => "a chunk does not end where it should",
            Self::Trailer => "what follows the last chunk is too long or no header",
        })
    }
}

impl core::error::Error for BodyFault {}

impl fmt::Display for RequestFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "the {name} holds bytes that may not stand in a request"),
            Self::TooLong(limit) => write!(f, "the head of the request is longer than {limit} bytes"),
        }
    }
}

impl core::error::Error for RequestFault {}
