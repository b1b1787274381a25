//! URLs as they go into a request, and nothing that could end a line or split one (N15, N16).

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use thimble_core::limits;

/// Longest URL, in bytes: core's limit, also for redirects.
const LONGEST: usize = limits::URL;

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

impl fmt::Display for UrlFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "it is longer than {LONGEST} bytes"),
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

/// Where a connection goes: `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Authority {
    /// Lower case; an IPv6 address without brackets, in its shortest form.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Authority {
    /// `host[:port]`, an IPv6 address in brackets.
    pub(super) fn parse(text: &str, default_port: u16) -> Result<Self, UrlFault> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']').ok_or(UrlFault::Host)?;
                let address: Ipv6Addr = address.parse().map_err(|_| UrlFault::Host)?;
                (address.to_string(), port)
            }
            None => {
                let end = text.find(':').unwrap_or(text.len());
                (text[..end].to_ascii_lowercase(), &text[end..])
            }
        };
        if !is_host(&host) {
            return Err(UrlFault::Host);
        }
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => default_port,
            Some("") => default_port,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().ok().filter(|&port| port != 0).ok_or(UrlFault::Port)?
            }
            None | Some(_) => return Err(UrlFault::Port),
        };
        Ok(Self { host, port })
    }

    /// The address, when the host is one: no lookup is needed.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// Whether the host is this machine itself, whatever a name service says.
    pub(super) fn is_loopback(&self) -> bool {
        match self.address() {
            Some(IpAddr::V4(address)) => address.is_loopback(),
            Some(IpAddr::V6(address)) => {
                address.is_loopback() || address.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback())
            }
            None => {
                let name = self.host.strip_suffix('.').unwrap_or(&self.host);
                name == "localhost" || name.ends_with(".localhost")
            }
        }
    }

    /// The host as it stands in a URL or a header.
    fn bracketed(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }

    /// The value of `Host`: without the port when it is the scheme's own.
    pub(super) fn host_header(&self, default_port: u16) -> String {
        if self.port == default_port { self.bracketed() } else { self.to_string() }
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.bracketed(), self.port)
    }
}

/// A name of letters, digits, hyphens, dots and underscores, or an address.
fn is_host(host: &str) -> bool {
    host.parse::<Ipv6Addr>().is_ok()
        || (!host.is_empty()
            && host.len() <= 253
            && !host.starts_with(['.', '-'])
            && !host.contains("..")
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_')))
}

/// An absolute `http` or `https` URL. `Debug` and `Display` leave out path and query: a link to an artifact is
/// itself a secret.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) is_https: bool,
    pub(super) authority: Authority,
    /// Path and query as they were given, beginning with `/`; no fragment.
    pub(super) path: String,
}

impl Url {
    pub(super) fn parse(text: &str) -> Result<Self, UrlFault> {
        check_bytes(text)?;
        let (is_https, rest) = if let Some(rest) = strip_scheme(text, "https://") {
            (true, rest)
        } else {
            (false, strip_scheme(text, "http://").ok_or(UrlFault::Scheme)?)
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err(UrlFault::UserInfo);
        }
        let authority = Authority::parse(authority, default_port(is_https))?;
        Ok(Self { is_https, authority, path: absolute(path) })
    }

    /// The URL a redirect from here leads to.
    pub(super) fn join(&self, location: &str) -> Result<Self, UrlFault> {
        check_bytes(location)?;
        if let Some(rest) = location.strip_prefix("//") {
            let scheme = if self.is_https { "https" } else { "http" };
            return Self::parse(&format!("{scheme}://{rest}"));
        }
        let colon = location.find([':', '/', '?', '#']).filter(|&at| location.as_bytes()[at] == b':');
        if colon.is_some() {
            return Self::parse(location);
        }
        let base = self.path.split('?').next().unwrap_or("/");
        let path = match location.as_bytes().first() {
            Some(b'/') => location.to_owned(),
            Some(b'?') => format!("{base}{location}"),
            None | Some(b'#') => self.path.clone(),
            Some(_) => format!("{}{location}", &base[..=base.rfind('/').unwrap_or(0)]),
        };
        Ok(Self { path: absolute(&path), ..self.clone() })
    }

    /// The whole of it, as a proxy wants it in the request line.
    pub(super) fn absolute_form(&self) -> String {
        let scheme = if self.is_https { "https" } else { "http" };
        format!("{scheme}://{}{}", self.host_header(), self.path)
    }

    pub(super) fn host_header(&self) -> String {
        self.authority.host_header(default_port(self.is_https))
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}/***", if self.is_https { "https" } else { "http" }, self.authority)
    }
}

pub(super) const fn default_port(is_https: bool) -> u16 {
    if is_https { 443 } else { 80 }
}

pub(super) fn strip_scheme<'a>(text: &'a str, scheme: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(scheme.len())?;
    start.eq_ignore_ascii_case(scheme).then_some(rest)
}

fn check_bytes(text: &str) -> Result<(), UrlFault> {
    if text.len() > LONGEST {
        return Err(UrlFault::TooLong);
    }
    match text.bytes().find(|b| !b.is_ascii_graphic()) {
        Some(byte) => Err(UrlFault::Byte(byte)),
        None => Ok(()),
    }
}

/// Path and query without fragment, beginning with a slash.
fn absolute(path: &str) -> String {
    let path = path.split('#').next().unwrap_or("");
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn host_port_and_path_are_told_apart() {
        for (text, https, host, port, path, header) in [
            ("http://a.b", false, "a.b", 80, "/", "a.b"),
            ("https://a.b/", true, "a.b", 443, "/", "a.b"),
            ("HTTPS://A.b:443/X", true, "a.b", 443, "/X", "a.b"),
            ("http://a:443/x?y=%2F&z#f", false, "a", 443, "/x?y=%2F&z", "a:443"),
            ("http://a?q=1", false, "a", 80, "/?q=1", "a"),
            ("https://[::1]:8443/p", true, "::1", 8443, "/p", "[::1]:8443"),
            ("https://[0:0::1]/p", true, "::1", 443, "/p", "[::1]"),
            ("http://10.0.0.1:/p/../q", false, "10.0.0.1", 80, "/p/../q", "10.0.0.1"),
            ("http://my_host/", false, "my_host", 80, "/", "my_host"),
            ("http://a/b@c:d", false, "a", 80, "/b@c:d", "a"),
        ] {
            let url = url(text);
            let authority = Authority { host: host.into(), port };
            assert_eq!(url, Url { is_https: https, authority, path: path.into() }, "{text}");
            assert_eq!(url.host_header(), header, "{text}");
        }
    }

    #[test]
    fn n15_n16_no_byte_that_ends_a_line_or_splits_one() {
        for byte in (0..=0x20).chain([0x7f]) {
            for place in ["http://a/X", "http://aX/", "http://a:8X0/", "X", "http://a/?X"] {
                let text = place.replace('X', &char::from(byte).to_string());
                assert_eq!(Url::parse(&text), Err(UrlFault::Byte(byte)), "{text:?}");
                assert_eq!(url("http://a/").join(&text), Err(UrlFault::Byte(byte)), "{text:?}");
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
        assert_eq!(Url::parse(&format!("http://a/{}", "x".repeat(LONGEST))), Err(TooLong));
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
        let base = url("https://a:8443/p/q?r=s");
        for (location, expected) in [
            ("https://b/c", "https://b/c"),
            ("http://b/c", "http://b/c"),
            ("//b/c?d", "https://b/c?d"),
            ("/c?d=e:f", "https://a:8443/c?d=e:f"),
            ("c", "https://a:8443/p/c"),
            ("?d", "https://a:8443/p/q?d"),
            ("", "https://a:8443/p/q?r=s"),
            ("#x", "https://a:8443/p/q?r=s"),
        ] {
            assert_eq!(base.join(location).unwrap().absolute_form(), expected, "{location}");
        }
        assert_eq!(base.join("mailto:a"), Err(UrlFault::Scheme));
    }

    #[test]
    fn loopback_is_known_by_name_and_address() {
        for (host, expected) in [
            ("localhost", true),
            ("localhost.", true),
            ("x.localhost", true),
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("[::1]", true),
            ("[::ffff:127.0.0.1]", true),
            ("notlocalhost", false),
            ("128.0.0.1", false),
            ("[::2]", false),
            ("127.0.0.1.example", false),
        ] {
            assert_eq!(Authority::parse(host, 80).unwrap().is_loopback(), expected, "{host}");
        }
    }

    #[test]
    fn d10_debug_hides_path_and_query() {
        assert_eq!(format!("{:?}", url("https://a/x?sig=secret")), "https://a:443/***");
    }
}
