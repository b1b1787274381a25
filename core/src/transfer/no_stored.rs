//! In the place of `stored.rs` where the feature `resumed-downloads` is off: nothing of an earlier process is looked at. The
//! type has no value, so that the states which hold one are left out.

use super::{Action, Found, Span, Transfer};

/// What an earlier process stored of the file at hand: never anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stored {}

#[expect(clippy::unused_self, clippy::needless_pass_by_ref_mut, reason = "as with stored bytes")]
impl Transfer {
    /// The sink took the beginning of a file.
    pub(super) fn file_began(&mut self, rest: Span, _: u64) -> Action {
        self.parse(rest)
    }

    pub(super) const fn parse_stored(&mut self, _: Span, stored: Stored) -> Action {
        match stored {}
    }

    pub(super) const fn parsed_stored(&mut self, _: Span, stored: Stored, _: Found) -> Action {
        match stored {}
    }

    pub(super) const fn go_on_behind(&mut self, stored: Stored) -> Action {
        match stored {}
    }

    pub(super) const fn forget(&mut self, stored: Stored) -> Action {
        match stored {}
    }

    pub(super) const fn forgotten(&mut self, stored: Stored) -> Action {
        match stored {}
    }
}
