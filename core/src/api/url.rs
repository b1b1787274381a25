use core::fmt;

use crate::digits;
use crate::limits;
use crate::message::texts;
use crate::plain::split_once;

/// How a server is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the schemes' own names")]
pub enum Scheme {
    Http,
    Https,
}

/// Why a URL cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UrlError {
    /// More than so many bytes: [`limits::URL`], or what is lent for it.
    TooLong(usize),
    /// Neither `http://` nor `https://`.
    Scheme,
    /// `http://` where the server itself is reached by `https://`, and artifacts are not verified.
    NotHttps,
    /// A blank, a control character or anything beyond ASCII: it goes into a request line.
    Character,
    /// No host.
    Host,
    /// A name or password before the host.
    UserInfo,
}

texts! {
    ERRORS = 'N': UrlError {
        11 TooLong(limit) => "URL longer than {limit} bytes",
        12 Scheme => "URL is neither http:// nor https://",
        13 NotHttps => "URL is http://, the server https://: configure a verify key or use https",
        14 Character => "URL has a blank, a control character or one beyond ASCII",
        15 Host => "URL has no host",
        16 UserInfo => "URL has a user name before its host",
    }
}

impl core::error::Error for UrlError {}

/// Whether `url` is absolute and may go into a request: http(s), a host, only visible ASCII. The rest of it is
/// sent as it is.
pub fn check_url(url: &str) -> Result<Scheme, UrlError> {
    if url.len() > limits::URL {
        return Err(UrlError::TooLong(limits::URL));
    }
    let (name, rest) = split_once(url, b':').ok_or(UrlError::Scheme)?;
    let rest = rest.strip_prefix("//").ok_or(UrlError::Scheme)?;
    let scheme = match name {
        _ if name.eq_ignore_ascii_case("http") => Scheme::Http,
        _ if name.eq_ignore_ascii_case("https") => Scheme::Https,
        _ => return Err(UrlError::Scheme),
    };
    if !url.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(UrlError::Character);
    }
    let host = rest.as_bytes().split(|byte| matches!(byte, b'/' | b'?' | b'#')).next();
    match host.unwrap_or_default() {
        [] => Err(UrlError::Host),
        host if host.contains(&b'@') => Err(UrlError::UserInfo),
        [b':', ..] => Err(UrlError::Host),
        [..] => Ok(scheme),
    }
}

/// Prints a text percent-encoded, as one part of a path or query: all but letters, digits and `-._~`.
#[derive(Clone, Copy, Debug)]
pub struct Percent<'a>(pub &'a str);

impl fmt::Display for Percent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.bytes().try_for_each(|b| match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                fmt::Write::write_char(f, char::from(b))
            }
            _ => {
                f.write_str("%")?;
                digits::hex_upper(f, b)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::ToString;

    #[test]
    fn urls_are_absolute_with_a_host() {
        for good in [
            "http://h",
            "https://h/",
            "HTTPS://h:8443/a/b?c=d&e=%20#f",
            "https://[::1]:8443/x",
            "https://h/a@b?c=@",
        ] {
            assert!(check_url(good).is_ok(), "{good}");
        }
        assert_eq!(check_url("HTTP://h"), Ok(Scheme::Http));
        assert_eq!(check_url("https://h"), Ok(Scheme::Https));
        for (bad, error) in [
            ("", UrlError::Scheme),
            ("h/x", UrlError::Scheme),
            ("/x", UrlError::Scheme),
            ("file:///etc/passwd", UrlError::Scheme),
            (" http://h", UrlError::Scheme),
            ("https://", UrlError::Host),
            ("https:///x", UrlError::Host),
            ("https://?x", UrlError::Host),
            ("https://:80/", UrlError::Host),
            ("https://u:p@h/", UrlError::UserInfo),
        ] {
            assert_eq!(check_url(bad), Err(error), "{bad}");
        }
    }

    #[test]
    fn n16_urls_with_blanks_or_control_bytes_are_refused() {
        for c in ['\0', '\t', '\r', '\n', ' ', '\u{7f}', '\u{80}', 'ä', '\u{2028}'] {
            assert_eq!(check_url(&format!("https://h/a{c}b")), Err(UrlError::Character), "{c:?}");
            assert_eq!(check_url(&format!("https://h{c}/")), Err(UrlError::Character), "{c:?}");
        }
        let long = format!("https://h/{}", "a".repeat(limits::URL));
        assert_eq!(check_url(&long[..limits::URL]), Ok(Scheme::Https));
        assert_eq!(check_url(&long[..=limits::URL]), Err(UrlError::TooLong(limits::URL)));
    }

    #[test]
    fn percent_encoding_leaves_only_what_no_server_reads_otherwise() {
        assert_eq!(Percent("aZ09-._~").to_string(), "aZ09-._~");
        assert_eq!(Percent("a b&c=d+e%/ä\n").to_string(), "a%20b%26c%3Dd%2Be%25%2F%C3%A4%0A");
    }
}
