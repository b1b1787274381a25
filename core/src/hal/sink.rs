use super::{ErrorType, Poll};
use crate::time::Instant;

/// What an earlier process stored of a payload file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// So many bytes, from the first on.
    pub length: u64,
    /// Their SHA-256, as [`PayloadSink::mark`] was told it.
    pub sum: [u8; 32],
}

/// Takes the bytes of a payload, file by file, where nothing boots or runs from yet.
///
/// Going on after a restart is optional: a sink that does nothing for it takes every payload from its first byte.
///
/// Order of calls: (`poll_begin`, `poll_write`*, `poll_end`)*, `poll_finish`. Every call may be pending and is
/// then repeated with the same arguments. After an error only `abort` follows.
pub trait PayloadSink: ErrorType {
    /// The SHA-256 that the next file must have, by the verified manifest; told right before `poll_begin`. The
    /// client compares it itself; a sink may use it to check what it stored.
    fn expect(&mut self, sha256: &[u8; 32]) {
        let _ = sha256;
    }

    /// A file begins. `name` is a plain, checked file name; `size` its exact length in bytes.
    fn poll_begin(&mut self, now: Instant, name: &str, size: u64) -> Poll<Result<(), Self::Error>> {
        let _ = (now, name, size);
        Poll::Ready(Ok(()))
    }

    /// Takes some of `bytes` (never none of a non-empty slice) and says how many.
    fn poll_write(&mut self, now: Instant, bytes: &[u8]) -> Poll<Result<usize, Self::Error>>;

    /// The file is complete and its checksum was right.
    fn poll_end(&mut self, now: Instant) -> Poll<Result<(), Self::Error>> {
        let _ = now;
        Poll::Ready(Ok(()))
    }

    /// The artifact is complete and every checksum was right. Ready when all is stored durably and, for an
    /// update module, when the module has ended its `Download` call with success.
    fn poll_finish(&mut self, now: Instant) -> Poll<Result<(), Self::Error>> {
        let _ = now;
        Poll::Ready(Ok(()))
    }

    /// After how many bytes of a file [`Self::mark`] is to be called, and again; 0: never. Few marks, or flash wears.
    fn mark_every(&self) -> u64 {
        0
    }

    /// The file's bytes so far have this SHA-256. They become durable, and then the mark, on return or soon after: a
    /// later process may find them in [`Self::stored`]. Power loss leaves the mark before, this one, or none. Blocks for
    /// the time of two flushes at most.
    fn mark(&mut self, sha256: &[u8; 32]) -> Result<(), Self::Error> {
        let _ = sha256;
        Ok(())
    }

    /// Right after `poll_begin`: what an earlier process stored of the very same file (by the digest of
    /// [`Self::expect`]). It is only a claim: the caller compares the digest.
    fn stored(&mut self) -> Option<Stored> {
        None
    }

    /// The next of the stored bytes, in the front of `to`. They count as written: what is written next goes behind
    /// them. 0: there are no more.
    fn read_stored(&mut self, to: &mut [u8]) -> Result<usize, Self::Error> {
        let _ = to;
        Ok(0)
    }

    /// The stored bytes are no good: the file begins anew.
    fn forget_stored(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }

    /// Nothing more will come. Does not wait; a running module is ended by [`super::UpdateModule::kill`].
    fn abort(&mut self) {}
}

impl<T: PayloadSink + ?Sized> PayloadSink for &mut T {
    fn expect(&mut self, sha256: &[u8; 32]) {
        T::expect(self, sha256);
    }

    fn poll_begin(&mut self, now: Instant, name: &str, size: u64) -> Poll<Result<(), Self::Error>> {
        T::poll_begin(self, now, name, size)
    }

    fn poll_write(&mut self, now: Instant, bytes: &[u8]) -> Poll<Result<usize, Self::Error>> {
        T::poll_write(self, now, bytes)
    }

    fn poll_end(&mut self, now: Instant) -> Poll<Result<(), Self::Error>> {
        T::poll_end(self, now)
    }

    fn poll_finish(&mut self, now: Instant) -> Poll<Result<(), Self::Error>> {
        T::poll_finish(self, now)
    }

    fn mark_every(&self) -> u64 {
        T::mark_every(self)
    }

    fn mark(&mut self, sha256: &[u8; 32]) -> Result<(), Self::Error> {
        T::mark(self, sha256)
    }

    fn stored(&mut self) -> Option<Stored> {
        T::stored(self)
    }

    fn read_stored(&mut self, to: &mut [u8]) -> Result<usize, Self::Error> {
        T::read_stored(self, to)
    }

    fn forget_stored(&mut self) -> Result<(), Self::Error> {
        T::forget_stored(self)
    }

    fn abort(&mut self) {
        T::abort(self);
    }
}
