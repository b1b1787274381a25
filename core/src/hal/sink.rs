use super::{ErrorType, Poll};
use crate::time::Instant;

/// Takes the bytes of a payload, file by file, where nothing boots or runs from yet.
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
    fn poll_begin(&mut self, now: Instant, name: &str, size: u64) -> Poll<Result<(), Self::Error>>;

    /// Takes some of `bytes` (never none of a non-empty slice) and says how many.
    fn poll_write(&mut self, now: Instant, bytes: &[u8]) -> Poll<Result<usize, Self::Error>>;

    /// The file is complete and its checksum was right.
    fn poll_end(&mut self, now: Instant) -> Poll<Result<(), Self::Error>>;

    /// The artifact is complete and every checksum was right. Ready when all is stored durably and, for an
    /// update module, when the module has ended its `Download` call with success.
    fn poll_finish(&mut self, now: Instant) -> Poll<Result<(), Self::Error>>;

    /// Nothing more will come. Does not wait; a running module is ended by [`super::UpdateModule::kill`].
    fn abort(&mut self);
}
