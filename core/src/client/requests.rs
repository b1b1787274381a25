//! Requests to the server: authentication, then the device API.

use super::Client;
use super::operation::{Polled, Work};
use crate::artifact::Header;
use crate::hal::Platform;
use crate::machine::ApiCall;
use crate::state::Outcome;
use crate::time::Instant;

/// What is kept of the server between requests.
#[derive(Debug, Default)]
pub(super) struct Requests {
    pub(super) offered: Offered,
}

impl Requests {
    pub(super) const fn deadline(&self) -> Option<Instant> {
        None
    }
}

/// What the server said about the artifact it offered.
#[derive(Debug, Default)]
pub(super) struct Offered;

impl Offered {
    /// The artifact must be the one that was offered.
    pub(super) fn check(&self, _name: &str, _header: &Header<'_>) -> Result<(), &'static str> {
        Ok(())
    }
}

impl<P: Platform> Client<'_, P> {
    pub(super) fn begin_request(&mut self, _now: Instant, _call: ApiCall) -> Work {
        Work::Done(Outcome::Failure)
    }

    pub(super) fn poll_request(&mut self, _now: Instant) -> Polled {
        Polled::Pending
    }
}
