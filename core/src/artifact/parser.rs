//! The push parser: which member comes when, and what of it may leave.

mod inner;

use sha2::{Digest, Sha256};

use super::header::Checked;
use super::manifest::Manifest;
use super::tar::{Room, Step, Tar};
use super::{Error, Foreign, Header, Limited, Parsed, Rule, Trust, Workspace, base64, foreign};
use crate::hal::{Compression, Decompress, DecompressError, Verifier};
use crate::json::Value;
use crate::limits;

use inner::Part;

/// Where the parser is in the outer archive.
#[derive(Clone, Debug)]
enum Position {
    /// Before a member; the next one must be this.
    Before(Member),
    /// Inside a member.
    In(Member),
    /// The artifact broke a rule; there is no way on.
    Failed(Error),
}

/// Members of the outer archive, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Version,
    Manifest,
    /// Only if signed.
    Signature,
    Header,
    /// May be missing when the payload is empty.
    Payload,
    /// Nothing more.
    End,
}

/// A push parser of artifacts. See the module's documentation.
pub struct Parser<'b> {
    workspace: Workspace<'b>,
    trust: Trust,
    allow_scripts: bool,
    position: Position,
    room: Room,
    outer: Tar,
    inner: Tar,
    /// Length of `version` or `manifest.sig` in the front of the workspace's `header_info`, which is not there yet.
    small_len: usize,
    /// Digest of the member at hand as stored (`version`, header).
    stored: Sha256,
    version: [u8; 32],
    manifest: Manifest,
    signed: bool,
    compression: Compression,
    /// The stream at hand is complete. Another one may follow, as long as the member has bytes.
    decompressed: bool,
    /// The stored bytes of the member have ended, but the decoder may still owe output.
    draining: bool,
    /// Unparsed output in the window.
    window: (usize, usize),
    /// Where the last file data stood in the window.
    data: (usize, usize),
    header_bytes: u64,
    part: Option<Part>,
    scripts: u16,
    lengths: [usize; 3],
    /// The header is verified and keeps the rules.
    header: Option<Checked>,
    empty: bool,
    /// Digest of the payload file at hand, and its place in the manifest.
    file: Sha256,
    file_entry: usize,
}

/// What one step did; positions instead of borrows, so that the loop can go on.
enum Happened {
    Nothing,
    Script(u64),
    ScriptData(Place),
    /// A signature is complete, and to be judged.
    Signature,
    Header,
    FileBegin(u64),
    FileData(Place),
    FileEnd,
}

/// Bytes in the chunk or in the window.
enum Place {
    Chunk(usize, usize),
    Window(usize, usize),
}

impl<'b> Parser<'b> {
    /// A parser that works in this memory.
    #[must_use]
    pub fn new(workspace: Workspace<'b>) -> Self {
        Self {
            workspace,
            trust: Trust::Unsigned,
            allow_scripts: false,
            position: Position::Failed(Error::UnexpectedEof),
            room: Room::new(),
            outer: Tar::new(),
            inner: Tar::new(),
            small_len: 0,
            stored: Sha256::new(),
            version: [0; 32],
            manifest: Manifest::new(),
            signed: false,
            compression: Compression::None,
            decompressed: false,
            draining: false,
            window: (0, 0),
            data: (0, 0),
            header_bytes: 0,
            part: None,
            scripts: 0,
            lengths: [0; 3],
            header: None,
            empty: false,
            file: Sha256::new(),
            file_entry: 0,
        }
    }

    /// The memory it works in.
    pub(crate) const fn workspace(&self) -> &Workspace<'b> {
        &self.workspace
    }

    /// A new artifact begins.
    pub fn reset(&mut self, trust: Trust, allow_scripts: bool) {
        self.trust = trust;
        self.allow_scripts = allow_scripts && trust != Trust::Bootstrap;
        self.position = Position::Before(Member::Version);
        self.outer = Tar::new();
        self.manifest = Manifest::new();
        self.signed = false;
        self.draining = false;
        self.window = (0, 0);
        self.data = (0, 0);
        self.header_bytes = 0;
        self.part = None;
        self.scripts = 0;
        self.lengths = [0; 3];
        self.header = None;
        self.empty = false;
    }

    /// Takes some of `input`: returns how many bytes, and what they led to. Call again with the rest until
    /// [`Parsed::NeedInput`]; then with the next chunk. Any chunks give the same events.
    ///
    /// # Errors
    /// The first rule that is broken; every later call returns the same.
    pub fn push<'s>(
        &'s mut self,
        input: &'s [u8],
        verifier: &mut impl Verifier,
        decompress: &mut impl Decompress,
    ) -> Result<(usize, Parsed<'s>), Error> {
        if let Position::Failed(error) = &self.position {
            return Err(error.clone());
        }
        let mut from = 0;
        let done = loop {
            let done = self.run(input, from, verifier, decompress);
            let Ok((taken, Happened::Signature)) = done else { break done };
            if !self.judge(verifier) {
                break Err(Error::BadSignature);
            }
            from = taken;
        };
        let (taken, happened) = match done {
            Ok(done) => done,
            Err(error) => {
                self.position = Position::Failed(error.clone());
                return Err(error);
            }
        };
        if let Happened::FileData(Place::Window(from, to)) = happened {
            self.data = (from, to);
        }
        let bytes = |place| match place {
            Place::Chunk(from, to) => input.get(from..to).unwrap_or_default(),
            Place::Window(from, to) => self.workspace.window.get(from..to).unwrap_or_default(),
        };
        let event = match happened {
            // A signature was judged above, and there is one at most.
            Happened::Nothing | Happened::Signature => Parsed::NeedInput,
            Happened::Script(size) => {
                Parsed::Script { name: self.entry_name().strip_prefix("scripts/").unwrap_or_default(), size }
            }
            Happened::ScriptData(place) => Parsed::ScriptData(bytes(place)),
            Happened::Header => Parsed::Header,
            Happened::FileBegin(size) => Parsed::FileBegin { name: self.entry_name(), size },
            Happened::FileData(place) => Parsed::FileData(bytes(place)),
            Happened::FileEnd => Parsed::FileEnd,
        };
        Ok((taken, event))
    }

    /// The name of the payload file that began last, until the parser is pushed behind its end; empty before the first.
    #[must_use]
    pub fn file_name(&self) -> &str {
        match self.position {
            Position::In(Member::Payload) | Position::Before(Member::End) => self.entry_name(),
            Position::Before(_) | Position::In(_) | Position::Failed(_) => "",
        }
    }

    fn entry_name(&self) -> &str {
        str::from_utf8(self.inner.name(&self.room)).unwrap_or_default()
    }

    /// The SHA-256 by the manifest of the file that began last.
    #[must_use]
    pub fn file_sum(&self) -> super::Sum {
        self.workspace.files.get(self.file_entry).map(|entry| entry.sum).unwrap_or_default()
    }

    /// How many files of the payload the manifest lists.
    #[must_use]
    pub const fn payload_files(&self) -> usize {
        self.manifest.files
    }

    /// Whether the bytes of the payload's files stand in the artifact as they are.
    #[must_use]
    pub fn payload_is_plain(&self) -> bool {
        matches!(self.position, Position::In(Member::Payload)) && self.compression == Compression::None
    }

    /// The SHA-256 of what came so far of the file that began last.
    #[must_use]
    pub fn sum_so_far(&self) -> super::Sum {
        self.file.clone().finalize().into()
    }

    /// What came so far of the file that began last, `length` bytes of a plain payload, counts for nothing: its first
    /// byte comes next. Only right after [`Parsed::FileBegin`] or [`Parsed::FileData`].
    pub fn restart_file(&mut self, length: u64) {
        self.file = Sha256::new();
        self.inner.go_back(length);
        self.outer.go_back(length);
    }

    /// The input has ended.
    ///
    /// # Errors
    /// [`Error::UnexpectedEof`], or that it is empty, unless the artifact was complete: should more of it come after all,
    /// [`Self::push`] goes on. The error that came before, if one did; that it is something else, or lacks a file.
    pub fn finish(&mut self) -> Result<(), Error> {
        let complete = match &self.position {
            Position::Failed(error) => return Err(error.clone()),
            Position::Before(Member::End) => self.outer.is_complete(),
            // Without a payload its archive may be missing, the end marker then not.
            Position::Before(Member::Payload) => self.empty && self.outer.has_ended(),
            Position::Before(Member::Version | Member::Manifest | Member::Signature | Member::Header)
            | Position::In(_) => false,
        };
        let error = if !complete {
            if self.outer.is_untouched() {
                return Err(Error::Foreign(Foreign::Empty));
            }
            self.foreign().ok_or(Error::UnexpectedEof)?
        } else if self.listed().iter().any(|entry| !entry.seen) {
            Error::MissingFile
        } else {
            return Ok(());
        };
        self.position = Position::Failed(error.clone());
        Err(error)
    }

    /// The header, once it is verified.
    #[must_use]
    pub fn header(&self) -> Option<Header<'_>> {
        let Workspace { header_info, type_info, meta_data, .. } = &self.workspace;
        self.header?.view([header_info, type_info, meta_data])
    }

    /// The header, once it is verified, and memory to look things up in it. Only where no member of the artifact is being
    /// read: before the payload, after the last member, and after [`Self::restore`].
    pub fn header_and_scratch(&mut self) -> Option<(Header<'_>, &mut [u8])> {
        let Workspace { header_info, type_info, meta_data, window, .. } = &mut self.workspace;
        Some((self.header?.view([header_info, type_info, meta_data])?, window))
    }

    /// The bytes of the last [`Parsed::FileData`], when they did not stand in the chunk.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        self.workspace.window.get(self.data.0..self.data.1).unwrap_or_default()
    }

    /// Memory for `header-info` and `type-info` that come back from storage after a restart; then
    /// [`Self::restore`].
    pub fn records_mut(&mut self) -> (&mut [u8], &mut [u8]) {
        self.header = None;
        (self.workspace.header_info, self.workspace.type_info)
    }

    /// The header is what now stands in [`Self::records_mut`], in these lengths.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn restore(&mut self, header_info: usize, type_info: usize) -> Result<(), Error> {
        self.lengths = [header_info, type_info, 0];
        self.header = Some(self.check_header()?);
        Ok(())
    }

    /// Checks the parts of the header. No member is being read: the window is free.
    fn check_header(&mut self) -> Result<Checked, Error> {
        let [a, b, c] = self.lengths;
        let Workspace { header_info, type_info, meta_data, window, .. } = &mut self.workspace;
        let parts = [header_info.get(..a), type_info.get(..b), meta_data.get(..c)];
        Checked::check(parts.map(Option::unwrap_or_default), window)
    }

    fn listed(&self) -> &[super::ManifestEntry] {
        self.workspace.files.get(..self.manifest.files).unwrap_or_default()
    }

    /// Whether the signature at hand is good. Apart from [`Self::run`], whose frame is gone by then: arithmetic of signatures
    /// takes kilobytes of stack.
    #[inline(never)]
    fn judge(&mut self, verifier: &mut impl Verifier) -> bool {
        let small = self.workspace.header_info.get(..self.small_len).unwrap_or_default();
        // As long as `type-info` is not there yet.
        let signature = base64::decode(small, self.workspace.type_info);
        let good = verifier.has_keys() && signature.is_some_and(|bytes| verifier.verify(bytes));
        if good {
            self.signed = true;
            self.position = Position::Before(Member::Header);
        }
        good
    }

    /// Goes on until something happened or the input behind its first `taken` bytes is used up.
    #[inline(never)]
    fn run(
        &mut self,
        input: &[u8],
        mut taken: usize,
        verifier: &mut impl Verifier,
        decompress: &mut impl Decompress,
    ) -> Result<(usize, Happened), Error> {
        loop {
            // Output of the decompressor first.
            if self.window.0 < self.window.1 {
                if let Some(happened) = self.parse_window()? {
                    return Ok((taken, happened));
                }
                continue;
            }
            if self.draining {
                if self.drain(decompress)? {
                    continue;
                }
                self.draining = false;
                if self.decompressed {
                    decompress.end();
                }
                if let Some(happened) = self.member_ends()? {
                    return Ok((taken, happened));
                }
                continue;
            }
            let rest = input.get(taken..).unwrap_or_default();
            let stepped = self.outer.step(rest, &mut self.room, self.workspace.name);
            let (used, step) = stepped.map_err(|error| self.foreign().unwrap_or(error))?;
            taken = taken.saturating_add(used);
            match step {
                Step::Need => return Ok((taken, Happened::Nothing)),
                Step::Entry { size } => self.member_begins(size, verifier, decompress)?,
                Step::EntryEnd => self.draining = true,
                Step::Data(available) => {
                    let data = rest.get(used..used.saturating_add(available)).unwrap_or_default();
                    let (used, happened) = self.member_data(data, taken, verifier, decompress)?;
                    self.outer.advance(used);
                    taken = taken.saturating_add(used);
                    if let Some(happened) = happened {
                        return Ok((taken, happened));
                    }
                }
            }
        }
    }

    /// There is no first member: what the input is instead, if its first bytes tell.
    fn foreign(&self) -> Option<Error> {
        if !matches!(self.position, Position::Before(Member::Version)) {
            return None;
        }
        let image = (self.outer.has_ended()).then_some(Foreign::Image);
        image.or_else(|| foreign::named(self.outer.header_bytes(&self.room))).map(Error::Foreign)
    }

    /// A member of the outer archive begins: is it its turn?
    fn member_begins(
        &mut self,
        size: u64,
        verifier: &mut impl Verifier,
        decompress: &mut impl Decompress,
    ) -> Result<(), Error> {
        let Position::Before(expected) = self.position else { return Err(Error::BadTar) };
        let name = self.outer.name(&self.room);
        if name == b"manifest-augment" || name.starts_with(b"header-augment") {
            return Err(Error::Augmented);
        }
        let unexpected = || Error::unexpected_member(name);
        let member = match (expected, name) {
            (Member::Version, b"version") => Member::Version,
            (Member::Manifest, b"manifest") => Member::Manifest,
            (Member::Signature, b"manifest.sig") => Member::Signature,
            (Member::Signature | Member::Header, _) => {
                self.compression = Compression::of(name, "header.tar").ok_or_else(unexpected)?;
                if self.trust == Trust::Signed && !self.signed {
                    return Err(Error::Unsigned);
                }
                Member::Header
            }
            (Member::Payload, _) => {
                self.compression = Compression::of(name, "data/0000.tar").ok_or_else(unexpected)?;
                Member::Payload
            }
            (Member::End, _) if name.starts_with(b"data/") => return Err(Error::PayloadCount),
            (Member::Version | Member::Manifest | Member::End, _) => return Err(unexpected()),
        };
        self.small_len = 0;
        match member {
            Member::Version => {
                self.stored = Sha256::new();
                limit(size, limits::VERSION as u64, Limited::Version)?;
            }
            Member::Manifest => {
                verifier.reset();
                limit(size, limits::MANIFEST, Limited::Manifest)?;
            }
            Member::Signature => limit(size, limits::SIGNATURE as u64, Limited::Signature)?,
            Member::Header | Member::Payload => {
                if member == Member::Header {
                    self.stored = Sha256::new();
                    // The suffix is part of the name that is signed.
                    if self.manifest.header.is_none_or(|(compression, _)| compression != self.compression) {
                        return Err(Error::BadManifest(Rule::OtherHeader));
                    }
                }
                self.inner = Tar::new();
                self.window = (0, 0);
                self.decompressed = false;
                if self.compression != Compression::None {
                    decompress.begin(self.compression).map_err(|error| self.decompress_error(error))?;
                }
            }
            Member::End => return Err(Error::BadTar),
        }
        self.position = Position::In(member);
        Ok(())
    }

    fn decompress_error(&self, error: DecompressError) -> Error {
        match error {
            DecompressError::Unsupported => Error::UnsupportedCompression(self.compression),
            DecompressError::Corrupt | DecompressError::Memory | DecompressError::Limit(_) => {
                Error::Decompress(self.compression, error)
            }
        }
    }

    /// Bytes of the member at hand, which stand at `at` in the chunk: how many were used, and what happened.
    fn member_data(
        &mut self,
        data: &[u8],
        at: usize,
        verifier: &mut impl Verifier,
        decompress: &mut impl Decompress,
    ) -> Result<(usize, Option<Happened>), Error> {
        let Position::In(member) = self.position else { return Err(Error::BadTar) };
        match member {
            Member::Version | Member::Signature => {
                self.stored.update(data);
                let end = self.small_len.saturating_add(data.len());
                let what = if member == Member::Version { Limited::Version } else { Limited::Signature };
                let small = &mut self.workspace.header_info;
                let limit = small.len();
                let room = small.get_mut(self.small_len..end).ok_or(Error::TooLarge { what, limit })?;
                room.copy_from_slice(data);
                self.small_len = end;
                Ok((data.len(), None))
            }
            Member::Manifest => {
                if self.trust == Trust::Signed && !verifier.update(data) {
                    let limit = usize::try_from(limits::MANIFEST).unwrap_or(usize::MAX);
                    return Err(Error::TooLarge { what: Limited::SignedManifest, limit });
                }
                self.manifest.push(data, &mut self.room.block, self.workspace.files)?;
                Ok((data.len(), None))
            }
            Member::Header | Member::Payload if self.compression == Compression::None => {
                let (used, happened) = self.inner_step(member, data, Place::Chunk(at, at))?;
                if member == Member::Header {
                    self.stored.update(data.get(..used).unwrap_or_default());
                }
                Ok((used, happened))
            }
            Member::Header | Member::Payload => {
                if self.decompressed {
                    let padding = self.next_stream(data, decompress)?;
                    if padding != 0 {
                        if member == Member::Header {
                            self.stored.update(data.get(..padding).unwrap_or_default());
                        }
                        return Ok((padding, None));
                    }
                }
                // The window is empty here: on behind what was written last, from the front at its end.
                let from = if self.window.1 >= self.workspace.window.len() { 0 } else { self.window.1 };
                let progress = decompress
                    .decompress(data, self.workspace.window, from)
                    .map_err(|error| self.decompress_error(error))?;
                if progress.consumed == 0 && progress.produced == 0 && !progress.done {
                    return Err(Error::Decompress(self.compression, DecompressError::Corrupt));
                }
                self.window = (from, from.saturating_add(progress.produced));
                self.decompressed = progress.done;
                if member == Member::Header {
                    self.stored.update(data.get(..progress.consumed).unwrap_or_default());
                }
                Ok((progress.consumed, None))
            }
            Member::End => Err(Error::BadTar),
        }
    }

    /// A stream has ended and `data` follows: the next stream begins, unless what follows are zeros that xz allows between
    /// streams and behind the last; returns how many.
    fn next_stream(&mut self, data: &[u8], decompress: &mut impl Decompress) -> Result<usize, Error> {
        let is_padding = |byte: &u8| self.compression == Compression::Xz && *byte == 0;
        let padding = data.iter().position(|byte| !is_padding(byte)).unwrap_or(data.len());
        if padding == 0 {
            if !data.first().is_some_and(|&first| self.compression.may_begin_with(first)) {
                return Err(Error::TrailingData);
            }
            decompress.begin(self.compression).map_err(|error| self.decompress_error(error))?;
            self.decompressed = false;
        }
        Ok(padding)
    }

    /// Parses the decompressor's output.
    fn parse_window(&mut self) -> Result<Option<Happened>, Error> {
        let Position::In(member) = self.position else { return Err(Error::BadTar) };
        let (from, to) = self.window;
        // The window is lent to the step for its time; nothing else looks at it meanwhile.
        let window = core::mem::take(&mut self.workspace.window);
        let stepped =
            self.inner_step(member, window.get(from..to).unwrap_or_default(), Place::Window(from, from));
        self.workspace.window = window;
        let (used, happened) = stepped?;
        self.window.0 = from.saturating_add(used);
        Ok(happened)
    }

    /// A member of the outer archive has ended: the header, which is verified with it, a signature, which is to be judged
    /// before anything else, or another one.
    fn member_ends(&mut self) -> Result<Option<Happened>, Error> {
        let Position::In(member) = self.position else { return Err(Error::BadTar) };
        let small = self.workspace.header_info.get(..self.small_len).unwrap_or_default();
        let next = match member {
            Member::Version => {
                check_version(small)?;
                self.version = self.stored.finalize_reset().into();
                Member::Manifest
            }
            Member::Manifest => {
                self.manifest.finish()?;
                if self.manifest.version != Some(self.version) {
                    return Err(Error::wrong_sum(b"version", self.manifest.version, self.version));
                }
                Member::Signature
            }
            Member::Signature => {
                // Until it is judged, the position stays.
                if self.trust == Trust::Signed {
                    return Ok(Some(Happened::Signature));
                }
                Member::Header
            }
            Member::Header | Member::Payload => {
                if self.compression != Compression::None && !self.decompressed {
                    return Err(Error::Decompress(self.compression, DecompressError::Corrupt));
                }
                // GNU and other writers may leave the end marker of an empty archive out.
                if !self.inner.is_complete() {
                    return Err(Error::UnexpectedEof);
                }
                if member == Member::Header { Member::Payload } else { Member::End }
            }
            Member::End => return Err(Error::BadTar),
        };
        if member == Member::Header {
            self.header_ends()?;
        }
        if member == Member::Payload && self.listed().iter().any(|entry| !entry.seen) {
            return Err(Error::MissingFile);
        }
        self.position = Position::Before(next);
        Ok((member == Member::Header).then_some(Happened::Header))
    }

    /// The stored bytes are all there, and all their output so far was parsed. Decoders may hold more back than the
    /// window took: true when there is output to parse again.
    fn drain(&mut self, decompress: &mut impl Decompress) -> Result<bool, Error> {
        let compressed = matches!(self.position, Position::In(Member::Header | Member::Payload))
            && self.compression != Compression::None;
        if !compressed || self.decompressed {
            return Ok(false);
        }
        let from = if self.window.1 >= self.workspace.window.len() { 0 } else { self.window.1 };
        let progress = decompress
            .decompress(&[], self.workspace.window, from)
            .map_err(|error| self.decompress_error(error))?;
        self.window = (from, from.saturating_add(progress.produced));
        self.decompressed = progress.done;
        Ok(progress.produced != 0)
    }

    /// All of the header came: compare its digest first, then read it.
    fn header_ends(&mut self) -> Result<(), Error> {
        let sum: super::Sum = self.stored.finalize_reset().into();
        let expected = self.manifest.header.map(|(_, expected)| expected);
        if expected != Some(sum) {
            return Err(Error::wrong_sum(b"header.tar", expected, sum));
        }
        if self.part.is_none() {
            return Err(Error::BadHeaderInfo(Rule::Missing));
        }
        if matches!(self.part, Some(Part::HeaderInfo | Part::Script)) {
            return Err(Error::PayloadCount);
        }
        let checked = self.check_header()?;
        self.header = Some(checked);
        let header = self.header().ok_or(Error::BadHeaderInfo(Rule::Missing))?;
        let ruled = header.check_trust(self.trust);
        let empty = header.payload_type(&mut [0; limits::PAYLOAD_TYPE]).is_none();
        if let Err(error) = ruled {
            self.header = None;
            return Err(error);
        }
        self.empty = empty;
        Ok(())
    }
}

fn limit(size: u64, limit: u64, what: Limited) -> Result<(), Error> {
    if size > limit {
        return Err(Error::TooLarge { what, limit: usize::try_from(limit).unwrap_or(usize::MAX) });
    }
    Ok(())
}

/// `{"format":"mender","version":3}`
fn check_version(text: &[u8]) -> Result<(), Error> {
    let value = Value::parse(text).map_err(|_| Error::BadVersion)?;
    // Room for more keys than so short a text can have.
    if value.check_keys(limits::VERSION, &mut [0; limits::VERSION * 2]).is_err() {
        return Err(Error::BadVersion);
    }
    let format = value.member("format").ok().flatten().and_then(Value::as_str);
    let version = value.member("version").ok().flatten().and_then(Value::as_integer);
    if format.is_some_and(|format| format.is("mender")) && version == Some(3) {
        Ok(())
    } else {
        Err(Error::BadVersion)
    }
}
