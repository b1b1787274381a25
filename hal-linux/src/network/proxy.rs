//! Which proxy a request goes through: `http_proxy`, `https_proxy`, `no_proxy` (CONFIG-30).

use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thimble_core::http::fault::UrlFault;
use thimble_core::http::url::{Authority, Host, default_port, strip_scheme};
use zeroize::Zeroizing;

use super::endpoint::Endpoint;
use crate::secret::Secret;

/// The proxies from the environment. By default there are none.
#[derive(Clone, Debug)]
pub struct Proxies {
    http: Variable,
    https: Variable,
    exceptions: Result<Vec<Exception>, ProxyFault>,
}

/// What a variable names, if it is set. One that cannot be used is an error of the requests that would use it, and of
/// nothing else.
type Variable = Result<Option<Proxy>, ProxyFault>;

/// One proxy.
#[derive(Clone)]
pub(super) struct Proxy {
    /// Whether the connection to the proxy itself uses TLS.
    pub(super) is_https: bool,
    pub(super) endpoint: Endpoint,
    authorization: Option<Arc<Zeroizing<String>>>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https { "https" } else { "http" };
        let user = if self.authorization.is_some() { "***@" } else { "" };
        write!(f, "{scheme}://{user}{}", self.endpoint)
    }
}

/// One entry of `no_proxy`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Exception {
    hosts: Hosts,
    /// Only on this port.
    port: Option<u16>,
}

/// The hosts that an entry of `no_proxy` covers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    All,
    /// `example.com`: that host, and every one below.
    Domain(String),
    /// `.example.com` or `*.example.com`: every host below.
    Below(String),
    /// The addresses that begin with the same bits.
    Network(IpAddr, u8),
}

/// Why a proxy variable cannot be used. Its value is never shown: it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "`Display` says it")]
pub enum ProxyFault {
    Cgi,
    NotText(&'static str),
    Scheme(&'static str),
    Path(&'static str),
    Escape(&'static str),
    ControlByte(&'static str),
    Address(&'static str, UrlFault),
}

impl fmt::Display for ProxyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cgi => f.write_str(
                "HTTP_PROXY is set beside REQUEST_METHOD, so a web client may have set it; use http_proxy",
            ),
            Self::NotText(name) => write!(f, "{name} is not UTF-8 text"),
            Self::Scheme(name) => {
                write!(
                    f,
                    "{name} names a proxy of another kind than http:// or https://, and no other is supported"
                )
            }
            Self::Path(name) => {
                write!(f, "{name} has a path; only [http[s]://][user[:password]@]host[:port] is accepted")
            }
            Self::Escape(name) => write!(f, "user or password in {name} hold a broken percent escape"),
            Self::ControlByte(name) => write!(f, "{name} holds a control byte"),
            Self::Address(name, fault) => write!(f, "{name} cannot be used: {fault}"),
        }
    }
}

impl std::error::Error for ProxyFault {}

impl Default for Proxies {
    fn default() -> Self {
        Self { http: Ok(None), https: Ok(None), exceptions: Ok(Vec::new()) }
    }
}

impl Proxies {
    /// Reads the environment through `variable` (`|name| std::env::var_os(name)`). Lower case wins over upper; an
    /// empty variable counts as not set.
    pub fn from_env(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let is_set = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
        let text = |names: [&'static str; 2]| match names.into_iter().find(|name| is_set(name)) {
            // In a CGI program this variable holds the header `Proxy:` of whoever sent the request, so it is not
            // trusted.
            Some("HTTP_PROXY") if variable("REQUEST_METHOD").is_some() => Err(ProxyFault::Cgi),
            Some(name) => {
                let value = variable(name).unwrap_or_default().into_string();
                value.map(|value| Some((name, Zeroizing::new(value)))).map_err(|_| ProxyFault::NotText(name))
            }
            None => Ok(None),
        };
        let proxy = |names| match text(names)? {
            Some((name, value)) => Proxy::parse(name, &value).map(Some),
            None => Ok(None),
        };
        let exceptions = text(["no_proxy", "NO_PROXY"]);
        Self {
            http: proxy(["http_proxy", "HTTP_PROXY"]),
            https: proxy(["https_proxy", "HTTPS_PROXY"]),
            exceptions: exceptions.map(|set| set.map(|(_, text)| exceptions_in(&text)).unwrap_or_default()),
        }
    }

    /// The proxy for a request to `target`; `None` for this machine itself and for the exceptions in `no_proxy`.
    pub(super) fn of(&self, target: &Authority<'_>, is_https: bool) -> Result<Option<&Proxy>, ProxyFault> {
        let variable = if is_https { &self.https } else { &self.http };
        if target.host.is_loopback() || matches!(variable, Ok(None)) {
            return Ok(None);
        }
        let exceptions = self.exceptions.as_ref().map_err(Clone::clone)?;
        if exceptions.iter().any(|exception| exception.covers(target)) {
            return Ok(None);
        }
        variable.as_ref().map(Option::as_ref).map_err(Clone::clone)
    }
}

impl Proxy {
    fn parse(name: &'static str, text: &str) -> Result<Self, ProxyFault> {
        if text.bytes().any(|b| b.is_ascii_control()) {
            return Err(ProxyFault::ControlByte(name));
        }
        let (is_https, rest) = match (strip_scheme(text, "http://"), strip_scheme(text, "https://")) {
            (Some(rest), _) => (false, rest),
            (None, Some(rest)) => (true, rest),
            (None, None) if text.contains("://") => return Err(ProxyFault::Scheme(name)),
            (None, None) => (false, text),
        };
        // The last @ ends the password: a host holds none.
        let (user, rest) = match rest.rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, rest),
        };
        let host = rest.strip_suffix('/').unwrap_or(rest);
        if host.contains(['/', '?', '#']) {
            return Err(ProxyFault::Path(name));
        }
        let authority = Authority::parse(host, default_port(is_https))
            .map_err(|fault| ProxyFault::Address(name, fault))?;
        let authorization = user.map(|user| basic(name, user)).transpose()?.map(Arc::new);
        Ok(Self { is_https, endpoint: Endpoint::new(&authority), authorization })
    }

    /// The value of the header `Proxy-Authorization`.
    pub(super) fn authorization(&self) -> Option<&str> {
        self.authorization.as_ref().map(|value| value.as_str())
    }
}

/// `user[:password]`, percent-encoded, as the value of an authorization header.
fn basic(name: &'static str, user: &str) -> Result<Zeroizing<String>, ProxyFault> {
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    let mut plain = Zeroizing::new(Vec::with_capacity(user.len() + password.len() + 1));
    percent_decode(user, &mut plain).ok_or(ProxyFault::Escape(name))?;
    plain.push(b':');
    percent_decode(password, &mut plain).ok_or(ProxyFault::Escape(name))?;
    if plain.iter().any(u8::is_ascii_control) {
        return Err(ProxyFault::ControlByte(name));
    }
    let encoded = encoded(&plain);
    Ok(Zeroizing::new(format!("Basic {}", *encoded)))
}

fn encoded(plain: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(STANDARD.encode(plain))
}

/// A person's name, in which a colon would end it, and password as [`Authorization::Basic`] has them.
///
/// [`Authorization::Basic`]: thimble_core::http::Authorization::Basic
#[must_use]
pub fn credentials(name: &str, password: &Secret) -> Secret {
    let password = password.expose();
    let mut plain = Zeroizing::new(Vec::with_capacity(name.len() + password.len() + 1));
    plain.extend(name.bytes().chain([b':']).chain(password.bytes()));
    Secret::new(encoded(&plain).to_string())
}

fn percent_decode(text: &str, to: &mut Vec<u8>) -> Option<()> {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            let (high, low) = (digit()?, digit()?);
            to.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            to.push(byte);
        }
    }
    Some(())
}

fn exceptions_in(text: &str) -> Vec<Exception> {
    let entries = text.split(|c: char| c == ',' || c.is_ascii_whitespace()).filter(|entry| !entry.is_empty());
    entries.map(Exception::parse).collect()
}

impl Exception {
    /// Text that is no host covers nothing.
    fn parse(entry: &str) -> Self {
        if let Some(network) = network(entry) {
            return Self { hosts: network, port: None };
        }
        // An IPv6 address without brackets; its last group is no port.
        if let Ok(address) = entry.parse::<IpAddr>() {
            return Self { hosts: one(address), port: None };
        }
        let (host, port) = match entry.rsplit_once(':') {
            Some((host, port)) => match port.parse() {
                Ok(port) => (host, Some(port)),
                Err(_) => (entry, None),
            },
            None => (entry, None),
        };
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let domain = |name: &str| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let hosts = if host == "*" {
            Hosts::All
        } else if let Ok(address) = address.parse() {
            one(address)
        } else if let Some(name) = host.strip_prefix("*.").or_else(|| host.strip_prefix('.')) {
            Hosts::Below(domain(name))
        } else {
            Hosts::Domain(domain(host))
        };
        Self { hosts, port }
    }

    fn covers(&self, target: &Authority<'_>) -> bool {
        if self.port.is_some_and(|port| port != target.port) {
            return false;
        }
        match (target.host, &self.hosts) {
            (_, Hosts::All) => true,
            (Host::Address(address), Hosts::Network(network, bits)) => {
                begin_alike(*network, address.to_canonical(), *bits)
            }
            (Host::Address(_), Hosts::Domain(_) | Hosts::Below(_)) | (Host::Name(_), Hosts::Network(..)) => {
                false
            }
            (Host::Name(name), Hosts::Domain(domain)) => {
                let name = name.strip_suffix('.').unwrap_or(name);
                name.eq_ignore_ascii_case(domain) || is_below(name, domain)
            }
            (Host::Name(name), Hosts::Below(domain)) => {
                is_below(name.strip_suffix('.').unwrap_or(name), domain)
            }
        }
    }
}

/// Whether the name ends with a dot and this domain.
fn is_below(name: &str, domain: &str) -> bool {
    let at = name.len().saturating_sub(domain.len());
    name.split_at_checked(at)
        .is_some_and(|(front, last)| front.ends_with('.') && last.eq_ignore_ascii_case(domain))
}

/// `10.0.0.0/8` or `fd00::/8`.
fn network(entry: &str) -> Option<Hosts> {
    let (address, bits) = entry.split_once('/')?;
    let (address, bits) = (address.parse().ok()?, bits.parse().ok()?);
    let most = match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    };
    (bits <= most).then_some(Hosts::Network(address, bits))
}

fn one(address: IpAddr) -> Hosts {
    let address = address.to_canonical();
    Hosts::Network(address, if address.is_ipv4() { 32 } else { 128 })
}

fn begin_alike(a: IpAddr, b: IpAddr, bits: u8) -> bool {
    let differ = match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
    };
    differ >= u32::from(bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use thimble_core::http::url::Url;

    fn env(set: &[(&str, &str)]) -> Proxies {
        Proxies::from_env(|name| set.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(*v)))
    }

    fn chosen(proxies: &Proxies, url: &str) -> Result<Option<String>, ProxyFault> {
        let url = Url::parse(url).unwrap();
        Ok(proxies.of(&url.authority, url.is_https)?.map(|proxy| proxy.endpoint.to_string()))
    }

    #[test]
    fn each_scheme_has_its_variable() {
        let proxies = env(&[("http_proxy", "http://p"), ("HTTPS_PROXY", "https://q:3128/")]);
        assert_eq!(chosen(&proxies, "http://a/").unwrap().unwrap(), "p:80");
        assert_eq!(chosen(&proxies, "https://a/").unwrap().unwrap(), "q:3128");
        assert!(proxies.https.unwrap().unwrap().is_https);
        let proxies = env(&[("http_proxy", "http://p")]);
        assert_eq!(chosen(&proxies, "https://a/"), Ok(None));
        assert_eq!(chosen(&env(&[("https_proxy", "")]), "https://a/"), Ok(None));
    }

    #[test]
    fn r33_lower_case_wins_over_upper() {
        let both = [("http_proxy", "low"), ("HTTP_PROXY", "up"), ("no_proxy", "a"), ("NO_PROXY", "b")];
        let proxies = env(&both);
        assert_eq!(chosen(&proxies, "http://a/"), Ok(None));
        assert_eq!(chosen(&proxies, "http://b/").unwrap().unwrap(), "low:80");
        let proxies = env(&[("http_proxy", ""), ("HTTP_PROXY", "up")]);
        assert_eq!(chosen(&proxies, "http://b/").unwrap().unwrap(), "up:80");
    }

    #[test]
    fn r33_a_variable_that_is_no_good_concerns_the_requests_that_would_use_it() {
        let proxies = env(&[("http_proxy", "socks5://p"), ("https_proxy", "q"), ("no_proxy", "direct")]);
        assert_eq!(chosen(&proxies, "http://a/"), Err(ProxyFault::Scheme("http_proxy")));
        for direct in ["http://direct/", "http://localhost/"] {
            assert_eq!(chosen(&proxies, direct), Ok(None));
        }
        assert_eq!(chosen(&proxies, "https://a/").unwrap().unwrap(), "q:80");
    }

    #[test]
    fn n21_http_proxy_of_a_cgi_client_is_refused() {
        let cgi = ("REQUEST_METHOD", "GET");
        assert_eq!(chosen(&env(&[("HTTP_PROXY", "http://p"), cgi]), "http://a/"), Err(ProxyFault::Cgi));
        for (name, url) in [("http_proxy", "http://a/"), ("HTTPS_PROXY", "https://a/")] {
            chosen(&env(&[(name, "http://p"), cgi]), url).unwrap().unwrap();
        }
    }

    #[test]
    fn n20_no_proxy() {
        for (list, host, direct) in [
            ("a.b", "a.b", true),
            ("a.b", "A.B", true),
            ("A.b", "a.b.", true),
            ("a.b", "x.a.b", true),
            ("a.b", "y.x.a.b", true),
            ("a.b", "xa.b", false),
            ("a.b", "b", false),
            ("a.b.", "x.a.b", true),
            ("*.a.b", "x.a.b", true),
            ("*.a.b", "a.b", false),
            ("*.a.b", "xa.b", false),
            (".a.b", "x.a.b", true),
            (".a.b", "y.x.a.b", true),
            (".a.b", "a.b", false),
            (".a.b", "xa.b", false),
            (".a.b", "b", false),
            (".very.long.suffix", "s", false),
            ("*", "anything", true),
            ("x,a.b", "a.b", true),
            ("x a.b", "a.b", true),
            ("x, ,\ta.b,", "a.b", true),
            ("", "a.b", false),
            (",", "a.b", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.11", false),
            ("fe80::0:1", "[fe80::1]", true),
            ("[fe80::1]", "[fe80::1]", true),
            ("a.b:80", "a.b", true),
            ("a.b:80", "x.a.b", true),
            ("a.b:81", "a.b", false),
            (".a.b:80", "x.a.b", true),
            ("*:80", "a.b", true),
            ("*:81", "a.b", false),
            ("10.0.0.1:80", "10.0.0.1", true),
            ("10.0.0.1:81", "10.0.0.1", false),
            ("[fe80::1]:80", "[fe80::1]", true),
            ("[fe80::1]:81", "[fe80::1]", false),
            ("0.0.1", "10.0.0.1", false),
            ("10.0.0.0/8", "10.200.3.4", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "[::ffff:10.1.2.3]", true),
            ("192.168.4.7/30", "192.168.4.4", true),
            ("192.168.4.7/30", "192.168.4.8", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "[fe80::1]", false),
            ("0.0.0.0/0", "a.b", false),
            ("10.0.0.0/33", "10.0.0.0", false),
            ("10.0.0.0/x", "10.0.0.0", false),
            ("fd00::/8", "[fd12::1]", true),
            ("fd00::/8", "[fe80::1]", false),
            ("a*", "ab", false),
        ] {
            let proxies = env(&[("http_proxy", "http://p"), ("no_proxy", list)]);
            let found = chosen(&proxies, &format!("http://{host}/")).unwrap();
            assert_eq!(found.is_none(), direct, "{list:?} {host}");
        }
    }

    #[test]
    fn loopback_is_never_proxied() {
        let proxies = env(&[("http_proxy", "http://p"), ("https_proxy", "http://p")]);
        for url in ["http://localhost:8080/", "https://127.0.0.1/", "http://[::1]/", "https://a.localhost/"] {
            assert_eq!(chosen(&proxies, url), Ok(None), "{url}");
        }
    }

    #[test]
    fn n15_credentials_are_decoded_and_hold_no_control_bytes() {
        let of = |value: &str| env(&[("http_proxy", value)]).http.map(Option::unwrap);
        let secret = of("http://us%65r:p%40ss:w@p:1").unwrap().authorization.unwrap();
        assert_eq!(**secret, format!("Basic {}", STANDARD.encode("user:p@ss:w")));
        assert_eq!(
            **of("http://u@p").unwrap().authorization.unwrap(),
            format!("Basic {}", STANDARD.encode("u:"))
        );
        for byte in (0..0x20).chain([0x7f]) {
            let escaped = format!("http://u:x%{byte:02x}@p");
            assert_eq!(of(&escaped).unwrap_err(), ProxyFault::ControlByte("http_proxy"));
            if byte != 0 {
                let raw = format!("http://u:x{}@p", char::from(byte));
                assert_eq!(of(&raw).unwrap_err(), ProxyFault::ControlByte("http_proxy"));
            }
        }
        for broken in ["http://u%@p", "http://u%1@p", "http://u:%zz@p"] {
            assert_eq!(of(broken).unwrap_err(), ProxyFault::Escape("http_proxy"), "{broken}");
        }
    }

    #[test]
    fn what_is_no_proxy_is_an_error() {
        let of = |value: &str| env(&[("http_proxy", value)]).http.unwrap_err();
        assert_eq!(of("socks5://p"), ProxyFault::Scheme("http_proxy"));
        assert_eq!(of("http://p/path"), ProxyFault::Path("http_proxy"));
        assert_eq!(of("http://p:99999"), ProxyFault::Address("http_proxy", UrlFault::Port));
        assert_eq!(of("http://"), ProxyFault::Address("http_proxy", UrlFault::Host));
    }

    #[test]
    fn d10_debug_and_errors_hide_credentials() {
        let proxies = env(&[("http_proxy", "http://user:secret@p")]);
        let text = format!("{proxies:?}");
        assert!(text.contains("***@p:80") && !text.contains("secret"), "{text}");
        let fault = env(&[("http_proxy", "http://user:secret@p/x")]).http.unwrap_err();
        assert!(!format!("{fault} {fault:?}").contains("secret"));
    }
}
