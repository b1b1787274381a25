//! What becomes of the bytes: parsed, staged, handed to the module; and what an earlier process stored of them.

use core::task::Poll;

use crate::artifact::Parsed;
use crate::client::Client;
use crate::client::messages::DownloadText;
use crate::client::reason::{Noted, note};
use crate::hal::{Cause, ErrorType, Platform, ScriptRunner};
use crate::limits;
use crate::message::Coded;
use crate::time::Instant;
use crate::transfer::{Event, Found, Place};

impl<P: Platform> Client<'_, P> {
    /// Parses bytes of the chunk up to the first thing found in them. Scripts go to their staging place.
    #[inline(never)]
    pub(super) fn parse(&mut self, from: usize, to: usize) -> Result<(usize, Found), Noted> {
        // What is compressed may cost far more than its length.
        let most = if self.parser.payload_is_plain() { to } else { from.saturating_add(limits::PACKED) };
        let input = self.chunk.get(from..to.min(most)).unwrap_or_default();
        let mut noted = |reason: &dyn Coded| note(&mut self.story, &mut self.hal.log, reason);
        let (taken, part) = self
            .parser
            .push(input, &mut self.hal.verifier, &mut self.hal.decompress)
            .map_err(|error| noted(&DownloadText::NotAcceptable { error: &error }))?;
        let mut staged = |staged: Result<(), <P::Scripts as ErrorType>::Error>| match staged {
            Ok(()) => Ok(Found::Nothing),
            Err(error) => Err(noted(&DownloadText::ScriptNotStored { error: Cause::of(&error) })),
        };
        let found = match part {
            Parsed::NeedInput => Found::Nothing,
            Parsed::Script { name, size } => staged(self.hal.scripts.stage(name, size))?,
            Parsed::ScriptData(bytes) => staged(self.hal.scripts.stage_write(bytes))?,
            Parsed::Header => Found::Header,
            Parsed::FileBegin { name: _, size } => {
                Found::File { size, plain: self.parser.payload_is_plain() }
            }
            Parsed::FileData(bytes) => {
                let in_chunk = input.as_ptr_range().contains(&bytes.as_ptr());
                let place = if in_chunk { Place::Chunk } else { Place::Decompressed };
                Found::Bytes { length: bytes.len(), place }
            }
            Parsed::FileEnd => Found::FileEnd,
        };
        Ok((taken, found))
    }

    /// The sink answered, or has not yet.
    #[inline(never)]
    pub(super) fn sink_answered(
        &mut self,
        now: Instant,
        polled: Poll<Result<Event, <P::Module as ErrorType>::Error>>,
    ) -> Poll<()> {
        let event = match polled {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(event)) => event,
            Poll::Ready(Err(error)) => {
                let error = Cause::of(&error);
                let reason = match self.parser.file_name() {
                    "" => DownloadText::NotStored { error },
                    file => DownloadText::FileNotStored { file, error },
                };
                let Noted { .. } = note(&mut self.story, &mut self.hal.log, &reason);
                Event::Failed
            }
        };
        self.tell_transfer(now, event);
        Poll::Ready(())
    }
}
