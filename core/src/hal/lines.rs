use core::fmt::{self, Write as _};

use embedded_io::{Write, WriteReady};

use super::{Level, Log};

/// A log of lines on any byte stream: a serial line, a debugger's channel, a file. Each is its level in brackets, the
/// message, and a new line; a control character in the message is shown as `?`, so that a message is one line.
///
/// A stream is never waited for: what it has no room for is lost. Where a line or its end was lost, `...` and a new line
/// stand before the next.
#[derive(Debug)]
pub struct Lines<W> {
    to: W,
    least: Level,
    /// The last line was not written to its end.
    is_torn: bool,
}

impl<W: Write + WriteReady> Lines<W> {
    /// Writes lines of this level and above.
    pub const fn new(to: W, least: Level) -> Self {
        Self { to, least, is_torn: false }
    }

    /// The stream.
    pub const fn stream(&mut self) -> &mut W {
        &mut self.to
    }

    /// All of these bytes are written.
    fn put(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let taken = match self.to.write_ready() {
                Ok(true) => self.to.write(bytes).unwrap_or(0),
                Ok(false) | Err(_) => 0,
            };
            match bytes.get(taken..) {
                Some(rest) if taken > 0 => bytes = rest,
                Some(_) | None => return false,
            }
        }
        true
    }
}

impl<W: Write + WriteReady> Log for Lines<W> {
    fn log(&mut self, level: Level, message: fmt::Arguments<'_>) {
        if level < self.least {
            return;
        }
        if self.is_torn && !self.put(b"...\n") {
            return;
        }
        let is_whole = write!(Line(self), "[{}] {message}", level.name()).is_ok();
        self.is_torn = !(is_whole && self.put(b"\n"));
    }
}

/// Writes text as a part of a line.
struct Line<'l, W>(&'l mut Lines<W>);

impl<W: Write + WriteReady> fmt::Write for Line<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut pieces = text.split_inclusive(char::is_control);
        pieces.try_for_each(|piece| {
            let (shown, mark) = match piece.char_indices().next_back() {
                Some((at, last)) if last.is_control() => (piece.get(..at).unwrap_or_default(), "?"),
                Some(_) | None => (piece, ""),
            };
            if self.0.put(shown.as_bytes()) && self.0.put(mark.as_bytes()) { Ok(()) } else { Err(fmt::Error) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_io::ErrorType;
    use std::string::String;
    use std::vec::Vec;

    /// A wire that takes few bytes at a time, and has room for so many.
    struct Wire {
        bytes: Vec<u8>,
        room: usize,
    }

    impl ErrorType for Wire {
        type Error = embedded_io::ErrorKind;
    }

    impl Write for Wire {
        fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
            let taken = bytes.len().min(3).min(self.room);
            assert!(taken > 0, "a write that would wait");
            self.bytes.extend(&bytes[..taken]);
            self.room -= taken;
            Ok(taken)
        }

        fn flush(&mut self) -> Result<(), Self::Error> {
            panic!("a flush would wait")
        }
    }

    impl WriteReady for Wire {
        fn write_ready(&mut self) -> Result<bool, Self::Error> {
            Ok(self.room > 0)
        }
    }

    fn logged(room: usize, messages: &[(Level, &str)]) -> String {
        let mut log = Lines::new(Wire { bytes: Vec::new(), room }, Level::Info);
        for (level, message) in messages {
            log.log(*level, format_args!("{message}"));
            log.stream().room += 20;
        }
        String::from_utf8(log.to.bytes).unwrap()
    }

    #[test]
    fn a_message_is_one_line_whatever_it_holds() {
        let messages = [
            (Level::Debug, "not this"),
            (Level::Info, "a\nb\x1b[2J\u{85}c\n"),
            (Level::Error, ""),
            (Level::Fatal, "ä"),
        ];
        assert_eq!(logged(1000, &messages), "[info] a?b?[2J?c?\n[error] \n[fatal] ä\n");
    }

    #[test]
    fn what_the_stream_has_no_room_for_is_lost_and_nothing_waits() {
        let twice = [(Level::Info, "0123456789"), (Level::Info, "0")];
        assert_eq!(logged(18, &twice), "[info] 0123456789\n[info] 0\n");
        // 12 bytes of the first line, then there is room for twenty more.
        assert_eq!(logged(12, &twice), "[info] 01234...\n[info] 0\n");
        assert_eq!(logged(0, &twice), "...\n[info] 0\n");
    }
}
