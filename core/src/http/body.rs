//! Finds the end of a response's body: by its length, by chunks, or by the end of the connection.

use super::fault::BodyFault;

/// Bytes of a line with the size of a chunk, extensions included (N26).
const LINE: usize = 256;

/// Bytes of all trailers together.
const TRAILERS: usize = 8 * 1024;

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// The body has this many bytes.
    Length(u64),
    /// The body is in chunks.
    Chunked,
    /// The body ends when the peer closes the connection.
    UntilClose,
}

/// A body that is being read.
#[derive(Debug)]
pub struct Body {
    framing: Framing,
    chunks: Chunks,
    /// Bytes of the size line at hand, or of all trailers.
    used: usize,
}

/// What comes next on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Bytes of the body, at most this many.
    Data(u64),
    /// A byte between the chunks, for [`Body::mark`].
    Mark,
    /// The body is complete.
    End,
}

/// Where the reader is in the chunked form.
#[derive(Debug)]
enum Chunks {
    /// In the size: digits so far, number so far.
    Size(u8, u64),
    /// After the size, in extensions, which are skipped.
    Extension(u64),
    /// The carriage return of a size line has been.
    SizeEnd(u64),
    /// In the data of a chunk: this many bytes are left.
    Data(u64),
    DataEnd,
    DataEndLf,
    /// In a trailer line: bytes of this line so far.
    Trailer(usize),
    TrailerLf(usize),
    End,
}

impl Body {
    /// Before its first byte.
    #[must_use]
    pub const fn new(framing: Framing) -> Self {
        Self { framing, chunks: Chunks::Size(0, 0), used: 0 }
    }

    /// What comes next; stays the same until [`Self::advance`] or [`Self::mark`].
    #[must_use]
    pub const fn next(&self) -> Next {
        match (&self.framing, &self.chunks) {
            (Framing::Length(0), _) | (Framing::Chunked, Chunks::End) => Next::End,
            (Framing::Length(left), _) | (Framing::Chunked, Chunks::Data(left)) => Next::Data(*left),
            (Framing::UntilClose, _) => Next::Data(u64::MAX),
            (
                Framing::Chunked,
                Chunks::Size(..)
                | Chunks::Extension(_)
                | Chunks::SizeEnd(_)
                | Chunks::DataEnd
                | Chunks::DataEndLf
                | Chunks::Trailer(_)
                | Chunks::TrailerLf(_),
            ) => Next::Mark,
        }
    }

    /// Notes that this many bytes of data were read.
    pub fn advance(&mut self, read: usize) {
        let read = u64::try_from(read).unwrap_or(u64::MAX);
        match (&mut self.framing, &mut self.chunks) {
            (Framing::Length(left), _) => *left = left.saturating_sub(read),
            (Framing::Chunked, Chunks::Data(left)) => {
                *left = left.saturating_sub(read);
                if *left == 0 {
                    self.chunks = Chunks::DataEnd;
                }
            }
            (Framing::Chunked | Framing::UntilClose, _) => {}
        }
    }

    /// Whether the body is complete if the peer closes the connection now.
    #[must_use]
    pub fn may_close(&self) -> bool {
        self.framing == Framing::UntilClose
    }

    /// Takes one byte of the chunked form that is not data.
    pub fn mark(&mut self, byte: u8) -> Result<(), BodyFault> {
        let limit =
            if matches!(self.chunks, Chunks::Trailer(_) | Chunks::TrailerLf(_)) { TRAILERS } else { LINE };
        self.used = self.used.saturating_add(1);
        self.chunks = match (&self.chunks, byte) {
            (Chunks::Trailer(_) | Chunks::TrailerLf(_), _) if self.used > limit => {
                return Err(BodyFault::Trailer);
            }
            _ if self.used > limit => return Err(BodyFault::ChunkSize),
            (Chunks::Size(digits, size), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                // 16 digits are all that a number of 64 bits has.
                let digit =
                    char::from(byte).to_digit(16).filter(|_| *digits < 16).ok_or(BodyFault::ChunkSize)?;
                Chunks::Size(digits.saturating_add(1), size << 4 | u64::from(digit))
            }
            (Chunks::Size(1.., size), b'\r') | (Chunks::Extension(size), b'\r') => Chunks::SizeEnd(*size),
            (Chunks::Size(1.., size), b';') => Chunks::Extension(*size),
            (Chunks::Extension(size), b'\t' | b' '..=b'~' | 0x80..) => Chunks::Extension(*size),
            (Chunks::SizeEnd(0), b'\n') => {
                self.used = 0;
                Chunks::Trailer(0)
            }
            (Chunks::SizeEnd(size), b'\n') => {
                self.used = 0;
                Chunks::Data(*size)
            }
            (Chunks::DataEnd, b'\r') => Chunks::DataEndLf,
            (Chunks::DataEndLf, b'\n') => {
                self.used = 0;
                Chunks::Size(0, 0)
            }
            (Chunks::Trailer(len), b'\r') => Chunks::TrailerLf(*len),
            (Chunks::Trailer(len), b'\t' | b' '..=b'~' | 0x80..) => Chunks::Trailer(len.saturating_add(1)),
            (Chunks::TrailerLf(0), b'\n') => Chunks::End,
            (Chunks::TrailerLf(_), b'\n') => Chunks::Trailer(0),
            (Chunks::Size(..) | Chunks::Extension(_) | Chunks::SizeEnd(_), _) => {
                return Err(BodyFault::ChunkSize);
            }
            (Chunks::DataEnd | Chunks::DataEndLf | Chunks::Data(_), _) => return Err(BodyFault::ChunkEnd),
            (Chunks::Trailer(_) | Chunks::TrailerLf(_) | Chunks::End, _) => return Err(BodyFault::Trailer),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::vec;
    use std::vec::Vec;

    /// The data of a chunked body and how many bytes lie behind it; `None` when it is not complete.
    fn chunked(mut bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, BodyFault> {
        let (mut body, mut data) = (Body::new(Framing::Chunked), Vec::new());
        loop {
            match body.next() {
                Next::End => return Ok(Some((data, bytes.len()))),
                _ if bytes.is_empty() => return Ok(None),
                Next::Data(most) => {
                    let len = usize::try_from(most).unwrap_or(usize::MAX).min(bytes.len()).min(3);
                    data.extend_from_slice(&bytes[..len]);
                    body.advance(len);
                    bytes = &bytes[len..];
                }
                Next::Mark => {
                    body.mark(bytes[0])?;
                    bytes = &bytes[1..];
                }
            }
        }
    }

    #[test]
    fn chunks_are_joined() {
        let text = b"5\r\nhello\r\n1;a=b;c=\"d\"\r\n \r\n00A\r\n0123456789\r\n0\r\nX: y\r\nZ:\r\n\r\nrest";
        assert_eq!(chunked(text), Ok(Some((b"hello 0123456789".to_vec(), 4))));
        for len in 0..text.len() - 4 {
            assert_eq!(chunked(&text[..len]), Ok(None), "{len}");
        }
        assert_eq!(chunked(b"0\r\n\r\n"), Ok(Some((vec![], 0))));
    }

    #[test]
    fn n26_sizes_do_not_overflow() {
        for digits in 1..=40 {
            let text = format!("{}\r\n", "f".repeat(digits));
            assert_eq!(chunked(text.as_bytes()).is_ok(), digits <= 16, "{digits}");
        }
        assert_eq!(chunked(format!("{}1\r\n", "0".repeat(16)).as_bytes()), Err(BodyFault::ChunkSize));
    }

    #[test]
    fn n26_what_two_readers_read_differently_is_an_error() {
        use BodyFault::{ChunkEnd, ChunkSize, Trailer};
        for (text, fault) in [
            ("\r\n", ChunkSize),
            (";x\r\n", ChunkSize),
            (" 5\r\n", ChunkSize),
            ("5 \r\n", ChunkSize),
            ("5\n", ChunkSize),
            ("5\rx", ChunkSize),
            ("0x5\r\n", ChunkSize),
            ("-5\r\n", ChunkSize),
            ("+5\r\n", ChunkSize),
            ("g\r\n", ChunkSize),
            ("5;a\nb\r\n", ChunkSize),
            ("5;a\0\r\n", ChunkSize),
            ("1\r\nab", ChunkEnd),
            ("1\r\na\n", ChunkEnd),
            ("1\r\na\r\r", ChunkEnd),
            ("1\r\na0\r\n", ChunkEnd),
            ("0\r\n\n", Trailer),
            ("0\r\n\r\r", Trailer),
            ("0\r\nx\n\r\n", Trailer),
            ("0\r\n\0", Trailer),
        ] {
            assert_eq!(chunked(text.as_bytes()), Err(fault), "{text:?}");
        }
    }

    #[test]
    fn n26_extensions_and_trailers_end() {
        let extension = format!("1;{}\r\na\r\n", "x".repeat(1 << 20));
        assert_eq!(chunked(extension.as_bytes()), Err(BodyFault::ChunkSize));
        let line = format!("0\r\n{}\r\n\r\n", "x".repeat(1 << 20));
        assert_eq!(chunked(line.as_bytes()), Err(BodyFault::Trailer));
        let lines = format!("0\r\n{}\r\n", "x:y\r\n".repeat(1 << 20));
        assert_eq!(chunked(lines.as_bytes()), Err(BodyFault::Trailer));
        // The limit holds for each size line, not for all together.
        let many = format!("{}0\r\n\r\n", "1;xxxx\r\na\r\n".repeat(1000));
        assert_eq!(chunked(many.as_bytes()).unwrap().unwrap().0.len(), 1000);
    }
}
