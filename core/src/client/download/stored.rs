//! What the sink has stored of a file before a restart. `no_stored.rs` takes the place of this file where the feature
//! `resumed-downloads` is off.

use core::task::Poll;

use crate::client::Client;
use crate::client::messages::{DownloadText, say};
use crate::hal::{Cause, Level, PayloadSink, Platform, Stored};
use crate::time::Instant;
use crate::transfer::Event;

/// What the sink says that an earlier process stored of a file.
#[derive(Debug)]
pub(super) struct Claim(Stored);

impl Claim {
    pub(super) const fn nothing() -> Self {
        Self(Stored { length: 0, sum: [0; 32] })
    }
}

impl<P: Platform> Client<'_, P> {
    /// A file begins at the sink: how many bytes of it an earlier process stored.
    pub(super) fn look_for_stored(&mut self) -> u64 {
        self.download.stored = self.hal.module.stored().map_or(Claim::nothing(), Claim);
        self.download.stored.0.length
    }

    /// What is stored so far becomes of use to a later process.
    pub(super) fn mark(&mut self, now: Instant) -> Poll<()> {
        let marked = self.hal.module.mark(&self.parser.sum_so_far());
        self.sink_answered(now, Poll::Ready(marked.map(|()| Event::Done)))
    }

    /// What an earlier process stored of the file is damaged.
    pub(super) fn forget_stored(&mut self, now: Instant, bytes: u64) -> Poll<()> {
        let line = DownloadText::StoredDamaged { file: self.parser.file_name() };
        say(&mut self.hal.log, Level::Warning, &line);
        self.parser.restart_file(bytes);
        let forgotten = self.hal.module.forget_stored();
        self.sink_answered(now, Poll::Ready(forgotten.map(|()| Event::Done)))
    }

    /// Reads back what an earlier process stored of the file, in place of the network's bytes.
    #[inline(never)]
    pub(super) fn read_back(&mut self, now: Instant, most: u64) {
        let room = usize::try_from(most).unwrap_or(usize::MAX).min(self.chunk.len());
        let read = self.hal.module.read_stored(self.chunk.get_mut(..room).unwrap_or_default());
        let read = read.unwrap_or_else(|error| {
            let file = self.parser.file_name();
            let line = DownloadText::NotReadBack { file, error: Cause::of(&error) };
            say(&mut self.hal.log, Level::Warning, &line);
            0
        });
        self.tell_transfer(now, Event::ReadBack(read));
    }

    #[inline(never)]
    pub(super) fn compare(&mut self, now: Instant) {
        let Claim(Stored { length, sum }) = self.download.stored;
        let same = self.parser.sum_so_far() == sum;
        if same {
            let line = DownloadText::StoredBefore { length, file: self.parser.file_name() };
            say(&mut self.hal.log, Level::Info, &line);
        }
        self.tell_transfer(now, Event::Compared { same });
    }
}
