//! What decisions depend on beside the three machines: what of the artifact at hand is on record and selected.

use crate::checkpoint::{Checkpoint, Tag};
use crate::machine::Machine;
use crate::state::State;
use crate::transfer::{Accepted, Etag};

/// See the file's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Facts {
    /// The download of an earlier process goes on.
    pub(super) earlier: bool,
    /// The module was selected in this process.
    pub(super) module: bool,
    /// Header records of the artifact at hand are on record.
    header_stored: bool,
    /// The record of the server's offer is what it should be, or there cannot be one.
    offer_stored: bool,
}

/// What is saved beside the record of the update, in the same batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beside {
    /// The header of the artifact.
    pub header: bool,
    /// The server's offer, if it came with a link.
    pub offer: bool,
}

impl Facts {
    pub(super) fn at_start(machine: &Machine) -> Self {
        let offer = machine.checkpoint().offer;
        let downloads = matches!(machine.place().0, State::Download | State::Prepare);
        Self { earlier: offer && downloads, module: false, header_stored: false, offer_stored: offer }
    }

    pub(super) const fn restored(&mut self, header: bool, module: bool) {
        self.header_stored = header;
        self.module = module;
    }

    /// A deployment was offered: nothing that an earlier process stored is of use for it.
    pub(super) const fn offered(&mut self) {
        self.earlier = false;
        self.offer_stored = false;
    }

    /// A transfer begins. What an earlier process left is still to be cleaned up by its module, should the new artifact
    /// not come to another.
    pub(super) const fn transfer_begins(&mut self) {
        self.module &= self.earlier;
    }

    /// The source gives the artifact from its first byte on, with this `ETag`: the one on record may be another.
    pub(super) fn source_begins(&mut self, etag: Etag) {
        self.offer_stored &= etag == Etag::Same;
    }

    pub(super) fn saves_beside(&self, checkpoint: &Checkpoint) -> Beside {
        Beside {
            header: checkpoint.header && !self.header_stored,
            offer: checkpoint.offer && checkpoint.tag == Tag::Store && !self.offer_stored,
        }
    }

    /// The record was saved, with those beside it.
    pub(super) fn saved(&mut self, checkpoint: &Checkpoint) {
        self.header_stored |= checkpoint.header;
        self.offer_stored |= checkpoint.tag == Tag::Store;
    }

    /// All records are deleted.
    pub(super) const fn cleared(&mut self) {
        self.header_stored = false;
        self.offer_stored = false;
    }

    /// Whether saving writes the offer, which takes a lent buffer.
    pub(super) const fn writes_offer(&self, checkpoint: &Checkpoint) -> bool {
        checkpoint.offer && !self.offer_stored
    }

    /// With the same header the record that an earlier process wrote is this artifact's.
    pub(super) const fn header_is_stored(&self, checkpoint: &Checkpoint, same_header: bool) -> bool {
        self.earlier && checkpoint.header && same_header
    }

    pub(super) fn saves_before_accepting(
        &self,
        checkpoint: &Checkpoint,
        same_header: bool,
    ) -> Option<Beside> {
        let header_stored = self.header_is_stored(checkpoint, same_header);
        let missing = checkpoint.header && !(header_stored && self.offer_stored);
        missing.then(|| Self { header_stored, ..*self }.saves_beside(checkpoint))
    }

    /// An artifact was accepted, and the records beside that of the update saved where they had to be.
    pub(super) fn accepted(&mut self, checkpoint: &Checkpoint, accepted: Accepted, same_header: bool) {
        let saved = self.saves_before_accepting(checkpoint, same_header);
        self.header_stored = self.header_is_stored(checkpoint, same_header);
        match accepted {
            // Nothing is saved before it is accepted.
            Accepted::NoPayload => {}
            Accepted::Payload { kept: _ } => {
                self.module = true;
                if saved.is_some() {
                    self.saved(checkpoint);
                }
            }
        }
    }
}
