//! In the place of `stored.rs` where the feature `resumed-downloads` is off: the sink is not asked what it has stored, and
//! stores no marks.

use core::task::Poll;

use crate::client::Client;
use crate::hal::Platform;
use crate::time::Instant;

/// What the sink says that an earlier process stored of a file: it is not asked.
#[derive(Debug)]
pub(super) struct Claim;

impl Claim {
    pub(super) const fn nothing() -> Self {
        Self
    }
}

// The transfer asks for none of these but the first.
#[expect(clippy::unused_self, clippy::needless_pass_by_ref_mut, reason = "as with stored bytes")]
impl<P: Platform> Client<'_, P> {
    pub(super) const fn look_for_stored(&mut self) -> u64 {
        0
    }

    pub(super) const fn mark(&mut self, _: Instant) -> Poll<()> {
        Poll::Pending
    }

    pub(super) const fn forget_stored(&mut self, _: Instant, _: u64) -> Poll<()> {
        Poll::Pending
    }

    pub(super) const fn read_back(&mut self, _: Instant, _: u64) {}

    pub(super) const fn compare(&mut self, _: Instant) {}
}
