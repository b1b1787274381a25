use core::fmt;

use crate::digits;
use crate::http::fault::UrlFault;
use crate::message::texts;

/// Why a link to an artifact cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkError {
    /// It is no URL that the client can use, or longer than what is lent for it.
    Url(UrlFault),
    /// `http://` where the server itself is reached by `https://`, and artifacts are not verified.
    NotHttps,
}

texts! {
    ERRORS = 'N': LinkError {
        13 NotHttps => "it is http://, the server https://: configure a verify key or use https",
        17 Url(fault) => "{fault}",
    }
}

impl core::error::Error for LinkError {}

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
    use std::string::ToString;

    #[test]
    fn percent_encoding_leaves_only_what_no_server_reads_otherwise() {
        assert_eq!(Percent("aZ09-._~").to_string(), "aZ09-._~");
        assert_eq!(Percent("a b&c=d+e%/ä\n").to_string(), "a%20b%26c%3Dd%2Be%25%2F%C3%A4%0A");
    }
}
