//! In the place of `saved_offer.rs` where the feature `resumed-downloads` is off: there is no such record.

use super::Client;
use super::download::Download;
use super::offer::Offered;
use crate::checkpoint::Checkpoint;
use crate::hal::{Change, Log, Platform};

pub(super) const fn change<'o>(
    _: &str,
    _: &Offered,
    _: &Download<'_>,
    _: &'o mut [u8],
    _: &mut impl Log,
) -> Option<Change<'o>> {
    None
}

#[expect(clippy::unused_self, clippy::needless_pass_by_ref_mut, reason = "as with the record")]
impl<P: Platform> Client<'_, P> {
    pub(super) const fn load_offer(&mut self, _: &Checkpoint) -> Option<()> {
        None
    }
}
