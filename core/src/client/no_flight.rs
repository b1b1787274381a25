//! In the place of `flight.rs` where the feature `flight` is off: nothing is recorded.

use super::Client;
use crate::checkpoint::Checkpoint;
use crate::deployment::Naming;
use crate::flow::{Event, Step};
use crate::hal::{Change, Exit, Platform};
use crate::machine::Run;
use crate::message::Coded;
use crate::session::RequestKind;
use crate::time::Instant;

#[derive(Debug)]
pub(super) struct Flight;

pub(super) struct Before;

pub(super) struct Found;

impl Found {
    pub(super) const fn of(_: Option<&Checkpoint>, _: bool) -> Self {
        Self
    }
}

#[derive(Debug, Default)]
pub(super) struct ReasonCode;

#[expect(clippy::unused_self, clippy::needless_pass_by_ref_mut, reason = "as with the record")]
impl ReasonCode {
    pub(super) fn set(&mut self, _: &dyn Coded) {}
}

#[expect(clippy::unused_self, clippy::needless_pass_by_ref_mut, reason = "as with the record")]
impl Flight {
    pub(super) const fn new() -> Self {
        Self
    }

    pub(super) const fn with_update(&mut self, _: &Checkpoint, _: &[u8], _: bool) -> Option<Change<'_>> {
        None
    }

    pub(super) const fn with_provides(&mut self, _: Naming) -> Option<Change<'_>> {
        None
    }

    pub(super) const fn with_report(&mut self) -> Option<Change<'_>> {
        None
    }

    pub(super) const fn with_nothing(&mut self, _: bool) -> Option<Change<'_>> {
        None
    }

    pub(super) const fn change(&self) -> Option<Change<'_>> {
        None
    }

    pub(super) const fn saved<E>(&mut self, _: &Result<(), E>, _: bool) {}

    pub(super) const fn exited(&mut self, _: Exit) {}

    pub(super) const fn too_slow(&mut self) {}

    pub(super) const fn answered(&mut self, _: RequestKind, _: u16) {}

    pub(super) const fn not_answered(&mut self, _: RequestKind) {}

    pub(super) const fn begins(&mut self, _: &str) {}

    pub(super) const fn downloads(&mut self, _: u64) {}
}

#[expect(clippy::unused_self, clippy::needless_pass_by_ref_mut, reason = "as with the record")]
impl<P: Platform> Client<'_, P> {
    pub(super) const fn flight_starts(&mut self, _: Instant, _: Run, _: &Found) {}

    pub(super) const fn flight_before(&self, _: &Event) -> Before {
        Before
    }

    pub(super) const fn flight_step(&mut self, _: Instant, _: &Before, _: &Step) {}
}
