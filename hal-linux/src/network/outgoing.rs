//! Requests as bytes. Whatever goes into one was checked before (N15, N16).

use std::fmt;

use thimble_core::http::{Method, Request};
use zeroize::Zeroizing;

use super::error::NetworkError;
use super::proxy::Proxy;
use super::url::Url;

const USER_AGENT: &str = concat!("thimble/", env!("CARGO_PKG_VERSION"));

/// The parts of a request that stay the same when it is redirected to another URL.
pub(super) struct Outgoing {
    method: &'static str,
    /// The header lines that do not depend on the URL.
    lines: Zeroizing<String>,
    body: Vec<u8>,
    /// Redirects are followed for downloads only: requests without token and without body.
    pub(super) is_download: bool,
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} *** ({} bytes)", self.method, self.body.len())
    }
}

impl Outgoing {
    pub(super) fn new(request: &Request<'_>) -> Result<Self, NetworkError> {
        // Enough room from the beginning: a growing buffer would leave copies of the token in freed memory.
        let secrets = request.token.map_or(0, str::len) + request.signature.map_or(0, str::len);
        let mut lines = Zeroizing::new(String::with_capacity(secrets + 1024));
        let mut line = |name: &'static str, prefix: &str, value: &str| {
            for part in [name, ": ", prefix, value, "\r\n"] {
                lines.push_str(part);
            }
        };
        line("User-Agent", "", USER_AGENT);
        // Every request has a connection of its own (N4, N5).
        line("Connection", "", "close");
        if let Some(token) = request.token {
            line("Authorization", "Bearer ", checked("token", token, is_token_byte)?);
        }
        if let Some(signature) = request.signature {
            line("X-MEN-Signature", "", checked("signature", signature, is_token_byte)?);
        }
        if request.offset > 0 {
            line("Range", "", &format!("bytes={}-", request.offset));
            if let Some(etag) = request.etag {
                line("If-Range", "", checked("ETag", etag, is_etag_byte)?);
            }
        }
        if let Some(body) = request.body {
            line("Content-Type", "", "application/json");
            line("Accept", "", "application/json");
            line("Content-Length", "", &body.len().to_string());
        }
        Ok(Self {
            method: match request.method {
                Method::Get => "GET",
                Method::Post => "POST",
                Method::Put => "PUT",
                Method::Patch => "PATCH",
            },
            lines,
            body: request.body.unwrap_or_default().to_vec(),
            is_download: request.method == Method::Get && request.token.is_none() && request.body.is_none(),
        })
    }

    /// The whole request for `url`; `proxy` is one that is asked to pass it on. A body goes along only once: a
    /// request that has one is not redirected, and a log of a mebibyte is not kept twice.
    pub(super) fn to(&mut self, url: &Url, proxy: Option<&Proxy>) -> Zeroizing<Vec<u8>> {
        let host = url.host_header();
        let target = if proxy.is_some() { url.absolute_form() } else { url.path.clone() };
        let secret = authorization_of(proxy);
        let capacity = target.len() + host.len() + secret.len() + self.lines.len() + self.body.len() + 64;
        let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
        for part in
            [self.method, " ", &target, " HTTP/1.1\r\nHost: ", &host, "\r\n", &secret, &self.lines, "\r\n"]
        {
            bytes.extend_from_slice(part.as_bytes());
        }
        bytes.extend_from_slice(&std::mem::take(&mut self.body));
        bytes
    }
}

/// Asks `proxy` for a tunnel to the host of `url`.
pub(super) fn connect_request(url: &Url, proxy: &Proxy) -> Zeroizing<Vec<u8>> {
    let (target, secret) = (&url.authority, authorization_of(Some(proxy)));
    Zeroizing::new(
        format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: {USER_AGENT}\r\n{}\r\n", *secret)
            .into_bytes(),
    )
}

fn authorization_of(proxy: Option<&Proxy>) -> Zeroizing<String> {
    match proxy.and_then(|proxy| proxy.authorization.as_ref()) {
        Some(value) => Zeroizing::new(format!("Proxy-Authorization: {}\r\n", ***value)),
        None => Zeroizing::default(),
    }
}

fn checked<'a>(what: &'static str, value: &'a str, is_good: fn(u8) -> bool) -> Result<&'a str, NetworkError> {
    if !value.is_empty() && value.bytes().all(is_good) { Ok(value) } else { Err(NetworkError::Header(what)) }
}

/// Tokens and signatures are base64 of one kind or other, with dots.
const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'=' | b'+' | b'/' | b'~')
}

const fn is_etag_byte(byte: u8) -> bool {
    byte.is_ascii_graphic()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::proxy::Proxies;
    use thimble_core::http::Target;

    fn get() -> Request<'static> {
        Request {
            method: Method::Get,
            target: Target::Url("http://a/"),
            token: None,
            signature: None,
            body: None,
            offset: 0,
            etag: None,
        }
    }

    fn text(request: &Request<'_>, url: &str) -> String {
        let url = Url::parse(url).unwrap();
        String::from_utf8(Outgoing::new(request).unwrap().to(&url, None).to_vec()).unwrap()
    }

    #[test]
    fn a_download_says_no_more_than_it_must() {
        let expected = format!(
            "GET /p/%20q?r=%2F&s HTTP/1.1\r\nHost: h:8080\r\nUser-Agent: {USER_AGENT}\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(text(&get(), "http://h:8080/p/%20q?r=%2F&s"), expected);
    }

    #[test]
    fn an_api_call_has_token_type_and_length() {
        let body: &[u8] = b"{\"a\":1}\n";
        let call = Request {
            method: Method::Put,
            token: Some("a.b-c_d="),
            signature: Some("a+/="),
            body: Some(body),
            ..get()
        };
        let text = text(&call, "https://h/x");
        for line in [
            "PUT /x HTTP/1.1",
            "Host: h",
            "Authorization: Bearer a.b-c_d=",
            "X-MEN-Signature: a+/=",
            "Content-Type: application/json",
            "Accept: application/json",
            "Content-Length: 8",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}");
        }
        assert!(text.ends_with("\r\n\r\n{\"a\":1}\n"));
        assert!(!Outgoing::new(&call).unwrap().is_download);
    }

    #[test]
    fn n10_no_range_from_the_start() {
        let from = |offset, etag| text(&Request { offset, etag, ..get() }, "http://h/");
        assert!(!from(0, Some("\"x\"")).contains("Range"));
        assert!(from(1, None).contains("\r\nRange: bytes=1-\r\n"));
        assert!(!from(1, None).contains("If-Range"));
        let text = from(u64::MAX, Some("\"x\""));
        assert!(text.contains("\r\nRange: bytes=18446744073709551615-\r\nIf-Range: \"x\"\r\n"), "{text}");
    }

    #[test]
    fn n15_n16_no_value_ends_a_line_or_splits_one() {
        for byte in (0..=0x20_u8).chain([0x7f]) {
            let value = format!("a{}b", char::from(byte));
            for request in [
                Request { token: Some(&value), ..get() },
                Request { signature: Some(&value), ..get() },
                Request { offset: 1, etag: Some(&value), ..get() },
            ] {
                assert!(matches!(Outgoing::new(&request), Err(NetworkError::Header(_))), "{value:?}");
            }
        }
        for token in ["", "ä", "a,b", "a\"b"] {
            assert!(Outgoing::new(&Request { token: Some(token), ..get() }).is_err(), "{token:?}");
        }
    }

    #[test]
    fn n25_connect_names_its_host() {
        let env = |name: &str| (name == "https_proxy").then(|| "http://u:p@proxy:3128".into());
        let proxies = Proxies::from_env(env);
        for (url, target) in [("https://h/x", "h:443"), ("https://[fe80::1]:1/x", "[fe80::1]:1")] {
            let url = Url::parse(url).unwrap();
            let text = connect_request(&url, proxies.of(&url).unwrap().unwrap());
            let expected = format!(
                "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: {USER_AGENT}\r\nProxy-Authorization: Basic dTpw\r\n\r\n"
            );
            assert_eq!(str::from_utf8(&text).unwrap(), expected);
        }
    }

    #[test]
    fn a_proxy_gets_the_whole_url_of_an_http_request() {
        let env = |name: &str| (name == "http_proxy").then(|| "http://u:p@proxy:3128".into());
        let proxies = Proxies::from_env(env);
        let url = Url::parse("http://h:81/x?y").unwrap();
        let bytes = Outgoing::new(&get()).unwrap().to(&url, proxies.of(&url).unwrap());
        let expected = "GET http://h:81/x?y HTTP/1.1\r\nHost: h:81\r\nProxy-Authorization: Basic dTpw\r\n";
        assert!(bytes.starts_with(expected.as_bytes()));
    }
}
