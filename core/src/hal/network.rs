use super::{ErrorType, Poll};
use crate::time::Instant;

/// Where bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// An absolute `http://` or `https://` URL, sent as it is.
    Url(&'a str),
    /// A path on the device (a file given to `install`). Only ever read.
    File(&'a str),
}

/// Methods of the device API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Method {
    Get,
    Post,
    Put,
    Patch,
}

/// One request. Redirects are followed only for downloads (a request without `token` and without body).
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Method; a file is only read.
    pub method: Method,
    /// Where to.
    pub target: Target<'a>,
    /// `Authorization: Bearer ...`; never sent to an artifact link.
    pub token: Option<&'a str>,
    /// `X-MEN-Signature`.
    pub signature: Option<&'a str>,
    /// JSON body; sent with `Content-Type: application/json`.
    pub body: Option<&'a [u8]>,
    /// First byte wanted. 0 sends no `Range` header; anything else `bytes=N-`, with `If-Range` when `etag`.
    pub offset: u64,
    /// The strong `ETag` seen earlier, for `If-Range`.
    pub etag: Option<&'a str>,
}

/// `Content-Range: bytes first-last/size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the header's own words")]
pub struct ContentRange {
    pub first: u64,
    pub last: u64,
    /// `None` for `*`.
    pub size: Option<u64>,
}

/// `Retry-After`, already read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryAfter {
    /// Seconds to wait, clamped to one second up to one day.
    pub seconds: u32,
}

/// The head of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// HTTP status; a file that could be opened answers 200 (206 from an offset).
    pub status: u16,
    /// Length of the body that follows, if known.
    pub content_length: Option<u64>,
    /// Range of a 206.
    pub content_range: Option<ContentRange>,
    /// For 429 and 503.
    pub retry_after: Option<RetryAfter>,
}

/// Requests, one at a time, each on whatever connection the platform likes. All waits end by the time limits of
/// `server-api.md` 8.3, reported as errors of kind [`super::Kind::TimedOut`].
pub trait Network: ErrorType {
    /// Begins a request; an outstanding one is cancelled first. An error here means it was never sent.
    fn start(&mut self, now: Instant, request: &Request<'_>) -> Result<(), Self::Error>;

    /// Ready with the head of the response.
    fn poll_head(&mut self, now: Instant) -> Poll<Result<Head, Self::Error>>;

    /// Bytes of the body into `buf`; 0 is its complete end, a short body is an error of kind
    /// [`super::Kind::Connection`].
    fn poll_read(&mut self, now: Instant, buf: &mut [u8]) -> Poll<Result<usize, Self::Error>>;

    /// The strong `ETag` of the last response, if it had one.
    fn etag(&self) -> Option<&str> {
        None
    }

    /// Drops the request and its connection.
    fn cancel(&mut self);

    /// When a poll should be made though nothing woke the platform.
    fn deadline(&self) -> Option<Instant> {
        None
    }
}
