//! Reads the heads of responses strictly: a head that two readers could understand differently is refused (N26).

use httparse::{Header, ParserConfig, Status};

use super::body::Framing;
use super::fault::HeadFault;
use super::{ContentRange, Head, retry_after};
use crate::digits::number;
use crate::limits;
use crate::plain::split_once;

/// Most headers of one response; more are an error.
const HEADERS: usize = 100;

/// 1 January 2025 in seconds since 1970. A clock that shows an earlier time was never set.
const CLOCK_IS_SET: u64 = 1_735_689_600;

/// A complete head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHead<'h> {
    /// What the client looks at.
    pub head: Head,
    /// How the end of the body is found.
    pub framing: Framing,
    /// The entity tag, if it is a strong one of at most [`limits::ETAG`] bytes.
    pub etag: Option<&'h str>,
    /// Where a redirect leads to.
    pub location: Option<&'h str>,
}

/// What the bytes received so far begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed<'h> {
    /// More bytes are needed.
    Partial,
    /// The head of an interim response (1xx) of this many bytes; another head follows.
    Interim(usize),
    /// A complete head of this many bytes.
    Complete(usize, ResponseHead<'h>),
}

/// Reads what `bytes` begins with. `unix_now` is the device's clock in seconds since 1970, for dates in `Retry-After`;
/// without it, or when it shows that the clock was never set, dates are ignored.
pub fn parse(bytes: &[u8], unix_now: Option<u64>) -> Result<Parsed<'_>, HeadFault> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let len = match ParserConfig::default().parse_response(&mut response, bytes) {
        Ok(Status::Complete(len)) => len,
        Ok(Status::Partial) => return Ok(Parsed::Partial),
        Err(error) => return Err(fault_of(error)),
    };
    let (Some(status), Some(minor)) = (response.code, response.version) else {
        return Err(HeadFault::Syntax);
    };
    match status {
        101 => return Err(HeadFault::Upgrade),
        100..=199 => return Ok(Parsed::Interim(len)),
        200..=599 => {}
        _ => return Err(HeadFault::Status),
    }
    let headers = &*response.headers;
    let (framing, content_length) = framing(headers, status, minor)?;
    // Dates cannot be compared with a clock that was never set.
    let clock = unix_now.filter(|&now| now >= CLOCK_IS_SET);
    let head = Head {
        status,
        content_length,
        content_range: text(headers, "content-range").filter(|_| status == 206).and_then(content_range),
        retry_after: text(headers, "retry-after")
            .filter(|_| matches!(status, 429 | 503))
            .and_then(|value| retry_after(value, clock)),
    };
    let etag = text(headers, "etag").filter(|etag| is_strong(etag));
    let location = text(headers, "location");
    Ok(Parsed::Complete(len, ResponseHead { head, framing, etag, location }))
}

const fn fault_of(error: httparse::Error) -> HeadFault {
    match error {
        httparse::Error::Status => HeadFault::Status,
        httparse::Error::TooManyHeaders => HeadFault::TooManyHeaders(HEADERS),
        httparse::Error::HeaderName => HeadFault::HeaderName,
        httparse::Error::HeaderValue => HeadFault::HeaderValue,
        httparse::Error::NewLine => HeadFault::LineEnd,
        httparse::Error::Token | httparse::Error::Version => HeadFault::Syntax,
    }
}

/// How the body ends, and its length if that is known.
fn framing(headers: &[Header<'_>], status: u16, minor: u8) -> Result<(Framing, Option<u64>), HeadFault> {
    let codings = values(headers, "content-encoding");
    if codings.map(trim).any(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity")) {
        return Err(HeadFault::Coding);
    }
    let mut lengths = values(headers, "content-length");
    let mut transfer = values(headers, "transfer-encoding");
    let (length, coding) = (lengths.next(), transfer.next());
    if lengths.next().is_some() || transfer.next().is_some() || (length.is_some() && coding.is_some()) {
        return Err(HeadFault::BothLengths);
    }
    let length = length.map(|value| number(trim(value)).ok_or(HeadFault::Length)).transpose()?;
    if matches!(status, 204 | 304) {
        return Ok((Framing::Length(0), Some(0)));
    }
    match (length, coding) {
        (Some(length), _) => Ok((Framing::Length(length), Some(length))),
        (None, Some(coding)) if trim(coding).eq_ignore_ascii_case(b"chunked") && minor == 1 => {
            Ok((Framing::Chunked, None))
        }
        (None, Some(_)) => Err(HeadFault::Coding),
        (None, None) => Ok((Framing::UntilClose, None)),
    }
}

/// Reads `bytes first-last/size`; `None` for anything else, and for numbers that contradict each other.
fn content_range(value: &str) -> Option<ContentRange> {
    let (range, size) = split_once(value.strip_prefix("bytes ")?, b'/')?;
    let (first, last) = split_once(range, b'-')?;
    let (first, last) = (number(first.as_bytes())?, number(last.as_bytes())?);
    let size = if size == "*" { None } else { Some(number(size.as_bytes())?) };
    let is_sound = first <= last && size.is_none_or(|size| last < size);
    is_sound.then_some(ContentRange { first, last, size })
}

fn is_strong(etag: &str) -> bool {
    let inner = etag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    etag.len() <= limits::ETAG
        && inner.is_some_and(|inner| inner.bytes().all(|b| b.is_ascii_graphic() && b != b'"'))
}

/// Reads a number that consists of digits only and fits into 64 bits.
fn values<'h>(headers: &[Header<'h>], name: &'static str) -> impl Iterator<Item = &'h [u8]> {
    headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
}

/// The value of a header that occurs exactly once and is text.
fn text<'h>(headers: &[Header<'h>], name: &'static str) -> Option<&'h str> {
    let mut values = values(headers, name);
    let value = values.next().filter(|_| values.next().is_none())?;
    str::from_utf8(trim(value)).ok()
}

fn trim(value: &[u8]) -> &[u8] {
    value.trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::RetryAfter;
    use std::format;
    use std::string::String;

    const NOW: Option<u64> = Some(1_800_000_000);

    /// The head of these lines; lives as long as the tests.
    fn head(lines: &str) -> Result<ResponseHead<'static>, HeadFault> {
        let text: &'static str = String::leak(format!("{}\r\n\r\n", lines.replace('\n', "\r\n")));
        match parse(text.as_bytes(), NOW)? {
            Parsed::Complete(len, head) => {
                assert_eq!(len, text.len());
                Ok(head)
            }
            other @ (Parsed::Partial | Parsed::Interim(_)) => panic!("{lines}: {other:?}"),
        }
    }

    #[test]
    fn n7_every_header_may_be_missing() {
        let head = head("HTTP/1.1 200 OK").unwrap();
        let expected = Head { status: 200, content_length: None, content_range: None, retry_after: None };
        assert_eq!((head.head, head.framing), (expected, Framing::UntilClose));
        assert_eq!((head.etag, head.location), (None, None));
        // No reason phrase either, and the version a proxy may speak.
        parse(b"HTTP/1.0 200\r\n\r\n", NOW).unwrap();
    }

    #[test]
    fn n8_n9_content_length_of_1_to_40_digits() {
        for digits in 1..=40 {
            let number = "9".repeat(digits);
            let result = head(&format!("HTTP/1.1 200 OK\nContent-Length: {number}"));
            match number.parse() {
                Ok(length) => assert_eq!(result.unwrap().framing, Framing::Length(length)),
                Err(_) => assert_eq!(result, Err(HeadFault::Length)),
            }
        }
        for bad in ["", "-1", "+1", "1.0", "0x1", "1 1", "1,1", "1;", "١"] {
            let result = head(&format!("HTTP/1.1 200 OK\nContent-Length: {bad}"));
            assert_eq!(result, Err(HeadFault::Length), "{bad:?}");
        }
    }

    #[test]
    fn n26_a_length_that_two_readers_read_differently_is_an_error() {
        use HeadFault::{BothLengths, Coding};
        for (headers, fault) in [
            ("Content-Length: 1\nTransfer-Encoding: chunked", BothLengths),
            ("Transfer-Encoding: chunked\nContent-Length: 1", BothLengths),
            ("Content-Length: 1\nContent-Length: 2", BothLengths),
            ("Content-Length: 1\nContent-Length: 1", BothLengths),
            ("Content-Length: 1\ncontent-length: 1", BothLengths),
            ("Transfer-Encoding: chunked\nTransfer-Encoding: chunked", BothLengths),
            ("Transfer-Encoding: gzip, chunked", Coding),
            ("Transfer-Encoding: chunked, chunked", Coding),
            ("Transfer-Encoding: xchunked", Coding),
            ("Transfer-Encoding: identity", Coding),
            ("Transfer-Encoding:", Coding),
            ("Content-Encoding: gzip", Coding),
        ] {
            assert_eq!(head(&format!("HTTP/1.1 200 OK\n{headers}")), Err(fault), "{headers}");
        }
        assert_eq!(head("HTTP/1.0 200 OK\nTransfer-Encoding: chunked"), Err(Coding));
        let chunked =
            head("HTTP/1.1 200 OK\nTransfer-Encoding: Chunked \nContent-Encoding: identity").unwrap();
        assert_eq!(chunked.framing, Framing::Chunked);
    }

    #[test]
    fn n26_what_is_no_header_is_an_error() {
        use HeadFault::{HeaderName, HeaderValue, Status, Syntax, TooManyHeaders};
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: 1\r\n".repeat(101));
        for (bad, fault) in [
            ("HTTP/1.1 200 OK\r\nContent-Length : 1\r\n\r\n", HeaderName),
            ("HTTP/1.1 200 OK\r\n Content-Length: 1\r\n\r\n", HeaderName),
            ("HTTP/1.1 200 OK\r\nX: 1\r\n folded\r\n\r\n", HeaderName),
            ("HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n", HeaderValue),
            ("HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n", HeaderValue),
            ("HTTP/1.1 200 OK\r\nno header\r\n\r\n", HeaderName),
            ("HTTP/1.1 20 OK\r\n\r\n", Status),
            ("HTTP/1.1 2000 OK\r\n\r\n", Status),
            ("HTTP/1.1 999 OK\r\n\r\n", Status),
            ("HTTP/1.1 000 OK\r\n\r\n", Status),
            ("HTTP/2.0 200 OK\r\n\r\n", Syntax),
            ("ICY 200 OK\r\n\r\n", Syntax),
            ("{\"error\":1}", Syntax),
            (&many, TooManyHeaders(HEADERS)),
        ] {
            assert_eq!(parse(bad.as_bytes(), NOW), Err(fault), "{bad:?}");
        }
    }

    #[test]
    fn n4_interim_answers_are_skipped_and_an_upgrade_refused() {
        assert_eq!(parse(b"HTTP/1.1 100 Continue\r\n\r\nHTTP", NOW), Ok(Parsed::Interim(25)));
        assert_eq!(parse(b"HTTP/1.1 101 X\r\n\r\n", NOW), Err(HeadFault::Upgrade));
    }

    #[test]
    fn no_content_has_no_body_whatever_it_says() {
        for status in [204, 304] {
            let head = head(&format!("HTTP/1.1 {status} X\nContent-Length: 5")).unwrap();
            assert_eq!(head.framing, Framing::Length(0));
        }
    }

    #[test]
    fn every_prefix_of_a_head_needs_more() {
        let text = b"HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\nETag: \"a\"\r\n\r\n";
        for len in 0..text.len() {
            assert_eq!(parse(&text[..len], NOW), Ok(Parsed::Partial), "{len}");
        }
        assert!(matches!(parse(text, NOW), Ok(Parsed::Complete(..))));
    }

    #[test]
    fn n11_content_range() {
        let range = |value: &str| {
            head(&format!("HTTP/1.1 206 X\nContent-Range: {value}")).unwrap().head.content_range
        };
        assert_eq!(range("bytes 5-9/10"), Some(ContentRange { first: 5, last: 9, size: Some(10) }));
        assert_eq!(range("bytes 5-9/*"), Some(ContentRange { first: 5, last: 9, size: None }));
        for bad in [
            "bytes 9-5/10",
            "bytes 5-10/10",
            "bytes */10",
            "bytes 5-/10",
            "bytes -5/10",
            "bytes 5-9",
            "bytes=5-9/10",
            "items 5-9/10",
            "bytes 5-9/x",
            "bytes 0--1/10",
            "bytes 5-9/10/11",
            "bytes 99999999999999999999-99999999999999999999/*",
            "",
        ] {
            assert_eq!(range(bad), None, "{bad}");
        }
        assert_eq!(head("HTTP/1.1 200 X\nContent-Range: bytes 5-9/10").unwrap().head.content_range, None);
        let twice = "HTTP/1.1 206 X\nContent-Range: bytes 5-9/10\nContent-Range: bytes 5-9/10";
        assert_eq!(head(twice).unwrap().head.content_range, None);
    }

    #[test]
    fn n9_retry_after() {
        let retry = |status: u16, value: &str| {
            head(&format!("HTTP/1.1 {status} X\nRetry-After: {value}")).unwrap().head.retry_after
        };
        let seconds = |seconds| Some(RetryAfter { seconds });
        assert_eq!(retry(429, "7"), seconds(7));
        assert_eq!(retry(503, "99999999999999999999"), seconds(86_400));
        assert_eq!(retry(429, "-1"), None);
        assert_eq!(retry(429, "soon"), None);
        assert_eq!(retry(500, "7"), None);
        assert_eq!(retry(429, "Sun, 06 Nov 1994 08:49:37 GMT"), seconds(1));
        // A clock that was never set would make years of it.
        let date = b"HTTP/1.1 429 X\r\nRetry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";
        let Ok(Parsed::Complete(_, head)) = parse(date, Some(0)) else { panic!() };
        assert_eq!(head.head.retry_after, None);
    }

    #[test]
    fn only_a_strong_etag_is_kept() {
        let etag = |value: &str| head(&format!("HTTP/1.1 200 X\nETag: {value}")).unwrap().etag;
        assert_eq!(etag("\"abc\""), Some("\"abc\""));
        for weak in ["W/\"abc\"", "abc", "\"a\"b\"", "\"a b\"", "\"", "", &format!("\"{}\"", "x".repeat(300))]
        {
            assert_eq!(etag(weak), None, "{weak}");
        }
    }
}
