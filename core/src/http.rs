//! Requests and answers in the words of HTTP/1.1: what the device API and downloads ask for, what of an answer's head
//! they look at, and the dates in it.
//!
//! With the feature `http`, also HTTP/1.1 itself, without input, output or heap: the [heads of requests](write), the
//! [heads of answers](head), where their [bodies](body) end, and a whole [exchange] of both.

mod address;
#[cfg(feature = "http")]
pub mod body;
#[cfg(feature = "http")]
pub mod exchange;
pub mod fault;
#[cfg(feature = "http")]
pub mod head;
pub mod url;
#[cfg(feature = "http")]
pub mod write;

/// How long a request may be put off by a server: one day.
const LONGEST_RETRY_AFTER: u32 = 24 * 60 * 60;

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

/// Who asks, to the server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Authorization<'a> {
    /// A token of the server's: `Authorization: Bearer ...`.
    Bearer(&'a str),
    /// A person's name and password, `NAME:PASSWORD` in base64: `Authorization: Basic ...`. No request of the client has it.
    Basic(&'a str),
}

impl core::fmt::Debug for Authorization<'_> {
    /// Without the secret.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Bearer(_) => "Bearer ***",
            Self::Basic(_) => "Basic ***",
        })
    }
}

/// One request. Redirects are followed only for downloads (a request without authorization and without body).
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Method; a file is only read.
    pub method: Method,
    /// Where to.
    pub target: Target<'a>,
    /// Never sent to an artifact link.
    pub authorization: Option<Authorization<'a>>,
    /// `X-MEN-Signature`.
    pub signature: Option<&'a str>,
    /// Length of the JSON body in bytes, if there is one; sent with `Content-Type: application/json`. The bytes
    /// themselves are no part of this value.
    pub body: Option<usize>,
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

/// The value of a `Retry-After` header: seconds, or a date, which counts only when the caller knows the time
/// (`unix_now`, seconds since 1970 of a clock known to be right). Clamped to one second up to one day; anything
/// else, signs included, is as if the header were absent.
#[must_use]
pub fn retry_after(value: &str, unix_now: Option<u64>) -> Option<RetryAfter> {
    let mut value = value.as_bytes();
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    let seconds = if let Some(seconds) = decimal(value) {
        seconds
    } else {
        let left = http_date(value)?.saturating_sub(unix_now?);
        u32::try_from(left).unwrap_or(u32::MAX)
    };
    Some(RetryAfter { seconds: seconds.clamp(1, LONGEST_RETRY_AFTER) })
}

/// Digits and nothing else; more than fit saturate.
fn decimal(text: &[u8]) -> Option<u32> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u32, |n, digit| match digit {
        b'0'..=b'9' => Some(n.saturating_mul(10).saturating_add(u32::from(digit & 15))),
        _ => None,
    })
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` as seconds since 1970. The weekday is not checked, the older two forms of HTTP
/// dates are not read.
fn http_date(text: &[u8]) -> Option<u64> {
    const MONTHS: [&[u8; 3]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

    let text = text.strip_suffix(b" GMT")?;
    let comma = text.iter().position(|byte| *byte == b',')?;
    let mut parts = text.get(comma..)?.strip_prefix(b", ")?.split(|byte| *byte == b' ');
    let day = decimal(parts.next()?)?;
    let month = parts.next()?;
    let month = u32::try_from(MONTHS.iter().position(|m| *m == month)?).ok()?.checked_add(1)?;
    let year = decimal(parts.next()?)?;
    let mut time = parts.next()?.split(|byte| *byte == b':');
    let hour = decimal(time.next()?)?;
    let minute = decimal(time.next()?)?;
    let second = decimal(time.next()?)?;
    let complete = parts.next().is_none() && time.next().is_none();
    let in_range =
        (1..=31).contains(&day) && (1970..=9999).contains(&year) && hour < 24 && minute < 60 && second <= 60; // a leap second
    if !complete || !in_range {
        return None;
    }
    // Days of a year that begins in March, so that the leap day is its last.
    let (year, month) =
        if month > 2 { (year, month.checked_sub(3)?) } else { (year.checked_sub(1)?, month.checked_add(9)?) };
    let before = month.checked_mul(153)?.checked_add(2)? / 5;
    let leap_days = (year / 4).checked_sub(year / 100)?.checked_add(year / 400)?;
    // 1 March of the year 0 is 719,468 days before 1 January 1970.
    let days = year
        .checked_mul(365)?
        .checked_add(leap_days)?
        .checked_add(before)?
        .checked_add(day)?
        .checked_sub(719_469)?;
    let of_day = hour.checked_mul(3600)?.checked_add(minute.checked_mul(60)?)?.checked_add(second)?;
    u64::from(days).checked_mul(24 * 60 * 60)?.checked_add(of_day.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    #[test]
    fn n9_retry_after_of_1_to_40_digits_saturates() {
        for digits in 1..=40 {
            let nines: String = core::iter::repeat_n('9', digits).collect();
            let seconds = retry_after(&nines, None).unwrap().seconds;
            let expected = if digits < 5 { nines.parse().unwrap() } else { LONGEST_RETRY_AFTER };
            assert_eq!(seconds, expected, "{digits} digits");
            let zeros: String = core::iter::repeat_n('0', digits).collect();
            assert_eq!(retry_after(&zeros, None).unwrap().seconds, 1);
        }
    }

    #[test]
    fn n9_retry_after_that_is_no_number_is_absent() {
        for value in ["", " ", "-1", "+1", "1.5", "1 2", "0x10", "soon", "١", "Sun, 06 Nov", "1;2", "1\n"] {
            assert_eq!(retry_after(value, Some(0)), None, "{value:?}");
        }
        assert_eq!(retry_after(" 30\t", None).unwrap().seconds, 30);
    }

    #[test]
    fn a_date_counts_only_when_the_time_is_known() {
        const VALUE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
        const AT: u64 = 784_111_777;
        assert_eq!(retry_after(VALUE, None), None);
        let seconds = |now| retry_after(VALUE, Some(now)).unwrap().seconds;
        assert_eq!(seconds(AT - 90), 90);
        assert_eq!(seconds(AT), 1);
        assert_eq!(seconds(AT + 500), 1);
        assert_eq!(seconds(0), LONGEST_RETRY_AFTER);
    }

    #[test]
    fn dates_are_read_exactly_or_not_at_all() {
        assert_eq!(http_date(b"Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(http_date(b"Tue, 29 Feb 2000 00:00:00 GMT"), Some(951_782_400));
        assert_eq!(http_date(b"Fri, 31 Dec 2100 23:59:59 GMT"), Some(4_133_980_799));
        for bad in [
            "Thu, 01 Jan 1969 00:00:00 GMT",
            "Thu, 00 Jan 1970 00:00:00 GMT",
            "Thu, 01 Foo 1970 00:00:00 GMT",
            "Thu, 01 Jan 1970 24:00:00 GMT",
            "Thu, 01 Jan 1970 00:00:00:00 GMT",
            "Thu, 01 Jan 1970 00:00:00 CET",
            "Thu, 01 Jan 99999999999999999999999 00:00:00 GMT",
            "Thursday, 01-Jan-70 00:00:00 GMT",
            "GMT",
            " GMT",
        ] {
            assert_eq!(http_date(bad.as_bytes()), None, "{bad}");
        }
    }
}
