//! Heads of requests as bytes. Whatever goes into one was checked before (N15, N16).

use core::fmt::{self, Write as _};

use super::fault::RequestFault;
use super::url::{Authority, Url};
use super::{Authorization, Method, Request};
use crate::digits::decimal;

const USER_AGENT: &str = concat!("thimble/", env!("CARGO_PKG_VERSION"));

/// A proxy that passes a plain HTTP request on to its server.
#[derive(Clone, Copy)]
pub struct Relay<'a> {
    /// The value of `Proxy-Authorization`, if the proxy wants to know who asks. No byte of it may end a line.
    pub authorization: Option<&'a str>,
}

/// Whether redirects of this request are followed: it has no authorization and no body, so that nothing secret can go elsewhere
/// (N18).
#[must_use]
pub fn is_download(request: &Request<'_>) -> bool {
    request.method == Method::Get && request.authorization.is_none() && request.body.is_none()
}

/// Writes the head of a request for `url` to the front of `out`, and says how long it is; with a `relay`, as that one
/// wants it. [`Request::target`] is not looked at: a redirect leads elsewhere.
pub fn request(
    request: &Request<'_>,
    url: &Url<'_>,
    relay: Option<Relay<'_>>,
    out: &mut [u8],
) -> Result<usize, RequestFault> {
    let authorization = request.authorization.map(|authorization| match authorization {
        Authorization::Bearer(token) => ("Authorization: Bearer ", token),
        Authorization::Basic(password) => ("Authorization: Basic ", password),
    });
    checked("token", authorization.map(|(_, secret)| secret), is_token_byte)?;
    let signature = checked("signature", request.signature, is_token_byte)?;
    let etag = checked("ETag", request.etag.filter(|_| request.offset > 0), is_etag_byte)?;
    write(out, |out| {
        out.write_str(match request.method {
            Method::Get => "GET ",
            Method::Post => "POST ",
            Method::Put => "PUT ",
            Method::Patch => "PATCH ",
        })?;
        match relay {
            Some(_) => write!(out, "{}", url.absolute_form())?,
            None => write!(out, "{}", url.origin_form())?,
        }
        out.write_str(" HTTP/1.1\r\n")?;
        write!(out, "Host: {}\r\n", url.host_header())?;
        proxy_authorization(out, relay.and_then(|relay| relay.authorization))?;
        // Every request has a connection of its own (N4, N5).
        line(out, "User-Agent: ", USER_AGENT)?;
        out.write_str("Connection: close\r\n")?;
        if let Some((scheme, secret)) = authorization {
            line(out, scheme, secret)?;
        }
        if let Some(signature) = signature {
            line(out, "X-MEN-Signature: ", signature)?;
        }
        if request.offset > 0 {
            out.write_str("Range: bytes=")?;
            decimal(out, request.offset)?;
            out.write_str("-\r\n")?;
        }
        if let Some(etag) = etag {
            line(out, "If-Range: ", etag)?;
        }
        if let Some(body) = request.body {
            out.write_str("Content-Type: application/json\r\nAccept: application/json\r\nContent-Length: ")?;
            decimal(out, body as u64)?;
            out.write_str("\r\n")?;
        }
        out.write_str("\r\n")
    })
}

/// Writes the request that asks a proxy for a tunnel to `target`; `authorization` as in [`Relay`].
pub fn tunnel(
    target: &Authority<'_>,
    authorization: Option<&str>,
    out: &mut [u8],
) -> Result<usize, RequestFault> {
    write(out, |out| {
        write!(out, "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n")?;
        line(out, "User-Agent: ", USER_AGENT)?;
        proxy_authorization(out, authorization)?;
        out.write_str("\r\n")
    })
}

fn proxy_authorization(out: &mut Out<'_>, authorization: Option<&str>) -> fmt::Result {
    match authorization {
        Some(value) => line(out, "Proxy-Authorization: ", value),
        None => Ok(()),
    }
}

fn line(out: &mut Out<'_>, name: &str, value: &str) -> fmt::Result {
    out.write_str(name)?;
    out.write_str(value)?;
    out.write_str("\r\n")
}

fn write(out: &mut [u8], lines: impl FnOnce(&mut Out<'_>) -> fmt::Result) -> Result<usize, RequestFault> {
    let mut written = Out { bytes: out, length: 0 };
    match lines(&mut written) {
        Ok(()) => Ok(written.length),
        Err(fmt::Error) => Err(RequestFault::TooLong(written.bytes.len())),
    }
}

struct Out<'o> {
    bytes: &'o mut [u8],
    length: usize,
}

impl fmt::Write for Out<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length.saturating_add(text.len());
        self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

fn checked<'a>(
    what: &'static str,
    value: Option<&'a str>,
    is_good: fn(u8) -> bool,
) -> Result<Option<&'a str>, RequestFault> {
    match value {
        Some(value) if value.is_empty() || !value.bytes().all(is_good) => Err(RequestFault::Header(what)),
        value => Ok(value),
    }
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
    use crate::http::Target;
    use std::borrow::ToOwned;
    use std::format;
    use std::string::String;

    fn get() -> Request<'static> {
        Request {
            method: Method::Get,
            target: Target::Url("http://a/"),
            authorization: None,
            signature: None,
            body: None,
            offset: 0,
            etag: None,
        }
    }

    fn written(call: &Request<'_>, url: &str, relay: Option<Relay<'_>>) -> Result<String, RequestFault> {
        let mut out = [0; 1024];
        let length = request(call, &Url::parse(url).unwrap(), relay, &mut out)?;
        // One byte less is too little.
        let short = request(call, &Url::parse(url).unwrap(), relay, &mut out[..length - 1]);
        assert_eq!(short, Err(RequestFault::TooLong(length - 1)));
        let again = request(call, &Url::parse(url).unwrap(), relay, &mut out[..length]);
        assert_eq!(again, Ok(length));
        Ok(str::from_utf8(&out[..length]).unwrap().to_owned())
    }

    fn text(call: &Request<'_>, url: &str) -> String {
        written(call, url, None).unwrap()
    }

    #[test]
    fn a_download_says_no_more_than_it_must() {
        let expected = format!(
            "GET /p/%20q?r=%2F&s HTTP/1.1\r\nHost: h:8080\r\nUser-Agent: {USER_AGENT}\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(text(&get(), "http://h:8080/p/%20q?r=%2F&s"), expected);
    }

    #[test]
    fn a_person_logs_in_with_name_and_password() {
        let call = Request {
            method: Method::Post,
            authorization: Some(Authorization::Basic("YTpi")),
            body: Some(0),
            ..get()
        };
        assert!(text(&call, "https://h/x").contains("\r\nAuthorization: Basic YTpi\r\n"));
        assert!(!is_download(&Request { body: None, method: Method::Get, ..call }));
        assert!(!format!("{call:?}").contains("YTpi"), "{call:?}");
    }

    #[test]
    fn an_api_call_has_token_type_and_length() {
        let call = Request {
            method: Method::Put,
            authorization: Some(Authorization::Bearer("a.b-c_d=")),
            signature: Some("a+/="),
            body: Some(8),
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
        assert!(text.ends_with("\r\n\r\n"));
        assert!(!is_download(&call) && is_download(&get()));
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
            for call in [
                Request { authorization: Some(Authorization::Bearer(&value)), ..get() },
                Request { signature: Some(&value), ..get() },
                Request { offset: 1, etag: Some(&value), ..get() },
            ] {
                let refused = written(&call, "http://h/", None);
                assert!(matches!(refused, Err(RequestFault::Header(_))), "{value:?}");
            }
        }
        for token in ["", "ä", "a,b", "a\"b"] {
            assert!(
                written(
                    &Request { authorization: Some(Authorization::Bearer(token)), ..get() },
                    "http://h/",
                    None
                )
                .is_err(),
                "{token:?}"
            );
        }
    }

    #[test]
    fn n25_connect_names_its_host() {
        for (url, target) in [("https://h/x", "h:443"), ("https://[fe80::1]:1/x", "[fe80::1]:1")] {
            let url = Url::parse(url).unwrap();
            let expected = format!(
                "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: {USER_AGENT}\r\nProxy-Authorization: Basic dTpw\r\n\r\n"
            );
            let mut out = [0; 256];
            let length = tunnel(&url.authority, Some("Basic dTpw"), &mut out).unwrap();
            assert_eq!(str::from_utf8(&out[..length]).unwrap(), expected);
        }
    }

    #[test]
    fn a_proxy_gets_the_whole_url_of_an_http_request() {
        let relay = Relay { authorization: Some("Basic dTpw") };
        let text = written(&get(), "http://h:81/x?y", Some(relay)).unwrap();
        let expected = "GET http://h:81/x?y HTTP/1.1\r\nHost: h:81\r\nProxy-Authorization: Basic dTpw\r\n";
        assert!(text.starts_with(expected), "{text}");
        let nobody = written(&get(), "http://h/", Some(Relay { authorization: None })).unwrap();
        assert!(nobody.starts_with("GET http://h/ HTTP") && !nobody.contains("Proxy"), "{nobody}");
    }
}
