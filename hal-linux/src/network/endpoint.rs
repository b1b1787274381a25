//! Where a connection goes, kept beyond the request that asked for it.

use std::fmt;
use std::net::IpAddr;

use thimble_core::http::url::{Authority, Host};

/// A host and a port; prints as `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// A name in lower case, or an address as it stands alone.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Endpoint {
    pub(super) fn new(authority: &Authority<'_>) -> Self {
        let host = match authority.host {
            Host::Name(name) => name.to_ascii_lowercase(),
            Host::Address(address) => address.to_string(),
        };
        Self { host, port: authority.port }
    }

    /// The address, when the host is one: no lookup is needed.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}
