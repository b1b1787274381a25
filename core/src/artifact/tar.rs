//! A tar reader that is fed bytes: POSIX and GNU magic, PAX `path` and `size`, GNU long names, sizes as octal or
//! base-256. Everything that is not a regular file is refused.

use super::{Error, Limited};
use crate::digits::number;
use crate::limits;

pub(crate) const BLOCK: usize = 512;

/// What of the end marker stands behind the block that tells it.
const END_REST: u64 = BLOCK as u64;

/// What feeding the reader gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// All input of a header, a name or padding was taken; more is needed.
    Need,
    /// An entry begins; see [`Tar::name`].
    Entry { size: u64 },
    /// This many bytes at the front of the untaken input belong to the entry. They stay untaken until
    /// [`Tar::advance`].
    Data(usize),
    /// The entry has ended.
    EntryEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Inside a header block.
    Header,
    /// Inside the body of an extension: PAX, GNU long name, or a global header that is skipped.
    Extension { kind: u8, left: u64, padding: u64 },
    /// Inside the bytes of an entry.
    Data { left: u64, padding: u64 },
    /// The entry's bytes are all there; its padding is not.
    Padding(u64),
    /// The end marker was seen; only zeros may follow.
    Ended,
}

/// What both archives of an artifact are read into, one at a time: the inner one is in the data of an entry of the outer
/// one, and is over before the outer one goes on.
#[derive(Clone, Debug)]
pub(super) struct Room {
    /// The header at hand. While the bytes of an outer entry come that is no archive, for whoever takes them.
    pub(super) block: [u8; BLOCK],
    /// Name of the entry at hand.
    name: [u8; limits::FILE_NAME],
}

impl Room {
    pub(super) const fn new() -> Self {
        Self { block: [0; BLOCK], name: [0; limits::FILE_NAME] }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Tar {
    state: State,
    /// Bytes of the header at hand.
    filled: usize,
    name_len: usize,
    /// A name given by an extension for the next entry.
    long_name: bool,
    /// A size given by an extension for the next entry.
    long_size: Option<u64>,
    extension_len: usize,
    /// Extensions since the last entry: without a bound they would never end.
    extensions: usize,
    zeros: u64,
}

impl Tar {
    pub(super) const fn new() -> Self {
        Self {
            state: State::Header,
            filled: 0,
            name_len: 0,
            long_name: false,
            long_size: None,
            extension_len: 0,
            extensions: 0,
            zeros: 0,
        }
    }

    /// The name of the entry that began last.
    pub(super) fn name<'r>(&self, room: &'r Room) -> &'r [u8] {
        room.name.get(..self.name_len).unwrap_or_default()
    }

    /// What came of the header at hand, or else the whole last one.
    pub(super) fn header_bytes<'r>(&self, room: &'r Room) -> &'r [u8] {
        let length = if self.filled == 0 { BLOCK } else { self.filled };
        room.block.get(..length).unwrap_or_default()
    }

    /// True as long as nothing came.
    pub(super) const fn is_untouched(&self) -> bool {
        matches!(self.state, State::Header)
            && self.filled == 0
            && self.name_len == 0
            && self.extensions == 0
            && self.zeros == 0
    }

    /// True at a boundary where an archive may end.
    pub(super) const fn is_complete(&self) -> bool {
        match self.state {
            State::Ended => true,
            State::Header => self.filled == 0 && !self.long_name && self.long_size.is_none(),
            State::Extension { .. } | State::Data { .. } | State::Padding(_) => false,
        }
    }

    /// True once the end marker was seen.
    pub(super) const fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// `n` of the bytes of the last [`Step::Data`] were taken.
    pub(super) const fn advance(&mut self, n: usize) {
        if let State::Data { left, padding } = self.state {
            self.state = State::Data { left: left.saturating_sub(n as u64), padding };
        }
    }

    /// The last `n` bytes of the entry at hand are still to come.
    pub(super) const fn go_back(&mut self, n: u64) {
        if let State::Data { left, padding } = self.state {
            self.state = State::Data { left: left.saturating_add(n), padding };
        }
    }

    /// Reads from the front of `input`; returns how much was taken. `scratch` holds the body of one extension.
    pub(super) fn step(
        &mut self,
        input: &[u8],
        room: &mut Room,
        scratch: &mut [u8],
    ) -> Result<(usize, Step), Error> {
        let mut taken: usize = 0;
        loop {
            let rest = input.get(taken..).unwrap_or_default();
            match self.state {
                State::Data { left: 0, padding } => {
                    self.state = State::Padding(padding);
                    return Ok((taken, Step::EntryEnd));
                }
                State::Data { .. }
                | State::Header
                | State::Extension { .. }
                | State::Padding(1..)
                | State::Ended
                    if rest.is_empty() =>
                {
                    // An extension without a body is done as it begins.
                    if let State::Extension { kind, left: 0, padding: 0 } = self.state {
                        self.extension_done(kind, room, scratch)?;
                        continue;
                    }
                    return Ok((taken, Step::Need));
                }
                State::Data { left, .. } => return Ok((taken, Step::Data(clamp(left, rest.len())))),
                State::Padding(0) => self.state = State::Header,
                State::Padding(left) => {
                    let n = clamp(left, rest.len());
                    check_padding(rest.get(..n).unwrap_or_default())?;
                    taken = taken.saturating_add(n);
                    self.state = State::Padding(left.saturating_sub(n as u64));
                }
                State::Ended => {
                    if rest.iter().any(|&byte| byte != 0) {
                        return Err(Error::TrailingData);
                    }
                    self.zeros = self.zeros.saturating_add(rest.len() as u64);
                    if self.zeros > END_REST.saturating_add(limits::TRAILING_ZEROS) {
                        return Err(Error::TrailingData);
                    }
                    return Ok((input.len(), Step::Need));
                }
                State::Extension { kind, left: 0, padding: 0 } => self.extension_done(kind, room, scratch)?,
                State::Extension { kind, left: 0, padding } => {
                    let n = clamp(padding, rest.len());
                    check_padding(rest.get(..n).unwrap_or_default())?;
                    taken = taken.saturating_add(n);
                    self.state =
                        State::Extension { kind, left: 0, padding: padding.saturating_sub(n as u64) };
                }
                State::Extension { kind, left, padding } => {
                    let n = clamp(left, rest.len());
                    if kind != b'g' {
                        let end = self.extension_len.saturating_add(n);
                        let limit = scratch.len();
                        let place = scratch
                            .get_mut(self.extension_len..end)
                            .ok_or(Error::TooLarge { what: Limited::TarName, limit })?;
                        place.copy_from_slice(rest.get(..n).unwrap_or_default());
                        self.extension_len = end;
                    }
                    taken = taken.saturating_add(n);
                    self.state = State::Extension { kind, left: left.saturating_sub(n as u64), padding };
                }
                State::Header => {
                    let n = BLOCK.saturating_sub(self.filled).min(rest.len());
                    let end = self.filled.saturating_add(n);
                    if let (Some(place), Some(bytes)) = (room.block.get_mut(self.filled..end), rest.get(..n))
                    {
                        place.copy_from_slice(bytes);
                    }
                    self.filled = end;
                    taken = taken.saturating_add(n);
                    if self.filled == BLOCK {
                        self.filled = 0;
                        if let Some(size) = self.header(room, scratch.len())? {
                            return Ok((taken, Step::Entry { size }));
                        }
                    }
                }
            }
        }
    }

    /// A header block is complete. `Some`: an entry of this size begins.
    fn header(&mut self, room: &mut Room, scratch: usize) -> Result<Option<u64>, Error> {
        if room.block.iter().all(|&byte| byte == 0) {
            if self.long_name || self.long_size.is_some() {
                return Err(Error::BadTar);
            }
            self.state = State::Ended;
            return Ok(None);
        }
        let header = Header(&room.block);
        if !header.is_sound() {
            return Err(Error::BadTar);
        }
        let size = header.size()?;
        let kind = header.kind();
        match kind {
            b'0' | 0 => {
                self.extensions = 0;
                let size = self.long_size.take().unwrap_or(size);
                if !core::mem::take(&mut self.long_name) {
                    self.name_len = header.name(&mut room.name)?;
                }
                self.state = State::Data { left: size, padding: padding(size) };
                Ok(Some(size))
            }
            b'x' | b'L' | b'g' => {
                if size > scratch as u64 {
                    return Err(Error::TooLarge { what: Limited::TarName, limit: scratch });
                }
                self.extensions = self.extensions.saturating_add(1);
                if self.extensions > limits::TAR_EXTENSIONS {
                    let what = Limited::TarExtensions;
                    return Err(Error::TooLarge { what, limit: limits::TAR_EXTENSIONS });
                }
                self.extension_len = 0;
                self.state = State::Extension { kind, left: size, padding: padding(size) };
                Ok(None)
            }
            other => Err(Error::BadEntryType(other)),
        }
    }

    fn extension_done(&mut self, kind: u8, room: &mut Room, scratch: &[u8]) -> Result<(), Error> {
        let body = scratch.get(..self.extension_len).unwrap_or_default();
        match kind {
            b'L' => {
                let name = body.split(|&byte| byte == 0).next().unwrap_or_default();
                self.set_name(name, room)?;
            }
            b'x' => self.pax(body, room)?,
            _ => {}
        }
        self.state = State::Header;
        Ok(())
    }

    fn set_name(&mut self, name: &[u8], room: &mut Room) -> Result<(), Error> {
        let limit = room.name.len();
        let place =
            room.name.get_mut(..name.len()).ok_or(Error::TooLarge { what: Limited::TarName, limit })?;
        place.copy_from_slice(name);
        self.name_len = name.len();
        self.long_name = true;
        Ok(())
    }

    /// `LEN KEY=VALUE\n`, LEN counting all of it.
    fn pax(&mut self, mut body: &[u8], room: &mut Room) -> Result<(), Error> {
        while !body.is_empty() {
            let space = body.iter().position(|&byte| byte == b' ').ok_or(Error::BadTar)?;
            let len = number(body.get(..space).unwrap_or_default()).and_then(|len| usize::try_from(len).ok());
            let (record, rest) = len.and_then(|len| body.split_at_checked(len)).ok_or(Error::BadTar)?;
            let record = record.get(space.saturating_add(1)..).ok_or(Error::BadTar)?;
            let record = record.strip_suffix(b"\n").ok_or(Error::BadTar)?;
            let equals = record.iter().position(|&byte| byte == b'=').ok_or(Error::BadTar)?;
            let (key, value) = record.split_at_checked(equals).ok_or(Error::BadTar)?;
            let value = value.get(1..).unwrap_or_default();
            match key {
                b"path" => self.set_name(value, room)?,
                b"size" => self.long_size = Some(number(value).ok_or(Error::BadTar)?),
                _ if key.starts_with(b"GNU.sparse.") => return Err(Error::BadEntryType(b'S')),
                _ => {}
            }
            body = rest;
        }
        Ok(())
    }
}

/// A header block.
struct Header<'a>(&'a [u8; BLOCK]);

impl Header<'_> {
    fn field(&self, from: usize, to: usize) -> &[u8] {
        self.0.get(from..to).unwrap_or_default()
    }

    /// Magic and checksum.
    fn is_sound(&self) -> bool {
        let magic = self.field(257, 265);
        if magic != b"ustar\x0000" && magic != b"ustar  \0" {
            return false;
        }
        let sum = self.0.iter().enumerate().fold(0u64, |sum, (at, &byte)| {
            sum.wrapping_add(if (148..156).contains(&at) { u64::from(b' ') } else { u64::from(byte) })
        });
        octal(self.field(148, 156)) == Some(sum)
    }

    fn kind(&self) -> u8 {
        self.field(156, 157).first().copied().unwrap_or_default()
    }

    fn size(&self) -> Result<u64, Error> {
        let field = self.field(124, 136);
        match field.split_first() {
            Some((0x80, number)) => {
                let (high, low) = number.split_last_chunk::<8>().ok_or(Error::BadTar)?;
                if high.iter().any(|&byte| byte != 0) {
                    return Err(Error::BadTar);
                }
                Ok(u64::from_be_bytes(*low))
            }
            _ => octal(field).ok_or(Error::BadTar),
        }
    }

    /// The name into `buf`: POSIX headers have a prefix, in GNU's other things stand there.
    fn name(&self, buf: &mut [u8]) -> Result<usize, Error> {
        let posix = self.field(262, 263) == [0];
        let until_nul = |field: &'_ [u8]| field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
        let (prefix, name) = (self.field(345, 500), self.field(0, 100));
        let prefix = if posix { prefix.get(..until_nul(prefix)).unwrap_or_default() } else { &[] };
        let name = name.get(..until_nul(name)).unwrap_or_default();
        let separator: &[u8] = if prefix.is_empty() { b"" } else { b"/" };
        let mut len: usize = 0;
        let limit = buf.len();
        for part in [prefix, separator, name] {
            let end = len.saturating_add(part.len());
            let room = buf.get_mut(len..end).ok_or(Error::TooLarge { what: Limited::TarName, limit })?;
            room.copy_from_slice(part);
            len = end;
        }
        Ok(len)
    }
}

/// Octal digits, blanks in front, ended by a blank, a NUL or the field's end.
fn octal(field: &[u8]) -> Option<u64> {
    let digits = field.trim_ascii_start();
    let end = digits.iter().position(|byte| matches!(byte, 0 | b' ')).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at_checked(end)?;
    if digits.is_empty() || rest.iter().any(|byte| !matches!(byte, 0 | b' ')) {
        return None;
    }
    digits.iter().try_fold(0u64, |n, &digit| match digit {
        b'0'..=b'7' => n.checked_mul(8)?.checked_add(u64::from(digit & 7)),
        _ => None,
    })
}

/// Padding is in no checksum; that it holds zeros leaves nothing unverified.
fn check_padding(bytes: &[u8]) -> Result<(), Error> {
    if bytes.iter().any(|&byte| byte != 0) { Err(Error::BadTar) } else { Ok(()) }
}

const fn padding(size: u64) -> u64 {
    size.wrapping_neg() & (BLOCK as u64).wrapping_sub(1)
}

fn clamp(n: u64, most: usize) -> usize {
    usize::try_from(n).map_or(most, |n| n.min(most))
}
