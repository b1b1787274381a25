//! URLs as they go into a request, and nothing that could end a line or split one (N15, N16).

use core::fmt::{self, Write as _};
use core::net::IpAddr;

use super::address;
use super::fault::UrlFault;
use crate::digits;
use crate::limits;
use crate::plain::split_once;

/// Longest name of a host, in bytes: what the name system allows.
const LONGEST_NAME: usize = 253;

/// The host of a URL. Two names are equal when they differ in case only.
#[derive(Clone, Copy, Debug)]
pub enum Host<'t> {
    /// A name of letters, digits, hyphens, dots and underscores, in the case in which it was written.
    Name(&'t str),
    /// An address: no name has to be looked up.
    Address(IpAddr),
}

impl<'t> Host<'t> {
    /// A host that stands alone: an IPv6 address has no brackets.
    pub fn parse(text: &'t str) -> Result<Self, UrlFault> {
        let v6 = || address::v6(text).map(IpAddr::V6);
        match address::v4(text).map(IpAddr::V4).or_else(v6) {
            Some(address) => Ok(Self::Address(address)),
            None if is_name(text) => Ok(Self::Name(text)),
            None => Err(UrlFault::Host),
        }
    }

    /// Whether the host is this machine itself, whatever a name service says.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        const LOCAL: &str = "localhost";
        match self {
            Self::Address(address) => address.to_canonical().is_loopback(),
            Self::Name(name) => {
                let name = name.strip_suffix('.').unwrap_or(name);
                let at = name.len().saturating_sub(LOCAL.len());
                name.split_at_checked(at).is_some_and(|(front, last)| {
                    last.eq_ignore_ascii_case(LOCAL) && (front.is_empty() || front.ends_with('.'))
                })
            }
        }
    }
}

impl PartialEq for Host<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Name(name), Self::Name(other)) => name.eq_ignore_ascii_case(other),
            (Self::Address(address), Self::Address(other)) => address == other,
            (Self::Name(_), Self::Address(_)) | (Self::Address(_), Self::Name(_)) => false,
        }
    }
}

impl Eq for Host<'_> {}

/// As it stands in a URL or a header: a name in lower case, an IPv6 address in its shortest form and in brackets.
impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.chars().try_for_each(|c| f.write_char(c.to_ascii_lowercase())),
            Self::Address(IpAddr::V4(address)) => address::print_v4(f, *address),
            Self::Address(IpAddr::V6(address)) => {
                f.write_char('[')?;
                address::print_v6(f, *address)?;
                f.write_char(']')
            }
        }
    }
}

/// Where a connection goes: `host:port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'t> {
    /// The host.
    pub host: Host<'t>,
    /// The port, never 0.
    pub port: u16,
}

impl<'t> Authority<'t> {
    /// `host[:port]`, an IPv6 address in brackets.
    pub fn parse(text: &'t str, default_port: u16) -> Result<Self, UrlFault> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = split_once(rest, b']').ok_or(UrlFault::Host)?;
                let address = address::v6(address).ok_or(UrlFault::Host)?;
                (Host::Address(address.into()), port)
            }
            None => {
                let end = find(text, b":");
                let (host, port) = text.split_at_checked(end).unwrap_or((text, ""));
                (Host::parse(host)?, port)
            }
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => default_port,
            Some("") => default_port,
            Some(digits) => {
                let port = digits::number(digits.as_bytes()).and_then(|port| u16::try_from(port).ok());
                port.filter(|&port| port != 0).ok_or(UrlFault::Port)?
            }
            None => return Err(UrlFault::Port),
        };
        Ok(Self { host, port })
    }
}

impl fmt::Display for Authority<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.host.fmt(f)?;
        f.write_char(':')?;
        digits::decimal(f, self.port.into())
    }
}

/// An absolute `http` or `https` URL, a view of its text. `Debug` leaves out path and query: a link to an artifact is
/// itself a secret.
#[derive(Clone, Copy)]
pub struct Url<'t> {
    /// Whether the connection uses TLS.
    pub is_https: bool,
    /// Where the connection goes.
    pub authority: Authority<'t>,
    /// The whole of it, without the fragment.
    text: &'t str,
    /// Path and query as they were given; a slash may be missing in front of them.
    path: &'t str,
}

impl<'t> Url<'t> {
    /// Reads a URL of at most [`limits::URL`] bytes.
    pub fn parse(text: &'t str) -> Result<Self, UrlFault> {
        check_bytes(text)?;
        let text = without_fragment(text);
        let (is_https, rest) = if let Some(rest) = strip_scheme(text, "https://") {
            (true, rest)
        } else {
            (false, strip_scheme(text, "http://").ok_or(UrlFault::Scheme)?)
        };
        let end = find(rest, b"/?");
        let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if authority.as_bytes().contains(&b'@') {
            return Err(UrlFault::UserInfo);
        }
        let authority = Authority::parse(authority, default_port(is_https))?;
        Ok(Self { is_https, authority, text, path })
    }

    /// The URL a redirect from here leads to: how much of this one's text is kept, and what is put behind it. The result
    /// still has to be read: it may be no URL.
    pub fn join<'l>(&self, location: &'l str) -> Result<Joined<'l>, UrlFault> {
        check_bytes(location)?;
        let first = find(location, b":/?#");
        let rest = without_fragment(location);
        if location.as_bytes().get(first) == Some(&b':') {
            return Ok(Joined { kept: 0, between: "", rest });
        }
        let before_path = self.text.len().saturating_sub(self.path.len());
        if location.starts_with("//") {
            let kept = scheme(self.is_https).len().saturating_add(1);
            return Ok(Joined { kept, between: "", rest });
        }
        let directories = before(self.path, b"?");
        let slash = if directories.is_empty() { "/" } else { "" };
        let kept = match rest.as_bytes().first() {
            Some(b'/') => return Ok(Joined { kept: before_path, between: "", rest }),
            None => return Ok(Joined { kept: self.text.len(), between: "", rest }),
            Some(b'?') => directories.len(),
            Some(_) => {
                directories.bytes().rposition(|byte| byte == b'/').map_or(0, |at| at.saturating_add(1))
            }
        };
        Ok(Joined { kept: before_path.saturating_add(kept), between: slash, rest })
    }

    /// As it was written, without the fragment.
    #[must_use]
    pub const fn as_str(&self) -> &'t str {
        self.text
    }

    /// The whole of it, as a proxy wants it in the request line.
    #[must_use]
    pub fn absolute_form(&self) -> impl fmt::Display + use<'t> {
        Form { url: *self, part: Part::Absolute }
    }

    /// Path and query, as a server wants them in the request line.
    #[must_use]
    pub fn origin_form(&self) -> impl fmt::Display + use<'t> {
        Form { url: *self, part: Part::Path }
    }

    /// The value of `Host`: without the port when it is the scheme's own.
    #[must_use]
    pub fn host_header(&self) -> impl fmt::Display + use<'t> {
        Form { url: *self, part: Part::Host }
    }
}

impl PartialEq for Url<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.is_https == other.is_https
            && self.authority == other.authority
            && behind_slash(self.path) == behind_slash(other.path)
    }
}

impl Eq for Url<'_> {}

impl fmt::Debug for Url<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}/***", scheme(self.is_https), self.authority)
    }
}

/// What [`Url::join`] says: the text of the URL is its first `kept` bytes, then `between`, then `rest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joined<'l> {
    /// Bytes of the old URL that stay.
    pub kept: usize,
    /// A slash, or nothing.
    pub between: &'static str,
    /// The location, without its fragment.
    pub rest: &'l str,
}

/// A part of a URL as it stands in a request.
struct Form<'t> {
    url: Url<'t>,
    part: Part,
}

enum Part {
    Absolute,
    Path,
    Host,
}

impl fmt::Display for Form<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, part } = self;
        if matches!(part, Part::Absolute) {
            f.write_str(scheme(url.is_https))?;
            f.write_str("://")?;
        }
        if matches!(part, Part::Absolute | Part::Host) {
            let Authority { host, port } = url.authority;
            host.fmt(f)?;
            if port != default_port(url.is_https) {
                f.write_char(':')?;
                digits::decimal(f, port.into())?;
            }
        }
        if matches!(part, Part::Absolute | Part::Path) {
            if !url.path.starts_with('/') {
                f.write_char('/')?;
            }
            f.write_str(url.path)?;
        }
        Ok(())
    }
}

/// The port of the scheme.
#[must_use]
pub const fn default_port(is_https: bool) -> u16 {
    if is_https { 443 } else { 80 }
}

const fn scheme(is_https: bool) -> &'static str {
    if is_https { "https" } else { "http" }
}

/// What stands behind the scheme, if that is the one.
#[must_use]
pub fn strip_scheme<'t>(text: &'t str, scheme: &str) -> Option<&'t str> {
    let (start, rest) = text.split_at_checked(scheme.len())?;
    start.eq_ignore_ascii_case(scheme).then_some(rest)
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= LONGEST_NAME
        && !text.starts_with(['.', '-'])
        && !text.as_bytes().windows(2).any(|pair| pair == b"..")
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
}

fn check_bytes(text: &str) -> Result<(), UrlFault> {
    if text.len() > limits::URL {
        return Err(UrlFault::TooLong(limits::URL));
    }
    match text.bytes().find(|b| !b.is_ascii_graphic()) {
        Some(byte) => Err(UrlFault::Byte(byte)),
        None => Ok(()),
    }
}

fn without_fragment(text: &str) -> &str {
    before(text, b"#")
}

/// What stands before the first of these characters of ASCII, or all of it.
fn before<'t>(text: &'t str, marks: &[u8]) -> &'t str {
    text.get(..find(text, marks)).unwrap_or_default()
}

/// Where the first of these characters of ASCII stands, or the end.
fn find(text: &str, marks: &[u8]) -> usize {
    text.bytes().position(|byte| marks.contains(&byte)).unwrap_or(text.len())
}

fn behind_slash(path: &str) -> &str {
    path.strip_prefix('/').unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::{String, ToString};

    fn url(text: &str) -> Url<'_> {
        Url::parse(text).unwrap()
    }

    /// Where a redirect leads to.
    fn joined(base: &str, location: &str) -> Result<String, UrlFault> {
        let Joined { kept, between, rest } = url(base).join(location)?;
        let text = format!("{}{between}{rest}", &base[..kept]);
        Url::parse(&text).map(|url| url.absolute_form().to_string())
    }

    #[test]
    fn host_port_and_path_are_told_apart() {
        for (text, https, host, port, path, header) in [
            ("http://a.b", false, "a.b", 80, "/", "a.b"),
            ("https://a.b/", true, "a.b", 443, "/", "a.b"),
            ("HTTPS://A.b:443/X", true, "a.b", 443, "/X", "a.b"),
            ("http://a:443/x?y=%2F&z#f", false, "a", 443, "/x?y=%2F&z", "a:443"),
            ("http://a?q=1", false, "a", 80, "/?q=1", "a"),
            ("http://a#f/x", false, "a", 80, "/", "a"),
            ("https://[::1]:8443/p", true, "::1", 8443, "/p", "[::1]:8443"),
            ("https://[0:0::1]/p", true, "::1", 443, "/p", "[::1]"),
            ("http://10.0.0.1:/p/../q", false, "10.0.0.1", 80, "/p/../q", "10.0.0.1"),
            ("http://my_host/", false, "my_host", 80, "/", "my_host"),
            ("http://a/b@c:d", false, "a", 80, "/b@c:d", "a"),
        ] {
            let url = url(text);
            assert_eq!((url.is_https, url.authority.port), (https, port), "{text}");
            assert_eq!(url.authority.host, Host::parse(host).unwrap(), "{text}");
            assert_eq!(url.origin_form().to_string(), path, "{text}");
            assert_eq!(url.host_header().to_string(), header, "{text}");
            assert_eq!(Url::parse(&url.absolute_form().to_string()), Ok(url), "{text}");
        }
        assert_ne!(url("http://a//"), url("http://a/"));
        assert_ne!(url("http://a/x"), url("http://a/X"));
    }

    #[test]
    fn n15_n16_no_byte_that_ends_a_line_or_splits_one() {
        for byte in (0..=0x20).chain([0x7f]) {
            for place in ["http://a/X", "http://aX/", "http://a:8X0/", "X", "http://a/?X"] {
                let text = place.replace('X', &char::from(byte).to_string());
                assert_eq!(Url::parse(&text), Err(UrlFault::Byte(byte)), "{text:?}");
                assert_eq!(joined("http://a/", &text), Err(UrlFault::Byte(byte)), "{text:?}");
            }
        }
        assert!(matches!(Url::parse("http://a/ä"), Err(UrlFault::Byte(_))));
    }

    #[test]
    fn what_is_no_url_is_refused() {
        use UrlFault::{Host, Port, Scheme, TooLong, UserInfo};
        for (text, fault) in [
            ("", Scheme),
            ("a.b/c", Scheme),
            ("ftp://a/", Scheme),
            ("http:/a", Scheme),
            ("file:///etc/passwd", Scheme),
            ("http://user@a/", UserInfo),
            ("http://user:pass@a/", UserInfo),
            ("http://", Host),
            ("http:///x", Host),
            ("http://:80/", Host),
            ("http://[::1/", Host),
            ("http://[a]/", Host),
            ("http://[fe80::1%25eth0]/", Host),
            ("http://a,b/", Host),
            ("http://a\\b/", Host),
            ("http://-a/", Host),
            ("http://a..b/", Host),
            ("http://[::1]8/", Port),
            ("http://a:0/", Port),
            ("http://a:65536/", Port),
            ("http://a:+1/", Port),
            ("http://a:1:2/", Port),
            ("http://::1/", Host),
        ] {
            assert_eq!(Url::parse(text), Err(fault), "{text}");
        }
        assert_eq!(Url::parse(&format!("http://a/{}", "x".repeat(limits::URL))), Err(TooLong(limits::URL)));
    }

    #[test]
    fn n9_a_port_of_1_to_40_digits() {
        for digits in 1..=40 {
            let text = format!("http://a:{}/", "9".repeat(digits));
            assert_eq!(Url::parse(&text).is_ok(), digits <= 4, "{text}");
        }
    }

    #[test]
    fn a_location_is_joined() {
        for (base, location, expected) in [
            ("https://a:8443/p/q?r=s", "https://b/c", "https://b/c"),
            ("https://a:8443/p/q?r=s", "http://b/c", "http://b/c"),
            ("https://a:8443/p/q?r=s", "//b/c?d", "https://b/c?d"),
            ("https://a:8443/p/q?r=s", "/c?d=e:f", "https://a:8443/c?d=e:f"),
            ("https://a:8443/p/q?r=s", "c", "https://a:8443/p/c"),
            ("https://a:8443/p/q?r=s", "c#f", "https://a:8443/p/c"),
            ("https://a:8443/p/q?r=s", "?d", "https://a:8443/p/q?d"),
            ("https://a:8443/p/q?r=s", "", "https://a:8443/p/q?r=s"),
            ("https://a:8443/p/q?r=s", "#x", "https://a:8443/p/q?r=s"),
            ("http://a", "c", "http://a/c"),
            ("http://a", "?d", "http://a/?d"),
            ("http://a?b/c", "d", "http://a/d"),
            ("http://a?b/c", "", "http://a/?b/c"),
        ] {
            assert_eq!(joined(base, location).as_deref(), Ok(expected), "{base} {location}");
        }
        assert_eq!(joined("https://a:8443/", "mailto:a"), Err(UrlFault::Scheme));
    }

    #[test]
    fn loopback_is_known_by_name_and_address() {
        for (host, expected) in [
            ("localhost", true),
            ("LocalHost", true),
            ("localhost.", true),
            ("x.localhost", true),
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("[::1]", true),
            ("[::ffff:127.0.0.1]", true),
            ("notlocalhost", false),
            ("host", false),
            ("128.0.0.1", false),
            ("[::2]", false),
            ("127.0.0.1.example", false),
        ] {
            assert_eq!(Authority::parse(host, 80).unwrap().host.is_loopback(), expected, "{host}");
        }
    }

    #[test]
    fn d10_debug_hides_path_and_query() {
        assert_eq!(format!("{:?}", url("https://a/x?sig=secret")), "https://a:443/***");
    }
}
