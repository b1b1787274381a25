//! What an earlier process stored of a file: read back through the same digests, in place of the network's bytes.

use core::task::Poll;

use super::{Replay, Transfer, refused};
use crate::client::Client;
use crate::client::records::Refused;
use crate::hal::{Level, Log, Network, PayloadSink, Platform, Stored};
use crate::state::Outcome;
use crate::text::Text;
use crate::time::Instant;

impl<P: Platform> Client<'_, P> {
    pub(super) fn mark_is_due(&self) -> bool {
        let Transfer { in_file, mark_every, .. } = self.transfer;
        in_file.and_then(|bytes| bytes.checked_rem(mark_every)) == Some(0) && self.parser.payload_is_plain()
    }

    /// A file of `size` bytes has begun: what an earlier process stored of it need not come again. Only where it
    /// stands in the artifact as it is can the rest be asked for.
    pub(super) fn begin_replay(&mut self, size: u64) {
        let transfer = &mut self.transfer;
        if !transfer.keep || transfer.length.is_none() || !self.parser.payload_is_plain() {
            return;
        }
        let Some(stored) = self.hal.module.stored().filter(|stored| (1..=size).contains(&stored.length))
        else {
            return;
        };
        self.hal.network.cancel();
        let (from, to) = core::mem::take(&mut transfer.chunk);
        let begins = transfer.offset.saturating_sub(to.saturating_sub(from) as u64);
        transfer.replay = Some(Replay { stored, done: 0, begins });
    }

    /// Gets more of what is stored, or goes on behind it; from the file's first byte when it is not what it should be.
    pub(super) fn replay(&mut self, now: Instant, replay: Replay) -> Result<Poll<Option<Outcome>>, Refused> {
        let Replay { stored: Stored { length, sum }, done, begins } = replay;
        let room = usize::try_from(length.saturating_sub(done)).unwrap_or(usize::MAX).min(self.chunk.len());
        if room > 0 {
            let to = self.chunk.get_mut(..room).unwrap_or_default();
            match self.hal.module.read_stored(to) {
                Ok(read) if read > 0 => {
                    self.transfer.chunk = (0, read);
                    return Ok(Poll::Ready(None));
                }
                Ok(_) => {}
                Err(error) => {
                    let file = &self.transfer.file;
                    self.hal.log.log(Level::Warning, format_args!("payload file {file}: {error}"));
                }
            }
        }
        self.transfer.replay = None;
        let file = &self.transfer.file;
        if done == length && self.parser.sum_so_far() == sum {
            self.transfer.offset = begins.saturating_add(length);
            self.transfer.behind_stored = true;
            self.hal.log.log(
                Level::Info,
                format_args!("{length} bytes of payload file {file} were stored before the restart"),
            );
        } else {
            self.parser.restart_file(done);
            self.transfer.in_file = Some(0);
            self.transfer.offset = begins;
            self.transfer.behind_stored = true;
            self.hal.log.log(
                Level::Warning,
                format_args!("what was stored of payload file {file} is damaged: from its beginning"),
            );
            self.hal
                .module
                .forget_stored()
                .map_err(|error| refused!("payload file {file} cannot be stored: {error}"))?;
        }
        self.ask_again(now)
    }
}
