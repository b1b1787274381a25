//! The archives inside: that of the header, whose members are few and have an order, and that of the payload's files.

use sha2::{Digest, Sha256};

use super::{Happened, Member, Parser, Place, limit};
use crate::artifact::tar::Step;
use crate::artifact::{Error, Limited, Rule, Sum, manifest, shown};
use crate::limits;
use crate::script;

/// Where the parser is in the header archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(super) enum Part {
    HeaderInfo,
    Script,
    TypeInfo,
    MetaData,
}

impl Parser<'_> {
    /// One step through the archive inside the header or the payload. `at` says where `data` stands.
    pub(super) fn inner_step(
        &mut self,
        member: Member,
        data: &[u8],
        at: Place,
    ) -> Result<(usize, Option<Happened>), Error> {
        let (skipped, step) = self.inner.step(data, &mut self.room, self.workspace.name)?;
        let header = member == Member::Header;
        if header {
            self.header_bytes = self.header_bytes.saturating_add(skipped as u64);
            limit(self.header_bytes, limits::HEADER, Limited::Header)?;
        }
        match step {
            Step::Need => Ok((skipped, None)),
            Step::Entry { size } if header => Ok((skipped, self.part_begins(size)?)),
            Step::Entry { size } => {
                self.file_begins()?;
                Ok((skipped, Some(Happened::FileBegin(size))))
            }
            Step::Data(available) => {
                let end = skipped.saturating_add(available);
                let bytes = data.get(skipped..end).unwrap_or_default();
                let place = match at {
                    Place::Chunk(at, _) => Place::Chunk(at.saturating_add(skipped), at.saturating_add(end)),
                    Place::Window(at, _) => Place::Window(at.saturating_add(skipped), at.saturating_add(end)),
                };
                let happened = if header {
                    self.header_bytes = self.header_bytes.saturating_add(available as u64);
                    limit(self.header_bytes, limits::HEADER, Limited::Header)?;
                    self.part_data(bytes)?.then_some(Happened::ScriptData(place))
                } else {
                    self.file.update(bytes);
                    Some(Happened::FileData(place))
                };
                self.inner.advance(available);
                Ok((end, happened))
            }
            Step::EntryEnd if header => Ok((skipped, None)),
            Step::EntryEnd => {
                self.file_ends()?;
                Ok((skipped, Some(Happened::FileEnd)))
            }
        }
    }

    /// A member of the header archive begins. Their order: header-info, scripts, type-info, perhaps meta-data.
    fn part_begins(&mut self, size: u64) -> Result<Option<Happened>, Error> {
        let name = self.inner.name(&self.room);
        let part = match name {
            b"header-info" => Part::HeaderInfo,
            b"headers/0000/type-info" => Part::TypeInfo,
            b"headers/0000/meta-data" => Part::MetaData,
            _ if name.starts_with(b"scripts/") => Part::Script,
            _ if name.starts_with(b"headers/") => return Err(Error::PayloadCount),
            _ => return Err(Error::unexpected_member(name)),
        };
        let in_order = match (self.part, part) {
            (None, Part::HeaderInfo) => true,
            (Some(Part::HeaderInfo | Part::Script), Part::Script | Part::TypeInfo) => true,
            (Some(Part::TypeInfo), Part::MetaData) => true,
            (None | Some(Part::HeaderInfo | Part::Script | Part::TypeInfo | Part::MetaData), _) => false,
        };
        if !in_order {
            return Err(Error::unexpected_member(name));
        }
        let (buf, what) = match part {
            Part::HeaderInfo => (&self.workspace.header_info, Limited::HeaderInfo),
            Part::TypeInfo => (&self.workspace.type_info, Limited::TypeInfo),
            Part::MetaData => (&self.workspace.meta_data, Limited::MetaData),
            Part::Script => {
                let script = name.strip_prefix(b"scripts/").unwrap_or_default();
                if !str::from_utf8(script).is_ok_and(script::is_artifact_name) {
                    return Err(Error::BadScriptName(shown(script)));
                }
                if !self.allow_scripts {
                    return Err(Error::ScriptsNotAllowed);
                }
                limit(size, limits::SCRIPT_SIZE, Limited::Script)?;
                self.scripts = self.scripts.saturating_add(1);
                limit(u64::from(self.scripts), u64::from(limits::SCRIPTS), Limited::Scripts)?;
                self.part = Some(part);
                return Ok(Some(Happened::Script(size)));
            }
        };
        limit(size, buf.len() as u64, what)?;
        self.part = Some(part);
        Ok(None)
    }

    /// Bytes of a member of the header archive; true for those of a script.
    fn part_data(&mut self, bytes: &[u8]) -> Result<bool, Error> {
        let [header_info, type_info, meta_data] = &mut self.lengths;
        let (buf, len, what): (&mut [u8], _, _) = match self.part {
            Some(Part::HeaderInfo) => (self.workspace.header_info, header_info, Limited::HeaderInfo),
            Some(Part::TypeInfo) => (self.workspace.type_info, type_info, Limited::TypeInfo),
            Some(Part::MetaData) => (self.workspace.meta_data, meta_data, Limited::MetaData),
            Some(Part::Script) => return Ok(true),
            None => return Err(Error::BadTar),
        };
        let end = len.saturating_add(bytes.len());
        let limit = buf.len();
        buf.get_mut(*len..end).ok_or(Error::TooLarge { what, limit })?.copy_from_slice(bytes);
        *len = end;
        Ok(false)
    }

    fn file_begins(&mut self) -> Result<(), Error> {
        let name = self.inner.name(&self.room);
        if !manifest::is_file_name(name) {
            return Err(Error::bad_file_name(name));
        }
        if self.empty {
            return Err(Error::EmptyPayloadRule(Rule::HasFile));
        }
        let digest = manifest::digest(name);
        let listed = self.workspace.files.get_mut(..self.manifest.files).unwrap_or_default();
        let place = listed.iter().position(|entry| entry.name == digest);
        let entry =
            place.and_then(|place| listed.get_mut(place)).ok_or_else(|| Error::UnlistedFile(shown(name)))?;
        if core::mem::replace(&mut entry.seen, true) {
            return Err(Error::DuplicateFile(shown(name)));
        }
        self.file_entry = place.unwrap_or_default();
        self.file = Sha256::new();
        Ok(())
    }

    fn file_ends(&mut self) -> Result<(), Error> {
        let sum: Sum = self.file.finalize_reset().into();
        let expected = self.workspace.files.get(self.file_entry).map(|entry| entry.sum);
        if expected != Some(sum) {
            return Err(Error::wrong_sum(self.inner.name(&self.room), expected, sum));
        }
        Ok(())
    }
}
