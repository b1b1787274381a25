//! The artifact as eight bytes, each known by its place: what a parser finds in them, and what a sink keeps of them.

use thimble_core::transfer::{Found, Place};

/// Bytes of the artifact up to the end of its header.
const HEADER: u8 = 2;
/// Where the bytes of its file begin, behind the file's own head.
const FILE: u8 = HEADER + 1;
/// Where they end.
const FILE_END: u8 = FILE + FILE_SIZE;
/// Bytes of the file.
pub(super) const FILE_SIZE: u8 = 4;
/// After so many bytes of the file it is marked.
pub(super) const MARK_EVERY: u64 = 2;
/// As much as the network brings at once.
const CHUNK: u8 = 3;

/// The length of the artifact, with or without a payload.
pub(super) const fn length(payload: bool) -> u8 {
    if payload { FILE_END + 1 } else { HEADER + 2 }
}

/// Two artifacts of one name and one header; the second may take the place of the first on the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Version {
    First,
    Second,
}

/// The bytes that were read last, all of them neighbours in the artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Chunk {
    /// The place of the first in the artifact.
    pub(super) first: u8,
    pub(super) length: u8,
    pub(super) version: Version,
}

impl Chunk {
    /// What comes of an artifact of this length from `first` on.
    pub(super) fn of(version: Version, first: u8, length: u8) -> Self {
        Self { first, length: CHUNK.min(length.saturating_sub(first)), version }
    }

    /// What a sink has of the file behind so many bytes, at most so many.
    pub(super) fn of_file(stored: Stored, behind: u8, most: u64) -> Self {
        let left = stored.length.saturating_sub(behind).min(CHUNK);
        let length = u8::try_from(most).map_or(left, |most| left.min(most));
        Self { first: FILE + behind, length, version: stored.version }
    }
}

/// What a parser has been given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Parser {
    /// So many bytes.
    taken: u8,
    /// Of this artifact.
    version: Option<Version>,
}

impl Parser {
    /// Takes bytes up to the next thing that is found; `None`: they are not what comes next in one artifact.
    pub(super) fn take(
        &mut self,
        payload: bool,
        chunk: Chunk,
        from: usize,
        to: usize,
    ) -> Option<(usize, Found)> {
        let from = u8::try_from(from).ok()?;
        let given = u8::try_from(to).ok()?.min(chunk.length).checked_sub(from).filter(|given| *given > 0)?;
        if chunk.first + from != self.taken || *self.version.get_or_insert(chunk.version) != chunk.version {
            return None;
        }
        let up_to = |end: u8| given.min(end - self.taken);
        let (taken, found) = match self.taken {
            at if at + given < HEADER => (given, Found::Nothing),
            at if at < HEADER => (up_to(HEADER), Found::Header),
            _ if !payload => (given, Found::Nothing),
            HEADER => (1, Found::File { size: FILE_SIZE.into(), plain: true }),
            at if at < FILE_END => {
                let taken = up_to(FILE_END);
                (taken, Found::Bytes { length: taken.into(), place: Place::Chunk })
            }
            _ => (1, Found::FileEnd),
        };
        self.taken += taken;
        Some((taken.into(), found))
    }

    /// So many bytes of the file are to be given again.
    pub(super) fn restart_file(&mut self, bytes: u64) {
        self.taken -= u8::try_from(bytes).unwrap_or(self.taken);
    }

    /// All was taken.
    pub(super) const fn is_complete(self, length: u8) -> bool {
        self.taken == length
    }

    pub(super) const fn taken(self) -> u8 {
        self.taken
    }
}

/// What a sink has of the file, from its first byte on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stored {
    pub(super) version: Version,
    pub(super) length: u8,
    /// The disk has lost what the mark speaks of.
    pub(super) damaged: bool,
}

impl Stored {
    /// With these bytes of a chunk behind it; `None`: they are not the next ones of the file.
    pub(super) fn with(before: Option<Self>, chunk: Chunk, from: usize, to: usize) -> Option<Self> {
        let (from, to) = (u8::try_from(from).ok()?, u8::try_from(to).ok()?);
        let before = before.unwrap_or(Self { version: chunk.version, length: 0, damaged: false });
        let fits = chunk.first + from == FILE + before.length && before.version == chunk.version;
        let length = before.length + to.checked_sub(from)?;
        (fits && to <= chunk.length && length <= FILE_SIZE).then_some(Self { length, ..before })
    }
}
