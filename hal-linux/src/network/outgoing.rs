//! What a request says, kept while it is under way.

use std::fmt;

use thimble_core::http::fault::RequestFault;
use thimble_core::http::url::{Authority, Url};
use thimble_core::http::write::{self, Relay};
use thimble_core::http::{Method, Request, Target};
use zeroize::Zeroizing;

use super::proxy::Proxy;

/// Longest head of a request: the longest URL, the longest token, and what stands around them.
const HEAD: usize = 24 * 1024;

/// A request without its URL.
pub(super) struct Outgoing {
    method: Method,
    token: Option<Zeroizing<String>>,
    signature: Option<Zeroizing<String>>,
    body: Option<Vec<u8>>,
    length: Option<usize>,
    offset: u64,
    etag: Option<String>,
    /// Redirects are followed for downloads only.
    pub(super) is_download: bool,
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} *** ({} bytes)", self.method, self.body.as_ref().map_or(0, Vec::len))
    }
}

impl Outgoing {
    pub(super) fn new(request: &Request<'_>, url: &Url<'_>) -> Result<Self, RequestFault> {
        // What cannot be sent is known before anybody is asked.
        write::request(request, url, None, &mut Zeroizing::new([0; HEAD])[..])?;
        Ok(Self {
            method: request.method,
            token: request.token.map(|token| Zeroizing::new(token.to_owned())),
            signature: request.signature.map(|signature| Zeroizing::new(signature.to_owned())),
            body: request.body.map(Vec::with_capacity),
            length: request.body,
            offset: request.offset,
            etag: request.etag.map(str::to_owned),
            is_download: write::is_download(request),
        })
    }

    /// Keeps bytes of the body until all are there.
    pub(super) fn collect(&mut self, bytes: &[u8]) -> usize {
        self.body.as_mut().map_or(0, |body| {
            body.extend_from_slice(bytes);
            bytes.len()
        })
    }

    /// The whole request for `url`; `proxy` is one that is asked to pass it on. A body goes along only once: a
    /// request that has one is not redirected, and a log of a mebibyte is not kept twice.
    pub(super) fn to(
        &mut self,
        url: &Url<'_>,
        proxy: Option<&Proxy>,
    ) -> Result<Zeroizing<Vec<u8>>, RequestFault> {
        let relay = proxy.map(|proxy| Relay { authorization: proxy.authorization() });
        let request = Request {
            method: self.method,
            target: Target::Url(""),
            token: self.token.as_ref().map(|token| token.as_str()),
            signature: self.signature.as_ref().map(|signature| signature.as_str()),
            body: self.length,
            offset: self.offset,
            etag: self.etag.as_deref(),
        };
        let mut bytes = written(|out| write::request(&request, url, relay, out))?;
        bytes.extend_from_slice(&self.body.take().unwrap_or_default());
        Ok(bytes)
    }
}

/// Asks `proxy` for a tunnel to `target`.
pub(super) fn connect_request(
    target: &Authority<'_>,
    proxy: &Proxy,
) -> Result<Zeroizing<Vec<u8>>, RequestFault> {
    written(|out| write::tunnel(target, proxy.authorization(), out))
}

fn written(
    write: impl FnOnce(&mut [u8]) -> Result<usize, RequestFault>,
) -> Result<Zeroizing<Vec<u8>>, RequestFault> {
    let mut bytes = Zeroizing::new(vec![0; HEAD]);
    let length = write(&mut bytes)?;
    bytes.truncate(length);
    Ok(bytes)
}
