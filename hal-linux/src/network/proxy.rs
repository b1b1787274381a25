//! Which proxy a request goes through: `http_proxy`, `https_proxy`, `no_proxy` (CONFIG-30).

use std::ffi::OsString;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::url::{Authority, Url, UrlFault, default_port, strip_scheme};

/// The proxies from the environment. By default there are none.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    exceptions: Vec<Exception>,
}

/// One proxy.
#[derive(Clone)]
pub(super) struct Proxy {
    /// Whether the connection to the proxy itself uses TLS.
    pub(super) is_https: bool,
    pub(super) authority: Authority,
    /// The value of the header `Proxy-Authorization`.
    pub(super) authorization: Option<Arc<Zeroizing<String>>>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https { "https" } else { "http" };
        let user = if self.authorization.is_some() { "***@" } else { "" };
        write!(f, "{scheme}://{user}{}", self.authority)
    }
}

/// One entry of `no_proxy`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Exception {
    Everything,
    /// `.example.com`: every host whose name ends so.
    Suffix(String),
    Host(String),
    HostAndPort(Authority),
}

/// Why a proxy variable cannot be used. Its value is never shown: it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "`Display` says it")]
pub enum ProxyFault {
    BothCases(&'static str, &'static str),
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
            Self::BothCases(a, b) => write!(f, "both {a} and {b} are set; set only one of them"),
            Self::Cgi => f.write_str(
                "HTTP_PROXY is set beside REQUEST_METHOD, so a web client may have set it; use http_proxy",
            ),
            Self::NotText(name) => write!(f, "{name} is not UTF-8 text"),
            Self::Scheme(name) => write!(f, "{name} does not begin with http:// or https://"),
            Self::Path(name) => {
                write!(f, "{name} has a path; only http[s]://[user[:password]@]host[:port] is accepted")
            }
            Self::Escape(name) => write!(f, "user or password in {name} hold a broken percent escape"),
            Self::ControlByte(name) => write!(f, "{name} holds a control byte"),
            Self::Address(name, fault) => write!(f, "{name} cannot be used: {fault}"),
        }
    }
}

impl std::error::Error for ProxyFault {}

impl Proxies {
    /// Reads the environment through `variable` (`|name| std::env::var_os(name)`).
    pub fn from_env(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, ProxyFault> {
        let text = |name: &'static str| match variable(name) {
            None => Ok(None),
            Some(value) if value.is_empty() => Ok(None),
            Some(value) => {
                value.into_string().map(|v| Some((name, v))).map_err(|_| ProxyFault::NotText(name))
            }
        };
        let either = |lower, upper| match (text(lower)?, text(upper)?) {
            (Some(_), Some(_)) => Err(ProxyFault::BothCases(lower, upper)),
            (value, None) | (None, value) => Ok(value),
        };
        // In a CGI program this variable holds the header `Proxy:` of whoever sent the request, so it is not trusted.
        if text("HTTP_PROXY")?.is_some() && variable("REQUEST_METHOD").is_some() {
            return Err(ProxyFault::Cgi);
        }
        let proxy = |value: Option<(&'static str, String)>| {
            value.map(|(name, text)| Proxy::parse(name, &Zeroizing::new(text))).transpose()
        };
        let exceptions = either("no_proxy", "NO_PROXY")?;
        Ok(Self {
            http: proxy(either("http_proxy", "HTTP_PROXY")?)?,
            https: proxy(either("https_proxy", "HTTPS_PROXY")?)?,
            exceptions: exceptions.map(|(_, text)| exceptions_in(&text)).unwrap_or_default(),
        })
    }

    /// The proxy for a request to `url`; `None` for this machine itself and for the exceptions in `no_proxy`.
    pub(super) fn of(&self, url: &Url) -> Option<&Proxy> {
        let proxy = if url.is_https { self.https.as_ref()? } else { self.http.as_ref()? };
        let target = &url.authority;
        let is_direct = target.is_loopback() || self.exceptions.iter().any(|e| e.covers(target));
        (!is_direct).then_some(proxy)
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
            (None, None) => return Err(ProxyFault::Scheme(name)),
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
        Ok(Self { is_https, authority, authorization })
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
    let encoded = Zeroizing::new(STANDARD.encode(&*plain));
    Ok(Zeroizing::new(format!("Basic {}", *encoded)))
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
    fn parse(entry: &str) -> Self {
        if entry == "*" {
            return Self::Everything;
        }
        if entry.starts_with('.') {
            return Self::Suffix(entry.to_ascii_lowercase());
        }
        if entry.parse::<std::net::Ipv6Addr>().is_ok() {
            return Self::parse(&format!("[{entry}]"));
        }
        // No real port is 0, so this tells "none given"; text that is no host matches nothing.
        match Authority::parse(entry, 0) {
            Ok(Authority { host, port: 0 }) => Self::Host(host),
            Ok(authority) => Self::HostAndPort(authority),
            Err(_) => Self::Host(entry.to_ascii_lowercase()),
        }
    }

    fn covers(&self, target: &Authority) -> bool {
        let name = target.host.strip_suffix('.').unwrap_or(&target.host);
        match self {
            Self::Everything => true,
            Self::Suffix(suffix) => name.len() > suffix.len() && name.ends_with(suffix.as_str()),
            Self::Host(host) => host == name,
            Self::HostAndPort(authority) => authority.host == name && authority.port == target.port,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(set: &[(&str, &str)]) -> Result<Proxies, ProxyFault> {
        Proxies::from_env(|name| set.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(*v)))
    }

    fn chosen(proxies: &Proxies, url: &str) -> Option<String> {
        proxies.of(&Url::parse(url).unwrap()).map(|proxy| proxy.authority.to_string())
    }

    #[test]
    fn each_scheme_has_its_variable() {
        let proxies = env(&[("http_proxy", "http://p"), ("HTTPS_PROXY", "https://q:3128/")]).unwrap();
        assert_eq!(chosen(&proxies, "http://a/").unwrap(), "p:80");
        assert_eq!(chosen(&proxies, "https://a/").unwrap(), "q:3128");
        assert!(proxies.https.as_ref().unwrap().is_https);
        let proxies = env(&[("http_proxy", "http://p")]).unwrap();
        assert_eq!(chosen(&proxies, "https://a/"), None);
        assert_eq!(chosen(&env(&[("https_proxy", "")]).unwrap(), "https://a/"), None);
    }

    #[test]
    fn both_spellings_of_a_variable_are_an_error() {
        for (lower, upper) in
            [("http_proxy", "HTTP_PROXY"), ("https_proxy", "HTTPS_PROXY"), ("no_proxy", "NO_PROXY")]
        {
            let fault = env(&[(lower, "http://p"), (upper, "http://p")]).unwrap_err();
            assert_eq!(fault, ProxyFault::BothCases(lower, upper));
            env(&[(lower, "http://p"), (upper, "")]).unwrap();
        }
    }

    #[test]
    fn n21_http_proxy_of_a_cgi_client_is_refused() {
        let cgi = ("REQUEST_METHOD", "GET");
        assert_eq!(env(&[("HTTP_PROXY", "http://p"), cgi]).unwrap_err(), ProxyFault::Cgi);
        env(&[("http_proxy", "http://p"), cgi]).unwrap();
        env(&[("HTTPS_PROXY", "http://p"), cgi]).unwrap();
    }

    #[test]
    fn n20_no_proxy() {
        for (list, host, direct) in [
            ("a.b", "a.b", true),
            ("a.b", "A.B", true),
            ("A.b", "a.b.", true),
            ("a.b", "x.a.b", false),
            ("a.b", "xa.b", false),
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
            ("a.b:81", "a.b", false),
            ("a*", "ab", false),
        ] {
            let proxies = env(&[("http_proxy", "http://p"), ("no_proxy", list)]).unwrap();
            assert_eq!(chosen(&proxies, &format!("http://{host}/")).is_none(), direct, "{list:?} {host}");
        }
    }

    #[test]
    fn loopback_is_never_proxied() {
        let proxies = env(&[("http_proxy", "http://p"), ("https_proxy", "http://p")]).unwrap();
        for url in ["http://localhost:8080/", "https://127.0.0.1/", "http://[::1]/", "https://a.localhost/"] {
            assert_eq!(chosen(&proxies, url), None, "{url}");
        }
    }

    #[test]
    fn n15_credentials_are_decoded_and_hold_no_control_bytes() {
        let of = |value: &str| env(&[("http_proxy", value)]).map(|p| p.http.unwrap());
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
        let of = |value: &str| env(&[("http_proxy", value)]).unwrap_err();
        assert_eq!(of("p:3128"), ProxyFault::Scheme("http_proxy"));
        assert_eq!(of("socks5://p"), ProxyFault::Scheme("http_proxy"));
        assert_eq!(of("http://p/path"), ProxyFault::Path("http_proxy"));
        assert_eq!(of("http://p:99999"), ProxyFault::Address("http_proxy", UrlFault::Port));
        assert_eq!(of("http://"), ProxyFault::Address("http_proxy", UrlFault::Host));
    }

    #[test]
    fn d10_debug_and_errors_hide_credentials() {
        let proxies = env(&[("http_proxy", "http://user:secret@p")]).unwrap();
        let text = format!("{proxies:?}");
        assert!(text.contains("***@p:80") && !text.contains("secret"), "{text}");
        let fault = env(&[("http_proxy", "http://user:secret@p/x")]).unwrap_err();
        assert!(!format!("{fault} {fault:?}").contains("secret"));
    }
}
