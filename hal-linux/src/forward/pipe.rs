//! One direction of a connection: bytes that were read and not written yet, and what of them belongs to a body.

use std::io::{self, ErrorKind, Read, Write};

use thimble_core::http::body::{Body, Next};
use thimble_core::http::fault::BodyFault;

/// Most bytes that are read before they are written again.
pub(super) const PIECE: usize = 16 * 1024;

/// Bytes on their way. Without bytes it takes no memory.
#[derive(Default)]
pub(super) struct Pipe {
    bytes: Vec<u8>,
    written: usize,
}

impl Pipe {
    /// Nothing is on its way: more may be read.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Where further bytes go.
    pub(super) const fn back(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Nothing of it was written yet.
    pub(super) const fn is_whole(&self) -> bool {
        self.written == 0
    }

    /// Drops what is on its way.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Writes as much as `to` takes; how much that was.
    pub(super) fn write_to(&mut self, to: &mut impl Write) -> io::Result<usize> {
        let rest = self.bytes.get(self.written..).unwrap_or_default();
        let written = match to.write(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            written => written?,
        };
        self.written += written;
        if self.written >= self.bytes.len() {
            self.clear();
        }
        Ok(written)
    }
}

/// Reads once, at most [`PIECE`] bytes, and hands them to `take`; how many there were.
pub(super) fn read(from: &mut impl Read, most: usize, take: impl FnOnce(&[u8])) -> io::Result<usize> {
    let mut piece = [0; PIECE];
    let room = piece.get_mut(..most.min(PIECE)).unwrap_or_default();
    let read = from.read(room)?;
    take(room.get(..read).unwrap_or_default());
    Ok(read)
}

/// There is nothing to read, or no room to write: not an error.
pub(super) fn waits(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Its bytes alone.
    Plain,
    /// In chunks, which are made anew: extensions and trailers are left out.
    Chunks,
}

/// Appends to `out` what of `input` belongs to the body; how many bytes of `input` that are. The end of a body in chunks
/// is written when it is there.
pub(super) fn take(body: &mut Body, form: Form, input: &[u8], out: &mut Vec<u8>) -> Result<usize, BodyFault> {
    let mut used = 0;
    while let Some(&byte) = input.get(used) {
        match body.next() {
            Next::End => break,
            Next::Data(most) => {
                let rest = input.get(used..).unwrap_or_default();
                let length = usize::try_from(most).unwrap_or(usize::MAX).min(rest.len());
                let data = rest.get(..length).unwrap_or_default();
                if form == Form::Chunks {
                    let _ = write!(out, "{length:x}\r\n");
                }
                out.extend_from_slice(data);
                if form == Form::Chunks {
                    out.extend_from_slice(b"\r\n");
                }
                body.advance(length);
                used += length;
            }
            Next::Mark => {
                body.mark(byte)?;
                used += 1;
                if form == Form::Chunks && body.next() == Next::End {
                    out.extend_from_slice(b"0\r\n\r\n");
                }
            }
        }
    }
    Ok(used)
}

#[cfg(test)]
mod tests {
    use super::*;
    use thimble_core::http::body::Framing;

    /// The body as it is written when it comes in pieces of this length, and what lies behind it.
    fn written(
        framing: Framing,
        form: Form,
        text: &[u8],
        length: usize,
    ) -> Result<(String, usize), BodyFault> {
        let (mut body, mut out, mut used) = (Body::new(framing), Vec::new(), 0);
        for piece in text.chunks(length) {
            used += take(&mut body, form, piece, &mut out)?;
        }
        Ok((String::from_utf8(out).unwrap(), text.len() - used))
    }

    #[test]
    fn chunks_are_made_anew_without_what_hides_between_them() {
        let text = b"5;a=b\r\nhello\r\n01\r\n!\r\n0;x\r\nContent-Length: 7\r\n\r\nGET";
        let expected = "5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n".to_owned();
        assert_eq!(written(Framing::Chunked, Form::Chunks, text, text.len()), Ok((expected, 3)));
        for length in 1..text.len() {
            let (plain, behind) = written(Framing::Chunked, Form::Plain, text, length).unwrap();
            assert_eq!((plain.as_str(), behind), ("hello!", 3), "{length}");
            let (chunks, _) = written(Framing::Chunked, Form::Chunks, text, length).unwrap();
            let again = written(Framing::Chunked, Form::Plain, chunks.as_bytes(), 3).unwrap();
            assert_eq!(again, ("hello!".to_owned(), 0), "{length}: {chunks:?}");
        }
        assert_eq!(written(Framing::Chunked, Form::Chunks, b"5\nhello", 9), Err(BodyFault::ChunkSize));
    }

    #[test]
    fn a_body_of_known_length_ends_there() {
        assert_eq!(written(Framing::Length(4), Form::Plain, b"bodyGET", 2), Ok(("body".to_owned(), 3)));
        assert_eq!(written(Framing::Length(0), Form::Plain, b"GET", 2), Ok((String::new(), 3)));
    }

    #[test]
    fn a_pipe_holds_what_its_end_does_not_take() {
        let mut pipe = Pipe::default();
        pipe.back().extend_from_slice(b"abcdef");
        let mut narrow = [0; 4];
        assert_eq!(pipe.write_to(&mut narrow.as_mut_slice()).unwrap(), 4);
        assert!(!pipe.is_empty());
        let mut wide = Vec::new();
        assert_eq!(pipe.write_to(&mut wide).unwrap(), 2);
        assert_eq!(
            (narrow, wide, pipe.is_empty(), pipe.bytes.capacity()),
            (*b"abcd", b"ef".to_vec(), true, 0)
        );
    }
}
